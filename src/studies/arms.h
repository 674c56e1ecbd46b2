/* Studies whose arms are command lines: each arm a `sow METHOD simulate ...`, each run of it a cell. */
#ifndef SOW_STUDIES_ARMS_H
#define SOW_STUDIES_ARMS_H

#include "sow/study.h"

typedef struct study_arm {
    const char *name;
    const char *options; /* for `simulate`: words without spaces or quotes inside; {base} and {data}: see below */
} study_arm;

/* A member of simulate's result, scored under a name. */
typedef struct study_metric {
    const char *key, *name;
} study_metric;

typedef struct study_plan {
    const char *study, *method;
    const char *common; /* options of every arm */
    const study_arm *arms;
    int arm_count;
    const study_metric *metrics; /* ends with a NULL key */
    const char *part; /* a study of several plans (a search of rates, then the arms): its folder within the study's */
    const char *data; /* path or name, of any characters, that {data} stands for; NULL: that of the call */
    const char *base; /* options of a `simulate` that each seed's arms need first (a pretraining), or NULL */
} study_plan;

/* Runs every arm for every seed of the call, `sow METHOD simulate COMMON OPTIONS --seed S --threads 1 --out FILE`, resumes
 * what was done, and scores the members of the JSON object in FILE that `metrics` names; those that a run leaves out stay
 * unscored. {data} in options is the data, quoted. {base} is the base cell's output: that cell is `simulate BASE --seed S --out {base}`, {base} a path of its own without ending. */
sow_status study_run_arms(sow_study_call *call, const study_plan *plan);
/* A search beforehand: the same on other seeds and with scores of its own; *scored reads like a call (sow_study_scored). */
sow_status study_search_arms(const sow_study_call *call, const study_plan *plan, const uint64_t *seeds, int seed_count,
                             sow_study_call *scored);
/* Rows of a table: of arms, say. */
#define STUDY_COUNT(table) ((int)(sizeof(table) / sizeof *(table)))

#endif
