/* The study of sgd-sai: ways of choosing steps, each at its best rate. */
#ifndef SOW_STUDIES_SGD_SAI_RATES_H
#define SOW_STUDIES_SGD_SAI_RATES_H

#include "studies/arms.h"

enum { SAI_RATES_MAX = 6, SAI_RULES_MAX = 8 };

/* A way of choosing steps, and the rates among which it may choose; none: it takes the best rate of the rule `follows`. */
typedef struct sai_rule {
    const char *name, *options, *rates[SAI_RATES_MAX + 1];
    const char *follows;
} sai_rule;

/* What was found on a seed that does not decide. */
typedef struct sai_search {
    const sai_rule *rules;
    int count;
    double loss[SAI_RULES_MAX][SAI_RATES_MAX]; /* INFINITY: diverged */
    int best[SAI_RULES_MAX];
} sai_search;

/* What `simulate` measures, for all plans of this study. */
extern const study_metric sai_metrics[];

/* Searches each rule's rate by its validation loss, draws the search, then runs every rule at its best rate for the call's seeds. `common`:
 * options of all. SOW_E_NUMBER: every rate of a rule diverges. */
sow_status sai_compare(sow_study_call *call, const char *common, const sai_rule *rules, int count, sai_search *out);
/* The least loss that a rule had in the search. */
double sai_best_loss(const sai_search *search, const char *rule);

/* Part robustness (robustness.c). */
sow_status sai_run_robustness(sow_study_call *call);

#endif
