/* Beyond one backward: gradients of a function of a state, and Hessian-vector products. */
#include <math.h>

#include "autograd/op.h"

sow_status sow_grad(sow_tape *t, sow_state *state, sow_loss_function loss, void *user, double *value) {
    SOW_TRY(sow_state_add_gradients(state));
    sow_tape_reset(t);
    sow_fresh_gradients(state);
    sow_var l = loss(user, t, state);
    SOW_TRY(sow_tape_backward(t, l));
    if (value) *value = sow_scalar(l);
    for (int64_t i = 0; i < sow_state_count(state); i++) { /* what the loss does not depend on has gradient zero */
        sow_entry *e = sow_state_entry(state, i);
        if (e->trainable && !e->grad_written) sow_fill(e->grad, 0);
    }
    sow_tape_reset(t);
    return SOW_OK;
}

/* w += by * v over the trainable entries. */
static void move(sow_state *state, const sow_tensor *v, double by) {
    for (int64_t i = 0, j = 0; i < sow_state_count(state); i++) {
        sow_entry *e = sow_state_entry(state, i);
        if (!e->trainable) continue;
        for (int64_t k = 0; k < sow_count(e->value); k++) sow_put(e->value, k, sow_at(e->value, k) + by * sow_at(v[j], k));
        j++;
    }
}

/* out = out + by * grad, or by * grad when `fresh`. */
static void collect(const sow_state *state, sow_tensor *out, double by, bool fresh) {
    for (int64_t i = 0, j = 0; i < sow_state_count(state); i++) {
        const sow_entry *e = sow_state_entry(state, i);
        if (!e->trainable) continue;
        for (int64_t k = 0; k < sow_count(e->value); k++) sow_put(out[j], k, (fresh ? 0 : sow_at(out[j], k)) + by * sow_at(e->grad, k));
        j++;
    }
}

sow_status sow_hvp(sow_tape *t, sow_state *state, sow_loss_function loss, void *user, const sow_tensor *v, sow_tensor *out) {
    double w_norm = 0, v_norm = 0;
    sow_state *saved;
    for (int64_t i = 0, j = 0; i < sow_state_count(state); i++) {
        const sow_entry *e = sow_state_entry(state, i);
        if (!e->trainable) continue;
        if (e->value.dtype != SOW_F64) return sow_fail(SOW_E_TYPE, "Hessian-vector product: '%s' is %s, expected F64", e->name, sow_dtype_name(e->value.dtype));
        if (!sow_same_shape(v[j], e->value) || !sow_same_shape(out[j], e->value)) return sow_fail(SOW_E_SHAPE, "Hessian-vector product: vector of '%s' has another shape", e->name);
        for (int64_t k = 0; k < sow_count(e->value); k++) {
            w_norm += sow_at(e->value, k) * sow_at(e->value, k);
            v_norm += sow_at(v[j], k) * sow_at(v[j], k);
        }
        j++;
    }
    double h = 1e-5 * fmax(1, sqrt(w_norm)) / fmax(sqrt(v_norm), 1e-300);
    SOW_TRY(sow_state_clone(state, false, &saved));
    move(state, v, h);
    sow_status status = sow_grad(t, state, loss, user, NULL);
    if (status == SOW_OK) {
        collect(state, out, 0.5 / h, true);
        status = sow_state_assign(state, saved);
    }
    if (status == SOW_OK) {
        move(state, v, -h);
        status = sow_grad(t, state, loss, user, NULL);
    }
    if (status == SOW_OK) collect(state, out, -0.5 / h, false);
    sow_status restored = sow_state_assign(state, saved);
    sow_state_free(saved);
    return status != SOW_OK ? status : restored;
}
