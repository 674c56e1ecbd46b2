/* Principal components of rows in batches: worked numbers, equal to the whole, sums in parts, randomised against exact. */
#include "check.h"

#include <math.h>

static const float x1[] = {2, 0, 0, -2, 0, 0, 0, 1, 0, 0, -1, 0}, x2[] = {4, 1, 0, 0, 1, 0, 2, 2, 1, 2, 0, -1};

typedef struct stream {
    sow_arena *scratch;
    sow_ipca *ipca;
    sow_components now;
} stream;

static stream begin(const sow_ipca_config *config) {
    stream s;
    OK(sow_arena_new(&s.scratch));
    OK(sow_ipca_new(config, &s.ipca));
    return s;
}
static bool feed(stream *s, const float *x, int64_t rows) {
    bool taken;
    OK(sow_ipca_add(s->ipca, x, rows, s->scratch, &taken));
    s->now = sow_ipca_components(s->ipca);
    return taken;
}
static void end(stream *s) {
    sow_ipca_free(s->ipca);
    sow_arena_free(s->scratch);
}

static double cosine(const float *a, const float *b, int64_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++)
        ab += (double)a[i] * (double)b[i], aa += (double)a[i] * (double)a[i], bb += (double)b[i] * (double)b[i];
    return ab / sqrt(aa * bb);
}

/* The card's numbers: three of three features. */
static void two_batches_give_the_worked_numbers(void **state) {
    static const double singular[] = {4.985626, 2.466950, 1.028442}, ratio[] = {.776765, .190183, .033053},
                        mean[] = {1, .5, 0}, scatter[] = {24, 6, 2},
                        rows[] = {.977672, .209335, .018317, -.196634, .880634, .431066, .074106, -.425043, .902134};
    for (int exact = 0; exact < 2; exact++) {
        stream s = begin(&(sow_ipca_config){.features = 3, .components = 3, .exact = exact});
        assert_true(feed(&s, x1, 4));
        assert_near(s.now.singular[0], 2.828427, 1e-6);
        assert_near(s.now.singular[1], 1.414214, 1e-6);
        assert_near(s.now.singular[2], 0, 1e-6);
        assert_near(sow_explained_ratio(&s.now, 0), .8, 1e-6);
        assert_near(s.now.agreement[0], 0, 0);
        assert_true(feed(&s, x2, 4));
        assert_int_equal(s.now.rows, 8);
        for (int i = 0; i < 3; i++) {
            assert_near(s.now.singular[i], singular[i], 2e-6);
            assert_near(sow_explained_ratio(&s.now, i), ratio[i], 1e-6);
            assert_near(s.now.mean[i], mean[i], 1e-9);
            assert_near(s.now.variance[i] * 8, scatter[i], 1e-9);
        }
        for (int i = 0; i < 9; i++) assert_near((double)s.now.components[i], rows[i], 2e-6);
        end(&s);
    }
}

/* One component of three features: its cosine with the one before is below .99. */
static void one_component_says_how_far_it_turned(void **state) {
    stream s = begin(&(sow_ipca_config){.features = 3, .components = 1, .exact = true});
    feed(&s, x1, 4);
    feed(&s, x2, 4);
    static const double row[] = {.981529, .190579, .016735};
    for (int i = 0; i < 3; i++) assert_near((double)s.now.components[i], row[i], 1e-6);
    assert_near(s.now.singular[0], 4.977616, 1e-6);
    assert_near(sow_explained_ratio(&s.now, 0), .774271, 1e-6);
    assert_near(s.now.agreement[0], .981529, 1e-6);
    end(&s);
}

static void too_small_batches_change_nothing(void **state) {
    stream s = begin(&(sow_ipca_config){.features = 3, .components = 3});
    assert_false(feed(&s, x1, 2));
    assert_int_equal(s.now.count, 0);
    feed(&s, x1, 4);
    assert_false(feed(&s, x2, 2));
    assert_int_equal(s.now.rows, 4);
    end(&s);
    sow_ipca *none;
    FAILS(sow_ipca_new(&(sow_ipca_config){.features = 3}, &none), SOW_E_RANGE, "0 of 3");
}

static void rows_that_are_not_numbers_are_refused(void **state) {
    float bad[12];
    memcpy(bad, x1, sizeof bad);
    bad[5] = NAN;
    stream s = begin(&(sow_ipca_config){.features = 3, .components = 2});
    FAILS(sow_ipca_add(s.ipca, bad, 4, s.scratch, NULL), SOW_E_NUMBER, "principal components");
    sow_gram *g;
    OK(sow_gram_new(3, &g));
    FAILS(sow_gram_add(g, bad, 4, s.scratch), SOW_E_NUMBER, "second moments");
    sow_gram_free(g);
    end(&s);
}

static void equal_rows_have_no_variance(void **state) {
    static const float same[] = {1, 2, 1, 2, 1, 2};
    stream s = begin(&(sow_ipca_config){.features = 2, .components = 2});
    feed(&s, same, 3);
    assert_near(s.now.total, 0, 0);
    assert_near(sow_explained_ratio(&s.now, 0), 0, 0);
    end(&s);
}

/* ---- on drawn rows: variances fall as 1 / (1 + i)^power, directions are mixed ---- */

enum { ROWS = 240, IN = 200 };

static void draw(uint64_t seed, int64_t rows, int64_t in, double power, float *out) {
    sow_rng rng;
    float *z = malloc(sizeof *z * (size_t)(rows * in)), *turn = malloc(sizeof *turn * (size_t)(in * in));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 7));
    sow_rng_normal_f32(&rng, turn, in * in, 0, 1);
    sow_tensor t = SOW_TENSOR(turn, SOW_F32, in, in);
    OK(sow_qr(t, t, (sow_tensor){0}));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    sow_rng_normal_f32(&rng, z, rows * in, 0, 1);
    for (int64_t i = 0; i < rows * in; i++) z[i] *= (float)pow(1 + (double)(i % in), -power);
    sow_gemm(false, false, rows, in, in, 1, z, in, turn, in, 0, out, in);
    for (int64_t i = 0; i < rows * in; i++) out[i] += 3; /* a mean that is far from 0 */
    free(z);
    free(turn);
}

static void all_components_in_batches_are_those_of_all_rows(void **state) {
    enum { in = 12 };
    static float x[ROWS * in];
    draw(1, ROWS, in, 1, x);
    stream parts = begin(&(sow_ipca_config){.features = in, .components = in, .exact = true}),
           whole = begin(&(sow_ipca_config){.features = in, .components = in, .exact = true});
    for (int i = 0; i < 4; i++) feed(&parts, x + i * 60 * in, 60);
    feed(&whole, x, ROWS);
    for (int i = 0; i < in; i++) {
        assert_near(parts.now.singular[i], whole.now.singular[i], 1e-5 * whole.now.singular[0]);
        assert_near(cosine(parts.now.components + i * in, whole.now.components + i * in, in), 1, 1e-5);
    }
    end(&parts);
    end(&whole);
}

/* Steep spectra: what one warm round finds is what full decompositions find. */
static void randomised_steps_follow_the_exact_ones(void **state) {
    enum { batches = 5, count = 8 };
    static float x[batches * ROWS * IN];
    draw(2, batches * ROWS, IN, 1, x);
    stream random = begin(&(sow_ipca_config){.features = IN, .components = count, .seed = 3}),
           exact = begin(&(sow_ipca_config){.features = IN, .components = count, .exact = true});
    for (int b = 0; b < batches; b++) {
        feed(&random, x + b * ROWS * IN, ROWS);
        feed(&exact, x + b * ROWS * IN, ROWS);
        for (int i = 0; i < count; i++) {
            double c = cosine(random.now.components + i * IN, exact.now.components + i * IN, IN);
            if (c < .99) fail_msg("batch %d, component %d: cosine %g", b, i, c);
            assert_near(random.now.singular[i] / exact.now.singular[i], 1, 5e-3);
        }
        for (int i = 0; i < count; i++)
            for (int j = 0; j <= i; j++) {
                double dot = 0;
                for (int k = 0; k < IN; k++)
                    dot += (double)random.now.components[i * IN + k] * (double)random.now.components[j * IN + k];
                assert_near(dot, i == j, 1e-5);
            }
    }
    end(&random);
    end(&exact);
}

static void the_same_seed_gives_the_same_bits(void **state) {
    static float x[2 * ROWS * IN], first[4 * IN];
    draw(3, 2 * ROWS, IN, 1, x);
    for (int threads = 1; threads < 3; threads++) {
        sow_set_threads(threads);
        stream s = begin(&(sow_ipca_config){.features = IN, .components = 4, .seed = 5, .stream = "q_proj"});
        feed(&s, x, ROWS);
        feed(&s, x + ROWS * IN, ROWS);
        if (threads == 1) memcpy(first, s.now.components, sizeof first);
        else assert_memory_equal(first, s.now.components, sizeof first);
        end(&s);
    }
    sow_set_threads(0);
}

/* ---- second moments ---- */

static sow_components gram_of(sow_arena *arena, const float *x, const int *order, int parts, int64_t in,
                              int64_t count) {
    sow_gram *g, *rest;
    sow_components out;
    OK(sow_gram_new(in, &g));
    OK(sow_gram_new(in, &rest));
    int64_t rows = ROWS / parts;
    for (int i = 0; i < parts; i++) OK(sow_gram_add(i % 2 ? rest : g, x + order[i] * rows * in, rows, arena));
    OK(sow_gram_merge(g, rest));
    OK(sow_gram_components(g, count, 1e-5, NULL, arena, &out));
    sow_gram_free(g);
    sow_gram_free(rest);
    return out;
}

/* More features than one tile has, in any order and in parts: the complete decomposition of all rows. */
static void second_moments_give_the_components_of_all_rows(void **state) {
    static const int sizes[] = {12, IN};
    static float x[ROWS * IN];
    static const int orders[][4] = {{0, 1, 2, 3}, {3, 1, 0, 2}};
    sow_arena *arena;
    OK(sow_arena_new(&arena));
    for (int k = 0; k < 2; k++) {
        int64_t in = sizes[k], count = k ? 6 : 12;
        draw(4, ROWS, in, 1, x);
        stream whole = begin(&(sow_ipca_config){.features = in, .components = count, .exact = true});
        feed(&whole, x, ROWS);
        for (int o = 0; o < 2; o++) {
            sow_components c = gram_of(arena, x, orders[o], 4, in, count);
            assert_int_equal(c.rows, ROWS);
            assert_near(c.total / whole.now.total, 1, 1e-5);
            for (int i = 0; i < count; i++) {
                assert_near(c.singular[i] / whole.now.singular[i], 1, 1e-4);
                assert_near(cosine(c.components + i * in, whole.now.components + i * in, in), 1, 1e-3);
            }
            for (int j = 0; j < in; j++) {
                assert_near(c.mean[j], whole.now.mean[j], 1e-5);
                assert_near(c.variance[j], whole.now.variance[j], 1e-4 * whole.now.variance[j] + 1e-9);
            }
        }
        end(&whole);
    }
    sow_arena_free(arena);
}

/* A span that holds the new components captures all; one of other directions little. */
static void captured_variance_is_that_of_the_span(void **state) {
    static float x[ROWS * IN];
    double share;
    sow_arena *arena;
    sow_gram *g;
    sow_components now, half;
    OK(sow_arena_new(&arena));
    OK(sow_gram_new(IN, &g));
    draw(5, ROWS, IN, 1, x);
    OK(sow_gram_add(g, x, ROWS, arena));
    OK(sow_gram_components(g, 6, 1e-5, NULL, arena, &now));
    OK(sow_gram_captured(g, 6, &now, &now, arena, &share));
    assert_near(share, 1, 1e-4);
    float *other;
    OK(SOW_NEW(arena, other, 6 * IN));
    for (int i = 0; i < 6; i++) other[i * IN + i] = 1; /* six features of two hundred */
    half = now;
    half.components = other;
    OK(sow_gram_captured(g, 6, &now, &half, arena, &share));
    assert_true(share < .3);
    sow_gram_free(g);
    sow_arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_batches_give_the_worked_numbers),
        cmocka_unit_test(one_component_says_how_far_it_turned),
        cmocka_unit_test(too_small_batches_change_nothing),
        cmocka_unit_test(rows_that_are_not_numbers_are_refused),
        cmocka_unit_test(equal_rows_have_no_variance),
        cmocka_unit_test(all_components_in_batches_are_those_of_all_rows),
        cmocka_unit_test(randomised_steps_follow_the_exact_ones),
        cmocka_unit_test(the_same_seed_gives_the_same_bits),
        cmocka_unit_test(second_moments_give_the_components_of_all_rows),
        cmocka_unit_test(captured_variance_is_that_of_the_span),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
