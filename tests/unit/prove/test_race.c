/* Judging races: the worked numbers of PROVE.md, section 6, through the function that real races use. */
#include <math.h>

#include "check.h"

static const double D[] = {.021, .034, -.006, .018, .027, .009, .015, .012};
static const double D10[] = {.021, .034, -.006, .018, .027, .009, .015, .012, .030, -.002};

enum { ARMS = 8, SEEDS = 20 };

/* A plan, scores, and what came of them. */
typedef struct race {
    sow_arena *arena;
    sow_plan *plan;
    sow_judge *judge;
    double values[ARMS * SEEDS];
    unsigned char ended[ARMS * SEEDS];
    bool absent[ARMS];
    sow_judgement now;
} race;

static void open_race(race *r, int arms, const char *more) {
    char text[2048] =
        "{\"sow_plan\":1,\"name\":\"toy\",\"steps\":900,\"metric\":{\"name\":\"acc\",\"direction\":\"max\"},\"arms\":[";
    memset(r, 0, sizeof *r);
    OK(sow_arena_new(&r->arena));
    for (int a = 0; a < arms; a++)
        snprintf(text + strlen(text), 100, "%s{\"name\":\"arm%d\",\"none\":true}", a ? "," : "", a);
    snprintf(text + strlen(text), sizeof text - strlen(text), "],%s}", more);
    OK(sow_plan_parse(r->arena, text, "plan.json", &r->plan));
    OK(sow_judge_new(r->plan, &r->judge));
}

static void close_race(race *r) {
    sow_judge_free(r->judge);
    sow_arena_free(r->arena);
}

/* Scores of the reference are a ramp, those of the arm d above. */
static void put(race *r, int arm, const double *d, int n) {
    for (int s = 0; s < n; s++) {
        r->values[arm * r->plan->seeds.last + s] = .5 + s * .125 + (d ? d[s] : 0);
        r->ended[arm * r->plan->seeds.last + s] = SOW_SCORED;
    }
}

static const sow_standing *judge(race *r, int arm) {
    sow_scores scores = {r->values, r->ended, r->absent};
    OK(sow_judge_race(r->judge, r->arena, &scores, true, &r->now));
    return &r->now.standings[arm];
}

static const sow_standing *judge_two(race *r, const double *d, int n) {
    put(r, 0, NULL, n);
    put(r, 1, d, n);
    return judge(r, 1);
}

static void a_race_stops_at_the_look_that_rejects(void **state) {
    race r;
    open_race(&r, 2, "\"seeds\":{\"min\":6,\"max\":8}");
    const sow_standing *s = judge_two(&r, D, 8);
    assert_string_equal(s->verdict, "confirmed");
    assert_int_equal(s->n, 7);
    assert_int_equal(r.now.looked, 7);
    assert_true(r.now.over);
    assert_int_equal(r.now.leader, 1);
    assert_near(s->effect, .118 / 7, 1e-12);
    assert_true(s->low > 0);
    assert_int_equal(r.now.decision_count, 2);
    assert_string_equal(r.now.decisions[0].what, "confirmed");
    assert_int_equal(r.now.decisions[0].n, 7);
    assert_int_equal(r.now.decisions[1].arm, -1);
    assert_string_equal(r.now.standings[0].verdict, "reference");
    close_race(&r);
}

static void before_a_look_is_whole_nothing_is_decided(void **state) {
    race r;
    open_race(&r, 2, "\"seeds\":{\"min\":6,\"max\":8}");
    put(&r, 0, NULL, 8);
    put(&r, 1, D, 5);
    judge(&r, 1);
    assert_int_equal(r.now.looked, 0);
    assert_int_equal(r.now.decision_count, 0);
    put(&r, 1, D, 6);
    const sow_standing *s = judge(&r, 1);
    assert_int_equal(r.now.looked, 6);
    assert_string_equal(s->verdict, "not decided");
    assert_true(isnan(s->low)); /* oracle 4: after 6 seeds null */
    assert_false(r.now.over);
    close_race(&r);
}

static void one_look_at_eight_seeds(void **state) {
    race r;
    open_race(&r, 2, "\"seeds\":{\"min\":8,\"max\":8}");
    const sow_standing *s = judge_two(&r, D, 8);
    assert_string_equal(s->verdict, "confirmed");
    assert_near(s->low, .006, 1e-9);
    assert_near(s->high, .0263333, 1e-7);
    assert_near(s->p, 4 / 256., 1e-12); /* two-sided: twice 2/256 */
    assert_near(s->failure_bound, .312, 5e-4);
    close_race(&r);
}

static void ten_seeds_reject_at_the_eighth(void **state) {
    race r;
    open_race(&r, 2, "\"seeds\":{\"min\":6,\"max\":10}");
    assert_int_equal(judge_two(&r, D10, 10)->n, 8);
    close_race(&r);
}

static void a_margin_has_to_be_beaten(void **state) {
    race r;
    open_race(&r, 2, "\"seeds\":{\"min\":6,\"max\":8},\"test\":{\"margin\":0.005}");
    assert_string_equal(judge_two(&r, D, 8)->verdict, "confirmed");
    assert_int_equal(r.now.looked, 8);
    close_race(&r);
    open_race(&r, 2, "\"seeds\":{\"min\":6,\"max\":8},\"test\":{\"margin\":0.0061}");
    assert_string_equal(judge_two(&r, D, 8)->verdict, "not decided");
    assert_true(r.now.over); /* all seeds have run */
    assert_true(r.now.standings[1].needed > 8);
    close_race(&r);
}

static void equal_arms_are_never_told_apart(void **state) {
    static const double zeros[8];
    race r;
    open_race(&r, 2, "\"seeds\":{\"min\":6,\"max\":8}");
    const sow_standing *s = judge_two(&r, zeros, 8);
    assert_string_equal(s->verdict, "not decided");
    assert_near(s->low, 0, 1e-8);
    assert_near(s->high, 0, 1e-8);
    close_race(&r);
}

static void six_equal_gains_are_enough(void **state) {
    static const double gains[] = {.01, .01, .01, .01, .01, .01};
    race r;
    open_race(&r, 2, "\"seeds\":{\"max\":6}");
    const sow_standing *s = judge_two(&r, gains, 6);
    assert_string_equal(s->verdict, "confirmed");
    assert_near(s->low, .01, 1e-7);
    assert_near(s->high, .01, 1e-7);
    close_race(&r);
}

static void a_worse_arm_is_not_confirmed(void **state) {
    double worse[8];
    race r;
    for (int i = 0; i < 8; i++) worse[i] = -D[i];
    open_race(&r, 2, "\"seeds\":{\"min\":6,\"max\":8},\"race\":{\"rule\":\"none\"}");
    assert_string_equal(judge_two(&r, worse, 8)->verdict, "not confirmed");
    assert_int_equal(r.now.looked, 7);
    assert_int_equal(r.now.leader, 0);
    close_race(&r);
    open_race(&r, 2, "\"seeds\":{\"min\":6,\"max\":8}"); /* a race asks less: it drops the arm before that is clear */
    assert_string_equal(judge_two(&r, worse, 8)->verdict, "not decided");
    assert_int_equal(r.now.standings[1].dropped, 6);
    close_race(&r);
    /* ... and the same losses are a gain where less is better */
    open_race(&r, 2, "\"seeds\":{\"min\":6,\"max\":8}");
    r.plan->metric.minimise = true;
    const sow_standing *s = judge_two(&r, worse, 8);
    assert_string_equal(s->verdict, "confirmed");
    assert_true(s->effect > 0);
    assert_near(s->mean, r.now.standings[0].mean - .118 / 7, 1e-12); /* means stay in the metric's units */
    close_race(&r);
}

/* One look at 8: one-sided p of D is 2/256, of `weak` 5/256; alpha / sides is .025 = 6.4/256, half of it 3.2/256. */
static const double weak[] = {.021, .034, -.016, .018, .027, .009, .015, .012};

static void holm_gives_the_second_arm_the_larger_level(void **state) {
    race r;
    open_race(&r, 3, "\"seeds\":{\"min\":8,\"max\":8},\"race\":{\"rule\":\"none\"}");
    put(&r, 0, NULL, 8);
    put(&r, 1, D, 8);
    put(&r, 2, weak, 8);
    const sow_standing *s = judge(&r, 2);
    assert_near(s->p, 2 * 5 / 256., 1e-12);
    assert_string_equal(r.now.standings[1].verdict, "confirmed");
    assert_string_equal(s->verdict, "confirmed");
    static const double zeros[8];
    put(&r, 1, zeros, 8);
    assert_string_equal(judge(&r, 2)->verdict, "not decided"); /* alone it is not enough */
    close_race(&r);
}

static void a_beaten_arm_is_dropped_and_keeps_its_verdict(void **state) {
    double far[20], high[20];
    race r;
    for (int s = 0; s < 20; s++) far[s] = -.3 - .01 * (s % 3), high[s] = (s % 2 ? .02 : -.015);
    open_race(&r, 3, "\"seeds\":{\"min\":6,\"max\":20},\"test\":{\"margin\":0.5}");
    put(&r, 0, NULL, 20);
    put(&r, 1, high, 20);
    put(&r, 2, far, 20);
    const sow_standing *s = judge(&r, 2);
    assert_true(s->dropped >= 6 && s->dropped < 20);
    assert_int_equal(s->n, s->dropped);
    assert_string_equal(s->verdict, "not decided");
    int drops = 0;
    for (int i = 0; i < r.now.decision_count; i++)
        if (!strcmp(r.now.decisions[i].what, "dropped")) {
            drops++;
            assert_int_equal(r.now.decisions[i].arm, 2);
            assert_true(strstr(r.now.decisions[i].detail, "behind arm") != NULL);
        }
    assert_int_equal(drops, 1);
    close_race(&r);
}

static void a_seed_that_stays_bad_decides_nothing_or_scores_its_value(void **state) {
    race r;
    open_race(&r, 3, "\"seeds\":{\"min\":6,\"max\":8}");
    put(&r, 0, NULL, 8);
    put(&r, 1, D, 8);
    put(&r, 2, D, 8);
    r.ended[2 * 8 + 3] = SOW_BAD;
    const sow_standing *s = judge(&r, 2);
    assert_true(s->spoiled);
    assert_string_equal(s->verdict, "not decided");
    assert_int_equal(s->failures, 1);
    assert_string_equal(r.now.standings[1].verdict, "confirmed"); /* the others go on */
    close_race(&r);
    open_race(&r, 2, "\"seeds\":{\"min\":8,\"max\":8},\"failure\":{\"rule\":\"value\",\"value\":0.1}");
    put(&r, 0, NULL, 8);
    put(&r, 1, D, 8);
    r.ended[1 * 8 + 3] = SOW_BAD;
    s = judge(&r, 1);
    assert_false(s->spoiled);
    assert_near(s->effect, (.13 - .018 + .1 - .5 - 3 * .125) / 8, 1e-12);
    close_race(&r);
}

static void a_reference_that_fails_ends_the_race(void **state) {
    race r;
    open_race(&r, 3, "\"seeds\":{\"min\":6,\"max\":8}");
    for (int a = 0; a < 3; a++) put(&r, a, a ? D : NULL, 8);
    r.ended[2] = SOW_BAD;
    assert_true(judge(&r, 1)->spoiled);
    assert_true(r.now.over);
    assert_int_equal(r.now.looked, 6);
    close_race(&r);
}

static void few_seeds_take_the_t_test_and_say_so(void **state) {
    static const double three[] = {.02, .021, .022};
    race r;
    open_race(&r, 2, "\"seeds\":{\"max\":3}");
    const sow_standing *s = judge_two(&r, three, 3);
    assert_true(s->normal);
    assert_string_equal(s->verdict, "confirmed");
    close_race(&r);
    static const double equal[] = {.125, .125, .125}; /* exact in binary: no spread at all */
    open_race(&r, 2, "\"seeds\":{\"max\":3}");
    assert_string_equal(judge_two(&r, equal, 3)->verdict, "not decided");
    close_race(&r);
}

static void claims_of_equivalence_need_both_sides(void **state) {
    static const double small[] = {.001, -.002, .002, .001, -.001, .002, -.001, .001};
    race r;
    open_race(&r, 2, "\"seeds\":{\"min\":8,\"max\":8},\"claim\":\"equivalent\",\"test\":{\"margin\":0.01}");
    assert_string_equal(judge_two(&r, small, 8)->verdict, "confirmed");
    assert_string_equal(judge_two(&r, D, 8)->verdict, "not decided"); /* .006 to .0263 */
    close_race(&r);
    open_race(&r, 2, "\"seeds\":{\"min\":8,\"max\":8},\"claim\":\"equivalent\",\"test\":{\"margin\":0.005}");
    assert_string_equal(judge_two(&r, D, 8)->verdict, "not confirmed");
    close_race(&r);
    open_race(&r, 2, "\"seeds\":{\"min\":8,\"max\":8},\"claim\":\"not-worse\",\"test\":{\"margin\":0.01}");
    assert_string_equal(judge_two(&r, small, 8)->verdict, "confirmed");
    close_race(&r);
}

/* Oracle 10: E_8 of D is 27.0094. */
static void a_bet_rejects_at_one_over_alpha(void **state) {
    race r;
    open_race(&r, 2, "\"seeds\":{\"min\":1,\"max\":8},\"test\":{\"rule\":\"bet\",\"alpha\":0.08}"); /* 1/a = 25 */
    assert_string_equal(judge_two(&r, D, 8)->verdict, "confirmed");
    assert_near(r.now.standings[1].p, 2 / 27.0094, 1e-6);
    assert_true(r.now.standings[1].low > 0);
    close_race(&r);
    open_race(&r, 2, "\"seeds\":{\"min\":1,\"max\":8},\"test\":{\"rule\":\"bet\",\"alpha\":0.06}"); /* 33.3 */
    assert_string_equal(judge_two(&r, D, 8)->verdict, "not decided");
    close_race(&r);
}

/* Oracle 11: ranks 1.2, 1.8, 3 of five seeds. */
static void ranks_drop_the_last_arm(void **state) {
    static const double scores[5][3] = {
        {.81, .79, .75}, {.84, .80, .78}, {.79, .80, .74}, {.83, .81, .77}, {.85, .80, .79}};
    race r;
    open_race(&r, 3, "\"seeds\":{\"min\":5,\"max\":8},\"race\":{\"rule\":\"friedman\"}");
    for (int a = 0; a < 3; a++)
        for (int s = 0; s < 5; s++) r.values[a * 8 + s] = scores[s][a], r.ended[a * 8 + s] = SOW_SCORED;
    judge(&r, 0);
    assert_int_equal(r.now.standings[2].dropped, 5);
    assert_int_equal(r.now.standings[1].dropped, 0);
    assert_int_equal(r.now.leader, 0);
    close_race(&r);
}

/* Oracle 12: 9 arms go to 3 and 1; the reference goes on beside them. */
static void halving_keeps_a_third(void **state) {
    double means[] = {.1, .9, .8, .7, .6, .5, .4, .3, .2};
    bool on[9];
    sow_halve(means, 9, 0, 3, on);
    assert_true(on[0] && on[1] && on[2] && on[3] && !on[4]);
    for (int a = 0; a < 9; a++)
        if (!on[a]) means[a] = NAN;
    sow_halve(means, 9, 0, 3, on);
    assert_true(on[0] && on[1] && !on[2] && !on[3]);
}

static void arms_that_did_not_come_through_are_no_hypotheses(void **state) {
    race r;
    open_race(&r, 3, "\"seeds\":{\"min\":8,\"max\":8},\"race\":{\"rule\":\"none\"}");
    put(&r, 0, NULL, 8);
    put(&r, 2, weak, 8);
    r.absent[1] = true;
    assert_string_equal(judge(&r, 2)->verdict, "confirmed"); /* one arm: the whole alpha */
    assert_int_equal(r.now.standings[1].n, 0);
    close_race(&r);
}

/* What has arrived beyond a look, and in what order, changes nothing in it. */
static void looks_are_judged_the_same_whatever_lies_beyond(void **state) {
    sow_rng rng;
    for (int trial = 0; trial < 20; trial++) {
        race r;
        open_race(&r, 4, "\"seeds\":{\"min\":5,\"max\":10},\"test\":{\"rule\":\"flip\",\"alpha\":0.2}");
        OK(sow_rng_seed(&rng, SOW_RNG_SOW, (uint64_t)trial));
        sow_rng_uniform_f64(&rng, r.values, 40, 0, 1);
        for (int i = 0; i < 40; i++) r.values[i] += .15 * (i / 10), r.ended[i] = SOW_SCORED;
        judge(&r, 0);
        sow_judgement whole = r.now;
        for (int n = 1; n <= 10; n++) {
            for (int i = 0; i < 40; i++) r.ended[i] = i % 10 < n || i == 17 ? SOW_SCORED : SOW_OPEN;
            judge(&r, 0);
            assert_true(r.now.decision_count <= whole.decision_count);
            for (int i = 0; i < r.now.decision_count; i++) {
                assert_int_equal(r.now.decisions[i].n, whole.decisions[i].n);
                assert_int_equal(r.now.decisions[i].arm, whole.decisions[i].arm);
                assert_string_equal(r.now.decisions[i].what, whole.decisions[i].what);
            }
        }
        close_race(&r);
    }
}

static void fresh_seeds_are_judged_alone(void **state) {
    race r;
    sow_standing s;
    open_race(&r, 3, "\"seeds\":{\"max\":8}");
    OK(sow_judge_confirm(r.judge, D, 8, &s));
    assert_string_equal(s.verdict, "confirmed");
    assert_near(s.low, .006, 1e-9);
    OK(sow_judge_confirm(r.judge, D, 3, &s));
    assert_true(s.normal);
    assert_string_equal(s.verdict, "not decided");
    close_race(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_race_stops_at_the_look_that_rejects),
        cmocka_unit_test(before_a_look_is_whole_nothing_is_decided),
        cmocka_unit_test(one_look_at_eight_seeds),
        cmocka_unit_test(ten_seeds_reject_at_the_eighth),
        cmocka_unit_test(a_margin_has_to_be_beaten),
        cmocka_unit_test(equal_arms_are_never_told_apart),
        cmocka_unit_test(six_equal_gains_are_enough),
        cmocka_unit_test(a_worse_arm_is_not_confirmed),
        cmocka_unit_test(holm_gives_the_second_arm_the_larger_level),
        cmocka_unit_test(a_beaten_arm_is_dropped_and_keeps_its_verdict),
        cmocka_unit_test(a_seed_that_stays_bad_decides_nothing_or_scores_its_value),
        cmocka_unit_test(a_reference_that_fails_ends_the_race),
        cmocka_unit_test(few_seeds_take_the_t_test_and_say_so),
        cmocka_unit_test(claims_of_equivalence_need_both_sides),
        cmocka_unit_test(a_bet_rejects_at_one_over_alpha),
        cmocka_unit_test(ranks_drop_the_last_arm),
        cmocka_unit_test(halving_keeps_a_third),
        cmocka_unit_test(arms_that_did_not_come_through_are_no_hypotheses),
        cmocka_unit_test(looks_are_judged_the_same_whatever_lies_beyond),
        cmocka_unit_test(fresh_seeds_are_judged_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
