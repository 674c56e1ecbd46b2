/* Command lines by option table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "sow/file.h"
#include "sow/method.h"

static const sow_option options[] = {
    SOW_OPTION_PATH("model", NULL, "base model"),
    SOW_OPTION_INT("rank", "16", 1, 4096, "rank budget per layer"),
    SOW_OPTION_REAL("rho", "2.0", 1.0, 1000.0, "growth"),
    {"at-least", 0, SOW_TYPE_REAL, NULL, 0, INFINITY, NULL, NULL, "open range", 0},
    SOW_OPTION_CHOICE("strategy", "reset", "reset|continued", "where rounds start"),
    SOW_OPTION_LIST("rule", "a rule"),
    SOW_OPTION_FLAG("signs", "keep signs"),
    {"seeds", 0, SOW_TYPE_SEEDS, "1:3", 0, 0, NULL, NULL, "seeds", 0},
    SOW_OPTION_TEXT("low", NULL, "any text"),
    {"file", 0, SOW_TYPE_PATH, NULL, 0, 0, NULL, NULL, "file to read", SOW_OPTION_POSITIONAL},
    SOW_OPTION_OUTPUT("where to write"),
    SOW_OPTION_FORCE,
    {0},
};
static const sow_action actions[] = {{"make", "", options, NULL, NULL, 0}, {0}};
static const sow_method method = {.name = "test", .actions = actions};

static sow_call call;

static int set_up(void **state) {
    call = (sow_call){.method = &method, .action = actions};
    return sow_arena_new(&call.arena);
}

static int tear_down(void **state) {
    json_decref(call.result);
    sow_arena_free(call.arena);
    return 0;
}

#define PARSE(...) \
    sow_parse(&call, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[]){__VA_ARGS__})

static void assert_wrong(sow_status status, const char *part) {
    assert_int_equal(status, SOW_E_ARGUMENT);
    if (!strstr(sow_message(), part)) fail_msg("'%s' does not contain '%s'", sow_message(), part);
}

static void values_are_read_in_every_spelling(void **state) {
    assert_int_equal(PARSE("--rank", "8", "--rho=3.5", "-o", "out", "--low", "-0.5", "--signs", "in.bin"), SOW_OK);
    assert_int_equal(sow_int(&call, "rank"), 8);
    assert_true(sow_real(&call, "rho") == 3.5);
    assert_string_equal(sow_text(&call, "out"), "out");
    assert_string_equal(sow_text(&call, "low"), "-0.5");
    assert_string_equal(sow_text(&call, "file"), "in.bin");
    assert_true(sow_flag(&call, "signs"));
    assert_false(sow_flag(&call, "force"));
}

static void options_left_open_are_resolved_and_given_ones_stay(void **state) {
    assert_int_equal(PARSE("-o", "out", "--rank", "8", "--signs=false"), SOW_OK);
    sow_resolve(&call, "rank", "4");
    sow_resolve(&call, "signs", "true");
    sow_resolve(&call, "low", "given");
    sow_resolve(&call, "rho", NULL);
    assert_int_equal(sow_int(&call, "rank"), 8);
    assert_false(sow_flag(&call, "signs"));
    assert_string_equal(sow_text(&call, "low"), "given");
    assert_null(sow_text(&call, "rho"));
    assert_false(sow_given(&call, "low")); /* the passport has it all the same */
}

static void defaults_fill_in_and_are_not_given(void **state) {
    assert_int_equal(PARSE("-oout"), SOW_OK);
    assert_string_equal(sow_text(&call, "out"), "out");
    assert_int_equal(sow_int(&call, "rank"), 16);
    assert_false(sow_given(&call, "rank"));
    assert_true(sow_given(&call, "out"));
    assert_string_equal(sow_text(&call, "strategy"), "reset");
    assert_null(sow_text(&call, "model"));
    assert_null(sow_list(&call, "rule")[0]);
}

static void lists_collect_in_order(void **state) {
    assert_int_equal(PARSE("-o", "x", "--rule", "a=ones", "--rule=b=zeros"), SOW_OK);
    assert_string_equal(sow_list(&call, "rule")[0], "a=ones");
    assert_string_equal(sow_list(&call, "rule")[1], "b=zeros");
    assert_null(sow_list(&call, "rule")[2]);
}

static void common_options_are_known_everywhere(void **state) {
    assert_int_equal(PARSE("-o", "x", "--json", "-q", "--threads", "3"), SOW_OK);
    assert_true(call.json && call.quiet && !call.help);
    assert_int_equal(call.threads, 3);
}

static void help_needs_nothing_else(void **state) {
    assert_int_equal(PARSE("--help"), SOW_OK);
    assert_true(call.help);
}

static void words_behind_two_dashes_are_arguments(void **state) {
    assert_int_equal(PARSE("-o", "x", "--", "--rank"), SOW_OK);
    assert_string_equal(sow_text(&call, "file"), "--rank");
}

static void an_unknown_option_names_the_nearest(void **state) {
    assert_wrong(PARSE("-o", "x", "--rnak", "3"), "unknown option --rnak; did you mean --rank?");
}

static void far_options_name_help(void **state) {
    assert_wrong(PARSE("-o", "x", "--zzzzzzz=3"), "unknown option --zzzzzzz; --help lists them");
}

static void numbers_are_checked(void **state) {
    assert_wrong(PARSE("-o", "x", "--rank", "0"), "--rank: found '0', expected an integer from 1 to 4096");
}

static void large_numbers_are_refused(void **state) {
    assert_wrong(PARSE("-o", "x", "--rank", "4097"), "--rank: found '4097', expected an integer from 1 to 4096");
}

static void seeds_from_high_to_low_are_refused(void **state) {
    assert_wrong(PARSE("-o", "x", "--seeds", "3:1"), "--seeds: found '3:1', expected ranges from low to high");
}

static void half_numbers_are_refused(void **state) {
    assert_wrong(PARSE("-o", "x", "--rank", "8x"), "--rank: found '8x'");
}

static void huge_numbers_are_refused(void **state) {
    assert_wrong(PARSE("-o", "x", "--rank", "99999999999999999999"), "--rank: found '99999999999999999999'");
}

static void nan_is_no_number(void **state) {
    assert_wrong(PARSE("-o", "x", "--at-least", "nan"), "expected a number of at least 0");
}

static void infinity_is_no_number(void **state) {
    assert_wrong(PARSE("-o", "x", "--at-least", "inf"), "found 'inf'");
}

static void choices_are_checked(void **state) {
    assert_wrong(PARSE("-o", "x", "--strategy", "rest"), "expected one of reset, continued; did you mean reset?");
}

static void a_missing_output_is_named(void **state) {
    assert_wrong(PARSE("--rank", "8"), "missing -o (--out): where to write");
}

static void a_missing_value_is_named(void **state) {
    assert_wrong(PARSE("-o", "x", "--low"), "--low needs a value");
}

static void an_option_is_no_value(void **state) {
    assert_wrong(PARSE("-o", "x", "--low", "--rank", "3"), "--low needs a value, found --rank");
}

static void twice_is_refused(void **state) {
    assert_wrong(PARSE("-o", "x", "--rank", "3", "--rank", "4"), "--rank is given twice");
}

static void extra_arguments_are_refused(void **state) {
    assert_wrong(PARSE("-o", "x", "a", "b"), "unexpected argument 'b'");
}

static void flags_take_true_and_false_only(void **state) {
    assert_wrong(PARSE("-o", "x", "--signs=maybe"), "--signs: found 'maybe'");
}

static void a_flag_can_be_switched_off(void **state) {
    assert_int_equal(PARSE("-o", "x", "--signs=false"), SOW_OK);
    assert_false(sow_flag(&call, "signs"));
}

static void seeds_are_ranges_with_both_ends(void **state) {
    static const uint64_t expected[] = {1, 2, 3, 4, 5, 9};
    uint64_t *seeds;
    int count;
    assert_int_equal(sow_seeds_parse(call.arena, "1:5,9", &seeds, &count), SOW_OK);
    assert_int_equal(count, 6);
    assert_memory_equal(seeds, expected, sizeof expected);
}

static void bad_seeds_are_refused(void **state) {
    static const char *const bad[] = {"",         "a",
                                      "1:",       ":3",
                                      "3:1",      "1,,2",
                                      "1-3",      "-1",
                                      "+1",       "1:2:3",
                                      "1,",       "9007199254740992",
                                      "0:100000", "18446744073709551616"};
    uint64_t *seeds;
    int count;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (sow_seeds_parse(call.arena, bad[i], &seeds, &count) != SOW_E_ARGUMENT)
            fail_msg("'%s' was accepted", bad[i]);
}

static void an_existing_output_needs_force(void **state) {
    assert_int_equal(PARSE("-o", "x"), SOW_OK);
    assert_int_equal(sow_check_output(&call, "/"), SOW_E_EXISTS);
    assert_int_equal(sow_check_output(&call, "/no such file"), SOW_OK);
}

static void force_allows_an_existing_output(void **state) {
    assert_int_equal(PARSE("-o", "x", "--force"), SOW_OK);
    assert_int_equal(sow_check_output(&call, "/"), SOW_OK);
}

static void written_files_are_listed(void **state) {
    assert_int_equal(sow_wrote(&call, "a"), SOW_OK);
    assert_int_equal(sow_wrote(&call, "b"), SOW_OK);
    json_t *files = json_object_get(call.result, "files");
    assert_int_equal(json_array_size(files), 2);
    assert_string_equal(json_string_value(json_array_get(files, 1)), "b");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(values_are_read_in_every_spelling),
        TEST(defaults_fill_in_and_are_not_given),
        TEST(options_left_open_are_resolved_and_given_ones_stay),
        TEST(lists_collect_in_order),
        TEST(common_options_are_known_everywhere),
        TEST(help_needs_nothing_else),
        TEST(words_behind_two_dashes_are_arguments),
        TEST(an_unknown_option_names_the_nearest),
        TEST(far_options_name_help),
        TEST(numbers_are_checked),
        TEST(large_numbers_are_refused),
        TEST(seeds_from_high_to_low_are_refused),
        TEST(half_numbers_are_refused),
        TEST(huge_numbers_are_refused),
        TEST(nan_is_no_number),
        TEST(infinity_is_no_number),
        TEST(choices_are_checked),
        TEST(a_missing_output_is_named),
        TEST(a_missing_value_is_named),
        TEST(an_option_is_no_value),
        TEST(twice_is_refused),
        TEST(extra_arguments_are_refused),
        TEST(flags_take_true_and_false_only),
        TEST(a_flag_can_be_switched_off),
        TEST(seeds_are_ranges_with_both_ends),
        TEST(bad_seeds_are_refused),
        TEST(an_existing_output_needs_force),
        TEST(force_allows_an_existing_output),
        TEST(written_files_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
