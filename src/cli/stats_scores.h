/* Scores by arm and seed, from a table that came from anywhere. */
#ifndef SOW_CLI_STATS_SCORES_H
#define SOW_CLI_STATS_SCORES_H

#include <stdint.h>

#include "sow/memory.h"

enum { CLI_ARMS_MAX = 64, CLI_SEEDS_MAX = 128 };

typedef enum cli_missing {
    CLI_MISSING_ERROR,     /* a pair of arm and seed without a row is refused */
    CLI_MISSING_FAILED,    /* it counts as a run that failed */
    CLI_MISSING_LEAVE_OUT, /* only seeds that all arms have are kept */
} cli_missing;

/* Columns by name; NULL: "arm", "seed", "score", case aside. */
typedef struct cli_columns {
    const char *arm, *seed, *score;
} cli_columns;

typedef struct cli_scores {
    const char **arms, **seeds; /* arms in order of appearance; seeds ascending if all are numbers, else likewise */
    int arm_count, seed_count;
    double *scores;        /* [arms][seeds]; NaN where the run failed */
    unsigned char *failed; /* [arms][seeds]; 1: the score is empty, not finite, or taken as failed */
    int left_out;          /* seeds that were not kept */
} cli_scores;

/* "arm=model,score=val/acc". SOW_E_ARGUMENT. */
sow_status cli_columns_parse(sow_arena *arena, const char *text, cli_columns *out);
/* Reads one row for each arm and seed from CSV, semicolon or tab separated text, plain or gzip. An empty, NaN or
 * infinite score is a run that failed. SOW_E_FORMAT with the line: no such column, words where a score stands, a pair
 * that comes twice or is missing; SOW_E_RANGE: more than 64 arms or 128 seeds. */
sow_status cli_scores_read(sow_arena *arena, const char *path, const cli_columns *columns, cli_missing missing,
                           cli_scores *out);

#endif
