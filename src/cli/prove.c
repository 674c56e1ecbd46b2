/* sow prove: races of starts, with verdicts. */
#include "cli/prove.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/text.h"

extern const sow_method sow_verb_train;

/* ---- plans ---- */

/* The variables of each arm are options of `sow train`: parsed as there, so that nothing starts in vain. */
static sow_status check_trainer(sow_call *call, const sow_plan *plan, const sow_plan_arm *arm) {
    sow_call train = {.arena = call->arena, .method = &sow_verb_train, .action = sow_verb_train.actions};
    const char **words;
    int count = 0;
    SOW_TRY(SOW_NEW(call->arena, words, arm->variable_count + 2));
    for (int i = 0; i < arm->variable_count; i++) {
        const sow_variable *v = &arm->variables[i];
        if (!strcmp(v->value, "false")) continue;
        words[count++] = strcmp(v->value, "true") ? sow_arena_format(call->arena, "--%s=%s", v->name, v->value)
                                                  : sow_arena_format(call->arena, "--%s", v->name);
        if (!words[count - 1]) return SOW_E_MEMORY;
    }
    words[count++] = "--steps=1";
    words[count++] = "--out-state=x";
    sow_status status = sow_parse(&train, count, words);
    return status ? sow_fail_in(status, "%s: vars of arm %s, for the built-in trainer", plan->path, arm->name) : SOW_OK;
}

static sow_status check_metric(const sow_plan *plan) {
    static const char *const names[] = {"train_loss",   "train_accuracy", "val_loss",
                                        "val_accuracy", "test_loss",      "test_accuracy"};
    for (int i = 0; i < 6; i++)
        if (!strcmp(plan->metric.name, names[i]) || plan->metric.at == SOW_AT_STEP_OF_BEST) return SOW_OK;
    const char *near = sow_nearest(plan->metric.name, names, 6);
    return sow_fail(SOW_E_ARGUMENT,
                    "%s: metric.name: found %s; the built-in trainer prints train_, val_ and test_ loss "
                    "and accuracy%s%s",
                    plan->path, plan->metric.name, near ? "; did you mean " : "", near ? near : "");
}

static sow_status check_make(sow_call *call, const sow_plan *plan, int arm) {
    const char *make = plan->arms[arm].make;
    const sow_method *method;
    if (!make) return SOW_OK;
    make += strspn(make, " \t");
    const char *name = sow_arena_format(call->arena, "%.*s", (int)strcspn(make, " \t"), make);
    if (!name) return SOW_E_MEMORY;
    sow_status status = cli_find_method(name, &method);
    return status ? sow_fail_in(status, "%s: arms[%d].make", plan->path, arm) : SOW_OK;
}

sow_status cli_read_plan(sow_call *call, const char *path, sow_plan **out) {
    SOW_TRY(sow_plan_read(call->arena, path, out));
    const sow_plan *plan = *out;
    for (int a = 0; a < plan->arm_count; a++) {
        if (!plan->train) SOW_TRY(check_trainer(call, plan, &plan->arms[a]));
        SOW_TRY(check_make(call, plan, a));
    }
    if (plan->train && !strstr(plan->train, "{seed}"))
        sow_warn("%s: train has no {seed}: unless {init} differs by seed, every seed is the same training", path);
    return plan->train ? SOW_OK : check_metric(plan);
}

sow_status cli_prove_folder(sow_call *call, const char *plan, const char **folder) {
    size_t length = strlen(plan);
    if (sow_given(call, "out")) {
        *folder = sow_text(call, "out");
        return SOW_OK;
    }
    if (length > 5 && !strcmp(plan + length - 5, ".json")) length -= 5;
    *folder = sow_arena_format(call->arena, "%.*s.sow", (int)length, plan);
    return *folder ? SOW_OK : SOW_E_MEMORY;
}

/* ---- results ---- */

static json_t *arm_row(const sow_outcome *o, int arm) {
    const sow_standing *s = &o->standings[arm];
    char state[48];
    json_t *row = json_pack("{s:s, s:s, s:i, s:o, s:o}", "arm", o->plan->arms[arm].name, "verdict",
                            cli_arm_state(o, arm, state), "seeds", s->n, "mean", sow_json_real(s->mean), "sd",
                            sow_json_real(s->sd));
    json_object_set_new(row, "effect", sow_json_real(s->effect));
    json_object_set_new(row, "low", sow_json_real(s->low));
    json_object_set_new(row, "high", sow_json_real(s->high));
    json_object_set_new(row, "p", sow_json_real(s->p));
    return row;
}

/* For people: a table and sentences; for programs, everything. */
static sow_status show(sow_call *call, const sow_outcome *o, json_t *all) {
    json_t *rows = json_array(), *sentences = json_object_get(all, "sentences"), *sentence;
    const char *text = "\n";
    size_t i;
    if (call->json) return json_object_update(call->result, all) ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
    for (int a = 0; a < o->plan->arm_count; a++) json_array_append_new(rows, arm_row(o, a));
    json_array_foreach(sentences, i, sentence) {
        text = sow_arena_format(call->arena, "%s%s\n", text, json_string_value(sentence));
        if (!text) return SOW_E_MEMORY;
    }
    SOW_TRY(sow_put_text(call->result, "metric", o->plan->metric.name));
    SOW_TRY(sow_put_json(call->result, "arms", rows));
    return sow_put_text(call->result, "text", text);
}

static sow_status show_outcome(sow_call *call, const sow_outcome *outcome) {
    json_t *all;
    SOW_TRY(sow_outcome_json(call->arena, outcome, &all));
    sow_status status = show(call, outcome, all);
    json_decref(all);
    return status;
}

/* ---- run ---- */

static sow_status run_race(sow_call *call, const char *path, const sow_plan *plan, const char *folder) {
    bool live = isatty(STDERR_FILENO) && !call->quiet;
    sow_race race = {.folder = folder, .slots = (int)sow_int(call, "slots"), .what = live ? NULL : plan->name};
    if (live) race.look = cli_live_draw;
    if (live) cli_live_begin(call->quiet);
    sow_status status = sow_race_run(plan, &race);
    if (live) cli_live_end();
    if (status == SOW_E_INTERRUPTED)
        return sow_fail(status, "stopped; what has ended is kept in %s: sow prove %s --resume goes on", folder, path);
    return status;
}

/* Whether there is something in the folder that --resume has to be asked for: more than a pilot of this plan. */
static bool is_begun(sow_call *call, const char *folder) {
    sow_store *store;
    sow_cell_row *rows;
    int64_t count;
    bool begun = false;
    if (!sow_path_exists(folder)) return false;
    if (sow_store_view(folder, &store)) return true;
    if (sow_store_cells(store, call->arena, &rows, &count)) begun = true;
    for (int64_t i = 0; !begun && i < count; i++) begun = strcmp(rows[i].stage, "pilot") != 0;
    sow_store_close(store);
    return begun;
}

static sow_status run_prove(sow_call *call) {
    const char *path = sow_text(call, "plan"), *folder;
    sow_plan *plan;
    sow_outcome *outcome;
    SOW_TRY(cli_read_plan(call, path, &plan));
    SOW_TRY(cli_prove_folder(call, path, &folder));
    if (!sow_flag(call, "resume") && is_begun(call, folder))
        return sow_fail(SOW_E_EXISTS, "%s exists already; --resume goes on with it, -o DIR begins another", folder);
    sow_note("%s: %d arms, %d to %d seeds, in %s", plan->name, plan->arm_count, plan->seeds.first, plan->seeds.last,
             folder);
    SOW_TRY(run_race(call, path, plan, folder));
    SOW_TRY(sow_outcome_read(call->arena, folder, &outcome));
    SOW_TRY(show_outcome(call, outcome));
    call->exit_status = sow_outcome_confirmed(outcome) ? 0 : 3;
    if (call->json) return SOW_OK;
    return sow_put_format(call->result, "next", "sow report %s -o report.html", path);
}

/* ---- check ---- */

static json_t *planned_arm(const sow_plan *plan, int arm) {
    const sow_plan_arm *a = &plan->arms[arm];
    json_t *row = json_pack("{s:s, s:s}", "arm", a->name, "start",
                            a->make   ? a->make
                            : a->init ? a->init
                                      : "the trainer's own");
    if (a->mask) json_object_set_new(row, "mask", json_string(a->mask));
    if (arm == plan->reference) json_object_set_new(row, "role", json_string("reference"));
    return row;
}

/* With the whole budget, how likely a difference of so many standard deviations is found. */
static json_t *power_rows(const sow_plan *plan) {
    static const double effects[] = {0.5, 0.8, 1, 1.5, 2};
    json_t *rows = json_array();
    double alpha = plan->test.alpha / (plan->arm_count - 1);
    for (int i = 0; i < 5; i++)
        json_array_append_new(rows,
                              json_pack("{s:f, s:f, s:i}", "effect_in_sd", effects[i], "power",
                                        sow_t_power(plan->seeds.last, effects[i], alpha, plan->test.sides),
                                        "seeds_for_0.8", sow_seeds_needed(effects[i], alpha, plan->test.sides, 0.8)));
    return rows;
}

/* Mean seconds of the cells that this plan has run already; NaN: none. */
static double known_seconds(sow_call *call, const char *folder) {
    sow_store *store;
    sow_cell_row *rows;
    int64_t count;
    double sum = 0, n = 0;
    if (!sow_path_exists(folder) || sow_store_view(folder, &store)) return NAN;
    if (sow_store_cells(store, call->arena, &rows, &count) == SOW_OK)
        for (int64_t i = 0; i < count; i++)
            if (rows[i].state == SOW_CELL_DONE && strncmp(rows[i].stage, "rung", 4) != 0) sum += rows[i].seconds, n++;
    sow_store_close(store);
    return n > 0 ? sum / n : NAN;
}

static const char *rule_in_words(const sow_plan *plan, int least) {
    bool flip = plan->test.rule == SOW_TEST_FLIP || (plan->test.rule == SOW_TEST_AUTO && plan->seeds.last >= least);
    if (plan->test.rule == SOW_TEST_BET) return "bet: open-ended, more seeds may be added";
    return flip ? "sign-flip: exact, looks cost nothing"
                : "paired t: one look at all seeds, assumes normal differences";
}

static int64_t most_cells(const sow_plan *plan) {
    int64_t race = (int64_t)plan->arm_count * plan->seeds.last;
    if (plan->race.rule == SOW_RACE_HALVING) race += (int64_t)plan->arm_count * plan->seeds.first * 2;
    return race + 2 * plan->seeds.confirm;
}

static sow_status check_plan(sow_call *call) {
    const char *path = sow_text(call, "plan"), *folder;
    sow_plan *plan;
    json_t *arms = json_array(), *out = call->result;
    SOW_TRY(cli_read_plan(call, path, &plan));
    SOW_TRY(cli_prove_folder(call, path, &folder));
    int least = sow_flip_floor(plan->test.alpha / plan->test.sides / (plan->arm_count - 1));
    int slots = plan->slots > 0 ? plan->slots : (int)sysconf(_SC_NPROCESSORS_ONLN) / plan->threads;
    double seconds = known_seconds(call, folder);
    for (int a = 0; a < plan->arm_count; a++) json_array_append_new(arms, planned_arm(plan, a));
    SOW_TRY(sow_put_text(out, "plan", plan->name));
    SOW_TRY(sow_put_text(out, "trainer", plan->train ? plan->train : "sow train"));
    SOW_TRY(sow_put_text(out, "metric", plan->metric.name));
    SOW_TRY(sow_put_count(out, "cells_least", (int64_t)plan->arm_count * plan->seeds.first));
    SOW_TRY(sow_put_count(out, "cells_most", most_cells(plan)));
    SOW_TRY(sow_put_count(out, "slots", slots > 0 ? slots : 1));
    SOW_TRY(sow_put_text(out, "test", rule_in_words(plan, least)));
    SOW_TRY(sow_put_count(out, "seeds_to_decide_at_least", least));
    SOW_TRY(sow_put_real(out, "seconds_a_cell", seconds));
    SOW_TRY(sow_put_real(out, "seconds_at_most", seconds * (double)most_cells(plan) / (slots > 0 ? slots : 1)));
    SOW_TRY(sow_put_text(out, "folder", folder));
    SOW_TRY(sow_put_json(out, "arms", arms));
    SOW_TRY(sow_put_json(out, "power", power_rows(plan)));
    return isnan(seconds)
               ? sow_put_format(out, "next", "sow prove power --pilot %s --margin M measures time and spread", path)
               : sow_put_format(out, "next", "sow prove %s", path);
}

/* ---- status ---- */

static sow_status show_status(sow_call *call) {
    const char *path = sow_text(call, "plan"), *folder = path;
    sow_outcome *o;
    if (sow_given(call, "out") || !sow_is_folder(path)) SOW_TRY(cli_prove_folder(call, path, &folder));
    if (!sow_path_exists(folder))
        return sow_fail(SOW_E_NOT_FOUND, "%s: no such folder; sow prove %s begins", folder, path);
    SOW_TRY(sow_outcome_read(call->arena, folder, &o));
    SOW_TRY(show_outcome(call, o));
    SOW_TRY(sow_put_count(call->result, "looked", o->looked));
    SOW_TRY(sow_put_flag(call->result, "over", o->over));
    return sow_put_json(call->result, "cells",
                        json_pack("{s:i, s:i, s:i}", "done", o->done, "failed", o->failed, "running", o->running));
}

/* ---- the table ---- */

#define OPTION_PLAN SOW_OPTION_FILE("plan", "the plan (JSON; sow prove init makes one)")
#define OPTION_FOLDER SOW_OPTION_OUTPUT_OR("folder of the run; default PLAN.sow")

static const sow_option run_options[] = {
    OPTION_PLAN,
    {"slots", 0, SOW_TYPE_INT, "0", 0, 1024, NULL, "trainings", "side by side; 0: the plan's, or one per core",
     SOW_OPTION_NO_PASSPORT},
    OPTION_FOLDER,
    SOW_OPTION_RESUME,
    {0},
};
static const sow_option look_options[] = {OPTION_PLAN, OPTION_FOLDER, {0}};

static const sow_action actions[] = {
    {"run", "race the arms of a plan until it is decided", run_options, run_prove, "sow prove plan.json", 0},
    {"init", "print a plan to edit", cli_prove_init_options, cli_prove_init, "sow prove init > plan.json", 0},
    {"check", "what a plan will run, and what it can find", look_options, check_plan, "sow prove check plan.json", 0},
    {"status", "how a race stands, also while it runs", look_options, show_status, "sow prove status plan.json", 0},
    {"power", "how many seeds a difference takes", cli_prove_power_options, cli_prove_power,
     "sow prove power --pilot plan.json --margin 0.5", 0},
    {0},
};

const sow_method sow_verb_prove = {
    .name = "prove",
    .family = "commands",
    .summary = "race starts under one budget; exit status 0 only if a claim is confirmed",
    .actions = actions,
};
