/* The task of tuning a language model, or an adapter on it, on texts. */
#include <math.h>
#include <string.h>

#include "sow/file.h"
#include "sow/tune.h"

struct sow_lm_task {
    sow_arena *arena;
    sow_tuning tuning;
    sow_task task;
    sow_text_batches *batches;
};

/* ---- what a model loses ---- */

static sow_status add_batches(sow_tape *tape, sow_lm *lm, sow_text_batches *batches, double *sum, int64_t *counted) {
    for (int64_t b = 0; b < sow_text_batches_per_epoch(batches); b++) {
        sow_tokens tokens;
        sow_tensor labels;
        double part;
        int64_t some;
        SOW_TRY(sow_text_batches_at(batches, b, &tokens, &labels));
        SOW_TRY(sow_lm_score(tape, lm, &tokens, labels, &part, &some));
        *sum += part;
        *counted += some;
    }
    return SOW_OK;
}

sow_status sow_lm_evaluate(sow_tape *tape, sow_lm *lm, const sow_texts *texts, int64_t batch, double *sum,
                           int64_t *counted) {
    sow_text_batches *batches;
    *sum = 0;
    *counted = 0;
    SOW_TRY(sow_text_batches_new(texts, batch, 0, false, &batches));
    sow_status status = add_batches(tape, lm, batches, sum, counted);
    sow_text_batches_free(batches);
    return status;
}

/* ---- the task ---- */

static sow_status attach(void *user, sow_tape *tape) {
    const sow_lm_task *t = user;
    return t->tuning.adapter ? sow_adapter_attach(t->tuning.adapter, tape) : SOW_OK;
}

static sow_var loss_of_part(void *user, sow_tape *tape, int64_t step, int64_t part, sow_tally *tally) {
    const sow_lm_task *t = user;
    int64_t first = step * t->task.parts, mine = sow_text_batches_counted(t->batches, first + part, 1);
    double whole = (double)sow_text_batches_counted(t->batches, first,
                                                    t->task.parts); /* mean of the step, not of means */
    sow_tokens tokens;
    sow_tensor labels;
    sow_status status = sow_text_batches_at(t->batches, first + part, &tokens, &labels);
    if (status != SOW_OK) return sow_tape_fail(tape, status);
    sow_var loss = sow_lm_loss(tape, t->tuning.lm, &tokens, labels, whole);
    if (!loss) return NULL;
    *tally = (sow_tally){.loss = sow_scalar(loss) * whole, .correct = NAN, .examples = (double)mine};
    return loss;
}

static sow_status evaluate(void *user, sow_tape *tape, bool test, sow_tally *tally) {
    const sow_lm_task *t = user;
    int64_t counted;
    SOW_TRY(sow_lm_evaluate(tape, t->tuning.lm, test ? t->tuning.test : t->tuning.validation, t->tuning.batch,
                            &tally->loss, &counted));
    tally->examples = (double)counted;
    tally->correct = NAN;
    return SOW_OK;
}

static sow_status check_texts(const sow_lm *lm, const sow_texts *texts) {
    if (!texts) return SOW_OK;
    if (lm->config.positions > 0 && texts->longest > lm->config.positions)
        return sow_fail(SOW_E_RANGE, "%s: a sequence of %lld tokens, but the model has positions for %lld", texts->name,
                        (long long)texts->longest, (long long)lm->config.positions);
    for (int64_t i = 0; i < texts->start[texts->count]; i++) {
        int64_t id = texts->ids[i] > texts->labels[i] ? texts->ids[i] : texts->labels[i];
        if (texts->ids[i] < 0 || id >= lm->config.vocabulary)
            return sow_fail(SOW_E_RANGE,
                            "%s: token %lld, but the model's vocabulary has %lld: another tokenizer's texts?",
                            texts->name, (long long)id, (long long)lm->config.vocabulary);
    }
    return SOW_OK;
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

static sow_status prepare(sow_lm_task *t) {
    const sow_tuning *u = &t->tuning;
    SOW_TRY(check_texts(u->lm, u->train));
    SOW_TRY(check_texts(u->lm, u->validation));
    SOW_TRY(check_texts(u->lm, u->test));
    t->task = (sow_task){.state = u->adapter ? u->adapter->state : u->lm->state,
                         .open = attach,
                         .loss = loss_of_part,
                         .evaluate = evaluate,
                         .has_validation = u->validation != NULL,
                         .has_test = u->test != NULL,
                         .parts = u->parts > 0 ? u->parts : 1,
                         .user = t};
    SOW_TRY(identify(t));
    SOW_TRY(sow_text_batches_new(u->train, u->batch, u->seed, true, &t->batches));
    if (sow_text_batches_per_epoch(t->batches) < t->task.parts)
        return sow_fail(SOW_E_RANGE, "%s: %lld sequences, but a step takes %lld batches of %lld", u->train->name,
                        (long long)u->train->count, (long long)t->task.parts, (long long)u->batch);
    sow_state_train(u->lm->state, !u->adapter);
    return SOW_OK;
}

sow_status sow_lm_task_new(const sow_tuning *tuning, sow_lm_task **out) {
    sow_arena *arena;
    sow_lm_task *t;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = SOW_NEW(arena, t, 1);
    if (status != SOW_OK) {
        sow_arena_free(arena);
        return status;
    }
    t->arena = arena;
    t->tuning = *tuning;
    status = prepare(t);
    if (status == SOW_OK) *out = t;
    else sow_lm_task_free(t);
    return status;
}

void sow_lm_task_free(sow_lm_task *task) {
    if (!task) return;
    sow_text_batches_free(task->batches);
    sow_arena_free(task->arena);
}

const sow_task *sow_lm_task_of(const sow_lm_task *task) {
    return &task->task;
}

int64_t sow_lm_task_epoch(const sow_lm_task *task) {
    return sow_text_batches_per_epoch(task->batches) / task->task.parts;
}
