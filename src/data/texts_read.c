/* Files of samples: JSON lines in the formats that people use, and tab-separated columns. */
#include <string.h>

#include "data/texts.h"
#include "formats/json.h"
#include "sow/json.h"
#include "sow/log.h"

enum { DEPTH = 32, MESSAGES_MAX = 100000, COLUMNS_MAX = 256 };

/* ---- what a line's object holds ---- */

typedef struct format {
    const char *prompt, *completion; /* fields; completion NULL: a text alone */
    const char *input;               /* more of the prompt, where it is there and not empty */
    const char *list;                /* samples of one prompt, or the messages of a chat */
    enum { PAIR, INSTANCES, TEXT, CHAT } kind;
    bool joined;
    const char *role, *content; /* of a message */
} format;

/* In this order: the first whose fields are there. */
static const format formats[] = {
    {.list = "messages", .kind = CHAT, .role = "role", .content = "content"},
    {.list = "conversations", .kind = CHAT, .role = "from", .content = "value"},
    {.prompt = "prompt", .completion = "completion", .joined = true},
    {.prompt = "prompt", .completion = "response"},
    {.prompt = "question", .completion = "answer"},
    {.prompt = "instruction", .completion = "output", .input = "input", .list = "instances", .kind = INSTANCES},
    {.prompt = "instruction", .completion = "output", .input = "input"},
    {.prompt = "text", .kind = TEXT},
};
enum { FORMATS = sizeof formats / sizeof *formats };

#define EXPECTED                                                                                          \
    "expected messages, conversations, prompt and completion, prompt and response, question and answer, " \
    "instruction and output or instances, or text; --prompt-field and --completion-field name others"

static bool fits(const format *f, const json_t *object) {
    if (f->kind == CHAT) return json_is_array(json_object_get(object, f->list));
    if (!json_object_get(object, f->prompt)) return false;
    if (f->kind == INSTANCES) return json_is_array(json_object_get(object, f->list));
    return f->kind == TEXT || json_object_get(object, f->completion);
}

static sow_status describe(texts_builder *b, const format *f) {
    const char *what = f->kind == CHAT        ? "chats"
                       : f->kind == INSTANCES ? "instruction with instances"
                       : f->kind == TEXT      ? f->prompt
                                              : sow_arena_format(b->arena, "%s and %s", f->prompt, f->completion);
    const char *layout = f->kind == TEXT || (f->kind == CHAT && !b->options->chat) ? "" : texts_layout(b);
    if (!what || !layout) return SOW_E_MEMORY;
    b->format = sow_arena_format(b->arena, "JSON lines of %s%s", what, layout);
    return b->format ? SOW_OK : SOW_E_MEMORY;
}

/* The format of the file, from its first object. */
static sow_status choose(texts_builder *b, const json_t *object, format *out) {
    const sow_texts_options *o = b->options;
    if (o->prompt_field && !o->completion_field) *out = (format){.prompt = o->prompt_field, .kind = TEXT};
    else if (o->completion_field) {
        if (!o->prompt_field) return sow_fail(SOW_E_ARGUMENT, "--completion-field without --prompt-field");
        *out = (format){.prompt = o->prompt_field, .completion = o->completion_field};
    } else {
        int i = 0;
        while (i < FORMATS && !fits(&formats[i], object)) i++;
        if (i == FORMATS) return sow_fail(SOW_E_FORMAT, "no fields that are known: " EXPECTED);
        *out = formats[i];
    }
    return describe(b, out);
}

/* ---- samples ---- */

/* A text, or a number as one. */
static sow_status text_of(sow_arena *arena, const json_t *object, const char *field, sow_span *out) {
    const json_t *value = json_object_get(object, field);
    if (json_is_string(value)) {
        *out = (sow_span){json_string_value(value), json_string_length(value)};
        return SOW_OK;
    }
    if (!json_is_number(value)) return sow_fail(SOW_E_FORMAT, value ? "\"%s\" is no text" : "no \"%s\" in it", field);
    char *text;
    SOW_TRY(sow_json_text(arena, value, 0, &text));
    *out = (sow_span){text, strlen(text)};
    return SOW_OK;
}

/* The prompt with what belongs to it, an empty line between. */
static sow_status with_input(sow_arena *arena, sow_span prompt, const json_t *object, const char *field,
                             sow_span *out) {
    sow_span input = {0};
    char *text;
    *out = prompt;
    if (!field || !json_object_get(object, field) || json_is_null(json_object_get(object, field))) return SOW_OK;
    SOW_TRY(text_of(arena, object, field, &input));
    if (input.size == 0) return SOW_OK;
    SOW_TRY(SOW_NEW_RAW(arena, text, prompt.size + input.size + 2));
    memcpy(text, prompt.text, prompt.size);
    memcpy(text + prompt.size, "\n\n", 2);
    memcpy(text + prompt.size + 2, input.text, input.size);
    *out = (sow_span){text, prompt.size + input.size + 2};
    return SOW_OK;
}

static const char *role_of(const char *name) {
    if (!strcmp(name, "human")) return "user";
    return strcmp(name, "gpt") ? name : "assistant";
}

static sow_status add_chat(texts_builder *b, int64_t at, const format *f, const json_t *object) {
    const json_t *list = json_object_get(object, f->list);
    sow_chat_message *messages;
    size_t count = json_array_size(list);
    if (!json_is_array(list)) return sow_fail(SOW_E_FORMAT, "no list \"%s\" in it", f->list);
    SOW_TRY(SOW_NEW(b->scratch, messages, count + 1));
    for (size_t i = 0; i < count; i++) {
        const json_t *m = json_array_get(list, i);
        const char *role = json_string_value(json_object_get(m, f->role));
        if (!role) return sow_fail(SOW_E_FORMAT, "message %zu: no \"%s\" in it", i + 1, f->role);
        sow_status status = text_of(b->scratch, m, f->content, &messages[i].content);
        if (status != SOW_OK) return sow_fail_in(status, "message %zu", i + 1);
        messages[i].role = role_of(role);
    }
    return texts_add_chat(b, at, messages, (int64_t)count);
}

static sow_status add_pair(texts_builder *b, int64_t at, const format *f, sow_span prompt, const json_t *object) {
    sow_span whole, completion;
    SOW_TRY(with_input(b->scratch, prompt, object, f->input, &whole));
    SOW_TRY(text_of(b->scratch, object, f->completion, &completion));
    sow_status status = texts_add_pair(b, at, whole, completion, f->joined);
    return status == SOW_E_FORMAT && completion.size == 0 ? sow_fail(status, "\"%s\" is empty", f->completion) : status;
}

static sow_status add_object(texts_builder *b, int64_t at, const format *f, const json_t *object) {
    sow_span prompt;
    if (f->kind == CHAT) return add_chat(b, at, f, object);
    SOW_TRY(text_of(b->scratch, object, f->prompt, &prompt));
    if (f->kind == TEXT) return texts_add_text(b, at, prompt);
    if (f->kind == PAIR) return add_pair(b, at, f, prompt, object);
    const json_t *list = json_object_get(object, f->list);
    if (!json_is_array(list)) return sow_fail(SOW_E_FORMAT, "no list \"%s\" in it", f->list);
    for (size_t i = 0; i < json_array_size(list) && !texts_is_full(b); i++) {
        sow_status status = add_pair(b, at, f, prompt, json_array_get(list, i));
        if (status != SOW_OK) return sow_fail_in(status, "instance %zu", i + 1);
    }
    return SOW_OK;
}

/* ---- JSON lines ---- */

static bool is_blank(sow_span line) {
    for (size_t i = 0; i < line.size; i++)
        if (!strchr(" \t\r", line.text[i])) return false;
    return true;
}

static sow_status add_line(texts_builder *b, int64_t number, sow_span line, format *f) {
    json_t *object;
    sow_json_limits limits = {.depth = DEPTH, .array_length = MESSAGES_MAX};
    char place[32];
    snprintf(place, sizeof place, "line %lld", (long long)number);
    sow_status status = sow_json_parse(place, line.text, line.size, limits, &object);
    if (status != SOW_OK) return status;
    sow_mark mark = sow_arena_mark(b->scratch);
    if (!json_is_object(object)) status = sow_fail(SOW_E_FORMAT, "expected one JSON object a line, {\"...\": ...}");
    else if (b->samples == 0 && !b->format) status = choose(b, object, f);
    if (status == SOW_OK) status = add_object(b, number, f, object);
    if (status != SOW_OK) sow_fail_in(status, "%s", place);
    sow_arena_release(b->scratch, mark);
    json_decref(object);
    return status;
}

sow_status texts_read_json(texts_builder *b, sow_span file) {
    sow_span rest = file, line;
    format f = {0};
    size_t first = 0;
    while (first < file.size && strchr(" \t\r\n", file.text[first])) first++;
    if (first < file.size && file.text[first] == '[')
        return sow_fail(SOW_E_FORMAT, "a JSON list, expected JSON lines: one object a line");
    for (int64_t number = 1; !texts_is_full(b) && texts_next_line(&rest, &line); number++) {
        if (is_blank(line)) continue;
        SOW_TRY(add_line(b, number, line, &f));
        sow_progress("tokenizing", (int64_t)(file.size - rest.size), (int64_t)file.size);
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}

/* ---- tab-separated columns ---- */

/* Quotes mean nothing: sentences hold them. */
static int64_t cells_of(sow_span line, sow_span cells[COLUMNS_MAX]) {
    for (int64_t count = 0; count < COLUMNS_MAX;) {
        const char *tab = line.size > 0 ? memchr(line.text, '\t', line.size) : NULL;
        size_t n = tab ? (size_t)(tab - line.text) : line.size;
        cells[count++] = (sow_span){line.text, n};
        if (!tab) return count;
        line = (sow_span){tab + 1, line.size - n - 1};
    }
    return COLUMNS_MAX;
}

static bool is(sow_span cell, const char *name) {
    return name && cell.size == strlen(name) && !memcmp(cell.text, name, cell.size);
}

typedef struct columns {
    int64_t prompt, completion, count; /* completion -1: a text alone */
    bool header, joined;
} columns;

/* Known names in the first line, or the ones asked for. */
static bool find_header(const texts_builder *b, const sow_span *cells, int64_t count, columns *out) {
    format asked = {.prompt = b->options->prompt_field, .completion = b->options->completion_field};
    bool named = asked.prompt != NULL;
    for (int i = 0; i < (named ? 1 : FORMATS); i++) {
        const format *f = named ? &asked : &formats[i];
        *out = (columns){.prompt = -1, .completion = -1, .count = count, .header = true, .joined = f->joined};
        for (int64_t c = 0; c < count; c++) {
            if (is(cells[c], f->prompt)) out->prompt = c;
            if (is(cells[c], f->completion)) out->completion = c;
        }
        if (out->prompt >= 0 && (!f->completion || out->completion >= 0)) return true;
    }
    return false;
}

static sow_status choose_columns(texts_builder *b, sow_span first, columns *out) {
    sow_span cells[COLUMNS_MAX];
    int64_t count = cells_of(first, cells);
    const char *prompt = b->options->prompt_field, *completion = b->options->completion_field, *what = "two columns";
    if (find_header(b, cells, count, out)) {
        sow_span p = cells[out->prompt], c = out->completion >= 0 ? cells[out->completion] : (sow_span){"", 0};
        what = sow_arena_format(b->arena, c.size ? "%.*s and %.*s" : "%.*s", (int)p.size, p.text, (int)c.size, c.text);
    } else if (prompt || completion) {
        return sow_fail(SOW_E_FORMAT, "line 1: no column '%s'%s%s%s in it", prompt ? prompt : completion,
                        prompt && completion ? " or '" : "", prompt && completion ? completion : "",
                        prompt && completion ? "'" : "");
    } else if (count == 2) {
        *out = (columns){0, 1, 2, false, false};
    } else {
        return sow_fail(SOW_E_FORMAT,
                        "line 1: %lld columns and no names that are known, expected two columns, or names that "
                        "--prompt-field and --completion-field give",
                        (long long)count);
    }
    const char *layout = out->completion >= 0 ? texts_layout(b) : "";
    if (!what || !layout) return SOW_E_MEMORY;
    b->format = sow_arena_format(b->arena, "tab-separated %s%s", what, layout);
    return b->format ? SOW_OK : SOW_E_MEMORY;
}

static sow_status add_row(texts_builder *b, int64_t number, sow_span line, const columns *k) {
    sow_span cells[COLUMNS_MAX];
    int64_t count = cells_of(line, cells);
    if (count != k->count)
        return sow_fail(SOW_E_FORMAT, "%lld columns, expected %lld", (long long)count, (long long)k->count);
    if (k->completion < 0) return texts_add_text(b, number, cells[k->prompt]);
    return texts_add_pair(b, number, cells[k->prompt], cells[k->completion], k->joined);
}

sow_status texts_read_tsv(texts_builder *b, sow_span file) {
    sow_span rest = file, line;
    columns k = {0};
    for (int64_t number = 1; !texts_is_full(b) && texts_next_line(&rest, &line); number++) {
        if (number == 1) SOW_TRY(choose_columns(b, line, &k));
        if (is_blank(line) || (number == 1 && k.header)) continue;
        sow_status status = add_row(b, number, line, &k);
        if (status != SOW_OK) return sow_fail_in(status, "line %lld", (long long)number);
        sow_progress("tokenizing", (int64_t)(file.size - rest.size), (int64_t)file.size);
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}
