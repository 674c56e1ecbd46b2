/* What the actions of subgm share. */
#ifndef SOW_STARTS_SUBGM_H
#define SOW_STARTS_SUBGM_H

#include "starts/factors/factors.h"

#define SUBGM_FIT_OPTIONS                                                                                                                                           \
    SOW_OPTION_INT("rank", "0", 0, 1e6, "columns of the factors, at least the true rank; 0: all, at most 64"),                                                      \
        SOW_OPTION_REAL("alpha", "1e-6", 1e-300, 1e6,                                                                                                               \
                        "size of the start; tiny makes a rank guessed too high harmless"),                                                                          \
        SOW_OPTION_CHOICE("init", "spectral", "spectral|random", "direction of the start"),                                                                         \
        SOW_OPTION_CHOICE("scale-init", "data", "data|one",                                                                                                         \
                          "alpha in units of the square root of the data's scale, or of 1"),                                                                        \
        SOW_OPTION_CHOICE("step", "geometric", "geometric|loss|const|polyak|sqrt",                                                                                  \
                          "step rule; all but geometric are baselines that fail with outliers or noise"),                                                           \
        SOW_OPTION_CHOICE("qnorm", "spec", "spec|fro|none", "norm that a sub-gradient is divided by"),                                                              \
        SOW_OPTION_REAL("eta", "0.3", 1e-12, 1e6, "first step length"),                                                                                             \
        SOW_OPTION_REAL("rho", NULL, 1e-6, 1, "factor of the length a step; default: by the budget rule"),                                                          \
        SOW_OPTION_REAL(                                                                                                                                            \
            "budget", NULL, 1e-3, 1e6,                                                                                                                              \
            "travel, as a factor of what a well-conditioned matrix takes (about its condition number); default: 1, or the best of a few by held-out measurements"), \
        SOW_OPTION_COUNT("steps", NULL, 1, 10000000, "steps", "default: until the length has fallen by 1e-7"),                                                      \
        SOW_OPTION_REAL(                                                                                                                                            \
            "holdout", NULL, 0, 0.9,                                                                                                                                \
            "share of measurements held out to choose the budget and the point of the path, by their median residual; default: 0.1 for entries, else 0"),           \
        SOW_OPTION_CHOICE("loss", "l1", "l1|l2", "l2: least squares, the baseline that outliers break")

/* The fit's settings from these options. */
void subgm_config(const sow_call *call, sow_subgm_config *out);
/* Adds what was found to the result: settings, budgets tried, rank, outliers, errors, diagnosis. */
sow_status subgm_report(sow_call *call, const factors_problem *p, const sow_subgm_config *config,
                        const sow_subgm_result *r);

/* A picture as measurements: corrupted cells by salt and pepper, channels side by side as [H, C*W] in 0..1. */
typedef struct subgm_picture {
    int64_t channels, height, width;
    double *original; /* [H, C*W] */
} subgm_picture;
sow_status subgm_open_image(sow_call *call, subgm_picture *picture, factors_problem *p);
/* corrupted.png, recovered.png, outliers.png; errors before, after, and of a median filter. */
sow_status subgm_write_image(sow_call *call, const subgm_picture *picture, const factors_problem *p,
                             const sow_subgm_result *r);

extern const sow_option subgm_simulate_options[], subgm_sign_rip_options[];
sow_status subgm_simulate(sow_call *call);
sow_status subgm_sign_rip(sow_call *call);

#endif
