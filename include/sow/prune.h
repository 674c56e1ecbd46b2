/* Pruning by magnitude: which weights go, a round at a time, in states and in files larger than memory. */
#ifndef SOW_PRUNE_H
#define SOW_PRUNE_H

#include "sow/mask.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- how much ---- */

/* How much one round removes of the weights that are left. */
typedef struct sow_prune_rate {
    /* A group of the state ("conv", "fc", "out"), else a pattern for names, as of sow_init_rule; NULL: all weights. */
    const char *key;
    double rate; /* fraction of the survivors, 0 <= rate < 1; 0 leaves a tensor dense */
} sow_prune_rate;

typedef struct sow_prune_spec {
    const sow_prune_rate *rates; /* the first that fits a tensor counts; tensors that none fits stay dense */
    int count;
    bool global; /* one threshold over all tensors with a rate above 0 (the same for all) instead of one a tensor */
    bool google; /* cut as Frankle and Carbin's code: everything up to the sorted value round_half_even(rate*n) */
} sow_prune_spec;

/* "0.2", "fc=0.2,out=0.1" or "layer[12].*conv.*=0.2" into rates in the arena. Errors: SOW_E_ARGUMENT, naming the
 * word. */
sow_status sow_prune_parse(sow_arena *arena, const char *text, sow_prune_spec *out);

/* The rate of every entry of `weights`, by entry number, in the arena. Groups and the key NULL mean entries with the
 * role weight; a regular expression means entries of two or more dimensions that are no buffers. Errors:
 * SOW_E_ARGUMENT where a key fits nothing (naming the groups there are), is no regular expression, or where `global`
 * meets unequal rates. */
sow_status sow_prune_rates(sow_arena *arena, const sow_state *weights, const sow_prune_spec *spec, double **rates);

/* ---- states ---- */

/* All-ones masks of the tensors that `spec` prunes: the mask before the first round. */
sow_status sow_prune_begin(sow_arena *arena, const sow_state *weights, const sow_prune_spec *spec, sow_mask *out);

/* Removes, tensor by tensor or over all, k = floor(rate*n + 0.5) of the n survivors with the smallest magnitude; ties:
 * the lower flat index (over all: the earlier name) goes first. `weights` may as well hold scores of weights. `mask`
 * is what earlier rounds left, NULL: everything; a tensor that it lacks is dense. A tensor that would end empty keeps
 * its largest weight, with a warning. Values may be F64, F32, F16 or BF16. Errors: those of sow_prune_rates;
 * SOW_E_SHAPE where mask and weights differ; SOW_E_NUMBER on NaN or infinity; SOW_E_TYPE. Cost: O(n), three or four
 * passes; 0.5 MiB of memory. */
sow_status sow_prune_magnitude(sow_arena *arena, const sow_state *weights, const sow_mask *mask,
                               const sow_prune_spec *spec, sow_mask *out);

/* The same after a training under the mask: first checks that all values are finite (SOW_E_NUMBER) and masked ones 0
 * (SOW_E_TRAINER). */
sow_status sow_prune_trained(sow_arena *arena, const sow_state *trained, const sow_mask *mask,
                             const sow_prune_spec *spec, sow_mask *out);

/* Clears all but the `keep` largest magnitudes among those that `bits` keeps now; nothing if there are no more. Ties
 * as above. `values`: the tensor the bits belong to, in any storage order. Errors: SOW_E_SHAPE, SOW_E_TYPE,
 * SOW_E_NUMBER; SOW_E_RANGE where keep is negative. */
sow_status sow_prune_to(sow_arena *arena, sow_tensor values, int64_t keep, sow_bits *bits);

/* ---- the same on safetensors files larger than memory ---- */

/* One tensor of a pruned file. */
typedef struct sow_pruned {
    const char *name;
    double rate;
    int64_t count, before, kept;
} sow_pruned;

/* Prunes the file or folder `final` (any framework's) under the mask file `mask` (NULL: none) into a mask file of U8
 * tensors: the ones in `mask` and those with a rate. Reads by mapping, writes as it goes: memory does not grow with
 * the file. `pruned` (may be NULL) gets one row a tensor written. Errors: as sow_prune_magnitude, and of files. */
sow_status sow_prune_file(sow_arena *arena, const char *final, const char *mask, const sow_prune_spec *spec,
                          const char *out, const char *passport, sow_pruned **pruned, int64_t *count);

/* The masked start m * theta: copies the file `start`, with exact zeros where the mask file has 0, and writes the mask
 * beside it as X.mask.safetensors, the mask first. Streamed too. Errors: SOW_E_SHAPE where they do not fit;
 * SOW_E_ARGUMENT unless `out` ends in .safetensors. */
sow_status sow_mask_file(sow_arena *arena, const char *start, const char *mask, const char *out, const char *passport,
                         const char *mask_passport);

#ifdef __cplusplus
}
#endif
#endif
