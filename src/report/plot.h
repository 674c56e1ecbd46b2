/* Plots as they are laid out: what the SVG writer and the interactive page share. */
#ifndef SOW_REPORT_PLOT_H
#define SOW_REPORT_PLOT_H

#include "report/writing.h"
#include "sow/report.h"

enum { TICKS_MAX = 24, TICK_TEXT = 32, COLOURS = 7, DASHES = 5, SHAPES = 6, FONT = 12 /* pixels */ };

/* One axis: values low..high at pixels from..to; y runs upwards, categories of y downwards. */
typedef struct scale {
    const sow_axis *axis;
    double low, high, from, to;
    double ticks[TICKS_MAX];
    char labels[TICKS_MAX][TICK_TEXT];
    int tick_count; /* 0: categories */
} scale;

/* A plot with what follows from its series. */
typedef struct layout {
    const sow_plot *plot;
    sow_arena *arena;
    const char **names; /* [name_count], in order of appearance: the place decides colour, dash and shape */
    int name_count;
    int *places; /* [series] into names, -1: no name */
    scale x, y;
    double bar_width; /* in units of x */
    int width, height;
    double left, right, top, bottom; /* edges of the plot's area */
    char **title_lines;
    int title_count;
    int *legend_row; /* [name_count], -1: not in the legend */
    double *legend_x;
    int legend_rows;
} layout;

/* Checks the plot and finds names, ranges, ticks and places. Errors as sow_plot_svg. */
sow_status layout_plot(sow_arena *arena, const sow_plot *plot, bool draw_title, layout *out);
/* Names, ranges (without ticks) and the width of bars: first part of the above. */
sow_status layout_ranges(layout *l);

/* Pixel of a value. */
double scale_at(const scale *s, double value);
/* Ticks at round values, as many as fit when each takes at least `room` pixels. */
void scale_ticks(scale *s, double room);
/* "12,000", "0.05", "2e-6", with a real minus sign. */
void scale_number(double value, int exponent_of_step, double largest, char text[TICK_TEXT]);

/* Width in pixels at a font size: an estimate on the large side, for any sans-serif font. */
double text_width(const char *text, double size);
/* The text if it fits, else its beginning and an ellipsis; in the arena, NULL when memory is short. */
const char *text_fitted(sow_arena *arena, const char *text, double size, double room);

/* Colours that the colour-blind tell apart (Okabe & Ito), for light and dark grounds; dashes; shapes. */
extern const char *const plot_colours[COLOURS], *const plot_dark_colours[COLOURS], *const plot_dashes[DASHES];
#define PLOT_GREY "#777777"
/* The style sheet of drawings; the same in every plot, so that several may stand on one page. */
extern const char plot_style[];

/* Draws the marker of place `place` around (x, y). */
void draw_shape(writing *w, int place, double x, double y, double size);
/* Draws all series. */
void draw_series(writing *w, const layout *l);
void draw_text(writing *w, double x, double y, const char *anchor, const char *text);

#endif
