/* JSON from strangers: nesting and memory bounded before jansson sees it. */
#include "formats/json.h"

#include <stdbool.h>

enum { DEPTH_MAX = 1000 };

/* An empty array costs jansson about 130 bytes, so a text of brackets alone would grow fiftyfold: no honest header
 * or configuration has more than one bracket in eight bytes, on average. */
enum { BYTES_PER_BRACKET = 8, FREE_BRACKETS = 1024 };

/* One pass over the text outside of strings: depth, number of brackets, length of arrays. */
static sow_status check_limits(const char *place, const char *text, size_t size, sow_json_limits limits) {
    int64_t elements[DEPTH_MAX];
    int depth = 0, allowed = limits.depth < DEPTH_MAX ? limits.depth : DEPTH_MAX;
    size_t brackets = 0;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\') i++;
            else if (c == '"') quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            if (depth == allowed) return sow_fail(SOW_E_FORMAT, "%s: byte %zu: JSON nested more than %d deep", place, i, allowed);
            if (++brackets > size / BYTES_PER_BRACKET + FREE_BRACKETS)
                return sow_fail(SOW_E_FORMAT, "%s: byte %zu: JSON of little but brackets", place, i);
            elements[depth++] = c == '[' ? 1 : INT64_MIN;
        } else if (c == ']' || c == '}') {
            if (depth > 0) depth--;
        } else if (c == ',' && depth > 0 && ++elements[depth - 1] > limits.array_length && limits.array_length > 0) {
            return sow_fail(SOW_E_FORMAT, "%s: byte %zu: a JSON array of more than %lld elements", place, i, (long long)limits.array_length);
        }
    }
    return SOW_OK;
}

sow_status sow_json_parse(const char *place, const char *text, size_t size, sow_json_limits limits, json_t **out) {
    json_error_t error;
    SOW_TRY(check_limits(place, text, size, limits));
    *out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (*out) return SOW_OK;
    /* jansson says nothing at all where some of its allocations fail */
    if (!error.text[0] || json_error_code(&error) == json_error_out_of_memory) return sow_fail(SOW_E_MEMORY, "%s: out of memory while reading JSON", place);
    return sow_fail(SOW_E_FORMAT, "%s: line %d, column %d: not valid JSON: %s", place, error.line, error.column, error.text);
}
