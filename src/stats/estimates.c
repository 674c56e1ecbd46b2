/* Estimates of one arm or of paired differences (PROVE.md, section 2.1). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/stats.h"
#include "sow/random.h"

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static sow_status check(const double *values, int n) {
    if (n < 1) return sow_fail(SOW_E_RANGE, "statistics: no values");
    for (int i = 0; i < n; i++)
        if (!isfinite(values[i])) return sow_fail(SOW_E_NUMBER, "statistics: value %d of %d is not finite", i + 1, n);
    return SOW_OK;
}

/* A sorted copy, to be released. */
static sow_status sorted_copy(const double *values, int n, double **out) {
    SOW_TRY(check(values, n));
    *out = sow_reallocate(NULL, (size_t)n * sizeof **out);
    if (!*out) return SOW_E_MEMORY;
    memcpy(*out, values, (size_t)n * sizeof **out);
    qsort(*out, (size_t)n, sizeof **out, ascending);
    return SOW_OK;
}

static double mean(const double *values, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += values[i];
    return sum / n;
}

static double standard_deviation(const double *values, int n, double center) {
    double squares = 0;
    for (int i = 0; i < n; i++) squares += (values[i] - center) * (values[i] - center);
    return n > 1 ? sqrt(squares / (n - 1)) : 0;
}

/* Mean of the middle half of sorted values: of the n/4 that are left out on each side, the last one may be left out
 * in part. */
static double interquartile_mean(const double *sorted, int n) {
    double cut = n / 4.0, sum = 0;
    for (int i = 1; i <= n; i++) {
        double weight = fmin(i, n - cut) - fmax(i - 1, cut);
        sum += sorted[i - 1] * fmin(fmax(weight, 0), 1);
    }
    return sum / (n / 2.0);
}

sow_status sow_summarise(const double *values, int n, sow_summary *out) {
    double *sorted;
    SOW_TRY(sorted_copy(values, n, &sorted));
    out->n = n;
    out->mean = mean(values, n);
    out->sd = standard_deviation(values, n, out->mean);
    out->median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
    out->minimum = sorted[0];
    out->maximum = sorted[n - 1];
    out->iqm = interquartile_mean(sorted, n);
    sow_release(sorted);
    return SOW_OK;
}

sow_status sow_iqm_rliable(const double *values, int n, double *out) {
    double *sorted;
    SOW_TRY(sorted_copy(values, n, &sorted));
    int cut = n / 4;
    *out = mean(sorted + cut, n - 2 * cut);
    sow_release(sorted);
    return SOW_OK;
}

double sow_select(double *values, int64_t n, int64_t k) {
    int64_t low = 0, high = n - 1;
    while (low < high) {
        double pivot = values[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (values[i] < pivot) i++;
            while (values[j] > pivot) j--;
            if (i > j) break;
            double kept = values[i];
            values[i++] = values[j];
            values[j--] = kept;
        }
        if (k <= j) high = j;
        else if (k >= i) low = i;
        else break;
    }
    return values[k];
}

double sow_improvement_paired(const double *d, int n) {
    double wins = 0;
    for (int i = 0; i < n; i++) wins += d[i] > 0 ? 1 : d[i] == 0 ? 0.5 : 0;
    return wins / n;
}

double sow_improvement(const double *x, int nx, const double *y, int ny) {
    double wins = 0;
    for (int i = 0; i < nx; i++)
        for (int j = 0; j < ny; j++) wins += x[i] > y[j] ? 1 : x[i] == y[j] ? 0.5 : 0;
    return wins / nx / ny;
}

double sow_optimality_gap(const double *values, int n, double goal) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += fmin(values[i], goal);
    return goal - sum / n;
}

double sow_profile(const double *values, int n, double tau) {
    int above = 0;
    for (int i = 0; i < n; i++) above += values[i] > tau;
    return (double)above / n;
}

double sow_sd_of_difference(double sd_arm, double sd_reference, double correlation) {
    return sqrt(sd_arm * sd_arm + sd_reference * sd_reference - 2 * correlation * sd_arm * sd_reference);
}

/* ---- bootstrap ---- */

/* Seeds of one draw: word i of Philox blocks of (draw, i/4), scaled to 0..n-1. */
static void draw_seeds(int draw, int n, int *seeds) {
    static const uint32_t key[2] = {0x626f6f74u, 0x736f7750u};
    uint32_t words[4];
    for (int i = 0; i < n; i++) {
        if (i % 4 == 0) sow_philox((const uint32_t[4]){(uint32_t)draw, (uint32_t)(i / 4), 0, 0}, key, words);
        seeds[i] = (int)((uint64_t)words[i % 4] * (uint64_t)n >> 32);
    }
}

/* The percentile of sorted values, between neighbours in proportion. */
static double percentile(const double *sorted, int n, double share) {
    double at = share * (n - 1);
    int below = (int)at;
    return below + 1 < n ? sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]) : sorted[n - 1];
}

sow_status sow_bootstrap(const double *values, int arms, int n, double (*statistic)(const double *values, int n),
                         int draws, double level, double *low, double *high) {
    if (arms < 1 || draws < 1)
        return sow_fail(SOW_E_RANGE, "bootstrap: %d arms and %d draws, expected at least one of each", arms, draws);
    sow_arena *arena;
    SOW_TRY(check(values, n * arms));
    SOW_TRY(sow_arena_new(&arena));
    double *drawn = sow_arena_take(arena, (size_t)n, sizeof *drawn),
           *found = sow_arena_take(arena, (size_t)draws * (size_t)arms, sizeof *found);
    int *seeds = sow_arena_take(arena, (size_t)n, sizeof *seeds);
    bool ready = drawn && found && seeds;
    for (int draw = 0; ready && draw < draws; draw++) {
        draw_seeds(draw, n, seeds);
        for (int a = 0; a < arms; a++) {
            for (int i = 0; i < n; i++) drawn[i] = values[(size_t)a * (size_t)n + (size_t)seeds[i]];
            found[(size_t)a * (size_t)draws + (size_t)draw] = statistic(drawn, n);
        }
    }
    for (int a = 0; ready && a < arms; a++) {
        double *of_arm = found + (size_t)a * (size_t)draws;
        qsort(of_arm, (size_t)draws, sizeof *of_arm, ascending);
        low[a] = percentile(of_arm, draws, (1 - level) / 2);
        high[a] = percentile(of_arm, draws, (1 + level) / 2);
    }
    sow_arena_free(arena);
    return ready ? SOW_OK : SOW_E_MEMORY;
}

/* ---- the paired t test ---- */

sow_status sow_t_test(const double *d, int n, double *t, double *p) {
    SOW_TRY(check(d, n));
    if (n < 2) return sow_fail(SOW_E_RANGE, "t test: one value, expected at least 2");
    double center = mean(d, n), sd = standard_deviation(d, n, center);
    if (!(sd > 0)) return sow_fail(SOW_E_NUMBER, "t test: all %d differences are equal", n);
    *t = center / (sd / sqrt(n));
    *p = sow_t_p(*t, n - 1);
    return SOW_OK;
}

sow_status sow_t_interval(const double *d, int n, double alpha, double *low, double *high) {
    SOW_TRY(check(d, n));
    if (n < 2) return sow_fail(SOW_E_RANGE, "t interval: one value, expected at least 2");
    double center = mean(d, n),
           half = sow_t_quantile(1 - alpha / 2, n - 1) * standard_deviation(d, n, center) / sqrt(n);
    *low = center - half;
    *high = center + half;
    return SOW_OK;
}
