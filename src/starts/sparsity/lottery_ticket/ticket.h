/* What the files of this method share: a ticket's folder, trainings and their scores, the actions. */
#ifndef SOW_STARTS_LOTTERY_TICKET_H
#define SOW_STARTS_LOTTERY_TICKET_H

#include "sow/data.h"
#include "sow/run.h"
#include "sow/sparsity.h"

/* ---- files of a ticket's folder ---- */

enum { TICKET_ROUNDS_MAX = 1000 };

/* What a control or a comparison needs of a ticket. */
typedef struct ticket_files {
    int round;
    const char *start, *mask; /* theta0.safetensors (or theta_K.safetensors) and mask_KK.safetensors */
    sow_input input;          /* both, for the passport */
} ticket_files;

/* Finds them; round -1: the last. Errors: SOW_E_NOT_FOUND, SOW_E_RANGE. */
sow_status ticket_open(sow_arena *arena, const char *folder, int round, ticket_files *out);
int ticket_last_round(sow_arena *arena, const char *folder); /* -1: no masks there */
sow_status ticket_start_file(sow_arena *arena, const char *folder, const char **out);
char *ticket_mask_file(sow_arena *arena, const char *folder, int round);

/* json_object_set_new with a status. */
sow_status ticket_set(json_t *object, const char *key, json_t *value);

/* --global, --compat and the given rates. */
sow_status ticket_prune_spec(const sow_call *call, const char *rates, sow_prune_spec *out);

/* ---- what a training was worth ---- */

typedef struct ticket_score {
    int64_t stop;           /* step of the least validation loss, the first on ties; -1: none was reported */
    double least_loss;      /* NAN where unknown, here and below */
    double at_stop, at_end; /* test accuracy (or "accuracy", "metric", "val_accuracy", whichever the trainer reports) */
    double validation_at_stop; /* accuracy on validation data */
    double training_at_end;
} ticket_score;
ticket_score ticket_score_of(const sow_record *records, int64_t count);
/* A number, or null where it is unknown. */
json_t *ticket_number(double x);

/* ---- a search ---- */

/* Names of the options of `sow train` that describe a training; ends with NULL. */
extern const char *const ticket_training_options[];
/* Fills in what the user left open from the preset's recipe for the architecture. */
sow_status ticket_apply_recipe(sow_call *call);
/* The training options that have a value. In the arena. */
sow_status ticket_training_values(const sow_call *call, sow_variable **options, int *count);
/* The command line of this program's own trainer, with the placeholders of TICKET_BUILTIN_FILES. */
sow_status ticket_builtin_command(sow_arena *arena, const sow_variable *options, int count, char **out);
#define TICKET_BUILTIN_FILES \
    " --start {init} --mask {mask} --seed {seed} --out-state {out} --threads {threads} --records --test-at-best --quiet --force"
#define TICKET_BUILTIN_REWIND " --save-step {rewind-step} --save-state {rewind}"
/* The number of a training option among `options`, -1: absent. */
int ticket_find_option(const sow_variable *options, int count, const char *name);
/* --data and its companions; --input and --classes. */
void ticket_data_options_of(const sow_variable *options, int count, sow_data_options *out);
sow_status ticket_geometry(const sow_call *call, const sow_data *data, sow_geometry *out);
sow_limits ticket_limits(const sow_call *call);

typedef struct ticket_report {
    sow_call *call;
    const sow_lottery_config *config;
    const ticket_score *scores; /* by round */
    const sow_state *theta0;
    const sow_ticket *ticket;
    bool external; /* trained by the user's command */
    const char *folder;
} ticket_report;
/* Writes rounds.csv and report.json and fills in the call's result. */
sow_status ticket_write_report(const ticket_report *report);
/* Removes the files of an earlier search. */
sow_status ticket_clear_folder(sow_arena *arena, const char *folder);

/* ---- plots ---- */

/* One arm over its rounds, densest first. */
typedef struct ticket_curve {
    const char *name;
    int64_t count;
    const double *percent, *value; /* share of the weights left; the value, NAN: unknown */
    const double *low, *high;      /* least and most over seeds; NULL: one seed */
} ticket_curve;
typedef struct ticket_plot {
    const char *title, *label; /* label: of the y axis */
    const ticket_curve *curves;
    int count;
    double dense; /* NAN: unknown */
} ticket_plot;
/* Writes it as SVG; not where no value is known. */
sow_status ticket_write_plot(sow_arena *arena, const ticket_plot *plot, const char *path, bool *written);

/* ---- the actions ---- */

sow_status ticket_run_find(sow_call *call);
sow_status ticket_run_compare(sow_call *call);
sow_status ticket_run_control(sow_call *call);
sow_status ticket_run_prune(sow_call *call);
sow_status ticket_run_rewind(sow_call *call);
sow_status ticket_run_union(sow_call *call);

#endif
