/* Dense operators: residual and adjoint in one read of the matrix, four rows at a time, streamed in blocks. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clones.h"
#include "linalg/operator.h"
#include "sow/threads.h"

enum { BLOCK_BYTES = 16 << 20, CELLS = 8, GROUP = 4, LANES = 4 };
static const int64_t wide_row = 512 << 10; /* bytes; wider rows: fewer cells, or a block would not fit a small bound */

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* ---- kernels, for rows of either type: sums in f64, two vectors of four lanes a row, added in order (wider vectors than
 * the machine's would be spilled) ---- */

typedef double lanes __attribute__((vector_size(LANES * sizeof(double)), aligned(8)));
typedef float half_lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

#define WIDEN_F64(p) (*(const lanes *)(p))
#define WIDEN_F32(p) __builtin_convertvector(*(const half_lanes *)(p), lanes)

/* out[r] = <row r, x> for four rows `stride` elements apart; e += sum_r z[r] row r. */
#define DEFINE_KERNELS(name, type, WIDEN)                                                                       \
    SOW_CLONES static void dot_##name(const type *a, int64_t stride, const double *restrict x, int64_t n,       \
                                      double out[GROUP]) {                                                      \
        const type *a1 = a + stride, *a2 = a1 + stride, *a3 = a2 + stride;                                      \
        lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, t0 = {0}, t1 = {0}, t2 = {0}, t3 = {0};                   \
        int64_t j = 0;                                                                                          \
        for (; j + 2 * LANES <= n; j += 2 * LANES) {                                                            \
            lanes v = *(const lanes *)(x + j), w = *(const lanes *)(x + j + LANES);                             \
            s0 += WIDEN(a + j) * v;                                                                             \
            t0 += WIDEN(a + j + LANES) * w;                                                                     \
            s1 += WIDEN(a1 + j) * v;                                                                            \
            t1 += WIDEN(a1 + j + LANES) * w;                                                                    \
            s2 += WIDEN(a2 + j) * v;                                                                            \
            t2 += WIDEN(a2 + j + LANES) * w;                                                                    \
            s3 += WIDEN(a3 + j) * v;                                                                            \
            t3 += WIDEN(a3 + j + LANES) * w;                                                                    \
        }                                                                                                       \
        s0 += t0;                                                                                               \
        s1 += t1;                                                                                               \
        s2 += t2;                                                                                               \
        s3 += t3;                                                                                               \
        double d0 = 0, d1 = 0, d2 = 0, d3 = 0;                                                                  \
        for (int l = 0; l < LANES; l++) d0 += s0[l], d1 += s1[l], d2 += s2[l], d3 += s3[l];                     \
        for (; j < n; j++)                                                                                      \
            d0 += (double)a[j] * x[j], d1 += (double)a1[j] * x[j], d2 += (double)a2[j] * x[j],                  \
                d3 += (double)a3[j] * x[j];                                                                     \
        out[0] = d0, out[1] = d1, out[2] = d2, out[3] = d3;                                                     \
    }                                                                                                           \
    SOW_CLONES static void add_##name(const type *restrict a, int64_t stride, const double z[GROUP], int64_t n, \
                                      double *restrict e) {                                                     \
        const type *restrict a1 = a + stride, *restrict a2 = a1 + stride, *restrict a3 = a2 + stride;           \
        double z0 = z[0], z1 = z[1], z2 = z[2], z3 = z[3];                                                      \
        for (int64_t j = 0; j < n; j++)                                                                         \
            e[j] += (z0 * (double)a[j] + z1 * (double)a1[j]) + (z2 * (double)a2[j] + z3 * (double)a3[j]);       \
    }                                                                                                           \
    static void group_##name(const sow_pass *pass, const double *x, int64_t row, int64_t count, int64_t n,      \
                             sow_weigh weigh, void *user, double *e) {                                          \
        double z[GROUP] = {0}, ax[GROUP] = {0};                                                                 \
        const type *a = (const type *)pass->op->a.data + row * n;                                               \
        int64_t stride = count == GROUP ? n : 0; /* the last rows of a cell: one by one */                      \
        if (weigh) {                                                                                            \
            if (x) dot_##name(a, stride, x, n, ax);                                                             \
            memcpy(pass->ax + row, ax, (size_t)count * sizeof *ax);                                             \
            weigh(user, row, count, ax, pass->z + row);                                                         \
        }                                                                                                       \
        memcpy(z, pass->z + row, (size_t)count * sizeof *z);                                                    \
        if (z[0] != 0 || z[1] != 0 || z[2] != 0 || z[3] != 0) add_##name(a, stride, z, n, e);                   \
    }
DEFINE_KERNELS(f64, double, WIDEN_F64)
DEFINE_KERNELS(f32, float, WIDEN_F32)

/* ---- blocks of rows, cells within a block ---- */

static int64_t row_bytes(const sow_operator *op) {
    return op->n1 * op->n2 * (int64_t)sow_dtype_size(op->a.dtype);
}

int64_t operator_dense_cells(const sow_operator *op) {
    return row_bytes(op) > wide_row ? 2 : CELLS;
}

/* A multiple of four, where rows are not too wide for that. */
static int64_t rows_of_cell(const sow_operator *op) {
    int64_t rows = BLOCK_BYTES / operator_dense_cells(op) / row_bytes(op);
    return rows >= GROUP ? rows / GROUP * GROUP : rows > 0 ? rows : 1;
}

int64_t operator_dense_block(const sow_operator *op) {
    return rows_of_cell(op) * operator_dense_cells(op) * row_bytes(op);
}

typedef struct block {
    sow_pass *pass;
    const double *x;
    int64_t first, rows, step, rows_of_cell,
        n; /* rows [first, first + rows), and again `step` further on, to the end */
    sow_weigh weigh;
    void *user;
} block;

/* Each cell owns the same rows of every block, so that one region over all blocks gives the bits of a region a block. */
static void read_cell(void *context, int64_t index) {
    const block *b = context;
    double *e = b->pass->partial + index * b->n;
    bool f64 = b->pass->op->a.dtype == SOW_F64;
    for (int64_t first = b->first; first < b->first + b->rows; first += b->step) {
        int64_t row = first + index * b->rows_of_cell, end = row + b->rows_of_cell, limit = b->first + b->rows;
        if (end > limit) end = limit;
        while (row < end) {
            int64_t count = end - row >= GROUP ? GROUP : 1;
            if (f64) group_f64(b->pass, b->x, row, count, b->n, b->weigh, b->user, e);
            else group_f32(b->pass, b->x, row, count, b->n, b->weigh, b->user, e);
            row += count;
        }
    }
}

/* Advice about the pages that hold rows [first, first + rows). */
static void advise(const sow_operator *op, int64_t first, int64_t rows, int advice) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)op->a.data, bytes = (uintptr_t)row_bytes(op);
    if (first >= op->m || rows <= 0) return;
    if (first + rows > op->m) rows = op->m - first;
    uintptr_t from = (begin + (uintptr_t)first * bytes) / page * page, to = begin + (uintptr_t)(first + rows) * bytes;
    madvise((void *)from, to - from, advice);
}

/* Partial sums in cell order, columns in cells of their own. */
static void add_partials(void *context, int64_t index) {
    sow_pass *pass = context;
    int64_t n = pass->op->n1 * pass->op->n2, cells = operator_dense_cells(pass->op), first = index * 4096,
            end = first + 4096 < n ? first + 4096 : n;
    for (int64_t j = first; j < end; j++) {
        double sum = pass->partial[j];
        for (int64_t c = 1; c < cells; c++) sum += pass->partial[c * n + j];
        pass->e[j] = sum;
    }
}

static void symmetrise(double *e, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) e[i * n + j] = e[j * n + i] = 0.5 * (e[i * n + j] + e[j * n + i]);
}

void operator_dense_pass(sow_pass *pass, bool with_x, sow_weigh weigh, void *user) {
    const sow_operator *op = pass->op;
    int64_t n = op->n1 * op->n2, of_cell = rows_of_cell(op), cells = operator_dense_cells(op), rows = of_cell * cells;
    bool bounded = op->memory > 0 && op->m * row_bytes(op) > op->memory;
    memset(pass->partial, 0, (size_t)(cells * n) * sizeof *pass->partial);
    block all = {pass, with_x ? pass->x : NULL, 0, op->m, rows, of_cell, n, weigh, user};
    if (!bounded) sow_cells(cells, read_cell, &all);
    else advise(op, 0, rows, MADV_WILLNEED);
    for (int64_t first = 0; bounded && first < op->m; first += rows) {
        block b = all;
        b.first = first;
        b.rows = op->m - first < rows ? op->m - first : rows;
        advise(op, first + rows, rows, MADV_WILLNEED); /* the disk reads on while this block is worked on */
        advise(op, first, rows, MADV_POPULATE_READ);
        sow_cells(cells, read_cell, &b);
        advise(op, first, rows, MADV_DONTNEED);
    }
    sow_cells(sow_cells_for(n, 4096), add_partials, pass);
    if (op->symmetric) symmetrise(pass->e, op->n1);
}
