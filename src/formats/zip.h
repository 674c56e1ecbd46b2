/* Reading zip archives: members by name, stored or deflated. */
#ifndef SOW_FORMATS_ZIP_H
#define SOW_FORMATS_ZIP_H

#include "formats/source.h"
#include "sow/memory.h"

typedef struct sow_zip_member {
    const char *name;
    const uint8_t *data; /* packed */
    uint64_t packed, size;
    uint32_t crc;
    sow_coding coding;
} sow_zip_member;

typedef struct sow_zip {
    sow_zip_member *members;
    int64_t count;
} sow_zip;

/* Reads the directory of an archive in memory, which outlives *out; names are copied into the arena. Zip64 too. Errors:
 * SOW_E_FORMAT: truncated, entries outside of the file, a size that its packed data cannot have, encrypted, names with NUL;
 * SOW_E_UNSUPPORTED: other methods than stored and deflated. */
sow_status sow_zip_open(sow_arena *arena, const char *place, const uint8_t *data, size_t size, sow_zip *out);
/* NULL if absent. */
const sow_zip_member *sow_zip_find(const sow_zip *zip, const char *name);

#endif
