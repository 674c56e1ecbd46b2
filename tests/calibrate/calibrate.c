/* make calibrate: the tables of docs/prove.md, from races that are made up so that the truth is known.
 * usage: calibrate [RACES [SEED [TABLE]]], TABLE one of false, rules, power, races, shapes. Exit status 1 if the default
 * test errs more often than it promises. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calibrate/simulate.h"

static int races = 10000; /* a number that the promise is about; a fifth for the others */
static uint64_t seed = 1;
static bool kept = true; /* the promise */

static finding run(campaign c) {
    finding f;
    c.seed = seed;
    if (!c.races) c.races = (races + 4) / 5;
    if (simulate(&c, &f) != SOW_OK) {
        fprintf(stderr, "calibrate: %s\n", sow_message());
        exit(2);
    }
    return f;
}

/* ---- false verdicts ---- */

/* Least and most over the kinds of noise, in percent. */
static void print_range(rule judged_by, int arms, int seeds) {
    double least = 1, most = 0;
    for (int k = 0; k < NOISES; k++) {
        finding f = run((campaign){.rule = judged_by,
                                   .noise = (noise)k,
                                   .reference_noise = (noise)k,
                                   .arms = arms,
                                   .seeds = seeds,
                                   .race = SOW_RACE_NONE});
        least = fmin(least, f.wrong), most = fmax(most, f.wrong);
    }
    printf(" %.1f to %.1f |", 100 * least, 100 * most);
    fflush(stdout);
}

static void false_verdicts(void) {
    printf("\nAny false verdict among arms that are all equal, %%: the default, N = 20, a look at every seed\n\n"
           "| noise | 2 arms | 8 arms | 2 arms, raced | 8 arms, raced | 8 arms: a given one dropped | ms a race of 8 "
           "|\n|---|---|---|---|---|---|---|\n");
    for (int k = 0; k < NOISES; k++) {
        finding f[4];
        for (int i = 0; i < 4; i++) {
            f[i] = run((campaign){.noise = (noise)k,
                                  .reference_noise = (noise)k,
                                  .arms = i % 2 ? 8 : 2,
                                  .seeds = 20,
                                  .race = i < 2 ? SOW_RACE_NONE : SOW_RACE_FLIP,
                                  .races = races});
            kept = kept && f[i].wrong <= 0.05 + 2 * sqrt(0.05 * 0.95 / races);
        }
        printf("| %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f |\n", noise_names[k], 100 * f[0].wrong, 100 * f[1].wrong,
               100 * f[2].wrong, 100 * f[3].wrong, 100 * f[3].lost, 1e3 * f[3].judging);
        fflush(stdout);
    }
}

static void other_rules(void) {
    printf("\nThe same for other ways to judge, least and most over the four kinds of noise\n\n"
           "| rule | N = 5, 2 arms | N = 5, 8 arms | N = 10, 2 arms | N = 10, 8 arms | N = 20, 2 arms | N = 20, 8 arms "
           "|\n|---|---|---|---|---|---|---|\n");
    for (int r = 0; r < RULES; r++) {
        printf("| %s |", r == FLIP ? "the default" : rule_names[r]);
        for (int i = 0; i < 6; i++) print_range((rule)r, i % 2 ? 8 : 2, i < 2 ? 5 : i < 4 ? 10 : 20);
        printf("\n");
    }
}

/* ---- power ---- */

static void power(void) {
    static const double effects[] = {0.5, 0.8, 1.2};
    printf("\nOne arm is better by so many standard deviations of a difference, N = 20, normal noise: found, %% (mean "
           "seeds)\n\n| rule | .5, 2 arms | .8, 2 arms | 1.2, 2 arms | .5, 8 arms | .8, 8 arms | 1.2, 8 arms |\n"
           "|---|---|---|---|---|---|---|\n");
    for (int r = 0; r < T_PEEKING; r++) {
        printf("| %s |", rule_names[r]);
        for (int i = 0; i < 6; i++) {
            finding f = run((campaign){
                .rule = (rule)r, .arms = i < 3 ? 2 : 8, .seeds = 20, .effect = effects[i % 3], .race = SOW_RACE_NONE});
            printf(" %.0f (%.1f) |", 100 * f.better, f.seeds);
            fflush(stdout);
        }
        printf("\n");
    }
    printf("\nThe default, raced, at .8 and other noise\n\n| noise | 2 arms | 8 arms |\n|---|---|---|\n");
    for (int k = 0; k < NOISES; k++) {
        printf("| %s |", noise_names[k]);
        for (int i = 0; i < 2; i++) {
            finding f = run((campaign){
                .noise = (noise)k, .reference_noise = (noise)k, .arms = i ? 8 : 2, .seeds = 20, .effect = 0.8});
            printf(" %.0f (%.1f) |", 100 * f.better, f.seeds);
        }
        printf("\n");
    }
}

/* ---- races, and where the promise ends ---- */

static void racing(void) {
    static const sow_race_rule rules[] = {SOW_RACE_NONE, SOW_RACE_FLIP, SOW_RACE_FRIEDMAN};
    static const char *const names[] = {"none", "flip (default)", "friedman"};
    printf(
        "\n8 arms, N = 20, normal noise: what racing saves and loses, %%\n\n| race rule | all equal: a given arm dropped "
        "| all equal: trainings run | each .2 better than the one before: best dropped | trainings run |\n"
        "|---|---|---|---|---|\n");
    for (int r = 0; r < 3; r++) {
        finding equal = run((campaign){.arms = 8, .seeds = 20, .race = rules[r]}),
                spread = run((campaign){.arms = 8, .seeds = 20, .race = rules[r], .spread = 0.2});
        printf("| %s | %.1f | %.0f | %.1f | %.0f |\n", names[r], 100 * equal.lost, 100 * equal.cells, 100 * spread.lost,
               100 * spread.cells);
        fflush(stdout);
    }
}

static void unequal_shapes(void) {
    static const int seeds[] = {5, 10, 20};
    printf(
        "\nEqual means, unequal shapes (not what the test promises): an arm that is better in four seeds of five and fails in "
        "the fifth is called better, %%\n\n| rule | N = 5 | N = 10 | N = 20 |\n|---|---|---|---|\n");
    for (int r = 0; r < RULES; r++) {
        if (r == BET) continue;
        printf("| %s |", rule_names[r]);
        for (int i = 0; i < 3; i++) {
            finding f = run(
                (campaign){.rule = (rule)r, .noise = FAILING, .reference_noise = NORMAL, .arms = 2, .seeds = seeds[i]});
            printf(" %.1f |", 100 * f.better);
        }
        printf("\n");
    }
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*print)(void);
    } tables[] = {{"false", false_verdicts},
                  {"rules", other_rules},
                  {"power", power},
                  {"races", racing},
                  {"shapes", unequal_shapes}};
    bool any = false;
    if (argc > 1) races = atoi(argv[1]);
    if (argc > 2) seed = strtoull(argv[2], NULL, 10);
    for (int i = 0; i < 5; i++) any |= argc < 4 || strcmp(argv[3], tables[i].name) == 0;
    if (races < 1 || argc > 4 || !any) {
        fprintf(stderr, "usage: calibrate [RACES [SEED [false|rules|power|races|shapes]]]\n");
        return 2;
    }
    printf(
        "%d races a number in the first table, %d in the others, seed %llu; standard error of 5 %%: %.2f and %.2f %%\n",
        races, (races + 4) / 5, (unsigned long long)seed, 100 * sqrt(0.05 * 0.95 / races),
        100 * sqrt(0.05 * 0.95 / ((races + 4) / 5)));
    for (int i = 0; i < 5; i++)
        if (argc < 4 || strcmp(argv[3], tables[i].name) == 0) tables[i].print();
    if (argc == 4 && strcmp(argv[3], "false") != 0) return 0;
    printf("\n%s\n", kept ? "The default errs in at most 5 % of races, within two standard errors."
                          : "THE DEFAULT ERRS MORE OFTEN THAN IT PROMISES.");
    return kept ? 0 : 1;
}
