/* The store: plans, cells, attempts, curves and verdicts in SQLite (schema of PROVE.md, section 4). */
#include "run/store.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "run/plan.h"
#include "sow/file.h"
#include "sow/log.h"
#include "sow/sow.h"
#include "sow/threads.h"

enum { SCHEMA_VERSION = 1 };

static const char pragmas[] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=10000;";

static const char schema[] =
    "CREATE TABLE plan(id TEXT PRIMARY KEY, json TEXT NOT NULL, sow TEXT, machine TEXT) STRICT;"
    "CREATE TABLE cell(id INTEGER PRIMARY KEY, plan TEXT NOT NULL, stage TEXT NOT NULL, arm INTEGER NOT NULL, seed INTEGER NOT NULL,"
    " state TEXT CHECK(state IN('pending','running','done','diverged','failed','stopped')), attempt INTEGER,"
    " score REAL, test REAL, steps INTEGER, seconds REAL, init_sha256 TEXT, UNIQUE(plan,stage,seed,arm)) STRICT;"
    "CREATE TABLE attempt(cell INTEGER, attempt INTEGER, rank INTEGER, started REAL, ended REAL, outcome TEXT, code INTEGER, log TEXT,"
    " PRIMARY KEY(cell,attempt)) STRICT;"
    "CREATE TABLE curve(cell INTEGER, attempt INTEGER, metric TEXT, step INTEGER, value REAL,"
    " PRIMARY KEY(cell,attempt,metric,step)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE decision(plan TEXT, n INTEGER, arm INTEGER, what TEXT, detail TEXT, PRIMARY KEY(plan,n,arm,what)) STRICT;"
    "CREATE TABLE verdict(plan TEXT, arm INTEGER, verdict TEXT, n INTEGER, effect REAL, low REAL, high REAL, p REAL, detail TEXT,"
    " PRIMARY KEY(plan,arm)) STRICT;"
    "PRAGMA user_version=1;";

typedef enum statement {
    INSERT_CELL,
    SELECT_CELL,
    START_CELL,
    START_ATTEMPT,
    END_CELL,
    END_ATTEMPT,
    BLOCK_CELL,
    INSERT_VALUE,
    SELECT_CURVE,
    SET_SCORE,
    SET_VERDICT,
    STATEMENTS
} statement;

static const char *const texts[STATEMENTS] = {
    [INSERT_CELL] = "INSERT OR IGNORE INTO cell(plan,stage,arm,seed,state,attempt) VALUES(?1,?2,?3,?4,'pending',0)",
    [SELECT_CELL] = "SELECT id,state,attempt,seconds FROM cell WHERE plan=?1 AND stage=?2 AND arm=?3 AND seed=?4",
    [START_CELL] = "UPDATE cell SET state='running',attempt=?2 WHERE id=?1",
    [START_ATTEMPT] = "INSERT INTO attempt(cell,attempt,rank,started) VALUES(?1,?2,0,?3)",
    [END_CELL] = "UPDATE cell SET state=?2,steps=?3,seconds=?4 WHERE id=?1",
    [END_ATTEMPT] = "UPDATE attempt SET ended=?3,outcome=?4,code=?5,log=?6 WHERE cell=?1 AND attempt=?2",
    [BLOCK_CELL] = "UPDATE cell SET state='failed' WHERE id=?1",
    [INSERT_VALUE] = "INSERT OR REPLACE INTO curve(cell,attempt,metric,step,value) VALUES(?1,?2,?3,?4,?5)",
    [SELECT_CURVE] =
        ("SELECT metric,step,value FROM curve WHERE (cell,attempt) IN"
         " (SELECT id,attempt FROM cell WHERE plan=?1 AND stage=?2 AND arm=?3 AND seed=?4 AND state=?5) ORDER BY metric,step"),
    [SET_SCORE] = "UPDATE cell SET score=?5,test=?6 WHERE plan=?1 AND stage=?2 AND arm=?3 AND seed=?4",
    [SET_VERDICT] =
        "INSERT OR REPLACE INTO verdict(plan,arm,verdict,n,effect,low,high,p,detail) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)",
};

static const char *const states[] = {"pending", "running", "done", "diverged", "failed", "stopped"};

struct sow_store {
    sow_arena *arena;
    sqlite3 *database;
    sqlite3_stmt *statements[STATEMENTS];
    const char *folder, *path;
    char plan[65];
    int lock;
    bool in_transaction;
};

/* ---- SQLite's answers as ours ---- */

static sow_status failure(sow_store *store, const char *doing) {
    int code = sqlite3_errcode(store->database) & 0xff;
    sow_status status = SOW_E_IO;
    if (code == SQLITE_NOMEM) status = SOW_E_MEMORY;
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED) status = SOW_E_BUSY;
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_SCHEMA || code == SQLITE_ERROR)
        status = SOW_E_FORMAT;
    return sow_fail(status, "%s: %s: %s", store->path, doing, sqlite3_errmsg(store->database));
}

static sow_status execute(sow_store *store, const char *doing, const char *text) {
    return sqlite3_exec(store->database, text, NULL, NULL, NULL) == SQLITE_OK ? SOW_OK : failure(store, doing);
}

/* Binds by a format: i int64, r double (NaN: NULL), t text (NULL allowed). */
static sow_status bind(sow_store *store, statement which, const char *types, ...) {
    sqlite3_stmt *s = store->statements[which];
    va_list values;
    int failed = 0;
    va_start(values, types);
    for (int i = 1; types[i - 1] && !failed; i++) {
        if (types[i - 1] == 'i') failed = sqlite3_bind_int64(s, i, va_arg(values, int64_t));
        else if (types[i - 1] == 'r') failed = sqlite3_bind_double(s, i, va_arg(values, double));
        else failed = sqlite3_bind_text(s, i, va_arg(values, const char *), -1, SQLITE_TRANSIENT);
    }
    va_end(values);
    return failed ? failure(store, "cannot bind values") : SOW_OK;
}

/* Runs a statement that gives no rows. */
static sow_status change(sow_store *store, statement which, const char *doing) {
    int code = sqlite3_step(store->statements[which]);
    sow_status status = code == SQLITE_DONE ? SOW_OK : failure(store, doing);
    sqlite3_reset(store->statements[which]);
    return status;
}

sow_status sow_store_begin(sow_store *store) {
    SOW_TRY(execute(store, "a transaction cannot begin", "BEGIN IMMEDIATE"));
    store->in_transaction = true;
    return SOW_OK;
}

sow_status sow_store_commit(sow_store *store) {
    if (sow_fault(SOW_FAULT_WRITE))
        return sow_fail(SOW_E_IO, "%s: cannot be written: %s", store->path, strerror(errno));
    SOW_TRY(execute(store, "cannot be written", "COMMIT"));
    store->in_transaction = false;
    return SOW_OK;
}

void sow_store_rollback(sow_store *store) {
    sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
    store->in_transaction = false;
}

/* Commits, or takes back, a transaction that the caller began for one change. */
static sow_status finish(sow_store *store, bool own, sow_status status) {
    if (!own) return status;
    if (status == SOW_OK) status = sow_store_commit(store);
    if (status != SOW_OK) sow_store_rollback(store);
    return status;
}

/* ---- opening ---- */

static int lock_holder(int fd) {
    char text[32] = "";
    return pread(fd, text, sizeof text - 1, 0) > 0 ? atoi(text) : 0;
}

/* flock on a file beside the store. The supervisors of trainers share it: after our death it stays taken until they
 * have ended theirs, which takes milliseconds, so it is waited for when the process named in it is gone. */
static sow_status take_lock(sow_store *store) {
    const char *path = sow_path_join(store->arena, store->folder, "sow.lock");
    if (!path) return SOW_E_MEMORY;
    store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (store->lock < 0) return sow_fail(SOW_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
    double patience = sow_seconds() + 10;
    while (flock(store->lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK) return sow_fail(SOW_E_IO, "%s: cannot be locked: %s", path, strerror(errno));
        int holder = lock_holder(store->lock);
        bool alive = holder > 0 && (kill(holder, 0) == 0 || errno == EPERM);
        if (alive || sow_seconds() > patience)
            return sow_fail(SOW_E_BUSY, "%s: is in use by process %d; wait for it, or end it", store->path, holder);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    char text[32];
    int length = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(store->lock, 0) != 0 || pwrite(store->lock, text, (size_t)length, 0) != length)
        return sow_fail(SOW_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    return SOW_OK;
}

static sow_status query_int(sow_store *store, const char *text, int64_t *out) {
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(store->database, text, -1, &s, NULL) != SQLITE_OK) return failure(store, "cannot be read");
    int code = sqlite3_step(s);
    sow_status status = code == SQLITE_ROW ? SOW_OK : failure(store, "cannot be read");
    if (code == SQLITE_ROW) *out = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return status;
}

/* A new file gets the schema; another program's database and a newer version's are refused. */
static sow_status check_schema(sow_store *store) {
    int64_t version, tables, ours;
    SOW_TRY(query_int(store, "PRAGMA user_version", &version));
    SOW_TRY(query_int(store, "SELECT count(*) FROM sqlite_schema WHERE type='table'", &tables));
    SOW_TRY(query_int(store,
                      "SELECT count(*) FROM sqlite_schema WHERE type='table' AND name IN"
                      "('plan','cell','attempt','curve','decision','verdict')",
                      &ours));
    if (version > SCHEMA_VERSION && ours > 0)
        return sow_fail(SOW_E_FORMAT, "%s: made by a newer sow: store version %lld, this one knows up to %d",
                        store->path, (long long)version, SCHEMA_VERSION);
    if (version == SCHEMA_VERSION && ours == 6) return execute(store, "cannot be set up", pragmas);
    if (version != 0 || tables != 0)
        return sow_fail(SOW_E_FORMAT, "%s: a database of another program, expected a store of sow", store->path);
    SOW_TRY(execute(store, "cannot be set up", pragmas));
    SOW_TRY(sow_store_begin(store));
    return finish(store, true, execute(store, "tables cannot be made", schema));
}

static sow_status prepare(sow_store *store) {
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(store->database, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &store->statements[i], NULL) !=
            SQLITE_OK)
            return failure(store, "its tables do not fit");
    return SOW_OK;
}

static sow_status insert_plan(sow_store *store, const char *json) {
    struct utsname machine;
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(store->database, "INSERT INTO plan(id,json,sow,machine) VALUES(?1,?2,?3,?4)", -1, &s,
                           NULL) != SQLITE_OK)
        return failure(store, "its tables do not fit");
    char text[512];
    snprintf(text, sizeof text, "%s %s", uname(&machine) == 0 ? machine.machine : "unknown", sow_instruction_set());
    sqlite3_bind_text(s, 1, store->plan, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(s, 2, json, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(s, 3, SOW_VERSION, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 4, text, -1, SQLITE_TRANSIENT);
    sow_status status = sqlite3_step(s) == SQLITE_DONE ? SOW_OK : failure(store, "the plan cannot be stored");
    sqlite3_finalize(s);
    return status;
}

/* The store's plan must be ours; an empty store takes ours. */
static sow_status check_plan(sow_store *store, const char *json) {
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(store->database, "SELECT id,json FROM plan", -1, &s, NULL) != SQLITE_OK)
        return failure(store, "its tables do not fit");
    int code = sqlite3_step(s);
    sow_status status = SOW_OK;
    if (code == SQLITE_DONE) status = insert_plan(store, json);
    else if (code != SQLITE_ROW) status = failure(store, "the plan cannot be read");
    else {
        const char *id = (const char *)sqlite3_column_text(s, 0), *other = (const char *)sqlite3_column_text(s, 1);
        if (!id || !other) status = failure(store, "the plan cannot be read");
        else if (strcmp(id, store->plan)) status = sow_plan_difference(store->path, other, json);
    }
    sqlite3_finalize(s);
    return status;
}

/* What ran when the last process ended was lost with it. */
static sow_status recover(sow_store *store) {
    SOW_TRY(execute(store, "cannot be written", "UPDATE attempt SET outcome='lost' WHERE outcome IS NULL"));
    return execute(store, "cannot be written", "UPDATE cell SET state='pending' WHERE state='running'");
}

static sow_status open_database(sow_store *store, const char *json) {
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(store->path, &store->database, flags, NULL) != SQLITE_OK) {
        if (!store->database) return sow_fail(SOW_E_MEMORY, "%s: out of memory", store->path);
        return failure(store, "cannot be opened");
    }
    sqlite3_busy_timeout(store->database, 10000); /* for those who only read, while the log is folded in */
    SOW_TRY(check_schema(store));
    SOW_TRY(prepare(store));
    SOW_TRY(sow_store_begin(store));
    sow_status status = check_plan(store, json);
    if (status == SOW_OK) status = recover(store);
    return finish(store, true, status);
}

static sow_status open_in(sow_store *store, const char *folder, const char *json) {
    const char *canonical;
    if (!(store->folder = sow_arena_copy(store->arena, folder))) return SOW_E_MEMORY;
    if (!(store->path = sow_path_join(store->arena, folder, "sow.db"))) return SOW_E_MEMORY;
    SOW_TRY(sow_plan_canonical(store->arena, json, &canonical, store->plan));
    SOW_TRY(sow_make_folder(folder));
    SOW_TRY(take_lock(store));
    return open_database(store, canonical);
}

sow_status sow_store_open(const char *folder, const char *json, sow_store **out) {
    sow_arena *arena;
    sow_store *store;
    *out = NULL;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = SOW_NEW(arena, store, 1);
    if (status == SOW_OK) {
        store->arena = arena;
        store->lock = -1;
        status = open_in(store, folder, json);
    }
    if (status == SOW_OK) *out = store;
    else if (store) sow_store_close(store);
    else sow_arena_free(arena);
    return status;
}

void sow_store_close(sow_store *store) {
    if (!store) return;
    for (int i = 0; i < STATEMENTS; i++) sqlite3_finalize(store->statements[i]);
    sqlite3_close(store->database);
    if (store->lock >= 0) close(store->lock);
    sow_arena_free(store->arena);
}

int sow_store_lock(const sow_store *store) {
    return store->lock;
}

sow_arena *sow_store_arena(sow_store *store) {
    return store->arena;
}

/* ---- cells and attempts ---- */

static double wall_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static sow_status bind_cell(sow_store *store, statement which, const sow_cell *cell) {
    return bind(store, which, "ttii", store->plan, cell->stage, (int64_t)cell->arm, (int64_t)cell->seed);
}

static sow_cell_state state_named(const char *name) {
    for (int i = 0; name && i < (int)(sizeof states / sizeof *states); i++)
        if (!strcmp(states[i], name)) return (sow_cell_state)i;
    return SOW_CELL_PENDING;
}

sow_status sow_store_cell(sow_store *store, sow_cell *cell, int64_t *row) {
    SOW_TRY(bind_cell(store, INSERT_CELL, cell));
    SOW_TRY(change(store, INSERT_CELL, "a cell cannot be stored"));
    SOW_TRY(bind_cell(store, SELECT_CELL, cell));
    sqlite3_stmt *s = store->statements[SELECT_CELL];
    sow_status status = sqlite3_step(s) == SQLITE_ROW ? SOW_OK : failure(store, "a cell cannot be read");
    if (status == SOW_OK) {
        *row = sqlite3_column_int64(s, 0);
        cell->state = state_named((const char *)sqlite3_column_text(s, 1));
        cell->attempt = sqlite3_column_int(s, 2);
        cell->seconds = sqlite3_column_double(s, 3);
    }
    sqlite3_reset(s);
    return status;
}

sow_status sow_store_started(sow_store *store, int64_t row, int attempt) {
    SOW_TRY(bind(store, START_CELL, "ii", row, (int64_t)attempt));
    SOW_TRY(change(store, START_CELL, "a cell cannot be stored"));
    SOW_TRY(bind(store, START_ATTEMPT, "iir", row, (int64_t)attempt, wall_clock()));
    return change(store, START_ATTEMPT, "an attempt cannot be stored");
}

sow_status sow_store_ended(sow_store *store, int64_t row, int attempt, const sow_ending *ending) {
    SOW_TRY(bind(store, END_CELL, "itir", row, states[ending->state], ending->steps, ending->seconds));
    if (ending->steps < 0) sqlite3_bind_null(store->statements[END_CELL], 3);
    SOW_TRY(change(store, END_CELL, "a cell cannot be stored"));
    SOW_TRY(bind(store, END_ATTEMPT, "iirtit", row, (int64_t)attempt, wall_clock(), ending->outcome,
                 (int64_t)ending->code, ending->log));
    return change(store, END_ATTEMPT, "an attempt cannot be stored");
}

sow_status sow_store_blocked(sow_store *store, int64_t row) {
    SOW_TRY(bind(store, BLOCK_CELL, "i", row));
    return change(store, BLOCK_CELL, "a cell cannot be stored");
}

sow_status sow_store_value(sow_store *store, int64_t row, int attempt, const sow_record *record) {
    SOW_TRY(bind(store, INSERT_VALUE, "iitir", row, (int64_t)attempt, record->metric, record->step, record->value));
    return change(store, INSERT_VALUE, "a curve cannot be stored");
}

/* ---- what callers read and keep ---- */

static sow_status read_curve(sow_store *store, sow_arena *arena, sow_record **records, int64_t *count) {
    sqlite3_stmt *s = store->statements[SELECT_CURVE];
    const char *metric = "";
    int64_t n = 0, capacity = 256;
    int code;
    SOW_TRY(SOW_NEW_RAW(arena, *records, capacity));
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(s, 0);
        if (!name) return failure(store, "a curve cannot be read");
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
    return code == SQLITE_DONE ? SOW_OK : failure(store, "a curve cannot be read");
}

sow_status sow_store_curve_in(sow_store *store, sow_arena *arena, const sow_cell *cell, sow_cell_state state,
                              sow_record **records, int64_t *count) {
    SOW_TRY(bind_cell(store, SELECT_CURVE, cell));
    if (sqlite3_bind_text(store->statements[SELECT_CURVE], 5, states[state], -1, SQLITE_STATIC) != SQLITE_OK)
        return failure(store, "cannot bind values");
    sow_status status = read_curve(store, arena, records, count);
    sqlite3_reset(store->statements[SELECT_CURVE]);
    return status;
}

sow_status sow_store_curve(sow_store *store, sow_arena *arena, const sow_cell *cell, sow_record **records,
                           int64_t *count) {
    return sow_store_curve_in(store, arena, cell, SOW_CELL_DONE, records, count);
}

sow_status sow_store_score(sow_store *store, const sow_cell *cell, double score, double test) {
    if (!isfinite(score))
        return sow_fail(SOW_E_NUMBER, "%s: the score of %s, seed %llu, arm %d is not finite", store->path, cell->stage,
                        (unsigned long long)cell->seed, cell->arm);
    bool own = !store->in_transaction;
    if (own) SOW_TRY(sow_store_begin(store));
    sow_status status = bind(store, SET_SCORE, "ttiirr", store->plan, cell->stage, (int64_t)cell->arm,
                             (int64_t)cell->seed, score, test);
    if (status == SOW_OK) status = change(store, SET_SCORE, "a score cannot be stored");
    if (status == SOW_OK && sqlite3_changes(store->database) == 0)
        status = sow_fail(SOW_E_NOT_FOUND, "%s: no cell %s, seed %llu, arm %d", store->path, cell->stage,
                          (unsigned long long)cell->seed, cell->arm);
    return finish(store, own, status);
}

sow_status sow_store_verdict(sow_store *store, const sow_verdict *v) {
    bool own = !store->in_transaction;
    if (own) SOW_TRY(sow_store_begin(store));
    sow_status status = bind(store, SET_VERDICT, "titirrrrt", store->plan, (int64_t)v->arm, v->verdict, (int64_t)v->n,
                             v->effect, v->low, v->high, v->p, v->detail);
    if (status == SOW_OK) status = change(store, SET_VERDICT, "a verdict cannot be stored");
    return finish(store, own, status);
}
