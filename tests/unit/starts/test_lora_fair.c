/* LoRA-FAIR: worked numbers of one layer, invariances, adapters that do not fit each other, memory of huge layers. */
#include "check.h"

#include <math.h>
#include <sys/resource.h>

/* Two clients of rank 1 on a 2 x 2 layer: B_1 = (1,0), A_1 = (1,0); B_2 = (0,1), A_2 = (1,2). */
static const float b1[] = {1, 0}, a1[] = {1, 0}, b2[] = {0, 1}, a2[] = {1, 2};
static const float *const two_a[] = {a1, a2}, *const two_b[] = {b1, b2};
static const double halves[] = {0.5, 0.5}, quarters[] = {0.25, 0.75};

static sow_arena *arena;

static sow_fair_layer merge_two(const sow_fair_config *config, const double *weights, float *a, float *b) {
    sow_fair_factors f = {2, 2, 2, 1, two_a, two_b, weights, NULL};
    sow_fair_layer report = {0};
    OK(sow_fair_merge_layer(config, &f, arena, a, b, &report));
    return report;
}

static sow_fair_config kind_of(sow_fair_kind kind) {
    sow_fair_config config = sow_fair_defaults();
    config.kind = kind;
    return config;
}

static void the_plain_average_is_biased(void **state) {
    float a[2], b[2];
    sow_fair_config config = kind_of(SOW_FAIR_FEDIT);
    sow_fair_layer r = merge_two(&config, halves, a, b);
    assert_near(r.bias_before, 0.707107, 1e-6);
    assert_near(r.bias_after, 0.707107, 1e-6);
    assert_near(r.cosine_before, 0.816497, 1e-6);
    assert_near(r.norm, sqrt(0.25 + 0.25 + 1), 1e-12);
    assert_near(a[0], 1, 0), assert_near(a[1], 1, 0), assert_near(b[0], 0.5, 0), assert_near(b[1], 0.5, 0);
    r = merge_two(&config, quarters, a, b);
    assert_near(r.norm * r.norm, 2.875, 1e-12);
    assert_near(r.cosine_before, 0.956932, 1e-6);
    assert_near(a[1], 1.5, 0), assert_near(b[1], 0.75, 0);
}

/* ||B A|| = 1 here, so the descent on dB / ||B A|| is the one on dB. */
static void the_descent_gives_the_worked_numbers(void **state) {
    static const struct {
        double lambda, stop;
        bool squared;
        int64_t steps;
        double db[2], cosine, tolerance;
    } worked[] = {
        {0.01, 0, true, 1, {-0.004082, 0.004082}, NAN, 1e-6},
        {0.01, 0, true, 100, {-0.224990, 0.151595}, 0.910122, 1e-6},
        {0.01, 0, true, 1000, {-0.276948, 0.158652}, 0.912861, 1e-6},
        {0.01, 0, false, 1000, {-0.277259, 0.152010}, 0.912846, 1e-6},
        {0, 0, true, 1000, {-0.276176, 0.171472}, 0.912871, 1e-6},
    };
    for (size_t i = 0; i < sizeof worked / sizeof *worked; i++) {
        float a[2], b[2];
        sow_fair_config config = kind_of(SOW_FAIR);
        config.lambda = worked[i].lambda, config.stop = worked[i].stop, config.steps = worked[i].steps;
        config.squared = worked[i].squared;
        sow_fair_layer r = merge_two(&config, halves, a, b);
        assert_near((double)b[0] - 0.5, worked[i].db[0], worked[i].tolerance);
        assert_near((double)b[1] - 0.5, worked[i].db[1], worked[i].tolerance);
        if (isfinite(worked[i].cosine)) assert_near(r.cosine_after, worked[i].cosine, 1e-6);
        assert_near(r.correction, hypot(worked[i].db[0], worked[i].db[1]), 2e-6);
        assert_int_equal(r.steps, worked[i].steps);
        assert_true(a[0] == 1 && a[1] == 1);
    }
}

static void stopping_at_small_changes_ends_earlier(void **state) {
    float a[2], b[2];
    sow_fair_config config = kind_of(SOW_FAIR);
    config.lambda = 0;
    assert_int_equal(merge_two(&config, halves, a, b).steps, 412);
}

static void least_squares_has_its_closed_form(void **state) {
    static const struct {
        double mu, db, cosine;
    } worked[] = {{0, 0.25, 0.912871}, {0.01, 0.248756, NAN}, {0.1, 0.238095, 0.912702}, {1, 0.166667, 0.903696}};
    for (size_t i = 0; i < sizeof worked / sizeof *worked; i++) {
        float a[2], b[2];
        sow_fair_config config = kind_of(SOW_FAIR_LS);
        config.mu = worked[i].mu;
        sow_fair_layer r = merge_two(&config, halves, a, b);
        assert_near((double)b[0] - 0.5, -worked[i].db, 1e-6);
        assert_near((double)b[1] - 0.5, worked[i].db, 1e-6);
        if (isfinite(worked[i].cosine)) assert_near(r.cosine_after, worked[i].cosine, 1e-6);
        if (worked[i].mu == 0) assert_near(r.bias_after, 0.5, 1e-6);
    }
}

static void singular_values_beat_any_correction_of_b(void **state) {
    float a[2], b[2];
    sow_fair_config config = kind_of(SOW_FAIR_FLEXLORA);
    sow_fair_layer r = merge_two(&config, halves, a, b);
    assert_near(r.cosine_after, 0.934172, 1e-6);
    assert_near(r.bias_after, 0.437016, 1e-6);
    assert_near(hypot(b[0], b[1]) * hypot(a[0], a[1]), 1.144123, 1e-6);
    assert_near(hypot(b[0], b[1]), hypot(a[0], a[1]), 1e-6); /* both take a square root */
}

/* ---- random layers, against dense matrices ---- */

enum { K = 3, IN = 11, OUT = 7, R = 4 };

typedef struct clients {
    float a[K][R * IN], b[K][OUT * R];
    const float *ap[K], *bp[K];
    double weight[K], scale[K];
    sow_fair_factors f;
} clients;

static clients *random_clients(double size, uint64_t seed) {
    static clients c;
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    for (int k = 0; k < K; k++) {
        sow_rng_normal_f32(&rng, c.a[k], R * IN, 0, 0.2);
        sow_rng_normal_f32(&rng, c.b[k], OUT * R, 0.3 * size, size);
        c.ap[k] = c.a[k], c.bp[k] = c.b[k], c.weight[k] = (k + 1) / 6.0, c.scale[k] = 1;
    }
    for (int k = 1; k < K; k++) /* what the rounds before have in common */
        for (int i = 0; i < R * IN; i++) c.a[k][i] = 0.5f * c.a[k][i] + c.a[0][i];
    c.f = (sow_fair_factors){K, IN, OUT, R, c.ap, c.bp, c.weight, c.scale};
    return &c;
}

/* sum_k p_k s_k B_k A_k, [OUT, IN]. */
static void ideal_of(const clients *c, double dw[OUT * IN]) {
    memset(dw, 0, sizeof(double) * OUT * IN);
    for (int k = 0; k < K; k++)
        for (int i = 0; i < OUT; i++)
            for (int j = 0; j < IN; j++)
                for (int u = 0; u < R; u++)
                    dw[i * IN + j] += c->weight[k] * c->scale[k] * (double)c->b[k][i * R + u] *
                                      (double)c->a[k][u * IN + j];
}

static void product_of(const float *a, const float *b, int rank, double out[OUT * IN]) {
    memset(out, 0, sizeof(double) * OUT * IN);
    for (int i = 0; i < OUT; i++)
        for (int j = 0; j < IN; j++)
            for (int u = 0; u < rank; u++) out[i * IN + j] += (double)b[i * rank + u] * (double)a[u * IN + j];
}

static double dot(const double *x, const double *y) {
    double sum = 0;
    for (int i = 0; i < OUT * IN; i++) sum += x[i] * y[i];
    return sum;
}

static double dense_cosine(const double *x, const double *y) {
    return dot(x, y) / sqrt(dot(x, x) * dot(y, y));
}

static double dense_distance(const double *x, const double *y) {
    return sqrt(dot(x, x) - 2 * dot(x, y) + dot(y, y));
}

static void reports_agree_with_dense_matrices(void **state) {
    clients *c = random_clients(0.1, 5);
    double dw[OUT * IN], ba[OUT * IN];
    float a[K * R * IN], b[OUT * K * R];
    c->scale[1] = 0.5;
    ideal_of(c, dw);
    for (int kind = 0; kind < SOW_FAIR_KINDS; kind++) {
        sow_fair_config config = kind_of((sow_fair_kind)kind);
        sow_fair_layer r = {0};
        if (kind == SOW_FAIR_FFA) continue;
        OK(sow_fair_merge_layer(&config, &c->f, arena, a, b, &r));
        product_of(a, b, (int)sow_fair_rank(&config, &c->f), ba);
        assert_near(r.norm, sqrt(dot(dw, dw)), 1e-9);
        assert_near(r.cosine_after, dense_cosine(ba, dw), 1e-7);
        assert_near(r.bias_after, dense_distance(ba, dw), 2e-7);
        assert_true(r.cosine_after >= r.cosine_before);
    }
}

/* Gradient descent as the paper has it, with the dense matrix, in normalised units. */
static void dense_descent(const clients *c, const sow_fair_config *config, const double *dw, double b[OUT * R],
                          const double *a) {
    double ba[OUT * IN], d[OUT * R] = {0}, start[OUT * R], g[OUT * R];
    memcpy(start, b, sizeof start);
    double unit = 0, w = sqrt(dot(dw, dw));
    for (int64_t step = 0; step < config->steps; step++) {
        for (int i = 0; i < OUT; i++)
            for (int j = 0; j < IN; j++) {
                ba[i * IN + j] = 0;
                for (int u = 0; u < R; u++) ba[i * IN + j] += b[i * R + u] * a[u * IN + j];
            }
        double n = sqrt(dot(ba, ba)), q = dot(ba, dw);
        if (step == 0) unit = n;
        for (int i = 0; i < OUT; i++)
            for (int u = 0; u < R; u++) {
                g[i * R + u] = 0;
                for (int j = 0; j < IN; j++) /* times unit: with respect to D = dB / unit */
                    g[i * R + u] += unit * (dw[i * IN + j] / (n * w) - q / (n * n * n * w) * ba[i * IN + j]) *
                                    a[u * IN + j];
            }
        for (int i = 0; i < OUT * R; i++) {
            d[i] += config->lr * (g[i] - 2 * config->lambda * d[i]);
            b[i] = start[i] + unit * d[i];
        }
    }
}

static void a_descent_in_r_space_is_the_dense_one(void **state) {
    clients *c = random_clients(0.1, 6);
    double dw[OUT * IN], mean_a[R * IN] = {0}, mean_b[OUT * R] = {0};
    float a[R * IN], b[OUT * R];
    sow_fair_config config = kind_of(SOW_FAIR);
    config.steps = 300, config.stop = 0;
    for (int k = 0; k < K; k++) {
        for (int i = 0; i < R * IN; i++) mean_a[i] += c->weight[k] * (double)c->a[k][i];
        for (int i = 0; i < OUT * R; i++) mean_b[i] += c->weight[k] * (double)c->b[k][i];
    }
    ideal_of(c, dw);
    dense_descent(c, &config, dw, mean_b, mean_a);
    sow_fair_layer r = {0};
    OK(sow_fair_merge_layer(&config, &c->f, arena, a, b, &r));
    for (int i = 0; i < OUT * R; i++) assert_near(b[i], mean_b[i], 1e-8);
    assert_true(r.correction > 0.01 * r.norm); /* it has moved */
}

/* Early rounds: B near 0. Rates in plain units of dB would throw such a B thousands of its lengths away. */
static void tiny_and_large_b_are_corrected_alike(void **state) {
    float a[R * IN], b[OUT * R];
    sow_fair_config config = kind_of(SOW_FAIR);
    double first = 0;
    for (double size = 1e-5; size < 0.2; size *= 10) {
        sow_fair_layer r = {0};
        OK(sow_fair_merge_layer(&config, &random_clients(size, 7)->f, arena, a, b, &r));
        assert_true(r.cosine_after > r.cosine_before + 1e-3);
        assert_true(r.growth > 0.8 && r.growth < 1.5);
        if (first == 0) first = r.cosine_after;
        assert_near(r.cosine_after, first, 1e-5);
    }
}

/* Rates far too high for this A: the cosine does not fall all the same. */
static void a_wild_rate_does_not_lower_the_cosine(void **state) {
    clients *c = random_clients(0.1, 8);
    float a[R * IN], b[OUT * R];
    sow_fair_config config = kind_of(SOW_FAIR);
    for (int k = 0; k < K; k++)
        for (int i = 0; i < R * IN; i++) c->a[k][i] *= 300;
    for (config.lr = 1e-3; config.lr < 1e4; config.lr *= 10) {
        sow_fair_layer r = {0};
        OK(sow_fair_merge_layer(&config, &c->f, arena, a, b, &r));
        assert_true(r.cosine_after >= r.cosine_before);
        assert_true(r.growth < 100);
    }
}

static void the_least_squares_residual_is_orthogonal_to_a(void **state) {
    clients *c = random_clients(0.1, 9);
    double dw[OUT * IN], ba[OUT * IN];
    float a[R * IN], b[OUT * R];
    sow_fair_config config = kind_of(SOW_FAIR_LS);
    sow_fair_layer r = {0};
    config.mu = 0;
    ideal_of(c, dw);
    OK(sow_fair_merge_layer(&config, &c->f, arena, a, b, &r));
    product_of(a, b, R, ba);
    for (int i = 0; i < OUT; i++)
        for (int u = 0; u < R; u++) {
            double sum = 0;
            for (int j = 0; j < IN; j++) sum += (dw[i * IN + j] - ba[i * IN + j]) * (double)a[u * IN + j];
            assert_near(sum, 0, 1e-7);
        }
}

static void equal_clients_leave_nothing_to_correct(void **state) {
    clients *c = random_clients(0.1, 10);
    float a[K * R * IN], b[OUT * R];
    for (int k = 1; k < K; k++) c->ap[k] = c->a[0], c->bp[k] = c->b[0];
    static const sow_fair_kind kinds[] = {SOW_FAIR, SOW_FAIR_FEDIT, SOW_FAIR_FFA, SOW_FAIR_LS};
    for (int i = 0; i < 4; i++) {
        sow_fair_config config = kind_of(kinds[i]);
        sow_fair_layer r = {0};
        OK(sow_fair_merge_layer(&config, &c->f, arena, a, b, &r));
        assert_memory_equal(a, c->a[0], sizeof c->a[0]);
        assert_memory_equal(b, c->b[0], sizeof c->b[0]);
        assert_true(r.bias_before == 0 && r.bias_after == 0 && r.correction == 0);
    }
}

static void ffa_is_exact_with_one_a_and_refused_otherwise(void **state) {
    clients *c = random_clients(0.1, 11);
    float a[R * IN], b[OUT * R];
    sow_fair_config config = kind_of(SOW_FAIR_FFA);
    sow_fair_layer r = {0};
    FAILS(sow_fair_merge_layer(&config, &c->f, arena, a, b, &r), SOW_E_UNSUPPORTED, "the same A");
    for (int k = 1; k < K; k++) c->ap[k] = c->a[0];
    OK(sow_fair_merge_layer(&config, &c->f, arena, a, b, &r));
    assert_true(r.bias_before == 0);
    assert_near(r.cosine_after, 1, 1e-15);
}

/* Row spaces of all A_k within that of their mean: nothing is out of reach. */
static void a_shared_row_space_reaches_cosine_one(void **state) {
    clients *c = random_clients(0.1, 12);
    float a[R * IN], b[OUT * R];
    sow_fair_config config = kind_of(SOW_FAIR_LS);
    sow_fair_layer r = {0};
    config.mu = 0;
    for (int k = 1; k < K; k++) /* rows of A_0 in another order, and twice as long */
        for (int u = 0; u < R; u++)
            for (int j = 0; j < IN; j++)
                c->a[k][u * IN + j] = (k == 2 ? 2 : 1) * c->a[0][(k == 1 ? u : (u + 1) % R) * IN + j];
    OK(sow_fair_merge_layer(&config, &c->f, arena, a, b, &r));
    assert_true(r.cosine_before < 0.999);
    assert_near(r.cosine_after, 1, 1e-12);
}

static void a_round_without_progress_is_passed_on(void **state) {
    clients *c = random_clients(0, 13);
    float a[K * R * IN], b[OUT * K * R];
    for (int kind = 0; kind < SOW_FAIR_KINDS; kind++) {
        sow_fair_config config = kind_of((sow_fair_kind)kind);
        sow_fair_layer r = {0};
        if (kind == SOW_FAIR_FFA) continue;
        OK(sow_fair_merge_layer(&config, &c->f, arena, a, b, &r));
        assert_true(r.cosine_after == 1 && r.bias_after == 0);
        for (int i = 0; i < OUT * R; i++) assert_true(b[i] == 0);
    }
    c->b[1][3] = NAN;
    sow_fair_config config = kind_of(SOW_FAIR);
    sow_fair_layer r = {0};
    FAILS(sow_fair_merge_layer(&config, &c->f, arena, a, b, &r), SOW_E_NUMBER, "NaN");
}

/* ---- whole adapters ---- */

enum { CLIENTS = 3, RANK = 2 };
static const struct {
    const char *module;
    int64_t in, out;
} shapes[] = {{"fc1", 12, 9}, {"fc2", 9, 7}, {"fc3", 7, 4}};

static sow_adapter *adapter_of(uint64_t seed, int64_t rank, double alpha) {
    sow_adapter *a;
    sow_rng rng;
    OK(sow_adapter_new(rank, alpha, false, &a));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    for (int i = 0; i < 3; i++) {
        sow_adapter_layer *l;
        sow_site site = {.module = shapes[i].module, .in = shapes[i].in, .out = shapes[i].out};
        OK(sow_adapter_add(a, &site, rank, -1, SOW_ADAPTER_LORA, &l));
        sow_rng_normal_f32(&rng, l->a->value.data, rank * l->in, 0.1, 0.3);
        sow_rng_normal_f32(&rng, l->b->value.data, rank * l->out, 0.05, 0.1);
    }
    return a;
}

static void make_clients(sow_adapter *c[CLIENTS]) {
    for (int k = 0; k < CLIENTS; k++) c[k] = adapter_of(20 + (uint64_t)k, RANK, RANK);
}

static void free_clients(sow_adapter *c[CLIENTS]) {
    for (int k = 0; k < CLIENTS; k++) sow_adapter_free(c[k]);
}

static void assert_same_state(const sow_adapter *a, const sow_adapter *b) {
    assert_int_equal(sow_state_count(a->state), sow_state_count(b->state));
    for (int64_t i = 0; i < sow_state_count(a->state); i++) {
        const sow_entry *x = sow_state_entry(a->state, i), *y = sow_state_find(b->state, x->name);
        assert_non_null(y);
        assert_memory_equal(x->value.data, y->value.data, sow_bytes(x->value));
    }
}

static void neither_order_nor_threads_matter(void **state) {
    sow_adapter *c[CLIENTS], *first, *other;
    sow_fair_layer *r;
    make_clients(c);
    const double weights[] = {100, 250, 80}, turned[] = {80, 100, 250};
    for (int kind = 0; kind < SOW_FAIR_KINDS; kind++) {
        sow_fair_config config = kind_of((sow_fair_kind)kind);
        if (kind == SOW_FAIR_FFA) continue;
        sow_set_threads(1);
        OK(sow_fair_merge(&config, (const sow_adapter *const[]){c[0], c[1], c[2]}, weights, 3, arena, &first, &r));
        sow_set_threads(4);
        OK(sow_fair_merge(&config, (const sow_adapter *const[]){c[2], c[0], c[1]}, turned, 3, arena, &other, &r));
        sow_set_threads(1);
        assert_same_state(first, other);
        sow_adapter_free(first);
        sow_adapter_free(other);
    }
    free_clients(c);
}

static void a_stack_is_the_sum_of_the_clients(void **state) {
    sow_adapter *c[CLIENTS], *out;
    sow_fair_layer *r;
    sow_fair_config config = kind_of(SOW_FAIR_FLORA);
    const double weights[] = {1, 1, 2};
    make_clients(c);
    OK(sow_fair_merge(&config, (const sow_adapter *const *)c, weights, 3, arena, &out, &r));
    assert_int_equal(out->layers[2].rank, CLIENTS * RANK);
    assert_near(out->layers[2].scale, 1, 1e-12);
    double sum = 0, expected = 0; /* element (1, 3) of fc3's update */
    for (int u = 0; u < CLIENTS * RANK; u++)
        sum += sow_at(out->layers[2].b->value, CLIENTS * RANK + u) * sow_at(out->layers[2].a->value, u * 7 + 3);
    for (int k = 0; k < CLIENTS; k++)
        for (int u = 0; u < RANK; u++)
            expected += weights[k] / 4 * sow_at(c[k]->layers[2].b->value, RANK + u) *
                        sow_at(c[k]->layers[2].a->value, u * 7 + 3);
    assert_near(sum, expected, 1e-7);
    sow_adapter_free(out);
    free_clients(c);
}

/* alpha 4 with B is alpha 2 with 2 B. */
static void different_alphas_are_brought_to_one_scale(void **state) {
    sow_adapter *a = adapter_of(30, RANK, 2), *b = adapter_of(31, RANK, 2), *b_half = adapter_of(31, RANK, 4), *one,
                *two;
    sow_fair_layer *r;
    sow_fair_config config = kind_of(SOW_FAIR);
    const double weights[] = {1, 1};
    for (int i = 0; i < 3; i++)
        for (int64_t k = 0; k < sow_count(b->layers[i].b->value); k++)
            sow_put(b_half->layers[i].b->value, k, sow_at(b_half->layers[i].b->value, k) / 2);
    OK(sow_fair_merge(&config, (const sow_adapter *const[]){a, b}, weights, 2, arena, &one, &r));
    OK(sow_fair_merge(&config, (const sow_adapter *const[]){a, b_half}, weights, 2, arena, &two, &r));
    assert_near(one->layers[1].scale, 1, 0);
    assert_near(two->layers[1].scale, 2, 0);
    for (int64_t k = 0; k < sow_count(one->layers[1].b->value); k++)
        assert_near(2 * sow_at(two->layers[1].b->value, k), sow_at(one->layers[1].b->value, k), 1e-6);
    sow_adapter *all[] = {a, b, b_half, one, two};
    for (int i = 0; i < 5; i++) sow_adapter_free(all[i]);
}

static void heads_trained_whole_are_averaged(void **state) {
    sow_adapter *c[CLIENTS], *out;
    sow_fair_layer *r;
    sow_fair_config config = kind_of(SOW_FAIR);
    make_clients(c);
    for (int k = 0; k < CLIENTS; k++) {
        float w[6], bias[2] = {(float)k, 1};
        for (int i = 0; i < 6; i++) w[i] = (float)(k * i);
        sow_entry weight = {.name = "head.weight", .value = SOW_TENSOR(w, SOW_F32, 2, 3)},
                  shift = {.name = "head.bias", .value = SOW_TENSOR(bias, SOW_F32, 2)};
        sow_site site = {.module = "head", .weight = &weight, .bias = &shift, .in = 3, .out = 2};
        OK(sow_adapter_add_whole(c[k], &site));
    }
    OK(sow_fair_merge(&config, (const sow_adapter *const *)c, (const double[]){1, 1, 2}, 3, arena, &out, &r));
    assert_near(sow_at(out->wholes[0].weight->value, 4), 5, 1e-6);
    assert_near(sow_at(out->wholes[0].bias->value, 0), 1.25, 1e-6);
    sow_adapter_free(out);
    free_clients(c);
}

static void adapters_that_do_not_fit_are_refused(void **state) {
    sow_adapter *a = adapter_of(1, 2, 2), *rank = adapter_of(2, 3, 3), *few = adapter_of(3, 2, 2), *out, *dora;
    sow_adapter_layer *l;
    sow_fair_layer *r;
    sow_fair_config config = sow_fair_defaults();
    const double weights[] = {1, 1}, wrong[] = {1, 0};
    few->count = 2;
    OK(sow_adapter_new(2, 2, false, &dora));
    OK(sow_adapter_add(dora, &(sow_site){.module = "fc1", .in = 12, .out = 9}, 2, -1, SOW_ADAPTER_DORA, &l));
#define MERGE(x, w) sow_fair_merge(&config, (const sow_adapter *const[]){a, x}, w, 2, arena, &out, &r)
    FAILS(MERGE(rank, weights), SOW_E_SHAPE, "fc1 of client 2: expected rank 2 as in client 1, found 3");
    FAILS(MERGE(few, weights), SOW_E_SHAPE, "fc3 is missing in client 2");
    FAILS(MERGE(dora, weights), SOW_E_UNSUPPORTED, "client 2 is DoRA");
    FAILS(MERGE(a, wrong), SOW_E_RANGE, "weight of client 2 is 0");
    config.kind = SOW_FAIR_FFA;
    sow_adapter *other = adapter_of(4, 2, 2);
    FAILS(MERGE(other, weights), SOW_E_UNSUPPORTED, "fc1: ffa needs clients");
    FAILS(sow_fair_kind_parse("fiar", &config.kind), SOW_E_ARGUMENT, "did you mean fair");
    sow_adapter *all[] = {a, rank, few, dora, other};
    for (int i = 0; i < 5; i++) sow_adapter_free(all[i]);
}

/* A dense 200,000 x 200,000 matrix would take 320 GB; the factors take 13 MB. */
static void huge_layers_take_no_dense_memory(void **state) {
    enum { SIDE = 200000, THIN = 4 };
    float *a[2], *b[2], *out_a, *out_b;
    struct rusage before, after;
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 3));
    for (int k = 0; k < 2; k++) {
        OK(SOW_NEW(arena, a[k], SIDE * THIN));
        OK(SOW_NEW(arena, b[k], SIDE * THIN));
        sow_rng_normal_f32(&rng, a[k], SIDE * THIN, 0.01, 0.01);
        sow_rng_normal_f32(&rng, b[k], SIDE * THIN, 0.01, 0.01);
    }
    OK(SOW_NEW(arena, out_a, 2 * SIDE * THIN));
    OK(SOW_NEW(arena, out_b, 2 * SIDE * THIN));
    getrusage(RUSAGE_SELF, &before);
    for (int kind = 0; kind < SOW_FAIR_KINDS; kind++) {
        sow_fair_config config = kind_of((sow_fair_kind)kind);
        sow_fair_layer r = {0};
        sow_fair_factors f = {2, SIDE, SIDE, THIN, (const float *const *)a, (const float *const *)b, halves, NULL};
        if (kind == SOW_FAIR_FFA) continue;
        OK(sow_fair_merge_layer(&config, &f, arena, out_a, out_b, &r));
        assert_true(r.cosine_after >= r.cosine_before && r.cosine_before > 0.5);
    }
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < 200 * 1024); /* kB */
}

static int prepare(void **state) {
    return sow_arena_new(&arena) == SOW_OK ? 0 : -1;
}

static int clean_up(void **state) {
    sow_arena_free(arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plain_average_is_biased),
        cmocka_unit_test(the_descent_gives_the_worked_numbers),
        cmocka_unit_test(stopping_at_small_changes_ends_earlier),
        cmocka_unit_test(least_squares_has_its_closed_form),
        cmocka_unit_test(singular_values_beat_any_correction_of_b),
        cmocka_unit_test(reports_agree_with_dense_matrices),
        cmocka_unit_test(a_descent_in_r_space_is_the_dense_one),
        cmocka_unit_test(tiny_and_large_b_are_corrected_alike),
        cmocka_unit_test(a_wild_rate_does_not_lower_the_cosine),
        cmocka_unit_test(the_least_squares_residual_is_orthogonal_to_a),
        cmocka_unit_test(equal_clients_leave_nothing_to_correct),
        cmocka_unit_test(ffa_is_exact_with_one_a_and_refused_otherwise),
        cmocka_unit_test(a_shared_row_space_reaches_cosine_one),
        cmocka_unit_test(a_round_without_progress_is_passed_on),
        cmocka_unit_test(neither_order_nor_threads_matter),
        cmocka_unit_test(a_stack_is_the_sum_of_the_clients),
        cmocka_unit_test(different_alphas_are_brought_to_one_scale),
        cmocka_unit_test(heads_trained_whole_are_averaged),
        cmocka_unit_test(adapters_that_do_not_fit_are_refused),
        cmocka_unit_test(huge_layers_take_no_dense_memory),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
