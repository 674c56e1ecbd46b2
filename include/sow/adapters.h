/* Starts of low-rank adapters: from the first step of full fine-tuning (lora-sb). */
#ifndef SOW_ADAPTERS_H
#define SOW_ADAPTERS_H

#include "sow/adapter.h"
#include "sow/method.h"
#include "sow/texts.h"

#ifdef __cplusplus
extern "C" {
#endif

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

/* Adds, to the gradients of the entries that are trainable, those of the mean loss over the samples. Called once for each
 * group of layers, always with the same samples. */
typedef sow_status (*sow_gradient_source)(void *user);

/* The start: for every site dW = first step of full fine-tuning, B R A its best approximation of the rank, B = U, R =
 * diag(sigma), A = V^T (Eckart-Young), so that B and A are orthonormal and Adam on R is well scaled. scale = 1 (alpha =
 * rank); the base's weights stay as they are. *out: an adapter with cores, bound to the sites, of which R alone is trainable.
 * Gradients of `state` (that of the sites) are taken over while it runs; afterwards all its entries are frozen and without
 * gradients. energy: [sites], in the arena; NULL: not wanted.
 * Errors: SOW_E_UNSUPPORTED (quantised weights), SOW_E_NUMBER (a gradient is not finite), SOW_E_MEMORY, SOW_E_INTERRUPTED.
 * Cost: forward and backward passes of the samples for each group; 4 out in min + 22 min^3 FLOP a layer, or 2 out in (rank + 10)
 * 22 with a sketch; memory: an F32 sum a layer of a group. */
sow_status sow_lora_sb(const sow_lora_sb_config *config, sow_state *state, const sow_sites *sites,
                       sow_gradient_source source, void *user, sow_arena *arena, sow_adapter **out,
                       sow_lora_sb_energy *energy);

/* Sources of gradients. Each batch's mean loss counts by its share of the samples. */
typedef struct sow_lm_gradients {
    sow_lm *lm;
    const sow_texts *texts; /* all of them are used, in their order */
    int64_t batch;          /* sequences at once: memory */
    double loss;            /* filled in: mean over the batches */
} sow_lm_gradients;
sow_status sow_lm_gradient_source(void *user);
typedef struct sow_model_gradients {
    sow_model *model;
    const sow_data *data;
    const sow_part *part; /* all of it is used */
    int64_t batch;
    double loss;
} sow_model_gradients;
sow_status sow_model_gradient_source(void *user);

/* Training R alone, for any B [out, r] and A [r, in] (section 3 of the paper). raw = s B^T g A^T is the gradient of R; best =
 * s^-2 (B^T B)^-1 raw (A A^T)^-1 is the step whose effect on W, equivalent = s B best A = P_B g P_A, comes closest to g in
 * Frobenius norm, whatever s. With orthonormal B, A and s = 1 best = raw. g: [out, in]; raw, best: [r, r]; equivalent: [out,
 * in]; all F64, row-major. SOW_E_NUMBER: B or A without full rank. Cost: 2 r out in + O(r^2 (out + in)) FLOP. */
sow_status sow_core_gradients(sow_tensor b, sow_tensor a, double s, sow_tensor g, sow_tensor raw, sow_tensor best,
                              sow_tensor equivalent);

extern const sow_method sow_method_lora_sb;

#ifdef __cplusplus
}
#endif
#endif
