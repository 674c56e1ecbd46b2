/* sow prove init: a plan to edit; sow prove power: how many seeds. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/prove.h"
#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"

/* ---- init ---- */

const sow_option cli_prove_init_options[] = {
    {"arms", 0, SOW_TYPE_LIST, NULL, 0, 0, NULL, NULL, "start files to race; default: two classic starts",
     SOW_OPTION_POSITIONAL},
    {"train", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL,
     "command of your trainer, with {init}, {seed}, {steps}, {out}; default: the built-in one", SOW_OPTION_COMMAND},
    SOW_OPTION_TEXT("name", "my-race", "of the plan: a-z, 0-9 and -"),
    SOW_OPTION_TEXT("metric", NULL, "number that the trainer prints; default val_accuracy"),
    SOW_OPTION_CHOICE("direction", "max", "max|min", "whether more or less of it is better"),
    SOW_OPTION_COUNT("steps", "600", 1, 1e12, "steps", "of each training"),
    {0},
};

static const char builtin_vars[] =
    "  // options of the built-in trainer (sow train --help); an arm may have its own \"vars\"\n"
    "  \"vars\": {\"arch\": \"lenet300\", \"data\": \"fashion-mnist\", \"limit\": \"10000\", \"val\": \"2000\",\n"
    "           \"optimizer\": \"adam\", \"lr\": \"0.0012\", \"batch\": \"60\"},\n";
static const char builtin_arms[] =
    "    {\"name\": \"torch-default\", \"make\": \"classic --arch lenet300 --scheme torch-default --seed {seed} -o {init}\"},\n"
    "    {\"name\": \"orthogonal\", \"make\": \"classic --arch lenet300 --scheme orthogonal --seed {seed} -o {init}\"}\n";

static const char rest[] =
    "  \"steps\": %s,\n"
    "  // direction: max or min; at: last, best, step:K, mean:F, argbest:NAME, step-of-best:NAME, reach:V\n"
    "  \"metric\": {\"name\": %s, \"direction\": \"%s\", \"at\": \"last\"},\n"
    "  // it looks after min seeds, then after every one, and stops as soon as all is decided, at the latest after max;\n"
    "  // confirm: so many fresh seeds for the winner\n"
    "  \"seeds\": {\"base\": 0, \"min\": 6, \"max\": 20, \"every\": 1, \"confirm\": 0},\n"
    "  // claim: better, not-worse or equivalent than the reference, by the margin (in units of the metric)\n"
    "  \"claim\": \"better\",\n"
    "  \"test\": {\"rule\": \"auto\", \"alpha\": 0.05, \"sides\": 2, \"margin\": 0},\n"
    "  // arms that are behind are dropped: flip (with a guarantee), none, friedman or halving\n"
    "  \"race\": {\"rule\": \"flip\", \"alpha\": 0.1},\n"
    "  // a seed that stays bad: the arm is undecided, or the seed has a value, e.g. chance accuracy\n"
    "  \"failure\": {\"rule\": \"undecided\", \"retries\": 1},\n"
    "  // seconds to the first line, between lines, for a training\n"
    "  \"limits\": {\"start_s\": 600, \"silent_s\": 1800, \"cell_s\": 86400},\n"
    "  // slots 0: one training for each core\n"
    "  \"workers\": {\"slots\": 0, \"threads\": 1}\n"
    "}\n";

static sow_status quote(sow_call *call, const char *text, char **out) {
    json_t *value = json_string(text);
    if (!value) return sow_fail(SOW_E_ARGUMENT, "found text that is no UTF-8: it cannot stand in a plan");
    sow_status status = sow_json_text(call->arena, value, 0, out);
    json_decref(value);
    return status;
}

/* The file's name without its ending; the whole path where two would have the same name. */
static sow_status arm_name(sow_call *call, const char *const *files, int index, char **out) {
    const char *name = sow_path_name(files[index]);
    for (int i = 0; files[i]; i++)
        if (i != index && !strcmp(sow_path_name(files[i]), name)) name = files[index];
    size_t length = strlen(name), ending = strlen(".safetensors");
    if (length > ending && !strcmp(name + length - ending, ".safetensors")) length -= ending;
    char *cut = sow_arena_format(call->arena, "%.*s", (int)length, name);
    return cut ? quote(call, cut, out) : SOW_E_MEMORY;
}

static sow_status file_arms(sow_call *call, const char *const *files, const char **out) {
    *out = "";
    for (int i = 0; files[i]; i++) {
        char *name, *path;
        if (!sow_path_exists(files[i])) return sow_fail(SOW_E_NOT_FOUND, "%s: no such file", files[i]);
        SOW_TRY(arm_name(call, files, i, &name));
        SOW_TRY(quote(call, files[i], &path));
        *out = sow_arena_format(call->arena, "%s    {\"name\": %s, \"init\": %s}%s\n", *out, name, path,
                                files[i + 1] ? "," : "");
        if (!*out) return SOW_E_MEMORY;
    }
    return SOW_OK;
}

static sow_status plan_head(sow_call *call, char **out) {
    const char *const *files = sow_list(call, "arms");
    const char *train = sow_text(call, "train"), *arms = builtin_arms;
    const char *command = "null";
    char *quoted, *name;
    if (files[0] && !files[1]) return sow_fail(SOW_E_ARGUMENT, "--arms: found one start, expected at least two");
    if (files[0]) SOW_TRY(file_arms(call, files, &arms));
    else if (train)
        arms =
            "    {\"name\": \"a\", \"init\": \"a.safetensors\"},\n    {\"name\": \"b\", \"init\": \"b.safetensors\"}\n";
    if (train) {
        SOW_TRY(quote(call, train, &quoted));
        command = quoted;
    }
    SOW_TRY(quote(call, sow_text(call, "name"), &name));
    *out = sow_arena_format(
        call->arena,
        "// A race of starts: edit, then `sow prove check PLAN` and `sow prove PLAN`. Lines that begin with // are\n"
        "// comments. The first arm is the reference: the others are compared with it, seed by seed.\n"
        "{\n  \"sow_plan\": 1,\n  \"name\": %s,\n%s"
        "  // a start is a file (\"init\"), made by a sow command (\"make\"), or the trainer's own (\"none\": true); {seed}\n"
        "  // differs by seed; a \"mask\" may go with it\n"
        "  \"arms\": [\n%s  ],\n"
        "  // null: sow train. Your own prints lines like {\"step\": 100, \"val_accuracy\": 0.9} and gets {init} {mask}\n"
        "  // {seed} {steps} {arm} {dir} {out} and what stands in \"vars\"\n"
        "  \"train\": %s,\n",
        name, train ? "  \"vars\": {},\n" : builtin_vars, arms, command);
    return *out ? SOW_OK : SOW_E_MEMORY;
}

sow_status cli_prove_init(sow_call *call) {
    const char *metric = sow_given(call, "metric") ? sow_text(call, "metric") : "val_accuracy";
    char *head, *name, *tail;
    SOW_TRY(plan_head(call, &head));
    SOW_TRY(quote(call, metric, &name));
    tail = sow_arena_format(call->arena, rest, sow_text(call, "steps"), name, sow_text(call, "direction"));
    const char *text = tail ? sow_arena_format(call->arena, "%s%s", head, tail) : NULL;
    if (!text) return SOW_E_MEMORY;
    return sow_put_text(call->result, "text", text);
}

/* ---- power ---- */

const sow_option cli_prove_power_options[] = {
    SOW_OPTION_PATH("pilot", NULL, "plan whose arms are run at a few seeds that its race never uses"),
    SOW_OPTION_INT("seeds", "5", 3, 128, "pilot seeds"),
    SOW_OPTION_REAL("sd", NULL, 0, 1e300, "standard deviation of the differences, where it is known: no pilot"),
    {"margin", 0, SOW_TYPE_REAL, NULL, 0, 1e300, NULL, NULL, "difference that should be found, in units of the metric",
     SOW_OPTION_REQUIRED},
    SOW_OPTION_REAL("power", "0.8", 0.01, 0.9999, "how likely it should be found"),
    SOW_OPTION_REAL("alpha", "0.05", 1e-6, 0.5, "level, where there is no plan"),
    SOW_OPTION_INT("arms", "2", 2, 64, "arms with the reference, where there is no plan"),
    {"slots", 0, SOW_TYPE_INT, "0", 0, 1024, NULL, "trainings", "side by side; 0: the plan's, or one per core",
     SOW_OPTION_NO_PASSPORT},
    SOW_OPTION_OUTPUT_OR("folder of the run; default PLAN.sow"),
    {0},
};

typedef struct question {
    double margin, power, alpha;
    int sides, arms;
} question;

/* At the spread as measured, and at the upper 80 % limit of what it may be. */
static sow_status add_row(json_t *rows, const question *q, const char *arm, double sd, int pairs) {
    double alpha = q->alpha / (q->arms - 1);
    json_t *row = json_pack("{s:s}", "arm", arm);
    SOW_TRY(sow_append_json(rows, row));
    SOW_TRY(sow_put_real(row, "sd", sd));
    if (!(sd > 0)) return sow_put_json(row, "seeds", json_null());
    double upper = pairs > 1 ? sow_sd_limit(sd, pairs, 0.8) : sd;
    SOW_TRY(sow_put_count(row, "seeds", sow_seeds_needed(q->margin / sd, alpha, q->sides, q->power)));
    if (pairs <= 1) return SOW_OK;
    SOW_TRY(sow_put_real(row, "sd_at_most", upper));
    SOW_TRY(sow_put_count(row, "seeds_at_most", sow_seeds_needed(q->margin / upper, alpha, q->sides, q->power)));
    return sow_put_count(row, "pilot_pairs", pairs);
}

static sow_status run_pilot(sow_call *call, question *q, json_t *rows) {
    const char *path = sow_text(call, "pilot"), *folder;
    double sd[64];
    int pairs[64];
    sow_plan *plan;
    SOW_TRY(cli_read_plan(call, path, &plan));
    SOW_TRY(cli_prove_folder(call, path, &folder));
    q->alpha = plan->test.alpha, q->sides = plan->test.sides, q->arms = plan->arm_count;
    sow_race race = {.folder = folder, .slots = (int)sow_int(call, "slots"), .what = "pilot"};
    SOW_TRY(sow_race_pilot(plan, &race, (int)sow_int(call, "seeds"), sd, pairs));
    for (int a = 0; a < plan->arm_count; a++)
        if (a != plan->reference) SOW_TRY(add_row(rows, q, plan->arms[a].name, sd[a], pairs[a]));
    return SOW_OK;
}

sow_status cli_prove_power(sow_call *call) {
    question q = {sow_real(call, "margin"), sow_real(call, "power"), sow_real(call, "alpha"), 2,
                  (int)sow_int(call, "arms")};
    bool pilot = sow_given(call, "pilot");
    json_t *rows = json_array();
    if (pilot == sow_given(call, "sd"))
        return sow_fail(SOW_E_ARGUMENT, "expected either --pilot PLAN, which measures the spread, or --sd");
    if (!(q.margin > 0)) return sow_fail(SOW_E_ARGUMENT, "--margin: expected a difference above 0");
    SOW_TRY(sow_put_real(call->result, "margin", q.margin));
    SOW_TRY(sow_put_real(call->result, "power", q.power));
    SOW_TRY(sow_put_json(call->result, "arms", rows));
    return pilot ? run_pilot(call, &q, rows) : add_row(rows, &q, "any", sow_real(call, "sd"), 0);
}
