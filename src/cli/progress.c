/* Messages and progress on stderr: a bar with the time left on a terminal, plain lines elsewhere. */
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "sow/log.h"

enum { BAR_WIDTH = 24 };
static const double plain_seconds = 10; /* between plain progress lines */

static struct {
    bool quiet, terminal, drawn;
    char what[128];
    int64_t first; /* units done when this work began, e.g. by an earlier run */
    double began, last_line;
    bool printed; /* a plain line of this work */
} state;

static void erase(void) {
    if (state.drawn) fputs("\r\033[K", stderr);
    state.drawn = false;
}

static void print_message(void *user, sow_log_level level, const char *text) {
    (void)user;
    if (state.quiet && level == SOW_LOG_NOTE) return;
    erase();
    if (level == SOW_LOG_WARNING) fputs("warning: ", stderr);
    cli_print_safely(stderr, text);
    fputc('\n', stderr);
}

/* "1:02:03" or "2:03". */
static const char *clock_text(double seconds, char text[32]) {
    long s = (long)(seconds + 0.5);
    if (s >= 3600) snprintf(text, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else snprintf(text, 32, "%ld:%02ld", s / 60, s % 60);
    return text;
}

/* Seconds left at the pace since this work began; negative while unknown. */
static double time_left(int64_t done, int64_t total, double now) {
    double elapsed = now - state.began;
    if (done <= state.first || elapsed < 0.5) return -1;
    return elapsed * (double)(total - done) / (double)(done - state.first);
}

static void draw_bar(const char *what, int64_t done, int64_t total, double left) {
    char bar[BAR_WIDTH + 1], text[32];
    int full = total > 0 ? (int)((double)done / (double)total * BAR_WIDTH) : 0;
    memset(bar, ' ', BAR_WIDTH);
    memset(bar, '=', (size_t)full);
    bar[BAR_WIDTH] = 0;
    fputs("\r\033[K", stderr);
    cli_print_safely(stderr, what);
    if (total <= 0) fprintf(stderr, " %lld", (long long)done);
    else fprintf(stderr, " [%s] %3d%%", bar, (int)(100.0 * (double)done / (double)total));
    if (left >= 0) fprintf(stderr, ", %s left", clock_text(left, text));
    state.drawn = true;
    if (total > 0 && done >= total) erase();
    fflush(stderr);
}

static void print_line(const char *what, int64_t done, int64_t total, double left) {
    char text[32];
    cli_print_safely(stderr, what);
    if (total <= 0) fprintf(stderr, ": %lld", (long long)done);
    else
        fprintf(stderr, ": %lld of %lld (%d%%)", (long long)done, (long long)total,
                (int)(100.0 * (double)done / (double)total));
    if (left > 0) fprintf(stderr, ", %s left", clock_text(left, text));
    fputc('\n', stderr);
    state.printed = true;
}

static void show_progress(void *user, const char *what, int64_t done, int64_t total) {
    (void)user;
    double now = sow_seconds();
    if (total > 0 && done > total) done = total;
    if (done < 0) done = 0;
    if (strncmp(state.what, what, sizeof state.what - 1) != 0 || done < state.first) {
        snprintf(state.what, sizeof state.what, "%s", what);
        state.first = done;
        state.began = state.last_line = now;
        state.printed = false;
    }
    double left = total > 0 ? time_left(done, total, now) : -1;
    if (state.terminal) {
        draw_bar(what, done, total, left);
    } else if (now - state.last_line >= plain_seconds || (state.printed && total > 0 && done == total)) {
        state.last_line = now;
        print_line(what, done, total, left);
    }
}

void cli_log(bool quiet) {
    state.quiet = quiet;
    state.terminal = isatty(STDERR_FILENO);
    sow_log_to(&(sow_log_sink){.message = print_message, .progress = quiet ? NULL : show_progress});
}

void cli_log_end(void) {
    erase();
    fflush(stderr);
}
