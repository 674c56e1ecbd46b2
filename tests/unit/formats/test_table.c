/* CSV: quotes, separators, headers, and places of errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "sow/file.h"
#include "sow/table.h"

static sow_arena *arena;

static int set_up(void **unused) {
    return sow_arena_new(&arena) == SOW_OK ? 0 : -1;
}

static int tear_down(void **unused) {
    sow_arena_free(arena);
    return 0;
}

static sow_table parsed(const char *text) {
    sow_table t;
    if (sow_table_parse(arena, "t.csv", text, strlen(text), &t) != SOW_OK) fail_msg("%s", sow_message());
    return t;
}

static void refused(const char *text, size_t size, const char *says) {
    sow_table t;
    sow_status status = sow_table_parse(arena, "t.csv", text, size, &t);
    if (status == SOW_OK) fail_msg("accepted: %s", says);
    assert_string_equal(sow_message(), says);
    assert_int_equal(status, SOW_E_FORMAT);
}

static void cells_are_cut_and_quotes_resolved(void **unused) {
    sow_table t = parsed("name,text\r\na, b b \r\n\"c\"\"d\",\"x,\ny\"\n\n\"\",z");
    assert_int_equal(t.rows, 3);
    assert_int_equal(t.columns, 2);
    assert_string_equal(t.names[1], "text");
    assert_string_equal(sow_table_cell(&t, 0, 1), "b b");
    assert_string_equal(sow_table_cell(&t, 1, 0), "c\"d");
    assert_string_equal(sow_table_cell(&t, 1, 1), "x,\ny");
    assert_string_equal(sow_table_cell(&t, 2, 0), "");
    assert_string_equal(sow_table_cell(&t, 2, 1), "z");
    assert_int_equal(t.lines[1], 3);
    assert_int_equal(t.lines[2], 6); /* behind a cell of two lines and an empty line */
}

static void separators_are_found(void **unused) {
    sow_table t = parsed("a;b;c\n1,5;2;3\n");
    assert_int_equal(t.columns, 3);
    assert_string_equal(sow_table_cell(&t, 0, 0), "1,5");
    t = parsed("a\tb\n1\t\n");
    assert_string_equal(sow_table_cell(&t, 0, 1), "");
    t = parsed("\xef\xbb\xbfx,y\n1,2\n");
    assert_int_equal(sow_table_column(&t, "x"), 0);
    t = parsed("one\n1\n2\n");
    assert_int_equal(t.columns, 1);
}

static void headers_are_told_from_values(void **unused) {
    assert_non_null(parsed("x,y\n1,2\n").names);
    assert_null(parsed("1,2\n3,4\n").names);
    assert_null(parsed("5.1,3.5,setosa\n4.9,3,setosa\n").names); /* text, but not above a number */
    assert_non_null(parsed("150,4,setosa,versicolor\n5.1,3.5,1.4,0\n").names); /* as scikit-learn's iris.csv */
    assert_non_null(parsed("text,label\ngood,yes\n").names);
    assert_null(parsed("a,b\na,c\n").names);
    assert_int_equal(sow_table_column(&(sow_table){0}, "x"), -1);
}

static void numbers_are_finite(void **unused) {
    sow_table t = parsed("x,y\n1.5,nan\n-2e3,1e999\n0x10,\n 7 ,1 2\n");
    double v;
    assert_int_equal(sow_table_number(&t, 0, 0, &v), SOW_OK);
    assert_true(v == 1.5);
    assert_int_equal(sow_table_number(&t, 1, 0, &v), SOW_OK);
    assert_true(v == -2000);
    assert_int_equal(sow_table_number(&t, 3, 0, &v), SOW_OK);
    assert_true(v == 7);
    assert_int_equal(sow_table_number(&t, 0, 1, &v), SOW_E_FORMAT);
    assert_string_equal(sow_message(), "t.csv: line 2, column 2 (y): \"nan\" is not a finite number");
    assert_int_equal(sow_table_number(&t, 1, 1, &v), SOW_E_FORMAT);
    assert_int_equal(sow_table_number(&t, 2, 1, &v), SOW_E_FORMAT);
    assert_int_equal(sow_table_number(&t, 3, 1, &v), SOW_E_FORMAT);
}

#define REFUSED(text, says) refused(text, sizeof text - 1, says)

static void errors_name_line_and_column(void **unused) {
    REFUSED("", "t.csv: holds no row");
    REFUSED("\n \n", "t.csv: holds no row");
    REFUSED("a,b\n1,2,3\n", "t.csv: line 2: 3 columns, expected 2 as in line 1");
    REFUSED("a,b\n1,\"2\n3", "t.csv: line 2, column 3: a quote that never closes");
    REFUSED("a,b\n1,\"2\"x\n", "t.csv: line 2, column 6: text behind a closing quote");
    REFUSED("a,b\n1,2\"\n", "t.csv: line 2, column 4: a quote inside of a cell that does not begin with one");
    REFUSED("a,b\n1,\0\n", "t.csv: line 2, column 3: a NUL byte, expected text");
}

static void gzip_is_unpacked(void **unused) {
    char path[600];
    sow_table t;
    snprintf(path, sizeof path, "%s/t.csv.gz", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    gzFile file = gzopen(path, "wb");
    for (int i = 0; i < 300000; i++) gzprintf(file, "%d,%d\n", i, 2 * i);
    gzclose(file);
    assert_int_equal(sow_table_read(arena, path, &t), SOW_OK);
    assert_int_equal(t.rows, 300000);
    assert_string_equal(sow_table_cell(&t, 299999, 1), "599998");
    char *bytes;
    size_t size;
    assert_int_equal(sow_read_file(arena, path, 1 << 24, &bytes, &size), SOW_OK);
    assert_int_equal(sow_write_file(path, bytes, size / 2), SOW_OK);
    assert_int_equal(sow_table_read(arena, path, &t), SOW_E_FORMAT);
    assert_non_null(strstr(sow_message(), "ends early"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_cut_and_quotes_resolved),
        cmocka_unit_test(separators_are_found),
        cmocka_unit_test(headers_are_told_from_values),
        cmocka_unit_test(numbers_are_finite),
        cmocka_unit_test(errors_name_line_and_column),
        cmocka_unit_test(gzip_is_unpacked),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
