/* What the files of this method share: a ticket's folder, trainings and their scores, the actions. */
#ifndef SOW_STARTS_LOTTERY_TICKET_H
#define SOW_STARTS_LOTTERY_TICKET_H

#include "sow/sparsity.h"
#include "sow/trainer.h"

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

/* --global, --compat and the given rates. */
sow_status ticket_prune_spec(const sow_call *call, const char *rates, sow_prune_spec *out);

/* ---- a search ---- */

/* Fills in what the user left open from the preset's recipe for the architecture. */
sow_status ticket_apply_preset(sow_call *call);

typedef struct ticket_report {
    sow_call *call;
    const sow_lottery_config *config;
    const sow_recipe *recipe;
    const sow_trial_score *scores; /* by round */
    const sow_state *theta0;
    const sow_ticket *ticket;
    const char *folder;
} ticket_report;
/* Writes rounds.csv and report.json and fills in the call's result. */
sow_status ticket_write_report(const ticket_report *report);
/* Removes the files of an earlier search. */
sow_status ticket_clear_folder(sow_arena *arena, const char *folder);

/* ---- the actions ---- */

sow_status ticket_run_find(sow_call *call);
sow_status ticket_run_compare(sow_call *call);
sow_status ticket_run_control(sow_call *call);
sow_status ticket_run_prune(sow_call *call);
sow_status ticket_run_rewind(sow_call *call);
sow_status ticket_run_union(sow_call *call);

#endif
