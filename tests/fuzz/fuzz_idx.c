/* IDX files from anywhere, plain and gzip. */
#include "fuzz_file.h"

#include "formats/idx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sow_arena *arena;
    sow_tensor t;
    if (sow_arena_new(&arena) != SOW_OK) return 0;
    if (sow_idx_read(arena, fuzz_file(data, size), &t) == SOW_OK) fuzz_touch(t.data, sow_bytes(t));
    sow_arena_free(arena);
    return 0;
}
