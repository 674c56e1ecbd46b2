/* A tokenizer whose ids are bytes, with the special tokens of every chat template: texts in tests can be counted by hand. */
#ifndef TESTS_UNIT_BYTE_TOKENIZER_H
#define TESTS_UNIT_BYTE_TOKENIZER_H

#include "check.h"

static const char *const specials[] = {
    "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>",   "<bos>",      "<start_of_turn>",   "<end_of_turn>",       "</s>"};
enum { SPECIALS = sizeof specials / sizeof *specials, FIRST_SPECIAL = 256 };

static inline const char *write_tokenizer(void) {
    json_t *words = json_object(), *added = json_array();
    for (int b = 0; b < 256; b++) { /* GPT-2's alphabet of bytes */
        bool own = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        int moved = 256, c = b;
        for (int k = 0; k < b; k++) moved += !((k >= 33 && k <= 126) || (k >= 161 && k <= 172) || k >= 174);
        if (!own) c = moved;
        char text[3] = {(char)(c < 128 ? c : 0xC0 | c >> 6), (char)(c < 128 ? 0 : 0x80 | (c & 63)), 0};
        json_object_set_new(words, text, json_integer(b));
    }
    for (int i = 0; i < SPECIALS; i++)
        json_array_append_new(added, json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", FIRST_SPECIAL + i, "content",
                                               specials[i], "special", 1, "normalized", 0, "lstrip", 0, "rstrip", 0,
                                               "single_word", 0));
    json_t *all = json_pack("{s:o,s:{s:s,s:o,s:[]},s:{s:s,s:b,s:b},s:{s:s}}", "added_tokens", added, "model", "type",
                            "BPE", "vocab", words, "merges", "pre_tokenizer", "type", "ByteLevel", "add_prefix_space",
                            0, "use_regex", 0, "decoder", "type", "ByteLevel");
    const char *path = in_folder("tokenizer.json");
    assert_int_equal(json_dump_file(all, path, 0), 0);
    json_decref(all);
    return path;
}

#endif
