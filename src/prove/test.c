/* One test of paired differences by the plan's rule (PROVE.md, sections 2.2, 2.3, 2.5). */
#include "prove/test.h"

#include <math.h>
#include <string.h>

enum { SEEDS = 128, BISECTIONS = 60, SEEDS_FOR_T = 3 };

sow_test_rule prove_rule(sow_test_rule asked, double alpha, int sides, int arms, int seeds) {
    if (asked != SOW_TEST_AUTO) return asked;
    return seeds >= sow_flip_floor(alpha / sides / arms) ? SOW_TEST_FLIP : SOW_TEST_T;
}

/* ---- "the location of x is at most 0" ---- */

/* One-sided p of the paired t test; NaN: equal values have no t. */
static double t_one_sided(const double *x, int n) {
    double t, p;
    if (n < SEEDS_FOR_T || sow_t_test(x, n, &t, &p) != SOW_OK) return NAN;
    return t > 0 ? p / 2 : 1 - p / 2;
}

static int first_bet(const double *x, int n, sow_looks looks, double a) {
    for (int k = 1; k <= n; k++)
        if (sow_is_look(looks, k) && sow_bet(x, k) >= 1 / a) return k;
    return 0;
}

/* The look at which it is rejected, 0: at none. */
static int rejected_at(const prove_test *test, const double *x, int n, double a) {
    if (test->rule == SOW_TEST_FLIP) return sow_flip_test(test->flip, x, n, test->looks, a, NULL, NULL);
    if (test->rule == SOW_TEST_BET) return first_bet(x, n, test->looks, a);
    return n == test->looks.last && t_one_sided(x, n) <= a ? n : 0; /* one look, at all seeds */
}

/* The same for sign * (d - location). */
static int rejects(const prove_test *test, const double *d, int n, double sign, double location, double a) {
    double x[SEEDS];
    for (int i = 0; i < n; i++) x[i] = sign * (d[i] - location);
    return rejected_at(test, x, n, a);
}

/* ---- claims ---- */

static int later(int a, int b) {
    return a && b ? (a > b ? a : b) : 0;
}

static int earlier(int a, int b) {
    return a && b ? (a < b ? a : b) : a + b;
}

int prove_confirms(const prove_test *test, const double *d, int n, double a) {
    double m = test->margin;
    if (test->claim == SOW_CLAIM_BETTER) return rejects(test, d, n, 1, m, a);
    int above = rejects(test, d, n, 1, -m, a);
    if (test->claim == SOW_CLAIM_NOT_WORSE || above == 0) return above;
    return later(above, rejects(test, d, n, -1, m, a));
}

int prove_refutes(const prove_test *test, const double *d, int n, double a) {
    double m = test->margin;
    if (test->claim == SOW_CLAIM_BETTER) return rejects(test, d, n, -1, m, a);
    int below = rejects(test, d, n, -1, -m, a);
    if (test->claim == SOW_CLAIM_NOT_WORSE || below) return below;
    return earlier(below, rejects(test, d, n, 1, m, a));
}

/* ---- what is shown ---- */

static double bet_bound(const prove_test *test, const double *d, int n, double sign, double a) {
    double sum = 0, least = INFINITY, most = -INFINITY;
    for (int i = 0; i < n; i++) sum += sign * d[i], least = fmin(least, sign * d[i]), most = fmax(most, sign * d[i]);
    double mean = sum / n, low = mean - 4 * (most - least) - fabs(mean) - 1e-9, high = mean;
    if (!rejects(test, d, n, sign, sign * low, a)) return NAN;
    for (int i = 0; i < BISECTIONS; i++) {
        double middle = low + (high - low) / 2;
        if (rejects(test, d, n, sign, sign * middle, a)) low = middle;
        else high = middle;
    }
    return sign * low;
}

static void show_interval(const prove_test *test, const double *d, int n, double a, double *low, double *high) {
    *low = *high = NAN;
    if (test->rule == SOW_TEST_FLIP) sow_flip_interval(test->flip, d, n, test->looks, a, low, high);
    else if (test->rule == SOW_TEST_BET) {
        *low = bet_bound(test, d, n, 1, a);
        *high = bet_bound(test, d, n, -1, a);
    } else if (n == test->looks.last && n >= SEEDS_FOR_T && sow_t_interval(d, n, 2 * a, low, high) != SOW_OK)
        *low = *high = NAN;
}

/* One-sided p of "sign * (d - location) is at most 0". */
static double one_sided_p(const prove_test *test, const double *d, int n, double sign, double location, double a) {
    double x[SEEDS], most = 0;
    for (int i = 0; i < n; i++) x[i] = sign * (d[i] - location);
    if (test->rule == SOW_TEST_FLIP) return sow_flip_p(test->flip, x, n, test->looks, a);
    if (test->rule == SOW_TEST_T) return n == test->looks.last ? t_one_sided(x, n) : NAN;
    for (int k = 1; k <= n; k++)
        if (sow_is_look(test->looks, k)) most = fmax(most, sow_bet(x, k));
    return most > 1 ? 1 / most : 1;
}

static double claim_p(const prove_test *test, const double *d, int n, double a) {
    double m = test->margin;
    double p = one_sided_p(test, d, n, 1, test->claim == SOW_CLAIM_BETTER ? m : -m, a);
    if (test->claim == SOW_CLAIM_EQUIVALENT) p = fmax(p, one_sided_p(test, d, n, -1, m, a));
    return isnan(p) ? p : fmin(1, test->sides * p);
}

void prove_show(const prove_test *test, const double *d, int n, sow_standing *out) {
    double a = test->alpha / test->sides / test->arms;
    out->normal = test->rule == SOW_TEST_T;
    if (n < 1) return;
    show_interval(test, d, n, a, &out->low, &out->high);
    out->p = claim_p(test, d, n, a);
}

int prove_needed(const prove_test *test, const double *d, int n) {
    sow_summary s;
    if (n < SEEDS_FOR_T || sow_summarise(d, n, &s) != SOW_OK || !(s.sd > 0)) return 0;
    double m = test->margin, distance = s.mean - (test->claim == SOW_CLAIM_BETTER ? m : -m);
    if (test->claim == SOW_CLAIM_EQUIVALENT) distance = m - fabs(s.mean);
    double size = fabs(distance) / s.sd;
    return size > 1e-3 ? sow_seeds_needed(size, test->alpha / test->arms, test->sides, 0.8) : 0;
}
