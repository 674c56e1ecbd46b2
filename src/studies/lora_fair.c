/* The study of lora-fair: Bian et al. 2024, arXiv 2411.14961. Six domains, two kinds of drift, all ways of merging. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sow/log.h"
#include "studies/arms.h"

enum { ROUNDS_MAX = 30, RATES_MAX = 4 };

static const study_metric metrics[] = {{"accuracy", "accuracy"},
                                       {"base_accuracy", "accuracy of the base"},
                                       {"first_cosine", "first cosine of the average"},
                                       {"cosine_before", "cosine of the average"},
                                       {"cosine_after", "cosine"},
                                       {"bias_before", "bias of the average"},
                                       {"bias_after", "bias"},
                                       {"growth", "growth"},
                                       {"cosine_never_below", "never below"},
                                       {0}};

/* ---- smoke: four clients, two rounds ---- */

#define SMOKE \
    "--clients=4 --rounds=2 --local-steps=30 --examples=3000 --pretrain=1000 --test-examples=500 --arch=mlp:784-64-64-10"
static const study_arm smoke_arms[] = {{"fedit", "--kind=fedit"},     {"fair", "--kind=fair"},
                                       {"fair-ls", "--kind=fair-ls"}, {"flexlora", "--kind=flexlora"},
                                       {"flora", "--kind=flora"},     {"ffa", "--kind=ffa"}};
/* Identities: they hold for any factors, so no margin is calibrated. */
static const sow_clause smoke_clauses[] = {
    SOW_AT_LEAST("fair's cosine is never below that of the plain average", "fair", NULL, "never below",
                 SOW_LEAST_DIFFERENCE, 1),
    SOW_AT_LEAST("nor is that of least squares", "fair-ls", NULL, "never below", SOW_LEAST_DIFFERENCE, 1),
    SOW_AT_LEAST("nor that of singular values", "flexlora", NULL, "never below", SOW_LEAST_DIFFERENCE, 1),
    SOW_AT_MOST("stacks are exact", "flora", NULL, "bias", SOW_MEAN_DIFFERENCE, 1e-12),
    SOW_AT_MOST("with one A for all there is no bias", "ffa", NULL, "bias of the average", SOW_MEAN_DIFFERENCE, 1e-7),
    SOW_AT_LEAST("with an A for each there is", "fedit", NULL, "bias of the average", SOW_LEAST_DIFFERENCE, 1e-3),
};

/* ---- small and full: ways of merging, at their own best rates ---- */

typedef struct way {
    const char *name, *options;
} way;
static const way ways[] = {
    {"fedit", "--kind=fedit"},
    {"ffa", "--kind=ffa"},
    {"flora", "--kind=flora"},
    {"flexlora", "--kind=flexlora"},
    {"fair 0", "--kind=fair --lambda=0"},
    {"fair 0.01", "--kind=fair --lambda=0.01"},
    {"fair 0.1", "--kind=fair --lambda=0.1"},
    {"fair-ls", "--kind=fair-ls"},
    {"centralised", "--kind=fedit --centralised"},
};
enum { WAYS = STUDY_COUNT(ways), SEARCH_ARMS = 2 * WAYS * RATES_MAX };

/* How far clients drift apart in a round. Above 0.03 SGD diverges on inverted images unless A is frozen, so 0.01 stands beside the
 * card's rates. */
typedef struct drift {
    const char *name, *options;
    int rounds;
    const char *rates[RATES_MAX + 1];
} drift;
static const drift drifts[] = {
    {"sgd", "--optimizer=sgd --rounds=20 --local-steps=40", 20, {"0.01", "0.03", "0.1", "0.3"}},
    {"adam", "--optimizer=adam --rounds=6 --local-steps=60", 6, {"0.003", "0.01"}},
};
enum { DRIFTS = STUDY_COUNT(drifts) };

static const uint64_t search_seed = 1000; /* none of those that decide */

/* The card's criterion; nothing in it was tuned here. */
static const sow_clause small_clauses[] = {
    SOW_AT_LEAST("Adam: the cosine of what FAIR gives is never below that of the plain average", "adam, fair 0.01",
                 NULL, "never below", SOW_LEAST_DIFFERENCE, 1),
    SOW_AT_LEAST("SGD: the same", "sgd, fair 0.01", NULL, "never below", SOW_LEAST_DIFFERENCE, 1),
    SOW_AT_MOST("FAIR takes away a tenth of the plain average's error, in the mean over both kinds of drift",
                "both, fair 0.01", NULL, "share of error left", SOW_MEAN_DIFFERENCE, 0.9),
    SOW_AT_LEAST("Adam: beginning anew in each round (FLoRA) ends below plain averaging", "adam, fedit", "adam, flora",
                 "accuracy", SOW_MEAN_DIFFERENCE, 0),
    SOW_AT_LEAST("Adam: a frozen A (FFA) ends below plain averaging", "adam, fedit", "adam, ffa", "accuracy",
                 SOW_MEAN_DIFFERENCE, 0),
    SOW_AT_LEAST("SGD: beginning anew ends below plain averaging", "sgd, fedit", "sgd, flora", "accuracy",
                 SOW_MEAN_DIFFERENCE, 0),
    SOW_AT_LEAST("SGD: a frozen A ends below plain averaging", "sgd, fedit", "sgd, ffa", "accuracy",
                 SOW_MEAN_DIFFERENCE, 0),
    SOW_AT_LEAST("headline, Adam: FAIR ends above plain averaging in four of five seeds", "adam, fair 0.01",
                 "adam, fedit", "accuracy", SOW_WINS, 4),
    SOW_AT_LEAST("headline, Adam: and in the mean", "adam, fair 0.01", "adam, fedit", "accuracy", SOW_MEAN_DIFFERENCE,
                 1e-9),
};

static sow_status add(sow_arena *arena, study_arm *arms, int *count, const char *name, const drift *d, const way *w,
                      const char *rate) {
    study_arm *arm = &arms[(*count)++];
    arm->name = name;
    arm->options = sow_arena_format(arena, "%s %s --local-lr=%s", d->options, w->options, rate);
    return arm->name && arm->options ? SOW_OK : SOW_E_MEMORY;
}

static const char *trial_name(sow_arena *arena, int d, int w, const char *rate) {
    return sow_arena_format(arena, "%s, %s, rate %s", drifts[d].name, ways[w].name, rate);
}

/* Each way's rate is the one that ends best on a seed of its own; the lower one of equals. */
static sow_status search_rates(const sow_study_call *call, const study_plan *plan, const char *best[DRIFTS][WAYS]) {
    sow_arena *arena = call->arena;
    sow_study_call found;
    study_plan search = *plan;
    study_arm *arms;
    int count = 0;
    SOW_TRY(SOW_NEW(arena, arms, SEARCH_ARMS));
    for (int d = 0; d < DRIFTS; d++)
        for (int w = 0; w < WAYS; w++)
            for (const char *const *rate = drifts[d].rates; *rate; rate++)
                SOW_TRY(add(arena, arms, &count, trial_name(arena, d, w, *rate), &drifts[d], &ways[w], *rate));
    search.arms = arms, search.arm_count = count, search.part = "rates";
    SOW_TRY(study_search_arms(call, &search, &search_seed, 1, &found));
    for (int d = 0; d < DRIFTS; d++)
        for (int w = 0; w < WAYS; w++) {
            double top = -1;
            for (const char *const *rate = drifts[d].rates; *rate; rate++) {
                const char *name = trial_name(arena, d, w, *rate);
                double accuracy = name ? sow_study_scored(&found, name, "accuracy", search_seed) : NAN;
                if (accuracy > top) top = accuracy, best[d][w] = *rate;
            }
            if (top < 0)
                return sow_fail(SOW_E_NUMBER, "%s, %s: no rate gave an accuracy", drifts[d].name, ways[w].name);
            sow_note("%s, %s: rate %s (accuracy %.4f on seed %llu)", drifts[d].name, ways[w].name, best[d][w], top,
                     (unsigned long long)search_seed);
        }
    return SOW_OK;
}

/* metrics, and the accuracy after each round. */
static sow_status metrics_of_rounds(sow_arena *arena, const study_metric **out) {
    study_metric *all;
    int count = STUDY_COUNT(metrics) - 1;
    SOW_TRY(SOW_NEW(arena, all, count + ROUNDS_MAX + 1));
    memcpy(all, metrics, (size_t)count * sizeof *all);
    for (int i = 1; i <= ROUNDS_MAX; i++) {
        all[count].key = sow_arena_format(arena, "accuracy_%d", i);
        all[count].name = sow_arena_format(arena, "accuracy after round %02d", i);
        if (!all[count].key || !all[count].name) return SOW_E_MEMORY;
        count++;
    }
    *out = all;
    return SOW_OK;
}

/* Rounds until an arm has what plain averaging ends with; one more than there are where it never has. */
static sow_status score_rounds(sow_study_call *call, const char *arm, const char *plain, int rounds) {
    for (int s = 0; s < call->seed_count; s++) {
        double target = sow_study_scored(call, plain, "accuracy", call->seeds[s]);
        int needed = rounds + 1;
        if (!isfinite(target + sow_study_scored(call, arm, "accuracy", call->seeds[s])))
            continue; /* one has diverged */
        for (int i = rounds; i >= 1; i--) {
            char key[40];
            snprintf(key, sizeof key, "accuracy after round %02d", i);
            if (sow_study_scored(call, arm, key, call->seeds[s]) >= target) needed = i;
        }
        SOW_TRY(sow_study_score(call, arm, "rounds to plain averaging's end", call->seeds[s], needed));
    }
    return SOW_OK;
}

/* What FAIR leaves of the plain average's error, a mean over the rounds of each drift: of the length of dW - B A, which the clause above
 * takes, and of 1 - cosine, which is what FAIR descends on. */
static sow_status score_error_left(sow_study_call *call) {
    for (int s = 0; s < call->seed_count; s++) {
        double length = 0, angle = 0;
        uint64_t seed = call->seeds[s];
        for (int d = 0; d < DRIFTS; d++) {
            const char *arm = sow_arena_format(call->arena, "%s, fair 0.01", drifts[d].name);
            if (!arm) return SOW_E_MEMORY;
            length += sow_study_scored(call, arm, "bias", seed) /
                      sow_study_scored(call, arm, "bias of the average", seed) / DRIFTS;
            angle += (1 - sow_study_scored(call, arm, "cosine", seed)) /
                     (1 - sow_study_scored(call, arm, "cosine of the average", seed)) / DRIFTS;
        }
        if (!isfinite(length + angle)) continue;
        SOW_TRY(sow_study_score(call, "both, fair 0.01", "share of error left", seed, length));
        SOW_TRY(sow_study_score(call, "both, fair 0.01", "share of 1 - cosine left", seed, angle));
    }
    return SOW_OK;
}

static sow_status run_small(sow_study_call *call) {
    sow_arena *arena = call->arena;
    const char *best[DRIFTS][WAYS], *names[DRIFTS][WAYS];
    study_arm *arms;
    int count = 0;
    study_plan plan = {.study = "lora-fair",
                       .method = "lora-fair",
                       .data = call->data ? call->data : "mnist",
                       .common = "--data={data} --base={base}",
                       .base = "--data={data} --write-base"};
    SOW_TRY(metrics_of_rounds(arena, &plan.metrics));
    SOW_TRY(search_rates(call, &plan, best));
    SOW_TRY(SOW_NEW(arena, arms, DRIFTS * WAYS));
    for (int d = 0; d < DRIFTS; d++)
        for (int w = 0; w < WAYS; w++) {
            names[d][w] = sow_arena_format(arena, "%s, %s", drifts[d].name, ways[w].name);
            SOW_TRY(add(arena, arms, &count, names[d][w], &drifts[d], &ways[w], best[d][w]));
        }
    plan.arms = arms, plan.arm_count = count, plan.part = "arms";
    SOW_DECIDES(call, small_clauses);
    SOW_TRY(study_run_arms(call, &plan));
    for (int d = 0; d < DRIFTS; d++)
        for (int w = 0; w < WAYS; w++) SOW_TRY(score_rounds(call, names[d][w], names[d][0], drifts[d].rounds));
    return score_error_left(call);
}

/* ---- full: a small transformer on pictures ---- */

#define FULL                                                                                                          \
    "--arch=vit:4-128-6-4 --rank=16 --rounds=30 --local-steps=15 --examples=0 --pretrain=25000 --pretrain-epochs=10 " \
    "--test-examples=1000 --local-lr=0.003"
static const study_arm full_arms[] = {
    {"fedit", "--kind=fedit"}, {"fair", "--kind=fair"}, {"flexlora", "--kind=flexlora"}, {"flora", "--kind=flora"}};
static const sow_clause full_clauses[] = {
    SOW_AT_LEAST("the cosine of what FAIR gives is never below that of the plain average", "fair", NULL, "never below",
                 SOW_LEAST_DIFFERENCE, 1),
    SOW_AT_LEAST("FAIR ends above plain averaging", "fair", "fedit", "accuracy", SOW_MEAN_DIFFERENCE, 1e-9),
    SOW_AT_LEAST("beginning anew (FLoRA) ends below FAIR", "fair", "flora", "accuracy", SOW_MEAN_DIFFERENCE, 1e-9),
};

static sow_status run_full(sow_study_call *call) {
    const study_plan plan = {.study = "lora-fair",
                             .method = "lora-fair",
                             .data = call->data ? call->data : "cifar10",
                             .common = "--data={data} " FULL " --base={base}",
                             .base = "--data={data} " FULL " --write-base",
                             .arms = full_arms,
                             .arm_count = STUDY_COUNT(full_arms),
                             .metrics = metrics};
    SOW_DECIDES(call, full_clauses);
    return study_run_arms(call, &plan);
}

/* ---- the study ---- */

static sow_status run_smoke(sow_study_call *call) {
    const study_plan plan = {.study = "lora-fair",
                             .method = "lora-fair",
                             .common = call->data ? SMOKE " --data={data}" : SMOKE,
                             .arms = smoke_arms,
                             .arm_count = STUDY_COUNT(smoke_arms),
                             .metrics = metrics};
    SOW_DECIDES(call, smoke_clauses);
    return study_run_arms(call, &plan);
}

static sow_status run(sow_study_call *call) {
    call->claim =
        "Correcting B after plain averaging, so that the product comes nearer to the mean of the clients' products, gives "
        "better accuracy than plain averaging, stacking or singular values, at the same traffic.";
    if (call->scale == SOW_SCALE_SMALL) return run_small(call);
    return call->scale == SOW_SCALE_FULL ? run_full(call) : run_smoke(call);
}

const sow_study sow_study_lora_fair = {
    .name = "lora-fair",
    .method = "lora-fair",
    .paper = "Bian et al. 2024, arXiv 2411.14961",
    .summary = "six ways of merging the adapters of clients from six domains, under little and much drift",
    .seeds = {"1:2", "1:5", "1:3"},
    .time = {"10 seconds", "5 minutes", "3 hours"},
    .data_help = "images; default mnist, and for full cifar10 (a folder of CIFAR-10, or of its images)",
    .run = run,
};
