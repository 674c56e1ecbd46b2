/* Adapters of any start: on a small classifier, trained on one data set and tuned on another, or on a language model. What the
 * simulations share. */
#ifndef SOW_STARTS_ADAPTERS_TUNING_H
#define SOW_STARTS_ADAPTERS_TUNING_H

#include "nn/lm/base_model.h"
#include "sow/optim.h"

enum { TUNING_RATES_MAX = 16 };

/* A network, what it is tuned on, and its linear layers. */
typedef struct tuning {
    sow_arena *arena; /* of the call */
    sow_state *state; /* the network's weights; every tuning gives them back unchanged */
    sow_sites sites;
    sow_feed *validation, *test; /* validation NULL: test decides */
    /* a classifier */
    sow_model *model;
    sow_data *data;
    /* a language model, --model */
    base_model base;
    sow_texts *train, *held;
} tuning;

typedef struct tuning_recipe {
    int64_t steps, batch;
    double rates[TUNING_RATES_MAX]; /* each tried from the same start; the one with the least validation loss is told */
    int rate_count;
    sow_optimizer_kind optimizer;
    double weight_decay;
    double warmup; /* share of the steps in which the rate rises; then it falls as a cosine to 0 */
    int64_t evaluate_every;
    uint64_t seed;
} tuning_recipe;

/* One tuning. */
typedef struct tuning_outcome {
    double rate;
    double start_loss;      /* test loss before the first step */
    double early_loss;      /* mean training loss of the first fifth of the steps */
    double validation_loss; /* at the end, as all that follow */
    double test_loss, accuracy;
    sow_evaluation *curve; /* training and validation; in the call's arena */
    int64_t evaluations;
} tuning_outcome;

/* ---- options of the hidden actions ---- */

/* Of `simulate`, before its own. */
#define TUNING_OPTIONS                                                                                                 \
    SOW_OPTION_TEXT("arch", "mlp:784-512-512-10", "network"),                                                          \
        SOW_OPTION_TEXT("pretrain", "mnist", "data set on which it is trained first"),                                 \
        SOW_OPTION_TEXT("pretrain-classes", NULL, "of these alone, as 0:4"),                                           \
        SOW_OPTION_INT("pretrain-epochs", "2", 1, 1000, "passes over it"),                                             \
        SOW_OPTION_INT("pretrain-limit", "0", 0, 1e9, "examples of it; 0: all"),                                       \
        SOW_OPTION_FLAG("pretrain-only",                                                                               \
                        "write the network trained so far (safetensors) to --out: a base for other runs"),             \
        SOW_OPTION_PATH("base", NULL, "such a network, instead of training it"),                                       \
        SOW_OPTION_TEXT("model", NULL, "a language model instead of --arch; --data is texts then"),                    \
        SOW_OPTION_INT("held-out", "200", 1, 1e9, "--model: sequences on which it is scored"), BASE_TEXT_OPTIONS("512"),      \
        SOW_OPTION_TEXT("data", "fashion-mnist", "data set to tune on"),                                               \
        SOW_OPTION_TEXT("classes", NULL, "of these alone, as 5:9"),                                                    \
        SOW_OPTION_INT("limit", "0", 0, 1e9, "training examples; 0: all"),                                             \
        SOW_OPTION_INT("rank", "4", 1, 4096, "of the adapters"), SOW_OPTION_REAL("alpha", "0", 0, 1e6, "0: the rank"), \
        SOW_OPTION_TEXT("targets", "all", "layers that are tuned"),                                                    \
        SOW_OPTION_TEXT("rates", "1e-3,3e-3,1e-2", "learning rates that are tried"),                                   \
        SOW_OPTION_INT("steps", "300", 5, 1e9, "of the tuning"),                                                       \
        SOW_OPTION_INT("batch", "64", 1, 1e6, "examples a step"),                                                      \
        SOW_OPTION_CHOICE("optimizer", "adamw", "sgd|adam|adamw|sgdm", "of the tuning"),                               \
        SOW_OPTION_REAL("warmup", "0.1", 0, 1, "share of steps in which the rate rises"), SOW_OPTION_SEED,             \
        SOW_OPTION_OUTPUT("the result (JSON)"), SOW_OPTION_FORCE

/* ---- use ---- */

/* A data set by name with at most `limit` training examples and 1,000 for validation, of classes "5:9" alone (NULL: all). */
sow_status tuning_data(const char *name, const char *classes, int64_t limit, sow_data **out);
/* The network named by the options: trained on --pretrain from its fresh start by Adam (rate 1e-3, batches of 64), or,
 * unless `base` is NULL, read from that file. */
sow_status tuning_pretrain(const sow_call *call, const char *base, sow_model **out);
/* --pretrain-only: trains the first network and writes it to --out. */
sow_status tuning_write_base(sow_call *call);
/* Everything before an adapter is made. The network's weights are frozen. tuning_close also after a failure. */
sow_status tuning_open(sow_call *call, tuning *out);
void tuning_close(tuning *t);
/* Feeds of validation and test parts, for who fills model and data otherwise. */
sow_status tuning_open_parts(tuning *t);
/* A feed of the training part. */
sow_status tuning_feed(const tuning *t, const sow_feed_options *options, sow_feed **out);
sow_status tuning_recipe_of(const sow_call *call, tuning_recipe *out);

/* Trains the adapter (NULL: the whole network) from its present values once for each rate; adapter and network have these values
 * again afterwards. outcomes: [rate_count]; *best: the one of the least validation loss. */
sow_status tuning_run(tuning *t, sow_adapter *adapter, const tuning_recipe *recipe, tuning_outcome *outcomes,
                      int *best);
/* Mean loss and accuracy (NaN: there is none) of the test part, under an adapter or, NULL, as the network is. */
sow_status tuning_test(const tuning *t, sow_adapter *adapter, double *loss, double *accuracy);
/* Mean training loss of the first fifth of the steps, from the curve. */
double tuning_early_loss(const tuning_outcome *outcome, int64_t steps);
/* The call's result: the best rate's losses, accuracy and curve, and a table of all rates. */
sow_status tuning_report(sow_call *call, const tuning_outcome *outcomes, int count, int best);
/* Writes the call's result as JSON to --out. */
sow_status tuning_write(sow_call *call);

#endif
