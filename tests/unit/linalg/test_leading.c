/* Leading singular triples, and those of products, against the full decomposition. */
#include "check.h"

#include <math.h>

enum { M = 40, N = 30, K = 4 };

/* Singular values 2^-i on orthonormal factors. */
static void make_matrix(double *a, int m, int n) {
    double *u = calloc((size_t)(m * n), sizeof *u), *v = calloc((size_t)(n * n), sizeof *v);
    for (int i = 0; i < m * n; i++) u[i] = sin(0.3 * i * i + i);
    for (int i = 0; i < n * n; i++) v[i] = cos(0.7 * i * i + 2 * i);
    OK(sow_qr(SOW_TENSOR(u, SOW_F64, m, n), SOW_TENSOR(u, SOW_F64, m, n), (sow_tensor){0}));
    OK(sow_qr(SOW_TENSOR(v, SOW_F64, n, n), SOW_TENSOR(v, SOW_F64, n, n), (sow_tensor){0}));
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            a[i * n + j] = 0;
            for (int k = 0; k < n; k++) a[i * n + j] += u[i * n + k] * pow(2, -k) * v[j * n + k];
        }
    free(u), free(v);
}

static void leading_triples_equal_those_of_the_full_decomposition(void **state) {
    static double a[M * N], u[M * K], s[K], vt[K * M], full_u[M * N], full_s[N + 1], full_vt[N * M];
    sow_rng rng;
    make_matrix(a, M, N);
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    sow_tensor whole = SOW_TENSOR(a, SOW_F64, M, N);
    for (int turned = 0; turned < 2; turned++) {
        sow_tensor t = turned ? sow_transpose(whole) : whole;
        int m = turned ? N : M, n = turned ? M : N;
        OK(sow_svd(t, SOW_TENSOR(full_u, SOW_F64, m, N), SOW_TENSOR(full_s, SOW_F64, N),
                   SOW_TENSOR(full_vt, SOW_F64, N, n)));
        OK(sow_svd_leading(t, 6, 3, &rng, SOW_TENSOR(u, SOW_F64, m, K), SOW_TENSOR(s, SOW_F64, K),
                           SOW_TENSOR(vt, SOW_F64, K, n)));
        for (int i = 0; i < K; i++) {
            assert_near(full_s[i], pow(2, -i), 1e-12);
            assert_near(s[i], pow(2, -i), 1e-12);
            for (int j = 0; j < n; j++) assert_near(vt[i * n + j], full_vt[i * n + j], 1e-9);
            for (int j = 0; j < m; j++) assert_near(u[j * K + i], full_u[j * N + i], 1e-9);
        }
    }
    FAILS(sow_svd_leading(whole, 6, 3, &rng, (sow_tensor){0}, SOW_TENSOR(full_s, SOW_F64, N + 1), (sow_tensor){0}),
          SOW_E_SHAPE, "[40, 30]");
    a[7] = NAN;
    FAILS(sow_svd_leading(whole, 6, 3, &rng, (sow_tensor){0}, SOW_TENSOR(s, SOW_F64, K), (sow_tensor){0}), SOW_E_NUMBER,
          "");
}

/* Thin factors, and factors with more columns than rows. */
static void a_product_is_decomposed_without_being_formed(void **state) {
    static const int ranks[] = {3, 9};
    for (int c = 0; c < 2; c++) {
        enum { m = 8, n = 6 };
        int r = ranks[c], k = r < n ? r : n;
        double b[m * 9], a[9 * n], product[m * n] = {0}, u[m * n], s[n], vt[n * n], fu[m * n], fs[n], fvt[n * n];
        for (int i = 0; i < m * r; i++) b[i] = sin(i * i + 1.0);
        for (int i = 0; i < r * n; i++) a[i] = cos(2.0 * i * i);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++)
                for (int p = 0; p < r; p++) product[i * n + j] += b[i * r + p] * a[p * n + j];
        OK(sow_svd(SOW_TENSOR(product, SOW_F64, m, n), SOW_TENSOR(fu, SOW_F64, m, n), SOW_TENSOR(fs, SOW_F64, n),
                   SOW_TENSOR(fvt, SOW_F64, n, n)));
        OK(sow_svd_product(SOW_TENSOR(b, SOW_F64, m, r), SOW_TENSOR(a, SOW_F64, r, n), SOW_TENSOR(u, SOW_F64, m, k),
                           SOW_TENSOR(s, SOW_F64, k), SOW_TENSOR(vt, SOW_F64, k, n)));
        for (int i = 0; i < k; i++) {
            assert_near(s[i], fs[i], 1e-12);
            for (int j = 0; j < n; j++) assert_near(fabs(vt[i * n + j]), fabs(fvt[i * n + j]), 1e-10);
        }
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) {
                double sum = 0;
                for (int p = 0; p < k; p++) sum += u[i * k + p] * s[p] * vt[p * n + j];
                assert_near(sum, product[i * n + j], 1e-12);
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leading_triples_equal_those_of_the_full_decomposition),
        cmocka_unit_test(a_product_is_decomposed_without_being_formed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
