/* Images: which decoder, limits, planes. */
#include "formats/image.h"

#include <inttypes.h>

#include "sow/file.h"

sow_status sow_image_check(const char *place, int64_t width, int64_t height, size_t size, int64_t ratio) {
    if (width < 1 || height < 1 || width > SOW_IMAGE_SIDE_MAX || height > SOW_IMAGE_SIDE_MAX || width * height > SOW_IMAGE_PIXELS_MAX)
        return sow_fail(SOW_E_RANGE, "%s: %" PRId64 " x %" PRId64 " pixels, at most %d a side and %d in all are read", place, width, height,
                        SOW_IMAGE_SIDE_MAX, SOW_IMAGE_PIXELS_MAX);
    if (width * height / ratio > (int64_t)size)
        return sow_fail(SOW_E_FORMAT, "%s: %" PRId64 " x %" PRId64 " pixels cannot be in %zu bytes (truncated?)", place, width, height, size);
    return SOW_OK;
}

sow_status sow_image_channels(const char *place, int stored, int wanted, int *channels) {
    *channels = wanted ? wanted : stored;
    if (*channels >= stored) return SOW_OK;
    return sow_fail(SOW_E_TYPE, "%s: a colour image, expected grey", place);
}

sow_status sow_image_planes(sow_arena *arena, const uint8_t *pixels, int channels, int64_t height, int64_t width, sow_tensor *out) {
    int64_t plane = height * width;
    uint8_t *planes = sow_arena_take_raw(arena, (size_t)(channels * plane), 1);
    if (!planes) return SOW_E_MEMORY;
    for (int c = 0; c < channels; c++)
        for (int64_t i = 0; i < plane; i++) planes[c * plane + i] = pixels[i * channels + c];
    *out = SOW_TENSOR(planes, SOW_U8, channels, height, width);
    return SOW_OK;
}

sow_status sow_image_decode(sow_arena *arena, const char *place, const void *data, size_t size, int channels, sow_tensor *out) {
    if (sow_is_png(data, size)) return sow_png_decode(arena, place, data, size, channels, out);
    if (sow_is_jpeg(data, size)) return sow_jpeg_decode(arena, place, data, size, channels, out);
    return sow_fail(SOW_E_FORMAT, "%s: neither PNG nor JPEG", place);
}

sow_status sow_image_read(sow_arena *arena, const char *path, int channels, sow_tensor *out) {
    sow_map map;
    SOW_TRY(sow_map_open(path, &map));
    sow_status status = sow_image_decode(arena, path, map.data, map.size, channels, out);
    sow_map_close(&map);
    return status;
}
