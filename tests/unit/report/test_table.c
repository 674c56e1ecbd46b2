/* Tables in all styles, and TensorBoard event files. */
#include <unistd.h>

#include "check.h"

static sow_arena *arena;

static int set_up(void **state) {
    return sow_arena_new(&arena);
}

static int tear_down(void **state) {
    sow_arena_free(arena);
    return 0;
}

static void assert_table(json_t *rows, sow_table_style style, const char *expected) {
    const char *text;
    assert_non_null(rows);
    OK(sow_table_format(arena, rows, style, &text));
    assert_string_equal(text, expected);
    json_decref(rows);
}

static json_t *two_arms(void) {
    return json_pack("[{s:s,s:f,s:i,s:b},{s:s,s:f,s:n,s:s}]", "arm", "eva_1", "effect", 0.0163, "n", 8, "_bold", 1,
                     "arm", "a|b", "effect", -1234.56789, "n", "note", "x, \"y\"");
}

static void columns_are_the_keys_in_order_of_appearance(void **state) {
    assert_table(two_arms(), SOW_TABLE_TEXT,
                 "arm    effect  n  note\n"
                 "eva_1  0.0163  8  \n"
                 "a|b     -1235  -  x, \"y\"\n");
}

static void markdown_escapes_its_signs_and_shows_bold_rows(void **state) {
    assert_table(two_arms(), SOW_TABLE_MARKDOWN,
                 "| arm | effect | n | note |\n| --- | ---: | ---: | --- |\n"
                 "| **eva\\_1** | **0.0163** | **8** |  |\n"
                 "| a\\|b | -1234.57 |  | x, \"y\" |\n");
}

static void latex_is_a_tabular(void **state) {
    assert_table(two_arms(), SOW_TABLE_LATEX,
                 "\\begin{tabular}{lrrl}\n\\hline\narm & effect & n & note \\\\\n\\hline\n"
                 "\\textbf{eva\\_1} & \\textbf{0.0163} & \\textbf{8} &  \\\\\n"
                 "a$\\vert$b & $-1234.57$ &  & x, \"y\" \\\\\n\\hline\n\\end{tabular}\n");
    assert_table(json_pack("[{s:s}]", "a", "\\~^{}$&#_%<>"), SOW_TABLE_LATEX,
                 "\\begin{tabular}{l}\n\\hline\na \\\\\n\\hline\n"
                 "\\textbackslash{}\\textasciitilde{}\\textasciicircum{}\\{\\}\\$\\&\\#\\_\\%$<$$>$ \\\\\n"
                 "\\hline\n\\end{tabular}\n");
}

static void csv_reads_back_the_same(void **state) {
    const char *text;
    sow_table back;
    double value;
    json_t *rows = two_arms();
    OK(sow_table_format(arena, rows, SOW_TABLE_CSV, &text));
    assert_string_equal(text, "arm,effect,n,note\neva_1,0.0163,8,\na|b,-1234.56789,,\"x, \"\"y\"\"\"\n");
    OK(sow_table_parse(arena, "csv", text, strlen(text), &back));
    OK(sow_table_number(&back, 1, 1, &value));
    assert_true(value == -1234.56789);
    assert_string_equal(sow_table_cell(&back, 1, 3), "x, \"y\"");
    json_decref(rows);
}

static void html_escapes_what_comes_from_outside(void **state) {
    assert_table(
        json_pack("[{s:s,s:i}]", "arm", "</script><b>\"&'", "n", 3), SOW_TABLE_HTML,
        "<table>\n<thead><tr><th scope=\"col\">arm</th><th scope=\"col\" class=\"n\">n</th></tr></thead>\n<tbody>\n"
        "<tr><th scope=\"row\">&lt;/script&gt;&lt;b&gt;&quot;&amp;&#39;</th><td class=\"n\">3</td></tr>\n"
        "</tbody>\n</table>\n");
}

static void plain_text_has_no_control_characters(void **state) {
    assert_table(json_pack("[{s:s,s:i}]", "a", "x\x1b[2J\ny\xc2\x9bz", "b", 1), SOW_TABLE_TEXT,
                 "a                b\nx\\x1b[2J y\\x9bz  1\n");
}

static void rows_that_are_no_objects_are_refused(void **state) {
    const char *text;
    json_t *rows = json_pack("[{s:i},i]", "a", 1, 2), *none = json_array();
    FAILS(sow_table_format(arena, rows, SOW_TABLE_CSV, &text), SOW_E_TYPE, "row 2 is no object");
    OK(sow_table_format(arena, none, SOW_TABLE_HTML, &text));
    assert_string_equal(text, "");
    json_decref(rows);
    json_decref(none);
}

static void values_are_written_for_people(void **state) {
    json_t *value = json_pack("{s:[i,b,n],s:[],s:[[i]]}", "a", 1, 0, "b", "c", 2);
    assert_string_equal(sow_value_text(arena, json_object_get(value, "a"), 6), "1, no, -");
    assert_string_equal(sow_value_text(arena, json_object_get(value, "b"), 6), "none");
    assert_string_equal(sow_value_text(arena, json_object_get(value, "c"), 6), "[[2]]");
    json_decref(value);
}

/* ---- events ---- */

static void events_have_the_bytes_that_tensorboard_reads(void **state) {
    char folder[] = "/tmp/sow-events-XXXXXX", *data, hex[1024] = "";
    size_t size;
    sow_events *events;
    assert_non_null(mkdtemp(folder));
    OK(sow_events_open(folder, &events));
    OK(sow_events_scalar(events, "loss", 3, .5));
    OK(sow_events_close(events));
    char *path = sow_path_join(arena, folder, "events.out.tfevents.0.sow");
    OK(sow_read_file(arena, path, 4096, &data, &size));
    for (size_t i = 0; i < size; i++) snprintf(hex + 2 * i, 3, "%02x", (unsigned char)data[i]);
    /* the record of PROVE.md, oracle 15, with wall time 0: same length, same sum of the length, same fields */
    assert_non_null(strstr(hex, "1a00000000000000129bd82d"
                                "09000000000000000010032a0d0a0b0a046c6f7373150000003f"));
    /* 24 bytes: wall time, then "brain.Event:2" */
    assert_memory_equal(hex,
                        "1800000000000000a37f4b22"
                        "090000000000000000"
                        "1a0d627261696e2e4576656e743a32",
                        54);
    assert_int_equal(size, 12 + 24 + 4 + 12 + 26 + 4);
    unlink(path);
    rmdir(folder);
}

static void a_failed_event_file_is_not_made(void **state) {
    char folder[] = "/tmp/sow-events-XXXXXX", tag[5001];
    sow_events *events;
    assert_non_null(mkdtemp(folder));
    memset(tag, 't', 5000);
    tag[5000] = 0;
    OK(sow_events_open(folder, &events));
    FAILS(sow_events_scalar(events, tag, 0, 1), SOW_E_RANGE, "5000 bytes");
    assert_int_equal(sow_events_close(events), SOW_E_RANGE);
    assert_int_equal(rmdir(folder), 0); /* it is empty */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_the_keys_in_order_of_appearance),
        cmocka_unit_test(markdown_escapes_its_signs_and_shows_bold_rows),
        cmocka_unit_test(latex_is_a_tabular),
        cmocka_unit_test(csv_reads_back_the_same),
        cmocka_unit_test(html_escapes_what_comes_from_outside),
        cmocka_unit_test(plain_text_has_no_control_characters),
        cmocka_unit_test(rows_that_are_no_objects_are_refused),
        cmocka_unit_test(values_are_written_for_people),
        cmocka_unit_test(events_have_the_bytes_that_tensorboard_reads),
        cmocka_unit_test(a_failed_event_file_is_not_made),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
