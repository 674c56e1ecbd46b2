/* The store: whose it is, who may use it, its schema (PROVE.md, section 4) and its transactions. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "run/database.h"
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

/* ---- SQLite's answers as ours ---- */

sow_status sow_store_failure(sow_store *store, const char *doing) {
    int code = sqlite3_errcode(store->database) & 0xff;
    sow_status status = SOW_E_IO;
    if (code == SQLITE_NOMEM) status = SOW_E_MEMORY;
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED) status = SOW_E_BUSY;
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_SCHEMA || code == SQLITE_ERROR)
        status = SOW_E_FORMAT;
    return sow_fail(status, "%s: %s: %s", store->path, doing, sqlite3_errmsg(store->database));
}

static sow_status execute(sow_store *store, const char *doing, const char *text) {
    return sqlite3_exec(store->database, text, NULL, NULL, NULL) == SQLITE_OK ? SOW_OK
                                                                              : sow_store_failure(store, doing);
}

sow_status sow_store_bind(sow_store *store, sow_statement which, const char *types, ...) {
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
    return failed ? sow_store_failure(store, "cannot bind values") : SOW_OK;
}

sow_status sow_store_change(sow_store *store, sow_statement which, const char *doing) {
    int code = sqlite3_step(store->statements[which]);
    sow_status status = code == SQLITE_DONE ? SOW_OK : sow_store_failure(store, doing);
    sqlite3_reset(store->statements[which]);
    return status;
}

sow_status sow_store_begin(sow_store *store) {
    if (store->lock < 0) return sow_fail(SOW_E_ARGUMENT, "%s: opened for reading only", store->path);
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

sow_status sow_store_enter(sow_store *store, bool *own) {
    *own = !store->in_transaction;
    return *own ? sow_store_begin(store) : SOW_OK;
}

sow_status sow_store_leave(sow_store *store, bool own, sow_status status) {
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
    if (sqlite3_prepare_v2(store->database, text, -1, &s, NULL) != SQLITE_OK)
        return sow_store_failure(store, "cannot be read");
    int code = sqlite3_step(s);
    sow_status status = code == SQLITE_ROW ? SOW_OK : sow_store_failure(store, "cannot be read");
    if (code == SQLITE_ROW) *out = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return status;
}

/* *found: it has our tables. Another program's database and a newer version's are refused. */
static sow_status look_at_schema(sow_store *store, bool *found) {
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
    *found = version == SCHEMA_VERSION && ours == 6;
    if (*found || (version == 0 && tables == 0)) return SOW_OK;
    return sow_fail(SOW_E_FORMAT, "%s: a database of another program, expected a store of sow", store->path);
}

/* A new file gets the schema. */
static sow_status check_schema(sow_store *store) {
    bool found;
    SOW_TRY(look_at_schema(store, &found));
    SOW_TRY(execute(store, "cannot be set up", pragmas));
    if (found) return SOW_OK;
    SOW_TRY(sow_store_begin(store));
    return sow_store_leave(store, true, execute(store, "tables cannot be made", schema));
}

static sow_status prepare(sow_store *store) {
    for (int i = 0; i < SOW_STATEMENTS; i++)
        if (sqlite3_prepare_v3(store->database, sow_statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &store->statements[i], NULL) != SQLITE_OK)
            return sow_store_failure(store, "its tables do not fit");
    return SOW_OK;
}

static sow_status insert_plan(sow_store *store, const char *json) {
    struct utsname machine;
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(store->database, "INSERT INTO plan(id,json,sow,machine) VALUES(?1,?2,?3,?4)", -1, &s,
                           NULL) != SQLITE_OK)
        return sow_store_failure(store, "its tables do not fit");
    char text[512];
    snprintf(text, sizeof text, "%s %s", uname(&machine) == 0 ? machine.machine : "unknown", sow_instruction_set());
    sqlite3_bind_text(s, 1, store->plan, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(s, 2, json, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(s, 3, SOW_VERSION, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 4, text, -1, SQLITE_TRANSIENT);
    sow_status status = sqlite3_step(s) == SQLITE_DONE ? SOW_OK : sow_store_failure(store, "the plan cannot be stored");
    sqlite3_finalize(s);
    return status;
}

/* The store's plan must be ours; an empty store takes ours. */
static sow_status check_plan(sow_store *store, const char *json) {
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(store->database, "SELECT id,json FROM plan", -1, &s, NULL) != SQLITE_OK)
        return sow_store_failure(store, "its tables do not fit");
    int code = sqlite3_step(s);
    sow_status status = SOW_OK;
    if (code == SQLITE_DONE) status = insert_plan(store, json);
    else if (code != SQLITE_ROW) status = sow_store_failure(store, "the plan cannot be read");
    else {
        const char *id = (const char *)sqlite3_column_text(s, 0), *other = (const char *)sqlite3_column_text(s, 1);
        if (!id || !other) status = sow_store_failure(store, "the plan cannot be read");
        else if (strcmp(id, store->plan)) status = sow_plan_difference(store->path, other, json);
    }
    sqlite3_finalize(s);
    return status;
}

/* A view takes the plan that it finds. */
static sow_status read_plan(sow_store *store) {
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(store->database, "SELECT id,json FROM plan", -1, &s, NULL) != SQLITE_OK)
        return sow_store_failure(store, "its tables do not fit");
    int code = sqlite3_step(s);
    const char *id = code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    const char *json = code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 1) : NULL;
    sow_status status = SOW_OK;
    if (code == SQLITE_DONE) status = sow_fail(SOW_E_IO, "%s: empty: no run has begun here", store->path);
    else if (code != SQLITE_ROW) status = sow_store_failure(store, "the plan cannot be read");
    else if (!id || !json || strlen(id) >= sizeof store->plan)
        status = sow_fail(SOW_E_FORMAT, "%s: its plan is damaged", store->path);
    else if (!(store->json = sow_arena_copy(store->arena, json))) status = SOW_E_MEMORY;
    else snprintf(store->plan, sizeof store->plan, "%s", id);
    sqlite3_finalize(s);
    return status;
}

/* What ran when the last process ended was lost with it. */
static sow_status recover(sow_store *store) {
    SOW_TRY(execute(store, "cannot be written", "UPDATE attempt SET outcome='lost' WHERE outcome IS NULL"));
    return execute(store, "cannot be written", "UPDATE cell SET state='pending' WHERE state='running'");
}

static sow_status connect(sow_store *store, const char *name, int flags) {
    sqlite3_close(store->database);
    store->database = NULL;
    if (sqlite3_open_v2(name, &store->database, flags, NULL) != SQLITE_OK) {
        if (!store->database) return sow_fail(SOW_E_MEMORY, "%s: out of memory", store->path);
        return sow_store_failure(store, "cannot be opened");
    }
    sqlite3_busy_timeout(store->database, 10000); /* others read, or the log is folded in */
    return SOW_OK;
}

static sow_status open_database(sow_store *store, const char *json) {
    SOW_TRY(connect(store, store->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX));
    SOW_TRY(check_schema(store));
    SOW_TRY(prepare(store));
    SOW_TRY(sow_store_begin(store));
    sow_status status = check_plan(store, json);
    if (status == SOW_OK) status = recover(store);
    return sow_store_leave(store, true, status);
}

static sow_status open_in(sow_store *store, const char *folder, const char *json) {
    const char *canonical;
    SOW_TRY(sow_plan_canonical(store->arena, json, &canonical, store->plan));
    SOW_TRY(sow_make_folder(folder));
    store->json = canonical;
    SOW_TRY(take_lock(store));
    return open_database(store, canonical);
}

/* An empty store in an arena of its own, filled by open_in or view_in. */
static sow_status new_store(const char *folder, sow_store **out) {
    sow_arena *arena;
    SOW_TRY(sow_arena_new(&arena));
    sow_store *store = sow_arena_take(arena, 1, sizeof *store);
    if (!store) {
        sow_arena_free(arena);
        return SOW_E_MEMORY;
    }
    store->arena = arena;
    store->lock = -1;
    store->folder = sow_arena_copy(arena, folder);
    store->path = sow_path_join(arena, folder, "sow.db");
    *out = store;
    if (store->folder && store->path) return SOW_OK;
    sow_store_close(store);
    return SOW_E_MEMORY;
}

sow_status sow_store_open(const char *folder, const char *json, sow_store **out) {
    sow_store *store;
    *out = NULL;
    SOW_TRY(new_store(folder, &store));
    sow_status status = open_in(store, folder, json);
    if (status == SOW_OK) *out = store;
    else sow_store_close(store);
    return status;
}

/* ---- a view ---- */

/* The path as a URI that promises SQLite a file nobody changes: on a medium that cannot be written there is no place
 * for the shared index of the log. */
static sow_status immutable_uri(sow_store *store, char **uri) {
    size_t length = strlen(store->path);
    SOW_TRY(SOW_NEW(store->arena, *uri, 3 * length + sizeof "file:?immutable=1"));
    char *to = *uri + sprintf(*uri, "file:");
    for (size_t i = 0; i < length; i++) to += sprintf(to, "%%%02X", (unsigned char)store->path[i]);
    sprintf(to, "?immutable=1");
    return SOW_OK;
}

/* One snapshot from here on; the file may be a stranger's. */
static sow_status begin_view(sow_store *store) {
    bool found;
    SOW_TRY(execute(store, "cannot be set up", "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; BEGIN"));
    SOW_TRY(look_at_schema(store, &found));
    return found ? SOW_OK : sow_fail(SOW_E_IO, "%s: empty: no run has begun here", store->path);
}

static sow_status view_in(sow_store *store) {
    const int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX;
    if (access(store->path, R_OK) != 0)
        return sow_fail(SOW_E_IO, "%s: cannot be read: %s", store->path, strerror(errno));
    SOW_TRY(connect(store, store->path, flags));
    sow_status status = begin_view(store);
    if (status == SOW_E_IO && access(store->folder, W_OK) != 0) {
        char *uri;
        SOW_TRY(immutable_uri(store, &uri));
        SOW_TRY(connect(store, uri, flags | SQLITE_OPEN_URI));
        status = begin_view(store);
    }
    SOW_TRY(status);
    SOW_TRY(prepare(store));
    return read_plan(store);
}

sow_status sow_store_view(const char *folder, sow_store **out) {
    sow_store *store;
    *out = NULL;
    SOW_TRY(new_store(folder, &store));
    sow_status status = view_in(store);
    if (status == SOW_OK) *out = store;
    else sow_store_close(store);
    return status;
}

const char *sow_store_plan(const sow_store *store) {
    return store->json;
}

void sow_store_close(sow_store *store) {
    if (!store) return;
    for (int i = 0; i < SOW_STATEMENTS; i++) sqlite3_finalize(store->statements[i]);
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
