/* Logarithm, sine and cosine from exactly rounded operations alone, inline so that loops vectorise.
 *
 * The reductions and polynomials are those of fdlibm (f64 and the f32 logarithm) and of Cephes (f32 sine and
 * cosine). Only + - * / and the square root appear: IEEE 754 fixes their bits, so every processor and compiler
 * agrees, as long as nothing is contracted into fused multiply-adds (the build forbids it for this folder). */
#ifndef SOW_RANDOM_EXACT_H
#define SOW_RANDOM_EXACT_H

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define EXACT_INLINE static inline __attribute__((always_inline))

#define EXACT_HALF_PI 1.57079632679489661923

EXACT_INLINE uint64_t bits_of_f64(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

EXACT_INLINE double f64_of_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

EXACT_INLINE uint32_t bits_of_f32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

EXACT_INLINE float f32_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* log(x) of a positive normal number: x = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt(2)), s = f / (2 + f). */
EXACT_INLINE double exact_log_f64(double x) {
    const uint64_t root_half = 0x3fe6a09e00000000u; /* sqrt(1/2), cut */
    uint64_t shifted = bits_of_f64(x) + (0x3ff0000000000000u - root_half);
    /* 2^52 + (k + 1023) as a double: AVX2 has no conversion from 64-bit integers. */
    double k = f64_of_bits((shifted >> 52) | 0x4330000000000000u) - (4503599627370496.0 + 1023.0);
    double f = f64_of_bits((shifted & 0x000fffffffffffffu) + root_half) - 1.0;
    double s = f / (2.0 + f);
    double z = s * s;
    double w = z * z;
    double even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    double odd = z * (6.666666666666735130e-01 +
                      w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    double half_square = 0.5 * f * f;
    double tail = s * (half_square + (odd + even)) + k * 1.90821492927058770002e-10;
    return k * 6.93147180369123816490e-01 - ((half_square - tail) - f);
}

EXACT_INLINE float exact_log_f32(float x) {
    const uint32_t root_half = 0x3f3504f3u;
    uint32_t shifted = bits_of_f32(x) + (0x3f800000u - root_half);
    float k = (float)((int32_t)(shifted >> 23) - 127);
    float f = f32_of_bits((shifted & 0x007fffffu) + root_half) - 1.0f;
    float s = f / (2.0f + f);
    float z = s * s;
    float w = z * z;
    float even = w * (0.40000972152f + w * 0.24279078841f);
    float odd = z * (0.66666662693f + w * 0.28498786688f);
    float half_square = 0.5f * f * f;
    float tail = s * (half_square + (odd + even)) + k * 9.0580006145e-06f;
    return k * 6.9313812256e-01f - ((half_square - tail) - f);
}

/* Sine and cosine of x + low for |x| <= pi/4; low is what x lacks of the exact angle. */
EXACT_INLINE double exact_sine_f64(double x, double low) {
    double z = x * x;
    double r =
        8.33333333332248946124e-03 +
        z * (-1.98412698298579493134e-04 +
             z * (2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)));
    double cube = z * x;
    return x - ((z * (0.5 * low - cube * r) - low) - cube * -1.66666666666666324348e-01);
}

EXACT_INLINE double exact_cosine_f64(double x, double low) {
    double z = x * x;
    double r = z * (4.16666666666666019037e-02 +
                    z * (-1.38888888888741095749e-03 +
                         z * (2.48015872894767294178e-05 +
                              z * (-2.75573143513906633035e-07 +
                                   z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)))));
    double half = 0.5 * z;
    double w = 1.0 - half;
    return w + (((1.0 - w) - half) + (z * r - x * low));
}

EXACT_INLINE float exact_sine_f32(float x) {
    float z = x * x;
    return ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z + -1.6666654611e-1f) * z * x + x;
}

EXACT_INLINE float exact_cosine_f32(float x) {
    float z = x * x;
    return ((2.443315711809948e-5f * z + -1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
}

/* Square roots of `count` values in place, `count` a multiple of four. The C function may set errno, which
 * keeps compilers from vectorising it; the instruction gives the same bits. */
EXACT_INLINE void exact_roots_f32(float *x, int count) {
    for (int j = 0; j < count; j += 4) {
#ifdef __SSE2__
        _mm_storeu_ps(x + j, _mm_sqrt_ps(_mm_loadu_ps(x + j)));
#else
        for (int k = j; k < j + 4; k++) x[k] = __builtin_sqrtf(x[k]);
#endif
    }
}

EXACT_INLINE void exact_roots_f64(double *x, int count) {
    for (int j = 0; j < count; j += 2) {
#ifdef __SSE2__
        _mm_storeu_pd(x + j, _mm_sqrt_pd(_mm_loadu_pd(x + j)));
#else
        for (int k = j; k < j + 2; k++) x[k] = __builtin_sqrt(x[k]);
#endif
    }
}

#endif
