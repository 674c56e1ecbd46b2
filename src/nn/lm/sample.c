/* One token from the scores of all: penalty, temperature, top-k, softmax, top-p (Holtzman et al. 2020, arXiv 1904.09751). */
#include <math.h>
#include <stdlib.h>

#include "sow/generate.h"
#include "sow/random.h"

static void penalise(float *z, int64_t n, const uint8_t *seen, double penalty) {
    for (int64_t i = 0; i < n; i++)
        if (seen[i]) z[i] = (float)(z[i] > 0 ? (double)z[i] / penalty : (double)z[i] * penalty);
}

static int32_t largest(const float *z, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (z[i] > z[best]) best = i;
    return (int32_t)best;
}

static int falling(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* The k-th largest score (Hoare's selection). */
static sow_status border(sow_arena *scratch, const float *z, int64_t n, int64_t k, float *out) {
    float *copy;
    SOW_TRY(SOW_NEW_RAW(scratch, copy, n));
    for (int64_t i = 0; i < n; i++) copy[i] = z[i];
    for (int64_t low = 0, high = n - 1; low < high;) {
        float pivot = copy[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (copy[i] > pivot) i++;
            while (copy[j] < pivot) j--;
            if (i > j) break;
            float swap = copy[i];
            copy[i++] = copy[j];
            copy[j--] = swap;
        }
        if (k - 1 <= j) high = j;
        else if (k - 1 >= i) low = i;
        else break;
    }
    *out = copy[k - 1];
    return SOW_OK;
}

/* p = softmax(z / temperature) over scores that reach the border; 0 elsewhere. */
static void softmax(const float *z, int64_t n, double temperature, float least, float top, float *p) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        p[i] = z[i] >= least ? (float)exp(((double)z[i] - (double)top) / temperature) : 0;
        sum += (double)p[i];
    }
    for (int64_t i = 0; i < n; i++) p[i] = (float)((double)p[i] / sum);
}

/* Keeps the smallest set of the likeliest that reaches top_p. Tokens under (1 - top_p) / n cannot be needed for it: they are
 * not sorted. Equals of the last one are kept in the order of ids until the sum is reached. */
static sow_status keep_nucleus(sow_arena *scratch, float *p, int64_t n, double top_p) {
    float *sorted, least = (float)((1 - top_p) / (double)n);
    int64_t count = 0, kept = 0;
    double sum = 0;
    SOW_TRY(SOW_NEW_RAW(scratch, sorted, n));
    for (int64_t i = 0; i < n; i++)
        if (p[i] > 0 && p[i] >= least) sorted[count++] = p[i];
    qsort(sorted, (size_t)count, sizeof *sorted, falling);
    while (kept < count && sum < top_p) sum += (double)sorted[kept++];
    if (kept == 0) return SOW_OK;
    float last = sorted[kept - 1];
    int64_t equals = 0; /* of the last one that may stay */
    for (int64_t i = kept - 1; i >= 0 && sorted[i] == last; i--) equals++;
    for (int64_t i = 0; i < n; i++)
        if (p[i] < last || (p[i] == last && equals-- <= 0)) p[i] = 0;
    return SOW_OK;
}

static int32_t draw(const float *p, int64_t n, uint64_t seed, uint64_t step) {
    sow_rng rng;
    double u, total = 0, sum = 0;
    int64_t last = 0;
    sow_rng_seed(&rng, SOW_RNG_SOW, seed);
    sow_rng_at_index(&rng, "sample", step);
    sow_rng_uniform_f64(&rng, &u, 1, 0, 1);
    for (int64_t i = 0; i < n; i++) total += (double)p[i];
    for (int64_t i = 0; i < n; i++) {
        if (p[i] == 0) continue;
        sum += (double)p[i];
        last = i;
        if (sum > u * total) break;
    }
    return (int32_t)last;
}

static sow_status sample(const sow_sampling *s, sow_arena *scratch, float *z, int64_t n, float top, uint64_t step,
                         int32_t *out) {
    float *p, least = -INFINITY;
    SOW_TRY(SOW_NEW_RAW(scratch, p, n));
    if (s->top_k > 0 && s->top_k < n) SOW_TRY(border(scratch, z, n, s->top_k, &least));
    softmax(z, n, s->temperature, least, top, p);
    if (s->top_p > 0 && s->top_p < 1) SOW_TRY(keep_nucleus(scratch, p, n, s->top_p));
    *out = draw(p, n, s->seed, step);
    return SOW_OK;
}

sow_status sow_lm_sample(const sow_sampling *s, sow_arena *scratch, float *logits, int64_t n, const uint8_t *seen,
                         uint64_t step, int32_t *out) {
    for (int64_t i = 0; i < n; i++)
        if (isnan(logits[i])) return sow_fail(SOW_E_NUMBER, "the score of token %lld is not a number", (long long)i);
    if (seen && s->repeat_penalty > 0 && s->repeat_penalty != 1) penalise(logits, n, seen, s->repeat_penalty);
    *out = largest(logits, n);
    float top = logits[*out];
    if (!isfinite(top)) return sow_fail(SOW_E_NUMBER, "the largest score is not finite");
    if (s->temperature <= 0) return SOW_OK;
    sow_mark mark = sow_arena_mark(scratch);
    sow_status status = sample(s, scratch, logits, n, top, step, out);
    sow_arena_release(scratch, mark);
    return status;
}
