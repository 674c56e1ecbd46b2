/* Shapes: copies, views, joins, and sums. */
#include <string.h>

#include "autograd/op.h"

/* Adds `count` elements that lie together. */
SOW_CLONES static void add_run(sow_tensor into, int64_t a, sow_tensor from, int64_t b, int64_t count) {
    if (into.dtype == SOW_F32) {
        float *restrict x = (float *)into.data + a;
        const float *restrict y = (const float *)from.data + b;
        for (int64_t i = 0; i < count; i++) x[i] += y[i];
        return;
    }
    double *restrict x = (double *)into.data + a;
    const double *restrict y = (const double *)from.data + b;
    for (int64_t i = 0; i < count; i++) x[i] += y[i];
}

/* Adds `from` to (beta 1) or writes it into (beta 0) `into`, element by element in logical order. */
static void accumulate(sow_tensor into, sow_tensor from, float beta) {
    if (beta == 0) {
        sow_copy(into, from);
        return;
    }
    int64_t count = sow_count(into);
    bool flat = sow_same_layout(into, from) && sow_is_dense(into);
    int last = into.rank - 1;
    bool rows = !flat && last >= 0 && into.stride[last] == 1 && from.stride[last] == 1; /* a slice of a matrix's columns */
    int64_t run = flat ? count : rows ? into.shape[last] : 1;
    for (int64_t i = 0; i < count; i += run) {
        int64_t a = flat ? i : sow_offset(into, i), b = flat ? i : sow_offset(from, i);
        add_run(into, a, from, b, run);
    }
}

static sow_status pass_back(sow_tape *t, sow_var input, sow_tensor view_of_grad) {
    sow_tensor g;
    float beta = sow_grad_into(t, input, &g);
    if (!g.data) return SOW_E_MEMORY;
    accumulate(g, view_of_grad, beta);
    return SOW_OK;
}

/* ---- a row-major copy ---- */

static sow_status copy_forward(sow_tape *t, sow_node *n) {
    (void)t;
    return sow_copy(n->value, n->input[0]->value);
}

static sow_status copy_backward(sow_tape *t, sow_node *n) {
    return pass_back(t, n->input[0], n->grad);
}

static const sow_op copy_op = {"contiguous", copy_forward, copy_backward, sow_reads_nothing, false};

static sow_var copied(sow_tape *t, sow_var x) {
    sow_node *n = SOW_NODE(t, &copy_op, char, 1, x);
    return n ? sow_node_run(t, n, sow_describe(x->value.dtype, x->value.rank, x->value.shape)) : NULL;
}

sow_var sow_contiguous(sow_tape *t, sow_var x) {
    return !x || sow_is_contiguous(x->value) ? x : copied(t, x);
}

sow_var sow_gap_free(sow_tape *t, sow_var x) {
    return !x || sow_is_dense(x->value) ? x : copied(t, x);
}

/* ---- reshape: a view of row-major memory ---- */

static sow_status reshape_backward(sow_tape *t, sow_node *n) {
    sow_tensor x = n->input[0]->value;
    return pass_back(t, n->input[0], sow_reshape(n->grad, x.rank, x.shape));
}

static const sow_op reshape_op = {"reshape", NULL, reshape_backward, sow_reads_nothing, false};

sow_var sow_reshaped(sow_tape *t, sow_var x, int rank, const int64_t *shape) {
    x = sow_contiguous(t, x);
    sow_node *n = SOW_NODE(t, &reshape_op, char, 1, x);
    if (!n) return NULL;
    int64_t fixed = 1, count = sow_count(x->value), full[SOW_RANK_MAX];
    int open = -1;
    for (int i = 0; i < rank; i++) {
        full[i] = shape[i];
        if (shape[i] < 0) open = i;
        else fixed *= shape[i];
    }
    if (open >= 0) full[open] = fixed > 0 ? count / fixed : 0;
    sow_tensor y = sow_reshape(x->value, rank, full);
    char from[SOW_SHAPE_TEXT], to[SOW_SHAPE_TEXT];
    if (sow_count(y) != count) return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "reshape: %s into %s", sow_shape_text(x->value, from), sow_shape_text(y, to)));
    return sow_node_run(t, n, y);
}

sow_var sow_flatten(sow_tape *t, sow_var x, int first) {
    if (!x) return NULL;
    int64_t shape[SOW_RANK_MAX];
    for (int i = 0; i < first; i++) shape[i] = x->value.shape[i];
    shape[first] = -1;
    if (sow_count(x->value) == 0) shape[first] = 0;
    return sow_reshaped(t, x, first + 1, shape);
}

/* ---- permutation: a view ---- */

typedef struct permutation {
    int back[SOW_RANK_MAX];
} permutation;

static sow_status permute_backward(sow_tape *t, sow_node *n) {
    return pass_back(t, n->input[0], sow_permute(n->grad, ((const permutation *)n->attributes)->back));
}

static const sow_op permute_op = {"permute", NULL, permute_backward, sow_reads_nothing, false};

sow_var sow_permuted(sow_tape *t, sow_var x, const int *order) {
    sow_node *n = SOW_NODE(t, &permute_op, permutation, 1, x);
    if (!n) return NULL;
    for (int i = 0; i < x->value.rank; i++) ((permutation *)n->attributes)->back[order[i]] = i;
    return sow_node_run(t, n, sow_permute(x->value, order));
}

/* ---- narrow: a view with gaps; its own gradient is row-major ---- */

typedef struct narrowing {
    int dimension;
    int64_t first, count;
} narrowing;

static sow_status narrow_backward(sow_tape *t, sow_node *n) {
    const narrowing *a = n->attributes;
    sow_tensor g;
    float beta = sow_grad_into(t, n->input[0], &g);
    if (!g.data) return SOW_E_MEMORY;
    if (beta == 0) memset(g.data, 0, sow_bytes(g));
    accumulate(sow_slice(g, a->dimension, a->first, a->count), n->grad, 1);
    return SOW_OK;
}

static const sow_op narrow_op = {"narrow", NULL, narrow_backward, sow_reads_nothing, false};

sow_var sow_narrow(sow_tape *t, sow_var x, int dimension, int64_t first, int64_t count) {
    sow_node *n = SOW_NODE(t, &narrow_op, narrowing, 1, x);
    if (!n) return NULL;
    char text[SOW_SHAPE_TEXT];
    if (dimension < 0 || dimension >= x->value.rank || first < 0 || count < 0 || first > x->value.shape[dimension] - count)
        return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "narrow: %lld from %lld of dimension %d of %s", (long long)count, (long long)first, dimension, sow_shape_text(x->value, text)));
    *(narrowing *)n->attributes = (narrowing){dimension, first, count};
    sow_var view = sow_node_run(t, n, sow_slice(x->value, dimension, first, count));
    return sow_gap_free(t, view); /* gradients share their value's layout, so a view with gaps is copied at once */
}

/* ---- concatenation ---- */

typedef struct joining {
    int dimension;
} joining;

static sow_status concat_forward(sow_tape *t, sow_node *n) {
    (void)t;
    int d = ((const joining *)n->attributes)->dimension;
    int64_t first = 0;
    for (int i = 0; i < n->inputs; i++) {
        sow_tensor part = n->input[i]->value;
        SOW_TRY(sow_copy(sow_slice(n->value, d, first, part.shape[d]), part));
        first += part.shape[d];
    }
    return SOW_OK;
}

static sow_status concat_backward(sow_tape *t, sow_node *n) {
    int d = ((const joining *)n->attributes)->dimension;
    int64_t first = 0;
    for (int i = 0; i < n->inputs; i++) {
        int64_t extent = n->input[i]->value.shape[d];
        if (sow_wants_grad(n->input[i])) SOW_TRY(pass_back(t, n->input[i], sow_slice(n->grad, d, first, extent)));
        first += extent;
    }
    return SOW_OK;
}

static const sow_op concat_op = {"concat", concat_forward, concat_backward, sow_reads_nothing, false};

sow_var sow_concat(sow_tape *t, const sow_var *parts, int count, int dimension) {
    sow_node *n = sow_node_new(t, &concat_op, sizeof(joining), count, count, parts);
    if (!n) return NULL;
    ((joining *)n->attributes)->dimension = dimension;
    sow_tensor y = parts[0]->value;
    char first[SOW_SHAPE_TEXT], other[SOW_SHAPE_TEXT];
    for (int i = 1; i < count; i++) {
        sow_tensor expected = parts[i]->value, p = parts[i]->value;
        if (p.rank == y.rank && dimension >= 0 && dimension < p.rank) expected = parts[0]->value, expected.shape[dimension] = p.shape[dimension];
        if (!sow_same_shape(expected, p) || p.rank != y.rank || p.dtype != y.dtype)
            return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "concat along %d: %s and %s", dimension, sow_shape_text(parts[0]->value, first), sow_shape_text(p, other)));
        y.shape[dimension] += p.shape[dimension];
    }
    return sow_node_run(t, n, sow_describe(y.dtype, y.rank, y.shape));
}

/* ---- sums: f64 partial sums over chunks, added in order ---- */

typedef struct summing {
    double factor;
} summing;

static double sum_chunk(sow_tensor x, sow_range r) {
    double sum = 0;
    for (int64_t i = r.first; i < r.first + r.count; i++) sum += x.dtype == SOW_F32 ? (double)((const float *)x.data)[i] : ((const double *)x.data)[i];
    return sum;
}

static sow_status sum_forward(sow_tape *t, sow_node *n) {
    (void)t;
    sow_tensor x = n->input[0]->value;
    int64_t count = sow_count(x);
    double sum = 0;
    for (int64_t cell = 0; cell < sow_cells_for(count, SOW_CHUNK); cell++) sum += sum_chunk(x, sow_chunk(cell, count));
    sow_put(n->value, 0, sum * ((const summing *)n->attributes)->factor);
    return SOW_OK;
}

static sow_status sum_backward(sow_tape *t, sow_node *n) {
    sow_tensor g;
    float beta = sow_grad_into(t, n->input[0], &g);
    if (!g.data) return SOW_E_MEMORY;
    double part = sow_at(n->grad, 0) * ((const summing *)n->attributes)->factor;
    int64_t count = sow_count(g);
    for (int64_t i = 0; i < count; i++) {
        if (g.dtype == SOW_F32) ((float *)g.data)[i] = (float)part + (beta != 0 ? ((float *)g.data)[i] : 0);
        else ((double *)g.data)[i] = part + (beta != 0 ? ((double *)g.data)[i] : 0);
    }
    return SOW_OK;
}

static const sow_op sum_op = {"sum", sum_forward, sum_backward, sow_reads_nothing, false};

static sow_var summed(sow_tape *t, sow_var x, bool mean) {
    x = sow_gap_free(t, x);
    sow_node *n = SOW_NODE(t, &sum_op, summing, 1, x);
    if (!n) return NULL;
    int64_t count = sow_count(x->value);
    ((summing *)n->attributes)->factor = mean && count > 0 ? 1.0 / (double)count : 1;
    return sow_node_run(t, n, sow_describe(x->value.dtype, 0, NULL));
}

sow_var sow_sum(sow_tape *t, sow_var x) {
    return summed(t, x, false);
}

sow_var sow_mean(sow_tape *t, sow_var x) {
    return summed(t, x, true);
}

/* x as [before, extent, after], summed over the middle. */
typedef struct middle {
    int64_t before, extent, after;
} middle;

static sow_status sum_over_forward(sow_tape *t, sow_node *n) {
    const middle *m = n->attributes;
    double *sum = sow_scratch(t, (size_t)m->after * sizeof *sum);
    if (!sum) return SOW_E_MEMORY;
    sow_tensor x = n->input[0]->value;
    for (int64_t b = 0; b < m->before; b++) {
        memset(sum, 0, (size_t)m->after * sizeof *sum);
        for (int64_t i = 0; i < m->extent * m->after; i++) {
            int64_t at = b * m->extent * m->after + i;
            sum[i % m->after] += x.dtype == SOW_F32 ? (double)((const float *)x.data)[at] : ((const double *)x.data)[at];
        }
        for (int64_t a = 0; a < m->after; a++) {
            if (x.dtype == SOW_F32) ((float *)n->value.data)[b * m->after + a] = (float)sum[a];
            else ((double *)n->value.data)[b * m->after + a] = sum[a];
        }
    }
    return SOW_OK;
}

static sow_status sum_over_backward(sow_tape *t, sow_node *n) {
    const middle *m = n->attributes;
    sow_tensor g;
    float beta = sow_grad_into(t, n->input[0], &g);
    if (!g.data) return SOW_E_MEMORY;
    for (int64_t b = 0; b < m->before; b++)
        for (int64_t i = 0; i < m->extent * m->after; i++) {
            int64_t to = b * m->extent * m->after + i, from = b * m->after + i % m->after;
            if (g.dtype == SOW_F32) ((float *)g.data)[to] = ((const float *)n->grad.data)[from] + (beta != 0 ? ((float *)g.data)[to] : 0);
            else ((double *)g.data)[to] = ((const double *)n->grad.data)[from] + (beta != 0 ? ((double *)g.data)[to] : 0);
        }
    return SOW_OK;
}

static const sow_op sum_over_op = {"sum_over", sum_over_forward, sum_over_backward, sow_reads_nothing, false};

sow_var sow_sum_over(sow_tape *t, sow_var x, int dimension) {
    x = sow_contiguous(t, x);
    sow_node *n = SOW_NODE(t, &sum_over_op, middle, 1, x);
    if (!n) return NULL;
    char text[SOW_SHAPE_TEXT];
    if (dimension < 0 || dimension >= x->value.rank) return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "sum over dimension %d of %s", dimension, sow_shape_text(x->value, text)));
    middle *m = n->attributes;
    *m = (middle){.before = 1, .extent = x->value.shape[dimension], .after = 1};
    int64_t shape[SOW_RANK_MAX];
    for (int i = 0, j = 0; i < x->value.rank; i++) {
        if (i < dimension) m->before *= x->value.shape[i];
        if (i > dimension) m->after *= x->value.shape[i];
        if (i != dimension) shape[j++] = x->value.shape[i];
    }
    return sow_node_run(t, n, sow_describe(x->value.dtype, x->value.rank - 1, shape));
}
