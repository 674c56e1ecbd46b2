/* Keys and values of a text so far, and attention of new tokens over them. */
#include "nn/lm/cache.h"

#include <math.h>
#include <string.h>

#include "autograd/op.h"
#include "autograd/vexp.h"

/* ---- memory ---- */

static sow_status take_layer(sow_lm_cache *c, const sow_lm_config *config, int64_t i) {
    lm_cached *l = &c->layers[i];
    bool window = config->family == SOW_LM_GEMMA3 && config->sliding[i];
    l->room = c->room;
    if (window && config->window + LM_CACHE_BLOCK < l->room) l->room = config->window + LM_CACHE_BLOCK;
    SOW_TRY(SOW_NEW_RAW(c->arena, l->k, c->kv_heads * l->room * c->d));
    return SOW_NEW_RAW(c->arena, l->v, c->kv_heads * l->room * c->d);
}

static sow_status take_layers(sow_lm_cache *c, const sow_lm_config *config) {
    SOW_TRY(SOW_NEW(c->arena, c->layers, c->layer_count));
    for (int64_t i = 0; i < c->layer_count; i++) SOW_TRY(take_layer(c, config, i));
    return SOW_OK;
}

sow_status sow_lm_cache_new(const sow_lm *lm, int64_t tokens, sow_lm_cache **out) {
    const sow_lm_config *config = &lm->config;
    sow_arena *arena;
    sow_lm_cache *c;
    if (config->family == SOW_LM_BERT) return sow_fail(SOW_E_UNSUPPORTED, "an encoder does not continue texts");
    if (tokens < 1 || tokens > config->positions)
        return sow_fail(SOW_E_RANGE, "a cache of %lld tokens, the model takes 1 to %lld", (long long)tokens,
                        (long long)config->positions);
    SOW_TRY(SOW_OWN(arena, c));
    *c = (sow_lm_cache){.arena = arena,
                        .room = tokens,
                        .heads = config->heads,
                        .kv_heads = config->kv_heads,
                        .d = config->head_size,
                        .layer_count = config->layers};
    sow_status status = take_layers(c, config);
    if (status == SOW_OK) *out = c;
    else sow_arena_free(arena);
    return status;
}

void sow_lm_cache_free(sow_lm_cache *cache) {
    if (cache) sow_arena_free(cache->arena);
}

int64_t sow_lm_cache_length(const sow_lm_cache *cache) {
    return cache->length;
}

/* ---- new rows ---- */

/* A layer that keeps a window moves it on when its room is used up. */
static void make_room(const sow_lm_cache *c, lm_cached *l, int64_t n, int64_t window) {
    int64_t held = c->length - l->first, keep = window - 1 < held ? window - 1 : held;
    if (held + n <= l->room) return;
    for (int64_t h = 0; h < c->kv_heads; h++) {
        size_t bytes = (size_t)(keep * c->d) * sizeof *l->k;
        int64_t to = h * l->room * c->d, from = to + (held - keep) * c->d;
        memmove(l->k + to, l->k + from, bytes);
        memmove(l->v + to, l->v + from, bytes);
    }
    l->first = c->length - keep;
}

/* A head's row turned by its position: pairs are half a head apart (Su et al. 2021). */
static void turn(const float *restrict x, const float *restrict rotary, int64_t d, float *restrict y) {
    for (int64_t m = 0; m < d / 2; m++) {
        float p = x[m], q = x[m + d / 2], cosine = rotary[m], sine = rotary[m + d / 2];
        y[m] = p * cosine - q * sine;
        y[m + d / 2] = q * cosine + p * sine;
    }
}

static void place(sow_tensor rotary, int64_t position, int64_t d, const float *x, float *y) {
    if (rotary.data) turn(x, (const float *)rotary.data + position * d, d, y);
    else memcpy(y, x, (size_t)d * sizeof *y);
}

static void append(const sow_lm_cache *c, lm_cached *l, sow_tensor rotary, const float *k, const float *v, int64_t n) {
    int64_t at = c->length - l->first;
    for (int64_t r = 0; r < n; r++)
        for (int64_t h = 0; h < c->kv_heads; h++) {
            int64_t to = (h * l->room + at + r) * c->d, from = (r * c->kv_heads + h) * c->d;
            place(rotary, c->length + r, c->d, k + from, l->k + to);
            memcpy(l->v + to, v + from, (size_t)c->d * sizeof *v);
        }
}

/* ---- attention: a cell is a head and a block of new rows ---- */

enum { ROWS = 64, SMALL = 1 << 16 /* products below which threads do not pay */ };

typedef struct attend {
    sow_lm_cache *cache;
    lm_cached *layer;
    sow_tensor rotary;
    float scale;
    int64_t n, window;
} attend;

typedef struct attend_job {
    const attend *a;
    const float *q;
    float *y, *scratch;
    int64_t blocks, room; /* blocks of rows a head; floats of a worker */
} attend_job;

/* Softmax of scale * s[low .. high), 0 elsewhere in [0, n). */
SOW_CLONES static void softmax(float *restrict s, int64_t n, int64_t low, int64_t high, float scale) {
    float largest = s[low], lane[16] = {0}, sum = 0;
    int64_t whole = low + (high - low) / 16 * 16;
    for (int64_t j = low; j < high; j++) largest = s[j] > largest ? s[j] : largest;
    for (int64_t j = low; j < whole; j += 16)
        for (int i = 0; i < 16; i++) lane[i] += s[j + i] = sow_vexp(scale * (s[j + i] - largest));
    for (int64_t j = whole; j < high; j++) lane[j - whole] += s[j] = sow_vexp(scale * (s[j] - largest));
    for (int i = 0; i < 16; i++) sum += lane[i];
    for (int64_t j = low; j < high; j++) s[j] /= sum;
    for (int64_t j = 0; j < low; j++) s[j] = 0;
    for (int64_t j = high; j < n; j++) s[j] = 0;
}

/* s[j] = q . k_j */
SOW_CLONES static void score(const float *restrict q, const float *restrict k, int64_t n, int64_t d,
                             float *restrict s) {
    for (int64_t j = 0; j < n; j++) {
        float lane[16] = {0};
        int64_t whole = d / 16 * 16;
        for (int64_t i = 0; i < whole; i += 16)
            for (int u = 0; u < 16; u++) lane[u] += q[i + u] * k[j * d + i + u];
        for (int64_t i = whole; i < d; i++) lane[i - whole] += q[i] * k[j * d + i];
        for (int u = 0; u < 8; u++) lane[u] += lane[u + 8];
        for (int u = 0; u < 4; u++) lane[u] += lane[u + 4];
        s[j] = (lane[0] + lane[1]) + (lane[2] + lane[3]);
    }
}

/* y = sum of p_j v_j, so many columns at a time as stay in registers */
SOW_CLONES static void mix(const float *restrict p, const float *restrict v, int64_t n, int64_t d, float *restrict y) {
    enum { COLUMNS = 32 };
    int64_t whole = d / COLUMNS * COLUMNS;
    for (int64_t at = 0; at < whole; at += COLUMNS) {
        float lane[COLUMNS] = {0};
        for (int64_t j = 0; j < n; j++)
            for (int u = 0; u < COLUMNS; u++) lane[u] += p[j] * v[j * d + at + u];
        for (int u = 0; u < COLUMNS; u++) y[at + u] = lane[u];
    }
    for (int64_t i = whole; i < d; i++) y[i] = 0;
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = whole; i < d; i++) y[i] += p[j] * v[j * d + i];
}

/* Rows [row, row + rows) of one query head. Key j stands at position first + j. */
static void attend_rows(const attend_job *j, int64_t head, int64_t row, int64_t rows) {
    const attend *a = j->a;
    const sow_lm_cache *c = a->cache;
    const lm_cached *l = a->layer;
    int64_t d = c->d, width = c->heads * d, kv = head / (c->heads / c->kv_heads), position = c->length + row - l->first;
    int64_t low = a->window > 0 && position - a->window + 1 > 0 ? position - a->window + 1 : 0,
            n = position + rows - low;
    const float *k = l->k + (kv * l->room + low) * d, *v = l->v + (kv * l->room + low) * d;
    float *qs = j->scratch + (int64_t)sow_worker() * j->room, *s = qs + ROWS * d, *y = j->y + row * width + head * d;
    for (int64_t r = 0; r < rows; r++)
        place(a->rotary, c->length + row + r, d, j->q + (row + r) * width + head * d, qs + r * d);
    if (rows == 1) score(qs, k, n, d, s);
    else sow_gemm(false, true, rows, n, d, 1, qs, d, k, d, 0, s, n);
    for (int64_t r = 0; r < rows; r++) {
        int64_t high = position + r + 1 - low, from = a->window > 0 && high > a->window ? high - a->window : 0;
        softmax(s + r * n, n, from, high, a->scale);
    }
    if (rows == 1) mix(s, v, n, d, y);
    else sow_gemm(false, false, rows, d, n, 1, s, n, v, d, 0, y, width);
}

static void attend_cell(void *context, int64_t cell) {
    const attend_job *j = context;
    sow_range r = sow_range_of(cell % j->blocks, ROWS, j->a->n);
    attend_rows(j, cell / j->blocks, r.first, r.count);
}

static void all_cells(void *context, int64_t cell) {
    const attend_job *j = context;
    (void)cell;
    for (int64_t i = 0; i < j->a->cache->heads * j->blocks; i++) attend_cell(context, i);
}

static sow_status attend_forward(sow_tape *t, sow_node *node) {
    const attend *a = node->attributes;
    const sow_lm_cache *c = a->cache;
    make_room(c, a->layer, a->n, a->window);
    append(c, a->layer, a->rotary, node->input[1]->value.data, node->input[2]->value.data, a->n);
    int64_t keys = c->length + a->n - a->layer->first, rows = a->n < ROWS ? a->n : ROWS;
    attend_job j = {
        .a = a, .q = node->input[0]->value.data, .y = node->value.data, .blocks = sow_cells_for(a->n, ROWS)};
    j.room = (ROWS * c->d + rows * keys + 15) / 16 * 16;
    j.scratch = sow_scratch(t, (size_t)(sow_threads() * j.room) * sizeof *j.scratch);
    if (!j.scratch) return SOW_E_MEMORY;
    if (c->heads * a->n * keys * c->d < SMALL) sow_cells(1, all_cells, &j);
    else sow_cells(c->heads * j.blocks, attend_cell, &j);
    return SOW_OK;
}

static const sow_op attend_op = {"cached attention", attend_forward, NULL, sow_reads_nothing, false};

sow_var lm_attend_cached(sow_tape *t, sow_lm_cache *cache, sow_var q, sow_var k, sow_var v, sow_tensor rotary,
                         double scale, int64_t window) {
    q = sow_contiguous(t, q);
    k = sow_contiguous(t, k);
    v = sow_contiguous(t, v);
    sow_node *n = SOW_NODE(t, &attend_op, attend, 3, q, k, v);
    if (!n) return NULL;
    if (q->value.dtype != SOW_F32)
        return sow_tape_fail(
            t, sow_fail(SOW_E_TYPE, "cached attention: the model is %s, expected F32", sow_dtype_name(q->value.dtype)));
    *(attend *)n->attributes = (attend){.cache = cache,
                                        .layer = &cache->layers[cache->layer],
                                        .rotary = rotary,
                                        .scale = (float)(scale > 0 ? scale : 1 / sqrt((double)cache->d)),
                                        .n = q->value.shape[0],
                                        .window = window};
    return sow_node_run(t, n, sow_describe(SOW_F32, 2, q->value.shape));
}
