/* Any tensor as the bytes of its values in logical order, a piece at a time. */
#include "formats/gather.h"

#include <string.h>

/* `count` elements of `size` bytes that lie `step` bytes apart. */
static void copy_strided(uint8_t *out, const uint8_t *from, int64_t count, size_t step, size_t size) {
    switch (size) { /* a size that is known makes memcpy one move */
    case 4:
        for (int64_t j = 0; j < count; j++) memcpy(out + 4 * j, from + step * (size_t)j, 4);
        break;
    case 8:
        for (int64_t j = 0; j < count; j++) memcpy(out + 8 * j, from + step * (size_t)j, 8);
        break;
    default:
        for (int64_t j = 0; j < count; j++) memcpy(out + size * (size_t)j, from + step * (size_t)j, size);
    }
}

/* Copies `count` elements from the logical index `first` on, in logical order. */
static void copy_piece(sow_tensor t, int64_t first, int64_t count, uint8_t *out) {
    size_t size = sow_dtype_size(t.dtype);
    int last = t.rank - 1; /* a scalar is contiguous: rank >= 1 here */
    for (int64_t i = first; i < first + count;) {
        int64_t run = t.shape[last] - i % t.shape[last];
        if (run > first + count - i) run = first + count - i;
        const uint8_t *from = (const uint8_t *)t.data + sow_offset(t, i) * (int64_t)size;
        copy_strided(out, from, run, (size_t)t.stride[last] * size, size);
        out += (size_t)run * size;
        i += run;
    }
}

sow_status sow_gather(sow_tensor t, sow_take_bytes take, void *user) {
    if (sow_is_contiguous(t)) return take(user, t.data, sow_bytes(t));
    uint8_t buffer[SOW_GATHER_BYTES];
    int64_t size = (int64_t)sow_dtype_size(t.dtype), total = sow_count(t), step = SOW_GATHER_BYTES / size;
    for (int64_t i = 0; i < total; i += step) {
        int64_t count = total - i < step ? total - i : step;
        copy_piece(t, i, count, buffer);
        SOW_TRY(take(user, buffer, (size_t)(count * size)));
    }
    return SOW_OK;
}
