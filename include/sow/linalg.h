/* Decompositions of dense matrices: LAPACK on one thread, shapes as in mathematics, layouts as they come. */
#ifndef SOW_LINALG_H
#define SOW_LINALG_H

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

#ifdef __cplusplus
}
#endif
#endif
