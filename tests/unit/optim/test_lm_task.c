/* Tuning a language model on texts: means over a step's tokens, adapters on a frozen base, resume, texts that do not fit. */
#include "byte_tokenizer.h"
#include "tiny_lm.h"

#include <math.h>

static sow_arena *arena;
static sow_tokenizer *tokenizer;

enum { VOCABULARY = FIRST_SPECIAL + SPECIALS };

static sow_lm *tiny_model(uint64_t seed) {
    const sow_lm_config c = tiny_lm_config(VOCABULARY, 16);
    return tiny_lm(&c, seed);
}

/* Completions of unequal length, so that a mean of means is another number. */
static sow_texts *some_texts(const char *name, int64_t length) {
    static const char text[] =
        "{\"prompt\":\"one\",\"completion\":\"1\"}\n{\"prompt\":\"two\",\"completion\":\"22\"}\n"
        "{\"prompt\":\"three\",\"completion\":\"333333333333\"}\n{\"prompt\":\"a\",\"completion\":\"bcdef\"}\n";
    sow_texts *t;
    OK(sow_write_file(in_folder(name), text, strlen(text)));
    OK(sow_texts_open(in_folder(name), &(sow_texts_options){.end = -1, .length = length}, tokenizer, &t));
    return t;
}

static sow_training training_of(int64_t steps) {
    return (sow_training){.steps = steps, .optimizer = {.kind = SOW_SGD, .rate = 0.1}, .seed = 1};
}

static void run(sow_training *t, const sow_tuning *tuning) {
    sow_lm_task *task;
    OK(sow_lm_task_new(tuning, &task));
    OK(sow_train_task(arena, t, sow_lm_task_of(task)));
    sow_lm_task_free(task);
}

static void a_model_of_zeros_knows_nothing(void **state) {
    sow_lm *lm = tiny_model(0); /* norms are 1, all else 0: every token is as likely */
    sow_texts *texts = some_texts("zeros.jsonl", 32);
    sow_tape *tape;
    double sum;
    int64_t counted;
    OK(sow_tape_new(&tape));
    OK(sow_lm_evaluate(tape, lm, texts, 3, &sum, &counted)); /* a short batch at the end */
    assert_int_equal(counted, 1 + 2 + 12 + 5);
    assert_near(sum, 20 * log(VOCABULARY), 1e-4);
    sow_tape_free(tape);
    sow_texts_free(texts);
    sow_lm_free(lm);
}

static void a_step_is_the_mean_over_its_tokens_however_it_is_cut(void **state) {
    sow_texts *texts = some_texts("cut.jsonl", 32);
    sow_lm *whole = tiny_model(3), *parts = tiny_model(3);
    sow_training t[2] = {training_of(2), training_of(2)};
    run(&t[0], &(sow_tuning){.lm = whole, .train = texts, .batch = 4, .seed = 5});
    run(&t[1], &(sow_tuning){.lm = parts, .train = texts, .batch = 1, .parts = 4, .seed = 5});
    for (int64_t i = 0; i < sow_state_count(whole->state); i++) {
        sow_tensor a = sow_state_entry(whole->state, i)->value, b = sow_state_entry(parts->state, i)->value;
        for (int64_t k = 0; k < sow_count(a); k++) assert_near(sow_at(a, k), sow_at(b, k), 2e-6);
    }
    assert_near(t[0].curve[1].train_loss, t[1].curve[1].train_loss, 1e-5);
    sow_lm_free(whole);
    sow_lm_free(parts);
    sow_texts_free(texts);
}

static sow_adapter *make_adapter(sow_lm *lm) {
    sow_sites all, sites;
    sow_adapter *a;
    OK(sow_lm_sites(arena, lm, &all));
    OK(sow_choose_sites(arena, &all, "q_proj,v_proj,down_proj", &sites));
    OK(sow_adapter_make(SOW_START_LORA, &sites, 4, 8, 1, &a));
    return a;
}

static void an_adapter_learns_on_a_frozen_base(void **state) {
    sow_texts *texts = some_texts("adapter.jsonl", 32);
    sow_lm *lm = tiny_model(3);
    sow_state *before;
    sow_adapter *a = make_adapter(lm);
    sow_training t = training_of(30);
    OK(sow_state_clone(lm->state, false, &before));
    t.optimizer = (sow_optimizer_config){.kind = SOW_ADAMW, .rate = 0.02};
    run(&t, &(sow_tuning){.lm = lm, .adapter = a, .train = texts, .validation = texts, .batch = 2, .parts = 2});
    assert_int_equal(t.evaluations, 2);
    if (!(t.curve[1].validation_loss < 0.7 * t.curve[0].validation_loss))
        fail_msg("the loss went from %g to %g", t.curve[0].validation_loss, t.curve[1].validation_loss);
    assert_true(isnan(t.curve[1].test_loss));
    assert_true(isnan(t.curve[1].validation_accuracy));
    for (int64_t i = 0; i < sow_state_count(before); i++) {
        sow_tensor was = sow_state_entry(before, i)->value, is = sow_state_entry(lm->state, i)->value;
        assert_memory_equal(was.data, is.data, sow_bytes(was));
        assert_false(sow_state_entry(lm->state, i)->trainable);
    }
    sow_state_free(before);
    sow_adapter_free(a);
    sow_lm_free(lm);
    sow_texts_free(texts);
}

static void a_resumed_tuning_ends_with_the_same_bits(void **state) {
    sow_texts *texts = some_texts("resume.jsonl", 32);
    sow_state *states[2];
    for (int cut = 0; cut < 2; cut++) {
        sow_lm *lm = tiny_model(3);
        sow_adapter *a = make_adapter(lm);
        sow_tuning tuning = {.lm = lm, .adapter = a, .train = texts, .batch = 1, .parts = 2, .seed = 9};
        sow_training t = training_of(7);
        t.optimizer.kind = SOW_ADAMW;
        if (cut) {
            OK(sow_make_folder(in_folder("run")));
            t.folder = in_folder("run");
            t.stop_after = 3;
            run(&t, &tuning);
            sow_adapter_free(a);
            tuning.adapter = a = make_adapter(lm);
            t = training_of(7);
            t.optimizer.kind = SOW_ADAMW;
            t.folder = in_folder("run");
            t.resume = true;
        }
        run(&t, &tuning);
        OK(sow_state_clone(a->state, false, &states[cut]));
        sow_adapter_free(a);
        sow_lm_free(lm);
    }
    for (int64_t i = 0; i < sow_state_count(states[0]); i++) {
        sow_tensor a = sow_state_entry(states[0], i)->value, b = sow_state_entry(states[1], i)->value;
        assert_memory_equal(a.data, b.data, sow_bytes(a));
    }
    sow_state_free(states[0]);
    sow_state_free(states[1]);
    sow_texts_free(texts);
}

static void a_checkpoint_of_another_start_is_refused(void **state) {
    sow_texts *texts = some_texts("other.jsonl", 32);
    sow_lm *lm = tiny_model(3);
    sow_lm_task *task;
    OK(sow_make_folder(in_folder("other")));
    for (int other = 0; other < 2; other++) {
        sow_adapter *a = make_adapter(lm);
        sow_training t = training_of(4);
        t.folder = in_folder("other");
        t.stop_after = other ? 0 : 2;
        t.resume = other;
        if (other) a->layers[0].scale *= 2;
        OK(sow_lm_task_new(&(sow_tuning){.lm = lm, .adapter = a, .train = texts, .batch = 1}, &task));
        if (other) FAILS(sow_train_task(arena, &t, sow_lm_task_of(task)), SOW_E_FORMAT, "checkpoint");
        else OK(sow_train_task(arena, &t, sow_lm_task_of(task)));
        sow_lm_task_free(task);
        sow_adapter_free(a);
    }
    sow_lm_free(lm);
    sow_texts_free(texts);
}

static void texts_that_do_not_fit_are_refused(void **state) {
    sow_lm *lm = tiny_model(3);
    sow_lm_task *task;
    sow_texts *texts = some_texts("fit.jsonl", 32), *longer;
    char line[200];
    snprintf(line, sizeof line, "{\"text\":\"%040d\"}\n{\"text\":\"%040d\"}\n", 1, 2);
    OK(sow_write_file(in_folder("long.jsonl"), line, strlen(line)));
    OK(sow_texts_open(in_folder("long.jsonl"), &(sow_texts_options){.end = -1}, tokenizer, &longer));
    FAILS(sow_lm_task_new(&(sow_tuning){.lm = lm, .train = longer, .batch = 1}, &task), SOW_E_RANGE,
          "positions for 32");
    FAILS(sow_lm_task_new(&(sow_tuning){.lm = lm, .train = texts, .batch = 5}, &task), SOW_E_RANGE,
          "batches of 5 from 4");
    FAILS(sow_lm_task_new(&(sow_tuning){.lm = lm, .train = texts, .batch = 2, .parts = 3}, &task), SOW_E_RANGE,
          "a step takes 3 batches of 2");
    lm->config.vocabulary = 100;
    FAILS(sow_lm_task_new(&(sow_tuning){.lm = lm, .train = texts, .batch = 1}, &task), SOW_E_RANGE,
          "another tokenizer");
    lm->config.vocabulary = VOCABULARY;
    OK(sow_lm_task_new(&(sow_tuning){.lm = lm, .train = texts, .batch = 1, .parts = 3}, &task));
    assert_int_equal(sow_lm_task_epoch(task), 1);
    sow_lm_task_free(task);
    sow_texts_free(longer);
    sow_texts_free(texts);
    sow_lm_free(lm);
}

static int set_up(void **state) {
    if (sow_arena_new(&arena) != SOW_OK || make_test_folder() != 0) return -1;
    return sow_tokenizer_open(write_tokenizer(), &tokenizer) == SOW_OK ? 0 : -1;
}

static int tear_down(void **state) {
    sow_tokenizer_free(tokenizer);
    sow_arena_free(arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_of_zeros_knows_nothing),
        cmocka_unit_test(a_step_is_the_mean_over_its_tokens_however_it_is_cut),
        cmocka_unit_test(an_adapter_learns_on_a_frozen_base),
        cmocka_unit_test(a_resumed_tuning_ends_with_the_same_bits),
        cmocka_unit_test(a_checkpoint_of_another_start_is_refused),
        cmocka_unit_test(texts_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
