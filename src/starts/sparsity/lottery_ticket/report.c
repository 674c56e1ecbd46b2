/* What a search leaves behind: rounds.csv, report.json, plots and the table on the screen. Files that are compared carry no times. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/sow.h"
#include "starts/sparsity/lottery_ticket/ticket.h"

static sow_status no_memory(void) {
    return sow_fail(SOW_E_MEMORY, "out of memory, or text that is not UTF-8");
}

static double density(const ticket_report *r, int round) {
    return (double)sow_mask_kept(&r->ticket->masks[round], r->theta0) / (double)sow_state_weights(r->theta0);
}

/* ---- rounds.csv ---- */

static void put_number(sow_writer *w, double x) {
    char text[SOW_REAL_TEXT];
    sow_writer_printf(w, ",%s", isfinite(x) ? sow_real_text(x, text) : "");
}

static sow_status write_csv(const ticket_report *r) {
    const char *path = sow_path_join(r->call->arena, r->folder, "rounds.csv");
    const sow_mask *first = &r->ticket->masks[0];
    sow_writer *w;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_writer_open(path, &w));
    sow_writer_printf(
        w, "round,kept,weights,density,early_stop_step,accuracy_at_early_stop,final_accuracy,train_accuracy");
    for (int64_t t = 0; t < first->tensors; t++) sow_writer_printf(w, ",%s", first->bits[t].name);
    for (int k = 0; k <= r->config->rounds; k++) {
        const sow_mask *mask = &r->ticket->masks[k];
        const ticket_score *s = &r->scores[k];
        sow_writer_printf(w, "\n%d,%lld,%lld", k, (long long)sow_mask_kept(mask, r->theta0),
                          (long long)sow_state_weights(r->theta0));
        put_number(w, density(r, k));
        put_number(w, s->stop < 0 ? NAN : (double)s->stop);
        put_number(w, s->at_stop);
        put_number(w, s->at_end);
        put_number(w, s->training_at_end);
        for (int64_t t = 0; t < mask->tensors; t++)
            put_number(w, (double)sow_bits_kept(&mask->bits[t]) / (double)mask->bits[t].count);
    }
    sow_writer_printf(w, "\n");
    return sow_writer_commit(w);
}

/* ---- report.json ---- */

static json_t *layers_of(const sow_mask *mask) {
    json_t *layers = json_array();
    for (int64_t t = 0; t < mask->tensors; t++)
        json_array_append_new(layers, json_pack("{s:s, s:I, s:I, s:f}", "name", mask->bits[t].name, "kept",
                                                (json_int_t)sow_bits_kept(&mask->bits[t]), "of",
                                                (json_int_t)mask->bits[t].count, "density",
                                                (double)sow_bits_kept(&mask->bits[t]) / (double)mask->bits[t].count));
    return layers;
}

/* One round; with `layers` for the file, without for the screen. */
static json_t *round_row(const ticket_report *r, int k, bool layers) {
    const ticket_score *s = &r->scores[k];
    json_t *row = json_pack("{s:i, s:I, s:f, s:o, s:o, s:o, s:o}", "round", k, "kept",
                            (json_int_t)sow_mask_kept(&r->ticket->masks[k], r->theta0), "density", density(r, k),
                            "early_stop_step", s->stop < 0 ? json_null() : json_integer(s->stop),
                            "accuracy_at_early_stop", ticket_number(s->at_stop), "final_accuracy",
                            ticket_number(s->at_end), "train_accuracy", ticket_number(s->training_at_end));
    if (!layers || !row) return row;
    json_object_set_new(row, "validation_loss", ticket_number(s->least_loss));
    json_object_set_new(row, "validation_accuracy", ticket_number(s->validation_at_stop));
    json_object_set_new(row, "seed",
                        json_integer((json_int_t)sow_lottery_seed(r->config->seed, k, r->config->same_order)));
    json_object_set_new(row, "layers", layers_of(&r->ticket->masks[k]));
    return row;
}

static sow_status rounds_of(const ticket_report *r, bool layers, json_t **out) {
    *out = json_array();
    for (int k = 0; k <= r->config->rounds; k++)
        if (json_array_append_new(*out, round_row(r, k, layers))) {
            json_decref(*out);
            return no_memory();
        }
    return SOW_OK;
}

/* The training's options by name, so that a comparison can train in the same way. Never a command. */
static sow_status training_of(const ticket_report *r, json_t **out) {
    *out = json_object();
    for (const char *const *name = ticket_training_options; *name; name++) {
        const char *value = sow_text(r->call, *name);
        if (value && strchr(value, '/')) value = sow_path_name(value);
        if (value && json_object_set_new(*out, *name, json_string(value))) return no_memory();
    }
    return SOW_OK;
}

static sow_status fill_report(const ticket_report *r, json_t *report) {
    json_t *part;
    SOW_TRY(ticket_set(report, "sow", json_string(SOW_VERSION)));
    SOW_TRY(ticket_set(report, "method", json_string("lottery-ticket")));
    SOW_TRY(ticket_set(report, "action", json_string("find")));
    SOW_TRY(ticket_set(report, "trainer", json_string(r->external ? "external" : "built-in")));
    SOW_TRY(ticket_set(report, "seed", json_integer((json_int_t)r->config->seed)));
    SOW_TRY(ticket_set(report, "rewind", json_integer(r->config->rewind)));
    SOW_TRY(training_of(r, &part));
    SOW_TRY(ticket_set(report, "training", part));
    SOW_TRY(ticket_set(report, "weights", json_integer(sow_state_weights(r->theta0))));
    SOW_TRY(rounds_of(r, true, &part));
    SOW_TRY(ticket_set(report, "rounds", part));
    SOW_TRY(sow_lottery_diagnostics(r->call->arena, r->ticket->start, r->ticket->dense,
                                    &r->ticket->masks[r->config->rounds], &part));
    return ticket_set(report, "diagnostics", part);
}

static sow_status write_json(const ticket_report *r) {
    json_t *report = json_object();
    char *text;
    const char *path = sow_path_join(r->call->arena, r->folder, "report.json");
    sow_status status = report && path ? fill_report(r, report) : no_memory();
    if (status == SOW_OK) status = sow_json_text(r->call->arena, report, SOW_JSON_PRETTY, &text);
    if (status == SOW_OK) status = sow_write_file(path, text, strlen(text));
    json_decref(report);
    return status;
}

/* ---- accuracy.svg, early_stop.svg ---- */

static sow_status plot(const ticket_report *r, const char *name, const char *title, const char *label,
                       const double *percent, const double *values) {
    const char *path = sow_path_join(r->call->arena, r->folder, name);
    const ticket_curve curve = {.name = "ticket", .count = r->config->rounds + 1, .percent = percent, .value = values};
    const ticket_plot p = {.title = title, .label = label, .curves = &curve, .count = 1, .dense = values[0]};
    bool written;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(ticket_write_plot(r->call->arena, &p, path, &written));
    return written ? sow_wrote(r->call, path) : SOW_OK;
}

static sow_status write_plots(const ticket_report *r) {
    int rounds = r->config->rounds;
    double *percent, *accuracy, *stop;
    SOW_TRY(SOW_NEW(r->call->arena, percent, rounds + 1));
    SOW_TRY(SOW_NEW(r->call->arena, accuracy, rounds + 1));
    SOW_TRY(SOW_NEW(r->call->arena, stop, rounds + 1));
    bool stops = false;
    for (int k = 0; k <= rounds; k++) stops |= isfinite(r->scores[k].at_stop);
    for (int k = 0; k <= rounds; k++) {
        percent[k] = 100 * density(r, k);
        accuracy[k] = stops ? r->scores[k].at_stop : r->scores[k].at_end;
        stop[k] = r->scores[k].stop < 0 ? NAN : (double)r->scores[k].stop;
    }
    SOW_TRY(plot(r, "accuracy.svg", stops ? "Accuracy at the early stop" : "Accuracy at the end", "test accuracy",
                 percent, accuracy));
    return plot(r, "early_stop.svg", "When validation loss is least", "early stop [steps]", percent, stop);
}

/* ---- the screen ---- */

/* The sparsest round whose validation accuracy is not below the dense network's: a ticket chosen without test data. */
static int sparsest_winner(const ticket_report *r) {
    int winner = 0;
    for (int k = 1; k <= r->config->rounds; k++)
        if (r->scores[k].validation_at_stop >= r->scores[0].validation_at_stop) winner = k;
    return winner;
}

sow_status ticket_write_report(const ticket_report *r) {
    static const char *const files[] = {"theta0.safetensors", "ticket.safetensors", "ticket.mask.safetensors",
                                        "rounds.csv", "report.json"};
    json_t *rows, *result = r->call->result;
    sow_arena *arena = r->call->arena;
    SOW_TRY(write_csv(r));
    SOW_TRY(write_json(r));
    SOW_TRY(rounds_of(r, false, &rows));
    SOW_TRY(ticket_set(result, "rounds", rows));
    int winner = sparsest_winner(r);
    if (isfinite(r->scores[0].validation_at_stop)) {
        const char *says =
            winner == 0
                ? "no ticket reaches the dense network's validation accuracy"
                : sow_arena_format(
                      arena,
                      "round %d (%.1f%% of the weights) is the sparsest ticket with the dense network's validation accuracy",
                      winner, 100 * density(r, winner));
        if (!says) return SOW_E_MEMORY;
        SOW_TRY(ticket_set(result, "winner", json_string(says)));
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *path = sow_path_join(arena, r->folder, files[i]);
        if (!path) return SOW_E_MEMORY;
        SOW_TRY(sow_wrote(r->call, path));
    }
    SOW_TRY(write_plots(r));
    const char *next = sow_arena_format(arena, "sow lottery-ticket compare --ticket %s%s", r->folder,
                                        r->external ? " --train 'COMMAND'" : "");
    return next ? ticket_set(result, "next", json_string(next)) : SOW_E_MEMORY;
}

/* ---- starting over ---- */

static bool starts(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

/* --force takes away what an earlier search left, and nothing else. */
sow_status ticket_clear_folder(sow_arena *arena, const char *folder) {
    static const char *const in_rounds[] = {"start.safetensors", "start.mask.safetensors", "final.safetensors",
                                            "rewind.safetensors", "log"};
    char **names;
    int64_t count;
    if (!sow_is_folder(folder)) return SOW_OK;
    SOW_TRY(sow_list_folder(arena, folder, 100000, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        char *path = sow_path_join(arena, folder, names[i]);
        if (!path) return SOW_E_MEMORY;
        bool ours = starts(names[i], "mask_") || starts(names[i], "theta") || starts(names[i], "ticket.") ||
                    starts(names[i], "sow.db") || !strcmp(names[i], "report.json") || !strcmp(names[i], "rounds.csv") ||
                    !strcmp(names[i], "accuracy.svg") || !strcmp(names[i], "early_stop.svg");
        if (ours) unlink(path);
        for (size_t k = 0; starts(names[i], "round_") && k < sizeof in_rounds / sizeof *in_rounds; k++) {
            char *inside = sow_path_join(arena, path, in_rounds[k]);
            if (!inside) return SOW_E_MEMORY;
            unlink(inside);
        }
        if (starts(names[i], "round_")) rmdir(path);
    }
    return SOW_OK;
}
