/* LoRA-SB against other adapter starts on a language model: one tuning of the full study. */
#include <math.h>
#include <stdlib.h>

#include "sow/tune.h"
#include "nn/lm/base_model.h"
#include "starts/adapters/lora_sb/simulate.h"

typedef struct simulation {
    sow_call *call;
    base_model base;
    sow_texts *train, *held, *rest, *drawn; /* drawn: of train, for the gradient */
    tuning_recipe recipe;
    lora_sb_arm arm;
} simulation;

static sow_status mean_loss(simulation *s, sow_adapter *adapter, double *loss) {
    sow_tape *tape;
    int64_t counted;
    SOW_TRY(sow_tape_new(&tape));
    sow_status status = adapter ? sow_adapter_attach(adapter, tape) : SOW_OK;
    if (status == SOW_OK) status = sow_lm_evaluate(tape, s->base.lm, s->held, 8, loss, &counted);
    sow_tape_free(tape);
    if (status == SOW_OK) *loss /= (double)counted;
    return status;
}

static sow_status tune(simulation *s, sow_adapter *adapter, tuning_outcome *out) {
    const tuning_recipe *r = &s->recipe;
    sow_tuning what = {.lm = s->base.lm, .adapter = adapter, .train = s->train, .batch = r->batch, .seed = r->seed};
    sow_training training = {
        .steps = r->steps,
        .batch = r->batch,
        .evaluate_every = r->evaluate_every,
        .optimizer = {.kind = r->optimizer, .rate = out->rate},
        .schedule = {.kind = SOW_SCHEDULE_COSINE, .warmup = (int64_t)(r->warmup * (double)r->steps)},
        .seed = r->seed};
    sow_lm_task *task;
    SOW_TRY(mean_loss(s, adapter, &out->start_loss));
    SOW_TRY(sow_lm_task_new(&what, &task));
    sow_status status = sow_train_task(s->call->arena, &training, sow_lm_task_of(task));
    sow_lm_task_free(task);
    SOW_TRY(status);
    out->curve = training.curve;
    out->evaluations = training.evaluations;
    SOW_TRY(mean_loss(s, adapter, &out->test_loss));
    out->validation_loss = out->test_loss;
    return SOW_OK;
}

static sow_status report(simulation *s, const tuning_outcome *o, int64_t trained) {
    json_t *row = json_pack("{s:f, s:f, s:f, s:f, s:I}", "start_loss", o->start_loss, "rate", o->rate, "test_loss",
                            o->test_loss, "perplexity", exp(o->test_loss), "trained", (json_int_t)trained);
    int failed = !row || json_object_update(s->call->result, row);
    json_decref(row);
    return failed ? sow_fail(SOW_E_MEMORY, "out of memory, or a loss that is not finite") : SOW_OK;
}

static sow_status run(simulation *s) {
    sow_call *call = s->call;
    int64_t samples = sow_int(call, "samples");
    SOW_TRY(tuning_recipe_of(call, &s->recipe));
    SOW_TRY(lora_sb_arm_of(call, &s->arm));
    SOW_TRY(base_model_open(call, &s->base));
    SOW_TRY(sow_texts_split(s->base.texts, sow_int(call, "held-out"), (uint64_t)sow_int(call, "seed"), &s->train,
                            &s->held));
    if (samples < s->train->count)
        SOW_TRY(sow_texts_split(s->train, samples, (uint64_t)sow_int(call, "seed") + 1, &s->rest, &s->drawn));
    sow_lm_gradients gradients = {.lm = s->base.lm, .texts = s->drawn ? s->drawn : s->train, .batch = 4};
    if (gradients.batch > gradients.texts->count) gradients.batch = gradients.texts->count;
    tuning_outcome outcome = {.rate = s->recipe.rates[0]};
    sow_adapter *adapter;
    SOW_TRY(lora_sb_arm_make(&s->arm, outcome.rate, (int64_t)(s->recipe.warmup * (double)s->recipe.steps),
                             s->base.lm->state, &s->base.sites, sow_lm_gradient_source, &gradients, call->arena,
                             &adapter, NULL));
    int64_t trained = adapter ? sow_adapter_trained(adapter) : lora_sb_numbers(s->base.lm->state);
    sow_status status = tune(s, adapter, &outcome);
    sow_adapter_free(adapter);
    return status == SOW_OK ? report(s, &outcome, trained) : status;
}

sow_status lora_sb_simulate_lm(sow_call *call) {
    simulation s = {.call = call};
    sow_status status = run(&s);
    sow_texts_free(s.rest);
    sow_texts_free(s.drawn);
    sow_texts_free(s.train);
    sow_texts_free(s.held);
    base_model_close(&s.base);
    return status == SOW_OK ? tuning_write(call) : status;
}
