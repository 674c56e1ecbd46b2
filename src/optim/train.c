/* The training loop: steps, evaluations, checkpoints, whatever the task. */
#include <math.h>
#include <string.h>

#include "optim/checkpoint.h"
#include "sow/log.h"
#include "sow/threads.h"

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
    const sow_task *task;
    sow_tape *tape, *evaluation_tape;
    sow_optimizer *optimizer;
    sow_place place;
} run;

static void means_of(const sow_tally *sum, double *loss, double *accuracy) {
    *loss = sum->examples > 0 ? sum->loss / sum->examples : NAN;
    *accuracy = sum->examples > 0 ? sum->correct / sum->examples : NAN;
}

static sow_status measure(run *r, bool test, double *loss, double *accuracy) {
    sow_feed *part = test ? r->task->test : r->task->validation;
    sow_tally sum;
    *loss = *accuracy = NAN;
    if (!part) return SOW_OK;
    SOW_TRY(sow_feed_evaluate(part, r->evaluation_tape, &sum));
    means_of(&sum, loss, accuracy);
    return SOW_OK;
}

static sow_status evaluate(run *r) {
    sow_training *t = r->training;
    sow_place *p = &r->place;
    sow_evaluation e = {.step = p->step, .test_loss = NAN, .test_accuracy = NAN};
    means_of(&p->since, &e.train_loss, &e.train_accuracy);
    SOW_TRY(measure(r, false, &e.validation_loss, &e.validation_accuracy));
    bool best = e.validation_loss < p->best;
    if (best) p->best = e.validation_loss;
    if (!t->test_at_best || best || p->step == t->steps || !r->task->validation)
        SOW_TRY(measure(r, true, &e.test_loss, &e.test_accuracy));
    p->since = (sow_tally){0};
    t->curve[t->evaluations++] = e;
    if (r->task->validation && !isfinite(e.validation_loss))
        return sow_fail(SOW_E_NUMBER, "training: validation loss is %f at step %lld", e.validation_loss,
                        (long long)p->step);
    return t->evaluated ? t->evaluated(t->user, &e) : SOW_OK;
}

/* One micro-batch: its share of the step's mean loss, and its gradients added to those before it. */
static sow_status accumulate(run *r, int64_t batch, double divisor) {
    sow_place *p = &r->place;
    sow_tally tally = {0};
    sow_tape_reset(r->tape);
    sow_tape_random(r->tape, r->training->seed, (uint64_t)batch);
    sow_var loss = sow_feed_loss(r->task->train, r->tape, batch, divisor, &tally);
    SOW_TRY(sow_tape_status(r->tape));
    if (!isfinite(sow_scalar(loss)))
        return sow_fail(SOW_E_NUMBER, "training: loss is %f at step %lld; a lower learning rate or a warm-up may help",
                        sow_scalar(loss), (long long)p->step + 1);
    p->since.loss += tally.loss;
    p->since.correct += tally.correct;
    p->since.examples += tally.examples;
    return sow_tape_backward(r->tape, loss);
}

static sow_status step(run *r) {
    sow_training *t = r->training;
    sow_place *p = &r->place;
    int64_t parts = r->task->parts > 0 ? r->task->parts : 1, first = p->step * parts;
    double divisor = parts > 1 ? sow_feed_counted(r->task->train, first, parts) : 0;
    sow_fresh_gradients(r->task->state);
    for (int64_t part = 0; part < parts; part++) SOW_TRY(accumulate(r, first + part, divisor));
    if (t->clip > 0) sow_clip_gradients(r->task->state, t->clip);
    sow_optimizer_step(r->optimizer, sow_schedule_at(&t->schedule, p->step, t->steps));
    p->step++;
    return t->stepped ? t->stepped(t->user, p->step, r->task->state) : SOW_OK;
}

static sow_status checkpoint(run *r) {
    return r->training->folder ? sow_checkpoint_write(r->arena, r->training, r->task, r->optimizer, &r->place) : SOW_OK;
}

static sow_status interrupted(run *r) {
    SOW_TRY(checkpoint(r));
    return sow_fail(SOW_E_INTERRUPTED, "training: interrupted after step %lld of %lld%s", (long long)r->place.step,
                    (long long)r->training->steps, r->training->folder ? "; --resume goes on from there" : "");
}

static sow_status train(run *r) {
    sow_training *t = r->training;
    int64_t end = t->stop_after > 0 && t->stop_after < t->steps ? t->stop_after : t->steps;
    if (t->evaluations == 0) SOW_TRY(evaluate(r));
    while (r->place.step < end && !t->enough) {
        SOW_TRY(step(r));
        int64_t done = r->place.step;
        if ((t->evaluate_every > 0 && done % t->evaluate_every == 0) || done == t->steps) SOW_TRY(evaluate(r));
        sow_progress("training", done, t->steps);
        if (sow_interrupted()) return interrupted(r);
        if (t->checkpoint_every > 0 && done % t->checkpoint_every == 0 && done < end) SOW_TRY(checkpoint(r));
    }
    return end < t->steps || t->checkpoint_every > 0 ? checkpoint(r) : SOW_OK;
}

static sow_status prepare(run *r) {
    sow_training *t = r->training;
    int64_t room = 3 + (t->evaluate_every > 0 ? t->steps / t->evaluate_every : 0);
    r->place = (sow_place){.best = INFINITY};
    SOW_TRY(SOW_NEW(r->arena, t->curve, room));
    SOW_TRY(sow_tape_new(&r->tape));
    sow_tape_train(r->tape, true);
    SOW_TRY(sow_tape_new(&r->evaluation_tape));
    if (r->task->open) {
        SOW_TRY(r->task->open(r->task->user, r->tape));
        SOW_TRY(r->task->open(r->task->user, r->evaluation_tape));
    }
    SOW_TRY(sow_optimizer_new(&t->optimizer, r->task->state, &r->optimizer));
    bool found = false;
    t->evaluations = room;
    if (t->folder && t->resume) SOW_TRY(sow_checkpoint_read(r->arena, t, r->task, r->optimizer, &r->place, &found));
    if (!found) t->evaluations = 0;
    else sow_note("going on from step %lld of %lld", (long long)r->place.step, (long long)t->steps);
    return SOW_OK;
}

sow_status sow_train_task(sow_arena *arena, sow_training *training, const sow_task *task) {
    if (training->steps < 1)
        return sow_fail(SOW_E_RANGE, "training: %lld steps, expected at least 1", (long long)training->steps);
    SOW_TRY(sow_state_require_finite(task->state, "training: the start"));
    run r = {.arena = arena, .training = training, .task = task};
    sow_float_mode mode = sow_flush_denormals();
    sow_status status = prepare(&r);
    if (status == SOW_OK) status = train(&r);
    sow_restore_float_mode(mode);
    sow_optimizer_free(r.optimizer);
    sow_tape_free(r.tape);
    sow_tape_free(r.evaluation_tape);
    return status;
}
