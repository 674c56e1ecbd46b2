/* The study of matrix-gd: Xiong, Ding and Du 2024, arXiv 2310.01769. Symmetric, unbalanced and rebalanced factors of planted matrices. */
#include <math.h>
#include <string.h>

#include "studies/arms.h"

static const study_metric metrics[] = {{"squared_error", "squared error"},    {"rate", "rate"},
                                       {"slope_of_last_two_thirds", "slope"}, {"r2_linear", "R2 linear"},
                                       {"rebalanced_at", "switch"},           {0}};

/* ---- smoke: every entry measured ---- */

static const study_arm smoke_arms[] = {
    {"symmetric", "--symmetric --alpha 0.2"},
    {"unbalanced", "--alpha 0.5"},
    {"rebalanced", "--alpha 0.5 --rebalance --beta 0.7"},
};
/* The card's, from NumPy: slope -1.69 to -1.76, R2 1.0000, rate 0.1003 to 0.1005 against 2 eta beta^2 = 0.098. */
static const sow_clause smoke_clauses[] = {
    SOW_WITHIN("symmetric factors of too high a rank: the squared error falls like 1/t^2", "symmetric", NULL, "slope",
               SOW_MEAN_DIFFERENCE, -2.2, -1.6),
    SOW_AT_LEAST("unbalanced factors: it falls exponentially (R2 of its logarithm)", "unbalanced", NULL, "R2 linear",
                 SOW_LEAST_DIFFERENCE, 0.99),
    SOW_WITHIN("rebalanced: within 10 % of the rate 2 eta beta^2", "rebalanced", NULL, "rate", SOW_MEAN_DIFFERENCE,
               0.0882, 0.1078),
};

/* ---- small: 2,000 Gaussian measurements of a 50 x 50 matrix of rank 3 ---- */

static const study_arm small_arms[] = {
    {"symmetric, k 3", "--symmetric --rank 3 --alpha 0.2"},
    {"symmetric, k 5", "--symmetric --rank 5 --alpha 0.2"},
    {"unbalanced, k 3", "--rank 3 --alpha 0.2"},
    {"unbalanced, alpha 1", "--rank 5 --alpha 1"},
    {"unbalanced, alpha 0.5", "--rank 5 --alpha 0.5"},
    {"unbalanced, alpha 0.2", "--rank 5 --alpha 0.2"},
    {"rebalanced, alpha 1", "--rank 5 --alpha 1 --rebalance --beta 1"},
    {"rebalanced, alpha 0.5", "--rank 5 --alpha 0.5 --rebalance --beta 1"},
    {"rebalanced, alpha 0.2", "--rank 5 --alpha 0.2 --rebalance --beta 1"},
};
/* The card's, from three seeds in NumPy, whose generator and problems are others. */
static const sow_clause small_clauses[] = {
    SOW_AT_LEAST("symmetric, rank too high: squared error falls no faster than t^-2.3 in any seed", "symmetric, k 5",
                 NULL, "slope", SOW_LEAST_DIFFERENCE, -2.3),
    SOW_AT_LEAST("and no slower than t^-1.5", "symmetric, k 5", NULL, "falling slope", SOW_LEAST_DIFFERENCE, 1.5),
    SOW_AT_LEAST("and is above 1e-6 after 1,500 steps in every seed", "symmetric, k 5", NULL, "squared error",
                 SOW_LEAST_DIFFERENCE, 1e-6),
    SOW_AT_MOST("symmetric, exact rank: below 1e-20", "symmetric, k 3", NULL, "squared error", SOW_MEAN_DIFFERENCE,
                1e-20),
    SOW_AT_MOST("unbalanced, rank too high, alpha 0.5: below 1e-9", "unbalanced, alpha 0.5", NULL, "squared error",
                SOW_MEAN_DIFFERENCE, 1e-9),
    SOW_AT_MOST("and a thousandth of the symmetric one's", "unbalanced, alpha 0.5", "symmetric, k 5", "squared error",
                SOW_RATIO_OF_MEANS, 1e-3),
    SOW_AT_LEAST("a larger start is faster: alpha 1 beats 0.5 in every seed", "unbalanced, alpha 1",
                 "unbalanced, alpha 0.5", "rate", SOW_LEAST_DIFFERENCE, 0),
    SOW_AT_LEAST("and 0.5 beats 0.2", "unbalanced, alpha 0.5", "unbalanced, alpha 0.2", "rate", SOW_LEAST_DIFFERENCE,
                 0),
    SOW_WITHIN("the rate grows with alpha to a power from 1 to 2.5 (theory: 2)", "all alphas", NULL, "exponent",
               SOW_MEAN_DIFFERENCE, 1.0, 2.5),
    SOW_AT_LEAST("rebalanced: rates of all alphas within a factor of 1.3 in every seed", "rebalanced, all alphas", NULL,
                 "least over largest rate", SOW_LEAST_DIFFERENCE, 1 / 1.3),
    SOW_AT_LEAST("rebalanced: at alpha 0.2 five times the plain rate in every seed", "rebalanced, alpha 0.2", NULL,
                 "gain", SOW_LEAST_DIFFERENCE, 5),
};

static double rate(const sow_study_call *call, const char *kind, const char *alpha, uint64_t seed) {
    const char *arm = sow_arena_format(call->arena, "%s, alpha %s", kind, alpha);
    return arm ? sow_study_scored(call, arm, "rate", seed) : NAN;
}

/* Numbers of a seed that take several arms. */
static sow_status score_small(sow_study_call *call) {
    static const char *const alphas[] = {"1", "0.5", "0.2"};
    for (int s = 0; s < call->seed_count; s++) {
        uint64_t seed = call->seeds[s];
        double sx = 0, sy = 0, sxx = 0, sxy = 0, least = INFINITY, largest = 0;
        for (int i = 0; i < 3; i++) {
            double x = log(strcmp(alphas[i], "1") == 0 ? 1
                           : i == 1                    ? 0.5
                                                       : 0.2),
                   y = log(rate(call, "unbalanced", alphas[i], seed)),
                   turned = rate(call, "rebalanced", alphas[i], seed);
            sx += x, sy += y, sxx += x * x, sxy += x * y;
            least = fmin(least, turned);
            largest = fmax(largest, turned);
        }
        SOW_TRY(sow_study_score(call, "all alphas", "exponent", seed, (3 * sxy - sx * sy) / (3 * sxx - sx * sx)));
        SOW_TRY(sow_study_score(call, "rebalanced, all alphas", "least over largest rate", seed, least / largest));
        SOW_TRY(sow_study_score(call, "rebalanced, alpha 0.2", "gain", seed,
                                rate(call, "rebalanced", "0.2", seed) / rate(call, "unbalanced", "0.2", seed)));
        SOW_TRY(sow_study_score(call, "symmetric, k 5", "falling slope", seed,
                                -sow_study_scored(call, "symmetric, k 5", "slope", seed)));
    }
    return SOW_OK;
}

/* ---- full: condition numbers, ranks, ratios, noise, missing entries ---- */

static const study_arm full_arms[] = {
    {"symmetric, kappa 1, k 4", "--kappa 1 --rank 4 --symmetric"},
    {"plain, kappa 1, k 4", "--kappa 1 --rank 4"},
    {"rebalanced, kappa 1, k 4", "--kappa 1 --rank 4 --rebalance"},
    {"symmetric, kappa 1, k 12", "--kappa 1 --rank 12 --symmetric"},
    {"plain, kappa 1, k 12", "--kappa 1 --rank 12"},
    {"rebalanced, kappa 1, k 12", "--kappa 1 --rank 12 --rebalance"},
    {"symmetric, kappa 3, k 6", "--kappa 3 --rank 6 --symmetric"},
    {"plain, kappa 3, k 6", "--kappa 3 --rank 6"},
    {"rebalanced, kappa 3, k 6", "--kappa 3 --rank 6 --rebalance"},
    {"symmetric, kappa 10, k 6", "--kappa 10 --rank 6 --symmetric"},
    {"plain, kappa 10, k 6", "--kappa 10 --rank 6"},
    {"rebalanced, kappa 10, k 6", "--kappa 10 --rank 6 --rebalance --switch-residual 1e-5"},
    {"plain, k 50", "--rank 50"},
    {"rebalanced, k 50", "--rank 50 --rebalance"},
    {"ratio 1", "--rank 6 --ratio 1"},
    {"ratio 1.5", "--rank 6 --ratio 1.5"},
    {"ratio 3", "--rank 6"},
    {"ratio 10", "--rank 6 --ratio 10"},
    {"noise 0.001", "--rank 6 --noise 0.001 --rebalance"},
    {"noise 0.01", "--rank 6 --noise 0.01 --rebalance"},
    {"entries", "--rank 6 --measure entries --m 1250"},
    {"entries, rebalanced", "--rank 6 --measure entries --m 1250 --rebalance"},
};
/* Directions of the theory, without calibrated margins. */
static const sow_clause full_clauses[] = {
    SOW_AT_LEAST("kappa 1, k 4: rebalancing is faster in every seed", "rebalanced, kappa 1, k 4", "plain, kappa 1, k 4",
                 "rate", SOW_LEAST_DIFFERENCE, 0),
    SOW_AT_LEAST("kappa 1, k 12 too", "rebalanced, kappa 1, k 12", "plain, kappa 1, k 12", "rate", SOW_LEAST_DIFFERENCE,
                 0),
    SOW_AT_LEAST("kappa 3 too", "rebalanced, kappa 3, k 6", "plain, kappa 3, k 6", "rate", SOW_LEAST_DIFFERENCE, 0),
    SOW_AT_LEAST("kappa 10 too", "rebalanced, kappa 10, k 6", "plain, kappa 10, k 6", "rate", SOW_LEAST_DIFFERENCE, 0),
    SOW_AT_MOST("unbalanced factors end below symmetric ones: kappa 1, k 12", "plain, kappa 1, k 12",
                "symmetric, kappa 1, k 12", "squared error", SOW_RATIO_OF_MEANS, 1),
    SOW_AT_MOST("kappa 3 too", "plain, kappa 3, k 6", "symmetric, kappa 3, k 6", "squared error", SOW_RATIO_OF_MEANS,
                1),
    SOW_AT_LEAST("a balanced start is slow: ratio 1 ends above ratio 3", "ratio 1", "ratio 3", "squared error",
                 SOW_RATIO_OF_MEANS, 1),
    SOW_AT_LEAST("noise leaves a floor that grows with it", "noise 0.01", "noise 0.001", "squared error",
                 SOW_RATIO_OF_MEANS, 10),
};

static sow_status run(sow_study_call *call) {
    study_plan plan = {.study = "matrix-gd", .method = "matrix-gd", .metrics = metrics};
    call->claim =
        "Factors of too high a rank converge like 1/t^2 when symmetric, exponentially from an unbalanced start, at a rate that grows "
        "with the start's size; rebalancing once makes the rate independent of it.";
    if (call->data) return sow_fail(SOW_E_ARGUMENT, "--data: this study plants its own matrices");
    if (call->scale == SOW_SCALE_SMOKE) {
        plan.common = "--n1 30 --truth-rank 2 --rank 4 --measure identity --units absolute --steps 1999";
        plan.arms = smoke_arms, plan.arm_count = STUDY_COUNT(smoke_arms);
        SOW_DECIDES(call, smoke_clauses);
        return study_run_arms(call, &plan);
    }
    if (call->scale == SOW_SCALE_SMALL) {
        plan.common = "--n1 50 --truth-rank 3 --m 2000 --units absolute --steps 1499";
        plan.arms = small_arms, plan.arm_count = STUDY_COUNT(small_arms);
        SOW_DECIDES(call, small_clauses);
        SOW_TRY(study_run_arms(call, &plan));
        return score_small(call);
    }
    plan.common = "--n1 50 --truth-rank 3 --m 2000 --units absolute --alpha 0.3 --steps 3000";
    plan.arms = full_arms, plan.arm_count = STUDY_COUNT(full_arms);
    SOW_DECIDES(call, full_clauses);
    return study_run_arms(call, &plan);
}

const sow_study sow_study_matrix_gd = {
    .name = "matrix-gd",
    .method = "matrix-gd",
    .paper = "Xiong, Ding and Du 2024, arXiv 2310.01769",
    .summary = "symmetric, unbalanced and rebalanced factors of planted matrices",
    .seeds = {"1:1", "1:5", "1:5"},
    .time = {"5 seconds", "6 minutes", "1 hour"},
    .data_help = NULL,
    .run = run,
};
