/* subgm: the card's worked step, equivariances, fixed points, Sign-RIP, recovery under gross outliers, refusals. */
#include "starts/factors.h"

/* ---- the worked step: A = e1 e1^T, e1 e2^T + e2 e1^T, e2 e2^T; y = (1, 0, 0); U = (.5, .5) ---- */

static double worked_a[12] = {1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1}, worked_y[3] = {1, 0, 0};

static sow_operator worked_operator(void) {
    sow_operator op;
    OK(sow_operator_dense(SOW_TENSOR(worked_a, SOW_F64, 3, 4), 2, 2, 0, &op));
    op.symmetric = true;
    return op;
}

static sow_subgm_result one_step(sow_subgm_norm norm, double eta) {
    double u[2] = {.5, .5};
    sow_factors start = {.n1 = 2, .n2 = 2, .k = 1, .f = u, .g = u, .symmetric = true};
    sow_operator op = worked_operator();
    sow_subgm_config config = {.rank = 1, .alpha = 1, .norm = norm, .eta0 = eta, .rho = 1, .steps = 1, .start = &start};
    sow_subgm_result r;
    OK(sow_subgm(&op, worked_y, &config, arena, &r));
    return r;
}

static void a_worked_step_comes_out(void **state) {
    sow_subgm_result r = one_step(SOW_NORM_FROBENIUS, .5);
    assert_near(r.rows[0].loss, .5, 1e-15); /* residuals -.75, .5, .25 */
    assert_near(r.x.f[0], .5, 1e-15);       /* Q U = (0, 1/3), ||Q||_F = 2/3 */
    assert_near(r.x.f[1], .25, 1e-15);
    r = one_step(SOW_NORM_NONE, .3);
    assert_near(r.x.f[1], .5 - .3 / 3, 1e-15);
    r = one_step(SOW_NORM_SPECTRAL, .3); /* ||Q||_2 = sqrt(2)/3: both eigenvalues have that magnitude */
    assert_near(r.x.f[1], .5 - .3 / sqrt(2), 1e-12);
}

/* ---- planted problems ---- */

enum { N = 10, M = 160, R = 2 };

typedef struct problem {
    sow_operator op;
    double *a, *y, *truth;
} problem;

/* X* = V V^T with V [N, R] normal / sqrt N; the first `outliers` measurements get 50 added. */
static problem plant(uint64_t seed, int outliers) {
    problem p;
    double v[N * R];
    OK(SOW_NEW(arena, p.a, M * N * N));
    OK(SOW_NEW(arena, p.y, M));
    OK(SOW_NEW(arena, p.truth, N * N));
    normal(seed, p.a, M * N * N);
    normal(seed + 1000, v, N * R);
    sow_gemm_f64(false, true, N, N, R, 1. / N, v, R, v, R, 0, p.truth, N);
    for (int i = 0; i < M; i++) {
        for (int j = 0; j < N * N; j++) p.y[i] += p.a[i * N * N + j] * p.truth[j];
        if (i < outliers) p.y[i] += 50;
    }
    OK(sow_operator_dense(SOW_TENSOR(p.a, SOW_F64, M, N * N), N, N, 0, &p.op));
    p.op.symmetric = true;
    return p;
}

static void gross_outliers_of_unknown_number_and_rank_do_no_harm(void **state) {
    problem p = plant(1, 24);
    sow_subgm_config config = sow_subgm_defaults();
    sow_subgm_result r;
    config.rank = N;
    config.truth = p.truth;
    OK(sow_subgm(&p.op, p.y, &config, arena, &r));
    assert_true(r.rows[r.row_count - 1].error < 1e-4);
    assert_int_equal(r.rank, R);
    assert_int_equal(r.outliers, 24);
    for (int i = 0; i < 24; i++) assert_near(r.residual[i], -50, 1e-3);
    config.squares = true;
    OK(sow_subgm(&p.op, p.y, &config, arena, &r));
    assert_true(r.rows[r.row_count - 1].error > .5); /* least squares do not stand them */
}

static void a_general_matrix_is_lifted(void **state) {
    enum { N2 = 7, MEASURED = 200 };
    double u[N], v[N2], *a, *y, truth[N * N2];
    sow_operator op;
    sow_subgm_result r;
    sow_subgm_config config = sow_subgm_defaults();
    OK(SOW_NEW(arena, a, MEASURED * N * N2));
    OK(SOW_NEW(arena, y, MEASURED));
    normal(5, a, MEASURED * N * N2);
    normal(6, u, N);
    normal(7, v, N2);
    for (int j = 0; j < N * N2; j++) truth[j] = u[j / N2] * v[j % N2];
    for (int i = 0; i < MEASURED; i++) {
        for (int j = 0; j < N * N2; j++) y[i] += a[i * N * N2 + j] * truth[j];
        if (i % 10 == 0) y[i] = -30;
    }
    OK(sow_operator_dense(SOW_TENSOR(a, SOW_F64, MEASURED, N * N2), N, N2, 0, &op));
    config.truth = truth;
    OK(sow_subgm(&op, y, &config, arena, &r));
    assert_int_equal(r.rank, 1);
    assert_true(r.rows[r.row_count - 1].error < 1e-4);
}

/* y -> 4 y scales every iterate by 2, in every bit: the start counts in units of the data's scale. */
static void measurements_times_four_give_factors_times_two_exactly(void **state) {
    problem p = plant(2, 16);
    sow_subgm_config config = sow_subgm_defaults();
    sow_subgm_result first, second;
    config.steps = 300;
    OK(sow_subgm(&p.op, p.y, &config, arena, &first));
    for (int i = 0; i < M; i++) p.y[i] *= 4;
    OK(sow_subgm(&p.op, p.y, &config, arena, &second));
    for (int i = 0; i < N * first.x.k; i++) assert_true(second.x.f[i] == 2 * first.x.f[i]);
}

/* Only the sign of a residual enters: another gross value of the same sign changes no bit. */
static void the_size_of_an_outlier_is_irrelevant(void **state) {
    problem p = plant(3, 16);
    double start_values[N * N];
    sow_factors start = {.n1 = N, .n2 = N, .k = N, .f = start_values, .g = start_values, .symmetric = true};
    sow_subgm_config config = sow_subgm_defaults();
    sow_subgm_result first, second;
    normal(8, start_values, N * N);
    for (int i = 0; i < N * N; i++) start_values[i] *= 1e-4;
    config.start = &start;
    config.rank = N;
    config.rho = .98;
    OK(sow_subgm(&p.op, p.y, &config, arena, &first));
    for (int i = 0; i < 16; i++) p.y[i] = 1e6 + i;
    OK(sow_subgm(&p.op, p.y, &config, arena, &second));
    assert_memory_equal(first.x.f, second.x.f, sizeof start_values);
}

/* A_i -> O A_i O^T turns U into O U. */
static void rotating_the_problem_rotates_the_factors(void **state) {
    problem p = plant(4, 8);
    double o[N * N], start_values[N * 3], turned_values[N * 3], turned[N * N], half[N * N];
    sow_factors start = {.n1 = N, .n2 = N, .k = 3, .f = start_values, .g = start_values, .symmetric = true},
                other = start;
    sow_subgm_config config = {
        .rank = 3, .alpha = 1e-3, .norm = SOW_NORM_FROBENIUS, .eta0 = .1, .rho = .99, .steps = 20, .start = &start};
    sow_subgm_result first, second;
    other.f = other.g = turned_values;
    normal(9, o, N * N);
    normal(10, start_values, N * 3);
    OK(sow_qr(SOW_TENSOR(o, SOW_F64, N, N), SOW_TENSOR(o, SOW_F64, N, N), (sow_tensor){0}));
    OK(sow_subgm(&p.op, p.y, &config, arena, &first));
    sow_gemm_f64(false, false, N, 3, N, 1, o, N, start_values, 3, 0, turned_values, 3);
    for (int i = 0; i < M; i++) {
        sow_gemm_f64(false, false, N, N, N, 1, o, N, p.a + i * N * N, N, 0, half, N);
        sow_gemm_f64(false, true, N, N, N, 1, half, N, o, N, 0, p.a + i * N * N, N);
    }
    config.start = &other;
    OK(sow_subgm(&p.op, p.y, &config, arena, &second));
    sow_gemm_f64(false, false, N, 3, N, 1, o, N, first.x.f, 3, 0, turned, 3);
    for (int i = 0; i < N * 3; i++) assert_near(second.x.f[i], turned[i], 1e-10);
}

static void zero_stays_and_rank_never_grows(void **state) {
    problem p = plant(5, 8);
    double values[N * 3] = {0};
    sow_factors start = {.n1 = N, .n2 = N, .k = 3, .f = values, .g = values, .symmetric = true};
    sow_subgm_config config = {.rank = 3, .alpha = 1e-3, .eta0 = .3, .rho = .98, .steps = 50, .start = &start};
    sow_subgm_result r;
    OK(sow_subgm(&p.op, p.y, &config, arena, &r));
    for (int i = 0; i < N * 3; i++) assert_true(r.x.f[i] == 0);
    for (int i = 0; i < N; i++) values[3 * i] = .01 * (i + 1); /* one column */
    OK(sow_subgm(&p.op, p.y, &config, arena, &r));
    assert_true(r.singular[0] > 1e-3 && r.singular[1] < 1e-14);
}

/* The step is a descent direction: <D, V> is the derivative of (1/2m) sum |residual| along V. */
static void the_subgradient_is_the_derivative(void **state) {
    problem p = plant(6, 8);
    double u[N], v[N], moved[N], loss[2], slope = 0, small = 1e-6;
    sow_factors start = {.n1 = N, .n2 = N, .k = 1, .f = u, .g = u, .symmetric = true};
    sow_subgm_config config = {.rank = 1,
                               .alpha = 1,
                               .norm = SOW_NORM_NONE,
                               .rule = SOW_SUBGM_CONSTANT,
                               .eta0 = 1,
                               .rho = 1,
                               .steps = 1,
                               .start = &start};
    sow_subgm_result r;
    normal(11, u, N);
    normal(12, v, N);
    OK(sow_subgm(&p.op, p.y, &config, arena, &r));
    for (int i = 0; i < N; i++) slope += (u[i] - r.x.f[i]) * v[i];
    for (int side = 0; side < 2; side++) {
        loss[side] = 0;
        for (int i = 0; i < N; i++) moved[i] = u[i] + (side ? small : -small) * v[i];
        for (int i = 0; i < M; i++) {
            double ax = 0;
            for (int j = 0; j < N * N; j++) ax += p.a[i * N * N + j] * moved[j / N] * moved[j % N];
            loss[side] += fabs(ax - p.y[i]) / (2 * M);
        }
    }
    assert_near((loss[1] - loss[0]) / (2 * small), slope, 1e-7 * (1 + fabs(slope)));
}

/* With the spectral norm and Q constant, the steps along Q sum to eta0 (1 - rho^T)/(1 - rho). */
static void the_travel_is_the_geometric_sum(void **state) {
    sow_subgm_result r;
    problem p = plant(7, 0);
    sow_subgm_config config = sow_subgm_defaults();
    config.rho = .9;
    config.steps = 10;
    OK(sow_subgm(&p.op, p.y, &config, arena, &r));
    assert_near(r.travel, .3 * (1 - pow(.9, 10)) / .1, 1e-12);
    config.rho = 0;
    config.steps = 0;
    p.op.symmetric = true;
    OK(sow_subgm(&p.op, p.y, &config, arena, &r));
    double expected = 1 - .3 / (1.5 * sqrt((double)r.start_rank) * log(1e6));
    assert_near(r.rho, expected, 1e-15);
    assert_int_equal(r.steps, (int)ceil(log(1e-7) / log(expected)));
}

/* Missing cells and 10 % wrong ones in a table of rank 1: the default budget is chosen by held-out cells. */
static void a_table_with_missing_and_wrong_cells_comes_back(void **state) {
    enum { ROWS = 30, COLUMNS = 20, MEASURED = 500 };
    int64_t order[ROWS * COLUMNS], row[MEASURED], column[MEASURED];
    double y[MEASURED], truth[ROWS * COLUMNS];
    sow_rng rng;
    sow_operator op;
    sow_subgm_result r;
    sow_subgm_config config = sow_subgm_defaults();
    for (int i = 0; i < ROWS * COLUMNS; i++) truth[i] = (1 + i / COLUMNS % 5) * (2 - i % COLUMNS % 3);
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 13));
    sow_rng_permutation(&rng, order, ROWS * COLUMNS);
    for (int i = 0; i < MEASURED; i++) {
        row[i] = order[i] / COLUMNS, column[i] = order[i] % COLUMNS;
        y[i] = i % 10 ? truth[order[i]] : 40 - i % 7;
    }
    OK(sow_operator_entries(arena, MEASURED, ROWS, COLUMNS, row, column, &op));
    config.truth = truth;
    OK(sow_subgm(&op, y, &config, arena, &r));
    assert_int_equal(r.rank, 1);
    assert_int_equal(r.tried_count, 3);
    assert_true(r.least_error < 1e-2);
    assert_true(r.holdout < 1e-3);
}

static void threads_change_no_bit(void **state) {
    problem p = plant(8, 16);
    sow_subgm_config config = sow_subgm_defaults();
    sow_subgm_result first, second;
    config.steps = 100;
    sow_set_threads(1);
    OK(sow_subgm(&p.op, p.y, &config, arena, &first));
    sow_set_threads(4);
    OK(sow_subgm(&p.op, p.y, &config, arena, &second));
    sow_set_threads(1);
    assert_memory_equal(first.x.f, second.x.f, (size_t)(N * first.x.k) * sizeof *first.x.f);
}

/* E[sign(g + s) g] = sqrt(2/pi) exp(-s^2/2); noiseless phi tends to sqrt(2/pi). */
static void sign_rip_finds_the_constant_of_gaussian_measurements(void **state) {
    enum { MANY = 20000, SIDE = 6 };
    double *a, *shift;
    sow_operator op;
    sow_sign_rip found;
    OK(SOW_NEW(arena, a, MANY * SIDE * SIDE));
    OK(SOW_NEW(arena, shift, MANY));
    normal(14, a, MANY * SIDE * SIDE);
    OK(sow_operator_dense(SOW_TENSOR(a, SOW_F64, MANY, SIDE * SIDE), SIDE, SIDE, 0, &op));
    OK(sow_subgm_sign_rip(&op, NULL, 1, 10, 1, arena, &found));
    assert_near(found.phi, 0.797885, 3 / sqrt(MANY * 10.));
    assert_true(found.delta < .1 && found.delta >= found.mean_delta);
    for (int i = 0; i < MANY; i++) shift[i] = 1;
    OK(sow_subgm_sign_rip(&op, shift, 1, 10, 1, arena, &found));
    assert_near(found.phi, 0.4839414, .01);
    normal(15, shift, MANY);
    for (int i = 0; i < MANY; i++) shift[i] *= 2;
    OK(sow_subgm_sign_rip(&op, shift, 1, 10, 1, arena, &found));
    assert_near(found.phi, 0.3568248, .01);
}

static void what_cannot_work_is_refused(void **state) {
    problem p = plant(9, 0);
    sow_subgm_config config = sow_subgm_defaults();
    sow_subgm_result r;
    config.rank = N + 1;
    FAILS(sow_subgm(&p.op, p.y, &config, arena, &r), SOW_E_SHAPE, "expected 1 to 10");
    config.rank = 2;
    config.alpha = -1;
    FAILS(sow_subgm(&p.op, p.y, &config, arena, &r), SOW_E_RANGE, "alpha");
    config.alpha = 1e-6;
    p.y[7] = NAN;
    FAILS(sow_subgm(&p.op, p.y, &config, arena, &r), SOW_E_NUMBER, "measurements");
    p.y[7] = 0;
    p.a[5] = INFINITY;
    assert_int_not_equal(sow_subgm(&p.op, p.y, &config, arena, &r), SOW_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worked_step_comes_out),
        cmocka_unit_test(gross_outliers_of_unknown_number_and_rank_do_no_harm),
        cmocka_unit_test(a_general_matrix_is_lifted),
        cmocka_unit_test(measurements_times_four_give_factors_times_two_exactly),
        cmocka_unit_test(the_size_of_an_outlier_is_irrelevant),
        cmocka_unit_test(rotating_the_problem_rotates_the_factors),
        cmocka_unit_test(zero_stays_and_rank_never_grows),
        cmocka_unit_test(the_subgradient_is_the_derivative),
        cmocka_unit_test(the_travel_is_the_geometric_sum),
        cmocka_unit_test(a_table_with_missing_and_wrong_cells_comes_back),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(sign_rip_finds_the_constant_of_gaussian_measurements),
        cmocka_unit_test(what_cannot_work_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
