/* Layer normalisation over the last dimension: Ba, Kiros and Hinton 2016, arXiv 1607.06450. */
#include <math.h>
#include <string.h>

#include "autograd/op.h"

typedef struct layer_norm {
    int64_t rows, d;
    double epsilon;
} layer_norm;

/* Elements a cell handles, and f32 lanes that are summed side by side. */
enum { CELL_ELEMENTS = 1 << 15, LANES = 16 };

static int64_t cell_rows(const layer_norm *a) {
    return sow_cells_for(CELL_ELEMENTS, a->d);
}

static int64_t cells_of(const layer_norm *a) {
    return sow_cells_for(a->rows, cell_rows(a));
}

/* Operands; gamma and beta NULL where absent. row: mean and 1/sd of each row. columns: sums over a cell's rows of
 * dy xhat and of dy, [cells][2][d]. */
typedef struct job {
    const layer_norm *a;
    const void *x, *gamma, *beta, *dy;
    void *out; /* y, or dx; NULL: the columns only */
    double *row, *columns;
    bool add;
} job;

static sow_range rows_of(const layer_norm *a, int64_t cell) {
    return sow_range_of(cell, cell_rows(a), a->rows);
}

/* ---- f32 rows ---- */

#define INLINE static inline __attribute__((always_inline))

INLINE double total(const float lanes[LANES]) {
    double sum = 0;
    for (int j = 0; j < LANES; j++) sum += (double)lanes[j];
    return sum;
}

/* Mean and 1/sd of a row, the variance around the mean itself. */
INLINE void row_moments(const float *x, int64_t d, double epsilon, double *row) {
    float sum[LANES] = {0}, square[LANES] = {0};
    int64_t whole = d / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++) sum[j] += x[i + j];
    for (int64_t i = whole; i < d; i++) sum[i - whole] += x[i];
    row[0] = total(sum) / (double)d;
    float mean = (float)row[0];
    for (int64_t i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++) square[j] += (x[i + j] - mean) * (x[i + j] - mean);
    for (int64_t i = whole; i < d; i++) square[i - whole] += (x[i] - mean) * (x[i] - mean);
    row[1] = 1 / sqrt(total(square) / (double)d + epsilon);
}

SOW_CLONES static void forward_rows_f32(const job *k, sow_range rows) {
    int64_t d = k->a->d;
    for (int64_t r = rows.first; r < rows.first + rows.count; r++) {
        const float *restrict x = (const float *)k->x + r * d, *gamma = k->gamma, *beta = k->beta;
        float *restrict y = (float *)k->out + r * d;
        row_moments(x, d, k->a->epsilon, k->row + 2 * r);
        float mean = (float)k->row[2 * r], scale = (float)k->row[2 * r + 1];
        for (int64_t i = 0; i < d; i++) y[i] = (x[i] - mean) * scale;
        if (gamma)
            for (int64_t i = 0; i < d; i++) y[i] *= gamma[i];
        if (beta)
            for (int64_t i = 0; i < d; i++) y[i] += beta[i];
    }
}

/* Sums over a row of g and g xhat, g = dy gamma. */
INLINE void row_sums(const float *x, const float *dy, const float *gamma, float mean, float scale, int64_t d, double sums[2]) {
    float sum[LANES] = {0}, product[LANES] = {0};
    int64_t whole = d / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float g = gamma ? dy[i + j] * gamma[i + j] : dy[i + j];
            sum[j] += g;
            product[j] += g * ((x[i + j] - mean) * scale);
        }
    for (int64_t i = whole; i < d; i++) {
        float g = gamma ? dy[i] * gamma[i] : dy[i];
        sum[i - whole] += g;
        product[i - whole] += g * ((x[i] - mean) * scale);
    }
    sums[0] = total(sum) / (double)d;
    sums[1] = total(product) / (double)d;
}

/* dx = (g - mean(g) - xhat mean(g xhat)) / sd */
SOW_CLONES static void backward_rows_f32(const job *k, sow_range rows) {
    int64_t d = k->a->d;
    const float *gamma = k->gamma;
    for (int64_t r = rows.first; r < rows.first + rows.count; r++) {
        const float *restrict x = (const float *)k->x + r * d, *restrict dy = (const float *)k->dy + r * d;
        float *restrict dx = (float *)k->out + r * d;
        float mean = (float)k->row[2 * r], scale = (float)k->row[2 * r + 1];
        double sums[2];
        if (gamma) row_sums(x, dy, gamma, mean, scale, d, sums);
        else row_sums(x, dy, NULL, mean, scale, d, sums);
        float offset = (float)sums[0], slope = (float)sums[1];
        for (int64_t i = 0; i < d; i++) {
            float g = gamma ? dy[i] * gamma[i] : dy[i];
            float v = scale * (g - offset - (x[i] - mean) * scale * slope);
            dx[i] = k->add ? dx[i] + v : v;
        }
    }
}

SOW_CLONES static void sum_columns_f32(const job *k, sow_range rows, double *columns) {
    int64_t d = k->a->d;
    for (int64_t r = rows.first; r < rows.first + rows.count; r++) {
        const float *restrict x = (const float *)k->x + r * d, *restrict dy = (const float *)k->dy + r * d;
        float mean = (float)k->row[2 * r], scale = (float)k->row[2 * r + 1];
        for (int64_t i = 0; i < d; i++) {
            columns[i] += (double)(dy[i] * ((x[i] - mean) * scale));
            columns[d + i] += (double)dy[i];
        }
    }
}

/* ---- f64 rows ---- */

static void forward_row_f64(const job *k, int64_t r) {
    int64_t d = k->a->d;
    const double *x = (const double *)k->x + r * d, *gamma = k->gamma, *beta = k->beta;
    double *y = (double *)k->out + r * d, *row = k->row + 2 * r, sum = 0, squares = 0;
    for (int64_t i = 0; i < d; i++) sum += x[i];
    row[0] = sum / (double)d;
    for (int64_t i = 0; i < d; i++) squares += (x[i] - row[0]) * (x[i] - row[0]);
    row[1] = 1 / sqrt(squares / (double)d + k->a->epsilon);
    for (int64_t i = 0; i < d; i++) y[i] = (x[i] - row[0]) * row[1] * (gamma ? gamma[i] : 1) + (beta ? beta[i] : 0);
}

static void backward_row_f64(const job *k, int64_t r) {
    int64_t d = k->a->d;
    const double *x = (const double *)k->x + r * d, *dy = (const double *)k->dy + r * d, *gamma = k->gamma, *row = k->row + 2 * r;
    double *dx = (double *)k->out + r * d, sum = 0, product = 0;
    for (int64_t i = 0; i < d; i++) {
        double g = dy[i] * (gamma ? gamma[i] : 1);
        sum += g / (double)d;
        product += g * (x[i] - row[0]) * row[1] / (double)d;
    }
    for (int64_t i = 0; i < d; i++) {
        double v = row[1] * (dy[i] * (gamma ? gamma[i] : 1) - sum - (x[i] - row[0]) * row[1] * product);
        dx[i] = v + (k->add ? dx[i] : 0);
    }
}

static void sum_columns_f64(const job *k, int64_t r, double *columns) {
    int64_t d = k->a->d;
    const double *x = (const double *)k->x + r * d, *dy = (const double *)k->dy + r * d, *row = k->row + 2 * r;
    for (int64_t i = 0; i < d; i++) {
        columns[i] += dy[i] * (x[i] - row[0]) * row[1];
        columns[d + i] += dy[i];
    }
}

/* ---- cells ---- */

static void forward_f32(void *context, int64_t cell) {
    const job *k = context;
    forward_rows_f32(k, rows_of(k->a, cell));
}

static void forward_f64(void *context, int64_t cell) {
    const job *k = context;
    sow_range rows = rows_of(k->a, cell);
    for (int64_t r = rows.first; r < rows.first + rows.count; r++) forward_row_f64(k, r);
}

static double *fresh_columns(const job *k, int64_t cell) {
    double *columns = k->columns ? k->columns + cell * 2 * k->a->d : NULL;
    if (columns) memset(columns, 0, (size_t)(2 * k->a->d) * sizeof *columns);
    return columns;
}

static void backward_f32(void *context, int64_t cell) {
    const job *k = context;
    double *columns = fresh_columns(k, cell);
    if (columns) sum_columns_f32(k, rows_of(k->a, cell), columns);
    if (k->out) backward_rows_f32(k, rows_of(k->a, cell));
}

static void backward_f64(void *context, int64_t cell) {
    const job *k = context;
    sow_range rows = rows_of(k->a, cell);
    double *columns = fresh_columns(k, cell);
    for (int64_t r = rows.first; r < rows.first + rows.count; r++) {
        if (columns) sum_columns_f64(k, r, columns);
        if (k->out) backward_row_f64(k, r);
    }
}

/* ---- the operator ---- */

static const void *data_of(sow_var x) {
    return x ? x->value.data : NULL;
}

static sow_status norm_forward(sow_tape *t, sow_node *n) {
    const layer_norm *a = n->attributes;
    job k = {.a = a, .x = data_of(n->input[0]), .gamma = data_of(n->input[1]), .beta = data_of(n->input[2]), .out = n->value.data};
    k.row = sow_node_keep(t, n, 0, (size_t)(2 * a->rows) * sizeof(double));
    if (!k.row) return SOW_E_MEMORY;
    sow_cells(cells_of(a), n->value.dtype == SOW_F32 ? forward_f32 : forward_f64, &k);
    return SOW_OK;
}

/* Adds the cells' column sums, in cell order, to the gradient of gamma or beta. */
static sow_status add_columns(sow_tape *t, sow_var input, const layer_norm *a, const double *columns) {
    if (!sow_wants_grad(input)) return SOW_OK;
    sow_tensor g;
    bool add = sow_grad_into(t, input, &g) != 0;
    if (!g.data) return SOW_E_MEMORY;
    for (int64_t i = 0; i < a->d; i++) {
        double sum = 0;
        for (int64_t cell = 0; cell < cells_of(a); cell++) sum += columns[cell * 2 * a->d + i];
        sow_put(g, i, sum + (add ? sow_at(g, i) : 0));
    }
    return SOW_OK;
}

static sow_status norm_backward(sow_tape *t, sow_node *n) {
    const layer_norm *a = n->attributes;
    job k = {.a = a, .x = data_of(n->input[0]), .gamma = data_of(n->input[1]), .dy = n->grad.data, .row = n->keep[0]};
    if (sow_wants_grad(n->input[0])) {
        sow_tensor dx;
        k.add = sow_grad_into(t, n->input[0], &dx) != 0;
        k.out = dx.data;
        if (!k.out) return SOW_E_MEMORY;
    }
    if (sow_wants_grad(n->input[1]) || sow_wants_grad(n->input[2])) {
        k.columns = sow_scratch(t, (size_t)(cells_of(a) * 2 * a->d) * sizeof(double));
        if (!k.columns) return SOW_E_MEMORY;
    }
    sow_cells(cells_of(a), n->value.dtype == SOW_F32 ? backward_f32 : backward_f64, &k);
    if (!k.columns) return SOW_OK;
    SOW_TRY(add_columns(t, n->input[1], a, k.columns));
    return add_columns(t, n->input[2], a, k.columns + a->d);
}

static const sow_op norm_op = {"layer_norm", norm_forward, norm_backward};

static sow_status check_operands(sow_tensor x, sow_var gamma, sow_var beta) {
    char text[SOW_SHAPE_TEXT];
    if (x.rank < 1 || sow_count(x) < 1) return sow_fail(SOW_E_SHAPE, "layer_norm: input is %s, expected rows", sow_shape_text(x, text));
    if (x.dtype != SOW_F32 && x.dtype != SOW_F64)
        return sow_fail(SOW_E_TYPE, "layer_norm: input is %s, expected F32 or F64", sow_dtype_name(x.dtype));
    int64_t d = x.shape[x.rank - 1];
    for (int i = 0; i < 2; i++) {
        sow_var p = i == 0 ? gamma : beta;
        if (p && (sow_value(p).rank != 1 || sow_value(p).shape[0] != d || sow_value(p).dtype != x.dtype))
            return sow_fail(SOW_E_SHAPE, "layer_norm: input is %s %s, %s is %lld of %s", sow_shape_text(x, text), sow_dtype_name(x.dtype),
                            i == 0 ? "scale" : "shift", (long long)sow_count(sow_value(p)), sow_dtype_name(sow_value(p).dtype));
    }
    return SOW_OK;
}

sow_var sow_layer_norm(sow_tape *t, sow_var x, sow_var gamma, sow_var beta, double epsilon) {
    x = sow_contiguous(t, x);
    gamma = sow_contiguous(t, gamma);
    beta = sow_contiguous(t, beta);
    sow_node *n = SOW_NODE(t, &norm_op, layer_norm, 1, x, gamma, beta);
    if (!n) return NULL;
    sow_tensor v = sow_value(x);
    sow_status status = check_operands(v, gamma, beta);
    if (status != SOW_OK) return sow_tape_fail(t, status);
    layer_norm *a = n->attributes;
    *a = (layer_norm){.d = v.shape[v.rank - 1], .epsilon = epsilon == 0 ? 1e-5 : epsilon};
    a->rows = sow_count(v) / a->d;
    return sow_node_run(t, n, sow_describe(v.dtype, v.rank, v.shape));
}
