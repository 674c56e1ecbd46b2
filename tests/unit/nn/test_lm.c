/* Language models: the tiny models of the oracles, family by family, and configurations that are refused. */
#include "check.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "sow/lm.h"

static json_t *oracle;

static json_t *tiny(const char *family) {
    return json_object_get(json_object_get(oracle, "tiny_models"), family);
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(sow_entry *const *)a)->name, (*(sow_entry *const *)b)->name);
}

/* The oracles' weights: a formula over the parameters in order of their names. */
static void fill(sow_lm *lm, bool gemma) {
    int64_t n = sow_state_count(lm->state);
    sow_entry *sorted[64];
    for (int64_t i = 0; i < n; i++) sorted[i] = sow_state_entry(lm->state, i);
    qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    for (int64_t k = 0; k < n; k++) {
        const char *name = sorted[k]->name;
        bool norm = strstr(name, "norm") || strstr(name, "Norm") || strstr(name, "ln_");
        double base = !gemma && norm && strlen(name) > 6 && !strcmp(name + strlen(name) - 6, "weight") ? 1 : 0;
        for (int64_t i = 0; i < sow_count(sorted[k]->value); i++)
            sow_put(sorted[k]->value, i, base + 0.2 * sin(0.7 * (double)i + (double)k));
    }
}

static sow_lm *model_of(const char *family, sow_dtype type) {
    sow_lm_config config;
    sow_lm *lm;
    OK(sow_lm_configure(json_object_get(tiny(family), "config"), &config));
    OK(sow_lm_declare(&config, type, &lm));
    fill(lm, config.family == SOW_LM_GEMMA3);
    OK(sow_state_add_gradients(lm->state));
    return lm;
}

static double norm_of(sow_tensor t) {
    double sum = 0;
    for (int64_t i = 0; i < sow_count(t); i++) sum += sow_at(t, i) * sow_at(t, i);
    return sqrt(sum);
}

/* Gradient norms of all parameters; the oracles were computed in f32: 1e-3 relative. */
static void check_gradients(const sow_lm *lm, const char *family) {
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(tiny(family), "gradient_norms"), name, value) {
        char full[256];
        const sow_entry *e = sow_state_find(lm->state, name);
        snprintf(full, sizeof full, "bert.%s", name);
        if (!e) e = sow_state_find(lm->state, full);
        if (!e) fail_msg("%s: no parameter %s", family, name);
        assert_true(e->grad_written);
        double expected = json_number_value(value), found = norm_of(e->grad);
        if (!(fabs(found - expected) <= 1e-3 * expected + 2e-7))
            fail_msg("%s: gradient of %s has norm %.6g, expected %.6g", family, name, found, expected);
    }
}

static int32_t ids[8];
static const int64_t start[2] = {0, 8};
static const sow_tokens tokens = {ids, start, 1};

static void read_ids(const char *family) {
    for (size_t i = 0; i < 8; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(json_object_get(tiny(family), "ids"), i));
}

static void check_decoder(const char *family, sow_dtype type, bool recompute) {
    sow_lm *lm = model_of(family, type);
    int32_t labels[8];
    sow_tape *t;
    lm->recompute = recompute;
    read_ids(family);
    for (int i = 0; i < 8; i++) labels[i] = i < 7 ? ids[i + 1] : -1;
    OK(sow_tape_new(&t));
    sow_tape_record(t, false);
    sow_var logits = sow_lm_logits(t, lm, sow_lm_states(t, lm, &tokens));
    OK(sow_tape_status(t));
    for (size_t i = 0; i < 6; i++)
        assert_near(sow_at(sow_value(logits), 7 * 16 + (int64_t)i),
                    json_number_value(json_array_get(json_object_get(tiny(family), "logits_last_first6"), i)), 2e-6);
    sow_tape_record(t, true);
    sow_tape_reset(t);
    sow_var loss = sow_lm_loss(t, lm, &tokens, SOW_TENSOR(labels, SOW_I32, 8), 0);
    OK(sow_tape_status(t));
    assert_near(sow_scalar(loss), json_number_value(json_object_get(tiny(family), "loss")), 1e-6);
    OK(sow_tape_backward(t, loss));
    check_gradients(lm, family);
    sow_tape_free(t);
    sow_lm_free(lm);
}

static void llama_equals_the_oracle(void **state) {
    check_decoder("llama", SOW_F32, false);
    check_decoder("llama", SOW_F64, false);
    check_decoder("llama", SOW_F32, true);
}

static void gemma3_equals_the_oracle(void **state) {
    check_decoder("gemma3_text", SOW_F32, false);
    check_decoder("gemma3_text", SOW_F64, true);
}

static void gpt2_equals_the_oracle(void **state) {
    check_decoder("gpt2", SOW_F32, false);
    check_decoder("gpt2", SOW_F64, true);
}

/* sum_j (j+1) e_j of the normalised mean e of the six unmasked tokens: padding is packed away. */
static void bert_equals_the_oracle(void **state) {
    static const int64_t six[2] = {0, 6};
    sow_lm *lm = model_of("bert", SOW_F32);
    sow_tokens unmasked = {ids, six, 1};
    float ramp[16];
    sow_tape *t;
    read_ids("bert");
    for (int i = 0; i < 16; i++) ramp[i] = (float)i + 1;
    OK(sow_tape_new(&t));
    sow_var states = sow_keep(sow_lm_states(t, lm, &unmasked)),
            mean = sow_scale(t, sow_sum_over(t, states, 0), 1.0 / 6, 0);
    sow_var inverse = sow_exp(t, sow_scale(t, sow_log_of(t, sow_sum(t, sow_square(t, mean))), -0.5, 0));
    sow_var e = sow_keep(sow_mul(t, mean, inverse)),
            objective = sow_sum(t, sow_mul(t, e, sow_constant(t, SOW_TENSOR(ramp, SOW_F32, 16))));
    OK(sow_tape_status(t));
    for (size_t i = 0; i < 6; i++) {
        assert_near(sow_at(sow_value(states), (int64_t)i),
                    json_number_value(json_array_get(json_object_get(tiny("bert"), "hidden_token0_first6"), i)), 3e-6);
        assert_near(sow_at(sow_value(e), (int64_t)i),
                    json_number_value(json_array_get(json_object_get(tiny("bert"), "mean_pooled_l2_first6"), i)), 2e-6);
    }
    assert_near(sow_scalar(objective), json_number_value(json_object_get(tiny("bert"), "objective_value")), 2e-5);
    OK(sow_tape_backward(t, objective));
    check_gradients(lm, "bert");
    assert_null(sow_lm_logits(t, lm, states));
    FAILS(sow_tape_status(t), SOW_E_UNSUPPORTED, "an encoder has no next-token head");
    sow_tape_free(t);
    sow_lm_free(lm);
}

static void packed_sequences_do_not_see_each_other(void **state) {
    static const int64_t two[3] = {0, 3, 8};
    sow_lm *lm = model_of("llama", SOW_F32);
    sow_tokens both = {ids, two, 2}, second = {ids + 3, (const int64_t[]){0, 5}, 1};
    sow_tape *t;
    read_ids("llama");
    OK(sow_tape_new(&t));
    sow_tape_record(t, false);
    sow_var packed = sow_lm_states(t, lm, &both), alone = sow_lm_states(t, lm, &second);
    OK(sow_tape_status(t));
    for (int64_t i = 0; i < 5 * 16; i++)
        assert_near(sow_at(sow_value(packed), 3 * 16 + i), sow_at(sow_value(alone), i), 1e-6);
    sow_tape_free(t);
    sow_lm_free(lm);
}

static void llama3_frequencies_equal_the_oracle(void **state) {
    json_t *w = json_object_get(json_object_get(oracle, "worked"), "rope_llama3"),
           *expected = json_object_get(w, "inv_freq_every_third");
    double f[32];
    sow_rope rope = {.theta = 500000, .type = SOW_ROPE_LLAMA3, .factor = 32, .low = 1, .high = 4, .original = 8192};
    sow_rope_frequencies(&rope, 64, f);
    for (size_t i = 0; i < json_array_size(expected); i++)
        assert_near(f[3 * i], json_number_value(json_array_get(expected, i)), 2e-6 * f[3 * i]);
}

static void wrong_configurations_are_refused_by_name(void **state) {
    static const struct {
        const char *field, *json, *message;
    } wrong[] = {{"model_type", "\"mamba\"", "model_type: found mamba, expected llama"},
                 {"hidden_size", "null", "hidden_size: found another type, expected an integer"},
                 {"num_hidden_layers", "1000000", "1000000 layers, expected at most 512"},
                 {"vocab_size", "1000000000000", "vocab_size: found 1000000000000, expected an integer from 1 to"},
                 {"hidden_act", "\"tanh\"", "hidden_act: found tanh, expected silu"},
                 {"rope_scaling", "{\"type\":\"yarn\",\"factor\":2}",
                  "rope_scaling: type: found yarn, expected default, linear or llama3"},
                 {"num_key_value_heads", "3", "4 heads do not share 3 key heads"},
                 {"rms_norm_eps", "-1", "rms_norm_eps: found -1, expected a number above 0"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sow_lm_config out;
        json_t *config = json_deep_copy(json_object_get(tiny("llama"), "config"));
        json_object_del(config, "rope_parameters");
        json_object_set_new(config, wrong[i].field, json_loads(wrong[i].json, JSON_DECODE_ANY, NULL));
        sow_status status = sow_lm_configure(config, &out);
        json_decref(config);
        assert_int_not_equal(status, SOW_OK);
        if (!strstr(sow_message(), wrong[i].message))
            fail_msg("found '%s', expected '%s'", sow_message(), wrong[i].message);
    }
}

static void a_wrong_state_names_its_first_tensor(void **state) {
    sow_lm_config config;
    sow_state *s;
    sow_lm *lm;
    sow_entry *e;
    OK(sow_lm_configure(json_object_get(tiny("llama"), "config"), &config));
    OK(sow_state_new(&s));
    OK(sow_state_add(s, "model.embed_tokens.weight", SOW_F32, 2, (int64_t[]){16, 16}, &e));
    OK(sow_state_add(s, "model.layers.0.input_layernorm.weight", SOW_F32, 1, (int64_t[]){8}, &e));
    FAILS(sow_lm_new(&config, s, &lm), SOW_E_SHAPE, "model.layers.0.input_layernorm.weight is [8], expected [16]");
}

static int open_oracle(void **state) {
    oracle = json_load_file("tests/oracles/smollm2.json", 0, NULL);
    return oracle ? 0 : -1;
}

static int close_oracle(void **state) {
    json_decref(oracle);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_equals_the_oracle),
        cmocka_unit_test(gemma3_equals_the_oracle),
        cmocka_unit_test(gpt2_equals_the_oracle),
        cmocka_unit_test(bert_equals_the_oracle),
        cmocka_unit_test(packed_sequences_do_not_see_each_other),
        cmocka_unit_test(llama3_frequencies_equal_the_oracle),
        cmocka_unit_test(wrong_configurations_are_refused_by_name),
        cmocka_unit_test(a_wrong_state_names_its_first_tensor),
    };
    return cmocka_run_group_tests(tests, open_oracle, close_oracle);
}
