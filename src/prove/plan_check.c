/* What a plan says with the rest of it and with the files it names: placeholders, starts, hashes, budgets. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "prove/plan.h"
#include "sow/file.h"
#include "sow/method.h"
#include "sow/text.h"

/* ---- placeholders ---- */

/* The names that such a text may use, with stand-ins as values; the arm's own variables behind them. */
static sow_status stand_ins(sow_arena *arena, const sow_plan_arm *arm, plan_text kind, sow_variable **out, int *count) {
    static const char *const names[][8] = {[PLAN_TRAIN] = {"init", "mask", "out", "seed", "steps", "arm", "dir", NULL},
                                           [PLAN_MAKE] = {"init", "mask", "seed", "arm", "dir", NULL},
                                           [PLAN_PATH] = {"seed", "arm", NULL}};
    SOW_TRY(SOW_NEW(arena, *out, arm->variable_count + 8));
    *count = 0;
    for (const char *const *name = names[kind]; *name; name++) (*out)[(*count)++] = (sow_variable){*name, "0"};
    for (int i = 0; i < arm->variable_count; i++) (*out)[(*count)++] = arm->variables[i];
    return SOW_OK;
}

static sow_status check_text(const fields *top, const sow_plan_arm *arm, plan_text kind, const char *text,
                             const char *place) {
    sow_variable *variables;
    int count;
    char *expanded;
    if (!text) return SOW_OK;
    SOW_TRY(stand_ins(top->arena, arm, kind, &variables, &count));
    sow_status status = sow_expand(top->arena, text, variables, count, &expanded);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "%s: %s", top->path, place);
}

/* A start that the trainer never hears of would be proved to do nothing. */
static sow_status check_heard(const fields *top, const sow_plan *plan, const sow_plan_arm *arm) {
    bool start = arm->make || arm->init, mask = arm->mask || sow_uses(arm->make, "mask");
    if (!plan->train) return SOW_OK;
    if (start && !sow_uses(plan->train, "init"))
        return sow_fail(SOW_E_ARGUMENT,
                        "%s: train: has no {init}, so the start of arm \"%s\" would not reach the trainer", top->path,
                        arm->name);
    if (mask && !sow_uses(plan->train, "mask"))
        return sow_fail(SOW_E_ARGUMENT,
                        "%s: train: has no {mask}, so the mask of arm \"%s\" would not reach the trainer", top->path,
                        arm->name);
    return SOW_OK;
}

sow_status plan_check_texts(const fields *top, sow_plan *plan) {
    for (int i = 0; i < plan->arm_count; i++) {
        const sow_plan_arm *arm = &plan->arms[i];
        const char *place = sow_arena_format(top->arena, "arms[%d]", i);
        if (!place) return SOW_E_MEMORY;
        fields f = {top->arena, top->path, place, NULL};
        SOW_TRY(
            check_text(top, arm, PLAN_TRAIN, plan->train, sow_arena_format(top->arena, "train, arm %s", arm->name)));
        SOW_TRY(check_text(top, arm, PLAN_MAKE, arm->make, fields_place(&f, "make")));
        SOW_TRY(check_text(top, arm, PLAN_PATH, arm->init, fields_place(&f, "init")));
        SOW_TRY(check_text(top, arm, PLAN_PATH, arm->mask, fields_place(&f, "mask")));
        if (arm->make && !sow_uses(arm->make, "init"))
            return sow_fail(SOW_E_ARGUMENT, "%s: %s.make: has no {init}, the file that it has to write", top->path,
                            place);
        SOW_TRY(check_heard(top, plan, arm));
    }
    return SOW_OK;
}

/* ---- files ---- */

sow_status plan_path(sow_arena *arena, const sow_plan_arm *arm, const char *text, uint64_t seed, char **out) {
    sow_variable *variables;
    int count;
    SOW_TRY(stand_ins(arena, arm, PLAN_PATH, &variables, &count));
    variables[0].value = sow_arena_format(arena, "%llu", (unsigned long long)seed);
    variables[1].value = arm->name;
    return variables[0].value ? sow_expand_path(arena, text, variables, count, out) : SOW_E_MEMORY;
}

int plan_race_seeds(const sow_plan *plan) {
    return plan->seeds.last + (plan->race.rule == SOW_RACE_HALVING ? plan->seeds.first : 0);
}

static sow_status hash_file(const fields *top, const char *place, const char *path, json_t *hashes) {
    char hex[65];
    if (json_object_get(hashes, path)) return SOW_OK;
    if (!sow_path_exists(path))
        return sow_fail(SOW_E_ARGUMENT, "%s: %s: found %s, expected a file that exists", top->path, place, path);
    sow_status status = sow_hash_input(path, hex);
    if (status != SOW_OK)
        return sow_fail_in(status == SOW_E_MEMORY ? status : SOW_E_ARGUMENT, "%s: %s", top->path, place);
    return json_object_set_new(hashes, path, json_string(hex)) ? sow_fail(SOW_E_MEMORY, "plan: out of memory") : SOW_OK;
}

/* One file, or one for every seed that may run. */
static sow_status hash_text(const fields *top, const sow_plan *plan, int arm, const char *text, const char *key,
                            json_t *hashes) {
    const char *place = sow_arena_format(top->arena, "arms[%d].%s", arm, key);
    bool by_seed = sow_uses(text, "seed");
    int race = by_seed ? plan_race_seeds(plan) : 1, fresh = by_seed ? plan->seeds.confirm : 0;
    if (!place) return SOW_E_MEMORY;
    for (int s = 0; s < race + fresh; s++) {
        char *path;
        SOW_TRY(plan_path(top->arena, &plan->arms[arm], text,
                          sow_plan_seed(plan, s < race ? s : SOW_CONFIRM_SEED + s - race), &path));
        SOW_TRY(hash_file(top, place, path, hashes));
    }
    return SOW_OK;
}

sow_status plan_hash_files(const fields *top, const sow_plan *plan, json_t **hashes) {
    sow_status status = SOW_OK;
    *hashes = json_object();
    if (!*hashes) return sow_fail(SOW_E_MEMORY, "plan: out of memory");
    for (int i = 0; i < plan->arm_count && status == SOW_OK; i++) {
        const sow_plan_arm *arm = &plan->arms[i];
        if (arm->init) status = hash_text(top, plan, i, arm->init, "init", *hashes);
        if (arm->mask && status == SOW_OK) status = hash_text(top, plan, i, arm->mask, "mask", *hashes);
    }
    return status;
}

/* ---- budgets ---- */

static sow_status check_seeds(const fields *top, const sow_plan *plan) {
    int m = plan->race.rule == SOW_RACE_HALVING ? 1 : plan->arm_count - 1;
    int floor_flip = sow_flip_floor(plan->test.alpha / plan->test.sides / m), n = plan->seeds.last;
    if (plan->clause_count > 0) return SOW_OK; /* the clauses decide */
    if (plan->test.rule == SOW_TEST_FLIP && n < floor_flip)
        return sow_fail(
            SOW_E_ARGUMENT,
            "%s: seeds.max: found %d, expected at least %d: with fewer the sign-flip test of %d arm%s cannot "
            "decide at alpha %g; rule auto would take the t test",
            top->path, n, floor_flip, m, m == 1 ? "" : "s", plan->test.alpha);
    if (n < 3)
        return sow_fail(SOW_E_ARGUMENT, "%s: seeds.max: found %d, expected at least 3: fewer cannot decide anything",
                        top->path, n);
    return SOW_OK;
}

static sow_status check_halving(const fields *top, const sow_plan *plan) {
    sow_halving halving;
    sow_score_at at = plan->metric.at;
    if (plan->race.rule != SOW_RACE_HALVING) return SOW_OK;
    if (at != SOW_AT_LAST && at != SOW_AT_BEST && at != SOW_AT_ARGBEST)
        return sow_fail(SOW_E_ARGUMENT,
                        "%s: metric.at: halving cuts trainings short, expected last, best or argbest:NAME", top->path);
    sow_status status = sow_plan_halving(plan->arm_count, plan->race.first, plan->race.eta, plan->steps, &halving);
    return status == SOW_OK ? SOW_OK : sow_fail_in(SOW_E_ARGUMENT, "%s: race", top->path);
}

sow_status plan_check_budget(const fields *top, const sow_plan *plan) {
    SOW_TRY(check_seeds(top, plan));
    SOW_TRY(check_halving(top, plan));
    if (plan->seeds.confirm == 1 || plan->seeds.confirm == 2)
        return sow_fail(SOW_E_ARGUMENT, "%s: seeds.confirm: found %d, expected 0 or at least 3: fewer decide nothing",
                        top->path, plan->seeds.confirm);
    return SOW_OK;
}
