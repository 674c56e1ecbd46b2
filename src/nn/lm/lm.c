/* Language models: parameters by module name, checks of whole states, the calls that every family answers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/op.h"
#include "nn/lm/cache.h"
#include "nn/lm/lm.h"

const lm_family *lm_family_of(const sow_lm *lm) {
    static const lm_family *const families[] = {&lm_llama, &lm_gemma3, &lm_gpt2, &lm_bert};
    return families[lm->config.family];
}

/* ---- layers ---- */

/* The matrix of a site that stays in its file, with the shape that the configuration implies; NULL poisons. */
static const lm_matrix *checked(sow_tape *t, const lm_matrix *m, int64_t rows, int64_t width) {
    if (m->rows == rows && m->width == width) return m;
    int64_t found[2] = {m->rows, m->width}, expected[2] = {rows, width};
    char a[SOW_SHAPE_TEXT], b[SOW_SHAPE_TEXT];
    sow_tape_fail(t, sow_fail(SOW_E_SHAPE, "%s is %s, expected %s", m->name,
                              sow_shape_text(sow_tensor_of(NULL, SOW_F32, 2, found), a),
                              sow_shape_text(sow_tensor_of(NULL, SOW_F32, 2, expected), b)));
    return NULL;
}

static const lm_matrix *frozen_at(sow_tape *t, const sow_lm *lm, const char *name) {
    return lm->frozen ? lm_frozen_find(lm->frozen, sow_path_of(t, name, "weight")) : NULL;
}

static sow_var bias_at(sow_tape *t, sow_lm *lm, const char *name, int64_t out) {
    sow_entry *b = sow_declared(t, lm->state, name, "bias",
                                (sow_declaration){.dtype = SOW_F32, .rank = 1, .shape = {out}, .role = SOW_ROLE_BIAS});
    return b ? sow_parameter(t, b) : NULL;
}

/* The linear site of a matrix that stays in its file. */
static sow_var frozen_linear(sow_tape *t, sow_lm *lm, const char *name, const lm_matrix *m, sow_var x, int64_t out,
                             bool bias) {
    if (!x || !checked(t, m, out, sow_value(x).shape[1])) return NULL;
    sow_var b = bias ? bias_at(t, lm, name, out) : NULL;
    return bias && !b ? NULL : sow_tap(t, name, x, lm_product(t, m, x, b));
}

sow_var lm_linear(sow_tape *t, sow_lm *lm, const char *name, sow_var x, int64_t out, bool bias) {
    const lm_matrix *m = frozen_at(t, lm, name);
    if (m) return frozen_linear(t, lm, name, m, x, out, bias);
    return sow_linear_at(t, lm->state, name, x, (sow_dense){.out = out, .no_bias = !bias, .by_rows = true});
}

void lm_linears(sow_tape *t, sow_lm *lm, const lm_site *sites, int count, sow_var x, sow_var *y) {
    const lm_matrix *m[LM_TOGETHER];
    sow_var b[LM_TOGETHER] = {NULL};
    bool frozen = x && count <= LM_TOGETHER;
    for (int i = 0; i < count && frozen; i++) frozen = (m[i] = frozen_at(t, lm, sites[i].name)) != NULL;
    for (int i = 0; i < count && !frozen; i++) y[i] = lm_linear(t, lm, sites[i].name, x, sites[i].out, sites[i].bias);
    if (!frozen) return;
    for (int i = 0; i < count; i++) y[i] = NULL; /* a failure leaves all of them so */
    for (int i = 0; i < count; i++) {
        if (!checked(t, m[i], sites[i].out, sow_value(x).shape[1])) return;
        if (sites[i].bias && !(b[i] = bias_at(t, lm, sites[i].name, sites[i].out))) return;
    }
    lm_products(t, m, count, x, b, y);
    for (int i = 0; i < count; i++) y[i] = sow_tap(t, sites[i].name, x, y[i]);
}

sow_var lm_linear_by_inputs(sow_tape *t, sow_lm *lm, const char *name, sow_var x, int64_t out) {
    if (!x) return NULL;
    const lm_matrix *m = frozen_at(t, lm, name);
    if (m) return frozen_linear(t, lm, name, m, x, out, true);
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
    int64_t count = tokens->start[tokens->sequences];
    const lm_matrix *m = frozen_at(t, lm, name);
    if (m)
        return checked(t, m, lm->config.vocabulary, lm->config.hidden) ? lm_matrix_rows(t, m, tokens->ids, count)
                                                                       : NULL;
    sow_tensor ids = SOW_TENSOR((void *)(uintptr_t)tokens->ids, SOW_I32, count);
    int32_t padding = lm->config.family == SOW_LM_GPT2 ? -1 : lm->config.pad;
    return sow_embedding(t, lm_table(t, lm, name, lm->config.vocabulary), ids, padding);
}

const int32_t *lm_positions(sow_tape *t, sow_lm *lm, const sow_tokens *tokens) {
    int64_t count = tokens->start[tokens->sequences], before = lm->cache ? lm->cache->length : 0;
    if (count > lm->position_room) {
        if (SOW_NEW_RAW(lm->arena, lm->position, count) != SOW_OK) {
            sow_tape_fail(t, SOW_E_MEMORY);
            return NULL;
        }
        lm->position_room = count;
    }
    for (int64_t s = 0; s < tokens->sequences; s++)
        for (int64_t i = tokens->start[s]; i < tokens->start[s + 1]; i++)
            lm->position[i] = (int32_t)(before + i - tokens->start[s]);
    return lm->position;
}

sow_var lm_attend(sow_tape *t, sow_lm *lm, const sow_tokens *tokens, sow_var q, sow_var k, sow_var v,
                  const sow_tensor *rotary, bool causal, int64_t window) {
    const sow_lm_config *c = &lm->config;
    double scale = c->query_scalar > 0 ? 1 / sqrt(c->query_scalar) : 0;
    if (lm->cache) return lm_attend_cached(t, lm->cache, q, k, v, rotary ? *rotary : (sow_tensor){0}, scale, window);
    sow_attention a = {.heads = c->heads,
                       .kv_heads = c->kv_heads,
                       .scale = scale,
                       .causal = causal,
                       .window = window,
                       .start = tokens->start,
                       .sequences = tokens->sequences};
    if (rotary) a.rotary = *rotary;
    return sow_attend(t, q, k, v, &a);
}

int64_t lm_layer_of(const char *name) {
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.'))
        if (dot[1] >= '0' && dot[1] <= '9') return strtoll(dot + 1, NULL, 10);
    return -1;
}

sow_var lm_residual(sow_tape *t, sow_var x, sow_var y) {
    sow_var sum = sow_add(t, x, y);
    sow_done(t, y);
    return sum;
}

sow_var lm_layers(sow_tape *t, sow_lm *lm, const char *level, lm_layer layer, sow_var x, const sow_tokens *tokens) {
    int64_t layers = lm->layer_limit > 0 && lm->layer_limit < lm->config.layers ? lm->layer_limit : lm->config.layers;
    for (int64_t i = 0; i < layers && x; i++) {
        sow_var in = x;
        if (lm->cache) lm->cache->layer = i;
        if (lm->recompute) sow_recompute_begin(t);
        sow_enter(t, "%s.%lld", level, (long long)i);
        x = sow_tap(t, "", in, layer(t, lm, i, in, tokens));
        sow_leave(t);
        lm_frozen_pass(lm->frozen, i);
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
    if (lm->cache) longest += lm->cache->length;
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

/* The head's table: its own, outside the prefix, or the input embeddings; one of the two is found. */
typedef struct head {
    sow_var table;
    const lm_matrix *frozen;
} head;

static head table_at(sow_tape *t, sow_lm *lm, const char *name) {
    const lm_matrix *m = frozen_at(t, lm, name);
    if (m) return (head){NULL, checked(t, m, lm->config.vocabulary, lm->config.hidden)};
    return (head){lm_table(t, lm, name, lm->config.vocabulary), NULL};
}

static head head_of(sow_tape *t, sow_lm *lm) {
    const lm_family *f = lm_family_of(lm);
    if (!f->head) {
        sow_tape_fail(t, sow_fail(SOW_E_UNSUPPORTED, "%s: an encoder has no next-token head", f->name));
        return (head){0};
    }
    if (!lm->config.tied) return table_at(t, lm, f->head);
    int levels = enter_prefix(t, lm);
    head h = table_at(t, lm, f->table);
    leave_prefix(t, levels, NULL);
    return h;
}

sow_var sow_lm_logits(sow_tape *t, sow_lm *lm, sow_var states) {
    head h = head_of(t, lm);
    return h.frozen ? lm_product(t, h.frozen, states, NULL) : sow_linear(t, states, h.table, NULL);
}

/* The loss of rows whose logits are made in turn: sums over the counted labels of each chunk. */
static sow_var frozen_loss(sow_tape *t, const lm_matrix *m, sow_var states, sow_tensor labels, double divisor) {
    enum { CHUNK_ROWS = 256 };
    if (!states || labels.rank != 1 || labels.dtype != SOW_I32 || labels.shape[0] != sow_value(states).shape[0])
        return sow_tape_fail(t,
                             states ? sow_fail(SOW_E_SHAPE, "head: expected one label for each state") : SOW_E_SHAPE);
    int64_t n = labels.shape[0], counted = 0;
    const int32_t *label = labels.data;
    sow_var sum = NULL;
    for (int64_t i = 0; label && i < n; i++) counted += label[i] >= 0;
    if (label && counted == 0)
        return sow_tape_fail(t, sow_fail(SOW_E_RANGE, "head: no label counts: all %lld are masked", (long long)n));
    if (divisor <= 0) divisor = (double)counted;
    for (int64_t at = 0; at < n; at += CHUNK_ROWS) {
        int64_t rows = n - at < CHUNK_ROWS ? n - at : CHUNK_ROWS, some = 0;
        for (int64_t i = at; label && i < at + rows; i++) some += label[i] >= 0;
        if (label && some == 0) continue;
        sow_var logits = lm_product(t, m, sow_narrow(t, states, 0, at, rows), NULL);
        sow_var mean = sow_softmax_cross_entropy(t, logits, sow_slice(labels, 0, at, rows));
        sow_done(t, logits);
        sow_var part = sow_scale(t, mean, (double)some / divisor, 0);
        sum = sum ? sow_add(t, sum, part) : part;
    }
    return sum;
}

sow_var sow_lm_loss(sow_tape *t, sow_lm *lm, const sow_tokens *tokens, sow_tensor labels, double divisor) {
    sow_var states = sow_lm_states(t, lm, tokens);
    head h = head_of(t, lm);
    sow_var loss = h.frozen ? frozen_loss(t, h.frozen, states, labels, divisor)
                            : sow_head_loss(t, states, h.table, labels, divisor);
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
    return sow_state_find(lm->state, name) || lm_frozen_find(lm->frozen, name) ? "" : f->prefix;
}

/* Takes over state and frozen. */
static sow_status make(const sow_lm_config *config, sow_state *state, struct lm_frozen *frozen, sow_dtype type,
                       sow_lm **out) {
    sow_arena *arena;
    sow_lm *lm;
    sow_status status = SOW_OWN(arena, lm);
    if (status != SOW_OK) {
        sow_state_free(state);
        lm_frozen_free(frozen);
        return status;
    }
    if (frozen) lm_frozen_finish(frozen);
    *lm = (sow_lm){.config = *config,
                   .state = state,
                   .frozen = frozen,
                   .arena = arena,
                   .rotary = {.dtype = type},
                   .local_rotary = {.dtype = type}};
    lm->prefix = prefix_of(lm);
    *out = lm;
    return SOW_OK;
}

static sow_status finish(sow_lm *lm, sow_lm **out) {
    sow_status status = dry_run(lm);
    if (status == SOW_OK) *out = lm;
    else sow_lm_free(lm);
    return status;
}

sow_status lm_new(const sow_lm_config *config, sow_state *state, struct lm_frozen *frozen, sow_lm **out) {
    sow_lm *lm;
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        const sow_entry *e = sow_state_entry(state, i);
        if (e->value.dtype == SOW_F32 || (e->value.dtype == SOW_F64 && !frozen)) continue;
        sow_status status = sow_fail(SOW_E_TYPE, "%s is %s, expected F32 or F64", e->name,
                                     sow_dtype_name(e->value.dtype));
        sow_state_free(state);
        lm_frozen_free(frozen);
        return status;
    }
    SOW_TRY(make(config, state, frozen, SOW_F32, &lm));
    SOW_TRY(finish(lm, &lm));
    for (int64_t i = 0; frozen && i < sow_state_count(state); i++) sow_state_entry(state, i)->trainable = false;
    *out = lm;
    return SOW_OK;
}

sow_status sow_lm_new(const sow_lm_config *config, sow_state *state, sow_lm **out) {
    return lm_new(config, state, NULL, out);
}

sow_status sow_lm_declare(const sow_lm_config *config, sow_dtype dtype, sow_lm **out) {
    sow_state *state;
    sow_lm *lm;
    SOW_TRY(sow_state_new(&state));
    SOW_TRY(make(config, state, NULL, dtype, &lm));
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
    lm_frozen_free(lm->frozen);
    sow_arena_free(lm->arena);
}
