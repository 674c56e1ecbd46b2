/* Rank 0's view of the others: gives them cells and hears what becomes of these (PROVE.md, section 4). */
#include "run/ranks.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "run/link.h"
#include "run/loop.h"
#include "sow/log.h"
#include "sow/sow.h"

/* Another rank, as far as it is known. */
typedef struct peer {
    bool here, left, lost; /* has said hello; takes no more cells; was silent for too long */
    double heard;          /* when it last was not */
    int cores, on_machine;
    char host[64];
} peer;

/* The ranks are those of the process, over all its calls of sow_run_cells. */
static struct {
    const sow_link *link; /* NULL: there are none */
    peer *peers;          /* by rank; 0 is this one */
    int count;
    int64_t tickets; /* given so far */
    double listened; /* when we last did */
    sow_packet packet;
    pthread_t pulse;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool pulsing, ending;
} ranks = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* ---- joining ---- */

/* The loop may be away for minutes, in a callback that makes a start: this says that we are alive meanwhile. */
static void *say_alive(void *nothing) {
    const unsigned char ping = SOW_MESSAGE_PING;
    pthread_mutex_lock(&ranks.lock);
    while (!ranks.ending) {
        struct timespec until;
        double at = sow_seconds() + sow_rank_patience() / 12;
        until.tv_sec = (time_t)at;
        until.tv_nsec = (long)((at - floor(at)) * 1e9);
        pthread_cond_clockwait(&ranks.wake, &ranks.lock, CLOCK_MONOTONIC, &until);
        for (int r = 1; r < ranks.count && !ranks.ending; r++) ranks.link->send(r, &ping, 1);
    }
    pthread_mutex_unlock(&ranks.lock);
    return nothing;
}

static sow_status join(void) {
    const sow_link *link;
    if (ranks.link) return SOW_OK;
    SOW_TRY(sow_link_join(&link));
    ranks.count = sow_rank_count();
    ranks.peers = sow_reallocate(NULL, (size_t)ranks.count * sizeof *ranks.peers);
    if (!ranks.peers) return SOW_E_MEMORY;
    memset(ranks.peers, 0, (size_t)ranks.count * sizeof *ranks.peers);
    ranks.link = link;
    if (pthread_create(&ranks.pulse, NULL, say_alive, NULL) != 0)
        return sow_fail(SOW_E_IO, "a thread cannot be started");
    ranks.pulsing = true;
    return SOW_OK;
}

static sow_status add_slots(sow_loop *l, int rank) {
    int slots = sow_loop_slots(l, ranks.peers[rank].cores);
    for (int s = 0; s < slots; s++) SOW_TRY(sow_loop_add_slot(l, rank));
    return SOW_OK;
}

sow_status sow_ranks_join(sow_loop *l) {
    if (sow_rank_count() < 2) return SOW_OK;
    SOW_TRY(join());
    for (int r = 1; r < ranks.count; r++) {
        ranks.peers[r].heard = sow_seconds();
        if (ranks.peers[r].here) SOW_TRY(add_slots(l, r));
    }
    return SOW_OK;
}

bool sow_ranks_ready(const sow_slot *slot) {
    return slot->rank == 0 || (!ranks.peers[slot->rank].left && !ranks.peers[slot->rank].lost);
}

/* ---- giving cells ---- */

/* Slots of a rank are numbered among themselves, ranks of one machine one after the other. */
static const char *device_of(const sow_loop *l, const sow_slot *slot) {
    int first = 0, index = 0, slots = sow_loop_slots(l, ranks.peers[slot->rank].cores);
    if (!l->runner->devices || !l->runner->devices[0]) return "";
    while (l->slots[first]->rank != slot->rank) first++;
    while (l->slots[first + index] != slot) index++;
    return l->runner->devices[(ranks.peers[slot->rank].on_machine * slots + index) % l->device_count];
}

sow_status sow_ranks_start(sow_loop *l, sow_slot *slot, const sow_cell *cell, const char *command) {
    sow_packet *packet = &ranks.packet;
    slot->ticket = ++ranks.tickets;
    slot->limits = &l->limits;
    slot->reader.steps = -1;
    slot->started = sow_seconds();
    snprintf(slot->who, sizeof slot->who, "%.100s, seed %llu, arm %d", cell->stage, (unsigned long long)cell->seed,
             cell->arm);
    sow_packet_begin(packet, SOW_MESSAGE_ASSIGN);
    sow_packet_int(packet, slot->ticket);
    sow_packet_real(packet, l->limits.start_seconds);
    sow_packet_real(packet, l->limits.silent_seconds);
    sow_packet_real(packet, l->limits.cell_seconds);
    sow_packet_real(packet, l->limits.grace_seconds);
    sow_packet_int(packet, l->limits.memory_bytes);
    sow_packet_int(packet, l->threads);
    sow_packet_int(packet, cell->arm);
    sow_packet_int(packet, (int64_t)cell->seed);
    sow_packet_text(packet, cell->stage);
    sow_packet_text(packet, cell->folder);
    sow_packet_text(packet, command);
    sow_packet_text(packet, device_of(l, slot));
    if (packet->short_of_memory) return SOW_E_MEMORY;
    if (!sow_packet_send(packet, slot->rank)) ranks.peers[slot->rank].lost = true; /* seen when we listen */
    return SOW_OK;
}

void sow_ranks_stop(const sow_slot *slot) {
    sow_packet_begin(&ranks.packet, SOW_MESSAGE_STOP);
    sow_packet_int(&ranks.packet, slot->ticket);
    sow_packet_send(&ranks.packet, slot->rank);
}

/* ---- hearing of them ---- */

static sow_status hello(sow_loop *l, int rank, sow_reading *reading) {
    peer *p = &ranks.peers[rank];
    const char *version = sow_read_text(reading);
    snprintf(p->host, sizeof p->host, "%s", sow_read_text(reading));
    p->cores = (int)sow_read_int(reading);
    p->on_machine = (int)sow_read_int(reading);
    if (reading->bad || strcmp(version, SOW_VERSION))
        return sow_fail(SOW_E_ARGUMENT, "rank %d on %s runs sow %.20s, expected %s as here", rank, p->host, version,
                        SOW_VERSION);
    p->here = true;
    return add_slots(l, rank);
}

static sow_status lines(sow_slot *slot, sow_reading *reading) {
    while (reading->at < reading->end && !reading->bad && slot->end == SOW_END_NONE) {
        bool number = sow_read_byte(reading) == 'R';
        sow_record record = {.step = sow_read_int(reading)};
        if (number) {
            record.value = sow_read_real(reading);
            record.metric = sow_read_text(reading);
            SOW_TRY(slot->record(slot->owner, slot, &record));
            continue;
        }
        slot->reader.steps = record.step;
        slot->reader.lines++;
        if (slot->enough(slot->owner, slot, record.step)) sow_slot_stop(slot, SOW_END_ENOUGH, "went far enough");
    }
    return SOW_OK;
}

/* The first reason counts: what we stopped stays stopped, however it ended there. */
static sow_status done(sow_slot *slot, sow_reading *reading) {
    sow_status status = (sow_status)sow_read_int(reading);
    int end = (int)sow_read_int(reading), code = (int)sow_read_int(reading);
    int64_t steps = sow_read_int(reading);
    const char *reason = sow_read_text(reading), *last = sow_read_text(reading);
    slot->over = true;
    slot->last_lines = sow_reallocate(NULL, strlen(last) + 1);
    if (!slot->last_lines) return SOW_E_MEMORY;
    strcpy(slot->last_lines, last);
    if (status != SOW_OK || reading->bad || end <= SOW_END_NONE || end > SOW_END_LOST)
        return sow_fail(status != SOW_OK ? status : SOW_E_FORMAT, "rank %d on %s: %s", slot->rank,
                        ranks.peers[slot->rank].host, *reason ? reason : "a message that is none of ours");
    if (slot->end != SOW_END_NONE) return SOW_OK;
    slot->end = (sow_end)end;
    slot->code = code;
    slot->reader.steps = steps; /* a line that ended it has no end of its own */
    snprintf(slot->reason, sizeof slot->reason, "%s", reason);
    return SOW_OK;
}

/* NULL: a cell that we took for lost. */
static sow_slot *slot_of(const sow_loop *l, int rank, int64_t ticket) {
    for (int s = l->own_slots; s < l->slot_count; s++)
        if (l->slots[s]->rank == rank && l->slots[s]->cell >= 0 && l->slots[s]->ticket == ticket) return l->slots[s];
    return NULL;
}

static sow_status take_message(sow_loop *l, int rank, sow_reading *reading) {
    sow_message_kind kind = (sow_message_kind)sow_read_byte(reading);
    peer *p = &ranks.peers[rank];
    p->heard = sow_seconds();
    p->lost = false; /* it has stopped, by itself, what it was given */
    if (kind == SOW_MESSAGE_HELLO) return hello(l, rank, reading);
    if (kind == SOW_MESSAGE_BYE) p->left = true;
    if (kind != SOW_MESSAGE_LINES && kind != SOW_MESSAGE_DONE) return SOW_OK;
    sow_slot *slot = slot_of(l, rank, sow_read_int(reading));
    if (!slot) return SOW_OK;
    return kind == SOW_MESSAGE_LINES ? lines(slot, reading) : done(slot, reading);
}

static void lose_cells(const sow_loop *l, int rank) {
    for (int s = l->own_slots; s < l->slot_count; s++) {
        sow_slot *slot = l->slots[s];
        if (slot->rank != rank || slot->cell < 0 || slot->over) continue;
        slot->end = SOW_END_LOST;
        slot->over = true;
        snprintf(slot->reason, sizeof slot->reason, "rank %d on %s was lost", rank, ranks.peers[rank].host);
    }
}

sow_status sow_ranks_hear(sow_loop *l) {
    const unsigned char *bytes;
    size_t size;
    int rank;
    if (!ranks.link) return SOW_OK;
    bool away = sow_seconds() - ranks.listened > sow_rank_patience() / 4; /* in a callback that took its time */
    while (ranks.link->receive(&rank, &bytes, &size))
        if (rank > 0 && rank < ranks.count) SOW_TRY(take_message(l, rank, &(sow_reading){bytes, bytes + size, false}));
    double now = ranks.listened = sow_seconds();
    for (int r = 1; r < ranks.count; r++) {
        peer *p = &ranks.peers[r];
        if (away) p->heard = now; /* what they said meanwhile may still be on its way */
        bool silent = p->here && now - p->heard > sow_rank_patience();
        if (silent && !p->lost && !p->left)
            sow_warn("rank %d on %s is silent: its cells are given to others", r, p->host);
        if (silent) p->lost = true;
        if (p->lost) lose_cells(l, r);
    }
    return SOW_OK;
}

/* ---- the end ---- */

/* Until all have said good-bye, so that leaving together does not wait for one that never comes. */
static bool await_byes(void) {
    const unsigned char *bytes;
    size_t size;
    int rank, waiting = ranks.count - 1;
    for (int r = 1; r < ranks.count; r++) waiting -= ranks.peers[r].lost;
    double until = sow_seconds() + sow_rank_patience();
    while (waiting > 0 && sow_seconds() < until) {
        if (!ranks.link->receive(&rank, &bytes, &size)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        else if (size == 1 && bytes[0] == SOW_MESSAGE_BYE && !ranks.peers[rank].left) {
            ranks.peers[rank].left = true;
            waiting--;
        }
    }
    for (int r = 1; r < ranks.count; r++)
        if (!ranks.peers[r].left) return false;
    return true;
}

void sow_rank_end(int exit_status) {
    if (sow_rank_count() < 2 || sow_is_worker_rank() || join() != SOW_OK) return;
    pthread_mutex_lock(&ranks.lock);
    ranks.ending = true;
    pthread_cond_signal(&ranks.wake);
    pthread_mutex_unlock(&ranks.lock);
    if (ranks.pulsing) pthread_join(ranks.pulse, NULL);
    sow_packet_begin(&ranks.packet, SOW_MESSAGE_QUIT);
    sow_packet_int(&ranks.packet, exit_status);
    for (int r = 1; r < ranks.count; r++) {
        ranks.peers[r].left = false;
        sow_packet_send(&ranks.packet, r);
    }
    if (await_byes()) ranks.link->close();
    else ranks.link->abort(exit_status);
}
