/* sow lm score --choices: questions with answers to choose from; the likeliest answer is the model's. */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "cli/lm.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/stats.h"

enum { CHOICES_MAX = 64, WAYS = 3 };

/* What is compared: the sum of -log p over an answer's tokens, or that sum over its tokens or bytes. */
static const char *const ways[WAYS] = {"sum", "token", "byte"};

typedef struct question {
    const char *path;
    int64_t line, count, answer; /* answer -1: not known */
    sow_span prompt, choice[CHOICES_MAX];
    double sum[CHOICES_MAX];
    int64_t tokens[CHOICES_MAX];
    int64_t predicted[WAYS];
} question;

typedef struct chooser {
    cli_lm *model;
    int64_t window, questions, answered, cut, correct[WAYS];
    json_t *rows; /* NULL: not asked for */
} chooser;

/* ---- a line ---- */

static sow_status wrong(const question *q, const char *what) {
    return sow_fail(SOW_E_FORMAT, "%s: line %lld: %s", q->path, (long long)q->line, what);
}

static sow_span span_of(const json_t *text) {
    return (sow_span){json_string_value(text), json_string_length(text)};
}

static sow_status read_question(const json_t *json, question *q) {
    const json_t *prompt = json_object_get(json, "prompt"), *choices = json_object_get(json, "choices"),
                 *answer = json_object_get(json, "answer");
    if (!prompt) prompt = json_object_get(json, "question");
    if (!json_is_string(prompt)) return wrong(q, "no \"prompt\" or \"question\" that is a text");
    q->count = (int64_t)json_array_size(choices);
    if (q->count < 2 || q->count > CHOICES_MAX)
        return sow_fail(SOW_E_FORMAT, "%s: line %lld: \"choices\": found %lld, expected a list of 2 to %d texts",
                        q->path, (long long)q->line, (long long)q->count, CHOICES_MAX);
    q->prompt = span_of(prompt);
    for (int64_t i = 0; i < q->count; i++) {
        const json_t *choice = json_array_get(choices, (size_t)i);
        if (json_string_length(choice) == 0) return wrong(q, "a choice is empty, or no text");
        q->choice[i] = span_of(choice);
    }
    q->answer = -1;
    if (!answer || json_is_null(answer)) return SOW_OK;
    q->answer = json_is_integer(answer) ? json_integer_value(answer) : -1;
    if (q->answer < 0 || q->answer >= q->count)
        return sow_fail(SOW_E_FORMAT, "%s: line %lld: \"answer\": expected the number of a choice, 0 to %lld", q->path,
                        (long long)q->line, (long long)q->count - 1);
    return SOW_OK;
}

/* ---- an answer ---- */

/* Prompt and answer, with a space between them where neither has one. *characters: of the prompt, but for spaces at its
 * end, which belong to the answer's first token. */
static sow_status join(sow_arena *arena, sow_span prompt, sow_span choice, sow_span *out, int64_t *characters) {
    size_t kept = prompt.size;
    while (kept > 0 && isspace((unsigned char)prompt.text[kept - 1])) kept--;
    bool space = kept > 0 && kept == prompt.size && !isspace((unsigned char)choice.text[0]);
    char *text;
    SOW_TRY(SOW_NEW_RAW(arena, text, prompt.size + choice.size + 1));
    if (prompt.size) memcpy(text, prompt.text, prompt.size);
    if (space) text[prompt.size] = ' ';
    memcpy(text + prompt.size + space, choice.text, choice.size);
    *out = (sow_span){text, prompt.size + space + choice.size};
    *characters = 0;
    for (size_t i = 0; i < kept; i++) *characters += ((unsigned char)text[i] & 0xC0) != 0x80;
    return SOW_OK;
}

/* The tokens of an answer are those that reach beyond the prompt; a long prompt loses its beginning. */
static sow_status score_choice(chooser *c, question *q, int64_t k) {
    sow_arena *arena = c->model->call->arena;
    sow_span text;
    int64_t characters, first = 0;
    sow_encoding e;
    int32_t *labels;
    SOW_TRY(join(arena, q->prompt, q->choice[k], &text, &characters));
    SOW_TRY(sow_encode(c->model->tokenizer, arena, text.text, text.size,
                       cli_encode_flags(c->model->call) | SOW_ENCODE_OFFSETS, &e));
    while (first < e.count && e.last[first] <= characters) first++;
    int64_t cut = e.count > c->window ? e.count - c->window : 0, n = e.count - cut;
    if (cut > 0 && cut >= first)
        return sow_fail(SOW_E_RANGE, "choice %lld has more tokens than the context of %lld", (long long)k,
                        (long long)c->window);
    c->cut += cut > 0;
    SOW_TRY(SOW_NEW_RAW(arena, labels, n + 1));
    for (int64_t i = 0; i < n; i++) labels[i] = cut + i + 1 < e.count && cut + i + 1 >= first ? e.ids[cut + i + 1] : -1;
    sow_tokens tokens = {e.ids + cut, (int64_t[]){0, n}, 1};
    SOW_TRY(
        sow_lm_score(c->model->tape, c->model->lm, &tokens, SOW_TENSOR(labels, SOW_I32, n), &q->sum[k], &q->tokens[k]));
    return q->tokens[k] > 0 ? SOW_OK : sow_fail(SOW_E_FORMAT, "choice %lld: nothing to predict", (long long)k);
}

static double measure(const question *q, int64_t k, int way) {
    return way == 0 ? q->sum[k] : q->sum[k] / (double)(way == 1 ? q->tokens[k] : (int64_t)q->choice[k].size);
}

/* The likeliest answer; the first of equals. */
static void choose(question *q) {
    for (int way = 0; way < WAYS; way++) {
        q->predicted[way] = 0;
        for (int64_t k = 1; k < q->count; k++)
            if (measure(q, k, way) < measure(q, q->predicted[way], way)) q->predicted[way] = k;
    }
}

/* ---- results ---- */

static sow_status add_row(json_t *rows, const question *q) {
    json_t *nll = json_array(), *tokens = json_array(), *bytes = json_array();
    for (int64_t k = 0; k < q->count; k++) {
        json_array_append_new(nll, json_real(q->sum[k]));
        json_array_append_new(tokens, json_integer(q->tokens[k]));
        json_array_append_new(bytes, json_integer((json_int_t)q->choice[k].size));
    }
    json_t *row = json_pack("{s:I,s:o,s:o,s:o,s:I,s:I,s:I}", "line", (json_int_t)q->line, "nll", nll, "tokens", tokens,
                            "bytes", bytes, "by_sum", (json_int_t)q->predicted[0], "by_token",
                            (json_int_t)q->predicted[1], "by_byte", (json_int_t)q->predicted[2]);
    if (row) json_object_set_new(row, "answer", q->answer >= 0 ? json_integer(q->answer) : json_null());
    return sow_append_json(rows, row);
}

static sow_status add_accuracy(const chooser *c, json_t *result) {
    json_t *table = json_array();
    SOW_TRY(sow_put_json(result, "accuracy", table));
    for (int way = 0; way < WAYS; way++) {
        double low, high;
        sow_wilson_interval(c->correct[way], c->answered, 0.05, &low, &high);
        SOW_TRY(sow_append_json(
            table, json_pack("{s:s,s:I,s:f,s:f,s:f}", "by", ways[way], "correct", (json_int_t)c->correct[way],
                             "accuracy", (double)c->correct[way] / (double)c->answered, "low", low, "high", high)));
    }
    return SOW_OK;
}

static sow_status score_question(chooser *c, question *q, sow_span line) {
    json_error_t error;
    json_t *json = json_loadb(line.text, line.size, JSON_ALLOW_NUL, &error);
    if (!json) return wrong(q, error.text);
    sow_status status = read_question(json, q);
    sow_mark mark = sow_arena_mark(c->model->call->arena);
    for (int64_t k = 0; k < q->count && status == SOW_OK; k++) {
        status = score_choice(c, q, k);
        if (status != SOW_OK) status = sow_fail_in(status, "%s: line %lld", q->path, (long long)q->line);
    }
    sow_arena_release(c->model->call->arena, mark);
    if (status == SOW_OK) choose(q);
    if (status == SOW_OK && c->rows) status = add_row(c->rows, q);
    json_decref(json);
    c->questions++;
    c->answered += q->answer >= 0;
    for (int way = 0; way < WAYS; way++) c->correct[way] += q->predicted[way] == q->answer;
    return status;
}

sow_status cli_lm_score_choices(cli_lm *model, int64_t window) {
    chooser c = {.model = model, .window = window};
    const char *path = sow_text(model->call, "choices");
    sow_span whole;
    int64_t line = 0;
    if (sow_flag(model->call, "per-line")) {
        c.rows = json_array();
        SOW_TRY(sow_put_json(model->call->result, "lines", c.rows));
    }
    SOW_TRY(cli_read_text(model->call->arena, path, &whole));
    for (const char *at = whole.text, *end = whole.text + whole.size, *stop; at < end; at = stop + (stop < end)) {
        if (!(stop = memchr(at, '\n', (size_t)(end - at)))) stop = end;
        question q = {.path = path, .line = ++line};
        sow_span text = {at, (size_t)(stop - at)};
        while (text.size > 0 && isspace((unsigned char)text.text[text.size - 1])) text.size--;
        if (text.size > 0) SOW_TRY(score_question(&c, &q, text));
        sow_progress("scoring", stop - whole.text, (int64_t)whole.size);
        SOW_TRY(sow_check_interrupt());
    }
    if (c.questions == 0) return sow_fail(SOW_E_FORMAT, "%s: no question in it", path);
    if (c.cut > 0) sow_note("%lld prompts were cut to the context, at their beginning", (long long)c.cut);
    SOW_TRY(sow_put_count(model->call->result, "questions", c.questions));
    SOW_TRY(sow_put_count(model->call->result, "with_answer", c.answered));
    return c.answered > 0 ? add_accuracy(&c, model->call->result) : SOW_OK;
}
