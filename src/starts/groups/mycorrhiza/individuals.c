/* Features of individuals before any label is read: distances, networks, sides of splits, principal components. */
#include "starts/groups/mycorrhiza/individuals.h"

#include <math.h>
#include <string.h>

#include "sow/linalg.h"
#include "sow/log.h"

enum { COMPONENTS_MAX = 50 };

sow_mycorrhiza_config sow_mycorrhiza_defaults(void) {
    return (sow_mycorrhiza_config){
        .partitions = 1, .drop_trivial = true, .trees = 60, .net = sow_neighbornet_defaults()};
}

sow_status individuals_cut_loci(const sow_genotypes *g, const sow_mycorrhiza_config *config, sow_arena *arena,
                                individuals_part **parts) {
    int64_t *order, wanted = config->loci > 0 ? config->loci : g->loci, next = 0;
    sow_rng rng;
    if (wanted > g->loci)
        return sow_fail(SOW_E_ARGUMENT, "%lld loci asked for, the data have %lld", (long long)wanted,
                        (long long)g->loci);
    if (config->partitions < 1 || config->partitions > wanted)
        return sow_fail(SOW_E_ARGUMENT, "%d partitions of %lld loci, expected one locus each at least",
                        config->partitions, (long long)wanted);
    SOW_TRY(SOW_NEW_RAW(arena, order, g->loci));
    SOW_TRY(SOW_NEW(arena, *parts, config->partitions));
    for (int64_t l = 0; l < g->loci; l++) order[l] = l;
    if (wanted < g->loci || config->partitions > 1) {
        SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, config->seed));
        sow_rng_at(&rng, "mycorrhiza", "loci");
        sow_rng_permutation(&rng, order, g->loci);
    }
    for (int p = 0; p < config->partitions; p++) {
        (*parts)[p].loci = order + next;
        (*parts)[p].count = wanted / config->partitions + (p < wanted % config->partitions);
        next += (*parts)[p].count;
    }
    return SOW_OK;
}

sow_status individuals_measure(const sow_genotypes *g, const sow_mycorrhiza_config *config, individuals_part *part,
                               sow_arena *arena) {
    sow_distance_notes notes;
    int64_t n = g->individuals, square;
    SOW_TRY(sow_multiply(n, n, &square));
    SOW_TRY(SOW_NEW_RAW(arena, part->distances, square));
    SOW_TRY(sow_genotype_distances(g, config->distance, part->loci, part->count, config->first_copy_only,
                                   part->distances, &notes));
    int64_t bad = notes.saturated + notes.empty;
    if (bad == 0) return SOW_OK;
    if (config->partitions == 1)
        sow_warn("%lld pairs are saturated and %lld have no locus in common%s", (long long)notes.saturated,
                 (long long)notes.empty, config->cap > 0 ? ": capped" : ": distances of 100 rule the fit (--cap 1.5)");
    for (int64_t i = 0; config->cap > 0 && notes.largest > 0 && i < n * n; i++)
        if (part->distances[i] >= 100) part->distances[i] = config->cap * notes.largest;
    return SOW_OK;
}

sow_status individuals_sides(const sow_network *network, bool drop_trivial, const int64_t *place, int64_t count,
                             sow_arena *arena, sow_features *out) {
    int64_t words = sow_feature_words(count), kept = 0;
    uint64_t *bits;
    for (int64_t s = 0; s < network->count; s++)
        kept += !(drop_trivial && sow_split_trivial(network, network->splits[s]));
    SOW_TRY(SOW_NEW(arena, bits, kept * words));
    *out = (sow_features){.samples = count, .count = kept, .bits = bits};
    for (int64_t s = 0; s < network->count; s++) {
        sow_split split = network->splits[s];
        if (drop_trivial && sow_split_trivial(network, split)) continue;
        for (int64_t i = 0; i < count; i++)
            bits[i / 64] |= (uint64_t)(place[i] >= split.first && place[i] < split.last) << (i % 64);
        bits += words;
    }
    return SOW_OK;
}

sow_status individuals_components(sow_individuals *individuals, int number) {
    individuals_part *part = &individuals->part[number];
    int64_t n = individuals->count, kept = n < COMPONENTS_MAX ? n : COMPONENTS_MAX;
    double *centred, *u, *s, *values;
    if (part->components.count > 0) return SOW_OK;
    SOW_TRY(SOW_NEW_RAW(individuals->arena, values, kept * n));
    sow_mark mark = sow_arena_mark(individuals->arena);
    SOW_TRY(SOW_NEW_RAW(individuals->arena, centred, n * n));
    SOW_TRY(SOW_NEW_RAW(individuals->arena, u, n * n));
    SOW_TRY(SOW_NEW_RAW(individuals->arena, s, n));
    for (int64_t j = 0; j < n; j++) {
        double mean = 0;
        for (int64_t i = 0; i < n; i++) mean += part->distances[i * n + j];
        mean /= (double)n;
        for (int64_t i = 0; i < n; i++) centred[i * n + j] = part->distances[i * n + j] - mean;
    }
    SOW_TRY(sow_svd(SOW_TENSOR(centred, SOW_F64, n, n), SOW_TENSOR(u, SOW_F64, n, n), SOW_TENSOR(s, SOW_F64, n),
                    SOW_TENSOR(NULL, SOW_F64, n, n)));
    for (int64_t c = 0; c < kept; c++)
        for (int64_t i = 0; i < n; i++) values[c * n + i] = u[i * n + c] * s[c];
    sow_arena_release(individuals->arena, mark);
    part->components = (sow_features){.samples = n, .count = kept, .values = values};
    return SOW_OK;
}

static sow_status make_part(sow_individuals *individuals, individuals_part *part) {
    sow_arena *arena = individuals->arena;
    const sow_mycorrhiza_config *config = &individuals->config;
    SOW_TRY(sow_neighbornet(individuals->count, part->distances, &config->net, arena, &part->network));
    return individuals_sides(&part->network, config->drop_trivial, part->network.place, individuals->count, arena,
                             &part->sides);
}

sow_status sow_individuals_of(const sow_genotypes *g, const sow_mycorrhiza_config *config, sow_arena *arena,
                              sow_individuals **out) {
    sow_individuals *made;
    SOW_TRY(SOW_NEW(arena, made, 1));
    *made = (sow_individuals){
        .genotypes = g, .config = *config, .arena = arena, .count = g->individuals, .parts = config->partitions};
    SOW_TRY(individuals_cut_loci(g, config, arena, &made->part));
    for (int p = 0; p < made->parts; p++) {
        SOW_TRY(individuals_measure(g, config, &made->part[p], arena));
        SOW_TRY(make_part(made, &made->part[p]));
        if (made->parts > 1) sow_progress("networks", p + 1, made->parts);
    }
    *out = made;
    return SOW_OK;
}

sow_status sow_individuals_apart(int64_t n, const double *distances, const sow_mycorrhiza_config *config,
                                 sow_arena *arena, sow_individuals **out) {
    sow_individuals *made;
    if (config->partitions != 1 || config->loci > 0)
        return sow_fail(SOW_E_ARGUMENT, "distances have no loci that could be parted or drawn");
    SOW_TRY(SOW_NEW(arena, made, 1));
    *made = (sow_individuals){.config = *config, .arena = arena, .count = n, .parts = 1};
    SOW_TRY(SOW_NEW(arena, made->part, 1));
    SOW_TRY(SOW_NEW_RAW(arena, made->part->distances, n * n));
    memcpy(made->part->distances, distances, (size_t)(n * n) * sizeof *distances);
    SOW_TRY(make_part(made, made->part));
    *out = made;
    return SOW_OK;
}

int sow_individuals_parts(const sow_individuals *individuals) {
    return individuals->parts;
}

const sow_network *sow_individuals_network(const sow_individuals *individuals, int part) {
    return &individuals->part[part].network;
}

const double *sow_individuals_distances(const sow_individuals *individuals, int part) {
    return individuals->part[part].distances;
}
