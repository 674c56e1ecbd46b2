/* Members of a .tar.gz or zip archive, one after another: data only, nothing is made on disk here. */
#ifndef SOW_FORMATS_ARCHIVE_H
#define SOW_FORMATS_ARCHIVE_H

#include "formats/source.h"
#include "sow/memory.h"

/* A member's bytes, read in order. */
typedef struct sow_member {
    const char *name;
    uint64_t size, left;
    sow_source *source;
} sow_member;

sow_status sow_member_read(sow_member *member, void *out, size_t wanted, size_t *got);

/* Called for each regular file; what it does not read is skipped. The name is as in the archive: check it with
 * sow_is_safe_path before it becomes a path. */
typedef sow_status (*sow_member_function)(void *user, sow_member *member);

/* Visits all regular files. Links, devices and other kinds are passed over. Errors: SOW_E_FORMAT for damage (checksums of headers,
 * gzip's and zip's CRC), the visitor's own. */
sow_status sow_archive_each(const char *place, const uint8_t *data, size_t size, sow_member_function visit, void *user);

/* Relative, without empty, "." and ".." components and without backslashes. */
bool sow_is_safe_path(const char *path);

#endif
