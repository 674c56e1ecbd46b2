/* Leading singular triples by randomised subspace iteration: Halko, Martinsson and Tropp 2011, arXiv 0909.4061. */
#include <string.h>

#include "sow/linalg.h"

typedef struct iteration {
    int64_t m, n, q;
    double *a;     /* [m, n] */
    double *y, *z; /* stored by columns: y [m, q], z [n, q] */
} iteration;

/* y = A z and z = A^T y; columns of y and z are rows of their transposes. */
static void forward(const iteration *it) {
    sow_gemm_f64(false, true, it->q, it->m, it->n, 1, it->z, it->n, it->a, it->n, 0, it->y, it->m);
}
static void back(const iteration *it) {
    sow_gemm_f64(false, false, it->q, it->n, it->m, 1, it->y, it->m, it->a, it->n, 0, it->z, it->n);
}

static sow_status orthonormalise(double *columns, int64_t rows, int64_t q) {
    sow_tensor c = sow_transpose(SOW_TENSOR(columns, SOW_F64, q, rows));
    return sow_qr(c, c, (sow_tensor){0});
}

/* y becomes an orthonormal basis of the leading left singular vectors' space. */
static sow_status iterate(const iteration *it, int64_t rounds, sow_rng *rng) {
    sow_rng_normal_f64(rng, it->z, it->n * it->q, 0, 1);
    forward(it);
    SOW_TRY(orthonormalise(it->y, it->m, it->q));
    for (int64_t i = 0; i < rounds; i++) {
        back(it);
        SOW_TRY(orthonormalise(it->z, it->n, it->q));
        forward(it);
        SOW_TRY(orthonormalise(it->y, it->m, it->q));
    }
    return SOW_OK;
}

/* The small matrix Q^T A [q, n] decomposed, its left vectors turned back. */
static sow_status finish(sow_arena *arena, const iteration *it, sow_tensor u, sow_tensor s, sow_tensor vt) {
    double *small, *values, *rows, *left;
    int64_t k = s.shape[0], q = it->q;
    SOW_TRY(SOW_NEW_RAW(arena, small, q * q));
    SOW_TRY(SOW_NEW_RAW(arena, values, q));
    SOW_TRY(SOW_NEW_RAW(arena, rows, q * it->n));
    back(it); /* z^T = Q^T A */
    SOW_TRY(sow_svd(SOW_TENSOR(it->z, SOW_F64, q, it->n), SOW_TENSOR(small, SOW_F64, q, q),
                    SOW_TENSOR(values, SOW_F64, q), SOW_TENSOR(rows, SOW_F64, q, it->n)));
    SOW_TRY(sow_copy(s, SOW_TENSOR(values, SOW_F64, k)));
    if (vt.data) SOW_TRY(sow_copy(vt, SOW_TENSOR(rows, SOW_F64, k, it->n)));
    if (!u.data) return SOW_OK;
    SOW_TRY(SOW_NEW_RAW(arena, left, it->m * q));
    sow_gemm_f64(true, false, it->m, q, q, 1, it->y, it->m, small, q, 0, left, q);
    return sow_copy(u, sow_slice(SOW_TENSOR(left, SOW_F64, it->m, q), 1, 0, k));
}

static sow_status check(sow_tensor a, sow_tensor u, sow_tensor s, sow_tensor vt) {
    char text[SOW_SHAPE_TEXT];
    if (a.rank != 2 || s.rank != 1 || s.shape[0] < 1 || s.shape[0] > a.shape[0] || s.shape[0] > a.shape[1])
        return sow_fail(SOW_E_SHAPE, "leading singular values: %lld of a matrix %s", (long long)s.shape[0],
                        sow_shape_text(a, text));
    if (u.data && (u.rank != 2 || u.shape[0] != a.shape[0] || u.shape[1] != s.shape[0]))
        return sow_fail(SOW_E_SHAPE, "leading singular values: U is %s", sow_shape_text(u, text));
    if (vt.data && (vt.rank != 2 || vt.shape[0] != s.shape[0] || vt.shape[1] != a.shape[1]))
        return sow_fail(SOW_E_SHAPE, "leading singular values: V^T is %s", sow_shape_text(vt, text));
    return sow_require_finite(a, "leading singular values");
}

static sow_status decompose(sow_arena *arena, sow_tensor a, int64_t extra, int64_t rounds, sow_rng *rng, sow_tensor u,
                            sow_tensor s, sow_tensor vt) {
    iteration it = {.m = a.shape[0], .n = a.shape[1], .q = s.shape[0] + extra};
    int64_t least = it.m < it.n ? it.m : it.n;
    if (it.q > least) it.q = least;
    SOW_TRY(SOW_NEW_RAW(arena, it.a, it.m * it.n));
    SOW_TRY(SOW_NEW_RAW(arena, it.y, it.m * it.q));
    SOW_TRY(SOW_NEW_RAW(arena, it.z, it.n * it.q));
    SOW_TRY(sow_copy(SOW_TENSOR(it.a, SOW_F64, it.m, it.n), a));
    SOW_TRY(iterate(&it, rounds, rng));
    return finish(arena, &it, u, s, vt);
}

sow_status sow_svd_leading(sow_tensor a, int64_t extra, int64_t rounds, sow_rng *rng, sow_tensor u, sow_tensor s,
                           sow_tensor vt) {
    sow_arena *arena;
    SOW_TRY(check(a, u, s, vt));
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = decompose(arena, a, extra, rounds, rng, u, s, vt);
    sow_arena_free(arena);
    return status;
}
