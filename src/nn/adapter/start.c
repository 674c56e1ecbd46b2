/* The usual starts of adapters: random ones, and those taken from the weights. */
#include <math.h>
#include <string.h>

#include "nn/adapter/adapter.h"
#include "sow/init.h"
#include "sow/linalg.h"
#include "sow/log.h"
#include "sow/text.h"

enum { EXTRA = 16, ROUNDS = 8 }; /* of the randomised SVD: spectra of weights fall slowly */

static const char *const names[SOW_STARTS + 1] = {"lora",  "rslora",  "dora",        "orthonormal", "pissa",
                                                  "olora", "lora-xs", "core-random", NULL};

const char *sow_adapter_start_name(sow_adapter_start start) {
    return names[start];
}

sow_status sow_adapter_start_parse(const char *name, sow_adapter_start *out) {
    for (int i = 0; i < SOW_STARTS; i++)
        if (!strcmp(names[i], name)) {
            *out = (sow_adapter_start)i;
            return SOW_OK;
        }
    const char *near = sow_nearest(name, names, SOW_STARTS);
    return sow_fail(
        SOW_E_ARGUMENT,
        "adapter start '%s'%s%s; expected lora, rslora, dora, orthonormal, pissa, olora, lora-xs or core-random", name,
        near ? ": did you mean " : "", near ? near : "");
}

typedef struct making {
    sow_adapter *adapter;
    sow_arena *scratch;
    sow_rng rng;
    sow_adapter_start start;
} making;

/* W [out, in] of a site, whatever its storage. */
static sow_tensor weight_of(const sow_site *site) {
    return site->by_inputs ? sow_transpose(site->weight->value) : site->weight->value;
}

/* ---- random ---- */

static sow_status kaiming(making *m, sow_adapter_layer *l) {
    sow_init init = sow_init_defaults(SOW_INIT_KAIMING_UNIFORM);
    init.slope = sqrt(5);
    return sow_init_tensor(&m->rng, l->module, SOW_ROLE_WEIGHT, &init, 0, l->a->value);
}

/* Random with orthonormal columns; t is [tall, narrow] in any layout. */
static sow_status orthonormal(making *m, const char *module, const char *factor, sow_tensor t) {
    char name[600];
    sow_tensor columns;
    snprintf(name, sizeof name, "%s.%s", module, factor);
    sow_rng_at(&m->rng, "adapter", name);
    SOW_TRY(sow_tensor_new(m->scratch, SOW_F64, 2, (int64_t[]){t.shape[1], t.shape[0]}, &columns));
    sow_rng_normal_f64(&m->rng, columns.data, sow_count(columns), 0, 1);
    columns = sow_transpose(columns);
    SOW_TRY(sow_qr(columns, columns, (sow_tensor){0}));
    return sow_copy(t, columns);
}

static sow_status row_lengths(const sow_adapter_layer *l) {
    sow_tensor w = weight_of(l->site);
    for (int64_t i = 0; i < l->out; i++) {
        double sum = 0;
        for (int64_t j = 0; j < l->in; j++) {
            double x = sow_at(w, i * l->in + j);
            sum += x * x;
        }
        sow_put(l->magnitude->value, i, sqrt(sum));
    }
    return SOW_OK;
}

/* ---- from the weights ---- */

typedef struct triples {
    sow_tensor u, s, vt;
} triples;

static sow_status leading(making *m, const sow_adapter_layer *l, triples *out) {
    SOW_TRY(sow_tensor_new(m->scratch, SOW_F64, 2, (int64_t[]){l->out, l->rank}, &out->u));
    SOW_TRY(sow_tensor_new(m->scratch, SOW_F64, 1, &l->rank, &out->s));
    SOW_TRY(sow_tensor_new(m->scratch, SOW_F64, 2, (int64_t[]){l->rank, l->in}, &out->vt));
    sow_rng_at(&m->rng, "adapter", l->module);
    return sow_svd_leading(weight_of(l->site), EXTRA, ROUNDS, &m->rng, out->u, out->s, out->vt);
}

/* The base loses what the start puts in: W -= s B A, and B, A are remembered. */
static sow_status shift(making *m, sow_adapter_layer *l) {
    sow_arena *keep = m->adapter->arena;
    SOW_TRY(sow_tensor_like(keep, l->a->value, &l->a0));
    SOW_TRY(sow_tensor_like(keep, l->b->value, &l->b0));
    SOW_TRY(sow_copy(l->a0, l->a->value));
    SOW_TRY(sow_copy(l->b0, l->b->value));
    return adapter_add_product(l->site, l->b0, l->a0, -l->scale);
}

static sow_status pissa(making *m, sow_adapter_layer *l) {
    triples t;
    SOW_TRY(leading(m, l, &t));
    for (int64_t i = 0; i < l->rank; i++) {
        double root = sqrt(sow_at(t.s, i) / l->scale);
        for (int64_t j = 0; j < l->in; j++) sow_put(l->a->value, i * l->in + j, root * sow_at(t.vt, i * l->in + j));
        for (int64_t j = 0; j < l->out; j++) sow_put(l->b->value, j * l->rank + i, root * sow_at(t.u, j * l->rank + i));
    }
    return shift(m, l);
}

/* W = Q R: B the first columns of Q, A the first rows of R = Q^T W. */
static sow_status olora(making *m, sow_adapter_layer *l) {
    sow_tensor q, w, r;
    int64_t k = l->rank;
    SOW_TRY(sow_tensor_new(m->scratch, SOW_F64, 2, (int64_t[]){k, l->out}, &q));
    SOW_TRY(sow_tensor_new(m->scratch, SOW_F64, 2, (int64_t[]){l->out, l->in}, &w));
    SOW_TRY(sow_tensor_new(m->scratch, SOW_F64, 2, (int64_t[]){k, l->in}, &r));
    SOW_TRY(sow_copy(w, weight_of(l->site)));
    SOW_TRY(sow_qr(sow_slice(w, 1, 0, k), sow_transpose(q), (sow_tensor){0}));
    sow_gemm_f64(false, false, k, l->in, l->out, 1, q.data, l->out, w.data, l->in, 0, r.data, l->in);
    SOW_TRY(sow_copy(l->a->value, r));
    SOW_TRY(sow_copy(l->b->value, sow_transpose(q)));
    return shift(m, l);
}

static sow_status xs(making *m, sow_adapter_layer *l) {
    triples t;
    char name[600];
    SOW_TRY(leading(m, l, &t));
    SOW_TRY(sow_copy(l->b->value, t.u));
    for (int64_t i = 0; i < l->rank; i++)
        for (int64_t j = 0; j < l->in; j++)
            sow_put(l->a->value, i * l->in + j, sow_at(t.s, i) * sow_at(t.vt, i * l->in + j));
    sow_init init = sow_init_defaults(SOW_INIT_NORMAL);
    init.sd = 1e-5;
    snprintf(name, sizeof name, "%s.R", l->module);
    return sow_init_tensor(&m->rng, name, SOW_ROLE_WEIGHT, &init, 0, l->core->value);
}

/* ---- all layers ---- */

static sow_status fill(making *m, sow_adapter_layer *l) {
    bool from_weights = m->start == SOW_START_DORA || m->start == SOW_START_PISSA || m->start == SOW_START_OLORA ||
                        m->start == SOW_START_XS;
    if (from_weights && !l->site->weight)
        return sow_fail(SOW_E_UNSUPPORTED, "%s: %s needs the base's weights as numbers, not quantised", l->module,
                        names[m->start]);
    switch (m->start) {
    case SOW_START_PISSA: return pissa(m, l);
    case SOW_START_OLORA: return olora(m, l);
    case SOW_START_XS: return xs(m, l);
    case SOW_START_ORTHONORMAL: return orthonormal(m, l->module, "A", sow_transpose(l->a->value));
    case SOW_START_CORE_RANDOM:
        SOW_TRY(orthonormal(m, l->module, "A", sow_transpose(l->a->value)));
        return orthonormal(m, l->module, "B", l->b->value);
    case SOW_START_DORA: SOW_TRY(row_lengths(l)); /* fall through */
    default: return kaiming(m, l);
    }
}

static sow_status make_layer(making *m, const sow_site *site) {
    sow_adapter_parts parts = m->start == SOW_START_DORA                                      ? SOW_ADAPTER_DORA
                              : m->start == SOW_START_XS || m->start == SOW_START_CORE_RANDOM ? SOW_ADAPTER_CORE
                                                                                              : SOW_ADAPTER_LORA;
    int64_t least = site->in < site->out ? site->in : site->out, rank = m->adapter->rank;
    sow_adapter_layer *l;
    SOW_TRY(sow_adapter_add(m->adapter, site, rank < least ? rank : least, rank < least ? m->adapter->alpha : -1, parts,
                            &l));
    sow_mark mark = sow_arena_mark(m->scratch);
    sow_status status = fill(m, l);
    sow_arena_release(m->scratch, mark);
    return status;
}

sow_status sow_adapter_make(sow_adapter_start start, const sow_sites *sites, int64_t rank, double alpha, uint64_t seed,
                            sow_adapter **out) {
    making m = {.start = start};
    SOW_TRY(sow_arena_new(&m.scratch));
    sow_status status = sow_adapter_new(rank, alpha, start == SOW_START_RSLORA, &m.adapter);
    if (status == SOW_OK) status = sow_rng_seed(&m.rng, SOW_RNG_SOW, seed);
    for (int64_t i = 0; status == SOW_OK && i < sites->count; i++) {
        status = make_layer(&m, &sites->at[i]);
        if (start >= SOW_START_PISSA) sow_progress("adapter", i + 1, sites->count);
        if (status == SOW_OK) status = sow_check_interrupt();
    }
    sow_arena_free(m.scratch);
    if (status == SOW_OK) *out = m.adapter;
    else {
        if (m.adapter) sow_adapter_unshift(m.adapter);
        sow_adapter_free(m.adapter);
    }
    return status;
}

void sow_adapter_unshift(sow_adapter *a) {
    for (int64_t i = 0; i < a->count; i++) {
        sow_adapter_layer *l = &a->layers[i];
        if (!l->a0.data || !l->site) continue;
        adapter_add_product(l->site, l->b0, l->a0, l->scale);
        l->a0.data = l->b0.data = NULL;
    }
}
