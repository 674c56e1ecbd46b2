/* tokenizer.json from anywhere: refused, or it encodes the file's own bytes and decodes what came. */
#include "fuzz_file.h"

#include "sow/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sow_tokenizer *t;
    sow_arena *arena;
    sow_encoding e;
    char *text;
    size_t length;
    if (sow_tokenizer_open(fuzz_file(data, size), &t) != SOW_OK) return 0;
    if (sow_arena_new(&arena) == SOW_OK) {
        if (sow_encode(t, arena, (const char *)data, size < 2048 ? size : 2048,
                       SOW_ENCODE_REPLACE | SOW_ENCODE_OFFSETS | SOW_ENCODE_SPECIAL, &e) == SOW_OK)
            sow_decode(t, arena, e.ids, e.count, false, &text, &length);
        sow_arena_free(arena);
    }
    sow_tokenizer_free(t);
    return 0;
}
