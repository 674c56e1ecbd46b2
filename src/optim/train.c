/* The training loop: steps, evaluations, checkpoints. */
#include <math.h>
#include <string.h>

#include "optim/checkpoint.h"
#include "sow/log.h"
#include "sow/threads.h"

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

/* Adds loss (times examples) and correct answers of all batches. */
static sow_status evaluate_batches(sow_tape *tape, sow_model *model, sow_batches *batches, double *loss, double *accuracy) {
    double loss_sum = 0, examples = 0, correct = 0;
    for (int64_t b = 0; b < sow_batches_per_epoch(batches); b++) {
        sow_tensor inputs, labels;
        SOW_TRY(sow_batches_at(batches, b, &inputs, &labels));
        sow_tape_reset(tape);
        sow_tape_train(tape, false);
        sow_tape_record(tape, false);
        sow_var logits = model->forward(tape, model->state, model, sow_constant(tape, inputs));
        sow_var l = sow_softmax_cross_entropy(tape, logits, labels);
        SOW_TRY(sow_tape_status(tape));
        loss_sum += sow_scalar(l) * (double)labels.shape[0];
        correct += (double)count_correct(sow_value(logits), labels);
        examples += (double)labels.shape[0];
    }
    *loss = loss_sum / examples;
    *accuracy = correct / examples;
    return SOW_OK;
}

sow_status sow_evaluate(sow_tape *tape, sow_model *model, const sow_data *data, const sow_part *part, double *loss, double *accuracy) {
    *loss = *accuracy = NAN;
    if (part->count == 0) return SOW_OK;
    sow_batches *batches;
    SOW_TRY(sow_batches_new(data, part, EVALUATION_BATCH, 0, false, SOW_AUGMENT_NONE, &batches));
    sow_status status = evaluate_batches(tape, model, batches, loss, accuracy);
    sow_tape_reset(tape);
    sow_batches_free(batches);
    return status;
}

int64_t sow_early_stop(const sow_evaluation *curve, int64_t count) {
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (curve[i].validation_loss < curve[best].validation_loss) best = i;
    return best;
}

/* A training under way. */
typedef struct run {
    sow_arena *arena;
    sow_training *training;
    sow_model *model;
    const sow_data *data;
    sow_tape *tape, *evaluation_tape;
    sow_optimizer *optimizer;
    sow_batches *batches;
    sow_place place;
} run;

static sow_status evaluate(run *r) {
    sow_training *t = r->training;
    sow_place *p = &r->place;
    sow_evaluation e = {.step = p->step, .train_loss = NAN, .train_accuracy = NAN, .test_loss = NAN, .test_accuracy = NAN};
    if (p->examples > 0) {
        e.train_loss = p->loss_sum / p->examples;
        e.train_accuracy = p->correct / p->examples;
    }
    SOW_TRY(sow_evaluate(r->evaluation_tape, r->model, r->data, &r->data->validation, &e.validation_loss, &e.validation_accuracy));
    bool best = e.validation_loss < p->best;
    if (best) p->best = e.validation_loss;
    if (!t->test_at_best || best || p->step == t->steps || r->data->validation.count == 0)
        SOW_TRY(sow_evaluate(r->evaluation_tape, r->model, r->data, &r->data->test, &e.test_loss, &e.test_accuracy));
    p->loss_sum = p->correct = p->examples = 0;
    t->curve[t->evaluations++] = e;
    if ((isnan(e.validation_loss) && r->data->validation.count > 0) || isinf(e.validation_loss))
        return sow_fail(SOW_E_NUMBER, "training: validation loss is %f at step %lld", e.validation_loss, (long long)p->step);
    return t->evaluated ? t->evaluated(t->user, &e) : SOW_OK;
}

static sow_status step(run *r) {
    sow_training *t = r->training;
    sow_place *p = &r->place;
    sow_tensor inputs, labels;
    SOW_TRY(sow_batches_at(r->batches, p->step, &inputs, &labels));
    sow_tape_reset(r->tape);
    sow_tape_random(r->tape, t->seed, (uint64_t)p->step);
    sow_fresh_gradients(r->model->state);
    sow_var logits = r->model->forward(r->tape, r->model->state, r->model, sow_constant(r->tape, inputs));
    sow_var loss = sow_softmax_cross_entropy(r->tape, logits, labels);
    SOW_TRY(sow_tape_status(r->tape));
    double value = sow_scalar(loss), examples = (double)labels.shape[0];
    if (!isfinite(value)) return sow_fail(SOW_E_NUMBER, "training: loss is %f at step %lld; a lower learning rate or a warm-up may help", value, (long long)p->step + 1);
    p->correct += (double)count_correct(sow_value(logits), labels);
    p->loss_sum += value * examples;
    p->examples += examples;
    SOW_TRY(sow_tape_backward(r->tape, loss));
    sow_optimizer_step(r->optimizer, sow_schedule_at(&t->schedule, p->step, t->steps));
    p->step++;
    return t->stepped ? t->stepped(t->user, p->step, r->model->state) : SOW_OK;
}

static sow_status checkpoint(run *r) {
    return r->training->folder ? sow_checkpoint_write(r->arena, r->training, r->model, r->optimizer, &r->place) : SOW_OK;
}

static sow_status train(run *r) {
    sow_training *t = r->training;
    int64_t end = t->stop_after > 0 && t->stop_after < t->steps ? t->stop_after : t->steps;
    if (t->evaluations == 0) SOW_TRY(evaluate(r));
    while (r->place.step < end) {
        SOW_TRY(step(r));
        int64_t done = r->place.step;
        if ((t->evaluate_every > 0 && done % t->evaluate_every == 0) || done == t->steps) SOW_TRY(evaluate(r));
        sow_progress("training", done, t->steps);
        if (sow_interrupted()) {
            SOW_TRY(checkpoint(r));
            return sow_fail(SOW_E_INTERRUPTED, "training: interrupted after step %lld of %lld%s", (long long)done, (long long)t->steps, t->folder ? "; --resume goes on from there" : "");
        }
        if (t->checkpoint_every > 0 && done % t->checkpoint_every == 0 && done < end) SOW_TRY(checkpoint(r));
    }
    return end < t->steps || t->checkpoint_every > 0 ? checkpoint(r) : SOW_OK;
}

/* Checks what does not fit before anything is computed. */
static sow_status check(const sow_training *t, const sow_model *m, const sow_data *d) {
    const sow_geometry *a = &m->geometry, *b = &d->geometry;
    if (t->steps < 1 || t->batch < 1) return sow_fail(SOW_E_RANGE, "training: %lld steps of %lld examples, expected at least 1 of each", (long long)t->steps, (long long)t->batch);
    if (t->batch > d->train.count) return sow_fail(SOW_E_RANGE, "training: a batch of %lld examples, but %s has %lld for training", (long long)t->batch, d->name, (long long)d->train.count);
    if (a->channels * a->height * a->width != b->channels * b->height * b->width || (a->classes != b->classes))
        return sow_fail(SOW_E_SHAPE, "training: %s takes %lldx%lldx%lld and %lld classes, %s has %lldx%lldx%lld and %lld", m->arch, (long long)a->channels, (long long)a->height,
                        (long long)a->width, (long long)a->classes, d->name, (long long)b->channels, (long long)b->height, (long long)b->width, (long long)b->classes);
    return sow_state_require_finite(m->state, "training: the start");
}

static sow_status prepare(run *r) {
    sow_training *t = r->training;
    int64_t room = 3 + (t->evaluate_every > 0 ? t->steps / t->evaluate_every : 0);
    r->place = (sow_place){.best = INFINITY};
    SOW_TRY(SOW_NEW(r->arena, t->curve, room));
    SOW_TRY(sow_tape_new(&r->tape));
    sow_tape_train(r->tape, true);
    SOW_TRY(sow_tape_new(&r->evaluation_tape));
    SOW_TRY(sow_optimizer_new(&t->optimizer, r->model->state, &r->optimizer));
    SOW_TRY(sow_batches_new(r->data, &r->data->train, t->batch, t->seed, true, t->augmentation, &r->batches));
    bool found = false;
    t->evaluations = room;
    if (t->folder && t->resume) SOW_TRY(sow_checkpoint_read(r->arena, t, r->model, r->optimizer, &r->place, &found));
    if (!found) t->evaluations = 0;
    else sow_note("going on from step %lld of %lld", (long long)r->place.step, (long long)t->steps);
    return SOW_OK;
}

sow_status sow_train(sow_arena *arena, sow_training *training, sow_model *model, const sow_data *data) {
    SOW_TRY(check(training, model, data));
    run r = {.arena = arena, .training = training, .model = model, .data = data};
    sow_float_mode mode = sow_flush_denormals();
    sow_status status = prepare(&r);
    if (status == SOW_OK) status = train(&r);
    sow_restore_float_mode(mode);
    sow_batches_free(r.batches);
    sow_optimizer_free(r.optimizer);
    sow_tape_free(r.tape);
    sow_tape_free(r.evaluation_tape);
    return status;
}
