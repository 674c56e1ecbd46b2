/* The lines of a trainer: {"step":10,"loss":0.5} is a record, other lines are log (PROVE.md, section 1). */
#include "run/records.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "sow/log.h"

/* Python and C print these bare, JSON has no word for them: a string that no trainer prints stands for them
 * meanwhile. */
static const char mark[] = "\"\\u0001not finite\"";
static const char marked[] = "\001not finite";
enum { SHORTEST_TOKEN = 3, WARNED_LINES = 5 };

sow_status sow_reader_open(sow_reader *reader) {
    reader->line = sow_reallocate(NULL, SOW_LINE_LIMIT + 1);
    reader->steps = -1;
    return reader->line ? SOW_OK : SOW_E_MEMORY;
}

void sow_reader_close(sow_reader *reader) {
    sow_release(reader->line);
    reader->line = NULL;
}

static sow_status bad_line(sow_reader *reader, const char *why) {
    if (++reader->bad <= WARNED_LINES)
        sow_warn("%s: line %lld of its output is skipped: %s", reader->who, (long long)reader->lines, why);
    if (reader->bad < SOW_BAD_LINES) return SOW_OK;
    return sow_fail(SOW_E_TRAINER,
                    "%s: %d bad lines in its output, the last one: %s; expected lines like {\"step\":10,\"loss\":0.5}",
                    reader->who, reader->bad, why);
}

/* Length of a bare NaN or infinity at `text`, 0 if there is none. */
static size_t not_finite_token(const char *text) {
    static const char *const words[] = {"infinity", "inf", "nan"};
    size_t sign = *text == '-' || *text == '+';
    for (int w = 0; w < 3; w++) {
        size_t length = strlen(words[w]);
        if (!strncasecmp(text + sign, words[w], length) && !isalnum((unsigned char)text[sign + length]))
            return sign + length;
    }
    return 0;
}

/* Copies a line with such tokens outside strings replaced by the mark. Returns false if there was none. */
static bool mark_tokens(const char *line, char *to) {
    bool in_string = false, any = false;
    while (*line) {
        size_t token = in_string ? 0 : not_finite_token(line);
        if (token) {
            memcpy(to, mark, sizeof mark - 1);
            to += sizeof mark - 1;
            line += token;
            any = true;
            continue;
        }
        if (in_string && line[0] == '\\' && line[1]) *to++ = *line++;
        else if (*line == '"') in_string = !in_string;
        *to++ = *line++;
    }
    *to = 0;
    return any;
}

/* *object NULL: no JSON. jansson does not always say that memory was short; errno does. */
static sow_status load(const char *text, json_t **object, json_error_t *error) {
    errno = 0;
    *object = json_loads(text, JSON_REJECT_DUPLICATES, error);
    return *object || errno != ENOMEM ? SOW_OK : sow_fail(SOW_E_MEMORY, "a trainer's record: out of memory");
}

static sow_status parse(const char *line, json_t **object, json_error_t *error) {
    SOW_TRY(load(line, object, error));
    if (*object) return SOW_OK;
    /* Each token of at least three letters becomes the longer mark. */
    char *copy = sow_reallocate(NULL, (strlen(line) / SHORTEST_TOKEN + 1) * sizeof mark + SHORTEST_TOKEN);
    if (!copy) return SOW_E_MEMORY;
    sow_status status = mark_tokens(line, copy) ? load(copy, object, error) : SOW_OK;
    sow_release(copy);
    return status;
}

static sow_status take_numbers(sow_reader *reader, json_t *object, int64_t step) {
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) {
        if (json_is_string(value) && !strcmp(json_string_value(value), marked))
            return sow_fail(SOW_E_NUMBER, "%s: %s is not a finite number at step %lld", reader->who, name,
                            (long long)step);
        if (!json_is_number(value) || !strcmp(name, "step")) continue;
        SOW_TRY(reader->record(reader->user, &(sow_record){step, name, json_number_value(value)}));
    }
    return SOW_OK;
}

static sow_status take_record(sow_reader *reader) {
    json_error_t error;
    char why[160];
    json_t *object;
    SOW_TRY(parse(reader->line, &object, &error));
    if (!object) {
        bool python = reader->line[1] == '\'';
        snprintf(why, sizeof why,
                 python ? "a Python dictionary, print(json.dumps(...)) makes it JSON" : "no JSON: %.100s", error.text);
        return bad_line(reader, why);
    }
    json_t *step = json_object_get(object, "step");
    sow_status status;
    if (!json_is_integer(step)) status = bad_line(reader, step ? "its \"step\" is no integer" : "it has no \"step\"");
    else if (json_integer_value(step) < 0) status = bad_line(reader, "its \"step\" is negative");
    else if (json_integer_value(step) < reader->steps)
        status = sow_fail(SOW_E_TRAINER, "%s: step %lld after step %lld; expected steps that never decrease",
                          reader->who, (long long)json_integer_value(step), (long long)reader->steps);
    else {
        reader->steps = json_integer_value(step);
        status = take_numbers(reader, object, reader->steps);
        if (status == SOW_OK && reader->enough) reader->full = reader->enough(reader->user, reader->steps);
    }
    json_decref(object);
    return status;
}

static sow_status end_line(sow_reader *reader, bool newline) {
    bool too_long = reader->too_long;
    size_t used = reader->used;
    reader->line[used] = newline ? '\n' : 0;
    reader->used = 0;
    reader->too_long = false;
    reader->lines++;
    if (reader->line[0] != '{') reader->log(reader->user, reader->line, used + newline);
    if (too_long) return bad_line(reader, "longer than 65,536 bytes");
    if (reader->line[0] != '{') return SOW_OK;
    reader->line[used] = 0;
    if (memchr(reader->line, 0, used)) return bad_line(reader, "it holds a zero byte");
    return take_record(reader);
}

sow_status sow_reader_feed(sow_reader *reader, const char *data, size_t size) {
    if (size == 0 && !reader->full) return reader->used ? end_line(reader, false) : SOW_OK;
    while (size > 0 && !reader->full) {
        const char *newline = memchr(data, '\n', size);
        size_t part = newline ? (size_t)(newline - data) : size, room = SOW_LINE_LIMIT - reader->used;
        memcpy(reader->line + reader->used, data, part < room ? part : room);
        reader->used += part < room ? part : room;
        if (part > room) reader->too_long = true;
        part += newline != NULL;
        data += part;
        size -= part;
        if (newline) SOW_TRY(end_line(reader, true));
    }
    return SOW_OK;
}

/* ---- of a curve ---- */

const sow_record *sow_records_of(const char *metric, const sow_record *records, int64_t count, int64_t *found) {
    int64_t first = 0, last;
    while (first < count && strcmp(records[first].metric, metric) != 0) first++;
    for (last = first; last < count && !strcmp(records[last].metric, metric);) last++;
    *found = last - first;
    return records + first;
}
