/* Products of quantised rows with a vector: blocks are made into floats in registers, never in memory. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/clones.h"
#include "sow/gguf.h"

enum { PART = 32 /* values */, BUFFER = 256 };
#define LOW 32768.0F

/* ---- the vector ---- */

/* The sum of a part, and what its whole numbers are times; 0 where the part is as good as zero. Numbers that are not finite
 * reach every product through the scale. */
static float part_scale(const float *x, float *sum) {
    float largest = 0, lane[4] = {0};
    for (int i = 0; i < PART; i++) {
        float size = fabsf(x[i]);
        largest = size > largest || size != size ? size : largest;
        lane[i % 4] += x[i];
    }
    *sum = (lane[0] + lane[1]) + (lane[2] + lane[3]);
    return largest <= FLT_MAX ? (largest < 1e-30F ? 0 : largest / INT16_MAX) : NAN;
}

/* The AVX2 code multiplies whole numbers: x is scale * (high + low / LOW), as exact as the float was beside the part's largest. */
SOW_CLONES void sow_gguf_prepare(const float *x, int64_t width, float *room, sow_gguf_vector *out) {
    int16_t *words = (int16_t *)(void *)room;
    float *scales = room + width / PART * PART;
    for (int64_t k = 0; k < width / PART; k++) {
        const float *from = x + PART * k;
        int16_t *high = words + 2 * PART * k, *low = high + PART;
        float scale = part_scale(from, &scales[2 * k + 1]), inverse = scale > 0 ? 1 / scale : 0;
        scales[2 * k] = scale;
        for (int i = 0; i < PART; i++) {
            float z = scale > 0 ? from[i] * inverse : 0, whole = rintf(z);
            high[i] = (int16_t)whole;
            low[i] = (int16_t)rintf((z - whole) * LOW);
        }
    }
    *out = (sow_gguf_vector){x, words, scales};
}

/* ---- any processor: a few blocks at a time as floats ---- */

SOW_CLONES static float dot(const float *restrict a, const float *restrict b, int64_t n) {
    float lane[16] = {0}, sum = 0;
    int64_t whole = n / 16 * 16;
    for (int64_t i = 0; i < whole; i += 16)
        for (int j = 0; j < 16; j++) lane[j] += a[i + j] * b[i + j];
    for (int64_t i = whole; i < n; i++) lane[i - whole] += a[i] * b[i];
    for (int j = 0; j < 16; j++) sum += lane[j];
    return sum;
}

static float row_by_floats(sow_gguf_type type, const uint8_t *row, int64_t width, const float *x) {
    float values[BUFFER], sum = 0;
    int64_t block, bytes;
    sow_gguf_block(type, &block, &bytes);
    for (int64_t at = 0; at < width; at += BUFFER) {
        int64_t n = width - at < BUFFER ? width - at : BUFFER;
        sow_gguf_dequantise(type, row + at / block * bytes, n, values);
        sum += dot(values, x + at, n);
    }
    return sum;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX2_INLINE __attribute__((target("avx2,fma,f16c"), always_inline)) static inline

/* ---- AVX2: a part's quants times the vector's whole numbers, in whole numbers; then one float a part ---- */

typedef struct row_sum {
    __m256 high, low;
    __m128 base; /* in its second lane: what all values of a part have in common, times the part's sum */
} row_sum;

AVX2_INLINE __m256i load(const void *p) {
    return _mm256_loadu_si256(p);
}

/* 16 bytes as words */
AVX2_INLINE __m256i words_of(const void *p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(p));
}

/* d * (a and b, 16 values each, times the part of x). */
AVX2_INLINE void add_part(row_sum *s, __m256i a, __m256i b, __m256 d, const int16_t *x) {
    __m256i high = _mm256_add_epi32(_mm256_madd_epi16(a, load(x)), _mm256_madd_epi16(b, load(x + 16)));
    __m256i low = _mm256_add_epi32(_mm256_madd_epi16(a, load(x + PART)), _mm256_madd_epi16(b, load(x + PART + 16)));
    s->high = _mm256_fmadd_ps(_mm256_cvtepi32_ps(high), d, s->high);
    s->low = _mm256_fmadd_ps(_mm256_cvtepi32_ps(low), d, s->low);
}

/* Both lanes times scale and sum of a part. */
AVX2_INLINE __m128 scaled(__m128 d, const float *scales) {
    return _mm_mul_ps(d, _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(const void *)scales)));
}

/* offset: how often the base counts. */
AVX2_INLINE float finish(const row_sum *s, float offset) {
    __m256 both = _mm256_fmadd_ps(s->low, _mm256_set1_ps(1 / LOW), s->high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    four = _mm_add_ss(four, _mm_movehdup_ps(four));
    return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(offset), _mm_movehdup_ps(s->base), four));
}

/* Two halves that lie one behind the other: a scale and what is beside it. */
AVX2_INLINE __m128 halves(const uint8_t *p) {
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    return _mm_cvtph_ps(_mm_cvtsi32_si128(bits));
}

/* One, twice. */
AVX2_INLINE __m128 one_half(const uint8_t *p) {
    uint16_t bits;
    memcpy(&bits, p, sizeof bits);
    return _mm_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
}

/* 16 bytes: their low nibbles, then their high ones. */
AVX2_INLINE __m256i nibbles(const uint8_t *p) {
    __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_and_si256(_mm256_srlv_epi32(both, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4)), _mm256_set1_epi8(15));
}

/* 16 in the bytes whose bit is set. */
AVX2_INLINE __m256i fifth_bits(const uint8_t *p) {
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    __m256i spread = _mm256_shuffle_epi8(
        _mm256_set1_epi32(bits), _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
    __m256i own = _mm256_set1_epi64x((long long)0x8040201008040201);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, own), own), _mm256_set1_epi8(16));
}

AVX2_INLINE float row_q4(const uint8_t *b, int64_t width, const sow_gguf_vector *x, bool least) {
    row_sum s = {0};
    for (int64_t k = 0; k < width / PART; k++, b += least ? 20 : 18) {
        __m256i w = words_of(b + (least ? 4 : 2));
        __m128 d = scaled(least ? halves(b) : one_half(b), x->scales + 2 * k);
        s.base = _mm_add_ps(s.base, d);
        add_part(&s, _mm256_and_si256(w, _mm256_set1_epi16(15)), _mm256_srli_epi16(w, 4), _mm256_broadcastss_ps(d),
                 x->words + 2 * PART * k);
    }
    return finish(&s, least ? 1 : -8);
}

AVX2_INLINE float row_q5(const uint8_t *b, int64_t width, const sow_gguf_vector *x, bool least) {
    row_sum s = {0};
    for (int64_t k = 0; k < width / PART; k++, b += least ? 24 : 22) {
        const uint8_t *bits = b + (least ? 4 : 2);
        __m256i q = _mm256_or_si256(nibbles(bits + 4), fifth_bits(bits));
        __m128 d = scaled(least ? halves(b) : one_half(b), x->scales + 2 * k);
        s.base = _mm_add_ps(s.base, d);
        add_part(&s, _mm256_cvtepu8_epi16(_mm256_castsi256_si128(q)),
                 _mm256_cvtepu8_epi16(_mm256_extracti128_si256(q, 1)), _mm256_broadcastss_ps(d),
                 x->words + 2 * PART * k);
    }
    return finish(&s, least ? 1 : -16);
}

AVX2_INLINE __m256i signed_words_of(const void *p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(p));
}

AVX2 static float row_q8_0(const uint8_t *b, int64_t width, const sow_gguf_vector *x) {
    row_sum s = {0};
    for (int64_t k = 0; k < width / PART; k++, b += 34) {
        __m128 d = _mm_mul_ss(one_half(b), _mm_load_ss(x->scales + 2 * k));
        add_part(&s, signed_words_of(b + 2), signed_words_of(b + 18), _mm256_broadcastss_ps(d),
                 x->words + 2 * PART * k);
    }
    return finish(&s, 0);
}

/* Scale and least value of the eight groups of a block of Q4_K or Q5_K: six bits each in twelve bytes. */
AVX2_INLINE void scales_of(const uint8_t *p, uint8_t scale[8], uint8_t least[8]) {
    for (int g = 0; g < 4; g++) {
        scale[g] = p[g] & 63;
        least[g] = p[g + 4] & 63;
        scale[g + 4] = (uint8_t)((p[g + 8] & 15) | (p[g] >> 6) << 4);
        least[g + 4] = (uint8_t)((p[g + 8] >> 4) | (p[g + 4] >> 6) << 4);
    }
}

/* 32 bytes hold the low nibbles of two groups; Q5_K: bit g of `high` is the fifth of group g. */
AVX2_INLINE float row_k(const uint8_t *b, int64_t width, const sow_gguf_vector *x, bool fifth) {
    row_sum s = {0};
    for (int64_t k = 0; k < width / 256; k++, b += fifth ? 176 : 144) {
        uint8_t scale[8], least[8];
        __m128 both = halves(b);
        scales_of(b + 4, scale, least);
        for (int g = 0; g < 8; g++) {
            const uint8_t *from = b + (fifth ? 48 : 16) + 32 * (g / 2);
            const float *scales = x->scales + 16 * k + 2 * g;
            __m256i q[2];
            for (int i = 0; i < 2; i++) {
                __m256i w = words_of(from + 16 * i), bit = _mm256_set1_epi16((short)(1 << g));
                q[i] = _mm256_and_si256(g % 2 ? _mm256_srli_epi16(w, 4) : w, _mm256_set1_epi16(15));
                if (!fifth) continue;
                __m256i set = _mm256_cmpeq_epi16(_mm256_and_si256(words_of(b + 16 + 16 * i), bit), bit);
                q[i] = _mm256_or_si256(q[i], _mm256_and_si256(set, _mm256_set1_epi16(16)));
            }
            __m128 d = scaled(_mm_mul_ps(both, _mm_setr_ps(scale[g], least[g], 0, 0)), scales);
            s.base = _mm_add_ps(s.base, d);
            add_part(&s, q[0], q[1], _mm256_broadcastss_ps(d), x->words + 2 * (256 * k + 32 * g));
        }
    }
    return finish(&s, -1);
}

/* Each half of a part has a scale of its own. */
AVX2 static float row_q6_k(const uint8_t *b, int64_t width, const sow_gguf_vector *x) {
    row_sum s = {0};
    __m256i zero = _mm256_setzero_si256(), low = _mm256_set1_epi8(15), upper = _mm256_set1_epi8(48);
    for (int64_t k = 0; k < width / 256; k++, b += 210) {
        float d = _mm_cvtss_f32(one_half(b + 208));
        for (int part = 0; part < 8; part++) {
            int half = part / 4, i = part % 4;
            const int8_t *scale = (const int8_t *)b + 192 + 8 * half + 2 * i;
            const int16_t *words = x->words + 2 * (256 * k + 32 * part);
            __m256i q = load(b + 64 * half + 32 * (i % 2)), high = load(b + 128 + 32 * half);
            q = _mm256_and_si256(i < 2 ? q : _mm256_srli_epi16(q, 4), low);
            high = i == 0   ? _mm256_slli_epi16(high, 4)
                   : i == 1 ? _mm256_slli_epi16(high, 2)
                   : i == 2 ? high
                            : _mm256_srli_epi16(high, 2);
            q = _mm256_sub_epi8(_mm256_or_si256(q, _mm256_and_si256(high, upper)), _mm256_set1_epi8(32));
            float own = d * x->scales[16 * k + 2 * part];
            add_part(&s, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(q)), zero, _mm256_set1_ps(own * (float)scale[0]),
                     words);
            add_part(&s, zero, _mm256_cvtepi8_epi16(_mm256_extracti128_si256(q, 1)),
                     _mm256_set1_ps(own * (float)scale[1]), words);
        }
    }
    return finish(&s, 0);
}

AVX2_INLINE __m256 eight(sow_gguf_type type, const uint8_t *b, int64_t i) {
    if (type == SOW_GGUF_F32) return _mm256_loadu_ps((const float *)(const void *)(b + 4 * i));
    __m128i bits = _mm_loadu_si128((const __m128i *)(const void *)(b + 2 * i));
    if (type == SOW_GGUF_F16) return _mm256_cvtph_ps(bits);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

/* Plain values; the last few by floats. */
AVX2_INLINE float row_plain(sow_gguf_type type, const uint8_t *b, int64_t width, const float *x) {
    row_sum s = {0};
    int64_t whole = width / 16 * 16, bytes = type == SOW_GGUF_F32 ? 4 : 2;
    for (int64_t i = 0; i < whole; i += 16) {
        s.high = _mm256_fmadd_ps(eight(type, b, i), _mm256_loadu_ps(x + i), s.high);
        s.low = _mm256_fmadd_ps(eight(type, b, i + 8), _mm256_loadu_ps(x + i + 8), s.low);
    }
    s.high = _mm256_add_ps(s.high, s.low);
    s.low = _mm256_setzero_ps();
    return finish(&s, 0) + (whole < width ? row_by_floats(type, b + whole * bytes, width - whole, x + whole) : 0);
}

/* Every processor with AVX2 has F16C, for which clang has no word here. Asking cpuid itself takes 20 us on a virtual machine. */
static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

AVX2 static float row_by_bytes(sow_gguf_type type, const uint8_t *row, int64_t width, const sow_gguf_vector *x) {
    switch (type) {
    case SOW_GGUF_Q4_0: return row_q4(row, width, x, false);
    case SOW_GGUF_Q4_1: return row_q4(row, width, x, true);
    case SOW_GGUF_Q5_0: return row_q5(row, width, x, false);
    case SOW_GGUF_Q5_1: return row_q5(row, width, x, true);
    case SOW_GGUF_Q8_0: return row_q8_0(row, width, x);
    case SOW_GGUF_Q4_K: return row_k(row, width, x, false);
    case SOW_GGUF_Q5_K: return row_k(row, width, x, true);
    case SOW_GGUF_Q6_K: return row_q6_k(row, width, x);
    case SOW_GGUF_F16: return row_plain(SOW_GGUF_F16, row, width, x->x);
    case SOW_GGUF_BF16: return row_plain(SOW_GGUF_BF16, row, width, x->x);
    default: return row_plain(SOW_GGUF_F32, row, width, x->x);
    }
}
#else
static bool has_avx2(void) {
    return false;
}
static float row_by_bytes(sow_gguf_type type, const uint8_t *row, int64_t width, const sow_gguf_vector *x) {
    return row_by_floats(type, row, width, x->x);
}
#endif

void sow_gguf_products(sow_gguf_type type, const void *rows, int64_t stride, int64_t count, int64_t width,
                       const sow_gguf_vector *x, float *y) {
    const uint8_t *row = rows;
    bool fast = has_avx2();
    for (int64_t r = 0; r < count; r++, row += stride)
        y[r] = fast ? row_by_bytes(type, row, width, x) : row_by_floats(type, row, width, x->x);
}
