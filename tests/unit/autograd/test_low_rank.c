/* Low-rank updates: worked numbers, gradients, the same as three products. */
#include "check.h"

#include <math.h>

#include "autograd/gradients.h"

static sow_var parameter(sow_tape *t, sow_state *s, const char *name) {
    return sow_parameter(t, sow_state_find(s, name));
}

static sow_var plain(sow_tape *t, sow_state *s, const void *user) {
    return sow_low_rank(t, parameter(t, s, "x"), parameter(t, s, "y"), parameter(t, s, "a"), NULL, parameter(t, s, "b"),
                        0.5);
}

static sow_var with_core(sow_tape *t, sow_state *s, const void *user) {
    return sow_low_rank(t, parameter(t, s, "x"), parameter(t, s, "y"), parameter(t, s, "a"), parameter(t, s, "r"),
                        parameter(t, s, "b"), 2);
}

/* x is used twice, so that its gradient is added to what was there. */
static sow_var beside_a_layer(sow_tape *t, sow_state *s, const void *user) {
    sow_var x = parameter(t, s, "x");
    return sow_low_rank(t, x, sow_linear(t, x, parameter(t, s, "w"), NULL), parameter(t, s, "a"), NULL,
                        parameter(t, s, "b"), 0.5);
}

static void gradients_are_right(void **state) {
    sow_state *s = state_of((const char *[]){"x:7,9", "y:7,11", "a:3,9", "b:11,3"}, 4);
    check_operator("low rank", plain, NULL, s, false, 1e-5);
    sow_state_free(s);
    s = state_of((const char *[]){"x:2,5,9", "y:2,5,11", "a:3,9", "r:3,3", "b:11,3"}, 5);
    check_operator("low rank with a core", with_core, NULL, s, false, 1e-5);
    sow_state_free(s);
    s = state_of((const char *[]){"x:7,9", "w:11,9", "a:3,9", "b:11,3"}, 4);
    check_operator("low rank beside a layer", beside_a_layer, NULL, s, false, 1e-5);
    sow_state_free(s);
}

/* x = (1, 2), A = (3, 1), R = 2, B = (1, -1): A x = 5, R A x = 10, scale .5: y + (5, -5). */
static void a_worked_example(void **state) {
    sow_tape *t;
    OK(sow_tape_new(&t));
    double x[] = {1, 2}, y[] = {10, 20}, a[] = {3, 1}, r[] = {2}, b[] = {1, -1};
    sow_var out = sow_low_rank(
        t, sow_constant(t, SOW_TENSOR(x, SOW_F64, 1, 2)), sow_constant(t, SOW_TENSOR(y, SOW_F64, 1, 2)),
        sow_constant(t, SOW_TENSOR(a, SOW_F64, 1, 2)), sow_constant(t, SOW_TENSOR(r, SOW_F64, 1, 1)),
        sow_constant(t, SOW_TENSOR(b, SOW_F64, 2, 1)), 0.5);
    OK(sow_tape_status(t));
    assert_near(sow_at(sow_value(out), 0), 15, 0);
    assert_near(sow_at(sow_value(out), 1), 15, 0);
    /* rows of W + 2 B A for W = 1: (1 + 6, 1 + 2), (1 - 6, 1 - 2) */
    double w[] = {1, 1, 1, 1};
    sow_var n = sow_inverse_row_norms(t, sow_constant(t, SOW_TENSOR(w, SOW_F64, 2, 2)),
                                      sow_constant(t, SOW_TENSOR(a, SOW_F64, 1, 2)),
                                      sow_constant(t, SOW_TENSOR(b, SOW_F64, 2, 1)), 2);
    OK(sow_tape_status(t));
    assert_near(sow_at(sow_value(n), 0), 1 / sqrt(58), 1e-15);
    assert_near(sow_at(sow_value(n), 1), 1 / sqrt(26), 1e-15);
    sow_tape_free(t);
}

static void shapes_that_do_not_fit_are_named(void **state) {
    sow_tape *t;
    OK(sow_tape_new(&t));
    double data[64] = {0};
    sow_var x = sow_constant(t, SOW_TENSOR(data, SOW_F64, 2, 3)), y = sow_constant(t, SOW_TENSOR(data, SOW_F64, 2, 4));
    sow_low_rank(t, x, y, sow_constant(t, SOW_TENSOR(data, SOW_F64, 2, 4)), NULL,
                 sow_constant(t, SOW_TENSOR(data, SOW_F64, 4, 2)), 1);
    FAILS(sow_tape_status(t), SOW_E_SHAPE, "A is [2, 4]");
    sow_tape_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_right),
        cmocka_unit_test(a_worked_example),
        cmocka_unit_test(shapes_that_do_not_fit_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
