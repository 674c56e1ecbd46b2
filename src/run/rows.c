/* Rows of the store: cells, attempts, curves, scores, verdicts, decisions. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "run/database.h"

/* The attempts that count against a plan's retries: not those that were cut short from outside. */
#define OWN_FAULT "outcome NOT IN('done','diverged','stopped','lost')"

const char *const sow_statement_texts[SOW_STATEMENTS] = {
    [SOW_INSERT_CELL] = "INSERT OR IGNORE INTO cell(plan,stage,arm,seed,state,attempt) VALUES(?1,?2,?3,?4,'pending',0)",
    [SOW_SELECT_CELL] = "SELECT id,state,attempt,seconds FROM cell WHERE plan=?1 AND stage=?2 AND arm=?3 AND seed=?4",
    [SOW_COUNT_FAILURES] = "SELECT count(*) FROM attempt WHERE cell=?1 AND " OWN_FAULT,
    [SOW_START_CELL] = "UPDATE cell SET state='running',attempt=?2 WHERE id=?1",
    [SOW_START_ATTEMPT] = "INSERT INTO attempt(cell,attempt,rank,started) VALUES(?1,?2,?3,?4)",
    [SOW_END_CELL] = "UPDATE cell SET state=?2,steps=?3,seconds=?4 WHERE id=?1",
    [SOW_END_ATTEMPT] = "UPDATE attempt SET ended=?3,outcome=?4,code=?5,log=?6 WHERE cell=?1 AND attempt=?2",
    [SOW_BLOCK_CELL] = "UPDATE cell SET state='failed' WHERE id=?1",
    [SOW_DROP_CELL] = "UPDATE cell SET state='stopped',score=NULL,test=NULL,steps=NULL WHERE id=?1",
    [SOW_DROP_ATTEMPTS] = "UPDATE attempt SET outcome='stopped' WHERE cell=?1 AND outcome='done'",
    [SOW_DROP_CURVE] = "DELETE FROM curve WHERE cell=?1",
    [SOW_INSERT_VALUE] = "INSERT OR REPLACE INTO curve(cell,attempt,metric,step,value) VALUES(?1,?2,?3,?4,?5)",
    [SOW_SELECT_CURVE] =
        ("SELECT metric,step,value FROM curve WHERE (cell,attempt) IN"
         " (SELECT id,attempt FROM cell WHERE plan=?1 AND stage=?2 AND arm=?3 AND seed=?4 AND state=?5) ORDER BY metric,step"),
    [SOW_SET_SCORE] = "UPDATE cell SET score=?5,test=?6 WHERE plan=?1 AND stage=?2 AND arm=?3 AND seed=?4",
    [SOW_SET_VERDICT] =
        "INSERT OR REPLACE INTO verdict(plan,arm,verdict,n,effect,low,high,p,detail) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)",
    [SOW_INSERT_DECISION] = "INSERT OR IGNORE INTO decision(plan,n,arm,what,detail) VALUES(?1,?2,?3,?4,?5)",
    [SOW_SELECT_DECISION] = "SELECT detail FROM decision WHERE plan=?1 AND n=?2 AND arm=?3 AND what=?4",
    [SOW_LIST_CELLS] =
        ("SELECT stage,arm,seed,state,cell.attempt,score,test,seconds,steps,rank,started,ended,outcome,log FROM cell"
         " LEFT JOIN attempt ON attempt.cell=cell.id AND attempt.attempt=cell.attempt WHERE plan=?1 ORDER BY cell.id"),
    [SOW_LIST_VERDICTS] = "SELECT arm,verdict,n,effect,low,high,p,detail FROM verdict WHERE plan=?1 ORDER BY arm",
    [SOW_LIST_DECISIONS] = "SELECT n,arm,what,detail FROM decision WHERE plan=?1 ORDER BY n,arm,what",
};

static const char *const states[] = {"pending", "running", "done", "diverged", "failed", "stopped"};

/* ---- cells and attempts ---- */

static double wall_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static sow_status bind_cell(sow_store *store, sow_statement which, const sow_cell *cell) {
    return sow_store_bind(store, which, "ttii", store->plan, cell->stage, (int64_t)cell->arm, (int64_t)cell->seed);
}

static sow_cell_state state_named(const char *name) {
    for (int i = 0; name && i < (int)(sizeof states / sizeof *states); i++)
        if (!strcmp(states[i], name)) return (sow_cell_state)i;
    return SOW_CELL_PENDING;
}

sow_status sow_store_cell(sow_store *store, sow_cell *cell, int64_t *row) {
    SOW_TRY(bind_cell(store, SOW_INSERT_CELL, cell));
    SOW_TRY(sow_store_change(store, SOW_INSERT_CELL, "a cell cannot be stored"));
    SOW_TRY(bind_cell(store, SOW_SELECT_CELL, cell));
    sqlite3_stmt *s = store->statements[SOW_SELECT_CELL];
    sow_status status = sqlite3_step(s) == SQLITE_ROW ? SOW_OK : sow_store_failure(store, "a cell cannot be read");
    if (status == SOW_OK) {
        *row = sqlite3_column_int64(s, 0);
        cell->state = state_named((const char *)sqlite3_column_text(s, 1));
        cell->attempt = sqlite3_column_int(s, 2);
        cell->seconds = sqlite3_column_double(s, 3);
    }
    sqlite3_reset(s);
    return status;
}

sow_status sow_store_failures(sow_store *store, int64_t row, int *count) {
    sqlite3_stmt *s = store->statements[SOW_COUNT_FAILURES];
    SOW_TRY(sow_store_bind(store, SOW_COUNT_FAILURES, "i", row));
    sow_status status = sqlite3_step(s) == SQLITE_ROW ? SOW_OK : sow_store_failure(store, "attempts cannot be read");
    if (status == SOW_OK) *count = sqlite3_column_int(s, 0);
    sqlite3_reset(s);
    return status;
}

sow_status sow_store_started(sow_store *store, int64_t row, int attempt, int rank) {
    SOW_TRY(sow_store_bind(store, SOW_START_CELL, "ii", row, (int64_t)attempt));
    SOW_TRY(sow_store_change(store, SOW_START_CELL, "a cell cannot be stored"));
    SOW_TRY(sow_store_bind(store, SOW_START_ATTEMPT, "iiir", row, (int64_t)attempt, (int64_t)rank, wall_clock()));
    return sow_store_change(store, SOW_START_ATTEMPT, "an attempt cannot be stored");
}

sow_status sow_store_ended(sow_store *store, int64_t row, int attempt, const sow_ending *ending) {
    SOW_TRY(sow_store_bind(store, SOW_END_CELL, "itir", row, states[ending->state], ending->steps, ending->seconds));
    if (ending->steps < 0) sqlite3_bind_null(store->statements[SOW_END_CELL], 3);
    SOW_TRY(sow_store_change(store, SOW_END_CELL, "a cell cannot be stored"));
    SOW_TRY(sow_store_bind(store, SOW_END_ATTEMPT, "iirtit", row, (int64_t)attempt, wall_clock(), ending->outcome,
                           (int64_t)ending->code, ending->log));
    return sow_store_change(store, SOW_END_ATTEMPT, "an attempt cannot be stored");
}

sow_status sow_store_blocked(sow_store *store, int64_t row) {
    SOW_TRY(sow_store_bind(store, SOW_BLOCK_CELL, "i", row));
    return sow_store_change(store, SOW_BLOCK_CELL, "a cell cannot be stored");
}

sow_status sow_store_dropped(sow_store *store, int64_t row) {
    static const sow_statement parts[] = {SOW_DROP_CELL, SOW_DROP_ATTEMPTS, SOW_DROP_CURVE};
    for (int i = 0; i < 3; i++) {
        SOW_TRY(sow_store_bind(store, parts[i], "i", row));
        SOW_TRY(sow_store_change(store, parts[i], "a cell cannot be stored"));
    }
    return SOW_OK;
}

sow_status sow_store_value(sow_store *store, int64_t row, int attempt, const sow_record *record) {
    SOW_TRY(sow_store_bind(store, SOW_INSERT_VALUE, "iitir", row, (int64_t)attempt, record->metric, record->step,
                           record->value));
    return sow_store_change(store, SOW_INSERT_VALUE, "a curve cannot be stored");
}

/* ---- what callers read and keep ---- */

static sow_status read_curve(sow_store *store, sow_arena *arena, sow_record **records, int64_t *count) {
    sqlite3_stmt *s = store->statements[SOW_SELECT_CURVE];
    const char *metric = "";
    int64_t n = 0, capacity = 256;
    int code;
    SOW_TRY(SOW_NEW_RAW(arena, *records, capacity));
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(s, 0);
        if (!name) return sow_store_failure(store, "a curve cannot be read");
        if (strcmp(metric, name) && !(metric = sow_arena_copy(arena, name))) return SOW_E_MEMORY;
        if (n == capacity) {
            sow_record *larger;
            SOW_TRY(SOW_NEW_RAW(arena, larger, 2 * capacity));
            *records = memcpy(larger, *records, (size_t)n * sizeof *larger);
            capacity *= 2;
        }
        (*records)[n++] = (sow_record){sqlite3_column_int64(s, 1), metric, sqlite3_column_double(s, 2)};
    }
    *count = n;
    return code == SQLITE_DONE ? SOW_OK : sow_store_failure(store, "a curve cannot be read");
}

sow_status sow_store_curve_in(sow_store *store, sow_arena *arena, const sow_cell *cell, sow_cell_state state,
                              sow_record **records, int64_t *count) {
    SOW_TRY(bind_cell(store, SOW_SELECT_CURVE, cell));
    if (sqlite3_bind_text(store->statements[SOW_SELECT_CURVE], 5, states[state], -1, SQLITE_STATIC) != SQLITE_OK)
        return sow_store_failure(store, "cannot bind values");
    sow_status status = read_curve(store, arena, records, count);
    sqlite3_reset(store->statements[SOW_SELECT_CURVE]);
    return status;
}

sow_status sow_store_curve(sow_store *store, sow_arena *arena, const sow_cell *cell, sow_record **records,
                           int64_t *count) {
    return sow_store_curve_in(store, arena, cell, SOW_CELL_DONE, records, count);
}

sow_status sow_store_score(sow_store *store, const sow_cell *cell, double score, double test) {
    bool own;
    if (!isfinite(score))
        return sow_fail(SOW_E_NUMBER, "%s: the score of %s, seed %llu, arm %d is not finite", store->path, cell->stage,
                        (unsigned long long)cell->seed, cell->arm);
    SOW_TRY(sow_store_enter(store, &own));
    sow_status status = sow_store_bind(store, SOW_SET_SCORE, "ttiirr", store->plan, cell->stage, (int64_t)cell->arm,
                                       (int64_t)cell->seed, score, test);
    if (status == SOW_OK) status = sow_store_change(store, SOW_SET_SCORE, "a score cannot be stored");
    if (status == SOW_OK && sqlite3_changes(store->database) == 0)
        status = sow_fail(SOW_E_NOT_FOUND, "%s: no cell %s, seed %llu, arm %d", store->path, cell->stage,
                          (unsigned long long)cell->seed, cell->arm);
    return sow_store_leave(store, own, status);
}

sow_status sow_store_verdict(sow_store *store, const sow_verdict *v) {
    bool own;
    SOW_TRY(sow_store_enter(store, &own));
    sow_status status = sow_store_bind(store, SOW_SET_VERDICT, "titirrrrt", store->plan, (int64_t)v->arm, v->verdict,
                                       (int64_t)v->n, v->effect, v->low, v->high, v->p, v->detail);
    if (status == SOW_OK) status = sow_store_change(store, SOW_SET_VERDICT, "a verdict cannot be stored");
    return sow_store_leave(store, own, status);
}

/* Keeps it if it is new; what was there must be the same. */
static sow_status keep_decision(sow_store *store, int n, int arm, const char *what, const char *detail) {
    SOW_TRY(sow_store_bind(store, SOW_INSERT_DECISION, "tiitt", store->plan, (int64_t)n, (int64_t)arm, what, detail));
    SOW_TRY(sow_store_change(store, SOW_INSERT_DECISION, "a decision cannot be stored"));
    if (sqlite3_changes(store->database) == 1) return SOW_OK;
    sqlite3_stmt *s = store->statements[SOW_SELECT_DECISION];
    SOW_TRY(sow_store_bind(store, SOW_SELECT_DECISION, "tiit", store->plan, (int64_t)n, (int64_t)arm, what));
    sow_status status = sqlite3_step(s) == SQLITE_ROW ? SOW_OK : sow_store_failure(store, "a decision cannot be read");
    const char *found = status == SOW_OK ? (const char *)sqlite3_column_text(s, 0) : NULL;
    if (status == SOW_OK && strcmp(found ? found : "", detail ? detail : ""))
        status = sow_fail(
            SOW_E_FORMAT,
            "%s: after %d seeds, arm %d, %s: found %.200s, expected %.200s as computed from the cells; the "
            "store was changed, or made by another version: use another folder",
            store->path, n, arm, what, found ? found : "nothing", detail ? detail : "nothing");
    sqlite3_reset(s);
    return status;
}

sow_status sow_store_decision(sow_store *store, int n, int arm, const char *what, const char *detail) {
    bool own;
    SOW_TRY(sow_store_enter(store, &own));
    return sow_store_leave(store, own, keep_decision(store, n, arm, what, detail));
}

/* ---- lists ---- */

static double real_at(sqlite3_stmt *s, int column) {
    return sqlite3_column_type(s, column) == SQLITE_NULL ? NAN : sqlite3_column_double(s, column);
}

/* "" where the store, a stranger's maybe, has none. */
static sow_status name_at(sow_arena *arena, sqlite3_stmt *s, int column, const char **text) {
    const char *found = (const char *)sqlite3_column_text(s, column);
    *text = sow_arena_copy(arena, found ? found : "");
    return *text ? SOW_OK : SOW_E_MEMORY;
}

/* NULL where the store has none. */
static sow_status text_at(sow_arena *arena, sqlite3_stmt *s, int column, const char **text) {
    const char *found = (const char *)sqlite3_column_text(s, column);
    *text = found ? sow_arena_copy(arena, found) : NULL;
    return !found || *text ? SOW_OK : SOW_E_MEMORY;
}

/* Names of stages repeat: one copy serves the cells that follow each other. */
static sow_status stage_at(sow_arena *arena, sqlite3_stmt *s, const char *previous, const char **stage) {
    const char *found = (const char *)sqlite3_column_text(s, 0);
    *stage = previous && found && !strcmp(previous, found) ? previous : sow_arena_copy(arena, found ? found : "");
    return *stage ? SOW_OK : SOW_E_MEMORY;
}

static sow_status read_cell_row(sow_arena *arena, sqlite3_stmt *s, const sow_cell_row *previous, sow_cell_row *row) {
    *row = (sow_cell_row){
        .arm = sqlite3_column_int(s, 1),
        .seed = (uint64_t)sqlite3_column_int64(s, 2),
        .state = state_named((const char *)sqlite3_column_text(s, 3)),
        .attempt = sqlite3_column_int(s, 4),
        .score = real_at(s, 5),
        .test = real_at(s, 6),
        .seconds = real_at(s, 7),
        .steps = sqlite3_column_type(s, 8) == SQLITE_NULL ? -1 : sqlite3_column_int64(s, 8),
        .rank = sqlite3_column_int(s, 9),
        .started = real_at(s, 10),
        .ended = real_at(s, 11),
    };
    SOW_TRY(stage_at(arena, s, previous ? previous->stage : NULL, &row->stage));
    SOW_TRY(text_at(arena, s, 12, &row->outcome));
    return text_at(arena, s, 13, &row->last_lines);
}

static sow_status read_verdict_row(sow_arena *arena, sqlite3_stmt *s, sow_verdict *row) {
    *row = (sow_verdict){.arm = sqlite3_column_int(s, 0),
                         .n = sqlite3_column_int(s, 2),
                         .effect = real_at(s, 3),
                         .low = real_at(s, 4),
                         .high = real_at(s, 5),
                         .p = real_at(s, 6)};
    SOW_TRY(name_at(arena, s, 1, &row->verdict));
    return text_at(arena, s, 7, &row->detail);
}

static sow_status read_decision_row(sow_arena *arena, sqlite3_stmt *s, sow_decision_row *row) {
    *row = (sow_decision_row){.n = sqlite3_column_int(s, 0), .arm = sqlite3_column_int(s, 1)};
    SOW_TRY(name_at(arena, s, 2, &row->what));
    return text_at(arena, s, 3, &row->detail);
}

/* Room for one more row of `size` bytes; *capacity is in rows. */
static sow_status make_room(sow_arena *arena, void **rows, int64_t count, int64_t *capacity, size_t size) {
    if (count < *capacity) return SOW_OK;
    int64_t wanted = *capacity ? 2 * *capacity : 64;
    void *larger = sow_arena_take_raw(arena, (size_t)wanted, size);
    if (!larger) return SOW_E_MEMORY;
    if (count) memcpy(larger, *rows, (size_t)count * size);
    *rows = larger;
    *capacity = wanted;
    return SOW_OK;
}

/* All rows of a list, each of `size` bytes. */
static sow_status read_list(sow_store *store, sow_statement which, sow_arena *arena, void **rows, int64_t *count,
                            size_t size) {
    sqlite3_stmt *s = store->statements[which];
    int64_t n = 0, capacity = 0;
    int code = 0;
    sow_status status = sow_store_bind(store, which, "t", store->plan);
    *rows = NULL;
    while (status == SOW_OK && (code = sqlite3_step(s)) == SQLITE_ROW) {
        status = make_room(arena, rows, n, &capacity, size);
        if (status != SOW_OK) break;
        char *row = (char *)*rows + (size_t)n * size;
        if (which == SOW_LIST_CELLS)
            status = read_cell_row(arena, s, n ? (sow_cell_row *)(void *)(row - size) : NULL, (void *)row);
        else if (which == SOW_LIST_VERDICTS) status = read_verdict_row(arena, s, (void *)row);
        else status = read_decision_row(arena, s, (void *)row);
        n++;
    }
    if (status == SOW_OK && code != SQLITE_DONE) status = sow_store_failure(store, "its rows cannot be read");
    sqlite3_reset(s);
    *count = status == SOW_OK ? n : 0;
    return status;
}

sow_status sow_store_cells(sow_store *store, sow_arena *arena, sow_cell_row **rows, int64_t *count) {
    void *list;
    SOW_TRY(read_list(store, SOW_LIST_CELLS, arena, &list, count, sizeof **rows));
    *rows = list;
    return SOW_OK;
}

sow_status sow_store_verdicts(sow_store *store, sow_arena *arena, sow_verdict **rows, int64_t *count) {
    void *list;
    SOW_TRY(read_list(store, SOW_LIST_VERDICTS, arena, &list, count, sizeof **rows));
    *rows = list;
    return SOW_OK;
}

sow_status sow_store_decisions(sow_store *store, sow_arena *arena, sow_decision_row **rows, int64_t *count) {
    void *list;
    SOW_TRY(read_list(store, SOW_LIST_DECISIONS, arena, &list, count, sizeof **rows));
    *rows = list;
    return SOW_OK;
}
