/* Selecting the smallest weights: what pruning of states and of files share. */
#ifndef SOW_NN_PRUNE_H
#define SOW_NN_PRUNE_H

#include "sow/prune.h"

/* The weights of one tensor in logical order, with the mask they have so far: from a state or a mapped file. */
typedef struct prune_source {
    const char *name;
    sow_tensor values;    /* row-major F64 F32 F16 BF16 */
    const sow_bits *bits; /* the mask so far, as bits ... */
    const uint8_t *keep;  /* ... or bytes; both NULL: dense */
    double rate;
    /* filled in by prune_select */
    int64_t before, kept; /* survivors so far, and after this round */
    bool wide;            /* keys are f64 bits */
    uint64_t threshold;   /* magnitudes below this key go, and the first `ties` equal ones */
    int64_t ties;
    int64_t spared; /* index of the one weight that a tensor keeps at least; -1: needs no sparing */
} prune_source;

enum { PRUNE_CHUNK = 4096 };

/* Decides what each source loses: thresholds, ties, counts. The sources lie in the order of their names. */
sow_status prune_select(sow_arena *arena, prune_source *sources, int64_t count, bool global, bool google);

/* keep[0..n): 1 where weight first+i survives the round. Chunks come in order, from index 0; `ties_seen` starts at 0. */
void prune_keep(const prune_source *source, int64_t first, int64_t n, int64_t *ties_seen, uint8_t *keep);

/* Whether `values` can be pruned by magnitude: SOW_E_TYPE, naming the tensor. */
sow_status prune_check_type(const char *name, sow_tensor values);

#endif
