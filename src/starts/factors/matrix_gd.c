/* Gradient descent on the factors of a matrix, unbalanced at the start, rebalanced once: Xiong, Ding and Du 2024, arXiv 2310.01769. */
#include <math.h>
#include <string.h>

#include "sow/linalg.h"
#include "sow/log.h"
#include "starts/factors/factors.h"

enum { ROWS = 200, LOOK_BACK = 50, NORM_ROUNDS = 60 };

sow_matrix_gd_config sow_matrix_gd_defaults(void) {
    return (sow_matrix_gd_config){
        .rank = 5, .alpha = 0.2, .ratio = 3, .lr = 0.1, .steps = 2000, .switch_residual = 1e-3, .switch_step = -1};
}

typedef struct descent {
    const sow_operator *op;
    const double *y;
    const sow_matrix_gd_config *config;
    sow_arena *arena;
    sow_matrix_gd_result *out;
    sow_pass pass;
    double weight, lr, y_square; /* of A* A; step; ||y||^2 */
    double *df, *dg, *product, *square;
    double fastest; /* decay over LOOK_BACK steps */
} descent;

static void residual(void *user, int64_t first, int64_t count, const double *ax, double *z) {
    const descent *d = user;
    for (int64_t i = 0; i < count; i++) z[i] = d->weight * (ax[i] - d->y[first + i]);
}

/* ---- rebalancing, their equation 5.1 ---- */

sow_status sow_rebalance(sow_factors *x, double beta, sow_arena *arena) {
    int64_t k = x->k, rows = x->n1;
    double *u, *s, *vt, *other;
    sow_mark mark = sow_arena_mark(arena);
    SOW_TRY(SOW_NEW(arena, u, rows * k));
    SOW_TRY(SOW_NEW(arena, s, k));
    SOW_TRY(SOW_NEW(arena, vt, k * k));
    SOW_TRY(SOW_NEW(arena, other, x->n2 * k));
    SOW_TRY(sow_svd(SOW_TENSOR(x->f, SOW_F64, rows, k), SOW_TENSOR(u, SOW_F64, rows, k), SOW_TENSOR(s, SOW_F64, k),
                    SOW_TENSOR(vt, SOW_F64, k, k)));
    sow_status status = SOW_OK;
    if (s[k - 1] < 1e-12 * s[0])
        status = sow_fail(
            SOW_E_RANGE, "rebalancing: the smallest singular value of F is %.3g of the largest, so G would be blown up",
            s[k - 1] / s[0]);
    else {
        sow_gemm_f64(false, true, x->n2, k, k, 1, x->g, k, vt, k, 0, other, k); /* G V */
        for (int64_t i = 0; i < rows * k; i++) x->f[i] = beta * u[i];
        for (int64_t i = 0; i < x->n2 * k; i++) x->g[i] = other[i] * s[i % k] / beta;
    }
    sow_arena_release(arena, mark);
    return status;
}

/* On the factor of larger norm. beta too far from sqrt(sigma_1) makes the signal's side unstable. */
static sow_status rebalance(descent *d, int64_t t) {
    sow_factors *x = &d->out->x, turned = *x;
    double *values, sigma;
    SOW_TRY(SOW_NEW(d->arena, values, x->k));
    SOW_TRY(sow_factors_singular(x, d->arena, values));
    sigma = values[0];
    double beta = d->config->beta > 0 ? d->config->beta : sqrt(sigma);
    if (d->lr * fmax(beta * beta, pow(sigma / beta, 2)) >= 1 && beta != sqrt(sigma)) {
        sow_warn("--beta %g is unstable at this --lr: took %g, the square root of the largest singular value", beta,
                 sqrt(sigma));
        beta = sqrt(sigma);
    }
    if (d->lr * sigma >= 1) {
        d->lr = 0.5 / sigma;
        sow_warn("--lr is unstable after rebalancing: lowered to %g", d->lr);
    }
    bool second = factors_norm(x->g, x->n2 * x->k) > factors_norm(x->f, x->n1 * x->k);
    if (second) turned = (sow_factors){.n1 = x->n2, .n2 = x->n1, .k = x->k, .f = x->g, .g = x->f};
    sow_status status = sow_rebalance(&turned, beta, d->arena);
    if (status == SOW_E_RANGE) {
        sow_warn("%s; not done", sow_message());
        d->out->switched = -2;
        return SOW_OK;
    }
    d->out->switched = t;
    d->out->beta = beta;
    return status;
}

/* Whether the time has come at step t, seen by the loss alone. */
static bool time_to_switch(descent *d, int64_t t) {
    const sow_matrix_gd_config *c = d->config;
    const double *loss = d->out->loss;
    if (!c->rebalance || d->out->x.symmetric || d->out->switched != -1) return false;
    if (c->when == SOW_SWITCH_STEP) return t == c->switch_step;
    if (2 * loss[t] / d->weight <= c->switch_residual * d->y_square) return true;
    if (c->when != SOW_SWITCH_AUTO || t < LOOK_BACK || !(loss[t] > 0)) return false;
    double decay = log(loss[t - LOOK_BACK] / loss[t]);
    d->fastest = fmax(d->fastest, decay);
    return d->fastest > 1 && decay < 0.25 * d->fastest;
}

/* ---- start ---- */

static sow_status make_start(descent *d) {
    const sow_matrix_gd_config *c = d->config;
    sow_factors *x = &d->out->x;
    double unit = c->absolute ? 1 : sqrt(d->out->unit), f = c->alpha * unit, g = f / c->ratio, *norm;
    SOW_TRY(SOW_NEW(d->arena, norm, x->k));
    if (c->start) SOW_TRY(factors_copy(c->start, x));
    else {
        factors_normal(c->seed, "start", x->f, x->n1 * x->k, c->entry_scale ? f : f / sqrt((double)x->n1));
        if (!x->symmetric)
            factors_normal(c->seed, "start-g", x->g, x->n2 * x->k, c->entry_scale ? g : g / sqrt((double)x->n2));
    }
    SOW_TRY(sow_svd(SOW_TENSOR(x->f, SOW_F64, x->n1, x->k), (sow_tensor){0}, SOW_TENSOR(norm, SOW_F64, x->k),
                    (sow_tensor){0}));
    d->out->start_norm = norm[0];
    return SOW_OK;
}

static sow_status prepare(descent *d) {
    const sow_operator *op = d->op;
    const sow_matrix_gd_config *c = d->config;
    sow_matrix_gd_result *out = d->out;
    bool entries = op->kind == SOW_OPERATOR_ENTRIES || op->kind == SOW_OPERATOR_IDENTITY;
    double *v;
    if (!(c->alpha > 0) || !(c->ratio > 0) || !(c->lr > 0) || c->steps < 1)
        return sow_fail(SOW_E_RANGE, "matrix-gd: alpha, ratio, lr and steps must be positive");
    SOW_TRY(factors_require_finite(d->y, op->m));
    SOW_TRY(sow_pass_new(d->arena, op, c->rank, &d->pass));
    SOW_TRY(factors_new(d->arena, op, c->rank, &out->x));
    SOW_TRY(SOW_NEW(d->arena, out->loss, c->steps + 1));
    if (c->truth) SOW_TRY(SOW_NEW(d->arena, out->error, c->steps + 1));
    if (c->truth) SOW_TRY(SOW_NEW(d->arena, d->product, op->n1 * op->n2));
    SOW_TRY(SOW_NEW(d->arena, out->rows, c->steps / (c->steps / ROWS + 1) + 3));
    SOW_TRY(SOW_NEW(d->arena, d->df, op->n1 * c->rank));
    SOW_TRY(SOW_NEW(d->arena, d->dg, op->n2 * c->rank));
    SOW_TRY(SOW_NEW(d->arena, v, op->n2));
    d->weight = entries ? (double)(op->n1 * op->n2) / (double)op->m : 1 / (double)op->m;
    d->y_square = pow(factors_norm(d->y, op->m), 2);
    for (int64_t i = 0; i < op->m; i++) d->pass.z[i] = d->weight * d->y[i];
    SOW_TRY(sow_operator_adjoint(&d->pass, d->pass.z));
    SOW_TRY(sow_operator_norm(&d->pass, v, NORM_ROUNDS, &out->unit));
    if (!isfinite(out->unit)) return sow_fail(SOW_E_NUMBER, "the operator's matrices hold NaN or infinities");
    if (!(out->unit > 0)) return sow_fail(SOW_E_NUMBER, "the measurements carry nothing: A*(y) is zero");
    d->lr = c->absolute ? c->lr : c->lr / out->unit;
    out->switched = -1;
    return make_start(d);
}

/* ---- descent ---- */

static double loss_of(const descent *d) {
    double sum = 0;
    for (int64_t i = 0; i < d->op->m; i++) sum += (d->pass.ax[i] - d->y[i]) * (d->pass.ax[i] - d->y[i]);
    return d->weight * sum / (d->out->x.symmetric ? 4 : 2);
}

static sow_status look(descent *d, int64_t t) {
    sow_matrix_gd_result *out = d->out;
    int64_t stride = d->config->steps / ROWS + 1;
    out->loss[t] = loss_of(d);
    if (!(out->loss[t] <= 1e12 * fmax(out->loss[0], 1e-300)))
        return sow_fail(SOW_E_NUMBER, "step %lld: the descent diverged at step size %g; take a smaller --lr",
                        (long long)t, d->lr);
    if (d->config->truth) out->error[t] = pow(factors_error(&out->x, d->config->truth, d->product), 2);
    if (t % stride && t < d->config->steps) return SOW_OK;
    sow_factors_row *row = &out->rows[out->row_count++];
    *row = (sow_factors_row){.step = t, .rate = d->lr, .loss = out->loss[t], .holdout = NAN};
    return factors_look(&out->x, d->config->truth, d->product, row);
}

/* Both factors from one residual: a factor updated first would be another method. */
static sow_status step(descent *d) {
    sow_factors *x = &d->out->x;
    SOW_TRY(sow_operator_times(&d->pass, x->g, x->k, false, d->df));
    if (!x->symmetric) SOW_TRY(sow_operator_times(&d->pass, x->f, x->k, true, d->dg));
    for (int64_t i = 0; i < x->n1 * x->k; i++) x->f[i] -= d->lr * d->df[i];
    for (int64_t i = 0; i < x->n2 * x->k && !x->symmetric; i++) x->g[i] -= d->lr * d->dg[i];
    return SOW_OK;
}

static sow_status descend(descent *d) {
    sow_factors *x = &d->out->x;
    int64_t steps = d->config->steps;
    for (int64_t t = 0;; t++) {
        SOW_TRY(sow_operator_forward(&d->pass, x->f, x->g, x->k, residual, d));
        SOW_TRY(look(d, t));
        d->out->steps = t;
        if (t == steps || d->out->loss[t] <= 1e-31 * d->out->loss[0]) break;
        if (time_to_switch(d, t)) { /* the product stays, so the residual does */
            SOW_TRY(rebalance(d, t));
        }
        SOW_TRY(step(d));
        sow_progress("matrix-gd", t + 1, steps);
        SOW_TRY(sow_check_interrupt());
    }
    if (d->out->steps < steps) sow_progress("matrix-gd", steps, steps);
    return SOW_OK;
}

static sow_status conclude(descent *d) {
    sow_matrix_gd_result *out = d->out;
    int64_t m = d->op->m;
    SOW_TRY(SOW_NEW(d->arena, out->singular, out->x.k));
    SOW_TRY(SOW_NEW(d->arena, out->residual, m));
    SOW_TRY(sow_factors_singular(&out->x, d->arena, out->singular));
    for (int64_t i = 0; i < m; i++) out->residual[i] = d->pass.ax[i] - d->y[i];
    while (out->rank < out->x.k && out->singular[out->rank] > 1e-2 * out->singular[0]) out->rank++;
    const double *e = out->error ? out->error : out->loss;
    out->decay = sow_decay_of(e, out->steps + 1, out->switched > 0 ? out->switched : 0, 1e-24 * e[0]);
    out->lr = d->lr;
    if (out->switched < 0) out->switched = -1;
    return SOW_OK;
}

sow_status sow_matrix_gd(const sow_operator *op, const double *y, const sow_matrix_gd_config *config, sow_arena *arena,
                         sow_matrix_gd_result *out) {
    descent d = {.op = op, .y = y, .config = config, .arena = arena, .out = out};
    *out = (sow_matrix_gd_result){0};
    SOW_TRY(prepare(&d));
    SOW_TRY(descend(&d));
    return conclude(&d);
}
