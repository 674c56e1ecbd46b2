/* Language models on texts: the gradients of all their weights. */
#include <math.h>
#include <string.h>

#include "sow/log.h"
#include "starts/steps/sgd_sai/sgd_sai.h"

static sow_status open_texts(sai_subject *s) {
    sow_call *call = s->call;
    sow_resolve(call, "length", "256");
    SOW_TRY(base_data_open(call, &s->base));
    const sow_texts *texts = s->base.texts;
    s->data_name = texts->name;
    memcpy(s->data_sha256, texts->sha256, sizeof s->data_sha256);
    sow_resolve(call, "batch", "4");
    int64_t batch = sow_int(call, "batch");
    const sow_feed_options order = {
        .batch = batch < texts->count ? batch : texts->count, .seed = (uint64_t)sow_int(call, "seed"), .shuffle = true};
    return sow_feed_texts(s->base.lm, texts, &order, &s->train);
}

/* Options of networks do nothing here. */
static sow_status check_options(const sow_call *call) {
    static const char *const others[] = {"arch", "start", "scheme", "input", "label", "normalisation", "val"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (sow_given(call, others[i]))
            return sow_fail(SOW_E_ARGUMENT, "--%s belongs to networks, not to --model", others[i]);
    return sow_text(call, "data") ? SOW_OK : sow_fail(SOW_E_ARGUMENT, "missing --data, texts for the language model");
}

sow_status sai_open_language(sow_call *call, sai_subject *s) {
    *s = (sai_subject){.call = call};
    SOW_TRY(check_options(call));
    SOW_TRY(base_lm_open(call, sow_lm_open, &s->base));
    sow_lm *lm = s->base.lm;
    s->model_name = s->base.inputs[0].name;
    memcpy(s->model_sha256, s->base.inputs[0].sha256, sizeof s->model_sha256);
    lm->recompute = sow_flag(call, "recompute");
    s->state = lm->state;
    s->heads = lm->config.heads;
    s->kv_heads = lm->config.kv_heads;
    SOW_TRY(open_texts(s));
    double weights = (double)sow_state_parameters(s->state);
    sow_note("%.3g parameters: about %.2g GB for them and their gradients", weights, 8e-9 * weights);
    return SOW_OK;
}
