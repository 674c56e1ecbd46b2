/* A small calibration: few races, wide margins; `make calibrate` runs 10,000. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "calibrate/simulate.h"

enum { RACES = 200 };

static finding run(campaign c) {
    finding f;
    c.races = RACES, c.seed = 20;
    if (simulate(&c, &f) != SOW_OK) fail_msg("%s", sow_message());
    return f;
}

static void assert_share(const char *what, double found, double least, double most) {
    if (!(found >= least && found <= most))
        fail_msg("%s: %.3f of races, expected %.3f to %.3f", what, found, least, most);
}

static void equal_arms_get_no_verdict(void **state) {
    for (int k = 0; k < NOISES; k++)
        for (int arms = 2; arms <= 8; arms += 6) {
            finding f = run((campaign){.noise = (noise)k,
                                       .reference_noise = (noise)k,
                                       .arms = arms,
                                       .seeds = 20,
                                       .race = arms == 2 ? SOW_RACE_NONE : SOW_RACE_FLIP});
            assert_share(noise_names[k], f.wrong, 0, 0.05 + 2.6 * sqrt(0.05 * 0.95 / RACES));
            assert_share("a given arm dropped", f.lost, 0, 0.1 + 2.6 * sqrt(0.1 * 0.9 / RACES));
        }
}

static void peeking_with_a_t_test_does_err(void **state) {
    finding f = run((campaign){.rule = T_PEEKING, .arms = 2, .seeds = 20});
    assert_share("false alarms of repeated t tests", f.wrong, 0.12, 0.35);
}

static void a_better_arm_is_found(void **state) {
    finding f = run((campaign){.arms = 2, .seeds = 20, .effect = 0.8, .race = SOW_RACE_FLIP});
    assert_share("found", f.better, 0.80, 0.96);
    if (!(f.seeds > 12 && f.seeds < 16)) fail_msg("%.1f seeds on average, expected about 14", f.seeds);
}

static void racing_keeps_the_best_and_saves_trainings(void **state) {
    finding f = run((campaign){.arms = 8, .seeds = 20, .spread = 0.2, .race = SOW_RACE_FLIP});
    assert_share("best arm dropped", f.lost, 0, 0.1);
    if (!(f.cells < 0.9)) fail_msg("%.2f of the trainings were run", f.cells);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_arms_get_no_verdict),
        cmocka_unit_test(peeking_with_a_t_test_does_err),
        cmocka_unit_test(a_better_arm_is_found),
        cmocka_unit_test(racing_keeps_the_best_and_saves_trainings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
