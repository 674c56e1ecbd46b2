/* Operators of language models: gradients, worked numbers, and values that are dropped and made again. */
#include "check.h"

#include <math.h>
#include <string.h>

#include "autograd/gradients.h"

static sow_var parameter(sow_tape *t, sow_state *s, const char *name) {
    return sow_parameter(t, sow_state_find(s, name));
}

/* ---- gradients ---- */

static sow_var normalised(sow_tape *t, sow_state *s, const void *user) {
    return sow_rms_norm(t, parameter(t, s, "x"), parameter(t, s, "w"), 1e-5, user != NULL);
}

static void rms_norm_has_its_gradient(void **state) {
    sow_state *s = state_of((const char *[]){"x:300,37", "w:37"}, 2);
    check_operator("rms norm", normalised, NULL, s, false, 1e-5);
    check_operator("rms norm, 1 + w", normalised, "plus one", s, false, 1e-5);
    sow_state_free(s);
}

static sow_var gated(sow_tape *t, sow_state *s, const void *user) {
    return sow_gated(t, parameter(t, s, "gate"), parameter(t, s, "up"), *(const sow_activation *)user);
}

static void gates_have_their_gradients(void **state) {
    sow_state *s = state_of((const char *[]){"gate:9,31", "up:9,31"}, 2);
    for (sow_activation a = SOW_SILU; a <= SOW_RELU; a++) check_operator("gated", gated, &a, s, false, 1e-5);
    sow_state_free(s);
}

static sow_var looked_up(sow_tape *t, sow_state *s, const void *user) {
    static int32_t ids[7] = {3, 0, 3, 10, 3, 1, 0};
    return sow_embedding(t, parameter(t, s, "table"), SOW_TENSOR(ids, SOW_I32, 7), -1);
}

static void embedding_adds_the_gradients_of_equal_ids(void **state) {
    sow_state *s = state_of((const char *[]){"table:11,70"}, 1);
    check_operator("embedding", looked_up, NULL, s, false, 1e-6);
    sow_state_free(s);
}

static sow_var attended(sow_tape *t, sow_state *s, const void *user) {
    sow_attention a = *(const sow_attention *)user;
    static double turns_f64[200 * 6];
    static float turns_f32[200 * 6];
    bool single = sow_state_entry(s, 0)->value.dtype == SOW_F32;
    if (a.rotary.data) {
        a.rotary = single ? SOW_TENSOR(turns_f32, SOW_F32, 200, 6) : SOW_TENSOR(turns_f64, SOW_F64, 200, 6);
        sow_rotary(a.rotary, (double[]){1, 0.2, 0.05});
    }
    return sow_attend(t, parameter(t, s, "q"), parameter(t, s, "k"), parameter(t, s, "v"), &a);
}

static void attention_has_its_gradient(void **state) {
    static const int64_t short_start[4] = {0, 5, 5, 9}, long_start[2] = {0, 150};
    int any;
    sow_tensor turned = {.data = &any};
    sow_state *s = state_of((const char *[]){"q:9,24", "k:9,12", "v:9,12"}, 3);
    sow_attention a = {.heads = 4, .kv_heads = 2, .start = short_start, .sequences = 3};
    check_operator("attention", attended, &a, s, false, 1e-5);
    a.causal = true;
    check_operator("causal attention", attended, &a, s, false, 1e-5);
    a.window = 2;
    a.rotary = turned;
    check_operator("causal attention with a window and positions", attended, &a, s, false, 1e-5);
    sow_state_free(s);
    s = state_of((const char *[]){"q:150,6", "k:150,6", "v:150,6"}, 3); /* two blocks of queries */
    a = (sow_attention){.heads = 1,
                        .kv_heads = 1,
                        .start = long_start,
                        .sequences = 1,
                        .causal = true,
                        .window = 100,
                        .rotary = turned};
    check_operator("attention over blocks", attended, &a, s, false, 1e-5);
    sow_state_free(s);
}

static sow_var head(sow_tape *t, sow_state *s, const void *user) {
    static int32_t labels[300];
    for (int i = 0; i < 300; i++) labels[i] = i % 7 == 3 ? -1 : i % 5;
    return sow_head_loss(t, parameter(t, s, "h"), parameter(t, s, "w"), SOW_TENSOR(labels, SOW_I32, 300),
                         user ? 17 : 0);
}

static void head_loss_has_its_gradient_over_chunks(void **state) {
    sow_state *s = state_of((const char *[]){"h:300,4", "w:5,4"}, 2);
    check_operator("head loss", head, NULL, s, false, 1e-5);
    check_operator("head loss with a divisor", head, "17", s, false, 1e-5);
    sow_state_free(s);
}

/* ---- worked numbers ---- */

static void rms_norm_equals_the_worked_example(void **state) {
    double x[4] = {1, 2, 3, 4}, w[4] = {0.5, 1, 1.5, 2}, dy[4] = {1, -1, 2, 0.5};
    double y[4] = {0.18257406, 0.73029625, 1.64316666, 2.92118502},
           gemma[4] = {0.54772222, 1.46059251, 2.73861122, 4.38177776};
    double dx[4] = {0.0426008, -0.6450947, 0.6755247, -0.1947449};
    sow_tape *t;
    OK(sow_tape_new(&t));
    sow_var in = sow_leaf(t, SOW_TENSOR(x, SOW_F64, 1, 4)), scale = sow_constant(t, SOW_TENSOR(w, SOW_F64, 4));
    sow_var out = sow_keep(sow_rms_norm(t, in, scale, 1e-5, false)), plus = sow_rms_norm(t, in, scale, 1e-5, true);
    for (int i = 0; i < 4; i++)
        assert_near(sow_at(sow_value(out), i), y[i], 5e-7); /* the printed values were computed in f32 */
    for (int i = 0; i < 4; i++) assert_near(sow_at(sow_value(plus), i), gemma[i], 5e-7);
    OK(sow_tape_backward_from(t, out, SOW_TENSOR(dy, SOW_F64, 1, 4)));
    for (int i = 0; i < 4; i++) assert_near(sow_at(sow_gradient(in), i), dx[i], 2e-7);
    sow_tape_free(t);
}

static void activations_equal_the_worked_examples(void **state) {
    double x[5] = {-3, -1, 0.5, 1, 2}, one[5] = {1, 1, 1, 1, 1};
    double expected[3][5] = {{-0.1422776, -0.2689414, 0.3112297, 0.7310586, 1.7615942},
                             {-0.0040497, -0.1586553, 0.3457312, 0.8413447, 1.9544997},
                             {-0.0036374, -0.158808, 0.345714, 0.841192, 1.9545977}};
    sow_tape *t;
    OK(sow_tape_new(&t));
    for (sow_activation a = SOW_SILU; a <= SOW_GELU_TANH; a++)
        for (int i = 0; i < 5; i++) {
            sow_var y = sow_gated(t, sow_constant(t, SOW_TENSOR(x, SOW_F64, 5)),
                                  sow_constant(t, SOW_TENSOR(one, SOW_F64, 5)), a);
            assert_near(sow_at(sow_value(y), i), expected[a][i], 5e-7);
        }
    sow_tape_free(t);
}

static void rotary_positions_turn_halves_not_neighbours(void **state) {
    double frequency[2] = {1, 0.01}, table[8], x[8] = {0, 0, 0, 0, 1, 2, 3, 4}, v[8] = {0, 0, 0, 0, 1, 0, 0, 0};
    int64_t start[2] = {0, 2};
    sow_tensor rotary = SOW_TENSOR(table, SOW_F64, 2, 4);
    sow_rotary(rotary, frequency);
    double turned[4] = {-1.984111, 1.959901, 2.462378, 4.0198}, k[8] = {0}, s[4];
    for (int i = 0; i < 4; i++) { /* one key direction at a time shows the turned query through its score */
        memset(k, 0, sizeof k);
        k[i] = 1; /* position 0 is not turned */
        sow_tape *t;
        OK(sow_tape_new(&t));
        sow_attention a = {
            .heads = 1, .kv_heads = 1, .scale = 1, .causal = true, .start = start, .sequences = 1, .rotary = rotary};
        sow_var o = sow_attend(t, sow_constant(t, SOW_TENSOR(x, SOW_F64, 2, 4)),
                               sow_constant(t, SOW_TENSOR(k, SOW_F64, 2, 4)),
                               sow_constant(t, SOW_TENSOR(v, SOW_F64, 2, 4)), &a);
        OK(sow_tape_status(t));
        double p = 1 -
                   sow_at(sow_value(o), 4); /* of key 0, whose score is the turned query's element i; key 1 scores 0 */
        s[i] = log(p / (1 - p));
        sow_tape_free(t);
    }
    for (int i = 0; i < 4; i++) assert_near(s[i], turned[i], 1e-6);
}

static void head_loss_equals_the_worked_example(void **state) {
    double z[6] = {1, 2, 3, 0, 1, 0}, eye[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1},
           dz[6] = {0.09003058, 0.24472849, -0.33475896, 0, 0, 0};
    int32_t labels[2] = {2, -1}, none[2] = {-1, -1};
    sow_tape *t;
    OK(sow_tape_new(&t));
    sow_var h = sow_leaf(t, SOW_TENSOR(z, SOW_F64, 2, 3)), w = sow_constant(t, SOW_TENSOR(eye, SOW_F64, 3, 3));
    sow_var loss = sow_head_loss(t, h, w, SOW_TENSOR(labels, SOW_I32, 2), 0);
    assert_near(sow_scalar(loss), 0.40760595, 2e-7);
    OK(sow_tape_backward(t, loss));
    for (int i = 0; i < 6; i++) assert_near(sow_at(sow_gradient(h), i), dz[i], 2e-7);
    sow_tape_reset(t);
    h = sow_leaf(t, SOW_TENSOR(z, SOW_F64, 2, 3));
    w = sow_constant(t, SOW_TENSOR(eye, SOW_F64, 3, 3));
    assert_null(sow_head_loss(t, h, w, SOW_TENSOR(none, SOW_I32, 2), 0));
    FAILS(sow_tape_status(t), SOW_E_RANGE, "head: no label counts: all 2 are masked");
    sow_tape_free(t);
}

/* ---- sow_done ---- */

/* One block of a network; `frugal` says where values are no longer used. */
static sow_var block(sow_tape *t, sow_state *s, bool frugal) {
    sow_var x = parameter(t, s, "x"), n = sow_rms_norm(t, x, parameter(t, s, "w"), 1e-5, false);
    sow_var gate = sow_linear(t, n, parameter(t, s, "a"), NULL), up = sow_linear(t, n, parameter(t, s, "b"), NULL);
    if (frugal) sow_done(t, n);
    sow_var g = sow_gated(t, gate, up, SOW_SILU), down = sow_linear(t, g, parameter(t, s, "c"), NULL);
    if (frugal) sow_done(t, g), sow_done(t, gate), sow_done(t, up); /* gate and up are read by backward: they stay */
    sow_var y = sow_add(t, x, down);
    if (frugal) sow_done(t, down);
    if (frugal) assert_null(sow_value(n).data), assert_null(sow_value(g).data), assert_null(sow_value(down).data);
    return sow_sum(t, sow_square(t, y));
}

static void values_that_are_done_come_back_for_backward(void **state) {
    sow_state *s = state_of((const char *[]){"x:5,6", "w:6", "a:7,6", "b:7,6", "c:6,7"}, 5);
    double plain[200], frugal[200];
    OK(sow_state_add_gradients(s));
    for (int kind = 0; kind < 2; kind++) {
        sow_tape *t;
        OK(sow_tape_new(&t));
        sow_fresh_gradients(s);
        OK(sow_tape_backward(t, block(t, s, kind == 1)));
        int at = 0;
        for (int64_t i = 0; i < sow_state_count(s); i++)
            for (int64_t k = 0; k < sow_count(sow_state_entry(s, i)->grad); k++)
                (kind ? frugal : plain)[at++] = sow_at(sow_state_entry(s, i)->grad, k);
        sow_tape_free(t);
        if (kind) assert_memory_equal(plain, frugal, (size_t)at * sizeof *plain);
    }
    sow_state_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rms_norm_has_its_gradient),
        cmocka_unit_test(gates_have_their_gradients),
        cmocka_unit_test(embedding_adds_the_gradients_of_equal_ids),
        cmocka_unit_test(attention_has_its_gradient),
        cmocka_unit_test(head_loss_has_its_gradient_over_chunks),
        cmocka_unit_test(rms_norm_equals_the_worked_example),
        cmocka_unit_test(activations_equal_the_worked_examples),
        cmocka_unit_test(rotary_positions_turn_halves_not_neighbours),
        cmocka_unit_test(head_loss_equals_the_worked_example),
        cmocka_unit_test(values_that_are_done_come_back_for_backward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
