/* PEFT folders from anywhere: the input up to the first zero byte is adapter_config.json, what follows the tensors. Refused, or
 * the adapter is converted and made plain. */
#include "fuzz_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sow/adapter.h"

static char folder[200];

static void forget(void) {
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (*folder && system(command)) folder[0] = 0;
}

static void put(const char *name, const uint8_t *data, size_t size) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f) return;
    fwrite(data, 1, size, f);
    fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sow_adapter *a, *b;
    double lost;
    if (!*folder) {
        snprintf(folder, sizeof folder, "/dev/shm/fuzz-peft-XXXXXX");
        if (!mkdtemp(folder)) abort();
        atexit(forget);
    }
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t config = end ? (size_t)(end - data) : size;
    put("adapter_config.json", data, config);
    put("adapter_model.safetensors", end ? end + 1 : data, end ? size - config - 1 : 0);
    if (sow_adapter_read(folder, true, &a) != SOW_OK) return 0;
    if (sow_adapter_convert(a, 1, NAN, &b, &lost) == SOW_OK) sow_adapter_free(b);
    sow_adapter_free(a);
    return 0;
}
