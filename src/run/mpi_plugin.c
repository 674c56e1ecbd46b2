/* Messages between ranks by Open MPI: the plug-in sow-mpi.so, so that nothing else is linked with MPI. */
#include <mpi.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "run/link.h"

enum { TAG = 7 };

/* A message on its way. */
typedef struct outgoing {
    struct outgoing *next;
    MPI_Request request;
    size_t size;
    unsigned char bytes[];
} outgoing;

static MPI_Comm all = MPI_COMM_NULL;
static outgoing *on_their_way;
static size_t pending_bytes;
static unsigned char *incoming;
static int incoming_capacity;
/* The thread that says "alive" sends too; MPI is asked for calls from one thread at a time. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static bool link_open(int *rank, int *size) {
    int level;
    /* Containers forbid what this looks for, and Open MPI would complain with every message. */
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level) != MPI_SUCCESS) return false;
    if (level < MPI_THREAD_SERIALIZED || MPI_Comm_dup(MPI_COMM_WORLD, &all) != MPI_SUCCESS) return false;
    MPI_Comm_set_errhandler(all, MPI_ERRORS_RETURN); /* a rank that died is no reason to die */
    MPI_Comm_rank(all, rank);
    MPI_Comm_size(all, size);
    return true;
}

/* Frees what has arrived. */
static void collect(void) {
    for (outgoing **at = &on_their_way; *at;) {
        outgoing *message = *at;
        int arrived = 0;
        if (MPI_Test(&message->request, &arrived, MPI_STATUS_IGNORE) != MPI_SUCCESS) arrived = 1;
        if (!arrived) {
            at = &message->next;
            continue;
        }
        *at = message->next;
        pending_bytes -= message->size;
        free(message);
    }
}

static bool link_send(int to, const void *bytes, size_t size) {
    outgoing *message = size < 1u << 30 ? malloc(sizeof *message + size) : NULL;
    if (!message) return false;
    message->size = size;
    memcpy(message->bytes, bytes, size);
    pthread_mutex_lock(&turn);
    bool good = MPI_Isend(message->bytes, (int)size, MPI_BYTE, to, TAG, all, &message->request) == MPI_SUCCESS;
    if (good) {
        message->next = on_their_way;
        on_their_way = message;
        pending_bytes += size;
    } else free(message);
    collect();
    pthread_mutex_unlock(&turn);
    return good;
}

static bool receive(int *from, const unsigned char **bytes, size_t *size) {
    MPI_Status status;
    int there = 0, length;
    /* The first look may only fetch what the second one finds. */
    for (int look = 0; look < 2 && !there; look++)
        if (MPI_Iprobe(MPI_ANY_SOURCE, TAG, all, &there, &status) != MPI_SUCCESS) return false;
    if (!there) return false;
    MPI_Get_count(&status, MPI_BYTE, &length);
    if (length > incoming_capacity) {
        unsigned char *larger = realloc(incoming, (size_t)length);
        if (!larger) return false; /* later, maybe */
        incoming = larger;
        incoming_capacity = length;
    }
    if (MPI_Recv(incoming, length, MPI_BYTE, status.MPI_SOURCE, TAG, all, MPI_STATUS_IGNORE) != MPI_SUCCESS)
        return false;
    *from = status.MPI_SOURCE;
    *bytes = incoming;
    *size = (size_t)length;
    return true;
}

static bool link_receive(int *from, const unsigned char **bytes, size_t *size) {
    pthread_mutex_lock(&turn);
    bool there = receive(from, bytes, size);
    if (!there) collect();
    pthread_mutex_unlock(&turn);
    return there;
}

static size_t link_pending(void) {
    pthread_mutex_lock(&turn);
    collect();
    size_t bytes = pending_bytes;
    pthread_mutex_unlock(&turn);
    return bytes;
}

static void link_close(void) {
    MPI_Comm_free(&all);
    MPI_Finalize();
}

static void link_abort(int exit_status) {
    MPI_Abort(MPI_COMM_WORLD, exit_status);
}

const sow_link *sow_mpi_link(void);

const sow_link *sow_mpi_link(void) {
    static const sow_link link = {SOW_LINK_VERSION, link_open,  link_send, link_receive,
                                  link_pending,     link_close, link_abort};
    return &link;
}
