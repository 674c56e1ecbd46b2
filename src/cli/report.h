/* What the files of `sow report` share. */
#ifndef SOW_CLI_REPORT_H
#define SOW_CLI_REPORT_H

#include "cli/cli.h"
#include "sow/report.h"

/* Adds a study's judgement (verdict.json) and the drawings of its folder to a page. */
sow_status report_study_page(sow_arena *arena, const json_t *verdict, const char *folder, sow_page *page);

#endif
