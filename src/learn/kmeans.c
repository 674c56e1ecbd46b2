/* k-means: Lloyd 1982, with the starts of Arthur and Vassilvitskii 2007 and others; the best of several. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learn/learn.h"
#include "sow/linalg.h"
#include "sow/random.h"

static const double sampled_tolerance = 1e-4; /* where starts compete on a sample */
static const double tie = 1e-9;               /* relative difference of SSE under which the first start stays */

sow_kmeans_config sow_kmeans_defaults(void) {
    return (sow_kmeans_config){
        .clusters = 2, .restarts = 8, .rounds = 100, .tolerance = 1e-9, .sample = 8192, .start = SOW_KMEANS_PLUSPLUS};
}

/* ---- one pass ---- */

typedef struct assignment {
    int clusters;
    int64_t width;
    const double *centroids;
    int32_t *labels;   /* [count] or NULL */
    double *distances; /* [count], squared, or NULL */
} assignment;

/* sums: [clusters, width] sums of rows, [clusters] sizes, the SSE. scratch: distances, best, weight. */
static void assign_chunk(void *context, int64_t first, int64_t count, const double *x, double *sums, double *scratch) {
    const assignment *a = context;
    double *distance = scratch, *best = scratch + LEARN_STRIDE, *weight = scratch + 2 * LEARN_STRIDE;
    int32_t nearest[SOW_CHUNK] = {0};
    learn_squares(x, a->width, count, a->centroids, best);
    for (int32_t k = 1; k < a->clusters; k++) {
        learn_squares(x, a->width, count, a->centroids + k * a->width, distance);
        for (int64_t i = 0; i < count; i++)
            if (distance[i] < best[i]) best[i] = distance[i], nearest[i] = k;
    }
    for (int32_t k = 0; k < a->clusters; k++) {
        int64_t size = 0;
        for (int64_t i = 0; i < count; i++) weight[i] = nearest[i] == k, size += nearest[i] == k;
        if (size == 0) continue;
        for (int64_t j = 0; j < a->width; j++) sums[k * a->width + j] += learn_dot(x + j * LEARN_STRIDE, weight, count);
        sums[a->clusters * a->width + k] += (double)size;
    }
    sums[a->clusters * (a->width + 1)] += learn_sum(best, count);
    if (a->labels) memcpy(a->labels + first, nearest, (size_t)count * sizeof *nearest);
    if (a->distances) memcpy(a->distances + first, best, (size_t)count * sizeof *best);
}

static sow_status assign(const sow_rows *rows, assignment *a, double *sums) {
    sow_block_work work = {assign_chunk,
                           a,
                           a->clusters * (a->width + 1) + 1,
                           (int64_t)3 * LEARN_STRIDE,
                           {{a->labels, sizeof *a->labels}, {a->distances, sizeof *a->distances}}};
    return sow_blocks(rows, &work, sums);
}

/* ---- Lloyd's rounds ---- */

typedef struct lloyd {
    const sow_rows *rows;
    int clusters, rounds;
    double tolerance, spread; /* spread: root mean square distance of the rows to their mean */
    double *centroids;        /* [clusters, width], moved in place */
    double *sums;             /* room for a pass */
    double *trace;            /* [rounds] or NULL */
    /* found */
    double sse;
    int done;
    bool settled;
} lloyd;

static void copy_row(const sow_rows *rows, int64_t row, double *out) {
    sow_rows_chunk(rows, row, 1, out, 1);
}

/* A cluster without rows takes the row farthest from its centroid; several take the farthest ones, each once. */
static sow_status fill_empty(lloyd *l) {
    double *distances = sow_reallocate(NULL, (size_t)(l->rows->count + 1) * sizeof *distances);
    if (!distances) return SOW_E_MEMORY;
    assignment a = {l->clusters, l->rows->width, l->centroids, NULL, distances};
    double *sums = sow_reallocate(NULL, (size_t)(l->clusters * (a.width + 1) + 1) * sizeof *sums);
    sow_status status = sums ? assign(l->rows, &a, sums) : SOW_E_MEMORY;
    for (int k = 0; status == SOW_OK && k < l->clusters; k++) {
        int64_t far = 0;
        if (l->sums[l->clusters * a.width + k] > 0) continue;
        for (int64_t i = 1; i < l->rows->count; i++)
            if (distances[i] > distances[far]) far = i;
        distances[far] = -1;
        copy_row(l->rows, far, l->centroids + k * a.width);
    }
    sow_release(sums);
    sow_release(distances);
    return status;
}

/* Moves the centroids to the means; the largest squared move in *moved. */
static void move(lloyd *l, double *moved, bool *empty) {
    int64_t d = l->rows->width;
    *moved = 0;
    *empty = false;
    for (int k = 0; k < l->clusters; k++) {
        double size = l->sums[l->clusters * d + k], gap = 0;
        if (size == 0) {
            *empty = true;
            continue;
        }
        for (int64_t j = 0; j < d; j++) {
            double mean = l->sums[k * d + j] / size, step = mean - l->centroids[k * d + j];
            gap += step * step;
            l->centroids[k * d + j] = mean;
        }
        *moved = fmax(*moved, gap);
    }
}

static sow_status run_lloyd(lloyd *l) {
    double limit = l->tolerance * l->spread, moved;
    bool empty;
    l->settled = false;
    for (l->done = 0; l->done < l->rounds && !l->settled; l->done++) {
        assignment a = {l->clusters, l->rows->width, l->centroids, NULL, NULL};
        SOW_TRY(assign(l->rows, &a, l->sums));
        l->sse = l->sums[l->clusters * (a.width + 1)];
        if (l->trace) l->trace[l->done] = l->sse;
        move(l, &moved, &empty);
        if (empty) SOW_TRY(fill_empty(l));
        l->settled = !empty && moved <= limit * limit;
    }
    return SOW_OK;
}

/* ---- starts ---- */

typedef struct starter {
    const sow_rows *rows;
    const sow_kmeans_config *config;
    double *centroids;
    double *nearest; /* [count] squared distances, or positions on an axis */
    int64_t *chosen; /* [clusters] rows */
} starter;

typedef struct nearer {
    int64_t width;
    const double *centroid;
    double *nearest;
    bool first;
} nearer;

static void nearer_chunk(void *context, int64_t first, int64_t count, const double *x, double *sums, double *scratch) {
    const nearer *n = context;
    learn_squares(x, n->width, count, n->centroid, scratch);
    for (int64_t i = 0; i < count; i++)
        if (n->first || scratch[i] < n->nearest[first + i]) n->nearest[first + i] = scratch[i];
    sums[0] += learn_sum(n->nearest + first, count);
}

static double draw(sow_rng *rng) {
    double u;
    sow_rng_uniform_f64(rng, &u, 1, 0, 1);
    return u;
}

static sow_status start_plusplus(starter *s, sow_rng *rng) {
    int64_t d = s->rows->width, n = s->rows->count;
    int64_t row = (int64_t)sow_rng_below(rng, (uint64_t)n);
    for (int k = 0; k < s->config->clusters; k++) {
        nearer to_new = {d, s->centroids + k * d, s->nearest, k == 0};
        sow_block_work work = {nearer_chunk, &to_new, 1, LEARN_STRIDE, {{s->nearest, sizeof *s->nearest}}};
        double total;
        copy_row(s->rows, row, s->centroids + k * d);
        SOW_TRY(sow_blocks(s->rows, &work, &total));
        double left = draw(rng) * total;
        row = n - 1;
        for (int64_t i = 0; i < n; i++) {
            left -= s->nearest[i];
            if (left < 0) {
                row = i;
                break;
            }
        }
    }
    return SOW_OK;
}

/* k different rows: each draw is one of those that are left. */
static void start_random(starter *s, sow_rng *rng) {
    for (int k = 0; k < s->config->clusters; k++) {
        bool again;
        do {
            s->chosen[k] = (int64_t)sow_rng_below(rng, (uint64_t)s->rows->count);
            again = false;
            for (int i = 0; i < k; i++) again |= s->chosen[i] == s->chosen[k];
        } while (again);
        copy_row(s->rows, s->chosen[k], s->centroids + k * s->rows->width);
    }
}

typedef struct line {
    int64_t width;
    const double *mean, *axis;
    double *position;
} line;

static void line_chunk(void *context, int64_t first, int64_t count, const double *x, double *sums, double *scratch) {
    const line *l = context;
    (void)sums, (void)scratch;
    memset(l->position + first, 0, (size_t)count * sizeof *l->position);
    for (int64_t j = 0; j < l->width; j++)
        for (int64_t i = 0; i < count; i++)
            l->position[first + i] += (x[j * LEARN_STRIDE + i] - l->mean[j]) * l->axis[j];
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Groups along an axis: two are cut at the mean, more at quantiles; their means are the start. */
static sow_status start_on_axis(starter *s, const double *mean, const double *axis, sow_arena *scratch) {
    int64_t d = s->rows->width, n = s->rows->count;
    int clusters = s->config->clusters;
    double *sorted, *cuts, *sizes;
    line l = {d, mean, axis, s->nearest};
    SOW_TRY(SOW_NEW(scratch, sorted, n));
    SOW_TRY(SOW_NEW(scratch, cuts, clusters));
    SOW_TRY(SOW_NEW(scratch, sizes, clusters));
    sow_block_work work = {line_chunk, &l, 0, 0, {{s->nearest, sizeof *s->nearest}}};
    SOW_TRY(sow_blocks(s->rows, &work, NULL));
    memcpy(sorted, s->nearest, (size_t)n * sizeof *sorted);
    if (clusters > 2) qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    for (int k = 1; clusters > 2 && k < clusters; k++) cuts[k - 1] = sorted[k * n / clusters];
    memset(s->centroids, 0, (size_t)(clusters * d) * sizeof *s->centroids);
    double *row;
    SOW_TRY(SOW_NEW(scratch, row, d));
    for (int64_t i = 0; i < n; i++) {
        int group = 0;
        while (group < clusters - 1 && s->nearest[i] >= cuts[group]) group++;
        copy_row(s->rows, i, row);
        sizes[group]++;
        for (int64_t j = 0; j < d; j++) s->centroids[group * d + j] += row[j];
    }
    for (int k = 0; k < clusters; k++)
        for (int64_t j = 0; j < d; j++) s->centroids[k * d + j] /= sizes[k] > 0 ? sizes[k] : 1;
    return SOW_OK;
}

static sow_status start_fixed(starter *s, sow_arena *scratch) {
    int64_t d = s->rows->width;
    double *mean, *covariance, *values, *axes;
    SOW_TRY(SOW_NEW(scratch, mean, d));
    SOW_TRY(SOW_NEW(scratch, covariance, d * d));
    SOW_TRY(SOW_NEW(scratch, values, d));
    SOW_TRY(SOW_NEW(scratch, axes, d * d));
    SOW_TRY(sow_rows_moments(s->rows, mean, covariance));
    if (s->config->start == SOW_KMEANS_PCA) {
        SOW_TRY(sow_eigen_symmetric(SOW_TENSOR(covariance, SOW_F64, d, d), SOW_TENSOR(values, SOW_F64, d),
                                    sow_transpose(SOW_TENSOR(axes, SOW_F64, d, d)))); /* a row an axis */
    } else {
        int64_t widest = 0;
        for (int64_t j = 1; j < d; j++)
            if (covariance[j * d + j] > covariance[widest * d + widest]) widest = j;
        axes[widest] = 1;
    }
    return start_on_axis(s, mean, axes, scratch);
}

static bool has_randomness(const sow_kmeans_config *c) {
    return !c->initial && (c->start == SOW_KMEANS_PLUSPLUS || c->start == SOW_KMEANS_RANDOM);
}

static sow_status start_once(starter *s, int number, sow_arena *scratch) {
    const sow_kmeans_config *c = s->config;
    sow_rng rng;
    if (c->initial) {
        memcpy(s->centroids, c->initial, (size_t)(c->clusters * s->rows->width) * sizeof(double));
        return SOW_OK;
    }
    if (!has_randomness(c)) return start_fixed(s, scratch);
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, c->seed));
    sow_rng_at_index(&rng, "k-means", c->number << 20 | (uint64_t)number);
    if (c->start == SOW_KMEANS_PLUSPLUS) return start_plusplus(s, &rng);
    start_random(s, &rng);
    return SOW_OK;
}

/* ---- the best of several starts ---- */

static void keep_best(lloyd *best, const lloyd *l, const sow_kmeans_config *c) {
    memcpy(best->centroids, l->centroids, (size_t)(c->clusters * l->rows->width) * sizeof(double));
    if (best->trace) memcpy(best->trace, l->trace, (size_t)c->rounds * sizeof(double));
    best->sse = l->sse;
    best->done = l->done;
    best->settled = l->settled;
}

/* Best centroids of all starts on `rows` into `best`. */
static sow_status compete(const sow_rows *rows, const sow_kmeans_config *c, double spread, sow_arena *scratch,
                          lloyd *best) {
    int64_t size = c->clusters * rows->width;
    starter s = {.rows = rows, .config = c};
    lloyd l = {rows, c->clusters, c->rounds, best->tolerance, spread, NULL, NULL, NULL, INFINITY, 0, false};
    SOW_TRY(SOW_NEW(scratch, s.nearest, rows->count));
    SOW_TRY(SOW_NEW(scratch, s.chosen, c->clusters));
    SOW_TRY(SOW_NEW(scratch, l.centroids, size));
    SOW_TRY(SOW_NEW(scratch, l.sums, size + c->clusters + 1));
    SOW_TRY(SOW_NEW(scratch, l.trace, c->rounds + 1));
    s.centroids = l.centroids;
    int starts = has_randomness(c) ? c->restarts : 1;
    bool trials = c->trial_rounds > 0 && c->trial_rounds < c->rounds && starts > 1;
    if (trials) l.rounds = c->trial_rounds;
    best->sse = INFINITY;
    for (int r = 0; r < starts; r++) {
        sow_mark mark = sow_arena_mark(scratch);
        SOW_TRY(start_once(&s, r, scratch));
        sow_arena_release(scratch, mark);
        SOW_TRY(run_lloyd(&l));
        if (l.sse >= best->sse * (1 - tie)) continue;
        keep_best(best, &l, c);
    }
    if (!trials) return SOW_OK;
    memcpy(l.centroids, best->centroids, (size_t)size * sizeof(double));
    l.rounds = c->rounds;
    SOW_TRY(run_lloyd(&l));
    keep_best(best, &l, c);
    return SOW_OK;
}

/* Lexicographic order of centroids. */
static void sort_centroids(double *centroids, int clusters, int64_t d) {
    for (int k = 1; k < clusters; k++)
        for (int i = k; i > 0; i--) {
            double *a = centroids + (i - 1) * d, *b = a + d;
            int64_t j = 0;
            while (j < d && a[j] == b[j]) j++;
            if (j == d || a[j] < b[j]) break;
            for (j = 0; j < d; j++) {
                double kept = a[j];
                a[j] = b[j];
                b[j] = kept;
            }
        }
}

static sow_status check(const sow_rows *rows, const sow_kmeans_config *c) {
    if (c->clusters < 1 || c->rounds < 1 || c->restarts < 1)
        return sow_fail(SOW_E_RANGE, "k-means: %d clusters, %d rounds, %d starts: expected at least 1 of each",
                        c->clusters, c->rounds, c->restarts);
    if (rows->count < c->clusters)
        return sow_fail(SOW_E_RANGE, "k-means: %lld rows for %d clusters", (long long)rows->count, c->clusters);
    return SOW_OK;
}

static sow_status measure_spread(const sow_rows *rows, sow_arena *scratch, double *out) {
    double *mean, *variances, sum = 0;
    SOW_TRY(SOW_NEW(scratch, mean, rows->width));
    SOW_TRY(SOW_NEW(scratch, variances, rows->width));
    SOW_TRY(sow_rows_variances(rows, mean, variances));
    for (int64_t j = 0; j < rows->width; j++) sum += variances[j];
    *out = sqrt(sum);
    return isfinite(*out) ? SOW_OK : sow_fail(SOW_E_NUMBER, "k-means: the rows' values are too large");
}

static sow_status fit(const sow_rows *rows, const sow_kmeans_config *c, sow_arena *scratch, sow_kmeans *out,
                      int32_t *labels) {
    int64_t size = c->clusters * rows->width;
    bool sampled = c->sample > 0 && rows->count > c->sample;
    sow_rows sample = *rows;
    double spread, *sums;
    lloyd best = {.centroids = out->centroids, .trace = out->sse_trace, .tolerance = c->tolerance};
    SOW_TRY(SOW_NEW(scratch, sums, size + c->clusters + 1));
    if (c->sample > 0 && !(sampled && c->initial)) SOW_TRY(sow_rows_sample(rows, c->sample, scratch, &sample, NULL));
    SOW_TRY(measure_spread(&sample, scratch, &spread));
    if (sampled) best.tolerance = fmax(c->tolerance, sampled_tolerance);
    if (sampled && c->initial) memcpy(out->centroids, c->initial, (size_t)size * sizeof(double));
    else SOW_TRY(compete(&sample, c, spread, scratch, &best));
    if (sampled) {
        best = (lloyd){rows,           c->clusters, c->rounds, best.tolerance, spread, out->centroids, sums,
                       out->sse_trace, 0,           0,         false};
        SOW_TRY(run_lloyd(&best));
    }
    out->rounds = best.done;
    out->settled = best.settled;
    sort_centroids(out->centroids, c->clusters, rows->width);
    assignment a = {c->clusters, rows->width, out->centroids, labels, NULL};
    SOW_TRY(assign(rows, &a, sums));
    for (int k = 0; k < c->clusters; k++) out->sizes[k] = (int64_t)sums[size + k];
    out->sse = sums[size + c->clusters];
    return SOW_OK;
}

sow_status sow_kmeans_fit(const sow_rows *rows, const sow_kmeans_config *config, sow_arena *arena, sow_kmeans *out,
                          int32_t *labels) {
    sow_arena *scratch;
    SOW_TRY(check(rows, config));
    *out = (sow_kmeans){.clusters = config->clusters, .width = rows->width};
    SOW_TRY(SOW_NEW(arena, out->centroids, config->clusters * rows->width));
    SOW_TRY(SOW_NEW(arena, out->sizes, config->clusters));
    SOW_TRY(SOW_NEW(arena, out->sse_trace, config->rounds));
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = fit(rows, config, scratch, out, labels);
    sow_arena_free(scratch);
    return status;
}

sow_status sow_kmeans_assign(const sow_kmeans *model, const sow_rows *rows, int32_t *labels, double *sse) {
    int64_t size = model->clusters * (model->width + 1) + 1;
    if (rows->width != model->width)
        return sow_fail(SOW_E_SHAPE, "k-means: rows have %lld columns, the centroids %lld", (long long)rows->width,
                        (long long)model->width);
    double *sums = sow_reallocate(NULL, (size_t)size * sizeof *sums);
    if (!sums) return SOW_E_MEMORY;
    assignment a = {model->clusters, model->width, model->centroids, labels, NULL};
    sow_status status = assign(rows, &a, sums);
    if (sse) *sse = sums[size - 1];
    sow_release(sums);
    return status;
}
