/* Text from language models, token by token: a cache of keys and values, sampling, where to stop. */
#ifndef SOW_GENERATE_H
#define SOW_GENERATE_H

#include "sow/lm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the cache ---- */

/* Keys (turned by their positions) and values of all tokens so far, F32 [layer][key head][token][head size]; layers with a
 * window keep that window. */
typedef struct sow_lm_cache sow_lm_cache;

/* Room for `tokens`; SOW_E_RANGE: more than the model's positions; SOW_E_UNSUPPORTED: an encoder. Memory: 8 layers key_heads
 * head_size bytes a token (SmolLM2-135M: 46 KB). */
sow_status sow_lm_cache_new(const sow_lm *lm, int64_t tokens, sow_lm_cache **out);
/* NULL is allowed. */
void sow_lm_cache_free(sow_lm_cache *cache);
/* Tokens it holds. */
int64_t sow_lm_cache_length(const sow_lm_cache *cache);

/* Feeds tokens behind those that the cache holds, in blocks, and gives the scores of what comes next: logits [vocabulary],
 * or NULL. Taps and adapters act as in sow_lm_states. The tape is reset and does not record. SOW_E_RANGE: no room for
 * them, an id outside (nothing was fed). Cost: that of the new tokens alone. */
sow_status sow_lm_extend(sow_tape *t, sow_lm *lm, sow_lm_cache *cache, const int32_t *ids, int64_t count,
                         float *logits);

/* ---- sampling ---- */

/* In this order: penalty, temperature, top_k, softmax, top_p, one draw. */
typedef struct sow_sampling {
    double temperature; /* 0: always the largest score, the lowest id of equals */
    int64_t top_k;      /* only the k largest, and what equals the last of them; 0: all */
    double top_p;       /* the smallest set of likeliest tokens whose sum reaches p; 0 or 1: all */
    double
        repeat_penalty; /* of tokens that were seen: scores above 0 are divided by it, others multiplied (Keskar et al.
                              2019, arXiv 1909.05858); 0 or 1: none */
    uint64_t seed;      /* draw number s comes from the stream ("sample", s) */
} sow_sampling;

/* One token from scores, which are changed. seen: [n], not 0 for tokens of the text so far; NULL: none. The draw inverts
 * the cumulative sum in the order of ids. SOW_E_NUMBER: a NaN among the scores, or nothing but -inf. Memory from `scratch`
 * is given back. */
sow_status sow_lm_sample(const sow_sampling *s, sow_arena *scratch, float *logits, int64_t n, const uint8_t *seen,
                         uint64_t step, int32_t *out);

/* ---- texts ---- */

typedef enum sow_stop {
    SOW_STOP_END,     /* one of the model's end tokens, or `end` */
    SOW_STOP_TEXT,    /* one of the stop strings */
    SOW_STOP_LIMIT,   /* max_tokens */
    SOW_STOP_CONTEXT, /* the model's positions are used up */
} sow_stop;
/* "end", "stop string", "limit", "context" */
const char *sow_stop_name(sow_stop stop);

typedef struct sow_generation {
    sow_sampling sampling;
    int64_t max_tokens;
    int32_t end;              /* one more end token (of a chat); -1: none */
    const char *const *stops; /* texts that end the answer and are no part of it, ending with NULL; NULL: none */
    /* Called with each piece of text as soon as it is certain: whole characters, and no beginning of a stop string; NULL: not. */
    sow_status (*say)(void *user, const char *text, size_t size);
    void *user;
} sow_generation;

typedef struct sow_generated {
    int32_t *ids; /* without the end token */
    int64_t count;
    char *text; /* ended by a zero byte; without special tokens and stop strings */
    size_t size;
    sow_stop stop;
    double first_seconds, seconds; /* until the first token was known, and all */
} sow_generated;

/* Continues a prompt; what comes out lies in the arena. SOW_E_RANGE: the prompt is empty, or fills the context. */
sow_status sow_lm_generate(sow_tape *t, sow_lm *lm, sow_tokenizer *tokenizer, sow_arena *arena, const int32_t *prompt,
                           int64_t count, const sow_generation *how, sow_generated *out);

#ifdef __cplusplus
}
#endif
#endif
