/* JSON within limits: refused, or a value that can be written. */
#include "fuzz_file.h"

#include "formats/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *value;
    if (sow_json_parse("fuzz", (const char *)data, size, (sow_json_limits){.depth = 8}, &value) != SOW_OK) return 0;
    char *text = json_dumps(value, JSON_COMPACT);
    free(text);
    json_decref(value);
    return 0;
}
