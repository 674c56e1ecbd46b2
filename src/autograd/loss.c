/* Losses: softmax cross-entropy and mean squared error. */
#include <math.h>
#include <string.h>

#include "autograd/op.h"

/* ---- softmax cross-entropy: mean over counted rows of logsumexp(z) - z[label] ---- */

typedef struct cross_entropy {
    sow_tensor labels;
    int64_t rows, classes, counted;
} cross_entropy;

enum { ROWS_A_CELL = 64 };

typedef struct entropy_job {
    const cross_entropy *ce;
    sow_tensor z, p;   /* logits; softmax kept for backward (may be absent) */
    double *partial;   /* loss of each cell's rows */
    sow_tensor grad;   /* backward */
    double scale;
    float beta;
} entropy_job;

/* Softmax of one row in f64 sums over the row's own precision; returns logsumexp(z) - z[label]. */
#define SOFTMAX_ROW(REAL, EXP)                                                                          \
    static double softmax_row_##REAL(const REAL *z, REAL *p, int64_t classes, int32_t label) {          \
        REAL largest = z[0];                                                                            \
        for (int64_t c = 1; c < classes; c++) largest = z[c] > largest ? z[c] : largest;                \
        double sum = 0;                                                                                 \
        for (int64_t c = 0; c < classes; c++) {                                                         \
            REAL e = EXP(z[c] - largest);                                                               \
            if (p) p[c] = e;                                                                            \
            sum += (double)e;                                                                           \
        }                                                                                               \
        for (int64_t c = 0; p && c < classes; c++) p[c] = (REAL)((double)p[c] / sum);                   \
        return label < 0 ? 0 : log(sum) + (double)largest - (double)z[label];                           \
    }
SOFTMAX_ROW(float, expf)
SOFTMAX_ROW(double, exp)

static void entropy_cell(void *context, int64_t cell) {
    const entropy_job *j = context;
    const cross_entropy *ce = j->ce;
    const int32_t *labels = ce->labels.data;
    int64_t first = cell * ROWS_A_CELL, last = first + ROWS_A_CELL < ce->rows ? first + ROWS_A_CELL : ce->rows;
    double loss = 0;
    for (int64_t r = first; r < last; r++) {
        int64_t at = r * ce->classes;
        loss += j->z.dtype == SOW_F32
                    ? softmax_row_float((const float *)j->z.data + at, j->p.data ? (float *)j->p.data + at : NULL, ce->classes, labels[r])
                    : softmax_row_double((const double *)j->z.data + at, j->p.data ? (double *)j->p.data + at : NULL, ce->classes, labels[r]);
    }
    j->partial[cell] = loss;
}

static sow_status entropy_forward(sow_tape *t, sow_node *n) {
    cross_entropy *ce = n->attributes;
    entropy_job job = {.ce = ce, .z = n->input[0]->value};
    const int32_t *labels = ce->labels.data;
    ce->counted = 0;
    for (int64_t r = 0; r < ce->rows; r++) {
        if (labels[r] < -1 || labels[r] >= ce->classes)
            return sow_fail(SOW_E_RANGE, "cross entropy: label %d in row %lld, expected -1 to %lld", labels[r], (long long)r, (long long)ce->classes - 1);
        ce->counted += labels[r] >= 0;
    }
    if (n->needs_grad) {
        job.p = job.z;
        job.p.data = sow_node_keep(t, n, 0, sow_bytes(job.z));
        if (!job.p.data) return SOW_E_MEMORY;
    }
    int64_t cells = sow_cells_for(ce->rows, ROWS_A_CELL);
    job.partial = sow_scratch(t, (size_t)cells * sizeof *job.partial);
    if (!job.partial) return SOW_E_MEMORY;
    sow_cells(cells, entropy_cell, &job);
    double sum = 0;
    for (int64_t c = 0; c < cells; c++) sum += job.partial[c];
    sow_put(n->value, 0, ce->counted > 0 ? sum / (double)ce->counted : 0);
    return SOW_OK;
}

static void entropy_back_cell(void *context, int64_t cell) {
    const entropy_job *j = context;
    const cross_entropy *ce = j->ce;
    const int32_t *labels = ce->labels.data;
    int64_t first = cell * ROWS_A_CELL, last = first + ROWS_A_CELL < ce->rows ? first + ROWS_A_CELL : ce->rows;
    for (int64_t i = first * ce->classes; i < last * ce->classes; i++) {
        int64_t r = i / ce->classes;
        double one = labels[r] == i % ce->classes, scale = labels[r] < 0 ? 0 : j->scale;
        if (j->grad.dtype == SOW_F32) {
            float v = (((const float *)j->p.data)[i] - (float)one) * (float)scale, *g = (float *)j->grad.data + i;
            *g = j->beta == 0 ? v : *g + v;
        } else {
            double v = (((const double *)j->p.data)[i] - one) * scale, *g = (double *)j->grad.data + i;
            *g = j->beta == 0 ? v : *g + v;
        }
    }
}

static sow_status entropy_backward(sow_tape *t, sow_node *n) {
    const cross_entropy *ce = n->attributes;
    entropy_job job = {.ce = ce, .p = n->input[0]->value, .scale = ce->counted > 0 ? sow_at(n->grad, 0) / (double)ce->counted : 0};
    job.p.data = n->keep[0];
    job.beta = sow_grad_into(t, n->input[0], &job.grad);
    if (!job.grad.data) return SOW_E_MEMORY;
    sow_cells(sow_cells_for(ce->rows, ROWS_A_CELL), entropy_back_cell, &job);
    return SOW_OK;
}

static const sow_op entropy_op = {"cross entropy", entropy_forward, entropy_backward};

sow_var sow_softmax_cross_entropy(sow_tape *t, sow_var logits, sow_tensor labels) {
    logits = sow_contiguous(t, logits);
    sow_node *n = SOW_NODE(t, &entropy_op, cross_entropy, 1, logits);
    if (!n) return NULL;
    sow_tensor z = logits->value;
    char zt[SOW_SHAPE_TEXT], lt[SOW_SHAPE_TEXT];
    if (z.rank != 2 || z.shape[1] < 1 || labels.rank != 1 || labels.shape[0] != z.shape[0] || labels.dtype != SOW_I32 || !sow_is_contiguous(labels))
        return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "cross entropy: logits %s with labels %s %s, expected [n, classes] with I32 [n]",
                                         sow_shape_text(z, zt), sow_dtype_name(labels.dtype), sow_shape_text(labels, lt)));
    *(cross_entropy *)n->attributes = (cross_entropy){.labels = labels, .rows = z.shape[0], .classes = z.shape[1]};
    return sow_node_run(t, n, sow_describe(z.dtype, 0, NULL));
}

/* ---- mean squared error ---- */

sow_var sow_mean_squared_error(sow_tape *t, sow_var a, sow_var b) {
    return sow_mean(t, sow_square(t, sow_sub(t, a, b)));
}
