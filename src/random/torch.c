/* The CPU streams of PyTorch 2.15 on processors with AVX2 or AVX-512, bit for bit.
 *
 * Its f32 kernels are compiled with contraction: every fmaf here is one of theirs. f32 normals use the Cephes
 * polynomials; f64 normals and every fill under 16 elements use the C library's functions, as PyTorch does. */
#include <math.h>
#include <string.h>

#include "exact.h"
#include "internal.h"
#include "sow/memory.h"

enum {
    CHUNK = 1024,         /* words drawn at once */
    ROUNDS_LIMIT = 100000 /* of rejection, before an interval counts as empty */
};
static const double pi = 3.14159265358979323846;

/* torch.manual_seed takes 64 bits, of which the Mersenne Twister sees the lower 32. */
static sow_status seed_torch(sow_rng *rng, uint64_t seed) {
    mt19937_seed(rng, (uint32_t)seed);
    return SOW_OK;
}

static uint64_t random64(sow_rng *rng) {
    uint64_t high = mt19937_word(rng);
    return high << 32 | mt19937_word(rng);
}

/* ---- uniform ---- */

/* The fused sum may round up to the open bound; PyTorch then answers the lower one. */
EXACT_INLINE void scale_words_f32_body(const uint32_t *restrict words, float *restrict out, int64_t n, float low,
                                       float high) {
    float span = high - low;
    for (int64_t i = 0; i < n; i++) {
        float value = __builtin_fmaf((float)(int32_t)(words[i] & 0xffffffu) * 0x1p-24f, span, low);
        out[i] = value == high ? low : value;
    }
}
RANDOM_KERNEL(scale_words_f32, (const uint32_t *restrict words, float *restrict out, int64_t n, float low, float high),
              (words, out, n, low, high))

static void fill_uniform_f32(sow_rng *rng, float *out, int64_t n, double low, double high) {
    uint32_t words[CHUNK];
    for (int64_t done = 0; done < n; done += CHUNK) {
        int64_t count = n - done < CHUNK ? n - done : CHUNK;
        mt19937_words(rng, words, count);
        scale_words_f32(words, out + done, count, (float)low, (float)high);
    }
}

EXACT_INLINE void scale_words_f64_body(const uint32_t *restrict words, double *restrict out, int64_t n, double low,
                                       double high) {
    double span = high - low;
    for (int64_t i = 0; i < n; i++) {
        /* the lower 53 of 64 bits, the first word above */
        double unit = ((double)(int32_t)(words[2 * i] & 0x1fffffu) * 4294967296.0 + (double)words[2 * i + 1]) * 0x1p-53;
        double value = __builtin_fma(unit, span, low);
        out[i] = value == high ? low : value;
    }
}
RANDOM_KERNEL(scale_words_f64,
              (const uint32_t *restrict words, double *restrict out, int64_t n, double low, double high),
              (words, out, n, low, high))

static void fill_uniform_f64(sow_rng *rng, double *out, int64_t n, double low, double high) {
    uint32_t words[CHUNK];
    for (int64_t done = 0; done < n; done += CHUNK / 2) {
        int64_t count = n - done < CHUNK / 2 ? n - done : CHUNK / 2;
        mt19937_words(rng, words, 2 * count);
        scale_words_f64(words, out + done, count, low, high);
    }
}

/* ---- normal, 16 elements and more: Box-Muller on blocks of 8 + 8 uniforms ---- */

EXACT_INLINE float cephes_log(float x) {
    static const float p[9] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                               -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                               2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
    uint32_t bits = bits_of_f32(x);
    float m = f32_of_bits((bits & 0x807fffffu) | 0x3f000000u); /* in [1/2, 1) */
    uint32_t low = m < 0.707106781186547524f ? 1u : 0u;
    float e = (float)((int32_t)(bits >> 23) - 126 - (int32_t)low);
    m = (m - 1.0f) + f32_of_bits(bits_of_f32(m) & (0u - low));
    float z = m * m;
    float y = p[0];
    for (int k = 1; k < 9; k++) y = __builtin_fmaf(y, m, p[k]);
    y = __builtin_fmaf(y * m, z, e * -2.12194440e-4f);
    y = __builtin_fmaf(z, -0.5f, y);
    return __builtin_fmaf(e, 0.693359375f, m + y);
}

/* For 0 <= x < 2 pi + a little. */
EXACT_INLINE void cephes_sincos(float x, float *sine, float *cosine) {
    uint32_t octant = ((uint32_t)(int32_t)(x * 1.27323954473516f) + 1u) & ~1u;
    float n = (float)(int32_t)octant;
    x = __builtin_fmaf(n, -0.78515625f, x);
    x = __builtin_fmaf(n, -2.4187564849853515625e-4f, x);
    x = __builtin_fmaf(n, -3.77489497744594108e-8f, x);
    float z = x * x;
    float c = __builtin_fmaf(__builtin_fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f), z,
                             4.166664568298827e-2f);
    c = __builtin_fmaf(c * z, z, z * -0.5f) + 1.0f;
    float s = __builtin_fmaf(__builtin_fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f), z, -1.6666654611e-1f);
    s = __builtin_fmaf(s * z, x, x);
    uint32_t swap = (bits_of_f32(s) ^ bits_of_f32(c)) & (0u - ((octant >> 1) & 1u));
    *sine = f32_of_bits(bits_of_f32(s) ^ swap ^ ((octant & 4u) << 29));
    *cosine = f32_of_bits(bits_of_f32(c) ^ swap ^ ((~(octant - 2u) & 4u) << 29));
}

/* In place: x[0..8) chooses radii, x[8..16) angles. */
EXACT_INLINE void normal_blocks_f32_body(float *x, int64_t blocks, float mean, float sd) {
    const float two_pi = (float)(2.0 * 3.14159265358979323846);
    for (int64_t b = 0; b < blocks; b++, x += 16) {
        float radius[8], sine[8], cosine[8];
        for (int j = 0; j < 8; j++) radius[j] = -2.0f * cephes_log(1.0f - x[j]);
        exact_roots_f32(radius, 8);
        for (int j = 0; j < 8; j++) cephes_sincos(two_pi * x[j + 8], &sine[j], &cosine[j]);
        for (int j = 0; j < 8; j++) {
            x[j] = __builtin_fmaf(radius[j] * cosine[j], sd, mean);
            x[j + 8] = __builtin_fmaf(radius[j] * sine[j], sd, mean);
        }
    }
}
RANDOM_KERNEL(normal_blocks_f32, (float *x, int64_t blocks, float mean, float sd), (x, blocks, mean, sd))

static void normal_blocks_f64(double *x, int64_t blocks, double mean, double sd) {
    for (int64_t b = 0; b < blocks; b++, x += 16) {
        for (int j = 0; j < 8; j++) {
            double radius = sqrt(-2.0 * log(1.0 - x[j]));
            double angle = 2.0 * pi * x[j + 8];
            x[j] = fma(radius * cos(angle), sd, mean);
            x[j + 8] = fma(radius * sin(angle), sd, mean);
        }
    }
}

/* ---- normal, under 16 elements: pairs in f64 for every dtype, the second half kept for the next call ---- */

static double next_normal(sow_rng *rng, double mean, double sd) {
    double z;
    if (rng->has_normal) {
        rng->has_normal = false;
        z = rng->normal;
    } else {
        double u[2];
        fill_uniform_f64(rng, u, 2, 0.0, 1.0);
        double radius = sqrt(-2.0 * log1p(-u[1]));
        double angle = 2.0 * pi * u[0];
        rng->normal = radius * sin(angle);
        rng->has_normal = true;
        z = radius * cos(angle);
    }
    return fma(z, sd, mean);
}

/* A length that is no multiple of 16: the last 16 elements are drawn and transformed anew, over those that the
 * whole blocks left. */
static void fill_normal_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd) {
    if (n < 16) {
        for (int64_t i = 0; i < n; i++) out[i] = (float)next_normal(rng, mean, sd);
        return;
    }
    fill_uniform_f32(rng, out, n, 0.0, 1.0);
    normal_blocks_f32(out, n / 16, (float)mean, (float)sd);
    if (n % 16 == 0) return;
    fill_uniform_f32(rng, out + n - 16, 16, 0.0, 1.0);
    normal_blocks_f32(out + n - 16, 1, (float)mean, (float)sd);
}

static void fill_normal_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd) {
    if (n < 16) {
        for (int64_t i = 0; i < n; i++) out[i] = next_normal(rng, mean, sd);
        return;
    }
    fill_uniform_f64(rng, out, n, 0.0, 1.0);
    normal_blocks_f64(out, n / 16, mean, sd);
    if (n % 16 == 0) return;
    fill_uniform_f64(rng, out + n - 16, 16, 0.0, 1.0);
    normal_blocks_f64(out + n - 16, 1, mean, sd);
}

/* ---- torch.nn.init.trunc_normal_: rejection of whole tensors ---- */

static double normal_cdf(double x) {
    return (1.0 + erf(x / sqrt(2.0))) / 2.0;
}

static sow_status too_many_rounds(double low, double high) {
    return sow_fail(SOW_E_RANGE,
                    "truncated normal: almost nothing lies between %g and %g; PyTorch's rejection would "
                    "not end: choose bounds nearer to the mean",
                    low, high);
}

/* How trunc_normal_ tests uniform proposals: where log(u) > -z^2 / 2 - log_peak, it proposes again. Its f32 logarithm
 * (MKL's) is up to one unit in the last place off and depends on the processor; ours is the nearest float. A decision
 * can differ where both sides are equal to the last bit: about once in 10^8 proposals. */
typedef struct density {
    double mean, sd, log_peak;
} density;

static bool rejected_f32(float x, float u, density d) {
    float z = (x - (float)d.mean) / (float)d.sd;
    return (float)log(u) > z * z * -0.5f - (float)d.log_peak;
}

static bool rejected_f64(double x, double u, density d) {
    double z = (x - d.mean) / d.sd;
    return log(u) > z * z * -0.5 - d.log_peak;
}

#define REAL float
#define NAMED(name) name##_f32
#include "torch_truncated.h"
#undef REAL
#undef NAMED
#define REAL double
#define NAMED(name) name##_f64
#include "torch_truncated.h"

/* ---- integers ---- */

/* torch.randint: a remainder, of 64 bits from a bound of 2^28 on. */
static uint64_t one_below(sow_rng *rng, uint64_t bound) {
    return bound >= UINT64_C(1) << 28 ? random64(rng) % bound : mt19937_word(rng) % bound;
}

/* torch.randperm, which for 2^32/20 elements and more builds the order from inside out. */
static void fill_permutation(sow_rng *rng, int64_t *out, int64_t n) {
    if (n >= UINT32_MAX / 20) {
        for (int64_t i = 0; i < n; i++) {
            int64_t z = (int64_t)(random64(rng) % (uint64_t)(i + 1));
            out[i] = i;
            out[i] = out[z];
            out[z] = i;
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = 0; i < n - 1; i++) random_swap(out, i, i + mt19937_word(rng) % (uint32_t)(n - i));
}

const random_methods random_torch = {
    .name = "torch-cpu",
    .seed = seed_torch,
    .uniform_f32 = fill_uniform_f32,
    .uniform_f64 = fill_uniform_f64,
    .normal_f32 = fill_normal_f32,
    .normal_f64 = fill_normal_f64,
    .truncated_f32 = fill_truncated_f32,
    .truncated_f64 = fill_truncated_f64,
    .below = one_below,
    .permutation = fill_permutation,
};
