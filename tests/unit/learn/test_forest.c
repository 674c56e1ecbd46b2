/* Random forests: what Breiman's and scikit-learn's trees do on small inputs. */
#include <math.h>

#include "check.h"
#include "sow/forest.h"

enum { N = 200 };

static sow_arena *arena;

static int open_arena(void **state) {
    return sow_arena_new(&arena) != SOW_OK;
}

static int close_arena(void **state) {
    sow_arena_free(arena);
    return 0;
}

/* Features [count][N] as bits. */
static sow_features packed(int64_t count, const uint8_t *x) {
    uint64_t *bits;
    int64_t words = sow_feature_words(N);
    OK(SOW_NEW(arena, bits, count * words));
    for (int64_t f = 0; f < count; f++)
        for (int64_t s = 0; s < N; s++) bits[f * words + s / 64] |= (uint64_t)x[f * N + s] << (s % 64);
    return (sow_features){.samples = N, .count = count, .bits = bits};
}

static sow_features plain(int64_t count, const uint8_t *x) {
    double *values;
    OK(SOW_NEW(arena, values, count * N));
    for (int64_t i = 0; i < count * N; i++) values[i] = x[i];
    return (sow_features){.samples = N, .count = count, .values = values};
}

static void one_hot_classes_are_learned_exactly(void **state) {
    static uint8_t x[4 * N];
    int32_t labels[N];
    double q[N * 4];
    sow_forest *forest;
    sow_forest_config config = sow_forest_defaults();
    for (int s = 0; s < N; s++) labels[s] = s % 4, x[(s % 4) * N + s] = 1;
    sow_features f = packed(4, x);
    OK(sow_forest_fit(&f, labels, 4, NULL, 0, &config, arena, &forest));
    OK(sow_forest_predict(forest, &f, NULL, 0, q));
    for (int s = 0; s < N; s++)
        for (int c = 0; c < 4; c++) assert_near(q[s * 4 + c], c == labels[s], 0);
}

/* Labels are the parity of two of the features: no single one helps, so purity needs two levels. */
static void one_tree_without_bootstrap_is_a_plain_tree(void **state) {
    static uint8_t x[3 * N];
    int32_t labels[N];
    double q[N * 2];
    sow_forest *forest;
    sow_forest_config config = {.trees = 1, .tried = 3};
    for (int s = 0; s < N; s++) {
        x[s] = s & 1, x[N + s] = s >> 1 & 1;
        labels[s] = (s ^ s >> 1) & 1;
    }
    sow_features f = packed(3, x); /* the third feature is constant */
    OK(sow_forest_fit(&f, labels, 2, NULL, 0, &config, arena, &forest));
    assert_int_equal(sow_forest_nodes(forest), 7);
    OK(sow_forest_predict(forest, &f, NULL, 0, q));
    for (int s = 0; s < N; s++) assert_near(q[s * 2 + labels[s]], 1, 0);
}

static void a_leaf_that_cannot_be_split_keeps_its_shares(void **state) {
    static uint8_t x[N];
    int32_t labels[N];
    double q[N * 2];
    sow_forest *forest;
    sow_forest_config config = {.trees = 1};
    for (int s = 0; s < N; s++) x[s] = s < 100, labels[s] = s < 75;
    sow_features f = packed(1, x);
    OK(sow_forest_fit(&f, labels, 2, NULL, 0, &config, arena, &forest));
    OK(sow_forest_predict(forest, &f, NULL, 0, q));
    assert_near(q[1], .75, 0);
    assert_near(q[150 * 2], 1, 0);
}

static void numbers_are_split_halfway_by_the_purest_cut(void **state) {
    double values[6] = {1, 2, 3, 10, 11, 12}, at[1] = {6.49}, q[2];
    int32_t labels[6] = {0, 0, 0, 1, 1, 1};
    sow_forest *forest;
    sow_forest_config config = {.trees = 1};
    sow_features f = {.samples = 6, .count = 1, .values = values}, probe = {.samples = 1, .count = 1, .values = at};
    OK(sow_forest_fit(&f, labels, 2, NULL, 0, &config, arena, &forest));
    assert_int_equal(sow_forest_nodes(forest), 3);
    OK(sow_forest_predict(forest, &probe, NULL, 0, q));
    assert_near(q[0], 1, 0);
    at[0] = 6.51;
    OK(sow_forest_predict(forest, &probe, NULL, 0, q));
    assert_near(q[1], 1, 0);
}

/* The same draws on bits and on numbers 0 and 1 must give the same trees. */
static void bits_and_numbers_grow_the_same_forest(void **state) {
    static uint8_t x[40 * N];
    static double a[N * 3], b[N * 3];
    int32_t labels[N];
    double u[40];
    sow_forest *first, *second;
    sow_forest_config config = sow_forest_defaults();
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 5));
    for (int s = 0; s < N; s++) {
        labels[s] = s % 3;
        sow_rng_uniform_f64(&rng, u, 40, 0, 1);
        for (int f = 0; f < 40; f++) x[f * N + s] = u[f] < (f % 3 == labels[s] && f < 9 ? .6 : f < 35 ? .3 : .02);
    }
    sow_features bits = packed(40, x), numbers = plain(40, x);
    OK(sow_forest_fit(&bits, labels, 3, NULL, 0, &config, arena, &first));
    OK(sow_forest_fit(&numbers, labels, 3, NULL, 0, &config, arena, &second));
    assert_int_equal(sow_forest_nodes(first), sow_forest_nodes(second));
    OK(sow_forest_predict(first, &bits, NULL, 0, a));
    OK(sow_forest_predict(second, &numbers, NULL, 0, b));
    assert_memory_equal(a, b, sizeof a);
    for (int s = 0; s < N; s++) assert_near(a[s * 3] + a[s * 3 + 1] + a[s * 3 + 2], 1, 1e-12);
    sow_set_threads(3);
    OK(sow_forest_fit(&bits, labels, 3, NULL, 0, &config, arena, &second));
    OK(sow_forest_predict(second, &bits, NULL, 0, b));
    sow_set_threads(0);
    assert_memory_equal(a, b, sizeof a);
    config.seed = 1;
    OK(sow_forest_fit(&bits, labels, 3, NULL, 0, &config, arena, &second));
    OK(sow_forest_predict(second, &bits, NULL, 0, b));
    assert_memory_not_equal(a, b, sizeof a);
}

static void only_the_chosen_samples_are_learned_from(void **state) {
    static uint8_t x[2 * N];
    int32_t labels[N];
    int64_t chosen[100];
    double q[N * 2];
    sow_forest *forest;
    sow_forest_config config = sow_forest_defaults();
    for (int s = 0; s < N; s++) {
        x[s] = s & 1, x[N + s] = s >= 100;
        labels[s] = s < 100 ? s & 1 : 7; /* labels outside are never looked at */
    }
    for (int i = 0; i < 100; i++) chosen[i] = i;
    sow_features f = packed(2, x);
    OK(sow_forest_fit(&f, labels, 2, chosen, 100, &config, arena, &forest));
    OK(sow_forest_predict(forest, &f, NULL, 0, q));
    for (int s = 0; s < N; s++) assert_near(q[s * 2 + (s & 1)], 1, 0);
    FAILS(sow_forest_fit(&f, labels, 2, NULL, 0, &config, arena, &forest), SOW_E_RANGE, "no label");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_hot_classes_are_learned_exactly),
        cmocka_unit_test(one_tree_without_bootstrap_is_a_plain_tree),
        cmocka_unit_test(a_leaf_that_cannot_be_split_keeps_its_shares),
        cmocka_unit_test(numbers_are_split_halfway_by_the_purest_cut),
        cmocka_unit_test(bits_and_numbers_grow_the_same_forest),
        cmocka_unit_test(only_the_chosen_samples_are_learned_from),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
