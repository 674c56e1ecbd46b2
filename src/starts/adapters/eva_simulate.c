/* EVA against other adapter starts on a small network: one tuning of the study. */
#include <math.h>
#include <string.h>

#include "starts/adapters/eva.h"
#include "starts/adapters/tuning.h"

const sow_option eva_simulate_options[] = {
    SOW_OPTION_CHOICE("adapter", "eva", "eva|lora|rslora|dora|orthonormal|pissa|olora|lora-xs|full",
                      "start of the adapter; full: none, the whole network is tuned"),
    SOW_OPTION_REAL("rho", "2", 1, 1000, "eva: how far ranks may grow"),
    SOW_OPTION_FLAG("whiten", "eva: divide rows of A by the root of their singular value"),
    SOW_OPTION_CHOICE("solver", "ipca", "ipca|gram", "eva: components in batches, or second moments"),
    SOW_OPTION_INT("svd-batch", "256", 1, 1e6, "eva: examples of a batch"),
    SOW_OPTION_INT("max-batches", "100", 1, 1e9, "eva: batches at most"),
    TUNING_OPTIONS,
    {0},
};

static double alpha_of(const sow_call *call) {
    return sow_real(call, "alpha") > 0 ? sow_real(call, "alpha") : (double)sow_int(call, "rank");
}

static sow_status make_eva(sow_call *call, tuning *t, sow_adapter **out) {
    sow_eva_config config = sow_eva_defaults();
    sow_eva_report report;
    sow_batches *batches;
    config.rank = sow_int(call, "rank");
    config.rho = sow_real(call, "rho");
    config.alpha = alpha_of(call);
    config.whiten = sow_flag(call, "whiten");
    config.max_batches = sow_int(call, "max-batches");
    config.seed = (uint64_t)sow_int(call, "seed");
    if (!strcmp(sow_text(call, "solver"), "gram")) config.solver = SOW_EVA_GRAM;
    SOW_TRY(sow_batches_new(t->data, &t->data->train, sow_int(call, "svd-batch"), config.seed, true, SOW_AUGMENT_NONE,
                            &batches));
    sow_eva_images from = {t->model, batches};
    sow_eva_source source = {sow_eva_images_forward, sow_batches_per_epoch(batches), &from};
    sow_status status = sow_eva(&config, &t->sites, &source, call->arena, out, &report);
    sow_batches_free(batches);
    SOW_TRY(status);
    int failed = json_object_set_new(call->result, "budget", json_integer(report.budget));
    failed |= json_object_set_new(call->result, "batches", json_integer(report.batches));
    failed |= json_object_set_new(call->result, "settled", json_boolean(report.converged));
    return failed ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

static sow_status make_adapter(sow_call *call, tuning *t, sow_adapter **out) {
    const char *name = sow_text(call, "adapter");
    sow_adapter_start start;
    *out = NULL;
    if (!strcmp(name, "full")) return SOW_OK;
    if (!strcmp(name, "eva")) return make_eva(call, t, out);
    SOW_TRY(sow_adapter_start_parse(name, &start));
    return sow_adapter_make(start, &t->sites, sow_int(call, "rank"), alpha_of(call), (uint64_t)sow_int(call, "seed"),
                            out);
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

static sow_status tune(sow_call *call, tuning *t, sow_adapter *adapter) {
    tuning_recipe recipe;
    tuning_outcome *outcomes;
    double loss, accuracy;
    int best;
    sow_tape *tape;
    SOW_TRY(tuning_recipe_of(call, &recipe));
    SOW_TRY(SOW_NEW(call->arena, outcomes, recipe.rate_count));
    SOW_TRY(sow_tape_new(&tape));
    sow_status status = sow_evaluate(tape, t->model, t->data, &t->data->test, &loss, &accuracy);
    sow_tape_free(tape);
    SOW_TRY(status);
    if (json_object_set_new(call->result, "base_loss", json_real(loss))) return sow_fail(SOW_E_MEMORY, "out of memory");
    if (adapter) SOW_TRY(report_adapter(call, adapter));
    if (adapter && !adapter->layers[0].core) SOW_TRY(report_gradient(call, t, adapter));
    SOW_TRY(tuning_run(t, adapter, &recipe, outcomes, &best));
    return tuning_report(call, outcomes, recipe.rate_count, best);
}

sow_status eva_simulate(sow_call *call) {
    tuning t;
    sow_adapter *adapter = NULL;
    if (sow_flag(call, "pretrain-only")) return tuning_write_base(call);
    SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    SOW_TRY(tuning_open(call, &t));
    sow_status status = make_adapter(call, &t, &adapter);
    if (status == SOW_OK) status = tune(call, &t, adapter);
    sow_adapter_free(adapter);
    tuning_close(&t);
    return status == SOW_OK ? tuning_write(call) : status;
}
