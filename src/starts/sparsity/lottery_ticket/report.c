/* What a search leaves behind: rounds.csv, report.json, plots and the table on the screen. Files that are compared carry no times. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/sow.h"
#include "starts/sparsity/lottery_ticket/ticket.h"

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
        const sow_trial_score *s = &r->scores[k];
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
    const sow_trial_score *s = &r->scores[k];
    json_t *row = json_pack("{s:i, s:I, s:f, s:o, s:o, s:o, s:o}", "round", k, "kept",
                            (json_int_t)sow_mask_kept(&r->ticket->masks[k], r->theta0), "density", density(r, k),
                            "early_stop_step", s->stop < 0 ? json_null() : json_integer(s->stop),
                            "accuracy_at_early_stop", sow_json_real(s->at_stop), "final_accuracy",
                            sow_json_real(s->at_end), "train_accuracy", sow_json_real(s->training_at_end));
    if (!layers || !row) return row;
    json_object_set_new(row, "validation_loss", sow_json_real(s->least_loss));
    json_object_set_new(row, "validation_accuracy", sow_json_real(s->validation_at_stop));
    json_object_set_new(row, "seed",
                        json_integer((json_int_t)sow_lottery_seed(r->config->seed, k, r->config->same_order)));
    json_object_set_new(row, "layers", layers_of(&r->ticket->masks[k]));
    return row;
}

static sow_status rounds_of(const ticket_report *r, bool layers, json_t **out) {
    *out = json_array();
    sow_status status = SOW_OK;
    for (int k = 0; k <= r->config->rounds && status == SOW_OK; k++)
        status = sow_append_json(*out, round_row(r, k, layers));
    if (status != SOW_OK) json_decref(*out);
    return status;
}

static sow_status fill_report(const ticket_report *r, json_t *report) {
    json_t *part;
    SOW_TRY(sow_put_text(report, "sow", SOW_VERSION));
    SOW_TRY(sow_put_text(report, "method", "lottery-ticket"));
    SOW_TRY(sow_put_text(report, "action", "find"));
    SOW_TRY(sow_put_text(report, "trainer", r->recipe->command ? "external" : "built-in"));
    SOW_TRY(sow_put_count(report, "seed", (int64_t)r->config->seed));
    SOW_TRY(sow_put_count(report, "rewind", r->config->rewind));
    SOW_TRY(sow_recipe_json(r->recipe, &part));
    SOW_TRY(sow_put_json(report, "training", part));
    SOW_TRY(sow_put_count(report, "weights", sow_state_weights(r->theta0)));
    SOW_TRY(rounds_of(r, true, &part));
    SOW_TRY(sow_put_json(report, "rounds", part));
    SOW_TRY(sow_lottery_diagnostics(r->call->arena, r->ticket->start, r->ticket->dense,
                                    &r->ticket->masks[r->config->rounds], &part));
    return sow_put_json(report, "diagnostics", part);
}

static sow_status write_json(const ticket_report *r) {
    json_t *report = json_object();
    char *text;
    const char *path = sow_path_join(r->call->arena, r->folder, "report.json");
    sow_status status = report && path ? fill_report(r, report) : SOW_E_MEMORY;
    if (status == SOW_OK) status = sow_json_text(r->call->arena, report, SOW_JSON_PRETTY, &text);
    if (status == SOW_OK) status = sow_write_file(path, text, strlen(text));
    json_decref(report);
    return status;
}

/* ---- accuracy.svg, early_stop.svg ---- */

sow_curves sow_lottery_curves(const char *title, const char *y, const sow_curve *curves, int count, double dense) {
    return (sow_curves){.title = title,
                        .x = {.label = "weights left [%]", .log = true},
                        .y = {.label = y},
                        .curves = curves,
                        .count = count,
                        .end = "Where fewest weights are left",
                        .unit = "%",
                        .reference = "dense",
                        .reference_says = "the dense network",
                        .reference_value = dense};
}

static sow_status plot(const ticket_report *r, const char *name, const char *title, const char *label,
                       const double *percent, const double *values) {
    const char *path = sow_path_join(r->call->arena, r->folder, name);
    const sow_curve curve = {.name = "ticket", .count = r->config->rounds + 1, .x = percent, .y = values};
    const sow_curves curves = sow_lottery_curves(title, label, &curve, 1, values[0]);
    bool written;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_curves_write(r->call->arena, &curves, path, &written));
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

static sow_status put_winner(const ticket_report *r) {
    int winner = sparsest_winner(r);
    if (!isfinite(r->scores[0].validation_at_stop)) return SOW_OK;
    if (winner == 0)
        return sow_put_text(r->call->result, "winner", "no ticket reaches the dense network's validation accuracy");
    return sow_put_format(
        r->call->result, "winner",
        "round %d (%.1f%% of the weights) is the sparsest ticket with the dense network's validation accuracy", winner,
        100 * density(r, winner));
}

sow_status ticket_write_report(const ticket_report *r) {
    static const char *const files[] = {"theta0.safetensors", "ticket.safetensors", "ticket.mask.safetensors",
                                        "rounds.csv", "report.json"};
    json_t *rows, *result = r->call->result;
    SOW_TRY(write_csv(r));
    SOW_TRY(write_json(r));
    SOW_TRY(rounds_of(r, false, &rows));
    SOW_TRY(sow_put_json(result, "rounds", rows));
    SOW_TRY(put_winner(r));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) SOW_TRY(sow_wrote_in(r->call, r->folder, files[i]));
    SOW_TRY(write_plots(r));
    return sow_put_format(result, "next", "sow lottery-ticket compare --ticket %s%s", r->folder,
                          r->recipe->command ? " --train 'COMMAND'" : "");
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
