/* Texts to train on: what each format becomes, which labels count, what is refused, batches by number. */
#include "byte_tokenizer.h"

static sow_arena *arena;
static sow_tokenizer *tokenizer;
static const sow_chat *chatml;

enum { END = FIRST_SPECIAL + SPECIALS - 1 }; /* </s> */

static const char *put_file(const char *name, const char *text) {
    const char *path = in_folder(name);
    OK(sow_write_file(path, text, strlen(text)));
    return path;
}

static sow_texts *open_texts(const char *name, const char *text, sow_texts_options options) {
    sow_texts *t;
    OK(sow_texts_open(put_file(name, text), &options, tokenizer, &t));
    return t;
}

/* A sequence's text; what is to be predicted stands in brackets. */
static const char *shown(const sow_texts *t, int64_t i) {
    static char text[4096];
    size_t used = 0;
    bool inside = false;
    for (int64_t k = t->start[i]; k < t->start[i + 1]; k++) {
        bool counts = k > t->start[i] && t->labels[k - 1] >= 0;
        if (counts) assert_int_equal(t->labels[k - 1], t->ids[k]);
        if (counts != inside) text[used++] = counts ? '[' : ']';
        inside = counts;
        sow_span token = sow_token_text(tokenizer, t->ids[k]);
        memcpy(text + used, token.text, token.size);
        used += token.size;
    }
    if (inside) text[used++] = ']';
    text[used] = 0;
    return text;
}

static void check_one(const char *json, sow_texts_options options, const char *format, const char *expected) {
    sow_texts *t = open_texts("one.jsonl", json, options);
    assert_string_equal(t->format, format);
    assert_string_equal(shown(t, 0), expected);
    sow_texts_free(t);
}

static void known_fields_become_prompt_and_completion(void **state) {
    sow_texts_options plain = {.end = END}, chat = {.end = END, .chat = chatml},
                      all = {.end = END, .loss_on_all = true};
    check_one("{\"prompt\":\"2+2=\",\"completion\":\"4\"}", plain, "JSON lines of prompt and completion",
              "2+2=[4</s>]");
    check_one("{\"prompt\":\"2+2=\",\"completion\":\"4\"}", all, "JSON lines of prompt and completion", "2[+2=4</s>]");
    check_one("{\"answer\":\"4\",\"question\":\"2+2?\"}", plain, "JSON lines of question and answer", "2+2?\n[4</s>]");
    check_one("{\"question\":\"2+2?\",\"answer\":4}", chat, "JSON lines of question and answer, as chatml chats",
              "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n[4<|im_end|>]\n");
    check_one("{\"instruction\":\"Add.\",\"input\":\"2, 2\",\"output\":\"4\"}", plain,
              "JSON lines of instruction and output", "Add.\n\n2, 2\n[4</s>]");
    check_one("{\"instruction\":\"Sing.\",\"input\":\"\",\"output\":\"La\"}", plain,
              "JSON lines of instruction and output", "Sing.\n[La</s>]");
    check_one("{\"text\":\"abc\"}", plain, "JSON lines of text", "a[bc</s>]");
    plain.prompt_field = "q", plain.completion_field = "a";
    check_one("{\"q\":\"x\",\"a\":\"y\",\"text\":\"z\"}", plain, "JSON lines of q and a", "x\n[y</s>]");
}

static void chats_count_what_the_assistant_says(void **state) {
    sow_texts_options chat = {.end = END, .chat = chatml};
    check_one("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},"
              "{\"role\":\"user\",\"content\":\"c\"},{\"role\":\"assistant\",\"content\":\"d\"}]}",
              chat, "JSON lines of chats, as chatml chats",
              "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n"
              "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[d<|im_end|>]\n");
    check_one("{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":\"b\"}]}", chat,
              "JSON lines of chats, as chatml chats",
              "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n");
}

static void each_instance_is_a_sample(void **state) {
    sow_texts *t = open_texts(
        "instances.jsonl",
        "{\"instruction\":\"Add\",\"instances\":[{\"input\":\"1 1\",\"output\":\"2\"},"
        "{\"input\":\"\",\"output\":\"0\"}]}\n\n{\"instruction\":\"B\",\"instances\":[{\"output\":\"b\"}]}\n",
        (sow_texts_options){.end = -1});
    assert_int_equal(t->count, 3);
    assert_string_equal(shown(t, 0), "Add\n\n1 1\n[2]");
    assert_string_equal(shown(t, 1), "Add\n[0]");
    assert_string_equal(shown(t, 2), "B\n[b]");
    assert_int_equal(t->line[1], 1);
    assert_int_equal(t->line[2], 3); /* the empty line counts as a line */
    sow_texts_free(t);
}

static void columns_between_tabs_are_pairs(void **state) {
    sow_texts *t = open_texts("a.tsv", "say \"hi\"\t1\r\nbye\t0\n", (sow_texts_options){.end = -1});
    assert_string_equal(t->format, "tab-separated two columns");
    assert_string_equal(shown(t, 0), "say \"hi\"\n[1]"); /* quotes mean nothing */
    assert_string_equal(shown(t, 1), "bye\n[0]");
    sow_texts_free(t);
    t = open_texts("b.tsv", "id\tanswer\tquestion\n7\tyes\treally?\n", (sow_texts_options){.end = -1});
    assert_int_equal(t->count, 1);
    assert_string_equal(t->format, "tab-separated question and answer");
    assert_string_equal(shown(t, 0), "really?\n[yes]");
    sow_texts_free(t);
}

static void a_document_is_cut_and_each_token_predicted_once(void **state) {
    sow_texts *t = open_texts("text.txt", "abcdefghij", (sow_texts_options){.length = 4, .end = END});
    static const int32_t labels[] = {'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'};
    assert_string_equal(t->format, "plain text");
    assert_int_equal(t->count, 3);
    assert_int_equal(t->start[1], 4);
    assert_int_equal(t->start[3], 9);
    assert_int_equal(t->counted, 9);
    for (int i = 0; i < 9; i++) assert_int_equal(t->labels[i], labels[i]);
    assert_memory_equal(t->ids, ((const int32_t[]){'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'}), 36);
    sow_texts_free(t);
}

static void long_samples_are_cut_and_counted(void **state) {
    sow_texts *t = open_texts(
        "long.jsonl",
        "{\"prompt\":\"ab\",\"completion\":\"cdefgh\"}\n{\"prompt\":\"abcdefgh\",\"completion\":\"i\"}\n"
        "{\"prompt\":\"a\",\"completion\":\"b\"}\n",
        (sow_texts_options){.length = 4, .end = -1});
    assert_int_equal(t->count, 2);
    assert_string_equal(shown(t, 0), "ab[cd]");
    assert_string_equal(shown(t, 1), "a[b]");
    assert_int_equal(t->cut, 2);
    assert_int_equal(t->left_out, 1); /* its completion fell off */
    assert_int_equal(t->counted, 3);
    assert_int_equal(t->longest, 4);
    sow_texts_free(t);
}

static void a_limit_takes_the_first_samples(void **state) {
    sow_texts *t = open_texts("limit.jsonl", "{\"text\":\"ab\"}\n{\"text\":\"cd\"}\nno JSON is read here\n",
                              (sow_texts_options){.limit = 2, .end = -1});
    assert_int_equal(t->count, 2);
    char hex[65];
    OK(sow_sha256_file(in_folder("limit.jsonl"), hex));
    assert_string_equal(t->sha256, hex);
    assert_string_equal(t->name, "limit.jsonl");
    sow_texts_free(t);
}

static void wrong_files_are_refused_with_their_line(void **state) {
    static const struct {
        const char *name, *text, *message;
        sow_status status;
    } wrong[] = {
        {"w.jsonl", "{\"text\":\"a b\"}\n{\"text\":", "w.jsonl: line 2", SOW_E_FORMAT},
        {"w.jsonl", "{\"text\":\"ab\"}\n{\"texts\":\"a\"}", "line 2: no \"text\" in it", SOW_E_FORMAT},
        {"w.jsonl", "{\"text\":\"ab\"}\n{\"text\":[1]}", "line 2: \"text\" is no text", SOW_E_FORMAT},
        {"w.jsonl", "\n{\"text\":\"\"}", "line 2: an empty text", SOW_E_FORMAT},
        {"w.jsonl", "{\"prompt\":\"a\",\"completion\":\"\"}", "line 1: \"completion\" is empty", SOW_E_FORMAT},
        {"w.jsonl", "{\"sentence\":\"a\"}", "expected messages, conversations", SOW_E_FORMAT},
        {"w.jsonl", "{\"text\":\"ab\"}\n[1]", "line 2: expected one JSON object a line", SOW_E_FORMAT},
        {"w.jsonl", "[{\"text\":\"ab\"}]", "a JSON list", SOW_E_FORMAT},
        {"w.jsonl", "{\"text\":\"a\xFF\"}", "line 1", SOW_E_FORMAT},
        {"w.jsonl", "{\"messages\":[{\"role\":\"user\"}]}", "line 1: message 1: no \"content\"", SOW_E_FORMAT},
        {"w.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", "line 1: chats, but no template",
         SOW_E_UNSUPPORTED},
        {"w.jsonl", "{\"instruction\":\"a\",\"instances\":[{\"output\":3},{}]}", "line 1: instance 2: no \"output\"",
         SOW_E_FORMAT},
        {"w.tsv", "a\tb\nc\n", "line 2: 1 columns, expected 2", SOW_E_FORMAT},
        {"w.tsv", "a\tb\tc\n", "line 1: 3 columns", SOW_E_FORMAT},
        {"w.txt", "a\nb\nc\xC3(\n", "w.txt: line 3: the text is not UTF-8", SOW_E_FORMAT},
        {"w.txt", "", "no text in it", SOW_E_FORMAT},
        {"w.jsonl", "\n\n", "no text in it", SOW_E_FORMAT},
        {"w.txt", "a", "a single token", SOW_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sow_texts *t;
        FAILS(sow_texts_open(put_file(wrong[i].name, wrong[i].text), &(sow_texts_options){.end = -1}, tokenizer, &t),
              wrong[i].status, wrong[i].message);
    }
    sow_texts *t;
    sow_texts_options options = {.chat = chatml, .end = -1, .length = 8};
    FAILS(
        sow_texts_open(put_file("w.jsonl", "{\"question\":\"long enough\",\"answer\":\"x\"}"), &options, tokenizer, &t),
        SOW_E_FORMAT, "within 8 tokens none of 1 samples");
    FAILS(sow_texts_open(put_file("w.jsonl", "{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}"), &options,
                         tokenizer, &t),
          SOW_E_FORMAT, "line 1: message 1: role 'tool'");
    options.prompt_field = "q";
    FAILS(sow_texts_open(put_file("w.txt", "abc"), &options, tokenizer, &t), SOW_E_ARGUMENT, "plain text");
    FAILS(sow_texts_open(put_file("w.tsv", "a\tb\n"), &options, tokenizer, &t), SOW_E_FORMAT, "no column 'q'");
    FAILS(sow_texts_open(in_folder("none.txt"), &options, tokenizer, &t), SOW_E_NOT_FOUND, "none.txt");
}

/* ---- batches ---- */

/* Sample i is the letter 'a' + i, then i + 1 digits to be predicted. */
static sow_texts *letters(int count) {
    char text[4096] = "";
    for (int i = 0; i < count; i++)
        snprintf(text + strlen(text), 64, "{\"prompt\":\"%c\",\"completion\":\"%.*s\"}\n", 'a' + i, i + 1,
                 "123456789012345678");
    return open_texts("letters.jsonl", text, (sow_texts_options){.end = -1});
}

static void batches_are_functions_of_seed_and_number(void **state) {
    sow_texts *t = letters(7);
    sow_text_batches *b, *again;
    sow_tokens tokens;
    sow_tensor labels;
    int32_t order[2][6];
    OK(sow_text_batches_new(t, 2, 5, true, &b));
    OK(sow_text_batches_new(t, 2, 5, true, &again));
    assert_int_equal(sow_text_batches_per_epoch(b), 3);
    for (int n = 0; n < 6; n++) {
        int64_t counted = 0;
        OK(sow_text_batches_at(b, n, &tokens, &labels));
        assert_int_equal(tokens.sequences, 2);
        assert_int_equal(tokens.start[0], 0);
        assert_int_equal(labels.shape[0], tokens.start[2]);
        for (int64_t i = 0; i < labels.shape[0]; i++) counted += ((const int32_t *)labels.data)[i] >= 0;
        assert_int_equal(sow_text_batches_counted(again, n, 1), counted);
        for (int s = 0; s < 2; s++) order[n / 3][2 * (n % 3) + s] = tokens.ids[tokens.start[s]];
    }
    assert_memory_not_equal(order[0], order[1], sizeof order[0]); /* a fresh order each epoch */
    for (int epoch = 0; epoch < 2; epoch++)
        for (int i = 0; i < 6; i++)
            for (int j = 0; j < i; j++) assert_int_not_equal(order[epoch][i], order[epoch][j]);
    OK(sow_text_batches_at(again, 4, &tokens, &labels)); /* random access */
    assert_int_equal(tokens.ids[0], order[1][2]);
    assert_int_equal(sow_text_batches_counted(again, 0, 6),
                     sow_text_batches_counted(again, 0, 3) + sow_text_batches_counted(again, 3, 3));
    sow_text_batches_free(b);
    sow_text_batches_free(again);
    OK(sow_text_batches_new(t, 3, 5, false, &b));
    assert_int_equal(sow_text_batches_per_epoch(b), 3);
    OK(sow_text_batches_at(b, 2, &tokens, &labels)); /* the short one, in order */
    assert_int_equal(tokens.sequences, 1);
    assert_int_equal(tokens.ids[0], 'g');
    assert_int_equal(labels.shape[0], 8);
    sow_text_batches_free(b);
    FAILS(sow_text_batches_new(t, 8, 5, true, &b), SOW_E_RANGE, "batches of 8 from 7 sequences");
    sow_texts_free(t);
}

static void a_split_keeps_each_sequence_once(void **state) {
    sow_texts *t = letters(9), *kept, *held;
    bool seen[9] = {0};
    OK(sow_texts_split(t, 3, 1, &kept, &held));
    assert_int_equal(kept->count, 6);
    assert_int_equal(held->count, 3);
    for (int part = 0; part < 2; part++) {
        const sow_texts *p = part ? held : kept;
        for (int64_t i = 0; i < p->count; i++) {
            int letter = p->ids[p->start[i]] - 'a';
            assert_false(seen[letter]);
            seen[letter] = true;
            assert_int_equal(p->line[i], letter + 1);
            assert_int_equal(p->start[i + 1] - p->start[i], letter + 2);
            if (i > 0) assert_true(p->ids[p->start[i]] > p->ids[p->start[i - 1]]);
        }
    }
    assert_int_equal(kept->counted + held->counted, t->counted);
    assert_string_equal(held->sha256, t->sha256);
    sow_texts_free(kept);
    sow_texts_free(held);
    FAILS(sow_texts_split(t, 9, 1, &kept, &held), SOW_E_RANGE, "at least one on both sides");
    sow_texts_free(t);
}

static int set_up(void **state) {
    if (sow_arena_new(&arena) != SOW_OK || make_test_folder() != 0) return -1;
    if (sow_tokenizer_open(write_tokenizer(), &tokenizer) != SOW_OK) return -1;
    return sow_chat_find(NULL, "chatml", &chatml) == SOW_OK ? 0 : -1;
}

static int tear_down(void **state) {
    sow_tokenizer_free(tokenizer);
    sow_arena_free(arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_fields_become_prompt_and_completion),
        cmocka_unit_test(chats_count_what_the_assistant_says),
        cmocka_unit_test(each_instance_is_a_sample),
        cmocka_unit_test(columns_between_tabs_are_pairs),
        cmocka_unit_test(a_document_is_cut_and_each_token_predicted_once),
        cmocka_unit_test(long_samples_are_cut_and_counted),
        cmocka_unit_test(a_limit_takes_the_first_samples),
        cmocka_unit_test(wrong_files_are_refused_with_their_line),
        cmocka_unit_test(batches_are_functions_of_seed_and_number),
        cmocka_unit_test(a_split_keeps_each_sequence_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
