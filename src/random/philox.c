/* Sow's own streams: Philox4x32-10 (Salmon et al. 2011, doi 10.1145/2063384.2063405) and its distributions.
 *
 * Block i of a stream is philox(counter = (i, hash of purpose and name), key = seed): four 32-bit words. It
 * gives four f32 numbers or two f64 numbers; a fill begins at a block and takes as many as it needs. Normals are
 * Box-Muller pairs, so number k depends on its own block alone and threads may start anywhere. */
#include <math.h>
#include <string.h>

#include "exact.h"
#include "internal.h"
#ifdef RANDOM_HAS_AVX2
#include <immintrin.h>
#endif

enum { LANES = 16 }; /* blocks computed side by side */

static const uint32_t multiplier[2] = {0xD2511F53u, 0xCD9E8D57u};
static const uint32_t weyl[2] = {0x9E3779B9u, 0xBB67AE85u};

void sow_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t x[4] = {counter[0], counter[1], counter[2], counter[3]};
    uint32_t k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)multiplier[0] * x[0];
        uint64_t p1 = (uint64_t)multiplier[1] * x[2];
        uint32_t y0 = (uint32_t)(p1 >> 32) ^ x[1] ^ k[0];
        uint32_t y2 = (uint32_t)(p0 >> 32) ^ x[3] ^ k[1];
        x[0] = y0;
        x[1] = (uint32_t)p1;
        x[2] = y2;
        x[3] = (uint32_t)p0;
        k[0] += weyl[0];
        k[1] += weyl[1];
    }
    memcpy(out, x, sizeof x);
}

/* Where a fill stands. */
typedef struct place {
    uint64_t seed, stream, index;
} place;

static void block_at(place at, uint64_t index, uint32_t out[4]) {
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)at.stream,
                                 (uint32_t)(at.stream >> 32)};
    const uint32_t key[2] = {(uint32_t)at.seed, (uint32_t)(at.seed >> 32)};
    sow_philox(counter, key, out);
}

/* Words of LANES blocks: x[w][j] is word w of block at.index + j. */
static void words_plain(place at, uint32_t x[4][LANES]) {
    for (int j = 0; j < LANES; j++) {
        uint32_t block[4];
        block_at(at, at.index + (uint64_t)j, block);
        for (int w = 0; w < 4; w++) x[w][j] = block[w];
    }
}

#ifdef RANDOM_HAS_AVX2
/* Eight products of 32 bits, as their upper and lower halves. */
#define PRODUCTS(X, BY, HIGH, LOW)                                           \
    do {                                                                     \
        __m256i even = _mm256_mul_epu32(X, BY);                              \
        __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(X, 32), BY);        \
        (HIGH) = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa); \
        (LOW) = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);  \
    } while (0)

__attribute__((target("avx2"))) static void words_avx2(place at, uint32_t x[4][LANES]) {
    const __m256i by0 = _mm256_set1_epi64x(multiplier[0]), by1 = _mm256_set1_epi64x(multiplier[1]);
    for (int j = 0; j < LANES; j++) {
        uint64_t index = at.index + (uint64_t)j;
        x[0][j] = (uint32_t)index;
        x[1][j] = (uint32_t)(index >> 32);
    }
    /* Two halves of eight blocks in step, so that one hides the other's latency. */
    __m256i c[2][4], k0 = _mm256_set1_epi32((int)(uint32_t)at.seed), k1 = _mm256_set1_epi32((int)(at.seed >> 32));
    for (int h = 0; h < 2; h++) {
        c[h][0] = _mm256_loadu_si256((const __m256i *)&x[0][8 * h]);
        c[h][1] = _mm256_loadu_si256((const __m256i *)&x[1][8 * h]);
        c[h][2] = _mm256_set1_epi32((int)(uint32_t)at.stream);
        c[h][3] = _mm256_set1_epi32((int)(at.stream >> 32));
    }
    for (int round = 0; round < 10; round++) {
        for (int h = 0; h < 2; h++) {
            __m256i high0, low0, high1, low1;
            PRODUCTS(c[h][0], by0, high0, low0);
            PRODUCTS(c[h][2], by1, high1, low1);
            c[h][0] = _mm256_xor_si256(_mm256_xor_si256(high1, c[h][1]), k0);
            c[h][1] = low1;
            c[h][2] = _mm256_xor_si256(_mm256_xor_si256(high0, c[h][3]), k1);
            c[h][3] = low0;
        }
        k0 = _mm256_add_epi32(k0, _mm256_set1_epi32((int)weyl[0]));
        k1 = _mm256_add_epi32(k1, _mm256_set1_epi32((int)weyl[1]));
    }
    for (int h = 0; h < 2; h++)
        for (int w = 0; w < 4; w++) _mm256_storeu_si256((__m256i *)&x[w][8 * h], c[h][w]);
}
#endif

static void words_of_lanes(place at, int64_t group, uint32_t x[4][LANES]) {
    at.index += (uint64_t)group * LANES;
#ifdef RANDOM_HAS_AVX2
    if (__builtin_cpu_supports("avx2")) {
        words_avx2(at, x);
        return;
    }
#endif
    words_plain(at, x);
}

/* What a kernel makes of its words: uniform: low + span * u, at most `last`; normal: low + span * z. Kernels
 * write whole groups of LANES blocks. */
typedef struct scale_f32 {
    float low, span, last;
} scale_f32;
typedef struct scale_f64 {
    double low, span, last;
} scale_f64;

/* ---- uniform ---- */

/* The sum may round up to the open bound, so it is held at the largest number below. */
EXACT_INLINE void uniform_f32_body(place at, float *out, int64_t groups, scale_f32 scale) {
    for (int64_t g = 0; g < groups; g++, out += 4 * LANES) {
        uint32_t x[4][LANES];
        float value[4][LANES];
        words_of_lanes(at, g, x);
        for (int w = 0; w < 4; w++) {
            for (int j = 0; j < LANES; j++) {
                float v = scale.low + (float)(int32_t)(x[w][j] >> 8) * 0x1p-24f * scale.span;
                value[w][j] = v < scale.last ? v : scale.last;
            }
        }
        for (int j = 0; j < LANES; j++)
            for (int w = 0; w < 4; w++) out[4 * j + w] = value[w][j];
    }
}
RANDOM_KERNEL(uniform_f32, (place at, float *out, int64_t groups, scale_f32 scale), (at, out, groups, scale))

EXACT_INLINE void uniform_f64_body(place at, double *out, int64_t groups, scale_f64 scale) {
    for (int64_t g = 0; g < groups; g++, out += 2 * LANES) {
        uint32_t x[4][LANES];
        words_of_lanes(at, g, x);
        for (int j = 0; j < LANES; j++) {
            double first = scale.low + random_unit(x[0][j], x[1][j]) * scale.span;
            double second = scale.low + random_unit(x[2][j], x[3][j]) * scale.span;
            out[2 * j] = first < scale.last ? first : scale.last;
            out[2 * j + 1] = second < scale.last ? second : scale.last;
        }
    }
}
RANDOM_KERNEL(uniform_f64, (place at, double *out, int64_t groups, scale_f64 scale), (at, out, groups, scale))

/* ---- normal ---- */

/* Box and Muller 1958: radius sqrt(-2 log u) with u in (0, 1], and an angle of which the upper two bits choose
 * the quadrant and the others lie in [-pi/4, pi/4). u has 31 bits and more near zero: |z| reaches 6.66. */
EXACT_INLINE void pairs_f32(const uint32_t radius_word[LANES], const uint32_t angle_word[LANES], float first[LANES],
                            float second[LANES], scale_f32 scale) {
    float radius[LANES];
    for (int j = 0; j < LANES; j++)
        radius[j] = -2.0f * exact_log_f32((float)(int32_t)(radius_word[j] >> 1) * 0x1p-31f + 0x1p-32f);
    exact_roots_f32(radius, LANES);
    for (int j = 0; j < LANES; j++) {
        uint32_t word = angle_word[j];
        float angle = (float)((int32_t)(word & 0x3fffffffu) - 0x20000000) * (float)(EXACT_HALF_PI * 0x1p-30);
        uint32_t s = bits_of_f32(exact_sine_f32(angle));
        uint32_t c = bits_of_f32(exact_cosine_f32(angle));
        uint32_t swap = (s ^ c) & (0u - ((word >> 30) & 1u));
        float cosine = f32_of_bits(c ^ swap ^ ((word ^ (word << 1)) & 0x80000000u));
        float sine = f32_of_bits(s ^ swap ^ (word & 0x80000000u));
        first[j] = scale.low + scale.span * (radius[j] * cosine);
        second[j] = scale.low + scale.span * (radius[j] * sine);
    }
}

EXACT_INLINE void normal_f32_body(place at, float *out, int64_t groups, scale_f32 scale) {
    for (int64_t g = 0; g < groups; g++, out += 4 * LANES) {
        uint32_t x[4][LANES];
        float z[4][LANES];
        words_of_lanes(at, g, x);
        pairs_f32(x[0], x[1], z[0], z[1], scale);
        pairs_f32(x[2], x[3], z[2], z[3], scale);
        for (int j = 0; j < LANES; j++)
            for (int w = 0; w < 4; w++) out[4 * j + w] = z[w][j];
    }
}
RANDOM_KERNEL(normal_f32, (place at, float *out, int64_t groups, scale_f32 scale), (at, out, groups, scale))

/* The same in f64: words 0 and 1 give u with 53 bits, words 2 and 3 the angle with 55; |z| reaches 8.6. */
EXACT_INLINE void normal_f64_body(place at, double *out, int64_t groups, scale_f64 scale) {
    for (int64_t g = 0; g < groups; g++, out += 2 * LANES) {
        uint32_t x[4][LANES];
        double radius[LANES], angle[LANES];
        uint64_t quadrant[LANES];
        words_of_lanes(at, g, x);
        for (int j = 0; j < LANES; j++) {
            radius[j] = -2.0 * exact_log_f64(random_unit(x[0][j], x[1][j]) + 0x1p-54);
            double whole = (double)((int32_t)(x[2][j] & 0x3fffffffu) - 0x20000000);
            double part = (double)(int32_t)(x[3][j] >> 9) * 0x1p-23;
            angle[j] = (whole + part) * (EXACT_HALF_PI * 0x1p-30);
            quadrant[j] = x[2][j] >> 30;
        }
        exact_roots_f64(radius, LANES);
        for (int j = 0; j < LANES; j++) {
            uint64_t s = bits_of_f64(exact_sine_f64(angle[j], 0.0));
            uint64_t c = bits_of_f64(exact_cosine_f64(angle[j], 0.0));
            uint64_t swap = (s ^ c) & (0u - (quadrant[j] & 1u));
            double cosine = f64_of_bits(c ^ swap ^ (((quadrant[j] >> 1) ^ quadrant[j]) << 63));
            double sine = f64_of_bits(s ^ swap ^ ((quadrant[j] >> 1) << 63));
            out[2 * j] = scale.low + scale.span * (radius[j] * cosine);
            out[2 * j + 1] = scale.low + scale.span * (radius[j] * sine);
        }
    }
}
RANDOM_KERNEL(normal_f64, (place at, double *out, int64_t groups, scale_f64 scale), (at, out, groups, scale))

/* ---- fills: whole groups in place, the last one through a buffer, so that no number depends on n ---- */

static place place_of(const sow_rng *rng) {
    return (place){rng->seed, rng->stream, rng->index};
}

static void advance(sow_rng *rng, int64_t n, int64_t numbers_a_block) {
    rng->index += (uint64_t)(n / numbers_a_block) + (n % numbers_a_block != 0);
}

static void fill_f32(sow_rng *rng, float *out, int64_t n, void (*kernel)(place, float *, int64_t, scale_f32),
                     scale_f32 scale) {
    enum { GROUP = 4 * LANES };
    place at = place_of(rng);
    int64_t groups = n / GROUP, left = n % GROUP;
    kernel(at, out, groups, scale);
    if (left > 0) {
        float buffer[GROUP];
        at.index += (uint64_t)groups * LANES;
        kernel(at, buffer, 1, scale);
        memcpy(out + groups * GROUP, buffer, (size_t)left * sizeof *buffer);
    }
    advance(rng, n, 4);
}

static void fill_f64(sow_rng *rng, double *out, int64_t n, void (*kernel)(place, double *, int64_t, scale_f64),
                     scale_f64 scale) {
    enum { GROUP = 2 * LANES };
    place at = place_of(rng);
    int64_t groups = n / GROUP, left = n % GROUP;
    kernel(at, out, groups, scale);
    if (left > 0) {
        double buffer[GROUP];
        at.index += (uint64_t)groups * LANES;
        kernel(at, buffer, 1, scale);
        memcpy(out + groups * GROUP, buffer, (size_t)left * sizeof *buffer);
    }
    advance(rng, n, 2);
}

static void fill_uniform_f32(sow_rng *rng, float *out, int64_t n, double low_bound, double high_bound) {
    float low = (float)low_bound, high = (float)high_bound;
    fill_f32(rng, out, n, uniform_f32, (scale_f32){low, high - low, nextafterf(high, low)});
}

static void fill_uniform_f64(sow_rng *rng, double *out, int64_t n, double low, double high) {
    fill_f64(rng, out, n, uniform_f64, (scale_f64){low, high - low, nextafter(high, low)});
}

static void fill_normal_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd) {
    fill_f32(rng, out, n, normal_f32, (scale_f32){(float)mean, (float)sd, 0.0f});
}

static void fill_normal_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd) {
    fill_f64(rng, out, n, normal_f64, (scale_f64){mean, sd, 0.0});
}

/* ---- truncated normal ---- */

/* Attempts of the number at `position` (counted from the start of the stream) come from side streams, one an
 * attempt and dtype, so that a rejection moves no other number. */
static double attempt_until_accepted(const random_truncation *truncation, place at, uint64_t position, bool f64,
                                     double low, double high) {
    for (uint64_t attempt = 1;; attempt++) {
        uint32_t w[4];
        double x;
        uint64_t side = at.stream + (2 * attempt + f64) * 0x9e3779b97f4a7c15u; /* splitmix64 */
        side = (side ^ (side >> 30)) * 0xbf58476d1ce4e5b9u;
        side = (side ^ (side >> 27)) * 0x94d049bb133111ebu;
        side ^= side >> 31;
        if (truncation->proposal == PROPOSE_NORMAL) {
            sow_rng beside = {.kind = SOW_RNG_SOW, .seed = at.seed, .stream = side, .index = position};
            fill_normal_f64(&beside, &x, 1, truncation->mean, truncation->sd);
            if (x >= low && x <= high) return x;
            continue;
        }
        block_at((place){at.seed, side, 0}, position, w);
        if (random_truncation_propose(truncation, random_unit(w[0], w[1]) + 0x1p-54, random_unit(w[2], w[3]) + 0x1p-54,
                                      &x))
            return fmax(low, fmin(high, x)); /* rounding may step over a bound */
    }
}

static sow_status fill_truncated_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd, double low,
                                     double high) {
    const place at = place_of(rng);
    const random_truncation truncation = random_truncation_of(mean, sd, low, high);
    const bool normal = truncation.proposal == PROPOSE_NORMAL;
    if (normal) fill_normal_f32(rng, out, n, mean, sd);
    else advance(rng, n, 4);
    for (int64_t i = 0; i < n; i++) {
        if (normal && out[i] >= (float)low && out[i] <= (float)high) continue;
        out[i] = (float)attempt_until_accepted(&truncation, at, at.index * 4 + (uint64_t)i, false, low, high);
    }
    return SOW_OK;
}

static sow_status fill_truncated_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd, double low,
                                     double high) {
    const place at = place_of(rng);
    const random_truncation truncation = random_truncation_of(mean, sd, low, high);
    const bool normal = truncation.proposal == PROPOSE_NORMAL;
    if (normal) fill_normal_f64(rng, out, n, mean, sd);
    else advance(rng, n, 2);
    for (int64_t i = 0; i < n; i++) {
        if (normal && out[i] >= low && out[i] <= high) continue;
        out[i] = attempt_until_accepted(&truncation, at, at.index * 2 + (uint64_t)i, true, low, high);
    }
    return SOW_OK;
}

/* ---- integers ---- */

/* Words of a stream one by one, a group of blocks at a time. */
typedef struct word_reader {
    place at;
    int used;
    uint32_t words[4 * LANES];
} word_reader;

static void read_group(word_reader *reader) {
    uint32_t x[4][LANES];
    words_of_lanes(reader->at, 0, x);
    for (int j = 0; j < LANES; j++)
        for (int w = 0; w < 4; w++) reader->words[4 * j + w] = x[w][j];
}

static uint32_t next_word(word_reader *reader) {
    if (reader->used == 4 * LANES) {
        reader->at.index += LANES;
        read_group(reader);
        reader->used = 0;
    }
    return reader->words[reader->used++];
}

/* Lemire 2019 (arXiv 1805.10941): the upper half of a product, rejecting what would favour some results. */
static uint64_t below_of_reader(word_reader *reader, uint64_t bound) {
    if (bound <= 0xffffffffu) {
        const uint32_t rejected = (uint32_t)(0u - (uint32_t)bound) % (uint32_t)bound;
        uint64_t product;
        do product = next_word(reader) * bound;
        while ((uint32_t)product < rejected);
        return product >> 32;
    }
    const uint64_t rejected = (0u - bound) % bound;
    for (;;) {
        uint64_t high = next_word(reader);
        unsigned __int128 product = (unsigned __int128)(high << 32 | next_word(reader)) * bound;
        if ((uint64_t)product >= rejected) return (uint64_t)(product >> 64);
    }
}

static word_reader reader_of(const sow_rng *rng) {
    word_reader reader = {.at = place_of(rng)};
    read_group(&reader);
    return reader;
}

/* The block behind the last one that was read from. */
static void end_reading(sow_rng *rng, const word_reader *reader) {
    rng->index = reader->at.index + (uint64_t)(reader->used + 3) / 4;
}

static uint64_t one_below(sow_rng *rng, uint64_t bound) {
    word_reader reader = reader_of(rng);
    uint64_t result = below_of_reader(&reader, bound);
    end_reading(rng, &reader);
    return result;
}

/* Fisher-Yates from the end. */
static void fill_permutation(sow_rng *rng, int64_t *out, int64_t n) {
    word_reader reader = reader_of(rng);
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) random_swap(out, i, (int64_t)below_of_reader(&reader, (uint64_t)i + 1));
    end_reading(rng, &reader);
}

/* ---- streams by name ---- */

/* FNV-1a, 64 bits: of purpose, a zero byte, name. */
static uint64_t hash_bytes(uint64_t hash, const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)text[i]) * 0x00000100000001b3u;
    return hash;
}

void sow_rng_at(sow_rng *rng, const char *purpose, const char *name) {
    if (rng->kind != SOW_RNG_SOW) return;
    uint64_t hash = hash_bytes(0xcbf29ce484222325u, purpose, strlen(purpose) + 1);
    rng->stream = hash_bytes(hash, name, strlen(name));
    rng->index = 0;
}

void sow_rng_at_index(sow_rng *rng, const char *purpose, uint64_t number) {
    char digits[24], *first = digits + sizeof digits - 1;
    *first = '\0';
    do *--first = (char)('0' + number % 10);
    while (number /= 10);
    sow_rng_at(rng, purpose, first);
}

static sow_status seed_philox(sow_rng *rng, uint64_t seed) {
    (void)seed; /* the key itself */
    sow_rng_at(rng, "", "");
    return SOW_OK;
}

const random_methods random_sow = {
    .name = "sow",
    .seed = seed_philox,
    .uniform_f32 = fill_uniform_f32,
    .uniform_f64 = fill_uniform_f64,
    .normal_f32 = fill_normal_f32,
    .normal_f64 = fill_normal_f64,
    .truncated_f32 = fill_truncated_f32,
    .truncated_f64 = fill_truncated_f64,
    .below = one_below,
    .permutation = fill_permutation,
};
