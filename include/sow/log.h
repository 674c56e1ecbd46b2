/* Messages, progress and interruption: what the library tells whoever runs it, without printing itself. */
#ifndef SOW_LOG_H
#define SOW_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "sow/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_log_level { SOW_LOG_NOTE, SOW_LOG_WARNING } sow_log_level;

/* Where messages go. The command installs sinks that write to stderr; by default they go nowhere. */
typedef struct sow_log_sink {
    void (*message)(void *user, sow_log_level level, const char *text);
    /* done of total units (total 0: unknown); called at most ten times a second, and once when done == total. */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total);
    void *user;
} sow_log_sink;

/* Sets the process's sink; NULL removes it. Call before threads start. */
void sow_log_to(const sow_log_sink *sink);

/* One line for the user: what was chosen and why (note), what may be wrong (warning). */
void sow_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, for what may be wrong. */
void sow_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Reports progress of long work; cheap enough for every step (a clock read). */
void sow_progress(const char *what, int64_t done, int64_t total);

/* Asks long work to end soon (called by signal handlers), and whether that was asked. Loops that can take
 * more than a second test it once a round: `SOW_TRY(sow_check_interrupt());`. */
void sow_interrupt(void);
/* Whether sow_interrupt was called. */
bool sow_interrupted(void);
/* SOW_E_INTERRUPTED once sow_interrupt was called, else SOW_OK. */
sow_status sow_check_interrupt(void);

/* Monotonic seconds, for durations only: never part of a result. */
double sow_seconds(void);

#ifdef __cplusplus
}
#endif
#endif
