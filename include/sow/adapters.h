/* Starts of low-rank adapters: from the directions of the data (eva), from the first step of full fine-tuning (lora-sb), from those
 * of several clients (lora-fair). */
#ifndef SOW_ADAPTERS_H
#define SOW_ADAPTERS_H

#include "sow/feed.h"
#include "sow/method.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- EVA: Paischer et al. 2024, arXiv 2410.07170 ---- */

/* A total of ranks shared out: the `budget` largest of all layers' scores, each a rank of its layer. scores[i]: [counts[i]], falling.
 * Ties: the earlier layer first, then the earlier component (PEFT leaves them to chance). Scores that are not above 0 get nothing,
 * so the sum is the budget or the number of positive scores. ranks: [layers]. Cost: n log n for n scores. SOW_E_MEMORY. */
sow_status sow_rank_distribute(const double *const *scores, const int64_t *counts, int64_t layers, int64_t budget,
                               int64_t *ranks);

typedef enum sow_eva_solver {
    SOW_EVA_IPCA, /* incremental, batch by batch, as PEFT does it: until components stop turning */
    SOW_EVA_GRAM, /* exact second moments, looked at after 4, 8, 16 .. batches: until subspaces stop moving */
} sow_eva_solver;
typedef enum sow_eva_metric {
    SOW_EVA_RATIO, /* share of the layer's variance: PEFT */
    SOW_EVA_RAW,   /* variance itself */
    SOW_EVA_SUM,   /* share among the kept components */
    SOW_EVA_MAX,   /* relative to the layer's largest */
} sow_eva_metric;

typedef struct sow_eva_config {
    int64_t rank;         /* r: the budget is r a layer */
    double rho;           /* a layer's rank may grow to round(r rho), half to even; 1: all have r */
    double tau;           /* ipca: signed cosine from which a component counts as settled */
    double capture;       /* gram: share of the variance of the leading r components that those of the look before must hold */
    double alpha;         /* lora_alpha */
    bool own_alpha;       /* each layer's scale is alpha / its rank; else alpha / r everywhere */
    bool whiten;          /* rows of A divided by the root of their singular value */
    bool exact;           /* ipca: full decompositions */
    sow_eva_solver solver;
    sow_eva_metric metric;
    int64_t min_batches, max_batches;
    uint64_t seed;
} sow_eva_config;
/* 16, 2, .99, .95, 1, ratio, ipca, 1 to 200 batches. */
sow_eva_config sow_eva_defaults(void);

/* What became of one layer. */
typedef struct sow_eva_layer {
    const char *module;
    int64_t in, out, hook;  /* hook: index of the layer whose components it shares, or its own */
    int64_t rank, count;    /* count: components that were followed */
    double *ratio;          /* [count]: explained variance ratios */
    double *singular;       /* [count] */
    int64_t rows, batches;  /* rows seen; batches taken */
    bool converged;
} sow_eva_layer;
/* After a batch (ipca) or a look (gram): hooks that have settled. */
typedef struct sow_eva_progress {
    int64_t batches, settled;
    double least; /* gram: the smallest captured share; ipca: NAN */
} sow_eva_progress;
typedef struct sow_eva_report {
    sow_eva_layer *layers;
    int64_t count, hooks, budget, batches;
    bool converged;
    sow_eva_progress *progress;
    int64_t progress_count;
} sow_eva_report;

/* The start: rows of A are the leading principal components of what enters each layer, B = 0; a total of r a layer goes to the
 * components that explain most, whatever layer they belong to. Sites with one input share components; the first holds most of them.
 * Components whose singular value is below 1e-6 of the first are rounding and get no rank; layers of rank 0 get no entry.
 * The adapter is bound to the sites; its targets are NULL. The report lies in the arena.
 * Errors: SOW_E_RANGE (batches that have fewer rows than a layer has components; the message says how many), SOW_E_NUMBER,
 * SOW_E_MEMORY, SOW_E_INTERRUPTED, those of the feed. Not converged within max_batches is no error: the report says so.
 * Passes end behind the last layer that still wants rows. Cost: a forward pass a batch, and sow_ipca_add or sow_gram_add a hook. */
sow_status sow_eva(const sow_eva_config *config, const sow_sites *sites, sow_feed *feed, sow_arena *arena, sow_adapter **out, sow_eva_report *report);
/* The ranks that another rho would have given, from the same statistics; SOW_E_RANGE where more components would be needed
 * than were followed. ranks: [report->count]. */
sow_status sow_eva_ranks_for(const sow_eva_config *config, const sow_eva_report *report, double rho, int64_t *ranks);

extern const sow_method sow_method_eva;

/* ---- LoRA-SB: Ponkshe et al. 2024, arXiv 2411.19557 ---- */

/* What an optimiser's first step with rate eta does to a weight whose gradient is G. */
typedef enum sow_first_step {
    SOW_FIRST_STEP_ADAM, /* dW = -eta sign(G), sign(0) = 0: moments after one step leave nothing else */
    SOW_FIRST_STEP_SGD,  /* dW = -eta G */
} sow_first_step;
/* gradient, update: [out, in], F32 or F64, any layout; they may be the same. Cost: one pass. */
void sow_first_update(sow_first_step step, double eta, sow_tensor gradient, sow_tensor update);

typedef struct sow_lora_sb_config {
    int64_t rank; /* of every layer; cut to a layer's smaller side */
    double eta;   /* rate of the first step: learning rate / warm-up steps */
    sow_first_step first_step;
    bool sketch;    /* leading singular triples by randomised subspace iteration, instead of a full decomposition */
    bool zero_core; /* R = 0: the same subspaces, but the model starts where the base is; a control */
    uint64_t seed;  /* of the sketch: streams ("lora-sb", MODULE) */
    int64_t
        memory; /* bytes that sums of gradients may take; layers go in several passes where they need more; 0: any */
} sow_lora_sb_config;

/* How much of a layer's first step lies in its leading directions. */
typedef struct sow_lora_sb_energy {
    const char *module;
    int64_t in, out, rank;
    double total;     /* ||dW||_F^2 */
    double *captured; /* [count]: share of the total in the first i + 1 directions; total 0: zeros */
    int64_t count;    /* min(in, out); with a sketch the rank */
} sow_lora_sb_energy;
/* The least rank that captures this share, -1: more than was decomposed. */
int64_t sow_lora_sb_rank_for(const sow_lora_sb_energy *energy, double share);

typedef struct sow_lora_sb_report {
    sow_lora_sb_energy *layers; /* [sites], in the arena */
    double loss;                /* of the base: the mean over the feed */
} sow_lora_sb_report;

/* The start: for every site dW = first step of full fine-tuning, B R A its best approximation of the rank, B = U, R =
 * diag(sigma), A = V^T (Eckart-Young), so that B and A are orthonormal and Adam on R is well scaled. scale = 1 (alpha =
 * rank); the base's weights stay as they are. *out: an adapter with cores, bound to the sites, of which R alone is trainable.
 * The gradient is that of the mean loss over an epoch of the feed (sow_feed_gradients), the samples; how they are cut into batches
 * moves only the last bits. Gradients of the feed's state are taken over while it runs; afterwards all its entries are frozen and
 * without gradients. report: NULL: not wanted.
 * Errors: SOW_E_UNSUPPORTED (quantised weights), SOW_E_NUMBER (a gradient is not finite), SOW_E_MEMORY, SOW_E_INTERRUPTED.
 * Cost: forward and backward passes of the samples for each group; 2 out in min + 9 min^3 FLOP a layer, or 2 out in (rank + 10)
 * 22 with a sketch; memory: an F32 sum a layer of a group. */
sow_status sow_lora_sb(const sow_lora_sb_config *config, const sow_sites *sites, sow_feed *feed, sow_arena *arena,
                       sow_adapter **out, sow_lora_sb_report *report);

/* Training R alone, for any B [out, r] and A [r, in] (section 3 of the paper). raw = s B^T g A^T is the gradient of R; best =
 * s^-2 (B^T B)^-1 raw (A A^T)^-1 is the step whose effect on W, equivalent = s B best A = P_B g P_A, comes closest to g in
 * Frobenius norm, whatever s. With orthonormal B, A and s = 1 best = raw. g: [out, in]; raw, best: [r, r]; equivalent: [out,
 * in]; all F64, row-major. SOW_E_NUMBER: B or A without full rank. Cost: 2 r out in + O(r^2 (out + in)) FLOP. */
sow_status sow_core_gradients(sow_tensor b, sow_tensor a, double s, sow_tensor g, sow_tensor raw, sow_tensor best,
                              sow_tensor equivalent);

extern const sow_method sow_method_lora_sb;

/* ---- LoRA-FAIR: Bian et al. 2024, arXiv 2411.14961 ---- */

/* How adapters of several clients, layer by layer (A_k: [rank, in], B_k: [out, rank], weights p_k of sum 1), become one. The
 * ideal is dW = sum p_k B_k A_k; A and B without index are the means of the factors. */
typedef enum sow_fair_kind {
    SOW_FAIR,         /* B' = B + dB, where B'A comes nearest to dW by cosine, with a penalty on dB (equation 7); A stays */
    SOW_FAIR_FEDIT,   /* A and B: plain averaging */
    SOW_FAIR_FFA,     /* the same, where all clients kept one A: exact then, refused otherwise (Sun et al. 2024, 2403.12313) */
    SOW_FAIR_FLORA,   /* [p_1 B_1 ...] and [A_1; ...]: exact, of rank K r (Wang et al. 2024, 2409.05976) */
    SOW_FAIR_FLEXLORA, /* leading r singular triples of dW, B = U sqrt(S), A = sqrt(S) V^T (Bai et al. 2024, 2402.11505) */
    SOW_FAIR_LS,      /* B' = B + (dW - B A) A^T (A A^T + mu I)^-1: ridge least squares, closed form */
    SOW_FAIR_KINDS
} sow_fair_kind;
/* "fair", "fedit", "ffa", "flora", "flexlora", "fair-ls"; SOW_E_ARGUMENT with the nearest. */
sow_status sow_fair_kind_parse(const char *name, sow_fair_kind *out);
/* The name that sow_fair_kind_parse reads. */
const char *sow_fair_kind_name(sow_fair_kind kind);

typedef struct sow_fair_config {
    sow_fair_kind kind;
    double lambda; /* SOW_FAIR: penalty on D = dB / ||B A||_F: lambda ||D||_F^2, or lambda ||D||_F where not `squared` */
    bool squared;
    int64_t steps; /* of gradient descent on D, from 0 */
    double lr;     /* its rate; halved where a step would raise the loss */
    double stop;   /* ends where a step changes the loss by less; 0: never */
    double mu;     /* SOW_FAIR_LS */
} sow_fair_config;
/* fair, .01, squared, 1000 steps, .01, 1e-9; mu .01. */
sow_fair_config sow_fair_defaults(void);

/* What merging one layer did. Before: plain averages against dW; after: what was returned against dW. */
typedef struct sow_fair_layer {
    const char *module;
    int64_t in, out, rank;              /* rank: of the clients */
    double norm;                        /* ||dW||_F, with the scale of the first client's B */
    double bias_before, bias_after;     /* ||dW - B A||_F */
    double cosine_before, cosine_after; /* of B A and dW as vectors; 1 where both are 0 */
    double correction;                  /* ||dB||_F; 0 for kinds that return the means */
    double similarity;                  /* cosine of B' and B as vectors: how near the next round starts */
    double growth;                      /* ||B'||_F / ||B||_F */
    int64_t steps;                      /* taken by the descent */
    bool kept;                          /* the correction would have lowered the cosine, so B' = B */
} sow_fair_layer;

/* One layer's factors: a[k]: [rank, in], b[k]: [out, rank], row-major; weight: [clients], of sum 1; scale: [clients] factors on
 * b[k], NULL: all 1. */
typedef struct sow_fair_factors {
    int64_t clients, in, out, rank;
    const float *const *a, *const *b;
    const double *weight, *scale;
} sow_fair_factors;
/* Rank of what a merge gives: rank, or clients * rank (FLoRA). */
int64_t sow_fair_rank(const sow_fair_config *config, const sow_fair_factors *factors);
/* a: [sow_fair_rank, in], b: [out, sow_fair_rank]. The report's module is left alone. No out x in matrix is ever formed: with
 * the clients' deviations b_k, a_k, dW - B A = sum p_k b_k a_k, and all that is needed are Gram matrices of the stacked factors.
 * In the eigenbasis of A A^T the descent's iterates are dB = B diag(x) + (dW - B A) A^T diag(y): a step is O(rank). FlexLoRA
 * takes two eigenvalue problems of size clients rank. Errors: SOW_E_NUMBER, SOW_E_MEMORY; FFA with different A:
 * SOW_E_UNSUPPORTED. Cost: about 1.2 clients^2 rank^2 (in + out) FLOP in f64; FlexLoRA 18 clients^3 rank^3 more. Memory:
 * clients rank (in + out) doubles. */
sow_status sow_fair_merge_layer(const sow_fair_config *config, const sow_fair_factors *factors, sow_arena *scratch,
                                float *a, float *b, sow_fair_layer *report);

/* Whole adapters: plain LoRA of the same layers and ranks. weights: [count], positive, any sum. Where scales differ, B_k is
 * brought to the largest one. Modules that are trained whole are averaged. The result does not depend on the clients' order, in any
 * bit. layers: [out->count], in the arena.
 * Errors: SOW_E_SHAPE (layers, shapes or ranks differ: the first three), SOW_E_UNSUPPORTED (DoRA, cores, embeddings), as above. */
sow_status sow_fair_merge(const sow_fair_config *config, const sow_adapter *const *clients, const double *weights,
                          int64_t count, sow_arena *arena, sow_adapter **out, sow_fair_layer **layers);

extern const sow_method sow_method_lora_fair;

#ifdef __cplusplus
}
#endif
#endif
