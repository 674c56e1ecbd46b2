/* GGUF models: their keys and names under those of Hugging Face, and what the converters changed put back. */
#include <math.h>
#include <string.h>

#include "nn/lm/lm.h"
#include "nn/lm/open.h"
#include "sow/text.h"

/* ---- metadata ---- */

typedef struct reader {
    const sow_gguf *file;
    const char *arch;
    sow_status status;
} reader;

static const char *key_of(const reader *r, const char *name, char key[128]) {
    snprintf(key, 128, "%s.%s", r->arch, name);
    return key;
}

/* An integer from 1 to 2^24; initial -1: required. */
static int64_t size_of(reader *r, const char *name, int64_t initial) {
    char key[128];
    int64_t n = initial;
    if (r->status != SOW_OK) return 1;
    bool there = sow_gguf_integer(r->file, key_of(r, name, key), &n, &r->status);
    if (r->status == SOW_OK && (n < 1 || n > 1 << 24))
        r->status = there ? sow_fail(SOW_E_FORMAT, "key %s: found %lld, expected 1 to 16777216", key, (long long)n)
                          : sow_fail(SOW_E_FORMAT, "key %s is missing", key);
    return r->status == SOW_OK ? n : 1;
}

static double real_of(reader *r, const char *name, double initial) {
    char key[128];
    double x = initial;
    if (r->status != SOW_OK) return 1;
    bool there = sow_gguf_real(r->file, key_of(r, name, key), &x, &r->status);
    if (r->status == SOW_OK && (!(x > 0) || !isfinite(x)))
        r->status = there ? sow_fail(SOW_E_FORMAT, "key %s: found %g, expected a number above 0", key, x)
                          : sow_fail(SOW_E_FORMAT, "key %s is missing", key);
    return r->status == SOW_OK ? x : 1;
}

static int32_t token_of(reader *r, const char *key) {
    int64_t id = -1;
    sow_gguf_integer(r->file, key, &id, &r->status);
    return id < 0 || id > 1 << 24 ? -1 : (int32_t)id;
}

static sow_status read_scaling(reader *r, sow_rope *rope) {
    char key[128];
    sow_span type = {0};
    if (!sow_gguf_text(r->file, key_of(r, "rope.scaling.type", key), &type, &r->status)) return r->status;
    SOW_TRY(r->status);
    if (type.size == 4 && !memcmp(type.text, "none", 4)) return SOW_OK;
    if (type.size != 6 || memcmp(type.text, "linear", 6))
        return sow_fail(SOW_E_UNSUPPORTED, "key %s: found %.*s, expected none or linear", key,
                        (int)(type.size < 40 ? type.size : 40), type.text);
    rope->type = SOW_ROPE_LINEAR;
    rope->factor = real_of(r, "rope.scaling.factor", -1);
    return r->status;
}

/* What all families have. */
static void read_sizes(reader *r, sow_lm_config *c) {
    const sow_gguf_tensor *table = sow_gguf_find(r->file, "token_embd.weight");
    c->vocabulary = table && table->rank == 2 ? table->shape[0] : 0;
    if (!c->vocabulary && r->status == SOW_OK)
        r->status = sow_fail(SOW_E_FORMAT, "tensor token_embd.weight is missing or no matrix");
    c->hidden = size_of(r, "embedding_length", -1);
    c->inner = size_of(r, "feed_forward_length", -1);
    c->layers = size_of(r, "block_count", -1);
    c->heads = size_of(r, "attention.head_count", -1);
    c->kv_heads = size_of(r, "attention.head_count_kv", c->heads);
    c->head_size = size_of(r, "attention.key_length", c->hidden % c->heads == 0 ? c->hidden / c->heads : -1);
    c->positions = size_of(r, "context_length", -1);
    c->tied = !sow_gguf_find(r->file, "output.weight");
    c->begin = token_of(r, "tokenizer.ggml.bos_token_id");
    c->pad = token_of(r, "tokenizer.ggml.padding_token_id");
    int32_t end = token_of(r, "tokenizer.ggml.eos_token_id");
    if (end >= 0) c->ends[c->end_count++] = end;
}

static void read_llama(reader *r, sow_lm_config *c) {
    c->activation = SOW_SILU;
    c->epsilon = real_of(r, "attention.layer_norm_rms_epsilon", -1);
    c->rope = (sow_rope){.theta = real_of(r, "rope.freq_base", 1e4), .factor = 1};
    c->qkv_bias = sow_gguf_find(r->file, "blk.0.attn_q.bias") != NULL;
    if (r->status == SOW_OK) r->status = read_scaling(r, &c->rope);
}

/* The window's pattern and the base of local layers are not in the file: those of all Gemma 3 models. */
static void read_gemma3(reader *r, sow_lm_config *c) {
    c->activation = SOW_GELU_TANH;
    c->epsilon = real_of(r, "attention.layer_norm_rms_epsilon", -1);
    c->rope = (sow_rope){.theta = real_of(r, "rope.freq_base", 1e6), .factor = 1};
    c->local_rope = (sow_rope){.theta = 1e4, .factor = 1};
    c->window = size_of(r, "attention.sliding_window", -1);
    if (r->status == SOW_OK) r->status = read_scaling(r, &c->rope);
    for (int64_t i = 0; i < c->layers && i < SOW_LM_LAYERS_MAX; i++) c->sliding[i] = (i + 1) % 6 != 0;
}

static void read_gpt2(reader *r, sow_lm_config *c) {
    c->activation = SOW_GELU_TANH;
    c->bias = true;
    c->epsilon = real_of(r, "attention.layer_norm_epsilon", -1);
}

static void read_bert(reader *r, sow_lm_config *c) {
    const sow_gguf_tensor *types = sow_gguf_find(r->file, "token_types.weight");
    c->activation = SOW_GELU;
    c->bias = c->tied = true;
    c->epsilon = real_of(r, "attention.layer_norm_epsilon", -1);
    c->types = types && types->rank == 2 ? types->shape[0] : 2;
}

/* ---- names ---- */

typedef struct renaming {
    const char *from, *to;
} renaming;
static const renaming llama_names[] = {{"token_embd", "model.embed_tokens"},
                                       {"output_norm", "model.norm"},
                                       {"output", "lm_head"},
                                       {0}},
                      llama_blocks[] = {{"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
                                        {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
                                        {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
                                        {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
                                        {"ffn_down", "mlp.down_proj"},       {0}},
                      gemma3_blocks[] = {{"attn_norm", "input_layernorm"},
                                         {"attn_q", "self_attn.q_proj"},
                                         {"attn_k", "self_attn.k_proj"},
                                         {"attn_v", "self_attn.v_proj"},
                                         {"attn_output", "self_attn.o_proj"},
                                         {"attn_q_norm", "self_attn.q_norm"},
                                         {"attn_k_norm", "self_attn.k_norm"},
                                         {"post_attention_norm", "post_attention_layernorm"},
                                         {"ffn_norm", "pre_feedforward_layernorm"},
                                         {"post_ffw_norm", "post_feedforward_layernorm"},
                                         {"ffn_gate", "mlp.gate_proj"},
                                         {"ffn_up", "mlp.up_proj"},
                                         {"ffn_down", "mlp.down_proj"},
                                         {0}},
                      gpt2_names[] = {{"token_embd", "transformer.wte"},
                                      {"position_embd", "transformer.wpe"},
                                      {"output_norm", "transformer.ln_f"},
                                      {"output", "lm_head"},
                                      {0}},
                      gpt2_blocks[] = {{"attn_norm", "ln_1"},
                                       {"attn_qkv", "attn.c_attn"},
                                       {"attn_output", "attn.c_proj"},
                                       {"ffn_norm", "ln_2"},
                                       {"ffn_up", "mlp.c_fc"},
                                       {"ffn_down", "mlp.c_proj"},
                                       {0}},
                      bert_names[] = {{"token_embd", "embeddings.word_embeddings"},
                                      {"position_embd", "embeddings.position_embeddings"},
                                      {"token_types", "embeddings.token_type_embeddings"},
                                      {"token_embd_norm", "embeddings.LayerNorm"},
                                      {0}},
                      bert_blocks[] = {{"attn_q", "attention.self.query"},
                                       {"attn_k", "attention.self.key"},
                                       {"attn_v", "attention.self.value"},
                                       {"attn_output", "attention.output.dense"},
                                       {"attn_output_norm", "attention.output.LayerNorm"},
                                       {"ffn_up", "intermediate.dense"},
                                       {"ffn_down", "output.dense"},
                                       {"layer_output_norm", "output.LayerNorm"},
                                       {0}};

/* How an architecture's files are read. */
typedef struct arch {
    const char *name;
    sow_lm_family family;
    void (*read)(reader *, sow_lm_config *);
    const renaming *names, *blocks;
    const char *block; /* "model.layers" */
} arch;
static const arch archs[] = {
    {"llama", SOW_LM_LLAMA, read_llama, llama_names, llama_blocks, "model.layers"},
    {"qwen2", SOW_LM_LLAMA, read_llama, llama_names, llama_blocks, "model.layers"},
    {"gemma3", SOW_LM_GEMMA3, read_gemma3, llama_names, gemma3_blocks, "model.layers"},
    {"gpt2", SOW_LM_GPT2, read_gpt2, gpt2_names, gpt2_blocks, "transformer.h"},
    {"bert", SOW_LM_BERT, read_bert, bert_names, bert_blocks, "encoder.layer"},
};

static const char *renamed(const renaming *table, const char *name, size_t size) {
    for (; table->from; table++)
        if (strlen(table->from) == size && !memcmp(table->from, name, size)) return table->to;
    return NULL;
}

/* "blk.3.attn_q.weight" becomes "model.layers.3.self_attn.q_proj.weight"; NULL for a name that is not known. */
static const char *hf_name(sow_arena *arena, const arch *a, const char *name) {
    const char *dot = strrchr(name, '.'), *first;
    if (!dot || (strcmp(dot, ".weight") && strcmp(dot, ".bias"))) return NULL;
    if (strncmp(name, "blk.", 4)) {
        const char *to = renamed(a->names, name, (size_t)(dot - name));
        return to ? sow_arena_format(arena, "%s%s", to, dot) : NULL;
    }
    size_t digits = strspn(name + 4, "0123456789");
    first = name + 4 + digits;
    if (digits == 0 || digits > 6 || *first != '.' || first >= dot) return NULL;
    const char *to = renamed(a->blocks, first + 1, (size_t)(dot - first - 1));
    return to ? sow_arena_format(arena, "%s.%.*s.%s%s", a->block, (int)digits, name + 4, to, dot) : NULL;
}

static const arch *arch_of(const sow_lm_config *c) {
    const char *name = c->family == SOW_LM_LLAMA && c->qkv_bias ? "qwen2" : NULL;
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (archs[i].family == c->family && (!name || !strcmp(name, archs[i].name))) return &archs[i];
    return NULL;
}

const char *sow_lm_architecture(const sow_lm_config *c) {
    return arch_of(c)->name;
}

const char *sow_lm_gguf_module(sow_arena *arena, const sow_lm_config *c, const char *module) {
    const arch *a = arch_of(c);
    size_t level = strlen(a->block), digits;
    const char *at = module;
    if (!strncmp(at, "bert.", 5)) at += 5;
    if (strncmp(at, a->block, level) || at[level] != '.') return NULL;
    at += level + 1;
    digits = strspn(at, "0123456789");
    if (digits == 0 || at[digits] != '.') return NULL;
    for (const renaming *r = a->blocks; r->from; r++)
        if (!strcmp(r->to, at + digits + 1)) return sow_arena_format(arena, "blk.%.*s.%s", (int)digits, at, r->from);
    return NULL;
}

int64_t sow_lm_gguf_row(const sow_lm_config *c, const char *module, int64_t rows, int64_t row) {
    int64_t heads = sow_ends_with(module, "q_proj") ? c->heads : sow_ends_with(module, "k_proj") ? c->kv_heads : 0;
    if (strcmp(arch_of(c)->name, "llama") || heads == 0 || rows % heads != 0 || rows / heads % 2 != 0) return row;
    int64_t d = rows / heads, r = row % d; /* the file's 2 m + s is row s d/2 + m */
    return row - r + r % 2 * (d / 2) + r / 2;
}

/* ---- values ---- */

/* The file's rows, and how many heads of interleaved rows they hold; of a vector each value is a row. */
static lm_matrix matrix_of(const arch *a, const sow_lm_config *c, const sow_gguf_tensor *from) {
    lm_matrix m = {.type = from->type, .data = from->data, .width = from->shape[from->rank - 1]};
    m.rows = from->count / m.width;
    if (a->family != SOW_LM_LLAMA || strcmp(a->name, "llama")) return m;
    int64_t values, bytes, heads = 0, rows = from->rank == 1 ? m.width : m.rows;
    sow_gguf_block(from->type, &values, &bytes);
    if (strstr(from->name, ".attn_q.")) heads = c->heads;
    if (strstr(from->name, ".attn_k.")) heads = c->kv_heads;
    if (heads == 0 || rows % heads != 0 || rows / heads % 2 != 0) return m; /* mis-shaped: named later */
    if (from->rank == 1 && values != 1) return m;
    if (from->rank == 1) m.rows = m.width, m.width = 1;
    m.heads = heads;
    return m;
}

/* Gemma's norms: the file holds 1 + w. */
static void read_values(const arch *a, const sow_lm_config *c, const sow_gguf_tensor *from, float *to) {
    lm_matrix m = matrix_of(a, c, from);
    lm_matrix_read_all(&m, to);
    bool shifted = a->family == SOW_LM_GEMMA3 && sow_ends_with(from->name, "norm.weight");
    for (int64_t i = 0; shifted && i < from->count; i++) to[i] -= 1;
}

/* GPT-2's matrices are [in, out] in Hugging Face files, [out, in] in GGUF. */
static bool is_turned(const arch *a, const sow_gguf_tensor *t) {
    return a->family == SOW_LM_GPT2 && t->rank == 2 && !strncmp(t->name, "blk.", 4);
}

static sow_status add_tensor(sow_arena *arena, const arch *a, const sow_lm_config *c, const sow_gguf_tensor *t,
                             sow_state *state) {
    const char *name = hf_name(arena, a, t->name);
    sow_entry *e;
    if (!name) return sow_fail(SOW_E_UNSUPPORTED, "tensor %s is none of architecture %s", t->name, a->name);
    if (is_turned(a, t)) {
        sow_mark mark = sow_arena_mark(arena);
        float *values;
        SOW_TRY(sow_state_add(state, name, SOW_F32, 2, (int64_t[]){t->shape[1], t->shape[0]}, &e));
        SOW_TRY(SOW_NEW_RAW(arena, values, t->count));
        read_values(a, c, t, values);
        SOW_TRY(sow_copy(e->value, sow_transpose(SOW_TENSOR(values, SOW_F32, t->shape[0], t->shape[1]))));
        sow_arena_release(arena, mark);
        return SOW_OK;
    }
    SOW_TRY(sow_state_add(state, name, SOW_F32, t->rank, t->shape, &e));
    read_values(a, c, t, e->value.data);
    return SOW_OK;
}

/* llama3's stretching as a table of divisors, one a frequency. */
static sow_status read_divisors(const sow_gguf_tensor *t, sow_lm_config *c) {
    if (t->type != SOW_GGUF_F32 || t->rank != 1 || t->count != c->head_size / 2 || t->count > SOW_LM_DIVISORS_MAX)
        return sow_fail(SOW_E_FORMAT, "tensor rope_freqs.weight: expected F32 [%lld]", (long long)(c->head_size / 2));
    sow_gguf_dequantise(t->type, t->data, t->count, c->rope.divisors);
    for (int64_t i = 0; i < t->count; i++)
        if (!(c->rope.divisors[i] > 0) || !isfinite(c->rope.divisors[i]))
            return sow_fail(SOW_E_NUMBER, "tensor rope_freqs.weight: value %lld is %g", (long long)i,
                            (double)c->rope.divisors[i]);
    c->rope.type = SOW_ROPE_DIVISORS;
    return SOW_OK;
}

/* Matrices of linear sites and the tokens' table stay in the file. */
static bool stays(const sow_gguf_tensor *t) {
    return t->rank == 2 && strncmp(t->name, "position_embd.", 14) && strncmp(t->name, "token_types.", 12);
}

static sow_status keep_matrix(sow_arena *arena, const arch *a, const sow_lm_config *c, const sow_gguf_tensor *t,
                              struct lm_frozen *frozen) {
    lm_matrix m = matrix_of(a, c, t);
    m.name = hf_name(arena, a, t->name);
    m.turned = is_turned(a, t);
    return m.name ? lm_frozen_add(frozen, &m)
                  : sow_fail(SOW_E_UNSUPPORTED, "tensor %s is none of architecture %s", t->name, a->name);
}

/* frozen NULL: copies of all. */
static sow_status read_tensors(const sow_gguf *file, sow_arena *arena, const arch *a, sow_lm_config *c,
                               sow_state *state, struct lm_frozen *frozen) {
    for (int64_t i = 0; i < sow_gguf_count(file); i++) {
        const sow_gguf_tensor *t = sow_gguf_at(file, i);
        if (!strcmp(t->name, "rope_freqs.weight")) SOW_TRY(read_divisors(t, c));
        else if (frozen && stays(t)) SOW_TRY(keep_matrix(arena, a, c, t, frozen));
        else SOW_TRY(add_tensor(arena, a, c, t, state));
    }
    return SOW_OK;
}

/* ---- opening ---- */

static sow_status find_arch(const sow_gguf *file, const arch **out) {
    sow_span name = {0};
    sow_status status = SOW_OK;
    sow_gguf_text(file, "general.architecture", &name, &status);
    SOW_TRY(status);
    for (size_t i = 0; name.text && i < sizeof archs / sizeof *archs; i++)
        if (strlen(archs[i].name) == name.size && !memcmp(archs[i].name, name.text, name.size)) {
            *out = &archs[i];
            return SOW_OK;
        }
    return sow_fail(SOW_E_UNSUPPORTED,
                    "key general.architecture: found %.*s, expected llama, qwen2, gemma3, gpt2 or bert",
                    (int)(name.size < 60 ? name.size : 60), name.text ? name.text : "");
}

static sow_status configure(const sow_gguf *file, const arch *a, sow_lm_config *c) {
    reader r = {file, a->name, SOW_OK};
    *c = (sow_lm_config){.family = a->family, .begin = -1, .pad = -1};
    read_sizes(&r, c);
    SOW_TRY(r.status);
    a->read(&r, c);
    SOW_TRY(r.status);
    return sow_lm_check_sizes(c);
}

/* Takes over `frozen`, which may be NULL. */
static sow_status load(const sow_gguf *file, struct lm_frozen *frozen, sow_lm **out) {
    const arch *a;
    sow_lm_config config;
    sow_arena *arena;
    sow_state *state = NULL;
    sow_status status = find_arch(file, &a);
    if (status == SOW_OK) status = configure(file, a, &config);
    if (status == SOW_OK) status = sow_arena_new(&arena);
    if (status == SOW_OK) {
        status = sow_state_new(&state);
        if (status == SOW_OK) status = read_tensors(file, arena, a, &config, state, frozen);
        sow_arena_free(arena);
    }
    if (status == SOW_OK) return lm_new(&config, state, frozen, out);
    sow_state_free(state);
    lm_frozen_free(frozen);
    return status;
}

sow_status lm_open_gguf(const char *path, bool stays_in_file, sow_lm **out) {
    sow_gguf *file;
    struct lm_frozen *frozen = NULL;
    SOW_TRY(sow_gguf_open(path, &file));
    sow_status status = stays_in_file ? lm_frozen_new(sow_gguf_count(file), file, NULL, &frozen) : SOW_OK;
    if (status == SOW_OK) status = load(file, frozen, out);
    if (!stays_in_file) sow_gguf_close(file);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "%s", path);
}
