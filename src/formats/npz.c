/* NumPy's .npz: a zip archive with one .npy an array. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/gather.h"
#include "formats/npy.h"
#include "formats/zip.h"
#include "sow/file.h"
#include "sow/npy.h"

/* ---- reading ---- */

struct sow_npz {
    sow_arena *arena;
    const char *path;
    sow_map map;
    sow_zip zip;
    const char **names; /* without .npy */
};

static sow_status open_archive(sow_npz *npz, const char *path) {
    if (!(npz->path = sow_arena_copy(npz->arena, path))) return SOW_E_MEMORY;
    SOW_TRY(sow_map_open(path, &npz->map));
    SOW_TRY(sow_zip_open(npz->arena, path, npz->map.data, npz->map.size, &npz->zip));
    SOW_TRY(SOW_NEW(npz->arena, npz->names, npz->zip.count));
    for (int64_t i = 0; i < npz->zip.count; i++) {
        const char *name = npz->zip.members[i].name;
        size_t length = strlen(name);
        if (length < 4 || strcmp(name + length - 4, ".npy") != 0) return sow_fail(SOW_E_FORMAT, "%s: member \"%s\" is no .npy", path, name);
        if (!(npz->names[i] = sow_arena_format(npz->arena, "%.*s", (int)length - 4, name))) return SOW_E_MEMORY;
    }
    return SOW_OK;
}

sow_status sow_npz_open(const char *path, sow_npz **out) {
    sow_arena *arena;
    sow_npz *npz;
    *out = NULL;
    SOW_TRY(SOW_OWN(arena, npz));
    npz->arena = arena;
    sow_status status = open_archive(npz, path);
    if (status == SOW_OK) *out = npz;
    else sow_npz_close(npz);
    return status;
}

void sow_npz_close(sow_npz *npz) {
    if (!npz) return;
    sow_map_close(&npz->map);
    sow_arena_free(npz->arena);
}

int64_t sow_npz_count(const sow_npz *npz) {
    return npz->zip.count;
}

const char *sow_npz_name(const sow_npz *npz, int64_t index) {
    return npz->names[index];
}

static sow_status read_member(const sow_zip_member *m, const char *place, sow_arena *arena, sow_tensor *out) {
    sow_source source;
    sow_status status = sow_source_begin(&source, place, m->data, m->packed, m->coding);
    source.with_crc = true;
    if (status == SOW_OK) status = sow_npy_read_source(arena, &source, out);
    if (status == SOW_OK && source.crc != m->crc)
        status = sow_fail(SOW_E_FORMAT, "%s: CRC %08lx, expected %08" PRIx32 " (damaged)", place, source.crc, m->crc);
    sow_source_end(&source);
    return status;
}

sow_status sow_npz_read(const sow_npz *npz, sow_arena *arena, const char *name, sow_tensor *out) {
    for (int64_t i = 0; i < npz->zip.count; i++) {
        if (strcmp(npz->names[i], name) != 0) continue;
        char place[1024];
        snprintf(place, sizeof place, "%s: %s", npz->path, npz->zip.members[i].name);
        return read_member(&npz->zip.members[i], place, arena, out);
    }
    return sow_fail(SOW_E_NOT_FOUND, "%s: no array \"%s\"", npz->path, name);
}

/* ---- writing ---- */

enum { DESCRIPTOR_FOLLOWS = 8, UTF8_NAMES = 2048, VERSION = 20, DATE_1980 = 33 /* 1 January: files are compared */ };

typedef struct archive {
    sow_writer *writer;
    bool compress;
    z_stream stream;
    uint64_t at; /* bytes written so far */
    uLong crc;
    uint64_t packed, size; /* of the member being written */
} archive;

typedef struct written {
    uint64_t offset, packed, size;
    uint32_t crc;
} written;

static sow_status put(archive *a, const void *data, size_t size) {
    a->at += size;
    return sow_writer_put(a->writer, data, size);
}

/* Numbers of 2 or 4 bytes, little-endian: `widths` has one digit for each. */
static sow_status put_numbers(archive *a, const char *widths, const uint64_t *numbers) {
    uint8_t bytes[64];
    size_t used = 0;
    for (; *widths; widths++, numbers++)
        for (int i = 0; i < *widths - '0'; i++) bytes[used++] = (uint8_t)(*numbers >> 8 * i);
    return put(a, bytes, used);
}

/* Feeds the compressor; flush Z_FINISH ends the member. */
static sow_status deflate_some(archive *a, const void *data, size_t size, int flush) {
    uint8_t buffer[1 << 14];
    const uint8_t *next = data;
    do {
        size_t piece = size > 1U << 30 ? 1U << 30 : size;
        a->stream.next_in = (Bytef *)(uintptr_t)next;
        a->stream.avail_in = (uInt)piece;
        next += piece;
        size -= piece;
        do {
            a->stream.next_out = buffer;
            a->stream.avail_out = sizeof buffer;
            deflate(&a->stream, size > 0 ? Z_NO_FLUSH : flush);
            size_t made = sizeof buffer - a->stream.avail_out;
            a->packed += made;
            SOW_TRY(put(a, buffer, made));
        } while (a->stream.avail_out == 0);
    } while (size > 0);
    return SOW_OK;
}

static sow_status take_bytes(void *user, const void *data, size_t size) {
    archive *a = user;
    if (size == 0) return SOW_OK;
    a->size += size;
    a->crc = crc32_z(a->crc, data, size);
    if (a->compress) return deflate_some(a, data, size, Z_NO_FLUSH);
    a->packed += size;
    return put(a, data, size);
}

static sow_status put_member(archive *a, const char *name, sow_tensor t, written *w) {
    char header[SOW_NPY_HEADER];
    size_t header_size, length = strlen(name) + 4;
    SOW_TRY(sow_npy_header(name, t, header, &header_size));
    *w = (written){.offset = a->at};
    a->crc = crc32(0, NULL, 0);
    a->packed = a->size = 0;
    SOW_TRY(put_numbers(a, "42222244422", (uint64_t[]){UINT64_C(0x04034b50), VERSION, DESCRIPTOR_FOLLOWS | UTF8_NAMES, a->compress ? 8 : 0, 0,
                                                       DATE_1980, 0, 0, 0, length, 0}));
    SOW_TRY(put(a, name, length - 4));
    SOW_TRY(put(a, ".npy", 4));
    if (a->compress) deflateReset(&a->stream);
    SOW_TRY(take_bytes(a, header, header_size));
    SOW_TRY(sow_gather(t, take_bytes, a));
    if (a->compress) SOW_TRY(deflate_some(a, NULL, 0, Z_FINISH));
    w->packed = a->packed, w->size = a->size, w->crc = (uint32_t)a->crc;
    return put_numbers(a, "4444", (uint64_t[]){UINT64_C(0x08074b50), w->crc, w->packed, w->size});
}

static sow_status put_directory(archive *a, int64_t count, const char *const *names, const written *members) {
    uint64_t begin = a->at;
    for (int64_t i = 0; i < count; i++) {
        const written *w = &members[i];
        size_t length = strlen(names[i]) + 4;
        SOW_TRY(put_numbers(a, "422222244422222", (uint64_t[]){UINT64_C(0x02014b50), VERSION, VERSION, DESCRIPTOR_FOLLOWS | UTF8_NAMES, a->compress ? 8 : 0, 0,
                                                               DATE_1980, w->crc, w->packed, w->size, length, 0, 0, 0, 0}));
        SOW_TRY(put_numbers(a, "44", (uint64_t[]){0, w->offset}));
        SOW_TRY(put(a, names[i], length - 4));
        SOW_TRY(put(a, ".npy", 4));
    }
    return put_numbers(a, "42222442", (uint64_t[]){UINT64_C(0x06054b50), 0, 0, (uint64_t)count, (uint64_t)count, a->at - begin, begin, 0});
}

/* Without zip64 nothing may pass 32 bits; compression could only make it larger by a little. */
static sow_status check_sizes(const char *path, int64_t count, const char *const *names, const sow_tensor *tensors) {
    uint64_t total = 0;
    for (int64_t i = 0; i < count; i++) {
        if (strlen(names[i]) > 1000) return sow_fail(SOW_E_RANGE, "%s: an array's name of more than 1000 bytes", path);
        for (int64_t j = 0; j < i; j++)
            if (strcmp(names[i], names[j]) == 0) return sow_fail(SOW_E_ARGUMENT, "%s: two arrays named \"%s\"", path, names[i]);
        total += sow_bytes(tensors[i]) + 4096;
        if (total > 4000000000U || count > 60000) return sow_fail(SOW_E_UNSUPPORTED, "%s: an .npz of more than 4 GB or 60,000 arrays: write .npy or safetensors", path);
    }
    return SOW_OK;
}

static sow_status put_all(archive *a, int64_t count, const char *const *names, const sow_tensor *tensors) {
    sow_arena *arena;
    written *members;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = SOW_NEW(arena, members, count);
    for (int64_t i = 0; status == SOW_OK && i < count; i++) status = put_member(a, names[i], tensors[i], &members[i]);
    if (status == SOW_OK) status = put_directory(a, count, names, members);
    sow_arena_free(arena);
    return status;
}

sow_status sow_npz_write(const char *path, int64_t count, const char *const *names, const sow_tensor *tensors, bool compress) {
    archive a = {.compress = compress};
    SOW_TRY(check_sizes(path, count, names, tensors));
    sow_zlib_memory(&a.stream);
    if (compress && deflateInit2(&a.stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return sow_fail(SOW_E_MEMORY, "%s: out of memory for compression", path);
    sow_status status = sow_writer_open(path, &a.writer);
    if (status == SOW_OK) {
        status = put_all(&a, count, names, tensors);
        if (status == SOW_OK) status = sow_writer_commit(a.writer);
        else sow_writer_abort(a.writer);
    }
    if (compress) deflateEnd(&a.stream);
    return status;
}
