/* One test of paired differences by the plan's rule: rejection, interval, p, seeds needed. */
#ifndef SOW_PROVE_TEST_H
#define SOW_PROVE_TEST_H

#include "sow/prove.h"

/* The rule with all that it needs. `rule` is never auto. */
typedef struct prove_test {
    sow_test_rule rule;
    sow_flip *flip; /* of looks.last seeds; NULL unless the rule is flip */
    sow_looks looks;
    double alpha; /* of all arms and sides together */
    int sides, arms;
    sow_claim claim;
    double margin;
} prove_test;

/* flip where looks.last seeds can decide for so many arms, else t. */
sow_test_rule prove_rule(sow_test_rule asked, double alpha, int sides, int arms, int seeds);

/* The look (number of seeds) at which the claim is confirmed at the one-sided level `a`, or refuted; 0: at none of
 * the first n seeds. d: differences, larger is better. */
int prove_confirms(const prove_test *test, const double *d, int n, double a);
int prove_refutes(const prove_test *test, const double *d, int n, double a);

/* Fills in effect, low, high, p, normal of the first n differences. */
void prove_show(const prove_test *test, const double *d, int n, sow_standing *out);
/* Seeds with which a difference like this one would be decided, with power .8; 0: unknown. */
int prove_needed(const prove_test *test, const double *d, int n);

#endif
