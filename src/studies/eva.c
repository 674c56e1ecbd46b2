/* The study of EVA: Paischer et al. 2024, arXiv 2410.07170. Adapters tuned from principal directions against the usual starts. */
#include <math.h>
#include <string.h>

#include "sow/log.h"
#include "studies/arms.h"

enum { RANKS = 3, ARMS = 6 };

static const study_metric metrics[] = {{"early_loss", "early loss"},
                                       {"test_loss", "final loss"},
                                       {"validation_loss", "validation loss"},
                                       {"accuracy", "accuracy"},
                                       {"rate", "best rate"},
                                       {"trained", "trained numbers"},
                                       {"start_gap", "change of the loss by the start"},
                                       {"ranks", "sum of ranks"},
                                       {"gradient_of_b", "gradient of B"},
                                       {"gradient_of_b_1", "gradient of B in layer 1"},
                                       {"gradient_of_b_2", "gradient of B in layer 2"},
                                       {"gradient_of_b_3", "gradient of B in layer 3"},
                                       {"perplexity", "perplexity"},
                                       {0}};

/* ---- smoke: digits 0 to 4, then 5 to 9; what the start must be, not how well it learns ---- */

#define SMOKE "--arch=mlp:784-128-128-10 --pretrain-classes=0:4"
static const study_arm smoke_arms[] = {
    {"LoRA", "--adapter=lora"},
    {"orthonormal", "--adapter=orthonormal"},
    {"EVA, rho 1", "--adapter=eva --rho=1"},
    {"EVA, rho 2", "--adapter=eva --rho=2"},
};
static const sow_clause smoke_clauses[] = {
    SOW_AT_MOST("the loss is unchanged by the start", "EVA, rho 2", NULL, "change of the loss by the start",
                SOW_MEAN_DIFFERENCE, 1e-6),
    SOW_AT_LEAST("the ranks sum to the budget, 3 layers of 4", "EVA, rho 2", NULL, "sum of ranks", SOW_LEAST_DIFFERENCE,
                 12),
    SOW_AT_LEAST("and not to more", "LoRA", "EVA, rho 2", "sum of ranks", SOW_LEAST_DIFFERENCE, 0),
    SOW_AT_LEAST("B's first gradient is larger than from LoRA's start in layer 1", "EVA, rho 1", "LoRA",
                 "gradient of B in layer 1", SOW_LEAST_DIFFERENCE, 0),
    SOW_AT_LEAST("in layer 2", "EVA, rho 1", "LoRA", "gradient of B in layer 2", SOW_LEAST_DIFFERENCE, 0),
    SOW_AT_LEAST("in layer 3", "EVA, rho 1", "LoRA", "gradient of B in layer 3", SOW_LEAST_DIFFERENCE, 0),
    SOW_AT_LEAST("and over all layers larger than from random orthonormal rows", "EVA, rho 1", "orthonormal",
                 "gradient of B", SOW_LEAST_DIFFERENCE, 0),
};

static sow_status run_smoke(sow_study_call *call) {
    study_plan plan = {.study = "eva",
                       .method = "eva",
                       .common = SMOKE
                       " --base={base} --data=mnist --classes=5:9 --limit=2000 --rank=4 --steps=50 --rates=3e-3",
                       .arms = smoke_arms,
                       .arm_count = STUDY_COUNT(smoke_arms),
                       .metrics = metrics,
                       .base = SMOKE " --pretrain-only --pretrain-epochs=1 --pretrain-limit=4000"};
    SOW_DECIDES(call, smoke_clauses);
    return study_run_arms(call, &plan);
}

/* ---- small: digits, then clothes; ranks 2, 4 and 8 ---- */

typedef struct start {
    const char *name, *options;
} start;
static const start starts[ARMS] = {
    {"LoRA", "--adapter=lora"},   {"orthonormal", "--adapter=orthonormal"}, {"PiSSA", "--adapter=pissa"},
    {"OLoRA", "--adapter=olora"}, {"EVA, rho 1", "--adapter=eva --rho=1"},  {"EVA, rho 2", "--adapter=eva --rho=2"},
};
static const int ranks[RANKS] = {2, 4, 8};

/* The card's margins: 2 % of the early loss and four seeds of five, against LoRA and against random orthonormal rows; no worse at
 * the end than LoRA by one standard deviation over seeds. Of the two rho the one with the lower mean validation loss counts. */
#define FOR_RANK(r)                                                                                               \
    SOW_AT_MOST("rank " r ": EVA's early loss is 2 % below LoRA's", "EVA, better rho, rank " r, "LoRA, rank " r,  \
                "early loss", SOW_RATIO_OF_MEANS, .98),                                                           \
        SOW_AT_LEAST("in four of five seeds below", "EVA, better rho, rank " r, NULL, "early loss below LoRA's",  \
                     SOW_MEAN_DIFFERENCE, .8),                                                                    \
        SOW_AT_MOST("rank " r ": it is 2 % below that of orthonormal rows", "EVA, better rho, rank " r,           \
                    "orthonormal, rank " r, "early loss", SOW_RATIO_OF_MEANS, .98),                               \
        SOW_AT_LEAST("in four of five seeds below", "EVA, better rho, rank " r, NULL,                             \
                     "early loss below orthonormal's", SOW_MEAN_DIFFERENCE, .8),                                  \
        SOW_AT_MOST("rank " r ": EVA ends at most one standard deviation above LoRA", "EVA, better rho, rank " r, \
                    NULL, "final loss above LoRA's, in its standard deviations", SOW_MEAN_DIFFERENCE, 1)
static const sow_clause small_clauses[] = {FOR_RANK("2"), FOR_RANK("4"), FOR_RANK("8")};

static const char *arm_name(sow_arena *arena, const char *name, int rank) {
    return sow_arena_format(arena, "%s, rank %d", name, rank);
}

/* Scores of the better rho, and how it stands to its rivals in each seed. */
static sow_status score_better(sow_study_call *call, int rank) {
    const char *one = arm_name(call->arena, "EVA, rho 1", rank), *two = arm_name(call->arena, "EVA, rho 2", rank),
               *lora = arm_name(call->arena, "LoRA", rank), *random = arm_name(call->arena, "orthonormal", rank),
               *better = arm_name(call->arena, "EVA, better rho", rank);
    if (!one || !two || !lora || !random || !better) return SOW_E_MEMORY;
    bool first = sow_study_mean(call, one, "validation loss") <= sow_study_mean(call, two, "validation loss");
    double spread = sow_study_deviation(call, lora, "final loss");
    sow_note("rank %d: rho %d has the lower validation loss", rank, first ? 1 : 2);
    for (int s = 0; s < call->seed_count; s++) {
        uint64_t seed = call->seeds[s];
        double early = sow_study_scored(call, first ? one : two, "early loss", seed),
               last = sow_study_scored(call, first ? one : two, "final loss", seed),
               above = (last - sow_study_scored(call, lora, "final loss", seed)) / spread;
        SOW_TRY(sow_study_score(call, better, "early loss", seed, early));
        SOW_TRY(sow_study_score(call, better, "final loss", seed, last));
        SOW_TRY(sow_study_score(call, better, "early loss below LoRA's", seed,
                                early < sow_study_scored(call, lora, "early loss", seed)));
        SOW_TRY(sow_study_score(call, better, "early loss below orthonormal's", seed,
                                early < sow_study_scored(call, random, "early loss", seed)));
        if (isfinite(above))
            SOW_TRY(sow_study_score(call, better, "final loss above LoRA's, in its standard deviations", seed, above));
    }
    return SOW_OK;
}

static sow_status run_small(sow_study_call *call) {
    study_arm *arms;
    study_plan plan = {.study = "eva",
                       .method = "eva",
                       .common = "--base={base} --data=fashion-mnist --steps=300 --batch=64 --rates=1e-3,3e-3,1e-2",
                       .metrics = metrics,
                       .base = "--pretrain-only --pretrain=mnist --pretrain-epochs=2"};
    SOW_TRY(SOW_NEW(call->arena, arms, RANKS * ARMS));
    for (int r = 0; r < RANKS; r++)
        for (int a = 0; a < ARMS; a++) {
            study_arm *arm = &arms[plan.arm_count++];
            arm->name = arm_name(call->arena, starts[a].name, ranks[r]);
            arm->options = sow_arena_format(call->arena, "%s --rank=%d", starts[a].options, ranks[r]);
            if (!arm->name || !arm->options) return SOW_E_MEMORY;
        }
    plan.arms = arms;
    SOW_DECIDES(call, small_clauses);
    SOW_TRY(study_run_arms(call, &plan));
    for (int r = 0; r < RANKS; r++) SOW_TRY(score_better(call, ranks[r]));
    return SOW_OK;
}

/* ---- full: SmolLM2 on --data, 4 sequences of 256 tokens a step ---- */

/* Rates: the official runs' 5e-4 for A from principal directions and alpha = rank; the same for all. */
static const study_arm full_arms[] = {
    {"LoRA", "--adapter=lora"},
    {"PiSSA", "--adapter=pissa"},
    {"EVA, rho 1", "--adapter=eva --rho=1"},
    {"EVA, rho 2", "--adapter=eva --rho=2"},
};
static const sow_clause full_clauses[] = {
    SOW_AT_LEAST("EVA's early loss is below LoRA's in every seed", "LoRA", "EVA, rho 2", "early loss",
                 SOW_LEAST_DIFFERENCE, 0),
    SOW_AT_MOST("it ends no worse than LoRA by 2 % of the held-out loss", "EVA, rho 2", "LoRA", "final loss",
                SOW_RATIO_OF_MEANS, 1.02),
};

static sow_status run_full(sow_study_call *call) {
    const study_plan plan = {.study = "eva",
                             .method = "eva",
                             .common = "--model=smollm2 --data={data} --length=256 --rank=8 --batch=4 --steps=300 "
                                       "--rates=5e-4 --warmup=0.03 --held-out=200",
                             .arms = full_arms,
                             .arm_count = STUDY_COUNT(full_arms),
                             .metrics = metrics};
    if (!call->data)
        return sow_fail(SOW_E_ARGUMENT, "eva at full scale needs --data, texts to tune on, like gsm8k-train.jsonl");
    SOW_DECIDES(call, full_clauses);
    return study_run_arms(call, &plan);
}

static sow_status run(sow_study_call *call) {
    call->claim =
        "Adapters that start from the principal directions of their inputs learn faster than from random rows of A, and end "
        "no worse.";
    if (call->scale == SOW_SCALE_SMOKE) return run_smoke(call);
    return call->scale == SOW_SCALE_SMALL ? run_small(call) : run_full(call);
}

const sow_study sow_study_eva = {
    .name = "eva",
    .method = "eva",
    .paper = "Paischer et al. 2024, arXiv 2410.07170",
    .summary = "tuning a network on new data from principal directions, and from LoRA's, PiSSA's and OLoRA's starts",
    .seeds = {"1:2", "1:5", "1:3"},
    .time = {"10 seconds", "5 minutes", "7 hours"},
    .data_help = "full: a file of texts to tune SmolLM2 on; smoke and small bring their own (MNIST, Fashion-MNIST)",
    .run = run,
};
