/* Patterns for tensor names, as --rule, --only and --rate take them. */
#ifndef SOW_BASE_PATTERN_H
#define SOW_BASE_PATTERN_H

#include <regex.h>
#include <stdbool.h>

#include "sow/status.h"

/* Compiles a POSIX extended regular expression of at most 1,000 bytes; free it by regfree. Errors: SOW_E_ARGUMENT with the reason. */
sow_status sow_pattern_compile(const char *pattern, regex_t *out);

/* Whether the pattern fits the name from its beginning, or from behind a dot, to its end: "norm.*weight" fits
 * "layers.0.norm1.weight". ^ stands for the name's own beginning. */
bool sow_pattern_fits(const regex_t *pattern, const char *name);

#endif
