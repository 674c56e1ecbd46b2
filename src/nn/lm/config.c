/* config.json of Hugging Face folders: the fields a forward pass depends on, each checked. */
#include <math.h>
#include <string.h>

#include "nn/lm/open.h"
#include "sow/json.h"

/* ---- fields ---- */

/* A reader keeps its first failure, so that a family's list of fields reads straight through. */
typedef struct reader {
    const json_t *object;
    const char *where; /* "config.json" or "config.json: rope_parameters" */
    sow_status status;
} reader;

static const json_t *field(const reader *r, const char *name) {
    const json_t *value = json_object_get(r->object, name);
    return json_is_null(value) ? NULL : value;
}

static void refuse(reader *r, const char *name, const char *expected) {
    if (r->status != SOW_OK) return;
    const json_t *value = json_object_get(r->object, name);
    const char *text = json_string_value(value);
    char number[SOW_REAL_TEXT] = "";
    if (json_is_number(value)) sow_real_text(json_number_value(value), number);
    else if (!text)
        text = !value ? "nothing" : json_is_true(value) ? "true" : json_is_false(value) ? "false" : "another type";
    r->status = sow_fail(SOW_E_FORMAT, "%s: %s: found %.100s, expected %s", r->where, name, text ? text : number,
                         expected);
}

enum { NO_DEFAULT = -2 };
static const int64_t size_max = 1 << 24;

/* An integer from 1 to 2^24 (sizes), the default where it is absent. */
static int64_t size_of(reader *r, const char *name, int64_t initial) {
    const json_t *value = field(r, name);
    if (!value && initial != NO_DEFAULT) return initial;
    int64_t n = json_is_integer(value) ? json_integer_value(value) : 0;
    if (n >= 1 && n <= size_max) return n;
    refuse(r, name, "an integer from 1 to 16777216");
    return 1; /* reading goes on, and nothing divides by 0 */
}

static double real_of(reader *r, const char *name, double initial) {
    const json_t *value = field(r, name);
    double x = value ? json_number_value(value) : initial;
    if ((value && !json_is_number(value)) || !(x > 0) || !isfinite(x)) refuse(r, name, "a number above 0");
    return x;
}

static bool flag_of(reader *r, const char *name, bool initial) {
    const json_t *value = field(r, name);
    if (value && !json_is_boolean(value)) refuse(r, name, "true or false");
    return value ? json_is_true(value) : initial;
}

/* A field that must be absent, null or this. */
static void must_be(reader *r, const char *name, bool wanted) {
    if (flag_of(r, name, wanted) != wanted)
        refuse(r, name, wanted ? "true: nothing else is supported" : "false: nothing else is supported");
}

static int32_t token_of(reader *r, const char *name) {
    const json_t *value = field(r, name);
    if (!value) return -1;
    int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0 || id > size_max) refuse(r, name, "a token id");
    return (int32_t)id;
}

static void read_ends(reader *r, sow_lm_config *c) {
    const json_t *value = field(r, "eos_token_id");
    if (!json_is_array(value)) {
        int32_t id = token_of(r, "eos_token_id");
        if (id >= 0) c->ends[c->end_count++] = id;
        return;
    }
    for (size_t i = 0; i < json_array_size(value) && i < SOW_LM_ENDS_MAX; i++) {
        int64_t id = json_is_integer(json_array_get(value, i)) ? json_integer_value(json_array_get(value, i)) : -1;
        if (id < 0 || id > size_max) refuse(r, "eos_token_id", "token ids");
        c->ends[c->end_count++] = (int32_t)id;
    }
}

static sow_activation activation_of(reader *r, const char *name, const char *initial) {
    static const struct {
        const char *name;
        sow_activation activation;
    } table[] = {{"silu", SOW_SILU},
                 {"swish", SOW_SILU},
                 {"gelu", SOW_GELU},
                 {"gelu_new", SOW_GELU_TANH},
                 {"gelu_pytorch_tanh", SOW_GELU_TANH},
                 {"relu", SOW_RELU}};
    const json_t *value = field(r, name);
    const char *text = value ? json_string_value(value) : initial;
    for (size_t i = 0; text && i < sizeof table / sizeof *table; i++)
        if (!strcmp(text, table[i].name)) return table[i].activation;
    refuse(r, name, "silu, gelu, gelu_new, gelu_pytorch_tanh or relu");
    return SOW_SILU;
}

/* ---- rotary positions ---- */

static void read_scaling(reader *r, sow_rope *rope) {
    const json_t *value = field(r, "rope_type") ? field(r, "rope_type") : field(r, "type");
    const char *type = value ? json_string_value(value) : "default";
    if (type && !strcmp(type, "default")) return;
    if (type && (!strcmp(type, "linear") || !strcmp(type, "llama3"))) {
        rope->type = !strcmp(type, "linear") ? SOW_ROPE_LINEAR : SOW_ROPE_LLAMA3;
        rope->factor = real_of(r, "factor", 0);
        if (rope->type == SOW_ROPE_LINEAR) return;
        rope->low = real_of(r, "low_freq_factor", 0);
        rope->high = real_of(r, "high_freq_factor", 0);
        rope->original = real_of(r, "original_max_position_embeddings", 0);
        if (r->status == SOW_OK && rope->high <= rope->low) refuse(r, "high_freq_factor", "more than low_freq_factor");
        return;
    }
    refuse(r, field(r, "rope_type") ? "rope_type" : "type", "default, linear or llama3");
}

/* Version 5 of transformers nests theta and scaling in rope_parameters, older ones have rope_theta and rope_scaling. */
static sow_rope rope_of(reader *r, const char *nested, double theta) {
    sow_rope rope = {.theta = real_of(r, "rope_theta", theta), .factor = 1};
    const json_t *parameters = field(r, "rope_parameters");
    if (parameters && nested && json_is_object(json_object_get(parameters, nested)))
        parameters = json_object_get(parameters, nested);
    reader inner = {parameters ? parameters : field(r, "rope_scaling"),
                    parameters ? "config.json: rope_parameters" : "config.json: rope_scaling", r->status};
    if (!inner.object) return rope;
    if (parameters) rope.theta = real_of(&inner, "rope_theta", rope.theta);
    read_scaling(&inner, &rope);
    r->status = inner.status;
    return rope;
}

void sow_rope_frequencies(const sow_rope *rope, int64_t head_size, double *out) {
    for (int64_t m = 0; m < head_size / 2; m++) {
        double f = pow(rope->theta, -2.0 * (double)m / (double)head_size), wave = 2 * M_PI / f;
        if (rope->type == SOW_ROPE_LINEAR) f /= rope->factor;
        if (rope->type == SOW_ROPE_LLAMA3 && wave > rope->original / rope->low) f /= rope->factor;
        else if (rope->type == SOW_ROPE_LLAMA3 && wave >= rope->original / rope->high) {
            double s = (rope->original / wave - rope->low) / (rope->high - rope->low);
            f = (1 - s) * f / rope->factor + s * f;
        }
        if (rope->type == SOW_ROPE_DIVISORS) f /= (double)rope->divisors[m];
        out[m] = f;
    }
}

/* ---- families ---- */

static void read_decoder(reader *r, sow_lm_config *c) {
    c->vocabulary = size_of(r, "vocab_size", NO_DEFAULT);
    c->hidden = size_of(r, "hidden_size", NO_DEFAULT);
    c->inner = size_of(r, "intermediate_size", NO_DEFAULT);
    c->layers = size_of(r, "num_hidden_layers", NO_DEFAULT);
    c->heads = size_of(r, "num_attention_heads", NO_DEFAULT);
    c->kv_heads = size_of(r, "num_key_value_heads", c->heads);
    c->head_size = size_of(r, "head_dim",
                           c->heads > 0 && c->hidden % c->heads == 0 ? c->hidden / c->heads : NO_DEFAULT);
    c->positions = size_of(r, "max_position_embeddings", 2048);
    c->epsilon = real_of(r, "rms_norm_eps", 1e-6);
}

static void read_llama(reader *r, sow_lm_config *c) {
    read_decoder(r, c);
    c->activation = activation_of(r, "hidden_act", "silu");
    c->bias = flag_of(r, "attention_bias", false);
    if (flag_of(r, "mlp_bias", c->bias) != c->bias) refuse(r, "mlp_bias", "the same as attention_bias");
    must_be(r, "use_sliding_window", false);
    c->tied = flag_of(r, "tie_word_embeddings", false);
    c->rope = rope_of(r, NULL, 1e4);
}

static void read_sliding(reader *r, sow_lm_config *c) {
    const json_t *types = field(r, "layer_types");
    int64_t pattern = size_of(r, "sliding_window_pattern", 6);
    for (int64_t i = 0; i < c->layers && i < SOW_LM_LAYERS_MAX; i++) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        c->sliding[i] = types ? type && !strcmp(type, "sliding_attention") : (i + 1) % pattern != 0;
        if (types && (!type || (!c->sliding[i] && strcmp(type, "full_attention"))))
            refuse(r, "layer_types", "sliding_attention or full_attention for every layer");
    }
}

static void read_gemma3(reader *r, sow_lm_config *c) {
    read_decoder(r, c);
    c->activation = activation_of(r, "hidden_activation", "gelu_pytorch_tanh");
    c->bias = flag_of(r, "attention_bias", false);
    c->query_scalar = real_of(r, "query_pre_attn_scalar", 256);
    c->window = size_of(r, "sliding_window", 4096);
    c->tied = flag_of(r, "tie_word_embeddings", true);
    c->rope = rope_of(r, "full_attention", 1e6);
    reader local = {r->object, r->where, r->status};
    const json_t *nested = field(r, "rope_parameters");
    c->local_rope = (sow_rope){.theta = real_of(&local, "rope_local_base_freq", 1e4), .factor = 1};
    if (nested) c->local_rope = rope_of(&local, "sliding_attention", 1e4);
    r->status = local.status;
    must_be(r, "use_bidirectional_attention", false);
    if (field(r, "final_logit_softcapping")) refuse(r, "final_logit_softcapping", "null: nothing else is supported");
    if (field(r, "attn_logit_softcapping")) refuse(r, "attn_logit_softcapping", "null: nothing else is supported");
    read_sliding(r, c);
}

static void read_gpt2(reader *r, sow_lm_config *c) {
    c->vocabulary = size_of(r, "vocab_size", NO_DEFAULT);
    c->hidden = size_of(r, "n_embd", NO_DEFAULT);
    c->layers = size_of(r, "n_layer", NO_DEFAULT);
    c->heads = c->kv_heads = size_of(r, "n_head", NO_DEFAULT);
    c->head_size = c->heads > 0 ? c->hidden / c->heads : 0;
    c->positions = size_of(r, "n_positions", 1024);
    c->inner = size_of(r, "n_inner", 4 * c->hidden);
    c->activation = activation_of(r, "activation_function", "gelu_new");
    c->epsilon = real_of(r, "layer_norm_epsilon", 1e-5);
    must_be(r, "scale_attn_weights", true);
    must_be(r, "scale_attn_by_inverse_layer_idx", false);
    must_be(r, "add_cross_attention", false);
    c->tied = flag_of(r, "tie_word_embeddings", true);
    c->bias = true;
}

static void read_bert(reader *r, sow_lm_config *c) {
    read_decoder(r, c);
    if (c->kv_heads != c->heads || c->heads * c->head_size != c->hidden)
        refuse(r, "num_attention_heads", "a divisor of hidden_size");
    c->epsilon = real_of(r, "layer_norm_eps", 1e-12);
    c->types = size_of(r, "type_vocab_size", 2);
    c->activation = activation_of(r, "hidden_act", "gelu");
    const json_t *positions = field(r, "position_embedding_type");
    if (positions && (!json_is_string(positions) || strcmp(json_string_value(positions), "absolute")))
        refuse(r, "position_embedding_type", "absolute");
    must_be(r, "is_decoder", false);
    must_be(r, "add_cross_attention", false);
    c->tied = true;
    c->bias = true;
}

sow_status sow_lm_check_sizes(const sow_lm_config *c) {
    if (c->layers > SOW_LM_LAYERS_MAX)
        return sow_fail(SOW_E_RANGE, "%lld layers, expected at most %d", (long long)c->layers, SOW_LM_LAYERS_MAX);
    if (c->heads % c->kv_heads != 0)
        return sow_fail(SOW_E_FORMAT, "%lld heads do not share %lld key heads evenly", (long long)c->heads,
                        (long long)c->kv_heads);
    if (c->family != SOW_LM_LLAMA && c->family != SOW_LM_GEMMA3 && c->hidden % c->heads != 0)
        return sow_fail(SOW_E_FORMAT, "width %lld does not divide into %lld heads", (long long)c->hidden,
                        (long long)c->heads);
    if (c->head_size % 2 != 0 && c->family <= SOW_LM_GEMMA3)
        return sow_fail(SOW_E_FORMAT, "head size %lld is odd; rotary positions need an even one",
                        (long long)c->head_size);
    return SOW_OK;
}

sow_status sow_lm_configure(const json_t *config, sow_lm_config *out) {
    static const struct {
        const char *type;
        sow_lm_family family;
        void (*read)(reader *, sow_lm_config *);
    } table[] = {{"llama", SOW_LM_LLAMA, read_llama},
                 {"qwen2", SOW_LM_LLAMA, read_llama},
                 {"gemma3_text", SOW_LM_GEMMA3, read_gemma3},
                 {"gpt2", SOW_LM_GPT2, read_gpt2},
                 {"bert", SOW_LM_BERT, read_bert}};
    reader r = {config, "config.json", SOW_OK};
    const char *type = json_string_value(json_object_get(config, "model_type"));
    *out = (sow_lm_config){.begin = -1, .pad = -1};
    for (size_t i = 0; type && i < sizeof table / sizeof *table; i++) {
        if (strcmp(type, table[i].type)) continue;
        out->family = table[i].family;
        table[i].read(&r, out);
        out->qkv_bias = !strcmp(type, "qwen2");
        out->begin = token_of(&r, "bos_token_id");
        out->pad = token_of(&r, "pad_token_id");
        read_ends(&r, out);
        SOW_TRY(r.status);
        return sow_lm_check_sizes(out);
    }
    return sow_fail(SOW_E_UNSUPPORTED,
                    "config.json: model_type: found %.60s, expected llama, qwen2, gemma3_text, gpt2 or bert",
                    type ? type : "nothing");
}

sow_status sow_lm_configure_ends(const json_t *generation, sow_lm_config *config) {
    reader r = {generation, "generation_config.json", SOW_OK};
    if (!field(&r, "eos_token_id")) return SOW_OK;
    config->end_count = 0;
    read_ends(&r, config);
    return r.status;
}
