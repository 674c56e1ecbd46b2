/* Running cells: one poll loop over trainers side by side, and every change of state in one transaction. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/order.h"
#include "run/slot.h"
#include "run/store.h"
#include "sow/file.h"
#include "sow/log.h"

enum { BATCH = 4096, SLOT_LIMIT = 1024 };
static const double batch_seconds = 1, look_seconds = 0.1; /* between commits of records; between looks for Ctrl-C */

/* A record on its way to the store. */
typedef struct value {
    int64_t row;
    int attempt;
    sow_record record;
} value;

typedef struct loop {
    sow_store *store;
    const sow_runner *runner;
    sow_cell *cells;
    int count;
    int64_t *rows; /* of the store, by cell */
    int *failures; /* in this call, by cell */
    sow_order order;
    sow_slot *slots;
    int slot_count, busy, final; /* slots at work; cells that are done or given up */
    struct pollfd *watched;      /* two a slot: socket, output */
    const char *supervisor;
    char **environment;
    sow_limits limits;
    sow_arena *arena, *scratch, *batch_arena; /* the call; a cell; a batch */
    value *batch;
    int batched;
    double batch_since;
    int64_t done_units, total_units; /* progress: steps if known, else cells */
    sow_status error;                /* why we wind up, SOW_OK: we do not */
    char message[2048];
} loop;

/* ---- progress ---- */

static int64_t units(const loop *l, int cell) {
    return l->total_units > l->count ? l->cells[cell].steps : 1;
}

static void show_progress(const loop *l) {
    int64_t done = l->done_units;
    for (int s = 0; s < l->slot_count; s++) {
        const sow_slot *slot = &l->slots[s];
        if (slot->cell < 0 || units(l, slot->cell) == 1) continue;
        int64_t steps = slot->reader.steps, all = units(l, slot->cell) - 1; /* the last unit is the end itself */
        if (steps > 0) done += steps < all ? steps : all;
    }
    if (l->runner->what) sow_progress(l->runner->what, done, l->total_units);
}

static void set_final(loop *l, int cell, sow_cell_state state) {
    l->cells[cell].state = state;
    l->final++;
    l->done_units += units(l, cell);
}

/* ---- records ---- */

static sow_status put_batch(loop *l) {
    for (int i = 0; i < l->batched; i++)
        SOW_TRY(sow_store_value(l->store, l->batch[i].row, l->batch[i].attempt, &l->batch[i].record));
    return SOW_OK;
}

static void forget_batch(loop *l) {
    l->batched = 0;
    sow_arena_release(l->batch_arena, (sow_mark){0});
}

static sow_status flush(loop *l) {
    if (l->batched == 0) return SOW_OK;
    SOW_TRY(sow_store_begin(l->store));
    sow_status status = put_batch(l);
    if (status == SOW_OK) status = sow_store_commit(l->store);
    if (status != SOW_OK) sow_store_rollback(l->store);
    forget_batch(l);
    return status;
}

static sow_status take_record(void *owner, sow_slot *slot, const sow_record *record) {
    loop *l = owner;
    sow_cell *cell = &l->cells[slot->cell];
    if (l->runner->record) l->runner->record(l->runner->user, cell, record);
    if (l->batched == BATCH) SOW_TRY(flush(l));
    if (l->batched == 0) l->batch_since = sow_seconds();
    const char *previous = l->batched > 0 ? l->batch[l->batched - 1].record.metric : NULL;
    const char *metric = previous && !strcmp(previous, record->metric) ? previous
                                                                       : sow_arena_copy(l->batch_arena, record->metric);
    if (!metric) return SOW_E_MEMORY;
    l->batch[l->batched++] = (value){l->rows[slot->cell], cell->attempt, {record->step, metric, record->value}};
    return SOW_OK;
}

/* ---- the end of a cell ---- */

/* Cells that wait for one that failed for good fail too, in the transaction of that one. */
static sow_status block_dependents(loop *l, int cell) {
    const int *list;
    int count = sow_order_dependents(&l->order, cell, &list);
    for (int i = 0; i < count; i++) {
        sow_cell *blocked = &l->cells[list[i]];
        if (blocked->state == SOW_CELL_DONE || blocked->state == SOW_CELL_DIVERGED) continue;
        blocked->last_lines = sow_arena_format(sow_store_arena(l->store), "not run: it needs %s, seed %llu, which %s",
                                               l->cells[cell].stage, (unsigned long long)l->cells[cell].seed,
                                               l->cells[cell].state == SOW_CELL_DIVERGED ? "diverged" : "failed");
        if (!blocked->last_lines) return SOW_E_MEMORY;
        SOW_TRY(sow_store_blocked(l->store, l->rows[list[i]]));
        set_final(l, list[i], SOW_CELL_FAILED);
    }
    return SOW_OK;
}

static sow_status keep_ending(loop *l, int cell, const sow_ending *ending) {
    SOW_TRY(put_batch(l));
    SOW_TRY(sow_store_ended(l->store, l->rows[cell], l->cells[cell].attempt, ending));
    l->cells[cell].state = ending->state;
    l->cells[cell].seconds = ending->seconds;
    if (ending->state != SOW_CELL_FAILED && ending->state != SOW_CELL_DIVERGED) return SOW_OK;
    return block_dependents(l, cell);
}

/* One transaction: the last records, what `finish` keeps, the new state. */
static sow_status end_in_store(loop *l, int cell, const sow_ending *ending) {
    SOW_TRY(sow_store_begin(l->store));
    sow_status status = keep_ending(l, cell, ending);
    if (status == SOW_OK) status = sow_store_commit(l->store);
    if (status != SOW_OK) sow_store_rollback(l->store);
    forget_batch(l);
    return status;
}

static sow_status call_finish(loop *l, int cell) {
    sow_record *records;
    int64_t count;
    SOW_TRY(sow_store_curve_in(l->store, l->scratch, &l->cells[cell], SOW_CELL_RUNNING, &records, &count));
    return l->runner->finish(l->runner->user, &l->cells[cell], records, count);
}

/* Exit status 0. *refused: the caller's finish does not accept it, and says why. */
static sow_status end_done(loop *l, int cell, const sow_ending *ending, sow_status *refused) {
    *refused = SOW_OK;
    if (!l->runner->finish) return end_in_store(l, cell, ending);
    SOW_TRY(flush(l));
    SOW_TRY(sow_store_begin(l->store));
    sow_status status = call_finish(l, cell), finished = status;
    if (status == SOW_OK) status = keep_ending(l, cell, ending);
    if (status == SOW_OK) status = sow_store_commit(l->store);
    if (status == SOW_OK) return SOW_OK;
    sow_store_rollback(l->store);
    if (finished == SOW_OK || finished == SOW_E_MEMORY || finished == SOW_E_INTERRUPTED) return status;
    *refused = finished;
    return SOW_OK;
}

static sow_cell_state state_after(loop *l, const sow_slot *slot, sow_status refused) {
    int cell = slot->cell;
    if (slot->end == SOW_END_DIVERGED || refused == SOW_E_NUMBER) return SOW_CELL_DIVERGED;
    if (slot->end == SOW_END_STOPPED) return SOW_CELL_STOPPED;
    if (l->error != SOW_OK) return SOW_CELL_STOPPED; /* it ended while we wind up: no retry */
    return ++l->failures[cell] > l->runner->retries ? SOW_CELL_FAILED : SOW_CELL_PENDING;
}

/* Anything but done: the reason and the last lines are kept. */
static sow_status end_badly(loop *l, sow_slot *slot, sow_ending *ending, sow_status refused) {
    int cell = slot->cell;
    char *lines;
    SOW_TRY(sow_slot_last_lines(slot, l->cells[cell].folder, l->scratch, &lines));
    ending->state = state_after(l, slot, refused);
    ending->outcome = refused == SOW_E_NUMBER ? sow_end_name(SOW_END_DIVERGED)
                      : refused != SOW_OK     ? "refused"
                                              : sow_end_name(slot->end);
    ending->log = lines;
    if (ending->state == SOW_CELL_FAILED || ending->state == SOW_CELL_DIVERGED)
        if (!(l->cells[cell].last_lines = sow_arena_copy(sow_store_arena(l->store), lines))) return SOW_E_MEMORY;
    if (ending->state == SOW_CELL_PENDING)
        sow_warn("%s: attempt %d failed and is tried again: %s", slot->who, l->cells[cell].attempt, slot->reason);
    return end_in_store(l, cell, ending);
}

static sow_status end_cell(loop *l, sow_slot *slot) {
    int cell = slot->cell, code;
    sow_status refused = SOW_OK;
    SOW_TRY(sow_slot_conclude(slot, &code));
    sow_ending ending = {SOW_CELL_DONE, "done", code, NULL, slot->reader.steps, sow_seconds() - slot->started};
    bool good = slot->end == SOW_END_EXIT && code == 0;
    if (good) SOW_TRY(end_done(l, cell, &ending, &refused));
    if (refused != SOW_OK) snprintf(slot->reason, sizeof slot->reason, "%s", sow_message());
    if (!good || refused != SOW_OK) SOW_TRY(end_badly(l, slot, &ending, refused));
    if (ending.state == SOW_CELL_DONE) sow_order_done(&l->order, cell);
    if (ending.state == SOW_CELL_PENDING) sow_order_push(&l->order, cell);
    else set_final(l, cell, ending.state);
    return SOW_OK;
}

/* ---- winding up ---- */

/* From here on nothing starts, what runs is stopped, and the first failure is what the caller hears. */
static void wind_up(loop *l, sow_status error) {
    if (l->error != SOW_OK) return;
    l->error = error;
    snprintf(l->message, sizeof l->message, "%s", sow_message());
    for (int s = 0; s < l->slot_count; s++)
        if (l->slots[s].cell >= 0) sow_slot_stop(&l->slots[s], &l->limits, SOW_END_STOPPED, "stopped");
}

static void close_slot(loop *l, sow_slot *slot) {
    sow_slot_close(slot);
    l->busy--;
}

/* ---- the loop ---- */

static sow_status start_cell(loop *l, sow_slot *slot, int index) {
    sow_cell *cell = &l->cells[index];
    sow_launch launch = {.supervisor = l->supervisor,
                         .environment = l->environment,
                         .limits = &l->limits,
                         .lock = sow_store_lock(l->store)};
    char *command;
    SOW_TRY(sow_make_folder(cell->folder));
    SOW_TRY(l->runner->command(l->runner->user, l->scratch, cell, &command));
    launch.command = command;
    SOW_TRY(sow_store_begin(l->store));
    sow_status status = sow_store_started(l->store, l->rows[index], cell->attempt + 1);
    if (status == SOW_OK) status = sow_store_commit(l->store);
    if (status != SOW_OK) sow_store_rollback(l->store);
    SOW_TRY(status);
    cell->attempt++;
    cell->state = SOW_CELL_RUNNING;
    slot->cell = index;
    slot->record = take_record;
    slot->owner = l;
    l->busy++;
    status = sow_slot_start(slot, cell, &launch);
    if (status != SOW_OK) close_slot(l, slot);
    return status;
}

static sow_status fill_slots(loop *l) {
    for (int s = 0; s < l->slot_count && l->error == SOW_OK; s++) {
        if (l->slots[s].cell >= 0) continue;
        int cell = sow_order_pop(&l->order);
        if (cell < 0) return SOW_OK;
        sow_mark mark = sow_arena_mark(l->scratch);
        sow_status status = start_cell(l, &l->slots[s], cell);
        sow_arena_release(l->scratch, mark);
        SOW_TRY(status);
    }
    return SOW_OK;
}

static void wait_for_news(loop *l) {
    double patience = look_seconds;
    for (int s = 0; s < l->slot_count; s++) {
        const sow_slot *slot = &l->slots[s];
        bool busy = slot->cell >= 0;
        l->watched[2 * s] = (struct pollfd){busy && !slot->trainer.gone ? slot->trainer.socket : -1, POLLIN, 0};
        l->watched[2 * s + 1] = (struct pollfd){busy ? slot->trainer.output : -1, POLLIN, 0};
        double due = busy ? sow_slot_patience(slot, &l->limits) : patience;
        if (due < patience) patience = due;
    }
    poll(l->watched, (nfds_t)(2 * l->slot_count), (int)(patience * 1000) + 1);
}

static sow_status serve_slot(loop *l, sow_slot *slot) {
    SOW_TRY(sow_slot_serve(slot, &l->limits));
    if (!sow_slot_over(slot)) return SOW_OK;
    sow_mark mark = sow_arena_mark(l->scratch);
    sow_status status = end_cell(l, slot);
    sow_arena_release(l->scratch, mark);
    close_slot(l, slot);
    return status;
}

static void serve_slots(loop *l) {
    for (int s = 0; s < l->slot_count; s++) {
        if (l->slots[s].cell < 0) continue;
        sow_status status = serve_slot(l, &l->slots[s]);
        if (status != SOW_OK) wind_up(l, status);
    }
}

static void run(loop *l) {
    while (l->busy > 0 || (l->error == SOW_OK && l->final < l->count)) {
        sow_status status = sow_check_interrupt();
        if (status == SOW_OK && l->error == SOW_OK) status = fill_slots(l);
        if (status == SOW_OK && l->batched > 0 && sow_seconds() - l->batch_since > batch_seconds) status = flush(l);
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

static sow_status check_rows(loop *l) {
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

/* What the store knows: done and diverged cells are final, others start anew. */
static sow_status read_cells(loop *l) {
    bool steps_known = true;
    for (int c = 0; c < l->count; c++) {
        SOW_TRY(sow_store_cell(l->store, &l->cells[c], &l->rows[c]));
        if (l->cells[c].state != SOW_CELL_DONE && l->cells[c].state != SOW_CELL_DIVERGED)
            l->cells[c].state = SOW_CELL_PENDING;
        l->cells[c].last_lines = NULL;
        steps_known = steps_known && l->cells[c].steps > 1;
    }
    l->total_units = l->count;
    for (int c = 0; c < l->count && steps_known; c++) l->total_units += l->cells[c].steps - 1;
    return check_rows(l);
}

static sow_status enqueue(loop *l) {
    for (int c = 0; c < l->count; c++)
        if (l->cells[c].state == SOW_CELL_DONE) {
            set_final(l, c, SOW_CELL_DONE);
            for (int d = l->order.first[c]; d < l->order.first[c + 1]; d++) l->order.waiting[l->order.dependents[d]]--;
        }
    for (int c = 0; c < l->count; c++)
        if (l->cells[c].state == SOW_CELL_DIVERGED) {
            set_final(l, c, SOW_CELL_DIVERGED);
            SOW_TRY(block_dependents(l, c));
        }
    for (int c = 0; c < l->count; c++)
        if (l->cells[c].state == SOW_CELL_PENDING && l->order.waiting[c] == 0) sow_order_push(&l->order, c);
    return SOW_OK;
}

static sow_status begin(loop *l) {
    SOW_TRY(sow_store_begin(l->store));
    sow_status status = read_cells(l);
    if (status == SOW_OK) status = enqueue(l);
    if (status == SOW_OK) status = sow_store_commit(l->store);
    if (status != SOW_OK) sow_store_rollback(l->store);
    return status;
}

static int cores(void) {
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

static sow_status prepare(loop *l) {
    int threads = l->runner->threads > 0 ? l->runner->threads : 1;
    int slots = l->runner->slots > 0 ? l->runner->slots : cores() / threads;
    if (slots > l->count) slots = l->count;
    l->slot_count = slots < 1 ? 1 : slots > SLOT_LIMIT ? SLOT_LIMIT : slots;
    l->limits = limits_of(l->runner);
    SOW_TRY(sow_arena_new(&l->arena));
    SOW_TRY(sow_arena_new(&l->scratch));
    SOW_TRY(sow_arena_new(&l->batch_arena));
    SOW_TRY(SOW_NEW(l->arena, l->rows, l->count));
    SOW_TRY(SOW_NEW(l->arena, l->failures, l->count));
    SOW_TRY(SOW_NEW(l->arena, l->watched, 2 * l->slot_count));
    SOW_TRY(SOW_NEW_RAW(l->arena, l->batch, BATCH));
    SOW_TRY(SOW_NEW(l->arena, l->slots, l->slot_count));
    for (int s = 0; s < l->slot_count; s++)
        l->slots[s] = (sow_slot){.cell = -1, .log = -1, .trainer = {.socket = -1, .output = -1}};
    SOW_TRY(sow_order_new(l->arena, l->cells, l->count, &l->order));
    SOW_TRY(sow_supervisor_path(l->arena, &l->supervisor));
    SOW_TRY(sow_trainer_environment(l->arena, threads, &l->environment));
    return begin(l);
}

static sow_status report(const loop *l) {
    int failed = 0, diverged = 0, first = -1;
    if (l->error != SOW_OK) return sow_fail(l->error, "%s", l->message);
    for (int c = 0; c < l->count; c++) {
        failed += l->cells[c].state == SOW_CELL_FAILED;
        diverged += l->cells[c].state == SOW_CELL_DIVERGED;
        if (first < 0 && l->cells[c].state != SOW_CELL_DONE) first = c;
    }
    if (first < 0) return SOW_OK;
    const sow_cell *cell = &l->cells[first];
    return sow_fail(SOW_E_TRAINER,
                    "of %d cells, %d failed and %d diverged; the first is %s, seed %llu, arm %d (%s/log): %.1500s",
                    l->count, failed, diverged, cell->stage, (unsigned long long)cell->seed, cell->arm, cell->folder,
                    cell->last_lines ? cell->last_lines : "diverged in an earlier run");
}

static void release(loop *l) {
    for (int s = 0; l->slots && s < l->slot_count; s++) sow_slot_close(&l->slots[s]);
    sow_arena_free(l->batch_arena);
    sow_arena_free(l->scratch);
    sow_arena_free(l->arena);
}

sow_status sow_run_cells(sow_store *store, const sow_runner *runner, sow_cell *cells, int count) {
    loop l = {.store = store, .runner = runner, .cells = cells, .count = count};
    sow_status status = prepare(&l);
    if (status == SOW_OK) {
        run(&l);
        status = report(&l);
    }
    release(&l);
    return status;
}
