/* Tokenizers: added tokens, the way from text to ids, the cache of words. */
#include "sow/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "formats/tokenizer/read.h"
#include "sow/file.h"
#include "sow/text.h"

/* ---- added tokens ---- */

sow_status tok_index_added(sow_tokenizer *t) {
    for (int k = 0; k < 2; k++) SOW_TRY(tok_table_new(t->arena, t->added_count, &t->added_table[k]));
    for (int64_t i = 0; i < t->added_count; i++) {
        tok_added *a = &t->added[i];
        tok_piece in = {.bytes = a->text, .size = a->size}, out;
        if (a->normalised) {
            SOW_TRY(tok_normalise(t, t->arena, &in, &out));
            if (out.size > 0) a->text = out.bytes, a->size = out.size;
        }
        int k = a->normalised;
        if (a->size == 0 || !tok_table_put(&t->added_table[k], a->text, a->size, (int32_t)i)) continue;
        t->added_first[k][a->text[0]] = 1;
        if (a->size > t->added_longest[k]) t->added_longest[k] = a->size;
    }
    return SOW_OK;
}

static bool touches_word(const tok_piece *p, int64_t first, int64_t last) {
    int64_t n, at = first - 1;
    while (at > 0 && (p->bytes[at] & 0xC0) == 0x80) at--;
    return (first > 0 && tok_is_word(tok_character(p, at, &n))) ||
           (last < p->size && tok_is_word(tok_character(p, last, &n)));
}

/* The longest added token at byte i, NULL: none. */
static const tok_added *added_at(const sow_tokenizer *t, int k, bool literal, const tok_piece *p, int64_t i) {
    const tok_added *best = NULL;
    uint32_t hash = TOK_HASH_START;
    int64_t limit = p->size - i < t->added_longest[k] ? p->size - i : t->added_longest[k];
    for (int64_t n = 1; n <= limit; n++) {
        hash = tok_hash_byte(hash, p->bytes[i + n - 1]);
        int32_t found = tok_table_find_hashed(&t->added_table[k], p->bytes + i, n, hash);
        if (found < 0 || (literal && t->added[found].special)) continue;
        if (!(t->added[found].single_word && touches_word(p, i, i + n))) best = &t->added[found];
    }
    return best;
}

sow_status tok_split_added(const sow_tokenizer *t, sow_arena *arena, int k, bool literal, const tok_piece *p,
                           tok_pieces *out) {
    int64_t gap = 0, n;
    if (p->size > 0 && t->added_longest[k] == 0) return tok_add(arena, out, *p);
    for (int64_t i = 0; i < p->size;) {
        const tok_added *a = t->added_first[k][p->bytes[i]] ? added_at(t, k, literal, p, i) : NULL;
        if (!a) {
            i++;
            continue;
        }
        int64_t first = i, last = i + a->size;
        while (a->left_strip && first > gap) {
            int64_t at = first - 1;
            while (at > gap && (p->bytes[at] & 0xC0) == 0x80) at--;
            if (!tok_is_space(tok_character(p, at, &n))) break;
            first = at;
        }
        while (a->right_strip && last < p->size && tok_is_space(tok_character(p, last, &n))) last += n;
        if (first > gap) SOW_TRY(tok_add(arena, out, tok_slice(p, gap, first)));
        tok_piece token = tok_slice(p, first, last);
        token.id = a->id;
        SOW_TRY(tok_add(arena, out, token));
        gap = i = last;
    }
    return gap < p->size ? tok_add(arena, out, tok_slice(p, gap, p->size)) : SOW_OK;
}

/* ---- from text to words ---- */

/* Step by step: whatever the steps are. */
static sow_status split_from(tok_call *c, const tok_step *s, const tok_piece *p) {
    if (!s) return p->size > 0 ? tok_put_word(c, p, 0, p->size) : SOW_OK;
    tok_pieces parts = {0};
    sow_mark mark = sow_arena_mark(c->arena);
    sow_status status = s->split(s, c->arena, p, &parts);
    for (int64_t i = 0; i < parts.count && status == SOW_OK; i++) status = split_from(c, s->next, &parts.at[i]);
    sow_arena_release(c->arena, mark);
    return status;
}

/* Word by word: the steps together are a scanner. */
static sow_status scan_words(tok_call *c, enum tok_scan scan, const tok_piece *p) {
    for (int64_t at = 0, end; at < p->size; at = end) {
        end = tok_scan_word(scan, p, &at);
        if (end > at) SOW_TRY(tok_put_word(c, p, at, end));
    }
    return SOW_OK;
}

static sow_status put_text(tok_call *c, const tok_piece *p) {
    return c->t->scan ? scan_words(c, c->t->scan, p) : split_from(c, c->t->splitters, p);
}

static sow_status put_added(tok_call *c, const tok_piece *p) {
    return tok_put_id(c, p->id, c->offsets ? p->from[0] : 0, c->offsets ? p->to[p->size - 1] : 0);
}

static sow_status encode_rest(tok_call *c, const tok_piece *raw) {
    tok_piece normalised;
    tok_pieces parts = {0};
    SOW_TRY(tok_normalise(c->t, c->arena, raw, &normalised));
    SOW_TRY(tok_split_added(c->t, c->arena, 1, c->literal, &normalised, &parts));
    for (int64_t i = 0; i < parts.count; i++)
        SOW_TRY(parts.at[i].id >= 0 ? put_added(c, &parts.at[i]) : put_text(c, &parts.at[i]));
    return SOW_OK;
}

static sow_status encode_text(tok_call *c, const tok_piece *text) {
    tok_pieces parts = {0};
    SOW_TRY(tok_split_added(c->t, c->arena, 0, c->literal, text, &parts));
    for (int64_t i = 0; i < parts.count; i++)
        SOW_TRY(parts.at[i].id >= 0 ? put_added(c, &parts.at[i]) : encode_rest(c, &parts.at[i]));
    return SOW_OK;
}

/* ---- well-formed text with its characters counted ---- */

/* Length of the maximal ill-formed part at i: what could begin a character, but at least one byte (Unicode, chapter 3). */
static int64_t ill_formed(const uint8_t *p, int64_t left) {
    uint8_t b = p[0], low = 0x80, high = 0xBF;
    int64_t more = b >= 0xC2 && b <= 0xDF ? 1 : b >= 0xE0 && b <= 0xEF ? 2 : b >= 0xF0 && b <= 0xF4 ? 3 : 0, n = 1;
    if (b == 0xE0) low = 0xA0;
    if (b == 0xED) high = 0x9F;
    if (b == 0xF0) low = 0x90;
    if (b == 0xF4) high = 0x8F;
    for (; n <= more && n < left && p[n] >= low && p[n] <= high; n++) low = 0x80, high = 0xBF;
    return n;
}

sow_status tok_repair(tok_text *out, sow_span in, int64_t *place) {
    tok_piece p = {.bytes = (const uint8_t *)in.text, .size = (int64_t)in.size};
    int32_t characters = 0;
    SOW_TRY(tok_put_bytes(out, "", 0, 0, 0));
    for (int64_t i = 0, n; i < p.size; i += n, characters++) {
        bool bad = tok_character(&p, i, &n) == 0xFFFD && n == 1;
        if (bad && place) {
            *place = i;
            return SOW_E_FORMAT;
        }
        if (bad) n = ill_formed(p.bytes + i, p.size - i);
        SOW_TRY(bad ? tok_put(out, 0xFFFD, characters, characters + 1)
                    : tok_put_bytes(out, p.bytes + i, n, characters, characters + 1));
    }
    return SOW_OK;
}

static bool is_ascii(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] >= 0x80) return false;
    return true;
}

static sow_status prepare(tok_call *c, const char *text, size_t size, unsigned flags, tok_piece *out) {
    *out = (tok_piece){.bytes = (const uint8_t *)text, .size = (int64_t)size, .id = -1, .first = true};
    if (size > INT32_MAX / 4)
        return sow_fail(SOW_E_RANGE, "a text of %zu bytes, expected at most %d", size, INT32_MAX / 4);
    if (!c->offsets && is_ascii(text, size)) return SOW_OK;
    tok_text copy = {.arena = c->arena, .offsets = c->offsets};
    int64_t place = -1;
    sow_status status = tok_repair(&copy, (sow_span){text, size}, flags & SOW_ENCODE_REPLACE ? NULL : &place);
    if (place >= 0) return sow_fail(SOW_E_FORMAT, "the text is not UTF-8 at byte %lld", (long long)place);
    SOW_TRY(status);
    *out = tok_finish(&copy, out);
    return SOW_OK;
}

/* Scratch memory is kept from text to text. */
static sow_status begin(tok_call *c) {
    if (!c->t->scratch) SOW_TRY(sow_arena_new(&c->t->scratch));
    c->arena = c->t->scratch;
    return SOW_OK;
}

/* That of a large text is given back. */
static void finish(tok_call *c, size_t size) {
    static const size_t large = 1 << 20;
    sow_arena_release(c->arena, (sow_mark){0});
    if (size < large) return;
    sow_arena_free(c->t->scratch);
    c->t->scratch = NULL;
}

static sow_status put_special(tok_call *c, const int32_t *ids, int count, unsigned flags) {
    for (int i = 0; i < count && flags & SOW_ENCODE_SPECIAL; i++) SOW_TRY(tok_put_id(c, ids[i], 0, 0));
    return SOW_OK;
}

sow_status sow_encode(sow_tokenizer *t, sow_arena *arena, const char *text, size_t size, unsigned flags,
                      sow_encoding *out) {
    tok_call c = {.t = t, .result = arena, .offsets = flags & SOW_ENCODE_OFFSETS, .out = out};
    tok_piece whole;
    *out = (sow_encoding){0};
    SOW_TRY(begin(&c));
    sow_status status = prepare(&c, text, size, flags, &whole);
    if (status == SOW_OK) status = put_special(&c, t->before, t->before_count, flags);
    if (status == SOW_OK) status = encode_text(&c, &whole);
    if (status == SOW_OK) status = put_special(&c, t->after, t->after_count, flags);
    finish(&c, size);
    return status;
}

static sow_status encode_part(tok_call *c, const sow_text_part *part, bool first, unsigned flags) {
    tok_piece piece;
    if (part->token >= 0) return tok_put_id(c, part->token, 0, 0);
    if (part->text.size == 0) return SOW_OK;
    SOW_TRY(prepare(c, part->text.text, part->text.size, flags, &piece));
    piece.first = first;
    return encode_text(c, &piece);
}

sow_status sow_encode_parts(sow_tokenizer *t, sow_arena *arena, const sow_text_part *parts, int64_t count,
                            unsigned flags, sow_encoding *out, int64_t *ends) {
    tok_call c = {.t = t, .result = arena, .offsets = flags & SOW_ENCODE_OFFSETS, .literal = true, .out = out};
    size_t size = 0;
    *out = (sow_encoding){0};
    SOW_TRY(begin(&c));
    sow_status status = put_special(&c, t->before, t->before_count, flags);
    for (int64_t i = 0; i < count && status == SOW_OK; i++) {
        status = encode_part(&c, &parts[i], i == 0, flags);
        size += parts[i].token < 0 ? parts[i].text.size : 0;
        ends[i] = out->count;
    }
    if (status == SOW_OK) status = put_special(&c, t->after, t->after_count, flags);
    finish(&c, size);
    return status;
}

/* ---- opening ---- */

/* tokenizer.json of a folder, else its GGUF file. */
static sow_status locate(sow_arena *arena, const char *path, const char **out) {
    *out = path;
    if (!sow_is_folder(path)) return SOW_OK;
    if (!(*out = sow_path_join(arena, path, "tokenizer.json"))) return SOW_E_MEMORY;
    if (sow_path_exists(*out)) return SOW_OK;
    SOW_TRY(sow_gguf_in_folder(arena, path, out));
    if (*out) return SOW_OK;
    return sow_fail(SOW_E_NOT_FOUND, "%s: neither tokenizer.json nor a GGUF file in it", path);
}

static bool is_gguf(const char *path) {
    sow_map map;
    if (sow_map_open(path, &map) != SOW_OK) return false;
    bool gguf = map.size >= 4 && !memcmp(map.data, "GGUF", 4);
    sow_map_close(&map);
    return gguf;
}

static sow_status load(sow_tokenizer *t, const char *path) {
    t->cache_bits = TOK_CACHE_BITS_FEW;
    SOW_TRY(SOW_NEW(t->arena, t->cache, 1 << TOK_CACHE_BITS_FEW));
    SOW_TRY(locate(t->arena, path, &path));
    sow_status status = is_gguf(path) ? tok_load_gguf(t, path) : tok_load_json(t, path);
    t->scan = tok_scan_of_steps(t->splitters);
    return status == SOW_OK ? tok_index_added(t) : sow_fail_in(status, "%s", path);
}

sow_status sow_tokenizer_open(const char *path, sow_tokenizer **out) {
    sow_arena *arena;
    sow_tokenizer *t;
    SOW_TRY(SOW_OWN(arena, t));
    t->arena = arena;
    t->model.unknown = -1;
    sow_status status = load(t, path);
    if (status == SOW_OK) *out = t;
    else sow_tokenizer_free(t);
    return status;
}

void sow_tokenizer_free(sow_tokenizer *t) {
    if (!t) return;
    tok_free_steps(t->normalisers);
    tok_free_steps(t->splitters);
    sow_arena_free(t->scratch);
    sow_arena_free(t->arena);
}

int64_t sow_tokenizer_size(const sow_tokenizer *t) {
    return t->size;
}

int32_t sow_token_id(const sow_tokenizer *t, const char *token, size_t size) {
    for (int64_t i = 0; i < t->added_count; i++)
        if (t->added[i].size == (int64_t)size && !memcmp(t->added[i].text, token, size)) return t->added[i].id;
    return tok_table_find(&t->model.words, token, (int64_t)size);
}

sow_span sow_token_text(const sow_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->size ? t->tokens[id] : (sow_span){0};
}

bool sow_token_is_special(const sow_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->size && t->special[id];
}
