/* Fake trainers: shell one-liners as cells, and what the tests of src/run share. */
#ifndef TESTS_TRAINERS_H
#define TESTS_TRAINERS_H

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sow/file.h"
#include "sow/log.h"
#include "sow/run.h"

/* The supervisor lies in one of the folders above the test program. */
static void find_supervisor(void) {
    char path[4200];
    if (getenv("SOW_SUPERVISOR")) return;
    ssize_t length = readlink("/proc/self/exe", path, 4000);
    while (length > 0) {
        while (length > 0 && path[length - 1] != '/') length--;
        strcpy(path + length, "sow-supervisor");
        if (access(path, X_OK) == 0) break;
        length--;
    }
    if (length > 0) setenv("SOW_SUPERVISOR", path, 1);
}

/* A new folder under TMPDIR. */
static const char *new_folder(void) {
    static char path[512];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/run-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    return path;
}

/* A lab: one store, cells whose `user` is their command, a runner. */
typedef struct lab {
    sow_arena *arena;
    sow_store *store;
    const char *folder;
    sow_cell cells[64];
    int count;
    sow_runner runner;
} lab;

static inline sow_status lab_command(void *user, sow_arena *arena, const sow_cell *cell, char **command) {
    (void)user;
    *command = sow_arena_copy(arena, cell->user);
    return *command ? SOW_OK : SOW_E_MEMORY;
}

static inline void lab_open(lab *l, const char *folder) {
    *l = (lab){.runner = {.command = lab_command, .slots = 1, .limits = {60, 60, 120, 0.5, 0}}};
    find_supervisor();
    assert_int_equal(sow_arena_new(&l->arena), SOW_OK);
    l->folder = sow_arena_copy(l->arena, folder);
    if (sow_store_open(folder, "{\"test\":1}", &l->store) != SOW_OK) fail_msg("%s", sow_message());
}

static inline void lab_close(lab *l) {
    sow_store_close(l->store);
    sow_arena_free(l->arena);
}

static inline sow_cell *lab_add(lab *l, const char *stage, uint64_t seed, const char *command) {
    sow_cell *cell = &l->cells[l->count];
    *cell = (sow_cell){.stage = stage, .seed = seed, .user = (void *)(uintptr_t)command};
    cell->folder = sow_arena_format(l->arena, "%s/cell-%d", l->folder, l->count++);
    return cell;
}

static inline sow_status lab_run(lab *l) {
    return sow_run_cells(l->store, &l->runner, l->cells, l->count);
}

/* One cell with this command, run in a new store. */
static inline sow_status run_one(lab *l, const char *command) {
    lab_open(l, new_folder());
    lab_add(l, "one", 1, command);
    return lab_run(l);
}

/* Rows of a query as text: columns by '|', rows by newline. In the arena. */
static inline char *query(sow_arena *arena, const char *folder, const char *sql) {
    sqlite3 *database;
    sqlite3_stmt *s;
    char *text = sow_arena_copy(arena, "");
    char *path = sow_path_join(arena, folder, "sow.db");
    assert_int_equal(sqlite3_open_v2(path, &database, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    sqlite3_busy_timeout(database, 2000);
    if (sqlite3_prepare_v2(database, sql, -1, &s, NULL) != SQLITE_OK) fail_msg("%s", sqlite3_errmsg(database));
    while (sqlite3_step(s) == SQLITE_ROW) {
        for (int c = 0; c < sqlite3_column_count(s); c++) {
            const char *value = (const char *)sqlite3_column_text(s, c);
            text = sow_arena_format(arena, "%s%s%s", text, c ? "|" : "", value ? value : "NULL");
        }
        text = sow_arena_format(arena, "%s\n", text);
    }
    sqlite3_finalize(s);
    sqlite3_close(database);
    return text;
}

#define assert_contains(text, part)                                                          \
    do {                                                                                     \
        if (!strstr((text), (part))) fail_msg("'%s' does not contain '%s'", (text), (part)); \
    } while (0)

#endif
