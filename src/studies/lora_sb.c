/* The study of LoRA-SB: Ponkshe et al. 2024, arXiv 2411.19557. Cores in the first step's subspace against other adapters, each at its best rate. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sow/json.h"
#include "sow/log.h"
#include "studies/arms.h"

static const study_metric metrics[] = {{"test_loss", "loss"},
                                       {"accuracy", "accuracy"},
                                       {"early_loss", "early loss"},
                                       {"start_loss", "loss of the start"},
                                       {"perplexity", "perplexity"},
                                       {"rate", "rate"},
                                       {"trained", "trained numbers"},
                                       {"energy_error", "energy error"},
                                       {"export_error", "export error"},
                                       {0}};

/* ---- smoke: a planted change of a small network, 100 steps, each at the best of five rates by validation ---- */

static const char smoke_common[] = "--planted --optimizer=adam --steps=100 --rates=0.003,0.01,0.03,0.1,0.3";
static const study_arm smoke_arms[] = {{"SB", "--adapter=sb --rank=16"}, {"XS", "--adapter=lora-xs --rank=16"}};
static const sow_clause smoke_clauses[] = {
    SOW_AT_LEAST("SB ends below XS with as many numbers", "XS", "SB", "loss", SOW_LEAST_DIFFERENCE, 0),
    SOW_AT_MOST("B R A holds that share of the first step which its singular values claim", "SB", NULL, "energy error",
                SOW_MEAN_DIFFERENCE, 1e-5),
    SOW_AT_MOST("as plain LoRA it gives the same logits", "SB", NULL, "export error", SOW_MEAN_DIFFERENCE, 1e-5),
};

/* ---- small: from MNIST to Fashion-MNIST ---- */

static const char small_base[] = "--pretrain-only --pretrain=mnist --pretrain-epochs=2",
                  small_common[] = "--base={base} --data=fashion-mnist --steps=400 --batch=64 --samples=200";
/* The card's grid, 0.001 to 0.03, moved up: on seed 11 every arm's best lay above 0.003, LoRA's at 0.03 or beyond. Cores want larger
 * rates still: on seed 101 at rank 16 SB had 0.687 at 0.03 and 0.592 at 0.3, XS 0.700 and 0.675 at 0.1, random 0.952 and 0.676
 * at 0.3. */
static const char *const grid = "0.003,0.01,0.03,0.1", *const core_grid = "0.003,0.01,0.03,0.1,0.3";
static const uint64_t search_seed = 11; /* none of those that decide */

/* All three layers are adapted in every arm, the output layer too, and counted; biases move in `full` alone. */
static const study_arm small_arms[] = {
    {"full", "--adapter=full"},
    {"LoRA r=2", "--adapter=lora --rank=2"},
    {"LoRA r=4", "--adapter=lora --rank=4"},
    {"rsLoRA r=4", "--adapter=rslora --rank=4"},
    {"PiSSA r=4", "--adapter=pissa --rank=4"},
    {"XS r=8", "--adapter=lora-xs --rank=8"},
    {"random r=8", "--adapter=core-random --rank=8"},
    {"SB r=8", "--adapter=sb --rank=8"},
    {"SB, R=0 r=8", "--adapter=sb-r0 --rank=8"},
    {"XS r=16", "--adapter=lora-xs --rank=16"},
    {"random r=16", "--adapter=core-random --rank=16"},
    {"SB r=16", "--adapter=sb --rank=16"},
    {"SB, R=0 r=16", "--adapter=sb-r0 --rank=16"},
    {"XS r=32", "--adapter=lora-xs --rank=32"},
    {"random r=32", "--adapter=core-random --rank=32"},
    {"SB r=32", "--adapter=sb --rank=32"},
    {"SB, R=0 r=32", "--adapter=sb-r0 --rank=32"},
};
enum { SMALL_ARMS = STUDY_COUNT(small_arms), FIRST_CORE = 5 };

/* The card's: by 2 % on average, and in four of five seeds. */
#define BEATS(r, other)                                                                                               \
    SOW_AT_MOST("rank " #r ": SB's loss is 2 % below that of " other, "SB r=" #r, other " r=" #r, "loss",             \
                SOW_RATIO_OF_MEANS, 0.98),                                                                            \
        SOW_AT_LEAST("rank " #r ": and below it in four of five seeds", other " r=" #r, "SB r=" #r, "loss", SOW_WINS, \
                     4)
static const sow_clause small_clauses[] = {
    BEATS(8, "XS"), BEATS(8, "random"), BEATS(16, "XS"), BEATS(16, "random"), BEATS(32, "XS"), BEATS(32, "random"),
};

/* The rate with the least validation loss of each arm. */
static sow_status search_rates(sow_study_call *call, study_arm *chosen) {
    study_arm trials[SMALL_ARMS];
    study_plan plan = {.study = "lora-sb",
                       .method = "lora-sb",
                       .common = small_common,
                       .base = small_base,
                       .metrics = metrics,
                       .arms = trials,
                       .arm_count = SMALL_ARMS,
                       .part = "rates"};
    sow_study_call found;
    for (int i = 0; i < SMALL_ARMS; i++) {
        trials[i] = (study_arm){
            small_arms[i].name,
            sow_arena_format(call->arena, "%s --rates=%s", small_arms[i].options, i < FIRST_CORE ? grid : core_grid)};
        if (!trials[i].options) return SOW_E_MEMORY;
    }
    SOW_TRY(study_search_arms(call, &plan, &search_seed, 1, &found));
    for (int i = 0; i < SMALL_ARMS; i++) {
        double rate = sow_study_scored(&found, small_arms[i].name, "rate", search_seed);
        char text[SOW_REAL_TEXT];
        if (!(rate > 0)) return sow_fail(SOW_E_NUMBER, "lora-sb: %s has no rate", small_arms[i].name);
        chosen[i] = (study_arm){small_arms[i].name, sow_arena_format(call->arena, "%s --rates=%s",
                                                                     small_arms[i].options, sow_real_text(rate, text))};
        if (!chosen[i].options) return SOW_E_MEMORY;
        sow_note("%s: rate %s", small_arms[i].name, text);
    }
    return SOW_OK;
}

/* The least rank at which SB's mean loss is not above LoRA's, with how many numbers: for information. */
static void compare_with_lora(const sow_study_call *call, const char *lora) {
    double loss = sow_study_mean(call, lora, "loss"), numbers = sow_study_mean(call, lora, "trained numbers");
    for (int rank = 8; rank <= 32; rank *= 2) {
        char arm[20];
        snprintf(arm, sizeof arm, "SB r=%d", rank);
        if (!(sow_study_mean(call, arm, "loss") <= loss)) continue;
        sow_note("%s is reached by SB from rank %d on, with %.2g of its numbers", lora, rank,
                 sow_study_mean(call, arm, "trained numbers") / numbers);
        return;
    }
    sow_note("%s is not reached by SB up to rank 32", lora);
}

static sow_status run_small(sow_study_call *call) {
    study_arm arms[SMALL_ARMS];
    study_plan plan = {.study = "lora-sb",
                       .method = "lora-sb",
                       .common = small_common,
                       .base = small_base,
                       .metrics = metrics,
                       .arms = arms,
                       .arm_count = SMALL_ARMS,
                       .part = "seeds"};
    SOW_DECIDES(call, small_clauses);
    SOW_TRY(search_rates(call, arms));
    SOW_TRY(study_run_arms(call, &plan));
    compare_with_lora(call, "LoRA r=2");
    compare_with_lora(call, "LoRA r=4");
    return SOW_OK;
}

/* ---- full: SmolLM2 on the user's texts ---- */

/* Rates are not searched: R wants three to ten times that of LoRA (the card), so it has three times. */
static const study_arm full_arms[] = {
    {"LoRA r=8", "--adapter=lora --rank=8 --rates=0.001"},
    {"XS r=32", "--adapter=lora-xs --rank=32 --rates=0.003"},
    {"SB r=32", "--adapter=sb --rank=32 --rates=0.003"},
};
static const sow_clause full_clauses[] = {
    SOW_AT_LEAST("SB's held-out loss is below that of XS in every seed", "XS r=32", "SB r=32", "loss",
                 SOW_LEAST_DIFFERENCE, 0),
};

static sow_status run_full(sow_study_call *call) {
    if (!call->data)
        return sow_fail(SOW_E_ARGUMENT,
                        "the full study needs --data, texts to tune SmolLM2 on: JSON lines of questions and answers");
    const study_plan plan = {
        .study = "lora-sb",
        .method = "lora-sb",
        .common = "--model=smollm2 --data={data} --length=256 --steps=150 --batch=8 --samples=50 --held-out=64",
        .metrics = metrics,
        .arms = full_arms,
        .arm_count = STUDY_COUNT(full_arms)};
    SOW_DECIDES(call, full_clauses);
    return study_run_arms(call, &plan);
}

/* ---- the study ---- */

static sow_status run(sow_study_call *call) {
    study_plan smoke = {.study = "lora-sb",
                        .method = "lora-sb",
                        .common = smoke_common,
                        .metrics = metrics,
                        .arms = smoke_arms,
                        .arm_count = STUDY_COUNT(smoke_arms)};
    call->claim =
        "Cores trained between the leading singular vectors of full fine-tuning's first step end below those between the weights' "
        "own or random ones, with as many numbers.";
    if (call->scale == SOW_SCALE_SMALL) return run_small(call);
    if (call->scale == SOW_SCALE_FULL) return run_full(call);
    SOW_DECIDES(call, smoke_clauses);
    return study_run_arms(call, &smoke);
}

const sow_study sow_study_lora_sb = {
    .name = "lora-sb",
    .method = "lora-sb",
    .paper = "Ponkshe et al. 2024, arXiv 2411.19557",
    .summary = "cores in the first step's subspace against LoRA, LoRA-XS and controls, each at its best learning rate",
    .seeds = {"1:1", "1:5", "1:2"},
    .time = {"10 seconds", "7 minutes", "3 hours"},
    .data_help = "full: texts to tune SmolLM2 on, like GSM8K's train.jsonl",
    .run = run,
};
