/* The endings of names. */
#include <string.h>
#include <strings.h>

#include "sow/text.h"

/* Where an ending of that length would begin; NULL: the text is shorter. */
static const char *tail(const char *text, const char *end) {
    size_t n = strlen(text), e = strlen(end);
    return n >= e ? text + n - e : NULL;
}

bool sow_ends_with(const char *text, const char *end) {
    const char *at = tail(text, end);
    return at && !strcmp(at, end);
}

bool sow_ends_with_any_case(const char *text, const char *end) {
    const char *at = tail(text, end);
    return at && !strcasecmp(at, end);
}
