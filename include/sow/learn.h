/* Classical learners that methods share: k-means and Gaussian mixtures on rows read block by block, and scores of
 * groupings. Everything in f64. Sums are taken over a fixed power-of-two number of blocks and added in a pairwise tree
 * (sow_blocks), so results have the same bits for any number of threads. */
#ifndef SOW_LEARN_H
#define SOW_LEARN_H

#include <stdbool.h>
#include <stdint.h>

#include "sow/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- rows, read a chunk at a time ---- */

/* A table of numbers that is never copied whole: rows of `data` ([n, inputs], F64, F32 or any other real or integer type,
 * any strides; memory or a mapped file), of which `index` chooses some, each turned into `width` values by
 * (x - shift) * scale, or map (x - shift) where there is a map. A value; it owns nothing. */
typedef struct sow_rows {
    sow_tensor data;
    const int64_t *index; /* [count] rising row numbers; NULL: all rows */
    int64_t count, width;
    const double *shift; /* [inputs]; NULL: 0 */
    const double *scale; /* [inputs]; NULL: 1; not together with map */
    const double *map;   /* [width, inputs]; NULL: identity */
    bool mapped;         /* data is a mapped file: pages that were read are given back, so that memory stays flat */
} sow_rows;

/* All rows of a matrix as they are. SOW_E_SHAPE: not a matrix, or without columns; SOW_E_TYPE: complex, bool or F8. */
sow_status sow_rows_of(sow_tensor data, sow_rows *out);

enum { SOW_CHUNK = 256 };
/* Rows [first, first + count) by columns: out[j * stride + i] is value j of row first + i. count <= SOW_CHUNK. */
void sow_rows_chunk(const sow_rows *rows, int64_t first, int64_t count, double *out, int64_t stride);

/* Work over rows: `chunk` is called for pieces of at most SOW_CHUNK rows, in order within a block, and adds what it
 * finds to `sums` (zeroed at first). first: number of the piece's first row; x: by columns, SOW_CHUNK + 8 numbers apart,
 * with zeros behind the last row up to a multiple of eight. */
typedef struct sow_block_work {
    void (*chunk)(void *context, int64_t first, int64_t count, const double *x, double *sums, double *scratch);
    void *context;
    int64_t sums;    /* numbers that a block adds up */
    int64_t scratch; /* numbers that a chunk may use as it likes */
    struct {
        void *data;   /* [count] what chunks write about each row, so that processes may exchange it; NULL: none */
        int64_t size; /* bytes a row */
    } by_row[4];
} sow_block_work;

/* Runs the work over all rows: the rows are cut into a power of two of blocks (by shape: at most 64, none under 2,048
 * rows unless there is one only), a block runs on one thread, and blocks are added as a pairwise tree into
 * total [work->sums] (NULL where sums is 0). Errors: SOW_E_MEMORY, SOW_E_INTERRUPTED. Cost: one read of the rows. */
sow_status sow_blocks(const sow_rows *rows, const sow_block_work *work, double *total);
/* Several processes that make the same calls may share the work of sow_blocks: each runs its own blocks of large
 * tables, and all get the same total and the same values by row, in every bit those of one process. */
typedef struct sow_sharing {
    int rank, count;
    /* Ranks 0 .. senders - 1 give `bytes` bytes each, all get [senders, bytes]. */
    sow_status (*exchange)(void *user, int senders, const void *mine, size_t bytes, void *all);
    void *user;
} sow_sharing;
/* From now on, for the whole process; NULL: each for itself again. */
void sow_share_blocks(const sow_sharing *sharing);
/* Number of blocks that sow_blocks cuts `count` rows into. */
int64_t sow_block_count(int64_t count);
/* The first row of block b; b = the number of blocks: count. */
int64_t sow_block_first(int64_t count, int64_t b);

/* Mean and covariance (divided by the count) of the rows: mean [width], covariance [width, width] or NULL. One pass,
 * about the mean of a few rows, so that no digits are lost far from the origin. SOW_E_NUMBER names the first row that
 * is not finite; SOW_E_SHAPE: no rows. */
sow_status sow_rows_moments(const sow_rows *rows, double *mean, double *covariance);
/* Mean and variances [width], likewise. */
sow_status sow_rows_variances(const sow_rows *rows, double *mean, double *variance);

/* At most `most` rows, one from each of so many equal stretches (always the same ones, at places that look random, so that
 * an order in the table does no harm), copied by columns into the arena: learners try on them what is dear on all.
 * numbers: [rows of out] which they are, or NULL. */
sow_status sow_rows_sample(const sow_rows *rows, int64_t most, sow_arena *arena, sow_rows *out, int64_t **numbers);
/* Rows [first, first + count) of the rows. */
sow_rows sow_rows_slice(const sow_rows *rows, int64_t first, int64_t count);

/* ---- k-means (Lloyd 1982; Arthur and Vassilvitskii 2007 for k-means++) ---- */

typedef enum sow_kmeans_start {
    SOW_KMEANS_PLUSPLUS, /* centroids drawn with chance proportional to the squared distance to the nearest one */
    SOW_KMEANS_RANDOM,   /* k different rows */
    SOW_KMEANS_PCA,      /* no randomness: quantiles along the first principal axis */
    SOW_KMEANS_VARIANCE, /* no randomness: quantiles along the column with the largest variance */
} sow_kmeans_start;

typedef struct sow_kmeans_config {
    int clusters;
    sow_kmeans_start start;
    int restarts;     /* starts, of which the one with the least SSE stays (ties within 1e-9: the first); 8 */
    int rounds;       /* Lloyd rounds of a start, at most; 100 */
    int trial_rounds; /* of a start before the best of them goes on alone; 0: each goes on to its end */
    double tolerance; /* ends when no centroid moved further than this times the rows' root mean square spread; 1e-9 */
    int64_t sample;   /* above this many rows starts compete on so many of them, and the best goes on with all, both to
                         a tolerance of 1e-4 at least; 0: never */
    uint64_t seed, number; /* fits of one seed with different numbers draw different starts */
    const double *initial; /* [clusters, width]: go on from these centroids; NULL: as `start` says */
} sow_kmeans_config;
/* 2 clusters, k-means++, 8 starts, 100 rounds, 1e-9, sample 8,192, seed 0. */
sow_kmeans_config sow_kmeans_defaults(void);

typedef struct sow_kmeans {
    int clusters;
    int64_t width;
    double *centroids; /* [clusters, width], lexicographically rising */
    int64_t *sizes;    /* [clusters] */
    double sse;        /* sum of squared distances to the own centroid */
    double *sse_trace; /* [rounds]: of each round's assignment on all rows, never rising */
    int rounds;        /* on all rows */
    bool settled;      /* the tolerance was reached */
} sow_kmeans;

/* Best of several starts. Equal distances go to the first centroid; a cluster that runs empty takes the row that is
 * farthest from its centroid. labels: [count], or NULL. Errors: SOW_E_RANGE: fewer rows than clusters, clusters < 1;
 * SOW_E_MEMORY. Cost: a read and 2 count clusters width operations a round. */
sow_status sow_kmeans_fit(const sow_rows *rows, const sow_kmeans_config *config, sow_arena *arena, sow_kmeans *out,
                          int32_t *labels);
/* Nearest centroid of each row; labels [count]; returns the SSE in *sse (may be NULL). */
sow_status sow_kmeans_assign(const sow_kmeans *model, const sow_rows *rows, int32_t *labels, double *sse);

/* ---- Gaussian mixtures by expectation maximisation (Dempster, Laird and Rubin 1977) ---- */

typedef enum sow_covariance {
    SOW_COVARIANCE_FULL,
    SOW_COVARIANCE_TIED, /* one full matrix for all components */
    SOW_COVARIANCE_DIAG,
    SOW_COVARIANCE_SPHERICAL,
} sow_covariance;

typedef struct sow_mixture {
    int components;
    int64_t width;
    sow_covariance covariance;
    double *weights;       /* [components] */
    double *means;         /* [components, width] */
    double *covariances;   /* full [components, width, width]; tied [width, width]; diag [components, width]; spherical
                            [components] */
    double *whiten;        /* inverses of the lower Cholesky factors, or of standard deviations: the same shapes */
    double *log_scale;     /* [components]: log weight - log sqrt(det(2 pi covariance)) */
    double log_likelihood; /* of the rows it was fitted to */
    int rounds;
    bool settled, hopeless;
} sow_mixture;

typedef struct sow_mixture_config {
    sow_covariance covariance;
    int rounds;       /* at most; 200. 0: the Gaussians of the partition as it is, without a likelihood */
    double tolerance; /* ends when a round adds less than this times count * width to the log likelihood; 1e-6 */
    double floor;     /* is added to variances: times the rows' mean variance; 1e-6 */
    int64_t sample;   /* above this many rows the rounds begin on so many of them; 0: never */
    double target; /* log likelihood a row that the mixture is wanted for: rounds end early, as hopeless, where it will
                         not be reached; 0: none */
    double *trace; /* [rounds]: log likelihood by round on all rows, or NULL */
    const sow_mixture *initial; /* begin with this mixture, not with `labels`; NULL: none */
    int32_t *component;         /* [count] each row's likeliest component in the end, and its responsibility: saves a */
    double *responsibility;     /* call of sow_mixture_assign; NULL: not wanted */
} sow_mixture_config;
/* Full, 200 rounds, 1e-6, 1e-6, sample 8,192. */
sow_mixture_config sow_mixture_defaults(void);

/* Fits `components` Gaussians, beginning with the partition `labels` [count] (responsibilities 0 and 1): no randomness.
 * Errors: SOW_E_RANGE: a component without rows; SOW_E_NUMBER: rows without any spread, or values that are not finite;
 * SOW_E_MEMORY. Cost of a round: a read, and count * components * width^2 multiplications twice (full). */
sow_status sow_mixture_fit(const sow_rows *rows, int components, const int32_t *labels,
                           const sow_mixture_config *config, sow_arena *arena, sow_mixture *out);
/* For each row, as far as wanted (else NULL): its likeliest component, that one's responsibility, the log density, and
 * all responsibilities [count, components]. */
typedef struct sow_membership {
    int32_t *component;
    double *responsibility, *log_density, *all;
} sow_membership;
/* Fills in what `out` wants. *sum: the log likelihood, or NULL. Cost: one pass. */
sow_status sow_mixture_assign(const sow_mixture *mixture, const sow_rows *rows, sow_membership out, double *sum);
/* Fills whiten and log_scale from weights, means and covariances (after reading a mixture from a file). SOW_E_NUMBER: a
 * covariance is not positive definite. */
sow_status sow_mixture_prepare(sow_mixture *mixture, sow_arena *arena);
/* Free parameters: components * (width + those of a covariance) + components - 1. */
int64_t sow_mixture_parameters(int components, int64_t width, sow_covariance covariance);
/* Bayesian information criterion, -2 log likelihood + parameters * log(count): smaller is better. */
double sow_bic(double log_likelihood, int64_t parameters, int64_t count);

/* ---- scores of groupings: labels are any integers; rows whose label is negative in either are left out ---- */

/* Adjusted Rand index (Hubert and Arabie 1985): 1 for equal groupings, 0 on average for random ones. 1 where both
 * are one group or all single. SOW_E_RANGE: no row is left. Cost: n + groups^2, or n log n. */
sow_status sow_adjusted_rand(const int32_t *a, const int32_t *b, int64_t n, double *out);
/* Normalised mutual information, arithmetic mean of the entropies below the line (scikit-learn's default). */
sow_status sow_normalised_information(const int32_t *a, const int32_t *b, int64_t n, double *out);
/* Mean silhouette (Rousseeuw 1987) with Euclidean distance, of at most `most` rows (0: all). Single rows of a
 * cluster count 0. SOW_E_RANGE: fewer than two clusters. Cost: O(m^2 width) for m rows. */
sow_status sow_silhouette(const sow_rows *rows, const int32_t *labels, int64_t most, double *out);

#ifdef __cplusplus
}
#endif
#endif
