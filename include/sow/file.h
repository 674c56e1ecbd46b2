/* Files: read whole or mapped, written whole or not at all. */
#ifndef SOW_FILE_H
#define SOW_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sow/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A read-only memory map of a whole file. */
typedef struct sow_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;         /* bytes */
} sow_map;

/* Maps a regular file. Errors: SOW_E_NOT_FOUND, SOW_E_IO (a folder, no permission). Cost: no reads. */
sow_status sow_map_open(const char *path, sow_map *out);
/* Unmaps; the structure is zero afterwards, and closing that is allowed. */
void sow_map_close(sow_map *map);

/* Reads a file of at most `limit` bytes into the arena, with a zero byte behind it. Reads pipes too. */
sow_status sow_read_file(sow_arena *arena, const char *path, size_t limit, char **data, size_t *size);

/* A file being written: bytes go to a temporary file beside `path`; sow_writer_commit makes it appear under
 * its name (write, fsync, rename, fsync of the folder). Anything else leaves no trace. */
typedef struct sow_writer sow_writer;

/* Begins `path`. Errors: SOW_E_IO with the reason (no folder, no permission, disk full). */
sow_status sow_writer_open(const char *path, sow_writer **out);
/* Appends bytes (buffered). After a failure every later call fails, and commit too: check only the commit. */
sow_status sow_writer_put(sow_writer *writer, const void *data, size_t size);
/* Appends formatted text of at most 4,095 bytes. */
sow_status sow_writer_printf(sow_writer *writer, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Makes the file appear and frees the writer, whatever the result. */
sow_status sow_writer_commit(sow_writer *writer);
/* Removes the temporary file and frees the writer. NULL is allowed. */
void sow_writer_abort(sow_writer *writer);

/* The common case: a whole buffer becomes the file. */
sow_status sow_write_file(const char *path, const void *data, size_t size);

/* mkdir -p: a folder and its parents, mode 0777 less umask. Errors: SOW_E_IO. */
sow_status sow_make_folder(const char *path);

/* Whether something of that name exists (links are followed). */
bool sow_path_exists(const char *path);
/* Whether the path is a folder (links are followed). */
bool sow_is_folder(const char *path);
/* "a/b" from "a" and "b" in the arena; an absolute `name` wins. NULL when memory is short. */
char *sow_path_join(sow_arena *arena, const char *folder, const char *name);
/* The part behind the last slash (a pointer into `path`). */
const char *sow_path_name(const char *path);
/* The path from the root, links resolved, in the arena. SOW_E_IO: there is nothing of that name. */
sow_status sow_path_absolute(sow_arena *arena, const char *path, const char **out);

/* Names in a folder, sorted bytewise, without "." and "..". At most `limit` names, else SOW_E_RANGE. */
sow_status sow_list_folder(sow_arena *arena, const char *path, int64_t limit, char ***names, int64_t *count);

/* SHA-256 of bytes and of a file, as 64 lower-case hexadecimal digits and a zero byte. */
void sow_sha256(const void *data, size_t size, char hex[65]);
/* The same for a file. Errors as sow_map_open. Cost: one read. */
sow_status sow_sha256_file(const char *path, char hex[65]);

#ifdef __cplusplus
}
#endif
#endif
