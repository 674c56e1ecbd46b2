/* A plot as SVG text: the frame around the drawings, and the files. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/page.h"
#include "report/pixels.h"
#include "report/plot.h"
#include "sow/file.h"

/* Colours for dark grounds come through the style sheet; the attributes are those for light ones, so that programs
 * without style sheets draw rightly too. */
const char plot_style[] =
    ".sow-plot{font-family:'DejaVu Sans',Verdana,Arial,sans-serif}\n"
    "@media screen and (prefers-color-scheme:dark){.sow-ground{fill:#16181d}.sow-ink{fill:#e6e6e6}.sow-frame"
    "{stroke:#9aa0a8}.sow-grid{stroke:#343a44}.sow-grey{color:#a0a0a0}.sow-c0{color:#4fb0f0}.sow-c1{color:#ff8a3d}"
    ".sow-c2{color:#2fd3a5}.sow-c3{color:#f09ad0}.sow-c4{color:#f0c040}.sow-c5{color:#9ad8ff}.sow-c6{color:#b8a8f0}}\n";

/* ---- axes ---- */

static void draw_grid(writing *w, const layout *l) {
    writing_put(w, "<path class=\"sow-grid\" stroke=\"#e4e4e4\" fill=\"none\" d=\"");
    for (int i = 0; i < l->x.tick_count; i++) {
        double x = scale_at(&l->x, l->x.ticks[i]);
        writing_format(w, "M%.1f %.1fV%.1f", x, l->top, l->bottom);
    }
    for (int i = 0; i < l->y.tick_count; i++) {
        double y = scale_at(&l->y, l->y.ticks[i]);
        writing_format(w, "M%.1f %.1fH%.1f", l->left, y, l->right);
    }
    for (int i = 0; l->plot->y.categories && !l->plot->y.hidden && i < l->plot->y.category_count; i++)
        writing_format(w, "M%.1f %.1fH%.1f", l->left, scale_at(&l->y, i), l->right);
    writing_put(w, "\"/>\n");
}

static void draw_frame(writing *w, const layout *l) {
    writing_put(w, "<path class=\"sow-frame\" stroke=\"#666666\" fill=\"none\" d=\"");
    if (!l->plot->x.hidden) writing_format(w, "M%.1f %.1fH%.1f", l->left, l->bottom, l->right);
    if (!l->plot->y.hidden) writing_format(w, "M%.1f %.1fV%.1f", l->left, l->top, l->bottom);
    for (int i = 0; i < l->x.tick_count; i++)
        writing_format(w, "M%.1f %.1fv4", scale_at(&l->x, l->x.ticks[i]), l->bottom);
    for (int i = 0; i < l->y.tick_count; i++)
        writing_format(w, "M%.1f %.1fh-4", l->left, scale_at(&l->y, l->y.ticks[i]));
    writing_put(w, "\"/>\n");
}

/* Names under the x axis: level where they fit, else slanted; where even that is too close, every k-th. */
static sow_status draw_x_categories(writing *w, const layout *l) {
    const sow_axis *axis = &l->plot->x;
    double place = (l->right - l->left) / axis->category_count, widest = 0;
    for (int i = 0; i < axis->category_count; i++) widest = fmax(widest, text_width(axis->categories[i], FONT));
    bool level = widest <= place - 4;
    int stride = place < 14 ? (int)ceil(14 / place) : 1;
    for (int i = 0; i < axis->category_count; i += stride) {
        double x = scale_at(&l->x, i), y = l->bottom + 16;
        const char *name = level ? axis->categories[i] : text_fitted(l->arena, axis->categories[i], FONT, 160);
        if (!name) return SOW_E_MEMORY;
        if (level) draw_text(w, x, y, "middle", name);
        else {
            writing_format(w, "<g transform=\"translate(%.1f %.1f) rotate(-40)\">", x + 4, l->bottom + 12);
            draw_text(w, 0, 0, "end", name);
            writing_put(w, "</g>\n");
        }
    }
    return SOW_OK;
}

static sow_status draw_axis_texts(writing *w, const layout *l) {
    const sow_plot *plot = l->plot;
    for (int i = 0; i < l->x.tick_count; i++)
        draw_text(w, scale_at(&l->x, l->x.ticks[i]), l->bottom + 17, "middle", l->x.labels[i]);
    for (int i = 0; i < l->y.tick_count; i++)
        draw_text(w, l->left - 7, scale_at(&l->y, l->y.ticks[i]) + 4, "end", l->y.labels[i]);
    if (plot->x.categories && !plot->x.hidden) SOW_TRY(draw_x_categories(w, l));
    for (int i = 0; plot->y.categories && !plot->y.hidden && i < plot->y.category_count; i++) {
        const char *name = text_fitted(l->arena, plot->y.categories[i], FONT, .4 * l->width);
        if (!name) return SOW_E_MEMORY;
        draw_text(w, l->left - 7, scale_at(&l->y, i) + 4, "end", name);
    }
    if (plot->x.label) {
        const char *label = text_fitted(l->arena, plot->x.label, FONT, l->width - 24);
        if (!label) return SOW_E_MEMORY;
        double half = text_width(label, FONT) / 2, middle = (l->left + l->right) / 2;
        draw_text(w, fmin(fmax(middle, half + 8), l->width - half - 8), l->height - 10, "middle", label);
    }
    if (plot->y.label) {
        const char *label = text_fitted(l->arena, plot->y.label, FONT, l->height - 24);
        if (!label) return SOW_E_MEMORY;
        double half = text_width(label, FONT) / 2, middle = (l->top + l->bottom) / 2;
        writing_format(w, "<g transform=\"translate(%d %.1f) rotate(-90)\">", 18,
                       fmin(fmax(middle, half + 8), l->height - half - 8));
        draw_text(w, 0, 0, "middle", label);
        writing_put(w, "</g>\n");
    }
    return SOW_OK;
}

/* ---- title and legend ---- */

/* Line, marker or patch: what stands for the name in the drawing. */
static void draw_swatch(writing *w, const layout *l, int name, double x, double y) {
    bool line = false, shape = false, patch = false;
    for (int i = 0; i < l->plot->count; i++) {
        if (l->places[i] != name) continue;
        sow_drawing d = l->plot->series[i].drawing;
        if (d == SOW_DRAW_POINTS) shape = true;
        else if (d == SOW_DRAW_BARS || d == SOW_DRAW_BAND) patch = true;
        else line = true;
    }
    writing_format(w, "<g class=\"sow-c%d\" color=\"%s\" fill=\"currentColor\">", name % COLOURS,
                   plot_colours[name % COLOURS]);
    if (patch)
        writing_format(w, "<rect x=\"%.1f\" y=\"%.1f\" width=\"18\" height=\"9\"%s/>", x, y - 5,
                       line || shape ? " fill-opacity=\".25\"" : "");
    if (line)
        writing_format(
            w, "<path d=\"M%.1f %.1fh18\" stroke=\"currentColor\" stroke-width=\"1.8\" stroke-dasharray=\"%s\"/>", x, y,
            *plot_dashes[name % DASHES] ? plot_dashes[name % DASHES] : "none");
    if (shape) draw_shape(w, name, x + 9, y, 3.6);
    writing_put(w, "</g>\n");
}

static sow_status draw_head(writing *w, const layout *l) {
    if (l->title_count) writing_put(w, "<g class=\"sow-ink\" font-size=\"14\" font-weight=\"bold\">\n");
    for (int i = 0; i < l->title_count; i++) draw_text(w, 12, 24 + 18 * i, "", l->title_lines[i]);
    if (l->title_count) writing_put(w, "</g>\n");
    for (int i = 0; i < l->name_count; i++) {
        if (l->legend_row[i] < 0) continue;
        double y = 12 + 18 * (l->title_count + l->legend_row[i]) + 11, x = l->legend_x[i];
        const char *name = text_fitted(l->arena, l->names[i], FONT, l->width - x - 26 - 12);
        if (!name) return SOW_E_MEMORY;
        draw_swatch(w, l, i, x, y);
        draw_text(w, x + 24, y + 4, "", name);
    }
    return SOW_OK;
}

static void open_svg(writing *w, const layout *l) {
    const sow_plot *plot = l->plot;
    writing_format(
        w,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"sow-plot\" role=\"img\" width=\"%d\" height=\"%d\" "
        "viewBox=\"0 0 %d %d\" font-family=\"DejaVu Sans, Verdana, Arial, sans-serif\" font-size=\"%d\">\n<title>",
        l->width, l->height, l->width, l->height, FONT);
    writing_escaped(w, plot->title ? plot->title : "");
    writing_put(w, "</title>\n<desc>");
    writing_escaped(w, plot->says ? plot->says : "");
    writing_format(w, "</desc>\n<style>%s</style>\n", plot_style);
    writing_format(w, "<rect class=\"sow-ground\" width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", l->width,
                   l->height);
}

sow_status plot_svg(sow_arena *arena, const sow_plot *plot, bool draw_title, const char **svg) {
    layout l;
    writing w = {.arena = arena};
    SOW_TRY(layout_plot(arena, plot, draw_title, &l));
    open_svg(&w, &l);
    draw_grid(&w, &l);
    draw_series(&w, &l);
    draw_frame(&w, &l);
    writing_put(&w, "<g class=\"sow-ink\" fill=\"#222222\">\n");
    SOW_TRY(draw_axis_texts(&w, &l));
    SOW_TRY(draw_head(&w, &l));
    writing_put(&w, "</g>\n</svg>\n");
    return writing_end(&w, svg);
}

sow_status sow_plot_svg(sow_arena *arena, const sow_plot *plot, const char **svg) {
    return plot_svg(arena, plot, true, svg);
}

/* ---- files ---- */

static bool wants_pixels(const char *path) {
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".png") == 0;
}

sow_status sow_plot_write(const char *path, const sow_plot *plot) {
    sow_arena *arena;
    const char *svg;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = sow_plot_svg(arena, plot, &svg);
    if (!status) status = wants_pixels(path) ? pixels_write(path, svg) : sow_write_file(path, svg, strlen(svg));
    sow_arena_free(arena);
    return status;
}
