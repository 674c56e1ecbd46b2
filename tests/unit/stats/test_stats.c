/* The worked numbers of PROVE.md, section 6, by their numbers there. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sow/stats.h"

static const double D[] = {.021, .034, -.006, .018, .027, .009, .015, .012};
static const double D10[] = {.021, .034, -.006, .018, .027, .009, .015, .012, .030, -.002};
static const double A = .025;

#define assert_near(a, b, tolerance)                                                                                  \
    do {                                                                                                              \
        double near_a = (a), near_b = (b);                                                                            \
        if (!(fabs(near_a - near_b) <= (tolerance))) fail_msg("%s: found %.10g, expected %.10g", #a, near_a, near_b); \
    } while (0)

static sow_looks from_six(int last) {
    return (sow_looks){6, 1, last};
}

static sow_looks once(int n) {
    return (sow_looks){n, 1, n};
}

static sow_flip *flip_of(int seeds) {
    sow_flip *flip;
    assert_int_equal(sow_flip_new(seeds, &flip), SOW_OK);
    return flip;
}

/* Compares one look with what the oracle says: free, threshold, sum (NAN: not told), died (-1: not told), rejected. */
static void assert_look(sow_flip_look look, int n, int64_t free, double threshold, double sum, int64_t died,
                        bool rejected) {
    assert_int_equal(look.n, n);
    assert_int_equal(look.free, free);
    if (!isnan(threshold)) assert_near(look.threshold, threshold, 1e-9);
    if (!isnan(sum)) assert_near(look.sum, sum, 1e-12);
    if (died >= 0) assert_int_equal(look.died, died);
    assert_int_equal(look.rejected, rejected);
}

static double iqm(const double *values, int n) {
    sow_summary s;
    assert_int_equal(sow_summarise(values, n, &s), SOW_OK);
    return s.iqm;
}

static double rliable(const double *values, int n) {
    double out;
    assert_int_equal(sow_iqm_rliable(values, n, &out), SOW_OK);
    return out;
}

static void oracle_1_interquartile_means(void **state) {
    static const double five[] = {.93, .62, .74, .71, .80}, six[] = {1, 2, 4, 8, 16, 32};
    assert_near(iqm(five, 5), .749, .0005);
    assert_near(iqm(five, 5), (.75 * .71 + .74 + .75 * .80) / 2.5, 1e-15);
    assert_near(rliable(five, 5), .75, 1e-12);
    assert_near(iqm(six, 6), 7, 1e-12);
    assert_near(rliable(six, 6), 7.5, 1e-12);
}

static void oracle_2_one_look_and_the_t_test(void **state) {
    static const double five[] = {.8, 1.1, .3, .9, .5};
    sow_flip *f5 = flip_of(5), *f8 = flip_of(8);
    double t, p;
    assert_near(sow_flip_p(f5, five, 5, once(5), A), 1 / 32., 0);
    assert_near(sow_flip_p(f8, D, 8, once(8), A), 2 / 256., 0);
    assert_int_equal(sow_t_test(D, 8, &t, &p), SOW_OK);
    assert_near(t, 3.801049, 5e-7);
    assert_near(p, .0067056, 5e-8); /* .00670561373; the specification prints .0067057 */
    sow_flip_free(f5);
    sow_flip_free(f8);
}

static void oracle_3_looks_at_six_seven_eight(void **state) {
    sow_flip *flip = flip_of(8);
    sow_flip_look look[8];
    int looks;
    assert_int_equal(sow_flip_test(flip, D, 8, from_six(8), A, look, &looks), 7);
    assert_int_equal(looks, 2);
    assert_look(look[0], 6, 3, .115, .103, 0, false);
    assert_look(look[1], 7, 4, .112, .118, -1, true);
    assert_int_equal(sow_flip_test(flip, D, 8, once(8), A, look, &looks), 8);
    assert_look(look[0], 8, 6, .106, .130, -1, true);
    sow_flip_free(flip);
}

static void oracle_4_intervals(void **state) {
    sow_flip *flip = flip_of(8);
    double low, high;
    sow_flip_interval(flip, D, 8, from_six(8), A, &low, &high);
    assert_near(low, .006, 1e-9);
    assert_near(high, .0273333, 5e-8);
    sow_flip_interval(flip, D, 8, once(8), A, &low, &high);
    assert_near(low, .006, 1e-9);
    assert_near(high, .0263333, 5e-8);
    sow_flip_interval(flip, D, 6, from_six(8), A, &low, &high);
    assert_true(isnan(low) && isnan(high));
    sow_flip_free(flip);
}

static void oracle_5_ten_seeds(void **state) {
    sow_flip *flip = flip_of(10);
    sow_flip_look look[10];
    double low, high;
    int looks;
    assert_int_equal(sow_flip_test(flip, D10, 10, from_six(10), A, look, &looks), 8);
    assert_look(look[0], 6, 9, NAN, NAN, 0, false);
    assert_look(look[1], 7, 12, .118, .118, 8, false);
    assert_look(look[2], 8, 8, .112, .130, -1, true);
    sow_flip_interval(flip, D10, 10, from_six(10), A, &low, &high);
    assert_near(low, .006, 1e-9);
    assert_near(high, .027, 1e-9);
    sow_flip_free(flip);
}

static void oracle_6_a_margin(void **state) {
    sow_flip *flip = flip_of(8);
    sow_flip_look look[8];
    double x[8];
    int looks;
    for (int i = 0; i < 8; i++) x[i] = D[i] - .005;
    assert_int_equal(sow_flip_test(flip, x, 8, from_six(8), A, look, &looks), 8);
    assert_look(look[1], 7, 4, .085, .083, 4, false);
    assert_look(look[2], 8, 2, .086, .090, -1, true);
    for (int i = 0; i < 8; i++) x[i] = D[i] - .0061;
    assert_int_equal(sow_flip_test(flip, x, 8, from_six(8), A, NULL, NULL), 0);
    sow_flip_free(flip);
}

static void oracle_7_zeros_and_equal_values(void **state) {
    static const double zeros[8] = {0}, equal[6] = {.01, .01, .01, .01, .01, .01};
    sow_flip *f8 = flip_of(8), *f6 = flip_of(6);
    double low, high;
    assert_int_equal(sow_flip_test(f8, zeros, 8, from_six(8), A, NULL, NULL), 0);
    sow_flip_interval(f8, zeros, 8, from_six(8), A, &low, &high);
    assert_near(low, 0, 1e-15);
    assert_near(high, 0, 1e-15);
    assert_int_equal(sow_flip_test(f6, equal, 6, from_six(6), A, NULL, NULL), 6);
    sow_flip_interval(f6, equal, 6, from_six(6), A, &low, &high);
    assert_near(low, .01, 1e-12);
    assert_near(high, .01, 1e-12);
    sow_flip_free(f8);
    sow_flip_free(f6);
}

static void oracle_8_holm(void **state) {
    static const double p[] = {.011, .004, .030, .200};
    static const double expected[] = {.033, .016, .060, .200};
    static const int largest[] = {3, 4, 1, 0}, none[] = {3, 3, 1, 0};
    double adjusted[4];
    bool confirmed[4];
    assert_int_equal(sow_holm(p, 4, adjusted), SOW_OK);
    for (int i = 0; i < 4; i++) assert_near(adjusted[i], expected[i], 1e-15);
    sow_holm_confirm(largest, 4, confirmed);
    assert_true(confirmed[0] && confirmed[1] && !confirmed[2] && !confirmed[3]);
    sow_holm_confirm(none, 4, confirmed); /* nobody passes the first step */
    assert_false(confirmed[0] || confirmed[1] || confirmed[2] || confirmed[3]);
}

static void oracle_9_improvement(void **state) {
    static const double x[] = {.9, .8, .85, .7}, y[] = {.8, .8, .75, .9};
    double d[4];
    for (int i = 0; i < 4; i++) d[i] = x[i] - y[i];
    assert_near(sow_improvement_paired(d, 4), .625, 0);
    assert_near(sow_improvement(x, 4, y, 4), .53125, 0);
    assert_near(sow_profile(x, 4, .8), .5, 0);
    assert_near(sow_optimality_gap(x, 4, .85), .85 - (.85 + .8 + .85 + .7) / 4, 1e-15);
}

static void oracle_10_bets(void **state) {
    static const double five[] = {.8, 1.1, .3, .9, .5}, expected[] = {1.79677, 3.32558, 5.23145, 9.86775, 17.7361};
    for (int n = 1; n <= 5; n++) assert_near(sow_bet(five, n), expected[n - 1], 5e-5);
    assert_near(sow_bet(D, 8), 27.0094, 5e-5);
    assert_near(sow_bet((double[]){0, 0}, 2), 1, 0);
}

static void oracle_11_friedman(void **state) {
    static const double scores[] = {.81, .79, .75, .84, .80, .78, .79, .80, .74, .83, .81, .77, .85, .80, .79};
    double statistic, p, ranks[3], difference;
    assert_int_equal(sow_friedman(scores, 5, 3, .05, &statistic, &p, ranks, &difference), SOW_OK);
    assert_near(statistic, 8.4, 1e-12);
    assert_near(p, .0149956, 5e-8);
    assert_near(ranks[0], 6, 0);
    assert_near(ranks[2], 15, 0);
    /* Conover: t(.975, 8) sqrt(2 (5*70 - 342) / 8) */
    assert_near(difference, 2.306004135 * sqrt(2 * (5 * 70 - (36 + 81 + 225)) / 8.), 1e-8);
    static const double equal[] = {1, 1, 2, 2};
    assert_int_equal(sow_friedman(equal, 2, 2, .05, &statistic, &p, ranks, &difference), SOW_E_NUMBER);
}

static void oracle_12_halving(void **state) {
    sow_halving plan;
    assert_int_equal(sow_plan_halving(9, 100, 3, 900, &plan), SOW_OK);
    assert_int_equal(plan.count, 3);
    assert_int_equal(plan.rungs[1].arms, 3);
    assert_int_equal(plan.rungs[1].steps, 300);
    assert_int_equal(plan.rungs[2].arms, 1);
    assert_int_equal(plan.rungs[2].steps, 900);
    assert_int_equal(plan.resumed, 2100);
    assert_int_equal(plan.rerun, 2700);
    assert_int_equal(sow_plan_halving(16, 300, 2, 1000, &plan), SOW_OK); /* 16 at 300, 8 at 600, 4 at the full budget */
    assert_int_equal(plan.count, 3);
    assert_int_equal(plan.rungs[2].arms, 4);
    assert_int_equal(plan.rungs[2].steps, 1000);
    assert_int_equal(sow_plan_halving(9, 901, 3, 900, &plan), SOW_E_RANGE);
}

static void oracle_13_failure_bounds(void **state) {
    static const int n[] = {3, 5, 10, 20};
    static const double expected[] = {.632, .451, .259, .139};
    for (int i = 0; i < 4; i++) assert_near(sow_failure_bound(0, n[i], .95), expected[i], .0005);
    assert_near(sow_failure_bound(4, 20, .95), .4010281, 5e-6);
    assert_near(sow_failure_bound(3, 3, .95), 1, 0);
}

static void oracle_14_power(void **state) {
    static const int n[] = {3, 5, 10, 20}, seeds[] = {34, 15, 10, 6}, of_three[] = {45, 20, 14, 8};
    static const double expected[] = {.1793, .4014, .8031, .9886}, effects[] = {.5, .8, 1, 1.5};
    assert_near(sow_sd_of_difference(.010, .012, .7), .0087178, 5e-8);
    for (int i = 0; i < 4; i++) {
        assert_near(sow_t_power(n[i], 1, .05, 2), expected[i], 5e-5);
        assert_int_equal(sow_seeds_needed(effects[i], .05, 2, .8), seeds[i]);
        assert_int_equal(sow_seeds_needed(effects[i], .05 / 3, 2, .8), of_three[i]);
    }
    assert_near(sow_t_power(12, 0, .05, 2), .05, 1e-9);
    assert_int_equal(sow_seeds_needed(0, .05, 2, .8), 100000);
}

/* ---- beyond the oracles ---- */

static void floors_are_those_of_the_specification(void **state) {
    static const int arms[] = {1, 2, 3, 4, 5, 7}, floors[] = {6, 7, 7, 8, 8, 9};
    for (int i = 0; i < 6; i++) assert_int_equal(sow_flip_floor(.05 / 2 / arms[i]), floors[i]);
    assert_int_equal(sow_flip_floor(.25), 2);
}

static void t_keeps_its_digits_near_zero(void **state) {
    assert_near(sow_t_cdf(1e-4, 127), .5000398157740826, 1e-15);
    assert_near(sow_t_cdf(-1e-9, 1), .5 - 1e-9 / 3.14159265358979324, 1e-16);
    assert_near(sow_t_p(1e-4, 127), 2 * (1 - .5000398157740826), 1e-15);
}

/* One look, N <= 16: L and U are the q-th smallest and largest of the 2^n-1 subset means, q = floor(a 2^n). */
static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void one_look_gives_subset_means(void **state) {
    static double means[1023];
    int count = 0;
    for (int set = 1; set < 1024; set++) {
        double sum = 0;
        for (int i = 0; i < 10; i++) sum += set >> i & 1 ? D10[i] : 0;
        means[count++] = sum / __builtin_popcount((unsigned)set);
    }
    qsort(means, 1023, sizeof *means, ascending);
    sow_flip *flip = flip_of(10);
    double low, high;
    sow_flip_interval(flip, D10, 10, once(10), A, &low, &high);
    int q = (int)(A * 1024);
    assert_near(low, means[q - 1], 1e-9);
    assert_near(high, means[1023 - q], 1e-9);
    sow_flip_free(flip);
}

static double draw(unsigned *state) {
    return (rand_r(state) % 20001 - 10000) / 10000.0;
}

static void false_rejections_stay_below_the_level(void **state) {
    unsigned random = 7;
    int rejected = 0, plans = 4000;
    sow_flip *flip = flip_of(10);
    for (int i = 0; i < plans; i++) {
        double d[10];
        for (int s = 0; s < 10; s++) d[s] = pow(draw(&random), 3);
        rejected += sow_flip_test(flip, d, 10, from_six(10), .05, NULL, NULL) > 0;
    }
    double rate = (double)rejected / plans;
    if (rate > .05 + 2 * sqrt(.05 * .95 / plans) || rate < .03)
        fail_msg("rejected %.4f of null plans, expected at most .05", rate);
    sow_flip_free(flip);
}

static void p_agrees_with_the_test_at_its_level(void **state) {
    unsigned random = 11;
    int small = 0;
    sow_flip *flip = flip_of(9);
    for (int i = 0; i < 500; i++) {
        double d[9];
        for (int s = 0; s < 9; s++) d[s] = draw(&random) + .3;
        double p = sow_flip_p(flip, d, 9, from_six(9), A);
        bool rejected = sow_flip_test(flip, d, 9, from_six(9), A, NULL, NULL) > 0;
        assert_int_equal(p <= A, rejected);
        small += rejected;
        if (p < 1) assert_true(sow_flip_test(flip, d, 9, from_six(9), p, NULL, NULL) > 0);
    }
    assert_in_range(small, 20, 480);
    sow_flip_free(flip);
}

static void twenty_seeds_use_the_fixed_rows(void **state) {
    sow_flip *flip = flip_of(20);
    double d[20], low, high, one_low, one_high;
    for (int s = 0; s < 20; s++) d[s] = D[s % 8] + .0001 * s;
    assert_int_equal(sow_flip_rows(flip), 65536);
    int at = sow_flip_test(flip, d, 20, from_six(20), A, NULL, NULL);
    assert_in_range(at, 8, 12); /* no stop before about seed 8 */
    sow_flip_interval(flip, d, 20, from_six(20), A, &low, &high);
    assert_int_equal(sow_t_interval(d, 20, .05, &one_low, &one_high), SOW_OK);
    assert_near(low, one_low, .003);
    assert_near(high, one_high, .003);
    for (int s = 0; s < 20; s++) d[s] -= low + 1e-9; /* just above the bound: not rejected; just below: rejected */
    assert_int_equal(sow_flip_test(flip, d, 20, from_six(20), A, NULL, NULL), 0);
    for (int s = 0; s < 20; s++) d[s] += 2e-9;
    assert_true(sow_flip_test(flip, d, 20, from_six(20), A, NULL, NULL) > 0);
    sow_flip_free(flip);
}

static void verdicts_follow_from_interval_and_margin(void **state) {
    assert_string_equal(sow_verdict_of(SOW_CLAIM_BETTER, 0, .001, .02), "confirmed");
    assert_string_equal(sow_verdict_of(SOW_CLAIM_BETTER, 0, -.02, 0), "not confirmed");
    assert_string_equal(sow_verdict_of(SOW_CLAIM_BETTER, .01, .005, .02), "not decided");
    assert_string_equal(sow_verdict_of(SOW_CLAIM_BETTER, 0, NAN, NAN), "not decided");
    assert_string_equal(sow_verdict_of(SOW_CLAIM_NOT_WORSE, .01, -.005, .02), "confirmed");
    assert_string_equal(sow_verdict_of(SOW_CLAIM_NOT_WORSE, .01, -.03, -.01), "not confirmed");
    assert_string_equal(sow_verdict_of(SOW_CLAIM_EQUIVALENT, .01, -.005, .009), "confirmed");
    assert_string_equal(sow_verdict_of(SOW_CLAIM_EQUIVALENT, .01, .01, .02), "not confirmed");
    assert_string_equal(sow_verdict_of(SOW_CLAIM_EQUIVALENT, .01, -.005, .011), "not decided");
}

static double mean_of(const double *values, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += values[i];
    return sum / n;
}

static void the_bootstrap_takes_the_same_seeds_for_all_arms(void **state) {
    double values[2][10], low[2], high[2];
    for (int s = 0; s < 10; s++) values[0][s] = D10[s], values[1][s] = D10[s] + 1;
    assert_int_equal(sow_bootstrap(&values[0][0], 2, 10, mean_of, 10000, .95, low, high), SOW_OK);
    assert_near(low[1] - low[0], 1, 1e-12);
    assert_near(high[1] - high[0], 1, 1e-12);
    sow_summary s;
    sow_summarise(D10, 10, &s);
    double error = s.sd * sqrt(.9 / 10); /* of the bootstrap mean */
    assert_near(low[0], s.mean - 1.96 * error, .0008);
    assert_near(high[0], s.mean + 1.96 * error, .0008);
}

static void bad_input_is_refused(void **state) {
    sow_flip *flip;
    sow_summary s;
    double t, p;
    assert_int_equal(sow_flip_new(0, &flip), SOW_E_RANGE);
    assert_int_equal(sow_flip_new(129, &flip), SOW_E_RANGE);
    assert_int_equal(sow_summarise((double[]){1, NAN}, 2, &s), SOW_E_NUMBER);
    assert_int_equal(sow_summarise(NULL, 0, &s), SOW_E_RANGE);
    assert_int_equal(sow_t_test((double[]){1, 1, 1}, 3, &t, &p), SOW_E_NUMBER);
    assert_int_equal(sow_t_test((double[]){1}, 1, &t, &p), SOW_E_RANGE);
}

/* Newcombe 1998, table I, method 3. */
static void wilson_intervals_equal_published_ones(void **state) {
    double low, high;
    sow_wilson_interval(81, 263, 0.05, &low, &high);
    assert_near(low, 0.2553, 5e-5);
    assert_near(high, 0.3662, 5e-5);
    sow_wilson_interval(15, 148, 0.05, &low, &high);
    assert_near(low, 0.0624, 5e-5);
    assert_near(high, 0.1605, 5e-5);
    sow_wilson_interval(0, 20, 0.05, &low, &high);
    assert_true(low == 0);
    assert_near(high, 0.1611, 5e-5);
    sow_wilson_interval(29, 29, 0.05, &low, &high);
    assert_near(low, 0.8830, 5e-5);
    assert_true(high == 1);
    sow_wilson_interval(0, 0, 0.05, &low, &high);
    assert_true(low == 0 && high == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oracle_1_interquartile_means),
        cmocka_unit_test(oracle_2_one_look_and_the_t_test),
        cmocka_unit_test(oracle_3_looks_at_six_seven_eight),
        cmocka_unit_test(oracle_4_intervals),
        cmocka_unit_test(oracle_5_ten_seeds),
        cmocka_unit_test(oracle_6_a_margin),
        cmocka_unit_test(oracle_7_zeros_and_equal_values),
        cmocka_unit_test(oracle_8_holm),
        cmocka_unit_test(oracle_9_improvement),
        cmocka_unit_test(oracle_10_bets),
        cmocka_unit_test(oracle_11_friedman),
        cmocka_unit_test(oracle_12_halving),
        cmocka_unit_test(oracle_13_failure_bounds),
        cmocka_unit_test(oracle_14_power),
        cmocka_unit_test(floors_are_those_of_the_specification),
        cmocka_unit_test(t_keeps_its_digits_near_zero),
        cmocka_unit_test(one_look_gives_subset_means),
        cmocka_unit_test(false_rejections_stay_below_the_level),
        cmocka_unit_test(p_agrees_with_the_test_at_its_level),
        cmocka_unit_test(twenty_seeds_use_the_fixed_rows),
        cmocka_unit_test(verdicts_follow_from_interval_and_margin),
        cmocka_unit_test(the_bootstrap_takes_the_same_seeds_for_all_arms),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(wilson_intervals_equal_published_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
