/* Plots of a search or of the study: accuracy and step of the early stop against the share of the weights that is left. */
#include <math.h>

#include "sow/report.h"
#include "starts/sparsity/lottery_ticket/ticket.h"

/* "ticket 0.8599 at 10.8 %, reinit ... ; dense network 0.8572": each arm where it has fewest weights. */
static sow_status sentence(sow_arena *arena, const ticket_plot *p, const char **out) {
    const char *text = "Where fewest weights are left: ";
    bool any = false;
    for (int c = 0; c < p->count; c++) {
        const ticket_curve *curve = &p->curves[c];
        int64_t last = curve->count - 1;
        while (last >= 0 && !isfinite(curve->value[last])) last--;
        if (last < 0) continue;
        text = sow_arena_format(arena, "%s%s%s %.4g at %.3g %%", text, any ? ", " : "", curve->name, curve->value[last],
                                curve->percent[last]);
        if (!text) return SOW_E_MEMORY;
        any = true;
    }
    *out = isfinite(p->dense) ? sow_arena_format(arena, "%s; the dense network %.4g.", text, p->dense)
                              : sow_arena_format(arena, "%s.", text);
    return *out ? SOW_OK : SOW_E_MEMORY;
}

static bool has_values(const ticket_plot *p) {
    for (int c = 0; c < p->count; c++)
        for (int64_t i = 0; i < p->curves[c].count; i++)
            if (isfinite(p->curves[c].value[i])) return true;
    return false;
}

/* Bands below, then lines and their points; the dense network's value is a rule. */
static int draw(const ticket_plot *p, sow_series *series) {
    int n = 0;
    for (int c = 0; c < p->count; c++) {
        const ticket_curve *k = &p->curves[c];
        if (k->low)
            series[n++] = (sow_series){.name = k->name,
                                       .drawing = SOW_DRAW_BAND,
                                       .x = k->percent,
                                       .y = k->low,
                                       .y2 = k->high,
                                       .count = k->count};
    }
    for (int c = 0; c < p->count; c++) {
        const ticket_curve *k = &p->curves[c];
        sow_series line = {
            .name = k->name, .drawing = SOW_DRAW_LINE, .x = k->percent, .y = k->value, .count = k->count};
        series[n++] = line;
        line.drawing = SOW_DRAW_POINTS;
        series[n++] = line;
    }
    if (isfinite(p->dense))
        series[n++] = (sow_series){.name = "dense", .drawing = SOW_DRAW_RULE, .y = &p->dense, .count = 1};
    return n;
}

sow_status ticket_write_plot(sow_arena *arena, const ticket_plot *p, const char *path, bool *written) {
    sow_series *series;
    *written = has_values(p);
    if (!*written) return SOW_OK;
    SOW_TRY(SOW_NEW(arena, series, 3 * p->count + 1));
    sow_plot plot = {.title = p->title,
                     .x = {.label = "weights left [%]", .log = true},
                     .y = {.label = p->label},
                     .series = series,
                     .count = draw(p, series)};
    SOW_TRY(sentence(arena, p, &plot.says));
    return sow_plot_write(path, &plot);
}
