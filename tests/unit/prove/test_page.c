/* The report of a race, from an outcome made by hand. */
#include <math.h>
#include <unistd.h>

#include "check.h"

enum { ARMS = 3, SEEDS = 4 };

static sow_arena *arena;

static int set_up(void **state) {
    return sow_arena_new(&arena);
}

static int tear_down(void **state) {
    sow_arena_free(arena);
    return 0;
}

/* lora is the reference; eva wins; fragile diverged once. */
static sow_outcome outcome_by_hand(void) {
    static const sow_plan_arm arms[ARMS] = {{.name = "lora"}, {.name = "eva <&>"}, {.name = "fragile"}};
    static const sow_plan plan = {.name = "by-hand",
                                  .arms = arms,
                                  .arm_count = ARMS,
                                  .steps = 100,
                                  .metric = {.name = "val_acc"},
                                  .seeds = {.first = 4, .last = SEEDS, .every = 1},
                                  .test = {.alpha = .05, .sides = 2, .margin = .001}};
    static const double scores[ARMS * SEEDS] = {.80, .79, .81, .80, .82, .80, .83, .82, .80, NAN, .80, .81};
    static const double tests[ARMS * SEEDS] = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    static const sow_cell_state states[ARMS * SEEDS] = {
        SOW_CELL_DONE, SOW_CELL_DONE, SOW_CELL_DONE, SOW_CELL_DONE,     SOW_CELL_DONE, SOW_CELL_DONE,
        SOW_CELL_DONE, SOW_CELL_DONE, SOW_CELL_DONE, SOW_CELL_DIVERGED, SOW_CELL_DONE, SOW_CELL_STOPPED};
    static const sow_standing standings[ARMS] = {{.verdict = "reference",
                                                  .n = 4,
                                                  .effect = NAN,
                                                  .low = NAN,
                                                  .high = NAN,
                                                  .p = NAN,
                                                  .ran = 4,
                                                  .mean = .8,
                                                  .sd = .008,
                                                  .iqm = .8},
                                                 {.verdict = "confirmed",
                                                  .n = 4,
                                                  .effect = .0175123,
                                                  .low = .0060444,
                                                  .high = .0263,
                                                  .p = .01564,
                                                  .ran = 4,
                                                  .mean = .8175,
                                                  .sd = .0126,
                                                  .iqm = .82},
                                                 {.verdict = "not decided",
                                                  .n = 4,
                                                  .effect = .002,
                                                  .low = NAN,
                                                  .high = .01,
                                                  .p = .4,
                                                  .ran = 3,
                                                  .failures = 1,
                                                  .failure_bound = .865,
                                                  .mean = .803,
                                                  .sd = .005,
                                                  .iqm = .8}};
    static const sow_decision decisions[] = {{4, 1, "confirmed", ""}, {4, 2, "dropped", "behind eva"}};
    return (sow_outcome){.plan = &plan,
                         .looked = 4,
                         .over = true,
                         .scores = scores,
                         .tests = tests,
                         .states = states,
                         .standings = standings,
                         .decisions = decisions,
                         .decision_count = 2,
                         .leader = 1,
                         .done = 10,
                         .failed = 1};
}

static void the_table_has_a_row_an_arm_and_bold_winners(void **state) {
    sow_outcome outcome = outcome_by_hand();
    json_t *rows;
    const char *text;
    OK(sow_outcome_table(&outcome, &rows));
    OK(sow_table_format(arena, rows, SOW_TABLE_MARKDOWN, &text));
    assert_string_equal(text,
                        "| arm | mean | sd | IQM | effect | low | high | p | n | failures | verdict |\n"
                        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n"
                        "| lora | 0.8 | 0.008 | 0.8 |  |  |  |  | 4 | 0 | reference |\n"
                        "| **eva &lt;&amp;>** | **0.8175** | **0.0126** | **0.82** | **0.01751** | **0.006044** | "
                        "**0.0263** | **0.016** | **4** | **0** | **confirmed** |\n"
                        "| fragile | 0.803 | 0.005 | 0.8 | 0.002 |  | 0.01 | 0.4 | 4 | 1 | not decided |\n");
    json_decref(rows);
}

static int count_of(const char *text, const char *part) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) n++;
    return n;
}

static void the_page_says_and_draws_what_came_of_the_race(void **state) {
    sow_outcome outcome = outcome_by_hand();
    sow_page *page;
    char path[] = "/tmp/sow-race-XXXXXX", *text;
    close(mkstemp(path));
    OK(sow_page_new(arena, "Race", &page));
    sow_page_static(page);
    OK(sow_outcome_page(arena, &outcome, NULL, page));
    OK(sow_page_write(page, path));
    OK(sow_read_file(arena, path, 1 << 24, &text, NULL));
    unlink(path);
    assert_non_null(strstr(text, "by-hand: confirmed after 4 of at most 4 seeds."));
    assert_non_null(strstr(text, "<p>eva &lt;&amp;&gt; is better than lora"));
    static const char *const titles[] = {"Effect against lora",  "Scores by seed",          "Performance profile",
                                         "Score against budget", "Trainings and decisions", "Failures"};
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        if (count_of(text, sow_arena_format(arena, "<h3>%s</h3>", titles[i])) != 1) fail_msg("no plot '%s'", titles[i]);
    assert_int_equal(count_of(text, "<figure"), 6);         /* no curves without a folder */
    assert_non_null(strstr(text, "fragile, dropped at 4")); /* on the axis */
    assert_non_null(strstr(text, "1 of 11 trainings failed or diverged."));
    /* forest: two intervals, one open; the reference has none; zero and the margin are rules */
    const char *forest = strstr(text, "<h3>Effect against lora</h3>"), *json = strstr(forest, "\"series\":["),
               *end = strstr(json, "</script>");
    char *part = sow_arena_format(arena, "%.*s", (int)(end - json), json);
    assert_int_equal(count_of(part, "\"kind\":\"interval\""), 2);
    assert_int_equal(count_of(part, "\"kind\":\"points\""), 2);
    assert_int_equal(count_of(part, "\"kind\":\"rule\""), 2);
    assert_non_null(strstr(part, "\"x\":[null],\"y\":[2],\"x2\":[0.01]"));
}

static void a_race_that_has_just_begun_has_a_page_too(void **state) {
    sow_outcome outcome = outcome_by_hand();
    double none[ARMS * SEEDS];
    sow_cell_state pending[ARMS * SEEDS] = {SOW_CELL_PENDING};
    sow_standing open[ARMS];
    sow_page *page;
    for (int i = 0; i < ARMS * SEEDS; i++) none[i] = NAN;
    for (int a = 0; a < ARMS; a++)
        open[a] = (sow_standing){.verdict = a ? "not decided" : "reference",
                                 .effect = NAN,
                                 .low = NAN,
                                 .high = NAN,
                                 .p = NAN,
                                 .mean = NAN,
                                 .sd = NAN,
                                 .iqm = NAN};
    outcome.scores = none, outcome.states = pending, outcome.standings = open;
    outcome.decision_count = outcome.looked = outcome.done = outcome.failed = 0;
    outcome.over = false, outcome.leader = -1;
    OK(sow_page_new(arena, "Race", &page));
    OK(sow_outcome_page(arena, &outcome, NULL, page));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_has_a_row_an_arm_and_bold_winners),
        cmocka_unit_test(the_page_says_and_draws_what_came_of_the_race),
        cmocka_unit_test(a_race_that_has_just_begun_has_a_page_too),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
