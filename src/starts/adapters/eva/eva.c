/* Explained-variance start for LoRA adapters: Paischer et al. 2024, arXiv 2410.07170. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/log.h"
#include "sow/threads.h"
#include "starts/adapters/eva/eva.h"

enum { FIRST_LOOK = 4 }; /* gram: batches before the first decomposition; later ones after twice as many each */
/* gram: changes of variances at which looks on the way end, and the last one. */
static const double ROUGH = 1e-3, FINE = 1e-5;

sow_eva_config sow_eva_defaults(void) {
    return (sow_eva_config){
        .rank = 16, .rho = 2, .tau = .99, .capture = .95, .alpha = 1, .min_batches = 1, .max_batches = 200};
}

typedef struct work {
    const sow_eva_config *config;
    const sow_sites *sites;
    sow_feed *feed;
    sow_arena *arena; /* of the report */
    eva_hook *hooks;
    int64_t *hook_of; /* [sites]: index into hooks */
    int64_t *ranks;   /* [sites] */
    eva_watch watch;
    sow_tape *tape;
    sow_eva_report *report;
} work;

/* ---- setting up ---- */

static sow_status check(const sow_eva_config *c, const sow_sites *sites) {
    if (sites->count < 1) return sow_fail(SOW_E_RANGE, "eva: no linear layers");
    if (c->rank < 1 || !(c->rho >= 1) || !(c->tau <= 1) || c->max_batches < 1)
        return sow_fail(SOW_E_RANGE,
                        "eva: rank %lld, rho %g, tau %g, %lld batches: expected at least 1, 1, at most 1, at least 1",
                        (long long)c->rank, c->rho, c->tau, (long long)c->max_batches);
    return SOW_OK;
}

static sow_status open_hook(const work *w, eva_hook *hook) {
    const sow_site *site = &w->sites->at[hook->site];
    hook->active = true;
    hook->count = eva_components(w->config, w->config->rho, site->in);
    if (w->config->solver == SOW_EVA_GRAM) return sow_gram_new(site->in, &hook->gram);
    sow_ipca_config c = {.features = site->in,
                         .components = hook->count,
                         .exact = w->config->exact,
                         .seed = w->config->seed,
                         .stream = site->module};
    return sow_ipca_new(&c, &hook->ipca);
}

static sow_status open_hooks(work *w) {
    int64_t n = w->sites->count;
    SOW_TRY(SOW_NEW(w->arena, w->hooks, n));
    SOW_TRY(SOW_NEW(w->arena, w->hook_of, n));
    SOW_TRY(SOW_NEW(w->arena, w->ranks, n));
    for (int64_t i = 0; i < n; i++) {
        int64_t first = w->sites->at[i].shares;
        w->hook_of[i] = first == i ? w->report->hooks : w->hook_of[first];
        if (first != i) continue;
        w->hooks[w->report->hooks].site = i;
        SOW_TRY(open_hook(w, &w->hooks[w->report->hooks++]));
    }
    return SOW_OK;
}

static sow_status open_report(work *w) {
    sow_eva_report *r = w->report;
    SOW_TRY(SOW_NEW(w->arena, r->layers, w->sites->count));
    SOW_TRY(SOW_NEW(w->arena, r->progress, w->config->max_batches + 1));
    r->count = w->sites->count;
    r->budget = w->config->rank * w->sites->count;
    for (int64_t i = 0; i < r->count; i++) {
        const sow_site *site = &w->sites->at[i];
        r->layers[i] = (sow_eva_layer){.module = sow_arena_copy(w->arena, site->module),
                                       .in = site->in,
                                       .out = site->out,
                                       .hook = site->shares,
                                       .count = w->hooks[w->hook_of[i]].count};
        if (!r->layers[i].module) return SOW_E_MEMORY;
        SOW_TRY(SOW_NEW(w->arena, r->layers[i].ratio, r->layers[i].count));
        SOW_TRY(SOW_NEW(w->arena, r->layers[i].singular, r->layers[i].count));
    }
    return SOW_OK;
}

static sow_status open_work(work *w) {
    SOW_TRY(check(w->config, w->sites));
    SOW_TRY(open_hooks(w));
    SOW_TRY(open_report(w));
    SOW_TRY(eva_watch_open(&w->watch, w->sites, w->feed, w->hooks, w->report->hooks, w->arena));
    SOW_TRY(sow_tape_new(&w->tape));
    return sow_tape_add_tap(w->tape, eva_watch_site, &w->watch);
}

static void close_work(work *w) {
    for (int64_t i = 0; w->hooks && i < w->report->hooks; i++) {
        sow_ipca_free(w->hooks[i].ipca);
        sow_gram_free(w->hooks[i].gram);
        sow_arena_free(w->hooks[i].look);
    }
    eva_watch_close(&w->watch);
    sow_tape_free(w->tape);
}

/* ---- a batch ---- */

/* The last site in the order of the forward pass that wants rows; behind it the pass may end. */
static const sow_site *last_wanted(const work *w) {
    int64_t i = w->report->hooks - 1;
    while (i > 0 && !w->hooks[i].active) i--;
    return &w->sites->at[w->hooks[i].site];
}

static sow_status pass(work *w, int64_t number) {
    sow_tape_reset(w->tape);
    sow_tape_train(w->tape, false);
    sow_tape_record(w->tape, false);
    w->watch.next = 0;
    SOW_TRY(sow_feed_pass(w->feed, w->tape, number, last_wanted(w)));
    SOW_TRY(sow_tape_status(w->tape));
    SOW_TRY(eva_watch_flush(&w->watch));
    w->report->batches++;
    return SOW_OK;
}

/* ---- ranks ---- */

static bool all_known(const work *w) {
    for (int64_t i = 0; i < w->report->hooks; i++)
        if (w->hooks[i].now.count == 0) return false;
    return true;
}

/* What the report says of each layer: its hook's components as they are. */
static void describe(work *w) {
    for (int64_t i = 0; i < w->report->count; i++) {
        sow_eva_layer *l = &w->report->layers[i];
        const eva_hook *hook = &w->hooks[w->hook_of[i]];
        for (int64_t j = 0; j < l->count; j++) {
            l->singular[j] = hook->now.singular[j];
            l->ratio[j] = sow_explained_ratio(&hook->now, j);
        }
        l->rows = hook->now.rows;
        l->batches = hook->batches;
        l->rank = w->ranks[i];
        l->converged = hook->settled;
    }
}

static sow_status share_out(work *w) {
    describe(w);
    return sow_eva_ranks_for(w->config, w->report, w->config->rho, w->ranks);
}

static void note_progress(work *w, double least) {
    sow_eva_report *r = w->report;
    int64_t settled = 0;
    for (int64_t i = 0; i < r->hooks; i++) settled += w->hooks[i].settled;
    r->progress[r->progress_count++] = (sow_eva_progress){r->batches, settled, least};
    r->converged = settled == r->hooks && r->batches >= w->config->min_batches;
}

/* ---- incremental: settled where no component within the rank turns. A later change of ranks may wake a hook again. ---- */

static void settle_components(work *w) {
    for (int64_t i = 0; i < w->report->hooks; i++) {
        eva_hook *hook = &w->hooks[i];
        hook->settled = true;
        for (int64_t j = 0; j < w->ranks[hook->site]; j++) /* the first of those that share: it has the highest rank */
            hook->settled &= hook->now.agreement[j] >= w->config->tau;
        hook->active = !hook->settled;
    }
}

static sow_status run_incremental(work *w) {
    for (int64_t b = 0; b < w->config->max_batches && !w->report->converged; b++) {
        SOW_TRY(pass(w, b));
        if (all_known(w)) {
            SOW_TRY(share_out(w));
            settle_components(w);
        }
        note_progress(w, NAN);
        sow_progress("layers settled", w->report->progress[b].settled, w->report->hooks);
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}

/* ---- second moments: settled where the subspace of the look before holds what the present one does. Who is settled
 * at two looks rests: its rows are no longer summed, and passes end behind the last layer that does not. ---- */

typedef struct looking {
    const sow_eva_config *config;
    double tolerance;
} looking;

/* The look's components take the place of those of the look before the last. */
static sow_status decompose(void *user, eva_hook *hook, sow_arena *scratch) {
    const looking *l = user;
    sow_arena *fresh;
    sow_components now;
    const sow_components *before = hook->now.count > 0 ? &hook->now : NULL;
    SOW_TRY(sow_arena_new(&fresh));
    sow_status status = sow_gram_components(hook->gram, hook->count, l->tolerance, before, fresh, &now);
    if (status == SOW_OK && hook->active) {
        int64_t leading = l->config->rank < hook->count ? l->config->rank : hook->count;
        hook->captured = 0;
        if (before) status = sow_gram_captured(hook->gram, leading, &now, before, scratch, &hook->captured);
    }
    if (status != SOW_OK) {
        sow_arena_free(fresh);
        return status;
    }
    sow_arena_free(hook->look);
    hook->look = fresh;
    hook->now = now;
    return SOW_OK;
}

static sow_status decompose_active(void *user, eva_hook *hook, sow_arena *scratch) {
    return hook->active ? decompose(user, hook, scratch) : SOW_OK;
}

static sow_status look(work *w, bool all_seen) {
    double least = 1;
    looking rough = {w->config, ROUGH};
    SOW_TRY(eva_for_hooks(&w->watch, decompose_active, &rough));
    for (int64_t i = 0; i < w->report->hooks; i++) {
        eva_hook *hook = &w->hooks[i];
        if (!hook->active) continue;
        bool before = hook->settled;
        least = fmin(least, hook->captured);
        hook->settled = all_seen || hook->captured >= w->config->capture;
        hook->active = !(before && hook->settled) || w->report->batches < w->config->min_batches;
    }
    note_progress(w, least);
    return SOW_OK;
}

static sow_status run_moments(work *w) {
    int64_t most = w->config->max_batches, next = FIRST_LOOK, all = w->feed->batches;
    looking fine = {w->config, FINE};
    if (all > 0 && all < most) most = all;
    for (int64_t b = 1; b <= most && !w->report->converged; b++) {
        SOW_TRY(pass(w, b - 1));
        sow_progress("batches", b, most);
        SOW_TRY(sow_check_interrupt());
        if (b < next && b < most) continue;
        SOW_TRY(look(w, b == all));
        next *= 2;
    }
    for (int64_t i = 0; i < w->report->hooks; i++) w->hooks[i].active = false;
    SOW_TRY(eva_for_hooks(&w->watch, decompose, &fine));
    return share_out(w);
}

/* ---- the adapter ---- */

/* Rows of A are the components, perhaps whitened by the root of the singular value, as PEFT does. B stays 0. */
static sow_status add_layer(const work *w, int64_t i, sow_adapter *adapter) {
    const eva_hook *hook = &w->hooks[w->hook_of[i]];
    const sow_site *site = &w->sites->at[i];
    int64_t rank = w->ranks[i];
    bool given = w->config->own_alpha || rank == w->config->rank;
    sow_adapter_layer *l;
    SOW_TRY(sow_adapter_add(adapter, site, rank, given ? w->config->alpha : -1, SOW_ADAPTER_LORA, &l));
    for (int64_t r = 0; r < rank; r++) {
        double factor = w->config->whiten ? 1 / sqrt(hook->now.singular[r]) : 1;
        for (int64_t j = 0; j < site->in; j++)
            sow_put(l->a->value, r * site->in + j, factor * (double)hook->now.components[r * site->in + j]);
    }
    return SOW_OK;
}

static sow_status make_adapter(const work *w, sow_adapter **out) {
    SOW_TRY(sow_adapter_new(w->config->rank, w->config->alpha, false, out));
    for (int64_t i = 0; i < w->sites->count; i++) {
        sow_status status = w->ranks[i] > 0 ? add_layer(w, i, *out) : SOW_OK;
        if (status == SOW_OK) continue;
        sow_adapter_free(*out);
        return status;
    }
    return SOW_OK;
}

static sow_status too_few_rows(const work *w) {
    for (int64_t i = 0; i < w->report->hooks; i++) {
        const eva_hook *hook = &w->hooks[i];
        if (hook->now.count == 0)
            return sow_fail(
                SOW_E_RANGE,
                "%s: no batch had the %lld rows that its components need (%lld at most): take larger batches, "
                "a lower rank or a smaller rho",
                w->sites->at[hook->site].module, (long long)hook->count, (long long)w->watch.most_rows);
    }
    return SOW_OK;
}

static sow_status run(work *w, sow_adapter **out) {
    SOW_TRY(open_work(w));
    SOW_TRY(w->config->solver == SOW_EVA_GRAM ? run_moments(w) : run_incremental(w));
    SOW_TRY(too_few_rows(w));
    describe(w);
    return make_adapter(w, out);
}

sow_status sow_eva(const sow_eva_config *config, const sow_sites *sites, sow_feed *feed, sow_arena *arena,
                   sow_adapter **out, sow_eva_report *report) {
    *report = (sow_eva_report){0};
    work w = {.config = config, .sites = sites, .feed = feed, .arena = arena, .report = report};
    sow_float_mode mode = sow_flush_denormals();
    sow_status status = run(&w, out);
    sow_restore_float_mode(mode);
    close_work(&w);
    return status;
}
