/* SGD-SaI: ratios of gradients, tables of scales, and updates with them. */
#include "check.h"

#include <math.h>

static const sow_scale_blocks tensors = {SOW_BLOCKS_TENSOR, 0, 0};

static sow_gsnr of(const float *g, int64_t n) {
    sow_gsnr out;
    sow_gsnr_measure(SOW_TENSOR((void *)(uintptr_t)g, SOW_F32, n), (sow_tensor){0}, (sow_partition){0, 1}, &out);
    return out;
}

/* ---- ratios: the card's worked numbers ---- */

static void the_worked_numbers_come_out(void **state) {
    sow_gsnr s = of((float[]){3, -1, 2, 0.5F, -2.5F, 1}, 6);
    assert_near(s.norm, 4.6368092, 5e-8);
    assert_near(s.sd, 2, 1e-12);
    assert_near(s.mean, 0.5, 1e-12);
    assert_near(s.g, 2.3184046, 5e-8);
    s = of((float[]){1, 2, 3, 4}, 4);
    assert_near(s.norm, 5.4772256, 5e-8);
    assert_near(s.sd, 1.2909944, 5e-8);
    assert_near(s.g, 3 * sqrt(2), 1e-7);
    s = of((float[]){0.1F, -0.1F, 0.2F}, 3);
    assert_near(s.norm, 0.24494897, 1e-8);
    assert_near(s.sd, 0.15275252, 1e-8);
    assert_near(s.g, 1.6035675, 2e-7);
}

static void the_identity_holds(void **state) {
    float g[1000];
    for (int i = 0; i < 1000; i++) g[i] = sinf(0.37F * (float)i) + 0.2F;
    for (int64_t n = 2; n <= 1000; n = n * 3 - 1) {
        sow_gsnr s = of(g, n);
        double left = s.g * s.g * (1 - (double)n * s.mean * s.mean / (s.norm * s.norm));
        assert_near(left / ((double)n - 1), 1, 1e-6);
    }
}

static void simple_gradients_have_known_ratios(void **state) {
    float g[1000] = {0};
    g[321] = -7;
    assert_near(of(g, 1000).g, sqrt(1000), 2e-6); /* but for epsilon */
    for (int i = 0; i < 1000; i++) g[i] = i < 10;
    assert_near(of(g, 1000).g, 31.766191, 1e-5);
    for (int i = 0; i < 1000; i++) g[i] = i % 2 ? 0.5F : -0.5F;
    assert_near(of(g, 1000).g, 31.606961, 1e-5);
}

static void the_size_and_order_of_a_gradient_do_not_matter(void **state) {
    float g[257], scaled[257], turned[257];
    for (int i = 0; i < 257; i++) {
        g[i] = cosf((float)(i * i));
        scaled[i] = -1024 * g[i];
        turned[256 - i] = g[i];
    }
    assert_near(of(scaled, 257).g, of(g, 257).g, 1e-6);
    assert_near(of(turned, 257).g, of(g, 257).g, 1e-11);
}

static void gradients_without_a_ratio_are_told(void **state) {
    sow_gsnr s = of((float[]){4}, 1);
    assert_near(s.g, 1, 0);
    assert_int_equal(s.kind, SOW_GSNR_SINGLE);
    s = of((float[]){0, 0, 0}, 3);
    assert_near(s.g, 1, 0);
    assert_int_equal(s.kind, SOW_GSNR_DEAD);
    s = of((float[]){0.3F, 0.3F, 0.3F, 0.3F, 0.3F, 0.3F, 0.3F, 0.3F}, 8);
    assert_near(s.g, sqrt(8), 1e-12);
    assert_int_equal(s.kind, SOW_GSNR_CONSTANT);
    assert_false(isfinite(of((float[]){1, INFINITY, 2}, 3).g));
    s = of((float[]){3e-9F, -1e-9F, 2e-9F}, 3);
    assert_int_equal(s.kind, SOW_GSNR_TINY);
    assert_near(s.g, s.norm / (s.sd + 1e-8), 1e-12);
    assert_true(s.g < 0.5);
}

static void large_gradients_have_the_same_bits_for_any_threads(void **state) {
    enum { MANY = 300000 };
    float *g = malloc(MANY * sizeof *g);
    sow_gsnr first = {0};
    for (int i = 0; i < MANY; i++) g[i] = sinf((float)i) * 1e-3F;
    for (int threads = 1; threads <= 4; threads *= 2) {
        sow_set_threads(threads);
        sow_gsnr s = of(g, MANY);
        if (threads == 1) first = s;
        assert_memory_equal(&s.g, &first.g, sizeof s.g);
        assert_memory_equal(&s.norm, &first.norm, sizeof s.norm);
    }
    sow_set_threads(0);
    double squares = 0, sum = 0;
    for (int i = 0; i < MANY; i++) squares += (double)g[i] * g[i], sum += (double)g[i];
    assert_near(first.norm, sqrt(squares), 1e-12);
    assert_near(first.g, sqrt(squares) / (sqrt((squares - sum * sum / MANY) / (MANY - 1)) + 1e-8), 1e-6);
    free(g);
}

/* ---- blocks ---- */

/* An entry of a name, with a gradient that counts up in logical order. */
static sow_entry *add(sow_state *s, const char *name, int64_t rows, int64_t columns) {
    sow_entry *e;
    OK(sow_state_add(s, name, SOW_F32, 2, (int64_t[]){rows, columns}, &e));
    OK(sow_state_add_gradients(s));
    for (int64_t i = 0; i < rows * columns; i++) sow_put(e->grad, i, sin(0.7 * (double)i) + 0.1);
    e->grad_written = true;
    return e;
}

static void tensors_are_cut_by_their_names(void **state) {
    static const sow_scale_blocks qkv = {SOW_BLOCKS_QKV, 0, 0}, head = {SOW_BLOCKS_HEAD, 4, 2}, row = {SOW_BLOCKS_ROW, 0, 0};
    sow_state *s;
    OK(sow_state_new(&s));
    sow_entry *fused = add(s, "h.0.attn.c_attn.weight", 8, 24),
              *torch_fused = add(s, "self_attn.in_proj_weight", 24, 8),
              *query = add(s, "layers.0.self_attn.q_proj.weight", 16, 8),
              *key = add(s, "layers.0.self_attn.k_proj.weight", 8, 8), *plain = add(s, "fc1.weight", 6, 5);
    assert_int_equal(sow_partition_of(fused, &qkv).parts, 3);
    assert_int_equal(sow_partition_of(fused, &qkv).dimension, 1);
    assert_int_equal(sow_partition_of(torch_fused, &qkv).parts, 3);
    assert_int_equal(sow_partition_of(torch_fused, &qkv).dimension, 0);
    assert_int_equal(sow_partition_of(query, &head).parts, 4);
    assert_int_equal(sow_partition_of(key, &head).parts, 2);
    assert_int_equal(sow_partition_of(plain, &head).parts, 1);
    assert_int_equal(sow_partition_of(plain, &row).parts, 6);
    assert_int_equal(sow_partition_of(plain, &tensors).parts, 1);
    sow_state_free(s);
}

/* Rows and columns of a matrix, in either storage order, against the same numbers one block at a time. */
static void blocks_are_measured_each_for_itself(void **state) {
    static const sow_scale_blocks row = {SOW_BLOCKS_ROW, 0, 0};
    for (int transposed = 0; transposed < 2; transposed++)
        for (int by_inputs = 0; by_inputs < 2; by_inputs++) {
            sow_state *s;
            sow_gsnr out[6];
            OK(sow_state_new(&s));
            sow_entry *e = add(s, by_inputs ? "c_fc.weight" : "fc1.weight", by_inputs ? 5 : 6, by_inputs ? 6 : 5);
            sow_tensor g = e->grad;
            float turned[30];
            if (transposed) {
                g.data = turned;
                g.stride[0] = 1;
                g.stride[1] = g.shape[0];
                OK(sow_copy(g, e->grad));
            }
            sow_partition p = sow_partition_of(e, &row);
            assert_int_equal(p.parts, 6);
            sow_gsnr_measure(g, (sow_tensor){0}, p, out);
            for (int b = 0; b < 6; b++) {
                float block[5];
                for (int i = 0; i < 5; i++) block[i] = (float)sow_at(e->grad, by_inputs ? i * 6 + b : b * 5 + i);
                assert_near(out[b].g, of(block, 5).g, 1e-9);
                assert_int_equal(out[b].n, 5);
            }
            sow_state_free(s);
        }
}

static void masked_elements_do_not_count(void **state) {
    uint8_t keep[6] = {1, 1, 0, 1, 0, 1};
    sow_gsnr out, expected = of((float[]){3, -1, 0.5F, 1}, 4);
    sow_gsnr_measure(SOW_TENSOR(((float[]){3, -1, 2, 0.5F, -2.5F, 1}), SOW_F32, 6), SOW_TENSOR(keep, SOW_U8, 6),
                     (sow_partition){0, 1}, &out);
    assert_int_equal(out.n, 4);
    assert_near(out.g, expected.g, 1e-12);
}

/* ---- updates ---- */

/* Entries A (2 x 2, ones) and b (3, ones). */
typedef struct pair {
    sow_state *state;
    sow_entry *a, *b;
} pair;

static pair ones(void) {
    pair p;
    OK(sow_state_new(&p.state));
    OK(sow_state_add(p.state, "fc.weight", SOW_F32, 2, (int64_t[]){2, 2}, &p.a));
    OK(sow_state_add(p.state, "fc.bias", SOW_F32, 1, (int64_t[]){3}, &p.b));
    sow_fill(p.a->value, 1);
    sow_fill(p.b->value, 1);
    return p;
}

static void give(pair *p, double factor) {
    static const double a[4] = {1, 2, 3, 4}, b[3] = {0.1, -0.1, 0.2};
    for (int i = 0; i < 4; i++) sow_put(p->a->grad, i, factor * a[i]);
    for (int i = 0; i < 3; i++) sow_put(p->b->grad, i, factor * b[i]);
    p->a->grad_written = p->b->grad_written = true;
}

static void assert_weights(const pair *p, const double expected[4]) {
    for (int i = 0; i < 4; i++) assert_near(sow_at(p->a->value, i), expected[i], 1.5e-7);
}

static const sow_optimizer_config sai = {.kind = SOW_SGD_SAI, .rate = 0.01, .momentum = 0.9, .weight_decay = 0.1};

static void two_steps_follow_the_trace(void **state) {
    static const double after[2][2][4] = {
        {{0.95657359, 0.91414719, 0.87172078, 0.82929437}, {0.91955457, 0.84110815, 0.76266172, 0.68421530}},
        {{0.989, 0.979, 0.969, 0.959}, {0.979511, 0.961021, 0.942531, 0.924041}}};
    for (int norm = 0; norm < 2; norm++) {
        pair p = ones();
        sow_optimizer *o;
        sow_optimizer_config c = sai;
        c.normalise = norm ? SOW_SCALES_MAX : SOW_SCALES_RAW;
        OK(sow_optimizer_new(&c, p.state, &o));
        give(&p, 1);
        sow_optimizer_step(o, 1);
        assert_weights(&p, after[norm][0]);
        give(&p, -0.5);
        sow_optimizer_step(o, 1);
        assert_weights(&p, after[norm][1]);
        const sow_entry *m = sow_state_find(sow_optimizer_moments(o), "fc.weight.momentum_buffer");
        for (int i = 0; i < 4; i++) assert_near(sow_at(m->value, i), 0.85 * (i + 1), 1e-6);
        const sow_entry *g = sow_state_find(sow_optimizer_moments(o), "fc.bias.scale");
        assert_near(sow_at(g->value, 0), 1.6035675, 2e-7);
        sow_optimizer_free(o);
        sow_state_free(p.state);
    }
}

/* lr of "max" = lr of "none" * largest g, and its decay / largest g. */
static void normed_and_raw_scales_are_one_optimiser(void **state) {
    double largest = 3 * sqrt(2);
    pair raw = ones(), normed = ones();
    sow_optimizer *a, *b;
    sow_optimizer_config c = sai;
    OK(sow_optimizer_new(&c, raw.state, &a));
    c.rate *= largest;
    c.weight_decay /= largest;
    c.normalise = SOW_SCALES_MAX;
    OK(sow_optimizer_new(&c, normed.state, &b));
    for (int t = 0; t < 20; t++) {
        give(&raw, cos(t));
        give(&normed, cos(t));
        sow_optimizer_step(a, 1);
        sow_optimizer_step(b, 1);
    }
    for (int i = 0; i < 4; i++) assert_near(sow_at(raw.a->value, i), sow_at(normed.a->value, i), 1e-6);
    for (int i = 0; i < 3; i++) assert_near(sow_at(raw.b->value, i), sow_at(normed.b->value, i), 1e-6);
    sow_optimizer_free(a);
    sow_optimizer_free(b);
    sow_state_free(raw.state);
    sow_state_free(normed.state);
}

static void scales_of_one_without_momentum_are_plain_descent(void **state) {
    sow_scale_row rows[] = {{.name = "fc.weight", .parts = 1, .scale = 1}, {.name = "fc.bias", .parts = 1, .scale = 1}};
    sow_scales table = {.rows = rows, .count = 2};
    pair x = ones(), y = ones();
    sow_optimizer *a, *b;
    OK(sow_optimizer_new(&(sow_optimizer_config){.kind = SOW_SGD_SAI, .rate = 0.013, .scales = &table}, x.state, &a));
    OK(sow_optimizer_new(&(sow_optimizer_config){.kind = SOW_SGD, .rate = 0.013}, y.state, &b));
    for (int t = 0; t < 30; t++) {
        give(&x, sin(t));
        give(&y, sin(t));
        sow_optimizer_step(a, 1);
        sow_optimizer_step(b, 1);
    }
    assert_memory_equal(x.a->value.data, y.a->value.data, 4 * sizeof(float));
    assert_memory_equal(x.b->value.data, y.b->value.data, 3 * sizeof(float));
    sow_optimizer_free(a);
    sow_optimizer_free(b);
    sow_state_free(x.state);
    sow_state_free(y.state);
}

static void given_scales_must_fit_the_model(void **state) {
    sow_scale_row rows[] = {{.name = "fc.weight", .parts = 1, .scale = 2}, {.name = "fc.bias", .parts = 1, .scale = 1}};
    sow_scales table = {.rows = rows, .count = 2};
    sow_optimizer_config c = sai;
    sow_optimizer *o;
    pair p = ones();
    c.scales = &table;
    OK(sow_optimizer_new(&c, p.state, &o));
    give(&p, 1);
    sow_optimizer_step(o, 1);
    assert_weights(&p, (const double[]){0.979, 0.959, 0.939, 0.919}); /* not measured: 0.999 - 0.01 * 2 * g */
    sow_optimizer_free(o);
    table.count = 1;
    FAILS(sow_optimizer_new(&c, p.state, &o), SOW_E_NOT_FOUND, "none for 'fc.bias'");
    table.count = 2;
    rows[1].name = "fc2.bias";
    FAILS(sow_optimizer_new(&c, p.state, &o), SOW_E_NOT_FOUND, "none for 'fc.bias'");
    rows[1].name = "fc.bias";
    rows[1].parts = 2;
    FAILS(sow_optimizer_new(&c, p.state, &o), SOW_E_SHAPE, "2 blocks");
    sow_state_free(p.state);
}

static void late_blocks_are_measured_at_their_first_gradient(void **state) {
    pair p = ones();
    sow_optimizer *o;
    sow_optimizer_config c = sai;
    c.normalise = SOW_SCALES_MAX;
    OK(sow_optimizer_new(&c, p.state, &o));
    give(&p, 1);
    p.b->grad_written = false;
    sow_optimizer_step(o, 1);
    const sow_state *m = sow_optimizer_moments(o);
    assert_near(sow_at(sow_state_find(m, "fc.bias.scale")->value, 0), 0, 0);
    assert_near(sow_at(p.b->value, 0), 1, 0); /* not even decayed */
    give(&p, 3);
    sow_optimizer_step(o, 1);
    assert_near(sow_at(sow_state_find(m, "fc.bias.scale")->value, 0), 1.6035675, 2e-7);
    assert_near(sow_at(sow_state_find(m, "sgd_sai.norm")->value, 0), 3 * sqrt(2), 1e-6);
    /* its first momentum is its whole gradient */
    assert_near(sow_at(sow_state_find(m, "fc.bias.momentum_buffer")->value, 0), 0.3, 1e-7);
    sow_optimizer_free(o);
    sow_state_free(p.state);
}

/* Moments copied by name into a fresh optimiser, as a checkpoint does, where one block came late. */
static void a_restored_optimiser_goes_on_with_the_same_bits(void **state) {
    pair p = ones(), q = ones();
    sow_optimizer *o, *fresh;
    sow_optimizer_config c = sai;
    c.normalise = SOW_SCALES_MEAN;
    OK(sow_optimizer_new(&c, p.state, &o));
    OK(sow_optimizer_new(&c, q.state, &fresh));
    for (int t = 0; t < 20; t++) {
        give(&p, cos(t));
        if (t < 3 || (t > 6 && t < 12)) p.b->grad_written = false;
        sow_optimizer_step(o, 1 / (1.0 + t));
        if (t < 10) continue;
        if (t == 10) {
            for (int64_t i = 0; i < sow_state_count(sow_optimizer_moments(o)); i++) {
                const sow_entry *e = sow_state_entry(sow_optimizer_moments(o), i);
                OK(sow_copy(sow_state_find(sow_optimizer_moments(fresh), e->name)->value, e->value));
            }
            OK(sow_state_assign(q.state, p.state));
            sow_optimizer_set_steps(fresh, t + 1);
            continue;
        }
        give(&q, cos(t));
        if (t < 12) q.b->grad_written = false;
        sow_optimizer_step(fresh, 1 / (1.0 + t));
    }
    assert_memory_equal(p.a->value.data, q.a->value.data, 4 * sizeof(float));
    assert_memory_equal(p.b->value.data, q.b->value.data, 3 * sizeof(float));
    sow_optimizer_free(o);
    sow_optimizer_free(fresh);
    sow_state_free(p.state);
    sow_state_free(q.state);
}

/* Blocks by row of a tensor larger than a cell, stored in either order, against the formula. */
static void each_row_moves_by_its_own_scale(void **state) {
    enum { ROWS = 70, COLUMNS = 300 };
    for (int transposed = 0; transposed < 2; transposed++) {
        sow_state *s;
        sow_entry *e;
        sow_optimizer *o;
        sow_optimizer_config c = {
            .kind = SOW_SGD_SAI, .rate = 0.01, .momentum = 0.5, .blocks = {.kind = SOW_BLOCKS_ROW}};
        OK(sow_state_new(&s));
        OK(sow_state_add(s, "fc.weight", SOW_F32, 2, (int64_t[]){ROWS, COLUMNS}, &e));
        if (transposed) {
            e->value.stride[0] = 1;
            e->value.stride[1] = ROWS;
        }
        OK(sow_optimizer_new(&c, s, &o));
        for (int64_t i = 0; i < ROWS * COLUMNS; i++) sow_put(e->grad, i, sin((double)i) + (double)(i / COLUMNS) / ROWS);
        e->grad_written = true;
        sow_optimizer_step(o, 1);
        for (int64_t r = 0; r < ROWS; r++) {
            float row[COLUMNS];
            for (int64_t i = 0; i < COLUMNS; i++) row[i] = (float)sow_at(e->grad, r * COLUMNS + i);
            double g = of(row, COLUMNS).g;
            for (int64_t i = 0; i < COLUMNS; i++)
                assert_near(sow_at(e->value, r * COLUMNS + i), -0.01 * g * (double)row[i], 1e-6);
        }
        sow_optimizer_free(o);
        sow_state_free(s);
    }
}

/* torch.optim.SGD(momentum=.9, dampening=.5): the first buffer is the whole gradient; decay is added to it. */
static void dampening_is_that_of_torch(void **state) {
    pair p = ones();
    sow_optimizer *o;
    double w = 1, m = 0;
    OK(sow_optimizer_new(
        &(sow_optimizer_config){.kind = SOW_SGD, .rate = 0.1, .momentum = 0.9, .dampening = 0.5, .weight_decay = 0.01},
        p.state, &o));
    for (int t = 0; t < 10; t++) {
        give(&p, cos(t));
        double d = (double)(float)(2 * cos(t)) + 0.01 * w;
        m = t == 0 ? d : 0.9 * m + 0.5 * d;
        w -= 0.1 * m;
        sow_optimizer_step(o, 1);
    }
    assert_near(sow_at(p.a->value, 1), w, 1e-6);
    sow_optimizer_free(o);
    sow_state_free(p.state);
    FAILS(
        sow_optimizer_new(&(sow_optimizer_config){.kind = SOW_SGD, .momentum = 0.9, .dampening = 0.5, .nesterov = true},
                          p.state, &o),
        SOW_E_ARGUMENT, "Nesterov");
}

/* sgdm is sgd-sai with all scales 1; momentum = dampening; decay decoupled, or added to the gradient. */
static void averaged_momentum_follows_the_formula(void **state) {
    for (int coupled = 0; coupled < 2; coupled++) {
        pair p = ones();
        sow_optimizer *o;
        double w = 1, m = 0;
        OK(sow_optimizer_new(
            &(sow_optimizer_config){
                .kind = SOW_SGDM, .rate = 0.1, .momentum = 0.9, .weight_decay = 0.01, .coupled = coupled},
            p.state, &o));
        for (int t = 0; t < 10; t++) {
            give(&p, cos(t));
            double d = (double)(float)(2 * cos(t)) + (coupled ? 0.01 * w : 0);
            m = t == 0 ? d : 0.9 * m + 0.1 * d;
            w = (coupled ? 1 : 1 - 0.1 * 0.01) * w - 0.1 * m;
            sow_optimizer_step(o, 1);
        }
        assert_near(sow_at(p.a->value, 1), w, 1e-6);
        sow_optimizer_free(o);
        sow_state_free(p.state);
    }
}

static int64_t bytes_of(sow_optimizer_kind kind, int64_t n) {
    sow_state *s;
    sow_entry *e;
    sow_optimizer *o;
    int64_t bytes = 0;
    OK(sow_state_new(&s));
    OK(sow_state_add(s, "fc.weight", SOW_F32, 1, &n, &e));
    OK(sow_optimizer_new(&(sow_optimizer_config){.kind = kind, .momentum = 0.9}, s, &o));
    const sow_state *m = sow_optimizer_moments(o);
    for (int64_t i = 0; i < sow_state_count(m); i++) bytes += (int64_t)sow_bytes(sow_state_entry(m, i)->value);
    sow_optimizer_free(o);
    sow_state_free(s);
    return bytes;
}

static void the_state_is_half_of_adams(void **state) {
    assert_int_equal(bytes_of(SOW_ADAMW, 1000), 8000);
    assert_int_equal(bytes_of(SOW_SGD_SAI, 1000), 4000 + 24); /* count and scale of the tensor, the norm */
}

static void masked_weights_stay_zero(void **state) {
    static const sow_optimizer_kind kinds[] = {SOW_SGD_SAI, SOW_SGDM};
    for (int k = 0; k < 4; k++) {
        pair p = ones();
        uint8_t keep[4] = {1, 0, 1, 0};
        sow_optimizer *o;
        p.a->mask = SOW_TENSOR(keep, SOW_U8, 2, 2);
        OK(sow_optimizer_new(
            &(sow_optimizer_config){
                .kind = kinds[k & 1], .rate = 0.01, .momentum = k & 2 ? 0.9 : 0, .weight_decay = 0.1},
            p.state, &o));
        for (int t = 0; t < 5; t++) {
            give(&p, cos(t));
            sow_optimizer_step(o, 1);
        }
        assert_near(sow_at(p.a->value, 1), 0, 0);
        assert_near(sow_at(p.a->value, 3), 0, 0);
        assert_true(sow_at(p.a->value, 0) != 0 && sow_at(p.a->value, 0) != 1);
        sow_optimizer_free(o);
        p.a->mask.data = NULL;
        sow_state_free(p.state);
    }
}

/* ---- tables ---- */

static void a_table_is_written_and_read_back(void **state) {
    sow_arena *arena;
    sow_scales table, back;
    json_t *json;
    char *text;
    OK(sow_arena_new(&arena));
    pair p = ones();
    OK(sow_state_add_gradients(p.state));
    give(&p, 1);
    OK(sow_scales_measure(arena, p.state, &tensors, SOW_SCALES_MAX, &table));
    assert_int_equal(table.count, 2);
    assert_near(table.largest, 3 * sqrt(2), 1e-6);
    assert_near(table.rows[0].scale, 1, 1e-12);
    assert_near(table.rows[1].scale, 0.3779645, 1e-7);
    OK(sow_scales_json(&table, &json));
    OK(sow_json_text(arena, json, SOW_JSON_PRETTY, &text));
    OK(sow_write_file(in_folder("scales.json"), text, strlen(text)));
    json_decref(json);
    OK(sow_scales_read(arena, in_folder("scales.json"), &back));
    assert_int_equal(back.count, 2);
    assert_int_equal(back.norm, SOW_SCALES_MAX);
    assert_string_equal(back.rows[1].name, "fc.bias");
    assert_near(back.rows[1].scale, table.rows[1].scale, 0);
    assert_near(back.largest, table.largest, 0);
    assert_near(sow_scales_find(&back, "fc.bias")->scale, table.rows[1].scale, 0);
    assert_null(sow_scales_find(&back, "fc"));
    sow_state_free(p.state);
    sow_arena_free(arena);
}

static void a_table_of_roots_needs_no_gradient(void **state) {
    sow_arena *arena;
    sow_scales table;
    OK(sow_arena_new(&arena));
    pair p = ones();
    OK(sow_scales_sqrt_n(arena, p.state, &tensors, SOW_SCALES_RAW, &table));
    assert_near(table.rows[0].scale, 2, 0);
    assert_near(table.rows[1].scale, sqrt(3), 1e-15);
    OK(sow_state_add_gradients(p.state));
    sow_fresh_gradients(p.state);
    FAILS(sow_scales_measure(arena, p.state, &tensors, SOW_SCALES_RAW, &table), SOW_E_NOT_FOUND, "no trainable tensor");
    give(&p, NAN);
    FAILS(sow_scales_measure(arena, p.state, &tensors, SOW_SCALES_RAW, &table), SOW_E_NUMBER, "fc.weight");
    sow_state_free(p.state);
    sow_arena_free(arena);
}

static void wrong_tables_are_refused(void **state) {
    static const char *const wrong[][2] = {
        {"{}", "no table of scales"},
        {"[1]", "no table of scales"},
        {"{\"format\":\"sow scales 1\",\"scales\":[]}", "no table of scales"},
        {"{\"format\":\"sow scales 1\",\"scales\":[3]}", "row 1"},
        {"{\"format\":\"sow scales 1\",\"scales\":[{\"name\":\"a\"}]}", "row 1"},
        {"{\"format\":\"sow scales 1\",\"scales\":[{\"name\":\"a\",\"scale\":-1}]}", "row 1 (a): scale -1"},
        {"{\"format\":\"sow scales 1\",\"scales\":[{\"name\":\"a\",\"scale\":\"1\"}]}", "row 1"},
        {"{\"format\":\"sow scales 1\",\"scales\":[{\"name\":\"a\",\"scale\":1},{\"name\":\"a\",\"scale\":1}]}",
         "a is there twice"},
        {"{\"format\":\"sow scales 1\",\"scales\":[{\"name\":\"a\",\"scale\":1,\"parts\":2}]}",
         "row 1 (a): expected its 2 blocks"},
        {"{\"format\":\"sow scales 1\",\"scales\":[{\"name\":\"a\",\"scale\":1,\"parts\":1000000000000}]}",
         "row 1 (a)"},
        {"{\"format\":\"sow scales 1\",\"scales\":[{\"name\":\"a\",\"scale\":1,\"block\":1}]}", "row 1 (a)"},
        {"{\"format\":\"sow scales 1\",\"normalise\":\"sum\",\"scales\":[{\"name\":\"a\",\"scale\":1}]}",
         "expected none, max or mean"},
        {"{\"format\":\"sow scales 1\",\"scales\":[{\"name\":\"a\",\"scale\":1}", "not valid JSON"},
    };
    sow_arena *arena;
    sow_scales table;
    OK(sow_arena_new(&arena));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        OK(sow_write_file(in_folder("wrong.json"), wrong[i][0], strlen(wrong[i][0])));
        assert_int_not_equal(sow_scales_read(arena, in_folder("wrong.json"), &table), SOW_OK);
        if (!strstr(sow_message(), wrong[i][1]))
            fail_msg("%s: message '%s' lacks '%s'", wrong[i][0], sow_message(), wrong[i][1]);
    }
    sow_arena_free(arena);
}

static int set_up(void **state) {
    return make_test_folder();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_numbers_come_out),
        cmocka_unit_test(the_identity_holds),
        cmocka_unit_test(simple_gradients_have_known_ratios),
        cmocka_unit_test(the_size_and_order_of_a_gradient_do_not_matter),
        cmocka_unit_test(gradients_without_a_ratio_are_told),
        cmocka_unit_test(large_gradients_have_the_same_bits_for_any_threads),
        cmocka_unit_test(tensors_are_cut_by_their_names),
        cmocka_unit_test(blocks_are_measured_each_for_itself),
        cmocka_unit_test(masked_elements_do_not_count),
        cmocka_unit_test(two_steps_follow_the_trace),
        cmocka_unit_test(normed_and_raw_scales_are_one_optimiser),
        cmocka_unit_test(scales_of_one_without_momentum_are_plain_descent),
        cmocka_unit_test(given_scales_must_fit_the_model),
        cmocka_unit_test(late_blocks_are_measured_at_their_first_gradient),
        cmocka_unit_test(a_restored_optimiser_goes_on_with_the_same_bits),
        cmocka_unit_test(each_row_moves_by_its_own_scale),
        cmocka_unit_test(dampening_is_that_of_torch),
        cmocka_unit_test(averaged_momentum_follows_the_formula),
        cmocka_unit_test(the_state_is_half_of_adams),
        cmocka_unit_test(masked_weights_stay_zero),
        cmocka_unit_test(a_table_is_written_and_read_back),
        cmocka_unit_test(a_table_of_roots_needs_no_gradient),
        cmocka_unit_test(wrong_tables_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
