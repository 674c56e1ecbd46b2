/* The exact group-sequential sign-flip test (PROVE.md, section 2.2): if starts do not matter, the signs of paired
 * differences are fair coins given their sizes, so the sum that was seen is one of 2^n equally likely ones. Rows of
 * signs that reach a threshold at one look are spent and leave the later ones, which keeps the level over all looks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clones.h"
#include "sow/random.h"
#include "sow/stats.h"

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

/* ---- sums ---- */

/* S[b] += sign(b, k) * x, for rows from `start` on. */
SOW_CLONES static void add(const sow_flip *flip, double *restrict sums, int64_t start, int64_t count, int k, double x) {
    const int8_t *restrict signs = flip->signs + k * flip->rows + start;
    for (int64_t b = 0; b < count; b++) sums[b] += signs[b] * x;
}

/* With all 2^N rows, rows that agree in their first k signs have one sum, and live and die together: one stands for
 * them all, and becomes two with each seed. */
SOW_CLONES static void split(double *restrict sums, int64_t count, double x) {
    double *restrict flipped = sums + count;
    for (int64_t b = 0; b < count; b++) flipped[b] = sums[b] - x, sums[b] += x;
}

SOW_CLONES static int64_t count_from(const double *values, int64_t count, double least) {
    int64_t found = 0;
    for (int64_t b = 0; b < count; b++) found += values[b] >= least;
    return found;
}

SOW_CLONES static void spend(double *sums, int64_t count, double threshold) {
    for (int64_t b = 0; b < count; b++) sums[b] = sums[b] > threshold ? -INFINITY : sums[b];
}

/* ---- one look ---- */

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

/* Copies the values from `bar` on; most blocks hold none. */
SOW_CLONES static int64_t copy_from(const double *values, int64_t count, double bar, double *tail) {
    enum { BLOCK = 32 };
    int64_t copied = 0, b = 0;
    for (; b + BLOCK <= count; b += BLOCK) {
        int64_t above = 0;
        for (int i = 0; i < BLOCK; i++) above += values[b + i] >= bar;
        for (int i = 0; above > 0; i++)
            if (values[b + i] >= bar) tail[copied++] = values[b + i], above--;
    }
    for (; b < count; b++)
        if (values[b] >= bar) tail[copied++] = values[b];
    return copied;
}

/* Copies the sums at least as large as what a sample suggests for `rank`: the tail that the selection needs. */
static int64_t copy_tail(const double *sums, int64_t count, int64_t rank, double *tail) {
    enum { STRIDE = 64 };
    double sample[ROWS_MAX / STRIDE + 1];
    int64_t sampled = 0, wanted = rank / STRIDE * 2 + 8;
    for (int64_t b = 0; b < count; b += STRIDE) sample[sampled++] = sums[b];
    if (wanted >= sampled) return 0;
    return copy_from(sums, count, select_descending(sample, sampled, wanted), tail);
}

/* What stands at `rank` among the sums, and the part of them in flip->work that holds all from there on. Spent rows
 * come last. */
static double kth_largest(sow_flip *flip, int64_t count, int64_t rank, int64_t *tail) {
    *tail = copy_tail(flip->sums, count, rank, flip->work);
    if (*tail <= rank) { /* the sample misled, or is too small */
        memcpy(flip->work, flip->sums, (size_t)count * sizeof *flip->work);
        *tail = count;
    }
    return select_descending(flip->work, *tail, rank);
}

/* Rejections that all looks up to k may have made together. */
static int64_t allowance(const sow_flip *flip, int k, sow_looks looks, double a) {
    double share = (double)k / looks.last;
    return (int64_t)floor((double)flip->rows * a * share * share + 1e-9);
}

/* One look at `count` sums, each of rows/count rows; *used counts the rows spent so far. */
static sow_flip_look look_at(sow_flip *flip, int64_t count, int k, sow_looks looks, double a, double magnitude,
                             int64_t *used) {
    sow_flip_look look = {k, allowance(flip, k, looks, a) - *used, NAN, flip->sums[0], 0, false};
    if (look.free < 1) return look;
    int64_t live = flip->rows - *used, each = flip->rows / count, tail;
    double largest = kth_largest(flip, count, (look.free < live ? look.free : live - 1) / each, &tail);
    look.threshold = largest + 1e-12 * magnitude;
    look.rejected = look.sum > look.threshold;
    for (int64_t i = 0; i < tail; i++) look.died += each * (flip->work[i] > look.threshold);
    if (look.died > 0) spend(flip->sums, count, look.threshold);
    *used += look.died;
    return look;
}

/* ---- the test ---- */

/* Whether some rows show already that no look rejects: row 0 is not among the `allowance` largest where more rows reach
 * its sum. Spares nearly all the work where nothing is to be found. */
static bool cannot_reject(sow_flip *flip, const double *x, int n, sow_looks looks, double a) {
    enum { FEW = 512 };
    int64_t reached[SEEDS_MAX] = {0};
    bool open = true;
    for (int64_t start = 0; start + FEW <= flip->rows / 2 && open; start += FEW) {
        double *sums = flip->work, seen = 0;
        open = false;
        for (int64_t b = 0; b < FEW; b++) sums[b] = 0;
        for (int k = 1; k <= n; k++) {
            add(flip, sums, start, FEW, k - 1, x[k - 1]);
            seen += x[k - 1];
            if (!sow_is_look(looks, k) || reached[k - 1] > allowance(flip, k, looks, a)) continue;
            reached[k - 1] += count_from(sums, FEW, seen);
            open |= reached[k - 1] <= allowance(flip, k, looks, a);
        }
        if (!open) return true;
    }
    return false;
}

int sow_flip_test(sow_flip *flip, const double *x, int n, sow_looks looks, double a, sow_flip_look *trace,
                  int *traced) {
    int64_t used = 0, sums = flip->seeds <= ALL_ROWS_UP_TO ? 1 : flip->rows;
    double magnitude = 0;
    int count = 0, rejected = 0;
    if (n > flip->seeds) n = flip->seeds;
    if (!trace && cannot_reject(flip, x, n, looks, a)) return 0;
    for (int64_t b = 0; b < sums; b++) flip->sums[b] = 0;
    for (int k = 1; k <= n && !rejected && used < flip->rows; k++) {
        if (sums == flip->rows) add(flip, flip->sums, 0, sums, k - 1, x[k - 1]);
        else split(flip->sums, sums, x[k - 1]), sums *= 2;
        magnitude += fabs(x[k - 1]);
        if (!sow_is_look(looks, k)) continue;
        sow_flip_look look = look_at(flip, sums, k, looks, a, magnitude, &used);
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
