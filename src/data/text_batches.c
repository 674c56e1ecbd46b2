/* Batches of texts: any one at any time, each a function of (seed, number) alone. */
#include <string.h>

#include "sow/random.h"
#include "sow/texts.h"

struct sow_text_batches {
    sow_arena *arena;
    const sow_texts *texts;
    int64_t size, per_epoch;
    bool shuffle;
    sow_rng rng;
    int64_t epoch; /* that `order` belongs to, -1: none yet */
    int64_t *order;
    int64_t *counted; /* labels that count, of each sequence */
    int32_t *ids, *labels;
    int64_t *start;
};

/* The order of an epoch, kept until another is asked for. */
static void enter_epoch(sow_text_batches *b, int64_t epoch) {
    if (!b->shuffle || epoch == b->epoch) return;
    b->epoch = epoch;
    sow_rng_at_index(&b->rng, "shuffle", (uint64_t)epoch);
    sow_rng_permutation(&b->rng, b->order, b->texts->count);
}

/* The sequences of a batch, and how many they are. */
static const int64_t *sequences_of(sow_text_batches *b, int64_t number, int64_t *count) {
    int64_t first = number % b->per_epoch * b->size, left = b->texts->count - first;
    enter_epoch(b, number / b->per_epoch);
    *count = left < b->size ? left : b->size;
    return b->order + first;
}

sow_status sow_text_batches_at(sow_text_batches *b, int64_t number, sow_tokens *tokens, sow_tensor *labels) {
    const sow_texts *t = b->texts;
    int64_t count;
    if (number < 0)
        return sow_fail(SOW_E_RANGE, "batch %lld was asked for, they are counted from 0", (long long)number);
    const int64_t *index = sequences_of(b, number, &count);
    for (int64_t i = 0; i < count; i++) {
        int64_t begin = t->start[index[i]], n = t->start[index[i] + 1] - begin;
        memcpy(b->ids + b->start[i], t->ids + begin, (size_t)n * sizeof *b->ids);
        memcpy(b->labels + b->start[i], t->labels + begin, (size_t)n * sizeof *b->labels);
        b->start[i + 1] = b->start[i] + n;
    }
    *tokens = (sow_tokens){b->ids, b->start, count};
    *labels = SOW_TENSOR(b->labels, SOW_I32, b->start[count]);
    return SOW_OK;
}

int64_t sow_text_batches_counted(sow_text_batches *b, int64_t first, int64_t count) {
    int64_t sum = 0, n;
    for (int64_t k = first; k < first + count; k++) {
        const int64_t *index = sequences_of(b, k, &n);
        for (int64_t i = 0; i < n; i++) sum += b->counted[index[i]];
    }
    return sum;
}

int64_t sow_text_batches_per_epoch(const sow_text_batches *b) {
    return b->per_epoch;
}

static sow_status prepare(sow_text_batches *b, uint64_t seed) {
    const sow_texts *t = b->texts;
    int64_t tokens;
    SOW_TRY(sow_multiply(b->size, t->longest, &tokens));
    if (tokens > t->start[t->count]) tokens = t->start[t->count];
    SOW_TRY(SOW_NEW(b->arena, b->order, t->count));
    SOW_TRY(SOW_NEW(b->arena, b->counted, t->count));
    SOW_TRY(SOW_NEW_RAW(b->arena, b->ids, tokens));
    SOW_TRY(SOW_NEW_RAW(b->arena, b->labels, tokens));
    SOW_TRY(SOW_NEW(b->arena, b->start, b->size + 1));
    for (int64_t i = 0; i < t->count; i++) {
        b->order[i] = i;
        for (int64_t k = t->start[i]; k < t->start[i + 1]; k++) b->counted[i] += t->labels[k] >= 0;
    }
    return sow_rng_seed(&b->rng, SOW_RNG_SOW, seed);
}

sow_status sow_text_batches_new(const sow_texts *texts, int64_t size, uint64_t seed, bool shuffle,
                                sow_text_batches **out) {
    sow_arena *arena;
    sow_text_batches *b;
    if (size < 1) return sow_fail(SOW_E_RANGE, "a batch of %lld sequences, expected 1 or more", (long long)size);
    if (shuffle && size > texts->count)
        return sow_fail(SOW_E_RANGE, "%s: batches of %lld from %lld sequences: an epoch has no whole batch",
                        texts->name, (long long)size, (long long)texts->count);
    if (size > texts->count) size = texts->count;
    SOW_TRY(SOW_OWN(arena, b));
    *b = (sow_text_batches){.arena = arena,
                            .texts = texts,
                            .size = size,
                            .per_epoch = shuffle ? texts->count / size : (texts->count + size - 1) / size,
                            .shuffle = shuffle,
                            .epoch = -1};
    sow_status status = prepare(b, seed);
    if (status == SOW_OK) *out = b;
    else sow_arena_free(arena);
    return status;
}

void sow_text_batches_free(sow_text_batches *batches) {
    if (batches) sow_arena_free(batches->arena);
}
