/* Files: read whole or mapped, written whole or not at all. */
#include "sow/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"

static sow_status system_failure(const char *path, const char *doing) {
    int error = errno;
    return sow_fail(error == ENOENT || error == ENOTDIR ? SOW_E_NOT_FOUND : SOW_E_IO, "%s: %s: %s", path, doing, strerror(error));
}

/* ---- reading ---- */

static sow_status open_to_read(const char *path, int flags, int *fd, struct stat *about) {
    *fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (*fd < 0) return system_failure(path, "cannot be opened");
    if (fstat(*fd, about) == 0 && !S_ISDIR(about->st_mode)) return SOW_OK;
    bool folder = S_ISDIR(about->st_mode);
    close(*fd);
    return folder ? sow_fail(SOW_E_IO, "%s: is a folder, expected a file", path) : system_failure(path, "cannot be examined");
}

sow_status sow_map_open(const char *path, sow_map *out) {
    int fd;
    struct stat about;
    *out = (sow_map){0};
    SOW_TRY(open_to_read(path, O_NONBLOCK, &fd, &about)); /* a pipe is refused below, not waited for */
    sow_status status = SOW_OK;
    if (!S_ISREG(about.st_mode)) status = sow_fail(SOW_E_IO, "%s: not a regular file, cannot be mapped", path);
    else if (about.st_size > 0) {
        void *data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) status = system_failure(path, "cannot be mapped");
        else *out = (sow_map){.data = data, .size = (size_t)about.st_size};
    }
    close(fd);
    return status;
}

void sow_map_close(sow_map *map) {
    if (map->data) munmap((void *)(uintptr_t)map->data, map->size);
    *map = (sow_map){0};
}

sow_status sow_read_file(sow_arena *arena, const char *path, size_t limit, char **data, size_t *size) {
    int fd;
    struct stat about;
    SOW_TRY(open_to_read(path, 0, &fd, &about));
    size_t capacity = S_ISREG(about.st_mode) ? (size_t)about.st_size : 65536, used = 0;
    if (capacity > limit) {
        close(fd);
        return sow_fail(SOW_E_RANGE, "%s: %zu bytes, at most %zu are read", path, capacity, limit);
    }
    char *buffer = sow_arena_take_raw(arena, capacity + 1, 1);
    sow_status status = buffer ? SOW_OK : SOW_E_MEMORY;
    while (status == SOW_OK) {
        ssize_t got = read(fd, buffer + used, capacity + 1 - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = system_failure(path, "cannot be read");
        if (got <= 0) break;
        used += (size_t)got;
        if (used > limit) status = sow_fail(SOW_E_RANGE, "%s: more than %zu bytes", path, limit);
        else if (used > capacity) {
            char *larger = sow_arena_take_raw(arena, 2 * capacity + 1, 1);
            if (!larger) status = SOW_E_MEMORY;
            else buffer = memcpy(larger, buffer, used), capacity *= 2;
        }
    }
    close(fd);
    SOW_TRY(status);
    buffer[used] = 0;
    *data = buffer;
    if (size) *size = used;
    return SOW_OK;
}

/* ---- writing ---- */

enum { WRITE_BUFFER = 1 << 16 };

struct sow_writer {
    char *path, *temporary;
    int fd;
    size_t used;
    sow_status status;
    uint8_t buffer[WRITE_BUFFER];
};

sow_status sow_writer_open(const char *path, sow_writer **out) {
    sow_writer *writer = sow_reallocate(NULL, sizeof *writer);
    if (!writer) return SOW_E_MEMORY;
    size_t length = strlen(path);
    writer->path = sow_reallocate(NULL, 2 * length + 16);
    if (!writer->path) {
        sow_release(writer);
        return SOW_E_MEMORY;
    }
    memcpy(writer->path, path, length + 1);
    writer->temporary = writer->path + length + 1;
    snprintf(writer->temporary, length + 15, "%s.part-XXXXXX", path);
    writer->used = 0;
    writer->status = SOW_OK;
    writer->fd = sow_fault(SOW_FAULT_WRITE) ? -1 : mkostemp(writer->temporary, O_CLOEXEC);
    if (writer->fd < 0) {
        sow_status status = system_failure(path, "cannot be written");
        sow_release(writer->path);
        sow_release(writer);
        return status == SOW_E_NOT_FOUND ? sow_fail(SOW_E_IO, "%s: cannot be written: its folder does not exist", path) : status;
    }
    *out = writer;
    return SOW_OK;
}

static sow_status write_all(sow_writer *writer, const uint8_t *data, size_t size) {
    while (size > 0) {
        ssize_t put = sow_fault(SOW_FAULT_WRITE) ? -1 : write(writer->fd, data, size);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return writer->status = system_failure(writer->path, "cannot be written");
        data += put;
        size -= (size_t)put;
    }
    return SOW_OK;
}

static sow_status flush(sow_writer *writer) {
    size_t size = writer->used;
    writer->used = 0;
    return write_all(writer, writer->buffer, size);
}

sow_status sow_writer_put(sow_writer *writer, const void *data, size_t size) {
    SOW_TRY(writer->status);
    if (size > WRITE_BUFFER - writer->used) SOW_TRY(flush(writer));
    if (size > WRITE_BUFFER) return write_all(writer, data, size);
    memcpy(writer->buffer + writer->used, data, size);
    writer->used += size;
    return SOW_OK;
}

sow_status sow_writer_printf(sow_writer *writer, const char *format, ...) {
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text) return writer->status = sow_fail(SOW_E_RANGE, "%s: a formatted line is too long", writer->path);
    return sow_writer_put(writer, text, (size_t)length);
}

/* After a rename only an fsync of the folder makes the new name survive a power failure. */
static sow_status sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) + (slash == path) : 1;
    char *folder = sow_reallocate(NULL, length + 1);
    if (!folder) return SOW_E_MEMORY;
    memcpy(folder, slash ? path : ".", length);
    folder[length] = 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || sow_fault(SOW_FAULT_FSYNC) || (fsync(fd) != 0 && errno != EINVAL);
    sow_status status = failed ? system_failure(folder, "cannot be synchronised") : SOW_OK;
    if (fd >= 0) close(fd);
    sow_release(folder);
    return status;
}

sow_status sow_writer_commit(sow_writer *writer) {
    mode_t mask = umask(0);
    umask(mask);
    if (writer->status == SOW_OK) writer->status = flush(writer);
    if (writer->status == SOW_OK && (sow_fault(SOW_FAULT_FSYNC) || fsync(writer->fd) != 0)) writer->status = system_failure(writer->path, "cannot be synchronised");
    if (writer->status == SOW_OK && fchmod(writer->fd, 0666 & ~mask) != 0) writer->status = system_failure(writer->path, "cannot get its permissions");
    if (writer->status == SOW_OK && (sow_fault(SOW_FAULT_RENAME) || rename(writer->temporary, writer->path) != 0)) writer->status = system_failure(writer->path, "cannot be renamed into place");
    sow_status status = writer->status;
    if (status != SOW_OK) {
        sow_writer_abort(writer);
        return status;
    }
    close(writer->fd);
    status = sync_folder(writer->path);
    sow_release(writer->path);
    sow_release(writer);
    return status;
}

void sow_writer_abort(sow_writer *writer) {
    if (!writer) return;
    close(writer->fd);
    unlink(writer->temporary);
    sow_release(writer->path);
    sow_release(writer);
}

sow_status sow_write_file(const char *path, const void *data, size_t size) {
    sow_writer *writer;
    SOW_TRY(sow_writer_open(path, &writer));
    sow_writer_put(writer, data, size);
    return sow_writer_commit(writer);
}

/* ---- folders and paths ---- */

sow_status sow_make_folder(const char *path) {
    size_t length = strlen(path);
    char *part = sow_reallocate(NULL, length + 1);
    if (!part) return SOW_E_MEMORY;
    memcpy(part, path, length + 1);
    sow_status status = SOW_OK;
    for (size_t i = 1; i <= length && status == SOW_OK; i++) {
        if (part[i] != '/' && part[i] != 0) continue;
        char kept = part[i];
        part[i] = 0;
        if ((sow_fault(SOW_FAULT_WRITE) || mkdir(part, 0777) != 0) && (errno != EEXIST || !sow_is_folder(part))) {
            if (errno == EEXIST) status = sow_fail(SOW_E_EXISTS, "%s: is a file, expected a folder", part);
            else status = system_failure(part, "cannot be made"), status = SOW_E_IO;
        }
        part[i] = kept;
    }
    sow_release(part);
    return status;
}

sow_status sow_path_absolute(sow_arena *arena, const char *path, const char **out) {
    char *resolved = realpath(path, NULL);
    if (!resolved) return sow_fail(SOW_E_IO, "%s: cannot be resolved", path);
    *out = sow_arena_copy(arena, resolved);
    free(resolved);
    return *out ? SOW_OK : SOW_E_MEMORY;
}

bool sow_path_exists(const char *path) {
    struct stat about;
    return stat(path, &about) == 0;
}

bool sow_is_folder(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

char *sow_path_join(sow_arena *arena, const char *folder, const char *name) {
    size_t length = strlen(folder);
    if (name[0] == '/' || length == 0) return sow_arena_copy(arena, name);
    return sow_arena_format(arena, folder[length - 1] == '/' ? "%s%s" : "%s/%s", folder, name);
}

const char *sow_path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

sow_status sow_list_folder(sow_arena *arena, const char *path, int64_t limit, char ***names, int64_t *count) {
    DIR *folder = opendir(path);
    if (!folder) return system_failure(path, "cannot be listed");
    sow_status status = SOW_OK;
    int64_t n = 0, capacity = 64;
    char **list = sow_arena_take(arena, (size_t)capacity, sizeof *list);
    if (!list) status = SOW_E_MEMORY;
    for (struct dirent *entry; status == SOW_OK && (entry = readdir(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (n == limit) {
            status = sow_fail(SOW_E_RANGE, "%s: holds more than %lld names", path, (long long)limit);
            break;
        }
        if (n == capacity) {
            char **larger = sow_arena_take(arena, (size_t)capacity * 2, sizeof *list);
            if (larger) memcpy(larger, list, (size_t)n * sizeof *list), list = larger, capacity *= 2;
            else status = SOW_E_MEMORY;
        }
        if (status == SOW_OK && !(list[n++] = sow_arena_copy(arena, entry->d_name))) status = SOW_E_MEMORY;
    }
    closedir(folder);
    SOW_TRY(status);
    qsort(list, (size_t)n, sizeof *list, by_name);
    *names = list;
    *count = n;
    return SOW_OK;
}

/* ---- SHA-256 ---- */

static void hexadecimal(const unsigned char digest[32], char hex[65]) {
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

void sow_sha256(const void *data, size_t size, char hex[65]) {
    unsigned char digest[32] = {0};
    EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL);
    hexadecimal(digest, hex);
}

/* In pieces, each forgotten once it was read: a file may be larger than what should be resident. */
sow_status sow_sha256_file(const char *path, char hex[65]) {
    static const size_t piece = 16 << 20;
    unsigned char digest[32] = {0};
    sow_map map;
    SOW_TRY(sow_map_open(path, &map));
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    for (size_t at = 0; done && at < map.size; at += piece) {
        size_t size = map.size - at < piece ? map.size - at : piece;
        done = EVP_DigestUpdate(context, map.data + at, size);
        madvise((void *)(uintptr_t)(map.data + at), size, MADV_DONTNEED);
    }
    done = done && EVP_DigestFinal_ex(context, digest, NULL);
    EVP_MD_CTX_free(context);
    sow_map_close(&map);
    if (!done) return sow_fail(SOW_E_MEMORY, "%s: out of memory for its SHA-256", path);
    hexadecimal(digest, hex);
    return SOW_OK;
}
