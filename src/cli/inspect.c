/* sow inspect: what a file or folder holds. */
#include "cli/inspect.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/json.h"
#include "sow/data.h"
#include "sow/file.h"
#include "sow/image.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/mask.h"
#include "sow/npy.h"
#include "sow/safetensors.h"
#include "sow/table.h"
#include "sow/text.h"

enum { JSON_BYTES_MAX = 64 << 20, ROWS_MAX = 100000, NAMES_MAX = 1000000 };

/* ---- safetensors ---- */

/* The mask beside X.safetensors, X.mask.safetensors; *mask NULL where there is none. */
static sow_status open_mask(sow_call *call, const char *path, sow_safetensors **mask) {
    *mask = NULL;
    if (!sow_ends_with(path, ".safetensors") || sow_ends_with(path, ".mask.safetensors")) return SOW_OK;
    char *beside = sow_arena_format(call->arena, "%.*s.mask.safetensors", (int)(strlen(path) - strlen(".safetensors")),
                                    path);
    if (!beside) return SOW_E_MEMORY;
    return sow_path_exists(beside) ? sow_safetensors_open(beside, mask) : SOW_OK;
}

/* Adds the share of kept weights to the row, and counts kept ones and values that are not 0 though masked. */
static sow_status put_density(const sow_safetensors *masks, const char *name, sow_tensor t, json_t *row, int64_t *kept,
                              int64_t *total, int64_t *outside) {
    sow_tensor mask;
    int64_t ones = 0, count = sow_count(t);
    if (sow_safetensors_find(masks, name, &mask)) return SOW_OK; /* dense */
    if (!sow_same_shape(mask, t) || (mask.dtype != SOW_U8 && mask.dtype != SOW_BOOL))
        return sow_fail(SOW_E_SHAPE, "%s: its mask has another shape or is not U8", name);
    const uint8_t *bits = mask.data;
    for (int64_t i = 0; i < count; i++) {
        ones += bits[i] != 0;
        if (!bits[i] && sow_at(t, i) != 0) ++*outside;
    }
    *kept += ones;
    *total += count;
    int failed = json_object_set_new(row, "kept", json_real(count ? (double)ones / (double)count : 1));
    return failed ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

static sow_status put_tensors(sow_call *call, const sow_safetensors *file, const sow_safetensors *masks) {
    json_t *rows = json_array(), *row;
    int64_t n = sow_safetensors_count(file), elements = 0, bytes = 0, nonfinite = 0, kept = 0, masked = 0, outside = 0;
    SOW_TRY(sow_put_json(call->result, "tensors", rows));
    for (int64_t i = 0; i < n; i++) {
        const char *name;
        sow_tensor t = sow_safetensors_tensor(file, i, &name);
        tensor_summary summary;
        sow_progress("reading tensors", i, n);
        SOW_TRY(inspect_summarise(call->arena, t, &summary));
        SOW_TRY(inspect_row(call, name, t, &summary, &row));
        SOW_TRY(sow_append_json(rows, row));
        if (masks) SOW_TRY(put_density(masks, name, t, row, &kept, &masked, &outside));
        elements += summary.count;
        bytes += (int64_t)sow_bytes(t);
        nonfinite += summary.nan + summary.infinite;
    }
    sow_progress("reading tensors", n, n);
    json_t *total = json_pack("{s:I,s:I,s:I,s:I}", "tensors", (json_int_t)n, "elements", (json_int_t)elements, "bytes",
                              (json_int_t)bytes, "nonfinite", (json_int_t)nonfinite);
    SOW_TRY(sow_put_json(call->result, "total", total));
    if (masked) SOW_TRY(sow_put_real(call->result, "density", (double)kept / (double)masked));
    if (outside) sow_warn("%lld values are not zero though the mask drops them", (long long)outside);
    if (nonfinite) sow_warn("%lld values are NaN or infinite", (long long)nonfinite);
    return SOW_OK;
}

/* The passport as an object where it parses, else as the text it is. */
static sow_status put_passport(sow_call *call, const char *path, const char *text) {
    static const sow_json_limits limits = {.depth = 64};
    json_t *passport;
    if (sow_json_parse(path, text, strlen(text), limits, &passport)) passport = json_string(text);
    return sow_put_json(call->result, "passport", passport);
}

static sow_status describe(sow_call *call, const char *path, const sow_safetensors *file,
                           const sow_safetensors *masks) {
    const char *passport = sow_safetensors_metadata(file, "sow");
    SOW_TRY(sow_put_text(call->result, "format", "safetensors"));
    SOW_TRY(put_tensors(call, file, masks));
    return passport ? put_passport(call, path, passport) : SOW_OK;
}

static sow_status inspect_safetensors(sow_call *call, const char *path) {
    sow_safetensors *file, *masks;
    SOW_TRY(sow_safetensors_open(path, &file));
    sow_status status = open_mask(call, path, &masks);
    if (!status) status = describe(call, path, file, masks);
    sow_safetensors_close(masks);
    sow_safetensors_close(file);
    return status;
}

/* ---- arrays and images ---- */

static sow_status put_array(sow_call *call, json_t *rows, const char *name, sow_tensor t) {
    tensor_summary summary;
    json_t *row;
    sow_tensor flat = t;
    if (!sow_is_contiguous(t)) { /* Fortran order */
        SOW_TRY(sow_tensor_new(call->arena, t.dtype, t.rank, t.shape, &flat));
        SOW_TRY(sow_copy(flat, t));
    }
    SOW_TRY(inspect_summarise(call->arena, flat, &summary));
    SOW_TRY(inspect_row(call, name, t, &summary, &row));
    return sow_append_json(rows, row);
}

static sow_status begin_arrays(sow_call *call, const char *format, json_t **rows) {
    SOW_TRY(sow_put_text(call->result, "format", format));
    return sow_put_json(call->result, "tensors", *rows = json_array());
}

static sow_status inspect_npy(sow_call *call, const char *path) {
    json_t *rows;
    sow_tensor t;
    SOW_TRY(begin_arrays(call, "npy", &rows));
    SOW_TRY(sow_npy_read(call->arena, path, &t));
    return put_array(call, rows, sow_path_name(path), t);
}

static sow_status put_npz(sow_call *call, const sow_npz *npz) {
    json_t *rows;
    SOW_TRY(begin_arrays(call, "npz", &rows));
    for (int64_t i = 0; i < sow_npz_count(npz); i++) {
        sow_mark mark = sow_arena_mark(call->arena);
        sow_tensor t;
        SOW_TRY(sow_npz_read(npz, call->arena, sow_npz_name(npz, i), &t));
        SOW_TRY(put_array(call, rows, sow_npz_name(npz, i), t));
        sow_arena_release(call->arena, mark);
    }
    return SOW_OK;
}

static sow_status inspect_npz(sow_call *call, const char *path) {
    sow_npz *npz;
    SOW_TRY(sow_npz_open(path, &npz));
    sow_status status = put_npz(call, npz);
    sow_npz_close(npz);
    return status;
}

static sow_status inspect_image(sow_call *call, const char *path) {
    json_t *rows;
    sow_tensor t;
    SOW_TRY(begin_arrays(call, "image", &rows));
    SOW_TRY(sow_image_read(call->arena, path, 0, &t));
    return put_array(call, rows, sow_path_name(path), t);
}

/* ---- text formats ---- */

static sow_status inspect_json(sow_call *call, const char *path) {
    static const sow_json_limits limits = {.depth = 64};
    char *text;
    size_t size;
    json_t *value;
    SOW_TRY(sow_read_file(call->arena, path, JSON_BYTES_MAX, &text, &size));
    SOW_TRY(sow_json_parse(path, text, size, limits, &value));
    return sow_put_json(call->result, sow_path_name(path), value);
}

/* A cell of a table as a number where it is one. */
static json_t *cell_value(const char *text) {
    char *behind;
    double number = strtod(text, &behind);
    if (behind == text || *behind) return json_string(text);
    if (!strpbrk(text, ".eEnNiI")) return json_integer(strtoll(text, NULL, 10));
    return isfinite(number) ? json_real(number) : json_string(text);
}

/* Rows become objects, empty cells null. */
static sow_status read_table(sow_call *call, const char *path, json_t *rows) {
    sow_table table;
    SOW_TRY(sow_table_read(call->arena, path, &table));
    if (table.rows > ROWS_MAX || !table.names)
        return sow_fail(SOW_E_FORMAT, "%s: found %lld rows%s, expected column names and at most %d rows", path,
                        (long long)table.rows, table.names ? "" : " without names", ROWS_MAX);
    for (int64_t r = 0; r < table.rows; r++) {
        json_t *row = json_object();
        int failed = json_array_append_new(rows, row);
        for (int64_t c = 0; c < table.columns && !failed; c++) {
            const char *cell = sow_table_cell(&table, r, c);
            failed = json_object_set_new(row, table.names[c], *cell ? cell_value(cell) : json_null());
        }
        if (failed) return sow_fail(SOW_E_FORMAT, "%s: row %lld is not UTF-8", path, (long long)r + 1);
    }
    return SOW_OK;
}

/* A column's numbers into `values`; false where a cell is text (empty cells are passed over). */
static bool numbers_of(const sow_table *table, int64_t column, double *values, int64_t *count) {
    *count = 0;
    for (int64_t r = 0; r < table->rows; r++) {
        const char *cell = sow_table_cell(table, r, column);
        char *behind;
        if (!*cell) continue;
        values[*count] = strtod(cell, &behind);
        if (behind == cell || *behind) return false;
        ++*count;
    }
    return *count > 0;
}

static sow_status put_column(sow_call *call, const sow_table *table, int64_t column, double *values, json_t *rows) {
    char number[32];
    const char *name = table->names ? table->names[column] : number;
    int64_t count;
    tensor_summary summary = {0};
    json_t *row;
    snprintf(number, sizeof number, "%lld", (long long)column);
    bool numeric = numbers_of(table, column, values, &count);
    sow_tensor t = SOW_TENSOR(values, SOW_F64, numeric ? count : table->rows);
    if (numeric) SOW_TRY(inspect_summarise(call->arena, t, &summary));
    SOW_TRY(inspect_row(call, name, t, &summary, &row));
    json_object_set_new(row, "dtype", json_string(numeric ? "number" : "text"));
    return sow_append_json(rows, row);
}

static sow_status inspect_csv(sow_call *call, const char *path) {
    sow_table table;
    double *values;
    json_t *rows = json_array();
    SOW_TRY(sow_put_text(call->result, "format", "table"));
    SOW_TRY(sow_put_json(call->result, "columns", rows));
    SOW_TRY(sow_table_read(call->arena, path, &table));
    SOW_TRY(sow_put_count(call->result, "rows", table.rows));
    SOW_TRY(SOW_NEW(call->arena, values, table.rows));
    for (int64_t c = 0; c < table.columns; c++) SOW_TRY(put_column(call, &table, c, values, rows));
    return SOW_OK;
}

static sow_status put_table(sow_call *call, const char *key, const char *folder, const char *name) {
    json_t *rows = json_array();
    char *path = sow_path_join(call->arena, folder, name);
    SOW_TRY(sow_put_json(call->result, key, rows));
    if (!path) return SOW_E_MEMORY;
    return sow_path_exists(path) ? read_table(call, path, rows) : SOW_OK;
}

/* ---- data sets ---- */

static json_t *part_row(const char *name, const sow_part *part) {
    return json_pack("{s:s,s:I}", "part", name, "examples", (json_int_t)part->count);
}

static sow_status put_classes(sow_call *call, const sow_data *data) {
    const sow_dataset *set = data->train_set;
    int64_t *counts;
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(call->result, "labels", rows));
    SOW_TRY(SOW_NEW(call->arena, counts, data->geometry.classes));
    for (int64_t i = 0; i < data->train.count; i++) counts[set->labels[data->train.index[i]]]++;
    for (int64_t c = 0; c < data->geometry.classes && c < ROWS_MAX; c++) {
        json_t *row = json_pack("{s:I,s:I}", "label", (json_int_t)c, "examples", (json_int_t)counts[c]);
        if (set->class_names && set->class_names[c]) json_object_set_new(row, "name", json_string(set->class_names[c]));
        SOW_TRY(sow_append_json(rows, row));
    }
    return SOW_OK;
}

static sow_status put_data(sow_call *call, const sow_data *data) {
    const sow_geometry *g = &data->geometry;
    char *shape = sow_arena_format(call->arena, "%lldx%lldx%lld", (long long)g->channels, (long long)g->height,
                                   (long long)g->width);
    if (!shape) return SOW_E_MEMORY;
    SOW_TRY(sow_put_text(call->result, "format", "labelled examples"));
    SOW_TRY(sow_put_text(call->result, "input", shape));
    SOW_TRY(sow_put_count(call->result, "classes", g->classes));
    SOW_TRY(sow_put_text(call->result, "sha256", data->sha256));
    SOW_TRY(sow_put_json(call->result, "parts",
                         json_pack("[o,o]", part_row("train", &data->train), part_row("test", &data->test))));
    return put_classes(call, data);
}

static sow_status inspect_data(sow_call *call, const char *path) {
    static const sow_data_options options = {.validation = 0};
    sow_data *data;
    SOW_TRY(sow_data_open(path, &options, &data));
    sow_status status = put_data(call, data);
    sow_data_free(data);
    return status;
}

/* ---- folders ---- */

static bool holds(sow_arena *arena, const char *folder, const char *name) {
    const char *path = sow_path_join(arena, folder, name);
    return path && sow_path_exists(path);
}

/* A report: whole for --json; for people its members, without what is a table of its own. */
static sow_status put_report(sow_call *call, const char *folder, const char *name) {
    const char *key, *path = sow_path_join(call->arena, folder, name);
    json_t *value;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(inspect_json(call, path));
    if (call->json) return SOW_OK;
    json_t *report = json_incref(json_object_get(call->result, name));
    json_object_del(call->result, name);
    int failed = 0;
    json_object_foreach(report, key, value) if (!json_is_array(value))
        failed |= json_object_set(call->result, key, value);
    json_decref(report);
    return failed ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

static sow_status put_study(sow_call *call, const char *folder) {
    char *store = sow_path_join(call->arena, folder, "sow.db"),
         *verdict = sow_path_join(call->arena, folder, "verdict.json");
    if (!store || !verdict) return SOW_E_MEMORY;
    SOW_TRY(inspect_json(call, verdict));
    json_t *report = json_object_get(call->result, "verdict.json");
    if (!call->json && json_is_object(report)) { /* for people its members, clauses as a table */
        json_incref(report);
        json_object_del(call->result, "verdict.json");
        json_object_del(report, "arms");
        int failed = json_object_update(call->result, report);
        json_decref(report);
        if (failed) return sow_fail(SOW_E_MEMORY, "out of memory");
    }
    return sow_path_exists(store) ? inspect_store(call, store) : SOW_OK;
}

/* Names and sizes. */
static sow_status put_listing(sow_call *call, const char *folder) {
    char **names;
    int64_t count;
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(call->result, "contents", rows));
    SOW_TRY(sow_list_folder(call->arena, folder, NAMES_MAX, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        struct stat info;
        const char *path = sow_path_join(call->arena, folder, names[i]);
        if (!path) return SOW_E_MEMORY;
        if (stat(path, &info)) continue;
        json_t *row = json_pack("{s:s}", "name", names[i]);
        if (!row) continue; /* a name that is not UTF-8 */
        if (S_ISREG(info.st_mode)) json_object_set_new(row, "bytes", json_integer(info.st_size));
        SOW_TRY(sow_append_json(rows, row));
    }
    return SOW_OK;
}

static sow_status inspect_folder(sow_call *call, const char *path) {
    sow_arena *a = call->arena;
    if (holds(a, path, "report.json")) {
        SOW_TRY(sow_put_text(call->result, "format", "ticket folder"));
        SOW_TRY(put_report(call, path, "report.json"));
        return put_table(call, "rounds", path, "rounds.csv");
    }
    if (holds(a, path, "verdict.json")) {
        SOW_TRY(sow_put_text(call->result, "format", "study folder"));
        return put_study(call, path);
    }
    if (holds(a, path, "run.json")) {
        SOW_TRY(sow_put_text(call->result, "format", "run folder"));
        SOW_TRY(put_report(call, path, "run.json"));
        return put_table(call, "curve", path, "curve.csv");
    }
    if (holds(a, path, "model.safetensors") || holds(a, path, "model.safetensors.index.json"))
        return inspect_safetensors(call, path);
    if (inspect_data(call, path) == SOW_OK) return SOW_OK;
    SOW_TRY(sow_put_text(call->result, "format", "folder"));
    return put_listing(call, path);
}

/* ---- the verb ---- */

static sow_status read_start(const char *path, char start[16], size_t *size) {
    struct stat info; /* a pipe or a device would never end */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) return sow_fail(SOW_E_IO, "%s: not a regular file", path);
    FILE *file = fopen(path, "rb");
    if (!file) return sow_fail(SOW_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    memset(start, 0, 16);
    *size = fread(start, 1, 16, file);
    fclose(file);
    return SOW_OK;
}

static sow_status inspect_file(sow_call *call, const char *path) {
    char start[16];
    size_t size;
    SOW_TRY(read_start(path, start, &size));
    if (sow_ends_with(path, ".safetensors") || sow_ends_with(path, ".index.json"))
        return inspect_safetensors(call, path);
    if (size >= 6 && memcmp(start, "\x93NUMPY", 6) == 0) return inspect_npy(call, path);
    if (size >= 4 && memcmp(start, "PK\3\4", 4) == 0) return inspect_npz(call, path);
    if (size >= 4 && (memcmp(start, "\x89PNG", 4) == 0 || memcmp(start, "\xff\xd8\xff", 3) == 0))
        return inspect_image(call, path);
    if (size == 16 && memcmp(start, "SQLite format 3", 16) == 0) return inspect_store(call, path);
    if (sow_ends_with(path, ".json")) return inspect_json(call, path);
    if (sow_ends_with(path, ".csv") || sow_ends_with(path, ".tsv") || sow_ends_with(path, ".csv.gz"))
        return inspect_csv(call, path);
    return sow_fail(SOW_E_FORMAT,
                    "%s: found no format that Sow knows, expected safetensors, npy, npz, PNG, JPEG, CSV or JSON", path);
}

static sow_status run_inspect(sow_call *call) {
    const char *path = sow_text(call, "path");
    if (!sow_path_exists(path)) return sow_fail(SOW_E_NOT_FOUND, "%s: no such file or folder", path);
    json_t *shown = json_string(path);
    SOW_TRY(sow_put_json(call->result, "path", shown ? shown : json_string("(a name that is not UTF-8)")));
    return sow_is_folder(path) ? inspect_folder(call, path) : inspect_file(call, path);
}

static const sow_option options[] = {
    SOW_OPTION_FILE("path", "file or folder"),
    {0},
};

static const sow_action actions[] = {
    {"inspect", "show what a file or folder holds", options, run_inspect, "sow inspect start.safetensors", 0}, {0}};

const sow_method sow_verb_inspect = {
    .name = "inspect",
    .family = "commands",
    .summary = "show what a file or folder holds: tensors with statistics, passports, runs, data",
    .actions = actions,
};
