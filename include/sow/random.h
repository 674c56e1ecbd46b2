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

/* A generator; a value, copied freely. Fields are private to src/random, but for `index` of a Sow stream: threads that
 * share a fill start copies at blocks of their own. Not thread-safe. */
typedef struct sow_rng {
    sow_rng_kind kind;
    uint64_t seed;
    uint64_t stream;           /* Philox: hash of purpose and name, the counter's upper half */
    uint64_t index;            /* Philox: next block, the counter's lower half */
    uint64_t pcg[4];           /* PCG64: state and increment, low word first */
    uint32_t state[624];       /* MT19937 */
    int32_t next;              /* MT19937: position in state */
    bool has_normal, has_word; /* second halves that wait for the next call */
    double normal;
    uint32_t word;
} sow_rng;

/* A generator of `kind` from `seed`, as torch.manual_seed / RandomState(seed) / default_rng(seed) make it.
 * Sow: the seed is the key, the stream that of ("", ""). PyTorch uses the lower 32 bits of a seed only, so seeds that
 * differ by 2^32 are one. Errors: SOW_E_RANGE where the library rejects the seed (NumPy legacy takes 32 bits). */
sow_status sow_rng_seed(sow_rng *rng, sow_rng_kind kind, uint64_t seed);

/* The kind's name: "sow", "torch-cpu", "numpy", "pcg64". */
const char *sow_rng_kind_name(sow_rng_kind kind);
/* The kind of that name; SOW_E_NOT_FOUND for an unknown one. */
sow_status sow_rng_kind_parse(const char *name, sow_rng_kind *out);

/* Moves a Sow generator to the start of the stream of (purpose, name), e.g. ("init", "fc1.weight") or
 * ("shuffle", "12"); the others have one stream only and go on where they are. Streams are told apart by the 64-bit
 * FNV-1a hash of purpose, a zero byte, and name. */
void sow_rng_at(sow_rng *rng, const char *purpose, const char *name);
/* The same with a number for a name: ("shuffle", 12) is ("shuffle", "12"). */
void sow_rng_at_index(sow_rng *rng, const char *purpose, uint64_t number);

/* Philox4x32-10 (Salmon et al. 2011): one block of four words from a 128-bit counter and a 64-bit key. */
void sow_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* ---- fills: out[0..n) in order; n 0 draws nothing ----
 *
 * SOW: a fill begins at the next block and takes one for every four f32 or two f64 numbers. So the first k numbers
 * of a fill of n are a fill of k, and fills of a multiple of four (f32) or two (f64) join: 40 and 40 are 80.
 * Box-Muller normals reach 6.66 (f32) and 8.65 (f64) standard deviations.
 *
 * TORCH_CPU: the bits of Tensor.uniform_, normal_ and torch.nn.init.trunc_normal_ on a contiguous tensor of n elements
 * of that dtype (n under 16 takes PyTorch's other path, and its cached second normal carries over to the next call of
 * either dtype). f64 normals, and all under 16 elements, come from the C library's logarithm, sine and cosine, as in
 * PyTorch: equal on one machine, and between machines as far as their C libraries agree. PyTorch draws bf16 and f16
 * from 16 elements on block by block in f32 and rounds, and under 16 from the same f64 pairs: not offered here.
 *
 * NUMPY and PCG64: f64 as uniform(low, high, n) and normal(mean, sd, n) give. f32 with NUMPY: those, rounded
 * (astype); with PCG64: random(n, dtype=float32) and standard_normal(n, dtype=float32), scaled in f32. NumPy has no
 * truncated normal: rejection, number by number, of that generator's normals, or of uniforms where the interval is
 * narrow or far from the mean.
 *
 * Cost: O(n), a few ns a number; TORCH_CPU truncated: O(n log n), as it draws whole tensors again until none is
 * outside. */

/* Uniform in [low, high), low <= high, high - low finite in f32; low == high gives low. */
void sow_rng_uniform_f32(sow_rng *rng, float *out, int64_t n, double low, double high);
/* The same in f64. */
void sow_rng_uniform_f64(sow_rng *rng, double *out, int64_t n, double low, double high);
/* Normal: mean + sd * N(0, 1), sd >= 0. */
void sow_rng_normal_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd);
/* The same in f64. */
void sow_rng_normal_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd);
/* N(mean, sd) kept inside [low, high], which may be infinite on either side or far from the mean. Errors: SOW_E_RANGE
 * when low >= high, sd <= 0, a number is not finite where it must be, or PyTorch's rejection would not end;
 * SOW_E_MEMORY (TORCH_CPU only). */
sow_status sow_rng_truncated_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd, double low, double high);
/* The same in f64. */
sow_status sow_rng_truncated_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd, double low, double high);

/* One integer in [0, bound), bound >= 1. SOW, NUMPY (randint), PCG64 (integers): without bias, by rejection.
 * TORCH_CPU: torch.randint, a remainder, biased by up to 5 % for bounds near 2^28. */
uint64_t sow_rng_below(sow_rng *rng, uint64_t bound);
/* A uniformly random order of 0..n-1 (SOW: Fisher-Yates; torch.randperm; RandomState.permutation;
 * Generator.permutation). torch.nn.init.sparse_ is a normal fill and one of these a column. Cost: O(n). */
void sow_rng_permutation(sow_rng *rng, int64_t *out, int64_t n);

/* ---- functions with the same bits on every processor and compiler (built without contraction) ---- */

/* Natural logarithm; error below 1 unit in the last place. */
double sow_log(double x);
#define SOW_SINCOS_LIMIT 0x1p20
/* Sine and cosine, error below 1 unit in the last place; both NaN beyond |x| = SOW_SINCOS_LIMIT. */
void sow_sincos(double x, double *sine, double *cosine);

#ifdef __cplusplus
}
#endif
#endif
