/* Fully connected networks: ReLU between layers fc1, fc2, ...; LeNet-300-100 of LeCun et al. 1998 is one. */
#include <stdio.h>

#include "nn/models/models.h"

/* x: [N, C, H, W] -> logits [N, widths[layers]] */
sow_var sow_mlp_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x) {
    x = sow_flatten(t, x, 1);
    for (int i = 1; i <= model->layers; i++) {
        char name[16];
        snprintf(name, sizeof name, "fc%d", i);
        bool last = i == model->layers;
        x = sow_linear_at(t, s, name, x, (sow_dense){.out = model->widths[i], .group = last ? "out" : "fc"});
        if (last) break;
        x = sow_relu(t, x);
        if (model->dropout > 0) x = sow_dropout(t, x, model->dropout);
    }
    return x;
}
