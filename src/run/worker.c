/* A worker rank: runs the cells that rank 0 gives it, and sends what they print. */
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "run/link.h"
#include "run/loop.h"
#include "sow/log.h"
#include "sow/sow.h"

enum { LINES_AT_ONCE = 32768, BACKLOG = 4 << 20 };
static const double wait_seconds = 0.002; /* between looks for messages: MPI has nothing to poll */

/* A cell at work. */
typedef struct work {
    sow_slot slot;
    int64_t ticket;
    sow_limits limits;
    sow_arena *arena;
    const char *folder;
    sow_packet lines;
} work;

typedef struct worker {
    const sow_link *link;
    sow_arena *arena;
    const char *supervisor;
    work **works;
    struct pollfd *watched;
    int count, capacity;
    double heard, told; /* of rank 0, to rank 0 */
    sow_packet packet;
    bool quit, leaving; /* rank 0 says so; this process is asked to end */
    int exit_status;
} worker;

/* ---- what goes to rank 0 ---- */

static void tell(worker *w, sow_packet *packet) {
    sow_packet_send(packet, 0);
    w->told = sow_seconds();
}

static void begin_lines(work *at) {
    sow_packet_begin(&at->lines, SOW_MESSAGE_LINES);
    sow_packet_int(&at->lines, at->ticket);
}

static void send_lines(work *at) {
    if (at->lines.used <= 1 + sizeof(int64_t)) return;
    sow_packet_send(&at->lines, 0);
    begin_lines(at);
}

static sow_status send_record(void *owner, sow_slot *slot, const sow_record *record) {
    (void)slot;
    sow_packet *lines = &((work *)owner)->lines;
    sow_packet_byte(lines, 'R');
    sow_packet_int(lines, record->step);
    sow_packet_real(lines, record->value);
    sow_packet_text(lines, record->metric);
    return lines->short_of_memory ? SOW_E_MEMORY : SOW_OK;
}

/* Whether it is enough is for rank 0 to say. */
static bool send_line(void *owner, sow_slot *slot, int64_t step) {
    (void)slot;
    work *at = owner;
    sow_packet_byte(&at->lines, 'L');
    sow_packet_int(&at->lines, step);
    if (at->lines.used > LINES_AT_ONCE) send_lines(at);
    return false;
}

static void send_done(worker *w, work *at, sow_status status, int code) {
    char *tail = (char *)(uintptr_t) "";
    char message[1024];
    snprintf(message, sizeof message, "%s", status == SOW_OK ? at->slot.reason : sow_message());
    send_lines(at);
    if (status == SOW_OK && sow_slot_tail(&at->slot, at->folder, at->arena, &tail) != SOW_OK)
        tail = (char *)(uintptr_t) "";
    sow_packet_begin(&w->packet, SOW_MESSAGE_DONE);
    sow_packet_int(&w->packet, at->ticket);
    sow_packet_int(&w->packet, status);
    sow_packet_int(&w->packet, at->slot.end);
    sow_packet_int(&w->packet, code);
    sow_packet_int(&w->packet, at->slot.reader.steps);
    sow_packet_text(&w->packet, message);
    sow_packet_text(&w->packet, tail);
    tell(w, &w->packet);
    sow_slot_close(&at->slot);
}

/* ---- cells ---- */

static sow_status new_work(worker *w, work **out) {
    for (int i = 0; i < w->count; i++)
        if (w->works[i]->slot.cell < 0) {
            *out = w->works[i];
            sow_arena_release((*out)->arena, (sow_mark){0});
            return SOW_OK;
        }
    if (w->count == w->capacity) return sow_fail(SOW_E_RANGE, "more than %d cells at once", w->capacity);
    work *at;
    SOW_TRY(SOW_NEW(w->arena, at, 1));
    SOW_TRY(sow_arena_new(&at->arena));
    sow_slot_new(&at->slot, 0);
    *out = w->works[w->count++] = at;
    return SOW_OK;
}

static sow_status start_work(worker *w, work *at, sow_reading *reading) {
    at->limits.start_seconds = sow_read_real(reading);
    at->limits.silent_seconds = sow_read_real(reading);
    at->limits.cell_seconds = sow_read_real(reading);
    at->limits.grace_seconds = sow_read_real(reading);
    at->limits.memory_bytes = sow_read_int(reading);
    int threads = (int)sow_read_int(reading);
    sow_cell cell = {0};
    cell.arm = (int)sow_read_int(reading);
    cell.seed = (uint64_t)sow_read_int(reading);
    cell.stage = sow_read_text(reading);
    at->folder = sow_arena_copy(at->arena, sow_read_text(reading));
    const char *command = sow_read_text(reading), *device = sow_read_text(reading);
    char **environment;
    if (reading->bad) return sow_fail(SOW_E_FORMAT, "a message that is none of ours");
    if (!at->folder) return SOW_E_MEMORY;
    cell.folder = at->folder;
    SOW_TRY(sow_trainer_environment(at->arena, threads, *device ? device : NULL, &environment));
    sow_launch launch = {
        .supervisor = w->supervisor, .command = command, .environment = environment, .limits = &at->limits, .lock = -1};
    at->slot.cell = 0;
    at->slot.owner = at;
    at->slot.record = send_record;
    at->slot.enough = send_line;
    if (access(cell.folder, W_OK) != 0)
        return sow_fail(SOW_E_IO, "%s: not there on this machine: the output folder must be one that all ranks share",
                        cell.folder);
    return sow_slot_start(&at->slot, &cell, &launch);
}

static sow_status assign(worker *w, sow_reading *reading) {
    work *at;
    SOW_TRY(new_work(w, &at));
    at->ticket = sow_read_int(reading);
    begin_lines(at);
    sow_status status = start_work(w, at, reading);
    if (status != SOW_OK) send_done(w, at, status, 0);
    return SOW_OK;
}

static void stop(worker *w, int64_t ticket) {
    for (int i = 0; i < w->count; i++)
        if (w->works[i]->slot.cell >= 0 && w->works[i]->ticket == ticket)
            sow_slot_stop(&w->works[i]->slot, SOW_END_STOPPED, "stopped");
}

/* Rank 0 has given these cells up, or soon will. */
static void stop_all(worker *w, const char *why) {
    for (int i = 0; i < w->count; i++)
        if (w->works[i]->slot.cell >= 0) sow_slot_stop(&w->works[i]->slot, SOW_END_LOST, "%s", why);
}

static void serve(worker *w, work *at) {
    int code = 0;
    sow_status status = sow_slot_serve(&at->slot);
    if (status == SOW_OK && !sow_slot_over(&at->slot)) {
        send_lines(at);
        return;
    }
    if (status == SOW_OK) status = sow_slot_conclude(&at->slot, &code);
    send_done(w, at, status, code);
}

/* ---- the loop ---- */

static sow_status take_message(worker *w, sow_reading *reading) {
    sow_message_kind kind = (sow_message_kind)sow_read_byte(reading);
    w->heard = sow_seconds();
    if (kind == SOW_MESSAGE_ASSIGN) return assign(w, reading);
    if (kind == SOW_MESSAGE_STOP) stop(w, sow_read_int(reading));
    if (kind == SOW_MESSAGE_QUIT) w->quit = true, w->exit_status = (int)sow_read_int(reading);
    return SOW_OK;
}

static sow_status hear(worker *w) {
    const unsigned char *bytes;
    size_t size;
    int from;
    while (w->link->receive(&from, &bytes, &size))
        if (from == 0) SOW_TRY(take_message(w, &(sow_reading){bytes, bytes + size, false}));
    return SOW_OK;
}

/* Alive, until we are silent too long ourselves; rank 0 waits a third longer before it gives our cells to others, so
 * that no cell runs twice at once. */
static sow_status keep_in_touch(worker *w) {
    double now = sow_seconds(), silence = now - w->heard, patience = sow_rank_patience();
    if (now - w->told > patience / 12) {
        sow_packet_begin(&w->packet, SOW_MESSAGE_PING);
        tell(w, &w->packet);
    }
    if (silence > patience * 0.75) stop_all(w, "rank 0 is silent");
    if (silence > patience * 10) return sow_fail(SOW_E_IO, "rank 0 has been silent for %.0f s", silence);
    if (!sow_interrupted()) return SOW_OK;
    stop_all(w, "interrupted"); /* also what was on its way here */
    if (w->leaving) return SOW_OK;
    w->leaving = true;
    sow_packet_begin(&w->packet, SOW_MESSAGE_BYE);
    tell(w, &w->packet);
    return SOW_OK;
}

static void wait_for_news(worker *w) {
    double patience = wait_seconds;
    for (int i = 0; i < w->count; i++) {
        double due = sow_slot_watch(&w->works[i]->slot, &w->watched[2 * i]);
        if (due < patience) patience = due;
    }
    poll(w->watched, (nfds_t)(2 * w->count), (int)ceil(patience * 1000));
}

static sow_status work_until_quit(worker *w) {
    while (!w->quit) {
        SOW_TRY(hear(w));
        SOW_TRY(keep_in_touch(w));
        wait_for_news(w);
        if (w->link->pending() > BACKLOG) continue; /* trainers wait until rank 0 has caught up */
        for (int i = 0; i < w->count; i++)
            if (w->works[i]->slot.cell >= 0) serve(w, w->works[i]);
    }
    return SOW_OK;
}

static sow_status greet(worker *w) {
    char host[64] = "";
    if (gethostname(host, sizeof host - 1) != 0) host[0] = 0;
    w->capacity = SOW_SLOT_LIMIT;
    SOW_TRY(SOW_NEW(w->arena, w->works, w->capacity));
    SOW_TRY(SOW_NEW(w->arena, w->watched, 2 * w->capacity));
    SOW_TRY(sow_supervisor_path(w->arena, &w->supervisor));
    w->heard = sow_seconds();
    sow_packet_begin(&w->packet, SOW_MESSAGE_HELLO);
    sow_packet_text(&w->packet, SOW_VERSION);
    sow_packet_text(&w->packet, host);
    sow_packet_int(&w->packet, sow_cores());
    sow_packet_int(&w->packet, sow_rank_on_machine());
    tell(w, &w->packet);
    return SOW_OK;
}

static void release(worker *w) {
    for (int i = 0; i < w->count; i++) {
        sow_slot_close(&w->works[i]->slot); /* kills what runs */
        sow_packet_free(&w->works[i]->lines);
        sow_arena_free(w->works[i]->arena);
    }
    sow_arena_free(w->arena);
}

sow_status sow_rank_serve(int *exit_status) {
    worker w = {.exit_status = 1};
    SOW_TRY(sow_link_join(&w.link));
    SOW_TRY(sow_arena_new(&w.arena));
    sow_status status = greet(&w);
    if (status == SOW_OK) status = work_until_quit(&w);
    release(&w);
    sow_packet_begin(&w.packet, SOW_MESSAGE_BYE);
    tell(&w, &w.packet);
    sow_packet_free(&w.packet);
    *exit_status = w.exit_status;
    if (status == SOW_OK) w.link->close();
    return status;
}
