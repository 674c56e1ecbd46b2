/* sow train --model: tunes a language model, or an adapter on it, on texts. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "cli/train.h"
#include "nn/lm/base_model.h"
#include "optim/options.h"
#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/safetensors.h"
#include "sow/tune.h"

/* Held out where --val says nothing: a twentieth, but not more than an evaluation is worth. */
enum { HELD_OUT_SHARE = 20, HELD_OUT_MAX = 32, EVALUATIONS = 10, MICRO_BATCH = 4 };

typedef struct job {
    sow_call *call;
    base_model base;
    sow_texts *some, *kept, *held, *test; /* some: --limit's; kept, held: of a split */
    const sow_texts *train, *validation;
    sow_adapter *adapter; /* NULL: the whole model */
    const char *form;     /* "lora", "pissa" ...; of --adapter: "adapter" */
    sow_lm_task *task;
    sow_training training;
    const char *folder;
    int64_t patience; /* evaluations without a new least loss; 0: any number */
    bool records;
} job;

/* ---- options ---- */

static sow_status refuse(const sow_call *call, const char *const *names, const char *why) {
    for (; *names; names++)
        if (sow_given(call, *names)) return sow_fail(SOW_E_ARGUMENT, "--%s %s", *names, why);
    return SOW_OK;
}

static const char *const of_images[] = {"arch",      "start",     "mask",          "dense", "scheme",  "augment",
                                        "dropout",   "label",     "normalisation", "input", "classes", "test-at-best",
                                        "out-state", "save-step", "save-state",    NULL},
                         *const of_starts[] = {"tune", "rank", "alpha", "targets", NULL};

/* What does nothing does not stand in the passport. */
static void leave_out(sow_call *call, const char *const *names) {
    for (; *names; names++) sow_resolve(call, *names, NULL);
}

static sow_status check_options(sow_call *call) {
    const char *tune = sow_text(call, "tune");
    SOW_TRY(refuse(call, of_images, "belongs to networks on images and tables (--arch), not to --model"));
    leave_out(call, of_images);
    if (sow_text(call, "adapter")) SOW_TRY(refuse(call, of_starts, "and --adapter exclude each other"));
    else if (sow_flag(call, "as-lora")) return sow_fail(SOW_E_ARGUMENT, "--as-lora belongs to --adapter");
    if (tune && !strcmp(tune, "full")) SOW_TRY(refuse(call, of_starts + 1, "does nothing for --tune full"));
    if (sow_given(call, "steps") && sow_given(call, "epochs"))
        return sow_fail(SOW_E_ARGUMENT, "--steps and --epochs exclude each other");
    if (!sow_text(call, "out")) return sow_fail(SOW_E_ARGUMENT, "missing -o (--out), the folder of the result");
    return SOW_OK;
}

/* What the table leaves open. */
static void resolve(job *j) {
    sow_call *call = j->call;
    bool full = !j->adapter;
    sow_resolve(call, "optimizer", "adamw");
    if (!strncmp(sow_text(call, "optimizer"), "adam", 4)) sow_resolve(call, "lr", full ? "2e-05" : "0.0005");
    sow_resolve(call, "clip", "1");
}

/* ---- texts ---- */

/* --limit takes the first ones. */
static sow_status take_first(job *j, int64_t limit) {
    int64_t *index;
    j->train = j->base.texts;
    if (limit == 0 || limit >= j->train->count) return SOW_OK;
    SOW_TRY(SOW_NEW(j->call->arena, index, limit));
    for (int64_t i = 0; i < limit; i++) index[i] = i;
    SOW_TRY(sow_texts_take(j->base.texts, index, limit, &j->some));
    j->train = j->some;
    return SOW_OK;
}

/* Digits alone are a number of sequences, anything else a file. */
static bool is_number(const char *text, int64_t *out) {
    *out = 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9' || c - text > 12) return false;
        *out = 10 * *out + *c - '0';
    }
    return *text != 0;
}

static sow_status choose_validation(job *j) {
    const char *val = sow_text(j->call, "val");
    int64_t count = j->train->count / HELD_OUT_SHARE;
    if (count > HELD_OUT_MAX) count = HELD_OUT_MAX;
    if (val && !is_number(val, &count)) {
        SOW_TRY(base_texts_open(j->call, &j->base, val, &j->held));
        j->validation = j->held;
        return SOW_OK;
    }
    if (count == 0) {
        sow_note("nothing is held out for validation: the last step's weights are the result");
        return SOW_OK;
    }
    SOW_TRY(sow_texts_split(j->train, count, (uint64_t)sow_int(j->call, "data-seed"), &j->kept, &j->held));
    j->train = j->kept;
    j->validation = j->held;
    if (!val)
        sow_note("%lld sequences are held out for validation; --val FILE or a number says otherwise", (long long)count);
    return SOW_OK;
}

/* ---- what is trained ---- */

static sow_status make_adapter(job *j) {
    sow_call *call = j->call;
    sow_adapter_start start;
    double rank = (double)sow_int(call, "rank"), alpha = sow_text(call, "alpha") ? sow_real(call, "alpha") : rank;
    SOW_TRY(sow_adapter_start_parse(j->form, &start));
    SOW_TRY(
        sow_adapter_make(start, &j->base.sites, (int64_t)rank, alpha, (uint64_t)sow_int(call, "seed"), &j->adapter));
    j->adapter->targets = base_targets(j->adapter->arena, &j->base.all, &j->base.sites);
    return SOW_OK;
}

static sow_status read_adapter(job *j, const char *folder) {
    SOW_TRY(sow_adapter_read(folder, sow_flag(j->call, "as-lora"), &j->adapter));
    sow_status status = sow_adapter_bind(j->adapter, &j->base.all);
    j->form = "adapter";
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "%s", folder);
}

static sow_status choose_trained(job *j) {
    const char *folder = sow_text(j->call, "adapter");
    if (folder) {
        SOW_TRY(read_adapter(j, folder));
        leave_out(j->call, of_starts);
    } else {
        sow_resolve(j->call, "tune", "lora");
        j->form = sow_text(j->call, "tune");
        if (!strcmp(j->form, "full")) {
            leave_out(j->call, of_starts + 1);
            return SOW_OK;
        }
        SOW_TRY(make_adapter(j));
    }
    if (!j->adapter->base) j->adapter->base = j->base.folder;
    if (!j->adapter->task) j->adapter->task = "CAUSAL_LM";
    return SOW_OK;
}

/* ---- the training ---- */

static sow_status observe(void *user, const sow_evaluation *evaluation);

static sow_status schedule_of(job *j) {
    sow_training *t = &j->training;
    int64_t warmup = (t->steps * 3 + 50) / 100;
    if (!sow_given(j->call, "schedule")) {
        const char *text = warmup > 0 ? sow_arena_format(j->call->arena, "warmup:%lld+cosine", (long long)warmup)
                                      : "cosine";
        if (!text) return SOW_E_MEMORY;
        sow_resolve(j->call, "schedule", text);
    }
    return sow_schedule_parse(sow_text(j->call, "schedule"), &t->schedule);
}

static sow_status read_training(job *j) {
    sow_call *call = j->call;
    sow_training *t = &j->training;
    int64_t epoch = sow_lm_task_epoch(j->task);
    sow_resolve(call, "epochs", "1");
    double steps = ceil((double)epoch * sow_real(call, "epochs") - 1e-9);
    *t = (sow_training){.steps = sow_text(call, "steps") ? sow_int(call, "steps") : (int64_t)fmax(steps, 1),
                        .clip = sow_real(call, "clip"),
                        .seed = (uint64_t)sow_int(call, "seed"),
                        .folder = j->folder,
                        .resume = sow_flag(call, "resume"),
                        .test_at_best = true,
                        .evaluated = observe,
                        .user = j};
    if (sow_text(call, "steps")) sow_resolve(call, "epochs", NULL);
    int64_t between = t->steps / EVALUATIONS > 0 ? t->steps / EVALUATIONS : 1;
    t->evaluate_every = sow_given(call, "evaluate-every") ? sow_int(call, "evaluate-every") : between;
    t->checkpoint_every = sow_given(call, "checkpoint-every") ? sow_int(call, "checkpoint-every") : between;
    SOW_TRY(optim_read_options(call, j->adapter ? j->adapter->state : j->base.lm->state, j->base.lm->config.heads,
                               &t->optimizer));
    t->optimizer.blocks.kv_heads = j->base.lm->config.kv_heads;
    return schedule_of(j);
}

/* ---- best weights ---- */

static const char *best_path(const job *j) {
    return sow_path_join(j->call->arena, j->folder, "best.safetensors");
}

static sow_state *trained_state(const job *j) {
    return j->adapter ? j->adapter->state : j->base.lm->state;
}

/* Keeps the weights of the least validation loss, so that a killed and resumed run still has them, and ends a training
 * that has stopped to improve. */
static sow_status observe(void *user, const sow_evaluation *evaluation) {
    job *j = user;
    sow_training *t = &j->training;
    int64_t best = sow_early_stop(t->curve, t->evaluations);
    const char *path = best_path(j);
    if (!path) return SOW_E_MEMORY;
    if (j->records) SOW_TRY(cli_train_print(evaluation));
    if (!j->validation) return SOW_OK;
    sow_note("step %lld: validation loss %.4f, perplexity %.2f", (long long)evaluation->step,
             evaluation->validation_loss, exp(evaluation->validation_loss));
    if (best == t->evaluations - 1) return sow_save_state(path, trained_state(j), NULL);
    t->enough = j->patience > 0 && t->evaluations - 1 - best >= j->patience;
    return SOW_OK;
}

static sow_status take_best(const job *j) {
    const char *path = best_path(j);
    if (!path) return SOW_E_MEMORY;
    return j->validation ? sow_load_into(path, trained_state(j)) : SOW_OK;
}

/* A finished training needs no way to go on. */
static sow_status remove_leftovers(const job *j) {
    char *checkpoint = sow_path_join(j->call->arena, j->folder, "checkpoint.safetensors");
    const char *best = best_path(j);
    if (!checkpoint || !best) return SOW_E_MEMORY;
    unlink(checkpoint);
    unlink(best);
    return SOW_OK;
}

/* ---- estimates ---- */

/* Numbers that adapters add to the states of a token: A x of each site. */
static int64_t added_states(const sow_adapter *a) {
    int64_t sum = 0;
    for (int64_t i = 0; a && i < a->count; i++) sum += a->layers[i].rank;
    return sum;
}

/* Gradients and two moments of what is trained, the weights it starts from, and one micro-batch's states. */
static void say_costs(const job *j) {
    const sow_training *t = &j->training;
    const sow_texts *v = j->validation;
    int64_t batch = sow_int(j->call, "batch"), sequences = batch * sow_int(j->call, "accumulate");
    int64_t mean = j->train->start[j->train->count] / j->train->count + 1;
    int64_t evaluations = 2 + (t->evaluate_every > 0 ? t->steps / t->evaluate_every : 0);
    int64_t trained = sow_state_parameters(trained_state(j));
    double share = j->adapter ? 2.0 / 3 : 1; /* a frozen weight has no gradient */
    double seconds = share * base_seconds(&j->base, t->steps * sequences * mean) +
                     (v ? base_seconds(&j->base, evaluations * v->start[v->count]) / 3 : 0);
    int64_t tokens = batch * j->train->longest;
    double bytes = (double)base_bytes(&j->base, tokens) + 4.0 * (double)(tokens * added_states(j->adapter)) +
                   (double)trained * (j->adapter ? 16 : 12);
    sow_note(
        "%lld numbers are trained in %lld steps of %lld sequences (about %lld tokens): about %.0f %s and at most %.1f GiB",
        (long long)trained, (long long)t->steps, (long long)sequences, (long long)(sequences * mean),
        seconds < 120 ? seconds : seconds / 60, seconds < 120 ? "seconds" : "minutes", bytes / 0x1p30);
}

/* ---- results ---- */

static const sow_evaluation *best_of(const job *j) {
    const sow_training *t = &j->training;
    return &t->curve[j->validation ? sow_early_stop(t->curve, t->evaluations) : t->evaluations - 1];
}

static json_t *measured(const sow_evaluation *e) {
    json_t *object = cli_train_json(e);
    if (isfinite(e->validation_loss)) json_object_set_new(object, "val_perplexity", json_real(exp(e->validation_loss)));
    if (isfinite(e->test_loss)) json_object_set_new(object, "test_perplexity", json_real(exp(e->test_loss)));
    return object;
}

static sow_status describe(job *j) {
    const sow_training *t = &j->training;
    json_t *r = j->call->result;
    SOW_TRY(sow_put_text(r, "model", j->base.inputs[0].name));
    SOW_TRY(sow_put_text(r, "data", j->train->name));
    SOW_TRY(sow_put_text(r, "format", j->train->format));
    SOW_TRY(sow_put_text(r, "tune", j->form));
    SOW_TRY(sow_put_count(r, "trained", sow_state_parameters(trained_state(j))));
    SOW_TRY(sow_put_count(r, "sequences", j->train->count));
    SOW_TRY(sow_put_count(r, "steps", t->curve[t->evaluations - 1].step));
    SOW_TRY(sow_put_json(r, "start", measured(&t->curve[0])));
    if (j->validation) SOW_TRY(sow_put_json(r, "best", measured(best_of(j))));
    SOW_TRY(sow_put_json(r, "final", measured(&t->curve[t->evaluations - 1])));
    if (t->enough) SOW_TRY(sow_put_json(r, "stopped_early", json_true()));
    return SOW_OK;
}

/* What the README says of validation. */
static const char *verdict_of(const job *j) {
    const sow_evaluation *best = best_of(j);
    if (!j->validation) return "Nothing was held out for validation: these are the last step's weights.";
    return sow_arena_format(j->call->arena, "Validation loss %.4f at the start, %.4f at step %lld, which is kept.",
                            j->training.curve[0].validation_loss, best->validation_loss, (long long)best->step);
}

/* The README of the folder; NULL when memory is short. */
static const char *card_of(const job *j) {
    const sow_training *t = &j->training;
    const sow_call *call = j->call;
    const sow_texts *x = j->train;
    const sow_adapter *a = j->adapter;
    char rate[SOW_REAL_TEXT], alpha[SOW_REAL_TEXT];
    const char *verdict = verdict_of(j), *shape = "";
    if (a)
        shape = sow_arena_format(call->arena, "| rank, alpha | %lld, %s |\n| layers | %lld |\n", (long long)a->rank,
                                 sow_real_text(a->alpha, alpha), (long long)a->count);
    if (!verdict || !shape) return NULL;
    return sow_arena_format(
        call->arena,
        "# %s %s\n\nTrained by `sow train` on %s (%s).\n\n"
        "| | |\n|---|---|\n| start | %s |\n%s| numbers trained | %lld |\n"
        "| sequences | %lld, %lld tokens, of which %lld count |\n| steps | %lld of %lld x %lld sequences |\n"
        "| optimiser | %s, rate %s, %s |\n| seed | %lld |\n\n%s\n\n"
        "The passport in the header of the safetensors file holds every option and the SHA-256 of model and data.\n",
        a ? "Adapter for" : "Tuned:", j->base.inputs[0].name, x->name, x->format, a ? j->form : "the model's weights",
        shape, (long long)sow_state_parameters(trained_state(j)), (long long)x->count, (long long)x->start[x->count],
        (long long)x->counted, (long long)t->curve[t->evaluations - 1].step, (long long)sow_int(call, "accumulate"),
        (long long)sow_int(call, "batch"), sow_text(call, "optimizer"), sow_real_text(t->optimizer.rate, rate),
        sow_text(call, "schedule"), (long long)t->seed, verdict);
}

static sow_status write_adapter(job *j, const char *passport) {
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors", "README.md"};
    const char *card = card_of(j);
    if (!card) return SOW_E_MEMORY;
    SOW_TRY(sow_adapter_write(j->adapter, j->folder, passport, card));
    for (int i = 0; i < 3; i++) SOW_TRY(sow_wrote_in(j->call, j->folder, names[i]));
    return SOW_OK;
}

/* A Hugging Face folder, of a GGUF base too; config.json comes last: without it the folder is none. */
static sow_status write_model(job *j, const char *passport) {
    static const char *const names[] = {"model.safetensors", "config.json", "tokenizer.json", "README.md"};
    const char *source, *card = card_of(j), *path = sow_path_join(j->call->arena, j->folder, "README.md");
    if (!card || !path) return SOW_E_MEMORY;
    SOW_TRY(sow_lm_locate(j->call->arena, sow_text(j->call, "model"), &source));
    SOW_TRY(sow_write_file(path, card, strlen(card)));
    SOW_TRY(sow_tokenizer_export(source, j->folder));
    SOW_TRY(sow_lm_write(j->base.lm, j->folder, SOW_F32, passport));
    for (int i = 0; i < 4; i++) SOW_TRY(sow_wrote_in(j->call, j->folder, names[i]));
    return SOW_OK;
}

static sow_status passport_of(job *j, const char *file, const char **out) {
    sow_input extra[4] = {j->base.inputs[0], j->base.inputs[1]};
    int count = 2;
    if (j->held && !j->kept) extra[count++] = sow_input_of("val", j->held->name, j->held->sha256);
    if (j->test) extra[count++] = sow_input_of("test", j->test->name, j->test->sha256);
    return sow_passport(j->call, file, extra, count, out);
}

static sow_status write_files(job *j) {
    const char *passport;
    SOW_TRY(describe(j));
    SOW_TRY(passport_of(j, j->adapter ? "adapter_model.safetensors" : "model.safetensors", &passport));
    SOW_TRY(j->adapter ? write_adapter(j, passport) : write_model(j, passport));
    SOW_TRY(cli_train_curve(j->call, j->folder, &j->training));
    SOW_TRY(cli_train_report(j->call, j->folder, passport));
    if (j->adapter)
        SOW_TRY(sow_put_format(j->call->result, "next", "sow lm score --model %s --adapter %s --data %s",
                               sow_text(j->call, "model"), j->folder, sow_text(j->call, "data")));
    else
        SOW_TRY(sow_put_format(j->call->result, "next", "sow lm score --model %s --data %s", j->folder,
                               sow_text(j->call, "data")));
    return remove_leftovers(j);
}

/* ---- from beginning to end ---- */

static sow_status check_folder(job *j) {
    char *report = sow_path_join(j->call->arena, j->folder, "run.json");
    if (!report) return SOW_E_MEMORY;
    if (sow_flag(j->call, "resume") && sow_path_exists(report))
        return sow_fail(SOW_E_EXISTS, "%s: this training is complete; --force begins anew", j->folder);
    return sow_check_output(j->call, j->folder);
}

static sow_status prepare(job *j) {
    sow_call *call = j->call;
    SOW_TRY(check_options(call));
    SOW_TRY(check_folder(j));
    sow_resolve(call, "batch", "4");
    SOW_TRY(base_model_open(call, &j->base));
    j->base.lm->recompute = sow_flag(call, "recompute");
    SOW_TRY(take_first(j, sow_int(call, "limit")));
    SOW_TRY(choose_validation(j));
    if (sow_text(call, "test")) SOW_TRY(base_texts_open(call, &j->base, sow_text(call, "test"), &j->test));
    SOW_TRY(choose_trained(j));
    resolve(j);
    sow_tuning tuning = {.lm = j->base.lm,
                         .adapter = j->adapter,
                         .train = j->train,
                         .validation = j->validation,
                         .test = j->test,
                         .batch = sow_int(call, "batch"),
                         .parts = sow_int(call, "accumulate"),
                         .seed = (uint64_t)sow_int(call, "seed")};
    SOW_TRY(sow_lm_task_new(&tuning, &j->task));
    return read_training(j);
}

static sow_status train(job *j) {
    SOW_TRY(prepare(j));
    say_costs(j);
    SOW_TRY(sow_make_folder(j->folder)); /* last, so that a refused training leaves nothing */
    sow_status status = sow_train_task(j->call->arena, &j->training, sow_lm_task_of(j->task));
    if (status == SOW_E_NUMBER && j->records) cli_train_diverged(&j->training);
    SOW_TRY(status);
    SOW_TRY(take_best(j));
    SOW_TRY(write_files(j));
    if (j->records) json_object_clear(j->call->result);
    return SOW_OK;
}

sow_status cli_train_lm(sow_call *call) {
    job j = {.call = call,
             .folder = sow_text(call, "out"),
             .records = sow_flag(call, "records"),
             .patience = sow_int(call, "patience")};
    sow_status status = train(&j);
    sow_lm_task_free(j.task);
    sow_adapter_free(j.adapter);
    sow_texts_free(j.some);
    sow_texts_free(j.kept);
    sow_texts_free(j.held);
    sow_texts_free(j.test);
    base_model_close(&j.base);
    return status;
}
