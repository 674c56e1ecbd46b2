/* Sparse starts: what to keep before training. Winning tickets and their controls (Frankle and Carbin 2019, arXiv 1803.03635). */
#ifndef SOW_SPARSITY_H
#define SOW_SPARSITY_H

#include "sow/init.h"
#include "sow/method.h"
#include "sow/prune.h"
#include "sow/report.h"

#ifdef __cplusplus
extern "C" {
#endif

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
/* Frees the states; the masks are the arena's. */
void sow_ticket_free(sow_ticket *ticket);

/* Finds a ticket by iterative magnitude pruning: train, remove the smallest weights, reset the survivors, again. The
 * result depends on config, theta_0 and the callback only. Errors: the callback's; SOW_E_NUMBER where it leaves NaN or
 * infinity; SOW_E_TRAINER where a masked weight is not 0 afterwards. Cost: rounds + 1 trainings; memory for theta_0, two
 * more states, and one bit a weight and round. */
sow_status sow_lottery_find(sow_arena *arena, const sow_lottery_config *config, const sow_state *theta0,
                            sow_lottery_train train, void *user, sow_ticket *out);

/* The seed of a round's training (round 0: the ticket's own seed); below 2^31, as every framework takes it. */
uint64_t sow_lottery_seed(uint64_t seed, int round, bool same_order);

/* theta_0 of a model: Gaussian Glorot weights (`truncated`: as TensorFlow 1's xavier_initializer drew them), biases 0,
 * normalisation scales 1, running statistics fresh. */
sow_status sow_lottery_start(sow_state *state, uint64_t seed, bool truncated);

/* Appendix F: per tensor of the mask, a histogram of the surviving theta_0, how far weights inside and outside the ticket
 * moved in the dense training, and how many connections of each unit survive. A JSON array. */
sow_status sow_lottery_diagnostics(sow_arena *arena, const sow_state *theta0, const sow_state *dense,
                                   const sow_mask *mask, json_t **out);

/* What is drawn over the rounds of a search: curves against the share of the weights that is left, in percent, beside the dense
 * network (NaN: unknown). y: with its unit. */
sow_curves sow_lottery_curves(const char *title, const char *y, const sow_curve *curves, int count, double dense);

extern const sow_method sow_method_lottery_ticket;

#ifdef __cplusplus
}
#endif
#endif
