/* Cholesky factors whose leading rows are kept while rows behind them come and go. */
#include <cblas.h>
#include <lapacke.h>
#include <string.h>

#include "linalg/lapack.h"
#include "sow/tensor.h"
#include "sow/threads.h"
#include "starts/groups/mycorrhiza/network.h"

/* Up to SMALL rows, waiting for other threads would cost more than they give. */
enum { BLOCK = 96, ROWS_A_CELL = 128, SMALL = 640 };

sow_status network_factor_reserve(network_factor *factor, int64_t kept, int64_t size, int64_t most) {
    if (size <= factor->stride) return SOW_OK;
    int64_t stride = size + size / 2, count;
    stride = (stride < most ? stride : size > most ? size : most) + 7;
    stride = stride / 8 * 8 +
             (stride / 8 * 8 % 64 == 0 ? 8 : 0); /* rows a power of two apart would share cache lines */
    SOW_TRY(sow_multiply(stride, stride, &count));
    double *values = sow_reallocate(NULL, (size_t)count * sizeof *values);
    if (!values) return SOW_E_MEMORY;
    for (int64_t i = 0; i < kept; i++)
        memcpy(values + i * stride, factor->values + i * factor->stride, (size_t)(i + 1) * sizeof *values);
    sow_release(factor->values);
    *factor = (network_factor){values, stride};
    return SOW_OK;
}

typedef struct panel {
    double *values;
    int64_t stride, column, width, first, end; /* rows [first, end) of columns [column, column + width) */
} panel;

/* Rows of the panel times the inverse of its diagonal block's transpose. */
static void divide_cell(void *context, int64_t cell) {
    const panel *p = context;
    int64_t row = p->first + cell * ROWS_A_CELL, rows = p->end - row < ROWS_A_CELL ? p->end - row : ROWS_A_CELL;
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)rows, (int)p->width, 1,
                p->values + p->column * p->stride + p->column, (int)p->stride, p->values + row * p->stride + p->column,
                (int)p->stride);
}

static sow_status factorise_diagonal(double *block, int64_t width, int64_t stride) {
    int info = LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', (int)width, block, (int)stride); /* row-major lower */
    if (info > 0) return sow_fail(SOW_E_NUMBER, "splits: the Gram matrix is singular to working precision");
    return linalg_status("dpotrf", info);
}

static sow_status factorise_small(double *l, int64_t stride, int64_t from, int64_t size) {
    double *rows = l + from * stride;
    int count = (int)(size - from);
    if (count == 0) return SOW_OK;
    if (from > 0) {
        cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, count, (int)from, 1, l,
                    (int)stride, rows, (int)stride);
        cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, count, (int)from, -1, rows, (int)stride, 1, rows + from,
                    (int)stride);
    }
    return factorise_diagonal(rows + from, count, stride);
}

sow_status network_factorise(network_factor *factor, int64_t from, int64_t size) {
    double *l = factor->values;
    int64_t stride = factor->stride;
    linalg_one_thread();
    if (size <= SMALL) return factorise_small(l, stride, from, size);
    for (int64_t j = 0; j < size;) {
        int64_t end = j < from && j + BLOCK > from ? from : j + BLOCK < size ? j + BLOCK : size, width = end - j;
        int64_t first = j < from ? from : j;
        sow_gemm_f64(false, true, size - first, width, j, -1, l + first * stride, stride, l + j * stride, stride, 1,
                     l + first * stride + j, stride);
        if (j >= from) {
            SOW_TRY(factorise_diagonal(l + j * stride + j, width, stride));
            first = end;
        }
        panel p = {l, stride, j, width, first, size};
        if (first < size) sow_cells(sow_cells_for(size - first, ROWS_A_CELL), divide_cell, &p);
        j = end;
    }
    return SOW_OK;
}

void network_factor_solve(const network_factor *factor, int64_t size, double *b) {
    linalg_one_thread();
    cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, (int)size, factor->values, (int)factor->stride,
                b, 1);
    cblas_dtrsv(CblasRowMajor, CblasLower, CblasTrans, CblasNonUnit, (int)size, factor->values, (int)factor->stride, b,
                1);
}
