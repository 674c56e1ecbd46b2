/* Kernels that the learners share: chunks of rows by columns, LEARN_STRIDE numbers from column to column. */
#ifndef SOW_LEARN_LEARN_H
#define SOW_LEARN_LEARN_H

#include "sow/learn.h"

/* A little more than a chunk: columns that lie a power of two apart would share cache lines' places. The kernels work
 * on eight rows at a time: behind a chunk's last row there is room, and learn_pad fills it with zeros. */
enum { LEARN_STRIDE = SOW_CHUNK + 8, LEARN_LANES = 8 };

/* Zeros behind the last row of each column, up to a multiple of eight. */
void learn_pad(double *x, int64_t columns, int64_t count);
/* Sum of n numbers, and of n products, in a fixed order. */
double learn_sum(const double *x, int64_t n);
double learn_dot(const double *x, const double *y, int64_t n);
/* sums[a * width + b] += sum over rows of x_a y_b, for b <= a. x and y are padded. */
void learn_products(const double *x, const double *y, int64_t width, int64_t count, double *sums);
/* out[i] = |L centred_i|^2 for lower triangular L [width, width] whose upper half is zero. centred is padded. */
void learn_whitened_squares(const double *centred, int64_t width, int64_t count, const double *whiten, double *out);
/* out[i] = |x_i - c|^2 (x is padded, out has room for as much), or with weights: sum_j ((x_ij - c_j) w_j)^2. */
void learn_squares(const double *x, int64_t width, int64_t count, const double *c, double *out);
void learn_weighted_squares(const double *x, int64_t width, int64_t count, const double *c, const double *w,
                            double *out);

#endif
