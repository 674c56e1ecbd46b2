/* Statistics of tensors for `sow inspect`, and the readers of its formats. */
#ifndef SOW_CLI_INSPECT_H
#define SOW_CLI_INSPECT_H

#include "cli/cli.h"
#include "sow/tensor.h"

enum { INSPECT_BINS = 16 };

/* Moments over the finite elements. */
typedef struct tensor_summary {
    int64_t count, finite, zeros, nan, infinite;
    double mean, sd, low, high;
    int64_t bins[INSPECT_BINS]; /* equal widths from low to high */
    bool known;                 /* false for types without arithmetic (F8, C64) */
} tensor_summary;

/* Two passes over a row-major tensor in blocks, so that a mapped file of any size streams through. The same numbers for any
 * number of threads. Errors: SOW_E_MEMORY, SOW_E_INTERRUPTED. */
sow_status inspect_summarise(sow_arena *arena, sow_tensor t, tensor_summary *out);

/* A table row: name, dtype, shape, moments, histogram (a text of bars for people, {low, high, counts} for --json). */
sow_status inspect_row(sow_call *call, const char *name, sow_tensor t, const tensor_summary *summary, json_t **row);

/* Cells of a store by stage and state. */
sow_status inspect_store(sow_call *call, const char *path);

#endif
