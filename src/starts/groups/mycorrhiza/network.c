/* Neighbor-Net: a circle of taxa and the weights of its splits. Bryant and Moulton 2004, Mol. Biol. Evol. 21:255. */
#include "starts/groups/mycorrhiza/network.h"

#include <math.h>
#include <string.h>

#include "sow/log.h"

/* Above these many positive splits a dense factor is no longer the cheaper way; nor where most unbounded weights are
 * positive, since then most splits stay. */
enum { DENSE_MIN = 3000, DENSE_A_TAXON = 8 };
static const double most_positive = .62;

sow_neighbornet_config sow_neighbornet_defaults(void) {
    return (sow_neighbornet_config){.tolerance = 1e-7, .threshold = 1e-6};
}

static sow_status check_distances(int64_t n, const double *d) {
    if (n < 2) return sow_fail(SOW_E_RANGE, "a network needs two taxa at least, found %lld", (long long)n);
    if (n > 20000)
        return sow_fail(SOW_E_RANGE, "%lld taxa, expected at most 20000: memory grows with their square", (long long)n);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double x = d[i * n + j], y = d[j * n + i];
            long long a = (long long)i, b = (long long)j;
            if (!isfinite(x) || !isfinite(y))
                return sow_fail(SOW_E_NUMBER, "distance of %lld and %lld is not a finite number", a, b);
            if (x < 0) return sow_fail(SOW_E_FORMAT, "distance of %lld and %lld is %g, expected none below 0", a, b, x);
            if (i == j && x != 0) return sow_fail(SOW_E_FORMAT, "distance of %lld to itself is %g, expected 0", a, x);
            if (fabs(x - y) > 1e-9 * fmax(fabs(x), fabs(y)))
                return sow_fail(SOW_E_FORMAT, "distances are not symmetric: %g from %lld to %lld, %g back", x, a, b, y);
        }
    return SOW_OK;
}

/* 1 / d^power, where d = 0 with the smallest other distance. */
static sow_status weigh(network_fit *fit, int power, sow_arena *arena) {
    double least = INFINITY;
    for (int64_t p = 0; p < fit->pairs; p++)
        if (fit->d[p] > 0) least = fmin(least, fit->d[p]);
    if (power == 0 || !isfinite(least)) return SOW_OK;
    SOW_TRY(SOW_NEW_RAW(arena, fit->weights, fit->pairs));
    SOW_TRY(SOW_NEW_RAW(arena, fit->weighted, fit->pairs));
    /* relative to the smallest, so that nothing overflows: a common factor changes nothing */
    for (int64_t p = 0; p < fit->pairs; p++) fit->weights[p] = pow(least / fmax(fit->d[p], least), power);
    return SOW_OK;
}

/* The fit's vectors, and what ends it. */
static sow_status begin(network_fit *fit, const sow_neighbornet_config *config, sow_arena *arena) {
    double sum = 0, most = 0;
    SOW_TRY(weigh(fit, config->power, arena));
    SOW_TRY(SOW_NEW_RAW(arena, fit->x, fit->pairs));
    SOW_TRY(SOW_NEW_RAW(arena, fit->target, fit->pairs));
    SOW_TRY(SOW_NEW_RAW(arena, fit->gradient, fit->pairs));
    SOW_TRY(SOW_NEW_RAW(arena, fit->residual, fit->pairs));
    SOW_TRY(SOW_NEW(arena, fit->sums, fit->n));
    network_normal(fit, fit->d, fit->target);
    for (int64_t p = 0; p < fit->pairs; p++) most = fmax(most, fit->target[p]);
    fit->penalty = config->sparsity * most;
    for (int64_t p = 0; p < fit->pairs; p++) sum += pow(fmax(fit->target[p] - fit->penalty, 0), 2);
    fit->bound = config->tolerance * sqrt(sum);
    return SOW_OK;
}

/* Whether the unbounded weights are feasible, up to rounding: then they are the answer. */
static bool feasible(network_fit *fit, double *positive) {
    double largest = 0, least = 0;
    int64_t above = 0;
    network_unbounded(fit->n, fit->d, fit->x);
    for (int64_t p = 0; p < fit->pairs; p++) {
        largest = fmax(largest, fit->d[p]);
        least = fmin(least, fit->x[p]);
        above += fit->x[p] > 1e-12 * fit->d[p];
    }
    *positive = (double)above / (double)fit->pairs;
    if (least < -1e-12 * largest) return false;
    for (int64_t p = 0; p < fit->pairs; p++) fit->x[p] = fmax(fit->x[p], 0);
    network_gradient(fit);
    return true;
}

static sow_status solve(network_fit *fit, sow_split_solver solver, sow_arena *arena) {
    int64_t limit = DENSE_A_TAXON * fit->n > DENSE_MIN ? DENSE_A_TAXON * fit->n : DENSE_MIN;
    double positive;
    bool full = false;
    if (fit->penalty > 0 || (fit->weights && !feasible(fit, &positive))) return network_solve_cg(fit, arena);
    if (fit->weights || feasible(fit, &positive)) return SOW_OK;
    if (solver == SOW_SPLITS_AUTO && fit->pairs > DENSE_MIN && positive > most_positive) solver = SOW_SPLITS_CG;
    if (solver == SOW_SPLITS_EXACT) limit = fit->pairs + fit->n;
    if (solver != SOW_SPLITS_CG) SOW_TRY(network_solve_exact(fit, limit, arena, &full));
    if (solver == SOW_SPLITS_CG || full) {
        fit->rounds = 0;
        SOW_TRY(network_solve_cg(fit, arena));
    }
    return SOW_OK;
}

static sow_status keep_splits(const network_fit *fit, double threshold, sow_arena *arena, sow_network *out) {
    int64_t n = fit->n;
    out->count = 0;
    for (int64_t p = 0; p < fit->pairs; p++) out->count += fit->x[p] > threshold;
    SOW_TRY(SOW_NEW(arena, out->splits, out->count));
    sow_split *split = out->splits;
    for (int64_t k = 1; k < n; k++)
        for (int64_t i = 0; i + k < n; i++) {
            double weight = fit->x[network_diagonal(n, k) + i];
            if (weight > threshold) *split++ = (sow_split){i, i + k, weight};
        }
    return SOW_OK;
}

static void measure(const network_fit *fit, sow_network *out) {
    double left = 0, all = 0;
    for (int64_t p = 0; p < fit->pairs; p++) {
        left += fit->residual[p] * fit->residual[p];
        all += fit->d[p] * fit->d[p];
    }
    out->fit = all > 0 ? 100 * (1 - left / all) : 100;
    out->residual = sqrt(left);
    out->rounds = fit->rounds;
    out->settled = fit->violation <= fit->bound;
}

sow_status sow_split_weights(int64_t n, const double *distances, const int64_t *circle,
                             const sow_neighbornet_config *config, sow_arena *arena, sow_network *out) {
    network_fit fit = {.n = n, .pairs = network_pairs(n)};
    SOW_TRY(check_distances(n, distances));
    if (config->power < 0 || config->power > 2 || !(config->sparsity >= 0 && config->sparsity < 1))
        return sow_fail(SOW_E_RANGE, "network: power %d and sparsity %g, expected 0 to 2, and 0 to below 1",
                        config->power, config->sparsity);
    *out = (sow_network){.taxa = n};
    SOW_TRY(SOW_NEW(arena, out->circle, n));
    SOW_TRY(SOW_NEW(arena, out->place, n));
    for (int64_t i = 0; i < n; i++) out->place[i] = -1;
    for (int64_t i = 0; i < n; i++) {
        if (circle[i] < 0 || circle[i] >= n || out->place[circle[i]] >= 0)
            return sow_fail(SOW_E_RANGE, "circle: place %lld holds %lld, expected each of 0 to %lld once", (long long)i,
                            (long long)circle[i], (long long)n - 1);
        out->circle[i] = circle[i], out->place[circle[i]] = i;
    }
    sow_arena *scratch;
    SOW_TRY(sow_arena_new(&scratch));
    double *d = sow_arena_take_raw(scratch, (size_t)fit.pairs, sizeof *d);
    fit.d = d;
    for (int64_t k = 1; d && k < n; k++)
        for (int64_t i = 0; i + k < n; i++) *d++ = distances[circle[i] * n + circle[i + k]];
    sow_status status = d ? begin(&fit, config, scratch) : SOW_E_MEMORY;
    if (!status) status = solve(&fit, config->solver, scratch);
    if (!status) status = keep_splits(&fit, config->threshold, arena, out);
    if (!status) {
        double scale = config->tolerance > 0 ? fit.bound / config->tolerance : 0;
        measure(&fit, out);
        out->violation = scale > 0 ? fit.violation / scale : 0;
    }
    sow_arena_free(scratch);
    return status;
}

sow_status sow_neighbornet(int64_t n, const double *distances, const sow_neighbornet_config *config, sow_arena *arena,
                           sow_network *out) {
    int64_t *circle;
    SOW_TRY(check_distances(n, distances));
    SOW_TRY(SOW_NEW(arena, circle, n));
    SOW_TRY(network_circle(n, distances, config->reduction, arena, circle));
    return sow_split_weights(n, distances, circle, config, arena, out);
}
