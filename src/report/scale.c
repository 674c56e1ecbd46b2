/* Axes: ranges of what is drawn, round ticks and their texts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/plot.h"

static const double LARGEST = 1e300; /* differences of values stay finite */

double scale_at(const scale *s, double value) {
    double share = s->axis->log ? (log10(value) - log10(s->low)) / (log10(s->high) - log10(s->low))
                                : (value - s->low) / (s->high - s->low);
    return s->from + share * (s->to - s->from);
}

/* ---- ranges ---- */

static sow_status include(scale *s, double value, const char *title) {
    if (!isfinite(value)) return SOW_OK;
    if (fabs(value) > LARGEST) return sow_fail(SOW_E_RANGE, "plot '%s': %g is too large to draw", title, value);
    if (s->axis->log && value <= 0)
        return sow_fail(SOW_E_RANGE, "plot '%s': %g on the logarithmic axis '%s', expected values above 0", title,
                        value, s->axis->label ? s->axis->label : "");
    if (!(value >= s->low)) s->low = value; /* NaN at first */
    if (!(value <= s->high)) s->high = value;
    return SOW_OK;
}

/* Which of a series' arrays a drawing needs. */
static sow_status check_series(const sow_plot *plot, const sow_series *s) {
    bool y2 = s->drawing == SOW_DRAW_BAND || s->drawing == SOW_DRAW_SEGMENTS;
    bool x2 = s->drawing == SOW_DRAW_INTERVAL || s->drawing == SOW_DRAW_SEGMENTS;
    bool whole = s->drawing == SOW_DRAW_RULE ? (s->x != NULL) != (s->y != NULL) : s->x && s->y;
    if (s->count < 0 || (s->count > 0 && (!whole || (y2 && !s->y2) || (x2 && !s->x2))))
        return sow_fail(SOW_E_ARGUMENT, "plot '%s': series '%s' lacks an array that its drawing needs", plot->title,
                        s->name ? s->name : "");
    return SOW_OK;
}

/* Bars at one x stand on each other: their range is that of the sums. */
static sow_status include_bars(layout *l) {
    const sow_plot *plot = l->plot;
    for (int i = 0; i < plot->count; i++) {
        const sow_series *s = &plot->series[i];
        for (int64_t k = 0; s->drawing == SOW_DRAW_BARS && k < s->count; k++) {
            double sum = 0;
            for (int j = 0; j <= i; j++) {
                const sow_series *below = &plot->series[j];
                for (int64_t m = 0; below->drawing == SOW_DRAW_BARS && m < (j < i ? below->count : k + 1); m++)
                    if (below->x[m] == s->x[k] && isfinite(below->y[m])) sum += below->y[m];
            }
            SOW_TRY(include(&l->y, sum, plot->title));
            if (!l->y.axis->log) SOW_TRY(include(&l->y, 0, plot->title));
        }
    }
    return SOW_OK;
}

static sow_status include_series(layout *l, const sow_series *s) {
    const char *title = l->plot->title;
    bool is_bars = s->drawing == SOW_DRAW_BARS, is_rule = s->drawing == SOW_DRAW_RULE;
    for (int64_t k = 0; k < (is_rule && s->count > 1 ? 1 : s->count); k++) {
        bool drawn = is_rule || (isfinite(s->x[k]) && isfinite(s->y[k]));
        if (s->drawing == SOW_DRAW_INTERVAL) drawn = isfinite(s->y[k]);
        if (!drawn) continue;
        if (s->x) SOW_TRY(include(&l->x, s->x[k], title));
        if (s->y && !is_bars) SOW_TRY(include(&l->y, s->y[k], title));
        if (s->x2) SOW_TRY(include(&l->x, s->x2[k], title));
        if (s->y2) SOW_TRY(include(&l->y, s->y2[k], title));
    }
    return SOW_OK;
}

/* Four fifths of the least distance between neighbours. */
static double width_of_bars(const layout *l) {
    double least = INFINITY;
    for (int i = 0; i < l->plot->count; i++) {
        const sow_series *s = &l->plot->series[i];
        for (int64_t k = 1; s->drawing == SOW_DRAW_BARS && k < s->count; k++) {
            double gap = fabs(s->x[k] - s->x[k - 1]);
            if (gap > 0 && gap < least) least = gap;
        }
    }
    return isfinite(least) && !l->x.axis->categories ? .8 * least : .8;
}

static bool has_bars(const sow_plot *plot) {
    for (int i = 0; i < plot->count; i++)
        if (plot->series[i].drawing == SOW_DRAW_BARS) return true;
    return false;
}

/* Air around the values, a range where there is only one value; categories have their own places. */
static void widen(scale *s, bool from_zero) {
    if (s->axis->categories) {
        s->low = -.5;
        s->high = s->axis->category_count - .5;
        return;
    }
    if (s->axis->log) {
        double decades = log10(s->high) - log10(s->low); /* their ratio may overflow */
        double air = decades > 1e-9 ? pow(10, .03 * fmin(decades, 200)) : 2;
        s->low /= air;
        s->high *= air;
        return;
    }
    double size = fmax(fabs(s->low), fabs(s->high)), range = s->high - s->low;
    double air = range > 1e-12 * size ? .03 * range : size > 0 ? .05 * size : 1;
    bool at_floor = from_zero && s->low == 0, at_ceiling = from_zero && s->high == 0;
    if (!at_floor) s->low -= air;
    if (!at_ceiling) s->high += air;
}

/* Place of each series' name. */
static sow_status find_names(layout *l) {
    const sow_plot *plot = l->plot;
    SOW_TRY(SOW_NEW(l->arena, l->names, plot->count));
    SOW_TRY(SOW_NEW(l->arena, l->places, plot->count));
    for (int i = 0; i < plot->count; i++) {
        const char *name = plot->series[i].name;
        int p = 0;
        while (name && p < l->name_count && strcmp(l->names[p], name) != 0) p++;
        if (name && p == l->name_count) l->names[l->name_count++] = name;
        l->places[i] = name ? p : -1;
    }
    return SOW_OK;
}

sow_status layout_ranges(layout *l) {
    const sow_plot *plot = l->plot;
    l->x = (scale){.axis = &plot->x, .low = NAN, .high = NAN};
    l->y = (scale){.axis = &plot->y, .low = NAN, .high = NAN};
    for (int i = 0; i < plot->count; i++) {
        SOW_TRY(check_series(plot, &plot->series[i]));
        SOW_TRY(include_series(l, &plot->series[i]));
    }
    SOW_TRY(include_bars(l));
    bool x_known = plot->x.categories || !isnan(l->x.low), y_known = plot->y.categories || !isnan(l->y.low);
    if (plot->count == 0 || (!x_known && !y_known) || (isnan(l->x.low) && isnan(l->y.low)))
        return sow_fail(SOW_E_RANGE, "plot '%s': nothing finite to draw", plot->title);
    if (!x_known) l->x.low = 0, l->x.high = 1; /* rules alone */
    if (!y_known) l->y.low = 0, l->y.high = 1;
    l->bar_width = width_of_bars(l);
    if (has_bars(plot) && !plot->x.categories && !plot->x.log) {
        l->x.low -= l->bar_width / 2;
        l->x.high += l->bar_width / 2;
    }
    widen(&l->x, false);
    widen(&l->y, has_bars(plot));
    return find_names(l);
}

/* ---- ticks ---- */

/* Exact for what doubles hold exactly: pow may be off by one place. */
static double power_of_ten(int exponent) {
    char text[16];
    snprintf(text, sizeof text, "1e%d", exponent);
    return strtod(text, NULL);
}

/* "1234567" becomes "1,234,567"; a minus sign becomes the real one. */
static void dress(const char *plain, bool thousands, char text[TICK_TEXT]) {
    size_t n = 0, digits = strspn(plain + (*plain == '-'), "0123456789");
    if (*plain == '-') {
        memcpy(text, "\xe2\x88\x92", 3);
        n = 3;
        plain++;
    }
    for (size_t i = 0; plain[i] && n + 2 < TICK_TEXT; i++) {
        if (thousands && i > 0 && i < digits && (digits - i) % 3 == 0) text[n++] = ',';
        text[n++] = plain[i];
    }
    text[n] = 0;
}

void scale_number(double value, int exponent_of_step, double largest, char text[TICK_TEXT]) {
    char plain[64];
    if (value == 0) {
        snprintf(text, TICK_TEXT, "0");
        return;
    }
    if (largest < 1e7 && (largest >= 1e-3 || exponent_of_step >= -4)) {
        snprintf(plain, sizeof plain, "%.*f", exponent_of_step < 0 ? -exponent_of_step : 0, value);
        dress(plain, largest >= 1e4, text);
        return;
    }
    int digits = (int)floor(log10(fabs(value)) + 1e-9) - exponent_of_step;
    snprintf(plain, sizeof plain, "%.*e", digits < 0 ? 0 : digits > 16 ? 16 : digits, value);
    char *e = strchr(plain, 'e'); /* e-06 becomes e-6, e+06 e6 */
    int exponent = e ? atoi(e + 1) : 0;
    if (e) snprintf(e, (size_t)(plain + sizeof plain - e), "e%d", exponent);
    dress(plain, false, text);
}

static void add_tick(scale *s, double value, int exponent_of_step, double largest) {
    double slack = 1e-9 * (s->high - s->low);
    bool inside = s->axis->log ? value >= s->low && value <= s->high
                               : value >= s->low - slack && value <= s->high + slack;
    if (!inside || s->tick_count == TICKS_MAX) return;
    scale_number(value, exponent_of_step, largest, s->labels[s->tick_count]);
    s->ticks[s->tick_count++] = value;
}

/* Steps of 1, 2 or 5 times a power of ten. */
static void linear_ticks(scale *s, int most) {
    double raw = (s->high - s->low) / most;
    int exponent = (int)floor(log10(raw));
    double power = power_of_ten(abs(exponent)), share = exponent < 0 ? raw * power : raw / power;
    int factor = share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10;
    double step = exponent < 0 ? factor / power : factor * power;
    double largest = fmax(fabs(s->low), fabs(s->high));
    for (double i = ceil(s->low / step - 1e-9); i * step <= s->high + 1e-9 * step && s->tick_count < TICKS_MAX; i++)
        add_tick(s, exponent < 0 ? i * factor / power : i * factor * power, factor == 10 ? exponent + 1 : exponent,
                 largest);
}

/* Decades, every second or third where many, 2 and 5 between where few. */
static void log_ticks(scale *s, int most) {
    int first = (int)floor(log10(s->low)), last = (int)ceil(log10(s->high));
    double decades = log10(s->high) - log10(s->low);
    if (decades < 1) { /* less than a decade looks nearly linear */
        linear_ticks(s, most);
        if (s->tick_count >= 2) return;
        s->tick_count = 0;
    }
    int stride = (int)ceil(decades / most);
    for (int e = first; e <= last; e++) {
        if (stride > 1 && e % stride != 0) continue;
        for (int f = 1; f <= 5; f += f == 1 ? 1 : 3) { /* 1, 2, 5 */
            if (f > 1 && 3 * decades > most) continue;
            double value = e < 0 ? f / power_of_ten(-e) : f * power_of_ten(e);
            bool plain = value >= 1e-4 && value < 1e6;
            add_tick(s, value, e, plain ? fmax(value, fmin(s->high, 9e5)) : 1e7);
        }
    }
}

void scale_ticks(scale *s, double room) {
    s->tick_count = 0;
    if (s->axis->categories || s->axis->hidden) return;
    int most = (int)(fabs(s->to - s->from) / room);
    most = most < 2 ? 2 : most > 12 ? 12 : most;
    if (s->axis->log) log_ticks(s, most);
    else linear_ticks(s, most);
}
