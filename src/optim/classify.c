/* The task of classifying images and tables: mean softmax cross-entropy, accuracy. */
#include <math.h>

#include "sow/optim.h"

enum { EVALUATION_BATCH = 500 };

/* Counts rows whose largest logit (the first on ties) is the label's. */
static int64_t count_correct(sow_tensor logits, sow_tensor labels) {
    int64_t rows = logits.shape[0], classes = logits.shape[1], correct = 0;
    const float *z = logits.data;
    const int32_t *label = labels.data;
    for (int64_t r = 0; r < rows; r++, z += classes) {
        int64_t best = 0;
        for (int64_t c = 1; c < classes; c++)
            if (z[c] > z[best]) best = c;
        correct += best == label[r];
    }
    return correct;
}

/* Records the mean loss of one batch and adds to the tally. */
static sow_var batch_loss(sow_tape *tape, sow_model *model, sow_tensor inputs, sow_tensor labels, sow_tally *tally) {
    sow_var logits = model->forward(tape, model->state, model, sow_constant(tape, inputs));
    sow_var loss = sow_softmax_cross_entropy(tape, logits, labels);
    if (!loss) return NULL;
    double examples = (double)labels.shape[0];
    tally->loss += sow_scalar(loss) * examples;
    tally->correct += (double)count_correct(sow_value(logits), labels);
    tally->examples += examples;
    return loss;
}

static sow_status evaluate_part(sow_tape *tape, sow_model *model, const sow_data *data, const sow_part *part,
                                sow_tally *tally) {
    sow_batches *batches;
    SOW_TRY(sow_batches_new(data, part, EVALUATION_BATCH, 0, false, SOW_AUGMENT_NONE, &batches));
    sow_status status = SOW_OK;
    for (int64_t b = 0; status == SOW_OK && b < sow_batches_per_epoch(batches); b++) {
        sow_tensor inputs, labels;
        if ((status = sow_batches_at(batches, b, &inputs, &labels)) != SOW_OK) break;
        sow_tape_reset(tape);
        sow_tape_train(tape, false);
        sow_tape_record(tape, false);
        batch_loss(tape, model, inputs, labels, tally);
        status = sow_tape_status(tape);
    }
    sow_tape_reset(tape);
    sow_batches_free(batches);
    return status;
}

sow_status sow_evaluate(sow_tape *tape, sow_model *model, const sow_data *data, const sow_part *part, double *loss,
                        double *accuracy) {
    sow_tally sum = {0};
    *loss = *accuracy = NAN;
    if (part->count == 0) return SOW_OK;
    SOW_TRY(evaluate_part(tape, model, data, part, &sum));
    *loss = sum.loss / sum.examples;
    *accuracy = sum.correct / sum.examples;
    return SOW_OK;
}

typedef struct classifying {
    sow_model *model;
    const sow_data *data;
    sow_batches *batches;
    sow_status (*open)(void *user, sow_tape *tape);
    void *user;
} classifying;

static sow_status open_tape(void *user, sow_tape *tape) {
    const classifying *c = user;
    return c->open ? c->open(c->user, tape) : SOW_OK;
}

static sow_var loss_of_step(void *user, sow_tape *tape, int64_t step, int64_t part, sow_tally *tally) {
    (void)part;
    const classifying *c = user;
    sow_tensor inputs, labels;
    sow_status status = sow_batches_at(c->batches, step, &inputs, &labels);
    return status == SOW_OK ? batch_loss(tape, c->model, inputs, labels, tally) : sow_tape_fail(tape, status);
}

static sow_status evaluate(void *user, sow_tape *tape, bool test, sow_tally *tally) {
    const classifying *c = user;
    return evaluate_part(tape, c->model, c->data, test ? &c->data->test : &c->data->validation, tally);
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

sow_status sow_train_with(sow_arena *arena, sow_training *training, sow_model *model, const sow_data *data,
                          sow_state *trained, sow_status (*open)(void *user, sow_tape *tape), void *user) {
    SOW_TRY(check(training, model, data));
    classifying c = {.model = model, .data = data, .open = open, .user = user};
    sow_task task = {.state = trained,
                     .open = open_tape,
                     .loss = loss_of_step,
                     .evaluate = evaluate,
                     .has_validation = data->validation.count > 0,
                     .has_test = data->test.count > 0,
                     .identity = sow_arena_format(arena, "%s|%a", model->arch, model->dropout),
                     .user = &c};
    if (!task.identity) return SOW_E_MEMORY;
    SOW_TRY(
        sow_batches_new(data, &data->train, training->batch, training->seed, true, training->augmentation, &c.batches));
    sow_status status = sow_train_task(arena, training, &task);
    sow_batches_free(c.batches);
    return status;
}

sow_status sow_train(sow_arena *arena, sow_training *training, sow_model *model, const sow_data *data) {
    return sow_train_with(arena, training, model, data, model->state, NULL, NULL);
}
