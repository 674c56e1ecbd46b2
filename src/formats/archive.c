/* Members of a .tar.gz or zip archive, one after another. */
#include "formats/archive.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/zip.h"

enum { BLOCK = 512, NAME_MAX_TAR = 256 };

bool sow_is_safe_path(const char *path) {
    if (strchr(path, '\\')) return false;
    for (const char *part = path;; part++) {
        size_t length = strcspn(part, "/");
        if (length == 0 || (length == 1 && part[0] == '.') || (length == 2 && part[0] == '.' && part[1] == '.')) return false;
        part += length;
        if (!*part) return true;
    }
}

sow_status sow_member_read(sow_member *member, void *out, size_t wanted, size_t *got) {
    if (wanted > member->left) wanted = (size_t)member->left;
    SOW_TRY(sow_source_read(member->source, out, wanted, got));
    member->left -= *got;
    if (*got < wanted) return sow_fail(SOW_E_FORMAT, "%s: member \"%s\" ends early (truncated?)", member->source->place, member->name);
    return SOW_OK;
}

static sow_status skip(sow_member *member) {
    uint8_t buffer[1 << 14];
    size_t got;
    while (member->left > 0) SOW_TRY(sow_member_read(member, buffer, sizeof buffer, &got));
    return SOW_OK;
}

/* ---- tar ---- */

/* Octal digits after spaces, ended by a space or NUL. */
static bool read_octal(const uint8_t *field, size_t length, uint64_t *out) {
    size_t i = 0;
    *out = 0;
    while (i < length && field[i] == ' ') i++;
    for (; i < length && field[i] >= '0' && field[i] <= '7'; i++) *out = *out << 3 | (uint64_t)(field[i] - '0');
    return i == length || field[i] == 0 || field[i] == ' ';
}

/* The sum of all bytes, those of the checksum itself counted as spaces. */
static bool checksum_fits(const uint8_t *block) {
    uint64_t stated, sum = 0;
    for (int i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? ' ' : block[i];
    return read_octal(block + 148, 8, &stated) && stated == sum;
}

static void read_name(const uint8_t *block, char name[NAME_MAX_TAR + 2]) {
    bool ustar = memcmp(block + 257, "ustar", 5) == 0;
    if (ustar && block[345]) snprintf(name, NAME_MAX_TAR + 2, "%.155s/%.100s", (const char *)block + 345, (const char *)block);
    else snprintf(name, NAME_MAX_TAR + 2, "%.100s", (const char *)block);
}

static bool is_zero(const uint8_t *block) {
    for (int i = 0; i < BLOCK; i++)
        if (block[i]) return false;
    return true;
}

static sow_status each_of_tar(sow_source *source, sow_member_function visit, void *user) {
    for (;;) {
        uint8_t block[BLOCK];
        char name[NAME_MAX_TAR + 2];
        uint64_t size;
        SOW_TRY(sow_source_need(source, block, BLOCK, "tar header"));
        if (is_zero(block)) return SOW_OK;
        if (!checksum_fits(block)) return sow_fail(SOW_E_FORMAT, "%s: a tar header with a wrong checksum", source->place);
        read_name(block, name);
        if (!read_octal(block + 124, 12, &size)) return sow_fail(SOW_E_FORMAT, "%s: member \"%s\": its size is not octal", source->place, name);
        bool regular = block[156] == '0' || block[156] == 0;
        sow_member member = {.name = name, .size = size, .left = size, .source = source};
        if (regular) SOW_TRY(visit(user, &member));
        SOW_TRY(skip(&member));
        sow_member padding = {.name = name, .left = (BLOCK - size % BLOCK) % BLOCK, .source = source};
        SOW_TRY(skip(&padding));
    }
}

/* ---- zip ---- */

static sow_status visit_packed(const char *place, const sow_zip_member *m, sow_member_function visit, void *user) {
    sow_source source;
    sow_status status = sow_source_begin(&source, place, m->data, m->packed, m->coding);
    source.with_crc = true;
    sow_member member = {.name = m->name, .size = m->size, .left = m->size, .source = &source};
    if (status == SOW_OK) status = visit(user, &member);
    if (status == SOW_OK) status = skip(&member);
    if (status == SOW_OK) status = sow_source_finish(&source);
    if (status == SOW_OK && source.crc != m->crc) status = sow_fail(SOW_E_FORMAT, "%s: member \"%s\": wrong CRC (damaged)", place, m->name);
    sow_source_end(&source);
    return status;
}

static sow_status each_of_zip(sow_arena *arena, const char *place, const uint8_t *data, size_t size, sow_member_function visit, void *user) {
    sow_zip zip;
    SOW_TRY(sow_zip_open(arena, place, data, size, &zip));
    for (int64_t i = 0; i < zip.count; i++) {
        size_t length = strlen(zip.members[i].name);
        if (length > 0 && zip.members[i].name[length - 1] == '/') continue; /* a folder */
        SOW_TRY(visit_packed(place, &zip.members[i], visit, user));
    }
    return SOW_OK;
}

sow_status sow_archive_each(const char *place, const uint8_t *data, size_t size, sow_member_function visit, void *user) {
    if (sow_coding_of(data, size) == SOW_GZIP) {
        sow_source source;
        sow_status status = sow_source_begin(&source, place, data, size, SOW_GZIP);
        if (status == SOW_OK) status = each_of_tar(&source, visit, user);
        sow_source_end(&source);
        return status;
    }
    if (size < 4 || memcmp(data, "PK", 2) != 0) return sow_fail(SOW_E_FORMAT, "%s: neither a .tar.gz nor a zip archive", place);
    sow_arena *arena;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = each_of_zip(arena, place, data, size, visit, user);
    sow_arena_free(arena);
    return status;
}
