/* subgm as a command: options, what it found and what that means. */
#include <math.h>
#include <string.h>

#include "sow/json.h"
#include "sow/log.h"
#include "starts/factors/subgm.h"

static const sow_option fit_options[] = {
    FACTORS_MEASUREMENTS,
    SOW_OPTION_PATH("image", NULL, "robust PCA of a picture (PNG, JPEG) instead of measurements"),
    SOW_OPTION_REAL("corrupt", "0", 0, 0.95, "--image: share of values replaced by salt and pepper first"),
    SOW_OPTION_CHOICE("kind", "auto", "auto|psd|general",
                      "X = U U^T, or F G^T; auto: psd for square dense and for rank-one operators with one file"),
    SUBGM_FIT_OPTIONS,
    SOW_OPTION_SEED,
    SOW_OPTION_OUTPUT("folder for factors, recovered matrix, outlier scores, trace and plots"),
    SOW_OPTION_FORCE,
    {0},
};

/* ---- settings ---- */

static sow_subgm_rule rule_of(const char *name) {
    static const char *const names[] = {"geometric", "loss", "const", "polyak", "sqrt"};
    int i = 0;
    while (i < 4 && strcmp(names[i], name) != 0) i++;
    return (sow_subgm_rule)i;
}

void subgm_config(const sow_call *call, sow_subgm_config *out) {
    const char *norm = sow_text(call, "qnorm");
    *out = (sow_subgm_config){
        .rank = sow_int(call, "rank"),
        .alpha = sow_real(call, "alpha"),
        .random_start = strcmp(sow_text(call, "init"), "random") == 0,
        .unit_scale = strcmp(sow_text(call, "scale-init"), "one") == 0,
        .rule = rule_of(sow_text(call, "step")),
        .norm = strcmp(norm, "spec") == 0  ? SOW_NORM_SPECTRAL
                : strcmp(norm, "fro") == 0 ? SOW_NORM_FROBENIUS
                                           : SOW_NORM_NONE,
        .eta0 = sow_real(call, "eta"),
        .rho = sow_given(call, "rho") ? sow_real(call, "rho") : 0,
        .budget = sow_given(call, "budget") ? sow_real(call, "budget") : 0,
        .steps = sow_given(call, "steps") ? sow_int(call, "steps") : 0,
        .holdout = sow_given(call, "holdout") ? sow_real(call, "holdout") : -1,
        .squares = strcmp(sow_text(call, "loss"), "l2") == 0,
        .seed = (uint64_t)sow_int(call, "seed"),
    };
}

/* ---- what it means ---- */

typedef struct diagnosis {
    json_t *lines;
    bool failed;
} diagnosis;

static void say(diagnosis *d, const char *text) {
    d->failed |= json_array_append_new(d->lines, json_string(text)) != 0;
}

/* The card's honest failures, each with the remedy. */
static void diagnose(const factors_problem *p, const sow_subgm_config *c, const sow_subgm_result *r, diagnosis *d) {
    double norm = factors_norm(r->singular, r->x.k), error = r->row_count > 0 ? r->rows[r->row_count - 1].error : NAN;
    double degrees = (p->op.symmetric ? (double)p->op.n1 : (double)(p->op.n1 + p->op.n2)) *
                     (double)(r->rank > 0 ? r->rank : 1);
    double needed = p->op.symmetric ? 5 : 2.5;
    bool zero = !(norm > 0.01 * r->scale);
    if (zero) say(d, "budget too small: the factors never left zero; raise --budget");
    if (isnan(r->holdout) && isfinite(error) && error > 1.5 * r->least_error)
        say(d, "budget too large: the error rose again after its minimum; lower --budget or give --holdout 0.1");
    if (!isnan(r->holdout) && r->best_step < r->rows[r->row_count - 1].step)
        say(d, "the path went on to fit outliers: its best point by held-out measurements was kept");
    if (!zero && (double)p->op.m < needed * degrees)
        say(d, "few measurements: below 5 a degree of freedom of U (2.5 of F and G) recovery is not to be expected");
    if (!zero && r->rank >= r->x.k && r->x.k > 1)
        say(d, "wrong tool, or --rank too low: no gap in the singular values, so the matrix is not of low rank");
    if (2 * r->outliers > p->op.m) say(d, "more than half of the measurements disagree: nothing can be trusted");
    if (!zero && !c->squares && r->outliers == 0)
        say(d, "no gross outliers: least squares (sow matrix-gd) uses clean measurements better");
    if (json_array_size(d->lines) == 0) say(d, "nothing unusual");
}

static sow_status report_tried(sow_call *call, const sow_subgm_result *r) {
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(call->result, "budgets", rows));
    for (int i = 0; i < r->tried_count; i++) {
        json_t *row = json_pack("{s:f, s:f, s:I}", "budget", r->tried[i].budget, "median_held_out_residual",
                                r->tried[i].holdout, "best_step", (json_int_t)r->tried[i].best_step);
        SOW_TRY(sow_append_json(rows, row));
    }
    return SOW_OK;
}

static sow_status report_errors(sow_call *call, const factors_problem *p, const sow_subgm_result *r) {
    double *product, truth = factors_norm(p->truth, p->op.n1 * p->op.n2);
    SOW_TRY(SOW_NEW(call->arena, product, p->op.n1 * p->op.n2));
    double error = factors_error(&r->x, p->truth, product);
    SOW_TRY(sow_put_real(call->result, "error", error));
    SOW_TRY(sow_put_real(call->result, "relative_error", truth > 0 ? error / truth : NAN));
    return sow_put_real(call->result, "least_error_on_the_way", r->least_error);
}

sow_status subgm_report(sow_call *call, const factors_problem *p, const sow_subgm_config *c,
                        const sow_subgm_result *r) {
    double loss = 0;
    json_t *singular = json_array();
    diagnosis d = {.lines = json_array()};
    char *shape = sow_arena_format(call->arena, "%lld x %lld", (long long)p->op.n1, (long long)p->op.n2);
    if (!shape) return SOW_E_MEMORY;
    for (int64_t i = 0; i < p->op.m; i++) loss += fabs(r->residual[i]) / (double)p->op.m;
    for (int64_t i = 0; i < r->x.k && i < SOW_FACTORS_SHOWN; i++)
        json_array_append_new(singular, json_real(r->singular[i]));
    SOW_TRY(sow_put_text(call->result, "matrix", shape));
    SOW_TRY(sow_put_text(call->result, "operator", p->what));
    SOW_TRY(sow_put_text(call->result, "kind", p->op.symmetric ? "psd" : "general"));
    SOW_TRY(sow_put_count(call->result, "measurements", p->op.m));
    SOW_TRY(sow_put_count(call->result, "search_rank", r->x.k));
    SOW_TRY(sow_put_count(call->result, "rank", r->rank));
    SOW_TRY(sow_put_json(call->result, "singular_values", singular));
    SOW_TRY(sow_put_count(call->result, "outliers", r->outliers));
    SOW_TRY(sow_put_real(call->result, "outlier_share", (double)r->outliers / (double)p->op.m));
    SOW_TRY(sow_put_real(call->result, "residual_spread", r->spread));
    SOW_TRY(sow_put_real(call->result, "mean_absolute_residual", loss));
    SOW_TRY(sow_put_real(call->result, "held_out_median", r->holdout));
    SOW_TRY(sow_put_count(call->result, "steps", r->steps));
    SOW_TRY(sow_put_count(call->result, "kept_step", r->best_step));
    SOW_TRY(sow_put_real(call->result, "rho", r->rho));
    SOW_TRY(sow_put_real(call->result, "travel", r->travel));
    if (p->truth) SOW_TRY(report_errors(call, p, r));
    if (r->tried_count > 1) SOW_TRY(report_tried(call, r));
    diagnose(p, c, r, &d);
    SOW_TRY(sow_put_json(call->result, "diagnosis", d.lines));
    return d.failed ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

/* ---- the run ---- */

static sow_status choose_kind(const sow_call *call, sow_operator *op) {
    const char *kind = sow_text(call, "kind");
    bool square = op->n1 == op->n2, one_file = op->a.data == op->b.data;
    if (strcmp(kind, "psd") == 0 && !square)
        return sow_fail(SOW_E_SHAPE, "--kind psd: the matrix is %lld x %lld, not square", (long long)op->n1,
                        (long long)op->n2);
    op->symmetric = strcmp(kind, "psd") == 0 ||
                    (strcmp(kind, "auto") == 0 && square &&
                     (op->kind == SOW_OPERATOR_DENSE || (op->kind == SOW_OPERATOR_RANK_ONE && one_file)));
    return SOW_OK;
}

static sow_status fit(sow_call *call, factors_problem *p, const subgm_picture *picture) {
    sow_subgm_config config;
    sow_subgm_result result;
    subgm_config(call, &config);
    config.truth = p->truth;
    SOW_TRY(choose_kind(call, &p->op));
    SOW_TRY(factors_check_rank(&p->op, config.rank));
    SOW_TRY(factors_begin(call));
    SOW_TRY(sow_subgm(&p->op, p->y, &config, call->arena, &result));
    SOW_TRY(subgm_report(call, p, &config, &result));
    SOW_TRY(factors_write(call, p, &result.x, result.singular, picture ? NULL : result.residual, result.spread,
                          result.rows, result.row_count));
    if (picture) return subgm_write_image(call, picture, p, &result);
    return factors_report(call, &result.x, result.rows, result.row_count, NULL, NULL, 0);
}

static sow_status run(sow_call *call) {
    factors_problem p;
    subgm_picture picture;
    bool image = sow_text(call, "image") != NULL;
    if (image && sow_text(call, "y"))
        return sow_fail(SOW_E_ARGUMENT, "--image and a file of measurements exclude each other");
    if (!image && sow_real(call, "corrupt") > 0) return sow_fail(SOW_E_ARGUMENT, "--corrupt belongs to --image");
    SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    SOW_TRY(image ? subgm_open_image(call, &picture, &p) : factors_open(call, &p));
    sow_status status = fit(call, &p, image ? &picture : NULL);
    factors_close(&p);
    return status;
}

static const sow_action actions[] = {
    {"fit", "recover a low-rank matrix from measurements of which many are wrong", fit_options, run,
     "sow subgm --image photo.png --corrupt 0.2 -o out/", SOW_ACTION_COMPUTES},
    {"sign-rip", "how well an operator keeps the direction of matrices in signs: whether recovery can work",
     subgm_sign_rip_options, subgm_sign_rip, "sow subgm sign-rip --operator dense:A.npy --rank 2", SOW_ACTION_COMPUTES},
    {"simulate", "a planted problem of these sizes: whether and how well it is recovered", subgm_simulate_options,
     subgm_simulate, "sow subgm simulate --n1 30 --truth-rank 2 --m 600 --outliers 0.1", SOW_ACTION_COMPUTES},
    {0},
};

const sow_method sow_method_subgm = {
    .name = "subgm",
    .family = "factors",
    .summary = "low-rank matrices from grossly corrupted measurements, rank and outliers unknown",
    .paper = "Ma and Fattahi 2022, arXiv 2202.08788; Sign-RIP: arXiv 2102.02969",
    .actions = actions,
    .study = "subgm",
};
