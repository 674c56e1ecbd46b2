/* SGD with momentum, Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019) and SGD-SaI (Xu et al. 2024, arXiv
 * 2412.11768): one fused pass a tensor, in which a mask binds gradient, update and weight. Formulas and their order are those of
 * torch.optim, for SGD-SaI of the authors' package. */
#include <math.h>
#include <string.h>

#include "autograd/op.h"
#include "optim/partition.h"
#include "sow/optim.h"

typedef struct slot {
    sow_entry *entry;
    sow_tensor first, second; /* momentum or exp_avg; exp_avg_sq (data NULL: none) */
    double scale;
    int64_t steps;            /* updates this entry has had: Adam's bias correction counts them, as in PyTorch */
    int64_t *kept_steps;      /* SGDM, SGD-SaI: the same among the moments, for what begins at the first gradient; else NULL */
    sow_partition partition;  /* SGD-SaI: what has a scale of its own */
    double *scales;           /* [partition.parts]; NULL: all 1 */
    sow_gsnr *measured;       /* [partition.parts], scratch */
} slot;

struct sow_optimizer {
    sow_arena *arena;
    sow_optimizer_config config;
    slot *slots;
    int64_t count, steps;
    sow_state *moments;
    double *norm; /* SGD-SaI: what measured scales are divided by; 0: not yet known */
};

static const char *const names[SOW_OPTIMIZERS] = {"sgd", "adam", "adamw", "sgdm", "sgd-sai"};

const char *sow_optimizer_name(sow_optimizer_kind kind) {
    return names[kind];
}

sow_status sow_optimizer_parse(const char *name, sow_optimizer_kind *out) {
    for (int i = 0; i < SOW_OPTIMIZERS; i++)
        if (!strcmp(names[i], name)) {
            *out = (sow_optimizer_kind)i;
            return SOW_OK;
        }
    return sow_fail(SOW_E_ARGUMENT, "optimizer '%s': expected sgd, adam, adamw, sgdm or sgd-sai", name);
}

static sow_status add_moment(sow_optimizer *o, const sow_entry *e, const char *suffix, sow_tensor *out) {
    char *name = sow_arena_format(o->arena, "%s.%s", e->name, suffix);
    if (!name) return SOW_E_MEMORY;
    SOW_TRY(sow_tensor_like(o->arena, e->value, out));
    return sow_state_add_view(o->moments, name, *out, NULL);
}

static bool is_adam(const sow_optimizer *o) {
    return o->config.kind == SOW_ADAM || o->config.kind == SOW_ADAMW;
}

/* Whether momentum is a moving average: m = momentum m + (1 - dampening) g. */
static bool is_average(const sow_optimizer *o) {
    return o->config.kind == SOW_SGDM || o->config.kind == SOW_SGD_SAI || o->config.dampening != 0;
}

/* Numbers of an entry that are restored with the moments. */
static sow_status add_numbers(sow_optimizer *o, const char *entry, const char *suffix, sow_dtype type, int64_t count,
                              void *out) {
    char *name = sow_arena_format(o->arena, "%s.%s", entry, suffix);
    sow_tensor numbers;
    if (!name) return SOW_E_MEMORY;
    SOW_TRY(sow_tensor_new(o->arena, type, 1, &count, &numbers));
    memcpy(out, &numbers.data, sizeof numbers.data);
    return sow_state_add_view(o->moments, name, numbers, NULL);
}

static sow_status add_scales(sow_optimizer *o, slot *s) {
    const sow_scales *given = o->config.scales;
    const char *name = s->entry->name;
    s->partition = sow_partition_of(s->entry, &o->config.blocks);
    const sow_scale_row *rows = given ? sow_scales_find(given, name) : NULL;
    if (rows) s->partition.parts = rows->parts;
    SOW_TRY(add_numbers(o, name, "scale", SOW_F64, s->partition.parts, &s->scales));
    if (!rows) return SOW_NEW(o->arena, s->measured, s->partition.parts);
    for (int64_t b = 0; b < rows->parts; b++) s->scales[b] = rows[b].scale;
    return SOW_OK;
}

static sow_status fill_slot(sow_optimizer *o, slot *s) {
    const char *first = is_adam(o) ? "exp_avg" : "momentum_buffer";
    if (is_adam(o) || o->config.momentum != 0) SOW_TRY(add_moment(o, s->entry, first, &s->first));
    if (is_adam(o)) SOW_TRY(add_moment(o, s->entry, "exp_avg_sq", &s->second));
    if (is_average(o)) SOW_TRY(add_numbers(o, s->entry->name, "steps", SOW_I64, 1, &s->kept_steps));
    return o->config.kind == SOW_SGD_SAI ? add_scales(o, s) : SOW_OK;
}

static sow_status fill_slots(sow_optimizer *o, sow_state *state) {
    if (o->config.kind == SOW_SGD_SAI && o->config.scales) SOW_TRY(sow_scales_fit(o->config.scales, state));
    SOW_TRY(sow_state_add_gradients(state));
    SOW_TRY(SOW_NEW(o->arena, o->slots, sow_state_count(state) + 1));
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        sow_entry *e = sow_state_entry(state, i);
        if (!e->trainable) continue;
        if (e->value.dtype != SOW_F32) return sow_fail(SOW_E_TYPE, "optimizer: '%s' is %s, expected F32", e->name, sow_dtype_name(e->value.dtype));
        slot *s = &o->slots[o->count++];
        *s = (slot){.entry = e, .scale = 1, .partition = {.parts = 1}};
        SOW_TRY(fill_slot(o, s));
    }
    if (o->config.kind != SOW_SGD_SAI) return SOW_OK;
    SOW_TRY(add_numbers(o, "sgd_sai", "norm", SOW_F64, 1, &o->norm));
    if (o->config.scales || o->config.normalise == SOW_SCALES_RAW) *o->norm = 1;
    return SOW_OK;
}

static sow_status check_config(const sow_optimizer_config *c) {
    if (c->kind == SOW_SGD && c->nesterov && c->dampening != 0)
        return sow_fail(SOW_E_ARGUMENT, "optimizer: Nesterov's momentum goes without dampening");
    if (c->kind != SOW_SGD && c->dampening != 0)
        return sow_fail(SOW_E_ARGUMENT, "optimizer: dampening belongs to sgd");
    return SOW_OK;
}

sow_status sow_optimizer_new(const sow_optimizer_config *config, sow_state *state, sow_optimizer **out) {
    sow_arena *arena;
    SOW_TRY(check_config(config));
    SOW_TRY(sow_arena_new(&arena));
    sow_optimizer *o = sow_arena_take(arena, 1, sizeof *o);
    sow_status status = o ? SOW_OK : SOW_E_MEMORY;
    if (o) {
        *o = (sow_optimizer){.arena = arena, .config = *config};
        if (config->beta1 == 0) o->config.beta1 = 0.9;
        if (config->beta2 == 0) o->config.beta2 = 0.999;
        if (config->epsilon == 0) o->config.epsilon = 1e-8;
        status = sow_state_new(&o->moments);
        if (status == SOW_OK) status = fill_slots(o, state);
        o->config.scales = NULL; /* the caller's, read */
        if (status != SOW_OK) sow_state_free(o->moments);
    }
    if (status != SOW_OK) sow_arena_free(arena);
    else *out = o;
    return status;
}

void sow_optimizer_free(sow_optimizer *o) {
    if (!o) return;
    sow_state_free(o->moments);
    sow_arena_free(o->arena);
}

sow_status sow_optimizer_scale(sow_optimizer *o, const char *name, double factor) {
    for (int64_t i = 0; i < o->count; i++)
        if (!strcmp(o->slots[i].entry->name, name)) {
            o->slots[i].scale = factor;
            return SOW_OK;
        }
    return sow_fail(SOW_E_NOT_FOUND, "optimizer: no trainable tensor '%s'", name);
}

int64_t sow_optimizer_steps(const sow_optimizer *o) {
    return o->steps;
}

void sow_optimizer_set_steps(sow_optimizer *o, int64_t steps) {
    o->steps = steps;
    for (int64_t i = 0; i < o->count; i++) o->slots[i].steps = o->slots[i].kept_steps ? *o->slots[i].kept_steps : steps;
}

sow_state *sow_optimizer_moments(sow_optimizer *o) {
    return o->moments;
}

/* ---- the fused passes; keep is NULL or 0/1 bytes ---- */

typedef struct pass {
    float *w;
    const float *g;
    float *m, *v;
    const uint8_t *keep;
    float rate, decay, momentum;                        /* SGD */
    float beta1, beta2, step, root_correction, epsilon; /* Adam: step = rate / (1 - beta1^t), root = sqrt(1 - beta2^t) */
    bool nesterov, first, decoupled;
    int64_t count;
    float fresh, shrink, coupled; /* moving average: 1 - dampening, what decay leaves of a weight, decay added to the gradient */
    double average_rate;          /* of a block with scale 1 */
    const double *scales;         /* of the parts, NULL: all 1; element i is of part (i / run) % parts */
    int64_t run, parts;
} pass;

#define SGD_LOOP(GRADIENT, WEIGHT)                                     \
    for (int64_t i = 0; i < n; i++) {                                  \
        float d = (GRADIENT) + p->decay * w[i];                        \
        if (with_momentum) {                                           \
            float b = first ? d : momentum * m[i] + d;                 \
            m[i] = b;                                                  \
            d = nesterov ? d + momentum * b : b;                       \
        }                                                              \
        w[i] = (WEIGHT);                                               \
    }

SOW_CLONES static void sgd_pass(const pass *p, int64_t first_element, int64_t n) {
    float *restrict w = p->w + first_element, *restrict m = p->m ? p->m + first_element : w;
    const float *restrict g = p->g + first_element;
    const uint8_t *restrict keep = p->keep ? p->keep + first_element : NULL;
    const float momentum = p->momentum, rate = p->rate;
    const bool with_momentum = p->m != NULL, first = p->first, nesterov = p->nesterov;
    if (!with_momentum) { /* m would alias w: its own loops */
        if (keep)
            for (int64_t i = 0; i < n; i++) w[i] = (float)keep[i] * (w[i] - rate * (g[i] + p->decay * w[i]));
        else
            for (int64_t i = 0; i < n; i++) w[i] -= rate * (g[i] + p->decay * w[i]);
        return;
    }
    if (keep) SGD_LOOP((float)keep[i] * g[i], (float)keep[i] * (w[i] - rate * d))
    else SGD_LOOP(g[i], w[i] - rate * d)
}

#define ADAM_LOOP(GRADIENT, WEIGHT)                                       \
    for (int64_t i = 0; i < n; i++) {                                     \
        float x = w[i] * shrink, d = (GRADIENT) + coupled * x;            \
        float a = m[i] + (d - m[i]) * one_less_beta1;                     \
        float b = beta2 * v[i] + one_less_beta2 * d * d;                  \
        m[i] = a;                                                         \
        v[i] = b;                                                         \
        x -= step * a / (__builtin_sqrtf(b) * inverse_root + epsilon);    \
        w[i] = (WEIGHT);                                                  \
    }

SOW_CLONES static void adam_pass(const pass *p, int64_t first_element, int64_t n) {
    float *restrict w = p->w + first_element, *restrict m = p->m + first_element, *restrict v = p->v + first_element;
    const float *restrict g = p->g + first_element;
    const uint8_t *restrict keep = p->keep ? p->keep + first_element : NULL;
    const float one_less_beta1 = 1 - p->beta1, beta2 = p->beta2, one_less_beta2 = 1 - p->beta2, step = p->step, epsilon = p->epsilon;
    const float inverse_root = 1 / p->root_correction, coupled = p->decoupled ? 0 : p->decay, shrink = p->decoupled ? 1 - p->rate * p->decay : 1;
    if (keep) ADAM_LOOP((float)keep[i] * g[i], (float)keep[i] * x)
    else ADAM_LOOP(g[i], x)
}

#define AVERAGE_LOOP(GRADIENT, WEIGHT)                        \
    for (int64_t i = 0; i < n; i++) {                         \
        float d = (GRADIENT) + coupled * w[i];                \
        float b = first ? d : momentum * m[i] + fresh * d;    \
        m[i] = b;                                             \
        w[i] = (WEIGHT);                                      \
    }

SOW_CLONES static void average_pass(const pass *p, float step, int64_t first_element, int64_t n) {
    float *restrict w = p->w + first_element, *restrict m = p->m ? p->m + first_element : w;
    const float *restrict g = p->g + first_element;
    const uint8_t *restrict keep = p->keep ? p->keep + first_element : NULL;
    const float momentum = p->momentum, fresh = p->fresh, shrink = p->shrink, coupled = p->coupled;
    const bool first = p->first;
    if (!p->m) { /* m would alias w: its own loops */
        if (keep)
            for (int64_t i = 0; i < n; i++) w[i] = (float)keep[i] * (w[i] * shrink - step * (g[i] + coupled * w[i]));
        else
            for (int64_t i = 0; i < n; i++) w[i] = w[i] * shrink - step * (g[i] + coupled * w[i]);
        return;
    }
    if (keep) AVERAGE_LOOP((float)keep[i] * g[i], (float)keep[i] * (w[i] * shrink - step * b))
    else AVERAGE_LOOP(g[i], w[i] * shrink - step * b)
}

/* Run by run, each with its part's scale. */
static void average_cell(void *context, int64_t cell) {
    const pass *p = context;
    sow_range r = sow_chunk(cell, p->count);
    for (int64_t at = r.first, end = r.first + r.count; at < end;) {
        int64_t part = at / p->run % p->parts, next = (at / p->run + 1) * p->run;
        if (next > end) next = end;
        average_pass(p, (float)(p->average_rate * (p->scales ? p->scales[part] : 1)), at, next - at);
        at = next;
    }
}

static void sgd_cell(void *context, int64_t cell) {
    sow_range r = sow_chunk(cell, ((const pass *)context)->count);
    sgd_pass(context, r.first, r.count);
}

static void adam_cell(void *context, int64_t cell) {
    sow_range r = sow_chunk(cell, ((const pass *)context)->count);
    adam_pass(context, r.first, r.count);
}

/* Scales of the blocks whose first gradient has come. */
static void measure_scales(sow_optimizer *o) {
    double largest = 0, sum = 0;
    int64_t blocks = 0;
    for (int64_t i = 0; i < o->count; i++) {
        slot *s = &o->slots[i];
        if (!s->measured || !s->entry->grad_written || s->steps > 0) continue;
        sow_gsnr_measure(s->entry->grad, s->entry->mask, s->partition, s->measured);
        for (int64_t b = 0; b < s->partition.parts; b++, blocks++) {
            s->scales[b] = s->measured[b].g;
            largest = fmax(largest, s->scales[b]);
            sum += s->scales[b];
        }
    }
    if (*o->norm == 0 && blocks > 0) *o->norm = o->config.normalise == SOW_SCALES_MAX ? largest : sum / (double)blocks;
}

static pass describe(const sow_optimizer *o, const slot *s, double rate) {
    const sow_optimizer_config *c = &o->config;
    sow_entry *e = s->entry;
    double t = (double)s->steps, dampening = c->kind == SOW_SGD ? c->dampening : c->momentum;
    bool coupled = c->kind == SOW_SGD || c->coupled;
    pass p = {.w = e->value.data, .g = e->grad.data, .m = s->first.data, .v = s->second.data, .keep = e->mask.data,
              .rate = (float)rate, .decay = (float)c->weight_decay, .momentum = (float)c->momentum, .nesterov = c->nesterov,
              .first = s->steps == 1, .decoupled = c->kind == SOW_ADAMW, .count = sow_count(e->value),
              .beta1 = (float)c->beta1, .beta2 = (float)c->beta2, .epsilon = (float)c->epsilon};
    if (is_average(o)) {
        p.fresh = (float)(1 - dampening);
        p.shrink = coupled ? 1 : (float)(1 - rate * c->weight_decay);
        p.coupled = coupled ? (float)c->weight_decay : 0;
        p.scales = s->scales;
        p.parts = s->partition.parts;
        p.run = optim_run_of(e->value, s->partition);
        p.average_rate = o->norm ? rate / *o->norm : rate;
    } else if (is_adam(o)) {
        p.step = (float)(rate / (1 - pow(c->beta1, t)));
        p.root_correction = (float)sqrt(1 - pow(c->beta2, t));
    }
    return p;
}

void sow_optimizer_step(sow_optimizer *o, double factor) {
    o->steps++;
    if (o->norm) measure_scales(o);
    for (int64_t i = 0; i < o->count; i++) {
        slot *s = &o->slots[i];
        if (!s->entry->grad_written) continue;
        s->steps++;
        if (s->kept_steps) *s->kept_steps = s->steps;
        pass p = describe(o, s, o->config.rate * factor * s->scale);
        sow_cells(sow_cells_for(p.count, SOW_CHUNK), is_average(o) ? average_cell : is_adam(o) ? adam_cell : sgd_cell, &p);
    }
}
