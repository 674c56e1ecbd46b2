/* What the files of `sow train` share. */
#ifndef SOW_CLI_TRAIN_H
#define SOW_CLI_TRAIN_H

#include "cli/cli.h"
#include "sow/optim.h"

/* ---- records and files (train_records.c) ---- */

/* An evaluation as a JSON line on standard output: the contract of trainers. */
sow_status cli_train_print(const sow_evaluation *evaluation);
/* A diverged training says so in its records: a property of the start, not a fault of the machine. */
void cli_train_diverged(const sow_training *training);
/* What was measured; NULL when memory is short. */
json_t *cli_train_json(const sow_evaluation *evaluation);
/* Writes curve.csv. */
sow_status cli_train_curve(sow_call *call, const char *folder, const sow_training *training);
/* Writes run.json: the call's result with the passport. */
sow_status cli_train_report(sow_call *call, const char *folder, const char *passport);

/* ---- language models (train_lm.c) ---- */

/* `sow train --model`. */
sow_status cli_train_lm(sow_call *call);

#endif
