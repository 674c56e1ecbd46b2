/* An experiment as a method writes it: a preset, arms that train in their own ways, cells, rows of means. Its trainer is a line
 * of shell whose accuracy grows with steps and rate. */
#include "../check.h"
#include "trainers.h"

static const sow_option options[] = {
    SOW_OPTION_TEXT("arch", NULL, "network"),
    SOW_TRAINER_OPTIONS,
    SOW_TRAINER_COMMAND_OPTIONS,
    SOW_OPTION_CHOICE("preset", "liu2019", "liu2019", "whose recipe"),
    SOW_OPTION_FORCE,
    SOW_OPTION_RESUME,
    SOW_OPTION_OUTPUT("folder"),
    {0},
};
static const sow_action actions[] = {{.name = "judge", .options = options}, {0}};
static const sow_method method = {.name = "rethinking-pruning", .actions = actions};
static const sow_preset presets[] = {{"liu2019", "vgg", {{"steps", "400"}, {"lr", "0.1"}}, {0.5, 0.75}}};

/* Liu et al. 2019: the same steps from scratch, twice as many, or a short fine-tuning of what is left at a small rate. */
static const char *const arms[] = {"fine-tune", "scratch-e", "scratch-b"};
static const sow_variable changes[][3] = {{{"steps", "100"}, {"lr", "0.001"}}, {{0}}, {{"steps", "800"}}};
static const uint64_t seeds[] = {1, 2};
enum { ARMS = 3 };

typedef struct judging {
    sow_recipe recipe;
    const char *absolute;
} judging;

/* Its start would be written here. */
static sow_status command_of(void *user, sow_arena *arena, const sow_cell *cell, char **command) {
    const judging *j = user;
    sow_recipe recipe = j->recipe;
    sow_trial trial = {.arm = arms[cell->arm], .seed = cell->seed, .threads = 1};
    for (const sow_variable *c = changes[cell->arm]; c->name; c++) SOW_TRY(sow_recipe_set(&recipe, c->name, c->value));
    SOW_TRY(sow_trial_in(arena, sow_path_join(arena, j->absolute, sow_path_name(cell->folder)), &trial));
    return sow_recipe_command(arena, &recipe, &trial, command);
}

static const char train[] =
    "for s in 0 50 {steps}; do echo $s {lr} {seed}; done | awk '{printf \"{{\\\"step\\\":%d,\\\"val_loss\\\":%g,"
    "\\\"test_accuracy\\\":%g}\\n\", $1, 1 / (1 + $1), $1 / 1000 + $2 + $3 / 100}'; : {init} {out}";

static sow_status judge(sow_call *call, const char *folder, json_t *rows, json_t *differences) {
    judging j;
    sow_store *store;
    sow_trials trials = {arms, ARMS, 2, seeds, 2, NULL, NULL};
    const sow_preset *found;
    SOW_TRY(sow_preset_apply(call, presets, 1, &found));
    sow_recipe_of_call(call, &j.recipe);
    SOW_TRY(sow_recipe_check(&j.recipe));
    SOW_TRY(sow_experiment_open(call, folder, "{\"plan\":1}", &j.absolute, &store));
    sow_status status = sow_trials_plan(call->arena, &trials, folder, "judge", sow_recipe_steps(&j.recipe));
    const sow_runner runner = {
        .command = command_of, .user = &j, .slots = 2, .threads = 1, .limits = sow_trainer_limits(call)};
    if (!status) status = sow_trials_run(call->arena, &trials, store, &runner);
    sow_store_close(store);
    SOW_TRY(status);
    for (int a = 0; a < ARMS; a++) SOW_TRY(sow_append_json(rows, json_pack("{s:s}", "arm", arms[a])));
    return sow_trials_rows(call->arena, &trials, rows, differences);
}

static double number(const json_t *rows, int row, const char *key) {
    return json_number_value(json_object_get(json_array_get(rows, (size_t)row), key));
}

static json_t *rows_of(const char *folder, const char *more) {
    sow_call call = {.method = &method, .action = actions};
    const char *words[] = {"--arch", "vgg:16,M", "--train", train, "-o", folder, more};
    json_t *rows = json_array(), *differences = json_array();
    OK(sow_arena_new(&call.arena));
    OK(sow_parse(&call, more ? 7 : 6, words));
    OK(judge(&call, folder, rows, differences));
    assert_near(number(differences, 1, "difference"), 700, 0); /* steps of the early stop: 800 - 100 */
    json_decref(differences);
    sow_arena_free(call.arena);
    return rows;
}

static void arms_train_each_in_its_own_way(void **state) {
    (void)state;
    json_t *rows = rows_of(in_folder("judge"), NULL);
    assert_near(number(rows, 0, "accuracy_at_early_stop"), 0.1 + 0.001 + 0.015, 1e-12);
    assert_near(number(rows, 1, "accuracy_at_early_stop"), 0.4 + 0.1 + 0.015, 1e-12);
    assert_near(number(rows, 2, "accuracy_at_early_stop"), 0.8 + 0.1 + 0.015, 1e-12);
    assert_near(number(rows, 2, "early_stop_step"), 800, 0);
    json_decref(rows);
}

static void force_begins_anew_and_resume_goes_on(void **state) {
    (void)state;
    const char *folder = in_folder("judge");
    char log[2048];
    snprintf(log, sizeof log, "%s/scratch-b-2/log", folder);
    json_t *first = rows_of(folder, "--resume");
    assert_int_equal(access(log, F_OK), 0);
    unlink(log);
    json_t *resumed = rows_of(folder, "--resume");
    assert_int_not_equal(access(log, F_OK), 0); /* nothing ran */
    json_t *anew = rows_of(folder, "--force");
    assert_int_equal(access(log, F_OK), 0);
    assert_true(json_equal(first, resumed));
    assert_true(json_equal(first, anew));
    json_decref(first), json_decref(resumed), json_decref(anew);
}

int main(void) {
    find_supervisor();
    if (make_test_folder() != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arms_train_each_in_its_own_way),
        cmocka_unit_test(force_begins_anew_and_resume_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
