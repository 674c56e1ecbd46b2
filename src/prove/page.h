/* What the files of a race's report share. */
#ifndef SOW_PROVE_PAGE_H
#define SOW_PROVE_PAGE_H

#include "sow/prove.h"
#include "sow/report.h"

/* The metric of one training, by step. */
typedef struct page_curve {
    int arm;
    int64_t count;
    double *steps, *values;
} page_curve;

typedef struct page_race {
    sow_arena *arena;
    const sow_outcome *outcome;
    const char **arms;  /* names */
    page_curve *curves; /* of the race's cells that are done */
    int64_t curve_count;
} page_race;

/* Adds the plots of a race; those that have nothing to show yet are left out. */
sow_status page_add_plots(const page_race *race, sow_page *page);

#endif
