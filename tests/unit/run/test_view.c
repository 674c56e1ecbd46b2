/* Views of a store: what others read while a run writes. */
#include "run/trainers.h"

#include <math.h>
#include <signal.h>

static void sql(const char *folder, const char *text) {
    char path[600];
    sqlite3 *database;
    snprintf(path, sizeof path, "%s/sow.db", folder);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static sow_status keep_score(void *user, sow_cell *cell, const sow_record *records, int64_t count) {
    return sow_store_score(((lab *)user)->store, cell, records[count - 1].value, NAN);
}

static void a_view_shows_cells_verdicts_decisions_and_curves(void **state) {
    lab l;
    sow_store *view;
    sow_cell_row *cells;
    sow_verdict *verdicts;
    sow_decision_row *decisions;
    sow_record *records;
    int64_t count;
    lab_open(&l, new_folder());
    l.runner.finish = keep_score;
    l.runner.user = &l;
    lab_add(&l, "race", 18446744073709551615u, "echo '{\"step\":4,\"loss\":0.25}'");
    lab_add(&l, "race", 1, "echo oh no; exit 9")->arm = 3;
    assert_int_equal(lab_run(&l), SOW_E_TRAINER);
    sow_store_verdict(l.store, &(sow_verdict){-1, "not decided", 6, 0.1, NAN, 0.2, 0.4, "{}"});
    sow_store_decision(l.store, 6, 3, "dropped", NULL);

    if (sow_store_view(l.folder, &view) != SOW_OK) fail_msg("%s", sow_message()); /* while it is locked */
    assert_string_equal(sow_store_plan(view), "{\"test\":1}");
    assert_string_equal(sow_store_plan(l.store), "{\"test\":1}");
    assert_int_equal(sow_store_cells(view, l.arena, &cells, &count), SOW_OK);
    assert_int_equal(count, 2);
    assert_string_equal(cells[0].stage, "race");
    assert_true(cells[0].seed == 18446744073709551615u && cells[0].state == SOW_CELL_DONE && cells[0].attempt == 1);
    assert_true(cells[0].score == 0.25 && isnan(cells[0].test) && cells[0].steps == 4);
    assert_true(cells[0].ended >= cells[0].started && cells[0].started > 1.7e9);
    assert_string_equal(cells[0].outcome, "done");
    assert_null(cells[0].last_lines);
    assert_true(cells[1].arm == 3 && cells[1].state == SOW_CELL_FAILED && isnan(cells[1].score) &&
                cells[1].steps == -1);
    assert_string_equal(cells[1].outcome, "exit");
    assert_string_equal(cells[1].last_lines, "exit status 9; last lines:\noh no");
    assert_int_equal(sow_store_verdicts(view, l.arena, &verdicts, &count), SOW_OK);
    assert_true(count == 1 && verdicts[0].arm == -1 && verdicts[0].n == 6 && isnan(verdicts[0].low) &&
                verdicts[0].p == 0.4);
    assert_string_equal(verdicts[0].verdict, "not decided");
    assert_int_equal(sow_store_decisions(view, l.arena, &decisions, &count), SOW_OK);
    assert_true(count == 1 && decisions[0].n == 6 && decisions[0].arm == 3);
    assert_int_equal(sow_store_curve(view, l.arena, &l.cells[0], &records, &count), SOW_OK);
    assert_true(count == 1 && records[0].step == 4 && records[0].value == 0.25);
    assert_int_equal(sow_store_verdict(view, &verdicts[0]), SOW_E_ARGUMENT);
    assert_contains(sow_message(), "opened for reading only");
    sow_store_close(view);
    lab_close(&l);
}

static void a_view_is_of_one_moment(void **state) {
    lab l;
    sow_store *view;
    sow_cell_row *cells;
    int64_t count;
    lab_open(&l, new_folder());
    lab_add(&l, "a", 0, "true");
    assert_int_equal(lab_run(&l), SOW_OK);
    assert_int_equal(sow_store_view(l.folder, &view), SOW_OK);
    lab_add(&l, "a", 1, "true");
    assert_int_equal(lab_run(&l), SOW_OK); /* a reader does not hold up the writer */
    assert_int_equal(sow_store_cells(view, l.arena, &cells, &count), SOW_OK);
    assert_int_equal(count, 1);
    sow_store_close(view);
    assert_int_equal(sow_store_view(l.folder, &view), SOW_OK);
    assert_int_equal(sow_store_cells(view, l.arena, &cells, &count), SOW_OK);
    assert_int_equal(count, 2);
    sow_store_close(view);
    lab_close(&l);
}

/* Opened, read and closed in a tenth of a second while another process writes as fast as it can. */
static void a_view_answers_at_once_while_a_run_writes(void **state) {
    const char *folder = new_folder();
    lab l;
    lab_open(&l, folder);
    pid_t child = fork();
    if (child == 0) {
        for (uint64_t seed = 0; seed < 60; seed++)
            lab_add(&l, "a", seed, "seq 0 20000 | sed 's/.*/{\"step\":&,\"loss\":&}/'");
        lab_run(&l);
        _exit(0);
    }
    double slowest = 0;
    int views = 0, slow = 0; /* on a busy machine a few may have to wait for a core */
    for (double until = sow_seconds() + 3; sow_seconds() < until; usleep(20000), views++) {
        sow_store *view;
        sow_cell_row *cells;
        int64_t count;
        double begin = sow_seconds();
        if (sow_store_view(folder, &view) != SOW_OK) fail_msg("%s", sow_message());
        assert_int_equal(sow_store_cells(view, l.arena, &cells, &count), SOW_OK);
        sow_store_close(view);
        double took = sow_seconds() - begin;
        if (took > slowest) slowest = took;
        slow += took > 0.1;
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    print_message("# %d views, the slowest took %.1f ms\n", views, 1000 * slowest);
    assert_true(views > 30);
    assert_true(slow <= views / 20);
    lab_close(&l);
}

static void refuses(const char *folder, sow_status expected, const char *message) {
    sow_store *view;
    assert_int_equal(sow_store_view(folder, &view), expected);
    assert_contains(sow_message(), message);
    assert_null(view);
}

static void what_is_no_store_is_refused(void **state) {
    lab l;
    char path[600];
    const char *folder = new_folder();
    snprintf(path, sizeof path, "%s/sow.db", folder);
    refuses(folder, SOW_E_IO, "sow.db: cannot be read: No such file");
    assert_int_equal(sow_write_file(path, "", 0), SOW_OK);
    refuses(folder, SOW_E_IO, "no run has begun here");
    assert_int_equal(
        sow_write_file(
            path,
            "no database, but long enough to be taken for one by its size ........................................................",
            118),
        SOW_OK);
    refuses(folder, SOW_E_FORMAT, "not a database");
    unlink(path);
    sql(folder, "CREATE TABLE photos(id)");
    refuses(folder, SOW_E_FORMAT, "another program");
    lab_open(&l, folder = new_folder());
    lab_close(&l);
    sql(folder, "PRAGMA user_version=2");
    refuses(folder, SOW_E_FORMAT, "newer sow: store version 2");
    sql(folder, "PRAGMA user_version=1; DELETE FROM plan");
    refuses(folder, SOW_E_IO, "no run has begun here");
}

/* Columns of other types than ours, from a stranger: read as something, never trusted. */
static void a_strangers_rows_do_no_harm(void **state) {
    sow_store *view;
    sow_cell_row *cells;
    sow_verdict *verdicts;
    sow_decision_row *decisions;
    int64_t count;
    sow_arena *arena;
    const char *folder = new_folder();
    sow_arena_new(&arena);
    sql(folder,
        "CREATE TABLE plan(id,json); CREATE TABLE cell(id,plan,stage,arm,seed,state,attempt,score,test,steps,seconds);"
        "CREATE TABLE attempt(cell,attempt,rank,started,ended,outcome,code,log);"
        "CREATE TABLE curve(cell,attempt,metric,step,value); CREATE TABLE decision(plan,n,arm,what,detail);"
        "CREATE TABLE verdict(plan,arm,verdict,n,effect,low,high,p,detail); PRAGMA user_version=1;"
        "INSERT INTO plan VALUES('x','{}'); INSERT INTO cell VALUES(1,'x',NULL,'many',NULL,'odd',NULL,'a',x'00',NULL,7);"
        "INSERT INTO verdict(plan) VALUES('x'); INSERT INTO decision(plan) VALUES('x');");
    assert_int_equal(sow_store_view(folder, &view), SOW_OK);
    assert_int_equal(sow_store_cells(view, arena, &cells, &count), SOW_OK);
    assert_string_equal(cells[0].stage, "");
    assert_int_equal(cells[0].state, SOW_CELL_PENDING);
    assert_int_equal(sow_store_verdicts(view, arena, &verdicts, &count), SOW_OK);
    assert_string_equal(verdicts[0].verdict, "");
    assert_int_equal(sow_store_decisions(view, arena, &decisions, &count), SOW_OK);
    assert_string_equal(decisions[0].what, "");
    sow_store_close(view);
    sow_arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_view_shows_cells_verdicts_decisions_and_curves),
        cmocka_unit_test(a_view_is_of_one_moment),
        cmocka_unit_test(a_view_answers_at_once_while_a_run_writes),
        cmocka_unit_test(what_is_no_store_is_refused),
        cmocka_unit_test(a_strangers_rows_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
