/* VGG-19 with batch norm for small images: Simonyan and Zisserman 2014, arXiv 1409.1556, as Frankle and Carbin 2019 use it: the
 * last maximum is a mean over the image, and one dense layer follows. Names are those of torchvision's vgg19_bn. */
#include <stdio.h>

#include "nn/models/models.h"

/* Filters of each convolution; 0: a 2x2 maximum. */
static const int64_t plan[] = {64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512};

/* x: [N, C, H, W] -> logits [N, classes] */
sow_var sow_vgg19_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x) {
    int number = 0; /* in torchvision's nn.Sequential: convolution, norm, ReLU, ..., pool */
    sow_enter(t, "features");
    for (size_t i = 0; i < sizeof plan / sizeof *plan; i++) {
        if (plan[i] == 0) {
            x = sow_max_pool2d(t, x, 2, 2, 0);
            number++;
            continue;
        }
        char conv[16], norm[16];
        snprintf(conv, sizeof conv, "%d", number);
        snprintf(norm, sizeof norm, "%d", number + 1);
        x = sow_conv2d_at(t, s, conv, x, (sow_filter){.out = plan[i], .size = 3, .padding = 1, .bias = true});
        x = sow_batch_norm_at(t, s, norm, x, NULL, true);
        number += 3;
    }
    sow_leave(t);
    return sow_linear_at(t, s, "classifier", sow_global_avg_pool2d(t, x), (sow_dense){.out = model->geometry.classes});
}
