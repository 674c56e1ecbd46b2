/* Products and rows of matrices that stay in their file, on the tape. */
#include <string.h>

#include "autograd/op.h"
#include "nn/lm/frozen.h"

/* Up to FEW rows of x read the quantised rows; a panel is what a cell makes into floats at once. */
enum { FEW = 4, CELL_VALUES = 1 << 14, PANEL_ROWS = 256, BACKWARD_ROWS = 1024 };

typedef struct product {
    const lm_matrix *w;
    int64_t n; /* rows of x */
} product;

typedef struct product_job {
    const lm_matrix *w;
    const float *x, *b;
    float *y, *panels;
    int64_t n, cell_rows;
    sow_gguf_vector ready[FEW];
} product_job;

static void add_bias(const product_job *j, int64_t first, int64_t count) {
    for (int64_t i = 0; j->b && i < j->n; i++)
        for (int64_t r = first; r < first + count; r++) j->y[i * j->w->rows + r] += j->b[r];
}

/* ---- few rows: as they lie in the file ---- */

/* Rows that lie evenly in the file: all of them, or one half of a head, every second row. */
static void few_rows(const product_job *j, int64_t first, int64_t count) {
    const lm_matrix *w = j->w;
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
            sow_gguf_products(w->type, w->data + at * bytes, stride, n, w->width, &j->ready[i], j->y + i * w->rows + r);
    }
}

static void few_cell(void *context, int64_t cell) {
    const product_job *j = context;
    sow_range r = sow_range_of(cell, j->cell_rows, j->w->rows);
    if (r.count <= 0) return;
    few_rows(j, r.first, r.count);
    add_bias(j, r.first, r.count);
}

/* An even number of cells, so that two threads have the same to do. */
static sow_status multiply_few(sow_tape *t, product_job *j) {
    int64_t room = j->w->width + j->w->width / 16, cells = j->w->rows * j->w->width / CELL_VALUES;
    float *ready = sow_scratch(t, (size_t)(j->n * room) * sizeof *ready);
    if (!ready) return SOW_E_MEMORY;
    for (int64_t i = 0; i < j->n; i++)
        sow_gguf_prepare(j->x + i * j->w->width, j->w->width, ready + i * room, &j->ready[i]);
    cells = cells < 2 ? 1 : (cells + 1) / 2 * 2;
    j->cell_rows = sow_cells_for(j->w->rows, cells);
    sow_cells(cells, few_cell, j);
    return SOW_OK;
}

/* ---- many rows: panels of floats ---- */

static void panel_cell(void *context, int64_t cell) {
    const product_job *j = context;
    const lm_matrix *w = j->w;
    sow_range r = sow_range_of(cell, j->cell_rows, w->rows);
    float *panel = j->panels + (int64_t)sow_worker() * j->cell_rows * w->width;
    lm_matrix_read(w, r.first, r.count, panel);
    sow_gemm(false, true, j->n, r.count, w->width, 1, j->x, w->width, panel, w->width, 0, j->y + r.first, w->rows);
    add_bias(j, r.first, r.count);
}

static sow_status multiply_many(sow_tape *t, product_job *j) {
    int64_t cells = sow_cells_for(j->w->rows, PANEL_ROWS);
    if (cells == 1 && j->w->rows >= 64) cells = 2;
    j->cell_rows = (sow_cells_for(j->w->rows, cells) + 15) / 16 * 16;
    j->panels = sow_scratch(t, (size_t)(sow_threads() * j->cell_rows * j->w->width) * sizeof *j->panels);
    if (!j->panels) return SOW_E_MEMORY;
    sow_cells(sow_cells_for(j->w->rows, j->cell_rows), panel_cell, j);
    return SOW_OK;
}

static sow_status product_forward(sow_tape *t, sow_node *n) {
    const product *p = n->attributes;
    product_job j = {.w = p->w, .x = n->input[0]->value.data, .y = n->value.data, .n = p->n};
    if (n->input[1]) j.b = n->input[1]->value.data;
    return p->n <= FEW ? multiply_few(t, &j) : multiply_many(t, &j);
}

/* ---- backward: dx = dy W, panel after panel ---- */

static sow_status backward_to_x(sow_tape *t, sow_node *n) {
    const product *p = n->attributes;
    const lm_matrix *w = p->w;
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
            for (int64_t r = 0; r < p->w->rows; r++) to[r] += from[i * p->w->rows + r];
    }
    return sow_wants_grad(n->input[0]) ? backward_to_x(t, n) : SOW_OK;
}

static const sow_op product_op = {"frozen product", product_forward, product_backward, sow_reads_nothing, false};

sow_var lm_product(sow_tape *t, const lm_matrix *w, sow_var x, sow_var b) {
    x = sow_contiguous(t, x);
    sow_node *n = SOW_NODE(t, &product_op, product, 1, x, b);
    if (!n) return NULL;
    sow_tensor v = x->value;
    char text[SOW_SHAPE_TEXT];
    if (v.dtype != SOW_F32 || v.rank != 2 || v.shape[1] != w->width || (b && b->value.shape[0] != w->rows))
        return sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "%s: input is %s %s, expected F32 [n, %lld]", w->name,
                                         sow_dtype_name(v.dtype), sow_shape_text(v, text), (long long)w->width));
    *(product *)n->attributes = (product){w, v.shape[0]};
    return sow_node_run(t, n, sow_describe(SOW_F32, 2, (int64_t[]){v.shape[0], w->rows}));
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
