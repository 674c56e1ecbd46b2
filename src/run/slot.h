/* A cell while it runs: its trainer, its lines, its log, its limits. */
#ifndef SOW_RUN_SLOT_H
#define SOW_RUN_SLOT_H

#include <poll.h>
#include <stdbool.h>

#include "run/records.h"
#include "run/trainer.h"

/* Why a slot stops its trainer, or what came of it. */
typedef enum sow_end {
    SOW_END_NONE,
    SOW_END_EXIT,
    SOW_END_SIGNAL,
    SOW_END_ENOUGH, /* as good as exit status 0 */
    SOW_END_DIVERGED,
    SOW_END_CONTRACT,
    SOW_END_START_TIME,
    SOW_END_SILENT_TIME,
    SOW_END_CELL_TIME,
    SOW_END_STOPPED,
    SOW_END_KILLED, /* its supervisor was */
    SOW_END_LOST    /* its rank was: no fault of its own */
} sow_end;

typedef struct sow_slot {
    int cell; /* index, -1: free */
    int rank; /* where its trainers run: 0 here, else see ranks.h */
    sow_status (*record)(void *owner, struct sow_slot *slot, const sow_record *record); /* each record, as it arrives */
    bool (*enough)(void *owner, struct sow_slot *slot, int64_t step); /* after each line of them: true stops it */
    void *owner;
    const sow_limits *limits;
    char who[160]; /* the cell in words */
    sow_trainer trainer;
    sow_reader reader;
    int log;                                     /* descriptor of FOLDER/log, -1: none */
    int64_t log_start, log_size;                 /* where this attempt begins in it, and what we wrote */
    double started, last_line, kill_at, gone_at; /* seconds; 0: not yet */
    sow_end end;
    char reason[512]; /* in words */
    /* of another rank's slot */
    int64_t ticket; /* of the cell it was given */
    bool over;      /* that rank has said so, or is lost */
    int code;
    char *last_lines;
} sow_slot;

typedef struct sow_launch {
    const char *supervisor, *command;
    char *const *environment;
    const sow_limits *limits;
    int lock; /* of the store, -1: none here */
} sow_launch;

/* Opens the log, starts the trainer. `record`, `enough` and `owner` must be set. */
sow_status sow_slot_start(sow_slot *slot, const sow_cell *cell, const sow_launch *launch);
/* Takes what has arrived, and stops the trainer where its limits or its contract are broken. Fails only where we
 * fail. */
sow_status sow_slot_serve(sow_slot *slot);
/* What to poll for (-1: nothing); gives the seconds until something is due without any event, infinity if it is free. */
double sow_slot_watch(const sow_slot *slot, struct pollfd watched[2]);
/* SIGTERM now, SIGKILL after the grace time; the first reason counts. */
void sow_slot_stop(sow_slot *slot, sow_end why, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Nothing of the trainer is left, and its output has been read. */
bool sow_slot_over(const sow_slot *slot);
/* What came of it: settles `end` and `reason`. Exit status 0 gives SOW_END_EXIT with code 0. */
sow_status sow_slot_conclude(sow_slot *slot, int *code);
/* The last lines of the log, without control characters, in the arena; and with the reason before them. */
sow_status sow_slot_tail(const sow_slot *slot, const char *folder, sow_arena *arena, char **lines);
sow_status sow_slot_last_lines(const sow_slot *slot, const char *folder, sow_arena *arena, char **text);
/* A free slot; and free again, whatever it did. */
void sow_slot_new(sow_slot *slot, int rank);
void sow_slot_close(sow_slot *slot);

const char *sow_end_name(sow_end end);

#endif
