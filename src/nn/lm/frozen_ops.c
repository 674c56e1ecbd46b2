/* Products and rows of matrices that stay in their file, on the tape. */
#include <string.h>

#include "autograd/op.h"
#include "nn/lm/frozen.h"

/* Up to FEW rows of x read the quantised rows; a panel is what a cell makes into floats at once. */
enum { FEW = 4, CELL_VALUES = 1 << 14, PANEL_ROWS = 256, BACKWARD_ROWS = 1024 };

/* Matrices that multiply the same x; the first is a node's own. */
typedef struct product {
    const lm_matrix *w[LM_TOGETHER];
    int count;
    int64_t n;          /* rows of x */
    const float *ready; /* the result, where it came with another node's */
} product;

typedef struct product_job {
    const lm_matrix *const *w;
    const float *x, *b;
    float *y[LM_TOGETHER], *panels;
    int count;
    int64_t n, rows, cell_rows; /* rows: of all matrices */
    sow_gguf_vector ready[FEW];
} product_job;

static void add_bias(const product_job *j, int64_t first, int64_t count) {
    for (int64_t i = 0; j->b && i < j->n; i++)
        for (int64_t r = first; r < first + count; r++) j->y[0][i * j->w[0]->rows + r] += j->b[r];
}

/* ---- few rows: as they lie in the file ---- */

/* Rows that lie evenly in the file: all of them, or one half of a head, every second row. */
static void few_rows(const product_job *j, const lm_matrix *w, float *y, int64_t first, int64_t count) {
    int64_t values, bytes, d = w->heads > 0 ? w->rows / w->heads : 0;
    sow_gguf_block(w->type, &values, &bytes);
    bytes *= w->width / values;
    for (int64_t r = first, n; r < first + count; r += n) {
        int64_t at = r, stride = bytes;
        n = first + count - r;
        if (d > 0) {
            int64_t within = r % d, half = within / (d / 2), m = within % (d / 2);
            if (n > d / 2 - m) n = d / 2 - m;
            at = r - within + 2 * m + half;
            stride = 2 * bytes;
        }
        for (int64_t i = 0; i < j->n; i++)
            sow_gguf_products(w->type, w->data + at * bytes, stride, n, w->width, &j->ready[i], y + i * w->rows + r);
    }
}

/* A range of the rows of all matrices, one behind the other. */
static void few_cell(void *context, int64_t cell) {
    const product_job *j = context;
    sow_range r = sow_range_of(cell, j->cell_rows, j->rows);
    for (int i = 0; i < j->count && r.count > 0; i++) {
        int64_t left = j->w[i]->rows - r.first, n = left < r.count ? left : r.count;
        if (n > 0) {
            few_rows(j, j->w[i], j->y[i], r.first, n);
            r.first += n;
            r.count -= n;
        }
        r.first -= j->w[i]->rows;
    }
}

/* An even number of cells, so that two threads have the same to do. */
static sow_status multiply_few(sow_tape *t, product_job *j) {
    int64_t width = j->w[0]->width, room = width + width / 16;
    float *ready = sow_scratch(t, (size_t)(j->n * room) * sizeof *ready);
    if (!ready) return SOW_E_MEMORY;
    for (int64_t i = 0; i < j->n; i++) sow_gguf_prepare(j->x + i * width, width, ready + i * room, &j->ready[i]);
    for (int i = 0; i < j->count; i++) j->rows += j->w[i]->rows;
    int64_t cells = j->rows * width / CELL_VALUES;
    cells = cells < 2 ? 1 : (cells + 1) / 2 * 2;
    j->cell_rows = sow_cells_for(j->rows, cells);
    sow_cells(cells, few_cell, j);
    add_bias(j, 0, j->w[0]->rows);
    return SOW_OK;
}

/* ---- many rows: panels of floats ---- */

static void panel_cell(void *context, int64_t cell) {
    const product_job *j = context;
    const lm_matrix *w = j->w[0];
    sow_range r = sow_range_of(cell, j->cell_rows, w->rows);
    float *panel = j->panels + (int64_t)sow_worker() * j->cell_rows * w->width;
    lm_matrix_read(w, r.first, r.count, panel);
    sow_gemm(false, true, j->n, r.count, w->width, 1, j->x, w->width, panel, w->width, 0, j->y[0] + r.first, w->rows);
    add_bias(j, r.first, r.count);
}

static sow_status multiply_many(sow_tape *t, product_job *j) {
    const lm_matrix *w = j->w[0];
    int64_t cells = sow_cells_for(w->rows, PANEL_ROWS);
    if (cells == 1 && w->rows >= 64) cells = 2;
    j->cell_rows = (sow_cells_for(w->rows, cells) + 15) / 16 * 16;
    j->panels = sow_scratch(t, (size_t)(sow_threads() * j->cell_rows * w->width) * sizeof *j->panels);
    if (!j->panels) return SOW_E_MEMORY;
    sow_cells(sow_cells_for(w->rows, j->cell_rows), panel_cell, j);
    return SOW_OK;
}

/* Where the results of the other matrices of a node lie, one behind the other. */
static float *others_of(sow_tape *t, sow_node *n) {
    const product *p = n->attributes;
    int64_t rows = 0;
    for (int i = 1; i < p->count; i++) rows += p->w[i]->rows;
    return sow_node_keep(t, n, 0, (size_t)(p->n * rows) * sizeof(float));
}

static sow_status product_forward(sow_tape *t, sow_node *n) {
    const product *p = n->attributes;
    product_job j = {.w = p->w, .x = n->input[0]->value.data, .y = {n->value.data}, .count = p->count, .n = p->n};
    if (n->input[1]) j.b = n->input[1]->value.data;
    if (p->ready) {
        memcpy(j.y[0], p->ready, sow_bytes(n->value));
        add_bias(&j, 0, p->w[0]->rows);
        return SOW_OK;
    }
    if (p->n > FEW) return multiply_many(t, &j);
    float *others = p->count > 1 ? others_of(t, n) : NULL;
    if (p->count > 1 && !others) return SOW_E_MEMORY;
    for (int i = 1; i < p->count; others += p->n * p->w[i++]->rows) j.y[i] = others;
    return multiply_few(t, &j);
}

/* ---- backward: dx = dy W, panel after panel ---- */

static sow_status backward_to_x(sow_tape *t, sow_node *n) {
    const product *p = n->attributes;
    const lm_matrix *w = p->w[0];
    sow_tensor g;
    float beta = sow_grad_into(t, n->input[0], &g);
    float *panel = sow_scratch(t, (size_t)(BACKWARD_ROWS * w->width) * sizeof *panel);
    if (!g.data || !panel) return SOW_E_MEMORY;
    for (int64_t first = 0; first < w->rows; first += BACKWARD_ROWS, beta = 1) {
        int64_t count = w->rows - first < BACKWARD_ROWS ? w->rows - first : BACKWARD_ROWS;
        lm_matrix_read(w, first, count, panel);
        sow_gemm(false, false, p->n, w->width, count, 1, (const float *)n->grad.data + first, w->rows, panel, w->width,
                 beta, g.data, w->width);
    }
    return SOW_OK;
}

static sow_status product_backward(sow_tape *t, sow_node *n) {
    const product *p = n->attributes;
    sow_tensor g;
    if (sow_wants_grad(n->input[1])) {
        bool add = sow_grad_into(t, n->input[1], &g) != 0;
        if (!g.data) return SOW_E_MEMORY;
        float *to = g.data;
        const float *from = n->grad.data;
        if (!add) memset(to, 0, sow_bytes(g));
        for (int64_t i = 0; i < p->n; i++)
            for (int64_t r = 0; r < p->w[0]->rows; r++) to[r] += from[i * p->w[0]->rows + r];
    }
    return sow_wants_grad(n->input[0]) ? backward_to_x(t, n) : SOW_OK;
}

static const sow_op product_op = {"frozen product", product_forward, product_backward, sow_reads_nothing, false};

/* The product of the first of `count` matrices, computed with the others or, ready, before. */
static sow_var product_of(sow_tape *t, const lm_matrix *const *w, int count, sow_var x, sow_var b, const float *ready) {
    sow_node *n = SOW_NODE(t, &product_op, product, 1, x, b);
    if (!n) return NULL;
    sow_tensor v = x->value;
    char text[SOW_SHAPE_TEXT];
    if (v.dtype != SOW_F32 || v.rank != 2 || v.shape[1] != w[0]->width || (b && b->value.shape[0] != w[0]->rows))
        return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "%s: input is %s %s, expected F32 [n, %lld]", w[0]->name,
                                         sow_dtype_name(v.dtype), sow_shape_text(v, text), (long long)w[0]->width));
    product *p = n->attributes;
    *p = (product){.count = count, .n = v.shape[0], .ready = ready};
    memcpy(p->w, w, (size_t)count * sizeof *w);
    sow_var y = sow_node_run(t, n, sow_describe(SOW_F32, 2, (int64_t[]){v.shape[0], w[0]->rows}));
    p->ready = NULL; /* computed again, it is computed alone */
    p->count = 1;
    return y;
}

sow_var lm_product(sow_tape *t, const lm_matrix *w, sow_var x, sow_var b) {
    return product_of(t, &w, 1, sow_contiguous(t, x), b, NULL);
}

void lm_products(sow_tape *t, const lm_matrix *const *w, int count, sow_var x, const sow_var *b, sow_var *y) {
    x = sow_contiguous(t, x);
    bool together = x && x->value.data && x->value.rank == 2 && x->value.shape[0] <= FEW && count <= LM_TOGETHER;
    const float *ready = NULL;
    for (int i = 0; i < count; i++) {
        y[i] = product_of(t, w + i, i == 0 && together ? count : 1, x, b[i], ready);
        if (!together || !y[i]) continue;
        ready = i == 0 ? y[0]->keep[0] : ready + x->value.shape[0] * w[i]->rows;
    }
}

/* ---- rows by number ---- */

typedef struct rows {
    const lm_matrix *m;
    int64_t count;
    int32_t ids[];
} rows;

static sow_status rows_forward(sow_tape *t, sow_node *n) {
    (void)t;
    const rows *a = n->attributes;
    const int32_t *ids = a->ids;
    for (int64_t i = 0; i < a->count; i++) {
        if (ids[i] < 0 || ids[i] >= a->m->rows)
            return sow_fail(SOW_E_RANGE, "embedding: id %d in row %lld, expected 0 to %lld", ids[i], (long long)i,
                            (long long)a->m->rows - 1);
        lm_matrix_read(a->m, ids[i], 1, (float *)n->value.data + i * a->m->width);
    }
    return SOW_OK;
}

static const sow_op rows_op = {"frozen rows", rows_forward, NULL, sow_reads_nothing, false};

sow_var lm_matrix_rows(sow_tape *t, const lm_matrix *m, const int32_t *ids, int64_t count) {
    size_t room = (size_t)count * sizeof *ids;
    sow_node *n = sow_node_new(t, &rows_op, sizeof(rows) + room, 0, 0, NULL);
    if (!n) return NULL;
    rows *a = n->attributes;
    a->m = m;
    a->count = count;
    if (!sow_tape_is_dry(t)) memcpy(a->ids, ids, room);
    return sow_node_run(t, n, sow_describe(SOW_F32, 2, (int64_t[]){count, m->width}));
}
