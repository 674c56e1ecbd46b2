/* Statistics of starts compared by seed: every function alone, on plain arrays (PROVE.md, section 2). */
#ifndef SOW_PROVE_H
#define SOW_PROVE_H

#include <stdbool.h>
#include <stdint.h>

#include "sow/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- distributions: about 14 digits; no failure, arguments outside the domain give the nearest limit ---- */

double sow_beta_cdf(double x, double a, double b);      /* I_x(a, b) */
double sow_beta_quantile(double p, double a, double b);
double sow_t_cdf(double t, double df);
double sow_t_quantile(double p, double df);
double sow_t_p(double t, double df);                    /* two-sided */
double sow_chi2_p(double x, double df);                 /* upper tail */

/* Power of a paired t test with n pairs when the mean difference is `effect_in_sd` standard deviations of a difference. */
double sow_t_power(int n, double effect_in_sd, double alpha, int sides);

/* One-sided Clopper-Pearson bound on the failure rate after `failures` of n; level .95. */
double sow_failure_bound(int failures, int n, double level);

/* ---- estimates ---- */

typedef struct sow_summary { int n; double mean, median, sd, minimum, maximum; } sow_summary;

/* Sums in the order given. sd 0 for n = 1. SOW_E_RANGE: n < 1; SOW_E_NUMBER: a value is not finite. Cost: n log n. */
sow_status sow_summarise(const double *values, int n, sow_summary *out);

/* Interval of the mean of d by Student's t: mean +- t(1 - alpha/2, n-1) * sd / sqrt(n). n = 1: SOW_E_RANGE. */
sow_status sow_t_interval(const double *d, int n, double alpha, double *low, double *high);

#ifdef __cplusplus
}
#endif
#endif
