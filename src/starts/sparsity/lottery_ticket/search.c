/* `sow lottery-ticket find`: rounds as child processes, a store to resume from, a ticket's folder. */
#include <math.h>
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/nn.h"
#include "sow/safetensors.h"
#include "sow/sow.h"
#include "starts/sparsity/lottery_ticket/ticket.h"

typedef struct search {
    sow_call *call;
    sow_arena *arena;
    sow_lottery_config config;
    const char *folder, *absolute; /* as given, and for child processes that may change theirs */
    sow_recipe recipe;
    int64_t steps;    /* of a round; 0: unknown */
    sow_data *data;   /* NULL: the trainer's own business */
    sow_model *model; /* NULL: theta_0 comes from a file alone */
    sow_state *theta0;
    sow_input inputs[1];
    int input_count;
    sow_store *store;
    sow_trial_score *scores;        /* by round */
    const sow_lottery_round *round; /* under way */
    sow_state *weights;
    int64_t shown; /* by the progress bar */
} search;

/* ---- files ---- */

static const char *in_folder(const search *s, const char *folder, const char *name) {
    return sow_path_join(s->arena, folder, name);
}

static sow_status passport(const search *s, const char *file, const char **out) {
    return sow_passport(s->call, file, s->inputs, s->input_count, out);
}

/* Writes a state into the folder under this name, with its passport. */
static sow_status save(const search *s, const char *name, const sow_state *state) {
    const char *text, *path = in_folder(s, s->folder, name);
    SOW_TRY(passport(s, name, &text));
    return path ? sow_save_state(path, state, text) : SOW_E_MEMORY;
}

static sow_status save_mask(const search *s, const char *name, const sow_mask *mask) {
    const char *text, *path = in_folder(s, s->folder, name);
    SOW_TRY(passport(s, name, &text));
    return path ? sow_save_mask(path, mask, text) : SOW_E_MEMORY;
}

static const char *round_file(const search *s, int round, const char *name) {
    return sow_arena_format(s->arena, "round_%02d/%s", round, name);
}

static const char *mask_name(const search *s, int round) {
    return sow_arena_format(s->arena, "mask_%02d.safetensors", round);
}

static const char *rewound_name(const search *s) {
    return sow_arena_format(s->arena, "theta_%lld.safetensors", (long long)s->config.rewind);
}

/* ---- one round as a cell ---- */

/* The masked start, for the trainer; its mask lies beside it. */
static sow_status write_start(const search *s) {
    const char *file = round_file(s, s->round->number, "start.safetensors"),
               *path = file ? in_folder(s, s->folder, file) : NULL;
    if (!path) return SOW_E_MEMORY;
    return sow_write_start(s->call, path, file, s->inputs, s->input_count, s->weights, s->round->mask);
}

static sow_status command_of(void *user, sow_arena *arena, const sow_cell *cell, char **command) {
    search *s = user;
    sow_trial trial = {
        .arm = "ticket",
        .round = s->round->number,
        .seed = s->round->seed,
        .threads = sow_threads(),
        .rewind_step = s->config.rewind,
        .rewinds = s->round->rewind > 0,
    };
    SOW_TRY(write_start(s));
    const char *folder = sow_path_join(arena, s->absolute, sow_path_name(cell->folder)),
               *mask = mask_name(s, s->round->number);
    if (!folder || !mask) return SOW_E_MEMORY;
    SOW_TRY(sow_trial_in(arena, folder, &trial));
    trial.mask = in_folder(s, s->absolute, mask);
    trial.rewind = sow_path_join(arena, folder, "rewind.safetensors");
    return trial.mask && trial.rewind ? sow_recipe_command(arena, &s->recipe, &trial, command) : SOW_E_MEMORY;
}

/* Takes what the trainer wrote: names, shapes, finite values, zeros where masked. */
static sow_status take_final(const search *s) {
    const char *file = round_file(s, s->round->number, "final.safetensors"),
               *path = file ? in_folder(s, s->folder, file) : NULL;
    if (!path) return SOW_E_MEMORY;
    if (!sow_path_exists(path)) return sow_fail(SOW_E_TRAINER, "the trainer ended well, but wrote no %s ({out})", path);
    SOW_TRY(sow_load_into(path, s->weights));
    sow_status status = sow_state_require_finite(s->weights, path);
    if (status == SOW_OK) status = sow_mask_require_zeros(s->round->mask, s->weights);
    if (status != SOW_OK) return status;
    if (!s->round->rewound) return SOW_OK;
    file = round_file(s, s->round->number, "rewind.safetensors");
    path = file ? in_folder(s, s->folder, file) : NULL;
    return path ? sow_load_into(path, s->round->rewound) : SOW_E_MEMORY;
}

static sow_status finish(void *user, sow_cell *cell, const sow_record *records, int64_t count) {
    (void)cell;
    search *s = user;
    if (s->recipe.command && isnan(sow_score_trial(records, count).at_end))
        sow_warn("round %d: the trainer reported no test_accuracy, accuracy or metric", s->round->number);
    return take_final(s);
}

/* A record arrives once for each of its numbers: one of them moves the bar. */
static void show(void *user, const sow_cell *cell, const sow_record *record) {
    (void)cell;
    search *s = user;
    int64_t steps = s->steps > 0 ? s->steps : 1, step = s->steps > 0 ? record->step : 0;
    int64_t done = s->round->number * steps + (step < steps ? step : steps);
    char what[64];
    if (done == s->shown) return;
    s->shown = done;
    snprintf(what, sizeof what, "round %d of %d", s->round->number, s->config.rounds);
    sow_progress(what, done, (s->config.rounds + 1) * steps);
}

/* The callback of sow_lottery_find: trains in a child process, unless the store has this round as done. */
static sow_status train(void *user, const sow_lottery_round *round, sow_state *weights) {
    search *s = user;
    s->round = round;
    s->weights = weights;
    const char *folder = round_file(s, round->number, ""), *mask = mask_name(s, round->number);
    char *cell_folder = folder && mask ? sow_path_join(s->arena, s->folder, folder) : NULL;
    if (!cell_folder) return SOW_E_MEMORY;
    cell_folder[strlen(cell_folder) - 1] = 0; /* without the slash at the end */
    SOW_TRY(save_mask(s, mask, round->mask));
    sow_cell cell = {.stage = sow_arena_format(s->arena, "round-%02d", round->number),
                     .seed = s->config.seed,
                     .folder = cell_folder,
                     .steps = s->steps};
    sow_runner runner = {.command = command_of,
                         .finish = finish,
                         .record = show,
                         .user = s,
                         .slots = 1,
                         .threads = sow_threads(),
                         .limits = sow_trainer_limits(s->call)};
    if (!cell.stage) return SOW_E_MEMORY;
    SOW_TRY(sow_run_cells(s->store, &runner, &cell, 1));
    SOW_TRY(take_final(s));
    if (round->rewound) SOW_TRY(save(s, rewound_name(s), round->rewound));
    return sow_store_trial(s->store, s->arena, &cell, &s->scores[round->number]);
}

/* ---- what is searched ---- */

static sow_status open_data(search *s) {
    if (!sow_text(s->call, "data")) return SOW_OK;
    SOW_TRY(sow_recipe_data(&s->recipe, &s->data));
    s->inputs[0] = sow_input_of("data", s->data->name, s->data->sha256);
    s->input_count = 1;
    return SOW_OK;
}

/* theta_0: of a named architecture, drawn or read; or whatever the user's file holds. */
static sow_status open_start(search *s) {
    const char *arch = sow_text(s->call, "arch"), *start = sow_text(s->call, "start");
    if (!arch) {
        if (!start) return sow_fail(SOW_E_ARGUMENT, "give --start FILE (theta_0 of your own network), or --arch NAME");
        SOW_TRY(sow_load_state(start, &s->theta0));
        return sow_state_require_finite(s->theta0, start);
    }
    sow_geometry geometry;
    if (s->data) geometry = s->data->geometry;
    else SOW_TRY(sow_recipe_geometry(&s->recipe, &geometry));
    SOW_TRY(sow_model_new(arch, &geometry, &s->model));
    s->theta0 = s->model->state;
    if (!start) return sow_lottery_start(s->theta0, s->config.seed, sow_flag(s->call, "trunc"));
    SOW_TRY(sow_load_into(start, s->theta0));
    return sow_state_require_finite(s->theta0, start);
}

/* What trains: the user's command, or this program with the options given or of the preset. */
static sow_status choose_trainer(search *s) {
    SOW_TRY(ticket_apply_preset(s->call));
    sow_recipe_of_call(s->call, &s->recipe);
    s->steps = sow_recipe_steps(&s->recipe);
    if (s->recipe.command && s->config.rewind > 0 && !sow_uses(s->recipe.command, "rewind"))
        return sow_fail(
            SOW_E_ARGUMENT,
            "--rewind needs a trainer that writes its weights after {rewind-step} steps to {rewind}; --train has no {rewind}");
    return sow_recipe_check(&s->recipe);
}

/* --target-density P in n rounds: each keeps P^(1/n); the output layer is pruned at half the rate. */
static sow_status choose_rates(search *s) {
    sow_call *call = s->call;
    bool target = sow_given(call, "target-density");
    s->config.rounds = (int)(sow_given(call, "rounds") ? sow_int(call, "rounds") : target ? 1 : 13);
    if (!target) return ticket_prune_spec(call, sow_text(call, "rate"), &s->config.prune);
    double density = sow_real(call, "target-density"), rate = 1 - pow(density, 1.0 / s->config.rounds);
    bool has_output = false;
    if (sow_given(call, "rate")) return sow_fail(SOW_E_ARGUMENT, "give --rate or --target-density, not both");
    for (int64_t i = 0; i < sow_state_count(s->theta0); i++)
        has_output |= !strcmp(sow_state_entry(s->theta0, i)->group, "out");
    SOW_TRY(ticket_prune_spec(call, "0.5", &s->config.prune));
    sow_prune_rate *rates;
    SOW_TRY(SOW_NEW(s->arena, rates, 2));
    rates[0] = (sow_prune_rate){"out", rate / 2};
    rates[1] = (sow_prune_rate){NULL, rate};
    bool halve = has_output && !s->config.prune.global;
    s->config.prune.rates = rates + !halve;
    s->config.prune.count = 1 + halve;
    return SOW_OK;
}

static sow_status prepare(search *s) {
    sow_call *call = s->call;
    s->config.strategy = !strcmp(sow_text(call, "strategy"), "continued") ? SOW_LOTTERY_CONTINUED : SOW_LOTTERY_RESET;
    s->config.rewind = sow_int(call, "rewind");
    s->config.seed = (uint64_t)sow_int(call, "seed");
    s->config.same_order = !strcmp(sow_text(call, "order-seed"), "same");
    SOW_TRY(choose_trainer(s));
    if (s->steps > 0 && s->config.rewind >= s->steps)
        return sow_fail(SOW_E_ARGUMENT, "--rewind %lld: expected fewer than the %lld steps of a round",
                        (long long)s->config.rewind, (long long)s->steps);
    SOW_TRY(open_data(s));
    SOW_TRY(open_start(s));
    SOW_TRY(choose_rates(s));
    SOW_TRY(SOW_NEW(s->arena, s->scores, s->config.rounds + 1));
    /* wrong rates shall be found before anything is written */
    double *rates;
    SOW_TRY(sow_prune_rates(s->arena, s->theta0, &s->config.prune, &rates));
    for (int64_t i = 0; i < sow_state_count(s->theta0); i++)
        if (rates[i] > 0)
            sow_note("prunes %s by %g a round%s", sow_state_entry(s->theta0, i)->name, rates[i],
                     s->config.prune.global ? " (one threshold for all)" : "");
    return SOW_OK;
}

/* ---- the folder ---- */

/* The plan: what the passport of the ticket says, which is all that determines the values. */
static sow_status open_folder(search *s) {
    const char *plan;
    s->folder = sow_text(s->call, "out");
    SOW_TRY(sow_check_output(s->call, s->folder));
    SOW_TRY(passport(s, "ticket.safetensors", &plan));
    if (sow_flag(s->call, "force") && !sow_flag(s->call, "resume")) SOW_TRY(ticket_clear_folder(s->arena, s->folder));
    SOW_TRY(sow_experiment_open(s->call, s->folder, plan, &s->absolute, &s->store));
    return save(s, "theta0.safetensors", s->theta0);
}

static sow_status write_ticket(search *s, const sow_ticket *ticket) {
    const sow_mask *mask = &ticket->masks[s->config.rounds];
    ticket_report report = {.call = s->call,
                            .config = &s->config,
                            .recipe = &s->recipe,
                            .scores = s->scores,
                            .theta0 = s->theta0,
                            .ticket = ticket,
                            .folder = s->folder};
    SOW_TRY(save_mask(s, "ticket.mask.safetensors", mask));
    SOW_TRY(save(s, "ticket.safetensors", ticket->ticket));
    return ticket_write_report(&report);
}

static sow_status search_all(search *s) {
    sow_ticket ticket;
    SOW_TRY(prepare(s));
    SOW_TRY(open_folder(s));
    sow_status status = sow_lottery_find(s->arena, &s->config, s->theta0, train, s, &ticket);
    if (status == SOW_E_INTERRUPTED)
        sow_note("interrupted: the same command with --resume goes on with the round that was under way");
    SOW_TRY(status);
    status = write_ticket(s, &ticket);
    sow_ticket_free(&ticket);
    return status;
}

sow_status ticket_run_find(sow_call *call) {
    search s = {.call = call, .arena = call->arena};
    sow_status status = search_all(&s);
    if (s.store) sow_store_close(s.store);
    if (s.model) sow_model_free(s.model);
    else sow_state_free(s.theta0);
    sow_data_free(s.data);
    return status;
}
