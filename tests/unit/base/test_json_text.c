/* JSON as text. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "sow/json.h"

static sow_arena *arena;

static int set_up(void **state) {
    return sow_arena_new(&arena);
}

static int tear_down(void **state) {
    sow_arena_free(arena);
    return 0;
}

static void assert_text(json_t *value, unsigned style, const char *expected) {
    char *text;
    assert_non_null(value);
    assert_int_equal(sow_json_text(arena, value, style, &text), SOW_OK);
    assert_string_equal(text, expected);
    json_decref(value);
}

static void reals_are_as_short_as_they_can_be(void **state) {
    assert_text(json_real(0.1), 0, "0.1");
    assert_text(json_real(1.0), 0, "1.0");
    assert_text(json_real(1e-5), 0, "1e-05");
    assert_text(json_real(1e300), 0, "1e+300");
    assert_text(json_real(0.1 + 0.2), 0, "0.30000000000000004");
}

static void keys_are_sorted_only_when_asked(void **state) {
    assert_text(json_pack("{s:i,s:i}", "b", 1, "a", 2), SOW_JSON_SORTED, "{\"a\":2,\"b\":1}");
    assert_text(json_pack("{s:i,s:i}", "b", 1, "a", 2), 0, "{\"b\":1,\"a\":2}");
}

static void strings_are_escaped(void **state) {
    assert_text(json_string("a\"b\\c\n\t\x1b é"), 0, "\"a\\\"b\\\\c\\n\\u0009\\u001b é\"");
}

static void pretty_text_has_one_value_a_line(void **state) {
    assert_text(json_pack("{s:[i,i],s:{},s:[{s:i}]}", "a", 1, 2, "b", "c", "d", 1), SOW_JSON_PRETTY,
                "{\n  \"a\": [1, 2],\n  \"b\": {},\n  \"c\": [\n    {\n      \"d\": 1\n    }\n  ]\n}\n");
}

static void a_text_reads_back_equal(void **state) {
    json_t *value = json_pack("{s:f,s:b,s:n,s:s,s:I}", "r", 1.0 / 3, "t", 1, "n", "s", "x\"\n", "i", (json_int_t)-5),
           *again;
    char *text;
    assert_int_equal(sow_json_text(arena, value, SOW_JSON_SORTED | SOW_JSON_PRETTY, &text), SOW_OK);
    again = json_loads(text, 0, NULL);
    assert_true(json_equal(value, again));
    json_decref(value);
    json_decref(again);
}

static void deep_nesting_is_refused(void **state) {
    json_t *value = json_array();
    char *text;
    for (int i = 0; i < 200; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, value);
        value = outer;
    }
    assert_int_equal(sow_json_text(arena, value, 0, &text), SOW_E_RANGE);
    json_decref(value);
}

/* ---- members ---- */

static const char *compact(const json_t *value) {
    char *text;
    assert_int_equal(sow_json_text(arena, value, 0, &text), SOW_OK);
    return text;
}

static void members_keep_their_order_and_are_replaced(void **state) {
    json_t *object = json_object(), *list = json_array();
    assert_int_equal(sow_put_text(object, "name", "b"), SOW_OK);
    assert_int_equal(sow_put_count(object, "count", (int64_t)1 << 40), SOW_OK);
    assert_int_equal(sow_put_flag(object, "flag", true), SOW_OK);
    assert_int_equal(sow_put_format(object, "next", "sow %s %d", "x", 3), SOW_OK);
    assert_int_equal(sow_put_json(object, "list", list), SOW_OK);
    assert_int_equal(sow_append_json(list, json_integer(7)), SOW_OK);
    assert_int_equal(sow_put_text(object, "name", "a"), SOW_OK);
    assert_int_equal(sow_put_text(object, "none", NULL), SOW_OK);
    assert_string_equal(compact(object), "{\"name\":\"a\",\"count\":1099511627776,\"flag\":true,"
                                         "\"next\":\"sow x 3\",\"list\":[7],\"none\":null}");
    json_decref(object);
}

static void what_is_not_finite_is_null_or_left_out(void **state) {
    json_t *object = json_object();
    assert_int_equal(sow_put_real(object, "a", 0.5), SOW_OK);
    assert_int_equal(sow_put_real(object, "b", NAN), SOW_OK);
    assert_int_equal(sow_put_known(object, "c", INFINITY), SOW_OK);
    assert_int_equal(sow_put_known(object, "d", 2), SOW_OK);
    assert_string_equal(compact(object), "{\"a\":0.5,\"b\":null,\"d\":2.0}");
    json_decref(object);
}

static void what_cannot_be_put_is_said(void **state) {
    json_t *object = json_object();
    assert_int_equal(sow_put_text(object, "name", "\xff"), SOW_E_MEMORY);
    assert_int_equal(sow_put_format(object, "name", "%s", "\xff"), SOW_E_MEMORY);
    assert_int_equal(sow_put_json(object, "name", NULL), SOW_E_MEMORY);
    assert_int_equal(sow_append_json(object, json_integer(1)), SOW_E_MEMORY); /* no array */
    assert_int_equal(json_object_size(object), 0);
    json_decref(object);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reals_are_as_short_as_they_can_be),
        cmocka_unit_test(keys_are_sorted_only_when_asked),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(pretty_text_has_one_value_a_line),
        cmocka_unit_test(a_text_reads_back_equal),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(members_keep_their_order_and_are_replaced),
        cmocka_unit_test(what_is_not_finite_is_null_or_left_out),
        cmocka_unit_test(what_cannot_be_put_is_said),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
