/* Decompositions of dense matrices: LAPACK on one thread, shapes as in mathematics, layouts as they come. */
#ifndef SOW_LINALG_H
#define SOW_LINALG_H

#include "sow/random.h"
#include "sow/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Thin QR decomposition A = Q R by Householder reflections, made unique: no diagonal element of R is negative.
 * a: [m, n] with m >= n, real, any layout. q: [m, n], F32 or F64, any layout; it may be `a` itself; the work is done in its
 * dtype. r: [n, n], upper triangular, or data NULL if it is not wanted. A matrix without full rank gives orthonormal
 * columns all the same. For m < n decompose the transposed view. The last bits depend on the instruction set; an F64
 * result rounded to F32 almost never does.
 * Errors: SOW_E_SHAPE, SOW_E_TYPE, SOW_E_NUMBER (a holds NaN or infinities), SOW_E_MEMORY.
 * Cost: 4 m n^2 - 4/3 n^3 FLOP; memory: one copy of q, none if q is stored by columns (q.stride[0] == 1). */
sow_status sow_qr(sow_tensor a, sow_tensor q, sow_tensor r);

/* Thin singular value decomposition A = U diag(s) V^T, s falling. a: [m, n], real, any layout; u: [m, k], s: [k],
 * vt: [k, n] with k = min(m, n), F64, any layout; u and vt may have data NULL: not wanted. The work is done in F64. Signs
 * are fixed: the largest element (the first of equals) of every row of vt is positive, or of every column of u where vt is not
 * wanted. Errors: SOW_E_SHAPE, SOW_E_TYPE, SOW_E_NUMBER (NaN, infinities, no convergence), SOW_E_MEMORY. Cost: about
 * 4 m n^2 + 22 n^3 FLOP for m >= n (dgesdd, one thread); memory: copies of a, u and vt. */
sow_status sow_svd(sow_tensor a, sow_tensor u, sow_tensor s, sow_tensor vt);

/* The leading k singular triples by randomised subspace iteration (Halko, Martinsson and Tropp 2011, arXiv 0909.4061, algorithm
 * 4.4): `extra` more directions are carried along, `rounds` times through A^T and A, drawn from rng. a: [m, n], real, any layout; u:
 * [m, k], s: [k], vt: [k, n], real, any layout, u or vt may have data NULL; signs as in sow_svd. k + extra is cut to min(m, n):
 * the result is then exact. Errors: as sow_svd. Cost: (2 rounds + 2) 2 m n (k + extra) FLOP. */
sow_status sow_svd_leading(sow_tensor a, int64_t extra, int64_t rounds, sow_rng *rng, sow_tensor u, sow_tensor s,
                           sow_tensor vt);

/* The leading k singular triples of B A for b: [m, r], a: [r, n], real, any layout, by QR of both factors: the product is never
 * formed where r <= min(m, n). u: [m, k], s: [k], vt: [k, n], F64, u and vt may have data NULL. Signs as in sow_svd of the r x r core.
 * Cost: 8 (m + n) r^2 FLOP. */
sow_status sow_svd_product(sow_tensor b, sow_tensor a, sow_tensor u, sow_tensor s, sow_tensor vt);

/* Eigenvalues of a symmetric matrix, falling, and eigenvectors: A = V diag(w) V^T. a: [n, n], real; the mean of its two
 * triangles is decomposed. w: [n]; v: [n, n], a column an eigenvector, or data NULL; F64, any layout. Signs: the largest
 * element of every column of v is positive. Errors: as sow_svd. Cost: about 9 n^3 FLOP (dsyevd, one thread). */
sow_status sow_eigen_symmetric(sow_tensor a, sow_tensor w, sow_tensor v);

/* ---- principal components of rows that come in batches ---- */

/* What is known of the rows so far. Views, valid until the next batch. */
typedef struct sow_components {
    int64_t rows, features, count;
    const float *components;       /* [count, features]: orthonormal rows by falling variance, the largest element of each positive */
    const double *singular;        /* [count], of the centred rows; singular^2 / (rows - 1): the variance along it */
    const double *mean, *variance; /* [features]; variance: mean square deviation */
    double total;                  /* sum of all squared deviations; singular^2 / total: the explained ratio */
    const double *agreement;       /* [count]: cosine with the component of that number before the last batch, with its sign; 0: none */
} sow_components;
/* singular^2 / total; 0 where there is no variance. */
double sow_explained_ratio(const sow_components *c, int64_t component);

typedef struct sow_ipca_config {
    int64_t features, components; /* components are cut to the features */
    bool exact;                   /* full decompositions in f64 instead of randomised ones in f32 */
    int64_t extra;                /* randomised: directions carried along; 0: half as many as components, at least 8 */
    int64_t rounds;               /* randomised: of subspace iteration for the first batch; 0: 5 */
    int64_t warm_rounds;          /* for later ones, which begin at the components so far; 0: 2 */
    uint64_t seed;
    const char *stream;           /* randomised: draws from ("ipca", stream); NULL: "" */
} sow_ipca_config;
typedef struct sow_ipca sow_ipca;
/* Incremental PCA (Ross et al. 2008, as in scikit-learn and PEFT): after each batch X of m rows with mean b the components are the
 * leading right singular vectors of [diag(s) C; X - b; sqrt(N m / (N + m)) (mean - b)]. What lies outside the components is
 * forgotten: with components = features it is the PCA of all rows. SOW_E_RANGE: no features or components. */
sow_status sow_ipca_new(const sow_ipca_config *config, sow_ipca **out);
/* NULL is allowed. */
void sow_ipca_free(sow_ipca *ipca);
/* Takes a batch, x: F32 [rows, features], row-major. One with fewer rows than components changes nothing (*taken false; may be
 * NULL). Scratch is given back. Errors: SOW_E_NUMBER, SOW_E_MEMORY. Cost: exact as sow_svd; else a round 4 rows
 * features (components + extra) FLOP and two QR decompositions of as many columns. */
sow_status sow_ipca_add(sow_ipca *ipca, const float *x, int64_t rows, sow_arena *scratch, bool *taken);
/* count is 0 before the first batch. */
sow_components sow_ipca_components(const sow_ipca *ipca);

typedef struct sow_gram sow_gram;
/* Exact second moments: sums of x and of x x^T, blocks in f32 added in f64, so that no order of batches matters beyond
 * rounding, and parts of the rows can be summed apart. Memory: about 4 features^2 bytes. */
sow_status sow_gram_new(int64_t features, sow_gram **out);
/* NULL is allowed. */
void sow_gram_free(sow_gram *gram);
/* Adds rows, x as above. Cost: rows features^2 FLOP at the sgemm rate. */
sow_status sow_gram_add(sow_gram *gram, const float *x, int64_t rows, sow_arena *scratch);
/* Adds the rows that `from` has seen. SOW_E_SHAPE: another number of features. */
sow_status sow_gram_merge(sow_gram *gram, const sow_gram *from);
/* The leading `count` components (cut to the features), in the arena: by subspace iteration in f64 from `start` (those of an earlier
 * call, or NULL), until no variance changes by more than `tolerance` of itself in a round (1e-5 gives five digits); complete decomposition where there are few features.
 * Signs as above; agreement is with `start`. Cost: 2 features^2 (1.5 count + 8) FLOP a round. */
sow_status sow_gram_components(const sow_gram *gram, int64_t count, double tolerance, const sow_components *start, sow_arena *arena,
                               sow_components *out);
/* Share of the variance of the leading `count` components now that lies in the span of those of `before`; rows of both count. */
sow_status sow_gram_captured(const sow_gram *gram, int64_t count, const sow_components *now, const sow_components *before,
                             sow_arena *scratch, double *share);

#ifdef __cplusplus
}
#endif
#endif
