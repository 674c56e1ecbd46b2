/* Running a race: cells in (look, seed, arm) order, decisions when a look is whole, verdicts at the end (PROVE.md,
 * sections 3 and 4). Everything that ends is in the store before anything follows from it. */
#include "prove/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"

static const double showing_share = 0.02; /* of the time, at most, goes into intervals that are only for display */

/* ---- live displays ---- */

static void count_cells(prove_run *run) {
    const prove_stage *stage = run->stage;
    memcpy(run->progress, run->before, (size_t)run->plan->arm_count * sizeof *run->progress);
    run->outcome.running = run->outcome.done = run->outcome.failed = 0;
    for (int c = 0; stage && c < stage->count; c++) {
        const sow_cell *cell = &stage->cells[c];
        sow_progress_of_arm *p = &run->progress[cell->arm];
        p->done += cell->state == SOW_CELL_DONE;
        p->failed += cell->state == SOW_CELL_FAILED || cell->state == SOW_CELL_DIVERGED;
        p->running += cell->state == SOW_CELL_RUNNING && !cell->unwanted;
        p->planned += !cell->unwanted;
    }
    for (int a = 0; a < run->plan->arm_count; a++) {
        run->outcome.running += run->progress[a].running;
        run->outcome.done += run->progress[a].done;
        run->outcome.failed += run->progress[a].failed;
    }
}

static void tell(prove_run *run) {
    if (!run->race->look) return;
    count_cells(run);
    sow_outcome *o = &run->outcome;
    o->looked = run->now.looked, o->over = run->now.over, o->leader = run->now.leader;
    o->standings = run->now.standings, o->decisions = run->now.decisions;
    o->decision_count = run->now.decision_count;
    run->race->look(run->race->user, o);
}

/* ---- looks ---- */

static int next_look(const sow_plan *plan, int looked) {
    sow_looks looks = {plan->seeds.first, plan->seeds.every, plan->seeds.last};
    int n = looked + 1;
    while (n < looks.last && !sow_is_look(looks, n)) n++;
    return n;
}

static bool look_is_whole(const prove_run *run) {
    int n = next_look(run->plan, run->now.looked);
    if (run->now.over || n > run->main.columns) return false;
    for (int a = 0; a < run->plan->arm_count; a++)
        for (int s = 0; s < n && run->live[a]; s++)
            if (run->main.ended[a * run->main.columns + s] == SOW_OPEN) return false;
    return true;
}

static sow_status keep_verdicts(prove_run *run) {
    for (int a = 0; a < run->plan->arm_count; a++) {
        const sow_standing *s = &run->now.standings[a];
        const char *detail = sow_arena_format(run->judging, "{\"needed\":%d}", s->needed);
        if (!detail) return SOW_E_MEMORY;
        SOW_TRY(sow_store_verdict(run->store,
                                  &(sow_verdict){a, s->verdict, s->n, s->effect, s->low, s->high, s->p, detail}));
    }
    return SOW_OK;
}

/* Intervals are shown while it runs only as far as they cost next to nothing. */
static sow_status judge_now(prove_run *run, bool final) {
    double before = sow_seconds();
    bool shown = final || before - run->shown_at > run->shown_cost / showing_share;
    sow_scores scores = {run->main.values, run->main.ended, run->absent};
    sow_arena_release(run->judging, (sow_mark){0});
    SOW_TRY(sow_judge_race(run->judge, run->judging, &scores, shown, &run->now));
    if (shown) run->shown_at = sow_seconds(), run->shown_cost = run->shown_at - before;
    return keep_verdicts(run);
}

/* Cells behind the look at which their arm left, or at which the race was over, are in no number. */
static void mark_unwanted(prove_run *run, const sow_decision *d) {
    bool all = d->arm < 0, leaves = all || !strcmp(d->what, "dropped") || !strcmp(d->what, "spoiled");
    if (leaves && !all) run->live[d->arm] = false;
    for (int c = 0; leaves && c < run->main.count; c++) {
        sow_cell *cell = &run->main.cells[c];
        bool behind = cell->seed >= sow_plan_seed(run->plan, run->main.first + d->n);
        if (behind && (all || cell->arm == d->arm)) cell->unwanted = true;
    }
}

static const char *name_of(const prove_run *run, int arm) {
    return arm < 0 ? "the race" : run->plan->arms[arm].name;
}

static sow_status take_looks(prove_run *run) {
    SOW_TRY(judge_now(run, false));
    for (; run->kept < run->now.decision_count; run->kept++) {
        const sow_decision *d = &run->now.decisions[run->kept];
        SOW_TRY(sow_store_decision(run->store, d->n, d->arm, d->what, d->detail));
        mark_unwanted(run, d);
        if (!run->race->look)
            sow_note("after %d seeds: %s %s%s%s", d->n, name_of(run, d->arm), d->what, *d->detail ? ", " : "",
                     d->detail);
    }
    return SOW_OK;
}

/* ---- cells ---- */

static int64_t place_of(const prove_run *run, const sow_cell *cell) {
    int column = (int)(cell->seed - sow_plan_seed(run->plan, run->stage->first));
    return (int64_t)cell->arm * run->stage->columns + column;
}

static sow_status score_cell(void *user, sow_cell *cell, const sow_record *records, int64_t count) {
    prove_run *run = user;
    double score, test = NAN;
    int64_t step, at = place_of(run, cell);
    SOW_TRY(sow_score_of(&run->plan->metric, run->plan->steps, records, count, &score, &step));
    if (run->plan->test_metric) test = sow_value_at(run->plan->test_metric, step, records, count);
    SOW_TRY(sow_store_score(run->store, cell, score, test));
    run->stage->values[at] = score;
    run->stage->tests[at] = test;
    return SOW_OK;
}

static bool gone_far_enough(void *user, const sow_cell *cell, int64_t step) {
    (void)cell;
    const prove_run *run = user;
    return run->stage->enough > 0 && step >= run->stage->enough;
}

/* A command that fails for every arm at the first seed is wrong; nobody wants to see it fail a hundred times. */
static sow_status check_hope(prove_run *run, const sow_cell *cell) {
    const prove_stage *stage = run->stage;
    if (cell->seed != sow_plan_seed(run->plan, stage->first) || cell->state == SOW_CELL_DONE) return SOW_OK;
    for (int a = 0; a < run->plan->arm_count; a++)
        if (stage->on[a] && stage->ended[a * stage->columns] != SOW_BAD) return SOW_OK;
    run->hopeless = true;
    return sow_fail(SOW_E_TRAINER, "no arm could be trained at the first seed; arm %s, seed %llu (%s/log): %.1500s",
                    run->plan->arms[cell->arm].name, (unsigned long long)cell->seed, cell->folder,
                    cell->last_lines ? cell->last_lines : "failed in an earlier run");
}

static sow_status cell_ended(void *user, const sow_cell *cell) {
    prove_run *run = user;
    run->stage->ended[place_of(run, cell)] = cell->state == SOW_CELL_DONE ? SOW_SCORED : SOW_BAD;
    SOW_TRY(check_hope(run, cell));
    if (run->stage == &run->main && look_is_whole(run)) SOW_TRY(take_looks(run));
    tell(run);
    return SOW_OK;
}

static sow_status make_cells(prove_run *run, prove_stage *stage) {
    int arms = run->plan->arm_count;
    SOW_TRY(SOW_NEW(run->arena, stage->cells, arms * stage->columns));
    SOW_TRY(SOW_NEW_RAW(run->arena, stage->values, arms * stage->columns));
    SOW_TRY(SOW_NEW_RAW(run->arena, stage->tests, arms * stage->columns));
    SOW_TRY(SOW_NEW(run->arena, stage->ended, arms * stage->columns));
    for (int i = 0; i < arms * stage->columns; i++) stage->values[i] = stage->tests[i] = NAN;
    for (int s = 0; s < stage->columns; s++)
        for (int a = 0; a < arms; a++) {
            if (!stage->on[a]) continue;
            uint64_t seed = sow_plan_seed(run->plan, stage->first + s);
            char *folder = prove_cell_folder(run->arena, run->folder, run->plan, a, seed);
            if (!folder) return SOW_E_MEMORY;
            stage->cells[stage->count++] = (sow_cell){.stage = stage->name,
                                                      .arm = a,
                                                      .seed = seed,
                                                      .folder = folder,
                                                      .steps = stage->enough ? stage->enough : run->plan->steps};
        }
    return SOW_OK;
}

/* Scores of cells that an earlier run ended. *begun: there are some; else a repaired trainer may begin anew. */
static sow_status read_scores(prove_run *run, prove_stage *stage, bool *begun) {
    sow_arena *arena;
    sow_cell_row *rows;
    int64_t count = 0;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = sow_store_cells(run->store, arena, &rows, &count);
    for (int64_t i = 0; status == SOW_OK && i < count; i++) {
        const sow_cell_row *row = &rows[i];
        uint64_t column = row->seed - sow_plan_seed(run->plan, stage->first);
        if (strcmp(row->stage, stage->name) != 0 || row->state != SOW_CELL_DONE || column >= (uint64_t)stage->columns ||
            row->arm < 0 || row->arm >= run->plan->arm_count)
            continue;
        *begun = true;
        stage->values[row->arm * stage->columns + (int)column] = row->score;
        stage->tests[row->arm * stage->columns + (int)column] = row->test;
    }
    sow_arena_free(arena);
    return status;
}

static sow_status run_stage(prove_run *run, prove_stage *stage) {
    const sow_plan *plan = run->plan;
    sow_runner runner = {.command = prove_command,
                         .finish = score_cell,
                         .enough = gone_far_enough,
                         .ended = cell_ended,
                         .user = run,
                         .slots = run->race->slots > 0 ? run->race->slots : plan->slots,
                         .threads = plan->threads,
                         .retries = plan->failure.retries,
                         .limits = plan->limits,
                         .devices = plan->devices && *plan->devices ? plan->devices : NULL,
                         .what = run->race->what};
    run->stage = stage;
    SOW_TRY(make_cells(run, stage));
    SOW_TRY(read_scores(run, stage, &runner.keep_failed));
    tell(run);
    sow_status status = sow_run_cells(run->store, &runner, stage->cells, stage->count);
    if (status == SOW_E_TRAINER && !run->hopeless) status = SOW_OK; /* what failed is in the judgement */
    SOW_TRY(status);
    count_cells(run);
    memcpy(run->before, run->progress, (size_t)plan->arm_count * sizeof *run->before);
    run->stage = NULL;
    return SOW_OK;
}

/* ---- rungs of halving ---- */

/* Means at the rung, larger is better; NaN: out, or a seed stays bad. */
static void means_of(const prove_run *run, const prove_stage *stage, double *means) {
    const sow_plan *plan = run->plan;
    for (int a = 0; a < plan->arm_count; a++) {
        double sum = 0;
        for (int s = 0; s < stage->columns; s++) {
            int at = a * stage->columns + s;
            bool bad = stage->ended[at] == SOW_BAD;
            sum += !bad ? stage->values[at] : plan->failure.has_value ? plan->failure.value : NAN;
        }
        means[a] = !stage->on[a] ? NAN : plan->metric.minimise ? -sum / stage->columns : sum / stage->columns;
    }
}

static sow_status drop_at_rung(prove_run *run, int rung, int64_t steps, bool *in, const bool *on) {
    for (int a = 0; a < run->plan->arm_count; a++) {
        if (!in[a] || on[a]) continue;
        const char *detail = sow_arena_format(run->arena, "rung %d, %lld steps", rung, (long long)steps);
        if (!detail) return SOW_E_MEMORY;
        in[a] = false;
        SOW_TRY(sow_store_decision(run->store, 0, a, "halved", detail));
        if (!run->race->look) sow_note("%s halved: %s", run->plan->arms[a].name, detail);
    }
    return SOW_OK;
}

static sow_status run_rungs(prove_run *run) {
    const sow_plan *plan = run->plan;
    sow_halving halving;
    bool *in, *on;
    double means[PLAN_ARMS_MAX];
    SOW_TRY(sow_plan_halving(plan->arm_count, plan->race.first, plan->race.eta, plan->steps, &halving));
    SOW_TRY(SOW_NEW(run->arena, in, plan->arm_count));
    SOW_TRY(SOW_NEW(run->arena, on, plan->arm_count));
    for (int a = 0; a < plan->arm_count; a++) in[a] = true;
    for (int i = 0; i + 1 < halving.count; i++) { /* the last rung, the whole budget, is the race on fresh seeds */
        int64_t steps = halving.rungs[i].steps;
        prove_stage stage = {.name = sow_arena_format(run->arena, "rung-%02d", i),
                             .columns = plan->seeds.first,
                             .enough = steps < plan->steps ? steps : 0,
                             .on = in};
        if (!stage.name) return SOW_E_MEMORY;
        SOW_TRY(run_stage(run, &stage));
        means_of(run, &stage, means);
        sow_halve(means, plan->arm_count, plan->reference, plan->race.eta, on);
        SOW_TRY(drop_at_rung(run, i, steps, in, on));
    }
    for (int a = 0; a < plan->arm_count; a++) run->absent[a] = !in[a];
    return SOW_OK;
}

/* ---- the stages of a plan ---- */

static sow_status run_main(prove_run *run) {
    const sow_plan *plan = run->plan;
    bool *on;
    SOW_TRY(SOW_NEW(run->arena, on, plan->arm_count));
    for (int a = 0; a < plan->arm_count; a++) run->live[a] = on[a] = !run->absent[a];
    run->main = (prove_stage){.name = "race",
                              .first = plan->race.rule == SOW_RACE_HALVING ? plan->seeds.first : 0,
                              .columns = plan->seeds.last,
                              .on = on};
    SOW_TRY(run_stage(run, &run->main));
    return judge_now(run, true);
}

static int winner_of(const prove_run *run) {
    int winner = -1;
    for (int a = 0; a < run->plan->arm_count; a++) {
        const sow_standing *s = &run->now.standings[a];
        if (strcmp(s->verdict, "confirmed") != 0) continue;
        if (winner < 0 || s->effect > run->now.standings[winner].effect) winner = a;
    }
    return winner;
}

/* A seed without a pair decides nothing: nothing is left out. */
static sow_status judge_fresh(prove_run *run, const prove_stage *stage, int winner) {
    const sow_plan *plan = run->plan;
    double d[PLAN_SEEDS_MAX];
    int bad = 0;
    for (int s = 0; s < stage->columns; s++) {
        double y[2];
        for (int side = 0; side < 2; side++) {
            int at = (side ? plan->reference : winner) * stage->columns + s;
            bool failed = stage->ended[at] == SOW_BAD;
            y[side] = !failed ? stage->values[at] : plan->failure.has_value ? plan->failure.value : NAN;
            bad += failed && side == 0;
        }
        d[s] = plan->metric.minimise ? y[1] - y[0] : y[0] - y[1];
        if (isnan(d[s])) run->confirm.spoiled = true;
    }
    if (run->confirm.spoiled)
        run->confirm = (sow_standing){
            .verdict = "not decided", .spoiled = true, .effect = NAN, .low = NAN, .high = NAN, .p = NAN};
    else SOW_TRY(sow_judge_confirm(run->judge, d, stage->columns, &run->confirm));
    run->confirm.n = run->confirm.ran = stage->columns;
    run->confirm.failures = bad;
    const sow_standing *s = &run->confirm;
    return sow_store_verdict(run->store, &(sow_verdict){plan->arm_count + winner, s->verdict, s->n, s->effect, s->low,
                                                        s->high, s->p, "fresh seeds"});
}

static sow_status run_confirm(prove_run *run) {
    const sow_plan *plan = run->plan;
    int winner = winner_of(run);
    bool *on;
    if (plan->seeds.confirm == 0 || winner < 0) return SOW_OK;
    SOW_TRY(SOW_NEW(run->arena, on, plan->arm_count));
    on[winner] = on[plan->reference] = true;
    prove_stage stage = {.name = "confirm", .first = SOW_CONFIRM_SEED, .columns = plan->seeds.confirm, .on = on};
    SOW_TRY(run_stage(run, &stage));
    return judge_fresh(run, &stage, winner);
}

static sow_status run_stages(prove_run *run) {
    const char *verdict, *clauses;
    if (run->plan->race.rule == SOW_RACE_HALVING) SOW_TRY(run_rungs(run));
    SOW_TRY(run_main(run));
    SOW_TRY(run_confirm(run));
    if (run->plan->clause_count > 0) {
        SOW_TRY(prove_criterion(run, &verdict, &clauses));
        SOW_TRY(
            sow_store_verdict(run->store, &(sow_verdict){-1, verdict, run->now.looked, NAN, NAN, NAN, NAN, clauses}));
    }
    tell(run);
    return SOW_OK;
}

/* ---- beginning and end ---- */

static sow_status keep_plan(prove_run *run) {
    const char *path = sow_path_join(run->arena, run->folder, "plan.json");
    return path ? sow_write_file(path, run->plan->document, strlen(run->plan->document)) : SOW_E_MEMORY;
}

static sow_status take_memory(prove_run *run) {
    int arms = run->plan->arm_count, columns = run->plan->seeds.last;
    char here[4096];
    if (!getcwd(here, sizeof here)) return sow_fail(SOW_E_IO, "the current folder cannot be named");
    SOW_TRY(sow_arena_new(&run->arena));
    SOW_TRY(sow_arena_new(&run->judging));
    SOW_TRY(SOW_NEW(run->arena, run->absent, arms));
    SOW_TRY(SOW_NEW(run->arena, run->live, arms));
    SOW_TRY(SOW_NEW(run->arena, run->before, arms));
    SOW_TRY(SOW_NEW(run->arena, run->progress, arms));
    SOW_TRY(SOW_NEW(run->arena, run->seeds, columns));
    SOW_TRY(SOW_NEW(run->arena, run->now.standings, arms));
    run->here = sow_arena_copy(run->arena, here);
    run->folder = run->here ? sow_path_join(run->arena, run->here, run->race->folder) : NULL;
    for (int a = 0; a < arms; a++) run->now.standings[a] = prove_no_standing("not decided");
    run->now.standings[run->plan->reference].verdict = "reference";
    run->now.leader = -1;
    run->outcome = (sow_outcome){.plan = run->plan, .progress = run->progress, .leader = -1};
    return run->folder ? SOW_OK : SOW_E_MEMORY;
}

static sow_status open_run(prove_run *run) {
    SOW_TRY(take_memory(run));
    SOW_TRY(sow_judge_new(run->plan, &run->judge));
    SOW_TRY(sow_store_open(run->folder, run->plan->identity, &run->store));
    return keep_plan(run);
}

static void close_run(prove_run *run) {
    sow_store_close(run->store);
    sow_judge_free(run->judge);
    sow_arena_free(run->judging);
    sow_arena_free(run->arena);
}

sow_status sow_race_run(const sow_plan *plan, const sow_race *race) {
    prove_run run = {.plan = plan, .race = race};
    sow_status status = open_run(&run);
    if (status == SOW_OK) status = run_stages(&run);
    close_run(&run);
    return status;
}

/* ---- pilots ---- */

static void spread_of(const prove_run *run, const prove_stage *stage, int arm, double *sd, int *pairs) {
    double d[PLAN_SEEDS_MAX];
    sow_summary summary;
    *pairs = 0, *sd = NAN;
    for (int s = 0; s < stage->columns && arm != run->plan->reference; s++) {
        int a = arm * stage->columns + s, b = run->plan->reference * stage->columns + s;
        if (stage->ended[a] == SOW_SCORED && stage->ended[b] == SOW_SCORED)
            d[(*pairs)++] = stage->values[a] - stage->values[b];
    }
    if (*pairs >= 2 && sow_summarise(d, *pairs, &summary) == SOW_OK) *sd = summary.sd;
}

sow_status sow_race_pilot(const sow_plan *plan, const sow_race *race, int seeds, double *sd, int *pairs) {
    prove_run run = {.plan = plan, .race = race};
    bool on[PLAN_ARMS_MAX];
    for (int a = 0; a < plan->arm_count; a++) on[a] = true;
    prove_stage stage = {.name = "pilot", .first = SOW_PILOT_SEED, .columns = seeds, .on = on};
    sow_status status = open_run(&run);
    if (status == SOW_OK) status = run_stage(&run, &stage);
    for (int a = 0; a < plan->arm_count && status == SOW_OK; a++) spread_of(&run, &stage, a, &sd[a], &pairs[a]);
    close_run(&run);
    return status;
}
