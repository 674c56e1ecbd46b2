/* Linear operators: every kind against sums written out, adjoints, threads, memory bounds, refusals. */
#include <math.h>
#include <unistd.h>

#include "check.h"
#include "sow/operator.h"

enum { N1 = 7, N2 = 5, M = 61, K = 3 };

typedef struct fixture {
    sow_arena *arena;
    double dense[M * N1 * N2], a[M * N1], b[M * N2], f[N1 * K], g[N2 * K], y[N1 * N2 > M ? N1 *N2 : M];
    float single[M * N1 * N2];
    int64_t row[M], column[M];
} fixture;

static int set_up(void **state) {
    static fixture x;
    sow_rng rng;
    if (sow_arena_new(&x.arena) || sow_rng_seed(&rng, SOW_RNG_SOW, 11)) return -1;
    sow_rng_normal_f64(&rng, x.dense, M * N1 * N2, 0, 1);
    sow_rng_normal_f64(&rng, x.a, M * N1, 0, 1);
    sow_rng_normal_f64(&rng, x.b, M * N2, 0, 1);
    sow_rng_normal_f64(&rng, x.f, N1 * K, 0, 1);
    sow_rng_normal_f64(&rng, x.g, N2 * K, 0, 1);
    sow_rng_normal_f64(&rng, x.y, sizeof x.y / sizeof *x.y, 0, 1);
    for (int i = 0; i < M * N1 * N2; i++) x.single[i] = (float)x.dense[i];
    for (int i = 0; i < M; i++) x.row[i] = i * 3 % N1, x.column[i] = i * i % N2;
    *state = &x;
    return 0;
}

static int tear_down(void **state) {
    sow_arena_free(((fixture *)*state)->arena);
    return 0;
}

/* Element (r, c) of A_i, by definition. */
static double element(const fixture *x, const sow_operator *op, int64_t i, int64_t r, int64_t c) {
    switch (op->kind) {
    case SOW_OPERATOR_DENSE:
        return op->a.dtype == SOW_F64 ? x->dense[i * N1 * N2 + r * N2 + c]
                                      : (double)x->single[i * N1 * N2 + r * N2 + c];
    case SOW_OPERATOR_RANK_ONE: return x->a[i * N1 + r] * x->b[i * N2 + c];
    case SOW_OPERATOR_ENTRIES: return x->row[i] == r && x->column[i] == c;
    default: return i == r * N2 + c;
    }
}

static void make(fixture *x, int which, sow_operator *op) {
    if (which == 0) OK(sow_operator_dense(SOW_TENSOR(x->dense, SOW_F64, M, N1 * N2), N1, N2, 0, op));
    if (which == 1) OK(sow_operator_dense(SOW_TENSOR(x->single, SOW_F32, M, N1, N2), N1, N2, 0, op));
    if (which == 2) OK(sow_operator_rank_one(SOW_TENSOR(x->a, SOW_F64, M, N1), SOW_TENSOR(x->b, SOW_F64, M, N2), op));
    if (which == 3) OK(sow_operator_entries(x->arena, M, N1, N2, x->row, x->column, op));
    if (which == 4) OK(sow_operator_identity(N1, N2, op));
}

static void residual(void *user, int64_t first, int64_t count, const double *ax, double *z) {
    const double *y = user;
    for (int64_t i = 0; i < count; i++) z[i] = ax[i] - y[first + i];
}

static double product(const fixture *x, int64_t r, int64_t c) {
    double sum = 0;
    for (int k = 0; k < K; k++) sum += x->f[r * K + k] * x->g[c * K + k];
    return sum;
}

static void every_kind_measures_and_adds_as_its_definition_says(void **state) {
    fixture *x = *state;
    for (int which = 0; which < 5; which++) {
        sow_operator op;
        sow_pass pass;
        double sum[N1 * N2], eg[N1 * K], ef[N2 * K];
        make(x, which, &op);
        OK(sow_pass_new(x->arena, &op, K, &pass));
        OK(sow_operator_forward(&pass, x->f, x->g, K, residual, x->y));
        OK(sow_operator_sum(&pass, sum));
        OK(sow_operator_times(&pass, x->g, K, false, eg));
        OK(sow_operator_times(&pass, x->f, K, true, ef));
        double e[N1 * N2] = {0};
        for (int64_t i = 0; i < op.m; i++) {
            double ax = 0;
            for (int r = 0; r < N1; r++)
                for (int c = 0; c < N2; c++) ax += element(x, &op, i, r, c) * product(x, r, c);
            assert_near(pass.z[i], ax - x->y[i], 1e-12);
            for (int j = 0; j < N1 * N2; j++) e[j] += element(x, &op, i, j / N2, j % N2) * (ax - x->y[i]);
        }
        for (int j = 0; j < N1 * N2; j++) assert_near(sum[j], e[j], 1e-10);
        for (int j = 0; j < N1 * K; j++) {
            double expected = 0;
            for (int c = 0; c < N2; c++) expected += e[j / K * N2 + c] * x->g[c * K + j % K];
            assert_near(eg[j], expected, 1e-10);
        }
        for (int j = 0; j < N2 * K; j++) {
            double expected = 0;
            for (int r = 0; r < N1; r++) expected += e[r * N2 + j / K] * x->f[r * K + j % K];
            assert_near(ef[j], expected, 1e-10);
        }
    }
}

static void as_is(void *user, int64_t first, int64_t count, const double *ax, double *z) {
    memcpy(z, (const double *)user + first, (size_t)count * sizeof *z);
}

/* <A(F G^T), z> = <F G^T, A*(z)>. */
static void the_adjoint_is_the_adjoint(void **state) {
    fixture *x = *state;
    for (int which = 0; which < 5; which++) {
        sow_operator op;
        sow_pass pass;
        double left = 0, right = 0, eg[N1 * K];
        make(x, which, &op);
        OK(sow_pass_new(x->arena, &op, K, &pass));
        OK(sow_operator_forward(&pass, x->f, x->g, K, as_is, x->y));
        for (int64_t i = 0; i < op.m; i++) left += pass.ax[i] * x->y[i];
        OK(sow_operator_adjoint(&pass, x->y));
        OK(sow_operator_times(&pass, x->g, K, false, eg));
        for (int j = 0; j < N1 * K; j++) right += x->f[j] * eg[j];
        assert_near(left, right, 1e-12 * (1 + fabs(left)));
    }
}

static void symmetric_adjoints_are_the_mean_with_their_transpose(void **state) {
    fixture *x = *state;
    enum { N = 5 };
    static const int64_t rows[9] = {0, 1, 2, 3, 4, 0, 0, 1, 1}, columns[9] = {1, 1, 0, 4, 3, 4, 3, 2, 0};
    double e[N * N], es[N * N], v[N * K], out[N * K], norm, start[N] = {0};
    for (int which = 0; which < 4; which++) {
        sow_operator op;
        sow_pass pass;
        if (which == 0) OK(sow_operator_dense(SOW_TENSOR(x->dense, SOW_F64, 9, N * N), N, N, 0, &op));
        if (which == 1)
            OK(sow_operator_rank_one(SOW_TENSOR(x->a, SOW_F64, 9, N), SOW_TENSOR(x->b, SOW_F64, 9, N), &op));
        if (which == 2) OK(sow_operator_entries(x->arena, 9, N, N, rows, columns, &op));
        if (which == 3) OK(sow_operator_identity(N, N, &op));
        OK(sow_pass_new(x->arena, &op, K, &pass));
        OK(sow_operator_adjoint(&pass, x->y));
        OK(sow_operator_sum(&pass, e));
        op.symmetric = true;
        OK(sow_pass_new(x->arena, &op, K, &pass));
        OK(sow_operator_adjoint(&pass, x->y));
        OK(sow_operator_sum(&pass, es));
        memcpy(v, x->f, sizeof v);
        OK(sow_operator_times(&pass, v, K, false, out));
        for (int i = 0; i < N * N; i++) assert_near(es[i], 0.5 * (e[i] + e[i % N * N + i / N]), 1e-14);
        for (int i = 0; i < N * K; i++) {
            double sum = 0;
            for (int c = 0; c < N; c++) sum += es[i / K * N + c] * v[c * K + i % K];
            assert_near(out[i], sum, 1e-12);
        }
        double s[N];
        memset(start, 0, sizeof start);
        OK(sow_operator_norm(&pass, start, 200, &norm));
        OK(sow_svd(SOW_TENSOR(es, SOW_F64, N, N), (sow_tensor){0}, SOW_TENSOR(s, SOW_F64, N), (sow_tensor){0}));
        assert_near(norm, s[0], 1e-4 * s[0]);
    }
}

/* A mapped matrix of several blocks gives the same bits for any number of threads and under a bound on memory. */
static void threads_and_memory_bounds_change_no_bit(void **state) {
    enum { SIDE = 40, ROWS = 3001 };
    fixture *x = *state;
    char path[] = "/tmp/sow-operator-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    double *a, *y, f[SIDE * K], first[SIDE * SIDE], other[SIDE * SIDE];
    OK(SOW_NEW(x->arena, a, ROWS * SIDE * SIDE));
    OK(SOW_NEW(x->arena, y, ROWS));
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 12));
    sow_rng_normal_f64(&rng, a, ROWS * SIDE * SIDE, 0, 1);
    sow_rng_normal_f64(&rng, y, ROWS, 0, 1);
    sow_rng_normal_f64(&rng, f, SIDE * K, 0, 1);
    OK(sow_npy_write(path, SOW_TENSOR(a, SOW_F64, ROWS, SIDE, SIDE)));
    for (int run = 0; run < 4; run++) {
        sow_map map;
        sow_tensor mapped;
        sow_operator op;
        sow_pass pass;
        OK(sow_npy_map(path, &map, &mapped));
        OK(sow_operator_dense(run == 3 ? mapped : SOW_TENSOR(a, SOW_F64, ROWS, SIDE, SIDE), SIDE, SIDE,
                              run == 3 ? 64 << 20 : 0, &op));
        if (run == 3) op.memory = 1 << 20; /* every block is released */
        OK(sow_pass_new(x->arena, &op, K, &pass));
        sow_set_threads(run == 0 ? 1 : run == 1 ? 2 : 4);
        OK(sow_operator_forward(&pass, f, f, K, residual, y));
        OK(sow_operator_sum(&pass, run == 0 ? first : other));
        if (run > 0) assert_memory_equal(first, other, sizeof first);
        sow_map_close(&map);
    }
    sow_set_threads(1);
    close(file);
    unlink(path);
}

static void what_does_not_fit_is_refused(void **state) {
    fixture *x = *state;
    sow_operator op;
    int64_t row[2] = {0, 7}, column[2] = {0, 0};
    FAILS(sow_operator_dense(SOW_TENSOR(x->dense, SOW_F64, M, 34), N1, N2, 0, &op), SOW_E_SHAPE, "[m, 35]");
    FAILS(sow_operator_dense(SOW_TENSOR(x->dense, SOW_I64, M, 35), N1, N2, 0, &op), SOW_E_TYPE, "I64");
    FAILS(sow_operator_dense(sow_transpose(SOW_TENSOR(x->dense, SOW_F64, 35, M)), N1, N2, 0, &op), SOW_E_SHAPE,
          "Fortran");
    FAILS(sow_operator_dense(SOW_TENSOR(NULL, SOW_F64, 1 << 20, 10000), 100, 100, 1 << 20, &op), SOW_E_RANGE,
          "at least");
    FAILS(sow_operator_rank_one(SOW_TENSOR(x->a, SOW_F64, M, N1), SOW_TENSOR(x->b, SOW_F64, M - 1, N2), &op),
          SOW_E_SHAPE, "[61, 7]");
    FAILS(sow_operator_entries(x->arena, 2, 7, 5, row, column, &op), SOW_E_RANGE, "measurement 1 is of entry (7, 0)");
    FAILS(sow_operator_identity(0, 5, &op), SOW_E_SHAPE, "0 x 5");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_measures_and_adds_as_its_definition_says),
        cmocka_unit_test(the_adjoint_is_the_adjoint),
        cmocka_unit_test(symmetric_adjoints_are_the_mean_with_their_transpose),
        cmocka_unit_test(threads_and_memory_bounds_change_no_bit),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
