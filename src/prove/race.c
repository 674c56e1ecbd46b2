/* Judging a race: looks, Holm's steps, verdicts, and who is dropped (PROVE.md, sections 2.4, 2.5, 3). A pure function
 * of the plan and of the scores up to the last whole look. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "prove/plan.h"
#include "prove/test.h"

enum { FRIEDMAN_FIRST = 5 };
static const double friedman_alpha = 0.05; /* as in irace */

struct sow_judge {
    const sow_plan *plan;
    sow_flip *flip; /* of seeds.last seeds */
};

enum { UNKNOWN = -1 };

/* One call. */
typedef struct trial {
    const sow_judge *judge;
    const sow_plan *plan;
    const sow_scores *scores;
    sow_arena *arena;
    prove_test test;
    int arms, seeds;
    double *y;               /* [arms][seeds]: larger is better; NaN: bad, with no value for it */
    int *known, *spoiled_at; /* leading seeds that have ended; the first of them without a value, counted from 1 */
    int *confirming;         /* [arms][arms]: the look at which Holm's step j confirms; UNKNOWN: not asked yet */
    int *refuting;           /* [arms] */
    int *beaten;             /* [arms][arms]: the look at which the row beats the column */
    bool *live;              /* still racing; the reference is always */
    int *left;               /* the look at which it left the race, 0: it did not */
    const char **verdicts;
    int confirmed;
    sow_judgement *out;
} trial;

/* ---- scores ---- */

static double value_of(const trial *t, int arm, int seed) {
    int64_t at = (int64_t)arm * t->seeds + seed;
    bool bad = t->scores->ended[at] == SOW_BAD;
    if (bad && !t->plan->failure.has_value) return NAN;
    double value = bad ? t->plan->failure.value : t->scores->values[at];
    return t->plan->metric.minimise ? -value : value;
}

static void read_scores(trial *t) {
    for (int a = 0; a < t->arms; a++)
        for (int s = 0; s < t->seeds; s++) {
            bool ended = t->scores->ended[(int64_t)a * t->seeds + s] != SOW_OPEN;
            double *y = &t->y[(int64_t)a * t->seeds + s];
            *y = ended ? value_of(t, a, s) : NAN;
            if (t->known[a] == s && ended) t->known[a] = s + 1;
            if (t->known[a] == s + 1 && isnan(*y) && t->spoiled_at[a] == 0) t->spoiled_at[a] = s + 1;
        }
}

/* Seeds at the front that both arms have values for. */
static int paired(const trial *t, int a, int b) {
    int n = t->known[a] < t->known[b] ? t->known[a] : t->known[b];
    if (t->spoiled_at[a] && t->spoiled_at[a] <= n) n = t->spoiled_at[a] - 1;
    if (t->spoiled_at[b] && t->spoiled_at[b] <= n) n = t->spoiled_at[b] - 1;
    return n;
}

static void differences(const trial *t, int a, int b, int n, double *d) {
    for (int s = 0; s < n; s++) d[s] = t->y[(int64_t)a * t->seeds + s] - t->y[(int64_t)b * t->seeds + s];
}

static double mean_of(const trial *t, int arm, int n) {
    double sum = 0;
    for (int s = 0; s < n; s++) sum += t->y[(int64_t)arm * t->seeds + s];
    return sum / n;
}

/* ---- tests, each made once ---- */

/* The look at which an arm is confirmed at alpha / sides / j. */
static int confirming(trial *t, int arm, int j) {
    int *look = &t->confirming[arm * t->arms + j - 1];
    if (*look == UNKNOWN) {
        double d[PLAN_SEEDS_MAX];
        int n = paired(t, arm, t->plan->reference);
        differences(t, arm, t->plan->reference, n, d);
        *look = prove_confirms(&t->test, d, n, t->test.alpha / t->test.sides / j);
    }
    return *look;
}

static int refuting(trial *t, int arm) {
    if (t->refuting[arm] == UNKNOWN) {
        double d[PLAN_SEEDS_MAX];
        int n = paired(t, arm, t->plan->reference);
        differences(t, arm, t->plan->reference, n, d);
        t->refuting[arm] = prove_refutes(&t->test, d, n, t->test.alpha / t->test.sides / t->test.arms);
    }
    return t->refuting[arm];
}

/* The look at which the race's own test, always the sign-flip one, puts `better` above `worse`. */
static int beaten(trial *t, int better, int worse) {
    int *look = &t->beaten[better * t->arms + worse];
    if (*look == UNKNOWN) {
        double d[PLAN_SEEDS_MAX];
        int n = paired(t, better, worse);
        differences(t, better, worse, n, d);
        *look = sow_flip_test(t->judge->flip, d, n, t->test.looks, t->plan->race.alpha / (t->arms - 1), NULL, NULL);
    }
    return *look;
}

/* ---- decisions ---- */

static void decide(trial *t, int n, int arm, const char *what, const char *detail) {
    t->out->decisions[t->out->decision_count++] = (sow_decision){n, arm, what, detail};
}

static bool waits(const trial *t, int arm) {
    return t->live[arm] && arm != t->plan->reference && strcmp(t->verdicts[arm], "not decided") == 0;
}

static void leave(trial *t, int n, int arm, const char *what, const char *detail) {
    t->live[arm] = false;
    t->left[arm] = n;
    decide(t, n, arm, what, detail);
}

/* An arm with a seed that stays bad can only be not decided; so can all others if that is the reference. */
static void drop_spoiled(trial *t, int n) {
    int reference = t->plan->reference;
    bool lost = t->spoiled_at[reference] && t->spoiled_at[reference] <= n;
    for (int a = 0; a < t->arms; a++) {
        if (a == reference || !t->live[a]) continue;
        if (lost) leave(t, n, a, "spoiled", "a seed of the reference stays bad");
        else if (t->spoiled_at[a] && t->spoiled_at[a] <= n) leave(t, n, a, "spoiled", "a seed stays bad");
    }
}

/* Holm: at each step an arm is confirmed at the level that the number of those still open allows. */
static bool confirm_one(trial *t, int n, int arm) {
    for (int j = t->test.arms; j >= 1 && j >= t->test.arms - t->confirmed; j--) {
        int look = confirming(t, arm, j);
        if (look && look <= n) return true;
    }
    return false;
}

static void judge_arms(trial *t, int n) {
    bool *now = t->live + t->arms; /* all arms of one step are compared with the same level */
    for (bool changed = true; changed;) {
        changed = false;
        for (int a = 0; a < t->arms; a++) now[a] = waits(t, a) && confirm_one(t, n, a);
        for (int a = 0; a < t->arms; a++) {
            if (!now[a]) continue;
            t->verdicts[a] = "confirmed";
            t->confirmed++;
            changed = true;
            decide(t, n, a, "confirmed", "");
        }
    }
    for (int a = 0; a < t->arms; a++) {
        if (!waits(t, a) || !refuting(t, a) || refuting(t, a) > n) continue;
        t->verdicts[a] = "not confirmed";
        decide(t, n, a, "not confirmed", "");
    }
}

static int leader_of(const trial *t, int n) {
    int leader = -1;
    double best = -INFINITY;
    if (t->spoiled_at[t->plan->reference] && t->spoiled_at[t->plan->reference] <= n) return -1;
    for (int a = 0; a < t->arms; a++) {
        if (!t->live[a]) continue;
        double mean = mean_of(t, a, n);
        if (leader < 0 || mean > best) leader = a, best = mean;
    }
    return leader;
}

static sow_status drop_beaten(trial *t, int n, int leader) {
    for (int a = 0; a < t->arms; a++) {
        if (!t->live[a] || a == leader || a == t->plan->reference) continue;
        int look = beaten(t, leader, a);
        if (!look || look > n) continue;
        char *detail = sow_arena_format(t->arena, "behind %s", t->plan->arms[leader].name);
        if (!detail) return SOW_E_MEMORY;
        leave(t, n, a, "dropped", detail);
    }
    return SOW_OK;
}

/* Scores of the live arms by seed, and which arms these are. */
static int live_scores(const trial *t, int n, double *scores, int *which) {
    int count = 0;
    for (int a = 0; a < t->arms; a++)
        if (t->live[a]) which[count++] = a;
    for (int s = 0; s < n; s++)
        for (int i = 0; i < count; i++) scores[s * count + i] = t->y[(int64_t)which[i] * t->seeds + s];
    return count;
}

static sow_status drop_by_ranks(trial *t, int n) {
    double *scores, *sums, statistic, p, difference, best = INFINITY;
    int *which;
    if (n < FRIEDMAN_FIRST) return SOW_OK;
    SOW_TRY(SOW_NEW(t->arena, scores, t->arms * n));
    SOW_TRY(SOW_NEW(t->arena, sums, t->arms));
    SOW_TRY(SOW_NEW(t->arena, which, t->arms));
    int count = live_scores(t, n, scores, which);
    if (count < 2 || sow_friedman(scores, n, count, friedman_alpha, &statistic, &p, sums, &difference) != SOW_OK)
        return SOW_OK; /* all equal: nothing to tell them apart by */
    if (!(p < friedman_alpha)) return SOW_OK;
    for (int i = 0; i < count; i++) best = fmin(best, sums[i]);
    for (int i = 0; i < count; i++)
        if (which[i] != t->plan->reference && sums[i] - best >= difference)
            leave(t, n, which[i], "dropped", "by ranks");
    return SOW_OK;
}

static bool all_decided(const trial *t) {
    for (int a = 0; a < t->arms; a++)
        if (waits(t, a)) return false;
    return true;
}

static sow_status take_look(trial *t, int n) {
    drop_spoiled(t, n);
    judge_arms(t, n);
    t->out->looked = n;
    t->out->leader = leader_of(t, n);
    t->out->over = n == t->seeds || all_decided(t);
    if (!t->out->over && t->plan->race.rule == SOW_RACE_FLIP) SOW_TRY(drop_beaten(t, n, t->out->leader));
    if (!t->out->over && t->plan->race.rule == SOW_RACE_FRIEDMAN) SOW_TRY(drop_by_ranks(t, n));
    t->out->over = t->out->over || all_decided(t);
    if (t->out->over) decide(t, n, -1, "stopped", n == t->seeds ? "all seeds have run" : "nothing is left to decide");
    return SOW_OK;
}

/* A look after all has been decided: what is shown rests on its seeds too. */
static void look_back(trial *t, int n) {
    drop_spoiled(t, n);
    t->out->looked = n;
    t->out->leader = leader_of(t, n);
}

static bool is_whole(const trial *t, int n) {
    for (int a = 0; a < t->arms; a++)
        if (t->live[a] && t->known[a] < n) return false;
    return true;
}

/* ---- standings ---- */

static void count_ends(const trial *t, int arm, int n, sow_standing *s) {
    for (int i = 0; i < n; i++) {
        unsigned char ended = t->scores->ended[(int64_t)arm * t->seeds + i];
        s->ran += ended != SOW_OPEN;
        s->failures += ended == SOW_BAD;
    }
    s->failure_bound = s->ran > 0 ? sow_failure_bound(s->failures, s->ran, 0.95) : NAN;
}

static void describe_scores(const trial *t, int arm, int n, sow_standing *s) {
    double values[PLAN_SEEDS_MAX];
    sow_summary summary;
    int count = 0;
    for (int i = 0; i < n; i++) {
        double y = t->y[(int64_t)arm * t->seeds + i];
        if (!isnan(y)) values[count++] = t->plan->metric.minimise ? -y : y;
    }
    if (count == 0 || sow_summarise(values, count, &summary) != SOW_OK) return;
    s->mean = summary.mean, s->sd = count > 1 ? summary.sd : NAN, s->iqm = summary.iqm;
}

/* The mean over all pairs there are: a spoiled arm has some too. */
static double effect_of(const trial *t, int arm, int n) {
    double sum = 0;
    int count = 0;
    for (int s = 0; s < n; s++) {
        double d = t->y[(int64_t)arm * t->seeds + s] - t->y[(int64_t)t->plan->reference * t->seeds + s];
        if (!isnan(d)) sum += d, count++;
    }
    return count > 0 ? sum / count : NAN;
}

sow_standing prove_no_standing(const char *verdict) {
    return (sow_standing){.verdict = verdict,
                          .effect = NAN,
                          .low = NAN,
                          .high = NAN,
                          .p = NAN,
                          .failure_bound = NAN,
                          .mean = NAN,
                          .sd = NAN,
                          .iqm = NAN};
}

static void describe(const trial *t, int arm, bool shown, sow_standing *s) {
    int reference = t->plan->reference, n = t->left[arm] ? t->left[arm] : t->out->looked;
    bool absent = t->scores->absent && t->scores->absent[arm];
    *s = prove_no_standing(arm == reference ? "reference" : t->verdicts[arm]);
    s->n = absent ? 0 : n;
    if (absent) return;
    s->spoiled = t->spoiled_at[arm] && t->spoiled_at[arm] <= n;
    if (arm != reference && t->spoiled_at[reference] && t->spoiled_at[reference] <= n) s->spoiled = true;
    s->dropped = s->spoiled ? 0 : t->left[arm];
    count_ends(t, arm, n, s);
    describe_scores(t, arm, n, s);
    if (arm == reference) return;
    s->effect = effect_of(t, arm, n);
    s->normal = t->test.rule == SOW_TEST_T;
    if (!shown || s->spoiled) return;
    double d[PLAN_SEEDS_MAX];
    differences(t, arm, reference, n, d);
    prove_show(&t->test, d, n, s);
    if (waits(t, arm)) s->needed = prove_needed(&t->test, d, n);
}

/* ---- the whole ---- */

sow_status sow_judge_new(const sow_plan *plan, sow_judge **out) {
    sow_judge *judge = sow_reallocate(NULL, sizeof *judge);
    if (!judge) return SOW_E_MEMORY;
    *judge = (sow_judge){.plan = plan};
    sow_status status = sow_flip_new(plan->seeds.last, &judge->flip);
    if (status == SOW_OK) *out = judge;
    else sow_release(judge);
    return status;
}

void sow_judge_free(sow_judge *judge) {
    if (!judge) return;
    sow_flip_free(judge->flip);
    sow_release(judge);
}

static int *unknown(sow_arena *arena, int count) {
    int *list = sow_arena_take_raw(arena, (size_t)count, sizeof *list);
    for (int i = 0; list && i < count; i++) list[i] = UNKNOWN;
    return list;
}

static sow_status take_memory(trial *t) {
    int k = t->arms;
    SOW_TRY(SOW_NEW_RAW(t->arena, t->y, k * t->seeds));
    SOW_TRY(SOW_NEW(t->arena, t->known, k));
    SOW_TRY(SOW_NEW(t->arena, t->spoiled_at, k));
    SOW_TRY(SOW_NEW(t->arena, t->left, k));
    SOW_TRY(SOW_NEW(t->arena, t->live, 2 * k));
    SOW_TRY(SOW_NEW(t->arena, t->verdicts, k));
    SOW_TRY(SOW_NEW(t->arena, t->out->standings, k));
    SOW_TRY(SOW_NEW(t->arena, t->out->decisions, 2 * k + 1)); /* an arm is decided once and leaves once */
    t->confirming = unknown(t->arena, k * k);
    t->refuting = unknown(t->arena, k);
    t->beaten = unknown(t->arena, k * k);
    return t->confirming && t->refuting && t->beaten ? SOW_OK : SOW_E_MEMORY;
}

static void begin(trial *t) {
    const sow_plan *plan = t->plan;
    int entered = 0;
    for (int a = 0; a < t->arms; a++) {
        t->live[a] = !t->scores->absent || !t->scores->absent[a];
        t->verdicts[a] = "not decided";
        entered += t->live[a] && a != plan->reference;
    }
    if (entered < 1) entered = 1;
    t->test = (prove_test){.rule = prove_rule(plan->test.rule, plan->test.alpha, plan->test.sides, entered, t->seeds),
                           .flip = t->judge->flip,
                           .looks = {plan->seeds.first, plan->seeds.every, t->seeds},
                           .alpha = plan->test.alpha,
                           .sides = plan->test.sides,
                           .arms = entered,
                           .claim = plan->claim,
                           .margin = plan->test.margin};
    read_scores(t);
}

sow_status sow_judge_race(sow_judge *judge, sow_arena *arena, const sow_scores *scores, bool shown,
                          sow_judgement *out) {
    trial t = {.judge = judge,
               .plan = judge->plan,
               .scores = scores,
               .arena = arena,
               .arms = judge->plan->arm_count,
               .seeds = judge->plan->seeds.last,
               .out = out};
    *out = (sow_judgement){.leader = -1};
    SOW_TRY(take_memory(&t));
    begin(&t);
    for (int n = 1; n <= t.seeds && (!out->over || scores->complete); n++) {
        if (!sow_is_look(t.test.looks, n)) continue;
        if (!is_whole(&t, n)) break;
        if (out->over) look_back(&t, n);
        else SOW_TRY(take_look(&t, n));
    }
    for (int a = 0; a < t.arms; a++) describe(&t, a, shown, &out->standings[a]);
    return SOW_OK;
}

void sow_halve(const double *means, int arms, int reference, int eta, bool *on) {
    int in = 0, kept = 0;
    for (int a = 0; a < arms; a++) in += !isnan(means[a]), on[a] = false;
    int keep = in / eta > 1 ? in / eta : 1;
    for (; kept < keep && kept < in; kept++) {
        int best = -1;
        for (int a = 0; a < arms; a++)
            if (!isnan(means[a]) && !on[a] && (best < 0 || means[a] > means[best])) best = a;
        on[best] = true;
    }
    on[reference] = true;
}

sow_status sow_judge_confirm(sow_judge *judge, const double *d, int n, sow_standing *out) {
    const sow_plan *plan = judge->plan;
    sow_summary summary;
    sow_test_rule asked = plan->test.rule == SOW_TEST_BET ? SOW_TEST_AUTO : plan->test.rule;
    prove_test test = {.rule = prove_rule(asked, plan->test.alpha, plan->test.sides, 1, n),
                       .looks = {n, 1, n},
                       .alpha = plan->test.alpha,
                       .sides = plan->test.sides,
                       .arms = 1,
                       .claim = plan->claim,
                       .margin = plan->test.margin};
    double a = test.alpha / test.sides;
    SOW_TRY(sow_summarise(d, n, &summary));
    SOW_TRY(sow_flip_new(n, &test.flip));
    *out = (sow_standing){.n = n, .effect = summary.mean, .ran = n, .mean = NAN, .sd = NAN, .iqm = NAN};
    out->verdict = prove_confirms(&test, d, n, a)  ? "confirmed"
                   : prove_refutes(&test, d, n, a) ? "not confirmed"
                                                   : "not decided";
    prove_show(&test, d, n, out);
    if (!strcmp(out->verdict, "not decided")) out->needed = prove_needed(&test, d, n);
    sow_flip_free(test.flip);
    return SOW_OK;
}
