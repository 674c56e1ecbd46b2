/* Curves of arms: what an experiment draws when it varies one thing, such as the share of the weights that is left. */
#include <math.h>

#include "sow/report.h"

/* "ticket 0.8599 at 10.8 %, reinit ... ; the dense network 0.8572." */
static sow_status sentence(sow_arena *arena, const sow_curves *p, const char **out) {
    const char *text = sow_arena_format(arena, "%s: ", p->end), *space = p->unit[0] ? " " : "";
    bool any = false;
    for (int c = 0; c < p->count && text; c++) {
        const sow_curve *curve = &p->curves[c];
        int64_t last = curve->count - 1;
        while (last >= 0 && !isfinite(curve->y[last])) last--;
        if (last < 0) continue;
        text = sow_arena_format(arena, "%s%s%s %.4g at %.3g%s%s", text, any ? ", " : "", curve->name, curve->y[last],
                                curve->x[last], space, p->unit);
        any = true;
    }
    if (!text) return SOW_E_MEMORY;
    *out = isfinite(p->reference_value)
               ? sow_arena_format(arena, "%s; %s %.4g.", text, p->reference_says, p->reference_value)
               : sow_arena_format(arena, "%s.", text);
    return *out ? SOW_OK : SOW_E_MEMORY;
}

static bool has_values(const sow_curves *p) {
    for (int c = 0; c < p->count; c++)
        for (int64_t i = 0; i < p->curves[c].count; i++)
            if (isfinite(p->curves[c].y[i])) return true;
    return false;
}

/* Bands below, then lines and their points, then the rule. */
static int draw(const sow_curves *p, sow_series *series) {
    int n = 0;
    for (int c = 0; c < p->count; c++) {
        const sow_curve *k = &p->curves[c];
        if (k->low)
            series[n++] = (sow_series){
                .name = k->name, .drawing = SOW_DRAW_BAND, .x = k->x, .y = k->low, .y2 = k->high, .count = k->count};
    }
    for (int c = 0; c < p->count; c++) {
        const sow_curve *k = &p->curves[c];
        sow_series line = {.name = k->name, .drawing = SOW_DRAW_LINE, .x = k->x, .y = k->y, .count = k->count};
        series[n++] = line;
        line.drawing = SOW_DRAW_POINTS;
        series[n++] = line;
    }
    if (isfinite(p->reference_value))
        series[n++] = (sow_series){
            .name = p->reference, .drawing = SOW_DRAW_RULE, .y = &p->reference_value, .count = 1};
    return n;
}

sow_status sow_curves_write(sow_arena *arena, const sow_curves *p, const char *path, bool *written) {
    sow_series *series;
    *written = has_values(p);
    if (!*written) return SOW_OK;
    SOW_TRY(SOW_NEW(arena, series, 3 * p->count + 1));
    sow_plot plot = {.title = p->title, .x = p->x, .y = p->y, .series = series, .count = draw(p, series)};
    SOW_TRY(sentence(arena, p, &plot.says));
    return sow_plot_write(path, &plot);
}
