/* Numbers as files hold them: either byte order, any alignment. */
#ifndef SOW_FORMATS_BYTES_H
#define SOW_FORMATS_BYTES_H

#include <stdint.h>
#include <stddef.h>

static inline uint16_t sow_little16(const uint8_t *b) {
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t sow_little32(const uint8_t *b) {
    return (uint32_t)sow_little16(b) | (uint32_t)sow_little16(b + 2) << 16;
}

static inline uint64_t sow_little64(const uint8_t *b) {
    return (uint64_t)sow_little32(b) | (uint64_t)sow_little32(b + 4) << 32;
}

/* Turns `count` values of `size` bytes from big-endian to little-endian (Sow runs on little-endian machines), or back. */
static inline void sow_reverse_bytes(uint8_t *values, int64_t count, size_t size) {
    if (size < 2) return;
    for (int64_t i = 0; i < count; i++, values += size)
        for (size_t j = 0; j < size / 2; j++) {
            uint8_t kept = values[j];
            values[j] = values[size - 1 - j];
            values[size - 1 - j] = kept;
        }
}

#endif
