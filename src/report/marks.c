/* The drawings of a plot: lines, points, bars, bands, intervals, segments, rules, and their labels. */
#include <math.h>
#include <string.h>

#include "report/plot.h"

/* Okabe & Ito 2008, without their yellow (too pale on white); brighter ones for dark grounds. */
const char *const plot_colours[COLOURS] = {"#0072b2", "#d55e00", "#009e73", "#b8579a", "#b8860b", "#2f9bd8", "#5b4a8a"};
const char *const plot_dark_colours[COLOURS] = {"#4fb0f0", "#ff8a3d", "#2fd3a5", "#f09ad0",
                                                "#f0c040", "#9ad8ff", "#b8a8f0"};
const char *const plot_dashes[DASHES] = {"", "7 3", "2 3", "9 3 2 3", "4 2"};

void draw_text(writing *w, double x, double y, const char *anchor, const char *text) {
    writing_put(w, "<text x=\"");
    writing_pixel(w, x);
    writing_put(w, "\" y=\"");
    writing_pixel(w, y);
    if (*anchor) writing_format(w, "\" text-anchor=\"%s", anchor);
    writing_put(w, "\">");
    writing_escaped(w, text);
    writing_put(w, "</text>\n");
}

static void point(writing *w, const char *before, double x, double y) {
    writing_put(w, before);
    writing_pixel(w, x);
    writing_put(w, " ");
    writing_pixel(w, y);
}

static bool both_finite(double a, double b) {
    return isfinite(a) && isfinite(b);
}

/* ---- points ---- */

void draw_shape(writing *w, int place, double x, double y, double size) {
    static const double corners[SHAPES][8] = {{0},
                                              {-.9, -.9, .9, -.9, .9, .9, -.9, .9},
                                              {0, -1.2, 1.1, .8, -1.1, .8, 0, -1.2},
                                              {0, -1.3, 1.3, 0, 0, 1.3, -1.3, 0},
                                              {0, 1.2, 1.1, -.8, -1.1, -.8, 0, 1.2},
                                              {-1.4, -.5, 1.4, -.5, 1.4, .5, -1.4, .5}};
    int shape = place < 0 ? 0 : place % SHAPES;
    if (shape == 0) {
        writing_put(w, "<circle cx=\"");
        writing_pixel(w, x);
        writing_put(w, "\" cy=\"");
        writing_pixel(w, y);
        writing_put(w, "\" r=\"");
        writing_pixel(w, size);
        writing_put(w, "\"/>\n");
        return;
    }
    writing_put(w, "<path d=\"");
    for (int i = 0; i < 4; i++)
        point(w, i ? "L" : "M", x + size * corners[shape][2 * i], y + size * corners[shape][2 * i + 1]);
    writing_put(w, "Z\"/>\n");
}

static void draw_points(writing *w, const layout *l, const sow_series *s, int place) {
    double size = s->count > 500 ? 2 : s->count > 100 ? 2.8 : 3.6;
    for (int64_t k = 0; k < s->count; k++)
        if (both_finite(s->x[k], s->y[k]))
            draw_shape(w, place, scale_at(&l->x, s->x[k]), scale_at(&l->y, s->y[k]), size);
}

/* ---- lines and bands ---- */

/* A run of finite values that has only one is drawn as a dot; points that fall on the one before are left out. */
static void draw_line(writing *w, const layout *l, const sow_series *s) {
    for (int64_t k = 0; k < s->count;) {
        int64_t end = k;
        while (end < s->count && both_finite(s->x[end], s->y[end])) end++;
        if (end - k == 1) draw_shape(w, 0, scale_at(&l->x, s->x[k]), scale_at(&l->y, s->y[k]), 2);
        if (end - k > 1) writing_put(w, "<path fill=\"none\" d=\"");
        double last_x = NAN, last_y = NAN;
        for (int64_t i = k; i < end && end - k > 1; i++) {
            double x = scale_at(&l->x, s->x[i]), y = scale_at(&l->y, s->y[i]);
            if (i > k && fabs(x - last_x) < .1 && fabs(y - last_y) < .1) continue;
            point(w, i > k ? "L" : "M", last_x = x, last_y = y);
        }
        if (end - k > 1) writing_put(w, "\"/>\n");
        k = end > k ? end : k + 1;
    }
}

static bool in_band(const sow_series *s, int64_t k) {
    return both_finite(s->x[k], s->y[k]) && isfinite(s->y2[k]);
}

static void draw_band(writing *w, const layout *l, const sow_series *s) {
    for (int64_t k = 0; k < s->count;) {
        int64_t end = k;
        while (end < s->count && in_band(s, end)) end++;
        if (end - k > 1) {
            writing_put(w, "<path stroke=\"none\" fill-opacity=\".18\" d=\"");
            for (int64_t i = k; i < end; i++)
                point(w, i > k ? "L" : "M", scale_at(&l->x, s->x[i]), scale_at(&l->y, s->y[i]));
            for (int64_t i = end - 1; i >= k; i--) point(w, "L", scale_at(&l->x, s->x[i]), scale_at(&l->y, s->y2[i]));
            writing_put(w, "Z\"/>\n");
        }
        k = end > k ? end : k + 1;
    }
}

/* ---- straight pieces ---- */

static void draw_piece(writing *w, double x1, double y1, double x2, double y2) {
    writing_put(w, "<path d=\"");
    point(w, "M", x1, y1);
    point(w, "L", x2, y2);
    writing_put(w, "\"/>\n");
}

/* Ends are bars; an open end runs to the edge and has an arrow. */
static void draw_end(writing *w, const layout *l, double value, double edge, double y, double outwards) {
    if (isfinite(value)) {
        draw_piece(w, scale_at(&l->x, value), y - 5, scale_at(&l->x, value), y + 5);
        return;
    }
    writing_put(w, "<path fill=\"none\" d=\"");
    point(w, "M", edge - 6 * outwards, y - 5);
    point(w, "L", edge, y);
    point(w, "L", edge - 6 * outwards, y + 5);
    writing_put(w, "\"/>\n");
}

static void draw_intervals(writing *w, const layout *l, const sow_series *s) {
    for (int64_t k = 0; k < s->count; k++) {
        if (!isfinite(s->y[k])) continue;
        double y = scale_at(&l->y, s->y[k]), low = s->x[k], high = s->x2[k];
        draw_piece(w, isfinite(low) ? scale_at(&l->x, low) : l->left, y,
                   isfinite(high) ? scale_at(&l->x, high) : l->right, y);
        draw_end(w, l, low, l->left, y, -1);
        draw_end(w, l, high, l->right, y, 1);
    }
}

static void draw_segments(writing *w, const layout *l, const sow_series *s) {
    for (int64_t k = 0; k < s->count; k++)
        if (both_finite(s->x[k], s->y[k]) && both_finite(s->x2[k], s->y2[k]))
            draw_piece(w, scale_at(&l->x, s->x[k]), scale_at(&l->y, s->y[k]), scale_at(&l->x, s->x2[k]),
                       scale_at(&l->y, s->y2[k]));
}

static void draw_rule(writing *w, const layout *l, const sow_series *s) {
    if (s->count < 1 || !isfinite(s->x ? s->x[0] : s->y[0])) return;
    double x = s->x ? scale_at(&l->x, s->x[0]) : 0, y = s->y ? scale_at(&l->y, s->y[0]) : 0;
    if (s->x) draw_piece(w, x, l->top, x, l->bottom);
    else draw_piece(w, l->left, y, l->right, y);
}

/* ---- bars ---- */

/* Height of the bars of earlier series at this x. */
static double stacked_below(const sow_plot *plot, int series, double x) {
    double sum = 0;
    for (int j = 0; j < series; j++) {
        const sow_series *below = &plot->series[j];
        for (int64_t m = 0; below->drawing == SOW_DRAW_BARS && m < below->count; m++)
            if (below->x[m] == x && isfinite(below->y[m])) sum += below->y[m];
    }
    return sum;
}

static void draw_bars(writing *w, const layout *l, int series) {
    const sow_series *s = &l->plot->series[series];
    for (int64_t k = 0; k < s->count; k++) {
        if (!both_finite(s->x[k], s->y[k])) continue;
        double base = stacked_below(l->plot, series, s->x[k]);
        double left = scale_at(&l->x, s->x[k] - l->bar_width / 2), right = scale_at(&l->x, s->x[k] + l->bar_width / 2);
        double from = l->plot->y.log && base <= 0 ? l->bottom : scale_at(&l->y, base);
        double to = scale_at(&l->y, base + s->y[k]);
        writing_put(w, "<rect x=\"");
        writing_pixel(w, left);
        writing_put(w, "\" y=\"");
        writing_pixel(w, fmin(from, to));
        writing_put(w, "\" width=\"");
        writing_pixel(w, fmax(right - left, .5));
        writing_put(w, "\" height=\"");
        writing_pixel(w, fabs(to - from));
        writing_put(w, "\"/>\n");
    }
}

/* ---- labels ---- */

enum { LABEL = 11 /* font size */, LABELS_APART = 1000 /* more are not kept from covering each other */ };

typedef struct box {
    double left, right, top, bottom;
} box;

static bool meets(const box *a, const box *boxes, int count) {
    for (int i = 0; i < count; i++)
        if (a->left < boxes[i].right && boxes[i].left < a->right && a->top < boxes[i].bottom &&
            boxes[i].top < a->bottom)
            return true;
    return false;
}

/* Right of the point, else left, above, below: the first place that is free and inside. */
static void place_label(writing *w, const layout *l, double x, double y, const char *text, box *taken, int *count) {
    double width = text_width(text, LABEL);
    const box places[] = {{x + 6, x + 6 + width, y - 6, y + 6},
                          {x - 6 - width, x - 6, y - 6, y + 6},
                          {x - width / 2, x + width / 2, y - 19, y - 7},
                          {x - width / 2, x + width / 2, y + 7, y + 19}};
    static const char *const anchors[] = {"", "end", "middle", "middle"};
    int chosen = x + 6 + width > l->width - 4 ? 1 : 0;
    for (int i = 0; i < 4 && *count < LABELS_APART; i++) {
        bool inside = places[i].left >= 4 && places[i].right <= l->width - 4 && places[i].top >= l->top - 6;
        if (!inside || places[i].bottom > l->bottom + 6 || meets(&places[i], taken, *count)) continue;
        chosen = i;
        break;
    }
    if (*count < LABELS_APART) taken[(*count)++] = places[chosen];
    const box *p = &places[chosen];
    double at = chosen == 0 ? p->left : chosen == 1 ? p->right : x;
    draw_text(w, at, p->bottom - 2, anchors[chosen], text);
}

static void draw_labels(writing *w, const layout *l) {
    int count = 0;
    box *taken = sow_arena_take_raw(l->arena, LABELS_APART, sizeof *taken);
    if (!taken) {
        w->failed = true;
        return;
    }
    writing_format(w, "<g class=\"sow-ink\" font-size=\"%d\">\n", LABEL);
    for (int i = 0; i < l->plot->count; i++) {
        const sow_series *s = &l->plot->series[i];
        for (int64_t k = 0; s->labels && k < s->count; k++)
            if (s->labels[k] && s->x && s->y && both_finite(s->x[k], s->y[k]))
                place_label(w, l, scale_at(&l->x, s->x[k]), scale_at(&l->y, s->y[k]), s->labels[k], taken, &count);
    }
    writing_put(w, "</g>\n");
}

/* ---- all ---- */

/* What lies behind comes first. */
static int depth(const sow_series *s) {
    switch (s->drawing) {
    case SOW_DRAW_BAND: return 0;
    case SOW_DRAW_BARS: return 1;
    case SOW_DRAW_RULE: return 2;
    case SOW_DRAW_SEGMENTS: return 3;
    case SOW_DRAW_LINE:
    case SOW_DRAW_INTERVAL: return s->faint ? 3 : 4;
    case SOW_DRAW_POINTS: return s->faint ? 3 : 5;
    }
    return 5;
}

static void open_group(writing *w, const sow_series *s, int place) {
    const char *dash = place < 0 ? "" : plot_dashes[place % DASHES];
    bool thin = s->faint || s->drawing == SOW_DRAW_SEGMENTS || s->drawing == SOW_DRAW_RULE;
    bool filled = s->drawing == SOW_DRAW_POINTS || s->drawing == SOW_DRAW_BARS || s->drawing == SOW_DRAW_BAND;
    if (s->drawing == SOW_DRAW_RULE && place < 0) dash = "5 4";
    if (place < 0) writing_put(w, "<g class=\"sow-grey\" color=\"" PLOT_GREY "\"");
    else writing_format(w, "<g class=\"sow-c%d\" color=\"%s\"", place % COLOURS, plot_colours[place % COLOURS]);
    if (filled && s->drawing != SOW_DRAW_BAND) writing_put(w, " fill=\"currentColor\"");
    else {
        writing_format(w, " fill=\"currentColor\" stroke=\"currentColor\" stroke-width=\"%s\"", thin ? "1" : "1.8");
        if (*dash && s->drawing != SOW_DRAW_INTERVAL && s->drawing != SOW_DRAW_BAND)
            writing_format(w, " stroke-dasharray=\"%s\"", dash);
    }
    if (s->faint) writing_put(w, " opacity=\".35\"");
    writing_put(w, ">\n");
}

void draw_series(writing *w, const layout *l) {
    for (int d = 0; d <= 5; d++)
        for (int i = 0; i < l->plot->count; i++) {
            const sow_series *s = &l->plot->series[i];
            if (depth(s) != d || s->count == 0) continue;
            open_group(w, s, l->places[i]);
            switch (s->drawing) {
            case SOW_DRAW_LINE: draw_line(w, l, s); break;
            case SOW_DRAW_POINTS: draw_points(w, l, s, l->places[i]); break;
            case SOW_DRAW_BARS: draw_bars(w, l, i); break;
            case SOW_DRAW_BAND: draw_band(w, l, s); break;
            case SOW_DRAW_INTERVAL: draw_intervals(w, l, s); break;
            case SOW_DRAW_SEGMENTS: draw_segments(w, l, s); break;
            case SOW_DRAW_RULE: draw_rule(w, l, s); break;
            }
            writing_put(w, "</g>\n");
        }
    for (int i = 0; i < l->plot->count; i++)
        if (l->plot->series[i].labels) {
            draw_labels(w, l);
            break;
        }
}
