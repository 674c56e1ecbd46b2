/* .npy from anywhere: refused, or a tensor that is readable and can be written. */
#include "fuzz_file.h"

#include "sow/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sow_arena *arena;
    sow_tensor t;
    if (sow_arena_new(&arena) != SOW_OK) return 0;
    if (sow_npy_read(arena, fuzz_file(data, size), &t) == SOW_OK) {
        fuzz_touch(t.data, sow_bytes(t));
        if (sow_count(t) > 0 && t.dtype != SOW_C64) sow_at(t, sow_count(t) - 1);
    }
    sow_map map;
    sow_tensor view;
    if (sow_npy_map(fuzz_file(data, size), &map, &view) == SOW_OK) {
        fuzz_touch(view.data, sow_bytes(view));
        sow_map_close(&map);
    }
    sow_arena_free(arena);
    return 0;
}
