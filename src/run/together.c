/* Ranks of mpirun that do the same work together: each computes a part of every sum, and all get all parts. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/link.h"
#include "sow/log.h"
#include "sow/memory.h"
#include "sow/run.h"

enum { SPINS = 2000, NAP_MICROSECONDS = 50 };

/* A rank may be one exchange ahead of another, never two: it waits for a word of every other, who has no part says so. */
typedef struct early {
    unsigned char *bytes; /* NULL: nothing came early */
    size_t size;
} early;

static struct {
    const sow_link *link; /* NULL: this process stands alone */
    int rank, count;
    uint64_t number; /* of the exchange, so that ranks that do other work are found out */
    early *early;    /* [count] */
} together = {.count = 1};

sow_status sow_together_join(int *rank, int *count) {
    if (!together.link && !sow_is_worker_rank() && sow_rank_count() < 2) return *rank = 0, *count = 1, SOW_OK;
    if (!together.link) {
        SOW_TRY(sow_link_join(&together.link));
        together.rank = sow_rank_number();
        together.count = sow_rank_count();
        size_t size = (size_t)together.count * sizeof *together.early;
        if (!(together.early = sow_reallocate(NULL, size))) return SOW_E_MEMORY;
        memset(together.early, 0, size);
    }
    *rank = together.rank;
    *count = together.count;
    return SOW_OK;
}

static sow_status differs(int from) {
    return sow_fail(SOW_E_IO,
                    "rank %d computes something else than rank %d: all need the same sow, file, options and kind of "
                    "processor",
                    from, together.rank);
}

/* Sends own part, with the exchange's number in front. */
static sow_status send_part(const void *mine, size_t bytes) {
    unsigned char *packet = sow_reallocate(NULL, sizeof together.number + bytes);
    bool good = packet != NULL;
    if (!packet) return SOW_E_MEMORY;
    memcpy(packet, &together.number, sizeof together.number);
    if (bytes > 0) memcpy(packet + sizeof together.number, mine, bytes);
    for (int r = 0; good && r < together.count; r++)
        if (r != together.rank) good = together.link->send(r, packet, sizeof together.number + bytes);
    sow_release(packet);
    return good ? SOW_OK : sow_fail(SOW_E_IO, "rank %d cannot reach the others", together.rank);
}

/* The number of a message's exchange; 0, which is none: too short. */
static uint64_t number_of(const unsigned char *bytes, size_t size) {
    uint64_t number = 0;
    if (size >= sizeof number) memcpy(&number, bytes, sizeof number);
    return number;
}

/* Takes one message, if there is one: a part of this exchange, or of the next. Ranks from `senders` on have empty ones. */
static sow_status hear(int senders, size_t bytes, unsigned char *all, bool *has, bool *heard) {
    const unsigned char *message;
    size_t size;
    int from;
    *heard = together.link->receive(&from, &message, &size);
    if (!*heard) return SOW_OK;
    uint64_t number = number_of(message, size);
    size_t part = from < senders ? bytes : 0;
    if (number == together.number && size == sizeof number + part && !has[from]) {
        memcpy(all + (size_t)from * bytes, message + sizeof number, part);
        has[from] = true;
        return SOW_OK;
    }
    early *kept = &together.early[from];
    if (number != together.number + 1 || kept->bytes) return differs(from);
    if (!(kept->bytes = sow_reallocate(NULL, size))) return SOW_E_MEMORY;
    memcpy(kept->bytes, message, size);
    kept->size = size;
    return SOW_OK;
}

/* Parts that came during the exchange before. */
static sow_status take_early(int senders, size_t bytes, unsigned char *all, bool *has) {
    for (int r = 0; r < together.count; r++) {
        early *e = &together.early[r];
        if (!e->bytes) continue;
        size_t part = r < senders ? bytes : 0;
        bool good = number_of(e->bytes, e->size) == together.number && e->size == sizeof together.number + part;
        if (good) memcpy(all + (size_t)r * bytes, e->bytes + sizeof together.number, part), has[r] = true;
        sow_release(e->bytes);
        *e = (early){0};
        if (!good) return differs(r);
    }
    return SOW_OK;
}

static sow_status await_parts(int senders, size_t bytes, unsigned char *all, bool *has) {
    SOW_TRY(take_early(senders, bytes, all, has));
    for (int r = 0, idle = 0; r < together.count;) {
        bool heard;
        if (has[r]) {
            r++;
            continue;
        }
        SOW_TRY(sow_check_interrupt());
        SOW_TRY(hear(senders, bytes, all, has, &heard));
        if (heard) idle = 0;
        else if (++idle < SPINS) sched_yield();
        else usleep(NAP_MICROSECONDS);
    }
    return SOW_OK;
}

sow_status sow_together_exchange(void *unused, int senders, const void *mine, size_t bytes, void *all) {
    (void)unused;
    bool *has = sow_reallocate(NULL, (size_t)together.count * sizeof *has);
    if (!has) return SOW_E_MEMORY;
    memset(has, 0, (size_t)together.count * sizeof *has);
    together.number++;
    bool sends = together.rank < senders;
    if (sends) memcpy((unsigned char *)all + (size_t)together.rank * bytes, mine, bytes);
    has[together.rank] = true;
    sow_status status = send_part(mine, sends ? bytes : 0);
    if (status == SOW_OK) status = await_parts(senders, bytes, all, has);
    sow_release(has);
    return status;
}

void sow_together_end(int exit_status) {
    if (!together.link) return;
    if (exit_status != 0) together.link->abort(exit_status); /* the others may wait for a part of ours */
    while (together.link->pending() > 0) usleep(NAP_MICROSECONDS);
    together.link->close();
}
