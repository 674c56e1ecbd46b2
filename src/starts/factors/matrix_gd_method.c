/* matrix-gd as a command: fit, planted problems, tables with missing cells. */
#include <math.h>
#include <string.h>

#include "sow/json.h"
#include "sow/log.h"
#include "starts/factors/matrix_gd.h"
#include "starts/factors/planted.h"

#define GD_OPTIONS                                                                                                   \
    SOW_OPTION_INT("rank", "5", 1, 1e6, "columns of the factors, at least the true rank"),                           \
        SOW_OPTION_FLAG("symmetric", "X X^T for positive semidefinite matrices: slow if --rank is too high"),        \
        SOW_OPTION_REAL("alpha", "0.2", 1e-300, 1e6, "size of the start"),                                           \
        SOW_OPTION_REAL("ratio", "3", 1e-6, 1e6, "how much smaller G starts than F; 1: balanced, and slow"),         \
        SOW_OPTION_CHOICE("scale", "column", "column|entry", "alpha is the size of a column, or of an element"),     \
        SOW_OPTION_CHOICE("units", "data", "data|absolute",                                                          \
                          "lr and alpha in units of the largest singular value of A*(y), or as they are"),           \
        SOW_OPTION_REAL("lr", "0.1", 1e-12, 1e6, "step size"),                                                       \
        SOW_OPTION_COUNT("steps", "2000", 1, 100000000, "steps", "of gradient descent"),                             \
        SOW_OPTION_FLAG("rebalance", "once, make F's columns orthonormal: the rate no longer depends on alpha"),     \
        SOW_OPTION_REAL("beta", NULL, 1e-12, 1e12,                                                                   \
                        "their length; default: square root of the largest singular value"),                         \
        SOW_OPTION_CHOICE(                                                                                           \
            "switch", "residual", "residual|auto",                                                                   \
            "when to rebalance: at a relative residual, or also when the decay has slowed to a quarter"),            \
        SOW_OPTION_REAL("switch-residual", "1e-3", 0, 1, "that residual, squared and relative to the measurements"), \
        SOW_OPTION_INT("switch-step", NULL, 0, 100000000, "rebalance at this step instead")

static const sow_option fit_options[] = {
    FACTORS_MEASUREMENTS, GD_OPTIONS,
    SOW_OPTION_SEED,      SOW_OPTION_OUTPUT("folder for factors, recovered matrix, residuals, trace and plots"),
    SOW_OPTION_FORCE,     {0},
};

static const sow_option simulate_options[] = {
    FACTORS_PLANTED("2000"), GD_OPTIONS, SOW_OPTION_SEED, FACTORS_PLANTED_OUTPUTS, {0},
};

static void read_config(const sow_call *call, sow_matrix_gd_config *out) {
    *out = (sow_matrix_gd_config){
        .rank = sow_int(call, "rank"),
        .alpha = sow_real(call, "alpha"),
        .ratio = sow_real(call, "ratio"),
        .entry_scale = strcmp(sow_text(call, "scale"), "entry") == 0,
        .lr = sow_real(call, "lr"),
        .absolute = strcmp(sow_text(call, "units"), "absolute") == 0,
        .steps = sow_int(call, "steps"),
        .rebalance = sow_flag(call, "rebalance"),
        .beta = sow_given(call, "beta") ? sow_real(call, "beta") : 0,
        .when = sow_given(call, "switch-step")                  ? SOW_SWITCH_STEP
                : strcmp(sow_text(call, "switch"), "auto") == 0 ? SOW_SWITCH_AUTO
                                                                : SOW_SWITCH_RESIDUAL,
        .switch_residual = sow_real(call, "switch-residual"),
        .switch_step = sow_given(call, "switch-step") ? sow_int(call, "switch-step") : -1,
        .seed = (uint64_t)sow_int(call, "seed"),
    };
}

/* ---- what it means ---- */

static const char *decay_words(sow_arena *arena, const sow_decay_fit *d, const char *what) {
    switch (d->kind) {
    case SOW_DECAY_LINEAR: return sow_arena_format(arena, "linear: the %s falls by exp(-%.4g) a step", what, d->rate);
    case SOW_DECAY_POWER: return sow_arena_format(arena, "power law: the %s falls as t^%.3g", what, d->slope);
    case SOW_DECAY_FLOOR:
        return sow_arena_format(arena, "floor: the %s has stopped falling (before that by exp(-%.4g) a step)", what,
                                d->rate);
    default: return "unknown: too little of the way has been seen; more --steps";
    }
}

/* Share of residuals beyond five spreads of a Gaussian: gross outliers, which least squares cannot stand. */
static double gross_share(const factors_problem *p, const double *residual, double *spread, double *work) {
    int64_t gross = 0;
    for (int64_t i = 0; i < p->op.m; i++) work[i] = fabs(residual[i]);
    *spread = 1.4826 * factors_median(work, p->op.m);
    for (int64_t i = 0; i < p->op.m; i++) gross += fabs(residual[i]) > 5 * *spread;
    return (double)gross / (double)p->op.m;
}

static sow_status diagnose(sow_call *call, const factors_problem *p, const sow_matrix_gd_config *c,
                           const sow_matrix_gd_result *r, double gross) {
    json_t *lines = json_array();
    const sow_factors *x = &r->x;
    double degrees = (double)(x->symmetric ? x->n1 : x->n1 + x->n2) * (double)(r->rank > 0 ? r->rank : 1),
           relative = pow(factors_norm(r->residual, p->op.m), 2) / pow(factors_norm(p->y, p->op.m), 2);
    SOW_TRY(sow_put_json(call->result, "diagnosis", lines));
    bool failed = false;
#define SAY(text) (failed |= json_array_append_new(lines, json_string(text)) != 0)
    if ((double)p->op.m < degrees)
        SAY("too few measurements: fewer than degrees of freedom, so any fit is one of many");
    if (gross > 0.01 && relative > 1e-6) SAY("wrong tool: gross outliers remain; sow subgm is made for them");
    if (r->decay.kind == SOW_DECAY_POWER && x->symmetric)
        SAY("slow, as symmetric factors of too high a rank are: leave --symmetric out");
    if (r->decay.kind == SOW_DECAY_POWER && !x->symmetric) SAY("slow: --rebalance, or a larger --ratio or --alpha");
    if (c->rebalance && r->switched < 0)
        SAY("never rebalanced: the residual stayed above --switch-residual; try --switch auto");
    if (r->rank >= x->k && x->k > 1 && relative > 1e-6)
        SAY("no gap in the singular values: --rank may be too low, or the matrix is not of low rank");
    if (json_array_size(lines) == 0) SAY("nothing unusual");
#undef SAY
    return failed ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

/* Log-log slope of the last two thirds, whatever the verdict. */
static double tail_slope(const double *e, int64_t n) {
    double sx = 0, sy = 0, sxx = 0, sxy = 0, count = 0;
    for (int64_t t = n / 3; t < n; t++) {
        double x = log((double)t + 1), y = log(e[t]);
        if (!isfinite(y)) continue;
        sx += x, sy += y, sxx += x * x, sxy += x * y, count++;
    }
    return (count * sxy - sx * sy) / (count * sxx - sx * sx);
}

static sow_status report(sow_call *call, const factors_problem *p, const sow_matrix_gd_config *c,
                         const sow_matrix_gd_result *r, double *spread) {
    json_t *singular = json_array();
    double *work;
    const double *e = r->error ? r->error : r->loss;
    char *shape = sow_arena_format(call->arena, "%lld x %lld", (long long)p->op.n1, (long long)p->op.n2);
    const char *words = decay_words(call->arena, &r->decay, r->error ? "squared error" : "loss");
    SOW_TRY(SOW_NEW(call->arena, work, p->op.m));
    if (!shape || !words) return SOW_E_MEMORY;
    for (int64_t i = 0; i < r->x.k && i < SOW_FACTORS_SHOWN; i++)
        json_array_append_new(singular, json_real(r->singular[i]));
    double gross = gross_share(p, r->residual, spread, work);
    SOW_TRY(sow_put_text(call->result, "matrix", shape));
    SOW_TRY(sow_put_text(call->result, "operator", p->what));
    SOW_TRY(sow_put_text(call->result, "factors", r->x.symmetric ? "X X^T" : "F G^T"));
    SOW_TRY(sow_put_count(call->result, "measurements", p->op.m));
    SOW_TRY(sow_put_real(call->result, "start_norm", r->start_norm));
    SOW_TRY(sow_put_real(call->result, "step_size", r->lr));
    SOW_TRY(sow_put_count(call->result, "steps", r->steps));
    SOW_TRY(sow_put_json(call->result, "rebalanced_at", r->switched >= 0 ? json_integer(r->switched) : json_null()));
    if (r->switched >= 0) SOW_TRY(sow_put_real(call->result, "beta", r->beta));
    SOW_TRY(sow_put_real(call->result, "loss", r->loss[r->steps]));
    SOW_TRY(sow_put_real(call->result, "relative_residual",
                         factors_norm(r->residual, p->op.m) / factors_norm(p->y, p->op.m)));
    if (r->error) SOW_TRY(sow_put_real(call->result, "squared_error", r->error[r->steps]));
    SOW_TRY(sow_put_count(call->result, "rank", r->rank));
    SOW_TRY(sow_put_json(call->result, "singular_values", singular));
    SOW_TRY(sow_put_text(call->result, "decay", words));
    SOW_TRY(sow_put_real(call->result, "rate", r->decay.rate));
    SOW_TRY(sow_put_real(call->result, "slope", r->decay.slope));
    SOW_TRY(sow_put_real(call->result, "r2_linear", r->decay.r2_linear));
    SOW_TRY(sow_put_real(call->result, "r2_power", r->decay.r2_power));
    SOW_TRY(sow_put_real(call->result, "slope_of_last_two_thirds", tail_slope(e, r->steps + 1)));
    SOW_TRY(sow_put_real(call->result, "imbalance_low", r->rows[r->row_count - 1].imbalance_low));
    SOW_TRY(sow_put_real(call->result, "imbalance_high", r->rows[r->row_count - 1].imbalance_high));
    return diagnose(call, p, c, r, gross);
}

/* ---- runs ---- */

static sow_status fit(sow_call *call, factors_problem *p) {
    sow_matrix_gd_config config;
    sow_matrix_gd_result result;
    double spread;
    read_config(call, &config);
    config.truth = p->truth;
    p->op.symmetric = sow_flag(call, "symmetric");
    if (p->op.symmetric && p->op.n1 != p->op.n2)
        return sow_fail(SOW_E_SHAPE, "--symmetric: the matrix is %lld x %lld, not square", (long long)p->op.n1,
                        (long long)p->op.n2);
    SOW_TRY(factors_check_rank(&p->op, config.rank));
    SOW_TRY(factors_begin(call));
    SOW_TRY(sow_matrix_gd(&p->op, p->y, &config, call->arena, &result));
    SOW_TRY(report(call, p, &config, &result, &spread));
    SOW_TRY(factors_write(call, p, &result.x, result.singular, result.residual, spread, result.rows, result.row_count));
    return factors_report(call, &result.x, result.rows, result.row_count, NULL, NULL, 0);
}

static sow_status run_fit(sow_call *call) {
    factors_problem p;
    SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    SOW_TRY(factors_open(call, &p));
    sow_status status = fit(call, &p);
    factors_close(&p);
    return status;
}

static sow_status run_simulate(sow_call *call) {
    factors_planted planted;
    factors_problem p;
    sow_matrix_gd_config config;
    sow_matrix_gd_result result;
    double spread;
    bool symmetric = sow_flag(call, "symmetric");
    int64_t n2 = sow_given(call, "n2") ? sow_int(call, "n2") : sow_int(call, "n1");
    SOW_TRY(factors_planted_options(call, sow_int(call, "n1") == n2, &planted));
    SOW_TRY(factors_plant(&planted, call->arena, &p, NULL));
    if (symmetric && planted.n1 != planted.n2) return sow_fail(SOW_E_ARGUMENT, "--symmetric: the matrix is not square");
    p.op.symmetric = symmetric;
    read_config(call, &config);
    config.truth = p.truth;
    SOW_TRY(sow_matrix_gd(&p.op, p.y, &config, call->arena, &result));
    SOW_TRY(report(call, &p, &config, &result, &spread));
    return factors_planted_outputs(call, &p);
}

static const sow_action actions[] = {
    {"fit", "factors of a matrix from measurements, and how fast they converge", fit_options, run_fit,
     "sow matrix-gd y.npy --operator dense:A.npy --rank 5 --rebalance -o out/", SOW_ACTION_COMPUTES},
    {"complete", "fill the empty cells of a table, with a held-out error", matrix_gd_complete_options,
     matrix_gd_complete, "sow matrix-gd complete table.csv -o filled.csv", SOW_ACTION_COMPUTES},
    {"simulate", "a planted problem of these sizes: linear or power law", simulate_options, run_simulate,
     "sow matrix-gd simulate --n1 50 --truth-rank 3 --rank 5", SOW_ACTION_COMPUTES},
    {0},
};

const sow_method sow_method_matrix_gd = {
    .name = "matrix-gd",
    .family = "factors",
    .summary = "low-rank factors by gradient descent from an unbalanced start; tables with missing cells",
    .paper = "Xiong, Ding and Du 2024, arXiv 2310.01769",
    .actions = actions,
    .study = "matrix-gd",
};
