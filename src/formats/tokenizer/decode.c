/* Decoders of tokenizer.json: from token texts back to text. */
#include <string.h>

#include "formats/tokenizer/read.h"

static sow_span span_of(sow_arena *arena, const void *bytes, size_t size) {
    char *copy = sow_arena_take(arena, size + 1, 1);
    if (copy && size) memcpy(copy, bytes, size);
    return (sow_span){copy, size};
}

/* ---- replacing within every token ---- */

/* All `from` in a text by `to`. */
static sow_status replaced(sow_arena *arena, sow_span in, const char *from, size_t from_size, const char *to,
                           size_t to_size, sow_span *out) {
    tok_text text = {.arena = arena};
    const char *at = in.text, *end = in.text + in.size, *found;
    SOW_TRY(tok_put_bytes(&text, "", 0, 0, 0));
    while (from_size && (found = memmem(at, (size_t)(end - at), from, from_size))) {
        SOW_TRY(tok_put_bytes(&text, at, found - at, 0, 0));
        SOW_TRY(tok_put_bytes(&text, to, (int64_t)to_size, 0, 0));
        at = found + from_size;
    }
    SOW_TRY(tok_put_bytes(&text, at, end - at, 0, 0));
    *out = (sow_span){(const char *)text.bytes, (size_t)text.size};
    return SOW_OK;
}

static sow_status decode_replace(const tok_step *s, sow_arena *arena, sow_span *tokens, int64_t *count) {
    for (int64_t i = 0; i < *count; i++)
        SOW_TRY(replaced(arena, tokens[i], s->text.text, s->text.size, s->text2.text, s->text2.size, &tokens[i]));
    return SOW_OK;
}

static sow_status clean_up(sow_arena *arena, sow_span *token) {
    static const char *const pairs[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                           {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                           {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        SOW_TRY(replaced(arena, *token, pairs[i][0], strlen(pairs[i][0]), pairs[i][1], strlen(pairs[i][1]), token));
    return SOW_OK;
}

static sow_status decode_wordpiece(const tok_step *s, sow_arena *arena, sow_span *tokens, int64_t *count) {
    for (int64_t i = 0; i < *count; i++) {
        sow_span t = tokens[i];
        bool inner = t.size >= s->text.size && s->text.size > 0 && !memcmp(t.text, s->text.text, s->text.size);
        if (i > 0 && inner) t = (sow_span){t.text + s->text.size, t.size - s->text.size};
        else if (i > 0) {
            char *spaced = sow_arena_take(arena, t.size + 2, 1);
            if (!spaced) return SOW_E_MEMORY;
            spaced[0] = ' ';
            memcpy(spaced + 1, t.text, t.size);
            t = (sow_span){spaced, t.size + 1};
        }
        if (s->flag) SOW_TRY(clean_up(arena, &t));
        tokens[i] = t;
    }
    return SOW_OK;
}

/* Marks become spaces, but those of the first token vanish where the encoder put one in front. */
static sow_status decode_metaspace(const tok_step *s, sow_arena *arena, sow_span *tokens, int64_t *count) {
    for (int64_t i = 0; i < *count; i++)
        SOW_TRY(replaced(arena, tokens[i], s->text.text, s->text.size, " ", i == 0 && s->kind != TOK_NEVER ? 0 : 1,
                         &tokens[i]));
    return SOW_OK;
}

/* ---- bytes ---- */

static int byte_of(sow_span t) {
    static const char digits[] = "0123456789ABCDEF";
    const char *a, *b;
    if (t.size != 6 || memcmp(t.text, "<0x", 3) || t.text[5] != '>') return -1;
    a = memchr(digits, t.text[3], 16);
    b = memchr(digits, t.text[4], 16);
    return a && b ? (int)((a - digits) * 16 + (b - digits)) : -1;
}

static bool is_well_formed(const uint8_t *bytes, int64_t size) {
    tok_piece p = {.bytes = bytes, .size = size};
    for (int64_t i = 0, n; i < size; i += n)
        if (tok_character(&p, i, &n) == 0xFFFD && n == 1) return false;
    return true;
}

/* A run of byte tokens is text if it is well-formed, else one replacement character a token. */
static sow_status decode_bytes(const tok_step *s, sow_arena *arena, sow_span *tokens, int64_t *count) {
    (void)s;
    for (int64_t i = 0, end; i < *count; i = end) {
        for (end = i; end < *count && byte_of(tokens[end]) >= 0; end++) {}
        if (end == i) {
            end++;
            continue;
        }
        uint8_t *bytes = sow_arena_take(arena, (size_t)(end - i), 1);
        if (!bytes) return SOW_E_MEMORY;
        for (int64_t k = i; k < end; k++) bytes[k - i] = (uint8_t)byte_of(tokens[k]);
        bool good = is_well_formed(bytes, end - i);
        for (int64_t k = i; k < end; k++)
            tokens[k] = good ? span_of(arena, bytes + (k - i), 1) : span_of(arena, "\xEF\xBF\xBD", 3);
    }
    return SOW_OK;
}

/* ---- whole texts ---- */

static sow_status decode_fuse(const tok_step *s, sow_arena *arena, sow_span *tokens, int64_t *count) {
    (void)s;
    size_t size = 0, at = 0;
    for (int64_t i = 0; i < *count; i++) size += tokens[i].size;
    char *text = sow_arena_take(arena, size + 1, 1);
    if (!text) return SOW_E_MEMORY;
    for (int64_t i = 0; i < *count; i++) memcpy(text + at, tokens[i].text, tokens[i].size), at += tokens[i].size;
    if (*count > 0) tokens[0] = (sow_span){text, size};
    *count = *count > 0;
    return SOW_OK;
}

static sow_status decode_strip(const tok_step *s, sow_arena *arena, sow_span *tokens, int64_t *count) {
    (void)arena;
    size_t n = s->text.size;
    for (int64_t i = 0; i < *count && n > 0; i++) {
        sow_span t = tokens[i];
        for (int k = 0; k < s->number && t.size >= n && !memcmp(t.text, s->text.text, n); k++)
            t = (sow_span){t.text + n, t.size - n};
        for (int k = 0; k < s->number2 && t.size >= n && !memcmp(t.text + t.size - n, s->text.text, n); k++)
            t.size -= n;
        tokens[i] = t;
    }
    return SOW_OK;
}

static sow_status decode_nothing(const tok_step *s, sow_arena *arena, sow_span *tokens, int64_t *count) {
    (void)s, (void)arena, (void)tokens, (void)count;
    return SOW_OK; /* byte-level tokens are kept as raw bytes */
}

/* Ends of words become spaces, but the last. */
static sow_status decode_suffix(const tok_step *s, sow_arena *arena, sow_span *tokens, int64_t *count) {
    for (int64_t i = 0; i < *count; i++)
        SOW_TRY(replaced(arena, tokens[i], s->text.text, s->text.size, " ", i + 1 < *count, &tokens[i]));
    return SOW_OK;
}

/* ---- reading ---- */

static sow_status text_or(sow_arena *arena, const json_t *json, const char *name, const char *initial, sow_span *out) {
    if (json_object_get(json, name)) return tok_string(arena, json, name, out);
    *out = (sow_span){initial, strlen(initial)};
    return SOW_OK;
}

static sow_status read_one(sow_arena *arena, const char *type, const json_t *json, tok_step *s) {
    if (!strcmp(type, "ByteLevel")) s->decode = decode_nothing;
    else if (!strcmp(type, "WordPiece")) {
        s->decode = decode_wordpiece;
        s->flag = tok_flag(json, "cleanup", true);
        return text_or(arena, json, "prefix", "##", &s->text);
    } else if (!strcmp(type, "Metaspace")) {
        const char *scheme = json_string_value(json_object_get(json, "prepend_scheme"));
        s->decode = decode_metaspace;
        s->kind = tok_flag(json, "add_prefix_space", true) && !(scheme && !strcmp(scheme, "never")) ? TOK_ALWAYS
                                                                                                    : TOK_NEVER;
        return text_or(arena, json, "replacement", "\xE2\x96\x81", &s->text);
    } else if (!strcmp(type, "Replace")) {
        s->decode = decode_replace;
        SOW_TRY(tok_string(arena, json_object_get(json, "pattern"), "String", &s->text));
        return tok_string(arena, json, "content", &s->text2);
    } else if (!strcmp(type, "ByteFallback")) s->decode = decode_bytes;
    else if (!strcmp(type, "Fuse")) s->decode = decode_fuse;
    else if (!strcmp(type, "Strip")) {
        s->decode = decode_strip;
        s->number = (int)json_integer_value(json_object_get(json, "start"));
        s->number2 = (int)json_integer_value(json_object_get(json, "stop"));
        return text_or(arena, json, "content", " ", &s->text);
    } else if (!strcmp(type, "BPEDecoder")) {
        s->decode = decode_suffix;
        return text_or(arena, json, "suffix", "</w>", &s->text);
    } else return sow_fail(SOW_E_UNSUPPORTED, "decoder %.60s is not supported", type);
    return SOW_OK;
}

sow_status tok_read_decoder(sow_arena *arena, const json_t *json, tok_step **list) {
    return tok_read_parts(arena, json, "decoders", "decoder", read_one, list);
}

sow_status tok_add_decoder(sow_arena *arena, const char *type, tok_step **list) {
    tok_step *s = tok_append(arena, list);
    return s ? read_one(arena, type, NULL, s) : SOW_E_MEMORY;
}

/* ---- the call ---- */

/* Ill-formed bytes become U+FFFD, one for each maximal part of a character. */
static sow_status repair(sow_arena *arena, sow_span in, char **text, size_t *size) {
    tok_text out = {.arena = arena};
    SOW_TRY(tok_repair(&out, in, NULL));
    SOW_TRY(tok_put_bytes(&out, "", 1, 0, 0));
    *text = (char *)out.bytes;
    *size = (size_t)out.size - 1;
    return SOW_OK;
}

sow_status sow_decode(const sow_tokenizer *t, sow_arena *arena, const int32_t *ids, int64_t count, bool skip_special,
                      char **text, size_t *size) {
    sow_span *tokens;
    int64_t n = 0;
    SOW_TRY(SOW_NEW_RAW(arena, tokens, count + 1));
    for (int64_t i = 0; i < count; i++) {
        sow_span token = sow_token_text(t, ids[i]);
        if (!token.text)
            return sow_fail(SOW_E_RANGE, "id %d is no token; the vocabulary has %lld", ids[i], (long long)t->size);
        if (!skip_special || !t->special[ids[i]]) tokens[n++] = token;
    }
    for (const tok_step *s = t->decoders; s; s = s->next) SOW_TRY(s->decode(s, arena, tokens, &n));
    if (!t->decoders) /* the reference joins with spaces then */
        for (int64_t i = 1; i < n; i++) {
            char *spaced = sow_arena_format(arena, " %.*s", (int)tokens[i].size, tokens[i].text);
            if (!spaced) return SOW_E_MEMORY;
            tokens[i] = (sow_span){spaced, tokens[i].size + 1};
        }
    SOW_TRY(decode_fuse(NULL, arena, tokens, &n));
    return repair(arena, n > 0 ? tokens[0] : (sow_span){"", 0}, text, size);
}
