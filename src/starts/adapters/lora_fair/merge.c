/* Merging whole adapters of several clients, layer by layer: LoRA-FAIR, Bian et al. 2024, arXiv 2411.14961. */
#include <math.h>
#include <string.h>

#include "sow/adapters.h"
#include "sow/log.h"
#include "sow/threads.h"

typedef struct merging {
    const sow_fair_config *config;
    const sow_adapter **client; /* sorted by what they hold */
    double *weight;             /* of sum 1 */
    int64_t count, layers;
    const sow_adapter_layer **layer; /* [layers, count]: by the first client's order */
    double *scale;                   /* [layers, count]: factor on B */
    sow_arena *arena;
    sow_arena **scratch; /* a worker */
    sow_adapter *out;
    sow_fair_layer *report;
    sow_status *status;
    int64_t done;
} merging;

/* ---- do they fit each other? ---- */

static const sow_adapter_layer *find_layer(const sow_adapter *a, const char *module, int64_t hint) {
    for (int64_t i = 0; i < a->count; i++) {
        int64_t at = (hint + i) % a->count;
        if (!strcmp(a->layers[at].module, module)) return &a->layers[at];
    }
    return NULL;
}

static const sow_adapter_whole *find_whole(const sow_adapter *a, const char *module) {
    for (int64_t i = 0; i < a->whole_count; i++)
        if (!strcmp(a->wholes[i].module, module)) return &a->wholes[i];
    return NULL;
}

typedef struct misfits {
    char text[700];
    int count;
} misfits;

static void add_misfit(misfits *m, const char *format, const char *module, int64_t k, int64_t expected, int64_t found) {
    size_t used = strlen(m->text);
    if (m->count++ >= 3) return;
    if (used) used += (size_t)snprintf(m->text + used, sizeof m->text - used, "; ");
    snprintf(m->text + used, sizeof m->text - used, format, module, (long long)k + 1, (long long)expected,
             (long long)found);
}

static void compare_layer(misfits *m, const sow_adapter_layer *a, const sow_adapter_layer *b, int64_t k) {
    if (!b) add_misfit(m, "%.80s is missing in client %lld", a->module, k, 0, 0);
    else if (a->in != b->in || a->out != b->out)
        add_misfit(m,
                   a->in != b->in ? "%.80s of client %lld: expected %lld inputs, found %lld"
                                  : "%.80s of client %lld: expected %lld outputs, found %lld",
                   a->module, k, a->in != b->in ? a->in : a->out, a->in != b->in ? b->in : b->out);
    else if (a->rank != b->rank)
        add_misfit(m, "%.80s of client %lld: expected rank %lld as in client 1, found %lld", a->module, k, a->rank,
                   b->rank);
}

static void compare_whole(misfits *m, const sow_adapter_whole *a, const sow_adapter_whole *b, int64_t k) {
    if (!b || !a->bias != !b->bias)
        add_misfit(m, "%.80s, trained whole, is missing in client %lld", a->module, k, 0, 0);
    else if (!sow_same_shape(a->weight->value, b->weight->value) ||
             (a->bias && !sow_same_shape(a->bias->value, b->bias->value)))
        add_misfit(m, "%.80s, trained whole, has another shape in client %lld", a->module, k, 0, 0);
}

static sow_status check_plain(const sow_adapter *a, int64_t k) {
    for (int64_t i = 0; i < a->count; i++) {
        const sow_adapter_layer *l = &a->layers[i];
        if (l->magnitude)
            return sow_fail(SOW_E_UNSUPPORTED,
                            "client %lld is DoRA (%s): magnitudes do not average; fuse it or train plain LoRA",
                            (long long)k + 1, l->module);
        if (l->core || l->a0.data)
            return sow_fail(SOW_E_UNSUPPORTED, "client %lld is no plain LoRA (%s): sow adapter convert makes it so",
                            (long long)k + 1, l->module);
    }
    return SOW_OK;
}

/* Messages count clients as the caller does, so this comes before sorting. */
static sow_status check(const sow_adapter *const *clients, const double *weights, int64_t count) {
    misfits m = {0};
    for (int64_t k = 0; k < count; k++) {
        const sow_adapter *a = clients[0], *b = clients[k];
        if (!(weights[k] > 0) || !isfinite(weights[k]))
            return sow_fail(SOW_E_RANGE, "weight of client %lld is %g, expected a positive number", (long long)k + 1,
                            weights[k]);
        SOW_TRY(check_plain(b, k));
        for (int64_t i = 0; i < a->count; i++)
            compare_layer(&m, &a->layers[i], find_layer(b, a->layers[i].module, i), k);
        for (int64_t i = 0; i < b->count; i++)
            if (!find_layer(a, b->layers[i].module, i))
                add_misfit(&m, "%.80s of client %lld is missing in client 1", b->layers[i].module, k, 0, 0);
        for (int64_t i = 0; i < a->whole_count; i++)
            compare_whole(&m, &a->wholes[i], find_whole(b, a->wholes[i].module), k);
        if (b->whole_count > a->whole_count)
            add_misfit(&m, "%.80s, trained whole in client %lld, is missing in client 1", b->wholes[0].module, k, 0, 0);
    }
    if (m.count == 0) return SOW_OK;
    return sow_fail(SOW_E_SHAPE, "the adapters do not fit each other: %s%s", m.text, m.count > 3 ? "; ..." : "");
}

/* ---- an order of their own ---- */

/* By the first bytes that differ, then by weight: sums of floating-point numbers depend on their order, results shall not. */
static int compare_clients(const sow_adapter *a, double weight_a, const sow_adapter *b, double weight_b) {
    int order = 0;
    for (int64_t i = 0; i < a->count && !order; i++) {
        const sow_adapter_layer *x = &a->layers[i], *y = find_layer(b, x->module, i);
        order = memcmp(x->b->value.data, y->b->value.data, sow_bytes(x->b->value));
        if (!order) order = memcmp(x->a->value.data, y->a->value.data, sow_bytes(x->a->value));
        if (!order) order = (x->scale > y->scale) - (x->scale < y->scale);
    }
    for (int64_t i = 0; i < a->whole_count && !order; i++) {
        const sow_entry *x = a->wholes[i].weight, *y = find_whole(b, a->wholes[i].module)->weight;
        order = memcmp(x->value.data, y->value.data, sow_bytes(x->value));
    }
    return order ? order : (weight_a > weight_b) - (weight_a < weight_b);
}

static void sort_clients(merging *m) {
    for (int64_t i = 1; i < m->count; i++)
        for (int64_t k = i;
             k > 0 && compare_clients(m->client[k - 1], m->weight[k - 1], m->client[k], m->weight[k]) > 0; k--) {
            const sow_adapter *a = m->client[k];
            double weight = m->weight[k];
            m->client[k] = m->client[k - 1], m->weight[k] = m->weight[k - 1];
            m->client[k - 1] = a, m->weight[k - 1] = weight;
        }
}

static sow_status gather(merging *m, const sow_adapter *const *clients, const double *weights) {
    double sum = 0;
    const sow_adapter *first = clients[0];
    SOW_TRY(SOW_NEW(m->arena, m->client, m->count));
    SOW_TRY(SOW_NEW(m->arena, m->weight, m->count));
    SOW_TRY(SOW_NEW(m->arena, m->layer, m->layers * m->count + 1));
    SOW_TRY(SOW_NEW(m->arena, m->scale, m->layers * m->count + 1));
    for (int64_t k = 0; k < m->count; k++) m->client[k] = clients[k], m->weight[k] = weights[k];
    sort_clients(m);
    for (int64_t k = 0; k < m->count; k++) sum += m->weight[k];
    for (int64_t k = 0; k < m->count; k++) m->weight[k] /= sum;
    for (int64_t i = 0; i < m->layers; i++)
        for (int64_t k = 0; k < m->count; k++)
            m->layer[i * m->count + k] = find_layer(m->client[k], first->layers[i].module, i);
    return SOW_OK;
}

/* ---- what comes out ---- */

/* The largest of the clients' scales: a layer's B_k are brought to it. */
static double common_scale(const merging *m, int64_t i) {
    double scale = 0;
    for (int64_t k = 0; k < m->count; k++) {
        double found = m->layer[i * m->count + k]->scale;
        if (k == 0 || found > scale) scale = found;
    }
    for (int64_t k = 0; k < m->count; k++)
        m->scale[i * m->count + k] = scale == 0 ? 0 : m->layer[i * m->count + k]->scale / scale;
    return scale;
}

static sow_status declare_whole(merging *m, const sow_adapter_whole *w) {
    sow_site site = {.module = w->module, .weight = w->weight, .bias = w->bias};
    SOW_TRY(sow_adapter_add_whole(m->out, &site));
    sow_adapter_whole *own = &m->out->wholes[m->out->whole_count - 1];
    own->site = w->site;
    for (int part = 0; part < 2; part++) {
        sow_entry *to = part ? own->bias : own->weight;
        for (int64_t i = 0; to && i < sow_count(to->value); i++) {
            double mean = 0;
            for (int64_t k = 0; k < m->count; k++) {
                const sow_adapter_whole *from = find_whole(m->client[k], w->module);
                mean += m->weight[k] * sow_at((part ? from->bias : from->weight)->value, i);
            }
            sow_put(to->value, i, mean);
        }
    }
    return SOW_OK;
}

static sow_status declare(merging *m, const sow_adapter *first) {
    bool stacks = m->config->kind == SOW_FAIR_FLORA;
    int64_t rank = stacks ? m->count * first->rank : first->rank;
    double scale = first->count > 0 ? common_scale(m, 0) : 1,
           factor = first->rslora ? sqrt((double)rank) : (double)rank;
    SOW_TRY(sow_adapter_new(rank, scale * factor, first->rslora, &m->out));
    sow_adapter *out = m->out;
    out->base = first->base ? sow_arena_copy(out->arena, first->base) : NULL;
    out->task = first->task ? sow_arena_copy(out->arena, first->task) : NULL;
    out->targets = first->targets ? sow_arena_copy(out->arena, first->targets) : NULL;
    for (int64_t i = 0; i < m->layers; i++) {
        const sow_adapter_layer *from = &first->layers[i];
        sow_site site = {.module = from->module, .in = from->in, .out = from->out, .by_inputs = first->by_inputs};
        sow_adapter_layer *l;
        int64_t own = stacks ? m->count * from->rank : from->rank;
        double alpha = common_scale(m, i) * (first->rslora ? sqrt((double)own) : (double)own);
        SOW_TRY(sow_adapter_add(out, &site, own, alpha, SOW_ADAPTER_LORA, &l));
        l->site = from->site;
    }
    for (int64_t i = 0; i < first->whole_count; i++) SOW_TRY(declare_whole(m, &first->wholes[i]));
    return SOW_OK;
}

/* ---- the work ---- */

static sow_status merge_layer(merging *m, int64_t i, sow_arena *scratch) {
    sow_mark mark = sow_arena_mark(scratch);
    const sow_adapter_layer **client = m->layer + i * m->count;
    sow_adapter_layer *out = &m->out->layers[i];
    const float **a, **b;
    SOW_TRY(SOW_NEW(scratch, a, m->count));
    SOW_TRY(SOW_NEW(scratch, b, m->count));
    for (int64_t k = 0; k < m->count; k++) a[k] = client[k]->a->value.data, b[k] = client[k]->b->value.data;
    sow_fair_factors factors = {m->count, out->in, out->out, client[0]->rank, a, b, m->weight, m->scale + i * m->count};
    m->report[i].module = out->module;
    sow_status status = sow_fair_merge_layer(m->config, &factors, scratch, out->a->value.data, out->b->value.data,
                                             &m->report[i]);
    sow_arena_release(scratch, mark);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "%s", out->module);
}

static void merge_cell(void *context, int64_t i) {
    merging *m = context;
    m->status[i] = sow_interrupted() ? SOW_E_INTERRUPTED : merge_layer(m, i, m->scratch[sow_worker()]);
    int64_t done = __atomic_add_fetch(&m->done, 1, __ATOMIC_RELAXED);
    if (sow_worker() == 0 && done < m->layers) sow_progress("merging", done, m->layers);
}

/* Layers side by side. Messages are kept per thread: a layer that failed is merged again here, for its message. */
static sow_status merge_all(merging *m) {
    sow_cells(m->layers, merge_cell, m);
    sow_progress("merging", m->layers, m->layers);
    for (int64_t i = 0; i < m->layers; i++)
        if (m->status[i] != SOW_OK) {
            SOW_TRY(sow_check_interrupt());
            return merge_layer(m, i, m->scratch[0]);
        }
    return SOW_OK;
}

static sow_status merge_with_scratch(merging *m, const sow_adapter *first) {
    int workers = sow_threads(), made = 0;
    SOW_TRY(SOW_NEW(m->arena, m->scratch, workers));
    SOW_TRY(SOW_NEW(m->arena, m->status, m->layers + 1));
    SOW_TRY(SOW_NEW(m->arena, m->report, m->layers + 1));
    sow_status status = SOW_OK;
    while (status == SOW_OK && made < workers) {
        status = sow_arena_new(&m->scratch[made]);
        made += status == SOW_OK;
    }
    if (status == SOW_OK) status = declare(m, first);
    if (status == SOW_OK) status = merge_all(m);
    while (made > 0) sow_arena_free(m->scratch[--made]);
    return status;
}

sow_status sow_fair_merge(const sow_fair_config *config, const sow_adapter *const *clients, const double *weights,
                          int64_t count, sow_arena *arena, sow_adapter **out, sow_fair_layer **layers) {
    if (count < 1) return sow_fail(SOW_E_ARGUMENT, "no adapters to merge");
    SOW_TRY(check(clients, weights, count));
    merging m = {.config = config, .count = count, .layers = clients[0]->count, .arena = arena};
    SOW_TRY(gather(&m, clients, weights));
    sow_status status = merge_with_scratch(&m, clients[0]);
    if (status == SOW_OK) *out = m.out, *layers = m.report;
    else sow_adapter_free(m.out);
    return status;
}
