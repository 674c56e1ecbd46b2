/* The end of a cell: its last records, what `finish` keeps, its state and all that follows from it, in one
 * transaction. */
#include <stdio.h>
#include <string.h>

#include "run/loop.h"
#include "sow/log.h"

int64_t sow_loop_units(const sow_loop *l, int cell) {
    return l->total_units > l->count ? l->cells[cell].steps : 1;
}

/* ---- records ---- */

static sow_status put_batch(sow_loop *l) {
    for (int i = 0; i < l->batched; i++)
        SOW_TRY(sow_store_value(l->store, l->batch[i].row, l->batch[i].attempt, &l->batch[i].record));
    return SOW_OK;
}

static void forget_batch(sow_loop *l) {
    l->batched = 0;
    sow_arena_release(l->batch_arena, (sow_mark){0});
}

sow_status sow_loop_flush(sow_loop *l) {
    if (l->batched == 0) return SOW_OK;
    SOW_TRY(sow_store_begin(l->store));
    sow_status status = put_batch(l);
    if (status == SOW_OK) status = sow_store_commit(l->store);
    if (status != SOW_OK) sow_store_rollback(l->store);
    forget_batch(l);
    return status;
}

sow_status sow_loop_record(void *loop, sow_slot *slot, const sow_record *record) {
    sow_loop *l = loop;
    sow_cell *cell = &l->cells[slot->cell];
    if (l->runner->record) l->runner->record(l->runner->user, cell, record);
    if (l->batched == SOW_BATCH) SOW_TRY(sow_loop_flush(l));
    if (l->batched == 0) l->batch_since = sow_seconds();
    const char *previous = l->batched > 0 ? l->batch[l->batched - 1].record.metric : NULL;
    const char *metric = previous && !strcmp(previous, record->metric) ? previous
                                                                       : sow_arena_copy(l->batch_arena, record->metric);
    if (!metric) return SOW_E_MEMORY;
    l->batch[l->batched++] = (sow_loop_value){
        l->rows[slot->cell], cell->attempt, {record->step, metric, record->value}};
    return SOW_OK;
}

bool sow_loop_enough(void *loop, sow_slot *slot, int64_t step) {
    const sow_loop *l = loop;
    return l->runner->enough && l->runner->enough(l->runner->user, &l->cells[slot->cell], step);
}

/* ---- what follows from an end ---- */

static void set_final(sow_loop *l, int cell, sow_cell_state state) {
    l->cells[cell].state = state;
    l->final++;
    l->done_units += sow_loop_units(l, cell);
}

static bool has_ended(const sow_cell *cell) {
    return cell->state == SOW_CELL_DONE || cell->state == SOW_CELL_DIVERGED || cell->state == SOW_CELL_FAILED;
}

static sow_status tell_ended(sow_loop *l, int cell) {
    return l->runner->ended ? l->runner->ended(l->runner->user, &l->cells[cell]) : SOW_OK;
}

/* Cells that wait for one that failed for good fail too. */
static sow_status block_dependents(sow_loop *l, int cell) {
    const int *list;
    int count = sow_order_dependents(&l->order, cell, &list);
    for (int i = 0; i < count; i++) {
        sow_cell *blocked = &l->cells[list[i]];
        if (blocked->state != SOW_CELL_PENDING) continue;
        blocked->last_lines = sow_arena_format(sow_store_arena(l->store), "not run: it needs %s, seed %llu, which %s",
                                               l->cells[cell].stage, (unsigned long long)l->cells[cell].seed,
                                               l->cells[cell].state == SOW_CELL_DIVERGED ? "diverged" : "failed");
        if (!blocked->last_lines) return SOW_E_MEMORY;
        SOW_TRY(sow_store_blocked(l->store, l->rows[list[i]]));
        set_final(l, list[i], SOW_CELL_FAILED);
        SOW_TRY(tell_ended(l, list[i]));
    }
    return SOW_OK;
}

/* Takes unwanted cells out, whatever became of them; those that run are stopped by the loop. What needs a cell stands
 * behind it in the list, so one pass finds all. */
static sow_status drop_unwanted(sow_loop *l) {
    if (!l->runner->ended) return SOW_OK; /* which alone says so */
    for (int c = 0; c < l->count; c++) {
        sow_cell *cell = &l->cells[c];
        if (!cell->unwanted || l->dropped[c]) continue;
        l->dropped[c] = true;
        for (int d = l->order.first[c]; d < l->order.first[c + 1]; d++)
            l->cells[l->order.dependents[d]].unwanted = true;
        if (cell->state == SOW_CELL_RUNNING) continue;
        SOW_TRY(sow_store_dropped(l->store, l->rows[c]));
        if (has_ended(cell)) cell->state = SOW_CELL_STOPPED;
        else set_final(l, c, SOW_CELL_STOPPED);
    }
    return SOW_OK;
}

/* ---- the end of a cell ---- */

static sow_status keep_ending(sow_loop *l, int index, const sow_ending *ending) {
    sow_cell *cell = &l->cells[index];
    SOW_TRY(put_batch(l));
    SOW_TRY(sow_store_ended(l->store, l->rows[index], cell->attempt, ending));
    cell->seconds = ending->seconds;
    cell->state = ending->state;
    if (cell->state == SOW_CELL_PENDING) return SOW_OK;
    set_final(l, index, ending->state);
    if (cell->state == SOW_CELL_STOPPED) return cell->unwanted ? sow_store_dropped(l->store, l->rows[index]) : SOW_OK;
    SOW_TRY(tell_ended(l, index));
    if (cell->state != SOW_CELL_DONE) SOW_TRY(block_dependents(l, index));
    return drop_unwanted(l);
}

/* One transaction: the last records, the new state and what follows. */
static sow_status end_in_store(sow_loop *l, int cell, const sow_ending *ending) {
    SOW_TRY(sow_store_begin(l->store));
    sow_status status = keep_ending(l, cell, ending);
    if (status == SOW_OK) status = sow_store_commit(l->store);
    if (status != SOW_OK) sow_store_rollback(l->store);
    forget_batch(l);
    return status;
}

static sow_status call_finish(sow_loop *l, int cell) {
    sow_record *records;
    int64_t count;
    SOW_TRY(sow_store_curve_in(l->store, l->scratch, &l->cells[cell], SOW_CELL_RUNNING, &records, &count));
    return l->runner->finish(l->runner->user, &l->cells[cell], records, count);
}

/* Exit status 0. *refused: the caller's finish does not accept it, and says why. */
static sow_status end_done(sow_loop *l, int cell, const sow_ending *ending, sow_status *refused) {
    *refused = SOW_OK;
    if (!l->runner->finish) return end_in_store(l, cell, ending);
    SOW_TRY(sow_loop_flush(l));
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

/* A trainer that printed no record is told how, where finish missed them. */
static sow_status explain_records(sow_loop *l, sow_slot *slot) {
    char *log = slot->last_lines;
    size_t used = strlen(slot->reason);
    if (slot->reader.steps >= 0) return SOW_OK;
    if (!log) SOW_TRY(sow_slot_tail(slot, l->cells[slot->cell].folder, l->scratch, &log));
    const char *hint = strstr(log, "{\"step\"") || strstr(log, "{'step'")
                           ? "its records are in its log: print them to standard output, as JSON on lines of their own"
                           : "it printed no record: expected lines like {\"step\":10,\"loss\":0.5} on standard output";
    snprintf(slot->reason + used, sizeof slot->reason - used, "; %s", hint);
    return SOW_OK;
}

static sow_cell_state state_after(sow_loop *l, const sow_slot *slot, sow_status refused) {
    int cell = slot->cell;
    if (slot->end == SOW_END_DIVERGED || refused == SOW_E_NUMBER) return SOW_CELL_DIVERGED;
    if (slot->end == SOW_END_STOPPED) return SOW_CELL_STOPPED;
    if (l->error != SOW_OK) return SOW_CELL_STOPPED; /* it ended while we wind up: no retry */
    if (slot->end == SOW_END_LOST) return SOW_CELL_PENDING;
    return ++l->failures[cell] > l->runner->retries ? SOW_CELL_FAILED : SOW_CELL_PENDING;
}

/* Anything but done: the reason and the last lines are kept. */
static sow_status end_badly(sow_loop *l, sow_slot *slot, sow_ending *ending, sow_status refused) {
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
        sow_warn("%s: attempt %d %s and is tried again: %s", slot->who, l->cells[cell].attempt,
                 slot->end == SOW_END_LOST ? "was lost" : "failed", slot->reason);
    return end_in_store(l, cell, ending);
}

sow_status sow_loop_end_cell(sow_loop *l, sow_slot *slot) {
    int cell = slot->cell, code;
    sow_status refused = SOW_OK;
    SOW_TRY(sow_slot_conclude(slot, &code));
    sow_ending ending = {SOW_CELL_DONE, "done", code, NULL, slot->reader.steps, sow_seconds() - slot->started};
    /* However it ended: another order would have stopped an unwanted one, and after a failure to write, records of
     * this one may be lost. */
    if (l->cells[cell].unwanted || (l->error != SOW_OK && l->error != SOW_E_INTERRUPTED)) {
        ending.state = SOW_CELL_STOPPED;
        ending.outcome = sow_end_name(SOW_END_STOPPED);
        return end_in_store(l, cell, &ending);
    }
    bool good = slot->end == SOW_END_ENOUGH || (slot->end == SOW_END_EXIT && code == 0);
    if (good) SOW_TRY(end_done(l, cell, &ending, &refused));
    if (refused != SOW_OK) {
        snprintf(slot->reason, sizeof slot->reason, "%.350s", sow_message());
        SOW_TRY(explain_records(l, slot));
    }
    if (!good || refused != SOW_OK) SOW_TRY(end_badly(l, slot, &ending, refused));
    if (l->cells[cell].state == SOW_CELL_DONE) sow_order_done(&l->order, cell);
    if (l->cells[cell].state == SOW_CELL_PENDING) sow_order_push(&l->order, cell);
    return SOW_OK;
}

/* ---- what an earlier run left ---- */

sow_status sow_loop_take_over(sow_loop *l) {
    for (int c = 0; c < l->count; c++) {
        if (!has_ended(&l->cells[c])) continue;
        set_final(l, c, l->cells[c].state);
        if (l->cells[c].state == SOW_CELL_DONE) sow_order_done(&l->order, c);
        SOW_TRY(tell_ended(l, c));
    }
    for (int c = 0; c < l->count; c++)
        if (l->cells[c].state == SOW_CELL_DIVERGED || l->cells[c].state == SOW_CELL_FAILED)
            SOW_TRY(block_dependents(l, c));
    SOW_TRY(drop_unwanted(l));
    for (int c = 0; c < l->count; c++)
        if (l->cells[c].state == SOW_CELL_PENDING && l->cells[c].need_count == 0) sow_order_push(&l->order, c);
    return SOW_OK;
}
