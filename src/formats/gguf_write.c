/* Writing GGUF files, version 3: metadata of a few kinds, F32 tensors. */
#include <string.h>

#include "sow/file.h"
#include "sow/gguf.h"

enum { VERSION = 3, ALIGNMENT = 32, KEY_STRING = 8, KEY_F32 = 6 };

static void put_u32(sow_writer *w, uint32_t value) {
    uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)};
    sow_writer_put(w, bytes, sizeof bytes);
}

static void put_u64(sow_writer *w, uint64_t value) {
    put_u32(w, (uint32_t)value);
    put_u32(w, (uint32_t)(value >> 32));
}

static void put_text(sow_writer *w, const char *text) {
    put_u64(w, strlen(text));
    sow_writer_put(w, text, strlen(text));
}

static void put_entry(sow_writer *w, const sow_gguf_entry *e) {
    uint32_t bits;
    put_text(w, e->key);
    if (e->text) {
        put_u32(w, KEY_STRING);
        put_text(w, e->text);
        return;
    }
    put_u32(w, KEY_F32);
    memcpy(&bits, &e->number, sizeof bits);
    put_u32(w, bits);
}

static void pad(sow_writer *w, uint64_t size) {
    static const uint8_t zeros[ALIGNMENT];
    sow_writer_put(w, zeros, (size_t)((ALIGNMENT - size % ALIGNMENT) % ALIGNMENT));
}

/* Size of what stands before the data. */
static uint64_t directory_size(const sow_gguf_entry *entries, int entry_count, int64_t count, const char *const *names,
                               const sow_tensor *tensors) {
    uint64_t size = 4 + 4 + 8 + 8;
    for (int i = 0; i < entry_count; i++)
        size += 8 + strlen(entries[i].key) + 4 + (entries[i].text ? 8 + strlen(entries[i].text) : 4);
    for (int64_t i = 0; i < count; i++) size += 8 + strlen(names[i]) + 4 + 8 * (uint64_t)tensors[i].rank + 4 + 8;
    return size;
}

sow_status sow_gguf_write(const char *path, const sow_gguf_entry *entries, int entry_count, int64_t count,
                          const char *const *names, const sow_tensor *tensors) {
    sow_writer *w;
    uint64_t offset = 0;
    for (int64_t i = 0; i < count; i++)
        if (tensors[i].dtype != SOW_F32 || !sow_is_contiguous(tensors[i]) || tensors[i].rank < 1 || tensors[i].rank > 4)
            return sow_fail(SOW_E_TYPE, "%s: expected row-major F32 of at most 4 dimensions", names[i]);
    SOW_TRY(sow_writer_open(path, &w));
    sow_writer_put(w, "GGUF", 4);
    put_u32(w, VERSION);
    put_u64(w, (uint64_t)count);
    put_u64(w, (uint64_t)entry_count);
    for (int i = 0; i < entry_count; i++) put_entry(w, &entries[i]);
    for (int64_t i = 0; i < count; i++) {
        uint64_t bytes = sow_bytes(tensors[i]);
        put_text(w, names[i]);
        put_u32(w, (uint32_t)tensors[i].rank);
        for (int d = tensors[i].rank; d-- > 0;) put_u64(w, (uint64_t)tensors[i].shape[d]);
        put_u32(w, SOW_GGUF_F32);
        put_u64(w, offset);
        offset += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    pad(w, directory_size(entries, entry_count, count, names, tensors));
    for (int64_t i = 0; i < count; i++) {
        sow_writer_put(w, tensors[i].data, sow_bytes(tensors[i]));
        pad(w, sow_bytes(tensors[i]));
    }
    return sow_writer_commit(w);
}
