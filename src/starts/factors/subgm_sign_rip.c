/* Sign-RIP, the property that makes signs enough: Ma and Fattahi 2021, arXiv 2102.02969. */
#include <math.h>

#include "sow/linalg.h"
#include "sow/log.h"
#include "starts/factors/factors.h"

/* Random X = F G^T of Frobenius norm 1. */
static void draw(uint64_t seed, sow_factors *x, double *product) {
    int64_t n = x->n1 * x->n2;
    factors_normal(seed, "rip", x->f, x->n1 * x->k, 1);
    factors_normal(seed, "rip-g", x->g, x->n2 * x->k, 1);
    sow_gemm_f64(false, true, x->n1, x->n2, x->k, 1, x->f, x->k, x->g, x->k, 0, product, x->n2);
    double norm = factors_norm(product, n);
    for (int64_t i = 0; i < x->n1 * x->k; i++) x->f[i] /= norm;
    for (int64_t i = 0; i < n; i++) product[i] /= norm;
}

typedef struct signs {
    const double *noise;
    double one;
} signs;

static void sign(void *user, int64_t first, int64_t count, const double *ax, double *z) {
    const signs *s = user;
    for (int64_t i = 0; i < count; i++) {
        double v = ax[i] + (s->noise ? s->noise[first + i] : 0);
        z[i] = v > 0 ? s->one : v < 0 ? -s->one : 0;
    }
}

/* The unit Y of that rank that sees most of W is its leading singular part: sup <W, Y> = sqrt(sum of the leading sigma^2). */
static sow_status most_seen(const sow_operator *op, double *w, double *values, int64_t rank, double *most) {
    double sum = 0;
    int64_t k = op->n1 < op->n2 ? op->n1 : op->n2;
    SOW_TRY(sow_svd(SOW_TENSOR(w, SOW_F64, op->n1, op->n2), (sow_tensor){0}, SOW_TENSOR(values, SOW_F64, k),
                    (sow_tensor){0}));
    for (int64_t i = 0; i < rank; i++) sum += values[i] * values[i];
    *most = sqrt(sum);
    return SOW_OK;
}

sow_status sow_subgm_sign_rip(const sow_operator *op, const double *noise, int64_t rank, int pairs, uint64_t seed,
                              sow_arena *arena, sow_sign_rip *out) {
    sow_factors x;
    sow_pass pass;
    double *product, *d, *values;
    int64_t n = op->n1 * op->n2;
    sow_operator general = *op;
    general.symmetric = false;
    signs s = {noise, 1 / (double)op->m};
    if (pairs < 1) return sow_fail(SOW_E_RANGE, "sign-rip: %d random matrices, expected at least 1", pairs);
    *out = (sow_sign_rip){0};
    SOW_TRY(factors_new(arena, &general, rank, &x));
    SOW_TRY(sow_pass_new(arena, &general, rank, &pass));
    SOW_TRY(SOW_NEW(arena, product, n));
    SOW_TRY(SOW_NEW(arena, d, n));
    SOW_TRY(SOW_NEW(arena, values, op->n1 + op->n2));
    for (int i = 0; i < pairs; i++) {
        double phi = 0, most;
        draw(seed + (uint64_t)i, &x, product);
        SOW_TRY(sow_operator_forward(&pass, x.f, x.g, rank, sign, &s));
        SOW_TRY(sow_operator_sum(&pass, d));
        for (int64_t j = 0; j < n; j++) phi += d[j] * product[j];
        for (int64_t j = 0; j < n; j++) d[j] -= phi * product[j];
        SOW_TRY(most_seen(op, d, values, rank, &most));
        double delta = phi > 0 ? most / phi : INFINITY;
        out->delta = fmax(out->delta, delta);
        out->mean_delta += delta / pairs;
        out->phi += phi / pairs;
        sow_progress("sign-rip", i + 1, pairs);
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}
