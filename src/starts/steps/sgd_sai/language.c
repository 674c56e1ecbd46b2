/* Language models on texts: the gradients of all their weights, or of a fresh adapter's. */
#include <math.h>
#include <string.h>

#include "sow/log.h"
#include "starts/steps/sgd_sai/sgd_sai.h"

enum { HELD_BATCH = 4 };

/* ---- options ---- */

/* Options of networks do nothing here. */
static sow_status check_options(sow_call *call) {
    static const char *const others[] = {"start", "scheme", "input", "label", "normalisation"}, *const of_adapters[] = {
                                                                                                    "alpha", "targets"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (sow_given(call, others[i]))
            return sow_fail(SOW_E_ARGUMENT, "--%s belongs to networks, not to --model", others[i]);
    for (int i = 0; i < 2 && !sow_text(call, "rank"); i++)
        if (sow_given(call, of_adapters[i]))
            return sow_fail(SOW_E_ARGUMENT, "--%s belongs to --rank, an adapter", of_adapters[i]);
    return sow_text(call, "data") ? SOW_OK : sow_fail(SOW_E_ARGUMENT, "missing --data, texts for the language model");
}

/* ---- texts ---- */

static sow_status open_texts(sai_subject *s) {
    sow_call *call = s->call;
    const sow_feed_options held = {.batch = HELD_BATCH};
    SOW_TRY(base_data_open(call, &s->base));
    const sow_texts *texts = s->base.texts;
    s->data_name = texts->name;
    memcpy(s->data_sha256, texts->sha256, sizeof s->data_sha256);
    if (sow_int(call, "val") > 0) {
        SOW_TRY(
            sow_texts_split(texts, sow_int(call, "val"), (uint64_t)sow_int(call, "data-seed"), &s->learn, &s->held));
        texts = s->learn;
        SOW_TRY(sow_feed_texts(s->base.lm, s->held, &held, &s->validation));
    }
    sow_resolve(call, "batch", "4");
    int64_t batch = sow_int(call, "batch");
    const sow_feed_options order = {
        .batch = batch < texts->count ? batch : texts->count, .seed = (uint64_t)sow_int(call, "seed"), .shuffle = true};
    return sow_feed_texts(s->base.lm, texts, &order, &s->train);
}

/* ---- what is trained ---- */

/* A Kaiming-uniform, B = 0: the gradient of A is B^T times something, so exactly 0 at the first step. */
static sow_status add_adapter(sai_subject *s) {
    sow_call *call = s->call;
    sow_sites all, sites;
    double rank = (double)sow_int(call, "rank"), alpha = sow_text(call, "alpha") ? sow_real(call, "alpha") : rank;
    sow_resolve(call, "targets", "all");
    SOW_TRY(sow_lm_sites(call->arena, s->base.lm, &all));
    SOW_TRY(sow_choose_sites(call->arena, &all, sow_text(call, "targets"), &sites));
    SOW_TRY(
        sow_adapter_make(SOW_START_LORA, &sites, (int64_t)rank, alpha, (uint64_t)sow_int(call, "seed"), &s->adapter));
    sow_state_train(s->state, false);
    s->state = s->adapter->state;
    s->heads = s->kv_heads = 0;
    return SOW_OK;
}

sow_status sai_open_language(sai_subject *s) {
    sow_call *call = s->call;
    SOW_TRY(check_options(call));
    SOW_TRY(base_lm_open(call, sow_lm_open, &s->base));
    sow_lm *lm = s->base.lm;
    s->model_name = s->base.inputs[0].name;
    memcpy(s->model_sha256, s->base.inputs[0].sha256, sizeof s->model_sha256);
    lm->recompute = sow_flag(call, "recompute");
    s->state = lm->state;
    s->heads = lm->config.heads;
    s->kv_heads = lm->config.kv_heads;
    double weights = (double)sow_state_parameters(s->state);
    if (sow_text(call, "rank")) SOW_TRY(add_adapter(s));
    SOW_TRY(open_texts(s));
    double measured = (double)sow_state_parameters(s->state);
    sow_note("%.3g weights, gradients of %.3g%s: about %.2g GB for them", weights, measured,
             s->adapter ? " in the adapter" : "", 4e-9 * (weights + (s->adapter ? 2 : 1) * measured));
    return SOW_OK;
}
