/* Convolution: values, gradients, bits, and what oneDNN runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "autograd/gradients.h"
#include "autograd/primitive.h"
#include "sow/threads.h"

typedef struct variant {
    const char *x, *w, *b; /* shapes; b NULL: none */
    sow_conv conv;
    bool twice;            /* the same input convolved twice: gradients add up */
} variant;

static sow_var convolve(sow_tape *t, sow_state *s, const void *user) {
    const variant *v = user;
    sow_var x = sow_parameter(t, sow_state_find(s, "x")), w = sow_parameter(t, sow_state_find(s, "w"));
    sow_var b = v->b ? sow_parameter(t, sow_state_find(s, "b")) : NULL;
    if (!v->twice) return sow_conv2d(t, x, w, b, v->conv);
    x = sow_avg_pool2d(t, x, 1, 1, 0); /* x itself, channels last: both convolutions add to one gradient */
    return sow_add(t, sow_conv2d(t, x, w, b, v->conv), sow_scale(t, sow_conv2d(t, x, w, b, v->conv), 2, 0));
}

static void check(const variant *v) {
    char what[128];
    snprintf(what, sizeof what, "conv2d %s * %s, stride %d, padding %d, dilation %d, groups %d", v->x, v->w, (int)v->conv.stride,
             (int)v->conv.padding, (int)v->conv.dilation, (int)v->conv.groups);
    sow_state *s = state_of((const char *[]){v->x, v->w, v->b}, v->b ? 3 : 2);
    check_operator(what, convolve, v, s, true, 2e-5);
    sow_state_free(s);
}

static void test_every_stride_padding_dilation_and_group(void **state) {
    static const variant variants[] = {
        {"x:2,3,5,7", "w:4,3,3,3", "b:4", {.padding = 1}},
        {"x:2,3,6,6", "w:5,3,3,3", NULL, {.stride = 2, .padding = 1}},  /* even size: no padding is used on the right */
        {"x:1,1,4,4", "w:1,1,1,1", "b:1", {0}},
        {"x:3,4,5,5", "w:8,4,1,1", NULL, {.stride = 2}},
        {"x:2,2,9,8", "w:3,2,3,2", "b:3", {.dilation = 2, .padding = 2}},
        {"x:2,6,5,5", "w:4,3,3,3", "b:4", {.groups = 2, .padding = 1}},
        {"x:2,8,6,5", "w:8,1,3,3", NULL, {.groups = 8, .padding = 1, .stride = 2}},
        {"x:2,4,4,4", "w:8,1,3,3", "b:8", {.groups = 4, .padding = 1}},
        {"x:1,2,3,3", "w:3,2,3,3", NULL, {0}},
        {"x:2,3,4,5", "w:2,3,4,5", "b:2", {.padding = 3, .stride = 3}},
        {"x:19,3,5,4", "w:4,3,3,3", "b:4", {.padding = 1}},              /* cells of 7, 6 and 6 images */
        {"x:4,1,28,28", "w:6,1,5,5", "b:6", {.padding = 2}},
    };
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) check(&variants[i]);
}

static void test_gradients_of_a_shared_input_and_weight_add_up(void **state) {
    check(&(variant){"x:3,8,5,5", "w:8,8,3,3", "b:8", {.padding = 1}, true});
    check(&(variant){"x:17,4,4,4", "w:8,4,1,1", NULL, {.stride = 2}, true});
}

static void test_a_worked_example(void **state) {
    /* [1 2; 3 4] under [1 0; 0 -1] with padding 1, bias 10 */
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    for (int type = 0; type < 2; type++) {
        float x[] = {1, 2, 3, 4}, w[] = {1, 0, 0, -1}, b[] = {10};
        double xd[] = {1, 2, 3, 4}, wd[] = {1, 0, 0, -1}, bd[] = {10};
        sow_dtype dtype = type ? SOW_F64 : SOW_F32;
        sow_var y = sow_conv2d(t, sow_constant(t, SOW_TENSOR(type ? (void *)xd : x, dtype, 1, 1, 2, 2)),
                               sow_constant(t, SOW_TENSOR(type ? (void *)wd : w, dtype, 1, 1, 2, 2)),
                               sow_constant(t, SOW_TENSOR(type ? (void *)bd : b, dtype, 1)), (sow_conv){.padding = 1});
        const double expected[] = {9, 8, 10, 7, 7, 12, 10, 13, 14};
        assert_int_equal(sow_tape_status(t), SOW_OK);
        for (int i = 0; i < 9; i++) assert_float_equal(sow_at(sow_value(y), i), expected[i], 0);
    }
    sow_tape_free(t);
}

static void test_hot_shapes_run_no_reference_code(void **state) {
    static const variant hot[] = {
        {"x:128,3,32,32", "w:16,3,3,3", NULL, {.padding = 1}},
        {"x:128,16,32,32", "w:16,16,3,3", NULL, {.padding = 1}},
        {"x:128,16,32,32", "w:32,16,3,3", NULL, {.padding = 1, .stride = 2}},
        {"x:128,16,32,32", "w:32,16,1,1", NULL, {.stride = 2}},
        {"x:128,64,8,8", "w:64,64,3,3", NULL, {.padding = 1}},
        {"x:60,1,28,28", "w:64,1,3,3", "b:64", {.padding = 1}},
        {"x:64,512,2,2", "w:512,512,3,3", "b:512", {.padding = 1}},
    };
    for (size_t i = 0; i < sizeof hot / sizeof *hot; i++) {
        char hex[65];
        const char *name;
        sow_state *s = state_of((const char *[]){hot[i].x, hot[i].w, hot[i].b}, hot[i].b ? 3 : 2);
        fingerprint(convolve, &hot[i], s, true, 2, hex);
        sow_state_free(s);
        if (sow_reference_primitives(&name) != 0) fail_msg("%s * %s runs %s", hot[i].x, hot[i].w, name);
    }
}

static void test_bits_of_large_shapes_do_not_depend_on_threads(void **state) {
    static const variant large[] = {
        {"x:33,16,16,16", "w:24,16,3,3", "b:24", {.padding = 1}},
        {"x:64,32,8,8", "w:64,32,3,3", NULL, {.padding = 1, .stride = 2}},
        {"x:12,64,16,16", "w:64,1,3,3", NULL, {.padding = 1, .groups = 64}},
    };
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        char one[65], other[65];
        sow_state *s = state_of((const char *[]){large[i].x, large[i].w, large[i].b}, large[i].b ? 3 : 2);
        fingerprint(convolve, &large[i], s, true, 1, one);
        for (int threads = 2; threads <= 4; threads += 2) {
            fingerprint(convolve, &large[i], s, true, threads, other);
            assert_string_equal(one, other);
        }
        sow_state_free(s);
    }
}

static void test_a_constant_input_gets_no_gradient(void **state) {
    sow_state *s = state_of((const char *[]){"x=2,3,5,5", "w:4,3,3,3"}, 2);
    check_operator("conv2d of a constant", convolve, &(variant){"x=2,3,5,5", "w:4,3,3,3", NULL, {.padding = 1}}, s, true, 2e-5);
    sow_state_free(s);
}

static void refuse(const char *x, const char *w, const char *b, sow_conv conv, const char *expected) {
    sow_state *s = state_of((const char *[]){x, w, b}, b ? 3 : 2);
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    assert_null(convolve(t, s, &(variant){x, w, b, conv}));
    assert_int_not_equal(sow_tape_status(t), SOW_OK);
    if (!strstr(sow_message(), expected)) fail_msg("'%s' does not say '%s'", sow_message(), expected);
    sow_tape_free(t);
    sow_state_free(s);
}

static void test_misfits_are_refused_with_both_shapes(void **state) {
    refuse("x:2,3,5,5", "w:4,2,3,3", NULL, (sow_conv){0}, "input is [2, 3, 5, 5], weight is [4, 2, 3, 3]");
    refuse("x:2,3,5,5", "w:4,3,3,3", "b:3", (sow_conv){0}, "bias has 3 elements");
    refuse("x:2,3,5", "w:4,3,3,3", NULL, (sow_conv){0}, "four dimensions");
    refuse("x:2,3,2,5", "w:4,3,3,3", NULL, (sow_conv){0}, "too small");
    refuse("x:2,4,5,5", "w:4,2,3,3", NULL, (sow_conv){.groups = 3}, "groups 3");
    refuse("x:2,4,5,5", "w:4,4,3,3", NULL, (sow_conv){.stride = -1}, "stride -1");
}

static void test_plans_are_evicted_when_shapes_keep_changing(void **state) {
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    static float x[2 * 700], w[1] = {2};
    for (int i = 0; i < 2 * 700; i++) x[i] = (float)i;
    for (int width = 1; width <= 2 * SOW_PLANS_MAX && width < 700; width++) {
        sow_tape_reset(t);
        sow_var y = sow_conv2d(t, sow_constant(t, SOW_TENSOR(x, SOW_F32, 1, 1, 2, width)), sow_constant(t, SOW_TENSOR(w, SOW_F32, 1, 1, 1, 1)), NULL, (sow_conv){0});
        assert_int_equal(sow_tape_status(t), SOW_OK);
        assert_float_equal(sow_at(sow_value(y), 2 * width - 1), 2 * (2 * width - 1), 0);
    }
    sow_tape_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_worked_example),
        cmocka_unit_test(test_every_stride_padding_dilation_and_group),
        cmocka_unit_test(test_gradients_of_a_shared_input_and_weight_add_up),
        cmocka_unit_test(test_a_constant_input_gets_no_gradient),
        cmocka_unit_test(test_hot_shapes_run_no_reference_code),
        cmocka_unit_test(test_bits_of_large_shapes_do_not_depend_on_threads),
        cmocka_unit_test(test_misfits_are_refused_with_both_shapes),
        cmocka_unit_test(test_plans_are_evicted_when_shapes_keep_changing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
