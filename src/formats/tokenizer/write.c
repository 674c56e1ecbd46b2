/* The tokenizer of a GGUF file as tokenizer.json and tokenizer_config.json; that of a folder as copies of its files. */
#include <string.h>

#include "formats/tokenizer/read.h"
#include "sow/file.h"
#include "sow/json.h"

#define KEY(name) "tokenizer.ggml." name

enum { CONTROL = 3, USER = 4, FILE_BYTES = 256 << 20 };

typedef struct export {
    const sow_gguf *file;
    sow_arena *arena;
    sow_span *tokens;
    double *types; /* NULL: all normal */
    int64_t count;
    json_t *json, *config; /* tokenizer.json, tokenizer_config.json */
}
export;

static bool is(sow_span text, const char *name) {
    return text.text && text.size == strlen(name) && !memcmp(text.text, name, text.size);
}

static int64_t integer_or(const export *e, const char *key, int64_t initial) {
    sow_status status = SOW_OK;
    sow_gguf_integer(e->file, key, &initial, &status);
    return initial;
}

/* ---- the model ---- */

/* Tokens as the file writes them: the byte alphabet's characters are those of tokenizer.json. */
static sow_status vocabulary(const export *e, json_t *out) {
    for (int64_t i = 0; i < e->count; i++) {
        const char *text = sow_arena_format(e->arena, "%.*s", (int)e->tokens[i].size, e->tokens[i].text);
        if (!text) return SOW_E_MEMORY;
        if (json_object_get(out, text))
            return sow_fail(SOW_E_UNSUPPORTED, "token %lld stands twice: tokenizer.json cannot say so", (long long)i);
        if (json_object_set_new(out, text, json_integer(i)))
            return sow_fail(SOW_E_FORMAT, "token %lld is not UTF-8", (long long)i);
    }
    return SOW_OK;
}

static sow_status merges(const export *e, json_t *out) {
    sow_span *list;
    int64_t count;
    SOW_TRY(sow_gguf_texts(e->file, e->arena, KEY("merges"), &list, &count));
    for (int64_t i = 0; i < count; i++) {
        const char *space = list[i].size > 1 ? memchr(list[i].text + 1, ' ', list[i].size - 1) : NULL;
        json_t *pair = space ? json_pack("[s%,s%]", list[i].text, (size_t)(space - list[i].text), space + 1,
                                         list[i].size - (size_t)(space + 1 - list[i].text))
                             : NULL;
        if (json_array_append_new(out, pair)) return sow_fail(SOW_E_FORMAT, "merge %lld is no pair", (long long)i);
    }
    return SOW_OK;
}

static json_t *byte_level(bool pattern) {
    return json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                     pattern ? 1 : 0);
}

static sow_status splitter(sow_span pre, bool *whole_first, json_t **out) {
    *whole_first = false;
    if (!pre.text || is(pre, "gpt-2") || is(pre, "gpt2")) *out = byte_level(true);
    else if (is(pre, "smollm") || is(pre, "starcoder") || is(pre, "refact") || is(pre, "command-r"))
        *out = json_pack("{s:s,s:[{s:s,s:b},o]}", "type", "Sequence", "pretokenizers", "type", "Digits",
                         "individual_digits", 1, byte_level(true));
    else if (is(pre, "llama-bpe") || is(pre, "llama3") || is(pre, "qwen2")) {
        *whole_first = !is(pre, "qwen2");
        *out = json_pack("{s:s,s:[{s:s,s:{s:s},s:s,s:b},o]}", "type", "Sequence", "pretokenizers", "type", "Split",
                         "pattern", "Regex", *whole_first ? tok_llama3_pattern : tok_qwen2_pattern, "behavior",
                         "Isolated", "invert", 0, byte_level(false));
    } else
        return sow_fail(SOW_E_UNSUPPORTED, "key " KEY("pre") ": %.*s is not known",
                        (int)(pre.size < 60 ? pre.size : 60), pre.text);
    return *out ? SOW_OK : sow_fail(SOW_E_MEMORY, "out of memory");
}

static sow_status bpe(export *e) {
    sow_span model = {0}, pre = {0};
    sow_status status = SOW_OK;
    bool whole_first;
    json_t *words = json_object(), *pairs = json_array(), *split = NULL;
    sow_gguf_text(e->file, KEY("model"), &model, &status);
    if (status == SOW_OK) sow_gguf_text(e->file, KEY("pre"), &pre, &status);
    if (status == SOW_OK && !is(model, "gpt2"))
        status = sow_fail(
            SOW_E_UNSUPPORTED,
            "a tokenizer of kind %.*s: tokenizer.json is written for byte-level BPE (gpt2) only; give one by --tokenizer",
            (int)(model.size < 60 ? model.size : 60), model.text ? model.text : "");
    if (status == SOW_OK) status = splitter(pre, &whole_first, &split);
    if (status == SOW_OK) status = vocabulary(e, words);
    if (status == SOW_OK) status = merges(e, pairs);
    json_t *m = status == SOW_OK
                    ? json_pack("{s:s,s:n,s:n,s:n,s:n,s:b,s:b,s:b,s:O,s:O}", "type", "BPE", "dropout", "unk_token",
                                "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                                "ignore_merges", whole_first ? 1 : 0, "vocab", words, "merges", pairs)
                    : NULL;
    if (status == SOW_OK &&
        (!m || json_object_set(e->json, "pre_tokenizer", split) ||
         json_object_set_new(e->json, "decoder", byte_level(true)) || json_object_set(e->json, "model", m)))
        status = sow_fail(SOW_E_MEMORY, "out of memory");
    json_decref(words), json_decref(pairs), json_decref(split), json_decref(m);
    return status;
}

/* ---- special tokens ---- */

static sow_status added_tokens(export *e) {
    json_t *list = json_array();
    if (json_object_set_new(e->json, "added_tokens", list)) return sow_fail(SOW_E_MEMORY, "out of memory");
    for (int64_t i = 0; e->types && i < e->count; i++) {
        if (e->types[i] != CONTROL && e->types[i] != USER) continue;
        json_t *token = json_pack("{s:I,s:s%,s:b,s:b,s:b,s:b,s:b}", "id", (json_int_t)i, "content", e->tokens[i].text,
                                  e->tokens[i].size, "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0,
                                  "special", e->types[i] == CONTROL);
        if (json_array_append_new(list, token)) return sow_fail(SOW_E_FORMAT, "token %lld is not UTF-8", (long long)i);
    }
    return SOW_OK;
}

/* "bos_token" and its like, under the names of tokenizer_config.json. */
static sow_status name_token(export *e, const char *key, const char *name, int64_t *id) {
    *id = integer_or(e, key, -1);
    if (*id < 0) return SOW_OK;
    if (*id >= e->count)
        return sow_fail(SOW_E_FORMAT, "key %s: token %lld is beyond the vocabulary", key, (long long)*id);
    sow_span t = e->tokens[*id];
    return json_object_set_new(e->config, name, json_stringn(t.text, t.size))
               ? sow_fail(SOW_E_FORMAT, "token %lld is not UTF-8", (long long)*id)
               : SOW_OK;
}

/* <s> before and </s> behind each text, where the file asks for them. */
static sow_status post_processor(export *e, int64_t begin, int64_t end) {
    bool first = begin >= 0 && integer_or(e, KEY("add_bos_token"), 0),
         last = end >= 0 && integer_or(e, KEY("add_eos_token"), 0);
    json_t *single = json_array(), *pair = json_array(), *special = json_object();
    const int64_t ids[2] = {first ? begin : -1, last ? end : -1};
    if (!first && !last) {
        json_decref(single), json_decref(pair), json_decref(special);
        return json_object_set_new(e->json, "post_processor", byte_level(true)) ? SOW_E_MEMORY : SOW_OK;
    }
    for (int text = 0; text < 2; text++)
        for (int part = 0; part < 3; part++) {
            json_t *item = NULL;
            if (part == 1) item = json_pack("{s:{s:s,s:i}}", "Sequence", "id", text ? "B" : "A", "type_id", text);
            else if (ids[part / 2] >= 0) {
                sow_span t = e->tokens[ids[part / 2]];
                item = json_pack("{s:{s:s%,s:i}}", "SpecialToken", "id", t.text, t.size, "type_id", text);
                const char *name = sow_arena_format(e->arena, "%.*s", (int)t.size, t.text);
                if (name)
                    json_object_set_new(
                        special, name,
                        json_pack("{s:s,s:[I],s:[s]}", "id", name, "ids", (json_int_t)ids[part / 2], "tokens", name));
            }
            if (!item) continue;
            if (text == 0) json_array_append(single, item);
            json_array_append_new(pair, item);
        }
    json_t *p = json_pack("{s:s,s:o,s:o,s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                          "special_tokens", special);
    return json_object_set_new(e->json, "post_processor", p) ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

static sow_status configure(export *e) {
    int64_t begin, end, other, length = 0;
    sow_span form = {0}, arch = {0};
    sow_status status = SOW_OK;
    SOW_TRY(name_token(e, KEY("bos_token_id"), "bos_token", &begin));
    SOW_TRY(name_token(e, KEY("eos_token_id"), "eos_token", &end));
    SOW_TRY(name_token(e, KEY("unknown_token_id"), "unk_token", &other));
    SOW_TRY(name_token(e, KEY("padding_token_id"), "pad_token", &other));
    SOW_TRY(post_processor(e, begin, end));
    sow_gguf_text(e->file, "tokenizer.chat_template", &form, &status);
    SOW_TRY(status);
    sow_gguf_text(e->file, "general.architecture", &arch, &status);
    SOW_TRY(status);
    const char *key = sow_arena_format(e->arena, "%.*s.context_length", (int)arch.size, arch.text ? arch.text : "");
    if (key) length = integer_or(e, key, 0);
    bool failed = json_object_set_new(e->config, "tokenizer_class", json_string("PreTrainedTokenizerFast")) ||
                  json_object_set_new(e->config, "clean_up_tokenization_spaces", json_false());
    if (length > 0) failed |= json_object_set_new(e->config, "model_max_length", json_integer(length)) != 0;
    if (form.text) failed |= json_object_set_new(e->config, "chat_template", json_stringn(form.text, form.size)) != 0;
    return failed ? sow_fail(SOW_E_FORMAT, "the chat template is not UTF-8, or out of memory") : SOW_OK;
}

/* ---- files ---- */

static sow_status write_json(export *e, const char *folder, const char *name, const json_t *json) {
    char *text, *path = sow_path_join(e->arena, folder, name);
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_json_text(e->arena, json, SOW_JSON_PRETTY, &text));
    return sow_write_file(path, text, strlen(text));
}

static sow_status begin(export *e) {
    e->json = json_pack("{s:s,s:n,s:n,s:n}", "version", "1.0", "truncation", "padding", "normalizer");
    e->config = json_object();
    if (!e->json || !e->config) return sow_fail(SOW_E_MEMORY, "out of memory");
    SOW_TRY(sow_gguf_texts(e->file, e->arena, KEY("tokens"), &e->tokens, &e->count));
    if (sow_gguf_length(e->file, KEY("token_type")) < 0) return SOW_OK;
    int64_t types;
    SOW_TRY(sow_gguf_numbers(e->file, e->arena, KEY("token_type"), &e->types, &types));
    return types == e->count
               ? SOW_OK
               : sow_fail(SOW_E_FORMAT, "%lld token types for %lld tokens", (long long)types, (long long)e->count);
}

static sow_status export_gguf(export *e, const char *folder) {
    SOW_TRY(begin(e));
    SOW_TRY(added_tokens(e));
    SOW_TRY(configure(e));
    SOW_TRY(bpe(e));
    SOW_TRY(write_json(e, folder, "tokenizer.json", e->json));
    return write_json(e, folder, "tokenizer_config.json", e->config);
}

static sow_status copy_files(sow_arena *arena, const char *from, const char *to) {
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                        "chat_template.jinja", "vocab.txt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *text;
        size_t size;
        const char *source = sow_path_join(arena, from, names[i]), *target = sow_path_join(arena, to, names[i]);
        if (!source || !target) return SOW_E_MEMORY;
        if (!sow_path_exists(source)) continue;
        sow_mark mark = sow_arena_mark(arena);
        SOW_TRY(sow_read_file(arena, source, FILE_BYTES, &text, &size));
        SOW_TRY(sow_write_file(target, text, size));
        sow_arena_release(arena, mark);
    }
    return SOW_OK;
}

sow_status sow_tokenizer_export(const char *path, const char *folder) {
    sow_gguf *file = NULL;
    export e = {0};
    SOW_TRY(sow_arena_new(&e.arena));
    sow_status status;
    if (sow_is_folder(path)) status = copy_files(e.arena, path, folder);
    else {
        status = sow_gguf_open(path, &file);
        e.file = file;
        if (status == SOW_OK) status = export_gguf(&e, folder);
        if (status != SOW_OK) status = sow_fail_in(status, "%s", path);
    }
    json_decref(e.json);
    json_decref(e.config);
    sow_gguf_close(file);
    sow_arena_free(e.arena);
    return status;
}
