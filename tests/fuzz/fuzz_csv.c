/* CSV from anywhere: refused, or every cell a string. */
#include "fuzz_file.h"

#include <string.h>

#include "sow/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sow_arena *arena;
    sow_table t;
    if (sow_arena_new(&arena) != SOW_OK) return 0;
    if (sow_table_parse(arena, "fuzz", (const char *)data, size, &t) == SOW_OK)
        for (int64_t i = 0; i < t.rows; i++)
            for (int64_t j = 0; j < t.columns; j++) {
                double number;
                if (strlen(sow_table_cell(&t, i, j)) > size || t.lines[i] < 1) abort();
                sow_table_number(&t, i, j, &number);
            }
    sow_arena_free(arena);
    return 0;
}
