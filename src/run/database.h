/* The store from inside: its connection, its prepared statements, SQLite's answers as ours. */
#ifndef SOW_RUN_DATABASE_H
#define SOW_RUN_DATABASE_H

#include <sqlite3.h>
#include <stdbool.h>

#include "run/store.h"

typedef enum sow_statement {
    SOW_INSERT_CELL,
    SOW_SELECT_CELL,
    SOW_COUNT_FAILURES,
    SOW_START_CELL,
    SOW_START_ATTEMPT,
    SOW_END_CELL,
    SOW_END_ATTEMPT,
    SOW_BLOCK_CELL,
    SOW_DROP_CELL,
    SOW_DROP_ATTEMPTS,
    SOW_DROP_CURVE,
    SOW_INSERT_VALUE,
    SOW_SELECT_CURVE,
    SOW_SET_SCORE,
    SOW_SET_VERDICT,
    SOW_INSERT_DECISION,
    SOW_SELECT_DECISION,
    SOW_LIST_CELLS,
    SOW_LIST_VERDICTS,
    SOW_LIST_DECISIONS,
    SOW_STATEMENTS
} sow_statement;

/* Their texts, in rows.c. */
extern const char *const sow_statement_texts[SOW_STATEMENTS];

struct sow_store {
    sow_arena *arena;
    sqlite3 *database;
    sqlite3_stmt *statements[SOW_STATEMENTS];
    const char *folder, *path, *json;
    char plan[65];
    int lock;            /* -1: a view */
    bool in_transaction; /* one that writes */
};

/* SQLite's last error as a status: "PATH: DOING: what SQLite says". */
sow_status sow_store_failure(sow_store *store, const char *doing);
/* Binds by a format: i int64, r double (NaN: NULL), t text (NULL allowed). */
sow_status sow_store_bind(sow_store *store, sow_statement which, const char *types, ...);
/* Runs a bound statement that gives no rows. */
sow_status sow_store_change(sow_store *store, sow_statement which, const char *doing);
/* Begins a transaction unless the caller has: *own says so to sow_store_leave, which commits it, or takes it back. */
sow_status sow_store_enter(sow_store *store, bool *own);
sow_status sow_store_leave(sow_store *store, bool own, sow_status status);

#endif
