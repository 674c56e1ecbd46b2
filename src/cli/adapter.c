/* sow adapter: what a PEFT folder holds, and the same update in another form. */
#include <math.h>
#include <string.h>

#include "cli/lm.h"
#include "sow/adapter.h"
#include "sow/file.h"
#include "sow/gguf.h"
#include "sow/json.h"

/* An adapter, and the model it is for where --model says so. */
typedef struct opened {
    sow_adapter *adapter;
    sow_lm *lm;
    sow_sites sites;
} opened;

static sow_status open_all(sow_call *call, opened *o) {
    const char *model = sow_text(call, "model");
    *o = (opened){0};
    SOW_TRY(sow_adapter_read(sow_text(call, "adapter"), sow_flag(call, "as-lora"), &o->adapter));
    if (!model) return SOW_OK;
    SOW_TRY(sow_lm_open(model, &o->lm));
    SOW_TRY(sow_lm_sites(call->arena, o->lm, &o->sites));
    return sow_adapter_bind(o->adapter, &o->sites);
}

static void close_all(opened *o) {
    sow_adapter_free(o->adapter);
    sow_lm_free(o->lm);
}

/* ---- inspect ---- */

static const char *kind_of(const sow_adapter *a) {
    const sow_adapter_layer *l = a->count > 0 ? a->layers : NULL;
    return !l             ? "whole modules"
           : l->core      ? "LoRA with a core (LoRA-XS, LoRA-SB)"
           : l->magnitude ? "DoRA"
           : a->rslora    ? "rsLoRA"
                          : "LoRA";
}

static double norm_of(sow_tensor t) {
    double sum = 0;
    for (int64_t i = 0, n = sow_count(t); i < n; i++) {
        double x = sow_at(t, i);
        sum += x * x;
    }
    return sqrt(sum);
}

static json_t *describe_layer(const sow_adapter_layer *l) {
    double update = sow_adapter_norm(l);
    json_t *row = json_pack("{s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "module", l->module, "in", (json_int_t)l->in,
                            "out", (json_int_t)l->out, "rank", (json_int_t)l->rank, "scale", l->scale, "|A|",
                            norm_of(l->a->value), "|B|", norm_of(l->b->value), "|update|", update);
    if (row && l->site && l->site->weight)
        json_object_set_new(row, "of the weight", json_real(update / norm_of(l->site->weight->value)));
    return row;
}

static sow_status describe(sow_call *call, const sow_adapter *a) {
    int64_t least = INT64_MAX, most = 0, sum = 0;
    json_t *rows = json_array();
    for (int64_t i = 0; i < a->count; i++) {
        int64_t r = a->layers[i].rank;
        least = r < least ? r : least, most = r > most ? r : most, sum += r;
    }
    SOW_TRY(sow_put_text(call->result, "kind", kind_of(a)));
    SOW_TRY(sow_put_text(call->result, "base", a->base ? a->base : "not named"));
    SOW_TRY(sow_put_count(call->result, "layers", a->count));
    if (a->count > 0) {
        SOW_TRY(sow_put_count(call->result, "least rank", least));
        SOW_TRY(sow_put_count(call->result, "largest rank", most));
        SOW_TRY(sow_put_count(call->result, "sum of ranks", sum));
    }
    if (a->whole_count > 0) SOW_TRY(sow_put_count(call->result, "whole modules", a->whole_count));
    SOW_TRY(sow_put_count(call->result, "trained numbers", sow_adapter_trained(a)));
    SOW_TRY(sow_put_json(call->result, "modules", rows));
    for (int64_t i = 0; i < a->count; i++) SOW_TRY(sow_append_json(rows, describe_layer(&a->layers[i])));
    return SOW_OK;
}

static sow_status run_inspect(sow_call *call) {
    opened o;
    sow_status status = open_all(call, &o);
    if (status == SOW_OK) status = describe(call, o.adapter);
    close_all(&o);
    return status;
}

/* ---- convert ---- */

/* llama.cpp has one alpha for all layers and its own names; llama's q and k rows are reordered in its files. */
static sow_status gguf_layer(sow_call *call, const opened *o, const sow_adapter_layer *l, const char **names,
                             sow_tensor *tensors) {
    const char *module = sow_lm_gguf_module(call->arena, &o->lm->config, l->module);
    sow_tensor b;
    if (!module) return sow_fail(SOW_E_UNSUPPORTED, "%s has no name in GGUF files", l->module);
    names[0] = sow_arena_format(call->arena, "%s.weight.lora_a", module);
    names[1] = sow_arena_format(call->arena, "%s.weight.lora_b", module);
    if (!names[0] || !names[1]) return SOW_E_MEMORY;
    SOW_TRY(sow_tensor_new(call->arena, SOW_F32, 2, l->b->value.shape, &b));
    double factor = l->scale * (double)l->rank / o->adapter->alpha; /* there the scale is alpha / rank */
    for (int64_t i = 0; i < l->out; i++) {
        const float *from = (const float *)l->b->value.data +
                            sow_lm_gguf_row(&o->lm->config, l->module, l->out, i) * l->rank;
        for (int64_t j = 0; j < l->rank; j++) ((float *)b.data)[i * l->rank + j] = (float)(factor * (double)from[j]);
    }
    tensors[0] = l->a->value;
    tensors[1] = b;
    return SOW_OK;
}

static sow_status write_gguf(sow_call *call, const opened *o, const char *path) {
    const sow_adapter *a = o->adapter;
    const char **names;
    sow_tensor *tensors;
    if (!o->lm) return sow_fail(SOW_E_ARGUMENT, "--to gguf needs --model, the base model: its family gives the names");
    if (a->whole_count > 0)
        return sow_fail(SOW_E_UNSUPPORTED, "whole modules have no place in a LoRA GGUF file: fuse instead");
    if (a->alpha == 0) return sow_fail(SOW_E_ARGUMENT, "alpha is 0: give another by --alpha");
    SOW_TRY(SOW_NEW(call->arena, names, 2 * a->count + 1));
    SOW_TRY(SOW_NEW(call->arena, tensors, 2 * a->count + 1));
    for (int64_t i = 0; i < a->count; i++) SOW_TRY(gguf_layer(call, o, &a->layers[i], names + 2 * i, tensors + 2 * i));
    const sow_gguf_entry entries[] = {{"general.architecture", sow_lm_architecture(&o->lm->config), 0},
                                      {"general.type", "adapter", 0},
                                      {"adapter.type", "lora", 0},
                                      {"adapter.lora.alpha", NULL, (float)a->alpha}};
    SOW_TRY(sow_gguf_write(path, entries, 4, 2 * a->count, names, tensors));
    return sow_wrote(call, path);
}

static sow_status write_folder(sow_call *call, const sow_adapter *a, const char *folder, double lost) {
    const char *passport, *names[] = {"adapter_config.json", "adapter_model.safetensors", "README.md"};
    SOW_TRY(sow_passport(call, "adapter_model.safetensors", NULL, 0, &passport));
    char *card = sow_arena_format(
        call->arena,
        "Plain LoRA made from %s by `sow adapter convert`: %lld layers, rank %lld, alpha %g; %.3g of |update|^2 was lost.\n",
        sow_path_name(sow_text(call, "adapter")), (long long)a->count, (long long)a->rank, a->alpha, lost);
    if (!card) return SOW_E_MEMORY;
    SOW_TRY(sow_make_folder(folder));
    SOW_TRY(sow_adapter_write(a, folder, passport, card));
    for (int i = 0; i < 3; i++) SOW_TRY(sow_wrote_in(call, folder, names[i]));
    return SOW_OK;
}

static sow_status convert(sow_call *call, opened *o) {
    const char *out = sow_text(call, "out");
    bool gguf = !strcmp(sow_text(call, "to"), "gguf");
    double lost = 0;
    sow_adapter *made;
    SOW_TRY(sow_adapter_convert(o->adapter, sow_text(call, "rank") ? sow_int(call, "rank") : 0,
                                sow_text(call, "alpha") ? sow_real(call, "alpha") : NAN, &made, &lost));
    sow_adapter_free(o->adapter);
    o->adapter = made;
    SOW_TRY(sow_put_count(call->result, "layers", made->count));
    SOW_TRY(sow_put_count(call->result, "rank", made->rank));
    SOW_TRY(sow_put_real(call->result, "alpha", made->alpha));
    SOW_TRY(sow_put_real(call->result, "share of |update|^2 lost", lost));
    return gguf ? write_gguf(call, o, out) : write_folder(call, made, out, lost);
}

static sow_status run_convert(sow_call *call) {
    opened o = {0};
    SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    sow_status status = open_all(call, &o);
    if (status == SOW_OK) status = convert(call, &o);
    close_all(&o);
    return status;
}

/* ---- fuse ---- */

static sow_status run_fuse(sow_call *call) {
    opened o = {0};
    SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    sow_status status = open_all(call, &o);
    if (status == SOW_OK) status = sow_adapter_merge(o.adapter);
    const char *how = sow_arena_format(call->arena, "The update of the adapter `%s` was added to\nits weights.",
                                       sow_path_name(sow_text(call, "adapter")));
    if (status == SOW_OK) status = how ? cli_lm_write(call, o.lm, how) : SOW_E_MEMORY;
    close_all(&o);
    return status;
}

/* ---- tables ---- */

#define ADAPTER SOW_OPTION_FILE("adapter", "a PEFT folder")
#define MODEL(help) SOW_OPTION_TEXT("model", NULL, help)
#define AS_LORA SOW_OPTION_FLAG("as-lora", "read the folded LoRA, not the core beside it (lora_sb.safetensors)")

static const sow_option inspect_options[] = {
    ADAPTER,
    MODEL("its base model: checks names and shapes, and measures updates against the weights"),
    AS_LORA,
    {0},
};

static const sow_option convert_options[] = {
    ADAPTER,
    SOW_OPTION_INT("rank", NULL, 1, 65536,
                   "of all layers; falling: the nearest update of that rank; default: each keeps its own"),
    SOW_OPTION_REAL("alpha", NULL, -1e9, 1e9, "lora_alpha; the update stays the same; default: kept"),
    SOW_OPTION_CHOICE("to", "peft", "peft|gguf", "PEFT folder, or llama.cpp's LoRA file"),
    MODEL("its base model; needed for GGUF"),
    AS_LORA,
    SOW_OPTION_OUTPUT("folder, or GGUF file"),
    SOW_OPTION_FORCE,
    {0},
};

static const sow_option fuse_options[] = {
    ADAPTER,          CLI_LM_MODEL, SOW_OPTION_CHOICE("dtype", "f32", "f32|bf16", "type of the weights in the folder"),
    CLI_LM_TOKENIZER, AS_LORA,      SOW_OPTION_OUTPUT("a Hugging Face folder"),
    SOW_OPTION_FORCE, {0},
};

static const sow_action actions[] = {
    {"inspect", "kind, ranks, scales and sizes of an adapter's layers", inspect_options, run_inspect,
     "sow adapter inspect adapter/ --model smollm2", 0},
    {"fuse", "the base model with the adapter in its weights, as a Hugging Face folder", fuse_options, run_fuse,
     "sow adapter fuse adapter/ --model smollm2 -o fused/", 0},
    {"convert", "plain LoRA of any kind, another rank or alpha, llama.cpp's file", convert_options, run_convert,
     "sow adapter convert adapter/ --rank 8 -o smaller/", 0},
    {0},
};

const sow_method sow_verb_adapter = {
    .name = "adapter",
    .family = "commands",
    .summary = "inspect, convert and fuse low-rank adapters (PEFT folders)",
    .actions = actions,
};
