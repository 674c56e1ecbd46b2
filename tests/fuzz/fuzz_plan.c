/* Plans of races: refused with a message, or one whose document reads back as the same plan. */
#include "fuzz_file.h"

#include <string.h>

#include "sow/prove.h"

/* The document names the hashes of files, which are not looked for again. */
static void read_back(sow_arena *arena, const sow_plan *plan) {
    sow_plan *again;
    const char *path = fuzz_file((const uint8_t *)plan->document, strlen(plan->document));
    if (sow_plan_reread(arena, path, &again) != SOW_OK || strcmp(again->identity, plan->identity) != 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sow_arena *arena;
    sow_plan *plan;
    if (sow_arena_new(&arena) != SOW_OK) return 0;
    char *text = sow_arena_take(arena, size + 1, 1);
    if (text && size > 0) memcpy(text, data, size);
    if (text && sow_plan_parse(arena, text, "plan.json", &plan) == SOW_OK) read_back(arena, plan);
    else if (!*sow_message()) abort();
    sow_arena_free(arena);
    return 0;
}
