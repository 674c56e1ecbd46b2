/* sow report: what came of a race or a study, as a page, a table, or TensorBoard files. */
#include "cli/report.h"

#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/prove.h"

enum { VERDICT_MAX = 64 << 20, NAME_MAX_LENGTH = 80 };

/* What is reported: a race has an outcome, a study a verdict. */
typedef struct report {
    sow_call *call;
    const char *folder;
    sow_outcome *race;
    json_t *study;
} report;

/* ---- reading ---- */

/* The folder itself, or PLAN.sow beside PLAN.json. */
static sow_status find_folder(sow_call *call, const char *path, const char **folder) {
    size_t length = strlen(path);
    *folder = path;
    if (sow_is_folder(path)) return SOW_OK;
    if (length > 5 && strcmp(path + length - 5, ".json") == 0) length -= 5;
    *folder = sow_arena_format(call->arena, "%.*s.sow", (int)length, path);
    if (!*folder) return SOW_E_MEMORY;
    if (sow_is_folder(*folder)) return SOW_OK;
    if (!sow_path_exists(path)) return sow_fail(SOW_E_NOT_FOUND, "%s: no such file or folder", path);
    return sow_fail(SOW_E_NOT_FOUND, "%s: has not been run yet: there is no folder %s; `sow prove %s` makes it", path,
                    *folder, path);
}

static sow_status read_study(report *r, const char *path) {
    char *text;
    size_t size;
    json_error_t error;
    SOW_TRY(sow_read_file(r->call->arena, path, VERDICT_MAX, &text, &size));
    r->study = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!r->study) return sow_fail(SOW_E_FORMAT, "%s: line %d: %s", path, error.line, error.text);
    if (json_is_string(json_object_get(r->study, "study")) && json_is_string(json_object_get(r->study, "verdict")) &&
        json_is_array(json_object_get(r->study, "clauses")) && json_is_array(json_object_get(r->study, "arms")))
        return SOW_OK;
    return sow_fail(SOW_E_FORMAT, "%s: not a study's verdict: expected study, verdict, clauses and arms", path);
}

static sow_status read_all(report *r) {
    const char *path = sow_text(r->call, "plan");
    SOW_TRY(find_folder(r->call, path, &r->folder));
    char *verdict = sow_path_join(r->call->arena, r->folder, "verdict.json");
    char *plan = sow_path_join(r->call->arena, r->folder, "plan.json");
    if (!verdict || !plan) return SOW_E_MEMORY;
    if (sow_path_exists(plan)) return sow_outcome_read(r->call->arena, r->folder, &r->race);
    if (sow_path_exists(verdict)) return read_study(r, verdict);
    return sow_fail(
        SOW_E_NOT_FOUND,
        "%s: neither a race (plan.json) nor a study that has ended (verdict.json); `sow prove` and `sow study` "
        "make them",
        r->folder);
}

/* ---- tables ---- */

/* Text to stdout, or to --out. */
static sow_status give_text(report *r, const char *text) {
    const char *path = sow_text(r->call, "out");
    if (!path) return sow_put_text(r->call->result, "text", text);
    SOW_TRY(sow_check_output(r->call, path));
    SOW_TRY(sow_write_file(path, text, strlen(text)));
    return sow_wrote(r->call, path);
}

typedef struct curves_file {
    report *report;
    sow_writer *writer;
} curves_file;

static const char *arm_name(const report *r, const sow_cell_row *cell) {
    if (r->race && cell->arm >= 0 && cell->arm < r->race->plan->arm_count) return r->race->plan->arms[cell->arm].name;
    return NULL;
}

static void put_quoted(sow_writer *writer, const char *text) {
    sow_writer_put(writer, "\"", 1);
    for (; *text; text++) sow_writer_put(writer, *text == '"' ? "\"\"" : text, *text == '"' ? 2 : 1);
    sow_writer_put(writer, "\",", 2);
}

static sow_status put_curve(void *user, const sow_cell_row *cell, const sow_record *records, int64_t count) {
    curves_file *file = user;
    char number[SOW_REAL_TEXT], index[24];
    const char *name = arm_name(file->report, cell);
    snprintf(index, sizeof index, "%d", cell->arm);
    for (int64_t i = 0; i < count; i++) {
        put_quoted(file->writer, cell->stage);
        put_quoted(file->writer, name ? name : index);
        sow_writer_printf(file->writer, "%llu,", (unsigned long long)cell->seed);
        put_quoted(file->writer, records[i].metric);
        SOW_TRY(sow_writer_printf(file->writer, "%lld,%s\n", (long long)records[i].step,
                                  sow_real_text(records[i].value, number)));
    }
    return SOW_OK;
}

/* Beside X.csv: every record of every cell that is done, as X.curves.csv. */
static sow_status write_curves(report *r, const char *path) {
    size_t length = strlen(path);
    if (length > 4 && strcmp(path + length - 4, ".csv") == 0) length -= 4;
    char *curves = sow_arena_format(r->call->arena, "%.*s.curves.csv", (int)length, path);
    curves_file file = {.report = r};
    if (!curves) return SOW_E_MEMORY;
    SOW_TRY(sow_check_output(r->call, curves));
    SOW_TRY(sow_writer_open(curves, &file.writer));
    sow_writer_printf(file.writer, "stage,arm,seed,metric,step,value\n");
    sow_status status = sow_visit_curves(r->folder, put_curve, &file);
    if (status) {
        sow_writer_abort(file.writer);
        return status;
    }
    SOW_TRY(sow_writer_commit(file.writer));
    return sow_wrote(r->call, curves);
}

/* A row a training that has ended by itself: those that were not needed are no failures. */
static void keep_ended(json_t *rows) {
    for (size_t i = json_array_size(rows); i-- > 0;) {
        const char *state = json_string_value(json_object_get(json_array_get(rows, i), "state"));
        bool ended = state && (!strcmp(state, "done") || !strcmp(state, "failed") || !strcmp(state, "diverged"));
        if (!ended) json_array_remove(rows, i);
    }
}

static sow_status make_table(report *r, sow_table_style style) {
    json_t *rows = NULL;
    const char *text, *path = sow_text(r->call, "out");
    sow_status status = SOW_OK;
    if (r->study) rows = json_incref(json_object_get(r->study, "arms"));
    else if (style == SOW_TABLE_CSV) status = sow_outcome_cells(r->call->arena, r->race, r->folder, &rows);
    else status = sow_outcome_table(r->race, &rows);
    if (!status && r->race && style == SOW_TABLE_CSV) keep_ended(rows);
    if (!status) status = sow_table_format(r->call->arena, rows, style, &text);
    json_decref(rows);
    SOW_TRY(status);
    SOW_TRY(give_text(r, text));
    return style == SOW_TABLE_CSV && path ? write_curves(r, path) : SOW_OK;
}

/* ---- TensorBoard ---- */

/* A name as part of a path: other letters become underscores, and a number keeps names apart. */
static char *path_part(sow_arena *arena, const char *name, int number) {
    char *part = sow_arena_format(arena, "%02d-%.*s", number, NAME_MAX_LENGTH, name);
    for (char *c = part; c && *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *c)) *c = '_';
    return part;
}

typedef struct board {
    report *report;
    const char *folder;
    int files;
} board;

static sow_status put_events(void *user, const sow_cell_row *cell, const sow_record *records, int64_t count) {
    board *b = user;
    sow_arena *arena;
    sow_events *events = NULL;
    const char *name = arm_name(b->report, cell);
    SOW_TRY(sow_arena_new(&arena));
    bool is_race = strcmp(cell->stage, "race") == 0;
    char *part = path_part(arena, name ? name : cell->stage, cell->arm);
    char *stage = is_race || !name ? sow_arena_copy(arena, "") : path_part(arena, cell->stage, 0);
    char *path = part && stage ? sow_arena_format(arena, "%s/%s%s%s/seed-%llu", b->folder, part, *stage ? "/" : "",
                                                  stage, (unsigned long long)cell->seed)
                               : NULL;
    sow_status status = path ? sow_events_open(path, &events) : SOW_E_MEMORY;
    for (int64_t i = 0; !status && i < count; i++)
        status = sow_events_scalar(events, records[i].metric, records[i].step, records[i].value);
    sow_status closed = sow_events_close(events);
    sow_arena_free(arena);
    b->files++;
    return status ? status : closed;
}

static sow_status make_board(report *r, const char *folder) {
    board b = {.report = r, .folder = folder};
    SOW_TRY(sow_check_output(r->call, folder));
    SOW_TRY(sow_visit_curves(r->folder, put_events, &b));
    if (b.files == 0)
        return sow_fail(SOW_E_NOT_FOUND, "%s: no training is done yet: nothing for TensorBoard", r->folder);
    SOW_TRY(sow_put_count(r->call->result, "event_files", b.files));
    SOW_TRY(sow_put_format(r->call->result, "next", "tensorboard --logdir %s", folder));
    return sow_wrote(r->call, folder);
}

/* ---- the page ---- */

static sow_status make_page(report *r) {
    sow_arena *arena = r->call->arena;
    sow_page *page;
    const char *out = sow_text(r->call, "out");
    char *path = out ? sow_arena_copy(arena, out) : sow_path_join(arena, r->folder, "report.html");
    const char *title = r->race ? sow_arena_format(arena, "Race %s", r->race->plan->name)
                                : sow_arena_format(arena, "Study %s",
                                                   json_string_value(json_object_get(r->study, "study")));
    if (!path || !title) return SOW_E_MEMORY;
    SOW_TRY(sow_check_output(r->call, path));
    SOW_TRY(sow_page_new(arena, title, &page));
    if (sow_flag(r->call, "static")) sow_page_static(page);
    sow_status status = r->race ? sow_outcome_page(arena, r->race, r->folder, page)
                                : report_study_page(arena, r->study, r->folder, page);
    if (status) return sow_fail_in(status, "%s", r->folder);
    SOW_TRY(sow_page_write(page, path));
    return sow_wrote(r->call, path);
}

static sow_status give_json(report *r) {
    json_t *all = json_incref(r->study);
    if (r->race) SOW_TRY(sow_outcome_json(r->call->arena, r->race, &all));
    int failed = json_object_update(r->call->result, all);
    json_decref(all);
    return failed ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

static sow_status make_all(report *r) {
    sow_call *call = r->call;
    bool markdown = sow_flag(call, "markdown"), latex = sow_flag(call, "latex"), csv = sow_flag(call, "csv");
    const char *board_folder = sow_text(call, "tensorboard");
    if (call->json) SOW_TRY(give_json(r));
    if (markdown) SOW_TRY(make_table(r, SOW_TABLE_MARKDOWN));
    if (latex) SOW_TRY(make_table(r, SOW_TABLE_LATEX));
    if (csv) SOW_TRY(make_table(r, SOW_TABLE_CSV));
    if (board_folder) SOW_TRY(make_board(r, board_folder));
    bool wants_page = !markdown && !latex && !csv && (sow_text(call, "out") || (!call->json && !board_folder));
    return wants_page ? make_page(r) : SOW_OK;
}

static sow_status run_report(sow_call *call) {
    report r = {.call = call};
    if (sow_flag(call, "markdown") + sow_flag(call, "latex") + sow_flag(call, "csv") > 1)
        return sow_fail(SOW_E_ARGUMENT, "--markdown, --latex and --csv exclude each other");
    sow_status status = read_all(&r);
    if (!status) status = make_all(&r);
    json_decref(r.study);
    return status;
}

static const sow_option options[] = {
    SOW_OPTION_FILE("plan", "plan of a race, or the folder of a race or a study"),
    SOW_OPTION_OUTPUT_OR("the page; default report.html in the folder; with --markdown, --latex or --csv the table"),
    SOW_OPTION_FLAG("markdown", "a table of the arms as Markdown instead"),
    SOW_OPTION_FLAG("latex", "a table of the arms as LaTeX instead"),
    SOW_OPTION_FLAG("csv",
                    "a row a training, for sow stats and spreadsheets; with -o X.csv all curves too, as X.curves.csv"),
    {"tensorboard", 0, SOW_TYPE_OUTPUT, NULL, 0, 0, NULL, NULL, "a folder of TensorBoard event files, one a training",
     SOW_OPTION_NO_PASSPORT},
    SOW_OPTION_FLAG("static", "a page without script: the plots are pictures"),
    SOW_OPTION_FORCE,
    {0},
};

static const sow_action actions[] = {
    {"report", "show what came of a race or a study", options, run_report, "sow report plan.json -o report.html", 0},
    {0},
};

const sow_method sow_verb_report = {
    .name = "report",
    .family = "commands",
    .summary = "a page with plots and tables of a race or a study; Markdown, LaTeX, CSV, TensorBoard",
    .actions = actions,
};
