/* Blocks of quantised values (GGUF): each type's layout, made into floats. */
#include <string.h>

#include "base/clones.h"
#include "sow/gguf.h"

typedef struct kind {
    sow_gguf_type type;
    const char *name;
    int64_t values, bytes;
    void (*read)(const uint8_t *blocks, int64_t count, float *out);
} kind;

#define INLINE static inline __attribute__((always_inline))

/* sow_half_to_float, for vector loops; small ones by way of integers, since denormal floats may be flushed. */
INLINE float half_at(const uint8_t *p) {
    uint32_t h = (uint32_t)p[0] | (uint32_t)p[1] << 8, e = h & 0x7fff, bits = (e << 13) + 0x38000000u, tiny;
    float small = (float)(int32_t)e * 0x1p-24f, value;
    memcpy(&tiny, &small, sizeof tiny);
    bits = e >= 0x7c00 ? bits + 0x38000000u : e < 0x400 ? tiny : bits;
    bits |= (h & 0x8000) << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- 32 values a block: a scale, perhaps a least value, and the quants ---- */

INLINE void read_q8_0(const uint8_t *restrict b, float *restrict x) {
    float d = half_at(b);
    for (int j = 0; j < 32; j++) x[j] = d * (float)(int8_t)b[2 + j];
}

INLINE void read_q4_0(const uint8_t *restrict b, float *restrict x) {
    float d = half_at(b);
    for (int j = 0; j < 16; j++) {
        x[j] = d * (float)((b[2 + j] & 15) - 8);
        x[j + 16] = d * (float)((b[2 + j] >> 4) - 8);
    }
}

INLINE void read_q4_1(const uint8_t *restrict b, float *restrict x) {
    float d = half_at(b), m = half_at(b + 2);
    for (int j = 0; j < 16; j++) {
        x[j] = d * (float)(b[4 + j] & 15) + m;
        x[j + 16] = d * (float)(b[4 + j] >> 4) + m;
    }
}

/* The fifth bits lie together: bit j belongs to x[j]. */
INLINE uint32_t bits_at(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

INLINE void read_q5_0(const uint8_t *restrict b, float *restrict x) {
    float d = half_at(b);
    uint32_t high = bits_at(b + 2);
    for (int j = 0; j < 16; j++) {
        x[j] = d * (float)((int)((b[6 + j] & 15) | (high >> j & 1) << 4) - 16);
        x[j + 16] = d * (float)((int)((b[6 + j] >> 4) | (high >> (j + 16) & 1) << 4) - 16);
    }
}

INLINE void read_q5_1(const uint8_t *restrict b, float *restrict x) {
    float d = half_at(b), m = half_at(b + 2);
    uint32_t high = bits_at(b + 4);
    for (int j = 0; j < 16; j++) {
        x[j] = d * (float)((b[8 + j] & 15) | (high >> j & 1) << 4) + m;
        x[j + 16] = d * (float)((b[8 + j] >> 4) | (high >> (j + 16) & 1) << 4) + m;
    }
}

/* ---- 256 values a block: eight groups of 32 with six-bit scales and least values ---- */

INLINE void scale_of(const uint8_t *s, int g, int *scale, int *least) {
    if (g < 4) {
        *scale = s[g] & 63;
        *least = s[g + 4] & 63;
    } else {
        *scale = (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
        *least = (s[g + 4] >> 4) | (s[g] >> 6) << 4;
    }
}

/* high: the fifth bits, bit g of byte l; NULL for four-bit quants. */
INLINE void read_groups(float d, float dm, const uint8_t *scales, const uint8_t *high, const uint8_t *low, float *x) {
    for (int g = 0; g < 8; g++) {
        int scale, least;
        scale_of(scales, g, &scale, &least);
        float step = d * (float)scale, base = dm * (float)least;
        const uint8_t *q = low + 32 * (g / 2);
        for (int l = 0; l < 32; l++) {
            int value = g % 2 ? q[l] >> 4 : q[l] & 15;
            if (high) value += (high[l] >> g & 1) << 4;
            x[32 * g + l] = step * (float)value - base;
        }
    }
}

INLINE void read_q4_k(const uint8_t *restrict b, float *restrict x) {
    read_groups(half_at(b), half_at(b + 2), b + 4, NULL, b + 16, x);
}

INLINE void read_q5_k(const uint8_t *restrict b, float *restrict x) {
    read_groups(half_at(b), half_at(b + 2), b + 4, b + 16, b + 48, x);
}

/* Four low bits, two high bits, eight-bit scales of groups of 16; the block's scale stands last. */
INLINE void read_q6_k(const uint8_t *restrict b, float *restrict x) {
    float d = half_at(b + 208);
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = b + 64 * half, *high = b + 128 + 32 * half;
        const int8_t *scale = (const int8_t *)b + 192 + 8 * half;
        for (int part = 0; part < 8; part++) { /* 16 values each */
            int k = part / 2, first = part % 2 * 16, shift = k < 2 ? 0 : 4;
            const uint8_t *l = low + 32 * (k & 1) + first, *h = high + first;
            float step = d * (float)scale[part];
            for (int i = 0; i < 16; i++)
                x[128 * half + 16 * part + i] = step * (float)(((l[i] >> shift & 15) | (h[i] >> 2 * k & 3) << 4) - 32);
        }
    }
}

/* ---- plain values ---- */

INLINE void read_f32(const uint8_t *restrict b, float *restrict x) {
    memcpy(x, b, sizeof *x);
}

INLINE void read_f16(const uint8_t *restrict b, float *restrict x) {
    *x = half_at(b);
}

INLINE void read_bf16(const uint8_t *restrict b, float *restrict x) {
    uint32_t bits = (uint32_t)b[0] << 16 | (uint32_t)b[1] << 24;
    memcpy(x, &bits, sizeof bits);
}

/* Loops over the blocks of a row, one a type. */
#define BLOCKS(name, values, bytes)                                                                            \
    SOW_CLONES static void name##_blocks(const uint8_t *restrict blocks, int64_t count, float *restrict out) { \
        for (int64_t i = 0; i < count; i++) name(blocks + i * (bytes), out + i * (values));                    \
    }
BLOCKS(read_f32, 1, 4)
BLOCKS(read_f16, 1, 2)
BLOCKS(read_bf16, 1, 2)
BLOCKS(read_q8_0, 32, 34)
BLOCKS(read_q4_0, 32, 18)
BLOCKS(read_q4_1, 32, 20)
BLOCKS(read_q5_0, 32, 22)
BLOCKS(read_q5_1, 32, 24)
BLOCKS(read_q4_k, 256, 144)
BLOCKS(read_q5_k, 256, 176)
BLOCKS(read_q6_k, 256, 210)

static const kind kinds[] = {
    {SOW_GGUF_F32, "F32", 1, 4, read_f32_blocks},        {SOW_GGUF_F16, "F16", 1, 2, read_f16_blocks},
    {SOW_GGUF_BF16, "BF16", 1, 2, read_bf16_blocks},     {SOW_GGUF_Q8_0, "Q8_0", 32, 34, read_q8_0_blocks},
    {SOW_GGUF_Q4_0, "Q4_0", 32, 18, read_q4_0_blocks},   {SOW_GGUF_Q4_1, "Q4_1", 32, 20, read_q4_1_blocks},
    {SOW_GGUF_Q5_0, "Q5_0", 32, 22, read_q5_0_blocks},   {SOW_GGUF_Q5_1, "Q5_1", 32, 24, read_q5_1_blocks},
    {SOW_GGUF_Q4_K, "Q4_K", 256, 144, read_q4_k_blocks}, {SOW_GGUF_Q5_K, "Q5_K", 256, 176, read_q5_k_blocks},
    {SOW_GGUF_Q6_K, "Q6_K", 256, 210, read_q6_k_blocks},
};

static const kind *kind_of(sow_gguf_type type) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].type == type) return &kinds[i];
    return NULL;
}

const char *sow_gguf_type_name(sow_gguf_type type) {
    const kind *k = kind_of(type);
    return k ? k->name : NULL;
}

void sow_gguf_block(sow_gguf_type type, int64_t *values, int64_t *bytes) {
    const kind *k = kind_of(type);
    *values = k ? k->values : 0;
    *bytes = k ? k->bytes : 0;
}

void sow_gguf_dequantise(sow_gguf_type type, const void *blocks, int64_t count, float *out) {
    const kind *k = kind_of(type);
    if (!k) return;
    k->read(blocks, count / k->values, out);
}
