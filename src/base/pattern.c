/* Patterns for tensor names: POSIX extended regular expressions that fit a name or its end behind a dot. */
#include "base/pattern.h"

#include <string.h>

enum { PATTERN_MAX = 1000 };

sow_status sow_pattern_compile(const char *pattern, regex_t *out) {
    if (strlen(pattern) > PATTERN_MAX) return sow_fail(SOW_E_ARGUMENT, "pattern '%.40s...' is over %d bytes", pattern, PATTERN_MAX);
    int code = regcomp(out, pattern, REG_EXTENDED);
    if (code == 0) return SOW_OK;
    char why[160];
    regerror(code, out, why, sizeof why);
    return sow_fail(code == REG_ESPACE ? SOW_E_MEMORY : SOW_E_ARGUMENT, "pattern '%s' is no extended regular expression: %s", pattern, why);
}

/* POSIX gives the leftmost and of those the longest match: a tail fits as a whole if and only if that is it. */
bool sow_pattern_fits(const regex_t *pattern, const char *name) {
    for (const char *tail = name; tail; tail = strchr(tail, '.') ? strchr(tail, '.') + 1 : NULL) {
        regmatch_t match;
        bool found = regexec(pattern, tail, 1, &match, tail == name ? 0 : REG_NOTBOL) == 0;
        if (found && match.rm_so == 0 && tail[match.rm_eo] == 0) return true;
    }
    return false;
}
