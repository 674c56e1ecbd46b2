/* Recipes: options of trainings, those of papers, and the command lines that they become. */
#include <stdlib.h>
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/trainer.h"

const char *const sow_trainer_options[] = {"arch",      "data",  "val",           "test",           "limit",
                                           "data-seed", "label", "normalisation", "input",          "classes",
                                           "optimizer", "lr",    "momentum",      "nesterov",       "weight-decay",
                                           "schedule",  "steps", "batch",         "evaluate-every", "augment",
                                           "dropout",   NULL};

sow_limits sow_trainer_limits(const sow_call *call) {
    sow_limits limits = sow_limits_default();
    limits.start_seconds = sow_real(call, "start-seconds");
    limits.silent_seconds = sow_real(call, "silent-seconds");
    limits.cell_seconds = sow_real(call, "cell-seconds");
    return limits;
}

/* ---- published recipes ---- */

sow_status sow_milestones(sow_arena *arena, int64_t steps, const double shares[2], const char **schedule) {
    *schedule = sow_arena_format(arena, "multistep:%.0f,%.0f", shares[0] * (double)steps, shares[1] * (double)steps);
    return *schedule ? SOW_OK : SOW_E_MEMORY;
}

static const sow_preset *find_preset(const sow_call *call, const sow_preset *presets, int count) {
    const char *name = sow_text(call, "preset"), *arch = sow_text(call, "arch");
    for (int i = 0; arch && i < count; i++)
        if (!strcmp(presets[i].name, name) && !strncmp(arch, presets[i].arch, strlen(presets[i].arch)))
            return &presets[i];
    return NULL;
}

static const char *option_of(const sow_preset *preset, const char *name) {
    for (const sow_variable *o = preset->options; o->name; o++)
        if (!strcmp(o->name, name)) return o->value;
    return NULL;
}

static sow_status check_optimizer(const sow_call *call, const sow_preset *preset) {
    const char *given = sow_text(call, "optimizer"), *own = option_of(preset, "optimizer");
    if (!sow_given(call, "optimizer") || !strcmp(given, own) || sow_given(call, "lr")) return SOW_OK;
    return sow_fail(SOW_E_ARGUMENT, "--optimizer %s needs its --lr: the recipe's %s is for %s", given,
                    option_of(preset, "lr"), own);
}

sow_status sow_preset_apply(sow_call *call, const sow_preset *presets, int count, const sow_preset **found) {
    const sow_preset *preset = *found = find_preset(call, presets, count);
    const char *schedule;
    if (!preset && sow_text(call, "arch") && sow_given(call, "preset"))
        return sow_fail(SOW_E_ARGUMENT, "--preset %s has no recipe for %s; give --steps, --optimizer, --lr ... instead",
                        sow_text(call, "preset"), sow_text(call, "arch"));
    if (!preset) return SOW_OK;
    SOW_TRY(check_optimizer(call, preset));
    bool own = sow_given(call, "optimizer"); /* a momentum of the recipe's would not fit either */
    for (const sow_variable *o = preset->options; o->name; o++)
        if (!own || strcmp(o->name, "momentum") != 0) sow_resolve(call, o->name, o->value);
    if (preset->milestones[0] == 0 || sow_text(call, "schedule")) return SOW_OK;
    SOW_TRY(sow_milestones(call->arena, sow_int(call, "steps"), preset->milestones, &schedule));
    sow_resolve(call, "schedule", schedule);
    return SOW_OK;
}

/* ---- recipes ---- */

/* Its number; that of the next one where it is not said. */
static int find(const sow_recipe *recipe, const char *name) {
    int i = 0;
    while (i < recipe->count && strcmp(recipe->options[i].name, name) != 0) i++;
    return i;
}

const char *sow_recipe_option(const sow_recipe *recipe, const char *name) {
    int i = find(recipe, name);
    return i < recipe->count ? recipe->options[i].value : NULL;
}

int64_t sow_recipe_steps(const sow_recipe *recipe) {
    const char *steps = sow_recipe_option(recipe, "steps");
    return steps ? strtoll(steps, NULL, 10) : 0;
}

sow_status sow_recipe_set(sow_recipe *recipe, const char *name, const char *value) {
    int i = find(recipe, name);
    if (i == SOW_RECIPE_OPTIONS)
        return sow_fail(SOW_E_RANGE, "a training has more than %d options", SOW_RECIPE_OPTIONS);
    recipe->options[i] = (sow_variable){name, value};
    if (i == recipe->count) recipe->count++;
    return SOW_OK;
}

void sow_recipe_of_call(const sow_call *call, sow_recipe *out) {
    *out = (sow_recipe){.command = sow_text(call, "train")};
    for (const char *const *name = sow_trainer_options; *name; name++) {
        const char *value = sow_text(call, *name);
        if (value) out->options[out->count++] = (sow_variable){*name, value};
    }
}

sow_status sow_recipe_check(const sow_recipe *recipe) {
    if (recipe->command) {
        if (sow_uses(recipe->command, "init") && sow_uses(recipe->command, "out")) return SOW_OK;
        return sow_fail(SOW_E_ARGUMENT,
                        "--train: expected at least {init} and {out} in the command (and {mask}, {seed})");
    }
    if (!sow_recipe_option(recipe, "arch"))
        return sow_fail(SOW_E_ARGUMENT,
                        "give --arch NAME for the built-in trainer, or --train COMMAND with --start FILE");
    if (!sow_recipe_option(recipe, "data"))
        return sow_fail(SOW_E_ARGUMENT, "give --data NAME, for example --data fashion-mnist");
    if (!sow_recipe_option(recipe, "steps"))
        return sow_fail(SOW_E_ARGUMENT, "give --steps N: no recipe knows %s", sow_recipe_option(recipe, "arch"));
    return SOW_OK;
}

/* ---- in reports ---- */

sow_status sow_recipe_json(const sow_recipe *recipe, json_t **out) {
    sow_status status = SOW_OK;
    *out = json_object();
    for (int i = 0; i < recipe->count && status == SOW_OK; i++) {
        const char *value = recipe->options[i].value;
        if (strchr(value, '/')) value = sow_path_name(value);
        status = sow_put_text(*out, recipe->options[i].name, value);
    }
    if (status != SOW_OK) json_decref(*out);
    return status;
}

sow_status sow_recipe_read(sow_arena *arena, const json_t *options, sow_recipe *recipe) {
    for (const char *const *name = sow_trainer_options; *name; name++) {
        const char *value = json_string_value(json_object_get(options, *name));
        if (!value) continue;
        if (!(value = sow_arena_copy(arena, value))) return SOW_E_MEMORY;
        SOW_TRY(sow_recipe_set(recipe, *name, value));
    }
    return SOW_OK;
}

/* ---- data ---- */

/* As the trainer will read them; numbers were checked by whoever read the options, or the trainer refuses them. */
sow_status sow_recipe_data(const sow_recipe *recipe, sow_data **out) {
    const char *limit = sow_recipe_option(recipe, "limit"), *val = sow_recipe_option(recipe, "val"),
               *seed = sow_recipe_option(recipe, "data-seed"), *name = sow_recipe_option(recipe, "data");
    const sow_data_options how = {
        .test = sow_recipe_option(recipe, "test"),
        .limit = limit ? strtoll(limit, NULL, 10) : 0,
        .validation = val ? strtoll(val, NULL, 10) : -1,
        .data_seed = seed ? strtoull(seed, NULL, 10) : 0,
        .label = sow_recipe_option(recipe, "label"),
        .normalisation = sow_recipe_option(recipe, "normalisation"),
    };
    if (!name) return sow_fail(SOW_E_ARGUMENT, "the training names no data (--data)");
    return sow_data_open(name, &how, out);
}

sow_status sow_recipe_geometry(const sow_recipe *recipe, sow_geometry *out) {
    const char *classes = sow_recipe_option(recipe, "classes");
    sow_status status = sow_geometry_parse(sow_recipe_option(recipe, "input"), classes ? strtoll(classes, NULL, 10) : 0,
                                           out);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "--input");
}

/* ---- one training ---- */

enum { OWN_VARIABLES = 10 };

/* The built-in trainer's command line, with placeholders. */
static sow_status builtin(sow_arena *arena, const sow_recipe *recipe, const sow_trial *trial, const char **out) {
    char *trainer;
    unsigned files = (trial->init ? SOW_BUILTIN_INIT : 0) | (trial->mask ? SOW_BUILTIN_MASK : 0);
    SOW_TRY(sow_builtin_trainer(arena, recipe->options, recipe->count, files, &trainer));
    *out = sow_arena_format(arena, "%s --threads {threads} --test-at-best%s", trainer,
                            trial->rewinds ? " --save-step {rewind-step} --save-state {rewind}" : "");
    return *out ? SOW_OK : SOW_E_MEMORY;
}

/* Placeholders of a training, before those of the recipe. */
static sow_status own_variables(sow_arena *arena, const sow_trial *trial, sow_variable *out, int *count) {
    const sow_variable own[] = {
        {"init", trial->init ? trial->init : ""},
        {"mask", trial->mask ? trial->mask : ""},
        {"out", trial->out},
        {"seed", sow_arena_format(arena, "%llu", (unsigned long long)trial->seed)},
        {"dir", trial->folder ? trial->folder : ""},
        {"arm", trial->arm ? trial->arm : ""},
        {"round", sow_arena_format(arena, "%d", trial->round)},
        {"threads", sow_arena_format(arena, "%d", trial->threads)},
        {"rewind", trial->rewind}, /* these two last: offered only to experiments that rewind */
        {"rewind-step", sow_arena_format(arena, "%lld", (long long)trial->rewind_step)},
    };
    *count = OWN_VARIABLES - (trial->rewind ? 0 : 2);
    for (int i = 0; i < *count; i++)
        if (!own[i].value) return SOW_E_MEMORY;
    memcpy(out, own, (size_t)*count * sizeof *out);
    return SOW_OK;
}

sow_status sow_recipe_command(sow_arena *arena, const sow_recipe *recipe, const sow_trial *trial, char **command) {
    const char *template = recipe->command;
    sow_variable *variables;
    int count;
    SOW_TRY(SOW_NEW(arena, variables, OWN_VARIABLES + trial->more_count + recipe->count));
    SOW_TRY(own_variables(arena, trial, variables, &count));
    for (int i = 0; i < trial->more_count; i++) variables[count++] = trial->more[i];
    for (int i = 0; i < recipe->count; i++) variables[count++] = recipe->options[i];
    if (!template) SOW_TRY(builtin(arena, recipe, trial, &template));
    return sow_expand(arena, template, variables, count, command);
}
