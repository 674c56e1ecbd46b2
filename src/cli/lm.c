/* sow lm: what a language model makes of texts: token ids, likelihoods, sentence vectors. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "sow/file.h"
#include "sow/lm.h"
#include "sow/log.h"
#include "sow/npy.h"
#include "sow/text.h"

static const size_t text_max = (size_t)1 << 30;

/* ---- texts ---- */

/* The lines of a file or of standard input, without their ends; a JSON line gives its "text". */
typedef struct lines {
    sow_span *at;
    int64_t count;
} lines;

static sow_status json_text(sow_arena *arena, const char *path, int64_t number, sow_span line, sow_span *out) {
    json_error_t error;
    json_t *json = json_loadb(line.text, line.size, JSON_ALLOW_NUL, &error);
    const json_t *text = json_object_get(json, "text");
    if (!json_is_string(text)) {
        sow_status status = json ? sow_fail(SOW_E_FORMAT, "%s: line %lld: no \"text\" in it", path, (long long)number)
                                 : sow_fail(SOW_E_FORMAT, "%s: line %lld: %s", path, (long long)number, error.text);
        json_decref(json);
        return status;
    }
    size_t size = json_string_length(text);
    char *copy = sow_arena_take(arena, size + 1, 1);
    if (copy) memcpy(copy, json_string_value(text), size);
    json_decref(json);
    *out = (sow_span){copy, size};
    return copy ? SOW_OK : SOW_E_MEMORY;
}

static bool is_json(const char *path, sow_span line) {
    return (strlen(path) > 6 && sow_ends_with(path, ".jsonl")) || (!strcmp(path, "-") && line.size > 0 && line.text[0] == '{');
}

static sow_status read_text(sow_arena *arena, const char *path, sow_span *out) {
    char *data;
    size_t size;
    SOW_TRY(sow_read_file(arena, strcmp(path, "-") ? path : "/dev/stdin", text_max, &data, &size));
    *out = (sow_span){data, size};
    return SOW_OK;
}

static sow_status read_lines(sow_arena *arena, const char *path, lines *out) {
    sow_span whole;
    int64_t room = 1, number = 0;
    SOW_TRY(read_text(arena, path, &whole));
    for (size_t i = 0; i < whole.size; i++) room += whole.text[i] == '\n';
    SOW_TRY(SOW_NEW_RAW(arena, out->at, room));
    out->count = 0;
    for (const char *at = whole.text, *end = whole.text + whole.size; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        sow_span line = {at, (size_t)(stop - at)};
        if (line.size > 0 && line.text[line.size - 1] == '\r') line.size--;
        number++;
        at = stop + 1;
        if (is_json(path, line)) {
            if (line.size == 0) continue;
            SOW_TRY(json_text(arena, path, number, line, &line));
        }
        out->at[out->count++] = line;
    }
    return SOW_OK;
}

static sow_status open_tokenizer(const sow_call *call, sow_tokenizer **out) {
    const char *own = sow_text(call, "tokenizer");
    return own ? sow_tokenizer_open(own, out) : sow_lm_tokenizer(sow_text(call, "model"), out);
}

static unsigned encode_flags(const sow_call *call) {
    return SOW_ENCODE_SPECIAL | (strcmp(sow_text(call, "invalid"), "replace") ? 0 : SOW_ENCODE_REPLACE);
}

/* ---- tokenize ---- */

static sow_status print_ids(const sow_encoding *e, bool json) {
    fputs(json ? "{\"ids\":[" : "", stdout);
    for (int64_t i = 0; i < e->count; i++) printf(i == 0 ? "%d" : json ? ",%d" : " %d", e->ids[i]);
    fputs(json ? "]}\n" : "\n", stdout);
    return ferror(stdout) ? sow_fail(SOW_E_IO, "standard output: writing failed") : SOW_OK;
}

static sow_status encode_lines(sow_call *call, sow_tokenizer *t, const lines *in) {
    unsigned flags = encode_flags(call) & ~(sow_flag(call, "no-special") ? SOW_ENCODE_SPECIAL : 0u);
    for (int64_t i = 0; i < in->count; i++) {
        sow_mark mark = sow_arena_mark(call->arena);
        sow_encoding e;
        sow_status status = sow_encode(t, call->arena, in->at[i].text, in->at[i].size, flags, &e);
        if (status != SOW_OK) return sow_fail_in(status, "%s: text %lld", sow_text(call, "data"), (long long)i + 1);
        SOW_TRY(print_ids(&e, call->json));
        sow_arena_release(call->arena, mark);
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}

/* Ids in a line: {"ids":[..]} or numbers. */
static sow_status parse_ids(sow_arena *arena, sow_span line, int32_t **ids, int64_t *count) {
    *count = 0;
    SOW_TRY(SOW_NEW_RAW(arena, *ids, line.size + 1));
    for (size_t i = 0; i < line.size;) {
        if (line.text[i] < '0' || line.text[i] > '9') {
            i++;
            continue;
        }
        int64_t id = 0;
        for (; i < line.size && line.text[i] >= '0' && line.text[i] <= '9' && id < INT32_MAX; i++)
            id = 10 * id + line.text[i] - '0';
        (*ids)[(*count)++] = id > INT32_MAX ? -1 : (int32_t)id;
    }
    return SOW_OK;
}

static sow_status decode_lines(sow_call *call, sow_tokenizer *t) {
    sow_span whole;
    SOW_TRY(read_text(call->arena, sow_text(call, "data"), &whole));
    for (const char *at = whole.text, *end = whole.text + whole.size, *stop; at < end; at = stop + 1) {
        int32_t *ids;
        int64_t count;
        char *text;
        size_t size;
        if (!(stop = memchr(at, '\n', (size_t)(end - at)))) stop = end;
        SOW_TRY(parse_ids(call->arena, (sow_span){at, (size_t)(stop - at)}, &ids, &count));
        SOW_TRY(sow_decode(t, call->arena, ids, count, sow_flag(call, "no-special"), &text, &size));
        if (!call->json) {
            fwrite(text, 1, size, stdout);
            putchar('\n');
            continue;
        }
        json_t *row = json_pack("{s:s%}", "text", text, size);
        if (!row) return sow_fail(SOW_E_MEMORY, "out of memory");
        json_dumpf(row, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(row);
    }
    return SOW_OK;
}

static sow_status run_tokenize(sow_call *call) {
    sow_tokenizer *t;
    lines in;
    SOW_TRY(open_tokenizer(call, &t));
    sow_status status;
    if (sow_flag(call, "decode")) status = decode_lines(call, t);
    else {
        status = read_lines(call->arena, sow_text(call, "data"), &in);
        if (status == SOW_OK) status = encode_lines(call, t, &in);
    }
    sow_tokenizer_free(t);
    return status;
}

/* ---- score ---- */

typedef struct scorer {
    sow_call *call;
    sow_lm *lm;
    sow_tokenizer *tokenizer;
    sow_tape *tape;
    int64_t window, tokens, counted;
    double sum;
} scorer;

/* Sum of -log p over the ids in windows of the model's context; each window begins anew. */
static sow_status score_ids(scorer *s, const int32_t *ids, int64_t count, double *sum, int64_t *counted) {
    int32_t *labels;
    SOW_TRY(SOW_NEW_RAW(s->call->arena, labels, s->window));
    *sum = 0;
    *counted = 0;
    for (int64_t at = 0; at < count; at += s->window) {
        int64_t n = count - at < s->window ? count - at : s->window, some, start[2] = {0, n};
        double part;
        for (int64_t i = 0; i < n; i++) labels[i] = i + 1 < n ? ids[at + i + 1] : -1;
        sow_tokens tokens = {ids + at, start, 1};
        SOW_TRY(sow_lm_score(s->tape, s->lm, &tokens, SOW_TENSOR(labels, SOW_I32, n), &part, &some));
        *sum += part;
        *counted += some;
        sow_progress("scoring", at + n, count);
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}

static sow_status score_text(scorer *s, sow_span text, double *sum, int64_t *counted) {
    sow_encoding e;
    SOW_TRY(sow_encode(s->tokenizer, s->call->arena, text.text, text.size, encode_flags(s->call), &e));
    SOW_TRY(score_ids(s, e.ids, e.count, sum, counted));
    s->tokens += e.count;
    s->sum += *sum;
    s->counted += *counted;
    return SOW_OK;
}

static sow_status score_lines(scorer *s, const char *path) {
    lines in;
    json_t *rows = json_array();
    if (json_object_set_new(s->call->result, "lines", rows)) return sow_fail(SOW_E_MEMORY, "out of memory");
    SOW_TRY(read_lines(s->call->arena, path, &in));
    for (int64_t i = 0; i < in.count; i++) {
        double sum;
        int64_t counted;
        sow_status status = score_text(s, in.at[i], &sum, &counted);
        if (status != SOW_OK) return sow_fail_in(status, "%s: text %lld", path, (long long)i + 1);
        json_t *row = json_pack("{s:I,s:I,s:f}", "line", (json_int_t)i + 1, "predicted", (json_int_t)counted, "loss",
                                counted > 0 ? sum / (double)counted : 0.0);
        if (counted == 0) json_object_set_new(row, "loss", json_null());
        if (json_array_append_new(rows, row)) return sow_fail(SOW_E_MEMORY, "out of memory");
    }
    return SOW_OK;
}

static sow_status score_data(scorer *s) {
    const char *path = sow_text(s->call, "data");
    sow_span whole;
    double sum;
    int64_t counted;
    if (sow_flag(s->call, "per-line")) SOW_TRY(score_lines(s, path));
    else {
        SOW_TRY(read_text(s->call->arena, path, &whole));
        SOW_TRY(score_text(s, whole, &sum, &counted));
    }
    if (s->counted == 0)
        return sow_fail(SOW_E_FORMAT, "%s: nothing to predict: the text has %lld tokens", path, (long long)s->tokens);
    double loss = s->sum / (double)s->counted;
    json_t *r = s->call->result;
    bool failed = json_object_set_new(r, "tokens", json_integer(s->tokens)) ||
                  json_object_set_new(r, "predicted", json_integer(s->counted)) ||
                  json_object_set_new(r, "loss", json_real(loss)) ||
                  json_object_set_new(r, "perplexity", json_real(exp(loss)));
    return failed ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

/* The `top` largest logits; equal ones by id. */
static sow_status add_top(scorer *s, const float *logits, int64_t n, int64_t top) {
    json_t *list = json_array();
    if (json_object_set_new(s->call->result, "top", list)) return sow_fail(SOW_E_MEMORY, "out of memory");
    float bound = INFINITY;
    int64_t last = -1;
    for (int64_t k = 0; k < top && k < n; k++) {
        int64_t best = -1;
        for (int64_t i = 0; i < n; i++) {
            bool later = logits[i] < bound || (logits[i] == bound && i > last);
            if (later && (best < 0 || logits[i] > logits[best])) best = i;
        }
        if (best < 0) break;
        sow_span token = sow_token_text(s->tokenizer, (int32_t)best);
        json_t *text = json_stringn(token.text ? token.text : "", token.size); /* NULL: part of a character */
        json_t *row = s->call->json ? json_pack("[I,f]", (json_int_t)best, (double)logits[best])
                                    : json_pack("{s:I,s:o,s:f}", "id", (json_int_t)best, "token",
                                                text ? json_incref(text) : json_null(), "logit", (double)logits[best]);
        json_decref(text);
        if (json_array_append_new(list, row)) return sow_fail(SOW_E_MEMORY, "out of memory");
        bound = logits[best];
        last = best;
    }
    return SOW_OK;
}

static sow_status score_prompt(scorer *s) {
    const char *prompt = sow_text(s->call, "prompt");
    sow_encoding e;
    SOW_TRY(sow_encode(s->tokenizer, s->call->arena, prompt, strlen(prompt), encode_flags(s->call), &e));
    if (e.count == 0) return sow_fail(SOW_E_ARGUMENT, "--prompt: no token in it");
    int64_t start[2] = {0, e.count}, n = s->lm->config.vocabulary;
    sow_tokens tokens = {e.ids, start, 1};
    sow_tape_record(s->tape, false);
    sow_var logits = sow_lm_logits(s->tape, s->lm,
                                   sow_narrow(s->tape, sow_lm_states(s->tape, s->lm, &tokens), 0, e.count - 1, 1));
    SOW_TRY(sow_tape_status(s->tape));
    const float *z = sow_value(logits).data;
    double largest = z[0], sum = 0;
    for (int64_t i = 1; i < n; i++) largest = fmax(largest, (double)z[i]);
    for (int64_t i = 0; i < n; i++) sum += exp((double)z[i] - largest);
    SOW_TRY(add_top(s, z, n, sow_int(s->call, "top")));
    return json_object_set_new(s->call->result, "logsumexp", json_real(log(sum) + largest))
               ? sow_fail(SOW_E_MEMORY, "out of memory")
               : SOW_OK;
}

static sow_status open_model(sow_call *call, scorer *s) {
    *s = (scorer){.call = call};
    SOW_TRY(sow_lm_open(sow_text(call, "model"), &s->lm));
    SOW_TRY(open_tokenizer(call, &s->tokenizer));
    if (sow_tokenizer_size(s->tokenizer) > s->lm->config.vocabulary)
        sow_warn("the tokenizer has %lld tokens, the model %lld", (long long)sow_tokenizer_size(s->tokenizer),
                 (long long)s->lm->config.vocabulary);
    return sow_tape_new(&s->tape);
}

static void close_model(scorer *s) {
    sow_tape_free(s->tape);
    sow_lm_free(s->lm);
    sow_tokenizer_free(s->tokenizer);
}

static sow_status run_score(sow_call *call) {
    scorer s;
    if (!sow_text(call, "data") == !sow_text(call, "prompt"))
        return sow_fail(SOW_E_ARGUMENT, "give either --data or --prompt");
    sow_status status = open_model(call, &s);
    if (status == SOW_OK) {
        int64_t window = sow_int(call, "context");
        s.window = window > 0 && window < s.lm->config.positions ? window
                   : s.lm->config.positions < 1024               ? s.lm->config.positions
                                                                 : 1024;
        status = sow_text(call, "prompt") ? score_prompt(&s) : score_data(&s);
    }
    close_model(&s);
    return status;
}

/* ---- embed ---- */

enum { BATCH_TOKENS = 2048 };

typedef struct batch {
    int32_t *ids;
    int64_t *start;
    int64_t count;
} batch;

/* A long text keeps its special token at the end. */
static void append(batch *b, const sow_encoding *e, int64_t limit) {
    int64_t n = e->count < limit ? e->count : limit, at = b->start[b->count];
    memcpy(b->ids + at, e->ids, (size_t)n * sizeof *e->ids);
    if (e->count > limit) b->ids[at + n - 1] = e->ids[e->count - 1];
    b->start[++b->count] = at + n;
}

static sow_status embed_lines(scorer *s, const lines *in, float *out, int64_t *cut) {
    int64_t limit = sow_int(s->call, "context"), done = 0, d = s->lm->config.hidden;
    if (limit <= 0) limit = 256;
    if (limit > s->lm->config.positions) limit = s->lm->config.positions;
    batch b = {0};
    SOW_TRY(SOW_NEW_RAW(s->call->arena, b.ids, BATCH_TOKENS + limit));
    SOW_TRY(SOW_NEW(s->call->arena, b.start, BATCH_TOKENS + 2));
    for (int64_t i = 0; i < in->count; i++) {
        sow_mark mark = sow_arena_mark(s->call->arena);
        sow_encoding e;
        sow_status status = sow_encode(s->tokenizer, s->call->arena, in->at[i].text, in->at[i].size,
                                       encode_flags(s->call), &e);
        if (status == SOW_OK && e.count == 0) status = sow_fail(SOW_E_FORMAT, "no token in it");
        if (status != SOW_OK) return sow_fail_in(status, "%s: text %lld", sow_text(s->call, "data"), (long long)i + 1);
        *cut += e.count > limit;
        append(&b, &e, limit);
        sow_arena_release(s->call->arena, mark);
        if (b.start[b.count] < BATCH_TOKENS && b.count < BATCH_TOKENS && i + 1 < in->count) continue;
        sow_tokens tokens = {b.ids, b.start, b.count};
        SOW_TRY(sow_lm_embed(s->tape, s->lm, &tokens, out + done * d));
        done += b.count;
        b.count = 0;
        sow_progress("embedding", done, in->count);
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}

static sow_status embed(scorer *s) {
    lines in;
    float *vectors;
    int64_t cut = 0, d = s->lm->config.hidden;
    SOW_TRY(read_lines(s->call->arena, sow_text(s->call, "data"), &in));
    if (in.count == 0) return sow_fail(SOW_E_FORMAT, "%s: no text in it", sow_text(s->call, "data"));
    SOW_TRY(SOW_NEW_RAW(s->call->arena, vectors, in.count * d));
    SOW_TRY(embed_lines(s, &in, vectors, &cut));
    if (cut > 0) sow_note("%lld of %lld texts were cut to the context", (long long)cut, (long long)in.count);
    SOW_TRY(sow_npy_write(sow_text(s->call, "out"), SOW_TENSOR(vectors, SOW_F32, in.count, d)));
    if (json_object_set_new(s->call->result, "texts", json_integer(in.count)) ||
        json_object_set_new(s->call->result, "width", json_integer(d)))
        return sow_fail(SOW_E_MEMORY, "out of memory");
    return sow_wrote(s->call, sow_text(s->call, "out"));
}

static sow_status run_embed(sow_call *call) {
    scorer s;
    const char *out = sow_text(call, "out");
    if (sow_path_exists(out) && !sow_flag(call, "force"))
        return sow_fail(SOW_E_EXISTS, "%s exists already; --force overwrites it", out);
    sow_status status = open_model(call, &s);
    if (status == SOW_OK) status = embed(&s);
    close_model(&s);
    return status;
}

/* ---- tables ---- */

#define MODEL                                                                                           \
    {                                                                                                   \
        "model", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL,                                              \
            "a Hugging Face folder, a GGUF file, or a name that `sow fetch` lists", SOW_OPTION_REQUIRED \
    }
#define TOKENIZER SOW_OPTION_PATH("tokenizer", NULL, "a tokenizer.json in place of the model's own")
#define INVALID SOW_OPTION_CHOICE("invalid", "error", "error|replace", "what to do with bytes that are not UTF-8")

static const sow_option score_options[] = {
    MODEL,
    SOW_OPTION_TEXT("data", NULL, "a text file; .jsonl: the \"text\" of each line; -: standard input"),
    SOW_OPTION_TEXT("prompt", NULL, "show the likeliest next tokens instead"),
    SOW_OPTION_INT("top", "10", 1, 100000, "how many of them"),
    SOW_OPTION_FLAG("per-line", "each line is a text of its own, with its loss"),
    SOW_OPTION_INT("context", "0", 0, 1 << 24, "tokens of a window; 0: 1,024 or what the model takes"),
    TOKENIZER,
    INVALID,
    {0},
};

static const sow_option tokenize_options[] = {
    MODEL,
    {"data", 0, SOW_TYPE_TEXT, "-", 0, 0, NULL, NULL,
     "texts, one a line; .jsonl: the \"text\" of each; -: standard input", 0},
    SOW_OPTION_FLAG("decode", "from ids back to texts: {\"ids\":[..]} or numbers, one text a line"),
    SOW_OPTION_FLAG("no-special", "without the special tokens that the tokenizer adds; drop them when decoding"),
    TOKENIZER,
    INVALID,
    {0},
};

static const sow_option embed_options[] = {
    MODEL,
    {"data", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL,
     "texts, one a line; .jsonl: the \"text\" of each; -: standard input", SOW_OPTION_REQUIRED},
    SOW_OPTION_INT("context", "0", 0, 1 << 24, "tokens kept of a text; 0: 256 or what the model takes"),
    TOKENIZER,
    INVALID,
    SOW_OPTION_OUTPUT("vectors of length one, .npy, [texts, width]"),
    SOW_OPTION_FORCE,
    {0},
};

static const sow_action actions[] = {
    {"score", "mean loss and perplexity of texts, or the next token's likelihoods", score_options, run_score,
     "sow lm score --model smollm2 --data text.txt", 0},
    {"tokenize", "token ids of texts, and back", tokenize_options, run_tokenize,
     "sow lm tokenize --model smollm2 --data lines.txt", 0},
    {"embed", "sentence vectors: means of the states", embed_options, run_embed,
     "sow lm embed --model minilm --data lines.txt -o e.npy", 0},
    {0},
};

const sow_method sow_verb_lm = {
    .name = "lm",
    .family = "commands",
    .summary = "tokenize, score and embed texts with a language model",
    .actions = actions,
};
