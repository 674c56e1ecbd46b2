/* Racing rules without guarantee: Friedman's test as in irace (Birattari et al. 2002), successive halving (Jamieson and
 * Talwalkar 2016). */
#include <math.h>

#include "sow/stats.h"

/* Adds one seed's ranks (1 is the largest score, ties share the mean rank) to the sums, and their squares to
 * *squares. */
static void add_ranks(const double *scores, int arms, double *rank_sums, double *squares) {
    for (int a = 0; a < arms; a++) {
        int above = 0, equal = 0;
        for (int b = 0; b < arms; b++) above += scores[b] > scores[a], equal += scores[b] == scores[a];
        double rank = above + (equal + 1) / 2.0;
        rank_sums[a] += rank;
        *squares += rank * rank;
    }
}

sow_status sow_friedman(const double *scores, int seeds, int arms, double alpha, double *statistic, double *p,
                        double *rank_sums, double *difference) {
    if (seeds < 2 || arms < 2)
        return sow_fail(SOW_E_RANGE, "Friedman's test: %d seeds of %d arms, expected at least 2 of 2", seeds, arms);
    double squares = 0, between = 0, n = seeds, k = arms;
    for (int a = 0; a < arms; a++) rank_sums[a] = 0;
    for (int s = 0; s < seeds; s++) {
        for (int a = 0; a < arms; a++)
            if (!isfinite(scores[s * arms + a]))
                return sow_fail(SOW_E_NUMBER, "Friedman's test: seed %d of arm %d is not finite", s, a);
        add_ranks(scores + (int64_t)s * arms, arms, rank_sums, &squares);
    }
    for (int a = 0; a < arms; a++) between += rank_sums[a] * rank_sums[a];
    double center = n * k * (k + 1) * (k + 1) / 4; /* of the squares, were all ranks equal */
    if (squares - center < 1e-9)
        return sow_fail(SOW_E_NUMBER, "Friedman's test: all arms score the same in every seed");
    *statistic = (k - 1) * (between - n * center) / (squares - center);
    *p = sow_chi2_p(*statistic, k - 1);
    double spread = 2 * (n * squares - between) / ((n - 1) * (k - 1));
    *difference = sow_t_quantile(1 - alpha / 2, (n - 1) * (k - 1)) * sqrt(fmax(spread, 0));
    return SOW_OK;
}

sow_status sow_plan_halving(int arms, int64_t first, int eta, int64_t steps, sow_halving *out) {
    if (arms < 1 || eta < 2 || first < 1 || first > steps)
        return sow_fail(
            SOW_E_RANGE,
            "halving: %d arms, eta %d, first rung %lld of %lld steps; expected arms >= 1, eta >= 2, 1 <= first <= steps",
            arms, eta, (long long)first, (long long)steps);
    *out = (sow_halving){0};
    int64_t rung = arms == 1 ? steps : first, before = 0;
    for (;;) {
        out->rungs[out->count++] = (sow_rung){arms, rung};
        out->resumed += arms * (rung - before);
        out->rerun += arms * rung;
        if (rung == steps) return SOW_OK;
        before = rung;
        arms = arms / eta > 1 ? arms / eta : 1;
        rung = arms == 1 || rung > steps / eta ? steps : rung * eta; /* a single survivor runs to the end */
    }
}
