/* Zip archives of arrays from anywhere. */
#include "fuzz_file.h"

#include "sow/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sow_arena *arena;
    sow_npz *npz;
    if (sow_npz_open(fuzz_file(data, size), &npz) != SOW_OK) return 0;
    if (sow_arena_new(&arena) == SOW_OK) {
        for (int64_t i = 0; i < sow_npz_count(npz) && i < 8; i++) {
            sow_tensor t;
            sow_mark mark = sow_arena_mark(arena);
            if (sow_npz_read(npz, arena, sow_npz_name(npz, i), &t) == SOW_OK) fuzz_touch(t.data, sow_bytes(t));
            sow_arena_release(arena, mark);
        }
        sow_arena_free(arena);
    }
    sow_npz_close(npz);
    return 0;
}
