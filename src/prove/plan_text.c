/* A resolved plan as JSON: its identity, and the document that a run keeps beside its store. */
#include "prove/plan.h"
#include "sow/json.h"

static const char *word(const char *text) {
    return text ? text : "";
}

static json_t *text_or_null(const char *text) {
    return text ? json_string(text) : json_null();
}

static json_t *texts(const char *const *list) {
    json_t *array = json_array();
    for (; list && *list; list++) json_array_append_new(array, json_string(*list));
    return array;
}

static json_t *arm_json(const sow_plan_arm *arm) {
    json_t *object = json_pack("{s:s}", "name", arm->name), *vars = json_object();
    if (arm->make) json_object_set_new(object, "make", json_string(arm->make));
    else if (arm->init) json_object_set_new(object, "init", json_string(arm->init));
    else json_object_set_new(object, "none", json_true());
    if (arm->mask) json_object_set_new(object, "mask", json_string(arm->mask));
    for (int i = 0; i < arm->variable_count; i++)
        json_object_set_new(vars, arm->variables[i].name, json_string(arm->variables[i].value));
    json_object_set_new(object, "vars", vars);
    return object;
}

static json_t *arms_json(const sow_plan *plan) {
    json_t *array = json_array();
    for (int i = 0; i < plan->arm_count; i++) json_array_append_new(array, arm_json(&plan->arms[i]));
    return array;
}

static json_t *metric_json(sow_arena *arena, const sow_metric *metric) {
    return json_pack("{s:s, s:s, s:s}", "name", metric->name, "direction", plan_directions[metric->falling], "at",
                     word(plan_at_text(arena, metric)));
}

static json_t *clause_json(sow_arena *arena, const sow_plan_clause *c) {
    static const char *const statistics[] = {"mean_diff", "median_diff", "ratio", "wins", "min_diff", "p"};
    json_t *object = json_pack("{s:s, s:s*, s:s, s:s, s:s, s:s}", "arm", c->clause.arm, "against", c->clause.against,
                               "metric", c->metric.name, "at", word(plan_at_text(arena, &c->metric)), "stat",
                               c->clause.within ? "range" : statistics[c->clause.statistic], "says", c->clause.says);
    if (c->clause.within) {
        json_object_set_new(object, "value", json_pack("[f, f]", c->clause.value, c->clause.high));
        return object;
    }
    json_object_set_new(object, "op", json_string(c->clause.at_least ? ">=" : "<="));
    json_object_set_new(object, "value", json_real(c->clause.value));
    return object;
}

static json_t *criterion_json(sow_arena *arena, const sow_plan *plan) {
    json_t *array = json_array();
    for (int i = 0; i < plan->clause_count; i++) json_array_append_new(array, clause_json(arena, &plan->clauses[i]));
    return array;
}

static json_t *failure_json(const sow_plan *plan) {
    json_t *value = plan->failure.has_value ? json_real(plan->failure.value) : json_null();
    return json_pack("{s:s, s:o, s:i}", "rule", plan_failures[plan->failure.has_value], "value", value, "retries",
                     plan->failure.retries);
}

/* What determines results. An open-ended bet may be given more seeds later, so its identity leaves them out. */
static json_t *identity_of(sow_arena *arena, const sow_plan *plan, const json_t *files) {
    bool bet = plan->test.rule == SOW_TEST_BET;
    json_t *seeds = json_pack("{s:I, s:i, s:i, s:i}", "base", (json_int_t)plan->seeds.base, "min", plan->seeds.first,
                              "every", plan->seeds.every, "confirm", plan->seeds.confirm);
    if (!bet) json_object_set_new(seeds, "max", json_integer(plan->seeds.last));
    json_t *object = json_pack(
        "{s:i, s:s, s:s, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:{s:s, s:f, s:i, s:f}, s:{s:s, s:f, s:i, s:I}, s:o, s:o}",
        "sow_plan", 1, "reference", plan->arms[plan->reference].name, "claim", plan_claims[plan->claim], "arms",
        arms_json(plan), "train", text_or_null(plan->train), "steps", (json_int_t)plan->steps, "metric",
        metric_json(arena, &plan->metric), "also", texts(plan->also), "test_metric", text_or_null(plan->test_metric),
        "seeds", seeds, "test", "rule", plan_tests[plan->test.rule], "alpha", plan->test.alpha, "sides",
        plan->test.sides, "margin", plan->test.margin, "race", "rule", plan_races[plan->race.rule], "alpha",
        plan->race.alpha, "eta", plan->race.eta, "first", (json_int_t)plan->race.first, "failure", failure_json(plan),
        "criterion", criterion_json(arena, plan));
    if (files && !bet) json_object_set(object, "files", (json_t *)(uintptr_t)files);
    return object;
}

static json_t *document_of(const sow_plan *plan, const json_t *identity, const json_t *files) {
    const sow_limits *l = &plan->limits;
    json_t *object = json_pack("{s:i, s:s}", "sow_plan", 1, "name", plan->name);
    json_object_update(object, (json_t *)(uintptr_t)identity);
    json_object_set_new(json_object_get(object, "seeds"), "max", json_integer(plan->seeds.last));
    json_object_set_new(object, "limits",
                        json_pack("{s:f, s:f, s:f, s:f, s:I}", "start_s", l->start_seconds, "silent_s",
                                  l->silent_seconds, "cell_s", l->cell_seconds, "grace_s", l->grace_seconds,
                                  "memory_mb", (json_int_t)(l->memory_bytes >> 20)));
    json_object_set_new(
        object, "workers",
        json_pack("{s:i, s:i, s:o}", "slots", plan->slots, "threads", plan->threads, "devices", texts(plan->devices)));
    if (files) json_object_set(object, "files", (json_t *)(uintptr_t)files);
    return object;
}

sow_status plan_write_texts(sow_arena *arena, sow_plan *plan, const json_t *files) {
    char *identity_text, *document_text;
    json_t *identity = identity_of(arena, plan, files), *document = NULL;
    sow_status status = identity ? sow_json_text(arena, identity, SOW_JSON_SORTED, &identity_text)
                                 : sow_fail(SOW_E_MEMORY, "plan: out of memory");
    if (status == SOW_OK && !(document = document_of(plan, identity, files)))
        status = sow_fail(SOW_E_MEMORY, "plan: out of memory");
    if (status == SOW_OK) status = sow_json_text(arena, document, SOW_JSON_PRETTY, &document_text);
    if (status == SOW_OK) plan->identity = identity_text, plan->document = document_text;
    json_decref(identity);
    json_decref(document);
    return status;
}
