/* Tokenizers against the reference: every string of the oracles, worked examples of the models, files that are refused. */
#include "check.h"

#include <jansson.h>

static json_t *oracle, *worked;

static sow_tokenizer *open_or_skip(const char *name) {
    sow_arena *arena;
    char *folder;
    sow_tokenizer *t;
    OK(sow_arena_new(&arena));
    if (sow_data_locate(arena, name, &folder) != SOW_OK) {
        fprintf(stderr, "SKIPPED (sow fetch %s)\n", name);
        sow_arena_free(arena);
        skip();
    }
    OK(sow_tokenizer_open(folder, &t));
    sow_arena_free(arena);
    return t;
}

static void check_ids(const char *name, const json_t *expected, const int32_t *ids, int64_t count) {
    char found[2048] = "", wanted[2048] = "";
    bool same = (int64_t)json_array_size(expected) == count;
    for (int64_t i = 0; i < count && strlen(found) < 2000; i++) snprintf(found + strlen(found), 16, " %d", ids[i]);
    for (size_t i = 0; i < json_array_size(expected); i++) {
        int64_t id = json_integer_value(json_array_get(expected, i));
        same = same && ids[i] == id;
        if (strlen(wanted) < 2000) snprintf(wanted + strlen(wanted), 16, " %d", (int)id);
    }
    if (!same) fail_msg("%s: found%s, expected%s", name, found, wanted);
}

static void check_text(const char *name, const json_t *expected, const json_t *original, const char *found,
                       size_t size) {
    if (json_is_true(expected)) expected = original;
    if (size != json_string_length(expected) || memcmp(found, json_string_value(expected), size))
        fail_msg("%s: decoded '%.*s', expected '%s'", name, (int)size, found, json_string_value(expected));
}

/* model: "smollm2" or "minilm"; the latter drops special tokens when it decodes. */
static void check_strings(sow_tokenizer *t, const char *model, bool special) {
    json_t *entry;
    size_t i;
    char decoded[32];
    sow_arena *arena;
    OK(sow_arena_new(&arena));
    snprintf(decoded, sizeof decoded, "%s_decoded", model);
    json_array_foreach(json_object_get(oracle, "strings"), i, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        const json_t *text = json_object_get(entry, "text");
        sow_encoding e;
        char *back;
        size_t size;
        for (int twice = 0; twice < 2; twice++) { /* the second time from the cache */
            OK(sow_encode(t, arena, json_string_value(text), json_string_length(text), special ? SOW_ENCODE_SPECIAL : 0,
                          &e));
            check_ids(name, json_object_get(entry, model), e.ids, e.count);
        }
        OK(sow_decode(t, arena, e.ids, e.count, special, &back, &size));
        check_text(name, json_object_get(entry, decoded), text, back, size);
    }
    assert_int_equal(i, 85);
    json_array_foreach(json_object_get(oracle, "invalid_utf8"), i, entry) {
        const char *name = json_string_value(json_object_get(entry, "name")),
                   *hex = json_string_value(json_object_get(entry, "utf8_hex"));
        char bytes[256];
        int n = 0;
        for (unsigned byte; sscanf(hex, "%x", &byte) == 1; hex += strcspn(hex, " "), hex += strspn(hex, " "))
            bytes[n++] = (char)byte;
        sow_encoding e;
        FAILS(sow_encode(t, arena, bytes, (size_t)n, 0, &e), SOW_E_FORMAT, "not UTF-8 at byte");
        OK(sow_encode(t, arena, bytes, (size_t)n, SOW_ENCODE_REPLACE | (special ? SOW_ENCODE_SPECIAL : 0), &e));
        check_ids(name, json_object_get(entry, model), e.ids, e.count);
    }
    assert_int_equal(i, 7);
    sow_arena_free(arena);
}

static const json_t *text_named(const char *name) {
    json_t *entry;
    size_t i;
    json_array_foreach(json_object_get(oracle, "strings"), i,
                       entry) if (!strcmp(json_string_value(json_object_get(entry, "name")),
                                          name)) return json_object_get(entry, "text");
    return NULL;
}

static void check_offsets(sow_tokenizer *t, const char *model, bool special) {
    json_t *entry;
    size_t i;
    char key[32];
    sow_arena *arena;
    OK(sow_arena_new(&arena));
    snprintf(key, sizeof key, "%s_offsets", model);
    json_array_foreach(json_object_get(oracle, "offsets"), i, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        const json_t *text = text_named(name), *expected = json_object_get(entry, key);
        sow_encoding e;
        OK(sow_encode(t, arena, json_string_value(text), json_string_length(text),
                      SOW_ENCODE_OFFSETS | (special ? SOW_ENCODE_SPECIAL : 0), &e));
        assert_int_equal(e.count, json_array_size(expected));
        for (size_t k = 0; k < json_array_size(expected); k++) {
            int64_t first = json_integer_value(json_array_get(json_array_get(expected, k), 0)),
                    last = json_integer_value(json_array_get(json_array_get(expected, k), 1));
            if (e.first[k] != first || e.last[k] != last)
                fail_msg("%s: token %zu spans %d to %d, expected %d to %d", name, k, e.first[k], e.last[k], (int)first,
                         (int)last);
        }
    }
    sow_arena_free(arena);
}

static void byte_level_bpe_from_gguf_equals_the_reference(void **state) {
    sow_tokenizer *t = open_or_skip("smollm2");
    check_strings(t, "smollm2", false);
    check_offsets(t, "smollm2", false);
    sow_tokenizer_free(t);
}

static void wordpiece_from_json_equals_the_reference(void **state) {
    sow_tokenizer *t = open_or_skip("minilm");
    check_strings(t, "minilm", true);
    check_offsets(t, "minilm", true);
    sow_tokenizer_free(t);
}

/* ---- worked examples, as files of our own ---- */

static sow_status open_json(const json_t *root, sow_tokenizer **out) {
    const char *path = in_folder("tokenizer.json");
    json_dump_file(root, path, 0);
    return sow_tokenizer_open(path, out);
}

static void check_pieces(sow_tokenizer *t, const char *text, const json_t *expected) {
    sow_arena *arena;
    sow_encoding e;
    char found[512] = "";
    OK(sow_arena_new(&arena));
    OK(sow_encode(t, arena, text, strlen(text), SOW_ENCODE_OFFSETS, &e));
    bool same = (int64_t)json_array_size(expected) == e.count;
    for (int64_t i = 0; i < e.count; i++) {
        sow_span token = sow_token_text(t, e.ids[i]);
        const char *wanted = json_string_value(json_array_get(expected, (size_t)i));
        bool unknown = token.size == 5 &&
                       !memcmp(token.text, "<unk>", 5); /* the examples show the text it stands for */
        same = same && wanted && (unknown || (token.size == strlen(wanted) && !memcmp(token.text, wanted, token.size)));
        snprintf(found + strlen(found), sizeof found - strlen(found), " %.*s", (int)token.size, token.text);
    }
    if (!same) fail_msg("'%s' became%s", text, found);
    sow_arena_free(arena);
}

static void check_cases(const json_t *root, const json_t *cases) {
    const char *text;
    json_t *expected;
    sow_tokenizer *t;
    OK(open_json(root, &t));
    json_object_foreach((json_t *)(uintptr_t)cases, text, expected) check_pieces(t, text, expected);
    sow_tokenizer_free(t);
}

static void merges_equal_the_worked_examples(void **state) {
    json_t *example, *token;
    size_t i, k;
    json_array_foreach(json_object_get(worked, "bpe"), i, example) {
        json_t *vocabulary = json_object();
        json_array_foreach(json_object_get(example, "vocab"), k, token)
            json_object_set_new(vocabulary, json_string_value(token), json_integer((json_int_t)k));
        json_t *root = json_pack("{s:{s:s,s:o,s:O,s:b,s:b}}", "model", "type", "BPE", "vocab", vocabulary, "merges",
                                 json_object_get(example, "merges"), "byte_fallback",
                                 json_is_true(json_object_get(example, "byte_fallback")), "fuse_unk",
                                 json_is_true(json_object_get(example, "fuse_unk")));
        if (json_object_get(vocabulary, "<unk>"))
            json_object_set_new(json_object_get(root, "model"), "unk_token", json_string("<unk>"));
        check_cases(root, json_object_get(example, "cases"));
        json_decref(root);
    }
}

static void unigram_equals_the_worked_examples(void **state) {
    json_t *example;
    size_t i;
    json_array_foreach(json_object_get(worked, "unigram"), i, example) {
        json_t *root = json_pack("{s:{s:s,s:i,s:O}}", "model", "type", "Unigram", "unk_id", 0, "vocab",
                                 json_object_get(example, "vocab"));
        if (json_object_get(example, "metaspace"))
            json_object_set_new(root, "pre_tokenizer",
                                json_pack("{s:s,s:s,s:s,s:b}", "type", "Metaspace", "replacement", "\xE2\x96\x81",
                                          "prepend_scheme", "always", "split", 1));
        check_cases(root, json_object_get(example, "cases"));
        json_decref(root);
    }
}

static void splits_equal_the_worked_examples(void **state) {
    static const struct {
        const char *key, *behaviour;
        int invert;
    } kinds[] = {{"removed", "Removed", 0},
                 {"isolated", "Isolated", 0},
                 {"merged_with_previous", "MergedWithPrevious", 0},
                 {"merged_with_next", "MergedWithNext", 0},
                 {"contiguous", "Contiguous", 0},
                 {"invert_merged_with_previous", "MergedWithPrevious", 1}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        /* a vocabulary in which every piece is a word of its own */
        json_t *expected = json_object_get(json_object_get(worked, "split_dash_of_a--b-c"), kinds[i].key),
               *vocabulary = json_object(), *piece;
        size_t k;
        json_array_foreach(expected, k, piece) if (!json_object_get(vocabulary, json_string_value(piece)))
            json_object_set_new(vocabulary, json_string_value(piece),
                                json_integer((json_int_t)json_object_size(vocabulary)));
        json_t *root = json_pack("{s:{s:s,s:o},s:{s:s,s:{s:s},s:s,s:b}}", "model", "type", "WordPiece", "vocab",
                                 vocabulary, "pre_tokenizer", "type", "Split", "pattern", "String", "-", "behavior",
                                 kinds[i].behaviour, "invert", kinds[i].invert);
        sow_tokenizer *t;
        OK(open_json(root, &t));
        check_pieces(t, "a--b-c", expected);
        sow_tokenizer_free(t);
        json_decref(root);
    }
}

static void unknown_parts_are_refused_by_name(void **state) {
    static const struct {
        const char *json, *message;
    } wrong[] = {
        {"{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0}}}", "model WordLevel is not supported"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}", "dropout"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", "merge 0, 'a' and 'b'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "id 0 stands twice"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1000000000000},\"merges\":[]}}", "token a has no id"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"normalizer\":{\"type\":\"Magic\"}}",
         "normalizer Magic is not supported"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}}",
         "pattern (:"},
        {"{\"model\":", "line 1"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sow_tokenizer *t;
        const char *path = in_folder("wrong.json");
        OK(sow_write_file(path, wrong[i].json, strlen(wrong[i].json)));
        assert_int_not_equal(sow_tokenizer_open(path, &t), SOW_OK);
        if (!strstr(sow_message(), wrong[i].message) || !strstr(sow_message(), "wrong.json"))
            fail_msg("found '%s', expected '%s'", sow_message(), wrong[i].message);
    }
}

static int set_up(void **state) {
    oracle = json_load_file("tests/oracles/tokenizers.json", JSON_ALLOW_NUL, NULL);
    json_t *models = json_load_file("tests/oracles/smollm2.json", 0, NULL);
    worked = json_incref(json_object_get(models, "worked"));
    json_decref(models);
    return oracle && worked ? make_test_folder() : -1;
}

static int tear_down(void **state) {
    json_decref(oracle);
    json_decref(worked);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level_bpe_from_gguf_equals_the_reference),
        cmocka_unit_test(wordpiece_from_json_equals_the_reference),
        cmocka_unit_test(merges_equal_the_worked_examples),
        cmocka_unit_test(unigram_equals_the_worked_examples),
        cmocka_unit_test(splits_equal_the_worked_examples),
        cmocka_unit_test(unknown_parts_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
