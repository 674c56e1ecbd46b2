/* Scores of a seed, kept in a file. */
#include "studies/seeds.h"

#include <inttypes.h>
#include <string.h>

#include "formats/json.h"
#include "sow/file.h"
#include "sow/json.h"

static const size_t bytes_max = (size_t)1 << 24;

/* The scores that the call has from number `first` on. */
static sow_status save(const sow_study_call *call, int64_t first, const char *plan, const char *path) {
    json_t *rows = json_array(), *all = json_pack("{s:s, s:o}", "plan", plan, "scores", rows);
    char *text;
    for (int64_t i = first; all && i < call->score_count; i++) {
        const sow_score *s = &call->scores[i];
        json_array_append_new(rows,
                              json_pack("{s:s, s:s, s:f}", "arm", s->arm, "metric", s->metric, "value", s->value));
    }
    sow_status status = all && (int64_t)json_array_size(rows) == call->score_count - first
                            ? sow_json_text(call->arena, all, SOW_JSON_PRETTY, &text)
                            : sow_fail(SOW_E_MEMORY, "out of memory");
    json_decref(all);
    return status == SOW_OK ? sow_write_file(path, text, strlen(text)) : status;
}

static sow_status take(sow_study_call *call, uint64_t seed, const char *path, const char *plan, const json_t *all) {
    const char *made_for = json_string_value(json_object_get(all, "plan"));
    const json_t *rows = json_object_get(all, "scores"), *row;
    size_t i;
    if (!made_for || !json_is_array(rows)) return sow_fail(SOW_E_FORMAT, "%s: holds no scores of a seed", path);
    if (strcmp(made_for, plan) != 0)
        return sow_fail(SOW_E_EXISTS, "%s: belongs to \"%s\", this is \"%s\"; choose another folder", path, made_for,
                        plan);
    json_array_foreach(rows, i, row) {
        const char *arm = json_string_value(json_object_get(row, "arm")),
                   *metric = json_string_value(json_object_get(row, "metric"));
        const json_t *value = json_object_get(row, "value");
        if (!arm || !metric || !json_is_number(value))
            return sow_fail(SOW_E_FORMAT, "%s: row %zu is no score", path, i);
        if (!(arm = sow_arena_copy(call->arena, arm)) || !(metric = sow_arena_copy(call->arena, metric)))
            return SOW_E_MEMORY;
        SOW_TRY(sow_study_score(call, arm, metric, seed, json_number_value(value)));
    }
    return SOW_OK;
}

static sow_status load(sow_study_call *call, uint64_t seed, const char *plan, const char *path) {
    char *text;
    size_t size;
    json_t *all;
    SOW_TRY(sow_read_file(call->arena, path, bytes_max, &text, &size));
    SOW_TRY(sow_json_parse(path, text, size, (sow_json_limits){.depth = 4}, &all));
    sow_status status = take(call, seed, path, plan, all);
    json_decref(all);
    return status;
}

sow_status study_seed(sow_study_call *call, uint64_t seed, const char *plan,
                      sow_status (*compute)(sow_study_call *call, uint64_t seed, void *user), void *user) {
    const char *path = sow_arena_format(call->arena, "%s/seed-%" PRIu64 ".json", call->folder, seed);
    int64_t first = call->score_count;
    if (!path) return SOW_E_MEMORY;
    if (call->resume && sow_path_exists(path)) return load(call, seed, plan, path);
    SOW_TRY(compute(call, seed, user));
    return save(call, first, plan, path);
}
