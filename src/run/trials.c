/* Arms over seeds: their cells, means, differences paired by seed, and the table of all scores. */
#include <math.h>
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/stats.h"
#include "sow/trainer.h"

/* ---- what is trained ---- */

int sow_trials_find(const sow_trials *t, const char *arm) {
    for (int a = 0; a < t->arm_count; a++)
        if (!strcmp(t->arms[a], arm)) return a;
    return -1;
}

/* "dense, ticket or reinit". */
static char *choices(sow_arena *arena, const char *const *known) {
    char *text = sow_arena_copy(arena, known[0]);
    for (int k = 1; text && known[k]; k++)
        text = sow_arena_format(arena, "%s%s%s", text, known[k + 1] ? ", " : " or ", known[k]);
    return text;
}

sow_status sow_trials_parse(sow_arena *arena, const char *text, const char *const *known, sow_trials *out) {
    char *copy = sow_arena_copy(arena, text), *all = choices(arena, known), *word;
    const char **arms;
    int count = 0, k;
    while (known[count]) count++;
    SOW_TRY(SOW_NEW(arena, arms, count));
    if (!copy || !all) return SOW_E_MEMORY;
    out->arms = arms, out->arm_count = 0;
    while ((word = strsep(&copy, ","))) {
        for (k = 0; known[k] && strcmp(known[k], word) != 0;) k++;
        if (!known[k]) return sow_fail(SOW_E_ARGUMENT, "--arms: found '%s', expected %s", word, all);
        if (sow_trials_find(out, word) >= 0) return sow_fail(SOW_E_ARGUMENT, "--arms: %s is given twice", word);
        arms[out->arm_count++] = known[k];
    }
    return SOW_OK;
}

sow_status sow_trials_plan(sow_arena *arena, sow_trials *t, const char *folder, const char *stage, int64_t steps) {
    int count = t->seed_count * t->arm_count;
    SOW_TRY(SOW_NEW(arena, t->cells, count));
    SOW_TRY(SOW_NEW(arena, t->scores, count));
    for (int i = 0; i < count; i++) {
        int arm = i % t->arm_count;
        uint64_t seed = t->seeds[i / t->arm_count];
        t->cells[i] = (sow_cell){
            .stage = stage,
            .arm = arm,
            .seed = seed,
            .steps = steps,
            .folder = sow_arena_format(arena, "%s/%s-%llu", folder, t->arms[arm], (unsigned long long)seed)};
        if (!t->cells[i].folder) return SOW_E_MEMORY;
    }
    return SOW_OK;
}

sow_status sow_trials_run(sow_arena *arena, sow_trials *t, sow_store *store, const sow_runner *runner) {
    int count = t->seed_count * t->arm_count;
    SOW_TRY(sow_run_cells(store, runner, t->cells, count));
    for (int i = 0; i < count; i++) SOW_TRY(sow_store_trial(store, arena, &t->cells[i], &t->scores[i]));
    return SOW_OK;
}

/* ---- what came of it ---- */

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
