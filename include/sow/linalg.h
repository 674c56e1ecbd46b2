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

#ifdef __cplusplus
}
#endif
#endif
