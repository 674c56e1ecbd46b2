/* EVA against other adapter starts: one tuning of the study. */
#include <math.h>
#include <string.h>

#include "sow/json.h"
#include "starts/adapters/eva/eva.h"
#include "starts/adapters/tuning.h"

const sow_option eva_simulate_options[] = {
    SOW_OPTION_CHOICE("adapter", "eva", "eva|lora|rslora|dora|orthonormal|pissa|olora|lora-xs|full",
                      "start of the adapter; full: none, the whole network is tuned"),
    SOW_OPTION_REAL("rho", "2", 1, 1000, "eva: how far ranks may grow"),
    SOW_OPTION_FLAG("whiten", "eva: divide rows of A by the root of their singular value"),
    SOW_OPTION_CHOICE("solver", "ipca", "ipca|gram", "eva: components in batches, or second moments"),
    SOW_OPTION_INT("svd-batch", NULL, 1, 1e6, "eva: examples of a batch; default 256, for --model 4"),
    SOW_OPTION_INT("max-batches", "100", 1, 1e9, "eva: batches at most"),
    TUNING_OPTIONS,
    {0},
};

static double alpha_of(const sow_call *call) {
    return sow_real(call, "alpha") > 0 ? sow_real(call, "alpha") : (double)sow_int(call, "rank");
}

static sow_status make_eva(sow_call *call, const tuning *t, sow_adapter **out) {
    sow_eva_config config = sow_eva_defaults();
    sow_eva_report report;
    sow_feed *feed;
    config.rank = sow_int(call, "rank");
    config.rho = sow_real(call, "rho");
    config.alpha = alpha_of(call);
    config.whiten = sow_flag(call, "whiten");
    config.max_batches = sow_int(call, "max-batches");
    config.seed = (uint64_t)sow_int(call, "seed");
    if (!strcmp(sow_text(call, "solver"), "gram")) config.solver = SOW_EVA_GRAM;
    sow_resolve(call, "svd-batch", t->model ? "256" : "4");
    const sow_feed_options order = {
        .batch = sow_int(call, "svd-batch"), .seed = config.seed, .shuffle = true, .answers = true};
    SOW_TRY(tuning_feed(t, &order, &feed));
    sow_status status = sow_eva(&config, &t->sites, feed, call->arena, out, &report);
    sow_feed_free(feed);
    SOW_TRY(status);
    SOW_TRY(sow_put_count(call->result, "budget", report.budget));
    SOW_TRY(sow_put_count(call->result, "batches", report.batches));
    return sow_put_flag(call->result, "settled", report.converged);
}

static sow_status make_adapter(sow_call *call, const tuning *t, sow_adapter **out) {
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
static sow_status gradient_of_b(sow_adapter *adapter, sow_tape *tape, sow_feed *feed, json_t *layers, double *norm) {
    sow_tally tally = {0};
    double sum = 0;
    SOW_TRY(sow_state_add_gradients(adapter->state));
    SOW_TRY(sow_adapter_attach(adapter, tape));
    sow_fresh_gradients(adapter->state);
    SOW_TRY(sow_tape_backward(tape, sow_feed_loss(feed, tape, 0, 0, &tally)));
    for (int64_t i = 0; i < adapter->count; i++) {
        sow_tensor g = adapter->layers[i].b->grad;
        double square = 0;
        for (int64_t k = 0; g.data && k < sow_count(g); k++) square += sow_at(g, k) * sow_at(g, k);
        SOW_TRY(sow_append_json(layers, json_real(sqrt(square))));
        sum += square;
    }
    *norm = sqrt(sum);
    return SOW_OK;
}

static sow_status report_gradient(sow_call *call, const tuning *t, sow_adapter *adapter) {
    sow_tape *tape;
    sow_feed *feed;
    double norm = 0;
    json_t *layers = json_array();
    SOW_TRY(sow_put_json(call->result, "gradient_of_b_by_layer", layers));
    SOW_TRY(tuning_feed(t, &(sow_feed_options){.batch = 512}, &feed));
    sow_status status = sow_tape_new(&tape);
    if (status == SOW_OK) {
        status = gradient_of_b(adapter, tape, feed, layers, &norm);
        sow_tape_free(tape);
    }
    sow_feed_free(feed);
    SOW_TRY(status);
    SOW_TRY(sow_put_real(call->result, "gradient_of_b", norm));
    for (int64_t i = 0; i < adapter->count && i < 8; i++) {
        char key[40];
        snprintf(key, sizeof key, "gradient_of_b_%lld", (long long)i + 1);
        SOW_TRY(sow_put_json(call->result, key, json_incref(json_array_get(layers, (size_t)i))));
    }
    return SOW_OK;
}

static sow_status report_adapter(sow_call *call, const sow_adapter *adapter) {
    int64_t ranks = 0;
    for (int64_t i = 0; i < adapter->count; i++) ranks += adapter->layers[i].rank;
    SOW_TRY(sow_put_count(call->result, "trained", sow_adapter_trained(adapter)));
    return sow_put_count(call->result, "ranks", ranks);
}

/* ---- all of it ---- */

/* The test loss of the base, before a start (PiSSA, OLoRA) shifts its weights; of a language model that would take too long. */
static sow_status measure_base(sow_call *call, const tuning *t, double *loss) {
    double accuracy;
    *loss = NAN;
    if (!t->model) return SOW_OK;
    SOW_TRY(tuning_test(t, NULL, loss, &accuracy));
    return sow_put_real(call->result, "base_loss", *loss);
}

static sow_status tune(sow_call *call, tuning *t, sow_adapter *adapter, double loss) {
    tuning_recipe recipe;
    tuning_outcome *outcomes;
    int best;
    SOW_TRY(tuning_recipe_of(call, &recipe));
    SOW_TRY(SOW_NEW(call->arena, outcomes, recipe.rate_count));
    if (adapter) SOW_TRY(report_adapter(call, adapter));
    if (adapter && !adapter->layers[0].core && t->model) SOW_TRY(report_gradient(call, t, adapter));
    SOW_TRY(tuning_run(t, adapter, &recipe, outcomes, &best));
    SOW_TRY(sow_put_known(call->result, "start_gap", fabs(outcomes[best].start_loss - loss)));
    return tuning_report(call, outcomes, recipe.rate_count, best);
}

static sow_status run(sow_call *call, tuning *t) {
    sow_adapter *adapter;
    double base;
    SOW_TRY(tuning_open(call, t));
    SOW_TRY(measure_base(call, t, &base));
    SOW_TRY(make_adapter(call, t, &adapter));
    sow_status status = tune(call, t, adapter, base);
    sow_adapter_free(adapter);
    return status;
}

sow_status eva_simulate(sow_call *call) {
    tuning t = {0};
    if (sow_flag(call, "pretrain-only")) return tuning_write_base(call);
    SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    sow_status status = run(call, &t);
    tuning_close(&t);
    return status == SOW_OK ? tuning_write(call) : status;
}
