/* Low-rank updates of a linear layer's output: LoRA (Hu et al. 2021, arXiv 2106.09685), with a core between the factors
 * (Balazy et al. 2024, arXiv 2405.17604), and the row lengths that DoRA divides by. */
#include <math.h>
#include <string.h>

#include "autograd/op.h"

enum { X, Y, A, B, R };
enum { KEEP_U, KEEP_V };

typedef struct low_rank {
    int64_t rows, in, out, rank;
    double scale;
} low_rank;

/* Rows of A x (or R A x) in a buffer of the node. */
static sow_tensor inner(const low_rank *l, sow_dtype type, void *data) {
    return SOW_TENSOR(data, type, l->rows, l->rank);
}

/* x, y or a gradient of theirs: leading dimensions are rows. */
static sow_tensor rows_of(const low_rank *l, sow_tensor t) {
    return SOW_TENSOR(t.data, t.dtype, l->rows, t.shape[t.rank - 1]);
}

static sow_status forward(sow_tape *t, sow_node *n) {
    const low_rank *l = n->attributes;
    sow_dtype type = n->value.dtype;
    size_t bytes = (size_t)(l->rows * l->rank) * sow_dtype_size(type);
    void *u = sow_node_keep(t, n, KEEP_U, bytes), *v = u;
    if (n->input[R]) v = sow_node_keep(t, n, KEEP_V, bytes);
    if (!u || !v) return SOW_E_MEMORY;
    sow_product(1, rows_of(l, n->input[X]->value), sow_transpose(n->input[A]->value), 0, inner(l, type, u));
    if (n->input[R]) sow_product(1, inner(l, type, u), sow_transpose(n->input[R]->value), 0, inner(l, type, v));
    memcpy(n->value.data, n->input[Y]->value.data, sow_bytes(n->value));
    sow_product(l->scale, inner(l, type, v), sow_transpose(n->input[B]->value), 1, rows_of(l, n->value));
    return SOW_OK;
}

/* The gradient passes through to y. */
static sow_status pass_to_output(sow_tape *t, sow_node *n) {
    sow_tensor g;
    if (!sow_wants_grad(n->input[Y])) return SOW_OK;
    float beta = sow_grad_into(t, n->input[Y], &g);
    if (!g.data) return SOW_E_MEMORY;
    if (beta == 0) {
        memcpy(g.data, n->grad.data, sow_bytes(g));
        return SOW_OK;
    }
    int64_t count = sow_count(g);
    if (g.dtype == SOW_F32)
        for (int64_t i = 0; i < count; i++) ((float *)g.data)[i] += ((const float *)n->grad.data)[i];
    else
        for (int64_t i = 0; i < count; i++) ((double *)g.data)[i] += ((const double *)n->grad.data)[i];
    return SOW_OK;
}

/* The gradient of an input += alpha a b. */
static sow_status add_product(sow_tape *t, const low_rank *l, sow_var input, double alpha, sow_tensor a, sow_tensor b) {
    sow_tensor g;
    if (!sow_wants_grad(input)) return SOW_OK;
    double beta = (double)sow_grad_into(t, input, &g);
    if (!g.data) return SOW_E_MEMORY;
    sow_product(alpha, a, b, beta, g.rank == 2 ? g : rows_of(l, g));
    return SOW_OK;
}

static sow_status backward(sow_tape *t, sow_node *n) {
    const low_rank *l = n->attributes;
    sow_dtype type = n->value.dtype;
    size_t bytes = (size_t)(l->rows * l->rank) * sow_dtype_size(type);
    sow_tensor g = rows_of(l, n->grad), u = inner(l, type, n->keep[KEEP_U]), v = u,
               dv = inner(l, type, sow_scratch(t, bytes)), du = dv;
    if (n->input[R]) v.data = n->keep[KEEP_V], du.data = sow_scratch(t, bytes);
    if (!dv.data || !du.data) return SOW_E_MEMORY;
    SOW_TRY(pass_to_output(t, n));
    SOW_TRY(add_product(t, l, n->input[B], l->scale, sow_transpose(g), v));
    sow_product(l->scale, g, n->input[B]->value, 0, dv);
    if (n->input[R]) {
        SOW_TRY(add_product(t, l, n->input[R], 1, sow_transpose(dv), u));
        sow_product(1, dv, n->input[R]->value, 0, du);
    }
    SOW_TRY(add_product(t, l, n->input[A], 1, sow_transpose(du), rows_of(l, n->input[X]->value)));
    return add_product(t, l, n->input[X], 1, du, n->input[A]->value);
}

/* x for A's gradient; the factors for those of x and of each other. */
static unsigned reads(const sow_node *n) {
    return (sow_wants_grad(n->input[A]) ? 1u << X : 0) | 1u << A | 1u << B | 1u << R;
}

static const sow_op low_rank_op = {"low rank", forward, backward, reads, false};

static bool is_matrix(sow_var v, sow_dtype type, int64_t rows, int64_t columns) {
    return v->value.dtype == type && v->value.rank == 2 && v->value.shape[0] == rows && v->value.shape[1] == columns &&
           sow_is_contiguous(v->value);
}

sow_var sow_low_rank(sow_tape *t, sow_var x, sow_var y, sow_var a, sow_var r, sow_var b, double scale) {
    x = sow_contiguous(t, x);
    y = sow_contiguous(t, y);
    sow_node *n = SOW_NODE(t, &low_rank_op, low_rank, 4, x, y, a, b, r);
    if (!n) return NULL;
    low_rank *l = n->attributes;
    char at[SOW_SHAPE_TEXT], bt[SOW_SHAPE_TEXT], xt[SOW_SHAPE_TEXT], yt[SOW_SHAPE_TEXT];
    sow_tensor xv = x->value, yv = y->value;
    int64_t in = xv.shape[xv.rank - 1], out = yv.shape[yv.rank - 1], rank = a->value.shape[0];
    sow_dtype type = xv.dtype;
    bool fits = (type == SOW_F32 || type == SOW_F64) && yv.dtype == type && is_matrix(a, type, rank, in) &&
                is_matrix(b, type, out, rank) && (!r || is_matrix(r, type, rank, rank)) && in > 0 && out > 0 &&
                sow_count(xv) / in == sow_count(yv) / out;
    if (!fits)
        return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "low rank: A is %s, B %s, for inputs %s and outputs %s",
                                         sow_shape_text(a->value, at), sow_shape_text(b->value, bt),
                                         sow_shape_text(xv, xt), sow_shape_text(yv, yt)));
    *l = (low_rank){.rows = sow_count(xv) / in, .in = in, .out = out, .rank = rank, .scale = scale};
    return sow_node_run(t, n, sow_describe(type, yv.rank, yv.shape));
}

/* ---- lengths of rows ---- */

/* |w + s c|^2 for c = b A from the products that are small: |w|^2 + 2 s b.(A w) + s^2 b (A A^T) b. */
static double length_squared(sow_tensor w, int64_t i, int64_t in, const double *aw, const double *aa, sow_tensor b,
                             int64_t rank, double scale) {
    double sum = 0, cross = 0, square = 0;
    for (int64_t j = 0; j < in; j++) {
        int64_t at = i * w.stride[0] + j * w.stride[1];
        double x = w.dtype == SOW_F32 ? (double)((const float *)w.data)[at] : ((const double *)w.data)[at];
        sum += x * x;
    }
    for (int64_t p = 0; p < rank; p++) {
        double bp = sow_at(b, i * rank + p), row = 0;
        cross += bp * aw[p];
        for (int64_t q = 0; q < rank; q++) row += aa[p * rank + q] * sow_at(b, i * rank + q);
        square += bp * row;
    }
    return fmax(sum + 2 * scale * cross + scale * scale * square, 0);
}

static sow_status norms_forward(sow_tape *t, sow_node *n) {
    const low_rank *l = n->attributes;
    sow_tensor w = n->input[0]->value, a = n->input[1]->value, b = n->input[2]->value;
    size_t square = (size_t)(l->rank * l->rank), wide = (size_t)(l->in * l->rank), tall = (size_t)(l->out * l->rank);
    double *aa = sow_scratch(t, square * sizeof *aa), *af = sow_scratch(t, wide * sizeof *af);
    double *wf = sow_scratch(t, (size_t)(l->out * l->in) * sizeof *wf), *aw = sow_scratch(t, tall * sizeof *aw);
    if (!aa || !af || !wf || !aw) return SOW_E_MEMORY;
    SOW_TRY(sow_copy(SOW_TENSOR(af, SOW_F64, l->rank, l->in), a));
    SOW_TRY(sow_copy(SOW_TENSOR(wf, SOW_F64, l->out, l->in), w));
    sow_gemm_f64(false, true, l->rank, l->rank, l->in, 1, af, l->in, af, l->in, 0, aa, l->rank);
    sow_gemm_f64(false, true, l->out, l->rank, l->in, 1, wf, l->in, af, l->in, 0, aw, l->rank);
    for (int64_t i = 0; i < l->out; i++)
        sow_put(n->value, i, 1 / sqrt(length_squared(w, i, l->in, aw + i * l->rank, aa, b, l->rank, l->scale)));
    return SOW_OK;
}

static const sow_op norms_op = {"row norms", norms_forward, NULL, sow_reads_nothing, false};

sow_var sow_inverse_row_norms(sow_tape *t, sow_var w, sow_var a, sow_var b, double scale) {
    w = sow_detach(t, w), a = sow_detach(t, a), b = sow_detach(t, b);
    sow_node *n = SOW_NODE(t, &norms_op, low_rank, 3, w, a, b);
    if (!n) return NULL;
    sow_tensor wv = w->value, av = a->value;
    low_rank *l = n->attributes;
    *l = (low_rank){.in = wv.shape[1], .out = wv.shape[0], .rank = av.shape[0], .scale = scale};
    if (wv.rank != 2 || !is_matrix(a, wv.dtype, l->rank, l->in) || !is_matrix(b, wv.dtype, l->out, l->rank))
        return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "row norms: W, A and B do not fit each other"));
    return sow_node_run(t, n, sow_describe(wv.dtype, 1, &l->out));
}
