/* Partitions and populations: methods that group samples. */
#ifndef SOW_GROUPS_H
#define SOW_GROUPS_H

#include <stdbool.h>
#include <stdint.h>

#include "sow/learn.h"
#include "sow/genotype.h"
#include "sow/memory.h"
#include "sow/method.h"

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
    int power;        /* pairs count 1 / d^power in the least squares: 0, 1, or 2 (Fitch and Margoliash 1967); 0. Pairs at
                         distance 0 count as those at the smallest other one */
    double sparsity;  /* each split costs this share of what the most wanted one gains, times its weight (L1): 0 to 1; 0 */
} sow_neighbornet_config;
/* Symmetric, auto, 1e-7, 1e-6, 0, 0. With a power or sparsity the solver is always that by conjugate gradients. */
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

/* ---- ppp: probabilistic partitive partitioning (after Sultan 2020, arXiv 2003.04372; procedure reconstructed) ---- */

typedef enum sow_ppp_test {
    SOW_PPP_BIC,       /* k Gaussians must describe the rows better than one */
    SOW_PPP_AGREEMENT, /* nothing beside the agreement */
    SOW_PPP_ANDERSON,  /* the rows' places along the line between both centroids must not be normal (as in G-means) */
} sow_ppp_test;

typedef struct sow_ppp_config {
    double agreement;  /* tau: share of rows on whose side k-means and mixture must agree; 0.7 */
    double confidence; /* p_min: responsibility from which a row belongs to the core; 0.95 */
    double bic_margin; /* by how much the BIC must fall; 0 */
    int64_t min_leaf;  /* rows of a cluster; 0: the larger of 5 (width + 1) and 2 % of the rows */
    sow_covariance covariance;
    sow_kmeans_start start;
    sow_ppp_test test;
    int restarts;   /* of each k-means; 8 */
    int clusters;   /* told: split until there are so many; 0: as many as there is evidence for */
    int flat;       /* where a split in two is refused, splits in 3 .. flat are tried at once; 6; 0: none */
    bool only_flat; /* one split in 1 .. flat, none of its parts is looked at again */
    bool reenter;   /* the rows outside of all cores are gone through once more */
    bool nearest;   /* they are assigned to the nearest centroid, not to the likeliest Gaussian */
    int64_t sample; /* above this many rows starts compete on a part of them; -1: the larger of 8,192 and 16 a parameter
                       of a full covariance; 0: never */
    uint64_t seed;
    bool progress;  /* tells sow_progress how many rows are settled */
} sow_ppp_config;
/* What the command takes where nothing is said. */
sow_ppp_config sow_ppp_defaults(void);

/* One node of the tree, with the evidence for or against its split. NaN: not measured. */
typedef struct sow_ppp_node {
    int parent, depth;     /* -1: the root */
    int child, parts;      /* the first of `parts` nodes in a row; -1 and 0: a leaf */
    int tried;             /* parts of the split that was judged last: 2, or more at once; 0: none */
    int64_t size, core;    /* rows, and those of them that went on into the parts */
    int64_t smallest;      /* rows of the smallest part that k-means gave */
    double sse, sse_parts; /* squared distances to the mean, and to the parts' means */
    double agreement, bic_one, bic_parts;
    double anderson;      /* A*^2 */
    bool forced;          /* split against the evidence, since the number of clusters was told */
    int cluster;          /* number of this leaf's cluster, negative: none */
    const char *decision; /* in words: "split in 2", "leaf: BIC does not fall" */
} sow_ppp_node;

typedef struct sow_ppp {
    int64_t count, width, min_leaf;
    int clusters;
    sow_ppp_node *nodes;
    int node_count;
    int32_t *labels;    /* [count] cluster of each row; clusters are ordered along the first principal axis */
    uint8_t *core;      /* [count] 1: k-means and mixtures agreed on it, surely, at every level */
    double *confidence; /* [count] share of the own cluster's Gaussian in the row's density */
    double *centroids;  /* [clusters, width] means of the cores */
    int64_t *sizes, *core_sizes; /* [clusters] */
    sow_mixture leaves;          /* a Gaussian a cluster, of its core */
    int64_t core_count;
} sow_ppp;

/* Partitions the rows: two-way k-means (best of several starts), a two-component mixture that begins with that split
 * and judges it; rows on which both agree go on into the parts; what is not split is a cluster. Everything in the arena.
 * Errors: SOW_E_RANGE: fewer than 2 rows, more told clusters than rows, nonsense in the configuration; SOW_E_NUMBER:
 * values that are not finite, or all rows equal; SOW_E_MEMORY, SOW_E_INTERRUPTED. Equal bits for any number of threads.
 * Cost: per level of the tree a few dozen reads; a round of a mixture 4 n width^2 multiplications. Memory: about 40
 * bytes a row beside the rows. */
sow_status sow_ppp_fit(const sow_rows *rows, const sow_ppp_config *config, sow_arena *arena, sow_ppp *out);

/* Labels and confidences of new rows (same width): the likeliest leaf Gaussian, or the nearest centroid. labels,
 * confidence (of the likeliest), all ([count, clusters]): NULL where not wanted. */
sow_status sow_ppp_assign(const sow_ppp *model, const sow_rows *rows, bool nearest, int32_t *labels, double *confidence,
                          double *all);

extern const sow_method sow_method_ppp;

/* ---- mycorrhiza: assignment of genotypes to populations (Georges-Filteau, Hamelin and Blanchette 2020) ---- */

typedef enum sow_assigner {
    SOW_ASSIGN_NETWORK,    /* the paper's: sides of splits, forest */
    SOW_ASSIGN_PCA,        /* first 50 principal components of the distances, forest */
    SOW_ASSIGN_FREQUENCY,  /* Rannala and Mountain 1997: likelihood under each population's allele frequencies */
    SOW_ASSIGN_NEIGHBOURS, /* shares among the 5 nearest by distance */
    SOW_ASSIGN_ADMIXTURE,  /* mixture proportions by EM, with frequencies from the learning individuals */
    SOW_ASSIGNERS
} sow_assigner;
/* "mycorrhiza", "pca+forest", "frequency test", "nearest", "admixture". */
const char *sow_assigner_name(sow_assigner assigner);

typedef struct sow_mycorrhiza_config {
    int partitions; /* consecutive parts of the shuffled loci, a network and a forest each; probabilities are averaged; 1 */
    int64_t loci;   /* so many drawn at random; 0: all */
    sow_genotype_distance distance;
    bool first_copy_only, drop_trivial; /* drop_trivial: without splits of one individual, as the paper says and its code
                                           does not */
    double cap;     /* saturated distances become this times the largest other one; 0: they stay 100 */
    int trees;      /* 60 */
    sow_neighbornet_config net;
    uint64_t seed;
} sow_mycorrhiza_config;
/* What the command takes where nothing is said. */
sow_mycorrhiza_config sow_mycorrhiza_defaults(void);

/* Individuals ready to be learned from: distances and networks of all of them, labels unused. */
typedef struct sow_individuals sow_individuals;
/* From genotypes; everything lives in the arena, and `g` must too. Cost: distances and a network for each partition. */
sow_status sow_individuals_of(const sow_genotypes *g, const sow_mycorrhiza_config *config, sow_arena *arena,
                              sow_individuals **out);
/* From distances [n, n] alone: without the assigners that need alleles (SOW_E_UNSUPPORTED). */
sow_status sow_individuals_apart(int64_t n, const double *distances, const sow_mycorrhiza_config *config,
                                 sow_arena *arena, sow_individuals **out);
/* How many parts the data have that a network is made for. */
int sow_individuals_parts(const sow_individuals *individuals);
/* The network of a part. */
const sow_network *sow_individuals_network(const sow_individuals *individuals, int part);
/* Its distances, [n, n]. */
const double *sow_individuals_distances(const sow_individuals *individuals, int part);

/* Learns from learn[0..learn_count), whose labels are 0..classes-1, and gives probabilities [count, classes] of the
 * individuals in predict[0..count). The networks know all individuals (the method is transductive); the labels of those
 * to be predicted are never read. */
sow_status sow_assign(const sow_individuals *individuals, sow_assigner assigner, const int32_t *labels, int32_t classes,
                      const int64_t *learn, int64_t learn_count, const int64_t *predict, int64_t count, uint64_t seed,
                      sow_arena *arena, double *probabilities);
/* The same with networks of the learning individuals only: each other one is put beside the individual on the circle
 * whose place explains its distances best, and so never influences a feature. */
sow_status sow_assign_outside(const sow_genotypes *g, const sow_mycorrhiza_config *config, const int32_t *labels,
                              int32_t classes, const int64_t *learn, int64_t learn_count, const int64_t *predict,
                              int64_t count, sow_arena *arena, double *probabilities);

/* The most probable population; the first on ties. */
int32_t sow_best_class(const double *probabilities, int32_t classes);

/* Stratified shuffled cross-validation over the individuals with a label (>= 0). probabilities [n, classes]: means over
 * repeats; hits [n]: share of repeats in which the individual was assigned rightly; accuracy [repeats]. SOW_E_RANGE: a
 * population with fewer individuals than folds. */
sow_status sow_assign_cross(const sow_individuals *individuals, sow_assigner assigner, const int32_t *labels,
                            int32_t classes, int folds, int repeats, uint64_t seed, sow_arena *arena,
                            double *probabilities, double *hits, double *accuracy);

/* For each individual and population, the share of `draws` genotypes simulated from the population's frequencies (with its
 * own missing loci) that are less likely there than the individual: a small share excludes the population. An individual of
 * the population is left out of the frequencies. p: [n, classes]. Cost: n * classes * draws * loci. */
sow_status sow_exclusion(const sow_genotypes *g, const int32_t *labels, int32_t classes, int draws, uint64_t seed,
                         sow_arena *arena, double *p);

/* Writes a NEXUS file with a Taxa and a Splits block that SplitsTree opens. */
sow_status sow_network_write(const char *path, const sow_network *network, const char *const *names);

#ifdef __cplusplus
}
#endif
#endif
