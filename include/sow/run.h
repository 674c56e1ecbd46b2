/* Cells: trainings that run as child processes, their order, and the store that remembers them. */
#ifndef SOW_RUN_H
#define SOW_RUN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "sow/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the trainer's contract (PROVE.md, section 1) ---- */

/* Values for placeholders of a command line. */
typedef struct sow_variable {
    const char *name, *value;
} sow_variable;

/* Replaces {name} by the single-quoted value, {{ by a brace; SOW_E_ARGUMENT names an unknown placeholder and the
 * nearest known one. In the arena. */
sow_status sow_expand(sow_arena *arena, const char *command, const sow_variable *variables, int count, char **out);
/* The same without quotes, for paths. */
sow_status sow_expand_path(sow_arena *arena, const char *path, const sow_variable *variables, int count, char **out);

/* Whether a text (NULL: no) has {name}. */
bool sow_uses(const char *text, const char *name);

/* The path of this program, for commands that run it again. In the arena. */
sow_status sow_own_program(sow_arena *arena, const char **path);

/* What the built-in trainer is given beside seed and output. */
typedef enum sow_builtin_files { SOW_BUILTIN_INIT = 1, SOW_BUILTIN_MASK = 2 } sow_builtin_files;
/* The built-in trainer's command line: `sow train` of this program with these options (value "true": a flag that is
 * set, "false": left out), quoted, braces doubled, so that sow_expand gives them unchanged; behind them the contract with
 * its placeholders {seed} and {out}, and {init} and {mask} as `files` says. In the arena. */
sow_status sow_builtin_trainer(sow_arena *arena, const sow_variable *options, int count, unsigned files,
                               char **command);

typedef struct sow_limits {
    double start_seconds;  /* to the first line, 600 */
    double silent_seconds; /* between lines, 1800 */
    double cell_seconds;   /* in all, 86400 */
    double grace_seconds;  /* from SIGTERM to SIGKILL, 10 */
    int64_t memory_bytes;  /* RLIMIT_AS; 0: none */
} sow_limits;
/* 600, 1800, 86400 and 10 seconds; no memory limit. */
sow_limits sow_limits_default(void);

typedef enum sow_cell_state {
    SOW_CELL_PENDING,
    SOW_CELL_RUNNING,
    SOW_CELL_DONE,
    SOW_CELL_DIVERGED,
    SOW_CELL_FAILED,
    SOW_CELL_STOPPED
} sow_cell_state;

/* One training to be run. A cell starts when all it needs are done; when one of those fails for good it fails too. */
typedef struct sow_cell {
    const char *stage; /* "round-03", "control", "race": with seed and arm the cell's identity in the store */
    int arm;
    uint64_t seed;
    const char *folder; /* its own, made before it starts; survives retries ({dir}) */
    const int *needs;   /* indices of earlier cells in the list */
    int need_count;
    int64_t steps; /* of the whole training, for the progress bar only; 0: unknown */
    void *user;    /* the caller's own */
    bool unwanted; /* set by `ended`, for good */
    /* filled in, for cells that were done before too */
    sow_cell_state state;
    int attempt;
    double seconds;
    const char *last_lines; /* of a failed or diverged one: why, and its last lines; valid until the store is closed */
} sow_cell;

typedef struct sow_record {
    int64_t step;
    const char *metric;
    double value;
} sow_record;

/* The records of one metric among records by metric and step: *found of them, in the order of their steps. */
const sow_record *sow_records_of(const char *metric, const sow_record *records, int64_t count, int64_t *found);

/* What the caller adds to running: called in the parent, one at a time. */
typedef struct sow_runner {
    /* Prepares files (an init, a mask) and gives the shell command of a cell that is about to start. */
    sow_status (*command)(void *user, sow_arena *arena, const sow_cell *cell, char **command);
    /* After exit status 0: reads the results from folder and records (by metric and step). SOW_E_NUMBER makes it
     * diverged, SOW_E_MEMORY and SOW_E_INTERRUPTED end the run, anything else but SOW_OK makes it failed. What it
     * gives to sow_store_score is kept together with the state. May be NULL. */
    sow_status (*finish)(void *user, sow_cell *cell, const sow_record *records, int64_t count);
    /* Each new record, as it arrives: for live displays. May be NULL. */
    void (*record)(void *user, const sow_cell *cell, const sow_record *record);
    /* After each line of records: true when the cell has gone far enough. It is stopped, counts as exit status 0 and
     * keeps the records up to this line and no later ones. May be NULL. */
    bool (*enough)(void *user, const sow_cell *cell, int64_t step);
    /* After each cell that is done, diverged or failed for good (those of an earlier run too, first, in the list's
     * order), in the transaction of its end: may set `unwanted` of any cells. These, and those that need them, do not
     * start; if they run they are stopped; if they have ended they become SOW_CELL_STOPPED without score or curve, so
     * that the store is the same for any slots and order. It is not called for stopped cells. May be NULL. */
    sow_status (*ended)(void *user, const sow_cell *cell);
    void *user;
    int slots;         /* cells side by side; 0: cores / threads */
    int threads;       /* per cell, 1 */
    int retries;       /* of failed cells, 0; attempts that an interruption or a lost machine ended do not count */
    bool keep_failed;  /* cells that an earlier run left as failed stay so; else they begin anew, retries and all */
    sow_limits limits; /* what is 0 takes the default */
    const char *const
        *devices;     /* NULL-terminated; CUDA_VISIBLE_DEVICES of slot i is devices[i mod count]; NULL: as is */
    const char *what; /* title of the progress bar; NULL: none */
} sow_runner;

/* ---- the store ---- */

/* sow.db in a folder: SQLite, WAL, locked while in use, schema of PROVE.md, section 4. */
typedef struct sow_store sow_store;

/* Opens or makes FOLDER/sow.db for the plan with this identity. `json`: the resolved plan, keys sorted; `id` its
 * SHA-256. SOW_E_BUSY: another process uses it. SOW_E_EXISTS: it belongs to another plan (the message shows the first
 * difference). SOW_E_FORMAT: no store of ours, or made by a newer version. */
sow_status sow_store_open(const char *folder, const char *json, sow_store **out);
/* Closes and unlocks; NULL is allowed. */
void sow_store_close(sow_store *store);

/* Runs the cells that the store does not have as done or diverged, `slots` side by side, each a child process under a
 * supervisor that kills its group when this process dies. Of ready cells the first in the list starts first. Standard
 * error and lines that are no records go to FOLDER/log of the cell. For done cells `finish` is not called again: read
 * their curves. Records go to the store in batches, every state change in one transaction. Results depend on neither
 * slots nor order. Ends early with SOW_E_INTERRUPTED (children stopped, store consistent) or, at the end,
 * SOW_E_TRAINER if any cell failed or diverged (its last lines in the message). Progress by sow_progress. */
sow_status sow_run_cells(sow_store *store, const sow_runner *runner, sow_cell *cells, int count);

/* The records of a done cell, of its counting attempt, by (metric, step). In the arena. */
sow_status sow_store_curve(sow_store *store, sow_arena *arena, const sow_cell *cell, sow_record **records,
                           int64_t *count);
/* Keeps a score, and a verdict row (arm -1: the whole study). */
sow_status sow_store_score(sow_store *store, const sow_cell *cell, double score, double test);
typedef struct sow_verdict {
    int arm;
    const char *verdict; /* "confirmed", "not confirmed", "not decided" */
    int n;
    double effect, low, high, p;
    const char *detail;
} sow_verdict;
/* Keeps a verdict row (arm -1: the whole study), replacing an earlier one. */
sow_status sow_store_verdict(sow_store *store, const sow_verdict *verdict);
/* Keeps a decision after n seeds. SOW_E_FORMAT: the store has another detail for it: decisions are recomputed on resume
 * and must agree. */
sow_status sow_store_decision(sow_store *store, int n, int arm, const char *what, const char *detail);

/* ---- reading a store, also while another process writes ---- */

/* Opens for reading only, without the lock: the plan and rows as they are at this moment, whatever is written
 * meanwhile. Curves of done cells are read as ever. SOW_E_IO: there is none. SOW_E_FORMAT: no store of ours, or made
 * by a newer version. Close it soon, as any: the writer's log grows meanwhile. */
sow_status sow_store_view(const char *folder, sow_store **out);
/* The resolved plan's JSON text. Lives as long as the store. */
const char *sow_store_plan(const sow_store *store);
typedef struct sow_cell_row {
    const char *stage;
    int arm, attempt; /* attempt 0: none has begun */
    uint64_t seed;
    sow_cell_state state;
    double score, test, seconds; /* NaN: none */
    int64_t steps;               /* -1: none */
    /* of the last attempt */
    int rank;
    double started, ended;  /* seconds since 1970 by the clock on the wall, NaN: not yet */
    const char *outcome;    /* "done", "diverged", "exit", "signal", "stopped", "lost" ...; NULL: none yet */
    const char *last_lines; /* why it failed or diverged, and its last lines; NULL: it did not */
} sow_cell_row;
typedef struct sow_decision_row {
    int n, arm;
    const char *what, *detail;
} sow_decision_row;
/* All cells, verdicts and decisions, in the store's order. In the arena. Of a view all are of one moment. */
sow_status sow_store_cells(sow_store *store, sow_arena *arena, sow_cell_row **rows, int64_t *count);
/* All verdicts, oldest first; in the arena. */
sow_status sow_store_verdicts(sow_store *store, sow_arena *arena, sow_verdict **rows, int64_t *count);
/* All decisions of the race, in their order; in the arena. */
sow_status sow_store_decisions(sow_store *store, sow_arena *arena, sow_decision_row **rows, int64_t *count);

/* ---- more than one machine: Open MPI ---- */

/* Whether this process was started by mpirun as one of several ranks, and not as the first. Such a process only runs
 * cells that rank 0 assigns: it calls sow_rank_serve and ends with the status that this gives (rank 0's exit status in
 * *exit_status). Rank 0 asks too, at its start: only then does sow_run_cells give cells to the others. All ranks see
 * the folders of cells; the store is on rank 0's disk. A rank that is silent for 60 s ($SOW_RANK_SILENT_SECONDS) loses
 * its cells to the others. SOW_E_NOT_FOUND (from sow_run_cells too): sow was built without MPI; names the package. */
bool sow_is_worker_rank(void);
/* Runs cells for rank 0 until it says that all is done. */
sow_status sow_rank_serve(int *exit_status);
/* Rank 0, before it exits: the other ranks end with this status too. Without ranks it does nothing. */
void sow_rank_end(int exit_status);

/* Work that all ranks do together, each a part of every sum, instead of cells: commands whose action says
 * SOW_ACTION_TOGETHER. Every rank runs the same call; rank 0 alone writes and prints. Joins the others: which rank this
 * is, of how many (0 of 1 without mpirun). SOW_E_NOT_FOUND: no plug-in for MPI. */
sow_status sow_together_join(int *rank, int *count);
/* Ranks 0 .. senders - 1 give `bytes` bytes each; every rank gets them all: all [senders, bytes]. Waits for the slowest.
 * Its form is that of sow_sharing.exchange (sow/learn.h). SOW_E_IO: ranks that do not compute the same. */
sow_status sow_together_exchange(void *unused, int senders, const void *mine, size_t bytes, void *all);
/* The last call of each rank; with a status that is not 0 all ranks end at once. */
void sow_together_end(int exit_status);

#ifdef __cplusplus
}
#endif
#endif
