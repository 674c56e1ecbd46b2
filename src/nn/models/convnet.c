/* Conv-2, Conv-4 and Conv-6, scaled-down VGGs: Frankle and Carbin 2019, arXiv 1803.03635, figure 2. */
#include <stdio.h>

#include "nn/models/models.h"

/* Two 3x3 convolutions of `width` filters and a 2x2 maximum, `blocks` times with 64, 128, 256 filters; then 256-256-classes.
 * Dropout acts behind the two hidden dense layers. x: [N, C, H, W] -> logits [N, classes] */
static sow_var forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x, int blocks) {
    char name[16];
    for (int i = 0; i < 2 * blocks; i++) {
        snprintf(name, sizeof name, "conv%d", i + 1);
        x = sow_relu(t, sow_conv2d_at(t, s, name, x, (sow_filter){.out = INT64_C(64) << i / 2, .size = 3, .padding = 1, .bias = true}));
        if (i % 2) x = sow_max_pool2d(t, x, 2, 2, 0);
    }
    x = sow_flatten(t, x, 1);
    for (int i = 1; i <= 2; i++) {
        snprintf(name, sizeof name, "fc%d", i);
        x = sow_relu(t, sow_linear_at(t, s, name, x, (sow_dense){.out = 256}));
        if (model->dropout > 0) x = sow_dropout(t, x, model->dropout);
    }
    return sow_linear_at(t, s, "fc3", x, (sow_dense){.out = model->geometry.classes, .group = "out"});
}

sow_var sow_conv2_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x) {
    return forward(t, s, model, x, 1);
}

sow_var sow_conv4_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x) {
    return forward(t, s, model, x, 2);
}

sow_var sow_conv6_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x) {
    return forward(t, s, model, x, 3);
}
