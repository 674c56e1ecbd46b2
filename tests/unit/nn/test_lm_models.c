/* Real models against the reference's answers: SmolLM2-135M from GGUF, MiniLM from a Hugging Face folder. */
#include "check.h"

#include <jansson.h>
#include <math.h>

#include "sow/lm.h"

static json_t *read_oracle(const char *path) {
    json_t *json = json_load_file(path, 0, NULL);
    if (!json) fail_msg("%s is missing", path);
    return json;
}

/* The model, or a skipped test where it was not fetched. */
static sow_lm *open_or_skip(const char *name) {
    sow_lm *lm;
    sow_status status = sow_lm_open(name, &lm);
    if (status == SOW_E_NOT_FOUND) {
        fprintf(stderr, "SKIPPED (sow fetch %s)\n", name);
        skip();
    }
    OK(status);
    return lm;
}

static int32_t ids[512];
static int64_t start[2];
static sow_tokens read_ids(const json_t *list) {
    start[1] = (int64_t)json_array_size(list);
    for (size_t i = 0; i < json_array_size(list); i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return (sow_tokens){ids, start, 1};
}

static void check_prompt(sow_tape *t, sow_lm *lm, const json_t *prompt) {
    sow_tokens tokens = read_ids(json_object_get(prompt, "ids"));
    json_t *top = json_object_get(prompt, "top"), *pair;
    size_t i;
    sow_tape_reset(t);
    sow_var states = sow_lm_states(t, lm, &tokens), last = sow_narrow(t, states, 0, start[1] - 1, 1),
            logits = sow_lm_logits(t, lm, last);
    OK(sow_tape_status(t));
    json_array_foreach(top, i, pair) assert_near(sow_at(sow_value(logits), json_integer_value(json_array_get(pair, 0))),
                                                 json_number_value(json_array_get(pair, 1)), 5e-4);
    double sum = 0;
    for (int64_t k = 0; k < lm->config.vocabulary; k++) sum += exp(sow_at(sow_value(logits), k));
    assert_near(log(sum), json_number_value(json_object_get(prompt, "logsumexp")), 5e-4);
}

static void check_text(sow_tape *t, sow_lm *lm, const json_t *text) {
    sow_tokens tokens = read_ids(json_object_get(text, "ids"));
    int32_t labels[512];
    const char *name;
    json_t *gradient;
    for (int64_t i = 0; i < start[1]; i++) labels[i] = i + 1 < start[1] ? ids[i + 1] : -1;
    OK(sow_state_add_gradients(lm->state));
    sow_tape_record(t, true);
    sow_tape_reset(t);
    sow_var loss = sow_lm_loss(t, lm, &tokens, SOW_TENSOR(labels, SOW_I32, start[1]), 0);
    OK(sow_tape_status(t));
    assert_near(sow_scalar(loss), json_number_value(json_object_get(text, "mean_nll")), 2e-5);
    OK(sow_tape_backward(t, loss));
    json_object_foreach(json_object_get(text, "gradients"), name, gradient) {
        sow_entry *e;
        OK(sow_state_get(lm->state, name, &e));
        double sum = 0, norm = json_number_value(json_object_get(gradient, "norm"));
        const float *g = e->grad.data;
        for (int64_t i = 0; i < sow_count(e->grad); i++) sum += (double)g[i] * (double)g[i];
        if (!(fabs(sqrt(sum) - norm) <= 1e-3 * norm))
            fail_msg("gradient of %s has norm %.6g, expected %.6g", name, sqrt(sum), norm);
    }
}

static void smollm2_equals_the_oracle(void **state) {
    json_t *oracle = read_oracle("tests/oracles/smollm2.json"), *prompt;
    sow_lm *lm = open_or_skip("smollm2");
    sow_tape *t;
    size_t i;
    OK(sow_tape_new(&t));
    sow_tape_record(t, false);
    json_array_foreach(json_object_get(oracle, "prompts"), i, prompt) check_prompt(t, lm, prompt);
    check_text(t, lm, json_object_get(oracle, "text"));
    sow_tape_free(t);
    sow_lm_free(lm);
    json_decref(oracle);
}

static void minilm_equals_the_oracle(void **state) {
    json_t *oracle = read_oracle("tests/oracles/minilm.json"), *sentence;
    sow_lm *lm = open_or_skip("minilm");
    sow_tape *t;
    size_t i;
    OK(sow_tape_new(&t));
    sow_tape_record(t, false);
    json_array_foreach(json_object_get(oracle, "sentences"), i, sentence) {
        sow_tokens tokens = read_ids(json_object_get(sentence, "ids"));
        sow_tape_reset(t);
        sow_var states = sow_lm_states(t, lm, &tokens),
                mean = sow_scale(t, sow_sum_over(t, states, 0), 1 / (double)start[1], 0);
        OK(sow_tape_status(t));
        double norm = 0;
        for (int64_t k = 0; k < 384; k++) norm += sow_at(sow_value(mean), k) * sow_at(sow_value(mean), k);
        for (size_t k = 0; k < 8; k++)
            assert_near(sow_at(sow_value(mean), (int64_t)k) / sqrt(norm),
                        json_number_value(json_array_get(json_object_get(sentence, "first8"), k)), 2e-6);
    }
    sow_tape_free(t);
    sow_lm_free(lm);
    json_decref(oracle);
}

static int set_up(void **state) {
    sow_set_threads(0);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smollm2_equals_the_oracle),
        cmocka_unit_test(minilm_equals_the_oracle),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
