/* Optimisers, learning-rate schedules, and the training loop. */
#ifndef SOW_OPTIM_H
#define SOW_OPTIM_H

#include "sow/feed.h"
#include "sow/scales.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- schedules ---- */

typedef enum sow_schedule_kind { SOW_SCHEDULE_CONSTANT, SOW_SCHEDULE_MULTISTEP, SOW_SCHEDULE_COSINE } sow_schedule_kind;

typedef struct sow_schedule {
    sow_schedule_kind kind;
    int64_t warmup;          /* steps of linear rise from 0 */
    int64_t milestones[16];  /* multistep: the factor applies from this step on */
    int count;
    double factor;           /* multistep, 0.1 */
    double minimum;          /* cosine: final rate as a fraction of the first */
} sow_schedule;

/* "constant", "multistep:20000,25000[:0.1]", "cosine[:min]", each optionally after "warmup:K+". Errors: SOW_E_ARGUMENT. */
sow_status sow_schedule_parse(const char *text, sow_schedule *out);
/* Factor on the base rate at `step` (0-based) of `steps`. During warm-up (step+1)/warmup. */
double sow_schedule_at(const sow_schedule *schedule, int64_t step, int64_t steps);

/* ---- optimisers ---- */

/* SGDM: m = momentum m + (1 - momentum) g, the first m is g; w = (1 - rate decay) w - rate m. SGD-SaI: the same with rate m
 * times the block's scale, which is measured at its first gradient (sow/scales.h); the decay is not scaled. */
typedef enum sow_optimizer_kind {
    SOW_SGD,
    SOW_ADAM,
    SOW_ADAMW,
    SOW_SGDM,
    SOW_SGD_SAI,
    SOW_OPTIMIZERS
} sow_optimizer_kind;

typedef struct sow_optimizer_config {
    sow_optimizer_kind kind;
    double rate;                    /* learning rate */
    double momentum;                /* SGD, SGDM, SGD-SaI; 0: none is kept */
    double dampening;               /* SGD: the gradient's share that momentum leaves out, from the second step on */
    bool nesterov;                  /* SGD, without dampening */
    double beta1, beta2, epsilon;   /* Adam: .9 .999 1e-8 when 0 */
    double weight_decay;            /* SGD, Adam: added to the gradient; the others: decoupled. On every trainable entry, as in PyTorch */
    bool coupled;                   /* SGDM, SGD-SaI: decay is added to the gradient instead */
    sow_scale_blocks blocks;        /* SGD-SaI: what shares a scale */
    sow_scale_norm normalise;       /* SGD-SaI: of measured scales, by the blocks that have a gradient at the first step */
    const sow_scales *scales;       /* SGD-SaI: given ones, with their own blocks, instead of measured; outlive the training */
} sow_optimizer_config;

/* "sgd", "adam", "adamw", "sgdm", "sgd-sai". */
sow_status sow_optimizer_parse(const char *name, sow_optimizer_kind *out);
/* The name that sow_optimizer_parse reads. */
const char *sow_optimizer_name(sow_optimizer_kind kind);

typedef struct sow_optimizer sow_optimizer;
/* Fresh moments (zeros, in each entry's layout) for the trainable entries; gradients are added to the state. SOW_E_NOT_FOUND,
 * SOW_E_SHAPE: given scales lack a tensor, name one that there is not, or cut it into other blocks. */
sow_status sow_optimizer_new(const sow_optimizer_config *config, sow_state *state, sow_optimizer **out);
/* NULL is allowed; the state stays. */
void sow_optimizer_free(sow_optimizer *optimizer);
/* One update with the rate config.rate * factor: one fused pass over each entry. Where an entry has a mask, it
 * binds gradient, update and weight: masked weights are exactly 0 afterwards. Entries whose gradient was not
 * written since sow_fresh_gradients are skipped, as PyTorch skips None. */
void sow_optimizer_step(sow_optimizer *optimizer, double factor);
/* Scales all gradients of the state down so that the norm of the whole is at most `limit` (Pascanu et al. 2013, as
 * torch.nn.utils.clip_grad_norm_); returns the norm before. limit 0: only measures. Cost: one or two passes. */
double sow_clip_gradients(sow_state *state, double limit);
/* Per-entry factor on the rate (learning-rate groups); default 1. */
sow_status sow_optimizer_scale(sow_optimizer *optimizer, const char *name, double factor);
/* Steps done. */
int64_t sow_optimizer_steps(const sow_optimizer *optimizer);
/* Sets the count after moments were restored: Adam's bias correction follows it. SGDM and SGD-SaI keep a count for each entry among
 * the moments. */
void sow_optimizer_set_steps(sow_optimizer *optimizer, int64_t steps);
/* The moments by name ("fc1.weight.exp_avg"; SGD-SaI: "fc1.weight.scale" and "sgd_sai.norm" too, so that nothing is measured again): the
 * optimiser's own memory, for checkpoints, written to restore them. */
sow_state *sow_optimizer_moments(sow_optimizer *optimizer);

/* ---- training ---- */

/* One evaluation. Loss and accuracy are means over all examples of a part (of a language model: over counted tokens);
 * accuracy in [0, 1]. NaN: not measured (a part without examples, the training batches before step 1, a test part skipped
 * by test_at_best, accuracy where a task has none). */
typedef struct sow_evaluation {
    int64_t step;
    double train_loss;                     /* mean over the steps since the last evaluation */
    double validation_loss, validation_accuracy;
    double test_loss, test_accuracy;
    double train_accuracy;                 /* of the training batches since the last evaluation */
} sow_evaluation;

typedef struct sow_training {
    int64_t steps, batch;                  /* full budget; examples a step */
    int64_t evaluate_every;                /* 0: only at the start and the end */
    bool test_at_best;                     /* evaluate the test part only where the validation loss is a new minimum, and at the end:
                                              enough for an early stop found afterwards, at half the cost */
    sow_optimizer_config optimizer;
    sow_schedule schedule;
    unsigned augmentation;
    double clip;                           /* the step's gradient is scaled down to this norm; 0: never */
    uint64_t seed;                         /* order, augmentation, dropout */
    const char *folder;                    /* run folder for checkpoint.safetensors; NULL: no files */
    int64_t checkpoint_every;              /* 0: none */
    bool resume;                           /* go on from folder's checkpoint if there is one */
    int64_t stop_after;                    /* leave after this many steps with a checkpoint (tests, rungs); 0: steps */
    /* Called after each evaluation; anything but SOW_OK ends the run. */
    sow_status (*evaluated)(void *user, const sow_evaluation *evaluation);
    /* Called after each step's update, with the step's number from 1: rewinding saves theta_k here. May be NULL. */
    sow_status (*stepped)(void *user, int64_t step, sow_state *state);
    void *user;
    bool enough;                           /* a callback sets it: the training ends here, without failure (early stopping) */
    /* filled in */
    sow_evaluation *curve;                 /* in the caller's arena; after a resume with what was measured before */
    int64_t evaluations;
} sow_training;

/* What the loop trains and on what: a classifier on images, a language model's adapter on texts, a toy. All outlives the training. */
typedef struct sow_task {
    sow_state *state;               /* its trainable entries are trained; all of it is in checkpoints */
    sow_feed *train;                /* step s takes its batches parts s ... parts s + parts - 1; the gradient is that of their mean loss */
    sow_feed *validation, *test;    /* NULL: none */
    int64_t parts;                  /* micro-batches a step; 0: 1 */
    const char *identity;           /* what else must be equal for a checkpoint to belong to this training: model and data */
    /* For each of the two tapes, once: adds taps (sow_adapter_attach). May be NULL. */
    sow_status (*open)(void *user, sow_tape *tape);
    void *user;
} sow_task;

/* Trains the task's state in place. Step 0 is evaluated too. A non-finite loss ends it with SOW_E_NUMBER, naming the
 * step. Same bits for any number of threads and after any resume. In a steady step Sow's own code allocates nothing.
 * Ctrl-C ends it with a checkpoint and SOW_E_INTERRUPTED. */
sow_status sow_train_task(sow_arena *arena, sow_training *training, const sow_task *task);

/* The task of classifying data->train by the model, with mean softmax cross-entropy. */
sow_status sow_train(sow_arena *arena, sow_training *training, sow_model *model, const sow_data *data);
/* The same where only `trained` (an adapter's state, say) is trained: `open` puts it into the model's sites. */
sow_status sow_train_with(sow_arena *arena, sow_training *training, sow_model *model, const sow_data *data,
                          sow_state *trained, sow_status (*open)(void *user, sow_tape *tape), void *user);

/* Mean loss and accuracy of a part, in batches, evaluation mode. */
sow_status sow_evaluate(sow_tape *tape, sow_model *model, const sow_data *data, const sow_part *part, double *loss, double *accuracy);

/* Index of the evaluation with the least validation loss; the first on ties (card 07's early stop, found afterwards). */
int64_t sow_early_stop(const sow_evaluation *curve, int64_t count);

#ifdef __cplusplus
}
#endif
#endif
