/* From a piece to ids: byte-pair merges (Sennrich et al. 2016), WordPiece's longest match, Unigram's best path (Kudo 2018). */
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

/* ---- merges ---- */

static int64_t pair_home(const tok_model *m, int32_t left, int32_t right) {
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return (int64_t)(h >> 32) & m->merge_mask;
}

sow_status tok_merges_new(sow_arena *arena, int64_t count, tok_model *m) {
    int64_t slots = 16;
    while (slots < 2 * count) slots *= 2;
    SOW_TRY(SOW_NEW_RAW(arena, m->merges, slots));
    for (int64_t i = 0; i < slots; i++) m->merges[i].made = -1;
    m->merge_mask = slots - 1;
    return SOW_OK;
}

bool tok_merge_put(tok_model *m, tok_merge merge) {
    int64_t i = pair_home(m, merge.left, merge.right);
    for (; m->merges[i].made >= 0; i = (i + 1) & m->merge_mask)
        if (m->merges[i].left == merge.left && m->merges[i].right == merge.right) return false;
    m->merges[i] = merge;
    return true;
}

static const tok_merge *find_merge(const tok_model *m, int32_t left, int32_t right) {
    for (int64_t i = pair_home(m, left, right); m->merges[i].made >= 0; i = (i + 1) & m->merge_mask)
        if (m->merges[i].left == left && m->merges[i].right == right) return &m->merges[i];
    return NULL;
}

/* Symbols in a doubly linked list; a merged one keeps the left place. */
typedef struct symbol {
    int32_t id, previous, next; /* id -1: merged away, or text that is no token yet (scored) */
    int32_t begin, end;
} symbol;

/* A merge that may be made: the smallest priority first, then the leftmost. */
typedef struct candidate {
    double priority;
    int32_t place, left_end, right_end, made;
} candidate;

typedef struct merging {
    const tok_model *m;
    const uint8_t *bytes;
    symbol *symbols;
    candidate *heap;
    int64_t count, heap_count;
} merging;

static bool before(const candidate *a, const candidate *b) {
    return a->priority != b->priority ? a->priority < b->priority : a->place < b->place;
}

static void push(merging *g, candidate c) {
    int64_t i = g->heap_count++;
    for (; i > 0 && before(&c, &g->heap[(i - 1) / 2]); i = (i - 1) / 2) g->heap[i] = g->heap[(i - 1) / 2];
    g->heap[i] = c;
}

static candidate pop(merging *g) {
    candidate top = g->heap[0], last = g->heap[--g->heap_count];
    int64_t i = 0, child;
    for (; (child = 2 * i + 1) < g->heap_count; i = child) {
        if (child + 1 < g->heap_count && before(&g->heap[child + 1], &g->heap[child])) child++;
        if (!before(&g->heap[child], &last)) break;
        g->heap[i] = g->heap[child];
    }
    g->heap[i] = last;
    return top;
}

/* The merge of a symbol with the one behind it, if there is one. */
static void consider(merging *g, int32_t place) {
    if (place < 0 || g->symbols[place].next < 0) return;
    const symbol *l = &g->symbols[place], *r = &g->symbols[l->next];
    candidate c = {.place = place, .left_end = l->end, .right_end = r->end};
    if (g->m->kind == TOK_SCORED) {
        c.made = tok_table_find(&g->m->words, g->bytes + l->begin, r->end - l->begin);
        if (c.made < 0) return;
        c.priority = -g->m->scores[c.made];
    } else {
        const tok_merge *m = find_merge(g->m, l->id, r->id);
        if (!m) return;
        c.made = m->made;
        c.priority = m->rank;
    }
    push(g, c);
}

static void merge_all(merging *g) {
    for (int32_t i = 0; i < g->count; i++) consider(g, i);
    while (g->heap_count > 0) {
        candidate c = pop(g);
        symbol *l = &g->symbols[c.place];
        if (l->begin == l->end || l->next < 0 || l->end != c.left_end || g->symbols[l->next].end != c.right_end)
            continue; /* stale */
        symbol *r = &g->symbols[l->next];
        l->id = c.made;
        l->end = r->end;
        r->begin = r->end; /* gone */
        l->next = r->next;
        if (l->next >= 0) g->symbols[l->next].previous = c.place;
        consider(g, l->previous);
        consider(g, c.place);
    }
}

/* Short pieces: the best merge is found by looking at all, which is faster than a heap. */
static void merge_short(merging *g) {
    symbol *s = g->symbols;
    int64_t n = g->count;
    int32_t made[TOK_CACHE_WORD], rank[TOK_CACHE_WORD];
    for (int64_t i = 0; i + 1 < n; i++) {
        const tok_merge *m = find_merge(g->m, s[i].id, s[i + 1].id);
        made[i] = m ? m->made : -1;
        rank[i] = m ? m->rank : INT32_MAX;
    }
    while (n > 1) {
        int64_t best = 0;
        for (int64_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == INT32_MAX) break;
        s[best].id = made[best];
        s[best].end = s[best + 1].end;
        n--;
        memmove(s + best + 1, s + best + 2, (size_t)(n - best - 1) * sizeof *s);
        memmove(made + best, made + best + 1, (size_t)(n - best) * sizeof *made);
        memmove(rank + best, rank + best + 1, (size_t)(n - best) * sizeof *rank);
        for (int64_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const tok_merge *m = find_merge(g->m, s[i].id, s[i + 1].id);
            made[i] = m ? m->made : -1;
            rank[i] = m ? m->rank : INT32_MAX;
        }
    }
    for (int64_t i = 0; i < n; i++) s[i].previous = (int32_t)i - 1, s[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
    g->count = n;
}

static void add_symbol(merging *g, int32_t id, int64_t begin, int64_t end) {
    int32_t at = (int32_t)g->count++;
    g->symbols[at] = (symbol){id, at - 1, -1, (int32_t)begin, (int32_t)end};
    if (at > 0) g->symbols[at - 1].next = at;
}

/* A character that is no token: its bytes, the unknown token, or nothing, so that its neighbours may merge. */
static void add_missing(merging *g, int64_t begin, int64_t end) {
    const tok_model *m = g->m;
    bool bytes = m->byte_fallback;
    for (int64_t i = begin; i < end && bytes; i++) bytes = m->byte[g->bytes[i]] >= 0;
    for (int64_t i = begin; i < end && bytes; i++) add_symbol(g, m->byte[g->bytes[i]], i, i + 1);
    if (bytes || m->unknown < 0) return;
    symbol *last = g->count > 0 ? &g->symbols[g->count - 1] : NULL;
    if (m->fuse_unknown && last && last->id == m->unknown && last->end == begin) last->end = (int32_t)end;
    else add_symbol(g, m->unknown, begin, end);
}

static void add_characters(merging *g, int64_t size) {
    tok_piece p = {.bytes = g->bytes, .size = size};
    int64_t n = 1;
    for (int64_t i = 0; i < size; i += n) {
        if (!g->m->byte_level) tok_character(&p, i, &n);
        int32_t id = tok_table_find(&g->m->words, g->bytes + i, n);
        if (id >= 0) add_symbol(g, id, i, i + n);
        else if (g->m->kind == TOK_SCORED) add_symbol(g, -1, i, i + n); /* may still become part of a token */
        else add_missing(g, i, i + n);
    }
}

sow_status tok_run_bpe(const tok_model *m, sow_arena *arena, const uint8_t *bytes, int64_t size, tok_ids *out) {
    int32_t whole = m->whole_first ? tok_table_find(&m->words, bytes, size) : -1;
    if (whole >= 0) return tok_add_id(arena, out, whole, 0, size);
    merging g = {.m = m, .bytes = bytes}, left = {.m = m, .bytes = bytes};
    SOW_TRY(SOW_NEW_RAW(arena, g.symbols, size));
    add_characters(&g, size);
    if (g.count <= TOK_CACHE_WORD && m->kind == TOK_BPE) merge_short(&g);
    else {
        SOW_TRY(SOW_NEW_RAW(arena, g.heap, 3 * g.count + 3));
        merge_all(&g);
    }
    if (m->kind == TOK_SCORED) SOW_TRY(SOW_NEW_RAW(arena, left.symbols, size));
    for (int32_t i = g.count > 0 ? 0 : -1; i >= 0; i = g.symbols[i].next) {
        const symbol *s = &g.symbols[i];
        left.count = 0;
        if (s->id < 0) add_missing(&left, s->begin, s->end);
        for (int64_t k = 0; k < left.count; k++)
            SOW_TRY(tok_add_id(arena, out, left.symbols[k].id, left.symbols[k].begin, left.symbols[k].end));
        if (s->id >= 0) SOW_TRY(tok_add_id(arena, out, s->id, s->begin, s->end));
    }
    return SOW_OK;
}

/* ---- WordPiece ---- */

sow_status tok_run_wordpiece(const tok_model *m, sow_arena *arena, const uint8_t *bytes, int64_t size, tok_ids *out) {
    int64_t first = out->count, characters = 0;
    for (int64_t i = 0; i < size; i++) characters += (bytes[i] & 0xC0) != 0x80;
    for (int64_t at = 0; at < size && characters <= m->longest_word;) {
        int64_t end = size - at > m->longest ? at + m->longest : size;
        int32_t id = -1;
        for (; end > at && id < 0; end--) {
            if (end < size && (bytes[end] & 0xC0) == 0x80) continue; /* inside a character */
            id = tok_table_find(at > 0 ? &m->inner : &m->words, bytes + at, end - at);
            if (id >= 0) break;
        }
        if (id < 0) break;
        SOW_TRY(tok_add_id(arena, out, id, at, end));
        at = end;
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
        uint32_t hash = 2166136261u;
        bool alone = false;
        int64_t limit = size - i < m->longest ? size - i : m->longest;
        for (int64_t k = 0; k < limit; k++) {
            hash = (hash ^ bytes[i + k]) * 16777619u;
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
