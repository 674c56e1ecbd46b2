/* The plots of docs/prove.md. usage: figures FOLDER [RACES] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "calibrate/simulate.h"
#include "sow/report.h"

static int races = 10000;

/* The worked example: differences at eight seeds. */
static const double D[] = {.021, .034, -.006, .018, .027, .009, .015, .012};
enum { SEEDS = 8 };

static sow_status write_plot(sow_arena *arena, const char *folder, const char *name, sow_plot plot) {
    const char *path = sow_arena_format(arena, "%s/%s.svg", folder, name);
    return path ? sow_plot_write(path, &plot) : SOW_E_MEMORY;
}

/* ---- the sign-flip test at seed seven ---- */

/* Sums of the first seven differences under all signs, counted in bins; those from the seen sum on apart. */
static sow_status draw_flips(sow_arena *arena, const char *folder) {
    enum { LOOK = 7, BINS = 27 };
    double x[BINS], below[BINS] = {0}, reached[BINS] = {0}, seen = 0, line[1], width = .01;
    for (int i = 0; i < BINS; i++) x[i] = (i - BINS / 2) * width;
    for (int i = 0; i < LOOK; i++) seen += D[i];
    for (int b = 0; b < 1 << LOOK; b++) {
        double sum = 0;
        for (int i = 0; i < LOOK; i++) sum += b >> i & 1 ? -D[i] : D[i];
        int bin = (int)lround(sum / width) + BINS / 2;
        if (bin < 0 || bin >= BINS) continue;
        if (sum >= seen - 1e-12) reached[bin]++;
        else below[bin]++;
    }
    line[0] = seen;
    sow_series series[] = {
        {.name = "smaller", .drawing = SOW_DRAW_BARS, .x = x, .y = below, .count = BINS},
        {.name = "as large as what was seen", .drawing = SOW_DRAW_BARS, .x = x, .y = reached, .count = BINS},
        {.drawing = SOW_DRAW_RULE, .x = line, .count = 1}};
    return write_plot(arena, folder, "flips",
                      (sow_plot){.title = "Seven differences with all 128 choices of signs",
                                 .says = "Of the 128 sums only two reach the sum that was seen, 0.118.",
                                 .x = {.label = "sum of the seven differences"},
                                 .y = {.label = "choices of signs"},
                                 .series = series,
                                 .count = 3,
                                 .height = 300});
}

/* ---- an interval as seeds come in ---- */

static sow_status draw_interval(sow_arena *arena, const char *folder) {
    double n[SEEDS], mean[SEEDS], low[SEEDS], high[SEEDS], sum = 0, zero[1] = {0};
    int first = SEEDS;
    sow_flip *flip;
    SOW_TRY(sow_flip_new(SEEDS, &flip));
    for (int k = 1; k <= SEEDS; k++) {
        sow_flip_interval(flip, D, k, (sow_looks){6, 1, SEEDS}, .025, &low[k - 1], &high[k - 1]);
        sum += D[k - 1];
        n[k - 1] = k, mean[k - 1] = sum / k;
        if (!isnan(low[k - 1]) && first == SEEDS) first = k - 1;
    }
    sow_flip_free(flip);
    sow_series series[] = {{.name = "95 % interval",
                            .drawing = SOW_DRAW_BAND,
                            .x = n + first,
                            .y = low + first,
                            .y2 = high + first,
                            .count = SEEDS - first},
                           {.name = "mean difference", .drawing = SOW_DRAW_LINE, .x = n, .y = mean, .count = SEEDS},
                           {.name = "difference at a seed", .drawing = SOW_DRAW_POINTS, .x = n, .y = D, .count = SEEDS},
                           {.drawing = SOW_DRAW_RULE, .y = zero, .count = 1}};
    return write_plot(
        arena, folder, "looks",
        (sow_plot){.title = "Looking as the seeds come in",
                   .says = "Up to six seeds nothing can be said; from the seventh on the interval is above 0, and "
                           "at the eighth it reaches from 0.006 to 0.0273.",
                   .x = {.label = "seeds"},
                   .y = {.label = "eva less base (accuracy)"},
                   .series = series,
                   .count = 4,
                   .height = 340});
}

/* ---- simulations ---- */

static sow_status share(campaign c, bool better, double *out) {
    finding f;
    c.races = better ? (races + 4) / 5 : races, c.seed = 3;
    SOW_TRY(simulate(&c, &f));
    *out = 100 * (better ? f.better : f.wrong);
    return SOW_OK;
}

static sow_status draw_false_verdicts(sow_arena *arena, const char *folder) {
    enum { COUNT = 6 };
    static const int seeds[COUNT] = {3, 5, 8, 11, 15, 20};
    double n[COUNT], flip[COUNT], peeking[COUNT], promise[1] = {5};
    for (int i = 0; i < COUNT; i++) {
        n[i] = seeds[i];
        SOW_TRY(share((campaign){.arms = 2, .seeds = seeds[i], .race = SOW_RACE_NONE}, false, &flip[i]));
        SOW_TRY(share((campaign){.rule = T_PEEKING, .arms = 2, .seeds = seeds[i]}, false, &peeking[i]));
    }
    sow_series series[] = {
        {.name = "t test after every seed", .drawing = SOW_DRAW_LINE, .x = n, .y = peeking, .count = COUNT},
        {.name = "Sow, a look after every seed", .drawing = SOW_DRAW_LINE, .x = n, .y = flip, .count = COUNT},
        {.name = "what was asked for", .drawing = SOW_DRAW_RULE, .y = promise, .count = 1}};
    const char *says = sow_arena_format(arena,
                                        "With up to 20 seeds, repeated t tests call one of two equal arms better or "
                                        "worse in %.0f %% of races, Sow in %.0f %%.",
                                        peeking[COUNT - 1], flip[COUNT - 1]);
    if (!says) return SOW_E_MEMORY;
    return write_plot(arena, folder, "false",
                      (sow_plot){.title = "False verdicts about two equal arms",
                                 .says = says,
                                 .x = {.label = "seeds at most"},
                                 .y = {.label = "false verdicts (%)"},
                                 .series = series,
                                 .count = 3,
                                 .height = 320});
}

static sow_status draw_power(sow_arena *arena, const char *folder) {
    enum { COUNT = 6 };
    double effect[COUNT] = {0, .3, .6, .9, 1.2, 1.5}, found[3][COUNT];
    static const rule rules[] = {FLIP, T_ONCE, BET};
    static const char *const names[] = {"Sow, a look after every seed", "paired t, once after 20 seeds",
                                        "bets, open-ended"};
    sow_series series[3];
    for (int r = 0; r < 3; r++) {
        for (int i = 0; i < COUNT; i++)
            SOW_TRY(
                share((campaign){.rule = rules[r], .arms = 2, .seeds = 20, .effect = effect[i], .race = SOW_RACE_NONE},
                      true, &found[r][i]));
        series[r] = (sow_series){
            .name = names[r], .drawing = SOW_DRAW_LINE, .x = effect, .y = found[r], .count = COUNT};
    }
    const char *says = sow_arena_format(
        arena,
        "A difference of .6 standard deviations is found by Sow in %.0f %% of races, by "
        "one t test after 20 seeds in %.0f %%.",
        found[0][2], found[1][2]);
    if (!says) return SOW_E_MEMORY;
    return write_plot(arena, folder, "power",
                      (sow_plot){.title = "How often a better arm is found within 20 seeds",
                                 .says = says,
                                 .x = {.label = "true difference (standard deviations of a difference)"},
                                 .y = {.label = "races that confirm it (%)"},
                                 .series = series,
                                 .count = 3,
                                 .height = 340});
}

int main(int argc, char **argv) {
    sow_arena *arena;
    if (argc < 2 || argc > 3 || (argc == 3 && (races = atoi(argv[2])) < 1) || sow_arena_new(&arena) != SOW_OK) {
        fprintf(stderr, "usage: figures FOLDER [RACES]\n");
        return 2;
    }
    sow_status status = draw_flips(arena, argv[1]);
    if (status == SOW_OK) status = draw_interval(arena, argv[1]);
    if (status == SOW_OK) status = draw_false_verdicts(arena, argv[1]);
    if (status == SOW_OK) status = draw_power(arena, argv[1]);
    if (status != SOW_OK) fprintf(stderr, "figures: %s\n", sow_message());
    sow_arena_free(arena);
    return status != SOW_OK;
}
