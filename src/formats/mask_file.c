/* Masks in files: safetensors of U8 tensors, 1 keeps. */
#include <string.h>

#include "sow/safetensors.h"

sow_status sow_save_mask(const char *path, const sow_mask *mask, const char *passport) {
    sow_state *state;
    SOW_TRY(sow_mask_to_state(mask, &state));
    sow_status status = sow_save_state(path, state, passport);
    sow_state_free(state);
    return status;
}

sow_status sow_load_mask(sow_arena *arena, const char *path, sow_mask *out) {
    sow_state *state;
    SOW_TRY(sow_load_state(path, &state));
    sow_status status = sow_mask_from_state(arena, state, out);
    sow_state_free(state);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "%s", path);
}

char *sow_mask_path(sow_arena *arena, const char *start) {
    static const char ending[] = ".safetensors";
    size_t length = strlen(start), tail = sizeof ending - 1;
    if (length <= tail || strcmp(start + length - tail, ending)) {
        sow_fail(SOW_E_ARGUMENT, "%s: expected a name that ends in .safetensors", start);
        return NULL;
    }
    return sow_arena_format(arena, "%.*s.mask%s", (int)(length - tail), start, ending);
}
