/* Batch norm and layer norm: worked values, running statistics, gradients, bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "autograd/gradients.h"
#include "sow/threads.h"

typedef struct variant {
    bool relu, skip, skip_is_input;
} variant;

static sow_var parameter(sow_tape *t, sow_state *s, const char *name) {
    return sow_parameter(t, sow_state_find(s, name));
}

static sow_var normalise(sow_tape *t, sow_state *s, const void *user) {
    const variant *v = user;
    sow_var x = parameter(t, s, "x");
    sow_var skip = v->skip_is_input ? x : v->skip ? parameter(t, s, "skip") : NULL;
    return sow_batch_norm(t, x, parameter(t, s, "gamma"), parameter(t, s, "beta"), skip, sow_state_find(s, "mean"),
                          sow_state_find(s, "variance"), NULL, (sow_norm){.relu = v->relu});
}

static void check(const char *x, const char *skip, const char *channels, bool training) {
    static const variant variants[] = {{0}, {.relu = true}, {.skip = true}, {.relu = true, .skip = true}, {.relu = true, .skip_is_input = true}};
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        char gamma[32] = "gamma:", beta[32] = "beta:", mean[32] = "mean=", variance[32] = "variance=";
        strcat(gamma, channels), strcat(beta, channels), strcat(mean, channels), strcat(variance, channels);
        sow_state *s = state_of((const char *[]){x, gamma, beta, mean, variance, skip}, variants[i].skip ? 6 : 5);
        sow_tensor v = sow_state_find(s, "variance")->value;
        for (int64_t c = 0; c < sow_count(v); c++) sow_put(v, c, 1 + fabs(sow_at(v, c)));
        check_operator("batch_norm", normalise, &variants[i], s, training, 2e-5);
        sow_state_free(s);
    }
}

static void test_gradients_of_batch_norm_while_training(void **state) {
    check("x:3,4,3,2", "skip:3,4,3,2", "4", true);
    check("x:2,19,3,3", "skip:2,19,3,3", "19", true); /* a tile of 16 channels and 3 more */
    check("x:7,5", "skip:7,5", "5", true);
}

static void test_gradients_of_batch_norm_in_evaluation(void **state) {
    check("x:2,17,2,3", "skip:2,17,2,3", "17", false);
    check("x:1,3", "skip:1,3", "3", false);
}

static void test_bits_do_not_depend_on_threads_over_many_cells(void **state) {
    sow_state *s = state_of((const char *[]){"x:40,16,16,16", "gamma:16", "beta:16", "mean=16", "variance=16"}, 5);
    char one[65], other[65];
    variant v = {.relu = true, .skip_is_input = true};
    fingerprint(normalise, &v, s, true, 1, one);
    for (int threads = 2; threads <= 4; threads++) {
        fingerprint(normalise, &v, s, true, threads, other);
        assert_string_equal(one, other);
    }
    sow_state_free(s);
}

/* Statistics of one channel of f32 values over [count, 1]; returns y of the first value. */
static double run_channel(const float *x, int64_t count, sow_entry *mean, sow_entry *variance, sow_entry *batches, bool training) {
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    sow_tape_train(t, training);
    float one = 1, zero = 0;
    sow_var y = sow_batch_norm(t, sow_constant(t, SOW_TENSOR((void *)(uintptr_t)x, SOW_F32, count, 1)), sow_constant(t, SOW_TENSOR(&one, SOW_F32, 1)),
                               sow_constant(t, SOW_TENSOR(&zero, SOW_F32, 1)), NULL, mean, variance, batches, (sow_norm){0});
    if (sow_tape_status(t) != SOW_OK) fail_msg("%s", sow_message());
    double first = sow_at(sow_value(y), 0);
    sow_tape_free(t);
    return first;
}

static sow_state *running(sow_entry **mean, sow_entry **variance, sow_entry **batches) {
    sow_state *s;
    const int64_t one[] = {1};
    assert_int_equal(sow_state_new(&s), SOW_OK);
    assert_int_equal(sow_state_add(s, "running_mean", SOW_F32, 1, one, mean), SOW_OK);
    assert_int_equal(sow_state_add(s, "running_var", SOW_F32, 1, one, variance), SOW_OK);
    assert_int_equal(sow_state_add(s, "num_batches_tracked", SOW_I64, 0, NULL, batches), SOW_OK);
    sow_fill((*variance)->value, 1);
    return s;
}

static void test_running_statistics_take_the_unbiased_variance(void **state) {
    sow_entry *mean, *variance, *batches;
    sow_state *s = running(&mean, &variance, &batches);
    const float x[] = {1, 2, 3, 6}; /* mean 3, biased variance 3.5, unbiased 14/3 */
    assert_float_equal(run_channel(x, 4, mean, variance, batches, true), -2 / sqrt(3.5 + 1e-5), 1e-6);
    assert_float_equal(sow_at(mean->value, 0), 0.3, 1e-7);
    assert_float_equal(sow_at(variance->value, 0), 0.9 + 0.1 * 14 / 3, 1e-6);
    assert_int_equal((int64_t)sow_at(batches->value, 0), 1);
    /* evaluation uses them and leaves them */
    assert_float_equal(run_channel(x, 4, mean, variance, batches, false), (1 - 0.3) / sqrt(0.9 + 1.4 / 3 + 1e-5), 1e-6);
    assert_float_equal(sow_at(mean->value, 0), 0.3, 1e-7);
    assert_int_equal((int64_t)sow_at(batches->value, 0), 1);
    sow_state_free(s);
}

static void test_a_large_mean_does_not_spoil_the_variance(void **state) {
    sow_entry *mean, *variance, *batches;
    sow_state *s = running(&mean, &variance, &batches);
    enum { COUNT = 20000 };
    float *x = malloc(COUNT * sizeof *x);
    assert_non_null(x);
    for (int i = 0; i < COUNT; i++) x[i] = 30000 + (i % 2 ? 1.0f : -1.0f); /* sd 1 around 30000 */
    assert_float_equal(run_channel(x, COUNT, mean, variance, batches, true), -1, 1e-4);
    free(x);
    sow_state_free(s);
}

static void test_one_value_a_channel_cannot_train(void **state) {
    sow_state *s = state_of((const char *[]){"x:1,3", "gamma:3", "beta:3"}, 3);
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    sow_tape_train(t, true);
    assert_null(normalise(t, s, &(variant){0}));
    assert_int_equal(sow_tape_status(t), SOW_E_SHAPE);
    assert_non_null(strstr(sow_message(), "more than one value a channel"));
    sow_tape_free(t);
    sow_state_free(s);
}

static void test_misfits_are_refused(void **state) {
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    sow_state *s = state_of((const char *[]){"x:2,3,4,4", "gamma:4", "beta:3"}, 3);
    assert_null(normalise(t, s, &(variant){0}));
    assert_int_equal(sow_tape_status(t), SOW_E_SHAPE);
    assert_non_null(strstr(sow_message(), "[2, 3, 4, 4]"));
    sow_state_free(s);
    sow_tape_free(t);
}

static sow_var layer_normalise(sow_tape *t, sow_state *s, const void *user) {
    return sow_layer_norm(t, parameter(t, s, "x"), sow_state_find(s, "gamma") ? parameter(t, s, "gamma") : NULL,
                          sow_state_find(s, "beta") ? parameter(t, s, "beta") : NULL, 0);
}

static void test_gradients_of_layer_norm(void **state) {
    static const char *const with[] = {"x:5,7", "gamma:7", "beta:7"}, *const wide[] = {"x:2,3,35", "gamma:35", "beta:35"};
    static const char *const without[] = {"x:4,16"}, *const scale_only[] = {"x:4,33", "gamma:33"}, *const many[] = {"x:900,40", "gamma:40", "beta:40"};
    sow_state *s[] = {state_of(with, 3), state_of(wide, 3), state_of(without, 1), state_of(scale_only, 2), state_of(many, 3)};
    for (int i = 0; i < 5; i++) {
        check_operator("layer_norm", layer_normalise, NULL, s[i], true, 2e-5);
        sow_state_free(s[i]);
    }
}

static void test_layer_norm_gives_each_row_mean_0_and_variance_1(void **state) {
    float x[] = {1, 2, 3, 6, 100, 200, 300, 600};
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    sow_var y = sow_layer_norm(t, sow_constant(t, SOW_TENSOR(x, SOW_F32, 2, 4)), NULL, NULL, 1e-12);
    for (int i = 0; i < 8; i++) assert_float_equal(sow_at(sow_value(y), i), (x[i % 4] - 3) / sqrt(3.5), 1e-6);
    sow_tape_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_of_batch_norm_while_training),
        cmocka_unit_test(test_gradients_of_batch_norm_in_evaluation),
        cmocka_unit_test(test_bits_do_not_depend_on_threads_over_many_cells),
        cmocka_unit_test(test_running_statistics_take_the_unbiased_variance),
        cmocka_unit_test(test_a_large_mean_does_not_spoil_the_variance),
        cmocka_unit_test(test_one_value_a_channel_cannot_train),
        cmocka_unit_test(test_misfits_are_refused),
        cmocka_unit_test(test_gradients_of_layer_norm),
        cmocka_unit_test(test_layer_norm_gives_each_row_mean_0_and_variance_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
