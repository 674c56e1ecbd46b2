/* GGUF files that tests write byte by byte, right or wrong. */
#ifndef TESTS_UNIT_GGUF_DRAFT_H
#define TESTS_UNIT_GGUF_DRAFT_H

#include "check.h"

typedef struct draft {
    uint8_t bytes[8192];
    size_t size;
} draft;

static inline void put(draft *d, const void *data, size_t size) {
    assert_true(d->size + size <= sizeof d->bytes);
    memcpy(d->bytes + d->size, data, size);
    d->size += size;
}
static inline void put_u32(draft *d, uint32_t n) {
    put(d, &n, 4);
}
static inline void put_u64(draft *d, uint64_t n) {
    put(d, &n, 8);
}
static inline void put_text(draft *d, const char *text) {
    put_u64(d, strlen(text));
    put(d, text, strlen(text));
}
static inline void put_key_u32(draft *d, const char *key, uint32_t value) {
    put_text(d, key);
    put_u32(d, 4);
    put_u32(d, value);
}

#endif
