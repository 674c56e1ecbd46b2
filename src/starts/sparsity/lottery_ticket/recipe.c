/* Training recipes of the paper and of its authors' code, and the command line of the built-in trainer. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "starts/sparsity/lottery_ticket/ticket.h"

/* Figure 2 and appendices G to I. Milestones are fractions of the steps. */
typedef struct recipe {
    const char *preset, *arch; /* arch: a prefix */
    const char *steps, *batch, *optimizer, *lr, *momentum, *weight_decay, *augment, *normalisation, *val, *rate;
    double milestones[2];
    bool global;
} recipe;

static const recipe recipes[] = {
    {"frankle2019", "lenet300", "50000", "60", "adam", "0.0012", .rate = "fc=0.2,out=0.1"},
    {"frankle2019", "mlp:", "50000", "60", "adam", "0.0012", .rate = "fc=0.2,out=0.1"},
    {"frankle2019", "conv2", "20000", "60", "adam", "0.0002", .rate = "conv=0.1,fc=0.2,out=0.1"},
    {"frankle2019", "conv4", "25000", "60", "adam", "0.0003", .rate = "conv=0.1,fc=0.2,out=0.1"},
    {"frankle2019", "conv6", "30000", "60", "adam", "0.0003", .rate = "conv=0.15,fc=0.2,out=0.1"},
    {"frankle2019", "resnet20", "30000", "128", "sgd", "0.1", "0.9", "0.0001", "flip,crop", .rate = "conv=0.2",
     .milestones = {2.0 / 3, 5.0 / 6}, .global = true},
    {"frankle2019", "vgg19", "112480", "64", "sgd", "0.1", "0.9", "0.0001", "flip,crop", .rate = "conv=0.2",
     .milestones = {0.5, 0.75}, .global = true},
    {"google", "lenet300", "50000", "64", "sgd", "0.1", .normalisation = "row", .val = "0", .rate = "fc=0.2,out=0.1"},
    {"google", "mlp:", "50000", "64", "sgd", "0.1", .normalisation = "row", .val = "0", .rate = "fc=0.2,out=0.1"},
};

static sow_status set_milestones(sow_call *call, const recipe *r) {
    if (r->milestones[0] == 0 || sow_text(call, "schedule")) return SOW_OK;
    double steps = (double)sow_int(call, "steps");
    const char *text = sow_arena_format(call->arena, "multistep:%.0f,%.0f", r->milestones[0] * steps,
                                        r->milestones[1] * steps);
    sow_resolve(call, "schedule", text);
    return text ? SOW_OK : SOW_E_MEMORY;
}

sow_status ticket_apply_recipe(sow_call *call) {
    const char *preset = sow_text(call, "preset"), *arch = sow_text(call, "arch");
    const recipe *r = NULL;
    for (size_t i = 0; arch && i < sizeof recipes / sizeof *recipes && !r; i++)
        if (!strcmp(recipes[i].preset, preset) && !strncmp(arch, recipes[i].arch, strlen(recipes[i].arch)))
            r = &recipes[i];
    if (!r && arch && sow_given(call, "preset"))
        return sow_fail(SOW_E_ARGUMENT, "--preset %s has no recipe for %s; give --steps, --optimizer, --lr ... instead",
                        preset, arch);
    if (!r) {
        sow_resolve(call, "rate", "0.2");
        return SOW_OK;
    }
    if (!sow_given(call, "rate") && r->global) sow_resolve(call, "global", "true");
    sow_resolve(call, "rate", r->rate);
    sow_resolve(call, "steps", r->steps);
    sow_resolve(call, "batch", r->batch);
    /* a rate of another optimiser would not fit */
    if (sow_given(call, "optimizer") && strcmp(sow_text(call, "optimizer"), r->optimizer) && !sow_given(call, "lr"))
        return sow_fail(SOW_E_ARGUMENT, "--optimizer %s needs its --lr: the recipe's %s is for %s",
                        sow_text(call, "optimizer"), r->lr, r->optimizer);
    if (!sow_given(call, "optimizer")) sow_resolve(call, "momentum", r->momentum);
    sow_resolve(call, "optimizer", r->optimizer);
    sow_resolve(call, "lr", r->lr);
    sow_resolve(call, "weight-decay", r->weight_decay);
    sow_resolve(call, "augment", r->augment);
    sow_resolve(call, "normalisation", r->normalisation);
    sow_resolve(call, "val", r->val);
    sow_resolve(call, "evaluate-every", "100");
    return set_milestones(call, r);
}

/* ---- the built-in trainer ---- */

sow_status ticket_training_values(const sow_call *call, sow_variable **options, int *count) {
    int known = 0;
    while (ticket_training_options[known]) known++;
    SOW_TRY(SOW_NEW(call->arena, *options, known));
    *count = 0;
    for (int i = 0; i < known; i++) {
        const char *name = ticket_training_options[i], *value = sow_text(call, name);
        if (value) (*options)[(*count)++] = (sow_variable){name, value};
    }
    return SOW_OK;
}

int ticket_find_option(const sow_variable *options, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (!strcmp(options[i].name, name)) return i;
    return -1;
}

static const char *value_of(const sow_variable *options, int count, const char *name) {
    int at = ticket_find_option(options, count, name);
    return at < 0 ? NULL : options[at].value;
}

/* As the trainer will read them; numbers were checked by whoever read the options, or the trainer refuses them. */
void ticket_data_options_of(const sow_variable *options, int count, sow_data_options *out) {
    const char *limit = value_of(options, count, "limit"), *val = value_of(options, count, "val"),
               *seed = value_of(options, count, "data-seed");
    *out = (sow_data_options){
        .test = value_of(options, count, "test"),
        .limit = limit ? strtoll(limit, NULL, 10) : 0,
        .validation = val ? strtoll(val, NULL, 10) : -1,
        .data_seed = seed ? strtoull(seed, NULL, 10) : 0,
        .label = value_of(options, count, "label"),
        .normalisation = value_of(options, count, "normalisation"),
    };
}

sow_status ticket_geometry(const sow_call *call, const sow_data *data, sow_geometry *out) {
    const char *input = sow_text(call, "input");
    long long c = 0, h = 0, w = 0;
    int read = 0;
    *out = data ? data->geometry : (sow_geometry){0};
    if (data) return SOW_OK;
    if (sow_text(call, "classes")) out->classes = sow_int(call, "classes");
    if (!input) return SOW_OK;
    bool good = sscanf(input, "%lldx%lldx%lld%n", &c, &h, &w, &read) == 3 && !input[read] && c > 0 && h > 0 && w > 0;
    if (!good || c > 1 << 20 || h > 1 << 20 || w > 1 << 20)
        return sow_fail(SOW_E_ARGUMENT, "--input: found '%s', expected CxHxW, for example 1x28x28", input);
    out->channels = c, out->height = h, out->width = w;
    return SOW_OK;
}

sow_limits ticket_limits(const sow_call *call) {
    sow_limits limits = sow_limits_default();
    limits.start_seconds = sow_real(call, "start-seconds");
    limits.silent_seconds = sow_real(call, "silent-seconds");
    limits.cell_seconds = sow_real(call, "cell-seconds");
    return limits;
}

/* This program's own file: children run it again. */
static sow_status own_program(sow_arena *arena, const char **out) {
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0)
        return sow_fail(SOW_E_IO, "/proc/self/exe cannot be read, so the built-in trainer cannot be started");
    path[length] = 0;
    *out = sow_arena_copy(arena, path);
    return *out ? SOW_OK : SOW_E_MEMORY;
}

sow_status ticket_builtin_command(sow_arena *arena, const sow_variable *options, int count, char **out) {
    sow_variable *quoted;
    const char *program;
    SOW_TRY(own_program(arena, &program));
    SOW_TRY(SOW_NEW(arena, quoted, count + 1));
    /* sow_expand quotes values, and braces in the result are doubled so that it can be expanded again */
    char *template = sow_arena_copy(arena, "exec {program} train"), *text;
    quoted[0] = (sow_variable){"program", program};
    for (int i = 0; i < count && template; i++) {
        quoted[i + 1] = options[i];
        template = sow_arena_format(arena, "%s --%s={%s}", template, options[i].name, options[i].name);
    }
    if (!template) return SOW_E_MEMORY;
    SOW_TRY(sow_expand(arena, template, quoted, count + 1, &text));
    char *doubled = sow_arena_take(arena, 2 * strlen(text) + 1, 1), *to = doubled;
    if (!doubled) return SOW_E_MEMORY;
    for (const char *c = text; *c; c++) {
        if (*c == '{') *to++ = '{';
        *to++ = *c;
    }
    *out = sow_arena_format(arena, "%s%s", doubled, TICKET_BUILTIN_FILES);
    return *out ? SOW_OK : SOW_E_MEMORY;
}
