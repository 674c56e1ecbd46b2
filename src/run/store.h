/* What the loop over cells needs from the store: rows of cells and attempts, values, transactions. */
#ifndef SOW_RUN_STORE_H
#define SOW_RUN_STORE_H

#include <stdbool.h>

#include "sow/run.h"

/* One transaction; calls in between join it. Begin inside one is an error of ours. */
sow_status sow_store_begin(sow_store *store);
sow_status sow_store_commit(sow_store *store);
/* Takes back what was done since begin; keeps the message of the failure. */
void sow_store_rollback(sow_store *store);

/* The cell's row: made as pending if it is not there; state, attempt and seconds are read into the cell. */
sow_status sow_store_cell(sow_store *store, sow_cell *cell, int64_t *row);
/* Attempts that failed by themselves: not those cut short from outside. */
sow_status sow_store_failures(sow_store *store, int64_t row, int *count);
/* A new attempt begins on this rank: the cell is running. */
sow_status sow_store_started(sow_store *store, int64_t row, int attempt, int rank);

typedef struct sow_ending {
    sow_cell_state state;
    const char *outcome; /* of the attempt: "done", "diverged", "exit", "signal", "start time" ... */
    int code;            /* exit status or signal */
    const char *log;     /* last lines, NULL unless it went wrong */
    int64_t steps;       /* -1: none */
    double seconds;
} sow_ending;
sow_status sow_store_ended(sow_store *store, int64_t row, int attempt, const sow_ending *ending);
/* A cell that cannot run since one it needs failed. */
sow_status sow_store_blocked(sow_store *store, int64_t row);

/* A cell that nobody wants any more: stopped, without score or curve. */
sow_status sow_store_dropped(sow_store *store, int64_t row);

sow_status sow_store_value(sow_store *store, int64_t row, int attempt, const sow_record *record);

/* sow_store_curve for a cell in this state: also for one that has just ended and is not yet done. */
sow_status sow_store_curve_in(sow_store *store, sow_arena *arena, const sow_cell *cell, sow_cell_state state,
                              sow_record **records, int64_t *count);

/* Descriptor of the lock, and memory that lives as long as the store. */
int sow_store_lock(const sow_store *store);
sow_arena *sow_store_arena(sow_store *store);

#endif
