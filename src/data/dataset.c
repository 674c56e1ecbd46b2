/* A data set owns its memory. */
#include "data/readers.h"

sow_status sow_dataset_new(int64_t count, sow_geometry geometry, sow_dtype dtype, sow_dataset **out) {
    sow_arena *arena;
    sow_dataset *set;
    int64_t shape[4] = {count, geometry.channels, geometry.height, geometry.width}, elements;
    SOW_TRY(sow_shape_count(4, shape, &elements));
    SOW_TRY(SOW_OWN(arena, set));
    void *inputs = sow_arena_take_raw(arena, (size_t)elements, sow_dtype_size(dtype));
    sow_status status = inputs ? SOW_NEW(arena, set->labels, count) : SOW_E_MEMORY;
    if (status != SOW_OK) {
        sow_arena_free(arena);
        return status;
    }
    set->arena = arena;
    set->count = count;
    set->geometry = geometry;
    set->inputs = sow_tensor_of(inputs, dtype, 4, shape);
    *out = set;
    return SOW_OK;
}

void sow_dataset_free(sow_dataset *set) {
    if (set) sow_arena_free(set->arena);
}
