/* The numbers of a plot as JSON, for the script of a page. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/page.h"

/* A JSON string that may stand in HTML: no "<" that could end the script, no line ends that JavaScript dislikes. */
static void put_string(writing *w, const char *text) {
    writing_put(w, "\"");
    for (const char *c = text; *c;) {
        int length = utf8_length(c);
        if (length == 0) writing_put(w, "\xef\xbf\xbd");
        else if (length > 1) writing_bytes(w, c, (size_t)length);
        else if (*c == '"' || *c == '\\' || *c == '<' || *c == '>' || *c == '&' || *c < ' ')
            writing_format(w, "\\u%04x", (unsigned char)*c);
        else writing_bytes(w, c, 1);
        c += length ? length : 1;
    }
    writing_put(w, "\"");
}

static void put_number(writing *w, double value) {
    if (!isfinite(value)) writing_put(w, "null");
    else if (value == floor(value) && fabs(value) < 1e15) writing_format(w, "%.0f", value == 0 ? 0.0 : value);
    else writing_format(w, "%.6g", value);
}

static void put_names(writing *w, const char *const *names, int count) {
    writing_put(w, "[");
    for (int i = 0; i < count; i++) {
        writing_put(w, i ? "," : "");
        put_string(w, names[i]);
    }
    writing_put(w, "]");
}

static void put_axis(writing *w, const char *key, const scale *s) {
    writing_format(w, "\"%s\":{\"label\":", key);
    put_string(w, s->axis->label ? s->axis->label : "");
    writing_format(w, ",\"log\":%s,\"hidden\":%s,\"domain\":[", s->axis->log ? "true" : "false",
                   s->axis->hidden ? "true" : "false");
    put_number(w, s->low);
    writing_put(w, ",");
    put_number(w, s->high);
    writing_put(w, "]");
    if (s->axis->categories) {
        writing_put(w, ",\"names\":");
        put_names(w, s->axis->categories, s->axis->category_count);
    }
    writing_put(w, "},");
}

/* An array that an earlier series has too is given as that series' number: seeds share their steps. */
static void put_array(writing *w, const layout *l, int series, const char *key, const double *values) {
    const sow_series *s = &l->plot->series[series];
    if (!values) return;
    writing_format(w, ",\"%s\":", key);
    for (int i = 0; i < series; i++) {
        const sow_series *earlier = &l->plot->series[i];
        if (earlier->x == values && earlier->count == s->count && *key == 'x' && !key[1]) {
            writing_format(w, "%d", i);
            return;
        }
    }
    writing_put(w, "[");
    for (int64_t k = 0; k < s->count; k++) {
        writing_put(w, k ? "," : "");
        put_number(w, values[k]);
    }
    writing_put(w, "]");
}

static void put_series(writing *w, const layout *l, int series) {
    static const char *const kinds[] = {"line", "points", "bars", "band", "interval", "segments", "rule"};
    const sow_series *s = &l->plot->series[series];
    writing_format(w, "%s{\"kind\":\"%s\",\"place\":%d,\"count\":%lld", series ? ",\n" : "", kinds[s->drawing],
                   l->places[series], (long long)s->count);
    if (s->faint) writing_put(w, ",\"faint\":true");
    put_array(w, l, series, "x", s->x);
    put_array(w, l, series, "y", s->y);
    put_array(w, l, series, "x2", s->x2);
    put_array(w, l, series, "y2", s->y2);
    if (s->labels) {
        writing_put(w, ",\"labels\":[");
        for (int64_t k = 0; k < s->count; k++) {
            writing_put(w, k ? "," : "");
            put_string(w, s->labels[k] ? s->labels[k] : "");
        }
        writing_put(w, "]");
    }
    writing_put(w, "}");
}

sow_status page_plot_json(writing *w, const layout *l) {
    writing_put(w, "{\"title\":");
    put_string(w, l->plot->title ? l->plot->title : "");
    writing_put(w, ",\"says\":");
    put_string(w, l->plot->says ? l->plot->says : "");
    writing_format(w, ",\"width\":%d,\"height\":%d,\"plotWidth\":%.0f,\"plotHeight\":%.0f,\"barWidth\":%.6g,", l->width,
                   l->height, l->right - l->left, l->bottom - l->top, l->bar_width);
    put_axis(w, "x", &l->x);
    put_axis(w, "y", &l->y);
    writing_put(w, "\"names\":");
    put_names(w, l->names, l->name_count);
    writing_put(w, ",\"legend\":[");
    for (int i = 0, n = 0; i < l->name_count; i++)
        if (l->legend_row[i] >= 0) writing_format(w, "%s%d", n++ ? "," : "", i);
    writing_put(w, "],\"series\":[");
    for (int i = 0; i < l->plot->count; i++) put_series(w, l, i);
    writing_put(w, "]}");
    return w->failed ? SOW_E_MEMORY : SOW_OK;
}
