/* How alike two groupings are, and how compact one is: Hubert and Arabie 1985, Rousseeuw 1987. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learn/learn.h"
#include "sow/threads.h"

/* ---- contingency: pairs of labels, counted after sorting ---- */

typedef struct cell {
    int32_t a, b;
    int64_t count;
} cell;

static int by_pair(const void *x, const void *y) {
    const cell *p = x, *q = y;
    if (p->a != q->a) return p->a < q->a ? -1 : 1;
    return (p->b > q->b) - (p->b < q->b);
}

static int by_second(const void *x, const void *y) {
    const cell *p = x, *q = y;
    return (p->b > q->b) - (p->b < q->b);
}

typedef struct contingency {
    cell *cells; /* sorted by (a, b), each pair once */
    int64_t count, n;
} contingency;

/* Counts of pairs of small labels in a table, else by sorting all rows. */
static sow_status count_pairs(const int32_t *a, const int32_t *b, int64_t n, contingency *out) {
    int64_t most_a = 0, most_b = 0, used = 0;
    for (int64_t i = 0; i < n; i++)
        if (a[i] >= 0 && b[i] >= 0) {
            most_a = a[i] > most_a ? a[i] : most_a;
            most_b = b[i] > most_b ? b[i] : most_b;
            used++;
        }
    if (used == 0) return sow_fail(SOW_E_RANGE, "scores of groupings: no row has a label in both");
    bool small = (most_a + 1) * (most_b + 1) <= 4 * n + 4096;
    int64_t room = small ? (most_a + 1) * (most_b + 1) : used, at = 0;
    cell *cells = sow_reallocate(NULL, (size_t)room * sizeof *cells);
    if (!cells) return SOW_E_MEMORY;
    memset(cells, 0, (size_t)room * sizeof *cells);
    for (int64_t i = 0; i < n; i++) {
        if (a[i] < 0 || b[i] < 0) continue;
        cell *c = &cells[small ? a[i] * (most_b + 1) + b[i] : at++];
        *c = (cell){a[i], b[i], c->count + 1};
    }
    if (!small) qsort(cells, (size_t)used, sizeof *cells, by_pair);
    at = 0;
    for (int64_t i = 0; i < room; i++) {
        if (cells[i].count == 0) continue;
        if (at > 0 && by_pair(&cells[at - 1], &cells[i]) == 0) cells[at - 1].count += cells[i].count;
        else cells[at++] = cells[i];
    }
    *out = (contingency){cells, at, used};
    return SOW_OK;
}

/* What the cells and the groups of either side add to sum of f(count). */
typedef double (*of_count)(double count, double n);

static double over_groups(contingency *c, bool second, of_count f) {
    double sum = 0;
    if (second) qsort(c->cells, (size_t)c->count, sizeof *c->cells, by_second);
    for (int64_t i = 0, j; i < c->count; i = j) {
        int64_t size = 0;
        for (j = i; j < c->count && (second ? c->cells[j].b == c->cells[i].b : c->cells[j].a == c->cells[i].a); j++)
            size += c->cells[j].count;
        sum += f((double)size, (double)c->n);
    }
    return sum;
}

static double over_cells(const contingency *c, of_count f) {
    double sum = 0;
    for (int64_t i = 0; i < c->count; i++) sum += f((double)c->cells[i].count, (double)c->n);
    return sum;
}

static double pairs(double count, double n) {
    (void)n;
    return count * (count - 1) / 2;
}

static double entropy(double count, double n) {
    return -count / n * log(count / n);
}

sow_status sow_adjusted_rand(const int32_t *a, const int32_t *b, int64_t n, double *out) {
    contingency c;
    SOW_TRY(count_pairs(a, b, n, &c));
    double both = over_cells(&c, pairs), in_a = over_groups(&c, false, pairs), in_b = over_groups(&c, true, pairs),
           all = pairs((double)c.n, 0), expected = all > 0 ? in_a * in_b / all : 0, most = (in_a + in_b) / 2;
    *out = most == expected ? 1 : (both - expected) / (most - expected);
    sow_release(c.cells);
    return SOW_OK;
}

sow_status sow_normalised_information(const int32_t *a, const int32_t *b, int64_t n, double *out) {
    contingency c;
    SOW_TRY(count_pairs(a, b, n, &c));
    double joint = over_cells(&c, entropy), of_a = over_groups(&c, false, entropy),
           of_b = over_groups(&c, true, entropy);
    double shared = of_a + of_b - joint;
    *out = of_a + of_b == 0 ? 1 : fmin(fmax(2 * shared / (of_a + of_b), 0), 1);
    sow_release(c.cells);
    return SOW_OK;
}

/* ---- silhouette ---- */

typedef struct silhouette {
    const double *x; /* [width, m] by columns */
    const int32_t *labels;
    const int64_t *sizes;
    int64_t m, width;
    int clusters;
    double *scores; /* [m] */
    double *sums;   /* [cells, clusters] */
    double *gaps;   /* [cells, m] */
    int64_t cells;
} silhouette;

static double score_of(const silhouette *s, int64_t i, const double *sums) {
    int own = s->labels[i];
    double inside, outside = INFINITY;
    if (s->sizes[own] < 2) return 0;
    inside = sums[own] / (double)(s->sizes[own] - 1);
    for (int k = 0; k < s->clusters; k++)
        if (k != own && s->sizes[k] > 0) outside = fmin(outside, sums[k] / (double)s->sizes[k]);
    double most = fmax(inside, outside);
    return most > 0 ? (outside - inside) / most : 0;
}

static void silhouette_cell(void *context, int64_t index) {
    const silhouette *s = context;
    double *sums = s->sums + index * s->clusters, *gap = s->gaps + index * s->m;
    for (int64_t i = index; i < s->m; i += s->cells) {
        memset(gap, 0, (size_t)s->m * sizeof *gap);
        for (int64_t j = 0; j < s->width; j++) {
            const double *x = s->x + j * s->m;
            double own = x[i];
            for (int64_t k = 0; k < s->m; k++) gap[k] += (x[k] - own) * (x[k] - own);
        }
        memset(sums, 0, (size_t)s->clusters * sizeof *sums);
        for (int64_t k = 0; k < s->m; k++) sums[s->labels[k]] += sqrt(gap[k]);
        s->scores[i] = score_of(s, i, sums);
    }
}

/* Rows with a label, at most `most` of them, taken evenly; sizes of their groups. */
static sow_status choose_rows(const sow_rows *rows, const int32_t *labels, int64_t most, sow_arena *arena,
                              sow_rows *chosen, int32_t **kept, int *clusters) {
    int64_t labelled = 0, *index, m;
    SOW_TRY(SOW_NEW(arena, index, rows->count));
    for (int64_t i = 0; i < rows->count; i++)
        if (labels[i] >= 0) index[labelled++] = i;
    m = most > 0 && most < labelled ? most : labelled;
    SOW_TRY(SOW_NEW(arena, *kept, m));
    *clusters = 0;
    for (int64_t i = 0; i < m; i++) {
        int64_t row = index[(int64_t)((__int128)i * labelled / m)];
        (*kept)[i] = labels[row];
        if (labels[row] >= *clusters) *clusters = labels[row] + 1;
        index[i] = rows->index ? rows->index[row] : row;
    }
    *chosen = *rows;
    chosen->index = index;
    chosen->count = m;
    return SOW_OK;
}

static sow_status mean_silhouette(const sow_rows *rows, const int32_t *labels, int64_t most, sow_arena *arena,
                                  double *out) {
    sow_rows chosen, copied;
    int32_t *kept;
    int64_t *sizes, groups = 0;
    silhouette s = {.width = rows->width};
    SOW_TRY(choose_rows(rows, labels, most, arena, &chosen, &kept, &s.clusters));
    SOW_TRY(SOW_NEW(arena, sizes, s.clusters + 1));
    for (int64_t i = 0; i < chosen.count; i++) groups += sizes[kept[i]]++ == 0;
    if (groups < 2) return sow_fail(SOW_E_RANGE, "silhouette: %lld clusters, expected two or more", (long long)groups);
    SOW_TRY(sow_rows_sample(&chosen, chosen.count, arena, &copied, NULL));
    s.x = copied.data.data;
    s.m = chosen.count;
    s.labels = kept;
    s.sizes = sizes;
    s.cells = s.m < 64 ? s.m : 64;
    SOW_TRY(SOW_NEW(arena, s.scores, s.m));
    SOW_TRY(SOW_NEW(arena, s.sums, s.cells * s.clusters));
    SOW_TRY(SOW_NEW(arena, s.gaps, s.cells * s.m));
    sow_cells(s.cells, silhouette_cell, &s);
    *out = learn_sum(s.scores, s.m) / (double)s.m;
    return SOW_OK;
}

sow_status sow_silhouette(const sow_rows *rows, const int32_t *labels, int64_t most, double *out) {
    sow_arena *arena;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = mean_silhouette(rows, labels, most, arena, out);
    sow_arena_free(arena);
    return status;
}
