/* `sow lottery-ticket compare`: a ticket beside its controls and the dense network, over several seeds. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/safetensors.h"
#include "sow/stats.h"
#include "starts/sparsity/lottery_ticket/ticket.h"

enum { ARMS_MAX = 16, REPORT_MAX = 64 << 20 };

typedef struct comparison {
    sow_call *call;
    sow_arena *arena;
    ticket_files files;
    sow_state *start;     /* theta_0 */
    sow_mask mask, dense; /* of the round, and before the first pruning */
    const char *arms[ARMS_MAX];
    int arm_count, reference; /* reference: the arm "ticket", -1 if it is left out */
    uint64_t *seeds;
    int seed_count;
    sow_init init;
    const char *command, *folder, *absolute, *plan;
    bool external;
    int64_t steps;
    sow_input inputs[2]; /* the ticket, and the data if the built-in trainer reads them */
    int input_count;
    sow_store *store;
    sow_cell *cells; /* seed by seed, arm by arm */
    ticket_score *scores;
} comparison;

/* ---- arms ---- */

static sow_status parse_arms(comparison *c) {
    char *copy = sow_arena_copy(c->arena, sow_text(c->call, "arms")), *word;
    sow_control_kind kind;
    if (!copy) return SOW_E_MEMORY;
    c->reference = -1;
    while ((word = strsep(&copy, ","))) {
        if (c->arm_count == ARMS_MAX) return sow_fail(SOW_E_ARGUMENT, "--arms: more than %d", ARMS_MAX);
        if (!strcmp(word, "ticket")) c->reference = c->arm_count;
        else if (strcmp(word, "dense") && sow_control_parse(word, &kind) != SOW_OK)
            return sow_fail(
                SOW_E_ARGUMENT,
                "--arms: found '%s', expected dense, ticket, reinit, random-mask, resample, noise or prune-at-init",
                word);
        for (int a = 0; a < c->arm_count; a++)
            if (!strcmp(c->arms[a], word)) return sow_fail(SOW_E_ARGUMENT, "--arms: %s is given twice", word);
        c->arms[c->arm_count++] = word;
    }
    return SOW_OK;
}

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
    const char *arm = c->arms[cell->arm], *passport, *mask_passport, *name = sow_path_name(cell->folder);
    sow_state *start;
    sow_mask mask;
    const char *file = sow_arena_format(c->arena, "%s/start.safetensors", name),
               *mask_file = sow_arena_format(c->arena, "%s/start.mask.safetensors", name);
    const char *path = sow_path_join(c->arena, cell->folder, "start.safetensors"),
               *mask_path = sow_path_join(c->arena, cell->folder, "start.mask.safetensors");
    if (!file || !mask_file || !path || !mask_path) return SOW_E_MEMORY;
    SOW_TRY(sow_passport(c->call, file, c->inputs, c->input_count, &passport));
    SOW_TRY(sow_passport(c->call, mask_file, c->inputs, c->input_count, &mask_passport));
    SOW_TRY(make_start(c, arm, cell->seed, &start, &mask));
    sow_status status = sow_save_mask(mask_path, &mask, mask_passport);
    if (status == SOW_OK) status = sow_save_state(path, start, passport);
    sow_state_free(start);
    return status;
}

/* ---- cells ---- */

static const char *in_cell(const comparison *c, const sow_cell *cell, const char *name) {
    return sow_arena_format(c->arena, "%s/%s/%s", c->absolute, sow_path_name(cell->folder), name);
}

static sow_status command_of(void *user, sow_arena *arena, const sow_cell *cell, char **command) {
    comparison *c = user;
    sow_mark mark = sow_arena_mark(c->arena);
    sow_status status = write_start(c, cell);
    sow_arena_release(c->arena, mark);
    SOW_TRY(status);
    const sow_variable variables[] = {
        {"init", in_cell(c, cell, "start.safetensors")},
        {"mask", in_cell(c, cell, "start.mask.safetensors")},
        {"out", in_cell(c, cell, "final.safetensors")},
        {"seed", sow_arena_format(arena, "%llu", (unsigned long long)cell->seed)},
        {"dir", in_cell(c, cell, ".")},
        {"arm", c->arms[cell->arm]},
        {"round", sow_arena_format(arena, "%d", c->files.round)},
        {"threads", "1"},
        {"steps", sow_arena_format(arena, "%lld", (long long)c->steps)}, /* last: not offered when unknown */
    };
    int count = (int)(sizeof variables / sizeof *variables) - (c->steps == 0);
    for (int i = 0; i < count; i++)
        if (!variables[i].value) return SOW_E_MEMORY;
    return sow_expand(arena, c->command, variables, count, command);
}

static sow_status plan_cells(comparison *c) {
    int count = c->seed_count * c->arm_count;
    SOW_TRY(SOW_NEW(c->arena, c->cells, count));
    SOW_TRY(SOW_NEW(c->arena, c->scores, count));
    for (int i = 0; i < count; i++) {
        int arm = i % c->arm_count;
        uint64_t seed = c->seeds[i / c->arm_count];
        c->cells[i] = (sow_cell){
            .stage = "compare",
            .arm = arm,
            .seed = seed,
            .steps = c->steps,
            .folder = sow_arena_format(c->arena, "%s/%s-%llu", c->folder, c->arms[arm], (unsigned long long)seed)};
        if (!c->cells[i].folder) return SOW_E_MEMORY;
    }
    return SOW_OK;
}

static sow_status run_cells(comparison *c) {
    sow_runner runner = {.command = command_of,
                         .user = c,
                         .slots = (int)sow_int(c->call, "slots"),
                         .threads = 1,
                         .limits = ticket_limits(c->call),
                         .what = "comparing"};
    int count = c->seed_count * c->arm_count;
    sow_status status = sow_run_cells(c->store, &runner, c->cells, count);
    if (status == SOW_E_INTERRUPTED) sow_note("interrupted: the same command with --resume goes on");
    SOW_TRY(status);
    for (int i = 0; i < count; i++) {
        sow_record *records;
        int64_t n;
        SOW_TRY(sow_store_curve(c->store, c->arena, &c->cells[i], &records, &n));
        c->scores[i] = ticket_score_of(records, n);
    }
    return SOW_OK;
}

/* ---- how find trained ---- */

/* Options by name from the ticket's report. A report may come from a stranger: only known names are taken, and
 * values are quoted. */
static sow_status read_training(comparison *c, sow_variable **options, int *count) {
    char *text, *path = sow_path_join(c->arena, sow_text(c->call, "ticket"), "report.json");
    size_t size;
    json_t *report;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_read_file(c->arena, path, REPORT_MAX, &text, &size));
    SOW_TRY(sow_json_parse(path, text, size, (sow_json_limits){.depth = 16}, &report));
    const json_t *training = json_object_get(report, "training");
    const char *trainer = json_string_value(json_object_get(report, "trainer"));
    c->external = trainer && !strcmp(trainer, "external");
    int known = 0;
    while (ticket_training_options[known]) known++;
    sow_status status = SOW_NEW(c->arena, *options, known + 2);
    for (int i = 0; i < known && status == SOW_OK; i++) {
        const char *value = json_string_value(json_object_get(training, ticket_training_options[i]));
        if (!value) continue;
        value = sow_arena_copy(c->arena, value);
        (*options)[(*count)++] = (sow_variable){ticket_training_options[i], value};
        status = value ? SOW_OK : SOW_E_MEMORY;
    }
    json_decref(report);
    return status;
}

static void override(const sow_call *call, const char *name, sow_variable *options, int *count) {
    const char *value = sow_text(call, name);
    int at = ticket_find_option(options, *count, name);
    if (!value) return;
    if (at < 0) options[(*count)++] = (sow_variable){name, value};
    else options[at].value = value;
}

/* Opens the data once, so that what is missing is said before anything starts; the passport gets their sum. */
static sow_status check_data(comparison *c, const sow_variable *options, int count) {
    sow_data_options how;
    sow_data *data;
    const char *name = options[ticket_find_option(options, count, "data")].value;
    ticket_data_options_of(options, count, &how);
    sow_status status = sow_data_open(name, &how, &data);
    if (status != SOW_OK)
        return sow_text(c->call, "data") ? status
                                         : sow_fail_in(status, "the ticket's data (--data PATH says where they are)");
    sow_input *input = &c->inputs[c->input_count++];
    *input = (sow_input){.option = "data", .name = sow_arena_copy(c->arena, data->name)};
    memcpy(input->sha256, data->sha256, sizeof input->sha256);
    sow_data_free(data);
    return input->name ? SOW_OK : SOW_E_MEMORY;
}

static sow_status choose_trainer(comparison *c) {
    sow_variable *options;
    int count = 0;
    SOW_TRY(read_training(c, &options, &count));
    override(c->call, "data", options, &count);
    override(c->call, "steps", options, &count);
    int steps = ticket_find_option(options, count, "steps");
    if (steps >= 0) c->steps = strtoll(options[steps].value, NULL, 10);
    c->command = sow_text(c->call, "train");
    if (c->command) return SOW_OK;
    if (c->external)
        return sow_fail(
            SOW_E_ARGUMENT,
            "the ticket was trained by another program, and sow runs no command found in a file: give --train 'COMMAND'");
    if (ticket_find_option(options, count, "arch") < 0 || ticket_find_option(options, count, "data") < 0)
        return sow_fail(SOW_E_FORMAT,
                        "%s/report.json: no architecture and data under \"training\"; give --train 'COMMAND'",
                        sow_text(c->call, "ticket"));
    char *command;
    SOW_TRY(check_data(c, options, count));
    SOW_TRY(ticket_builtin_command(c->arena, options, count, &command));
    c->command = command;
    return SOW_OK;
}

/* ---- results ---- */

typedef double (*measure)(const ticket_score *score);
static double stop_of(const ticket_score *s) {
    return s->stop < 0 ? NAN : (double)s->stop;
}
static double at_stop_of(const ticket_score *s) {
    return s->at_stop;
}
static double at_end_of(const ticket_score *s) {
    return s->at_end;
}

/* Values of an arm over the seeds; false where one is missing. */
static bool values_of(const comparison *c, int arm, measure of, double *values) {
    for (int s = 0; s < c->seed_count; s++) {
        values[s] = of(&c->scores[s * c->arm_count + arm]);
        if (!isfinite(values[s])) return false;
    }
    return true;
}

static double density_of(const comparison *c, int arm) {
    const sow_mask *mask = strcmp(c->arms[arm], "dense") ? &c->mask : &c->dense;
    return (double)sow_mask_kept(mask, c->start) / (double)sow_state_weights(c->start);
}

static sow_status arm_row(const comparison *c, int arm, double *values, json_t *rows) {
    sow_summary end, stop;
    json_t *row = json_pack("{s:s, s:f}", "arm", c->arms[arm], "density", density_of(c, arm));
    if (values_of(c, arm, stop_of, values)) {
        SOW_TRY(sow_summarise(values, c->seed_count, &stop));
        json_object_set_new(row, "early_stop_step", json_real(stop.mean));
    }
    bool known = values_of(c, arm, at_stop_of, values);
    measure shown = known ? at_stop_of : at_end_of;
    if (values_of(c, arm, shown, values)) {
        SOW_TRY(sow_summarise(values, c->seed_count, &end));
        json_object_set_new(row, known ? "accuracy_at_early_stop" : "accuracy", json_real(end.mean));
        json_object_set_new(row, "least", json_real(end.minimum));
        json_object_set_new(row, "most", json_real(end.maximum));
        json_object_set_new(row, "sd", json_real(end.sd));
    }
    if (known && values_of(c, arm, at_end_of, values)) {
        SOW_TRY(sow_summarise(values, c->seed_count, &end));
        json_object_set_new(row, "final_accuracy", json_real(end.mean));
    }
    return json_array_append_new(rows, row) ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

/* Ticket minus another arm, seed by seed. */
static sow_status difference_row(const comparison *c, int arm, const char *name, measure of, double *ticket,
                                 double *other, json_t *rows) {
    int wins = 0;
    double low, high;
    sow_summary d;
    if (!values_of(c, c->reference, of, ticket) || !values_of(c, arm, of, other)) return SOW_OK;
    for (int s = 0; s < c->seed_count; s++) {
        wins += of == stop_of ? ticket[s] < other[s] : ticket[s] > other[s];
        ticket[s] -= other[s];
    }
    SOW_TRY(sow_summarise(ticket, c->seed_count, &d));
    json_t *row = json_pack("{s:s, s:s, s:f}", "ticket_minus", c->arms[arm], "measure", name, "difference", d.mean);
    if (c->seed_count > 1) {
        SOW_TRY(sow_t_interval(ticket, c->seed_count, 0.05, &low, &high));
        json_object_set_new(row, "low", json_real(low));
        json_object_set_new(row, "high", json_real(high));
    }
    json_object_set_new(row, "ticket_better", json_sprintf("%d of %d", wins, c->seed_count));
    return json_array_append_new(rows, row) ? sow_fail(SOW_E_MEMORY, "out of memory") : SOW_OK;
}

static sow_status fill_result(comparison *c, json_t *result) {
    json_t *arms = json_array(), *differences = json_array();
    double *a, *b;
    SOW_TRY(SOW_NEW(c->arena, a, c->seed_count));
    SOW_TRY(SOW_NEW(c->arena, b, c->seed_count));
    SOW_TRY(ticket_set(result, "round", json_integer(c->files.round)));
    SOW_TRY(ticket_set(result, "seeds", json_integer(c->seed_count)));
    SOW_TRY(ticket_set(result, "arms", arms));
    SOW_TRY(ticket_set(result, "differences", differences));
    for (int arm = 0; arm < c->arm_count; arm++) SOW_TRY(arm_row(c, arm, a, arms));
    for (int arm = 0; arm < c->arm_count && c->reference >= 0; arm++) {
        if (arm == c->reference) continue;
        bool stops = values_of(c, arm, at_stop_of, a);
        SOW_TRY(difference_row(c, arm, stops ? "accuracy at early stop" : "accuracy", stops ? at_stop_of : at_end_of, a,
                               b, differences));
        SOW_TRY(difference_row(c, arm, "early stop step", stop_of, a, b, differences));
    }
    return ticket_set(result, "intervals",
                      json_string("95 %, paired t over seeds; theta_0 and mask are the same for all seeds"));
}

static sow_status write_csv(const comparison *c) {
    const char *path = sow_path_join(c->arena, c->folder, "compare.csv");
    sow_writer *w;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_writer_open(path, &w));
    sow_writer_printf(w, "arm,seed,early_stop_step,accuracy_at_early_stop,final_accuracy\n");
    for (int i = 0; i < c->arm_count * c->seed_count; i++) {
        const double values[] = {stop_of(&c->scores[i]), c->scores[i].at_stop, c->scores[i].at_end};
        char text[SOW_REAL_TEXT];
        sow_writer_printf(w, "%s,%llu", c->arms[c->cells[i].arm], (unsigned long long)c->cells[i].seed);
        for (int k = 0; k < 3; k++)
            sow_writer_printf(w, ",%s", isfinite(values[k]) ? sow_real_text(values[k], text) : "");
        sow_writer_printf(w, "\n");
    }
    SOW_TRY(sow_writer_commit(w));
    return sow_wrote(c->call, path);
}

static sow_status report(comparison *c) {
    const char *path = sow_path_join(c->arena, c->folder, "compare.json");
    char *text;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(fill_result(c, c->call->result));
    SOW_TRY(sow_json_text(c->arena, c->call->result, SOW_JSON_PRETTY, &text));
    SOW_TRY(sow_write_file(path, text, strlen(text)));
    SOW_TRY(write_csv(c));
    return sow_wrote(c->call, path);
}

/* ---- beginning ---- */

static sow_status open_ticket(comparison *c) {
    ticket_files first;
    const char *folder = sow_text(c->call, "ticket");
    sow_scheme scheme;
    SOW_TRY(sow_scheme_parse(sow_text(c->call, "scheme"), &scheme));
    c->init = sow_init_defaults(scheme);
    SOW_TRY(parse_arms(c));
    SOW_TRY(sow_seeds(c->call, "seeds", &c->seeds, &c->seed_count));
    SOW_TRY(ticket_open(c->arena, folder, sow_text(c->call, "round") ? (int)sow_int(c->call, "round") : -1, &c->files));
    SOW_TRY(ticket_open(c->arena, folder, 0, &first));
    SOW_TRY(sow_load_mask(c->arena, c->files.mask, &c->mask));
    SOW_TRY(sow_load_mask(c->arena, first.mask, &c->dense));
    SOW_TRY(sow_load_state(c->files.start, &c->start));
    c->inputs[c->input_count++] = c->files.input;
    return choose_trainer(c);
}

static sow_status open_folder(comparison *c) {
    char resolved[PATH_MAX];
    c->folder = sow_text(c->call, "out");
    if (!c->folder) c->folder = sow_path_join(c->arena, sow_text(c->call, "ticket"), "compare");
    if (!c->folder) return SOW_E_MEMORY;
    SOW_TRY(sow_check_output(c->call, c->folder));
    SOW_TRY(sow_passport(c->call, "compare.json", c->inputs, c->input_count, &c->plan));
    if (sow_flag(c->call, "force") && !sow_flag(c->call, "resume")) SOW_TRY(ticket_clear_folder(c->arena, c->folder));
    SOW_TRY(sow_make_folder(c->folder));
    if (!realpath(c->folder, resolved)) return sow_fail(SOW_E_IO, "%s: cannot be resolved", c->folder);
    c->absolute = sow_arena_copy(c->arena, resolved);
    if (!c->absolute) return SOW_E_MEMORY;
    return sow_store_open(c->folder, c->plan, &c->store);
}

static sow_status compare_all(comparison *c) {
    SOW_TRY(open_ticket(c));
    SOW_TRY(open_folder(c));
    SOW_TRY(plan_cells(c));
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
