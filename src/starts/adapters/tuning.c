/* Adapters of any start: on a small classifier, trained on one data set and tuned on another, or on a language model. */
#include "starts/adapters/tuning.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sow/file.h"
#include "sow/init.h"
#include "sow/json.h"
#include "sow/safetensors.h"

enum { VALIDATION = 1000, PRETRAIN_BATCH = 64, EVALUATION_BATCH = 500, EVALUATION_SEQUENCES = 8 };

/* ---- data ---- */

static void keep_classes(sow_part *part, int low, int high) {
    int64_t kept = 0;
    for (int64_t i = 0; i < part->count; i++) {
        int32_t label = part->set->labels[part->index[i]];
        if (label >= low && label <= high) part->index[kept++] = part->index[i];
    }
    part->count = kept;
}

static sow_status choose_classes(sow_data *data, const char *classes) {
    int low, high, end = 0;
    if (!classes) return SOW_OK;
    if (sscanf(classes, "%d:%d%n", &low, &high, &end) != 2 || classes[end] || low > high)
        return sow_fail(SOW_E_ARGUMENT, "classes '%s': expected the first and the last, as 5:9", classes);
    keep_classes(&data->train, low, high);
    keep_classes(&data->validation, low, high);
    keep_classes(&data->test, low, high);
    if (data->train.count == 0)
        return sow_fail(SOW_E_RANGE, "%s has no examples of the classes %s", data->name, classes);
    return SOW_OK;
}

sow_status tuning_data(const char *name, const char *classes, int64_t limit, sow_data **out) {
    sow_data_options options = {.limit = limit, .validation = VALIDATION};
    SOW_TRY(sow_data_open(name, &options, out));
    sow_status status = choose_classes(*out, classes);
    if (status != SOW_OK) sow_data_free(*out);
    return status;
}

/* ---- the first training ---- */

static sow_status pretrain(sow_arena *arena, const sow_call *call, sow_model *model) {
    sow_data *data;
    sow_rng rng;
    sow_init init = sow_init_defaults(SOW_INIT_TORCH_DEFAULT);
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, (uint64_t)sow_int(call, "seed")));
    SOW_TRY(sow_init_state(&rng, model->state, &init, NULL, 0));
    SOW_TRY(tuning_data(sow_text(call, "pretrain"), sow_text(call, "pretrain-classes"), sow_int(call, "pretrain-limit"),
                        &data));
    sow_training training = {.steps = sow_int(call, "pretrain-epochs") * (data->train.count / PRETRAIN_BATCH),
                             .batch = PRETRAIN_BATCH,
                             .optimizer = {.kind = SOW_ADAM, .rate = 1e-3},
                             .seed = (uint64_t)sow_int(call, "seed")};
    sow_status status = sow_train(arena, &training, model, data);
    sow_data_free(data);
    return status;
}

sow_status tuning_pretrain(const sow_call *call, const char *base, sow_model **out) {
    sow_arena *arena;
    SOW_TRY(sow_model_new(sow_text(call, "arch"), NULL, out));
    sow_status status = sow_arena_new(&arena);
    if (status == SOW_OK) {
        status = base ? sow_load_into(base, (*out)->state) : pretrain(arena, call, *out);
        sow_arena_free(arena);
    }
    if (status != SOW_OK) sow_model_free(*out);
    return status;
}

sow_status tuning_write_base(sow_call *call) {
    sow_model *model;
    const char *out = sow_text(call, "out");
    SOW_TRY(sow_check_output(call, out));
    SOW_TRY(tuning_pretrain(call, NULL, &model));
    sow_status status = sow_save_state(out, model->state, NULL);
    sow_model_free(model);
    return status == SOW_OK ? sow_wrote(call, out) : status;
}

/* ---- what is tuned ---- */

sow_status tuning_feed(const tuning *t, const sow_feed_options *options, sow_feed **out) {
    return t->model ? sow_feed_network(t->model, t->data, &t->data->train, options, out)
                    : sow_feed_texts(t->base.lm, t->train, options, out);
}

sow_status tuning_open_parts(tuning *t) {
    const sow_feed_options images = {.batch = EVALUATION_BATCH}, texts = {.batch = EVALUATION_SEQUENCES};
    if (t->held) return sow_feed_texts(t->base.lm, t->held, &texts, &t->test);
    SOW_TRY(sow_feed_network(t->model, t->data, &t->data->validation, &images, &t->validation));
    return sow_feed_network(t->model, t->data, &t->data->test, &images, &t->test);
}

static sow_status open_language(sow_call *call, tuning *t) {
    SOW_TRY(base_model_open(call, &t->base));
    t->state = t->base.lm->state;
    t->sites = t->base.sites;
    return sow_texts_split(t->base.texts, sow_int(call, "held-out"), (uint64_t)sow_int(call, "seed"), &t->train,
                           &t->held);
}

static sow_status open_network(sow_call *call, tuning *t) {
    sow_sites all;
    SOW_TRY(tuning_pretrain(call, sow_text(call, "base"), &t->model));
    t->state = t->model->state;
    SOW_TRY(sow_model_sites(call->arena, t->model, &all));
    SOW_TRY(sow_choose_sites(call->arena, &all, sow_text(call, "targets"), &t->sites));
    return tuning_data(sow_text(call, "data"), sow_text(call, "classes"), sow_int(call, "limit"), &t->data);
}

sow_status tuning_open(sow_call *call, tuning *out) {
    *out = (tuning){.arena = call->arena};
    SOW_TRY(sow_text(call, "model") ? open_language(call, out) : open_network(call, out));
    sow_state_train(out->state, false);
    return tuning_open_parts(out);
}

void tuning_close(tuning *t) {
    sow_feed_free(t->validation);
    sow_feed_free(t->test);
    sow_model_free(t->model);
    sow_data_free(t->data);
    sow_texts_free(t->train);
    sow_texts_free(t->held);
    base_model_close(&t->base);
}

sow_status tuning_recipe_of(const sow_call *call, tuning_recipe *out) {
    const char *rates = sow_text(call, "rates");
    *out = (tuning_recipe){.steps = sow_int(call, "steps"),
                           .batch = sow_int(call, "batch"),
                           .warmup = sow_real(call, "warmup"),
                           .seed = (uint64_t)sow_int(call, "seed")};
    out->evaluate_every = out->steps >= 300 ? out->steps / 30 : out->steps >= 50 ? out->steps / 10 : 1;
    SOW_TRY(sow_optimizer_parse(sow_text(call, "optimizer"), &out->optimizer));
    for (const char *at = rates;; at++) {
        char *end;
        double rate = strtod(at, &end);
        if (end == at || (*end && *end != ',') || !(rate > 0) || !isfinite(rate) || out->rate_count == TUNING_RATES_MAX)
            return sow_fail(SOW_E_ARGUMENT, "--rates '%s': expected at most %d numbers above 0, as 1e-3,3e-3", rates,
                            TUNING_RATES_MAX);
        out->rates[out->rate_count++] = rate;
        at = end;
        if (!*at) return SOW_OK;
    }
}

/* ---- one tuning ---- */

static sow_status attach(void *user, sow_tape *tape) {
    return user ? sow_adapter_attach(user, tape) : SOW_OK;
}

/* Evaluation i holds the mean over the steps since the one before. */
double tuning_early_loss(const tuning_outcome *o, int64_t steps) {
    double sum = 0;
    int64_t until = 0;
    for (int64_t i = 1; i < o->evaluations && (until == 0 || o->curve[i].step * 5 <= steps); i++) {
        sum += o->curve[i].train_loss * (double)(o->curve[i].step - o->curve[i - 1].step);
        until = o->curve[i].step;
    }
    return until > 0 ? sum / (double)until : NAN;
}

sow_status tuning_test(const tuning *t, sow_adapter *adapter, double *loss, double *accuracy) {
    sow_tape *tape;
    sow_tally sum;
    SOW_TRY(sow_tape_new(&tape));
    sow_status status = attach(adapter, tape);
    if (status == SOW_OK) status = sow_feed_evaluate(t->test, tape, &sum);
    sow_tape_free(tape);
    SOW_TRY(status);
    *loss = sum.loss / sum.examples;
    *accuracy = sum.correct / sum.examples;
    return SOW_OK;
}

static sow_status train(const tuning *t, sow_adapter *adapter, sow_training *training) {
    sow_task task = {.state = adapter ? adapter->state : t->state,
                     .validation = t->validation,
                     .identity = "",
                     .open = attach,
                     .user = adapter};
    const sow_feed_options order = {.batch = training->batch, .seed = training->seed, .shuffle = true};
    SOW_TRY(tuning_feed(t, &order, &task.train));
    sow_status status = sow_train_task(t->arena, training, &task);
    sow_feed_free(task.train);
    return status;
}

static sow_status tune(const tuning *t, sow_adapter *adapter, const tuning_recipe *r, tuning_outcome *out) {
    sow_training training = {
        .steps = r->steps,
        .batch = r->batch,
        .evaluate_every = r->evaluate_every,
        .optimizer = {.kind = r->optimizer, .rate = out->rate, .weight_decay = r->weight_decay},
        .schedule = {.kind = SOW_SCHEDULE_COSINE, .warmup = (int64_t)(r->warmup * (double)r->steps)},
        .seed = r->seed,
    };
    SOW_TRY(tuning_test(t, adapter, &out->start_loss, &out->accuracy));
    SOW_TRY(train(t, adapter, &training));
    out->curve = training.curve;
    out->evaluations = training.evaluations;
    out->early_loss = tuning_early_loss(out, r->steps);
    SOW_TRY(tuning_test(t, adapter, &out->test_loss, &out->accuracy));
    out->validation_loss = t->validation ? out->curve[out->evaluations - 1].validation_loss : out->test_loss;
    return SOW_OK;
}

sow_status tuning_run(tuning *t, sow_adapter *adapter, const tuning_recipe *recipe, tuning_outcome *outcomes,
                      int *best) {
    sow_state *trained = adapter ? adapter->state : t->state, *start;
    *best = 0;
    if (!adapter) sow_state_train(trained, true);
    SOW_TRY(sow_state_clone(trained, false, &start));
    sow_status status = SOW_OK;
    for (int i = 0; i < recipe->rate_count && status == SOW_OK; i++) {
        outcomes[i] = (tuning_outcome){.rate = recipe->rates[i]};
        status = tune(t, adapter, recipe, &outcomes[i]);
        if (status == SOW_OK) status = sow_state_assign(trained, start);
        if (outcomes[i].validation_loss < outcomes[*best].validation_loss) *best = i;
    }
    sow_state_free(start);
    if (!adapter) sow_state_train(trained, false);
    return status;
}

/* ---- results: language models have no accuracy, and no part for validation ---- */

static sow_status put_outcome(json_t *row, const tuning_outcome *o) {
    SOW_TRY(sow_put_known(row, "rate", o->rate));
    SOW_TRY(sow_put_known(row, "early_loss", o->early_loss));
    SOW_TRY(sow_put_known(row, "validation_loss", o->validation_loss));
    SOW_TRY(sow_put_known(row, "test_loss", o->test_loss));
    return sow_put_known(row, "accuracy", o->accuracy);
}

static sow_status put_evaluation(json_t *row, const sow_evaluation *e) {
    SOW_TRY(sow_put_count(row, "step", e->step));
    SOW_TRY(sow_put_known(row, "train_loss", e->train_loss));
    return sow_put_known(row, "validation_loss", e->validation_loss);
}

sow_status tuning_report(sow_call *call, const tuning_outcome *outcomes, int count, int best) {
    const tuning_outcome *o = &outcomes[best];
    json_t *result = call->result, *rates = json_array(), *curve = json_array();
    SOW_TRY(sow_put_known(result, "start_loss", o->start_loss));
    SOW_TRY(put_outcome(result, o));
    if (sow_text(call, "model")) SOW_TRY(sow_put_known(result, "perplexity", exp(o->test_loss)));
    SOW_TRY(sow_put_json(result, "rates", rates));
    SOW_TRY(sow_put_json(result, "curve", curve));
    for (int i = 0; i < count; i++) {
        json_t *row = json_object();
        SOW_TRY(sow_append_json(rates, row));
        SOW_TRY(put_outcome(row, &outcomes[i]));
    }
    for (int64_t i = 1; i < o->evaluations; i++) { /* before the first step there is no training loss */
        json_t *row = json_object();
        SOW_TRY(sow_append_json(curve, row));
        SOW_TRY(put_evaluation(row, &o->curve[i]));
    }
    return SOW_OK;
}

sow_status tuning_write(sow_call *call) {
    char *text;
    SOW_TRY(sow_json_text(call->arena, call->result, SOW_JSON_PRETTY, &text));
    SOW_TRY(sow_write_file(sow_text(call, "out"), text, strlen(text)));
    return sow_wrote(call, sow_text(call, "out"));
}
