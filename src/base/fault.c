/* Faults on order: counts events and lets the chosen one fail or kill the process. */
#include "base/fault.h"

#ifdef SOW_FAULTS
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[SOW_FAULT_KINDS] = {"alloc", "write", "rename", "fsync"};
static atomic_long counts[SOW_FAULT_KINDS], disk_events;
static long fail_at[SOW_FAULT_KINDS], kill_at;

static void write_counts(void) {
    const char *path = getenv("SOW_FAULT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    for (int kind = 0; kind < SOW_FAULT_KINDS; kind++) fprintf(file, "%s %ld\n", names[kind], atomic_load(&counts[kind]));
    fprintf(file, "kill %ld\n", atomic_load(&disk_events));
    fclose(file);
}

__attribute__((constructor)) static void read_order(void) {
    const char *order = getenv("SOW_FAULT");
    const char *colon = order ? strchr(order, ':') : NULL;
    if (getenv("SOW_FAULT_COUNT")) atexit(write_counts);
    if (!colon) return;
    size_t length = (size_t)(colon - order);
    long n = strtol(colon + 1, NULL, 10);
    if (length == 4 && !memcmp(order, "kill", 4)) kill_at = n;
    for (int kind = 0; kind < SOW_FAULT_KINDS; kind++)
        if (strlen(names[kind]) == length && !memcmp(order, names[kind], length)) fail_at[kind] = n;
}

bool sow_fault(sow_fault_kind kind) {
    long n = atomic_fetch_add(&counts[kind], 1) + 1;
    if (kind != SOW_FAULT_ALLOC && atomic_fetch_add(&disk_events, 1) + 1 == kill_at) kill(getpid(), SIGKILL);
    if (n != fail_at[kind]) return false;
    errno = kind == SOW_FAULT_ALLOC ? ENOMEM : ENOSPC;
    return true;
}
#endif
