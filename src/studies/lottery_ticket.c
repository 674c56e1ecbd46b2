/* The lottery-ticket study: Frankle and Carbin 2019, arXiv 1803.03635. Tickets by iterative pruning against the same mask with fresh values,
 * random masks and the dense network, at three scales; clauses and how their margins came about stand at the end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/nn.h"
#include "sow/safetensors.h"
#include "sow/study.h"
#include "starts/sparsity/lottery_ticket.h"

/* ---- what is trained ---- */

typedef enum kind {
    ROUND,            /* round k of the search; its start is the ticket of that round, round 0 the dense network */
    REINIT, RANDOM_MASK, /* controls of round k */
    ONE_SHOT,         /* the dense network pruned to round k's density at once */
    CONTINUED,        /* round k of strategy 2 */
    CONTINUED_TICKET, /* strategy 2's mask of round k on theta_0 */
} kind;
static const char *const arm_names[] = {"ticket", "reinit", "random mask", "one-shot", "continued", "ticket, strategy 2"};
static const char *const folder_names[] = {"round", "reinit", "random_mask", "one_shot", "continued", "continued_ticket"};

typedef struct point { kind kind; int round; } point;

/* One search and its controls, for every seed. */
typedef struct part {
    const char *name;            /* of stages and folders */
    const char *suffix;          /* of arms: ", lr 0.1" */
    const char *arch, *data;     /* "%s" in data is the seed */
    const char *rates, *rates_one; /* rates_one: %g twice, for one-shot pruning of the groups */
    bool global;
    int rounds;
    int64_t steps;
    const sow_variable *options; /* for `sow train`, without arch, data and steps; ends with a NULL name */
    const point *points;         /* beside the rounds; end with round 0 of a ROUND */
} part;

typedef struct job { const part *part; point point; } job;

typedef struct trial {
    sow_study_call *call;
    const part *parts;
    int part_count;
    const char *absolute;
    sow_model *models[4];        /* by part: names, shapes, groups */
    sow_cell *cells;
    job *jobs;
    int count;
} trial;

/* ---- the cells of a seed ---- */

static int find_job(const trial *t, const part *p, kind k, int round, uint64_t seed) {
    for (int i = 0; i < t->count; i++)
        if (t->jobs[i].part == p && t->jobs[i].point.kind == k && t->jobs[i].point.round == round && t->cells[i].seed == seed) return i;
    return -1;
}

/* What must be done before: the round before, or the control's own round. */
static int need_of(const trial *t, const part *p, point at, uint64_t seed) {
    switch (at.kind) {
    case ROUND: return at.round == 0 ? -1 : find_job(t, p, ROUND, at.round - 1, seed);
    case ONE_SHOT: return find_job(t, p, ROUND, 0, seed);
    case CONTINUED: return at.round == 1 ? find_job(t, p, ROUND, 0, seed) : find_job(t, p, CONTINUED, at.round - 1, seed);
    case CONTINUED_TICKET: return find_job(t, p, CONTINUED, at.round, seed);
    default: return find_job(t, p, ROUND, at.round, seed);
    }
}

static sow_status add_cell(trial *t, const part *p, point at, uint64_t seed) {
    sow_arena *arena = t->call->arena;
    int need = need_of(t, p, at, seed), *needs;
    SOW_TRY(SOW_NEW(arena, needs, 1));
    *needs = need;
    const char *name = sow_arena_format(arena, "%s%s_%02d", p->name, folder_names[at.kind], at.round);
    t->jobs[t->count] = (job){p, at};
    t->cells[t->count] = (sow_cell){.stage = name, .seed = seed, .needs = needs, .need_count = need >= 0, .steps = p->steps,
                                    .folder = name ? sow_arena_format(arena, "%s/seed-%llu/%s", t->call->folder, (unsigned long long)seed, name) : NULL};
    return t->cells[t->count++].folder ? SOW_OK : SOW_E_MEMORY;
}

/* Seeds one after another; within a seed, rounds first, so that the chain is never waited for. */
static sow_status plan_cells(trial *t) {
    int most = 0;
    for (int i = 0; i < t->part_count; i++) {
        most += t->parts[i].rounds + 1;
        for (const point *at = t->parts[i].points; at->kind != ROUND; at++) most++;
    }
    SOW_TRY(SOW_NEW(t->call->arena, t->cells, most * t->call->seed_count));
    SOW_TRY(SOW_NEW(t->call->arena, t->jobs, most * t->call->seed_count));
    for (int s = 0; s < t->call->seed_count; s++)
        for (int i = 0; i < t->part_count; i++) {
            const part *p = &t->parts[i];
            for (int k = 0; k <= p->rounds; k++) SOW_TRY(add_cell(t, p, (point){ROUND, k}, t->call->seeds[s]));
            for (const point *at = p->points; at->kind != ROUND; at++) SOW_TRY(add_cell(t, p, *at, t->call->seeds[s]));
        }
    return SOW_OK;
}

/* ---- starts ---- */

static const char *file_of(const trial *t, int index, const char *file) {
    return sow_arena_format(t->call->arena, "%s/seed-%llu/%s/%s", t->absolute, (unsigned long long)t->cells[index].seed, t->cells[index].stage, file);
}

static sow_status load(const trial *t, int index, const char *file, sow_state *into) {
    const char *path = file_of(t, index, file);
    return path ? sow_load_into(path, into) : SOW_E_MEMORY;
}

static sow_status load_mask(const trial *t, int index, sow_mask *out) {
    const char *path = file_of(t, index, "start.mask.safetensors");
    return path ? ticket_load_mask(t->call->arena, path, out) : SOW_E_MEMORY;
}

static sow_status rates_of(const trial *t, const part *p, point at, sow_prune_spec *out) {
    const char *rates = p->rates;
    *out = (sow_prune_spec){.global = p->global};
    if (at.kind == ONE_SHOT) rates = sow_arena_format(t->call->arena, p->rates_one, 1 - pow(0.8, at.round), 1 - pow(0.9, at.round));
    return rates ? sow_prune_parse(t->call->arena, rates, out) : SOW_E_MEMORY;
}

/* The mask that comes of pruning what an earlier cell trained; `state` then holds those trained weights. */
static sow_status prune_after(const trial *t, int index, int before, sow_state *state, sow_mask *mask) {
    sow_prune_spec spec;
    sow_mask previous;
    SOW_TRY(rates_of(t, t->jobs[index].part, t->jobs[index].point, &spec));
    SOW_TRY(load_mask(t, before, &previous));
    SOW_TRY(load(t, before, "final.safetensors", state));
    return sow_lottery_prune(t->call->arena, state, &previous, &spec, mask);
}

static sow_status first_start(const trial *t, int index, sow_state *state, sow_mask *mask) {
    sow_prune_spec spec;
    SOW_TRY(rates_of(t, t->jobs[index].part, t->jobs[index].point, &spec));
    SOW_TRY(sow_lottery_start(state, t->cells[index].seed, false));
    return sow_prune_begin(t->call->arena, state, &spec, mask);
}

/* Values and mask of a cell. Everything comes from files of done cells, so that a resumed study has the same bits. */
static sow_status make_start(const trial *t, int index, sow_state *state, sow_mask *mask) {
    const job *j = &t->jobs[index];
    uint64_t seed = t->cells[index].seed;
    int dense = find_job(t, j->part, ROUND, 0, seed), before = need_of(t, j->part, j->point, seed);
    if (j->point.kind == ROUND && j->point.round == 0) return first_start(t, index, state, mask);
    if (j->point.kind == CONTINUED) return prune_after(t, index, before, state, mask); /* goes on from the trained weights */
    if (j->point.kind == ROUND || j->point.kind == ONE_SHOT) SOW_TRY(prune_after(t, index, before, state, mask));
    else SOW_TRY(load_mask(t, before, mask));
    return load(t, dense, "start.safetensors", state);
}

static sow_status apply_control(const trial *t, int index, sow_state *state, sow_mask *mask) {
    kind k = t->jobs[index].point.kind;
    if (k != REINIT && k != RANDOM_MASK) return sow_mask_bind(mask, state);
    sow_control control = {.kind = k == REINIT ? SOW_CONTROL_REINIT : SOW_CONTROL_RANDOM_MASK,
                           .init = sow_init_defaults(SOW_INIT_XAVIER_NORMAL), .seed = t->cells[index].seed + 1000003};
    sow_state *made;
    sow_mask own;
    SOW_TRY(sow_ticket_control(t->call->arena, &control, state, mask, &made, &own));
    sow_status status = sow_state_assign(state, made);
    sow_state_free(made);
    *mask = own;
    return status;
}

static int part_index(const trial *t, const part *p) {
    return (int)(p - t->parts);
}

/* Weights that no later cell reads: those of the round before the last. Its successor is done, so it is never asked for again. */
static void remove_old(const trial *t, int index) {
    const job *j = &t->jobs[index];
    int old = j->point.round >= 3 && (j->point.kind == ROUND || j->point.kind == CONTINUED)
                  ? find_job(t, j->part, j->point.kind, j->point.round - 2, t->cells[index].seed) : -1;
    const char *final = old < 0 ? NULL : file_of(t, old, "final.safetensors"), *start = old < 0 ? NULL : file_of(t, old, "start.safetensors");
    if (final) unlink(final);
    if (start) unlink(start);
}

static sow_status write_start(const trial *t, int index) {
    sow_state *state;
    sow_mask mask;
    const char *start = file_of(t, index, "start.safetensors"), *beside = file_of(t, index, "start.mask.safetensors");
    if (!start || !beside) return SOW_E_MEMORY;
    SOW_TRY(sow_state_clone(t->models[part_index(t, t->jobs[index].part)]->state, false, &state));
    sow_status status = make_start(t, index, state, &mask);
    if (status == SOW_OK) status = apply_control(t, index, state, &mask);
    if (status == SOW_OK) status = ticket_save_mask(beside, &mask, NULL);
    if (status == SOW_OK) status = sow_save_state(start, state, NULL);
    sow_state_free(state);
    return status;
}

/* ---- running ---- */

static sow_status training_command(const trial *t, int index, char **out) {
    const part *p = t->jobs[index].part;
    sow_arena *arena = t->call->arena;
    sow_variable options[24];
    int count = 0;
    char seed[32];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)t->cells[index].seed);
    options[count++] = (sow_variable){"arch", p->arch};
    options[count++] = (sow_variable){"data", sow_arena_format(arena, p->data, seed)};
    options[count++] = (sow_variable){"steps", sow_arena_format(arena, "%lld", (long long)p->steps)};
    for (const sow_variable *o = p->options; o->name && count < 24; o++) options[count++] = *o;
    return ticket_builtin_command(arena, options, count, out);
}

/* Arms of a seed share order and dropout: the control of round k has round k's seed. */
static sow_status command_of(void *user, sow_arena *arena, const sow_cell *cell, char **command) {
    trial *t = user;
    int index = (int)(cell - t->cells);
    char *template;
    remove_old(t, index);
    sow_mark mark = sow_arena_mark(t->call->arena);
    sow_status status = write_start(t, index);
    if (status == SOW_OK) status = training_command(t, index, &template);
    if (status == SOW_OK) {
        const sow_variable variables[] = {
            {"init", file_of(t, index, "start.safetensors")},
            {"mask", file_of(t, index, "start.mask.safetensors")},
            {"out", file_of(t, index, "final.safetensors")},
            {"seed", sow_arena_format(arena, "%llu", (unsigned long long)sow_lottery_seed(cell->seed, t->jobs[index].point.round, false))},
            {"threads", "1"},
        };
        status = sow_expand(arena, template, variables, 5, command);
    }
    sow_arena_release(t->call->arena, mark);
    return status;
}

static sow_status add_scores(trial *t, sow_store *store) {
    for (int i = 0; i < t->count; i++) {
        const job *j = &t->jobs[i];
        sow_arena *arena = t->call->arena;
        sow_record *records;
        int64_t count;
        SOW_TRY(sow_store_curve(store, arena, &t->cells[i], &records, &count));
        ticket_score score = ticket_score_of(records, count);
        const char *arm = sow_arena_format(arena, "%s%s", arm_names[j->point.kind], j->part->suffix);
        const char *accuracy = sow_arena_format(arena, "accuracy at round %d", j->point.round);
        const char *stop = sow_arena_format(arena, "early stop at round %d", j->point.round);
        if (!arm || !accuracy || !stop) return SOW_E_MEMORY;
        SOW_TRY(sow_study_score(t->call, arm, accuracy, t->cells[i].seed, score.at_stop));
        SOW_TRY(sow_study_score(t->call, arm, stop, t->cells[i].seed, (double)score.stop));
        SOW_TRY(sow_store_score(store, &t->cells[i], score.at_stop, score.at_end));
    }
    return SOW_OK;
}

static double score_of(const sow_study_call *call, const char *arm, const char *metric, uint64_t seed) {
    for (int64_t i = 0; i < call->score_count; i++)
        if (call->scores[i].seed == seed && !strcmp(call->scores[i].arm, arm) && !strcmp(call->scores[i].metric, metric)) return call->scores[i].value;
    return NAN;
}

/* The dense network has one number a seed; clauses pair it with those of round k. */
static sow_status pair_dense(trial *t, const part *p, int round) {
    sow_arena *arena = t->call->arena;
    const char *const what[] = {"accuracy", "early stop"};
    const char *arm = sow_arena_format(arena, "dense%s", p->suffix), *ticket = sow_arena_format(arena, "ticket%s", p->suffix);
    for (int s = 0; s < t->call->seed_count; s++)
        for (int w = 0; w < 2; w++) {
            const char *first = sow_arena_format(arena, "%s at round 0", what[w]), *metric = sow_arena_format(arena, "%s at round %d", what[w], round);
            if (!arm || !ticket || !first || !metric) return SOW_E_MEMORY;
            SOW_TRY(sow_study_score(t->call, arm, metric, t->call->seeds[s], score_of(t->call, ticket, first, t->call->seeds[s])));
        }
    return SOW_OK;
}

/* The plan says what determines the numbers; the folder belongs to it alone. */
static sow_status open_store(trial *t, sow_store **store) {
    json_t *seeds = json_array(), *plan = json_pack("{s:s, s:i, s:i, s:o}", "study", "lottery-ticket", "version", 1, "scale", (int)t->call->scale, "seeds", seeds);
    char *text;
    for (int s = 0; s < t->call->seed_count; s++) json_array_append_new(seeds, json_integer((json_int_t)t->call->seeds[s]));
    sow_status status = plan && !json_object_set_new(plan, "data", json_string(t->call->data ? t->call->data : "")) ? SOW_OK : sow_fail(SOW_E_MEMORY, "out of memory");
    if (status == SOW_OK) status = sow_json_text(t->call->arena, plan, SOW_JSON_SORTED, &text);
    if (status == SOW_OK) status = sow_store_open(t->call->folder, text, store);
    json_decref(plan);
    return status;
}

/* Data of the first seed: said to be missing before anything runs; and the networks that fit them. */
static sow_status open_models(trial *t) {
    for (int i = 0; i < t->part_count; i++) {
        const part *p = &t->parts[i];
        const char *name = sow_arena_format(t->call->arena, p->data, "0");
        sow_data_options how;
        sow_data *data;
        int count = 0;
        while (p->options[count].name) count++;
        if (!name) return SOW_E_MEMORY;
        ticket_data_options_of(p->options, count, &how);
        SOW_TRY(sow_data_open(name, &how, &data));
        sow_status status = sow_model_new(p->arch, &data->geometry, &t->models[i]);
        sow_data_free(data);
        SOW_TRY(status);
    }
    return SOW_OK;
}

static sow_status run_trial(trial *t, sow_store *store) {
    sow_runner runner = {.command = command_of, .user = t, .slots = t->call->slots, .threads = 1, .limits = sow_limits_default(), .what = "lottery-ticket"};
    SOW_TRY(plan_cells(t));
    SOW_TRY(sow_run_cells(store, &runner, t->cells, t->count));
    SOW_TRY(add_scores(t, store));
    for (int i = 0; i < t->part_count; i++)
        for (const point *at = t->parts[i].points; at->kind != ROUND; at++)
            if (at->kind == REINIT && at->round > 0) SOW_TRY(pair_dense(t, &t->parts[i], at->round));
    return SOW_OK;
}

static sow_status run_parts(sow_study_call *call, const part *parts, int count) {
    trial t = {.call = call, .parts = parts, .part_count = count};
    sow_store *store = NULL;
    char *resolved = realpath(call->folder, NULL);
    if (!resolved) return sow_fail(SOW_E_IO, "%s: cannot be resolved", call->folder);
    t.absolute = sow_arena_copy(call->arena, resolved);
    free(resolved);
    sow_status status = t.absolute ? open_models(&t) : SOW_E_MEMORY;
    if (status == SOW_OK) status = open_store(&t, &store);
    if (status == SOW_OK) status = run_trial(&t, store);
    if (store) sow_store_close(store);
    for (int i = 0; i < count; i++) sow_model_free(t.models[i]);
    return status;
}

/* ---- scales ---- */

static const point smoke_points[] = {{REINIT, 0}, {REINIT, 13}, {RANDOM_MASK, 13}, {0}};
static const sow_variable smoke_options[] = {{"optimizer", "adam"}, {"lr", "0.0012"}, {"batch", "60"}, {"evaluate-every", "50"}, {0}};
static const part smoke_part = {
    .name = "", .suffix = "", .arch = "mlp:64-150-50-5", .data = "synthetic:relmlp:%s", .rates = "fc=0.2,out=0.1",
    .rounds = 13, .steps = 600, .options = smoke_options, .points = smoke_points,
};

static const point small_points[] = {{REINIT, 3}, {REINIT, 7}, {REINIT, 10}, {REINIT, 13}, {RANDOM_MASK, 10}, {RANDOM_MASK, 13}, {0}};
static const sow_variable small_options[] = {{"limit", "10000"}, {"val", "2000"}, {"normalisation", "unit"}, {"optimizer", "adam"},
                                             {"lr", "0.0012"},   {"batch", "60"}, {"evaluate-every", "100"}, {0}};
static const part small_part = {
    .name = "", .suffix = "", .arch = "lenet300", .data = "fashion-mnist", .rates = "fc=0.2,out=0.1",
    .rounds = 13, .steps = 1500, .options = small_options, .points = small_points,
};

/* Part A: the paper's recipe, fewer iterations, far enough to see tickets fall below the dense network. */
static const point lenet_points[] = {{REINIT, 3},   {REINIT, 7},    {REINIT, 11},   {REINIT, 15},    {REINIT, 20},         {RANDOM_MASK, 7},
                                     {RANDOM_MASK, 11}, {ONE_SHOT, 3},  {ONE_SHOT, 7},  {ONE_SHOT, 11},  {ONE_SHOT, 15},       {CONTINUED, 1},
                                     {CONTINUED, 2},    {CONTINUED, 3}, {CONTINUED, 4}, {CONTINUED, 5},  {CONTINUED, 6},       {CONTINUED, 7},
                                     {CONTINUED, 8},    {CONTINUED, 9}, {CONTINUED, 10}, {CONTINUED, 11}, {CONTINUED_TICKET, 7}, {CONTINUED_TICKET, 11},
                                     {0}};
static const sow_variable lenet_options[] = {{"normalisation", "unit"}, {"optimizer", "adam"}, {"lr", "0.0012"}, {"batch", "60"}, {"evaluate-every", "100"}, {0}};
static const part lenet_part = {
    .name = "", .suffix = "", .arch = "lenet300", .data = "fashion-mnist", .rates = "fc=0.2,out=0.1", .rates_one = "fc=%.17g,out=%.17g",
    .rounds = 20, .steps = 20000, .options = lenet_options, .points = lenet_points,
};

/* Part B: Conv-2, every round as two of the paper's (10 % of conv, 20 % of fc), to 8.6 % of the weights. */
static const point conv_points[] = {{REINIT, 4}, {REINIT, 6}, {RANDOM_MASK, 6}, {0}};
static const sow_variable conv_options[] = {{"limit", "10000"}, {"val", "2000"}, {"optimizer", "adam"}, {"lr", "0.0002"}, {"batch", "60"}, {"evaluate-every", "200"}, {0}};

/* Part C: the same network at two rates; without warm-up the paper finds tickets at the lower one only. */
static const point resnet_points[] = {{REINIT, 3}, {0}};
#define RESNET_OPTIONS(rate)                                                                                                   \
    {{"limit", "10000"}, {"val", "2000"}, {"optimizer", "sgd"}, {"lr", rate}, {"momentum", "0.9"}, {"weight-decay", "0.0001"}, \
     {"batch", "128"}, {"augment", "flip,crop"}, {"schedule", "multistep:400,500"}, {"evaluate-every", "100"}, {0}}
static const sow_variable resnet_high[] = RESNET_OPTIONS("0.1"), resnet_low[] = RESNET_OPTIONS("0.01");
#define RESNET_PART(name_, suffix_, options_)                                                                                  \
    {.name = name_, .suffix = suffix_, .arch = "resnet20", .rates = "conv=0.5", .global = true, .rounds = 3, .steps = 600,     \
     .options = options_, .points = resnet_points}
static const part image_parts[] = {
    {.name = "conv2_", .suffix = ", conv2", .arch = "conv2", .rates = "conv=0.19,fc=0.36,out=0.19", .rounds = 6, .steps = 4000,
     .options = conv_options, .points = conv_points},
    RESNET_PART("high_", ", lr 0.1", resnet_high),
    RESNET_PART("low_", ", lr 0.01", resnet_low),
};
enum { IMAGE_PARTS = sizeof image_parts / sizeof *image_parts };

/* ---- clauses ---- */

#define AT(round) " at round " #round
#define CLAUSE(says_, arm_, against_, metric_, statistic_, at_least_, value_) {says_, arm_, against_, metric_, statistic_, at_least_, value_}

/* The card's, from a pilot in NumPy. On this over-fitted toy only the sparse end shows the paper's effect: judged there alone. */
static const sow_clause smoke_clauses[] = {
    CLAUSE("at 5.8 % of the weights tickets beat fresh values by 1 point in every seed", "ticket", "reinit", "accuracy" AT(13), SOW_LEAST_DIFFERENCE, true, 0.01),
    CLAUSE("and random masks by 7 points in every seed", "ticket", "random mask", "accuracy" AT(13), SOW_LEAST_DIFFERENCE, true, 0.07),
    CLAUSE("and are no worse than the dense network in every seed", "ticket", "dense", "accuracy" AT(13), SOW_LEAST_DIFFERENCE, true, 0),
};

/* Margins: about half of the mean effect on the seeds 101-105, measured once on 24 November 2026 and frozen since; the card's where that is
 * stricter already. The verdict comes from other seeds. Means over those five:
 *   Fashion-MNIST: step of the early stop, ticket / reinit 0.49 (21 %) and 0.44 (11 %), ticket / dense 0.54 (21 %); accuracy, ticket - reinit
 *   +1.32 and +1.75 points, ticket - dense +0.42 and +0.38, random mask - reinit -0.12 (11 %: no clause) and -0.68 (5.5 %). */
#define SMALL_CLAUSES(gain7, gain10, random)                                                                                   \
    CLAUSE("at 21 % of the weights tickets stop earlier than fresh values: at 3/4 of the step", "ticket", "reinit",            \
           "early stop" AT(7), SOW_RATIO_OF_MEANS, false, 0.75),                                                               \
        CLAUSE("at 11 % too", "ticket", "reinit", "early stop" AT(10), SOW_RATIO_OF_MEANS, false, 0.75),                       \
        CLAUSE("at 21 % tickets stop earlier than the dense network", "ticket", "dense", "early stop" AT(7),                   \
               SOW_RATIO_OF_MEANS, false, 0.80),                                                                               \
        CLAUSE("at 21 % tickets are more accurate than fresh values", "ticket", "reinit", "accuracy" AT(7),                    \
               SOW_MEAN_DIFFERENCE, true, gain7),                                                                              \
        CLAUSE("at 11 % too", "ticket", "reinit", "accuracy" AT(10), SOW_MEAN_DIFFERENCE, true, gain10),                       \
        CLAUSE("at 21 % tickets are not worse than the dense network", "ticket", "dense", "accuracy" AT(7),                    \
               SOW_MEAN_DIFFERENCE, true, -0.002),                                                                             \
        CLAUSE("at 11 % too", "ticket", "dense", "accuracy" AT(10), SOW_MEAN_DIFFERENCE, true, -0.002),                        \
        CLAUSE("at 5.5 % random masks are worse than fresh values", "random mask", "reinit", "accuracy" AT(13),                \
               SOW_MEAN_DIFFERENCE, false, random)
static const sow_clause small_fashion[] = {SMALL_CLAUSES(0.006, 0.008, -0.003)};
static const sow_clause small_mnist[] = {SMALL_CLAUSES(0.003, 0.003, 0)};

/* The card's: what the paper prints, with its tolerance. */
static const sow_clause full_clauses[] = {
    CLAUSE("at 21 % tickets stop 20 to 55 % earlier than the dense network: at most 0.80 of its step", "ticket", "dense", "early stop" AT(7), SOW_RATIO_OF_MEANS, false, 0.80),
    CLAUSE("and at least 0.45 of it", "ticket", "dense", "early stop" AT(7), SOW_RATIO_OF_MEANS, true, 0.45),
    CLAUSE("at 21 % tickets beat fresh values", "ticket", "reinit", "accuracy" AT(7), SOW_MEAN_DIFFERENCE, true, 0),
    CLAUSE("at 3.6 % iterative tickets beat one-shot ones", "ticket", "one-shot", "accuracy" AT(15), SOW_MEAN_DIFFERENCE, true, 0),
    CLAUSE("tickets fall below the dense network no earlier than at 7 %", "ticket", NULL, "crossing", SOW_MEAN_DIFFERENCE, false, 0.07),
    CLAUSE("and no later than at 1.2 %", "ticket", NULL, "crossing", SOW_MEAN_DIFFERENCE, true, 0.012),
};

/* Directions only: the paper's, without a margin. */
static const sow_clause image_clauses[] = {
    CLAUSE("Conv-2: at 8.6 % tickets stop earlier than the dense network", "ticket, conv2", "dense, conv2", "early stop" AT(6), SOW_RATIO_OF_MEANS, false, 1),
    CLAUSE("and are more accurate", "ticket, conv2", "dense, conv2", "accuracy" AT(6), SOW_MEAN_DIFFERENCE, true, 0),
    CLAUSE("and beat fresh values", "ticket, conv2", "reinit, conv2", "accuracy" AT(6), SOW_MEAN_DIFFERENCE, true, 0),
    CLAUSE("ResNet-20: a ticket's gain over fresh values is larger at lr 0.01 than at 0.1", "gain, lr 0.01", "gain, lr 0.1", "accuracy" AT(3), SOW_MEAN_DIFFERENCE, true, 0),
};

/* ---- the study ---- */

/* Smallest density whose ticket is as accurate as the dense network, all denser ones being so too. */
static sow_status score_crossings(sow_study_call *call) {
    for (int s = 0; s < call->seed_count; s++) {
        double dense = score_of(call, "ticket", "accuracy at round 0", call->seeds[s]), crossing = 1;
        for (int k = 1; k <= lenet_part.rounds; k++) {
            const char *metric = sow_arena_format(call->arena, "accuracy at round %d", k);
            if (!metric) return SOW_E_MEMORY;
            if (score_of(call, "ticket", metric, call->seeds[s]) >= dense) crossing = pow(0.8, k); /* the output layer is 0.4 % of the weights */
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
            const char *gain = sow_arena_format(arena, "gain%s", rates[r]), *ticket = sow_arena_format(arena, "ticket%s", rates[r]),
                       *reinit = sow_arena_format(arena, "reinit%s", rates[r]), *metric = "accuracy" AT(3);
            if (!gain || !ticket || !reinit) return SOW_E_MEMORY;
            SOW_TRY(sow_study_score(call, gain, metric, call->seeds[s], score_of(call, ticket, metric, call->seeds[s]) - score_of(call, reinit, metric, call->seeds[s])));
        }
    return SOW_OK;
}

#define USE_CLAUSES(call, table) ((call)->clauses = (table), (call)->clause_count = (int)(sizeof(table) / sizeof *(table)))

static sow_status run_smoke(sow_study_call *call) {
    USE_CLAUSES(call, smoke_clauses);
    return call->data ? sow_fail(SOW_E_ARGUMENT, "--data: scale smoke makes its own") : run_parts(call, &smoke_part, 1);
}

static sow_status run_images(sow_study_call *call) {
    part parts[IMAGE_PARTS];
    memcpy(parts, image_parts, sizeof parts);
    for (int i = 0; i < IMAGE_PARTS; i++) parts[i].data = call->data;
    USE_CLAUSES(call, image_clauses);
    SOW_TRY(run_parts(call, parts, IMAGE_PARTS));
    return score_gains(call);
}

static sow_status run_study(sow_study_call *call) {
    bool mnist = call->data && !strcmp(call->data, "mnist"), fashion = !call->data || !strcmp(call->data, "fashion-mnist");
    call->claim = "Dense networks contain sparse ones that, trained alone from their original values, are as accurate and learn faster; "
                  "with fresh values they are not.";
    if (call->scale == SOW_SCALE_SMOKE) return run_smoke(call);
    if (call->scale == SOW_SCALE_FULL && !mnist && !fashion) return run_images(call);
    if (!mnist && !fashion)
        return sow_fail(SOW_E_ARGUMENT, "--data: found '%s', expected fashion-mnist or mnist (scale full also takes a folder of CIFAR-10 images)", call->data);
    part p = call->scale == SOW_SCALE_SMALL ? small_part : lenet_part;
    p.data = mnist ? "mnist" : "fashion-mnist";
    if (call->scale == SOW_SCALE_FULL) USE_CLAUSES(call, full_clauses);
    else if (mnist) USE_CLAUSES(call, small_mnist);
    else USE_CLAUSES(call, small_fashion);
    SOW_TRY(run_parts(call, &p, 1));
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
