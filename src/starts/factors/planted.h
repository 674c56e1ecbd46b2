/* Planted problems: a matrix that is known, measured at random, with noise and outliers. */
#ifndef SOW_STARTS_PLANTED_H
#define SOW_STARTS_PLANTED_H

#include "starts/factors/factors.h"

typedef struct factors_planted {
    const char *kind; /* gaussian, rank-one, entries, identity */
    int64_t n1, n2, m, rank;
    double kappa, outliers, outlier_sd, noise; /* share; standard deviations */
    const char *noise_kind;                    /* gaussian, laplace, cauchy */
    bool symmetric, psd;                       /* symmetric A_i; X* positive semidefinite */
    uint64_t seed;
} factors_planted;

/* X* with singular values from 1 to 1/kappa, measurements, outliers. added: [m], what was added to <A_i, X*>; may be NULL. */
sow_status factors_plant(const factors_planted *p, sow_arena *arena, factors_problem *out, double **added);
/* Noise and outliers alone, [m]. */
sow_status factors_noise(const factors_planted *p, sow_arena *arena, double **noise);

/* The options of `simulate` actions that say what is planted, and where problem and summary go. */
#define FACTORS_PLANTED(measurements)                                                                       \
    SOW_OPTION_INT("n1", "30", 1, 1e6, "rows of the matrix"),                                               \
        SOW_OPTION_INT("n2", NULL, 1, 1e6, "columns; default: as rows"),                                    \
        SOW_OPTION_INT("truth-rank", "2", 1, 1e6, "rank of the true matrix"),                               \
        SOW_OPTION_REAL("kappa", "1", 1, 1e12, "its condition number: singular values from 1 to 1/kappa"),  \
        SOW_OPTION_CHOICE("measure", "gaussian", "gaussian|rank-one|entries|identity", "what is measured"), \
        SOW_OPTION_INT("m", measurements, 1, 1e9, "measurements"),                                          \
        SOW_OPTION_FLAG("symmetric-operator", "gaussian: symmetric matrices"),                              \
        SOW_OPTION_REAL("noise", "0", 0, 1e12, "standard deviation of noise on every measurement"),         \
        SOW_OPTION_CHOICE("noise-kind", "gaussian", "gaussian|laplace|cauchy",                              \
                          "its distribution (cauchy: --noise is its scale)")
#define FACTORS_PLANTED_OUTPUTS                              \
    {"save",                                                 \
     0,                                                      \
     SOW_TYPE_OUTPUT,                                        \
     NULL,                                                   \
     0,                                                      \
     0,                                                      \
     NULL,                                                   \
     NULL,                                                   \
     "folder for y.npy, A.npy and truth.npy of the problem", \
     SOW_OPTION_NO_PASSPORT},                                \
        SOW_OPTION_OUTPUT_OR("summary as a JSON file"), SOW_OPTION_FORCE

sow_status factors_planted_options(sow_call *call, bool psd, factors_planted *out);
sow_status factors_planted_outputs(sow_call *call, const factors_problem *p);

#endif
