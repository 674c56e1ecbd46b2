/* A cell while it runs. */
#include "run/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "run/ranks.h"
#include "sow/file.h"
#include "sow/log.h"

enum { READ_AT_ONCE = 65536, READS = 4, LOG_LIMIT = 16 << 20, TAIL = 2048, TAIL_LINES = 12 };
static const double drain_seconds = 1; /* a process that fled the supervisor may hold the pipe: no longer than this */

const char *sow_end_name(sow_end end) {
    static const char *const names[] = {"done",       "exit",        "signal",    "done",    "diverged", "contract",
                                        "start time", "silent time", "cell time", "stopped", "killed",   "lost"};
    return names[end];
}

/* ---- start ---- */

/* The log's lock is the cell's: a trainer that a killed rank has left holds it until its supervisor has ended it. */
static sow_status take_folder(int log, const char *path) {
    double until = sow_seconds() + 10;
    while (flock(log, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) return SOW_OK; /* a file system without locks */
        if (sow_seconds() > until)
            return sow_fail(SOW_E_BUSY, "%s: a trainer of an earlier attempt is still at work here", path);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return SOW_OK;
}

static sow_status open_log(sow_slot *slot, const sow_cell *cell) {
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/log", cell->folder);
    if (length < 0 || length >= (int)sizeof path)
        return sow_fail(SOW_E_RANGE, "%s: the path is too long", cell->folder);
    slot->log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (slot->log < 0) return sow_fail(SOW_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
    SOW_TRY(take_folder(slot->log, path));
    off_t end = lseek(slot->log, 0, SEEK_END);
    slot->log_start = end > 0 ? end : 0;
    return SOW_OK;
}

static sow_status take_record(void *user, const sow_record *record) {
    sow_slot *slot = user;
    return slot->record(slot->owner, slot, record);
}

static bool take_line(void *user, int64_t step) {
    sow_slot *slot = user;
    if (!slot->enough(slot->owner, slot, step)) return false;
    sow_slot_stop(slot, SOW_END_ENOUGH, "went far enough");
    return true;
}

/* Lines that are no records go where standard error goes, up to a limit. */
static void take_log(void *user, const char *text, size_t size) {
    sow_slot *slot = user;
    if (slot->log_size > LOG_LIMIT) return;
    slot->log_size += (int64_t)size;
    if (slot->log_size > LOG_LIMIT) text = "[more lines of output are left out]\n", size = strlen(text);
    while (size > 0) {
        ssize_t put = write(slot->log, text, size);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return; /* a full disk shows where it matters */
        text += put;
        size -= (size_t)put;
    }
}

sow_status sow_slot_start(sow_slot *slot, const sow_cell *cell, const sow_launch *launch) {
    slot->limits = launch->limits;
    snprintf(slot->who, sizeof slot->who, "%.100s, seed %llu, arm %d", cell->stage, (unsigned long long)cell->seed,
             cell->arm);
    slot->reader = (sow_reader){
        .who = slot->who, .record = take_record, .enough = take_line, .log = take_log, .user = slot};
    SOW_TRY(open_log(slot, cell));
    SOW_TRY(sow_reader_open(&slot->reader));
    slot->started = slot->last_line = sow_seconds();
    return sow_trainer_start(launch->supervisor, launch->command, launch->environment, launch->limits->memory_bytes,
                             slot->log, launch->lock, &slot->trainer);
}

/* ---- stop ---- */

void sow_slot_stop(sow_slot *slot, sow_end why, const char *format, ...) {
    if (slot->end != SOW_END_NONE || (why == SOW_END_STOPPED && slot->trainer.ended)) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(slot->reason, sizeof slot->reason, format, arguments);
    va_end(arguments);
    slot->end = why;
    if (slot->rank) {
        sow_ranks_stop(slot);
        return;
    }
    slot->kill_at = sow_seconds() + slot->limits->grace_seconds;
    sow_trainer_signal(&slot->trainer, 'T');
}

/* What the reader says about a line: a run that diverged or breaks the contract is stopped, our own failures go up. */
static sow_status judge(sow_slot *slot, sow_status status) {
    if (status == SOW_E_NUMBER) sow_slot_stop(slot, SOW_END_DIVERGED, "%s", sow_message());
    else if (status == SOW_E_TRAINER) sow_slot_stop(slot, SOW_END_CONTRACT, "%s", sow_message());
    else return status;
    return SOW_OK;
}

/* ---- while it runs ---- */

static sow_status read_output(sow_slot *slot) {
    char buffer[READ_AT_ONCE];
    for (int i = 0; i < READS && slot->trainer.output >= 0; i++) {
        ssize_t size = read(slot->trainer.output, buffer, sizeof buffer);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return SOW_OK;
        if (size == 0) {
            close(slot->trainer.output);
            slot->trainer.output = -1;
        } else if (slot->end == SOW_END_NONE) {
            int64_t lines = slot->reader.lines;
            SOW_TRY(judge(slot, sow_reader_feed(&slot->reader, buffer, (size_t)size)));
            if (slot->reader.lines > lines) slot->last_line = sow_seconds();
        }
    }
    return SOW_OK;
}

static void check_limits(sow_slot *slot, double now) {
    const sow_limits *limits = slot->limits;
    if (slot->trainer.ended || slot->end != SOW_END_NONE) return;
    bool heard = slot->reader.lines > 0;
    if (now - slot->started > limits->cell_seconds)
        sow_slot_stop(slot, SOW_END_CELL_TIME, "ran longer than %g s, the limit of a cell", limits->cell_seconds);
    else if (!heard && now - slot->started > limits->start_seconds)
        sow_slot_stop(slot, SOW_END_START_TIME, "printed no line on standard output within %g s of its start",
                      limits->start_seconds);
    else if (heard && now - slot->last_line > limits->silent_seconds)
        sow_slot_stop(slot, SOW_END_SILENT_TIME, "printed no line on standard output for %g s", limits->silent_seconds);
}

sow_status sow_slot_serve(sow_slot *slot) {
    if (!slot->trainer.gone) SOW_TRY(sow_trainer_hear(&slot->trainer));
    SOW_TRY(read_output(slot));
    double now = sow_seconds();
    if (slot->trainer.gone && !slot->gone_at) slot->gone_at = now;
    check_limits(slot, now);
    if (slot->kill_at && now >= slot->kill_at) {
        sow_trainer_signal(&slot->trainer, 'K');
        slot->kill_at = now + 3600; /* once is enough */
    }
    return SOW_OK;
}

/* Seconds until something is due without any event. */
static double patience(const sow_slot *slot) {
    const sow_limits *limits = slot->limits;
    double now = sow_seconds(), until = slot->started + limits->cell_seconds;
    double line = slot->reader.lines ? slot->last_line + limits->silent_seconds : slot->started + limits->start_seconds;
    if (line < until) until = line;
    if (slot->end != SOW_END_NONE) until = slot->kill_at;
    if (slot->gone_at) until = slot->gone_at + drain_seconds;
    return until > now ? until - now : 0;
}

double sow_slot_watch(const sow_slot *slot, struct pollfd watched[2]) {
    bool busy = slot->cell >= 0;
    watched[0] = (struct pollfd){busy && !slot->trainer.gone ? slot->trainer.socket : -1, POLLIN, 0};
    watched[1] = (struct pollfd){busy ? slot->trainer.output : -1, POLLIN, 0};
    return busy ? patience(slot) : HUGE_VAL;
}

bool sow_slot_over(const sow_slot *slot) {
    if (slot->rank) return slot->over;
    if (!slot->gone_at) return false;
    return slot->trainer.output < 0 || sow_seconds() - slot->gone_at > drain_seconds;
}

/* ---- the end ---- */

static sow_status conclude(sow_slot *slot, int *code) {
    int status = slot->trainer.status;
    if (slot->end != SOW_END_NONE) return SOW_OK;
    if (!slot->trainer.ended) {
        slot->end = SOW_END_KILLED;
        snprintf(slot->reason, sizeof slot->reason, "its supervisor was killed");
    } else if (WIFEXITED(status)) {
        slot->end = SOW_END_EXIT;
        *code = WEXITSTATUS(status);
        snprintf(slot->reason, sizeof slot->reason, "exit status %d", *code);
    } else {
        slot->end = SOW_END_SIGNAL;
        *code = WTERMSIG(status);
        snprintf(slot->reason, sizeof slot->reason, "killed by signal %d (%s)", *code, strsignal(*code));
    }
    return SOW_OK;
}

sow_status sow_slot_conclude(sow_slot *slot, int *code) {
    *code = slot->code;
    if (slot->rank) return SOW_OK;
    if (slot->end == SOW_END_NONE) {
        SOW_TRY(judge(slot, sow_reader_feed(&slot->reader, NULL, 0)));
    }
    return conclude(slot, code);
}

/* The last lines of `text`; control characters become question marks, since this goes to terminals. */
static char *clean_tail(char *text, size_t size) {
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r')) size--;
    text[size] = 0;
    size_t start = size;
    for (int lines = 0; start > 0; start--)
        if (text[start - 1] == '\n' && ++lines == TAIL_LINES) break;
    for (size_t i = start; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\r') text[i] = '\n';
        else if ((c < 32 && c != '\n' && c != '\t') || c == 127) text[i] = '?';
    }
    return text + start;
}

sow_status sow_slot_tail(const sow_slot *slot, const char *folder, sow_arena *arena, char **lines) {
    char path[4096], tail[TAIL + 1];
    ssize_t size = 0;
    snprintf(path, sizeof path, "%s/log", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        off_t end = lseek(fd, 0, SEEK_END), from = end - TAIL > slot->log_start ? end - TAIL : slot->log_start;
        size = end > from ? pread(fd, tail, TAIL, from) : 0;
        close(fd);
    }
    *lines = sow_arena_copy(arena, clean_tail(tail, size > 0 ? (size_t)size : 0));
    return *lines ? SOW_OK : SOW_E_MEMORY;
}

sow_status sow_slot_last_lines(const sow_slot *slot, const char *folder, sow_arena *arena, char **text) {
    char *lines = slot->last_lines;
    if (!lines) SOW_TRY(sow_slot_tail(slot, folder, arena, &lines));
    *text = sow_arena_format(arena, *lines ? "%s; last lines:\n%s" : "%s%s", slot->reason, lines);
    return *text ? SOW_OK : SOW_E_MEMORY;
}

void sow_slot_new(sow_slot *slot, int rank) {
    *slot = (sow_slot){.cell = -1, .rank = rank, .log = -1, .trainer = {.socket = -1, .output = -1}};
}

void sow_slot_close(sow_slot *slot) {
    sow_trainer_close(&slot->trainer);
    sow_reader_close(&slot->reader);
    if (slot->log >= 0) close(slot->log);
    sow_release(slot->last_lines);
    sow_slot_new(slot, slot->rank);
}
