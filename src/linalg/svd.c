/* Singular value and symmetric eigenvalue decompositions in f64, unique by signs. */
#include <lapacke.h>
#include <math.h>

#include "linalg/lapack.h"
#include "sow/linalg.h"

static sow_status check_matrix(const char *what, sow_tensor a) {
    char text[SOW_SHAPE_TEXT];
    if (a.rank != 2)
        return sow_fail(SOW_E_SHAPE, "%s: the matrix is %s, expected two dimensions", what, sow_shape_text(a, text));
    SOW_TRY(linalg_check_extents(what, a));
    return sow_require_finite(a, what);
}

/* A result of the caller: F64, [rows, columns], or [rows] where columns is 0. */
static sow_status check_result(const char *what, const char *name, sow_tensor t, int64_t rows, int64_t columns) {
    char text[SOW_SHAPE_TEXT];
    if (!t.data) return SOW_OK;
    if (t.dtype != SOW_F64)
        return sow_fail(SOW_E_TYPE, "%s: %s is %s, expected F64", what, name, sow_dtype_name(t.dtype));
    bool fits = columns > 0 ? t.rank == 2 && t.shape[0] == rows && t.shape[1] == columns
                            : t.rank == 1 && t.shape[0] == rows;
    if (fits) return SOW_OK;
    sow_shape_text(t, text);
    if (columns > 0)
        return sow_fail(SOW_E_SHAPE, "%s: %s is %s, expected [%lld, %lld]", what, name, text, (long long)rows,
                        (long long)columns);
    return sow_fail(SOW_E_SHAPE, "%s: %s is %s, expected [%lld]", what, name, text, (long long)rows);
}

/* -1 when the element of largest magnitude, the first of equals, is negative. */
static double sign_of(const double *x, int64_t n, int64_t stride) {
    double most = 0, sign = 1;
    for (int64_t i = 0; i < n; i++)
        if (fabs(x[i * stride]) > most) {
            most = fabs(x[i * stride]);
            sign = x[i * stride] < 0 ? -1 : 1;
        }
    return sign;
}

static void scale(double *x, int64_t n, int64_t stride, double factor) {
    for (int64_t i = 0; i < n; i++) x[i * stride] *= factor;
}

/* ---- singular values ---- */

/* Row-major a [m, n] is LAPACK's [n, m] by columns: its U is our V, its V^T our U^T. So `left` receives vt [k, n] as rows,
 * `right` u [m, k] as rows, without a transposition. a is destroyed. */
static sow_status decompose(int64_t m, int64_t n, double *a, double *s, double *vt, double *u) {
    int64_t k = m < n ? m : n;
    int info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, vt ? 'S' : 'N', (lapack_int)n, (lapack_int)m, a, (lapack_int)n, s, vt,
                              (lapack_int)n, u, (lapack_int)(vt ? k : 1));
    return linalg_status("dgesdd", info);
}

static void fix_signs(int64_t m, int64_t n, double *vt, double *u, bool by_u) {
    int64_t k = m < n ? m : n;
    for (int64_t i = 0; i < k; i++) {
        double sign = by_u ? sign_of(u + i, m, k) : sign_of(vt + i * n, n, 1);
        if (sign > 0) continue;
        scale(vt + i * n, n, 1, -1);
        scale(u + i, m, k, -1);
    }
}

sow_status sow_svd(sow_tensor a, sow_tensor u, sow_tensor s, sow_tensor vt) {
    SOW_TRY(check_matrix("svd", a));
    int64_t m = a.shape[0], n = a.shape[1], k = m < n ? m : n;
    if (k == 0) return SOW_OK;
    SOW_TRY(check_result("svd", "U", u, m, k));
    SOW_TRY(check_result("svd", "s", s, k, 0));
    SOW_TRY(check_result("svd", "V^T", vt, k, n));
    linalg_one_thread();
    bool vectors = u.data || vt.data;
    int64_t extra = vectors ? m * k + k * n : 0;
    double *scratch = sow_reallocate(NULL, (size_t)(m * n + k + extra) * sizeof *scratch);
    if (!scratch) return SOW_E_MEMORY;
    double *values = scratch + m * n, *rows = vectors ? values + k : NULL, *columns = vectors ? rows + k * n : NULL;
    sow_status status = sow_copy(SOW_TENSOR(scratch, SOW_F64, m, n), a);
    if (!status) status = decompose(m, n, scratch, values, rows, columns);
    if (!status && vectors) fix_signs(m, n, rows, columns, !vt.data);
    if (!status && s.data) status = sow_copy(s, SOW_TENSOR(values, SOW_F64, k));
    if (!status && u.data) status = sow_copy(u, SOW_TENSOR(columns, SOW_F64, m, k));
    if (!status && vt.data) status = sow_copy(vt, SOW_TENSOR(rows, SOW_F64, k, n));
    sow_release(scratch);
    return status;
}

/* ---- eigenvalues ---- */

/* LAPACK's order is rising and its eigenvectors are columns: our rows. */
static sow_status put_eigen(int64_t n, double *a, const double *rising, sow_tensor w, sow_tensor v) {
    for (int64_t i = 0; i < n && v.data; i++) {
        double *vector = a + (n - 1 - i) * n, sign = sign_of(vector, n, 1);
        if (sign < 0) scale(vector, n, 1, -1);
        sow_tensor column = sow_slice(v, 1, i, 1);
        SOW_TRY(sow_copy(column, SOW_TENSOR(vector, SOW_F64, n, 1)));
    }
    for (int64_t i = 0; i < n && w.data; i++) sow_put(w, i, rising[n - 1 - i]);
    return SOW_OK;
}

sow_status sow_eigen_symmetric(sow_tensor a, sow_tensor w, sow_tensor v) {
    char text[SOW_SHAPE_TEXT];
    SOW_TRY(check_matrix("eigen", a));
    int64_t n = a.shape[0];
    if (a.shape[1] != n)
        return sow_fail(SOW_E_SHAPE, "eigen: the matrix is %s, expected a square one", sow_shape_text(a, text));
    if (n == 0) return SOW_OK;
    SOW_TRY(check_result("eigen", "w", w, n, 0));
    SOW_TRY(check_result("eigen", "V", v, n, n));
    linalg_one_thread();
    double *scratch = sow_reallocate(NULL, (size_t)(n * n + n) * sizeof *scratch),
           *values = scratch ? scratch + n * n : NULL;
    if (!scratch) return SOW_E_MEMORY;
    sow_status status = sow_copy(SOW_TENSOR(scratch, SOW_F64, n, n), a);
    for (int64_t i = 0; i < n && !status; i++)
        for (int64_t j = 0; j < i; j++)
            scratch[i * n + j] = scratch[j * n + i] = 0.5 * (scratch[i * n + j] + scratch[j * n + i]);
    if (!status)
        status = linalg_status("dsyevd", LAPACKE_dsyevd(LAPACK_COL_MAJOR, v.data ? 'V' : 'N', 'L', (lapack_int)n,
                                                        scratch, (lapack_int)n, values));
    if (!status) status = put_eigen(n, scratch, values, w, v);
    sow_release(scratch);
    return status;
}
