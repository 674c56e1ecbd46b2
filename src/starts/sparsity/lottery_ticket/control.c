/* Controls of a winning ticket: the same mask with other values, or the same values with another mask (appendices E and F). */
#include <math.h>
#include <string.h>

#include "sow/text.h"
#include "starts/sparsity/lottery_ticket/ticket.h"

static const char *const kind_names[] = {"reinit", "random-mask", "resample", "noise", "prune-at-init"};
enum { KINDS = sizeof kind_names / sizeof *kind_names };

sow_status sow_control_parse(const char *name, sow_control_kind *out) {
    for (int k = 0; k < KINDS; k++) {
        if (strcmp(name, kind_names[k])) continue;
        *out = (sow_control_kind)k;
        return SOW_OK;
    }
    const char *near = sow_nearest(name, kind_names, KINDS);
    return sow_fail(SOW_E_ARGUMENT, "control '%s': expected reinit, random-mask, resample, noise or prune-at-init%s%s",
                    name, near ? "; did you mean " : "", near ? near : "");
}

/* The tensor's values in logical order as f64. */
static sow_status read_values(sow_arena *arena, sow_tensor t, double **out) {
    SOW_TRY(SOW_NEW_RAW(arena, *out, sow_count(t)));
    sow_tensor flat = sow_tensor_of(*out, SOW_F64, t.rank, t.shape);
    return sow_copy(flat, t);
}

static sow_status write_values(sow_tensor t, double *values) {
    return sow_copy(t, sow_tensor_of(values, SOW_F64, t.rank, t.shape));
}

/* Exactly `keep` of the bits, every choice equally likely: one pass of selection sampling (Knuth, algorithm S). */
static void draw_mask(sow_rng *rng, sow_bits *bits, int64_t keep) {
    for (int64_t i = 0; i < bits->count; i++) {
        bool take = sow_rng_below(rng, (uint64_t)(bits->count - i)) < (uint64_t)keep;
        if (take) sow_bit_set(bits, i), keep--;
        else sow_bit_clear(bits, i);
    }
}

/* The mask of the largest values of theta_0, with `keep` of them. */
static sow_status largest_mask(sow_arena *arena, sow_tensor values, sow_bits *bits, int64_t keep) {
    for (int64_t i = 0; i < bits->count; i++) sow_bit_set(bits, i);
    return sow_prune_to(arena, values, keep, bits);
}

/* Every survivor gets one of the surviving initial values of its tensor, with replacement; with signs kept, one of
 * those that share its sign. */
static sow_status resample(sow_arena *arena, sow_rng *rng, const sow_bits *bits, bool keep_signs, sow_tensor t) {
    double *values, *pool[2];
    int64_t size[2] = {0, 0};
    SOW_TRY(read_values(arena, t, &values));
    for (int p = 0; p < 2; p++) SOW_TRY(SOW_NEW_RAW(arena, pool[p], bits->count));
    for (int64_t i = 0; i < bits->count; i++) {
        int p = keep_signs && signbit(values[i]);
        if (sow_bit(bits, i)) pool[p][size[p]++] = values[i];
    }
    for (int64_t i = 0; i < bits->count; i++) {
        int p = keep_signs && signbit(values[i]);
        if (sow_bit(bits, i)) values[i] = pool[p][sow_rng_below(rng, (uint64_t)size[p])];
    }
    return write_values(t, values);
}

/* sd_layer: of all of the layer's initial values, pruned ones too, so that it is the sd of the distribution. */
static sow_status add_noise(sow_arena *arena, sow_rng *rng, double c, sow_tensor t) {
    double *values, *noise, mean = 0, square = 0;
    int64_t n = sow_count(t);
    SOW_TRY(read_values(arena, t, &values));
    SOW_TRY(SOW_NEW_RAW(arena, noise, n));
    for (int64_t i = 0; i < n; i++) mean += values[i] / (double)n;
    for (int64_t i = 0; i < n; i++) square += (values[i] - mean) * (values[i] - mean);
    sow_rng_normal_f64(rng, noise, n, 0, c * sqrt(square / (double)n));
    for (int64_t i = 0; i < n; i++) values[i] += noise[i];
    return write_values(t, values);
}

/* Fresh values come from a seed of their own: with the seed that theta_0 was drawn from they would be theta_0. */
static sow_status reinitialise(const sow_control *control, sow_entry *e) {
    sow_rng rng;
    if (e->role != SOW_ROLE_WEIGHT) return SOW_OK;
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, control->seed));
    sow_rng_at(&rng, "control", "reinit");
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, sow_rng_below(&rng, UINT64_C(1) << 53)));
    return sow_init_tensor(&rng, e->name, e->role, &control->init, 0, e->value);
}

/* Applies the control to one tensor; bits is NULL where the ticket leaves it dense. */
static sow_status control_tensor(sow_arena *arena, const sow_control *control, sow_entry *e, sow_bits *bits) {
    sow_rng rng;
    if (control->kind == SOW_CONTROL_REINIT) return reinitialise(control, e);
    if (!bits) return SOW_OK;
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, control->seed));
    sow_rng_at(&rng, kind_names[control->kind], e->name);
    int64_t kept = sow_bits_kept(bits);
    switch (control->kind) {
    case SOW_CONTROL_RANDOM_MASK: draw_mask(&rng, bits, kept); return SOW_OK;
    case SOW_CONTROL_PRUNE_AT_INIT: return bits->count > 0 ? largest_mask(arena, e->value, bits, kept) : SOW_OK;
    case SOW_CONTROL_RESAMPLE: return resample(arena, &rng, bits, control->keep_signs, e->value);
    default: return add_noise(arena, &rng, control->c, e->value);
    }
}

static sow_status control_all(sow_arena *arena, const sow_control *control, sow_state *start, sow_mask *mask) {
    for (int64_t i = 0; i < sow_state_count(start); i++) {
        sow_entry *e = sow_state_entry(start, i);
        sow_mark mark = sow_arena_mark(arena);
        SOW_TRY(control_tensor(arena, control, e, sow_mask_find(mask, e->name)));
        sow_arena_release(arena, mark);
    }
    return sow_mask_bind(mask, start);
}

sow_status sow_ticket_control(sow_arena *arena, const sow_control *control, const sow_state *theta0,
                              const sow_mask *mask, sow_state **start, sow_mask *out) {
    SOW_TRY(sow_state_require_finite(theta0, "theta_0"));
    SOW_TRY(sow_mask_copy(arena, mask, out));
    SOW_TRY(sow_state_clone(theta0, false, start));
    /* binding checks that the mask fits before any tensor is touched */
    sow_status status = sow_mask_bind(out, *start);
    if (status == SOW_OK) status = sow_state_assign(*start, theta0);
    if (status == SOW_OK) status = control_all(arena, control, *start, out);
    if (status == SOW_OK) return SOW_OK;
    sow_state_free(*start);
    *start = NULL;
    return status;
}
