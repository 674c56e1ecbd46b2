/* Factors of a matrix: singular values, imbalance, errors. */
#include "starts/factors/factors.h"

#include <math.h>
#include <string.h>

#include "sow/linalg.h"
#include "sow/random.h"
#include "sow/stats.h"

/* ---- numbers ---- */

double factors_median(double *values, int64_t n) {
    return n > 0 ? sow_select(values, n, (n - 1) / 2) : 0;
}

double factors_norm(const double *v, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += v[i] * v[i];
    return sqrt(sum);
}

sow_status factors_require_finite(const double *y, int64_t n) {
    return sow_require_finite(SOW_TENSOR((void *)(uintptr_t)y, SOW_F64, n), "measurements");
}

void factors_normal(uint64_t seed, const char *name, double *out, int64_t n, double sd) {
    sow_rng rng;
    sow_rng_seed(&rng, SOW_RNG_SOW, seed);
    sow_rng_at(&rng, "factors", name);
    sow_rng_normal_f64(&rng, out, n, 0, sd);
}

/* ---- factors ---- */

sow_status factors_check_rank(const sow_operator *op, int64_t k) {
    int64_t most = op->n1 < op->n2 ? op->n1 : op->n2;
    if (k >= 0 && k <= most) return SOW_OK;
    return sow_fail(SOW_E_SHAPE, "rank %lld, expected 1 to %lld for matrices of %lld x %lld", (long long)k,
                    (long long)most, (long long)op->n1, (long long)op->n2);
}

sow_status factors_new(sow_arena *arena, const sow_operator *op, int64_t k, sow_factors *out) {
    SOW_TRY(factors_check_rank(op, k > 0 ? k : -1));
    *out = (sow_factors){.n1 = op->n1, .n2 = op->n2, .k = k, .symmetric = op->symmetric};
    SOW_TRY(SOW_NEW(arena, out->f, op->n1 * k));
    out->g = out->f;
    return op->symmetric ? SOW_OK : SOW_NEW(arena, out->g, op->n2 * k);
}

sow_status factors_copy(const sow_factors *from, sow_factors *to) {
    if (from->n1 != to->n1 || from->n2 != to->n2 || from->k != to->k || from->symmetric != to->symmetric)
        return sow_fail(SOW_E_SHAPE, "factors of %lld x %lld, rank %lld, expected %lld x %lld, rank %lld",
                        (long long)from->n1, (long long)from->n2, (long long)from->k, (long long)to->n1,
                        (long long)to->n2, (long long)to->k);
    memcpy(to->f, from->f, (size_t)(to->n1 * to->k) * sizeof *to->f);
    if (!to->symmetric) memcpy(to->g, from->g, (size_t)(to->n2 * to->k) * sizeof *to->g);
    return SOW_OK;
}

/* The Gram matrix would square the condition: triangles keep singular values down to rounding. */
sow_status sow_factors_singular(const sow_factors *x, sow_arena *arena, double *values) {
    int64_t k = x->k;
    sow_mark mark = sow_arena_mark(arena);
    double *q = sow_arena_take_raw(arena, (size_t)((x->n1 > x->n2 ? x->n1 : x->n2) * k + 3 * k * k), sizeof *q);
    if (!q) return SOW_E_MEMORY;
    double *rf = q + (x->n1 > x->n2 ? x->n1 : x->n2) * k, *rg = rf + k * k, *core = rg + k * k;
    sow_status status = sow_qr(SOW_TENSOR(x->f, SOW_F64, x->n1, k), SOW_TENSOR(q, SOW_F64, x->n1, k),
                               SOW_TENSOR(rf, SOW_F64, k, k));
    if (!status && !x->symmetric)
        status = sow_qr(SOW_TENSOR(x->g, SOW_F64, x->n2, k), SOW_TENSOR(q, SOW_F64, x->n2, k),
                        SOW_TENSOR(rg, SOW_F64, k, k));
    if (!status) sow_gemm_f64(false, true, k, k, k, 1, rf, k, x->symmetric ? rf : rg, k, 0, core, k);
    if (!status)
        status = sow_svd(SOW_TENSOR(core, SOW_F64, k, k), (sow_tensor){0}, SOW_TENSOR(values, SOW_F64, k),
                         (sow_tensor){0});
    sow_arena_release(arena, mark);
    return status;
}

double factors_error(const sow_factors *x, const double *truth, double *product) {
    sow_gemm_f64(false, true, x->n1, x->n2, x->k, 1, x->f, x->k, x->g, x->k, 0, product, x->n2);
    double sum = 0;
    for (int64_t i = 0; i < x->n1 * x->n2; i++) sum += (product[i] - truth[i]) * (product[i] - truth[i]);
    return sqrt(sum);
}

/* Extreme eigenvalues of F^T F - G^T G. */
static sow_status imbalance(const sow_factors *x, double *scratch, double *low, double *high) {
    int64_t k = x->k;
    double *w = scratch + k * k;
    *low = *high = 0;
    if (x->symmetric) return SOW_OK;
    sow_gemm_f64(true, false, k, k, x->n1, 1, x->f, k, x->f, k, 0, scratch, k);
    sow_gemm_f64(true, false, k, k, x->n2, -1, x->g, k, x->g, k, 1, scratch, k);
    SOW_TRY(sow_eigen_symmetric(SOW_TENSOR(scratch, SOW_F64, k, k), SOW_TENSOR(w, SOW_F64, k), (sow_tensor){0}));
    *high = w[0];
    *low = w[k - 1];
    return SOW_OK;
}

sow_status factors_look(const sow_factors *x, const double *truth, double *product, sow_factors_row *row) {
    sow_arena *arena;
    double *values, *scratch;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = SOW_NEW(arena, values, x->k);
    if (!status) status = SOW_NEW(arena, scratch, x->k * (x->k + 1));
    if (!status) status = sow_factors_singular(x, arena, values);
    if (!status) status = imbalance(x, scratch, &row->imbalance_low, &row->imbalance_high);
    for (int64_t i = 0; i < SOW_FACTORS_SHOWN && !status; i++) row->singular[i] = i < x->k ? values[i] : NAN;
    if (!status) row->last_singular = values[x->k - 1];
    row->error = truth && !status ? factors_error(x, truth, product) : NAN;
    sow_arena_free(arena);
    return status;
}
