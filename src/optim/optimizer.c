/* SGD with momentum, Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019): one fused pass a tensor, in
 * which a mask binds gradient, update and weight. Formulas and their order are those of torch.optim. */
#include <math.h>
#include <string.h>

#include "autograd/op.h"
#include "sow/optim.h"

typedef struct slot {
    sow_entry *entry;
    sow_tensor first, second; /* momentum or exp_avg; exp_avg_sq (data NULL: none) */
    double scale;
    int64_t steps;            /* updates this entry has had: Adam's bias correction counts them, as in PyTorch */
} slot;

struct sow_optimizer {
    sow_arena *arena;
    sow_optimizer_config config;
    slot *slots;
    int64_t count, steps;
    sow_state *moments;
};

sow_status sow_optimizer_parse(const char *name, sow_optimizer_kind *out) {
    static const char *const names[] = {"sgd", "adam", "adamw"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(names[i], name)) {
            *out = (sow_optimizer_kind)i;
            return SOW_OK;
        }
    return sow_fail(SOW_E_ARGUMENT, "optimizer '%s': expected sgd, adam or adamw", name);
}

static sow_status add_moment(sow_optimizer *o, const sow_entry *e, const char *suffix, sow_tensor *out) {
    char *name = sow_arena_format(o->arena, "%s.%s", e->name, suffix);
    if (!name) return SOW_E_MEMORY;
    SOW_TRY(sow_tensor_like(o->arena, e->value, out));
    return sow_state_add_view(o->moments, name, *out, NULL);
}

static sow_status fill_slots(sow_optimizer *o, sow_state *state) {
    SOW_TRY(sow_state_add_gradients(state));
    SOW_TRY(SOW_NEW(o->arena, o->slots, sow_state_count(state) + 1));
    bool adam = o->config.kind != SOW_SGD;
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        sow_entry *e = sow_state_entry(state, i);
        if (!e->trainable) continue;
        if (e->value.dtype != SOW_F32) return sow_fail(SOW_E_TYPE, "optimizer: '%s' is %s, expected F32", e->name, sow_dtype_name(e->value.dtype));
        slot *s = &o->slots[o->count++];
        *s = (slot){.entry = e, .scale = 1};
        if (adam || o->config.momentum != 0) SOW_TRY(add_moment(o, e, adam ? "exp_avg" : "momentum_buffer", &s->first));
        if (adam) SOW_TRY(add_moment(o, e, "exp_avg_sq", &s->second));
    }
    return SOW_OK;
}

sow_status sow_optimizer_new(const sow_optimizer_config *config, sow_state *state, sow_optimizer **out) {
    sow_arena *arena;
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
    for (int64_t i = 0; i < o->count; i++) o->slots[i].steps = steps;
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

static void sgd_cell(void *context, int64_t cell) {
    sow_range r = sow_chunk(cell, ((const pass *)context)->count);
    sgd_pass(context, r.first, r.count);
}

static void adam_cell(void *context, int64_t cell) {
    sow_range r = sow_chunk(cell, ((const pass *)context)->count);
    adam_pass(context, r.first, r.count);
}

void sow_optimizer_step(sow_optimizer *o, double factor) {
    const sow_optimizer_config *c = &o->config;
    o->steps++;
    for (int64_t i = 0; i < o->count; i++) {
        slot *s = &o->slots[i];
        sow_entry *e = s->entry;
        if (!e->grad_written) continue;
        s->steps++;
        double rate = c->rate * factor * s->scale, t = (double)s->steps;
        pass p = {.w = e->value.data, .g = e->grad.data, .m = s->first.data, .v = s->second.data, .keep = e->mask.data,
                  .rate = (float)rate, .decay = (float)c->weight_decay, .momentum = (float)c->momentum, .nesterov = c->nesterov,
                  .first = s->steps == 1, .decoupled = c->kind == SOW_ADAMW, .count = sow_count(e->value),
                  .beta1 = (float)c->beta1, .beta2 = (float)c->beta2, .epsilon = (float)c->epsilon};
        p.step = (float)(rate / (1 - pow(c->beta1, t)));
        p.root_correction = (float)sqrt(1 - pow(c->beta2, t));
        sow_cells(sow_cells_for(p.count, SOW_CHUNK), c->kind == SOW_SGD ? sgd_cell : adam_cell, &p);
    }
}
