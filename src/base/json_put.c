/* Members of JSON objects, with a status. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "sow/json.h"

static sow_status put_status(int failed) {
    return failed ? sow_fail(SOW_E_MEMORY, "out of memory, or text that is not UTF-8") : SOW_OK;
}

sow_status sow_put_json(json_t *object, const char *key, json_t *value) {
    return put_status(json_object_set_new(object, key, value));
}

sow_status sow_append_json(json_t *array, json_t *value) {
    return put_status(json_array_append_new(array, value));
}

sow_status sow_put_text(json_t *object, const char *key, const char *text) {
    return sow_put_json(object, key, text ? json_string(text) : json_null());
}

sow_status sow_put_format(json_t *object, const char *key, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    json_t *text = json_vsprintf(format, arguments);
    va_end(arguments);
    return sow_put_json(object, key, text);
}

sow_status sow_put_count(json_t *object, const char *key, int64_t count) {
    return sow_put_json(object, key, json_integer(count));
}

json_t *sow_json_real(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

sow_status sow_put_real(json_t *object, const char *key, double value) {
    return sow_put_json(object, key, sow_json_real(value));
}

sow_status sow_put_known(json_t *object, const char *key, double value) {
    return isfinite(value) ? sow_put_real(object, key, value) : SOW_OK;
}

sow_status sow_put_flag(json_t *object, const char *key, bool value) {
    return sow_put_json(object, key, json_boolean(value));
}
