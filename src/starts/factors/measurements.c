/* Measurements and operators from files: .npy, safetensors, CSV. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sow/log.h"
#include "sow/npy.h"
#include "sow/safetensors.h"
#include "sow/table.h"
#include "sow/text.h"
#include "starts/factors/factors.h"

void factors_resolve(sow_call *call, const char *option, const char *value) {
    for (int i = 0; call->action->options[i].name; i++)
        if (!strcmp(call->action->options[i].name, option)) call->values[i] = value;
}

/* ---- numbers from files ---- */

static bool is_missing(const char *cell) {
    static const char *const words[] = {"", "na", "nan", "n/a", "null", "?"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(cell, words[i]) == 0) return true;
    return false;
}

static sow_status read_csv(sow_arena *arena, const char *path, sow_tensor *out) {
    sow_table table;
    double *values;
    SOW_TRY(sow_table_read(arena, path, &table));
    SOW_TRY(SOW_NEW(arena, values, table.rows * table.columns));
    for (int64_t r = 0; r < table.rows; r++)
        for (int64_t c = 0; c < table.columns; c++) {
            if (is_missing(sow_table_cell(&table, r, c))) values[r * table.columns + c] = NAN;
            else SOW_TRY(sow_table_number(&table, r, c, &values[r * table.columns + c]));
        }
    *out = SOW_TENSOR(values, SOW_F64, table.rows, table.columns);
    return SOW_OK;
}

/* The only tensor of a safetensors file, or the one of that name. */
static sow_status only_tensor(const sow_safetensors *file, const char *path, const char *name, sow_tensor *out) {
    const char *found;
    if (sow_safetensors_count(file) != 1) {
        sow_status status = sow_safetensors_find(file, name, out);
        return status ? sow_fail_in(status, "%s: several tensors, none of them", path) : SOW_OK;
    }
    *out = sow_safetensors_tensor(file, 0, &found);
    return out->data ? SOW_OK : SOW_E_MEMORY;
}

static sow_status read_safetensors(sow_arena *arena, const char *path, sow_tensor *out) {
    sow_safetensors *file;
    sow_tensor view;
    SOW_TRY(sow_safetensors_open(path, &file));
    sow_status status = only_tensor(file, path, "y", &view);
    if (!status) status = sow_tensor_new(arena, SOW_F64, view.rank, view.shape, out);
    if (!status) status = sow_copy(*out, view);
    sow_safetensors_close(file);
    return status;
}

sow_status factors_read(sow_arena *arena, const char *path, sow_tensor *out) {
    char text[SOW_SHAPE_TEXT];
    sow_tensor raw;
    if (sow_ends_with(path, ".safetensors")) SOW_TRY(read_safetensors(arena, path, &raw));
    else if (sow_ends_with(path, ".npy")) SOW_TRY(sow_npy_read(arena, path, &raw));
    else SOW_TRY(read_csv(arena, path, &raw));
    if (raw.rank == 2 && raw.shape[1] == 1) raw = sow_tensor_of(raw.data, raw.dtype, 1, raw.shape);
    if (raw.rank < 1 || raw.rank > 2 || sow_count(raw) < 1)
        return sow_fail(SOW_E_SHAPE, "%s: found %s, expected a vector or a matrix", path, sow_shape_text(raw, text));
    if (raw.dtype == SOW_C64 || raw.dtype == SOW_F8_E4M3 || raw.dtype == SOW_F8_E5M2)
        return sow_fail(SOW_E_TYPE, "%s: found %s, expected real numbers", path, sow_dtype_name(raw.dtype));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, raw.rank, raw.shape, out));
    SOW_TRY(sow_copy(*out, raw));
    const double *values = out->data;
    for (int64_t i = 0; i < sow_count(*out); i++)
        if (isinf(values[i])) return sow_fail(SOW_E_NUMBER, "%s: element %lld is infinite", path, (long long)i);
    return SOW_OK;
}

/* ---- what was typed ---- */

/* "dense:A.npy" and "rank-one:a.npy,b.npy" become a kind and paths of their own, as the passport has them. */
static sow_status split_operator(sow_call *call) {
    const char *text = sow_text(call, "operator"), *colon = text ? strchr(text, ':') : NULL;
    if (!colon) return SOW_OK;
    if (sow_given(call, "matrix"))
        return sow_fail(SOW_E_ARGUMENT, "--operator %s and --matrix both name a file; give one", text);
    const char *comma = strncmp(text, "rank-one:", 9) == 0 ? strchr(colon, ',') : NULL;
    char *kind = sow_arena_format(call->arena, "%.*s", (int)(colon - text), text),
         *path = comma ? sow_arena_format(call->arena, "%.*s", (int)(comma - colon - 1), colon + 1)
                       : sow_arena_copy(call->arena, colon + 1);
    if (!kind || !path) return SOW_E_MEMORY;
    if (!*path) return sow_fail(SOW_E_ARGUMENT, "--operator %s: expected a file behind the colon", text);
    factors_resolve(call, "operator", kind);
    factors_resolve(call, "matrix", path);
    if (comma) factors_resolve(call, "matrix-b", comma + 1);
    return SOW_OK;
}

static sow_status read_shape(const sow_call *call, int64_t *n1, int64_t *n2) {
    const char *text = sow_text(call, "shape");
    char *end;
    *n1 = *n2 = 0;
    if (!text) return SOW_OK;
    *n1 = strtoll(text, &end, 10);
    if (*end == 'x' || *end == 'X') *n2 = strtoll(end + 1, &end, 10);
    if (*end || *n1 < 1 || *n2 < 1 || *n1 > INT32_MAX || *n2 > INT32_MAX)
        return sow_fail(SOW_E_ARGUMENT, "--shape: found '%s', expected rows x columns like 50x40", text);
    return SOW_OK;
}

static sow_status read_memory(const sow_call *call, int64_t *bytes) {
    const char *text = sow_text(call, "memory");
    char *end;
    *bytes = 0;
    if (!text) return SOW_OK;
    double value = strtod(text, &end);
    const char *units = "KMGT", *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) value *= pow(1024, (double)(unit - units) + 1), end++;
    if (unit && *end == 'i') end++;
    if (*end == 'B') end++;
    if (*end || end == text || !(value >= 1) || value > 1e18)
        return sow_fail(SOW_E_ARGUMENT, "--memory: found '%s', expected a size like 256M", text);
    *bytes = (int64_t)value;
    return SOW_OK;
}

/* ---- operators ---- */

static sow_status need_matrix(const sow_call *call, const char **path) {
    *path = sow_text(call, "matrix");
    if (*path) return SOW_OK;
    const char *kind = sow_text(call, "operator");
    return sow_fail(SOW_E_ARGUMENT, "--operator %s: which file? write %s:FILE", kind, kind);
}

/* Mapped where it can be used as it lies, else read. */
static sow_status open_dense(sow_call *call, factors_problem *p, const char *path, sow_tensor *a) {
    if (sow_ends_with(path, ".safetensors")) {
        SOW_TRY(sow_safetensors_open(path, &p->file));
        return only_tensor(p->file, path, "A", a);
    }
    sow_status status = sow_npy_map(path, &p->map, a);
    bool usable = !status && (a->dtype == SOW_F64 || a->dtype == SOW_F32) && sow_is_contiguous(*a);
    if (usable || (status && status != SOW_E_UNSUPPORTED)) return status;
    sow_tensor raw;
    sow_map_close(&p->map);
    sow_note("%s: not f64 or f32 in C order, so it is read and converted, not streamed", path);
    SOW_TRY(sow_npy_read(call->arena, path, &raw));
    if (raw.dtype == SOW_C64) return sow_fail(SOW_E_TYPE, "%s: complex numbers, expected real ones", path);
    SOW_TRY(sow_tensor_new(call->arena, SOW_F64, raw.rank, raw.shape, a));
    return sow_copy(*a, raw);
}

static sow_status make_dense(sow_call *call, factors_problem *p, int64_t n1, int64_t n2) {
    char text[SOW_SHAPE_TEXT];
    const char *path;
    sow_tensor a;
    int64_t memory;
    SOW_TRY(need_matrix(call, &path));
    SOW_TRY(read_memory(call, &memory));
    SOW_TRY(open_dense(call, p, path, &a));
    if (!n1 && a.rank == 3) n1 = a.shape[1], n2 = a.shape[2];
    if (!n1 && a.rank == 2) {
        n1 = n2 = (int64_t)llround(sqrt((double)a.shape[1]));
        if (n1 * n2 != a.shape[1])
            return sow_fail(SOW_E_ARGUMENT, "%s: rows of %lld elements are no square matrices; give --shape n1xn2",
                            path, (long long)a.shape[1]);
    }
    if (!n1)
        return sow_fail(SOW_E_SHAPE, "%s: found %s, expected [m, n1*n2] or [m, n1, n2]", path, sow_shape_text(a, text));
    bool mapped = p->map.data || p->file;
    sow_status status = sow_operator_dense(a, n1, n2, mapped ? memory : 0, &p->op);
    return status ? sow_fail_in(status, "%s", path) : SOW_OK;
}

static sow_status make_rank_one(sow_call *call, factors_problem *p) {
    const char *path, *second = sow_text(call, "matrix-b");
    sow_tensor a, b = {0};
    SOW_TRY(need_matrix(call, &path));
    SOW_TRY(factors_read(call->arena, path, &a));
    SOW_TRY(sow_require_finite(a, path));
    if (second) {
        SOW_TRY(factors_read(call->arena, second, &b));
        SOW_TRY(sow_require_finite(b, second));
    }
    sow_status status = sow_operator_rank_one(a, b, &p->op);
    return status ? sow_fail_in(status, "%s", path) : SOW_OK;
}

static sow_status make_entries(sow_call *call, factors_problem *p, int64_t n1, int64_t n2) {
    const char *path;
    sow_tensor pairs;
    int64_t base = sow_flag(call, "one-based"), *index, most[2] = {0, 0};
    SOW_TRY(need_matrix(call, &path));
    SOW_TRY(factors_read(call->arena, path, &pairs));
    if (pairs.rank != 2 || pairs.shape[1] != 2)
        return sow_fail(SOW_E_SHAPE, "%s: expected two columns, row and column of each measured entry", path);
    int64_t m = pairs.shape[0];
    SOW_TRY(SOW_NEW(call->arena, index, 2 * m));
    for (int64_t i = 0; i < 2 * m; i++) {
        double value = ((const double *)pairs.data)[i] - (double)base;
        if (!(value >= 0 && value < INT32_MAX) || value != floor(value))
            return sow_fail(SOW_E_RANGE, "%s: measurement %lld: index %g, expected a whole number from %lld", path,
                            (long long)(i / 2), value + (double)base, (long long)base);
        index[i % 2 * m + i / 2] = (int64_t)value;
        if ((int64_t)value > most[i % 2]) most[i % 2] = (int64_t)value;
    }
    sow_status status = sow_operator_entries(call->arena, m, n1 ? n1 : most[0] + 1, n2 ? n2 : most[1] + 1, index,
                                             index + m, &p->op);
    return status ? sow_fail_in(status, "%s%s", path, base ? "" : " (indices count from 0; --one-based)") : SOW_OK;
}

/* A matrix: its cells that are there. */
static sow_status make_matrix(sow_call *call, factors_problem *p, sow_tensor *y) {
    int64_t n1 = y->shape[0], n2 = y->shape[1], *index, m = 0;
    double *values = y->data;
    for (int64_t i = 0; i < n1 * n2; i++) m += !isnan(values[i]);
    p->missing = n1 * n2 - m;
    *y = SOW_TENSOR(values, SOW_F64, m);
    if (p->missing == 0) return sow_operator_identity(n1, n2, &p->op);
    SOW_TRY(SOW_NEW(call->arena, index, 2 * m + 1));
    int64_t at = 0;
    for (int64_t i = 0; i < n1 * n2; i++) {
        if (isnan(values[i])) continue;
        index[at] = i / n2;
        index[m + at] = i % n2;
        values[at++] = values[i];
    }
    sow_note("%lld of %lld cells are missing: the others are the measurements", (long long)p->missing,
             (long long)(n1 * n2));
    return sow_operator_entries(call->arena, m, n1, n2, index, index + m, &p->op);
}

static sow_status make_operator(sow_call *call, factors_problem *p, sow_tensor *y) {
    const char *kind = sow_text(call, "operator");
    int64_t n1, n2;
    SOW_TRY(read_shape(call, &n1, &n2));
    if (!kind && y->rank == 1 && !n1)
        return sow_fail(
            SOW_E_ARGUMENT,
            "%s is a vector: --operator says what was measured (dense:A.npy, rank-one:a.npy, entries:ij.csv), "
            "--shape n1xn2 that it is a matrix",
            sow_text(call, "y"));
    if (!kind) factors_resolve(call, "operator", kind = "identity");
    p->what = kind;
    if (strcmp(kind, "identity") == 0) {
        if (n1 && n1 * n2 != sow_count(*y))
            return sow_fail(SOW_E_SHAPE, "--shape %s has %lld cells, %s holds %lld", sow_text(call, "shape"),
                            (long long)(n1 * n2), sow_text(call, "y"), (long long)sow_count(*y));
        if (n1) *y = SOW_TENSOR(y->data, SOW_F64, n1, n2);
        if (y->rank != 2)
            return sow_fail(SOW_E_ARGUMENT, "--operator identity: %s is a vector; give --shape n1xn2",
                            sow_text(call, "y"));
        return make_matrix(call, p, y);
    }
    if (strcmp(kind, "dense") == 0) return make_dense(call, p, n1, n2);
    if (strcmp(kind, "rank-one") == 0) return make_rank_one(call, p);
    if (strcmp(kind, "entries") == 0) return make_entries(call, p, n1, n2);
    return sow_fail(SOW_E_ARGUMENT,
                    "--operator: found '%s', expected dense:A.npy, rank-one:a.npy[,b.npy], entries:ij.csv or identity",
                    kind);
}

static sow_status read_truth(sow_call *call, factors_problem *p) {
    const char *path = sow_text(call, "truth");
    char text[SOW_SHAPE_TEXT];
    sow_tensor t;
    if (!path) return SOW_OK;
    SOW_TRY(factors_read(call->arena, path, &t));
    SOW_TRY(sow_require_finite(t, path));
    if (t.rank != 2 || t.shape[0] != p->op.n1 || t.shape[1] != p->op.n2)
        return sow_fail(SOW_E_SHAPE, "%s: the truth is %s, expected [%lld, %lld]", path, sow_shape_text(t, text),
                        (long long)p->op.n1, (long long)p->op.n2);
    p->truth = t.data;
    return SOW_OK;
}

sow_status factors_open(sow_call *call, factors_problem *out) {
    sow_tensor y;
    *out = (factors_problem){0};
    if (!sow_text(call, "y")) return sow_fail(SOW_E_ARGUMENT, "missing the measurements: a .npy or CSV file");
    SOW_TRY(split_operator(call));
    SOW_TRY(factors_read(call->arena, sow_text(call, "y"), &y));
    sow_status status = make_operator(call, out, &y);
    out->y = y.data;
    if (!status && sow_count(y) != out->op.m)
        status = sow_fail(SOW_E_SHAPE, "%s holds %lld measurements, the operator %lld", sow_text(call, "y"),
                          (long long)sow_count(y), (long long)out->op.m);
    if (!status) status = sow_require_finite(y, sow_text(call, "y"));
    if (!status) status = read_truth(call, out);
    if (status) factors_close(out);
    return status;
}

sow_status factors_open_operator(sow_call *call, factors_problem *out) {
    int64_t n1, n2;
    *out = (factors_problem){0};
    SOW_TRY(split_operator(call));
    SOW_TRY(read_shape(call, &n1, &n2));
    out->what = sow_text(call, "operator");
    sow_status status = strcmp(out->what, "dense") == 0 ? make_dense(call, out, n1, n2)
                        : strcmp(out->what, "rank-one") == 0
                            ? make_rank_one(call, out)
                            : sow_fail(SOW_E_ARGUMENT,
                                       "--operator: found '%s', expected dense:A.npy or "
                                       "rank-one:a.npy[,b.npy]",
                                       out->what);
    if (status) factors_close(out);
    return status;
}

void factors_close(factors_problem *problem) {
    sow_map_close(&problem->map);
    sow_safetensors_close(problem->file);
    problem->file = NULL;
}
