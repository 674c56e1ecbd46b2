/* PNG and JPEG from anywhere, in each number of channels. */
#include "fuzz_file.h"

#include "sow/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sow_arena *arena;
    sow_tensor t;
    if (sow_arena_new(&arena) != SOW_OK) return 0;
    for (int channels = 0; channels <= 3; channels += 3)
        if (sow_image_decode(arena, "fuzz", data, size, channels, &t) == SOW_OK) fuzz_touch(t.data, sow_bytes(t));
    sow_arena_free(arena);
    return 0;
}
