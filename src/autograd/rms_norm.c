/* Root-mean-square normalisation over the last dimension: Zhang and Sennrich 2019, arXiv 1910.07467. */
#include <math.h>
#include <string.h>

#include "autograd/op.h"

typedef struct rms_norm {
    int64_t rows, d;
    double epsilon, plus; /* plus: 1 where the scale is 1 + w */
} rms_norm;

enum { CELL_ELEMENTS = 1 << 15, LANES = 8 };

/* inverse: 1 / rms of each row, kept for backward. columns: sums over a cell's rows of dy x / rms, [cells][d]. */
typedef struct job {
    const rms_norm *a;
    const void *x, *w, *dy;
    void *out; /* y, or dx; NULL: the columns only */
    double *inverse, *columns;
    bool add;
} job;

static int64_t cell_rows(const rms_norm *a) {
    return sow_cells_for(CELL_ELEMENTS, a->d);
}

static int64_t cells_of(const rms_norm *a) {
    return sow_cells_for(a->rows, cell_rows(a));
}

static sow_range rows_of(const rms_norm *a, int64_t cell) {
    return sow_range_of(cell, cell_rows(a), a->rows);
}

/* The three loops for one type. Sums in f64 lanes, added in a fixed order. */
#define ROWS(REAL)                                                                                             \
    SOW_CLONES static void forward_##REAL(const job *k, sow_range rows) {                                      \
        int64_t d = k->a->d;                                                                                   \
        REAL plus = (REAL)k->a->plus;                                                                          \
        const REAL *restrict w = k->w;                                                                         \
        for (int64_t r = rows.first; r < rows.first + rows.count; r++) {                                       \
            const REAL *restrict x = (const REAL *)k->x + r * d;                                               \
            REAL *restrict y = (REAL *)k->out + r * d;                                                         \
            double lane[LANES] = {0}, sum = 0;                                                                 \
            int64_t whole = d / LANES * LANES;                                                                 \
            for (int64_t i = 0; i < whole; i += LANES)                                                         \
                for (int j = 0; j < LANES; j++) lane[j] += (double)x[i + j] * (double)x[i + j];                \
            for (int64_t i = whole; i < d; i++) lane[i - whole] += (double)x[i] * (double)x[i];                \
            for (int j = 0; j < LANES; j++) sum += lane[j];                                                    \
            k->inverse[r] = 1 / sqrt(sum / (double)d + k->a->epsilon);                                         \
            REAL s = (REAL)k->inverse[r];                                                                      \
            for (int64_t i = 0; i < d; i++) y[i] = x[i] * s * (plus + w[i]);                                   \
        }                                                                                                      \
    }                                                                                                          \
    /* dx = (g - xhat mean(g xhat)) / rms, g = dy w */                                                         \
    SOW_CLONES static void backward_##REAL(const job *k, sow_range rows) {                                     \
        int64_t d = k->a->d;                                                                                   \
        REAL plus = (REAL)k->a->plus;                                                                          \
        const REAL *restrict w = k->w;                                                                         \
        for (int64_t r = rows.first; r < rows.first + rows.count; r++) {                                       \
            const REAL *restrict x = (const REAL *)k->x + r * d, *restrict dy = (const REAL *)k->dy + r * d;   \
            REAL *restrict dx = (REAL *)k->out + r * d;                                                        \
            double lane[LANES] = {0}, sum = 0, s = k->inverse[r];                                              \
            int64_t whole = d / LANES * LANES;                                                                 \
            for (int64_t i = 0; i < whole; i += LANES)                                                         \
                for (int j = 0; j < LANES; j++) lane[j] += (double)(dy[i + j] * (plus + w[i + j]) * x[i + j]); \
            for (int64_t i = whole; i < d; i++) lane[i - whole] += (double)(dy[i] * (plus + w[i]) * x[i]);     \
            for (int j = 0; j < LANES; j++) sum += lane[j];                                                    \
            REAL scale = (REAL)s, slope = (REAL)(s * s * s * sum / (double)d);                                 \
            if (k->add)                                                                                        \
                for (int64_t i = 0; i < d; i++) dx[i] += scale * dy[i] * (plus + w[i]) - slope * x[i];         \
            else                                                                                               \
                for (int64_t i = 0; i < d; i++) dx[i] = scale * dy[i] * (plus + w[i]) - slope * x[i];          \
        }                                                                                                      \
    }                                                                                                          \
    SOW_CLONES static void columns_##REAL(const job *k, sow_range rows, double *restrict columns) {            \
        int64_t d = k->a->d;                                                                                   \
        memset(columns, 0, (size_t)d * sizeof *columns);                                                       \
        for (int64_t r = rows.first; r < rows.first + rows.count; r++) {                                       \
            const REAL *restrict x = (const REAL *)k->x + r * d, *restrict dy = (const REAL *)k->dy + r * d;   \
            REAL s = (REAL)k->inverse[r];                                                                      \
            for (int64_t i = 0; i < d; i++) columns[i] += (double)(dy[i] * x[i] * s);                          \
        }                                                                                                      \
    }
ROWS(float)
ROWS(double)

typedef struct task {
    job k;
    bool single;
} task;

static void forward_cell(void *context, int64_t cell) {
    const task *j = context;
    if (j->single) forward_float(&j->k, rows_of(j->k.a, cell));
    else forward_double(&j->k, rows_of(j->k.a, cell));
}

static void backward_cell(void *context, int64_t cell) {
    const task *j = context;
    sow_range rows = rows_of(j->k.a, cell);
    double *columns = j->k.columns ? j->k.columns + cell * j->k.a->d : NULL;
    if (columns && j->single) columns_float(&j->k, rows, columns);
    if (columns && !j->single) columns_double(&j->k, rows, columns);
    if (!j->k.out) return;
    if (j->single) backward_float(&j->k, rows);
    else backward_double(&j->k, rows);
}

static task task_of(sow_node *n) {
    job k = {.a = n->attributes, .x = n->input[0]->value.data, .w = n->input[1]->value.data, .inverse = n->keep[0]};
    return (task){k, n->value.dtype == SOW_F32};
}

static sow_status norm_forward(sow_tape *t, sow_node *n) {
    const rms_norm *a = n->attributes;
    if (!sow_node_keep(t, n, 0, (size_t)a->rows * sizeof(double))) return SOW_E_MEMORY;
    task j = task_of(n);
    j.k.out = n->value.data;
    sow_cells(cells_of(a), forward_cell, &j);
    return SOW_OK;
}

/* The gradient of w: the cells' sums, added in cell order. */
static sow_status add_columns(sow_tape *t, sow_node *n, const double *columns) {
    const rms_norm *a = n->attributes;
    sow_tensor g;
    float beta = sow_grad_into(t, n->input[1], &g);
    if (!g.data) return SOW_E_MEMORY;
    for (int64_t i = 0; i < a->d; i++) {
        double sum = beta == 0 ? 0 : sow_at(g, i);
        for (int64_t c = 0; c < cells_of(a); c++) sum += columns[c * a->d + i];
        sow_put(g, i, sum);
    }
    return SOW_OK;
}

static sow_status norm_backward(sow_tape *t, sow_node *n) {
    const rms_norm *a = n->attributes;
    task j = task_of(n);
    sow_tensor g = {0};
    j.k.dy = n->grad.data;
    if (sow_wants_grad(n->input[0])) {
        j.k.add = sow_grad_into(t, n->input[0], &g) != 0;
        if (!(j.k.out = g.data)) return SOW_E_MEMORY;
    }
    bool scale = sow_wants_grad(n->input[1]);
    if (scale && !(j.k.columns = sow_scratch(t, (size_t)(cells_of(a) * a->d) * sizeof(double)))) return SOW_E_MEMORY;
    sow_cells(cells_of(a), backward_cell, &j);
    return scale ? add_columns(t, n, j.k.columns) : SOW_OK;
}

static unsigned norm_reads(const sow_node *n) {
    (void)n;
    return 3;
}

static const sow_op norm_op = {"rms_norm", norm_forward, norm_backward, norm_reads, true};

sow_var sow_rms_norm(sow_tape *t, sow_var x, sow_var w, double epsilon, bool plus_one) {
    x = sow_contiguous(t, x);
    w = sow_contiguous(t, w);
    sow_node *n = SOW_NODE(t, &norm_op, rms_norm, 2, x, w);
    if (!n) return NULL;
    sow_tensor v = x->value, s = w->value;
    char a[SOW_SHAPE_TEXT], b[SOW_SHAPE_TEXT];
    if (v.rank < 1 || s.rank != 1 || v.shape[v.rank - 1] != s.shape[0] || s.shape[0] < 1 || v.dtype != s.dtype ||
        (v.dtype != SOW_F32 && v.dtype != SOW_F64))
        return sow_tape_fail(
            t, sow_fail(SOW_E_SHAPE,
                        "rms_norm: input is %s %s, scale is %s %s; expected [..., d] and [d], both F32 or both F64",
                        sow_dtype_name(v.dtype), sow_shape_text(v, a), sow_dtype_name(s.dtype), sow_shape_text(s, b)));
    *(rms_norm *)n->attributes = (rms_norm){sow_count(v) / s.shape[0], s.shape[0], epsilon, plus_one ? 1 : 0};
    return sow_node_run(t, n, sow_describe(v.dtype, v.rank, v.shape));
}
