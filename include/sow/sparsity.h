/* Sparse starts: what to keep before training. Winning tickets and their controls (Frankle and Carbin 2019, arXiv 1803.03635). */
#ifndef SOW_SPARSITY_H
#define SOW_SPARSITY_H

#include "sow/init.h"
#include "sow/mask.h"
#include "sow/method.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- pruning by magnitude ---- */

/* How much one round removes of the weights that are left. */
typedef struct sow_prune_rate {
    const char *
        key; /* a group of the state ("conv", "fc", "out"), else a pattern for names, as of sow_init_rule; NULL: all weights */
    double rate; /* fraction of the survivors, 0 <= rate < 1; 0 leaves a tensor dense */
} sow_prune_rate;

typedef struct sow_prune_spec {
    const sow_prune_rate *rates; /* the first that fits a tensor counts; tensors that none fits stay dense */
    int count;
    bool global; /* one threshold over all tensors with a rate above 0 (the same for all) instead of one a tensor */
    bool google; /* cut as the authors' code does: everything up to the sorted value number round_half_even(rate*n) */
} sow_prune_spec;

/* "0.2", "fc=0.2,out=0.1" or "layer[12].*conv.*=0.2" into rates in the arena. Errors: SOW_E_ARGUMENT, naming the word. */
sow_status sow_prune_parse(sow_arena *arena, const char *text, sow_prune_spec *out);

/* The rate of every entry of `weights`, by entry number, in the arena. Groups and the key NULL mean entries with the role
 * weight; a regular expression means entries of two or more dimensions that are no buffers. Errors: SOW_E_ARGUMENT where
 * a key fits nothing (naming the groups there are), is no regular expression, or where `global` meets unequal rates. */
sow_status sow_prune_rates(sow_arena *arena, const sow_state *weights, const sow_prune_spec *spec, double **rates);

/* All-ones masks of the tensors that `spec` prunes: the mask before the first round. */
sow_status sow_prune_begin(sow_arena *arena, const sow_state *weights, const sow_prune_spec *spec, sow_mask *out);

/* Removes, tensor by tensor or over all, k = floor(rate*n + 0.5) of the n survivors with the smallest magnitude; ties: the
 * lower flat index (over all: the earlier name) goes first. `mask` is what earlier rounds left, NULL: everything; a tensor that it
 * lacks is dense. A tensor that would end empty keeps its largest weight, with a warning. Values may be F64, F32,
 * F16 or BF16. Errors: those of sow_prune_rates; SOW_E_SHAPE where mask and weights differ; SOW_E_NUMBER on NaN or
 * infinity; SOW_E_TYPE. Cost: O(n), three or four passes; 0.5 MiB of memory. */
sow_status sow_prune_magnitude(sow_arena *arena, const sow_state *weights, const sow_mask *mask,
                               const sow_prune_spec *spec, sow_mask *out);

/* What is kept wherever any of the masks keeps it. A tensor that one of them lacks is dense there, so it leaves the union too.
 * Errors: SOW_E_SHAPE. */
sow_status sow_mask_union(sow_arena *arena, const sow_mask *masks, int count, sow_mask *out);

/* Weights (role weight) of the state that the mask keeps; a tensor without a mask is kept whole. Divided by
 * sow_state_weights this is the papers' P_m. */
int64_t sow_mask_kept(const sow_mask *mask, const sow_state *weights);

/* ---- the same on files larger than memory ---- */

/* One tensor of a pruned file. */
typedef struct sow_pruned {
    const char *name;
    double rate;
    int64_t count, before, kept;
} sow_pruned;

/* Prunes the safetensors file or folder `final` (any framework's) under the mask file `mask` (NULL: none) into a mask file of U8
 * tensors: the ones in `mask` and those with a rate. Reads by mapping, writes as it goes: memory does not grow with
 * the file. `pruned` (may be NULL) gets one row a tensor written. Errors: as sow_prune_magnitude, and of files. */
sow_status sow_prune_file(sow_arena *arena, const char *final, const char *mask, const sow_prune_spec *spec,
                          const char *out, const char *passport, sow_pruned **pruned, int64_t *count);

/* The start m * theta_0: copies the file `start`, with exact zeros where the mask file has 0, and writes the mask
 * beside it as X.mask.safetensors. Streamed too. Errors: SOW_E_SHAPE where they do not fit; SOW_E_ARGUMENT unless
 * `out` ends in .safetensors. */
sow_status sow_rewind_file(sow_arena *arena, const char *start, const char *mask, const char *out, const char *passport,
                           const char *mask_passport);

/* "X.mask.safetensors" for "X.safetensors"; NULL, with a message kept, for another ending. */
char *sow_mask_path(sow_arena *arena, const char *start);

/* ---- controls: is it the mask, the values, or both? ---- */

typedef enum sow_control_kind {
    SOW_CONTROL_REINIT,       /* the ticket's mask, fresh values */
    SOW_CONTROL_RANDOM_MASK,  /* theta_0, a random mask with the ticket's count in every tensor (appendix E) */
    SOW_CONTROL_RESAMPLE,     /* the mask, values drawn per tensor from the surviving initial ones (F.3) */
    SOW_CONTROL_NOISE,        /* m * (theta_0 + c * sd_layer * N(0, 1)) (F.7) */
    SOW_CONTROL_PRUNE_AT_INIT /* theta_0, the mask that keeps its largest values, counts as the ticket's (F.4) */
} sow_control_kind;

typedef struct sow_control {
    sow_control_kind kind;
    double c;        /* noise: in standard deviations of the layer's theta_0 */
    bool keep_signs; /* resample: every weight draws from the survivors with the sign it has */
    sow_init init;   /* reinit: the distribution of fresh weights */
    uint64_t seed;
} sow_control;

/* "reinit", "random-mask", "resample", "noise", "prune-at-init". */
sow_status sow_control_parse(const char *name, sow_control_kind *out);

/* The control's start (a new state, masked values exactly 0, masks bound) and its mask (in the arena). Entries that are no weights keep
 * theta_0. Every tensor draws from a stream of its own. Cost: O(n). */
sow_status sow_ticket_control(sow_arena *arena, const sow_control *control, const sow_state *theta0,
                              const sow_mask *mask, sow_state **start, sow_mask *out);

/* ---- finding a ticket ---- */

typedef enum sow_lottery_strategy {
    SOW_LOTTERY_RESET,    /* every round starts again from theta_0 (strategy 1: smaller tickets) */
    SOW_LOTTERY_CONTINUED /* rounds go on from the pruned weights; theta_0 comes back for the last one only (strategy 2) */
} sow_lottery_strategy;

typedef struct sow_lottery_config {
    int rounds; /* prunings; rounds + 1 trainings, number 0 being the dense one */
    sow_lottery_strategy strategy;
    sow_prune_spec prune;
    int64_t rewind; /* reset to the weights after this many steps of round 0; 0: to theta_0 */
    uint64_t seed;
    bool same_order; /* every round sees the data in the same order; else each in its own, as in the paper */
} sow_lottery_config;

/* One training that the callback is asked for. */
typedef struct sow_lottery_round {
    int number;    /* 0 .. rounds */
    uint64_t seed; /* for order, augmentation and dropout of this round */
    const sow_mask *mask;
    int64_t rewind;     /* round 0: step whose weights go into `rewound`; else 0 */
    sow_state *rewound; /* round 0 with rewinding: filled by the callback */
} sow_lottery_round;

/* Trains `weights` in place: in, the round's masked start, with masks bound; out, the trained weights, where masked values
 * must be exactly 0. */
typedef sow_status (*sow_lottery_train)(void *user, const sow_lottery_round *round, sow_state *weights);

typedef struct sow_ticket {
    sow_mask *masks;   /* rounds + 1: before the first pruning to the last */
    sow_state *start;  /* theta_0, or theta_k after rewinding */
    sow_state *ticket; /* the last mask times start, masks bound: the winning ticket */
    sow_state *dense;  /* trained weights of round 0, for diagnostics */
} sow_ticket;
void sow_ticket_free(sow_ticket *ticket); /* frees the states; the masks are the arena's */

/* Finds a ticket by iterative magnitude pruning: train, remove the smallest weights, reset the survivors, again. The
 * result depends on config, theta_0 and the callback only. Errors: the callback's; SOW_E_NUMBER where it leaves NaN or
 * infinity; SOW_E_TRAINER where a masked weight is not 0 afterwards. Cost: rounds + 1 trainings; memory for theta_0, two
 * more states, and one bit a weight and round. */
sow_status sow_lottery_find(sow_arena *arena, const sow_lottery_config *config, const sow_state *theta0,
                            sow_lottery_train train, void *user, sow_ticket *out);

/* The seed of a round's training (round 0: the ticket's own seed); below 2^31, as every framework takes it. */
uint64_t sow_lottery_seed(uint64_t seed, int round, bool same_order);

/* The mask after a round's training: checks that masked weights are 0 and all are finite, then prunes. */
sow_status sow_lottery_prune(sow_arena *arena, const sow_state *trained, const sow_mask *mask,
                             const sow_prune_spec *spec, sow_mask *out);

/* theta_0 of a model: Gaussian Glorot weights (`truncated`: as TensorFlow 1's xavier_initializer drew them), biases 0,
 * normalisation scales 1, running statistics fresh. */
sow_status sow_lottery_start(sow_state *state, uint64_t seed, bool truncated);

/* Appendix F: per tensor of the mask, a histogram of the surviving theta_0, how far weights inside and outside the ticket
 * moved in the dense training, and how many connections of each unit survive. A JSON array. */
sow_status sow_lottery_diagnostics(sow_arena *arena, const sow_state *theta0, const sow_state *dense,
                                   const sow_mask *mask, json_t **out);

extern const sow_method sow_method_lottery_ticket;

#ifdef __cplusplus
}
#endif
#endif
