/* Blocks of quantised values (GGUF): each type's layout, made into floats. */
#include <string.h>

#include "base/clones.h"
#include "sow/gguf.h"

typedef struct kind {
    sow_gguf_type type;
    const char *name;
    int64_t values, bytes;
    void (*read)(const uint8_t *block, float *out);
} kind;

static inline float half_at(const uint8_t *p) {
    return sow_half_to_float((uint16_t)(p[0] | p[1] << 8));
}

/* ---- 32 values a block: a scale, perhaps a least value, and the quants ---- */

static void read_q8_0(const uint8_t *b, float *x) {
    float d = half_at(b);
    for (int j = 0; j < 32; j++) x[j] = d * (float)(int8_t)b[2 + j];
}

static void read_q4_0(const uint8_t *b, float *x) {
    float d = half_at(b);
    for (int j = 0; j < 16; j++) {
        x[j] = d * (float)((b[2 + j] & 15) - 8);
        x[j + 16] = d * (float)((b[2 + j] >> 4) - 8);
    }
}

static void read_q4_1(const uint8_t *b, float *x) {
    float d = half_at(b), m = half_at(b + 2);
    for (int j = 0; j < 16; j++) {
        x[j] = d * (float)(b[4 + j] & 15) + m;
        x[j + 16] = d * (float)(b[4 + j] >> 4) + m;
    }
}

/* The fifth bits lie together: bit j belongs to x[j]. */
static uint32_t bits_at(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void read_q5_0(const uint8_t *b, float *x) {
    float d = half_at(b);
    uint32_t high = bits_at(b + 2);
    for (int j = 0; j < 16; j++) {
        x[j] = d * (float)((int)((b[6 + j] & 15) | (high >> j & 1) << 4) - 16);
        x[j + 16] = d * (float)((int)((b[6 + j] >> 4) | (high >> (j + 16) & 1) << 4) - 16);
    }
}

static void read_q5_1(const uint8_t *b, float *x) {
    float d = half_at(b), m = half_at(b + 2);
    uint32_t high = bits_at(b + 4);
    for (int j = 0; j < 16; j++) {
        x[j] = d * (float)((b[8 + j] & 15) | (high >> j & 1) << 4) + m;
        x[j + 16] = d * (float)((b[8 + j] >> 4) | (high >> (j + 16) & 1) << 4) + m;
    }
}

/* ---- 256 values a block: eight groups of 32 with six-bit scales and least values ---- */

static void scale_of(const uint8_t *s, int g, int *scale, int *least) {
    if (g < 4) {
        *scale = s[g] & 63;
        *least = s[g + 4] & 63;
    } else {
        *scale = (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
        *least = (s[g + 4] >> 4) | (s[g] >> 6) << 4;
    }
}

/* high: the fifth bits, bit g of byte l; NULL for four-bit quants. */
static void read_groups(float d, float dm, const uint8_t *scales, const uint8_t *high, const uint8_t *low, float *x) {
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

static void read_q4_k(const uint8_t *b, float *x) {
    read_groups(half_at(b), half_at(b + 2), b + 4, NULL, b + 16, x);
}

static void read_q5_k(const uint8_t *b, float *x) {
    read_groups(half_at(b), half_at(b + 2), b + 4, b + 16, b + 48, x);
}

/* Four low bits, two high bits, eight-bit scales of groups of 16; the block's scale stands last. */
static void read_q6_k(const uint8_t *b, float *x) {
    float d = half_at(b + 208);
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = b + 64 * half, *high = b + 128 + 32 * half;
        const int8_t *scale = (const int8_t *)b + 192 + 8 * half;
        for (int l = 0; l < 32; l++) {
            int q[4] = {low[l] & 15, low[l + 32] & 15, low[l] >> 4, low[l + 32] >> 4};
            for (int k = 0; k < 4; k++)
                x[128 * half + l + 32 * k] = d * (float)scale[l / 16 + 2 * k] *
                                             (float)((q[k] | (high[l] >> 2 * k & 3) << 4) - 32);
        }
    }
}

/* ---- plain values ---- */

static void read_f32(const uint8_t *b, float *x) {
    memcpy(x, b, sizeof *x);
}

static void read_f16(const uint8_t *b, float *x) {
    *x = half_at(b);
}

static void read_bf16(const uint8_t *b, float *x) {
    *x = sow_bf16_to_float((uint16_t)(b[0] | b[1] << 8));
}

static const kind kinds[] = {
    {SOW_GGUF_F32, "F32", 1, 4, read_f32},        {SOW_GGUF_F16, "F16", 1, 2, read_f16},
    {SOW_GGUF_BF16, "BF16", 1, 2, read_bf16},     {SOW_GGUF_Q8_0, "Q8_0", 32, 34, read_q8_0},
    {SOW_GGUF_Q4_0, "Q4_0", 32, 18, read_q4_0},   {SOW_GGUF_Q4_1, "Q4_1", 32, 20, read_q4_1},
    {SOW_GGUF_Q5_0, "Q5_0", 32, 22, read_q5_0},   {SOW_GGUF_Q5_1, "Q5_1", 32, 24, read_q5_1},
    {SOW_GGUF_Q4_K, "Q4_K", 256, 144, read_q4_k}, {SOW_GGUF_Q5_K, "Q5_K", 256, 176, read_q5_k},
    {SOW_GGUF_Q6_K, "Q6_K", 256, 210, read_q6_k},
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
    if (type == SOW_GGUF_F32) memcpy(out, blocks, (size_t)count * sizeof *out);
    else
        for (int64_t i = 0; i < count / k->values; i++)
            k->read((const uint8_t *)blocks + i * k->bytes, out + i * k->values);
}
