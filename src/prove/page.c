/* The report of a race: sentences, plots and tables (PROVE.md, section 5). */
#include "prove/page.h"
#include "sow/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As many digits as a reader compares. */
static json_t *rounded(double value, int digits) {
    char text[32];
    snprintf(text, sizeof text, "%.*g", digits, value);
    return isfinite(value) ? json_real(strtod(text, NULL)) : json_null();
}

static const char *const state_names[] = {"pending", "running", "done", "diverged", "failed", "stopped"};

/* ---- tables ---- */

sow_status sow_outcome_table(const sow_outcome *o, json_t **rows) {
    *rows = json_array();
    for (int a = 0; *rows && a < o->plan->arm_count; a++) {
        const sow_standing *s = &o->standings[a];
        json_t *row = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:s}", "arm", o->plan->arms[a].name,
                                "mean", rounded(s->mean, 4), "sd", rounded(s->sd, 4), "IQM", rounded(s->iqm, 4),
                                "effect", rounded(s->effect, 4), "low", rounded(s->low, 4), "high", rounded(s->high, 4),
                                "p", rounded(s->p, 2), "n", s->n, "failures", s->failures, "verdict",
                                a == o->plan->reference ? "reference" : s->verdict);
        if (row && strcmp(s->verdict, "confirmed") == 0) json_object_set_new(row, "_bold", json_true());
        if (json_array_append_new(*rows, row)) {
            json_decref(*rows);
            *rows = NULL;
        }
    }
    return *rows ? SOW_OK : sow_fail(SOW_E_MEMORY, "out of memory");
}

static json_t *cell_row(const sow_outcome *o, const sow_cell_row *c) {
    const char *arm = c->arm >= 0 && c->arm < o->plan->arm_count ? o->plan->arms[c->arm].name : "";
    json_t *row = json_pack("{s:s, s:I, s:o, s:o, s:s, s:s, s:i, s:o, s:o}", "arm", arm, "seed", (json_int_t)c->seed,
                            "score", sow_json_real(c->score), "test", sow_json_real(c->test), "state",
                            state_names[c->state], "stage", c->stage, "attempt", c->attempt, "steps",
                            c->steps >= 0 ? json_integer(c->steps) : json_null(), "seconds", sow_json_real(c->seconds));
    return row;
}

sow_status sow_outcome_cells(sow_arena *arena, const sow_outcome *o, const char *folder, json_t **rows) {
    sow_store *store;
    sow_cell_row *cells;
    int64_t count;
    SOW_TRY(sow_store_view(folder, &store));
    sow_status status = sow_store_cells(store, arena, &cells, &count);
    *rows = json_array();
    for (int64_t i = 0; !status && i < count; i++)
        if (json_array_append_new(*rows, cell_row(o, &cells[i]))) status = sow_fail(SOW_E_MEMORY, "out of memory");
    sow_store_close(store);
    if (!status) return SOW_OK;
    json_decref(*rows);
    *rows = NULL;
    return status;
}

/* ---- curves ---- */

static sow_status visit_one(sow_store *store, sow_arena *scratch, const sow_cell_row *row, sow_curve_visit visit,
                            void *user) {
    const sow_cell cell = {
        .stage = row->stage, .arm = row->arm, .seed = row->seed, .attempt = row->attempt, .state = row->state};
    sow_record *records;
    int64_t count;
    sow_mark mark = sow_arena_mark(scratch);
    SOW_TRY(sow_store_curve(store, scratch, &cell, &records, &count));
    SOW_TRY(visit(user, row, records, count));
    sow_arena_release(scratch, mark);
    return SOW_OK;
}

sow_status sow_visit_curves(const char *folder, sow_curve_visit visit, void *user) {
    sow_store *store = NULL;
    sow_arena *scratch;
    sow_cell_row *cells;
    int64_t count = 0;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = sow_store_view(folder, &store);
    if (!status) status = sow_store_cells(store, scratch, &cells, &count);
    for (int64_t i = 0; !status && i < count; i++)
        if (cells[i].state == SOW_CELL_DONE) status = visit_one(store, scratch, &cells[i], visit, user);
    sow_store_close(store);
    sow_arena_free(scratch);
    return status;
}

/* Keeps the metric of the race's cells. */
static sow_status keep_curve(void *user, const sow_cell_row *cell, const sow_record *records, int64_t count) {
    page_race *race = user;
    const char *metric = race->outcome->plan->metric.name;
    const sow_plan *plan = race->outcome->plan;
    int64_t n = 0;
    if (strcmp(cell->stage, "race") != 0 || cell->arm < 0 || cell->arm >= plan->arm_count) return SOW_OK;
    if (race->curve_count == (int64_t)plan->arm_count * plan->seeds.last) return SOW_OK;
    page_curve *curve = &race->curves[race->curve_count];
    for (int64_t i = 0; i < count; i++) n += strcmp(records[i].metric, metric) == 0;
    if (n == 0) return SOW_OK;
    *curve = (page_curve){.arm = cell->arm};
    SOW_TRY(SOW_NEW_RAW(race->arena, curve->steps, n));
    SOW_TRY(SOW_NEW_RAW(race->arena, curve->values, n));
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(records[i].metric, metric) != 0) continue;
        curve->steps[curve->count] = (double)records[i].step;
        curve->values[curve->count++] = records[i].value;
    }
    race->curve_count++;
    return SOW_OK;
}

/* ---- the page ---- */

static sow_status add_sentences(sow_arena *arena, const sow_outcome *o, sow_page *page) {
    json_t *whole, *sentence;
    size_t i;
    SOW_TRY(sow_outcome_json(arena, o, &whole));
    const char *verdict = json_string_value(json_object_get(whole, "verdict"));
    const char *line = sow_arena_format(arena, "%s: %s after %d of at most %d seeds%s.", o->plan->name,
                                        verdict ? verdict : "not decided", o->looked, o->plan->seeds.last,
                                        o->over ? "" : "; the race goes on");
    sow_status status = line ? sow_page_text(page, line) : SOW_E_MEMORY;
    json_array_foreach(json_object_get(whole, "sentences"), i, sentence) if (!status)
        status = sow_page_text(page, json_string_value(sentence));
    if (!status && json_array_size(json_object_get(whole, "clauses")))
        status = sow_page_table(page, "The clauses of the plan", json_object_get(whole, "clauses"));
    json_decref(whole);
    return status;
}

static sow_status add_arms(const sow_outcome *o, sow_page *page) {
    json_t *rows;
    const char *unit = o->plan->metric.name;
    sow_arena *arena;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = sow_outcome_table(o, &rows);
    if (!status) {
        char *caption = sow_arena_format(
            arena,
            "Scores (%s, %s is better); effect: mean difference to %s by seed, larger is better, with its %g%% "
            "interval; bold: confirmed",
            unit, o->plan->metric.minimise ? "smaller" : "larger", o->plan->arms[o->plan->reference].name,
            100 * (1 - o->plan->test.alpha));
        status = caption ? sow_page_table(page, caption, rows) : SOW_E_MEMORY;
        json_decref(rows);
    }
    sow_arena_free(arena);
    return status;
}

static sow_status add_decisions(const sow_outcome *o, sow_page *page) {
    json_t *rows = json_array();
    for (int i = 0; i < o->decision_count; i++) {
        const sow_decision *d = &o->decisions[i];
        json_array_append_new(rows, json_pack("{s:i, s:s, s:s, s:s}", "seeds", d->n, "arm",
                                              d->arm < 0 ? "" : o->plan->arms[d->arm].name, "decision", d->what,
                                              "detail", d->detail ? d->detail : ""));
    }
    bool whole = (int)json_array_size(rows) == o->decision_count;
    sow_status status = whole ? sow_page_table(page, "Decisions, in the order in which they fell", rows)
                              : sow_fail(SOW_E_MEMORY, "out of memory");
    json_decref(rows);
    return status;
}

enum { FAILURES_SHOWN = 50, LAST_LINES = 600 /* bytes */ };

/* Whole characters of the end of a text. */
static const char *end_of(const char *text) {
    size_t length = strlen(text);
    if (length <= LAST_LINES) return text;
    text += length - LAST_LINES;
    while (((unsigned char)*text & 0xc0) == 0x80) text++;
    return text;
}

/* Why trainings failed, in their own last words. */
static sow_status add_failures(sow_arena *arena, const sow_outcome *o, const char *folder, sow_page *page) {
    sow_store *store;
    sow_cell_row *cells;
    int64_t count = 0;
    json_t *rows = json_array();
    sow_status status = sow_store_view(folder, &store);
    if (!status) {
        status = sow_store_cells(store, arena, &cells, &count);
        for (int64_t i = 0; !status && i < count && json_array_size(rows) < FAILURES_SHOWN; i++) {
            const sow_cell_row *c = &cells[i];
            if ((c->state != SOW_CELL_FAILED && c->state != SOW_CELL_DIVERGED) || c->arm < 0 ||
                c->arm >= o->plan->arm_count)
                continue;
            const char *why = c->last_lines ? end_of(c->last_lines) : "";
            json_t *text = json_string(why); /* NULL where it is no UTF-8 */
            json_t *row = json_pack("{s:s, s:I, s:s, s:s, s:o}", "arm", o->plan->arms[c->arm].name, "seed",
                                    (json_int_t)c->seed, "stage", c->stage, "state", state_names[c->state], "why",
                                    text ? text : json_string("(not readable)"));
            if (json_array_append_new(rows, row)) status = sow_fail(SOW_E_MEMORY, "out of memory");
        }
        sow_store_close(store);
    }
    if (!status) status = sow_page_table(page, "Trainings that failed, with their last lines", rows);
    json_decref(rows);
    return status;
}

sow_status sow_outcome_page(sow_arena *arena, const sow_outcome *o, const char *folder, sow_page *page) {
    page_race race = {.arena = arena, .outcome = o};
    json_t *cells = NULL;
    SOW_TRY(SOW_NEW(arena, race.arms, o->plan->arm_count));
    SOW_TRY(SOW_NEW(arena, race.curves, o->plan->arm_count * o->plan->seeds.last));
    for (int a = 0; a < o->plan->arm_count; a++) race.arms[a] = o->plan->arms[a].name;
    if (folder) {
        SOW_TRY(sow_visit_curves(folder, keep_curve, &race));
        SOW_TRY(sow_outcome_cells(arena, o, folder, &cells));
    }
    sow_status status = add_sentences(arena, o, page);
    if (!status) status = add_arms(o, page);
    if (!status) status = page_add_plots(&race, page);
    if (!status) status = sow_page_heading(page, "Tables");
    if (!status) status = add_decisions(o, page);
    if (!status && folder) status = add_failures(arena, o, folder, page);
    if (!status && cells) status = sow_page_table(page, "Trainings", cells);
    json_decref(cells);
    return status;
}
