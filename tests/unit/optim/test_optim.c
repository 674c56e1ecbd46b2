/* Schedules, optimisers and the training loop. */
#include "check.h"

#include <math.h>

static void schedules_are_read_and_followed(void **state) {
    sow_schedule s;
    OK(sow_schedule_parse("multistep:20000,25000", &s));
    assert_near(sow_schedule_at(&s, 19999, 30000), 1, 0);
    assert_near(sow_schedule_at(&s, 20000, 30000), 0.1, 1e-15);
    assert_near(sow_schedule_at(&s, 29999, 30000), 0.01, 1e-15);
    OK(sow_schedule_parse("warmup:100+multistep:200:0.5", &s));
    assert_near(sow_schedule_at(&s, 0, 300), 0.01, 1e-15);
    assert_near(sow_schedule_at(&s, 99, 300), 1, 0);
    assert_near(sow_schedule_at(&s, 200, 300), 0.5, 0);
    OK(sow_schedule_parse("warmup:10+cosine:0.1", &s));
    assert_near(sow_schedule_at(&s, 10, 110), 1, 0);
    assert_near(sow_schedule_at(&s, 60, 110), 0.55, 1e-12);
    assert_near(sow_schedule_at(&s, 109, 110), 0.1, 1e-3);
    OK(sow_schedule_parse("constant", &s));
    assert_near(sow_schedule_at(&s, 5, 10), 1, 0);
    static const char *const wrong[] = {"", "cosin", "multistep", "multistep:", "multistep:20,10", "multistep:a", "warmup:5", "warmup:x+constant", "cosine:2", "constant "};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) FAILS(sow_schedule_parse(wrong[i], &s), SOW_E_ARGUMENT, "expected constant");
}

enum { N = 50 };

/* w of N elements, the second half masked if `masked`. */
static void make_state(bool masked, sow_state **out, sow_entry **e, sow_arena *arena) {
    sow_mask mask;
    OK(sow_state_new(out));
    OK(sow_state_add(*out, "fc.weight", SOW_F32, 2, (int64_t[]){5, N / 5}, e));
    for (int i = 0; i < N; i++) ((float *)(*e)->value.data)[i] = sinf((float)i);
    OK(sow_mask_new(arena, *out, &mask));
    for (int i = N / 2; i < N; i++) sow_bit_clear(&mask.bits[0], i);
    if (masked) OK(sow_mask_bind(&mask, *out));
}

/* The textbook formulas in f64 against the fused pass, over 20 steps with changing gradients. */
static void updates_follow_the_formulas(void **state) {
    static const sow_optimizer_config configs[] = {
        {.kind = SOW_SGD, .rate = 0.1}, {.kind = SOW_SGD, .rate = 0.1, .weight_decay = 0.01},
        {.kind = SOW_SGD, .rate = 0.1, .momentum = 0.9, .weight_decay = 1e-2}, {.kind = SOW_SGD, .rate = 0.1, .momentum = 0.9, .nesterov = true},
        {.kind = SOW_ADAM, .rate = 0.01}, {.kind = SOW_ADAM, .rate = 0.01, .weight_decay = 0.1, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-6},
        {.kind = SOW_ADAMW, .rate = 0.01, .weight_decay = 0.1}};
    sow_arena *arena;
    OK(sow_arena_new(&arena));
    for (size_t c = 0; c < sizeof configs / sizeof *configs; c++) {
        sow_optimizer_config k = configs[c];
        sow_state *s;
        sow_entry *e;
        sow_optimizer *o;
        make_state(false, &s, &e, arena);
        OK(sow_optimizer_new(&k, s, &o));
        double w[N], m[N] = {0}, v[N] = {0}, b1 = k.beta1 ? k.beta1 : 0.9, b2 = k.beta2 ? k.beta2 : 0.999, eps = k.epsilon ? k.epsilon : 1e-8;
        for (int i = 0; i < N; i++) w[i] = (double)((float *)e->value.data)[i];
        for (int t = 1; t <= 20; t++) {
            double factor = t > 10 ? 0.5 : 1, rate = k.rate * factor;
            for (int i = 0; i < N; i++) {
                double g = (double)(float)cos(i * 0.3 + t);
                ((float *)e->grad.data)[i] = (float)g;
                if (k.kind == SOW_ADAMW) w[i] *= 1 - rate * k.weight_decay;
                else g += k.weight_decay * w[i];
                if (k.kind == SOW_SGD) {
                    m[i] = t == 1 ? g : k.momentum * m[i] + g;
                    w[i] -= rate * (k.momentum == 0 ? g : k.nesterov ? g + k.momentum * m[i] : m[i]);
                } else {
                    m[i] = b1 * m[i] + (1 - b1) * g;
                    v[i] = b2 * v[i] + (1 - b2) * g * g;
                    w[i] -= rate / (1 - pow(b1, t)) * m[i] / (sqrt(v[i]) / sqrt(1 - pow(b2, t)) + eps);
                }
            }
            e->grad_written = true;
            sow_optimizer_step(o, factor);
        }
        for (int i = 0; i < N; i++) assert_near((double)((float *)e->value.data)[i], w[i], 2e-5);
        sow_optimizer_free(o);
        sow_state_free(s);
    }
    sow_arena_free(arena);
}

/* Momentum, weight decay and Adam's epsilon all try to revive pruned weights. */
static void masked_weights_stay_exactly_zero(void **state) {
    static const sow_optimizer_config configs[] = {{.kind = SOW_SGD, .rate = 0.1, .momentum = 0.9, .weight_decay = 1e-2, .nesterov = true},
                                                   {.kind = SOW_SGD, .rate = 0.1, .weight_decay = 1e-2}, {.kind = SOW_ADAM, .rate = 0.01, .weight_decay = 0.1},
                                                   {.kind = SOW_ADAMW, .rate = 0.01, .weight_decay = 0.1}};
    sow_arena *arena;
    OK(sow_arena_new(&arena));
    for (size_t c = 0; c < sizeof configs / sizeof *configs; c++) {
        sow_state *s;
        sow_entry *e;
        sow_optimizer *o;
        make_state(true, &s, &e, arena);
        OK(sow_optimizer_new(&configs[c], s, &o));
        for (int t = 0; t < 30; t++) {
            for (int i = 0; i < N; i++) ((float *)e->grad.data)[i] = cosf((float)(i + t));
            e->grad_written = true;
            sow_optimizer_step(o, 1);
            for (int i = N / 2; i < N; i++) assert_true(((float *)e->value.data)[i] == 0);
        }
        int moved = 0;
        for (int i = 0; i < N / 2; i++) moved += ((float *)e->value.data)[i] != sinf((float)i);
        assert_int_equal(moved, N / 2);
        sow_optimizer_free(o);
        sow_state_free(s);
    }
    sow_arena_free(arena);
}

static void entries_without_gradient_are_skipped(void **state) {
    sow_arena *arena;
    sow_state *s;
    sow_entry *e;
    sow_optimizer *o;
    OK(sow_arena_new(&arena));
    make_state(false, &s, &e, arena);
    OK(sow_optimizer_new(&(sow_optimizer_config){.kind = SOW_ADAMW, .rate = 1, .weight_decay = 0.5}, s, &o));
    sow_fresh_gradients(s);
    sow_optimizer_step(o, 1);
    assert_near((double)((float *)e->value.data)[1], (double)sinf(1), 0);
    sow_optimizer_free(o);
    sow_state_free(s);
    sow_arena_free(arena);
}

static void the_early_stop_is_the_first_minimum(void **state) {
    sow_evaluation curve[6] = {{.validation_loss = 3}, {.validation_loss = 2}, {.validation_loss = 1.5}, {.validation_loss = 1.6}, {.validation_loss = 1.4}, {.validation_loss = 1.9}};
    assert_int_equal(sow_early_stop(curve, 6), 4); /* steps 100..600: 500 */
    curve[2].validation_loss = 1.4;
    assert_int_equal(sow_early_stop(curve, 6), 2);
}

/* ---- training on the synthetic task ---- */

typedef struct counts { uint64_t at_30, at_60; } counts;

static sow_status count_allocations(void *user, int64_t step, sow_state *s) {
    counts *c = user;
    if (step == 30) c->at_30 = sow_allocation_count();
    if (step == 60) c->at_60 = sow_allocation_count();
    return SOW_OK;
}

static sow_training recipe(void) {
    return (sow_training){.steps = 300, .batch = 60, .evaluate_every = 70, .seed = 3, .optimizer = {.kind = SOW_ADAM, .rate = 1.2e-3}, .schedule = {.kind = SOW_SCHEDULE_COSINE}};
}

static void fill(sow_model *model) {
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    for (int64_t i = 0; i < sow_state_count(model->state); i++) {
        sow_entry *e = sow_state_entry(model->state, i);
        sow_rng_at(&rng, "init", e->name);
        if (e->role == SOW_ROLE_WEIGHT) sow_rng_normal_f32(&rng, e->value.data, sow_count(e->value), 0, 0.1);
    }
}

/* Trains, possibly in two sittings, and gives the SHA-256 of all weights and the last evaluation. */
static void train(const sow_data *data, sow_training t, int threads, const char *folder, int64_t stop_after, bool masked, double dropout, char sha[65], sow_evaluation *last) {
    sow_arena *arena;
    sow_model *model;
    sow_mask mask;
    OK(sow_arena_new(&arena));
    sow_set_threads(threads);
    for (int sitting = 0; sitting < (stop_after ? 2 : 1); sitting++) {
        OK(sow_model_new("mlp:64-150-50-5", &data->geometry, &model));
        model->dropout = dropout;
        fill(model);
        OK(sow_mask_new(arena, model->state, &mask));
        for (int64_t i = 0; i < mask.bits[0].count; i += 3) sow_bit_clear(&mask.bits[0], i);
        if (masked) OK(sow_mask_bind(&mask, model->state));
        t.folder = folder;
        t.resume = sitting == 1;
        t.stop_after = stop_after && sitting == 0 ? stop_after : 0;
        OK(sow_train(arena, &t, model, data));
        if (sitting == 0 && stop_after) sow_model_free(model);
    }
    char all[8][65];
    for (int64_t i = 0; i < sow_state_count(model->state); i++) {
        sow_tensor v = sow_state_entry(model->state, i)->value;
        sow_sha256(v.data, sow_bytes(v), all[i]);
    }
    sow_sha256(all, (size_t)sow_state_count(model->state) * 65, sha);
    *last = t.curve[t.evaluations - 1];
    if (masked)
        for (int64_t i = 0; i < mask.bits[0].count; i += 3) assert_true(sow_at(sow_state_find(model->state, mask.bits[0].name)->value, i) == 0);
    sow_model_free(model);
    sow_arena_free(arena);
    sow_set_threads(1);
}

static void training_learns_and_repeats_to_the_bit(void **state) {
    sow_data *data;
    char first[65], other[65];
    sow_evaluation a, b;
    OK(sow_data_open("synthetic:relmlp:7", &(sow_data_options){.validation = -1}, &data));
    train(data, recipe(), 1, NULL, 0, true, 0, first, &a);
    assert_int_equal(a.step, 300);
    if (!(a.validation_loss < 1.2 && a.test_accuracy > 0.5)) fail_msg("loss %g, accuracy %g", a.validation_loss, a.test_accuracy); /* chance: 1.61, 0.2 */
    for (int threads = 1; threads <= 4; threads *= 2) {
        train(data, recipe(), threads, NULL, 0, true, 0, other, &b);
        assert_string_equal(first, other);
        assert_memory_equal(&a, &b, sizeof a);
    }
    OK(sow_make_folder(in_folder("run")));
    train(data, recipe(), 1, in_folder("run"), 45, true, 0, other, &b);
    assert_string_equal(first, other);
    assert_memory_equal(&a, &b, sizeof a);
    sow_training changed = recipe();
    changed.seed = 4;
    train(data, changed, 1, NULL, 0, true, 0, other, &b);
    assert_string_not_equal(first, other);
    sow_data_free(data);
}

static void dropout_and_resume_agree_too(void **state) {
    sow_data *data;
    char first[65], other[65];
    sow_evaluation a, b;
    OK(sow_data_open("synthetic:relmlp:7", &(sow_data_options){.validation = -1}, &data));
    train(data, recipe(), 2, NULL, 0, false, 0.5, first, &a);
    OK(sow_make_folder(in_folder("drop")));
    train(data, recipe(), 1, in_folder("drop"), 71, false, 0.5, other, &b);
    assert_string_equal(first, other);
    sow_data_free(data);
}

static void a_steady_training_step_allocates_nothing(void **state) {
    sow_data *data;
    sow_arena *arena;
    sow_model *model;
    counts c = {0};
    OK(sow_arena_new(&arena));
    OK(sow_data_open("synthetic:relmlp:7", &(sow_data_options){.validation = -1}, &data));
    OK(sow_model_new("mlp:64-150-50-5", &data->geometry, &model));
    fill(model);
    sow_training t = recipe(); /* epochs of 50 steps: the count covers a new shuffle */
    t.stepped = count_allocations;
    t.user = &c;
    OK(sow_train(arena, &t, model, data));
    assert_int_equal(c.at_30, c.at_60);
    sow_model_free(model);
    sow_data_free(data);
    sow_arena_free(arena);
}

static void what_does_not_fit_is_refused(void **state) {
    sow_data *data;
    sow_arena *arena;
    sow_model *model;
    OK(sow_arena_new(&arena));
    OK(sow_data_open("synthetic:relmlp:7", &(sow_data_options){.validation = -1}, &data));
    OK(sow_model_new("mlp:64-10-5", &data->geometry, &model));
    sow_training t = recipe();
    t.batch = 4000;
    FAILS(sow_train(arena, &t, model, data), SOW_E_RANGE, "a batch of 4000 examples");
    t = recipe();
    sow_put(sow_state_entry(model->state, 0)->value, 7, NAN);
    FAILS(sow_train(arena, &t, model, data), SOW_E_NUMBER, "fc1.weight: element 7 is nan");
    fill(model);
    t.optimizer = (sow_optimizer_config){.kind = SOW_SGD, .rate = 1e30};
    FAILS(sow_train(arena, &t, model, data), SOW_E_NUMBER, "at step");
    sow_model_free(model);
    OK(sow_model_new("mlp:10-5", NULL, &model));
    t = recipe();
    FAILS(sow_train(arena, &t, model, data), SOW_E_SHAPE, "synthetic");
    sow_model_free(model);
    sow_data_free(data);
    sow_arena_free(arena);
}

int main(void) {
    if (make_test_folder()) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules_are_read_and_followed), cmocka_unit_test(updates_follow_the_formulas),
        cmocka_unit_test(masked_weights_stay_exactly_zero), cmocka_unit_test(entries_without_gradient_are_skipped),
        cmocka_unit_test(the_early_stop_is_the_first_minimum), cmocka_unit_test(training_learns_and_repeats_to_the_bit),
        cmocka_unit_test(dropout_and_resume_agree_too), cmocka_unit_test(a_steady_training_step_allocates_nothing),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
