/* Products of quantised rows with a vector: blocks are made into floats in registers, never in memory. */
#include <string.h>

#include "base/clones.h"
#include "sow/gguf.h"

enum { PART = 32 /* values */, BUFFER = 256 };

/* ---- the vector ---- */

/* The AVX2 code spreads the bytes of a part over lanes: four of its first half, then four of its second. */
void sow_gguf_prepare(const float *x, int64_t width, float *room, sow_gguf_vector *out) {
    float *sums = room + width;
    for (int64_t k = 0; k < width / PART; k++) {
        const float *from = x + PART * k;
        float *to = room + PART * k;
        for (int i = 0; i < 4; i++) {
            memcpy(to + 8 * i, from + 4 * i, 4 * sizeof *to);
            memcpy(to + 8 * i + 4, from + 16 + 4 * i, 4 * sizeof *to);
        }
        for (int half = 0; half < 2; half++) {
            float lane[4] = {0};
            for (int i = 0; i < 16; i++) lane[i % 4] += from[16 * half + i];
            sums[2 * k + half] = (lane[0] + lane[1]) + (lane[2] + lane[3]);
        }
    }
    *out = (sow_gguf_vector){x, room, sums};
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

/* ---- AVX2: floats are put together from bytes. A small whole number q beside a power of two p has the bits of the float
 * p + q in its two upper bytes, so no conversion is needed; what p adds is taken off by the sums of x. ---- */

typedef struct row_sum {
    __m256 lanes[2];
    __m128 base; /* one number */
} row_sum;

/* 32 bytes, the third of a float each, whose fourth is `top`: d * (p + q) times the part of x. */
AVX2_INLINE void add_part(row_sum *s, __m256i third, char top, __m256 d, const float *x) {
    __m256i zero = _mm256_setzero_si256(), fourth = _mm256_set1_epi8(top);
    __m256i low = _mm256_unpacklo_epi8(third, fourth), high = _mm256_unpackhi_epi8(third, fourth);
    __m256 a = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, low)), _mm256_loadu_ps(x));
    __m256 b = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, low)), _mm256_loadu_ps(x + 8));
    a = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, high)), _mm256_loadu_ps(x + 16), a);
    b = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, high)), _mm256_loadu_ps(x + 24), b);
    s->lanes[0] = _mm256_fmadd_ps(d, a, s->lanes[0]);
    s->lanes[1] = _mm256_fmadd_ps(d, b, s->lanes[1]);
}

/* base * (the sum of a part) */
AVX2_INLINE void add_base(row_sum *s, __m128 base, const float *sums) {
    __m128 part = _mm_add_ss(_mm_load_ss(sums), _mm_load_ss(sums + 1));
    s->base = _mm_fmadd_ss(base, part, s->base);
}

AVX2_INLINE float finish(const row_sum *s) {
    __m256 both = _mm256_add_ps(s->lanes[0], s->lanes[1]);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(_mm_add_ss(four, _mm_movehdup_ps(four)), s->base));
}

/* Two halves that lie one behind the other: a scale and what is beside it. */
AVX2_INLINE __m128 halves(const uint8_t *p) {
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    return _mm_cvtph_ps(_mm_cvtsi32_si128(bits));
}

AVX2_INLINE __m128 one_half(const uint8_t *p) {
    uint16_t bits;
    memcpy(&bits, p, sizeof bits);
    return _mm_cvtph_ps(_mm_cvtsi32_si128(bits));
}

/* 16 bytes: their low nibbles, then their high ones. */
AVX2_INLINE __m256i nibbles(const uint8_t *p) {
    __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_and_si256(_mm256_srlv_epi32(both, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4)), _mm256_set1_epi8(15));
}

/* The third byte of 16 + q, q below 16; the fourth is 0x41. */
AVX2_INLINE __m256i third_of_16(__m256i q) {
    __m128i table = _mm_setr_epi8(-128, -120, -112, -104, -96, -88, -80, -72, -64, -56, -48, -40, -32, -24, -16, -8);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), q);
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

AVX2 static float row_q4(const uint8_t *b, int64_t width, const sow_gguf_vector *x, bool least) {
    row_sum s = {{_mm256_setzero_ps(), _mm256_setzero_ps()}, _mm_setzero_ps()};
    for (int64_t k = 0; k < width / 32; k++, b += least ? 20 : 18) {
        __m128 d = least ? halves(b) : one_half(b);
        add_part(&s, third_of_16(nibbles(b + (least ? 4 : 2))), 0x41, _mm256_broadcastss_ps(d), x->lanes + 32 * k);
        __m128 base = least ? _mm_fnmadd_ss(_mm_set_ss(16), d, _mm_movehdup_ps(d)) : _mm_mul_ss(_mm_set_ss(-24), d);
        add_base(&s, base, x->sums + 2 * k);
    }
    return finish(&s);
}

/* 32 + q, q below 32: third byte 4 q, fourth 0x42. */
AVX2 static float row_q5(const uint8_t *b, int64_t width, const sow_gguf_vector *x, bool least) {
    row_sum s = {{_mm256_setzero_ps(), _mm256_setzero_ps()}, _mm_setzero_ps()};
    for (int64_t k = 0; k < width / 32; k++, b += least ? 24 : 22) {
        const uint8_t *high = b + (least ? 4 : 2);
        __m128 d = least ? halves(b) : one_half(b);
        __m256i q = _mm256_or_si256(nibbles(high + 4), fifth_bits(high));
        add_part(&s, _mm256_slli_epi16(q, 2), 0x42, _mm256_broadcastss_ps(d), x->lanes + 32 * k);
        __m128 base = least ? _mm_fnmadd_ss(_mm_set_ss(32), d, _mm_movehdup_ps(d)) : _mm_mul_ss(_mm_set_ss(-48), d);
        add_base(&s, base, x->sums + 2 * k);
    }
    return finish(&s);
}

/* Signed bytes are converted as they come. */
AVX2 static float row_q8_0(const uint8_t *b, int64_t width, const sow_gguf_vector *v) {
    row_sum s = {{_mm256_setzero_ps(), _mm256_setzero_ps()}, _mm_setzero_ps()};
    for (int64_t k = 0; k < width / 32; k++, b += 34) {
        const float *x = v->x + 32 * k;
        __m256 d = _mm256_broadcastss_ps(one_half(b)), part[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        for (int i = 0; i < 4; i++) {
            __m256i q = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(b + 2 + 8 * i)));
            part[i & 1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(q), _mm256_loadu_ps(x + 8 * i), part[i & 1]);
        }
        s.lanes[0] = _mm256_fmadd_ps(d, part[0], s.lanes[0]);
        s.lanes[1] = _mm256_fmadd_ps(d, part[1], s.lanes[1]);
    }
    return finish(&s);
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

AVX2_INLINE __m256i load(const uint8_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* 32 bytes hold the low nibbles of two groups; Q5_K: bit g of `high` is the fifth of group g. */
AVX2 static float row_k(const uint8_t *b, int64_t width, const sow_gguf_vector *x, bool fifth) {
    row_sum s = {{_mm256_setzero_ps(), _mm256_setzero_ps()}, _mm_setzero_ps()};
    __m256i low = _mm256_set1_epi8(15);
    for (int64_t k = 0; k < width / 256; k++, b += fifth ? 176 : 144) {
        uint8_t scale[8], least[8];
        __m128 both = halves(b);
        float d = _mm_cvtss_f32(both), m = _mm_cvtss_f32(_mm_movehdup_ps(both)), p = fifth ? 32 : 16;
        scales_of(b + 4, scale, least);
        for (int g = 0; g < 8; g++) {
            float step = d * (float)scale[g];
            __m256i q = load(b + (fifth ? 48 : 16) + 32 * (g / 2));
            q = _mm256_and_si256(g % 2 ? _mm256_srli_epi16(q, 4) : q, low);
            if (fifth) {
                __m256i bit = _mm256_set1_epi8((char)(1 << g)), set = _mm256_and_si256(load(b + 16), bit);
                q = _mm256_or_si256(q, _mm256_and_si256(_mm256_cmpeq_epi8(set, bit), _mm256_set1_epi8(16)));
            }
            add_part(&s, fifth ? _mm256_slli_epi16(q, 2) : third_of_16(q), fifth ? 0x42 : 0x41, _mm256_set1_ps(step),
                     x->lanes + 256 * k + 32 * g);
            add_base(&s, _mm_set_ss(-p * step - m * (float)least[g]), x->sums + 16 * k + 2 * g);
        }
    }
    return finish(&s);
}

/* 64 + q, q below 64: third byte 128 + 2 q, fourth 0x42. Each half of a part has a scale of its own, as has each lane. */
AVX2 static float row_q6_k(const uint8_t *b, int64_t width, const sow_gguf_vector *x) {
    row_sum s = {{_mm256_setzero_ps(), _mm256_setzero_ps()}, _mm_setzero_ps()};
    __m256i low = _mm256_set1_epi8(15), upper = _mm256_set1_epi8(48), top = _mm256_set1_epi8(-128);
    for (int64_t k = 0; k < width / 256; k++, b += 210) {
        float d = _mm_cvtss_f32(one_half(b + 208));
        for (int part = 0; part < 8; part++) {
            int half = part / 4, i = part % 4;
            const int8_t *scale = (const int8_t *)b + 192 + 8 * half + 2 * i;
            __m256i q = load(b + 64 * half + 32 * (i % 2)), high = load(b + 128 + 32 * half);
            q = _mm256_and_si256(i < 2 ? q : _mm256_srli_epi16(q, 4), low);
            high = i == 0   ? _mm256_slli_epi16(high, 4)
                   : i == 1 ? _mm256_slli_epi16(high, 2)
                   : i == 2 ? high
                            : _mm256_srli_epi16(high, 2);
            q = _mm256_or_si256(q, _mm256_and_si256(high, upper));
            float first = d * (float)scale[0], second = d * (float)scale[1];
            const float *sums = x->sums + 16 * k + 2 * part;
            add_part(&s, _mm256_or_si256(_mm256_add_epi8(q, q), top), 0x42,
                     _mm256_set_m128(_mm_set1_ps(second), _mm_set1_ps(first)), x->lanes + 256 * k + 32 * part);
            s.base = _mm_add_ss(s.base, _mm_set_ss(-96 * (first * sums[0] + second * sums[1])));
        }
    }
    return finish(&s);
}

AVX2_INLINE __m256 eight(sow_gguf_type type, const uint8_t *b, int64_t i) {
    if (type == SOW_GGUF_F32) return _mm256_loadu_ps((const float *)(const void *)(b + 4 * i));
    __m128i bits = _mm_loadu_si128((const __m128i *)(const void *)(b + 2 * i));
    if (type == SOW_GGUF_F16) return _mm256_cvtph_ps(bits);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

/* Plain values; the last few by floats. */
AVX2_INLINE float row_plain(sow_gguf_type type, const uint8_t *b, int64_t width, const float *x) {
    row_sum s = {{_mm256_setzero_ps(), _mm256_setzero_ps()}, _mm_setzero_ps()};
    int64_t whole = width / 16 * 16, bytes = type == SOW_GGUF_F32 ? 4 : 2;
    for (int64_t i = 0; i < whole; i += 16) {
        s.lanes[0] = _mm256_fmadd_ps(eight(type, b, i), _mm256_loadu_ps(x + i), s.lanes[0]);
        s.lanes[1] = _mm256_fmadd_ps(eight(type, b, i + 8), _mm256_loadu_ps(x + i + 8), s.lanes[1]);
    }
    return finish(&s) + (whole < width ? row_by_floats(type, b + whole * bytes, width - whole, x + whole) : 0);
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
