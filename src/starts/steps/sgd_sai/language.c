/* Language models on texts: the gradients of all their weights. */
#include <math.h>
#include <string.h>

#include "nn/lm/base_model.h"
#include "sow/log.h"
#include "starts/steps/sgd_sai/sgd_sai.h"

typedef struct language {
    base_model base;
    sow_text_batches *batches;
} language;

static sow_var language_loss(sai_subject *s, sow_tape *t, int64_t batch, sow_tally *tally) {
    const language *l = s->own;
    sow_tokens tokens;
    sow_tensor labels;
    sow_status status = sow_text_batches_at(l->batches, batch, &tokens, &labels);
    if (status != SOW_OK) return sow_tape_fail(t, status);
    (void)tally; /* measured, never trained */
    return sow_lm_loss(t, l->base.lm, &tokens, labels, 0);
}

static void language_close(sai_subject *s) {
    language *l = s->own;
    sow_text_batches_free(l->batches);
    base_model_close(&l->base);
}

static sow_status open_texts(sai_subject *s, language *l) {
    sow_call *call = s->call;
    sow_resolve(call, "length", "256");
    SOW_TRY(base_data_open(call, &l->base));
    const sow_texts *texts = l->base.texts;
    s->data_name = texts->name;
    memcpy(s->data_sha256, texts->sha256, sizeof s->data_sha256);
    sow_resolve(call, "batch", "4");
    int64_t batch = sow_int(call, "batch");
    return sow_text_batches_new(texts, batch < texts->count ? batch : texts->count, (uint64_t)sow_int(call, "seed"),
                                true, &l->batches);
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
    static const sai_kind kind = {language_loss, NULL, language_close};
    language *l;
    *s = (sai_subject){.call = call};
    SOW_TRY(check_options(call));
    SOW_TRY(SOW_NEW(call->arena, l, 1));
    s->kind = &kind;
    s->own = l;
    SOW_TRY(base_lm_open(call, sow_lm_open, &l->base));
    sow_lm *lm = l->base.lm;
    s->model_name = l->base.inputs[0].name;
    memcpy(s->model_sha256, l->base.inputs[0].sha256, sizeof s->model_sha256);
    lm->recompute = sow_flag(call, "recompute");
    s->state = lm->state;
    s->heads = lm->config.heads;
    s->kv_heads = lm->config.kv_heads;
    SOW_TRY(open_texts(s, l));
    double weights = (double)sow_state_parameters(s->state);
    sow_note("%.3g parameters: about %.2g GB for them and their gradients", weights, 8e-9 * weights);
    return SOW_OK;
}
