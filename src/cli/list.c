/* sow list, sow help: what there is. */
#include <string.h>

#include "cli/cli.h"
#include "sow/nn.h"
#include "sow/state.h"

static sow_status add_row(json_t *rows, json_t *row) {
    return json_array_append_new(rows, row) ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

/* ---- methods ---- */

static sow_status list_methods(sow_call *call) {
    json_t *methods = json_array(), *verbs = json_array();
    if (json_object_set_new(call->result, "methods", methods) || json_object_set_new(call->result, "commands", verbs))
        return sow_fail(SOW_E_MEMORY, "out of memory");
    for (const sow_method *const *m = cli_methods; *m; m++) {
        if ((*m)->actions->bits & SOW_ACTION_HIDDEN) continue;
        if (!(*m)->paper) SOW_TRY(add_row(verbs, json_pack("{s:s,s:s}", "name", (*m)->name, "summary", (*m)->summary)));
        else
            SOW_TRY(add_row(methods, json_pack("{s:s,s:s,s:s,s:s}", "family", (*m)->family, "name", (*m)->name, "summary",
                                               (*m)->summary, "paper", (*m)->paper)));
    }
    return SOW_OK;
}

static const sow_option list_options[] = {{0}};

static const sow_action list_actions[] = {
    {"list", "show the methods and commands", list_options, list_methods, "sow list --json", 0},
    {0},
};

const sow_method sow_verb_list = {
    .name = "list", .family = "commands", .summary = "show methods, or the parameters of an architecture", .actions = list_actions,
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
    if (name && !action) return sow_fail(SOW_E_ARGUMENT, "%s has no action '%s'; `sow help %s` shows all", command, name, command);
    cli_help(stdout, method, action);
    return SOW_OK;
}

static const sow_action help_actions[] = {{"help", "explain a command", help_options, run_help, "sow help classic", 0}, {0}};

const sow_method sow_verb_help = {
    .name = "help", .family = "commands", .summary = "explain a command", .actions = help_actions,
};
