/* A table of scales as files: JSON, CSV, and the plot of g against the root of a block's size. */
#include <math.h>
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/report.h"
#include "sow/text.h"
#include "starts/steps/sgd_sai/sgd_sai.h"

static sow_status no_memory(void) {
    return sow_fail(SOW_E_MEMORY, "out of memory");
}

const char *sai_beside(sow_arena *arena, const char *path, const char *ending) {
    int length = (int)strlen(path) - (sow_ends_with(path, ".json") ? 5 : 0);
    return sow_arena_format(arena, "%.*s%s", length, path, ending);
}

/* ---- JSON and CSV ---- */

static sow_status passport_of(const sai_subject *s, json_t **out) {
    const char *text;
    sow_input inputs[2] = {{.option = "data", .name = s->data_name}, {.option = "model", .name = s->model_name}};
    memcpy(inputs[0].sha256, s->data_sha256, sizeof inputs[0].sha256);
    memcpy(inputs[1].sha256, s->model_sha256, sizeof inputs[1].sha256);
    SOW_TRY(sow_passport(s->call, NULL, inputs, *s->model_sha256 ? 2 : 1, &text));
    *out = json_loads(text, 0, NULL);
    return *out ? SOW_OK : no_memory();
}

static sow_status write_json(const sai_subject *s, const json_t *table, const char *path) {
    json_t *file = json_copy((json_t *)(uintptr_t)table), *passport = NULL;
    char *text;
    sow_status status = file ? passport_of(s, &passport) : no_memory();
    if (!status && json_object_set_new(file, "passport", passport)) status = no_memory();
    if (!status) status = sow_json_text(s->call->arena, file, SOW_JSON_PRETTY, &text);
    if (!status) status = sow_write_file(path, text, strlen(text));
    json_decref(file);
    return status ? status : sow_wrote(s->call, path);
}

/* "[16, 3]" in one cell. */
static json_t *flat_row(sow_arena *arena, const json_t *row) {
    json_t *flat = json_copy((json_t *)(uintptr_t)row);
    const char *shape = sow_value_text(arena, json_object_get(row, "shape"), 6);
    json_object_del(flat, "note");
    const json_t *note = json_object_get(row, "note");
    if (!flat || !shape || json_object_set_new(flat, "shape", json_string(shape)) ||
        json_object_set_new(flat, "note", json_string(note ? json_string_value(note) : ""))) {
        json_decref(flat);
        return NULL;
    }
    return flat;
}

static sow_status write_csv(const sai_subject *s, const json_t *table, const char *path) {
    json_t *rows = json_array(), *row;
    size_t i;
    const char *text;
    sow_status status = rows ? SOW_OK : no_memory();
    json_array_foreach(json_object_get(table, "scales"), i,
                       row) if (!status && json_array_append_new(rows, flat_row(s->call->arena, row)))
        status = no_memory();
    if (!status) status = sow_table_format(s->call->arena, rows, SOW_TABLE_CSV, &text);
    if (!status) status = sow_write_file(path, text, strlen(text));
    json_decref(rows);
    return status ? status : sow_wrote(s->call, path);
}

/* ---- the plot ---- */

static const struct {
    sow_role role;
    const char *name;
} groups[] = {{SOW_ROLE_WEIGHT, "weights"},
              {SOW_ROLE_BIAS, "biases"},
              {SOW_ROLE_NORM, "norms"},
              {SOW_ROLE_EMBEDDING, "embeddings"}};

static sow_status points_of(const sai_subject *s, const sow_scales *scales, sow_role role, sow_series *out) {
    double *x, *y;
    SOW_TRY(SOW_NEW(s->call->arena, x, scales->count));
    SOW_TRY(SOW_NEW(s->call->arena, y, scales->count));
    *out = (sow_series){.drawing = SOW_DRAW_POINTS, .x = x, .y = y};
    for (int64_t i = 0; i < scales->count; i++) {
        const sow_entry *e = sow_state_find(s->state, scales->rows[i].name);
        if (!e || e->role != role) continue;
        x[out->count] = sqrt((double)scales->rows[i].gsnr.n);
        y[out->count++] = scales->rows[i].gsnr.g;
    }
    return SOW_OK;
}

static sow_status write_plot(const sai_subject *s, const sow_scales *scales, const char *path) {
    sow_series series[5];
    double low = INFINITY, high = 0;
    int count = 1;
    for (int64_t i = 0; i < scales->count; i++) {
        low = fmin(low, sqrt((double)scales->rows[i].gsnr.n));
        high = fmax(high, sqrt((double)scales->rows[i].gsnr.n));
    }
    const double ends[2] = {low, high};
    series[0] = (sow_series){.name = "sqrt(n)", .drawing = SOW_DRAW_LINE, .x = ends, .y = ends, .count = 2};
    for (int g = 0; g < 4; g++) {
        SOW_TRY(points_of(s, scales, groups[g].role, &series[count]));
        series[count].name = groups[g].name;
        if (series[count].count > 0) count++;
    }
    sow_sai_summary sum = sow_sai_summarise(scales);
    sow_plot plot = {.title = "Scale of the first gradient against the size of the block",
                     .says = sow_arena_format(s->call->arena, "%lld blocks; g / sqrt(n) lies between %.4g and %.4g.",
                                              (long long)sum.blocks, sum.blocks ? sum.least : 1,
                                              sum.blocks ? sum.most : 1),
                     .x = {.label = "square root of the block's size n", .log = true},
                     .y = {.label = "g, norm over deviation of the gradient", .log = true},
                     .series = series,
                     .count = count};
    if (!plot.says) return SOW_E_MEMORY;
    SOW_TRY(sow_plot_write(path, &plot));
    return sow_wrote(s->call, path);
}

sow_status sai_write(const sai_subject *s, const sow_scales *scales, const char *path) {
    json_t *table;
    const char *csv = sai_beside(s->call->arena, path, ".csv"), *svg = sai_beside(s->call->arena, path, ".svg");
    if (!csv || !svg) return SOW_E_MEMORY;
    SOW_TRY(sow_scales_json(scales, &table));
    sow_status status = write_json(s, table, path);
    if (!status) status = write_csv(s, table, csv);
    json_decref(table);
    return status ? status : write_plot(s, scales, svg);
}
