/* sow ppp assign: labels of new rows. */
#include <string.h>

#include "formats/json.h"
#include "sow/json.h"
#include "starts/groups/ppp/job.h"
#include "starts/groups/ppp/output.h"

/* The names of the columns that the model was made of: NULL-terminated, NULL where it knows none. */
static sow_status model_columns(sow_arena *arena, const char *folder, int64_t inputs, const char *const **out) {
    const char *path = sow_path_join(arena, folder, "tree.json"), **names;
    char *text;
    size_t size;
    json_t *tree;
    *out = NULL;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_read_file(arena, path, (size_t)1 << 28, &text, &size));
    SOW_TRY(sow_json_parse(path, text, size, (sow_json_limits){.depth = 16}, &tree));
    const json_t *columns = json_object_get(tree, "columns");
    sow_status status = SOW_OK;
    if (json_array_size(columns) > 0) {
        if ((int64_t)json_array_size(columns) != inputs)
            status = sow_fail(SOW_E_FORMAT, "%s: %zu column names for %lld columns", path, json_array_size(columns),
                              (long long)inputs);
        if (status == SOW_OK) status = SOW_NEW(arena, names, inputs + 1);
        for (int64_t i = 0; status == SOW_OK && i < inputs; i++) {
            const char *name = json_string_value(json_array_get(columns, (size_t)i));
            if (!name) status = sow_fail(SOW_E_FORMAT, "%s: a column name is no text", path);
            else if (!(names[i] = sow_arena_copy(arena, name))) status = SOW_E_MEMORY;
        }
        if (status == SOW_OK) *out = names;
    }
    json_decref(tree);
    return status;
}

static sow_status assign_rows(ppp_job *j) {
    sow_call *call = j->call;
    int32_t *labels;
    double *confidence, *mean;
    int64_t n = j->values.count, *sizes;
    SOW_TRY(SOW_NEW(call->arena, mean, j->values.width));
    SOW_TRY(SOW_NEW(call->arena, labels, n));
    SOW_TRY(SOW_NEW(call->arena, confidence, n));
    SOW_TRY(SOW_NEW(call->arena, sizes, j->model.clusters));
    bool nearest = !strcmp(sow_text(call, "assign"), "nearest");
    sow_status status = sow_rows_moments(&j->values, mean, NULL); /* every value is finite */
    if (status != SOW_OK) return sow_fail_in(status, "%s", j->input.path);
    SOW_TRY(sow_ppp_assign(&j->model, &j->rows, nearest, labels, confidence, NULL));
    for (int64_t i = 0; i < n; i++) sizes[labels[i]]++;
    SOW_TRY(ppp_write_labels(j->out, &j->input, labels, NULL, confidence));
    json_t *rows = json_array();
    for (int k = 0; k < j->model.clusters; k++)
        json_array_append_new(rows, json_pack("{s:i, s:I}", "cluster", k, "rows", (json_int_t)sizes[k]));
    SOW_TRY(sow_put_count(call->result, "rows", n));
    SOW_TRY(sow_put_json(call->result, "sizes", rows));
    return sow_wrote(call, j->out);
}

static sow_status assign(ppp_job *j) {
    sow_call *call = j->call;
    const char *folder = sow_text(call, "model"), *path = sow_path_join(call->arena, folder, "model.safetensors");
    ppp_input_options o = {.tensor = sow_text(call, "tensor"), .ids = sow_list(call, "id")};
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(ppp_find_out(j, ".labels.csv"));
    SOW_TRY(ppp_model_load(call->arena, path, &j->model, &j->view));
    SOW_TRY(model_columns(call->arena, folder, j->view.inputs, &o.wanted));
    SOW_TRY(ppp_input_open(call->arena, sow_text(call, "data"), &o, &j->input));
    if (j->input.values.shape[1] != j->view.inputs)
        return sow_fail(SOW_E_SHAPE, "%s: %lld columns of numbers, the model was made of %lld", j->input.path,
                        (long long)j->input.values.shape[1], (long long)j->view.inputs);
    if (j->input.values.shape[0] < 1) return sow_fail(SOW_E_SHAPE, "%s: no rows", j->input.path);
    SOW_TRY(sow_rows_of(j->input.values, &j->values));
    j->values.mapped = j->input.mapped;
    j->rows = ppp_view_of(&j->values, &j->view);
    return assign_rows(j);
}

sow_status ppp_run_assign(sow_call *call) {
    ppp_job j = {.call = call};
    sow_status status = assign(&j);
    ppp_input_close(&j.input);
    return status;
}
