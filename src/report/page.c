/* Pages: one self-contained HTML file of text, tables, plots and pictures. */
#include <math.h>
#include <openssl/evp.h>
#include <string.h>

#include "report/page.h"
#include "sow/file.h"
#include "sow/log.h"

enum {
    ROWS_OPEN = 30,      /* longer tables are folded */
    ROWS_WHOLE = 400,    /* plots of more values have a table of summaries */
    POINTS_A_LINE = 200, /* longer lines are thinned */
    POINTS_A_PLOT = 40000,
    WIDTH = 920, /* of plots that leave it open */
    PICTURE_MAX = 32 << 20
};

struct sow_page {
    sow_arena *arena;
    const char *title;
    writing body;
    int plots;
    bool is_static;
};

sow_status sow_page_new(sow_arena *arena, const char *title, sow_page **out) {
    SOW_TRY(SOW_NEW(arena, *out, 1));
    **out = (sow_page){.arena = arena, .title = sow_arena_copy(arena, title), .body = {.arena = arena}};
    return (*out)->title ? SOW_OK : SOW_E_MEMORY;
}

void sow_page_static(sow_page *page) {
    page->is_static = true;
}

/* ---- words and tables ---- */

static sow_status put_element(sow_page *page, const char *tag, const char *text) {
    writing_format(&page->body, "<%s>", tag);
    writing_escaped(&page->body, text);
    writing_format(&page->body, "</%s>\n", tag);
    return page->body.failed ? SOW_E_MEMORY : SOW_OK;
}

sow_status sow_page_heading(sow_page *page, const char *text) {
    return put_element(page, "h2", text);
}

sow_status sow_page_text(sow_page *page, const char *text) {
    return put_element(page, "p", text);
}

static sow_status put_folded(sow_page *page, const char *caption, const json_t *rows, const char *table) {
    writing_put(&page->body, "<details><summary>");
    writing_escaped(&page->body, caption);
    writing_format(&page->body, " (%zu rows)</summary><div class=\"table\">%s</div></details>\n", json_array_size(rows),
                   table);
    return page->body.failed ? SOW_E_MEMORY : SOW_OK;
}

sow_status sow_page_table(sow_page *page, const char *caption, const json_t *rows) {
    const char *table;
    SOW_TRY(sow_table_format(page->arena, rows, SOW_TABLE_HTML, &table));
    if (!*table) return SOW_OK;
    if (json_array_size(rows) > ROWS_OPEN) return put_folded(page, caption, rows, table);
    writing_put(&page->body, "<div class=\"table\"><table>\n<caption>");
    writing_escaped(&page->body, caption);
    writing_format(&page->body, "</caption>\n%s</div>\n", table + strlen("<table>\n"));
    return page->body.failed ? SOW_E_MEMORY : SOW_OK;
}

/* ---- plots ---- */

/* Evenly chosen values, first and last among them. */
static const double *thinned(sow_arena *arena, const double *values, int64_t count, int64_t keep) {
    double *out = values ? sow_arena_take_raw(arena, (size_t)keep, sizeof *out) : NULL;
    for (int64_t k = 0; out && k < keep; k++) out[k] = values[k * (count - 1) / (keep - 1)];
    return out;
}

/* The series with fewer points; those that shared their x still do. */
static sow_status thin(sow_arena *arena, const sow_plot *plot, sow_series **out) {
    SOW_TRY(SOW_NEW(arena, *out, plot->count));
    int64_t keep = POINTS_A_PLOT / (plot->count ? plot->count : 1);
    keep = keep < 24 ? 24 : keep > POINTS_A_LINE ? POINTS_A_LINE : keep;
    for (int i = 0; i < plot->count; i++) {
        sow_series *s = &(*out)[i];
        const sow_series *from = &plot->series[i];
        *s = *from;
        if ((s->drawing != SOW_DRAW_LINE && s->drawing != SOW_DRAW_BAND) || s->count <= keep) continue;
        s->x = s->y = s->y2 = NULL;
        for (int j = 0; j < i && !s->x; j++)
            if (plot->series[j].x == from->x && plot->series[j].count == from->count && (*out)[j].count == keep)
                s->x = (*out)[j].x;
        if (!s->x) s->x = thinned(arena, from->x, from->count, keep);
        s->y = thinned(arena, from->y, from->count, keep);
        s->y2 = thinned(arena, from->y2, from->count, keep);
        s->labels = NULL;
        s->count = keep;
        if (!s->x || !s->y || (from->y2 && !s->y2)) return SOW_E_MEMORY;
    }
    return SOW_OK;
}

static json_t *value_on(const sow_axis *axis, double value) {
    if (!isfinite(value)) return json_null();
    if (axis->categories && value >= 0 && value < axis->category_count && value == floor(value))
        return json_string(axis->categories[(int)value]);
    return value == floor(value) && fabs(value) < 1e15 ? json_integer((json_int_t)value) : json_real(value);
}

static void put_value(json_t *row, const sow_axis *axis, const char *key, const double *values, int64_t k) {
    if (values) json_object_set_new(row, key, value_on(axis, values[k]));
}

static int64_t values_of(const sow_plot *plot) {
    int64_t n = 0;
    for (int i = 0; i < plot->count; i++) n += plot->series[i].count;
    return n;
}

static void add_values(json_t *rows, const sow_plot *plot, const sow_series *s) {
    for (int64_t k = 0; k < s->count; k++) {
        json_t *row = json_object();
        if (s->name) json_object_set_new(row, "name", json_string(s->name));
        if (s->labels && s->labels[k]) json_object_set_new(row, "label", json_string(s->labels[k]));
        put_value(row, &plot->x, "x", s->x, k);
        put_value(row, &plot->x, "to x", s->x2, k);
        put_value(row, &plot->y, "y", s->y, k);
        put_value(row, &plot->y, "to y", s->y2, k);
        json_array_append_new(rows, row);
    }
}

static void add_summary(json_t *rows, const sow_plot *plot, const sow_series *s) {
    double least = NAN, largest = NAN;
    for (int64_t k = 0; s->y && k < s->count; k++) {
        if (!isfinite(s->y[k])) continue;
        if (!(s->y[k] >= least)) least = s->y[k];
        if (!(s->y[k] <= largest)) largest = s->y[k];
    }
    if (s->count == 0 || !s->x || !s->y) return;
    json_t *row = json_pack("{s:s,s:I}", "name", s->name ? s->name : "", "values", (json_int_t)s->count);
    json_object_set_new(row, "from x", value_on(&plot->x, s->x[0]));
    json_object_set_new(row, "to x", value_on(&plot->x, s->x[s->count - 1]));
    json_object_set_new(row, "first y", value_on(&plot->y, s->y[0]));
    json_object_set_new(row, "last y", value_on(&plot->y, s->y[s->count - 1]));
    json_object_set_new(row, "least y", value_on(&plot->y, least));
    json_object_set_new(row, "largest y", value_on(&plot->y, largest));
    json_array_append_new(rows, row);
}

/* The numbers behind a drawing; of long ones, a row a series. */
static sow_status put_numbers(sow_page *page, const sow_plot *plot) {
    json_t *rows = json_array();
    const char *table;
    bool whole = values_of(plot) <= ROWS_WHOLE;
    if (!rows) return sow_fail(SOW_E_MEMORY, "out of memory");
    for (int i = 0; i < plot->count; i++)
        if (whole) add_values(rows, plot, &plot->series[i]);
        else if (!plot->series[i].faint) add_summary(rows, plot, &plot->series[i]);
    sow_status status = SOW_OK;
    if (whole && (int64_t)json_array_size(rows) != values_of(plot)) status = sow_fail(SOW_E_MEMORY, "out of memory");
    if (!status) status = sow_table_format(page->arena, rows, SOW_TABLE_HTML, &table);
    if (!status && *table) status = put_folded(page, whole ? "the numbers" : "the numbers, a row a line", rows, table);
    json_decref(rows);
    return status;
}

sow_status sow_page_plot(sow_page *page, const sow_plot *plot) {
    sow_plot drawn = *plot;
    sow_series *series;
    layout l;
    const char *svg;
    writing *w = &page->body;
    if (drawn.width <= 0) drawn.width = WIDTH;
    SOW_TRY(layout_plot(page->arena, plot, false, &l)); /* refuses what cannot be drawn before anything is thinned */
    SOW_TRY(thin(page->arena, plot, &series));
    drawn.series = series;
    SOW_TRY(plot_svg(page->arena, &drawn, false, &svg));
    SOW_TRY(layout_plot(page->arena, &drawn, false, &l));
    writing_format(w, "<figure data-plot=\"%d\">\n<h3>", page->plots++);
    writing_escaped(w, plot->title ? plot->title : "");
    writing_put(w, "</h3>\n<figcaption>");
    writing_escaped(w, plot->says ? plot->says : "");
    writing_format(w, "</figcaption>\n<div class=\"static\">%s</div>\n<script type=\"application/json\">", svg);
    SOW_TRY(page_plot_json(w, &l));
    writing_put(w, "</script>\n");
    SOW_TRY(put_numbers(page, plot));
    writing_put(w, "</figure>\n");
    return w->failed ? SOW_E_MEMORY : SOW_OK;
}

sow_status sow_page_plot_or_say(sow_page *page, const sow_plot *plot) {
    sow_status status = sow_page_plot(page, plot);
    if (status != SOW_E_RANGE) return status;
    char *line = sow_arena_format(page->arena, "Not drawn: %s.", sow_message());
    return line ? sow_page_text(page, line) : SOW_E_MEMORY;
}

/* ---- pictures ---- */

static sow_status put_base64(writing *w, const void *data, size_t size) {
    char *text = sow_arena_take_raw(w->arena, 4 * (size / 3 + 1) + 1, 1);
    if (!text) return SOW_E_MEMORY;
    int length = EVP_EncodeBlock((unsigned char *)text, data, (int)size);
    writing_bytes(w, text, (size_t)length);
    return SOW_OK;
}

static const char *type_of_picture(const char *data, size_t size) {
    if (size > 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0) return "image/png";
    if (size > 3 && memcmp(data, "\xff\xd8\xff", 3) == 0) return "image/jpeg";
    return size > 4 && (memcmp(data, "<svg", 4) == 0 || memcmp(data, "<?xm", 4) == 0) ? "image/svg+xml" : NULL;
}

sow_status sow_page_images(sow_page *page, const char *const *paths, const char *const *captions, int count) {
    writing *w = &page->body;
    writing_put(w, "<div class=\"pictures\">\n");
    for (int i = 0; i < count; i++) {
        char *data;
        size_t size;
        SOW_TRY(sow_read_file(page->arena, paths[i], PICTURE_MAX, &data, &size));
        const char *type = type_of_picture(data, size);
        if (!type) return sow_fail(SOW_E_FORMAT, "%s: no picture, expected SVG, PNG or JPEG", paths[i]);
        writing_format(w, "<figure><img src=\"data:%s;base64,", type);
        SOW_TRY(put_base64(w, data, size));
        writing_put(w, "\" alt=\"");
        writing_escaped(w, captions[i]);
        writing_put(w, "\"><figcaption>");
        writing_escaped(w, captions[i]);
        writing_put(w, "</figcaption></figure>\n");
    }
    writing_put(w, "</div>\n");
    return w->failed ? SOW_E_MEMORY : SOW_OK;
}

/* ---- the file ---- */

/* Nothing is loaded, and only the script with this sum is run. */
static sow_status put_policy(writing *w, const char *script) {
    unsigned char digest[32];
    writing_put(w,
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
                "img-src data:; base-uri 'none'; form-action 'none'");
    if (*script) {
        if (!EVP_Digest(script, strlen(script), digest, NULL, EVP_sha256(), NULL))
            return sow_fail(SOW_E_UNSUPPORTED, "SHA-256 is not available");
        writing_put(w, "; script-src 'sha256-");
        SOW_TRY(put_base64(w, digest, sizeof digest));
        writing_put(w, "'");
    }
    writing_put(w, "\">\n");
    return SOW_OK;
}

static sow_status put_page(writing *w, const sow_page *page, const char *body, const char *script) {
    writing_put(w, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    SOW_TRY(put_policy(w, script));
    writing_put(w, "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    writing_escaped(w, page->title);
    writing_format(w, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>", page_style);
    writing_escaped(w, page->title);
    writing_format(w, "</h1>\n%s</main>\n", body);
    if (*script) writing_format(w, "<script>%s</script>\n", script);
    writing_put(w, "</body>\n</html>\n");
    return SOW_OK;
}

sow_status sow_page_write(sow_page *page, const char *path) {
    const char *script = "", *text, *body;
    writing w = {.arena = page->arena};
    SOW_TRY(writing_end(&page->body, &body));
    if (page->plots > 0 && !page->is_static) {
        SOW_TRY(page_script(page->arena, &script));
        if (!*script) sow_note("%s: its plots are still pictures; the package libjs-vega makes them interactive", path);
    }
    SOW_TRY(put_page(&w, page, body, script));
    SOW_TRY(writing_end(&w, &text));
    return sow_write_file(path, text, w.length);
}
