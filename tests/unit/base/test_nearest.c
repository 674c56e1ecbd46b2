/* sow_nearest: typing errors find the word that was meant, other words find nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sow/text.h"

static const char *const options[] = {"seed", "steps", NULL, "schedule", "momentum", "lr"};
#define NEAREST(word) sow_nearest((word), options, 6)

static void typing_errors_find_the_word(void **state) {
    assert_string_equal(NEAREST("sead"), "seed");
    assert_string_equal(NEAREST("sede"), "seed");
    assert_string_equal(NEAREST("momemtun"), "momentum");
    assert_string_equal(NEAREST("STEPS"), "steps");
    assert_string_equal(NEAREST("shedule"), "schedule");
    assert_string_equal(NEAREST("rl"), "lr");
    assert_string_equal(NEAREST("lr"), "lr");
}

static void other_words_find_nothing(void **state) {
    assert_null(NEAREST("optimizer"));
    assert_null(NEAREST("x"));
    assert_null(NEAREST(""));
    assert_null(NEAREST("a-very-long-word-that-nobody-would-type-but-a-fuzzer-certainly-would-try"));
    assert_null(sow_nearest("seed", options, 0));
}

static void nearer_wins_and_ties_go_to_the_first(void **state) {
    const char *const words[] = {"cat", "cart", "care"};
    assert_string_equal(sow_nearest("carts", words, 3), "cart");
    assert_string_equal(sow_nearest("cars", words, 3), "cart");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(typing_errors_find_the_word),
        cmocka_unit_test(other_words_find_nothing),
        cmocka_unit_test(nearer_wins_and_ties_go_to_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
