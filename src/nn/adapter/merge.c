/* Adapters leave their form: into the base's weights, and into plain LoRA. */
#include <math.h>
#include <string.h>

#include "nn/adapter/adapter.h"

sow_status adapter_add_product(const sow_site *site, sow_tensor b, sow_tensor a, double factor) {
    if (!site->weight) return sow_fail(SOW_E_UNSUPPORTED, "%s: its weights are kept quantised", site->module);
    sow_tensor w = site->by_inputs ? sow_transpose(site->weight->value) : site->weight->value;
    if (w.dtype != a.dtype || w.dtype != b.dtype)
        return sow_fail(SOW_E_TYPE, "%s: weight and adapter have different types", site->module);
    sow_product(factor, b, a, 1, w);
    return SOW_OK;
}

/* B R, or B itself. */
static sow_status folded_b(sow_arena *arena, const sow_adapter_layer *l, sow_tensor *out) {
    *out = l->b->value;
    if (!l->core) return SOW_OK;
    SOW_TRY(sow_tensor_new(arena, l->b->value.dtype, 2, l->b->value.shape, out));
    sow_product(1, l->b->value, l->core->value, 0, *out);
    return SOW_OK;
}

/* ---- merging ---- */

/* DoRA: rows brought to their magnitudes. */
static void scale_rows(const sow_adapter_layer *l) {
    sow_tensor w = l->site->weight->value;
    if (l->site->by_inputs) w = sow_transpose(w);
    for (int64_t i = 0; i < l->out; i++) {
        double sum = 0, x;
        for (int64_t j = 0; j < l->in; j++) x = sow_at(w, i * l->in + j), sum += x * x;
        double factor = sow_at(l->magnitude->value, i) / sqrt(sum);
        for (int64_t j = 0; j < l->in; j++) sow_put(w, i * l->in + j, factor * sow_at(w, i * l->in + j));
    }
}

static sow_status merge_whole(const sow_adapter_whole *w) {
    if (!w->site || !w->site->weight) return sow_fail(SOW_E_ARGUMENT, "%s is bound to no model", w->module);
    SOW_TRY(sow_copy(w->site->weight->value, w->weight->value));
    return w->bias && w->site->bias ? sow_copy(w->site->bias->value, w->bias->value) : SOW_OK;
}

static sow_status merge_layers(sow_adapter *a, sow_arena *scratch) {
    for (int64_t i = 0; i < a->count; i++) {
        sow_adapter_layer *l = &a->layers[i];
        sow_mark mark = sow_arena_mark(scratch);
        sow_tensor b;
        if (!l->site) return sow_fail(SOW_E_ARGUMENT, "%s is bound to no model", l->module);
        SOW_TRY(folded_b(scratch, l, &b));
        SOW_TRY(adapter_add_product(l->site, b, l->a->value, l->scale));
        if (l->magnitude) scale_rows(l);
        sow_arena_release(scratch, mark);
    }
    for (int64_t i = 0; i < a->whole_count; i++) SOW_TRY(merge_whole(&a->wholes[i]));
    return SOW_OK;
}

sow_status sow_adapter_merge(sow_adapter *a) {
    sow_arena *scratch;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = merge_layers(a, scratch);
    sow_arena_free(scratch);
    return status;
}

/* ---- plain LoRA ---- */

/* s [B, -B0] [A; A0]. */
static sow_status unfold_shift(const sow_adapter_layer *from, sow_tensor b, sow_adapter_layer *to) {
    int64_t r = from->rank;
    SOW_TRY(sow_copy(sow_slice(to->a->value, 0, 0, r), from->a->value));
    SOW_TRY(sow_copy(sow_slice(to->a->value, 0, r, r), from->a0));
    for (int64_t i = 0; i < from->out; i++)
        for (int64_t j = 0; j < r; j++) {
            sow_put(to->b->value, i * 2 * r + j, sow_at(b, i * r + j));
            sow_put(to->b->value, i * 2 * r + r + j, -sow_at(from->b0, i * r + j));
        }
    return SOW_OK;
}

static sow_status add_plain(const sow_adapter_layer *from, sow_adapter *to) {
    bool shifted = from->a0.data != NULL;
    int64_t rank = shifted ? 2 * from->rank : from->rank;
    sow_site site = {.module = from->module, .in = from->in, .out = from->out};
    sow_adapter_layer *l;
    sow_tensor b;
    double alpha = from->scale * (to->rslora ? sqrt((double)rank) : (double)rank);
    SOW_TRY(sow_adapter_add(to, &site, rank, alpha, SOW_ADAPTER_LORA, &l));
    l->site = from->site;
    sow_mark mark = sow_arena_mark(to->arena);
    SOW_TRY(folded_b(to->arena, from, &b));
    if (shifted) SOW_TRY(unfold_shift(from, b, l));
    else {
        SOW_TRY(sow_copy(l->a->value, from->a->value));
        SOW_TRY(sow_copy(l->b->value, b));
    }
    sow_arena_release(to->arena, mark);
    return SOW_OK;
}

sow_status adapter_copy_whole(const sow_adapter_whole *from, sow_adapter *to) {
    sow_adapter_whole *w;
    SOW_TRY(adapter_append_whole(to, from->module, &w));
    w->site = from->site;
    sow_tensor v = from->weight->value;
    SOW_TRY(adapter_entry(to, w->module, "weight", v.dtype, v.rank, v.shape, &w->weight));
    SOW_TRY(sow_copy(w->weight->value, v));
    if (!from->bias) return SOW_OK;
    v = from->bias->value;
    SOW_TRY(adapter_entry(to, w->module, "bias", v.dtype, v.rank, v.shape, &w->bias));
    return sow_copy(w->bias->value, v);
}

static sow_status fill_plain(const sow_adapter *a, sow_adapter *plain) {
    plain->base = a->base ? sow_arena_copy(plain->arena, a->base) : NULL;
    plain->targets = a->targets ? sow_arena_copy(plain->arena, a->targets) : NULL;
    plain->by_inputs = a->by_inputs;
    plain->task = a->task ? sow_arena_copy(plain->arena, a->task) : NULL;
    for (int64_t i = 0; i < a->count; i++) {
        if (a->layers[i].magnitude)
            return sow_fail(SOW_E_UNSUPPORTED, "%s: DoRA has no form as plain LoRA; fuse it instead",
                            a->layers[i].module);
        SOW_TRY(add_plain(&a->layers[i], plain));
    }
    for (int64_t i = 0; i < a->whole_count; i++) SOW_TRY(adapter_copy_whole(&a->wholes[i], plain));
    return SOW_OK;
}

sow_status sow_adapter_plain(const sow_adapter *a, sow_adapter **out) {
    sow_adapter *plain;
    bool shifted = a->count > 0 && a->layers[0].a0.data;
    double scale = adapter_scale(a, a->alpha, a->rank);
    int64_t rank = shifted ? 2 * a->rank : a->rank;
    SOW_TRY(sow_adapter_new(rank, scale * (a->rslora ? sqrt((double)rank) : (double)rank), a->rslora, &plain));
    sow_status status = fill_plain(a, plain);
    if (status == SOW_OK) *out = plain;
    else sow_adapter_free(plain);
    return status;
}
