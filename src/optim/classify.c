/* The task of classifying images and tables. */
#include <math.h>

#include "sow/optim.h"

enum { EVALUATION_BATCH = 500 };

/* NULL where the part is empty. */
static sow_status open_evaluation(sow_model *model, const sow_data *data, const sow_part *part, sow_feed **out) {
    *out = NULL;
    return part->count > 0 ? sow_feed_network(model, data, part, &(sow_feed_options){.batch = EVALUATION_BATCH}, out)
                           : SOW_OK;
}

sow_status sow_evaluate(sow_tape *tape, sow_model *model, const sow_data *data, const sow_part *part, double *loss,
                        double *accuracy) {
    sow_tally sum;
    sow_feed *feed;
    *loss = *accuracy = NAN;
    SOW_TRY(open_evaluation(model, data, part, &feed));
    if (!feed) return SOW_OK;
    sow_status status = sow_feed_evaluate(feed, tape, &sum);
    sow_feed_free(feed);
    SOW_TRY(status);
    *loss = sum.loss / sum.examples;
    *accuracy = sum.correct / sum.examples;
    return SOW_OK;
}

/* Checks what does not fit before anything is computed. */
static sow_status check(const sow_training *t, const sow_model *m, const sow_data *d) {
    const sow_geometry *a = &m->geometry, *b = &d->geometry;
    if (t->batch < 1)
        return sow_fail(SOW_E_RANGE, "training: a batch of %lld examples, expected at least 1", (long long)t->batch);
    if (t->batch > d->train.count)
        return sow_fail(SOW_E_RANGE, "training: a batch of %lld examples, but %s has %lld for training",
                        (long long)t->batch, d->name, (long long)d->train.count);
    if (a->channels * a->height * a->width != b->channels * b->height * b->width || (a->classes != b->classes))
        return sow_fail(
            SOW_E_SHAPE, "training: %s takes %lldx%lldx%lld and %lld classes, %s has %lldx%lldx%lld and %lld", m->arch,
            (long long)a->channels, (long long)a->height, (long long)a->width, (long long)a->classes, d->name,
            (long long)b->channels, (long long)b->height, (long long)b->width, (long long)b->classes);
    return sow_state_require_finite(m->state, "training: the start");
}

static sow_status open_feeds(const sow_training *t, sow_model *model, const sow_data *data, sow_task *task) {
    const sow_feed_options order = {
        .batch = t->batch, .seed = t->seed, .shuffle = true, .augmentation = t->augmentation};
    SOW_TRY(sow_feed_network(model, data, &data->train, &order, &task->train));
    SOW_TRY(open_evaluation(model, data, &data->validation, &task->validation));
    return open_evaluation(model, data, &data->test, &task->test);
}

sow_status sow_train_with(sow_arena *arena, sow_training *training, sow_model *model, const sow_data *data,
                          sow_state *trained, sow_status (*open)(void *user, sow_tape *tape), void *user) {
    SOW_TRY(check(training, model, data));
    sow_task task = {.state = trained,
                     .identity = sow_arena_format(arena, "%s|%a", model->arch, model->dropout),
                     .open = open,
                     .user = user};
    if (!task.identity) return SOW_E_MEMORY;
    sow_status status = open_feeds(training, model, data, &task);
    if (status == SOW_OK) status = sow_train_task(arena, training, &task);
    sow_feed_free(task.train);
    sow_feed_free(task.validation);
    sow_feed_free(task.test);
    return status;
}

sow_status sow_train(sow_arena *arena, sow_training *training, sow_model *model, const sow_data *data) {
    return sow_train_with(arena, training, model, data, model->state, NULL, NULL);
}
