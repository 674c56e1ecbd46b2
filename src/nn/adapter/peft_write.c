/* Writing PEFT folders: only keys that every version of PEFT knows, ranks and scales as they are. */
#include <string.h>

#include "nn/adapter/adapter.h"
#include "sow/file.h"
#include "sow/json.h"
#include "sow/safetensors.h"

typedef struct writer {
    const sow_adapter *adapter;
    const char *folder, *passport;
    sow_arena *scratch;
} writer;

/* ---- adapter_config.json ---- */

static int add_patterns(const sow_adapter *a, json_t *ranks, json_t *alphas) {
    int failed = 0;
    for (int64_t i = 0; i < a->count; i++) {
        const sow_adapter_layer *l = &a->layers[i];
        if (l->rank != a->rank) failed |= json_object_set_new(ranks, l->module, json_integer(l->rank));
        if (l->alpha != a->alpha) failed |= json_object_set_new(alphas, l->module, json_real(l->alpha));
    }
    return failed;
}

static json_t *target_list(const sow_adapter *a) {
    json_t *list = json_array();
    int failed = !list;
    for (int64_t i = 0; !a->targets && i < a->count; i++)
        failed |= json_array_append_new(list, json_string(a->layers[i].module));
    for (const char *at = a->targets; at && *at;) {
        size_t size = strcspn(at, ",");
        failed |= json_array_append_new(list, json_stringn(at, size));
        at += size + (at[size] == ',');
    }
    if (!failed) return list;
    json_decref(list);
    return NULL;
}

static json_t *whole_list(const sow_adapter *a) {
    if (a->whole_count == 0) return json_null();
    json_t *list = json_array();
    for (int64_t i = 0; list && i < a->whole_count; i++) json_array_append_new(list, json_string(a->wholes[i].module));
    return list;
}

static sow_status write_config(const writer *w) {
    const sow_adapter *a = w->adapter;
    json_t *ranks = json_object(), *alphas = json_object();
    int failed = add_patterns(a, ranks, alphas);
    bool dora = a->count > 0 && a->layers[0].magnitude;
    json_t *config = json_pack(
        "{s:o, s:n, s:s?, s:s, s:b, s:b, s:b, s:n, s:n, s:f, s:f, s:o, s:s, s:I, s:o, s:n, s:o, s:s?, s:b, s:b}",
        "alpha_pattern", alphas, "auto_mapping", "base_model_name_or_path", a->base, "bias", "none", "fan_in_fan_out",
        a->by_inputs, "inference_mode", 1, "init_lora_weights", 1, "layers_pattern", "layers_to_transform",
        "lora_alpha", a->alpha, "lora_dropout", 0.0, "modules_to_save", whole_list(a), "peft_type", "LORA", "r",
        (json_int_t)a->rank, "rank_pattern", ranks, "revision", "target_modules", target_list(a), "task_type", a->task,
        "use_dora", dora, "use_rslora", a->rslora);
    char *text, *path = sow_path_join(w->scratch, w->folder, "adapter_config.json");
    if (failed || !config || !path) {
        json_decref(config);
        return sow_fail(SOW_E_MEMORY, "out of memory");
    }
    sow_status status = sow_json_text(w->scratch, config, SOW_JSON_SORTED | SOW_JSON_PRETTY, &text);
    json_decref(config);
    return status == SOW_OK ? sow_write_file(path, text, strlen(text)) : status;
}

/* ---- tensors ---- */

static sow_status view(writer *w, sow_state *file, const char *format, const char *module, const sow_entry *e) {
    char *name;
    if (!e) return SOW_OK;
    name = sow_arena_format(w->scratch, "%s%s%s", *format == '.' ? "" : "base_model.model.", module,
                            *format == '.' ? format : format + 1);
    return name ? sow_state_add_view(file, name, e->value, NULL) : SOW_E_MEMORY;
}

static sow_status describe_plain(writer *w, sow_state *file) {
    const sow_adapter *a = w->adapter;
    for (int64_t i = 0; i < a->count; i++) {
        const sow_adapter_layer *l = &a->layers[i];
        SOW_TRY(view(w, file, "+.lora_A.weight", l->module, l->a));
        SOW_TRY(view(w, file, "+.lora_B.weight", l->module, l->b));
        SOW_TRY(view(w, file, "+.lora_magnitude_vector", l->module, l->magnitude));
    }
    for (int64_t i = 0; i < a->whole_count; i++) {
        SOW_TRY(view(w, file, "+.weight", a->wholes[i].module, a->wholes[i].weight));
        SOW_TRY(view(w, file, "+.bias", a->wholes[i].module, a->wholes[i].bias));
    }
    return SOW_OK;
}

static sow_status describe_cores(writer *w, sow_state *file) {
    for (int64_t i = 0; i < w->adapter->count; i++) {
        const sow_adapter_layer *l = &w->adapter->layers[i];
        SOW_TRY(view(w, file, ".A", l->module, l->a));
        SOW_TRY(view(w, file, ".B", l->module, l->b));
        SOW_TRY(view(w, file, ".R", l->module, l->core));
    }
    return SOW_OK;
}

/* The passport names the file that it lies in, if it names one: `sow replay` compares that one. */
static sow_status passport_of(const writer *w, const char *name, const char **out) {
    json_t *passport = w->passport ? json_loads(w->passport, 0, NULL) : NULL;
    char *text;
    *out = w->passport;
    if (!json_is_string(json_object_get(passport, "file"))) {
        json_decref(passport);
        return SOW_OK;
    }
    sow_status status = SOW_E_MEMORY;
    if (!json_object_set_new(passport, "file", json_string(name)))
        status = sow_json_text(w->scratch, passport, SOW_JSON_SORTED, &text);
    json_decref(passport);
    if (status == SOW_OK) *out = text;
    return status;
}

static sow_status write_tensors(writer *w, const char *name, sow_status (*describe)(writer *w, sow_state *file)) {
    const char *passport;
    sow_state *file;
    char *path = sow_path_join(w->scratch, w->folder, name);
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(passport_of(w, name, &passport));
    SOW_TRY(sow_state_new(&file));
    sow_status status = describe(w, file);
    if (status == SOW_OK) status = sow_save_state(path, file, passport);
    sow_state_free(file);
    return status;
}

/* ---- the folder ---- */

static sow_status write_card(const writer *w, const char *card) {
    char *path = sow_path_join(w->scratch, w->folder, "README.md"), *text;
    if (!card) return SOW_OK;
    text = sow_arena_format(w->scratch, "---\n%s%s%slibrary_name: peft\ntags:\n- lora\n- sow\n---\n\n%s",
                            w->adapter->base ? "base_model: " : "", w->adapter->base ? w->adapter->base : "",
                            w->adapter->base ? "\n" : "", card);
    return path && text ? sow_write_file(path, text, strlen(text)) : SOW_E_MEMORY;
}

/* The configuration comes last: without it the folder is no adapter. */
static sow_status write_folder(writer *w, const sow_adapter *original, const char *card) {
    bool cores = original->count > 0 && original->layers[0].core;
    SOW_TRY(write_card(w, card));
    SOW_TRY(write_tensors(w, "adapter_model.safetensors", describe_plain));
    if (cores) {
        writer own = *w;
        own.adapter = original;
        SOW_TRY(write_tensors(&own, "lora_sb.safetensors", describe_cores));
    }
    return write_config(w);
}

sow_status sow_adapter_write(const sow_adapter *a, const char *folder, const char *passport, const char *card) {
    writer w = {.adapter = a, .folder = folder, .passport = passport};
    bool plain = a->count == 0 || (!a->layers[0].core && !a->layers[0].a0.data);
    sow_adapter *folded = NULL;
    SOW_TRY(sow_arena_new(&w.scratch));
    sow_status status = plain ? SOW_OK : sow_adapter_plain(a, &folded);
    if (folded) w.adapter = folded;
    if (status == SOW_OK) status = write_folder(&w, a, card);
    sow_adapter_free(folded);
    sow_arena_free(w.scratch);
    return status;
}
