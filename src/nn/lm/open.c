/* Opening language models: Hugging Face folders, GGUF files, and fetched ones by their name. */
#include <string.h>

#include "nn/lm/lm.h"
#include "nn/lm/open.h"
#include "sow/data.h"
#include "sow/fetch.h"
#include "sow/file.h"
#include "sow/safetensors.h"
#include "sow/text.h"

enum { CONFIG_BYTES = 16 << 20 };

/* ---- Hugging Face folders ---- */

sow_status lm_read_json(sow_arena *arena, const char *path, json_t **out) {
    char *text;
    size_t size;
    json_error_t error;
    SOW_TRY(sow_read_file(arena, path, CONFIG_BYTES, &text, &size));
    *out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    return *out ? SOW_OK : sow_fail(SOW_E_FORMAT, "%s: line %d: %s", path, error.line, error.text);
}

/* Buffers of old exporters that are no weights. */
static bool is_left_out(const char *name, sow_dtype type) {
    static const char *const ends[] = {".attn.bias", ".attn.masked_bias", "position_ids", "rotary_emb.inv_freq"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (sow_ends_with(name, ends[i])) return true;
    return !sow_dtype_is_real(type);
}

/* BERT's oldest files say gamma and beta. */
static const char *current_name(sow_arena *arena, const char *name) {
    int n = (int)strlen(name);
    if (n > 6 && sow_ends_with(name, ".gamma")) return sow_arena_format(arena, "%.*s.weight", n - 6, name);
    if (n > 5 && sow_ends_with(name, ".beta")) return sow_arena_format(arena, "%.*s.bias", n - 5, name);
    return name;
}

/* A matrix with one row an output, that can be used as it lies. */
static bool stays(const sow_lm_config *config, const char *name, sow_tensor t) {
    if (t.rank != 2 || t.dtype == SOW_F64 || strstr(name, "position_embeddings") ||
        strstr(name, "token_type_embeddings"))
        return false;
    return config->family != SOW_LM_GPT2 || sow_ends_with(name, "wte.weight") || sow_ends_with(name, "lm_head.weight");
}

static sow_status keep_matrix(struct lm_frozen *frozen, const char *name, sow_tensor t) {
    lm_matrix m = {.name = name, .data = t.data, .rows = t.shape[0], .width = t.shape[1]};
    m.type = t.dtype == SOW_F32 ? SOW_GGUF_F32 : t.dtype == SOW_F16 ? SOW_GGUF_F16 : SOW_GGUF_BF16;
    return lm_frozen_add(frozen, &m);
}

static sow_status copy_tensor(sow_state *state, const char *name, sow_tensor t) {
    sow_entry *e;
    SOW_TRY(sow_state_add(state, name, SOW_F32, t.rank, t.shape, &e));
    return sow_copy(e->value, t);
}

/* frozen NULL: copies of all. */
static sow_status read_tensors(sow_arena *arena, const sow_lm_config *config, const sow_safetensors *file,
                               sow_state *state, struct lm_frozen *frozen) {
    for (int64_t i = 0; i < sow_safetensors_count(file); i++) {
        const char *name;
        sow_tensor t = sow_safetensors_tensor(file, i, &name);
        if (is_left_out(name, t.dtype)) continue;
        if (!t.data || !(name = current_name(arena, name))) return SOW_E_MEMORY;
        if (frozen && stays(config, name, t)) SOW_TRY(keep_matrix(frozen, name, t));
        else SOW_TRY(copy_tensor(state, name, t));
    }
    return SOW_OK;
}

static sow_status load_folder(sow_arena *arena, const char *folder, const sow_lm_config *config, bool stays_in_file,
                              sow_lm **out) {
    sow_safetensors *file;
    sow_state *state = NULL;
    struct lm_frozen *frozen = NULL;
    SOW_TRY(sow_safetensors_open(folder, &file));
    sow_status status = stays_in_file ? lm_frozen_new(sow_safetensors_count(file), NULL, file, &frozen) : SOW_OK;
    if (stays_in_file && status != SOW_OK) return status;
    status = sow_state_new(&state);
    if (status == SOW_OK) status = read_tensors(arena, config, file, state, frozen);
    if (status == SOW_OK) status = lm_new(config, state, frozen, out);
    else {
        sow_state_free(state);
        lm_frozen_free(frozen);
    }
    if (!stays_in_file) sow_safetensors_close(file);
    return status;
}

/* Newer folders keep the end tokens of chats here. */
static sow_status read_generation(sow_arena *arena, const char *folder, sow_lm_config *config) {
    const char *path = sow_path_join(arena, folder, "generation_config.json");
    json_t *json;
    if (!path) return SOW_E_MEMORY;
    if (!sow_path_exists(path)) return SOW_OK;
    SOW_TRY(lm_read_json(arena, path, &json));
    sow_status status = sow_lm_configure_ends(json, config);
    json_decref(json);
    return status;
}

static sow_status open_folder(sow_arena *arena, const lm_place *place, bool stays_in_file, sow_lm **out) {
    const char *folder = place->folder;
    sow_lm_config config;
    json_t *json;
    SOW_TRY(lm_read_json(arena, place->config, &json));
    sow_status status = sow_lm_configure(json, &config);
    json_decref(json);
    if (status != SOW_OK) return sow_fail_in(status, "%s", folder);
    SOW_TRY(read_generation(arena, folder, &config));
    return load_folder(arena, folder, &config, stays_in_file, out);
}

/* ---- any of them ---- */

/* A fetched model's folder for its name, else the path itself. */
static sow_status resolve(sow_arena *arena, const char *path, const char **out) {
    *out = path;
    if (sow_path_exists(path) || strchr(path, '/')) return SOW_OK;
    for (const sow_carrier *c = sow_carriers(); c->name; c++) {
        char *folder;
        if (strcmp(c->name, path)) continue;
        SOW_TRY(sow_data_locate(arena, path, &folder));
        *out = folder;
        return SOW_OK;
    }
    return SOW_OK;
}

sow_status lm_locate(sow_arena *arena, const char *path, lm_place *out) {
    *out = (lm_place){0};
    SOW_TRY(resolve(arena, path, &path));
    if (!sow_path_exists(path))
        return sow_fail(
            SOW_E_NOT_FOUND,
            "%s: no such model; expected a folder with config.json, a GGUF file, or a name that 'sow fetch' lists",
            path);
    if (!sow_is_folder(path)) {
        out->gguf = path;
        return SOW_OK;
    }
    out->folder = path;
    out->config = sow_path_join(arena, path, "config.json");
    if (!out->config) return SOW_E_MEMORY;
    if (sow_path_exists(out->config)) return SOW_OK;
    out->config = NULL;
    SOW_TRY(sow_gguf_in_folder(arena, path, &out->gguf));
    return out->gguf ? SOW_OK : sow_fail(SOW_E_NOT_FOUND, "%s: no config.json and no GGUF file in it", path);
}

sow_status sow_lm_locate(sow_arena *arena, const char *path, const char **out) {
    lm_place place;
    SOW_TRY(lm_locate(arena, path, &place));
    *out = place.gguf ? place.gguf : place.folder;
    return SOW_OK;
}

sow_status sow_lm_input(sow_arena *arena, const char *path, sow_input *out) {
    const char *source;
    SOW_TRY(sow_lm_locate(arena, path, &source));
    *out = (sow_input){.option = "model",
                       .name = sow_arena_copy(arena, sow_path_exists(path) ? sow_path_name(path) : path)};
    return out->name ? sow_hash_input(source, out->sha256) : SOW_E_MEMORY;
}

sow_status sow_lm_tokenizer(const char *path, sow_tokenizer **out) {
    sow_arena *arena;
    const char *source;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = sow_lm_locate(arena, path, &source);
    if (status == SOW_OK) status = sow_tokenizer_open(source, out);
    sow_arena_free(arena);
    return status;
}

static sow_status open_any(const char *path, bool stays_in_file, sow_lm **out) {
    sow_arena *arena;
    lm_place place;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = lm_locate(arena, path, &place);
    if (status == SOW_OK)
        status = place.gguf ? lm_open_gguf(place.gguf, stays_in_file, out)
                            : open_folder(arena, &place, stays_in_file, out);
    sow_arena_free(arena);
    return status;
}

sow_status sow_lm_open(const char *path, sow_lm **out) {
    return open_any(path, false, out);
}

sow_status sow_lm_open_frozen(const char *path, sow_lm **out) {
    return open_any(path, true, out);
}
