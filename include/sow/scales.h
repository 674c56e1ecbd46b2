/* Learning rates by block of weights, measured from the first gradient: Xu et al. 2024, arXiv 2412.11768 (SGD-SaI). */
#ifndef SOW_SCALES_H
#define SOW_SCALES_H

#include <jansson.h>

#include "sow/state.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- blocks: what shares a scale ---- */

typedef enum sow_block_kind {
    SOW_BLOCKS_TENSOR, /* each tensor as it is stored: the paper's */
    SOW_BLOCKS_QKV,    /* a fused query-key-value tensor is three */
    SOW_BLOCKS_HEAD,   /* query, key and value tensors by attention head */
    SOW_BLOCKS_ROW,    /* every output row of a matrix or convolution */
} sow_block_kind;

/* "tensor", "qkv", "head", "row". SOW_E_ARGUMENT. */
sow_status sow_block_kind_parse(const char *name, sow_block_kind *out);
/* The kind's name. */
const char *sow_block_kind_name(sow_block_kind kind);

typedef struct sow_scale_blocks {
    sow_block_kind kind;
    int64_t heads, kv_heads; /* of by-head blocks; kv_heads 0: as heads */
} sow_scale_blocks;

/* A tensor cut along one logical dimension into equal parts. */
typedef struct sow_partition {
    int dimension;
    int64_t parts;
} sow_partition;

/* How an entry is cut. Query, key and value tensors are told by their names: c_attn, qkv, in_proj, query_key_value, Wqkv are
 * fused; q_proj, k_proj, v_proj, query, key, value are not. Outputs are dimension 0, but 1 in GPT-2's c_attn, c_proj and c_fc. Where
 * the extent is no multiple of the parts the tensor stays whole. */
sow_partition sow_partition_of(const sow_entry *entry, const sow_scale_blocks *blocks);

/* ---- the signal-to-noise ratio of a gradient (section 3; sums in f64) ---- */

typedef enum sow_gsnr_kind {
    SOW_GSNR_MEASURED,
    SOW_GSNR_SINGLE,   /* one element has no deviation: g is 1 */
    SOW_GSNR_DEAD,     /* no gradient at all: g is 1 */
    SOW_GSNR_CONSTANT, /* a deviation below 1e-6 of the norm: g is sqrt(n) */
    SOW_GSNR_TINY,     /* a deviation below 1e-6: epsilon takes more than 1 % off g */
} sow_gsnr_kind;

typedef struct sow_gsnr {
    int64_t n;             /* elements, kept ones where there is a mask */
    double norm, mean, sd; /* sd: unbiased, with n - 1 */
    double g;              /* norm / (sd + 1e-8) */
    sow_gsnr_kind kind;
} sow_gsnr;

/* "", "single element", "dead", "constant", "tiny": what is unusual about a block. */
const char *sow_gsnr_kind_text(sow_gsnr_kind kind);

/* g of each part of a dense F32 gradient, into out[partition.parts]. mask: U8 in the same layout, data NULL: none. Without noise
 * g^2 (1 - n mean^2 / norm^2) = n - 1: g is sqrt(n) nearly, more where the gradient has a common sign. Same bits for any number of
 * threads. A non-finite gradient gives a non-finite g. Cost: two passes. */
void sow_gsnr_measure(sow_tensor gradient, sow_tensor mask, sow_partition partition, sow_gsnr *out);

/* ---- tables of scales ---- */

typedef enum sow_scale_norm {
    SOW_SCALES_RAW, /* g itself: the authors' package */
    SOW_SCALES_MAX, /* g / largest g: the paper's Algorithm 1 */
    SOW_SCALES_MEAN /* g / mean g of all blocks */
} sow_scale_norm;

/* "none", "max", "mean". SOW_E_ARGUMENT. */
sow_status sow_scale_norm_parse(const char *name, sow_scale_norm *out);
/* The norm's name. */
const char *sow_scale_norm_name(sow_scale_norm norm);

/* One block. */
typedef struct sow_scale_row {
    const char *name;     /* of the tensor */
    sow_tensor shape;     /* its description: data NULL */
    int64_t block, parts; /* which of how many */
    sow_gsnr gsnr;
    double scale; /* what multiplies the learning rate */
} sow_scale_row;

/* Blocks of one tensor stand together, in order. Memory is the caller's arena. */
typedef struct sow_scales {
    sow_scale_blocks blocks;
    sow_scale_norm norm;
    double largest; /* g of all blocks: rate of "max" = largest * rate of "none", and its weight decay / largest */
    sow_scale_row *rows;
    int64_t count;
} sow_scales;

/* The table of the trainable entries whose gradients were written. Others are left out and named in one warning. SOW_E_NUMBER: a gradient
 * is not finite; SOW_E_NOT_FOUND: no gradient at all. */
sow_status sow_scales_measure(sow_arena *arena, const sow_state *state, const sow_scale_blocks *blocks,
                              sow_scale_norm norm, sow_scales *out);
/* The same table with g = sqrt(n): needs no gradient. */
sow_status sow_scales_sqrt_n(sow_arena *arena, const sow_state *state, const sow_scale_blocks *blocks,
                             sow_scale_norm norm, sow_scales *out);
/* Adds the g of `more` (a table of the same blocks) to that of `sum`; sow_scales_divide takes the mean and norms anew. */
sow_status sow_scales_add(sow_scales *sum, const sow_scales *more);
/* The mean of `tables` tables that were added. */
void sow_scales_divide(sow_scales *sum, int64_t tables);

/* The table as JSON: {"format":"sow scales 1","blocks","normalise","largest","scales":[{"name","shape","block","parts","n",
 * "norm","mean","sd","g","normalised","sqrt_n","ratio","scale","note"}]}; ratio is g / sqrt(n), normalised g / largest. */
sow_status sow_scales_json(const sow_scales *scales, json_t **out);
/* Reads such a file; of a row only name, block, parts and scale must be there, so that tables can be edited and written by
 * hand. SOW_E_FORMAT with the row's number: members missing, a scale that is not finite or negative, blocks twice or missing. */
sow_status sow_scales_read(sow_arena *arena, const char *path, sow_scales *out);
/* Whether there is a scale for every trainable entry, in blocks that divide its outputs, and none for anything else. SOW_E_NOT_FOUND,
 * SOW_E_SHAPE name the first that does not fit. */
sow_status sow_scales_fit(const sow_scales *scales, const sow_state *state);
/* The first row of a tensor (of row->parts rows); NULL if it is not in the table. */
const sow_scale_row *sow_scales_find(const sow_scales *scales, const char *name);

#ifdef __cplusplus
}
#endif
#endif
