/* Tokenizers from files that are wrong: refused in one line that names the part, and little memory is taken for what a file
 * claims; texts and ids that do not fit are told. */
#include "gguf_draft.h"

#include <jansson.h>

/* ---- tokenizer.json ---- */

#define BPE "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

static void check_refused(const char *path, const char *message) {
    sow_tokenizer *t;
    if (sow_tokenizer_open(path, &t) == SOW_OK) fail_msg("accepted, expected '%s'", message);
    if (!strstr(sow_message(), message) || !strstr(sow_message(), path))
        fail_msg("found '%s', expected '%s'", sow_message(), message);
}

static void wrong_parts_are_refused_by_name(void **state) {
    static const char *const wrong[][2] = {
        {"{" BPE ",\"normalizer\":{\"type\":\"Nmt\"}}", "normalizer Nmt is not supported"},
        {"{" BPE ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"X\"}]}}",
         "normalizer X is not supported"},
        {"{" BPE ",\"normalizer\":{}}", "normalizer: type is missing"},
        {"{" BPE ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{},\"content\":\"\"}}", "pattern: expected"},
        {"{" BPE ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"}}}", "content: expected a text"},
        {"{" BPE ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"A?\"}}",
         "base64: character 1 is '?'"},
        {"{" BPE ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}}",
         "a map of 4 bytes says that its first part has 4294967295"},
        {"{" BPE ",\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}", "pre_tokenizer UnicodeScripts is not supported"},
        {"{" BPE ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":\"Maybe\"}}",
         "behavior: found Maybe"},
        {"{" BPE ",\"decoder\":{\"type\":\"CTC\"}}", "decoder CTC is not supported"},
        {"{" BPE ",\"post_processor\":{\"type\":\"X\"}}", "post_processor X is not supported"},
        {"{" BPE
         ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\"}}]}}",
         "special token [CLS] is not described"},
        {"{" BPE ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"x\",77],\"sep\":[\"y\",1]}}", "id 77"},
        {"{" BPE ",\"added_tokens\":[{\"content\":\"<x>\"}]}", "added_tokens: entry 0 has no id"},
        {"{" BPE ",\"added_tokens\":[{\"id\":3}]}", "content: expected a text"},
        {"{" BPE ",\"added_tokens\":[{\"id\":4294967296,\"content\":\"x\"}]}", "added_tokens: entry 0 has no id"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"continuing_subword_prefix\":\"##\"}}",
         "model.continuing_subword_prefix is not supported"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}",
         "model.end_of_word_suffix is not supported"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[7]}}", "model.merges: entry 0 is no pair"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "model.merges: expected an array"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}", "model.vocab: expected an object"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", "token a has no id from 0 to 4194303"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":4194304},\"merges\":[]}}",
         "token a has no id from 0 to 4194303"},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0},\"unk_token\":\"[UNK]\"}}",
         "[UNK] is not in the vocabulary"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",\"b\"]]}}", "model.vocab: entry 0 is no pair"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":9}}", "model.unk_id: found 9"},
        {"{\"model\":7}", "model: expected an object"},
        {"[]", "model: expected an object"},
        {"{}", "model: expected an object"},
        {"{" BPE "," BPE "}", "duplicate object key"},
        {"", "line 1"}};
    const char *path = in_folder("wrong.json");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        OK(sow_write_file(path, wrong[i][0], strlen(wrong[i][0])));
        check_refused(path, wrong[i][1]);
    }
}

static void files_that_are_too_large_or_deep_are_refused(void **state) {
    static char text[200000];
    const char *path = in_folder("large.json");
    FILE *f = fopen(path, "w");
    assert_true(f && ftruncate(fileno(f), (256 << 20) + 1) == 0); /* holes: nothing is written or read */
    fclose(f);
    check_refused(path, "the file is larger than 256 MiB");
    size_t size = (size_t)sprintf(text, "{" BPE ",\"normalizer\":");
    for (int i = 0; i < 64; i++) size += (size_t)sprintf(text + size, "{\"type\":\"Sequence\",\"normalizers\":[");
    OK(sow_write_file(path, text, size));
    check_refused(path, "JSON nested more than 64 deep");
    size = (size_t)sprintf(text, "{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"");
    memset(text + size, 'a', 65537), size += 65537;
    size += (size_t)sprintf(text + size, "\":0}}}");
    OK(sow_write_file(path, text, size));
    check_refused(path, "token 0 has 65537 bytes, expected at most 65536");
}

/* ---- GGUF ---- */

static void put_key(draft *d, const char *name, uint32_t type) {
    char key[64];
    snprintf(key, sizeof key, "tokenizer.ggml.%s", name);
    put_text(d, key);
    put_u32(d, type);
}

static void put_texts(draft *d, const char *name, const char *const *texts, uint64_t count) {
    put_key(d, name, 9);
    put_u32(d, 8), put_u64(d, count);
    for (uint64_t i = 0; i < count; i++) put_text(d, texts[i]);
}

/* What is wrong about a file of three tokens and one merge. */
typedef struct lie {
    const char *model, *pre, *merge;
    uint64_t types, scores, begin;
    float score;
    bool no_tokens;
    const char *message;
} lie;

static void write_lie(const lie *l, const char *path) {
    static const char *const tokens[] = {"a", "b", "ab"};
    draft d = {.size = 0};
    bool scored = l->scores > 0;
    put(&d, "GGUF", 4), put_u32(&d, 3), put_u64(&d, 0);
    put_u64(&d, (uint64_t)(6 + scored - l->no_tokens));
    put_key(&d, "model", 8), put_text(&d, l->model);
    put_key(&d, "pre", 8), put_text(&d, l->pre);
    if (!l->no_tokens) put_texts(&d, "tokens", tokens, 3);
    put_texts(&d, "merges", &l->merge, 1);
    put_key(&d, "token_type", 9), put_u32(&d, 5), put_u64(&d, l->types);
    for (uint64_t i = 0; i < l->types; i++) put_u32(&d, 1);
    put_key(&d, "bos_token_id", 4), put_u32(&d, l->begin);
    if (scored) {
        put_key(&d, "scores", 9), put_u32(&d, 6), put_u64(&d, l->scores);
        for (uint64_t i = 0; i < l->scores; i++) put(&d, &l->score, 4);
    }
    while (d.size % 32) put(&d, "", 1);
    OK(sow_write_file(path, d.bytes, d.size));
}

static void gguf_keys_that_do_not_fit_are_named(void **state) {
    static const lie wrong[] = {
        {"gpt2", "gpt-2", "a b", 3, 0, 0, 0, false, NULL},
        {"llama", "", "a b", 3, 3, 0, -1, false, NULL},
        {"rwkv", "gpt-2", "a b", 3, 0, 0, 0, false, "found rwkv, expected gpt2, llama, bert or t5"},
        {"gpt2", "tekken", "a b", 3, 0, 0, 0, false, "tekken is not known; give the model's tokenizer.json"},
        {"gpt2", "gpt-2", "ab", 3, 0, 0, 0, false, "merge 0 is no pair"},
        {"gpt2", "gpt-2", "b a", 3, 0, 0, 0, false, "merge 0, 'b' and 'a'"},
        {"gpt2", "gpt-2", "a b", 2, 0, 0, 0, false, "2 token types for 3 tokens"},
        {"gpt2", "gpt-2", "a b", 3, 0, 3, 0, false, "a special token's id is beyond the vocabulary of 3"},
        {"gpt2", "gpt-2", "a b", 3, 0, 0, 0, true, "tokens"},
        {"llama", "", "a b", 3, 0, 0, 0, false, "scores"},
        {"llama", "", "a b", 3, 2, 0, 0, false, "2 scores for 3 tokens"},
        {"llama", "", "a b", 3, 3, 0, (float)(0.0 / 0.0), false, "score 0 is not finite"}};
    const char *path = in_folder("lie.gguf");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_lie(&wrong[i], path);
        if (wrong[i].message) {
            check_refused(path, wrong[i].message);
            continue;
        }
        sow_tokenizer *t; /* the file itself is good */
        OK(sow_tokenizer_open(path, &t));
        assert_int_equal(sow_tokenizer_size(t), 3);
        sow_tokenizer_free(t);
    }
}

/* ---- ids and texts ---- */

static void ids_and_texts_that_do_not_fit_are_told(void **state) {
    static const int32_t beyond[] = {0, 3}, below[] = {-1};
    const char *path = in_folder("good.json");
    sow_arena *arena;
    sow_tokenizer *t;
    sow_encoding e;
    char *text;
    size_t size;
    OK(sow_arena_new(&arena));
    OK(sow_write_file(path, "{" BPE "}", strlen("{" BPE "}")));
    OK(sow_tokenizer_open(path, &t));
    FAILS(sow_decode(t, arena, beyond, 2, false, &text, &size), SOW_E_RANGE, "id 3 is no token; the vocabulary has 3");
    FAILS(sow_decode(t, arena, below, 1, false, &text, &size), SOW_E_RANGE, "id -1 is no token");
    OK(sow_decode(t, arena, NULL, 0, false, &text, &size));
    assert_true(size == 0 && text[0] == 0);
    OK(sow_encode(t, arena, "", 0, SOW_ENCODE_SPECIAL | SOW_ENCODE_OFFSETS, &e));
    assert_int_equal(e.count, 0);
    FAILS(sow_encode(t, arena, "ab\xED\xA0\x80", 5, 0, &e), SOW_E_FORMAT, "not UTF-8 at byte 2");
    FAILS(sow_encode(t, arena, "a", (size_t)1 << 40, 0, &e), SOW_E_RANGE, "a text of 1099511627776 bytes");
    OK(sow_encode(t, arena, "abz", 3, 0, &e)); /* what is no token vanishes where there is none for the unknown */
    assert_true(e.count == 1 && e.ids[0] == 2);
    sow_tokenizer_free(t);
    sow_arena_free(arena);
}

static int set_up(void **state) {
    return make_test_folder();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_parts_are_refused_by_name),
        cmocka_unit_test(files_that_are_too_large_or_deep_are_refused),
        cmocka_unit_test(gguf_keys_that_do_not_fit_are_named),
        cmocka_unit_test(ids_and_texts_that_do_not_fit_are_told),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
