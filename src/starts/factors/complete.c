/* Tables with missing cells: offsets and unbalanced factors, by gradient descent that held-out cells stop (after Xiong, Ding and
 * Du 2024, arXiv 2310.01769). */
#include <math.h>
#include <string.h>

#include "sow/log.h"
#include "sow/random.h"
#include "starts/factors/factors.h"

enum { CHECK_EVERY = 5, SMALL = 20000, BACKFITS = 4, RANKS = 10 };
static const double shrink = 2; /* cells that an offset must beat: rows with few cells stay near the column means */
static const int64_t rank_list[RANKS] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32};

sow_complete_config sow_complete_defaults(void) {
    return (sow_complete_config){.rank = -1, .alpha = 0.2, .ratio = 3, .lr = 0.2, .steps = 1000, .holdout = 0.1};
}

/* Observed cells in the order of a random permutation, standardised; the first `test` are for the final error. */
typedef struct cells {
    const sow_complete_config *config;
    sow_arena *arena;
    int64_t rows, columns, count, test;
    int64_t *row, *column;
    double *value, *center, *scale; /* [count]; [columns] */
} cells;

/* A fit to some cells. */
typedef struct model {
    double *of_row, *of_column;
    sow_factors x;
} model;

static bool positive(const cells *t) {
    return t->config->non_negative;
}

/* ---- reading ---- */

static sow_status standardise(cells *t, const double *values) {
    int64_t *seen;
    SOW_TRY(SOW_NEW(t->arena, seen, t->columns));
    SOW_TRY(SOW_NEW(t->arena, t->center, t->columns));
    SOW_TRY(SOW_NEW(t->arena, t->scale, t->columns));
    for (int64_t i = 0; i < t->rows * t->columns; i++) {
        int64_t c = i % t->columns;
        if (isnan(values[i])) continue;
        if (isinf(values[i]))
            return sow_fail(SOW_E_NUMBER, "row %lld, column %lld: an infinite value", (long long)(i / t->columns),
                            (long long)c);
        if (positive(t) && values[i] < 0)
            return sow_fail(SOW_E_RANGE, "row %lld, column %lld: %g, expected no negative value with --non-negative",
                            (long long)(i / t->columns), (long long)c, values[i]);
        seen[c]++;
        t->count++;
        if (!positive(t)) t->center[c] += values[i];
    }
    for (int64_t c = 0; c < t->columns; c++) {
        if (seen[c] == 0)
            return sow_fail(SOW_E_NUMBER, "column %lld: no cell is observed, so nothing is known of it", (long long)c);
        t->center[c] /= (double)seen[c];
    }
    for (int64_t i = 0; i < t->rows * t->columns; i++)
        if (!isnan(values[i])) t->scale[i % t->columns] += pow(values[i] - t->center[i % t->columns], 2);
    for (int64_t c = 0; c < t->columns; c++) t->scale[c] = t->scale[c] > 0 ? sqrt(t->scale[c] / (double)seen[c]) : 1;
    return SOW_OK;
}

static sow_status collect(cells *t, const double *values) {
    int64_t *order, *where, at = 0;
    sow_rng rng;
    SOW_TRY(standardise(t, values));
    if (t->count < 10) return sow_fail(SOW_E_RANGE, "%lld observed cells, at least 10 are needed", (long long)t->count);
    SOW_TRY(SOW_NEW(t->arena, order, t->count));
    SOW_TRY(SOW_NEW(t->arena, where, t->count));
    SOW_TRY(SOW_NEW(t->arena, t->row, t->count));
    SOW_TRY(SOW_NEW(t->arena, t->column, t->count));
    SOW_TRY(SOW_NEW(t->arena, t->value, t->count));
    for (int64_t i = 0; i < t->rows * t->columns; i++)
        if (!isnan(values[i])) where[at++] = i;
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, t->config->seed));
    sow_rng_at(&rng, "factors", "cells");
    sow_rng_permutation(&rng, order, t->count);
    for (int64_t i = 0; i < t->count; i++) {
        int64_t cell = where[order[i]], c = cell % t->columns;
        t->row[i] = cell / t->columns;
        t->column[i] = c;
        t->value[i] = (values[cell] - t->center[c]) / t->scale[c];
    }
    t->test = (int64_t)(t->config->holdout * (double)t->count);
    return SOW_OK;
}

/* ---- one fit ---- */

/* Which cells a fit sees: all from `first` on but [skip, skip_end). */
typedef struct part {
    int64_t first, skip, skip_end;
} part;

static bool sees(const part *p, int64_t i) {
    return i >= p->first && !(i >= p->skip && i < p->skip_end);
}

/* Means of rows and columns by turns, each shrunk towards zero. */
static sow_status fit_offsets(const cells *t, const part *p, bool rows, model *out) {
    double *sum, *n;
    int64_t most = t->rows > t->columns ? t->rows : t->columns;
    SOW_TRY(SOW_NEW(t->arena, out->of_row, t->rows));
    SOW_TRY(SOW_NEW(t->arena, out->of_column, t->columns));
    SOW_TRY(SOW_NEW(t->arena, sum, most));
    SOW_TRY(SOW_NEW(t->arena, n, most));
    for (int turn = 0; turn < BACKFITS && !positive(t); turn++) {
        bool by_row = turn % 2;
        if (by_row ? !rows : t->config->no_columns) continue;
        memset(sum, 0, (size_t)most * sizeof *sum);
        memset(n, 0, (size_t)most * sizeof *n);
        for (int64_t i = p->first; i < t->count; i++) {
            if (!sees(p, i)) continue;
            int64_t line = by_row ? t->row[i] : t->column[i];
            sum[line] += t->value[i] - (by_row ? out->of_column[t->column[i]] : out->of_row[t->row[i]]);
            n[line]++;
        }
        double *offset = by_row ? out->of_row : out->of_column;
        for (int64_t i = 0; i < (by_row ? t->rows : t->columns); i++)
            offset[i] = sum[i] / (n[i] + (by_row ? shrink : 0) + 1e-300);
    }
    return SOW_OK;
}

static double predict(const model *m, int64_t row, int64_t column) {
    double sum = m->of_row[row] + m->of_column[column];
    for (int64_t j = 0; j < m->x.k; j++) sum += m->x.f[row * m->x.k + j] * m->x.g[column * m->x.k + j];
    return sum;
}

static double square_error(const cells *t, const model *m, int64_t first, int64_t end) {
    double sum = 0;
    for (int64_t i = first; i < end; i++) sum += pow(predict(m, t->row[i], t->column[i]) - t->value[i], 2);
    return sum;
}

/* Measurements of a part: values, whose offsets move along. */
typedef struct pull {
    const sow_operator *op;
    const model *m;
    const double *y;
    double weight;
} pull;

static void residual(void *user, int64_t first, int64_t count, const double *ax, double *z) {
    const pull *u = user;
    for (int64_t i = 0; i < count; i++) {
        int64_t at = first + i;
        z[i] = u->weight * (ax[i] + u->m->of_row[u->op->row[at]] + u->m->of_column[u->op->column[at]] - u->y[at]);
    }
}

/* A fifth of the way to the means of what is left; rows shrunk as before. */
static void move_offsets(const cells *t, const pull *u, const double *z, model *m) {
    const sow_operator *op = u->op;
    for (int64_t r = 0; r < op->n1 && !t->config->no_rows && !positive(t); r++) {
        double sum = shrink * m->of_row[r], n = (double)(op->row_start[r + 1] - op->row_start[r]);
        for (int64_t at = op->row_start[r]; at < op->row_start[r + 1]; at++) sum += z[op->by_row[at]] / u->weight;
        m->of_row[r] -= 0.2 * sum / (n + shrink);
    }
    for (int64_t c = 0; c < op->n2 && !t->config->no_columns && !positive(t); c++) {
        double sum = 0, n = (double)(op->column_start[c + 1] - op->column_start[c]);
        for (int64_t at = op->column_start[c]; at < op->column_start[c + 1]; at++)
            sum += z[op->by_column[at]] / u->weight;
        m->of_column[c] -= n > 0 ? 0.2 * sum / n : 0;
    }
}

static void descend(double *x, const double *d, double lr, int64_t n, bool project) {
    for (int64_t i = 0; i < n; i++) {
        x[i] -= lr * d[i];
        if (project && x[i] < 0) x[i] = 0;
    }
}

static void start_factors(const cells *t, double unit, sow_factors *x) {
    const sow_complete_config *c = t->config;
    double f = c->alpha * sqrt(unit), g = f / c->ratio;
    factors_normal(c->seed, "complete", x->f, x->n1 * x->k, f / sqrt((double)x->n1));
    factors_normal(c->seed, "complete-g", x->g, x->n2 * x->k, g / sqrt((double)x->n2));
    for (int64_t i = 0; i < x->n1 * x->k && positive(t); i++) x->f[i] = fabs(x->f[i]);
    for (int64_t i = 0; i < x->n2 * x->k && positive(t); i++) x->g[i] = fabs(x->g[i]);
}

/* The cells that a part sees, as measurements. */
static sow_status measurements(const cells *t, const part *p, sow_operator *op, double **y) {
    int64_t n = 0, *row, *column;
    SOW_TRY(SOW_NEW(t->arena, row, t->count));
    SOW_TRY(SOW_NEW(t->arena, column, t->count));
    SOW_TRY(SOW_NEW(t->arena, *y, t->count));
    for (int64_t i = p->first; i < t->count; i++) {
        if (!sees(p, i)) continue;
        row[n] = t->row[i];
        column[n] = t->column[i];
        (*y)[n++] = t->value[i];
    }
    return sow_operator_entries(t->arena, n, t->rows, t->columns, row, column, op);
}

/* Fits offsets and k columns of factors. curve: squared error on the skipped cells at 0, CHECK_EVERY, .. steps, added; or NULL. */
static sow_status fit(const cells *t, part p, int64_t k, int64_t steps, double *curve, model *out) {
    sow_operator op;
    sow_pass pass;
    double *y, *df, *dg, *v, unit, best = INFINITY;
    int64_t best_step = 0;
    *out = (model){0};
    SOW_TRY(fit_offsets(t, &p, !t->config->no_rows, out));
    if (k == 0) return SOW_OK;
    SOW_TRY(measurements(t, &p, &op, &y));
    SOW_TRY(sow_pass_new(t->arena, &op, k, &pass));
    SOW_TRY(factors_new(t->arena, &op, k, &out->x));
    SOW_TRY(SOW_NEW(t->arena, df, t->rows * k));
    SOW_TRY(SOW_NEW(t->arena, dg, t->columns * k));
    SOW_TRY(SOW_NEW(t->arena, v, t->columns));
    pull u = {&op, out, y, (double)(t->rows * t->columns) / (double)op.m};
    residual(&u, 0, op.m, pass.ax, pass.z); /* at X = 0 */
    SOW_TRY(sow_operator_adjoint(&pass, pass.z));
    SOW_TRY(sow_operator_norm(&pass, v, 40, &unit));
    if (!(unit > 0)) unit = 1;
    double lr = t->config->lr / unit;
    start_factors(t, unit, &out->x);
    for (int64_t s = 0;; s++) {
        if (curve && s % CHECK_EVERY == 0) {
            double error = square_error(t, out, p.skip, p.skip_end);
            if (error < best) best = error, best_step = s;
            bool past = error > 1.05 * best &&
                        s > 3 * best_step + 50; /* over-fitting: the rest of the curve is no better */
            for (int64_t i = s; i <= (past ? steps : s); i += CHECK_EVERY) curve[i / CHECK_EVERY] += error;
            if (past) return SOW_OK;
        }
        if (s == steps) return SOW_OK;
        SOW_TRY(sow_operator_forward(&pass, out->x.f, out->x.g, k, residual, &u));
        SOW_TRY(sow_operator_times(&pass, out->x.g, k, false, df));
        SOW_TRY(sow_operator_times(&pass, out->x.f, k, true, dg));
        move_offsets(t, &u, pass.z, out);
        descend(out->x.f, df, lr, t->rows * k, positive(t));
        descend(out->x.g, dg, lr, t->columns * k, positive(t));
        if (!isfinite(out->x.f[0]))
            return sow_fail(SOW_E_NUMBER, "step %lld: the descent diverged; take a smaller --lr", (long long)s);
        SOW_TRY(sow_check_interrupt());
    }
}

/* ---- choosing rank and steps ---- */

/* Mean squared error over the folds, and the number of steps where it is least. */
static sow_status try_rank(const cells *t, int64_t k, int folds, struct sow_complete_tried *out) {
    int64_t kept = t->count - t->test, points = t->config->steps / CHECK_EVERY + 1, judged = 0;
    double *curve;
    sow_mark mark = sow_arena_mark(t->arena);
    SOW_TRY(SOW_NEW(t->arena, curve, points));
    for (int f = 0; f < folds; f++) {
        int parts = folds > 1 ? folds : 10; /* one fold: a tenth */
        part p = {t->test, t->test + kept * f / parts, t->test + kept * (f + 1) / parts};
        model m;
        sow_mark inner = sow_arena_mark(t->arena);
        sow_status status = fit(t, p, k, t->config->steps, curve, &m);
        if (!status && k == 0) curve[0] += square_error(t, &m, p.skip, p.skip_end);
        sow_arena_release(t->arena, inner);
        SOW_TRY(status);
        judged += p.skip_end - p.skip;
    }
    int64_t best = 0;
    for (int64_t i = 1; i < points && k > 0; i++)
        if (curve[i] < curve[best]) best = i;
    *out = (struct sow_complete_tried){k, best * CHECK_EVERY, judged > 0 ? sqrt(curve[best] / (double)judged) : NAN};
    sow_arena_release(t->arena, mark);
    return SOW_OK;
}

static sow_status choose(const cells *t, sow_complete_result *out) {
    const sow_complete_config *c = t->config;
    int64_t least = t->rows < t->columns ? t->rows : t->columns, most = c->rank_most > 0 ? c->rank_most : least - 1;
    int folds = c->folds > 0 ? c->folds : t->count <= SMALL ? 5 : 1, worse = 0, best = 0;
    bool fixed = c->rank >= 0;
    if (most > least) most = least;
    if (fixed || !positive(t)) SOW_TRY(try_rank(t, fixed ? c->rank : 0, folds, &out->tried[out->tried_count++]));
    for (int i = 0; i < RANKS && !fixed && worse < 2 && rank_list[i] <= (most > 0 ? most : 1); i++) {
        struct sow_complete_tried *now = &out->tried[out->tried_count++];
        SOW_TRY(try_rank(t, rank_list[i], folds, now));
        worse = now->error < out->tried[best].error ? 0 : worse + 1;
        if (now->error < out->tried[best].error) best = out->tried_count - 1;
        sow_progress("complete", i + 1, RANKS);
    }
    sow_progress("complete", RANKS, RANKS);
    out->rank = out->tried[best].rank;
    out->steps = out->tried[best].steps;
    return SOW_OK;
}

/* ---- error on cells that chose nothing ---- */

static sow_status test(const cells *t, sow_complete_result *out) {
    part p = {t->test, 0, 0};
    model m, offsets, means = {0};
    double *n, count = (double)t->test;
    SOW_TRY(SOW_NEW(t->arena, n, t->columns));
    SOW_TRY(SOW_NEW(t->arena, out->column_error, t->columns));
    SOW_TRY(fit(t, p, out->rank, out->steps, NULL, &m));
    SOW_TRY(fit(t, p, 0, 0, NULL, &offsets));
    SOW_TRY(fit_offsets(t, &p, false, &means));
    out->test_error = sqrt(square_error(t, &m, 0, t->test) / count);
    out->test_offsets = positive(t) ? NAN : sqrt(square_error(t, &offsets, 0, t->test) / count);
    out->test_means = positive(t) ? NAN : sqrt(square_error(t, &means, 0, t->test) / count);
    for (int64_t i = 0; i < t->test; i++) {
        int64_t c = t->column[i];
        out->column_error[c] += pow(t->scale[c] * (predict(&m, t->row[i], c) - t->value[i]), 2);
        n[c]++;
    }
    for (int64_t c = 0; c < t->columns; c++) out->column_error[c] = n[c] > 0 ? sqrt(out->column_error[c] / n[c]) : NAN;
    return SOW_OK;
}

sow_status sow_complete(const double *values, int64_t rows, int64_t columns, const sow_complete_config *config,
                        sow_arena *arena, sow_complete_result *out) {
    cells t = {.config = config, .arena = arena, .rows = rows, .columns = columns};
    model m;
    *out = (sow_complete_result){0};
    if (rows < 2 || columns < 2)
        return sow_fail(SOW_E_SHAPE, "a table of %lld x %lld, expected at least 2 x 2", (long long)rows,
                        (long long)columns);
    if (!(config->holdout > 0 && config->holdout < 1) || !(config->lr > 0) || !(config->alpha > 0) ||
        !(config->ratio > 0) || config->steps < 1)
        return sow_fail(SOW_E_RANGE, "complete: alpha, ratio, lr and steps must be positive, holdout within 0..1");
    SOW_TRY(collect(&t, values));
    out->observed = t.count;
    SOW_TRY(choose(&t, out));
    SOW_TRY(test(&t, out));
    SOW_TRY(fit(&t, (part){0, 0, 0}, out->rank, out->steps, NULL, &m));
    SOW_TRY(SOW_NEW(arena, out->filled, rows * columns));
    for (int64_t i = 0; i < rows * columns; i++)
        out->filled[i] = t.center[i % columns] + t.scale[i % columns] * predict(&m, i / columns, i % columns);
    return SOW_OK;
}
