/* Study clauses: what holds, what fails, what cannot be decided; and the paired t behind the intervals. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sow/stats.h"
#include "sow/study.h"

static const sow_study study = {.name = "toy", .seeds = {"1:2", "1:4", "1:8"}};
static const uint64_t eight[] = {1, 2, 3, 4, 5, 6, 7, 8};
static const double D[] = {.021, .034, -.006, .018, .027, .009, .015, .012}; /* PROVE.md, section 6 */

#define assert_near(a, b, tolerance)                                                                                  \
    do {                                                                                                              \
        double near_a = (a), near_b = (b);                                                                            \
        if (!(fabs(near_a - near_b) <= (tolerance))) fail_msg("%s: found %.10g, expected %.10g", #a, near_a, near_b); \
    } while (0)

/* Eight seeds at full scale: the ticket's accuracy is that of reinit plus D; it stops at half of reinit's step. */
static void open_call(sow_study_call *call) {
    *call = (sow_study_call){.scale = SOW_SCALE_FULL, .seeds = eight, .seed_count = 8, .claim = "tickets win"};
    assert_int_equal(sow_arena_new(&call->arena), SOW_OK);
    for (int s = 0; s < 8; s++) {
        assert_int_equal(sow_study_score(call, "ticket", "acc", eight[s], 0.5 + s * 0.01 + D[s]), SOW_OK);
        assert_int_equal(sow_study_score(call, "reinit", "acc", eight[s], 0.5 + s * 0.01), SOW_OK);
        assert_int_equal(sow_study_score(call, "ticket", "stop", eight[s], 100 * (s + 1)), SOW_OK);
        assert_int_equal(sow_study_score(call, "reinit", "stop", eight[s], 200 * (s + 1)), SOW_OK);
    }
}

static json_t *judge(sow_study_call *call, const sow_clause *clauses, int count) {
    json_t *out;
    call->clauses = clauses, call->clause_count = count;
    if (sow_study_judge(call->arena, &study, call, &out) != SOW_OK) fail_msg("%s", sow_message());
    return out;
}

static const char *verdict(json_t *judged) {
    return json_string_value(json_object_get(judged, "verdict"));
}

static double in_clause(json_t *judged, int index, const char *key) {
    return json_number_value(json_object_get(json_array_get(json_object_get(judged, "clauses"), (size_t)index), key));
}

static json_t *holds(json_t *judged, int index) {
    return json_object_get(json_array_get(json_object_get(judged, "clauses"), (size_t)index), "holds");
}

#define DIFFERENCE(statistic, at_least, value) \
    { "a clause", "ticket", "reinit", "acc", (statistic), (at_least), (value) }

static void all_clauses_hold_and_the_study_is_confirmed(void **state) {
    static const sow_clause clauses[] = {DIFFERENCE(SOW_MEAN_DIFFERENCE, true, 0.016),
                                         DIFFERENCE(SOW_MEDIAN_DIFFERENCE, true, 0.0164),
                                         DIFFERENCE(SOW_WINS, true, 7),
                                         DIFFERENCE(SOW_LEAST_DIFFERENCE, true, -0.0061),
                                         {"stops earlier", "ticket", "reinit", "stop", SOW_RATIO_OF_MEANS, false, 0.5}};
    sow_study_call call;
    open_call(&call);
    json_t *judged = judge(&call, clauses, 5);
    assert_string_equal(verdict(judged), "confirmed");
    assert_near(in_clause(judged, 0, "effect"), 0.01625, 1e-12);
    assert_near(in_clause(judged, 1, "effect"), 0.0165, 1e-12);
    assert_near(in_clause(judged, 2, "effect"), 7, 0);
    assert_near(in_clause(judged, 3, "effect"), -0.006, 1e-12);
    assert_near(in_clause(judged, 4, "effect"), 0.5, 1e-12);
    assert_near(in_clause(judged, 4, "low"), 0.5, 1e-9);
    assert_int_equal(in_clause(judged, 4, "n"), 8);
    /* one look: oracle 4 */
    assert_near(in_clause(judged, 0, "low"), 0.006, 1e-9);
    assert_near(in_clause(judged, 0, "high"), 0.0263333, 1e-7);
    json_decref(judged);
    sow_arena_free(call.arena);
}

/* Below six seeds the sign-flip test decides nothing: the interval shown is the paired t's, and says so. */
static void few_seeds_show_the_t_interval(void **state) {
    static const sow_clause clauses[] = {DIFFERENCE(SOW_MEAN_DIFFERENCE, true, 0)};
    static const uint64_t four[] = {1, 2, 3, 4};
    static const sow_study small = {.name = "toy", .seeds = {"1:2", "1:4", "1:4"}};
    double mean = (.021 + .034 - .006 + .018) / 4, low, high;
    sow_study_call call;
    json_t *judged;
    open_call(&call);
    call.seeds = four, call.seed_count = 4, call.clauses = clauses, call.clause_count = 1;
    assert_int_equal(sow_study_judge(call.arena, &small, &call, &judged), SOW_OK);
    assert_int_equal(sow_t_interval(D, 4, 0.05, &low, &high), SOW_OK);
    assert_near(in_clause(judged, 0, "effect"), mean, 1e-12);
    assert_near(in_clause(judged, 0, "low"), low, 1e-12);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(judged, "clauses"), 0), "interval")),
        "95 % paired t");
    json_decref(judged);
    sow_arena_free(call.arena);
}

static void a_range_and_a_p_value_decide_too(void **state) {
    static const sow_clause clauses[] = {
        {"in", "ticket", "reinit", "acc", SOW_MEAN_DIFFERENCE, false, 0.016, true, 0.017},
        {"out", "ticket", "reinit", "acc", SOW_MEAN_DIFFERENCE, false, 0.0163, true, 0.017},
        {"p", "ticket", "reinit", "acc", SOW_P_VALUE, false, 0.0157},
        {"smaller p", "ticket", "reinit", "acc", SOW_P_VALUE, false, 0.0156}};
    sow_study_call call;
    open_call(&call);
    json_t *judged = judge(&call, clauses, 4);
    assert_true(json_is_true(holds(judged, 0)));
    assert_true(json_is_false(holds(judged, 1)));
    assert_near(in_clause(judged, 2, "effect"), 4 / 256., 1e-12); /* twice 2/256 */
    assert_true(json_is_true(holds(judged, 2)));
    assert_true(json_is_false(holds(judged, 3)));
    json_decref(judged);
    sow_arena_free(call.arena);
}

static void one_clause_fails_and_it_is_not_confirmed(void **state) {
    static const sow_clause clauses[] = {DIFFERENCE(SOW_MEAN_DIFFERENCE, true, 0),
                                         DIFFERENCE(SOW_MEAN_DIFFERENCE, true, 0.0163)};
    sow_study_call call;
    open_call(&call);
    json_t *judged = judge(&call, clauses, 2);
    assert_string_equal(verdict(judged), "not confirmed");
    assert_true(json_is_true(holds(judged, 0)));
    assert_true(json_is_false(holds(judged, 1)));
    json_decref(judged);
    sow_arena_free(call.arena);
}

static void a_missing_pair_or_too_few_seeds_decide_nothing(void **state) {
    static const sow_clause clauses[] = {DIFFERENCE(SOW_MEAN_DIFFERENCE, true, 0)},
                            other[] = {{"x", "ticket", "dense", "acc", SOW_WINS, true, 0}};
    sow_study_call call;
    json_t *judged;
    open_call(&call);
    call.score_count--, call.score_count--, call.score_count--; /* reinit's accuracy of seed 8 is gone */
    judged = judge(&call, clauses, 1);
    assert_string_equal(verdict(judged), "not decided");
    assert_true(json_is_null(holds(judged, 0)));
    assert_int_equal(in_clause(judged, 0, "n"), 7);
    json_decref(judged);
    call.seed_count = 7; /* fewer than the study's own eight */
    judged = judge(&call, clauses, 1);
    assert_string_equal(verdict(judged), "not decided");
    json_decref(judged);
    call.scale = SOW_SCALE_SMALL; /* whose default is four */
    judged = judge(&call, clauses, 1);
    assert_string_equal(verdict(judged), "confirmed");
    json_decref(judged);
    judged = judge(&call, other, 1);
    assert_string_equal(verdict(judged), "not decided");
    json_decref(judged);
    sow_arena_free(call.arena);
}

static void arms_are_summed_up(void **state) {
    sow_study_call call;
    open_call(&call);
    json_t *judged = judge(&call, NULL, 0), *arms = json_object_get(judged, "arms"), *row = json_array_get(arms, 2);
    assert_string_equal(verdict(judged), "not decided");
    assert_int_equal(json_array_size(arms), 4);
    assert_string_equal(json_string_value(json_object_get(row, "metric")), "stop");
    assert_near(json_number_value(json_object_get(row, "mean")), 450, 0);
    assert_near(json_number_value(json_object_get(row, "sd")), 244.94897427831780, 1e-9);
    assert_near(json_number_value(json_object_get(row, "max")), 800, 0);
    json_decref(judged);
    sow_arena_free(call.arena);
}

static void scores_must_be_finite_and_single(void **state) {
    sow_study_call call;
    open_call(&call);
    assert_int_equal(sow_study_score(&call, "ticket", "acc", 9, NAN), SOW_E_NUMBER);
    assert_int_equal(sow_study_score(&call, "ticket", "acc", 8, 1), SOW_E_EXISTS);
    sow_arena_free(call.arena);
}

static const sow_study_part parts[] = {
    {"images", "one", SOW_SCALE_FULL, "1:4", "an hour", "pictures", NULL},
    {"texts", "another", SOW_SCALE_FULL, "1:9", "a day", NULL, NULL},
    {0},
};
static const sow_study in_parts = {.name = "toy", .seeds = {"1:2", "1:4", NULL}, .parts = parts};

static void parts_are_found_by_name(void **state) {
    const sow_study_part *part;
    sow_arena *arena;
    assert_int_equal(sow_arena_new(&arena), SOW_OK);
    assert_int_equal(sow_study_find_part(arena, &in_parts, SOW_SCALE_FULL, "texts", &part), SOW_OK);
    assert_ptr_equal(part, &parts[1]);
    assert_int_equal(sow_study_find_part(arena, &in_parts, SOW_SCALE_SMALL, NULL, &part), SOW_OK);
    assert_null(part);
    assert_int_equal(sow_study_find_part(arena, &study, SOW_SCALE_FULL, NULL, &part), SOW_OK);
    assert_null(part);
    assert_int_equal(sow_study_find_part(arena, &in_parts, SOW_SCALE_FULL, NULL, &part), SOW_E_ARGUMENT);
    assert_non_null(strstr(sow_message(), "--part images --data PATH (an hour; pictures), --part texts (a day)"));
    assert_int_equal(sow_study_find_part(arena, &in_parts, SOW_SCALE_FULL, "image", &part), SOW_E_ARGUMENT);
    assert_non_null(strstr(sow_message(), "no part 'image'; there are --part images"));
    assert_int_equal(sow_study_find_part(arena, &in_parts, SOW_SCALE_SMALL, "images", &part), SOW_E_ARGUMENT);
    assert_non_null(strstr(sow_message(), "does not come in parts"));
    sow_arena_free(arena);
}

static void a_part_is_judged_by_its_own_number_of_seeds(void **state) {
    static const sow_clause clause = DIFFERENCE(SOW_MEAN_DIFFERENCE, true, 0.01);
    for (int i = 0; i < 2; i++) { /* eight seeds are enough for the first, not for the second */
        sow_study_call call;
        json_t *out;
        open_call(&call);
        call.part = &parts[i], call.clauses = &clause, call.clause_count = 1;
        if (sow_study_judge(call.arena, &in_parts, &call, &out) != SOW_OK) fail_msg("%s", sow_message());
        assert_string_equal(verdict(out), i == 0 ? "confirmed" : "not decided");
        assert_string_equal(json_string_value(json_object_get(out, "part")), parts[i].name);
        json_decref(out);
        sow_arena_free(call.arena);
    }
}

static void students_t_has_its_known_values(void **state) {
    assert_near(sow_t_quantile(0.975, 1), 12.706204736432095, 1e-9);
    assert_near(sow_t_quantile(0.975, 4), 2.7764451051977987, 1e-12);
    assert_near(sow_t_quantile(0.025, 29), -2.045229642132703, 1e-12);
    assert_near(sow_t_quantile(0.995, 7), 3.4994832973504935, 1e-12);
    assert_near(sow_t_quantile(0.5, 7), 0, 0);
    assert_near(sow_t_p(3.801049, 7), 0.0067057, 1e-7);
    assert_near(sow_t_cdf(-3.801049, 7), 0.0067057 / 2, 1e-7);
    assert_near(sow_t_cdf(1, 1), 0.75, 1e-14);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_clauses_hold_and_the_study_is_confirmed),
        cmocka_unit_test(few_seeds_show_the_t_interval),
        cmocka_unit_test(a_range_and_a_p_value_decide_too),
        cmocka_unit_test(one_clause_fails_and_it_is_not_confirmed),
        cmocka_unit_test(a_missing_pair_or_too_few_seeds_decide_nothing),
        cmocka_unit_test(arms_are_summed_up),
        cmocka_unit_test(scores_must_be_finite_and_single),
        cmocka_unit_test(parts_are_found_by_name),
        cmocka_unit_test(a_part_is_judged_by_its_own_number_of_seeds),
        cmocka_unit_test(students_t_has_its_known_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
