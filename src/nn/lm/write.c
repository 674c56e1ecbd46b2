/* Language models as Hugging Face folders: config.json, generation_config.json, model.safetensors. */
#include <math.h>
#include <string.h>

#include "nn/lm/lm.h"
#include "sow/file.h"
#include "sow/json.h"
#include "sow/safetensors.h"
#include "sow/threads.h"

/* ---- config.json ---- */

/* Packs into *json; false: memory is short. */
static bool add(json_t *json, const char *name, json_t *value) {
    return json_object_set_new(json, name, value) == 0;
}

/* GGUF holds llama3's stretching as divisors. Models so far differ in the factor only: the others are tried. */
static sow_status find_llama3(const sow_lm_config *c, sow_rope *out) {
    double found[SOW_LM_DIVISORS_MAX], plain[SOW_LM_DIVISORS_MAX];
    int64_t n = c->head_size / 2;
    *out = (sow_rope){.theta = c->rope.theta,
                      .type = SOW_ROPE_LLAMA3,
                      .factor = (double)c->rope.divisors[n - 1],
                      .low = 1,
                      .high = 4,
                      .original = 8192};
    sow_rope_frequencies(&c->rope, c->head_size, plain);
    sow_rope_frequencies(out, c->head_size, found);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(found[i] - plain[i]) <= 1e-4 * plain[i]))
            return sow_fail(SOW_E_UNSUPPORTED, "rope_freqs.weight is no llama3 stretching of 8,192 positions");
    return SOW_OK;
}

static bool add_rope(json_t *json, const sow_rope *r) {
    json_t *p = json_pack("{s:s,s:f}", "rope_type",
                          r->type == SOW_ROPE_LINEAR   ? "linear"
                          : r->type == SOW_ROPE_LLAMA3 ? "llama3"
                                                       : "default",
                          "rope_theta", r->theta);
    bool done = p && (r->type == SOW_ROPE_DEFAULT || add(p, "factor", json_real(r->factor)));
    if (done && r->type == SOW_ROPE_LLAMA3)
        done = add(p, "low_freq_factor", json_real(r->low)) && add(p, "high_freq_factor", json_real(r->high)) &&
               add(p, "original_max_position_embeddings", json_integer((json_int_t)r->original));
    return add(json, "rope_parameters", p) && done && add(json, "rope_theta", json_real(r->theta));
}

static const char *activation_of(const sow_lm_config *c) {
    static const char *const names[] = {
        [SOW_SILU] = "silu", [SOW_GELU] = "gelu", [SOW_GELU_TANH] = "gelu_pytorch_tanh", [SOW_RELU] = "relu"};
    return c->activation == SOW_GELU_TANH && c->family == SOW_LM_GPT2 ? "gelu_new" : names[c->activation];
}

static sow_status describe_llama(const sow_lm_config *c, json_t *json) {
    bool qwen = c->qkv_bias && !c->bias;
    sow_rope rope = c->rope;
    if (rope.type == SOW_ROPE_DIVISORS) SOW_TRY(find_llama3(c, &rope));
    bool done = add(json, "model_type", json_string(qwen ? "qwen2" : "llama")) &&
                add(json, "architectures", json_pack("[s]", qwen ? "Qwen2ForCausalLM" : "LlamaForCausalLM")) &&
                add(json, "hidden_act", json_string(activation_of(c))) &&
                add(json, "rms_norm_eps", json_real(c->epsilon)) && add(json, "head_dim", json_integer(c->head_size)) &&
                add_rope(json, &rope);
    if (done && !qwen)
        done = add(json, "attention_bias", json_boolean(c->bias)) && add(json, "mlp_bias", json_boolean(c->bias));
    return done ? SOW_OK : sow_fail(SOW_E_MEMORY, "out of memory");
}

static sow_status describe_gemma3(const sow_lm_config *c, json_t *json) {
    json_t *types = json_array(), *full = json_object(), *local = json_object(), *both = json_object();
    for (int64_t i = 0; i < c->layers; i++)
        json_array_append_new(types, json_string(c->sliding[i] ? "sliding_attention" : "full_attention"));
    bool done = add_rope(full, &c->rope) && add_rope(local, &c->local_rope) &&
                add(both, "full_attention", json_incref(json_object_get(full, "rope_parameters"))) &&
                add(both, "sliding_attention", json_incref(json_object_get(local, "rope_parameters"))) &&
                add(json, "rope_parameters", json_incref(both));
    double scalar = c->query_scalar > 0 ? c->query_scalar : (double)c->head_size;
    done = done && add(json, "model_type", json_string("gemma3_text")) &&
           add(json, "architectures", json_pack("[s]", "Gemma3ForCausalLM")) &&
           add(json, "hidden_activation", json_string(activation_of(c))) &&
           add(json, "rms_norm_eps", json_real(c->epsilon)) && add(json, "head_dim", json_integer(c->head_size)) &&
           add(json, "query_pre_attn_scalar", json_real(scalar)) &&
           add(json, "sliding_window", json_integer(c->window)) && add(json, "layer_types", json_incref(types)) &&
           add(json, "attention_bias", json_boolean(c->bias));
    json_decref(types), json_decref(full), json_decref(local), json_decref(both);
    return done ? SOW_OK : sow_fail(SOW_E_MEMORY, "out of memory");
}

static sow_status describe_bert(const sow_lm_config *c, json_t *json) {
    bool done = add(json, "model_type", json_string("bert")) &&
                add(json, "architectures", json_pack("[s]", "BertModel")) &&
                add(json, "hidden_act", json_string(activation_of(c))) &&
                add(json, "layer_norm_eps", json_real(c->epsilon)) &&
                add(json, "type_vocab_size", json_integer(c->types));
    return done ? SOW_OK : sow_fail(SOW_E_MEMORY, "out of memory");
}

static sow_status describe_gpt2(const sow_lm_config *c, json_t *json) {
    bool done = add(json, "model_type", json_string("gpt2")) &&
                add(json, "architectures", json_pack("[s]", "GPT2LMHeadModel")) &&
                add(json, "n_embd", json_integer(c->hidden)) && add(json, "n_layer", json_integer(c->layers)) &&
                add(json, "n_head", json_integer(c->heads)) && add(json, "n_positions", json_integer(c->positions)) &&
                add(json, "n_inner", json_integer(c->inner)) &&
                add(json, "activation_function", json_string(activation_of(c))) &&
                add(json, "layer_norm_epsilon", json_real(c->epsilon));
    return done ? SOW_OK : sow_fail(SOW_E_MEMORY, "out of memory");
}

static bool add_tokens(json_t *json, const sow_lm_config *c) {
    json_t *ends = c->end_count == 1 ? json_integer(c->ends[0]) : json_array();
    for (int i = 0; i < c->end_count && c->end_count > 1; i++) json_array_append_new(ends, json_integer(c->ends[i]));
    if (c->end_count == 0) json_decref(ends), ends = json_null();
    return add(json, "eos_token_id", ends) &&
           add(json, "bos_token_id", c->begin < 0 ? json_null() : json_integer(c->begin)) &&
           add(json, "pad_token_id", c->pad < 0 ? json_null() : json_integer(c->pad));
}

static sow_status describe(const sow_lm_config *c, sow_dtype dtype, json_t *json) {
    bool done = add(json, "vocab_size", json_integer(c->vocabulary)) &&
                add(json, "tie_word_embeddings", json_boolean(c->tied)) &&
                add(json, "torch_dtype", json_string(dtype == SOW_BF16 ? "bfloat16" : "float32")) &&
                add_tokens(json, c);
    if (done && c->family != SOW_LM_GPT2)
        done = add(json, "hidden_size", json_integer(c->hidden)) &&
               add(json, "intermediate_size", json_integer(c->inner)) &&
               add(json, "num_hidden_layers", json_integer(c->layers)) &&
               add(json, "num_attention_heads", json_integer(c->heads)) &&
               add(json, "max_position_embeddings", json_integer(c->positions));
    if (done && c->family <= SOW_LM_GEMMA3) done = add(json, "num_key_value_heads", json_integer(c->kv_heads));
    if (!done) return sow_fail(SOW_E_MEMORY, "out of memory");
    switch (c->family) {
    case SOW_LM_LLAMA: return describe_llama(c, json);
    case SOW_LM_GEMMA3: return describe_gemma3(c, json);
    case SOW_LM_GPT2: return describe_gpt2(c, json);
    default: return describe_bert(c, json);
    }
}

static sow_status write_json(sow_arena *arena, const char *folder, const char *name, const json_t *json) {
    char *text, *path = sow_path_join(arena, folder, name);
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_json_text(arena, json, SOW_JSON_PRETTY, &text));
    return sow_write_file(path, text, strlen(text));
}

static sow_status write_configs(sow_arena *arena, const sow_lm *lm, const char *folder, sow_dtype dtype) {
    json_t *config = json_object(), *generation = json_object();
    sow_status status = describe(&lm->config, dtype, config);
    if (status == SOW_OK) status = write_json(arena, folder, "config.json", config);
    if (status == SOW_OK && lm->config.family != SOW_LM_BERT && add_tokens(generation, &lm->config))
        status = write_json(arena, folder, "generation_config.json", generation);
    json_decref(config);
    json_decref(generation);
    return status;
}

/* ---- model.safetensors ---- */

typedef struct tensors {
    const sow_lm *lm;
    sow_arena *arena;
    const char **names;
    sow_tensor *described;
    int64_t count;
    sow_dtype dtype;
} tensors;

static void list(tensors *t, const char *name, int64_t rows, int64_t width) {
    if (t->lm->config.tied && !strcmp(name, "lm_head.weight")) return;
    t->names[t->count] = name;
    t->described[t->count++] = rows < 0 ? SOW_TENSOR(NULL, t->dtype, width) : SOW_TENSOR(NULL, t->dtype, rows, width);
}

static sow_status list_all(tensors *t) {
    const sow_lm *lm = t->lm;
    int64_t room = sow_state_count(lm->state) + (lm->frozen ? lm->frozen->count : 0);
    SOW_TRY(SOW_NEW(t->arena, t->names, room + 1));
    SOW_TRY(SOW_NEW(t->arena, t->described, room + 1));
    for (int64_t i = 0; lm->frozen && i < lm->frozen->count; i++) {
        const lm_matrix *m = &lm->frozen->matrices[i];
        list(t, m->name, m->turned ? m->width : m->rows, m->turned ? m->rows : m->width);
    }
    for (int64_t i = 0; i < sow_state_count(lm->state); i++) {
        const sow_entry *e = sow_state_entry(lm->state, i);
        if (e->value.rank > 2) return sow_fail(SOW_E_SHAPE, "%s has %d dimensions", e->name, e->value.rank);
        list(t, e->name, e->value.rank == 2 ? e->value.shape[0] : -1, e->value.shape[e->value.rank - 1]);
    }
    return sow_safetensors_sort(t->count, t->names, t->described);
}

/* Values of a real tensor of any layout, in the file's type. */
static sow_status put(const tensors *t, sow_safetensors_writer *w, sow_tensor values) {
    sow_mark mark = sow_arena_mark(t->arena);
    sow_tensor converted;
    sow_status status = sow_tensor_new(t->arena, t->dtype, values.rank, values.shape, &converted);
    if (status == SOW_OK) status = sow_copy(converted, values);
    if (status == SOW_OK) status = sow_safetensors_put(w, converted.data, sow_bytes(converted));
    sow_arena_release(t->arena, mark);
    return status;
}

/* Rows in blocks; a turned matrix whole. */
static sow_status put_matrix(const tensors *t, sow_safetensors_writer *w, const lm_matrix *m) {
    enum { BLOCK_VALUES = 1 << 20 };
    sow_mark mark = sow_arena_mark(t->arena);
    int64_t block = m->turned ? m->rows : sow_cells_for(BLOCK_VALUES, m->width);
    sow_status status = SOW_OK;
    float *values;
    if (block > m->rows) block = m->rows;
    SOW_TRY(SOW_NEW_RAW(t->arena, values, block * m->width));
    for (int64_t first = 0, n; first < m->rows && status == SOW_OK; first += n) {
        n = m->rows - first < block ? m->rows - first : block;
        lm_matrix_read(m, first, n, values);
        sow_tensor rows = SOW_TENSOR(values, SOW_F32, n, m->width);
        status = put(t, w, m->turned ? sow_transpose(rows) : rows);
    }
    sow_arena_release(t->arena, mark);
    return status;
}

static sow_status write_tensors(tensors *t, const char *folder, const char *passport) {
    sow_safetensors_writer *w;
    const char *path = sow_path_join(t->arena, folder, "model.safetensors");
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(list_all(t));
    SOW_TRY(sow_safetensors_create(path, t->count, t->names, t->described, passport, &w));
    sow_status status = SOW_OK;
    for (int64_t i = 0; i < t->count && status == SOW_OK; i++) {
        const lm_matrix *m = lm_frozen_find(t->lm->frozen, t->names[i]);
        status = m ? put_matrix(t, w, m) : put(t, w, sow_state_find(t->lm->state, t->names[i])->value);
    }
    if (status == SOW_OK) return sow_safetensors_commit(w);
    sow_safetensors_abort(w);
    return status;
}

sow_status sow_lm_write(const sow_lm *lm, const char *folder, sow_dtype dtype, const char *passport) {
    tensors t = {.lm = lm, .dtype = dtype};
    SOW_TRY(sow_arena_new(&t.arena));
    sow_status status = write_tensors(&t, folder, passport);
    if (status == SOW_OK) status = write_configs(t.arena, lm, folder, dtype);
    sow_arena_free(t.arena);
    return status;
}
