/* The networks of src/nn/models, for the table of architectures. */
#ifndef SOW_NN_MODELS_H
#define SOW_NN_MODELS_H

#include "sow/nn.h"

sow_var sow_mlp_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x);
sow_var sow_conv2_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x);
sow_var sow_conv4_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x);
sow_var sow_conv6_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x);
sow_var sow_resnet8_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x);
sow_var sow_resnet20_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x);
sow_var sow_vit_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x);
sow_var sow_vgg19_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x);

#endif
