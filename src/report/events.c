/* TensorBoard event files: records of protocol buffers, each framed by masked CRC-32C sums (PROVE.md, section 5). */
#include <string.h>

#include "sow/file.h"
#include "sow/report.h"

struct sow_events {
    sow_writer *writer;
    sow_arena *arena;
    sow_status status; /* of the first failure: then there is no file */
};

enum { TAG_MAX = 4096, RECORD_MAX = TAG_MAX + 64 };

/* ---- bytes, little-endian ---- */

typedef struct bytes {
    uint8_t data[RECORD_MAX];
    size_t length;
} bytes;

static void put_byte(bytes *b, unsigned value) {
    b->data[b->length++] = (uint8_t)value;
}

static void put_fixed(bytes *b, uint64_t value, int size) {
    for (int i = 0; i < size; i++) put_byte(b, (unsigned)(value >> (8 * i) & 0xff));
}

/* Seven bits a byte, the lowest first. */
static void put_varint(bytes *b, uint64_t value) {
    for (; value >= 0x80; value >>= 7) put_byte(b, (unsigned)(value & 0x7f) | 0x80);
    put_byte(b, (unsigned)value);
}

static void put_text(bytes *b, const void *text, size_t length) {
    put_varint(b, length);
    memcpy(b->data + b->length, text, length);
    b->length += length;
}

/* ---- frames ---- */

/* CRC-32C (Castagnoli), bit by bit: records are some 30 bytes. */
static uint32_t crc32c(const uint8_t *data, size_t length) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static uint32_t masked(uint32_t crc) {
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static sow_status put_record(sow_writer *writer, const bytes *record) {
    bytes head = {.length = 0}, tail = {.length = 0};
    put_fixed(&head, record->length, 8);
    put_fixed(&head, masked(crc32c(head.data, 8)), 4);
    put_fixed(&tail, masked(crc32c(record->data, record->length)), 4);
    SOW_TRY(sow_writer_put(writer, head.data, head.length));
    SOW_TRY(sow_writer_put(writer, record->data, record->length));
    return sow_writer_put(writer, tail.data, tail.length);
}

/* ---- events: field numbers and wire types of event.proto and summary.proto ---- */

static void put_double(bytes *b, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_fixed(b, bits, 8);
}

/* Event{1: double wall_time, 3: string file_version}. */
static sow_status put_version(sow_writer *writer) {
    static const char version[] = "brain.Event:2";
    bytes event = {.length = 0};
    put_byte(&event, 1 << 3 | 1);
    put_double(&event, 0);
    put_byte(&event, 3 << 3 | 2);
    put_text(&event, version, sizeof version - 1);
    return put_record(writer, &event);
}

sow_status sow_events_open(const char *folder, sow_events **out) {
    sow_arena *arena;
    sow_events *events;
    SOW_TRY(sow_make_folder(folder));
    SOW_TRY(SOW_OWN(arena, events));
    char *path = sow_path_join(arena, folder, "events.out.tfevents.0.sow");
    sow_status status = path ? sow_writer_open(path, &events->writer) : SOW_E_MEMORY;
    if (status) {
        sow_arena_free(arena);
        return status;
    }
    events->arena = arena;
    *out = events;
    return put_version(events->writer);
}

/* Value{1: string tag, 2: float simple_value} in Summary{1} in Event{1: wall_time, 2: int64 step, 5: summary}. */
sow_status sow_events_scalar(sow_events *events, const char *tag, int64_t step, double value) {
    bytes inner = {.length = 0}, summary = {.length = 0}, event = {.length = 0};
    size_t length = strlen(tag);
    float simple = (float)value;
    uint32_t bits;
    if (length > TAG_MAX)
        return events->status = sow_fail(SOW_E_RANGE, "TensorBoard: a tag of %zu bytes, expected at most %d", length,
                                         TAG_MAX);
    memcpy(&bits, &simple, sizeof bits);
    put_byte(&inner, 1 << 3 | 2);
    put_text(&inner, tag, length);
    put_byte(&inner, 2 << 3 | 5);
    put_fixed(&inner, bits, 4);
    put_byte(&summary, 1 << 3 | 2);
    put_text(&summary, inner.data, inner.length);
    put_byte(&event, 1 << 3 | 1);
    put_double(&event, 0);
    put_byte(&event, 2 << 3 | 0);
    put_varint(&event, (uint64_t)step);
    put_byte(&event, 5 << 3 | 2);
    put_text(&event, summary.data, summary.length);
    sow_status status = put_record(events->writer, &event);
    if (status) events->status = status;
    return status;
}

sow_status sow_events_close(sow_events *events) {
    if (!events) return SOW_OK;
    sow_status status = events->status;
    if (status) sow_writer_abort(events->writer);
    else status = sow_writer_commit(events->writer);
    sow_arena_free(events->arena);
    return status;
}
