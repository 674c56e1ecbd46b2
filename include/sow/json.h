/* JSON as text: sorted or not, numbers as short as they can be and still read back equal. */
#ifndef SOW_JSON_H
#define SOW_JSON_H

#include <jansson.h>
#include <stdbool.h>

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

/* ---- results: an object's members, one a line of code ---- */

/* Each puts a member, in place of one of this name. SOW_E_MEMORY, also where key or text is not UTF-8. */

/* Any value; it is the object's from now on, or gone if that fails. NULL: its making failed. */
sow_status sow_put_json(json_t *object, const char *key, json_t *value);
/* The same at the end of an array. */
sow_status sow_append_json(json_t *array, json_t *value);
/* NULL: null. */
sow_status sow_put_text(json_t *object, const char *key, const char *text);
/* A formatted text. */
sow_status sow_put_format(json_t *object, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A whole number. */
sow_status sow_put_count(json_t *object, const char *key, int64_t count);
/* null where it is not finite. */
sow_status sow_put_real(json_t *object, const char *key, double value);
/* Left out where it is not finite. */
sow_status sow_put_known(json_t *object, const char *key, double value);
/* true or false. */
sow_status sow_put_flag(json_t *object, const char *key, bool value);
/* A number as a value: null where it is not finite. */
json_t *sow_json_real(double value);

#ifdef __cplusplus
}
#endif
#endif
