/* The chat template of a model, wherever it lies. */
#include "sow/lm.h"

sow_status sow_lm_chat(const char *path, const char *name, const sow_chat **out) {
    sow_arena *arena;
    const char *source;
    if (name) return sow_chat_find(NULL, name, out);
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = sow_lm_locate(arena, path, &source);
    if (status == SOW_OK) status = sow_chat_find(source, NULL, out);
    sow_arena_free(arena);
    return status;
}
