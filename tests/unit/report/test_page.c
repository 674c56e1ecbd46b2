/* Pages: what they hold, what they may do, and that nothing from outside breaks out of its place. */
#include <math.h>
#include <unistd.h>

#include "check.h"

#define HOSTILE "</script><script>alert(1)</script>"

static sow_arena *arena;
static char path[] = "/tmp/sow-page-XXXXXX";

static int set_up(void **state) {
    close(mkstemp(path));
    return sow_arena_new(&arena);
}

static int tear_down(void **state) {
    unlink(path);
    sow_arena_free(arena);
    return 0;
}

static int count_of(const char *text, const char *part) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) n++;
    return n;
}

static char *written(sow_page *page) {
    char *text;
    OK(sow_page_write(page, path));
    OK(sow_read_file(arena, path, 16 << 20, &text, NULL));
    return text;
}

static const double x[] = {0, 1, 2}, y[] = {3, NAN, 5};

static sow_page *page_with_plot(const char *name) {
    sow_page *page;
    const sow_series series = {.name = name, .drawing = SOW_DRAW_LINE, .x = x, .y = y, .count = 3};
    const sow_plot plot = {
        .title = "Loss", .says = "It ends at 5.", .x = {.label = "step"}, .series = &series, .count = 1};
    OK(sow_page_new(arena, "A <page>", &page));
    OK(sow_page_plot(page, &plot));
    return page;
}

static void parts_appear_in_the_order_in_which_they_are_added(void **state) {
    sow_page *page;
    json_t *rows = json_pack("[{s:s,s:i}]", "arm", "eva", "n", 8);
    OK(sow_page_new(arena, "A <page>", &page));
    OK(sow_page_heading(page, "Verdict"));
    OK(sow_page_text(page, "eva & lora"));
    OK(sow_page_table(page, "Arms", rows));
    const char *text = written(page), *title = strstr(text, "<h1>A &lt;page&gt;</h1>"),
               *head = strstr(text, "<h2>Verdict</h2>");
    const char *words = strstr(text, "<p>eva &amp; lora</p>"), *table = strstr(text, "<caption>Arms</caption>");
    assert_true(title && head && words && table && title < head && head < words && words < table);
    assert_null(strstr(text, "<script")); /* no plot, no script */
    json_decref(rows);
}

static void a_plot_comes_as_drawing_sentence_and_numbers(void **state) {
    const char *text = written(page_with_plot("eva"));
    assert_int_equal(count_of(text, "<svg xmlns"), 1);
    assert_non_null(strstr(text, "<figcaption>It ends at 5.</figcaption>"));
    assert_non_null(strstr(text, "the numbers (3 rows)"));
    assert_non_null(
        strstr(text, "\"series\":[{\"kind\":\"line\",\"place\":0,\"count\":3,\"x\":[0,1,2],\"y\":[3,null,5]}]"));
}

static void a_static_page_has_no_program(void **state) {
    sow_page *page = page_with_plot("eva");
    sow_page_static(page);
    const char *text = written(page);
    assert_null(strstr(text, "sowVega"));
    assert_null(strstr(text, "script-src"));
}

static void the_policy_allows_this_script_only(void **state) {
    char hex[65], *text = written(page_with_plot("eva")), *script = strstr(text, "<script>");
    if (!sow_path_exists("/usr/share/javascript/vega/vega-view.min.js")) skip();
    assert_non_null(strstr(text, "default-src 'none'"));
    assert_non_null(script);
    script += strlen("<script>");
    sow_sha256(script, (size_t)(strstr(script, "</script>") - script), hex);
    const char *sum = strstr(text, "script-src 'sha256-") + strlen("script-src 'sha256-");
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 10; i++) { /* each four letters are three bytes */
        unsigned bits = 0, bytes;
        for (int k = 0; k < 4; k++) bits = bits << 6 | (unsigned)(strchr(digits, sum[4 * i + k]) - digits);
        char six[7];
        memcpy(six, hex + 6 * i, 6);
        six[6] = 0;
        bytes = (unsigned)strtoul(six, NULL, 16);
        assert_int_equal(bits, bytes);
    }
    /* the drawings' namespace is no address that is loaded */
    assert_null(strstr(text, "src=\"http"));
    assert_null(strstr(text, "<link"));
    assert_null(strstr(text, "sourceMappingURL"));
}

static void nothing_from_outside_breaks_out(void **state) {
    sow_page *page = page_with_plot(HOSTILE);
    json_t *rows = json_pack("[{s:s}]", HOSTILE, HOSTILE);
    OK(sow_page_text(page, HOSTILE));
    OK(sow_page_table(page, HOSTILE, rows));
    sow_page_static(page);
    const char *text = written(page);
    assert_int_equal(count_of(text, "<script"), 1); /* the plot's numbers */
    assert_int_equal(count_of(text, "</script"), 1);
    assert_non_null(strstr(text, "\"names\":[\"\\u003c/script\\u003e"));
    json_decref(rows);
}

static void long_lines_are_thinned_and_keep_their_ends(void **state) {
    enum { POINTS = 1000 };
    double *step, *value;
    sow_page *page;
    OK(SOW_NEW(arena, step, POINTS));
    OK(SOW_NEW(arena, value, POINTS));
    for (int i = 0; i < POINTS; i++) step[i] = i, value[i] = 7 * i;
    const sow_series series[] = {{.name = "a", .drawing = SOW_DRAW_LINE, .x = step, .y = value, .count = POINTS},
                                 {.name = "b", .drawing = SOW_DRAW_LINE, .x = step, .y = value, .count = POINTS}};
    const sow_plot plot = {.title = "t", .says = "s", .series = series, .count = 2};
    OK(sow_page_new(arena, "p", &page));
    OK(sow_page_plot(page, &plot));
    const char *text = written(page);
    assert_int_equal(count_of(text, "\"count\":200"), 2);
    assert_non_null(strstr(text, ",999]"));
    assert_non_null(strstr(text, ",6993]"));
    assert_non_null(strstr(text, "\"place\":1,\"count\":200,\"x\":0,\"y\"")); /* the same steps, once */
    assert_non_null(strstr(text, "the numbers, a row a line (2 rows)"));
}

static void a_plot_that_cannot_be_drawn_leaves_a_line(void **state) {
    const double huge[] = {1e305, 1, 2};
    const sow_series series = {.name = "s", .drawing = SOW_DRAW_LINE, .x = x, .y = huge, .count = 3};
    const sow_plot plot = {.title = "Loss", .says = "It explodes.", .series = &series, .count = 1};
    sow_page *page;
    OK(sow_page_new(arena, "p", &page));
    FAILS(sow_page_plot(page, &plot), SOW_E_RANGE, "too large to draw");
    OK(sow_page_plot_or_say(page, &plot));
    const char *text = written(page);
    assert_null(strstr(text, "<figure"));
    assert_non_null(strstr(text, "<p>Not drawn: plot &#39;Loss&#39;: 1e+305 is too large to draw.</p>"));
}

static void long_tables_are_folded(void **state) {
    json_t *rows = json_array();
    sow_page *page;
    for (int i = 0; i < 31; i++) json_array_append_new(rows, json_pack("{s:i}", "i", i));
    OK(sow_page_new(arena, "p", &page));
    OK(sow_page_table(page, "many", rows));
    assert_non_null(strstr(written(page), "<summary>many (31 rows)</summary>"));
    json_decref(rows);
}

static void pictures_stand_inside_the_page(void **state) {
    sow_page *page;
    char svg[] = "/tmp/sow-picture-XXXXXX";
    const char *paths[] = {svg}, *captions[] = {"a \"picture\""};
    close(mkstemp(svg));
    OK(sow_write_file(svg, "<svg/>", 6));
    OK(sow_page_new(arena, "p", &page));
    OK(sow_page_images(page, paths, captions, 1));
    assert_non_null(
        strstr(written(page), "<img src=\"data:image/svg+xml;base64,PHN2Zy8+\" alt=\"a &quot;picture&quot;\">"));
    OK(sow_write_file(svg, "nothing", 7));
    FAILS(sow_page_images(page, paths, captions, 1), SOW_E_FORMAT, "expected SVG, PNG or JPEG");
    unlink(svg);
    FAILS(sow_page_images(page, paths, captions, 1), SOW_E_NOT_FOUND, svg);
}

static void the_same_page_has_the_same_bytes(void **state) {
    char *first = written(page_with_plot("eva")), *second = written(page_with_plot("eva"));
    assert_string_equal(first, second);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_appear_in_the_order_in_which_they_are_added),
        cmocka_unit_test(a_plot_comes_as_drawing_sentence_and_numbers),
        cmocka_unit_test(a_static_page_has_no_program),
        cmocka_unit_test(the_policy_allows_this_script_only),
        cmocka_unit_test(nothing_from_outside_breaks_out),
        cmocka_unit_test(long_lines_are_thinned_and_keep_their_ends),
        cmocka_unit_test(a_plot_that_cannot_be_drawn_leaves_a_line),
        cmocka_unit_test(long_tables_are_folded),
        cmocka_unit_test(pictures_stand_inside_the_page),
        cmocka_unit_test(the_same_page_has_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
