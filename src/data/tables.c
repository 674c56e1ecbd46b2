/* Data in tables: a CSV with a label column, and a pair of .npy files. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/readers.h"
#include "sow/npy.h"
#include "sow/table.h"

/* ---- CSV: the label column ---- */

static sow_status find_label(const sow_table *t, const char *label, int64_t *column) {
    static const char *const usual[] = {"label", "class", "target"};
    if (label) {
        *column = sow_table_column(t, label);
        if (*column < 0) return sow_fail(SOW_E_NOT_FOUND, "%s: no column \"%s\"%s", t->path, label, t->names ? "" : ": the file has no header line");
        return SOW_OK;
    }
    for (int i = 0; i < 3; i++)
        if ((*column = sow_table_column(t, usual[i])) >= 0) return SOW_OK;
    *column = t->columns - 1;
    return SOW_OK;
}

/* A label that is written as a whole number, else -1. */
static int64_t whole_number(const char *cell) {
    char *end;
    if (cell[0] < '0' || cell[0] > '9' || strlen(cell) > 9) return -1;
    int64_t value = strtoll(cell, &end, 10);
    return *end == 0 ? value : -1;
}

static int by_label(const void *a, const void *b) {
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    int64_t i = whole_number(x), j = whole_number(y);
    if (i >= 0 && j >= 0 && i != j) return i < j ? -1 : 1;
    if ((i >= 0) != (j >= 0)) return i >= 0 ? -1 : 1;
    return strcmp(x, y);
}

/* The distinct labels: whole numbers first in their order, then names. */
static sow_status distinct_labels(const sow_table *t, int64_t column, sow_arena *arena, const char ***out, int64_t *count) {
    const char **labels;
    SOW_TRY(SOW_NEW(arena, labels, t->rows));
    for (int64_t r = 0; r < t->rows; r++) {
        labels[r] = sow_table_cell(t, r, column);
        if (labels[r][0] == 0) return sow_fail(SOW_E_FORMAT, "%s: line %" PRId64 ", column %" PRId64 ": no label", t->path, t->lines[r], column + 1);
    }
    qsort(labels, (size_t)t->rows, sizeof *labels, by_label);
    *count = 0;
    for (int64_t r = 0; r < t->rows; r++)
        if (*count == 0 || by_label(&labels[r], &labels[*count - 1]) != 0) labels[(*count)++] = labels[r];
    *out = labels;
    if (*count > SOW_CLASSES_MAX || (*count > 1000 && *count > t->rows / 2))
        return sow_fail(SOW_E_FORMAT, "%s: column %" PRId64 " has %" PRId64 " different labels in %" PRId64 " rows: it is not a class", t->path, column + 1, *count, t->rows);
    return SOW_OK;
}

/* Labels 0, 1, 2 ... without a gap stand for themselves; others get the rank of their name. */
static bool labels_are_numbers(const char **labels, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (whole_number(labels[i]) != i) return false;
    return true;
}

static sow_status own_classes(const sow_table *t, int64_t column, sow_arena *scratch, sow_dataset *set) {
    const char **labels;
    int64_t count;
    SOW_TRY(distinct_labels(t, column, scratch, &labels, &count));
    set->geometry.classes = count;
    if (labels_are_numbers(labels, count)) return SOW_OK;
    SOW_TRY(SOW_NEW(set->arena, set->class_names, count));
    for (int64_t i = 0; i < count; i++)
        if (!(set->class_names[i] = sow_arena_copy(set->arena, labels[i]))) return SOW_E_MEMORY;
    return SOW_OK;
}

static sow_status fill_labels(const sow_table *t, int64_t column, sow_dataset *set) {
    for (int64_t r = 0; r < t->rows; r++) {
        const char *cell = sow_table_cell(t, r, column);
        int64_t label = whole_number(cell);
        if (set->class_names) {
            const char **found = bsearch(&cell, set->class_names, (size_t)set->geometry.classes, sizeof cell, by_label);
            label = found ? found - set->class_names : -1;
        }
        if (label < 0 || label >= set->geometry.classes)
            return sow_fail(SOW_E_FORMAT, "%s: line %" PRId64 ", column %" PRId64 ": label \"%.60s\" is not a class of the training part", t->path,
                            t->lines[r], column + 1, cell);
        set->labels[r] = (int32_t)label;
    }
    return SOW_OK;
}

static sow_status fill_values(const sow_table *t, int64_t column, sow_dataset *set) {
    float *out = set->inputs.data;
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t c = 0; c < t->columns; c++) {
            double value;
            if (c == column) continue;
            SOW_TRY(sow_table_number(t, r, c, &value));
            if (!isfinite((float)value))
                return sow_fail(SOW_E_RANGE, "%s: line %" PRId64 ", column %" PRId64 ": %g is too large for F32", t->path, t->lines[r], c + 1, value);
            *out++ = (float)value;
        }
    return SOW_OK;
}

static sow_status read_table(const char *path, const char *label, const sow_dataset *classes, sow_arena *scratch, sow_found *found) {
    sow_table t;
    int64_t column;
    SOW_TRY(sow_table_read(scratch, path, &t));
    SOW_TRY(find_label(&t, label, &column));
    if (t.rows == 0 || t.columns < 2)
        return sow_fail(SOW_E_FORMAT, "%s: %" PRId64 " rows of %" PRId64 " columns: expected examples with a label column and at least one other", path, t.rows, t.columns);
    sow_geometry geometry = {.channels = t.columns - 1, .height = 1, .width = 1};
    SOW_TRY(sow_dataset_new(t.rows, geometry, SOW_F32, &found->train));
    sow_dataset *set = found->train;
    if (classes) set->geometry.classes = classes->geometry.classes, set->class_names = classes->class_names;
    else SOW_TRY(own_classes(&t, column, scratch, set));
    SOW_TRY(fill_labels(&t, column, set));
    if (classes) set->class_names = NULL; /* they belong to the other set */
    return fill_values(&t, column, set);
}

sow_status sow_read_csv(const char *path, const char *label, const sow_dataset *classes, sow_found *found) {
    sow_arena *scratch;
    found->normalisation = SOW_NORMALISE_UNIT;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = read_table(path, label, classes, scratch, found);
    sow_arena_free(scratch);
    return status;
}

/* ---- .npy ---- */

/* [n, f] tables, [n, h, w] grey and [n, c, h, w] images: what one example is. */
static sow_status npy_geometry(const char *path, sow_tensor x, sow_geometry *out) {
    char shape[SOW_SHAPE_TEXT];
    sow_shape_text(x, shape);
    if (x.rank < 2 || x.rank > 4)
        return sow_fail(SOW_E_SHAPE, "%s: inputs %s, expected [examples, features], [examples, height, width] or [examples, channels, height, width]", path, shape);
    if (x.rank == 4 && x.shape[1] > 16 && x.shape[3] <= 4)
        return sow_fail(SOW_E_SHAPE, "%s: inputs %s look like channels last, expected [examples, channels, height, width]", path, shape);
    if (sow_count(x) == 0) return sow_fail(SOW_E_SHAPE, "%s: inputs %s hold no value", path, shape);
    *out = (sow_geometry){.channels = x.rank == 3 ? 1 : x.shape[1], .height = x.rank > 2 ? x.shape[x.rank - 2] : 1, .width = x.rank > 2 ? x.shape[x.rank - 1] : 1};
    return SOW_OK;
}

static sow_status npy_labels(const char *path, sow_tensor y, sow_dataset *set) {
    char shape[SOW_SHAPE_TEXT];
    if (y.rank != 1 || y.shape[0] != set->count)
        return sow_fail(SOW_E_SHAPE, "%s: labels %s, expected [%" PRId64 "] as there are inputs", path, sow_shape_text(y, shape), set->count);
    if (sow_dtype_is_real(y.dtype) || y.dtype == SOW_C64) return sow_fail(SOW_E_TYPE, "%s: labels of %s, expected integers", path, sow_dtype_name(y.dtype));
    for (int64_t i = 0; i < set->count; i++) {
        double label = sow_at(y, i);
        if (label < 0 || label >= SOW_CLASSES_MAX) return sow_fail(SOW_E_RANGE, "%s: label %.0f of example %" PRId64 ", expected 0 or more", path, label, i);
        set->labels[i] = (int32_t)label;
        if (label + 1 > (double)set->geometry.classes) set->geometry.classes = (int64_t)label + 1;
    }
    return SOW_OK;
}

/* U8 images stay U8, all else becomes F32. */
static sow_status read_pair(const char *inputs, const char *labels, sow_arena *scratch, sow_found *found) {
    sow_tensor x, y;
    sow_geometry geometry;
    SOW_TRY(sow_npy_read(scratch, inputs, &x));
    SOW_TRY(npy_geometry(inputs, x, &geometry));
    if (x.dtype == SOW_C64) return sow_fail(SOW_E_TYPE, "%s: complex inputs, expected real ones", inputs);
    SOW_TRY(sow_npy_read(scratch, labels, &y));
    bool image = x.dtype == SOW_U8 && x.rank > 2;
    SOW_TRY(sow_dataset_new(x.shape[0], geometry, image ? SOW_U8 : SOW_F32, &found->train));
    sow_dataset *set = found->train;
    sow_tensor to = set->inputs;
    if (x.rank == 2) to = SOW_TENSOR(to.data, to.dtype, x.shape[0], x.shape[1]);
    if (x.rank == 3) to = SOW_TENSOR(to.data, to.dtype, x.shape[0], x.shape[1], x.shape[2]);
    SOW_TRY(sow_copy(to, x));
    if (!image) SOW_TRY(sow_require_finite(set->inputs, inputs));
    return npy_labels(labels, y, set);
}

sow_status sow_read_npy_pair(const char *paths, sow_found *found) {
    sow_arena *scratch;
    found->normalisation = SOW_NORMALISE_UNIT;
    SOW_TRY(sow_arena_new(&scratch));
    char *inputs = sow_arena_copy(scratch, paths);
    sow_status status = inputs ? SOW_OK : SOW_E_MEMORY;
    if (status == SOW_OK) {
        char *comma = strchr(inputs, ',');
        if (!comma || !comma[1] || comma == inputs) status = sow_fail(SOW_E_ARGUMENT, "%s: expected a pair x.npy,y.npy", paths);
        else {
            *comma = 0;
            status = read_pair(inputs, comma + 1, scratch, found);
        }
    }
    sow_arena_free(scratch);
    return status;
}
