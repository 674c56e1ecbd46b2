/* `sow lottery-ticket compare`: a ticket beside its controls and the dense network, over several seeds. */
#include <string.h>

#include "formats/json.h"
#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/safetensors.h"
#include "starts/sparsity/lottery_ticket/ticket.h"

enum { REPORT_MAX = 64 << 20 };

typedef struct comparison {
    sow_call *call;
    sow_arena *arena;
    ticket_files files;
    sow_state *start;     /* theta_0 */
    sow_mask mask, dense; /* of the round, and before the first pruning */
    sow_trials trials;    /* the reference: "ticket", unless it is left out */
    sow_init init;
    const char *folder, *absolute, *plan;
    sow_recipe recipe;
    sow_input inputs[2]; /* the ticket, and the data if the built-in trainer reads them */
    int input_count;
    sow_store *store;
} comparison;

/* ---- starts ---- */

/* The start of one arm and seed, and its mask. Only controls draw from the seed; theta_0 is the ticket's. */
static sow_status make_start(const comparison *c, const char *arm, uint64_t seed, sow_state **start, sow_mask *mask) {
    sow_control control = {.c = sow_real(c->call, "c"), .init = c->init, .seed = seed};
    bool own = !strcmp(arm, "ticket") || !strcmp(arm, "dense");
    if (!own) {
        SOW_TRY(sow_control_parse(arm, &control.kind));
        return sow_ticket_control(c->arena, &control, c->start, &c->mask, start, mask);
    }
    SOW_TRY(sow_mask_copy(c->arena, !strcmp(arm, "dense") ? &c->dense : &c->mask, mask));
    SOW_TRY(sow_state_clone(c->start, false, start));
    sow_status status = sow_mask_bind(mask, *start);
    if (status != SOW_OK) sow_state_free(*start);
    return status;
}

static sow_status write_start(const comparison *c, const sow_cell *cell) {
    const char *file = sow_arena_format(c->arena, "%s/start.safetensors", sow_path_name(cell->folder)),
               *path = sow_path_join(c->arena, cell->folder, "start.safetensors");
    sow_state *start;
    sow_mask mask;
    if (!file || !path) return SOW_E_MEMORY;
    SOW_TRY(make_start(c, c->trials.arms[cell->arm], cell->seed, &start, &mask));
    sow_status status = sow_write_start(c->call, path, file, c->inputs, c->input_count, start, &mask);
    sow_state_free(start);
    return status;
}

/* ---- cells ---- */

static sow_status command_of(void *user, sow_arena *arena, const sow_cell *cell, char **command) {
    comparison *c = user;
    sow_trial trial = {.arm = c->trials.arms[cell->arm], .round = c->files.round, .seed = cell->seed, .threads = 1};
    sow_mark mark = sow_arena_mark(c->arena);
    sow_status status = write_start(c, cell);
    sow_arena_release(c->arena, mark);
    SOW_TRY(status);
    const char *folder = sow_path_join(arena, c->absolute, sow_path_name(cell->folder));
    if (!folder) return SOW_E_MEMORY;
    SOW_TRY(sow_trial_in(arena, folder, &trial));
    return sow_recipe_command(arena, &c->recipe, &trial, command);
}

static sow_status run_cells(comparison *c) {
    const sow_runner runner = {.command = command_of,
                               .user = c,
                               .slots = (int)sow_int(c->call, "slots"),
                               .threads = 1,
                               .limits = sow_trainer_limits(c->call),
                               .what = "comparing"};
    SOW_TRY(sow_trials_plan(c->arena, &c->trials, c->folder, "compare", sow_recipe_steps(&c->recipe)));
    sow_status status = sow_trials_run(c->arena, &c->trials, c->store, &runner);
    if (status == SOW_E_INTERRUPTED) sow_note("interrupted: the same command with --resume goes on");
    return status;
}

/* ---- how find trained ---- */

/* The recipe in the ticket's report. */
static sow_status read_training(comparison *c, bool *external) {
    char *text, *path = sow_path_join(c->arena, sow_text(c->call, "ticket"), "report.json");
    size_t size;
    json_t *report;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_read_file(c->arena, path, REPORT_MAX, &text, &size));
    SOW_TRY(sow_json_parse(path, text, size, (sow_json_limits){.depth = 16}, &report));
    const char *trainer = json_string_value(json_object_get(report, "trainer"));
    *external = trainer && !strcmp(trainer, "external");
    sow_status status = sow_recipe_read(c->arena, json_object_get(report, "training"), &c->recipe);
    json_decref(report);
    return status;
}

/* Opens the data once, so that what is missing is said before anything starts; the passport gets their sum. */
static sow_status check_data(comparison *c) {
    sow_data *data;
    sow_status status = sow_recipe_data(&c->recipe, &data);
    if (status != SOW_OK)
        return sow_text(c->call, "data") ? status
                                         : sow_fail_in(status, "the ticket's data (--data PATH says where they are)");
    const char *name = sow_arena_copy(c->arena, data->name);
    c->inputs[c->input_count++] = sow_input_of("data", name, data->sha256);
    sow_data_free(data);
    return name ? SOW_OK : SOW_E_MEMORY;
}

static sow_status choose_trainer(comparison *c) {
    const char *const own[] = {"data", "steps"};
    bool external;
    c->recipe.command = sow_text(c->call, "train");
    SOW_TRY(read_training(c, &external));
    for (int i = 0; i < 2; i++)
        if (sow_text(c->call, own[i])) SOW_TRY(sow_recipe_set(&c->recipe, own[i], sow_text(c->call, own[i])));
    if (c->recipe.command) return SOW_OK;
    if (external)
        return sow_fail(
            SOW_E_ARGUMENT,
            "the ticket was trained by another program, and sow runs no command found in a file: give --train 'COMMAND'");
    if (!sow_recipe_option(&c->recipe, "arch") || !sow_recipe_option(&c->recipe, "data"))
        return sow_fail(SOW_E_FORMAT,
                        "%s/report.json: no architecture and data under \"training\"; give --train 'COMMAND'",
                        sow_text(c->call, "ticket"));
    return check_data(c);
}

/* ---- results ---- */

static double density_of(const comparison *c, int arm) {
    const sow_mask *mask = strcmp(c->trials.arms[arm], "dense") ? &c->mask : &c->dense;
    return (double)sow_mask_kept(mask, c->start) / (double)sow_state_weights(c->start);
}

static sow_status fill_result(comparison *c) {
    json_t *arms = json_array(), *differences = json_array(), *result = c->call->result;
    SOW_TRY(sow_put_count(result, "round", c->files.round));
    SOW_TRY(sow_put_count(result, "seeds", c->trials.seed_count));
    SOW_TRY(sow_put_json(result, "arms", arms));
    SOW_TRY(sow_put_json(result, "differences", differences));
    for (int arm = 0; arm < c->trials.arm_count; arm++)
        SOW_TRY(
            sow_append_json(arms, json_pack("{s:s, s:f}", "arm", c->trials.arms[arm], "density", density_of(c, arm))));
    SOW_TRY(sow_trials_rows(c->arena, &c->trials, arms, differences));
    return sow_put_text(result, "intervals", "95 %, paired t over seeds; theta_0 and mask are the same for all seeds");
}

static sow_status report(comparison *c) {
    const char *path = sow_path_join(c->arena, c->folder, "compare.json"),
               *table = sow_path_join(c->arena, c->folder, "compare.csv");
    char *text;
    if (!path || !table) return SOW_E_MEMORY;
    SOW_TRY(fill_result(c));
    SOW_TRY(sow_json_text(c->arena, c->call->result, SOW_JSON_PRETTY, &text));
    SOW_TRY(sow_write_file(path, text, strlen(text)));
    SOW_TRY(sow_trials_write(&c->trials, table));
    SOW_TRY(sow_wrote(c->call, table));
    return sow_wrote(c->call, path);
}

/* ---- beginning ---- */

static sow_status open_ticket(comparison *c) {
    ticket_files first;
    static const char *const known_arms[] = {"dense",    "ticket", "reinit",        "random-mask",
                                             "resample", "noise",  "prune-at-init", NULL};
    const char *folder = sow_text(c->call, "ticket");
    uint64_t *seeds;
    sow_scheme scheme;
    SOW_TRY(sow_scheme_parse(sow_text(c->call, "scheme"), &scheme));
    c->init = sow_init_defaults(scheme);
    SOW_TRY(sow_trials_parse(c->arena, sow_text(c->call, "arms"), known_arms, &c->trials));
    c->trials.reference = sow_trials_find(&c->trials, "ticket");
    SOW_TRY(sow_seeds(c->call, "seeds", &seeds, &c->trials.seed_count));
    c->trials.seeds = seeds;
    SOW_TRY(ticket_open(c->arena, folder, sow_text(c->call, "round") ? (int)sow_int(c->call, "round") : -1, &c->files));
    SOW_TRY(ticket_open(c->arena, folder, 0, &first));
    SOW_TRY(sow_load_mask(c->arena, c->files.mask, &c->mask));
    SOW_TRY(sow_load_mask(c->arena, first.mask, &c->dense));
    SOW_TRY(sow_load_state(c->files.start, &c->start));
    c->inputs[c->input_count++] = c->files.input;
    return choose_trainer(c);
}

static sow_status open_folder(comparison *c) {
    c->folder = sow_text(c->call, "out");
    if (!c->folder) c->folder = sow_path_join(c->arena, sow_text(c->call, "ticket"), "compare");
    if (!c->folder) return SOW_E_MEMORY;
    SOW_TRY(sow_check_output(c->call, c->folder));
    SOW_TRY(sow_passport(c->call, "compare.json", c->inputs, c->input_count, &c->plan));
    if (sow_flag(c->call, "force") && !sow_flag(c->call, "resume")) SOW_TRY(ticket_clear_folder(c->arena, c->folder));
    return sow_experiment_open(c->call, c->folder, c->plan, &c->absolute, &c->store);
}

static sow_status compare_all(comparison *c) {
    SOW_TRY(open_ticket(c));
    SOW_TRY(open_folder(c));
    SOW_TRY(run_cells(c));
    return report(c);
}

sow_status ticket_run_compare(sow_call *call) {
    comparison c = {.call = call, .arena = call->arena};
    sow_status status = compare_all(&c);
    if (c.store) sow_store_close(c.store);
    sow_state_free(c.start);
    return status;
}
