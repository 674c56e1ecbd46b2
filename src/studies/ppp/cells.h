/* Cells of ppp's study: one data set, several starts, all arms. */
#ifndef SOW_STUDIES_PPP_CELLS_H
#define SOW_STUDIES_PPP_CELLS_H

#include "sow/groups.h"
#include "sow/study.h"

/* A table with known classes. */
typedef struct ppp_set {
    sow_rows rows;
    int32_t *truth;
    int clusters;
} ppp_set;

/* How Gaussians are planted. */
typedef struct ppp_planting {
    int64_t rows, width;
    int clusters;
    double separation; /* least distance of two centres, in standard deviations */
    int64_t noise;     /* columns of noise beside */
    bool unequal;      /* weights 1 : 2 : 3 ..., standard deviations 0.5 to 1.5 */
    bool heavy;        /* Student's t with 3 degrees of freedom */
} ppp_planting;
sow_status ppp_plant(const ppp_planting *planting, uint64_t seed, sow_arena *arena, ppp_set *out);

/* One of scikit-learn's tables as Debian's python3-sklearn has it: iris, wine (z-scores), digits (ten principal axes).
 * folder NULL: where the package lies. SOW_E_NOT_FOUND says how to get it. */
sow_status ppp_real_set(const char *folder, const char *name, sow_arena *arena, ppp_set *out);

/* What several starts of one arm found. */
typedef struct ppp_runs {
    int count;
    int32_t **labels, **core; /* [count][rows]; core: -1 outside; equal to labels where the arm has none */
    int *clusters;
} ppp_runs;

typedef enum ppp_arm {
    PPP_ARM_PPP,       /* starts by k-means++ */
    PPP_ARM_RANDOM,    /* starts at random rows */
    PPP_ARM_PCA,       /* no randomness */
    PPP_ARM_BINARY,    /* splits in two only */
    PPP_ARM_KMEANS_1,  /* k-means, one random start, told the number */
    PPP_ARM_KMEANS_10, /* the best of ten k-means++ starts, told the number */
    PPP_ARM_GMM,       /* mixture from one random k-means, told the number */
    PPP_ARM_GMM_BIC,   /* mixtures from k-means for k = 1 .. 14, the least BIC */
    PPP_ARM_NORMALITY, /* splits by Anderson and Darling's test alone, as G-means */
    PPP_ARM_SPHERICAL, /* splits by the BIC of spheres alone, as X-means */
    PPP_ARMS
} ppp_arm;
const char *ppp_arm_name(ppp_arm arm);
/* Runs an arm with `count` starts drawn from seed. */
sow_status ppp_run_arm(ppp_arm arm, const ppp_set *set, uint64_t seed, int count, sow_arena *arena, ppp_runs *out);

/* Mean adjusted Rand index over pairs of starts; `where`: only rows in both cores of these runs, NULL: the runs' own. */
sow_status ppp_repeatability(const ppp_runs *runs, const ppp_runs *where, int64_t rows, sow_arena *arena, double *out);

#endif
