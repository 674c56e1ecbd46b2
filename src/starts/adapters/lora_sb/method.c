/* LoRA-SB as a command: for language models on texts, and for networks on images. */
#include <math.h>
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "starts/adapters/lora_sb/lora_sb.h"
#include "starts/adapters/subject.h"

enum { TRAINING_BATCH = 32 };            /* of the schedule that the warm-up is a share of */
static const double warmup_share = 0.02; /* of its steps, one epoch */

static const sow_option options[] = {
    SUBJECT_OPTIONS,
    SOW_OPTION_INT("rank", "32", 1, 1 << 16, "of every layer's core"),
    SOW_OPTION_REAL("lr", "1e-4", 1e-12, 1e6, "learning rate that the tuning will have"),
    SOW_OPTION_COUNT(
        "warmup-steps", NULL, 1, 1e9, "steps",
        "of the tuning's warm-up: the first step's rate is lr / warm-up steps; default: 2 % of an epoch in batches of 32"),
    SOW_OPTION_CHOICE("first-step", "adam", "adam|sgd", "the tuning's optimiser: the sign of the gradient, or itself"),
    SOW_OPTION_COUNT("samples", "50", 1, 1e9, "samples", "drawn from the data for the gradient"),
    SOW_OPTION_CHOICE("svd", "exact", "exact|sketch",
                      "full decompositions, with the whole energy curve; or leading triples, faster for wide layers"),
    SOW_OPTION_TEXT("targets", "all", "layers by the ends of their names, like q_proj,v_proj"),
    SOW_OPTION_COUNT("batch", "4", 1, 1e6, "samples", "at once: memory and time; moves only the last bits"),
    BASE_TEXT_OPTIONS("512"),
    {"memory", 0, SOW_TYPE_REAL, NULL, 1e-6, 1e6, NULL, "GB",
     "that sums of gradients may take: layers go in several passes over the samples; default: no bound",
     SOW_OPTION_NO_PASSPORT},
    {"recompute", 0, SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL,
     "forward states are computed twice: a third more time, a fraction of the memory", SOW_OPTION_NO_PASSPORT},
    SOW_OPTION_SEED,
    SOW_OPTION_OUTPUT("adapter folder, as PEFT reads it"),
    SOW_OPTION_FORCE,
    {0},
};

typedef struct job {
    sow_call *call;
    sow_lora_sb_config config;
    subject on;
    lora_sb_made made;
    sow_adapter *adapter;
} job;

/* ---- settings ---- */

static sow_status check_options(sow_call *call) {
    SOW_TRY(subject_check(call, "recompute"));
    return sow_check_output(call, sow_text(call, "out"));
}

/* Adam's first step has the rate of the warm-up's first step: lr / warm-up steps. */
static sow_status settle_rate(job *j, int64_t samples) {
    sow_call *call = j->call;
    double steps = ceil((double)samples / TRAINING_BATCH);
    long long warmup = llround(warmup_share * steps);
    const char *text = sow_arena_format(call->arena, "%lld", warmup < 1 ? 1 : warmup);
    if (!text) return SOW_E_MEMORY;
    sow_resolve(call, "warmup-steps", text);
    j->made.all_samples = samples;
    j->made.warmup = sow_int(call, "warmup-steps");
    j->made.rate = sow_real(call, "lr");
    j->made.eta = j->made.rate / (double)j->made.warmup;
    sow_note("the first step's rate is %.4g: learning rate %g / %lld warm-up step%s%s", j->made.eta, j->made.rate,
             (long long)j->made.warmup, j->made.warmup == 1 ? "" : "s",
             sow_given(call, "warmup-steps") ? "" : " (2 % of an epoch in batches of 32)");
    return SOW_OK;
}

static void settle_config(job *j) {
    const sow_call *call = j->call;
    j->config = (sow_lora_sb_config){
        .rank = sow_int(call, "rank"),
        .eta = j->made.eta,
        .first_step = !strcmp(sow_text(call, "first-step"), "sgd") ? SOW_FIRST_STEP_SGD : SOW_FIRST_STEP_ADAM,
        .sketch = !strcmp(sow_text(call, "svd"), "sketch"),
        .seed = (uint64_t)sow_int(call, "seed"),
        .memory = sow_text(call, "memory") ? (int64_t)(1e9 * sow_real(call, "memory")) : 0,
    };
    j->made.rank = j->config.rank;
}

static sow_status start(job *j, sow_feed *feed) {
    sow_lora_sb_report report;
    SOW_TRY(sow_lora_sb(&j->config, &j->on.sites, feed, j->call->arena, &j->adapter, &report));
    j->made.energy = report.layers;
    j->made.loss = report.loss;
    j->made.adapter = j->adapter;
    int64_t untouched = 0;
    for (int64_t i = 0; i < j->on.sites.count; i++) untouched += report.layers[i].total <= 0;
    if (untouched > 0)
        sow_warn("%lld of %lld layers got no gradient from the samples: their directions mean nothing",
                 (long long)untouched, (long long)j->on.sites.count);
    subject_describe(j->call, &j->on, j->adapter);
    return SOW_OK;
}

/* ---- language models ---- */

/* Before long work: how much memory and time. */
static void announce(const job *j, const sow_texts *texts) {
    int64_t sums = 0, largest = 0, tokens = texts->start[texts->count];
    for (int64_t i = 0; i < j->on.sites.count; i++) {
        int64_t bytes = (int64_t)sow_bytes(j->on.sites.at[i].weight->value);
        sums += bytes;
        if (bytes > largest) largest = bytes;
    }
    double passes = 1;
    if (j->config.memory > 0 && sums > j->config.memory) {
        passes = ceil((double)sums / (double)j->config.memory);
        sums = largest > j->config.memory ? largest : j->config.memory;
    }
    int64_t sequences = sow_int(j->call, "batch") < texts->count ? sow_int(j->call, "batch") : texts->count;
    double seconds = passes * base_seconds(&j->on.base, tokens);
    sow_note(
        "gradients of %lld layers from %lld samples (%lld tokens)%s: about %.1f GB and %.0f %s; then their decompositions",
        (long long)j->on.sites.count, (long long)texts->count, (long long)tokens,
        passes > 1 ? ", in several passes" : "",
        1e-9 * (double)(sums + base_bytes(&j->on.base, tokens * sequences / texts->count)),
        seconds < 90 ? ceil(seconds) : ceil(seconds / 60), seconds < 90 ? "s" : "minutes");
}

static sow_status start_on(job *j, const sow_texts *texts) {
    sow_feed *feed;
    j->made.samples = texts->count;
    j->made.tokens = texts->start[texts->count];
    announce(j, texts);
    SOW_TRY(sow_feed_texts(j->on.base.lm, texts, &(sow_feed_options){.batch = sow_int(j->call, "batch")}, &feed));
    sow_status status = start(j, feed);
    sow_feed_free(feed);
    return status;
}

static sow_status start_lm(job *j) {
    int64_t samples = sow_int(j->call, "samples");
    sow_texts *kept, *drawn;
    SOW_TRY(subject_open_lm(j->call, base_model_open, &j->on));
    if (j->on.base.lm->config.family == SOW_LM_BERT)
        return sow_fail(SOW_E_UNSUPPORTED, "%s: an encoder has no loss of next tokens to take gradients of",
                        sow_text(j->call, "model"));
    j->on.base.lm->recompute = sow_flag(j->call, "recompute");
    j->made.base = j->on.name;
    j->made.data = j->on.data_name;
    SOW_TRY(settle_rate(j, j->on.base.texts->count));
    settle_config(j);
    if (samples >= j->on.base.texts->count) return start_on(j, j->on.base.texts);
    SOW_TRY(sow_texts_split(j->on.base.texts, samples, j->config.seed, &kept, &drawn));
    sow_texts_free(kept);
    sow_status status = start_on(j, drawn);
    sow_texts_free(drawn);
    return status;
}

/* ---- networks on images ---- */

/* So many of the training examples, in their order. */
static sow_status draw_examples(job *j, sow_part *out) {
    const sow_part *all = &j->on.data->train;
    int64_t want = sow_int(j->call, "samples"), left = all->count;
    sow_rng rng;
    *out = *all;
    if (want >= all->count) return SOW_OK;
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, j->config.seed));
    sow_rng_at(&rng, "lora-sb", "samples");
    SOW_TRY(SOW_NEW(j->call->arena, out->index, want));
    out->count = 0;
    for (int64_t i = 0; out->count < want; i++, left--) /* Knuth's selection sampling */
        if (sow_rng_below(&rng, (uint64_t)left) < (uint64_t)(want - out->count))
            out->index[out->count++] = all->index[i];
    return SOW_OK;
}

static sow_status start_network(job *j) {
    sow_part part;
    sow_feed *feed;
    SOW_TRY(subject_open_network(j->call, &j->on));
    SOW_TRY(settle_rate(j, j->on.data->train.count));
    settle_config(j);
    SOW_TRY(draw_examples(j, &part));
    j->made.base = j->on.name;
    j->made.data = j->on.data_name;
    j->made.samples = part.count;
    const sow_feed_options order = {.batch = sow_int(j->call, "batch")};
    SOW_TRY(sow_feed_network(j->on.model, j->on.data, &part, &order, &feed));
    sow_status status = start(j, feed);
    sow_feed_free(feed);
    return status;
}

/* ---- the folder ---- */

static sow_status write_folder(job *j) {
    sow_call *call = j->call;
    const char *folder = sow_text(call, "out"), *passport, *card = lora_sb_card(call, &j->made);
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors", "lora_sb.safetensors",
                                        "README.md"};
    if (!card) return SOW_E_MEMORY;
    SOW_TRY(sow_passport(call, "adapter_model.safetensors", j->on.inputs, j->on.input_count, &passport));
    SOW_TRY(sow_make_folder(folder));
    SOW_TRY(lora_sb_report(call, &j->made));
    SOW_TRY(lora_sb_plots(call, &j->made));
    SOW_TRY(sow_adapter_write(j->adapter, folder, passport, card));
    for (int i = 0; i < 4; i++) SOW_TRY(sow_wrote_in(call, folder, files[i]));
    const char *what = sow_text(call, "model") ? "model" : "arch";
    char rate[SOW_REAL_TEXT];
    char *next = sow_arena_format(
        call->arena, "sow train --%s %s --data %s --adapter %s --lr %s --schedule warmup:%lld+cosine -o tuned/", what,
        sow_text(call, what), sow_text(call, "data"), folder, sow_real_text(j->made.rate, rate),
        (long long)j->made.warmup);
    return next ? sow_put_text(call->result, "next", next) : SOW_E_MEMORY;
}

static sow_status run(sow_call *call) {
    job j = {.call = call};
    SOW_TRY(check_options(call));
    sow_status status = sow_text(call, "model") ? start_lm(&j) : start_network(&j);
    if (status == SOW_OK) status = write_folder(&j);
    sow_adapter_free(j.adapter);
    subject_close(&j.on);
    return status;
}

static const sow_action actions[] = {
    {"make", "write an adapter folder whose cores begin at the first step of full fine-tuning", options, run,
     "sow lora-sb --model smollm2 --data train.jsonl --rank 32 --lr 1e-4 -o adapter/", SOW_ACTION_COMPUTES},
    {"simulate", "one tuning of the study", lora_sb_simulate_options, lora_sb_simulate, NULL,
     SOW_ACTION_COMPUTES | SOW_ACTION_HIDDEN},
    {0},
};

const sow_method sow_method_lora_sb = {
    .name = "lora-sb",
    .family = "adapters",
    .summary = "tune r x r numbers a layer, inside the subspace of full fine-tuning's first step",
    .paper = "Ponkshe et al. 2024, arXiv 2411.19557",
    .actions = actions,
    .study = "lora-sb",
};
