/* JSON from strangers: nesting and memory bounded before jansson sees it. */
#ifndef SOW_FORMATS_JSON_H
#define SOW_FORMATS_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "sow/status.h"

/* What one JSON text may hold. */
typedef struct sow_json_limits {
    int depth;            /* nested arrays and objects, at most 1,000 */
    int64_t array_length; /* elements of one array; 0: any number */
} sow_json_limits;

/* Parses `size` bytes strictly (no duplicate keys, no NUL in strings, nothing behind the value). Brackets are counted
 * first, so that memory stays below about twenty times the text's size. `place` begins the messages: a file, a
 * file's header. Errors: SOW_E_FORMAT with line and column, SOW_E_MEMORY. The caller owns *out (json_decref). */
sow_status sow_json_parse(const char *place, const char *text, size_t size, sow_json_limits limits, json_t **out);

#endif
