/* A trainer as a child process: started under the supervisor, stopped, heard of. */
#ifndef SOW_RUN_TRAINER_H
#define SOW_RUN_TRAINER_H

#include <stdbool.h>
#include <sys/types.h>

#include "sow/run.h"

/* Path of a file of ours beside this program or library, or in ../libexec/sow; NULL: it is in neither. In the arena. */
sow_status sow_beside_program(sow_arena *arena, const char *name, const char **path);
/* Path of sow-supervisor: $SOW_SUPERVISOR, beside this program or library, or in ../libexec/sow. In the arena. */
sow_status sow_supervisor_path(sow_arena *arena, const char **path);

/* This process's environment as trainers get it: thread counts and unbuffered output added, MPI's variables removed;
 * CUDA_VISIBLE_DEVICES is `device` unless that is NULL. */
sow_status sow_trainer_environment(sow_arena *arena, int threads, const char *device, char ***environment);

typedef struct sow_trainer {
    pid_t supervisor, group; /* group 0: not yet known */
    int socket, output;      /* to the supervisor; the trainer's standard output, not blocking, -1 once closed */
    bool ended, gone;        /* the command has ended with wait status `status`; nothing of it is left */
    int status;
} sow_trainer;

/* Starts /bin/sh -c `command`; `log` gets standard error, `lock` (-1: none) stays open as long as anything of it lives. */
sow_status sow_trainer_start(const char *supervisor, const char *command, char *const *environment, int64_t memory,
                             int log, int lock, sow_trainer *out);
/* 'T': SIGTERM to the group, 'K': SIGKILL to all of it. */
void sow_trainer_signal(sow_trainer *trainer, char order);
/* Reads what the supervisor tells: call when `socket` is readable. SOW_E_IO: the trainer could not be started. */
sow_status sow_trainer_hear(sow_trainer *trainer);
/* Closes everything and reaps the supervisor; what still runs is killed. */
void sow_trainer_close(sow_trainer *trainer);

#endif
