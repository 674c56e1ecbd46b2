/* Results for people: scalars as lines, arrays of objects as tables. */
#include <string.h>

#include "cli/cli.h"
#include "sow/json.h"

enum { COLUMNS_MAX = 32, FILES_SHOWN = 8, CELL_MAX = 100 };

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

/* Letters on the screen: UTF-8 continuation bytes take no column. */
static int width_of(const char *text) {
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* A value on one line, in the arena; NULL when memory is short. */
static const char *one_line(sow_arena *arena, const json_t *value, bool in_table) {
    char *text = NULL;
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING: return sow_arena_copy(arena, json_string_value(value));
    case JSON_INTEGER: return sow_arena_format(arena, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    case JSON_REAL: return sow_arena_format(arena, in_table ? "%.4g" : "%.6g", json_real_value(value));
    case JSON_TRUE: return "yes";
    case JSON_FALSE: return "no";
    case JSON_NULL: return "-";
    case JSON_ARRAY: {
        const char *joined = json_array_size(value) ? "" : "none";
        for (size_t i = 0; i < json_array_size(value) && joined; i++) {
            const json_t *item = json_array_get(value, i);
            const char *part = json_is_array(item) || json_is_object(item) ? NULL : one_line(arena, item, in_table);
            if (!part) return sow_json_text(arena, value, 0, &text) ? NULL : text;
            joined = sow_arena_format(arena, "%s%s%s", joined, i ? ", " : "", part);
        }
        return joined;
    }
    case JSON_OBJECT: return sow_json_text(arena, value, 0, &text) ? NULL : text;
    }
    return NULL;
}

static void print_key(FILE *out, const char *key) {
    for (; *key; key++) fputc(*key == '_' ? ' ' : *key, out);
}

/* ---- tables ---- */

typedef struct table {
    const char *keys[COLUMNS_MAX];
    int widths[COLUMNS_MAX];
    bool numeric[COLUMNS_MAX];
    int columns;
    size_t rows;
    const char **cells; /* [rows][columns] */
} table;

static void find_columns(const json_t *array, table *t) {
    size_t i;
    json_t *row, *value;
    const char *key;
    json_array_foreach((json_t *)array, i, row) {
        json_object_foreach(row, key, value) {
            int c = 0;
            while (c < t->columns && strcmp(t->keys[c], key) != 0) c++;
            if (c == t->columns && c < COLUMNS_MAX) {
                t->keys[c] = key;
                t->widths[c] = width_of(key);
                t->numeric[c] = true;
                t->columns++;
            }
            if (c < COLUMNS_MAX && !json_is_number(value) && !json_is_null(value)) t->numeric[c] = false;
        }
    }
}

static void print_cell(FILE *out, const table *t, int c, const char *text, bool last) {
    int gap = t->widths[c] - width_of(text);
    if (t->numeric[c]) fprintf(out, "%*s", gap > 0 ? gap : 0, "");
    cli_print_safely(out, text);
    if (!t->numeric[c] && !last) fprintf(out, "%*s", gap > 0 ? gap : 0, "");
    fputs(last ? "\n" : "  ", out);
}

static sow_status print_table(FILE *out, sow_arena *arena, const json_t *array) {
    table t = {.rows = json_array_size(array)};
    find_columns(array, &t);
    if (t.columns == 0) return SOW_OK;
    SOW_TRY(SOW_NEW(arena, t.cells, t.rows * (size_t)t.columns));
    for (size_t r = 0; r < t.rows; r++) {
        for (int c = 0; c < t.columns; c++) {
            const json_t *value = json_object_get(json_array_get(array, r), t.keys[c]);
            const char *text = value ? one_line(arena, value, true) : "";
            if (!text) return SOW_E_MEMORY;
            t.cells[r * (size_t)t.columns + (size_t)c] = text;
            int width = width_of(text);
            if (width > t.widths[c]) t.widths[c] = width > CELL_MAX ? CELL_MAX : width;
        }
    }
    for (int c = 0; c < t.columns; c++) {
        char *heading = sow_arena_copy(arena, t.keys[c]);
        if (!heading) return SOW_E_MEMORY;
        for (char *h = heading; *h; h++)
            if (*h == '_') *h = ' ';
        print_cell(out, &t, c, heading, c == t.columns - 1);
    }
    for (size_t r = 0; r < t.rows; r++)
        for (int c = 0; c < t.columns; c++)
            print_cell(out, &t, c, t.cells[r * (size_t)t.columns + (size_t)c], c == t.columns - 1);
    return SOW_OK;
}

/* ---- the whole ---- */

static bool is_table(const json_t *value) {
    size_t i;
    json_t *row;
    if (!json_is_array(value) || json_array_size(value) == 0) return false;
    json_array_foreach((json_t *)value, i, row) if (!json_is_object(row)) return false;
    return true;
}

static sow_status print_pair(FILE *out, sow_arena *arena, const char *key, const json_t *value, int indent) {
    const char *text = one_line(arena, value, false);
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
