/* e^x in f32 for vector loops: gcc does not vectorise expf. Error below 2 units in the last place. */
#ifndef SOW_AUTOGRAD_VEXP_H
#define SOW_AUTOGRAD_VEXP_H

#include <stdint.h>
#include <string.h>

/* Range reduction by n ln 2 in two parts, then a polynomial of degree 6 on [-ln 2 / 2, ln 2 / 2]. Arguments below
 * -87 give about 1e-38, those above 88 about 1.6e38. */
static inline __attribute__((always_inline)) float sow_vexp(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f; /* 1.5 * 2^23: rounds to an integer */
    float r = x - n * 0.693145752f;
    r = r - n * 1.42860677e-6f;
    float p = 0.00138888889f;
    p = p * r + 0.00833333333f;
    p = p * r + 0.0416666667f;
    p = p * r + 0.166666667f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t bits = ((int32_t)n + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* 1 / (1 + e^-x) */
static inline __attribute__((always_inline)) float sow_vsigmoid(float x) {
    return 1.0f / (1.0f + sow_vexp(-x));
}

#endif
