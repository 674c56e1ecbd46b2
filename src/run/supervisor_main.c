/* Between sow and a trainer: runs `/bin/sh -c COMMAND` in a process group of its own, and sees to it that nothing of
 * it is left when it has ended, when sow asks for that, or when sow is gone. Linked with the C library only.
 *
 * usage: sow-supervisor MEMORY_BYTES COMMAND
 *
 * Descriptor 1: the trainer's output; 2: its log; 3: a socket to sow. Sow sends T (SIGTERM to the group) and K (SIGKILL
 * to all); end of file means that sow is gone, and is taken as K. To sow go lines: "P<pid>" of the trainer, "E<wait
 * status>" once it has ended, "F<errno>" when it cannot be started; end of file when no descendant is left. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SOCKET = 3, FIRST_FOREIGN = 5 /* 4: the lock of the store, held as long as we live */ };
/* Milliseconds from the trainer's end to SIGKILL for what it left behind, between further SIGKILLs, and until we give
 * up on processes that the kernel does not let die. */
enum { LEFT_BEHIND = 1000, AGAIN = 20, GIVE_UP = 10000 };

static pid_t trainer;

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

static void tell(char what, int value) {
    char line[32];
    int length = snprintf(line, sizeof line, "%c%d\n", what, value);
    if (send(SOCKET, line, (size_t)length, MSG_NOSIGNAL) < 0) return; /* sow is gone: the loop sees it */
}

/* The group, and every child that went to a group or session of its own. Orphans among our descendants become our
 * children, so repeating this until there are none reaches all. */
static void signal_all(int signal_number) {
    char path[64], text[4096];
    kill(-trainer, signal_number);
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0) return;
    text[size] = 0;
    if (size == (ssize_t)sizeof text - 1 && strrchr(text, ' '))
        *strrchr(text, ' ') = 0; /* the last number may be cut */
    char *at = text, *end;
    for (long pid; (pid = strtol(at, &end, 10)) > 0 && end != at; at = end) kill((pid_t)pid, signal_number);
}

static void start_trainer(const char *command, rlim_t memory) {
    if (memory > 0 && setrlimit(RLIMIT_AS, &(struct rlimit){memory, memory}) != 0) {
        dprintf(2, "the memory limit of %llu bytes cannot be set: %s\n", (unsigned long long)memory, strerror(errno));
        _exit(126);
    }
    setpgid(0, 0);
    tell('P', (int)getpid()); /* before the command begins: should it kill us, sow knows whom to kill */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    dprintf(2, "/bin/sh cannot be started: %s\n", strerror(errno));
    _exit(127);
}

/* Reaps what has ended; true when nothing is left. */
static bool reap(bool *ended, long *deadline) {
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid < 0 && errno == EINTR) continue;
        if (pid <= 0) return pid < 0;
        if (pid != trainer) continue;
        *ended = true;
        tell('E', status);
        *deadline = now_ms() + LEFT_BEHIND;
    }
}

/* Waits for children and orders until no descendant is left. */
static void supervise(int signals) {
    struct pollfd watched[2] = {{.fd = signals, .events = POLLIN}, {.fd = SOCKET, .events = POLLIN}};
    bool ended = false, killing = false, asked = false;
    long deadline = 0, give_up = 0;
    for (;;) {
        if (reap(&ended, &deadline)) return;
        long now = now_ms();
        if (ended && !killing && !asked) asked = true, signal_all(SIGTERM);
        if (ended && now >= deadline) killing = true;
        if (killing) {
            signal_all(SIGKILL);
            if (!give_up) give_up = now + GIVE_UP;
            if (now > give_up) return;
        }
        int wait = killing ? AGAIN : ended ? (int)(deadline - now) : -1;
        if (poll(watched, 2, wait) < 0) continue;
        struct signalfd_siginfo ignored;
        while (watched[0].revents && read(signals, &ignored, sizeof ignored) > 0) {}
        if (!watched[1].revents) continue;
        char order = 'K';
        ssize_t got = recv(SOCKET, &order, 1, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (got <= 0) watched[1].fd = -1, order = 'K';
        if (order == 'T' && !ended) kill(-trainer, SIGTERM);
        if (order == 'K') killing = true;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    sigset_t all, children;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    int signals = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    fcntl(SOCKET, F_SETFD, FD_CLOEXEC);
    fcntl(FIRST_FOREIGN - 1, F_SETFD, FD_CLOEXEC);
    close_range(FIRST_FOREIGN, ~0U, CLOSE_RANGE_CLOEXEC); /* `signals` is among them */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    trainer = signals < 0 ? -1 : fork();
    if (trainer < 0) {
        tell('F', errno);
        return 1;
    }
    if (trainer == 0) start_trainer(argv[2], (rlim_t)strtoull(argv[1], NULL, 10));
    setpgid(trainer, trainer); /* here too: whoever is first, the group is there before it is signalled */
    close(1);                  /* so that the pipe ends with the trainer */
    supervise(signals);
    return 0;
}
