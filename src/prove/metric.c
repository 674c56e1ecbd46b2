/* The score of a curve: which number of a training counts (PROVE.md, section 1). */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prove/plan.h"
#include "sow/json.h"
#include "sow/text.h"

static const char *const at_names[] = {"last", "best", "step", "mean", "argbest", "step-of-best", "reach"};
enum { AT_COUNT = sizeof at_names / sizeof *at_names };

/* ---- reading ---- */

/* Losses and errors fall, anything else is better the larger it is. */
bool plan_falls_by_name(const char *name) {
    static const char *const falling[] = {"loss", "error", "ppl", "perplexity", "fid", "mse", "nll"};
    for (size_t i = 0; i < sizeof falling / sizeof *falling; i++)
        if (strcasestr(name, falling[i])) return true;
    return false;
}

/* NAME, NAME:min or NAME:max. */
static sow_status read_other(const fields *f, const char *text, sow_metric *metric) {
    size_t length = strlen(text);
    bool min = length > 4 && !strcmp(text + length - 4, ":min"), max = length > 4 && !strcmp(text + length - 4, ":max");
    metric->other = sow_arena_format(f->arena, "%.*s", (int)(min || max ? length - 4 : length), text);
    if (!metric->other) return SOW_E_MEMORY;
    bool own = metric->at == SOW_AT_ARGBEST && !strcmp(metric->other, metric->name);
    metric->other_falling = min || (!max && (own ? metric->falling : plan_falls_by_name(metric->other)));
    return SOW_OK;
}

static bool read_number(const char *text, double *out) {
    char *end;
    *out = strtod(text, &end);
    return end > text && *end == 0 && isfinite(*out) && !isspace((unsigned char)*text);
}

sow_status plan_read_at(const fields *f, const char *key, int64_t steps, sow_metric *metric) {
    const char *text = "last";
    const json_t *value = fields_get(f, key);
    SOW_TRY(fields_text(f, key, &text));
    const char *colon = strchr(text, ':'), *rest = colon ? colon + 1 : NULL;
    size_t length = colon ? (size_t)(colon - text) : strlen(text);
    int at = 0;
    while (at < AT_COUNT && (strlen(at_names[at]) != length || memcmp(at_names[at], text, length) != 0)) at++;
    bool plain = at == SOW_AT_LAST || at == SOW_AT_BEST;
    if (at == AT_COUNT || plain != (rest == NULL) || (rest && !*rest))
        return fields_wrong(f, key, value, "last, best, step:K, mean:F, argbest:NAME, step-of-best:NAME or reach:V");
    metric->at = (sow_score_at)at;
    metric->number = 0, metric->other = NULL; /* a clause begins as the plan's metric */
    metric->minimise = metric->falling || at == SOW_AT_REACH;
    if (plain) return SOW_OK;
    if (at == SOW_AT_ARGBEST || at == SOW_AT_STEP_OF_BEST) return read_other(f, rest, metric);
    bool good = read_number(rest, &metric->number);
    if (at == SOW_AT_STEP &&
        !(good && metric->number == floor(metric->number) && metric->number >= 0 && metric->number <= (double)steps))
        return fields_wrong(f, key, value, "step:K with K from 0 to steps, %lld", (long long)steps);
    if (at == SOW_AT_MEAN && !(good && metric->number > 0 && metric->number <= 1))
        return fields_wrong(f, key, value, "mean:F with F above 0 and at most 1");
    if (!good) return fields_wrong(f, key, value, "reach:V with a number V");
    return SOW_OK;
}

const char *plan_at_text(sow_arena *arena, const sow_metric *metric) {
    char number[SOW_REAL_TEXT];
    const char *name = at_names[metric->at];
    if (metric->at == SOW_AT_LAST || metric->at == SOW_AT_BEST) return name;
    if (metric->other)
        return sow_arena_format(arena, "%s:%s:%s", name, metric->other, metric->other_falling ? "min" : "max");
    return sow_arena_format(arena, "%s:%s", name, sow_real_text(metric->number, number));
}

/* ---- scoring ---- */

enum { PRINTED_MAX = 64 };

static sow_status never_printed(const char *metric, const sow_record *records, int64_t count) {
    const char *names[PRINTED_MAX];
    char all[512] = "";
    int n = 0;
    if (count == 0)
        return sow_fail(SOW_E_TRAINER,
                        "the trainer printed no record; sow reads lines like {\"step\": 100, \"%s\": 0.5} from its "
                        "standard output, one for each evaluation",
                        metric);
    for (int64_t i = 0; i < count && n < PRINTED_MAX; i++)
        if (n == 0 || strcmp(names[n - 1], records[i].metric) != 0) names[n++] = records[i].metric;
    for (int i = 0; i < n; i++) {
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = sow_nearest(metric, names, n);
    return sow_fail(SOW_E_TRAINER, "the trainer never printed %s, only %s%s%s", metric, all,
                    near ? "; did you mean " : "", near ? near : "");
}

static const sow_record *best_of(const sow_record *records, int64_t count, bool falling) {
    const sow_record *best = records;
    for (int64_t i = 1; i < count; i++)
        if (falling ? records[i].value < best->value : records[i].value > best->value) best = &records[i];
    return best;
}

static sow_status value_at_step(const sow_metric *metric, const sow_record *own, int64_t count, int64_t at,
                                double *score, int64_t *step) {
    for (int64_t i = 0; i < count; i++)
        if (own[i].step == at) {
            *score = own[i].value, *step = at;
            return SOW_OK;
        }
    return sow_fail(SOW_E_TRAINER, "the trainer printed no %s at step %lld", metric->name, (long long)at);
}

static sow_status mean_until(const sow_metric *metric, const sow_record *own, int64_t count, double until,
                             double *score, int64_t *step) {
    double sum = 0;
    int64_t n = 0;
    for (; n < count && (double)own[n].step <= until; n++) sum += own[n].value;
    if (n == 0) return sow_fail(SOW_E_TRAINER, "the trainer printed no %s up to step %.0f", metric->name, until);
    *score = sum / (double)n, *step = own[n - 1].step;
    return SOW_OK;
}

static void first_reaching(const sow_metric *metric, const sow_record *own, int64_t count, int64_t steps, double *score,
                           int64_t *step) {
    *step = steps + 1; /* never */
    for (int64_t i = count - 1; i >= 0; i--)
        if (metric->falling ? own[i].value <= metric->number : own[i].value >= metric->number) *step = own[i].step;
    *score = (double)*step;
}

sow_status sow_score_of(const sow_metric *metric, int64_t steps, const sow_record *records, int64_t count,
                        double *score, int64_t *step) {
    int64_t n, others = 0;
    const sow_record *own = sow_records_of(metric->name, records, count, &n), *other = NULL, *at;
    if (n == 0) own = sow_records_of("metric", records, count, &n); /* the contract's name for the plan's */
    if (n == 0 && metric->at != SOW_AT_STEP_OF_BEST) return never_printed(metric->name, records, count);
    if (metric->other) {
        other = sow_records_of(metric->other, records, count, &others);
        if (others == 0) return never_printed(metric->other, records, count);
        other = best_of(other, others, metric->other_falling);
    }
    switch (metric->at) {
    case SOW_AT_LAST:
    case SOW_AT_BEST:
        at = metric->at == SOW_AT_LAST ? &own[n - 1] : best_of(own, n, metric->falling);
        *score = at->value, *step = at->step;
        return SOW_OK;
    case SOW_AT_STEP: return value_at_step(metric, own, n, (int64_t)metric->number, score, step);
    case SOW_AT_MEAN: return mean_until(metric, own, n, metric->number * (double)steps, score, step);
    case SOW_AT_ARGBEST: return value_at_step(metric, own, n, other->step, score, step);
    case SOW_AT_STEP_OF_BEST: *score = (double)(*step = other->step); return SOW_OK;
    case SOW_AT_REACH: first_reaching(metric, own, n, steps, score, step); return SOW_OK;
    }
    return SOW_OK;
}

double sow_value_at(const char *metric, int64_t step, const sow_record *records, int64_t count) {
    int64_t n;
    const sow_record *own = sow_records_of(metric, records, count, &n);
    double value = NAN;
    for (int64_t i = 0; i < n && own[i].step <= step; i++) value = own[i].value;
    return value;
}
