/* Robust matrix recovery by a sub-gradient method from a tiny start: Ma and Fattahi 2022, arXiv 2202.08788. */
#include <math.h>
#include <string.h>

#include "sow/linalg.h"
#include "sow/log.h"
#include "sow/random.h"
#include "starts/factors/factors.h"

enum { ROWS = 200, NORM_ROUNDS = 4, RANK_DEFAULT = 64, STEPS_MAX = 10000000, DENSE_START = 1 << 22, EXTRA = 8 };

sow_subgm_config sow_subgm_defaults(void) {
    return (sow_subgm_config){.alpha = 1e-6, .eta0 = 0.3, .holdout = -1};
}

/* One problem, its start, and one path. */
typedef struct search {
    const sow_operator *op;
    const double *y;
    const sow_subgm_config *config;
    sow_arena *arena;
    sow_pass pass;
    uint8_t *held;   /* [m]: 1 is held out; NULL: none is */
    int64_t kept;    /* measurements that count */
    double *sample;  /* [m], for medians */
    double *product; /* [n1, n2], with truth */
    sow_factors start, x, best;
    double *df, *dg, *v; /* directions, warm vector of the power iteration */
    double scale, square_rate;
    int64_t start_rank;
} search;

/* ---- weights: the sign of the residual, over the measurements that count ---- */

static void sign_of_residual(void *user, int64_t first, int64_t count, const double *ax, double *z) {
    const search *s = user;
    double one = 1 / (double)s->kept;
    for (int64_t i = 0; i < count; i++) {
        double residual = ax[i] - s->y[first + i];
        z[i] = s->held && s->held[first + i] ? 0
               : s->config->squares          ? residual * one
               : residual > 0                ? one
               : residual < 0                ? -one
                                             : 0;
    }
}

/* ---- the start ---- */

/* Held-out measurements: floor(share m) of a random order. */
static sow_status hold_out(search *s, double share) {
    int64_t m = s->op->m, count = (int64_t)(share * (double)m), *order;
    s->kept = m;
    if (count < 1) return SOW_OK;
    sow_rng rng;
    SOW_TRY(SOW_NEW(s->arena, s->held, m));
    SOW_TRY(SOW_NEW_RAW(s->arena, order, m));
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, s->config->seed));
    sow_rng_at(&rng, "factors", "holdout");
    sow_rng_permutation(&rng, order, m);
    for (int64_t i = 0; i < count; i++) s->held[order[i]] = 1;
    s->kept = m - count;
    return SOW_OK;
}

/* Mean square of the elements of A_i, from some of the measurements. */
static double mean_square(const sow_operator *op) {
    double sum = 0, count = 0;
    int64_t n = op->n1 * op->n2, stride = op->m / 64 + 1;
    for (int64_t i = 0; i < op->m; i += stride)
        for (int64_t j = 0; j < n && op->kind == SOW_OPERATOR_DENSE; j++) {
            double a = op->a.dtype == SOW_F64 ? ((const double *)op->a.data)[i * n + j]
                                              : (double)((const float *)op->a.data)[i * n + j];
            sum += a * a;
            count++;
        }
    if (op->kind != SOW_OPERATOR_RANK_ONE) return count > 0 ? sum / count : 1;
    return pow(factors_norm(op->a.data, op->m * op->n1) * factors_norm(op->b.data, op->m * op->n2) / (double)op->m, 2) /
           (double)n;
}

/* ||X*||_F: of Gaussian measurements, median |y| / 0.6745, whatever the outliers; of entries, from their sum of squares. */
static double estimate_scale(search *s) {
    const sow_operator *op = s->op;
    if (op->kind == SOW_OPERATOR_ENTRIES || op->kind == SOW_OPERATOR_IDENTITY)
        return factors_norm(s->y, op->m) * sqrt((double)(op->n1 * op->n2) / (double)op->m);
    for (int64_t i = 0; i < op->m; i++) s->sample[i] = fabs(s->y[i]);
    double median = factors_median(s->sample, op->m), square = mean_square(op);
    return square > 0 ? median / 0.6745 / sqrt(square) : median / 0.6745;
}

/* The k leading singular triples of E without forming it: subspace iteration. u: [n1, k], w: [k], v: [n2, k]. */
static sow_status iterate_subspace(search *s, int64_t k, double *u, double *w, double *v) {
    int64_t n1 = s->op->n1, n2 = s->op->n2, most = n1 < n2 ? n1 : n2, wide = k + EXTRA < most ? k + EXTRA : most;
    sow_arena *arena = s->arena;
    sow_pass pass;
    double *a, *b, *left, *values, *right;
    SOW_TRY(sow_pass_new(arena, s->op, wide, &pass));
    memcpy(pass.z, s->pass.z, (size_t)s->op->m * sizeof *pass.z);
    SOW_TRY(SOW_NEW(arena, a, n1 * wide));
    SOW_TRY(SOW_NEW(arena, b, n2 * wide));
    SOW_TRY(SOW_NEW(arena, left, n1 * wide));
    SOW_TRY(SOW_NEW(arena, values, wide));
    SOW_TRY(SOW_NEW(arena, right, wide * wide));
    SOW_TRY(sow_operator_adjoint(&pass, pass.z));
    factors_normal(s->config->seed, "subspace", b, n2 * wide, 1);
    sow_tensor at = SOW_TENSOR(a, SOW_F64, n1, wide), bt = SOW_TENSOR(b, SOW_F64, n2, wide);
    for (int round = 0; round < 6; round++) {
        SOW_TRY(sow_qr(bt, bt, (sow_tensor){0}));
        SOW_TRY(sow_operator_times(&pass, b, wide, false, a));
        if (round == 5) break;
        SOW_TRY(sow_qr(at, at, (sow_tensor){0}));
        SOW_TRY(sow_operator_times(&pass, a, wide, true, b));
    }
    SOW_TRY(sow_svd(at, SOW_TENSOR(left, SOW_F64, n1, wide), SOW_TENSOR(values, SOW_F64, wide),
                    SOW_TENSOR(right, SOW_F64, wide, wide)));
    for (int64_t i = 0; i < n1 * k; i++) u[i] = left[i / k * wide + i % k];
    memcpy(w, values, (size_t)k * sizeof *w);
    sow_gemm_f64(false, true, n2, k, wide, 1, b, wide, right, wide, 0, v, k);
    return SOW_OK;
}

/* Leading triples; for symmetric problems eigenvalues, so that negative ones can be told. */
static sow_status decompose(search *s, int64_t k, double *u, double *w, double *v) {
    int64_t n1 = s->op->n1, n2 = s->op->n2, r = n1 < n2 ? n1 : n2;
    double *e, *left, *values, *right;
    if (n1 * n2 > DENSE_START) {
        SOW_TRY(iterate_subspace(s, k, u, w, v));
        for (int64_t j = 0; j < k && s->op->symmetric; j++) { /* u and v of a negative eigenvalue point apart */
            double sum = 0;
            for (int64_t i = 0; i < n1; i++) sum += u[i * k + j] * v[i * k + j];
            if (sum < 0) w[j] = -w[j];
        }
        return SOW_OK;
    }
    SOW_TRY(SOW_NEW(s->arena, e, n1 * n2));
    SOW_TRY(SOW_NEW(s->arena, left, n1 * r));
    SOW_TRY(SOW_NEW(s->arena, values, r));
    SOW_TRY(SOW_NEW(s->arena, right, r * n2));
    SOW_TRY(sow_operator_sum(&s->pass, e));
    sow_tensor et = SOW_TENSOR(e, SOW_F64, n1, n2), lt = SOW_TENSOR(left, SOW_F64, n1, r),
               wt = SOW_TENSOR(values, SOW_F64, r);
    if (s->op->symmetric) SOW_TRY(sow_eigen_symmetric(et, wt, lt));
    else SOW_TRY(sow_svd(et, lt, wt, SOW_TENSOR(right, SOW_F64, r, n2)));
    for (int64_t i = 0; i < n1 * k; i++) u[i] = left[i / k * r + i % k];
    for (int64_t i = 0; i < n2 * k && !s->op->symmetric; i++) v[i] = right[i % k * n2 + i / k];
    memcpy(w, values, (size_t)k * sizeof *w);
    return SOW_OK;
}

/* Spectral information C = (1/m) sum sign(y_i) A_i, robust since only signs enter; B B^T is its positive part. A pair is lifted to
 * [[0, C/2], [C^T/2, 0]], whose eigenvectors are [u; v]/sqrt 2. Columns without a positive eigenvalue get a thousandth of noise: left at
 * zero they would stay there for ever. */
static sow_status start_spectral(search *s, double size) {
    int64_t n1 = s->op->n1, n2 = s->op->n2, k = s->start.k;
    double *u, *w, *v, *z = s->pass.z;
    SOW_TRY(SOW_NEW(s->arena, u, n1 * k));
    SOW_TRY(SOW_NEW(s->arena, v, n2 * k));
    SOW_TRY(SOW_NEW(s->arena, w, k));
    for (int64_t i = 0; i < s->op->m; i++)
        z[i] = s->held && s->held[i] ? 0 : (double)((s->y[i] > 0) - (s->y[i] < 0)) / (double)s->kept;
    SOW_TRY(sow_operator_adjoint(&s->pass, z));
    SOW_TRY(decompose(s, k, u, w, v));
    for (int64_t j = 0; j < k; j++) s->start_rank += w[j] > 0.5 * w[0];
    if (s->config->start || s->config->random_start) return SOW_OK;
    factors_normal(s->config->seed, "idle", s->start.f, n1 * k, size * 1e-3 / sqrt((double)n1));
    if (!s->op->symmetric)
        factors_normal(s->config->seed, "idle-g", s->start.g, n2 * k, size * 1e-3 / sqrt((double)n2));
    for (int64_t j = 0; j < k; j++) {
        double b = w[j] > 0 ? size * sqrt(w[j]) * (s->op->symmetric ? 1 : 0.5) : 0;
        for (int64_t i = 0; i < n1 && b > 0; i++) s->start.f[i * k + j] = b * u[i * k + j];
        for (int64_t i = 0; i < n2 && b > 0 && !s->op->symmetric; i++) s->start.g[i * k + j] = b * v[i * k + j];
    }
    return SOW_OK;
}

static sow_status make_start(search *s) {
    const sow_subgm_config *c = s->config;
    double size = c->alpha * (c->unit_scale ? 1 : sqrt(s->scale));
    SOW_TRY(start_spectral(s, size)); /* its eigenvalues also set the budget */
    if (s->start_rank < 1) s->start_rank = 1;
    if (c->start) return factors_copy(c->start, &s->start);
    if (!c->random_start) return SOW_OK;
    factors_normal(c->seed, "start", s->start.f, s->start.n1 * s->start.k, size / sqrt((double)s->start.n1));
    if (!s->start.symmetric)
        factors_normal(c->seed, "start-g", s->start.g, s->start.n2 * s->start.k, size / sqrt((double)s->start.n2));
    return SOW_OK;
}

/* ---- one path ---- */

static double mean_loss(const search *s) {
    double sum = 0;
    for (int64_t i = 0; i < s->op->m; i++)
        if (!s->held || !s->held[i])
            sum += s->config->squares ? pow(s->pass.ax[i] - s->y[i], 2) / 2 : fabs(s->pass.ax[i] - s->y[i]);
    return sum / (double)s->kept;
}

static double held_median(search *s) {
    int64_t n = 0;
    if (!s->held) return NAN;
    for (int64_t i = 0; i < s->op->m; i++)
        if (s->held[i]) s->sample[n++] = fabs(s->pass.ax[i] - s->y[i]);
    return factors_median(s->sample, n);
}

/* ||Q|| of the (lifted) sub-gradient; lifting halves the spectral norm, and gives ||E||_F / sqrt 2. */
static sow_status norm_of(search *s, double *norm) {
    bool pair = !s->op->symmetric;
    if (s->config->norm == SOW_NORM_FROBENIUS) {
        int64_t n = s->op->n1 * s->op->n2;
        if (!s->product) SOW_TRY(SOW_NEW(s->arena, s->product, n));
        SOW_TRY(sow_operator_sum(&s->pass, s->product));
        *norm = factors_norm(s->product, n) * (pair ? sqrt(0.5) : 1);
        return SOW_OK;
    }
    SOW_TRY(sow_operator_norm(&s->pass, s->v, NORM_ROUNDS, norm));
    if (pair) *norm *= 0.5;
    return SOW_OK;
}

/* The step's length along D, which is Q U for the lifted pair: half of [E G; E^T F]. */
static sow_status length_of_step(search *s, int64_t t, double rho, double *eta) {
    const sow_subgm_config *c = s->config;
    double norm = 1;
    if (c->squares) {
        *eta = s->square_rate;
        return SOW_OK;
    }
    bool normed = (c->rule == SOW_SUBGM_GEOMETRIC || c->rule == SOW_SUBGM_ROOT) && c->norm != SOW_NORM_NONE;
    if (normed) SOW_TRY(norm_of(s, &norm));
    if (norm == 0) norm = 1; /* Q = 0: every residual is zero */
    double df = factors_norm(s->df, s->x.n1 * s->x.k), dg = s->x.symmetric ? 0 : factors_norm(s->dg, s->x.n2 * s->x.k);
    switch (c->rule) {
    case SOW_SUBGM_GEOMETRIC: *eta = c->eta0 * pow(rho, (double)t) / norm; break;
    case SOW_SUBGM_ROOT: *eta = c->eta0 / sqrt((double)(t + 1)) / norm; break;
    case SOW_SUBGM_LOSS: *eta = c->eta0 * (M_PI / 2) * mean_loss(s); break;
    case SOW_SUBGM_POLYAK: *eta = df * df + dg * dg > 0 ? 0.5 * mean_loss(s) / (df * df + dg * dg) : 0; break;
    default: *eta = c->eta0; break;
    }
    return SOW_OK;
}

static sow_status step(search *s, int64_t t, double rho, double *eta) {
    int64_t k = s->x.k;
    double half = s->op->symmetric ? 1 : 0.5;
    SOW_TRY(sow_operator_times(&s->pass, s->x.g, k, false, s->df));
    for (int64_t i = 0; i < s->x.n1 * k; i++) s->df[i] *= half;
    if (!s->op->symmetric) {
        SOW_TRY(sow_operator_times(&s->pass, s->x.f, k, true, s->dg));
        for (int64_t i = 0; i < s->x.n2 * k; i++) s->dg[i] *= half;
    }
    SOW_TRY(length_of_step(s, t, rho, eta));
    for (int64_t i = 0; i < s->x.n1 * k; i++) s->x.f[i] -= *eta * s->df[i];
    for (int64_t i = 0; i < s->x.n2 * k && !s->op->symmetric; i++) s->x.g[i] -= *eta * s->dg[i];
    return SOW_OK;
}

/* One path as it is reported. */
typedef struct path {
    double rho, budget, holdout, least_error;
    int64_t steps, best_step, row_count;
    sow_factors_row *rows;
} path;

/* A look at step t, before it is taken. The best point is that of the held-out measurements, or the last. */
static sow_status look(search *s, path *p, int64_t t, double eta) {
    sow_factors_row *row = &p->rows[p->row_count++];
    *row = (sow_factors_row){.step = t, .rate = eta, .loss = mean_loss(s), .holdout = held_median(s)};
    if (!isfinite(row->loss))
        return sow_fail(SOW_E_NUMBER, "step %lld: the iteration diverged; take a smaller --eta", (long long)t);
    SOW_TRY(factors_look(&s->x, s->config->truth, s->product, row));
    if (!(row->error >= p->least_error)) p->least_error = row->error;
    if (s->held && !(row->holdout < p->holdout)) return SOW_OK;
    p->holdout = row->holdout;
    p->best_step = t;
    return factors_copy(&s->x, &s->best);
}

/* Held-out residuals have long been rising again: the rest of the path would only fit outliers. */
static bool past_best(const search *s, const path *p, int64_t t) {
    return s->held && !s->config->full_path && p->row_count > 20 && p->holdout < 0.9 * p->rows[0].holdout &&
           t - p->best_step > p->steps / 5 && p->rows[p->row_count - 1].holdout > 1.02 * p->holdout;
}

static sow_status follow(search *s, path *p) {
    int64_t stride = p->steps / ROWS > 0 ? p->steps / ROWS : 1;
    double eta = 0;
    SOW_TRY(SOW_NEW(s->arena, p->rows, p->steps / stride + 3));
    SOW_TRY(factors_copy(&s->start, &s->x));
    memset(s->v, 0, (size_t)s->op->n2 * sizeof *s->v);
    p->row_count = 0;
    p->holdout = INFINITY;
    p->least_error = NAN;
    for (int64_t t = 0; t <= p->steps; t++) {
        SOW_TRY(sow_operator_forward(&s->pass, s->x.f, s->x.g, s->x.k, sign_of_residual, s));
        if (t % stride == 0 || t == p->steps) SOW_TRY(look(s, p, t, eta));
        if (t == p->steps || (t % stride == 0 && past_best(s, p, t))) break;
        SOW_TRY(step(s, t, p->rho, &eta));
        sow_progress("subgm", t + 1, p->steps);
        SOW_TRY(sow_check_interrupt());
    }
    if (p->row_count > 0 && p->rows[p->row_count - 1].step < p->steps) sow_progress("subgm", p->steps, p->steps);
    return SOW_OK;
}

/* Total travel eta0/(1-rho) must carry the signal from alpha^2 to sigma_r, and not much further (card: budget rule). */
static void plan(const search *s, double budget, path *p) {
    const sow_subgm_config *c = s->config;
    double decades = log(1 / fmin(c->alpha, 0.1));
    *p = (path){.budget = budget, .rho = c->rho};
    if (p->rho == 0) p->rho = fmax(0.5, 1 - c->eta0 / (1.5 * budget * sqrt((double)s->start_rank) * decades));
    double steps = c->steps > 0 ? (double)c->steps : p->rho < 1 ? ceil(log(1e-7) / log(p->rho)) : 1000;
    p->steps = (int64_t)fmin(steps, STEPS_MAX);
}

/* ---- the whole ---- */

static sow_status prepare(search *s) {
    const sow_operator *op = s->op;
    const sow_subgm_config *c = s->config;
    bool entries = op->kind == SOW_OPERATOR_ENTRIES || op->kind == SOW_OPERATOR_IDENTITY;
    int64_t most = op->n1 < op->n2 ? op->n1 : op->n2, k = c->rank > 0           ? c->rank
                                                          : most < RANK_DEFAULT ? most
                                                                                : RANK_DEFAULT;
    if (!(c->alpha > 0) || !(c->eta0 > 0) || c->rho < 0 || c->rho > 1 || c->holdout >= 1)
        return sow_fail(SOW_E_RANGE, "subgm: alpha and eta0 must be positive, rho within 0..1, holdout below 1");
    SOW_TRY(factors_require_finite(s->y, op->m));
    SOW_TRY(sow_pass_new(s->arena, op, k, &s->pass));
    SOW_TRY(factors_new(s->arena, op, k, &s->start));
    SOW_TRY(factors_new(s->arena, op, k, &s->x));
    SOW_TRY(factors_new(s->arena, op, k, &s->best));
    SOW_TRY(SOW_NEW(s->arena, s->sample, op->m));
    SOW_TRY(SOW_NEW(s->arena, s->df, op->n1 * k));
    SOW_TRY(SOW_NEW(s->arena, s->dg, op->n2 * k));
    SOW_TRY(SOW_NEW(s->arena, s->v, op->n2));
    if (c->truth) SOW_TRY(SOW_NEW(s->arena, s->product, op->n1 * op->n2));
    SOW_TRY(hold_out(s, c->holdout < 0 ? (entries ? 0.1 : 0) : c->holdout));
    s->scale = estimate_scale(s);
    SOW_TRY(make_start(s));
    if (!c->squares) return SOW_OK;
    /* the gradient of the squares is about X - X* times F: stable below 1/(2 sigma_1) */
    for (int64_t i = 0; i < op->m; i++) s->pass.z[i] = s->held && s->held[i] ? 0 : s->y[i] / (double)s->kept;
    SOW_TRY(sow_operator_adjoint(&s->pass, s->pass.z));
    SOW_TRY(sow_operator_norm(&s->pass, s->v, 30, &s->square_rate));
    s->square_rate = s->square_rate > 0 ? 0.25 / s->square_rate : 1;
    return SOW_OK;
}

static int64_t numerical_rank(const double *singular, int64_t k) {
    int64_t rank = 0;
    while (rank < k && singular[rank] > 1e-2 * singular[0]) rank++;
    return rank;
}

/* Residuals of the point that was kept, and what they say. */
static sow_status conclude(search *s, sow_subgm_result *out) {
    int64_t m = s->op->m;
    SOW_TRY(SOW_NEW(s->arena, out->singular, out->x.k));
    SOW_TRY(SOW_NEW(s->arena, out->residual, m));
    SOW_TRY(sow_factors_singular(&out->x, s->arena, out->singular));
    SOW_TRY(sow_operator_forward(&s->pass, out->x.f, out->x.g, out->x.k, sign_of_residual, s));
    for (int64_t i = 0; i < m; i++) {
        out->residual[i] = s->pass.ax[i] - s->y[i];
        s->sample[i] = fabs(out->residual[i]);
    }
    out->spread = 1.4826 * factors_median(s->sample, m);
    double bound = fmax(5 * out->spread, 1e-9 * out->scale);
    for (int64_t i = 0; i < m; i++) out->outliers += fabs(out->residual[i]) > bound;
    out->rank = numerical_rank(out->singular, out->x.k);
    return SOW_OK;
}

static void keep(const search *s, const path *p, sow_subgm_result *out) {
    out->steps = p->steps;
    out->best_step = p->best_step;
    out->rho = p->rho;
    out->budget = p->budget;
    out->travel = p->rho < 1 ? s->config->eta0 * (1 - pow(p->rho, (double)p->steps)) / (1 - p->rho)
                             : s->config->eta0 * (double)p->steps;
    out->holdout = s->held ? p->holdout : NAN;
    out->rows = p->rows;
    out->row_count = p->row_count;
    out->least_error = p->least_error;
}

sow_status sow_subgm(const sow_operator *op, const double *y, const sow_subgm_config *config, sow_arena *arena,
                     sow_subgm_result *out) {
    static const double of_entries[] = {1, 3, 10}, of_others[] = {1, 1.5, 2, 3};
    search s = {.op = op, .y = y, .config = config, .arena = arena};
    bool entries = op->kind == SOW_OPERATOR_ENTRIES || op->kind == SOW_OPERATOR_IDENTITY;
    *out = (sow_subgm_result){0};
    SOW_TRY(prepare(&s));
    SOW_TRY(factors_new(arena, op, s.start.k, &out->x));
    out->scale = s.scale;
    out->start_rank = s.start_rank;
    const double *budgets = config->budget > 0 ? &config->budget : entries ? of_entries : of_others;
    int count = config->budget > 0 || !s.held || config->rho > 0 ? 1 : entries ? 3 : 4;
    double best = INFINITY;
    for (int i = 0; i < count; i++) {
        path p;
        plan(&s, budgets[i], &p);
        SOW_TRY(follow(&s, &p));
        out->tried[out->tried_count++] = (struct sow_subgm_tried){budgets[i], p.holdout, p.best_step, 0};
        if (s.held && !(p.holdout < best)) continue;
        best = p.holdout;
        keep(&s, &p, out);
        SOW_TRY(factors_copy(&s.best, &out->x));
    }
    return conclude(&s, out);
}
