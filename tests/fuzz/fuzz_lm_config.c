/* config.json from anywhere: refused, or sizes that fit each other. */
#include <jansson.h>
#include <stdlib.h>

#include "fuzz_file.h"

#include "sow/lm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { HEAD_MAX = 4096 };
    static double frequency[HEAD_MAX / 2];
    sow_lm_config config;
    json_t *json = json_loadb((const char *)data, size, 0, NULL);
    if (sow_lm_configure(json, &config) == SOW_OK) {
        if (config.layers < 1 || config.layers > SOW_LM_LAYERS_MAX || config.heads % config.kv_heads) abort();
        if (config.family <= SOW_LM_GEMMA3 && config.head_size <= HEAD_MAX) {
            sow_rope_frequencies(&config.rope, config.head_size, frequency);
            sow_rope_frequencies(&config.local_rope, config.head_size, frequency);
        }
    }
    json_decref(json);
    return 0;
}
