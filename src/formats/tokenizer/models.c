/* From a piece to ids: WordPiece's longest match, Unigram's best path (Kudo 2018). */
#include <math.h>
#include <string.h>

#include "formats/tokenizer/tok.h"

sow_status tok_add_id(sow_arena *arena, tok_ids *list, int32_t id, int64_t begin, int64_t end) {
    if (list->count == list->room) {
        int64_t room = list->room ? 2 * list->room : 256;
        int32_t *ids, *ends, *begins;
        SOW_TRY(SOW_NEW_RAW(arena, ids, room));
        SOW_TRY(SOW_NEW_RAW(arena, ends, room));
        SOW_TRY(SOW_NEW_RAW(arena, begins, room));
        size_t used = (size_t)list->count * sizeof *ids;
        if (used) memcpy(ids, list->id, used), memcpy(ends, list->end, used), memcpy(begins, list->begin, used);
        *list = (tok_ids){ids, ends, begins, list->count, room};
    }
    list->id[list->count] = id;
    list->begin[list->count] = (int32_t)begin;
    list->end[list->count++] = (int32_t)end;
    return SOW_OK;
}

/* ---- WordPiece ---- */

/* The longest token that begins the text, -1: none. hashes: of its beginnings, one for each length. */
static int32_t longest_token(const tok_table *table, const uint8_t *bytes, int64_t size, int64_t limit,
                             uint32_t *hashes, int64_t *end) {
    uint32_t hash = TOK_HASH_START;
    for (int64_t i = 0; i < limit; i++) hashes[i] = hash = tok_hash_byte(hash, bytes[i]);
    for (int64_t n = limit; n > 0; n--) {
        if (n < size && (bytes[n] & 0xC0) == 0x80) continue; /* inside a character */
        int32_t id = tok_table_find_hashed(table, bytes, n, hashes[n - 1]);
        *end = n;
        if (id >= 0) return id;
    }
    return -1;
}

sow_status tok_run_wordpiece(const tok_model *m, sow_arena *arena, const uint8_t *bytes, int64_t size, tok_ids *out) {
    int64_t first = out->count, characters = 0, longest = size < m->longest ? size : m->longest;
    uint32_t *hashes;
    for (int64_t i = 0; i < size; i++) characters += (bytes[i] & 0xC0) != 0x80;
    SOW_TRY(SOW_NEW_RAW(arena, hashes, longest + 1));
    for (int64_t at = 0; at < size && characters <= m->longest_word;) {
        int64_t limit = size - at < longest ? size - at : longest, n;
        int32_t id = longest_token(at > 0 ? &m->inner : &m->words, bytes + at, size - at, limit, hashes, &n);
        if (id < 0) break;
        SOW_TRY(tok_add_id(arena, out, id, at, at + n));
        at += n;
    }
    if (size == 0 || (out->count > first && out->end[out->count - 1] == size)) return SOW_OK;
    out->count = first;
    return m->unknown >= 0 ? tok_add_id(arena, out, m->unknown, 0, size) : SOW_OK;
}

/* ---- Unigram: Viterbi over all tokens that fit ---- */

typedef struct path {
    double score;
    int64_t from;
    int32_t id; /* -1: unknown */
} path;

static void relax(path *best, int64_t from, int64_t to, int32_t id, double score) {
    if (best[to].from < 0 || score > best[to].score) best[to] = (path){score, from, id};
}

static sow_status best_path(const tok_model *m, sow_arena *arena, const uint8_t *bytes, int64_t size, path **out) {
    path *best;
    tok_piece p = {.bytes = bytes, .size = size};
    int64_t n;
    SOW_TRY(SOW_NEW_RAW(arena, best, size + 1));
    for (int64_t i = 0; i <= size; i++) best[i] = (path){0, i == 0 ? 0 : -1, -1};
    for (int64_t i = 0; i < size; i += n) {
        tok_character(&p, i, &n);
        if (i > 0 && best[i].from < 0) continue;
        uint32_t hash = TOK_HASH_START;
        bool alone = false;
        int64_t limit = size - i < m->longest ? size - i : m->longest;
        for (int64_t k = 0; k < limit; k++) {
            hash = tok_hash_byte(hash, bytes[i + k]);
            int32_t id = tok_table_find_hashed(&m->words, bytes + i, k + 1, hash);
            if (id < 0 || id == m->unknown) continue;
            alone = alone || k + 1 == n;
            relax(best, i, i + k + 1, id, best[i].score + m->scores[id]);
        }
        if (!alone) relax(best, i, i + n, -1, best[i].score + m->least - 10);
    }
    *out = best;
    return SOW_OK;
}

static sow_status add_unknown(const tok_model *m, sow_arena *arena, const uint8_t *bytes, int64_t begin, int64_t end,
                              tok_ids *out) {
    bool all = m->byte_fallback;
    for (int64_t i = begin; i < end && all; i++) all = m->byte[bytes[i]] >= 0;
    for (int64_t i = begin; i < end && all; i++) SOW_TRY(tok_add_id(arena, out, m->byte[bytes[i]], i, i + 1));
    if (all) return SOW_OK;
    if (m->unknown < 0)
        return sow_fail(SOW_E_FORMAT, "a text has characters outside the vocabulary, and there is no unknown token");
    return tok_add_id(arena, out, m->unknown, begin, end);
}

sow_status tok_run_unigram(const tok_model *m, sow_arena *arena, const uint8_t *bytes, int64_t size, tok_ids *out) {
    path *best;
    int64_t *ends, count = 0;
    SOW_TRY(best_path(m, arena, bytes, size, &best));
    SOW_TRY(SOW_NEW_RAW(arena, ends, size + 1));
    for (int64_t end = size; end > 0; end = best[end].from) ends[count++] = end;
    for (int64_t k = count; k-- > 0;) {
        int64_t begin = best[ends[k]].from, end = ends[k];
        if (best[end].id >= 0) {
            SOW_TRY(tok_add_id(arena, out, best[end].id, begin, end));
            continue;
        }
        while (k > 0 && best[ends[k - 1]].id < 0) end = ends[--k]; /* runs fuse */
        SOW_TRY(add_unknown(m, arena, bytes, begin, end, out));
    }
    return SOW_OK;
}

sow_status tok_run_model(const tok_model *m, sow_arena *arena, const uint8_t *bytes, int64_t size, tok_ids *out) {
    if (m->kind == TOK_WORDPIECE) return tok_run_wordpiece(m, arena, bytes, size, out);
    return m->kind == TOK_UNIGRAM ? tok_run_unigram(m, arena, bytes, size, out)
                                  : tok_run_bpe(m, arena, bytes, size, out);
}
