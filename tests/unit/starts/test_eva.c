/* EVA: ranks that are shared out, components of what enters layers, the adapter that begins there, its folder. */
#include "tiny_lm.h"

#include <jansson.h>
#include <math.h>

/* ---- ranks ---- */

/* The card's example: q and v have one input; three scores of .20 compete for two places. */
static void ranks_go_to_the_largest_scores(void **state) {
    static const double qv[] = {.50, .20, .05, .02}, d[] = {.30, .25, .20, .10};
    const double *scores[] = {qv, d, qv};
    static const int64_t counts[] = {4, 4, 4};
    int64_t ranks[3];
    OK(sow_rank_distribute(scores, counts, 3, 6, ranks));
    assert_int_equal(ranks[0], 2);
    assert_int_equal(ranks[1], 3);
    assert_int_equal(ranks[2], 1);
    OK(sow_rank_distribute(scores, counts, 3, 100, ranks));
    assert_int_equal(ranks[0] + ranks[1] + ranks[2], 12);
}

static void scores_that_are_not_above_zero_get_nothing(void **state) {
    static const double a[] = {.5, 0, 0}, b[] = {.3, .2, NAN};
    const double *scores[] = {a, b};
    static const int64_t counts[] = {3, 3};
    int64_t ranks[2];
    OK(sow_rank_distribute(scores, counts, 2, 6, ranks));
    assert_int_equal(ranks[0], 1);
    assert_int_equal(ranks[1], 2);
}

/* Half to even, as Python rounds, and never more than inputs. */
static void components_are_rounded_half_to_even(void **state) {
    static double ratio[8], singular[8] = {8, 7, 6, 5, 4, 3, 2, 1};
    sow_eva_layer layer = {.module = "fc", .in = 40, .count = 8, .ratio = ratio, .singular = singular};
    sow_eva_report report = {.layers = &layer, .count = 1, .budget = 100};
    sow_eva_config c = sow_eva_defaults();
    int64_t rank;
    for (int i = 0; i < 8; i++) ratio[i] = .1;
    c.rank = 5;
    OK(sow_eva_ranks_for(&c, &report, 1.3, &rank)); /* 6.5 */
    assert_int_equal(rank, 6);
    OK(sow_eva_ranks_for(&c, &report, 1.5, &rank)); /* 7.5 */
    assert_int_equal(rank, 8);
    FAILS(sow_eva_ranks_for(&c, &report, 1.8, &rank), SOW_E_RANGE, "9 components of fc, 8 were followed");
    layer.in = 8;
    OK(sow_eva_ranks_for(&c, &report, 1.8, &rank));
    assert_int_equal(rank, 8);
    singular[7] = 1e-7 * singular[0]; /* rounding */
    OK(sow_eva_ranks_for(&c, &report, 1.8, &rank));
    assert_int_equal(rank, 7);
}

/* ---- a network ---- */

enum { IN = 24, ROWS = 64, BATCHES = 12 };

typedef struct fixture {
    sow_feed feed;
    sow_arena *arena;
    sow_model *model;
    sow_sites sites;
    float *x; /* [BATCHES, ROWS, IN]: standard deviations .8^i */
    int64_t passes;
} fixture;

static fixture set_up(const char *arch) {
    fixture f = {0};
    sow_rng rng;
    sow_init init = sow_init_defaults(SOW_INIT_TORCH_DEFAULT);
    OK(sow_arena_new(&f.arena));
    OK(sow_model_new(arch, NULL, &f.model));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 3));
    OK(sow_init_state(&rng, f.model->state, &init, NULL, 0));
    sow_state_train(f.model->state, false);
    OK(sow_model_sites(f.arena, f.model, &f.sites));
    int64_t in = f.sites.at[0].in;
    OK(SOW_NEW(f.arena, f.x, BATCHES * ROWS * in));
    sow_rng_at(&rng, "test", "x");
    sow_rng_normal_f32(&rng, f.x, BATCHES * ROWS * in, 0, 1);
    for (int64_t i = 0; i < BATCHES * ROWS * in; i++) f.x[i] *= (float)pow(.8, (double)(i % in));
    return f;
}
static void tear_down(fixture *f) {
    sow_model_free(f->model);
    sow_arena_free(f->arena);
}

static sow_status forward(sow_feed *feed, sow_tape *tape, int64_t number, const sow_site *last) {
    fixture *f = feed->own;
    int64_t in = f->sites.at[0].in;
    (void)last;
    f->passes++;
    f->model->forward(tape, f->model->state, f->model,
                      sow_constant(tape, SOW_TENSOR(f->x + number % BATCHES * ROWS * in, SOW_F32, ROWS, in, 1, 1)));
    return SOW_OK;
}

/* Where the fixture lies is known here only. */
static sow_feed *feed_of(fixture *f) {
    static const sow_feed_kind kind = {.pass = forward};
    f->feed.kind = &kind;
    f->feed.own = f;
    return &f->feed;
}

static sow_adapter *start(fixture *f, const sow_eva_config *c, sow_eva_report *report) {
    sow_adapter *a;
    OK(sow_eva(c, &f->sites, feed_of(f), f->arena, &a, report));
    return a;
}

static double dot(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static void rows_of_a_are_orthonormal_and_the_budget_is_kept(void **state) {
    fixture f = set_up("mlp:24-20-16-4");
    sow_eva_config c = sow_eva_defaults();
    c.rank = 4;
    for (int solver = 0; solver < 2; solver++)
        for (int rho = 1; rho < 3; rho++) {
            sow_eva_report r;
            int64_t sum = 0;
            c.solver = (sow_eva_solver)solver;
            c.rho = rho;
            sow_adapter *a = start(&f, &c, &r);
            assert_int_equal(r.budget, 12);
            for (int64_t i = 0; i < a->count; i++) {
                const sow_adapter_layer *l = &a->layers[i];
                const float *rows = l->a->value.data;
                sum += l->rank;
                assert_true(l->rank <= 4 * rho);
                assert_near(l->scale, .25, 1e-12); /* alpha / r, whatever the rank */
                if (rho == 1) assert_int_equal(l->rank, 4);
                for (int64_t p = 0; p < l->rank; p++)
                    for (int64_t q = 0; q <= p; q++)
                        assert_near(dot(rows + p * l->in, rows + q * l->in, l->in), p == q, 2e-6);
                for (int64_t k = 0; k < sow_count(l->b->value); k++) assert_true(sow_at(l->b->value, k) == 0);
            }
            assert_int_equal(sum, 12);
            sow_adapter_free(a);
        }
    tear_down(&f);
}

static void logits(fixture *f, sow_adapter *a, float out[ROWS * 4]) {
    sow_tape *t;
    OK(sow_tape_new(&t));
    if (a) OK(sow_adapter_attach(a, t));
    sow_var y = f->model->forward(t, f->model->state, f->model,
                                  sow_constant(t, SOW_TENSOR(f->x, SOW_F32, ROWS, f->sites.at[0].in, 1, 1)));
    OK(sow_tape_status(t));
    memcpy(out, sow_value(y).data, sizeof(float) * ROWS * 4);
    sow_tape_free(t);
}

static void the_model_is_unchanged_at_the_start(void **state) {
    fixture f = set_up("mlp:24-20-16-4");
    static float before[ROWS * 4], after[ROWS * 4];
    sow_eva_config c = sow_eva_defaults();
    sow_eva_report r;
    c.rank = 4;
    sow_adapter *a = start(&f, &c, &r);
    logits(&f, NULL, before);
    logits(&f, a, after);
    assert_memory_equal(before, after, sizeof before);
    sow_adapter_free(a);
    tear_down(&f);
}

/* Both solvers end in the directions of largest variance: the first coordinates, for these inputs. */
static void the_first_layer_gets_the_largest_directions(void **state) {
    fixture f = set_up("mlp:24-20-16-4");
    sow_eva_config c = sow_eva_defaults();
    c.rank = 4;
    c.rho = 1;
    for (int solver = 0; solver < 2; solver++) {
        sow_eva_report r;
        double inside = 0;
        c.solver = (sow_eva_solver)solver;
        c.max_batches = BATCHES;
        sow_adapter *a = start(&f, &c, &r);
        const float *rows = a->layers[0].a->value.data;
        for (int64_t p = 0; p < 4; p++) inside += dot(rows + p * IN, rows + p * IN, 6);
        if (inside < 3.9) fail_msg("solver %d: %g of 4 rows lie in the first six coordinates", solver, inside);
        assert_true(rows[0] > .9F); /* the largest element is positive */
        sow_adapter_free(a);
    }
    tear_down(&f);
}

/* For G independent of X, ||dL/dB||^2 is tr(A Cov A^T): largest for principal directions. The card's example: 64 inputs, .8^i,
 * rank 4, 119380 : 8843 : 2688, in expectation 13.3 and 39.9 times less. */
static void gradients_of_b_are_largest_for_principal_directions(void **state) {
    enum { in = 64, out = 64, draws = 30 };
    fixture f = set_up("mlp:64-64");
    sow_eva_config c = sow_eva_defaults();
    sow_eva_report r;
    static float gradient[ROWS * out];
    double norm[3] = {0};
    sow_rng rng;
    c.rank = 4;
    c.rho = 1;
    for (int s = 0; s < draws; s++)
        for (int kind = 0; kind < 3; kind++) {
            sow_adapter *a;
            sow_tape *t;
            if (kind == 0) a = start(&f, &c, &r);
            else
                OK(sow_adapter_make(kind == 1 ? SOW_START_ORTHONORMAL : SOW_START_LORA, &f.sites, 4, 4, (uint64_t)s,
                                    &a));
            OK(sow_rng_seed(&rng, SOW_RNG_SOW, (uint64_t)s));
            sow_rng_normal_f32(&rng, gradient, ROWS * out, 0, 1);
            OK(sow_tape_new(&t));
            OK(sow_state_add_gradients(a->state));
            OK(sow_adapter_attach(a, t));
            sow_var y = f.model->forward(t, f.model->state, f.model,
                                         sow_constant(t, SOW_TENSOR(f.x, SOW_F32, ROWS, in, 1, 1)));
            OK(sow_tape_backward_from(t, y, SOW_TENSOR(gradient, SOW_F32, ROWS, out)));
            sow_tensor g = a->layers[0].b->grad;
            double scale = a->layers[0].scale;
            for (int64_t k = 0; k < sow_count(g); k++) norm[kind] += sow_at(g, k) * sow_at(g, k) / scale / scale;
            sow_tape_free(t);
            sow_adapter_free(a);
        }
    assert_near(norm[0] / norm[1], 13.3, 2.7);
    assert_near(norm[0] / norm[2], 39.9, 8);
    tear_down(&f);
}

/* ---- convergence ---- */

static void it_ends_when_no_component_turns_or_says_that_it_did_not(void **state) {
    fixture f = set_up("mlp:24-20-16-4");
    sow_eva_config c = sow_eva_defaults();
    sow_eva_report r;
    c.rank = 2;
    c.tau = -1; /* any cosine but NaN settles it, once there are two updates */
    sow_adapter_free(start(&f, &c, &r));
    assert_true(r.converged);
    assert_int_equal(r.batches, 1);
    c.tau = 1; /* none ever does */
    c.max_batches = 5;
    sow_adapter_free(start(&f, &c, &r));
    assert_false(r.converged);
    assert_int_equal(r.batches, 5);
    assert_int_equal(r.progress_count, 5);
    assert_int_equal(r.layers[0].batches, 5);
    c.solver = SOW_EVA_GRAM;
    c.max_batches = 12;
    c.capture = .5;
    sow_adapter_free(start(&f, &c, &r));
    assert_true(r.converged);
    assert_int_equal(r.batches, 8); /* looks after 4 and 8 */
    assert_true(r.progress[1].least > .5 && r.progress[1].least <= 1 + 1e-9);
    tear_down(&f);
}

static void rows_that_do_not_count_are_left_out(void **state) {
    fixture f = set_up("mlp:24-20-16-4");
    static uint8_t keep[ROWS];
    for (int i = 0; i < ROWS; i++) keep[i] = i % 4 == 0;
    sow_eva_config c = sow_eva_defaults();
    sow_eva_report r;
    sow_adapter *a;
    c.rank = 2;
    c.max_batches = 3;
    f.feed.keep = keep;
    sow_adapter_free(start(&f, &c, &r));
    assert_int_equal(r.layers[0].rows, 3 * ROWS / 4);
    c.rank = 10; /* 20 components of 16 rows */
    FAILS(sow_eva(&c, &f.sites, feed_of(&f), f.arena, &a, &r), SOW_E_RANGE,
          "fc1: no batch had the 20 rows that its components need (16 at most)");
    tear_down(&f);
}

static void the_same_seed_gives_the_same_bits_for_any_threads(void **state) {
    fixture f = set_up("mlp:24-20-16-4");
    sow_eva_config c = sow_eva_defaults();
    sow_adapter *a[2];
    c.rank = 4;
    for (int k = 0; k < 2; k++) {
        sow_eva_report r;
        sow_set_threads(k + 1);
        a[k] = start(&f, &c, &r);
    }
    sow_set_threads(0);
    assert_int_equal(a[0]->count, a[1]->count);
    for (int64_t i = 0; i < a[0]->count; i++)
        assert_memory_equal(a[0]->layers[i].a->value.data, a[1]->layers[i].a->value.data,
                            sow_bytes(a[0]->layers[i].a->value));
    for (int k = 0; k < 2; k++) sow_adapter_free(a[k]);
    tear_down(&f);
}

/* ---- the folder ---- */

/* Nothing but the keys that every version of PEFT knows; patterns where ranks differ; layers of rank 0 have no entry. */
static void folders_say_what_peft_needs(void **state) {
    static const char *const known[] = {"alpha_pattern",
                                        "auto_mapping",
                                        "base_model_name_or_path",
                                        "bias",
                                        "fan_in_fan_out",
                                        "inference_mode",
                                        "init_lora_weights",
                                        "layers_pattern",
                                        "lora_alpha",
                                        "layers_to_transform",
                                        "lora_dropout",
                                        "modules_to_save",
                                        "peft_type",
                                        "r",
                                        "rank_pattern",
                                        "revision",
                                        "target_modules",
                                        "task_type",
                                        "use_dora",
                                        "use_rslora"};
    fixture f = set_up("mlp:24-20-16-4");
    sow_eva_config c = sow_eva_defaults();
    sow_eva_report r;
    char path[1200], folder[600];
    sow_adapter *back;
    c.rank = 2;
    c.rho = 8;
    c.metric = SOW_EVA_RAW; /* the first layer has by far the most variance: it takes all */
    sow_adapter *a = start(&f, &c, &r);
    assert_true(a->count < 3);
    snprintf(folder, sizeof folder, "%s", in_folder("eva"));
    OK(sow_make_folder(folder));
    OK(sow_adapter_write(a, folder, NULL, "How it was made.\n"));
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    json_t *config = json_load_file(path, 0, NULL);
    const char *key;
    json_t *value;
    json_object_foreach(config, key, value) {
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strcmp(known[k], key) != 0) k++;
        if (k == sizeof known / sizeof *known) fail_msg("adapter_config.json has %s", key);
    }
    assert_int_equal(json_array_size(json_object_get(config, "target_modules")), a->count);
    const sow_adapter_layer *l = &a->layers[0];
    json_t *rank = json_object_get(json_object_get(config, "rank_pattern"), l->module),
           *alpha = json_object_get(json_object_get(config, "alpha_pattern"), l->module);
    assert_int_equal(json_integer_value(rank), l->rank);
    assert_near(json_number_value(alpha), (double)l->rank / 2, 1e-12);
    json_decref(config);
    OK(sow_adapter_read(folder, false, &back));
    assert_int_equal(back->count, a->count);
    assert_memory_equal(back->layers[0].a->value.data, l->a->value.data, sow_bytes(l->a->value));
    assert_near(back->layers[0].scale, l->scale, 1e-12);
    sow_adapter_free(back);
    sow_adapter_free(a);
    tear_down(&f);
}

static void whitened_rows_are_divided_by_the_root(void **state) {
    fixture f = set_up("mlp:24-20-16-4");
    sow_eva_config c = sow_eva_defaults();
    sow_eva_report r;
    c.rank = 3;
    c.whiten = true;
    sow_adapter *a = start(&f, &c, &r);
    const float *rows = a->layers[0].a->value.data;
    for (int64_t p = 0; p < a->layers[0].rank; p++)
        assert_near(dot(rows + p * IN, rows + p * IN, IN) * r.layers[0].singular[p], 1, 1e-5);
    sow_adapter_free(a);
    tear_down(&f);
}

/* ---- language models ---- */

enum { SEQUENCES = 20, LENGTH = 12, PROMPT = 4 };

/* Sequences of 12 tokens, of which the first four are a prompt: labels from the fourth row on. */
static sow_texts *texts_of(sow_arena *arena, sow_rng *rng) {
    sow_texts *t;
    int32_t *ids, *labels;
    int64_t *starts, *line;
    OK(SOW_NEW(arena, t, 1));
    OK(SOW_NEW(arena, ids, SEQUENCES * LENGTH));
    OK(SOW_NEW(arena, labels, SEQUENCES * LENGTH));
    OK(SOW_NEW(arena, starts, SEQUENCES + 1));
    OK(SOW_NEW(arena, line, SEQUENCES));
    for (int64_t i = 0; i < SEQUENCES * LENGTH; i++) ids[i] = (int32_t)sow_rng_below(rng, 40);
    for (int64_t i = 0; i < SEQUENCES * LENGTH; i++) {
        int64_t at = i % LENGTH;
        labels[i] = at >= PROMPT - 1 && at < LENGTH - 1 ? ids[i + 1] : -1;
    }
    for (int64_t s = 0; s <= SEQUENCES; s++) starts[s] = s * LENGTH;
    *t = (sow_texts){.arena = arena,
                     .ids = ids,
                     .labels = labels,
                     .start = starts,
                     .line = line,
                     .count = SEQUENCES,
                     .longest = LENGTH};
    return t;
}

/* Passes of another feed, and how many sites they reach. */
typedef struct counting {
    sow_feed feed, *texts;
    int64_t sites, most, least;
} counting;
static sow_var count_site(void *user, sow_tape *t, const char *name, sow_var x, sow_var y) {
    counting *c = user;
    c->sites += x != y && strstr(name, "down_proj");
    return y;
}
static sow_status pass_counted(sow_feed *feed, sow_tape *tape, int64_t number, const sow_site *last) {
    counting *c = feed->own;
    if (number == 0) OK(sow_tape_add_tap(tape, count_site, c));
    c->sites = 0;
    OK(sow_feed_pass(c->texts, tape, number, last));
    feed->keep = c->texts->keep;
    if (c->sites > c->most) c->most = c->sites;
    if (c->sites < c->least) c->least = c->sites;
    return SOW_OK;
}
static void count(counting *c, sow_lm *lm, const sow_texts *texts, bool answers) {
    static const sow_feed_kind kind = {.pass = pass_counted};
    *c = (counting){.feed = {.kind = &kind, .own = c}, .least = 99};
    const sow_feed_options order = {.batch = 4, .seed = 1, .shuffle = true, .answers = answers};
    OK(sow_feed_texts(lm, texts, &order, &c->texts));
    c->feed.keep = c->texts->keep;
}

/* The rows of tokens that are answers, not of those that predict them. */
static void assert_answers_are_kept(sow_feed *texts, const sow_site *last) {
    sow_tape *t;
    OK(sow_tape_new(&t));
    sow_tape_record(t, false);
    OK(sow_feed_pass(texts, t, 0, last));
    for (int i = 0; i < 2 * LENGTH; i++) assert_int_equal(texts->keep[i], i % LENGTH >= PROMPT);
    sow_tape_free(t);
}

/* Only rows of answers count; layers that share an input share components; a pass for the first layer's sites ends there. */
static void language_models_count_answers_and_share_inputs(void **state) {
    sow_arena *arena;
    sow_lm *lm;
    sow_rng rng;
    sow_sites all, first;
    sow_adapter *a;
    sow_eva_report r;
    sow_eva_config c = sow_eva_defaults();
    sow_lm_config tiny = tiny_lm_config(40, 16);
    counting from;
    tiny.layers = 3;
    OK(sow_arena_new(&arena));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    lm = tiny_lm(&tiny, 1);
    OK(sow_lm_sites(arena, lm, &all));
    sow_texts *texts = texts_of(arena, &rng);
    count(&from, lm, texts, true);
    assert_answers_are_kept(from.texts, &all.at[0]);
    c.rank = 4;
    c.max_batches = 3;
    OK(sow_eva(&c, &all, &from.feed, arena, &a, &r));
    assert_int_equal(r.count, 21);
    assert_int_equal(r.hooks, 12);
    assert_int_equal(r.layers[0].rows, 3 * 4 * (LENGTH - PROMPT));
    assert_int_equal(r.layers[2].hook, 0);
    assert_true(r.layers[0].rank >= r.layers[1].rank && r.layers[1].rank >= r.layers[2].rank);
    if (a->count > 2 && a->layers[1].rank > 0)
        assert_memory_equal(a->layers[0].a->value.data, a->layers[1].a->value.data,
                            sizeof(float) * 16 * (size_t)a->layers[1].rank);
    assert_int_equal(from.most, 3);
    sow_adapter_free(a);
    OK(sow_choose_sites(arena, &all, "model.layers.0.self_attn.q_proj,model.layers.0.mlp.up_proj", &first));
    sow_feed_free(from.texts);
    count(&from, lm, texts, false);
    OK(sow_eva(&c, &first, &from.feed, arena, &a, &r));
    assert_int_equal(from.most, 1);
    assert_int_equal(r.layers[0].rows, 3 * 4 * LENGTH);
    sow_adapter_free(a);
    sow_feed_free(from.texts);
    sow_lm_free(lm);
    sow_arena_free(arena);
}

static int prepare(void **state) {
    return make_test_folder();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_go_to_the_largest_scores),
        cmocka_unit_test(scores_that_are_not_above_zero_get_nothing),
        cmocka_unit_test(components_are_rounded_half_to_even),
        cmocka_unit_test(rows_of_a_are_orthonormal_and_the_budget_is_kept),
        cmocka_unit_test(the_model_is_unchanged_at_the_start),
        cmocka_unit_test(the_first_layer_gets_the_largest_directions),
        cmocka_unit_test(gradients_of_b_are_largest_for_principal_directions),
        cmocka_unit_test(it_ends_when_no_component_turns_or_says_that_it_did_not),
        cmocka_unit_test(rows_that_do_not_count_are_left_out),
        cmocka_unit_test(the_same_seed_gives_the_same_bits_for_any_threads),
        cmocka_unit_test(folders_say_what_peft_needs),
        cmocka_unit_test(whitened_rows_are_divided_by_the_root),
        cmocka_unit_test(language_models_count_answers_and_share_inputs),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
