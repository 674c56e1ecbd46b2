/* Byte-pair merges (Sennrich et al. 2016): the merge of the lowest rank first, the leftmost of equals. sentencepiece's kind
 * takes the pair that makes the token of the highest score. */
#include <stdlib.h>
#include <string.h>

#include "base/clones.h"
#include "formats/tokenizer/tok.h"

/* Rank and place of a merge share a number of 31 bits. */
enum { SMALL = 128, WINDOW = SMALL - 8, NONE = INT32_MAX, MERGES_MAX = 8 << 20 };

/* ---- tables ---- */

static uint64_t pair_hash(int32_t left, int32_t right) {
    return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u >> 28;
}

/* Most pairs make nothing. A map of bits, eight for each slot of the table, says so without a look at the table, which is
 * larger than the processor's own memory. */
static uint64_t *map_word(const tok_model *m, uint64_t hash) {
    return &m->merge_map[hash >> 6 & (uint64_t)(m->merge_mask >> 3)];
}

static uint64_t map_bit(uint64_t hash) {
    return (uint64_t)1 << (hash & 63);
}

sow_status tok_merges_new(sow_arena *arena, int64_t count, tok_model *m) {
    int64_t slots = 16;
    if (count > MERGES_MAX)
        return sow_fail(SOW_E_RANGE, "%lld merges, expected at most %d", (long long)count, MERGES_MAX);
    while (slots < 2 * count) slots *= 2;
    SOW_TRY(SOW_NEW_RAW(arena, m->merges, slots));
    for (int64_t i = 0; i < slots; i++) m->merges[i].made = -1;
    m->merge_mask = slots - 1;
    return SOW_NEW(arena, m->merge_map, slots / 8);
}

bool tok_merge_put(tok_model *m, tok_merge merge) {
    uint64_t hash = pair_hash(merge.left, merge.right);
    int64_t i = (int64_t)(hash >> 4) & m->merge_mask;
    for (; m->merges[i].made >= 0; i = (i + 1) & m->merge_mask)
        if (m->merges[i].left == merge.left && m->merges[i].right == merge.right) return false;
    m->merges[i] = merge;
    *map_word(m, hash) |= map_bit(hash);
    return true;
}

static const tok_merge *find_merge(const tok_model *m, int32_t left, int32_t right) {
    uint64_t hash = pair_hash(left, right);
    if (!(*map_word(m, hash) & map_bit(hash))) return NULL;
    for (int64_t i = (int64_t)(hash >> 4) & m->merge_mask; m->merges[i].made >= 0; i = (i + 1) & m->merge_mask)
        if (m->merges[i].left == left && m->merges[i].right == right) return &m->merges[i];
    return NULL;
}

typedef struct scored {
    double score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b) {
    double x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x < y) - (x > y);
}

sow_status tok_rank_scores(sow_arena *arena, int64_t count, tok_model *m) {
    scored *order;
    int32_t *rank, place = 0;
    SOW_TRY(SOW_NEW_RAW(arena, order, count + 1));
    SOW_TRY(SOW_NEW_RAW(arena, rank, count + 1));
    for (int64_t i = 0; i < count; i++) order[i] = (scored){m->scores[i], (int32_t)i};
    qsort(order, (size_t)count, sizeof *order, by_score);
    for (int64_t i = 0; i < count; i++) {
        if (i > 0 && order[i].score != order[i - 1].score) place = (int32_t)i;
        rank[order[i].id] = place;
    }
    m->rank = rank;
    return SOW_OK;
}

/* ---- symbols of a window: a stretch of the piece ---- */

/* A doubly linked list by place; a merged symbol keeps the left place, begin == end: merged away. */
typedef struct symbol {
    int32_t id; /* -1: text that is no token yet (scored) */
    int32_t begin, end, previous, next;
} symbol;

typedef struct window {
    const tok_model *m;
    const uint8_t *bytes;
    symbol *symbols; /* few, or many */
    int64_t count;
    int64_t begin, end; /* bytes of the piece */
    symbol *many;       /* in the arena */
    int64_t room;
    symbol few[SMALL];
} window;

static void add_symbol(window *w, int32_t id, int64_t begin, int64_t end) {
    int32_t at = (int32_t)w->count++;
    w->symbols[at] = (symbol){id, (int32_t)begin, (int32_t)end, at - 1, -1};
    if (at > 0) w->symbols[at - 1].next = at;
}

/* A character that is no token: its bytes, the unknown token, or nothing, so that its neighbours may merge. */
static void add_missing(window *w, int64_t begin, int64_t end) {
    const tok_model *m = w->m;
    bool bytes = m->byte_fallback;
    for (int64_t i = begin; i < end && bytes; i++) bytes = m->byte[w->bytes[i]] >= 0;
    for (int64_t i = begin; i < end && bytes; i++) add_symbol(w, m->byte[w->bytes[i]], i, i + 1);
    if (bytes || m->unknown < 0) return;
    symbol *last = w->count > 0 ? &w->symbols[w->count - 1] : NULL;
    if (m->fuse_unknown && last && last->id == m->unknown && last->end == begin) last->end = (int32_t)end;
    else add_symbol(w, m->unknown, begin, end);
}

/* Characters from byte `begin` on, until there are `want` symbols or the piece ends. */
static void add_characters(window *w, int64_t begin, int64_t size, int64_t want) {
    tok_piece p = {.bytes = w->bytes, .size = size};
    int64_t i = begin, n = 1;
    for (w->count = 0; i < size && w->count < want; i += n) {
        if (!w->m->byte_level) tok_character(&p, i, &n);
        int32_t id = n == 1 ? w->m->single[w->bytes[i]] : tok_table_find(&w->m->words, w->bytes + i, n);
        if (id >= 0) add_symbol(w, id, i, i + n);
        else if (w->m->kind == TOK_SCORED) add_symbol(w, -1, i, i + n); /* may still become part of a token */
        else add_missing(w, i, i + n);
    }
    w->begin = begin;
    w->end = i;
}

/* The rank of merging a symbol with the next one, and what it makes. */
static int32_t pair_rank(const window *w, int64_t place, int32_t *made) {
    const symbol *l = &w->symbols[place], *r;
    if (l->next < 0) return NONE;
    r = &w->symbols[l->next];
    if (w->m->kind == TOK_SCORED) {
        int64_t size = r->end - l->begin;
        *made = size <= w->m->longest ? tok_table_find(&w->m->words, w->bytes + l->begin, size) : -1;
        return *made >= 0 ? w->m->rank[*made] : NONE;
    }
    const tok_merge *merge = find_merge(w->m, l->id, r->id);
    *made = merge ? merge->made : -1;
    return merge ? merge->rank : NONE;
}

static void join(window *w, int64_t place, int32_t made) {
    symbol *l = &w->symbols[place], *r = &w->symbols[l->next];
    l->id = made;
    l->end = r->end;
    r->begin = r->end;
    l->next = r->next;
    if (l->next >= 0) w->symbols[l->next].previous = (int32_t)place;
}

/* ---- merges of a small window: the best of all pairs, again and again ---- */

/* n: a multiple of 16. */
SOW_CLONES static int32_t least(const int32_t *key, int64_t n) {
    int32_t lane[16], best = NONE;
    for (int k = 0; k < 16; k++) lane[k] = NONE;
    for (int64_t i = 0; i < n; i += 16)
        for (int k = 0; k < 16; k++) lane[k] = key[i + k] < lane[k] ? key[i + k] : lane[k];
    for (int k = 0; k < 16; k++) best = lane[k] < best ? lane[k] : best;
    return best;
}

static void merge_small(window *w) {
    int32_t key[SMALL], made[SMALL]; /* key: rank and place in one number */
    int64_t n = (w->count + 15) / 16 * 16;
    for (int64_t i = 0; i < n; i++) {
        int32_t rank = i < w->count ? pair_rank(w, i, &made[i]) : NONE;
        key[i] = rank == NONE ? NONE : rank * SMALL + (int32_t)i;
    }
    for (int32_t best; (best = least(key, n)) != NONE;) {
        int64_t place = best % SMALL, before = w->symbols[place].previous;
        key[w->symbols[place].next] = NONE;
        join(w, place, made[place]);
        for (int k = 0; k < 2; k++, place = before) {
            int32_t rank = place >= 0 ? pair_rank(w, place, &made[place]) : NONE;
            if (place >= 0) key[place] = rank == NONE ? NONE : rank * SMALL + (int32_t)place;
        }
    }
}

/* ---- merges of a large window: a heap of those that may be made ---- */

typedef struct candidate {
    int32_t rank, place, left_end, right_end, made;
} candidate;

typedef struct heap {
    candidate *at;
    int64_t count;
} heap;

static bool before(const candidate *a, const candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->place < b->place;
}

static void push(heap *h, candidate c) {
    int64_t i = h->count++;
    for (; i > 0 && before(&c, &h->at[(i - 1) / 2]); i = (i - 1) / 2) h->at[i] = h->at[(i - 1) / 2];
    h->at[i] = c;
}

static candidate pop(heap *h) {
    candidate top = h->at[0], last = h->at[--h->count];
    int64_t i = 0, child;
    for (; (child = 2 * i + 1) < h->count; i = child) {
        if (child + 1 < h->count && before(&h->at[child + 1], &h->at[child])) child++;
        if (!before(&h->at[child], &last)) break;
        h->at[i] = h->at[child];
    }
    h->at[i] = last;
    return top;
}

static void consider(const window *w, heap *h, int32_t place) {
    int32_t made, rank = place >= 0 ? pair_rank(w, place, &made) : NONE;
    if (rank == NONE) return;
    const symbol *l = &w->symbols[place];
    push(h, (candidate){rank, place, l->end, w->symbols[l->next].end, made});
}

static sow_status merge_large(window *w, sow_arena *arena) {
    heap h = {0};
    sow_mark mark = sow_arena_mark(arena);
    SOW_TRY(SOW_NEW_RAW(arena, h.at, 3 * w->count + 3));
    for (int32_t i = 0; i < w->count; i++) consider(w, &h, i);
    while (h.count > 0) {
        candidate c = pop(&h);
        const symbol *l = &w->symbols[c.place];
        if (l->begin == l->end || l->next < 0 || l->end != c.left_end || w->symbols[l->next].end != c.right_end)
            continue; /* stale */
        join(w, c.place, c.made);
        consider(w, &h, l->previous);
        consider(w, &h, c.place);
    }
    sow_arena_release(arena, mark);
    return SOW_OK;
}

/* ---- pieces of any length: windows ---- */

/* The tokens of a window of about `want` symbols, in order. */
static sow_status fill(window *w, sow_arena *arena, int64_t begin, int64_t size, int64_t want) {
    int64_t n = 0;
    if (want > WINDOW && want > w->room) {
        SOW_TRY(SOW_NEW_RAW(arena, w->many, want + SMALL - WINDOW)); /* a character may become some bytes */
        w->room = want;
    }
    w->symbols = want > WINDOW ? w->many : w->few;
    add_characters(w, begin, size, want);
    if (w->count <= SMALL) merge_small(w);
    else SOW_TRY(merge_large(w, arena));
    for (int64_t i = w->count > 0 ? 0 : -1; i >= 0; i = w->symbols[i].next) w->symbols[n++] = w->symbols[i];
    w->count = n;
    return SOW_OK;
}

static sow_status emit(window *w, sow_arena *arena, int64_t count, tok_ids *out) {
    for (int64_t i = 0; i < count; i++) {
        const symbol *s = &w->symbols[i];
        if (s->id >= 0) {
            SOW_TRY(tok_add_id(arena, out, s->id, s->begin, s->end));
            continue;
        }
        symbol made[8];
        window left = {.m = w->m, .bytes = w->bytes, .symbols = made};
        add_missing(&left, s->begin, s->end);
        for (int64_t k = 0; k < left.count; k++)
            SOW_TRY(tok_add_id(arena, out, made[k].id, made[k].begin, made[k].end));
    }
    return SOW_OK;
}

/* Tries to begin the next window at a token near the end of this one; *kept: how many tokens stay before it.
 *
 * Why the result is that of the whole piece: a row of tokens is what the merges make of its text if and only if this holds
 * for each two neighbours. (The first merge across a boundary would be the first one of the two neighbours alone, too, for
 * up to there no merge has crossed any boundary, and the lowest rank of all is the lowest of a part.) So rows may be put
 * together at a token which both have, as its neighbours are then known from one row or the other. */
static sow_status follow(const window *now, window *next, sow_arena *arena, int64_t size, int64_t *kept) {
    *kept = 0;
    for (int64_t back = 4; back < now->count; back *= 4) {
        const symbol *s = &now->symbols[now->count - back];
        if (s->begin - now->begin < (now->end - now->begin) / 2) return SOW_OK;
        SOW_TRY(fill(next, arena, s->begin, size, WINDOW));
        if (next->count == 0 || next->symbols[0].id != s->id || next->symbols[0].end != s->end) continue;
        *kept = now->count - back;
        return SOW_OK;
    }
    return SOW_OK;
}

sow_status tok_run_bpe(const tok_model *m, sow_arena *arena, const uint8_t *bytes, int64_t size, tok_ids *out) {
    int32_t whole = m->whole_first ? tok_table_find(&m->words, bytes, size) : -1;
    if (whole >= 0) return tok_add_id(arena, out, whole, 0, size);
    window one, two, *now = &one, *next = &two;
    one.m = two.m = m;
    one.bytes = two.bytes = bytes;
    one.room = two.room = 0;
    int64_t want = WINDOW, kept;
    SOW_TRY(fill(now, arena, 0, size, want));
    while (now->end < size) {
        SOW_TRY(follow(now, next, arena, size, &kept));
        if (kept == 0) {
            want *= 2;
            SOW_TRY(fill(now, arena, now->begin, size, want));
            continue;
        }
        SOW_TRY(emit(now, arena, kept, out));
        window *left = now;
        now = next;
        next = left;
        want = WINDOW;
    }
    return emit(now, arena, now->count, out);
}
