/* Where the parts of a plot stand: title, legend, axes, the area of the drawing. */
#include <math.h>
#include <string.h>

#include "report/plot.h"

enum {
    EDGE = 12,        /* pixels around everything */
    LINE = 18,        /* from one line of text to the next */
    TITLE = 14,       /* font size */
    SWATCH = 26,      /* the sample before a name in the legend */
    ROWS_FREE = 2,    /* legend rows within the usual height */
    ROW_OF_Y = 22,    /* least height of a category on the y axis */
    LEGEND_NAMES = 40 /* more names are left to the table and to labels */
};

/* ---- text ---- */

double text_width(const char *text, double size) {
    double em = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if ((*c & 0xc0) == 0x80) continue;
        if (*c >= 0xe3) em += 1.05; /* East Asian, symbols */
        else if (strchr("iljtfrI.,:;'|!()[] ", *c)) em += .38;
        else if (strchr("mwMW@%", *c)) em += .95;
        else em += *c >= 'A' && *c <= 'Z' ? .70 : .62;
    }
    return em * size;
}

const char *text_fitted(sow_arena *arena, const char *text, double size, double room) {
    if (text_width(text, size) <= room) return text;
    size_t length = strlen(text);
    char *cut = sow_arena_take(arena, length + 4, 1);
    if (!cut) return NULL;
    memcpy(cut, text, length);
    while (length > 0) {
        do length--;
        while (length > 0 && ((unsigned char)cut[length] & 0xc0) == 0x80);
        memcpy(cut + length, "\xe2\x80\xa6", 4);
        if (text_width(cut, size) <= room) break;
    }
    return cut;
}

/* The title in as many lines as it needs. */
static sow_status wrap_title(layout *l) {
    char *text = sow_arena_copy(l->arena, l->plot->title ? l->plot->title : "");
    if (!text) return SOW_E_MEMORY;
    SOW_TRY(SOW_NEW(l->arena, l->title_lines, strlen(text) / 2 + 2));
    for (char *line = text; *line;) {
        char *end = NULL; /* of the line so far */
        for (char *c = line;; c++) {
            if (*c && *c != ' ') continue;
            char kept = *c;
            *c = 0;
            bool fits = 1.12 * text_width(line, TITLE) <= l->width - 2 * EDGE; /* bold */
            *c = kept;
            if (fits || !end) end = c;
            if (!fits || !kept) break;
        }
        l->title_lines[l->title_count++] = line;
        bool last = !*end;
        *end = 0;
        line = last ? end : end + 1;
    }
    return SOW_OK;
}

/* ---- legend ---- */

/* Names that stand on an axis already need no legend. */
static bool is_category(const sow_plot *plot, const char *name) {
    const sow_axis *axes[] = {&plot->x, &plot->y};
    for (int a = 0; a < 2; a++)
        for (int i = 0; axes[a]->categories && i < axes[a]->category_count; i++)
            if (strcmp(axes[a]->categories[i], name) == 0) return true;
    return false;
}

static sow_status place_legend(layout *l) {
    double x = EDGE, room = l->width - 2 * EDGE;
    SOW_TRY(SOW_NEW(l->arena, l->legend_row, l->name_count));
    SOW_TRY(SOW_NEW(l->arena, l->legend_x, l->name_count));
    int shown = 0;
    for (int i = 0; i < l->name_count; i++) {
        l->legend_row[i] = -1;
        if (is_category(l->plot, l->names[i]) || shown == LEGEND_NAMES) continue;
        const char *fitted = text_fitted(l->arena, l->names[i], FONT, room - SWATCH);
        if (!fitted) return SOW_E_MEMORY;
        double width = SWATCH + text_width(fitted, FONT) + 12;
        if (shown > 0 && x + width > EDGE + room) x = EDGE, l->legend_rows++;
        if (shown++ == 0) l->legend_rows = 1;
        l->legend_x[i] = x;
        l->legend_row[i] = l->legend_rows - 1;
        x += width;
    }
    return SOW_OK;
}

/* ---- axes ---- */

static double widest_label(const scale *s) {
    double widest = 0;
    for (int i = 0; i < s->tick_count; i++) widest = fmax(widest, text_width(s->labels[i], FONT));
    for (int i = 0; s->axis->categories && i < s->axis->category_count; i++)
        widest = fmax(widest, text_width(s->axis->categories[i], FONT));
    return s->axis->hidden ? 0 : widest;
}

/* Height below the area: tick labels (slanted where names are wider than their places) and the axis' label. */
static double space_below(const layout *l) {
    double label = l->plot->x.label ? LINE + 2 : 0, ticks = l->plot->x.hidden ? 0 : LINE;
    if (l->plot->x.categories && !l->plot->x.hidden) {
        double widest = fmin(widest_label(&l->x), 160), place = (l->right - l->left) / l->plot->x.category_count;
        if (widest > place - 4) ticks = .64 * widest + 16; /* at 40 degrees */
    }
    return ticks + label + EDGE;
}

/* Ticks depend on the area and the area on the ticks' texts: the y axis first, then x, then y again. */
static void place_axes(layout *l) {
    l->top = EDGE + l->title_count * LINE + l->legend_rows * LINE + (l->title_count || l->legend_rows ? 6 : 0);
    l->left = EDGE + (l->plot->y.label ? LINE : 0);
    l->right = l->width - EDGE - 8;
    l->bottom = l->height - 3 * LINE;
    for (int pass = 0; pass < 2; pass++) {
        bool down = l->plot->y.categories != NULL;
        l->y.from = down ? l->top : l->bottom;
        l->y.to = down ? l->bottom : l->top;
        scale_ticks(&l->y, 36);
        l->left = EDGE + (l->plot->y.label ? LINE : 0) + (l->plot->y.hidden ? 0 : 8) +
                  fmin(widest_label(&l->y), .4 * l->width);
        l->x.from = l->left;
        l->x.to = l->right;
        scale_ticks(&l->x, 64);
        scale_ticks(&l->x, fmax(40, widest_label(&l->x) + 18));
        l->bottom = l->height - space_below(l);
    }
    l->y.from = l->plot->y.categories ? l->top : l->bottom;
    l->y.to = l->plot->y.categories ? l->bottom : l->top;
}

/* One unit has one length: the axis with room to spare shows more. */
static void make_equal(layout *l) {
    double x_unit = (l->right - l->left) / (l->x.high - l->x.low),
           y_unit = (l->bottom - l->top) / (l->y.high - l->y.low);
    scale *loose = x_unit > y_unit ? &l->x : &l->y;
    double middle = (loose->low + loose->high) / 2, half = (loose->high - loose->low) / 2;
    half *= fmax(x_unit, y_unit) / fmin(x_unit, y_unit);
    loose->low = middle - half;
    loose->high = middle + half;
}

sow_status layout_plot(sow_arena *arena, const sow_plot *plot, bool draw_title, layout *out) {
    *out = (layout){.plot = plot, .arena = arena, .width = plot->width > 0 ? plot->width : 640};
    SOW_TRY(layout_ranges(out));
    if (draw_title) SOW_TRY(wrap_title(out));
    SOW_TRY(place_legend(out));
    out->height = plot->height;
    if (out->height <= 0) {
        int rows = plot->y.categories ? plot->y.category_count * ROW_OF_Y + 5 * LINE : 0;
        int more = out->legend_rows > ROWS_FREE ? (out->legend_rows - ROWS_FREE) * LINE : 0;
        out->height = (rows ? rows + (out->legend_rows + out->title_count - 1) * LINE : 400) + more;
    }
    place_axes(out);
    if (out->right - out->left < 40 || out->bottom - out->top < 20)
        return sow_fail(SOW_E_RANGE, "plot '%s': %d x %d pixels are too few for its labels", plot->title, out->width,
                        out->height);
    if (plot->equal && !plot->x.log && !plot->y.log) {
        make_equal(out);
        place_axes(out);
    }
    return SOW_OK;
}
