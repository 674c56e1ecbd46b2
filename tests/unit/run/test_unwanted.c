/* Cells that have gone far enough, and cells that nobody wants any more: what a race asks of the loop. */
#include "run/trainers.h"

static const char *const everything =
    "SELECT seed,state,score,test,steps,metric,step,value FROM cell LEFT JOIN curve ON cell=id ORDER BY seed,step";

/* ---- enough ---- */

static bool at_step_three(void *user, const sow_cell *cell, int64_t step) {
    return step >= 3;
}

static void a_cell_that_has_gone_far_enough_is_done_with_its_records_up_to_there(void **state) {
    static const char *const commands[] = {
        "for i in 1 2 3 4 5; do echo \"{\\\"step\\\":$i,\\\"loss\\\":$i}\"; done; exec sleep 60", /* in one piece */
        "for i in 1 2 3 4 5; do echo \"{\\\"step\\\":$i,\\\"loss\\\":$i}\"; sleep 0.05; done; exec sleep 60",
        "trap '' TERM; for i in 1 2 3; do echo \"{\\\"step\\\":$i,\\\"loss\\\":$i}\"; done; while :; do sleep 1; done",
        "printf '{\"step\":1,\"loss\":1}\\n{\"step\":2,\"loss\":2}\\n{\"step\":3,\"loss\":3}'; exit 7",
        "for i in 1 2 3; do echo \"{\\\"step\\\":$i,\\\"loss\\\":$i}\"; done; echo '{\"step\":4,\"loss\":NaN}'; sleep 60",
    };
    for (int i = 0; i < 5; i++) {
        lab l;
        double start = sow_seconds();
        lab_open(&l, new_folder());
        l.runner.enough = at_step_three;
        lab_add(&l, "rung", 1, commands[i]);
        if (lab_run(&l) != SOW_OK) fail_msg("%s: %s", commands[i], sow_message());
        assert_string_equal(
            query(l.arena, l.folder, everything),
            "1|done|NULL|NULL|3|loss|1|1.0\n1|done|NULL|NULL|3|loss|2|2.0\n1|done|NULL|NULL|3|loss|3|3.0\n");
        assert_string_equal(query(l.arena, l.folder, "SELECT outcome FROM attempt"), "done\n");
        assert_true(sow_seconds() - start < 15);
        lab_close(&l);
    }
}

/* ---- unwanted ---- */

/* Seed 3's end makes seeds 2, 4 and 5 unwanted: 2 and 4 may have ended before, 5 may run or wait. */
static sow_status drop_around_three(void *user, const sow_cell *cell) {
    lab *l = user;
    for (int c = 0; c < l->count && cell->seed == 3; c++)
        l->cells[c].unwanted = l->cells[c].seed == 2 || l->cells[c].seed == 4 || l->cells[c].seed == 5;
    return SOW_OK;
}

static sow_status last_value(void *user, sow_cell *cell, const sow_record *records, int64_t count) {
    return sow_store_score(((lab *)user)->store, cell, records[count - 1].value, 0.5);
}

/* Six cells; seed 2 fails, seed 4 diverges where they are let to. `order` says how long each one takes. */
static char *rows_after_a_drop(lab *l, int slots, const double *seconds) {
    static char commands[6][200];
    lab_open(l, new_folder());
    l->runner = (sow_runner){.command = lab_command,
                             .finish = last_value,
                             .ended = drop_around_three,
                             .user = l,
                             .slots = slots,
                             .limits = l->runner.limits};
    for (int seed = 0; seed < 6; seed++) {
        snprintf(commands[seed], sizeof commands[seed], "sleep %g; echo '{\"step\":1,\"loss\":%s}'; exit %d",
                 seconds[seed], seed == 4 ? "NaN" : "2", seed == 2);
        lab_add(l, "race", (uint64_t)seed, commands[seed]);
    }
    if (lab_run(l) != SOW_OK) fail_msg("%s", sow_message());
    return query(l->arena, l->folder, everything);
}

static void unwanted_cells_leave_the_same_store_for_any_slots_and_order(void **state) {
    static const double orders[][6] = {
        {0, 0, 0, 0, 0, 0},         /* one after the other, or all at once */
        {0, 0, 0, 0.4, 0, 0},       /* all have ended before seed 3 */
        {0, 0, 30, 0, 30, 30},      /* they run when seed 3 ends */
        {0.3, 0.2, 30, 0.1, 0, 30}, /* some of each */
    };
    static const char expected[] = "0|done|2.0|0.5|1|loss|1|2.0\n1|done|2.0|0.5|1|loss|1|2.0\n"
                                   "2|stopped|NULL|NULL|NULL|NULL|NULL|NULL\n3|done|2.0|0.5|1|loss|1|2.0\n"
                                   "4|stopped|NULL|NULL|NULL|NULL|NULL|NULL\n5|stopped|NULL|NULL|NULL|NULL|NULL|NULL\n";
    for (int i = 0; i < 4; i++)
        for (int slots = i < 2 ? 1 : 6; slots <= 6; slots += 5) {
            lab l;
            double start = sow_seconds();
            assert_string_equal(rows_after_a_drop(&l, slots, orders[i]), expected);
            assert_true(sow_seconds() - start < 15);
            assert_string_equal(
                query(l.arena, l.folder, "SELECT cell,count(*) FROM attempt WHERE outcome='done' GROUP BY 1"),
                "1|1\n2|1\n4|1\n");
            assert_int_equal(l.cells[5].state, SOW_CELL_STOPPED);
            assert_int_equal(lab_run(&l), SOW_OK); /* and again: nothing is left to do */
            assert_string_equal(query(l.arena, l.folder, everything), expected);
            assert_string_equal(query(l.arena, l.folder, "SELECT count(*) FROM attempt WHERE cell=6 AND attempt>1"),
                                "0\n");
            lab_close(&l);
        }
}

static void what_needs_an_unwanted_cell_is_stopped_with_it(void **state) {
    static const int need2[] = {2}, need4[] = {4};
    lab l;
    lab_open(&l, new_folder());
    l.runner.ended = drop_around_three;
    l.runner.user = &l;
    for (uint64_t seed = 0; seed < 4; seed++) lab_add(&l, "round-00", seed, "true");
    lab_add(&l, "round-01", 20, "true");
    lab_add(&l, "round-02", 21, "true");
    l.cells[4].needs = need2, l.cells[4].need_count = 1;
    l.cells[5].needs = need4, l.cells[5].need_count = 1;
    assert_int_equal(lab_run(&l), SOW_OK);
    assert_string_equal(query(l.arena, l.folder, "SELECT seed,state FROM cell ORDER BY id"),
                        "0|done\n1|done\n2|stopped\n3|done\n20|stopped\n21|stopped\n");
    lab_close(&l);
}

static char ends[64];

static sow_status note_end(void *user, const sow_cell *cell) {
    sprintf(ends + strlen(ends), "%d%c ", (int)cell->seed, "prdxfs"[cell->state]);
    return cell->seed == 9 ? sow_fail(SOW_E_FORMAT, "seed 9 disagrees") : SOW_OK;
}

static void ends_are_told_once_and_those_of_an_earlier_run_first(void **state) {
    static const int need1[] = {1};
    lab l;
    lab_open(&l, new_folder());
    l.runner.ended = note_end;
    l.runner.retries = 1;
    lab_add(&l, "a", 0, "true");
    lab_add(&l, "a", 1, "exit 1");
    lab_add(&l, "b", 2, "true");
    lab_add(&l, "a", 3, "echo '{\"step\":1,\"loss\":NaN}'");
    l.cells[2].needs = need1, l.cells[2].need_count = 1;
    *ends = 0;
    assert_int_equal(lab_run(&l), SOW_E_TRAINER);
    assert_string_equal(ends, "0d 1f 2f 3x "); /* seed 1 twice, its end once, and that of the cell that needs it */
    *ends = 0;
    assert_int_equal(lab_run(&l), SOW_E_TRAINER);
    assert_string_equal(ends, "0d 3x 1f 2f "); /* failed cells begin anew */
    assert_int_equal(l.cells[1].attempt, 4);
    *ends = 0;
    l.runner.keep_failed = true;
    assert_int_equal(lab_run(&l), SOW_E_TRAINER);
    assert_string_equal(ends, "0d 1f 2f 3x ");
    assert_int_equal(l.cells[1].attempt, 4);
    lab_close(&l);
}

static void an_end_that_is_refused_ends_the_run_and_is_taken_back(void **state) {
    lab l;
    lab_open(&l, new_folder());
    l.runner.ended = note_end;
    lab_add(&l, "a", 9, "true");
    lab_add(&l, "a", 1, "true");
    *ends = 0;
    assert_int_equal(lab_run(&l), SOW_E_FORMAT);
    assert_string_equal(sow_message(), "seed 9 disagrees");
    assert_string_equal(query(l.arena, l.folder, "SELECT state FROM cell ORDER BY id"), "running\npending\n");
    lab_close(&l);
}

/* ---- retries, devices, decisions ---- */

/* Interrupted after its first failure, it has one attempt left and not two. */
static void retries_are_counted_over_runs(void **state) {
    lab l;
    char command[700];
    lab_open(&l, new_folder());
    l.runner.retries = 1;
    snprintf(command, sizeof command, "echo x >>%s/tries; exit 3", l.folder);
    lab_add(&l, "a", 1, command);
    assert_int_equal(lab_run(&l), SOW_E_TRAINER);
    sqlite3 *database;
    assert_int_equal(sqlite3_open(sow_path_join(l.arena, l.folder, "sow.db"), &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database,
                                  "UPDATE attempt SET outcome='lost' WHERE attempt=2; UPDATE cell SET state='pending'",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(database);
    assert_int_equal(lab_run(&l), SOW_E_TRAINER);
    assert_string_equal(query(l.arena, l.folder, "SELECT attempt,outcome FROM attempt"), "1|exit\n2|lost\n3|exit\n");
    lab_close(&l);
}

static void each_slot_has_its_device(void **state) {
    static const char *const devices[] = {"GPU-a", "3,4", NULL};
    lab l;
    char command[900], *seen;
    lab_open(&l, new_folder());
    l.runner.slots = 3;
    l.runner.devices = devices;
    setenv("CUDA_VISIBLE_DEVICES", "7", 1);
    /* All three run at once: each waits until three have written. */
    snprintf(
        command, sizeof command,
        "echo $CUDA_VISIBLE_DEVICES >>%s/seen; for i in $(seq 200); do test $(wc -l <%s/seen) = 3 && exit 0; sleep 0.05; done; exit 1",
        l.folder, l.folder);
    for (uint64_t seed = 0; seed < 3; seed++) lab_add(&l, "a", seed, command);
    assert_int_equal(lab_run(&l), SOW_OK);
    snprintf(command, sizeof command, "cd %s && sort seen >sorted", l.folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(sow_read_file(l.arena, sow_path_join(l.arena, l.folder, "sorted"), 100, &seen, NULL), SOW_OK);
    assert_string_equal(seen, "3,4\nGPU-a\nGPU-a\n");
    lab_close(&l);
    run_one(&l, "echo $CUDA_VISIBLE_DEVICES");
    assert_int_equal(sow_read_file(l.arena, sow_path_join(l.arena, l.cells[0].folder, "log"), 100, &seen, NULL),
                     SOW_OK);
    assert_string_equal(seen, "7\n"); /* none given: as is */
    unsetenv("CUDA_VISIBLE_DEVICES");
    lab_close(&l);
}

static void decisions_are_kept_and_must_agree(void **state) {
    lab l;
    lab_open(&l, new_folder());
    assert_int_equal(sow_store_decision(l.store, 8, 2, "dropped", "behind arm 1"), SOW_OK);
    assert_int_equal(sow_store_decision(l.store, 9, -1, "stopped", NULL), SOW_OK);
    assert_int_equal(sow_store_decision(l.store, 8, 2, "dropped", "behind arm 1"), SOW_OK);
    assert_int_equal(sow_store_decision(l.store, 9, -1, "stopped", NULL), SOW_OK);
    assert_int_equal(sow_store_decision(l.store, 8, 2, "dropped", "behind arm 0"), SOW_E_FORMAT);
    assert_contains(sow_message(), "after 8 seeds, arm 2, dropped: found behind arm 1, expected behind arm 0");
    sow_decision_row *rows;
    int64_t count;
    assert_int_equal(sow_store_decisions(l.store, l.arena, &rows, &count), SOW_OK);
    assert_int_equal(count, 2);
    assert_int_equal(rows[0].n, 8);
    assert_string_equal(rows[0].detail, "behind arm 1");
    assert_int_equal(rows[1].arm, -1);
    assert_null(rows[1].detail);
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cell_that_has_gone_far_enough_is_done_with_its_records_up_to_there),
        cmocka_unit_test(unwanted_cells_leave_the_same_store_for_any_slots_and_order),
        cmocka_unit_test(what_needs_an_unwanted_cell_is_stopped_with_it),
        cmocka_unit_test(ends_are_told_once_and_those_of_an_earlier_run_first),
        cmocka_unit_test(an_end_that_is_refused_ends_the_run_and_is_taken_back),
        cmocka_unit_test(retries_are_counted_over_runs),
        cmocka_unit_test(each_slot_has_its_device),
        cmocka_unit_test(decisions_are_kept_and_must_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
