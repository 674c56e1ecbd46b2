/* One decoder a format; a place is a file's name for messages. */
#ifndef SOW_FORMATS_IMAGE_H
#define SOW_FORMATS_IMAGE_H

#include "sow/image.h"

sow_status sow_png_decode(sow_arena *arena, const char *place, const uint8_t *data, size_t size, int channels, sow_tensor *out);
sow_status sow_jpeg_decode(sow_arena *arena, const char *place, const uint8_t *data, size_t size, int channels, sow_tensor *out);
bool sow_is_png(const uint8_t *data, size_t size);
bool sow_is_jpeg(const uint8_t *data, size_t size);

/* Checks the declared size against the limits and against the bytes there are (`ratio`: the most pixels a byte can hold). */
sow_status sow_image_check(const char *place, int64_t width, int64_t height, size_t size, int64_t ratio);
/* SOW_E_TYPE when colour was found where grey was asked for. */
sow_status sow_image_channels(const char *place, int stored, int wanted, int *channels);
/* Rows of interleaved pixels [H, W, C] become planes [C, H, W] in the arena. */
sow_status sow_image_planes(sow_arena *arena, const uint8_t *pixels, int channels, int64_t height, int64_t width, sow_tensor *out);

#endif
