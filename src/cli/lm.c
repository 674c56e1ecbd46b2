/* sow lm: what a language model makes of texts. Here: token ids, sentence vectors, the table of actions. */
#include <string.h>

#include "cli/lm.h"
#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/npy.h"

/* ---- tokenize ---- */

/* The digits of an id into `out`; how many. */
static size_t write_id(int32_t id, char out[10]) {
    char reversed[10];
    size_t n = 0;
    do reversed[n++] = (char)('0' + id % 10);
    while (id /= 10);
    for (size_t i = 0; i < n; i++) out[i] = reversed[n - 1 - i];
    return n;
}

static sow_status print_ids(const sow_encoding *e, bool json) {
    char text[4096] = "";
    size_t size = 0;
    fputs(json ? "{\"ids\":[" : "", stdout);
    for (int64_t i = 0; i < e->count; i++) {
        if (size + 11 > sizeof text) fwrite(text, 1, size, stdout), size = 0;
        if (i > 0) text[size++] = json ? ',' : ' ';
        size += write_id(e->ids[i], text + size);
    }
    fwrite(text, 1, size, stdout);
    fputs(json ? "]}\n" : "\n", stdout);
    return ferror(stdout) ? sow_fail(SOW_E_IO, "standard output: writing failed") : SOW_OK;
}

static sow_status encode_lines(sow_call *call, sow_tokenizer *t, const cli_lines *in) {
    unsigned flags = cli_encode_flags(call) & ~(sow_flag(call, "no-special") ? SOW_ENCODE_SPECIAL : 0u);
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
    SOW_TRY(cli_read_text(call->arena, sow_text(call, "data"), &whole));
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
    cli_lines in;
    SOW_TRY(cli_open_tokenizer(call, &t));
    sow_status status;
    if (sow_flag(call, "decode")) status = decode_lines(call, t);
    else {
        status = cli_read_lines(call->arena, sow_text(call, "data"), &in);
        if (status == SOW_OK) status = encode_lines(call, t, &in);
    }
    sow_tokenizer_free(t);
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

static sow_status embed_lines(cli_lm *s, const cli_lines *in, float *out, int64_t *cut) {
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
                                       cli_encode_flags(s->call), &e);
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

static sow_status embed(cli_lm *s) {
    cli_lines in;
    float *vectors;
    int64_t cut = 0, d = s->lm->config.hidden;
    SOW_TRY(cli_read_lines(s->call->arena, sow_text(s->call, "data"), &in));
    if (in.count == 0) return sow_fail(SOW_E_FORMAT, "%s: no text in it", sow_text(s->call, "data"));
    SOW_TRY(SOW_NEW_RAW(s->call->arena, vectors, in.count * d));
    SOW_TRY(embed_lines(s, &in, vectors, &cut));
    if (cut > 0) sow_note("%lld of %lld texts were cut to the context", (long long)cut, (long long)in.count);
    SOW_TRY(sow_npy_write(sow_text(s->call, "out"), SOW_TENSOR(vectors, SOW_F32, in.count, d)));
    SOW_TRY(sow_put_count(s->call->result, "texts", in.count));
    SOW_TRY(sow_put_count(s->call->result, "width", d));
    return sow_wrote(s->call, sow_text(s->call, "out"));
}

static sow_status run_embed(sow_call *call) {
    cli_lm s;
    const char *out = sow_text(call, "out");
    if (sow_path_exists(out) && !sow_flag(call, "force"))
        return sow_fail(SOW_E_EXISTS, "%s exists already; --force overwrites it", out);
    sow_status status = cli_lm_open(call, &s);
    if (status == SOW_OK) status = embed(&s);
    cli_lm_close(&s);
    return status;
}

/* ---- tables ---- */

static const sow_option tokenize_options[] = {
    CLI_LM_MODEL,
    {"data", 0, SOW_TYPE_TEXT, "-", 0, 0, NULL, NULL,
     "texts, one a line; .jsonl: the \"text\" of each; -: standard input", 0},
    SOW_OPTION_FLAG("decode", "from ids back to texts: {\"ids\":[..]} or numbers, one text a line"),
    SOW_OPTION_FLAG("no-special", "without the special tokens that the tokenizer adds; drop them when decoding"),
    CLI_LM_TOKENIZER,
    CLI_LM_INVALID,
    {0},
};

static const sow_option embed_options[] = {
    CLI_LM_MODEL,
    {"data", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL,
     "texts, one a line; .jsonl: the \"text\" of each; -: standard input", SOW_OPTION_REQUIRED},
    SOW_OPTION_INT("context", "0", 0, 1 << 24, "tokens kept of a text; 0: 256 or what the model takes"),
    CLI_LM_TOKENIZER,
    CLI_LM_INVALID,
    SOW_OPTION_OUTPUT("vectors of length one, .npy, [texts, width]"),
    SOW_OPTION_FORCE,
    {0},
};

static const sow_action actions[] = {
    {"score", "mean loss and perplexity of texts, the next token's likelihoods, or accuracy in multiple choice",
     cli_lm_score_options, cli_lm_score, "sow lm score --model smollm2 --data text.txt", 0},
    {"generate", "continue a prompt, or answer a chat", cli_lm_generate_options, cli_lm_generate,
     "sow lm generate --model smollm2 --chat --prompt 'What is the capital of France?'", SOW_ACTION_COMPUTES},
    {"tokenize", "token ids of texts, and back", tokenize_options, run_tokenize,
     "sow lm tokenize --model smollm2 --data lines.txt", 0},
    {"embed", "sentence vectors: means of the states", embed_options, run_embed,
     "sow lm embed --model minilm --data lines.txt -o e.npy", 0},
    {"export", "a Hugging Face folder of a model, from GGUF too", cli_lm_export_options, cli_lm_export,
     "sow lm export --model smollm2 --dtype bf16 -o smollm2-hf/", 0},
    {0},
};

const sow_method sow_verb_lm = {
    .name = "lm",
    .family = "commands",
    .summary = "continue, score, tokenize and embed texts with a language model",
    .actions = actions,
};
