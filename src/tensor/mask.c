/* Masks: one bit a weight. */
#include "sow/mask.h"

#include <stdlib.h>
#include <string.h>

static size_t words_for(int64_t count) {
    return (size_t)((count + 63) / 64);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const sow_bits *)a)->name, ((const sow_bits *)b)->name);
}

/* Bits of one tensor, all zero. */
static sow_status bits_of(sow_arena *arena, const char *name, sow_tensor shape, sow_bits *out) {
    *out = (sow_bits){.name = sow_arena_copy(arena, name), .rank = shape.rank, .count = sow_count(shape)};
    if (!out->name) return SOW_E_MEMORY;
    memcpy(out->shape, shape.shape, sizeof out->shape);
    return SOW_NEW(arena, out->words, words_for(out->count));
}

static sow_status mask_of(sow_arena *arena, const sow_state *state, bool weights_only, sow_mask *out) {
    *out = (sow_mask){0};
    SOW_TRY(SOW_NEW(arena, out->bits, sow_state_count(state) + 1));
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        const sow_entry *e = sow_state_entry(state, i);
        if (weights_only && e->role != SOW_ROLE_WEIGHT) continue;
        SOW_TRY(bits_of(arena, e->name, e->value, &out->bits[out->tensors++]));
    }
    qsort(out->bits, (size_t)out->tensors, sizeof *out->bits, by_name);
    return SOW_OK;
}

sow_status sow_mask_new(sow_arena *arena, const sow_state *weights, sow_mask *out) {
    SOW_TRY(mask_of(arena, weights, true, out));
    for (int64_t i = 0; i < out->tensors; i++) {
        sow_bits *bits = &out->bits[i];
        memset(bits->words, 0xff, words_for(bits->count) * sizeof *bits->words);
        if (bits->count & 63) bits->words[bits->count >> 6] = (UINT64_C(1) << (bits->count & 63)) - 1;
    }
    return SOW_OK;
}

sow_status sow_mask_copy(sow_arena *arena, const sow_mask *from, sow_mask *out) {
    out->tensors = from->tensors;
    SOW_TRY(SOW_NEW(arena, out->bits, from->tensors + 1));
    for (int64_t i = 0; i < from->tensors; i++) {
        sow_bits *bits = &out->bits[i];
        *bits = from->bits[i];
        bits->name = sow_arena_copy(arena, from->bits[i].name);
        if (!bits->name) return SOW_E_MEMORY;
        SOW_TRY(SOW_NEW(arena, bits->words, words_for(bits->count)));
        memcpy(bits->words, from->bits[i].words, words_for(bits->count) * sizeof *bits->words);
    }
    return SOW_OK;
}

sow_bits *sow_mask_find(const sow_mask *mask, const char *name) {
    sow_bits wanted = {.name = name};
    return mask->tensors ? bsearch(&wanted, mask->bits, (size_t)mask->tensors, sizeof *mask->bits, by_name) : NULL;
}

int64_t sow_bits_kept(const sow_bits *bits) {
    int64_t kept = 0;
    for (size_t i = 0; i < words_for(bits->count); i++) kept += __builtin_popcountll(bits->words[i]);
    return kept;
}

sow_status sow_mask_from_state(sow_arena *arena, const sow_state *from, sow_mask *out) {
    SOW_TRY(mask_of(arena, from, false, out));
    for (int64_t t = 0; t < out->tensors; t++) {
        sow_bits *bits = &out->bits[t];
        sow_tensor value = sow_state_find(from, bits->name)->value;
        if (value.dtype != SOW_U8 && value.dtype != SOW_BOOL)
            return sow_fail(SOW_E_TYPE, "mask '%s' is %s, expected U8 or BOOL", bits->name, sow_dtype_name(value.dtype));
        bool rows = sow_is_contiguous(value);
        for (int64_t i = 0; i < bits->count; i++) {
            uint8_t keep = ((const uint8_t *)value.data)[rows ? i : sow_offset(value, i)];
            if (keep > 1) return sow_fail(SOW_E_RANGE, "mask '%s': element %lld is %d, expected 0 or 1", bits->name, (long long)i, keep);
            if (keep) sow_bit_set(bits, i);
        }
    }
    return SOW_OK;
}

sow_status sow_mask_to_state(const sow_mask *mask, sow_state **out) {
    sow_state *state;
    SOW_TRY(sow_state_new(&state));
    for (int64_t t = 0; t < mask->tensors; t++) {
        const sow_bits *bits = &mask->bits[t];
        sow_entry *entry;
        sow_status status = sow_state_add(state, bits->name, SOW_U8, bits->rank, bits->shape, &entry);
        if (status != SOW_OK) {
            sow_state_free(state);
            return status;
        }
        for (int64_t i = 0; i < bits->count; i++) ((uint8_t *)entry->value.data)[i] = sow_bit(bits, i);
    }
    *out = state;
    return SOW_OK;
}

sow_status sow_bits_fit(const sow_bits *bits, sow_tensor values) {
    char found[SOW_SHAPE_TEXT], expected[SOW_SHAPE_TEXT];
    sow_tensor described = sow_tensor_of(NULL, SOW_U8, bits->rank, bits->shape);
    if (sow_same_shape(described, values)) return SOW_OK;
    return sow_fail(SOW_E_SHAPE, "mask '%s' is %s, the tensor is %s", bits->name, sow_shape_text(described, found),
                    sow_shape_text(values, expected));
}

static sow_status bind_one(const sow_bits *bits, sow_state *state, sow_entry *e) {
    SOW_TRY(sow_bits_fit(bits, e->value));
    if (!sow_is_dense(e->value)) return sow_fail(SOW_E_SHAPE, "tensor '%s' has gaps in memory and cannot be masked", e->name);
    if (!e->mask.data) {
        sow_tensor mask = e->value;
        mask.dtype = SOW_U8;
        SOW_TRY(sow_tensor_like(sow_state_arena(state), mask, &e->mask));
    }
    uint8_t *keep = e->mask.data;
    bool rows = sow_is_contiguous(e->value);
    for (int64_t i = 0; i < bits->count; i++) {
        int64_t at = rows ? i : sow_offset(e->value, i);
        keep[at] = sow_bit(bits, i);
        if (keep[at]) continue;
        if (e->value.dtype == SOW_F32) ((float *)e->value.data)[at] = 0;
        else sow_put(e->value, i, 0);
    }
    return SOW_OK;
}

sow_status sow_mask_bind(const sow_mask *mask, sow_state *state) {
    for (int64_t i = 0; i < sow_state_count(state); i++) sow_state_entry(state, i)->mask.data = NULL;
    for (int64_t i = 0; mask && i < mask->tensors; i++) {
        sow_entry *entry;
        sow_status status = sow_state_get(state, mask->bits[i].name, &entry);
        if (status != SOW_OK) return sow_fail_in(SOW_E_SHAPE, "mask '%s'", mask->bits[i].name);
        SOW_TRY(bind_one(&mask->bits[i], state, entry));
    }
    return SOW_OK;
}

sow_status sow_mask_require_zeros(const sow_mask *mask, const sow_state *trained) {
    for (int64_t t = 0; mask && t < mask->tensors; t++) {
        const sow_bits *bits = &mask->bits[t];
        sow_entry *e;
        SOW_TRY(sow_state_get(trained, bits->name, &e));
        for (int64_t i = 0; i < bits->count; i++) {
            if (sow_bit(bits, i)) continue;
            double value = sow_at(e->value, i);
            if (value == 0) continue;
            return sow_fail(
                SOW_E_TRAINER,
                "tensor '%s': element %lld is masked, but %g after training; the trainer must keep masked weights at 0 "
                "(mask the update, not only the gradient)",
                bits->name, (long long)i, value);
        }
    }
    return SOW_OK;
}

sow_status sow_mask_union(sow_arena *arena, const sow_mask *masks, int count, sow_mask *out) {
    SOW_TRY(sow_mask_copy(arena, &masks[0], out));
    int64_t left = 0;
    for (int64_t t = 0; t < out->tensors; t++) {
        sow_bits *bits = &out->bits[t];
        bool everywhere = true;
        for (int m = 1; m < count; m++) {
            const sow_bits *other = sow_mask_find(&masks[m], bits->name);
            everywhere = everywhere && other;
            if (!other) continue;
            SOW_TRY(sow_bits_fit(other, sow_tensor_of(NULL, SOW_U8, bits->rank, bits->shape)));
            for (int64_t w = 0; w < (bits->count + 63) / 64; w++) bits->words[w] |= other->words[w];
        }
        if (everywhere) out->bits[left++] = *bits;
    }
    out->tensors = left;
    return SOW_OK;
}

int64_t sow_mask_kept(const sow_mask *mask, const sow_state *weights) {
    int64_t kept = 0;
    for (int64_t i = 0; i < sow_state_count(weights); i++) {
        const sow_entry *e = sow_state_entry(weights, i);
        const sow_bits *bits = mask ? sow_mask_find(mask, e->name) : NULL;
        if (e->role == SOW_ROLE_WEIGHT) kept += bits ? sow_bits_kept(bits) : sow_count(e->value);
    }
    return kept;
}
