/* The model and data whose gradients are measured: what all kinds share, and networks on images and tables. */
#include <string.h>

#include "sow/init.h"
#include "sow/safetensors.h"
#include "starts/steps/sgd_sai/sgd_sai.h"

enum { HELD_BATCH = 500 };

sow_status sai_fill_start(sai_subject *s, const char *scheme) {
    sow_call *call = s->call;
    const char *start = sow_text(call, "start");
    sow_rng rng;
    sow_init init;
    if (start && sow_given(call, "scheme")) return sow_fail(SOW_E_ARGUMENT, "--scheme and --start exclude each other");
    if (start) return sow_load_into(start, s->state);
    sow_resolve(call, "scheme", scheme);
    sow_status status = sow_init_parse(sow_text(call, "scheme"), &init);
    if (status != SOW_OK) return sow_fail_in(status, "--scheme");
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, (uint64_t)sow_int(call, "seed")));
    return sow_init_state(&rng, s->state, &init, NULL, 0);
}

sow_status sai_open(sow_call *call, sai_subject *s) {
    const char *arch = sow_text(call, "arch");
    *s = (sai_subject){.call = call};
    if (sow_text(call, "model")) return sai_open_language(s);
    static const char *const of_models[] = {"rank", "alpha", "targets", "recompute"};
    for (size_t i = 0; i < sizeof of_models / sizeof *of_models; i++)
        if (sow_given(call, of_models[i]))
            return sow_fail(SOW_E_ARGUMENT, "--%s belongs to language models (--model), not to --arch", of_models[i]);
    SOW_TRY(base_without_texts(call));
    return strncmp(arch, "gpt:", 4) == 0 ? sai_open_letters(s) : sai_open_network(s);
}

void sai_close(sai_subject *s) {
    sow_feed_free(s->train);
    sow_feed_free(s->validation);
    sow_model_free(s->model);
    sow_data_free(s->data);
    sow_lm_free(s->letters);
    sow_adapter_free(s->adapter);
    sow_texts_free(s->learn);
    sow_texts_free(s->held);
    base_model_close(&s->base);
}

/* ---- networks ---- */

/* The data's geometry; rows of a table are images where --input says so. */
static sow_status settle_geometry(const sow_call *call, const sow_data *data, sow_geometry *out) {
    sow_geometry asked;
    const sow_geometry *g = &data->geometry;
    sow_status status = sow_geometry_parse(sow_text(call, "input"), 0, &asked);
    if (status != SOW_OK) return sow_fail_in(status, "--input");
    *out = *g;
    if (asked.channels == 0) return SOW_OK;
    bool table = g->height == 1 && g->width == 1;
    if (asked.channels * asked.height * asked.width != g->channels * g->height * g->width ||
        (!table && (asked.channels != g->channels || asked.height != g->height)))
        return sow_fail(SOW_E_SHAPE, "%s has inputs of %lldx%lldx%lld, which is not what --input asks for", data->name,
                        (long long)g->channels, (long long)g->height, (long long)g->width);
    *out = (sow_geometry){asked.channels, asked.height, asked.width, g->classes};
    return SOW_OK;
}

static sow_status open_data(sai_subject *s) {
    sow_call *call = s->call;
    sow_data_options how = {.validation = sow_text(call, "val") ? sow_int(call, "val") : -1,
                            .data_seed = (uint64_t)sow_int(call, "data-seed"),
                            .label = sow_text(call, "label"),
                            .normalisation = sow_text(call, "normalisation")};
    if (!sow_text(call, "data")) return sow_fail(SOW_E_ARGUMENT, "missing --data, the data set of the network");
    SOW_TRY(sow_data_open(sow_text(call, "data"), &how, &s->data));
    s->data_name = s->data->name;
    memcpy(s->data_sha256, s->data->sha256, sizeof s->data_sha256);
    return SOW_OK;
}

static sow_status open_feeds(sai_subject *s) {
    sow_call *call = s->call;
    const sow_data *data = s->data;
    sow_resolve(call, "batch", "128");
    const sow_feed_options order = {.batch = sow_int(call, "batch"),
                                    .seed = (uint64_t)sow_int(call, "seed"),
                                    .shuffle = true},
                           held = {.batch = HELD_BATCH};
    if (order.batch > data->train.count)
        return sow_fail(SOW_E_RANGE, "--batch %lld, but %s has %lld examples for training", (long long)order.batch,
                        data->name, (long long)data->train.count);
    SOW_TRY(sow_feed_network(s->model, data, &data->train, &order, &s->train));
    if (data->validation.count == 0) return SOW_OK;
    return sow_feed_network(s->model, data, &data->validation, &held, &s->validation);
}

sow_status sai_open_network(sai_subject *s) {
    sow_call *call = s->call;
    sow_geometry geometry;
    SOW_TRY(open_data(s));
    SOW_TRY(settle_geometry(call, s->data, &geometry));
    sow_status status = sow_model_new(sow_text(call, "arch"), &geometry, &s->model);
    if (status == SOW_E_NOT_FOUND) return sow_fail_in(SOW_E_ARGUMENT, "--arch");
    SOW_TRY(status);
    s->model_name = s->model->arch;
    s->state = s->model->state;
    s->heads = strncmp(s->model->arch, "vit:", 4) == 0 ? s->model->widths[3] : 0;
    SOW_TRY(sai_fill_start(s, "torch-default"));
    return open_feeds(s);
}
