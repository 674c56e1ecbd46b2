/* Rules of steps: the search of each one's rate on a seed of its own, then all of them at their best. */
#include "studies/sgd_sai/rates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/file.h"
#include "sow/log.h"
#include "sow/report.h"

enum { TRIALS_MAX = SAI_RULES_MAX * SAI_RATES_MAX };

static const uint64_t search_seed = 11; /* none of those that decide */

const study_metric sai_metrics[] = {{"val_loss", "val loss"},
                                    {"val_accuracy", "val accuracy"},
                                    {"share_of_first_loss", "share of first loss"},
                                    {"identity_error", "identity error"},
                                    {"state_bytes", "state bytes"},
                                    {"dead_blocks", "dead blocks"},
                                    {"most_ratio_to_sqrt_n", "most ratio to sqrt n"},
                                    {"least_ratio_to_sqrt_n", "least ratio to sqrt n"},
                                    {"largest_g", "largest g"},
                                    {"lr", "lr"},
                                    {0}};

/* ---- the search ---- */

static const char *trial_name(sow_arena *arena, const sai_rule *rule, int rate) {
    return sow_arena_format(arena, "%s at %s", rule->name, rule->rates[rate]);
}

static sow_status list_trials(sow_arena *arena, const sai_search *s, study_plan *plan) {
    study_arm *arms;
    SOW_TRY(SOW_NEW(arena, arms, TRIALS_MAX));
    plan->arms = arms;
    for (int r = 0; r < s->count; r++)
        for (int i = 0; s->rules[r].rates[i]; i++) {
            study_arm *arm = &arms[plan->arm_count++];
            arm->name = trial_name(arena, &s->rules[r], i);
            arm->options = sow_arena_format(arena, "%s --lr=%s", s->rules[r].options, s->rules[r].rates[i]);
            if (!arm->name || !arm->options) return SOW_E_MEMORY;
        }
    return SOW_OK;
}

static sow_status choose_rate(const sow_study_call *found, sai_search *s, int r) {
    const sai_rule *rule = &s->rules[r];
    if (!rule->rates[0]) return SOW_OK;
    for (int i = 0; rule->rates[i]; i++) {
        const char *name = trial_name(found->arena, rule, i);
        if (!name) return SOW_E_MEMORY;
        double loss = sow_study_scored(found, name, "val loss", search_seed);
        s->loss[r][i] = isfinite(loss) ? loss : INFINITY;
        if (s->loss[r][i] < s->loss[r][s->best[r]]) s->best[r] = i;
    }
    int best = s->best[r];
    if (!isfinite(s->loss[r][best])) return sow_fail(SOW_E_NUMBER, "sgd-sai: every rate of %s diverges", rule->name);
    sow_note("%s: best rate %s%s, loss %.4f", rule->name, rule->rates[best],
             best == 0 || !rule->rates[best + 1] ? ", at an end of its grid" : "", s->loss[r][best]);
    return SOW_OK;
}

static int find_rule(const sai_search *s, const char *name) {
    int r = 0;
    while (strcmp(s->rules[r].name, name)) r++;
    return r;
}

double sai_best_loss(const sai_search *s, const char *rule) {
    int r = find_rule(s, rule);
    return s->loss[r][s->best[r]];
}

/* ---- its drawing ---- */

static sow_status line_of(sow_arena *arena, const sai_search *s, int r, sow_series *out) {
    double *x, *y;
    const sai_rule *rule = &s->rules[r];
    SOW_TRY(SOW_NEW(arena, x, SAI_RATES_MAX));
    SOW_TRY(SOW_NEW(arena, y, SAI_RATES_MAX));
    *out = (sow_series){.name = rule->name, .drawing = SOW_DRAW_LINE, .x = x, .y = y};
    for (int i = 0; rule->rates[i]; i++, out->count++) {
        x[i] = strtod(rule->rates[i], NULL);
        y[i] = isfinite(s->loss[r][i]) ? s->loss[r][i] : NAN;
    }
    return SOW_OK;
}

/* Loss against rate. */
static sow_status draw(const sow_study_call *call, const sai_search *s) {
    sow_series series[SAI_RULES_MAX];
    const char *path = sow_path_join(call->arena, call->folder, "rates.svg"), *says = "Best losses:";
    int count = 0;
    for (int r = 0; r < s->count && says; r++) {
        if (!s->rules[r].rates[0]) continue;
        SOW_TRY(line_of(call->arena, s, r, &series[count++]));
        says = sow_arena_format(call->arena, "%s %s %.3f%s", says, s->rules[r].name, s->loss[r][s->best[r]],
                                r + 1 < s->count ? "," : ".");
    }
    if (!path || !says) return SOW_E_MEMORY;
    sow_plot plot = {.title = "Validation loss against the learning rate",
                     .says = says,
                     .x = {.label = "learning rate", .log = true},
                     .y = {.label = "validation loss [nats]"},
                     .series = series,
                     .count = count};
    return sow_plot_write(path, &plot);
}

/* ---- every rule at its best rate ---- */

static sow_status list_arms(sow_arena *arena, const sai_search *s, study_plan *plan) {
    study_arm *arms;
    SOW_TRY(SOW_NEW(arena, arms, s->count));
    plan->arms = arms, plan->arm_count = s->count;
    for (int r = 0; r < s->count; r++) {
        const sai_rule *rule = &s->rules[r];
        int from = rule->rates[0] ? r : find_rule(s, rule->follows);
        arms[r] = (study_arm){
            rule->name, sow_arena_format(arena, "%s --lr=%s", rule->options, s->rules[from].rates[s->best[from]])};
        if (!arms[r].options) return SOW_E_MEMORY;
    }
    return SOW_OK;
}

sow_status sai_compare(sow_study_call *call, const char *common, const sai_rule *rules, int count, sai_search *out) {
    study_plan plan = {
        .study = "sgd-sai", .method = "sgd-sai", .common = common, .metrics = sai_metrics, .part = "rates"};
    sow_study_call found;
    *out = (sai_search){.rules = rules, .count = count};
    SOW_TRY(list_trials(call->arena, out, &plan));
    SOW_TRY(study_search_arms(call, &plan, &search_seed, 1, &found));
    for (int r = 0; r < count; r++) SOW_TRY(choose_rate(&found, out, r));
    SOW_TRY(draw(call, out));
    plan.arm_count = 0, plan.part = "seeds";
    SOW_TRY(list_arms(call->arena, out, &plan));
    return study_run_arms(call, &plan);
}
