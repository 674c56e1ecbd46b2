/* Reading the members of a JSON object that people wrote: types, ranges, unknown keys, each with its place. */
#include "prove/fields.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sow/json.h"
#include "sow/text.h"

enum { SHOWN = 80, WORDS = 64 };

/* ---- messages ---- */

const char *fields_place(const fields *f, const char *key) {
    return *f->place ? sow_arena_format(f->arena, "%s.%s", f->place, key) : sow_arena_copy(f->arena, key);
}

static void show(const json_t *value, char text[SHOWN]) {
    char *dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    snprintf(text, SHOWN, "%s", dumped ? dumped : "a value");
    if (dumped && strlen(dumped) >= SHOWN) memcpy(text + SHOWN - 4, "...", 4);
    free(dumped);
}

sow_status fields_wrong(const fields *f, const char *key, const json_t *value, const char *format, ...) {
    char expected[512], found[SHOWN];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(expected, sizeof expected, format, arguments);
    va_end(arguments);
    const char *place = fields_place(f, key);
    if (!place) return SOW_E_MEMORY;
    if (!value) return sow_fail(SOW_E_ARGUMENT, "%s: %s: missing, expected %s", f->path, place, expected);
    show(value, found);
    return sow_fail(SOW_E_ARGUMENT, "%s: %s: found %s, expected %s", f->path, place, found, expected);
}

const json_t *fields_get(const fields *f, const char *key) {
    return f->object ? json_object_get(f->object, key) : NULL;
}

/* ---- objects ---- */

sow_status fields_check_keys(const fields *f, const char *const *known) {
    const char *key;
    json_t *value;
    int count = 0;
    while (known[count]) count++;
    json_object_foreach((json_t *)(uintptr_t)f->object, key, value) {
        int i = 0;
        while (i < count && strcmp(known[i], key) != 0) i++;
        if (i < count) continue;
        const char *near = sow_nearest(key, known, count), *place = fields_place(f, key);
        if (!place) return SOW_E_MEMORY;
        if (near) return sow_fail(SOW_E_ARGUMENT, "%s: %s: unknown key, did you mean %s?", f->path, place, near);
        char all[512] = "";
        for (i = 0; i < count; i++) {
            size_t used = strlen(all);
            snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", known[i]);
        }
        return sow_fail(SOW_E_ARGUMENT, "%s: %s: unknown key, expected one of %s", f->path, place, all);
    }
    return SOW_OK;
}

sow_status fields_open(const fields *parent, const char *key, const char *const *known, fields *out) {
    const json_t *object = fields_get(parent, key);
    *out = (fields){parent->arena, parent->path, fields_place(parent, key), object};
    if (!out->place) return SOW_E_MEMORY;
    if (!object) return SOW_OK;
    if (!json_is_object(object)) return fields_wrong(parent, key, object, "an object in braces");
    return known ? fields_check_keys(out, known) : SOW_OK;
}

/* ---- values ---- */

sow_status fields_int(const fields *f, const char *key, int64_t low, int64_t high, int64_t *out) {
    const json_t *value = fields_get(f, key);
    if (!value) return SOW_OK;
    double real = json_number_value(value); /* 1e5 is an integer too */
    bool whole = json_is_integer(value) || (json_is_real(value) && real == floor(real) && fabs(real) < 9e15);
    int64_t number = json_is_integer(value) ? json_integer_value(value) : whole ? (int64_t)real : 0;
    if (!whole || number < low || number > high)
        return fields_wrong(f, key, value, "an integer from %lld to %lld", (long long)low, (long long)high);
    *out = number;
    return SOW_OK;
}

sow_status fields_real(const fields *f, const char *key, double low, double high, bool open, double *out) {
    const json_t *value = fields_get(f, key);
    if (!value) return SOW_OK;
    double number = json_number_value(value);
    bool inside = open ? number > low && number < high : number >= low && number <= high;
    if (!json_is_number(value) || !inside) {
        if (isinf(low) && isinf(high)) return fields_wrong(f, key, value, "a number");
        if (isinf(high)) return fields_wrong(f, key, value, "a number %s %g", open ? "above" : "of at least", low);
        return fields_wrong(f, key, value, open ? "a number between %g and %g" : "a number from %g to %g", low, high);
    }
    *out = number;
    return SOW_OK;
}

static bool is_plain(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 32 || *text == 127) return false;
    return true;
}

sow_status fields_text(const fields *f, const char *key, const char **out) {
    const json_t *value = fields_get(f, key);
    if (!value || json_is_null(value)) return SOW_OK;
    const char *text = json_string_value(value);
    if (!text || !*text) return fields_wrong(f, key, value, "a text in quotes");
    if (strlen(text) != json_string_length(value)) return fields_wrong(f, key, value, "a text without \\u0000");
    *out = sow_arena_copy(f->arena, text);
    return *out ? SOW_OK : SOW_E_MEMORY;
}

sow_status fields_bool(const fields *f, const char *key, bool *out) {
    const json_t *value = fields_get(f, key);
    if (!value) return SOW_OK;
    if (!json_is_boolean(value)) return fields_wrong(f, key, value, "true or false");
    *out = json_is_true(value);
    return SOW_OK;
}

sow_status fields_choice(const fields *f, const char *key, const char *const *words, int *out) {
    const json_t *value = fields_get(f, key);
    const char *text = json_string_value(value);
    char all[256] = "";
    int count = 0;
    if (!value) return SOW_OK;
    for (; words[count]; count++) {
        if (text && strcmp(words[count], text) == 0) {
            *out = count;
            return SOW_OK;
        }
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", count ? ", " : "", words[count]);
    }
    const char *near = text ? sow_nearest(text, words, count) : NULL;
    if (near) return fields_wrong(f, key, value, "one of %s; did you mean %s?", all, near);
    return fields_wrong(f, key, value, "one of %s", all);
}

sow_status fields_as_text(const fields *f, const char *key, const json_t *value, const char **out) {
    char number[SOW_REAL_TEXT];
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        if (strlen(text) != json_string_length(value) || !is_plain(text))
            return fields_wrong(f, key, value, "a text on one line");
        *out = sow_arena_copy(f->arena, text);
    } else if (json_is_boolean(value)) *out = json_is_true(value) ? "true" : "false";
    else if (json_is_integer(value))
        *out = sow_arena_format(f->arena, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value)) *out = sow_arena_copy(f->arena, sow_real_text(json_real_value(value), number));
    else return fields_wrong(f, key, value, "a text or a number");
    return *out ? SOW_OK : SOW_E_MEMORY;
}

sow_status fields_texts(const fields *f, const char *key, int most, const char *const **out) {
    const json_t *value = fields_get(f, key);
    const char **list;
    int count = value ? (int)json_array_size(value) : 0;
    if (value && (!json_is_array(value) || count > most))
        return fields_wrong(f, key, value, "a list of at most %d texts", most);
    SOW_TRY(SOW_NEW(f->arena, list, count + 1));
    for (int i = 0; i < count; i++) SOW_TRY(fields_as_text(f, key, json_array_get(value, (size_t)i), &list[i]));
    *out = list;
    return SOW_OK;
}
