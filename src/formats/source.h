/* Bytes read in order from memory, plain or compressed, never more than asked for. */
#ifndef SOW_FORMATS_SOURCE_H
#define SOW_FORMATS_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "sow/status.h"

typedef enum sow_coding {
    SOW_PLAIN,
    SOW_GZIP,    /* one or several members */
    SOW_DEFLATE, /* raw, as inside zip */
} sow_coding;

typedef struct sow_source {
    const char *place; /* begins the messages */
    const uint8_t *data;
    size_t size, used; /* of the coded bytes */
    sow_coding coding;
    bool ended;
    bool with_crc; /* set by the caller after the beginning: keep the CRC-32 of what was read */
    uLong crc;
    z_stream stream;
} sow_source;

/* Begins to read; the memory and `place` outlive the source. End with sow_source_end, after failures too. */
sow_status sow_source_begin(sow_source *source, const char *place, const uint8_t *data, size_t size, sow_coding coding);
/* SOW_GZIP when the bytes begin as gzip does, else SOW_PLAIN. */
sow_coding sow_coding_of(const uint8_t *data, size_t size);
/* Reads up to `wanted` bytes; fewer only at the end. Errors: SOW_E_FORMAT for damaged or truncated compression. */
sow_status sow_source_read(sow_source *source, void *out, size_t wanted, size_t *got);
/* Reads exactly `wanted` bytes, else SOW_E_FORMAT "truncated" naming `what`. */
sow_status sow_source_need(sow_source *source, void *out, size_t wanted, const char *what);
/* SOW_E_FORMAT unless nothing is left. */
sow_status sow_source_finish(sow_source *source);
/* The most that what is left can unpack to: what a header declares is checked against it before memory is taken. */
uint64_t sow_source_bound(const sow_source *source);
void sow_source_end(sow_source *source);
/* Lets zlib allocate through sow_reallocate. */
void sow_zlib_memory(z_stream *stream);

#endif
