/* Text that grows in an arena. A failure is remembered: write on, and check once, at writing_end. */
#ifndef SOW_REPORT_WRITING_H
#define SOW_REPORT_WRITING_H

#include <stdbool.h>

#include "sow/memory.h"

typedef struct writing {
    sow_arena *arena;
    char *data;
    size_t length, capacity;
    bool failed;
} writing;

void writing_bytes(writing *w, const char *bytes, size_t length);
void writing_put(writing *w, const char *text);
void writing_format(writing *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Text from outside for XML and HTML, in elements and in quoted attributes: <, >, &, quotes escaped; what is no UTF-8
 * or no character of XML becomes U+FFFD. */
void writing_escaped(writing *w, const char *text);
/* A coordinate in pixels: one decimal, none where it is zero. */
void writing_pixel(writing *w, double value);
/* The text, with a zero byte behind it. SOW_E_MEMORY if anything failed. */
sow_status writing_end(writing *w, const char **text);

/* Length in bytes of the UTF-8 character that begins here, 0 if there is none (or one that XML forbids). */
int utf8_length(const char *text);

#endif
