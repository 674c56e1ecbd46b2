/* The study of sgd-sai: Xu et al. 2024, arXiv 2412.11768. Scales of the first gradient against AdamW and plain momentum, each at its best rate. */
#include <math.h>
#include <string.h>

#include "sow/file.h"
#include "studies/sgd_sai/rates.h"

/* Clauses of several scales. */
#define HALF_THE_STATE                                                                                     \
    SOW_WITHIN("its state is half of AdamW's, but for a scale and a count for each block", "SaI", "AdamW", \
               "state bytes", SOW_RATIO_OF_MEANS, 0.5, 0.501)
#define BELOW_SGDM SOW_AT_LEAST("SaI ends below SGDM in every seed", "SGDM", "SaI", "val loss", SOW_LEAST_DIFFERENCE, 0)

/* ---- smoke: the digits, a transformer of one block ---- */

/* Rate, scheme and schedule were chosen on seeds 101 to 103, where the shares were 0.46, 0.47 and 0.41; the bounds are the card's. */
static const study_arm smoke_arms[] = {{"SaI", "--optimizer=sgd-sai --lr=0.04"}};
static const sow_clause smoke_clauses[] = {
    SOW_AT_MOST("after 60 steps the training loss is below 60 % of its first value", "SaI", NULL, "share of first loss",
                SOW_MEAN_DIFFERENCE, 0.6),
    SOW_AT_MOST("g^2 (1 - n mean^2 / norm^2) = n - 1 for every block, but for epsilon", "SaI", NULL, "identity error",
                SOW_MEAN_DIFFERENCE, 1e-4),
};

static sow_status run_smoke(sow_study_call *call) {
    const char *path = call->data ? call->data : "/usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz";
    if (sow_is_folder(path) && !(path = sow_path_join(call->arena, path, "digits.csv.gz"))) return SOW_E_MEMORY;
    if (!sow_path_exists(path))
        return sow_fail(
            SOW_E_NOT_FOUND,
            "%s is not there: install the Debian package python3-sklearn, or give its digits.csv.gz by --data", path);
    const study_plan plan = {
        .study = "sgd-sai",
        .method = "sgd-sai",
        .data = path,
        .common = "--arch=vit:2-32-1-4 --input=1x8x8 --scheme=normal:sd=0.2 --batch=64 --steps=60 --clip=1 "
                  "--schedule=warmup:5+cosine:0.1 --data={data}",
        .metrics = sai_metrics,
        .arms = smoke_arms,
        .arm_count = 1};
    SOW_DECIDES(call, smoke_clauses);
    return study_run_arms(call, &plan);
}

/* ---- small: a character GPT ---- */

/* Weight decay acts by rate * decay a step. Rates of scales up to 128, the root of the largest block's size, are 128 times smaller
 * than those of momentum alone and of normed scales, whose decay is 128 times smaller in turn. The baselines' grids are longer than the card's, so that
 * their best rate does not lie at an end. */
static const sai_rule small_rules[] = {
    {"AdamW", "--optimizer=adamw --beta1=0.9 --beta2=0.95 --weight-decay=0.1", {"0.001", "0.003", "0.01", "0.03"}},
    {"SGDM", "--optimizer=sgdm --weight-decay=0.00078125", {"0.1", "0.3", "1", "3", "10"}},
    {"SaI", "--optimizer=sgd-sai --weight-decay=0.1", {"0.001", "0.003", "0.01", "0.03"}},
    {"SaI normalised", "--optimizer=sgd-sai --scale-norm=max --weight-decay=0.00078125", {"0.1", "0.3", "1", "3"}},
    {"sqrt n", "--optimizer=sgd-sai --sqrt-n --weight-decay=0.1", {"0.001", "0.003", "0.01", "0.03"}},
    {"SaI permuted", "--optimizer=sgd-sai --permute --weight-decay=0.1", {"0.001", "0.003", "0.01", "0.03"}},
    {"SaI, converted", "--optimizer=sgd-sai --weight-decay=0.1 --scale-norm=max --convert", .follows = "SaI"},
};

static const sow_clause small_clauses[] = {
    SOW_AT_LEAST("the best of both SaI is 0.05 nats a character below the best SGDM", "SGDM", "best SaI", "val loss",
                 SOW_MEAN_DIFFERENCE, 0.05),
    SOW_AT_LEAST("and in every seed", "SGDM", "best SaI", "val loss", SOW_LEAST_DIFFERENCE, 0.05),
    SOW_AT_MOST("it is at most 0.15 nats above the best AdamW", "best SaI", "AdamW", "val loss", SOW_MEAN_DIFFERENCE,
                0.15),
    HALF_THE_STATE,
    SOW_AT_MOST("raw and normed scales are one optimiser: losses at converted rates differ by less than 1e-4",
                "SaI, converted", NULL, "distance to SaI", SOW_MEAN_DIFFERENCE, 1e-4),
};

/* How far an arm ends above SaI; what diverged stays unscored. */
static sow_status score_above(sow_study_call *call, const char *arm) {
    for (int i = 0; i < call->seed_count; i++) {
        double above = sow_study_scored(call, arm, "val loss", call->seeds[i]) -
                       sow_study_scored(call, "SaI", "val loss", call->seeds[i]);
        if (isfinite(above)) SOW_TRY(sow_study_score(call, arm, "above SaI", call->seeds[i], above));
    }
    return SOW_OK;
}

/* Numbers that take several arms. */
static sow_status score_small(sow_study_call *call, const sai_search *s) {
    const char *best = sai_best_loss(s, "SaI normalised") < sai_best_loss(s, "SaI") ? "SaI normalised" : "SaI";
    for (int i = 0; i < call->seed_count; i++) {
        uint64_t seed = call->seeds[i];
        double chosen = sow_study_scored(call, best, "val loss", seed),
               apart = sow_study_scored(call, "SaI", "val loss", seed) -
                       sow_study_scored(call, "SaI, converted", "val loss", seed);
        if (isfinite(chosen)) SOW_TRY(sow_study_score(call, "best SaI", "val loss", seed, chosen));
        if (isfinite(apart)) SOW_TRY(sow_study_score(call, "SaI, converted", "distance to SaI", seed, fabs(apart)));
    }
    return score_above(call, "sqrt n");
}

#define SMALL "--arch=gpt:64-2-4-64 --batch=16 --steps=300 --clip=1 --schedule=warmup:20+cosine:0.1"

static sow_status run_small(sow_study_call *call) {
    sai_search search;
    SOW_DECIDES(call, small_clauses);
    SOW_TRY(
        sai_compare(call, call->data ? SMALL " --data={data}" : SMALL, small_rules, STUDY_COUNT(small_rules), &search));
    return score_small(call, &search);
}

/* ---- full, part images: a vision transformer on CIFAR-10 ---- */

/* The network of 4 blocks and width 96, three rates a rule, three seeds. A step takes 0.4 s of one core (Zen 5, busy with other work), so 15 epochs of 352 steps for
 * all 21 trainings would take 6 hours on two cores; two epochs fit an hour. The paper says that SaI is slow early, so this is the hard
 * end of its claim. Three times smaller rates for AdamW than in small: its usual ones for such networks. */
static const sai_rule image_rules[] = {
    {"AdamW", "--optimizer=adamw --beta1=0.9 --beta2=0.95 --weight-decay=0.1", {"0.0003", "0.001", "0.003"}},
    {"SGDM", "--optimizer=sgdm --weight-decay=0.00052", {"0.3", "1", "3"}},
    {"SaI", "--optimizer=sgd-sai --weight-decay=0.1", {"0.003", "0.01", "0.03"}},
    {"sqrt n", "--optimizer=sgd-sai --sqrt-n --weight-decay=0.1", .follows = "SaI"},
};

static const sow_clause image_clauses[] = {
    BELOW_SGDM,
    SOW_AT_MOST("it is at most 0.1 nats above AdamW", "SaI", "AdamW", "val loss", SOW_MEAN_DIFFERENCE, 0.1),
    HALF_THE_STATE,
};

static const char claim[] =
    "A learning rate for each block of weights, measured once from the first gradient, makes momentum SGD match AdamW "
    "on transformers with half its state.";

static sow_status run_images(sow_study_call *call) {
    sai_search search;
    call->claim = claim;
    SOW_DECIDES(call, image_clauses);
    SOW_TRY(sai_compare(call,
                        "--arch=vit:4-96-4-3 --scheme=normal:sd=0.02 --batch=128 --steps=703 --clip=1 "
                        "--schedule=warmup:70+cosine:0.1 --data={data}",
                        image_rules, STUDY_COUNT(image_rules), &search));
    return score_above(call, "sqrt n");
}

/* ---- full, part lora: an adapter on a language model ---- */

/* Rank 8 on every linear layer, 200 steps, of one sequence each: 1.9 s of one core a step on a busy machine, 70 minutes for the 21 trainings
 * on two. No weight decay, as is usual for adapters. A's first gradient is exactly 0, because B is: SaI leaves its scale at 1, the
 * roots of sizes do not. Rates are such that a clipped first step is about as long as one of Adam's at 3e-4 to 3e-3. */
static const sai_rule lora_rules[] = {
    {"AdamW", "--optimizer=adamw", {"0.0003", "0.001", "0.003"}},
    {"SGDM", "--optimizer=sgdm", {"1", "3", "10"}},
    {"SaI", "--optimizer=sgd-sai", {"0.01", "0.03", "0.1"}},
    {"sqrt n", "--optimizer=sgd-sai --sqrt-n", .follows = "SaI"},
};

static const sow_clause lora_clauses[] = {
    BELOW_SGDM,
    SOW_AT_MOST("it is at most 2 % of the loss above AdamW", "SaI", "AdamW", "val loss", SOW_RATIO_OF_MEANS, 1.02),
    HALF_THE_STATE,
};

static sow_status run_lora(sow_study_call *call) {
    sai_search search;
    call->claim = claim;
    SOW_DECIDES(call, lora_clauses);
    SOW_TRY(sai_compare(call,
                        "--model=smollm2 --rank=8 --length=256 --batch=1 --val=24 --steps=200 --clip=1 "
                        "--schedule=warmup:20+cosine:0.1 --data={data}",
                        lora_rules, STUDY_COUNT(lora_rules), &search));
    return score_above(call, "sqrt n");
}

/* ---- the study ---- */

static sow_status run(sow_study_call *call) {
    call->claim = claim;
    return call->scale == SOW_SCALE_SMOKE ? run_smoke(call) : run_small(call);
}

static const sow_study_part parts[] = {
    {"images", "a vision transformer of four blocks on CIFAR-10, each rule at its best rate", SOW_SCALE_FULL, "1:3",
     "1 hour", "CIFAR-10 as a folder of images or of its binary batches", run_images},
    {"robustness", "ResNet-8 on CIFAR-10 over a grid of learning rate and weight decay", SOW_SCALE_FULL, "1:3",
     "35 minutes", "CIFAR-10 as a folder of images or of its binary batches", sai_run_robustness},
    {"lora", "an adapter of rank 8 on SmolLM2-135M, 200 steps, each rule at its best rate", SOW_SCALE_FULL, "1:3",
     "70 minutes", "texts to tune on (JSON lines, TSV or plain text), like gsm8k-train.jsonl", run_lora},
    {0},
};

const sow_study sow_study_sgd_sai = {
    .name = "sgd-sai",
    .method = "sgd-sai",
    .paper = "Xu et al. 2024, arXiv 2412.11768",
    .summary = "scales of the first gradient against AdamW and plain momentum, each at its best learning rate",
    .seeds = {"1:1", "1:3", NULL},
    .time = {"5 seconds", "4 minutes", "3 parts"},
    .data_help = "smoke: scikit-learn's digits.csv.gz; small: a text or a folder of texts; full: by part",
    .run = run,
    .parts = parts,
};
