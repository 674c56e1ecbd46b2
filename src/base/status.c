/* The message of the latest failure, kept per thread. */
#include "sow/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_SIZE = 2048 };
static _Thread_local char message[MESSAGE_SIZE];

sow_status sow_fail(sow_status code, const char *format, ...) {
    char text[MESSAGE_SIZE]; /* arguments may point into the old message */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(message, text, sizeof message);
    return code;
}

sow_status sow_fail_in(sow_status code, const char *format, ...) {
    char text[MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t place = length < 0 ? 0 : (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
    if (place + 2 < sizeof text) {
        memcpy(text + place, ": ", 2);
        size_t rest = strnlen(message, sizeof text - place - 3);
        memcpy(text + place + 2, message, rest);
        text[place + 2 + rest] = 0;
    }
    memcpy(message, text, sizeof message);
    return code;
}

const char *sow_message(void) {
    return message;
}

const char *sow_status_name(sow_status code) {
    static const char *const names[] = {"ok",    "memory",   "io",     "format", "shape",   "type", "range",      "argument",
                                        "not-found", "exists", "number", "trainer", "busy", "interrupted", "unsupported"};
    return (unsigned)code < sizeof names / sizeof *names ? names[code] : "unknown";
}
