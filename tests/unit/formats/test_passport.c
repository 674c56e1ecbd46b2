/* Passports: what determined the values of a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sow/file.h"
#include "sow/method.h"
#include "sow/safetensors.h"

static const sow_option options[] = {
    SOW_OPTION_PATH("start", NULL, "start"),
    SOW_OPTION_PATH("data", NULL, "data"),
    SOW_OPTION_REAL("lr", "0.1", 0, 10, "rate"),
    SOW_OPTION_LIST("rule", "rule"),
    SOW_OPTION_FLAG("signs", "signs"),
    SOW_OPTION_SEED,
    SOW_OPTION_OUTPUT("out"),
    SOW_OPTION_FORCE,
    {0},
};
static const sow_action actions[] = {{"make", "", options, NULL, NULL, 0}, {0}};
static const sow_method method = {.name = "test", .actions = actions};

static sow_call call;
static json_t *passport;

static int set_up(void **state) {
    call = (sow_call){.method = &method, .action = actions};
    passport = NULL;
    assert_int_equal(chdir(getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp"), 0);
    return sow_arena_new(&call.arena);
}

static int tear_down(void **state) {
    json_decref(passport);
    sow_arena_free(call.arena);
    return 0;
}

#define PARSE(...)                                                                                   \
    assert_int_equal(sow_parse(&call, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), \
                               (const char *[]){__VA_ARGS__}),                                       \
                     SOW_OK)

static const char *make(const char *file, const sow_input *extra, int count) {
    const char *text;
    assert_int_equal(sow_passport(&call, file, extra, count, &text), SOW_OK);
    passport = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(passport);
    return text;
}

static const json_t *option(const char *name) {
    return json_object_get(json_object_get(passport, "options"), name);
}

static void options_are_resolved_and_typed(void **state) {
    PARSE("--lr", "0.10", "--rule", "a=ones", "--seed", "7", "-o", "x");
    const char *text = make(NULL, NULL, 0);
    assert_non_null(strstr(text, "\"options\":{\"lr\":0.1,\"rule\":[\"a=ones\"],\"seed\":7}"));
    assert_string_equal(json_string_value(json_object_get(passport, "method")), "test");
    assert_string_equal(json_string_value(json_object_get(passport, "action")), "make");
    assert_null(json_object_get(passport, "file"));
}

static void what_does_not_determine_values_is_left_out(void **state) {
    PARSE("-o", "/abs/secret-output", "--force", "--threads", "3", "--json");
    const char *text = make("round_03/final.safetensors", NULL, 0);
    assert_null(strstr(text, "secret"));
    assert_null(strstr(text, "force"));
    assert_null(strstr(text, "threads"));
    assert_null(option("signs"));
    assert_string_equal(json_string_value(json_object_get(passport, "file")), "round_03/final.safetensors");
}

static void the_same_call_gives_the_same_text(void **state) {
    PARSE("--seed", "3", "-o", "x");
    char *first = sow_arena_copy(call.arena, make(NULL, NULL, 0));
    json_decref(passport);
    assert_string_equal(first, make(NULL, NULL, 0));
}

static void inputs_stand_by_base_name_and_hash(void **state) {
    assert_int_equal(sow_make_folder("deep/er"), SOW_OK);
    assert_int_equal(sow_write_file("deep/er/a.bin", "abc", 3), SOW_OK);
    PARSE("--start", "deep/er/a.bin", "-o", "x");
    make(NULL, NULL, 0);
    const json_t *input = json_array_get(json_object_get(passport, "inputs"), 0);
    assert_string_equal(json_string_value(json_object_get(input, "option")), "start");
    assert_string_equal(json_string_value(json_object_get(input, "name")), "a.bin");
    assert_string_equal(json_string_value(json_object_get(input, "sha256")),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(json_string_value(option("start")), "a.bin");
}

static void an_extra_input_stands_for_its_option(void **state) {
    sow_input extra = {.option = "data", .name = "fashion-mnist", .sha256 = "12"};
    PARSE("--data", "/no/such/folder", "-o", "x");
    const char *text = make(NULL, &extra, 1);
    assert_null(strstr(text, "/no/such"));
    assert_string_equal(json_string_value(option("data")), "fashion-mnist");
    assert_int_equal(json_array_size(json_object_get(passport, "inputs")), 1);
}

static void a_missing_input_is_an_error(void **state) {
    const char *text;
    PARSE("--start", "no-such-file", "-o", "x");
    assert_int_equal(sow_passport(&call, NULL, NULL, 0, &text), SOW_E_NOT_FOUND);
}

static void a_folder_hash_follows_names_and_contents(void **state) {
    char one[65], two[65], three[65], four[65];
    assert_int_equal(sow_make_folder("f/sub"), SOW_OK);
    assert_int_equal(sow_write_file("f/a", "1", 1), SOW_OK);
    assert_int_equal(sow_write_file("f/sub/b", "2", 1), SOW_OK);
    assert_int_equal(sow_hash_input("f", one), SOW_OK);
    assert_int_equal(sow_write_file("f/.hidden", "x", 1), SOW_OK);
    assert_int_equal(sow_hash_input("f/", two), SOW_OK);
    assert_string_equal(one, two);
    assert_int_equal(sow_write_file("f/sub/b", "3", 1), SOW_OK);
    assert_int_equal(sow_hash_input("f", three), SOW_OK);
    assert_string_not_equal(one, three);
    assert_int_equal(rename("f/sub/b", "f/sub/c"), 0);
    assert_int_equal(sow_hash_input("f", four), SOW_OK);
    assert_string_not_equal(three, four);
    assert_int_equal(rename("f/sub/c", "f/c"), 0);
    assert_int_equal(sow_hash_input("f", one), SOW_OK);
    assert_string_not_equal(four, one);
}

static void parents_are_the_passports_of_inputs(void **state) {
    sow_state *s;
    sow_entry *entry;
    assert_int_equal(sow_state_new(&s), SOW_OK);
    assert_int_equal(sow_state_add(s, "w", SOW_F32, 1, (int64_t[]){2}, &entry), SOW_OK);
    assert_int_equal(sow_save_state("p.safetensors", s, "{\"method\":\"classic\",\"parents\":[]}"), SOW_OK);
    assert_int_equal(sow_save_state("q.safetensors", s, "[1]"), SOW_OK);
    sow_state_free(s);
    PARSE("--start", "p.safetensors", "--data", "q.safetensors", "-o", "x");
    make(NULL, NULL, 0);
    const json_t *parents = json_object_get(passport, "parents");
    assert_int_equal(json_array_size(parents), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(parents, 0), "method")), "classic");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(options_are_resolved_and_typed),           TEST(what_does_not_determine_values_is_left_out),
        TEST(the_same_call_gives_the_same_text),        TEST(inputs_stand_by_base_name_and_hash),
        TEST(an_extra_input_stands_for_its_option),     TEST(a_missing_input_is_an_error),
        TEST(a_folder_hash_follows_names_and_contents), TEST(parents_are_the_passports_of_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
