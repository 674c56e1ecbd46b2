/* The options of an optimiser: read, completed, and refused where they belong to another one. */
#include "optim/options.h"

#include <string.h>

static const char *default_rate(sow_optimizer_kind kind) {
    return kind == SOW_SGD_SAI ? "0.01" : kind == SOW_SGD || kind == SOW_SGDM ? "0.1" : "0.001";
}

/* Which optimisers take an option. */
static const struct {
    const char *option;
    unsigned kinds;
} owners[] = {
    {"momentum", 1U << SOW_SGD | 1U << SOW_SGDM | 1U << SOW_SGD_SAI},
    {"dampening", 1U << SOW_SGD},
    {"nesterov", 1U << SOW_SGD},
    {"beta1", 1U << SOW_ADAM | 1U << SOW_ADAMW},
    {"beta2", 1U << SOW_ADAM | 1U << SOW_ADAMW},
    {"scales", 1U << SOW_SGD_SAI},
    {"sqrt-n", 1U << SOW_SGD_SAI},
    {"scale-norm", 1U << SOW_SGD_SAI},
    {"scale-blocks", 1U << SOW_SGD_SAI},
};

static sow_status check_owners(const sow_call *call, sow_optimizer_kind kind) {
    for (size_t i = 0; i < sizeof owners / sizeof *owners; i++) {
        if (!sow_given(call, owners[i].option) || owners[i].kinds & 1U << kind) continue;
        if (!strcmp(owners[i].option, "momentum") && sow_real(call, "momentum") == 0) continue;
        char list[64] = "";
        for (int k = 0; k < SOW_OPTIMIZERS; k++)
            if (owners[i].kinds & 1U << k) {
                if (*list) strcat(list, " or ");
                strcat(list, sow_optimizer_name((sow_optimizer_kind)k));
            }
        return sow_fail(SOW_E_ARGUMENT, "--%s belongs to --optimizer %s, not to %s", owners[i].option, list,
                        sow_text(call, "optimizer"));
    }
    return SOW_OK;
}

sow_status optim_check_options(sow_call *call, sow_optimizer_config *out) {
    *out = (sow_optimizer_config){0};
    SOW_TRY(sow_optimizer_parse(sow_text(call, "optimizer"), &out->kind));
    SOW_TRY(check_owners(call, out->kind));
    bool average = out->kind == SOW_SGDM || out->kind == SOW_SGD_SAI;
    sow_resolve(call, "lr", default_rate(out->kind));
    sow_resolve(call, "momentum", average ? "0.9" : "0");
    out->rate = sow_real(call, "lr");
    out->momentum = sow_real(call, "momentum");
    out->dampening = sow_real(call, "dampening");
    out->nesterov = sow_flag(call, "nesterov");
    out->beta1 = sow_real(call, "beta1");
    out->beta2 = sow_real(call, "beta2");
    out->weight_decay = sow_real(call, "weight-decay");
    if (out->nesterov && out->momentum == 0) return sow_fail(SOW_E_ARGUMENT, "--nesterov needs --momentum");
    if (out->nesterov && out->dampening > 0)
        return sow_fail(SOW_E_ARGUMENT, "--nesterov and --dampening exclude each other");
    if (sow_text(call, "scale-norm")) SOW_TRY(sow_scale_norm_parse(sow_text(call, "scale-norm"), &out->normalise));
    if (sow_text(call, "scale-blocks"))
        SOW_TRY(sow_block_kind_parse(sow_text(call, "scale-blocks"), &out->blocks.kind));
    if (!sow_text(call, "scales")) return SOW_OK;
    static const char *const of_measuring[] = {"sqrt-n", "scale-norm", "scale-blocks"};
    for (int i = 0; i < 3; i++)
        if (sow_given(call, of_measuring[i]))
            return sow_fail(SOW_E_ARGUMENT, "--scales and --%s exclude each other: the table is used as it is",
                            of_measuring[i]);
    return SOW_OK;
}

sow_status optim_read_options(sow_call *call, const sow_state *state, int64_t heads, sow_optimizer_config *out) {
    sow_scales *table;
    const char *path = sow_text(call, "scales");
    SOW_TRY(optim_check_options(call, out));
    out->blocks.heads = heads;
    if (out->blocks.kind == SOW_BLOCKS_HEAD && heads == 0)
        return sow_fail(SOW_E_ARGUMENT, "--scale-blocks head: this model has no attention heads");
    if (!path && !sow_flag(call, "sqrt-n")) return SOW_OK;
    SOW_TRY(SOW_NEW(call->arena, table, 1));
    out->scales = table;
    if (!path) return sow_scales_sqrt_n(call->arena, state, &out->blocks, out->normalise, table);
    SOW_TRY(sow_scales_read(call->arena, path, table));
    sow_status status = sow_scales_fit(table, state);
    return status ? sow_fail_in(status, "%s", path) : SOW_OK;
}
