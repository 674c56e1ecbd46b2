/* EVA: a total of ranks shared out by what components explain. */
#include <math.h>
#include <stdlib.h>

#include "starts/adapters/eva/eva.h"

typedef struct entry {
    double score;
    int64_t layer, component;
} entry;

static int by_score(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    return x->component < y->component ? -1 : x->component > y->component;
}

sow_status sow_rank_distribute(const double *const *scores, const int64_t *counts, int64_t layers, int64_t budget,
                               int64_t *ranks) {
    int64_t all = 0, positive = 0;
    for (int64_t i = 0; i < layers; i++) {
        all += counts[i];
        ranks[i] = 0;
    }
    entry *list = sow_reallocate(NULL, (size_t)(all + 1) * sizeof *list);
    if (!list) return SOW_E_MEMORY;
    for (int64_t i = 0; i < layers; i++)
        for (int64_t j = 0; j < counts[i]; j++)
            if (scores[i][j] > 0) list[positive++] = (entry){scores[i][j], i, j};
    qsort(list, (size_t)positive, sizeof *list, by_score);
    for (int64_t i = 0; i < positive && i < budget; i++) ranks[list[i].layer]++;
    sow_release(list);
    return SOW_OK;
}

int64_t eva_components(const sow_eva_config *config, double rho, int64_t in) {
    double most = rint((double)config->rank * rho); /* half to even, as Python rounds */
    return most < (double)in ? (int64_t)most : in;
}

/* Scores of one layer's components; what is rounding beside the first gets 0. */
static void score(sow_eva_metric metric, const sow_eva_layer *l, int64_t count, double *out) {
    double total = 0, first = l->singular[0];
    for (int64_t j = 0; j < count; j++) total += l->singular[j] * l->singular[j];
    for (int64_t j = 0; j < count; j++) {
        double square = l->singular[j] * l->singular[j];
        double value = metric == SOW_EVA_RATIO ? l->ratio[j]
                       : metric == SOW_EVA_RAW ? square / (double)(l->rows > 1 ? l->rows - 1 : 1)
                       : metric == SOW_EVA_SUM ? square / total
                                               : square / (first * first);
        out[j] = l->singular[j] > 1e-6 * first ? value : 0;
    }
}

sow_status sow_eva_ranks_for(const sow_eva_config *config, const sow_eva_report *report, double rho, int64_t *ranks) {
    int64_t layers = report->count, all = 0, *counts;
    const double **scores;
    double *values;
    sow_arena *arena;
    for (int64_t i = 0; i < layers; i++) {
        int64_t want = eva_components(config, rho, report->layers[i].in);
        all += want;
        if (want > report->layers[i].count)
            return sow_fail(SOW_E_RANGE, "rho %g needs %lld components of %s, %lld were followed", rho, (long long)want,
                            report->layers[i].module, (long long)report->layers[i].count);
    }
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = SOW_NEW(arena, counts, layers + 1);
    if (status == SOW_OK) status = SOW_NEW(arena, scores, layers + 1);
    if (status == SOW_OK) status = SOW_NEW(arena, values, all + 1);
    for (int64_t i = 0, at = 0; status == SOW_OK && i < layers; at += counts[i++]) {
        counts[i] = eva_components(config, rho, report->layers[i].in);
        scores[i] = values + at;
        score(config->metric, &report->layers[i], counts[i], values + at);
    }
    if (status == SOW_OK) status = sow_rank_distribute(scores, counts, layers, report->budget, ranks);
    sow_arena_free(arena);
    return status;
}
