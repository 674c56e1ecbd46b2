/* Planted problems: a matrix that is known, measured at random, with noise and outliers. */
#include <math.h>
#include <string.h>

#include "sow/json.h"
#include "sow/linalg.h"
#include "sow/npy.h"
#include "sow/random.h"
#include "starts/factors/planted.h"

/* Orthonormal columns [n, r]. */
static sow_status orthonormal(const factors_planted *p, const char *name, int64_t n, double *out) {
    factors_normal(p->seed, name, out, n * p->rank, 1);
    sow_tensor t = SOW_TENSOR(out, SOW_F64, n, p->rank);
    return sow_qr(t, t, (sow_tensor){0});
}

/* X* = U diag(s) V^T, s from 1 down to 1/kappa in equal ratios. */
static sow_status plant_truth(const factors_planted *p, sow_arena *arena, double **out) {
    double *u, *v;
    SOW_TRY(SOW_NEW(arena, *out, p->n1 * p->n2));
    SOW_TRY(SOW_NEW(arena, u, p->n1 * p->rank));
    SOW_TRY(SOW_NEW(arena, v, p->n2 * p->rank));
    SOW_TRY(orthonormal(p, "truth", p->n1, u));
    if (p->psd) memcpy(v, u, (size_t)(p->n1 * p->rank) * sizeof *v);
    else SOW_TRY(orthonormal(p, "truth-v", p->n2, v));
    for (int64_t j = 0; j < p->rank; j++) {
        double s = p->rank > 1 ? pow(p->kappa, -(double)j / (double)(p->rank - 1)) : 1;
        for (int64_t i = 0; i < p->n2; i++) v[i * p->rank + j] *= s;
    }
    sow_gemm_f64(false, true, p->n1, p->n2, p->rank, 1, u, p->rank, v, p->rank, 0, *out, p->n2);
    return SOW_OK;
}

static sow_status plant_gaussian(const factors_planted *p, sow_arena *arena, sow_operator *op) {
    double *a;
    SOW_TRY(SOW_NEW_RAW(arena, a, p->m * p->n1 * p->n2));
    factors_normal(p->seed, "operator", a, p->m * p->n1 * p->n2, 1);
    for (int64_t i = 0; i < p->m && p->symmetric; i++) {
        double *e = a + i * p->n1 * p->n1;
        for (int64_t r = 0; r < p->n1; r++)
            for (int64_t c = 0; c < r; c++)
                e[r * p->n1 + c] = e[c * p->n1 + r] = 0.5 * (e[r * p->n1 + c] + e[c * p->n1 + r]);
    }
    return sow_operator_dense(SOW_TENSOR(a, SOW_F64, p->m, p->n1 * p->n2), p->n1, p->n2, 0, op);
}

static sow_status plant_rank_one(const factors_planted *p, sow_arena *arena, sow_operator *op) {
    double *a, *b = NULL;
    SOW_TRY(SOW_NEW_RAW(arena, a, p->m * p->n1));
    factors_normal(p->seed, "operator", a, p->m * p->n1, 1);
    if (!p->psd) {
        SOW_TRY(SOW_NEW_RAW(arena, b, p->m * p->n2));
        factors_normal(p->seed, "operator-b", b, p->m * p->n2, 1);
    }
    return sow_operator_rank_one(SOW_TENSOR(a, SOW_F64, p->m, p->n1), SOW_TENSOR(b, SOW_F64, p->m, p->n2), op);
}

static sow_status plant_entries(const factors_planted *p, sow_arena *arena, sow_operator *op) {
    int64_t n = p->n1 * p->n2, *order, *index;
    sow_rng rng;
    if (p->m > n) return sow_fail(SOW_E_RANGE, "%lld entries of a matrix that has %lld", (long long)p->m, (long long)n);
    SOW_TRY(SOW_NEW_RAW(arena, order, n));
    SOW_TRY(SOW_NEW_RAW(arena, index, 2 * p->m));
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, p->seed));
    sow_rng_at(&rng, "factors", "entries");
    sow_rng_permutation(&rng, order, n);
    for (int64_t i = 0; i < p->m; i++) index[i] = order[i] / p->n2, index[p->m + i] = order[i] % p->n2;
    return sow_operator_entries(arena, p->m, p->n1, p->n2, index, index + p->m, op);
}

/* ---- what is added ---- */

static void add_noise(const factors_planted *p, double *noise) {
    factors_normal(p->seed, "noise", noise, p->m, p->noise);
    if (strcmp(p->noise_kind, "gaussian") == 0) return;
    sow_rng rng;
    sow_rng_seed(&rng, SOW_RNG_SOW, p->seed);
    sow_rng_at(&rng, "factors", "noise-uniform");
    sow_rng_uniform_f64(&rng, noise, p->m, 0, 1);
    for (int64_t i = 0; i < p->m; i++) {
        double u = noise[i] - 0.5, sine, cosine;
        sow_sincos(M_PI * u, &sine, &cosine);
        if (strcmp(p->noise_kind, "cauchy") == 0) noise[i] = p->noise * sine / cosine;
        else
            noise[i] = p->noise * sqrt(0.5) *
                       (u > 0 ? -sow_log(fmax(1 - 2 * u, 1e-300)) : sow_log(fmax(1 + 2 * u, 1e-300)));
    }
}

static sow_status add_outliers(const factors_planted *p, sow_arena *arena, double *noise) {
    int64_t *order, count = (int64_t)llround(p->outliers * (double)p->m);
    double *gross;
    sow_rng rng;
    SOW_TRY(SOW_NEW_RAW(arena, order, p->m));
    SOW_TRY(SOW_NEW_RAW(arena, gross, p->m));
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, p->seed));
    sow_rng_at(&rng, "factors", "outliers");
    sow_rng_permutation(&rng, order, p->m);
    factors_normal(p->seed, "gross", gross, p->m, p->outlier_sd);
    for (int64_t i = 0; i < count; i++) noise[order[i]] += gross[i];
    return SOW_OK;
}

sow_status factors_noise(const factors_planted *p, sow_arena *arena, double **noise) {
    SOW_TRY(SOW_NEW(arena, *noise, p->m));
    add_noise(p, *noise);
    return add_outliers(p, arena, *noise);
}

static void measure(void *user, int64_t first, int64_t count, const double *ax, double *z) {
    const double *noise = user;
    for (int64_t i = 0; i < count; i++) z[i] = ax[i] + noise[first + i];
}

sow_status factors_plant(const factors_planted *p, sow_arena *arena, factors_problem *out, double **added) {
    double *eye, *noise;
    sow_pass pass;
    if (p->rank < 1 || p->rank > p->n1 || p->rank > p->n2)
        return sow_fail(SOW_E_RANGE, "a truth of rank %lld in %lld x %lld", (long long)p->rank, (long long)p->n1,
                        (long long)p->n2);
    if (p->psd && p->n1 != p->n2)
        return sow_fail(SOW_E_SHAPE, "a positive semidefinite truth of %lld x %lld", (long long)p->n1,
                        (long long)p->n2);
    *out = (factors_problem){.what = p->kind};
    SOW_TRY(plant_truth(p, arena, &out->truth));
    if (strcmp(p->kind, "gaussian") == 0) SOW_TRY(plant_gaussian(p, arena, &out->op));
    else if (strcmp(p->kind, "rank-one") == 0) SOW_TRY(plant_rank_one(p, arena, &out->op));
    else if (strcmp(p->kind, "entries") == 0) SOW_TRY(plant_entries(p, arena, &out->op));
    else SOW_TRY(sow_operator_identity(p->n1, p->n2, &out->op));
    factors_planted sized = *p;
    sized.m = out->op.m;
    SOW_TRY(factors_noise(&sized, arena, &noise));
    SOW_TRY(SOW_NEW(arena, out->y, sized.m));
    SOW_TRY(SOW_NEW(arena, eye, p->n2 * p->n2));
    for (int64_t i = 0; i < p->n2; i++) eye[i * p->n2 + i] = 1;
    SOW_TRY(sow_pass_new(arena, &out->op, p->n2, &pass));
    SOW_TRY(sow_operator_forward(&pass, out->truth, eye, p->n2, measure, noise)); /* X* = X* I */
    memcpy(out->y, pass.z, (size_t)sized.m * sizeof *out->y);
    if (added) *added = noise;
    return SOW_OK;
}

/* ---- the options of `simulate` ---- */

sow_status factors_planted_options(sow_call *call, bool psd, factors_planted *out) {
    int64_t n1 = sow_int(call, "n1"), n2 = sow_given(call, "n2") ? sow_int(call, "n2") : n1, n;
    *out = (factors_planted){.kind = sow_text(call, "measure"),
                             .n1 = n1,
                             .n2 = n2,
                             .m = sow_int(call, "m"),
                             .rank = sow_int(call, "truth-rank"),
                             .kappa = sow_real(call, "kappa"),
                             .noise = sow_real(call, "noise"),
                             .noise_kind = sow_text(call, "noise-kind"),
                             .symmetric = sow_flag(call, "symmetric-operator"),
                             .psd = psd,
                             .seed = (uint64_t)sow_int(call, "seed")};
    if (out->symmetric && n1 != n2) return sow_fail(SOW_E_ARGUMENT, "--symmetric-operator: the matrix is not square");
    SOW_TRY(sow_multiply(n1, n2, &n));
    return sow_multiply(n, out->m, &n);
}

static sow_status write_array(sow_call *call, const char *name, sow_tensor t) {
    const char *path = sow_path_join(call->arena, sow_text(call, "save"), name);
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_npy_write(path, t));
    return sow_wrote(call, path);
}

static sow_status save_problem(sow_call *call, const factors_problem *p) {
    const sow_operator *op = &p->op;
    SOW_TRY(sow_make_folder(sow_text(call, "save")));
    SOW_TRY(write_array(call, "y.npy", SOW_TENSOR(p->y, SOW_F64, op->m)));
    SOW_TRY(write_array(call, "truth.npy", SOW_TENSOR(p->truth, SOW_F64, op->n1, op->n2)));
    if (op->kind == SOW_OPERATOR_DENSE) return write_array(call, "A.npy", op->a);
    if (op->kind == SOW_OPERATOR_RANK_ONE) {
        SOW_TRY(write_array(call, "a.npy", op->a));
        return op->b.data == op->a.data ? SOW_OK : write_array(call, "b.npy", op->b);
    }
    if (op->kind != SOW_OPERATOR_ENTRIES) return SOW_OK;
    int64_t *pairs;
    SOW_TRY(SOW_NEW(call->arena, pairs, 2 * op->m));
    for (int64_t i = 0; i < op->m; i++) pairs[2 * i] = op->row[i], pairs[2 * i + 1] = op->column[i];
    return write_array(call, "ij.npy", SOW_TENSOR(pairs, SOW_I64, op->m, 2));
}

sow_status factors_planted_outputs(sow_call *call, const factors_problem *p) {
    const char *folder = sow_text(call, "save"), *path = sow_text(call, "out");
    char *text;
    if (folder) {
        SOW_TRY(sow_check_output(call, folder));
        SOW_TRY(save_problem(call, p));
    }
    if (!path) return SOW_OK;
    SOW_TRY(sow_check_output(call, path));
    SOW_TRY(sow_json_text(call->arena, call->result, SOW_JSON_PRETTY, &text));
    SOW_TRY(sow_write_file(path, text, strlen(text)));
    return sow_wrote(call, path);
}
