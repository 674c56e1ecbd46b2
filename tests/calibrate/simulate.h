/* Simulated races through the judge that real races use: how often it is wrong, and how often it finds what is there. */
#ifndef TESTS_CALIBRATE_SIMULATE_H
#define TESTS_CALIBRATE_SIMULATE_H

#include "sow/prove.h"

/* Noise of one score; mean 0. */
typedef enum noise {
    NORMAL,
    T3,        /* heavy tails: Student's t with 3 degrees of freedom */
    LOGNORMAL, /* skewed: exp of a normal */
    FAILING,   /* bimodal: a normal; one seed in five ends 5 lower */
    NOISES
} noise;
extern const char *const noise_names[NOISES];

typedef enum rule {
    FLIP,      /* the default: sign flips at every seed from the sixth on */
    FLIP_ONCE, /* sign flips, one look at N */
    T_ONCE,    /* paired t, one look at N */
    BET,       /* bets at every seed */
    T_PEEKING, /* what many do: paired t at every seed from the third on, stop at the first p < alpha / arms */
    RULES
} rule;
extern const char *const rule_names[RULES];

typedef struct campaign {
    rule rule;
    noise noise, reference_noise;
    int arms, seeds;       /* the reference is one of the arms; N */
    double effect, spread; /* arm 1 is better by so many standard deviations of a difference; or arm a by a * spread */
    sow_race_rule race;
    int races;
    uint64_t seed;
} campaign;

/* Shares of all races. */
typedef struct finding {
    double wrong;   /* any arm confirmed or refuted that is no better and no worse than the reference */
    double better;  /* arm 1 confirmed */
    double lost;    /* the best arm (the last one) was dropped */
    double seeds;   /* mean number of seeds at the end */
    double cells;   /* share of arms * N trainings that were run */
    double judging; /* seconds a race */
} finding;

sow_status simulate(const campaign *c, finding *out);

#endif
