/* Plots as SVG and PNG. */
#include <math.h>
#include <unistd.h>

#include "check.h"

#ifdef SOW_SANITIZE
/* fontconfig keeps what it has read. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libfontconfig";
}
#endif

static sow_arena *arena;

static int set_up(void **state) {
    return sow_arena_new(&arena);
}

static int tear_down(void **state) {
    sow_arena_free(arena);
    return 0;
}

static const char *svg_of(const sow_plot *plot) {
    static const char *svg; /* static: gcc takes the arena's text for a local otherwise */
    OK(sow_plot_svg(arena, plot, &svg));
    return svg;
}

static int count_of(const char *text, const char *part) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) n++;
    return n;
}

static void assert_has(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("'%s' is not in: %s", part, text);
}

static const double x[] = {0, 1, 2, 3, 4}, y[] = {1, 4, 2, 8, 5}, higher[] = {2, 5, 3, 9, 6};

static sow_plot plot_of(const sow_series *series, int count) {
    return (sow_plot){.title = "A plot", .says = "It rises.", .series = series, .count = count};
}

static void every_value_is_drawn_where_the_axes_say(void **state) {
    /* 200 x 100 without anything around: 0..10 by 0..10, air of 3 %. */
    const double at[] = {0, 10}, up[] = {0, 10};
    const sow_series series = {.drawing = SOW_DRAW_POINTS, .x = at, .y = up, .count = 2};
    const sow_plot plot = {.title = "",
                           .x = {.hidden = true},
                           .y = {.hidden = true},
                           .series = &series,
                           .count = 1,
                           .width = 232,
                           .height = 124};
    const char *svg = svg_of(&plot);
    /* area: 12 to 212, 12 to 112; one unit is 200/10.6 and 100/10.6 pixels */
    assert_has(svg, "<circle cx=\"17.7\" cy=\"109.2\" r=\"3.6\"/>");
    assert_has(svg, "<circle cx=\"206.3\" cy=\"14.8\" r=\"3.6\"/>");
    assert_int_equal(count_of(svg, "<circle"), 2);
    assert_int_equal(count_of(svg, "<text"), 0);
}

static void each_drawing_leaves_its_marks(void **state) {
    const double one[] = {2.5};
    const sow_series series[] = {
        {.name = "line", .drawing = SOW_DRAW_LINE, .x = x, .y = y, .count = 5},
        {.name = "points", .drawing = SOW_DRAW_POINTS, .x = x, .y = y, .count = 5},
        {.name = "bars", .drawing = SOW_DRAW_BARS, .x = x, .y = y, .count = 5},
        {.name = "band", .drawing = SOW_DRAW_BAND, .x = x, .y = y, .y2 = higher, .count = 5},
        {.name = "intervals", .drawing = SOW_DRAW_INTERVAL, .x = x, .y = y, .x2 = higher, .count = 5},
        {.name = "segments", .drawing = SOW_DRAW_SEGMENTS, .x = x, .y = y, .x2 = y, .y2 = x, .count = 5},
        {.drawing = SOW_DRAW_RULE, .x = one, .count = 1},
    };
    const int paths[] = {1, 5, 0, 1, 15, 5, 1}, rects[] = {0, 0, 5, 0, 0, 0, 0};
    for (int i = 0; i < 7; i++) {
        sow_series alone = series[i];
        alone.name = "points"; /* with a series of invisible points, for a range and a legend that stay the same */
        sow_series both[] = {{.name = "points", .drawing = SOW_DRAW_POINTS, .x = x, .y = y}, alone};
        const double corner[] = {0, 9};
        both[0].x = both[0].y = corner;
        both[0].count = 2;
        sow_plot plot = plot_of(both, 2), empty = plot_of(both, 1);
        const char *with = svg_of(&plot), *without = svg_of(&empty);
        int circles = i == 1 ? 5 : 0; /* the first name's shape */
        assert_int_equal(count_of(with, "<circle") - count_of(without, "<circle"), circles);
        /* a legend sample of lines or patches comes with them */
        int sample_line = i == 0 || i >= 4, sample_patch = i == 2 || i == 3;
        assert_int_equal(count_of(with, "<path") - count_of(without, "<path"), (i == 1 ? 0 : paths[i]) + sample_line);
        assert_int_equal(count_of(with, "<rect") - count_of(without, "<rect"), rects[i] + sample_patch);
    }
}

static void a_missing_value_leaves_a_gap_in_a_line(void **state) {
    const double gap[] = {1, 2, NAN, 4, 5}, lonely[] = {1, NAN, 3, NAN, 5};
    sow_series series = {.drawing = SOW_DRAW_LINE, .x = x, .y = gap, .count = 5};
    sow_plot plot = plot_of(&series, 1);
    assert_int_equal(count_of(svg_of(&plot), "fill=\"none\" d=\"M"), 2 + 2); /* grid and frame too */
    series.y = lonely;
    assert_int_equal(count_of(svg_of(&plot), "<circle"), 3); /* points without neighbours are dots */
}

static void bars_at_one_place_are_stacked(void **state) {
    const double at[] = {0}, three[] = {3}, one[] = {1};
    const char *const names[] = {"a"};
    const sow_series series[] = {{.name = "done", .drawing = SOW_DRAW_BARS, .x = at, .y = three, .count = 1},
                                 {.name = "failed", .drawing = SOW_DRAW_BARS, .x = at, .y = one, .count = 1}};
    const sow_plot plot = {.title = "",
                           .x = {.categories = names, .category_count = 1, .hidden = true},
                           .y = {.hidden = true},
                           .series = series,
                           .count = 2,
                           .width = 232,
                           .height = 124 + 24};
    const char *svg = svg_of(&plot);
    /* the area is 100 pixels high for 0 to 4 and 3 % of air above; the second stands on the first */
    assert_has(svg, "y=\"63.2\" width=\"160\" height=\"72.8\"");
    assert_has(svg, "y=\"38.9\" width=\"160\" height=\"24.3\"");
}

static void colours_are_repeated_by_dashes_and_shapes(void **state) {
    sow_series series[8];
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (int i = 0; i < 8; i++)
        series[i] = (sow_series){.name = names[i], .drawing = SOW_DRAW_LINE, .x = x, .y = y, .count = 5};
    sow_plot plot = plot_of(series, 8);
    const char *svg = svg_of(&plot);
    assert_int_equal(count_of(svg, "stroke-width=\"1.8\" stroke-dasharray=\"7 3\">"), 2); /* b and g */
    assert_int_equal(count_of(svg, "<g class=\"sow-c0\""), 2 * 2);                        /* a and h, with samples */
    series[7].name = "a";
    assert_int_equal(count_of(svg_of(&plot), ">a</text>"), 1); /* one name, one entry */
}

static void ticks_are_round_numbers(void **state) {
    const double small[] = {-.012, .031}, large[] = {0, 24e3}, tiny[] = {1e-6, 3e-6}, decades[] = {.002, 5e4};
    sow_series series = {.drawing = SOW_DRAW_POINTS, .x = small, .y = large, .count = 2};
    sow_plot plot = plot_of(&series, 1);
    const char *svg = svg_of(&plot);
    const char *const expected[] = {">\xe2\x88\x92"
                                    "0.010<",
                                    ">0<",
                                    ">0.005<",
                                    ">0.030<",
                                    ">5,000<",
                                    ">20,000<"};
    for (int i = 0; i < 6; i++) assert_has(svg, expected[i]);
    series.x = tiny;
    series.y = decades;
    plot.y.log = true;
    svg = svg_of(&plot);
    const char *const others[] = {">1.5e-6<", ">3.0e-6<", ">0.01<", ">1<", ">10,000<"};
    for (int i = 0; i < 5; i++) assert_has(svg, others[i]);
}

static void equal_scales_have_equal_units(void **state) {
    const double square_x[] = {0, 1, 1}, square_y[] = {0, 0, 1};
    const sow_series series = {.drawing = SOW_DRAW_LINE, .x = square_x, .y = square_y, .count = 3};
    sow_plot plot = plot_of(&series, 1);
    double px[3], py[3];
    plot.equal = true;
    const char *at = strstr(svg_of(&plot), "<g class=\"sow-grey\"");
    at = at ? strstr(at, "d=\"M") : NULL;
    assert_non_null(at);
    assert_int_equal(sscanf(at, "d=\"M%lf %lfL%lf %lfL%lf %lf", px, py, px + 1, py + 1, px + 2, py + 2), 6);
    assert_near(px[1] - px[0], py[1] - py[2], .11); /* one decimal */
    assert_true(px[1] - px[0] > 100);
}

static void categories_of_y_run_down(void **state) {
    const char *const names[] = {"first", "second"};
    const double at[] = {0, 1}, low[] = {-1, NAN}, high[] = {1, NAN};
    const sow_series series = {
        .name = "first", .drawing = SOW_DRAW_INTERVAL, .x = low, .y = at, .x2 = high, .count = 2};
    sow_plot plot = plot_of(&series, 1);
    plot.y = (sow_axis){.categories = names, .category_count = 2};
    const char *svg = svg_of(&plot), *first = strstr(svg, ">first<"), *second = strstr(svg, ">second<");
    assert_true(first && second && first < second);
    assert_int_equal(count_of(svg, ">first<"), 1); /* its name stands on the axis: none in the legend */
}

static void text_from_outside_is_escaped(void **state) {
    const char *const labels[] = {"</text><script>alert(1)</script>", "a\x01\xff"
                                                                      "b"};
    const sow_series series = {
        .name = "a&b\"'", .drawing = SOW_DRAW_POINTS, .x = x, .y = y, .labels = labels, .count = 2};
    sow_plot plot = plot_of(&series, 1);
    plot.title = "<x>";
    const char *svg = svg_of(&plot);
    assert_has(svg, "<title>&lt;x&gt;</title>");
    assert_has(svg, ">a&amp;b&quot;&#39;</text>");
    assert_has(svg, "a\xef\xbf\xbd\xef\xbf\xbd"
                    "b");
    assert_null(strstr(svg, "<script"));
}

static void what_cannot_be_drawn_is_refused(void **state) {
    const double nothing[] = {NAN, INFINITY}, huge[] = {1e305, 0}, zero[] = {0, 1};
    const char *svg;
    sow_series series = {.name = "s", .drawing = SOW_DRAW_LINE, .x = x, .y = nothing, .count = 2};
    sow_plot plot = plot_of(&series, 1);
    FAILS(sow_plot_svg(arena, &plot, &svg), SOW_E_RANGE, "nothing finite");
    series.y = huge;
    FAILS(sow_plot_svg(arena, &plot, &svg), SOW_E_RANGE, "too large");
    series.y = zero;
    plot.y = (sow_axis){.label = "loss", .log = true};
    FAILS(sow_plot_svg(arena, &plot, &svg), SOW_E_RANGE, "0 on the logarithmic axis 'loss'");
    series.drawing = SOW_DRAW_BAND;
    FAILS(sow_plot_svg(arena, &plot, &svg), SOW_E_ARGUMENT, "series 's' lacks an array");
    plot.count = 0;
    FAILS(sow_plot_svg(arena, &plot, &svg), SOW_E_RANGE, "nothing finite");
}

static void extreme_ranges_have_ticks(void **state) {
    const double one[] = {7}, alike[] = {1e16, 1e16 + 2}, wide[] = {-1e300, 1e300}, apart[] = {1e-300, 1e300};
    const double *const ranges[] = {one, alike, wide, apart};
    for (int i = 0; i < 4; i++) {
        const sow_series series = {.drawing = SOW_DRAW_POINTS, .x = ranges[i], .y = ranges[i], .count = i ? 2 : 1};
        for (int is_log = 0; is_log < (i == 2 ? 1 : 2); is_log++) {
            sow_plot plot = plot_of(&series, 1);
            plot.x.log = plot.y.log = is_log;
            const char *svg = svg_of(&plot);
            if (count_of(svg, "<text") < 2 + 2) fail_msg("range %d, log %d: too few ticks in %s", i, is_log, svg);
            if (strstr(svg, "nan") || strstr(svg, "inf"))
                fail_msg("range %d, log %d: not a number in %s", i, is_log, svg);
        }
    }
}

static void a_file_is_svg_or_png_by_its_name(void **state) {
    const sow_series series = {.name = "s", .drawing = SOW_DRAW_LINE, .x = x, .y = y, .count = 5};
    sow_plot plot = plot_of(&series, 1);
    char *folder = sow_arena_format(arena, "%s", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp"), *data;
    char *svg = sow_path_join(arena, folder, "plot.svg"), *png = sow_path_join(arena, folder, "plot.png");
    OK(sow_plot_write(svg, &plot));
    OK(sow_read_file(arena, svg, 1 << 20, &data, NULL));
    assert_string_equal(data, svg_of(&plot));
    unlink(svg);
#ifdef SOW_HAVE_RSVG
    OK(sow_plot_write(png, &plot));
    OK(sow_read_file(arena, png, 1 << 24, &data, NULL));
    assert_memory_equal(data, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x05\0\0\0\x03\x20", 24); /* 1280 x 800 */
    unlink(png);
#else
    FAILS(sow_plot_write(png, &plot), SOW_E_UNSUPPORTED, "librsvg2-dev");
#endif
    FAILS(sow_plot_write("/nowhere/plot.svg", &plot), SOW_E_IO, "/nowhere/plot.svg");
}

/* ---- curves of arms ---- */

static const char *in_tmp(const char *name) {
    return sow_path_join(arena, getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", name);
}

static void curves_say_where_each_arm_ends(void **state) {
    const double left[] = {100, 50, 25}, a[] = {0.5, 0.75, NAN}, b[] = {0.4, 0.3, 0.2}, low[] = {0.3, 0.2, 0.1},
                 high[] = {0.5, 0.4, 0.3};
    const sow_curve arms[] = {{"ticket", 3, left, a, NULL, NULL}, {"reinit", 3, left, b, low, high}};
    sow_curves curves = {.title = "Accuracy",
                         .x = {.label = "weights left [%]", .log = true},
                         .y = {.label = "accuracy"},
                         .curves = arms,
                         .count = 2,
                         .end = "Where fewest are left",
                         .unit = "%",
                         .reference = "dense",
                         .reference_says = "the dense network",
                         .reference_value = 0.625};
    const char *path = in_tmp("curves.svg");
    char *text;
    size_t size;
    bool written;
    OK(sow_curves_write(arena, &curves, path, &written));
    assert_true(written);
    OK(sow_read_file(arena, path, 1 << 20, &text, &size));
    assert_non_null(
        strstr(text, "Where fewest are left: ticket 0.75 at 50 %, reinit 0.2 at 25 %; the dense network 0.625."));
    curves.reference_value = NAN, curves.count = 1;
    OK(sow_curves_write(arena, &curves, path, &written));
    OK(sow_read_file(arena, path, 1 << 20, &text, &size));
    assert_non_null(strstr(text, "Where fewest are left: ticket 0.75 at 50 %."));
    assert_null(strstr(text, "dense"));
    unlink(path);
}

static void curves_without_a_value_are_not_drawn(void **state) {
    const double one[] = {1}, none[] = {NAN};
    const sow_curve arm = {"ticket", 1, one, none, NULL, NULL};
    const sow_curves curves = {.curves = &arm, .count = 1, .end = "At the end", .unit = "", .reference_value = NAN};
    const char *path = in_tmp("none.svg");
    bool written = true;
    OK(sow_curves_write(arena, &curves, path, &written));
    assert_false(written);
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_is_drawn_where_the_axes_say),
        cmocka_unit_test(each_drawing_leaves_its_marks),
        cmocka_unit_test(a_missing_value_leaves_a_gap_in_a_line),
        cmocka_unit_test(bars_at_one_place_are_stacked),
        cmocka_unit_test(colours_are_repeated_by_dashes_and_shapes),
        cmocka_unit_test(ticks_are_round_numbers),
        cmocka_unit_test(equal_scales_have_equal_units),
        cmocka_unit_test(categories_of_y_run_down),
        cmocka_unit_test(text_from_outside_is_escaped),
        cmocka_unit_test(what_cannot_be_drawn_is_refused),
        cmocka_unit_test(extreme_ranges_have_ticks),
        cmocka_unit_test(a_file_is_svg_or_png_by_its_name),
        cmocka_unit_test(curves_say_where_each_arm_ends),
        cmocka_unit_test(curves_without_a_value_are_not_drawn),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
