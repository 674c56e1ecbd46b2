/* GGUF from anywhere: refused, or every tensor and every array is readable; then as a tokenizer and as a model. */
#include "fuzz_file.h"

#include "sow/lm.h"

static void touch_tensors(const sow_gguf *g) {
    for (int64_t i = 0; i < sow_gguf_count(g); i++) {
        const sow_gguf_tensor *t = sow_gguf_at(g, i);
        float values[256];
        int64_t count, bytes;
        fuzz_touch(t->data, t->bytes);
        sow_gguf_block(t->type, &count, &bytes);
        if (t->count >= count) sow_gguf_dequantise(t->type, t->data, count, values);
        if (sow_gguf_find(g, t->name) != t) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = fuzz_file(data, size);
    sow_gguf *g;
    sow_tokenizer *tokenizer;
    sow_lm *lm;
    if (sow_gguf_open(path, &g) != SOW_OK) return 0;
    touch_tensors(g);
    sow_gguf_close(g);
    if (sow_tokenizer_open(path, &tokenizer) == SOW_OK) sow_tokenizer_free(tokenizer);
    if (sow_lm_open(path, &lm) == SOW_OK) sow_lm_free(lm);
    return 0;
}
