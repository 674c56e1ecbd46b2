/* The model and data whose first gradient is measured: networks on images and tables. */
#include <string.h>

#include "sow/init.h"
#include "sow/safetensors.h"
#include "starts/steps/sgd_sai.h"

static sow_status fill_start(sai_subject *s) {
    sow_call *call = s->call;
    const char *start = sow_text(call, "start");
    sow_rng rng;
    sow_init init;
    if (start) {
        if (sow_given(call, "scheme")) return sow_fail(SOW_E_ARGUMENT, "--scheme and --start exclude each other");
        sow_resolve(call, "scheme", NULL);
        return sow_load_into(start, s->state);
    }
    sow_resolve(call, "scheme", "torch-default");
    sow_status status = sow_init_parse(sow_text(call, "scheme"), &init);
    if (status != SOW_OK) return sow_fail_in(status, "--scheme");
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, (uint64_t)sow_int(call, "seed")));
    return sow_init_state(&rng, s->state, &init, NULL, 0);
}

/* The data's geometry; rows of a table are images where --input says so. */
static sow_status settle_geometry(const sai_subject *s, sow_geometry *out) {
    sow_geometry asked;
    const sow_geometry *g = &s->data->geometry;
    sow_status status = sow_geometry_parse(sow_text(s->call, "input"), 0, &asked);
    if (status != SOW_OK) return sow_fail_in(status, "--input");
    *out = *g;
    if (asked.channels == 0) return SOW_OK;
    bool table = g->height == 1 && g->width == 1;
    if (asked.channels * asked.height * asked.width != g->channels * g->height * g->width ||
        (!table && (asked.channels != g->channels || asked.height != g->height)))
        return sow_fail(SOW_E_SHAPE, "%s has inputs of %lldx%lldx%lld, which is not what --input asks for",
                        s->data->name, (long long)g->channels, (long long)g->height, (long long)g->width);
    *out = (sow_geometry){asked.channels, asked.height, asked.width, g->classes};
    return SOW_OK;
}

static sow_status open_network(sai_subject *s) {
    sow_call *call = s->call;
    sow_data_options how = {.validation = sow_text(call, "val") ? sow_int(call, "val") : -1,
                            .data_seed = (uint64_t)sow_int(call, "data-seed"),
                            .label = sow_text(call, "label"),
                            .normalisation = sow_text(call, "normalisation")};
    sow_geometry geometry;
    SOW_TRY(sow_data_open(sow_text(call, "data"), &how, &s->data));
    s->data_name = s->data->name;
    s->data_sha256 = s->data->sha256;
    SOW_TRY(settle_geometry(s, &geometry));
    sow_status status = sow_model_new(sow_text(call, "arch"), &geometry, &s->model);
    if (status == SOW_E_NOT_FOUND) return sow_fail_in(SOW_E_ARGUMENT, "--arch");
    SOW_TRY(status);
    s->model_name = s->model->arch;
    s->state = s->model->state;
    SOW_TRY(fill_start(s));
    sow_resolve(call, "batch", "128");
    int64_t batch = sow_int(call, "batch");
    if (batch > s->data->train.count)
        return sow_fail(SOW_E_RANGE, "--batch %lld, but %s has %lld examples for training", (long long)batch,
                        s->data->name, (long long)s->data->train.count);
    return sow_batches_new(s->data, &s->data->train, batch, (uint64_t)sow_int(call, "seed"), true, SOW_AUGMENT_NONE,
                           &s->batches);
}

sow_status sai_open(sow_call *call, sai_subject *s) {
    *s = (sai_subject){.call = call};
    return open_network(s);
}

void sai_close(sai_subject *s) {
    sow_batches_free(s->batches);
    sow_model_free(s->model);
    sow_data_free(s->data);
}

sow_var sai_loss(void *user, sow_tape *t, int64_t batch) {
    const sai_subject *s = user;
    sow_tensor inputs, labels;
    sow_status status = sow_batches_at(s->batches, batch, &inputs, &labels);
    if (status != SOW_OK) return sow_tape_fail(t, status);
    return sow_softmax_cross_entropy(t, s->model->forward(t, s->state, s->model, sow_constant(t, inputs)), labels);
}

void sai_heads(const sai_subject *s, int64_t *heads, int64_t *kv_heads) {
    *heads = s->model && strncmp(s->model->arch, "vit:", 4) == 0 ? s->model->widths[3] : 0;
    *kv_heads = 0;
}
