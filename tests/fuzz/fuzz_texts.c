/* Training texts from anywhere, as JSON lines, TSV and plain text: refused, or sequences whose labels are their own tokens. */
#include "fuzz_file.h"

#include <string.h>

#include "sow/file.h"
#include "sow/texts.h"

static const char *const names[] = {"a.jsonl", "a.tsv", "a.txt"};
static char places[3][128];
static sow_tokenizer *tokenizer;
static const sow_chat *chat;

/* A tokenizer of letters, and links to the input under names of each kind. */
static void set_up(const char *input) {
    static const char json[] =
        "{\"added_tokens\":[{\"id\":4,\"content\":\"<|im_start|>\",\"special\":true},{\"id\":5,"
        "\"content\":\"<|im_end|>\",\"special\":true}],\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\","
        "\"vocab\":{\"u\":0,\"a\":1,\"b\":2,\"ab\":3},\"merges\":[\"a b\"]}}";
    char folder[] = "/tmp/fuzz-texts-XXXXXX", path[128];
    if (!mkdtemp(folder)) abort();
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    if (sow_write_file(path, json, strlen(json)) != SOW_OK || sow_tokenizer_open(path, &tokenizer) != SOW_OK) abort();
    if (sow_chat_find(NULL, "chatml", &chat) != SOW_OK) abort();
    for (int i = 0; i < 3; i++) {
        snprintf(places[i], sizeof places[i], "%s/%s", folder, names[i]);
        if (symlink(input, places[i]) != 0) abort();
    }
}

static void check(const sow_texts *t) {
    for (int64_t i = 0; i < t->count; i++) {
        if (t->start[i + 1] <= t->start[i] || t->line[i] < 1) abort();
        for (int64_t k = t->start[i]; k + 1 < t->start[i + 1]; k++)
            if (t->labels[k] >= 0 && t->labels[k] != t->ids[k + 1]) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *input = fuzz_file(data, size);
    if (!tokenizer) set_up(input);
    for (int i = 0; i < 6; i++) {
        sow_texts *t;
        sow_texts_options options = {.length = 16, .end = 0, .chat = i < 3 ? chat : NULL};
        if (sow_texts_open(places[i % 3], &options, tokenizer, &t) != SOW_OK) continue;
        check(t);
        sow_texts_free(t);
    }
    return 0;
}
