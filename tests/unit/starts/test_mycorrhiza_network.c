/* Neighbor-Net: the worked numbers of Bryant and Moulton's method, its consistency, and the optimality of the weights. */
#include <math.h>

#include "check.h"
#include "starts/groups/mycorrhiza/network.h"

enum { MOST = 40 };

static sow_arena *arena;

static int open_arena(void **state) {
    return sow_arena_new(&arena) != SOW_OK;
}

static int close_arena(void **state) {
    sow_arena_free(arena);
    return 0;
}

static const double example_a[] = {0, 8.5, 7.5, 3, 7.5, 5, 8.5, 0,  13, 9.5, 11, 5.5,  7.5, 13,  0,    8.5, 4,    10.5,
                                   3, 9.5, 8.5, 0, 8.5, 6, 7.5, 11, 4,  8.5, 0,  10.5, 5,   5.5, 10.5, 6,   10.5, 0};
static const double example_b[] = {0, 5, 4, 7, 3, 5, 0, 6, 4, 8, 4, 6, 0, 5, 5, 7, 4, 5, 0, 6, 3, 8, 5, 6, 0};
static const double example_c[] = {0, 3, 5, 6, 3, 0, 6, 5, 5, 6, 0, 3, 6, 5, 3, 0};

static sow_network net_of(int64_t n, const double *d, sow_reduction reduction) {
    sow_network net;
    sow_neighbornet_config config = sow_neighbornet_defaults();
    config.reduction = reduction;
    config.tolerance = 1e-12;
    OK(sow_neighbornet(n, d, &config, arena, &net));
    return net;
}

/* Weight of the split with these taxa (a bit each) on one side, 0 if it is not there. */
static double weight_of(const sow_network *net, unsigned side) {
    unsigned all = (1u << net->taxa) - 1;
    for (int64_t s = 0; s < net->count; s++) {
        unsigned found = 0;
        for (int64_t t = 0; t < net->taxa; t++) found |= (unsigned)sow_split_has(net, net->splits[s], t) << t;
        if (found == side || found == (all ^ side)) return net->splits[s].weight;
    }
    return 0;
}

static void assert_circle(const sow_network *net, const int64_t *expected) {
    for (int64_t i = 0; i < net->taxa; i++) assert_int_equal(net->circle[i], expected[i]);
}

/* ---- worked numbers ---- */

static void six_taxa_give_back_circle_and_weights(void **state) {
    for (int r = 0; r < 2; r++) {
        sow_network net = net_of(6, example_a, r ? SOW_REDUCE_SPLITSTREE4 : SOW_REDUCE_SYMMETRIC);
        assert_true(net.circle[1] == 3
                        ? net.circle[2] == 2
                        : net.circle[1] == 2 &&
                              net.circle[2] == 4); /* two circles are right: 0,3,2,4,1,5 and 0,2,4,1,5,3 */
        assert_int_equal(net.count, 10);
        static const struct {
            unsigned side;
            double weight;
        } splits[] = {{1 << 0, 1},          {1 << 3, 2},          {1 << 2, 2},
                      {1 << 4, 1},          {1 << 1, 3},          {1 << 5, 1},
                      {1 << 2 | 1 << 4, 4}, {1 << 1 | 1 << 4, 1}, {1 << 1 | 1 << 2 | 1 << 4, .5},
                      {1 << 1 | 1 << 5, 3}};
        for (size_t s = 0; s < 10; s++) assert_near(weight_of(&net, splits[s].side), splits[s].weight, 1e-12);
        assert_near(net.fit, 100, 1e-10);
        assert_int_equal(net.rounds, 0);
    }
}

static void five_taxa_have_two_splits_at_their_bound(void **state) {
    sow_network net = net_of(5, example_b, SOW_REDUCE_SYMMETRIC);
    assert_circle(&net, (int64_t[]){0, 1, 3, 2, 4}); /* 0, 4, 2, 3, 1 the other way round */
    assert_int_equal(net.count, 8);
    assert_near(weight_of(&net, 1 << 0), .066667, 5e-7);
    assert_near(weight_of(&net, 1 << 0 | 1 << 4), 1.6, 1e-9);
    assert_near(weight_of(&net, 1 << 0 | 1 << 2 | 1 << 4), 2.1, 1e-9);
    assert_near(weight_of(&net, 1 << 1), 1.233333, 5e-7);
    assert_near(weight_of(&net, 1 << 4), 1.533333, 5e-7);
    assert_near(weight_of(&net, 1 << 0 | 1 << 1), 1.4, 1e-9);
    assert_near(weight_of(&net, 1 << 2), 1.4, 1e-9);
    assert_near(weight_of(&net, 1 << 3), 1.366667, 5e-7);
    assert_near(weight_of(&net, 1 << 2 | 1 << 4), 0, 0);
    assert_near(weight_of(&net, 1 << 2 | 1 << 3), 0, 0);
    assert_near(net.residual, 1.032796, 5e-7);
    assert_near(net.fit, 99.645626, 5e-7);
}

static void five_taxa_without_a_bound(void **state) {
    /* on the circle 0, 4, 2, 3, 1 */
    static const int64_t circle[] = {0, 4, 2, 3, 1};
    double d[10], x[10];
    for (int k = 1, p = 0; k < 5; k++)
        for (int i = 0; i + k < 5; i++, p++) d[p] = example_b[circle[i] * 5 + circle[i + k]];
    network_unbounded(5, d, x);
    /* {0} {4} {2} {3}; {0,4} {4,2} {2,3}; {0,4,2} {4,2,3} = {0,1}; {0,4,2,3} = {1} */
    static const double expected[] = {0, 2, 2, 1.5, 1.5, -1, -.5, 2.5, 2, 1};
    for (int p = 0; p < 10; p++) assert_near(x[p], expected[p], 1e-12);
}

static void four_taxa_make_a_box(void **state) {
    sow_network net = net_of(4, example_c, SOW_REDUCE_SYMMETRIC);
    assert_circle(&net, (int64_t[]){0, 1, 3, 2});
    for (unsigned t = 0; t < 4; t++) assert_near(weight_of(&net, 1u << t), 1, 1e-12);
    assert_near(weight_of(&net, 1 << 0 | 1 << 1), 3, 1e-12);
    assert_near(weight_of(&net, 1 << 1 | 1 << 3), 1, 1e-12);
}

static void two_and_three_taxa_are_networks_too(void **state) {
    sow_network net = net_of(2, (double[]){0, 3, 3, 0}, SOW_REDUCE_SYMMETRIC);
    assert_int_equal(net.count, 1);
    assert_near(net.splits[0].weight, 3, 1e-12);
    net = net_of(3, (double[]){0, 3, 4, 3, 0, 5, 4, 5, 0}, SOW_REDUCE_SYMMETRIC);
    assert_near(weight_of(&net, 1), 1, 1e-12);
    assert_near(weight_of(&net, 2), 2, 1e-12);
    assert_near(weight_of(&net, 4), 3, 1e-12);
}

/* ---- the matrix of circular splits ---- */

/* A[pair, split] by its definition. */
static double separates(int64_t n, int64_t pair, int64_t split) {
    int64_t ends[2][2];
    for (int which = 0; which < 2; which++) {
        int64_t p = which ? split : pair;
        for (int64_t k = 1; k < n; k++)
            if (p >= network_diagonal(n, k) && p < network_diagonal(n, k) + n - k)
                ends[which][0] = p - network_diagonal(n, k), ends[which][1] = ends[which][0] + k;
    }
    bool a = ends[0][0] >= ends[1][0] && ends[0][0] < ends[1][1],
         b = ends[0][1] >= ends[1][0] && ends[0][1] < ends[1][1];
    return a != b;
}

static double determinant(double *a, int64_t n) {
    double product = 1;
    for (int64_t c = 0; c < n; c++) {
        int64_t pivot = c;
        for (int64_t r = c; r < n; r++)
            if (fabs(a[r * n + c]) > fabs(a[pivot * n + c])) pivot = r;
        for (int64_t j = 0; j < n; j++) {
            double kept = a[c * n + j];
            a[c * n + j] = a[pivot * n + j], a[pivot * n + j] = kept;
        }
        product *= a[c * n + c];
        for (int64_t r = c + 1; r < n; r++) {
            double f = a[r * n + c] / a[c * n + c];
            for (int64_t j = c; j < n; j++) a[r * n + j] -= f * a[c * n + j];
        }
    }
    return fabs(product);
}

static void products_are_those_of_the_matrix(void **state) {
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    for (int64_t n = 2; n <= 12; n++) {
        int64_t pairs = network_pairs(n);
        double x[66], r[66], y[66], z[66], back[66], sums[12];
        sow_rng_normal_f64(&rng, x, pairs, 0, 1);
        sow_rng_normal_f64(&rng, r, pairs, 0, 1);
        network_distances(n, x, y, sums);
        network_transposed(n, r, z, sums);
        network_unbounded(n, y, back);
        for (int64_t p = 0; p < pairs; p++) {
            double row = 0, column = 0;
            for (int64_t q = 0; q < pairs; q++) row += separates(n, p, q) * x[q], column += separates(n, q, p) * r[q];
            assert_near(y[p], row, 1e-11);
            assert_near(z[p], column, 1e-11);
            assert_near(back[p], x[p], 1e-11);
        }
    }
}

static void its_determinant_is_a_power_of_two(void **state) {
    static const int64_t taxa[] = {4, 5, 7};
    static const double expected[] = {8, 64, 32768};
    for (int t = 0; t < 3; t++) {
        int64_t pairs = network_pairs(taxa[t]);
        double a[21 * 21];
        for (int64_t p = 0; p < pairs; p++)
            for (int64_t s = 0; s < pairs; s++) a[p * pairs + s] = separates(taxa[t], p, s);
        assert_near(determinant(a, pairs), expected[t], 1e-6 * expected[t]);
    }
}

/* ---- random networks ---- */

typedef struct circular {
    int64_t n, circle[MOST];
    double x[MOST * MOST / 2], d[MOST * MOST];
} circular;

/* Distances of random splits of a random circle; each split is there with chance `share`; noise: times 1 + N(0, sd). */
static void draw(circular *c, sow_rng *rng, int64_t n, double share, double noise) {
    double y[MOST * MOST / 2], sums[MOST], u[2];
    c->n = n;
    sow_rng_permutation(rng, c->circle, n);
    for (int64_t p = 0; p < network_pairs(n); p++) {
        sow_rng_uniform_f64(rng, u, 2, 0, 1);
        c->x[p] = u[0] < share || p < n - 1 ? u[1] + .01 : 0;
    }
    network_distances(n, c->x, y, sums);
    for (int64_t k = 1; k < n; k++)
        for (int64_t i = 0; i + k < n; i++) {
            double factor = 1;
            if (noise > 0) sow_rng_normal_f64(rng, &factor, 1, 1, noise);
            int64_t a = c->circle[i], b = c->circle[i + k];
            c->d[a * n + b] = c->d[b * n + a] = fmax(0, y[network_diagonal(n, k) + i] * factor);
        }
    for (int64_t i = 0; i < n; i++) c->d[i * n + i] = 0;
}

static void exactly_circular_distances_come_back(void **state) {
    static circular c;
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 2));
    for (int trial = 0; trial < 1000; trial++) {
        sow_mark mark = sow_arena_mark(arena);
        int64_t n = 4 + trial % 13;
        draw(&c, &rng, n, trial % 3 ? .3 : 1, 0);
        sow_network net = net_of(n, c.d, trial % 2 ? SOW_REDUCE_SPLITSTREE4 : SOW_REDUCE_SYMMETRIC);
        if (net.rounds != 0) fail_msg("trial %d, %d taxa: a true circle was missed", trial, (int)n);
        int64_t expected = 0;
        for (int64_t k = 1; k < n; k++)
            for (int64_t i = 0; i + k < n; i++) {
                unsigned side = 0;
                for (int64_t t = i; t < i + k; t++) side |= 1u << c.circle[t];
                double weight = c.x[network_diagonal(n, k) + i];
                expected += weight > 0;
                assert_near(weight_of(&net, side), weight, 1e-9);
            }
        assert_int_equal(net.count, expected);
        sow_arena_release(arena, mark);
    }
}

static void a_tree_gives_its_edges_and_no_others(void **state) {
    /* ((0:1,1:2):3,(2:1,3:4):2,4:5) */
    static const double d[] = {0, 3, 7, 10, 9, 3, 0, 8, 11, 10, 7, 8, 0, 5, 8, 10, 11, 5, 0, 11, 9, 10, 8, 11, 0};
    sow_network net = net_of(5, d, SOW_REDUCE_SYMMETRIC);
    assert_int_equal(net.count, 7);
    assert_near(weight_of(&net, 1 << 0 | 1 << 1), 3, 1e-9);
    assert_near(weight_of(&net, 1 << 2 | 1 << 3), 2, 1e-9);
    assert_near(weight_of(&net, 1 << 3), 4, 1e-9);
}

/* Lawson and Hanson 1974, one split at a time, with the dense matrix: the oracle. */
static double lawson_hanson(int64_t n, const double *d, double *x) {
    int64_t pairs = network_pairs(n);
    static double h[435 * 435], c[435], g[435], s[435], m[435 * 436];
    static bool in[435];
    for (int64_t p = 0; p < pairs; p++) {
        x[p] = c[p] = 0, in[p] = false;
        for (int64_t q = 0; q < pairs; q++) c[p] += separates(n, q, p) * d[q];
    }
    for (int64_t p = 0; p < pairs; p++)
        for (int64_t q = 0; q < pairs; q++) {
            h[p * pairs + q] = 0;
            for (int64_t r = 0; r < pairs; r++) h[p * pairs + q] += separates(n, r, p) * separates(n, r, q);
        }
    for (int round = 0; round < 3000; round++) {
        int64_t best = -1;
        for (int64_t p = 0; p < pairs; p++) {
            g[p] = c[p];
            for (int64_t q = 0; q < pairs; q++) g[p] -= h[p * pairs + q] * x[q];
            if (!in[p] && g[p] > 1e-9 && (best < 0 || g[p] > g[best])) best = p;
        }
        if (best < 0) break;
        in[best] = true;
        for (bool feasible = false; !feasible;) {
            int64_t index[435], k = 0;
            for (int64_t p = 0; p < pairs; p++)
                if (in[p]) index[k++] = p;
            for (int64_t i = 0; i < k; i++) {
                for (int64_t j = 0; j < k; j++) m[i * (k + 1) + j] = h[index[i] * pairs + index[j]];
                m[i * (k + 1) + k] = c[index[i]];
            }
            for (int64_t i = 0; i < k; i++) /* positive definite: no pivots needed */
                for (int64_t r = 0; r < k; r++) {
                    if (r == i) continue;
                    double f = m[r * (k + 1) + i] / m[i * (k + 1) + i];
                    for (int64_t j = i; j <= k; j++) m[r * (k + 1) + j] -= f * m[i * (k + 1) + j];
                }
            double t = 1;
            for (int64_t i = 0; i < k; i++) {
                s[i] = m[i * (k + 1) + k] / m[i * (k + 1) + i];
                if (s[i] <= 0) t = fmin(t, x[index[i]] / (x[index[i]] - s[i]));
            }
            feasible = t >= 1;
            for (int64_t i = 0; i < k; i++) {
                x[index[i]] += t * (s[i] - x[index[i]]);
                if (t < 1 && x[index[i]] <= 1e-13) x[index[i]] = 0, in[index[i]] = false;
            }
        }
    }
    double sum = 0;
    for (int64_t p = 0; p < pairs; p++) {
        double y = 0;
        for (int64_t q = 0; q < pairs; q++) y += separates(n, p, q) * x[q];
        sum += (y - d[p]) * (y - d[p]);
    }
    return sqrt(sum);
}

static void both_solvers_agree_with_lawson_and_hanson(void **state) {
    static circular c;
    static double d[435], x[435];
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 3));
    for (int trial = 0; trial < 12; trial++) {
        int64_t n = 6 + trial;
        draw(&c, &rng, n, .7, .1);
        for (int64_t k = 1; k < n; k++)
            for (int64_t i = 0; i + k < n; i++) d[network_diagonal(n, k) + i] = c.d[c.circle[i] * n + c.circle[i + k]];
        double residual = lawson_hanson(n, d, x);
        for (int solver = SOW_SPLITS_EXACT; solver <= SOW_SPLITS_CG; solver++) {
            sow_network net;
            sow_neighbornet_config config = {.solver = (sow_split_solver)solver, .tolerance = 1e-10, .threshold = 1e-9};
            OK(sow_split_weights(n, c.d, c.circle, &config, arena, &net));
            assert_true(net.settled);
            assert_near(net.residual, residual, 1e-8 * residual + 1e-9);
            for (int64_t s = 0; s < net.count; s++) {
                int64_t k = net.splits[s].last - net.splits[s].first;
                assert_near(net.splits[s].weight, x[network_diagonal(n, k) + net.splits[s].first], 1e-6);
            }
        }
    }
}

static void weights_satisfy_the_conditions_of_optimality(void **state) {
    static circular c;
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 4));
    draw(&c, &rng, 40, .5, .1);
    sow_network net = net_of(40, c.d, SOW_REDUCE_SYMMETRIC);
    static double x[780], y[780], g[780], target[780], sums[40];
    for (int64_t s = 0; s < net.count; s++)
        x[network_diagonal(40, net.splits[s].last - net.splits[s].first) + net.splits[s].first] = net.splits[s].weight;
    network_distances(40, x, y, sums);
    double largest = 0;
    for (int64_t k = 1; k < 40; k++)
        for (int64_t i = 0; i + k < 40; i++) {
            double d = c.d[net.circle[i] * 40 + net.circle[i + k]];
            y[network_diagonal(40, k) + i] -= d;
            target[network_diagonal(40, k) + i] = d;
        }
    network_transposed(40, y, g, sums);
    memcpy(y, target, sizeof y);
    network_transposed(40, y, target, sums);
    for (int64_t p = 0; p < 780; p++) largest = fmax(largest, fabs(target[p]));
    for (int64_t p = 0; p < 780; p++) {
        assert_true(g[p] >= -1e-9 * largest);
        if (x[p] > 0) assert_near(g[p], 0, 1e-6 * largest / 40);
    }
}

/* Weighted pairs and a penalty: the gradient A^T W (A x - d) + penalty vanishes where x > 0 and is nowhere negative. */
static void weighted_and_sparse_weights_are_optimal_too(void **state) {
    enum { N = 16, PAIRS = 120 };
    static circular c;
    sow_rng rng;
    int64_t counts[2] = {0};
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 5));
    draw(&c, &rng, N, .5, .1);
    for (int power = 0; power <= 2; power++)
        for (int sparse = 0; sparse < 2; sparse++) {
            static double x[PAIRS], r[PAIRS], wd[PAIRS], g[PAIRS], target[PAIRS], sums[N];
            sow_network net;
            sow_neighbornet_config config = {
                .tolerance = 1e-11, .threshold = 1e-9, .power = power, .sparsity = sparse ? .05 : 0};
            OK(sow_split_weights(N, c.d, c.circle, &config, arena, &net));
            if (power == 0) counts[sparse] = net.count;
            memset(x, 0, sizeof x);
            for (int64_t s = 0; s < net.count; s++)
                x[network_diagonal(N, net.splits[s].last - net.splits[s].first) + net.splits[s].first] =
                    net.splits[s].weight;
            network_distances(N, x, r, sums);
            double most = 0;
            for (int64_t k = 1; k < N; k++)
                for (int64_t i = 0; i + k < N; i++) {
                    int64_t p = network_diagonal(N, k) + i;
                    double d = c.d[net.circle[i] * N + net.circle[i + k]];
                    r[p] = (r[p] - d) / pow(d, power);
                    wd[p] = d / pow(d, power);
                }
            network_transposed(N, r, g, sums);
            network_transposed(N, wd, target, sums);
            for (int64_t p = 0; p < PAIRS; p++) most = fmax(most, target[p]);
            for (int64_t p = 0; p < PAIRS; p++) {
                double slope = g[p] + config.sparsity * most;
                assert_true(slope >= -1e-7 * most);
                if (x[p] > 0) assert_near(slope, 0, 1e-7 * most);
            }
        }
    assert_true(counts[1] < counts[0]); /* sparser */
}

static void larger_distances_give_larger_weights_and_nothing_else(void **state) {
    static circular c;
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 5));
    draw(&c, &rng, 25, .5, .1);
    sow_network a = net_of(25, c.d, SOW_REDUCE_SYMMETRIC);
    for (int64_t i = 0; i < 25 * 25; i++) c.d[i] *= 8;
    sow_network b = net_of(25, c.d, SOW_REDUCE_SYMMETRIC);
    assert_int_equal(a.count, b.count);
    assert_circle(&b, a.circle);
    for (int64_t s = 0; s < a.count; s++) assert_near(b.splits[s].weight, 8 * a.splits[s].weight, 1e-9);
}

static void other_names_give_the_same_network(void **state) {
    static circular c;
    static double d[24 * 24];
    int64_t order[24];
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 6));
    draw(&c, &rng, 24, .5, .1);
    sow_rng_permutation(&rng, order, 24);
    for (int64_t i = 0; i < 24; i++)
        for (int64_t j = 0; j < 24; j++) d[i * 24 + j] = c.d[order[i] * 24 + order[j]];
    sow_network a = net_of(24, c.d, SOW_REDUCE_SYMMETRIC), b = net_of(24, d, SOW_REDUCE_SYMMETRIC);
    assert_int_equal(a.count, b.count);
    for (int64_t s = 0; s < b.count; s++) {
        unsigned side = 0;
        for (int64_t t = 0; t < 24; t++) side |= (unsigned)sow_split_has(&b, b.splits[s], t) << order[t];
        assert_near(weight_of(&a, side), b.splits[s].weight, 1e-9);
    }
}

static void threads_do_not_change_a_bit(void **state) {
    int64_t n = 150;
    double *d, *x;
    sow_rng rng;
    OK(SOW_NEW(arena, d, n * n));
    OK(SOW_NEW(arena, x, n * n));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 7));
    sow_rng_uniform_f64(&rng, x, n * 3, 0, 1);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) d[i * n + j] = hypot(x[3 * i] - x[3 * j], x[3 * i + 1] - x[3 * j + 1]);
    sow_network nets[2];
    for (int t = 0; t < 2; t++) {
        sow_set_threads(t ? 3 : 1);
        nets[t] = net_of(n, d, SOW_REDUCE_SYMMETRIC);
    }
    sow_set_threads(0);
    assert_int_equal(nets[0].count, nets[1].count);
    assert_memory_equal(nets[0].splits, nets[1].splits, (size_t)nets[0].count * sizeof *nets[0].splits);
}

static void bad_distances_are_refused(void **state) {
    sow_network net;
    sow_neighbornet_config config = sow_neighbornet_defaults();
    FAILS(sow_neighbornet(1, (double[]){0}, &config, arena, &net), SOW_E_RANGE, "two taxa");
    FAILS(sow_neighbornet(2, (double[]){0, NAN, NAN, 0}, &config, arena, &net), SOW_E_NUMBER, "1 and 0");
    FAILS(sow_neighbornet(2, (double[]){0, -1, -1, 0}, &config, arena, &net), SOW_E_FORMAT, "below 0");
    FAILS(sow_neighbornet(2, (double[]){0, 1, 2, 0}, &config, arena, &net), SOW_E_FORMAT, "symmetric");
    FAILS(sow_neighbornet(2, (double[]){1, 1, 1, 0}, &config, arena, &net), SOW_E_FORMAT, "itself");
    FAILS(sow_split_weights(2, (double[]){0, 1, 1, 0}, (int64_t[]){0, 0}, &config, arena, &net), SOW_E_RANGE, "circle");
    OK(sow_neighbornet(3, (double[9]){0}, &config, arena, &net)); /* all equal: no splits, a perfect fit */
    assert_int_equal(net.count, 0);
    assert_near(net.fit, 100, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(six_taxa_give_back_circle_and_weights),
        cmocka_unit_test(five_taxa_have_two_splits_at_their_bound),
        cmocka_unit_test(five_taxa_without_a_bound),
        cmocka_unit_test(four_taxa_make_a_box),
        cmocka_unit_test(two_and_three_taxa_are_networks_too),
        cmocka_unit_test(products_are_those_of_the_matrix),
        cmocka_unit_test(its_determinant_is_a_power_of_two),
        cmocka_unit_test(exactly_circular_distances_come_back),
        cmocka_unit_test(a_tree_gives_its_edges_and_no_others),
        cmocka_unit_test(both_solvers_agree_with_lawson_and_hanson),
        cmocka_unit_test(weights_satisfy_the_conditions_of_optimality),
        cmocka_unit_test(weighted_and_sparse_weights_are_optimal_too),
        cmocka_unit_test(larger_distances_give_larger_weights_and_nothing_else),
        cmocka_unit_test(other_names_give_the_same_network),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(bad_distances_are_refused),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
