/* Batches of images in channels-last order: as they are where they lie so, as a recorded copy where they do not. */
#include "autograd/image.h"

bool sow_is_channels_last(sow_tensor x) {
    sow_tensor y = sow_describe_channels_last(x.dtype, x.shape[0], x.shape[1], x.shape[2], x.shape[3]);
    for (int d = 0; d < 4; d++)
        if (x.shape[d] > 1 && x.stride[d] != y.stride[d]) return false;
    return true;
}

static sow_status copy_forward(sow_tape *t, sow_node *n) {
    (void)t;
    return sow_copy(n->value, n->input[0]->value);
}

static sow_status copy_backward(sow_tape *t, sow_node *n) {
    sow_tensor g;
    bool add = sow_grad_into(t, n->input[0], &g) != 0;
    if (!g.data) return SOW_E_MEMORY;
    if (!add) return sow_copy(g, n->grad);
    for (int64_t i = 0, count = sow_count(g); i < count; i++) {
        int64_t to = sow_offset(g, i), from = sow_offset(n->grad, i);
        if (g.dtype == SOW_F32) ((float *)g.data)[to] += ((const float *)n->grad.data)[from];
        else ((double *)g.data)[to] += ((const double *)n->grad.data)[from];
    }
    return SOW_OK;
}

static const sow_op copy_op = {"channels last", copy_forward, copy_backward};

sow_var sow_channels_last(sow_tape *t, sow_var x) {
    if (!x || x->value.rank != 4 || sow_is_channels_last(x->value)) return x;
    sow_node *n = SOW_NODE(t, &copy_op, char, 1, x);
    const int64_t *s = x->value.shape;
    return n ? sow_node_run(t, n, sow_describe_channels_last(x->value.dtype, s[0], s[1], s[2], s[3])) : NULL;
}
