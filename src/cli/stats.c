/* sow stats: which arm is better, from scores that came from anywhere, judged as a race is. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/stats_scores.h"
#include "sow/json.h"
#include "sow/prove.h"

/* ---- the plan that the options stand for ---- */

/* The index of a CHOICE among its texts "a|b|c". */
static int choice_of(const sow_call *call, const char *option, const char *const *texts) {
    int i = 0;
    while (strcmp(sow_text(call, option), texts[i]) != 0) i++;
    return i;
}

/* "6:1": from the sixth seed on after every one. */
static sow_status read_looks(const char *text, int *first, int *every) {
    char *end;
    long a = strtol(text, &end, 10), b = 1;
    if (end != text && *end == ':') {
        const char *second = end + 1;
        b = strtol(second, &end, 10);
        if (end == second) b = 0;
    }
    if (end == text || *end || a < 1 || a > CLI_SEEDS_MAX || b < 1 || b > CLI_SEEDS_MAX)
        return sow_fail(SOW_E_ARGUMENT,
                        "--looks: found '%.60s', expected FIRST:EVERY, like 6:1, both from 1 to %d seeds", text,
                        CLI_SEEDS_MAX);
    *first = (int)a, *every = (int)b;
    return SOW_OK;
}

static sow_status set_looks(const sow_call *call, int found, sow_plan *plan) {
    int planned = sow_given(call, "planned") ? (int)sow_int(call, "planned") : found;
    const char *looks = sow_text(call, "looks");
    plan->seeds.first = plan->seeds.last = planned;
    plan->seeds.every = 1;
    if (planned < found)
        return sow_fail(SOW_E_ARGUMENT, "--planned: found %d, but the file has %d seeds", planned, found);
    if (looks) SOW_TRY(read_looks(looks, &plan->seeds.first, &plan->seeds.every));
    else if (plan->test.rule == SOW_TEST_BET) plan->seeds.first = 1; /* valid at any seed without a plan */
    if (plan->seeds.first > planned)
        return sow_fail(SOW_E_ARGUMENT, "--looks: the first look is after %d seeds, of which there are %d",
                        plan->seeds.first, planned);
    if (looks && plan->test.rule == SOW_TEST_T && plan->seeds.first < planned)
        return sow_fail(SOW_E_ARGUMENT, "--test t is valid for one look at all seeds; leave out --looks, or --test");
    return SOW_OK;
}

static sow_status set_reference(const sow_call *call, const cli_scores *scores, sow_plan *plan) {
    const char *name = sow_text(call, "reference"), *all = "";
    plan->reference = 0;
    for (int a = 0; a < scores->arm_count; a++) {
        if (name && strcmp(scores->arms[a], name) == 0) plan->reference = a;
        if (a < 12) all = sow_arena_format(call->arena, "%s%s%.40s", all, a ? ", " : "", scores->arms[a]);
        if (!all) return SOW_E_MEMORY;
    }
    if (name && strcmp(scores->arms[plan->reference], name) != 0)
        return sow_fail(SOW_E_ARGUMENT, "--reference: no arm '%.60s'; the file has %s%s", name, all,
                        scores->arm_count > 12 ? " ..." : "");
    return SOW_OK;
}

static sow_status make_plan(const sow_call *call, const cli_scores *scores, const char *metric, sow_plan *plan) {
    static const char *const claims[] = {"better", "not-worse", "equivalent"}, *const rules[] = {"auto", "flip", "t",
                                                                                                 "bet"};
    sow_plan_arm *arms;
    SOW_TRY(SOW_NEW(call->arena, arms, scores->arm_count));
    for (int a = 0; a < scores->arm_count; a++) arms[a].name = scores->arms[a];
    *plan = (sow_plan){.name = "scores",
                       .path = sow_text(call, "scores"),
                       .arms = arms,
                       .arm_count = scores->arm_count,
                       .claim = (sow_claim)choice_of(call, "claim", claims)};
    plan->metric.name = metric;
    plan->metric.minimise = plan->metric.falling = strcmp(sow_text(call, "direction"), "min") == 0;
    plan->test.rule = (sow_test_rule)choice_of(call, "test", rules);
    plan->test.alpha = sow_real(call, "alpha");
    plan->test.sides = (int)sow_int(call, "sides");
    plan->test.margin = sow_real(call, "margin");
    plan->race.rule = SOW_RACE_NONE;
    plan->failure.has_value = sow_given(call, "failure-value");
    if (plan->failure.has_value) plan->failure.value = sow_real(call, "failure-value");
    if (plan->claim == SOW_CLAIM_EQUIVALENT && !(plan->test.margin > 0))
        return sow_fail(SOW_E_ARGUMENT, "--claim equivalent needs --margin: how far apart still counts as equal");
    SOW_TRY(set_reference(call, scores, plan));
    return set_looks(call, scores->seed_count, plan);
}

/* ---- judging ---- */

/* The file's grid with room for the seeds that are planned. */
static sow_status lay_out(sow_arena *arena, const cli_scores *from, int seeds, sow_scores *out) {
    double *values;
    unsigned char *ended;
    SOW_TRY(SOW_NEW(arena, values, from->arm_count * seeds));
    SOW_TRY(SOW_NEW(arena, ended, from->arm_count * seeds));
    for (int a = 0; a < from->arm_count; a++)
        for (int s = 0; s < from->seed_count; s++) {
            values[a * seeds + s] = from->scores[a * from->seed_count + s];
            ended[a * seeds + s] = from->failed[a * from->seed_count + s] ? SOW_BAD : SOW_SCORED;
        }
    *out = (sow_scores){.values = values, .ended = ended, .complete = true};
    return SOW_OK;
}

static sow_status judge(sow_arena *arena, const sow_plan *plan, const sow_scores *scores, sow_judgement *out) {
    sow_judge *judge;
    SOW_TRY(sow_judge_new(plan, &judge));
    sow_status status = sow_judge_race(judge, arena, scores, true, out);
    sow_judge_free(judge);
    return status;
}

/* ---- what is shown of an arm ---- */

/* A number, or null where there is none. */
/* Scores of one arm and of the reference that stand at the same seeds, larger is better. */
typedef struct paired {
    double arm[CLI_SEEDS_MAX], reference[CLI_SEEDS_MAX], d[CLI_SEEDS_MAX];
    int n;
} paired;

static bool value_at(const sow_plan *plan, const sow_scores *scores, int arm, int seed, double *out) {
    int at = arm * plan->seeds.last + seed;
    if (scores->ended[at] == SOW_OPEN || (scores->ended[at] == SOW_BAD && !plan->failure.has_value)) return false;
    *out = scores->ended[at] == SOW_BAD ? plan->failure.value : scores->values[at];
    if (plan->metric.minimise) *out = -*out;
    return true;
}

static void pair_up(const sow_plan *plan, const sow_scores *scores, int arm, int n, paired *out) {
    out->n = 0;
    for (int s = 0; s < n; s++) {
        int i = out->n;
        if (!value_at(plan, scores, arm, s, &out->arm[i])) continue;
        if (!value_at(plan, scores, plan->reference, s, &out->reference[i])) continue;
        out->d[i] = out->arm[i] - out->reference[i];
        out->n++;
    }
}

/* As rliable has it, of the arm's scores in the metric's units. */
static double iqm_of_rliable(const sow_plan *plan, const sow_scores *scores, int arm, int n) {
    double values[CLI_SEEDS_MAX], iqm;
    int count = 0;
    for (int s = 0; s < n; s++) count += value_at(plan, scores, arm, s, &values[count]);
    if (count == 0 || sow_iqm_rliable(values, count, &iqm) != SOW_OK) return NAN;
    return plan->metric.minimise ? -iqm : iqm;
}

static json_t *row_of(const sow_call *call, const sow_plan *plan, const sow_scores *scores, const sow_judgement *found,
                      int arm) {
    const sow_standing *s = &found->standings[arm];
    bool reference = arm == plan->reference;
    paired p;
    pair_up(plan, scores, arm, s->n, &p);
    double iqm = strcmp(sow_text(call, "iqm"), "rliable") == 0 ? iqm_of_rliable(plan, scores, arm, s->n) : s->iqm;
    bool has_pairs = !reference && p.n > 0;
    double by_seed = has_pairs ? sow_improvement_paired(p.d, p.n) : NAN,
           over_all = has_pairs ? sow_improvement(p.arm, p.n, p.reference, p.n) : NAN;
    json_t *row = json_pack("{s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i}", "arm", plan->arms[arm].name,
                            "verdict", s->verdict, "n", s->n, "effect", sow_json_real(s->effect), "low",
                            sow_json_real(s->low), "high", sow_json_real(s->high), "p", sow_json_real(s->p), "mean",
                            sow_json_real(s->mean), "sd", sow_json_real(s->sd), "iqm", sow_json_real(iqm),
                            "improvement", sow_json_real(by_seed), "failures", s->failures);
    if (!row || !call->json) return row;
    json_object_set_new(row, "improvement_unpaired", sow_json_real(over_all));
    json_object_set_new(row, "failure_bound", sow_json_real(s->failure_bound));
    json_object_set_new(row, "needed", s->needed > 0 ? json_integer(s->needed) : json_null());
    json_object_set_new(row, "assumes_normal", json_boolean(!reference && s->normal));
    return row;
}

/* ---- in words ---- */

static sow_status sentence_of(sow_arena *arena, const sow_outcome *outcome, int arm, const char **out) {
    const sow_plan *plan = outcome->plan;
    if (!outcome->standings[arm].spoiled) return sow_outcome_sentence(arena, outcome, arm, out);
    *out = sow_arena_format(arena,
                            "%s against %s: not decided: a run failed, and none is left out; --failure-value gives "
                            "failed runs a score.",
                            plan->arms[arm].name, plan->arms[plan->reference].name);
    return *out ? SOW_OK : SOW_E_MEMORY;
}

/* "sentences" for machines; people read them below the table. */
static sow_status add_sentences(sow_call *call, const sow_plan *plan, const sow_judgement *found) {
    sow_outcome outcome = {.plan = plan,
                           .looked = found->looked,
                           .over = found->over,
                           .standings = found->standings,
                           .decisions = found->decisions,
                           .decision_count = found->decision_count,
                           .leader = found->leader};
    json_t *list = json_array();
    const char *text = "\n", *sentence;
    for (int a = 0; a < plan->arm_count; a++) {
        if (a == plan->reference) continue;
        sow_status status = sentence_of(call->arena, &outcome, a, &sentence);
        if (status == SOW_OK) text = sow_arena_format(call->arena, "%s%s\n", text, sentence);
        if (status == SOW_OK && (!text || json_array_append_new(list, json_string(sentence))))
            status = sow_fail(SOW_E_MEMORY, "out of memory");
        if (status != SOW_OK) {
            json_decref(list);
            return status;
        }
    }
    if (call->json) return sow_put_json(call->result, "sentences", list);
    json_decref(list);
    return sow_put_text(call->result, "text", text);
}

static const char *test_name(const sow_plan *plan, const sow_judgement *found) {
    for (int a = 0; a < plan->arm_count; a++)
        if (a != plan->reference && found->standings[a].normal) return "paired t, one look";
    if (plan->test.rule == SOW_TEST_BET) return "bets, open-ended";
    return plan->seeds.first == plan->seeds.last ? "sign flips, one look" : "sign flips, group-sequential";
}

static sow_status conclude(sow_call *call, const sow_plan *plan, const sow_scores *scores, const cli_scores *read,
                           const sow_judgement *found) {
    json_t *arms = json_array();
    bool confirmed = false;
    SOW_TRY(sow_put_text(call->result, "metric", plan->metric.name));
    SOW_TRY(sow_put_text(call->result, "reference", plan->arms[plan->reference].name));
    SOW_TRY(sow_put_text(call->result, "test", test_name(plan, found)));
    SOW_TRY(sow_put_count(call->result, "seeds", read->seed_count));
    if (read->left_out > 0) SOW_TRY(sow_put_count(call->result, "left_out", read->left_out));
    SOW_TRY(sow_put_json(call->result, "arms", arms));
    for (int a = 0; a < plan->arm_count; a++) {
        SOW_TRY(sow_append_json(arms, row_of(call, plan, scores, found, a)));
        confirmed |= strcmp(found->standings[a].verdict, "confirmed") == 0;
    }
    call->exit_status = confirmed ? 0 : 3;
    return add_sentences(call, plan, found);
}

static sow_status run_stats(sow_call *call) {
    static const char *const missing[] = {"error", "failed", "leave-out"};
    cli_columns columns = {0};
    cli_scores read;
    sow_plan plan;
    sow_scores scores;
    sow_judgement found;
    if (sow_text(call, "columns")) SOW_TRY(cli_columns_parse(call->arena, sow_text(call, "columns"), &columns));
    SOW_TRY(cli_scores_read(call->arena, sow_text(call, "scores"), &columns,
                            (cli_missing)choice_of(call, "missing", missing), &read));
    SOW_TRY(make_plan(call, &read, columns.score ? columns.score : "score", &plan));
    SOW_TRY(lay_out(call->arena, &read, plan.seeds.last, &scores));
    SOW_TRY(judge(call->arena, &plan, &scores, &found));
    return conclude(call, &plan, &scores, &read, &found);
}

static const sow_option options[] = {
    SOW_OPTION_FILE(
        "scores",
        "table with a header and one row for each arm and seed: comma, semicolon or tab separated, plain or gzip"),
    SOW_OPTION_TEXT("reference", NULL, "the arm that others are compared with; default: the first in the file"),
    SOW_OPTION_TEXT("columns", NULL,
                    "names of the columns, like arm=model,seed=seed,score=val_acc; default: arm, seed, score"),
    SOW_OPTION_CHOICE("direction", "max", "max|min", "whether larger or smaller scores are better"),
    SOW_OPTION_CHOICE("claim", "better", "better|not-worse|equivalent", "what is to be confirmed of each arm"),
    SOW_OPTION_REAL("margin", "0", 0, 1e300, "by how much better, worse, or apart, in units of the score"),
    SOW_OPTION_TEXT("looks", NULL,
                    "FIRST:EVERY, if the scores were looked at as they came; default: one look at all seeds"),
    SOW_OPTION_COUNT("planned", NULL, 1, CLI_SEEDS_MAX, "seeds",
                     "fixed before the first look; default: those in the file"),
    SOW_OPTION_CHOICE("test", "auto", "auto|flip|t|bet", "auto: sign flips where the seeds suffice, else paired t"),
    SOW_OPTION_REAL("alpha", "0.05", 1e-9, 0.499999, "chance of any false verdict, over all arms and looks"),
    SOW_OPTION_INT("sides", "2", 1, 2, "2: an arm may turn out better or worse; 1: only the claimed side counts"),
    SOW_OPTION_CHOICE("missing", "error", "error|failed|leave-out",
                      "a pair of arm and seed without a row: refused, a failed run, or the seed is left out for all"),
    SOW_OPTION_REAL("failure-value", NULL, -1e300, 1e300,
                    "score of a failed run (nan or empty); default: none, its arm stays not decided"),
    SOW_OPTION_CHOICE("iqm", "exact", "exact|rliable",
                      "interquartile mean: values cut in part, or whole values as rliable"),
    {0},
};

static const sow_action actions[] = {
    {"stats", "judge arms by their scores over seeds", options, run_stats, "sow stats scores.csv --reference baseline",
     0},
    {0},
};

const sow_method sow_verb_stats = {
    .name = "stats",
    .family = "commands",
    .summary = "which arm is better, from a table of arm, seed, score; exit status 0 only if one is confirmed",
    .actions = actions,
};
