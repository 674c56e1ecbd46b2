/* Reading PEFT folders: adapter_config.json and adapter_model.safetensors, and the cores of LoRA-SB. */
#include <math.h>
#include <string.h>

#include "base/pattern.h"
#include "formats/json.h"
#include "nn/adapter/adapter.h"
#include "sow/file.h"
#include "sow/safetensors.h"
#include "sow/text.h"

enum { CONFIG_BYTES = 16 << 20, RANK_MAX = 1 << 20, NAME_MAX_BYTES = 1000 };
static const char outermost[] = "base_model.model.";

typedef struct reader {
    const char *folder;
    sow_arena *scratch;
    json_t *config;
    const sow_safetensors *file;
    sow_adapter *adapter;
    bool dora;
} reader;

/* ---- adapter_config.json ---- */

static sow_status wrong_field(const char *field, const char *expected) {
    return sow_fail(SOW_E_FORMAT, "adapter_config.json: \"%s\": expected %s", field, expected);
}

/* Settings that change the layers in ways that are not known here. */
static sow_status refuse_unknown(const json_t *config) {
    static const char *const unknown[] = {"lora_bias",
                                          "layer_replication",
                                          "use_qalora",
                                          "alora_invocation_tokens",
                                          "trainable_token_indices",
                                          "target_parameters",
                                          "arrow_config",
                                          "megatron_config"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        const json_t *value = json_object_get(config, unknown[i]);
        if (value && !json_is_null(value) && !json_is_false(value) &&
            json_array_size(value) + !json_is_array(value) > 0)
            return sow_fail(SOW_E_UNSUPPORTED, "adapter_config.json: \"%s\" is set, which is not supported",
                            unknown[i]);
    }
    const json_t *bias = json_object_get(config, "bias");
    if (bias && (!json_is_string(bias) || strcmp(json_string_value(bias), "none")))
        return sow_fail(SOW_E_UNSUPPORTED, "adapter_config.json: \"bias\": only \"none\" is supported");
    return SOW_OK;
}

static const char *text_of(reader *r, const char *field) {
    const char *text = json_string_value(json_object_get(r->config, field));
    return text ? sow_arena_copy(r->adapter->arena, text) : NULL;
}

/* ["q_proj", "v_proj"] as "q_proj,v_proj"; NULL where it is a pattern or lists full paths. */
static const char *targets_of(reader *r) {
    const json_t *list = json_object_get(r->config, "target_modules"), *item;
    size_t i;
    const char *text = NULL;
    json_array_foreach(list, i, item) {
        const char *name = json_string_value(item);
        if (!name || strchr(name, ',') || strstr(name, "layers.") || strstr(name, "h.")) return NULL;
        text = text ? sow_arena_format(r->adapter->arena, "%s,%s", text, name)
                    : sow_arena_copy(r->adapter->arena, name);
    }
    return text;
}

static sow_status read_config(reader *r) {
    char *text, *path = sow_path_join(r->scratch, r->folder, "adapter_config.json");
    size_t size;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_read_file(r->scratch, path, CONFIG_BYTES, &text, &size));
    SOW_TRY(sow_json_parse(path, text, size, (sow_json_limits){.depth = 16}, &r->config));
    const json_t *type = json_object_get(r->config, "peft_type"), *rank = json_object_get(r->config, "r"),
                 *alpha = json_object_get(r->config, "lora_alpha");
    if (!json_is_string(type)) return wrong_field("peft_type", "\"LORA\"");
    if (strcmp(json_string_value(type), "LORA"))
        return sow_fail(SOW_E_UNSUPPORTED, "adapter_config.json: \"peft_type\" is %.40s, expected LORA",
                        json_string_value(type));
    if (!json_is_integer(rank) || json_integer_value(rank) < 1 || json_integer_value(rank) > RANK_MAX)
        return wrong_field("r", "an integer from 1 to 1048576");
    if (!json_is_number(alpha) || !isfinite(json_number_value(alpha))) return wrong_field("lora_alpha", "a number");
    SOW_TRY(refuse_unknown(r->config));
    r->dora = json_is_true(json_object_get(r->config, "use_dora"));
    SOW_TRY(sow_adapter_new(json_integer_value(rank), json_number_value(alpha),
                            json_is_true(json_object_get(r->config, "use_rslora")), &r->adapter));
    r->adapter->base = text_of(r, "base_model_name_or_path");
    r->adapter->task = text_of(r, "task_type");
    r->adapter->targets = targets_of(r);
    r->adapter->by_inputs = json_is_true(json_object_get(r->config, "fan_in_fan_out"));
    return SOW_OK;
}

/* Whether KEY of a pattern object fits the module as PEFT has it: (.*\.)?(KEY)$. Most keys are plain paths. */
static sow_status fits(const char *key, const char *module, bool *out) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t n = strlen(key), m = strlen(module);
    if (key[strspn(key, plain)] == 0) {
        *out = n <= m && !strcmp(module + m - n, key) && (n == m || module[m - n - 1] == '.');
        return SOW_OK;
    }
    regex_t pattern;
    SOW_TRY(sow_pattern_compile(key, &pattern));
    *out = sow_pattern_fits(&pattern, module);
    regfree(&pattern);
    return SOW_OK;
}

/* The value of the first key that fits. */
static sow_status pattern_value(const reader *r, const char *field, const char *module, double *value) {
    json_t *patterns = json_object_get(r->config, field), *item;
    const char *key;
    json_object_foreach(patterns, key, item) {
        bool fit;
        if (!json_is_number(item)) return wrong_field(field, "numbers");
        SOW_TRY(fits(key, module, &fit));
        if (!fit) continue;
        *value = json_number_value(item);
        return SOW_OK;
    }
    return SOW_OK;
}

/* ---- tensors ---- */

static bool cut_end(char *name, const char *end) {
    size_t n = strlen(name), k = strlen(end);
    if (n <= k || strcmp(name + n - k, end)) return false;
    name[n - k] = 0;
    return true;
}

typedef enum kind { KIND_A, KIND_B, KIND_CORE, KIND_MAGNITUDE, KIND_EMBEDDING, KIND_IGNORED, KIND_OTHER } kind;

/* Cuts a tensor's name down to its module's. Adapter names ("default") appear in files that other programs wrote. */
static kind split_name(char *name) {
    static const struct {
        const char *end;
        kind kind;
    } ends[] = {{".lora_A.weight", KIND_A},
                {".lora_A.default.weight", KIND_A},
                {".lora_B.weight", KIND_B},
                {".lora_B.default.weight", KIND_B},
                {".lora_R.weight", KIND_CORE},
                {"_lora_latent_mapping.weight", KIND_CORE},
                {".lora_latent_mapping.weight", KIND_CORE},
                {".default_lora_latent_mapping.weight", KIND_CORE},
                {".lora_magnitude_vector", KIND_MAGNITUDE},
                {".lora_magnitude_vector.weight", KIND_MAGNITUDE},
                {".lora_magnitude_vector.default.weight", KIND_MAGNITUDE},
                {".lora_embedding_A", KIND_EMBEDDING},
                {".lora_embedding_B", KIND_EMBEDDING},
                {".base_layer.weight", KIND_IGNORED},
                {".base_layer.bias", KIND_IGNORED}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (cut_end(name, ends[i].end)) return ends[i].kind;
    return KIND_OTHER;
}

static sow_status find_tensor(const reader *r, const char *module, const char *const *suffixes, sow_tensor *out) {
    *out = (sow_tensor){0};
    for (; *suffixes; suffixes++) {
        const char *name = sow_arena_format(r->scratch, "%s%s%s", outermost, module, *suffixes);
        if (!name) return SOW_E_MEMORY;
        if (sow_safetensors_find(r->file, name, out) == SOW_OK) return SOW_OK;
    }
    return SOW_OK;
}

static sow_status copy_tensor(reader *r, const char *module, const char *suffix, sow_tensor from, sow_entry **out) {
    if (!from.data) return sow_fail(SOW_E_MEMORY, "%s.%s: out of memory", module, suffix);
    if (!sow_dtype_is_real(from.dtype))
        return sow_fail(SOW_E_TYPE, "%s.%s is %s, expected F32, F16 or BF16", module, suffix,
                        sow_dtype_name(from.dtype));
    SOW_TRY(adapter_entry(r->adapter, module, suffix, SOW_F32, from.rank, from.shape, out));
    SOW_TRY(sow_copy((*out)->value, from));
    return sow_require_finite((*out)->value, (*out)->name);
}

static sow_status settle_scale(const reader *r, sow_adapter_layer *l) {
    double rank = (double)r->adapter->rank, alpha = r->adapter->alpha;
    SOW_TRY(pattern_value(r, "rank_pattern", l->module, &rank));
    SOW_TRY(pattern_value(r, "alpha_pattern", l->module, &alpha));
    if ((double)l->rank != rank)
        return sow_fail(SOW_E_SHAPE, "%s has rank %lld, the configuration says %g", l->module, (long long)l->rank,
                        rank);
    if (!isfinite(alpha)) return wrong_field("alpha_pattern", "finite numbers");
    l->alpha = alpha;
    l->scale = adapter_scale(r->adapter, alpha, l->rank);
    return SOW_OK;
}

static sow_status check_pair(const char *module, sow_tensor a, sow_tensor b) {
    char at[SOW_SHAPE_TEXT], bt[SOW_SHAPE_TEXT];
    if (a.rank == 2 && b.rank == 2 && a.shape[0] == b.shape[1] && a.shape[0] >= 1 && a.shape[1] >= 1 && b.shape[0] >= 1)
        return SOW_OK;
    return sow_fail(SOW_E_SHAPE, "%s: A is %s, B %s, expected [rank, in] and [out, rank]", module,
                    sow_shape_text(a, at), sow_shape_text(b, bt));
}

/* A layer of its factors; core.data NULL: none. Beside a core they are frozen. */
static sow_status add_layer(reader *r, const char *module, sow_tensor a, sow_tensor b, sow_tensor core,
                            sow_adapter_layer **out) {
    sow_adapter_layer *l;
    SOW_TRY(check_pair(module, a, b));
    if (core.data && (core.rank != 2 || core.shape[0] != a.shape[0] || core.shape[1] != a.shape[0]))
        return sow_fail(SOW_E_SHAPE, "%s: the core is not [%lld, %lld]", module, (long long)a.shape[0],
                        (long long)a.shape[0]);
    SOW_TRY(adapter_append(r->adapter, module, &l));
    l->rank = a.shape[0], l->in = a.shape[1], l->out = b.shape[0];
    SOW_TRY(settle_scale(r, l));
    SOW_TRY(copy_tensor(r, l->module, "lora_A.weight", a, &l->a));
    SOW_TRY(copy_tensor(r, l->module, "lora_B.weight", b, &l->b));
    if (core.data) SOW_TRY(copy_tensor(r, l->module, "lora_R.weight", core, &l->core));
    if (core.data) l->a->trainable = l->b->trainable = false;
    *out = l;
    return SOW_OK;
}

/* DoRA's lengths; data NULL: there are none. */
static sow_status add_magnitude(reader *r, sow_adapter_layer *l, sow_tensor length) {
    if (!length.data != !r->dora)
        return sow_fail(SOW_E_FORMAT, "%s: \"use_dora\" is %s, but lora_magnitude_vector is %s", l->module,
                        r->dora ? "true" : "false", length.data ? "there" : "missing");
    if (!length.data) return SOW_OK;
    if (length.rank < 1 || length.rank > 2 || sow_count(length) != l->out)
        return sow_fail(SOW_E_SHAPE, "%s: lora_magnitude_vector has %lld values, expected %lld", l->module,
                        (long long)sow_count(length), (long long)l->out);
    length = SOW_TENSOR(length.data, length.dtype, l->out);
    SOW_TRY(copy_tensor(r, l->module, "lora_magnitude_vector", length, &l->magnitude));
    l->magnitude->role = SOW_ROLE_NORM;
    return SOW_OK;
}

static sow_status read_layer(reader *r, const char *module, sow_tensor a) {
    static const char *const b_names[] = {".lora_B.weight", ".lora_B.default.weight", NULL},
                             *const core_names[] = {"_lora_latent_mapping.weight", ".lora_latent_mapping.weight",
                                                    ".default_lora_latent_mapping.weight", ".lora_R.weight", NULL},
                             *const length_names[] = {".lora_magnitude_vector", ".lora_magnitude_vector.weight",
                                                      ".lora_magnitude_vector.default.weight", NULL};
    sow_tensor b, core, length;
    sow_adapter_layer *l;
    SOW_TRY(find_tensor(r, module, b_names, &b));
    if (!b.data) return sow_fail(SOW_E_FORMAT, "%s has lora_A, but no lora_B", module);
    SOW_TRY(find_tensor(r, module, core_names, &core));
    SOW_TRY(find_tensor(r, module, length_names, &length));
    SOW_TRY(add_layer(r, module, a, b, core, &l));
    return add_magnitude(r, l, length);
}

/* A module trained whole: its name must be in modules_to_save. */
static sow_status read_whole(reader *r, char *module, sow_tensor t) {
    const json_t *saved = json_object_get(r->config, "modules_to_save"), *item;
    bool weight = cut_end(module, ".weight"), bias = !weight && cut_end(module, ".bias"), listed = false;
    size_t i;
    json_array_foreach(saved, i, item) {
        const char *name = json_string_value(item);
        const char *at = name && strlen(name) <= strlen(module) ? module + strlen(module) - strlen(name) : NULL;
        listed |= at && !strcmp(at, name) && (at == module || at[-1] == '.');
    }
    if (!listed || !(weight || bias))
        return sow_fail(SOW_E_UNSUPPORTED, "tensor %s%s%s%s is no part of a LoRA adapter", outermost, module,
                        weight ? ".weight" : "", bias ? ".bias" : "");
    sow_adapter_whole *w = NULL;
    for (int64_t k = 0; k < r->adapter->whole_count && !w; k++)
        if (!strcmp(r->adapter->wholes[k].module, module)) w = &r->adapter->wholes[k];
    if (!w) SOW_TRY(adapter_append_whole(r->adapter, module, &w));
    return copy_tensor(r, w->module, weight ? "weight" : "bias", t, weight ? &w->weight : &w->bias);
}

static sow_status read_tensor(reader *r, int64_t i) {
    static const char *const a_names[] = {".lora_A.weight", ".lora_A.default.weight", NULL};
    const char *name;
    char module[NAME_MAX_BYTES + 1];
    sow_tensor t = sow_safetensors_tensor(r->file, i, &name), a;
    if (strncmp(name, outermost, strlen(outermost)) || strlen(name) > NAME_MAX_BYTES)
        return sow_fail(SOW_E_FORMAT, "tensor %.200s: expected a name that begins with %s", name, outermost);
    memcpy(module, name + strlen(outermost), strlen(name) - strlen(outermost) + 1);
    switch (split_name(module)) {
    case KIND_A: return read_layer(r, module, t);
    case KIND_IGNORED: return SOW_OK;
    case KIND_EMBEDDING: return sow_fail(SOW_E_UNSUPPORTED, "%s: adapters of embeddings are not supported", module);
    case KIND_OTHER: return read_whole(r, module, t);
    default:
        SOW_TRY(find_tensor(r, module, a_names, &a));
        return a.data ? SOW_OK : sow_fail(SOW_E_FORMAT, "tensor %s has no lora_A beside it", name);
    }
}

static sow_status read_tensors(reader *r) {
    for (int64_t i = 0; i < sow_safetensors_count(r->file); i++) SOW_TRY(read_tensor(r, i));
    if (r->adapter->count + r->adapter->whole_count == 0) return sow_fail(SOW_E_FORMAT, "no adapter in it");
    for (int64_t i = 0; i < r->adapter->whole_count; i++)
        if (!r->adapter->wholes[i].weight)
            return sow_fail(SOW_E_FORMAT, "%s has a bias, but no weight", r->adapter->wholes[i].module);
    return SOW_OK;
}

/* ---- lora_sb.safetensors: MODULE.B, .R, .A ---- */

static sow_status read_core(reader *r, const char *name, sow_tensor a) {
    char module[NAME_MAX_BYTES + 1];
    sow_tensor b, core;
    sow_adapter_layer *l;
    if (strlen(name) > NAME_MAX_BYTES) return sow_fail(SOW_E_FORMAT, "tensor name of %zu bytes", strlen(name));
    memcpy(module, name, strlen(name) + 1);
    if (cut_end(module, ".B") || cut_end(module, ".R")) return SOW_OK;
    if (!cut_end(module, ".A"))
        return sow_fail(SOW_E_FORMAT, "tensor %s: expected a name that ends with .A, .B or .R", name);
    const char *b_name = sow_arena_format(r->scratch, "%s.B", module),
               *core_name = sow_arena_format(r->scratch, "%s.R", module);
    if (!b_name || !core_name) return SOW_E_MEMORY;
    SOW_TRY(sow_safetensors_find(r->file, b_name, &b));
    SOW_TRY(sow_safetensors_find(r->file, core_name, &core));
    if (!core.data) return sow_fail(SOW_E_MEMORY, "%s: out of memory", core_name);
    return add_layer(r, module, a, b, core, &l);
}

static sow_status read_cores(reader *r) {
    for (int64_t i = 0; i < sow_safetensors_count(r->file); i++) {
        const char *name;
        sow_tensor t = sow_safetensors_tensor(r->file, i, &name);
        SOW_TRY(read_core(r, name, t));
    }
    return r->adapter->count > 0 ? SOW_OK : sow_fail(SOW_E_FORMAT, "no adapter in it");
}

/* ---- the folder ---- */

static sow_status read_file(reader *r, const char *path, sow_status (*read)(reader *r)) {
    sow_safetensors *file;
    SOW_TRY(sow_safetensors_open(path, &file));
    r->file = file;
    sow_status status = read(r);
    sow_safetensors_close(file);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "%s", path);
}

static sow_status read_folder(reader *r, bool as_lora) {
    if (!sow_is_folder(r->folder))
        return sow_fail(SOW_E_NOT_FOUND,
                        "%s: no such folder; expected one with adapter_config.json and adapter_model.safetensors",
                        r->folder);
    SOW_TRY(read_config(r));
    const char *cores = sow_path_join(r->scratch, r->folder, "lora_sb.safetensors"),
               *plain = sow_path_join(r->scratch, r->folder, "adapter_model.safetensors");
    if (!cores || !plain) return SOW_E_MEMORY;
    if (!as_lora && sow_path_exists(cores)) return read_file(r, cores, read_cores);
    return read_file(r, plain, read_tensors);
}

sow_status sow_adapter_read(const char *folder, bool as_lora, sow_adapter **out) {
    reader r = {.folder = folder};
    SOW_TRY(sow_arena_new(&r.scratch));
    sow_status status = read_folder(&r, as_lora);
    if (status == SOW_OK) *out = r.adapter;
    else {
        sow_adapter_free(r.adapter);
        if (r.config && !strstr(sow_message(), folder)) status = sow_fail_in(status, "%s", folder);
    }
    json_decref(r.config);
    sow_arena_free(r.scratch);
    return status;
}
