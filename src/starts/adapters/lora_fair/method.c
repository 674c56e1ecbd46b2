/* sow lora-fair: merging folders of adapters. Bian et al. 2024, arXiv 2411.14961. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "starts/adapters/lora_fair/lora_fair.h"

enum { CLIENTS_MAX = 4096, ROWS_SHOWN = 12 };

static const sow_option merge_options[] = {
    {"adapters", 0, SOW_TYPE_LIST, NULL, 0, 0, NULL, NULL,
     "folders of adapters with the same layers and ranks, as PEFT writes them; their order does not matter",
     SOW_OPTION_POSITIONAL},
    SOW_OPTION_TEXT("weights", "uniform",
                    "how much each adapter counts, in the order given: uniform, or numbers like 100,250,80 (examples)"),
    FAIR_SOLVER_OPTIONS,
    SOW_OPTION_OUTPUT("folder of the merged adapter"),
    SOW_OPTION_FORCE,
    {0},
};

sow_status fair_config_of(const sow_call *call, sow_fair_config *out) {
    *out = (sow_fair_config){.lambda = sow_real(call, "lambda"),
                             .squared = !strcmp(sow_text(call, "reg"), "square"),
                             .steps = sow_int(call, "steps"),
                             .lr = sow_real(call, "lr"),
                             .stop = sow_real(call, "stop"),
                             .mu = sow_real(call, "mu")};
    return sow_fair_kind_parse(sow_text(call, "kind"), &out->kind);
}

/* ---- what was found ---- */

fair_summary fair_summarise(const sow_fair_layer *layers, int64_t count) {
    fair_summary s = {.least_before = 1, .least_after = 1};
    double n = count > 0 ? (double)count : 1, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        const sow_fair_layer *l = &layers[i];
        s.cosine_before += l->cosine_before / n, s.cosine_after += l->cosine_after / n;
        s.least_before = fmin(s.least_before, l->cosine_before);
        s.least_after = fmin(s.least_after, l->cosine_after);
        s.bias_before += l->bias_before * l->bias_before, s.bias_after += l->bias_after * l->bias_after;
        norm += l->norm * l->norm;
        s.growth += l->growth / n, s.similarity += l->similarity / n;
        s.kept += l->kept;
    }
    s.bias_before = norm > 0 ? sqrt(s.bias_before / norm) : 0;
    s.bias_after = norm > 0 ? sqrt(s.bias_after / norm) : 0;
    return s;
}

static json_t *layer_json(const sow_fair_layer *l) {
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I}", "layer", l->module, "norm", l->norm,
                     "bias_before", l->bias_before, "bias_after", l->bias_after, "cosine_before", l->cosine_before,
                     "cosine_after", l->cosine_after, "correction", l->correction, "similarity", l->similarity,
                     "growth", l->growth, "steps", (json_int_t)l->steps);
}

static int by_cosine(const void *a, const void *b) {
    const sow_fair_layer *x = *(const sow_fair_layer *const *)a, *y = *(const sow_fair_layer *const *)b;
    if (x->cosine_before != y->cosine_before) return x->cosine_before < y->cosine_before ? -1 : 1;
    return (x > y) - (x < y);
}

/* All layers for programs, the most biased ones for people. */
static sow_status report_layers(sow_call *call, const sow_fair_layer *layers, int64_t count) {
    const sow_fair_layer **order;
    json_t *rows = json_array();
    bool all = call->json || count <= ROWS_SHOWN;
    SOW_TRY(sow_put_json(call->result, all ? "layers" : "most_biased_layers", rows));
    SOW_TRY(SOW_NEW(call->arena, order, count + 1));
    for (int64_t i = 0; i < count; i++) order[i] = &layers[i];
    if (!all) qsort(order, (size_t)count, sizeof *order, by_cosine);
    for (int64_t i = 0; i < (all ? count : ROWS_SHOWN); i++)
        if (json_array_append_new(rows, layer_json(order[i]))) return sow_fail(SOW_E_MEMORY, "out of memory");
    return SOW_OK;
}

static const char *meaning(sow_arena *arena, const sow_fair_config *config, const fair_summary *s) {
    double lost = 100 * s->bias_before, left = 100 * s->bias_after;
    if (lost < 0.01) return "the clients share their factors' subspace: plain averaging loses nothing here";
    if (config->kind == SOW_FAIR_FEDIT)
        return sow_arena_format(arena, "the plain average misses %.3g %% of the ideal update's length", lost);
    if (config->kind == SOW_FAIR_FLORA)
        return sow_arena_format(arena, "exact, where the plain average misses %.3g %% of the ideal update's length",
                                lost);
    return sow_arena_format(
        arena, "misses %.3g %% of the ideal update's length; the plain average misses %.3g %%%s", left, lost,
        s->cosine_before > 0.99 ? ": the clients hardly drifted apart, so little can be gained" : "");
}

sow_status fair_report(sow_call *call, const sow_fair_config *config, const sow_fair_layer *layers, int64_t count) {
    fair_summary s = fair_summarise(layers, count);
    const char *words = meaning(call->arena, config, &s);
    if (!words) return SOW_E_MEMORY;
    SOW_TRY(sow_put_text(call->result, "kind", sow_fair_kind_name(config->kind)));
    SOW_TRY(sow_put_real(call->result, "cosine_of_plain_average", s.cosine_before));
    SOW_TRY(sow_put_real(call->result, "cosine", s.cosine_after));
    SOW_TRY(sow_put_real(call->result, "least_cosine_of_plain_average", s.least_before));
    SOW_TRY(sow_put_real(call->result, "least_cosine", s.least_after));
    SOW_TRY(sow_put_real(call->result, "bias_of_plain_average", s.bias_before));
    SOW_TRY(sow_put_real(call->result, "bias", s.bias_after));
    if (config->kind == SOW_FAIR || config->kind == SOW_FAIR_LS) {
        SOW_TRY(sow_put_real(call->result, "length_of_b_to_average", s.growth));
        SOW_TRY(sow_put_real(call->result, "similarity_of_b_to_average", s.similarity));
    }
    if (s.kept > 0) SOW_TRY(sow_put_count(call->result, "layers_left_as_averaged", s.kept));
    SOW_TRY(sow_put_text(call->result, "meaning", words));
    return report_layers(call, layers, count);
}

/* ---- files ---- */

sow_status fair_write_layers(sow_call *call, const char *folder, const sow_fair_layer *layers, int64_t count) {
    sow_writer *writer;
    const char *path = sow_path_join(call->arena, folder, "merge.csv");
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_writer_open(path, &writer));
    sow_writer_printf(writer, "layer,in,out,rank,norm,bias_before,bias_after,cosine_before,cosine_after,correction,"
                              "similarity,growth,steps,kept\n");
    for (int64_t i = 0; i < count; i++) {
        const sow_fair_layer *l = &layers[i];
        const double numbers[] = {l->norm,         l->bias_before, l->bias_after, l->cosine_before,
                                  l->cosine_after, l->correction,  l->similarity, l->growth};
        sow_writer_printf(writer, "%.1000s,%lld,%lld,%lld", l->module, (long long)l->in, (long long)l->out,
                          (long long)l->rank);
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
            char text[SOW_REAL_TEXT];
            sow_writer_printf(writer, ",%s", sow_real_text(numbers[k], text));
        }
        sow_writer_printf(writer, ",%lld,%d\n", (long long)l->steps, l->kept);
    }
    SOW_TRY(sow_writer_commit(writer));
    return sow_wrote(call, path);
}

sow_status fair_write_adapter(sow_call *call, const sow_adapter *adapter, const char *folder, const char *passport,
                              const char *how) {
    static const char *const names[] = {"README.md", "adapter_model.safetensors", "adapter_config.json"};
    const char *card = sow_arena_format(
        call->arena,
        "# A LoRA adapter merged from several\n\n%s\n\nMade by `sow lora-fair` (Bian et al. 2024, arXiv 2411.14961). "
        "`merge.csv` tells, a layer a line, how far the merged product is from the mean of the clients' products.\n",
        how);
    if (!card) return SOW_E_MEMORY;
    SOW_TRY(sow_adapter_write(adapter, folder, passport, card));
    for (int i = 0; i < 3; i++) SOW_TRY(sow_wrote_in(call, folder, names[i]));
    return SOW_OK;
}

/* ---- merge ---- */

typedef struct job {
    sow_call *call;
    sow_fair_config config;
    sow_adapter **clients;
    double *weights;
    sow_input *inputs;
    int64_t count;
} job;

static sow_status parse_weights(job *j, const char *text) {
    const char *at = text;
    SOW_TRY(SOW_NEW(j->call->arena, j->weights, j->count));
    for (int64_t k = 0; k < j->count; k++) j->weights[k] = 1;
    if (!strcmp(text, "uniform")) return SOW_OK;
    for (int64_t k = 0; k < j->count; k++) {
        char *end;
        j->weights[k] = strtod(at, &end);
        bool last = k == j->count - 1;
        if (end == at || !isfinite(j->weights[k]) || j->weights[k] <= 0 || *end != (last ? 0 : ','))
            return sow_fail(SOW_E_ARGUMENT,
                            "--weights '%s': expected 'uniform' or %lld positive numbers like 100,250,80", text,
                            (long long)j->count);
        at = end + 1;
    }
    return SOW_OK;
}

/* Only configuration and tensors count: a card beside them does not change a passport. */
static sow_status hash_adapter(sow_arena *arena, const char *folder, sow_input *out) {
    char hashes[2][65];
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors"};
    char *name = sow_arena_copy(arena, folder);
    if (!name) return SOW_E_MEMORY;
    for (int i = 0; i < 2; i++) {
        const char *path = sow_path_join(arena, folder, files[i]);
        if (!path) return SOW_E_MEMORY;
        SOW_TRY(sow_sha256_file(path, hashes[i]));
    }
    const char *joined = sow_arena_format(arena, "%s%s", hashes[0], hashes[1]);
    if (!joined) return SOW_E_MEMORY;
    while (strlen(name) > 1 && name[strlen(name) - 1] == '/') name[strlen(name) - 1] = 0;
    *out = (sow_input){.option = "adapters", .name = sow_path_name(name)};
    sow_sha256(joined, strlen(joined), out->sha256);
    return SOW_OK;
}

static sow_status read_clients(job *j) {
    const char *const *folders = sow_list(j->call, "adapters");
    SOW_TRY(SOW_NEW(j->call->arena, j->clients, j->count));
    SOW_TRY(SOW_NEW(j->call->arena, j->inputs, j->count));
    for (int64_t k = 0; k < j->count; k++) {
        SOW_TRY(sow_check_interrupt());
        SOW_TRY(sow_adapter_read(folders[k], true, &j->clients[k]));
        SOW_TRY(hash_adapter(j->call->arena, folders[k], &j->inputs[k]));
        const char *first = j->clients[0]->base, *base = j->clients[k]->base;
        if (first && base && strcmp(first, base))
            sow_warn("%s was trained on %s, the first adapter on %s", folders[k], base, first);
    }
    return SOW_OK;
}

static const char *how_it_was_made(const job *j) {
    sow_arena *arena = j->call->arena;
    const char *list = "";
    for (int64_t k = 0; k < j->count && list; k++)
        list = sow_arena_format(arena, "%s- `%s`, weight %g\n", list, j->inputs[k].name, j->weights[k]);
    return list ? sow_arena_format(arena, "Merged by `%s` from %lld adapters:\n\n%s", sow_text(j->call, "kind"),
                                   (long long)j->count, list)
                : NULL;
}

static sow_status write_merged(job *j, const sow_adapter *merged, const sow_fair_layer *layers) {
    sow_call *call = j->call;
    const char *out = sow_text(call, "out"), *passport, *how = how_it_was_made(j);
    if (!how) return SOW_E_MEMORY;
    SOW_TRY(sow_passport(call, "adapter_model.safetensors", j->inputs, (int)j->count, &passport));
    SOW_TRY(sow_make_folder(out));
    SOW_TRY(sow_put_count(call->result, "adapters", j->count));
    SOW_TRY(sow_put_count(call->result, "rank", merged->rank));
    SOW_TRY(sow_put_real(call->result, "alpha", merged->alpha));
    SOW_TRY(fair_report(call, &j->config, layers, merged->count));
    SOW_TRY(fair_write_layers(call, out, layers, merged->count));
    SOW_TRY(fair_write_adapter(call, merged, out, passport, how));
    return sow_put_format(call->result, "next", "sow train --model %s --adapter %s --data train.jsonl -o tuned/",
                          merged->base ? merged->base : "MODEL", out);
}

static sow_status merge_clients(job *j) {
    sow_adapter *merged;
    sow_fair_layer *layers;
    SOW_TRY(read_clients(j));
    SOW_TRY(sow_fair_merge(&j->config, (const sow_adapter *const *)j->clients, j->weights, j->count, j->call->arena,
                           &merged, &layers));
    sow_status status = write_merged(j, merged, layers);
    sow_adapter_free(merged);
    return status;
}

static sow_status run_merge(sow_call *call) {
    job j = {.call = call};
    const char *const *folders = sow_list(call, "adapters");
    while (folders[j.count]) j.count++;
    if (j.count < 2 || j.count > CLIENTS_MAX)
        return sow_fail(SOW_E_ARGUMENT,
                        "found %lld adapter folders, expected at least two: sow lora-fair merge a/ b/ -o merged/",
                        (long long)j.count);
    SOW_TRY(fair_config_of(call, &j.config));
    SOW_TRY(parse_weights(&j, sow_text(call, "weights")));
    SOW_TRY(sow_check_output(call, sow_text(call, "out")));
    sow_status status = merge_clients(&j);
    for (int64_t k = 0; j.clients && k < j.count; k++) sow_adapter_free(j.clients[k]);
    return status;
}

static const sow_action actions[] = {
    {"merge", "one adapter from several that were trained apart", merge_options, run_merge,
     "sow lora-fair merge --weights 100,250,80 a/ b/ c/ -o merged/", SOW_ACTION_COMPUTES},
    {"run", "rounds of simulated clients on images or texts: slots or MPI ranks train them side by side",
     fair_run_options, fair_run,
     "sow lora-fair run --clients 6 --rounds 6 --local-steps 60 --partition domain+dirichlet:0.3 -o rounds/",
     SOW_ACTION_COMPUTES},
    {"client", "one client of one round", fair_client_options, fair_client, NULL, SOW_ACTION_HIDDEN},
    {"simulate", "one federation in one process", fair_simulate_options, fair_simulate, NULL,
     SOW_ACTION_COMPUTES | SOW_ACTION_HIDDEN},
    {0},
};

const sow_method sow_method_lora_fair = {
    .name = "lora-fair",
    .family = "adapters",
    .summary = "merges LoRA adapters of several clients so that the product is right and the next round starts well",
    .paper = "Bian et al. 2024, arXiv 2411.14961",
    .actions = actions,
    .study = "lora-fair",
};
