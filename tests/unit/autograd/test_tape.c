/* The tape and its dense operators: gradients against central differences in f64, f32 against f64. */
#include "check.h"

#include <math.h>

/* A function of a state whose gradient is checked; `real` is the dtype that the state was declared with. */
typedef struct function {
    const char *name;
    sow_var (*call)(sow_tape *t, sow_state *s, sow_dtype real);
} function;

/* The parameter `name` of that shape, declared on the first call with values of mixed sign. */
static sow_var given(sow_tape *t, sow_state *s, sow_dtype real, const char *name, int rank, const int64_t *shape) {
    sow_entry *e = sow_state_find(s, name);
    if (!e) {
        OK(sow_state_add(s, name, real, rank, shape, &e));
        for (int64_t i = 0; i < sow_count(e->value); i++) sow_put(e->value, i, sin(1.7 * (double)i + (double)name[0]) * 0.8);
        e->trainable = true;
    }
    return sow_parameter(t, e);
}
#define GIVEN(name, ...) given(t, s, real, name, (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__})

/* A scalar that weighs every element differently, so that no error cancels. */
static sow_var weighed(sow_tape *t, sow_var y) {
    return sow_add(t, sow_mean(t, sow_mul(t, y, sow_tanh(t, y))), sow_scale(t, sow_sum(t, sow_square(t, y)), 0.25, 1));
}

static sow_var linear(sow_tape *t, sow_state *s, sow_dtype real) {
    return weighed(t, sow_linear(t, GIVEN("x", 2, 3, 4), GIVEN("w", 5, 4), GIVEN("b", 5)));
}
static sow_var linear_without_bias(sow_tape *t, sow_state *s, sow_dtype real) {
    return weighed(t, sow_linear(t, GIVEN("x", 7, 4), GIVEN("w", 5, 4), NULL));
}
static sow_var matmul_batched(sow_tape *t, sow_state *s, sow_dtype real) {
    return weighed(t, sow_matmul(t, GIVEN("a", 3, 2, 4, 5), GIVEN("b", 3, 2, 5, 3)));
}
static sow_var matmul_of_views(sow_tape *t, sow_state *s, sow_dtype real) {
    sow_var a = sow_permuted(t, GIVEN("a", 2, 5, 4), (int[]){0, 2, 1}), b = sow_permuted(t, GIVEN("b", 3, 2, 5), (int[]){1, 2, 0});
    return weighed(t, sow_matmul(t, a, b));
}
static sow_var reused_twice(sow_tape *t, sow_state *s, sow_dtype real) {
    sow_var w = GIVEN("w", 4, 4), x = GIVEN("x", 3, 4);
    return weighed(t, sow_linear(t, sow_linear(t, x, w, NULL), w, NULL));
}
static sow_var sums_and_products(sow_tape *t, sow_state *s, sow_dtype real) {
    sow_var a = GIVEN("a", 3, 4), b = GIVEN("b", 3, 4), c = GIVEN("c", 4);
    return weighed(t, sow_sub(t, sow_mul(t, sow_add(t, a, c), b), sow_mul(t, a, c)));
}
static sow_var broadcast_difference(sow_tape *t, sow_state *s, sow_dtype real) {
    return weighed(t, sow_sub(t, GIVEN("a", 2, 3, 4), GIVEN("c", 3, 4)));
}
static sow_var activations(sow_tape *t, sow_state *s, sow_dtype real) {
    sow_var x = GIVEN("x", 31);
    sow_var a = sow_add(t, sow_gelu(t, x, false), sow_gelu(t, x, true)), b = sow_add(t, sow_sigmoid(t, x), sow_exp(t, x));
    return weighed(t, sow_add(t, sow_mul(t, a, b), sow_log_of(t, sow_scale(t, sow_square(t, x), 1, 0.5))));
}
static sow_var rectified(sow_tape *t, sow_state *s, sow_dtype real) {
    return weighed(t, sow_relu(t, GIVEN("x", 5, 7)));
}
static sow_var reshaped(sow_tape *t, sow_state *s, sow_dtype real) {
    sow_var x = GIVEN("x", 2, 3, 4), turned = sow_permuted(t, x, (int[]){1, 0, 2});
    return weighed(t, sow_add(t, sow_reshaped(t, x, 2, (int64_t[]){6, -1}), sow_mul(t, sow_reshaped(t, turned, 2, (int64_t[]){6, 4}), sow_reshaped(t, sow_flatten(t, x, 0), 2, (int64_t[]){6, 4}))));
}
static sow_var joined(sow_tape *t, sow_state *s, sow_dtype real) {
    sow_var a = GIVEN("a", 2, 3, 4), b = GIVEN("b", 2, 1, 4);
    return weighed(t, sow_concat(t, (sow_var[]){sow_narrow(t, a, 1, 1, 2), b, a}, 3, 1));
}
static sow_var summed_over(sow_tape *t, sow_state *s, sow_dtype real) {
    return weighed(t, sow_sum_over(t, GIVEN("a", 2, 3, 4), 1));
}
static sow_var classified(sow_tape *t, sow_state *s, sow_dtype real) {
    static int32_t labels[6] = {0, 2, -1, 1, 2, 2};
    return sow_softmax_cross_entropy(t, sow_scale(t, GIVEN("z", 6, 3), 4, 0), SOW_TENSOR(labels, SOW_I32, 6));
}
static sow_var squared_error(sow_tape *t, sow_state *s, sow_dtype real) {
    return sow_mean_squared_error(t, GIVEN("a", 3, 5), GIVEN("b", 3, 5));
}
static sow_var recomputed(sow_tape *t, sow_state *s, sow_dtype real) {
    sow_var x = GIVEN("x", 6, 4), w = GIVEN("w", 4, 4);
    for (int i = 0; i < 3; i++) {
        sow_recompute_begin(t);
        sow_var h = sow_reshaped(t, sow_tanh(t, sow_linear(t, x, w, NULL)), 2, (int64_t[]){6, 4});
        x = sow_recompute_end(t, sow_add(t, sow_gelu(t, h, true), x));
    }
    return weighed(t, x);
}
static sow_var dropped(sow_tape *t, sow_state *s, sow_dtype real) {
    sow_tape_train(t, true);
    sow_tape_random(t, 5, 3);
    return weighed(t, sow_dropout(t, GIVEN("x", 40), 0.3));
}

static const function functions[] = {
    {"linear", linear}, {"linear without bias", linear_without_bias}, {"matmul", matmul_batched}, {"matmul of views", matmul_of_views},
    {"a weight used twice", reused_twice}, {"sums and products", sums_and_products}, {"broadcast difference", broadcast_difference},
    {"activations", activations}, {"relu", rectified}, {"reshape", reshaped}, {"concat and narrow", joined}, {"sum over", summed_over},
    {"cross entropy", classified}, {"squared error", squared_error}, {"recompute region", recomputed}, {"dropout", dropped}};

typedef struct call { const function *f; sow_dtype real; } call;

static sow_var loss_of(void *user, sow_tape *t, sow_state *s) {
    const call *c = user;
    return c->f->call(t, s, c->real);
}

static void gradients_equal_central_differences(void **state) {
    for (size_t f = 0; f < sizeof functions / sizeof *functions; f++) {
        call c = {&functions[f], SOW_F64};
        sow_tape *t;
        sow_state *s;
        double value, up, down;
        OK(sow_tape_new(&t));
        OK(sow_state_new(&s));
        loss_of(&c, t, s); /* declares */
        OK(sow_grad(t, s, loss_of, &c, &value));
        for (int64_t i = 0; i < sow_state_count(s); i++) {
            sow_entry *e = sow_state_entry(s, i);
            for (int64_t k = 0; k < sow_count(e->value); k++) {
                double w = sow_at(e->value, k), gradient = sow_at(e->grad, k), h = 1e-5;
                sow_tape_record(t, false);
                for (int side = 0; side < 2; side++) {
                    sow_put(e->value, k, side ? w - h : w + h);
                    sow_tape_reset(t);
                    *(side ? &down : &up) = sow_scalar(loss_of(&c, t, s));
                }
                sow_tape_record(t, true);
                sow_put(e->value, k, w);
                double measured = (up - down) / (2 * h);
                if (!(fabs(measured - gradient) <= 1e-7 * fmax(1, fabs(gradient)))) fail_msg("%s: d/d%s[%d] is %.10g, measured %.10g", functions[f].name, e->name, (int)k, gradient, measured);
            }
        }
        sow_tape_free(t);
        sow_state_free(s);
    }
}

static void single_precision_equals_double(void **state) {
    for (size_t f = 0; f < sizeof functions / sizeof *functions; f++) {
        call wide = {&functions[f], SOW_F64}, narrow = {&functions[f], SOW_F32};
        sow_tape *t;
        sow_state *a, *b;
        double x, y;
        OK(sow_tape_new(&t));
        OK(sow_state_new(&a));
        OK(sow_state_new(&b));
        loss_of(&wide, t, a);
        sow_tape_reset(t);
        loss_of(&narrow, t, b);
        OK(sow_grad(t, a, loss_of, &wide, &x));
        OK(sow_grad(t, b, loss_of, &narrow, &y));
        assert_near(y, x, 1e-5 * fmax(1, fabs(x)));
        for (int64_t i = 0; i < sow_state_count(a); i++) {
            sow_entry *e = sow_state_entry(a, i), *g = sow_state_entry(b, i);
            for (int64_t k = 0; k < sow_count(e->grad); k++) assert_near(sow_at(g->grad, k), sow_at(e->grad, k), 2e-5 * fmax(1, fabs(sow_at(e->grad, k))));
        }
        sow_tape_free(t);
        sow_state_free(a);
        sow_state_free(b);
    }
}

static void errors_poison_the_tape_and_name_shapes(void **state) {
    sow_tape *t;
    float data[12] = {0};
    OK(sow_tape_new(&t));
    sow_var x = sow_constant(t, SOW_TENSOR(data, SOW_F32, 3, 4)), w = sow_constant(t, SOW_TENSOR(data, SOW_F32, 4, 3));
    sow_var y = sow_relu(t, sow_linear(t, x, w, NULL));
    assert_null(y);
    assert_null(sow_add(t, y, x));
    FAILS(sow_tape_status(t), SOW_E_SHAPE, "linear: input is [3, 4], weight expects 3 columns");
    FAILS(sow_tape_backward(t, y), SOW_E_SHAPE, "linear");
    sow_tape_reset(t);
    OK(sow_tape_status(t));
    assert_null(sow_matmul(t, sow_constant(t, SOW_TENSOR(data, SOW_F32, 3, 4)), sow_constant(t, SOW_TENSOR(data, SOW_F32, 3, 4))));
    FAILS(sow_tape_status(t), SOW_E_SHAPE, "matmul: [3, 4] times [3, 4]");
    sow_tape_free(t);
}

static void a_steady_step_allocates_nothing(void **state) {
    call c = {&functions[0], SOW_F32};
    sow_tape *t;
    sow_state *s;
    OK(sow_tape_new(&t));
    OK(sow_state_new(&s));
    loss_of(&c, t, s);
    uint64_t before = 0;
    for (int i = 0; i < 20; i++) {
        if (i == 3) before = sow_allocation_count();
        OK(sow_grad(t, s, loss_of, &c, NULL));
    }
    assert_int_equal(sow_allocation_count(), before);
    sow_tape_free(t);
    sow_state_free(s);
}

static sow_var replace(void *user, sow_tape *t, const char *site, sow_var x, sow_var y) {
    int *seen = user;
    assert_string_equal(site, "block.0.fc");
    assert_int_equal(sow_value(x).shape[1], 4);
    ++*seen;
    return sow_scale(t, y, 2, 0);
}

static sow_status see_gradient(void *user, sow_tensor value, sow_tensor gradient) {
    *(double *)user = sow_at(gradient, 0);
    return SOW_OK;
}

static void taps_watch_and_replace(void **state) {
    sow_tape *t;
    sow_state *s;
    float ones[4] = {1, 1, 1, 1};
    int seen = 0;
    double gradient = 0;
    OK(sow_tape_new(&t));
    OK(sow_state_new(&s));
    sow_state_open(s, true);
    OK(sow_tape_add_tap(t, replace, &seen));
    sow_enter(t, "block.%d", 0);
    sow_var y = sow_linear_at(t, s, "fc", sow_constant(t, SOW_TENSOR(ones, SOW_F32, 1, 4)), (sow_dense){.out = 2});
    sow_leave(t);
    OK(sow_tape_status(t));
    assert_int_equal(seen, 1);
    assert_int_equal(sow_state_count(s), 2);
    assert_non_null(sow_state_find(s, "block.0.fc.bias"));
    OK(sow_state_add_gradients(s));
    sow_tape_reset(t);
    sow_fill(sow_state_find(s, "block.0.fc.weight")->value, 0.5);
    sow_enter(t, "block.0");
    y = sow_linear_at(t, s, "fc", sow_constant(t, SOW_TENSOR(ones, SOW_F32, 1, 4)), (sow_dense){.out = 2});
    sow_leave(t);
    sow_on_gradient(t, y, see_gradient, &gradient);
    assert_near(sow_at(sow_value(y), 0), 4, 0);
    OK(sow_tape_backward(t, sow_scale(t, sow_sum(t, y), 3, 0)));
    assert_near(gradient, 3, 0);
    assert_near(sow_at(sow_state_find(s, "block.0.fc.weight")->grad, 0), 6, 0);
    sow_tape_clear_taps(t);
    sow_state_open(s, false);
    sow_tape_reset(t);
    assert_null(sow_linear_at(t, s, "fd", sow_constant(t, SOW_TENSOR(ones, SOW_F32, 1, 4)), (sow_dense){.out = 2}));
    FAILS(sow_tape_status(t), SOW_E_NOT_FOUND, "no tensor 'fd.weight'");
    sow_tape_free(t);
    sow_state_free(s);
}

/* f(w) = sum of w^4: H v = 12 w^2 v. */
static sow_var quartic(void *user, sow_tape *t, sow_state *s) {
    return sow_sum(t, sow_square(t, sow_square(t, sow_parameter(t, sow_state_find(s, "w")))));
}

static void hessian_vector_products(void **state) {
    sow_tape *t;
    sow_state *s;
    sow_entry *e;
    double v[3] = {1, -2, 0.5}, out[3], w[3] = {0.3, -1.1, 0.7};
    OK(sow_tape_new(&t));
    OK(sow_state_new(&s));
    OK(sow_state_add(s, "w", SOW_F64, 1, (int64_t[]){3}, &e));
    for (int i = 0; i < 3; i++) sow_put(e->value, i, w[i]);
    sow_tensor vt = SOW_TENSOR(v, SOW_F64, 3), ot = SOW_TENSOR(out, SOW_F64, 3);
    OK(sow_hvp(t, s, quartic, NULL, &vt, &ot));
    for (int i = 0; i < 3; i++) {
        assert_near(out[i], 12 * w[i] * w[i] * v[i], 1e-7);
        assert_near(sow_at(e->value, i), w[i], 0); /* w is back, to the bit */
    }
    sow_tape_free(t);
    sow_state_free(s);
}

static void stopped_gradients_and_leaves(void **state) {
    sow_tape *t;
    double x[2] = {2, 3};
    OK(sow_tape_new(&t));
    sow_var a = sow_leaf(t, SOW_TENSOR(x, SOW_F64, 2));
    OK(sow_tape_backward(t, sow_sum(t, sow_mul(t, a, sow_detach(t, a)))));
    assert_near(sow_at(sow_gradient(a), 1), 3, 0); /* x detach(x): derivative x, not 2x */
    sow_tape_free(t);
}

static void dropout_keeps_the_mean_and_repeats(void **state) {
    sow_tape *t;
    static float x[40000], first[40000];
    OK(sow_tape_new(&t));
    sow_tape_train(t, true);
    for (int i = 0; i < 40000; i++) x[i] = 1;
    for (int threads = 1; threads <= 4; threads *= 2) {
        sow_set_threads(threads);
        sow_tape_reset(t);
        sow_tape_random(t, 9, 4);
        sow_tensor y = sow_value(sow_dropout(t, sow_constant(t, SOW_TENSOR(x, SOW_F32, 40000)), 0.25));
        if (threads == 1) memcpy(first, y.data, sizeof first);
        assert_memory_equal(y.data, first, sizeof first);
    }
    sow_set_threads(1);
    double kept = 0;
    for (int i = 0; i < 40000; i++) kept += first[i] != 0;
    assert_near(kept / 40000, 0.75, 4 * sqrt(0.25 * 0.75 / 40000));
    assert_near((double)first[0] * (double)first[0] - (double)first[0] * 4.0 / 3, 0, 1e-6); /* 0 or 4/3 */
    sow_tape_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_equal_central_differences), cmocka_unit_test(single_precision_equals_double),
        cmocka_unit_test(errors_poison_the_tape_and_name_shapes), cmocka_unit_test(a_steady_step_allocates_nothing),
        cmocka_unit_test(taps_watch_and_replace), cmocka_unit_test(hessian_vector_products),
        cmocka_unit_test(stopped_gradients_and_leaves), cmocka_unit_test(dropout_keeps_the_mean_and_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
