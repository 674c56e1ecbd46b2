/* What a training was worth: the early stop, found afterwards on validation data, and accuracies there and at the end. */
#include <math.h>
#include <string.h>

#include "sow/trainer.h"

static double last_of(const char *metric, const sow_record *records, int64_t count) {
    int64_t n;
    const sow_record *own = sow_records_of(metric, records, count, &n);
    return n > 0 ? own[n - 1].value : NAN;
}

static double at_step(const char *metric, int64_t step, const sow_record *records, int64_t count) {
    int64_t n;
    const sow_record *own = sow_records_of(metric, records, count, &n);
    for (int64_t i = 0; i < n; i++)
        if (own[i].step == step) return own[i].value;
    return NAN;
}

/* The first of the names that the trainer reported; "": none. */
static const char *reported(const sow_record *records, int64_t count, const char *const *names) {
    int64_t n;
    for (; *names; names++) {
        sow_records_of(*names, records, count, &n);
        if (n > 0) return *names;
    }
    return "";
}

sow_trial_score sow_score_trial(const sow_record *records, int64_t count) {
    static const char *const accuracies[] = {"test_accuracy", "accuracy", "metric", "val_accuracy", NULL};
    static const char *const losses[] = {"val_loss", "validation_loss", NULL};
    const char *accuracy = reported(records, count, accuracies);
    int64_t n;
    const sow_record *loss = sow_records_of(reported(records, count, losses), records, count, &n);
    int64_t evaluations;
    const sow_record *first = sow_records_of(accuracy, records, count, &evaluations);
    sow_trial_score score = {.stop = -1,
                             .least_loss = NAN,
                             .at_stop = NAN,
                             .at_end = last_of(accuracy, records, count),
                             .at_start = evaluations > 0 ? first->value : NAN,
                             .validation_at_stop = NAN,
                             .training_at_end = last_of("train_accuracy", records, count)};
    for (int64_t i = 0; i < n; i++)
        if (score.stop < 0 || loss[i].value < score.least_loss)
            score.stop = loss[i].step, score.least_loss = loss[i].value;
    if (score.stop < 0) return score;
    score.at_stop = at_step(accuracy, score.stop, records, count);
    score.validation_at_stop = at_step("val_accuracy", score.stop, records, count);
    return score;
}

sow_status sow_store_trial(sow_store *store, sow_arena *arena, const sow_cell *cell, sow_trial_score *out) {
    sow_record *records;
    int64_t count;
    SOW_TRY(sow_store_curve(store, arena, cell, &records, &count));
    *out = sow_score_trial(records, count);
    return SOW_OK;
}
