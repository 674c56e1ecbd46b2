/* sow train: the built-in trainer, for people and as a cell's command. */
#include <math.h>
#include <string.h>

#include "cli/cli.h"
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
    int64_t save_step; /* -1: none */
    bool records;
} job;

/* ---- options ---- */

static const sow_option options[] = {
    {"arch", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL,
     "network: lenet300, conv2, resnet20, mlp:784-300-100-10 ... (sow list --arch all)", SOW_OPTION_REQUIRED},
    {"data", 0, SOW_TYPE_PATH, NULL, 0, 0, NULL, NULL,
     "fashion-mnist, mnist, a folder of IDX files, CIFAR batches or images, x.npy,y.npy, or a CSV",
     SOW_OPTION_REQUIRED},
    SOW_OPTION_PATH("start", NULL, "initial weights (safetensors); default: --scheme with --seed"),
    SOW_OPTION_PATH("mask", NULL, "mask (safetensors, U8, 1 keeps); default: START.mask.safetensors if it is there"),
    SOW_OPTION_FLAG("dense", "train without the mask that lies beside the start"),
    SOW_OPTION_TEXT("scheme", "torch-default",
                    "initialisation where no --start is given: kaiming-uniform, normal:sd=0.02 ..."),
    SOW_OPTIMIZER_OPTIONS("sgd"),
    {"batch", 0, SOW_TYPE_INT, "128", 1, 1 << 20, NULL, "examples", "size of a batch", 0},
    {"steps", 0, SOW_TYPE_INT, NULL, 1, 1e12, NULL, "steps", "length of the training", SOW_OPTION_REQUIRED},
    SOW_OPTION_TEXT("schedule", "constant",
                    "of the rate: constant, multistep:20000,25000[:0.1], cosine[:min], each after warmup:K+ if wanted"),
    SOW_OPTION_TEXT("augment", "none", "none, flip, crop or flip,crop"),
    SOW_OPTION_REAL("dropout", "0", 0, 0.999, "share of hidden units dropped"),
    SOW_OPTION_SEED,
    {"data-seed", 0, SOW_TYPE_INT, "0", 0, 9007199254740991.0, NULL, NULL,
     "chooses the validation part and --limit's subset", 0},
    {"val", 0, SOW_TYPE_INT, NULL, 0, 1e12, NULL, "examples",
     "split off for validation; default: 5,000 or a tenth, whichever is less", 0},
    SOW_OPTION_PATH("test", NULL, "where the test part lies, if not with the data"),
    {"limit", 0, SOW_TYPE_INT, "0", 0, 1e12, NULL, "examples", "train on a random subset of this size; 0: all", 0},
    SOW_OPTION_TEXT("label", NULL, "label column of a CSV; default: label, class, target or the last"),
    SOW_OPTION_CHOICE("normalisation", NULL, "unit|channel|row|none",
                      "of inputs; default: unit for IDX and tables, channel for CIFAR and images"),
    SOW_OPTION_TEXT("input", NULL, "CxHxW that the data must have; rows of a table are images of this size"),
    SOW_OPTION_INT("classes", NULL, 1, 1e6, "classes that the data must have"),
    {"evaluate-every", 0, SOW_TYPE_INT, "100", 0, 1e12, NULL, "steps", "between evaluations; 0: only first and last",
     SOW_OPTION_NO_PASSPORT},
    {"test-at-best", 0, SOW_TYPE_FLAG, NULL, 0, 0, NULL, NULL,
     "test only where the validation loss is a new minimum, and at the end", SOW_OPTION_NO_PASSPORT},
    {"checkpoint-every", 0, SOW_TYPE_INT, "0", 0, 1e12, NULL, "steps", "between checkpoints in the run folder; 0: none",
     SOW_OPTION_NO_PASSPORT},
    {"out", 'o', SOW_TYPE_OUTPUT, NULL, 0, 0, NULL, NULL,
     "run folder: final.safetensors, curve.csv, run.json, checkpoint.safetensors", SOW_OPTION_NO_PASSPORT},
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
        .validation = sow_text(call, "val") ? sow_int(call, "val") : -1,
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

/* The evaluation's numbers by the names that records, tables and reports use; NaN: not measured. */
typedef struct number {
    const char *name;
    double value;
} number;
enum { NUMBERS = 6 };
static void numbers_of(const sow_evaluation *e, number out[NUMBERS]) {
    const number all[NUMBERS] = {{"train_loss", e->train_loss},    {"train_accuracy", e->train_accuracy},
                                 {"val_loss", e->validation_loss}, {"val_accuracy", e->validation_accuracy},
                                 {"test_loss", e->test_loss},      {"test_accuracy", e->test_accuracy}};
    memcpy(out, all, sizeof all);
}

static sow_status print_record(void *user, const sow_evaluation *evaluation) {
    const job *j = user;
    number numbers[NUMBERS];
    char text[SOW_REAL_TEXT];
    if (!j->records) return SOW_OK;
    numbers_of(evaluation, numbers);
    printf("{\"step\":%lld", (long long)evaluation->step);
    for (int i = 0; i < NUMBERS; i++)
        if (!isnan(numbers[i].value)) printf(",\"%s\":%s", numbers[i].name, sow_real_text(numbers[i].value, text));
    puts("}");
    return fflush(stdout) ? sow_fail(SOW_E_IO, "standard output: the reader of the records is gone") : SOW_OK;
}

static sow_status write_curve(const job *j) {
    sow_writer *writer;
    char *path = sow_path_join(j->call->arena, j->folder, "curve.csv"), text[SOW_REAL_TEXT];
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_writer_open(path, &writer));
    sow_writer_printf(writer, "step,train_loss,train_accuracy,val_loss,val_accuracy,test_loss,test_accuracy\n");
    for (int64_t i = 0; i < j->training.evaluations; i++) {
        number numbers[NUMBERS];
        numbers_of(&j->training.curve[i], numbers);
        sow_writer_printf(writer, "%lld", (long long)j->training.curve[i].step);
        for (int k = 0; k < NUMBERS; k++)
            sow_writer_printf(writer, ",%s", isnan(numbers[k].value) ? "" : sow_real_text(numbers[k].value, text));
        sow_writer_printf(writer, "\n");
    }
    SOW_TRY(sow_writer_commit(writer));
    return sow_wrote(j->call, path);
}

static json_t *evaluation_json(const sow_evaluation *e) {
    number numbers[NUMBERS];
    json_t *object = json_pack("{s:I}", "step", (json_int_t)e->step);
    numbers_of(e, numbers);
    for (int i = 0; i < NUMBERS; i++)
        if (isfinite(numbers[i].value)) json_object_set_new(object, numbers[i].name, json_real(numbers[i].value));
    return object;
}

/* What was trained and what came of it. No times: runs are compared. */
static sow_status describe(job *j) {
    const sow_training *t = &j->training;
    json_t *result = j->call->result;
    const sow_evaluation *last = &t->curve[t->evaluations - 1];
    int64_t weights = sow_state_weights(j->model->state), kept = weights;
    for (int64_t i = 0; i < j->mask.tensors; i++) kept -= j->mask.bits[i].count - sow_bits_kept(&j->mask.bits[i]);
    int failed = json_object_set_new(result, "arch", json_string(j->model->arch));
    failed |= json_object_set_new(result, "data", json_string(j->data->name));
    failed |= json_object_set_new(result, "steps", json_integer(t->steps));
    failed |= json_object_set_new(result, "weights", json_integer(weights));
    failed |= json_object_set_new(result, "kept", json_integer(kept));
    if (j->data->validation.count > 0)
        failed |= json_object_set_new(result, "early_stop",
                                      evaluation_json(&t->curve[sow_early_stop(t->curve, t->evaluations)]));
    failed |= json_object_set_new(result, "final", evaluation_json(last));
    return failed ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

static sow_status write_report(job *j, const char *passport) {
    char *path = sow_path_join(j->call->arena, j->folder, "run.json"), *text;
    json_t *report = json_deep_copy(j->call->result);
    bool failed = json_object_set_new(report, "passport", json_loads(passport, 0, NULL)) != 0 || !path;
    json_object_del(report, "files");
    sow_status status = failed ? sow_fail(SOW_E_MEMORY, "out of memory")
                               : sow_json_text(j->call->arena, report, SOW_JSON_PRETTY, &text);
    json_decref(report);
    if (!status) status = sow_write_file(path, text, strlen(text));
    return status ? status : sow_wrote(j->call, path);
}

static sow_status write_state(job *j, const char *path, const char *passport) {
    SOW_TRY(sow_save_state(path, j->model->state, passport));
    return sow_wrote(j->call, path);
}

static sow_status write_files(job *j) {
    const char *passport, *test = sow_text(j->call, "test");
    sow_input extra[2] = {{.option = "data", .name = j->data->name},
                          {.option = "test", .name = test ? sow_path_name(test) : NULL}};
    memcpy(extra[0].sha256, j->data->sha256, sizeof extra[0].sha256);
    memcpy(extra[1].sha256, j->data->sha256, sizeof extra[1].sha256);
    SOW_TRY(sow_passport(j->call, "final.safetensors", extra, test ? 2 : 1, &passport));
    SOW_TRY(describe(j));
    if (j->folder) {
        char *final = sow_path_join(j->call->arena, j->folder, "final.safetensors");
        if (!final) return SOW_E_MEMORY;
        SOW_TRY(write_state(j, final, passport));
        SOW_TRY(write_curve(j));
        SOW_TRY(write_report(j, passport));
    }
    return j->out_state ? write_state(j, j->out_state, passport) : SOW_OK;
}

/* A diverged training says so in its records: a property of the start, not a fault of the machine. */
static void record_divergence(const job *j) {
    const sow_training *t = &j->training;
    if (!j->records || t->evaluations == 0) return;
    printf("{\"step\":%lld,\"train_loss\":NaN}\n", (long long)t->curve[t->evaluations - 1].step);
    fflush(stdout);
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
    if (status == SOW_E_NUMBER) record_divergence(j);
    SOW_TRY(status);
    SOW_TRY(write_files(j));
    if (j->records) json_object_clear(j->call->result);
    return SOW_OK;
}

static sow_status run_train(sow_call *call) {
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
    .summary = "train a network with the built-in trainer, from a start and under a mask",
    .actions = actions,
};
