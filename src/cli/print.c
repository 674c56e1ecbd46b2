/* Results for people: scalars as lines, arrays of objects as tables. */
#include <string.h>

#include "cli/cli.h"
#include "sow/report.h"

enum { FILES_SHOWN = 8 };

void cli_print_safely(FILE *out, const char *text) {
    for (const char *c = text; *c; c++) {
        unsigned char u = (unsigned char)*c;
        bool is_c1 = u == 0xc2 && (unsigned char)c[1] >= 0x80 && (unsigned char)c[1] < 0xa0; /* UTF-8 of 0x80..0x9f */
        if ((u < 32 && u != '\n' && u != '\t') || u == 127) {
            fprintf(out, "\\x%02x", u);
        } else if (is_c1) {
            fprintf(out, "\\x%02x", (unsigned char)*++c);
        } else {
            fputc(u, out);
        }
    }
}

static void print_key(FILE *out, const char *key) {
    for (; *key; key++) fputc(*key == '_' ? ' ' : *key, out);
}

static sow_status print_table(FILE *out, sow_arena *arena, const json_t *array) {
    const char *text;
    SOW_TRY(sow_table_format(arena, array, SOW_TABLE_TEXT, &text));
    fputs(text, out);
    return SOW_OK;
}

static bool is_table(const json_t *value) {
    size_t i;
    json_t *row;
    if (!json_is_array(value) || json_array_size(value) == 0) return false;
    json_array_foreach((json_t *)value, i, row) if (!json_is_object(row)) return false;
    return true;
}

static sow_status print_pair(FILE *out, sow_arena *arena, const char *key, const json_t *value, int indent) {
    const char *text = sow_value_text(arena, value, 6);
    if (!text) return SOW_E_MEMORY;
    fprintf(out, "%*s", indent, "");
    print_key(out, key);
    fputs(": ", out);
    cli_print_safely(out, text);
    fputc('\n', out);
    return SOW_OK;
}

static sow_status print_member(FILE *out, sow_arena *arena, const char *key, const json_t *value) {
    if (is_table(value)) {
        print_key(out, key);
        fputs("\n", out);
        return print_table(out, arena, value);
    }
    if (!json_is_object(value)) return print_pair(out, arena, key, value, 0);
    const char *inner;
    json_t *member;
    print_key(out, key);
    fputs(":\n", out);
    json_object_foreach((json_t *)value, inner, member) SOW_TRY(print_pair(out, arena, inner, member, 2));
    return SOW_OK;
}

static void print_files(FILE *out, const json_t *files) {
    size_t i;
    json_t *name;
    json_array_foreach((json_t *)files, i, name) {
        if (i == FILES_SHOWN && json_array_size(files) > FILES_SHOWN + 1) {
            fprintf(out, "      and %zu more\n", json_array_size(files) - i);
            return;
        }
        fputs(i ? "      " : "wrote ", out);
        cli_print_safely(out, json_string_value(name));
        fputc('\n', out);
    }
}

sow_status cli_print_result(FILE *out, sow_arena *arena, const json_t *result) {
    const char *key;
    json_t *value;
    bool first = true;
    json_object_foreach((json_t *)result, key, value) {
        if (strcmp(key, "files") == 0 || strcmp(key, "next") == 0 || strcmp(key, "text") == 0) continue;
        if (is_table(value) && !first) fputc('\n', out);
        first = false;
        SOW_TRY(print_member(out, arena, key, value));
    }
    /* "text" is for people already: a rendered page, a script */
    const char *text = json_string_value(json_object_get(result, "text"));
    if (text) cli_print_safely(out, text);
    print_files(out, json_object_get(result, "files"));
    const char *next = json_string_value(json_object_get(result, "next"));
    if (next) {
        fputs("next: ", out);
        cli_print_safely(out, next);
        fputc('\n', out);
    }
    return SOW_OK;
}
