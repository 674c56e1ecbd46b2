/* This process among the ranks of mpirun: whether it is one, the plug-in, and messages as bytes. */
#include "run/link.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/trainer.h"
#include "sow/file.h"
#include "sow/memory.h"
#include "sow/run.h"

/* ---- messages ---- */

static void put(sow_packet *packet, const void *bytes, size_t size) {
    if (packet->used + size > packet->capacity && !packet->short_of_memory) {
        size_t wanted = 2 * (packet->used + size) + 64;
        unsigned char *larger = sow_reallocate(packet->bytes, wanted);
        if (larger) packet->bytes = larger, packet->capacity = wanted;
        else packet->short_of_memory = true;
    }
    if (packet->short_of_memory) return;
    memcpy(packet->bytes + packet->used, bytes, size);
    packet->used += size;
}

void sow_packet_begin(sow_packet *packet, sow_message_kind kind) {
    packet->used = 0;
    packet->short_of_memory = false;
    sow_packet_byte(packet, (unsigned char)kind);
}

void sow_packet_byte(sow_packet *packet, unsigned char value) {
    put(packet, &value, 1);
}

void sow_packet_int(sow_packet *packet, int64_t value) {
    put(packet, &value, sizeof value);
}

void sow_packet_real(sow_packet *packet, double value) {
    put(packet, &value, sizeof value);
}

void sow_packet_text(sow_packet *packet, const char *text) {
    put(packet, text, strlen(text) + 1);
}

void sow_packet_free(sow_packet *packet) {
    sow_release(packet->bytes);
    *packet = (sow_packet){0};
}

static void take(sow_reading *reading, void *value, size_t size) {
    memset(value, 0, size);
    if ((size_t)(reading->end - reading->at) < size) reading->bad = true;
    if (reading->bad) return;
    memcpy(value, reading->at, size);
    reading->at += size;
}

unsigned char sow_read_byte(sow_reading *reading) {
    unsigned char value;
    take(reading, &value, sizeof value);
    return value;
}

int64_t sow_read_int(sow_reading *reading) {
    int64_t value;
    take(reading, &value, sizeof value);
    return value;
}

double sow_read_real(sow_reading *reading) {
    double value;
    take(reading, &value, sizeof value);
    return value;
}

const char *sow_read_text(sow_reading *reading) {
    const unsigned char *end = reading->at < reading->end ? memchr(reading->at, 0, (size_t)(reading->end - reading->at))
                                                          : NULL;
    if (!end) reading->bad = true;
    if (reading->bad) return "";
    const char *text = (const char *)reading->at;
    reading->at = end + 1;
    return text;
}

/* ---- this process among the ranks ---- */

static struct {
    bool taking_part; /* it has asked, and is one of several */
    int number, count, on_machine;
    const sow_link *link;
} self = {.count = 1};

static int environment_number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

/* A process that a rank has started inherits its environment, but is none: the rank leaves its process id there. */
static bool is_child_of_a_rank(void) {
    char own[32];
    const char *rank = getenv("SOW_RANK_PROCESS");
    snprintf(own, sizeof own, "%d", (int)getpid());
    if (rank) return strcmp(rank, own) != 0;
    setenv("SOW_RANK_PROCESS", own, 1);
    return false;
}

bool sow_is_worker_rank(void) {
    int count = environment_number("OMPI_COMM_WORLD_SIZE", 1);
    if (self.taking_part) return self.number > 0;
    if (count < 2 || is_child_of_a_rank()) return false;
    self.taking_part = true;
    self.count = count;
    self.number = environment_number("OMPI_COMM_WORLD_RANK", 0);
    self.on_machine = environment_number("OMPI_COMM_WORLD_LOCAL_RANK", 0);
    return self.number > 0;
}

int sow_rank_count(void) {
    return self.count;
}

int sow_rank_number(void) {
    return self.number;
}

int sow_rank_on_machine(void) {
    return self.on_machine;
}

double sow_rank_patience(void) {
    const char *text = getenv("SOW_RANK_SILENT_SECONDS");
    double seconds = text ? strtod(text, NULL) : 0;
    return seconds > 0 ? seconds : 60;
}

static sow_status load(const sow_link **link) {
    sow_arena *arena;
    const char *path;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = sow_beside_program(arena, "sow-mpi.so", &path);
    void *library = status == SOW_OK && path ? dlopen(path, RTLD_NOW | RTLD_GLOBAL) : NULL;
    sow_link_getter *getter = NULL;
    if (library) *(void **)&getter = dlsym(library, SOW_LINK_SYMBOL);
    if (getter && getter()->version == SOW_LINK_VERSION) *link = getter();
    else if (status == SOW_OK)
        status = sow_fail(
            SOW_E_NOT_FOUND,
            "started by mpirun as one of %d ranks, but %s; install libopenmpi-dev and build again, or start "
            "it without mpirun",
            self.count,
            !path     ? "this sow was built without MPI"
            : library ? "sow-mpi.so is of another sow"
                      : dlerror());
    sow_arena_free(arena);
    return status;
}

sow_status sow_link_join(const sow_link **link) {
    if (!self.link) {
        const sow_link *loaded = NULL;
        SOW_TRY(load(&loaded));
        if (!loaded->open(&self.number, &self.count))
            return sow_fail(SOW_E_IO, "MPI cannot be started, though mpirun started this as one of %d ranks",
                            self.count);
        self.link = loaded;
    }
    *link = self.link;
    return SOW_OK;
}

bool sow_packet_send(const sow_packet *packet, int to) {
    return !packet->short_of_memory && self.link && self.link->send(to, packet->bytes, packet->used);
}
