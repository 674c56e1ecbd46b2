/* What the files of `sow prove` share. */
#ifndef SOW_CLI_PROVE_H
#define SOW_CLI_PROVE_H

#include "cli/cli.h"
#include "sow/prove.h"

/* ---- the live table (prove_live.c) ---- */

/* Draws races on a terminal: one line an arm, in place; messages go above it. */
void cli_live_begin(bool quiet);
void cli_live_draw(void *user, const sow_outcome *outcome);
void cli_live_end(void);
/* "racing", "dropped at 8", "confirmed" ..., into text. */
const char *cli_arm_state(const sow_outcome *outcome, int arm, char text[48]);

/* ---- actions (prove_init.c, prove_power.c) ---- */

extern const sow_option cli_prove_init_options[], cli_prove_power_options[];
sow_status cli_prove_init(sow_call *call);
sow_status cli_prove_power(sow_call *call);

/* PLAN.json read and checked, with what only the command knows: options of the built-in trainer, names of commands. */
sow_status cli_read_plan(sow_call *call, const char *path, sow_plan **plan);
/* --out, or PLAN.sow beside PLAN.json. */
sow_status cli_prove_folder(sow_call *call, const char *plan, const char **folder);

#endif
