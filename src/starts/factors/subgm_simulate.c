/* Planted problems for subgm, and Sign-RIP: whether recovery can work at given sizes. */
#include <math.h>
#include <string.h>

#include "sow/json.h"
#include "sow/npy.h"
#include "sow/random.h"
#include "starts/factors/planted.h"
#include "starts/factors/subgm.h"

/* ---- simulate ---- */

const sow_option subgm_simulate_options[] = {
    FACTORS_PLANTED("600"),
    SOW_OPTION_REAL("outliers", "0.1", 0, 1, "share of measurements that are grossly wrong"),
    SOW_OPTION_REAL("outlier-sd", "10", 0, 1e12, "standard deviation of what is added to them"),
    SOW_OPTION_REAL("budget-of", NULL, 1e-300, 1,
                    "the budget rule with this alpha instead of --alpha, to compare starts over one path"),
    SOW_OPTION_CHOICE("kind", "psd", "psd|general", "the truth, and what is fitted: U U^T or F G^T"),
    SUBGM_FIT_OPTIONS,
    SOW_OPTION_SEED,
    FACTORS_PLANTED_OUTPUTS,
    {0},
};

/* l1 of the truth: the noise itself. A smaller loss with a larger error is over-fitting. */
static sow_status report_loss(sow_call *call, const double *noise, int64_t m) {
    double sum = 0;
    for (int64_t i = 0; i < m; i++) sum += fabs(noise[i]) / (double)m;
    return sow_put_real(call->result, "mean_absolute_residual_of_truth", sum);
}

static double rule_for(const sow_call *call, const sow_subgm_config *c, int64_t rank) {
    return 1 - c->eta0 /
                   (1.5 * (c->budget > 0 ? c->budget : 1) * sqrt((double)rank) * log(1 / sow_real(call, "budget-of")));
}

sow_status subgm_simulate(sow_call *call) {
    factors_planted planted;
    factors_problem p;
    sow_subgm_config config;
    sow_subgm_result result;
    double *noise;
    bool psd = strcmp(sow_text(call, "kind"), "psd") == 0;
    SOW_TRY(factors_planted_options(call, psd, &planted));
    planted.outliers = sow_real(call, "outliers");
    planted.outlier_sd = sow_real(call, "outlier-sd");
    SOW_TRY(factors_plant(&planted, call->arena, &p, &noise));
    p.op.symmetric = psd;
    subgm_config(call, &config);
    config.truth = p.truth;
    if (sow_given(call, "budget-of")) config.rho = rule_for(call, &config, planted.rank);
    SOW_TRY(sow_subgm(&p.op, p.y, &config, call->arena, &result));
    SOW_TRY(subgm_report(call, &p, &config, &result));
    SOW_TRY(report_loss(call, noise, p.op.m));
    return factors_planted_outputs(call, &p);
}

/* ---- sign-rip ---- */

const sow_option subgm_sign_rip_options[] = {
    SOW_OPTION_TEXT("operator", NULL, "dense:A.npy or rank-one:a.npy[,b.npy]; none: Gaussian of these sizes"),
    SOW_OPTION_PATH("matrix", NULL, "the operator's file, where --operator names the kind alone"),
    SOW_OPTION_PATH("matrix-b", NULL, "rank-one: the second vectors"),
    SOW_OPTION_TEXT("shape", NULL, "of the matrices, as n1xn2; default: square"),
    {"memory", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL, "bound of resident memory, like 256M", SOW_OPTION_NO_PASSPORT},
    SOW_OPTION_INT("n1", "30", 1, 1e6, "without --operator: rows and columns"),
    SOW_OPTION_INT("m", "600", 1, 1e9, "without --operator: measurements"),
    SOW_OPTION_INT("rank", "2", 1, 1e6, "of the random matrices"),
    SOW_OPTION_REAL("outliers", "0", 0, 1, "share of measurements that are grossly wrong"),
    SOW_OPTION_REAL("outlier-sd", "10", 0, 1e12, "their standard deviation, in norms of X"),
    SOW_OPTION_REAL("noise", "0", 0, 1e12, "standard deviation of dense noise, in norms of X"),
    SOW_OPTION_INT("pairs", "50", 1, 100000, "random matrices, each against as many directions"),
    SOW_OPTION_SEED,
    {0},
};

/* What theory gives for Gaussian operators: sqrt(2/pi) (1 - p + p E exp(-s^2/2)), s outliers in norms of X. */
static double phi_of_gaussian(double outliers, double sd, double noise) {
    double kept = 1 / sqrt(1 + noise * noise), gross = 1 / sqrt(1 + noise * noise + sd * sd);
    return sqrt(2 / M_PI) * ((1 - outliers) * kept + outliers * gross);
}

static sow_status open_operator(sow_call *call, factors_planted *planted, factors_problem *p) {
    if (sow_text(call, "operator")) return factors_open_operator(call, p);
    planted->kind = "gaussian";
    planted->n1 = planted->n2 = sow_int(call, "n1");
    planted->m = sow_int(call, "m");
    planted->psd = true;
    return factors_plant(planted, call->arena, p, NULL);
}

sow_status subgm_sign_rip(sow_call *call) {
    factors_planted planted = {
        .rank = 1, .kappa = 1, .noise_kind = "gaussian", .seed = (uint64_t)sow_int(call, "seed")};
    factors_problem p;
    sow_sign_rip found;
    double *noise, outliers = sow_real(call, "outliers"), sd = sow_real(call, "outlier-sd"),
                   dense = sow_real(call, "noise");
    SOW_TRY(open_operator(call, &planted, &p));
    planted.m = p.op.m;
    planted.outliers = outliers;
    planted.outlier_sd = sd;
    planted.noise = dense;
    sow_status status = factors_noise(&planted, call->arena, &noise);
    if (!status)
        status = sow_subgm_sign_rip(&p.op, noise, sow_int(call, "rank"), (int)sow_int(call, "pairs"), planted.seed,
                                    call->arena, &found);
    if (!status) status = sow_put_count(call->result, "measurements", p.op.m);
    if (!status) status = sow_put_real(call->result, "delta", found.delta);
    if (!status) status = sow_put_real(call->result, "mean_delta", found.mean_delta);
    if (!status) status = sow_put_real(call->result, "phi", found.phi);
    if (!status) status = sow_put_real(call->result, "phi_of_gaussian_operators", phi_of_gaussian(outliers, sd, dense));
    if (!status)
        status = sow_put_text(call->result, "meaning",
                              found.delta < 0.5 ? "signs keep directions: recovery can be expected"
                              : found.delta < 1
                                  ? "signs keep directions roughly: small budgets and hold-out are advised"
                                  : "signs lose directions: more measurements are needed");
    factors_close(&p);
    return status;
}
