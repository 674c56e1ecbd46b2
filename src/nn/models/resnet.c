/* Residual networks for small images: He et al. 2015, arXiv 1512.03385, section 4.2, with 1x1 convolutions as shortcuts
 * where the shape changes. Names are torchvision's. */
#include "nn/models/models.h"

/* y = ReLU(bn2(conv2(ReLU(bn1(conv1 x)))) + shortcut x). x: [N, C, H, W] */
static sow_var block(sow_tape *t, sow_state *s, sow_var x, int64_t width, int64_t stride) {
    sow_var skip = x;
    if (stride != 1 || sow_value(x).shape[1] != width) {
        skip = sow_conv2d_at(t, s, "downsample.0", x, (sow_filter){.out = width, .size = 1, .stride = stride, .group = "shortcut"});
        skip = sow_batch_norm_at(t, s, "downsample.1", skip, NULL, false);
    }
    sow_var y = sow_conv2d_at(t, s, "conv1", x, (sow_filter){.out = width, .size = 3, .stride = stride, .padding = 1});
    y = sow_batch_norm_at(t, s, "bn1", y, NULL, true);
    y = sow_conv2d_at(t, s, "conv2", y, (sow_filter){.out = width, .size = 3, .padding = 1});
    return sow_batch_norm_at(t, s, "bn2", y, skip, true);
}

/* 6 `blocks` + 2 layers. x: [N, C, H, W] -> logits [N, classes] */
static sow_var residual(sow_tape *t, sow_state *s, const sow_model *model, sow_var x, int blocks) {
    x = sow_conv2d_at(t, s, "conv1", x, (sow_filter){.out = 16, .size = 3, .padding = 1});
    x = sow_batch_norm_at(t, s, "bn1", x, NULL, true);
    for (int stage = 0; stage < 3; stage++)
        for (int i = 0; i < blocks; i++) {
            sow_enter(t, "layer%d.%d", stage + 1, i);
            x = block(t, s, x, INT64_C(16) << stage, stage > 0 && i == 0 ? 2 : 1);
            sow_leave(t);
        }
    return sow_linear_at(t, s, "fc", sow_global_avg_pool2d(t, x), (sow_dense){.out = model->geometry.classes});
}

sow_var sow_resnet8_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x) {
    return residual(t, s, model, x, 1);
}

sow_var sow_resnet20_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x) {
    return residual(t, s, model, x, 3);
}
