/* Matrix products with the same bits for any number of threads: a grid of cells fixed by the shapes, one thread
 * a cell (ENGINE: sgemm NT and thin shapes change bits with threads when cut by the library). */
#include <cblas.h>
#include <dnnl.h>
#include <string.h>

#include "sow/tensor.h"
#include "sow/threads.h"

typedef struct product {
    bool ta, tb;
    int64_t m, n, k, lda, ldb, ldc;
    int64_t rows, columns, row_cells; /* of a cell; cells along m */
    float alpha, beta;
    const float *a, *b;
    float *c;
} product;

static void multiply_cell(void *context, int64_t index) {
    const product *p = context;
    int64_t row = index % p->row_cells * p->rows, column = index / p->row_cells * p->columns;
    int64_t m = p->m - row < p->rows ? p->m - row : p->rows, n = p->n - column < p->columns ? p->n - column : p->columns;
    dnnl_sgemm(p->ta ? 'T' : 'N', p->tb ? 'T' : 'N', m, n, p->k, p->alpha, p->a + (p->ta ? row : row * p->lda), p->lda,
               p->b + (p->tb ? column * p->ldb : column), p->ldb, p->beta, p->c + row * p->ldc + column, p->ldc);
}

/* An even cut of `extent` into cells of about `want`, as a multiple of 16. */
static int64_t cut(int64_t extent, int64_t want) {
    int64_t cells = (extent + want - 1) / want;
    int64_t size = (extent + cells - 1) / cells;
    return (size + 15) / 16 * 16;
}

void sow_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
              const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    if (m <= 0 || n <= 0) return;
    product p = {.ta = transpose_a, .tb = transpose_b, .m = m, .n = n, .k = k, .lda = lda, .ldb = ldb, .ldc = ldc,
                 .rows = m, .columns = n, .alpha = alpha, .beta = beta, .a = a, .b = b, .c = c};
    /* Under half a MFLOP, and for vectors, whose path in the library depends on the shape: one cell. */
    if (2 * m * n * k >= 500000 && m > 1 && n > 1) {
        if (m >= 512 && n < m / 2) p.rows = cut(m, 512); /* tall: whole rows of B stay shared; under 512 rows B's packing shows */
        else if (m >= 512) p.columns = cut(n, 384);
        else if (n >= 2 * m) p.columns = cut(n, n >= 1024 ? 256 : n / 2);
        else if (m >= 64) p.rows = cut(m, m / 2);
    }
    p.row_cells = sow_cells_for(m, p.rows);
    sow_cells(p.row_cells * sow_cells_for(n, p.columns), multiply_cell, &p);
}

typedef struct product_f64 {
    bool ta, tb;
    int64_t m, n, k, lda, ldb, ldc, rows;
    double alpha, beta;
    const double *a, *b;
    double *c;
} product_f64;

static void multiply_cell_f64(void *context, int64_t index) {
    const product_f64 *p = context;
    int64_t row = index * p->rows, m = p->m - row < p->rows ? p->m - row : p->rows;
    cblas_dgemm(CblasRowMajor, p->ta ? CblasTrans : CblasNoTrans, p->tb ? CblasTrans : CblasNoTrans, (int)m, (int)p->n, (int)p->k,
                p->alpha, p->a + (p->ta ? row : row * p->lda), (int)p->lda, p->b, (int)p->ldb, p->beta, p->c + row * p->ldc, (int)p->ldc);
}

void sow_gemm_f64(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                  const double *b, int64_t ldb, double beta, double *c, int64_t ldc) {
    if (m <= 0 || n <= 0) return;
    product_f64 p = {.ta = transpose_a, .tb = transpose_b, .m = m, .n = n, .k = k, .lda = lda, .ldb = ldb, .ldc = ldc,
                     .rows = m >= 128 ? cut(m, 64) : m, .alpha = alpha, .beta = beta, .a = a, .b = b, .c = c};
    sow_cells(sow_cells_for(m, p.rows), multiply_cell_f64, &p);
}

/* ---- any layouts ---- */

bool sow_is_row_major(sow_tensor m) {
    return (m.stride[1] == 1 || m.shape[1] == 1) && (m.shape[0] == 1 || m.stride[0] >= m.shape[1]);
}

/* Distance of the rows of an operand that lies by rows, or by columns where `turned`. */
static int64_t leading(sow_tensor m, bool turned) {
    if (turned) return m.shape[1] == 1 ? m.shape[0] : m.stride[1];
    return m.shape[0] == 1 ? m.shape[1] : m.stride[0];
}

void sow_product(double alpha, sow_tensor a, sow_tensor b, double beta, sow_tensor c) {
    if (!sow_is_row_major(c)) {
        sow_product(alpha, sow_transpose(b), sow_transpose(a), beta, sow_transpose(c));
        return;
    }
    int64_t m = c.shape[0], n = c.shape[1], k = a.shape[1];
    bool ta = !sow_is_row_major(a), tb = !sow_is_row_major(b);
    int64_t lda = leading(a, ta), ldb = leading(b, tb), ldc = leading(c, false);
    if (c.dtype == SOW_F32) sow_gemm(ta, tb, m, n, k, (float)alpha, a.data, lda, b.data, ldb, (float)beta, c.data, ldc);
    else sow_gemm_f64(ta, tb, m, n, k, alpha, a.data, lda, b.data, ldb, beta, c.data, ldc);
}
