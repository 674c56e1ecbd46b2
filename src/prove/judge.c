/* The verdict of a study: frozen clauses over paired scores (PROVE.md, section 2.6). */
#include "sow/json.h"
#include "sow/study.h"

#include <math.h>
#include <string.h>

#include "sow/stats.h"

static const char *const statistic_names[] = {
    "mean difference", "median difference", "ratio of means", "wins", "least difference", "p value"};

/* ---- scores ---- */

static const sow_score *find_score(const sow_study_call *call, const char *arm, const char *metric, uint64_t seed) {
    for (int64_t i = 0; i < call->score_count; i++) {
        const sow_score *s = &call->scores[i];
        if (s->seed == seed && !strcmp(s->arm, arm) && !strcmp(s->metric, metric)) return s;
    }
    return NULL;
}

sow_status sow_study_score(sow_study_call *call, const char *arm, const char *metric, uint64_t seed, double value) {
    if (!isfinite(value))
        return sow_fail(SOW_E_NUMBER, "study: %s of %s, seed %llu, is not finite", metric, arm,
                        (unsigned long long)seed);
    if (find_score(call, arm, metric, seed))
        return sow_fail(SOW_E_EXISTS, "study: %s of %s, seed %llu, has a score already", metric, arm,
                        (unsigned long long)seed);
    int64_t n = call->score_count;
    if (n == 0 || (n >= 16 && (n & (n - 1)) == 0)) { /* full at 16, 32, 64 ... */
        sow_score *larger;
        SOW_TRY(SOW_NEW(call->arena, larger, n == 0 ? 16 : 2 * n));
        if (n > 0) memcpy(larger, call->scores, (size_t)n * sizeof *larger);
        call->scores = larger;
    }
    sow_score score = {sow_arena_copy(call->arena, arm), sow_arena_copy(call->arena, metric), seed, value};
    if (!score.arm || !score.metric) return SOW_E_MEMORY;
    call->scores[call->score_count++] = score;
    return SOW_OK;
}

double sow_study_scored(const sow_study_call *call, const char *arm, const char *metric, uint64_t seed) {
    const sow_score *s = find_score(call, arm, metric, seed);
    return s ? s->value : NAN;
}

double sow_study_mean(const sow_study_call *call, const char *arm, const char *metric) {
    double sum = 0;
    for (int s = 0; s < call->seed_count; s++) sum += sow_study_scored(call, arm, metric, call->seeds[s]);
    return sum / call->seed_count;
}

double sow_study_deviation(const sow_study_call *call, const char *arm, const char *metric) {
    double mean = sow_study_mean(call, arm, metric), sum = 0;
    for (int s = 0; s < call->seed_count; s++) {
        double d = sow_study_scored(call, arm, metric, call->seeds[s]) - mean;
        sum += d * d;
    }
    return call->seed_count > 1 ? sqrt(sum / (call->seed_count - 1)) : NAN;
}

/* ---- one clause ---- */

/* Fewer than 6 seeds cannot decide at .05, two-sided; more than 128 are no longer held in sign rows. */
static bool takes_flip(int n) {
    return n >= 6 && n <= 128;
}

typedef enum truth { FAILS, HOLDS, UNDECIDED } truth;

typedef struct pairs {
    double *arm, *against, *d;
    int n;
} pairs;

/* Values of the seeds that have both scores, in the order of the call's seeds; no `against`: differences from 0. */
static sow_status pair(sow_arena *arena, const sow_study_call *call, const sow_clause *clause, pairs *out) {
    SOW_TRY(SOW_NEW(arena, out->arm, call->seed_count));
    SOW_TRY(SOW_NEW(arena, out->against, call->seed_count));
    SOW_TRY(SOW_NEW(arena, out->d, call->seed_count));
    out->n = 0;
    for (int s = 0; s < call->seed_count; s++) {
        const sow_score *a = find_score(call, clause->arm, clause->metric, call->seeds[s]);
        const sow_score *b = clause->against ? find_score(call, clause->against, clause->metric, call->seeds[s]) : NULL;
        if (!a || (clause->against && !b)) continue;
        out->arm[out->n] = a->value;
        out->against[out->n] = b ? b->value : 0;
        out->d[out->n] = a->value - out->against[out->n];
        out->n++;
    }
    return SOW_OK;
}

static double flip_p(const double *d, int n, bool negated) {
    double x[128], p = NAN;
    sow_flip *flip;
    if (sow_flip_new(n, &flip) != SOW_OK) return NAN;
    for (int i = 0; i < n; i++) x[i] = negated ? -d[i] : d[i];
    p = sow_flip_p(flip, x, n, (sow_looks){n, 1, n}, 0.025);
    sow_flip_free(flip);
    return p;
}

/* Two-sided: the sign-flip test's at one look; below 6 seeds, where it decides nothing, the paired t's. */
static double p_value(const pairs *p) {
    double t, value;
    if (!takes_flip(p->n)) return sow_t_test(p->d, p->n, &t, &value) == SOW_OK ? value : NAN;
    return fmin(1, 2 * fmin(flip_p(p->d, p->n, false), flip_p(p->d, p->n, true)));
}

static sow_status effect_of(const pairs *p, sow_statistic statistic, double *effect) {
    sow_summary d, arm, against;
    SOW_TRY(sow_summarise(p->d, p->n, &d));
    SOW_TRY(sow_summarise(p->arm, p->n, &arm));
    SOW_TRY(sow_summarise(p->against, p->n, &against));
    int wins = 0;
    for (int i = 0; i < p->n; i++) wins += p->d[i] > 0;
    const double values[] = {d.mean, d.median, arm.mean / against.mean, wins, d.minimum, p_value(p)};
    *effect = values[statistic];
    return SOW_OK;
}

/* At one look: the sign-flip interval of the differences; below 6 seeds, where there is none, the paired t's. For a
 * ratio, of the logarithms of the seeds' ratios. False: there is no interval. */
static bool interval_of(const pairs *p, sow_statistic statistic, double *logs, double *low, double *high) {
    const double *d = p->d;
    *low = *high = NAN;
    if (p->n < 2 || statistic == SOW_P_VALUE) return false;
    if (statistic == SOW_RATIO_OF_MEANS) {
        for (int i = 0; i < p->n; i++) {
            if (!(p->arm[i] > 0) || !(p->against[i] > 0)) return false;
            logs[i] = log(p->arm[i] / p->against[i]);
        }
        d = logs;
    }
    sow_flip *flip = NULL;
    if (takes_flip(p->n)) {
        if (sow_flip_new(p->n, &flip) != SOW_OK) return false;
        sow_flip_interval(flip, d, p->n, (sow_looks){p->n, 1, p->n}, 0.025, low, high);
        sow_flip_free(flip);
    } else if (sow_t_interval(d, p->n, 0.05, low, high) != SOW_OK) return false;
    if (statistic == SOW_RATIO_OF_MEANS) *low = exp(*low), *high = exp(*high);
    return isfinite(*low) && isfinite(*high);
}

static truth holds(const sow_clause *clause, double effect, int n, int needed) {
    if (n < needed || !isfinite(effect)) return UNDECIDED;
    if (clause->within) return effect >= clause->value && effect <= clause->high ? HOLDS : FAILS;
    return (clause->at_least ? effect >= clause->value : effect <= clause->value) ? HOLDS : FAILS;
}

static const char *interval_name(sow_statistic statistic, int n) {
    static const char *const names[2][3] = {
        {"95 % paired t", "95 % paired t of the mean difference", "95 % paired t of the logarithms of ratios"},
        {"95 % sign-flip", "95 % sign-flip of the mean difference", "95 % sign-flip of the logarithms of ratios"}};
    int what = statistic == SOW_RATIO_OF_MEANS ? 2 : statistic != SOW_MEAN_DIFFERENCE;
    return names[takes_flip(n)][what];
}

static sow_status judge_clause(sow_arena *arena, const sow_study_call *call, const sow_clause *clause, int needed,
                               json_t *list, truth *out) {
    pairs p;
    double effect = NAN, low, high, *logs;
    SOW_TRY(pair(arena, call, clause, &p));
    SOW_TRY(SOW_NEW(arena, logs, call->seed_count));
    if (p.n > 0) SOW_TRY(effect_of(&p, clause->statistic, &effect));
    bool interval = interval_of(&p, clause->statistic, logs, &low, &high);
    *out = holds(clause, effect, p.n, needed);
    json_t *row = json_pack("{s:s, s:s, s:s, s:f, s:o, s:o, s:o, s:s, s:i, s:o}", "says", clause->says, "statistic",
                            statistic_names[clause->statistic], "op",
                            clause->within     ? "within"
                            : clause->at_least ? ">="
                                               : "<=",
                            "value", clause->value, "effect", sow_json_real(effect), "low",
                            sow_json_real(interval ? low : NAN), "high", sow_json_real(interval ? high : NAN),
                            "interval", interval_name(clause->statistic, p.n), "n", p.n, "holds",
                            *out == UNDECIDED ? json_null() : json_boolean(*out == HOLDS));
    return row && json_array_append_new(list, row) == 0 ? SOW_OK : sow_fail(SOW_E_MEMORY, "study: out of memory");
}

/* ---- arms ---- */

/* One row for each arm and metric, in the order in which they were first scored. */
static sow_status add_arm(const sow_study_call *call, const sow_score *first, double *values, json_t *list) {
    sow_summary summary;
    int n = 0;
    for (int s = 0; s < call->seed_count; s++) {
        const sow_score *score = find_score(call, first->arm, first->metric, call->seeds[s]);
        if (score) values[n++] = score->value;
    }
    if (n == 0) return SOW_OK;
    SOW_TRY(sow_summarise(values, n, &summary));
    json_t *row = json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:i}", "arm", first->arm, "metric", first->metric, "mean",
                            summary.mean, "min", summary.minimum, "max", summary.maximum, "sd", summary.sd, "n", n);
    return row && json_array_append_new(list, row) == 0 ? SOW_OK : sow_fail(SOW_E_MEMORY, "study: out of memory");
}

static bool seen_before(const sow_study_call *call, int64_t index) {
    const sow_score *s = &call->scores[index];
    for (int64_t i = 0; i < index; i++)
        if (!strcmp(call->scores[i].metric, s->metric) && !strcmp(call->scores[i].arm, s->arm)) return true;
    return false;
}

static sow_status add_arms(sow_arena *arena, const sow_study_call *call, json_t *list) {
    double *values;
    SOW_TRY(SOW_NEW(arena, values, call->seed_count));
    for (int64_t i = 0; i < call->score_count; i++)
        if (!seen_before(call, i)) SOW_TRY(add_arm(call, &call->scores[i], values, list));
    return SOW_OK;
}

/* ---- the verdict ---- */

static const char *verdict_of(const truth *truths, int count) {
    bool undecided = count == 0;
    for (int i = 0; i < count; i++) {
        if (truths[i] == FAILS) return "not confirmed";
        undecided = undecided || truths[i] == UNDECIDED;
    }
    return undecided ? "not decided" : "confirmed";
}

sow_status sow_clauses_judge(sow_arena *arena, const sow_study_call *call, int needed, json_t *clauses,
                             const char **verdict) {
    truth *truths;
    SOW_TRY(SOW_NEW(arena, truths, call->clause_count));
    for (int i = 0; i < call->clause_count; i++)
        SOW_TRY(judge_clause(arena, call, &call->clauses[i], needed, clauses, &truths[i]));
    *verdict = verdict_of(truths, call->clause_count);
    return SOW_OK;
}

static sow_status judge(sow_arena *arena, const sow_study *study, const sow_study_call *call, json_t *clauses,
                        json_t *arms, const char **verdict) {
    uint64_t *seeds;
    int needed = 0;
    const char *usual = call->part ? call->part->seeds : study->seeds[call->scale];
    if (usual) SOW_TRY(sow_seeds_parse(arena, usual, &seeds, &needed));
    if (needed < call->seed_count) needed = call->seed_count; /* a pair missing decides nothing */
    SOW_TRY(sow_clauses_judge(arena, call, needed, clauses, verdict));
    return add_arms(arena, call, arms);
}

sow_status sow_study_judge(sow_arena *arena, const sow_study *study, const sow_study_call *call, json_t **out) {
    json_t *clauses = json_array(), *arms = json_array();
    const char *verdict = NULL;
    sow_status status = judge(arena, study, call, clauses, arms, &verdict);
    *out = NULL;
    if (status == SOW_OK) {
        *out = json_pack("{s:s, s:s, s:s*, s:s, s:s, s:O, s:O}", "study", study->name, "scale",
                         sow_scale_name(call->scale), "part", call->part ? call->part->name : NULL, "claim",
                         call->claim ? call->claim : "", "verdict", verdict, "clauses", clauses, "arms", arms);
        if (!*out) status = sow_fail(SOW_E_MEMORY, "study: out of memory");
    }
    json_decref(clauses);
    json_decref(arms);
    return status;
}
