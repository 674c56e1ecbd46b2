/* sow lora-fair run: every client of every round a cell of its own, so that slots and MPI ranks are clients. */
#include <math.h>
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/report.h"
#include "sow/safetensors.h"
#include "sow/threads.h"
#include "sow/trainer.h"
#include "starts/adapters/lora_fair/rounds.h"

const sow_option fair_run_options[] = {
    FAIR_TEXT_OPTIONS,
    FAIR_WORLD_OPTIONS,
    FAIR_SOLVER_OPTIONS,
    {"slots", 0, SOW_TYPE_INT, "0", 0, 1024, NULL, NULL,
     "clients that train side by side, in each process of mpirun; 0: one a core, with --model one after the other",
     SOW_OPTION_NO_PASSPORT},
    SOW_OPTION_OUTPUT("folder for the adapter, the base, every round's adapters, a table and plots of the rounds"),
    SOW_OPTION_FORCE,
    SOW_OPTION_RESUME,
    {0},
};

const sow_option fair_client_options[] = {
    FAIR_TEXT_OPTIONS,
    FAIR_WORLD_OPTIONS,
    FAIR_SOLVER_OPTIONS,
    SOW_OPTION_INT("round", "0", 0, 1e9, "of which round, from 0"),
    SOW_OPTION_INT("client", "0", 0, FAIR_CLIENTS_MAX, "which one, from 0"),
    SOW_OPTION_PATH("base", NULL, "weights of the base in this round"),
    SOW_OPTION_PATH("adapter", NULL, "what the client was sent"),
    SOW_OPTION_OUTPUT("folder for what it sends back"),
    SOW_OPTION_FORCE,
    {0},
};

/* Texts with --model, images without. */
static sow_status open_world(sow_call *call, const char *base, fair_world *w) {
    if (sow_text(call, "model")) return fair_texts_open(call, w);
    SOW_TRY(fair_without_texts(call));
    return fair_world_open(call, base, w);
}

/* ---- one client ---- */

static sow_status train_client(sow_call *call, fair_world *w, sow_adapter *adapter) {
    int64_t round = sow_int(call, "round"), client = sow_int(call, "client");
    sow_data data;
    SOW_TRY(sow_adapter_bind(adapter, &w->sites));
    for (int64_t i = 0; w->freeze_a && i < adapter->count; i++) adapter->layers[i].a->trainable = false;
    if (!w->base.lm) SOW_TRY(fair_client_data(w, client, &data));
    SOW_TRY(fair_train(w, adapter, &data, round, client, w->local_steps, 1));
    SOW_TRY(sow_make_folder(sow_text(call, "out")));
    return sow_adapter_write(adapter, sow_text(call, "out"), NULL, NULL);
}

sow_status fair_client(sow_call *call) {
    fair_world w;
    sow_adapter *adapter;
    if (!sow_text(call, "adapter") || (!sow_text(call, "base") && !sow_text(call, "model")))
        return sow_fail(SOW_E_ARGUMENT, "--base or --model, and --adapter are missing");
    SOW_TRY(open_world(call, sow_text(call, "base"), &w));
    sow_status status = sow_int(call, "client") < w.clients
                            ? sow_adapter_read(sow_text(call, "adapter"), true, &adapter)
                            : sow_fail(SOW_E_ARGUMENT, "--client %lld of %lld", (long long)sow_int(call, "client"),
                                       (long long)w.clients);
    if (status == SOW_OK) {
        status = train_client(call, &w, adapter);
        sow_adapter_free(adapter);
    }
    fair_world_close(&w);
    return status;
}

/* ---- the server ---- */

typedef struct server {
    sow_call *call;
    fair_world world;
    sow_fair_config config;
    const char *folder, *absolute, *program;
    sow_store *store;
    int slots, threads;   /* of clients, and of each */
    int64_t count, round; /* of rounds; the one at work */
    fair_round *rounds;
    double *score; /* [test_count], of the last one */
    sow_adapter *global, *merged;
    sow_adapter **trained;
    sow_fair_layer *layers; /* of the last merge */
} server;

/* What a score is. */
static const char *scored(const server *s) {
    return s->world.base.lm ? "loss" : "accuracy";
}

static char *round_path(sow_arena *arena, const char *root, int64_t round, const char *name) {
    return sow_arena_format(arena, "%s/rounds/%03lld%s%s", root, (long long)round, *name ? "/" : "", name);
}

static char *client_path(const server *s, sow_arena *arena, const char *root, int64_t client) {
    char name[40];
    snprintf(name, sizeof name, "client-%03lld", (long long)client);
    return round_path(arena, root, s->round, name);
}

/* " --rank={rank}": what the user chose, for the clients; the texts behind. */
static sow_status add_options(const server *s, sow_arena *arena, char **line, sow_variable *variables, int *count) {
    const sow_call *call = s->call;
    for (int i = 0; fair_run_options[i].name; i++) {
        const sow_option *option = &fair_run_options[i];
        bool valued = option->type != SOW_TYPE_OUTPUT && option->type != SOW_TYPE_FLAG && option->type != SOW_TYPE_LIST;
        const char *text = valued ? sow_text(call, option->name) : NULL;
        if (!text || (option->bits & SOW_OPTION_NO_PASSPORT)) continue;
        variables[*count] = (sow_variable){option->name, text};
        *line = sow_arena_format(arena, "%s --%s={%s}", *line, option->name, option->name);
        (*count)++;
        if (!*line) return SOW_E_MEMORY;
    }
    for (const char *const *texts = sow_list(call, "texts"); *texts; texts++) {
        const char *name = sow_arena_format(arena, "texts%d", *count);
        *line = sow_arena_format(arena, "%s {%s}", *line, name);
        if (!*line || !name) return SOW_E_MEMORY;
        variables[(*count)++] = (sow_variable){name, *texts};
    }
    return SOW_OK;
}

static sow_status command_of(void *user, sow_arena *arena, const sow_cell *cell, char **command) {
    const server *s = user;
    sow_variable *variables;
    int count = 0;
    const char *images = s->world.base.lm ? "" : " --base={base}";
    char *line = sow_arena_format(arena,
                                  "exec {program} lora-fair client --round=%lld --client=%d%s "
                                  "--adapter={sent} --out={back} --force --quiet --threads=%d",
                                  (long long)s->round, cell->arm, images, s->threads);
    SOW_TRY(SOW_NEW(arena, variables, 64 + s->world.clients));
    variables[count++] = (sow_variable){"program", s->program};
    variables[count++] = (sow_variable){"base", round_path(arena, s->absolute, s->round, "base.safetensors")};
    variables[count++] = (sow_variable){"sent", round_path(arena, s->absolute, s->round, "")};
    variables[count++] = (sow_variable){"back", client_path(s, arena, s->absolute, cell->arm)};
    for (int i = 0; i < count; i++)
        if (!variables[i].value) return SOW_E_MEMORY;
    if (!line) return SOW_E_MEMORY;
    SOW_TRY(add_options(s, arena, &line, variables, &count));
    return sow_expand(arena, line, variables, count, command);
}

/* What the clients of this round are sent. */
static sow_status send_round(server *s) {
    sow_arena *arena = s->call->arena;
    const char *folder = round_path(arena, s->folder, s->round, ""),
               *base = round_path(arena, s->folder, s->round, "base.safetensors");
    if (!folder || !base) return SOW_E_MEMORY;
    SOW_TRY(sow_make_folder(folder));
    if (!s->world.base.lm) SOW_TRY(sow_save_state(base, s->world.model->state, NULL));
    return sow_adapter_write(s->global, folder, NULL, NULL);
}

static sow_status run_clients(server *s) {
    sow_arena *arena = s->call->arena;
    sow_cell *cells;
    const char *stage = sow_arena_format(arena, "round-%03lld", (long long)s->round),
               *what = sow_arena_format(arena, "round %lld of %lld", (long long)s->round + 1, (long long)s->count);
    SOW_TRY(SOW_NEW(arena, cells, s->world.clients));
    for (int64_t k = 0; k < s->world.clients; k++) {
        cells[k] = (sow_cell){.stage = stage, .arm = (int)k, .seed = s->world.seed};
        cells[k].folder = client_path(s, arena, s->folder, k);
        if (!cells[k].folder || !stage || !what) return SOW_E_MEMORY;
    }
    sow_limits limits = sow_limits_default();
    limits.start_seconds = limits.silent_seconds = limits.cell_seconds; /* clients say nothing */
    sow_runner runner = {
        .command = command_of, .user = s, .slots = s->slots, .threads = s->threads, .limits = limits, .what = what};
    SOW_TRY(sow_run_cells(s->store, &runner, cells, (int)s->world.clients));
    for (int64_t k = 0; k < s->world.clients; k++) SOW_TRY(sow_adapter_read(cells[k].folder, true, &s->trained[k]));
    return SOW_OK;
}

static sow_status one_round(server *s) {
    fair_world *w = &s->world;
    fair_round *row = &s->rounds[s->round];
    SOW_TRY(send_round(s));
    SOW_TRY(run_clients(s));
    if (s->merged != s->global) sow_adapter_free(s->merged);
    s->merged = NULL;
    SOW_TRY(fair_end_round(w, &s->config, s->trained, s->round, &s->global, &s->merged, &s->layers));
    row->summary = fair_summarise(s->layers, s->merged->count);
    for (int64_t k = 0; k < w->clients; k++) sow_adapter_free(s->trained[k]), s->trained[k] = NULL;
    SOW_TRY(fair_score(w, s->global, s->score, &row->score));
    sow_note("round %lld: %s %.4f, cosine of the plain average %.4f, of what was merged %.4f", (long long)s->round + 1,
             scored(s), row->score, row->summary.cosine_before, row->summary.cosine_after);
    return SOW_OK;
}

/* ---- results ---- */

static json_t *tested_row(const server *s, int i) {
    if (!s->world.base.lm) return json_pack("{s:s, s:f}", "domain", fair_domain_name(i), "accuracy", s->score[i]);
    return json_pack("{s:s, s:I, s:f, s:f}", "client", s->world.names[i], "held_out",
                     (json_int_t)s->world.held[i]->count, "loss", s->score[i], "perplexity", exp(s->score[i]));
}

static sow_status report_rounds(server *s, double base) {
    sow_call *call = s->call;
    json_t *rows = json_array(), *tested = json_array();
    const char *of_base = sow_arena_format(call->arena, "%s_of_base", scored(s));
    if (!of_base) return SOW_E_MEMORY;
    SOW_TRY(sow_put_count(call->result, "clients", s->world.clients));
    SOW_TRY(sow_put_text(call->result, "kind", sow_fair_kind_name(s->config.kind)));
    SOW_TRY(sow_put_real(call->result, of_base, base));
    SOW_TRY(sow_put_real(call->result, scored(s), s->rounds[s->count - 1].score));
    SOW_TRY(sow_put_json(call->result, "rounds", rows));
    SOW_TRY(sow_put_json(call->result, s->world.base.lm ? "texts" : "domains", tested));
    for (int64_t i = 0; i < s->count; i++) {
        const fair_summary *m = &s->rounds[i].summary;
        json_t *row = json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "round", (json_int_t)i + 1, scored(s),
                                s->rounds[i].score, "cosine_of_plain_average", m->cosine_before, "cosine",
                                m->cosine_after, "bias_of_plain_average", m->bias_before, "bias", m->bias_after,
                                "length_of_b_to_average", m->growth);
        if (json_array_append_new(rows, row)) return sow_fail(SOW_E_MEMORY, "out of memory");
    }
    for (int i = 0; i < s->world.test_count; i++)
        if (json_array_append_new(tested, tested_row(s, i))) return sow_fail(SOW_E_MEMORY, "out of memory");
    return SOW_OK;
}

static sow_status write_rounds(server *s) {
    const char *path = sow_path_join(s->call->arena, s->folder, "rounds.csv"), *text;
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_table_format(s->call->arena, json_object_get(s->call->result, "rounds"), SOW_TABLE_CSV, &text));
    SOW_TRY(sow_write_file(path, text, strlen(text)));
    return sow_wrote(s->call, path);
}

static sow_status plot_rounds(server *s) {
    sow_arena *arena = s->call->arena;
    double *x, *score, *before, *after;
    const char *path = sow_path_join(arena, s->folder, "rounds.svg");
    SOW_TRY(SOW_NEW(arena, x, s->count));
    SOW_TRY(SOW_NEW(arena, score, s->count));
    SOW_TRY(SOW_NEW(arena, before, s->count));
    SOW_TRY(SOW_NEW(arena, after, s->count));
    for (int64_t i = 0; i < s->count; i++) {
        x[i] = (double)i + 1, score[i] = s->rounds[i].score;
        before[i] = s->rounds[i].summary.cosine_before, after[i] = s->rounds[i].summary.cosine_after;
    }
    const sow_series series[] = {
        {.name = s->world.base.lm ? "loss a token" : "test accuracy",
         .drawing = SOW_DRAW_LINE,
         .x = x,
         .y = score,
         .count = s->count},
        {.name = "cosine of the plain average", .drawing = SOW_DRAW_LINE, .x = x, .y = before, .count = s->count},
        {.name = "cosine of what was merged", .drawing = SOW_DRAW_LINE, .x = x, .y = after, .count = s->count}};
    sow_plot plot = {.title = "Rounds of federated tuning",
                     .says = sow_arena_format(arena, "From %s %.4f after round 1 to %.4f after round %lld.", scored(s),
                                              score[0], score[s->count - 1], (long long)s->count),
                     .x = {.label = "round"},
                     .y = {.label = s->world.base.lm ? "loss, cosine" : "accuracy, cosine"},
                     .series = series,
                     .count = 3};
    if (!path || !plot.says) return SOW_E_MEMORY;
    SOW_TRY(sow_plot_write(path, &plot));
    return sow_wrote(s->call, path);
}

/* The base that the adapter belongs to: with FLoRA as it was before the last round. */
static sow_status write_base(server *s) {
    sow_call *call = s->call;
    const char *passport, *base = sow_path_join(call->arena, s->folder, "base.safetensors"),
                          *last = round_path(call->arena, s->folder, s->count - 1, "base.safetensors");
    sow_state *state;
    if (!base || !last) return SOW_E_MEMORY;
    SOW_TRY(sow_passport(call, "base.safetensors", s->world.inputs, s->world.input_count, &passport));
    SOW_TRY(sow_load_state(last, &state));
    sow_status status = sow_save_state(base, state, passport);
    sow_state_free(state);
    return status == SOW_OK ? sow_wrote(call, base) : status;
}

static const char *how_it_was_made(const server *s) {
    const fair_world *w = &s->world;
    sow_arena *arena = s->call->arena;
    const char *subject = w->base.lm ? w->inputs[0].name : w->model->arch, *data = w->base.lm ? "" : w->source->name;
    for (int64_t k = 0; w->base.lm && data && k < w->clients; k++)
        data = sow_arena_format(arena, "%s%s%s", data, k == 0 ? "" : ", ", w->names[k]);
    if (!data) return NULL;
    return sow_arena_format(
        arena,
        "For %s%s: %lld rounds of %lld clients on %s, %lld local steps each, merged by `%s`. %s %.4f at the end.",
        subject, w->base.lm ? "" : " (`base.safetensors`)", (long long)s->count, (long long)w->clients, data,
        (long long)w->local_steps, sow_fair_kind_name(s->config.kind),
        w->base.lm ? "Mean loss a token on held-out texts" : "Test accuracy", s->rounds[s->count - 1].score);
}

static const char *what_next(const server *s) {
    const sow_call *call = s->call;
    if (s->world.base.lm)
        return sow_arena_format(call->arena, "sow lm score --model %s --adapter %s --data %s", sow_text(call, "model"),
                                s->folder, *sow_list(call, "texts"));
    return sow_arena_format(call->arena, "sow lora-fair run --kind %s ... for a comparison, or sow study lora-fair",
                            s->config.kind == SOW_FAIR_FEDIT ? "fair" : "fedit");
}

static sow_status write_results(server *s) {
    const char *passport, *how = how_it_was_made(s), *next = what_next(s);
    if (!how || !next) return SOW_E_MEMORY;
    SOW_TRY(sow_passport(s->call, "adapter_model.safetensors", s->world.inputs, s->world.input_count, &passport));
    if (!s->world.base.lm) SOW_TRY(write_base(s));
    SOW_TRY(fair_write_layers(s->call, s->folder, s->layers, s->merged->count));
    SOW_TRY(write_rounds(s));
    SOW_TRY(plot_rounds(s));
    fair_describe(&s->world, s->merged);
    SOW_TRY(fair_write_adapter(s->call, s->merged, s->folder, passport, how));
    return sow_put_text(s->call->result, "next", next);
}

static sow_status serve(server *s) {
    fair_world *w = &s->world;
    double base;
    SOW_TRY(SOW_NEW(w->arena, s->rounds, s->count));
    SOW_TRY(SOW_NEW(w->arena, s->trained, w->clients));
    if (w->base.lm) fair_say_costs(w, s->count);
    else SOW_TRY(fair_make_tests(w));
    SOW_TRY(SOW_NEW(w->arena, s->score, w->test_count));
    SOW_TRY(fair_score(w, NULL, NULL, &base));
    SOW_TRY(fair_fresh_adapter(w, 0, &s->global));
    s->merged = s->global;
    sow_note("%lld clients, %lld rounds: %lld trainings of %lld steps; the base's %s %.4f", (long long)w->clients,
             (long long)s->count, (long long)(w->clients * s->count), (long long)w->local_steps, scored(s), base);
    for (s->round = 0; s->round < s->count; s->round++) SOW_TRY(one_round(s));
    SOW_TRY(report_rounds(s, base));
    return write_results(s);
}

/* The passport without a file is the plan: the same for every resume. */
static sow_status open_folder(server *s) {
    const char *plan;
    SOW_TRY(sow_own_program(s->call->arena, &s->program));
    SOW_TRY(sow_passport(s->call, NULL, s->world.inputs, s->world.input_count, &plan));
    return sow_experiment_open(s->call, s->folder, plan, &s->absolute, &s->store);
}

sow_status fair_run(sow_call *call) {
    server s = {.call = call, .folder = sow_text(call, "out"), .count = sow_int(call, "rounds")};
    SOW_TRY(sow_check_output(call, s.folder));
    SOW_TRY(fair_config_of(call, &s.config));
    SOW_TRY(open_world(call, sow_text(call, "start"), &s.world));
    /* images: clients side by side, of one thread; a language model is large, and one client has all threads */
    s.slots = (int)sow_int(call, "slots");
    if (s.world.base.lm && s.slots == 0) s.slots = 1;
    s.threads = s.world.base.lm && sow_threads() > s.slots ? sow_threads() / s.slots : 1;
    sow_status status = open_folder(&s);
    if (status == SOW_OK) status = serve(&s);
    sow_store_close(s.store);
    for (int64_t k = 0; s.trained && k < s.world.clients; k++) sow_adapter_free(s.trained[k]);
    if (s.merged != s.global) sow_adapter_free(s.merged);
    sow_adapter_free(s.global);
    fair_world_close(&s.world);
    return status;
}
