/* Models that adapters are made for, as the options of eva and lora-sb name them. */
#include "starts/adapters/subject.h"

#include <string.h>

#include "sow/safetensors.h"

sow_status subject_check(sow_call *call, const char *of_model) {
    bool lm = sow_text(call, "model") != NULL, net = sow_text(call, "arch") != NULL;
    if (lm == net)
        return sow_fail(SOW_E_ARGUMENT, lm ? "--model and --arch exclude each other"
                                           : "missing --model, a language model, or --arch, a network on images");
    if (net != (sow_text(call, "start") != NULL))
        return sow_fail(SOW_E_ARGUMENT,
                        net ? "--arch needs --start, its trained weights" : "--start belongs to --arch");
    if (lm) return SOW_OK;
    if (sow_given(call, of_model)) return sow_fail(SOW_E_ARGUMENT, "--%s belongs to --model", of_model);
    sow_resolve(call, of_model, NULL); /* what does nothing does not stand in the passport */
    return base_without_texts(call);
}

sow_status subject_open_lm(sow_call *call, sow_status (*open)(sow_call *call, base_model *base), subject *s) {
    SOW_TRY(open(call, &s->base));
    s->all = s->base.all, s->sites = s->base.sites;
    s->name = s->base.inputs[0].name, s->data_name = s->base.inputs[1].name;
    memcpy(s->inputs, s->base.inputs, sizeof s->inputs);
    s->input_count = 2;
    return SOW_OK;
}

sow_status subject_open_network(sow_call *call, subject *s) {
    SOW_TRY(sow_data_open(sow_text(call, "data"), &(sow_data_options){.validation = -1}, &s->data));
    SOW_TRY(sow_model_new(sow_text(call, "arch"), &s->data->geometry, &s->model));
    SOW_TRY(sow_load_into(sow_text(call, "start"), s->model->state));
    SOW_TRY(sow_model_sites(call->arena, s->model, &s->all));
    SOW_TRY(sow_choose_sites(call->arena, &s->all, sow_text(call, "targets"), &s->sites));
    s->name = sow_text(call, "arch"), s->data_name = s->data->name;
    s->inputs[0] = sow_input_of("data", s->data->name, s->data->sha256);
    s->input_count = 1;
    return SOW_OK;
}

void subject_close(subject *s) {
    base_model_close(&s->base);
    sow_model_free(s->model);
    sow_data_free(s->data);
}

void subject_describe(const sow_call *call, const subject *s, sow_adapter *adapter) {
    if (adapter->count == s->sites.count) adapter->targets = base_targets(call->arena, &s->all, &s->sites);
    if (!s->base.lm) return;
    adapter->base = s->base.folder;
    adapter->task = s->base.lm->config.family == SOW_LM_BERT ? "FEATURE_EXTRACTION" : "CAUSAL_LM";
}
