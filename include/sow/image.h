/* Images: PNG and JPEG to pixels and back. */
#ifndef SOW_IMAGE_H
#define SOW_IMAGE_H

#include "sow/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* At most this many pixels and this many in a row or column: checked before memory is taken. */
enum { SOW_IMAGE_SIDE_MAX = 65535, SOW_IMAGE_PIXELS_MAX = 1 << 28 };

/* Reads a PNG or JPEG (told apart by its first bytes) into the arena as U8 [C, H, W]. `channels` 0: as stored (1 grey, 3
 * colour); 3: grey becomes colour; 1: colour is SOW_E_TYPE. Alpha is dropped, palettes are resolved, 16-bit values
 * scaled to 8. Errors: SOW_E_FORMAT for anything damaged or truncated, SOW_E_RANGE for too many pixels. */
sow_status sow_image_read(sow_arena *arena, const char *path, int channels, sow_tensor *out);
/* The same from memory; `place` begins the messages. */
sow_status sow_image_decode(sow_arena *arena, const char *place, const void *data, size_t size, int channels, sow_tensor *out);
/* Writes a U8 tensor [1 or 3, H, W] as PNG. */
sow_status sow_image_write(const char *path, sow_tensor image);

#ifdef __cplusplus
}
#endif
#endif
