/* A trainer as a child process. Between it and us stands sow-supervisor, which outlives a killed sow just long enough
 * to kill the trainer. */
#include "run/trainer.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sow/file.h"

extern char **environ;

/* ---- where the supervisor is ---- */

/* `file` is the program or library; NULL when there is no `name` near it. */
static const char *near(sow_arena *arena, const char *file, const char *name) {
    static const char *const places[] = {"", "../libexec/sow/"};
    for (int i = 0; i < 2; i++) {
        int folder = (int)(sow_path_name(file) - file);
        char *path = sow_arena_format(arena, "%.*s%s%s", folder, file, places[i], name);
        if (path && access(path, X_OK) == 0) return path;
    }
    return NULL;
}

sow_status sow_beside_program(sow_arena *arena, const char *name, const char **path) {
    char self[PATH_MAX];
    Dl_info library;
    *path = NULL;
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length > 0) self[length] = 0, *path = near(arena, self, name);
    const char *supervisor = getenv("SOW_SUPERVISOR"); /* whoever moved the one has the others there too */
    if (!*path && supervisor) *path = near(arena, supervisor, name);
    if (!*path && dladdr((void *)(uintptr_t)&sow_supervisor_path, &library) && library.dli_fname)
        *path = near(arena, library.dli_fname, name);
    return SOW_OK;
}

sow_status sow_supervisor_path(sow_arena *arena, const char **path) {
    const char *given = getenv("SOW_SUPERVISOR");
    if (given && *given) {
        *path = given;
        return access(given, X_OK) == 0 ? SOW_OK
                                        : sow_fail(SOW_E_NOT_FOUND, "SOW_SUPERVISOR: %s: %s", given, strerror(errno));
    }
    SOW_TRY(sow_beside_program(arena, "sow-supervisor", path));
    if (*path) return SOW_OK;
    return sow_fail(
        SOW_E_NOT_FOUND,
        "sow-supervisor: not found beside the program nor in ../libexec/sow; expected where make or make install put it");
}

/* ---- environment ---- */

static bool removed(const char *variable, const char *device) {
    static const char *const ours[] = {"OMP_NUM_THREADS=",
                                       "OPENBLAS_NUM_THREADS=",
                                       "MKL_NUM_THREADS=",
                                       "RAYON_NUM_THREADS=",
                                       "PYTHONUNBUFFERED=",
                                       "CUBLAS_WORKSPACE_CONFIG=",
                                       "OMPI_", /* children that use MPI would join our job */
                                       "PMIX_",
                                       "SOW_RANK_PROCESS="};
    if (device && !strncmp(variable, "CUDA_VISIBLE_DEVICES=", sizeof "CUDA_VISIBLE_DEVICES")) return true;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (!strncmp(variable, ours[i], strlen(ours[i]))) return true;
    return false;
}

sow_status sow_trainer_environment(sow_arena *arena, int threads, const char *device, char ***environment) {
    static const char *const counts[] = {"OMP", "OPENBLAS", "MKL", "RAYON"};
    int count = 0;
    while (environ[count]) count++;
    char **list;
    SOW_TRY(SOW_NEW(arena, list, count + 9));
    int n = 0;
    for (int i = 0; i < count; i++)
        if (!removed(environ[i], device) && !(list[n++] = sow_arena_copy(arena, environ[i]))) return SOW_E_MEMORY;
    for (int i = 0; i < 4; i++)
        if (!(list[n++] = sow_arena_format(arena, "%s_NUM_THREADS=%d", counts[i], threads))) return SOW_E_MEMORY;
    if (!(list[n++] = sow_arena_copy(arena, "PYTHONUNBUFFERED=1"))) return SOW_E_MEMORY; /* else lines arrive late */
    if (!(list[n++] = sow_arena_copy(arena, "CUBLAS_WORKSPACE_CONFIG=:4096:8"))) return SOW_E_MEMORY;
    if (device && !(list[n++] = sow_arena_format(arena, "CUDA_VISIBLE_DEVICES=%s", device))) return SOW_E_MEMORY;
    *environment = list;
    return SOW_OK;
}

/* ---- starting ---- */

typedef struct ends {
    int null, output[2], socket[2], log, lock;
} ends;

/* All above the numbers that the supervisor gets, so that no dup2 overwrites a source. */
static int above(int fd) {
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 10);
    if (fd >= 0) close(fd);
    return high;
}

static bool open_ends(ends *e, int log, int lock) {
    int output[2] = {-1, -1}, sockets[2] = {-1, -1};
    bool opened = pipe2(output, O_CLOEXEC) == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0;
    for (int i = 0; i < 2; i++) e->output[i] = above(output[i]), e->socket[i] = above(sockets[i]);
    e->null = above(open("/dev/null", O_RDONLY | O_CLOEXEC));
    e->log = fcntl(log, F_DUPFD_CLOEXEC, 10);
    e->lock = fcntl(lock < 0 ? log : lock, F_DUPFD_CLOEXEC, 10);
    return opened && e->output[0] >= 0 && e->output[1] >= 0 && e->socket[0] >= 0 && e->socket[1] >= 0 && e->null >= 0 &&
           e->log >= 0 && e->lock >= 0;
}

static void close_if_open(int fd) {
    if (fd >= 0) close(fd);
}

/* posix_spawn, since it is safe and cheap in a process with threads and much memory. */
static int spawn(const ends *e, const char *supervisor, const char *command, const char *memory,
                 char *const *environment, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    char *arguments[] = {(char *)(uintptr_t)supervisor, (char *)(uintptr_t)memory, (char *)(uintptr_t)command, NULL};
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawnattr_init(&attributes);
    if (!error) {
        const int from[] = {e->null, e->output[1], e->log, e->socket[1], e->lock};
        for (int to = 0; to < 5 && !error; to++) error = posix_spawn_file_actions_adddup2(&actions, from[to], to);
        /* A group of its own: a Ctrl-C on the terminal is ours to answer. */
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setsigdefault(&attributes, &all);
        if (!error) error = posix_spawn(pid, supervisor, &actions, &attributes, arguments, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

sow_status sow_trainer_start(const char *supervisor, const char *command, char *const *environment, int64_t memory,
                             int log, int lock, sow_trainer *out) {
    ends e;
    char bytes[32];
    snprintf(bytes, sizeof bytes, "%lld", (long long)memory);
    *out = (sow_trainer){.socket = -1, .output = -1};
    int error = open_ends(&e, log, lock) ? spawn(&e, supervisor, command, bytes, environment, &out->supervisor) : errno;
    close_if_open(e.null), close_if_open(e.output[1]), close_if_open(e.socket[1]), close_if_open(e.log),
        close_if_open(e.lock);
    if (!error && fcntl(e.output[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(e.socket[0], F_SETFL, O_NONBLOCK) == 0) {
        out->output = e.output[0], out->socket = e.socket[0];
        return SOW_OK;
    }
    close_if_open(e.output[0]), close_if_open(e.socket[0]);
    return sow_fail(error == E2BIG ? SOW_E_ARGUMENT : SOW_E_IO, "%s: cannot be started: %s", supervisor,
                    strerror(error));
}

/* ---- while it runs ---- */

void sow_trainer_signal(sow_trainer *trainer, char order) {
    if (trainer->gone || send(trainer->socket, &order, 1, MSG_NOSIGNAL) < 0) return;
}

static sow_status heard(sow_trainer *trainer, char what, int value) {
    if (what == 'P') trainer->group = value;
    if (what == 'E') trainer->ended = true, trainer->status = value;
    if (what == 'F') return sow_fail(SOW_E_IO, "a trainer cannot be started: %s", strerror(value));
    return SOW_OK;
}

sow_status sow_trainer_hear(sow_trainer *trainer) {
    char text[128]; /* whole lines: a supervisor sends three short ones in all, each in one piece */
    ssize_t size = recv(trainer->socket, text, sizeof text - 1, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return SOW_OK;
    if (size <= 0) {
        trainer->gone = true;
        return SOW_OK;
    }
    text[size] = 0;
    for (char *line = text, *end; *line && (end = strchr(line, '\n')); line = end + 1)
        SOW_TRY(heard(trainer, *line, atoi(line + 1)));
    return SOW_OK;
}

/* A supervisor that somebody killed left its group alone. SIGKILL takes a moment, and the cell's folder must be free
 * then. */
static void kill_group(pid_t group) {
    enum { TRIES = 100 };
    kill(-group, SIGKILL);
    for (int i = 0; i < TRIES && kill(-group, 0) == 0; i++) nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

void sow_trainer_close(sow_trainer *trainer) {
    if (trainer->supervisor <= 0) return;
    close_if_open(trainer->output);
    close_if_open(trainer->socket); /* a supervisor that still lives kills its group at this */
    if (trainer->gone && !trainer->ended && trainer->group > 0) kill_group(trainer->group);
    while (waitpid(trainer->supervisor, NULL, 0) < 0 && errno == EINTR) {}
    *trainer = (sow_trainer){.socket = -1, .output = -1};
}
