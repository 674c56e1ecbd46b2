/* matrix-gd complete: a CSV table in, the same table without empty cells out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/json.h"
#include "sow/log.h"
#include "sow/table.h"
#include "sow/text.h"
#include "starts/factors/factors.h"
#include "starts/factors/matrix_gd.h"

const sow_option matrix_gd_complete_options[] = {
    SOW_OPTION_FILE("table", "CSV file; empty cells, NA and NaN are filled"),
    SOW_OPTION_LIST(
        "keep",
        "a column that is no measurement (an id, a label), by name or number from 0: comes back as it is; columns of words are kept anyhow"),
    SOW_OPTION_FLAG("one-based", "--keep: numbers count from 1"),
    SOW_OPTION_INT("rank", NULL, 0, 1e6, "columns of the factors, 0: offsets alone; default: chosen by held-out cells"),
    SOW_OPTION_FLAG("non-negative", "factors without negative elements, no offsets: for counts and amounts"),
    SOW_OPTION_CHOICE("offsets", "both", "both|columns|rows|none", "means that are taken off before"),
    SOW_OPTION_REAL("holdout", "0.1", 0.01, 0.5, "share of cells that measure the error and choose nothing"),
    SOW_OPTION_INT("folds", "0", 0, 100,
                   "of the other cells, to choose rank and steps; 0: 5, or 1 beyond 20,000 cells"),
    SOW_OPTION_REAL("alpha", "0.2", 1e-9, 1e3, "size of the start"),
    SOW_OPTION_REAL("ratio", "3", 1e-3, 1e3, "how much smaller G starts than F"),
    SOW_OPTION_REAL("lr", "0.2", 1e-9, 10, "step size, in units of the largest singular value"),
    SOW_OPTION_COUNT("steps", "1000", 5, 1e6, "steps", "at most"),
    SOW_OPTION_SEED,
    {"out", 'o', SOW_TYPE_OUTPUT, NULL, 0, 0, NULL, NULL, "the filled table (CSV)",
     SOW_OPTION_REQUIRED | SOW_OPTION_NO_PASSPORT},
    SOW_OPTION_FORCE,
    {0},
};

typedef struct job {
    sow_call *call;
    sow_table table;
    int64_t *numeric; /* columns of numbers, in order */
    int64_t count, missing;
    double *values; /* [rows, count], NaN: missing */
} job;

static bool is_missing(const char *cell) {
    static const char *const words[] = {"", "na", "nan", "n/a", "null", "?"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(cell, words[i]) == 0) return true;
    return false;
}

/* ---- which columns are measurements ---- */

static sow_status keep_columns(const job *j, bool *kept) {
    const char *const *words = sow_list(j->call, "keep");
    int64_t base = sow_flag(j->call, "one-based");
    for (int i = 0; words[i]; i++) {
        char *end;
        int64_t column = sow_table_column(&j->table, words[i]), number = strtoll(words[i], &end, 10) - base;
        if (column < 0 && !*end && number >= 0 && number < j->table.columns) column = number;
        if (column < 0) {
            const char *near = j->table.names ? sow_nearest(words[i], j->table.names, (int)j->table.columns) : NULL;
            return sow_fail(SOW_E_ARGUMENT, "--keep: %s has no column '%s'%s%s", j->table.path, words[i],
                            near ? "; did you mean " : "", near ? near : "");
        }
        kept[column] = true;
    }
    return SOW_OK;
}

/* Words where most cells are numbers are mistakes; where most are words, the column is kept as it is. */
static sow_status is_measured(const job *j, int64_t c, bool *measured) {
    int64_t numbers = 0, words = 0, first = -1;
    double value;
    for (int64_t r = 0; r < j->table.rows; r++) {
        const char *cell = sow_table_cell(&j->table, r, c);
        if (is_missing(cell)) continue;
        char *end;
        value = strtod(cell, &end);
        if (*end == 0 && isfinite(value)) numbers++;
        else {
            if (first < 0) first = r;
            words++;
        }
    }
    *measured = numbers > 0 && words == 0;
    if (words == 0 || numbers <= words) return SOW_OK;
    sow_table_number(&j->table, first, c, &value);
    return sow_fail_in(SOW_E_FORMAT, "most of this column are numbers; --keep %lld leaves it out",
                       (long long)c + sow_flag(j->call, "one-based"));
}

static sow_status read_values(job *j) {
    const sow_table *t = &j->table;
    bool *kept, measured;
    SOW_TRY(sow_table_read(j->call->arena, sow_text(j->call, "table"), &j->table));
    SOW_TRY(SOW_NEW(j->call->arena, kept, t->columns));
    SOW_TRY(SOW_NEW(j->call->arena, j->numeric, t->columns));
    SOW_TRY(keep_columns(j, kept));
    for (int64_t c = 0; c < t->columns; c++) {
        if (kept[c]) continue;
        SOW_TRY(is_measured(j, c, &measured));
        if (measured) j->numeric[j->count++] = c;
        else
            sow_note("column %s is kept as it is: no numbers",
                     t->names ? t->names[c] : sow_arena_format(j->call->arena, "%lld", (long long)c));
    }
    if (j->count < 2)
        return sow_fail(SOW_E_SHAPE, "%s: %lld columns of numbers, at least 2 are needed", t->path,
                        (long long)j->count);
    SOW_TRY(SOW_NEW(j->call->arena, j->values, t->rows * j->count));
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t i = 0; i < j->count; i++) {
            double *value = &j->values[r * j->count + i];
            if (is_missing(sow_table_cell(t, r, j->numeric[i]))) *value = NAN, j->missing++;
            else SOW_TRY(sow_table_number(t, r, j->numeric[i], value));
        }
    return j->missing > 0
               ? SOW_OK
               : sow_fail(SOW_E_RANGE, "%s: no cell is empty (nor NA, NaN, ?): there is nothing to fill", t->path);
}

/* ---- the filled table ---- */

static void write_cell(sow_writer *writer, const char *cell) {
    if (!strpbrk(cell, ",\"\n\r") && cell[0] != ' ') {
        sow_writer_put(writer, cell, strlen(cell));
        return;
    }
    sow_writer_put(writer, "\"", 1);
    for (const char *c = cell; *c; c++) {
        if (*c == '"') sow_writer_put(writer, "\"", 1);
        sow_writer_put(writer, c, 1);
    }
    sow_writer_put(writer, "\"", 1);
}

static sow_status write_table(const job *j, const double *filled) {
    const sow_table *t = &j->table;
    sow_writer *writer;
    int64_t *place;
    SOW_TRY(SOW_NEW(j->call->arena, place, t->columns));
    for (int64_t i = 0; i < j->count; i++) place[j->numeric[i]] = i + 1;
    SOW_TRY(sow_writer_open(sow_text(j->call, "out"), &writer));
    for (int64_t c = 0; t->names && c < t->columns; c++) {
        if (c > 0) sow_writer_put(writer, ",", 1);
        write_cell(writer, t->names[c]);
    }
    if (t->names) sow_writer_put(writer, "\n", 1);
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t c = 0; c < t->columns; c++) {
            if (place[c] && isnan(j->values[r * j->count + place[c] - 1]))
                sow_writer_printf(writer, "%.6g", filled[r * j->count + place[c] - 1]);
            else write_cell(writer, sow_table_cell(t, r, c));
            sow_writer_put(writer, c == t->columns - 1 ? "\n" : ",", 1);
        }
    return sow_writer_commit(writer);
}

/* ---- the result ---- */

static sow_status report_columns(const job *j, const sow_complete_result *r) {
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(j->call->result, "columns", rows));
    for (int64_t i = 0; i < j->count; i++) {
        int64_t missing = 0;
        for (int64_t k = 0; k < j->table.rows; k++) missing += isnan(j->values[k * j->count + i]);
        const char *name = j->table.names ? j->table.names[j->numeric[i]]
                                          : sow_arena_format(j->call->arena, "%lld", (long long)j->numeric[i]);
        json_t *row = json_pack("{s:s, s:I, s:o}", "column", name, "filled", (json_int_t)missing, "held_out_error",
                                sow_json_real(r->column_error[i]));
        if (json_array_append_new(rows, row))
            return sow_fail(SOW_E_FORMAT, "%s: a column's name is not UTF-8", j->table.path);
    }
    return SOW_OK;
}

static sow_status report_tried(const job *j, const sow_complete_result *r) {
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(j->call->result, "ranks", rows));
    for (int i = 0; i < r->tried_count; i++)
        SOW_TRY(sow_append_json(rows, json_pack("{s:I, s:I, s:f}", "rank", (json_int_t)r->tried[i].rank, "steps",
                                                (json_int_t)r->tried[i].steps, "error_by_folds", r->tried[i].error)));
    return SOW_OK;
}

static sow_status report(const job *j, const sow_complete_result *r) {
    sow_call *call = j->call;
    const char *meaning = r->rank == 0
                              ? "wrong tool: no factors predict held-out cells better than offsets; filled with offsets"
                          : r->test_error >= 0.98 * r->test_means
                              ? "no better than column means on held-out cells: do not trust the filled values"
                              : "factors predict held-out cells better than column means";
    if (isnan(r->test_means)) meaning = "errors are in units of each column's root mean square: 1 is as bad as zeros";
    SOW_TRY(sow_put_count(call->result, "rows", j->table.rows));
    SOW_TRY(sow_put_count(call->result, "measured_columns", j->count));
    SOW_TRY(sow_put_count(call->result, "observed", r->observed));
    SOW_TRY(sow_put_count(call->result, "filled", j->missing));
    SOW_TRY(sow_put_count(call->result, "rank", r->rank));
    SOW_TRY(sow_put_count(call->result, "steps", r->steps));
    SOW_TRY(sow_put_real(call->result, "held_out_error", r->test_error));
    SOW_TRY(sow_put_real(call->result, "held_out_error_of_offsets", r->test_offsets));
    SOW_TRY(sow_put_real(call->result, "held_out_error_of_column_means", r->test_means));
    SOW_TRY(sow_put_text(call->result, "meaning", meaning));
    SOW_TRY(report_tried(j, r));
    return report_columns(j, r);
}

sow_status matrix_gd_complete(sow_call *call) {
    job j = {.call = call};
    sow_complete_result result;
    const char *offsets = sow_text(call, "offsets");
    sow_complete_config config = sow_complete_defaults();
    SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    SOW_TRY(read_values(&j));
    config.rank = sow_given(call, "rank") ? sow_int(call, "rank") : -1;
    config.non_negative = sow_flag(call, "non-negative");
    config.no_rows = strcmp(offsets, "columns") == 0 || strcmp(offsets, "none") == 0;
    config.no_columns = strcmp(offsets, "rows") == 0 || strcmp(offsets, "none") == 0;
    config.holdout = sow_real(call, "holdout");
    config.folds = (int)sow_int(call, "folds");
    config.alpha = sow_real(call, "alpha");
    config.ratio = sow_real(call, "ratio");
    config.lr = sow_real(call, "lr");
    config.steps = sow_int(call, "steps");
    config.seed = (uint64_t)sow_int(call, "seed");
    sow_status status = sow_complete(j.values, j.table.rows, j.count, &config, call->arena, &result);
    if (status) return sow_fail_in(status, "%s", j.table.path);
    for (int64_t i = 0; i < j.table.rows * j.count && config.non_negative; i++)
        if (result.filled[i] < 0) result.filled[i] = 0; /* rounding */
    SOW_TRY(write_table(&j, result.filled));
    SOW_TRY(report(&j, &result));
    return sow_wrote(call, sow_text(call, "out"));
}
