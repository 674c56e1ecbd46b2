/* Word vectors from anywhere: refused, or every word a string and every number finite. */
#include "fuzz_file.h"

#include <math.h>
#include <string.h>

#include "sow/vectors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sow_arena *arena;
    sow_word_vectors v;
    if (sow_arena_new(&arena) != SOW_OK) return 0;
    if (sow_word_vectors_parse(arena, "fuzz", (const char *)data, size, &v) == SOW_OK)
        for (int64_t i = 0; i < v.count; i++) {
            if (strlen(v.words[i]) == 0 || strlen(v.words[i]) > size) abort();
            for (int64_t j = 0; j < v.vectors.shape[1]; j++)
                if (!isfinite(((double *)v.vectors.data)[i * v.vectors.shape[1] + j])) abort();
        }
    sow_arena_free(arena);
    return 0;
}
