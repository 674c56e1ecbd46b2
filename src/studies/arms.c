/* Arms that are command lines: their cells, and what is read from them. */
#include "studies/arms.h"

#include <string.h>

#include "sow/file.h"
#include "sow/json.h"

enum { RESULT_BYTES = 1 << 20, A_DAY = 86400 };

typedef struct trial {
    sow_study_call *call;
    const study_plan *plan;
    const char *program, *folder, *absolute; /* folder: of this plan, as given and resolved */
    sow_cell *cells;
    int cell_count, per_seed; /* cells of a seed: the base, if there is one, and the arms */
} trial;
enum { BASE_ARM = -1 };

static const char *result_path(const trial *t, sow_arena *arena, const sow_cell *cell) {
    return sow_arena_format(arena, "%s/seed-%llu/%s.json", t->absolute, (unsigned long long)cell->seed, cell->stage);
}

/* Beside the base cell's own folder. */
static const char *base_path(const trial *t, sow_arena *arena, uint64_t seed) {
    return sow_arena_format(arena, "%s/seed-%llu/base-output", t->absolute, (unsigned long long)seed);
}

static sow_status plan_cell(trial *t, uint64_t seed, int arm, const int *base) {
    sow_arena *arena = t->call->arena;
    const char *stage = arm == BASE_ARM ? "base" : sow_arena_format(arena, "arm-%03d", arm);
    sow_cell *cell = &t->cells[t->cell_count++];
    *cell = (sow_cell){
        .stage = stage, .arm = arm == BASE_ARM ? 0 : arm, .seed = seed, .needs = base, .need_count = base != NULL};
    if (stage) cell->folder = sow_arena_format(arena, "%s/seed-%llu/%s", t->folder, (unsigned long long)seed, stage);
    return cell->folder ? SOW_OK : SOW_E_MEMORY;
}

static sow_status plan_cells(trial *t) {
    t->per_seed = t->plan->arm_count + (t->plan->base != NULL);
    SOW_TRY(SOW_NEW(t->call->arena, t->cells, t->per_seed * t->call->seed_count));
    for (int s = 0; s < t->call->seed_count; s++) {
        int *base = NULL;
        if (t->plan->base) {
            SOW_TRY(SOW_NEW(t->call->arena, base, 1));
            *base = t->cell_count;
            SOW_TRY(plan_cell(t, t->call->seeds[s], BASE_ARM, NULL));
        }
        for (int a = 0; a < t->plan->arm_count; a++) SOW_TRY(plan_cell(t, t->call->seeds[s], a, base));
    }
    return SOW_OK;
}

/* "": none. */
static const char *data_of(const trial *t) {
    const char *data = t->plan->data ? t->plan->data : t->call->data;
    return data ? data : "";
}

static bool is_base(const sow_cell *cell) {
    return strcmp(cell->stage, "base") == 0;
}

static sow_status command_of(void *user, sow_arena *arena, const sow_cell *cell, char **command) {
    const trial *t = user;
    const study_plan *plan = t->plan;
    bool base = is_base(cell);
    char *line = sow_arena_format(
        arena, "exec {program} %s simulate %s %s --seed={seed} --threads=1 --quiet --force --out={out}", plan->method,
        base ? plan->base : plan->common, base ? "" : plan->arms[cell->arm].options);
    char *seed = sow_arena_format(arena, "%llu", (unsigned long long)cell->seed);
    const char *base_out = base_path(t, arena, cell->seed), *out = base ? base_out : result_path(t, arena, cell);
    if (!line || !seed || !out || !base_out) return SOW_E_MEMORY;
    const sow_variable variables[] = {
        {"program", t->program}, {"seed", seed}, {"out", out}, {"base", base_out}, {"data", data_of(t)}};
    return sow_expand(arena, line, variables, 5, command);
}

static sow_status score_cell(const trial *t, const sow_cell *cell) {
    sow_arena *arena = t->call->arena;
    const char *path = result_path(t, arena, cell);
    char *text;
    size_t size;
    json_error_t error;
    if (is_base(cell)) return SOW_OK;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_read_file(arena, path, RESULT_BYTES, &text, &size));
    json_t *result = json_loads(text, 0, &error);
    if (!result) return sow_fail(SOW_E_FORMAT, "%s: line %d: %s", path, error.line, error.text);
    sow_status status = SOW_OK;
    for (const study_metric *m = t->plan->metrics; m->key && !status; m++) {
        const json_t *value = json_object_get(result, m->key);
        if (json_is_number(value))
            status = sow_study_score(t->call, t->plan->arms[cell->arm].name, m->name, cell->seed,
                                     json_number_value(value));
    }
    json_decref(result);
    return status;
}

/* The plan says what determines the numbers; the folder belongs to it alone. */
static sow_status open_store(const trial *t, sow_store **store) {
    json_t *seeds = json_array(), *arms = json_array();
    json_t *plan = json_pack("{s:s, s:i, s:i, s:s, s:s, s:o, s:o, s:s}", "study", t->plan->study, "version", 1, "scale",
                             (int)t->call->scale, "common", t->plan->common, "base", t->plan->base ? t->plan->base : "",
                             "seeds", seeds, "arms", arms, "data", data_of(t));
    char *text;
    for (int s = 0; s < t->call->seed_count; s++)
        json_array_append_new(seeds, json_integer((json_int_t)t->call->seeds[s]));
    for (int a = 0; a < t->plan->arm_count; a++) json_array_append_new(arms, json_string(t->plan->arms[a].options));
    sow_status status = plan ? sow_json_text(t->call->arena, plan, SOW_JSON_SORTED, &text)
                             : sow_fail(SOW_E_MEMORY, "out of memory");
    if (!status) status = sow_store_open(t->folder, text, store);
    json_decref(plan);
    return status;
}

static sow_status run_cells(trial *t, sow_store *store) {
    sow_runner runner = {.command = command_of,
                         .user = t,
                         .slots = t->call->slots,
                         .threads = 1,
                         .limits = {.start_seconds = A_DAY, .silent_seconds = A_DAY}, /* simulations print nothing */
                         .what = t->plan->study};
    SOW_TRY(sow_run_cells(store, &runner, t->cells, t->cell_count));
    for (int i = 0; i < t->cell_count; i++) SOW_TRY(score_cell(t, &t->cells[i]));
    return SOW_OK;
}

sow_status study_run_arms(sow_study_call *call, const study_plan *plan) {
    trial t = {.call = call, .plan = plan};
    sow_store *store;
    t.folder = plan->part ? sow_path_join(call->arena, call->folder, plan->part) : call->folder;
    if (!t.folder) return SOW_E_MEMORY;
    SOW_TRY(sow_make_folder(t.folder));
    SOW_TRY(sow_path_absolute(call->arena, t.folder, &t.absolute));
    SOW_TRY(sow_own_program(call->arena, &t.program));
    SOW_TRY(plan_cells(&t));
    SOW_TRY(open_store(&t, &store));
    sow_status status = run_cells(&t, store);
    sow_store_close(store);
    return status;
}

sow_status study_search_arms(const sow_study_call *call, const study_plan *plan, const uint64_t *seeds, int seed_count,
                             sow_study_call *scored) {
    *scored = *call;
    scored->seeds = seeds, scored->seed_count = seed_count;
    scored->scores = NULL, scored->score_count = 0;
    return study_run_arms(scored, plan);
}
