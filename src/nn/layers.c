/* Dense layers that find or declare their parameters by name. */
#include <string.h>

#include "autograd/op.h"
#include "nn/declare.h"
#include "sow/nn.h"

static bool has_shape(const sow_entry *e, const sow_declaration *d) {
    bool same = e->value.rank == d->rank;
    for (int i = 0; same && i < d->rank; i++) same = e->value.shape[i] == d->shape[i];
    return same;
}

sow_entry *sow_declared(sow_tape *t, sow_state *s, const char *name, const char *suffix, sow_declaration d) {
    const char *full = sow_path_of(t, name, suffix);
    sow_entry *entry = sow_state_find(s, full);
    if (entry && has_shape(entry, &d)) return entry;
    if (entry) {
        char found[SOW_SHAPE_TEXT], expected[SOW_SHAPE_TEXT];
        sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "%s is %s, expected %s", entry->name, sow_shape_text(entry->value, found),
                                  sow_shape_text(sow_describe(d.dtype, d.rank, d.shape), expected)));
        return NULL;
    }
    if (!sow_state_is_open(s)) {
        sow_tape_fail(t, sow_state_get(s, full, &entry));
        return NULL;
    }
    if (sow_state_add(s, full, d.dtype, d.rank, d.shape, &entry) != SOW_OK) {
        sow_tape_fail(t, SOW_E_MEMORY);
        return NULL;
    }
    entry->role = d.role;
    entry->trainable = d.role != SOW_ROLE_BUFFER;
    entry->group = d.group ? d.group : "";
    if (d.transposed) { /* stored [in, out]: forward and weight gradient are then plain products */
        entry->value.stride[0] = 1;
        entry->value.stride[1] = entry->value.shape[0];
    }
    if (d.value != 0) sow_fill(entry->value, d.value);
    return entry;
}

sow_var sow_linear_at(sow_tape *t, sow_state *s, const char *name, sow_var x, sow_dense dense) {
    if (!x) return NULL;
    sow_tensor in = sow_value(x);
    const char *group = dense.group ? dense.group : "fc";
    sow_entry *w = sow_declared(t, s, name, "weight", (sow_declaration){.dtype = in.dtype, .rank = 2, .shape = {dense.out, in.shape[in.rank - 1]},
                                                                        .role = SOW_ROLE_WEIGHT, .group = group, .transposed = !dense.by_rows});
    sow_entry *b = dense.no_bias ? NULL : sow_declared(t, s, name, "bias", (sow_declaration){.dtype = in.dtype, .rank = 1, .shape = {dense.out}, .role = SOW_ROLE_BIAS});
    if (!w || (!b && !dense.no_bias)) return NULL;
    return sow_tap(t, name, x, sow_linear(t, x, sow_parameter(t, w), b ? sow_parameter(t, b) : NULL));
}
