/* Language models and their texts: opened from options, named for passports, and what passes over them will cost. */
#include <math.h>
#include <string.h>

#include "nn/lm/base_model.h"
#include "sow/file.h"
#include "sow/log.h"

/* ---- options ---- */

sow_status base_without_texts(sow_call *call) {
    static const char *const names[] = {"length", "prompt-field", "completion-field", "loss-on", "chat-template"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sow_given(call, names[i]))
            return sow_fail(SOW_E_ARGUMENT, "--%s belongs to language models (--model), not to --arch", names[i]);
        else sow_resolve(call, names[i], NULL);
    return SOW_OK;
}

/* ---- opening ---- */

/* A model without a known template still reads plain texts and pairs. */
static sow_status find_chat(const sow_call *call, const sow_chat **out) {
    const char *name = sow_text(call, "chat-template");
    sow_status status = sow_lm_chat(sow_text(call, "model"), name, out);
    if (status != SOW_E_UNSUPPORTED || name) return status;
    *out = NULL;
    return SOW_OK;
}

sow_status base_texts_read(const sow_call *call, const sow_lm *lm, sow_tokenizer *tokenizer, int64_t length,
                           const char *path, sow_texts **out) {
    const sow_lm_config *c = &lm->config;
    sow_texts_options options = {.length = length,
                                 .end = c->end_count > 0 ? c->ends[0] : -1,
                                 .prompt_field = sow_text(call, "prompt-field"),
                                 .completion_field = sow_text(call, "completion-field"),
                                 .loss_on_all = !strcmp(sow_text(call, "loss-on"), "all")};
    if (c->positions > 0 && options.length > c->positions) options.length = c->positions;
    SOW_TRY(find_chat(call, &options.chat));
    return sow_texts_open(path, &options, tokenizer, out);
}

sow_status base_texts_open(const sow_call *call, const base_model *b, const char *path, sow_texts **out) {
    SOW_TRY(base_texts_read(call, b->lm, b->tokenizer, sow_int(call, "length"), path, out));
    const sow_texts *t = *out;
    sow_note("%s: %s; %lld sequences, %lld tokens", t->name, t->format, (long long)t->count,
             (long long)t->start[t->count]);
    if (t->cut > 0) sow_note("%lld of them were cut to --length", (long long)t->cut);
    if (t->left_out > 0) sow_note("%lld more had nothing that counts", (long long)t->left_out);
    return SOW_OK;
}

sow_status base_data_open(const sow_call *call, base_model *b) {
    SOW_TRY(base_texts_open(call, b, sow_text(call, "data"), &b->texts));
    b->inputs[1].option = "data";
    b->inputs[1].name = b->texts->name;
    memcpy(b->inputs[1].sha256, b->texts->sha256, sizeof b->inputs[1].sha256);
    return SOW_OK;
}

sow_status base_lm_open(sow_call *call, sow_status (*open)(const char *, sow_lm **), base_model *b) {
    const char *path = sow_text(call, "model"), *source;
    *b = (base_model){.arena = call->arena};
    SOW_TRY(sow_lm_locate(call->arena, path, &source));
    b->folder = sow_is_folder(source) ? path : NULL;
    SOW_TRY(sow_lm_input(call->arena, path, &b->inputs[0]));
    SOW_TRY(open(path, &b->lm));
    return sow_lm_tokenizer(path, &b->tokenizer);
}

static sow_status open_with(sow_call *call, sow_status (*open)(const char *, sow_lm **), base_model *b) {
    SOW_TRY(base_lm_open(call, open, b));
    SOW_TRY(sow_lm_sites(call->arena, b->lm, &b->all));
    SOW_TRY(sow_choose_sites(call->arena, &b->all, sow_text(call, "targets"), &b->sites));
    return base_data_open(call, b);
}

sow_status base_model_open(sow_call *call, base_model *b) {
    return open_with(call, sow_lm_open, b);
}

sow_status base_model_open_frozen(sow_call *call, base_model *b) {
    return open_with(call, sow_lm_open_frozen, b);
}

void base_model_close(base_model *b) {
    sow_texts_free(b->texts);
    sow_tokenizer_free(b->tokenizer);
    sow_lm_free(b->lm);
}

/* ---- names ---- */

static const char *last_component(const char *module) {
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

static int64_t count_ending(const sow_sites *sites, const char *name) {
    int64_t count = 0;
    for (int64_t i = 0; i < sites->count; i++) count += !strcmp(last_component(sites->at[i].module), name);
    return count;
}

const char *base_targets(sow_arena *arena, const sow_sites *all, const sow_sites *sites) {
    char *list = NULL;
    for (int64_t i = 0; i < sites->count; i++) {
        const char *name = last_component(sites->at[i].module);
        bool seen = false;
        for (int64_t j = 0; j < i && !seen; j++) seen = !strcmp(last_component(sites->at[j].module), name);
        if (seen) continue;
        if (count_ending(all, name) != count_ending(sites, name)) return NULL;
        list = list ? sow_arena_format(arena, "%s,%s", list, name) : sow_arena_copy(arena, name);
        if (!list) return NULL;
    }
    return list;
}

/* ---- costs ---- */

/* FLOP a second of matrix products of the size of a layer's. */
static double product_rate(sow_arena *arena) {
    enum { N = 512 };
    sow_mark mark = sow_arena_mark(arena);
    float *m = sow_arena_take(arena, 3 * N * N, sizeof *m);
    double best = 1e8;
    for (int i = 0; i < 3 && m; i++) {
        double begin = sow_seconds();
        sow_gemm(false, false, N, N, N, 1, m, N, m + N * N, N, 0, m + 2 * N * N, N);
        best = fmax(best, 2.0 * N * N * N / (sow_seconds() - begin));
    }
    sow_arena_release(arena, mark);
    return best;
}

double base_seconds(const base_model *b, int64_t tokens) {
    const sow_lm_config *c = &b->lm->config;
    double weights = (double)c->vocabulary * (double)c->hidden;
    for (int64_t i = 0; i < b->all.count; i++) weights += (double)b->all.at[i].in * (double)b->all.at[i].out;
    return 1.4 * 6 * weights * (double)tokens / product_rate(b->arena); /* 1.4: norms, attention, loss */
}

int64_t base_bytes(const base_model *b, int64_t tokens) {
    const sow_lm_config *c = &b->lm->config;
    int64_t bytes = 0, a_token = 10 * c->hidden + 4 * c->inner;
    for (int64_t i = 0; i < sow_state_count(b->lm->state); i++)
        bytes += (int64_t)sow_bytes(sow_state_entry(b->lm->state, i)->value);
    return bytes + 4 * tokens * (b->lm->recompute ? c->layers * c->hidden + a_token : c->layers * a_token);
}
