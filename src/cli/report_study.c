/* The report of a study: its clauses with their intervals, its arms by metric, its drawings. */
#include <math.h>
#include <string.h>

#include "cli/report.h"
#include "sow/file.h"

enum { PLOTS_MAX = 12 /* metrics that get a plot; the others are in the table */, PICTURES_MAX = 40 };

static double number(const json_t *row, const char *key) {
    const json_t *value = json_object_get(row, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *word(const json_t *row, const char *key) {
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

/* ---- clauses ---- */

/* Clauses of one statistic share an axis: effect, interval, and the value that they are held against. */
static sow_status plot_clauses(sow_arena *arena, const json_t *clauses, const char *statistic, sow_page *page) {
    int total = (int)json_array_size(clauses), n = 0;
    const char **says;
    double *at, *low, *high, *effect, *value;
    SOW_TRY(SOW_NEW(arena, says, total));
    SOW_TRY(SOW_NEW(arena, at, total));
    SOW_TRY(SOW_NEW(arena, low, total));
    SOW_TRY(SOW_NEW(arena, high, total));
    SOW_TRY(SOW_NEW(arena, effect, total));
    SOW_TRY(SOW_NEW(arena, value, total));
    for (int i = 0; i < total; i++) {
        const json_t *clause = json_array_get(clauses, (size_t)i);
        if (strcmp(word(clause, "statistic"), statistic) != 0 || !isfinite(number(clause, "effect"))) continue;
        says[n] = word(clause, "says");
        low[n] = number(clause, "low"), high[n] = number(clause, "high");
        if (!isfinite(low[n]) || !isfinite(high[n])) low[n] = high[n] = number(clause, "effect");
        effect[n] = number(clause, "effect"), value[n] = number(clause, "value");
        at[n] = n;
        n++;
    }
    if (n == 0) return SOW_OK;
    const sow_series series[] = {{"95 % interval", SOW_DRAW_INTERVAL, .x = low, .y = at, .x2 = high, .count = n},
                                 {"measured", SOW_DRAW_POINTS, .x = effect, .y = at, .count = n},
                                 {"demanded", SOW_DRAW_POINTS, .x = value, .y = at, .count = n}};
    const sow_plot plot = {
        .title = sow_arena_format(arena, "Clauses by %s", statistic),
        .says = sow_arena_format(arena, "%s: measured %.4g, demanded %.4g.", says[0], effect[0], value[0]),
        .x = {.label = statistic},
        .y = {.categories = says, .category_count = n},
        .series = series,
        .count = 3};
    return plot.title && plot.says ? sow_page_plot_or_say(page, &plot) : SOW_E_MEMORY;
}

static bool seen_before(const json_t *rows, size_t i, const char *key) {
    const char *text = word(json_array_get(rows, i), key);
    for (size_t j = 0; j < i; j++)
        if (strcmp(word(json_array_get(rows, j), key), text) == 0) return true;
    return false;
}

/* ---- arms ---- */

static sow_status plot_metric(sow_arena *arena, const json_t *arms, const char *metric, sow_page *page) {
    int total = (int)json_array_size(arms), n = 0;
    const char **names;
    double *at, *least, *largest, *mean;
    SOW_TRY(SOW_NEW(arena, names, total));
    SOW_TRY(SOW_NEW(arena, at, total));
    SOW_TRY(SOW_NEW(arena, least, total));
    SOW_TRY(SOW_NEW(arena, largest, total));
    SOW_TRY(SOW_NEW(arena, mean, total));
    for (int i = 0; i < total; i++) {
        const json_t *row = json_array_get(arms, (size_t)i);
        if (strcmp(word(row, "metric"), metric) != 0 || !isfinite(number(row, "mean"))) continue;
        names[n] = word(row, "arm");
        least[n] = number(row, "min"), largest[n] = number(row, "max"), mean[n] = number(row, "mean");
        at[n] = n;
        n++;
    }
    if (n < 2) return SOW_OK;
    const sow_series series[] = {
        {"least to largest", SOW_DRAW_INTERVAL, .x = least, .y = at, .x2 = largest, .count = n},
        {"mean", SOW_DRAW_POINTS, .x = mean, .y = at, .count = n}};
    const sow_plot plot = {.title = metric,
                           .says = sow_arena_format(arena, "Means over seeds: %s %.4g, %s %.4g%s.", names[0], mean[0],
                                                    names[1], mean[1], n > 2 ? " ..." : ""),
                           .x = {.label = metric},
                           .y = {.categories = names, .category_count = n},
                           .series = series,
                           .count = 2};
    return plot.says ? sow_page_plot_or_say(page, &plot) : SOW_E_MEMORY;
}

static sow_status add_metrics(sow_arena *arena, const json_t *arms, sow_page *page) {
    int plots = 0;
    SOW_TRY(sow_page_heading(page, "Arms"));
    for (size_t i = 0; i < json_array_size(arms) && plots < PLOTS_MAX; i++) {
        if (seen_before(arms, i, "metric")) continue;
        SOW_TRY(plot_metric(arena, arms, word(json_array_get(arms, i), "metric"), page));
        plots++;
    }
    return sow_page_table(page, "Arms by metric, over seeds", arms);
}

/* ---- drawings ---- */

static bool is_drawing(const char *name) {
    size_t length = strlen(name);
    return length > 4 && (strcmp(name + length - 4, ".svg") == 0 || strcmp(name + length - 4, ".png") == 0);
}

static sow_status add_drawings(sow_arena *arena, const char *folder, sow_page *page) {
    char **names;
    int64_t count;
    int n = 0;
    const char *paths[PICTURES_MAX], *captions[PICTURES_MAX];
    SOW_TRY(sow_list_folder(arena, folder, 100000, &names, &count));
    for (int64_t i = 0; i < count && n < PICTURES_MAX; i++) {
        if (!is_drawing(names[i])) continue;
        captions[n] = names[i];
        if (!(paths[n++] = sow_path_join(arena, folder, names[i]))) return SOW_E_MEMORY;
    }
    if (n == 0) return SOW_OK;
    SOW_TRY(sow_page_heading(page, "Drawings"));
    return sow_page_images(page, paths, captions, n);
}

sow_status report_study_page(sow_arena *arena, const json_t *verdict, const char *folder, sow_page *page) {
    const json_t *clauses = json_object_get(verdict, "clauses"), *arms = json_object_get(verdict, "arms");
    const char *part = word(verdict, "part");
    char *line = sow_arena_format(arena, "Study %s at scale %s%s%s: %s.", word(verdict, "study"),
                                  word(verdict, "scale"), *part ? ", part " : "", part, word(verdict, "verdict"));
    if (!line) return SOW_E_MEMORY;
    SOW_TRY(sow_page_text(page, line));
    SOW_TRY(sow_page_text(page, word(verdict, "claim")));
    SOW_TRY(sow_page_heading(page, "Clauses"));
    for (size_t i = 0; i < json_array_size(clauses); i++)
        if (!seen_before(clauses, i, "statistic"))
            SOW_TRY(plot_clauses(arena, clauses, word(json_array_get(clauses, i), "statistic"), page));
    SOW_TRY(sow_page_table(page, "The clauses, frozen before the study ran", clauses));
    SOW_TRY(add_metrics(arena, arms, page));
    return add_drawings(arena, folder, page);
}
