/* Random numbers: Sow's own counter-based streams, and the exact streams of PyTorch and NumPy. */
#ifndef SOW_RANDOM_H
#define SOW_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

#include "sow/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_rng_kind {
    SOW_RNG_SOW,       /* Philox4x32-10: no number depends on threads or on what was drawn before it */
    SOW_RNG_TORCH_CPU, /* torch.manual_seed on a CPU with AVX2 or AVX-512, PyTorch 2.15 */
    SOW_RNG_NUMPY,     /* numpy.random.RandomState: MT19937, legacy distributions */
    SOW_RNG_PCG64,     /* numpy.random.default_rng: PCG64, Generator's distributions */
} sow_rng_kind;

/* A generator; a value, copied freely. Fields are private to src/random. */
typedef struct sow_rng {
    sow_rng_kind kind;
    uint64_t seed;
    uint64_t stream;  /* Philox: hash of purpose and name, the counter's upper half */
    uint64_t index;   /* Philox: next block */
    uint64_t pcg[4];  /* PCG64: state and increment, low word first */
    uint32_t state[624]; /* MT19937 */
    int32_t next;     /* MT19937: position in state */
    bool has_normal, has_word; /* second halves that wait for the next call */
    double normal;
    uint32_t word;
} sow_rng;

/* A generator of `kind` from `seed`, as torch.manual_seed / RandomState(seed) / default_rng(seed) make it.
 * Errors: SOW_E_RANGE where the library rejects the seed (NumPy legacy takes 32 bits). */
sow_status sow_rng_seed(sow_rng *rng, sow_rng_kind kind, uint64_t seed);

/* The kind's name ("sow", "torch-cpu", "numpy", "pcg64") and back; SOW_E_NOT_FOUND for an unknown one. */
const char *sow_rng_kind_name(sow_rng_kind kind);
sow_status sow_rng_kind_parse(const char *name, sow_rng_kind *out);

/* Moves a Sow generator to the start of the stream of (purpose, name), e.g. ("init", "fc1.weight") or
 * ("shuffle", "12"); the others have one stream only and go on where they are. */
void sow_rng_at(sow_rng *rng, const char *purpose, const char *name);
/* The same with a number for a name: ("shuffle", epoch). */
void sow_rng_at_index(sow_rng *rng, const char *purpose, uint64_t number);

/* Philox4x32-10 (Salmon et al. 2011): one block of four words from a 128-bit counter and a 64-bit key. */
void sow_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Fills out[0..n) in order.
 * uniform: [low, high). normal: mean + sd*N(0,1). truncated: N(mean, sd) kept inside [low, high].
 * With kind TORCH_CPU the bits are those of Tensor.uniform_, normal_, torch.nn.init.trunc_normal_ on a
 * contiguous tensor of n elements of that dtype (n under 16 takes PyTorch's other path, and its cached second
 * normal carries over). Errors of truncated: SOW_E_RANGE when low >= high. Cost: O(n), a few ns a number. */
void sow_rng_uniform_f32(sow_rng *rng, float *out, int64_t n, double low, double high);
void sow_rng_uniform_f64(sow_rng *rng, double *out, int64_t n, double low, double high);
void sow_rng_normal_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd);
void sow_rng_normal_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd);
sow_status sow_rng_truncated_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd, double low, double high);
sow_status sow_rng_truncated_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd, double low, double high);

/* One integer in [0, bound), bound >= 1, without bias (Sow: rejection; NumPy: as randint / integers do). */
uint64_t sow_rng_below(sow_rng *rng, uint64_t bound);
/* A uniformly random order of 0..n-1 (Sow: Fisher-Yates; torch.randperm; RandomState.permutation;
 * Generator.permutation). Cost: O(n). */
void sow_rng_permutation(sow_rng *rng, int64_t *out, int64_t n);

/* Natural logarithm, sine and cosine with the same bits on every processor and compiler (built without
 * contraction): error below 2 units in the last place on the ranges that the streams use. */
#define SOW_SINCOS_LIMIT 0x1p20
double sow_log(double x);
void sow_sincos(double x, double *sine, double *cosine);

#ifdef __cplusplus
}
#endif
#endif
