/* A race while it runs: what its stages share. */
#ifndef SOW_PROVE_RUN_H
#define SOW_PROVE_RUN_H

#include "prove/plan.h"

/* A group of cells: some arms at `columns` seeds from index `first` on. Arrays are [arms][columns]. */
typedef struct prove_stage {
    const char *name; /* "race", "confirm", "pilot", "rung-00" */
    int first, columns;
    int64_t enough; /* steps after which a cell has gone far enough, 0: to its end */
    const bool *on; /* [arms] */
    double *values, *tests;
    unsigned char *ended; /* sow_end_of_cell */
    sow_cell *cells;      /* by seed, then arm */
    int count;
} prove_stage;

typedef struct prove_run {
    const sow_plan *plan;
    const sow_race *race;
    sow_arena *arena, *judging; /* the run; the latest judgement */
    sow_store *store;
    sow_judge *judge;
    const char *folder, *here; /* of the run and of this process, absolute */
    prove_stage *stage;        /* the one that runs */
    prove_stage main;          /* "race" */
    bool *absent, *live;       /* [arms] */
    sow_judgement now;
    int kept; /* decisions that are in the store */
    double shown_at, shown_cost;
    bool hopeless;
    sow_outcome outcome;                    /* for live displays */
    sow_progress_of_arm *before, *progress; /* cells of earlier stages; of all */
    sow_standing confirm;
    uint64_t *seeds;
} prove_run;

/* The command of a cell: its start made or named, its trainer. Called as sow_runner.command. */
sow_status prove_command(void *run, sow_arena *arena, const sow_cell *cell, char **command);
/* FOLDER/cells/01-eva/seed-1000, in the arena; NULL when memory is short. */
char *prove_cell_folder(sow_arena *arena, const char *folder, const sow_plan *plan, int arm, uint64_t seed);

/* The clauses of the plan over the cells of its race: verdict, and the clauses as JSON text. */
sow_status prove_criterion(prove_run *run, const char **verdict, const char **clauses);

#endif
