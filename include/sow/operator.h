/* Linear operators: measurements y_i = <A_i, X> of a matrix, without ever forming more than is needed. */
#ifndef SOW_OPERATOR_H
#define SOW_OPERATOR_H

#include "sow/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_operator_kind {
    SOW_OPERATOR_DENSE,    /* every A_i written out: a [m, n1*n2], memory-mapped, read once a pass */
    SOW_OPERATOR_RANK_ONE, /* A_i = a_i b_i^T: a [m, n1], b [m, n2] */
    SOW_OPERATOR_ENTRIES,  /* A_i picks the entry (row_i, column_i): matrices with missing cells */
    SOW_OPERATOR_IDENTITY, /* every entry, row by row: a matrix that is known whole */
} sow_operator_kind;

/* A: R^(n1 x n2) -> R^m. A description: it views memory that outlives it. Made by the functions below. */
typedef struct sow_operator {
    sow_operator_kind kind;
    int64_t m, n1, n2;
    sow_tensor a, b;              /* dense: F64 or F32, rows without gaps; rank one: F64 */
    const int64_t *row, *column; /* entries: [m] */
    const int64_t *by_row, *by_column, *row_start, *column_start; /* measurements sorted, and where each row begins */
    int64_t memory;               /* bytes of the mapped matrix that may be resident; 0: all */
    bool symmetric;               /* set by the caller: E is (E + E^T)/2, for symmetric X; n1 = n2 */
} sow_operator;

/* `a` is [m, n1*n2] or [m, n1, n2], F64 or F32, contiguous. memory > 0 says that `a` lies in a mapped file of which at most
 * that much shall be resident: pages are read ahead and released behind the pass. Errors: SOW_E_SHAPE, SOW_E_TYPE; SOW_E_RANGE
 * naming the least bound that would do. */
sow_status sow_operator_dense(sow_tensor a, int64_t n1, int64_t n2, int64_t memory, sow_operator *out);
/* `b` with data NULL: a_i a_i^T. Both F64, contiguous. */
sow_status sow_operator_rank_one(sow_tensor a, sow_tensor b, sow_operator *out);
/* row, column: [m], from 0. Sorted copies go to the arena. SOW_E_RANGE names a measurement outside of n1 x n2. The same
 * entry may be measured several times. */
sow_status sow_operator_entries(sow_arena *arena, int64_t m, int64_t n1, int64_t n2, const int64_t *row,
                                const int64_t *column, sow_operator *out);
/* Every entry of an [n1, n2] matrix is measured once, row by row. */
sow_status sow_operator_identity(int64_t n1, int64_t n2, sow_operator *out);

/* Fills z[first..first+count) from ax, the values <A_i, X> of these measurements: the residual, its sign ... Called from
 * several threads, for each measurement once; it may depend on nothing but its arguments. */
typedef void (*sow_weigh)(void *user, int64_t first, int64_t count, const double *ax, double *z);

/* The state of an operator at work: what a pass found, and its buffers. */
typedef struct sow_pass {
    const sow_operator *op;
    int64_t k; /* columns of the factors, at most */
    double *ax, *z;   /* [m]: <A_i, X> and weights of the latest pass */
    double *e;        /* dense, identity: [n1, n2], E = sum z_i A_i; else NULL */
    double *x;        /* dense, identity: [n1, n2], F G^T */
    double *partial;  /* dense: [cells, n1*n2] */
    double *p, *q;    /* rank one: [m, k] */
    double *t, *u;    /* [max(n1, n2), k], [n1] */
} sow_pass;

/* Buffers for factors of at most k columns. Memory: 2m doubles, and dense: (2 + cells) n1*n2 with at most 8 cells; identity:
 * 2 n1*n2; rank one: 2 m k. */
sow_status sow_pass_new(sow_arena *arena, const sow_operator *op, int64_t k, sow_pass *out);

/* One pass: ax = A(F G^T), z = weigh(ax), and what E = sum z_i A_i needs. f: [n1, k], g: [n2, k], row-major; NULL for both:
 * X = 0. Dense matrices are read once, four rows at a time: dot products, weights and the sum of weighted rows while the
 * rows are in cache. Cut by shape: the same bits for any number of threads and any memory bound.
 * Cost, FLOP: dense 4 m n1 n2 (reads m n1 n2 elements); rank one 2 m k (n1 + n2); entries 2 m k; identity 2 n1 n2 k. */
sow_status sow_operator_forward(sow_pass *pass, const double *f, const double *g, int64_t k, sow_weigh weigh, void *user);
/* The adjoint alone: E of weights z [m]. Dense: one read of the matrix. */
sow_status sow_operator_adjoint(sow_pass *pass, const double *z);
/* out = E V, or E^T V if `transpose`, with E of the latest call. V: [n2, k] ([n1, k]), out: [n1, k] ([n2, k]). Cost: dense,
 * identity 2 n1 n2 k; entries 2 m k; rank one 2 m k (n1 + n2). */
sow_status sow_operator_times(sow_pass *pass, const double *v, int64_t k, bool transpose, double *out);
/* E itself into [n1, n2]. */
sow_status sow_operator_sum(sow_pass *pass, double *e);

/* ||E||_2 by `rounds` power iterations from v [n2], which is updated: warm from the step before, or zeros for a fixed start.
 * A lower bound that approaches the norm. */
sow_status sow_operator_norm(sow_pass *pass, double *v, int rounds, double *norm);

#ifdef __cplusplus
}
#endif
#endif
