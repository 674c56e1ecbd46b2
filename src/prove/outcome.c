/* What a run has found so far, read from its store: judged anew, as the run itself does. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "prove/plan.h"
#include "sow/file.h"
#include "sow/json.h"

typedef struct reading {
    sow_arena *arena;
    sow_store *store;
    sow_plan *plan;
    double *scores, *tests;
    sow_cell_state *states;
    unsigned char *ended;
    bool *absent;
    sow_progress_of_arm *progress;
    sow_outcome *out;
    int first; /* index of the race's first seed */
} reading;

/* ---- cells ---- */

static void count_cell(reading *r, const sow_cell_row *row) {
    sow_progress_of_arm *p = &r->progress[row->arm];
    bool failed = row->state == SOW_CELL_FAILED || row->state == SOW_CELL_DIVERGED;
    p->done += row->state == SOW_CELL_DONE;
    p->failed += failed;
    p->running += row->state == SOW_CELL_RUNNING;
    p->planned += row->state != SOW_CELL_STOPPED;
    r->out->done += row->state == SOW_CELL_DONE;
    r->out->failed += failed;
    r->out->running += row->state == SOW_CELL_RUNNING;
}

static void place_cell(reading *r, const sow_cell_row *row) {
    uint64_t column = row->seed - sow_plan_seed(r->plan, r->first);
    if (strcmp(row->stage, "race") != 0 || column >= (uint64_t)r->plan->seeds.last) return;
    int at = row->arm * r->plan->seeds.last + (int)column;
    r->states[at] = row->state;
    if (row->state == SOW_CELL_DONE && isfinite(row->score)) {
        r->scores[at] = row->score, r->tests[at] = row->test;
        r->ended[at] = SOW_SCORED;
    } else if (row->state == SOW_CELL_DIVERGED || row->state == SOW_CELL_FAILED) r->ended[at] = SOW_BAD;
}

static sow_status read_cells(reading *r) {
    int arms = r->plan->arm_count, cells = arms * r->plan->seeds.last;
    sow_cell_row *rows;
    int64_t count;
    SOW_TRY(SOW_NEW(r->arena, r->scores, cells));
    SOW_TRY(SOW_NEW(r->arena, r->tests, cells));
    SOW_TRY(SOW_NEW(r->arena, r->states, cells));
    SOW_TRY(SOW_NEW(r->arena, r->ended, cells));
    SOW_TRY(SOW_NEW(r->arena, r->progress, arms));
    for (int i = 0; i < cells; i++) r->scores[i] = r->tests[i] = NAN;
    SOW_TRY(sow_store_cells(r->store, r->arena, &rows, &count));
    for (int64_t i = 0; i < count; i++) {
        if (rows[i].arm < 0 || rows[i].arm >= arms) continue;
        count_cell(r, &rows[i]);
        place_cell(r, &rows[i]);
    }
    return SOW_OK;
}

/* ---- decisions and verdicts ---- */

/* What the rungs of halving decided stands before what the race did. */
static sow_status read_halved(reading *r, sow_decision **halved, int *count) {
    sow_decision_row *rows;
    int64_t n;
    SOW_TRY(sow_store_decisions(r->store, r->arena, &rows, &n));
    SOW_TRY(SOW_NEW(r->arena, *halved, n));
    *count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (strcmp(rows[i].what, "halved") != 0 || rows[i].arm < 0 || rows[i].arm >= r->plan->arm_count) continue;
        (*halved)[(*count)++] = (sow_decision){rows[i].n, rows[i].arm, rows[i].what, rows[i].detail};
        r->absent[rows[i].arm] = true;
    }
    return SOW_OK;
}

static int needed_in(const char *detail) {
    json_t *object = detail ? json_loads(detail, 0, NULL) : NULL;
    int needed = (int)json_integer_value(json_object_get(object, "needed"));
    json_decref(object);
    return needed;
}

/* Intervals take long, so those that the run has stored are shown, where they belong to the same look. */
static void show_stored(const sow_verdict *v, sow_standing *s) {
    if (v->n != s->n || strcmp(v->verdict, s->verdict) != 0) return;
    s->low = v->low, s->high = v->high, s->p = v->p;
    s->needed = needed_in(v->detail);
}

static sow_status read_verdicts(reading *r, sow_judgement *now) {
    int arms = r->plan->arm_count;
    sow_verdict *rows;
    sow_standing *fresh;
    int64_t count;
    SOW_TRY(sow_store_verdicts(r->store, r->arena, &rows, &count));
    SOW_TRY(SOW_NEW(r->arena, fresh, 1));
    for (int64_t i = 0; i < count; i++) {
        const sow_verdict *v = &rows[i];
        if (v->arm == -1) r->out->criterion = v->verdict, r->out->criterion_clauses = v->detail;
        else if (v->arm >= 0 && v->arm < arms) show_stored(v, &now->standings[v->arm]);
        else if (v->arm >= arms && v->arm < 2 * arms) {
            *fresh = (sow_standing){.verdict = v->verdict,
                                    .n = v->n,
                                    .effect = v->effect,
                                    .low = v->low,
                                    .high = v->high,
                                    .p = v->p,
                                    .ran = v->n,
                                    .mean = NAN,
                                    .sd = NAN,
                                    .iqm = NAN};
            r->out->confirm = fresh;
            r->out->confirm_arm = v->arm - arms;
        }
    }
    return SOW_OK;
}

/* Decisions of the rungs, then those of the race. */
static sow_status join_decisions(reading *r, const sow_decision *halved, int count, const sow_judgement *now) {
    sow_decision *all;
    SOW_TRY(SOW_NEW(r->arena, all, count + now->decision_count));
    for (int i = 0; i < count; i++) all[i] = halved[i];
    for (int i = 0; i < now->decision_count; i++) all[count + i] = now->decisions[i];
    r->out->decisions = all, r->out->decision_count = count + now->decision_count;
    return SOW_OK;
}

static sow_status judge(reading *r) {
    sow_judge *judge;
    sow_judgement now;
    sow_decision *halved;
    int count;
    SOW_TRY(SOW_NEW(r->arena, r->absent, r->plan->arm_count));
    SOW_TRY(read_halved(r, &halved, &count));
    sow_scores scores = {r->scores, r->ended, r->absent};
    SOW_TRY(sow_judge_new(r->plan, &judge));
    sow_status status = sow_judge_race(judge, r->arena, &scores, false, &now);
    sow_judge_free(judge);
    SOW_TRY(status);
    SOW_TRY(read_verdicts(r, &now));
    r->out->looked = now.looked, r->out->over = now.over, r->out->leader = now.leader;
    r->out->standings = now.standings;
    return join_decisions(r, halved, count, &now);
}

/* ---- the whole ---- */

static sow_status read_seeds(reading *r) {
    uint64_t *seeds;
    SOW_TRY(SOW_NEW(r->arena, seeds, r->plan->seeds.last));
    for (int s = 0; s < r->plan->seeds.last; s++) seeds[s] = sow_plan_seed(r->plan, r->first + s);
    r->out->seeds = seeds;
    return SOW_OK;
}

/* plan.json and the store of one folder belong together. */
static sow_status check_plan(const reading *r, const char *path) {
    json_t *ours = json_loads(r->plan->identity, 0, NULL), *theirs = json_loads(sow_store_plan(r->store), 0, NULL);
    bool same = ours && theirs && json_equal(ours, theirs);
    json_decref(ours);
    json_decref(theirs);
    return same ? SOW_OK : sow_fail(SOW_E_FORMAT, "%s: not the plan of the store beside it", path);
}

static sow_status read_all(reading *r) {
    r->first = r->plan->race.rule == SOW_RACE_HALVING ? r->plan->seeds.first : 0;
    SOW_TRY(read_seeds(r));
    SOW_TRY(read_cells(r));
    SOW_TRY(judge(r));
    r->out->plan = r->plan;
    r->out->scores = r->scores, r->out->tests = r->tests, r->out->states = r->states;
    r->out->progress = r->progress;
    return SOW_OK;
}

sow_status sow_outcome_read(sow_arena *arena, const char *folder, sow_outcome **out) {
    reading r = {.arena = arena};
    char *path = sow_path_join(arena, folder, "plan.json");
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(SOW_NEW(arena, r.out, 1));
    if (!sow_path_exists(path))
        return sow_fail(SOW_E_NOT_FOUND, "%s: no such file: expected the folder of a run of sow prove", path);
    SOW_TRY(sow_plan_reread(arena, path, &r.plan));
    SOW_TRY(sow_store_view(folder, &r.store));
    sow_status status = check_plan(&r, path);
    if (status == SOW_OK) status = read_all(&r);
    sow_store_close(r.store);
    *out = status == SOW_OK ? r.out : NULL;
    return status;
}

bool sow_outcome_confirmed(const sow_outcome *outcome) {
    if (outcome->criterion) return strcmp(outcome->criterion, "confirmed") == 0;
    for (int a = 0; a < outcome->plan->arm_count; a++)
        if (strcmp(outcome->standings[a].verdict, "confirmed") == 0) return true;
    return false;
}
