/* Dense products: y = x W^T + b, and matrices times matrices. */
#include <string.h>

#include "autograd/op.h"

/* The last two dimensions as a matrix, `offset` bytes further on. */
static sow_tensor matrix_of(sow_tensor t, size_t offset) {
    sow_tensor m = SOW_TENSOR((char *)t.data + offset, t.dtype, t.shape[t.rank - 2], t.shape[t.rank - 1]);
    m.stride[0] = t.stride[t.rank - 2], m.stride[1] = t.stride[t.rank - 1];
    return m;
}

/* x or y of a linear layer: leading dimensions are rows. */
static sow_tensor rows_of(sow_tensor t, int64_t rows, int64_t width) {
    return SOW_TENSOR(t.data, t.dtype, rows, width);
}

static bool same_real(sow_tape *t, const char *what, sow_var a, sow_var b) {
    if (a->value.dtype == b->value.dtype && (a->value.dtype == SOW_F32 || a->value.dtype == SOW_F64)) return true;
    sow_tape_fail(t, sow_fail(SOW_E_TYPE, "%s: operands are %s and %s, expected both F32 or both F64", what,
                              sow_dtype_name(a->value.dtype), sow_dtype_name(b->value.dtype)));
    return false;
}

/* ---- linear: y [rows, out] = x [rows, in] W^T + b ---- */

typedef struct linear {
    int64_t rows, in, out;
} linear;

typedef struct bias_job {
    sow_tensor y, b;
    int64_t rows, out;
    float beta;
} bias_job;

SOW_CLONES static void add_bias_f32(float *restrict y, const float *restrict b, int64_t rows, int64_t out) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < out; i++) y[r * out + i] += b[i];
}

enum { BIAS_ROWS = 64, BIAS_COLUMNS = 256 };

static void add_bias(void *context, int64_t cell) {
    const bias_job *job = context;
    int64_t first = cell * BIAS_ROWS, rows = job->rows - first < BIAS_ROWS ? job->rows - first : BIAS_ROWS;
    if (job->y.dtype == SOW_F32) add_bias_f32((float *)job->y.data + first * job->out, job->b.data, rows, job->out);
    else
        for (int64_t r = first; r < first + rows; r++)
            for (int64_t i = 0; i < job->out; i++) ((double *)job->y.data)[r * job->out + i] += ((const double *)job->b.data)[i];
}

SOW_CLONES static void sum_rows_f32(float *restrict sum, const float *restrict y, int64_t rows, int64_t stride, int64_t columns, float beta) {
    if (beta == 0) memset(sum, 0, (size_t)columns * sizeof *sum);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < columns; i++) sum[i] += y[r * stride + i];
}

/* Bias gradient: sums over rows, in row order. */
static void sum_rows(void *context, int64_t cell) {
    const bias_job *job = context;
    int64_t first = cell * BIAS_COLUMNS, columns = job->out - first < BIAS_COLUMNS ? job->out - first : BIAS_COLUMNS;
    if (job->y.dtype == SOW_F32) {
        sum_rows_f32((float *)job->b.data + first, (const float *)job->y.data + first, job->rows, job->out, columns, job->beta);
        return;
    }
    double *sum = (double *)job->b.data + first;
    for (int64_t i = 0; i < columns; i++) {
        if (job->beta == 0) sum[i] = 0;
        for (int64_t r = 0; r < job->rows; r++) sum[i] += ((const double *)job->y.data)[r * job->out + first + i];
    }
}

static sow_status linear_forward(sow_tape *t, sow_node *n) {
    (void)t;
    const linear *l = n->attributes;
    sow_tensor y = rows_of(n->value, l->rows, l->out), x = rows_of(n->input[0]->value, l->rows, l->in);
    sow_product(1, x, sow_transpose(n->input[1]->value), 0, y);
    if (n->input[2]) {
        bias_job job = {.y = n->value, .b = n->input[2]->value, .rows = l->rows, .out = l->out};
        sow_cells(sow_cells_for(l->rows, BIAS_ROWS), add_bias, &job);
    }
    return SOW_OK;
}

static sow_status linear_backward(sow_tape *t, sow_node *n) {
    const linear *l = n->attributes;
    sow_tensor gy = rows_of(n->grad, l->rows, l->out), x = rows_of(n->input[0]->value, l->rows, l->in), g;
    if (sow_wants_grad(n->input[1])) { /* dW = gy^T x, in W's storage order */
        float beta = sow_grad_into(t, n->input[1], &g);
        if (!g.data) return SOW_E_MEMORY;
        sow_product(1, sow_transpose(gy), x, (double)beta, g);
    }
    if (sow_wants_grad(n->input[2])) {
        bias_job job = {.y = n->grad, .rows = l->rows, .out = l->out};
        job.beta = sow_grad_into(t, n->input[2], &job.b);
        if (!job.b.data) return SOW_E_MEMORY;
        sow_cells(sow_cells_for(l->out, BIAS_COLUMNS), sum_rows, &job);
    }
    if (sow_wants_grad(n->input[0])) {
        float beta = sow_grad_into(t, n->input[0], &g);
        if (!g.data) return SOW_E_MEMORY;
        sow_product(1, gy, n->input[1]->value, (double)beta, rows_of(g, l->rows, l->in));
    }
    return SOW_OK;
}

/* x for the weight's gradient, the weight for that of x. */
static unsigned linear_reads(const sow_node *n) {
    return (sow_wants_grad(n->input[1]) ? 1u : 0) | (sow_wants_grad(n->input[0]) ? 2u : 0);
}

static const sow_op linear_op = {"linear", linear_forward, linear_backward, linear_reads, false};

sow_var sow_linear(sow_tape *t, sow_var x, sow_var w, sow_var b) {
    x = sow_contiguous(t, x);
    sow_node *n = SOW_NODE(t, &linear_op, linear, 2, x, w, b);
    if (!n || !same_real(t, "linear", x, w)) return NULL;
    linear *l = n->attributes;
    char text[SOW_SHAPE_TEXT];
    sow_tensor xv = x->value, wv = w->value;
    if (wv.rank != 2 || !sow_is_dense(wv)) return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "linear: weight is %s, expected [out, in] without gaps", sow_shape_text(wv, text)));
    if (xv.rank < 1 || xv.shape[xv.rank - 1] != wv.shape[1])
        return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "linear: input is %s, weight expects %lld columns", sow_shape_text(xv, text), (long long)wv.shape[1]));
    if (b && (b->value.rank != 1 || b->value.shape[0] != wv.shape[0] || b->value.dtype != wv.dtype))
        return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "linear: bias is %s, expected [%lld]", sow_shape_text(b->value, text), (long long)wv.shape[0]));
    *l = (linear){.in = wv.shape[1], .out = wv.shape[0]};
    sow_tensor y = xv;
    y.shape[y.rank - 1] = l->out;
    y = sow_describe(xv.dtype, y.rank, y.shape);
    l->rows = l->out > 0 ? sow_count(y) / l->out : 0;
    return sow_node_run(t, n, y);
}

/* ---- matmul: c [..., m, n] = a [..., m, k] b [..., k, n] ---- */

typedef struct product {
    int64_t batches;
} product;

/* Bytes from the first matrix of a batch to number i: leading dimensions counted row-major. */
static size_t batch_offset(sow_tensor t, int64_t i) {
    int64_t offset = 0;
    for (int d = t.rank - 3; d >= 0; d--) {
        offset += i % t.shape[d] * t.stride[d];
        i /= t.shape[d];
    }
    return (size_t)offset * sow_dtype_size(t.dtype);
}

static sow_status product_forward(sow_tape *t, sow_node *n) {
    (void)t;
    const product *p = n->attributes;
    sow_tensor a = n->input[0]->value, b = n->input[1]->value, c = n->value;
    for (int64_t i = 0; i < p->batches; i++)
        sow_product(1, matrix_of(a, batch_offset(a, i)), matrix_of(b, batch_offset(b, i)), 0, matrix_of(c, batch_offset(c, i)));
    return SOW_OK;
}

static sow_status product_backward(sow_tape *t, sow_node *n) {
    const product *p = n->attributes;
    sow_tensor a = n->input[0]->value, b = n->input[1]->value, gc = n->grad, g;
    if (sow_wants_grad(n->input[0])) { /* ga = gc b^T */
        float beta = sow_grad_into(t, n->input[0], &g);
        if (!g.data) return SOW_E_MEMORY;
        for (int64_t i = 0; i < p->batches; i++)
            sow_product(1, matrix_of(gc, batch_offset(gc, i)), sow_transpose(matrix_of(b, batch_offset(b, i))), (double)beta, matrix_of(g, batch_offset(g, i)));
    }
    if (sow_wants_grad(n->input[1])) { /* gb = a^T gc */
        float beta = sow_grad_into(t, n->input[1], &g);
        if (!g.data) return SOW_E_MEMORY;
        for (int64_t i = 0; i < p->batches; i++)
            sow_product(1, sow_transpose(matrix_of(a, batch_offset(a, i))), matrix_of(gc, batch_offset(gc, i)), (double)beta, matrix_of(g, batch_offset(g, i)));
    }
    return SOW_OK;
}

static const sow_op product_op = {"matmul", product_forward, product_backward};

/* Row- or column-major in its last two dimensions, and gap-free (its gradient takes the same layout). */
static sow_var as_matrices(sow_tape *t, sow_var x) {
    if (!x || x->value.rank < 2 || !sow_is_dense(x->value)) return sow_contiguous(t, x);
    sow_tensor m = matrix_of(x->value, 0);
    return sow_is_row_major(m) || sow_is_row_major(sow_transpose(m)) ? x : sow_contiguous(t, x);
}

sow_var sow_matmul(sow_tape *t, sow_var a, sow_var b) {
    a = as_matrices(t, a);
    b = as_matrices(t, b);
    sow_node *n = SOW_NODE(t, &product_op, product, 2, a, b);
    if (!n || !same_real(t, "matmul", a, b)) return NULL;
    sow_tensor av = a->value, bv = b->value;
    char at[SOW_SHAPE_TEXT], bt[SOW_SHAPE_TEXT];
    bool fits = av.rank >= 2 && av.rank == bv.rank && av.shape[av.rank - 1] == bv.shape[bv.rank - 2];
    for (int d = 0; fits && d < av.rank - 2; d++) fits = av.shape[d] == bv.shape[d];
    if (!fits) return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "matmul: %s times %s", sow_shape_text(av, at), sow_shape_text(bv, bt)));
    sow_tensor c = av;
    c.shape[c.rank - 1] = bv.shape[bv.rank - 1];
    c = sow_describe(av.dtype, c.rank, c.shape);
    product *p = n->attributes;
    *p = (product){.batches = 1};
    for (int d = 0; d < av.rank - 2; d++) p->batches *= av.shape[d];
    return sow_node_run(t, n, c);
}
