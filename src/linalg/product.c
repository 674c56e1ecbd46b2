/* Singular values of a product of thin factors, without forming it. */
#include <math.h>

#include "sow/linalg.h"

typedef struct thin {
    int64_t rows, rank;
    double *q, *r; /* q by columns: [rank, rows] as rows; r [rank, rank] */
} thin;

/* factor: [rows, rank] in any layout, rows >= rank. */
static sow_status decompose(sow_arena *arena, sow_tensor factor, thin *out) {
    out->rows = factor.shape[0], out->rank = factor.shape[1];
    SOW_TRY(SOW_NEW_RAW(arena, out->q, out->rows * out->rank));
    SOW_TRY(SOW_NEW_RAW(arena, out->r, out->rank * out->rank));
    sow_tensor q = sow_transpose(SOW_TENSOR(out->q, SOW_F64, out->rank, out->rows));
    SOW_TRY(sow_copy(q, factor));
    return sow_qr(q, q, SOW_TENSOR(out->r, SOW_F64, out->rank, out->rank));
}

static sow_status factored(sow_arena *arena, sow_tensor b, sow_tensor a, sow_tensor u, sow_tensor s, sow_tensor vt) {
    thin left, right;
    int64_t r = a.shape[0], k = s.shape[0], m = b.shape[0], n = a.shape[1];
    double *core, *inner_u, *values, *inner_vt, *full_u, *full_vt;
    SOW_TRY(decompose(arena, b, &left));
    SOW_TRY(decompose(arena, sow_transpose(a), &right));
    SOW_TRY(SOW_NEW_RAW(arena, core, r * r));
    SOW_TRY(SOW_NEW_RAW(arena, inner_u, r * r));
    SOW_TRY(SOW_NEW_RAW(arena, values, r));
    SOW_TRY(SOW_NEW_RAW(arena, inner_vt, r * r));
    SOW_TRY(SOW_NEW_RAW(arena, full_u, m * r));
    SOW_TRY(SOW_NEW_RAW(arena, full_vt, r * n));
    sow_gemm_f64(false, true, r, r, r, 1, left.r, r, right.r, r, 0, core, r);
    SOW_TRY(sow_svd(SOW_TENSOR(core, SOW_F64, r, r), SOW_TENSOR(inner_u, SOW_F64, r, r), SOW_TENSOR(values, SOW_F64, r),
                    SOW_TENSOR(inner_vt, SOW_F64, r, r)));
    sow_gemm_f64(true, false, m, r, r, 1, left.q, m, inner_u, r, 0, full_u, r);
    sow_gemm_f64(false, false, r, n, r, 1, inner_vt, r, right.q, n, 0, full_vt, n);
    SOW_TRY(sow_copy(s, SOW_TENSOR(values, SOW_F64, k)));
    if (u.data) SOW_TRY(sow_copy(u, sow_slice(SOW_TENSOR(full_u, SOW_F64, m, r), 1, 0, k)));
    return vt.data ? sow_copy(vt, SOW_TENSOR(full_vt, SOW_F64, k, n)) : SOW_OK;
}

/* More columns than rows in a factor: the product is small on that side, and is formed. */
static sow_status formed(sow_arena *arena, sow_tensor b, sow_tensor a, sow_tensor u, sow_tensor s, sow_tensor vt) {
    int64_t r = a.shape[0], k = s.shape[0], m = b.shape[0], n = a.shape[1], least = m < n ? m : n;
    sow_tensor bf, af, product, fu, fs, fvt;
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){m, r}, &bf));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){r, n}, &af));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){m, n}, &product));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){m, least}, &fu));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 1, &least, &fs));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){least, n}, &fvt));
    SOW_TRY(sow_copy(bf, b));
    SOW_TRY(sow_copy(af, a));
    sow_gemm_f64(false, false, m, n, r, 1, bf.data, r, af.data, n, 0, product.data, n);
    SOW_TRY(sow_svd(product, fu, fs, fvt));
    SOW_TRY(sow_copy(s, sow_slice(fs, 0, 0, k)));
    if (u.data) SOW_TRY(sow_copy(u, sow_slice(fu, 1, 0, k)));
    return vt.data ? sow_copy(vt, sow_slice(fvt, 0, 0, k)) : SOW_OK;
}

sow_status sow_svd_product(sow_tensor b, sow_tensor a, sow_tensor u, sow_tensor s, sow_tensor vt) {
    char bt[SOW_SHAPE_TEXT], at[SOW_SHAPE_TEXT];
    if (b.rank != 2 || a.rank != 2 || b.shape[1] != a.shape[0] || s.rank != 1)
        return sow_fail(SOW_E_SHAPE, "svd of a product: %s times %s", sow_shape_text(b, bt), sow_shape_text(a, at));
    int64_t r = a.shape[0], m = b.shape[0], n = a.shape[1], most = m < n ? m : n;
    if (r < most) most = r;
    if (s.shape[0] > most || s.shape[0] < 1)
        return sow_fail(SOW_E_SHAPE, "svd of a product: %lld values of %s times %s", (long long)s.shape[0],
                        sow_shape_text(b, bt), sow_shape_text(a, at));
    sow_arena *arena;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = (m >= r && n >= r ? factored : formed)(arena, b, a, u, s, vt);
    sow_arena_free(arena);
    return status;
}
