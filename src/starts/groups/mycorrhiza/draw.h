/* Drawings of networks and mixtures, as SVG or PNG by the path's ending. */
#ifndef SOW_STARTS_GROUPS_MYCORRHIZA_DRAW_H
#define SOW_STARTS_GROUPS_MYCORRHIZA_DRAW_H

#include "sow/groups.h"
#include "sow/report.h"

/* labels NULL: no populations. */
sow_status draw_network(const char *path, const sow_network *network, const char *const *names, const int32_t *labels,
                        const char *const *populations, int32_t population_count, sow_arena *arena);
/* Stacked bars, individuals sorted by label and by the probability of their own population. */
sow_status draw_mixture(const char *path, const double *probabilities, int64_t n, const int32_t *labels,
                        const char *const *populations, int32_t population_count, sow_arena *arena);

#endif
