/* Text for tokenizers: pieces with their origin, characters and their classes, tables from text to id. */
#include <string.h>
#include <utf8proc.h>

#include "formats/tokenizer/tok.h"

sow_status tok_add(sow_arena *arena, tok_pieces *list, tok_piece piece) {
    if (list->count == list->room) {
        int64_t room = list->room ? 2 * list->room : 64;
        tok_piece *larger;
        SOW_TRY(SOW_NEW_RAW(arena, larger, room));
        if (list->count) memcpy(larger, list->at, (size_t)list->count * sizeof *larger);
        list->at = larger;
        list->room = room;
    }
    list->at[list->count++] = piece;
    return SOW_OK;
}

tok_piece tok_slice(const tok_piece *p, int64_t first, int64_t last) {
    return (tok_piece){.bytes = p->bytes + first,
                       .from = p->from ? p->from + first : NULL,
                       .to = p->to ? p->to + first : NULL,
                       .size = last - first,
                       .id = -1,
                       .first = p->first && first == 0};
}

sow_status tok_make_room(tok_text *t, int64_t bytes) {
    if (t->room > 0 && t->size + bytes <= t->room) return SOW_OK;
    int64_t room = 2 * (t->size + bytes) + 64;
    uint8_t *larger;
    SOW_TRY(SOW_NEW_RAW(t->arena, larger, room));
    if (t->size) memcpy(larger, t->bytes, (size_t)t->size);
    t->bytes = larger;
    t->room = room;
    if (!t->offsets) return SOW_OK;
    int32_t *from, *to;
    SOW_TRY(SOW_NEW_RAW(t->arena, from, room));
    SOW_TRY(SOW_NEW_RAW(t->arena, to, room));
    if (t->size) memcpy(from, t->from, (size_t)t->size * sizeof *from), memcpy(to, t->to, (size_t)t->size * sizeof *to);
    t->from = from;
    t->to = to;
    return SOW_OK;
}

sow_status tok_put_bytes(tok_text *t, const void *bytes, int64_t size, int32_t from, int32_t to) {
    SOW_TRY(tok_make_room(t, size));
    memcpy(t->bytes + t->size, bytes, (size_t)size);
    for (int64_t i = 0; t->offsets && i < size; i++) t->from[t->size + i] = from, t->to[t->size + i] = to;
    t->size += size;
    return SOW_OK;
}

sow_status tok_put(tok_text *t, int32_t character, int32_t from, int32_t to) {
    uint8_t bytes[4];
    utf8proc_ssize_t n = utf8proc_encode_char(character, bytes);
    return tok_put_bytes(t, bytes, n, from, to);
}

tok_piece tok_finish(const tok_text *t, const tok_piece *like) {
    return (tok_piece){
        .bytes = t->bytes, .from = t->from, .to = t->to, .size = t->size, .id = -1, .first = like->first};
}

int32_t tok_character(const tok_piece *p, int64_t i, int64_t *bytes) {
    uint8_t b = p->bytes[i];
    if (b < 0x80) {
        *bytes = 1;
        return b;
    }
    int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate(p->bytes + i, p->size - i, &c);
    *bytes = n > 0 ? n : 1;
    return n > 0 ? c : 0xFFFD;
}

/* ---- classes ---- */

bool tok_is_space(int32_t c) {
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

static utf8proc_category_t category(int32_t c) {
    return utf8proc_category(c);
}

bool tok_is_letter(int32_t c) {
    if (c < 0x80) return (c | 32) >= 'a' && (c | 32) <= 'z';
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool tok_is_number(int32_t c) {
    if (c < 0x80) return c >= '0' && c <= '9';
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool tok_is_mark(int32_t c) {
    utf8proc_category_t k = category(c);
    return c >= 0x80 && k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME;
}

bool tok_is_punctuation(int32_t c) {
    if (c < 0x80) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
    utf8proc_category_t k = category(c);
    if (k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO) return !tok_is_later_punctuation(c);
    return c == 0x166D || c == 0x111C9; /* no longer */
}

/* \w of Unicode regular expressions. */
bool tok_is_word(int32_t c) {
    if (c < 0x80) return tok_is_letter(c) || tok_is_number(c) || c == '_';
    utf8proc_category_t k = category(c);
    return tok_is_letter(c) || tok_is_mark(c) || k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL ||
           k == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D;
}

/* ---- tables ---- */

uint32_t tok_hash(const void *key, int64_t size) {
    const uint8_t *p = key;
    uint32_t h = TOK_HASH_START;
    for (int64_t i = 0; i < size; i++) h = tok_hash_byte(h, p[i]);
    return h;
}

sow_status tok_table_new(sow_arena *arena, int64_t count, tok_table *out) {
    int64_t slots = 16;
    while (slots < 2 * count) slots *= 2;
    out->mask = slots - 1;
    SOW_TRY(SOW_NEW(arena, out->slots, slots));
    return SOW_OK;
}

/* FNV's low bits are weak for short keys: fold the high ones in. */
static int64_t home(const tok_table *t, uint32_t hash) {
    return (int64_t)(hash ^ hash >> 15) & t->mask;
}

bool tok_table_put(tok_table *t, const void *key, int64_t size, int32_t id) {
    uint32_t hash = tok_hash(key, size);
    int64_t i = home(t, hash);
    for (; t->slots[i].key; i = (i + 1) & t->mask)
        if (t->slots[i].hash == hash && t->slots[i].size == size && !memcmp(t->slots[i].key, key, (size_t)size))
            return false;
    t->slots[i].key = key;
    t->slots[i].size = (uint32_t)size;
    t->slots[i].hash = hash;
    t->slots[i].id = id;
    return true;
}

int32_t tok_table_find_hashed(const tok_table *t, const void *key, int64_t size, uint32_t hash) {
    if (!t->slots) return -1;
    for (int64_t i = home(t, hash); t->slots[i].key; i = (i + 1) & t->mask)
        if (t->slots[i].hash == hash && t->slots[i].size == size && !memcmp(t->slots[i].key, key, (size_t)size))
            return t->slots[i].id;
    return -1;
}

int32_t tok_table_find(const tok_table *t, const void *key, int64_t size) {
    return tok_table_find_hashed(t, key, size, tok_hash(key, size));
}

/* ---- the alphabet of byte-level tokens: printable bytes stand for themselves, the others for U+0100 and on ---- */

static bool stands_for_itself(int32_t b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
}

bool tok_from_alphabet(const uint8_t *text, int64_t size, uint8_t *out, int64_t *out_size) {
    static uint8_t others[68];
    static bool ready;
    if (!ready) {
        int n = 0;
        for (int b = 0; b < 256; b++)
            if (!stands_for_itself(b)) others[n++] = (uint8_t)b;
        ready = true;
    }
    tok_piece p = {.bytes = text, .size = size};
    int64_t n = 0, bytes;
    for (int64_t i = 0; i < size; i += bytes) {
        int32_t c = tok_character(&p, i, &bytes);
        if (c < 256 && stands_for_itself(c)) out[n++] = (uint8_t)c;
        else if (c >= 0x100 && c < 0x100 + 68) out[n++] = others[c - 0x100];
        else return false;
    }
    *out_size = n;
    return true;
}
