/* Distributions: beta, Student's t, chi-square, the power of a t test. Continued fractions and series as in the
 * standard tables (Abramowitz and Stegun 26.5.8, 6.5.29, 6.5.31), inverted by bisection. */
#include <float.h>
#include <math.h>

#include "sow/stats.h"

enum { TERMS = 10000, BISECTIONS = 200 };

/* ---- incomplete beta ---- */

/* The continued fraction of I_x(a,b), by Lentz's method; converges fast for x < (a+1)/(a+b+2). */
static double beta_fraction(double x, double a, double b) {
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double value = d;
    for (int m = 1; m < TERMS; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double change = 1;
        for (int half = 0; half < 2; half++) {
            double term = half ? odd : even;
            d = 1 + term * d, c = 1 + term / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            if (fabs(c) < tiny) c = tiny;
            change = c * d;
            value *= change;
        }
        if (fabs(change - 1) < DBL_EPSILON) break;
    }
    return value;
}

double sow_beta_cdf(double x, double a, double b) {
    if (!(x > 0)) return 0;
    if (x >= 1) return 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(x, a, b) / a;
    return 1 - front * beta_fraction(1 - x, b, a) / b;
}

/* Bisection down to neighbouring doubles: slow and sure. */
double sow_beta_quantile(double p, double a, double b) {
    double low = 0, high = 1;
    if (!(p > 0)) return 0;
    if (p >= 1) return 1;
    for (int i = 0; i < BISECTIONS * 6; i++) {
        double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high) break;
        if (sow_beta_cdf(middle, a, b) < p) low = middle;
        else high = middle;
    }
    return low + (high - low) / 2;
}

/* ---- Student's t ---- */

/* P(T > t) for t >= 0, exact in the far tail too; near 0 the complement, as df / (df + t^2) would lose t in 1. */
static double t_tail(double t, double df) {
    double square = t * t;
    if (square < df) return 0.5 - 0.5 * sow_beta_cdf(square / (df + square), 0.5, df / 2);
    return 0.5 * sow_beta_cdf(df / (df + square), df / 2, 0.5);
}

double sow_t_cdf(double t, double df) {
    return t >= 0 ? 1 - t_tail(t, df) : t_tail(-t, df);
}

double sow_t_p(double t, double df) {
    return 2 * t_tail(fabs(t), df);
}

double sow_t_quantile(double p, double df) {
    if (p == 0.5) return 0;
    double tail = p < 0.5 ? p : 1 - p, low = 0, high = 1;
    if (!(tail > 0)) return p < 0.5 ? -INFINITY : INFINITY;
    while (t_tail(high, df) > tail && high < 1e300) low = high, high *= 2;
    for (int i = 0; i < BISECTIONS; i++) {
        double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high) break;
        if (t_tail(middle, df) > tail) low = middle;
        else high = middle;
    }
    double t = low + (high - low) / 2;
    return p < 0.5 ? -t : t;
}

/* ---- chi-square ---- */

double sow_chi2_p(double x, double df) {
    double a = df / 2, z = x / 2;
    if (!(z > 0)) return 1;
    double front = exp(a * log(z) - z - lgamma(a));
    if (z < a + 1) { /* series of the lower part */
        double term = 1 / a, sum = term;
        for (int n = 1; n < TERMS && term > sum * DBL_EPSILON; n++) term *= z / (a + n), sum += term;
        return 1 - front * sum;
    }
    double b = z + 1 - a, c = 1e300, d = 1 / b, value = d;
    for (int n = 1; n < TERMS; n++) { /* continued fraction of the upper part */
        double term = n * (a - n);
        b += 2;
        d = 1 / (term * d + b), c = b + term / c;
        value *= c * d;
        if (fabs(c * d - 1) < DBL_EPSILON) break;
    }
    return front * value;
}

double sow_chi2_quantile(double p, double df) {
    double low = 0, high = 1;
    if (!(p > 0)) return 0;
    if (p >= 1) return INFINITY;
    while (sow_chi2_p(high, df) > 1 - p && high < 1e300) low = high, high *= 2;
    for (int i = 0; i < BISECTIONS; i++) {
        double middle = low + (high - low) / 2;
        if (sow_chi2_p(middle, df) > 1 - p) low = middle;
        else high = middle;
    }
    return low + (high - low) / 2;
}

/* ---- power ---- */

static double normal_cdf(double z) {
    return 0.5 * erfc(-z / sqrt(2));
}

/* P(T > critical) for noncentral T = (Z + shift)/S, S^2 ~ chi-square(df)/df: the normal tail integrated over S by
 * Simpson's rule. The density of S is smooth and all but gone 12 standard deviations from its mean. */
static double noncentral_tail(double critical, double df, double shift) {
    enum { PANELS = 4000 };
    double width = 12 / sqrt(2 * df), low = fmax(0, 1 - width), high = 1 + width + 2 / df, h = (high - low) / PANELS,
           sum = 0;
    double constant = df / 2 * log(df) - lgamma(df / 2) - (df / 2 - 1) * log(2);
    for (int i = 0; i <= PANELS; i++) {
        double s = low + i * h;
        double density = s > 0 ? exp(constant + (df - 1) * log(s) - df * s * s / 2) : df == 1 ? exp(constant) : 0;
        sum += density * normal_cdf(shift - critical * s) * (i == 0 || i == PANELS ? 1 : i % 2 ? 4 : 2);
    }
    return sum * h / 3;
}

double sow_t_power(int n, double effect_in_sd, double alpha, int sides) {
    if (n < 2) return 0;
    double df = n - 1, shift = effect_in_sd * sqrt(n), critical = sow_t_quantile(1 - alpha / sides, df);
    double power = noncentral_tail(critical, df, shift);
    return sides == 2 ? power + noncentral_tail(critical, df, -shift) : power;
}

int sow_seeds_needed(double effect_in_sd, double alpha, int sides, double power) {
    enum { MOST = 100000 };
    int low = 1, high = 2; /* power grows with n */
    while (high < MOST && sow_t_power(high, effect_in_sd, alpha, sides) < power) low = high, high *= 2;
    if (high > MOST) high = MOST;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (sow_t_power(middle, effect_in_sd, alpha, sides) < power) low = middle;
        else high = middle;
    }
    return high;
}

double sow_sd_limit(double sd, int n, double level) {
    return n < 2 ? INFINITY : sd * sqrt((n - 1) / sow_chi2_quantile(1 - level, n - 1));
}

double sow_failure_bound(int failures, int n, double level) {
    return failures >= n ? 1 : sow_beta_quantile(level, failures + 1, n - failures);
}

void sow_wilson_interval(int64_t successes, int64_t n, double alpha, double *low, double *high) {
    double m = (double)n, p = n > 0 ? (double)successes / m : 0.5, zz = sow_chi2_quantile(1 - alpha, 1);
    double centre = n > 0 ? (p + zz / (2 * m)) / (1 + zz / m) : 0.5;
    double half = n > 0 ? sqrt(zz * (p * (1 - p) / m + zz / (4 * m * m))) / (1 + zz / m) : 0.5;
    *low = successes == 0 ? 0 : centre - half;
    *high = successes == n ? 1 : centre + half;
}
