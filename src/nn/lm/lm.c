/* Language models: parameters by module name, checks of whole states, the calls that every family answers. */
#include <math.h>
#include <string.h>

#include "nn/lm/lm.h"

const lm_family *lm_family_of(const sow_lm *lm) {
    static const lm_family *const families[] = {&lm_llama, &lm_gemma3, &lm_gpt2, &lm_bert};
    return families[lm->config.family];
}

/* ---- layers ---- */

sow_var lm_linear(sow_tape *t, sow_lm *lm, const char *name, sow_var x, int64_t out, bool bias) {
    return sow_linear_at(t, lm->state, name, x, (sow_dense){.out = out, .no_bias = !bias, .by_rows = true});
}

sow_var lm_linear_by_inputs(sow_tape *t, sow_lm *lm, const char *name, sow_var x, int64_t out) {
    if (!x) return NULL;
    int64_t in = sow_value(x).shape[1];
    sow_dtype type = sow_value(x).dtype;
    sow_entry *w = sow_declared(
        t, lm->state, name, "weight",
        (sow_declaration){.dtype = type, .rank = 2, .shape = {in, out}, .role = SOW_ROLE_WEIGHT, .group = "fc"});
    sow_entry *b = sow_declared(t, lm->state, name, "bias",
                                (sow_declaration){.dtype = type, .rank = 1, .shape = {out}, .role = SOW_ROLE_BIAS});
    if (!w || !b) return NULL;
    return sow_tap(t, name, x,
                   sow_linear(t, x, sow_permuted(t, sow_parameter(t, w), (int[]){1, 0}), sow_parameter(t, b)));
}

sow_var lm_rms_norm(sow_tape *t, sow_lm *lm, const char *name, sow_var x, bool plus_one) {
    if (!x) return NULL;
    sow_tensor v = sow_value(x);
    sow_entry *w = sow_declared(t, lm->state, name, "weight",
                                (sow_declaration){.dtype = v.dtype,
                                                  .rank = 1,
                                                  .shape = {v.shape[v.rank - 1]},
                                                  .role = SOW_ROLE_NORM,
                                                  .value = plus_one ? 0 : 1});
    return w ? sow_rms_norm(t, x, sow_parameter(t, w), lm->config.epsilon, plus_one) : NULL;
}

sow_var lm_layer_norm(sow_tape *t, sow_lm *lm, const char *name, sow_var x) {
    if (!x) return NULL;
    sow_tensor v = sow_value(x);
    sow_declaration d = {
        .dtype = v.dtype, .rank = 1, .shape = {v.shape[v.rank - 1]}, .role = SOW_ROLE_NORM, .value = 1};
    sow_entry *w = sow_declared(t, lm->state, name, "weight", d);
    d.value = 0;
    sow_entry *b = sow_declared(t, lm->state, name, "bias", d);
    return w && b ? sow_layer_norm(t, x, sow_parameter(t, w), sow_parameter(t, b), lm->config.epsilon) : NULL;
}

/* The dtype of a fresh model is kept in the description of its rotary table until there is one. */
static sow_dtype type_of(const sow_lm *lm) {
    return sow_state_count(lm->state) > 0 ? sow_state_entry(lm->state, 0)->value.dtype : lm->rotary.dtype;
}

sow_var lm_table(sow_tape *t, sow_lm *lm, const char *name, int64_t rows) {
    sow_entry *e = sow_declared(
        t, lm->state, name, "weight",
        (sow_declaration){
            .dtype = type_of(lm), .rank = 2, .shape = {rows, lm->config.hidden}, .role = SOW_ROLE_EMBEDDING});
    return e ? sow_parameter(t, e) : NULL;
}

sow_var lm_rows(sow_tape *t, sow_lm *lm, const char *name, int64_t rows, const int32_t *ids, int64_t count) {
    return sow_embedding(t, lm_table(t, lm, name, rows), SOW_TENSOR((void *)(uintptr_t)ids, SOW_I32, count), -1);
}

sow_var lm_embed(sow_tape *t, sow_lm *lm, const char *name, const sow_tokens *tokens) {
    sow_tensor ids = SOW_TENSOR((void *)(uintptr_t)tokens->ids, SOW_I32, tokens->start[tokens->sequences]);
    int32_t padding = lm->config.family == SOW_LM_GPT2 ? -1 : lm->config.pad;
    return sow_embedding(t, lm_table(t, lm, name, lm->config.vocabulary), ids, padding);
}

const int32_t *lm_positions(sow_tape *t, sow_lm *lm, const sow_tokens *tokens) {
    int64_t count = tokens->start[tokens->sequences];
    if (count > lm->position_room) {
        if (SOW_NEW_RAW(lm->arena, lm->position, count) != SOW_OK) {
            sow_tape_fail(t, SOW_E_MEMORY);
            return NULL;
        }
        lm->position_room = count;
    }
    for (int64_t s = 0; s < tokens->sequences; s++)
        for (int64_t i = tokens->start[s]; i < tokens->start[s + 1]; i++)
            lm->position[i] = (int32_t)(i - tokens->start[s]);
    return lm->position;
}

sow_var lm_attend(sow_tape *t, sow_lm *lm, const sow_tokens *tokens, sow_var q, sow_var k, sow_var v,
                  const sow_tensor *rotary, bool causal, int64_t window) {
    const sow_lm_config *c = &lm->config;
    sow_attention a = {.heads = c->heads,
                       .kv_heads = c->kv_heads,
                       .causal = causal,
                       .window = window,
                       .start = tokens->start,
                       .sequences = tokens->sequences};
    if (c->query_scalar > 0) a.scale = 1 / sqrt(c->query_scalar);
    if (rotary) a.rotary = *rotary;
    return sow_attend(t, q, k, v, &a);
}

sow_var lm_residual(sow_tape *t, sow_var x, sow_var y) {
    sow_var sum = sow_add(t, x, y);
    sow_done(t, y);
    return sum;
}

sow_var lm_layers(sow_tape *t, sow_lm *lm, const char *level, lm_layer layer, sow_var x, const sow_tokens *tokens) {
    for (int64_t i = 0; i < lm->config.layers && x; i++) {
        sow_var in = x;
        if (lm->recompute) sow_recompute_begin(t);
        sow_enter(t, "%s.%lld", level, (long long)i);
        x = sow_tap(t, "", in, layer(t, lm, i, in, tokens));
        sow_leave(t);
        if (lm->recompute) x = sow_recompute_end(t, x);
        if (i > 0) sow_done(t, in); /* the first one's input is the caller's */
    }
    return x;
}

/* ---- rotary tables ---- */

static sow_status grow_rotary(sow_lm *lm, const sow_rope *rope, int64_t longest, sow_tensor *table) {
    double frequency[512];
    if (table->data && table->shape[0] >= longest) return SOW_OK;
    int64_t rows = table->data ? 2 * table->shape[0] : 256;
    while (rows < longest) rows *= 2;
    if (lm->config.head_size > 1024)
        return sow_fail(SOW_E_RANGE, "head size %lld, expected at most 1024", (long long)lm->config.head_size);
    SOW_TRY(sow_tensor_new(lm->arena, type_of(lm), 2, (int64_t[]){rows, lm->config.head_size}, table));
    sow_rope_frequencies(rope, lm->config.head_size, frequency);
    sow_rotary(*table, frequency);
    return SOW_OK;
}

static sow_status check_tokens(sow_lm *lm, const sow_tokens *tokens) {
    int64_t longest = 0;
    for (int64_t s = 0; s < tokens->sequences; s++) {
        int64_t n = tokens->start[s + 1] - tokens->start[s];
        if (n > longest) longest = n;
    }
    if (longest > lm->config.positions)
        return sow_fail(SOW_E_RANGE, "a sequence has %lld tokens, the model takes %lld", (long long)longest,
                        (long long)lm->config.positions);
    if (lm->config.family > SOW_LM_GEMMA3) return SOW_OK;
    SOW_TRY(grow_rotary(lm, &lm->config.rope, longest, &lm->rotary));
    return lm->config.family == SOW_LM_GEMMA3 ? grow_rotary(lm, &lm->config.local_rope, longest, &lm->local_rotary)
                                              : SOW_OK;
}

/* ---- forward ---- */

static int enter_prefix(sow_tape *t, const sow_lm *lm) {
    if (!*lm->prefix) return 0;
    sow_enter(t, "%s", lm->prefix);
    return 1;
}

static sow_var leave_prefix(sow_tape *t, int levels, sow_var x) {
    if (levels) sow_leave(t);
    return x;
}

sow_var sow_lm_states_from(sow_tape *t, sow_lm *lm, sow_var embedded, const sow_tokens *tokens) {
    sow_status status = check_tokens(lm, tokens);
    if (status != SOW_OK) return sow_tape_fail(t, status);
    int levels = enter_prefix(t, lm);
    return leave_prefix(t, levels, lm_family_of(lm)->states(t, lm, embedded, tokens));
}

sow_var sow_lm_states(sow_tape *t, sow_lm *lm, const sow_tokens *tokens) {
    int levels = enter_prefix(t, lm);
    sow_var x = leave_prefix(t, levels, lm_embed(t, lm, lm_family_of(lm)->table, tokens));
    return sow_lm_states_from(t, lm, x, tokens);
}

/* The head's table: its own, outside the prefix, or the input embeddings. */
static sow_var head_table(sow_tape *t, sow_lm *lm) {
    const lm_family *f = lm_family_of(lm);
    if (!f->head)
        return sow_tape_fail(t, sow_fail(SOW_E_UNSUPPORTED, "%s: an encoder has no next-token head", f->name));
    if (!lm->config.tied) return lm_table(t, lm, f->head, lm->config.vocabulary);
    int levels = enter_prefix(t, lm);
    return leave_prefix(t, levels, lm_table(t, lm, f->table, lm->config.vocabulary));
}

sow_var sow_lm_logits(sow_tape *t, sow_lm *lm, sow_var states) {
    return sow_linear(t, states, head_table(t, lm), NULL);
}

sow_var sow_lm_loss(sow_tape *t, sow_lm *lm, const sow_tokens *tokens, sow_tensor labels, double divisor) {
    sow_var states = sow_lm_states(t, lm, tokens), loss = sow_head_loss(t, states, head_table(t, lm), labels, divisor);
    sow_done(t, states);
    return loss;
}

/* ---- making ---- */

static sow_status dry_run(sow_lm *lm) {
    static const int32_t id;
    static const int64_t start[2] = {0, 1};
    sow_tokens one = {&id, start, 1};
    sow_tape *t;
    SOW_TRY(sow_tape_new(&t));
    sow_tape_dry(t, true);
    sow_var states = sow_lm_states(t, lm, &one);
    if (lm_family_of(lm)->head) sow_lm_logits(t, lm, states);
    sow_status status = sow_tape_status(t);
    uint64_t recording = 0;
    for (int64_t i = 0; i < sow_state_count(lm->state); i++)
        if (sow_state_entry(lm->state, i)->recording > recording) recording = sow_state_entry(lm->state, i)->recording;
    for (int64_t i = 0; status == SOW_OK && i < sow_state_count(lm->state); i++)
        sow_state_entry(lm->state, i)->trainable = sow_state_entry(lm->state, i)->recording == recording;
    sow_tape_free(t);
    return status;
}

/* Files of some exporters leave the outermost module's name out. */
static const char *prefix_of(const sow_lm *lm) {
    const lm_family *f = lm_family_of(lm);
    char name[128];
    if (!*f->prefix || sow_state_count(lm->state) == 0) return f->prefix;
    snprintf(name, sizeof name, "%s.weight", f->table);
    return sow_state_find(lm->state, name) ? "" : f->prefix;
}

static sow_status make(const sow_lm_config *config, sow_state *state, sow_dtype type, sow_lm **out) {
    sow_arena *arena;
    sow_lm *lm;
    sow_status status = sow_arena_new(&arena);
    if (status == SOW_OK) {
        status = SOW_NEW(arena, lm, 1);
        if (status != SOW_OK) sow_arena_free(arena);
    }
    if (status != SOW_OK) {
        sow_state_free(state);
        return status;
    }
    *lm = (sow_lm){
        .config = *config, .state = state, .arena = arena, .rotary = {.dtype = type}, .local_rotary = {.dtype = type}};
    lm->prefix = prefix_of(lm);
    *out = lm;
    return SOW_OK;
}

sow_status sow_lm_new(const sow_lm_config *config, sow_state *state, sow_lm **out) {
    sow_lm *lm;
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        const sow_entry *e = sow_state_entry(state, i);
        if (e->value.dtype == SOW_F32 || e->value.dtype == SOW_F64) continue;
        sow_status status = sow_fail(SOW_E_TYPE, "%s is %s, expected F32 or F64", e->name,
                                     sow_dtype_name(e->value.dtype));
        sow_state_free(state);
        return status;
    }
    SOW_TRY(make(config, state, SOW_F32, &lm));
    sow_status status = dry_run(lm);
    if (status == SOW_OK) *out = lm;
    else sow_lm_free(lm);
    return status;
}

sow_status sow_lm_declare(const sow_lm_config *config, sow_dtype dtype, sow_lm **out) {
    sow_state *state;
    sow_lm *lm;
    SOW_TRY(sow_state_new(&state));
    SOW_TRY(make(config, state, dtype, &lm));
    sow_state_open(state, true);
    sow_status status = dry_run(lm);
    sow_state_open(state, false);
    if (status == SOW_OK) *out = lm;
    else sow_lm_free(lm);
    return status;
}

void sow_lm_free(sow_lm *lm) {
    if (!lm) return;
    sow_state_free(lm->state);
    sow_arena_free(lm->arena);
}
