/* sow train: the built-in trainer, for people and as a cell's command. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/train.h"
#include "nn/lm/base_model.h"
#include "optim/options.h"
#include "sow/file.h"
#include "sow/init.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/mask.h"
#include "sow/optim.h"
#include "sow/safetensors.h"

/* One training from the command line. */
typedef struct job {
    sow_call *call;
    sow_data *data;
    sow_geometry geometry; /* the data's, or a table's as the network sees it */
    sow_model *model;
    sow_mask mask;
    sow_training training;
    const char *folder, *out_state, *save_state;
    int64_t save_step;  /* -1: none */
    int64_t validation; /* examples; -1: the default */
    bool records;
} job;

/* ---- options ---- */

static const sow_option options[] = {
    SOW_OPTION_TEXT("arch", NULL, "network: lenet300, conv2, resnet20, mlp:784-300-100-10 ... (sow list --arch all)"),
    SOW_OPTION_TEXT("model", NULL,
                    "language model instead: a Hugging Face folder, a GGUF file, or a name that `sow fetch` lists"),
    {"data", 0, SOW_TYPE_PATH, NULL, 0, 0, NULL, NULL,
     "fashion-mnist, mnist, a folder of IDX files, CIFAR batches or images, x.npy,y.npy, or a CSV; for --model: JSON "
     "lines, .tsv or plain text",
     SOW_OPTION_REQUIRED},
    SOW_OPTION_PATH("start", NULL, "initial weights (safetensors); default: --scheme with --seed"),
    SOW_OPTION_PATH("mask", NULL, "mask (safetensors, U8, 1 keeps); default: START.mask.safetensors if it is there"),
    SOW_OPTION_FLAG("dense", "train without the mask that lies beside the start"),
    SOW_OPTION_TEXT("scheme", "torch-default",
                    "initialisation where no --start is given: kaiming-uniform, normal:sd=0.02 ..."),
    SOW_OPTIMIZER_OPTIONS("sgd"),
    SOW_OPTION_COUNT("batch", NULL, 1, 1 << 20, "examples", "size of a batch; default 128, for --model 4"),
    SOW_OPTION_COUNT("steps", NULL, 1, 1e12, "steps", "length of the training; --model: default --epochs 1"),
    SOW_OPTION_TEXT("schedule", "constant",
                    "of the rate: constant, multistep:20000,25000[:0.1], cosine[:min], each after warmup:K+ if wanted; "
                    "--model: default cosine after a warm-up of 3 % of the steps"),
    SOW_OPTION_TEXT("augment", "none", "none, flip, crop or flip,crop"),
    SOW_OPTION_REAL("dropout", "0", 0, 0.999, "share of hidden units dropped"),
    SOW_OPTION_SEED,
    SOW_OPTION_INT("data-seed", "0", 0, 9007199254740991.0, "chooses the validation part and --limit's subset"),
    SOW_OPTION_TEXT(
        "val", NULL,
        "examples split off for validation; default: 5,000 or a tenth, whichever is less; --model: a number "
        "or a file, default a twentieth, at most 32"),
    SOW_OPTION_PATH("test", NULL, "where the test part lies, if not with the data"),
    SOW_OPTION_COUNT("limit", "0", 0, 1e12, "examples",
                     "train on a random subset of this size; --model: on the first ones; 0: all"),
    SOW_OPTION_TEXT("label", NULL, "label column of a CSV; default: label, class, target or the last"),
    SOW_OPTION_CHOICE("normalisation", NULL, "unit|channel|row|none",
                      "of inputs; default: unit for IDX and tables, channel for CIFAR and images"),
    SOW_OPTION_TEXT("input", NULL, "CxHxW that the data must have; rows of a table are images of this size"),
    SOW_OPTION_INT("classes", NULL, 1, 1e6, "classes that the data must have"),
    SOW_OPTION_CHOICE("tune", NULL, "full|lora|rslora|dora|orthonormal|pissa|olora|lora-xs|core-random",
                      "--model: train all of it, or an adapter with this start; default lora"),
    SOW_OPTION_PATH("adapter", NULL, "--model: go on with this PEFT folder; one of `sow lora-sb`: its cores alone"),
    SOW_OPTION_FLAG("as-lora", "--adapter: train A and B of a folder of `sow lora-sb` too"),
    SOW_OPTION_INT("rank", "8", 1, 4096, "of adapters"),
    SOW_OPTION_REAL("alpha", NULL, 0, 1e6, "of adapters: their scale is alpha / rank; default: the rank"),
    SOW_OPTION_TEXT("targets", "all", "layers with an adapter: q_proj,v_proj ..., or all"),
    BASE_TEXT_OPTIONS("512"),
    SOW_OPTION_COUNT("accumulate", "1", 1, 1 << 20, "batches", "--model: added up for each step"),
    SOW_OPTION_REAL("epochs", NULL, 1e-6, 1e6, "--model: passes over the data instead of --steps"),
    SOW_OPTION_INT("patience", "0", 0, 1e6,
                   "--model: ends after so many evaluations without a new least validation loss; 0: never"),
    {"recompute", 0, SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL,
     "--model: less memory, a third more time: states of layers are made again", SOW_OPTION_NO_PASSPORT},
    {"evaluate-every", 0, SOW_TYPE_INT, "100", 0, 1e12, NULL, "steps",
     "between evaluations; 0: only first and last; --model: default a tenth of the steps", SOW_OPTION_NO_PASSPORT},
    {"test-at-best", 0, SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL,
     "test only where the validation loss is a new minimum, and at the end", SOW_OPTION_NO_PASSPORT},
    {"checkpoint-every", 0, SOW_TYPE_INT, "0", 0, 1e12, NULL, "steps", "between checkpoints in the run folder; 0: none",
     SOW_OPTION_NO_PASSPORT},
    SOW_OPTION_OUTPUT_OR("run folder: final.safetensors, curve.csv, run.json, checkpoint.safetensors"),
    {"out-state", 0, SOW_TYPE_OUTPUT, NULL, 0, 0, NULL, NULL, "write the trained weights to this file",
     SOW_OPTION_NO_PASSPORT},
    {"save-step", 0, SOW_TYPE_INT, NULL, 0, 1e12, NULL, "steps",
     "after which --save-state is written; 0: before the first", SOW_OPTION_NO_PASSPORT},
    {"save-state", 0, SOW_TYPE_OUTPUT, NULL, 0, 0, NULL, NULL,
     "write the weights of that step to this file, to rewind to", SOW_OPTION_NO_PASSPORT},
    {"records", 0, SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL,
     "print each evaluation as a JSON line, and no result: the contract of trainers", SOW_OPTION_NO_PASSPORT},
    SOW_OPTION_RESUME,
    SOW_OPTION_FORCE,
    {0},
};

static sow_status parse_augmentation(const char *text, unsigned *out) {
    *out = SOW_AUGMENT_NONE;
    if (strcmp(text, "none") == 0) return SOW_OK;
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        if (length == 4 && memcmp(at, "flip", 4) == 0) *out |= SOW_AUGMENT_FLIP;
        else if (length == 4 && memcmp(at, "crop", 4) == 0) *out |= SOW_AUGMENT_CROP;
        else return sow_fail(SOW_E_ARGUMENT, "--augment: found '%s', expected none, flip, crop or flip,crop", text);
        at += length;
        if (!*at) return SOW_OK;
    }
}

static sow_status validation_of(const sow_call *call, int64_t *out) {
    const char *text = sow_text(call, "val");
    char *end;
    *out = -1;
    if (!text) return SOW_OK;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= 1e12) || value != floor(value))
        return sow_fail(SOW_E_ARGUMENT, "--val: found '%s', expected a number of examples", text);
    *out = (int64_t)value;
    return SOW_OK;
}

static sow_status read_training(job *j) {
    sow_call *call = j->call;
    sow_training *t = &j->training;
    *t = (sow_training){
        .steps = sow_int(call, "steps"),
        .batch = sow_int(call, "batch"),
        .evaluate_every = sow_int(call, "evaluate-every"),
        .test_at_best = sow_flag(call, "test-at-best"),
        .seed = (uint64_t)sow_int(call, "seed"),
        .folder = j->folder,
        .checkpoint_every = sow_int(call, "checkpoint-every"),
        .resume = sow_flag(call, "resume"),
        .user = j,
    };
    SOW_TRY(optim_check_options(call, &t->optimizer));
    t->clip = sow_real(call, "clip");
    SOW_TRY(sow_schedule_parse(sow_text(call, "schedule"), &t->schedule));
    return parse_augmentation(sow_text(call, "augment"), &t->augmentation);
}

static sow_status check_outputs(job *j) {
    if (!j->folder && !j->out_state)
        return sow_fail(SOW_E_ARGUMENT,
                        "missing -o (--out), the run folder, or --out-state, a file for the trained weights");
    if (!j->folder && (j->training.resume || j->training.checkpoint_every > 0))
        return sow_fail(SOW_E_ARGUMENT, "--resume and --checkpoint-every need a run folder (-o)");
    if ((j->save_step >= 0) != (j->save_state != NULL))
        return sow_fail(SOW_E_ARGUMENT, "--save-step and --save-state belong together");
    if (j->save_step > j->training.steps)
        return sow_fail(SOW_E_ARGUMENT, "--save-step: found %lld, expected at most --steps %lld",
                        (long long)j->save_step, (long long)j->training.steps);
    if (j->save_state) SOW_TRY(sow_check_output(j->call, j->save_state));
    if (j->folder) SOW_TRY(sow_check_output(j->call, j->folder));
    return j->out_state ? sow_check_output(j->call, j->out_state) : SOW_OK;
}

/* ---- data, model, start ---- */

static sow_status open_data(job *j) {
    sow_call *call = j->call;
    sow_data_options how = {
        .test = sow_text(call, "test"),
        .limit = sow_int(call, "limit"),
        .validation = j->validation,
        .data_seed = (uint64_t)sow_int(call, "data-seed"),
        .label = sow_text(call, "label"),
        .normalisation = sow_text(call, "normalisation"),
    };
    sow_geometry asked;
    SOW_TRY(cli_geometry(call, &asked));
    SOW_TRY(sow_data_open(sow_text(call, "data"), &how, &j->data));
    const sow_geometry *g = &j->data->geometry;
    j->geometry = *g;
    bool table = g->height == 1 && g->width == 1;
    bool fits = asked.channels == 0 ||
                (asked.channels == g->channels && asked.height == g->height && asked.width == g->width) ||
                (table && asked.channels * asked.height * asked.width == g->channels);
    if (asked.channels > 0) j->geometry = (sow_geometry){asked.channels, asked.height, asked.width, g->classes};
    if (!fits || (asked.classes && asked.classes != g->classes))
        return sow_fail(
            SOW_E_SHAPE,
            "%s has inputs of %lldx%lldx%lld and %lld classes, which is not what --input and --classes ask for",
            j->data->name, (long long)g->channels, (long long)g->height, (long long)g->width, (long long)g->classes);
    return SOW_OK;
}

static sow_status make_start(job *j) {
    const char *start = sow_text(j->call, "start");
    sow_rng rng;
    sow_init init;
    if (start) {
        if (sow_given(j->call, "scheme")) return sow_fail(SOW_E_ARGUMENT, "--scheme and --start exclude each other");
        sow_resolve(j->call, "scheme", NULL);
        return sow_load_into(start, j->model->state);
    }
    SOW_TRY(sow_init_parse(sow_text(j->call, "scheme"), &init));
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, j->training.seed));
    return sow_init_state(&rng, j->model->state, &init, NULL, 0);
}

/* The mask that was given, or the one that lies beside a masked start. */
static sow_status choose_mask(job *j) {
    const char *given = sow_text(j->call, "mask"), *start = sow_text(j->call, "start");
    size_t length = start ? strlen(start) : 0, ending = strlen(".safetensors");
    if (given && sow_flag(j->call, "dense")) return sow_fail(SOW_E_ARGUMENT, "--mask and --dense exclude each other");
    if (given || sow_flag(j->call, "dense") || length <= ending || strcmp(start + length - ending, ".safetensors") != 0)
        return SOW_OK;
    const char *beside = sow_arena_format(j->call->arena, "%.*s.mask.safetensors", (int)(length - ending), start);
    if (!beside) return SOW_E_MEMORY;
    if (!sow_path_exists(beside)) return SOW_OK;
    sow_note("%s lies beside the start and is used; --dense trains without it", beside);
    sow_resolve(j->call, "mask", beside);
    return SOW_OK;
}

static sow_status bind_mask(job *j) {
    sow_state *stored;
    SOW_TRY(choose_mask(j));
    const char *path = sow_text(j->call, "mask");
    if (!path) return SOW_OK;
    SOW_TRY(sow_load_state(path, &stored));
    sow_status status = sow_mask_from_state(j->call->arena, stored, &j->mask);
    if (!status) status = sow_mask_bind(&j->mask, j->model->state);
    sow_state_free(stored);
    return status ? sow_fail_in(status, "%s", path) : SOW_OK;
}

static sow_status prepare(job *j) {
    SOW_TRY(validation_of(j->call, &j->validation));
    SOW_TRY(read_training(j));
    SOW_TRY(check_outputs(j));
    SOW_TRY(open_data(j));
    SOW_TRY(cli_model(sow_text(j->call, "arch"), &j->geometry, &j->model));
    j->model->dropout = sow_real(j->call, "dropout");
    SOW_TRY(make_start(j));
    SOW_TRY(bind_mask(j));
    int64_t heads = strncmp(j->model->arch, "vit:", 4) == 0 ? j->model->widths[3] : 0;
    SOW_TRY(optim_read_options(j->call, j->model->state, heads, &j->training.optimizer));
    return j->folder ? sow_make_folder(j->folder) : SOW_OK; /* last, so that a refused training leaves nothing */
}

/* ---- records and files ---- */

static sow_status print_record(void *user, const sow_evaluation *evaluation) {
    const job *j = user;
    return j->records ? cli_train_print(evaluation) : SOW_OK;
}

/* What was trained and what came of it. No times: runs are compared. */
static sow_status describe(job *j) {
    const sow_training *t = &j->training;
    json_t *result = j->call->result;
    const sow_evaluation *last = &t->curve[t->evaluations - 1];
    int64_t weights = sow_state_weights(j->model->state), kept = weights;
    for (int64_t i = 0; i < j->mask.tensors; i++) kept -= j->mask.bits[i].count - sow_bits_kept(&j->mask.bits[i]);
    SOW_TRY(sow_put_text(result, "arch", j->model->arch));
    SOW_TRY(sow_put_text(result, "data", j->data->name));
    SOW_TRY(sow_put_count(result, "steps", t->steps));
    SOW_TRY(sow_put_count(result, "weights", weights));
    SOW_TRY(sow_put_count(result, "kept", kept));
    if (j->data->validation.count > 0)
        SOW_TRY(
            sow_put_json(result, "early_stop", cli_train_json(&t->curve[sow_early_stop(t->curve, t->evaluations)])));
    return sow_put_json(result, "final", cli_train_json(last));
}

static sow_status write_state(job *j, const char *path, const char *passport) {
    SOW_TRY(sow_save_state(path, j->model->state, passport));
    return sow_wrote(j->call, path);
}

static sow_status write_files(job *j) {
    const char *passport, *test = sow_text(j->call, "test");
    const sow_input extra[2] = {sow_input_of("data", j->data->name, j->data->sha256),
                                sow_input_of("test", test ? sow_path_name(test) : NULL, j->data->sha256)};
    SOW_TRY(sow_passport(j->call, "final.safetensors", extra, test ? 2 : 1, &passport));
    SOW_TRY(describe(j));
    if (j->folder) {
        char *final = sow_path_join(j->call->arena, j->folder, "final.safetensors");
        if (!final) return SOW_E_MEMORY;
        SOW_TRY(write_state(j, final, passport));
        SOW_TRY(cli_train_curve(j->call, j->folder, &j->training));
        SOW_TRY(cli_train_report(j->call, j->folder, passport));
    }
    return j->out_state ? write_state(j, j->out_state, passport) : SOW_OK;
}

/* Weights to rewind to: an intermediate of the caller's, so without a passport. */
static sow_status save_at_step(void *user, int64_t step, sow_state *state) {
    job *j = user;
    if (step != j->save_step) return SOW_OK;
    SOW_TRY(sow_save_state(j->save_state, state, NULL));
    return sow_wrote(j->call, j->save_state);
}

static sow_status train(job *j) {
    SOW_TRY(prepare(j));
    j->training.evaluated = print_record;
    j->training.stepped = save_at_step;
    SOW_TRY(save_at_step(j, 0, j->model->state));
    sow_status status = sow_train(j->call->arena, &j->training, j->model, j->data);
    if (status == SOW_E_NUMBER && j->records) cli_train_diverged(&j->training);
    SOW_TRY(status);
    SOW_TRY(write_files(j));
    if (j->records) json_object_clear(j->call->result);
    return SOW_OK;
}

/* Options of language models do nothing here. */
static sow_status check_kind(sow_call *call) {
    static const char *const of_texts[] = {"tune",    "adapter",    "as-lora", "rank",     "alpha",
                                           "targets", "accumulate", "epochs",  "patience", "recompute"};
    if (!sow_text(call, "arch"))
        return sow_fail(SOW_E_ARGUMENT, "missing --arch, a network's name, or --model, a language model");
    for (size_t i = 0; i < sizeof of_texts / sizeof *of_texts; i++)
        if (sow_given(call, of_texts[i]))
            return sow_fail(SOW_E_ARGUMENT, "--%s belongs to language models (--model), not to --arch", of_texts[i]);
        else sow_resolve(call, of_texts[i], NULL);
    SOW_TRY(base_without_texts(call));
    if (!sow_text(call, "steps")) return sow_fail(SOW_E_ARGUMENT, "missing --steps, the length of the training");
    sow_resolve(call, "batch", "128");
    return SOW_OK;
}

static sow_status run_train(sow_call *call) {
    if (sow_text(call, "model")) return cli_train_lm(call);
    SOW_TRY(check_kind(call));
    job j = {
        .call = call,
        .folder = sow_text(call, "out"),
        .out_state = sow_text(call, "out-state"),
        .records = sow_flag(call, "records"),
        .save_state = sow_text(call, "save-state"),
        .save_step = sow_text(call, "save-step") ? sow_int(call, "save-step") : -1,
    };
    sow_status status = train(&j);
    sow_model_free(j.model);
    sow_data_free(j.data);
    return status;
}

static const sow_action actions[] = {
    {"train", "train a network", options, run_train,
     "sow train --arch lenet300 --data fashion-mnist --optimizer adam --lr 0.0012 --batch 60 --steps 5000 --seed 1 -o run/",
     SOW_ACTION_COMPUTES},
    {0},
};

const sow_method sow_verb_train = {
    .name = "train",
    .family = "commands",
    .summary = "train a network or a language model with the built-in trainer, from a start and under a mask",
    .actions = actions,
};
