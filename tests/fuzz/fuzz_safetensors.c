/* Safetensors from anywhere: refused, or every tensor readable and the written copy accepted. */
#include "fuzz_file.h"

#include "sow/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sow_safetensors *file;
    sow_state *state;
    if (sow_safetensors_open(fuzz_file(data, size), &file) != SOW_OK) return 0;
    for (int64_t i = 0; i < sow_safetensors_count(file); i++) {
        sow_tensor t = sow_safetensors_tensor(file, i, NULL);
        fuzz_touch(t.data, sow_bytes(t));
    }
    if (sow_safetensors_view(file, &state) == SOW_OK) sow_state_free(state);
    sow_safetensors_close(file);
    return 0;
}
