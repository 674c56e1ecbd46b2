/* Words become ids: by the model, or from the cache of words. */
#include <string.h>

#include "formats/tokenizer/tok.h"

/* ---- what comes out ---- */

static sow_status make_room(tok_call *c, int64_t more) {
    sow_encoding *e = c->out;
    if (c->room - e->count >= more) return SOW_OK;
    int64_t room = 2 * c->room + more + 64;
    int32_t *ids;
    SOW_TRY(SOW_NEW_RAW(c->result, ids, room * (c->offsets ? 3 : 1)));
    size_t used = (size_t)e->count * sizeof *ids;
    if (used) memcpy(ids, e->ids, used);
    if (used && c->offsets) memcpy(ids + room, e->first, used), memcpy(ids + 2 * room, e->last, used);
    e->ids = ids;
    if (c->offsets) e->first = ids + room, e->last = ids + 2 * room;
    c->room = room;
    return SOW_OK;
}

sow_status tok_put_id(tok_call *c, int32_t id, int32_t first, int32_t last) {
    sow_encoding *e = c->out;
    SOW_TRY(make_room(c, 1));
    e->ids[e->count] = id;
    if (c->offsets) e->first[e->count] = first, e->last[e->count] = last;
    e->count++;
    return SOW_OK;
}

static sow_status put_ids(tok_call *c, const tok_piece *p, int64_t begin, const tok_ids *ids) {
    SOW_TRY(make_room(c, ids->count));
    for (int64_t i = 0; i < ids->count; i++) {
        int32_t first = c->offsets ? p->from[begin + ids->begin[i]] : 0;
        int32_t last = c->offsets ? p->to[begin + ids->end[i] - 1] : 0;
        SOW_TRY(tok_put_id(c, ids->id[i], first, last));
    }
    return SOW_OK;
}

/* ---- the cache: words at the place of their hash, a newer word takes the place of an older one ---- */

/* The bytes of a short word, then zeros; as many as a key has can be read before `limit`, or the word is copied. */
static void read_key(const uint8_t *word, int64_t size, const uint8_t *limit, uint64_t key[3]) {
    static const uint8_t ones[2 * TOK_CACHE_WORD] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                                                     255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    uint64_t mask[3];
    if (limit - word < TOK_CACHE_WORD) {
        memset(key, 0, TOK_CACHE_WORD);
        memcpy(key, word, (size_t)size);
        return;
    }
    memcpy(key, word, TOK_CACHE_WORD);
    memcpy(mask, ones + TOK_CACHE_WORD - size, TOK_CACHE_WORD);
    for (int k = 0; k < 3; k++) key[k] &= mask[k];
}

static tok_cached *place_of(const sow_tokenizer *t, const uint64_t key[3]) {
    uint64_t h = key[0] * 0x9E3779B97F4A7C15u ^ key[1] * 0xC2B2AE3D27D4EB4Fu ^ key[2] * 0x165667B19E3779F9u;
    return &t->cache[(h ^ h << 23) >> (64 - t->cache_bits)];
}

/* Few words have a small cache; who meets more gets the large one, which begins empty. */
static sow_status meet_new_word(sow_tokenizer *t) {
    if (t->cache_bits == TOK_CACHE_BITS || ++t->new_words < 1 << TOK_CACHE_BITS_FEW) return SOW_OK;
    SOW_TRY(SOW_NEW(t->arena, t->cache, 1 << TOK_CACHE_BITS));
    t->cache_bits = TOK_CACHE_BITS;
    return SOW_OK;
}

static bool is_here(const tok_cached *slot, const uint64_t key[3], int64_t size) {
    return slot->size == size && slot->key[0] == key[0] && slot->key[1] == key[1] && slot->key[2] == key[2];
}

static void remember(tok_cached *slot, const uint64_t key[3], int64_t size, const tok_ids *ids) {
    if (ids->count > TOK_CACHE_IDS) return;
    memcpy(slot->key, key, sizeof slot->key);
    for (int64_t i = 0; i < ids->count; i++) slot->ids[i] = ids->id[i];
    slot->size = (uint8_t)size;
    slot->count = (uint8_t)ids->count;
}

sow_status tok_put_word(tok_call *c, const tok_piece *p, int64_t begin, int64_t end) {
    int64_t size = end - begin;
    const uint8_t *word = p->bytes + begin;
    bool small = size <= TOK_CACHE_WORD && !c->offsets;
    uint64_t key[3];
    if (small) {
        read_key(word, size, p->bytes + p->size, key);
        const tok_cached *slot = place_of(c->t, key);
        if (is_here(slot, key, size)) {
            SOW_TRY(make_room(c, TOK_CACHE_IDS));
            memcpy(c->out->ids + c->out->count, slot->ids, sizeof slot->ids);
            c->out->count += slot->count;
            return SOW_OK;
        }
        SOW_TRY(meet_new_word(c->t));
    }
    tok_ids ids = {0};
    sow_mark mark = sow_arena_mark(c->arena);
    sow_status status = tok_run_model(&c->t->model, c->arena, word, size, &ids);
    if (status == SOW_OK) status = put_ids(c, p, begin, &ids);
    if (status == SOW_OK && small) remember(place_of(c->t, key), key, size, &ids);
    sow_arena_release(c->arena, mark);
    return status;
}
