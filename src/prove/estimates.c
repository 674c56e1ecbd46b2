/* Estimates of one arm or of paired differences (PROVE.md, section 2.1). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/prove.h"

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

sow_status sow_summarise(const double *values, int n, sow_summary *out) {
    double *sorted;
    SOW_TRY(sorted_copy(values, n, &sorted));
    out->n = n;
    out->mean = mean(values, n);
    out->sd = standard_deviation(values, n, out->mean);
    out->median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
    out->minimum = sorted[0];
    out->maximum = sorted[n - 1];
    sow_release(sorted);
    return SOW_OK;
}

sow_status sow_t_interval(const double *d, int n, double alpha, double *low, double *high) {
    SOW_TRY(check(d, n));
    if (n < 2) return sow_fail(SOW_E_RANGE, "t interval: one value, expected at least 2");
    double center = mean(d, n), half = sow_t_quantile(1 - alpha / 2, n - 1) * standard_deviation(d, n, center) / sqrt(n);
    *low = center - half;
    *high = center + half;
    return SOW_OK;
}
