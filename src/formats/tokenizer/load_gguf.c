/* Tokenizers of GGUF files: tokens, merges or scores, and a name for everything around the model. */
#include <math.h>
#include <string.h>

#include "formats/tokenizer/read.h"

#define KEY(name) "tokenizer.ggml." name

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4 };

const char
    tok_llama3_pattern[] =
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    tok_qwen2_pattern[] =
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

typedef struct reader {
    sow_tokenizer *t;
    const sow_gguf *file;
    sow_span *tokens;
    double *types; /* NULL: all normal */
    int64_t count;
} reader;

static bool is(sow_span text, const char *name) {
    return text.text && text.size == strlen(name) && !memcmp(text.text, name, text.size);
}

static int64_t integer_or(const sow_gguf *file, const char *key, int64_t initial) {
    sow_status status = SOW_OK;
    sow_gguf_integer(file, key, &initial, &status);
    return initial;
}

/* ---- tokens ---- */

/* Token i as the model sees it. WordPiece marks the beginnings of words in these files, and drops ## elsewhere. */
static sow_status own_text(reader *r, int64_t i, bool byte_level, bool wordpiece, sow_span *out) {
    sow_span in = r->tokens[i];
    uint8_t *bytes;
    int64_t n = (int64_t)in.size;
    bool plain = !r->types || r->types[i] == NORMAL;
    SOW_TRY(SOW_NEW_RAW(r->t->arena, bytes, in.size + 3));
    if (wordpiece && plain && in.size > 3 && !memcmp(in.text, "\xE2\x96\x81", 3))
        memcpy(bytes, in.text + 3, in.size - 3), n -= 3;
    else if (wordpiece && plain && !(in.size > 2 && in.text[0] == '[' && in.text[in.size - 1] == ']'))
        memcpy(bytes, "##", 2), memcpy(bytes + 2, in.text, in.size), n += 2;
    else if (!(byte_level && plain && tok_from_alphabet((const uint8_t *)in.text, n, bytes, &n)))
        memcpy(bytes, in.text, in.size);
    *out = (sow_span){(const char *)bytes, (size_t)n};
    return SOW_OK;
}

static sow_status read_tokens(reader *r, bool byte_level, bool wordpiece) {
    sow_tokenizer *t = r->t;
    t->size = r->count;
    SOW_TRY(SOW_NEW(t->arena, t->tokens, r->count + 1));
    SOW_TRY(SOW_NEW(t->arena, t->special, r->count + 1));
    SOW_TRY(SOW_NEW(t->arena, t->added, r->count + 1));
    SOW_TRY(tok_table_new(t->arena, r->count, &t->model.words));
    for (int64_t i = 0; i < r->count; i++) {
        int type = r->types ? (int)r->types[i] : NORMAL;
        if (r->tokens[i].size > 64 << 10)
            return sow_fail(SOW_E_RANGE, "token %lld has %zu bytes, expected at most 65536", (long long)i,
                            r->tokens[i].size);
        SOW_TRY(own_text(r, i, byte_level, wordpiece, &t->tokens[i]));
        t->special[i] = type == CONTROL || type == UNKNOWN;
        if (type == UNKNOWN) t->model.unknown = (int32_t)i;
        if (t->tokens[i].size > (size_t)t->model.longest) t->model.longest = (int64_t)t->tokens[i].size;
        if (type == CONTROL || type == USER)
            t->added[t->added_count++] = (tok_added){.text = (const uint8_t *)t->tokens[i].text,
                                                     .size = (int64_t)t->tokens[i].size,
                                                     .id = (int32_t)i,
                                                     .special = type == CONTROL};
        if (type != CONTROL) tok_table_put(&t->model.words, t->tokens[i].text, (int64_t)t->tokens[i].size, (int32_t)i);
    }
    tok_find_bytes(&t->model);
    return SOW_OK;
}

static sow_status read_scores(reader *r) {
    double *scores;
    int64_t count;
    SOW_TRY(sow_gguf_numbers(r->file, r->t->arena, KEY("scores"), &scores, &count));
    if (count != r->count)
        return sow_fail(SOW_E_FORMAT, "%lld scores for %lld tokens", (long long)count, (long long)r->count);
    r->t->model.least = INFINITY;
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(scores[i])) return sow_fail(SOW_E_NUMBER, "score %lld is not finite", (long long)i);
        r->t->model.least = fmin(r->t->model.least, scores[i]);
    }
    r->t->model.scores = scores;
    return SOW_OK;
}

/* ---- byte-level BPE ---- */

static sow_status read_merges(reader *r) {
    sow_span *merges;
    int64_t count;
    SOW_TRY(sow_gguf_texts(r->file, r->t->arena, KEY("merges"), &merges, &count));
    SOW_TRY(tok_merges_new(r->t->arena, count, &r->t->model));
    for (int64_t i = 0; i < count; i++) {
        sow_span m = merges[i];
        const char *space = m.size > 1 ? memchr(m.text + 1, ' ', m.size - 1) : NULL;
        if (!space) return sow_fail(SOW_E_FORMAT, "merge %lld is no pair", (long long)i);
        SOW_TRY(tok_add_merge(r->t, i, (sow_span){m.text, (size_t)(space - m.text)},
                              (sow_span){space + 1, m.size - (size_t)(space + 1 - m.text)}));
    }
    return SOW_OK;
}

static sow_status read_splitter(sow_tokenizer *t, sow_span pre) {
    if (!pre.text || is(pre, "gpt-2") || is(pre, "gpt2"))
        return tok_add_byte_level(t->arena, false, true, &t->splitters);
    if (is(pre, "smollm") || is(pre, "starcoder") || is(pre, "refact") || is(pre, "command-r")) {
        SOW_TRY(tok_add_digits(t->arena, true, &t->splitters));
        return tok_add_byte_level(t->arena, false, true, &t->splitters);
    }
    bool llama3 = is(pre, "llama-bpe") || is(pre, "llama3"), qwen2 = is(pre, "qwen2");
    if (!llama3 && !qwen2)
        return sow_fail(SOW_E_UNSUPPORTED,
                        "key " KEY("pre") ": %.*s is not known; give the model's tokenizer.json by --tokenizer",
                        (int)(pre.size < 60 ? pre.size : 60), pre.text);
    t->model.whole_first = llama3;
    SOW_TRY(tok_add_pattern(t->arena, llama3 ? tok_llama3_pattern : tok_qwen2_pattern, TOK_ISOLATED, false, &t->splitters));
    return tok_add_byte_level(t->arena, false, false, &t->splitters);
}

static sow_status load_bpe(reader *r) {
    sow_span pre = {0};
    sow_status status = SOW_OK;
    sow_gguf_text(r->file, KEY("pre"), &pre, &status);
    SOW_TRY(status);
    r->t->model.kind = TOK_BPE;
    r->t->model.byte_level = true;
    SOW_TRY(read_tokens(r, true, false));
    SOW_TRY(read_merges(r));
    SOW_TRY(tok_add_decoder(r->t->arena, "ByteLevel", &r->t->decoders));
    return read_splitter(r->t, pre);
}

/* ---- the others ---- */

static sow_status load_scored(reader *r) {
    sow_tokenizer *t = r->t;
    bool prefix = integer_or(r->file, KEY("add_space_prefix"), 1);
    t->model.kind = TOK_SCORED;
    t->model.byte_fallback = t->model.fuse_unknown = true;
    SOW_TRY(read_tokens(r, false, false));
    SOW_TRY(read_scores(r));
    SOW_TRY(tok_rank_scores(t->arena, r->count, &t->model));
    SOW_TRY(tok_add_metaspace(t->arena, prefix ? TOK_FIRST : TOK_NEVER, false, &t->splitters));
    SOW_TRY(tok_add_decoder(t->arena, "ByteFallback", &t->decoders));
    SOW_TRY(tok_add_decoder(t->arena, "Metaspace", &t->decoders));
    tok_step *s = t->decoders->next;
    s->kind = prefix ? TOK_ALWAYS : TOK_NEVER;
    return SOW_OK;
}

static sow_status load_wordpiece(reader *r) {
    sow_tokenizer *t = r->t;
    t->model.kind = TOK_WORDPIECE;
    t->model.longest_word = 100;
    SOW_TRY(read_tokens(r, false, true));
    SOW_TRY(tok_index_inner(t, "##"));
    if (t->model.unknown < 0) t->model.unknown = tok_table_find(&t->model.words, "[UNK]", 5);
    SOW_TRY(tok_add_bert_normaliser(t->arena, true, &t->normalisers));
    SOW_TRY(tok_add_bert_splitter(t->arena, &t->splitters));
    return tok_add_decoder(t->arena, "WordPiece", &t->decoders);
}

static sow_status load_unigram(reader *r) {
    sow_tokenizer *t = r->t;
    t->model.kind = TOK_UNIGRAM;
    SOW_TRY(read_tokens(r, false, false));
    SOW_TRY(read_scores(r));
    SOW_TRY(tok_add_metaspace(t->arena, TOK_ALWAYS, true, &t->splitters));
    return tok_add_decoder(t->arena, "Metaspace", &t->decoders);
}

/* Special tokens around a text, where the file says so (and always for BERT and sentencepiece's BPE). */
static sow_status read_ends(reader *r) {
    sow_tokenizer *t = r->t;
    bool bert = t->model.kind == TOK_WORDPIECE;
    int64_t begin = integer_or(r->file, bert ? KEY("cls_token_id") : KEY("bos_token_id"), -1);
    int64_t end = integer_or(r->file, bert ? KEY("seperator_token_id") : KEY("eos_token_id"), -1);
    if (bert && begin < 0) begin = integer_or(r->file, KEY("bos_token_id"), -1);
    if (bert && end < 0) end = integer_or(r->file, KEY("eos_token_id"), -1);
    bool add_begin = integer_or(r->file, KEY("add_bos_token"), bert || t->model.kind == TOK_SCORED),
         add_end = integer_or(r->file, KEY("add_eos_token"), bert);
    if (begin >= t->size || end >= t->size)
        return sow_fail(SOW_E_FORMAT, "a special token's id is beyond the vocabulary of %lld", (long long)t->size);
    if (add_begin && begin >= 0) t->before[t->before_count++] = (int32_t)begin;
    if (add_end && end >= 0) t->after[t->after_count++] = (int32_t)end;
    return SOW_OK;
}

static sow_status load(reader *r) {
    sow_span model = {0};
    sow_status status = SOW_OK;
    sow_gguf_text(r->file, KEY("model"), &model, &status);
    SOW_TRY(status);
    SOW_TRY(sow_gguf_texts(r->file, r->t->arena, KEY("tokens"), &r->tokens, &r->count));
    if (r->count > 4 << 20) return sow_fail(SOW_E_RANGE, "%lld tokens, expected at most 4194304", (long long)r->count);
    if (sow_gguf_length(r->file, KEY("token_type")) >= 0) {
        int64_t types;
        SOW_TRY(sow_gguf_numbers(r->file, r->t->arena, KEY("token_type"), &r->types, &types));
        if (types != r->count)
            return sow_fail(SOW_E_FORMAT, "%lld token types for %lld tokens", (long long)types, (long long)r->count);
    }
    if (is(model, "gpt2")) SOW_TRY(load_bpe(r));
    else if (is(model, "llama")) SOW_TRY(load_scored(r));
    else if (is(model, "bert")) SOW_TRY(load_wordpiece(r));
    else if (is(model, "t5")) SOW_TRY(load_unigram(r));
    else
        return sow_fail(SOW_E_UNSUPPORTED, "key " KEY("model") ": found %.*s, expected gpt2, llama, bert or t5",
                        (int)(model.size < 60 ? model.size : 60), model.text ? model.text : "");
    return read_ends(r);
}

/* Tokens are copied into the tokenizer: the file is closed again. */
sow_status tok_load_gguf(sow_tokenizer *t, const char *path) {
    sow_gguf *file;
    SOW_TRY(sow_gguf_open(path, &file));
    reader r = {.t = t, .file = file};
    sow_status status = load(&r);
    sow_gguf_close(file);
    return status;
}
