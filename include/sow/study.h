/* A study: a paper's experiment at a scale this machine can carry, with a verdict that is frozen beforehand. */
#ifndef SOW_STUDY_H
#define SOW_STUDY_H

#include "sow/method.h"
#include "sow/run.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_scale_kind { SOW_SCALE_SMOKE, SOW_SCALE_SMALL, SOW_SCALE_FULL } sow_scale_kind;

/* What decides (PROVE.md 2.6): metric of `arm` against that of `against` (paired by seed). */
typedef enum sow_statistic {
    SOW_MEAN_DIFFERENCE,
    SOW_MEDIAN_DIFFERENCE,
    SOW_RATIO_OF_MEANS,
    SOW_WINS,
    SOW_LEAST_DIFFERENCE,
    SOW_P_VALUE /* two-sided: the sign-flip test's at one look, below 6 seeds the paired t's */
} sow_statistic;
typedef struct sow_clause {
    const char *says;                   /* in words, for the report: "ticket stops earlier than reinit at round 7" */
    const char *arm, *against, *metric; /* against NULL: the arm's own values */
    sow_statistic statistic;
    bool at_least; /* holds when statistic >= value, else when <= value */
    double value;
    bool within; /* holds when value <= statistic <= high; at_least is not read */
    double high;
} sow_clause;

/* Rows of a table of clauses, and the table that decides a call. */
#define SOW_AT_LEAST(says_, arm_, against_, metric_, statistic_, value_) \
    { says_, arm_, against_, metric_, statistic_, true, value_, false, 0 }
#define SOW_AT_MOST(says_, arm_, against_, metric_, statistic_, value_) \
    { says_, arm_, against_, metric_, statistic_, false, value_, false, 0 }
#define SOW_WITHIN(says_, arm_, against_, metric_, statistic_, low_, high_) \
    { says_, arm_, against_, metric_, statistic_, false, low_, true, high_ }
#define SOW_DECIDES(call, table) \
    ((call)->clauses = (table), (call)->clause_count = (int)(sizeof(table) / sizeof *(table)))

/* One number of one seed. */
typedef struct sow_score {
    const char *arm, *metric;
    uint64_t seed;
    double value;
} sow_score;

struct sow_study_part;
typedef struct sow_study_call {
    sow_scale_kind scale;
    const uint64_t *seeds;
    int seed_count;
    const struct sow_study_part *part; /* NULL: the scale is one whole */
    const char *data;                  /* NULL: the study's default */
    const char *folder;                /* study-NAME-SCALE/ or study-NAME-SCALE-PART/ */
    bool resume;
    int slots;
    sow_arena *arena;
    /* filled in by the study */
    sow_score *scores;
    int64_t score_count;
    const sow_clause *clauses; /* of this scale and data */
    int clause_count;
    const char *claim; /* the paper's claim in one sentence */
} sow_study_call;

/* A part of a scale: an experiment by itself, with data, folder and verdict of its own (--part NAME). */
typedef struct sow_study_part {
    const char *name, *summary;
    sow_scale_kind scale;
    const char *seeds, *time;
    const char *data; /* what --data must be; NULL: it needs none */
    sow_status (*run)(sow_study_call *call);
} sow_study_part;

typedef struct sow_study {
    const char *name, *method, *paper, *summary;
    const char *seeds[3];  /* default seeds by scale: "1:5"; NULL where the scale comes in parts */
    const char *time[3];   /* expected duration on two cores, in words */
    const char *data_help; /* which --data values it knows */
    /* Runs all arms (through sow_run_cells) and fills in scores and clauses. Not called for a scale that comes in parts. */
    sow_status (*run)(sow_study_call *call);
    const sow_study_part *parts; /* ends with a row of zeros; NULL: no scale comes in parts */
} sow_study;

/* The part of a scale by its name; *out NULL where `name` is NULL and the scale does not come in parts. SOW_E_ARGUMENT names the
 * parts that there are, and what each needs. */
sow_status sow_study_find_part(sow_arena *arena, const sow_study *study, sow_scale_kind scale, const char *name,
                               const sow_study_part **out);
/* "smoke", "small", "full". */
const char *sow_scale_name(sow_scale_kind scale);

/* Adds a score to the call (in its arena; amortised). SOW_E_NUMBER: not finite; SOW_E_EXISTS: this one is there
 * already. */
sow_status sow_study_score(sow_study_call *call, const char *arm, const char *metric, uint64_t seed, double value);

/* A score of the call; NAN if it is not there. */
double sow_study_scored(const sow_study_call *call, const char *arm, const char *metric, uint64_t seed);
/* Mean over the call's seeds; NAN where one is missing. */
double sow_study_mean(const sow_study_call *call, const char *arm, const char *metric);
/* Sample standard deviation over them; NAN for one seed too. */
double sow_study_deviation(const sow_study_call *call, const char *arm, const char *metric);

/* Judges the clauses over the scores: one fails: not confirmed; else a pair missing, or fewer seeds than the study's
 * default: not decided; else confirmed. Gives a JSON object
 * {"study","scale","part" if it is one,"claim","verdict","clauses":[{says,statistic,
 * op,value,effect,low,high,interval,n,holds}],"arms":[{arm,metric,mean,min,max,sd,n}]}; `holds` is null when not
 * decided, `low` and `high` where there is no interval. Intervals, 95 %: sign-flip of the differences, below 6 seeds
 * paired t (ratio: of the logarithms of the seeds' ratios); `interval` says which. They inform; the clauses decide. */
sow_status sow_study_judge(sow_arena *arena, const sow_study *study, const sow_study_call *call, json_t **out);

/* The clauses alone, as for a plan's "criterion": appends to the JSON array `clauses`; fewer than `needed` pairs decide
 * nothing. *verdict: "confirmed", "not confirmed" or "not decided". Of the call it reads arena, seeds, scores, clauses. */
sow_status sow_clauses_judge(sow_arena *arena, const sow_study_call *call, int needed, json_t *clauses,
                             const char **verdict);

#ifdef __cplusplus
}
#endif
#endif
