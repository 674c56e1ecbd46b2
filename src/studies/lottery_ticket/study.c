/* The lottery-ticket study: Frankle and Carbin 2019, arXiv 1803.03635. Tickets by iterative pruning against the same mask
 * with fresh values, random masks and the dense network, at three scales. */
#include <math.h>
#include <string.h>

#include "studies/lottery_ticket/cells.h"

/* ---- scales ---- */

static const ticket_point smoke_points[] = {{REINIT, 0}, {REINIT, 13}, {RANDOM_MASK, 13}, {0}};
static const sow_variable smoke_options[] = {
    {"optimizer", "adam"}, {"lr", "0.0012"}, {"batch", "60"}, {"evaluate-every", "50"}, {0}};
static const ticket_part smoke_part = {
    .name = "",
    .suffix = "",
    .arch = "mlp:64-150-50-5",
    .data = "synthetic:relmlp",
    .data_by_seed = true,
    .rates = "fc=0.2,out=0.1",
    .rounds = 13,
    .steps = 600,
    .options = smoke_options,
    .points = smoke_points,
};

static const ticket_point small_points[] = {{REINIT, 3},       {REINIT, 7},       {REINIT, 10}, {REINIT, 13},
                                            {RANDOM_MASK, 10}, {RANDOM_MASK, 13}, {0}};
static const sow_variable small_options[] = {
    {"limit", "10000"}, {"val", "2000"}, {"normalisation", "unit"}, {"optimizer", "adam"},
    {"lr", "0.0012"},   {"batch", "60"}, {"evaluate-every", "100"}, {0}};
static const ticket_part small_part = {
    .name = "",
    .suffix = "",
    .arch = "lenet300",
    .data = "fashion-mnist",
    .rates = "fc=0.2,out=0.1",
    .rounds = 13,
    .steps = 1500,
    .options = small_options,
    .points = small_points,
};

/* Part A: the paper's recipe, fewer iterations, far enough to see tickets fall below the dense network. */
static const ticket_point lenet_points[] = {
    {REINIT, 3},      {REINIT, 7},       {REINIT, 11},          {REINIT, 15},           {REINIT, 20},
    {RANDOM_MASK, 7}, {RANDOM_MASK, 11}, {ONE_SHOT, 3},         {ONE_SHOT, 7},          {ONE_SHOT, 11},
    {ONE_SHOT, 15},   {CONTINUED, 1},    {CONTINUED, 2},        {CONTINUED, 3},         {CONTINUED, 4},
    {CONTINUED, 5},   {CONTINUED, 6},    {CONTINUED, 7},        {CONTINUED, 8},         {CONTINUED, 9},
    {CONTINUED, 10},  {CONTINUED, 11},   {CONTINUED_TICKET, 7}, {CONTINUED_TICKET, 11}, {0}};
static const sow_variable lenet_options[] = {{"normalisation", "unit"}, {"optimizer", "adam"},     {"lr", "0.0012"},
                                             {"batch", "60"},           {"evaluate-every", "100"}, {0}};
static const ticket_part lenet_part = {
    .name = "",
    .suffix = "",
    .arch = "lenet300",
    .data = "fashion-mnist",
    .rates = "fc=0.2,out=0.1",
    .rates_one = "fc=%.17g,out=%.17g",
    .rounds = 20,
    .steps = 20000,
    .options = lenet_options,
    .points = lenet_points,
};

/* Part B: Conv-2, every round as two of the paper's (10 % of conv, 20 % of fc), to 8.6 % of the weights. */
static const ticket_point conv_points[] = {{REINIT, 4}, {REINIT, 6}, {RANDOM_MASK, 6}, {0}};
static const sow_variable conv_options[] = {{"limit", "10000"},
                                            {"val", "2000"},
                                            {"optimizer", "adam"},
                                            {"lr", "0.0002"},
                                            {"batch", "60"},
                                            {"evaluate-every", "200"},
                                            {0}};

/* Part C: the same network at two rates; without warm-up the paper finds tickets at the lower one only. */
static const ticket_point resnet_points[] = {{REINIT, 3}, {0}};
#define RESNET_OPTIONS(rate)                                                                                           \
    {                                                                                                                  \
        {"limit", "10000"}, {"val", "2000"}, {"optimizer", "sgd"}, {"lr", rate}, {"momentum", "0.9"},                  \
            {"weight-decay", "0.0001"}, {"batch", "128"}, {"augment", "flip,crop"}, {"schedule", "multistep:400,500"}, \
            {"evaluate-every", "100"}, {                                                                               \
            0                                                                                                          \
        }                                                                                                              \
    }
static const sow_variable resnet_high[] = RESNET_OPTIONS("0.1"), resnet_low[] = RESNET_OPTIONS("0.01");
#define RESNET_PART(name_, suffix_, options_)                                                                   \
    {                                                                                                           \
        .name = name_, .suffix = suffix_, .arch = "resnet20", .rates = "conv=0.5", .global = true, .rounds = 3, \
        .steps = 600, .options = options_, .points = resnet_points                                              \
    }
static const ticket_part image_parts[] = {
    {.name = "conv2_",
     .suffix = ", conv2",
     .arch = "conv2",
     .rates = "conv=0.19,fc=0.36,out=0.19",
     .rounds = 6,
     .steps = 4000,
     .options = conv_options,
     .points = conv_points},
    RESNET_PART("high_", ", lr 0.1", resnet_high),
    RESNET_PART("low_", ", lr 0.01", resnet_low),
};
enum { IMAGE_PARTS = sizeof image_parts / sizeof *image_parts };

/* ---- clauses ---- */

#define AT(round) " at round " #round

/* The card's, from a pilot in NumPy. On this over-fitted toy only the sparse end shows the paper's effect: judged there alone. */
static const sow_clause smoke_clauses[] = {
    SOW_AT_LEAST("at 5.8 % of the weights tickets beat fresh values by 1 point in every seed", "ticket", "reinit",
                 "accuracy" AT(13), SOW_LEAST_DIFFERENCE, 0.01),
    SOW_AT_LEAST("at 5.8 % of the weights tickets beat random masks by 7 points in every seed", "ticket", "random mask",
                 "accuracy" AT(13), SOW_LEAST_DIFFERENCE, 0.07),
    SOW_AT_LEAST("at 5.8 % of the weights tickets are no worse than the dense network in every seed", "ticket", "dense",
                 "accuracy" AT(13), SOW_LEAST_DIFFERENCE, 0),
};

/* Margins: half of the mean effect on the seeds 101-105, rounded down to a tenth of a point; for steps and for the dense
 * network the card's, which are stricter. Measured on 24 November 2026, and again when the controls got a seed of their
 * own: where the second measurement asks for less (MNIST at 11 %: 1.0; its random masks: 0.6) the first margin stays.
 * The verdict comes from other seeds. Means over those five, second measurement:
 *                                                    Fashion-MNIST   MNIST
 *   step of the early stop, ticket / reinit, at 21 %       0.52       0.44
 *                                            at 11 %       0.45       0.55
 *                           ticket / dense,  at 21 %       0.54       0.62 (the paper: 38 % earlier)
 *   accuracy, ticket - reinit, at 21 %                    +1.34      +1.48 points
 *                              at 11 %                    +1.63      +2.15
 *             ticket - dense,  at 21 %                    +0.42      +0.12
 *                              at 11 %                    +0.38      +0.27
 *             random mask - reinit, at 11 %               -0.26      -0.85 (no clause)
 *                                   at 5.5 %              -0.96      -1.24
 * Most reinitialised networks have not stopped after 1,500 steps, so the first ratios are at most that. */
#define SMALL_CLAUSES(gain7, gain10, random)                                                                         \
    SOW_AT_MOST("at 21 % of the weights tickets stop at 3/4 of the step of fresh values, or earlier", "ticket",      \
                "reinit", "early stop" AT(7), SOW_RATIO_OF_MEANS, 0.75),                                             \
        SOW_AT_MOST("at 11 % tickets stop at 3/4 of the step of fresh values, or earlier", "ticket", "reinit",       \
                    "early stop" AT(10), SOW_RATIO_OF_MEANS, 0.75),                                                  \
        SOW_AT_MOST("at 21 % tickets stop at 4/5 of the step of the dense network, or earlier", "ticket", "dense",   \
                    "early stop" AT(7), SOW_RATIO_OF_MEANS, 0.80),                                                   \
        SOW_AT_LEAST("at 21 % tickets are more accurate than fresh values", "ticket", "reinit", "accuracy" AT(7),    \
                     SOW_MEAN_DIFFERENCE, gain7),                                                                    \
        SOW_AT_LEAST("at 11 % tickets are more accurate than fresh values", "ticket", "reinit", "accuracy" AT(10),   \
                     SOW_MEAN_DIFFERENCE, gain10),                                                                   \
        SOW_AT_LEAST("at 21 % tickets are not worse than the dense network", "ticket", "dense", "accuracy" AT(7),    \
                     SOW_MEAN_DIFFERENCE, -0.002),                                                                   \
        SOW_AT_LEAST("at 11 % tickets are not worse than the dense network", "ticket", "dense", "accuracy" AT(10),   \
                     SOW_MEAN_DIFFERENCE, -0.002),                                                                   \
        SOW_AT_MOST("at 5.5 % random masks are worse than fresh values", "random mask", "reinit", "accuracy" AT(13), \
                    SOW_MEAN_DIFFERENCE, random)
static const sow_clause small_fashion[] = {SMALL_CLAUSES(0.006, 0.008, -0.004)};
static const sow_clause small_mnist[] = {SMALL_CLAUSES(0.007, 0.012, -0.007)};

/* The card's: what the paper prints, with its tolerance. */
static const sow_clause full_clauses[] = {
    SOW_AT_MOST("at 21 % of the weights tickets stop at least 20 % earlier than the dense network (the paper: 38 %)",
                "ticket", "dense", "early stop" AT(7), SOW_RATIO_OF_MEANS, 0.80),
    SOW_AT_LEAST("at 21 % tickets stop at most 55 % earlier than the dense network", "ticket", "dense",
                 "early stop" AT(7), SOW_RATIO_OF_MEANS, 0.45),
    SOW_AT_LEAST("at 21 % tickets are more accurate than fresh values", "ticket", "reinit", "accuracy" AT(7),
                 SOW_MEAN_DIFFERENCE, 0),
    SOW_AT_LEAST("at 3.6 % iterative tickets are more accurate than one-shot ones", "ticket", "one-shot",
                 "accuracy" AT(15), SOW_MEAN_DIFFERENCE, 0),
    SOW_AT_MOST(
        "the sparsest ticket as accurate as the dense network has at most 7 % of the weights (the paper: 3.6 %)",
        "ticket", NULL, "crossing", SOW_MEAN_DIFFERENCE, 0.07),
    SOW_AT_LEAST("the sparsest ticket as accurate as the dense network has at least 1.2 % of the weights", "ticket",
                 NULL, "crossing", SOW_MEAN_DIFFERENCE, 0.012),
};

/* Directions only: the paper's, without a margin. */
static const sow_clause image_clauses[] = {
    SOW_AT_MOST("Conv-2: at 8.6 % tickets stop earlier than the dense network", "ticket, conv2", "dense, conv2",
                "early stop" AT(6), SOW_RATIO_OF_MEANS, 1),
    SOW_AT_LEAST("Conv-2: at 8.6 % tickets are more accurate than the dense network", "ticket, conv2", "dense, conv2",
                 "accuracy" AT(6), SOW_MEAN_DIFFERENCE, 0),
    SOW_AT_LEAST("Conv-2: at 8.6 % tickets are more accurate than fresh values", "ticket, conv2", "reinit, conv2",
                 "accuracy" AT(6), SOW_MEAN_DIFFERENCE, 0),
    SOW_AT_LEAST("ResNet-20: a ticket's gain over fresh values is larger at lr 0.01 than at 0.1", "gain, lr 0.01",
                 "gain, lr 0.1", "accuracy" AT(3), SOW_MEAN_DIFFERENCE, 0),
};

/* ---- the study ---- */

/* The density of the sparsest ticket that is as accurate as the dense network. */
static sow_status score_crossings(sow_study_call *call) {
    for (int s = 0; s < call->seed_count; s++) {
        double dense = sow_study_scored(call, "ticket", "accuracy at round 0", call->seeds[s]), crossing = 1;
        for (int k = 1; k <= lenet_part.rounds; k++) {
            const char *metric = sow_arena_format(call->arena, "accuracy at round %d", k);
            if (!metric) return SOW_E_MEMORY;
            if (sow_study_scored(call, "ticket", metric, call->seeds[s]) >= dense)
                crossing = pow(0.8, k); /* the output layer is 0.4 % of the weights */
        }
        SOW_TRY(sow_study_score(call, "ticket", "crossing", call->seeds[s], crossing));
    }
    return SOW_OK;
}

/* What the ticket's values gain over fresh ones, by learning rate. */
static sow_status score_gains(sow_study_call *call) {
    static const char *const rates[] = {", lr 0.1", ", lr 0.01"};
    for (int s = 0; s < call->seed_count; s++)
        for (int r = 0; r < 2; r++) {
            sow_arena *arena = call->arena;
            const char *gain = sow_arena_format(arena, "gain%s", rates[r]),
                       *ticket = sow_arena_format(arena, "ticket%s", rates[r]),
                       *reinit = sow_arena_format(arena, "reinit%s", rates[r]), *metric = "accuracy" AT(3);
            if (!gain || !ticket || !reinit) return SOW_E_MEMORY;
            SOW_TRY(sow_study_score(call, gain, metric, call->seeds[s],
                                    sow_study_scored(call, ticket, metric, call->seeds[s]) -
                                        sow_study_scored(call, reinit, metric, call->seeds[s])));
        }
    return SOW_OK;
}

static sow_status run_smoke(sow_study_call *call) {
    SOW_DECIDES(call, smoke_clauses);
    return call->data ? sow_fail(SOW_E_ARGUMENT, "--data: scale smoke makes its own")
                      : ticket_run_parts(call, &smoke_part, 1);
}

static sow_status run_images(sow_study_call *call) {
    ticket_part parts[IMAGE_PARTS];
    memcpy(parts, image_parts, sizeof parts);
    for (int i = 0; i < IMAGE_PARTS; i++) parts[i].data = call->data;
    SOW_DECIDES(call, image_clauses);
    SOW_TRY(ticket_run_parts(call, parts, IMAGE_PARTS));
    return score_gains(call);
}

static sow_status run_study(sow_study_call *call) {
    if (!call->data && call->scale != SOW_SCALE_SMOKE) call->data = "fashion-mnist"; /* the plan names it */
    bool mnist = call->data && !strcmp(call->data, "mnist"),
         fashion = call->data && !strcmp(call->data, "fashion-mnist");
    call->claim =
        "Dense networks contain sparse ones that, trained alone from their original values, are as accurate and learn faster; "
        "with fresh values they are not.";
    if (call->scale == SOW_SCALE_SMOKE) return run_smoke(call);
    if (call->scale == SOW_SCALE_FULL && !mnist && !fashion) return run_images(call);
    if (!mnist && !fashion)
        return sow_fail(
            SOW_E_ARGUMENT,
            "--data: found '%s', expected fashion-mnist or mnist (scale full also takes a folder of CIFAR-10 images)",
            call->data);
    ticket_part p = call->scale == SOW_SCALE_SMALL ? small_part : lenet_part;
    p.data = mnist ? "mnist" : "fashion-mnist";
    if (call->scale == SOW_SCALE_FULL) SOW_DECIDES(call, full_clauses);
    else if (mnist) SOW_DECIDES(call, small_mnist);
    else SOW_DECIDES(call, small_fashion);
    SOW_TRY(ticket_run_parts(call, &p, 1));
    return call->scale == SOW_SCALE_FULL ? score_crossings(call) : SOW_OK;
}

const sow_study sow_study_lottery_ticket = {
    .name = "lottery-ticket",
    .method = "lottery-ticket",
    .paper = "Frankle and Carbin 2019, arXiv 1803.03635",
    .summary = "tickets against the same mask with fresh values, random masks and the dense network",
    .seeds = {"1:2", "1:5", "1:3"},
    .time = {"10 seconds", "5 minutes", "1 to 2 hours"},
    .data_help = "fashion-mnist (default), mnist; full also a folder of CIFAR-10 images (Conv-2, ResNet-20)",
    .run = run_study,
};
