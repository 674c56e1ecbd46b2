/* The model and data whose gradients are measured: what all kinds share, and networks on images and tables. */
#include <string.h>

#include "sow/init.h"
#include "sow/safetensors.h"
#include "starts/steps/sgd_sai/sgd_sai.h"

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
    return strncmp(arch, "gpt:", 4) == 0 ? sai_open_letters(s) : sai_open_network(s);
}

void sai_close(sai_subject *s) {
    if (s->own) s->kind->close(s);
    s->own = NULL;
}

sow_var sai_loss(void *user, sow_tape *t, int64_t batch) {
    sai_subject *s = user;
    sow_tally tally = {0};
    return s->kind->loss(s, t, batch, &tally);
}

/* ---- networks ---- */

typedef struct network {
    sow_model *model;
    sow_data *data;
    sow_batches *batches;
} network;

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

static sow_status open_data(sai_subject *s, sow_data **data) {
    sow_call *call = s->call;
    sow_data_options how = {.validation = sow_text(call, "val") ? sow_int(call, "val") : -1,
                            .data_seed = (uint64_t)sow_int(call, "data-seed"),
                            .label = sow_text(call, "label"),
                            .normalisation = sow_text(call, "normalisation")};
    if (!sow_text(call, "data")) return sow_fail(SOW_E_ARGUMENT, "missing --data, the data set of the network");
    SOW_TRY(sow_data_open(sow_text(call, "data"), &how, data));
    s->data_name = (*data)->name;
    s->has_validation = (*data)->validation.count > 0;
    memcpy(s->data_sha256, (*data)->sha256, sizeof s->data_sha256);
    return SOW_OK;
}

static sow_var network_loss(sai_subject *s, sow_tape *t, int64_t batch, sow_tally *tally) {
    const network *n = s->own;
    sow_tensor inputs, labels;
    sow_status status = sow_batches_at(n->batches, batch, &inputs, &labels);
    if (status != SOW_OK) return sow_tape_fail(t, status);
    sow_var logits = n->model->forward(t, s->state, n->model, sow_constant(t, inputs)),
            loss = sow_softmax_cross_entropy(t, logits, labels);
    if (!loss) return NULL;
    tally->examples += (double)labels.shape[0];
    tally->loss += sow_scalar(loss) * (double)labels.shape[0];
    return loss;
}

static sow_status network_evaluate(sai_subject *s, sow_tape *t, sow_tally *tally) {
    const network *n = s->own;
    double loss, accuracy, examples = (double)n->data->validation.count;
    SOW_TRY(sow_evaluate(t, n->model, n->data, &n->data->validation, &loss, &accuracy));
    *tally = (sow_tally){.loss = loss * examples, .correct = accuracy * examples, .examples = examples};
    return SOW_OK;
}

static void network_close(sai_subject *s) {
    network *n = s->own;
    sow_batches_free(n->batches);
    sow_model_free(n->model);
    sow_data_free(n->data);
}

sow_status sai_open_network(sai_subject *s) {
    static const sai_kind kind = {network_loss, network_evaluate, network_close};
    sow_call *call = s->call;
    sow_geometry geometry;
    network *n;
    SOW_TRY(SOW_NEW(call->arena, n, 1));
    s->kind = &kind;
    s->own = n;
    SOW_TRY(open_data(s, &n->data));
    SOW_TRY(settle_geometry(call, n->data, &geometry));
    sow_status status = sow_model_new(sow_text(call, "arch"), &geometry, &n->model);
    if (status == SOW_E_NOT_FOUND) return sow_fail_in(SOW_E_ARGUMENT, "--arch");
    SOW_TRY(status);
    s->model_name = n->model->arch;
    s->state = n->model->state;
    s->heads = strncmp(n->model->arch, "vit:", 4) == 0 ? n->model->widths[3] : 0;
    SOW_TRY(sai_fill_start(s, "torch-default"));
    sow_resolve(call, "batch", "128");
    int64_t batch = sow_int(call, "batch");
    if (batch > n->data->train.count)
        return sow_fail(SOW_E_RANGE, "--batch %lld, but %s has %lld examples for training", (long long)batch,
                        n->data->name, (long long)n->data->train.count);
    return sow_batches_new(n->data, &n->data->train, batch, (uint64_t)sow_int(call, "seed"), true, SOW_AUGMENT_NONE,
                           &n->batches);
}
