/* Word vectors as text: what is read, and what is refused. */
#include "check.h"
#include "sow/vectors.h"

static sow_arena *arena;

static int begin(void **state) {
    (void)state;
    return sow_arena_new(&arena);
}

static int end(void **state) {
    (void)state;
    sow_arena_free(arena);
    return 0;
}

static sow_status parse(const char *text, sow_word_vectors *out) {
    return sow_word_vectors_parse(arena, "words.vec", text, strlen(text), out);
}

static void words_and_numbers_are_read_in_order(void **state) {
    sow_word_vectors v;
    OK(parse("2 3\nthe 0.5 -1 2e1 \r\n</s> 1 2 3\n\n", &v));
    assert_int_equal(v.count, 2);
    assert_string_equal(v.words[0], "the");
    assert_string_equal(v.words[1], "</s>");
    assert_int_equal(v.vectors.shape[1], 3);
    assert_near(sow_at(v.vectors, 2), 20, 0);
    assert_near(sow_at(v.vectors, 5), 3, 0);
}

static void damaged_files_are_refused_with_their_line(void **state) {
    sow_word_vectors v;
    FAILS(parse("", &v), SOW_E_FORMAT, "line 1: expected two numbers");
    FAILS(parse("the 0.5 1\n", &v), SOW_E_FORMAT, "line 1: expected two numbers");
    FAILS(parse("2 2 2\na 1 2\n", &v), SOW_E_FORMAT, "line 1");
    FAILS(parse("2 2\na 1 2\n", &v), SOW_E_FORMAT, "ends behind 1 words, expected 2");
    FAILS(parse("2 2\na 1 2\nb 1\n", &v), SOW_E_FORMAT, "line 3: 1 values, expected 2");
    FAILS(parse("1 2\na 1 2 3\n", &v), SOW_E_FORMAT, "line 2: more than 2 values");
    FAILS(parse("1 2\na 1 x\n", &v), SOW_E_FORMAT, "line 2: \"x\" is not a finite number");
    FAILS(parse("1 2\na 1 nan\n", &v), SOW_E_FORMAT, "line 2: \"nan\"");
    FAILS(parse("1 1\na 1\nb 2\n", &v), SOW_E_FORMAT, "goes on behind its 1 words");
}

static void a_header_cannot_ask_for_memory_that_the_file_is_not_worth(void **state) {
    sow_word_vectors v;
    FAILS(parse("999999999999 999999999999\na 1\n", &v), SOW_E_FORMAT, "more than the file holds");
    FAILS(parse("1000000 300\na 1\n", &v), SOW_E_FORMAT, "more than the file holds");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_numbers_are_read_in_order),
        cmocka_unit_test(damaged_files_are_refused_with_their_line),
        cmocka_unit_test(a_header_cannot_ask_for_memory_that_the_file_is_not_worth),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
