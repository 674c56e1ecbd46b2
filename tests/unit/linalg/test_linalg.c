/* Decompositions: textbook values, the defining equations on many shapes and layouts, refusals. */
#include <math.h>

#include "check.h"
#include "sow/linalg.h"

static void qr_of_the_textbook_matrix(void **state) {
    /* The usual example: R has the diagonal 14, 175, 35. */
    double a[9] = {12, -51, 4, 6, 167, -68, -4, 24, -41}, q[9], r[9];
    const double r_known[9] = {14, 21, -14, 0, 175, -70, 0, 0, 35};
    const double q_known[9] = {6. / 7,    -69. / 175, 58. / 175, 3. / 7,  158. / 175,
                               -6. / 175, -2. / 7,    6. / 35,   33. / 35};
    assert_int_equal(sow_qr(SOW_TENSOR(a, SOW_F64, 3, 3), SOW_TENSOR(q, SOW_F64, 3, 3), SOW_TENSOR(r, SOW_F64, 3, 3)),
                     SOW_OK);
    for (int i = 0; i < 9; i++) {
        /* the third column is turned so that R's diagonal is positive */
        assert_true(fabs(fabs(q[i]) - fabs(q_known[i])) < 1e-14);
        assert_true(fabs(fabs(r[i]) - fabs(r_known[i])) < 1e-12);
    }
    assert_true(r[0] > 0 && r[4] > 0 && r[8] > 0);
    assert_true(a[0] == 12 && a[8] == -41);
}

/* Q^T Q = I, A = Q R, R upper triangular with a diagonal that is not negative. */
static void check_qr(sow_tensor a, sow_tensor q, sow_tensor r, double tolerance) {
    int64_t m = a.shape[0], n = a.shape[1];
    for (int64_t i = 0; i < n; i++) {
        assert_true(sow_at(r, i * n + i) >= 0);
        for (int64_t j = 0; j < n; j++) {
            double dot = 0;
            for (int64_t k = 0; k < m; k++) dot += sow_at(q, k * n + i) * sow_at(q, k * n + j);
            assert_true(fabs(dot - (i == j)) < tolerance);
            if (j < i) assert_true(sow_at(r, i * n + j) == 0);
        }
    }
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++) sum += sow_at(q, i * n + k) * sow_at(r, k * n + j);
            assert_true(fabs(sum - sow_at(a, i * n + j)) < 10 * tolerance);
        }
}

static const struct { int64_t m, n; } shapes[] = {{1, 1}, {2, 1}, {7, 1}, {5, 3}, {16, 16}, {40, 33}, {200, 17}};
enum { SHAPES = sizeof shapes / sizeof *shapes, LARGEST = 200 * 33 };

static void qr_holds_for_every_shape_dtype_and_layout(void **state) {
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 3));
    for (int s = 0; s < SHAPES; s++)
        for (int variant = 0; variant < 8; variant++) {
            int64_t m = shapes[s].m, n = shapes[s].n;
            sow_dtype dtype = variant & 1 ? SOW_F32 : SOW_F64;
            double a_data[LARGEST], q_data[LARGEST], r_data[33 * 33];
            sow_tensor a = variant & 2 ? sow_transpose(SOW_TENSOR(a_data, SOW_F64, n, m))
                                       : SOW_TENSOR(a_data, SOW_F64, m, n);
            sow_tensor q = variant & 4 ? sow_transpose(SOW_TENSOR(q_data, dtype, n, m))
                                       : SOW_TENSOR(q_data, dtype, m, n);
            sow_tensor r = SOW_TENSOR(r_data, dtype, n, n);
            sow_rng_normal_f64(&rng, a_data, m * n, 0, 1);
            OK(sow_qr(a, q, r));
            check_qr(a, q, r, dtype == SOW_F32 ? 2e-5 : 1e-13);
        }
}

static void qr_works_in_place_and_without_r(void **state) {
    float a[12], q[12], by_rows[12], by_columns[12];
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 4));
    sow_rng_normal_f32(&rng, a, 12, 0, 1);
    OK(sow_qr(SOW_TENSOR(a, SOW_F32, 4, 3), SOW_TENSOR(q, SOW_F32, 4, 3), (sow_tensor){0}));
    memcpy(by_rows, a, sizeof a);
    sow_tensor rows = SOW_TENSOR(by_rows, SOW_F32, 4, 3);
    OK(sow_qr(rows, rows, (sow_tensor){0}));
    assert_memory_equal(by_rows, q, sizeof q);
    sow_tensor columns = sow_transpose(SOW_TENSOR(by_columns, SOW_F32, 3, 4));
    OK(sow_copy(columns, SOW_TENSOR(a, SOW_F32, 4, 3)));
    OK(sow_qr(columns, columns, (sow_tensor){0}));
    for (int i = 0; i < 12; i++) assert_true(sow_at(columns, i) == (double)q[i]);
}

static void a_matrix_without_full_rank_gives_orthonormal_columns(void **state) {
    double a[6] = {1, 1, 2, 2, 3, 3}, q[6], r[4];
    sow_tensor qt = SOW_TENSOR(q, SOW_F64, 3, 2), rt = SOW_TENSOR(r, SOW_F64, 2, 2);
    OK(sow_qr(SOW_TENSOR(a, SOW_F64, 3, 2), qt, rt));
    check_qr(SOW_TENSOR(a, SOW_F64, 3, 2), qt, rt, 1e-14);
}

static void qr_refuses_what_it_cannot_do(void **state) {
    double a[6] = {1, 2, 3, 4, 5, 6}, q[6], r[4];
    sow_tensor none = {0};
    assert_int_equal(sow_qr(SOW_TENSOR(a, SOW_F64, 2, 3), SOW_TENSOR(q, SOW_F64, 2, 3), none), SOW_E_SHAPE);
    assert_non_null(strstr(sow_message(), "[2, 3]"));
    assert_int_equal(sow_qr(SOW_TENSOR(a, SOW_F64, 3, 2), SOW_TENSOR(q, SOW_F64, 2, 3), none), SOW_E_SHAPE);
    assert_int_equal(sow_qr(SOW_TENSOR(a, SOW_F64, 3, 2), SOW_TENSOR(q, SOW_F64, 3, 2), SOW_TENSOR(r, SOW_F64, 1, 2)),
                     SOW_E_SHAPE);
    assert_int_equal(sow_qr(SOW_TENSOR(a, SOW_F64, 3, 2), SOW_TENSOR(q, SOW_BF16, 3, 2), none), SOW_E_TYPE);
    a[4] = NAN;
    assert_int_equal(sow_qr(SOW_TENSOR(a, SOW_F64, 3, 2), SOW_TENSOR(q, SOW_F64, 3, 2), none), SOW_E_NUMBER);
}

/* U diag(s) V^T = A, orthonormal U and V, s falling. */
static void svd_holds_for_tall_wide_and_square(void **state) {
    static const int64_t sizes[][2] = {{1, 1}, {5, 3}, {3, 5}, {20, 20}, {40, 7}};
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 5));
    for (int c = 0; c < 10; c++) {
        int64_t m = sizes[c / 2][0], n = sizes[c / 2][1], k = m < n ? m : n;
        double a_data[400], u[400], s[20], vt[400], only[20];
        sow_rng_normal_f64(&rng, a_data, m * n, 0, 1);
        sow_tensor a = c % 2 ? sow_transpose(SOW_TENSOR(a_data, SOW_F64, n, m)) : SOW_TENSOR(a_data, SOW_F64, m, n);
        OK(sow_svd(a, SOW_TENSOR(u, SOW_F64, m, k), SOW_TENSOR(s, SOW_F64, k), SOW_TENSOR(vt, SOW_F64, k, n)));
        OK(sow_svd(a, (sow_tensor){0}, SOW_TENSOR(only, SOW_F64, k), (sow_tensor){0}));
        for (int64_t i = 0; i < m * n; i++) {
            double sum = 0;
            for (int64_t j = 0; j < k; j++) sum += u[i / n * k + j] * s[j] * vt[j * n + i % n];
            assert_near(sum, sow_at(a, i), 1e-12);
        }
        for (int64_t i = 0; i < k * k; i++) {
            double uu = 0, vv = 0;
            for (int64_t j = 0; j < m; j++) uu += u[j * k + i / k] * u[j * k + i % k];
            for (int64_t j = 0; j < n; j++) vv += vt[i / k * n + j] * vt[i % k * n + j];
            assert_near(uu, i / k == i % k, 1e-12);
            assert_near(vv, i / k == i % k, 1e-12);
        }
        for (int64_t i = 0; i < k; i++) {
            assert_true(s[i] >= 0 && (i == 0 || s[i] <= s[i - 1]));
            assert_near(only[i], s[i], 1e-12);
        }
    }
}

static void eigenvalues_of_a_known_matrix_fall(void **state) {
    /* [[2, 1], [1, 2]]: 3 with (1, 1)/sqrt 2, 1 with (1, -1)/sqrt 2; given by halves that differ in their triangles */
    double a[4] = {2, 0, 2, 2}, w[2], v[4];
    OK(sow_eigen_symmetric(SOW_TENSOR(a, SOW_F64, 2, 2), SOW_TENSOR(w, SOW_F64, 2), SOW_TENSOR(v, SOW_F64, 2, 2)));
    assert_near(w[0], 3, 1e-14);
    assert_near(w[1], 1, 1e-14);
    assert_near(v[0], sqrt(.5), 1e-14);
    assert_near(v[2], sqrt(.5), 1e-14);
    assert_near(fabs(v[1]), sqrt(.5), 1e-14);
    assert_near(v[1] + v[3], 0, 1e-14);
    FAILS(sow_eigen_symmetric(SOW_TENSOR(a, SOW_F64, 1, 2), (sow_tensor){0}, (sow_tensor){0}), SOW_E_SHAPE, "[1, 2]");
    a[0] = NAN;
    FAILS(sow_svd(SOW_TENSOR(a, SOW_F64, 2, 2), (sow_tensor){0}, SOW_TENSOR(w, SOW_F64, 2), (sow_tensor){0}),
          SOW_E_NUMBER, "svd");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qr_of_the_textbook_matrix),
        cmocka_unit_test(qr_holds_for_every_shape_dtype_and_layout),
        cmocka_unit_test(qr_works_in_place_and_without_r),
        cmocka_unit_test(a_matrix_without_full_rank_gives_orthonormal_columns),
        cmocka_unit_test(qr_refuses_what_it_cannot_do),
        cmocka_unit_test(svd_holds_for_tall_wide_and_square),
        cmocka_unit_test(eigenvalues_of_a_known_matrix_fall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
