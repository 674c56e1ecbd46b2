/* The operators. Each call checks shapes, computes, and records itself for backward; F32 runs on the fast paths,
 * F64 on plain loops (the reference for gradient checks). A failed check poisons the tape and names both shapes. */
#ifndef SOW_OPS_H
#define SOW_OPS_H

#include "sow/tape.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- dense (src/autograd/dense.c) ---- */
/* y = x W^T + b. x: [..., in], w: [out, in] in either storage order, b: [out] or NULL. Cost: 2*rows*in*out FLOP. */
sow_var sow_linear(sow_tape *t, sow_var x, sow_var w, sow_var b);
/* c = a b over the last two dimensions, leading ones equal. a: [..., m, k], b: [..., k, n]. Either may be a
 * transposed view (sow_permuted). */
sow_var sow_matmul(sow_tape *t, sow_var a, sow_var b);

/* ---- element-wise (src/autograd/elementwise.c) ---- */
/* a + b: equal shapes, or b's shape is the end of a's and b repeats over the leading dimensions. */
sow_var sow_add(sow_tape *t, sow_var a, sow_var b);
/* a - b, shapes as for sow_add. */
sow_var sow_sub(sow_tape *t, sow_var a, sow_var b);
/* a * b, shapes as for sow_add. */
sow_var sow_mul(sow_tape *t, sow_var a, sow_var b);
/* factor * x + shift. */
sow_var sow_scale(sow_tape *t, sow_var x, double factor, double shift);
/* max(0, x); the gradient at exactly 0 is 0. */
sow_var sow_relu(sow_tape *t, sow_var x);
/* x Phi(x) (Hendrycks and Gimpel 2016), or its approximation by tanh. */
sow_var sow_gelu(sow_tape *t, sow_var x, bool tanh_form);
/* 1 / (1 + exp(-x)). */
sow_var sow_sigmoid(sow_tape *t, sow_var x);
/* Hyperbolic tangent. */
sow_var sow_tanh(sow_tape *t, sow_var x);
/* e^x. */
sow_var sow_exp(sow_tape *t, sow_var x);
/* Natural logarithm. */
sow_var sow_log_of(sow_tape *t, sow_var x);
/* x^2. */
sow_var sow_square(sow_tape *t, sow_var x);
/* Keeps each element with probability 1-p and scales it by 1/(1-p); the identity outside training mode. */
sow_var sow_dropout(sow_tape *t, sow_var x, double p);

/* ---- shapes (src/autograd/shape.c) ---- */
/* The same elements in logical order; one extent may be -1. A view of row-major memory, else a copy. */
sow_var sow_reshaped(sow_tape *t, sow_var x, int rank, const int64_t *shape);
/* Joins the dimensions from `first` on. */
sow_var sow_flatten(sow_tape *t, sow_var x, int first);
/* Dimension i of the result is dimension order[i] of x; a view. */
sow_var sow_permuted(sow_tape *t, sow_var x, const int *order);
/* Joins parts along one dimension; the others are equal. */
sow_var sow_concat(sow_tape *t, const sow_var *parts, int count, int dimension);
/* `count` indices from `first` on, of one dimension; copied where a view would have gaps. */
sow_var sow_narrow(sow_tape *t, sow_var x, int dimension, int64_t first, int64_t count);
/* Sum of all elements; f64 partial sums in a fixed order. */
sow_var sow_sum(sow_tape *t, sow_var x);
/* Mean of all elements, likewise. */
sow_var sow_mean(sow_tape *t, sow_var x);
/* Sum over one dimension, which disappears; f64 sums in index order. */
sow_var sow_sum_over(sow_tape *t, sow_var x, int dimension);

/* ---- convolution (src/autograd/conv.c) ---- */
typedef struct sow_conv {
    int64_t stride, padding, dilation, groups; /* 0 means 1 for stride, dilation and groups */
} sow_conv;
/* x: [N, C, H, W] (stored channels-last), w: [K, C/groups, R, S] row-major, b: [K] or NULL. y: [N, K, H', W']
 * with H' = (H + 2 padding - dilation (R-1) - 1) / stride + 1. oneDNN, cut into fixed shards of images.
 * Cost: 2 N K H' W' C R S / groups FLOP. */
sow_var sow_conv2d(sow_tape *t, sow_var x, sow_var w, sow_var b, sow_conv conv);

/* ---- pooling (src/autograd/pool.c) ---- */
/* Windows of size x size; padding counts as -inf for max and is not counted for the average. */
sow_var sow_max_pool2d(sow_tape *t, sow_var x, int64_t size, int64_t stride, int64_t padding);
/* Mean of each window; padding is not counted. */
sow_var sow_avg_pool2d(sow_tape *t, sow_var x, int64_t size, int64_t stride, int64_t padding);
/* Mean over height and width: [N, C, H, W] -> [N, C]. */
sow_var sow_global_avg_pool2d(sow_tape *t, sow_var x);

/* ---- normalisation (src/autograd/norm.c, layer_norm.c) ---- */
typedef struct sow_norm {
    double epsilon;   /* 0 means 1e-5 */
    double momentum;  /* of running statistics; 0 means 0.1 */
    bool relu;        /* max(0, .) at the end */
} sow_norm;
/* y = gamma (x - mean) / sqrt(var + eps) + beta (+ skip) (then ReLU): per channel over N, H, W (or over rows of
 * [N, C]). In training mode the batch's biased variance normalises, the unbiased one goes to running_var, and
 * `batches` (I64 scalar, may be NULL) counts up; else the running statistics are used. skip: NULL or x's shape. */
sow_var sow_batch_norm(sow_tape *t, sow_var x, sow_var gamma, sow_var beta, sow_var skip, sow_entry *running_mean,
                       sow_entry *running_var, sow_entry *batches, sow_norm norm);
/* Over the last dimension; gamma and beta may be NULL. */
sow_var sow_layer_norm(sow_tape *t, sow_var x, sow_var gamma, sow_var beta, double epsilon);

/* x / sqrt(mean(x^2) + epsilon) * w over the last dimension (Zhang and Sennrich 2019, arXiv 1910.07467); with `plus_one`
 * times 1 + w (Gemma). w: [d]. Sums in f64. */
sow_var sow_rms_norm(sow_tape *t, sow_var x, sow_var w, double epsilon, bool plus_one);

/* ---- language models (src/autograd/embedding.c, gate.c, attention.c, head.c) ---- */
/* Rows ids[i] of table [vocabulary, d]: [n, d]. ids: I32 [n], copied; SOW_E_RANGE names an id
 * outside. The table's gradient is added in the order of the rows; that of row `padding` stays as it is, as in torch.nn.Embedding
 * (-1: none such). */
sow_var sow_embedding(sow_tape *t, sow_var table, sow_tensor ids, int32_t padding);

typedef enum sow_activation { SOW_SILU, SOW_GELU, SOW_GELU_TANH, SOW_RELU } sow_activation;
/* activation(gate) * up, element by element, in one pass (Shazeer 2020, arXiv 2002.05202). */
sow_var sow_gated(sow_tape *t, sow_var gate, sow_var up, sow_activation activation);

/* Rows are tokens; several sequences lie one behind the other, and none sees another. */
typedef struct sow_attention {
    int64_t heads, kv_heads;   /* query head h sees key and value head h * kv_heads / heads */
    double scale;              /* of the scores; 0: 1 / sqrt(head size) */
    bool causal;               /* a token sees itself and what stands before it */
    int64_t window;            /* of that the last `window` tokens, itself included; 0: all */
    const int64_t *start;      /* [sequences + 1]: first rows, then the number of rows; outlives the recording; NULL: equal lengths */
    int64_t sequences;
    sow_tensor rotary;         /* [longest sequence, head size]: cosines, then sines, in q's dtype (sow_rotary); data NULL: none */
} sow_attention;
/* softmax(scale q k^T) v per head (Vaswani et al. 2017; grouped heads: Ainslie et al. 2023), q and k turned by their
 * positions in the sequence first (Su et al. 2021, half-split). q: [n, heads * d], k, v: [n, kv_heads * d] -> [n, heads *
 * d]. Scores exist in blocks of rows only and are made again for backward. Cost: 4 n T d heads FLOP forward, half if causal. */
sow_var sow_attend(sow_tape *t, sow_var q, sow_var k, sow_var v, const sow_attention *attention);
/* Fills rotary[p] = cos(p f_m), sin(p f_m) for the d/2 frequencies f (radians a position). Angles in f64. */
void sow_rotary(sow_tensor rotary, const double *frequency);

/* Cross-entropy of the logits h W^T against labels, in chunks of rows: the logits are never whole in memory. h: [n, d],
 * w: [vocabulary, d] row-major, labels: I32 [n], -1 is not counted. Sum over counted rows / divisor; divisor 0: their
 * number. SOW_E_RANGE: a label outside, or none counted. Gradients are made together with the loss. */
sow_var sow_head_loss(sow_tape *t, sow_var h, sow_var w, sow_tensor labels, double divisor);

/* ---- adapters (src/autograd/low_rank.c) ---- */
/* y + scale * x A^T R^T B^T (LoRA, Hu et al. 2021; with R: LoRA-XS). x: [n, in], y: [n, out], a: [r, in], b: [out, r], r: [r, r]
 * or NULL; row-major. Cost: 2 n r (in + out) FLOP forward. */
sow_var sow_low_rank(sow_tape *t, sow_var x, sow_var y, sow_var a, sow_var r, sow_var b, double scale);
/* 1 / |row i of W + scale B A|, [out]; no gradient (DoRA, Liu et al. 2024, section 4.3). w: [out, in] in any layout. Cost:
 * 2 in out r FLOP. */
sow_var sow_inverse_row_norms(sow_tape *t, sow_var w, sow_var a, sow_var b, double scale);

/* ---- losses (src/autograd/loss.c) ---- */
/* Mean over counted rows of -log softmax(logits)[label]; label -1 is not counted. logits: [n, classes];
 * labels: I32 [n], memory outlives the recording. */
sow_var sow_softmax_cross_entropy(sow_tape *t, sow_var logits, sow_tensor labels);
/* Mean of (a - b)^2. */
sow_var sow_mean_squared_error(sow_tape *t, sow_var a, sow_var b);

#ifdef __cplusplus
}
#endif
#endif
