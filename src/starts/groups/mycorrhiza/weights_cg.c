/* Non-negative split weights by the active set of SplitsTree6 (Bryant and Huson 2023): conjugate gradients on what is free. */
#include <math.h>
#include <string.h>

#include "base/clones.h"
#include "sow/log.h"
#include "sow/stats.h"
#include "starts/groups/mycorrhiza/network.h"

enum { ROUNDS_MAX = 1000 };

typedef struct active_set {
    network_fit *fit;
    bool *free;
    double *next, *direction, *image, *residual, *normal; /* [pairs] */
    double *steps;
} active_set;

SOW_CLONES static double square_of(const double *x, int64_t n) {
    double part[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) part[k] += x[i + k] * x[i + k];
    for (; i < n; i++) part[0] += x[i] * x[i];
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

SOW_CLONES static void add_times(double *restrict to, double factor, const double *restrict from, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] += factor * from[i];
}

SOW_CLONES static void extend(double *restrict direction, double factor, const double *restrict normal, int64_t n) {
    for (int64_t i = 0; i < n; i++) direction[i] = normal[i] + factor * direction[i];
}

/* |x|^2 with the fit's weights. */
static double length_of(const network_fit *fit, const double *x) {
    double sum = 0;
    if (!fit->weights) return square_of(x, fit->pairs);
    for (int64_t p = 0; p < fit->pairs; p++) sum += fit->weights[p] * x[p] * x[p];
    return sum;
}

/* What the objective falls by along each free split: A^T W r - penalty. */
static void masked_normal(active_set *a) {
    network_normal(a->fit, a->residual, a->normal);
    for (int64_t p = 0; p < a->fit->pairs; p++) a->normal[p] = a->free[p] ? a->normal[p] - a->fit->penalty : 0;
}

/* CGNR from `next` over the free splits, until |masked A^T r|^2 is below half the bound's square. */
static sow_status minimise(active_set *a) {
    network_fit *fit = a->fit;
    int64_t n = fit->n, pairs = fit->pairs, most = pairs > 50 ? pairs : 50;
    double goal = fit->bound * fit->bound / 2;
    network_distances(n, a->next, a->residual, fit->sums);
    for (int64_t p = 0; p < pairs; p++) a->residual[p] = fit->d[p] - a->residual[p];
    masked_normal(a);
    memcpy(a->direction, a->normal, (size_t)pairs * sizeof *a->direction);
    double size = square_of(a->normal, pairs);
    for (int64_t step = 0; step < most && size >= goal; step++) {
        network_distances(n, a->direction, a->image, fit->sums);
        double alpha = size / length_of(fit, a->image);
        add_times(a->next, alpha, a->direction, pairs);
        add_times(a->residual, -alpha, a->image, pairs);
        masked_normal(a);
        double now = square_of(a->normal, pairs);
        extend(a->direction, now / size, a->normal, pairs);
        size = now;
        if (step % 64 == 0) SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}

/* Moves x towards `next` until the first split reaches zero, and binds the 40 % that reach it first. Whether any did. */
static bool bind(active_set *a) {
    network_fit *fit = a->fit;
    int64_t negatives = 0;
    for (int64_t p = 0; p < fit->pairs; p++)
        if (a->free[p] && a->next[p] < 0) a->steps[negatives++] = fit->x[p] / (fit->x[p] - a->next[p]);
    if (negatives == 0) return false;
    double bar = sow_select(a->steps, negatives, (int64_t)ceil(.4 * (double)negatives) - 1), t = bar;
    for (int64_t i = 0; i < negatives; i++) t = fmin(t, a->steps[i]);
    for (int64_t p = 0; p < fit->pairs; p++) {
        if (!a->free[p]) continue;
        if (a->next[p] < 0 && fit->x[p] / (fit->x[p] - a->next[p]) <= bar) a->free[p] = false, fit->x[p] = 0;
        else fit->x[p] = fmax((1 - t) * fit->x[p] + t * a->next[p], 0);
        a->next[p] = fit->x[p];
    }
    return true;
}

static sow_status rounds(active_set *a) {
    network_fit *fit = a->fit;
    for (; fit->rounds < ROUNDS_MAX; fit->rounds++) {
        do {
            memcpy(a->next, fit->x, (size_t)fit->pairs * sizeof *a->next);
            SOW_TRY(minimise(a));
        } while (bind(a));
        memcpy(fit->x, a->next, (size_t)fit->pairs * sizeof *fit->x);
        network_gradient(fit);
        if (fit->violation <= fit->bound) return SOW_OK;
        int64_t steepest = -1;
        for (int64_t p = 0; p < fit->pairs; p++)
            if (!a->free[p] && fit->gradient[p] < (steepest < 0 ? 0 : fit->gradient[steepest])) steepest = p;
        if (steepest < 0) return SOW_OK; /* conjugate gradients could not do better */
        a->free[steepest] = true;
    }
    return SOW_OK;
}

sow_status network_solve_cg(network_fit *fit, sow_arena *arena) {
    active_set a = {.fit = fit};
    sow_mark mark = sow_arena_mark(arena);
    double **vectors[] = {&a.next, &a.direction, &a.image, &a.residual, &a.normal, &a.steps};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) SOW_TRY(SOW_NEW_RAW(arena, *vectors[i], fit->pairs));
    SOW_TRY(SOW_NEW_RAW(arena, a.free, fit->pairs));
    network_unbounded(fit->n, fit->d, fit->x);
    for (int64_t p = 0; p < fit->pairs; p++) {
        a.free[p] = fit->x[p] > 0;
        if (!a.free[p]) fit->x[p] = 0;
    }
    sow_status status = rounds(&a);
    sow_arena_release(arena, mark);
    return status;
}
