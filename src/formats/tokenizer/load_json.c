/* tokenizer.json: vocabulary, merges, added tokens, and the parts around the model. */
#include <math.h>
#include <string.h>

#include "formats/tokenizer/read.h"
#include "sow/file.h"

enum { DEPTH_MAX = 64 };
static const int64_t file_max = 256 << 20, tokens_max = 4 << 20, token_max = 64 << 10;

/* ---- vocabulary ---- */

static bool has_byte_level(const json_t *json) {
    const char *type = json_string_value(json_object_get(json, "type"));
    const json_t *parts = json_object_get(json, "pretokenizers");
    if (type && !strcmp(type, "ByteLevel")) return true;
    for (size_t i = 0; i < json_array_size(parts); i++)
        if (has_byte_level(json_array_get(parts, i))) return true;
    return false;
}

static sow_status set_token(sow_tokenizer *t, int64_t id, sow_span text) {
    if (id < 0 || id >= t->size)
        return sow_fail(SOW_E_FORMAT, "token %.*s has id %lld, expected 0 to %lld",
                        (int)(text.size < 60 ? text.size : 60), text.text, (long long)id, (long long)t->size - 1);
    if ((int64_t)text.size > token_max)
        return sow_fail(SOW_E_RANGE, "token %lld has %zu bytes, expected at most %lld", (long long)id, text.size,
                        (long long)token_max);
    t->tokens[id] = text;
    if ((int64_t)text.size > t->model.longest) t->model.longest = (int64_t)text.size;
    return SOW_OK;
}

/* A token of the file as the model sees it: byte-level ones as raw bytes. */
static sow_status own_text(sow_tokenizer *t, const char *text, size_t size, sow_span *out) {
    uint8_t *bytes;
    int64_t n;
    SOW_TRY(SOW_NEW_RAW(t->arena, bytes, size + 1));
    if (!t->model.byte_level || !tok_from_alphabet((const uint8_t *)text, (int64_t)size, bytes, &n))
        memcpy(bytes, text, size), n = (int64_t)size;
    *out = (sow_span){(const char *)bytes, (size_t)n};
    return SOW_OK;
}

/* Ids may have gaps, and added tokens lie behind: the table reaches to the largest. */
static sow_status make_room(sow_tokenizer *t, const json_t *vocabulary, const json_t *added) {
    int64_t largest = -1;
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_object(vocabulary)) json_object_foreach((json_t *)(uintptr_t)vocabulary, key, value) {
            int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
            if (id < 0 || id >= tokens_max)
                return sow_fail(SOW_E_FORMAT, "model.vocab: token %.60s has no id from 0 to %lld", key,
                                (long long)tokens_max - 1);
            if (id > largest) largest = id;
        }
    if (json_is_array(vocabulary)) largest = (int64_t)json_array_size(vocabulary) - 1;
    json_array_foreach(added, i, value) {
        int64_t id = json_is_integer(json_object_get(value, "id")) ? json_integer_value(json_object_get(value, "id"))
                                                                   : -1;
        if (id < 0 || id >= tokens_max)
            return sow_fail(SOW_E_FORMAT, "added_tokens: entry %zu has no id from 0 to %lld", i,
                            (long long)tokens_max - 1);
        if (id > largest) largest = id;
    }
    if (largest >= tokens_max)
        return sow_fail(SOW_E_RANGE, "%lld tokens, expected at most %lld", (long long)largest + 1,
                        (long long)tokens_max);
    t->size = largest + 1;
    SOW_TRY(SOW_NEW(t->arena, t->tokens, t->size + 1));
    return SOW_NEW(t->arena, t->special, t->size + 1);
}

static sow_status read_vocabulary(sow_tokenizer *t, const json_t *vocabulary) {
    const char *key;
    json_t *value;
    sow_span text;
    if (!json_is_object(vocabulary)) return sow_fail(SOW_E_FORMAT, "model.vocab: expected an object");
    SOW_TRY(tok_table_new(t->arena, (int64_t)json_object_size(vocabulary), &t->model.words));
    json_object_foreach((json_t *)(uintptr_t)vocabulary, key, value) {
        int64_t id = json_integer_value(value);
        SOW_TRY(own_text(t, key, strlen(key), &text));
        if (id < t->size && t->tokens[id].text)
            return sow_fail(SOW_E_FORMAT, "model.vocab: id %lld stands twice", (long long)id);
        SOW_TRY(set_token(t, id, text));
        tok_table_put(&t->model.words, text.text, (int64_t)text.size, (int32_t)id);
    }
    return SOW_OK;
}

void tok_find_bytes(tok_model *m) {
    for (int b = 0; b < 256; b++) {
        char name[8];
        uint8_t byte = (uint8_t)b;
        m->byte[b] = tok_table_find(&m->words, name, snprintf(name, sizeof name, "<0x%02X>", b));
        m->single[b] = tok_table_find(&m->words, &byte, 1);
    }
}

static sow_status read_unknown(sow_tokenizer *t, const json_t *model) {
    const json_t *unknown = json_object_get(model, "unk_token");
    sow_span text;
    if (!json_is_string(unknown)) return SOW_OK;
    SOW_TRY(own_text(t, json_string_value(unknown), json_string_length(unknown), &text));
    t->model.unknown = tok_table_find(&t->model.words, text.text, (int64_t)text.size);
    return t->model.unknown >= 0
               ? SOW_OK
               : sow_fail(SOW_E_FORMAT, "model.unk_token: %.60s is not in the vocabulary", json_string_value(unknown));
}

/* ---- BPE ---- */

static sow_status split_merge(const json_t *merge, sow_span *left, sow_span *right) {
    const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
    if (json_array_size(merge) == 2 && json_is_string(a) && json_is_string(b)) {
        *left = (sow_span){json_string_value(a), json_string_length(a)};
        *right = (sow_span){json_string_value(b), json_string_length(b)};
        return SOW_OK;
    }
    const char *text = json_string_value(merge), *space = text ? strchr(text, ' ') : NULL;
    if (!space) return SOW_E_FORMAT;
    *left = (sow_span){text, (size_t)(space - text)};
    *right = (sow_span){space + 1, strlen(space + 1)};
    return SOW_OK;
}

sow_status tok_add_merge(sow_tokenizer *t, int64_t rank, sow_span left, sow_span right) {
    sow_span l, r;
    char *both;
    SOW_TRY(own_text(t, left.text, left.size, &l));
    SOW_TRY(own_text(t, right.text, right.size, &r));
    SOW_TRY(SOW_NEW_RAW(t->arena, both, l.size + r.size + 1));
    memcpy(both, l.text, l.size);
    memcpy(both + l.size, r.text, r.size);
    tok_merge m = {tok_table_find(&t->model.words, l.text, (int64_t)l.size),
                   tok_table_find(&t->model.words, r.text, (int64_t)r.size),
                   tok_table_find(&t->model.words, both, (int64_t)(l.size + r.size)), (int32_t)rank};
    if (m.left < 0 || m.right < 0 || m.made < 0)
        return sow_fail(SOW_E_FORMAT, "merge %lld, '%.*s' and '%.*s': a part or the whole is not in the vocabulary",
                        (long long)rank, (int)(left.size < 60 ? left.size : 60), left.text,
                        (int)(right.size < 60 ? right.size : 60), right.text);
    tok_merge_put(&t->model, m);
    return SOW_OK;
}

static sow_status read_bpe(sow_tokenizer *t, const json_t *model) {
    static const char *const refused[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const json_t *merges = json_object_get(model, "merges"), *dropout = json_object_get(model, "dropout");
    if (json_is_number(dropout) && json_number_value(dropout) > 0)
        return sow_fail(SOW_E_UNSUPPORTED, "model.dropout is not supported");
    for (int i = 0; i < 2; i++)
        if (json_string_length(json_object_get(model, refused[i])) > 0)
            return sow_fail(SOW_E_UNSUPPORTED, "model.%s is not supported", refused[i]);
    if (!json_is_array(merges)) return sow_fail(SOW_E_FORMAT, "model.merges: expected an array");
    t->model.kind = TOK_BPE;
    t->model.byte_fallback = tok_flag(model, "byte_fallback", false);
    t->model.fuse_unknown = tok_flag(model, "fuse_unk", false);
    t->model.whole_first = tok_flag(model, "ignore_merges", false);
    SOW_TRY(read_vocabulary(t, json_object_get(model, "vocab")));
    SOW_TRY(tok_merges_new(t->arena, (int64_t)json_array_size(merges), &t->model));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        sow_span left, right;
        if (split_merge(json_array_get(merges, i), &left, &right) != SOW_OK)
            return sow_fail(SOW_E_FORMAT, "model.merges: entry %zu is no pair", i);
        SOW_TRY(tok_add_merge(t, (int64_t)i, left, right));
    }
    return SOW_OK;
}

/* ---- WordPiece, Unigram ---- */

sow_status tok_index_inner(sow_tokenizer *t, const char *prefix) {
    size_t n = strlen(prefix);
    SOW_TRY(tok_table_new(t->arena, t->size, &t->model.inner));
    for (int64_t id = 0; id < t->size; id++) {
        sow_span text = t->tokens[id];
        if (text.text && text.size > n && !memcmp(text.text, prefix, n))
            tok_table_put(&t->model.inner, text.text + n, (int64_t)(text.size - n), (int32_t)id);
    }
    return SOW_OK;
}

static sow_status read_wordpiece(sow_tokenizer *t, const json_t *model) {
    const char *prefix = json_string_value(json_object_get(model, "continuing_subword_prefix"));
    const json_t *longest = json_object_get(model, "max_input_chars_per_word");
    t->model.kind = TOK_WORDPIECE;
    t->model.longest_word = json_is_integer(longest) ? json_integer_value(longest) : 100;
    SOW_TRY(read_vocabulary(t, json_object_get(model, "vocab")));
    return tok_index_inner(t, prefix ? prefix : "##");
}

static sow_status read_unigram(sow_tokenizer *t, const json_t *model) {
    const json_t *vocabulary = json_object_get(model, "vocab"), *unknown = json_object_get(model, "unk_id");
    double *scores;
    sow_span text;
    if (!json_is_array(vocabulary)) return sow_fail(SOW_E_FORMAT, "model.vocab: expected an array of pairs");
    t->model.kind = TOK_UNIGRAM;
    t->model.byte_fallback = tok_flag(model, "byte_fallback", false);
    t->model.least = INFINITY;
    SOW_TRY(SOW_NEW(t->arena, scores, t->size + 1));
    SOW_TRY(tok_table_new(t->arena, t->size, &t->model.words));
    for (size_t i = 0; i < json_array_size(vocabulary); i++) {
        const json_t *name = json_array_get(json_array_get(vocabulary, i), 0),
                     *score = json_array_get(json_array_get(vocabulary, i), 1);
        if (!json_is_string(name) || !json_is_number(score))
            return sow_fail(SOW_E_FORMAT, "model.vocab: entry %zu is no pair of text and score", i);
        SOW_TRY(own_text(t, json_string_value(name), json_string_length(name), &text));
        SOW_TRY(set_token(t, (int64_t)i, text));
        scores[i] = json_number_value(score);
        t->model.least = fmin(t->model.least, scores[i]);
        tok_table_put(&t->model.words, text.text, (int64_t)text.size, (int32_t)i);
    }
    t->model.scores = scores;
    if (json_is_integer(unknown)) {
        int64_t id = json_integer_value(unknown);
        if (id < 0 || id >= (int64_t)json_array_size(vocabulary))
            return sow_fail(SOW_E_FORMAT, "model.unk_id: found %lld", (long long)id);
        t->model.unknown = (int32_t)id;
    }
    return SOW_OK;
}

static sow_status read_model(sow_tokenizer *t, const json_t *model) {
    const char *type = json_string_value(json_object_get(model, "type"));
    if (!type)
        type = json_is_array(json_object_get(model, "vocab")) ? "Unigram"
               : json_object_get(model, "merges")             ? "BPE"
                                                              : "WordPiece";
    if (!strcmp(type, "BPE")) SOW_TRY(read_bpe(t, model));
    else if (!strcmp(type, "WordPiece")) SOW_TRY(read_wordpiece(t, model));
    else if (!strcmp(type, "Unigram")) return read_unigram(t, model);
    else return sow_fail(SOW_E_UNSUPPORTED, "model %.60s is not supported", type);
    return read_unknown(t, model);
}

/* ---- added tokens, post-processor ---- */

static sow_status read_added(sow_tokenizer *t, const json_t *list) {
    size_t i;
    json_t *json;
    SOW_TRY(SOW_NEW(t->arena, t->added, json_array_size(list) + 1));
    json_array_foreach(list, i, json) {
        sow_span text;
        int64_t id = json_integer_value(json_object_get(json, "id"));
        SOW_TRY(tok_string(t->arena, json, "content", &text));
        SOW_TRY(set_token(t, id, text));
        t->special[id] = tok_flag(json, "special", false);
        t->added[t->added_count++] = (tok_added){.text = (const uint8_t *)text.text,
                                                 .size = (int64_t)text.size,
                                                 .id = (int32_t)id,
                                                 .special = t->special[id],
                                                 .normalised = tok_flag(json, "normalized", !t->special[id]),
                                                 .left_strip = tok_flag(json, "lstrip", false),
                                                 .right_strip = tok_flag(json, "rstrip", false),
                                                 .single_word = tok_flag(json, "single_word", false)};
    }
    return SOW_OK;
}

static sow_status put_special(sow_tokenizer *t, bool after, int64_t id) {
    int *count = after ? &t->after_count : &t->before_count;
    if (id < 0 || id >= t->size || *count == 8)
        return sow_fail(SOW_E_FORMAT, "post_processor: id %lld, or more than 8 special tokens", (long long)id);
    (after ? t->after : t->before)[(*count)++] = (int32_t)id;
    return SOW_OK;
}

static sow_status read_template(sow_tokenizer *t, const json_t *json) {
    size_t i, k;
    json_t *part, *id;
    bool after = false;
    json_array_foreach(json_object_get(json, "single"), i, part) {
        const json_t *special = json_object_get(part, "SpecialToken");
        const char *name = json_string_value(json_object_get(special, "id"));
        if (json_object_get(part, "Sequence")) after = true;
        if (!special) continue;
        const json_t *ids = name
                                ? json_object_get(json_object_get(json_object_get(json, "special_tokens"), name), "ids")
                                : NULL;
        if (!ids)
            return sow_fail(SOW_E_FORMAT, "post_processor: special token %.60s is not described", name ? name : "");
        json_array_foreach(ids, k, id) SOW_TRY(put_special(t, after, json_integer_value(id)));
    }
    return SOW_OK;
}

static sow_status read_post(sow_tokenizer *t, const json_t *json) {
    const char *type = json_string_value(json_object_get(json, "type"));
    if (!type || !strcmp(type, "ByteLevel")) return SOW_OK;
    if (!strcmp(type, "TemplateProcessing")) return read_template(t, json);
    if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing")) {
        SOW_TRY(put_special(t, false, json_integer_value(json_array_get(json_object_get(json, "cls"), 1))));
        return put_special(t, true, json_integer_value(json_array_get(json_object_get(json, "sep"), 1)));
    }
    if (strcmp(type, "Sequence")) return sow_fail(SOW_E_UNSUPPORTED, "post_processor %.60s is not supported", type);
    const json_t *parts = json_object_get(json, "processors");
    for (size_t i = 0; i < json_array_size(parts); i++) SOW_TRY(read_post(t, json_array_get(parts, i)));
    return SOW_OK;
}

/* ---- the file ---- */

static sow_status read_all(sow_tokenizer *t, const json_t *root) {
    const json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    if (!json_is_object(model)) return sow_fail(SOW_E_FORMAT, "model: expected an object");
    t->model.byte_level = has_byte_level(json_object_get(root, "pre_tokenizer"));
    SOW_TRY(make_room(t, json_object_get(model, "vocab"), added));
    SOW_TRY(read_model(t, model));
    tok_find_bytes(&t->model);
    SOW_TRY(read_added(t, added));
    SOW_TRY(tok_read_normaliser(t->arena, json_object_get(root, "normalizer"), &t->normalisers));
    SOW_TRY(tok_read_splitter(t->arena, json_object_get(root, "pre_tokenizer"), &t->splitters));
    SOW_TRY(tok_read_decoder(t->arena, json_object_get(root, "decoder"), &t->decoders));
    return read_post(t, json_object_get(root, "post_processor"));
}

/* Parts are read one within the other: no honest file has more than a few levels. */
static bool is_nested_deeper(const uint8_t *text, size_t size, int most) {
    bool quoted = false;
    int depth = 0;
    for (size_t i = 0; i < size && depth <= most; i++) {
        uint8_t c = text[i];
        if (c == '"') quoted = !quoted;
        else if (quoted) i += c == '\\';
        else depth += (c == '[' || c == '{') - (c == ']' || c == '}');
    }
    return depth > most;
}

sow_status tok_load_json(sow_tokenizer *t, const char *path) {
    sow_map map;
    json_error_t error;
    SOW_TRY(sow_map_open(path, &map));
    if ((int64_t)map.size > file_max) {
        sow_map_close(&map);
        return sow_fail(SOW_E_RANGE, "the file is larger than %lld MiB", (long long)(file_max >> 20));
    }
    if (is_nested_deeper(map.data, map.size, DEPTH_MAX)) {
        sow_map_close(&map);
        return sow_fail(SOW_E_FORMAT, "JSON nested more than %d deep", DEPTH_MAX);
    }
    json_t *root = json_loadb(map.size ? (const char *)map.data : "", map.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                              &error);
    sow_map_close(&map);
    if (!root) return sow_fail(SOW_E_FORMAT, "line %d, column %d: %s", error.line, error.column, error.text);
    sow_status status = read_all(t, root);
    json_decref(root);
    return status;
}
