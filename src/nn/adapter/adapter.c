/* Adapters: layers bound to a model's linear sites, in its forward pass by taps, merged into its weights, made plain. */
#include "nn/adapter/adapter.h"

#include <math.h>
#include <string.h>

/* ---- making ---- */

sow_status sow_adapter_new(int64_t rank, double alpha, bool rslora, sow_adapter **out) {
    sow_state *state;
    SOW_TRY(sow_state_new(&state));
    sow_arena *arena = sow_state_arena(state);
    sow_adapter *a;
    sow_status status = SOW_NEW(arena, a, 1);
    if (status != SOW_OK) {
        sow_state_free(state);
        return status;
    }
    *a = (sow_adapter){.state = state, .arena = arena, .rank = rank, .alpha = alpha, .rslora = rslora};
    *out = a;
    return SOW_OK;
}

void sow_adapter_free(sow_adapter *a) {
    if (a) sow_state_free(a->state);
}

double adapter_scale(const sow_adapter *a, double alpha, int64_t rank) {
    return alpha / (a->rslora ? sqrt((double)rank) : (double)rank);
}

/* Doubles the room of a list in the arena. */
static sow_status make_room(sow_arena *arena, void **items, int64_t count, int64_t *room, size_t size) {
    if (count < *room) return SOW_OK;
    int64_t more = *room ? 2 * *room : 16;
    char *fresh = sow_arena_take(arena, (size_t)more, size);
    if (!fresh) return SOW_E_MEMORY;
    if (count > 0) memcpy(fresh, *items, (size_t)count * size);
    *items = fresh;
    *room = more;
    return SOW_OK;
}

sow_status adapter_append(sow_adapter *a, const char *module, sow_adapter_layer **out) {
    void *items = a->layers;
    SOW_TRY(make_room(a->arena, &items, a->count, &a->room, sizeof *a->layers));
    a->layers = items;
    sow_adapter_layer *l = &a->layers[a->count];
    *l = (sow_adapter_layer){.module = sow_arena_copy(a->arena, module)};
    if (!l->module) return SOW_E_MEMORY;
    a->count++;
    *out = l;
    return SOW_OK;
}

sow_status adapter_append_whole(sow_adapter *a, const char *module, sow_adapter_whole **out) {
    void *items = a->wholes;
    SOW_TRY(make_room(a->arena, &items, a->whole_count, &a->whole_room, sizeof *a->wholes));
    a->wholes = items;
    sow_adapter_whole *w = &a->wholes[a->whole_count];
    *w = (sow_adapter_whole){.module = sow_arena_copy(a->arena, module)};
    if (!w->module) return SOW_E_MEMORY;
    a->whole_count++;
    *out = w;
    return SOW_OK;
}

sow_status adapter_entry(sow_adapter *a, const char *module, const char *suffix, sow_dtype type, int rank,
                         const int64_t *shape, sow_entry **out) {
    const char *name = sow_arena_format(a->arena, "%s.%s", module, suffix);
    if (!name) return SOW_E_MEMORY;
    SOW_TRY(sow_state_add(a->state, name, type, rank, shape, out));
    (*out)->role = SOW_ROLE_WEIGHT;
    (*out)->trainable = true;
    return SOW_OK;
}

sow_status sow_adapter_add(sow_adapter *a, const sow_site *site, int64_t rank, double alpha, sow_adapter_parts parts,
                           sow_adapter_layer **out) {
    sow_adapter_layer *l;
    sow_dtype type = site->weight ? site->weight->value.dtype : SOW_F32;
    if (rank < 1) return sow_fail(SOW_E_RANGE, "%s: rank %lld, expected at least 1", site->module, (long long)rank);
    SOW_TRY(adapter_append(a, site->module, &l));
    if (alpha < 0) /* the scale of a layer of the usual rank */
        alpha = adapter_scale(a, a->alpha, a->rank) * (a->rslora ? sqrt((double)rank) : (double)rank);
    l->in = site->in, l->out = site->out, l->rank = rank, l->alpha = alpha, l->site = site;
    l->scale = adapter_scale(a, alpha, rank);
    a->by_inputs |= site->by_inputs;
    SOW_TRY(adapter_entry(a, l->module, "lora_A.weight", type, 2, (int64_t[]){rank, l->in}, &l->a));
    SOW_TRY(adapter_entry(a, l->module, "lora_B.weight", type, 2, (int64_t[]){l->out, rank}, &l->b));
    if (parts == SOW_ADAPTER_CORE) {
        SOW_TRY(adapter_entry(a, l->module, "lora_R.weight", type, 2, (int64_t[]){rank, rank}, &l->core));
        l->a->trainable = l->b->trainable = false;
    }
    if (parts == SOW_ADAPTER_DORA) {
        SOW_TRY(adapter_entry(a, l->module, "lora_magnitude_vector", type, 1, &l->out, &l->magnitude));
        l->magnitude->role = SOW_ROLE_NORM;
    }
    *out = l;
    return SOW_OK;
}

static sow_status copy_own(sow_adapter *a, const sow_site *site, const char *suffix, const sow_entry *from,
                           sow_entry **out) {
    if (!from) return SOW_OK;
    SOW_TRY(adapter_entry(a, site->module, suffix, from->value.dtype, from->value.rank, from->value.shape, out));
    (*out)->role = from->role;
    return sow_copy((*out)->value, from->value);
}

sow_status sow_adapter_add_whole(sow_adapter *a, const sow_site *site) {
    sow_adapter_whole *w;
    SOW_TRY(adapter_append_whole(a, site->module, &w));
    w->site = site;
    if (!site->weight) return sow_fail(SOW_E_UNSUPPORTED, "%s: its weights are kept quantised", site->module);
    SOW_TRY(copy_own(a, site, "weight", site->weight, &w->weight));
    return copy_own(a, site, "bias", site->bias, &w->bias);
}

int64_t sow_adapter_trained(const sow_adapter *a) {
    return sow_state_parameters(a->state);
}

/* ---- binding ---- */

/* Equal, but for an outermost "transformer." or "bert.". */
static bool same_module(const char *a, const char *b) {
    static const char *const outermost[] = {"transformer.", "bert."};
    if (!strcmp(a, b)) return true;
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(outermost[i]);
        if ((!strncmp(a, outermost[i], n) && !strcmp(a + n, b)) || (!strncmp(b, outermost[i], n) && !strcmp(b + n, a)))
            return true;
    }
    return false;
}

/* Sites come in the order of layers most of the time: the search begins behind the last hit. */
static const sow_site *find_site(const sow_sites *sites, const char *module, int64_t *hint) {
    for (int64_t i = 0; i < sites->count; i++) {
        int64_t at = (*hint + i) % sites->count;
        if (!same_module(sites->at[at].module, module)) continue;
        *hint = at + 1;
        return &sites->at[at];
    }
    return NULL;
}

typedef struct misfits {
    char text[600];
    int count;
} misfits;

static void add_misfit(misfits *m, const char *module, const char *found, const char *expected) {
    size_t used = strlen(m->text);
    if (m->count++ < 3)
        snprintf(m->text + used, sizeof m->text - used, "%s%s%s%s%s%s", used ? "; " : "", module, *found ? " is " : "",
                 found, *expected ? ", the model has " : " is not in the model", expected);
}

static void bind_layer(sow_adapter_layer *l, const sow_sites *sites, int64_t *hint, misfits *m) {
    char found[64], expected[64];
    l->site = find_site(sites, l->module, hint);
    if (!l->site) add_misfit(m, l->module, "", "");
    else if (l->site->in != l->in || l->site->out != l->out) {
        snprintf(found, sizeof found, "[%lld, %lld]", (long long)l->out, (long long)l->in);
        snprintf(expected, sizeof expected, "[%lld, %lld]", (long long)l->site->out, (long long)l->site->in);
        add_misfit(m, l->module, found, expected);
    }
}

sow_status sow_adapter_bind(sow_adapter *a, const sow_sites *sites) {
    misfits m = {0};
    int64_t hint = 0;
    for (int64_t i = 0; i < a->count; i++) bind_layer(&a->layers[i], sites, &hint, &m);
    for (int64_t i = 0; i < a->whole_count; i++) {
        sow_adapter_whole *w = &a->wholes[i];
        w->site = find_site(sites, w->module, &hint);
        bool fits = w->site && w->site->weight && sow_same_shape(w->site->weight->value, w->weight->value);
        if (!fits) add_misfit(&m, w->module, "", w->site ? "another shape" : "");
    }
    if (m.count == 0) return SOW_OK;
    return sow_fail(SOW_E_SHAPE, "the adapter belongs to another base model: %s%s", m.text, m.count > 3 ? "; ..." : "");
}

/* ---- in the forward pass ---- */

/* DoRA: the output without bias, each feature brought to its magnitude; PEFT does not differentiate the length. */
static sow_var with_magnitude(sow_tape *t, sow_adapter_layer *l, sow_var y, sow_var a, sow_var b) {
    sow_var w = sow_constant(t, l->site->by_inputs ? sow_transpose(l->site->weight->value) : l->site->weight->value);
    sow_var factor = sow_mul(t, sow_parameter(t, l->magnitude), sow_inverse_row_norms(t, w, a, b, l->scale));
    if (!l->site->bias) return sow_mul(t, y, factor);
    sow_var bias = sow_constant(t, l->site->bias->value);
    return sow_add(t, sow_mul(t, sow_sub(t, y, bias), factor), bias);
}

static sow_var layer_output(sow_tape *t, sow_adapter_layer *l, sow_var x, sow_var y) {
    sow_var a = sow_parameter(t, l->a), b = sow_parameter(t, l->b);
    sow_var out = sow_low_rank(t, x, y, a, l->core ? sow_parameter(t, l->core) : NULL, b, l->scale);
    sow_done(t, y);
    return l->magnitude ? with_magnitude(t, l, out, a, b) : out;
}

static sow_var whole_output(sow_tape *t, sow_adapter_whole *w, sow_var x, sow_var y) {
    sow_var weight = sow_parameter(t, w->weight);
    if (w->site->by_inputs) weight = sow_permuted(t, weight, (int[]){1, 0});
    sow_done(t, y);
    return sow_linear(t, x, weight, w->bias ? sow_parameter(t, w->bias) : NULL);
}

static sow_var adapt(void *user, sow_tape *t, const char *name, sow_var x, sow_var y) {
    sow_adapter *a = user;
    if (x == y) return y;
    for (int64_t i = 0; i < a->count; i++) {
        int64_t at = (a->next + i) % a->count;
        if (strcmp(a->layers[at].site->name, name) != 0) continue;
        a->next = at + 1;
        return layer_output(t, &a->layers[at], x, y);
    }
    for (int64_t i = 0; i < a->whole_count; i++)
        if (!strcmp(a->wholes[i].site->name, name)) return whole_output(t, &a->wholes[i], x, y);
    return y;
}

sow_status sow_adapter_attach(sow_adapter *a, sow_tape *t) {
    for (int64_t i = 0; i < a->count; i++) {
        const sow_adapter_layer *l = &a->layers[i];
        if (!l->site) return sow_fail(SOW_E_ARGUMENT, "%s is bound to no model", l->module);
        if (l->magnitude && !l->site->weight)
            return sow_fail(SOW_E_UNSUPPORTED, "%s: DoRA needs the base's weights as numbers, not quantised",
                            l->module);
    }
    return sow_tape_add_tap(t, adapt, a);
}
