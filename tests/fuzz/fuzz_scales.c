/* Tables of learning-rate scales from anywhere: refused, or rows that can be found again. */
#include "fuzz_file.h"

#include "sow/scales.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sow_arena *arena;
    sow_scales table;
    if (sow_arena_new(&arena) != SOW_OK) return 0;
    if (sow_scales_read(arena, fuzz_file(data, size), &table) == SOW_OK)
        for (int64_t i = 0; i < table.count; i += table.rows[i].parts)
            if (sow_scales_find(&table, table.rows[i].name) != &table.rows[i]) __builtin_trap();
    sow_arena_free(arena);
    return 0;
}
