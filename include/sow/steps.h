/* The optimiser's first decisions: learning rates by block of weights (sgd-sai). */
#ifndef SOW_STEPS_H
#define SOW_STEPS_H

#include "sow/feed.h"
#include "sow/method.h"
#include "sow/scales.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- sgd-sai: Xu et al. 2024, arXiv 2412.11768 ---- */

extern const sow_method sow_method_sgd_sai;

typedef struct sow_sgd_sai_config {
    sow_scale_blocks blocks;
    sow_scale_norm norm;
    int64_t batches;      /* at least 1 */
    bool mean_of_scales;  /* the mean of the batches' g; else g of their mean gradient */
    sow_adapter *adapter; /* its entries are measured instead of the network's, through its taps; NULL: none */
} sow_sgd_sai_config;

/* The scale of each block of the trainable entries of the feed's state (or of the adapter's), from the gradients of its first batches, in training mode:
 * what the optimiser SOW_SGD_SAI measures itself at its first step, as a table to look at and to edit. Gradients are left in the
 * state. Errors: those of the loss, SOW_E_NUMBER for a loss or gradient that is not finite. Cost: forward and backward of the
 * batches, and two passes over the gradient. */
sow_status sow_sgd_sai(const sow_sgd_sai_config *config, sow_feed *feed, sow_arena *arena, sow_scales *out);

/* How far scales are from the roots of the blocks' sizes. Dead blocks and single elements do not count. */
typedef struct sow_sai_summary {
    int64_t blocks, weights; /* all that count */
    int64_t blocks_off;      /* with g more than 2 % from sqrt(n) */
    int64_t weights_off;     /* elements of these */
    double least, most;      /* g / sqrt(n) */
    int64_t dead, single;    /* blocks without gradient, with one element */
    int64_t constant;        /* blocks whose gradient does not vary */
    int64_t tiny;            /* blocks whose gradient is so small that epsilon shows */
} sow_sai_summary;
/* Counts them. */
sow_sai_summary sow_sai_summarise(const sow_scales *scales);

#ifdef __cplusplus
}
#endif
#endif
