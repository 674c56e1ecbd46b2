/* QR decomposition, unique by the sign of R's diagonal. */
#include <lapacke.h>
#include <math.h>
#include <string.h>

#include "linalg/lapack.h"
#include "sow/linalg.h"

static sow_status check(sow_tensor a, sow_tensor q, sow_tensor r) {
    char text[SOW_SHAPE_TEXT], other[SOW_SHAPE_TEXT];
    if (a.rank != 2 || a.shape[0] < a.shape[1])
        return sow_fail(SOW_E_SHAPE, "qr: the matrix is %s, expected [m, n] with m >= n", sow_shape_text(a, text));
    if (!sow_same_shape(a, q))
        return sow_fail(SOW_E_SHAPE, "qr: Q is %s, expected %s as the matrix", sow_shape_text(q, text),
                        sow_shape_text(a, other));
    if (q.dtype != SOW_F32 && q.dtype != SOW_F64)
        return sow_fail(SOW_E_TYPE, "qr: Q is %s, expected F32 or F64", sow_dtype_name(q.dtype));
    if (r.data && (r.rank != 2 || r.shape[0] != a.shape[1] || r.shape[1] != a.shape[1]))
        return sow_fail(SOW_E_SHAPE, "qr: R is %s, expected [%lld, %lld]", sow_shape_text(r, text),
                        (long long)a.shape[1], (long long)a.shape[1]);
    SOW_TRY(linalg_check_extents("qr", a));
    return sow_require_finite(a, "qr's matrix");
}

/* ---- LAPACK on columns: a is [m, n] with columns m apart ---- */

/* Number of elements that geqrf and orgqr want as work space. */
static int64_t work_size(lapack_int m, lapack_int n, bool f64) {
    double d[2] = {0};
    float s[2] = {0}, unused_s = 0;
    double unused_d = 0;
    if (f64) {
        LAPACKE_dgeqrf_work(LAPACK_COL_MAJOR, m, n, &unused_d, m, &unused_d, &d[0], -1);
        LAPACKE_dorgqr_work(LAPACK_COL_MAJOR, m, n, n, &unused_d, m, &unused_d, &d[1], -1);
        return (int64_t)fmax(d[0], d[1]);
    }
    LAPACKE_sgeqrf_work(LAPACK_COL_MAJOR, m, n, &unused_s, m, &unused_s, &s[0], -1);
    LAPACKE_sorgqr_work(LAPACK_COL_MAJOR, m, n, n, &unused_s, m, &unused_s, &s[1], -1);
    return (int64_t)fmaxf(s[0], s[1]);
}

static sow_status factorise(lapack_int m, lapack_int n, void *a, void *tau, void *work, lapack_int size, bool f64) {
    if (f64) return linalg_status("dgeqrf", LAPACKE_dgeqrf_work(LAPACK_COL_MAJOR, m, n, a, m, tau, work, size));
    return linalg_status("sgeqrf", LAPACKE_sgeqrf_work(LAPACK_COL_MAJOR, m, n, a, m, tau, work, size));
}

static sow_status form_q(lapack_int m, lapack_int n, void *a, void *tau, void *work, lapack_int size, bool f64) {
    if (f64) return linalg_status("dorgqr", LAPACKE_dorgqr_work(LAPACK_COL_MAJOR, m, n, n, a, m, tau, work, size));
    return linalg_status("sorgqr", LAPACKE_sorgqr_work(LAPACK_COL_MAJOR, m, n, n, a, m, tau, work, size));
}

/* ---- the decomposition ---- */

/* R from the upper triangle of the factored matrix, its rows turned so that the diagonal is not negative. */
static void take_r(sow_tensor factored, const int8_t *sign, sow_tensor r) {
    int64_t n = r.shape[0];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) sow_put(r, i * n + j, j < i ? 0.0 : sign[i] * sow_at(factored, i * n + j));
}

static void turn_column(sow_tensor columns, int64_t j) {
    int64_t m = columns.shape[0];
    if (columns.dtype == SOW_F64) {
        double *column = (double *)columns.data + j * m;
        for (int64_t i = 0; i < m; i++) column[i] = -column[i];
    } else {
        float *column = (float *)columns.data + j * m;
        for (int64_t i = 0; i < m; i++) column[i] = -column[i];
    }
}

/* In place: `columns` is A, stored by columns, and becomes Q. tau: [n]; sign: [n]. */
static sow_status decompose(sow_tensor columns, void *tau, void *work, int64_t work_count, int8_t *sign, sow_tensor r) {
    bool f64 = columns.dtype == SOW_F64;
    lapack_int m = (lapack_int)columns.shape[0], n = (lapack_int)columns.shape[1];
    SOW_TRY(factorise(m, n, columns.data, tau, work, (lapack_int)work_count, f64));
    for (int64_t j = 0; j < n; j++) sign[j] = sow_at(columns, j * n + j) < 0 ? -1 : 1;
    if (r.data) take_r(columns, sign, r);
    SOW_TRY(form_q(m, n, columns.data, tau, work, (lapack_int)work_count, f64));
    for (int64_t j = 0; j < n; j++)
        if (sign[j] < 0) turn_column(columns, j);
    return SOW_OK;
}

sow_status sow_qr(sow_tensor a, sow_tensor q, sow_tensor r) {
    SOW_TRY(check(a, q, r));
    int64_t m = a.shape[0], n = a.shape[1];
    if (n == 0) return SOW_OK;
    linalg_one_thread();
    size_t element = sow_dtype_size(q.dtype);
    bool by_columns = q.stride[0] == 1 && (q.stride[1] == m || n == 1);
    int64_t work_count = work_size((lapack_int)m, (lapack_int)n, q.dtype == SOW_F64);
    size_t copy = by_columns ? 0 : (size_t)(m * n) * element, tau = (size_t)n * element,
           work = (size_t)work_count * element;
    uint8_t *scratch = sow_reallocate(NULL, copy + tau + work + (size_t)n);
    if (!scratch) return SOW_E_MEMORY;
    sow_tensor columns = sow_transpose(sow_tensor_of(by_columns ? q.data : scratch, q.dtype, 2, (int64_t[]){n, m}));
    sow_status status = a.data == columns.data && sow_same_layout(a, columns) ? SOW_OK : sow_copy(columns, a);
    if (status == SOW_OK)
        status = decompose(columns, scratch + copy, scratch + copy + tau, work_count,
                           (int8_t *)scratch + copy + tau + work, r);
    if (status == SOW_OK && !by_columns) status = sow_copy(q, columns);
    sow_release(scratch);
    return status;
}
