/* LoRA-SB: cores between the leading singular vectors of full fine-tuning's first step: Ponkshe et al. 2024, arXiv 2411.19557. */
#include <math.h>
#include <string.h>

#include "sow/adapters.h"
#include "sow/linalg.h"
#include "sow/log.h"
#include "sow/threads.h"

enum { EXTRA = 10, ROUNDS = 10 }; /* of the sketch: signs of gradients have slowly falling spectra */
enum { CHUNK = 16 };              /* layers decomposed between two looks at the clock */

void sow_first_update(sow_first_step step, double eta, sow_tensor gradient, sow_tensor update) {
    for (int64_t i = 0; i < sow_count(gradient); i++) {
        double g = sow_at(gradient, i);
        sow_put(update, i, step == SOW_FIRST_STEP_SGD ? -eta * g : g > 0 ? -eta : g < 0 ? eta : 0);
    }
}

int64_t sow_lora_sb_rank_for(const sow_lora_sb_energy *energy, double share) {
    for (int64_t i = 0; i < energy->count; i++)
        if (energy->captured[i] >= share) return i + 1;
    return -1;
}

/* ---- one layer ---- */

typedef struct part {
    const sow_lora_sb_config *config;
    sow_adapter_layer *layer;
    sow_lora_sb_energy *energy;
    sow_status status;
    char message[400];
} part;

/* dW [out, in], in the memory of the gradient. A weight that no sample reached has none. */
static sow_tensor first_step(const part *p) {
    sow_entry *e = p->layer->site->weight;
    sow_tensor g = p->layer->site->by_inputs ? sow_transpose(e->grad) : e->grad;
    if (!e->grad_written) sow_fill(g, 0);
    sow_first_update(p->config->first_step, p->config->eta, g, g);
    return g;
}

static double squares(sow_tensor t) {
    double sum = 0;
    for (int64_t i = 0; i < sow_count(t); i++) sum += sow_at(t, i) * sow_at(t, i);
    return sum;
}

static void measure(part *p, sow_tensor singular) {
    double sum = 0;
    for (int64_t i = 0; i < p->energy->count; i++) {
        double s = sow_at(singular, i);
        sum += s * s;
        p->energy->captured[i] = p->energy->total > 0 ? fmin(sum / p->energy->total, 1) : 0;
    }
}

/* The largest element of every row of vt becomes positive, as sow_svd has it. */
static void fix_signs(sow_tensor u, sow_tensor vt) {
    int64_t k = vt.shape[0], in = vt.shape[1], out = u.shape[0];
    for (int64_t i = 0; i < k; i++) {
        double largest = 0;
        for (int64_t j = 0; j < in; j++) {
            double x = sow_at(vt, i * in + j);
            if (fabs(x) > fabs(largest)) largest = x;
        }
        if (largest >= 0) continue;
        for (int64_t j = 0; j < in; j++) sow_put(vt, i * in + j, -sow_at(vt, i * in + j));
        for (int64_t j = 0; j < out; j++) sow_put(u, j * k + i, -sow_at(u, j * k + i));
    }
}

/* All singular values and the leading vectors from the eigenvectors of the smaller Gram matrix: a third of the time of a whole
 * decomposition, and as exact as long as no singular value that is used is far below the largest; *done says so. */
static sow_status by_gram(sow_arena *scratch, sow_tensor w, sow_tensor u, sow_tensor s, sow_tensor vt, bool *done) {
    int64_t out = w.shape[0], in = w.shape[1], n = out < in ? out : in, k = vt.shape[0];
    bool tall = out >= in;
    sow_tensor gram, eigen, other = tall ? u : sow_transpose(vt);
    double *x = w.data;
    SOW_TRY(sow_tensor_new(scratch, SOW_F64, 2, (int64_t[]){n, n}, &gram));
    SOW_TRY(sow_tensor_new(scratch, SOW_F64, 2, (int64_t[]){n, n}, &eigen));
    sow_gemm_f64(tall, !tall, n, n, tall ? out : in, 1, x, in, x, in, 0, gram.data, n);
    SOW_TRY(sow_eigen_symmetric(gram, s, eigen));
    for (int64_t i = 0; i < n; i++) sow_put(s, i, sqrt(fmax(sow_at(s, i), 0)));
    *done = sow_at(s, k - 1) > 1e-3 * sow_at(s, 0);
    if (!*done) return SOW_OK;
    eigen = sow_slice(eigen, 1, 0, k);
    SOW_TRY(sow_copy(tall ? sow_transpose(vt) : u, eigen));
    int64_t rows = tall ? out : in;
    sow_tensor product;
    SOW_TRY(sow_tensor_new(scratch, SOW_F64, 2, (int64_t[]){rows, k}, &product));
    sow_gemm_f64(!tall, false, rows, k, n, 1, x, in, eigen.data, n, 0, product.data, k);
    for (int64_t i = 0; i < rows * k; i++) sow_put(product, i, sow_at(product, i) / sow_at(s, i % k));
    SOW_TRY(sow_copy(other, product));
    fix_signs(u, vt);
    return SOW_OK;
}

/* All singular values (with a sketch the leading ones), and as many vectors as the layer's rank. */
static sow_status decompose_exactly(sow_arena *scratch, sow_tensor update, sow_tensor u, sow_tensor s, sow_tensor vt) {
    int64_t out = update.shape[0], in = update.shape[1], n = out < in ? out : in, k = vt.shape[0];
    sow_tensor w, all_u, all_vt;
    bool done;
    SOW_TRY(sow_tensor_new(scratch, SOW_F64, 2, update.shape, &w));
    SOW_TRY(sow_copy(w, update));
    SOW_TRY(by_gram(scratch, w, u, s, vt, &done));
    if (done) return SOW_OK;
    SOW_TRY(sow_tensor_new(scratch, SOW_F64, 2, (int64_t[]){out, n}, &all_u));
    SOW_TRY(sow_tensor_new(scratch, SOW_F64, 2, (int64_t[]){n, in}, &all_vt));
    SOW_TRY(sow_svd(w, all_u, s, all_vt));
    SOW_TRY(sow_copy(u, sow_slice(all_u, 1, 0, k)));
    return sow_copy(vt, sow_slice(all_vt, 0, 0, k));
}

/* B = U, R = diag(sigma), A = V^T of the leading directions. */
static sow_status decompose(part *p, sow_arena *scratch) {
    sow_adapter_layer *l = p->layer;
    sow_tensor update, u, s, vt;
    sow_status status = sow_require_finite(l->site->weight->grad, l->module);
    if (status != SOW_OK) return sow_fail_in(status, "the gradient");
    update = first_step(p);
    p->energy->total = squares(update);
    SOW_TRY(sow_tensor_new(scratch, SOW_F64, 2, (int64_t[]){l->out, l->rank}, &u));
    SOW_TRY(sow_tensor_new(scratch, SOW_F64, 1, &p->energy->count, &s));
    SOW_TRY(sow_tensor_new(scratch, SOW_F64, 2, (int64_t[]){l->rank, l->in}, &vt));
    if (p->config->sketch) {
        sow_rng rng;
        SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, p->config->seed));
        sow_rng_at(&rng, "lora-sb", l->module);
        SOW_TRY(sow_svd_leading(update, EXTRA, ROUNDS, &rng, u, s, vt));
    } else SOW_TRY(decompose_exactly(scratch, update, u, s, vt));
    measure(p, s);
    SOW_TRY(sow_copy(l->b->value, u));
    SOW_TRY(sow_copy(l->a->value, vt));
    for (int64_t i = 0; i < l->rank && !p->config->zero_core; i++)
        sow_put(l->core->value, i * (l->rank + 1), sow_at(s, i) / l->scale);
    return SOW_OK;
}

static void decompose_cell(void *context, int64_t i) {
    part *p = (part *)context + i;
    sow_arena *scratch;
    p->status = sow_arena_new(&scratch);
    if (p->status == SOW_OK) {
        p->status = decompose(p, scratch);
        sow_arena_free(scratch);
    }
    if (p->status != SOW_OK) snprintf(p->message, sizeof p->message, "%s", sow_message());
}

/* ---- groups of layers ---- */

typedef struct starting {
    const sow_lora_sb_config *config;
    const sow_sites *sites;
    sow_feed *feed;
    sow_adapter *adapter;
    part *parts;        /* [sites] */
    sow_arena *scratch; /* sums of gradients of one group */
} starting;

/* As many layers from `first` on as fit into the memory; one always does. */
static int64_t group_end(const starting *s, int64_t first) {
    int64_t bytes = 0, i = first;
    for (; i < s->sites->count; i++) {
        bytes += (int64_t)sow_bytes(s->sites->at[i].weight->value);
        if (i > first && s->config->memory > 0 && bytes > s->config->memory) break;
    }
    return i;
}

static sow_status open_group(starting *s, int64_t first, int64_t end) {
    sow_state_train(s->feed->state, false);
    for (int64_t i = first; i < end; i++) {
        sow_entry *e = s->sites->at[i].weight;
        SOW_TRY(sow_tensor_like(s->scratch, e->value, &e->grad));
        e->trainable = true;
    }
    sow_fresh_gradients(s->feed->state);
    return SOW_OK;
}

static void close_group(starting *s, int64_t first, int64_t end) {
    for (int64_t i = first; i < end; i++) s->sites->at[i].weight->grad = (sow_tensor){0};
    sow_state_train(s->feed->state, false);
}

static sow_status decompose_group(starting *s, int64_t first, int64_t end) {
    for (int64_t at = first; at < end; at += CHUNK) {
        int64_t n = end - at < CHUNK ? end - at : CHUNK;
        sow_cells(n, decompose_cell, s->parts + at);
        for (int64_t i = at; i < at + n; i++)
            if (s->parts[i].status != SOW_OK) return sow_fail(s->parts[i].status, "%s", s->parts[i].message);
        sow_progress("decomposing", at + n, s->sites->count);
        SOW_TRY(sow_check_interrupt());
    }
    return SOW_OK;
}

static sow_status start_group(starting *s, int64_t first, int64_t end, double *loss) {
    sow_mark mark = sow_arena_mark(s->scratch);
    sow_status status = open_group(s, first, end);
    if (status == SOW_OK) status = sow_feed_gradients(s->feed, loss);
    if (status == SOW_OK) status = decompose_group(s, first, end);
    close_group(s, first, end);
    sow_arena_release(s->scratch, mark);
    return status;
}

static sow_status check_site(const sow_site *site) {
    if (!site->weight)
        return sow_fail(SOW_E_UNSUPPORTED, "%s: gradients need the base's weights as numbers, not quantised",
                        site->module);
    if (!sow_is_dense(site->weight->value))
        return sow_fail(SOW_E_UNSUPPORTED, "%s: its weight lies with gaps in memory", site->module);
    return SOW_OK;
}

/* Empty layers first: their addresses move while layers are added. */
static sow_status add_layers(starting *s, sow_arena *arena, sow_lora_sb_energy *energy) {
    const sow_sites *sites = s->sites;
    SOW_TRY(SOW_NEW(arena, s->parts, sites->count));
    for (int64_t i = 0; i < sites->count; i++) {
        const sow_site *site = &sites->at[i];
        int64_t least = site->in < site->out ? site->in : site->out;
        int64_t rank = s->config->rank < least ? s->config->rank : least;
        sow_adapter_layer *l;
        SOW_TRY(check_site(site));
        SOW_TRY(sow_adapter_add(s->adapter, site, rank, -1, SOW_ADAPTER_CORE, &l));
        energy[i] = (sow_lora_sb_energy){
            .module = l->module, .in = l->in, .out = l->out, .rank = rank, .count = s->config->sketch ? rank : least};
        SOW_TRY(SOW_NEW(arena, energy[i].captured, energy[i].count));
    }
    for (int64_t i = 0; i < sites->count; i++)
        s->parts[i] = (part){.config = s->config, .layer = &s->adapter->layers[i], .energy = &energy[i]};
    return SOW_OK;
}

static sow_status start_all(starting *s, sow_arena *arena, sow_lora_sb_report *report) {
    SOW_TRY(SOW_NEW(arena, report->layers, s->sites->count));
    SOW_TRY(add_layers(s, arena, report->layers));
    for (int64_t first = 0, end; first < s->sites->count; first = end) {
        end = group_end(s, first);
        SOW_TRY(start_group(s, first, end, &report->loss));
    }
    return SOW_OK;
}

sow_status sow_lora_sb(const sow_lora_sb_config *config, const sow_sites *sites, sow_feed *feed, sow_arena *arena,
                       sow_adapter **out, sow_lora_sb_report *report) {
    sow_lora_sb_report unwanted;
    starting s = {.config = config, .sites = sites, .feed = feed};
    if (config->rank < 1) return sow_fail(SOW_E_RANGE, "rank %lld, expected at least 1", (long long)config->rank);
    if (sites->count == 0) return sow_fail(SOW_E_ARGUMENT, "the model has no linear layer to adapt");
    SOW_TRY(sow_arena_new(&s.scratch));
    sow_status status = sow_adapter_new(config->rank, (double)config->rank, false, &s.adapter);
    if (status == SOW_OK) status = start_all(&s, arena, report ? report : &unwanted);
    sow_arena_free(s.scratch);
    if (status == SOW_OK) *out = s.adapter;
    else sow_adapter_free(s.adapter);
    return status;
}

/* ---- training the core alone ---- */

/* X with R X = Y for an upper triangle R; x: [n, columns], Y at the start. */
static void solve_upper(const double *r, int64_t n, double *x, int64_t columns) {
    for (int64_t c = 0; c < columns; c++)
        for (int64_t i = n; i-- > 0;) {
            double sum = x[i * columns + c];
            for (int64_t k = i + 1; k < n; k++) sum -= r[i * n + k] * x[k * columns + c];
            x[i * columns + c] = sum / r[i * n + i];
        }
}

static void transpose_square(double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) {
            double kept = x[i * n + j];
            x[i * n + j] = x[j * n + i];
            x[j * n + i] = kept;
        }
}

/* t [m, r] = Q R, refused where a column depends on the others. */
static sow_status orthonormal(sow_arena *arena, sow_tensor t, const char *name, sow_tensor *q, double **r) {
    int64_t n = t.shape[1];
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, t.shape, q));
    SOW_TRY(SOW_NEW(arena, *r, n * n));
    SOW_TRY(sow_qr(t, *q, SOW_TENSOR(*r, SOW_F64, n, n)));
    double largest = 0, least = INFINITY;
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, (*r)[i * (n + 1)]);
        least = fmin(least, (*r)[i * (n + 1)]);
    }
    if (least > 1e-12 * largest) return SOW_OK;
    return sow_fail(SOW_E_NUMBER, "%s has no full rank: its %lld directions depend on each other", name, (long long)n);
}

/* With B = Q_B R_B and A^T = Q_A R_A everything goes through M = Q_B^T g Q_A: raw = s R_B^T M R_A, best = R_B^-1 M R_A^-T / s,
 * equivalent = Q_B M Q_A^T. */
static sow_status core_gradients(sow_arena *arena, sow_tensor b, sow_tensor a, double s, sow_tensor g, sow_tensor raw,
                                 sow_tensor best, sow_tensor equivalent) {
    int64_t out = b.shape[0], r = b.shape[1], in = a.shape[1];
    sow_tensor qb, qa;
    double *rb, *ra, *gq, *m, *half;
    SOW_TRY(orthonormal(arena, b, "B", &qb, &rb));
    SOW_TRY(orthonormal(arena, sow_transpose(a), "A", &qa, &ra));
    SOW_TRY(SOW_NEW(arena, gq, out * r));
    SOW_TRY(SOW_NEW(arena, m, r * r));
    SOW_TRY(SOW_NEW(arena, half, r * r));
    sow_gemm_f64(false, false, out, r, in, 1, g.data, in, qa.data, r, 0, gq, r);
    sow_gemm_f64(true, false, r, r, out, 1, qb.data, r, gq, r, 0, m, r);
    sow_gemm_f64(true, false, r, r, r, s, rb, r, m, r, 0, half, r);
    sow_gemm_f64(false, false, r, r, r, 1, half, r, ra, r, 0, raw.data, r);
    sow_gemm_f64(false, false, out, r, r, 1, qb.data, r, m, r, 0, gq, r);
    sow_gemm_f64(false, true, out, in, r, 1, gq, r, qa.data, r, 0, equivalent.data, in);
    double *x = best.data;
    for (int64_t i = 0; i < r * r; i++) x[i] = m[i] / s;
    solve_upper(rb, r, x, r);
    transpose_square(x, r);
    solve_upper(ra, r, x, r);
    transpose_square(x, r);
    return SOW_OK;
}

sow_status sow_core_gradients(sow_tensor b, sow_tensor a, double s, sow_tensor g, sow_tensor raw, sow_tensor best,
                              sow_tensor equivalent) {
    sow_arena *arena;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = core_gradients(arena, b, a, s, g, raw, best, equivalent);
    sow_arena_free(arena);
    return status;
}
