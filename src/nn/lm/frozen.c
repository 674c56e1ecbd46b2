/* Matrices that stay in their file: where they lie, how their rows are ordered, when their pages are given back. */
#include "nn/lm/lm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sow/threads.h"

enum { CELL_VALUES = 1 << 16 };

static int64_t row_bytes(const lm_matrix *m) {
    int64_t values, bytes;
    sow_gguf_block(m->type, &values, &bytes);
    return m->width / values * bytes;
}

/* ---- rows as floats ---- */

static int64_t stored_row(const lm_matrix *m, int64_t row) {
    if (m->heads == 0) return row;
    int64_t d = m->rows / m->heads, r = row % d;
    return row - r + 2 * (r % (d / 2)) + r / (d / 2);
}

void lm_matrix_read(const lm_matrix *m, int64_t first, int64_t count, float *out) {
    int64_t bytes = row_bytes(m);
    for (int64_t r = 0; r < count; r++)
        sow_gguf_dequantise(m->type, m->data + stored_row(m, first + r) * bytes, m->width, out + r * m->width);
}

typedef struct reading {
    const lm_matrix *m;
    float *out;
    int64_t cell_rows;
} reading;

static void read_cell(void *context, int64_t cell) {
    const reading *j = context;
    int64_t first = cell * j->cell_rows, left = j->m->rows - first;
    lm_matrix_read(j->m, first, left < j->cell_rows ? left : j->cell_rows, j->out + first * j->m->width);
}

void lm_matrix_read_all(const lm_matrix *m, float *out) {
    reading j = {m, out, sow_cells_for(CELL_VALUES, m->width)};
    sow_cells(sow_cells_for(m->rows, j.cell_rows), read_cell, &j);
}

/* ---- the collection ---- */

sow_status lm_frozen_new(int64_t room, sow_gguf *gguf, sow_safetensors *tensors, struct lm_frozen **out) {
    sow_arena *arena;
    struct lm_frozen *f;
    sow_status status = SOW_OWN(arena, f);
    if (status == SOW_OK && (status = SOW_NEW(arena, f->matrices, room)) != SOW_OK) sow_arena_free(arena);
    if (status != SOW_OK) {
        sow_gguf_close(gguf);
        sow_safetensors_close(tensors);
        return status;
    }
    f->arena = arena;
    f->room = room;
    f->gguf = gguf;
    f->tensors = tensors;
    *out = f;
    return SOW_OK;
}

sow_status lm_frozen_add(struct lm_frozen *f, const lm_matrix *m) {
    lm_matrix *to = &f->matrices[f->count];
    *to = *m;
    to->name = sow_arena_copy(f->arena, m->name);
    to->layer = lm_layer_of(m->name);
    f->count++;
    return to->name ? SOW_OK : SOW_E_MEMORY;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const lm_matrix *)a)->name, ((const lm_matrix *)b)->name);
}

void lm_frozen_finish(struct lm_frozen *f) {
    double bytes = 0, memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    for (int64_t i = 0; i < f->count; i++) bytes += (double)row_bytes(&f->matrices[i]) * (double)f->matrices[i].rows;
    f->release = bytes > memory / 2;
    qsort(f->matrices, (size_t)f->count, sizeof *f->matrices, by_name);
}

void lm_frozen_free(struct lm_frozen *f) {
    if (!f) return;
    sow_gguf_close(f->gguf);
    sow_safetensors_close(f->tensors);
    sow_arena_free(f->arena);
}

const lm_matrix *lm_frozen_find(const struct lm_frozen *f, const char *name) {
    const lm_matrix wanted = {.name = name};
    return f && name ? bsearch(&wanted, f->matrices, (size_t)f->count, sizeof wanted, by_name) : NULL;
}

/* Only whole pages of its own: neighbours lie on the others. */
static void give_back(const lm_matrix *m) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = ((uintptr_t)m->data + page - 1) / page * page;
    uintptr_t last = ((uintptr_t)m->data + (uintptr_t)(row_bytes(m) * m->rows)) / page * page;
    if (last > first) madvise((void *)first, last - first, MADV_DONTNEED);
}

void lm_frozen_pass(const struct lm_frozen *f, int64_t layer) {
    if (!f || !f->release) return;
    for (int64_t i = 0; i < f->count; i++)
        if (f->matrices[i].layer == layer) give_back(&f->matrices[i]);
}
