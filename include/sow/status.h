/* What a call can end with, and the message that goes with it. */
#ifndef SOW_STATUS_H
#define SOW_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_status {
    SOW_OK = 0,
    SOW_E_MEMORY,      /* an allocation failed */
    SOW_E_IO,          /* the operating system refused a read, a write, a rename ... */
    SOW_E_FORMAT,      /* a file is not what it claims to be */
    SOW_E_SHAPE,       /* tensors or networks do not fit each other */
    SOW_E_TYPE,        /* a dtype or JSON type that does not fit */
    SOW_E_RANGE,       /* a number outside its range */
    SOW_E_ARGUMENT,    /* a wrong command, option or plan: exit status 2 */
    SOW_E_NOT_FOUND,   /* no such file, tensor, method, data set ... */
    SOW_E_EXISTS,      /* the output exists already */
    SOW_E_NUMBER,      /* NaN or infinity where none may be */
    SOW_E_TRAINER,     /* a trainer died, hung or broke its contract */
    SOW_E_BUSY,        /* a store is locked by another process */
    SOW_E_INTERRUPTED, /* Ctrl-C or SIGTERM: exit status 130 */
    SOW_E_UNSUPPORTED, /* this build or this machine lacks what is needed */
} sow_status;

/* Keeps the message of a failure for this thread and returns `code`, so that a check reads
 * `return sow_fail(SOW_E_SHAPE, "linear: input has %lld columns, weight expects %lld", ...)`.
 * The message says what was wrong, where, what was expected and what to do, without a final newline.
 * Never allocates; messages over 2,047 bytes are cut. Cost: one vsnprintf. */
sow_status sow_fail(sow_status code, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Puts `format` and ": " before this thread's message and returns `code` unchanged: adds the place
 * (a file, a tensor) to a message that was made where the place was not known. */
sow_status sow_fail_in(sow_status code, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* The message of this thread's latest failure; "" before the first. Valid until the next failure. */
const char *sow_message(void);

/* Short name of a status for JSON: "ok", "memory", "io", "format" ... */
const char *sow_status_name(sow_status code);

/* Passes a failure up. The only macro here that hides control flow. */
#define SOW_TRY(call)                              \
    do {                                           \
        sow_status sow_try_status_ = (call);       \
        if (sow_try_status_ != SOW_OK) return sow_try_status_; \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
