/* Models whose matrices stay in their file answer as those that are copied. */
#include "check.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "nn/lm/frozen.h"
#include "sow/adapter.h"
#include "sow/lm.h"
#include "sow/safetensors.h"

static json_t *oracle;

static json_t *tiny(const char *family) {
    return json_object_get(json_object_get(oracle, "tiny_models"), family);
}

/* A folder with the tiny model of a family, weights drawn at random, rounded to `type`. */
static const char *write_folder(const char *family, sow_dtype type) {
    sow_lm_config config;
    sow_lm *lm;
    sow_state *rounded;
    sow_rng rng;
    const char *folder = in_folder(family);
    char path[1200];
    OK(sow_lm_configure(json_object_get(tiny(family), "config"), &config));
    OK(sow_lm_declare(&config, SOW_F32, &lm));
    OK(sow_state_new(&rounded));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 9));
    for (int64_t i = 0; i < sow_state_count(lm->state); i++) {
        sow_entry *e = sow_state_entry(lm->state, i), *to;
        sow_rng_normal_f32(&rng, e->value.data, sow_count(e->value), 0.1, 0.3);
        OK(sow_state_add(rounded, e->name, type, e->value.rank, e->value.shape, &to));
        OK(sow_copy(to->value, e->value));
    }
    OK(sow_make_folder(folder));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    OK(sow_save_state(path, rounded, NULL));
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(json_dump_file(json_object_get(tiny(family), "config"), path, 0), 0);
    sow_state_free(rounded);
    sow_lm_free(lm);
    return folder;
}

static const int32_t ids[12] = {1, 5, 2, 9, 9, 0, 12, 7, 3, 15, 1, 4};
static int32_t labels[12] = {5, 2, 9, 9, -1, 12, 7, 3, -1, 1, 4, -1};

/* Logits, the loss of labels, and the gradient of input embeddings. */
typedef struct answer {
    float logits[12 * 16], gradient[12 * 16];
    double loss;
} answer;

static void ask(sow_lm *lm, const int64_t *start, int64_t sequences, answer *out) {
    static float embedded[12 * 16];
    sow_tokens tokens = {ids, start, sequences};
    int64_t n = start[sequences];
    sow_tape *t;
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 3));
    sow_rng_normal_f32(&rng, embedded, n * 16, 0, 1);
    OK(sow_tape_new(&t));
    sow_var logits = sow_lm_logits(t, lm, sow_lm_states(t, lm, &tokens));
    OK(sow_tape_status(t));
    memcpy(out->logits, sow_value(logits).data, (size_t)(n * 16) * sizeof(float));
    sow_var loss = sow_lm_loss(t, lm, &tokens, SOW_TENSOR(labels, SOW_I32, n), 0);
    OK(sow_tape_status(t));
    out->loss = sow_scalar(loss);
    sow_tape_reset(t);
    sow_var x = sow_leaf(t, SOW_TENSOR(embedded, SOW_F32, n, 16));
    OK(sow_tape_backward(t, sow_sum(t, sow_square(t, sow_lm_states_from(t, lm, x, &tokens)))));
    memcpy(out->gradient, sow_gradient(x).data, (size_t)(n * 16) * sizeof(float));
    sow_tape_free(t);
}

static void check_same(const float *found, const float *expected, int64_t n) {
    double size = 0;
    for (int64_t i = 0; i < n; i++) size = fmax(size, fabs((double)expected[i]));
    for (int64_t i = 0; i < n; i++) assert_near((double)found[i], (double)expected[i], 3e-6 * size);
}

static void check_family(const char *family, sow_dtype type) {
    static const int64_t one[2] = {0, 1}, two[3] = {0, 7, 12};
    const char *folder = write_folder(family, type);
    sow_lm *copied, *frozen;
    answer a, b;
    OK(sow_lm_open(folder, &copied));
    OK(sow_lm_open_frozen(folder, &frozen));
    assert_non_null(frozen->frozen);
    assert_true(sow_state_count(frozen->state) < sow_state_count(copied->state));
    for (int few = 0; few < 2;
         few++) { /* two packed sequences, and one token with pages given back behind each layer */
        frozen->frozen->release = few;
        frozen->recompute = few; /* sites that were computed together are computed again one by one */
        ask(copied, few ? one : two, few ? 1 : 2, &a);
        ask(frozen, few ? one : two, few ? 1 : 2, &b);
        int64_t n = few ? 16 : 12 * 16;
        check_same(b.logits, a.logits, n);
        check_same(b.gradient, a.gradient, n);
        assert_near(b.loss, a.loss, 2e-6);
    }
    sow_lm_free(copied);
    sow_lm_free(frozen);
}

static void every_family_answers_alike_from_its_file(void **state) {
    check_family("llama", SOW_F32);
    check_family("llama", SOW_BF16);
    check_family("gemma3_text", SOW_F16);
    check_family("gpt2", SOW_F32);
}

static void check_written(const char *family) {
    static const int64_t start[2] = {0, 12};
    const char *folder = write_folder(family, SOW_F32), *again = in_folder("written");
    sow_lm *from, *copied;
    answer a, b;
    OK(sow_lm_open_frozen(folder, &from));
    OK(sow_make_folder(again));
    OK(sow_lm_write(from, again, SOW_F32, NULL));
    ask(from, start, 1, &a);
    sow_lm_free(from);
    OK(sow_lm_open(again, &copied));
    ask(copied, start, 1, &b);
    check_same(b.logits, a.logits, 12 * 16);
    sow_lm_free(copied);
}

static void what_is_written_answers_alike(void **state) {
    check_written("llama");
    check_written("gemma3_text");
    check_written("gpt2");
}

static sow_var note_site(void *user, sow_tape *t, const char *site, sow_var x, sow_var y) {
    char *names = user;
    const char *last = strrchr(site, '.');
    if (x != y && strstr(site, "_proj")) strcat(strcat(names, last + 1), " ");
    return y;
}

static void its_linear_sites_are_tapped_in_turn(void **state) {
    const char *folder = write_folder("llama", SOW_F32);
    sow_lm *lm;
    sow_tape *t;
    OK(sow_lm_open_frozen(folder, &lm));
    for (int64_t n = 1; n <= 12; n += 11) { /* one token: computed together */
        char names[512] = "";
        sow_tokens tokens = {ids, (int64_t[]){0, n}, 1};
        OK(sow_tape_new(&t));
        OK(sow_tape_add_tap(t, note_site, names));
        lm->layer_limit = 1;
        sow_lm_states(t, lm, &tokens);
        OK(sow_tape_status(t));
        assert_string_equal(names, "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj ");
        sow_tape_free(t);
    }
    sow_lm_free(lm);
}

static void states_with_adapter(const char *folder, const char *family, bool frozen, int64_t n, float *out) {
    sow_tokens tokens = {ids, (int64_t[]){0, n}, 1};
    sow_lm *lm;
    sow_arena *arena;
    sow_sites sites;
    sow_adapter *a, *other = NULL;
    sow_tape *t;
    bool rows = strcmp(family, "gpt2") != 0; /* GPT-2's [in, out] are copied */
    OK((frozen ? sow_lm_open_frozen : sow_lm_open)(folder, &lm));
    OK(sow_arena_new(&arena));
    OK(sow_lm_sites(arena, lm, &sites));
    assert_true(sites.count >= 8);
    assert_int_equal(sites.at[0].weight == NULL, frozen && rows);
    OK(sow_adapter_make(SOW_START_LORA, &sites, 2, 4, 5, &a));
    for (int64_t i = 0; i < a->count; i++) sow_fill(a->layers[i].b->value, 0.1);
    OK(sow_tape_new(&t));
    OK(sow_adapter_attach(a, t));
    sow_var states = sow_lm_states(t, lm, &tokens);
    OK(sow_tape_status(t));
    memcpy(out, sow_value(states).data, sizeof(float) * (size_t)(n * 16));
    if (frozen && rows)
        FAILS(sow_adapter_make(SOW_START_PISSA, &sites, 2, 4, 5, &other), SOW_E_UNSUPPORTED, "quantised");
    sow_tape_free(t);
    sow_adapter_free(a);
    sow_arena_free(arena);
    sow_lm_free(lm);
}

/* Sites and an adapter of them, on both kinds of models; few tokens multiply matrices together. */
static void adapters_fit_frozen_models_too(void **state) {
    static const char *const families[] = {"llama", "gemma3_text", "gpt2"};
    static const int64_t lengths[] = {12, 3, 1};
    for (int i = 0; i < 9; i++) {
        const char *family = families[i / 3], *folder = write_folder(family, SOW_F32);
        int64_t n = lengths[i % 3];
        float copied[12 * 16], frozen[12 * 16];
        states_with_adapter(folder, family, false, n, copied);
        states_with_adapter(folder, family, true, n, frozen);
        check_same(frozen, copied, n * 16);
    }
}

static void a_matrix_of_a_wrong_shape_is_named(void **state) {
    const char *folder = write_folder("llama", SOW_F32);
    char path[1200];
    sow_lm *lm;
    json_t *config = json_deep_copy(json_object_get(tiny("llama"), "config"));
    json_object_set_new(config, "intermediate_size", json_integer(20));
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(json_dump_file(config, path, 0), 0);
    FAILS(sow_lm_open_frozen(folder, &lm), SOW_E_SHAPE,
          "model.layers.0.mlp.gate_proj.weight is [24, 16], expected [20, 16]");
    json_decref(config);
}

static void smollm2_keeps_its_blocks_and_equals_the_oracle(void **state) {
    static int32_t list[512], next[512];
    json_t *text = json_object_get(oracle, "text"), *given = json_object_get(text, "ids"), *prompt, *pair;
    sow_lm *lm;
    sow_tape *t;
    size_t i, k;
    sow_status status = sow_lm_open_frozen("smollm2", &lm);
    if (status == SOW_E_NOT_FOUND) skip();
    OK(status);
    OK(sow_tape_new(&t));
    sow_tape_record(t, false);
    json_array_foreach(json_object_get(oracle, "prompts"), k, prompt) {
        const json_t *p = json_object_get(prompt, "ids");
        int64_t n = (int64_t)json_array_size(p), start[2] = {0, n};
        sow_tokens tokens = {list, start, 1};
        for (i = 0; i < (size_t)n; i++) list[i] = (int32_t)json_integer_value(json_array_get(p, i));
        sow_tape_reset(t);
        sow_var logits = sow_lm_logits(t, lm, sow_narrow(t, sow_lm_states(t, lm, &tokens), 0, n - 1, 1));
        OK(sow_tape_status(t));
        json_array_foreach(json_object_get(prompt, "top"), i, pair)
            assert_near(sow_at(sow_value(logits), json_integer_value(json_array_get(pair, 0))),
                        json_number_value(json_array_get(pair, 1)), 5e-4);
    }
    int64_t n = (int64_t)json_array_size(given), counted;
    double sum;
    for (i = 0; i < (size_t)n; i++) list[i] = (int32_t)json_integer_value(json_array_get(given, i));
    for (i = 0; i < (size_t)n; i++) next[i] = i + 1 < (size_t)n ? list[i + 1] : -1;
    sow_tokens tokens = {list, (int64_t[]){0, n}, 1};
    OK(sow_lm_score(t, lm, &tokens, SOW_TENSOR(next, SOW_I32, n), &sum, &counted));
    assert_near(sum / (double)counted, json_number_value(json_object_get(text, "mean_nll")), 2e-5);
    sow_tape_free(t);
    sow_lm_free(lm);
}

static int set_up(void **state) {
    oracle = json_load_file("tests/oracles/smollm2.json", 0, NULL);
    return oracle ? make_test_folder() : -1;
}

static int tear_down(void **state) {
    json_decref(oracle);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_answers_alike_from_its_file),
        cmocka_unit_test(what_is_written_answers_alike),
        cmocka_unit_test(its_linear_sites_are_tapped_in_turn),
        cmocka_unit_test(adapters_fit_frozen_models_too),
        cmocka_unit_test(a_matrix_of_a_wrong_shape_is_named),
        cmocka_unit_test(smollm2_keeps_its_blocks_and_equals_the_oracle),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
