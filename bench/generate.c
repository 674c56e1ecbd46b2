/* Times greedy generation: `generate MODEL THREADS TOKENS` opens a model, reads a prompt and goes on for so many tokens, end
 * tokens or not. Prints one JSON line: seconds until the first token is known (opening included), seconds from the opened model to
 * the last token, bytes of weights that each of them reads, the rate at which this machine reads memory (GB/s), peak memory, a hash of the ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ok.h"
#include "peak.h"
#include "sow/sow.h"

static double weight_bytes(const char *path) {
    sow_gguf *file;
    double bytes = 0;
    if (sow_is_folder(path)) return 0;
    OK(sow_gguf_open(path, &file));
    for (int64_t i = 0; i < sow_gguf_count(file); i++) bytes += (double)sow_gguf_at(file, i)->bytes;
    sow_gguf_close(file);
    return bytes;
}

/* ---- the machine's read rate ---- */

enum { CELL = 1 << 20, CELLS = 256 };

typedef struct reading {
    const uint64_t *words;
    uint64_t sums[CELLS];
} reading;

static void read_cell(void *context, int64_t cell) {
    reading *r = context;
    const uint64_t *w = r->words + cell * (CELL / 8);
    uint64_t sum[8] = {0};
    for (int64_t i = 0; i < CELL / 8; i += 8)
        for (int j = 0; j < 8; j++) sum[j] ^= w[i + j];
    for (int j = 0; j < 8; j++) r->sums[cell] ^= sum[j];
}

static double read_rate(sow_arena *arena) {
    reading *r;
    uint64_t *words;
    double best = 1e9;
    OK(SOW_NEW(arena, r, 1));
    OK(SOW_NEW_RAW(arena, words, (int64_t)CELLS * CELL / 8));
    memset(words, 1, (size_t)CELLS * CELL);
    r->words = words;
    for (int k = 0; k < 5; k++) {
        double begin = sow_seconds();
        sow_cells(CELLS, read_cell, r);
        double seconds = sow_seconds() - begin;
        if (seconds < best) best = seconds;
    }
    return (double)CELLS * CELL / best / 1e9;
}

int main(int argc, char **argv) {
    static const char prompt[] = "Once upon a time, in a small village";
    const char *name = argc > 1 ? argv[1] : "smollm2", *path;
    int64_t count = argc > 3 ? atoi(argv[3]) : 128;
    double begin = sow_seconds(), first = 0, opened;
    sow_lm *lm;
    sow_tokenizer *tokenizer;
    sow_arena *arena;
    sow_tape *t;
    sow_encoding e;
    sow_lm_cache *cache;
    float *logits;
    int32_t *ids;
    char hex[65];
    sow_set_threads(argc > 2 ? atoi(argv[2]) : 1);
    OK(sow_arena_new(&arena));
    OK(sow_lm_open_frozen(name, &lm));
    OK(sow_lm_tokenizer(name, &tokenizer));
    opened = sow_seconds();
    OK(sow_tape_new(&t));
    OK(sow_encode(tokenizer, arena, prompt, sizeof prompt - 1, SOW_ENCODE_SPECIAL, &e));
    OK(SOW_NEW(arena, logits, lm->config.vocabulary));
    OK(SOW_NEW(arena, ids, count + 1));
    OK(sow_lm_cache_new(lm, e.count + count, &cache));
    OK(sow_lm_extend(t, lm, cache, e.ids, e.count, logits));
    for (int64_t i = 0; i < count; i++) {
        OK(sow_lm_sample(&(sow_sampling){0}, arena, logits, lm->config.vocabulary, NULL, 0, &ids[i]));
        if (i == 0) first = sow_seconds() - begin;
        if (i + 1 < count) OK(sow_lm_extend(t, lm, cache, &ids[i], 1, logits));
    }
    double seconds = sow_seconds() - opened;
    double peak = peak_mib();
    OK(sow_lm_locate(arena, name, &path));
    sow_sha256(ids, (size_t)count * sizeof *ids, hex);
    printf(
        "{\"first_seconds\":%.6f,\"seconds\":%.6f,\"tokens\":%lld,\"bytes\":%.0f,\"read_gbs\":%.2f,\"peak_mib\":%.1f,"
        "\"sha256\":\"%s\"}\n",
        first, seconds, (long long)count, weight_bytes(path), read_rate(arena), peak, hex);
    sow_lm_cache_free(cache);
    sow_tape_free(t);
    sow_tokenizer_free(tokenizer);
    sow_lm_free(lm);
    sow_arena_free(arena);
    return 0;
}
