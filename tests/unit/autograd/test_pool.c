/* Pooling: worked values, gradients, bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "autograd/gradients.h"

typedef struct variant {
    const char *x;
    enum { MAXIMUM, AVERAGE, WHOLE } kind;
    int64_t size, stride, padding;
} variant;

static sow_var pool(sow_tape *t, sow_state *s, const void *user) {
    const variant *v = user;
    sow_var x = sow_parameter(t, sow_state_find(s, "x"));
    if (v->kind == WHOLE) return sow_add(t, sow_global_avg_pool2d(t, x), sow_scale(t, sow_global_avg_pool2d(t, x), 2, 0));
    sow_var y = (v->kind == MAXIMUM ? sow_max_pool2d : sow_avg_pool2d)(t, x, v->size, v->stride, v->padding);
    return sow_add(t, y, sow_square(t, y));
}

static void test_gradients(void **state) {
    static const variant variants[] = {
        {"x:2,3,4,6", MAXIMUM, 2, 2, 0}, {"x:2,3,5,7", MAXIMUM, 2, 2, 0}, {"x:1,70,5,5", MAXIMUM, 3, 2, 1}, {"x:3,2,6,6", MAXIMUM, 3, 1, 1},
        {"x:2,3,4,6", AVERAGE, 2, 2, 0}, {"x:1,67,5,5", AVERAGE, 3, 2, 1}, {"x:2,2,5,4", AVERAGE, 3, 1, 1},
        {"x:2,3,4,5", WHOLE, 0, 0, 0}, {"x:3,65,9,9", WHOLE, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        char what[64];
        const variant *v = &variants[i];
        snprintf(what, sizeof what, "pool %d of %s, size %d, stride %d, padding %d", v->kind, v->x, (int)v->size, (int)v->stride, (int)v->padding);
        sow_state *s = state_of(&v->x, 1);
        check_operator(what, pool, v, s, true, 1e-5);
        sow_state_free(s);
    }
}

/* y of a 1 x 1 x 3 x 3 image. */
static void check_values(sow_var (*operator)(sow_tape *, sow_var, int64_t, int64_t, int64_t), const float *x, int64_t size, int64_t stride,
                         int64_t padding, const double *expected, int count) {
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    sow_var y = operator(t, sow_constant(t, SOW_TENSOR((void *)(uintptr_t)x, SOW_F32, 1, 1, 3, 3)), size, stride, padding);
    assert_int_equal(sow_tape_status(t), SOW_OK);
    assert_int_equal(sow_count(sow_value(y)), count);
    for (int i = 0; i < count; i++) assert_float_equal(sow_at(sow_value(y), i), expected[i], 1e-6);
    sow_tape_free(t);
}

static void test_worked_values(void **state) {
    const float x[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, negative[] = {-1, -2, -3, -4, -5, -6, -7, -8, -9};
    check_values(sow_max_pool2d, x, 2, 1, 0, (double[]){5, 6, 8, 9}, 4);
    check_values(sow_max_pool2d, x, 2, 2, 0, (double[]){5}, 1);
    check_values(sow_max_pool2d, negative, 3, 2, 1, (double[]){-1, -2, -4, -5}, 4); /* padding is not a zero */
    check_values(sow_avg_pool2d, x, 2, 1, 0, (double[]){3, 4, 6, 7}, 4);
    check_values(sow_avg_pool2d, x, 3, 2, 1, (double[]){3, 4, 6, 7}, 4); /* padding is not counted */
}

static void test_the_first_of_equal_maxima_gets_the_gradient(void **state) {
    sow_state *s = state_of((const char *[]){"x:1,1,2,2"}, 1);
    sow_entry *x = sow_state_find(s, "x");
    sow_fill(x->value, 3);
    assert_int_equal(sow_state_add_gradients(s), SOW_OK);
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    assert_int_equal(sow_tape_backward(t, sow_sum(t, sow_max_pool2d(t, sow_parameter(t, x), 2, 2, 0))), SOW_OK);
    for (int i = 0; i < 4; i++) assert_float_equal(sow_at(x->grad, i), i == 0, 0);
    sow_tape_free(t);
    sow_state_free(s);
}

static void test_nan_stays_visible(void **state) {
    const float x[] = {NAN, 2, 3, 4, 5, 6, 7, 8, 9};
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    sow_var y = sow_max_pool2d(t, sow_constant(t, SOW_TENSOR((void *)(uintptr_t)x, SOW_F32, 1, 1, 3, 3)), 2, 1, 0);
    assert_true(isnan(sow_at(sow_value(y), 0)));
    assert_float_equal(sow_at(sow_value(y), 1), 6, 0);
    sow_tape_free(t);
}

static void refuse(const char *x, int64_t size, int64_t stride, int64_t padding, const char *expected) {
    sow_state *s = state_of(&x, 1);
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    assert_null(sow_max_pool2d(t, sow_parameter(t, sow_state_find(s, "x")), size, stride, padding));
    assert_int_not_equal(sow_tape_status(t), SOW_OK);
    if (!strstr(sow_message(), expected)) fail_msg("'%s' does not say '%s'", sow_message(), expected);
    sow_tape_free(t);
    sow_state_free(s);
}

static void test_misfits_are_refused(void **state) {
    refuse("x:2,3,1,5", 2, 2, 0, "[2, 3, 1, 5] is smaller than the window of 2");
    refuse("x:2,3,5", 2, 2, 0, "expected [N, C, H, W]");
    refuse("x:2,3,5,5", 2, 0, 0, "stride 0");
    refuse("x:2,3,5,5", 2, 2, 2, "padding 2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_worked_values),
        cmocka_unit_test(test_the_first_of_equal_maxima_gets_the_gradient),
        cmocka_unit_test(test_nan_stays_visible),
        cmocka_unit_test(test_misfits_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
