/* Arms over seeds: means, differences paired by seed, and the table of all scores. */
#include <math.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/stats.h"
#include "sow/trainer.h"

typedef double (*measure)(const sow_trial_score *score);
static double stop_of(const sow_trial_score *s) {
    return s->stop < 0 ? NAN : (double)s->stop;
}
static double at_stop_of(const sow_trial_score *s) {
    return s->at_stop;
}
static double at_end_of(const sow_trial_score *s) {
    return s->at_end;
}

/* Values of an arm over the seeds; false where one is missing. */
static bool values_of(const sow_trials *t, int arm, measure of, double *values) {
    for (int s = 0; s < t->seed_count; s++) {
        values[s] = of(&t->scores[s * t->arm_count + arm]);
        if (!isfinite(values[s])) return false;
    }
    return true;
}

static sow_status put_means(const sow_trials *t, int arm, double *values, json_t *row) {
    sow_summary found;
    if (values_of(t, arm, stop_of, values)) {
        SOW_TRY(sow_summarise(values, t->seed_count, &found));
        SOW_TRY(sow_put_real(row, "early_stop_step", found.mean));
    }
    bool known = values_of(t, arm, at_stop_of, values);
    if (values_of(t, arm, known ? at_stop_of : at_end_of, values)) {
        SOW_TRY(sow_summarise(values, t->seed_count, &found));
        SOW_TRY(sow_put_real(row, known ? "accuracy_at_early_stop" : "accuracy", found.mean));
        SOW_TRY(sow_put_real(row, "least", found.minimum));
        SOW_TRY(sow_put_real(row, "most", found.maximum));
        SOW_TRY(sow_put_real(row, "sd", found.sd));
    }
    if (!known || !values_of(t, arm, at_end_of, values)) return SOW_OK;
    SOW_TRY(sow_summarise(values, t->seed_count, &found));
    return sow_put_real(row, "final_accuracy", found.mean);
}

/* The reference minus another arm, seed by seed. An early stop is better the earlier it is. */
static sow_status add_difference(sow_arena *arena, const sow_trials *t, int arm, const char *name, measure of,
                                 json_t *rows) {
    const char *reference = t->arms[t->reference], *minus = sow_arena_format(arena, "%s_minus", reference),
               *better = sow_arena_format(arena, "%s_better", reference);
    double *own, *other, low, high;
    int wins = 0;
    sow_summary found;
    SOW_TRY(SOW_NEW(arena, own, t->seed_count));
    SOW_TRY(SOW_NEW(arena, other, t->seed_count));
    if (!minus || !better) return SOW_E_MEMORY;
    if (!values_of(t, t->reference, of, own) || !values_of(t, arm, of, other)) return SOW_OK;
    for (int s = 0; s < t->seed_count; s++) {
        wins += of == stop_of ? own[s] < other[s] : own[s] > other[s];
        own[s] -= other[s];
    }
    SOW_TRY(sow_summarise(own, t->seed_count, &found));
    json_t *row = json_pack("{s:s, s:s, s:f}", minus, t->arms[arm], "measure", name, "difference", found.mean);
    SOW_TRY(sow_append_json(rows, row));
    if (t->seed_count > 1) {
        SOW_TRY(sow_t_interval(own, t->seed_count, 0.05, &low, &high));
        SOW_TRY(sow_put_real(row, "low", low));
        SOW_TRY(sow_put_real(row, "high", high));
    }
    return sow_put_format(row, better, "%d of %d", wins, t->seed_count);
}

sow_status sow_trials_rows(sow_arena *arena, const sow_trials *t, json_t *rows, json_t *differences) {
    double *values;
    SOW_TRY(SOW_NEW(arena, values, t->seed_count));
    for (int arm = 0; arm < t->arm_count; arm++) SOW_TRY(put_means(t, arm, values, json_array_get(rows, (size_t)arm)));
    for (int arm = 0; arm < t->arm_count && t->reference >= 0; arm++) {
        if (arm == t->reference) continue;
        bool stops = values_of(t, arm, at_stop_of, values);
        SOW_TRY(add_difference(arena, t, arm, stops ? "accuracy at early stop" : "accuracy",
                               stops ? at_stop_of : at_end_of, differences));
        SOW_TRY(add_difference(arena, t, arm, "early stop step", stop_of, differences));
    }
    return SOW_OK;
}

sow_status sow_trials_write(const sow_trials *t, const char *path) {
    sow_writer *w;
    SOW_TRY(sow_writer_open(path, &w));
    sow_writer_printf(w, "arm,seed,early_stop_step,accuracy_at_early_stop,final_accuracy\n");
    for (int i = 0; i < t->arm_count * t->seed_count; i++) {
        const double values[] = {stop_of(&t->scores[i]), t->scores[i].at_stop, t->scores[i].at_end};
        char text[SOW_REAL_TEXT];
        sow_writer_printf(w, "%s,%llu", t->arms[i % t->arm_count], (unsigned long long)t->seeds[i / t->arm_count]);
        for (int k = 0; k < 3; k++)
            sow_writer_printf(w, ",%s", isfinite(values[k]) ? sow_real_text(values[k], text) : "");
        sow_writer_printf(w, "\n");
    }
    return sow_writer_commit(w);
}
