/* The method table: from it come commands, help, manual pages, completion, `sow list` and the documentation's tables. */
#include <string.h>

#include "cli/cli.h"
#include "sow/adapters.h"
#include "sow/factors.h"
#include "sow/groups.h"
#include "sow/log.h"
#include "sow/sparsity.h"
#include "sow/steps.h"
#include "sow/text.h"
#include "sow/threads.h"

extern const sow_method sow_method_mycorrhiza;
extern const sow_method sow_method_classic;
extern const sow_method sow_verb_adapter, sow_verb_completion, sow_verb_docs, sow_verb_fetch, sow_verb_help, sow_verb_inspect,
    sow_verb_list, sow_verb_lm, sow_verb_man, sow_verb_prove, sow_verb_replay, sow_verb_report, sow_verb_stats, sow_verb_study,
    sow_verb_train;

const sow_method *const cli_methods[] = {
    /* weights */
    &sow_method_classic,
    /* sparsity */
    &sow_method_lottery_ticket,
    /* steps */
    &sow_method_sgd_sai,
    /* adapters */
    &sow_method_eva,
    &sow_method_lora_sb,
    &sow_method_lora_fair,
    /* factors */
    &sow_method_subgm,
    &sow_method_matrix_gd,
    /* groups */
    &sow_method_mycorrhiza,
    &sow_method_ppp,
    /* verbs */
    &sow_verb_list,
    &sow_verb_train,
    &sow_verb_lm,
    &sow_verb_adapter,
    &sow_verb_prove,
    &sow_verb_study,
    &sow_verb_stats,
    &sow_verb_inspect,
    &sow_verb_report,
    &sow_verb_replay,
    &sow_verb_fetch,
    &sow_verb_help,
    &sow_verb_man,
    &sow_verb_completion,
    &sow_verb_docs,
    NULL,
};

extern const sow_study sow_study_eva;
extern const sow_study sow_study_mycorrhiza;
extern const sow_study sow_study_lottery_ticket, sow_study_ppp;
extern const sow_study sow_study_matrix_gd;
extern const sow_study sow_study_subgm;
extern const sow_study sow_study_lora_sb;
extern const sow_study sow_study_sgd_sai;
extern const sow_study sow_study_lora_fair;

const sow_study *const cli_studies[] = {
    &sow_study_eva,
    &sow_study_mycorrhiza,
    &sow_study_lottery_ticket,
    &sow_study_lora_sb,
    &sow_study_matrix_gd,
    &sow_study_subgm,
    &sow_study_sgd_sai,
    &sow_study_lora_fair,
    &sow_study_ppp,
    NULL,
};

enum { NAMES_MAX = 128 };

static sow_status no_such(const char *what, const char *name, const char *const *names, int count, const char *lister) {
    const char *near = sow_nearest(name, names, count);
    if (near) return sow_fail(SOW_E_ARGUMENT, "no %s '%s'; did you mean %s?", what, name, near);
    return sow_fail(SOW_E_ARGUMENT, "no %s '%s'; %s", what, name, lister);
}

sow_status cli_find_method(const char *name, const sow_method **out) {
    const char *names[NAMES_MAX];
    int count = 0;
    for (const sow_method *const *m = cli_methods; *m && count < NAMES_MAX; m++) {
        if (strcmp((*m)->name, name) == 0) {
            *out = *m;
            return SOW_OK;
        }
        if (!((*m)->actions->bits & SOW_ACTION_HIDDEN)) names[count++] = (*m)->name;
    }
    return no_such("command", name, names, count, "`sow list` shows all");
}

sow_status cli_find_study(const char *name, const sow_study **out) {
    const char *names[NAMES_MAX];
    int count = 0;
    for (const sow_study *const *s = cli_studies; *s && count < NAMES_MAX; s++) {
        if (strcmp((*s)->name, name) == 0) {
            *out = *s;
            return SOW_OK;
        }
        names[count++] = (*s)->name;
    }
    return no_such("study", name, names, count, "`sow study` lists them");
}

bool cli_has_actions(const sow_method *method) {
    return method->actions[1].name != NULL;
}

static bool has_arguments(const sow_action *action) {
    for (const sow_option *o = action->options; o->name; o++)
        if (o->bits & SOW_OPTION_POSITIONAL) return true;
    return false;
}

/* The action that the first word names, else the default one (*used tells which). */
static sow_status choose_action(const sow_method *method, const char *word, const sow_action **action, bool *used) {
    const char *names[NAMES_MAX];
    int count = 0;
    *action = method->actions;
    *used = false;
    if (!cli_has_actions(method) || !word || word[0] == '-') return SOW_OK;
    for (const sow_action *a = method->actions; a->name && count < NAMES_MAX; a++) {
        if (strcmp(a->name, word) == 0) {
            *action = a;
            *used = true;
            return SOW_OK;
        }
        names[count++] = a->name;
    }
    return has_arguments(method->actions) ? SOW_OK : no_such("action", word, names, count, "--help shows all");
}

sow_status cli_parse(sow_call *call, const sow_method *method, int count, const char *const *words) {
    bool used;
    call->method = method;
    call->action = method->actions; /* for messages, should the next line fail */
    SOW_TRY(choose_action(method, count > 0 ? words[0] : NULL, &call->action, &used));
    return sow_parse(call, count - used, words + used);
}

sow_status cli_run(sow_call *call) {
    sow_set_threads(call->threads);
    if (!call->result) call->result = json_object();
    if (!call->result) return sow_fail(SOW_E_MEMORY, "out of memory");
    SOW_TRY(sow_check_interrupt());
    sow_float_mode mode = sow_flush_denormals();
    sow_status status = call->action->run(call);
    sow_restore_float_mode(mode);
    return status;
}

sow_status cli_geometry(const sow_call *call, sow_geometry *out) {
    sow_status status = sow_geometry_parse(sow_text(call, "input"), sow_int(call, "classes"), out);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "--input");
}

sow_status cli_model(const char *arch, const sow_geometry *geometry, sow_model **out) {
    sow_status status = sow_model_new(arch, geometry, out);
    return status == SOW_E_NOT_FOUND ? sow_fail_in(SOW_E_ARGUMENT, "--arch") : status;
}
