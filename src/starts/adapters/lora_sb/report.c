/* LoRA-SB: what a start captured of the first step, by layer and rank: tables, plot, card. */
#include <math.h>
#include <string.h>

#include "sow/json.h"
#include "sow/file.h"
#include "sow/report.h"
#include "starts/adapters/lora_sb/lora_sb.h"

enum { TARGETS_MAX = 64 };

/* Layers of one name ("q_proj"): their mean curve, as far as the shortest goes. */
typedef struct target {
    const char *name;
    int64_t layers, in, out, rank, count;
    double *captured; /* [count] */
} target;

typedef struct targets {
    target at[TARGETS_MAX];
    int count;
} targets;

static target *find_target(targets *t, const sow_lora_sb_energy *e) {
    const char *dot = strrchr(e->module, '.'), *name = dot ? dot + 1 : e->module;
    for (int i = 0; i < t->count; i++)
        if (!strcmp(t->at[i].name, name) && t->at[i].in == e->in && t->at[i].out == e->out) return &t->at[i];
    if (t->count == TARGETS_MAX) return NULL;
    t->at[t->count] = (target){.name = name, .in = e->in, .out = e->out, .rank = e->rank, .count = e->count};
    return &t->at[t->count++];
}

/* Networks with more than 64 kinds of layers show the first ones. */
static sow_status collect(sow_arena *arena, const lora_sb_made *made, targets *out) {
    *out = (targets){0};
    for (int64_t i = 0; i < made->adapter->count; i++) {
        const sow_lora_sb_energy *e = &made->energy[i];
        target *t = find_target(out, e);
        if (!t) continue;
        if (!t->captured) SOW_TRY(SOW_NEW(arena, t->captured, t->count));
        t->layers++;
        for (int64_t k = 0; k < t->count; k++) t->captured[k] += (e->captured[k] - t->captured[k]) / (double)t->layers;
    }
    return SOW_OK;
}

/* ---- the result ---- */

static json_t *rank_for(const target *t, double share) {
    sow_lora_sb_energy e = {.captured = t->captured, .count = t->count};
    int64_t rank = sow_lora_sb_rank_for(&e, share);
    return rank < 0 ? json_null() : json_integer(rank);
}

static json_t *target_rows(const targets *all) {
    json_t *rows = json_array();
    for (int i = 0; i < all->count; i++) {
        const target *t = &all->at[i];
        json_array_append_new(rows, json_pack("{s:s, s:I, s:I, s:I, s:I, s:f, s:o, s:o, s:o}", "target", t->name,
                                              "layers", (json_int_t)t->layers, "out", (json_int_t)t->out, "in",
                                              (json_int_t)t->in, "rank", (json_int_t)t->rank, "captured",
                                              t->captured[t->rank - 1], "rank_for_50%", rank_for(t, .5), "rank_for_80%",
                                              rank_for(t, .8), "rank_for_90%", rank_for(t, .9)));
    }
    return rows;
}

static double captured_of_all(const lora_sb_made *made) {
    double caught = 0, total = 0;
    for (int64_t i = 0; i < made->adapter->count; i++) {
        const sow_lora_sb_energy *e = &made->energy[i];
        caught += e->total * e->captured[e->rank - 1];
        total += e->total;
    }
    return total > 0 ? caught / total : 0;
}

static int64_t trained_as_lora(const sow_adapter *a) {
    int64_t count = 0;
    for (int64_t i = 0; i < a->count; i++) count += a->layers[i].rank * (a->layers[i].in + a->layers[i].out);
    return count;
}

sow_status lora_sb_report(sow_call *call, const lora_sb_made *made) {
    targets all;
    SOW_TRY(collect(call->arena, made, &all));
    json_t *r = call->result;
    SOW_TRY(sow_put_text(r, "base", made->base));
    SOW_TRY(sow_put_text(r, "data", made->data));
    SOW_TRY(sow_put_count(r, "samples", made->samples));
    SOW_TRY(sow_put_real(r, "loss_of_base", made->loss));
    SOW_TRY(sow_put_real(r, "learning_rate", made->rate));
    SOW_TRY(sow_put_count(r, "warmup_steps", made->warmup));
    SOW_TRY(sow_put_real(r, "first_rate", made->eta));
    SOW_TRY(sow_put_count(r, "layers", made->adapter->count));
    SOW_TRY(sow_put_count(r, "trained_numbers", sow_adapter_trained(made->adapter)));
    SOW_TRY(sow_put_count(r, "of_lora_of_that_rank", trained_as_lora(made->adapter)));
    SOW_TRY(sow_put_real(r, "captured", captured_of_all(made)));
    return sow_put_json(r, "targets", target_rows(&all));
}

/* ---- files ---- */

/* 1, 2, 3, 4, 6, 8, 12, 16 ...: halves of powers of two. */
static int64_t next_rank(int64_t rank) {
    int64_t power = 1;
    while (2 * power <= rank) power *= 2;
    if (rank < 2) return rank + 1;
    return rank == power ? rank + power / 2 : 2 * power;
}

static sow_status write_csv(sow_call *call, const lora_sb_made *made) {
    sow_writer *w;
    char *path = sow_path_join(call->arena, sow_text(call, "out"), "energy.csv");
    if (!path) return SOW_E_MEMORY;
    SOW_TRY(sow_writer_open(path, &w));
    sow_writer_printf(w, "module,rank,captured\n");
    for (int64_t i = 0; i < made->adapter->count; i++) {
        const sow_lora_sb_energy *e = &made->energy[i];
        for (int64_t r = 1; r < e->count; r = next_rank(r))
            sow_writer_printf(w, "%s,%lld,%.6g\n", e->module, (long long)r, e->captured[r - 1]);
        sow_writer_printf(w, "%s,%lld,%.6g\n", e->module, (long long)e->count, e->captured[e->count - 1]);
    }
    SOW_TRY(sow_writer_commit(w));
    return sow_wrote(call, path);
}

static sow_status add_curve(sow_arena *arena, const target *t, sow_series *out) {
    double *x;
    SOW_TRY(SOW_NEW(arena, x, t->count));
    for (int64_t i = 0; i < t->count; i++) x[i] = (double)(i + 1);
    *out = (sow_series){.name = t->name, .drawing = SOW_DRAW_LINE, .x = x, .y = t->captured, .count = t->count};
    return SOW_OK;
}

static sow_status write_plot(sow_call *call, const lora_sb_made *made, const targets *all) {
    sow_series *series;
    double rank = (double)made->rank;
    char *path = sow_path_join(call->arena, sow_text(call, "out"), "energy.svg");
    SOW_TRY(SOW_NEW(call->arena, series, all->count + 1));
    for (int i = 0; i < all->count; i++) SOW_TRY(add_curve(call->arena, &all->at[i], &series[i]));
    series[all->count] = (sow_series){.name = "rank of the adapter", .drawing = SOW_DRAW_RULE, .x = &rank, .count = 1};
    sow_plot plot = {.title = "How much of the first step a rank holds",
                     .says = sow_arena_format(call->arena, "Rank %lld captures %.3g of the squared first step.",
                                              (long long)made->rank, captured_of_all(made)),
                     .x = {.label = "rank", .log = true},
                     .y = {.label = "share of the squared first step"},
                     .series = series,
                     .count = all->count + 1};
    if (!path || !plot.says) return SOW_E_MEMORY;
    SOW_TRY(sow_plot_write(path, &plot));
    return sow_wrote(call, path);
}

sow_status lora_sb_plots(sow_call *call, const lora_sb_made *made) {
    targets all;
    SOW_TRY(collect(call->arena, made, &all));
    SOW_TRY(write_csv(call, made));
    return write_plot(call, made, &all);
}

const char *lora_sb_card(sow_call *call, const lora_sb_made *made) {
    targets all;
    const char *table;
    if (collect(call->arena, made, &all) != SOW_OK) return NULL;
    json_t *rows = target_rows(&all);
    sow_status status = sow_table_format(call->arena, rows, SOW_TABLE_MARKDOWN, &table);
    json_decref(rows);
    if (status != SOW_OK) return NULL;
    return sow_arena_format(
        call->arena,
        "# LoRA-SB start of rank %lld for %s\n\n"
        "Made by `sow lora-sb` (Ponkshe et al. 2024, arXiv 2411.19557) from the gradient of %lld samples of %s: A and B are the "
        "leading singular vectors of the first step of full fine-tuning (%s, rate %.4g = learning rate %g / %lld warm-up steps), "
        "R holds its singular values. The model starts behind that step, not at the base.\n\n"
        "- `adapter_model.safetensors`: plain LoRA, lora_B = B R, lora_alpha = r. It loads in PEFT as it is; trained there it is "
        "ordinary LoRA.\n"
        "- `lora_sb.safetensors`: `MODULE.B`, `.R`, `.A`. `sow train --adapter` trains R alone: %lld numbers, where LoRA of this "
        "rank has %lld.\n"
        "- `energy.csv`, `energy.svg`: how much of the first step each rank holds.\n\n%s\n",
        (long long)made->rank, made->base, (long long)made->samples, made->data, sow_text(call, "first-step"),
        made->eta, made->rate, (long long)made->warmup, (long long)sow_adapter_trained(made->adapter),
        (long long)trained_as_lora(made->adapter), table);
}
