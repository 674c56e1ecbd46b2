/* Tensors: layouts, conversions, matrix products. */
#include "check.h"

#include <math.h>

static void views_describe_without_moving(void **state) {
    float data[24];
    for (int i = 0; i < 24; i++) data[i] = (float)i;
    sow_tensor t = SOW_TENSOR(data, SOW_F32, 2, 3, 4), p = sow_permute(t, (int[]){2, 0, 1}), s = sow_slice(t, 1, 1, 2);
    char text[SOW_SHAPE_TEXT];
    assert_string_equal(sow_shape_text(p, text), "[4, 2, 3]");
    assert_near(sow_at(p, 5), 20, 0); /* p[0][1][2] = t[1][2][0] */
    assert_near(sow_at(s, 4), 8, 0);  /* s[0][1][0] = t[0][2][0] */
    assert_true(sow_is_contiguous(t) && !sow_is_contiguous(p) && sow_is_dense(p) && !sow_is_dense(s));
    assert_string_equal(sow_shape_text(SOW_TENSOR(NULL, SOW_F32, 7), text), "[7]");
}

static void copies_follow_the_logical_order(void **state) {
    float data[6] = {0, 1, 2, 3, 4, 5};
    double out[6];
    OK(sow_copy(SOW_TENSOR(out, SOW_F64, 3, 2), sow_transpose(SOW_TENSOR(data, SOW_F32, 2, 3))));
    double expected[6] = {0, 3, 1, 4, 2, 5};
    assert_memory_equal(out, expected, sizeof out);
    FAILS(sow_copy(SOW_TENSOR(out, SOW_F64, 2, 3), SOW_TENSOR(data, SOW_F32, 3, 2)), SOW_E_SHAPE, "[3, 2] into [2, 3]");
}

static void integers_saturate(void **state) {
    double from[5] = {-1, 300, NAN, 1e300, 2.9};
    uint8_t to[5];
    int64_t wide[5];
    OK(sow_copy(SOW_TENSOR(to, SOW_U8, 5), SOW_TENSOR(from, SOW_F64, 5)));
    uint8_t expected[5] = {0, 255, 0, 255, 2};
    assert_memory_equal(to, expected, 5);
    OK(sow_copy(SOW_TENSOR(wide, SOW_I64, 5), SOW_TENSOR(from, SOW_F64, 5)));
    assert_true(wide[3] == INT64_MAX && wide[2] == 0 && wide[0] == -1);
}

static void halves_round_to_nearest_even(void **state) {
    assert_int_equal(sow_float_to_half(1.0f), 0x3c00);
    assert_int_equal(sow_float_to_half(65504.0f), 0x7bff);
    assert_int_equal(sow_float_to_half(65520.0f), 0x7c00);
    assert_int_equal(sow_float_to_half(2049.0f), 0x6800);              /* ties to even: 2048 */
    assert_int_equal(sow_float_to_half(0x1p-24f), 0x0001);             /* least denormal */
    assert_int_equal(sow_float_to_half(0x1p-25f), 0x0000);             /* half of it: to even */
    assert_int_equal(sow_float_to_bf16(1.00390625f), 0x3f80);          /* 1 + 2^-8: to even */
    assert_int_equal(sow_float_to_bf16(1.01171875f), 0x3f82);          /* 1 + 3*2^-8: to even */
    for (int bits = 0; bits < 65536; bits++) { /* every half survives the way there and back */
        float value = sow_half_to_float((uint16_t)bits);
        if (!isnan(value)) assert_int_equal(sow_float_to_half(value), bits);
        float wide = sow_bf16_to_float((uint16_t)bits);
        if (!isnan(wide)) assert_int_equal(sow_float_to_bf16(wide), bits);
    }
}

static void sizes_are_checked(void **state) {
    int64_t count;
    FAILS(sow_shape_count(3, (int64_t[]){INT64_MAX, 2, 1}, &count), SOW_E_RANGE, "out of range");
    FAILS(sow_shape_count(9, (int64_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1}, &count), SOW_E_SHAPE, "at most 8");
    FAILS(sow_shape_count(1, (int64_t[]){-1}, &count), SOW_E_RANGE, "out of range");
    OK(sow_shape_count(0, NULL, &count));
    assert_int_equal(count, 1);
}

static void non_finite_values_are_found(void **state) {
    float f[4] = {1, INFINITY, NAN, 2};
    uint16_t h[2] = {0x7c00, 0x3c00};
    assert_int_equal(sow_count_nonfinite(SOW_TENSOR(f, SOW_F32, 4)), 2);
    assert_int_equal(sow_count_nonfinite(SOW_TENSOR(h, SOW_F16, 2)), 1);
    assert_int_equal(sow_count_nonfinite(SOW_TENSOR(h, SOW_BF16, 2)), 0);
    FAILS(sow_require_finite(SOW_TENSOR(f, SOW_F32, 4), "fc1.weight"), SOW_E_NUMBER, "fc1.weight: element 1 is inf");
}

/* Every mix of transposition, odd shapes and beta against plain f64 loops; the same bits for 1, 2 and 4 threads. */
static void products_equal_plain_loops(void **state) {
    static const int64_t shapes[][3] = {{1, 1, 1}, {60, 300, 784}, {1, 64, 33}, {64, 1, 33}, {37, 41, 43}, {600, 17, 129}, {16, 16, 5000}, {30, 1025, 64}};
    sow_arena *arena;
    OK(sow_arena_new(&arena));
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int mix = 0; mix < 8; mix++) {
            int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
            bool ta = mix & 1, tb = mix & 2;
            float beta = mix & 4 ? 0.5f : 0, *a, *b, *c, *reference;
            OK(SOW_NEW(arena, a, m * k));
            OK(SOW_NEW(arena, b, k * n));
            OK(SOW_NEW(arena, c, 3 * m * n));
            OK(SOW_NEW(arena, reference, m * n));
            for (int64_t i = 0; i < m * k; i++) a[i] = (float)((i * 37 % 101) - 50) / 64;
            for (int64_t i = 0; i < k * n; i++) b[i] = (float)((i * 53 % 97) - 48) / 64;
            for (int64_t i = 0; i < m * n; i++) c[i] = c[i + m * n] = c[i + 2 * m * n] = reference[i] = (float)(i % 7);
            for (int threads = 1, i = 0; threads <= 4; threads *= 2, i++) {
                sow_set_threads(threads);
                sow_gemm(ta, tb, m, n, k, 2, a, ta ? m : k, b, tb ? k : n, beta, c + i * m * n, n);
            }
            assert_memory_equal(c, c + m * n, (size_t)(m * n) * sizeof *c);
            assert_memory_equal(c, c + 2 * m * n, (size_t)(m * n) * sizeof *c);
            for (int64_t i = 0; i < m * n; i += 1 + m * n / 500) {
                double sum = 0;
                for (int64_t j = 0; j < k; j++) sum += (double)a[ta ? j * m + i / n : i / n * k + j] * (double)b[tb ? i % n * k + j : j * n + i % n];
                assert_near((double)c[i], 2 * sum + (double)beta * (double)reference[i], 2e-4 * sqrt((double)k));
            }
        }
    sow_set_threads(1);
    sow_arena_free(arena);
}

static void names_have_roles(void **state) {
    assert_int_equal(sow_role_of("fc1.weight", 2), SOW_ROLE_WEIGHT);
    assert_int_equal(sow_role_of("fc1.bias", 1), SOW_ROLE_BIAS);
    assert_int_equal(sow_role_of("layer1.0.bn1.weight", 1), SOW_ROLE_NORM);
    assert_int_equal(sow_role_of("layer1.0.downsample.1.weight", 1), SOW_ROLE_NORM);
    assert_int_equal(sow_role_of("model.layers.0.input_layernorm.weight", 1), SOW_ROLE_NORM);
    assert_int_equal(sow_role_of("model.embed_tokens.weight", 2), SOW_ROLE_EMBEDDING);
    assert_int_equal(sow_role_of("transformer.wte.weight", 2), SOW_ROLE_EMBEDDING);
    assert_int_equal(sow_role_of("bn1.running_mean", 1), SOW_ROLE_BUFFER);
    assert_int_equal(sow_role_of("bn1.num_batches_tracked", 0), SOW_ROLE_BUFFER);
    assert_int_equal(sow_role_of("inner.weight", 2), SOW_ROLE_WEIGHT); /* 'ln' and 'nn' inside words do not count */
}

static void states_find_grow_and_refuse_doubles(void **state) {
    sow_state *s;
    sow_entry *e;
    char name[32];
    OK(sow_state_new(&s));
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "layer.%d.weight", i);
        OK(sow_state_add(s, name, SOW_F32, 2, (int64_t[]){2, 3}, &e));
        sow_fill(e->value, i);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "layer.%d.weight", i);
        assert_near(sow_at(sow_state_find(s, name)->value, 5), i, 0);
    }
    FAILS(sow_state_add(s, "layer.7.weight", SOW_F32, 0, NULL, &e), SOW_E_EXISTS, "twice");
    FAILS(sow_state_get(s, "layer.7.weigth", &e), SOW_E_NOT_FOUND, "layer.7.weight");
    assert_int_equal(sow_state_weights(s), 6000);
    sow_state_free(s);
}

static void assignment_names_what_differs(void **state) {
    sow_state *a, *b;
    sow_entry *e;
    OK(sow_state_new(&a));
    OK(sow_state_new(&b));
    OK(sow_state_add(a, "w", SOW_F32, 2, (int64_t[]){2, 3}, &e));
    e->value.stride[0] = 1, e->value.stride[1] = 2; /* stored transposed */
    OK(sow_state_add(b, "w", SOW_F32, 2, (int64_t[]){3, 2}, NULL));
    FAILS(sow_state_assign(a, b), SOW_E_SHAPE, "'w' is [3, 2], expected [2, 3]");
    sow_state_free(b);
    OK(sow_state_new(&b));
    OK(sow_state_add(b, "w", SOW_BF16, 2, (int64_t[]){2, 3}, &e));
    for (int i = 0; i < 6; i++) sow_put(e->value, i, i);
    OK(sow_state_assign(a, b));
    assert_near(sow_at(sow_state_find(a, "w")->value, 4), 4, 0);
    assert_near((double)((float *)sow_state_find(a, "w")->value.data)[1], 3, 0); /* element (1, 0) */
    OK(sow_state_add(b, "v", SOW_F32, 1, (int64_t[]){1}, NULL));
    FAILS(sow_state_assign(a, b), SOW_E_SHAPE, "'v' is not part of the network");
    sow_state_free(a);
    sow_state_free(b);
}

static void masks_pack_bind_and_come_back(void **state) {
    sow_state *s, *file;
    sow_arena *arena;
    sow_entry *e;
    sow_mask mask, again;
    OK(sow_arena_new(&arena));
    OK(sow_state_new(&s));
    OK(sow_state_add(s, "fc.weight", SOW_F32, 2, (int64_t[]){5, 27}, &e));
    e->value.stride[0] = 1, e->value.stride[1] = 5;
    sow_fill(e->value, 3);
    OK(sow_state_add(s, "fc.bias", SOW_F32, 1, (int64_t[]){5}, NULL));
    OK(sow_mask_new(arena, s, &mask));
    assert_int_equal(mask.tensors, 1);
    assert_int_equal(sow_bits_kept(&mask.bits[0]), 135);
    sow_bit_clear(&mask.bits[0], 28); /* element (1, 1) */
    OK(sow_mask_bind(&mask, s));
    assert_near(sow_at(e->value, 28), 0, 0);
    assert_near(sow_at(e->value, 29), 3, 0);
    assert_int_equal(((uint8_t *)e->mask.data)[1 + 5], 0);
    OK(sow_mask_to_state(&mask, &file));
    OK(sow_mask_from_state(arena, file, &again));
    assert_memory_equal(mask.bits[0].words, again.bits[0].words, 3 * sizeof(uint64_t));
    sow_put(sow_state_entry(file, 0)->value, 3, 2);
    FAILS(sow_mask_from_state(arena, file, &again), SOW_E_RANGE, "element 3 is 2, expected 0 or 1");
    mask.bits[0].shape[0] = 27, mask.bits[0].shape[1] = 5;
    FAILS(sow_mask_bind(&mask, s), SOW_E_SHAPE, "mask 'fc.weight' is [27, 5], the tensor is [5, 27]");
    sow_state_free(file);
    sow_state_free(s);
    sow_arena_free(arena);
}

static void arenas_return_aligned_zeroed_memory_again(void **state) {
    sow_arena *arena;
    OK(sow_arena_new(&arena));
    sow_mark mark = sow_arena_mark(arena);
    for (int round = 0; round < 3; round++) {
        uint64_t before = sow_allocation_count();
        for (size_t size = 1; size < 100000; size *= 3) {
            uint8_t *p = sow_arena_take(arena, size, 1);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 64, 0);
            for (size_t i = 0; i < size; i++) assert_int_equal(p[i], 0);
            memset(p, 0xff, size);
        }
        if (round > 0) assert_int_equal(sow_allocation_count(), before); /* chunks are kept */
        sow_arena_release(arena, mark);
    }
    assert_null(sow_arena_take(arena, SIZE_MAX / 2, 4));
    assert_non_null(strstr(sow_message(), "out of memory"));
    sow_arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_describe_without_moving), cmocka_unit_test(copies_follow_the_logical_order),
        cmocka_unit_test(integers_saturate), cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(sizes_are_checked), cmocka_unit_test(non_finite_values_are_found),
        cmocka_unit_test(products_equal_plain_loops), cmocka_unit_test(names_have_roles),
        cmocka_unit_test(states_find_grow_and_refuse_doubles), cmocka_unit_test(assignment_names_what_differs),
        cmocka_unit_test(masks_pack_bind_and_come_back), cmocka_unit_test(arenas_return_aligned_zeroed_memory_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
