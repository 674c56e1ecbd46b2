/* Reading zip archives: members by name, stored or deflated. */
#include "formats/zip.h"

#include <inttypes.h>
#include <string.h>

#include "formats/bytes.h"

enum {
    END_SIZE = 22,        /* end of central directory without its comment */
    END64_SIZE = 56,
    LOCATOR64_SIZE = 20,
    CENTRAL_SIZE = 46,
    LOCAL_SIZE = 30,
    COMMENT_MAX = 65535,
};
#define SIGNATURE_END UINT32_C(0x06054b50)
#define SIGNATURE_END64 UINT32_C(0x06064b50)
#define SIGNATURE_LOCATOR64 UINT32_C(0x07064b50)
#define SIGNATURE_CENTRAL UINT32_C(0x02014b50)
#define SIGNATURE_LOCAL UINT32_C(0x04034b50)

typedef struct archive {
    sow_arena *arena;
    const char *place;
    const uint8_t *data;
    size_t size;
    uint64_t directory, directory_size, count;
} archive;

/* Whether `bytes` at `offset` lie in the file. */
static bool inside(const archive *a, uint64_t offset, uint64_t bytes) {
    return offset <= a->size && bytes <= a->size - offset;
}

static sow_status damaged(const archive *a, uint64_t at, const char *what) {
    return sow_fail(SOW_E_FORMAT, "%s: byte %" PRIu64 ": damaged zip archive: %s", a->place, at, what);
}

/* The record at the end says where the directory is; a comment of up to 64 KiB may follow it. */
static sow_status find_end(archive *a) {
    size_t lowest = a->size > END_SIZE + COMMENT_MAX ? a->size - END_SIZE - COMMENT_MAX : 0;
    for (size_t at = a->size < END_SIZE ? 0 : a->size - END_SIZE + 1; at-- > lowest;) {
        const uint8_t *e = a->data + at;
        if (sow_little32(e) != SIGNATURE_END || sow_little16(e + 20) != a->size - at - END_SIZE) continue;
        a->count = sow_little16(e + 10);
        a->directory_size = sow_little32(e + 12);
        a->directory = sow_little32(e + 16);
        bool large = a->count == UINT16_MAX || a->directory_size == UINT32_MAX || a->directory == UINT32_MAX;
        if (!large || at < LOCATOR64_SIZE || sow_little32(e - LOCATOR64_SIZE) != SIGNATURE_LOCATOR64) return SOW_OK;
        uint64_t end64 = sow_little64(e - LOCATOR64_SIZE + 8);
        if (!inside(a, end64, END64_SIZE) || sow_little32(a->data + end64) != SIGNATURE_END64) return damaged(a, end64, "no zip64 end record");
        a->count = sow_little64(a->data + end64 + 32);
        a->directory_size = sow_little64(a->data + end64 + 40);
        a->directory = sow_little64(a->data + end64 + 48);
        return SOW_OK;
    }
    return sow_fail(SOW_E_FORMAT, "%s: no end of a zip archive (truncated, or no zip?)", a->place);
}

/* Sizes that do not fit 32 bits stand in the extra field 1, in this order, each only if its 32-bit place is full. */
static void read_extra(const uint8_t *extra, size_t length, uint64_t *values[3]) {
    for (size_t at = 0; at + 4 <= length;) {
        size_t id = sow_little16(extra + at), size = sow_little16(extra + at + 2), used = 0;
        if (size > length - at - 4) return;
        for (int i = 0; id == 1 && i < 3; i++)
            if (*values[i] == UINT32_MAX && used + 8 <= size) *values[i] = sow_little64(extra + at + 4 + used), used += 8;
        at += 4 + size;
    }
}

/* The packed bytes begin behind the local header, whose name and extra field have lengths of their own. */
static sow_status find_data(const archive *a, uint64_t offset, sow_zip_member *m) {
    if (!inside(a, offset, LOCAL_SIZE) || sow_little32(a->data + offset) != SIGNATURE_LOCAL) return damaged(a, offset, "no local header");
    uint64_t begin = offset + LOCAL_SIZE + sow_little16(a->data + offset + 26) + sow_little16(a->data + offset + 28);
    if (!inside(a, begin, m->packed)) return sow_fail(SOW_E_FORMAT, "%s: member \"%s\" reaches beyond the end of the file", a->place, m->name);
    m->data = a->data + begin;
    sow_source probe = {.size = m->packed, .coding = m->coding};
    if (m->coding == SOW_PLAIN ? m->size != m->packed : m->size > sow_source_bound(&probe))
        return sow_fail(SOW_E_FORMAT, "%s: member \"%s\" declares %" PRIu64 " bytes, its %" PRIu64 " packed ones cannot hold them", a->place, m->name,
                        m->size, m->packed);
    return SOW_OK;
}

static sow_status read_member(const archive *a, uint64_t *at, sow_zip_member *m) {
    if (!inside(a, *at, CENTRAL_SIZE) || sow_little32(a->data + *at) != SIGNATURE_CENTRAL) return damaged(a, *at, "no directory entry");
    const uint8_t *e = a->data + *at;
    size_t name = sow_little16(e + 28), extra = sow_little16(e + 30), comment = sow_little16(e + 32);
    if (!inside(a, *at + CENTRAL_SIZE, name + extra + comment)) return damaged(a, *at, "a directory entry reaches beyond the end");
    const char *text = (const char *)e + CENTRAL_SIZE;
    if (memchr(text, 0, name)) return damaged(a, *at, "a name with a NUL byte");
    if (!(m->name = sow_arena_format(a->arena, "%.*s", (int)name, text))) return SOW_E_MEMORY;
    if (sow_little16(e + 8) & 1) return sow_fail(SOW_E_FORMAT, "%s: member \"%s\" is encrypted", a->place, m->name);
    unsigned method = sow_little16(e + 10);
    if (method != 0 && method != 8) return sow_fail(SOW_E_UNSUPPORTED, "%s: member \"%s\" has compression method %u, expected 0 or 8", a->place, m->name, method);
    m->coding = method == 0 ? SOW_PLAIN : SOW_DEFLATE;
    m->crc = sow_little32(e + 16);
    m->packed = sow_little32(e + 20);
    m->size = sow_little32(e + 24);
    uint64_t offset = sow_little32(e + 42);
    read_extra(e + CENTRAL_SIZE + name, extra, (uint64_t *[]){&m->size, &m->packed, &offset});
    *at += CENTRAL_SIZE + name + extra + comment;
    return find_data(a, offset, m);
}

sow_status sow_zip_open(sow_arena *arena, const char *place, const uint8_t *data, size_t size, sow_zip *out) {
    archive a = {.arena = arena, .place = place, .data = data, .size = size};
    SOW_TRY(find_end(&a));
    if (!inside(&a, a.directory, a.directory_size) || a.count > a.directory_size / CENTRAL_SIZE)
        return sow_fail(SOW_E_FORMAT, "%s: a zip directory of %" PRIu64 " entries in %" PRIu64 " bytes at %" PRIu64 " cannot be in %zu bytes (truncated?)", place,
                        a.count, a.directory_size, a.directory, size);
    *out = (sow_zip){.count = (int64_t)a.count};
    SOW_TRY(SOW_NEW(arena, out->members, a.count));
    uint64_t at = a.directory;
    for (int64_t i = 0; i < out->count; i++) SOW_TRY(read_member(&a, &at, &out->members[i]));
    return SOW_OK;
}

const sow_zip_member *sow_zip_find(const sow_zip *zip, const char *name) {
    for (int64_t i = 0; i < zip->count; i++)
        if (strcmp(zip->members[i].name, name) == 0) return &zip->members[i];
    return NULL;
}
