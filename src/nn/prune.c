/* Magnitude pruning of states: rates by group or name, masks before and after a round (card 07; Frankle and Carbin 2019). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/pattern.h"
#include "nn/prune.h"
#include "sow/text.h"

/* ---- rates ---- */

static sow_status parse_rate(const char *text, double *rate) {
    char *behind;
    errno = 0;
    *rate = strtod(text, &behind);
    if (behind == text || *behind || errno || !(*rate >= 0 && *rate < 1))
        return sow_fail(SOW_E_ARGUMENT,
                        "rate '%s': expected a fraction of the surviving weights, at least 0 and below 1", text);
    return SOW_OK;
}

sow_status sow_prune_parse(sow_arena *arena, const char *text, sow_prune_spec *out) {
    int words = 1;
    for (const char *c = text; *c; c++) words += *c == ',';
    sow_prune_rate *rates;
    SOW_TRY(SOW_NEW(arena, rates, words));
    char *copy = sow_arena_copy(arena, text);
    if (!copy) return SOW_E_MEMORY;
    double largest = 0;
    for (int i = 0; i < words; i++) {
        char *comma = strchr(copy, ',');
        if (comma) *comma = 0;
        /* the last '=': a regular expression may hold one itself */
        char *equals = strrchr(copy, '=');
        if (equals) *equals = 0, rates[i].key = copy;
        if (equals && !*copy) return sow_fail(SOW_E_ARGUMENT, "rate '=%s': expected GROUP=RATE or RATE", equals + 1);
        SOW_TRY(parse_rate(equals ? equals + 1 : copy, &rates[i].rate));
        if (rates[i].rate > largest) largest = rates[i].rate;
        copy = comma ? comma + 1 : copy;
    }
    if (largest == 0)
        return sow_fail(SOW_E_ARGUMENT, "rate '%s': nothing would ever be removed, expected a rate above 0", text);
    out->rates = rates;
    out->count = words;
    return SOW_OK;
}

static bool is_group(const sow_state *weights, const char *key) {
    for (int64_t i = 0; i < sow_state_count(weights); i++)
        if (!strcmp(sow_state_entry(weights, i)->group, key)) return true;
    return false;
}

/* "conv, fc, out": the groups of a state, for a message. */
static sow_status list_groups(sow_arena *arena, const sow_state *weights, const char **out) {
    *out = "";
    for (int64_t i = 0; i < sow_state_count(weights); i++) {
        const char *group = sow_state_entry(weights, i)->group;
        bool seen = !*group;
        for (int64_t j = 0; j < i && !seen; j++) seen = !strcmp(sow_state_entry(weights, j)->group, group);
        if (!seen) *out = sow_arena_format(arena, "%s%s%s", *out, **out ? ", " : "", group);
        if (!*out) return SOW_E_MEMORY;
    }
    return SOW_OK;
}

/* Gives the rate to all entries that its key fits and that have none yet. */
static sow_status apply_rate(const sow_state *weights, const sow_prune_rate *rate, bool *decided, double *rates,
                             int64_t *fitting) {
    regex_t expression;
    bool by_name = rate->key && !is_group(weights, rate->key);
    if (by_name && sow_pattern_compile(rate->key, &expression) != SOW_OK)
        return sow_fail_in(SOW_E_ARGUMENT, "rate '%.80s=%g': this is neither a group of the network nor a pattern",
                           rate->key, rate->rate);
    *fitting = 0;
    for (int64_t i = 0; i < sow_state_count(weights); i++) {
        const sow_entry *e = sow_state_entry(weights, i);
        bool fits = e->role == SOW_ROLE_WEIGHT;
        if (by_name) fits = e->value.rank >= 2 && e->role != SOW_ROLE_BUFFER && sow_pattern_fits(&expression, e->name);
        else if (rate->key) fits = fits && !strcmp(e->group, rate->key);
        *fitting += fits;
        if (fits && !decided[i]) rates[i] = rate->rate, decided[i] = true;
    }
    if (by_name) regfree(&expression);
    return SOW_OK;
}

static sow_status check_equal_rates(const sow_state *weights, const double *rates) {
    double shared = 0;
    for (int64_t i = 0; i < sow_state_count(weights); i++) {
        if (rates[i] == 0) continue;
        if (shared == 0) shared = rates[i];
        if (rates[i] != shared)
            return sow_fail(SOW_E_ARGUMENT,
                            "one global threshold needs one rate: found %g and %g (0 leaves a group dense)", shared,
                            rates[i]);
    }
    return SOW_OK;
}

sow_status sow_prune_rates(sow_arena *arena, const sow_state *weights, const sow_prune_spec *spec, double **rates) {
    bool *decided;
    SOW_TRY(SOW_NEW(arena, *rates, sow_state_count(weights)));
    SOW_TRY(SOW_NEW(arena, decided, sow_state_count(weights)));
    for (int r = 0; r < spec->count; r++) {
        int64_t fitting;
        const char *groups;
        SOW_TRY(apply_rate(weights, &spec->rates[r], decided, *rates, &fitting));
        if (fitting > 0) continue;
        if (!spec->rates[r].key)
            return sow_fail(SOW_E_ARGUMENT,
                            "no weights of two or more dimensions to prune; name tensors by --rate REGEX=RATE");
        SOW_TRY(list_groups(arena, weights, &groups));
        return sow_fail(SOW_E_ARGUMENT, "rate '%s=%g' fits no tensor%s%s%s", spec->rates[r].key, spec->rates[r].rate,
                        *groups ? " (groups: " : "", groups, *groups ? ")" : "");
    }
    return spec->global ? check_equal_rates(weights, *rates) : SOW_OK;
}

/* ---- masks ---- */

static sow_status ones(sow_arena *arena, const sow_entry *e, sow_bits *out) {
    *out = (sow_bits){.name = sow_arena_copy(arena, e->name), .rank = e->value.rank, .count = sow_count(e->value)};
    if (!out->name) return SOW_E_MEMORY;
    memcpy(out->shape, e->value.shape, sizeof out->shape);
    SOW_TRY(SOW_NEW(arena, out->words, (out->count + 63) / 64));
    for (int64_t i = 0; i < out->count; i++) sow_bit_set(out, i);
    return SOW_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const sow_bits *)a)->name, ((const sow_bits *)b)->name);
}

/* The masks so far, and ones for tensors that have a rate but no mask yet. */
static sow_status widen(sow_arena *arena, const sow_state *weights, const sow_mask *mask, const double *rates,
                        sow_mask *out) {
    sow_mask old = {0};
    if (mask) SOW_TRY(sow_mask_copy(arena, mask, &old));
    SOW_TRY(SOW_NEW(arena, out->bits, old.tensors + sow_state_count(weights) + 1));
    out->tensors = 0;
    for (int64_t i = 0; i < old.tensors; i++) out->bits[out->tensors++] = old.bits[i];
    for (int64_t i = 0; i < sow_state_count(weights); i++) {
        const sow_entry *e = sow_state_entry(weights, i);
        if (rates[i] > 0 && !sow_mask_find(&old, e->name)) SOW_TRY(ones(arena, e, &out->bits[out->tensors++]));
    }
    qsort(out->bits, (size_t)out->tensors, sizeof *out->bits, by_name);
    return SOW_OK;
}

sow_status sow_prune_begin(sow_arena *arena, const sow_state *weights, const sow_prune_spec *spec, sow_mask *out) {
    double *rates;
    SOW_TRY(sow_prune_rates(arena, weights, spec, &rates));
    return widen(arena, weights, NULL, rates, out);
}

/* Values in logical order: a copy where they are stored in another. */
static sow_status logical(sow_arena *arena, sow_tensor values, sow_tensor *out) {
    *out = values;
    if (sow_is_contiguous(values)) return SOW_OK;
    SOW_TRY(sow_tensor_new(arena, values.dtype, values.rank, values.shape, out));
    return sow_copy(*out, values);
}

/* One source for every masked tensor with a rate. */
static sow_status gather(sow_arena *arena, const sow_state *weights, const sow_mask *mask, const double *rates,
                         prune_source *sources, int64_t *count) {
    *count = 0;
    for (int64_t t = 0; t < mask->tensors; t++) {
        sow_entry *e;
        SOW_TRY(sow_state_get(weights, mask->bits[t].name, &e));
        SOW_TRY(sow_bits_fit(&mask->bits[t], e->value));
        int64_t index = 0;
        while (sow_state_entry(weights, index) != e) index++;
        if (rates[index] == 0) continue;
        SOW_TRY(prune_check_type(e->name, e->value));
        prune_source *s = &sources[(*count)++];
        *s = (prune_source){.name = e->name, .bits = &mask->bits[t], .rate = rates[index]};
        SOW_TRY(logical(arena, e->value, &s->values));
    }
    return SOW_OK;
}

/* Clears the bits of what the source loses; `bits` may be those it was selected under. */
static void clear_lost(const prune_source *s, sow_bits *bits) {
    uint8_t keep[PRUNE_CHUNK];
    int64_t ties_seen = 0;
    for (int64_t first = 0; first < bits->count; first += PRUNE_CHUNK) {
        int64_t n = bits->count - first < PRUNE_CHUNK ? bits->count - first : PRUNE_CHUNK;
        prune_keep(s, first, n, &ties_seen, keep);
        for (int64_t i = 0; i < n; i++)
            if (!keep[i]) sow_bit_clear(bits, first + i);
    }
}

sow_status sow_prune_magnitude(sow_arena *arena, const sow_state *weights, const sow_mask *mask,
                               const sow_prune_spec *spec, sow_mask *out) {
    double *rates;
    prune_source *sources;
    int64_t count;
    SOW_TRY(sow_prune_rates(arena, weights, spec, &rates));
    SOW_TRY(widen(arena, weights, mask, rates, out));
    sow_mark mark = sow_arena_mark(arena);
    SOW_TRY(SOW_NEW(arena, sources, out->tensors + 1));
    SOW_TRY(gather(arena, weights, out, rates, sources, &count));
    SOW_TRY(prune_select(arena, sources, count, spec->global, spec->google));
    for (int64_t s = 0; s < count; s++) clear_lost(&sources[s], sow_mask_find(out, sources[s].name));
    sow_arena_release(arena, mark);
    return SOW_OK;
}

sow_status sow_prune_trained(sow_arena *arena, const sow_state *trained, const sow_mask *mask,
                             const sow_prune_spec *spec, sow_mask *out) {
    SOW_TRY(sow_state_require_finite(trained, "trained weights"));
    SOW_TRY(sow_mask_require_zeros(mask, trained));
    return sow_prune_magnitude(arena, trained, mask, spec, out);
}

sow_status sow_prune_to(sow_arena *arena, sow_tensor values, int64_t keep, sow_bits *bits) {
    int64_t before = sow_bits_kept(bits);
    prune_source source = {.name = bits->name, .bits = bits, .rate = (double)(before - keep) / (double)before};
    SOW_TRY(sow_bits_fit(bits, values));
    SOW_TRY(prune_check_type(bits->name, values));
    if (keep < 0) return sow_fail(SOW_E_RANGE, "tensor '%s': cannot keep %lld weights", bits->name, (long long)keep);
    if (keep >= before) return SOW_OK;
    if (keep == 0) {
        for (int64_t i = 0; i < bits->count; i++) sow_bit_clear(bits, i);
        return SOW_OK;
    }
    sow_mark mark = sow_arena_mark(arena);
    SOW_TRY(logical(arena, values, &source.values));
    SOW_TRY(prune_select(arena, &source, 1, false, false));
    clear_lost(&source, bits);
    sow_arena_release(arena, mark);
    return SOW_OK;
}
