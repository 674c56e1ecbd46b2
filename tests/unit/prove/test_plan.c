/* Plans: what is read, what defaults are filled in, what is refused and with which words; scores of curves. */
#include <math.h>
#include <unistd.h>

#include "check.h"

static sow_arena *arena;

static int set_up(void **state) {
    return sow_arena_new(&arena);
}
static int tear_down(void **state) {
    sow_arena_free(arena);
    return 0;
}

#define HEAD "{\"sow_plan\":1,\"name\":\"toy\",\"steps\":900,"
#define ARMS "\"arms\":[{\"name\":\"a\",\"none\":true},{\"name\":\"b\",\"none\":true}],"
#define METRIC "\"metric\":{\"name\":\"acc\",\"direction\":\"max\"}"
#define PLAN(more) HEAD ARMS METRIC more "}"

static sow_plan *parse(const char *text) {
    sow_plan *plan;
    OK(sow_plan_parse(arena, text, "plan.json", &plan));
    return plan;
}

#define REFUSED(text, message)                                                               \
    do {                                                                                     \
        sow_plan *refused_;                                                                  \
        FAILS(sow_plan_parse(arena, text, "plan.json", &refused_), SOW_E_ARGUMENT, message); \
        assert_null(refused_);                                                               \
    } while (0)

static void a_short_plan_has_the_defaults(void **state) {
    sow_plan *p = parse(PLAN(""));
    assert_string_equal(p->name, "toy");
    assert_int_equal(p->arm_count, 2);
    assert_int_equal(p->reference, 0);
    assert_int_equal(p->claim, SOW_CLAIM_BETTER);
    assert_int_equal(p->seeds.first, 6);
    assert_int_equal(p->seeds.last, 20);
    assert_int_equal(p->seeds.every, 1);
    assert_int_equal(p->test.rule, SOW_TEST_AUTO);
    assert_near(p->test.alpha, 0.05, 0);
    assert_int_equal(p->race.rule, SOW_RACE_FLIP);
    assert_int_equal(p->race.first, 100); /* 900 / 3^2 */
    assert_int_equal(p->failure.retries, 1);
    assert_near(p->limits.silent_seconds, 1800, 0);
    assert_null(p->train);
    assert_true(sow_plan_seed(p, 3) == 3);
}

static void comments_are_dropped_and_lines_keep_their_numbers(void **state) {
    parse("// a plan\n  // indented\n" HEAD "\n//\n" ARMS "\n" METRIC "}");
    REFUSED("// a plan\n{\"sow_plan\":1,\n// more\n\"name\" 3}", "plan.json: line 4");
}

static void an_unknown_key_is_named_with_the_nearest(void **state) {
    REFUSED(PLAN(",\"seedz\":{}"), "plan.json: seedz: unknown key, did you mean seeds?");
    REFUSED(PLAN(",\"seeds\":{\"maximum\":3}"),
            "plan.json: seeds.maximum: unknown key, expected one of base, min, max");
    REFUSED(PLAN(",\"seeds\":{\"mxa\":3}"), "plan.json: seeds.mxa: unknown key");
    REFUSED(HEAD "\"arms\":[{\"name\":\"a\",\"maek\":\"x\"},{\"name\":\"b\",\"none\":true}]," METRIC "}",
            "plan.json: arms[0].maek: unknown key, did you mean make?");
    REFUSED(PLAN(",\"files\":{}"), "files: unknown key");
}

static void types_and_ranges_are_named(void **state) {
    REFUSED(PLAN(",\"seeds\":{\"max\":0}"), "plan.json: seeds.max: found 0, expected an integer from 1 to 128");
    REFUSED(PLAN(",\"seeds\":{\"max\":6.5}"), "found 6.5, expected an integer");
    REFUSED(PLAN(",\"seeds\":{\"min\":9,\"max\":8}"), "seeds.min: found 9, expected at most seeds.max, 8");
    REFUSED(PLAN(",\"test\":{\"alpha\":0.5}"), "test.alpha: found 0.5, expected a number between 0 and 0.5");
    REFUSED(PLAN(",\"test\":{\"rule\":\"flp\"}"), "expected one of auto, flip, t, bet; did you mean flip?");
    REFUSED(PLAN(",\"test\":[]"), "test: found [], expected an object");
    REFUSED(PLAN(",\"claim\":\"equivalent\""), "test.margin: missing, expected a margin above 0");
    REFUSED(PLAN(",\"failure\":{\"rule\":\"value\"}"),
            "failure.value: missing, expected the score of a seed that fails");
    REFUSED(PLAN(",\"reference\":\"c\""), "reference: found \"c\", expected the name of an arm");
    REFUSED(PLAN(",\"steps\":1"), "duplicate");
    REFUSED("{\"sow_plan\":2}", "sow_plan: found 2");
    REFUSED("[1]", "plan.json: expected a JSON object");
    REFUSED("", "plan.json: line 1");
    REFUSED("{\"sow_plan\":1,\"name\":\"Toy\"}", "name: found \"Toy\", expected 1 to 64 of a-z, 0-9 and -");
}

static void arms_need_one_start_and_names_of_their_own(void **state) {
    REFUSED(HEAD "\"arms\":[{\"name\":\"a\"},{\"name\":\"b\",\"none\":true}]," METRIC "}", "arms[0]: found no start");
    REFUSED(HEAD "\"arms\":[{\"name\":\"a\",\"none\":true,\"init\":\"x\"},{\"name\":\"b\",\"none\":true}]," METRIC "}",
            "arms[0]: found more than one start");
    REFUSED(HEAD "\"arms\":[{\"name\":\"a\",\"none\":true},{\"name\":\"a\",\"none\":true}]," METRIC "}",
            "arms[1].name: \"a\" is the name of arms[0] too");
    REFUSED(HEAD "\"arms\":[{\"name\":\"a\",\"none\":true}]," METRIC "}", "expected a list of 2 to 64 arms");
    REFUSED(HEAD "\"arms\":[{\"name\":\"a\",\"init\":\"none-such\"},{\"name\":\"b\",\"none\":true}]," METRIC "}",
            "arms[0].init: found none-such, expected a file that exists");
}

static void placeholders_are_checked_in_every_text(void **state) {
    REFUSED(PLAN(",\"train\":\"t --seed {sed}\""),
            "train, arm a: command: unknown placeholder {sed}, did you mean {seed}?");
    REFUSED(PLAN(",\"vars\":{\"seed\":\"1\"}"), "vars.seed: {seed} has a value of sow's own");
    REFUSED(HEAD "\"arms\":[{\"name\":\"a\",\"make\":\"classic -o {out}\"},{\"name\":\"b\",\"none\":true}]," METRIC "}",
            "arms[0].make: command: unknown placeholder {out}");
    REFUSED(HEAD "\"arms\":[{\"name\":\"a\",\"make\":\"classic -o x\"},{\"name\":\"b\",\"none\":true}]," METRIC "}",
            "arms[0].make: has no {init}");
    REFUSED(HEAD "\"arms\":[{\"name\":\"a\",\"make\":\"classic -o {init}\"},{\"name\":\"b\",\"none\":true}]," METRIC
                 ",\"train\":\"t {seed}\"}",
            "train: has no {init}, so the start of arm \"a\" would not reach the trainer");
    parse(PLAN(",\"train\":\"t --seed {seed} --lr {lr} $HOME ${HOME} {{\",\"vars\":{\"lr\":1e-3}"));
}

static void variables_of_an_arm_win(void **state) {
    sow_plan *p = parse(HEAD "\"vars\":{\"lr\":\"1e-3\",\"n\":4},\"arms\":[{\"name\":\"a\",\"none\":true},"
                             "{\"name\":\"b\",\"none\":true,\"vars\":{\"lr\":\"3e-3\"}}]," METRIC "}");
    assert_string_equal(p->arms[0].variables[0].value, "1e-3");
    assert_string_equal(p->arms[1].variables[0].value, "3e-3");
    assert_string_equal(p->arms[1].variables[1].value, "4");
}

static void budgets_that_decide_nothing_are_refused(void **state) {
    REFUSED(
        PLAN(",\"seeds\":{\"max\":5},\"test\":{\"rule\":\"flip\"}"),
        "seeds.max: found 5, expected at least 6: with fewer the sign-flip test of 1 arm cannot decide at alpha 0.05");
    parse(PLAN(",\"seeds\":{\"max\":6},\"test\":{\"rule\":\"flip\"}"));
    parse(PLAN(",\"seeds\":{\"max\":3}")); /* auto: t */
    REFUSED(PLAN(",\"seeds\":{\"max\":2}"), "seeds.max: found 2, expected at least 3");
    REFUSED(PLAN(",\"race\":{\"rule\":\"halving\",\"first\":901}"), "race.first: found 901");
    REFUSED(HEAD ARMS
            "\"metric\":{\"name\":\"acc\",\"direction\":\"max\",\"at\":\"mean:0.5\"},\"race\":{\"rule\":\"halving\"}}",
            "metric.at: halving cuts trainings short");
    REFUSED(HEAD ARMS "\"metric\":{\"name\":\"acc\",\"direction\":\"max\",\"at\":\"step:901\"}}",
            "metric.at: found \"step:901\", expected step:K with K from 0 to steps, 900");
    REFUSED(HEAD ARMS "\"metric\":{\"name\":\"acc\",\"at\":\"best\"}}", "metric.direction: missing");
}

static void the_identity_leaves_out_name_workers_and_limits(void **state) {
    const char *plain = parse(PLAN(""))->identity;
    assert_string_equal(parse(PLAN(",\"workers\":{\"slots\":7},\"limits\":{\"cell_s\":5}"))->identity, plain);
    assert_string_equal(parse(PLAN(",\"seeds\":{\"min\":6},\"reference\":\"a\",\"also\":[]"))->identity, plain);
    assert_string_not_equal(parse(PLAN(",\"seeds\":{\"max\":21}"))->identity, plain);
    assert_null(strstr(plain, "toy"));
    assert_non_null(strstr(plain, "\"max\":20"));
    const char *bet = parse(PLAN(",\"test\":{\"rule\":\"bet\"}"))->identity;
    assert_string_equal(parse(PLAN(",\"test\":{\"rule\":\"bet\"},\"seeds\":{\"max\":40}"))->identity, bet);
}

static void a_start_file_is_part_of_the_identity(void **state) {
    char path[] = "/tmp/sow-plan-XXXXXX", text[1024];
    close(mkstemp(path));
    snprintf(text, sizeof text,
             HEAD "\"arms\":[{\"name\":\"a\",\"init\":\"%s\"},{\"name\":\"b\",\"none\":true}]," METRIC "}", path);
    OK(sow_write_file(path, "one", 3));
    const char *one = parse(text)->identity;
    OK(sow_write_file(path, "two", 3));
    sow_plan *plan = parse(text), *again;
    assert_string_not_equal(plan->identity, one);
    /* the document is read back without the file, and says the same */
    OK(sow_write_file(path, plan->document, strlen(plan->document)));
    OK(sow_plan_reread(arena, path, &again));
    assert_string_equal(again->identity, plan->identity);
    assert_string_equal(again->document, plan->document);
    unlink(path);
}

static void clauses_are_read(void **state) {
    sow_plan *p = parse(
        PLAN(",\"criterion\":[{\"arm\":\"b\",\"against\":\"a\",\"stat\":\"mean_diff\",\"op\":\">=\",\"value\":0.5},"
             "{\"arm\":\"b\",\"metric\":\"val_loss\",\"at\":\"best\",\"stat\":\"range\",\"value\":[0,1]}]"));
    assert_int_equal(p->clause_count, 2);
    assert_string_equal(p->clauses[0].clause.metric, "acc at last");
    assert_true(p->clauses[0].clause.at_least);
    assert_true(p->clauses[1].clause.within && p->clauses[1].metric.falling && p->clauses[1].against == -1);
    REFUSED(PLAN(",\"criterion\":[{\"arm\":\"b\",\"stat\":\"mean_diff\",\"value\":0.5}]"), "criterion[0].op: missing");
    REFUSED(PLAN(",\"criterion\":[{\"arm\":\"b\",\"stat\":\"range\",\"value\":[2,1]}]"),
            "criterion[0].value: found [2,1], expected [LOW, HIGH]");
    REFUSED(PLAN(",\"criterion\":[{\"arm\":\"z\",\"stat\":\"p\"}]"), "criterion[0].arm: found \"z\"");
}

static void a_clause_with_its_own_at_forgets_that_of_the_plan(void **state) {
    sow_plan *p = parse(
        HEAD ARMS "\"metric\":{\"name\":\"acc\",\"direction\":\"max\",\"at\":\"argbest:val_loss\"},"
                  "\"criterion\":[{\"arm\":\"b\",\"at\":\"reach:0.5\",\"stat\":\"p\",\"op\":\"<=\",\"value\":0.05}]}");
    assert_string_equal(p->metric.other, "val_loss");
    assert_true(p->metric.other_falling);
    assert_null(p->clauses[0].metric.other);
    assert_string_equal(p->clauses[0].clause.metric, "acc at reach:0.5");
}

/* ---- scores ---- */

/* By metric, then step: accuracies .2 .9 .7 at 0, 10, 20; losses 2, 1, .5. */
static const sow_record curve[] = {{0, "acc", .2}, {10, "acc", .9}, {20, "acc", .7},
                                   {0, "loss", 2}, {10, "loss", 1}, {20, "loss", .5}};

static double score(sow_metric metric, int64_t *step) {
    double value;
    OK(sow_score_of(&metric, 20, curve, 6, &value, step));
    return value;
}

static void a_curve_is_scored_as_asked(void **state) {
    int64_t step;
    assert_near(score((sow_metric){"acc", .at = SOW_AT_LAST}, &step), .7, 0);
    assert_near(score((sow_metric){"acc", .at = SOW_AT_BEST}, &step), .9, 0);
    assert_int_equal(step, 10);
    assert_near(score((sow_metric){"loss", .falling = true, .at = SOW_AT_BEST}, &step), .5, 0);
    assert_near(score((sow_metric){"acc", .at = SOW_AT_STEP, .number = 10}, &step), .9, 0);
    assert_near(score((sow_metric){"acc", .at = SOW_AT_MEAN, .number = .5}, &step), .55, 1e-15);
    assert_near(score((sow_metric){"acc", .at = SOW_AT_ARGBEST, .other = "loss", .other_falling = true}, &step), .7, 0);
    assert_int_equal(step, 20);
    assert_near(score((sow_metric){"acc", .at = SOW_AT_STEP_OF_BEST, .other = "acc"}, &step), 10, 0);
    assert_near(score((sow_metric){"acc", .at = SOW_AT_REACH, .number = .7}, &step), 10, 0);
    assert_near(score((sow_metric){"loss", .falling = true, .at = SOW_AT_REACH, .number = .4}, &step), 21, 0);
    assert_near(sow_value_at("loss", 15, curve, 6), 1, 0);
    assert_true(isnan(sow_value_at("none", 15, curve, 6)));
}

static void a_metric_that_was_never_printed_is_told(void **state) {
    double value;
    int64_t step;
    sow_metric metric = {"accc", .at = SOW_AT_LAST};
    FAILS(sow_score_of(&metric, 20, curve, 6, &value, &step), SOW_E_TRAINER,
          "never printed accc, only acc, loss; did you mean acc");
    FAILS(sow_score_of(&metric, 20, curve, 0, &value, &step), SOW_E_TRAINER, "printed no record");
    metric = (sow_metric){"acc", .at = SOW_AT_STEP, .number = 5};
    FAILS(sow_score_of(&metric, 20, curve, 6, &value, &step), SOW_E_TRAINER, "printed no acc at step 5");
    const sow_record plain[] = {{3, "metric", 4}};
    OK(sow_score_of(&(sow_metric){"acc", .at = SOW_AT_LAST}, 20, plain, 1, &value, &step));
    assert_near(value, 4, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_plan_has_the_defaults),
        cmocka_unit_test(comments_are_dropped_and_lines_keep_their_numbers),
        cmocka_unit_test(an_unknown_key_is_named_with_the_nearest),
        cmocka_unit_test(types_and_ranges_are_named),
        cmocka_unit_test(arms_need_one_start_and_names_of_their_own),
        cmocka_unit_test(placeholders_are_checked_in_every_text),
        cmocka_unit_test(variables_of_an_arm_win),
        cmocka_unit_test(budgets_that_decide_nothing_are_refused),
        cmocka_unit_test(the_identity_leaves_out_name_workers_and_limits),
        cmocka_unit_test(a_start_file_is_part_of_the_identity),
        cmocka_unit_test(clauses_are_read),
        cmocka_unit_test(a_clause_with_its_own_at_forgets_that_of_the_plan),
        cmocka_unit_test(a_curve_is_scored_as_asked),
        cmocka_unit_test(a_metric_that_was_never_printed_is_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
