/* What came of a race, in words: the sentences of PROVE.md, section 5, from its worked numbers. */
#include <math.h>

#include "check.h"

static const double D[] = {.021, .034, -.006, .018, .027, .009, .015, .012};

typedef struct race {
    sow_arena *arena;
    sow_plan *plan;
    sow_outcome outcome;
    sow_judgement now;
} race;

/* Eight seeds of lora, eva D above it, judged under the plan's rest. */
static void open_race(race *r, const char *more, const double *d, int n, int bad) {
    char text[1024];
    double values[2 * 8];
    unsigned char ended[2 * 8] = {0};
    sow_judge *judge;
    snprintf(text, sizeof text,
             "{\"sow_plan\":1,\"name\":\"toy\",\"steps\":9,\"metric\":{\"name\":\"val_acc\",\"direction\":\"max\"},"
             "\"arms\":[{\"name\":\"lora\",\"none\":true},{\"name\":\"eva\",\"none\":true}],%s}",
             more);
    OK(sow_arena_new(&r->arena));
    OK(sow_plan_parse(r->arena, text, "plan.json", &r->plan));
    for (int s = 0; s < n; s++) {
        values[s] = .5, values[r->plan->seeds.last + s] = .5 + d[s];
        ended[s] = ended[r->plan->seeds.last + s] = SOW_SCORED;
    }
    if (bad >= 0) ended[r->plan->seeds.last + bad] = SOW_BAD;
    OK(sow_judge_new(r->plan, &judge));
    OK(sow_judge_race(judge, r->arena, &(sow_scores){values, ended, NULL}, true, &r->now));
    sow_judge_free(judge);
    r->outcome = (sow_outcome){.plan = r->plan,
                               .looked = r->now.looked,
                               .over = r->now.over,
                               .leader = r->now.leader,
                               .standings = r->now.standings,
                               .decisions = r->now.decisions,
                               .decision_count = r->now.decision_count};
}

static void expect(race *r, const char *sentence) {
    const char *found;
    OK(sow_outcome_sentence(r->arena, &r->outcome, 1, &found));
    assert_string_equal(found, sentence);
    sow_arena_free(r->arena);
}

static void a_confirmed_arm_is_better_by_so_much(void **state) {
    race r;
    open_race(&r, "\"seeds\":{\"min\":8,\"max\":8}", D, 8, -1);
    expect(&r,
           "eva is better than lora by 0.0163 val_acc (95% interval 0.0060 to 0.0263, 8 seeds, p = 0.016): confirmed.");
}

static void an_early_stop_is_said(void **state) {
    const char *found;
    race r;
    open_race(&r, "\"seeds\":{\"min\":6,\"max\":8}", D, 8, -1);
    OK(sow_outcome_sentence(r.arena, &r.outcome, 1, &found));
    assert_non_null(strstr(found, "7 seeds"));
    assert_non_null(strstr(found, ": confirmed. It stopped early: the mean is optimistic, the interval is valid."));
    sow_arena_free(r.arena);
}

static void an_undecided_arm_says_what_it_would_take(void **state) {
    static const double mixed[] = {.02, -.01, .03, -.02, .01, -.005, .02, -.015};
    const char *found;
    race r;
    open_race(&r, "\"seeds\":{\"min\":8,\"max\":8}", mixed, 8, -1);
    OK(sow_outcome_sentence(r.arena, &r.outcome, 1, &found));
    assert_non_null(strstr(found, "eva against lora: not decided after 8 seeds: -0.01"));
    assert_non_null(strstr(found, " would do."));
    sow_arena_free(r.arena);
}

static void a_worse_arm_is_at_most_so_much_better(void **state) {
    double worse[8];
    const char *found;
    race r;
    for (int i = 0; i < 8; i++) worse[i] = -D[i];
    open_race(&r, "\"seeds\":{\"min\":8,\"max\":8}", worse, 8, -1);
    OK(sow_outcome_sentence(r.arena, &r.outcome, 1, &found));
    assert_non_null(strstr(found, "eva against lora: not confirmed: at most -0.00600 val_acc better"));
    sow_arena_free(r.arena);
}

static void a_failure_is_never_left_out(void **state) {
    race r;
    open_race(&r, "\"seeds\":{\"min\":8,\"max\":8}", D, 8, 3);
    expect(
        &r,
        "eva against lora: not decided: a seed stays bad, and none is left out (failure.rule in the plan can give it a "
        "value). 1 of 8 seeds failed (at most 47% do, at 95%).");
}

static void the_t_test_says_what_it_assumes(void **state) {
    static const double three[] = {.02, .021, .022};
    const char *found;
    race r;
    open_race(&r, "\"seeds\":{\"max\":3}", three, 3, -1);
    OK(sow_outcome_sentence(r.arena, &r.outcome, 1, &found));
    assert_non_null(strstr(found, ": confirmed. This assumes normal differences."));
    sow_arena_free(r.arena);
}

static void json_has_arms_decisions_and_sentences(void **state) {
    json_t *out;
    race r;
    open_race(&r, "\"seeds\":{\"min\":8,\"max\":8}", D, 8, -1);
    OK(sow_outcome_json(r.arena, &r.outcome, &out));
    json_t *arm = json_array_get(json_object_get(out, "arms"), 1);
    assert_string_equal(json_string_value(json_object_get(arm, "verdict")), "confirmed");
    assert_near(json_number_value(json_object_get(arm, "low")), .006, 1e-9);
    assert_true(json_is_null(json_object_get(json_array_get(json_object_get(out, "arms"), 0), "effect")));
    assert_int_equal(json_array_size(json_object_get(out, "decisions")), 2);
    assert_int_equal(json_array_size(json_object_get(out, "sentences")), 1);
    assert_string_equal(json_string_value(json_object_get(out, "verdict")), "confirmed");
    assert_true(sow_outcome_confirmed(&r.outcome));
    json_decref(out);
    sow_arena_free(r.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_confirmed_arm_is_better_by_so_much),
        cmocka_unit_test(an_early_stop_is_said),
        cmocka_unit_test(an_undecided_arm_says_what_it_would_take),
        cmocka_unit_test(a_worse_arm_is_at_most_so_much_better),
        cmocka_unit_test(a_failure_is_never_left_out),
        cmocka_unit_test(the_t_test_says_what_it_assumes),
        cmocka_unit_test(json_has_arms_decisions_and_sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
