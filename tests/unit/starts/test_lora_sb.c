/* LoRA-SB: worked numbers of the first step, gradients of the core, invariances, the exported adapter, what is refused. */
#include "tiny_lm.h"

#include <math.h>

/* ---- numbers by hand ---- */

typedef struct fixture {
    sow_arena *arena;
    sow_model *model;
    sow_sites sites;
} fixture;

static fixture set_up(const char *arch) {
    fixture f;
    sow_rng rng;
    sow_init init = sow_init_defaults(SOW_INIT_TORCH_DEFAULT);
    OK(sow_arena_new(&f.arena));
    OK(sow_model_new(arch, NULL, &f.model));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 3));
    OK(sow_init_state(&rng, f.model->state, &init, NULL, 0));
    OK(sow_model_sites(f.arena, f.model, &f.sites));
    return f;
}

static void tear_down(fixture *f) {
    sow_model_free(f->model);
    sow_arena_free(f->arena);
}

/* A loss whose gradient at the first site's weight is given: sum(W G). */
typedef struct given {
    sow_feed feed;
    const sow_sites *sites;
    float gradient[48]; /* [out, in] of the first site; that of others is 0 */
    int calls;
} given;

static sow_var given_loss(sow_feed *feed, sow_tape *t, int64_t batch, double divisor, sow_tally *tally) {
    given *g = feed->own;
    sow_entry *w = g->sites->at[0].weight;
    (void)batch, (void)divisor, (void)tally;
    g->calls++;
    sow_tensor v = sow_tensor_of(g->gradient, SOW_F32, 2, w->value.shape);
    sow_var loss = sow_sum(t, sow_mul(t, sow_parameter(t, w), sow_constant(t, v)));
    for (int64_t i = 1; i < g->sites->count; i++) /* they take part, with gradient 0 */
        loss = sow_add(t, loss, sow_scale(t, sow_sum(t, sow_parameter(t, g->sites->at[i].weight)), 0, 0));
    return loss;
}

/* Zero weights, scaled beyond all bounds: the loss is 0, the gradient infinite. */
static sow_var infinite_loss(sow_feed *feed, sow_tape *t, int64_t batch, double divisor, sow_tally *tally) {
    given *g = feed->own;
    (void)batch, (void)divisor, (void)tally;
    sow_fill(g->sites->at[0].weight->value, 0);
    return sow_sum(t, sow_scale(t, sow_scale(t, sow_parameter(t, g->sites->at[0].weight), 1e30, 0), 1e30, 0));
}

static double one_each(sow_feed *feed, int64_t first, int64_t count) {
    (void)feed, (void)first;
    return (double)count;
}

static void give(given *g, const fixture *f, const double *gradient) {
    static const sow_feed_kind kind = {.loss = given_loss, .counted = one_each};
    *g = (given){.feed = {.kind = &kind, .state = f->model->state, .batches = 1}, .sites = &f->sites};
    g->feed.own = g;
    for (int i = 0; gradient && i < 6; i++) g->gradient[i] = (float)gradient[i];
}

static const double worked[6] = {1, -2, 3, 4, 5, -6};

/* Oracle 1: G = [[1,-2,3],[4,5,-6]], eta 0.01. */
static void the_worked_example_comes_out(void **state) {
    fixture f = set_up("mlp:3-2");
    sow_adapter *a;
    sow_lora_sb_report report;
    given g;
    give(&g, &f, worked);
    sow_lora_sb_config c = {.rank = 1, .eta = 0.01};
    OK(sow_lora_sb(&c, &f.sites, &g.feed, f.arena, &a, &report));
    const sow_lora_sb_energy *energy = report.layers;
    static const double product[6] = {0, .01, -.01, 0, -.01, .01};
    sow_adapter_layer *l = &a->layers[0];
    for (int i = 0; i < 6; i++)
        assert_near(sow_at(l->b->value, i / 3) * sow_at(l->core->value, 0) * sow_at(l->a->value, i % 3), product[i],
                    1e-9);
    assert_near(l->scale, 1, 0);
    assert_near(sow_at(l->core->value, 0), 0.02, 1e-9);
    assert_near(energy[0].total, 6e-4, 1e-9);
    assert_near(energy[0].total * (1 - energy[0].captured[0]), 2e-4, 1e-10); /* sigma_2^2 */
    assert_near(energy[0].captured[1], 1, 1e-12);
    assert_int_equal(sow_lora_sb_rank_for(&energy[0], 0.5), 1);
    assert_int_equal(sow_lora_sb_rank_for(&energy[0], 0.9), 2);
    assert_int_equal(sow_adapter_trained(a), 1);
    sow_adapter_free(a);
    tear_down(&f);
}

static void the_sign_of_zero_is_zero(void **state) {
    double g[4] = {0, -3, 1e-30, -0.0}, u[4];
    sow_first_update(SOW_FIRST_STEP_ADAM, 0.5, SOW_TENSOR(g, SOW_F64, 2, 2), SOW_TENSOR(u, SOW_F64, 2, 2));
    static const double expected[4] = {0, 0.5, -0.5, 0};
    for (int i = 0; i < 4; i++) assert_true(u[i] == expected[i]);
    sow_first_update(SOW_FIRST_STEP_SGD, 0.5, SOW_TENSOR(g, SOW_F64, 2, 2), SOW_TENSOR(u, SOW_F64, 2, 2));
    assert_near(u[1], 1.5, 0);
}

static double dot(const double *x, const double *y, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

static double residual(const double *x, const double *y, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
    return sum;
}

/* Oracle 2: bases that are not orthonormal. */
static void steps_of_cores_in_skewed_bases(void **state) {
    double b[] = {1, 0, 1, 1, 0, 2}, a[] = {1, 2, 0, 0, 1, 1}, g[] = {1, 0, 2, 0, 1, 0, 3, 0, 1};
    double raw[4], best[4], equal[9], again[9];
    static const double best_expected[] = {-0.185185, 0.851852, 0.370370, -0.203704},
                        equal_expected[] = {-0.185185, 0.481481, 0.851852, 0.185185, 1.018519,
                                            0.648148,  0.740741, 1.074074, -0.407407},
                        raw_expected[] = {3, 3, 8, 3};
    sow_tensor B = SOW_TENSOR(b, SOW_F64, 3, 2), A = SOW_TENSOR(a, SOW_F64, 2, 3), G = SOW_TENSOR(g, SOW_F64, 3, 3),
               R = SOW_TENSOR(raw, SOW_F64, 2, 2), S = SOW_TENSOR(best, SOW_F64, 2, 2),
               E = SOW_TENSOR(equal, SOW_F64, 3, 3);
    OK(sow_core_gradients(B, A, 1, G, R, S, E));
    for (int i = 0; i < 4; i++) assert_near(raw[i], raw_expected[i], 1e-12);
    for (int i = 0; i < 4; i++) assert_near(best[i], best_expected[i], 1e-6);
    for (int i = 0; i < 9; i++) assert_near(equal[i], equal_expected[i], 1e-6);
    assert_near(residual(g, equal, 9), 11.648148, 1e-6);
    assert_near(dot(g, equal, 9), 4.351852, 1e-6);
    assert_near(dot(equal, equal, 9), 4.351852, 1e-6);
    /* the raw gradient's effect s B raw A is far from g */
    double ba[6] = {0}, effect[9] = {0};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < 2; k++) ba[i * 2 + j] += b[i * 2 + k] * raw[k * 2 + j];
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 2; k++) effect[i * 3 + j] += ba[i * 2 + k] * a[k * 3 + j];
    assert_near(residual(g, effect, 9), 2610, 1e-9);
    memcpy(again, equal, sizeof again);
    OK(sow_core_gradients(B, A, 2, G, R, S, E));
    for (int i = 0; i < 4; i++) assert_near(raw[i], 2 * raw_expected[i], 1e-12);
    for (int i = 0; i < 4; i++) assert_near(best[i], best_expected[i] / 2, 1e-6);
    for (int i = 0; i < 9; i++) assert_near(equal[i], again[i], 1e-12);
    double flat[] = {1, 2, 2, 4, 3, 6};
    FAILS(sow_core_gradients(SOW_TENSOR(flat, SOW_F64, 3, 2), A, 1, G, R, S, E), SOW_E_NUMBER, "B has no full rank");
}

/* Oracle 3. */
static void in_orthonormal_bases_the_raw_gradient_is_the_best_step(void **state) {
    double b[15], a[14], g[35], raw[4], best[4], equal[35], x[15], y[14];
    for (int i = 0; i < 15; i++) x[i] = sin(3.0 * i + 1);
    for (int i = 0; i < 14; i++) y[i] = cos(2.0 * i);
    for (int i = 0; i < 35; i++) g[i] = sin(7.0 * i);
    OK(sow_qr(SOW_TENSOR(x, SOW_F64, 5, 2), SOW_TENSOR(b, SOW_F64, 5, 2), (sow_tensor){0}));
    OK(sow_qr(SOW_TENSOR(y, SOW_F64, 7, 2), SOW_TENSOR(y, SOW_F64, 7, 2), (sow_tensor){0}));
    OK(sow_copy(SOW_TENSOR(a, SOW_F64, 2, 7), sow_transpose(SOW_TENSOR(y, SOW_F64, 7, 2))));
    OK(sow_core_gradients(SOW_TENSOR(b, SOW_F64, 5, 2), SOW_TENSOR(a, SOW_F64, 2, 7), 1, SOW_TENSOR(g, SOW_F64, 5, 7),
                          SOW_TENSOR(raw, SOW_F64, 2, 2), SOW_TENSOR(best, SOW_F64, 2, 2),
                          SOW_TENSOR(equal, SOW_F64, 5, 7)));
    for (int i = 0; i < 4; i++) assert_near(best[i], raw[i], 1e-12);
    assert_near(residual(g, equal, 35), dot(g, g, 35) - dot(raw, raw, 4), 1e-12);
}

/* ---- real gradients ---- */

enum { ROWS = 24, IN = 6, CLASSES = 6 };
static float inputs[ROWS * IN];
static int32_t labels[ROWS];

/* The loss of all rows, in an order, times a factor, split into batches of `batch`. */
typedef struct problem {
    sow_feed feed;
    sow_model *model;
    const int *order;
    double factor;
    int batch;
} problem;

static void fill_rows(const int *order) {
    for (int i = 0; i < ROWS; i++) {
        int row = order ? order[i] : i;
        for (int j = 0; j < IN; j++) inputs[i * IN + j] = sinf((float)(row * IN + j) * 1.7f);
        labels[i] = row % CLASSES;
    }
}

static sow_var rows_loss(sow_feed *feed, sow_tape *t, int64_t number, double divisor, sow_tally *tally) {
    const problem *p = feed->own;
    int64_t at = number * p->batch;
    (void)tally;
    fill_rows(p->order);
    sow_var y = p->model->forward(t, p->model->state, p->model,
                                  sow_constant(t, SOW_TENSOR(inputs + at * IN, SOW_F32, p->batch, IN, 1, 1)));
    sow_var loss = sow_softmax_cross_entropy(t, y, SOW_TENSOR(labels + at, SOW_I32, p->batch));
    return sow_scale(t, loss, p->factor * p->batch / divisor, 0);
}

static double rows_counted(sow_feed *feed, int64_t first, int64_t count) {
    const problem *p = feed->own;
    (void)first;
    return (double)(count * p->batch);
}

static sow_adapter *start_of(fixture *f, problem p, sow_lora_sb_config c, sow_lora_sb_report *report) {
    static const sow_feed_kind kind = {.loss = rows_loss, .counted = rows_counted};
    sow_adapter *a;
    p.model = f->model;
    p.feed = (sow_feed){.kind = &kind, .state = f->model->state, .batches = ROWS / p.batch, .own = &p};
    OK(sow_lora_sb(&c, &f->sites, &p.feed, f->arena, &a, report));
    return a;
}

static double largest_gap(const sow_adapter *a, const sow_adapter *b, double factor) {
    double worst = 0;
    for (int64_t i = 0; i < a->count; i++) {
        sow_tensor x = a->layers[i].core->value, y = b->layers[i].core->value;
        for (int64_t k = 0; k < sow_count(x); k++)
            worst = fmax(worst, fabs(factor * sow_at(x, k) - sow_at(y, k)) / sow_at(y, 0));
    }
    return worst;
}

/* Oracle 7: permuted samples and a doubled loss leave Adam's first step as it is; SGD's is doubled. */
static void what_the_first_step_does_not_see(void **state) {
    fixture f = set_up("mlp:6-8-6");
    int backwards[ROWS];
    for (int i = 0; i < ROWS; i++) backwards[i] = ROWS - 1 - i;
    sow_lora_sb_config adam = {.rank = 3, .eta = 0.01},
                       sgd = {.rank = 3, .eta = 0.01, .first_step = SOW_FIRST_STEP_SGD};
    problem plain = {.factor = 1, .batch = ROWS}, turned = {.factor = 1, .batch = ROWS, .order = backwards},
            doubled = {.factor = 2, .batch = ROWS}, split = {.factor = 1, .batch = 8};
    sow_adapter *one = start_of(&f, plain, adam, NULL), *two = start_of(&f, turned, adam, NULL),
                *three = start_of(&f, doubled, adam, NULL), *four = start_of(&f, split, adam, NULL);
    assert_near(largest_gap(one, two, 1), 0, 1e-6);
    assert_near(largest_gap(one, three, 1), 0, 0);
    assert_near(largest_gap(one, four, 1), 0, 1e-6);
    sow_adapter_free(two), sow_adapter_free(three), sow_adapter_free(four);
    two = start_of(&f, plain, sgd, NULL), three = start_of(&f, doubled, sgd, NULL);
    assert_near(largest_gap(two, three, 2), 0, 1e-6);
    assert_true(largest_gap(one, two, 1) > 0.1);
    sow_adapter_free(one), sow_adapter_free(two), sow_adapter_free(three);
    tear_down(&f);
}

/* Layers in several passes, decomposed by a sketch: the same start. */
static void passes_and_sketches_give_the_same_start(void **state) {
    fixture f = set_up("mlp:6-8-6");
    problem p = {.factor = 1, .batch = ROWS};
    sow_lora_sb_report whole, sketched;
    sow_lora_sb_config c = {.rank = 4, .eta = 0.01, .first_step = SOW_FIRST_STEP_SGD}, little = c, sketch = c;
    little.memory = 1;
    sketch.sketch = true;
    sow_adapter *one = start_of(&f, p, c, &whole), *two = start_of(&f, p, little, NULL),
                *three = start_of(&f, p, sketch, &sketched);
    assert_near(largest_gap(one, two, 1), 0, 0);
    assert_near(largest_gap(one, three, 1), 0, 1e-5);
    for (int64_t i = 0; i < 2; i++)
        for (int64_t k = 0; k < 4; k++) assert_near(whole.layers[i].captured[k], sketched.layers[i].captured[k], 1e-6);
    for (int64_t n = 0; n < 2; n++) /* one layer is tall, one wide */
        for (int64_t i = 0; i < sow_count(one->layers[n].a->value); i++)
            assert_near(sow_at(one->layers[n].a->value, i), sow_at(three->layers[n].a->value, i), 1e-4);
    sow_adapter_free(one), sow_adapter_free(two), sow_adapter_free(three);
    given g;
    sow_adapter *a;
    give(&g, &f, NULL);
    little.first_step = SOW_FIRST_STEP_ADAM;
    OK(sow_lora_sb(&little, &f.sites, &g.feed, f.arena, &a, NULL));
    assert_int_equal(g.calls, 2);
    sow_adapter_free(a);
    tear_down(&f);
}

static void bases_are_orthonormal_and_the_base_stays(void **state) {
    fixture f = set_up("mlp:6-8-6");
    sow_state *before;
    OK(sow_state_clone(f.model->state, false, &before));
    sow_adapter *a = start_of(&f, (problem){.factor = 1, .batch = ROWS}, (sow_lora_sb_config){.rank = 4, .eta = 0.01},
                              NULL);
    for (int64_t n = 0; n < a->count; n++) {
        sow_adapter_layer *l = &a->layers[n];
        for (int64_t i = 0; i < 4; i++)
            for (int64_t j = 0; j < 4; j++) {
                double aa = 0, bb = 0;
                for (int64_t k = 0; k < l->in; k++)
                    aa += sow_at(l->a->value, i * l->in + k) * sow_at(l->a->value, j * l->in + k);
                for (int64_t k = 0; k < l->out; k++)
                    bb += sow_at(l->b->value, k * 4 + i) * sow_at(l->b->value, k * 4 + j);
                assert_near(aa, i == j, 1e-6);
                assert_near(bb, i == j, 1e-6);
            }
        assert_false(l->a->trainable || l->b->trainable);
        assert_true(l->core->trainable);
        assert_true(l->site->weight->grad.data == NULL);
        sow_tensor was = sow_state_find(before, f.sites.at[n].weight->name)->value;
        for (int64_t i = 0; i < sow_count(was); i++) assert_true(sow_at(was, i) == sow_at(l->site->weight->value, i));
    }
    sow_state_free(before);
    sow_adapter_free(a);
    tear_down(&f);
}

/* ---- the core in the forward pass ---- */

static double loss_with(fixture *f, sow_adapter *a, bool backward) {
    sow_tape *t;
    OK(sow_tape_new(&t));
    if (a) OK(sow_adapter_attach(a, t));
    if (a && backward) OK(sow_state_add_gradients(a->state));
    fill_rows(NULL);
    sow_var y = f->model->forward(t, f->model->state, f->model,
                                  sow_constant(t, SOW_TENSOR(inputs, SOW_F32, ROWS, IN, 1, 1)));
    sow_var loss = sow_softmax_cross_entropy(t, y, SOW_TENSOR(labels, SOW_I32, ROWS));
    OK(sow_tape_status(t));
    double value = sow_scalar(loss);
    sow_state *s = a ? a->state : f->model->state;
    sow_fresh_gradients(s);
    if (backward) OK(sow_tape_backward(t, loss));
    sow_tape_free(t);
    return value;
}

/* Oracle 5: dL/dR against differences, and against s B^T (dL/dW) A^T. */
static void gradients_of_cores_are_those_of_the_loss(void **state) {
    fixture f = set_up("mlp:6-8-6");
    sow_adapter *a = start_of(&f, (problem){.factor = 1, .batch = ROWS}, (sow_lora_sb_config){.rank = 3, .eta = 0.05},
                              NULL);
    loss_with(&f, a, true);
    for (int64_t n = 0; n < a->count; n++) {
        sow_entry *core = a->layers[n].core;
        for (int64_t i = 0; i < 9; i++) {
            double kept = sow_at(core->value, i), h = 2e-3;
            sow_put(core->value, i, kept + h);
            double up = loss_with(&f, a, false);
            sow_put(core->value, i, kept - h);
            double down = loss_with(&f, a, false);
            sow_put(core->value, i, kept);
            assert_near(sow_at(core->grad, i), (up - down) / (2 * h), 2e-4);
        }
    }
    sow_adapter *merged = start_of(&f, (problem){.factor = 1, .batch = ROWS},
                                   (sow_lora_sb_config){.rank = 3, .eta = 0.05}, NULL);
    OK(sow_adapter_merge(merged));
    sow_state_train(f.model->state, true);
    OK(sow_state_add_gradients(f.model->state));
    loss_with(&f, NULL, true);
    sow_adapter_layer *l = &a->layers[0];
    double b[24], r[18], g[48], raw[9], best[9], equal[48];
    for (int i = 0; i < 24; i++) b[i] = sow_at(l->b->value, i);
    for (int i = 0; i < 18; i++) r[i] = sow_at(l->a->value, i);
    for (int i = 0; i < 48; i++) g[i] = sow_at(l->site->weight->grad, i);
    OK(sow_core_gradients(SOW_TENSOR(b, SOW_F64, 8, 3), SOW_TENSOR(r, SOW_F64, 3, 6), 1, SOW_TENSOR(g, SOW_F64, 8, 6),
                          SOW_TENSOR(raw, SOW_F64, 3, 3), SOW_TENSOR(best, SOW_F64, 3, 3),
                          SOW_TENSOR(equal, SOW_F64, 8, 6)));
    for (int i = 0; i < 9; i++) assert_near(sow_at(l->core->grad, i), raw[i], 1e-6);
    sow_adapter_free(a);
    sow_adapter_free(merged);
    tear_down(&f);
}

/* Oracle 4: with a square layer of full rank, SGD on R is SGD on W, step for step. */
static void at_full_rank_the_core_is_the_weight(void **state) {
    fixture f = set_up("mlp:6-6"), g = set_up("mlp:6-6");
    sow_lora_sb_report report;
    sow_adapter *a = start_of(&f, (problem){.factor = 1, .batch = ROWS},
                              (sow_lora_sb_config){.rank = 6, .eta = 0.01, .first_step = SOW_FIRST_STEP_SGD}, &report),
                *same;
    sow_optimizer *core, *weight;
    sow_optimizer_config sgd = {.kind = SOW_SGD, .rate = 0.5};
    assert_near(report.layers[0].captured[5], 1, 1e-9);
    same = start_of(&g, (problem){.factor = 1, .batch = ROWS},
                    (sow_lora_sb_config){.rank = 6, .eta = 0.01, .first_step = SOW_FIRST_STEP_SGD}, NULL);
    OK(sow_adapter_merge(same)); /* W0 + dW: both begin behind the first step */
    g.sites.at[0].weight->trainable = true;
    OK(sow_optimizer_new(&sgd, a->state, &core));
    OK(sow_optimizer_new(&sgd, g.model->state, &weight));
    for (int step = 0; step < 8; step++) {
        double one = loss_with(&f, a, true), two = loss_with(&g, NULL, true);
        assert_near(one, two, 2e-5);
        sow_optimizer_step(core, 1);
        sow_optimizer_step(weight, 1);
    }
    assert_true(loss_with(&g, NULL, false) < loss_with(&f, NULL, false) - 0.01);
    sow_optimizer_free(core), sow_optimizer_free(weight);
    sow_adapter_free(a), sow_adapter_free(same);
    tear_down(&f);
    tear_down(&g);
}

/* Oracle 6: W0 + (alpha / r) lora_B lora_A = W0 + B R A, in the folder that is written. */
static void the_folder_is_plain_lora_with_cores_beside_it(void **state) {
    fixture f = set_up("mlp:6-8-6");
    sow_adapter *a = start_of(&f, (problem){.factor = 1, .batch = ROWS}, (sow_lora_sb_config){.rank = 3, .eta = 0.2},
                              NULL),
                *plain, *cores;
    char folder[600];
    snprintf(folder, sizeof folder, "%s", in_folder("sb"));
    OK(sow_make_folder(folder));
    OK(sow_adapter_write(a, folder, NULL, NULL));
    OK(sow_adapter_read(folder, true, &plain));
    OK(sow_adapter_read(folder, false, &cores));
    assert_true(plain->layers[0].core == NULL && cores->layers[0].core != NULL);
    assert_near(plain->alpha, 3, 0);
    OK(sow_adapter_bind(plain, &f.sites));
    OK(sow_adapter_bind(cores, &f.sites));
    double own = loss_with(&f, a, false);
    assert_true(fabs(own - loss_with(&f, NULL, false)) > 1e-3);
    assert_near(loss_with(&f, plain, false), own, 1e-6);
    assert_near(loss_with(&f, cores, false), own, 1e-7);
    assert_int_equal(sow_adapter_trained(cores), 18);
    sow_adapter_free(a), sow_adapter_free(plain), sow_adapter_free(cores);
    tear_down(&f);
}

/* The authors' own files: bases and core under old PEFT's names. */
static void official_folders_are_read(void **state) {
    fixture f = set_up("mlp:6-8-6");
    sow_state *file;
    sow_adapter *a,
        *own = start_of(&f, (problem){.factor = 1, .batch = ROWS}, (sow_lora_sb_config){.rank = 2, .eta = 0.2}, NULL);
    char folder[600];
    static const char config[] =
        "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":2,\"target_modules\":[\"fc1\",\"fc2\"],\"fan_in_fan_out\":false}";
    snprintf(folder, sizeof folder, "%s", in_folder("official"));
    OK(sow_make_folder(folder));
    OK(sow_state_new(&file));
    for (int64_t i = 0; i < own->count; i++) {
        char name[100];
        const char *const suffix[] = {".lora_A.weight", ".lora_B.weight", "_lora_latent_mapping.weight"};
        sow_entry *part[] = {own->layers[i].a, own->layers[i].b, own->layers[i].core};
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "base_model.model.%s%s", own->layers[i].module, suffix[k]);
            OK(sow_state_add_view(file, name, part[k]->value, NULL));
        }
    }
    char path[700];
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    OK(sow_save_state(path, file, NULL));
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    OK(sow_write_file(path, config, strlen(config)));
    OK(sow_adapter_read(folder, false, &a));
    assert_non_null(a->layers[0].core);
    OK(sow_adapter_bind(a, &f.sites));
    assert_near(loss_with(&f, a, false), loss_with(&f, own, false), 1e-7);
    sow_state_free(file);
    sow_adapter_free(a), sow_adapter_free(own);
    tear_down(&f);
}

/* ---- language models ---- */

static sow_lm *tiny(sow_lm_family family) {
    sow_lm_config c = tiny_lm_config(11, 8);
    c.family = family;
    c.kv_heads = 2;
    if (family == SOW_LM_GPT2) c.bias = c.qkv_bias = true, c.activation = SOW_GELU_TANH;
    return tiny_lm(&c, 5);
}

/* Three sequences of five ids; the last id of each is only a label. */
static sow_texts some_texts(void) {
    static int32_t ids[15], next[15];
    static const int64_t start[] = {0, 5, 10, 15};
    for (int i = 0; i < 15; i++) ids[i] = (i * 7 + 3) % 11;
    for (int i = 0; i < 15; i++) next[i] = i % 5 == 4 ? -1 : ids[i + 1];
    return (sow_texts){.ids = ids, .labels = next, .start = start, .count = 3, .counted = 12, .longest = 5};
}

/* One plain SGD step on the base's weights moves them as B R A does, also where they are stored [in, out]. */
static void the_start_is_the_first_step(void **state) {
    static const sow_lm_family families[] = {SOW_LM_LLAMA, SOW_LM_GPT2};
    for (int n = 0; n < 2; n++) {
        sow_lm *lm = tiny(families[n]);
        sow_texts texts = some_texts();
        sow_arena *arena;
        sow_sites sites;
        sow_adapter *a;
        sow_state *before;
        sow_optimizer *sgd;
        OK(sow_arena_new(&arena));
        OK(sow_lm_sites(arena, lm, &sites));
        sow_feed *feed;
        OK(sow_feed_texts(lm, &texts, &(sow_feed_options){.batch = 2}, &feed));
        sow_lora_sb_config c = {.rank = 99, .eta = 0.5, .first_step = SOW_FIRST_STEP_SGD};
        sow_lora_sb_report report;
        double loss;
        OK(sow_lora_sb(&c, &sites, feed, arena, &a, &report));
        assert_true(report.loss > 1 && report.loss < 6);
        OK(sow_state_clone(lm->state, false, &before));
        for (int64_t i = 0; i < sites.count; i++) sites.at[i].weight->trainable = true;
        OK(sow_optimizer_new(&(sow_optimizer_config){.kind = SOW_SGD, .rate = 0.5}, lm->state, &sgd));
        sow_fresh_gradients(lm->state);
        OK(sow_feed_gradients(feed, &loss));
        assert_near(loss, report.loss, 1e-12);
        sow_optimizer_step(sgd, 1);
        sow_state_train(lm->state, false);
        for (int64_t i = 0; i < sites.count;
             i++) /* the stepped weights, kept; then the start merged into the old ones */
            sites.at[i].weight->trainable = false;
        sow_state *stepped;
        OK(sow_state_clone(lm->state, false, &stepped));
        OK(sow_state_assign(lm->state, before));
        OK(sow_adapter_merge(a));
        for (int64_t i = 0; i < sites.count; i++) {
            sow_tensor x = sites.at[i].weight->value, y = sow_state_find(stepped, sites.at[i].weight->name)->value,
                       z = sow_state_find(before, sites.at[i].weight->name)->value;
            double moved = 0;
            for (int64_t k = 0; k < sow_count(x); k++) {
                assert_near(sow_at(x, k), sow_at(y, k), 1e-5);
                moved = fmax(moved, fabs(sow_at(x, k) - sow_at(z, k)));
            }
            assert_true(moved > 1e-4);
        }
        sow_state_free(before), sow_state_free(stepped);
        sow_optimizer_free(sgd);
        sow_adapter_free(a);
        sow_feed_free(feed);
        sow_lm_free(lm);
        sow_arena_free(arena);
    }
}

/* Layer by layer, each in a pass of its own where all others are frozen, with and without recomputing: the same start. */
static void layers_alone_have_the_same_gradients(void **state) {
    static const sow_lm_family families[] = {SOW_LM_LLAMA, SOW_LM_GPT2};
    for (int n = 0; n < 2; n++) {
        sow_lm *lm = tiny(families[n]);
        sow_texts texts = some_texts();
        sow_arena *arena;
        sow_sites sites;
        sow_adapter *whole, *alone;
        OK(sow_arena_new(&arena));
        OK(sow_lm_sites(arena, lm, &sites));
        sow_feed *feed;
        OK(sow_feed_texts(lm, &texts, &(sow_feed_options){.batch = 2}, &feed));
        sow_lora_sb_config c = {.rank = 99, .eta = 0.5, .first_step = SOW_FIRST_STEP_SGD}, little = c;
        little.memory = 1;
        OK(sow_lora_sb(&c, &sites, feed, arena, &whole, NULL));
        for (int again = 0; again < 2; again++) {
            lm->recompute = again;
            OK(sow_lora_sb(&little, &sites, feed, arena, &alone, NULL));
            for (int64_t i = 0; i < sow_state_count(whole->state); i++) {
                sow_tensor x = sow_state_entry(whole->state, i)->value, y = sow_state_entry(alone->state, i)->value;
                assert_memory_equal(x.data, y.data, sow_bytes(x));
            }
            sow_adapter_free(alone);
        }
        sow_adapter_free(whole);
        sow_feed_free(feed);
        sow_lm_free(lm);
        sow_arena_free(arena);
    }
}

/* ---- what is refused ---- */

static void what_cannot_be_is_refused(void **state) {
    fixture f = set_up("mlp:6-8-6");
    sow_adapter *a;
    sow_sites none = {0};
    sow_lora_sb_config c = {.rank = 0, .eta = 0.1};
    static const sow_feed_kind infinite = {.loss = infinite_loss, .counted = one_each};
    given g;
    give(&g, &f, worked);
    FAILS(sow_lora_sb(&c, &f.sites, &g.feed, f.arena, &a, NULL), SOW_E_RANGE, "rank 0");
    c.rank = 2;
    FAILS(sow_lora_sb(&c, &none, &g.feed, f.arena, &a, NULL), SOW_E_ARGUMENT, "no linear layer");
    g.feed.kind = &infinite;
    FAILS(sow_lora_sb(&c, &f.sites, &g.feed, f.arena, &a, NULL), SOW_E_NUMBER, "the gradient: fc1");
    sow_site quantised = f.sites.at[0];
    quantised.weight = NULL;
    FAILS(sow_lora_sb(&c, &(sow_sites){&quantised, 1}, &g.feed, f.arena, &a, NULL), SOW_E_UNSUPPORTED, "quantised");
    tear_down(&f);
}

static int prepare(void **state) {
    return make_test_folder();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_example_comes_out),
        cmocka_unit_test(the_sign_of_zero_is_zero),
        cmocka_unit_test(steps_of_cores_in_skewed_bases),
        cmocka_unit_test(in_orthonormal_bases_the_raw_gradient_is_the_best_step),
        cmocka_unit_test(what_the_first_step_does_not_see),
        cmocka_unit_test(passes_and_sketches_give_the_same_start),
        cmocka_unit_test(bases_are_orthonormal_and_the_base_stays),
        cmocka_unit_test(gradients_of_cores_are_those_of_the_loss),
        cmocka_unit_test(at_full_rank_the_core_is_the_weight),
        cmocka_unit_test(the_folder_is_plain_lora_with_cores_beside_it),
        cmocka_unit_test(official_folders_are_read),
        cmocka_unit_test(the_start_is_the_first_step),
        cmocka_unit_test(layers_alone_have_the_same_gradients),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
