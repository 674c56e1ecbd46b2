/* One call of sow_run_cells from inside: what is shared by the loop and by the ends of cells. */
#ifndef SOW_RUN_LOOP_H
#define SOW_RUN_LOOP_H

#include <poll.h>

#include "run/order.h"
#include "run/slot.h"
#include "run/store.h"

/* A record on its way to the store. */
typedef struct sow_loop_value {
    int64_t row;
    int attempt;
    sow_record record;
} sow_loop_value;

typedef struct sow_loop {
    sow_store *store;
    const sow_runner *runner;
    sow_cell *cells;
    int count;
    int64_t *rows; /* of the store, by cell */
    int *failures; /* that count against the retries, by cell */
    bool *dropped; /* unwanted, and the store knows it, by cell */
    sow_order order;
    sow_slot **slots; /* those of this process, then those of other ranks */
    int own_slots, slot_count, slot_capacity;
    int busy, final;        /* slots at work; cells that have ended for good */
    struct pollfd *watched; /* two for each of our own: socket, output */
    const char *supervisor;
    char ***environments; /* by device */
    int device_count;     /* 1 where none are given */
    int threads;          /* per cell */
    sow_limits limits;
    sow_arena *arena, *scratch, *batch_arena; /* the call; a cell; a batch */
    sow_loop_value *batch;
    int batched;
    double batch_since;
    int64_t done_units, total_units; /* progress: steps if known, else cells */
    sow_status error;                /* why we wind up, SOW_OK: we do not */
    char message[2048];
} sow_loop;

enum { SOW_BATCH = 4096, SOW_SLOT_LIMIT = 1024 };

/* ---- cells.c ---- */

/* How many slots a machine with so many cores has by the runner's choice. */
int sow_loop_slots(const sow_loop *loop, int cores);
/* Adds a slot. */
sow_status sow_loop_add_slot(sow_loop *loop, int rank);
/* Cores that this process may use. */
int sow_cores(void);

/* ---- ending.c ---- */

/* Steps of a cell for the progress, 1 where they are unknown. */
int64_t sow_loop_units(const sow_loop *loop, int cell);

/* Callbacks of slots: a record goes to the batch; whether the runner has had enough. */
sow_status sow_loop_record(void *loop, sow_slot *slot, const sow_record *record);
bool sow_loop_enough(void *loop, sow_slot *slot, int64_t step);
/* Writes the batch. */
sow_status sow_loop_flush(sow_loop *loop);

/* A slot's trainer is gone: settles what came of the cell, with all that follows, in one transaction. */
sow_status sow_loop_end_cell(sow_loop *loop, sow_slot *slot);
/* What an earlier run left, inside the transaction that begins the call: states are those of the store. */
sow_status sow_loop_take_over(sow_loop *loop);

#endif
