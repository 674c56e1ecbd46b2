/* EVA: ranks by layer, what other settings would have given, the card. */
#include <math.h>
#include <string.h>

#include "sow/file.h"
#include "sow/json.h"
#include "sow/report.h"
#include "starts/adapters/eva/eva.h"

static const char *last_component(const char *module) {
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

/* Share of the layer's variance that its rank explains. */
static double explained(const sow_eva_layer *l, int64_t rank) {
    double sum = 0;
    for (int64_t i = 0; i < rank && i < l->count; i++) sum += l->ratio[i];
    return sum;
}

/* ---- layers of one name ---- */

enum { KINDS_MAX = 64 };
typedef struct kind {
    const char *name;
    int64_t layers, in, out, least, most, ranks, none;
    double explained;
} kind;

static int collect(const sow_eva_report *r, kind kinds[KINDS_MAX]) {
    int count = 0;
    for (int64_t i = 0; i < r->count; i++) {
        const sow_eva_layer *l = &r->layers[i];
        const char *name = last_component(l->module);
        int k = 0;
        while (k < count && (strcmp(kinds[k].name, name) != 0 || kinds[k].in != l->in)) k++;
        if (k == KINDS_MAX) continue;
        if (k == count)
            kinds[count++] = (kind){.name = name, .in = l->in, .out = l->out, .least = l->rank, .most = l->rank};
        kind *to = &kinds[k];
        to->layers++;
        to->ranks += l->rank;
        to->none += l->rank == 0;
        to->explained += explained(l, l->rank);
        if (l->rank < to->least) to->least = l->rank;
        if (l->rank > to->most) to->most = l->rank;
    }
    return count;
}

static json_t *kind_rows(const sow_eva_report *r) {
    kind kinds[KINDS_MAX];
    json_t *rows = json_array();
    int count = collect(r, kinds);
    for (int k = 0; k < count; k++)
        json_array_append_new(rows, json_pack("{s:s, s:I, s:I, s:I, s:f, s:I, s:I, s:f}", "target", kinds[k].name,
                                              "layers", (json_int_t)kinds[k].layers, "out", (json_int_t)kinds[k].out,
                                              "in", (json_int_t)kinds[k].in, "mean_rank",
                                              (double)kinds[k].ranks / (double)kinds[k].layers, "least",
                                              (json_int_t)kinds[k].least, "most", (json_int_t)kinds[k].most,
                                              "explained", kinds[k].explained / (double)kinds[k].layers));
    return rows;
}

/* ---- other values of rho, from the same ratios ---- */

static json_t *rho_row(const sow_eva_report *r, double rho, const int64_t *ranks) {
    int64_t parameters = 0, most = 0, none = 0;
    double share = 0;
    for (int64_t i = 0; i < r->count; i++) {
        parameters += ranks[i] * (r->layers[i].in + r->layers[i].out);
        most = ranks[i] > most ? ranks[i] : most;
        none += ranks[i] == 0;
        share += explained(&r->layers[i], ranks[i]) / (double)r->count;
    }
    return json_pack("{s:f, s:I, s:I, s:I, s:f}", "rho", rho, "parameters", (json_int_t)parameters, "largest_rank",
                     (json_int_t)most, "layers_without", (json_int_t)none, "mean_explained", share);
}

/* 1, 1.5, 2, 4 and what was asked for, as far as components were followed. */
static sow_status rho_rows(sow_call *call, const sow_eva_config *config, const sow_eva_report *r, json_t *rows) {
    const double usual[] = {1, 1.5, 2, 4};
    int64_t *ranks;
    bool own = false;
    SOW_TRY(SOW_NEW(call->arena, ranks, r->count));
    for (int i = 0; i < 5; i++) {
        double rho = i < 4 ? usual[i] : config->rho;
        if (i == 4 ? own : rho > config->rho) continue;
        own |= rho == config->rho;
        SOW_TRY(sow_eva_ranks_for(config, r, rho, ranks));
        SOW_TRY(sow_append_json(rows, rho_row(r, rho, ranks)));
    }
    return SOW_OK;
}

/* ---- files ---- */

static sow_status write_csv(sow_call *call, const sow_eva_report *r, const char *folder) {
    sow_writer *w;
    char *path = sow_path_join(call->arena, folder, "ranks.csv");
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_writer_open(path, &w));
    sow_writer_printf(w, "module,in,out,rank,explained,batches,rows,settled,shares_with\n");
    for (int64_t i = 0; i < r->count; i++) {
        const sow_eva_layer *l = &r->layers[i];
        sow_writer_printf(w, "%s,%lld,%lld,%lld,%.6g,%lld,%lld,%d,%s\n", l->module, (long long)l->in, (long long)l->out,
                          (long long)l->rank, explained(l, l->rank), (long long)l->batches, (long long)l->rows,
                          l->converged, l->hook == i ? "" : r->layers[l->hook].module);
    }
    SOW_TRY(sow_writer_commit(w));
    return sow_wrote(call, path);
}

static json_t *layer_row(const sow_eva_layer *l) {
    json_t *ratios = json_array();
    for (int64_t i = 0; i < l->count; i++) json_array_append_new(ratios, json_real(l->ratio[i]));
    return json_pack("{s:s, s:I, s:I, s:I, s:b, s:I, s:I, s:o}", "module", l->module, "in", (json_int_t)l->in, "out",
                     (json_int_t)l->out, "rank", (json_int_t)l->rank, "settled", l->converged, "batches",
                     (json_int_t)l->batches, "rows", (json_int_t)l->rows, "ratios", ratios);
}

static json_t *progress_rows(const sow_eva_report *r) {
    json_t *rows = json_array();
    for (int64_t i = 0; i < r->progress_count; i++) {
        const sow_eva_progress *p = &r->progress[i];
        json_t *row = json_pack("{s:I, s:I}", "batches", (json_int_t)p->batches, "settled", (json_int_t)p->settled);
        if (!isnan(p->least)) json_object_set_new(row, "least_captured", json_real(p->least));
        json_array_append_new(rows, row);
    }
    return rows;
}

/* All ratios of all layers: another rho or metric can be worked out from them. */
static sow_status write_json(sow_call *call, const sow_eva_report *r, const char *folder) {
    json_t *layers = json_array(), *whole;
    char *text, *path = sow_path_join(call->arena, folder, "report.json");
    for (int64_t i = 0; i < r->count; i++) json_array_append_new(layers, layer_row(&r->layers[i]));
    whole = json_pack("{s:I, s:I, s:b, s:o, s:o}", "budget", (json_int_t)r->budget, "batches", (json_int_t)r->batches,
                      "settled", r->converged, "layers", layers, "progress", progress_rows(r));
    if (!whole || !path) return sow_fail(SOW_E_MEMORY, "out of memory");
    sow_status status = sow_json_text(call->arena, whole, SOW_JSON_PRETTY, &text);
    json_decref(whole);
    if (status == SOW_OK) status = sow_write_file(path, text, strlen(text));
    return status == SOW_OK ? sow_wrote(call, path) : status;
}

/* ---- the chart ---- */

/* One line a target, over its occurrences in the network. */
static sow_status lines(sow_arena *arena, const sow_eva_report *r, const kind *kinds, int count, sow_series *out) {
    for (int k = 0; k < count; k++) {
        double *x, *y;
        int64_t n = 0;
        SOW_TRY(SOW_NEW(arena, x, kinds[k].layers));
        SOW_TRY(SOW_NEW(arena, y, kinds[k].layers));
        for (int64_t i = 0; i < r->count; i++) {
            const sow_eva_layer *l = &r->layers[i];
            if (strcmp(last_component(l->module), kinds[k].name) != 0 || l->in != kinds[k].in) continue;
            x[n] = (double)n;
            y[n++] = (double)l->rank;
        }
        out[k] = (sow_series){.name = kinds[k].name, .drawing = SOW_DRAW_LINE, .x = x, .y = y, .count = n};
    }
    return SOW_OK;
}

static sow_status bars(sow_arena *arena, const sow_eva_report *r, sow_series *out, const char ***names) {
    double *x, *y;
    SOW_TRY(SOW_NEW(arena, x, r->count));
    SOW_TRY(SOW_NEW(arena, y, r->count));
    SOW_TRY(SOW_NEW(arena, *names, r->count));
    for (int64_t i = 0; i < r->count; i++) {
        x[i] = (double)i;
        y[i] = (double)r->layers[i].rank;
        (*names)[i] = r->layers[i].module;
    }
    *out = (sow_series){.name = "rank", .drawing = SOW_DRAW_BARS, .x = x, .y = y, .count = r->count};
    return SOW_OK;
}

static sow_status write_chart(sow_call *call, const sow_eva_config *config, const sow_eva_report *r,
                              const char *folder) {
    kind kinds[KINDS_MAX];
    sow_series *series;
    const char **names = NULL;
    int count = collect(r, kinds);
    bool repeated = count < r->count;
    double budget = (double)config->rank;
    char *path = sow_path_join(call->arena, folder, "ranks.svg");
    if (!repeated) count = 1;
    SOW_TRY(SOW_NEW(call->arena, series, count + 1));
    SOW_TRY(repeated ? lines(call->arena, r, kinds, count, series) : bars(call->arena, r, series, &names));
    series[count] = (sow_series){.name = "--rank", .drawing = SOW_DRAW_RULE, .y = &budget, .count = 1};
    sow_plot plot = {
        .title = "Ranks by explained variance",
        .says = sow_arena_format(call->arena, "%lld ranks over %lld layers.", (long long)r->budget,
                                 (long long)r->count),
        .x = {.label = repeated ? "block" : "layer", .categories = names, .category_count = names ? (int)r->count : 0},
        .y = {.label = "rank"},
        .series = series,
        .count = count + 1};
    if (!path || !plot.says) return SOW_E_MEMORY;
    SOW_TRY(sow_plot_write(path, &plot));
    return sow_wrote(call, path);
}

/* ---- the result ---- */

sow_status eva_write_report(sow_call *call, const sow_eva_config *config, const sow_eva_report *r, const char *folder) {
    int64_t parameters = 0, none = 0, ranks = 0;
    json_t *rhos = json_array(), *result = call->result;
    for (int64_t i = 0; i < r->count; i++) {
        parameters += r->layers[i].rank * (r->layers[i].in + r->layers[i].out);
        none += r->layers[i].rank == 0;
        ranks += r->layers[i].rank;
    }
    SOW_TRY(sow_put_count(result, "layers", r->count));
    SOW_TRY(sow_put_count(result, "inputs", r->hooks));
    SOW_TRY(sow_put_count(result, "batches", r->batches));
    SOW_TRY(sow_put_flag(result, "settled", r->converged));
    SOW_TRY(sow_put_count(result, "ranks", ranks));
    SOW_TRY(sow_put_count(result, "parameters", parameters));
    SOW_TRY(sow_put_count(result, "layers_without", none));
    SOW_TRY(sow_put_json(result, "targets", kind_rows(r)));
    SOW_TRY(sow_put_json(result, "other_rho", rhos));
    SOW_TRY(rho_rows(call, config, r, rhos));
    SOW_TRY(write_csv(call, r, folder));
    SOW_TRY(write_json(call, r, folder));
    return write_chart(call, config, r, folder);
}

const char *eva_card(const sow_call *call, const sow_eva_config *config, const sow_eva_report *r, const char *base,
                     const char *data) {
    return sow_arena_format(
        call->arena,
        "# EVA start for LoRA\n\n"
        "An adapter that is not trained yet. The rows of its A matrices are the principal directions of what enters each layer of\n"
        "`%s` on `%s`; B is 0, so the model is unchanged until the first step (Paischer et al. 2024, arXiv 2410.07170).\n\n"
        "- budget: %lld ranks over %lld layers (rank %lld), no layer above %g times that\n"
        "- solver: %s, %lld batches, %s\n"
        "- scale: %s%s\n\n"
        "`ranks.csv` and `ranks.svg` show each layer's rank, `report.json` all explained ratios. Load it with\n"
        "`PeftModel.from_pretrained(model, folder, is_trainable=True)` and train as usual.\n",
        base, data, (long long)r->budget, (long long)r->count, (long long)config->rank, config->rho,
        config->solver == SOW_EVA_GRAM ? "exact second moments" : "incremental PCA", (long long)r->batches,
        r->converged ? "settled" : "not settled within the bound on batches",
        config->own_alpha ? "alpha / rank of each layer" : "alpha / r in every layer (alpha_pattern)",
        config->whiten ? "; A is whitened" : "");
}
