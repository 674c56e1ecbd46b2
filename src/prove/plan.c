/* Plans of races: a JSON file, checked whole before anything runs (PROVE.md, section 1). */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "prove/plan.h"
#include "sow/file.h"
#include "sow/json.h"
#include "sow/text.h"

enum { FILE_MAX = 16 << 20, NAME_MAX_BYTES = 128 };

const char *const plan_claims[] = {"better", "not-worse", "equivalent", NULL};
const char *const plan_tests[] = {"auto", "flip", "t", "bet", NULL};
const char *const plan_races[] = {"flip", "none", "friedman", "halving", NULL};
const char *const plan_directions[] = {"max", "min", NULL};
const char *const plan_failures[] = {"undecided", "value", NULL};
const char *const plan_reserved[] = {"init", "mask", "out", "seed", "steps", "arm", "dir", NULL};

/* ---- variables ---- */

static bool is_variable_name(const char *name) {
    size_t length = strlen(name);
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("_-.", *c)) return false;
    return length > 0 && length <= 64;
}

static sow_status check_variable(const fields *f, const char *name) {
    const char *place = fields_place(f, name);
    if (!place) return SOW_E_MEMORY;
    if (!is_variable_name(name))
        return sow_fail(SOW_E_ARGUMENT, "%s: %s: expected a name of letters, digits, '_', '-' and '.', at most 64",
                        f->path, place);
    for (int i = 0; plan_reserved[i]; i++)
        if (!strcmp(plan_reserved[i], name))
            return sow_fail(SOW_E_ARGUMENT, "%s: %s: {%s} has a value of sow's own, choose another name", f->path,
                            place, name);
    return SOW_OK;
}

/* The plan's variables with those of one arm in their place, or behind them. */
static sow_status read_variables(const fields *f, const sow_variable *base, int base_count, const sow_variable **out,
                                 int *out_count) {
    fields vars;
    sow_variable *list;
    const char *key;
    json_t *value;
    SOW_TRY(fields_open(f, "vars", NULL, &vars));
    int count = base_count, most = base_count + (int)json_object_size(vars.object);
    if (most > PLAN_VARIABLES_MAX)
        return sow_fail(SOW_E_ARGUMENT, "%s: %s: found %d variables, expected at most %d", f->path, vars.place, most,
                        PLAN_VARIABLES_MAX);
    SOW_TRY(SOW_NEW(f->arena, list, most));
    for (int i = 0; i < base_count; i++) list[i] = base[i];
    json_object_foreach((json_t *)(uintptr_t)vars.object, key, value) {
        int at = 0;
        SOW_TRY(check_variable(&vars, key));
        while (at < base_count && strcmp(list[at].name, key) != 0) at++;
        if (at == base_count) at = count++;
        if (!(list[at].name = sow_arena_copy(f->arena, key))) return SOW_E_MEMORY;
        SOW_TRY(fields_as_text(&vars, key, value, &list[at].value));
    }
    *out = list, *out_count = count;
    return SOW_OK;
}

/* ---- arms ---- */

static sow_status read_start(const fields *f, sow_plan_arm *arm) {
    bool none = false;
    SOW_TRY(fields_text(f, "make", &arm->make));
    SOW_TRY(fields_text(f, "init", &arm->init));
    SOW_TRY(fields_bool(f, "none", &none));
    SOW_TRY(fields_text(f, "mask", &arm->mask));
    int given = (arm->make != NULL) + (arm->init != NULL) + none;
    if (given != 1)
        return sow_fail(
            SOW_E_ARGUMENT,
            "%s: %s: found %s, expected one of \"make\" (a sow command), \"init\" (a file) and \"none\": true", f->path,
            f->place, given ? "more than one start" : "no start");
    return SOW_OK;
}

static sow_status read_arm(const fields *f, const sow_variable *vars, int count, sow_plan_arm *arm) {
    static const char *const known[] = {"name", "make", "init", "none", "mask", "vars", NULL};
    SOW_TRY(fields_check_keys(f, known));
    SOW_TRY(fields_text(f, "name", &arm->name));
    if (!arm->name) return fields_wrong(f, "name", NULL, "a name for reports");
    if (strlen(arm->name) > NAME_MAX_BYTES)
        return fields_wrong(f, "name", fields_get(f, "name"), "at most %d bytes", NAME_MAX_BYTES);
    SOW_TRY(fields_as_text(f, "name", fields_get(f, "name"), &arm->name));
    SOW_TRY(read_start(f, arm));
    return read_variables(f, vars, count, &arm->variables, &arm->variable_count);
}

static sow_status check_twins(const fields *top, const sow_plan *plan) {
    for (int i = 0; i < plan->arm_count; i++)
        for (int j = 0; j < i; j++)
            if (!strcmp(plan->arms[i].name, plan->arms[j].name))
                return sow_fail(SOW_E_ARGUMENT, "%s: arms[%d].name: \"%s\" is the name of arms[%d] too", top->path, i,
                                plan->arms[i].name, j);
    return SOW_OK;
}

static sow_status read_arms(const fields *top, sow_plan *plan) {
    const json_t *list = fields_get(top, "arms");
    int count = (int)json_array_size(list), plan_vars;
    const sow_variable *vars;
    sow_plan_arm *arms;
    if (!json_is_array(list) || count < 2 || count > PLAN_ARMS_MAX)
        return fields_wrong(top, "arms", list, "a list of 2 to %d arms", PLAN_ARMS_MAX);
    SOW_TRY(read_variables(top, NULL, 0, &vars, &plan_vars));
    SOW_TRY(SOW_NEW(top->arena, arms, count));
    plan->arms = arms, plan->arm_count = count;
    for (int i = 0; i < count; i++) {
        const json_t *object = json_array_get(list, (size_t)i);
        fields f = {top->arena, top->path, sow_arena_format(top->arena, "arms[%d]", i), object};
        if (!f.place) return SOW_E_MEMORY;
        if (!json_is_object(object)) return fields_wrong(top, f.place, object, "an object in braces");
        SOW_TRY(read_arm(&f, vars, plan_vars, &arms[i]));
    }
    return check_twins(top, plan);
}

/* The arm of that name in the member `key`; absent: *out stays. */
static sow_status read_arm_name(const fields *f, const char *key, const sow_plan *plan, int *out) {
    const char *name = NULL, *names[PLAN_ARMS_MAX];
    SOW_TRY(fields_text(f, key, &name));
    if (!name) return SOW_OK;
    for (int i = 0; i < plan->arm_count; i++) {
        names[i] = plan->arms[i].name;
        if (strcmp(name, names[i]) != 0) continue;
        *out = i;
        return SOW_OK;
    }
    const char *near = sow_nearest(name, names, plan->arm_count);
    return fields_wrong(f, key, fields_get(f, key), "the name of an arm%s%s", near ? "; did you mean " : "",
                        near ? near : "");
}

/* ---- metrics ---- */

static sow_status read_metric(const fields *top, sow_plan *plan) {
    static const char *const known[] = {"name", "direction", "at", NULL};
    fields f;
    int direction = -1;
    SOW_TRY(fields_open(top, "metric", known, &f));
    SOW_TRY(fields_text(&f, "name", &plan->metric.name));
    SOW_TRY(fields_choice(&f, "direction", plan_directions, &direction));
    if (!plan->metric.name) return fields_wrong(&f, "name", NULL, "the name of a number that the trainer prints");
    if (direction < 0) return fields_wrong(&f, "direction", NULL, "max (larger is better) or min");
    plan->metric.falling = direction == 1;
    SOW_TRY(plan_read_at(&f, "at", plan->steps, &plan->metric));
    SOW_TRY(fields_texts(top, "also", 64, &plan->also));
    return fields_text(top, "test_metric", &plan->test_metric);
}

/* ---- criterion ---- */

static const char *const statistics[] = {"mean_diff", "median_diff", "ratio", "wins", "min_diff", "range", "p", NULL};
static const sow_statistic statistic_of[] = {SOW_MEAN_DIFFERENCE,  SOW_MEDIAN_DIFFERENCE, SOW_RATIO_OF_MEANS, SOW_WINS,
                                             SOW_LEAST_DIFFERENCE, SOW_MEAN_DIFFERENCE,   SOW_P_VALUE};
enum { STAT_RANGE = 5 };

static sow_status read_range(const fields *f, sow_plan_clause *c) {
    const json_t *value = fields_get(f, "value"), *low = json_array_get(value, 0), *high = json_array_get(value, 1);
    c->clause.value = json_number_value(low), c->clause.high = json_number_value(high);
    if (json_array_size(value) != 2 || !json_is_number(low) || !json_is_number(high) ||
        c->clause.value > c->clause.high)
        return fields_wrong(f, "value", value, "[LOW, HIGH]");
    c->clause.within = true;
    return SOW_OK;
}

static sow_status read_bound(const fields *f, sow_plan_clause *c) {
    static const char *const operators[] = {">=", "<=", NULL};
    int op = -1;
    double value = NAN;
    SOW_TRY(fields_choice(f, "op", operators, &op));
    SOW_TRY(fields_real(f, "value", -INFINITY, INFINITY, false, &value));
    if (op < 0) return fields_wrong(f, "op", NULL, ">= or <=");
    if (isnan(value)) return fields_wrong(f, "value", NULL, "a number");
    c->clause.at_least = op == 0;
    c->clause.value = value;
    return SOW_OK;
}

static sow_status read_clause_metric(const fields *f, const sow_plan *plan, sow_plan_clause *c) {
    c->metric = plan->metric;
    SOW_TRY(fields_text(f, "metric", &c->metric.name));
    bool own = !strcmp(c->metric.name, plan->metric.name);
    if (!own || fields_get(f, "at")) {
        if (!own) c->metric.falling = plan_falls_by_name(c->metric.name);
        SOW_TRY(plan_read_at(f, "at", plan->steps, &c->metric));
    }
    const char *at = plan_at_text(f->arena, &c->metric);
    c->clause.metric = at ? sow_arena_format(f->arena, "%s at %s", c->metric.name, at) : NULL;
    return c->clause.metric ? SOW_OK : SOW_E_MEMORY;
}

static sow_status read_clause(const fields *f, const sow_plan *plan, sow_plan_clause *c) {
    static const char *const known[] = {"arm", "against", "metric", "at", "stat", "op", "value", "says", NULL};
    int stat = -1;
    c->arm = c->against = -1;
    SOW_TRY(fields_check_keys(f, known));
    SOW_TRY(read_arm_name(f, "arm", plan, &c->arm));
    if (c->arm < 0) return fields_wrong(f, "arm", NULL, "the name of an arm");
    SOW_TRY(read_arm_name(f, "against", plan, &c->against));
    SOW_TRY(read_clause_metric(f, plan, c));
    SOW_TRY(fields_choice(f, "stat", statistics, &stat));
    if (stat < 0) return fields_wrong(f, "stat", NULL, "mean_diff, median_diff, ratio, range, wins, min_diff or p");
    c->clause.statistic = statistic_of[stat];
    SOW_TRY(stat == STAT_RANGE ? read_range(f, c) : read_bound(f, c));
    c->clause.arm = plan->arms[c->arm].name;
    c->clause.against = c->against < 0 ? NULL : plan->arms[c->against].name;
    SOW_TRY(fields_text(f, "says", &c->clause.says));
    if (c->clause.says) return SOW_OK;
    c->clause.says = sow_arena_format(f->arena, "%s%s%s, %s: %s", c->clause.arm, c->clause.against ? " against " : "",
                                      c->clause.against ? c->clause.against : "", c->clause.metric, statistics[stat]);
    return c->clause.says ? SOW_OK : SOW_E_MEMORY;
}

static sow_status read_criterion(const fields *top, sow_plan *plan) {
    const json_t *list = fields_get(top, "criterion");
    int count = (int)json_array_size(list);
    sow_plan_clause *clauses;
    if (list && (!json_is_array(list) || count > 64))
        return fields_wrong(top, "criterion", list, "a list of at most 64 clauses");
    SOW_TRY(SOW_NEW(top->arena, clauses, count));
    for (int i = 0; i < count; i++) {
        const json_t *object = json_array_get(list, (size_t)i);
        fields f = {top->arena, top->path, sow_arena_format(top->arena, "criterion[%d]", i), object};
        if (!f.place) return SOW_E_MEMORY;
        if (!json_is_object(object)) return fields_wrong(top, f.place, object, "an object in braces");
        SOW_TRY(read_clause(&f, plan, &clauses[i]));
    }
    plan->clauses = clauses, plan->clause_count = count;
    return SOW_OK;
}

/* ---- sections ---- */

static sow_status read_seeds(const fields *top, sow_plan *plan) {
    static const char *const known[] = {"base", "min", "max", "every", "confirm", NULL};
    fields f;
    SOW_TRY(fields_open(top, "seeds", known, &f));
    int64_t base = 0, first = 6, last = 20, every = 1, confirm = 0;
    SOW_TRY(fields_int(&f, "base", 0, ((int64_t)1 << 53) - ((int64_t)1 << 22), &base));
    SOW_TRY(fields_int(&f, "max", 1, PLAN_SEEDS_MAX, &last));
    if (!fields_get(&f, "min") && first > last) first = last;
    SOW_TRY(fields_int(&f, "min", 1, PLAN_SEEDS_MAX, &first));
    if (!fields_get(&f, "max") && last < first) last = first;
    SOW_TRY(fields_int(&f, "every", 1, PLAN_SEEDS_MAX, &every));
    SOW_TRY(fields_int(&f, "confirm", 0, PLAN_SEEDS_MAX, &confirm));
    if (first > last) return fields_wrong(&f, "min", fields_get(&f, "min"), "at most seeds.max, %lld", (long long)last);
    plan->seeds.base = base, plan->seeds.first = (int)first, plan->seeds.last = (int)last;
    plan->seeds.every = (int)every, plan->seeds.confirm = (int)confirm;
    return SOW_OK;
}

static sow_status read_test(const fields *top, sow_plan *plan) {
    static const char *const known[] = {"rule", "alpha", "sides", "margin", NULL};
    fields f;
    int rule = SOW_TEST_AUTO;
    int64_t sides = 2;
    plan->test.alpha = 0.05;
    SOW_TRY(fields_open(top, "test", known, &f));
    SOW_TRY(fields_choice(&f, "rule", plan_tests, &rule));
    SOW_TRY(fields_real(&f, "alpha", 0, 0.5, true, &plan->test.alpha));
    SOW_TRY(fields_int(&f, "sides", 1, 2, &sides));
    SOW_TRY(fields_real(&f, "margin", 0, INFINITY, false, &plan->test.margin));
    plan->test.rule = (sow_test_rule)rule;
    plan->test.sides = (int)sides;
    if (plan->claim == SOW_CLAIM_EQUIVALENT && !(plan->test.margin > 0))
        return fields_wrong(&f, "margin", fields_get(&f, "margin"), "a margin above 0: the claim is equivalent");
    return SOW_OK;
}

static sow_status read_race(const fields *top, sow_plan *plan) {
    static const char *const known[] = {"rule", "alpha", "eta", "first", NULL};
    fields f;
    int rule = SOW_RACE_FLIP;
    int64_t eta = 3;
    plan->race.alpha = 0.1;
    SOW_TRY(fields_open(top, "race", known, &f));
    SOW_TRY(fields_choice(&f, "rule", plan_races, &rule));
    SOW_TRY(fields_real(&f, "alpha", 0, 0.5, true, &plan->race.alpha));
    SOW_TRY(fields_int(&f, "eta", 2, 64, &eta));
    plan->race.first = plan->steps / (eta * eta) > 1 ? plan->steps / (eta * eta) : 1;
    SOW_TRY(fields_int(&f, "first", 1, plan->steps, &plan->race.first));
    plan->race.rule = (sow_race_rule)rule;
    plan->race.eta = (int)eta;
    return SOW_OK;
}

static sow_status read_failure(const fields *top, sow_plan *plan) {
    static const char *const known[] = {"rule", "value", "retries", NULL};
    fields f;
    int rule = 0;
    int64_t retries = 1;
    SOW_TRY(fields_open(top, "failure", known, &f));
    SOW_TRY(fields_choice(&f, "rule", plan_failures, &rule));
    SOW_TRY(fields_int(&f, "retries", 0, 100, &retries));
    plan->failure.has_value = rule == 1;
    plan->failure.retries = (int)retries;
    const json_t *value = fields_get(&f, "value");
    if (rule == 1 && !json_is_number(value))
        return fields_wrong(&f, "value", value, "the score of a seed that fails, e.g. chance accuracy");
    if (rule == 0 && value && !json_is_null(value))
        return fields_wrong(&f, "value", value, "null, as rule is undecided");
    plan->failure.value = json_number_value(value);
    return SOW_OK;
}

static sow_status read_limits(const fields *top, sow_plan *plan) {
    static const char *const known[] = {"start_s", "silent_s", "cell_s", "grace_s", "memory_mb", NULL};
    fields f;
    int64_t megabytes = 0;
    plan->limits = sow_limits_default();
    SOW_TRY(fields_open(top, "limits", known, &f));
    SOW_TRY(fields_real(&f, "start_s", 0, 1e9, true, &plan->limits.start_seconds));
    SOW_TRY(fields_real(&f, "silent_s", 0, 1e9, true, &plan->limits.silent_seconds));
    SOW_TRY(fields_real(&f, "cell_s", 0, 1e9, true, &plan->limits.cell_seconds));
    SOW_TRY(fields_real(&f, "grace_s", 0, 1e9, true, &plan->limits.grace_seconds));
    SOW_TRY(fields_int(&f, "memory_mb", 0, 1 << 30, &megabytes));
    plan->limits.memory_bytes = megabytes << 20;
    return SOW_OK;
}

static sow_status read_workers(const fields *top, sow_plan *plan) {
    static const char *const known[] = {"slots", "threads", "devices", NULL};
    fields f;
    int64_t slots = 0, threads = 1;
    SOW_TRY(fields_open(top, "workers", known, &f));
    SOW_TRY(fields_int(&f, "slots", 0, 1024, &slots));
    SOW_TRY(fields_int(&f, "threads", 1, 1024, &threads));
    plan->slots = (int)slots, plan->threads = (int)threads;
    return fields_texts(&f, "devices", 1024, &plan->devices);
}

/* ---- the whole ---- */

static bool is_plan_name(const char *name) {
    size_t length = strlen(name);
    for (const char *c = name; *c; c++)
        if (!(*c >= 'a' && *c <= 'z') && !(*c >= '0' && *c <= '9') && *c != '-') return false;
    return length > 0 && length <= 64;
}

static sow_status read_head(const fields *top, sow_plan *plan) {
    static const char *const known[] = {"sow_plan", "name",   "reference", "claim",       "vars",  "arms", "train",
                                        "steps",    "metric", "also",      "test_metric", "seeds", "test", "race",
                                        "failure",  "limits", "workers",   "criterion",   "files", NULL};
    int64_t version = 0;
    int claim = SOW_CLAIM_BETTER;
    SOW_TRY(fields_check_keys(top, known));
    SOW_TRY(fields_int(top, "sow_plan", 1, 1, &version));
    if (version == 0) return fields_wrong(top, "sow_plan", NULL, "1, the version of plans");
    SOW_TRY(fields_text(top, "name", &plan->name));
    if (!plan->name || !is_plan_name(plan->name))
        return fields_wrong(top, "name", fields_get(top, "name"), "1 to 64 of a-z, 0-9 and -");
    SOW_TRY(fields_choice(top, "claim", plan_claims, &claim));
    plan->claim = (sow_claim)claim;
    SOW_TRY(fields_text(top, "train", &plan->train));
    SOW_TRY(fields_int(top, "steps", 1, PLAN_STEPS_MAX, &plan->steps));
    if (plan->steps == 0)
        return fields_wrong(top, "steps", NULL, "an integer from 1 to %lld", (long long)PLAN_STEPS_MAX);
    return SOW_OK;
}

static sow_status read_plan(const fields *top, sow_plan *plan) {
    SOW_TRY(read_head(top, plan));
    SOW_TRY(read_arms(top, plan));
    SOW_TRY(read_arm_name(top, "reference", plan, &plan->reference));
    SOW_TRY(read_metric(top, plan));
    SOW_TRY(read_seeds(top, plan));
    SOW_TRY(read_test(top, plan));
    SOW_TRY(read_race(top, plan));
    SOW_TRY(read_failure(top, plan));
    SOW_TRY(read_limits(top, plan));
    SOW_TRY(read_workers(top, plan));
    SOW_TRY(read_criterion(top, plan));
    SOW_TRY(plan_check_texts(top, plan));
    return plan_check_budget(top, plan);
}

/* Lines that begin with // become empty, so that the others keep their numbers. */
static void blank_comments(char *text) {
    for (char *line = text; *line;) {
        char *first = line + strspn(line, " \t"), *end = first + strcspn(first, "\n");
        if (first[0] == '/' && first[1] == '/') memset(line, ' ', (size_t)(end - line));
        line = *end ? end + 1 : end;
    }
}

static sow_status load(const char *text, const char *path, json_t **out) {
    json_error_t error;
    errno = 0; /* jansson does not always say that memory was short */
    *out = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!*out && errno == ENOMEM) return sow_fail(SOW_E_MEMORY, "%s: out of memory", path);
    if (!*out)
        return sow_fail(SOW_E_ARGUMENT, "%s: line %d, column %d: %s", path, error.line, error.column, error.text);
    return json_is_object(*out) ? SOW_OK : sow_fail(SOW_E_ARGUMENT, "%s: expected a JSON object in braces", path);
}

/* `stored`: the document of a run, with the hashes of its files in it. */
static sow_status parse(sow_arena *arena, const char *text, const char *path, bool stored, sow_plan **out) {
    char *copy = sow_arena_copy(arena, text);
    json_t *root = NULL, *hashes = NULL;
    sow_plan *plan;
    if (!copy) return SOW_E_MEMORY;
    SOW_TRY(SOW_NEW(arena, plan, 1));
    if (!(plan->path = sow_arena_copy(arena, path))) return SOW_E_MEMORY;
    blank_comments(copy);
    sow_status status = load(copy, path, &root);
    fields top = {arena, plan->path, "", root};
    if (status == SOW_OK && !stored && json_object_get(root, "files"))
        status = sow_fail(SOW_E_ARGUMENT, "%s: files: unknown key: sow writes it into the plans of its run folders",
                          path);
    if (status == SOW_OK) status = read_plan(&top, plan);
    if (status == SOW_OK && stored) hashes = json_incref(json_object_get(root, "files"));
    if (status == SOW_OK && !stored) status = plan_hash_files(&top, plan, &hashes);
    if (status == SOW_OK) status = plan_write_texts(arena, plan, hashes);
    json_decref(hashes);
    json_decref(root);
    *out = status == SOW_OK ? plan : NULL;
    return status;
}

sow_status sow_plan_parse(sow_arena *arena, const char *text, const char *path, sow_plan **out) {
    return parse(arena, text, path, false, out);
}

static sow_status read_text(sow_arena *arena, const char *path, char **text) {
    size_t size;
    SOW_TRY(sow_read_file(arena, path, FILE_MAX, text, &size));
    if (strlen(*text) != size)
        return sow_fail(SOW_E_ARGUMENT, "%s: holds a zero byte, expected a plan (see sow prove init)", path);
    return SOW_OK;
}

sow_status sow_plan_read(sow_arena *arena, const char *path, sow_plan **out) {
    char *text;
    SOW_TRY(read_text(arena, path, &text));
    return parse(arena, text, path, false, out);
}

sow_status sow_plan_reread(sow_arena *arena, const char *path, sow_plan **out) {
    char *text;
    SOW_TRY(read_text(arena, path, &text));
    return parse(arena, text, path, true, out);
}

uint64_t sow_plan_seed(const sow_plan *plan, int index) {
    return (uint64_t)plan->seeds.base + (uint64_t)index;
}
