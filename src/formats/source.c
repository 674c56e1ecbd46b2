/* Bytes read in order from memory, plain or compressed, never more than asked for. */
#include "formats/source.h"

#include <string.h>

#include "sow/memory.h"

/* Deflate codes at most 258 bytes in 2 bits: no stream unpacks to more than 1,032 times its size. */
enum { DEFLATE_RATIO = 1032 };

static void *take(void *unused, unsigned count, unsigned size) {
    (void)unused;
    return sow_reallocate(NULL, (size_t)count * size);
}

static void release(void *unused, void *pointer) {
    (void)unused;
    sow_release(pointer);
}

void sow_zlib_memory(z_stream *stream) {
    stream->zalloc = take;
    stream->zfree = release;
}

sow_coding sow_coding_of(const uint8_t *data, size_t size) {
    return size >= 2 && data[0] == 0x1f && data[1] == 0x8b ? SOW_GZIP : SOW_PLAIN;
}

sow_status sow_source_begin(sow_source *source, const char *place, const uint8_t *data, size_t size, sow_coding coding) {
    *source = (sow_source){.place = place, .data = data, .size = size, .coding = coding};
    if (coding == SOW_PLAIN) return SOW_OK;
    sow_zlib_memory(&source->stream);
    int window = coding == SOW_GZIP ? 16 + MAX_WBITS : -MAX_WBITS;
    if (inflateInit2(&source->stream, window) == Z_OK) return SOW_OK;
    source->coding = SOW_PLAIN; /* nothing to end */
    return sow_fail(SOW_E_MEMORY, "%s: out of memory for unpacking", place);
}

/* Gives the stream more input: zlib counts in 32 bits, files may be larger. */
static void feed(sow_source *source) {
    size_t left = source->size - source->used;
    source->stream.next_in = (Bytef *)(uintptr_t)(source->data + source->used);
    source->stream.avail_in = left > 1U << 30 ? 1U << 30 : (unsigned)left;
}

static sow_status inflate_some(sow_source *source, uint8_t *out, size_t wanted, size_t *got) {
    z_stream *stream = &source->stream;
    *got = 0;
    while (*got < wanted && !source->ended) {
        size_t room = wanted - *got;
        feed(source);
        unsigned offered = stream->avail_in;
        stream->next_out = out + *got;
        stream->avail_out = room > 1U << 30 ? 1U << 30 : (unsigned)room;
        unsigned asked = stream->avail_out;
        int result = inflate(stream, Z_NO_FLUSH);
        source->used += offered - stream->avail_in;
        *got += asked - stream->avail_out;
        if (result == Z_STREAM_END) {
            bool more = source->coding == SOW_GZIP && sow_coding_of(source->data + source->used, source->size - source->used) == SOW_GZIP;
            source->ended = !more;
            if (more) inflateReset(stream);
        } else if (result == Z_MEM_ERROR) {
            return sow_fail(SOW_E_MEMORY, "%s: out of memory for unpacking", source->place);
        } else if (result == Z_BUF_ERROR || (result == Z_OK && offered == 0 && asked == stream->avail_out)) {
            return sow_fail(SOW_E_FORMAT, "%s: the compressed data ends early (truncated?)", source->place);
        } else if (result != Z_OK) {
            return sow_fail(SOW_E_FORMAT, "%s: damaged compressed data at byte %zu: %s", source->place, source->used, stream->msg ? stream->msg : "unexpected");
        }
    }
    return SOW_OK;
}

static sow_status copy_some(sow_source *source, uint8_t *out, size_t wanted, size_t *got) {
    size_t left = source->size - source->used;
    *got = wanted < left ? wanted : left;
    if (*got > 0) memcpy(out, source->data + source->used, *got);
    source->used += *got;
    return SOW_OK;
}

sow_status sow_source_read(sow_source *source, void *out, size_t wanted, size_t *got) {
    SOW_TRY(source->coding == SOW_PLAIN ? copy_some(source, out, wanted, got) : inflate_some(source, out, wanted, got));
    if (source->with_crc && *got > 0) source->crc = crc32_z(source->crc, out, *got);
    return SOW_OK;
}

sow_status sow_source_need(sow_source *source, void *out, size_t wanted, const char *what) {
    size_t got;
    SOW_TRY(sow_source_read(source, out, wanted, &got));
    if (got == wanted) return SOW_OK;
    return sow_fail(SOW_E_FORMAT, "%s: %s: %zu bytes expected, %zu found (truncated?)", source->place, what, wanted, got);
}

sow_status sow_source_finish(sow_source *source) {
    uint8_t byte;
    size_t got;
    SOW_TRY(sow_source_read(source, &byte, 1, &got));
    return got == 0 && source->used == source->size ? SOW_OK : sow_fail(SOW_E_FORMAT, "%s: bytes behind the end of the data, none expected", source->place);
}

uint64_t sow_source_bound(const sow_source *source) {
    uint64_t left = source->size - source->used;
    return source->coding == SOW_PLAIN ? left : (left > UINT64_MAX / DEFLATE_RATIO / 2 ? UINT64_MAX : (left + 64) * DEFLATE_RATIO);
}

void sow_source_end(sow_source *source) {
    if (source->coding != SOW_PLAIN) inflateEnd(&source->stream);
    source->coding = SOW_PLAIN;
}
