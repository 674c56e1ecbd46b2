/* Masks: one bit a weight, in logical order; 1 keeps. */
#ifndef SOW_MASK_H
#define SOW_MASK_H

#include "sow/state.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The mask of one tensor. Bit i of word i/64 belongs to the logical flat index i; bits behind `count` are 0. */
typedef struct sow_bits {
    const char *name;
    int rank;
    int64_t shape[SOW_RANK_MAX];
    int64_t count; /* elements */
    uint64_t *words;
} sow_bits;

typedef struct sow_mask {
    int64_t tensors;
    sow_bits *bits; /* sorted by name */
} sow_mask;

/* All-ones masks for the weight entries (role SOW_ROLE_WEIGHT) of a state, in the arena. */
sow_status sow_mask_new(sow_arena *arena, const sow_state *weights, sow_mask *out);
/* A deep copy in the arena. Errors: SOW_E_MEMORY. */
sow_status sow_mask_copy(sow_arena *arena, const sow_mask *from, sow_mask *out);
/* The bits of one tensor; NULL: that tensor is dense. Cost: a binary search. */
sow_bits *sow_mask_find(const sow_mask *mask, const char *name);
/* How many are 1. */
int64_t sow_bits_kept(const sow_bits *bits);
static inline bool sow_bit(const sow_bits *bits, int64_t i) { return bits->words[i >> 6] >> (i & 63) & 1; }
static inline void sow_bit_clear(sow_bits *bits, int64_t i) { bits->words[i >> 6] &= ~(UINT64_C(1) << (i & 63)); }
static inline void sow_bit_set(sow_bits *bits, int64_t i) { bits->words[i >> 6] |= UINT64_C(1) << (i & 63); }

/* A mask from a state of U8 or BOOL tensors with values 0 and 1 (a mask file). Errors: SOW_E_TYPE, SOW_E_RANGE. */
sow_status sow_mask_from_state(sow_arena *arena, const sow_state *from, sow_mask *out);
/* The other way, as U8 tensors, for sow_save_state. */
sow_status sow_mask_to_state(const sow_mask *mask, sow_state **out);

/* Binds a mask to a state: expands it into the entries' U8 masks (storage order) and sets masked values to
 * exactly 0. SOW_E_SHAPE, naming tensor and shapes, where a name is absent or a shape differs. A NULL or empty
 * mask unbinds. */
sow_status sow_mask_bind(const sow_mask *mask, sow_state *state);

/* SOW_E_SHAPE, naming both shapes, where the bits are not of a tensor of this shape. */
sow_status sow_bits_fit(const sow_bits *bits, sow_tensor values);

/* Whether a training has kept to the mask: SOW_E_TRAINER, naming tensor and element, where a masked weight is not 0.
 * A NULL mask holds always. */
sow_status sow_mask_require_zeros(const sow_mask *mask, const sow_state *trained);

/* What is kept wherever any of the masks keeps it. A tensor that one of them lacks is dense there, so it leaves the
 * union too. Errors: SOW_E_SHAPE. */
sow_status sow_mask_union(sow_arena *arena, const sow_mask *masks, int count, sow_mask *out);

/* Weights (role weight) of the state that the mask keeps; a tensor without a mask, and all under the mask NULL, are
 * kept whole. Divided by sow_state_weights this is the papers' P_m. */
int64_t sow_mask_kept(const sow_mask *mask, const sow_state *weights);

#ifdef __cplusplus
}
#endif
#endif
