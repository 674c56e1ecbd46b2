/* Partitions by k-means that mixtures check: the oracles of card 16. */
#include <math.h>

#include "check.h"
#include "sow/groups.h"

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

static sow_rows rows_of(double *values, int64_t count, int64_t width) {
    sow_rows rows;
    OK(sow_rows_of(SOW_TENSOR(values, SOW_F64, count, width), &rows));
    return rows;
}

static double *normals(int64_t count, uint64_t seed) {
    sow_rng rng;
    double *x = sow_arena_take(arena, (size_t)count, sizeof *x);
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    sow_rng_normal_f64(&rng, x, count, 0, 1);
    return x;
}

/* `groups` unit Gaussians at corners of a cube with sides `gap`; row i belongs to group i mod groups. */
static double *planted(int64_t count, int64_t width, int groups, double gap, uint64_t seed) {
    double *x = normals(count * width, seed);
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < width && j < 3; j++) x[i * width + j] += gap * (double)((i % groups) >> j & 1);
    return x;
}

static sow_ppp fit(const sow_rows *rows, const sow_ppp_config *config) {
    sow_ppp out;
    OK(sow_ppp_fit(rows, config, arena, &out));
    return out;
}

static double index_to_groups(const sow_ppp *p, int groups) {
    int32_t *truth = sow_arena_take(arena, (size_t)p->count, sizeof *truth);
    double value;
    for (int64_t i = 0; i < p->count; i++) truth[i] = (int32_t)(i % groups);
    OK(sow_adjusted_rand(p->labels, truth, p->count, &value));
    return value;
}

static void oracle_four_numbers_are_two_groups(void **state) {
    double four[] = {0, 1, 10, 11};
    sow_rows rows = rows_of(four, 4, 1);
    sow_ppp_config c = sow_ppp_defaults();
    c.min_leaf = 2;
    sow_ppp p = fit(&rows, &c);
    assert_int_equal(p.clusters, 2);
    assert_near(p.nodes[0].bic_one, 27.039402, 2e-6);
    assert_near(p.nodes[0].bic_parts, 18.282980, 2e-6);
    assert_near(p.nodes[0].sse_parts, 1, 0);
    assert_near(p.nodes[0].agreement, 1, 0);
    for (int i = 0; i < 4; i++) assert_int_equal(p.labels[i], i / 2);
    assert_near(p.centroids[1], 10.5, 1e-12);
}

static void one_gaussian_is_one_group(void **state) {
    int missed = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        sow_rows rows = rows_of(normals(4000, seed), 2000, 2);
        sow_ppp_config c = sow_ppp_defaults();
        c.seed = seed;
        missed += fit(&rows, &c).clusters != 1;
    }
    assert_true(missed <= 1); /* the card's allowance */
}

static void six_groups_are_found_from_every_start(void **state) {
    sow_rows rows = rows_of(planted(1500, 8, 6, 6, 3), 1500, 8);
    sow_ppp first = {0};
    for (uint64_t seed = 1; seed <= 5; seed++) {
        sow_ppp_config c = sow_ppp_defaults();
        c.seed = seed;
        sow_ppp p = fit(&rows, &c);
        assert_int_equal(p.clusters, 6);
        assert_true(index_to_groups(&p, 6) > .99);
        if (seed == 1) first = p;
        assert_memory_equal(first.labels, p.labels, 1500 * sizeof *p.labels); /* numbered alike, too */
    }
}

static void permuted_rows_have_permuted_labels(void **state) {
    enum { N = 900, D = 3 };
    double *x = planted(N, D, 4, 6, 5), *y = sow_arena_take(arena, N * D, sizeof *y);
    for (int64_t i = 0; i < N; i++) memcpy(y + (N - 1 - i) * D, x + i * D, D * sizeof *x);
    sow_rows rows = rows_of(x, N, D), turned = rows_of(y, N, D);
    sow_ppp_config c = sow_ppp_defaults();
    c.start = SOW_KMEANS_PCA; /* random starts would pick other rows */
    sow_ppp a = fit(&rows, &c), b = fit(&turned, &c);
    for (int64_t i = 0; i < N; i++) assert_int_equal(a.labels[i], b.labels[N - 1 - i]);
}

/* Moving, turning and scaling all rows changes neither the partition nor the fall of the BIC. */
static void motions_and_units_change_nothing(void **state) {
    enum { N = 900, D = 3 };
    double *x = planted(N, D, 4, 6, 8), *y = sow_arena_take(arena, N * D, sizeof *y);
    for (int64_t i = 0; i < N; i++) {
        double u = x[i * D], v = x[i * D + 1], w = x[i * D + 2];
        y[i * D] = 7 * (.6 * u - .8 * v) + 100;
        y[i * D + 1] = 7 * (.8 * u + .6 * v) - 50;
        y[i * D + 2] = 7 * w;
    }
    sow_rows rows = rows_of(x, N, D), moved = rows_of(y, N, D);
    sow_ppp_config c = sow_ppp_defaults();
    c.start = SOW_KMEANS_PCA;
    sow_ppp a = fit(&rows, &c), b = fit(&moved, &c);
    double index;
    OK(sow_adjusted_rand(a.labels, b.labels, N, &index));
    assert_near(index, 1, 0);
    assert_near(a.nodes[0].bic_one - a.nodes[0].bic_parts, b.nodes[0].bic_one - b.nodes[0].bic_parts, 1e-5);
    assert_near(b.nodes[0].bic_one - a.nodes[0].bic_one, 2 * N * D * log(7), 1e-5);
}

static void every_row_is_in_one_leaf_or_outside_of_the_cores(void **state) {
    sow_rows rows = rows_of(planted(2000, 2, 4, 4, 2), 2000, 2);
    sow_ppp_config c = sow_ppp_defaults();
    sow_ppp p = fit(&rows, &c);
    int64_t sizes = 0, cores = 0, leaves = 0;
    for (int k = 0; k < p.clusters; k++) sizes += p.sizes[k], cores += p.core_sizes[k];
    for (int i = 0; i < p.node_count; i++) {
        const sow_ppp_node *n = &p.nodes[i];
        int64_t children = 0;
        if (n->child < 0) leaves += n->size;
        for (int k = 0; k < n->parts; k++) children += p.nodes[n->child + k].size;
        if (n->child >= 0) assert_int_equal(children, n->core);
        assert_true(n->core <= n->size);
    }
    assert_int_equal(sizes, 2000);
    assert_int_equal(cores, p.core_count);
    assert_int_equal(leaves, p.core_count);
    assert_true(p.core_count < 2000);
    for (int64_t i = 0; i < 2000; i++) assert_in_range(p.labels[i], 0, p.clusters - 1);
}

static void without_a_demand_on_confidence_only_disagreement_leaves_a_core(void **state) {
    sow_rows rows = rows_of(planted(2000, 2, 2, 3, 2), 2000, 2);
    sow_ppp_config c = sow_ppp_defaults();
    c.confidence = 0;
    sow_ppp p = fit(&rows, &c);
    assert_int_equal(p.clusters, 2);
    assert_near((double)p.nodes[0].core / 2000, p.nodes[0].agreement, 0);
}

static void a_told_number_is_reached_or_not_passed(void **state) {
    sow_rows rows = rows_of(planted(1600, 3, 8, 7, 4), 1600, 3);
    for (int k = 1; k <= 9; k += 2) {
        sow_ppp_config c = sow_ppp_defaults();
        c.clusters = k;
        sow_ppp p = fit(&rows, &c);
        assert_int_equal(p.clusters, k);
        assert_int_equal(p.nodes[p.node_count - 1].forced, 0);
    }
    sow_ppp out;
    sow_ppp_config c = sow_ppp_defaults();
    c.clusters = 1601;
    FAILS(sow_ppp_fit(&rows, &c, arena, &out), SOW_E_RANGE, "1601 clusters of 1600 rows");
}

/* Two far groups of one row each side of twelve near ones: a split in two that is refused is no end. */
static void several_parts_at_once_are_tried_where_two_are_refused(void **state) {
    enum { N = 1500 };
    double *x = normals(2 * N, 6);
    static const double at[3][2] = {{0, 0}, {8, 0}, {4, 6.9}};
    for (int64_t i = 0; i < N; i++)
        for (int j = 0; j < 2; j++) x[2 * i + j] += at[i % 3][j];
    sow_rows rows = rows_of(x, N, 2);
    sow_ppp_config c = sow_ppp_defaults();
    c.agreement = .9; /* two parts of a triangle cut through the third */
    c.flat = 0;
    int two_only = fit(&rows, &c).clusters;
    c.flat = 6;
    sow_ppp p = fit(&rows, &c);
    assert_true(two_only <= 3);
    assert_int_equal(p.clusters, 3);
    c.only_flat = true;
    p = fit(&rows, &c);
    assert_int_equal(p.clusters, 3);
    assert_int_equal(p.nodes[0].parts, 3);
}

static void new_rows_go_where_they_belong(void **state) {
    sow_rows rows = rows_of(planted(1200, 2, 2, 8, 9), 1200, 2);
    sow_ppp_config c = sow_ppp_defaults();
    sow_ppp p = fit(&rows, &c);
    double fresh[] = {0, 0, 8, 0}, confidence[2], all[4];
    int32_t labels[2], near[2];
    sow_rows two = rows_of(fresh, 2, 2);
    OK(sow_ppp_assign(&p, &two, false, labels, confidence, all));
    OK(sow_ppp_assign(&p, &two, true, near, NULL, NULL));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(labels[i], p.labels[i]);
        assert_int_equal(near[i], labels[i]);
        assert_near(confidence[i], all[2 * i + labels[i]], 0);
        assert_true(confidence[i] > .999);
    }
}

static void any_number_of_threads_gives_the_same_bits(void **state) {
    enum { N = 30000 };
    sow_rows rows = rows_of(planted(N, 4, 5, 5, 12), N, 4);
    sow_ppp_config c = sow_ppp_defaults();
    sow_ppp p[3];
    for (int t = 0; t < 3; t++) {
        sow_set_threads(1 << t);
        p[t] = fit(&rows, &c);
    }
    sow_set_threads(1);
    for (int t = 1; t < 3; t++) {
        assert_int_equal(p[0].clusters, p[t].clusters);
        assert_memory_equal(p[0].labels, p[t].labels, N * sizeof(int32_t));
        assert_memory_equal(p[0].core, p[t].core, N);
        assert_memory_equal(p[0].confidence, p[t].confidence, N * sizeof(double));
        assert_memory_equal(p[0].centroids, p[t].centroids, (size_t)p[0].clusters * 4 * sizeof(double));
    }
}

/* A part of many rows is tried first: what it refuses, and what goes on to all rows, ends as if all were tried at once. */
static void trying_a_part_of_many_rows_first_changes_no_decision(void **state) {
    enum { N = 30000 };
    sow_rows rows = rows_of(planted(N, 3, 4, 5, 11), N, 3);
    sow_ppp_config c = sow_ppp_defaults();
    c.sample = 0;
    sow_ppp all = fit(&rows, &c);
    c.sample = 1500;
    sow_ppp part = fit(&rows, &c);
    double index;
    assert_int_equal(all.clusters, 4);
    assert_int_equal(part.clusters, 4);
    OK(sow_adjusted_rand(all.labels, part.labels, N, &index));
    assert_true(index > .999);
    assert_int_equal(all.node_count, part.node_count);
    assert_near(part.nodes[0].bic_one, all.nodes[0].bic_one, 1e-9 * all.nodes[0].bic_one);
    assert_near(part.nodes[0].bic_parts, all.nodes[0].bic_parts, 1e-3 * all.nodes[0].bic_parts); /* where rounds end */
    for (int i = 0; i < part.node_count; i++) { /* leaves say why, by evidence from a part of their rows */
        const sow_ppp_node *n = &part.nodes[i];
        if (n->child < 0) assert_true(!(n->bic_parts < n->bic_one) || n->agreement < c.agreement);
    }
}

static void equal_rows_and_single_rows_are_refused(void **state) {
    double same[40];
    sow_ppp out;
    sow_ppp_config c = sow_ppp_defaults();
    for (int i = 0; i < 40; i++) same[i] = 3;
    sow_rows rows = rows_of(same, 40, 1), one = rows_of(same, 1, 40);
    FAILS(sow_ppp_fit(&rows, &c, arena, &out), SOW_E_NUMBER, "all rows are equal");
    FAILS(sow_ppp_fit(&one, &c, arena, &out), SOW_E_RANGE, "1 rows, expected two or more");
    same[7] = INFINITY;
    FAILS(sow_ppp_fit(&rows, &c, arena, &out), SOW_E_NUMBER, "row 7, column 0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oracle_four_numbers_are_two_groups),
        cmocka_unit_test(one_gaussian_is_one_group),
        cmocka_unit_test(six_groups_are_found_from_every_start),
        cmocka_unit_test(permuted_rows_have_permuted_labels),
        cmocka_unit_test(motions_and_units_change_nothing),
        cmocka_unit_test(every_row_is_in_one_leaf_or_outside_of_the_cores),
        cmocka_unit_test(without_a_demand_on_confidence_only_disagreement_leaves_a_core),
        cmocka_unit_test(a_told_number_is_reached_or_not_passed),
        cmocka_unit_test(several_parts_at_once_are_tried_where_two_are_refused),
        cmocka_unit_test(new_rows_go_where_they_belong),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(trying_a_part_of_many_rows_first_changes_no_decision),
        cmocka_unit_test(equal_rows_and_single_rows_are_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
