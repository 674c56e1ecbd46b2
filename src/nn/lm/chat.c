/* The chat template of a model, wherever it lies. */
#include "nn/lm/open.h"

sow_status sow_lm_chat(const char *path, const char *name, const sow_chat **out) {
    sow_arena *arena;
    lm_place place;
    if (name) return sow_chat_find(NULL, name, out);
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = lm_locate(arena, path, &place);
    if (status == SOW_OK) status = sow_chat_find(place.gguf ? place.gguf : place.folder, NULL, out);
    sow_arena_free(arena);
    return status;
}
