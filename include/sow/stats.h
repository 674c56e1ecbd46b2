/* Statistics of starts compared by seed: every function alone, on plain arrays (PROVE.md, section 2). d[s] is the
 * score of an arm less that of the reference at the same seed, larger is better. */
#ifndef SOW_STATS_H
#define SOW_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "sow/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- distributions: about 13 digits; they cannot fail, arguments outside the domain give the nearest limit ---- */

/* The regularised incomplete beta function I_x(a, b). */
double sow_beta_cdf(double x, double a, double b);
/* The x with I_x(a, b) = p. */
double sow_beta_quantile(double p, double a, double b);
/* Student's t with df degrees of freedom: P(T <= t). */
double sow_t_cdf(double t, double df);
/* The t with P(T <= t) = p. */
double sow_t_quantile(double p, double df);
/* Two-sided p of t. */
double sow_t_p(double t, double df);
/* Upper tail of chi squared. */
double sow_chi2_p(double x, double df);
/* Its value with the lower tail p. */
double sow_chi2_quantile(double p, double df);

/* ---- estimates (2.1) ---- */

typedef struct sow_summary {
    int n;
    double mean, median, sd, minimum, maximum, iqm;
} sow_summary;

/* Sums in the order given. sd 0 for n = 1. iqm: mean of the middle half, values at its edges counted in part.
 * SOW_E_RANGE: n < 1; SOW_E_NUMBER: a value is not finite. Cost: n log n. */
sow_status sow_summarise(const double *values, int n, sow_summary *out);

/* The interquartile mean as rliable (Agarwal et al. 2021) has it: floor(n/4) whole values dropped on each side. */
sow_status sow_iqm_rliable(const double *values, int n, double *out);

/* The k-th smallest (from 0) of n values, which are reordered (Hoare's selection). n >= 1. Cost: linear on average. */
double sow_select(double *values, int64_t n, int64_t k);

/* Probability of improvement: share of d > 0, ties half. */
double sow_improvement_paired(const double *d, int n);
/* P(X > Y) + P(X = Y) / 2 over all pairs of two independent samples. */
double sow_improvement(const double *x, int nx, const double *y, int ny);
/* Mean shortfall from a goal. */
double sow_optimality_gap(const double *values, int n, double goal);
/* Share of values above tau: a point of the performance profile. */
double sow_profile(const double *values, int n, double tau);

/* Percentile bootstrap of a statistic of each arm, for display only: it covers too little below some 20 seeds. values:
 * [arms][n]; each draw takes the same seeds for all arms; always the same draws. low, high: [arms]. Errors: as
 * sow_summarise, SOW_E_MEMORY. */
sow_status sow_bootstrap(const double *values, int arms, int n, double (*statistic)(const double *values, int n),
                         int draws, double level, double *low, double *high);

/* Standard deviation of differences from those of the arms and their correlation. */
double sow_sd_of_difference(double sd_arm, double sd_reference, double correlation);

/* ---- the paired t test (2.3) ---- */

/* t and its two-sided p. Equal differences have no t: SOW_E_NUMBER; n < 2: SOW_E_RANGE. */
sow_status sow_t_test(const double *d, int n, double *t, double *p);
/* Interval of the mean of d: mean +- t(1 - alpha/2, n-1) * sd / sqrt(n). n < 2: SOW_E_RANGE. */
sow_status sow_t_interval(const double *d, int n, double alpha, double *low, double *high);

/* Power of that test with n pairs when the mean difference is `effect_in_sd` standard deviations of a difference, and
 * the least n that has `power`; at most 100,000, which also stands for more. */
double sow_t_power(int n, double effect_in_sd, double alpha, int sides);
/* The fewest seeds with which a paired t test has that power; effect in standard deviations of the differences. */
int sow_seeds_needed(double effect_in_sd, double alpha, int sides, double power);
/* Upper limit of a standard deviation estimated from n values, e.g. at level .8. */
double sow_sd_limit(double sd, int n, double level);

/* ---- the exact group-sequential sign-flip test (2.2) ---- */

/* When one looks: after `first` seeds, every `every` further ones, and at `last`, the N that was fixed beforehand. */
typedef struct sow_looks {
    int first, every, last;
} sow_looks;
/* Whether the plan looks at the data after n seeds. */
bool sow_is_look(sow_looks looks, int n);

/* Sign rows and work space for N seeds: all 2^N rows up to N = 16, else 65,536 fixed ones. Not thread-safe. */
typedef struct sow_flip sow_flip;
/* N from 1 to 128, else SOW_E_RANGE. Memory: 65,536 * (N + 16) bytes at most. */
sow_status sow_flip_new(int seeds, sow_flip **out);
/* NULL is allowed. */
void sow_flip_free(sow_flip *flip);
/* Sign patterns that are held. */
int64_t sow_flip_rows(const sow_flip *flip);

/* What one look found: free rejections, the threshold t, the sum S that was seen, rows that died. */
typedef struct sow_flip_look {
    int n;
    int64_t free;
    double threshold, sum;
    int64_t died;
    bool rejected;
} sow_flip_look;

/* Tests "the location of x is at most 0" at the one-sided level a, looking as `looks` says (looks.last is the N of
 * `flip`) at the first n <= N values. Returns the number of seeds at which it rejects, 0 if it does not. The chance
 * of a false rejection at any look is at most a for every symmetric x. `trace`, if not NULL, gets one entry a look,
 * in all `*traced`. Cost: about rows * (n + looks) additions. */
int sow_flip_test(sow_flip *flip, const double *x, int n, sow_looks looks, double a, sow_flip_look *trace, int *traced);

/* The interval that belongs to the test at level a on each side; NaN where the data decide nothing yet. */
void sow_flip_interval(sow_flip *flip, const double *d, int n, sow_looks looks, double a, double *low, double *high);

/* A one-sided p value that agrees with the test at level a: a level, in units of 1/rows, at which it rejects (1 if at
 * none); at most a if and only if it rejects at a. With one look: the share of rows at least as large as row 0. */
double sow_flip_p(sow_flip *flip, const double *x, int n, sow_looks looks, double a);

/* Least N at which the test can reject at all: ceil(log2(1/a)). */
int sow_flip_floor(double a);

/* ---- betting, open-ended (2.3) ---- */

/* E after n differences: reject "d is symmetric around a location of at most 0" once it is >= 1/a, at any n. */
double sow_bet(const double *d, int n);

/* ---- several arms, verdicts (2.4, 2.5) ---- */

/* Holm's adjusted p values. */
sow_status sow_holm(const double *p, int m, double *adjusted);
/* Holm's procedure for tests without p values: largest[i] is the largest j of 1..m at which arm i's test rejects at
 * level alpha/sides/j, 0 if at none. */
void sow_holm_confirm(const int *largest, int m, bool *confirmed);

typedef enum sow_claim { SOW_CLAIM_BETTER, SOW_CLAIM_NOT_WORSE, SOW_CLAIM_EQUIVALENT } sow_claim;
/* "confirmed", "not confirmed" or "not decided" from an interval (NaN: no bound) and a margin. */
const char *sow_verdict_of(sow_claim claim, double margin, double low, double high);

/* One-sided Clopper-Pearson bound on the failure rate after `failures` of n; level .95. */
double sow_failure_bound(int failures, int n, double level);
/* Interval of a proportion, `successes` of n (Wilson 1927), with error rate alpha; n 0: from 0 to 1. */
void sow_wilson_interval(int64_t successes, int64_t n, double alpha, double *low, double *high);

/* ---- races without guarantee (3) ---- */

/* Friedman's test over scores [seeds][arms], ties averaged and corrected for. rank_sums: [arms], larger scores rank
 * lower (1 is best); difference: Conover's least significant difference of rank sums at level alpha. SOW_E_RANGE:
 * fewer than 2 seeds or arms; SOW_E_NUMBER: all scores of every seed are equal, or a score is not finite. */
sow_status sow_friedman(const double *scores, int seeds, int arms, double alpha, double *statistic, double *p,
                        double *rank_sums, double *difference);

/* Successive halving: rung i has `arms` arms at first*eta^i steps, max(1, floor(arms/eta)) go on; the last rung is
 * the whole budget. Steps in all if cells go on from checkpoints, and if they start anew. */
typedef struct sow_rung {
    int arms;
    int64_t steps;
} sow_rung;
typedef struct sow_halving {
    sow_rung rungs[64];
    int count;
    int64_t resumed, rerun;
} sow_halving;
/* SOW_E_RANGE: arms < 1, eta < 2, first < 1, first > steps. */
sow_status sow_plan_halving(int arms, int64_t first, int eta, int64_t steps, sow_halving *out);

#ifdef __cplusplus
}
#endif
#endif
