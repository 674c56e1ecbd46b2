/* Convolution and normalisation layers that find or declare their parameters by name. */
#include "nn/declare.h"
#include "sow/nn.h"

sow_var sow_conv2d_at(sow_tape *t, sow_state *s, const char *name, sow_var x, sow_filter f) {
    if (!x) return NULL;
    sow_tensor in = sow_value(x);
    int64_t groups = f.groups ? f.groups : 1;
    if (in.rank != 4 || groups < 1 || in.shape[1] % groups) {
        char text[SOW_SHAPE_TEXT];
        return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "%s: input is %s, expected [N, C, H, W] with C a multiple of %lld groups",
                                         sow_path(t, name), sow_shape_text(in, text), (long long)groups));
    }
    sow_entry *w = sow_declared(t, s, name, "weight", (sow_declaration){.dtype = in.dtype, .rank = 4, .shape = {f.out, in.shape[1] / groups, f.size, f.size},
                                                                        .role = SOW_ROLE_WEIGHT, .group = f.group ? f.group : "conv"});
    sow_entry *b = f.bias ? sow_declared(t, s, name, "bias", (sow_declaration){.dtype = in.dtype, .rank = 1, .shape = {f.out}, .role = SOW_ROLE_BIAS}) : NULL;
    if (!w || (f.bias && !b)) return NULL;
    sow_conv conv = {.stride = f.stride, .padding = f.padding, .groups = f.groups};
    return sow_tap(t, name, x, sow_conv2d(t, x, sow_parameter(t, w), b ? sow_parameter(t, b) : NULL, conv));
}

/* One value a channel, all equal to `value` when declared. */
static sow_entry *per_channel(sow_tape *t, sow_state *s, const char *name, const char *suffix, sow_dtype dtype, int64_t channels,
                              sow_role role, double value) {
    return sow_declared(t, s, name, suffix, (sow_declaration){.dtype = dtype, .rank = 1, .shape = {channels}, .role = role, .value = value});
}

sow_var sow_batch_norm_at(sow_tape *t, sow_state *s, const char *name, sow_var x, sow_var skip, bool relu) {
    if (!x) return NULL;
    sow_dtype dtype = sow_value(x).dtype;
    int64_t channels = sow_value(x).shape[1];
    sow_entry *gamma = per_channel(t, s, name, "weight", dtype, channels, SOW_ROLE_NORM, 1);
    sow_entry *beta = per_channel(t, s, name, "bias", dtype, channels, SOW_ROLE_NORM, 0);
    sow_entry *mean = per_channel(t, s, name, "running_mean", dtype, channels, SOW_ROLE_BUFFER, 0);
    sow_entry *variance = per_channel(t, s, name, "running_var", dtype, channels, SOW_ROLE_BUFFER, 1);
    sow_entry *batches = sow_declared(t, s, name, "num_batches_tracked", (sow_declaration){.dtype = SOW_I64, .role = SOW_ROLE_BUFFER});
    if (!gamma || !beta || !mean || !variance || !batches) return NULL;
    sow_var y = sow_batch_norm(t, x, sow_parameter(t, gamma), sow_parameter(t, beta), skip, mean, variance, batches, (sow_norm){.relu = relu});
    return sow_tap(t, name, x, y);
}

sow_var sow_layer_norm_at(sow_tape *t, sow_state *s, const char *name, sow_var x) {
    if (!x) return NULL;
    sow_tensor in = sow_value(x);
    int64_t width = in.shape[in.rank - 1];
    sow_entry *gamma = per_channel(t, s, name, "weight", in.dtype, width, SOW_ROLE_NORM, 1);
    sow_entry *beta = per_channel(t, s, name, "bias", in.dtype, width, SOW_ROLE_NORM, 0);
    if (!gamma || !beta) return NULL;
    return sow_tap(t, name, x, sow_layer_norm(t, x, sow_parameter(t, gamma), sow_parameter(t, beta), 0));
}
