/* Drawings: the split network as the dual of its chords on the circle, and mixtures as stacked bars. */
#include "starts/groups/mycorrhiza/draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/log.h"

enum { CHORDS_MAX = 500 };

typedef struct point {
    double x, y;
} point;

/* A split as a chord between two places of the circle's rim, and as a step of the drawing. */
typedef struct chord {
    point a, b, step;
    double from, to; /* angles */
} chord;

typedef struct drawing {
    chord *chords;
    int64_t count, segments, room;
    double *x, *y, *x2, *y2; /* segments */
} drawing;

/* Chords that share a gap of the rim leave it in an order in which they do not cross; gaps are not quite even, so that
 * no three chords meet in a point. */
static double rim_angle(int64_t n, int64_t boundary, int64_t other) {
    int64_t ahead = (other - boundary + n) % n;
    double wobble = .1 * sin(1.7 * (double)boundary * (double)boundary);
    return 2 * M_PI * ((double)boundary + wobble + .7 * (.5 - (double)ahead / (double)n)) / (double)n;
}

static chord make_chord(int64_t n, sow_split split) {
    chord c = {.from = rim_angle(n, split.first, split.last % n), .to = rim_angle(n, split.last % n, split.first)};
    double middle = M_PI * (double)(split.first + split.last) / (double)n;
    c.a = (point){cos(c.from), sin(c.from)}, c.b = (point){cos(c.to), sin(c.to)};
    c.step = (point){split.weight * cos(middle), split.weight * sin(middle)};
    return c;
}

/* Positive on the side of the split's taxa, which lie counter-clockwise from a to b. */
static double side_of(const chord *c, point p) {
    return (p.x - c->a.x) * (c->b.y - c->a.y) - (p.y - c->a.y) * (c->b.x - c->a.x);
}

/* Where a point between the chords is drawn: the sum of the steps of all splits on whose side it is. */
static point drawn_at(const drawing *d, point p, int64_t but) {
    point sum = {0, 0};
    for (int64_t c = 0; c < d->count; c++)
        if (c != but && side_of(&d->chords[c], p) > 0) sum.x += d->chords[c].step.x, sum.y += d->chords[c].step.y;
    return sum;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A chord's pieces between its crossings are the parallel edges of its split. */
static void draw_chord(drawing *d, int64_t which, double *at) {
    const chord *c = &d->chords[which];
    int64_t crossings = 0;
    at[crossings++] = 0;
    for (int64_t o = 0; o < d->count; o++) {
        double first = side_of(&d->chords[o], c->a), second = side_of(&d->chords[o], c->b);
        bool cross = o != which && first * second < 0 && side_of(c, d->chords[o].a) * side_of(c, d->chords[o].b) < 0;
        if (cross) at[crossings++] = first / (first - second);
    }
    at[crossings++] = 1;
    qsort(at, (size_t)crossings, sizeof *at, rising);
    for (int64_t i = 0; i + 1 < crossings && d->segments < d->room; i++) {
        double t = (at[i] + at[i + 1]) / 2;
        point middle = {c->a.x + t * (c->b.x - c->a.x), c->a.y + t * (c->b.y - c->a.y)};
        point from = drawn_at(d, middle, which);
        d->x[d->segments] = from.x, d->y[d->segments] = from.y;
        d->x2[d->segments] = from.x + c->step.x, d->y2[d->segments++] = from.y + c->step.y;
    }
}

static int heavier(const void *a, const void *b) {
    const sow_split *x = a, *y = b;
    if (x->weight != y->weight) return x->weight < y->weight ? 1 : -1;
    return x->first != y->first ? (x->first > y->first) - (x->first < y->first)
                                : (x->last > y->last) - (x->last < y->last);
}

/* All splits of one taxon, and of the others the heaviest. */
static sow_status choose_chords(const sow_network *network, sow_arena *arena, drawing *d) {
    sow_split *sorted;
    int64_t inner = 0;
    SOW_TRY(SOW_NEW_RAW(arena, sorted, network->count));
    SOW_TRY(SOW_NEW(arena, d->chords, network->count));
    memcpy(sorted, network->splits, (size_t)network->count * sizeof *sorted);
    qsort(sorted, (size_t)network->count, sizeof *sorted, heavier);
    for (int64_t s = 0; s < network->count; s++) {
        if (!sow_split_trivial(network, sorted[s]) && inner++ >= CHORDS_MAX) continue;
        d->chords[d->count++] = make_chord(network->taxa, sorted[s]);
    }
    if (inner > CHORDS_MAX)
        sow_note("the drawing has the %d heaviest of %lld inner splits", CHORDS_MAX, (long long)inner);
    return SOW_OK;
}

static sow_status draw_edges(const sow_network *network, sow_arena *arena, drawing *d) {
    double *at;
    SOW_TRY(choose_chords(network, arena, d));
    d->room = d->count * (d->count + 1);
    d->room = d->room < 200000 ? d->room : 200000;
    SOW_TRY(SOW_NEW(arena, d->x, 4 * (d->room + 1)));
    SOW_TRY(SOW_NEW(arena, at, d->count + 2));
    d->y = d->x + d->room + 1, d->x2 = d->y + d->room + 1, d->y2 = d->x2 + d->room + 1;
    for (int64_t c = 0; c < d->count; c++) draw_chord(d, c, at);
    return SOW_OK;
}

/* Where the individuals of one population stand. */
static sow_status place_taxa(const sow_network *network, const drawing *d, const int32_t *labels, int32_t k,
                             const char *name, sow_arena *arena, sow_series *out) {
    double *x, *y;
    int64_t count = 0, n = network->taxa;
    SOW_TRY(SOW_NEW(arena, x, n));
    SOW_TRY(SOW_NEW(arena, y, n));
    for (int64_t t = 0; t < n; t++) {
        if (labels && labels[t] != k) continue;
        double angle = 2 * M_PI * ((double)network->place[t] + .5) / (double)n;
        point at = drawn_at(d, (point){cos(angle), sin(angle)}, -1);
        x[count] = at.x, y[count++] = at.y;
    }
    *out = (sow_series){.name = name, .drawing = SOW_DRAW_POINTS, .x = x, .y = y, .count = count};
    return SOW_OK;
}

sow_status draw_network(const char *path, const sow_network *network, const char *const *names, const int32_t *labels,
                        const char *const *populations, int32_t population_count, sow_arena *arena) {
    drawing d = {0};
    sow_series *series;
    int32_t groups = labels ? population_count : 1;
    SOW_TRY(draw_edges(network, arena, &d));
    SOW_TRY(SOW_NEW(arena, series, groups + 2));
    series[0] = (sow_series){
        .drawing = SOW_DRAW_SEGMENTS, .x = d.x, .y = d.y, .x2 = d.x2, .y2 = d.y2, .count = d.segments};
    int count = 1;
    for (int32_t k = labels ? -1 : 0; k < groups; k++) {
        const char *name = labels ? k < 0 ? "unknown" : populations[k] : NULL;
        SOW_TRY(place_taxa(network, &d, labels, k, name, arena, &series[count]));
        if (!labels && network->taxa <= 40) { /* in the order of place_taxa */
            series[count].labels = names;
        }
        count += series[count].count > 0;
    }
    sow_plot plot = {.title = "Split network",
                     .says = sow_arena_format(arena, "%lld individuals, %lld splits, fit %.2f %%.",
                                              (long long)network->taxa, (long long)network->count, network->fit),
                     .x = {.hidden = true},
                     .y = {.hidden = true},
                     .series = series,
                     .count = count,
                     .width = 900,
                     .height = 700,
                     .equal = true};
    return sow_plot_write(path, &plot);
}

/* ---- mixtures ---- */

typedef struct bar {
    int32_t group;
    double own;
    int64_t index;
} bar;

static int in_order(const void *a, const void *b) {
    const bar *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    if (x->own != y->own) return x->own > y->own ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

sow_status draw_mixture(const char *path, const double *probabilities, int64_t n, const int32_t *labels,
                        const char *const *populations, int32_t population_count, sow_arena *arena) {
    bar *bars;
    double *x, *y;
    sow_series *series;
    SOW_TRY(SOW_NEW(arena, bars, n));
    SOW_TRY(SOW_NEW(arena, x, n));
    SOW_TRY(SOW_NEW(arena, y, n * population_count));
    SOW_TRY(SOW_NEW(arena, series, population_count));
    for (int64_t i = 0; i < n; i++) {
        const double *row = probabilities + i * population_count;
        int32_t group = labels[i] >= 0 ? labels[i] : population_count + sow_best_class(row, population_count);
        bars[i] = (bar){group, row[group % population_count], i};
    }
    qsort(bars, (size_t)n, sizeof *bars, in_order);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (double)i;
        for (int32_t k = 0; k < population_count; k++)
            y[k * n + i] = probabilities[bars[i].index * population_count + k];
    }
    for (int32_t k = 0; k < population_count; k++)
        series[k] = (sow_series){.name = populations[k], .drawing = SOW_DRAW_BARS, .x = x, .y = y + k * n, .count = n};
    sow_plot plot = {.title = "Assignment of individuals",
                     .says = sow_arena_format(arena, "%lld individuals by their labelled population, %d populations.",
                                              (long long)n, population_count),
                     .x = {.label = "individuals by labelled population"},
                     .y = {.label = "probability"},
                     .series = series,
                     .count = population_count,
                     .width = 1000,
                     .height = 360};
    return sow_plot_write(path, &plot);
}
