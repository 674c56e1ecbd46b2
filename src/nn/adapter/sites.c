/* Linear sites of models: found by one dry forward pass, so that no model keeps a list. */
#include <string.h>

#include "nn/lm/lm.h"
#include "sow/adapter.h"
#include "sow/text.h"

enum { SITES_MAX = 1 << 16 };

typedef struct collector {
    sow_arena *arena;
    sow_state *state;
    const struct lm_frozen *frozen; /* matrices that are not in the state, or NULL */
    bool by_inputs;
    const char *outermost; /* put before names to make paths, "" */
    sow_sites *out;
    sow_var *input; /* of each site */
    int64_t room;
} collector;

static sow_status grow(collector *c) {
    sow_site *sites;
    sow_var *inputs;
    int64_t room = c->room ? 2 * c->room : 64;
    SOW_TRY(SOW_NEW(c->arena, sites, room));
    SOW_TRY(SOW_NEW(c->arena, inputs, room));
    if (c->room) {
        memcpy(sites, c->out->at, (size_t)c->out->count * sizeof *sites);
        memcpy(inputs, c->input, (size_t)c->out->count * sizeof *inputs);
    }
    c->out->at = sites, c->input = inputs, c->room = room;
    return SOW_OK;
}

static sow_entry *entry_of(const collector *c, const char *name, const char *suffix) {
    const char *full = sow_arena_format(c->arena, "%s.%s", name, suffix);
    return full ? sow_state_find(c->state, full) : NULL;
}

static sow_status add_site(collector *c, const char *name, sow_entry *weight, sow_var x, sow_var y) {
    sow_sites *s = c->out;
    if (s->count == SITES_MAX) return sow_fail(SOW_E_RANGE, "more than %d linear layers", SITES_MAX);
    if (s->count == c->room) SOW_TRY(grow(c));
    sow_tensor xv = sow_value(x), yv = sow_value(y);
    sow_site *site = &s->at[s->count];
    *site = (sow_site){.weight = weight,
                       .bias = entry_of(c, name, "bias"),
                       .in = xv.shape[xv.rank - 1],
                       .out = yv.shape[yv.rank - 1],
                       .by_inputs = c->by_inputs,
                       .shares = s->count};
    c->input[s->count] = x;
    for (int64_t i = s->count; i-- > 0 && site->shares == s->count;)
        if (c->input[i] == x) site->shares = s->at[i].shares;
    if (!(site->name = sow_arena_copy(c->arena, name))) return SOW_E_MEMORY;
    site->module = *c->outermost ? sow_arena_format(c->arena, "%s.%s", c->outermost, name) : site->name;
    s->count++;
    return site->module ? SOW_OK : SOW_E_MEMORY;
}

/* A linear layer has a matrix "name.weight" that fits what goes in and comes out. */
static bool is_linear(const collector *c, const char *name, const sow_entry *weight, int64_t in, int64_t out) {
    char full[600];
    int rows = c->by_inputs ? 1 : 0;
    if (weight)
        return weight->value.rank == 2 && weight->value.shape[rows] == out && weight->value.shape[1 - rows] == in;
    snprintf(full, sizeof full, "%s.weight", name);
    const lm_matrix *m = c->frozen ? lm_frozen_find(c->frozen, full) : NULL;
    return m && m->rows == out && m->width == in;
}

static sow_var collect(void *user, sow_tape *t, const char *name, sow_var x, sow_var y) {
    collector *c = user;
    sow_tensor xv = sow_value(x), yv = sow_value(y);
    if (x == y || xv.rank < 1 || yv.rank < 1) return y;
    sow_entry *weight = entry_of(c, name, "weight");
    if (!is_linear(c, name, weight, xv.shape[xv.rank - 1], yv.shape[yv.rank - 1])) return y;
    sow_status status = add_site(c, name, weight, x, y);
    return status == SOW_OK ? y : sow_tape_fail(t, status);
}

static sow_status dry_tape(collector *c, sow_tape **out) {
    SOW_TRY(sow_tape_new(out));
    sow_tape_dry(*out, true);
    sow_status status = sow_tape_add_tap(*out, collect, c);
    if (status != SOW_OK) sow_tape_free(*out);
    return status;
}

sow_status sow_lm_sites(sow_arena *arena, sow_lm *lm, sow_sites *out) {
    static const int32_t id;
    static const int64_t start[2] = {0, 1};
    const sow_tokens one = {&id, start, 1};
    bool gpt2 = lm->config.family == SOW_LM_GPT2;
    collector c = {
        .arena = arena, .state = lm->state, .frozen = lm->frozen, .by_inputs = gpt2, .outermost = "", .out = out};
    if (gpt2 && !*lm->prefix) c.outermost = "transformer"; /* as GPT2LMHeadModel has it */
    sow_tape *t;
    *out = (sow_sites){0};
    SOW_TRY(dry_tape(&c, &t));
    sow_lm_states(t, lm, &one);
    sow_status status = sow_tape_status(t);
    sow_tape_free(t);
    return status;
}

sow_status sow_model_sites(sow_arena *arena, sow_model *model, sow_sites *out) {
    collector c = {.arena = arena, .state = model->state, .outermost = "", .out = out};
    const sow_geometry *g = &model->geometry;
    sow_tape *t;
    *out = (sow_sites){0};
    SOW_TRY(dry_tape(&c, &t));
    model->forward(t, model->state, model,
                   sow_constant(t, SOW_TENSOR(NULL, SOW_F32, 2, g->channels, g->height, g->width)));
    sow_status status = sow_tape_status(t);
    sow_tape_free(t);
    return status;
}

/* ---- choosing ---- */

static bool is_target(const char *module, const char *target, size_t size) {
    size_t length = strlen(module);
    if (length < size || memcmp(module + length - size, target, size) != 0) return false;
    return length == size || module[length - size - 1] == '.';
}

static sow_status no_such_target(sow_arena *arena, const sow_sites *all, const char *target, size_t size) {
    const char **names;
    char *word = sow_arena_format(arena, "%.*s", (int)(size < 100 ? size : 100), target);
    SOW_TRY(SOW_NEW(arena, names, all->count + 1));
    bool whole = word && strchr(word, '.');
    for (int64_t i = 0; i < all->count; i++) {
        const char *last = strrchr(all->at[i].module, '.');
        names[i] = last && !whole ? last + 1 : all->at[i].module;
    }
    const char *near = word ? sow_nearest(word, names, (int)all->count) : NULL;
    if (near) return sow_fail(SOW_E_NOT_FOUND, "target '%s' matches no linear layer; did you mean %s?", word, near);
    return sow_fail(SOW_E_NOT_FOUND, "target '%s' matches no linear layer; the first ones are %s%s%s", word ? word : "",
                    all->count > 0 ? all->at[0].module : "none", all->count > 1 ? ", " : "",
                    all->count > 1 ? all->at[1].module : "");
}

static sow_status mark_targets(sow_arena *arena, const sow_sites *all, const char *targets, bool *chosen) {
    for (const char *at = targets;; at++) {
        size_t size = strcspn(at, ",");
        bool found = false;
        for (int64_t i = 0; size > 0 && i < all->count; i++)
            if (is_target(all->at[i].module, at, size)) chosen[i] = found = true;
        if (!found) return no_such_target(arena, all, at, size);
        at += size;
        if (!*at) return SOW_OK;
    }
}

sow_status sow_choose_sites(sow_arena *arena, const sow_sites *all, const char *targets, sow_sites *out) {
    bool *chosen;
    int64_t *place;
    sow_sites picked = {0};
    bool every = !targets || !strcmp(targets, "all");
    SOW_TRY(SOW_NEW(arena, chosen, all->count + 1));
    SOW_TRY(
        SOW_NEW(arena, place, all->count + 1)); /* of the first chosen site that shares with this one; 0: none yet */
    SOW_TRY(SOW_NEW(arena, picked.at, all->count + 1));
    if (!every) SOW_TRY(mark_targets(arena, all, targets, chosen));
    for (int64_t i = 0; i < all->count; i++) {
        if (!every && !chosen[i]) continue;
        int64_t *first = &place[all->at[i].shares];
        if (*first == 0) *first = picked.count + 1;
        picked.at[picked.count] = all->at[i];
        picked.at[picked.count++].shares = *first - 1;
    }
    *out = picked;
    return SOW_OK;
}
