/* Operators whose matrices are never formed: single entries, and products of two vectors. */
#include <string.h>

#include "linalg/operator.h"
#include "sow/threads.h"

enum { GRAIN = 4096 };

/* ---- weights ---- */

typedef struct weighing {
    sow_pass *pass;
    sow_weigh weigh;
    void *user;
} weighing;

static void weigh_cell(void *context, int64_t index) {
    const weighing *w = context;
    int64_t first = index * GRAIN, left = w->pass->op->m - first;
    w->weigh(w->user, first, left < GRAIN ? left : GRAIN, w->pass->ax + first, w->pass->z + first);
}

void operator_weigh(sow_pass *pass, sow_weigh weigh, void *user) {
    weighing w = {pass, weigh, user};
    sow_cells(sow_cells_for(pass->op->m, GRAIN), weigh_cell, &w);
}

static double dot(const double *a, const double *b, int64_t k) {
    double sum = 0;
    for (int64_t j = 0; j < k; j++) sum += a[j] * b[j];
    return sum;
}

/* ---- entries ---- */

typedef struct factors {
    const sow_pass *pass;
    const double *f, *g; /* times: f is V */
    int64_t k;
    bool transpose;
    double *out;
} factors;

static void measure_entries(void *context, int64_t index) {
    const factors *w = context;
    const sow_operator *op = w->pass->op;
    int64_t end = (index + 1) * GRAIN < op->m ? (index + 1) * GRAIN : op->m;
    for (int64_t i = index * GRAIN; i < end; i++)
        w->pass->ax[i] = w->f ? dot(w->f + op->row[i] * w->k, w->g + op->column[i] * w->k, w->k) : 0;
}

void operator_entries_forward(sow_pass *pass, const double *f, const double *g, int64_t k, sow_weigh weigh,
                              void *user) {
    factors w = {.pass = pass, .f = f, .g = g, .k = k};
    sow_cells(sow_cells_for(pass->op->m, GRAIN), measure_entries, &w);
    operator_weigh(pass, weigh, user);
}

/* Rows (columns) of E are owned by one cell each: 64 of them. */
static void gather_entries(void *context, int64_t index) {
    const factors *w = context;
    const sow_operator *op = w->pass->op;
    const int64_t *start = w->transpose ? op->column_start : op->row_start,
                  *order = w->transpose ? op->by_column : op->by_row, *other = w->transpose ? op->row : op->column;
    int64_t n = w->transpose ? op->n2 : op->n1, k = w->k, end = (index + 1) * 64 < n ? (index + 1) * 64 : n;
    for (int64_t i = index * 64; i < end; i++)
        for (int64_t at = start[i]; at < start[i + 1]; at++) {
            double z = w->pass->z[order[at]], *restrict out = w->out + i * k;
            const double *v = w->f + other[order[at]] * k;
            if (z == 0) continue;
            for (int64_t j = 0; j < k; j++) out[j] += z * v[j];
        }
}

void operator_entries_times(const sow_pass *pass, const double *v, int64_t k, bool transpose, double *out) {
    int64_t n = transpose ? pass->op->n2 : pass->op->n1;
    factors w = {.pass = pass, .f = v, .k = k, .transpose = transpose, .out = out};
    memset(out, 0, (size_t)(n * k) * sizeof *out);
    sow_cells(sow_cells_for(n, 64), gather_entries, &w);
}

/* ---- rank one: <a b^T, F G^T> = (F^T a) . (G^T b) ---- */

static void add_products(void *context, int64_t index) {
    const factors *w = context;
    int64_t end = (index + 1) * GRAIN < w->pass->op->m ? (index + 1) * GRAIN : w->pass->op->m;
    for (int64_t i = index * GRAIN; i < end; i++)
        w->pass->ax[i] = w->f ? dot(w->f + i * w->k, w->g + i * w->k, w->k) : 0;
}

void operator_rank_one_forward(sow_pass *pass, const double *f, const double *g, int64_t k, sow_weigh weigh,
                               void *user) {
    const sow_operator *op = pass->op;
    if (f) {
        sow_gemm_f64(false, false, op->m, k, op->n1, 1, op->a.data, op->n1, f, k, 0, pass->p, k);
        sow_gemm_f64(false, false, op->m, k, op->n2, 1, op->b.data, op->n2, g, k, 0, pass->q, k);
    }
    factors w = {.pass = pass, .f = f ? pass->p : NULL, .g = pass->q, .k = k};
    sow_cells(sow_cells_for(op->m, GRAIN), add_products, &w);
    operator_weigh(pass, weigh, user);
}

static void scale_rows(void *context, int64_t index) {
    const factors *w = context;
    int64_t end = (index + 1) * GRAIN < w->pass->op->m ? (index + 1) * GRAIN : w->pass->op->m;
    for (int64_t i = index * GRAIN; i < end; i++)
        for (int64_t j = 0; j < w->k; j++) w->out[i * w->k + j] *= w->pass->z[i];
}

/* E V = a^T diag(z) (b V), and with a and b exchanged. */
void operator_rank_one_times(sow_pass *pass, const double *v, int64_t k, bool transpose, double *out) {
    const sow_operator *op = pass->op;
    int64_t inner = transpose ? op->n1 : op->n2, outer = transpose ? op->n2 : op->n1;
    const double *in = transpose ? op->a.data : op->b.data, *back = transpose ? op->b.data : op->a.data;
    sow_gemm_f64(false, false, op->m, k, inner, 1, in, inner, v, k, 0, pass->q, k);
    factors w = {.pass = pass, .k = k, .out = pass->q};
    sow_cells(sow_cells_for(op->m, GRAIN), scale_rows, &w);
    sow_gemm_f64(true, false, outer, k, op->m, 1, back, outer, pass->q, k, 0, out, k);
}
