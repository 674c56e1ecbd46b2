/* Non-negative split weights, exactly: the positive splits are few, so each subproblem is a dense one with a Gram matrix
 * that needs no product. Lawson and Hanson 1974 with whole sets of splits at a time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/log.h"
#include "sow/threads.h"
#include "starts/groups/mycorrhiza/network.h"

enum { ROUNDS_MAX = 500, GRAM_CELL = 1 << 18 };

typedef struct search {
    network_fit *fit;
    int64_t count, before, candidates; /* chosen splits now, at the round's start, and those tried in it */
    int64_t limit;
    int64_t *chosen, *start;         /* [limit] numbers of pairs, in order of entry; the round's first set */
    int64_t *tried;                  /* [n] */
    int32_t *row, *column;           /* [limit] ends i and j of the chosen splits */
    double *old, *now, *kept, *step; /* [limit] weights before and after; those at the round's start; step lengths */
    bool *in;                        /* [pairs] */
    network_factor factor;
    double objective; /* |A x - d|^2 / 2 less |d|^2 / 2 */
} search;

void network_normal(network_fit *fit, const double *r, double *z) {
    for (int64_t p = 0; fit->weights && p < fit->pairs; p++) fit->weighted[p] = fit->weights[p] * r[p];
    network_transposed(fit->n, fit->weights ? fit->weighted : r, z, fit->sums);
}

void network_gradient(network_fit *fit) {
    double sum = 0;
    network_distances(fit->n, fit->x, fit->residual, fit->sums);
    for (int64_t p = 0; p < fit->pairs; p++) fit->residual[p] -= fit->d[p];
    network_normal(fit, fit->residual, fit->gradient);
    for (int64_t p = 0; p < fit->pairs; p++) {
        fit->gradient[p] += fit->penalty;
        double g = fit->x[p] > 0 || fit->gradient[p] < 0 ? fit->gradient[p] : 0;
        sum += g * g;
    }
    fit->violation = sqrt(sum);
}

/* ---- candidates: the gradient is smooth over the grid of pairs, so of a hollow only its lowest point is tried ---- */

static double gradient_at(const search *s, int64_t i, int64_t k) {
    if (i < 0 || k < 1 || i + k >= s->fit->n) return 0;
    int64_t pair = network_diagonal(s->fit->n, k) + i;
    return s->in[pair] ? 0 : s->fit->gradient[pair];
}

static bool is_hollow(const search *s, int64_t i, int64_t k) {
    static const int8_t around[8][2] = {{-1, 0}, {1, 0}, {0, 1}, {-1, 1}, {1, -1}, {0, -1}, {-1, 2}, {1, -2}};
    double g = s->fit->gradient[network_diagonal(s->fit->n, k) + i];
    for (int a = 0; a < 8; a++)
        if (gradient_at(s, i + around[a][0], k + around[a][1]) < g) return false;
    return true;
}

typedef struct hollow {
    double gradient;
    int64_t pair;
} hollow;

static int deeper(const void *a, const void *b) {
    const hollow *x = a, *y = b;
    if (x->gradient != y->gradient) return x->gradient < y->gradient ? -1 : 1;
    return x->pair < y->pair ? -1 : x->pair > y->pair;
}

/* The deepest hollows, at most n of them. */
static void find_candidates(search *s, hollow *hollows) {
    int64_t n = s->fit->n, count = 0;
    for (int64_t k = 1; k < n; k++)
        for (int64_t i = 0; i + k < n; i++) {
            int64_t pair = network_diagonal(n, k) + i;
            if (s->in[pair] || s->fit->gradient[pair] >= 0 || !is_hollow(s, i, k)) continue;
            hollows[count++] = (hollow){s->fit->gradient[pair], pair};
        }
    qsort(hollows, (size_t)count, sizeof *hollows, deeper);
    s->candidates = count < n ? count : n;
    for (int64_t c = 0; c < s->candidates; c++) s->tried[c] = hollows[c].pair;
}

/* ---- a subproblem ---- */

static void set_ends(search *s, int64_t place) {
    int64_t n = s->fit->n, pair = s->chosen[place], low = 1, high = n - 1;
    while (low < high) { /* the last diagonal that begins at or before the pair */
        int64_t middle = (low + high + 1) / 2;
        if (network_diagonal(n, middle) <= pair) low = middle;
        else high = middle - 1;
    }
    s->row[place] = (int32_t)(pair - network_diagonal(n, low));
    s->column[place] = (int32_t)(s->row[place] + low);
}

typedef struct gram_rows {
    search *s;
    int64_t from, rows; /* rows a cell */
} gram_rows;

/* Number of pairs that both splits separate: |S and T| |neither| + |S only| |T only|. */
static void gram_cell(void *context, int64_t cell) {
    const gram_rows *g = context;
    search *s = g->s;
    int64_t first = g->from + cell * g->rows, end = first + g->rows < s->count ? first + g->rows : s->count;
    double n = (double)s->fit->n;
    for (int64_t a = first; a < end; a++) {
        int32_t i = s->row[a], j = s->column[a];
        double *restrict out = s->factor.values + a * s->factor.stride;
        const int32_t *restrict row = s->row, *restrict column = s->column;
        for (int64_t b = 0; b <= a; b++) {
            int32_t low = row[b] > i ? row[b] : i, high = column[b] < j ? column[b] : j;
            double both = high > low ? high - low : 0, mine = j - i - both, other = column[b] - row[b] - both;
            out[b] = both * (n - both - mine - other) + mine * other;
        }
    }
}

/* The unbounded minimum over the chosen splits into `now`; splits before `from` are those of the last call. */
static sow_status solve(search *s, int64_t from) {
    SOW_TRY(network_factor_reserve(&s->factor, from, s->count, s->limit));
    gram_rows g = {s, from, GRAM_CELL / s->count + 1};
    sow_cells(sow_cells_for(s->count - from, g.rows), gram_cell, &g);
    SOW_TRY(network_factorise(&s->factor, from, s->count));
    for (int64_t a = 0; a < s->count; a++) s->now[a] = s->fit->target[s->chosen[a]];
    network_factor_solve(&s->factor, s->count, s->now);
    return sow_check_interrupt();
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Goes from `old` towards `now` until the first splits reach zero, and drops those within the share of steps given
 * (0: the first only). *from: the first place that changed. Whether any was negative. */
static bool drop(search *s, double share, double *sorted, int64_t *from) {
    int64_t negatives = 0, first = s->count, left = 0;
    for (int64_t a = 0; a < s->count; a++) {
        s->step[a] = s->now[a] > 0 ? INFINITY : s->old[a] > 0 ? s->old[a] / (s->old[a] - s->now[a]) : 0;
        if (s->now[a] <= 0) sorted[negatives++] = s->step[a];
    }
    if (negatives == 0) return false;
    qsort(sorted, (size_t)negatives, sizeof *sorted, rising);
    double bar = sorted[share > 0 ? (int64_t)ceil(share * (double)negatives) - 1 : 0], t = sorted[0];
    for (int64_t a = 0; a < s->count; a++) {
        if (s->step[a] <= bar) {
            if (a < first) first = a;
            continue;
        }
        s->chosen[left] = s->chosen[a], s->row[left] = s->row[a], s->column[left] = s->column[a];
        s->old[left++] = fmax((1 - t) * s->old[a] + t * s->now[a], 0);
    }
    s->count = left;
    *from = first;
    return true;
}

/* From the round's start: `added` candidates come in, what turns negative goes out. *better: the sum of squares fell. */
static sow_status attempt(search *s, int64_t added, double share, bool *better) {
    int64_t from = s->before;
    s->count = s->before;
    memcpy(s->chosen, s->start, (size_t)s->before * sizeof *s->chosen);
    memcpy(s->old, s->kept, (size_t)s->before * sizeof *s->old);
    for (int64_t c = 0; c < added; c++) s->chosen[s->count] = s->tried[c], s->old[s->count++] = 0;
    if (share < 1) from = 0; /* an attempt before this one has changed the factor */
    for (int64_t a = from; a < s->count; a++) set_ends(s, a);
    double *sorted = s->fit->residual; /* free until the next gradient */
    do {
        SOW_TRY(solve(s, from));
    } while (drop(s, share, sorted, &from));
    double objective = 0;
    for (int64_t a = 0; a < s->count; a++) objective -= s->now[a] * s->fit->target[s->chosen[a]] / 2;
    *better = objective < s->objective;
    if (*better) s->objective = objective;
    return SOW_OK;
}

/* The round's result becomes x. */
static void accept(search *s) {
    for (int64_t a = 0; a < s->before; a++) s->fit->x[s->start[a]] = 0, s->in[s->start[a]] = false;
    for (int64_t a = 0; a < s->count; a++) s->fit->x[s->chosen[a]] = s->now[a], s->in[s->chosen[a]] = true;
    memcpy(s->start, s->chosen, (size_t)s->count * sizeof *s->start);
    memcpy(s->kept, s->now, (size_t)s->count * sizeof *s->kept);
    s->before = s->count;
}

static sow_status rounds(search *s, hollow *hollows, bool *full) {
    network_fit *fit = s->fit;
    double first = 0;
    for (; fit->rounds < ROUNDS_MAX; fit->rounds++) {
        bool better = false;
        network_gradient(fit);
        if (fit->rounds == 0) first = fit->violation;
        if (fit->violation <= fit->bound) return SOW_OK;
        if (fit->n >= 500)
            sow_progress("split weights", (int64_t)(100 * log(first / fit->violation) / log(first / fit->bound)), 100);
        find_candidates(s, hollows);
        if (s->candidates == 0) return SOW_OK;
        if (s->before + s->candidates > s->limit) {
            *full = true;
            return SOW_OK;
        }
        SOW_TRY(attempt(s, s->candidates, 1, &better));
        if (!better) SOW_TRY(attempt(s, s->candidates, .4, &better));
        if (!better) SOW_TRY(attempt(s, 1, 0, &better));
        if (!better) return SOW_OK; /* as far as f64 goes */
        accept(s);
    }
    network_gradient(fit);
    return SOW_OK;
}

sow_status network_solve_exact(network_fit *fit, int64_t limit, sow_arena *arena, bool *full) {
    search s = {.fit = fit, .limit = limit < fit->pairs + fit->n ? limit : fit->pairs + fit->n};
    sow_mark mark = sow_arena_mark(arena);
    hollow *hollows;
    *full = false;
    SOW_TRY(SOW_NEW_RAW(arena, s.chosen, s.limit));
    SOW_TRY(SOW_NEW_RAW(arena, s.start, s.limit));
    SOW_TRY(SOW_NEW_RAW(arena, s.tried, fit->n));
    SOW_TRY(SOW_NEW_RAW(arena, s.row, 2 * s.limit));
    SOW_TRY(SOW_NEW_RAW(arena, s.old, 4 * s.limit));
    SOW_TRY(SOW_NEW(arena, s.in, fit->pairs));
    SOW_TRY(SOW_NEW_RAW(arena, hollows, fit->pairs));
    s.column = s.row + s.limit;
    s.now = s.old + s.limit, s.kept = s.now + s.limit, s.step = s.kept + s.limit;
    memset(fit->x, 0, (size_t)fit->pairs * sizeof *fit->x);
    sow_status status = rounds(&s, hollows, full);
    sow_release(s.factor.values);
    sow_arena_release(arena, mark);
    return status;
}
