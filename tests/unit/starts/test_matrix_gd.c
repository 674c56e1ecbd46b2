/* matrix-gd: scalars whose orbits are known, rebalancing, imbalance, gradients, decay verdicts, tables. */
#include "starts/factors.h"

/* ---- scalars with target 0, seen as a corner of a matrix whose other measurement is 1: y = (1, 0) on the diagonal ---- */

/* Two entries, (0, 0) with 1 and (1, 1) with 0; weight n1 n2 / m = 2, so lr .05 is the scalar's .1. */
static sow_matrix_gd_result scalar(bool symmetric, double f0, double g0, int64_t steps) {
    static const int64_t index[2] = {0, 1};
    static const double y[2] = {1, 0};
    double f[4] = {1, 0, 0, f0}, g[4] = {1, 0, 0, g0};
    sow_operator op;
    sow_matrix_gd_result r;
    OK(sow_operator_entries(arena, 2, 2, 2, index, index, &op));
    op.symmetric = symmetric;
    sow_factors start = {.n1 = 2, .n2 = 2, .k = 2, .f = f, .g = symmetric ? f : g, .symmetric = symmetric};
    sow_matrix_gd_config config = sow_matrix_gd_defaults();
    config.rank = 2;
    config.absolute = true;
    config.lr = .05;
    config.steps = steps;
    config.start = &start;
    OK(sow_matrix_gd(&op, y, &config, arena, &r));
    return r;
}

static void a_symmetric_scalar_falls_like_one_over_t(void **state) {
    /* x <- x - .1 x^3 from 1: x^2 against 1/(2 eta t) */
    static const struct {
        int64_t t;
        double square;
    } known[] = {{10, 0.3140971}, {100, 0.04656898}, {1000, 0.004955153}, {10000, 0.000499462}};
    for (int i = 0; i < 4; i++) {
        sow_matrix_gd_result r = scalar(true, 1, 1, known[i].t);
        assert_near(r.x.f[3] * r.x.f[3], known[i].square, 1e-7);
    }
    sow_matrix_gd_result r = scalar(true, 1, 1, 10000);
    assert_near(.01 * 1e8 * pow(r.x.f[3], 4), 0.249462, 1e-5); /* eta^2 t^2 x^4 -> 1/4 */
    assert_int_equal(r.decay.kind, SOW_DECAY_POWER);
    assert_near(r.decay.slope, -2, .05);
}

static void an_unbalanced_scalar_falls_exponentially(void **state) {
    sow_matrix_gd_result r = scalar(false, .6, .2, 1);
    assert_near(r.x.f[3], 0.5976, 1e-12);
    assert_near(r.x.g[3], 0.1928, 1e-12);
    r = scalar(false, .6, .2, 2);
    assert_near(r.x.f[3], 0.5953786108, 1e-10);
    assert_near(r.x.g[3], 0.1859146153, 1e-10);
    r = scalar(false, .6, .2, 200);
    assert_near(r.x.f[3], 0.5651102897, 1e-10);
    assert_near(r.x.g[3], 2.848547e-4, 1e-9);
    assert_near(r.x.f[3] * r.x.f[3] - r.x.g[3] * r.x.g[3], 0.3193496, 1e-7);
    r = scalar(false, .6, .2, 600);
    assert_int_equal(r.decay.kind, SOW_DECAY_LINEAR);
    assert_near(r.decay.rate, 2 * .1 * .3193496, 2e-3); /* 2 eta (f^2 - g^2) */
}

/* ---- rebalancing ---- */

static void rebalancing_gives_the_worked_factors(void **state) {
    double f[6] = {2, 0, 0, .5, 0, 0}, g[6] = {1, 1, 0, 2, 1, 0};
    sow_factors x = {.n1 = 3, .n2 = 3, .k = 2, .f = f, .g = g};
    OK(sow_rebalance(&x, 1, arena));
    for (int j = 0; j < 2; j++) { /* up to the sign of a column */
        double sign = f[j * 2 + j] > 0 ? 1 : -1;
        const double expected_f[3] = {j == 0, j == 1, 0}, expected_g[2][3] = {{2, 0, 2}, {.5, 1, 0}};
        for (int i = 0; i < 3; i++) {
            assert_near(sign * f[i * 2 + j], expected_f[i], 1e-14);
            assert_near(sign * g[i * 2 + j], expected_g[j][i], 1e-14);
        }
    }
    double dead[4] = {1, 0, 1, 0}, other[4] = {1, 2, 3, 4};
    x = (sow_factors){.n1 = 2, .n2 = 2, .k = 2, .f = dead, .g = other};
    FAILS(sow_rebalance(&x, 1, arena), SOW_E_RANGE, "smallest singular value");
    assert_true(dead[0] == 1 && other[3] == 4);
}

static void rebalancing_keeps_the_product_and_makes_columns_orthogonal(void **state) {
    enum { N1 = 9, N2 = 6, K = 4 };
    double f[N1 * K], g[N2 * K], before[N1 * N2], after[N1 * N2], gram[K * K];
    sow_factors x = {.n1 = N1, .n2 = N2, .k = K, .f = f, .g = g};
    normal(1, f, N1 * K);
    normal(2, g, N2 * K);
    sow_gemm_f64(false, true, N1, N2, K, 1, f, K, g, K, 0, before, N2);
    OK(sow_rebalance(&x, .7, arena));
    sow_gemm_f64(false, true, N1, N2, K, 1, f, K, g, K, 0, after, N2);
    sow_gemm_f64(true, false, K, K, N1, 1, f, K, f, K, 0, gram, K);
    for (int i = 0; i < N1 * N2; i++) assert_near(after[i], before[i], 1e-12);
    for (int i = 0; i < K * K; i++) assert_near(gram[i], i / K == i % K ? .49 : 0, 1e-13);
}

/* ---- problems ---- */

enum { N = 12, RANK = 2, MEASURED = 400 };

typedef struct problem {
    sow_operator op;
    double *a, *y, *truth;
} problem;

static problem plant(uint64_t seed) {
    problem p;
    double v[N * RANK];
    OK(SOW_NEW(arena, p.a, MEASURED * N * N));
    OK(SOW_NEW(arena, p.y, MEASURED));
    OK(SOW_NEW(arena, p.truth, N * N));
    normal(seed, p.a, MEASURED * N * N);
    for (int i = 0; i < MEASURED; i++)
        for (int r = 0; r < N; r++)
            for (int c = 0; c < r; c++) p.a[i * N * N + c * N + r] = p.a[i * N * N + r * N + c];
    normal(seed + 1000, v, N * RANK);
    OK(sow_qr(SOW_TENSOR(v, SOW_F64, N, RANK), SOW_TENSOR(v, SOW_F64, N, RANK), (sow_tensor){0}));
    sow_gemm_f64(false, true, N, N, RANK, 1, v, RANK, v, RANK, 0, p.truth, N);
    for (int i = 0; i < MEASURED; i++)
        for (int j = 0; j < N * N; j++) p.y[i] += p.a[i * N * N + j] * p.truth[j];
    OK(sow_operator_dense(SOW_TENSOR(p.a, SOW_F64, MEASURED, N * N), N, N, 0, &p.op));
    return p;
}

static sow_matrix_gd_config settings(int64_t rank, double alpha, int64_t steps) {
    sow_matrix_gd_config config = sow_matrix_gd_defaults();
    config.rank = rank;
    config.alpha = alpha;
    config.steps = steps;
    config.absolute = true;
    return config;
}

static void rebalancing_frees_the_rate_from_alpha(void **state) {
    sow_operator op;
    double rate[2];
    problem p = plant(3);
    OK(sow_operator_identity(N, N, &op));
    for (int i = 0; i < 2; i++) {
        sow_matrix_gd_config config = settings(4, i ? .2 : .5, 1500);
        sow_matrix_gd_result plain, turned;
        config.truth = p.truth;
        OK(sow_matrix_gd(&op, p.truth, &config, arena, &plain));
        config.rebalance = true;
        config.beta = .7;
        OK(sow_matrix_gd(&op, p.truth, &config, arena, &turned));
        assert_true(turned.switched > 0 && turned.switched < 400);
        assert_near(turned.decay.rate, 2 * .1 * .49, .0098); /* 2 eta beta^2 within a tenth */
        assert_true(turned.decay.rate > 2 * plain.decay.rate);
        if (i == 0) assert_int_equal(plain.decay.kind, SOW_DECAY_LINEAR); /* at .2 too slow to be told in 1,500 steps */
        rate[i] = plain.decay.rate;
    }
    assert_true(rate[0] > 3 * rate[1]); /* plain: alpha^2 */
}

static void symmetric_factors_of_too_high_a_rank_are_slow(void **state) {
    problem p = plant(4);
    sow_matrix_gd_config config = settings(4, .2, 1500);
    sow_matrix_gd_result high, exact;
    config.truth = p.truth;
    p.op.symmetric = true;
    OK(sow_matrix_gd(&p.op, p.y, &config, arena, &high));
    assert_int_equal(high.decay.kind, SOW_DECAY_POWER);
    assert_true(high.decay.slope > -2.4 && high.decay.slope < -1.4);
    config.rank = RANK;
    OK(sow_matrix_gd(&p.op, p.y, &config, arena, &exact));
    assert_int_equal(exact.decay.kind, SOW_DECAY_LINEAR);
    assert_true(exact.error[exact.steps] < 1e-20);
}

/* Symmetric A_i, F = G = X: the gradient of the quarter loss is that of the pair. */
static void equal_factors_move_as_one(void **state) {
    problem p = plant(5);
    double x0[N * 3], g0[N * 3];
    normal(6, x0, N * 3);
    for (int i = 0; i < N * 3; i++) x0[i] *= .1, g0[i] = x0[i];
    sow_factors one = {.n1 = N, .n2 = N, .k = 3, .f = x0, .g = x0, .symmetric = true},
                pair = {.n1 = N, .n2 = N, .k = 3, .f = x0, .g = g0};
    sow_matrix_gd_config config = settings(3, 1, 50);
    sow_matrix_gd_result a, b;
    config.start = &pair;
    OK(sow_matrix_gd(&p.op, p.y, &config, arena, &a));
    p.op.symmetric = true;
    config.start = &one;
    OK(sow_matrix_gd(&p.op, p.y, &config, arena, &b));
    for (int i = 0; i < N * 3; i++) {
        assert_near(a.x.f[i], b.x.f[i], 1e-12);
        assert_near(a.x.g[i], b.x.f[i], 1e-12);
    }
}

/* One step of size eta moves F by -eta times the derivative of the loss. */
static void steps_follow_the_gradient(void **state) {
    problem p = plant(7);
    double f[N * 2], g[N * 2], moved[2][N * 2], d[2][N * 2], loss[2], slope = 0, small = 1e-5;
    sow_factors start = {.n1 = N, .n2 = N, .k = 2, .f = f, .g = g};
    sow_matrix_gd_config config = settings(2, 1, 1);
    sow_matrix_gd_result r;
    normal(8, f, N * 2), normal(9, g, N * 2), normal(10, d[0], N * 2), normal(11, d[1], N * 2);
    config.start = &start;
    config.lr = 1e-3;
    OK(sow_matrix_gd(&p.op, p.y, &config, arena, &r));
    for (int i = 0; i < N * 2; i++) slope += (f[i] - r.x.f[i]) / 1e-3 * d[0][i] + (g[i] - r.x.g[i]) / 1e-3 * d[1][i];
    for (int side = 0; side < 2; side++) {
        sow_factors other = {.n1 = N, .n2 = N, .k = 2, .f = moved[0], .g = moved[1]};
        for (int i = 0; i < N * 2; i++) {
            moved[0][i] = f[i] + (side ? small : -small) * d[0][i];
            moved[1][i] = g[i] + (side ? small : -small) * d[1][i];
        }
        config.start = &other;
        OK(sow_matrix_gd(&p.op, p.y, &config, arena, &r));
        loss[side] = r.loss[0];
    }
    assert_near((loss[1] - loss[0]) / (2 * small), slope, 1e-6 * fabs(slope));
}

/* Delta' - Delta = eta^2 (G^T E^T E G - F^T E E^T F): first-order terms cancel; and the truth is a fixed point. */
static void imbalance_drifts_in_second_order_only(void **state) {
    problem p = plant(12);
    double f[N * 2], g[N * 2], eg[N * 2], ef[N * 2], before[4], after[4], drift[4], eta = .01;
    sow_factors start = {.n1 = N, .n2 = N, .k = 2, .f = f, .g = g};
    sow_matrix_gd_config config = settings(2, 1, 1);
    sow_matrix_gd_result r;
    normal(13, f, N * 2), normal(14, g, N * 2);
    config.start = &start;
    config.lr = eta;
    OK(sow_matrix_gd(&p.op, p.y, &config, arena, &r));
    for (int i = 0; i < N * 2; i++) eg[i] = (f[i] - r.x.f[i]) / eta, ef[i] = (g[i] - r.x.g[i]) / eta;
    sow_gemm_f64(true, false, 2, 2, N, 1, f, 2, f, 2, 0, before, 2);
    sow_gemm_f64(true, false, 2, 2, N, -1, g, 2, g, 2, 1, before, 2);
    sow_gemm_f64(true, false, 2, 2, N, 1, r.x.f, 2, r.x.f, 2, 0, after, 2);
    sow_gemm_f64(true, false, 2, 2, N, -1, r.x.g, 2, r.x.g, 2, 1, after, 2);
    sow_gemm_f64(true, false, 2, 2, N, eta * eta, eg, 2, eg, 2, 0, drift, 2);
    sow_gemm_f64(true, false, 2, 2, N, -eta * eta, ef, 2, ef, 2, 1, drift, 2);
    for (int i = 0; i < 4; i++) assert_near(after[i] - before[i], drift[i], 1e-10);
}

static void nothing_moves_at_the_truth(void **state) {
    sow_operator op;
    double f[2] = {1, 2}, g[3] = {3, 4, 5}, y[6] = {3, 4, 5, 6, 8, 10};
    sow_factors start = {.n1 = 2, .n2 = 3, .k = 1, .f = f, .g = g};
    sow_matrix_gd_config config = settings(1, 1, 5);
    sow_matrix_gd_result r;
    config.start = &start;
    OK(sow_operator_identity(2, 3, &op));
    OK(sow_matrix_gd(&op, y, &config, arena, &r));
    assert_memory_equal(r.x.f, f, sizeof f);
    assert_memory_equal(r.x.g, g, sizeof g);
}

static void too_large_a_step_is_said_to_diverge(void **state) {
    problem p = plant(15);
    sow_matrix_gd_config config = settings(3, 1, 500);
    sow_matrix_gd_result r;
    config.lr = 50;
    FAILS(sow_matrix_gd(&p.op, p.y, &config, arena, &r), SOW_E_NUMBER, "smaller --lr");
    config.lr = .1;
    memset(p.y, 0, MEASURED * sizeof *p.y);
    FAILS(sow_matrix_gd(&p.op, p.y, &config, arena, &r), SOW_E_NUMBER, "carry nothing");
}

/* ---- decay ---- */

static void decays_are_told_apart(void **state) {
    enum { STEPS = 3000 };
    double e[STEPS];
    for (int t = 0; t < STEPS; t++) e[t] = exp(-.01 * t);
    sow_decay_fit d = sow_decay_of(e, STEPS, 0, 1e-24);
    assert_int_equal(d.kind, SOW_DECAY_LINEAR);
    assert_near(d.rate, .01, 1e-12);
    for (int t = 0; t < STEPS; t++) e[t] = pow(t + 1, -2);
    d = sow_decay_of(e, STEPS, 0, 1e-24);
    assert_int_equal(d.kind, SOW_DECAY_POWER);
    assert_near(d.slope, -2, 1e-12);
    for (int t = 0; t < STEPS; t++) e[t] = exp(-.05 * t) + 1e-8;
    d = sow_decay_of(e, STEPS, 0, 1e-24);
    assert_int_equal(d.kind, SOW_DECAY_FLOOR);
    assert_near(d.rate, .05, .002);
    for (int t = 0; t < STEPS; t++) e[t] = 1 - 1e-5 * t;
    assert_int_equal(sow_decay_of(e, STEPS, 0, 1e-24).kind, SOW_DECAY_UNKNOWN);
}

/* ---- tables ---- */

enum { ROWS = 40, COLUMNS = 8 };

/* Rank 1 with offsets and units of its own for every column; a fifth of the cells missing. */
static void make_table(double *full, double *holes, double noise) {
    double u[ROWS], v[COLUMNS], extra[ROWS * COLUMNS];
    normal(16, u, ROWS), normal(17, v, COLUMNS), normal(18, extra, ROWS * COLUMNS);
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        int r = i / COLUMNS, c = i % COLUMNS;
        full[i] = 10 * c + (c + 1) * (u[r] * v[c] + noise * extra[i]);
        holes[i] = (i * 7 + r * 3) % 5 == 0 ? NAN : full[i];
    }
}

static void a_table_of_low_rank_is_filled(void **state) {
    double full[ROWS * COLUMNS], holes[ROWS * COLUMNS], worst = 0;
    sow_complete_config config = sow_complete_defaults();
    sow_complete_result r;
    make_table(full, holes, 0);
    OK(sow_complete(holes, ROWS, COLUMNS, &config, arena, &r));
    for (int i = 0; i < ROWS * COLUMNS; i++) worst = fmax(worst, fabs(r.filled[i] - full[i]) / (1 + i % COLUMNS));
    assert_true(r.rank >= 1);
    assert_true(worst < .3); /* in units of the factors, whose spread is 1 */
    assert_true(r.test_error < .1 && r.test_means > .5);
}

static void pure_noise_is_filled_with_offsets(void **state) {
    double noise[ROWS * COLUMNS];
    sow_complete_config config = sow_complete_defaults();
    sow_complete_result r;
    normal(19, noise, ROWS * COLUMNS);
    for (int i = 0; i < ROWS * COLUMNS; i += 7) noise[i] = NAN;
    OK(sow_complete(noise, ROWS, COLUMNS, &config, arena, &r));
    assert_true(r.test_error > .9 * r.test_means); /* nothing to gain */
}

static void amounts_stay_amounts(void **state) {
    double table[ROWS * COLUMNS], u[ROWS], v[COLUMNS];
    sow_complete_config config = sow_complete_defaults();
    sow_complete_result r;
    normal(20, u, ROWS), normal(21, v, COLUMNS);
    for (int i = 0; i < ROWS * COLUMNS; i++) table[i] = i % 6 == 0 ? NAN : fabs(u[i / COLUMNS] * v[i % COLUMNS]);
    config.non_negative = true;
    OK(sow_complete(table, ROWS, COLUMNS, &config, arena, &r));
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        assert_true(r.filled[i] >= 0);
        if (isnan(table[i]))
            assert_near(r.filled[i], fabs(u[i / COLUMNS] * v[i % COLUMNS]),
                        .15 * (1 + fabs(u[i / COLUMNS] * v[i % COLUMNS])));
    }
    table[9] = -1;
    FAILS(sow_complete(table, ROWS, COLUMNS, &config, arena, &r), SOW_E_RANGE, "row 1, column 1");
}

static void tables_that_say_nothing_are_refused(void **state) {
    double table[ROWS * COLUMNS];
    sow_complete_config config = sow_complete_defaults();
    sow_complete_result r;
    normal(22, table, ROWS * COLUMNS);
    FAILS(sow_complete(table, 1, COLUMNS, &config, arena, &r), SOW_E_SHAPE, "at least 2 x 2");
    for (int i = 0; i < ROWS; i++) table[i * COLUMNS + 3] = NAN;
    FAILS(sow_complete(table, ROWS, COLUMNS, &config, arena, &r), SOW_E_NUMBER, "column 3: no cell is observed");
    for (int i = 0; i < ROWS; i++) table[i * COLUMNS + 3] = 1;
    OK(sow_complete(table, ROWS, COLUMNS, &config, arena, &r)); /* a constant column is no harm */
    assert_near(r.filled[3], 1, .2);
    table[5] = INFINITY;
    FAILS(sow_complete(table, ROWS, COLUMNS, &config, arena, &r), SOW_E_NUMBER, "row 0, column 5");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_symmetric_scalar_falls_like_one_over_t),
        cmocka_unit_test(an_unbalanced_scalar_falls_exponentially),
        cmocka_unit_test(rebalancing_gives_the_worked_factors),
        cmocka_unit_test(rebalancing_keeps_the_product_and_makes_columns_orthogonal),
        cmocka_unit_test(rebalancing_frees_the_rate_from_alpha),
        cmocka_unit_test(symmetric_factors_of_too_high_a_rank_are_slow),
        cmocka_unit_test(equal_factors_move_as_one),
        cmocka_unit_test(steps_follow_the_gradient),
        cmocka_unit_test(imbalance_drifts_in_second_order_only),
        cmocka_unit_test(nothing_moves_at_the_truth),
        cmocka_unit_test(too_large_a_step_is_said_to_diverge),
        cmocka_unit_test(decays_are_told_apart),
        cmocka_unit_test(a_table_of_low_rank_is_filled),
        cmocka_unit_test(pure_noise_is_filled_with_offsets),
        cmocka_unit_test(amounts_stay_amounts),
        cmocka_unit_test(tables_that_say_nothing_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
