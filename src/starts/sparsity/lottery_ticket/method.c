/* Winning tickets, sparse networks that train from their original start: Frankle and Carbin 2019, arXiv 1803.03635. */
#include "starts/sparsity/lottery_ticket/ticket.h"

/* ---- options that several actions have ---- */

#define PATH_OPTION(name, help, bits) \
    { name, 0, SOW_TYPE_PATH, NULL, 0, 0, NULL, NULL, help, bits }
#define PRUNE_OPTIONS                                                                           \
    SOW_OPTION_FLAG("global", "one threshold over all pruned tensors instead of one for each"), \
        SOW_OPTION_CHOICE("compat", "exact", "exact|google",                                    \
                          "exactly rate*n weights, or one more, as the authors' code cuts")

/* ---- the tables ---- */

static const sow_option find_options[] = {
    SOW_OPTION_TEXT("arch", NULL, "network: lenet300, conv2, conv4, conv6, resnet20, vgg19, mlp:784-300-100-10"),
    SOW_TRAINER_OPTIONS,
    SOW_OPTION_COUNT("rounds", NULL, 1, TICKET_ROUNDS_MAX - 1, "prunings",
                     "how often to prune; default 13, or 1 with --target-density"),
    SOW_OPTION_TEXT(
        "rate", NULL,
        "fraction of the survivors a round removes: 0.2, fc=0.2,out=0.1 or REGEX=RATE; default the preset's, or 0.2"),
    SOW_OPTION_REAL("target-density", NULL, 1e-9, 0.999999,
                    "fraction of weights to keep in the end, instead of --rate; one-shot unless --rounds is given"),
    PRUNE_OPTIONS,
    SOW_OPTION_CHOICE("strategy", "reset", "reset|continued",
                      "every round from theta_0, or on from the pruned weights"),
    SOW_OPTION_COUNT("rewind", "0", 0, 1e12, "steps", "reset to the weights after this many steps; 0: to theta_0"),
    SOW_OPTION_CHOICE("order-seed", "different", "same|different", "order of the data from round to round"),
    SOW_OPTION_CHOICE("preset", "frankle2019", "frankle2019|google",
                      "the paper's recipe, or that of the authors' code"),
    SOW_OPTION_FLAG("trunc", "draw theta_0 from truncated normals, as TensorFlow 1 did"),
    PATH_OPTION("start", "your own theta_0, a safetensors file", 0),
    SOW_TRAINER_COMMAND_OPTIONS,
    SOW_OPTION_SEED,
    SOW_OPTION_FORCE,
    SOW_OPTION_RESUME,
    SOW_OPTION_OUTPUT("the ticket's folder"),
    {0},
};

static const sow_option compare_options[] = {
    PATH_OPTION("ticket", "folder made by find", SOW_OPTION_REQUIRED),
    SOW_OPTION_INT("round", NULL, 0, TICKET_ROUNDS_MAX, "which round's ticket; default the last"),
    {"seeds", 0, SOW_TYPE_SEEDS, "1:5", 0, 0, NULL, NULL, "data orders and draws of the controls", 0},
    SOW_OPTION_TEXT("arms", "dense,ticket,reinit,random-mask",
                    "what to train, in any order; resample, noise and prune-at-init too"),
    SOW_OPTION_TEXT("scheme", "xavier-normal", "distribution of fresh values"),
    {"c", 0, SOW_TYPE_REAL, "1", 0, 1000, NULL, "sd", "size of noise, in standard deviations of a layer", 0},
    PATH_OPTION("data", "where the examples are, if not where find had them", 0),
    SOW_OPTION_COUNT("steps", NULL, 1, 1e12, "steps", "of one training; default as in find"),
    SOW_TRAINER_COMMAND_OPTIONS,
    SOW_OPTION_SLOTS,
    SOW_OPTION_FORCE,
    SOW_OPTION_RESUME,
    SOW_OPTION_OUTPUT_OR("folder of the comparison; default TICKET/compare"),
    {0},
};

static const sow_option control_options[] = {
    PATH_OPTION("ticket", "folder made by find", SOW_OPTION_REQUIRED),
    SOW_OPTION_INT("round", NULL, 0, TICKET_ROUNDS_MAX, "which round's mask; default the last"),
    {"kind", 0, SOW_TYPE_CHOICE, NULL, 0, 0, "reinit|random-mask|resample|noise|prune-at-init", NULL, "which control",
     SOW_OPTION_REQUIRED},
    {"c", 0, SOW_TYPE_REAL, NULL, 0, 1000, NULL, "sd", "size of noise, in standard deviations of a layer; default 1",
     0},
    SOW_OPTION_FLAG("keep-signs", "resample from values of the same sign"),
    SOW_OPTION_TEXT("scheme", "xavier-normal", "distribution of fresh values: any scheme of `sow classic`"),
    SOW_OPTION_SEED,
    SOW_OPTION_FORCE,
    SOW_OPTION_OUTPUT("the start, X.safetensors; its mask becomes X.mask.safetensors"),
    {0},
};

static const sow_option prune_options[] = {
    PATH_OPTION("final", "trained weights: a safetensors file or a Hugging Face folder", SOW_OPTION_REQUIRED),
    PATH_OPTION("mask", "mask of the rounds before", 0),
    SOW_OPTION_TEXT(
        "rate", "0.2",
        "fraction of the survivors to remove: 0.2 or REGEX=RATE,REGEX=RATE; alone, for all weights but norms and embeddings"),
    PRUNE_OPTIONS,
    SOW_OPTION_FORCE,
    SOW_OPTION_OUTPUT("the new mask"),
    {0},
};

static const sow_option rewind_options[] = {
    PATH_OPTION("start", "theta_0: a safetensors file or a Hugging Face folder", SOW_OPTION_REQUIRED),
    PATH_OPTION("mask", "mask made by prune", SOW_OPTION_REQUIRED),
    SOW_OPTION_FORCE,
    SOW_OPTION_OUTPUT("the start, X.safetensors; its mask becomes X.mask.safetensors"),
    {0},
};

static const sow_option union_options[] = {
    PATH_OPTION("mask", "one mask", SOW_OPTION_REQUIRED),
    PATH_OPTION("other", "another one", SOW_OPTION_REQUIRED),
    SOW_OPTION_FORCE,
    SOW_OPTION_OUTPUT("the mask that keeps what either keeps"),
    {0},
};

static const sow_action actions[] = {
    {"find", "find a winning ticket: train, prune the smallest weights, reset, again", find_options, ticket_run_find,
     "sow lottery-ticket find --arch lenet300 --data fashion-mnist --steps 5000 --rounds 13 -o ticket/",
     SOW_ACTION_COMPUTES},
    {"compare", "train a ticket beside its controls over several seeds", compare_options, ticket_run_compare,
     "sow lottery-ticket compare --ticket ticket/ --round 7 --seeds 1:5", SOW_ACTION_COMPUTES},
    {"control", "make a control of a ticket: fresh values, a random mask, ...", control_options, ticket_run_control,
     "sow lottery-ticket control --ticket ticket/ --round 8 --kind reinit --seed 3 -o control.safetensors"},
    {"prune", "prune a trained file of any framework by magnitude", prune_options, ticket_run_prune,
     "sow lottery-ticket prune --final trained.safetensors --mask m3.safetensors --rate 0.2 -o m4.safetensors"},
    {"rewind", "put the survivors of a mask back to their start", rewind_options, ticket_run_rewind,
     "sow lottery-ticket rewind --start theta0.safetensors --mask m4.safetensors -o start4.safetensors"},
    {"union", "join the masks of two tickets", union_options, ticket_run_union,
     "sow lottery-ticket union --mask a.safetensors --other b.safetensors -o both.safetensors"},
    {0},
};

const sow_method sow_method_lottery_ticket = {
    .name = "lottery-ticket",
    .family = "sparsity",
    .summary = "sparse networks that train from their original start as well as the dense one",
    .paper = "Frankle and Carbin 2019, arXiv 1803.03635",
    .actions = actions,
    .study = "lottery-ticket",
};
