/* A race in small: what `sow prove` does with the loop, in a hundred lines and a second. Four arms, ten seeds; after
 * each whole look from the third on the worst arm is dropped if it is far behind; one cell diverges, one always fails,
 * one fails at first. Its outcome must depend on nothing but these rules. */
#ifndef TESTS_TOY_RACE_H
#define TESTS_TOY_RACE_H

#include "run/trainers.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>

enum { TOY_ARMS = 4, TOY_SEEDS = 10, TOY_CELLS = TOY_ARMS * TOY_SEEDS };

typedef struct toy_race {
    sow_arena *arena;
    sow_store *store;
    const char *folder;
    sow_cell cells[TOY_CELLS]; /* by (seed, arm) */
    double scores[TOY_CELLS];
    bool ended[TOY_CELLS];
    int looked, dropped[TOY_ARMS]; /* looks, 0: none */
} toy_race;

/* Arms 0 to 3 end near 0.6, 0.7, 0.3 and 0.5. */
static inline sow_status toy_command(void *user, sow_arena *arena, const sow_cell *cell, char **command) {
    static const int level[] = {600, 700, 300, 500};
    int seed = (int)cell->seed, arm = cell->arm;
    const char *special = arm == 1 && seed == 2   ? "echo '{\"step\":2,\"acc\":NaN}'"
                          : arm == 3 && seed == 1 ? "exit 7"
                          : arm == 0 && seed == 4 ? "test -e tried || { touch tried; exit 8; }"
                                                  : ":";
    const char *pause = getenv("TOY_HASTE") ? "true" : "sleep";
    if (getenv("TOY_LONG_MAKE") && seed == 1 && arm == 0) sleep(3); /* a start that takes its time to make */
    (void)user;
    *command = sow_arena_format(arena,
                                "cd '%s'; echo '{\"step\":1,\"acc\":0.1}'; %s; %s 0.0%d; for i in 2 3 4 5 6 7; do echo "
                                "\"{\\\"step\\\":$i,\\\"acc\\\":0.%d$i,\\\"loss\\\":$i.5}\"; done",
                                cell->folder, special, pause, (seed * 7 + arm * 5) % 9 + 1,
                                level[arm] + (seed * 37 + arm * 11) % 40);
    return *command ? SOW_OK : SOW_E_MEMORY;
}

/* The rest of the budget is spared. */
static inline bool toy_enough(void *user, const sow_cell *cell, int64_t step) {
    (void)user, (void)cell;
    return step >= 5;
}

static inline double toy_last(const sow_record *records, int64_t count, const char *metric) {
    double last = -1;
    for (int64_t i = 0; i < count; i++)
        if (!strcmp(records[i].metric, metric)) last = records[i].value;
    return last;
}

static inline sow_status toy_finish(void *user, sow_cell *cell, const sow_record *records, int64_t count) {
    return sow_store_score(((toy_race *)user)->store, cell, toy_last(records, count, "acc"), (double)count);
}

/* Whether all live arms have an end for this seed. */
static inline bool toy_whole(const toy_race *race, int seed) {
    for (int a = 0; a < TOY_ARMS; a++)
        if (!race->dropped[a] && !race->ended[seed * TOY_ARMS + a]) return false;
    return true;
}

static inline double toy_mean(const toy_race *race, int arm, int n) {
    double sum = 0;
    for (int s = 0; s < n; s++) sum += race->scores[s * TOY_ARMS + arm];
    return sum / n;
}

static inline sow_status toy_look(toy_race *race, int n) {
    int best = -1, worst = -1;
    char detail[64];
    for (int a = 0; a < TOY_ARMS; a++) {
        if (race->dropped[a]) continue;
        if (best < 0 || toy_mean(race, a, n) > toy_mean(race, best, n)) best = a;
        if (worst < 0 || toy_mean(race, a, n) < toy_mean(race, worst, n)) worst = a;
    }
    if (n < 3 || toy_mean(race, best, n) - toy_mean(race, worst, n) < 0.02 * (12 - n)) return SOW_OK;
    race->dropped[worst] = n;
    snprintf(detail, sizeof detail, "%.17g behind arm %d", toy_mean(race, worst, n), best);
    for (int s = n; s < TOY_SEEDS; s++) race->cells[s * TOY_ARMS + worst].unwanted = true;
    return sow_store_decision(race->store, n, worst, "dropped", detail);
}

static inline sow_status toy_ended(void *user, const sow_cell *cell) {
    toy_race *race = user;
    int index = (int)(cell - race->cells);
    sow_record *records;
    int64_t count;
    race->ended[index] = true;
    race->scores[index] = 0;
    if (cell->state == SOW_CELL_DONE) {
        SOW_TRY(sow_store_curve(race->store, race->arena, cell, &records, &count));
        race->scores[index] = toy_last(records, count, "acc");
    }
    while (race->looked < TOY_SEEDS && toy_whole(race, race->looked)) SOW_TRY(toy_look(race, ++race->looked));
    return SOW_OK;
}

static inline sow_status toy_run_in(toy_race *race, int slots) {
    for (int c = 0; c < TOY_CELLS; c++) {
        race->cells[c] = (sow_cell){.stage = "race", .arm = c % TOY_ARMS, .seed = (uint64_t)(c / TOY_ARMS)};
        race->cells[c].folder = sow_arena_format(race->arena, "%s/%d-%d", race->folder, c / TOY_ARMS, c % TOY_ARMS);
        if (!race->cells[c].folder) return SOW_E_MEMORY;
    }
    sow_runner runner = {.command = toy_command,
                         .finish = toy_finish,
                         .enough = toy_enough,
                         .ended = toy_ended,
                         .user = race,
                         .slots = slots,
                         .retries = 3, /* some trainers are killed by tests */
                         .keep_failed = true,
                         .limits = {60, 60, 60, 1, 0}};
    SOW_TRY(sow_store_open(race->folder, "{\"toy\":1}", &race->store));
    sow_status status = sow_run_cells(race->store, &runner, race->cells, TOY_CELLS);
    if (status == SOW_E_TRAINER) status = SOW_OK; /* one diverges and one fails, as they should */
    for (int a = 0; a < TOY_ARMS && status == SOW_OK; a++) {
        int n = race->dropped[a] ? race->dropped[a] : TOY_SEEDS;
        sow_verdict verdict = {
            a, race->dropped[a] ? "not confirmed" : "confirmed", n, toy_mean(race, a, n), 0, 1, 0.5, "{}"};
        status = sow_store_verdict(race->store, &verdict);
    }
    sow_store_close(race->store);
    return status;
}

static inline void toy_interrupt(int number) {
    (void)number;
    sow_interrupt();
}

/* The whole program of a process that runs the race: exit status 0, 3 with a message, 4 without one. */
static inline int toy_main(const char *folder, int slots) {
    static toy_race race;
    sow_status status = sow_arena_new(&race.arena);
    int exit_status = 0;
    race.folder = folder;
    signal(SIGTERM, toy_interrupt);
    if (sow_is_worker_rank()) {
        status = sow_rank_serve(&exit_status);
    } else {
        if (status == SOW_OK) status = toy_run_in(&race, slots);
        exit_status = status == SOW_OK ? 0 : *sow_message() ? 3 : 4;
        if (status != SOW_OK) fprintf(stderr, "%s\n", sow_message());
        sow_rank_end(exit_status);
    }
    if (status != SOW_OK && !exit_status) fprintf(stderr, "%s\n", sow_message()), exit_status = 3;
    sow_arena_free(race.arena);
    return exit_status;
}

/* ---- the processes of a race that runs ---- */

static inline bool file_holds(int pid, const char *name, const char *text) {
    char path[64], bytes[65536];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY);
    ssize_t size = fd >= 0 ? read(fd, bytes, sizeof bytes) : 0;
    if (fd >= 0) close(fd);
    if (!*text) return true;
    return size > 0 && memmem(bytes, (size_t)size, text, strlen(text));
}

/* Processes with one text in their command line and another in their environment: as many as there are, up to 64. */
static inline int find_processes(const char *in_command, const char *in_environment, int pids[64]) {
    int count = 0;
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; (entry = readdir(processes)) && count < 64;) {
        int pid = atoi(entry->d_name);
        if (pid > 1 && pid != (int)getpid() && file_holds(pid, "cmdline", in_command) &&
            file_holds(pid, "environ", in_environment))
            pids[count++] = pid;
    }
    closedir(processes);
    return count;
}

/* ---- starting one, by itself or under mpirun ---- */

/* Whether there is an mpirun, and the plug-in beside the supervisor. */
static inline bool can_run_ranks(void) {
    char path[600];
    find_supervisor();
    const char *supervisor = getenv("SOW_SUPERVISOR");
    if (!supervisor || system("command -v mpirun >/dev/null 2>&1") != 0) return false;
    snprintf(path, sizeof path, "%.*ssow-mpi.so", (int)(strrchr(supervisor, '/') + 1 - supervisor), supervisor);
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    return access(path, R_OK) == 0;
}

/* Starts this program (TOY_HASTE in the environment: trainers that do not pause; TOY_LONG_MAKE: the loop is held up) as `work FOLDER SLOTS` in a process group of its own; ranks 0: without mpirun. */
static inline pid_t start_race(int ranks, const char *options, int slots, const char *folder) {
    char command[2000], self[1000], launcher[300] = "";
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = 0;
    if (ranks)
        snprintf(launcher, sizeof launcher, "mpirun --oversubscribe --bind-to none %s -n %d", options ? options : "",
                 ranks);
    snprintf(command, sizeof command, "exec %s %s work %s %d >>%s.log 2>&1", launcher, self, folder, slots, folder);
    find_supervisor();
    pid_t child = fork();
    if (child) return child;
    setpgid(0, 0);
    if (ranks) setenv("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=0", 1); /* Open MPI's own */
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(99);
}

/* Its wait status. */
static inline int end_of(pid_t child) {
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static inline void assert_ended_well(int status, const char *folder) {
    char command[700];
    if (status == 0) return;
    snprintf(command, sizeof command, "tail -n 5 %s.log >&2", folder);
    if (system(command) != 0) print_message("# and its log cannot be read\n");
    fail_msg("the race in %s ended with wait status %#x", folder, (unsigned)status);
}

/* All that must depend on neither slots, ranks, order nor interruptions; and the rules that every store obeys. */
static inline char *toy_picture(sow_arena *arena, const char *folder) {
    char *cells = query(arena, folder, "SELECT id,stage,seed,arm,state,score,test,steps FROM cell ORDER BY id");
    char *curves = query(arena, folder,
                         "SELECT cell,metric,step,value FROM curve JOIN cell ON cell=id AND curve.attempt=cell.attempt"
                         " WHERE state IN('done','stopped') ORDER BY 1,2,3");
    char *decisions = query(arena, folder, "SELECT n,arm,what,detail FROM decision ORDER BY 1,2,3");
    char *verdicts = query(arena, folder, "SELECT arm,verdict,n,effect,low,high,p,detail FROM verdict ORDER BY 1");
    assert_string_equal(
        query(arena, folder,
              "SELECT id,state,(SELECT count(*) FROM attempt WHERE cell=id AND outcome='done') AS n FROM cell"
              " WHERE n!=(state='done')"),
        "");
    assert_string_equal(query(arena, folder, "SELECT * FROM attempt WHERE outcome IS NULL"), "");
    return sow_arena_format(arena, "%s%s%s%s", cells, curves, decisions, verdicts);
}

/* Both pictures are equal; shows where they begin to differ. */
static inline void assert_same_picture(const char *found, const char *expected, const char *what) {
    const char *line = found;
    for (int i = 0; found[i] && found[i] == expected[i]; i++)
        if (found[i] == '\n') line = found + i + 1;
    if (strcmp(found, expected)) fail_msg("%s: found %.100s, expected %.100s", what, line, expected + (line - found));
}

#endif
