/* What the files of the command share. */
#ifndef SOW_CLI_H
#define SOW_CLI_H

#include <stdio.h>

#include "sow/method.h"
#include "sow/nn.h"
#include "sow/study.h"

/* ---- the tables (methods.c) ---- */

/* Methods by family, then verbs; ends with NULL. */
extern const sow_method *const cli_methods[];
/* Studies; ends with NULL. */
extern const sow_study *const cli_studies[];

/* SOW_E_ARGUMENT with the nearest name. */
sow_status cli_find_method(const char *name, const sow_method **out);
sow_status cli_find_study(const char *name, const sow_study **out);
bool cli_has_actions(const sow_method *method); /* several: `sow METHOD ACTION` */

/* Chooses the action that the words behind the method's name call for, and parses the others. */
sow_status cli_parse(sow_call *call, const sow_method *method, int count, const char *const *words);
/* Runs a parsed call: threads, denormals, result object. */
sow_status cli_run(sow_call *call);

/* --input CxHxW and --classes N of an action that has them; 0 where not given. */
sow_status cli_geometry(const sow_call *call, sow_geometry *out);
/* sow_model_new, with an unknown name as a wrong --arch. */
sow_status cli_model(const char *arch, const sow_geometry *geometry, sow_model **out);

/* ---- faces of the tables (help.c, man.c) ---- */

/* What stands behind --name in help: "N", "PATH", "reset|continued"; "" for a flag. */
const char *cli_value_word(const sow_option *option);
/* "--rank N" or "FILE", into text. */
char *cli_option_text(const sow_option *option, char text[256]);
/* Range, unit and default: "1 to 4096 steps, default 16"; "" where there is nothing to say. */
char *cli_option_facts(const sow_option *option, char text[512]);
void cli_usage(FILE *out, const sow_method *method, const sow_action *action);
void cli_help_overview(FILE *out);
void cli_help(FILE *out, const sow_method *method, const sow_action *action); /* action NULL: all of them */

/* ---- results and messages (print.c, progress.c) ---- */

/* A result object for people: scalars as lines, arrays of objects as tables, "files", "next" last. */
sow_status cli_print_result(FILE *out, sow_arena *arena, const json_t *result);
/* Text from outside with its control characters made harmless. */
void cli_print_safely(FILE *out, const char *text);
/* Installs the log sink on stderr; `quiet` lets only warnings through. */
void cli_log(bool quiet);
/* Takes the progress bar off the screen. */
void cli_log_end(void);

#endif
