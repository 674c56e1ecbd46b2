/* Where known data sets may lie: $SOW_DATA, the cache of `sow fetch`, the system's package folders. */
#include <stdlib.h>
#include <string.h>

#include "data/locate.h"
#include "sow/fetch.h"
#include "sow/file.h"

sow_status sow_cache_folder(sow_arena *arena, char **folder) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/') *folder = sow_path_join(arena, cache, "sow");
    else if (home && home[0] == '/') *folder = sow_path_join(arena, home, ".cache/sow");
    else return sow_fail(SOW_E_NOT_FOUND, "no cache folder: set XDG_CACHE_HOME or HOME to an absolute path");
    return *folder ? SOW_OK : SOW_E_MEMORY;
}

/* Sets *found when `root`/`name` is a folder. */
static sow_status try_root(sow_arena *arena, const char *root, const char *name, char **found) {
    char *path = sow_path_join(arena, root, name);
    if (!path) return SOW_E_MEMORY;
    if (sow_is_folder(path)) *found = path;
    return SOW_OK;
}

/* Sets *found to the folder of the system's package that carries this name, when its file is there. */
static sow_status try_package(sow_arena *arena, const char *name, char **found) {
    const sow_carrier *c = sow_carriers();
    while (c->name && strcmp(c->name, name) != 0) c++;
    if (!c->name || c->client != SOW_CLIENT_APT || !c->inside) return SOW_OK;
    char *path = sow_path_join(arena, c->inside, c->end);
    if (!path) return SOW_E_MEMORY;
    if (sow_path_exists(path) && !(*found = sow_arena_copy(arena, c->inside))) return SOW_E_MEMORY;
    return SOW_OK;
}

sow_status sow_data_locate(sow_arena *arena, const char *name, char **folder) {
    const char *data = getenv("SOW_DATA");
    char *cache = NULL;
    *folder = NULL;
    if (name[0] == 0 || strchr(name, '/') || name[0] == '.') return sow_fail(SOW_E_NOT_FOUND, "%s: not the name of a data set", name);
    if (data && data[0]) SOW_TRY(try_root(arena, data, name, folder));
    if (!*folder && sow_cache_folder(arena, &cache) == SOW_OK) SOW_TRY(try_root(arena, cache, name, folder));
    if (!*folder) SOW_TRY(try_root(arena, "/usr/share/datasets", name, folder));
    if (!*folder) SOW_TRY(try_package(arena, name, folder));
    if (*folder) return SOW_OK;
    for (const sow_carrier *c = sow_carriers(); c->name; c++) {
        if (strcmp(c->name, name) != 0) continue;
        if (c->client == SOW_CLIENT_APT)
            return sow_fail(SOW_E_NOT_FOUND, "%s is not on this machine: install the Debian package %s (\"sow fetch %s\")", name, c->package, name);
        return sow_fail(SOW_E_NOT_FOUND, "%s is not on this machine: run \"sow fetch %s\", or put its files into a folder %s in $SOW_DATA", name, name, name);
    }
    return sow_fail(SOW_E_NOT_FOUND, "%s: no such file or folder, and no known data set of that name", name);
}
