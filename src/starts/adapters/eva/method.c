/* EVA as a command: for language models on texts, and for networks on images. */
#include <math.h>
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "starts/adapters/eva/eva.h"
#include "starts/adapters/subject.h"

static const sow_option options[] = {
    SUBJECT_OPTIONS,
    SOW_OPTION_INT("rank", "16", 1, 4096, "budget of ranks a layer"),
    SOW_OPTION_REAL("rho", "2", 1, 1000, "how far a layer's rank may grow, as a factor of --rank; 1: all keep it"),
    SOW_OPTION_REAL("alpha", "1", 1e-6, 1e6, "lora_alpha; every layer has the scale alpha / rank"),
    SOW_OPTION_FLAG("own-alpha", "scale alpha / its own rank in each layer, instead of the same everywhere"),
    SOW_OPTION_CHOICE("metric", "ratio", "ratio|raw|sum|max",
                      "what ranks are given by: share of the layer's variance, variance, share among the components "
                      "followed, share of the largest"),
    SOW_OPTION_FLAG("whiten", "divide rows of A by the root of their singular value (used for vision models)"),
    SOW_OPTION_TEXT("targets", "all", "layers by the ends of their names, like q_proj,v_proj"),
    SOW_OPTION_CHOICE("solver", "ipca", "ipca|gram",
                      "incremental components until none turns; or exact second moments until subspaces hold, for "
                      "layers of up to some 4,000 inputs"),
    SOW_OPTION_REAL("tau", "0.99", 0, 1, "ipca: cosine with the batch before from which a component is settled"),
    SOW_OPTION_REAL("capture", "0.95", 0, 1,
                    "gram: share of variance that the subspace of half the batches must hold to be settled"),
    SOW_OPTION_FLAG("exact", "ipca: full decompositions instead of randomised ones; slow"),
    SOW_OPTION_COUNT("svd-batch", NULL, 1, 1e6, "samples",
                     "of a batch; default: 4 sequences, 256 images. Its rows must be as many as a layer's components"),
    SOW_OPTION_COUNT("min-batches", "1", 1, 1e9, "batches", "before it may end"),
    SOW_OPTION_COUNT("max-batches", NULL, 1, 1e9, "batches",
                     "after which it ends with what it has; default: 200, with --solver gram 64"),
    SOW_OPTION_CHOICE("label-mask", "on", "on|off", "count only tokens of answers, where the data has them"),
    SOW_OPTION_FLAG("in-order", "batches in the order of the data instead of at random"),
    BASE_TEXT_OPTIONS("512"),
    SOW_OPTION_SEED,
    SOW_OPTION_OUTPUT("adapter folder, as PEFT reads it"),
    SOW_OPTION_FORCE,
    {0},
};

typedef struct job {
    sow_call *call;
    sow_eva_config config;
    subject on;
    sow_feed *feed;
    sow_adapter *adapter;
    sow_eva_report report;
} job;

/* ---- settings ---- */

static sow_eva_metric metric_of(const char *name) {
    static const char *const names[] = {"ratio", "raw", "sum", "max"};
    int i = 0;
    while (i < 3 && strcmp(names[i], name) != 0) i++;
    return (sow_eva_metric)i;
}

static void settle_config(job *j) {
    sow_call *call = j->call;
    bool gram = !strcmp(sow_text(call, "solver"), "gram");
    sow_resolve(call, "max-batches", gram ? "64" : "200");
    j->config = (sow_eva_config){
        .rank = sow_int(call, "rank"),
        .rho = sow_real(call, "rho"),
        .tau = sow_real(call, "tau"),
        .capture = sow_real(call, "capture"),
        .alpha = sow_real(call, "alpha"),
        .own_alpha = sow_flag(call, "own-alpha"),
        .whiten = sow_flag(call, "whiten"),
        .exact = sow_flag(call, "exact"),
        .solver = gram ? SOW_EVA_GRAM : SOW_EVA_IPCA,
        .metric = metric_of(sow_text(call, "metric")),
        .min_batches = sow_int(call, "min-batches"),
        .max_batches = sow_int(call, "max-batches"),
        .seed = (uint64_t)sow_int(call, "seed"),
    };
}

static sow_status check_options(sow_call *call) {
    SOW_TRY(subject_check(call, "label-mask"));
    if (sow_given(call, "exact") && !strcmp(sow_text(call, "solver"), "gram"))
        return sow_fail(SOW_E_ARGUMENT, "--exact belongs to --solver ipca; gram is exact");
    return sow_check_output(call, sow_text(call, "out"));
}

/* Before long work: how many batches, memory beside the model, and time: a forward pass, and two thirds of it for components. */
static void announce(const job *j, int64_t rows, double forward) {
    double bytes = 0, wide = 0;
    int64_t hooks = 0;
    for (int64_t i = 0; i < j->on.sites.count; i++) {
        double in = (double)j->on.sites.at[i].in,
               n = (double)eva_components(&j->config, j->config.rho, j->on.sites.at[i].in);
        if (j->on.sites.at[i].shares != i) continue;
        hooks++;
        bytes += j->config.solver == SOW_EVA_GRAM ? 4 * in * in + 4 * n * in : 4 * n * in;
        wide = fmax(wide, in);
    }
    bytes += 4 * (double)rows * wide * 8;
    sow_note("%lld layers, %lld different inputs; at most %lld batches of about %lld rows, %.2g GB beside the model",
             (long long)j->on.sites.count, (long long)hooks, (long long)j->config.max_batches, (long long)rows,
             1e-9 * bytes);
    if (forward > 0)
        sow_note("a batch takes about %.2g s, all of them %.2g min", 5 * forward / 3,
                 (double)j->config.max_batches * 5 * forward / 180);
}

static sow_status solve(job *j) {
    double begin = sow_seconds();
    SOW_TRY(sow_eva(&j->config, &j->on.sites, j->feed, j->call->arena, &j->adapter, &j->report));
    sow_note("%lld batches in %.3g s", (long long)j->report.batches, sow_seconds() - begin);
    if (!j->report.converged)
        sow_warn("not settled after %lld batches: what was found so far is used; --max-batches allows more",
                 (long long)j->report.batches);
    subject_describe(j->call, &j->on, j->adapter);
    return SOW_OK;
}

/* ---- language models ---- */

static sow_status start_lm(job *j) {
    sow_call *call = j->call;
    SOW_TRY(subject_open_lm(call, base_model_open_frozen, &j->on));
    int64_t size = sow_int(call, "svd-batch");
    const sow_texts *texts = j->on.base.texts;
    const sow_feed_options order = {.batch = size,
                                    .seed = j->config.seed,
                                    .shuffle = !sow_flag(call, "in-order"),
                                    .answers = !strcmp(sow_text(call, "label-mask"), "on")};
    SOW_TRY(sow_feed_texts(j->on.base.lm, texts, &order, &j->feed));
    int64_t rows = texts->start[texts->count] * size / texts->count;
    announce(j, rows, base_seconds(&j->on.base, rows) / 3);
    return solve(j);
}

/* ---- networks on images ---- */

static sow_status start_network(job *j) {
    sow_call *call = j->call;
    SOW_TRY(subject_open_network(call, &j->on));
    int64_t size = sow_int(call, "svd-batch");
    const sow_feed_options order = {.batch = size, .seed = j->config.seed, .shuffle = !sow_flag(call, "in-order")};
    SOW_TRY(sow_feed_network(j->on.model, j->on.data, &j->on.data->train, &order, &j->feed));
    announce(j, size, 0);
    return solve(j);
}

/* ---- the folder ---- */

static sow_status write_folder(job *j) {
    sow_call *call = j->call;
    const char *folder = sow_text(call, "out"), *passport,
               *card = eva_card(call, &j->config, &j->report, j->on.name, j->on.data_name);
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors", "README.md"};
    if (!card) return SOW_E_MEMORY;
    SOW_TRY(sow_passport(call, "adapter_model.safetensors", j->on.inputs, j->on.input_count, &passport));
    SOW_TRY(sow_make_folder(folder));
    SOW_TRY(eva_write_report(call, &j->config, &j->report, folder));
    SOW_TRY(sow_adapter_write(j->adapter, folder, passport, card));
    for (int i = 0; i < 3; i++) SOW_TRY(sow_wrote_in(call, folder, files[i]));
    char *next = sow_text(call, "arch")
                     ? sow_arena_format(call->arena, "sow adapter inspect %s", folder)
                     : sow_arena_format(call->arena,
                                        "sow train --model %s --data %s --adapter %s --optimizer adamw --lr 5e-4 "
                                        "--schedule warmup:20+cosine --steps 300 -o tuned/",
                                        sow_text(call, "model"), sow_text(call, "data"), folder);
    return next ? sow_put_text(call->result, "next", next) : SOW_E_MEMORY;
}

static sow_status run(sow_call *call) {
    job j = {.call = call};
    SOW_TRY(check_options(call));
    sow_resolve(call, "svd-batch", sow_text(call, "model") ? "4" : "256");
    settle_config(&j);
    sow_status status = sow_text(call, "model") ? start_lm(&j) : start_network(&j);
    if (status == SOW_OK) status = write_folder(&j);
    sow_adapter_free(j.adapter);
    sow_feed_free(j.feed);
    subject_close(&j.on);
    return status;
}

static const sow_action actions[] = {
    {"make", "write an adapter folder whose A matrices are the data's principal directions", options, run,
     "sow eva --model smollm2 --data train.jsonl --rank 16 -o adapter/", SOW_ACTION_COMPUTES},
    {"simulate", "a small network trained on one data set and tuned on another, from any adapter start",
     eva_simulate_options, eva_simulate, NULL, SOW_ACTION_COMPUTES | SOW_ACTION_HIDDEN},
    {0},
};

const sow_method sow_method_eva = {
    .name = "eva",
    .family = "adapters",
    .summary = "LoRA adapters that start from the directions which the data excites",
    .paper = "Paischer et al. 2024, arXiv 2410.07170",
    .actions = actions,
    .study = "eva",
};
