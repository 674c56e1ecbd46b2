/* What the actions of `sow mycorrhiza` share: the data as they were asked for, and their results. */
#ifndef SOW_STARTS_GROUPS_MYCORRHIZA_JOB_H
#define SOW_STARTS_GROUPS_MYCORRHIZA_JOB_H

#include "sow/groups.h"
#include "sow/method.h"

typedef struct mycorrhiza_job {
    sow_call *call;
    sow_mycorrhiza_config config;
    sow_genotypes genotypes; /* individuals 0: distances only */
    sow_distances distances;
    int64_t count; /* individuals */
    const char **ids;
    int32_t *labels; /* -1: not known */
    const char **populations;
    int32_t population_count;
    int64_t *learn, *predict, learn_count, predict_count; /* predict_count 0: cross-validation */
} mycorrhiza_job;

/* Reads data and populations, drops individuals above --max-missing, and says what was found. */
sow_status mycorrhiza_load(mycorrhiza_job *job, sow_call *call);
/* At least two populations with labels; who is learned from and who is predicted. */
sow_status mycorrhiza_split(mycorrhiza_job *job);
sow_status mycorrhiza_prepare(const mycorrhiza_job *job, sow_individuals **out);

/* The actions. */
sow_status mycorrhiza_assign(sow_call *call);
sow_status mycorrhiza_compare(sow_call *call);
sow_status mycorrhiza_network(sow_call *call);
sow_status mycorrhiza_distances(sow_call *call);

#endif
