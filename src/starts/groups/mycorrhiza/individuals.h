/* Individuals ready to be learned from, part by part. */
#ifndef SOW_STARTS_GROUPS_MYCORRHIZA_INDIVIDUALS_H
#define SOW_STARTS_GROUPS_MYCORRHIZA_INDIVIDUALS_H

#include "sow/forest.h"
#include "sow/groups.h"

typedef struct individuals_part {
    int64_t *loci, count; /* of this part */
    double *distances;    /* [n, n] */
    sow_network network;
    sow_features sides;      /* bits: is the individual on a split's side */
    sow_features components; /* numbers: principal components of the distances; count 0: not made yet */
} individuals_part;

struct sow_individuals {
    const sow_genotypes *genotypes; /* NULL: distances only */
    sow_mycorrhiza_config config;
    sow_arena *arena;
    int64_t count;
    int parts;
    individuals_part *part;
};

/* Which loci each part has: drawn, shuffled, cut as numpy.array_split cuts. */
sow_status individuals_cut_loci(const sow_genotypes *g, const sow_mycorrhiza_config *config, sow_arena *arena,
                                individuals_part **parts);
/* Distances of a part, saturated ones capped. */
sow_status individuals_measure(const sow_genotypes *g, const sow_mycorrhiza_config *config, individuals_part *part,
                               sow_arena *arena);
/* Split sides of `count` individuals as features; place: where each stands on the circle. */
sow_status individuals_sides(const sow_network *network, bool drop_trivial, const int64_t *place, int64_t count,
                             sow_arena *arena, sow_features *out);
/* Principal components of a part's distances, made once. */
sow_status individuals_components(sow_individuals *individuals, int part);

/* Assigners that look at alleles. */
sow_status frequency_assign(const sow_genotypes *g, bool admixture, const int32_t *labels, int32_t classes,
                            const int64_t *learn, int64_t learn_count, const int64_t *predict, int64_t count,
                            sow_arena *arena, double *probabilities);

#endif
