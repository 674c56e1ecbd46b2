/* States: ordered dictionaries of named tensors. */
#include "sow/state.h"

#include <stdio.h>
#include <string.h>

#include "sow/text.h"

struct sow_state {
    sow_arena *arena;
    sow_entry **entries;
    int64_t count, capacity;
    int32_t *slots; /* open addressing: entry index + 1, 0 for empty; twice the capacity, a power of two */
    bool open;
};

sow_status sow_state_new(sow_state **out) {
    sow_arena *arena;
    SOW_TRY(sow_arena_new(&arena));
    sow_state *state = sow_arena_take(arena, 1, sizeof *state);
    if (!state) {
        sow_arena_free(arena);
        return SOW_E_MEMORY;
    }
    state->arena = arena;
    *out = state;
    return SOW_OK;
}

void sow_state_free(sow_state *state) {
    if (!state) return;
    sow_release(state->entries);
    sow_release(state->slots);
    sow_arena_free(state->arena);
}

sow_arena *sow_state_arena(sow_state *state) {
    return state->arena;
}

int64_t sow_state_count(const sow_state *state) {
    return state->count;
}

sow_entry *sow_state_entry(const sow_state *state, int64_t index) {
    return state->entries[index];
}

static uint64_t hash_name(const char *name) { /* FNV-1a */
    uint64_t hash = 14695981039346656037u;
    for (; *name; name++) hash = (hash ^ (uint8_t)*name) * 1099511628211u;
    return hash ^ hash >> 29;
}

/* The slot that holds `name`, or the empty one where it belongs. */
static int64_t slot_of(const sow_state *state, const char *name) {
    int64_t size = 2 * state->capacity, slot = (int64_t)(hash_name(name) & (uint64_t)(size - 1));
    while (state->slots[slot] && strcmp(state->entries[state->slots[slot] - 1]->name, name)) slot = (slot + 1) & (size - 1);
    return slot;
}

sow_entry *sow_state_find(const sow_state *state, const char *name) {
    if (state->capacity == 0) return NULL;
    int32_t found = state->slots[slot_of(state, name)];
    return found ? state->entries[found - 1] : NULL;
}

sow_status sow_state_get(const sow_state *state, const char *name, sow_entry **out) {
    *out = sow_state_find(state, name);
    if (*out) return SOW_OK;
    sow_arena *arena;
    SOW_TRY(sow_arena_new(&arena));
    const char **names = sow_arena_take(arena, (size_t)state->count + 1, sizeof *names), *near = NULL;
    for (int64_t i = 0; names && i < state->count; i++) names[i] = state->entries[i]->name;
    if (names) near = sow_nearest(name, names, (int)state->count);
    sow_status status = near ? sow_fail(SOW_E_NOT_FOUND, "no tensor '%s'; the nearest name is '%s'", name, near)
                             : sow_fail(SOW_E_NOT_FOUND, "no tensor '%s' among %lld", name, (long long)state->count);
    sow_arena_free(arena);
    return status;
}

static sow_status grow(sow_state *state) {
    int64_t capacity = state->capacity ? 2 * state->capacity : 16;
    if (capacity > INT32_MAX / 4) return sow_fail(SOW_E_RANGE, "a state of more than %d tensors", INT32_MAX / 4);
    sow_entry **entries = sow_reallocate(state->entries, (size_t)capacity * sizeof *entries);
    if (!entries) return SOW_E_MEMORY;
    state->entries = entries;
    int32_t *slots = sow_reallocate(NULL, 2 * (size_t)capacity * sizeof *slots);
    if (!slots) return SOW_E_MEMORY;
    memset(slots, 0, 2 * (size_t)capacity * sizeof *slots);
    sow_release(state->slots);
    state->slots = slots;
    state->capacity = capacity;
    for (int64_t i = 0; i < state->count; i++) slots[slot_of(state, entries[i]->name)] = (int32_t)i + 1;
    return SOW_OK;
}

sow_status sow_state_add_view(sow_state *state, const char *name, sow_tensor value, sow_entry **out) {
    if (state->count == state->capacity) SOW_TRY(grow(state));
    int64_t slot = slot_of(state, name);
    if (state->slots[slot]) return sow_fail(SOW_E_EXISTS, "tensor '%s' is there twice", name);
    sow_entry *entry = sow_arena_take(state->arena, 1, sizeof *entry);
    char *copy = sow_arena_copy(state->arena, name);
    if (!entry || !copy) return SOW_E_MEMORY;
    sow_role role = sow_role_of(name, value.rank);
    *entry = (sow_entry){.name = copy, .group = "", .role = role, .trainable = role != SOW_ROLE_BUFFER && sow_dtype_is_real(value.dtype), .value = value};
    state->entries[state->count++] = entry;
    state->slots[slot] = (int32_t)state->count;
    if (out) *out = entry;
    return SOW_OK;
}

sow_status sow_state_add(sow_state *state, const char *name, sow_dtype dtype, int rank, const int64_t *shape, sow_entry **out) {
    sow_tensor value;
    if (sow_state_find(state, name)) return sow_fail(SOW_E_EXISTS, "tensor '%s' is there twice", name);
    SOW_TRY(sow_tensor_new(state->arena, dtype, rank, shape, &value));
    return sow_state_add_view(state, name, value, out);
}

/* Whether one of the dot- or underscore-separated words of `name` is, or begins with, `word` followed by digits. */
static bool has_word(const char *name, const char *word) {
    size_t length = strlen(word);
    for (const char *p = name; *p;) {
        size_t n = strcspn(p, "._");
        size_t letters = n;
        while (letters > 0 && p[letters - 1] >= '0' && p[letters - 1] <= '9') letters--;
        if (letters == length && !memcmp(p, word, length)) return true;
        p += n + (p[n] != 0);
    }
    return false;
}

sow_role sow_role_of(const char *name, int rank) {
    static const char *const norms[] = {"norm", "bn", "ln", "layernorm", "rmsnorm", "groupnorm", "batchnorm", "instancenorm", "LayerNorm", "gamma", "beta"};
    static const char *const embeddings[] = {"embed", "embedding", "embeddings", "wte", "wpe", "emb", "tokens", "position"};
    static const char *const buffers[] = {"running_mean", "running_var", "num_batches_tracked", "position_ids", "inv_freq"};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (sow_ends_with(name, buffers[i])) return SOW_ROLE_BUFFER;
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
        if (has_word(name, norms[i])) return SOW_ROLE_NORM;
    for (size_t i = 0; i < sizeof embeddings / sizeof *embeddings; i++)
        if (has_word(name, embeddings[i])) return SOW_ROLE_EMBEDDING;
    if (rank >= 2) return SOW_ROLE_WEIGHT;
    return sow_ends_with(name, "weight") ? SOW_ROLE_NORM : SOW_ROLE_BIAS;
}

void sow_state_train(sow_state *state, bool trainable) {
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        sow_entry *e = sow_state_entry(state, i);
        e->trainable = trainable && e->role != SOW_ROLE_BUFFER;
    }
}

sow_status sow_state_add_gradients(sow_state *state) {
    for (int64_t i = 0; i < state->count; i++) {
        sow_entry *e = state->entries[i];
        if (e->trainable && !e->grad.data) SOW_TRY(sow_tensor_like(state->arena, e->value, &e->grad));
    }
    return SOW_OK;
}

static sow_status clone_entries(const sow_state *from, bool masks, sow_state *to) {
    for (int64_t i = 0; i < from->count; i++) {
        const sow_entry *e = from->entries[i];
        sow_tensor value = e->value, mask = {0};
        if (sow_is_dense(value)) SOW_TRY(sow_tensor_like(to->arena, value, &value));
        else SOW_TRY(sow_tensor_new(to->arena, value.dtype, value.rank, value.shape, &value));
        SOW_TRY(sow_copy(value, e->value));
        if (masks && e->mask.data) {
            SOW_TRY(sow_tensor_like(to->arena, e->mask, &mask));
            SOW_TRY(sow_copy(mask, e->mask));
        }
        sow_entry *copy;
        SOW_TRY(sow_state_add_view(to, e->name, value, &copy));
        copy->group = sow_arena_copy(to->arena, e->group);
        if (!copy->group) return SOW_E_MEMORY;
        copy->role = e->role;
        copy->trainable = e->trainable;
        copy->mask = mask;
    }
    return SOW_OK;
}

sow_status sow_state_clone(const sow_state *from, bool masks, sow_state **out) {
    sow_state *to;
    SOW_TRY(sow_state_new(&to));
    sow_status status = clone_entries(from, masks, to);
    if (status != SOW_OK) sow_state_free(to);
    else *out = to;
    return status;
}

/* Collects the first three differences between two states for one message. */
typedef struct differences {
    char text[1024];
    size_t used;
    int64_t count;
} differences;

static void add_difference(differences *d, const char *format, const char *name, const char *found, const char *expected) {
    if (d->count++ >= 3) return;
    int n = snprintf(d->text + d->used, sizeof d->text - d->used, d->used ? "; " : "");
    d->used += (size_t)n;
    n = snprintf(d->text + d->used, sizeof d->text - d->used, format, name, found, expected);
    if (n > 0) d->used += (size_t)n < sizeof d->text - d->used ? (size_t)n : sizeof d->text - d->used - 1;
}

sow_status sow_state_assign(sow_state *to, const sow_state *from) {
    differences d = {.used = 0};
    char found[SOW_SHAPE_TEXT], expected[SOW_SHAPE_TEXT];
    for (int64_t i = 0; i < to->count; i++) {
        const sow_entry *target = to->entries[i], *source = sow_state_find(from, target->name);
        if (!source) add_difference(&d, "'%.200s' is missing", target->name, "", "");
        else if (!sow_same_shape(source->value, target->value))
            add_difference(&d, "'%.200s' is %s, expected %s", target->name, sow_shape_text(source->value, found), sow_shape_text(target->value, expected));
    }
    for (int64_t i = 0; i < from->count; i++)
        if (!sow_state_find(to, from->entries[i]->name)) add_difference(&d, "'%.200s' is not part of the network", from->entries[i]->name, "", "");
    if (d.count > 0)
        return sow_fail(SOW_E_SHAPE, "the tensors do not fit the network: %s%s", d.text, d.count > 3 ? "; and more" : "");
    for (int64_t i = 0; i < to->count; i++) SOW_TRY(sow_copy(to->entries[i]->value, sow_state_find(from, to->entries[i]->name)->value));
    return SOW_OK;
}

sow_status sow_state_require_finite(const sow_state *state, const char *what) {
    for (int64_t i = 0; i < state->count; i++) {
        sow_status status = sow_require_finite(state->entries[i]->value, state->entries[i]->name);
        if (status != SOW_OK) return sow_fail_in(status, "%s", what);
    }
    return SOW_OK;
}

int64_t sow_state_weights(const sow_state *state) {
    int64_t sum = 0;
    for (int64_t i = 0; i < state->count; i++)
        if (state->entries[i]->role == SOW_ROLE_WEIGHT) sum += sow_count(state->entries[i]->value);
    return sum;
}

int64_t sow_state_parameters(const sow_state *state) {
    int64_t sum = 0;
    for (int64_t i = 0; i < state->count; i++)
        if (state->entries[i]->trainable) sum += sow_count(state->entries[i]->value);
    return sum;
}

void sow_state_open(sow_state *state, bool open) {
    state->open = open;
}

bool sow_state_is_open(const sow_state *state) {
    return state->open;
}
