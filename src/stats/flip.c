/* The exact group-sequential sign-flip test (PROVE.md, section 2.2): if starts do not matter, the signs of paired
 * differences are fair coins given their sizes, so the sum that was seen is one of 2^n equally likely ones. Rows of
 * signs that reach a threshold at one look are spent and leave the later ones, which keeps the level over all looks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/stats.h"
#include "sow/random.h"

enum { SEEDS_MAX = 128, ALL_ROWS_UP_TO = 16, ROWS_MAX = 1 << ALL_ROWS_UP_TO, BISECTIONS = 60 };

struct sow_flip {
    int seeds;
    int64_t rows;
    int8_t *signs;       /* [seeds][rows]: +1 or -1; row 0, the signs as seen, is all plus */
    double *sums, *work; /* [rows]; -INFINITY for rows that are spent */
};

/* ---- rows ---- */

/* Up to 16 seeds: bit s of the row's number. More: bit s of Philox's words for the row, the same for every plan. */
static void fill_signs(sow_flip *flip) {
    static const uint32_t key[2] = {0x726f7665u, 0x736f7750u};
    for (int64_t b = 0; b < flip->rows; b++) {
        uint32_t words[4] = {(uint32_t)b};
        if (flip->seeds > ALL_ROWS_UP_TO && b > 0) sow_philox((const uint32_t[4]){(uint32_t)b, 0, 0, 0}, key, words);
        for (int s = 0; s < flip->seeds; s++) flip->signs[s * flip->rows + b] = words[s / 32] >> (s % 32) & 1 ? -1 : 1;
    }
}

sow_status sow_flip_new(int seeds, sow_flip **out) {
    if (seeds < 1 || seeds > SEEDS_MAX)
        return sow_fail(SOW_E_RANGE, "sign-flip test: %d seeds, expected 1 to %d", seeds, SEEDS_MAX);
    sow_flip *flip = sow_reallocate(NULL, sizeof *flip);
    if (!flip) return SOW_E_MEMORY;
    *flip = (sow_flip){.seeds = seeds, .rows = seeds <= ALL_ROWS_UP_TO ? (int64_t)1 << seeds : ROWS_MAX};
    size_t rows = (size_t)flip->rows;
    flip->sums = sow_reallocate(NULL, rows * sizeof *flip->sums);
    flip->work = sow_reallocate(NULL, rows * sizeof *flip->work);
    flip->signs = sow_reallocate(NULL, rows * (size_t)seeds);
    if (!flip->sums || !flip->work || !flip->signs) {
        sow_flip_free(flip);
        return SOW_E_MEMORY;
    }
    fill_signs(flip);
    *out = flip;
    return SOW_OK;
}

void sow_flip_free(sow_flip *flip) {
    if (!flip) return;
    sow_release(flip->sums);
    sow_release(flip->work);
    sow_release(flip->signs);
    sow_release(flip);
}

int64_t sow_flip_rows(const sow_flip *flip) {
    return flip->rows;
}

bool sow_is_look(sow_looks looks, int n) {
    return n == looks.last ||
           (n >= looks.first && n < looks.last && (n - looks.first) % (looks.every > 0 ? looks.every : 1) == 0);
}

/* ---- one look ---- */

/* S[b] += sign(b, k) * x. */
static void add(sow_flip *flip, int k, double x) {
    const int8_t *restrict signs = flip->signs + k * flip->rows;
    double *restrict sums = flip->sums;
    for (int64_t b = 0; b < flip->rows; b++) sums[b] += signs[b] * x;
}

/* The element at `rank` (from 0) in descending order; reorders `values`. Quickselect with the median of three. */
static double select_descending(double *values, int64_t count, int64_t rank) {
    int64_t low = 0, high = count - 1;
    while (low < high) {
        double a = values[low], b = values[low + (high - low) / 2], c = values[high];
        double pivot = fmax(fmin(a, b), fmin(fmax(a, b), c));
        int64_t i = low, j = high;
        while (i <= j) {
            while (values[i] > pivot) i++;
            while (values[j] < pivot) j--;
            if (i > j) break;
            double kept = values[i];
            values[i++] = values[j];
            values[j--] = kept;
        }
        if (rank <= j) high = j;
        else if (rank >= i) low = i;
        else break;
    }
    return values[rank];
}

/* Copies the rows at least as large as what a sample suggests for `rank`: the tail that the selection needs. */
static int64_t copy_tail(const sow_flip *flip, int64_t rank, double *tail) {
    enum { STRIDE = 32 };
    double sample[ROWS_MAX / STRIDE + 1];
    int64_t sampled = 0, wanted = rank / STRIDE * 2 + 8, count = 0;
    for (int64_t b = 0; b < flip->rows; b += STRIDE) sample[sampled++] = flip->sums[b];
    if (wanted >= sampled) return 0;
    double bar = select_descending(sample, sampled, wanted);
    for (int64_t b = 0; b < flip->rows; b++) {
        tail[count] = flip->sums[b];
        count += flip->sums[b] >= bar;
    }
    return count;
}

/* The element at `rank` among the sums. Spent rows come last. */
static double kth_largest(sow_flip *flip, int64_t rank) {
    int64_t count = copy_tail(flip, rank, flip->work);
    if (count <= rank) { /* the sample misled, or is too small */
        memcpy(flip->work, flip->sums, (size_t)flip->rows * sizeof *flip->work);
        count = flip->rows;
    }
    return select_descending(flip->work, count, rank);
}

/* Spends the rows above the threshold; their number. */
static int64_t spend(sow_flip *flip, double threshold) {
    int64_t spent = 0;
    for (int64_t b = 0; b < flip->rows; b++) {
        bool above = flip->sums[b] > threshold;
        flip->sums[b] = above ? -INFINITY : flip->sums[b];
        spent += above;
    }
    return spent;
}

/* ---- the test ---- */

/* One look at the sums; *used counts the rows spent so far. */
static sow_flip_look look_at(sow_flip *flip, int k, sow_looks looks, double a, double magnitude, int64_t *used) {
    double share = (double)k / looks.last;
    sow_flip_look look = {
        k, (int64_t)floor((double)flip->rows * a * share * share + 1e-9) - *used, NAN, flip->sums[0], 0, false};
    if (look.free < 1) return look;
    int64_t live = flip->rows - *used;
    look.threshold = kth_largest(flip, look.free < live ? look.free : live - 1) + 1e-12 * magnitude;
    look.rejected = look.sum > look.threshold;
    look.died = spend(flip, look.threshold);
    *used += look.died;
    return look;
}

int sow_flip_test(sow_flip *flip, const double *x, int n, sow_looks looks, double a, sow_flip_look *trace,
                  int *traced) {
    int64_t used = 0;
    double magnitude = 0;
    int count = 0, rejected = 0;
    for (int64_t b = 0; b < flip->rows; b++) flip->sums[b] = 0;
    for (int k = 1; k <= n && k <= flip->seeds && !rejected && used < flip->rows; k++) {
        add(flip, k - 1, x[k - 1]);
        magnitude += fabs(x[k - 1]);
        if (!sow_is_look(looks, k)) continue;
        sow_flip_look look = look_at(flip, k, looks, a, magnitude, &used);
        if (look.rejected) rejected = k;
        if (trace) trace[count++] = look;
    }
    if (trace) *traced = count;
    return rejected;
}

/* ---- interval and p ---- */

typedef struct question {
    sow_flip *flip;
    const double *d;
    int n;
    sow_looks looks;
    double a, sign;
} question;

static bool rejects_at(const question *q, double location) {
    double x[SEEDS_MAX];
    for (int i = 0; i < q->n; i++) x[i] = q->sign * q->d[i] - location;
    return sow_flip_test(q->flip, x, q->n, q->looks, q->a, NULL, NULL) > 0;
}

/* The largest location that is rejected, NaN if none is. */
static double lower_bound(const question *q) {
    double sum = 0, least = INFINITY, most = -INFINITY;
    for (int i = 0; i < q->n; i++) {
        double d = q->sign * q->d[i];
        sum += d;
        least = fmin(least, d), most = fmax(most, d);
    }
    double mean = sum / q->n, low = mean - 4 * (most - least) - fabs(mean) - 1e-9, high = mean;
    if (!rejects_at(q, low)) return NAN;
    for (int i = 0; i < BISECTIONS; i++) {
        double middle = low + (high - low) / 2;
        if (rejects_at(q, middle)) low = middle;
        else high = middle;
    }
    return low;
}

void sow_flip_interval(sow_flip *flip, const double *d, int n, sow_looks looks, double a, double *low, double *high) {
    question q = {flip, d, n < flip->seeds ? n : flip->seeds, looks, a, 1};
    *low = *high = NAN;
    if (q.n < 1) return;
    *low = lower_bound(&q);
    q.sign = -1;
    *high = -lower_bound(&q);
}

double sow_flip_p(sow_flip *flip, const double *x, int n, sow_looks looks, double a) {
    /* With several looks a smaller level can reject where a larger one does not, so the search stays on the side of `a`
     * that its own test tells. */
    int64_t rows = flip->rows, none = 0, some = rows, at = (int64_t)floor((double)rows * a + 1e-9);
    if (!sow_flip_test(flip, x, n, looks, a, NULL, NULL)) none = at < rows ? at : rows - 1;
    else if (at < 1 || !sow_flip_test(flip, x, n, looks, (double)at / (double)rows, NULL, NULL)) return a;
    else some = at;
    while (some - none > 1) {
        int64_t middle = none + (some - none) / 2;
        if (sow_flip_test(flip, x, n, looks, (double)middle / (double)rows, NULL, NULL)) some = middle;
        else none = middle;
    }
    return (double)some / (double)rows;
}

int sow_flip_floor(double a) {
    int n = 0;
    for (double level = 1; level > a * (1 + 1e-12) && n < SEEDS_MAX; level /= 2) n++;
    return n;
}
