/* JSON as text: sorted or not, numbers as short as they can be and still read back equal. */
#include "sow/json.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS_MAX = 100, ON_LINE_MAX = 16 };

/* Text that is measured first (out NULL) and written in a second pass. */
typedef struct printer {
    sow_arena *arena;
    char *out;
    size_t length;
    unsigned style;
    int level;
} printer;

char *sow_real_text(double value, char text[SOW_REAL_TEXT]) {
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, SOW_REAL_TEXT, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    return text;
}

static void put(printer *p, const char *text, size_t length) {
    if (p->out) memcpy(p->out + p->length, text, length);
    p->length += length;
}

static void put_line_break(printer *p) {
    if (!(p->style & SOW_JSON_PRETTY)) return;
    put(p, "\n", 1);
    for (int i = 0; i < p->level; i++) put(p, "  ", 2);
}

static void put_string(printer *p, const char *text, size_t length) {
    char escape[8];
    put(p, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            put(p, "\\", 1);
            put(p, text + i, 1);
        } else if (c == '\n') {
            put(p, "\\n", 2);
        } else if (c < 32 || c == 127) {
            put(p, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", c));
        } else {
            put(p, text + i, 1);
        }
    }
    put(p, "\"", 1);
}

static void put_real(printer *p, double value) {
    char text[SOW_REAL_TEXT];
    sow_real_text(value, text);
    put(p, text, strlen(text));
    if (!strpbrk(text, ".e")) put(p, ".0", 2); /* it reads back as a real */
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The object's keys, sorted if asked for. */
static sow_status keys_of(const printer *p, const json_t *object, const char ***keys) {
    const char *key;
    json_t *value;
    size_t n = 0;
    SOW_TRY(SOW_NEW(p->arena, *keys, json_object_size(object)));
    json_object_foreach((json_t *)object, key, value)(*keys)[n++] = key;
    if (p->style & SOW_JSON_SORTED) qsort(*keys, n, sizeof **keys, by_name);
    return SOW_OK;
}

static sow_status put_value(printer *p, const json_t *value);

/* A short list of plain values stays on one line of pretty text. */
static bool stays_on_line(const json_t *value) {
    if (!json_is_array(value) || json_array_size(value) > ON_LINE_MAX) return false;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        if (json_is_array(item) || json_is_object(item)) return false;
    }
    return true;
}

static sow_status put_members(printer *p, const json_t *value) {
    bool is_object = json_is_object(value);
    size_t count = is_object ? json_object_size(value) : json_array_size(value);
    const char **keys = NULL;
    bool pretty = p->style & SOW_JSON_PRETTY, on_line = pretty && stays_on_line(value);
    if (is_object) SOW_TRY(keys_of(p, value, &keys));
    put(p, is_object ? "{" : "[", 1);
    p->level++;
    for (size_t i = 0; i < count; i++) {
        if (i) put(p, ", ", on_line ? 2 : 1);
        if (!on_line) put_line_break(p);
        if (is_object) {
            put_string(p, keys[i], strlen(keys[i]));
            put(p, ": ", pretty ? 2 : 1);
        }
        SOW_TRY(put_value(p, is_object ? json_object_get(value, keys[i]) : json_array_get(value, i)));
    }
    p->level--;
    if (count && !on_line) put_line_break(p);
    put(p, is_object ? "}" : "]", 1);
    return SOW_OK;
}

static sow_status put_value(printer *p, const json_t *value) {
    char text[32];
    if (p->level > LEVELS_MAX) return sow_fail(SOW_E_RANGE, "JSON is nested more than %d deep", LEVELS_MAX);
    switch (json_typeof(value)) {
    case JSON_OBJECT:
    case JSON_ARRAY: return put_members(p, value);
    case JSON_STRING: put_string(p, json_string_value(value), json_string_length(value)); break;
    case JSON_INTEGER:
        put(p, text, (size_t)snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value)));
        break;
    case JSON_REAL: put_real(p, json_real_value(value)); break;
    case JSON_TRUE: put(p, "true", 4); break;
    case JSON_FALSE: put(p, "false", 5); break;
    case JSON_NULL: put(p, "null", 4); break;
    }
    return SOW_OK;
}

sow_status sow_json_text(sow_arena *arena, const json_t *value, unsigned style, char **text) {
    printer p = {.arena = arena, .style = style};
    sow_mark mark = sow_arena_mark(arena);
    SOW_TRY(put_value(&p, value));
    sow_arena_release(arena, mark);
    char *out = sow_arena_take_raw(arena, p.length + 2, 1);
    if (!out) return SOW_E_MEMORY;
    p = (printer){.arena = arena, .style = style, .out = out};
    SOW_TRY(put_value(&p, value));
    if (style & SOW_JSON_PRETTY) put(&p, "\n", 1);
    out[p.length] = 0;
    *text = out;
    return SOW_OK;
}
