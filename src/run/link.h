/* How ranks talk to each other: what the library expects of its plug-in for MPI, and messages as bytes. */
#ifndef SOW_RUN_LINK_H
#define SOW_RUN_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sow/status.h"

/* ---- the plug-in (mpi_plugin.c, sow-mpi.so): it alone is linked with MPI ---- */

enum { SOW_LINK_VERSION = 1 };

typedef struct sow_link {
    int version;
    /* Joins the others; blocks until all have come. False: MPI refuses. */
    bool (*open)(int *rank, int *size);
    /* Copies the bytes and sends them meanwhile, in order. False: the other rank cannot be reached, or no memory.
     * Safe to call from two threads. */
    bool (*send)(int to, const void *bytes, size_t size);
    /* The next message, if there is one; *bytes is valid until the next call. */
    bool (*receive)(int *from, const unsigned char **bytes, size_t *size);
    /* Bytes that are still on their way. */
    size_t (*pending)(void);
    /* Leaves together with all others. */
    void (*close)(void);
    /* Ends all ranks at once with this exit status. */
    void (*abort)(int exit_status);
} sow_link;

/* The plug-in's one symbol. */
typedef const sow_link *sow_link_getter(void);
#define SOW_LINK_SYMBOL "sow_mpi_link"

/* ---- messages ---- */

typedef enum sow_message_kind {
    SOW_MESSAGE_HELLO,  /* to rank 0: text version, text host, i cores, i number of this rank on its host */
    SOW_MESSAGE_ASSIGN, /* to a worker: i ticket, r four limits, i memory, i threads, i arm, i seed, text stage, text
                           folder, text command, text device ("": as is) */
    SOW_MESSAGE_STOP,   /* to a worker: i ticket */
    SOW_MESSAGE_QUIT,   /* to a worker: i exit status */
    SOW_MESSAGE_LINES,  /* to rank 0: i ticket, then for each number 'R' i step, r value, text metric, and at the end of
                           each line 'L' i step */
    SOW_MESSAGE_DONE, /* to rank 0: i ticket, i status of ours, i end, i code, i steps, text reason, text last lines */
    SOW_MESSAGE_BYE,  /* to rank 0: takes no more cells */
    SOW_MESSAGE_PING  /* both ways */
} sow_message_kind;

/* A message while it is written, or read. Memory from sow_reallocate. */
typedef struct sow_packet {
    unsigned char *bytes;
    size_t used, capacity;
    bool short_of_memory;
} sow_packet;

void sow_packet_begin(sow_packet *packet, sow_message_kind kind);
void sow_packet_byte(sow_packet *packet, unsigned char value);
void sow_packet_int(sow_packet *packet, int64_t value);
void sow_packet_real(sow_packet *packet, double value);
void sow_packet_text(sow_packet *packet, const char *text);
void sow_packet_free(sow_packet *packet);

typedef struct sow_reading {
    const unsigned char *at, *end;
    bool bad; /* it ended too early, or a text is not terminated: all that is read from here on is 0 and "" */
} sow_reading;

unsigned char sow_read_byte(sow_reading *reading);
int64_t sow_read_int(sow_reading *reading);
double sow_read_real(sow_reading *reading);
const char *sow_read_text(sow_reading *reading); /* inside the message */

/* Sends a packet to another rank; false as sow_link.send. */
bool sow_packet_send(const sow_packet *packet, int to);

/* ---- this process among the ranks ---- */

/* 1 where it stands alone, or has not asked sow_is_worker_rank. */
int sow_rank_count(void);
/* From 0. */
int sow_rank_number(void);
/* Among the ranks of this machine. */
int sow_rank_on_machine(void);
/* Loads the plug-in and joins the others, once; the same answer from then on. SOW_E_NOT_FOUND: there is no plug-in (the
 * message names the package). */
sow_status sow_link_join(const sow_link **link);
/* Seconds after which a silent rank is given up: 60, or $SOW_RANK_SILENT_SECONDS. */
double sow_rank_patience(void);

#endif
