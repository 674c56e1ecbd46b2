/* Partitions and populations: methods that group samples. */
#ifndef SOW_GROUPS_H
#define SOW_GROUPS_H

#include <stdbool.h>
#include <stdint.h>

#include "sow/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- mycorrhiza: split networks (Bryant and Moulton 2004, Mol. Biol. Evol. 21:255) ---- */

/* How a path of nodes is reduced to its two ends. Symmetric (Bryant and Huson 2023): the circle depends on the order of
 * the taxa through ties only. SplitsTree4: its reduction, in which the end listed first counts more. */
typedef enum sow_reduction { SOW_REDUCE_SYMMETRIC, SOW_REDUCE_SPLITSTREE4 } sow_reduction;

typedef enum sow_split_solver {
    SOW_SPLITS_AUTO,   /* exact steps while the positive splits fit into a dense factor, else conjugate gradients */
    SOW_SPLITS_EXACT,  /* each subproblem by Cholesky factors of its Gram matrix */
    SOW_SPLITS_CG,     /* the active set of SplitsTree6: subproblems by conjugate gradients */
} sow_split_solver;

typedef struct sow_neighbornet_config {
    sow_reduction reduction;
    sow_split_solver solver;
    double tolerance; /* ends when the projected gradient's norm is below this times that at zero weights; 1e-7 */
    double threshold; /* splits above this weight are kept; 1e-6 */
} sow_neighbornet_config;
/* Symmetric, auto, 1e-7, 1e-6. */
sow_neighbornet_config sow_neighbornet_defaults(void);

/* The taxa circle[first], ..., circle[last - 1] against all others; 0 <= first < last < taxa. */
typedef struct sow_split {
    int64_t first, last;
    double weight;
} sow_split;

typedef struct sow_network {
    int64_t taxa, count;
    int64_t *circle;    /* [taxa], beginning with taxon 0, then the smaller of its neighbours */
    int64_t *place;     /* [taxa] where a taxon stands on the circle */
    sow_split *splits;  /* [count] by size, then place */
    double fit;         /* 100 (1 - |A x - d|^2 / |d|^2), in % */
    double residual;    /* |A x - d| */
    double violation;   /* norm of the projected gradient, relative to that at zero weights */
    int rounds;         /* of the active set; 0: the unbounded solution was already feasible */
    bool settled;       /* the tolerance was reached */
} sow_network;

/* Neighbor-Net: the circle by agglomeration, the weights by least squares over all circular splits, none negative.
 * distances: [n, n], symmetric, zero diagonal, finite, none negative: else SOW_E_NUMBER or SOW_E_FORMAT naming the pair.
 * Exactly circular distances give back their circle and weights. n < 2: SOW_E_RANGE. Results depend on the distances
 * alone. Cost: O(n^3) for the circle; weights O(n^2) a step and O(k^3) for k positive splits. Memory: O(n^2 + k^2). */
sow_status sow_neighbornet(int64_t n, const double *distances, const sow_neighbornet_config *config, sow_arena *arena,
                           sow_network *out);
/* The weights alone, for a circle that is given (a permutation of 0..n-1). */
sow_status sow_split_weights(int64_t n, const double *distances, const int64_t *circle,
                             const sow_neighbornet_config *config, sow_arena *arena, sow_network *out);
/* Whether a taxon is on the listed side. */
static inline bool sow_split_has(const sow_network *network, sow_split split, int64_t taxon) {
    return network->place[taxon] >= split.first && network->place[taxon] < split.last;
}
/* Splits of one taxon against the rest. */
static inline bool sow_split_trivial(const sow_network *network, sow_split split) {
    return split.last - split.first == 1 || split.last - split.first == network->taxa - 1;
}

#ifdef __cplusplus
}
#endif
#endif
