/* Language models on texts: the gradients of all their weights. */
#include <math.h>
#include <string.h>

#include "nn/lm/open.h"
#include "sow/file.h"
#include "sow/log.h"
#include "sow/texts.h"
#include "starts/steps/sgd_sai/sgd_sai.h"

typedef struct language {
    sow_lm *lm;
    sow_tokenizer *tokenizer;
    sow_texts *texts;
    sow_text_batches *batches;
} language;

static sow_var language_loss(sai_subject *s, sow_tape *t, int64_t batch, sow_tally *tally) {
    const language *l = s->own;
    sow_tokens tokens;
    sow_tensor labels;
    sow_status status = sow_text_batches_at(l->batches, batch, &tokens, &labels);
    if (status != SOW_OK) return sow_tape_fail(t, status);
    (void)tally; /* measured, never trained */
    return sow_lm_loss(t, l->lm, &tokens, labels, 0);
}

static void language_close(sai_subject *s) {
    language *l = s->own;
    sow_text_batches_free(l->batches);
    sow_texts_free(l->texts);
    sow_tokenizer_free(l->tokenizer);
    sow_lm_free(l->lm);
}

static sow_status hash_model(sai_subject *s, const char *path) {
    lm_place place;
    SOW_TRY(lm_locate(s->call->arena, path, &place));
    s->model_name = sow_arena_copy(s->call->arena, sow_path_exists(path) ? sow_path_name(path) : path);
    if (!s->model_name) return SOW_E_MEMORY;
    return sow_hash_input(place.gguf ? place.gguf : place.folder, s->model_sha256);
}

/* A model without a known template still reads plain texts and pairs. */
static sow_status find_chat(const sow_call *call, const sow_chat **out) {
    const char *name = sow_text(call, "chat-template");
    sow_status status = sow_lm_chat(sow_text(call, "model"), name, out);
    if (status != SOW_E_UNSUPPORTED || name) return status;
    *out = NULL;
    return SOW_OK;
}

static sow_status open_texts(sai_subject *s, language *l) {
    sow_call *call = s->call;
    const sow_lm_config *c = &l->lm->config;
    sow_resolve(call, "length", "256");
    sow_texts_options options = {.length = sow_int(call, "length"),
                                 .end = c->end_count > 0 ? c->ends[0] : -1,
                                 .prompt_field = sow_text(call, "prompt-field"),
                                 .completion_field = sow_text(call, "completion-field"),
                                 .loss_on_all = sow_text(call, "loss-on") && !strcmp(sow_text(call, "loss-on"), "all")};
    if (c->positions > 0 && options.length > c->positions) options.length = c->positions;
    SOW_TRY(find_chat(call, &options.chat));
    SOW_TRY(sow_texts_open(sow_text(call, "data"), &options, l->tokenizer, &l->texts));
    s->data_name = l->texts->name;
    memcpy(s->data_sha256, l->texts->sha256, sizeof s->data_sha256);
    sow_note("%s: %s; %lld sequences, %lld tokens", l->texts->name, l->texts->format, (long long)l->texts->count,
             (long long)l->texts->start[l->texts->count]);
    sow_resolve(call, "batch", "4");
    int64_t batch = sow_int(call, "batch");
    return sow_text_batches_new(l->texts, batch < l->texts->count ? batch : l->texts->count,
                                (uint64_t)sow_int(call, "seed"), true, &l->batches);
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
    SOW_TRY(hash_model(s, sow_text(call, "model")));
    SOW_TRY(sow_lm_open(sow_text(call, "model"), &l->lm));
    SOW_TRY(sow_lm_tokenizer(sow_text(call, "model"), &l->tokenizer));
    l->lm->recompute = sow_flag(call, "recompute");
    s->state = l->lm->state;
    s->heads = l->lm->config.heads;
    s->kv_heads = l->lm->config.kv_heads;
    SOW_TRY(open_texts(s, l));
    double weights = (double)sow_state_parameters(s->state);
    sow_note("%.3g parameters: about %.2g GB for them and their gradients", weights, 8e-9 * weights);
    return SOW_OK;
}
