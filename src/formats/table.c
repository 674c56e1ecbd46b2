/* Tables of text: CSV and its kin (RFC 4180). */
#include "sow/table.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/source.h"
#include "sow/file.h"

enum { FILE_MAX_GB = 16, UNPACK_STEP = 1 << 20 };

/* Cells and lines grow while the text is read: one block each, doubled. */
typedef struct parser {
    sow_arena *arena;
    const char *place;
    char *text; /* a copy in the arena: cells are cut in place */
    size_t size, at;
    char separator;
    int64_t line, line_start; /* number, from 1; byte where it begins */
    const char **cells;
    int64_t cell_count, cell_capacity;
    int64_t *lines;
    int64_t row_count, row_capacity, columns;
} parser;

static sow_status bad(const parser *p, size_t at, const char *what) {
    return sow_fail(SOW_E_FORMAT, "%s: line %" PRId64 ", column %zu: %s", p->place, p->line, at - (size_t)p->line_start + 1, what);
}

static sow_status grow(sow_arena *arena, void **block, int64_t used, int64_t *capacity, size_t size) {
    if (used < *capacity) return SOW_OK;
    int64_t larger = *capacity ? 2 * *capacity : 1024;
    void *fresh = sow_arena_take_raw(arena, (size_t)larger, size);
    if (!fresh) return SOW_E_MEMORY;
    if (used > 0) memcpy(fresh, *block, (size_t)used * size);
    *block = fresh;
    *capacity = larger;
    return SOW_OK;
}

static sow_status add_cell(parser *p, const char *cell) {
    void *block = p->cells;
    SOW_TRY(grow(p->arena, &block, p->cell_count, &p->cell_capacity, sizeof *p->cells));
    p->cells = block;
    p->cells[p->cell_count++] = cell;
    return SOW_OK;
}

/* The commonest of comma, semicolon and tab in the first line, outside of quotes. */
static char find_separator(const char *text, size_t size) {
    static const char separators[] = ",;\t";
    int64_t counts[3] = {0};
    bool quoted = false;
    for (size_t i = 0; i < size && (quoted || text[i] != '\n'); i++) {
        if (text[i] == '"') quoted = !quoted;
        const char *s = quoted || !text[i] ? NULL : strchr(separators, text[i]);
        if (s) counts[s - separators]++;
    }
    int best = 0;
    for (int i = 1; i < 3; i++)
        if (counts[i] > counts[best]) best = i;
    return separators[best];
}

static void next_line(parser *p, size_t start) {
    p->line++;
    p->line_start = (int64_t)start;
}

/* "He said ""no""" in place; p->at ends behind the closing quote. */
static sow_status read_quoted(parser *p, char **cell) {
    size_t open = p->at++, out = p->at;
    int64_t open_line = p->line, open_start = p->line_start;
    *cell = p->text + out;
    for (;; p->at++) {
        if (p->at == p->size) {
            p->line = open_line, p->line_start = open_start;
            return bad(p, open, "a quote that never closes");
        }
        char c = p->text[p->at];
        if (c == '"' && (p->at + 1 == p->size || p->text[p->at + 1] != '"')) break;
        if (c == '"') p->at++;
        if (c == '\n') next_line(p, p->at + 1);
        p->text[out++] = c;
    }
    p->at++;
    size_t end = p->at;
    while (p->at < p->size && (p->text[p->at] == ' ' || p->text[p->at] == '\r')) p->at++;
    if (p->at < p->size && p->text[p->at] != p->separator && p->text[p->at] != '\n') return bad(p, end, "text behind a closing quote");
    p->text[out] = 0; /* at most the closing quote's place */
    return SOW_OK;
}

static sow_status read_bare(parser *p, char **cell) {
    while (p->at < p->size && p->text[p->at] == ' ') p->at++;
    *cell = p->text + p->at;
    while (p->at < p->size && p->text[p->at] != p->separator && p->text[p->at] != '\n') {
        if (p->text[p->at] == '"') return bad(p, p->at, "a quote inside of a cell that does not begin with one");
        p->at++;
    }
    return SOW_OK;
}

/* One row; the byte behind a cell becomes 0 once it has been looked at. */
static sow_status read_row(parser *p) {
    int64_t first = p->cell_count, line = p->line;
    void *block = p->lines;
    SOW_TRY(grow(p->arena, &block, p->row_count, &p->row_capacity, sizeof *p->lines));
    p->lines = block;
    for (;;) {
        char *cell;
        size_t at = p->at;
        while (at < p->size && p->text[at] == ' ') at++;
        bool quoted = at < p->size && p->text[at] == '"';
        if (quoted) p->at = at;
        SOW_TRY(quoted ? read_quoted(p, &cell) : read_bare(p, &cell));
        bool more = p->at < p->size && p->text[p->at] == p->separator;
        if (!quoted) { /* cut behind the last character that is not a space */
            char *end = p->text + p->at;
            while (end > cell && (end[-1] == ' ' || end[-1] == '\r')) end--;
            *end = 0;
        }
        SOW_TRY(add_cell(p, cell));
        if (p->at < p->size) p->at++;
        if (!more) break;
    }
    int64_t columns = p->cell_count - first;
    if (p->row_count == 0) p->columns = columns;
    if (columns != p->columns) {
        return sow_fail(SOW_E_FORMAT, "%s: line %" PRId64 ": %" PRId64 " columns, expected %" PRId64 " as in line %" PRId64, p->place, line, columns,
                        p->columns, p->lines[0]);
    }
    p->lines[p->row_count++] = line;
    next_line(p, p->at);
    return SOW_OK;
}

static bool is_blank_line(const parser *p) {
    size_t at = p->at;
    while (at < p->size && (p->text[at] == ' ' || p->text[at] == '\r')) at++;
    return at == p->size || p->text[at] == '\n';
}

static void skip_line(parser *p) {
    while (p->at < p->size && p->text[p->at] != '\n') p->at++;
    if (p->at < p->size) p->at++;
    next_line(p, p->at);
}

/* ---- numbers and header ---- */

static bool read_number(const char *cell, double *out) {
    char *end;
    if (!cell[0] || isspace((unsigned char)cell[0])) return false;
    *out = strtod(cell, &end);
    return *end == 0;
}

static bool is_header(const sow_table *t) {
    double number;
    bool any_number = false;
    for (int64_t c = 0; c < t->columns; c++) {
        bool first = read_number(t->cells[c], &number);
        any_number |= first;
        if (!first && t->rows > 1 && read_number(t->cells[t->columns + c], &number)) return true;
    }
    if (any_number || t->rows < 2) return !any_number;
    for (int64_t c = 0; c < t->columns; c++)
        if (strcmp(t->cells[c], t->cells[t->columns + c]) == 0) return false; /* a value that comes again */
    return true;
}

int64_t sow_table_column(const sow_table *table, const char *name) {
    for (int64_t c = 0; table->names && c < table->columns; c++)
        if (strcmp(table->names[c], name) == 0) return c;
    return -1;
}

sow_status sow_table_number(const sow_table *table, int64_t row, int64_t column, double *out) {
    const char *cell = sow_table_cell(table, row, column);
    if (read_number(cell, out) && isfinite(*out)) return SOW_OK;
    const char *name = table->names ? table->names[column] : NULL;
    return sow_fail(SOW_E_FORMAT, "%s: line %" PRId64 ", column %" PRId64 "%s%.60s%s: \"%.60s\" is not a finite number", table->path, table->lines[row],
                    column + 1, name ? " (" : "", name ? name : "", name ? ")" : "", cell);
}

/* ---- whole files ---- */

/* Parses text that may be written to and has room for one byte behind it. */
static sow_status parse_in_place(sow_arena *arena, const char *place, char *text, size_t size, sow_table *out) {
    const char *nul = size > 0 ? memchr(text, 0, size) : NULL;
    parser p = {.arena = arena, .place = place, .text = text, .size = size, .line = 1};
    if (nul) {
        for (const char *c = text; c < nul; c++)
            if (*c == '\n') next_line(&p, (size_t)(c - text) + 1);
        return bad(&p, (size_t)(nul - text), "a NUL byte, expected text");
    }
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) p.at = 3, p.line_start = 3;
    p.separator = find_separator(text + p.at, size - p.at);
    while (p.at < p.size) {
        if (is_blank_line(&p)) skip_line(&p);
        else SOW_TRY(read_row(&p));
    }
    if (p.row_count == 0) return sow_fail(SOW_E_FORMAT, "%s: holds no row", place);
    *out = (sow_table){.path = sow_arena_copy(arena, place), .rows = p.row_count, .columns = p.columns, .cells = p.cells, .lines = p.lines};
    if (!out->path) return SOW_E_MEMORY;
    if (!is_header(out)) return SOW_OK;
    out->names = out->cells;
    out->cells += out->columns;
    out->lines++;
    out->rows--;
    return SOW_OK;
}

sow_status sow_table_parse(sow_arena *arena, const char *place, const char *text, size_t size, sow_table *out) {
    char *copy = sow_arena_take_raw(arena, size + 1, 1);
    if (!copy) return SOW_E_MEMORY;
    if (size > 0) memcpy(copy, text, size);
    copy[size] = 0;
    return parse_in_place(arena, place, copy, size, out);
}

/* How long gzip's content will be is not known before: the block doubles while data comes. */
static sow_status unpack(sow_arena *arena, sow_source *source, char **text, size_t *size) {
    size_t capacity = UNPACK_STEP, got;
    *size = 0;
    if (!(*text = sow_arena_take_raw(arena, capacity + 1, 1))) return SOW_E_MEMORY;
    for (;;) {
        SOW_TRY(sow_source_read(source, *text + *size, capacity - *size, &got));
        *size += got;
        if (*size < capacity) break;
        if (capacity >> 30 >= FILE_MAX_GB) return sow_fail(SOW_E_RANGE, "%s: unpacks to more than %d GB", source->place, FILE_MAX_GB);
        char *larger = sow_arena_take_raw(arena, 2 * capacity + 1, 1);
        if (!larger) return SOW_E_MEMORY;
        *text = memcpy(larger, *text, *size);
        capacity *= 2;
    }
    (*text)[*size] = 0;
    return sow_source_finish(source);
}

sow_status sow_table_read(sow_arena *arena, const char *path, sow_table *out) {
    char *text;
    size_t size;
    SOW_TRY(sow_read_file(arena, path, (size_t)FILE_MAX_GB << 30, &text, &size));
    if (sow_coding_of((const uint8_t *)text, size) != SOW_GZIP) return parse_in_place(arena, path, text, size, out);
    sow_source source;
    sow_status status = sow_source_begin(&source, path, (const uint8_t *)text, size, SOW_GZIP);
    if (status == SOW_OK) status = unpack(arena, &source, &text, &size);
    sow_source_end(&source);
    SOW_TRY(status);
    return parse_in_place(arena, path, text, size, out);
}
