/* Products with A, the 0/1 matrix of pairs by circular splits (Bryant and Moulton 2004; Bryant and Huson 2023): O(n^2). */
#include <string.h>

#include "base/clones.h"
#include "starts/groups/mycorrhiza/network.h"

/* out[i] = before[i] + before[i+1] - inner[i+1] - 2 taken[i]: one diagonal from the two before it. */
SOW_CLONES static void next_diagonal(const double *restrict before, const double *restrict inner,
                                     const double *restrict taken, double *restrict out, int64_t count) {
    if (inner)
        for (int64_t i = 0; i < count; i++) out[i] = before[i] + before[i + 1] - inner[i + 1] - 2 * taken[i];
    else
        for (int64_t i = 0; i < count; i++) out[i] = before[i] + before[i + 1] - 2 * taken[i];
}

SOW_CLONES static void add_run(double *restrict to, const double *restrict from, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] += from[i];
}

/* sum[m] over all pairs that have m as an end. */
static void end_sums(int64_t n, const double *x, double *sum) {
    memset(sum, 0, (size_t)n * sizeof *sum);
    for (int64_t k = 1; k < n; k++) {
        const double *diagonal = x + network_diagonal(n, k);
        add_run(sum, diagonal, n - k);
        add_run(sum + k, diagonal, n - k);
    }
}

/* Both products start from neighbours on the circle, which the splits with a boundary between them (the pairs with
 * them) separate, and go on diagonal by diagonal; only the place of the subtracted term differs. */
static void sweep(int64_t n, const double *from, double *to, int64_t shift) {
    for (int64_t k = 2; k < n; k++)
        next_diagonal(to + network_diagonal(n, k - 1), k > 2 ? to + network_diagonal(n, k - 2) : NULL,
                      from + network_diagonal(n, k - 1) + shift, to + network_diagonal(n, k), n - k);
}

void network_distances(int64_t n, const double *x, double *y, double *scratch) {
    end_sums(n, x, scratch);
    memcpy(y, scratch + 1, (size_t)(n - 1) * sizeof *y);
    sweep(n, x, y, 1);
}

void network_transposed(int64_t n, const double *r, double *z, double *scratch) {
    end_sums(n, r, scratch);
    memcpy(z, scratch, (size_t)(n - 1) * sizeof *z);
    sweep(n, r, z, 0);
}

void network_unbounded(int64_t n, const double *d, double *x) {
    for (int64_t k = 1; k < n; k++)
        for (int64_t i = 0; i + k < n; i++) {
            /* x(i,j) = [d(i-1,j-1) + d(i,j) - d(i-1,j) - d(i,j-1)] / 2, places modulo n, d of a place to itself 0 */
            int64_t j = i + k, around = n - k;
            const double *same = d + network_diagonal(n, k), *wider = k + 1 < n ? d + network_diagonal(n, k + 1) : d;
            double shifted = i > 0 ? same[i - 1] : d[network_diagonal(n, around) + j - 1];
            double inner = k > 1 ? d[network_diagonal(n, k - 1) + i] : 0, outer;
            if (i > 0) outer = wider[i - 1];
            else outer = around > 1 ? d[network_diagonal(n, around - 1) + j] : 0;
            x[network_diagonal(n, k) + i] = (shifted + same[i] - outer - inner) / 2;
        }
}
