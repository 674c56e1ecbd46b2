/* EVA against other adapter starts on a small network: one tuning of the study. */
#include <math.h>
#include <string.h>

#include "sow/tune.h"
#include "nn/lm/base_model.h"
#include "starts/adapters/eva/eva.h"
#include "starts/adapters/tuning.h"

const sow_option eva_simulate_options[] = {
    SOW_OPTION_CHOICE("adapter", "eva", "eva|lora|rslora|dora|orthonormal|pissa|olora|lora-xs|full",
                      "start of the adapter; full: none, the whole network is tuned"),
    SOW_OPTION_REAL("rho", "2", 1, 1000, "eva: how far ranks may grow"),
    SOW_OPTION_FLAG("whiten", "eva: divide rows of A by the root of their singular value"),
    SOW_OPTION_CHOICE("solver", "ipca", "ipca|gram", "eva: components in batches, or second moments"),
    SOW_OPTION_INT("svd-batch", "256", 1, 1e6, "eva: examples of a batch"),
    SOW_OPTION_INT("max-batches", "100", 1, 1e9, "eva: batches at most"),
    SOW_OPTION_TEXT("model", NULL, "a language model instead of a network; --data is text then"),
    BASE_TEXT_OPTIONS,
    SOW_OPTION_INT("held-out", "200", 1, 1e9, "--model: sequences on which it is scored"),
    TUNING_OPTIONS,
    {0},
};

static double alpha_of(const sow_call *call) {
    return sow_real(call, "alpha") > 0 ? sow_real(call, "alpha") : (double)sow_int(call, "rank");
}

static sow_status make_eva(sow_call *call, const sow_sites *sites, const sow_eva_source *source, sow_adapter **out) {
    sow_eva_config config = sow_eva_defaults();
    sow_eva_report report;
    config.rank = sow_int(call, "rank");
    config.rho = sow_real(call, "rho");
    config.alpha = alpha_of(call);
    config.whiten = sow_flag(call, "whiten");
    config.max_batches = sow_int(call, "max-batches");
    config.seed = (uint64_t)sow_int(call, "seed");
    if (!strcmp(sow_text(call, "solver"), "gram")) config.solver = SOW_EVA_GRAM;
    SOW_TRY(sow_eva(&config, sites, source, call->arena, out, &report));
    int failed = json_object_set_new(call->result, "budget", json_integer(report.budget));
    failed |= json_object_set_new(call->result, "batches", json_integer(report.batches));
    failed |= json_object_set_new(call->result, "settled", json_boolean(report.converged));
    return failed ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

static sow_status make_adapter(sow_call *call, const sow_sites *sites, const sow_eva_source *source,
                               sow_adapter **out) {
    const char *name = sow_text(call, "adapter");
    sow_adapter_start start;
    *out = NULL;
    if (!strcmp(name, "full")) return SOW_OK;
    if (!strcmp(name, "eva")) return make_eva(call, sites, source, out);
    SOW_TRY(sow_adapter_start_parse(name, &start));
    return sow_adapter_make(start, sites, sow_int(call, "rank"), alpha_of(call), (uint64_t)sow_int(call, "seed"), out);
}

/* ---- the gradient of B before the first step ---- */

/* Adds up ||dL/dB||_F^2 over the layers, on the training batch. */
static sow_status gradient_of_b(const tuning *t, sow_adapter *adapter, sow_tape *tape, sow_batches *batches,
                                json_t *layers, double *norm) {
    sow_tensor inputs, labels;
    double sum = 0;
    SOW_TRY(sow_state_add_gradients(adapter->state));
    SOW_TRY(sow_adapter_attach(adapter, tape));
    SOW_TRY(sow_batches_at(batches, 0, &inputs, &labels));
    sow_fresh_gradients(adapter->state);
    sow_var y = t->model->forward(tape, t->model->state, t->model, sow_constant(tape, inputs));
    SOW_TRY(sow_tape_backward(tape, sow_softmax_cross_entropy(tape, y, labels)));
    for (int64_t i = 0; i < adapter->count; i++) {
        sow_tensor g = adapter->layers[i].b->grad;
        double square = 0;
        for (int64_t k = 0; g.data && k < sow_count(g); k++) square += sow_at(g, k) * sow_at(g, k);
        if (json_array_append_new(layers, json_real(sqrt(square)))) return sow_fail(SOW_E_MEMORY, "out of memory");
        sum += square;
    }
    *norm = sqrt(sum);
    return SOW_OK;
}

static sow_status report_gradient(sow_call *call, const tuning *t, sow_adapter *adapter) {
    sow_tape *tape;
    sow_batches *batches;
    double norm = 0;
    json_t *layers = json_array();
    SOW_TRY(sow_batches_new(t->data, &t->data->train, 512 < t->data->train.count ? 512 : t->data->train.count, 0, false,
                            SOW_AUGMENT_NONE, &batches));
    sow_status status = sow_tape_new(&tape);
    if (status == SOW_OK) {
        status = gradient_of_b(t, adapter, tape, batches, layers, &norm);
        sow_tape_free(tape);
    }
    sow_batches_free(batches);
    if (json_object_set_new(call->result, "gradient_of_b_by_layer", layers) ||
        json_object_set_new(call->result, "gradient_of_b", json_real(norm)))
        return sow_fail(SOW_E_MEMORY, "out of memory");
    for (int64_t i = 0; i < adapter->count && i < 8; i++) {
        char key[40];
        snprintf(key, sizeof key, "gradient_of_b_%lld", (long long)i + 1);
        if (json_object_set_new(call->result, key, json_incref(json_array_get(layers, (size_t)i))))
            return sow_fail(SOW_E_MEMORY, "out of memory");
    }
    return status;
}

static sow_status report_adapter(sow_call *call, const sow_adapter *adapter) {
    int64_t ranks = 0;
    for (int64_t i = 0; i < adapter->count; i++) ranks += adapter->layers[i].rank;
    int failed = json_object_set_new(call->result, "trained", json_integer(sow_adapter_trained(adapter)));
    failed |= json_object_set_new(call->result, "ranks", json_integer(ranks));
    return failed ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

/* ---- all of it ---- */

/* The test loss of the base, before a start (PiSSA, OLoRA) shifts its weights. */
static sow_status measure_base(sow_call *call, tuning *t, double *loss) {
    double accuracy;
    sow_tape *tape;
    SOW_TRY(sow_tape_new(&tape));
    sow_status status = sow_evaluate(tape, t->model, t->data, &t->data->test, loss, &accuracy);
    sow_tape_free(tape);
    SOW_TRY(status);
    return json_object_set_new(call->result, "base_loss", json_real(*loss)) ? sow_fail(SOW_E_MEMORY, "out of memory")
                                                                            : SOW_OK;
}

static sow_status tune(sow_call *call, tuning *t, sow_adapter *adapter, double loss) {
    tuning_recipe recipe;
    tuning_outcome *outcomes;
    int best;
    SOW_TRY(tuning_recipe_of(call, &recipe));
    SOW_TRY(SOW_NEW(call->arena, outcomes, recipe.rate_count));
    if (adapter) SOW_TRY(report_adapter(call, adapter));
    if (adapter && !adapter->layers[0].core) SOW_TRY(report_gradient(call, t, adapter));
    SOW_TRY(tuning_run(t, adapter, &recipe, outcomes, &best));
    if (json_object_set_new(call->result, "start_gap", json_real(fabs(outcomes[best].start_loss - loss))))
        return sow_fail(SOW_E_MEMORY, "out of memory");
    return tuning_report(call, outcomes, recipe.rate_count, best);
}

static sow_status simulate_images(sow_call *call, tuning *t) {
    sow_batches *batches;
    sow_adapter *adapter;
    double base;
    SOW_TRY(measure_base(call, t, &base));
    SOW_TRY(sow_batches_new(t->data, &t->data->train, sow_int(call, "svd-batch"), (uint64_t)sow_int(call, "seed"), true,
                            SOW_AUGMENT_NONE, &batches));
    sow_eva_images from = {t->model, batches};
    sow_eva_source source = {sow_eva_images_forward, sow_batches_per_epoch(batches), &from};
    sow_status status = make_adapter(call, &t->sites, &source, &adapter);
    sow_batches_free(batches);
    SOW_TRY(status);
    status = tune(call, t, adapter, base);
    sow_adapter_free(adapter);
    return status;
}

/* ---- a language model ---- */

static sow_status held_loss(sow_lm *lm, const sow_texts *held, sow_adapter *adapter, double *loss) {
    sow_tape *tape;
    int64_t counted = 0;
    SOW_TRY(sow_tape_new(&tape));
    sow_status status = adapter ? sow_adapter_attach(adapter, tape) : SOW_OK;
    if (status == SOW_OK) status = sow_lm_evaluate(tape, lm, held, 8, loss, &counted);
    sow_tape_free(tape);
    if (status == SOW_OK) *loss /= (double)counted;
    return status;
}

static sow_status tune_lm(sow_call *call, base_model *base, const sow_texts *train, const sow_texts *held,
                          sow_adapter *adapter, tuning_outcome *o) {
    tuning_recipe r;
    sow_lm_task *task;
    SOW_TRY(tuning_recipe_of(call, &r));
    sow_tuning what = {.lm = base->lm, .adapter = adapter, .train = train, .batch = r.batch, .seed = r.seed};
    sow_training training = {.steps = r.steps,
                             .batch = r.batch,
                             .evaluate_every = r.evaluate_every,
                             .optimizer = {.kind = r.optimizer, .rate = r.rates[0]},
                             .schedule = {.kind = SOW_SCHEDULE_COSINE, .warmup = (int64_t)(r.warmup * (double)r.steps)},
                             .seed = r.seed};
    o->rate = r.rates[0];
    SOW_TRY(held_loss(base->lm, held, adapter, &o->start_loss));
    SOW_TRY(sow_lm_task_new(&what, &task));
    sow_status status = sow_train_task(call->arena, &training, sow_lm_task_of(task));
    sow_lm_task_free(task);
    SOW_TRY(status);
    o->curve = training.curve;
    o->evaluations = training.evaluations;
    o->early_loss = tuning_early_loss(o, r.steps);
    SOW_TRY(held_loss(base->lm, held, adapter, &o->test_loss));
    json_t *row = json_pack("{s:f, s:f, s:f, s:f, s:f}", "start_loss", o->start_loss, "rate", o->rate, "early_loss",
                            o->early_loss, "test_loss", o->test_loss, "perplexity", exp(o->test_loss));
    int failed = !row || json_object_update(call->result, row);
    json_decref(row);
    return failed ? sow_fail(SOW_E_MEMORY, "out of memory, or a loss that is not finite") : SOW_OK;
}

static sow_status start_lm(sow_call *call, base_model *base, const sow_texts *train, const sow_texts *held) {
    sow_text_batches *batches;
    sow_adapter *adapter;
    tuning_outcome outcome = {0};
    int64_t size = sow_given(call, "svd-batch") ? sow_int(call, "svd-batch") : 4;
    SOW_TRY(sow_text_batches_new(train, size, (uint64_t)sow_int(call, "seed"), true, &batches));
    sow_eva_texts from = {.lm = base->lm, .batches = batches, .label_mask = true, .arena = call->arena};
    sow_eva_source source = {sow_eva_texts_forward, sow_text_batches_per_epoch(batches), &from};
    sow_status status = make_adapter(call, &base->sites, &source, &adapter);
    sow_text_batches_free(batches);
    SOW_TRY(status);
    if (adapter) status = report_adapter(call, adapter);
    if (status == SOW_OK) status = tune_lm(call, base, train, held, adapter, &outcome);
    sow_adapter_free(adapter);
    return status;
}

static sow_status simulate_lm(sow_call *call) {
    base_model base;
    sow_texts *train = NULL, *held = NULL;
    sow_status status = base_model_open(call, &base);
    if (status == SOW_OK) {
        sow_state_train(base.lm->state, false);
        status = sow_texts_split(base.texts, sow_int(call, "held-out"), (uint64_t)sow_int(call, "seed"), &train, &held);
    }
    if (status == SOW_OK) status = start_lm(call, &base, train, held);
    sow_texts_free(train);
    sow_texts_free(held);
    base_model_close(&base);
    return status == SOW_OK ? tuning_write(call) : status;
}

sow_status eva_simulate(sow_call *call) {
    tuning t;
    if (sow_flag(call, "pretrain-only")) return tuning_write_base(call);
    SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    if (sow_text(call, "model")) return simulate_lm(call);
    SOW_TRY(tuning_open(call, &t));
    sow_status status = simulate_images(call, &t);
    tuning_close(&t);
    return status == SOW_OK ? tuning_write(call) : status;
}
