/* Betting, several arms, verdicts (PROVE.md, sections 2.3 to 2.5). */
#include <math.h>
#include <string.h>

#include "sow/stats.h"

/* A wealth process for each stake c, started with 1: under symmetry each factor has mean 1 given the past. */
double sow_bet(const double *d, int n) {
    static const double stakes[] = {0.5, 1, 2, 4};
    double total = 0;
    for (int s = 0; s < 4; s++) {
        double wealth = 1, squares = 0;
        for (int i = 0; i < n; i++) {
            squares += d[i] * d[i];
            double rms = sqrt(squares / (i + 1));
            if (d[i] != 0 && rms > 0) wealth *= 1 + copysign(tanh(stakes[s] * fabs(d[i]) / rms), d[i]);
        }
        total += wealth;
    }
    return total / 4;
}

sow_status sow_holm(const double *p, int m, double *adjusted) {
    if (m < 1) return SOW_OK;
    bool *done = sow_reallocate(NULL, (size_t)m * sizeof *done);
    if (!done) return SOW_E_MEMORY;
    memset(done, 0, (size_t)m * sizeof *done);
    double running = 0;
    for (int step = 0; step < m; step++) {
        int least = -1;
        for (int i = 0; i < m; i++)
            if (!done[i] && (least < 0 || p[i] < p[least])) least = i;
        done[least] = true;
        running = fmax(running, fmin(1, (m - step) * p[least]));
        adjusted[least] = running;
    }
    sow_release(done);
    return SOW_OK;
}

void sow_holm_confirm(const int *largest, int m, bool *confirmed) {
    int count = 0;
    for (int i = 0; i < m; i++) confirmed[i] = false;
    for (bool changed = true; changed;) {
        changed = false;
        int needed = m - count; /* all arms of one step are compared with the same level */
        for (int i = 0; i < m; i++)
            if (!confirmed[i] && largest[i] > 0 && largest[i] >= needed) confirmed[i] = changed = true, count++;
    }
}

const char *sow_verdict_of(sow_claim claim, double margin, double low, double high) {
    bool yes = false, no = false; /* comparisons with NaN are false */
    if (claim == SOW_CLAIM_BETTER) yes = low > margin, no = high <= margin;
    if (claim == SOW_CLAIM_NOT_WORSE) yes = low > -margin, no = high <= -margin;
    if (claim == SOW_CLAIM_EQUIVALENT) yes = low > -margin && high < margin, no = low >= margin || high <= -margin;
    return yes ? "confirmed" : no ? "not confirmed" : "not decided";
}
