/* Tables of numbers: CSV with headers and ids, .npy, word vectors, safetensors. */
#include "starts/groups/ppp/input.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sow/log.h"
#include "sow/npy.h"
#include "sow/table.h"
#include "sow/text.h"
#include "sow/vectors.h"

/* ---- CSV ---- */

enum { ID = -1, TRUTH = -2, VALUE = 0 }; /* what a column is for: VALUE + i is value number i */

static bool is_number(const char *cell) {
    char *end;
    strtod(cell, &end);
    return cell[0] && *end == 0;
}

/* A column by name, or by its number from 0. */
static sow_status find_column(const sow_table *t, const char *option, const char *name, int64_t *out) {
    char *end;
    *out = sow_table_column(t, name);
    if (*out >= 0) return SOW_OK;
    long long number = strtoll(name, &end, 10);
    if (name[0] && *end == 0 && number >= 0 && number < t->columns) {
        *out = number;
        return SOW_OK;
    }
    return sow_fail(strcmp(option, "model") ? SOW_E_ARGUMENT : SOW_E_FORMAT,
                    "%s: --%s: no column \"%s\", and no number below %" PRId64 "%s", t->path, option, name, t->columns,
                    t->names ? "" : " (the file has no header line)");
}

/* Text columns are ids: more than half of their first thousand cells are no numbers. */
static bool is_text(const sow_table *t, int64_t column) {
    int64_t seen = t->rows < 1000 ? t->rows : 1000, text = 0;
    for (int64_t r = 0; r < seen; r++) text += !is_number(sow_table_cell(t, r, column));
    return 2 * text > seen;
}

static sow_status choose_columns(const sow_table *t, const ppp_input_options *o, int *use) {
    int64_t column;
    for (int64_t c = 0; c < t->columns; c++) {
        use[c] = is_text(t, c) ? ID : VALUE;
        if (t->names && (!strcasecmp(t->names[c], "id") || !strcasecmp(t->names[c], "index"))) use[c] = ID;
    }
    for (int i = 0; o->wanted && i < t->columns; i++) use[i] = ID;
    for (int i = 0; o->wanted && o->wanted[i]; i++) {
        SOW_TRY(find_column(t, "model", o->wanted[i], &column));
        if (use[column] >= VALUE)
            return sow_fail(SOW_E_FORMAT, "%s: two columns of the model are \"%s\"", t->path, o->wanted[i]);
        use[column] = VALUE + i;
    }
    for (int i = 0; o->ids && o->ids[i]; i++) {
        SOW_TRY(find_column(t, "id", o->ids[i], &column));
        use[column] = ID;
    }
    if (o->truth) {
        SOW_TRY(find_column(t, "truth", o->truth, &column));
        use[column] = TRUTH;
    }
    for (int64_t c = 0, next = 0; !o->wanted && c < t->columns; c++)
        if (use[c] >= VALUE) use[c] = VALUE + (int)next++;
    return SOW_OK;
}

/* Classes by order of appearance. */
static sow_status read_truth(sow_arena *arena, const sow_table *t, int64_t column, ppp_input *out) {
    const char **names;
    int count = 0;
    SOW_TRY(SOW_NEW(arena, names, t->rows));
    SOW_TRY(SOW_NEW(arena, out->truth, t->rows));
    for (int64_t r = 0; r < t->rows; r++) {
        const char *cell = sow_table_cell(t, r, column);
        int k = 0;
        while (k < count && strcmp(names[k], cell) != 0) k++;
        if (k == count) {
            if (count == 10000)
                return sow_fail(SOW_E_FORMAT, "%s: column %" PRId64 " has more than 10,000 classes", t->path, column);
            names[count++] = cell;
        }
        out->truth[r] = k;
    }
    return SOW_OK;
}

static sow_status copy_columns(sow_arena *arena, const sow_table *t, const int *use, int64_t values, ppp_input *out) {
    double *numbers;
    int id = 0;
    SOW_TRY(SOW_NEW_RAW(arena, numbers, t->rows * values));
    SOW_TRY(SOW_NEW(arena, out->columns, values));
    SOW_TRY(SOW_NEW(arena, out->id_names, out->id_count + 1));
    SOW_TRY(SOW_NEW(arena, out->ids, t->rows * out->id_count + 1));
    for (int64_t c = 0; c < t->columns; c++) {
        const char *name = t->names ? t->names[c] : sow_arena_format(arena, "column_%" PRId64, c);
        if (!name) return SOW_E_MEMORY;
        if (use[c] >= VALUE) {
            double *column = numbers + (use[c] - VALUE);
            for (int64_t r = 0; r < t->rows; r++) SOW_TRY(sow_table_number(t, r, c, &column[r * values]));
            out->columns[use[c] - VALUE] = name;
            continue;
        }
        for (int64_t r = 0; r < t->rows; r++) out->ids[r * out->id_count + id] = sow_table_cell(t, r, c);
        out->id_names[id++] = name;
        if (use[c] != TRUTH) continue;
        out->truth_name = name;
        SOW_TRY(read_truth(arena, t, c, out));
    }
    out->values = SOW_TENSOR(numbers, SOW_F64, t->rows, values);
    if (!t->names) out->columns = NULL;
    return SOW_OK;
}

static sow_status read_csv(sow_arena *arena, const ppp_input_options *o, ppp_input *out) {
    sow_table t;
    int *use;
    int64_t values = 0;
    SOW_TRY(sow_table_read(arena, out->path, &t));
    if (t.rows == 0) return sow_fail(SOW_E_FORMAT, "%s: a header line and no rows", out->path);
    SOW_TRY(SOW_NEW(arena, use, t.columns));
    SOW_TRY(choose_columns(&t, o, use));
    for (int64_t c = 0; c < t.columns; c++) values += use[c] >= VALUE;
    out->id_count = (int)(t.columns - values);
    if (values == 0) return sow_fail(SOW_E_FORMAT, "%s: no column of numbers to group by", out->path);
    return copy_columns(arena, &t, use, values, out);
}

/* ---- arrays ---- */

static sow_status read_npy(sow_arena *arena, ppp_input *out) {
    sow_status status = sow_npy_map(out->path, &out->map, &out->values);
    out->mapped = status == SOW_OK;
    return status == SOW_E_UNSUPPORTED ? sow_npy_read(arena, out->path, &out->values) : status;
}

static sow_status read_vectors(sow_arena *arena, ppp_input *out) {
    sow_word_vectors v;
    SOW_TRY(sow_word_vectors_read(arena, out->path, &v));
    SOW_TRY(SOW_NEW(arena, out->id_names, 1));
    out->id_names[0] = "word";
    out->ids = v.words;
    out->id_count = 1;
    out->values = v.vectors;
    return SOW_OK;
}

static sow_status read_safetensors(const ppp_input_options *o, ppp_input *out) {
    const char *name, *found = NULL;
    SOW_TRY(sow_safetensors_open(out->path, &out->file));
    out->mapped = true;
    if (o->tensor) return sow_safetensors_find(out->file, o->tensor, &out->values);
    for (int64_t i = 0; i < sow_safetensors_count(out->file); i++) {
        sow_tensor t = sow_safetensors_tensor(out->file, i, &name);
        if (t.rank != 2) continue;
        if (found)
            return sow_fail(SOW_E_ARGUMENT, "%s: several matrices, such as %s and %s: say which one by --tensor",
                            out->path, found, name);
        found = name;
        out->values = t;
    }
    return found ? SOW_OK : sow_fail(SOW_E_FORMAT, "%s: no tensor with two dimensions", out->path);
}

sow_status ppp_input_open(sow_arena *arena, const char *path, const ppp_input_options *o, ppp_input *out) {
    *out = (ppp_input){.path = path};
    bool npy = sow_ends_with_any_case(path, ".npy"), vec = sow_ends_with_any_case(path, ".vec"),
         st = sow_ends_with_any_case(path, ".safetensors");
    if ((npy || vec || st) && (o->truth || (o->ids && o->ids[0])))
        return sow_fail(SOW_E_ARGUMENT, "--id and --truth name columns of a CSV; %s has none", path);
    if (npy) SOW_TRY(read_npy(arena, out));
    else if (vec) SOW_TRY(read_vectors(arena, out));
    else if (st) SOW_TRY(read_safetensors(o, out));
    else SOW_TRY(read_csv(arena, o, out));
    if (out->values.rank == 1)
        out->values = (sow_tensor){.data = out->values.data,
                                   .dtype = out->values.dtype,
                                   .rank = 2,
                                   .shape = {out->values.shape[0], 1},
                                   .stride = {out->values.stride[0], 1}};
    sow_rows rows;
    sow_status status = sow_rows_of(out->values, &rows);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "%s", path);
}

void ppp_input_close(ppp_input *input) {
    sow_map_close(&input->map);
    sow_safetensors_close(input->file);
}
