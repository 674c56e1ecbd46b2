/* What the kinds of operators share. */
#ifndef SOW_LINALG_OPERATOR_H
#define SOW_LINALG_OPERATOR_H

#include "sow/operator.h"

/* Number of partial sums of a dense pass: by shape, so that no bit depends on threads. */
int64_t operator_dense_cells(const sow_operator *op);
/* Bytes of the matrix that one block of rows takes. */
int64_t operator_dense_block(const sow_operator *op);

/* One read of the matrix: weigh (with the dot products of x) or, if weigh is NULL, z as it is; then E. */
void operator_dense_pass(sow_pass *pass, bool with_x, sow_weigh weigh, void *user);

void operator_entries_forward(sow_pass *pass, const double *f, const double *g, int64_t k, sow_weigh weigh, void *user);
void operator_entries_times(const sow_pass *pass, const double *v, int64_t k, bool transpose, double *out);
void operator_rank_one_forward(sow_pass *pass, const double *f, const double *g, int64_t k, sow_weigh weigh,
                               void *user);
void operator_rank_one_times(sow_pass *pass, const double *v, int64_t k, bool transpose, double *out);

/* weigh over all of ax, in cells. */
void operator_weigh(sow_pass *pass, sow_weigh weigh, void *user);

#endif
