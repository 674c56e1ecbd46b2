/* Cross-entropy over a large vocabulary: head and softmax together, in chunks of rows. */
#include <math.h>
#include <string.h>

#include "autograd/op.h"
#include "autograd/vexp.h"

/* ENGINE.md, section 6: with 64 rows the table is streamed too often, with 256 the logits are 50 MB for 49,152 tokens. */
enum { CHUNK_ROWS = 256, CELL_ROWS = 8 };

typedef struct head {
    sow_tensor labels;
    int64_t rows, vocabulary, d;
    double divisor; /* 0: the number of counted rows */
} head;

SOW_CLONES static double softmax_f32(float *restrict z, int64_t n, int32_t label, bool gradient, float scale) {
    float largest = z[0], at_label = z[label];
    for (int64_t i = 1; i < n; i++) largest = z[i] > largest ? z[i] : largest;
    double sum = 0;
    for (int64_t first = 0; first < n; first += 1024) { /* f32 sums of 1,024 values, f64 beyond */
        int64_t last = first + 1024 < n ? first + 1024 : n;
        float lane[16] = {0};
        int64_t whole = first + (last - first) / 16 * 16;
        for (int64_t i = first; i < whole; i += 16)
            for (int j = 0; j < 16; j++) lane[j] += z[i + j] = sow_vexp(z[i + j] - largest);
        for (int64_t i = whole; i < last; i++) lane[i - whole] += z[i] = sow_vexp(z[i] - largest);
        for (int j = 0; j < 16; j++) sum += (double)lane[j];
    }
    if (gradient) {
        float factor = (float)((double)scale / sum);
        for (int64_t i = 0; i < n; i++) z[i] *= factor;
        z[label] -= scale;
    }
    return log(sum) + (double)largest - (double)at_label;
}

static double softmax_f64(double *z, int64_t n, int32_t label, bool gradient, double scale) {
    double largest = z[0], at_label = z[label], sum = 0;
    for (int64_t i = 1; i < n; i++) largest = fmax(largest, z[i]);
    for (int64_t i = 0; i < n; i++) sum += z[i] = exp(z[i] - largest);
    for (int64_t i = 0; gradient && i < n; i++) z[i] *= scale / sum;
    if (gradient) z[label] -= scale;
    return log(sum) + largest - at_label;
}

/* The counted rows under way: packed, their logits, which become the logits' gradient. */
typedef struct chunk {
    const head *a;
    bool single, gradient;
    int64_t count, row[CHUNK_ROWS];
    void *h, *z, *dh; /* [count, d], [count, vocabulary], [count, d] */
    double scale, loss[CHUNK_ROWS];
} chunk;

static void softmax_cell(void *context, int64_t cell) {
    chunk *c = context;
    const int32_t *labels = c->a->labels.data;
    int64_t n = c->a->vocabulary, last = (cell + 1) * CELL_ROWS < c->count ? (cell + 1) * CELL_ROWS : c->count;
    for (int64_t i = cell * CELL_ROWS; i < last; i++) {
        int32_t label = labels[c->row[i]];
        c->loss[i] = c->single ? softmax_f32((float *)c->z + i * n, n, label, c->gradient, (float)c->scale)
                               : softmax_f64((double *)c->z + i * n, n, label, c->gradient, c->scale);
    }
}

/* The next counted rows from `at` on; returns where they end. */
static int64_t pack(chunk *c, sow_tensor h, int64_t at) {
    const int32_t *labels = c->a->labels.data;
    size_t row = (size_t)c->a->d * sow_dtype_size(h.dtype);
    for (c->count = 0; at < c->a->rows && c->count < CHUNK_ROWS; at++) {
        if (labels[at] < 0) continue;
        memcpy((char *)c->h + (size_t)c->count * row, (const char *)h.data + (size_t)at * row, row);
        c->row[c->count++] = at;
    }
    return at;
}

static void unpack(const chunk *c, void *dh) {
    size_t row = (size_t)c->a->d * (c->single ? sizeof(float) : sizeof(double));
    for (int64_t i = 0; i < c->count; i++)
        memcpy((char *)dh + (size_t)c->row[i] * row, (const char *)c->dh + (size_t)i * row, row);
}

static sow_status count_labels(const head *a, int64_t *counted) {
    const int32_t *labels = a->labels.data;
    *counted = 0;
    for (int64_t r = 0; r < a->rows; r++) {
        if (labels[r] < -1 || labels[r] >= a->vocabulary)
            return sow_fail(SOW_E_RANGE, "head: label %d in row %lld, expected -1 to %lld", labels[r], (long long)r,
                            (long long)a->vocabulary - 1);
        *counted += labels[r] >= 0;
    }
    return *counted > 0 ? SOW_OK
                        : sow_fail(SOW_E_RANGE, "head: no label counts: all %lld are masked", (long long)a->rows);
}

/* Scratch for a chunk, and what backward will hand on: dh in slot 0, dW in slot 1. */
static sow_status take_memory(sow_tape *t, sow_node *n, chunk *c, size_t item) {
    const head *a = c->a;
    int64_t rows = a->rows < CHUNK_ROWS ? a->rows : CHUNK_ROWS;
    c->h = sow_scratch(t, (size_t)(rows * a->d) * item);
    c->z = sow_scratch(t, (size_t)(rows * a->vocabulary) * item);
    if (!c->h || !c->z) return SOW_E_MEMORY;
    if (sow_wants_grad(n->input[0])) {
        c->dh = sow_scratch(t, (size_t)(rows * a->d) * item);
        if (!c->dh || !sow_node_keep(t, n, 0, (size_t)(a->rows * a->d) * item)) return SOW_E_MEMORY;
        memset(n->keep[0], 0, (size_t)(a->rows * a->d) * item);
    }
    if (sow_wants_grad(n->input[1]) && !sow_node_keep(t, n, 1, (size_t)(a->vocabulary * a->d) * item))
        return SOW_E_MEMORY;
    return SOW_OK;
}

static sow_status head_forward(sow_tape *t, sow_node *n) {
    const head *a = n->attributes;
    sow_tensor h = n->input[0]->value;
    sow_tensor w = n->input[1]->value;
    chunk c = {.a = a, .single = h.dtype == SOW_F32, .gradient = n->needs_grad};
    int64_t counted;
    double sum = 0, beta = 0;
    SOW_TRY(count_labels(a, &counted));
    SOW_TRY(take_memory(t, n, &c, sow_dtype_size(h.dtype)));
    c.scale = 1 / (a->divisor > 0 ? a->divisor : (double)counted);
    for (int64_t at = pack(&c, h, 0); c.count > 0; at = pack(&c, h, at)) {
        sow_tensor packed = SOW_TENSOR(c.h, h.dtype, c.count, a->d),
                   z = SOW_TENSOR(c.z, h.dtype, c.count, a->vocabulary);
        sow_product(1, packed, sow_transpose(w), 0, z);
        sow_cells(sow_cells_for(c.count, CELL_ROWS), softmax_cell, &c);
        for (int64_t i = 0; i < c.count; i++) sum += c.loss[i];
        if (n->keep[1])
            sow_product(1, sow_transpose(z), packed, beta, SOW_TENSOR(n->keep[1], h.dtype, a->vocabulary, a->d));
        if (n->keep[0]) sow_product(1, z, w, 0, SOW_TENSOR(c.dh, h.dtype, c.count, a->d));
        if (n->keep[0]) unpack(&c, n->keep[0]);
        beta = 1;
    }
    sow_put(n->value, 0, sum * c.scale);
    return SOW_OK;
}

typedef struct hand_on {
    const void *from;
    sow_tensor to;
    double factor;
    float beta;
    int64_t count;
} hand_on;

static void hand_on_cell(void *context, int64_t cell) {
    const hand_on *j = context;
    sow_range r = sow_chunk(cell, j->count);
    if (j->to.dtype == SOW_F32) {
        const float *from = j->from, f = (float)j->factor;
        float *to = j->to.data;
        for (int64_t i = r.first; i < r.first + r.count; i++) to[i] = (j->beta == 0 ? 0 : to[i]) + f * from[i];
    } else {
        const double *from = j->from;
        double *to = j->to.data;
        for (int64_t i = r.first; i < r.first + r.count; i++) to[i] = (j->beta == 0 ? 0 : to[i]) + j->factor * from[i];
    }
}

static sow_status head_backward(sow_tape *t, sow_node *n) {
    for (int i = 0; i < 2; i++) {
        if (!sow_wants_grad(n->input[i])) continue;
        hand_on j = {.from = n->keep[i], .factor = sow_at(n->grad, 0)};
        j.beta = sow_grad_into(t, n->input[i], &j.to);
        if (!j.to.data) return SOW_E_MEMORY;
        j.count = sow_count(j.to);
        sow_cells(sow_cells_for(j.count, SOW_CHUNK), hand_on_cell, &j);
    }
    return SOW_OK;
}

static const sow_op head_op = {"head loss", head_forward, head_backward, sow_reads_nothing, false};

sow_var sow_head_loss(sow_tape *t, sow_var h, sow_var w, sow_tensor labels, double divisor) {
    h = sow_contiguous(t, h);
    w = sow_contiguous(t, w);
    sow_node *n = SOW_NODE(t, &head_op, head, 2, h, w);
    if (!n) return NULL;
    sow_tensor x = h->value, e = w->value;
    char a[SOW_SHAPE_TEXT], b[SOW_SHAPE_TEXT], c[SOW_SHAPE_TEXT];
    bool fits = x.rank == 2 && e.rank == 2 && x.shape[1] == e.shape[1] && x.dtype == e.dtype &&
                (x.dtype == SOW_F32 || x.dtype == SOW_F64);
    if (!fits || labels.rank != 1 || labels.shape[0] != x.shape[0] || labels.dtype != SOW_I32 ||
        !sow_is_contiguous(labels))
        return sow_tape_fail(
            t,
            sow_fail(SOW_E_SHAPE,
                     "head: states %s, table %s, labels %s: expected [n, d], [vocabulary, d] of one type and I32 [n]",
                     sow_shape_text(x, a), sow_shape_text(e, b), sow_shape_text(labels, c)));
    *(head *)n->attributes = (head){labels, x.shape[0], e.shape[0], x.shape[1], divisor};
    return sow_node_run(t, n, sow_describe(x.dtype, 0, NULL));
}
