/* Offline pruning and rewinding of safetensors files of any framework, in a few passes and little memory. */
#include <stdlib.h>
#include <string.h>

#include "nn/prune.h"
#include "sow/log.h"
#include "sow/safetensors.h"

/* A file and its tensors, mapped. */
typedef struct mapped {
    const char *path;
    sow_safetensors *file;
    sow_state *state;
} mapped;

static void unmap(mapped *m) {
    sow_state_free(m->state);
    sow_safetensors_close(m->file);
    *m = (mapped){0};
}

static sow_status map_file(const char *path, mapped *out) {
    *out = (mapped){.path = path};
    SOW_TRY(sow_safetensors_open(path, &out->file));
    return sow_safetensors_view(out->file, &out->state);
}

/* Masks as bytes 0 and 1 that fit tensors of `weights`. */
static sow_status check_mask_file(const mapped *mask, const mapped *weights) {
    char found[SOW_SHAPE_TEXT], expected[SOW_SHAPE_TEXT];
    for (int64_t i = 0; i < sow_state_count(mask->state); i++) {
        const sow_entry *m = sow_state_entry(mask->state, i), *w = sow_state_find(weights->state, m->name);
        if (!w)
            return sow_fail(SOW_E_SHAPE, "%s: mask '%s' has no tensor of that name in %s", mask->path, m->name,
                            weights->path);
        if (!sow_same_shape(m->value, w->value))
            return sow_fail(SOW_E_SHAPE, "%s: mask '%s' is %s, the tensor in %s is %s", mask->path, m->name,
                            sow_shape_text(m->value, found), weights->path, sow_shape_text(w->value, expected));
        if (m->value.dtype != SOW_U8 && m->value.dtype != SOW_BOOL)
            return sow_fail(SOW_E_TYPE, "%s: mask '%s' is %s, expected U8 or BOOL", mask->path, m->name,
                            sow_dtype_name(m->value.dtype));
        const uint8_t *keep = m->value.data;
        for (int64_t k = 0; k < sow_count(m->value); k++)
            if (keep[k] > 1)
                return sow_fail(SOW_E_RANGE, "%s: mask '%s': element %lld is %d, expected 0 or 1", mask->path, m->name,
                                (long long)k, keep[k]);
    }
    return SOW_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const prune_source *)a)->name, ((const prune_source *)b)->name);
}

/* The tensors of the new mask file, sorted by name: those with a mask and those with a rate, which come first when
 * `rated` is to be told from the rest. */
static sow_status gather(sow_arena *arena, const mapped *final, const mapped *mask, const double *rates,
                         prune_source **out, int64_t *count) {
    *count = 0;
    SOW_TRY(SOW_NEW(arena, *out, sow_state_count(final->state) + 1));
    for (int64_t i = 0; i < sow_state_count(final->state); i++) {
        const sow_entry *e = sow_state_entry(final->state, i);
        const sow_entry *m = mask->state ? sow_state_find(mask->state, e->name) : NULL;
        if (rates[i] == 0 && !m) continue;
        if (rates[i] > 0) SOW_TRY(prune_check_type(e->name, e->value));
        (*out)[(*count)++] = (prune_source){
            .name = e->name, .values = e->value, .keep = m ? m->value.data : NULL, .rate = rates[i], .spared = -1};
    }
    qsort(*out, (size_t)*count, sizeof **out, by_name);
    return SOW_OK;
}

/* Selects among the sources with a rate; the others keep what they have. */
static sow_status select_rated(sow_arena *arena, prune_source *sources, int64_t count, const sow_prune_spec *spec) {
    prune_source *rated;
    int64_t n = 0;
    SOW_TRY(SOW_NEW(arena, rated, count + 1));
    for (int64_t s = 0; s < count; s++)
        if (sources[s].rate > 0) rated[n++] = sources[s];
    SOW_TRY(prune_select(arena, rated, n, spec->global, spec->google));
    n = 0;
    for (int64_t s = 0; s < count; s++) {
        if (sources[s].rate > 0) {
            sources[s] = rated[n++];
            continue;
        }
        for (int64_t i = 0; i < sow_count(sources[s].values); i++) sources[s].before += sources[s].keep[i];
        sources[s].kept = sources[s].before;
    }
    return SOW_OK;
}

static sow_status write_source(const prune_source *s, sow_safetensors_writer *writer) {
    uint8_t keep[PRUNE_CHUNK];
    int64_t total = sow_count(s->values), ties_seen = 0;
    for (int64_t first = 0; first < total; first += PRUNE_CHUNK) {
        int64_t n = total - first < PRUNE_CHUNK ? total - first : PRUNE_CHUNK;
        if (s->rate > 0) prune_keep(s, first, n, &ties_seen, keep);
        else memcpy(keep, s->keep + first, (size_t)n);
        SOW_TRY(sow_safetensors_put(writer, keep, (size_t)n));
    }
    return SOW_OK;
}

static sow_status write_masks(sow_arena *arena, const prune_source *sources, int64_t count, const char *out,
                              const char *passport) {
    const char **names;
    sow_tensor *described;
    SOW_TRY(SOW_NEW(arena, names, count + 1));
    SOW_TRY(SOW_NEW(arena, described, count + 1));
    for (int64_t s = 0; s < count; s++) {
        names[s] = sources[s].name;
        described[s] = sow_tensor_of(NULL, SOW_U8, sources[s].values.rank, sources[s].values.shape);
    }
    sow_safetensors_writer *writer;
    SOW_TRY(sow_safetensors_create(out, count, names, described, passport, &writer));
    for (int64_t s = 0; s < count; s++) {
        sow_status status = sow_check_interrupt();
        if (status == SOW_OK) status = write_source(&sources[s], writer);
        if (status == SOW_OK) continue;
        sow_safetensors_abort(writer);
        return status;
    }
    return sow_safetensors_commit(writer);
}

static sow_status prune_mapped(sow_arena *arena, const mapped *final, const mapped *mask, const sow_prune_spec *spec,
                               const char *out, const char *passport, sow_pruned **pruned, int64_t *count) {
    double *rates;
    prune_source *sources;
    int64_t n;
    if (mask->state) SOW_TRY(check_mask_file(mask, final));
    SOW_TRY(sow_prune_rates(arena, final->state, spec, &rates));
    SOW_TRY(gather(arena, final, mask, rates, &sources, &n));
    for (int64_t s = 0; s < n; s++)
        if (sources[s].rate > 0) sow_note("prunes %s by %g", sources[s].name, sources[s].rate);
    SOW_TRY(select_rated(arena, sources, n, spec));
    SOW_TRY(write_masks(arena, sources, n, out, passport));
    if (!pruned) return SOW_OK;
    SOW_TRY(SOW_NEW(arena, *pruned, n + 1));
    for (int64_t s = 0; s < n; s++) {
        (*pruned)[s] = (sow_pruned){sow_arena_copy(arena, sources[s].name), sources[s].rate,
                                    sow_count(sources[s].values), sources[s].before, sources[s].kept};
        if (!(*pruned)[s].name) return SOW_E_MEMORY;
    }
    *count = n;
    return SOW_OK;
}

sow_status sow_prune_file(sow_arena *arena, const char *final, const char *mask, const sow_prune_spec *spec,
                          const char *out, const char *passport, sow_pruned **pruned, int64_t *count) {
    mapped files[2] = {0};
    sow_status status = map_file(final, &files[0]);
    if (status == SOW_OK && mask) status = map_file(mask, &files[1]);
    if (status == SOW_OK) status = prune_mapped(arena, &files[0], &files[1], spec, out, passport, pruned, count);
    unmap(&files[0]);
    unmap(&files[1]);
    return status == SOW_E_NUMBER ? sow_fail_in(status, "%s", final) : status;
}

/* ---- rewinding ---- */

/* The tensor's bytes, with exact zeros where keep is 0 (NULL: all are kept). */
static sow_status put_masked(sow_tensor t, const uint8_t *keep, sow_safetensors_writer *writer) {
    enum { BUFFER = 1 << 16 };
    _Alignas(8) uint8_t buffer[BUFFER];
    size_t size = sow_dtype_size(t.dtype);
    int64_t total = sow_count(t), chunk = (int64_t)(BUFFER / size);
    for (int64_t first = 0; first < total; first += chunk) {
        int64_t n = total - first < chunk ? total - first : chunk;
        memcpy(buffer, (const uint8_t *)t.data + (size_t)first * size, (size_t)n * size);
        for (int64_t i = 0; keep && i < n; i++)
            if (!keep[first + i]) memset(buffer + (size_t)i * size, 0, size);
        SOW_TRY(sow_safetensors_put(writer, buffer, (size_t)n * size));
    }
    return SOW_OK;
}

/* Writes all tensors of `from`, each masked by `mask` (may be NULL); `as_mask`: declared U8. */
static sow_status write_all(sow_arena *arena, const sow_state *from, const sow_state *mask, bool as_mask,
                            const char *out, const char *passport) {
    int64_t n = sow_state_count(from);
    const char **names;
    sow_tensor *described;
    SOW_TRY(SOW_NEW(arena, names, n + 1));
    SOW_TRY(SOW_NEW(arena, described, n + 1));
    for (int64_t i = 0; i < n; i++) {
        const sow_entry *entry = sow_state_entry(from, i);
        names[i] = entry->name;
        described[i] = sow_tensor_of(NULL, as_mask ? SOW_U8 : entry->value.dtype, entry->value.rank,
                                     entry->value.shape);
    }
    SOW_TRY(sow_safetensors_sort(n, names, described));
    sow_safetensors_writer *writer;
    SOW_TRY(sow_safetensors_create(out, n, names, described, passport, &writer));
    for (int64_t i = 0; i < n; i++) {
        const sow_entry *m = mask ? sow_state_find(mask, names[i]) : NULL;
        sow_status status = sow_check_interrupt();
        if (status == SOW_OK)
            status = put_masked(sow_state_find(from, names[i])->value, m ? m->value.data : NULL, writer);
        if (status == SOW_OK) continue;
        sow_safetensors_abort(writer);
        return status;
    }
    return sow_safetensors_commit(writer);
}

sow_status sow_mask_file(sow_arena *arena, const char *start, const char *mask, const char *out, const char *passport,
                         const char *mask_passport) {
    mapped files[2] = {0};
    const char *mask_out = sow_mask_path(arena, out);
    if (!mask_out) return SOW_E_ARGUMENT;
    sow_status status = map_file(start, &files[0]);
    if (status == SOW_OK) status = map_file(mask, &files[1]);
    if (status == SOW_OK) status = check_mask_file(&files[1], &files[0]);
    /* the mask first: a masked start is never without it */
    if (status == SOW_OK) status = write_all(arena, files[1].state, NULL, true, mask_out, mask_passport);
    if (status == SOW_OK) status = write_all(arena, files[0].state, files[1].state, false, out, passport);
    unmap(&files[0]);
    unmap(&files[1]);
    return status;
}
