/* What a store (sow.db) holds: its cells, read without changing anything. */
#include <sqlite3.h>

#include "cli/inspect.h"
#include "sow/json.h"

/* One group of cells as a row. */
static json_t *cells_row(sqlite3_stmt *query) {
    json_t *row = json_pack("{s:s,s:s,s:I}", "stage", (const char *)sqlite3_column_text(query, 0), "state",
                            (const char *)sqlite3_column_text(query, 1), "cells",
                            (json_int_t)sqlite3_column_int64(query, 2));
    if (row && sqlite3_column_type(query, 3) != SQLITE_NULL)
        json_object_set_new(row, "seconds", json_real(sqlite3_column_double(query, 3)));
    return row;
}

static sow_status read_cells(const char *path, sqlite3 *db, json_t *rows) {
    static const char sql[] = "SELECT CAST(stage AS TEXT), CAST(state AS TEXT), count(*), sum(seconds) FROM cell "
                              "WHERE stage IS NOT NULL AND state IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 10000";
    sqlite3_stmt *query = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &query, NULL), failed = 0;
    while (code == SQLITE_OK && !failed && (code = sqlite3_step(query)) == SQLITE_ROW) {
        failed = json_array_append_new(rows, cells_row(query));
        code = SQLITE_OK;
    }
    sow_status status = SOW_OK;
    if (failed) status = sow_fail(SOW_E_FORMAT, "%s: a stage that is not UTF-8, or out of memory", path);
    else if (code != SQLITE_DONE) status = sow_fail(SOW_E_FORMAT, "%s: no store of sow: %s", path, sqlite3_errmsg(db));
    sqlite3_finalize(query);
    return status;
}

sow_status inspect_store(sow_call *call, const char *path) {
    sqlite3 *db = NULL;
    json_t *rows = json_array();
    sow_status status = sow_put_json(call->result, "cells", rows);
    if (status) return status;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        status = sow_fail(SOW_E_IO, "%s: %s", path, db ? sqlite3_errmsg(db) : "out of memory");
    if (!status) {
        sqlite3_exec(db, "PRAGMA trusted_schema=OFF", NULL, NULL, NULL); /* the file may be a stranger's */
        sqlite3_busy_timeout(db, 2000);
        status = read_cells(path, db, rows);
    }
    sqlite3_close(db);
    return status;
}
