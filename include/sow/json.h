/* JSON as text: sorted or not, numbers as short as they can be and still read back equal. */
#ifndef SOW_JSON_H
#define SOW_JSON_H

#include <jansson.h>

#include "sow/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_json_style {
    SOW_JSON_SORTED = 1, /* keys in bytewise order; else in order of insertion */
    SOW_JSON_PRETTY = 2, /* one value a line (short plain lists stay on one), two spaces a level, a final newline */
} sow_json_style;

/* The text of `value` in the arena: the same bytes for equal values on every machine. Reals are the shortest of 15 to 17 digits
 * that read back equal. Errors: SOW_E_MEMORY; SOW_E_RANGE beyond 100 levels. Cost: two passes. */
sow_status sow_json_text(sow_arena *arena, const json_t *value, unsigned style, char **text);

/* The number as a user would type it: "0.1", "1e-05", "3". Returns `text`. */
enum { SOW_REAL_TEXT = 32 };
/* The shortest decimal text that reads back equal, into the caller's buffer; returns it. */
char *sow_real_text(double value, char text[SOW_REAL_TEXT]);

#ifdef __cplusplus
}
#endif
#endif
