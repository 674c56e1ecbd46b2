/* Attention over packed sequences: grouped heads, causal masks, windows, rotary positions (sow_attend in sow/ops.h).
 * Scores exist in blocks of query rows and are made again for backward (as in Dao et al. 2022, arXiv 2205.14135). */
#include <math.h>
#include <string.h>

#include "autograd/op.h"
#include "autograd/vexp.h"

enum { BLOCK = 128 /* query rows */, HEAD_MAX = 1024 };

typedef struct attend {
    sow_attention a;
    int64_t rows, d, longest; /* head size; rows of the longest sequence */
    int64_t *first_cell;      /* [sequences + 1]: forward cells, one a block and head; behind it first rows, if the caller has none */
} attend;

typedef struct attend_job {
    const attend *a;
    const void *q, *k, *v, *dy;
    void *o, *lse, *dq, *dk, *dv; /* lse: [heads, rows]; gradients NULL where not wanted */
    float beta_q, beta_k, beta_v;
    char *scratch;
    size_t scratch_size; /* a worker's share, in bytes */
} attend_job;

static void *worker_scratch(const attend_job *j) {
    return j->scratch + (size_t)sow_worker() * j->scratch_size;
}

/* Query rows [row, row + rows) of a sequence that begins at row `start` of the packed batch, and the keys any sees. */
typedef struct block {
    int64_t start, row, rows, first_key, last_key, head, kv_head;
} block;

static block block_of(const attend *a, int64_t sequence, int64_t head, int64_t row) {
    int64_t start = a->a.start[sequence], n = a->a.start[sequence + 1] - start;
    block b = {.start = start, .row = row, .rows = n - row < BLOCK ? n - row : BLOCK, .last_key = n, .head = head};
    b.kv_head = head / (a->a.heads / a->a.kv_heads);
    if (a->a.causal) b.last_key = row + b.rows;
    if (a->a.window > 0 && row - a->a.window + 1 > 0) b.first_key = row - a->a.window + 1;
    return b;
}

typedef struct keys {
    int64_t low, high; /* relative to the block's first key */
} keys;

static keys keys_of(const attend *a, block b, int64_t r) {
    int64_t i = b.row + r, low = a->a.window > 0 && i - a->a.window + 1 > 0 ? i - a->a.window + 1 : 0;
    return (keys){(low > b.first_key ? low : b.first_key) - b.first_key,
                  (a->a.causal ? i + 1 : b.last_key) - b.first_key};
}

#define REAL float
#define NAME(x) x##_f32
#define EXP sow_vexp
#define LOG logf
#define GEMM sow_gemm
#include "autograd/attention_cells.h"
#undef REAL
#undef NAME
#undef EXP
#undef LOG
#undef GEMM
#define REAL double
#define NAME(x) x##_f64
#define EXP exp
#define LOG log
#define GEMM sow_gemm_f64
#include "autograd/attention_cells.h"

/* ---- the operator ---- */

typedef struct task {
    attend_job j;
    bool single;
} task;

static void forward_cell(void *context, int64_t cell) {
    const task *k = context;
    const attend *a = k->j.a;
    int64_t s = 0;
    while (cell >= a->first_cell[s + 1]) s++;
    int64_t n = a->a.start[s + 1] - a->a.start[s], blocks = sow_cells_for(n, BLOCK), i = cell - a->first_cell[s];
    block b = block_of(a, s, i / blocks, i % blocks * BLOCK);
    if (n == 0) return;
    if (k->single) forward_block_f32(&k->j, b);
    else forward_block_f64(&k->j, b);
}

static void backward_cell(void *context, int64_t cell) {
    const task *k = context;
    int64_t heads = k->j.a->a.kv_heads;
    if (k->single) backward_head_f32(&k->j, cell / heads, cell % heads);
    else backward_head_f64(&k->j, cell / heads, cell % heads);
}

static sow_status begin(sow_tape *t, sow_node *n, int64_t elements, task *out) {
    const attend *a = n->attributes;
    size_t item = sow_dtype_size(n->value.dtype);
    out->j = (attend_job){.a = a,
                          .q = n->input[0]->value.data,
                          .k = n->input[1]->value.data,
                          .v = n->input[2]->value.data,
                          .o = n->value.data,
                          .scratch_size = ((size_t)elements * item + 127) / 64 * 64};
    out->single = n->value.dtype == SOW_F32;
    out->j.lse = sow_node_keep(t, n, 0, (size_t)(a->a.heads * a->rows) * item);
    out->j.scratch = sow_scratch(t, (size_t)sow_threads() * out->j.scratch_size);
    return out->j.lse && out->j.scratch ? SOW_OK : SOW_E_MEMORY;
}

static sow_status attend_forward(sow_tape *t, sow_node *n) {
    const attend *a = n->attributes;
    task k;
    SOW_TRY(begin(t, n, (BLOCK + a->longest) * a->d + BLOCK * a->longest, &k));
    sow_cells(a->first_cell[a->a.sequences], forward_cell, &k);
    return SOW_OK;
}

static sow_status want(sow_tape *t, sow_node *n, int input, void **gradient, float *beta) {
    sow_tensor g = {0};
    if (!sow_wants_grad(n->input[input])) return SOW_OK;
    *beta = sow_grad_into(t, n->input[input], &g);
    *gradient = g.data;
    return g.data ? SOW_OK : SOW_E_MEMORY;
}

static sow_status attend_backward(sow_tape *t, sow_node *n) {
    const attend *a = n->attributes;
    task k;
    SOW_TRY(begin(t, n, (3 * a->longest + 2 * BLOCK) * a->d + 2 * BLOCK * a->longest, &k));
    k.j.dy = n->grad.data;
    SOW_TRY(want(t, n, 0, &k.j.dq, &k.j.beta_q));
    SOW_TRY(want(t, n, 1, &k.j.dk, &k.j.beta_k));
    SOW_TRY(want(t, n, 2, &k.j.dv, &k.j.beta_v));
    sow_cells(a->a.sequences * a->a.kv_heads, backward_cell, &k);
    return SOW_OK;
}

static const sow_op attend_op = {"attention", attend_forward, attend_backward, NULL, false};

/* ---- checks ---- */

static sow_status check_shapes(const sow_attention *a, sow_tensor q, sow_tensor k, sow_tensor v) {
    char qt[SOW_SHAPE_TEXT], kt[SOW_SHAPE_TEXT], vt[SOW_SHAPE_TEXT];
    bool fits = q.rank == 2 && k.rank == 2 && sow_same_shape(k, v) && q.dtype == k.dtype && q.dtype == v.dtype &&
                (q.dtype == SOW_F32 || q.dtype == SOW_F64) && q.shape[0] == k.shape[0];
    fits = fits && a->heads > 0 && a->kv_heads > 0 && a->heads % a->kv_heads == 0 && q.shape[1] % a->heads == 0 &&
           q.shape[1] > 0 && k.shape[1] == q.shape[1] / a->heads * a->kv_heads && q.shape[1] / a->heads <= HEAD_MAX;
    if (fits) return SOW_OK;
    return sow_fail(
        SOW_E_SHAPE,
        "attention: q %s, k %s, v %s with %lld and %lld heads: expected [n, heads * d] and [n, kv_heads * d], d up to %d",
        sow_shape_text(q, qt), sow_shape_text(k, kt), sow_shape_text(v, vt), (long long)a->heads,
        (long long)a->kv_heads, HEAD_MAX);
}

static sow_status check_sequences(const sow_attention *a, sow_tensor q, int64_t *longest) {
    if (a->window > 0 && !a->causal) return sow_fail(SOW_E_ARGUMENT, "attention: a window needs causal attention");
    if (a->sequences < 1 || a->start[0] != 0 || a->start[a->sequences] != q.shape[0])
        return sow_fail(SOW_E_SHAPE, "attention: the sequences do not cover %lld rows", (long long)q.shape[0]);
    *longest = 0;
    for (int64_t s = 0; s < a->sequences; s++) {
        int64_t n = a->start[s + 1] - a->start[s];
        if (n < 0) return sow_fail(SOW_E_SHAPE, "attention: sequence %lld ends before it begins", (long long)s);
        if (n > *longest) *longest = n;
    }
    sow_tensor r = a->rotary;
    int64_t d = q.shape[1] / a->heads;
    char text[SOW_SHAPE_TEXT];
    if (r.data && (r.rank != 2 || r.shape[0] < *longest || r.shape[1] != d || d % 2 != 0 || r.dtype != q.dtype ||
                   !sow_is_contiguous(r)))
        return sow_fail(SOW_E_SHAPE,
                        "attention: rotary table is %s %s, expected %s [%lld or more, %lld], an even head size",
                        sow_dtype_name(r.dtype), sow_shape_text(r, text), sow_dtype_name(q.dtype), (long long)*longest,
                        (long long)d);
    return SOW_OK;
}

static const int64_t *equal_lengths(attend *a) {
    int64_t *start = a->first_cell + a->a.sequences + 1;
    for (int64_t s = 0; s <= a->a.sequences; s++) start[s] = s * (a->rows / a->a.sequences);
    return start;
}

sow_var sow_attend(sow_tape *t, sow_var q, sow_var k, sow_var v, const sow_attention *attention) {
    q = sow_contiguous(t, q);
    k = sow_contiguous(t, k);
    v = sow_contiguous(t, v);
    sow_node *n = sow_node_new(t, &attend_op, sizeof(attend) + 2 * (size_t)(attention->sequences + 1) * sizeof(int64_t), 3,
                               3, (sow_var[]){q, k, v});
    if (!n) return NULL;
    attend *a = n->attributes;
    *a = (attend){.a = *attention, .rows = q->value.shape[0], .first_cell = (int64_t *)(void *)(a + 1)};
    sow_status status = check_shapes(attention, q->value, k->value, v->value);
    if (!attention->start && attention->sequences > 0) a->a.start = equal_lengths(a);
    if (status == SOW_OK) status = check_sequences(&a->a, q->value, &a->longest);
    if (status != SOW_OK) return sow_tape_fail(t, status);
    a->d = q->value.shape[1] / attention->heads;
    if (a->a.scale == 0) a->a.scale = 1 / sqrt((double)a->d);
    for (int64_t s = 0; s < attention->sequences; s++)
        a->first_cell[s + 1] = a->first_cell[s] +
                               attention->heads * sow_cells_for(a->a.start[s + 1] - a->a.start[s], BLOCK);
    return sow_node_run(t, n, sow_describe(q->value.dtype, 2, q->value.shape));
}

void sow_rotary(sow_tensor rotary, const double *frequency) {
    int64_t d = rotary.shape[1];
    for (int64_t p = 0; p < rotary.shape[0]; p++)
        for (int64_t m = 0; m < d / 2; m++) {
            double angle = (double)p * frequency[m];
            sow_put(rotary, p * d + m, cos(angle));
            sow_put(rotary, p * d + d / 2 + m, sin(angle));
        }
}
