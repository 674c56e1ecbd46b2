/* Arms over seeds: means, paired differences, the table; the files of a cell. */
#include <math.h>

#include "../check.h"

static sow_arena *arena;
static int set_up(void **state) {
    (void)state;
    return make_test_folder() == 0 && sow_arena_new(&arena) == SOW_OK ? 0 : -1;
}
static int tear_down(void **state) {
    (void)state;
    sow_arena_free(arena);
    return 0;
}

static const char *const arms[] = {"scratch", "tuned"};
static const uint64_t seeds[] = {3, 5};
/* [seeds][arms]; stop, least_loss, at_stop, at_end */
static sow_trial_score all[] = {{100, 1, 0.5, 0.75, NAN, NAN, NAN},
                                {200, 1, 0.25, 0.5, NAN, NAN, NAN},
                                {300, 1, 0.75, 0.5, NAN, NAN, NAN},
                                {350, 1, 0.25, 0.25, NAN, NAN, NAN}};

static json_t *rows_of(const sow_trials *trials, json_t **differences) {
    json_t *rows = json_array();
    *differences = json_array();
    for (int a = 0; a < trials->arm_count; a++) OK(sow_append_json(rows, json_pack("{s:s}", "arm", trials->arms[a])));
    OK(sow_trials_rows(arena, trials, rows, *differences));
    return rows;
}
static double number(const json_t *rows, int row, const char *key) {
    return json_number_value(json_object_get(json_array_get(rows, (size_t)row), key));
}
static bool has(const json_t *rows, int row, const char *key) {
    return json_object_get(json_array_get(rows, (size_t)row), key) != NULL;
}
static const char *word(const json_t *rows, int row, const char *key) {
    return json_string_value(json_object_get(json_array_get(rows, (size_t)row), key));
}

static void an_arm_has_its_means_over_seeds(void **state) {
    (void)state;
    const sow_trials trials = {arms, 2, -1, seeds, 2, NULL, all};
    json_t *differences, *rows = rows_of(&trials, &differences);
    assert_near(number(rows, 0, "early_stop_step"), 200, 0);
    assert_near(number(rows, 0, "accuracy_at_early_stop"), 0.625, 1e-15);
    assert_near(number(rows, 0, "least"), 0.5, 0);
    assert_near(number(rows, 0, "most"), 0.75, 0);
    assert_near(number(rows, 0, "sd"), 0.25 / sqrt(2), 1e-15);
    assert_near(number(rows, 0, "final_accuracy"), 0.625, 1e-15);
    assert_near(number(rows, 1, "accuracy_at_early_stop"), 0.25, 0);
    assert_int_equal(json_array_size(differences), 0);
    json_decref(rows);
    json_decref(differences);
}

static void the_reference_is_compared_seed_by_seed(void **state) {
    (void)state;
    const sow_trials trials = {arms, 2, 0, seeds, 2, NULL, all};
    json_t *differences, *rows = rows_of(&trials, &differences);
    assert_int_equal(json_array_size(differences), 2);
    assert_string_equal(word(differences, 0, "scratch_minus"), "tuned");
    assert_string_equal(word(differences, 0, "measure"), "accuracy at early stop");
    assert_near(number(differences, 0, "difference"), 0.375, 1e-15); /* of 0.25 and 0.5 */
    /* Student's t, one degree of freedom: 12.7062 times 0.125 */
    assert_near(number(differences, 0, "low"), 0.375 - 12.7062 * 0.125, 1e-4);
    assert_near(number(differences, 0, "high"), 0.375 + 12.7062 * 0.125, 1e-4);
    assert_string_equal(word(differences, 0, "scratch_better"), "2 of 2");
    assert_near(number(differences, 1, "difference"), -75, 1e-12);
    assert_string_equal(word(differences, 1, "scratch_better"), "2 of 2"); /* earlier is better */
    json_decref(rows);
    json_decref(differences);
}

static void without_an_early_stop_the_end_counts(void **state) {
    (void)state;
    sow_trial_score silent[4];
    memcpy(silent, all, sizeof silent);
    for (int i = 0; i < 4; i++) silent[i].stop = -1, silent[i].at_stop = NAN;
    const sow_trials trials = {arms, 2, 1, seeds, 1, NULL, silent};
    json_t *differences, *rows = rows_of(&trials, &differences);
    assert_near(number(rows, 0, "accuracy"), 0.75, 0);
    assert_false(has(rows, 0, "accuracy_at_early_stop"));
    assert_false(has(rows, 0, "early_stop_step"));
    assert_int_equal(json_array_size(differences), 1);
    assert_string_equal(word(differences, 0, "measure"), "accuracy");
    assert_near(number(differences, 0, "difference"), -0.25, 0);
    assert_false(has(differences, 0, "low")); /* one seed has no interval */
    json_decref(rows);
    json_decref(differences);
}

static void a_seed_that_lacks_a_number_leaves_its_mean_out(void **state) {
    (void)state;
    sow_trial_score some[4];
    memcpy(some, all, sizeof some);
    some[2].at_end = some[2].at_stop = NAN;
    const sow_trials trials = {arms, 2, 0, seeds, 2, NULL, some};
    json_t *differences, *rows = rows_of(&trials, &differences);
    assert_false(has(rows, 0, "accuracy_at_early_stop"));
    assert_false(has(rows, 0, "accuracy"));
    assert_true(has(rows, 0, "early_stop_step"));
    assert_int_equal(json_array_size(differences), 1); /* stops alone */
    json_decref(rows);
    json_decref(differences);
}

static void the_table_has_a_line_for_each_arm_and_seed(void **state) {
    (void)state;
    sow_trial_score some[4];
    memcpy(some, all, sizeof some);
    some[3].stop = -1, some[3].at_stop = NAN;
    const sow_trials trials = {arms, 2, 0, seeds, 2, NULL, some};
    char *text;
    size_t size;
    OK(sow_trials_write(&trials, in_folder("trials.csv")));
    OK(sow_read_file(arena, in_folder("trials.csv"), 1 << 16, &text, &size));
    assert_string_equal(text, "arm,seed,early_stop_step,accuracy_at_early_stop,final_accuracy\n"
                              "scratch,3,100,0.5,0.75\ntuned,3,200,0.25,0.5\nscratch,5,300,0.75,0.5\ntuned,5,,,0.25\n");
}

static void arms_are_chosen_from_known_ones(void **state) {
    (void)state;
    static const char *const known[] = {"dense", "ticket", "reinit", NULL};
    sow_trials trials = {0};
    OK(sow_trials_parse(arena, "reinit,dense", known, &trials));
    assert_int_equal(trials.arm_count, 2);
    assert_string_equal(trials.arms[0], "reinit");
    assert_int_equal(sow_trials_find(&trials, "dense"), 1);
    assert_int_equal(sow_trials_find(&trials, "ticket"), -1);
    FAILS(sow_trials_parse(arena, "dense,tickets", known, &trials), SOW_E_ARGUMENT,
          "--arms: found 'tickets', expected dense, ticket or reinit");
    FAILS(sow_trials_parse(arena, "", known, &trials), SOW_E_ARGUMENT, "found ''");
    FAILS(sow_trials_parse(arena, "dense,dense", known, &trials), SOW_E_ARGUMENT, "--arms: dense is given twice");
}

static void cells_are_planned_seed_by_seed(void **state) {
    (void)state;
    sow_trials trials = {arms, 2, -1, seeds, 2, NULL, NULL};
    OK(sow_trials_plan(arena, &trials, "out", "judge", 90));
    assert_string_equal(trials.cells[1].folder, "out/tuned-3");
    assert_string_equal(trials.cells[2].folder, "out/scratch-5");
    assert_int_equal(trials.cells[2].arm, 0);
    assert_int_equal(trials.cells[2].seed, 5);
    assert_int_equal(trials.cells[3].steps, 90);
    assert_string_equal(trials.cells[3].stage, "judge");
}

static void a_cell_has_its_files_in_its_folder(void **state) {
    (void)state;
    sow_trial trial = {.seed = 4};
    OK(sow_trial_in(arena, "/x/cell", &trial));
    assert_string_equal(trial.init, "/x/cell/start.safetensors");
    assert_string_equal(trial.mask, "/x/cell/start.mask.safetensors");
    assert_string_equal(trial.out, "/x/cell/final.safetensors");
    assert_string_equal(trial.folder, "/x/cell");
    assert_int_equal(trial.seed, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arms_are_chosen_from_known_ones),
        cmocka_unit_test(cells_are_planned_seed_by_seed),
        cmocka_unit_test(an_arm_has_its_means_over_seeds),
        cmocka_unit_test(the_reference_is_compared_seed_by_seed),
        cmocka_unit_test(without_an_early_stop_the_end_counts),
        cmocka_unit_test(a_seed_that_lacks_a_number_leaves_its_mean_out),
        cmocka_unit_test(the_table_has_a_line_for_each_arm_and_seed),
        cmocka_unit_test(a_cell_has_its_files_in_its_folder),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
