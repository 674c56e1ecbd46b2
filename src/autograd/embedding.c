/* Rows of a table by number, and the table's gradient. */
#include <string.h>

#include "autograd/op.h"

typedef struct embedding {
    int64_t rows, vocabulary, d;
    int32_t padding;
    int32_t ids[]; /* copied: the caller's may change before backward */
} embedding;

typedef struct embedding_job {
    const embedding *e;
    sow_tensor table, rows; /* the table or its gradient; the rows taken or their gradient */
} embedding_job;

enum { GATHER_ROWS = 64, SCATTER_COLUMNS = 64 };

static void gather(void *context, int64_t cell) {
    const embedding_job *j = context;
    sow_range r = sow_range_of(cell, GATHER_ROWS, j->e->rows);
    const int32_t *ids = j->e->ids;
    size_t row = (size_t)j->e->d * sow_dtype_size(j->rows.dtype);
    for (int64_t i = r.first; i < r.first + r.count; i++)
        memcpy((char *)j->rows.data + (size_t)i * row, (const char *)j->table.data + (size_t)ids[i] * row, row);
}

/* A cell owns columns and adds the rows in order: no two cells meet, and the order is always the same. */
SOW_CLONES static void scatter(void *context, int64_t cell) {
    const embedding_job *j = context;
    int64_t d = j->e->d;
    sow_range c = sow_range_of(cell, SCATTER_COLUMNS, d);
    const int32_t *ids = j->e->ids;
    for (int64_t i = 0; i < j->e->rows; i++) {
        if (ids[i] == j->e->padding) continue;
        if (j->rows.dtype == SOW_F32) {
            float *restrict to = (float *)j->table.data + ids[i] * d + c.first;
            const float *restrict from = (const float *)j->rows.data + i * d + c.first;
            for (int64_t k = 0; k < c.count; k++) to[k] += from[k];
        } else {
            double *to = (double *)j->table.data + ids[i] * d + c.first;
            const double *from = (const double *)j->rows.data + i * d + c.first;
            for (int64_t k = 0; k < c.count; k++) to[k] += from[k];
        }
    }
}

static sow_status embedding_forward(sow_tape *t, sow_node *n) {
    (void)t;
    const embedding *e = n->attributes;
    const int32_t *ids = e->ids;
    for (int64_t i = 0; i < e->rows; i++)
        if (ids[i] < 0 || ids[i] >= e->vocabulary)
            return sow_fail(SOW_E_RANGE, "embedding: id %d in row %lld, expected 0 to %lld", ids[i], (long long)i,
                            (long long)e->vocabulary - 1);
    embedding_job job = {e, n->input[0]->value, n->value};
    sow_cells(sow_cells_for(e->rows, GATHER_ROWS), gather, &job);
    return SOW_OK;
}

static sow_status embedding_backward(sow_tape *t, sow_node *n) {
    const embedding *e = n->attributes;
    embedding_job job = {.e = e, .rows = n->grad};
    if (sow_grad_into(t, n->input[0], &job.table) == 0 && job.table.data)
        memset(job.table.data, 0, sow_bytes(job.table));
    if (!job.table.data) return SOW_E_MEMORY;
    sow_cells(sow_cells_for(e->d, SCATTER_COLUMNS), scatter, &job);
    return SOW_OK;
}

static const sow_op embedding_op = {"embedding", embedding_forward, embedding_backward, sow_reads_nothing, true};

sow_var sow_embedding(sow_tape *t, sow_var table, sow_tensor ids, int32_t padding) {
    table = sow_contiguous(t, table);
    size_t room = ids.rank == 1 && ids.dtype == SOW_I32 ? (size_t)ids.shape[0] * sizeof(int32_t) : 0;
    sow_node *n = sow_node_new(t, &embedding_op, sizeof(embedding) + room, 1, 1, &table);
    if (!n) return NULL;
    sow_tensor w = table->value;
    char a[SOW_SHAPE_TEXT], b[SOW_SHAPE_TEXT];
    if (w.rank != 2 || ids.rank != 1 || ids.dtype != SOW_I32 || !sow_is_contiguous(ids) ||
        (w.dtype != SOW_F32 && w.dtype != SOW_F64))
        return sow_tape_fail(
            t,
            sow_fail(SOW_E_SHAPE,
                     "embedding: table is %s %s, ids are %s %s; expected F32 or F64 [vocabulary, d] and I32 [n]",
                     sow_dtype_name(w.dtype), sow_shape_text(w, a), sow_dtype_name(ids.dtype), sow_shape_text(ids, b)));
    embedding *e = n->attributes;
    *e = (embedding){.rows = ids.shape[0], .vocabulary = w.shape[0], .d = w.shape[1], .padding = padding};
    if (!sow_tape_is_dry(t)) memcpy(e->ids, ids.data, room);
    return sow_node_run(t, n, sow_describe(w.dtype, 2, (int64_t[]){ids.shape[0], w.shape[1]}));
}
