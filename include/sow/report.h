/* Reports: plots and tables described once, written as SVG, PNG, HTML, Markdown, LaTeX, CSV or plain text. */
#ifndef SOW_REPORT_H
#define SOW_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "sow/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- plots ---- */

typedef enum sow_drawing {
    SOW_DRAW_LINE,     /* x, y in order; NaN leaves a gap */
    SOW_DRAW_POINTS,   /* x, y */
    SOW_DRAW_BARS,     /* from 0 to y at x; several series at one x are stacked in order */
    SOW_DRAW_BAND,     /* between y and y2 */
    SOW_DRAW_INTERVAL, /* from x to x2 at height y, with ends: forest plots; NaN: open */
    SOW_DRAW_SEGMENTS, /* from (x, y) to (x2, y2), each alone: networks */
    SOW_DRAW_RULE,     /* a line over the whole plot: at x[0] if y is NULL, at y[0] if x is NULL */
} sow_drawing;

typedef struct sow_series {
    const char *name; /* in the legend; series of one name share colour, dash and shape; NULL: none, drawn grey */
    sow_drawing drawing;
    const double *x, *y, *x2, *y2;
    const char *const *labels; /* written beside the points or segments' first ends; NULL: none */
    int64_t count;
    bool faint; /* thin and pale: single seeds behind their mean */
} sow_series;

typedef struct sow_axis {
    const char *label; /* with the unit in brackets */
    bool log, hidden;
    const char *const *categories; /* category i stands at i, on the y axis from the top down; NULL: numbers */
    int category_count;
} sow_axis;

/* A plot of named series. Colours are told apart by the colour-blind, shapes and dashes repeat them. */
typedef struct sow_plot {
    const char *title;
    const char *says; /* one sentence with the numbers that matter, for those who do not see the drawing */
    sow_axis x, y;
    const sow_series *series;
    int count;
    int width, height; /* 0: 640 x 400 */
    bool equal;        /* one unit has one length on both axes */
} sow_plot;

/* The drawing as SVG text, in the arena: self-contained, a title and description for screen readers, the same bytes
 * everywhere. SOW_E_RANGE: nothing finite to draw, or a log axis with values <= 0. */
sow_status sow_plot_svg(sow_arena *arena, const sow_plot *plot, const char **svg);
/* Writes it whole or not at all; an ending .png gives pixels (needs librsvg at build time: else SOW_E_UNSUPPORTED names
 * the package). */
sow_status sow_plot_write(const char *path, const sow_plot *plot);

/* One arm of an experiment: its mean over what was varied, in the order in which it was. */
typedef struct sow_curve {
    const char *name;
    int64_t count;
    const double *x, *y;       /* y NaN: unknown */
    const double *low, *high;  /* least and most over seeds; NULL: one seed */
} sow_curve;
typedef struct sow_curves {
    const char *title;
    sow_axis x, y;
    const sow_curve *curves;
    int count;
    const char *end, *unit; /* of the sentence, in which every arm's last value stands: "Where fewest weights are left", "%" */
    const char *reference, *reference_says; /* a rule: "dense", in the sentence "the dense network" */
    double reference_value;                 /* NaN: none */
} sow_curves;
/* Writes them with bands, lines and points, and a sentence of the last values: "END: ARM y at x UNIT, ...; SAYS y." Not where no
 * value is known. */
sow_status sow_curves_write(sow_arena *arena, const sow_curves *curves, const char *path, bool *written);

/* ---- tables: an array of flat JSON objects; columns are the union of keys in order of appearance ---- */

typedef enum sow_table_style {
    SOW_TABLE_TEXT,
    SOW_TABLE_MARKDOWN,
    SOW_TABLE_LATEX,
    SOW_TABLE_CSV,
    SOW_TABLE_HTML
} sow_table_style;

/* Numbers in the shortest form that is read back the same (CSV), with four digits (plain text) or six (others), aligned
 * right. Text from outside is escaped for the style; null is an empty cell, in plain text "-". A member "_bold": true
 * puts its row into bold type where the style has it; keys that begin with _ are no columns. "" where there are no
 * columns. SOW_E_TYPE: a row is no object. In the arena. */
sow_status sow_table_format(sow_arena *arena, const json_t *rows, sow_table_style style, const char **text);

/* A value on one line, for people: numbers with so many digits, yes, no, "-" for null, lists joined by commas. In the
 * arena; NULL when memory is short. */
const char *sow_value_text(sow_arena *arena, const json_t *value, int digits);

/* ---- pages: one self-contained HTML file, light and dark, printable, without network ---- */

typedef struct sow_page sow_page;
/* The page lives in the arena; what is added is copied. Parts appear in the order in which they are added. */
sow_status sow_page_new(sow_arena *arena, const char *title, sow_page **out);
/* Adds a heading. */
sow_status sow_page_heading(sow_page *page, const char *text);
/* Adds a paragraph; its text is escaped. */
sow_status sow_page_text(sow_page *page, const char *text);
/* A table with a caption; those of more than 30 rows are folded. */
sow_status sow_page_table(sow_page *page, const char *caption, const json_t *rows);
/* A plot, its sentence, and its numbers in a folded table (long series as first, last, least and largest). The drawing
 * is SVG; where the page has a script, Vega draws it again with values under the pointer, names to pick and a zoom.
 * Lines and bands of more than 200 points are thinned evenly, those of plots with very many lines further. Errors as
 * sow_plot_svg; the page is then as it was before. */
sow_status sow_page_plot(sow_page *page, const sow_plot *plot);
/* The same, but a plot that cannot be drawn (SOW_E_RANGE) leaves a line that says why. */
sow_status sow_page_plot_or_say(sow_page *page, const sow_plot *plot);
/* Pictures side by side (SVG, PNG or JPEG files of at most 32 MB), each with a caption that is its text too. */
sow_status sow_page_images(sow_page *page, const char *const *paths, const char *const *captions, int count);
/* No script in this page: plots stay as they are drawn. */
void sow_page_static(sow_page *page);
/* Writes the page whole or not at all. Vega comes from /usr/share/javascript/vega (Debian package libjs-vega); where it
 * is not installed the page has no script, and a note says so. The page may load nothing and run nothing but that
 * script (its content security policy). */
sow_status sow_page_write(sow_page *page, const char *path);

/* ---- TensorBoard event files ---- */

typedef struct sow_events sow_events;
/* Makes FOLDER/events.out.tfevents.* ; scalars only. wall_time 0 in every event: files of equal curves are equal. */
sow_status sow_events_open(const char *folder, sow_events **out);
/* A value of a curve, kept as 32 bits. SOW_E_RANGE: a tag of more than 4,096 bytes. */
sow_status sow_events_scalar(sow_events *events, const char *tag, int64_t step, double value);
/* Makes the file appear, unless anything failed before, and frees `events`; NULL is allowed. */
sow_status sow_events_close(sow_events *events);

#ifdef __cplusplus
}
#endif
#endif
