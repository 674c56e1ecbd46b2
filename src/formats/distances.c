/* Distance matrices: PHYLIP and NEXUS, .npy and CSV. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "formats/genotype.h"
#include "sow/npy.h"
#include "sow/table.h"

enum { TAXA_MAX = 20000 };

static sow_status begin(sow_arena *arena, const char *place, int64_t count, int64_t cells, sow_distances *out) {
    int64_t square;
    if (count < 2 || count > TAXA_MAX)
        return sow_fail(SOW_E_FORMAT, "%s: %lld taxa, expected 2 to %d", place, (long long)count, TAXA_MAX);
    SOW_TRY(sow_multiply(count, count - 1, &square));
    if (square / 2 > cells)
        return sow_fail(SOW_E_FORMAT, "%s: too short for the distances of %lld taxa", place, (long long)count);
    out->count = count;
    SOW_TRY(SOW_NEW(arena, out->values, count * count));
    return SOW_NEW(arena, out->names, count);
}

static sow_status read_number(const lines *text, word w, double *out) {
    char copy[64], shown[WORD_SHOWN], *end;
    if (w.size < 1 || w.size >= (int64_t)sizeof copy)
        return sow_fail(SOW_E_FORMAT, "%s: line %lld: '%s' is no number", text->place, (long long)text->number,
                        word_shown(w, shown));
    memcpy(copy, w.text, (size_t)w.size);
    copy[w.size] = 0;
    *out = strtod(copy, &end);
    if (*end || !isfinite(*out))
        return sow_fail(SOW_E_FORMAT, "%s: line %lld: '%s' is no finite number", text->place, (long long)text->number,
                        word_shown(w, shown));
    return SOW_OK;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static sow_status check_names(sow_arena *arena, const char *place, const sow_distances *d) {
    const char **sorted;
    SOW_TRY(SOW_NEW(arena, sorted, d->count));
    memcpy(sorted, d->names, (size_t)d->count * sizeof *sorted);
    qsort(sorted, (size_t)d->count, sizeof *sorted, by_text);
    for (int64_t i = 1; i < d->count; i++)
        if (strcmp(sorted[i], sorted[i - 1]) == 0)
            return sow_fail(SOW_E_FORMAT, "%s: taxon '%.40s' comes twice", place, sorted[i]);
    return SOW_OK;
}

/* A word of one taxon's row; rows may go over several lines. */
static bool next_in_file(lines *text, word *line, word *out) {
    while (!next_word(line, out))
        if (!next_line(text, line)) return false;
    return true;
}

/* ---- PHYLIP: the number of taxa, then names and rows, whole or below the diagonal ---- */

sow_status phylip_distances(sow_arena *arena, lines text, sow_distances *out) {
    word line, w;
    int64_t cells = text.end - text.at;
    if (!next_line(&text, &line) || !next_word(&line, &w) || line.size > 0)
        return sow_fail(SOW_E_FORMAT, "%s: expected the number of taxa in the first line", text.place);
    SOW_TRY(begin(arena, text.place, word_number(w), cells, out));
    lines ahead = text;
    next_line(&ahead, &line); /* below the diagonal: the first row has no numbers, or a zero for itself */
    int64_t n = out->count, first = count_words(line) - 1;
    bool lower = first == 0 || (first == 1 && n > 2);
    for (int64_t i = 0; i < n; i++) {
        if (!next_line(&text, &line) || !next_word(&line, &w))
            return sow_fail(SOW_E_FORMAT, "%s: ends behind taxon %lld of %lld", text.place, (long long)i, (long long)n);
        if (!(out->names[i] = word_copy(arena, w))) return SOW_E_MEMORY;
        int64_t columns = lower ? i + (first == 1) : n;
        for (int64_t j = 0; j < columns; j++) {
            double d;
            if (!next_in_file(&text, &line, &w))
                return sow_fail(SOW_E_FORMAT, "%s: ends within the row of '%.40s'", text.place, out->names[i]);
            SOW_TRY(read_number(&text, w, &d));
            out->values[i * n + j] = d;
            if (lower) out->values[j * n + i] = d;
        }
        if (count_words(line) > 0)
            return sow_fail(SOW_E_FORMAT, "%s: line %lld has more than the %lld distances expected", text.place,
                            (long long)text.number, (long long)columns);
    }
    return check_names(arena, text.place, out);
}

/* ---- NEXUS ---- */

/* Tokens: words, quoted names, and ; = as tokens of their own. Comments in brackets are skipped. */
static bool next_token(lines *text, word *out) {
    int depth = 0;
    while (text->at < text->end && (depth > 0 || isspace((unsigned char)*text->at) || *text->at == '[')) {
        depth += *text->at == '[' ? 1 : *text->at == ']' && depth > 0 ? -1 : 0;
        text->number += *text->at++ == '\n';
    }
    if (text->at >= text->end) return false;
    *out = (word){text->at, 1};
    if (*text->at == '\'' || *text->at == '"') {
        char quote = *text->at++;
        out->text = text->at;
        while (text->at < text->end && *text->at != quote) text->number += *text->at++ == '\n';
        out->size = text->at - out->text;
        text->at += text->at < text->end;
        return true;
    }
    if (*text->at++ == ';' || out->text[0] == '=') return true;
    while (text->at < text->end && !isspace((unsigned char)*text->at) && !strchr(";=[", *text->at))
        text->at++, out->size++;
    return true;
}

static bool is_keyword(word w, const char *keyword) {
    return (int64_t)strlen(keyword) == w.size && strncasecmp(w.text, keyword, (size_t)w.size) == 0;
}

typedef struct nexus {
    int64_t taxa;
    bool labels, diagonal, lower, upper;
} nexus;

/* "keyword=value" pairs up to the semicolon. */
static void read_settings(lines *text, nexus *x) {
    word key, w;
    while (next_token(text, &key) && key.text[0] != ';') {
        lines before = *text;
        bool valued = next_token(text, &w) && w.size == 1 && w.text[0] == '=' && next_token(text, &w);
        if (!valued) *text = before;
        if (valued && is_keyword(key, "ntax")) x->taxa = word_number(w);
        if (is_keyword(key, "labels")) x->labels = !valued || !(is_keyword(w, "no"));
        if (is_keyword(key, "nolabels")) x->labels = false;
        if (is_keyword(key, "diagonal")) x->diagonal = !valued || !is_keyword(w, "no");
        if (is_keyword(key, "nodiagonal")) x->diagonal = false;
        if (valued && is_keyword(key, "triangle")) x->lower = is_keyword(w, "lower"), x->upper = is_keyword(w, "upper");
    }
}

static sow_status read_labels(sow_arena *arena, lines *text, int64_t taxa, const char **names) {
    word w;
    for (int64_t i = 0; next_token(text, &w) && w.text[0] != ';'; i++) {
        if (i >= taxa)
            return sow_fail(SOW_E_FORMAT, "%s: line %lld: more than %lld labels of taxa", text->place,
                            (long long)text->number, (long long)taxa);
        if (!(names[i] = word_copy(arena, w))) return SOW_E_MEMORY;
    }
    return SOW_OK;
}

static sow_status read_matrix(sow_arena *arena, lines *text, const nexus *x, sow_distances *out) {
    int64_t n = out->count;
    word w;
    for (int64_t i = 0; i < n; i++) {
        int64_t first = x->upper ? i + !x->diagonal : 0, end = x->lower ? i + x->diagonal : n;
        if (x->labels) {
            if (!next_token(text, &w) || w.text[0] == ';')
                return sow_fail(SOW_E_FORMAT, "%s: the matrix ends behind taxon %lld of %lld", text->place,
                                (long long)i, (long long)n);
            if (!(out->names[i] = word_copy(arena, w))) return SOW_E_MEMORY;
        }
        for (int64_t j = first; j < end; j++) {
            if (!x->lower && !x->upper && !x->diagonal && i == j) continue;
            double d;
            if (!next_token(text, &w)) return sow_fail(SOW_E_FORMAT, "%s: ends within the matrix", text->place);
            SOW_TRY(read_number(text, w, &d));
            out->values[i * n + j] = d;
            if (x->lower || x->upper) out->values[j * n + i] = d;
        }
    }
    if (!next_token(text, &w) || w.text[0] != ';')
        return sow_fail(SOW_E_FORMAT, "%s: line %lld: expected ';' behind the matrix", text->place,
                        (long long)text->number);
    return SOW_OK;
}

sow_status nexus_distances(sow_arena *arena, lines text, sow_distances *out) {
    nexus x = {.labels = true, .diagonal = true};
    word w;
    int64_t cells = text.end - text.at;
    const char **labels = NULL;
    bool within = false;
    *out = (sow_distances){0};
    while (next_token(&text, &w)) {
        if (is_keyword(w, "begin") && next_token(&text, &w)) within = is_keyword(w, "distances");
        else if (is_keyword(w, "dimensions") || (within && is_keyword(w, "format"))) read_settings(&text, &x);
        else if (is_keyword(w, "taxlabels")) {
            if (x.taxa < 2 || x.taxa > TAXA_MAX)
                return sow_fail(SOW_E_FORMAT, "%s: labels without a number of taxa", text.place);
            SOW_TRY(SOW_NEW(arena, labels, x.taxa));
            SOW_TRY(read_labels(arena, &text, x.taxa, labels));
        } else if (within && is_keyword(w, "matrix")) {
            SOW_TRY(begin(arena, text.place, x.taxa, cells, out));
            SOW_TRY(read_matrix(arena, &text, &x, out));
            for (int64_t i = 0; i < out->count; i++) {
                if (!out->names[i] && labels) out->names[i] = labels[i];
                if (!out->names[i] && !(out->names[i] = sow_arena_format(arena, "%lld", (long long)i + 1)))
                    return SOW_E_MEMORY;
            }
            return check_names(arena, text.place, out);
        }
    }
    return sow_fail(SOW_E_FORMAT, "%s: no Distances block with a matrix", text.place);
}

/* ---- .npy and CSV ---- */

static sow_status npy_distances(sow_arena *arena, const char *path, sow_distances *out) {
    sow_tensor t;
    char shape[SOW_SHAPE_TEXT];
    SOW_TRY(sow_npy_read(arena, path, &t));
    if (t.rank != 2 || t.shape[0] != t.shape[1])
        return sow_fail(SOW_E_SHAPE, "%s is %s, expected distances [n, n]", path, sow_shape_text(t, shape));
    if (t.dtype == SOW_BOOL || t.dtype >= SOW_C64)
        return sow_fail(SOW_E_TYPE, "%s: %s, expected numbers", path, sow_dtype_name(t.dtype));
    SOW_TRY(begin(arena, path, t.shape[0], sow_count(t), out));
    SOW_TRY(sow_copy(SOW_TENSOR(out->values, SOW_F64, t.shape[0], t.shape[0]), t));
    for (int64_t i = 0; i < out->count; i++)
        if (!(out->names[i] = sow_arena_format(arena, "%lld", (long long)i + 1))) return SOW_E_MEMORY;
    return SOW_OK;
}

static sow_status csv_distances(sow_arena *arena, const char *path, sow_distances *out) {
    sow_table t;
    SOW_TRY(sow_table_read(arena, path, &t));
    int64_t lead = t.columns - t.rows;
    if (lead < 0 || lead > 1)
        return sow_fail(SOW_E_FORMAT, "%s: %lld rows and %lld columns, expected a square of distances", path,
                        (long long)t.rows, (long long)t.columns);
    SOW_TRY(begin(arena, path, t.rows, t.rows * t.columns, out));
    for (int64_t i = 0; i < t.rows; i++) {
        for (int64_t j = 0; j < t.rows; j++) SOW_TRY(sow_table_number(&t, i, lead + j, &out->values[i * t.rows + j]));
        out->names[i] = lead      ? sow_table_cell(&t, i, 0)
                        : t.names ? t.names[i]
                                  : sow_arena_format(arena, "%lld", (long long)i + 1);
        if (!out->names[i]) return SOW_E_MEMORY;
        if (lead && t.names && strcmp(t.names[1 + i], out->names[i]) != 0)
            return sow_fail(SOW_E_FORMAT, "%s: line %lld is '%.40s', but column %lld is '%.40s'", path,
                            (long long)t.lines[i], out->names[i], (long long)i + 2, t.names[1 + i]);
    }
    return check_names(arena, path, out);
}

sow_status sow_distances_read(sow_arena *arena, const char *path, sow_distances *out) {
    lines text, ahead;
    word line, w;
    size_t size = strlen(path);
    *out = (sow_distances){0};
    if (size > 4 && strcasecmp(path + size - 4, ".npy") == 0) return npy_distances(arena, path, out);
    SOW_TRY(genotype_text(arena, path, &text));
    ahead = text;
    if (!next_line(&ahead, &line)) return sow_fail(SOW_E_FORMAT, "%s: empty", path);
    if (line.size >= 6 && strncasecmp(line.text, "#nexus", 6) == 0) return nexus_distances(arena, text, out);
    if (next_word(&line, &w) && word_number(w) >= 0 && line.size == 0 && !memchr(w.text, ',', (size_t)w.size))
        return phylip_distances(arena, text, out);
    return csv_distances(arena, path, out);
}
