/* Parts of tokenizer.json: sequences of typed steps, patterns, strings. */
#include "formats/tokenizer/read.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

bool tok_flag(const json_t *json, const char *name, bool initial) {
    const json_t *value = json_object_get(json, name);
    return json_is_boolean(value) ? json_is_true(value) : initial;
}

sow_status tok_string(sow_arena *arena, const json_t *json, const char *name, sow_span *out) {
    const json_t *value = json_object_get(json, name);
    if (!json_is_string(value)) return sow_fail(SOW_E_FORMAT, "%s: expected a text", name);
    size_t size = json_string_length(value);
    char *copy = sow_arena_take(arena, size + 1, 1);
    if (!copy) return SOW_E_MEMORY;
    memcpy(copy, json_string_value(value), size);
    *out = (sow_span){copy, size};
    return SOW_OK;
}

static int digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

sow_status tok_base64(sow_arena *arena, const char *text, uint8_t **bytes, int64_t *size) {
    size_t n = strlen(text);
    uint32_t bits = 0;
    int held = 0;
    SOW_TRY(SOW_NEW_RAW(arena, *bytes, n / 4 * 3 + 4));
    *size = 0;
    for (size_t i = 0; i < n && text[i] != '='; i++) {
        int d = digit(text[i]);
        if (d < 0) return sow_fail(SOW_E_FORMAT, "base64: character %zu is '%c'", i, text[i]);
        bits = bits << 6 | (uint32_t)d;
        if ((held += 6) >= 8) (*bytes)[(*size)++] = (uint8_t)(bits >> (held -= 8));
    }
    return SOW_OK;
}

/* ---- patterns ---- */

/* PCRE2's \s has U+180E, which the reference's has not: written out, within a class without its brackets. */
static sow_status write_spaces(const char *pattern, tok_text *out) {
    static const char spaces[] =
        "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
    bool in_class = false;
    for (; *pattern; pattern++) {
        bool space = pattern[0] == '\\' && pattern[1] == 's',
             other = pattern[0] == '\\' && pattern[1] == 'S' && !in_class;
        if (space || other) {
            if (!in_class) SOW_TRY(tok_put_bytes(out, other ? "[^" : "[", other ? 2 : 1, 0, 0));
            SOW_TRY(tok_put_bytes(out, spaces, (int64_t)sizeof spaces - 1, 0, 0));
            if (!in_class) SOW_TRY(tok_put_bytes(out, "]", 1, 0, 0));
            pattern++;
            continue;
        }
        if (*pattern == '\\' && pattern[1]) SOW_TRY(tok_put_bytes(out, pattern++, 1, 0, 0));
        else if (*pattern == '[' && !in_class) in_class = true;
        else if (*pattern == ']') in_class = false;
        SOW_TRY(tok_put_bytes(out, pattern, 1, 0, 0));
    }
    return tok_put_bytes(out, "", 1, 0, 0);
}

static sow_status compile(const char *pattern, const char *text, tok_step *s) {
    static const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK;
    char why[128];
    int error;
    PCRE2_SIZE place;
    s->pattern = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, options, &error, &place, NULL);
    if (s->pattern) {
        pcre2_jit_compile(s->pattern, PCRE2_JIT_COMPLETE);
        return SOW_OK;
    }
    pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
    return sow_fail(SOW_E_FORMAT, "pattern %.200s: %s", pattern, why);
}

sow_status tok_compile(const char *pattern, tok_step *s) {
    enum { PATTERN_MAX = 16384 };
    tok_text text = {0};
    if (strlen(pattern) > PATTERN_MAX)
        return sow_fail(SOW_E_RANGE, "a pattern has %zu bytes, expected at most %d", strlen(pattern), PATTERN_MAX);
    SOW_TRY(sow_arena_new(&text.arena));
    sow_status status = write_spaces(pattern, &text);
    if (status == SOW_OK) status = compile(pattern, (const char *)text.bytes, s);
    sow_arena_free(text.arena);
    return status;
}

sow_status tok_read_pattern(sow_arena *arena, const json_t *json, tok_step *s) {
    if (json_is_string(json_object_get(json, "String"))) return tok_string(arena, json, "String", &s->text);
    const char *regex = json_string_value(json_object_get(json, "Regex"));
    return regex ? tok_compile(regex, s)
                 : sow_fail(SOW_E_FORMAT, "pattern: expected {\"String\": ..} or {\"Regex\": ..}");
}

/* A match costs bounded work: one that needs more counts as none. */
static bool match_pattern(const tok_step *s, const tok_piece *p, int64_t at, int64_t *first, int64_t *last) {
    static _Thread_local pcre2_match_data *data;
    static _Thread_local pcre2_match_context *context;
    if (!data) data = pcre2_match_data_create(8, NULL);
    if (!context && (context = pcre2_match_context_create(NULL))) {
        pcre2_set_match_limit(context, 10000000);
        pcre2_set_depth_limit(context, 10000);
    }
    if (!data || !context) return false;
    int n = pcre2_match(s->pattern, p->bytes, (PCRE2_SIZE)p->size, (PCRE2_SIZE)at, PCRE2_NO_UTF_CHECK, data, context);
    if (n < 0) return false;
    const PCRE2_SIZE *places = pcre2_get_ovector_pointer(data);
    *first = (int64_t)places[0];
    *last = (int64_t)places[1];
    return true;
}

bool tok_match(const tok_step *s, const tok_piece *p, int64_t at, int64_t *first, int64_t *last) {
    if (s->pattern) return match_pattern(s, p, at, first, last);
    if (s->text.size == 0) return false;
    const uint8_t *found = memmem(p->bytes + at, (size_t)(p->size - at), s->text.text, s->text.size);
    if (!found) return false;
    *first = found - p->bytes;
    *last = *first + (int64_t)s->text.size;
    return true;
}

void tok_free_steps(tok_step *list) {
    for (; list; list = list->next) pcre2_code_free(list->pattern);
}

/* ---- sequences ---- */

tok_step *tok_append(sow_arena *arena, tok_step **list) {
    while (*list) list = &(*list)->next;
    return SOW_NEW(arena, *list, 1) == SOW_OK ? *list : NULL;
}

sow_status tok_read_parts(sow_arena *arena, const json_t *json, const char *key, const char *what,
                          sow_status (*read)(sow_arena *arena, const char *type, const json_t *json, tok_step *step),
                          tok_step **list) {
    const char *type = json_string_value(json_object_get(json, "type"));
    if (!json || json_is_null(json)) return SOW_OK;
    if (!type) return sow_fail(SOW_E_FORMAT, "%s: type is missing", what);
    if (strcmp(type, "Sequence") != 0) {
        tok_step *s = tok_append(arena, list);
        return s ? read(arena, type, json, s) : SOW_E_MEMORY;
    }
    size_t i;
    const json_t *parts = json_object_get(json, key);
    if (!json_is_array(parts)) parts = json_object_get(json, "pretokenizers");
    for (i = 0; i < json_array_size(parts); i++)
        SOW_TRY(tok_read_parts(arena, json_array_get(parts, i), key, what, read, list));
    return SOW_OK;
}
