/* The streams of numpy.random.RandomState: MT19937 with the legacy distributions, which NumPy keeps for ever. */
#include <math.h>

#include "internal.h"

static sow_status seed_numpy(sow_rng *rng, uint64_t seed) {
    if (seed > UINT32_MAX)
        return sow_fail(SOW_E_RANGE, "random generator numpy: seed %llu, expected at most 4294967295 (2^32 - 1)",
                        (unsigned long long)seed);
    mt19937_seed(rng, (uint32_t)seed);
    return SOW_OK;
}

static double next_unit(sow_rng *rng) {
    uint32_t first = mt19937_word(rng);
    return random_unit(first, mt19937_word(rng));
}

/* Marsaglia's polar method; the other half of a pair waits for the next call. */
static double next_normal(sow_rng *rng) {
    if (rng->has_normal) {
        rng->has_normal = false;
        return rng->normal;
    }
    double x, y, square;
    do {
        x = 2.0 * next_unit(rng) - 1.0;
        y = 2.0 * next_unit(rng) - 1.0;
        square = x * x + y * y;
    } while (square >= 1.0 || square == 0.0);
    double factor = sqrt(-2.0 * log(square) / square);
    rng->normal = factor * x;
    rng->has_normal = true;
    return factor * y;
}

/* f32 numbers are the f64 ones, rounded: what `.astype(numpy.float32)` gives. */
static void fill_uniform_f32(sow_rng *rng, float *out, int64_t n, double low, double high) {
    for (int64_t i = 0; i < n; i++) out[i] = (float)(low + (high - low) * next_unit(rng));
}

static void fill_uniform_f64(sow_rng *rng, double *out, int64_t n, double low, double high) {
    for (int64_t i = 0; i < n; i++) out[i] = low + (high - low) * next_unit(rng);
}

static void fill_normal_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd) {
    for (int64_t i = 0; i < n; i++) out[i] = (float)(mean + sd * next_normal(rng));
}

static void fill_normal_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd) {
    for (int64_t i = 0; i < n; i++) out[i] = mean + sd * next_normal(rng);
}

static sow_status fill_truncated_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd, double low,
                                     double high) {
    const random_truncation truncation = random_truncation_of(mean, sd, low, high);
    for (int64_t i = 0; i < n; i++) out[i] = (float)random_truncation_draw(&truncation, rng, &random_numpy, low, high);
    return SOW_OK;
}

static sow_status fill_truncated_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd, double low,
                                     double high) {
    const random_truncation truncation = random_truncation_of(mean, sd, low, high);
    for (int64_t i = 0; i < n; i++) out[i] = random_truncation_draw(&truncation, rng, &random_numpy, low, high);
    return SOW_OK;
}

static uint64_t next64(sow_rng *rng) {
    uint64_t high = mt19937_word(rng);
    return high << 32 | mt19937_word(rng);
}

uint64_t random_masked(sow_rng *rng, uint64_t largest, uint32_t (*word)(sow_rng *), uint64_t (*wide)(sow_rng *)) {
    uint64_t mask = largest, value;
    for (int shift = 1; shift < 64; shift *= 2) mask |= mask >> shift;
    if (largest == 0) return 0;
    do value = (largest <= UINT32_MAX ? word(rng) : wide(rng)) & mask;
    while (value > largest);
    return value;
}

static uint64_t one_below(sow_rng *rng, uint64_t bound) {
    return random_masked(rng, bound - 1, mt19937_word, next64);
}

static void fill_permutation(sow_rng *rng, int64_t *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = n - 1; i > 0; i--)
        random_swap(out, i, (int64_t)random_masked(rng, (uint64_t)i, mt19937_word, next64));
}

const random_methods random_numpy = {
    .name = "numpy",
    .seed = seed_numpy,
    .uniform_f32 = fill_uniform_f32,
    .uniform_f64 = fill_uniform_f64,
    .normal_f32 = fill_normal_f32,
    .normal_f64 = fill_normal_f64,
    .truncated_f32 = fill_truncated_f32,
    .truncated_f64 = fill_truncated_f64,
    .below = one_below,
    .permutation = fill_permutation,
};
