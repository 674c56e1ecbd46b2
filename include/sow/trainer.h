/* How the trainings of an experiment go: the trainer's options, published recipes, command lines, what a training was worth. */
#ifndef SOW_TRAINER_H
#define SOW_TRAINER_H

#include "sow/data.h"
#include "sow/mask.h"
#include "sow/method.h"
#include "sow/run.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- options of actions that train in cells ---- */

/* Rows of an option table: what the built-in trainer is told, beside a row "arch" of the action's own. None has a default: what
 * is left open comes from a preset, or is the trainer's own default. */
#define SOW_TRAINER_OPTIONS                                                                                       \
    SOW_OPTION_PATH("data", NULL, "fashion-mnist, mnist, synthetic:relmlp, or a folder or file of examples"),     \
        SOW_OPTION_COUNT("val", NULL, 0, 1e12, "examples", "split off for validation"),                           \
        SOW_OPTION_PATH("test", NULL, "where test examples lie"),                                                 \
        SOW_OPTION_COUNT("limit", NULL, 0, 1e12, "examples", "use this many training examples"),                  \
        SOW_OPTION_INT("data-seed", NULL, 0, 9007199254740991.0, "keys subset and validation split; default 0"),  \
        SOW_OPTION_TEXT("label", NULL, "label column of a CSV"),                                                  \
        SOW_OPTION_CHOICE("normalisation", NULL, "unit|channel|row|none", "how pixels become inputs"),            \
        SOW_OPTION_TEXT("input", NULL, "input size CxHxW where data do not say"),                                 \
        SOW_OPTION_INT("classes", NULL, 1, 1e6, "classes where data do not say"),                                 \
        SOW_OPTION_CHOICE("optimizer", NULL, "sgd|adam|adamw", "optimiser"),                                      \
        SOW_OPTION_REAL("lr", NULL, 0, 1e6, "learning rate"),                                                     \
        SOW_OPTION_REAL("momentum", NULL, 0, 0.9999, "of sgd"),                                                   \
        SOW_OPTION_FLAG("nesterov", "Nesterov's momentum"),                                                       \
        SOW_OPTION_REAL("weight-decay", NULL, 0, 1e3, "weight decay"),                                            \
        SOW_OPTION_TEXT("schedule", NULL, "constant, multistep:A,B[:0.1] or cosine[:min], after warmup:K+"),      \
        SOW_OPTION_COUNT("steps", NULL, 1, 1e12, "steps", "of one training"),                                     \
        SOW_OPTION_COUNT("batch", NULL, 1, 1 << 20, "examples", "of one step"),                                   \
        SOW_OPTION_COUNT("evaluate-every", NULL, 0, 1e12, "steps", "between evaluations"),                        \
        SOW_OPTION_TEXT("augment", NULL, "flip, crop or flip,crop"),                                              \
        SOW_OPTION_REAL("dropout", NULL, 0, 0.999, "share of hidden units dropped")
/* "arch" and the names of those rows; ends with NULL. */
extern const char *const sow_trainer_options[];

/* Rows: a command of the user's own, and how long it may take. */
#define SOW_TRAINER_COMMAND_OPTIONS                                                                         \
    {"train", 0, SOW_TYPE_TEXT, NULL, 0, 0, NULL, NULL,                                                     \
     "command that trains instead, with {init} {mask} {out} {seed} {steps}", SOW_OPTION_COMMAND},           \
        SOW_TRAINER_SECONDS("start-seconds", "600", "to a trainer's first line"),                           \
        SOW_TRAINER_SECONDS("silent-seconds", "1800", "between a trainer's lines"),                         \
        SOW_TRAINER_SECONDS("cell-seconds", "86400", "of one training")
#define SOW_TRAINER_SECONDS(name, initial, help) \
    {name, 0, SOW_TYPE_REAL, initial, 0.001, 1e9, NULL, "seconds", help, SOW_OPTION_NO_PASSPORT}
/* The limits that those rows say. */
sow_limits sow_trainer_limits(const sow_call *call);

/* ---- published recipes ---- */

/* What a paper trained a network with. */
typedef struct sow_preset {
    const char *name, *arch;  /* what --preset says; the network's name, or how it begins */
    sow_variable options[12]; /* of the action's table; behind the last one a NULL name */
    double milestones[2];     /* of the schedule, as shares of the steps; 0: the options have what there is */
} sow_preset;
/* Fills in what the user left open, from the first preset that fits --preset and --arch; *found NULL: there is none.
 * SOW_E_ARGUMENT: the user asked for this preset, and it has no recipe for the network; or for another optimiser without its
 * rate, which would not fit. */
sow_status sow_preset_apply(sow_call *call, const sow_preset *presets, int count, const sow_preset **found);
/* "multistep:A,B": a schedule whose rate falls after these shares of the steps. In the arena. */
sow_status sow_milestones(sow_arena *arena, int64_t steps, const double shares[2], const char **schedule);

/* ---- recipes ---- */

enum { SOW_RECIPE_OPTIONS = 40 };

/* How trainings go: a value. An arm that trains otherwise (longer, at another rate) has a copy with other options. The texts
 * live as long as what they came from. */
typedef struct sow_recipe {
    const char *command;                      /* of the user's own, with placeholders; NULL: `sow train` of this program */
    sow_variable options[SOW_RECIPE_OPTIONS]; /* of `sow train`, as far as they are said */
    int count;
} sow_recipe;

/* That of a call, whose table has "arch" and both groups of rows. */
void sow_recipe_of_call(const sow_call *call, sow_recipe *out);
/* NULL: the recipe does not say. */
const char *sow_recipe_option(const sow_recipe *recipe, const char *name);
/* 0: the recipe does not say. */
int64_t sow_recipe_steps(const sow_recipe *recipe);
/* Says an option, in place of what was said. SOW_E_RANGE beyond SOW_RECIPE_OPTIONS. */
sow_status sow_recipe_set(sow_recipe *recipe, const char *name, const char *value);
/* Whether it can train. SOW_E_ARGUMENT: a command without {init} or {out}; else no network, no data, no number of steps. */
sow_status sow_recipe_check(const sow_recipe *recipe);

/* The options by name, paths without their folders, for a report; never the command. The caller's. */
sow_status sow_recipe_json(const sow_recipe *recipe, json_t **out);
/* Adds those of such a report. It may come from a stranger: names that are not in sow_trainer_options are passed over, and
 * values only ever reach a trainer quoted. Texts go into the arena. */
sow_status sow_recipe_read(sow_arena *arena, const json_t *options, sow_recipe *recipe);

/* Opens the data as the trainer will (those of --data, with their companions). Errors: sow_data_open's. */
sow_status sow_recipe_data(const sow_recipe *recipe, sow_data **out);
/* What --input and --classes say of data that the program does not see; zeros where they are silent. */
sow_status sow_recipe_geometry(const sow_recipe *recipe, sow_geometry *out);

/* ---- the folder of an experiment ---- */

/* Makes it and opens its store for this plan (a passport: what determines the values). The action has --force and --resume: with
 * the first alone the store of an earlier run is forgotten. *absolute: for child processes, in the call's arena. Errors: those of
 * sow_store_open. */
sow_status sow_experiment_open(sow_call *call, const char *folder, const char *plan, const char **absolute,
                               sow_store **store);
/* Writes a masked start with passports: PATH, and before it the mask under sow_mask_path, since a masked start is never without
 * it. `file`, `extra` and `count` as for sow_passport. */
sow_status sow_write_start(const sow_call *call, const char *path, const char *file, const sow_input *extra, int count,
                           const sow_state *start, const sow_mask *mask);

/* ---- one training ---- */

/* Its files, by absolute paths, and what tells it from others. */
typedef struct sow_trial {
    const char *init, *mask; /* NULL: none */
    const char *out;         /* trained weights */
    const char *folder;      /* {dir} */
    const char *arm;
    int round;
    uint64_t seed;
    int threads;
    const char *rewind; /* where weights of an early step go, NULL: the experiment never rewinds */
    int64_t rewind_step;
    bool rewinds; /* this training is the one whose early weights are kept; a command of the user's own decides itself */
    const sow_variable *more; /* placeholders of the method's own, as {shape}, in a command of the user's */
    int more_count;
} sow_trial;

/* The usual files of a cell, in its folder: start.safetensors, start.mask.safetensors, final.safetensors. In the arena. */
sow_status sow_trial_in(sow_arena *arena, const char *absolute, sow_trial *trial);

/* The shell command that trains. This program's own trainer tests where the validation loss is least. The user's command knows
 * {init} {mask} {out} {seed} {dir} {arm} {round} {threads}, in experiments that rewind {rewind} and {rewind-step}, what `more` has,
 * and every option that the recipe says, by its name: {steps}, {lr}, {arch} ... SOW_E_ARGUMENT: another placeholder. In the
 * arena. */
sow_status sow_recipe_command(sow_arena *arena, const sow_recipe *recipe, const sow_trial *trial, char **command);

/* What it was worth; NaN where unknown. */
typedef struct sow_trial_score {
    int64_t stop; /* the early stop: step of the least validation loss, the first on ties; -1: no such loss was reported */
    double least_loss;
    double at_stop, at_end; /* test accuracy (or "accuracy", "metric", "val_accuracy", whichever the trainer reports) */
    double validation_at_stop; /* accuracy on validation data */
    double training_at_end;
    double at_start; /* test accuracy of the first evaluation: what the start was worth before any step */
} sow_trial_score;
/* From records by metric and step. */
sow_trial_score sow_score_trial(const sow_record *records, int64_t count);
/* From the store, for a done cell. */
sow_status sow_store_trial(sow_store *store, sow_arena *arena, const sow_cell *cell, sow_trial_score *out);

/* ---- arms over seeds ---- */

/* Arms that are trained at the same seeds: cells and scores are [seeds][arms]. */
typedef struct sow_trials {
    const char *const *arms;
    int arm_count, reference; /* reference: the arm that others are compared with, -1: none */
    const uint64_t *seeds;
    int seed_count;
    sow_cell *cells;
    sow_trial_score *scores;
} sow_trials;
/* The arms of "dense,ticket,reinit", each of them one of `known` (ends with NULL). In the arena. SOW_E_ARGUMENT, for --arms: an
 * unknown one, or one that is given twice. */
sow_status sow_trials_parse(sow_arena *arena, const char *text, const char *const *known, sow_trials *out);
/* The number of an arm, -1: it is not among them. */
int sow_trials_find(const sow_trials *trials, const char *arm);
/* Plans a cell for every arm and seed, in FOLDER/ARM-SEED, seed by seed; what it needs is the caller's to add. In the arena. */
sow_status sow_trials_plan(sow_arena *arena, sow_trials *trials, const char *folder, const char *stage, int64_t steps);
/* Runs them and reads their scores. Errors: those of sow_run_cells. */
sow_status sow_trials_run(sow_arena *arena, sow_trials *trials, sow_store *store, const sow_runner *runner);
/* Means over the seeds, for people and reports. `rows` has an object for every arm, to which are added "early_stop_step",
 * "accuracy_at_early_stop" (where no early stop is known "accuracy") with its "least", "most" and "sd", and "final_accuracy".
 * To `differences` go rows {"REFERENCE_minus": arm, "measure", "difference", "low", "high", "REFERENCE_better": "4 of 5"}, paired
 * by seed, with 95 % intervals of Student's t. What a seed lacks is left out. */
sow_status sow_trials_rows(sow_arena *arena, const sow_trials *trials, json_t *rows, json_t *differences);
/* CSV with a line for each arm and seed: arm,seed,early_stop_step,accuracy_at_early_stop,final_accuracy. */
sow_status sow_trials_write(const sow_trials *trials, const char *path);

#ifdef __cplusplus
}
#endif
#endif
