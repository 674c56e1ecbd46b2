/* Plots of a fit and the page that holds them: how it went, singular values and imbalance over time. */
#include <math.h>
#include <string.h>

#include "sow/report.h"
#include "starts/factors/factors.h"

typedef struct curves {
    sow_call *call;
    int64_t count;
    double *x, *y[SOW_FACTORS_SHOWN + 3];
    sow_series series[SOW_FACTORS_SHOWN + 3];
    int used;
} curves;

static double number(const sow_factors_row *r, int which) {
    switch (which) {
    case -1: return r->loss;
    case -2: return r->holdout;
    case -3: return r->error;
    case -4: return r->imbalance_low;
    case -5: return r->imbalance_high;
    case -6: return r->last_singular;
    default: return r->singular[which];
    }
}

/* A curve of the rows; on a logarithmic axis what is not positive leaves a gap. Curves without a point are left out. */
static sow_status add(curves *c, const sow_factors_row *rows, const char *name, int which, bool positive) {
    double *y;
    int64_t points = 0;
    SOW_TRY(SOW_NEW(c->call->arena, y, c->count));
    for (int64_t i = 0; i < c->count; i++) {
        y[i] = number(&rows[i], which);
        if (!isfinite(y[i]) || (positive && y[i] < 1e-300)) y[i] = NAN;
        else points++;
    }
    if (points > 0)
        c->series[c->used++] = (sow_series){
            .name = name, .drawing = SOW_DRAW_LINE, .x = c->x, .y = y, .count = c->count};
    return SOW_OK;
}

static sow_status begin(sow_call *call, const sow_factors_row *rows, int64_t count, curves *c) {
    *c = (curves){.call = call, .count = count};
    SOW_TRY(SOW_NEW(call->arena, c->x, count));
    for (int64_t i = 0; i < count; i++) c->x[i] = (double)rows[i].step;
    return SOW_OK;
}

static sow_status draw(curves *c, sow_page *page, const char *file, const char *title, const char *says,
                       const char *label, bool logarithmic) {
    sow_plot plot = {.title = title,
                     .says = says,
                     .x = {.label = "step"},
                     .y = {.label = label, .log = logarithmic},
                     .series = c->series,
                     .count = c->used};
    const char *path = sow_path_join(c->call->arena, sow_text(c->call, "out"), file);
    if (c->used == 0) return SOW_OK;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_plot_write(path, &plot));
    SOW_TRY(sow_wrote(c->call, path));
    return sow_page_plot(page, &plot);
}

static sow_status draw_all(sow_call *call, sow_page *page, const sow_factors *x, const sow_factors_row *rows,
                           int64_t count) {
    static const char *const names[SOW_FACTORS_SHOWN] = {"1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th"};
    const sow_factors_row *last = &rows[count - 1];
    curves c;
    SOW_TRY(begin(call, rows, count, &c));
    SOW_TRY(add(&c, rows, "loss", -1, true));
    SOW_TRY(add(&c, rows, "held-out median", -2, true));
    SOW_TRY(add(&c, rows, "error", -3, true));
    SOW_TRY(draw(&c, page, "convergence.svg", "How the fit went",
                 sow_arena_format(call->arena, "The loss went from %.4g to %.4g in %lld steps.", rows[0].loss,
                                  last->loss, (long long)last->step),
                 "loss, error", true));
    SOW_TRY(begin(call, rows, count, &c));
    for (int j = 0; j < SOW_FACTORS_SHOWN && j < x->k; j++) SOW_TRY(add(&c, rows, names[j], j, true));
    if (x->k > SOW_FACTORS_SHOWN) SOW_TRY(add(&c, rows, "last", -6, true));
    SOW_TRY(draw(&c, page, "singular_values.svg", "Singular values of the matrix",
                 sow_arena_format(call->arena, "The largest ends at %.4g, the last at %.4g.", last->singular[0],
                                  last->last_singular),
                 "singular value", true));
    if (x->symmetric) return SOW_OK;
    SOW_TRY(begin(call, rows, count, &c));
    SOW_TRY(add(&c, rows, "least eigenvalue", -4, false));
    SOW_TRY(add(&c, rows, "largest eigenvalue", -5, false));
    return draw(&c, page, "imbalance.svg", "Imbalance of the factors: F^T F - G^T G",
                sow_arena_format(call->arena, "Its eigenvalues end between %.4g and %.4g.", last->imbalance_low,
                                 last->imbalance_high),
                "eigenvalue", false);
}

sow_status factors_report(sow_call *call, const sow_factors *x, const sow_factors_row *rows, int64_t count,
                          const char *const *images, const char *const *captions, int image_count) {
    sow_page *page;
    const char *path = sow_path_join(call->arena, sow_text(call, "out"), "report.html"), *key;
    json_t *value, *table = json_array();
    if (!path || !table) return SOW_E_MEMORY;
    sow_status status = sow_page_new(call->arena, call->method->name, &page);
    if (!status && image_count > 0) status = sow_page_images(page, images, captions, image_count);
    json_object_foreach(call->result, key, value) {
        if (json_is_number(value) || json_is_string(value))
            json_array_append_new(table, json_pack("{s:s, s:O}", "what", key, "value", value));
    }
    if (!status) status = sow_page_table(page, "What was found", table);
    json_t *lines = json_object_get(call->result, "diagnosis");
    for (size_t i = 0; i < json_array_size(lines) && !status; i++)
        status = sow_page_text(page, json_string_value(json_array_get(lines, i)));
    if (!status && count > 0) status = draw_all(call, page, x, rows, count);
    if (!status) status = sow_page_write(page, path);
    if (!status) status = sow_wrote(call, path);
    json_decref(table);
    return status;
}
