/* Products of quantised rows with a vector: every type against sums of its floats in f64. */
#include "check.h"

#include <math.h>
#include <string.h>

#include "sow/gguf.h"
#include "sow/random.h"

enum { ROWS = 5, WIDTH = 768, BYTES = 4 };

static const sow_gguf_type types[] = {SOW_GGUF_F32,  SOW_GGUF_F16,  SOW_GGUF_BF16, SOW_GGUF_Q8_0,
                                      SOW_GGUF_Q4_0, SOW_GGUF_Q4_1, SOW_GGUF_Q5_0, SOW_GGUF_Q5_1,
                                      SOW_GGUF_Q4_K, SOW_GGUF_Q5_K, SOW_GGUF_Q6_K};

static void put_half(uint8_t *at, float value) {
    uint16_t bits = sow_float_to_half(value);
    memcpy(at, &bits, sizeof bits);
}

/* Any bytes are quants; scales must be sane. */
static void fill_block(sow_gguf_type type, uint8_t *block, int64_t bytes, sow_rng *rng) {
    float d, m;
    sow_rng_uniform_f32(rng, &d, 1, 0.001, 0.05);
    sow_rng_uniform_f32(rng, &m, 1, -0.3, 0.3);
    if (type == SOW_GGUF_F32) memcpy(block, &m, sizeof m);
    else if (type == SOW_GGUF_F16) put_half(block, m);
    else if (type == SOW_GGUF_BF16) {
        uint16_t bits = sow_float_to_bf16(m);
        memcpy(block, &bits, sizeof bits);
    } else {
        for (int64_t i = 0; i < bytes; i++) block[i] = (uint8_t)sow_rng_below(rng, 256);
        put_half(block + (type == SOW_GGUF_Q6_K ? 208 : 0), type == SOW_GGUF_Q6_K ? d / 50 : d);
        if (type == SOW_GGUF_Q4_1 || type == SOW_GGUF_Q5_1 || type == SOW_GGUF_Q4_K || type == SOW_GGUF_Q5_K)
            put_half(block + 2, m);
    }
}

/* f32 sums; a power of two beside each quant costs them two to three bits. */
static void check_type(sow_gguf_type type, int64_t width) {
    static uint8_t rows[ROWS * (WIDTH * BYTES + 3)];
    static float x[WIDTH], room[WIDTH + WIDTH / 16], values[WIDTH];
    float y[ROWS];
    int64_t block, bytes;
    sow_rng rng;
    sow_gguf_vector v;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 5));
    sow_rng_normal_f32(&rng, x, width, 0, 1);
    sow_gguf_block(type, &block, &bytes);
    int64_t stride = width / block * bytes + 3; /* rows at odd addresses */
    for (int r = 0; r < ROWS; r++)
        for (int64_t k = 0; k < width / block; k++) fill_block(type, rows + r * stride + k * bytes, bytes, &rng);
    sow_gguf_prepare(x, width, room, &v);
    sow_gguf_products(type, rows, stride, ROWS, width, &v, y);
    for (int r = 0; r < ROWS; r++) {
        double sum = 0, size = 0;
        sow_gguf_dequantise(type, rows + r * stride, width, values);
        for (int64_t i = 0; i < width; i++) {
            sum += (double)values[i] * (double)x[i];
            size += (double)values[i] * (double)values[i] * (double)x[i] * (double)x[i];
        }
        if (!(fabs((double)y[r] - sum) <= 1e-5 * sqrt(size)))
            fail_msg("%s, row %d: found %.9g, expected %.9g, off by %.2g of the terms' root sum of squares",
                     sow_gguf_type_name(type), r, (double)y[r], sum, fabs((double)y[r] - sum) / sqrt(size));
    }
}

static void products_of_all_types_equal_those_of_their_floats(void **state) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        check_type(types[i], WIDTH);
        check_type(types[i], 256);
    }
}

static void plain_rows_may_have_any_width(void **state) {
    for (int i = 0; i < 3; i++)
        for (int64_t width = 1; width < 40; width++) check_type(types[i], width);
}

/* A vector that went wrong must not come out as a plausible number. */
static void what_is_not_finite_reaches_every_product(void **state) {
    static uint8_t row[WIDTH * BYTES];
    static float x[WIDTH], room[WIDTH + WIDTH / 16];
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3 * sizeof types / sizeof *types; i++) {
        int64_t block, bytes;
        float y;
        sow_rng rng;
        sow_gguf_vector v;
        sow_gguf_type type = types[i / 3];
        OK(sow_rng_seed(&rng, SOW_RNG_SOW, 6));
        sow_rng_normal_f32(&rng, x, WIDTH, 0, 1);
        x[WIDTH / 2 + 1] = wrong[i % 3];
        sow_gguf_block(type, &block, &bytes);
        for (int64_t k = 0; k < WIDTH / block; k++) fill_block(type, row + k * bytes, bytes, &rng);
        sow_gguf_prepare(x, WIDTH, room, &v);
        sow_gguf_products(type, row, 0, 1, WIDTH, &v, &y);
        if (isfinite(y))
            fail_msg("%s: %g among the vector's values gave %g", sow_gguf_type_name(type), (double)wrong[i % 3],
                     (double)y);
    }
}

/* Parts of zeros, of numbers next to nothing, and with one number that hides all others. */
static void parts_may_be_of_any_size(void **state) {
    static uint8_t row[128 / 32 * 34];
    float x[128] = {0}, room[128 + 8], values[128], y;
    double sum = 0;
    sow_rng rng;
    sow_gguf_vector v;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 7));
    for (int k = 0; k < 4; k++) fill_block(SOW_GGUF_Q8_0, row + 34 * k, 34, &rng);
    sow_rng_normal_f32(&rng, x + 32, 96, 0, 1);
    for (int i = 0; i < 32; i++) x[32 + i] *= 1e-36F;
    x[64] = 1e30F;
    sow_gguf_prepare(x, 128, room, &v);
    sow_gguf_products(SOW_GGUF_Q8_0, row, 0, 1, 128, &v, &y);
    sow_gguf_dequantise(SOW_GGUF_Q8_0, row, 128, values);
    for (int i = 0; i < 128; i++) sum += (double)values[i] * (double)x[i];
    assert_near((double)y / sum, 1, 1e-6);
    x[64] = 0;
    sow_gguf_prepare(x, 128, room, &v);
    sow_gguf_products(SOW_GGUF_Q8_0, row, 0, 1, 128, &v, &y);
    sum = 0;
    for (int i = 0; i < 128; i++) sum += (double)values[i] * (double)x[i];
    assert_near((double)y, sum, 1e-5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_all_types_equal_those_of_their_floats),
        cmocka_unit_test(plain_rows_may_have_any_width),
        cmocka_unit_test(what_is_not_finite_reaches_every_product),
        cmocka_unit_test(parts_may_be_of_any_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
