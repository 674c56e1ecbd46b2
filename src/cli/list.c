/* sow list, sow help: what there is. */
#include <string.h>

#include "cli/cli.h"
#include "sow/json.h"
#include "sow/nn.h"
#include "sow/state.h"

/* ---- methods ---- */

static sow_status list_methods(sow_call *call) {
    json_t *methods = json_array(), *verbs = json_array();
    SOW_TRY(sow_put_json(call->result, "methods", methods));
    SOW_TRY(sow_put_json(call->result, "commands", verbs));
    for (const sow_method *const *m = cli_methods; *m; m++) {
        if ((*m)->actions->bits & SOW_ACTION_HIDDEN) continue;
        if (!(*m)->paper)
            SOW_TRY(sow_append_json(verbs, json_pack("{s:s,s:s}", "name", (*m)->name, "summary", (*m)->summary)));
        else
            SOW_TRY(sow_append_json(methods, json_pack("{s:s,s:s,s:s,s:s}", "family", (*m)->family, "name", (*m)->name,
                                                       "summary", (*m)->summary, "paper", (*m)->paper)));
    }
    return SOW_OK;
}

/* ---- architectures ---- */

static sow_status list_architectures(sow_call *call) {
    int count;
    const sow_architecture *table = sow_architectures(&count);
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(call->result, "architectures", rows));
    for (int i = 0; i < count; i++)
        SOW_TRY(sow_append_json(rows, json_pack("{s:s,s:s}", "name", table[i].name, "summary", table[i].summary)));
    return SOW_OK;
}

static json_t *shape_value(const sow_call *call, sow_tensor t) {
    char text[SOW_SHAPE_TEXT];
    if (!call->json) return json_string(sow_shape_text(t, text));
    json_t *list = json_array();
    for (int d = 0; d < t.rank; d++) json_array_append_new(list, json_integer(t.shape[d]));
    return list;
}

static sow_status describe_model(sow_call *call, const sow_model *model) {
    const sow_geometry *g = &model->geometry;
    json_t *rows = json_array();
    SOW_TRY(sow_put_text(call->result, "arch", model->arch));
    SOW_TRY(sow_put_format(call->result, "input", "%lldx%lldx%lld", (long long)g->channels, (long long)g->height,
                           (long long)g->width));
    SOW_TRY(sow_put_count(call->result, "classes", g->classes));
    SOW_TRY(sow_put_count(call->result, "weights", sow_state_weights(model->state)));
    SOW_TRY(sow_put_count(call->result, "parameters", sow_state_parameters(model->state)));
    SOW_TRY(sow_put_json(call->result, "tensors", rows));
    for (int64_t i = 0; i < sow_state_count(model->state); i++) {
        static const char *const roles[] = {"weight", "bias", "norm", "embedding", "buffer"};
        const sow_entry *e = sow_state_entry(model->state, i);
        SOW_TRY(sow_append_json(rows, json_pack("{s:s,s:s,s:o,s:I,s:s,s:s}", "name", e->name, "dtype",
                                                sow_dtype_name(e->value.dtype), "shape", shape_value(call, e->value),
                                                "elements", (json_int_t)sow_count(e->value), "role", roles[e->role],
                                                "group", e->group)));
    }
    return SOW_OK;
}

static sow_status list_model(sow_call *call, const char *arch) {
    sow_geometry geometry = {0};
    sow_model *model;
    SOW_TRY(cli_geometry(call, &geometry));
    SOW_TRY(cli_model(arch, &geometry, &model));
    sow_status status = describe_model(call, model);
    sow_model_free(model);
    return status;
}

static sow_status run_list(sow_call *call) {
    const char *arch = sow_text(call, "arch");
    if (!arch) return list_methods(call);
    return strcmp(arch, "all") == 0 ? list_architectures(call) : list_model(call, arch);
}

static const sow_option list_options[] = {
    SOW_OPTION_TEXT("arch", NULL, "show the parameters of this architecture (all: the names of architectures)"),
    SOW_OPTION_TEXT("input", NULL, "input as CxHxW; default: that of the architecture's paper"),
    SOW_OPTION_INT("classes", NULL, 1, 1e6, "classes; default: those of the architecture's paper"),
    {0},
};

static const sow_action list_actions[] = {
    {"list", "show methods, or the parameters of an architecture", list_options, run_list, "sow list --arch lenet300",
     0},
    {0},
};

const sow_method sow_verb_list = {
    .name = "list",
    .family = "commands",
    .summary = "show methods, or the parameters of an architecture",
    .actions = list_actions,
};

/* ---- help ---- */

static const sow_option help_options[] = {
    {"command", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL, "the command to explain", SOW_OPTION_POSITIONAL},
    {"action", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL, "one of its actions", SOW_OPTION_POSITIONAL},
    {0},
};

static sow_status run_help(sow_call *call) {
    const sow_method *method;
    const char *command = sow_text(call, "command"), *name = sow_text(call, "action");
    const sow_action *action = NULL;
    if (!command) {
        cli_help_overview(stdout);
        return SOW_OK;
    }
    SOW_TRY(cli_find_method(command, &method));
    for (const sow_action *a = method->actions; name && a->name; a++)
        if (strcmp(a->name, name) == 0) action = a;
    if (name && !action)
        return sow_fail(SOW_E_ARGUMENT, "%s has no action '%s'; `sow help %s` shows all", command, name, command);
    cli_help(stdout, method, action);
    return SOW_OK;
}

static const sow_action help_actions[] = {{"help", "explain a command", help_options, run_help, "sow help classic", 0},
                                          {0}};

const sow_method sow_verb_help = {
    .name = "help",
    .family = "commands",
    .summary = "explain a command",
    .actions = help_actions,
};
