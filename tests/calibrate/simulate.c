/* Simulated races through the judge that real races use. */
#include "calibrate/simulate.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "sow/random.h"

const char *const noise_names[NOISES] = {"normal", "t3", "lognormal", "failing"};
const char *const rule_names[RULES] = {"sign flips, every seed", "sign flips, once", "paired t, once",
                                       "bets, every seed", "paired t, every seed"};

enum { FIRST_LOOK = 6, FIRST_T = 3 };
static const double alpha = 0.05, fall = 5, failing_share = 0.2;

/* ---- scores ---- */

static double draw(sow_rng *rng, noise kind) {
    double z[4], u;
    sow_rng_normal_f64(rng, z, 4, 0, 1);
    sow_rng_uniform_f64(rng, &u, 1, 0, 1);
    switch (kind) {
    case T3: return z[0] / sqrt((z[1] * z[1] + z[2] * z[2] + z[3] * z[3]) / 3);
    case LOGNORMAL: return exp(z[0]) - exp(0.5);
    case FAILING: return z[0] - (u < failing_share ? fall : 0) + failing_share * fall;
    default: return z[0];
    }
}

static double variance_of(noise kind) {
    switch (kind) {
    case T3: return 3;
    case LOGNORMAL: return (exp(1) - 1) * exp(1);
    case FAILING: return 1 + fall * fall * failing_share * (1 - failing_share);
    default: return 1;
    }
}

/* values: [arms][seeds]. What all arms of a seed share (the data's order) is drawn too, and falls out of pairs. */
static void draw_scores(sow_rng *rng, const campaign *c, double *values) {
    double unit = sqrt(variance_of(c->noise) + variance_of(c->reference_noise)), shared;
    for (int s = 0; s < c->seeds; s++) {
        sow_rng_normal_f64(rng, &shared, 1, 0, 3);
        for (int a = 0; a < c->arms; a++) {
            double better = ((a == 1 ? c->effect : 0) + a * c->spread) * unit;
            values[a * c->seeds + s] = shared + better + draw(rng, a ? c->noise : c->reference_noise);
        }
    }
}

/* ---- judging ---- */

/* Adds what one race came to. */
static void count(const campaign *c, const sow_judgement *now, finding *sum) {
    bool wrong = false;
    for (int a = 0; a < c->arms; a++) {
        const sow_standing *s = &now->standings[a];
        bool has_verdict = !strcmp(s->verdict, "confirmed") || !strcmp(s->verdict, "not confirmed");
        wrong |= has_verdict && a * c->spread + (a == 1 ? c->effect : 0) == 0;
        sum->cells += (double)s->n / (c->arms * c->seeds);
    }
    sum->wrong += wrong;
    sum->better += !strcmp(now->standings[1].verdict, "confirmed");
    sum->lost += now->standings[c->arms - 1].dropped > 0;
    sum->seeds += now->looked;
}

/* Not the judge: repeated t tests as they are done by hand, each arm at alpha / (arms - 1). */
static void count_peeking(const campaign *c, const double *values, finding *sum) {
    bool wrong = false;
    for (int a = 1; a < c->arms; a++) {
        double d[128], t = 0, p = 1;
        int n = 0;
        for (; n < c->seeds; n++) {
            d[n] = values[a * c->seeds + n] - values[n];
            if (n + 1 < FIRST_T || sow_t_test(d, n + 1, &t, &p) != SOW_OK) continue;
            if (p < alpha / (c->arms - 1)) break;
        }
        bool rejected = n < c->seeds;
        wrong |= rejected && a * c->spread + (a == 1 ? c->effect : 0) == 0;
        sum->better += a == 1 && rejected && t > 0;
        if (a == 1) sum->seeds += rejected ? n + 1 : c->seeds;
        sum->cells += 1.0 / (c->arms - 1);
    }
    sum->wrong += wrong;
}

static void make_plan(const campaign *c, sow_plan_arm *arms, sow_plan *plan) {
    static const sow_test_rule tests[] = {SOW_TEST_AUTO, SOW_TEST_FLIP, SOW_TEST_T, SOW_TEST_BET, SOW_TEST_T};
    bool once = c->rule == FLIP_ONCE || c->rule == T_ONCE || c->seeds < FIRST_LOOK;
    for (int a = 0; a < c->arms; a++) arms[a] = (sow_plan_arm){.name = "arm"};
    *plan = (sow_plan){.name = "simulated", .arms = arms, .arm_count = c->arms, .metric.name = "score"};
    plan->seeds.first = once ? c->seeds : c->rule == BET ? 1 : FIRST_LOOK;
    plan->seeds.last = c->seeds;
    plan->seeds.every = 1;
    plan->test.rule = tests[c->rule];
    plan->test.alpha = alpha;
    plan->test.sides = 2;
    plan->race.rule = c->race;
    plan->race.alpha = 0.1;
}

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static sow_status run_races(const campaign *c, sow_judge *judge, sow_arena *arena, finding *out) {
    double *values;
    unsigned char *ended;
    sow_rng rng;
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, c->seed));
    SOW_TRY(SOW_NEW(arena, values, c->arms * c->seeds));
    SOW_TRY(SOW_NEW(arena, ended, c->arms * c->seeds));
    memset(ended, SOW_SCORED, (size_t)(c->arms * c->seeds));
    for (int race = 0; race < c->races; race++) {
        sow_mark mark = sow_arena_mark(arena);
        sow_scores scores = {.values = values, .ended = ended};
        sow_judgement now;
        sow_rng_at_index(&rng, "race", (uint64_t)race);
        draw_scores(&rng, c, values);
        double start = now_seconds();
        if (c->rule == T_PEEKING) {
            count_peeking(c, values, out);
        } else {
            SOW_TRY(sow_judge_race(judge, arena, &scores, false, &now));
            count(c, &now, out);
        }
        out->judging += now_seconds() - start;
        sow_arena_release(arena, mark);
    }
    return SOW_OK;
}

sow_status simulate(const campaign *c, finding *out) {
    sow_plan_arm arms[64];
    sow_plan plan;
    sow_judge *judge;
    sow_arena *arena;
    double *shares[] = {&out->wrong, &out->better, &out->lost, &out->seeds, &out->cells, &out->judging};
    *out = (finding){0};
    make_plan(c, arms, &plan);
    SOW_TRY(sow_judge_new(&plan, &judge));
    sow_status status = sow_arena_new(&arena);
    if (status == SOW_OK) {
        status = run_races(c, judge, arena, out);
        sow_arena_free(arena);
    }
    sow_judge_free(judge);
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) *shares[i] /= c->races;
    return status;
}
