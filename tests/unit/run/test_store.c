/* The store: whose it is, who may use it, what it refuses. */
#include "run/trainers.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>

static sow_status open_and_close(const char *folder, const char *json) {
    sow_store *store;
    sow_status status = sow_store_open(folder, json, &store);
    if (status == SOW_OK) sow_store_close(store);
    return status;
}

static void sql(const char *folder, const char *text) {
    char path[600];
    sqlite3 *database;
    snprintf(path, sizeof path, "%s/sow.db", folder);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static void the_plan_is_known_by_its_sorted_content(void **state) {
    sow_arena *arena;
    char id[65];
    const char *folder = new_folder(), *canonical = "{\"a\":{\"x\":[1,2]},\"b\":0.5}";
    sow_arena_new(&arena);
    assert_int_equal(open_and_close(folder, "{\"b\": 0.5,  \"a\": {\"x\":[1, 2]}}"), SOW_OK);
    sow_sha256(canonical, strlen(canonical), id);
    char *row = query(arena, folder, "SELECT id,json,sow IS NOT NULL,machine IS NOT NULL FROM plan");
    assert_string_equal(row, sow_arena_format(arena, "%s|%s|1|1\n", id, canonical));
    assert_int_equal(open_and_close(folder, canonical), SOW_OK);
    assert_string_equal(query(arena, folder, "PRAGMA user_version"), "1\n");
    assert_string_equal(query(arena, folder, "PRAGMA journal_mode"), "wal\n");
    sow_arena_free(arena);
}

static void another_plan_is_refused_with_the_first_difference(void **state) {
    struct {
        const char *json, *difference;
    } cases[] = {
        {"{\"name\":\"x\",\"seeds\":{\"max\":10,\"min\":6},\"arms\":[\"a\",\"b\"]}",
         "seeds.max: found 20, expected 10"},
        {"{\"name\":\"x\",\"seeds\":{\"max\":20,\"min\":6},\"arms\":[\"a\",\"c\"]}",
         "arms[1]: found \"b\", expected \"c\""},
        {"{\"name\":\"x\",\"seeds\":{\"max\":20,\"min\":6},\"arms\":[\"a\"]}",
         "arms[1]: found \"b\", expected nothing"},
        {"{\"name\":\"x\",\"seeds\":{\"max\":20,\"min\":6},\"arms\":[\"a\",\"b\"],\"base\":1}",
         "base: found nothing, expected 1"},
    };
    const char *folder = new_folder();
    assert_int_equal(open_and_close(folder, "{\"name\":\"x\",\"seeds\":{\"max\":20,\"min\":6},\"arms\":[\"a\",\"b\"]}"),
                     SOW_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(open_and_close(folder, cases[i].json), SOW_E_EXISTS);
        assert_contains(sow_message(), cases[i].difference);
    }
    assert_int_equal(open_and_close(folder, "[1]"), SOW_E_ARGUMENT);
    assert_int_equal(open_and_close(folder, "{\"a\":1"), SOW_E_ARGUMENT);
}

static void two_at_once_are_refused(void **state) {
    sow_store *store;
    const char *folder = new_folder();
    assert_int_equal(sow_store_open(folder, "{}", &store), SOW_OK);
    double start = sow_seconds();
    assert_int_equal(open_and_close(folder, "{}"), SOW_E_BUSY);
    char pid[32];
    snprintf(pid, sizeof pid, "process %d;", (int)getpid());
    assert_contains(sow_message(), pid);
    assert_true(sow_seconds() - start < 0.5);
    sow_store_close(store);
    assert_int_equal(open_and_close(folder, "{}"), SOW_OK);
}

static void a_killed_owner_leaves_it_free(void **state) {
    const char *folder = new_folder();
    pid_t child = fork();
    if (child == 0) {
        sow_store *store;
        if (sow_store_open(folder, "{}", &store) != SOW_OK) _exit(1);
        raise(SIGKILL);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(open_and_close(folder, "{}"), SOW_OK);
}

static void a_newer_version_is_refused(void **state) {
    const char *folder = new_folder();
    assert_int_equal(open_and_close(folder, "{}"), SOW_OK);
    sql(folder, "PRAGMA user_version=2");
    assert_int_equal(open_and_close(folder, "{}"), SOW_E_FORMAT);
    assert_contains(sow_message(), "newer sow: store version 2");
}

static void what_is_no_store_is_refused_and_left_alone(void **state) {
    char path[600], *text;
    const char *folder = new_folder();
    static const char poem[] =
        "Shall I compare thee to a summer's day? Thou art more lovely and more temperate. Rough winds do shake the darling buds.";
    sow_arena *arena;
    sow_arena_new(&arena);
    snprintf(path, sizeof path, "%s/sow.db", folder);
    assert_int_equal(sow_write_file(path, poem, sizeof poem - 1), SOW_OK);
    assert_int_equal(open_and_close(folder, "{}"), SOW_E_FORMAT);
    assert_contains(sow_message(), "sow.db");
    assert_int_equal(sow_read_file(arena, path, 1000, &text, NULL), SOW_OK);
    assert_string_equal(text, poem);
    unlink(path);
    sql(folder, "CREATE TABLE photos(id)");
    assert_int_equal(open_and_close(folder, "{}"), SOW_E_FORMAT);
    assert_contains(sow_message(), "another program");
    assert_string_equal(query(arena, folder, "SELECT name FROM sqlite_schema"), "photos\n");
    unlink(path);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(open_and_close(folder, "{}"), SOW_E_IO);
    assert_int_equal(open_and_close("/proc/nowhere", "{}"), SOW_E_IO);
    sow_arena_free(arena);
}

static void a_damaged_store_is_refused_or_read_but_never_crashes(void **state) {
    char path[600];
    const char *folder = new_folder();
    assert_int_equal(open_and_close(folder, "{}"), SOW_OK);
    snprintf(path, sizeof path, "%s/sow.db", folder);
    for (unsigned i = 0; i < 60; i++) {
        char copy[600], noise[64];
        snprintf(copy, sizeof copy, "%s/copy-%u", folder, i);
        mkdir(copy, 0777);
        char command[1400];
        snprintf(command, sizeof command, "cp %s %s/sow.db", path, copy);
        assert_int_equal(system(command), 0);
        snprintf(command, sizeof command, "%s/sow.db", copy);
        int fd = open(command, O_WRONLY);
        unsigned random = i;
        for (int b = 0; b < 64; b++) noise[b] = (char)rand_r(&random);
        assert_int_equal(pwrite(fd, noise, sizeof noise, (off_t)(100 + i * 397 % 30000)), sizeof noise);
        close(fd);
        sow_status status = open_and_close(copy, "{}");
        assert_true(status == SOW_OK || status == SOW_E_FORMAT || status == SOW_E_EXISTS);
    }
}

static void scores_and_verdicts_are_kept(void **state) {
    lab l;
    lab_open(&l, new_folder());
    sow_cell *cell = lab_add(&l, "race", 9223372036854775809u, "true");
    assert_int_equal(sow_store_score(l.store, cell, 0.5, NAN), SOW_E_NOT_FOUND);
    assert_int_equal(lab_run(&l), SOW_OK);
    assert_int_equal(sow_store_score(l.store, cell, 0.5, NAN), SOW_OK);
    assert_int_equal(sow_store_score(l.store, cell, NAN, 0), SOW_E_NUMBER);
    assert_int_equal(sow_store_verdict(l.store, &(sow_verdict){-1, "not confirmed", 5, 0.1, 0, 0.2, NAN, "{}"}),
                     SOW_OK);
    assert_int_equal(sow_store_verdict(l.store, &(sow_verdict){-1, "confirmed", 6, 0.1, 0.01, 0.2, 0.02, "{}"}),
                     SOW_OK);
    assert_string_equal(query(l.arena, l.folder, "SELECT score,test,seed FROM cell"),
                        "0.5|NULL|-9223372036854775807\n");
    assert_string_equal(query(l.arena, l.folder, "SELECT arm,verdict,n,low,p FROM verdict"),
                        "-1|confirmed|6|0.01|0.02\n");
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan_is_known_by_its_sorted_content),
        cmocka_unit_test(another_plan_is_refused_with_the_first_difference),
        cmocka_unit_test(two_at_once_are_refused),
        cmocka_unit_test(a_killed_owner_leaves_it_free),
        cmocka_unit_test(a_newer_version_is_refused),
        cmocka_unit_test(what_is_no_store_is_refused_and_left_alone),
        cmocka_unit_test(a_damaged_store_is_refused_or_read_but_never_crashes),
        cmocka_unit_test(scores_and_verdicts_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
