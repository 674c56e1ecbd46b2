/* The streams of numpy.random.default_rng: PCG64 (O'Neill 2014, XSL RR 128/64) and Generator's distributions. */
#include <math.h>

#include "internal.h"
#include "ziggurat.h"

typedef unsigned __int128 uint128;

static uint128 wide(uint64_t high, uint64_t low) {
    return (uint128)high << 64 | low;
}

static void step(sow_rng *rng) {
    const uint128 multiplier = wide(2549297995355413924u, 4865540595714422341u);
    uint128 state = wide(rng->pcg[1], rng->pcg[0]) * multiplier + wide(rng->pcg[3], rng->pcg[2]);
    rng->pcg[0] = (uint64_t)state;
    rng->pcg[1] = (uint64_t)(state >> 64);
}

static uint64_t next64(sow_rng *rng) {
    step(rng);
    uint64_t folded = rng->pcg[0] ^ rng->pcg[1];
    unsigned turn = (unsigned)(rng->pcg[1] >> 58);
    return folded >> turn | folded << (-turn & 63u);
}

/* The lower half of 64 bits first; the upper one waits for the next call. */
static uint32_t next32(sow_rng *rng) {
    if (rng->has_word) {
        rng->has_word = false;
        return rng->word;
    }
    uint64_t both = next64(rng);
    rng->word = (uint32_t)(both >> 32);
    rng->has_word = true;
    return (uint32_t)both;
}

static double next_unit_f64(sow_rng *rng) {
    return (double)(int64_t)(next64(rng) >> 11) * 0x1p-53;
}

static float next_unit_f32(sow_rng *rng) {
    return (float)(int32_t)(next32(rng) >> 8) * 0x1p-24f;
}

/* ---- numpy.random.SeedSequence(seed), after O'Neill's seed_seq alternative ---- */

static uint32_t hash_word(uint32_t value, uint32_t *constant, uint32_t multiplier) {
    value ^= *constant;
    *constant *= multiplier;
    value *= *constant;
    return value ^ (value >> 16);
}

static uint32_t mix(uint32_t x, uint32_t y) {
    uint32_t mixed = x * 0xca01f9ddu - y * 0x4973f715u;
    return mixed ^ (mixed >> 16);
}

static sow_status seed_pcg64(sow_rng *rng, uint64_t seed) {
    uint32_t pool[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), 0, 0};
    uint32_t constant = 0x43b0d7e5u;
    for (int i = 0; i < 4; i++) pool[i] = hash_word(pool[i], &constant, 0x931e8875u);
    for (int from = 0; from < 4; from++)
        for (int to = 0; to < 4; to++)
            if (from != to) pool[to] = mix(pool[to], hash_word(pool[from], &constant, 0x931e8875u));
    uint64_t words[4] = {0};
    constant = 0x8b51f9ddu;
    for (int i = 0; i < 8; i++)
        words[i / 2] |= (uint64_t)hash_word(pool[i % 4], &constant, 0x58f38dedu) << (32 * (i % 2));

    uint128 increment = wide(words[2], words[3]) << 1 | 1;
    rng->pcg[2] = (uint64_t)increment;
    rng->pcg[3] = (uint64_t)(increment >> 64);
    rng->pcg[0] = rng->pcg[1] = 0;
    step(rng);
    uint128 state = wide(rng->pcg[1], rng->pcg[0]) + wide(words[0], words[1]);
    rng->pcg[0] = (uint64_t)state;
    rng->pcg[1] = (uint64_t)(state >> 64);
    step(rng);
    return SOW_OK;
}

/* ---- normals: ziggurat ---- */

static double next_normal_f64(sow_rng *rng) {
    const ziggurat_tables *z = ziggurat();
    for (;;) {
        uint64_t r = next64(rng);
        int layer = (int)(r & 0xff);
        uint64_t place = r >> 9 & 0x000fffffffffffffu;
        double x = (double)(int64_t)place * z->width[layer];
        if (r >> 8 & 1) x = -x;
        if (place < z->inside[layer]) return x;
        if (layer == 0) {
            for (;;) { /* Marsaglia's tail */
                double beyond = -ZIGGURAT_TAIL_INVERSE * log1p(-next_unit_f64(rng));
                double y = -log1p(-next_unit_f64(rng));
                if (y + y > beyond * beyond) return place >> 8 & 1 ? -(ZIGGURAT_TAIL + beyond) : ZIGGURAT_TAIL + beyond;
            }
        }
        double below = z->height[layer - 1] - z->height[layer];
        if (below * next_unit_f64(rng) + z->height[layer] < exp(-0.5 * x * x)) return x;
    }
}

static float next_normal_f32(sow_rng *rng) {
    const ziggurat_tables *z = ziggurat();
    const float tail = (float)ZIGGURAT_TAIL, tail_inverse = (float)ZIGGURAT_TAIL_INVERSE;
    for (;;) {
        uint32_t r = next32(rng);
        int layer = (int)(r & 0xff);
        uint32_t place = r >> 9;
        uint32_t inside = (uint32_t)((z->inside[layer] + (1u << 28)) >> 29); /* rounded */
        float x = (float)(int32_t)place * (float)(z->width[layer] * 0x1p29);
        if (r >> 8 & 1) x = -x;
        if (place < inside) return x;
        if (layer == 0) {
            for (;;) {
                float beyond = -tail_inverse * log1pf(-next_unit_f32(rng));
                float y = -log1pf(-next_unit_f32(rng));
                if (y + y > beyond * beyond) return place >> 8 & 1 ? -(tail + beyond) : tail + beyond;
            }
        }
        float height = (float)z->height[layer];
        float below = (float)z->height[layer - 1] - height;
        if ((double)(below * next_unit_f32(rng) + height) < exp(-0.5 * (double)x * (double)x)) return x;
    }
}

/* ---- fills ---- */

/* f32 numbers are random(dtype=float32) and standard_normal(dtype=float32), scaled in f32. A mean of zero is not
 * added: that would turn NumPy's -0 into 0. */
static void fill_uniform_f32(sow_rng *rng, float *out, int64_t n, double low_bound, double high_bound) {
    const float low = (float)low_bound, high = (float)high_bound;
    for (int64_t i = 0; i < n; i++) out[i] = low + (high - low) * next_unit_f32(rng);
}

static void fill_uniform_f64(sow_rng *rng, double *out, int64_t n, double low, double high) {
    for (int64_t i = 0; i < n; i++) out[i] = low + (high - low) * next_unit_f64(rng);
}

static void fill_normal_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd) {
    for (int64_t i = 0; i < n; i++) {
        float deviation = (float)sd * next_normal_f32(rng);
        out[i] = mean == 0.0 ? deviation : (float)mean + deviation;
    }
}

static void fill_normal_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd) {
    for (int64_t i = 0; i < n; i++) out[i] = mean + sd * next_normal_f64(rng);
}

static sow_status fill_truncated_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd, double low,
                                     double high) {
    const random_truncation truncation = random_truncation_of(mean, sd, low, high);
    for (int64_t i = 0; i < n; i++) out[i] = (float)random_truncation_draw(&truncation, rng, &random_pcg64, low, high);
    return SOW_OK;
}

static sow_status fill_truncated_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd, double low,
                                     double high) {
    const random_truncation truncation = random_truncation_of(mean, sd, low, high);
    for (int64_t i = 0; i < n; i++) out[i] = random_truncation_draw(&truncation, rng, &random_pcg64, low, high);
    return SOW_OK;
}

/* ---- integers: Lemire's method in Generator.integers, masked rejection in shuffle and permutation ---- */

static uint64_t one_below(sow_rng *rng, uint64_t bound) {
    if (bound == 1) return 0;
    if (bound == UINT64_C(1) << 32) return next32(rng);
    if (bound < UINT64_C(1) << 32) {
        const uint32_t rejected = (uint32_t)(0u - (uint32_t)bound) % (uint32_t)bound;
        uint64_t product;
        do product = next32(rng) * bound;
        while ((uint32_t)product < rejected);
        return product >> 32;
    }
    const uint64_t rejected = (0u - bound) % bound;
    uint128 product;
    do product = (uint128)next64(rng) * bound;
    while ((uint64_t)product < rejected);
    return (uint64_t)(product >> 64);
}

static void fill_permutation(sow_rng *rng, int64_t *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) random_swap(out, i, (int64_t)random_masked(rng, (uint64_t)i, next32, next64));
}

const random_methods random_pcg64 = {
    .name = "pcg64",
    .seed = seed_pcg64,
    .uniform_f32 = fill_uniform_f32,
    .uniform_f64 = fill_uniform_f64,
    .normal_f32 = fill_normal_f32,
    .normal_f64 = fill_normal_f64,
    .truncated_f32 = fill_truncated_f32,
    .truncated_f64 = fill_truncated_f64,
    .below = one_below,
    .permutation = fill_permutation,
};
