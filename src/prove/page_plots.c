/* The plots of a race's report. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "prove/page.h"

enum { ARMS_TOLD = 3 /* in a plot's sentence */, SLOPES_ARMS = 16 /* more crowd the plot of slopes */ };

/* Series being collected; `add` never fails: room was taken for all. */
typedef struct drawing {
    const page_race *race;
    sow_series *series;
    int count;
} drawing;

static sow_status begin(const page_race *race, int64_t most, drawing *out) {
    *out = (drawing){.race = race};
    return SOW_NEW(race->arena, out->series, most);
}

static void add(drawing *d, sow_series series) {
    if (series.count > 0) d->series[d->count++] = series;
}

static sow_status finish(drawing *d, sow_page *page, sow_plot plot) {
    if (d->count == 0) return SOW_OK;
    if (!plot.title || !plot.says) return SOW_E_MEMORY;
    plot.series = d->series;
    plot.count = d->count;
    return sow_page_plot_or_say(page, &plot);
}

static double score(const sow_outcome *o, int arm, int seed) {
    return o->scores[arm * o->plan->seeds.last + seed];
}

static bool any_scores(const sow_outcome *o) {
    for (int i = 0; i < o->plan->arm_count * o->plan->seeds.last; i++)
        if (isfinite(o->scores[i])) return true;
    return false;
}

/* "eva 0.812, lora 0.796 and 4 more": means, the best first. */
static const char *told_means(const page_race *race, const char *before) {
    const sow_outcome *o = race->outcome;
    int arms = o->plan->arm_count, shown = 0;
    bool told[64] = {false};
    const char *text = before;
    for (int k = 0; k < ARMS_TOLD && text; k++) {
        int best = -1;
        for (int a = 0; a < arms && a < 64; a++) {
            double mean = o->standings[a].mean;
            if (told[a] || !isfinite(mean)) continue;
            bool better = best < 0 ||
                          (o->plan->metric.minimise ? mean < o->standings[best].mean : mean > o->standings[best].mean);
            if (better) best = a;
        }
        if (best < 0) break;
        told[best] = true;
        text = sow_arena_format(race->arena, "%s%s %s %.4g", text, shown++ ? "," : "", race->arms[best],
                                o->standings[best].mean);
    }
    if (!text) return NULL;
    if (arms > shown && shown > 0) return sow_arena_format(race->arena, "%s and %d more.", text, arms - shown);
    return sow_arena_format(race->arena, "%s.", text);
}

static sow_axis categories(const page_race *race) {
    return (sow_axis){.categories = race->arms, .category_count = race->outcome->plan->arm_count};
}

/* ---- effects ---- */

static sow_status plot_forest(const page_race *race, sow_page *page) {
    const sow_outcome *o = race->outcome;
    drawing d;
    double *rules, *at;
    SOW_TRY(begin(race, 2 * o->plan->arm_count + 3, &d));
    SOW_TRY(SOW_NEW(race->arena, rules, 3));
    SOW_TRY(SOW_NEW(race->arena, at, o->plan->arm_count));
    const char *says = NULL;
    for (int a = 0; a < o->plan->arm_count; a++) {
        const sow_standing *s = &o->standings[a];
        at[a] = a;
        if (a == o->plan->reference || !isfinite(s->effect)) continue;
        bool bounded = isfinite(s->low) || isfinite(s->high);
        if (bounded)
            add(&d,
                (sow_series){race->arms[a], SOW_DRAW_INTERVAL, .x = &s->low, .y = &at[a], .x2 = &s->high, .count = 1});
        add(&d, (sow_series){race->arms[a], SOW_DRAW_POINTS, .x = &s->effect, .y = &at[a], .count = 1});
        if (!says) SOW_TRY(sow_outcome_sentence(race->arena, o, a, &says));
    }
    if (d.count == 0) return SOW_OK;
    add(&d, (sow_series){NULL, SOW_DRAW_RULE, .x = &rules[0], .count = 1});
    rules[1] = o->plan->test.margin;
    rules[2] = -o->plan->test.margin;
    if (rules[1] > 0 && o->plan->claim != SOW_CLAIM_NOT_WORSE)
        add(&d, (sow_series){"margin", SOW_DRAW_RULE, .x = &rules[1], .count = 1});
    if (rules[1] > 0 && o->plan->claim != SOW_CLAIM_BETTER)
        add(&d, (sow_series){"margin", SOW_DRAW_RULE, .x = &rules[2], .count = 1});
    const char *reference = race->arms[o->plan->reference];
    return finish(&d, page,
                  (sow_plot){.title = sow_arena_format(race->arena, "Effect against %s", reference),
                             .says = says,
                             .x = {.label = sow_arena_format(race->arena, "difference of %s by seed, larger is better",
                                                             o->plan->metric.name)},
                             .y = categories(race)});
}

/* ---- scores by seed ---- */

static sow_status plot_slopes(const page_race *race, sow_page *page) {
    const sow_outcome *o = race->outcome;
    int arms = o->plan->arm_count < SLOPES_ARMS ? o->plan->arm_count : SLOPES_ARMS, seeds = o->plan->seeds.last;
    drawing d;
    double *x;
    SOW_TRY(begin(race, seeds + arms, &d));
    SOW_TRY(SOW_NEW(race->arena, x, arms * (seeds + 1)));
    for (int a = 0; a < arms; a++) x[a] = a;
    for (int s = 0; s < seeds; s++) {
        double *y;
        SOW_TRY(SOW_NEW_RAW(race->arena, y, arms));
        int known = 0;
        for (int a = 0; a < arms; a++) known += isfinite(y[a] = score(o, a, s));
        if (known) add(&d, (sow_series){NULL, SOW_DRAW_LINE, .x = x, .y = y, .count = arms});
    }
    for (int a = 0; a < arms; a++) {
        double *at = x + arms + a * seeds;
        for (int s = 0; s < seeds; s++) at[s] = a;
        if (d.count)
            add(&d, (sow_series){race->arms[a], SOW_DRAW_POINTS, .x = at, .y = o->scores + a * seeds, .count = seeds});
    }
    sow_axis x_axis = categories(race);
    x_axis.category_count = arms;
    return finish(
        &d, page,
        (sow_plot){.title = "Scores by seed",
                   .says = told_means(race, arms < o->plan->arm_count
                                                ? "A line joins the scores of one seed; the first 16 arms. Means:"
                                                : "A line joins the scores of one seed. Means:"),
                   .x = x_axis,
                   .y = {.label = o->plan->metric.name}});
}

/* ---- curves ---- */

typedef struct moment {
    double step, value;
} moment;

static int by_step(const void *a, const void *b) {
    const moment *m = a, *n = b;
    return m->step != n->step ? (m->step < n->step ? -1 : 1) : (m->value > n->value) - (m->value < n->value);
}

/* Mean and standard deviation over the arm's seeds at every step that all of them have. */
static sow_status add_mean(drawing *d, int arm, bool with_band) {
    const page_race *race = d->race;
    int64_t total = 0, seeds = 0, n = 0;
    moment *all;
    double *steps, *mean, *low, *high;
    for (int64_t c = 0; c < race->curve_count; c++)
        if (race->curves[c].arm == arm) total += race->curves[c].count, seeds++;
    SOW_TRY(SOW_NEW_RAW(race->arena, all, total));
    SOW_TRY(SOW_NEW_RAW(race->arena, steps, total));
    SOW_TRY(SOW_NEW_RAW(race->arena, mean, total));
    SOW_TRY(SOW_NEW_RAW(race->arena, low, total));
    SOW_TRY(SOW_NEW_RAW(race->arena, high, total));
    total = 0;
    for (int64_t c = 0; c < race->curve_count; c++)
        for (int64_t k = 0; race->curves[c].arm == arm && k < race->curves[c].count; k++)
            all[total++] = (moment){race->curves[c].steps[k], race->curves[c].values[k]};
    qsort(all, (size_t)total, sizeof *all, by_step);
    for (int64_t i = 0, end; i < total; i = end) {
        double sum = 0, squares = 0;
        for (end = i; end < total && all[end].step == all[i].step; end++) sum += all[end].value;
        if (end - i != seeds) continue;
        double m = sum / (double)seeds;
        for (int64_t k = i; k < end; k++) squares += (all[k].value - m) * (all[k].value - m);
        double sd = seeds > 1 ? sqrt(squares / (double)(seeds - 1)) : 0;
        steps[n] = all[i].step, mean[n] = m, low[n] = m - sd, high[n++] = m + sd;
    }
    if (with_band && seeds > 1)
        add(d, (sow_series){race->arms[arm], SOW_DRAW_BAND, .x = steps, .y = low, .y2 = high, .count = n});
    add(d, (sow_series){race->arms[arm], SOW_DRAW_LINE, .x = steps, .y = mean, .count = n});
    return SOW_OK;
}

static sow_status plot_curves(const page_race *race, sow_page *page) {
    const sow_outcome *o = race->outcome;
    drawing d;
    SOW_TRY(begin(race, race->curve_count + 2 * o->plan->arm_count, &d));
    for (int64_t c = 0; c < race->curve_count; c++) {
        const page_curve *curve = &race->curves[c];
        const double *steps = curve->steps; /* those of an equal earlier curve, which the page then keeps once */
        for (int64_t e = 0; e < c && e < 64 && steps == curve->steps; e++)
            if (race->curves[e].count == curve->count &&
                memcmp(race->curves[e].steps, steps, (size_t)curve->count * sizeof *steps) == 0)
                steps = race->curves[e].steps;
        add(&d, (sow_series){race->arms[curve->arm], SOW_DRAW_LINE, .x = steps, .y = curve->values,
                             .count = curve->count, .faint = true});
    }
    for (int a = 0; a < o->plan->arm_count && race->curve_count > 0; a++)
        SOW_TRY(add_mean(&d, a, o->plan->arm_count <= 8));
    return finish(
        &d, page,
        (sow_plot){.title = sow_arena_format(race->arena, "%s while training", o->plan->metric.name),
                   .says = told_means(race, o->plan->arm_count <= 8
                                                ? "Pale lines are seeds, strong ones their mean, bands one standard "
                                                  "deviation. Scores:"
                                                : "Pale lines are seeds, strong ones their mean. Scores:"),
                   .x = {.label = "step"},
                   .y = {.label = o->plan->metric.name},
                   .height = 460 + 14 * (o->plan->arm_count > 12 ? o->plan->arm_count - 12 : 0)});
}

/* ---- performance profile ---- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Share of the seeds that reach tau, as a staircase. */
static sow_status add_profile(drawing *d, int arm, double *scores, int n) {
    const sow_outcome *o = d->race->outcome;
    double *x, *y;
    SOW_TRY(SOW_NEW_RAW(d->race->arena, x, 2 * n));
    SOW_TRY(SOW_NEW_RAW(d->race->arena, y, 2 * n));
    qsort(scores, (size_t)n, sizeof *scores, ascending);
    for (int i = 0; i < n; i++) {
        int before = o->plan->metric.minimise ? i : n - i, after = o->plan->metric.minimise ? i + 1 : n - i - 1;
        x[2 * i] = x[2 * i + 1] = scores[i];
        y[2 * i] = (double)before / n;
        y[2 * i + 1] = (double)after / n;
    }
    add(d, (sow_series){d->race->arms[arm], SOW_DRAW_LINE, .x = x, .y = y, .count = 2 * n});
    return SOW_OK;
}

static sow_status plot_profile(const page_race *race, sow_page *page) {
    const sow_outcome *o = race->outcome;
    drawing d;
    SOW_TRY(begin(race, o->plan->arm_count, &d));
    for (int a = 0; a < o->plan->arm_count; a++) {
        double *scores;
        int n = 0;
        SOW_TRY(SOW_NEW(race->arena, scores, o->plan->seeds.last));
        for (int s = 0; s < o->plan->seeds.last; s++)
            if (isfinite(score(o, a, s))) scores[n++] = score(o, a, s);
        if (n > 0) SOW_TRY(add_profile(&d, a, scores, n));
    }
    return finish(&d, page,
                  (sow_plot){.title = "Performance profile",
                             .says = told_means(
                                 race, "How many of an arm's seeds are at least as good as the value below. Means:"),
                             .x = {.label = o->plan->metric.name},
                             .y = {.label = "share of seeds"}});
}

/* ---- the race ---- */

static const char *const state_names[] = {"pending", "running", "done", "diverged", "failed", "stopped"};

/* "eva, confirmed at 9": what the race decided stands beside the arm's name. */
static const char *name_and_fate(const page_race *race, int arm) {
    const sow_outcome *o = race->outcome;
    const char *text = race->arms[arm];
    for (int i = 0; i < o->decision_count && text; i++)
        if (o->decisions[i].arm == arm)
            text = sow_arena_format(race->arena, "%s, %s at %d", text, o->decisions[i].what, o->decisions[i].n);
    return text;
}

/* Every training at its seed, told apart by state; those that were not wanted any more are pale. */
static sow_status plot_timeline(const page_race *race, sow_page *page) {
    const sow_outcome *o = race->outcome;
    int arms = o->plan->arm_count, seeds = o->plan->seeds.last;
    const char **fates;
    drawing d;
    SOW_TRY(begin(race, 8, &d));
    SOW_TRY(SOW_NEW(race->arena, fates, arms));
    for (int a = 0; a < arms; a++)
        if (!(fates[a] = name_and_fate(race, a))) return SOW_E_MEMORY;
    for (int state = SOW_CELL_RUNNING; state <= SOW_CELL_STOPPED; state++) {
        double *x, *y;
        int n = 0;
        SOW_TRY(SOW_NEW(race->arena, x, arms * seeds));
        SOW_TRY(SOW_NEW(race->arena, y, arms * seeds));
        for (int a = 0; a < arms; a++)
            for (int s = 0; s < seeds; s++)
                if ((int)o->states[a * seeds + s] == state) x[n] = s + 1, y[n++] = a;
        const char *name = state == SOW_CELL_STOPPED ? "not needed" : state_names[state];
        add(&d, (sow_series){name, SOW_DRAW_POINTS, .x = x, .y = y, .count = n, .faint = state == SOW_CELL_STOPPED});
    }
    return finish(
        &d, page,
        (sow_plot){.title = "Trainings and decisions",
                   .says = sow_arena_format(race->arena, "%d trainings done, %d failed, %d running; %d decisions.",
                                            o->done, o->failed, o->running, o->decision_count),
                   .x = {.label = "seed"},
                   .y = {.categories = fates, .category_count = arms}});
}

static sow_status plot_budget(const page_race *race, sow_page *page) {
    const sow_outcome *o = race->outcome;
    drawing d;
    SOW_TRY(begin(race, o->plan->arm_count, &d));
    for (int a = 0; a < o->plan->arm_count; a++) {
        double *x, *y, sum = 0;
        int n = 0;
        SOW_TRY(SOW_NEW(race->arena, x, o->plan->seeds.last));
        SOW_TRY(SOW_NEW(race->arena, y, o->plan->seeds.last));
        for (int s = 0; s < o->plan->seeds.last; s++) {
            if (!isfinite(score(o, a, s))) continue;
            sum += score(o, a, s);
            x[n] = (double)o->plan->steps * (s + 1);
            y[n] = sum / (n + 1);
            n++;
        }
        add(&d, (sow_series){race->arms[a], SOW_DRAW_LINE, .x = x, .y = y, .count = n});
    }
    return finish(&d, page,
                  (sow_plot){.title = "Score against budget",
                             .says = told_means(race, "Running means of the scores as seeds are added. At the end:"),
                             .x = {.label = "steps spent on the arm"},
                             .y = {.label = sow_arena_format(race->arena, "mean %s so far", o->plan->metric.name)}});
}

/* ---- failures ---- */

static sow_status plot_failures(const page_race *race, sow_page *page) {
    const sow_outcome *o = race->outcome;
    int arms = o->plan->arm_count, seeds = o->plan->seeds.last, bad = 0, ran = 0;
    static const sow_cell_state shown[] = {SOW_CELL_DONE, SOW_CELL_DIVERGED, SOW_CELL_FAILED};
    drawing d;
    SOW_TRY(begin(race, 3, &d));
    for (int k = 0; k < 3; k++) {
        double *x, *y, total = 0;
        SOW_TRY(SOW_NEW(race->arena, x, arms));
        SOW_TRY(SOW_NEW(race->arena, y, arms));
        for (int a = 0; a < arms; a++) {
            x[a] = a;
            for (int s = 0; s < seeds; s++) y[a] += o->states[a * seeds + s] == shown[k];
            total += y[a];
        }
        if (total > 0) add(&d, (sow_series){state_names[shown[k]], SOW_DRAW_BARS, .x = x, .y = y, .count = arms});
    }
    for (int a = 0; a < arms; a++) bad += o->standings[a].failures, ran += o->standings[a].ran;
    return finish(&d, page,
                  (sow_plot){.title = "Failures",
                             .says = sow_arena_format(race->arena, "%d of %d trainings failed or diverged.", bad, ran),
                             .x = categories(race),
                             .y = {.label = "trainings"}});
}

sow_status page_add_plots(const page_race *race, sow_page *page) {
    SOW_TRY(sow_page_heading(page, "Effects"));
    SOW_TRY(plot_forest(race, page));
    if (any_scores(race->outcome)) {
        SOW_TRY(plot_slopes(race, page));
        SOW_TRY(sow_page_heading(page, "Training"));
        SOW_TRY(plot_curves(race, page));
        SOW_TRY(plot_profile(race, page));
        SOW_TRY(plot_budget(race, page));
    }
    SOW_TRY(sow_page_heading(page, "The race"));
    SOW_TRY(plot_timeline(race, page));
    return plot_failures(race, page);
}
