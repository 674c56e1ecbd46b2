/* k-means, Gaussian mixtures and scores: the worked numbers of card 16, and properties that must always hold. */
#include <math.h>

#include "check.h"
#include "sow/learn.h"

static const double four[] = {0, 1, 10, 11};

static sow_arena *arena;

static int begin(void **state) {
    (void)state;
    return sow_arena_new(&arena);
}

static int end(void **state) {
    (void)state;
    sow_arena_free(arena);
    return 0;
}

static sow_rows rows_of(const double *values, int64_t count, int64_t width) {
    sow_rows rows;
    OK(sow_rows_of(SOW_TENSOR((void *)(uintptr_t)values, SOW_F64, count, width), &rows));
    return rows;
}

/* `groups` unit Gaussians, `gap` apart along the first axis. */
static double *planted(int64_t count, int64_t width, int groups, double gap, uint64_t seed) {
    sow_rng rng;
    double *x = sow_arena_take(arena, (size_t)(count * width), sizeof *x);
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    sow_rng_normal_f64(&rng, x, count * width, 0, 1);
    for (int64_t i = 0; i < count; i++) x[i * width] += gap * (double)(i % groups);
    return x;
}

/* ---- rows ---- */

static void chunks_hold_rows_of_any_type_order_and_choice(void **state) {
    float single[600 * 3];
    double by_columns[3 * 600], out[3 * 300];
    int64_t index[600];
    for (int i = 0; i < 600; i++)
        for (int j = 0; j < 3; j++) single[i * 3 + j] = (float)(10 * i + j), by_columns[j * 600 + i] = 10 * i + j;
    for (int i = 0; i < 300; i++) index[i] = 2 * i;
    sow_tensor turned = sow_transpose(SOW_TENSOR(by_columns, SOW_F64, 3, 600));
    sow_rows kinds[2];
    OK(sow_rows_of(SOW_TENSOR(single, SOW_F32, 600, 3), &kinds[0]));
    OK(sow_rows_of(turned, &kinds[1]));
    for (int k = 0; k < 2; k++) {
        sow_rows_chunk(&kinds[k], 100, 13, out, 300);
        for (int i = 0; i < 13; i++) assert_near(out[2 * 300 + i], 10 * (100 + i) + 2, 0);
        kinds[k].index = index;
        sow_rows_chunk(&kinds[k], 100, 13, out, 300);
        for (int i = 0; i < 13; i++) assert_near(out[300 + i], 10 * (200 + 2 * i) + 1, 0);
    }
}

static void rows_are_shifted_scaled_and_projected_on_the_way(void **state) {
    static const double shift[] = {1, 2, 3}, scale[] = {2, 1, .5}, map[] = {1, 1, 1, 0, 0, 2};
    static const double values[] = {2, 3, 5, 1, 2, 3};
    double out[3 * 2];
    sow_rows rows = rows_of(values, 2, 3);
    rows.shift = shift;
    rows.scale = scale;
    sow_rows_chunk(&rows, 0, 2, out, 2);
    assert_near(out[0], 2, 0);
    assert_near(out[4], 1, 0);
    rows.scale = NULL;
    rows.map = map;
    rows.width = 2;
    sow_rows_chunk(&rows, 0, 2, out, 2);
    assert_near(out[0], 4, 0);
    assert_near(out[2], 4, 0);
    assert_near(out[1], 0, 0);
}

static void moments_far_from_the_origin_keep_their_digits(void **state) {
    double values[2000], mean[2], covariance[4];
    for (int i = 0; i < 1000; i++) values[2 * i] = 1e9 + i % 2, values[2 * i + 1] = -1e9 + i % 2;
    sow_rows rows = rows_of(values, 1000, 2);
    OK(sow_rows_moments(&rows, mean, covariance));
    assert_near(mean[0], 1e9 + .5, 1e-6);
    for (int i = 0; i < 4; i++) assert_near(covariance[i], .25, 1e-12);
}

static void a_value_that_is_not_finite_is_named(void **state) {
    double values[] = {1, 2, 3, NAN}, mean[2];
    sow_rows rows = rows_of(values, 2, 2);
    FAILS(sow_rows_moments(&rows, mean, NULL), SOW_E_NUMBER, "row 1, column 1");
}

static void blocks_are_a_power_of_two_that_covers_all_rows(void **state) {
    static const int64_t counts[] = {1, 4095, 4096, 100000, 131071, 10000000};
    static const int64_t blocks[] = {1, 1, 2, 32, 32, 64};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(sow_block_count(counts[i]), blocks[i]);
        assert_int_equal(sow_block_first(counts[i], 0), 0);
        assert_int_equal(sow_block_first(counts[i], blocks[i]), counts[i]);
    }
}

/* ---- k-means ---- */

static void oracle_two_means_of_four_numbers(void **state) {
    sow_rows rows = rows_of(four, 4, 1);
    sow_kmeans_config c = sow_kmeans_defaults();
    for (int a = 0; a < 4; a++)
        for (int b = a + 1; b < 4; b++) { /* any of the six starting pairs */
            double initial[] = {four[a], four[b]};
            sow_kmeans found;
            int32_t labels[4];
            c.initial = initial;
            OK(sow_kmeans_fit(&rows, &c, arena, &found, labels));
            assert_near(found.centroids[0], .5, 0);
            assert_near(found.centroids[1], 10.5, 0);
            assert_near(found.sse, 1, 0);
            for (int i = 0; i < 4; i++) assert_int_equal(labels[i], i / 2);
        }
}

static void the_sum_of_squares_never_rises(void **state) {
    sow_rows rows = rows_of(planted(3000, 3, 4, 1, 5), 3000, 3);
    sow_kmeans_config c = sow_kmeans_defaults();
    sow_kmeans found;
    c.clusters = 5;
    c.restarts = 1;
    c.start = SOW_KMEANS_RANDOM;
    OK(sow_kmeans_fit(&rows, &c, arena, &found, NULL));
    assert_true(found.rounds > 3);
    for (int i = 1; i < found.rounds; i++) assert_true(found.sse_trace[i] <= found.sse_trace[i - 1] * (1 + 1e-14));
}

static void starts_without_randomness_ignore_the_seed(void **state) {
    sow_rows rows = rows_of(planted(1000, 3, 2, 6, 1), 1000, 3);
    static const sow_kmeans_start starts[] = {SOW_KMEANS_PCA, SOW_KMEANS_VARIANCE};
    for (int i = 0; i < 2; i++) {
        sow_kmeans_config c = sow_kmeans_defaults();
        sow_kmeans a, b;
        c.start = starts[i];
        OK(sow_kmeans_fit(&rows, &c, arena, &a, NULL));
        c.seed = 99;
        OK(sow_kmeans_fit(&rows, &c, arena, &b, NULL));
        assert_memory_equal(a.centroids, b.centroids, 6 * sizeof(double));
        assert_in_range(a.sizes[0], 490, 510);
    }
}

static void equal_rows_leave_no_cluster_behind(void **state) {
    static const double values[] = {1, 1, 1, 1, 1, 7};
    sow_rows rows = rows_of(values, 6, 1);
    sow_kmeans_config c = sow_kmeans_defaults();
    sow_kmeans found;
    OK(sow_kmeans_fit(&rows, &c, arena, &found, NULL));
    assert_near(found.sse, 0, 0);
    assert_int_equal(found.sizes[1], 1);
    c.clusters = 7;
    FAILS(sow_kmeans_fit(&rows, &c, arena, &found, NULL), SOW_E_RANGE, "6 rows for 7 clusters");
}

/* ---- mixtures ---- */

static void oracle_mixture_of_four_numbers(void **state) {
    static const int32_t halves[] = {0, 0, 1, 1}, one[] = {0, 0, 0, 0};
    sow_rows rows = rows_of(four, 4, 1);
    sow_mixture_config c = sow_mixture_defaults();
    sow_mixture two, single;
    OK(sow_mixture_fit(&rows, 2, halves, &c, arena, &two));
    assert_near(two.means[0], .5, 1e-9);
    assert_near(two.weights[1], .5, 1e-9);
    assert_near(two.covariances[0], .25, 1e-4); /* a millionth of the variance is added */
    assert_near(two.log_likelihood, -5.675754, 1e-6);
    OK(sow_mixture_fit(&rows, 1, one, &c, arena, &single));
    assert_near(single.log_likelihood, -12.133406, 1e-6);
    assert_near(sow_bic(single.log_likelihood, sow_mixture_parameters(1, 1, SOW_COVARIANCE_FULL), 4), 27.039402, 2e-6);
    assert_near(sow_bic(two.log_likelihood, sow_mixture_parameters(2, 1, SOW_COVARIANCE_FULL), 4), 18.282980, 2e-6);
}

static void parameters_are_counted_by_shape(void **state) {
    assert_int_equal(sow_mixture_parameters(3, 4, SOW_COVARIANCE_FULL), 3 * (4 + 10) + 2);
    assert_int_equal(sow_mixture_parameters(3, 4, SOW_COVARIANCE_TIED), 3 * 4 + 10 + 2);
    assert_int_equal(sow_mixture_parameters(3, 4, SOW_COVARIANCE_DIAG), 3 * 8 + 2);
    assert_int_equal(sow_mixture_parameters(3, 4, SOW_COVARIANCE_SPHERICAL), 3 * 5 + 2);
}

static void the_likelihood_never_falls_and_responsibilities_sum_to_one(void **state) {
    enum { N = 2500, D = 5, K = 3 };
    sow_rows rows = rows_of(planted(N, D, K, 3, 7), N, D);
    int32_t *labels = sow_arena_take(arena, N, sizeof *labels);
    double *all = sow_arena_take(arena, N * K, sizeof *all), trace[200];
    for (int64_t i = 0; i < N; i++) labels[i] = (int32_t)(i / 900); /* nothing to do with the groups */
    for (int shape = SOW_COVARIANCE_FULL; shape <= SOW_COVARIANCE_SPHERICAL; shape++) {
        sow_mixture_config c = sow_mixture_defaults();
        sow_mixture found;
        double sum;
        c.covariance = (sow_covariance)shape;
        c.trace = trace;
        c.floor = 1e-12; /* the floor is no part of the likelihood's maximum */
        OK(sow_mixture_fit(&rows, K, labels, &c, arena, &found));
        for (int i = 1; i < found.rounds; i++) assert_true(trace[i] >= trace[i - 1] - 1e-7);
        OK(sow_mixture_assign(&found, &rows, (sow_membership){.all = all}, &sum));
        assert_near(sum, found.log_likelihood, 1e-7);
        for (int i = 0; i < N; i++) assert_near(all[i * K] + all[i * K + 1] + all[i * K + 2], 1, 1e-14);
    }
}

/* The log density of one Gaussian against the formula, written out. */
static void densities_follow_the_formula(void **state) {
    static const double values[] = {0, 0, 2, 1, 1, 3, 4, 2, 3, 5};
    static const int32_t labels[] = {0, 0, 0, 0, 0};
    sow_rows rows = rows_of(values, 5, 2);
    sow_mixture_config c = sow_mixture_defaults();
    sow_mixture m;
    double density[5];
    c.floor = 0;
    OK(sow_mixture_fit(&rows, 1, labels, &c, arena, &m));
    OK(sow_mixture_assign(&m, &rows, (sow_membership){.log_density = density}, NULL));
    const double *s = m.covariances, det = s[0] * s[3] - s[1] * s[2];
    for (int i = 0; i < 5; i++) {
        double x = values[2 * i] - m.means[0], y = values[2 * i + 1] - m.means[1];
        double q = (s[3] * x * x - 2 * s[1] * x * y + s[0] * y * y) / det;
        assert_near(density[i], -log(2 * 3.14159265358979323846) - log(det) / 2 - q / 2, 1e-12);
    }
}

static void rows_without_spread_are_refused(void **state) {
    static const double values[] = {3, 3, 3, 3};
    static const int32_t labels[] = {0, 0, 1, 1};
    sow_rows rows = rows_of(values, 4, 1);
    sow_mixture_config c = sow_mixture_defaults();
    sow_mixture m;
    FAILS(sow_mixture_fit(&rows, 2, labels, &c, arena, &m), SOW_E_NUMBER, "all rows are equal");
}

static void any_number_of_threads_gives_the_same_bits(void **state) {
    enum { N = 40000, D = 6 };
    sow_rows rows = rows_of(planted(N, D, 3, 4, 11), N, D);
    double centroids[3][3 * D], covariances[3][3 * D * D], likelihood[3];
    for (int t = 0; t < 3; t++) {
        sow_kmeans_config k = sow_kmeans_defaults();
        sow_mixture_config c = sow_mixture_defaults();
        sow_kmeans km;
        sow_mixture m;
        int32_t *labels = sow_arena_take(arena, N, sizeof *labels);
        sow_set_threads(1 << t);
        k.clusters = 3;
        OK(sow_kmeans_fit(&rows, &k, arena, &km, labels));
        OK(sow_mixture_fit(&rows, 3, labels, &c, arena, &m));
        memcpy(centroids[t], km.centroids, sizeof centroids[t]);
        memcpy(covariances[t], m.covariances, sizeof covariances[t]);
        likelihood[t] = m.log_likelihood;
    }
    sow_set_threads(1);
    for (int t = 1; t < 3; t++) {
        assert_memory_equal(centroids[0], centroids[t], sizeof centroids[0]);
        assert_memory_equal(covariances[0], covariances[t], sizeof covariances[0]);
        assert_memory_equal(&likelihood[0], &likelihood[t], sizeof likelihood[0]);
    }
}

/* ---- scores ---- */

static void oracle_scores_of_groupings(void **state) {
    static const int32_t a[] = {0, 0, 1, 1}, b[] = {0, 1, 0, 1}, renamed[] = {7, 7, 2, 2}, some[] = {0, -1, 1, 1};
    double value;
    OK(sow_adjusted_rand(a, a, 4, &value));
    assert_near(value, 1, 0);
    OK(sow_adjusted_rand(a, b, 4, &value));
    assert_near(value, -.5, 1e-15);
    OK(sow_adjusted_rand(a, renamed, 4, &value));
    assert_near(value, 1, 0);
    OK(sow_adjusted_rand(a, some, 4, &value));
    assert_near(value, 1, 0);
    OK(sow_normalised_information(a, b, 4, &value));
    assert_near(value, 0, 1e-15);
    OK(sow_normalised_information(a, renamed, 4, &value));
    assert_near(value, 1, 1e-15);
    FAILS(sow_adjusted_rand(a, (int32_t[]){-1, -1, -1, -1}, 4, &value), SOW_E_RANGE, "no row");
}

static void labels_of_any_size_score_alike(void **state) {
    static const int32_t a[] = {0, 0, 1, 1, 2, 2}, b[] = {0, 0, 0, 1, 1, 1},
                         large[] = {9, 9, 9, 2000000000, 2000000000, 2000000000};
    double small_labels, large_labels;
    OK(sow_adjusted_rand(a, b, 6, &small_labels));
    OK(sow_adjusted_rand(a, large, 6, &large_labels));
    assert_near(small_labels, 0.24242424242424243, 1e-15); /* scikit-learn's adjusted_rand_score */
    assert_near(large_labels, small_labels, 0);
}

/* {0, 1, 10, 11}: a = 1; b = 10.5 and 9.5; (b - a) / b. */
static void oracle_silhouette_of_four_numbers(void **state) {
    static const int32_t labels[] = {0, 0, 1, 1}, single[] = {0, 0, 0, 1}, none[] = {3, 3, 3, 3};
    sow_rows rows = rows_of(four, 4, 1);
    double value;
    OK(sow_silhouette(&rows, labels, 0, &value));
    assert_near(value, (9.5 / 10.5 + 8.5 / 9.5) / 2, 1e-15);
    OK(sow_silhouette(&rows, single, 0, &value)); /* the single row counts 0 */
    assert_near(value, ((11 - 5.5) / 11 + (10 - 5) / 10. + (1 - 9.5) / 9.5 + 0) / 4, 1e-15);
    FAILS(sow_silhouette(&rows, none, 0, &value), SOW_E_RANGE, "1 clusters");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_hold_rows_of_any_type_order_and_choice),
        cmocka_unit_test(rows_are_shifted_scaled_and_projected_on_the_way),
        cmocka_unit_test(moments_far_from_the_origin_keep_their_digits),
        cmocka_unit_test(a_value_that_is_not_finite_is_named),
        cmocka_unit_test(blocks_are_a_power_of_two_that_covers_all_rows),
        cmocka_unit_test(oracle_two_means_of_four_numbers),
        cmocka_unit_test(the_sum_of_squares_never_rises),
        cmocka_unit_test(starts_without_randomness_ignore_the_seed),
        cmocka_unit_test(equal_rows_leave_no_cluster_behind),
        cmocka_unit_test(oracle_mixture_of_four_numbers),
        cmocka_unit_test(parameters_are_counted_by_shape),
        cmocka_unit_test(the_likelihood_never_falls_and_responsibilities_sum_to_one),
        cmocka_unit_test(densities_follow_the_formula),
        cmocka_unit_test(rows_without_spread_are_refused),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(oracle_scores_of_groupings),
        cmocka_unit_test(labels_of_any_size_score_alike),
        cmocka_unit_test(oracle_silhouette_of_four_numbers),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
