/* What the lottery-ticket study trains: searches and controls as cells, seed by seed. */
#ifndef SOW_STUDIES_LOTTERY_TICKET_H
#define SOW_STUDIES_LOTTERY_TICKET_H

#include "sow/study.h"

typedef enum ticket_cell_kind {
    ROUND, /* round k of the search; its start is the ticket of that round, round 0 the dense network */
    REINIT,
    RANDOM_MASK,      /* controls of round k */
    ONE_SHOT,         /* the dense network pruned to round k's density at once */
    CONTINUED,        /* round k of strategy 2 */
    CONTINUED_TICKET, /* strategy 2's mask of round k on theta_0 */
} ticket_cell_kind;

typedef struct ticket_point {
    ticket_cell_kind kind;
    int round;
} ticket_point;

/* One search and its controls, for every seed. */
typedef struct ticket_part {
    const char *name;   /* of stages and folders */
    const char *suffix; /* of arms: ", lr 0.1" */
    const char *arch, *data;
    bool data_by_seed;             /* the data are DATA:SEED */
    const char *rates, *rates_one; /* rates_one: %g twice, for one-shot pruning of the groups */
    bool global;
    int rounds;
    int64_t steps;
    const sow_variable *options; /* for `sow train`, without arch, data and steps; ends with a NULL name */
    const ticket_point *points;  /* beside the rounds; end with round 0 of a ROUND */
} ticket_part;

/* Runs all parts for all seeds of the call and scores, for every arm, "accuracy at round K" (at the early stop) and "early stop at round K". The dense
 * network, which is round 0, is scored again at every round that has a reinitialised arm, so that clauses can pair them. */
sow_status ticket_run_parts(sow_study_call *call, const ticket_part *parts, int count);

/* Writes FOLDER/[part]accuracy.svg and early_stop.svg from the scores: the arms' names without suffix, the ticket first;
 * percent: of the weights left, by round. */
sow_status ticket_plot_part(const sow_study_call *call, const ticket_part *part, const char *const *arms, int arm_count,
                            const double *percent);

#endif
