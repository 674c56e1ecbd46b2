/* What a training was worth: the early stop, found afterwards on validation data, and accuracies there and at the end. */
#include <math.h>
#include <string.h>

#include "starts/sparsity/lottery_ticket/ticket.h"

/* The records of one metric lie together, in the order of their steps. */
static const sow_record *find(const sow_record *records, int64_t count, const char *metric, int64_t step) {
    const sow_record *last = NULL;
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(records[i].metric, metric)) continue;
        if (step < 0 || records[i].step == step) last = &records[i];
    }
    return last;
}

/* The first of the names that the trainer reported. */
static const char *reported(const sow_record *records, int64_t count, const char *const *names) {
    for (; *names; names++)
        if (find(records, count, *names, -1)) return *names;
    return NULL;
}

static double value(const sow_record *records, int64_t count, const char *metric, int64_t step) {
    const sow_record *r = metric ? find(records, count, metric, step) : NULL;
    return r ? r->value : NAN;
}

ticket_score ticket_score_of(const sow_record *records, int64_t count) {
    static const char *const accuracies[] = {"test_accuracy", "accuracy", "metric", "val_accuracy", NULL};
    static const char *const losses[] = {"val_loss", "validation_loss", NULL};
    const char *accuracy = reported(records, count, accuracies), *loss = reported(records, count, losses);
    ticket_score score = {.stop = -1, .least_loss = NAN};
    for (int64_t i = 0; loss && i < count; i++) {
        if (strcmp(records[i].metric, loss) || (score.stop >= 0 && records[i].value >= score.least_loss)) continue;
        score.stop = records[i].step;
        score.least_loss = records[i].value;
    }
    score.at_stop = score.stop < 0 ? NAN : value(records, count, accuracy, score.stop);
    score.at_end = value(records, count, accuracy, -1);
    score.validation_at_stop = score.stop < 0 ? NAN : value(records, count, "val_accuracy", score.stop);
    score.training_at_end = value(records, count, "train_accuracy", -1);
    return score;
}

json_t *ticket_number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}
