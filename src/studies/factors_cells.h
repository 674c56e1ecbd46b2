/* Studies of planted matrix problems: each arm a `simulate` of its method, each run a cell. */
#ifndef SOW_STUDIES_FACTORS_CELLS_H
#define SOW_STUDIES_FACTORS_CELLS_H

#include "sow/study.h"

typedef struct factors_arm {
    const char *name;
    const char *options; /* for `sow METHOD simulate`: words without spaces or quotes inside */
} factors_arm;

/* A member of simulate's result, scored under a name. */
typedef struct factors_metric {
    const char *key, *name;
} factors_metric;

typedef struct factors_plan {
    const char *study, *method;
    const char *common; /* options of every arm */
    const factors_arm *arms;
    int arm_count;
    const factors_metric *metrics; /* ends with a NULL key */
} factors_plan;

/* Runs every arm for every seed and scores the metrics of each; those that a run leaves out stay unscored. */
sow_status factors_run_arms(sow_study_call *call, const factors_plan *plan);
/* A score of the call; NAN if it is not there. */
double factors_scored(const sow_study_call *call, const char *arm, const char *metric, uint64_t seed);

/* subgm: robust PCA of real pictures, against convex robust PCA and a median filter. */
sow_status subgm_run_picture(sow_study_call *call, const char *path);

#endif
