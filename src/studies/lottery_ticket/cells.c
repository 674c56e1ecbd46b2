/* The cells of the lottery-ticket study: what each needs, its start and mask, its command, its scores. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/nn.h"
#include "sow/safetensors.h"
#include "sow/sparsity.h"
#include "sow/trainer.h"
#include "studies/lottery_ticket/cells.h"

static const char *const arm_names[] = {"ticket",   "reinit",    "random mask",
                                        "one-shot", "continued", "ticket, strategy 2"};
static const char *const folder_names[] = {"round",    "reinit",    "random_mask",
                                           "one_shot", "continued", "continued_ticket"};

typedef struct job {
    const ticket_part *part;
    ticket_point point;
} job;

typedef struct trial {
    sow_study_call *call;
    const ticket_part *parts;
    int part_count;
    const char *absolute;
    sow_model *models[4]; /* by part: names, shapes, groups */
    sow_cell *cells;
    job *jobs;
    int count;
} trial;

/* ---- the cells of a seed ---- */

static int find_job(const trial *t, const ticket_part *p, ticket_cell_kind k, int round, uint64_t seed) {
    for (int i = 0; i < t->count; i++)
        if (t->jobs[i].part == p && t->jobs[i].point.kind == k && t->jobs[i].point.round == round &&
            t->cells[i].seed == seed)
            return i;
    return -1;
}

/* What must be done before: the round before, or the control's own round. */
static int need_of(const trial *t, const ticket_part *p, ticket_point at, uint64_t seed) {
    switch (at.kind) {
    case ROUND: return at.round == 0 ? -1 : find_job(t, p, ROUND, at.round - 1, seed);
    case ONE_SHOT: return find_job(t, p, ROUND, 0, seed);
    case CONTINUED:
        return at.round == 1 ? find_job(t, p, ROUND, 0, seed) : find_job(t, p, CONTINUED, at.round - 1, seed);
    case CONTINUED_TICKET: return find_job(t, p, CONTINUED, at.round, seed);
    default: return find_job(t, p, ROUND, at.round, seed);
    }
}

static sow_status add_cell(trial *t, const ticket_part *p, ticket_point at, uint64_t seed) {
    sow_arena *arena = t->call->arena;
    int need = need_of(t, p, at, seed), *needs;
    SOW_TRY(SOW_NEW(arena, needs, 1));
    *needs = need;
    const char *name = sow_arena_format(arena, "%s%s_%02d", p->name, folder_names[at.kind], at.round);
    t->jobs[t->count] = (job){p, at};
    t->cells[t->count] = (sow_cell){
        .stage = name,
        .seed = seed,
        .needs = needs,
        .need_count = need >= 0,
        .steps = p->steps,
        .folder = name ? sow_arena_format(arena, "%s/seed-%llu/%s", t->call->folder, (unsigned long long)seed, name)
                       : NULL};
    return t->cells[t->count++].folder ? SOW_OK : SOW_E_MEMORY;
}

/* Seeds one after another; within a seed, rounds first, so that the chain is never waited for. */
static sow_status plan_cells(trial *t) {
    int most = 0;
    for (int i = 0; i < t->part_count; i++) {
        most += t->parts[i].rounds + 1;
        for (const ticket_point *at = t->parts[i].points; at->kind != ROUND; at++) most++;
    }
    SOW_TRY(SOW_NEW(t->call->arena, t->cells, most * t->call->seed_count));
    SOW_TRY(SOW_NEW(t->call->arena, t->jobs, most * t->call->seed_count));
    for (int s = 0; s < t->call->seed_count; s++)
        for (int i = 0; i < t->part_count; i++) {
            const ticket_part *p = &t->parts[i];
            for (int k = 0; k <= p->rounds; k++) SOW_TRY(add_cell(t, p, (ticket_point){ROUND, k}, t->call->seeds[s]));
            for (const ticket_point *at = p->points; at->kind != ROUND; at++)
                SOW_TRY(add_cell(t, p, *at, t->call->seeds[s]));
        }
    return SOW_OK;
}

/* ---- starts ---- */

static const char *file_of(const trial *t, int index, const char *file) {
    return sow_arena_format(t->call->arena, "%s/seed-%llu/%s/%s", t->absolute, (unsigned long long)t->cells[index].seed,
                            t->cells[index].stage, file);
}

static sow_status load(const trial *t, int index, const char *file, sow_state *into) {
    const char *path = file_of(t, index, file);
    return path ? sow_load_into(path, into) : SOW_E_MEMORY;
}

static sow_status load_mask(const trial *t, int index, sow_mask *out) {
    const char *path = file_of(t, index, "start.mask.safetensors");
    return path ? sow_load_mask(t->call->arena, path, out) : SOW_E_MEMORY;
}

static sow_status rates_of(const trial *t, const ticket_part *p, ticket_point at, sow_prune_spec *out) {
    const char *rates = p->rates;
    *out = (sow_prune_spec){.global = p->global};
    if (at.kind == ONE_SHOT)
        rates = sow_arena_format(t->call->arena, p->rates_one, 1 - pow(0.8, at.round), 1 - pow(0.9, at.round));
    return rates ? sow_prune_parse(t->call->arena, rates, out) : SOW_E_MEMORY;
}

/* The mask that comes of pruning what an earlier cell trained; `state` then holds those trained weights. */
static sow_status prune_after(const trial *t, int index, int before, sow_state *state, sow_mask *mask) {
    sow_prune_spec spec;
    sow_mask previous;
    SOW_TRY(rates_of(t, t->jobs[index].part, t->jobs[index].point, &spec));
    SOW_TRY(load_mask(t, before, &previous));
    SOW_TRY(load(t, before, "final.safetensors", state));
    return sow_prune_trained(t->call->arena, state, &previous, &spec, mask);
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
    if (j->point.kind == CONTINUED)
        return prune_after(t, index, before, state, mask); /* goes on from the trained weights */
    if (j->point.kind == ROUND || j->point.kind == ONE_SHOT) SOW_TRY(prune_after(t, index, before, state, mask));
    else SOW_TRY(load_mask(t, before, mask));
    return load(t, dense, "start.safetensors", state);
}

static sow_status apply_control(const trial *t, int index, sow_state *state, sow_mask *mask) {
    ticket_cell_kind k = t->jobs[index].point.kind;
    if (k != REINIT && k != RANDOM_MASK) return sow_mask_bind(mask, state);
    sow_control control = {.kind = k == REINIT ? SOW_CONTROL_REINIT : SOW_CONTROL_RANDOM_MASK,
                           .init = sow_init_defaults(SOW_INIT_XAVIER_NORMAL),
                           .seed = t->cells[index].seed};
    sow_state *made;
    sow_mask own;
    SOW_TRY(sow_ticket_control(t->call->arena, &control, state, mask, &made, &own));
    sow_status status = sow_state_assign(state, made);
    sow_state_free(made);
    *mask = own;
    return status;
}

static int part_index(const trial *t, const ticket_part *p) {
    return (int)(p - t->parts);
}

/* Weights that no later cell reads: those of the round before the last. Its successor is done, so it is never asked for again. */
static void remove_old(const trial *t, int index) {
    const job *j = &t->jobs[index];
    int old = j->point.round >= 3 && (j->point.kind == ROUND || j->point.kind == CONTINUED)
                  ? find_job(t, j->part, j->point.kind, j->point.round - 2, t->cells[index].seed)
                  : -1;
    const char *final = old < 0 ? NULL : file_of(t, old, "final.safetensors"),
               *start = old < 0 ? NULL : file_of(t, old, "start.safetensors");
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
    if (status == SOW_OK) status = sow_save_mask(beside, &mask, NULL);
    if (status == SOW_OK) status = sow_save_state(start, state, NULL);
    sow_state_free(state);
    return status;
}

/* ---- running ---- */

static sow_status recipe_of(sow_arena *arena, const ticket_part *p, uint64_t seed, sow_recipe *out) {
    const char *data = p->data, *steps = sow_arena_format(arena, "%lld", (long long)p->steps);
    if (p->data_by_seed) data = sow_arena_format(arena, "%s:%llu", p->data, (unsigned long long)seed);
    if (!data || !steps) return SOW_E_MEMORY;
    *out = (sow_recipe){.options = {{"arch", p->arch}, {"data", data}, {"steps", steps}}, .count = 3};
    for (const sow_variable *o = p->options; o->name; o++) SOW_TRY(sow_recipe_set(out, o->name, o->value));
    return SOW_OK;
}

/* Arms of a seed share order and dropout: the control of round k has round k's seed. */
static sow_status command_of(void *user, sow_arena *arena, const sow_cell *cell, char **command) {
    trial *t = user;
    int index = (int)(cell - t->cells);
    const job *j = &t->jobs[index];
    sow_recipe recipe;
    remove_old(t, index);
    sow_mark mark = sow_arena_mark(t->call->arena);
    sow_status status = write_start(t, index);
    sow_trial training = {.seed = sow_lottery_seed(cell->seed, j->point.round, false), .threads = 1};
    const char *folder = file_of(t, index, "");
    if (status == SOW_OK) status = folder ? sow_trial_in(arena, folder, &training) : SOW_E_MEMORY;
    if (status == SOW_OK) status = recipe_of(arena, j->part, cell->seed, &recipe);
    if (status == SOW_OK) status = sow_recipe_command(arena, &recipe, &training, command);
    sow_arena_release(t->call->arena, mark);
    return status;
}

static sow_status add_scores(trial *t, sow_store *store) {
    for (int i = 0; i < t->count; i++) {
        const job *j = &t->jobs[i];
        sow_arena *arena = t->call->arena;
        sow_trial_score score;
        SOW_TRY(sow_store_trial(store, arena, &t->cells[i], &score));
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

/* The dense network has one number a seed; clauses pair it with those of round k. */
static sow_status pair_dense(trial *t, const ticket_part *p, int round) {
    sow_arena *arena = t->call->arena;
    const char *const what[] = {"accuracy", "early stop"};
    const char *arm = sow_arena_format(arena, "dense%s", p->suffix),
               *ticket = sow_arena_format(arena, "ticket%s", p->suffix);
    for (int s = 0; s < t->call->seed_count; s++)
        for (int w = 0; w < 2; w++) {
            const char *first = sow_arena_format(arena, "%s at round 0", what[w]),
                       *metric = sow_arena_format(arena, "%s at round %d", what[w], round);
            if (!arm || !ticket || !first || !metric) return SOW_E_MEMORY;
            SOW_TRY(sow_study_score(t->call, arm, metric, t->call->seeds[s],
                                    sow_study_scored(t->call, ticket, first, t->call->seeds[s])));
        }
    return SOW_OK;
}

/* The plots of a part; percent of the weights left are those of the first seed's masks. */
static sow_status draw_part(const trial *t, const ticket_part *p) {
    const sow_state *weights = t->models[part_index(t, p)]->state;
    double *percent;
    SOW_TRY(SOW_NEW(t->call->arena, percent, p->rounds + 1));
    for (int k = 0; k <= p->rounds; k++) {
        sow_mark mark = sow_arena_mark(t->call->arena);
        sow_mask mask;
        SOW_TRY(load_mask(t, find_job(t, p, ROUND, k, t->call->seeds[0]), &mask));
        percent[k] = 100 * (double)sow_mask_kept(&mask, weights) / (double)sow_state_weights(weights);
        sow_arena_release(t->call->arena, mark);
    }
    return ticket_plot_part(t->call, p, arm_names, sizeof arm_names / sizeof *arm_names, percent);
}

/* The plan says what determines the numbers; the folder belongs to it alone. */
static sow_status open_store(trial *t, sow_store **store) {
    json_t *seeds = json_array(), *plan = json_pack("{s:s, s:i, s:i, s:o}", "study", "lottery-ticket", "version", 1,
                                                    "scale", (int)t->call->scale, "seeds", seeds);
    char *text;
    for (int s = 0; s < t->call->seed_count; s++)
        json_array_append_new(seeds, json_integer((json_int_t)t->call->seeds[s]));
    sow_status status = plan && !json_object_set_new(plan, "data", json_string(t->call->data ? t->call->data : ""))
                            ? SOW_OK
                            : sow_fail(SOW_E_MEMORY, "out of memory");
    if (status == SOW_OK) status = sow_json_text(t->call->arena, plan, SOW_JSON_SORTED, &text);
    if (status == SOW_OK) status = sow_store_open(t->call->folder, text, store);
    json_decref(plan);
    return status;
}

/* Data of the first seed: said to be missing before anything runs; and the networks that fit them. */
static sow_status open_models(trial *t) {
    for (int i = 0; i < t->part_count; i++) {
        const ticket_part *p = &t->parts[i];
        sow_recipe recipe;
        sow_data *data;
        SOW_TRY(recipe_of(t->call->arena, p, 0, &recipe));
        SOW_TRY(sow_recipe_data(&recipe, &data));
        sow_status status = sow_model_new(p->arch, &data->geometry, &t->models[i]);
        sow_data_free(data);
        SOW_TRY(status);
    }
    return SOW_OK;
}

static sow_status run_trial(trial *t, sow_store *store) {
    sow_runner runner = {.command = command_of,
                         .user = t,
                         .slots = t->call->slots,
                         .threads = 1,
                         .what = "lottery-ticket"};
    SOW_TRY(plan_cells(t));
    SOW_TRY(sow_run_cells(store, &runner, t->cells, t->count));
    SOW_TRY(add_scores(t, store));
    for (int i = 0; i < t->part_count; i++)
        for (const ticket_point *at = t->parts[i].points; at->kind != ROUND; at++)
            if (at->kind == REINIT && at->round > 0) SOW_TRY(pair_dense(t, &t->parts[i], at->round));
    for (int i = 0; i < t->part_count; i++) SOW_TRY(draw_part(t, &t->parts[i]));
    return SOW_OK;
}

sow_status ticket_run_parts(sow_study_call *call, const ticket_part *parts, int count) {
    trial t = {.call = call, .parts = parts, .part_count = count};
    sow_store *store = NULL;
    SOW_TRY(sow_path_absolute(call->arena, call->folder, &t.absolute));
    sow_status status = open_models(&t);
    if (status == SOW_OK) status = open_store(&t, &store);
    if (status == SOW_OK) status = run_trial(&t, store);
    if (store) sow_store_close(store);
    for (int i = 0; i < count; i++) sow_model_free(t.models[i]);
    return status;
}
