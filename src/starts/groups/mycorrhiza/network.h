/* Parts of Neighbor-Net: the circle, products with the matrix of circular splits, non-negative weights. */
#ifndef SOW_STARTS_GROUPS_MYCORRHIZA_NETWORK_H
#define SOW_STARTS_GROUPS_MYCORRHIZA_NETWORK_H

#include "sow/groups.h"

/* The circular order of n taxa, circle[0] = 0. distances: [n, n], symmetric. Cost: O(n^3). */
sow_status network_circle(int64_t n, const double *distances, sow_reduction reduction, sow_arena *arena,
                          int64_t *circle);

/* Pairs i < j of places on the circle, by diagonals k = j - i: all of one k lie side by side, so that the recurrences
 * below are loops over neighbours. Of distances (i, j) is the pair of places; of splits it is {i, ..., j-1} | rest. */
static inline int64_t network_pairs(int64_t n) {
    return n * (n - 1) / 2;
}
static inline int64_t network_diagonal(int64_t n, int64_t k) {
    return (k - 1) * n - k * (k - 1) / 2;
}

/* y = A x, distances from split weights; z = A^T r; scratch: [n]. All by diagonals. Cost: 4 operations a pair. */
void network_distances(int64_t n, const double *x, double *y, double *scratch);
void network_transposed(int64_t n, const double *r, double *z, double *scratch);
/* x = A^-1 d, the weights of the least squares without a bound. */
void network_unbounded(int64_t n, const double *d, double *x);

/* The least squares min |A x - d|^2 / 2 + penalty sum x, x >= 0, on its way; | |: with weights, if there are some. All
 * [pairs] by diagonals. */
typedef struct network_fit {
    int64_t n, pairs;
    const double *d;
    double *weights;  /* W, or NULL: all 1 */
    double *weighted; /* scratch; NULL without weights */
    double penalty;
    double *x;        /* weights so far, none negative */
    double *target;   /* A^T W d */
    double *gradient; /* A^T W (A x - d) + penalty */
    double *residual; /* A x - d */
    double *sums;     /* [n] scratch */
    double bound;     /* the norm of the projected gradient that ends it */
    double violation; /* that norm at x */
    int rounds;
} network_fit;

/* z = A^T W r. */
void network_normal(network_fit *fit, const double *r, double *z);
/* Fills residual, gradient and violation from x. */
void network_gradient(network_fit *fit);
/* Subproblems by Cholesky factors of Gram matrices. *full: more than `limit` splits became positive. */
sow_status network_solve_exact(network_fit *fit, int64_t limit, sow_arena *arena, bool *full);
/* Subproblems by conjugate gradients (SplitsTree6). */
sow_status network_solve_cg(network_fit *fit, sow_arena *arena);

/* A lower Cholesky factor [size, size] whose leading rows stay while later ones change. */
typedef struct network_factor {
    double *values; /* row-major, rows `stride` apart */
    int64_t stride;
} network_factor;
/* Room for `size` rows; what is there stays. */
sow_status network_factor_reserve(network_factor *factor, int64_t kept, int64_t size, int64_t most);
/* Rows [from, size) hold the matrix, those before hold its factor: the rest becomes factor too. SOW_E_NUMBER where the
 * matrix is not positive definite. Cost: (size^3 - from^3) / 3. */
sow_status network_factorise(network_factor *factor, int64_t from, int64_t size);
/* b := the solution of (L L^T) x = b. */
void network_factor_solve(const network_factor *factor, int64_t size, double *b);

#endif
