/* Running cells: one poll loop over trainers side by side, and every change of state in one transaction. */
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/loop.h"
#include "run/ranks.h"
#include "sow/file.h"
#include "sow/log.h"

static const double batch_seconds = 1, look_seconds = 0.1; /* between commits of records; between looks for Ctrl-C */
static const double message_seconds = 0.002; /* between looks for messages of other ranks: MPI has nothing to poll */

/* ---- progress ---- */

static void show_progress(const sow_loop *l) {
    int64_t done = l->done_units;
    if (!l->runner->what) return;
    for (int s = 0; s < l->slot_count; s++) {
        const sow_slot *slot = l->slots[s];
        if (slot->cell < 0 || sow_loop_units(l, slot->cell) == 1) continue;
        int64_t steps = slot->reader.steps,
                all = sow_loop_units(l, slot->cell) - 1; /* the last unit is the end itself */
        if (steps > 0) done += steps < all ? steps : all;
    }
    sow_progress(l->runner->what, done, l->total_units);
}

/* ---- winding up ---- */

/* From here on nothing starts, what runs is stopped, and the first failure is what the caller hears. */
static void wind_up(sow_loop *l, sow_status error) {
    if (l->error != SOW_OK) return;
    l->error = error;
    snprintf(l->message, sizeof l->message, "%s", sow_message());
    for (int s = 0; s < l->slot_count; s++)
        if (l->slots[s]->cell >= 0) sow_slot_stop(l->slots[s], SOW_END_STOPPED, "stopped");
}

/* `ended` may have made some of those that run unwanted. */
static void stop_unwanted(sow_loop *l) {
    for (int s = 0; s < l->slot_count; s++)
        if (l->slots[s]->cell >= 0 && l->cells[l->slots[s]->cell].unwanted)
            sow_slot_stop(l->slots[s], SOW_END_STOPPED, "no longer wanted");
}

static void close_slot(sow_loop *l, sow_slot *slot) {
    sow_slot_close(slot);
    l->busy--;
}

/* ---- the loop ---- */

static sow_status start_trainer(sow_loop *l, sow_slot *slot, const sow_cell *cell, const char *command) {
    if (slot->rank) return sow_ranks_start(l, slot, cell, command);
    int number = 0;
    while (l->slots[number] != slot) number++;
    sow_launch launch = {.supervisor = l->supervisor,
                         .command = command,
                         .environment = l->environments[number % l->device_count],
                         .limits = &l->limits,
                         .lock = sow_store_lock(l->store)};
    return sow_slot_start(slot, cell, &launch);
}

static sow_status start_cell(sow_loop *l, sow_slot *slot, int index) {
    sow_cell *cell = &l->cells[index];
    char *command;
    SOW_TRY(sow_make_folder(cell->folder));
    SOW_TRY(l->runner->command(l->runner->user, l->scratch, cell, &command));
    SOW_TRY(sow_store_begin(l->store));
    sow_status status = sow_store_started(l->store, l->rows[index], cell->attempt + 1, slot->rank);
    if (status == SOW_OK) status = sow_store_commit(l->store);
    if (status != SOW_OK) sow_store_rollback(l->store);
    SOW_TRY(status);
    cell->attempt++;
    cell->state = SOW_CELL_RUNNING;
    slot->cell = index;
    slot->record = sow_loop_record;
    slot->enough = sow_loop_enough;
    slot->owner = l;
    l->busy++;
    status = start_trainer(l, slot, cell, command);
    if (status != SOW_OK) close_slot(l, slot);
    return status;
}

/* The first of the ready cells that nobody has dropped meanwhile, -1: none. */
static int next_cell(sow_loop *l) {
    int cell;
    do cell = sow_order_pop(&l->order);
    while (cell >= 0 && l->cells[cell].state != SOW_CELL_PENDING);
    return cell;
}

static sow_status fill_slots(sow_loop *l) {
    for (int s = 0; s < l->slot_count && l->error == SOW_OK; s++) {
        if (l->slots[s]->cell >= 0 || !sow_ranks_ready(l->slots[s])) continue;
        int cell = next_cell(l);
        if (cell < 0) return SOW_OK;
        sow_mark mark = sow_arena_mark(l->scratch);
        sow_status status = start_cell(l, l->slots[s], cell);
        sow_arena_release(l->scratch, mark);
        SOW_TRY(status);
    }
    return SOW_OK;
}

static void wait_for_news(sow_loop *l) {
    double patience = l->slot_count > l->own_slots ? message_seconds : look_seconds;
    for (int s = 0; s < l->own_slots; s++) {
        double due = sow_slot_watch(l->slots[s], &l->watched[2 * s]);
        if (due < patience) patience = due;
    }
    poll(l->watched, (nfds_t)(2 * l->own_slots), (int)ceil(patience * 1000));
}

static sow_status serve_slot(sow_loop *l, sow_slot *slot) {
    if (slot->rank == 0) SOW_TRY(sow_slot_serve(slot));
    if (!sow_slot_over(slot)) return SOW_OK;
    sow_mark mark = sow_arena_mark(l->scratch);
    sow_status status = sow_loop_end_cell(l, slot);
    sow_arena_release(l->scratch, mark);
    close_slot(l, slot);
    if (status == SOW_OK && l->runner->ended) stop_unwanted(l);
    return status;
}

static void serve_slots(sow_loop *l) {
    sow_status status = sow_ranks_hear(l);
    if (status != SOW_OK) wind_up(l, status);
    for (int s = 0; s < l->slot_count; s++) {
        if (l->slots[s]->cell < 0) continue;
        status = serve_slot(l, l->slots[s]);
        if (status != SOW_OK) wind_up(l, status);
    }
}

static void run(sow_loop *l) {
    while (l->busy > 0 || (l->error == SOW_OK && l->final < l->count)) {
        sow_status status = sow_check_interrupt();
        if (status == SOW_OK && l->error == SOW_OK) status = fill_slots(l);
        if (status == SOW_OK && l->batched > 0 && sow_seconds() - l->batch_since > batch_seconds)
            status = sow_loop_flush(l);
        if (status != SOW_OK) wind_up(l, status);
        show_progress(l);
        if (l->busy > 0) wait_for_news(l);
        serve_slots(l);
    }
    show_progress(l);
}

/* ---- beginning and end ---- */

/* Two cells of one identity would share a row. */
static int by_row(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static sow_status check_rows(sow_loop *l) {
    int64_t *sorted;
    SOW_TRY(SOW_NEW_RAW(l->scratch, sorted, l->count));
    if (l->count > 0) memcpy(sorted, l->rows, (size_t)l->count * sizeof *sorted);
    qsort(sorted, (size_t)l->count, sizeof *sorted, by_row);
    for (int i = 1; i < l->count; i++) {
        if (sorted[i] != sorted[i - 1]) continue;
        int c = 0;
        while (l->rows[c] != sorted[i]) c++;
        return sow_fail(SOW_E_ARGUMENT, "two cells are %s, seed %llu, arm %d", l->cells[c].stage,
                        (unsigned long long)l->cells[c].seed, l->cells[c].arm);
    }
    return SOW_OK;
}

/* What the store knows: done and diverged cells are final, others start anew, failed ones as the runner says. */
static sow_status read_cells(sow_loop *l) {
    bool steps_known = true;
    for (int c = 0; c < l->count; c++) {
        sow_cell *cell = &l->cells[c];
        SOW_TRY(sow_store_cell(l->store, cell, &l->rows[c]));
        bool failed = cell->state == SOW_CELL_FAILED;
        if (cell->attempt > 0 && !failed) SOW_TRY(sow_store_failures(l->store, l->rows[c], &l->failures[c]));
        bool final = cell->state == SOW_CELL_DONE || cell->state == SOW_CELL_DIVERGED;
        if (!final && !(failed && l->runner->keep_failed)) cell->state = SOW_CELL_PENDING;
        cell->last_lines = NULL;
        steps_known = steps_known && cell->steps > 1;
    }
    l->total_units = l->count;
    for (int c = 0; c < l->count && steps_known; c++) l->total_units += l->cells[c].steps - 1;
    return check_rows(l);
}

static sow_status begin(sow_loop *l) {
    SOW_TRY(sow_store_begin(l->store));
    sow_status status = read_cells(l);
    if (status == SOW_OK) status = sow_loop_take_over(l);
    if (status == SOW_OK) status = sow_store_commit(l->store);
    if (status != SOW_OK) sow_store_rollback(l->store);
    return status;
}

int sow_cores(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

sow_limits sow_limits_default(void) {
    return (sow_limits){.start_seconds = 600, .silent_seconds = 1800, .cell_seconds = 86400, .grace_seconds = 10};
}

static sow_limits limits_of(const sow_runner *runner) {
    sow_limits given = runner->limits, usual = sow_limits_default();
    if (given.start_seconds <= 0) given.start_seconds = usual.start_seconds;
    if (given.silent_seconds <= 0) given.silent_seconds = usual.silent_seconds;
    if (given.cell_seconds <= 0) given.cell_seconds = usual.cell_seconds;
    if (given.grace_seconds <= 0) given.grace_seconds = usual.grace_seconds;
    return given;
}

/* An environment for each device. */
static sow_status make_environments(sow_loop *l) {
    const char *const *devices = l->runner->devices;
    while (devices && devices[l->device_count]) l->device_count++;
    if (l->device_count == 0) devices = NULL, l->device_count = 1;
    SOW_TRY(SOW_NEW(l->arena, l->environments, l->device_count));
    for (int d = 0; d < l->device_count; d++)
        SOW_TRY(sow_trainer_environment(l->arena, l->threads, devices ? devices[d] : NULL, &l->environments[d]));
    return SOW_OK;
}

int sow_loop_slots(const sow_loop *l, int cores) {
    int slots = l->runner->slots > 0 ? l->runner->slots : cores / l->threads;
    if (slots > l->count) slots = l->count;
    return slots < 1 ? 1 : slots > SOW_SLOT_LIMIT ? SOW_SLOT_LIMIT : slots;
}

sow_status sow_loop_add_slot(sow_loop *l, int rank) {
    if (l->slot_count == l->slot_capacity) {
        sow_slot **larger;
        l->slot_capacity = 2 * l->slot_capacity + 8;
        SOW_TRY(SOW_NEW(l->arena, larger, l->slot_capacity));
        if (l->slot_count) memcpy(larger, l->slots, (size_t)l->slot_count * sizeof *larger);
        l->slots = larger;
    }
    SOW_TRY(SOW_NEW(l->arena, l->slots[l->slot_count], 1));
    sow_slot_new(l->slots[l->slot_count++], rank);
    return SOW_OK;
}

static sow_status prepare(sow_loop *l) {
    l->threads = l->runner->threads > 0 ? l->runner->threads : 1;
    l->own_slots = sow_loop_slots(l, sow_cores());
    l->limits = limits_of(l->runner);
    SOW_TRY(sow_arena_new(&l->arena));
    SOW_TRY(sow_arena_new(&l->scratch));
    SOW_TRY(sow_arena_new(&l->batch_arena));
    SOW_TRY(SOW_NEW(l->arena, l->rows, l->count));
    SOW_TRY(SOW_NEW(l->arena, l->failures, l->count));
    SOW_TRY(SOW_NEW(l->arena, l->dropped, l->count));
    SOW_TRY(SOW_NEW(l->arena, l->watched, 2 * l->own_slots));
    SOW_TRY(SOW_NEW_RAW(l->arena, l->batch, SOW_BATCH));
    for (int s = 0; s < l->own_slots; s++) SOW_TRY(sow_loop_add_slot(l, 0));
    SOW_TRY(sow_order_new(l->arena, l->cells, l->count, &l->order));
    SOW_TRY(sow_supervisor_path(l->arena, &l->supervisor));
    SOW_TRY(make_environments(l));
    SOW_TRY(sow_ranks_join(l));
    return begin(l);
}

static int ended_cells(const sow_loop *l) {
    int ended = 0;
    for (int c = 0; c < l->count; c++)
        ended += l->cells[c].state == SOW_CELL_DONE || l->cells[c].state == SOW_CELL_DIVERGED ||
                 l->cells[c].state == SOW_CELL_FAILED ||
                 (l->cells[c].state == SOW_CELL_STOPPED && l->cells[c].unwanted);
    return ended;
}

static sow_status report(const sow_loop *l) {
    int failed = 0, diverged = 0, first = -1;
    if (l->error == SOW_E_INTERRUPTED)
        return sow_fail(l->error,
                        "interrupted; %d of %d cells have ended and are kept: the same command with --resume goes on",
                        ended_cells(l), l->count);
    if (l->error != SOW_OK) return sow_fail(l->error, "%s", l->message);
    for (int c = 0; c < l->count; c++) {
        failed += l->cells[c].state == SOW_CELL_FAILED;
        diverged += l->cells[c].state == SOW_CELL_DIVERGED;
        if (first < 0 && l->cells[c].state != SOW_CELL_DONE && !l->cells[c].unwanted) first = c;
    }
    if (first < 0) return SOW_OK;
    const sow_cell *cell = &l->cells[first];
    return sow_fail(SOW_E_TRAINER,
                    "of %d cells, %d failed and %d diverged; the first is %s, seed %llu, arm %d (%s/log): %.1500s",
                    l->count, failed, diverged, cell->stage, (unsigned long long)cell->seed, cell->arm, cell->folder,
                    cell->last_lines ? cell->last_lines : "in an earlier run");
}

static void release(sow_loop *l) {
    for (int s = 0; s < l->slot_count; s++) sow_slot_close(l->slots[s]);
    sow_arena_free(l->batch_arena);
    sow_arena_free(l->scratch);
    sow_arena_free(l->arena);
}

sow_status sow_run_cells(sow_store *store, const sow_runner *runner, sow_cell *cells, int count) {
    sow_loop l = {.store = store, .runner = runner, .cells = cells, .count = count};
    sow_status status = prepare(&l);
    if (status == SOW_OK) {
        run(&l);
        status = report(&l);
    }
    release(&l);
    return status;
}
