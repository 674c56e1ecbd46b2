/* Assignment of individuals to populations from features that no label has touched: Georges-Filteau et al. 2020. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/log.h"
#include "starts/groups/mycorrhiza/individuals.h"

enum { NEIGHBOURS = 5 };

const char *sow_assigner_name(sow_assigner assigner) {
    static const char *const names[] = {"mycorrhiza", "pca+forest", "frequency test", "nearest", "admixture"};
    return names[assigner];
}

int32_t sow_best_class(const double *probabilities, int32_t classes) {
    int32_t best = 0;
    for (int32_t k = 1; k < classes; k++)
        if (probabilities[k] > probabilities[best]) best = k;
    return best;
}

/* ---- forests over parts ---- */

static sow_status forests(const sow_individuals *individuals, bool components, const int32_t *labels, int32_t classes,
                          const int64_t *learn, int64_t learn_count, const int64_t *predict, int64_t count,
                          uint64_t seed, sow_arena *arena, double *probabilities) {
    double *own;
    sow_mark mark = sow_arena_mark(arena);
    SOW_TRY(SOW_NEW_RAW(arena, own, count * classes));
    memset(probabilities, 0, (size_t)(count * classes) * sizeof *probabilities);
    for (int p = 0; p < individuals->parts; p++) {
        sow_forest *forest;
        sow_mark inner = sow_arena_mark(arena);
        const individuals_part *part = &individuals->part[p];
        const sow_features *features = components ? &part->components : &part->sides;
        sow_forest_config config = {
            .trees = individuals->config.trees, .bootstrap = true, .seed = seed * 1000003 + (uint64_t)p};
        SOW_TRY(sow_forest_fit(features, labels, classes, learn, learn_count, &config, arena, &forest));
        SOW_TRY(sow_forest_predict(forest, features, predict, count, own));
        for (int64_t i = 0; i < count * classes; i++) probabilities[i] += own[i] / individuals->parts;
        sow_arena_release(arena, inner);
    }
    sow_arena_release(arena, mark);
    return SOW_OK;
}

/* ---- nearest by distance, summed over parts ---- */

typedef struct near_one {
    double distance;
    int64_t index;
} near_one;

static int nearer(const void *a, const void *b) {
    const near_one *x = a, *y = b;
    if (x->distance != y->distance) return x->distance < y->distance ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static sow_status nearest(const sow_individuals *individuals, const int32_t *labels, int32_t classes,
                          const int64_t *learn, int64_t learn_count, const int64_t *predict, int64_t count,
                          sow_arena *arena, double *probabilities) {
    int64_t n = individuals->count, votes = learn_count < NEIGHBOURS ? learn_count : NEIGHBOURS;
    near_one *near;
    sow_mark mark = sow_arena_mark(arena);
    SOW_TRY(SOW_NEW_RAW(arena, near, learn_count));
    memset(probabilities, 0, (size_t)(count * classes) * sizeof *probabilities);
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < learn_count; j++) {
            near[j] = (near_one){0, learn[j]};
            for (int p = 0; p < individuals->parts; p++)
                near[j].distance += individuals->part[p].distances[predict[i] * n + learn[j]];
        }
        qsort(near, (size_t)learn_count, sizeof *near, nearer);
        for (int64_t v = 0; v < votes; v++) probabilities[i * classes + labels[near[v].index]] += 1 / (double)votes;
    }
    sow_arena_release(arena, mark);
    return SOW_OK;
}

/* ---- all of them ---- */

sow_status sow_assign(const sow_individuals *individuals, sow_assigner assigner, const int32_t *labels, int32_t classes,
                      const int64_t *learn, int64_t learn_count, const int64_t *predict, int64_t count, uint64_t seed,
                      sow_arena *arena, double *probabilities) {
    bool alleles = assigner == SOW_ASSIGN_FREQUENCY || assigner == SOW_ASSIGN_ADMIXTURE;
    if (alleles && !individuals->genotypes)
        return sow_fail(SOW_E_UNSUPPORTED, "%s needs genotypes, not distances", sow_assigner_name(assigner));
    if (alleles)
        return frequency_assign(individuals->genotypes, assigner == SOW_ASSIGN_ADMIXTURE, labels, classes, learn,
                                learn_count, predict, count, arena, probabilities);
    if (assigner == SOW_ASSIGN_NEIGHBOURS)
        return nearest(individuals, labels, classes, learn, learn_count, predict, count, arena, probabilities);
    for (int p = 0; assigner == SOW_ASSIGN_PCA && p < individuals->parts; p++)
        SOW_TRY(individuals_components((sow_individuals *)individuals, p)); /* a cache within */
    return forests(individuals, assigner == SOW_ASSIGN_PCA, labels, classes, learn, learn_count, predict, count, seed,
                   arena, probabilities);
}

/* ---- individuals outside the network ---- */

/* The place on the circle that explains an outsider's distances to the network's taxa best: as the copy of a taxon,
 * without that taxon's own splits, on a branch of its own of length w >= 0. between: [taxa, taxa] by the splits. */
static int64_t best_place(const sow_network *network, const double *between, const double *own, const double *to) {
    int64_t n = network->taxa, best = 0;
    double least = INFINITY;
    for (int64_t a = 0; a < n; a++) {
        double sum = 0, squares = 0;
        for (int64_t j = 0; j < n; j++) {
            double rest = to[j] - (j == a ? 0 : between[a * n + j] - own[a]);
            sum += rest, squares += rest * rest;
        }
        double branch = fmax(sum / (double)n, 0);
        double residual = squares - 2 * branch * sum + (double)n * branch * branch;
        if (residual < least) least = residual, best = a;
    }
    return network->place[best];
}

/* Distances along the splits, and the weight of each taxon's own split. */
static sow_status along_splits(const sow_network *network, sow_arena *arena, double **between, double **own) {
    int64_t n = network->taxa;
    SOW_TRY(SOW_NEW(arena, *between, n * n));
    SOW_TRY(SOW_NEW(arena, *own, n));
    for (int64_t s = 0; s < network->count; s++) {
        sow_split split = network->splits[s];
        bool one = split.last - split.first == 1;
        if (sow_split_trivial(network, split)) {
            int64_t place = one ? split.first : split.first > 0 ? 0 : n - 1;
            (*own)[network->circle[place]] += split.weight;
        }
        for (int64_t i = split.first; i < split.last; i++)
            for (int64_t j = 0; j < n; j++) {
                if (j >= split.first && j < split.last) continue;
                int64_t a = network->circle[i], b = network->circle[j];
                (*between)[a * n + b] += split.weight, (*between)[b * n + a] += split.weight;
            }
    }
    return SOW_OK;
}

static sow_status place_outsiders(const individuals_part *all, const sow_network *network, int64_t individuals,
                                  const int64_t *learn, const int64_t *predict, int64_t count, sow_arena *arena,
                                  int64_t *place) {
    double *between, *own, *to;
    SOW_TRY(along_splits(network, arena, &between, &own));
    SOW_TRY(SOW_NEW_RAW(arena, to, network->taxa));
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < network->taxa; j++) to[j] = all->distances[predict[i] * individuals + learn[j]];
        place[i] = best_place(network, between, own, to);
    }
    return SOW_OK;
}

sow_status sow_assign_outside(const sow_genotypes *g, const sow_mycorrhiza_config *config, const int32_t *labels,
                              int32_t classes, const int64_t *learn, int64_t learn_count, const int64_t *predict,
                              int64_t count, sow_arena *arena, double *probabilities) {
    individuals_part *parts;
    double *within, *own;
    int64_t *place;
    int32_t *known;
    SOW_TRY(individuals_cut_loci(g, config, arena, &parts));
    SOW_TRY(SOW_NEW_RAW(arena, within, learn_count * learn_count));
    SOW_TRY(SOW_NEW_RAW(arena, own, count * classes));
    SOW_TRY(SOW_NEW_RAW(arena, place, count));
    SOW_TRY(SOW_NEW_RAW(arena, known, learn_count));
    for (int64_t i = 0; i < learn_count; i++) known[i] = labels[learn[i]];
    memset(probabilities, 0, (size_t)(count * classes) * sizeof *probabilities);
    for (int p = 0; p < config->partitions; p++) {
        sow_network network;
        sow_features of_learned, of_others;
        sow_forest *forest;
        sow_forest_config trees = {
            .trees = config->trees, .bootstrap = true, .seed = config->seed * 1000003 + (uint64_t)p};
        SOW_TRY(individuals_measure(g, config, &parts[p], arena));
        for (int64_t i = 0; i < learn_count; i++)
            for (int64_t j = 0; j < learn_count; j++)
                within[i * learn_count + j] = parts[p].distances[learn[i] * g->individuals + learn[j]];
        SOW_TRY(sow_neighbornet(learn_count, within, &config->net, arena, &network));
        SOW_TRY(place_outsiders(&parts[p], &network, g->individuals, learn, predict, count, arena, place));
        SOW_TRY(individuals_sides(&network, true, network.place, learn_count, arena, &of_learned));
        SOW_TRY(individuals_sides(&network, true, place, count, arena, &of_others));
        SOW_TRY(sow_forest_fit(&of_learned, known, classes, NULL, 0, &trees, arena, &forest));
        SOW_TRY(sow_forest_predict(forest, &of_others, NULL, 0, own));
        for (int64_t i = 0; i < count * classes; i++) probabilities[i] += own[i] / config->partitions;
    }
    return SOW_OK;
}

/* ---- cross-validation ---- */

/* fold[i] of each labelled individual: every population is shuffled and dealt out, going on where the last one ended. */
static sow_status deal_folds(int64_t n, const int32_t *labels, int32_t classes, int folds, uint64_t seed, int repeat,
                             sow_arena *arena, int32_t *fold) {
    int64_t *members, *order, next = 0;
    sow_rng rng;
    sow_mark mark = sow_arena_mark(arena);
    SOW_TRY(SOW_NEW_RAW(arena, members, n));
    SOW_TRY(SOW_NEW_RAW(arena, order, n));
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    sow_rng_at_index(&rng, "folds", (uint64_t)repeat);
    for (int32_t k = 0; k < classes; k++) {
        int64_t size = 0;
        for (int64_t i = 0; i < n; i++)
            if (labels[i] == k) members[size++] = i;
        if (size > 0 && size < folds)
            return sow_fail(SOW_E_RANGE, "population %d has %lld individuals, fewer than the %d folds (--folds %lld)",
                            k + 1, (long long)size, folds, (long long)(size > 1 ? size : 2));
        sow_rng_permutation(&rng, order, size);
        for (int64_t i = 0; i < size; i++) fold[members[order[i]]] = (int32_t)(next++ % folds);
    }
    sow_arena_release(arena, mark);
    return SOW_OK;
}

sow_status sow_assign_cross(const sow_individuals *individuals, sow_assigner assigner, const int32_t *labels,
                            int32_t classes, int folds, int repeats, uint64_t seed, sow_arena *arena,
                            double *probabilities, double *hits, double *accuracy) {
    int64_t n = individuals->count, *learn, *predict, labelled = 0;
    int32_t *fold;
    double *own;
    SOW_TRY(SOW_NEW(arena, fold, n));
    SOW_TRY(SOW_NEW_RAW(arena, learn, 2 * n));
    SOW_TRY(SOW_NEW_RAW(arena, own, n * classes));
    predict = learn + n;
    memset(probabilities, 0, (size_t)(n * classes) * sizeof *probabilities);
    memset(hits, 0, (size_t)n * sizeof *hits);
    for (int64_t i = 0; i < n; i++) labelled += labels[i] >= 0;
    for (int r = 0; r < repeats; r++) {
        accuracy[r] = 0;
        SOW_TRY(deal_folds(n, labels, classes, folds, seed, r, arena, fold));
        for (int f = 0; f < folds; f++) {
            int64_t known = 0, asked = 0;
            for (int64_t i = 0; i < n; i++)
                if (labels[i] >= 0 && fold[i] == f) predict[asked++] = i;
                else if (labels[i] >= 0) learn[known++] = i;
            SOW_TRY(sow_check_interrupt());
            SOW_TRY(sow_assign(individuals, assigner, labels, classes, learn, known, predict, asked,
                               seed * 1009 + (uint64_t)(r * folds + f), arena, own));
            for (int64_t i = 0; i < asked; i++) {
                bool right = sow_best_class(own + i * classes, classes) == labels[predict[i]];
                hits[predict[i]] += right / (double)repeats;
                accuracy[r] += right / (double)labelled;
                for (int32_t k = 0; k < classes; k++)
                    probabilities[predict[i] * classes + k] += own[i * classes + k] / repeats;
            }
            sow_progress(sow_assigner_name(assigner), r * folds + f + 1, repeats * folds);
        }
    }
    return SOW_OK;
}
