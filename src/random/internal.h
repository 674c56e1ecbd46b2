/* What the files of src/random share: one method table a kind, Mersenne Twister words, kernels by CPU. */
#ifndef SOW_RANDOM_INTERNAL_H
#define SOW_RANDOM_INTERNAL_H

#include "sow/random.h"

/* What a kind of generator does. Arguments arrive checked: n >= 0, bound >= 1; for `truncated` finite mean,
 * sd > 0 and low < high. */
typedef struct random_methods {
    const char *name;
    sow_status (*seed)(sow_rng *rng, uint64_t seed);
    void (*uniform_f32)(sow_rng *rng, float *out, int64_t n, double low, double high);
    void (*uniform_f64)(sow_rng *rng, double *out, int64_t n, double low, double high);
    void (*normal_f32)(sow_rng *rng, float *out, int64_t n, double mean, double sd);
    void (*normal_f64)(sow_rng *rng, double *out, int64_t n, double mean, double sd);
    sow_status (*truncated_f32)(sow_rng *rng, float *out, int64_t n, double mean, double sd, double low, double high);
    sow_status (*truncated_f64)(sow_rng *rng, double *out, int64_t n, double mean, double sd, double low, double high);
    uint64_t (*below)(sow_rng *rng, uint64_t bound);
    void (*permutation)(sow_rng *rng, int64_t *out, int64_t n);
} random_methods;

extern const random_methods random_sow, random_torch, random_numpy, random_pcg64;

/* How numbers of a truncated normal are proposed. `a`, `b`: the bounds in standard deviations from the mean,
 * mirrored where that puts the interval on the right. */
typedef struct random_truncation {
    enum { PROPOSE_NORMAL, PROPOSE_UNIFORM, PROPOSE_EXPONENTIAL } proposal;
    double mean, sd;
    double a, b;
    double peak; /* the density's largest value lies here */
    double rate; /* of the exponential proposal */
} random_truncation;

random_truncation random_truncation_of(double mean, double sd, double low, double high);
/* One proposal from two uniforms in (0, 1) that are independent (PROPOSE_UNIFORM, PROPOSE_EXPONENTIAL):
 * true when it is accepted. */
bool random_truncation_propose(const random_truncation *truncation, double u1, double u2, double *out);
/* The same interval drawn number by number, for the NumPy kinds. */
double random_truncation_draw(const random_truncation *truncation, sow_rng *rng, const random_methods *methods,
                              double low, double high);

/* MT19937 (Matsumoto and Nishimura 1998). */
void mt19937_seed(sow_rng *rng, uint32_t seed);
void mt19937_words(sow_rng *rng, uint32_t *out, int64_t n);
uint32_t mt19937_word(sow_rng *rng);

/* An integer in [0, largest] by rejecting what exceeds it under the smallest mask of ones: NumPy's randint, and
 * every shuffle of NumPy. `word` draws 32 bits, `wide` 64. */
uint64_t random_masked(sow_rng *rng, uint64_t largest, uint32_t (*word)(sow_rng *), uint64_t (*wide)(sow_rng *));

static inline void random_swap(int64_t *order, int64_t i, int64_t j) {
    int64_t kept = order[i];
    order[i] = order[j];
    order[j] = kept;
}

/* Two words as 53 random bits in [0, 1): the way of MT19937's authors, NumPy's, and ours. */
static inline double random_unit(uint32_t first, uint32_t second) {
    return ((double)(int32_t)(first >> 5) * 67108864.0 + (double)(int32_t)(second >> 6)) * 0x1p-53;
}

/* A loop that is compiled twice, for any processor and for AVX2 with FMA, and chosen at run time. NAME##_body
 * is an inline function; FMA is only used where it calls fma or fmaf, so both give the same bits. */
#if defined(__x86_64__) && defined(__GNUC__)
#define RANDOM_HAS_AVX2
#define RANDOM_KERNEL(NAME, PARAMETERS, ARGUMENTS)                                                  \
    __attribute__((target("avx2,fma"))) static void NAME##_avx2 PARAMETERS {                        \
        NAME##_body ARGUMENTS;                                                                      \
    }                                                                                               \
    static void NAME##_plain PARAMETERS {                                                           \
        NAME##_body ARGUMENTS;                                                                      \
    }                                                                                               \
    static void NAME PARAMETERS {                                                                   \
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) NAME##_avx2 ARGUMENTS; \
        else NAME##_plain ARGUMENTS;                                                                \
    }
#else
#define RANDOM_KERNEL(NAME, PARAMETERS, ARGUMENTS) \
    static void NAME PARAMETERS {                  \
        NAME##_body ARGUMENTS;                     \
    }
#endif

#endif
