/* Adapters of another rank or scale: the same update in other factors, the least loss where the rank falls. */
#include <math.h>

#include "nn/adapter/adapter.h"
#include "sow/linalg.h"

/* |B R A|_F^2 = tr((B^T B) (R A A^T R^T)), in f64 and r-space. */
static sow_status square(sow_arena *arena, const sow_adapter_layer *l, double *out) {
    int64_t r = l->rank;
    sow_tensor b, a, core, bb, aa, half;
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){l->out, r}, &b));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){r, l->in}, &a));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){r, r}, &core));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){r, r}, &bb));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){r, r}, &aa));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){r, r}, &half));
    SOW_TRY(sow_copy(b, l->b->value));
    SOW_TRY(sow_copy(a, l->a->value));
    sow_product(1, sow_transpose(b), b, 0, bb);
    sow_product(1, a, sow_transpose(a), 0, aa);
    if (l->core) {
        SOW_TRY(sow_copy(core, l->core->value));
        sow_product(1, core, aa, 0, half);
        sow_product(1, half, sow_transpose(core), 0, aa);
    }
    *out = 0;
    for (int64_t i = 0; i < r * r; i++) *out += ((double *)bb.data)[i] * ((double *)aa.data)[i];
    return SOW_OK;
}

double sow_adapter_norm(const sow_adapter_layer *l) {
    double sum = 0;
    sow_arena *arena;
    if (sow_arena_new(&arena) != SOW_OK) return NAN;
    sow_status status = square(arena, l, &sum);
    sow_arena_free(arena);
    return status == SOW_OK ? fabs(l->scale) * sqrt(fmax(sum, 0)) : NAN;
}

/* The best approximation of rank `rank`; both factors get the roots of the singular values. */
static sow_status truncate(sow_arena *scratch, const sow_adapter_layer *from, sow_adapter_layer *to, double *lost) {
    int64_t k = to->rank;
    double ratio = from->scale / to->scale, all = sow_adapter_norm(from), kept = 0;
    sow_tensor u, s, vt;
    SOW_TRY(sow_tensor_new(scratch, SOW_F64, 2, (int64_t[]){from->out, k}, &u));
    SOW_TRY(sow_tensor_new(scratch, SOW_F64, 1, &k, &s));
    SOW_TRY(sow_tensor_new(scratch, SOW_F64, 2, (int64_t[]){k, from->in}, &vt));
    SOW_TRY(sow_svd_product(from->b->value, from->a->value, u, s, vt));
    for (int64_t i = 0; i < k; i++) {
        double root = sqrt(sow_at(s, i) * fabs(ratio));
        kept += from->scale * from->scale * sow_at(s, i) * sow_at(s, i);
        for (int64_t j = 0; j < from->in; j++)
            sow_put(to->a->value, i * from->in + j, root * sow_at(vt, i * from->in + j));
        for (int64_t j = 0; j < from->out; j++)
            sow_put(to->b->value, j * k + i, (ratio < 0 ? -root : root) * sow_at(u, j * k + i));
    }
    *lost += fmax(all * all - kept, 0);
    return SOW_OK;
}

/* The same factors, B scaled; further rows and columns stay 0. */
static sow_status rescale(const sow_adapter_layer *from, sow_adapter_layer *to) {
    double ratio = from->scale / to->scale;
    SOW_TRY(sow_copy(sow_slice(to->a->value, 0, 0, from->rank), from->a->value));
    SOW_TRY(sow_copy(sow_slice(to->b->value, 1, 0, from->rank), from->b->value));
    if (ratio == 1) return SOW_OK;
    for (int64_t i = 0; i < sow_count(to->b->value); i++) sow_put(to->b->value, i, ratio * sow_at(to->b->value, i));
    return SOW_OK;
}

static sow_status convert_layer(sow_arena *scratch, const sow_adapter_layer *from, int64_t rank, sow_adapter *to,
                                double *all, double *lost) {
    sow_site site = {.module = from->module, .in = from->in, .out = from->out};
    sow_adapter_layer *l;
    int64_t least = from->in < from->out ? from->in : from->out;
    if (rank == 0) rank = from->rank;
    if (rank > least && rank > from->rank) rank = least > from->rank ? least : from->rank;
    SOW_TRY(sow_adapter_add(to, &site, rank, to->alpha, SOW_ADAPTER_LORA, &l));
    l->site = from->site;
    *all += pow(sow_adapter_norm(from), 2);
    sow_mark mark = sow_arena_mark(scratch);
    sow_status status = rank < from->rank ? truncate(scratch, from, l, lost) : rescale(from, l);
    sow_arena_release(scratch, mark);
    return status;
}

static sow_status convert(sow_arena *scratch, const sow_adapter *plain, int64_t rank, sow_adapter *to, double *lost) {
    double all = 0, missing = 0;
    to->base = plain->base ? sow_arena_copy(to->arena, plain->base) : NULL;
    to->task = plain->task ? sow_arena_copy(to->arena, plain->task) : NULL;
    to->targets = plain->targets ? sow_arena_copy(to->arena, plain->targets) : NULL;
    to->by_inputs = plain->by_inputs;
    for (int64_t i = 0; i < plain->count; i++)
        SOW_TRY(convert_layer(scratch, &plain->layers[i], rank, to, &all, &missing));
    for (int64_t i = 0; i < plain->whole_count; i++) SOW_TRY(adapter_copy_whole(&plain->wholes[i], to));
    *lost = all > 0 ? missing / all : 0;
    return SOW_OK;
}

sow_status sow_adapter_convert(const sow_adapter *a, int64_t rank, double alpha, sow_adapter **out, double *lost) {
    sow_adapter *plain, *to = NULL;
    sow_arena *scratch;
    SOW_TRY(sow_adapter_plain(a, &plain));
    sow_status status = sow_arena_new(&scratch);
    if (status == SOW_OK) {
        int64_t usual = rank > 0 ? rank : plain->rank;
        status = sow_adapter_new(usual, isnan(alpha) ? plain->alpha : alpha, plain->rslora, &to);
        if (status == SOW_OK) status = convert(scratch, plain, rank, to, lost);
        sow_arena_free(scratch);
    }
    sow_adapter_free(plain);
    if (status == SOW_OK) *out = to;
    else sow_adapter_free(to);
    return status;
}
