/* Normalisers of tokenizer.json: Unicode forms, lower case, BERT's cleaning, replacements, sentencepiece's character map. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "formats/tokenizer/read.h"

static int32_t origin(const int32_t *list, int64_t i) {
    return list ? list[i] : 0;
}
#define FROM(p, i) origin((p)->from, i)
#define TO(p, i) origin((p)->to, i)

static sow_status put_range(const tok_piece *p, int64_t first, int64_t last, tok_text *out) {
    if (!p->from) return tok_put_bytes(out, p->bytes + first, last - first, 0, 0);
    for (int64_t i = first; i < last; i++) SOW_TRY(tok_put_bytes(out, p->bytes + i, 1, p->from[i], p->to[i]));
    return SOW_OK;
}

/* ---- Unicode forms: a grapheme at a time, so that characters keep their origin ---- */

static int64_t next_grapheme(const tok_piece *p, int64_t at) {
    utf8proc_int32_t state = 0;
    int64_t n;
    int32_t c = tok_character(p, at, &n), next;
    for (at += n; at < p->size; at += n, c = next) {
        next = tok_character(p, at, &n);
        if (utf8proc_grapheme_break_stateful(c, next, &state)) break;
    }
    return at;
}

static sow_status put_form(const tok_piece *p, int64_t at, int64_t end, utf8proc_option_t options, tok_text *out) {
    utf8proc_uint8_t *made = NULL;
    utf8proc_ssize_t n = utf8proc_map(p->bytes + at, end - at, &made, options | UTF8PROC_STABLE);
    sow_status status = n < 0 ? tok_put_bytes(out, p->bytes + at, end - at, FROM(p, at), TO(p, end - 1))
                              : tok_put_bytes(out, made, n, FROM(p, at), TO(p, end - 1));
    free(made);
    return status;
}

static bool is_ascii(const tok_piece *p) {
    for (int64_t i = 0; i < p->size; i++)
        if (p->bytes[i] >= 0x80) return false;
    return true;
}

/* Where ASCII ends that no form changes: before a character to which another may be joined. */
static int64_t ascii_end(const tok_piece *p, int64_t at) {
    int64_t end = at;
    while (end < p->size && p->bytes[end] < 0x80) end++;
    return end < p->size && end > at ? end - 1 : end;
}

static sow_status normalise_form(const tok_step *s, const tok_piece *p, tok_text *out) {
    static const utf8proc_option_t options[] = {
        UTF8PROC_COMPOSE, UTF8PROC_DECOMPOSE, UTF8PROC_COMPOSE | UTF8PROC_COMPAT, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT};
    for (int64_t at = 0, end; at < p->size; at = end) {
        end = ascii_end(p, at);
        if (end > at) SOW_TRY(put_range(p, at, end, out));
        else {
            end = next_grapheme(p, at);
            SOW_TRY(put_form(p, at, end, options[s->kind], out));
        }
    }
    return SOW_OK;
}

/* ---- case and accents ---- */

static sow_status put_lower(int32_t c, int32_t from, int32_t to, tok_text *out) {
    SOW_TRY(tok_put(out, c == 0x130 ? 'i' : utf8proc_tolower(c), from, to));
    return c == 0x130 ? tok_put(out, 0x307, from, to) : SOW_OK;
}

static sow_status normalise_lower(const tok_step *s, const tok_piece *p, tok_text *out) {
    (void)s;
    for (int64_t i = 0, n; i < p->size; i += n) {
        int32_t c = tok_character(p, i, &n);
        SOW_TRY(put_lower(c, FROM(p, i), TO(p, i), out));
    }
    return SOW_OK;
}

static bool is_nonspacing(int32_t c) {
    if (c < 0x300) return false;
    return utf8proc_category(c) == UTF8PROC_CATEGORY_MN ? !tok_is_later_mark(c) : c == 0x1734 /* no longer */;
}

static sow_status normalise_strip_accents(const tok_step *s, const tok_piece *p, tok_text *out) {
    (void)s;
    for (int64_t i = 0, n; i < p->size; i += n) {
        int32_t c = tok_character(p, i, &n);
        if (!tok_is_mark(c)) SOW_TRY(tok_put(out, c, FROM(p, i), TO(p, i)));
    }
    return SOW_OK;
}

/* ---- BERT ---- */

static bool is_control(int32_t c) {
    if (c == '\t' || c == '\n' || c == '\r') return false;
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CO ||
           (k == UTF8PROC_CATEGORY_CF && !tok_is_later_format(c));
}

static bool is_bert_space(int32_t c) {
    return c == '\t' || c == '\n' || c == '\r' || c == ' ' || (c >= 0x80 && tok_is_space(c) && c != 0x85);
}

static bool is_chinese(int32_t c) {
    static const int32_t ranges[][2] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},  {0x20000, 0x2A6DF},
                                        {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1]) return true;
    return false;
}

enum { BERT_CLEAN = 1, BERT_CHINESE = 2, BERT_ACCENTS = 4, BERT_LOWER = 8 };

/* NFD of one character without its marks, then lower case. */
static sow_status put_plain(int32_t c, int32_t from, int32_t to, int kind, tok_text *out) {
    int32_t parts[32], count = 1;
    int last = UTF8PROC_BOUNDCLASS_START;
    parts[0] = c;
    if (kind & BERT_ACCENTS && c >= 0x80) {
        count = (int32_t)utf8proc_decompose_char(c, parts, 32, UTF8PROC_DECOMPOSE, &last);
        if (count < 0 || count > 32) parts[0] = c, count = 1;
    }
    for (int32_t i = 0; i < count; i++) {
        if (kind & BERT_ACCENTS && is_nonspacing(parts[i])) continue;
        SOW_TRY(kind & BERT_LOWER ? put_lower(parts[i], from, to, out) : tok_put(out, parts[i], from, to));
    }
    return SOW_OK;
}

/* What cleaning makes of an ASCII character: spaces, nothing (0), or itself. */
static uint8_t clean_ascii(uint8_t c, bool lower) {
    if (c == ' ' || (c >= 9 && c <= 13 && c != 11 && c != 12)) return ' ';
    if (c < 32 || c == 127) return 0;
    return lower && c >= 'A' && c <= 'Z' ? c | 32 : c;
}

/* A run of ASCII at byte `at`, cleaned; *end: where it ends. */
static sow_status put_ascii(const tok_piece *p, int64_t at, bool lower, int64_t *end, tok_text *out) {
    int64_t last = at;
    while (last < p->size && p->bytes[last] < 0x80) last++;
    SOW_TRY(tok_make_room(out, last - at));
    uint8_t *to = out->bytes + out->size;
    for (int64_t i = at; i < last; i++) {
        uint8_t c = clean_ascii(p->bytes[i], lower);
        *to = c;
        to += c != 0;
    }
    out->size = to - out->bytes;
    *end = last;
    return SOW_OK;
}

static sow_status normalise_bert(const tok_step *s, const tok_piece *p, tok_text *out) {
    bool runs = s->kind & BERT_CLEAN && !p->from;
    for (int64_t i = 0, n; i < p->size; i += n) {
        if (runs && p->bytes[i] < 0x80) {
            SOW_TRY(put_ascii(p, i, s->kind & BERT_LOWER, &n, out));
            n -= i;
            continue;
        }
        int32_t c = tok_character(p, i, &n), from = FROM(p, i), to = TO(p, i);
        if (s->kind & BERT_CLEAN) {
            if (c == 0 || c == 0xFFFD || is_control(c)) continue;
            if (is_bert_space(c)) c = ' ';
        }
        bool alone = s->kind & BERT_CHINESE && is_chinese(c);
        if (alone) SOW_TRY(tok_put(out, ' ', from, to));
        SOW_TRY(put_plain(c, from, to, s->kind, out));
        if (alone) SOW_TRY(tok_put(out, ' ', from, to));
    }
    return SOW_OK;
}

/* ---- strip, replace, prepend ---- */

static sow_status normalise_strip(const tok_step *s, const tok_piece *p, tok_text *out) {
    int64_t first = 0, last = p->size, n;
    while (s->flag && first < last && tok_is_space(tok_character(p, first, &n))) first += n;
    while (s->flag2 && last > first) {
        int64_t at = last - 1;
        while (at > first && (p->bytes[at] & 0xC0) == 0x80) at--;
        if (!tok_is_space(tok_character(p, at, &n))) break;
        last = at;
    }
    return put_range(p, first, last, out);
}

static sow_status normalise_replace(const tok_step *s, const tok_piece *p, tok_text *out) {
    for (int64_t at = 0; at < p->size;) {
        int64_t first, last;
        if (!tok_match(s, p, at, &first, &last)) return put_range(p, at, p->size, out);
        SOW_TRY(put_range(p, at, first, out));
        if (s->text2.size > 0)
            SOW_TRY(tok_put_bytes(out, s->text2.text, (int64_t)s->text2.size,
                                  FROM(p, first < p->size ? first : p->size - 1),
                                  last > first ? TO(p, last - 1) : FROM(p, first)));
        if (last == first) { /* an empty match: go on behind the next character */
            int64_t n;
            tok_character(p, at, &n);
            SOW_TRY(put_range(p, at, at + n, out));
            last = at + n;
        }
        at = last;
    }
    return SOW_OK;
}

static sow_status normalise_prepend(const tok_step *s, const tok_piece *p, tok_text *out) {
    if (p->size > 0) SOW_TRY(tok_put_bytes(out, s->text.text, (int64_t)s->text.size, FROM(p, 0), TO(p, 0)));
    return put_range(p, 0, p->size, out);
}

/* ---- sentencepiece's character map: a double array of keys, and replacements ended by zero bytes ---- */

/* The value of the shortest key that begins the text, -1: none. */
static int64_t look_up(const tok_step *s, const uint8_t *text, int64_t size) {
    int64_t at = 0;
    if (s->trie_size == 0) return -1;
    uint32_t unit = s->trie[0];
    at ^= (unit >> 10) << ((unit & (1u << 9)) >> 6);
    for (int64_t i = 0; i < size && text[i]; i++) {
        at ^= text[i];
        if (at >= s->trie_size) return -1;
        unit = s->trie[at];
        if ((unit & ((1u << 31) | 0xFF)) != text[i]) return -1;
        at ^= (unit >> 10) << ((unit & (1u << 9)) >> 6);
        if (unit >> 8 & 1) return at < s->trie_size ? (int64_t)(s->trie[at] & 0x7FFFFFFF) : -1;
    }
    return -1;
}

static sow_status put_mapped(const tok_step *s, const tok_piece *p, int64_t at, int64_t end, int64_t value,
                             tok_text *out) {
    if (value < 0 || value >= (int64_t)s->text.size) return put_range(p, at, end, out);
    const char *replacement = s->text.text + value;
    size_t n = strnlen(replacement, s->text.size - (size_t)value);
    return n ? tok_put_bytes(out, replacement, (int64_t)n, FROM(p, at), TO(p, end - 1)) : SOW_OK;
}

static sow_status normalise_map(const tok_step *s, const tok_piece *p, tok_text *out) {
    for (int64_t at = 0, end, n; at < p->size; at = end) {
        end = next_grapheme(p, at);
        int64_t value = end - at < 6 ? look_up(s, p->bytes + at, end - at) : -1;
        if (value >= 0) {
            SOW_TRY(put_mapped(s, p, at, end, value, out));
            continue;
        }
        for (; at < end; at += n) {
            tok_character(p, at, &n);
            SOW_TRY(put_mapped(s, p, at, at + n, look_up(s, p->bytes + at, n), out));
        }
    }
    return SOW_OK;
}

/* ---- reading ---- */

static sow_status read_map(sow_arena *arena, const json_t *json, tok_step *s) {
    const char *text = json_string_value(json_object_get(json, "precompiled_charsmap"));
    uint8_t *bytes;
    int64_t size;
    if (!text) return sow_fail(SOW_E_FORMAT, "normalizer Precompiled: precompiled_charsmap is no text");
    SOW_TRY(tok_base64(arena, text, &bytes, &size));
    uint32_t trie = size >= 4 ? (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                                    (uint32_t)bytes[3] << 24
                              : 0;
    if (size < 4 || trie % 4 != 0 || trie > (uint64_t)size - 4)
        return sow_fail(SOW_E_FORMAT, "normalizer Precompiled: a map of %lld bytes says that its first part has %u",
                        (long long)size, trie);
    uint32_t *units;
    SOW_TRY(SOW_NEW_RAW(arena, units, trie / 4 + 1));
    memcpy(units, bytes + 4, trie);
    s->trie = units;
    s->trie_size = trie / 4;
    s->text = (sow_span){(const char *)bytes + 4 + trie, (size_t)size - 4 - trie};
    s->normalise = normalise_map;
    return SOW_OK;
}

static sow_status read_bert(const json_t *json, tok_step *s) {
    const json_t *accents = json_object_get(json, "strip_accents");
    bool lower = tok_flag(json, "lowercase", true);
    s->kind = (tok_flag(json, "clean_text", true) ? BERT_CLEAN : 0) |
              (tok_flag(json, "handle_chinese_chars", true) ? BERT_CHINESE : 0) | (lower ? BERT_LOWER : 0) |
              ((json_is_boolean(accents) ? json_is_true(accents) : lower) ? BERT_ACCENTS : 0);
    s->normalise = normalise_bert;
    return SOW_OK;
}

sow_status tok_add_bert_normaliser(sow_arena *arena, bool lowercase, tok_step **list) {
    tok_step *s = tok_append(arena, list);
    if (!s) return SOW_E_MEMORY;
    s->kind = BERT_CLEAN | BERT_CHINESE | (lowercase ? BERT_LOWER | BERT_ACCENTS : 0);
    s->normalise = normalise_bert;
    return SOW_OK;
}

static sow_status read_one(sow_arena *arena, const char *type, const json_t *json, tok_step *s) {
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    for (int k = 0; k < 4; k++)
        if (!strcmp(type, forms[k])) {
            s->kind = k;
            s->normalise = normalise_form;
            return SOW_OK;
        }
    if (!strcmp(type, "Lowercase")) s->normalise = normalise_lower;
    else if (!strcmp(type, "StripAccents")) s->normalise = normalise_strip_accents;
    else if (!strcmp(type, "Strip")) {
        s->flag = tok_flag(json, "strip_left", true);
        s->flag2 = tok_flag(json, "strip_right", true);
        s->normalise = normalise_strip;
    } else if (!strcmp(type, "Replace")) {
        s->normalise = normalise_replace;
        SOW_TRY(tok_read_pattern(arena, json_object_get(json, "pattern"), s));
        return tok_string(arena, json, "content", &s->text2);
    } else if (!strcmp(type, "Prepend")) {
        s->normalise = normalise_prepend;
        return tok_string(arena, json, "prepend", &s->text);
    } else if (!strcmp(type, "BertNormalizer")) return read_bert(json, s);
    else if (!strcmp(type, "Precompiled")) return read_map(arena, json, s);
    else return sow_fail(SOW_E_UNSUPPORTED, "normalizer %.60s is not supported", type);
    return SOW_OK;
}

sow_status tok_read_normaliser(sow_arena *arena, const json_t *json, tok_step **list) {
    return tok_read_parts(arena, json, "normalizers", "normalizer", read_one, list);
}

sow_status tok_normalise(const sow_tokenizer *t, sow_arena *arena, const tok_piece *in, tok_piece *out) {
    *out = *in;
    for (const tok_step *s = t->normalisers; s; s = s->next) {
        if (s->kind == TOK_NFC && s->normalise == normalise_form && is_ascii(out)) continue;
        tok_text text = {.arena = arena, .offsets = in->from != NULL};
        SOW_TRY(tok_put_bytes(&text, "", 0, 0, 0));
        SOW_TRY(s->normalise(s, out, &text));
        *out = tok_finish(&text, out);
    }
    return SOW_OK;
}
