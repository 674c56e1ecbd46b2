/* The cache of keys and values, and attention over it. */
#ifndef SOW_NN_LM_CACHE_H
#define SOW_NN_LM_CACHE_H

#include "sow/generate.h"

/* Tokens that go through the model at once. */
enum { LM_CACHE_BLOCK = 512 };

typedef struct lm_cached {
    float *k, *v;  /* [key heads][room][head size] */
    int64_t room;  /* rows */
    int64_t first; /* position of row 0: behind 0 where a window moved on */
} lm_cached;

struct sow_lm_cache {
    sow_arena *arena;
    int64_t length, room; /* tokens held; at most */
    int64_t heads, kv_heads, d, layer_count;
    lm_cached *layers;
    int64_t layer; /* under way */
};

/* Attention of new tokens over the cache's and their own, which are added to it. rotary data NULL: no positions. */
sow_var lm_attend_cached(sow_tape *t, sow_lm_cache *cache, sow_var q, sow_var k, sow_var v, sow_tensor rotary,
                         double scale, int64_t window);

#endif
