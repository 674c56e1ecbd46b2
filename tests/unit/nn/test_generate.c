/* Generation: cached answers equal whole passes, the reference's greedy texts, sampling by hand, where texts stop. */
#include "check.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "sow/generate.h"

static json_t *oracle;

/* ---- the cache ---- */

static sow_lm *tiny_model(const char *family, int64_t positions) {
    json_t *config = json_deep_copy(
        json_object_get(json_object_get(json_object_get(oracle, "tiny_models"), family), "config"));
    sow_lm_config c;
    sow_lm *lm;
    sow_rng rng;
    json_object_set_new(config, strcmp(family, "gpt2") ? "max_position_embeddings" : "n_positions",
                        json_integer(positions));
    OK(sow_lm_configure(config, &c));
    OK(sow_lm_declare(&c, SOW_F32, &lm));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 4));
    for (int64_t i = 0; i < sow_state_count(lm->state); i++) {
        sow_tensor w = sow_state_entry(lm->state, i)->value;
        sow_rng_normal_f32(&rng, w.data, sow_count(w), 0.05, 0.3);
    }
    json_decref(config);
    return lm;
}

enum { LONG = 1300, V = 16 };

/* Feeds `count` tokens in the given pieces (the last size repeats) and compares the scores behind each piece. */
static void check_cached(const char *family, int64_t count, const int64_t *pieces, int pieces_count) {
    static int32_t ids[LONG];
    sow_lm *lm = tiny_model(family, count);
    int64_t start[2] = {0, count};
    sow_tokens tokens = {ids, start, 1};
    sow_lm_cache *cache;
    sow_tape *whole, *t;
    float found[V];
    for (int64_t i = 0; i < count; i++) ids[i] = (int32_t)(i * i * 7 + i * 3) % V;
    OK(sow_tape_new(&whole));
    OK(sow_tape_new(&t));
    sow_tape_record(whole, false);
    sow_var logits = sow_lm_logits(whole, lm, sow_lm_states(whole, lm, &tokens));
    OK(sow_tape_status(whole));
    const float *expected = sow_value(logits).data;
    OK(sow_lm_cache_new(lm, count, &cache));
    for (int64_t at = 0, k = 0, n; at < count; at += n, k++) {
        n = pieces[k < pieces_count ? k : pieces_count - 1];
        if (n > count - at) n = count - at;
        OK(sow_lm_extend(t, lm, cache, ids + at, n, found));
        assert_int_equal(sow_lm_cache_length(cache), at + n);
        for (int64_t i = 0; i < V; i++) assert_near((double)found[i], (double)expected[(at + n - 1) * V + i], 1e-5);
    }
    FAILS(sow_lm_extend(t, lm, cache, ids, 1, found), SOW_E_RANGE, "1 tokens for a cache that has room for 0 more");
    sow_lm_cache_free(cache);
    sow_tape_free(whole);
    sow_tape_free(t);
    sow_lm_free(lm);
}

static void cached_scores_equal_those_of_whole_passes(void **state) {
    static const char *const families[] = {"llama", "gemma3_text", "gpt2"};
    for (int i = 0; i < 3; i++) {
        check_cached(families[i], 32, (int64_t[]){1}, 1);
        check_cached(families[i], 32, (int64_t[]){5, 1, 1, 20, 1}, 5);
    }
}

static void long_texts_go_through_in_blocks_and_windows_move_on(void **state) {
    check_cached("gemma3_text", LONG, (int64_t[]){700, 1, 1, 65, 1, 400, 1}, 7);
    check_cached("gemma3_text", 620, (int64_t[]){1}, 1);
    check_cached("llama", LONG, (int64_t[]){1100, 130, 1}, 3);
}

static void wrong_tokens_leave_the_cache_as_it_was(void **state) {
    sow_lm *lm = tiny_model("llama", 32);
    sow_lm_cache *cache;
    sow_tape *t;
    int32_t ids[3] = {1, 2, 16};
    OK(sow_tape_new(&t));
    OK(sow_lm_cache_new(lm, 8, &cache));
    FAILS(sow_lm_extend(t, lm, cache, ids, 3, NULL), SOW_E_RANGE, "token 2 is 16, expected 0 to 15");
    assert_int_equal(sow_lm_cache_length(cache), 0);
    OK(sow_lm_extend(t, lm, cache, ids, 2, NULL));
    FAILS(sow_lm_cache_new(lm, 33, &cache), SOW_E_RANGE, "a cache of 33 tokens, the model takes 1 to 32");
    sow_lm_cache_free(cache);
    sow_tape_free(t);
    sow_lm_free(lm);
}

/* ---- sampling ---- */

static int32_t one(sow_sampling s, const float *logits, int64_t n, const uint8_t *seen, uint64_t step) {
    sow_arena *arena;
    float z[8];
    int32_t id;
    memcpy(z, logits, (size_t)n * sizeof *z);
    OK(sow_arena_new(&arena));
    OK(sow_lm_sample(&s, arena, z, n, seen, step, &id));
    sow_arena_free(arena);
    return id;
}

/* How often each of n tokens comes in 20,000 draws. */
static void frequencies(sow_sampling s, const float *logits, int64_t n, double *out) {
    for (int64_t i = 0; i < n; i++) out[i] = 0;
    for (uint64_t step = 0; step < 20000; step++) out[one(s, logits, n, NULL, step)] += 1.0 / 20000;
}

static void temperature_zero_takes_the_first_of_the_largest(void **state) {
    assert_int_equal(one((sow_sampling){0}, (float[]){1, 3, 3, 2}, 4, NULL, 0), 1);
}

static void penalties_divide_what_is_above_zero_and_multiply_what_is_below(void **state) {
    sow_sampling s = {.repeat_penalty = 2};
    assert_int_equal(one(s, (float[]){3, 2}, 2, (uint8_t[]){1, 0}, 0), 1);      /* 1.5 against 2 */
    assert_int_equal(one(s, (float[]){-1, -1.5f}, 2, (uint8_t[]){1, 0}, 0), 1); /* -2 against -1.5 */
    assert_int_equal(one(s, (float[]){3, 2}, 2, (uint8_t[]){0, 0}, 0), 0);
}

/* softmax(1, 2, 3) = .0900306, .2447285, .6652410; at temperature 2: .1863237, .3071959, .5064804. */
static void draws_follow_the_softmax(void **state) {
    float z[3] = {1, 2, 3};
    double f[3];
    frequencies((sow_sampling){.temperature = 1, .seed = 8}, z, 3, f);
    assert_near(f[0], 0.0900306, 0.008);
    assert_near(f[1], 0.2447285, 0.011);
    frequencies((sow_sampling){.temperature = 2, .seed = 8}, z, 3, f);
    assert_near(f[0], 0.1863237, 0.011);
    assert_near(f[2], 0.5064804, 0.013);
}

static void top_k_keeps_equals_of_the_last(void **state) {
    double f[5];
    frequencies((sow_sampling){.temperature = 1, .top_k = 2, .seed = 1}, (float[]){1, 2, 3, 2, 0}, 5, f);
    assert_true(f[0] == 0 && f[4] == 0);
    assert_near(f[1], 0.2119416, 0.011); /* e^2 / (e^3 + 2 e^2) */
    assert_near(f[3], 0.2119416, 0.011);
}

static void top_p_keeps_the_smallest_set_that_reaches_it(void **state) {
    double f[4];
    float z[4] = {logf(0.1f), logf(0.5f), logf(0.3f), logf(0.1f)};
    frequencies((sow_sampling){.temperature = 1, .top_p = 0.75, .seed = 2}, z, 4, f);
    assert_true(f[0] == 0 && f[3] == 0);
    assert_near(f[1], 0.625, 0.013);
    frequencies((sow_sampling){.temperature = 1, .top_p = 0.85, .seed = 2}, z, 4, f);
    assert_true(f[0] > 0 && f[3] == 0); /* of equals the first */
    frequencies((sow_sampling){.temperature = 1, .top_p = 0.01, .seed = 2}, z, 4, f);
    assert_near(f[1], 1, 1e-9);
}

/* The u-th part of the cumulative sum, in the order of ids. */
static void a_draw_is_a_function_of_seed_and_step(void **state) {
    float z[4] = {logf(0.1f), logf(0.5f), logf(0.3f), logf(0.1f)};
    for (uint64_t step = 0; step < 200; step++) {
        sow_rng rng;
        double u;
        OK(sow_rng_seed(&rng, SOW_RNG_SOW, 77));
        sow_rng_at_index(&rng, "sample", step);
        sow_rng_uniform_f64(&rng, &u, 1, 0, 1);
        int expected = u < 0.1 ? 0 : u < 0.6 ? 1 : u < 0.9 ? 2 : 3;
        assert_int_equal(one((sow_sampling){.temperature = 1, .seed = 77}, z, 4, NULL, step), expected);
    }
}

static void scores_that_are_no_numbers_are_refused(void **state) {
    sow_arena *arena;
    int32_t id;
    OK(sow_arena_new(&arena));
    FAILS(sow_lm_sample(&(sow_sampling){0}, arena, (float[]){1, NAN}, 2, NULL, 0, &id), SOW_E_NUMBER,
          "the score of token 1 is not a number");
    FAILS(sow_lm_sample(&(sow_sampling){0}, arena, (float[]){-INFINITY, -INFINITY}, 2, NULL, 0, &id), SOW_E_NUMBER,
          "not finite");
    sow_arena_free(arena);
}

/* ---- a real model ---- */

typedef struct model {
    sow_lm *lm;
    sow_tokenizer *tokenizer;
    sow_tape *tape;
    sow_arena *arena;
} model;

static void open_or_skip(model *m, bool frozen) {
    sow_status status = frozen ? sow_lm_open_frozen("smollm2", &m->lm) : sow_lm_open("smollm2", &m->lm);
    if (status == SOW_E_NOT_FOUND) skip();
    OK(status);
    OK(sow_lm_tokenizer("smollm2", &m->tokenizer));
    OK(sow_tape_new(&m->tape));
    OK(sow_arena_new(&m->arena));
}

static void close_model(model *m) {
    sow_arena_free(m->arena);
    sow_tape_free(m->tape);
    sow_tokenizer_free(m->tokenizer);
    sow_lm_free(m->lm);
}

static sow_encoding encode(model *m, const char *text) {
    sow_encoding e;
    OK(sow_encode(m->tokenizer, m->arena, text, strlen(text), SOW_ENCODE_SPECIAL, &e));
    return e;
}

static void check_greedy(model *m) {
    json_t *run;
    size_t k;
    float *logits;
    OK(SOW_NEW(m->arena, logits, m->lm->config.vocabulary));
    json_array_foreach(json_object_get(oracle, "greedy"), k, run) {
        const json_t *expected = json_object_get(run, "ids");
        sow_encoding e = encode(m, json_string_value(json_object_get(run, "prompt")));
        sow_lm_cache *cache;
        OK(sow_lm_cache_new(m->lm, e.count + 20, &cache));
        OK(sow_lm_extend(m->tape, m->lm, cache, e.ids, e.count, logits));
        for (size_t i = 0; i < json_array_size(expected); i++) {
            int32_t id;
            OK(sow_lm_sample(&(sow_sampling){0}, m->arena, logits, m->lm->config.vocabulary, NULL, 0, &id));
            assert_int_equal(id, json_integer_value(json_array_get(expected, i)));
            OK(sow_lm_extend(m->tape, m->lm, cache, &id, 1, logits));
        }
        sow_lm_cache_free(cache);
    }
}

static void greedy_texts_equal_the_reference(void **state) {
    model m;
    open_or_skip(&m, true);
    check_greedy(&m);
    close_model(&m);
}

typedef struct said {
    char text[4096];
    size_t size;
    int pieces;
} said;

static sow_status say(void *user, const char *text, size_t size) {
    said *s = user;
    json_t *whole = json_stringn(text, size); /* NULL: not UTF-8 */
    assert_non_null(whole);
    json_decref(whole);
    memcpy(s->text + s->size, text, size);
    s->size += size;
    s->pieces++;
    return SOW_OK;
}

static sow_generated answer(model *m, const char *prompt, sow_generation how, said *s) {
    sow_encoding e = encode(m, prompt);
    sow_generated out;
    *s = (said){.size = 0};
    how.say = say;
    how.user = s;
    OK(sow_lm_generate(m->tape, m->lm, m->tokenizer, m->arena, e.ids, e.count, &how, &out));
    assert_int_equal(s->size, out.size);
    assert_memory_equal(s->text, out.text, out.size);
    return out;
}

static void texts_stop_where_they_should(void **state) {
    static const char *const stops[] = {"answer is", "nowhere", NULL};
    model m;
    said s;
    open_or_skip(&m, true);
    const char *chat = json_string_value(
        json_object_get(json_array_get(json_object_get(oracle, "greedy"), 1), "prompt"));
    sow_generated g = answer(&m, chat, (sow_generation){.max_tokens = 40, .end = -1}, &s);
    assert_string_equal(g.text, "The answer to this classic math problem is 4.");
    assert_int_equal(g.stop, SOW_STOP_END);
    assert_int_equal(g.count, 11);
    g = answer(&m, "The capital of France is", (sow_generation){.max_tokens = 40, .end = -1, .stops = stops}, &s);
    assert_string_equal(g.text, " Paris.\n\nThe ");
    assert_int_equal(g.stop, SOW_STOP_TEXT);
    g = answer(&m, "The capital of France is", (sow_generation){.max_tokens = 3, .end = -1}, &s);
    assert_string_equal(g.text, " Paris.\n");
    assert_int_equal(g.stop, SOW_STOP_LIMIT);
    close_model(&m);
}

/* What is said is said in whole characters (say checks it), in several pieces. */
static void characters_of_several_tokens_are_said_whole(void **state) {
    model m;
    said s;
    open_or_skip(&m, true);
    sow_generated g = answer(&m, "日本語, 日本語, 日本語, 日本語, 日本語, 日本語, 日本語,",
                             (sow_generation){.max_tokens = 24, .end = -1}, &s);
    assert_true(s.pieces > 1 && s.pieces < (int)g.count);
    close_model(&m);
}

static void sampled_texts_depend_on_the_seed_only(void **state) {
    sow_generation how = {.max_tokens = 12, .end = -1, .sampling = {.temperature = 1, .top_p = 0.95, .seed = 3}};
    model m;
    said s;
    open_or_skip(&m, true);
    sow_generated a = answer(&m, "Once upon a time", how, &s), b = answer(&m, "Once upon a time", how, &s);
    assert_string_equal(a.text, b.text);
    sow_set_threads(2);
    b = answer(&m, "Once upon a time", how, &s);
    sow_set_threads(1);
    assert_string_equal(a.text, b.text);
    how.sampling.seed = 4;
    b = answer(&m, "Once upon a time", how, &s);
    assert_string_not_equal(a.text, b.text);
    close_model(&m);
}

static int set_up(void **state) {
    oracle = json_load_file("tests/oracles/smollm2.json", 0, NULL);
    return oracle ? 0 : -1;
}

static int tear_down(void **state) {
    json_decref(oracle);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cached_scores_equal_those_of_whole_passes),
        cmocka_unit_test(long_texts_go_through_in_blocks_and_windows_move_on),
        cmocka_unit_test(wrong_tokens_leave_the_cache_as_it_was),
        cmocka_unit_test(temperature_zero_takes_the_first_of_the_largest),
        cmocka_unit_test(penalties_divide_what_is_above_zero_and_multiply_what_is_below),
        cmocka_unit_test(draws_follow_the_softmax),
        cmocka_unit_test(top_k_keeps_equals_of_the_last),
        cmocka_unit_test(top_p_keeps_the_smallest_set_that_reaches_it),
        cmocka_unit_test(a_draw_is_a_function_of_seed_and_step),
        cmocka_unit_test(scores_that_are_no_numbers_are_refused),
        cmocka_unit_test(greedy_texts_equal_the_reference),
        cmocka_unit_test(texts_stop_where_they_should),
        cmocka_unit_test(characters_of_several_tokens_are_said_whole),
        cmocka_unit_test(sampled_texts_depend_on_the_seed_only),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
