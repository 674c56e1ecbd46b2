/* Tables of flat JSON objects as text, Markdown, LaTeX, CSV and HTML. */
#include <string.h>

#include "report/writing.h"
#include "sow/json.h"
#include "sow/report.h"

enum { CELL_MAX = 100 /* letters that widen a column of plain text */, TEXT_DIGITS = 4, DIGITS = 6 };

/* ---- values ---- */

static const char *json_of(sow_arena *arena, const json_t *value) {
    char *text;
    return sow_json_text(arena, value, 0, &text) ? NULL : text;
}

static const char *joined(sow_arena *arena, const json_t *list, int digits) {
    writing w = {.arena = arena};
    const char *text;
    if (json_array_size(list) == 0) return "none";
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (json_is_array(item) || json_is_object(item)) return json_of(arena, list);
        const char *part = sow_value_text(arena, item, digits);
        if (!part) return NULL;
        writing_put(&w, i ? ", " : "");
        writing_put(&w, part);
    }
    return writing_end(&w, &text) ? NULL : text;
}

const char *sow_value_text(sow_arena *arena, const json_t *value, int digits) {
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING: return sow_arena_copy(arena, json_string_value(value));
    case JSON_INTEGER: return sow_arena_format(arena, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    case JSON_REAL: return sow_arena_format(arena, "%.*g", digits, json_real_value(value));
    case JSON_TRUE: return "yes";
    case JSON_FALSE: return "no";
    case JSON_NULL: return "-";
    case JSON_ARRAY: return joined(arena, value, digits);
    case JSON_OBJECT: return json_of(arena, value);
    }
    return NULL;
}

/* For machines: null is empty, numbers read back the same. */
static const char *csv_value(sow_arena *arena, const json_t *value) {
    char number[SOW_REAL_TEXT];
    switch (json_typeof(value)) {
    case JSON_REAL: return sow_arena_copy(arena, sow_real_text(json_real_value(value), number));
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "";
    case JSON_ARRAY: return json_of(arena, value);
    default: return sow_value_text(arena, value, DIGITS);
    }
}

/* ---- columns and cells ---- */

typedef struct table {
    sow_table_style style;
    const char **keys;
    bool *numeric;
    int columns;
    size_t rows;
    const char **cells; /* [rows][columns] */
    bool *bold;         /* [rows] */
} table;

static size_t members_of(const json_t *rows) {
    size_t n = 0;
    for (size_t r = 0; r < json_array_size(rows); r++) n += json_object_size(json_array_get(rows, r));
    return n;
}

/* Keys in order of appearance; those that begin with an underscore say how to show the row. */
static sow_status find_columns(sow_arena *arena, const json_t *rows, table *t) {
    const char *key;
    json_t *value;
    SOW_TRY(SOW_NEW(arena, t->keys, members_of(rows)));
    SOW_TRY(SOW_NEW(arena, t->numeric, members_of(rows)));
    for (size_t r = 0; r < t->rows; r++) json_object_foreach(json_array_get(rows, r), key, value) {
            int c = 0;
            if (key[0] == '_') continue;
            while (c < t->columns && strcmp(t->keys[c], key) != 0) c++;
            if (c == t->columns) {
                t->keys[t->columns++] = key;
                t->numeric[c] = true;
            }
            if (!json_is_number(value) && !json_is_null(value)) t->numeric[c] = false;
        }
    return SOW_OK;
}

static sow_status fill_cells(sow_arena *arena, const json_t *rows, table *t) {
    SOW_TRY(SOW_NEW(arena, t->cells, t->rows * (size_t)t->columns));
    SOW_TRY(SOW_NEW(arena, t->bold, t->rows));
    for (size_t r = 0; r < t->rows; r++) {
        const json_t *row = json_array_get(rows, r);
        t->bold[r] = json_is_true(json_object_get(row, "_bold"));
        for (int c = 0; c < t->columns; c++) {
            const json_t *value = json_object_get(row, t->keys[c]);
            const char *text = "";
            if (t->style == SOW_TABLE_CSV) text = value ? csv_value(arena, value) : "";
            else if (t->style == SOW_TABLE_TEXT) text = value ? sow_value_text(arena, value, TEXT_DIGITS) : "";
            else if (value && !json_is_null(value)) text = sow_value_text(arena, value, DIGITS);
            if (!text) return SOW_E_MEMORY;
            t->cells[r * (size_t)t->columns + (size_t)c] = text;
        }
    }
    return SOW_OK;
}

static const char *cell(const table *t, size_t row, int column) {
    return t->cells[row * (size_t)t->columns + (size_t)column];
}

/* ---- plain text ---- */

/* Letters on the screen: UTF-8 continuation bytes take no column. */
static int width_of(const char *text) {
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* Control characters would move the cursor or worse: they are shown by number. */
static const char *harmless(sow_arena *arena, const char *text) {
    writing w = {.arena = arena};
    bool clean = true;
    const char *out;
    for (const char *c = text; *c; c++)
        clean = clean && (unsigned char)*c >= 32 && *c != 127 && (unsigned char)*c != 0xc2;
    if (clean) return text;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        bool is_c1 = c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0; /* UTF-8 of 0x80..0x9f */
        if (is_c1) c++;
        if (*c == '\n' || *c == '\t') writing_put(&w, " ");
        else if (is_c1 || *c < 32 || *c == 127) writing_format(&w, "\\x%02x", *c);
        else writing_bytes(&w, (const char *)c, 1);
    }
    return writing_end(&w, &out) ? NULL : out;
}

static void put_padded(writing *w, const char *text, int width, bool right, bool last) {
    int gap = width - width_of(text);
    if (right) writing_format(w, "%*s", gap > 0 ? gap : 0, "");
    writing_put(w, text);
    if (!right && !last) writing_format(w, "%*s", gap > 0 ? gap : 0, "");
    writing_put(w, last ? "\n" : "  ");
}

static sow_status write_text(sow_arena *arena, table *t, writing *w) {
    int *widths;
    SOW_TRY(SOW_NEW(arena, widths, t->columns));
    for (int c = 0; c < t->columns; c++) {
        char *heading = sow_arena_copy(arena, t->keys[c]);
        if (!heading) return SOW_E_MEMORY;
        for (char *h = heading; *h; h++)
            if (*h == '_') *h = ' ';
        if (!(t->keys[c] = harmless(arena, heading))) return SOW_E_MEMORY;
        widths[c] = width_of(t->keys[c]);
        for (size_t r = 0; r < t->rows; r++) {
            const char **text = &t->cells[r * (size_t)t->columns + (size_t)c];
            if (!(*text = harmless(arena, *text))) return SOW_E_MEMORY;
            int width = width_of(*text);
            if (width > widths[c]) widths[c] = width > CELL_MAX ? CELL_MAX : width;
        }
    }
    for (int c = 0; c < t->columns; c++) put_padded(w, t->keys[c], widths[c], t->numeric[c], c == t->columns - 1);
    for (size_t r = 0; r < t->rows; r++)
        for (int c = 0; c < t->columns; c++)
            put_padded(w, cell(t, r, c), widths[c], t->numeric[c], c == t->columns - 1);
    return SOW_OK;
}

/* ---- Markdown ---- */

static void put_markdown(writing *w, const char *text) {
    for (const char *c = text; *c;) {
        int length = utf8_length(c);
        if (length == 0) writing_put(w, "\xef\xbf\xbd");
        else if (length > 1) writing_bytes(w, c, (size_t)length);
        else if (*c == '<') writing_put(w, "&lt;");
        else if (*c == '&') writing_put(w, "&amp;");
        else if (*c == '\n' || *c == '\t') writing_put(w, " ");
        else writing_format(w, strchr("\\|*_`[]", *c) ? "\\%c" : "%c", *c);
        c += length ? length : 1;
    }
}

static void write_markdown(const table *t, writing *w) {
    for (int c = 0; c < t->columns; c++) {
        writing_put(w, c ? " | " : "| ");
        put_markdown(w, t->keys[c]);
    }
    writing_put(w, " |\n");
    for (int c = 0; c < t->columns; c++) writing_put(w, t->numeric[c] ? "| ---: " : "| --- ");
    writing_put(w, "|\n");
    for (size_t r = 0; r < t->rows; r++) {
        for (int c = 0; c < t->columns; c++) {
            bool bold = t->bold[r] && *cell(t, r, c);
            writing_put(w, c ? " | " : "| ");
            writing_put(w, bold ? "**" : "");
            put_markdown(w, cell(t, r, c));
            writing_put(w, bold ? "**" : "");
        }
        writing_put(w, " |\n");
    }
}

/* ---- LaTeX ---- */

static void put_latex(writing *w, const char *text) {
    for (const char *c = text; *c;) {
        int length = utf8_length(c);
        if (length == 0) writing_put(w, "?");
        else if (length > 1) writing_bytes(w, c, (size_t)length);
        else if (*c == '\\') writing_put(w, "\\textbackslash{}");
        else if (*c == '~') writing_put(w, "\\textasciitilde{}");
        else if (*c == '^') writing_put(w, "\\textasciicircum{}");
        else if (*c == '<' || *c == '>' || *c == '|') writing_format(w, "$%s$", *c == '|' ? "\\vert" : (char[]){*c, 0});
        else if (*c == '\n' || *c == '\t') writing_put(w, " ");
        else writing_format(w, strchr("{}$&#_%", *c) ? "\\%c" : "%c", *c);
        c += length ? length : 1;
    }
}

static void write_latex(const table *t, writing *w) {
    writing_put(w, "\\begin{tabular}{");
    for (int c = 0; c < t->columns; c++) writing_put(w, t->numeric[c] ? "r" : "l");
    writing_put(w, "}\n\\hline\n");
    for (int c = 0; c < t->columns; c++) {
        writing_put(w, c ? " & " : "");
        put_latex(w, t->keys[c]);
    }
    writing_put(w, " \\\\\n\\hline\n");
    for (size_t r = 0; r < t->rows; r++) {
        for (int c = 0; c < t->columns; c++) {
            const char *text = cell(t, r, c);
            writing_put(w, c ? " & " : "");
            writing_put(w, t->bold[r] && *text ? "\\textbf{" : "");
            if (t->numeric[c] && *text == '-') writing_format(w, "$%s$", text); /* a minus, not a hyphen */
            else put_latex(w, text);
            writing_put(w, t->bold[r] && *text ? "}" : "");
        }
        writing_put(w, " \\\\\n");
    }
    writing_put(w, "\\hline\n\\end{tabular}\n");
}

/* ---- CSV and HTML ---- */

static void put_csv(writing *w, const char *text) {
    size_t length = strlen(text);
    bool padded = length > 0 && (text[0] == ' ' || text[length - 1] == ' ');
    if (!padded && !strpbrk(text, ",;\"\r\n\t")) {
        writing_put(w, text);
        return;
    }
    writing_put(w, "\"");
    for (const char *c = text; *c; c++) writing_bytes(w, *c == '"' ? "\"\"" : c, *c == '"' ? 2 : 1);
    writing_put(w, "\"");
}

static void write_csv(const table *t, writing *w) {
    for (int c = 0; c < t->columns; c++) {
        writing_put(w, c ? "," : "");
        put_csv(w, t->keys[c]);
    }
    writing_put(w, "\n");
    for (size_t r = 0; r < t->rows; r++) {
        for (int c = 0; c < t->columns; c++) {
            writing_put(w, c ? "," : "");
            put_csv(w, cell(t, r, c));
        }
        writing_put(w, "\n");
    }
}

static void write_html(const table *t, writing *w) {
    writing_put(w, "<table>\n<thead><tr>");
    for (int c = 0; c < t->columns; c++) {
        writing_format(w, "<th scope=\"col\"%s>", t->numeric[c] ? " class=\"n\"" : "");
        writing_escaped(w, t->keys[c]);
        writing_put(w, "</th>");
    }
    writing_put(w, "</tr></thead>\n<tbody>\n");
    for (size_t r = 0; r < t->rows; r++) {
        writing_put(w, t->bold[r] ? "<tr class=\"b\">" : "<tr>");
        for (int c = 0; c < t->columns; c++) {
            const char *tag = c == 0 && !t->numeric[c] ? "th" : "td";
            writing_format(w, "<%s%s%s>", tag, *tag == 't' && tag[1] == 'h' ? " scope=\"row\"" : "",
                           t->numeric[c] ? " class=\"n\"" : "");
            writing_escaped(w, cell(t, r, c));
            writing_format(w, "</%s>", tag);
        }
        writing_put(w, "</tr>\n");
    }
    writing_put(w, "</tbody>\n</table>\n");
}

/* ---- all ---- */

sow_status sow_table_format(sow_arena *arena, const json_t *rows, sow_table_style style, const char **text) {
    table t = {.style = style, .rows = json_array_size(rows)};
    writing w = {.arena = arena};
    for (size_t r = 0; r < t.rows; r++)
        if (!json_is_object(json_array_get(rows, r))) return sow_fail(SOW_E_TYPE, "table: row %zu is no object", r + 1);
    SOW_TRY(find_columns(arena, rows, &t));
    *text = "";
    if (t.columns == 0) return SOW_OK;
    SOW_TRY(fill_cells(arena, rows, &t));
    switch (style) {
    case SOW_TABLE_TEXT: SOW_TRY(write_text(arena, &t, &w)); break;
    case SOW_TABLE_MARKDOWN: write_markdown(&t, &w); break;
    case SOW_TABLE_LATEX: write_latex(&t, &w); break;
    case SOW_TABLE_CSV: write_csv(&t, &w); break;
    case SOW_TABLE_HTML: write_html(&t, &w); break;
    }
    return writing_end(&w, text);
}
