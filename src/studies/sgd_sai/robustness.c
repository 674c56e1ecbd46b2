/* Part robustness: how much of a grid of learning rate and weight decay comes close to a rule's best accuracy. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/file.h"
#include "sow/log.h"
#include "sow/report.h"
#include "studies/sgd_sai/rates.h"

enum { RATES = 4, DECAYS = 3, GRID = RATES * DECAYS };
static const double margin = 0.05; /* of accuracy, below the rule's best */

/* The authors' grid for ResNet-18 on CIFAR-10 is 1e-4 .. 1e-1 by decades, with decays 5e-5 .. 5e-1, the same for each optimiser. Here every
 * second decay of it. A scale is about 192 for the largest block, the root of 36,864: what this multiplies by, SGDM's rates are multiplied by, and
 * its decays divided, so that the grids cover the same steps and the same shrinking of weights. */
typedef struct grid {
    const char *name, *options;
    double rate_factor; /* decays are divided by it */
} grid;
static const grid grids[] = {
    {"AdamW", "--optimizer=adamw", 1}, {"SGDM", "--optimizer=sgdm", 192}, {"SaI", "--optimizer=sgd-sai", 1}};
enum { RULES = sizeof grids / sizeof *grids };
static const double rates[RATES] = {1e-4, 1e-3, 1e-2, 1e-1}, decays[DECAYS] = {5e-5, 5e-3, 5e-1};

/* 200 steps of 128 images: 0.15 s of one core each, with reading the images 40 s a training, 35 minutes for all 108 on two cores.
 * Margins were set before any run, not calibrated: five points of accuracy. */
static const sow_clause clauses[] = {
    SOW_AT_LEAST("a share of SaI's grid at least as large as of SGDM's comes within 5 points of its best accuracy",
                 "SaI", "SGDM", "share of the grid", SOW_MEAN_DIFFERENCE, 0),
    SOW_AT_LEAST("and at least as large as of AdamW's", "SaI", "AdamW", "share of the grid", SOW_MEAN_DIFFERENCE, 0),
    SOW_AT_LEAST("SaI's best accuracy is at most 5 points below SGDM's", "SaI", "SGDM", "best accuracy",
                 SOW_MEAN_DIFFERENCE, -0.05),
};

static const study_metric metrics[] = {{"val_accuracy", "val accuracy"}, {0}};

/* ---- the grid ---- */

static sow_status list_arms(sow_arena *arena, study_arm *arms) {
    for (int r = 0; r < RULES; r++)
        for (int i = 0; i < GRID; i++, arms++) {
            double rate = rates[i / DECAYS] * grids[r].rate_factor, decay = decays[i % DECAYS] / grids[r].rate_factor;
            arms->name = sow_arena_format(arena, "%s at %.3g, decay %.3g", grids[r].name, rate, decay);
            arms->options = sow_arena_format(arena, "%s --lr=%.6g --weight-decay=%.6g", grids[r].options, rate, decay);
            if (!arms->name || !arms->options) return SOW_E_MEMORY;
        }
    return SOW_OK;
}

/* What is missing to the best accuracy of the rule, by point; 1 and more: it diverged. */
static double fall_short(const sow_study_call *call, const study_arm *arms, uint64_t seed, double *missing) {
    double best = 0;
    for (int i = 0; i < GRID; i++) {
        double accuracy = sow_study_scored(call, arms[i].name, "val accuracy", seed);
        missing[i] = isfinite(accuracy) ? accuracy : -1;
        best = fmax(best, missing[i]);
    }
    for (int i = 0; i < GRID; i++) missing[i] = best - missing[i];
    return best;
}

static sow_status score_shares(sow_study_call *call, const study_arm *arms) {
    double missing[GRID];
    for (int s = 0; s < call->seed_count; s++)
        for (int r = 0; r < RULES; r++) {
            int close = 0;
            double best = fall_short(call, arms + r * GRID, call->seeds[s], missing);
            for (int i = 0; i < GRID; i++) close += missing[i] <= margin;
            SOW_TRY(sow_study_score(call, grids[r].name, "share of the grid", call->seeds[s], (double)close / GRID));
            SOW_TRY(sow_study_score(call, grids[r].name, "best accuracy", call->seeds[s], best));
        }
    return SOW_OK;
}

/* ---- its drawing ---- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Which share of a rule's grid comes within each margin, over all seeds. */
static sow_status line_of(sow_study_call *call, const study_arm *arms, sow_series *out) {
    int count = GRID * call->seed_count;
    double *missing, *share;
    SOW_TRY(SOW_NEW(call->arena, missing, count));
    SOW_TRY(SOW_NEW(call->arena, share, count));
    for (int s = 0; s < call->seed_count; s++) fall_short(call, arms, call->seeds[s], missing + s * GRID);
    qsort(missing, (size_t)count, sizeof *missing, by_size);
    for (int i = 0; i < count; i++) share[i] = (double)(i + 1) / count;
    *out = (sow_series){.drawing = SOW_DRAW_LINE, .x = missing, .y = share, .count = count};
    while (out->count > 1 && missing[out->count - 1] >= 1) out->count--;
    return SOW_OK;
}

static sow_status draw(sow_study_call *call, const study_arm *arms) {
    sow_series series[RULES];
    const char *path = sow_path_join(call->arena, call->folder, "grid.svg");
    if (!path) return SOW_E_MEMORY;
    for (int r = 0; r < RULES; r++) {
        SOW_TRY(line_of(call, arms + r * GRID, &series[r]));
        series[r].name = grids[r].name;
    }
    sow_plot plot = {.title = "Share of the grid that comes close to the best accuracy",
                     .says = "A line that rises early: rate and decay hardly matter.",
                     .x = {.label = "accuracy below the rule's best"},
                     .y = {.label = "share of rates and decays"},
                     .series = series,
                     .count = RULES};
    return sow_plot_write(path, &plot);
}

sow_status sai_run_robustness(sow_study_call *call) {
    study_arm *arms;
    study_plan plan = {.study = "sgd-sai",
                       .method = "sgd-sai",
                       .common = "--arch=resnet8 --scheme=kaiming-normal --batch=128 --steps=200 --schedule=cosine "
                                 "--data={data}",
                       .metrics = metrics,
                       .part = "grid"};
    call->claim =
        "Scales of the first gradient make momentum SGD robust: more learning rates and weight decays come close "
        "to the best.";
    SOW_DECIDES(call, clauses);
    SOW_TRY(SOW_NEW(call->arena, arms, RULES * GRID));
    SOW_TRY(list_arms(call->arena, arms));
    plan.arms = arms, plan.arm_count = RULES * GRID;
    SOW_TRY(study_run_arms(call, &plan));
    SOW_TRY(score_shares(call, arms));
    return draw(call, arms);
}
