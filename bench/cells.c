/* What running a cell costs beside its trainer: `cells CELLS SLOTS [look]` runs that many of a trainer that prints one
 * record, as often `sh -c true`, and prints one JSON line. With `look`, a second process reads the store meanwhile. */
#include <libgen.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ok.h"
#include "peak.h"
#include "sow/file.h"
#include "sow/log.h"
#include "sow/run.h"

extern char **environ;

static sow_store *store;

static sow_status command(void *user, sow_arena *arena, const sow_cell *cell, char **text) {
    (void)user, (void)cell;
    *text = sow_arena_copy(arena, "echo '{\"step\":1,\"acc\":0.5}'");
    return *text ? SOW_OK : SOW_E_MEMORY;
}

static sow_status finish(void *user, sow_cell *cell, const sow_record *records, int64_t count) {
    (void)user;
    return count == 1 ? sow_store_score(store, cell, records[0].value, 0)
                      : sow_fail(SOW_E_TRAINER, "%d records", (int)count);
}

/* Seconds of one `sh -c true`. */
static double shell_seconds(int count) {
    char sh[] = "sh", option[] = "-c", text[] = "true", *words[] = {sh, option, text, NULL};
    double begin = sow_seconds();
    for (int i = 0; i < count; i++) {
        pid_t pid;
        if (posix_spawn(&pid, "/bin/sh", NULL, NULL, words, environ) != 0) exit(1);
        waitpid(pid, NULL, 0);
    }
    return (sow_seconds() - begin) / count;
}

/* Reads the whole store ten times a second until it is killed; the slowest time goes to a file. */
static pid_t start_looking(const char *folder, const char *result) {
    pid_t child = fork();
    if (child) return child;
    for (double slowest = 0;; usleep(100000)) {
        sow_arena *arena;
        sow_store *view;
        sow_cell_row *rows;
        int64_t count;
        double begin = sow_seconds();
        OK(sow_arena_new(&arena));
        if (sow_store_view(folder, &view) == SOW_OK) {
            OK(sow_store_cells(view, arena, &rows, &count));
            sow_store_close(view);
        }
        sow_arena_free(arena);
        if (sow_seconds() - begin <= slowest) continue;
        slowest = sow_seconds() - begin;
        char text[32];
        int length = snprintf(text, sizeof text, "%.6f\n", slowest);
        OK(sow_write_file(result, text, (size_t)length));
    }
}

static void find_supervisor(void) {
    char self[4096], path[4200];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0 || getenv("SOW_SUPERVISOR")) return;
    self[length] = 0;
    snprintf(path, sizeof path, "%s/sow-supervisor", dirname(dirname(self)));
    setenv("SOW_SUPERVISOR", path, 1);
}

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 1000, slots = argc > 2 ? atoi(argv[2]) : 1;
    const char *base = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    sow_arena *arena;
    sow_cell *cells;
    find_supervisor();
    OK(sow_arena_new(&arena));
    char *folder = sow_arena_format(arena, "%s/sow-cells-XXXXXX", base);
    if (!folder || !mkdtemp(folder)) return 1;
    char *slowest = sow_arena_format(arena, "%s/slowest", folder);
    OK(SOW_NEW(arena, cells, count));
    for (int c = 0; c < count; c++)
        cells[c] = (sow_cell){
            .stage = "race", .seed = (uint64_t)c, .folder = sow_arena_format(arena, "%s/%d", folder, c)};
    double shell = shell_seconds(count < 500 ? count : 500);
    OK(sow_store_open(folder, "{}", &store));
    pid_t looker = argc > 3 ? start_looking(folder, slowest) : 0;
    sow_runner runner = {.command = command, .finish = finish, .slots = slots};
    double begin = sow_seconds();
    OK(sow_run_cells(store, &runner, cells, count));
    double seconds = (sow_seconds() - begin) / count, look = 0;
    char *text;
    if (looker) {
        kill(looker, SIGKILL);
        waitpid(looker, NULL, 0);
        if (sow_read_file(arena, slowest, 100, &text, NULL) == SOW_OK) look = atof(text);
    }
    sow_store_close(store);
    printf("{\"cells\":%d,\"seconds_a_cell\":%.6f,\"shell_seconds\":%.6f,\"slowest_look\":%.6f,\"peak_mib\":%.1f}\n",
           count, seconds, shell, look, peak_mib());
    char *remove = sow_arena_format(arena, "rm -rf '%s'", folder);
    return system(remove) != 0;
}
