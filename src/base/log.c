/* The log sink, progress and interruption. */
#include "sow/log.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

static sow_log_sink sink;
static volatile sig_atomic_t interrupted;

void sow_log_to(const sow_log_sink *to) {
    sink = to ? *to : (sow_log_sink){0};
}

static void say(sow_log_level level, const char *format, va_list arguments) {
    char text[2048];
    if (!sink.message) return;
    vsnprintf(text, sizeof text, format, arguments);
    sink.message(sink.user, level, text);
}

void sow_note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(SOW_LOG_NOTE, format, arguments);
    va_end(arguments);
}

void sow_warn(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(SOW_LOG_WARNING, format, arguments);
    va_end(arguments);
}

void sow_progress(const char *what, int64_t done, int64_t total) {
    static double last;
    if (!sink.progress) return;
    double now = sow_seconds();
    if (done < total && done > 0 && now - last < 0.1) return;
    last = now;
    sink.progress(sink.user, what, done, total);
}

void sow_interrupt(void) {
    interrupted = 1;
}

bool sow_interrupted(void) {
    return interrupted;
}

sow_status sow_check_interrupt(void) {
    return interrupted ? sow_fail(SOW_E_INTERRUPTED, "interrupted") : SOW_OK;
}

double sow_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
