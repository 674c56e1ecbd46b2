/* What came of a race, in sentences and as JSON (PROVE.md, section 5). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prove/plan.h"
#include "sow/json.h"

/* ---- numbers ---- */

/* Decimals with which a number shows three digits that count. */
static int decimals_of(double value) {
    int decimals = value == 0 || !isfinite(value) ? 3 : 2 - (int)floor(log10(fabs(value)));
    return decimals < 0 ? 0 : decimals > 12 ? 12 : decimals;
}

/* With the decimals of the number it stands beside. */
static const char *number_as(sow_arena *arena, double value, double like) {
    return sow_arena_format(arena, "%.*f", decimals_of(like), value);
}

static const char *number(sow_arena *arena, double value) {
    return value == 0 ? "0" : number_as(arena, value, value);
}

static const char *unit(const sow_outcome *o) {
    sow_score_at at = o->plan->metric.at;
    return at == SOW_AT_REACH || at == SOW_AT_STEP_OF_BEST ? "steps" : o->plan->metric.name;
}

/* ---- the verdict ---- */

/* "(95% interval 0.0060 to 0.0263, 8 seeds, p = 0.016)" */
static const char *facts(sow_arena *arena, const sow_outcome *o, const sow_standing *s, const char *seeds) {
    char level[16];
    snprintf(level, sizeof level, "%g", 100 * (1 - o->plan->test.alpha));
    const char *p = isnan(s->p) ? "" : sow_arena_format(arena, ", p = %.2g", s->p);
    const char *low = isnan(s->low) ? "below" : number_as(arena, s->low, s->effect),
               *high = isnan(s->high) ? "above" : number_as(arena, s->high, s->effect);
    if (!p || !low || !high) return NULL;
    if (isnan(s->low) && isnan(s->high)) return sow_arena_format(arena, "(%d %s%s)", s->n, seeds, p);
    return sow_arena_format(arena, "(%s%% interval %s to %s, %d %s%s)", level, low, high, s->n, seeds, p);
}

static const char *confirmed(sow_arena *arena, const sow_outcome *o, const char *arm, const char *reference,
                             const sow_standing *s, const char *seeds) {
    const char *f = facts(arena, o, s, seeds), *effect = number(arena, s->effect),
               *margin = number(arena, o->plan->test.margin);
    if (!f || !effect || !margin) return NULL;
    if (o->plan->claim == SOW_CLAIM_NOT_WORSE)
        return sow_arena_format(arena, "%s is worse than %s by less than %s %s %s: confirmed.", arm, reference, margin,
                                unit(o), f);
    if (o->plan->claim == SOW_CLAIM_EQUIVALENT)
        return sow_arena_format(arena, "%s and %s differ by less than %s %s %s: confirmed.", arm, reference, margin,
                                unit(o), f);
    const char *than = o->plan->test.margin > 0 ? sow_arena_format(arena, ", more than %s,", margin) : "";
    if (!than) return NULL;
    return sow_arena_format(arena, "%s is better than %s by %s %s%s %s: confirmed.", arm, reference, effect, unit(o),
                            than, f);
}

static const char *refuted(sow_arena *arena, const sow_outcome *o, const char *arm, const char *reference,
                           const sow_standing *s, const char *seeds) {
    const char *f = facts(arena, o, s, seeds), *bound;
    if (o->plan->claim == SOW_CLAIM_EQUIVALENT)
        return f ? sow_arena_format(arena, "%s and %s are not equivalent %s: not confirmed.", arm, reference, f) : NULL;
    bound = isnan(s->high)
                ? number(arena, o->plan->claim == SOW_CLAIM_BETTER ? o->plan->test.margin : -o->plan->test.margin)
                : number(arena, s->high);
    if (!f || !bound) return NULL;
    return sow_arena_format(arena, "%s against %s: not confirmed: at most %s %s better %s.", arm, reference, bound,
                            unit(o), f);
}

static const char *dropped(sow_arena *arena, const sow_outcome *o, const char *arm, const char *reference,
                           const sow_standing *s) {
    const char *effect = number(arena, s->effect);
    return effect ? sow_arena_format(arena, "%s was dropped after %d seeds, %s%s %s against %s: not decided.", arm,
                                     s->n, s->effect > 0 ? "+" : "", effect, unit(o), reference)
                  : NULL;
}

static const char *undecided(sow_arena *arena, const sow_outcome *o, const char *arm, const char *reference,
                             const sow_standing *s, const char *seeds) {
    const char *range = "", *more = "";
    if (s->n == 0) return sow_arena_format(arena, "%s against %s: nothing to judge yet.", arm, reference);
    if (s->spoiled)
        return sow_arena_format(
            arena,
            "%s against %s: not decided: a seed stays bad, and none is left out (failure.rule in the "
            "plan can give it a value).",
            arm, reference);
    if (s->dropped) return dropped(arena, o, arm, reference, s);
    if (!isnan(s->low) && !isnan(s->high)) {
        double like = fmax(fabs(s->low), fabs(s->high));
        const char *low = number_as(arena, s->low, like), *high = number_as(arena, s->high, like);
        range = low && high ? sow_arena_format(arena, ": %s to %s %s", low, high, unit(o)) : NULL;
    }
    if (s->needed >= 100000) more = "; no number of seeds that one can run would do";
    else if (s->needed > s->n) more = sow_arena_format(arena, "; about %d would do", s->needed);
    if (!range || !more) return NULL;
    return sow_arena_format(arena, "%s against %s: not decided after %d %s%s%s.", arm, reference, s->n, seeds, range,
                            more);
}

static const char *verdict_sentence(sow_arena *arena, const sow_outcome *o, int arm, const sow_standing *s,
                                    const char *seeds) {
    const char *name = o->plan->arms[arm].name, *reference = o->plan->arms[o->plan->reference].name;
    if (!strcmp(s->verdict, "confirmed")) return confirmed(arena, o, name, reference, s, seeds);
    if (!strcmp(s->verdict, "not confirmed")) return refuted(arena, o, name, reference, s, seeds);
    return undecided(arena, o, name, reference, s, seeds);
}

/* ---- what has to be known beside it ---- */

static const char *failures(sow_arena *arena, const sow_standing *s) {
    if (s->failures == 0) return "";
    return sow_arena_format(arena, " %d of %d seeds failed (at most %.0f%% do, at 95%%).", s->failures, s->ran,
                            100 * s->failure_bound);
}

/* The mean of test scores that both have, arm less reference, in the metric's own direction. */
static double test_effect(const sow_outcome *o, int arm, double *mean, double *reference_mean) {
    double sum = 0, other = 0;
    int n = o->standings[arm].n, count = 0, columns = o->plan->seeds.last;
    for (int s = 0; o->tests && s < n; s++) {
        double a = o->tests[arm * columns + s], b = o->tests[o->plan->reference * columns + s];
        if (isfinite(a) && isfinite(b)) sum += a, other += b, count++;
    }
    *mean = count ? sum / count : NAN, *reference_mean = count ? other / count : NAN;
    return *mean - *reference_mean;
}

/* A start that was chosen on validation scores is scored again on test data. */
static const char *test_scores(sow_arena *arena, const sow_outcome *o, int arm) {
    double mean, reference;
    if (!o->plan->test_metric || !isfinite(test_effect(o, arm, &mean, &reference))) return "";
    const char *a = number(arena, mean), *b = number(arena, reference);
    return a && b ? sow_arena_format(arena, " By %s: %s against %s.", o->plan->test_metric, a, b) : NULL;
}

static const char *caveats(sow_arena *arena, const sow_outcome *o, const sow_standing *s) {
    const sow_plan *plan = o->plan;
    bool decided = !strcmp(s->verdict, "confirmed") || !strcmp(s->verdict, "not confirmed");
    bool early = decided && s->n < plan->seeds.last && o->over;
    double bound = plan->claim == SOW_CLAIM_BETTER ? plan->test.margin : -plan->test.margin;
    bool edge = !strcmp(s->verdict, "confirmed") && s->low <= bound;
    const char *failed = failures(arena, s);
    if (!failed) return NULL;
    return sow_arena_format(
        arena, "%s%s%s%s%s", s->dropped && decided ? " The race dropped it later." : "",
        early ? " It stopped early: the mean is optimistic, the interval is valid." : "",
        decided && s->normal ? " This assumes normal differences." : "",
        edge ? " Holm's step confirms it, although the interval, made for all arms at once, reaches the margin." : "",
        failed);
}

sow_status sow_outcome_sentence(sow_arena *arena, const sow_outcome *outcome, int arm, const char **sentence) {
    const sow_standing *s = &outcome->standings[arm];
    *sentence = "";
    if (arm == outcome->plan->reference) return SOW_OK;
    for (int i = 0; i < outcome->decision_count; i++)
        if (outcome->decisions[i].arm == arm && !strcmp(outcome->decisions[i].what, "halved")) {
            *sentence = sow_arena_format(arena, "%s did not come through the rungs (%s).",
                                         outcome->plan->arms[arm].name, outcome->decisions[i].detail);
            return *sentence ? SOW_OK : SOW_E_MEMORY;
        }
    const char *verdict = verdict_sentence(arena, outcome, arm, s, "seeds"), *beside = caveats(arena, outcome, s),
               *tests = strcmp(s->verdict, "confirmed") ? "" : test_scores(arena, outcome, arm);
    if (!verdict || !beside || !tests) return SOW_E_MEMORY;
    *sentence = sow_arena_format(arena, "%s%s%s", verdict, tests, beside);
    return *sentence ? SOW_OK : SOW_E_MEMORY;
}

/* ---- JSON ---- */

static json_t *standing_json(const char *arm, const sow_standing *s) {
    json_t *o = json_pack("{s:s, s:s, s:i, s:o, s:o, s:o, s:o}", "arm", arm, "verdict", s->verdict, "n", s->n, "effect",
                          sow_json_real(s->effect), "low", sow_json_real(s->low), "high", sow_json_real(s->high), "p",
                          sow_json_real(s->p));
    json_object_set_new(o, "needed", s->needed > 0 ? json_integer(s->needed) : json_null());
    json_object_set_new(o, "dropped", s->dropped ? json_integer(s->dropped) : json_null());
    return o;
}

static json_t *arm_json(const sow_outcome *o, int arm) {
    const sow_standing *s = &o->standings[arm];
    json_t *object = standing_json(o->plan->arms[arm].name, s);
    json_object_set_new(object, "mean", sow_json_real(s->mean));
    json_object_set_new(object, "sd", sow_json_real(s->sd));
    json_object_set_new(object, "iqm", sow_json_real(s->iqm));
    json_object_set_new(object, "failures", json_integer(s->failures));
    json_object_set_new(object, "failure_bound", sow_json_real(s->failure_bound));
    json_object_set_new(object, "assumes_normal", json_boolean(s->normal));
    if (o->progress) json_object_set_new(object, "cells_done", json_integer(o->progress[arm].done));
    if (o->plan->test_metric && arm != o->plan->reference) {
        double mean, reference, effect = test_effect(o, arm, &mean, &reference);
        json_object_set_new(object, "test_mean", sow_json_real(mean));
        json_object_set_new(object, "test_reference_mean", sow_json_real(reference));
        json_object_set_new(object, "test_difference", sow_json_real(effect));
    }
    return object;
}

static json_t *decisions_json(const sow_outcome *o) {
    json_t *list = json_array();
    for (int i = 0; i < o->decision_count; i++) {
        const sow_decision *d = &o->decisions[i];
        json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:s}", "n", d->n, "arm",
                                              d->arm < 0 ? "" : o->plan->arms[d->arm].name, "what", d->what, "detail",
                                              d->detail));
    }
    return list;
}

static sow_status add_sentence(json_t *list, const char *sentence) {
    if (!*sentence) return SOW_OK;
    return sow_append_json(list, json_string(sentence));
}

static sow_status add_sentences(sow_arena *arena, const sow_outcome *o, json_t *list) {
    const char *sentence;
    for (int a = 0; a < o->plan->arm_count; a++) {
        SOW_TRY(sow_outcome_sentence(arena, o, a, &sentence));
        SOW_TRY(add_sentence(list, sentence));
    }
    if (o->confirm) {
        sentence = verdict_sentence(arena, o, o->confirm_arm, o->confirm, "fresh seeds");
        if (!sentence) return SOW_E_MEMORY;
        SOW_TRY(add_sentence(list, sentence));
    }
    if (!o->criterion) return SOW_OK;
    sentence = sow_arena_format(arena, "The criterion of the plan: %s.", o->criterion);
    return sentence ? add_sentence(list, sentence) : SOW_E_MEMORY;
}

/* One word for the whole: what the exit status says. */
static const char *verdict_word(const sow_outcome *o) {
    bool all_refuted = true;
    if (o->criterion) return o->criterion;
    if (sow_outcome_confirmed(o)) return "confirmed";
    for (int a = 0; a < o->plan->arm_count; a++)
        if (a != o->plan->reference && strcmp(o->standings[a].verdict, "not confirmed") != 0) all_refuted = false;
    return all_refuted ? "not confirmed" : "not decided";
}

sow_status sow_outcome_json(sow_arena *arena, const sow_outcome *o, json_t **out) {
    const sow_plan *plan = o->plan;
    json_t *arms = json_array(), *sentences = json_array();
    for (int a = 0; a < plan->arm_count; a++) json_array_append_new(arms, arm_json(o, a));
    sow_status status = add_sentences(arena, o, sentences);
    *out = json_pack("{s:s, s:s, s:s, s:s, s:i, s:b, s:o, s:o, s:o}", "plan", plan->name, "metric", plan->metric.name,
                     "reference", plan->arms[plan->reference].name, "claim", plan_claims[plan->claim], "n", o->looked,
                     "over", o->over, "arms", arms, "decisions", decisions_json(o), "sentences", sentences);
    if (!*out) return sow_fail(SOW_E_MEMORY, "out of memory");
    if (o->leader >= 0) json_object_set_new(*out, "leader", json_string(plan->arms[o->leader].name));
    if (o->confirm) json_object_set_new(*out, "confirm", standing_json(plan->arms[o->confirm_arm].name, o->confirm));
    if (o->criterion) {
        json_object_set_new(*out, "criterion", json_string(o->criterion));
        json_object_set_new(*out, "clauses", json_loads(o->criterion_clauses, 0, NULL));
    }
    json_object_set_new(*out, "verdict", json_string(verdict_word(o)));
    if (status == SOW_OK) return SOW_OK;
    json_decref(*out);
    *out = NULL;
    return status;
}
