/* Races of starts: a plan, the cells it asks for, decisions while it runs, verdicts at its end (PROVE.md). */
#ifndef SOW_PROVE_H
#define SOW_PROVE_H

#include "sow/report.h"
#include "sow/run.h"
#include "sow/stats.h"
#include "sow/study.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the plan (section 1) ---- */

typedef enum sow_test_rule { SOW_TEST_AUTO, SOW_TEST_FLIP, SOW_TEST_T, SOW_TEST_BET } sow_test_rule;
typedef enum sow_race_rule { SOW_RACE_FLIP, SOW_RACE_NONE, SOW_RACE_FRIEDMAN, SOW_RACE_HALVING } sow_race_rule;
typedef enum sow_score_at {
    SOW_AT_LAST,
    SOW_AT_BEST,
    SOW_AT_STEP,         /* step:K */
    SOW_AT_MEAN,         /* mean:F, over steps <= F * steps */
    SOW_AT_ARGBEST,      /* argbest:NAME: where NAME is best, first on ties */
    SOW_AT_STEP_OF_BEST, /* step-of-best:NAME: that step itself */
    SOW_AT_REACH,        /* reach:V: the first step as good as V; never: steps + 1 */
} sow_score_at;

/* A score of a curve. "Best" of a metric is its largest value; where `falling`, its smallest. */
typedef struct sow_metric {
    const char *name;
    bool falling;  /* smaller values of `name` are better */
    bool minimise; /* a smaller score is better: as falling, but always so for reach */
    sow_score_at at;
    double number;     /* K, F or V */
    const char *other; /* NAME */
    bool other_falling;
} sow_metric;

/* A clause of "criterion" (2.6), judged as those of studies are; clause.metric is "NAME at AT". */
typedef struct sow_plan_clause {
    struct sow_clause clause;
    sow_metric metric;
    int arm, against; /* against -1: none */
} sow_plan_clause;

typedef struct sow_plan_arm {
    const char *name;
    const char *make, *init;       /* a sow command, or a path; both with placeholders; both NULL: "none" */
    const char *mask;              /* a path, NULL: none */
    const sow_variable *variables; /* the plan's with the arm's own in their place */
    int variable_count;
} sow_plan_arm;

typedef struct sow_plan {
    const char *name, *path; /* of the file, for messages */
    const sow_plan_arm *arms;
    int arm_count, reference;
    sow_claim claim;
    const char *train; /* NULL: the built-in trainer, with the variables as its options */
    int64_t steps;
    sow_metric metric;
    const char *const *also; /* NULL-terminated */
    const char *test_metric; /* NULL: none */
    struct {
        int64_t base;
        int first, last, every, confirm;
    } seeds; /* looks at first, first+every, .., last */
    struct {
        sow_test_rule rule;
        double alpha;
        int sides;
        double margin;
    } test;
    struct {
        sow_race_rule rule;
        double alpha;
        int eta;
        int64_t first;
    } race;
    struct {
        bool has_value;
        double value;
        int retries;
    } failure;
    sow_limits limits;
    int slots, threads;
    const char *const *devices;     /* NULL-terminated: CUDA_VISIBLE_DEVICES by slot */
    const sow_plan_clause *clauses; /* "criterion" */
    int clause_count;
    const char *identity; /* JSON: resolved, keys sorted, with input hashes, without name, workers, limits */
    const char *document; /* the whole resolved plan as a file, with the input hashes */
} sow_plan;

/* Reads and checks a plan file: every key, type, range, placeholder and named file. In the arena. SOW_E_ARGUMENT with
 * "plan.json: seeds.max: found 0, expected an integer from 1 to 128", the nearest known key for an unknown one. Paths
 * in it are taken from the current folder. Cost: every start and mask file is read once for its hash. */
sow_status sow_plan_read(sow_arena *arena, const char *path, sow_plan **out);
/* The same from text; `path` is only for messages. */
sow_status sow_plan_parse(sow_arena *arena, const char *text, const char *path, sow_plan **out);
/* Reads the document that a run keeps in its folder: the files it names may be gone. */
sow_status sow_plan_reread(sow_arena *arena, const char *path, sow_plan **out);
/* The value that {seed} takes: base + index. Seeds that confirm a winner and those of a pilot are never the race's. */
enum { SOW_CONFIRM_SEED = 1 << 20, SOW_PILOT_SEED = 1 << 21 };
/* Seed number `index` (0, 1 ...) of the race: one of the plan's list, or as `sow prove` counts them. */
uint64_t sow_plan_seed(const sow_plan *plan, int index);

/* The score of a curve (records by metric and step), in the metric's units, and the step it was taken at.
 * SOW_E_TRAINER: it was never printed (the message lists what was). */
sow_status sow_score_of(const sow_metric *metric, int64_t steps, const sow_record *records, int64_t count,
                        double *score, int64_t *step);
/* The value of a metric at a step, or the last before it; NaN: none. */
double sow_value_at(const char *metric, int64_t step, const sow_record *records, int64_t count);

/* ---- decisions: a pure function of the rules and of the scores so far ---- */

/* One arm's standing after the looks taken so far. */
typedef struct sow_standing {
    const char *verdict;         /* "confirmed", "not confirmed", "not decided"; "reference" */
    int n;                       /* seeds that the verdict stands on */
    double effect, low, high, p; /* mean difference to the reference, larger is better; NaN: none */
    int dropped;                 /* look (seeds) at which the race dropped it, 0: alive */
    int ran, failures;           /* seeds with an end, and those that failed or diverged */
    double failure_bound;        /* one-sided 95 % bound of the failure rate */
    double mean, sd, iqm;        /* of its scores, in the metric's units; NaN: none */
    int needed;                  /* not decided: seeds that would do, 0: unknown */
    bool normal;                 /* the interval assumes normal differences (t) */
    bool spoiled;                /* a seed stays bad and failure.rule is undecided: it can only be not decided */
} sow_standing;

typedef struct sow_decision {
    int n, arm;                /* the look, the arm (-1: all) */
    const char *what, *detail; /* "dropped", "confirmed", "not confirmed", "stopped" */
} sow_decision;

/* What is known so far. values: [arms][seeds.last], in the metric's units, read only where `ended` says so. */
typedef enum sow_end_of_cell { SOW_OPEN, SOW_SCORED, SOW_BAD } sow_end_of_cell; /* BAD: failed or diverged for good */
typedef struct sow_scores {
    const double *values;
    const unsigned char *ended; /* sow_end_of_cell, the same shape */
    const bool *absent;         /* [arms]: arms that did not come through the rungs of halving; NULL: none */
    bool complete; /* nothing more will come: looks go on when all is decided, so that intervals rest on every seed */
} sow_scores;

typedef struct sow_judgement {
    int looked;              /* seeds of the last whole look, 0: none */
    bool over;               /* nothing is left to decide, or n = N */
    int leader;              /* best mean among live arms at that look; -1: none yet */
    sow_standing *standings; /* [arms] */
    sow_decision *decisions; /* in the order in which they fell */
    int decision_count;
} sow_judgement;

/* Judges races under one plan: sign rows and work space are made once. Not thread-safe. */
typedef struct sow_judge sow_judge;
/* A judge without scores; the plan outlives it. */
sow_status sow_judge_new(const sow_plan *plan, sow_judge **out);
/* NULL is allowed. */
void sow_judge_free(sow_judge *judge);

/* Takes every look that is whole (each live arm has an end at each of its seeds) in order, as the race rule and the
 * test say. A pure function of plan and scores: a look is judged the same whatever has arrived beyond it. `shown`:
 * intervals, p values and seeds needed too, which cost some hundred times the decisions. Everything in the arena. */
sow_status sow_judge_race(sow_judge *judge, sow_arena *arena, const sow_scores *scores, bool shown, sow_judgement *out);

/* Successive halving: which of `arms` go on after a rung. means: [arms], larger is better, NaN: out already or no
 * score. Keeps max(1, floor(k / eta)) of the k still in (ties: plan order) and always the reference. */
void sow_halve(const double *means, int arms, int reference, int eta, bool *on);

/* Fresh seeds for a winner: one look at all n differences, one arm (m = 1). */
sow_status sow_judge_confirm(sow_judge *judge, const double *d, int n, sow_standing *out);

/* ---- running ---- */

/* Cells of one arm. */
typedef struct sow_progress_of_arm {
    int done, failed, running, planned; /* failed: for good, diverged ones too; planned: those that may still run too */
} sow_progress_of_arm;

/* What a run has found so far. In live displays scores, tests, states and seeds are NULL. */
typedef struct sow_outcome {
    const sow_plan *plan;
    int looked; /* seeds of the last whole look */
    bool over;
    const double *scores, *tests;  /* [arms][seeds.last], in the metrics' units; NaN: none */
    const sow_cell_state *states;  /* the same shape */
    const uint64_t *seeds;         /* [seeds.last]: behind those of halving's rungs */
    const sow_standing *standings; /* [arms] */
    const sow_decision *decisions;
    int decision_count;
    int leader;                  /* best mean among live arms; -1: no look yet */
    const sow_standing *confirm; /* the winner on fresh seeds; NULL: not asked for, no winner, or not yet */
    int confirm_arm;
    const char *criterion;               /* verdict of the clauses; NULL: none, or not yet */
    const char *criterion_clauses;       /* as sow_study_judge has them: a JSON array */
    int running, done, failed;           /* cells of every stage */
    const sow_progress_of_arm *progress; /* [arms]: of every stage */
} sow_outcome;

/* Runs the plan in `folder`, going on with what is there: cells that have ended are not run again, decisions are
 * recomputed and must agree. Makes FOLDER/plan.json, sow.db and cells/ARM/seed-N/. SOW_OK also when nothing was
 * confirmed: read the outcome. SOW_E_TRAINER: no arm could be trained at the first seed; SOW_E_INTERRUPTED: call it
 * again to go on. */
typedef struct sow_race {
    const char *folder;
    int slots;                                           /* 0: the plan's */
    void (*look)(void *user, const sow_outcome *so_far); /* after every change, for live displays; may be NULL */
    void *user;
    const char *what; /* title of the progress bar; NULL: none */
} sow_race;
/* Runs the race to its verdict, or goes on with one that was interrupted. Errors: of plan, store and trainer. */
sow_status sow_race_run(const sow_plan *plan, const sow_race *race);

/* Runs `seeds` pilot seeds of every arm in the same folder, which the race never uses, and gives the standard deviation
 * of the differences to the reference, and their number, by arm: [arms]; NaN for the reference and where fewer than 2
 * pairs have scores. */
sow_status sow_race_pilot(const sow_plan *plan, const sow_race *race, int seeds, double *sd, int *pairs);

/* What a run has found so far, read from its store without a lock while it may still run. */
sow_status sow_outcome_read(sow_arena *arena, const char *folder, sow_outcome **out);
/* "eva is better than lora by 0.0163 val_acc (95% interval 0.0060 to 0.0263, 8 seeds, p = 0.016): confirmed." With what
 * has to be known beside it: that it stopped early, failures, that normality is assumed. "" for the reference. */
sow_status sow_outcome_sentence(sow_arena *arena, const sow_outcome *outcome, int arm, const char **sentence);
/* The same as JSON: {"plan","metric","n","over","arms":[{"arm","verdict",...}],"decisions":[...],"sentences":[...]}. */
sow_status sow_outcome_json(sow_arena *arena, const sow_outcome *outcome, json_t **out);
/* Whether the claim is proved: any arm confirmed; where there are clauses, all of them. */
bool sow_outcome_confirmed(const sow_outcome *outcome);

/* ---- the report (section 5) ---- */

/* Adds to a page what came of a race: the sentences, the arms, plots of effects, scores by seed, curves, profile, budget,
 * race and failures, and the tables behind them. folder: where the run lies, for its curves and cells; NULL: without
 * these. The same store gives the same page. */
sow_status sow_outcome_page(sow_arena *arena, const sow_outcome *outcome, const char *folder, sow_page *page);
/* A row an arm: mean, sd, IQM, effect, interval, p, n, failures, verdict; bold where confirmed (sow_table_format). */
sow_status sow_outcome_table(const sow_outcome *outcome, json_t **rows);
/* A row a cell of every stage: arm, seed, score, test, state, stage, attempt, steps, seconds. */
sow_status sow_outcome_cells(sow_arena *arena, const sow_outcome *outcome, const char *folder, json_t **rows);
/* Calls `visit` with the records, by metric and step, of each cell in the folder's store that is done. */
typedef sow_status (*sow_curve_visit)(void *user, const sow_cell_row *cell, const sow_record *records, int64_t count);
/* Calls `visit` for each curve of the race in `folder`, in the order of arms and seeds. */
sow_status sow_visit_curves(const char *folder, sow_curve_visit visit, void *user);

#ifdef __cplusplus
}
#endif
#endif
