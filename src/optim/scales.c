/* Tables of learning-rate scales: measured, normed, as JSON and back. */
#include "sow/scales.h"
#include "sow/json.h"

#include <math.h>
#include <string.h>

#include "formats/json.h"
#include "sow/file.h"
#include "sow/log.h"

enum { FILE_BYTES = 256 << 20, ROWS_MAX = 1 << 22, NAMED_MAX = 3 };

static const char *const norms[] = {"none", "max", "mean"};

sow_status sow_scale_norm_parse(const char *name, sow_scale_norm *out) {
    for (int i = 0; i < 3; i++)
        if (!strcmp(norms[i], name)) {
            *out = (sow_scale_norm)i;
            return SOW_OK;
        }
    return sow_fail(SOW_E_ARGUMENT, "normalisation '%s': expected none, max or mean", name);
}

const char *sow_scale_norm_name(sow_scale_norm norm) {
    return norms[norm];
}

/* ---- making ---- */

static void settle(sow_scales *s) {
    double sum = 0;
    s->largest = 0;
    for (int64_t i = 0; i < s->count; i++) {
        sum += s->rows[i].gsnr.g;
        s->largest = fmax(s->largest, s->rows[i].gsnr.g);
    }
    double by = s->norm == SOW_SCALES_RAW ? 1 : s->norm == SOW_SCALES_MAX ? s->largest : sum / (double)s->count;
    for (int64_t i = 0; i < s->count; i++) s->rows[i].scale = s->rows[i].gsnr.g / by;
}

static bool counts(const sow_entry *e, bool measured) {
    return e->trainable && (!measured || (e->grad.data && e->grad_written));
}

static sow_status describe(sow_arena *arena, const sow_entry *e, int64_t parts, const sow_gsnr *gsnr,
                           sow_scale_row *rows) {
    char *name = sow_arena_copy(arena, e->name);
    if (!name) return SOW_E_MEMORY;
    for (int64_t b = 0; b < parts; b++) {
        rows[b] = (sow_scale_row){.name = name, .shape = e->value, .block = b, .parts = parts, .gsnr = gsnr[b]};
        rows[b].shape.data = NULL;
    }
    return SOW_OK;
}

static void pretend(const sow_entry *e, int64_t parts, sow_gsnr *out) {
    int64_t n = sow_count(e->value) / parts;
    for (int64_t b = 0; b < parts; b++)
        out[b] = (sow_gsnr){.n = n, .norm = NAN, .mean = NAN, .sd = NAN, .g = sqrt((double)n)};
}

/* One tensor's rows, measured or not. */
static sow_status add_rows(sow_arena *arena, const sow_entry *e, bool measured, sow_scales *out) {
    sow_partition p = sow_partition_of(e, &out->blocks);
    sow_gsnr *gsnr;
    SOW_TRY(SOW_NEW(arena, gsnr, p.parts));
    if (measured) sow_gsnr_measure(e->grad, e->mask, p, gsnr);
    else pretend(e, p.parts, gsnr);
    for (int64_t b = 0; measured && b < p.parts; b++)
        if (!isfinite(gsnr[b].g) || !isfinite(gsnr[b].norm))
            return sow_fail(SOW_E_NUMBER, "%s: the gradient is not finite", e->name);
    SOW_TRY(describe(arena, e, p.parts, gsnr, out->rows + out->count));
    out->count += p.parts;
    return SOW_OK;
}

static sow_status make(sow_arena *arena, const sow_state *state, bool measured, sow_scales *out) {
    int64_t rows = 0, missing = 0;
    const char *first = NULL;
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        const sow_entry *e = sow_state_entry(state, i);
        if (counts(e, measured)) rows += sow_partition_of(e, &out->blocks).parts;
        else if (e->trainable && !missing++) first = e->name;
    }
    if (rows == 0) return sow_fail(SOW_E_NOT_FOUND, "scales: no trainable tensor has a gradient");
    if (missing > 0)
        sow_warn("%lld tensors without a gradient are not in the table, the first is %s", (long long)missing, first);
    SOW_TRY(SOW_NEW(arena, out->rows, rows));
    for (int64_t i = 0; i < sow_state_count(state); i++)
        if (counts(sow_state_entry(state, i), measured))
            SOW_TRY(add_rows(arena, sow_state_entry(state, i), measured, out));
    settle(out);
    return SOW_OK;
}

sow_status sow_scales_measure(sow_arena *arena, const sow_state *state, const sow_scale_blocks *blocks,
                              sow_scale_norm norm, sow_scales *out) {
    *out = (sow_scales){.blocks = *blocks, .norm = norm};
    return make(arena, state, true, out);
}

sow_status sow_scales_sqrt_n(sow_arena *arena, const sow_state *state, const sow_scale_blocks *blocks,
                             sow_scale_norm norm, sow_scales *out) {
    *out = (sow_scales){.blocks = *blocks, .norm = norm};
    return make(arena, state, false, out);
}

sow_status sow_scales_add(sow_scales *sum, const sow_scales *more) {
    if (sum->count != more->count)
        return sow_fail(SOW_E_SHAPE, "scales: batches gave gradients to %lld and %lld blocks", (long long)sum->count,
                        (long long)more->count);
    for (int64_t i = 0; i < sum->count; i++) {
        sow_gsnr *s = &sum->rows[i].gsnr;
        const sow_gsnr *m = &more->rows[i].gsnr;
        s->g += m->g;
        s->norm += m->norm;
        s->mean += m->mean;
        s->sd += m->sd;
        if (m->kind != SOW_GSNR_MEASURED) s->kind = m->kind;
    }
    return SOW_OK;
}

void sow_scales_divide(sow_scales *sum, int64_t tables) {
    for (int64_t i = 0; i < sum->count; i++) {
        sow_gsnr *s = &sum->rows[i].gsnr;
        s->g /= (double)tables;
        s->norm /= (double)tables;
        s->mean /= (double)tables;
        s->sd /= (double)tables;
    }
    settle(sum);
}

const sow_scale_row *sow_scales_find(const sow_scales *s, const char *name) {
    for (int64_t i = 0; i < s->count; i += s->rows[i].parts)
        if (!strcmp(s->rows[i].name, name)) return &s->rows[i];
    return NULL;
}

sow_status sow_scales_fit(const sow_scales *s, const sow_state *state) {
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        const sow_entry *e = sow_state_entry(state, i);
        const sow_scale_row *rows = e->trainable ? sow_scales_find(s, e->name) : NULL;
        if (!e->trainable) continue;
        if (!rows) return sow_fail(SOW_E_NOT_FOUND, "scales: there is none for '%s'", e->name);
        int dimension = sow_partition_of(e, &s->blocks).dimension;
        int64_t outputs = e->value.rank > 0 ? e->value.shape[dimension] : 1;
        if (outputs % rows->parts)
            return sow_fail(SOW_E_SHAPE, "scales: '%s' is cut into %lld blocks, but has %lld outputs", e->name,
                            (long long)rows->parts, (long long)outputs);
    }
    for (int64_t i = 0; i < s->count; i += s->rows[i].parts) {
        const sow_entry *e = sow_state_find(state, s->rows[i].name);
        if (!e || !e->trainable)
            return sow_fail(SOW_E_NOT_FOUND, "scales: no trainable tensor '%s' in the model", s->rows[i].name);
    }
    return SOW_OK;
}

/* ---- JSON ---- */

static json_t *row_json(const sow_scales *s, const sow_scale_row *r) {
    double root = sqrt((double)r->gsnr.n);
    json_t *shape = json_array();
    for (int d = 0; d < r->shape.rank; d++) json_array_append_new(shape, json_integer(r->shape.shape[d]));
    json_t *row = json_pack("{s:s, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:f, s:f, s:f, s:f, s:f}", "name", r->name,
                            "shape", shape, "block", (json_int_t)r->block, "parts", (json_int_t)r->parts, "n",
                            (json_int_t)r->gsnr.n, "norm", sow_json_real(r->gsnr.norm), "mean",
                            sow_json_real(r->gsnr.mean), "sd", sow_json_real(r->gsnr.sd), "g", r->gsnr.g, "normalised",
                            r->gsnr.g / s->largest, "sqrt_n", root, "ratio", root > 0 ? r->gsnr.g / root : 1, "scale",
                            r->scale);
    if (row && r->gsnr.kind != SOW_GSNR_MEASURED)
        json_object_set_new(row, "note", json_string(sow_gsnr_kind_text(r->gsnr.kind)));
    return row;
}

sow_status sow_scales_json(const sow_scales *s, json_t **out) {
    json_t *rows = json_array();
    *out = json_pack("{s:s, s:s, s:s, s:f, s:o}", "format", "sow scales 1", "blocks",
                     sow_block_kind_name(s->blocks.kind), "normalise", sow_scale_norm_name(s->norm), "largest",
                     s->largest, "scales", rows);
    bool failed = !*out;
    for (int64_t i = 0; !failed && i < s->count; i++)
        failed = json_array_append_new(rows, row_json(s, &s->rows[i])) != 0;
    if (!failed) return SOW_OK;
    json_decref(*out);
    return sow_fail(SOW_E_MEMORY, "out of memory");
}

static sow_status read_row(sow_arena *arena, const char *path, int64_t i, const json_t *row, sow_scale_row *out) {
    const json_t *name = json_object_get(row, "name"), *scale = json_object_get(row, "scale"),
                 *block = json_object_get(row, "block"), *parts = json_object_get(row, "parts");
    if (!json_is_string(name) || !json_is_number(scale))
        return sow_fail(SOW_E_FORMAT, "%s: row %lld of \"scales\": expected an object with \"name\" and \"scale\"",
                        path, (long long)i + 1);
    *out = (sow_scale_row){.name = sow_arena_copy(arena, json_string_value(name)),
                           .block = block ? json_integer_value(block) : 0,
                           .parts = parts ? json_integer_value(parts) : 1,
                           .scale = json_number_value(scale)};
    out->gsnr = (sow_gsnr){.n = json_integer_value(json_object_get(row, "n")), .g = out->scale};
    const json_t *g = json_object_get(row, "g");
    if (json_is_number(g)) out->gsnr.g = json_number_value(g);
    if (!out->name) return SOW_E_MEMORY;
    if (!isfinite(out->scale) || out->scale < 0)
        return sow_fail(SOW_E_FORMAT, "%s: row %lld (%s): scale %g, expected a finite number, at least 0", path,
                        (long long)i + 1, out->name, out->scale);
    return SOW_OK;
}

/* Blocks of a tensor stand together, from the first to the last, and each tensor once. */
static sow_status check_order(const char *path, const sow_scales *s) {
    for (int64_t i = 0; i < s->count;) {
        const sow_scale_row *first = &s->rows[i];
        bool fits = first->parts >= 1 && first->parts <= s->count - i;
        for (int64_t b = 0; fits && b < first->parts; b++) {
            const sow_scale_row *r = &s->rows[i + b];
            fits = r->block == b && r->parts == first->parts && !strcmp(r->name, first->name);
        }
        if (!fits)
            return sow_fail(SOW_E_FORMAT, "%s: row %lld (%s): expected its %lld blocks one behind the other, from 0",
                            path, (long long)i + 1, first->name, (long long)first->parts);
        i += first->parts;
    }
    return SOW_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static sow_status check_twice(sow_arena *arena, const char *path, const sow_scales *s) {
    const char **names;
    int64_t count = 0;
    SOW_TRY(SOW_NEW(arena, names, s->count + 1));
    for (int64_t i = 0; i < s->count; i += s->rows[i].parts) names[count++] = s->rows[i].name;
    qsort(names, (size_t)count, sizeof *names, by_name);
    for (int64_t i = 1; i < count; i++)
        if (!strcmp(names[i - 1], names[i])) return sow_fail(SOW_E_FORMAT, "%s: %s is there twice", path, names[i]);
    return SOW_OK;
}

static sow_status read_rows(sow_arena *arena, const char *path, const json_t *file, sow_scales *out) {
    const json_t *rows = json_object_get(file, "scales"), *row;
    const char *format = json_string_value(json_object_get(file, "format")),
               *norm = json_string_value(json_object_get(file, "normalise"));
    size_t i;
    if (!format || strcmp(format, "sow scales 1") || json_array_size(rows) == 0)
        return sow_fail(SOW_E_FORMAT,
                        "%s: no table of scales: expected \"format\":\"sow scales 1\" and rows in \"scales\"", path);
    if (norm) SOW_TRY(sow_scale_norm_parse(norm, &out->norm));
    SOW_TRY(SOW_NEW(arena, out->rows, json_array_size(rows)));
    out->count = (int64_t)json_array_size(rows);
    json_array_foreach(rows, i, row) SOW_TRY(read_row(arena, path, (int64_t)i, row, &out->rows[i]));
    SOW_TRY(check_order(path, out));
    SOW_TRY(check_twice(arena, path, out));
    for (int64_t r = 0; r < out->count; r++) out->largest = fmax(out->largest, out->rows[r].gsnr.g);
    return SOW_OK;
}

sow_status sow_scales_read(sow_arena *arena, const char *path, sow_scales *out) {
    char *text;
    size_t size;
    json_t *file;
    *out = (sow_scales){0};
    SOW_TRY(sow_read_file(arena, path, FILE_BYTES, &text, &size));
    SOW_TRY(sow_json_parse(path, text, size, (sow_json_limits){.depth = 8, .array_length = ROWS_MAX}, &file));
    sow_status status = read_rows(arena, path, file, out);
    json_decref(file);
    return status;
}
