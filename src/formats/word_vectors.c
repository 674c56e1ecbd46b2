/* Word vectors as text (.vec): a line "count width", then a line a word. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/file.h"
#include "sow/vectors.h"

enum { NUMBER_BYTES = 64 };

typedef struct reader {
    sow_arena *arena;
    const char *place, *at, *end;
    int64_t line; /* from 1 */
} reader;

static sow_status bad(const reader *r, const char *expected) {
    return sow_fail(SOW_E_FORMAT, "%s: line %" PRId64 ": expected %s", r->place, r->line, expected);
}

/* The line that begins at r->at, without its end; r->at moves behind it. */
static void take_line(reader *r, const char **start, const char **end) {
    const char *newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
    *start = r->at;
    *end = newline ? newline : r->end;
    r->at = newline ? newline + 1 : r->end;
    if (*end > *start && (*end)[-1] == '\r') (*end)--;
    r->line++;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

/* The next word of a line; empty at its end. */
static const char *take_word(const char **at, const char *end, size_t *size) {
    while (*at < end && is_space(**at)) (*at)++;
    const char *start = *at;
    while (*at < end && !is_space(**at)) (*at)++;
    *size = (size_t)(*at - start);
    return start;
}

static bool read_count(const char *word, size_t size, int64_t *out) {
    *out = 0;
    if (size == 0 || size > 15) return false;
    for (size_t i = 0; i < size; i++) {
        if (word[i] < '0' || word[i] > '9') return false;
        *out = *out * 10 + (word[i] - '0');
    }
    return *out > 0;
}

static sow_status read_header(reader *r, int64_t *count, int64_t *width) {
    const char *at, *end;
    size_t size;
    take_line(r, &at, &end);
    const char *word = take_word(&at, end, &size);
    bool good = read_count(word, size, count);
    word = take_word(&at, end, &size);
    good = good && read_count(word, size, width);
    take_word(&at, end, &size);
    if (!good || size > 0) return bad(r, "two numbers, of words and of values a word");
    /* a word takes its letter, and two bytes a value: a header cannot ask for more memory than the file is worth */
    int64_t numbers;
    if (sow_multiply(*count, *width, &numbers) != SOW_OK || numbers > (r->end - r->at) / 2 + 1)
        return sow_fail(SOW_E_FORMAT,
                        "%s: line 1 declares %" PRId64 " words of %" PRId64 " values, more than the file holds",
                        r->place, *count, *width);
    return SOW_OK;
}

static sow_status read_value(const reader *r, const char *word, size_t size, double *out) {
    char text[NUMBER_BYTES], *end = text;
    if (size > 0 && size < sizeof text) {
        memcpy(text, word, size);
        text[size] = 0;
        *out = strtod(text, &end);
    }
    if (size > 0 && end == text + size && isfinite(*out)) return SOW_OK;
    return sow_fail(SOW_E_FORMAT, "%s: line %" PRId64 ": \"%.*s\" is not a finite number", r->place, r->line,
                    (int)(size < 40 ? size : 40), word);
}

static sow_status read_word(reader *r, int64_t width, const char **out, double *values) {
    const char *at, *end;
    size_t size;
    take_line(r, &at, &end);
    const char *word = take_word(&at, end, &size);
    if (size == 0) return bad(r, "a word and its values");
    char *copy = sow_arena_take_raw(r->arena, size + 1, 1);
    if (!copy) return SOW_E_MEMORY;
    memcpy(copy, word, size);
    copy[size] = 0;
    *out = copy;
    for (int64_t j = 0; j < width; j++) {
        word = take_word(&at, end, &size);
        if (size == 0)
            return sow_fail(SOW_E_FORMAT, "%s: line %" PRId64 ": %" PRId64 " values, expected %" PRId64, r->place,
                            r->line, j, width);
        SOW_TRY(read_value(r, word, size, &values[j]));
    }
    take_word(&at, end, &size);
    if (size > 0)
        return sow_fail(SOW_E_FORMAT, "%s: line %" PRId64 ": more than %" PRId64 " values", r->place, r->line, width);
    return SOW_OK;
}

sow_status sow_word_vectors_parse(sow_arena *arena, const char *place, const char *text, size_t size,
                                  sow_word_vectors *out) {
    reader r = {.arena = arena, .place = place, .at = text, .end = text + size};
    int64_t width;
    double *values;
    *out = (sow_word_vectors){0};
    if (size > 0 && memchr(text, 0, size)) return sow_fail(SOW_E_FORMAT, "%s: holds a NUL byte, expected text", place);
    SOW_TRY(read_header(&r, &out->count, &width));
    SOW_TRY(SOW_NEW_RAW(arena, out->words, out->count));
    SOW_TRY(SOW_NEW_RAW(arena, values, out->count * width));
    for (int64_t i = 0; i < out->count; i++) {
        if (r.at == r.end)
            return sow_fail(SOW_E_FORMAT, "%s: ends behind %" PRId64 " words, expected %" PRId64, place, i, out->count);
        SOW_TRY(read_word(&r, width, &out->words[i], values + i * width));
    }
    for (; r.at < r.end; r.at++)
        if (*r.at != '\n' && *r.at != '\r' && *r.at != ' ')
            return sow_fail(SOW_E_FORMAT, "%s: goes on behind its %" PRId64 " words", place, out->count);
    out->vectors = SOW_TENSOR(values, SOW_F64, out->count, width);
    return SOW_OK;
}

sow_status sow_word_vectors_read(sow_arena *arena, const char *path, sow_word_vectors *out) {
    sow_map map;
    SOW_TRY(sow_map_open(path, &map));
    sow_status status = sow_word_vectors_parse(arena, path, map.data ? (const char *)map.data : "", map.size, out);
    sow_map_close(&map);
    return status;
}
