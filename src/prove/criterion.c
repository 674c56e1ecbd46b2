/* A plan's "criterion": the clauses of studies over the curves of a race (PROVE.md, section 2.6). */
#include <string.h>

#include "prove/run.h"
#include "sow/json.h"

static sow_status add_score(prove_run *run, sow_study_call *call, const sow_plan_clause *clause, int arm,
                            const sow_cell *cell) {
    sow_record *records;
    int64_t count, step;
    double score;
    for (int64_t i = 0; i < call->score_count; i++) /* another clause may have asked for it */
        if (call->scores[i].seed == cell->seed && !strcmp(call->scores[i].arm, run->plan->arms[arm].name) &&
            !strcmp(call->scores[i].metric, clause->clause.metric))
            return SOW_OK;
    SOW_TRY(sow_store_curve(run->store, call->arena, cell, &records, &count));
    SOW_TRY(sow_score_of(&clause->metric, run->plan->steps, records, count, &score, &step));
    return sow_study_score(call, run->plan->arms[arm].name, clause->clause.metric, cell->seed, score);
}

/* Cells that are done and in the race's numbers; a pair that is missing decides nothing. */
static sow_status add_scores(prove_run *run, sow_study_call *call, const sow_plan_clause *clause) {
    for (int c = 0; c < run->main.count; c++) {
        const sow_cell *cell = &run->main.cells[c];
        if (cell->state != SOW_CELL_DONE) continue;
        if (cell->arm == clause->arm || cell->arm == clause->against)
            SOW_TRY(add_score(run, call, clause, cell->arm, cell));
    }
    return SOW_OK;
}

static sow_status judge(prove_run *run, sow_study_call *call, const char **verdict, const char **text) {
    json_t *clauses = json_array();
    char *out = NULL;
    sow_status status = clauses ? sow_clauses_judge(run->arena, call, run->plan->seeds.first, clauses, verdict)
                                : sow_fail(SOW_E_MEMORY, "criterion: out of memory");
    if (status == SOW_OK) status = sow_json_text(run->arena, clauses, 0, &out);
    json_decref(clauses);
    *text = out;
    return status;
}

sow_status prove_criterion(prove_run *run, const char **verdict, const char **clauses) {
    const sow_plan *plan = run->plan;
    sow_clause *list;
    sow_study_call call = {.arena = run->arena, .seed_count = run->now.looked, .clause_count = plan->clause_count};
    uint64_t *seeds;
    SOW_TRY(SOW_NEW(run->arena, seeds, run->main.columns));
    SOW_TRY(SOW_NEW(run->arena, list, plan->clause_count));
    for (int s = 0; s < run->main.columns; s++) seeds[s] = sow_plan_seed(plan, run->main.first + s);
    call.seeds = seeds, call.clauses = list;
    for (int i = 0; i < plan->clause_count; i++) {
        list[i] = plan->clauses[i].clause;
        SOW_TRY(add_scores(run, &call, &plan->clauses[i]));
    }
    return judge(run, &call, verdict, clauses);
}
