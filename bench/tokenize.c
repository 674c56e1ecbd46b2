/* Tokenizes the paragraphs of a text: `tokenize MODEL FILE REPEATS [whole]` prints one JSON line: median CPU seconds of one
 * thread, tokens, the FNV-1a of their ids, peak memory. whole: the file is one text, as it is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ok.h"
#include "peak.h"
#include "sow/sow.h"

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Where the paragraph at `at` ends: at an empty line. */
static const char *paragraph_end(const char *at, const char *end) {
    const char *found = memmem(at, (size_t)(end - at), "\n\n", 2);
    return found ? found : end;
}

int main(int argc, char **argv) {
    enum { REPEATS_MAX = 64 };
    double seconds[REPEATS_MAX];
    int repeats = argc > 3 ? atoi(argv[3]) : 0;
    bool whole = argc > 4 && !strcmp(argv[4], "whole");
    if (repeats < 1 || repeats > REPEATS_MAX) return 2;
    sow_arena *arena;
    sow_tokenizer *tokenizer;
    char *text;
    size_t size;
    long long tokens = 0;
    uint64_t hash = 0;
    OK(sow_arena_new(&arena));
    OK(sow_read_file(arena, argv[2], (size_t)1 << 30, &text, &size));
    for (int r = 0; r < repeats; r++) { /* opened anew each time: no word is remembered from the round before */
        OK(sow_tokenizer_open(argv[1], &tokenizer));
        double begin = cpu_seconds();
        tokens = 0;
        hash = 14695981039346656037u;
        const char *end = text + size, *at = text;
        for (bool last = false; !last;) {
            sow_mark mark = sow_arena_mark(arena);
            sow_encoding e;
            const char *limit = whole ? end : paragraph_end(at, end);
            last = limit == end;
            OK(sow_encode(tokenizer, arena, at, (size_t)(limit - at), SOW_ENCODE_SPECIAL, &e));
            for (int64_t i = 0; i < e.count; i++) hash = (hash ^ (uint32_t)e.ids[i]) * 1099511628211u;
            tokens += e.count;
            sow_arena_release(arena, mark);
            at = last ? end : limit + 2;
        }
        seconds[r] = cpu_seconds() - begin;
        sow_tokenizer_free(tokenizer);
    }
    qsort(seconds, (size_t)repeats, sizeof *seconds, by_value);
    printf("{\"seconds\":%.6f,\"tokens\":%lld,\"hash\":\"%016llx\",\"peak_mib\":%.1f}\n", seconds[repeats / 2], tokens,
           (unsigned long long)hash, peak_mib());
    sow_arena_free(arena);
    return 0;
}
