/* The fast ways of tokenizers equal the slow ones: scanners the patterns, windows of merges the merges one by one, remembered
 * words the model. */
#include "check.h"

#include <jansson.h>

#include "formats/tokenizer/tok.h"

static sow_rng rng;

static int64_t draw(int64_t below) {
    return (int64_t)sow_rng_below(&rng, (uint64_t)below);
}

/* ---- scanners ---- */

#define GPT2 "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LLAMA3(numbers)                                                         \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" numbers \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* A tokenizer to which every piece is one unknown word: offsets show the pieces. */
static sow_tokenizer *piece_finder(json_t *first, json_t *second) {
    sow_tokenizer *t;
    json_t *root = json_pack("{s:{s:s,s:{s:i},s:s,s:i},s:{s:s,s:[o,o*]}}", "model", "type", "WordPiece", "vocab",
                             "[UNK]", 0, "unk_token", "[UNK]", "max_input_chars_per_word", 1000, "pre_tokenizer",
                             "type", "Sequence", "pretokenizers", first, second);
    assert_non_null(root);
    assert_int_equal(json_dump_file(root, in_folder("pieces.json"), 0), 0);
    json_decref(root);
    OK(sow_tokenizer_open(in_folder("pieces.json"), &t));
    return t;
}

static json_t *split(const char *pattern, const char *behaviour) {
    return json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex", pattern, "behavior", behaviour,
                     "invert", 0);
}

static json_t *typed(const char *type, const char *flag, bool value, const char *flag2, bool value2) {
    return json_pack("{s:s,s:b,s:b}", "type", type, flag, value, flag2, value2);
}

static const char *const snippets[] = {" ",
                                       " ",
                                       " ",
                                       "  ",
                                       "\n",
                                       "\r",
                                       "\r\n",
                                       "\t",
                                       "\v",
                                       "a",
                                       "b",
                                       "Z",
                                       "the",
                                       "s",
                                       "t",
                                       "'",
                                       "'s",
                                       "'S",
                                       "'ll",
                                       "'Ve",
                                       "'re",
                                       "'\xC5\xBF",
                                       "'D",
                                       "x'",
                                       "0",
                                       "7",
                                       "123",
                                       "45678",
                                       ".",
                                       ",",
                                       "-",
                                       "_",
                                       "(",
                                       "\"",
                                       "/",
                                       "\x7F",
                                       "\x01",
                                       "$",
                                       "\xC3\xA9",
                                       "\xC3\x9F",
                                       "\xC5\xBF",
                                       "\xD0\x96",
                                       "\xD1\x8F",
                                       "\xD7\x90",
                                       "\xD8\xB9",
                                       "\xE4\xBD\xA0",
                                       "\xE3\x81\x82",
                                       "\xEA\xB0\x80",
                                       "\xF0\x9D\x94\x98",
                                       "\xC2\xB2",
                                       "\xD9\xA3",
                                       "\xE2\x85\xA7",
                                       "\xC2\xBD",
                                       "\xEF\xBC\x95",
                                       "\xC2\xA0",
                                       "\xE3\x80\x80",
                                       "\xE2\x80\xA8",
                                       "\xC2\x85",
                                       "\xE1\x9A\x80",
                                       "\xE1\xA0\x8E",
                                       "\xE2\x80\x89",
                                       "\xCC\x81",
                                       "e\xCC\x81",
                                       "\xE2\x80\x9C",
                                       "\xE2\x80\x94",
                                       "\xE3\x80\x82",
                                       "\xC2\xAB",
                                       "\xF0\x9F\x98\x80",
                                       "\xE2\x80\x8D",
                                       "\xE2\x80\x8B",
                                       "\xEF\xBF\xBD",
                                       "\xC2\xAD",
                                       "\xE2\x82\xAC",
                                       "\xE0\xA5\x80",
                                       "\xE0\xA4\xB9"};

/* A text of up to 24 snippets and characters; room: 256. */
static size_t draw_text(char *text) {
    size_t size = 0;
    for (int64_t n = draw(25); n > 0; n--) {
        const char *s = snippets[draw(sizeof snippets / sizeof *snippets)];
        char any[5] = {0};
        if (draw(8) == 0) { /* of the scripts that are older than the tables of either library */
            int32_t c = (int32_t)(0x20 + draw(0x500 - 0x20));
            any[0] = (char)(c < 0x80 ? c : 0xC0 | c >> 6);
            any[1] = (char)(c < 0x80 ? 0 : 0x80 | (c & 0x3F));
            s = any;
        }
        memcpy(text + size, s, strlen(s));
        size += strlen(s);
    }
    return size;
}

static void fail_with(const char *name, const char *text, size_t size, const char *what) {
    char hex[1024] = "";
    for (size_t i = 0; i < size; i++) snprintf(hex + 3 * i, 4, "%02X ", (unsigned char)text[i]);
    fail_msg("%s: %s: %s", name, what, hex);
}

static void check_same_pieces(const char *name, sow_tokenizer *fast, sow_tokenizer *slow) {
    sow_arena *arena;
    OK(sow_arena_new(&arena));
    assert_true(fast->scan != TOK_SCAN_NONE && slow->scan == TOK_SCAN_NONE);
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    for (int round = 0; round < 6000; round++) {
        char text[256];
        size_t size = draw_text(text);
        sow_encoding a, b;
        sow_mark mark = sow_arena_mark(arena);
        OK(sow_encode(fast, arena, text, size, SOW_ENCODE_OFFSETS, &a));
        OK(sow_encode(slow, arena, text, size, SOW_ENCODE_OFFSETS, &b));
        size_t bytes = (size_t)a.count * sizeof *a.first;
        if (a.count != b.count || (bytes && (memcmp(a.first, b.first, bytes) || memcmp(a.last, b.last, bytes))))
            fail_with(name, text, size, "scanner and pattern differ");
        sow_arena_release(arena, mark);
    }
    sow_arena_free(arena);
    sow_tokenizer_free(fast);
    sow_tokenizer_free(slow);
}

static void scanners_equal_the_patterns(void **state) {
    json_t *plain = typed("ByteLevel", "add_prefix_space", false, "use_regex", false);
    check_same_pieces("GPT-2", piece_finder(typed("ByteLevel", "add_prefix_space", false, "use_regex", true), NULL),
                      piece_finder(split("(?:" GPT2 ")", "Isolated"), NULL));
    check_same_pieces("GPT-2 as a pattern", piece_finder(split(GPT2, "Isolated"), NULL),
                      piece_finder(split("(?:" GPT2 ")", "Isolated"), NULL));
    check_same_pieces(
        "digits, then GPT-2",
        piece_finder(typed("Digits", "individual_digits", true, "use_regex", true),
                     typed("ByteLevel", "add_prefix_space", false, "use_regex", true)),
        piece_finder(typed("Digits", "individual_digits", true, "use_regex", true), split("(?:" GPT2 ")", "Isolated")));
    check_same_pieces("Llama 3", piece_finder(split(LLAMA3("{1,3}"), "Isolated"), json_incref(plain)),
                      piece_finder(split("(?:" LLAMA3("{1,3}") ")", "Isolated"), json_incref(plain)));
    check_same_pieces("Qwen 2", piece_finder(split(LLAMA3(""), "Isolated"), json_incref(plain)),
                      piece_finder(split("(?:" LLAMA3("") ")", "Isolated"), json_incref(plain)));
    check_same_pieces("BERT", piece_finder(typed("BertPreTokenizer", "x", true, "y", true), NULL),
                      piece_finder(split("\\s+", "Removed"), split("[!-/:-@\\[-`{-~]|\\p{P}", "Isolated")));
    json_decref(plain);
}

/* ---- merges ---- */

enum { TOKENS_MAX = 400, TEXT_MAX = 3000 };

typedef struct toy {
    tok_model model;
    char text[TOKENS_MAX][64];
    int64_t count;
    double scores[TOKENS_MAX];
} toy;

/* Letters of an alphabet of `letters`, and tokens that random pairs make, ranked in the order of their making or shuffled. */
static void make_toy(sow_arena *arena, toy *t, int letters, int64_t merges, bool scored) {
    *t = (toy){.count = letters};
    tok_model *m = &t->model;
    m->kind = scored ? TOK_SCORED : TOK_BPE;
    m->unknown = -1;
    m->longest = 63;
    OK(tok_table_new(arena, TOKENS_MAX, &m->words));
    OK(tok_merges_new(arena, merges, m));
    for (int i = 0; i < letters; i++) snprintf(t->text[i], 2, "%c", '0' + i);
    for (int i = 0; i < letters; i++) tok_table_put(&m->words, t->text[i], 1, i);
    for (int64_t k = 0; k < merges; k++) {
        int32_t l = (int32_t)draw(t->count), r = (int32_t)draw(t->count);
        char both[128];
        int size = snprintf(both, sizeof both, "%s%s", t->text[l], t->text[r]);
        if (size > 63) continue;
        int32_t made = tok_table_find(&m->words, both, size);
        if (made < 0) {
            made = (int32_t)t->count++;
            memcpy(t->text[made], both, (size_t)size + 1);
            tok_table_put(&m->words, t->text[made], size, made);
        }
        tok_merge_put(m, (tok_merge){l, r, made, (int32_t)k});
    }
    for (int64_t i = 0; i < t->count; i++) t->scores[i] = (double)-draw(50); /* equal scores, too */
    m->scores = t->scores;
    if (scored) OK(tok_rank_scores(arena, t->count, m));
    for (int b = 0; b < 256; b++) m->byte[b] = -1, m->single[b] = b >= '0' && b < '0' + letters ? b - '0' : -1;
}

/* The rule itself: of all pairs that make a token the one of the lowest rank, the leftmost of equals. */
static int64_t merge_one_by_one(const toy *t, const char *text, int64_t size, int32_t *ids, int32_t *ends) {
    int64_t n = 0;
    for (int64_t i = 0; i < size; i++)
        if (t->model.single[(uint8_t)text[i]] >= 0) ids[n] = text[i] - '0', ends[n++] = (int32_t)i + 1;
    for (;;) {
        int64_t best = -1;
        double rank = 0;
        int32_t made = -1;
        for (int64_t i = 0; i + 1 < n; i++) {
            const tok_model *m = &t->model;
            double here = -1;
            int32_t found = -1;
            if (m->kind == TOK_SCORED) {
                char both[128];
                int length = snprintf(both, sizeof both, "%s%s", t->text[ids[i]], t->text[ids[i + 1]]);
                found = tok_table_find(&m->words, both, length);
                if (found >= 0) here = -t->scores[found];
            } else
                for (int64_t k = 0; k <= m->merge_mask; k++)
                    if (m->merges[k].made >= 0 && m->merges[k].left == ids[i] && m->merges[k].right == ids[i + 1])
                        here = m->merges[k].rank, found = m->merges[k].made;
            if (found >= 0 && (best < 0 || here < rank)) best = i, rank = here, made = found;
        }
        if (best < 0) return n;
        ids[best] = made;
        ends[best] = ends[best + 1];
        n--;
        memmove(ids + best + 1, ids + best + 2, (size_t)(n - best - 1) * sizeof *ids);
        memmove(ends + best + 1, ends + best + 2, (size_t)(n - best - 1) * sizeof *ends);
    }
}

static void check_merges(sow_arena *arena, int letters, int64_t merges, bool scored, int64_t size, int missing) {
    static char text[TEXT_MAX];
    static int32_t ids[TEXT_MAX], ends[TEXT_MAX];
    toy *t;
    tok_ids found = {0};
    OK(SOW_NEW(arena, t, 1));
    make_toy(arena, t, letters, merges, scored);
    int64_t period = 1 + draw(40); /* half of the texts repeat themselves: no place in them is special */
    bool periodic = draw(2);
    for (int64_t i = 0; i < size; i++)
        text[i] = periodic && i >= period ? text[i - period] : (char)('0' + draw(letters + missing));
    int64_t n = merge_one_by_one(t, text, size, ids, ends);
    OK(tok_run_bpe(&t->model, arena, (const uint8_t *)text, size, &found));
    bool same = found.count == n && (n == 0 || !memcmp(found.id, ids, (size_t)n * sizeof *ids));
    for (int64_t i = 0; i < n && same && !missing; i++) same = found.end[i] == ends[i];
    if (!same)
        fail_msg("%d letters, %d merges, %s, %d bytes: %d tokens, expected %d", letters, (int)merges,
                 scored ? "scored" : "ranked", (int)size, (int)found.count, (int)n);
}

static void merges_in_windows_equal_merges_one_by_one(void **state) {
    sow_arena *arena;
    OK(sow_arena_new(&arena));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 2));
    for (int round = 0; round < 300; round++) {
        sow_mark mark = sow_arena_mark(arena);
        int letters = (int)(1 + draw(4));
        int64_t merges = 1 + draw(60), size = 1 + draw(round % 4 ? 40 : 1000);
        check_merges(arena, letters, merges, round % 2, size, round % 4 == 0 ? 1 : 0);
        sow_arena_release(arena, mark);
    }
    sow_arena_free(arena);
}

/* Letters in a row, whose pairs merge the sooner the further right they stand: which ones merge is decided at the end of the
 * row, and a window that ends within it decides wrongly, up to the row's beginning. */
static void windows_that_end_in_a_chain_are_not_believed(void **state) {
    enum { LETTERS = 60, ROWS = 40, SIZE = LETTERS * ROWS };
    static char text[SIZE];
    static int32_t ids[SIZE], ends[SIZE];
    sow_arena *arena;
    toy *t;
    OK(sow_arena_new(&arena));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 4));
    OK(SOW_NEW(arena, t, 1));
    make_toy(arena, t, LETTERS, 0, false);
    OK(tok_merges_new(arena, LETTERS, &t->model));
    for (int32_t i = 0; i + 1 < LETTERS; i++) {
        snprintf(t->text[t->count], 3, "%c%c", '0' + i, '0' + i + 1);
        tok_merge_put(&t->model, (tok_merge){i, i + 1, (int32_t)t->count++, LETTERS - i});
    }
    int64_t size = 0;
    for (int row = 0; row < ROWS; row++) /* rows of even and odd lengths */
        for (int64_t i = draw(8); i < LETTERS - draw(2); i++) text[size++] = (char)('0' + i);
    tok_ids found = {0};
    int64_t n = merge_one_by_one(t, text, size, ids, ends);
    OK(tok_run_bpe(&t->model, arena, (const uint8_t *)text, size, &found));
    assert_int_equal(found.count, n);
    assert_memory_equal(found.id, ids, (size_t)n * sizeof *ids);
    sow_arena_free(arena);
}

/* ---- words that are remembered ---- */

static void check_remembered(const char *model) {
    sow_arena *arena;
    char *folder;
    sow_tokenizer *t;
    OK(sow_arena_new(&arena));
    if (sow_data_locate(arena, model, &folder) != SOW_OK) {
        fprintf(stderr, "SKIPPED (sow fetch %s)\n", model);
        sow_arena_free(arena);
        skip();
    }
    OK(sow_tokenizer_open(folder, &t));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 3));
    for (int round = 0; round < 6000; round++) {
        char text[256];
        size_t size = draw_text(text);
        sow_encoding a, b;
        sow_mark mark = sow_arena_mark(arena);
        OK(sow_encode(t, arena, text, size, 0, &a));
        OK(sow_encode(t, arena, text, size, SOW_ENCODE_OFFSETS, &b)); /* by the model each time */
        if (a.count != b.count || (a.count && memcmp(a.ids, b.ids, (size_t)a.count * sizeof *a.ids)))
            fail_with(model, text, size, "with and without offsets differ");
        sow_arena_release(arena, mark);
    }
    sow_tokenizer_free(t);
    sow_arena_free(arena);
}

static void remembered_words_equal_the_model(void **state) {
    check_remembered("smollm2");
    check_remembered("minilm");
}

static int set_up(void **state) {
    return make_test_folder();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scanners_equal_the_patterns),
        cmocka_unit_test(merges_in_windows_equal_merges_one_by_one),
        cmocka_unit_test(windows_that_end_in_a_chain_are_not_believed),
        cmocka_unit_test(remembered_words_equal_the_model),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
