/* Recipes: what an option table and a preset say, what a trainer is told, what a training was worth. */
#include <math.h>

#include "../check.h"

static const sow_option options[] = {
    SOW_OPTION_TEXT("arch", NULL, "network"),
    SOW_TRAINER_OPTIONS,
    SOW_TRAINER_COMMAND_OPTIONS,
    SOW_OPTION_CHOICE("preset", "liu2019", "liu2019|other", "whose recipe"),
    {0},
};
static const sow_action actions[] = {{.name = "judge", .options = options}, {0}};
static const sow_method method = {.name = "rethinking-pruning", .actions = actions};
/* Liu et al. 2019: SGD 0.1, momentum 0.9, batch 64, the rate divided by ten at a half and at three quarters. */
static const sow_preset presets[] = {
    {"liu2019",
     "vgg",
     {{"steps", "8000"}, {"batch", "64"}, {"optimizer", "sgd"}, {"lr", "0.1"}, {"momentum", "0.9"}},
     {0.5, 0.75}},
};

static sow_arena *arena;
static sow_call call;
static int set_up(void **state) {
    (void)state;
    call = (sow_call){.method = &method, .action = actions};
    if (sow_arena_new(&arena) != SOW_OK) return -1;
    call.arena = arena;
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    sow_arena_free(arena);
    return 0;
}
#define PARSE(...) \
    OK(sow_parse(&call, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[]){__VA_ARGS__}))
static sow_status apply(void) {
    const sow_preset *found;
    return sow_preset_apply(&call, presets, 1, &found);
}

static sow_recipe recipe_of_call(void) {
    sow_recipe recipe;
    sow_recipe_of_call(&call, &recipe);
    return recipe;
}

/* ---- presets ---- */

static void a_preset_fills_in_what_is_left_open(void **state) {
    (void)state;
    PARSE("--arch", "vgg:16,M", "--data", "fashion-mnist", "--lr", "0.05");
    OK(apply());
    const sow_recipe recipe = recipe_of_call();
    assert_string_equal(sow_recipe_option(&recipe, "lr"), "0.05");
    assert_string_equal(sow_recipe_option(&recipe, "batch"), "64");
    assert_string_equal(sow_recipe_option(&recipe, "schedule"), "multistep:4000,6000");
    assert_null(sow_recipe_option(&recipe, "weight-decay"));
    assert_int_equal(sow_recipe_steps(&recipe), 8000);
}

static void milestones_go_with_the_steps(void **state) {
    (void)state;
    PARSE("--arch", "vgg:16,M", "--steps", "1000");
    OK(apply());
    assert_string_equal(sow_text(&call, "schedule"), "multistep:500,750");
}

static void a_rate_of_another_optimiser_is_not_taken(void **state) {
    (void)state;
    PARSE("--arch", "vgg:16", "--optimizer", "adam");
    FAILS(apply(), SOW_E_ARGUMENT, "--optimizer adam needs its --lr: the recipe's 0.1 is for sgd");
}

static void nor_is_its_momentum(void **state) {
    (void)state;
    PARSE("--arch", "vgg:16", "--optimizer", "adam", "--lr", "0.001");
    OK(apply());
    assert_null(sow_text(&call, "momentum"));
}

static void a_network_without_a_recipe_is_an_error_only_if_one_was_asked_for(void **state) {
    (void)state;
    PARSE("--arch", "resnet20");
    OK(apply());
    assert_null(sow_text(&call, "steps"));
    PARSE("--arch", "resnet20", "--preset", "liu2019");
    FAILS(apply(), SOW_E_ARGUMENT, "--preset liu2019 has no recipe for resnet20");
}

/* ---- recipes ---- */

static void an_arm_is_a_copy_with_other_options(void **state) {
    (void)state;
    const double drops[] = {0.5, 0.75};
    const char *schedule;
    PARSE("--arch", "vgg:16", "--data", "fashion-mnist");
    OK(apply());
    const sow_recipe dense = recipe_of_call();
    sow_recipe longer = dense;
    OK(sow_milestones(arena, 16000, drops, &schedule));
    OK(sow_recipe_set(&longer, "steps", "16000"));
    OK(sow_recipe_set(&longer, "schedule", schedule));
    OK(sow_recipe_set(&longer, "arch", "vgg:8"));
    assert_string_equal(sow_recipe_option(&longer, "schedule"), "multistep:8000,12000");
    assert_int_equal(sow_recipe_steps(&longer), 16000);
    assert_int_equal(longer.count, dense.count);
    assert_int_equal(sow_recipe_steps(&dense), 8000);
    assert_string_equal(sow_recipe_option(&dense, "arch"), "vgg:16");
}

static void options_have_an_end(void **state) {
    (void)state;
    sow_recipe recipe = {0};
    static char names[SOW_RECIPE_OPTIONS][16];
    for (int i = 0; i < SOW_RECIPE_OPTIONS; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        OK(sow_recipe_set(&recipe, names[i], "1"));
    }
    OK(sow_recipe_set(&recipe, "n3", "2"));
    FAILS(sow_recipe_set(&recipe, "more", "1"), SOW_E_RANGE, "40");
}

static void what_cannot_train_is_said(void **state) {
    (void)state;
    sow_recipe recipe = {0};
    FAILS(sow_recipe_check(&recipe), SOW_E_ARGUMENT, "give --arch");
    OK(sow_recipe_set(&recipe, "arch", "lenet300"));
    FAILS(sow_recipe_check(&recipe), SOW_E_ARGUMENT, "give --data");
    OK(sow_recipe_set(&recipe, "data", "mnist"));
    FAILS(sow_recipe_check(&recipe), SOW_E_ARGUMENT, "give --steps N: no recipe knows lenet300");
    OK(sow_recipe_set(&recipe, "steps", "10"));
    OK(sow_recipe_check(&recipe));
    recipe.command = "train.py {init}";
    FAILS(sow_recipe_check(&recipe), SOW_E_ARGUMENT, "{init} and {out}");
    recipe.command = "train.py {init} {{out}";
    FAILS(sow_recipe_check(&recipe), SOW_E_ARGUMENT, "{init} and {out}");
    recipe.command = "train.py {init} {out}";
    OK(sow_recipe_check(&recipe));
}

static void a_report_holds_no_folders_and_gives_back_only_known_options(void **state) {
    (void)state;
    PARSE("--arch", "lenet300", "--data", "/home/me/photos", "--train", "rm -rf {out} {init}");
    const sow_recipe recipe = recipe_of_call();
    sow_recipe back = {0};
    json_t *json;
    OK(sow_recipe_json(&recipe, &json));
    assert_int_equal(json_object_size(json), 2);
    assert_string_equal(json_string_value(json_object_get(json, "data")), "photos");
    OK(sow_put_text(json, "out-state", "/etc/passwd"));
    OK(sow_put_count(json, "steps", 5)); /* no text */
    OK(sow_recipe_read(arena, json, &back));
    json_decref(json);
    assert_int_equal(back.count, 2);
    assert_string_equal(sow_recipe_option(&back, "data"), "photos");
    assert_null(back.command);
}

/* ---- one training ---- */

static const sow_trial trial = {.init = "a b.st",
                                .mask = "m.st",
                                .out = "o.st",
                                .folder = "d",
                                .arm = "scratch-b",
                                .round = 2,
                                .seed = 7,
                                .threads = 1};

static void the_users_command_gets_what_it_asks_for(void **state) {
    (void)state;
    sow_recipe recipe = {.command = "t {init} {mask} {out} {seed} {dir} {arm} {round} {threads} {steps}"};
    char *command;
    FAILS(sow_recipe_command(arena, &recipe, &trial, &command), SOW_E_ARGUMENT, "unknown placeholder {steps}");
    OK(sow_recipe_set(&recipe, "steps", "90"));
    OK(sow_recipe_command(arena, &recipe, &trial, &command));
    assert_string_equal(command, "t 'a b.st' 'm.st' 'o.st' '7' 'd' 'scratch-b' '2' '1' '90'");
    recipe.command = "t {init} {lr} {shape}";
    OK(sow_recipe_set(&recipe, "lr", "0.01"));
    FAILS(sow_recipe_command(arena, &recipe, &trial, &command), SOW_E_ARGUMENT, "unknown placeholder {shape}");
    const sow_variable shape = {"shape", "arch.json"};
    sow_trial shrunk = trial;
    shrunk.more = &shape, shrunk.more_count = 1;
    OK(sow_recipe_command(arena, &recipe, &shrunk, &command));
    assert_string_equal(command, "t 'a b.st' '0.01' 'arch.json'");
    recipe.command = "t {init} {out} {rewind}";
    FAILS(sow_recipe_command(arena, &recipe, &trial, &command), SOW_E_ARGUMENT, "unknown placeholder {rewind}");
}

static void the_built_in_trainer_gets_options_and_files(void **state) {
    (void)state;
    sow_recipe recipe = {.options = {{"arch", "mlp:{4}"}, {"nesterov", "true"}, {"steps", "90"}}, .count = 3};
    sow_trial plain = {.out = "o.st", .seed = 7, .threads = 2};
    char *command;
    OK(sow_recipe_command(arena, &recipe, &plain, &command));
    const char *options_behind = strstr(command, " train ");
    assert_string_equal(options_behind, " train --arch='mlp:{4}' --nesterov --steps='90' --seed '7' --out-state 'o.st' "
                                        "--records --quiet --force --threads '2' --test-at-best");
    plain.init = "i.st", plain.rewind = "r.st", plain.rewind_step = 20;
    OK(sow_recipe_command(arena, &recipe, &plain, &command));
    assert_non_null(strstr(command, " --start 'i.st'"));
    assert_null(strstr(command, "--mask"));
    assert_null(strstr(command, "--save-state"));
    plain.rewinds = true, plain.mask = "m.st";
    OK(sow_recipe_command(arena, &recipe, &plain, &command));
    assert_non_null(strstr(command, " --mask 'm.st'"));
    assert_non_null(strstr(command, " --save-step '20' --save-state 'r.st'"));
}

/* ---- scores ---- */

static void the_early_stop_is_the_first_of_equal_losses(void **state) {
    (void)state;
    const sow_record records[] = {
        {0, "test_accuracy", 0.1},    {20, "test_accuracy", 0.7}, {30, "test_accuracy", 0.8},
        {30, "train_accuracy", 0.99}, {20, "val_accuracy", 0.65}, {0, "val_loss", 2},
        {20, "val_loss", 0.5},        {30, "val_loss", 0.5},
    };
    const sow_trial_score score = sow_score_trial(records, 8);
    assert_int_equal(score.stop, 20);
    assert_near(score.least_loss, 0.5, 0);
    assert_near(score.at_stop, 0.7, 0);
    assert_near(score.at_end, 0.8, 0);
    assert_near(score.at_start, 0.1, 0);
    assert_near(score.validation_at_stop, 0.65, 0);
    assert_near(score.training_at_end, 0.99, 0);
}

static void a_trainer_that_reports_a_metric_alone_has_no_stop(void **state) {
    (void)state;
    const sow_record records[] = {{1, "metric", 0.3}, {2, "metric", 0.4}};
    const sow_trial_score score = sow_score_trial(records, 2), none = sow_score_trial(records, 0);
    assert_int_equal(score.stop, -1);
    assert_near(score.at_end, 0.4, 0);
    assert_true(isnan(score.at_stop));
    assert_true(isnan(score.least_loss));
    assert_int_equal(none.stop, -1);
    assert_true(isnan(none.at_end));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_preset_fills_in_what_is_left_open),
        TEST(milestones_go_with_the_steps),
        TEST(a_rate_of_another_optimiser_is_not_taken),
        TEST(nor_is_its_momentum),
        TEST(a_network_without_a_recipe_is_an_error_only_if_one_was_asked_for),
        TEST(an_arm_is_a_copy_with_other_options),
        TEST(options_have_an_end),
        TEST(what_cannot_train_is_said),
        TEST(a_report_holds_no_folders_and_gives_back_only_known_options),
        TEST(the_users_command_gets_what_it_asks_for),
        TEST(the_built_in_trainer_gets_options_and_files),
        TEST(the_early_stop_is_the_first_of_equal_losses),
        TEST(a_trainer_that_reports_a_metric_alone_has_no_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
