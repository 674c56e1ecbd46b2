/* The task of tuning a language model, or an adapter on it, on texts. */
#include <math.h>
#include <string.h>

#include "sow/file.h"
#include "sow/tune.h"

struct sow_lm_task {
    sow_arena *arena;
    sow_tuning tuning;
    sow_task task;
};

/* ---- what a model loses ---- */

sow_status sow_lm_evaluate(sow_tape *tape, sow_lm *lm, const sow_texts *texts, int64_t batch, double *sum,
                           int64_t *counted) {
    sow_feed *feed;
    sow_tally tally;
    SOW_TRY(sow_feed_texts(lm, texts, &(sow_feed_options){.batch = batch}, &feed));
    sow_status status = sow_feed_evaluate(feed, tape, &tally);
    sow_feed_free(feed);
    SOW_TRY(status);
    *sum = tally.loss;
    *counted = (int64_t)tally.examples;
    return isfinite(*sum) ? SOW_OK : sow_fail(SOW_E_NUMBER, "the model's loss is not finite");
}

/* ---- the task ---- */

static sow_status attach(void *user, sow_tape *tape) {
    return sow_adapter_attach(user, tape);
}

/* SHA-256 of the adapter's values and scales before the first step: its start, seed and form. */
static sow_status fingerprint(sow_arena *arena, const sow_adapter *a, char hex[65]) {
    sow_state *state = a->state;
    int64_t count = sow_state_count(state);
    char *all;
    SOW_TRY(SOW_NEW(arena, all, 65 * (count + 1)));
    for (int64_t i = 0; i < count; i++) {
        sow_tensor v = sow_state_entry(state, i)->value; /* F32, row-major */
        sow_sha256(v.data, sow_bytes(v), all + 65 * i);
    }
    double scale = 0;
    for (int64_t i = 0; i < a->count; i++) scale += a->layers[i].scale * (double)(i + 1);
    memcpy(all + 65 * count, &scale, sizeof scale);
    sow_sha256(all, (size_t)(65 * (count + 1)), hex);
    return SOW_OK;
}

/* What must be equal for a checkpoint to go on: the texts, their cut, the micro-batches, the adapter's start. */
static sow_status identify(sow_lm_task *t) {
    const sow_tuning *u = &t->tuning;
    char start[65] = "";
    if (u->adapter) SOW_TRY(fingerprint(t->arena, u->adapter, start));
    t->task.identity = sow_arena_format(t->arena, "lm|%.64s|%lld|%lld|%lld|%.64s|%s", u->train->sha256,
                                        (long long)u->train->count, (long long)u->train->counted, (long long)u->batch,
                                        u->validation ? u->validation->sha256 : "", start);
    return t->task.identity ? SOW_OK : SOW_E_MEMORY;
}

static sow_status open_evaluation(const sow_tuning *u, const sow_texts *texts, sow_feed **out) {
    return texts ? sow_feed_texts(u->lm, texts, &(sow_feed_options){.batch = u->batch}, out) : SOW_OK;
}

static sow_status prepare(sow_lm_task *t) {
    const sow_tuning *u = &t->tuning;
    const sow_feed_options order = {.batch = u->batch, .seed = u->seed, .shuffle = true};
    t->task = (sow_task){.state = u->adapter ? u->adapter->state : u->lm->state, .parts = u->parts > 0 ? u->parts : 1};
    if (u->adapter) t->task.open = attach, t->task.user = u->adapter;
    SOW_TRY(sow_feed_texts(u->lm, u->train, &order, &t->task.train));
    SOW_TRY(open_evaluation(u, u->validation, &t->task.validation));
    SOW_TRY(open_evaluation(u, u->test, &t->task.test));
    SOW_TRY(identify(t));
    if (t->task.train->batches < t->task.parts)
        return sow_fail(SOW_E_RANGE, "%s: %lld sequences, but a step takes %lld batches of %lld", u->train->name,
                        (long long)u->train->count, (long long)t->task.parts, (long long)u->batch);
    sow_state_train(u->lm->state, !u->adapter);
    return SOW_OK;
}

sow_status sow_lm_task_new(const sow_tuning *tuning, sow_lm_task **out) {
    sow_arena *arena;
    sow_lm_task *t;
    SOW_TRY(SOW_OWN(arena, t));
    t->arena = arena;
    t->tuning = *tuning;
    sow_status status = prepare(t);
    if (status == SOW_OK) *out = t;
    else sow_lm_task_free(t);
    return status;
}

void sow_lm_task_free(sow_lm_task *task) {
    if (!task) return;
    sow_feed_free(task->task.train);
    sow_feed_free(task->task.validation);
    sow_feed_free(task->task.test);
    sow_arena_free(task->arena);
}

const sow_task *sow_lm_task_of(const sow_lm_task *task) {
    return &task->task;
}

int64_t sow_lm_task_epoch(const sow_lm_task *task) {
    return task->task.train->batches / task->task.parts;
}
