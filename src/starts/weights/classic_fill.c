/* Filling states and files: the order of draws, streaming, what came out. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/log.h"
#include "sow/safetensors.h"
#include "starts/weights/classic.h"

/* ---- what came out ---- */

sow_status classic_measure(const char *name, sow_tensor t, double *mean, double *sd) {
    enum { BLOCK = 4096 };
    double block[BLOCK], squares = 0;
    int64_t n = sow_count(t);
    *mean = *sd = NAN;
    if (!sow_dtype_is_real(t.dtype) || n == 0) return SOW_OK;
    *mean = 0;
    sow_tensor flat = sow_tensor_of(t.data, t.dtype, 1, &n); /* in memory's order, which is as good as any */
    for (int64_t done = 0; done < n; done += BLOCK) {
        int64_t count = n - done < BLOCK ? n - done : BLOCK;
        double sum = 0, around = 0;
        SOW_TRY(sow_copy(SOW_TENSOR(block, SOW_F64, count), sow_slice(flat, 0, done, count)));
        for (int64_t i = 0; i < count; i++) sum += block[i];
        double centre = sum / (double)count;
        for (int64_t i = 0; i < count; i++) around += (block[i] - centre) * (block[i] - centre);
        /* Chan's merge of two parts */
        double share = (double)count / (double)(done + count), apart = centre - *mean;
        squares += around + apart * apart * share * (double)done;
        *mean += apart * share;
    }
    *sd = sqrt(squares / (double)n);
    return isfinite(*mean) && isfinite(*sd) ? SOW_OK : sow_require_finite(t, name);
}

static sow_status report_row(const sow_entry *entry, const sow_init *init, sow_tensor filled, sow_filled *row) {
    *row = (sow_filled){.name = entry->name, .shape = entry->value, .init = *init};
    row->shape.data = NULL;
    return classic_measure(entry->name, filled, &row->mean, &row->sd);
}

/* ---- the order of draws ---- */

static int compare_words(const char *a, const char *b) {
    for (;;) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            while (*a == '0' && isdigit((unsigned char)a[1])) a++;
            while (*b == '0' && isdigit((unsigned char)b[1])) b++;
            size_t n = strspn(a, "0123456789"), m = strspn(b, "0123456789");
            int order = n != m ? (n < m ? -1 : 1) : memcmp(a, b, n);
            if (order) return order;
            a += n, b += m;
        }
        if (*a != *b || !*a) return (unsigned char)*a - (unsigned char)*b;
        a++, b++;
    }
}

/* Weight, then bias, then the rest of a module. */
static int place_in_module(const char *name) {
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    return !strcmp(last, "weight") ? 0 : !strcmp(last, "bias") ? 1 : 2;
}

static size_t module_length(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? (size_t)(dot - name) : 0;
}

/* One entry on its way into the order of draws. */
typedef struct placed {
    const char *name;
    int64_t index; /* of the entry */
    int64_t given; /* place in the caller's order; INT64_MAX: none */
} placed;

static int by_name(const void *a, const void *b) {
    return strcmp(((const placed *)a)->name, ((const placed *)b)->name);
}

static int by_index(const void *a, const void *b) {
    const placed *x = a, *y = b;
    if (x->given != y->given) return x->given < y->given ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_nature(const void *a, const void *b) {
    const placed *x = a, *y = b;
    if (x->given != y->given) return x->given < y->given ? -1 : 1;
    size_t n = module_length(x->name), m = module_length(y->name);
    int order = n == m && !memcmp(x->name, y->name, n) ? place_in_module(x->name) - place_in_module(y->name) : 0;
    if (!order) order = compare_words(x->name, y->name);
    return order ? order : strcmp(x->name, y->name);
}

/* Puts the caller's names in their places; `items` are sorted by name. */
static sow_status place_given(const sow_classic_config *config, const sow_state *state, placed *items) {
    for (int64_t k = 0; k < config->order_count; k++) {
        sow_entry *entry;
        SOW_TRY(sow_state_get(state, config->order[k], &entry));
        placed *item = bsearch(&(placed){.name = entry->name}, items, (size_t)sow_state_count(state), sizeof *items,
                               by_name);
        if (item->given != INT64_MAX)
            return sow_fail(SOW_E_ARGUMENT, "'%s' stands twice in the order of draws", entry->name);
        item->given = k;
    }
    return SOW_OK;
}

/* Entry numbers in the order in which numbers are drawn; `natural`: by names, not as the state has them. */
static sow_status draw_order(const sow_classic_config *config, const sow_state *state, bool natural, int64_t *order) {
    int64_t count = sow_state_count(state);
    placed *items = sow_reallocate(NULL, ((size_t)count + 1) * sizeof *items);
    if (!items) return SOW_E_MEMORY;
    for (int64_t i = 0; i < count; i++)
        items[i] = (placed){.name = sow_state_entry(state, i)->name, .index = i, .given = INT64_MAX};
    qsort(items, (size_t)count, sizeof *items, by_name);
    sow_status status = place_given(config, state, items);
    qsort(items, (size_t)count, sizeof *items, natural ? by_nature : by_index);
    for (int64_t i = 0; i < count; i++) order[i] = items[i].index;
    sow_release(items);
    return status;
}

/* ---- states ---- */

/* What both ways need: a seeded generator, a choice and a place for each tensor. */
typedef struct plan {
    sow_rng rng;
    sow_init_choice *choices; /* by entry */
    int64_t *order;           /* entry numbers */
    int64_t count;
} plan;

static sow_status make_plan(const sow_classic_config *config, const sow_state *state, bool natural, sow_arena *arena,
                            plan *p) {
    p->count = sow_state_count(state);
    SOW_TRY(sow_rng_seed(&p->rng, config->rng, config->seed));
    SOW_TRY(SOW_NEW(arena, p->choices, p->count));
    SOW_TRY(SOW_NEW(arena, p->order, p->count));
    SOW_TRY(sow_init_choose(state, &config->by_default, config->rules, config->rule_count, p->choices));
    return draw_order(config, state, natural, p->order);
}

static sow_status fill(sow_rng *rng, const plan *p, const sow_entry *entry, int64_t i, sow_tensor t) {
    return sow_init_tensor(rng, entry->name, entry->role, &p->choices[i].init, p->choices[i].weight_fan_in, t);
}

sow_status sow_classic(const sow_classic_config *config, sow_state *state, sow_arena *arena, sow_filled **report) {
    plan p;
    SOW_TRY(make_plan(config, state, false, arena, &p));
    for (int64_t k = 0; k < p.count; k++) {
        SOW_TRY(sow_check_interrupt());
        SOW_TRY(fill(&p.rng, &p, sow_state_entry(state, p.order[k]), p.order[k],
                     sow_state_entry(state, p.order[k])->value));
        sow_progress("initialise", k + 1, p.count);
    }
    if (!report) return SOW_OK;
    SOW_TRY(SOW_NEW(arena, *report, p.count));
    for (int64_t i = 0; i < p.count; i++) {
        const sow_entry *entry = sow_state_entry(state, i);
        SOW_TRY(report_row(entry, &p.choices[i].init, entry->value, &(*report)[i]));
    }
    return SOW_OK;
}

/* ---- files ---- */

/* A file on its way to another. */
typedef struct stream {
    const char *like;      /* its name, for messages */
    const sow_state *from; /* views of the mapped file */
    sow_safetensors_writer *writer;
    const plan *plan;
    sow_rng *starts; /* by entry: the generator before its first number, where it has one stream; or NULL */
    void *scratch;   /* one tensor */
    size_t scratch_size;
    int64_t done, bytes;
} stream;

static sow_status reserve(stream *s, size_t bytes) {
    if (bytes <= s->scratch_size) return SOW_OK;
    void *larger = sow_reallocate(s->scratch, bytes);
    if (!larger) return SOW_E_MEMORY;
    s->scratch = larger;
    s->scratch_size = bytes;
    return SOW_OK;
}

static sow_status fill_scratch(stream *s, int64_t i, sow_rng *rng, sow_tensor *filled) {
    const sow_entry *entry = sow_state_entry(s->from, i);
    SOW_TRY(reserve(s, sow_bytes(entry->value)));
    *filled = sow_tensor_of(s->scratch, entry->value.dtype, entry->value.rank, entry->value.shape);
    sow_status status = fill(rng, s->plan, entry, i, *filled);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "%s", s->like);
}

/* Files have an order of their own: a first pass draws all numbers in the right order and only remembers where each tensor begins. */
static sow_status find_starts(stream *s) {
    sow_rng rng = s->plan->rng;
    sow_tensor unused;
    for (int64_t k = 0; k < s->plan->count; k++) {
        int64_t i = s->plan->order[k];
        s->starts[i] = rng;
        SOW_TRY(sow_check_interrupt());
        if (s->plan->choices[i].init.scheme != SOW_INIT_KEEP) SOW_TRY(fill_scratch(s, i, &rng, &unused));
        sow_progress("draw", k + 1, s->plan->count);
    }
    return SOW_OK;
}

static sow_status put_entry(stream *s, int64_t i, sow_filled *row) {
    const sow_entry *entry = sow_state_entry(s->from, i);
    const sow_init *init = &s->plan->choices[i].init;
    sow_rng rng = s->starts ? s->starts[i] : s->plan->rng;
    sow_tensor t = entry->value;
    SOW_TRY(sow_check_interrupt());
    if (init->scheme != SOW_INIT_KEEP) SOW_TRY(fill_scratch(s, i, &rng, &t));
    sow_status status = report_row(entry, init, t, row);
    if (status != SOW_OK) return sow_fail_in(status, "%s", s->like);
    SOW_TRY(sow_safetensors_put(s->writer, t.data, sow_bytes(t)));
    s->done += (int64_t)sow_bytes(t);
    sow_progress("write", s->done, s->bytes);
    return SOW_OK;
}

/* Entry numbers in the order of the file that is written, with names and descriptions in the same order. */
static sow_status file_order(const sow_state *from, sow_arena *arena, const char ***names, sow_tensor **described) {
    int64_t count = sow_state_count(from);
    SOW_TRY(SOW_NEW(arena, *names, count + 1));
    SOW_TRY(SOW_NEW(arena, *described, count + 1));
    for (int64_t i = 0; i < count; i++) {
        (*names)[i] = sow_state_entry(from, i)->name;
        (*described)[i] = sow_state_entry(from, i)->value;
        /* carries the entry number through the sort */
        (*described)[i].data = (void *)(intptr_t)i;
    }
    return sow_safetensors_sort(count, *names, *described);
}

static sow_status write_all(stream *s, const char *out, const char *passport, sow_arena *arena, sow_filled *report) {
    const char **names;
    sow_tensor *described;
    SOW_TRY(file_order(s->from, arena, &names, &described));
    for (int64_t i = 0; i < s->plan->count; i++) s->bytes += (int64_t)sow_bytes(described[i]);
    SOW_TRY(sow_safetensors_create(out, s->plan->count, names, described, passport, &s->writer));
    for (int64_t k = 0; k < s->plan->count; k++) {
        int64_t i = (intptr_t)described[k].data;
        SOW_TRY(put_entry(s, i, &report[k]));
    }
    sow_safetensors_writer *writer = s->writer;
    s->writer = NULL;
    return sow_safetensors_commit(writer);
}

static sow_status stream_file(const sow_classic_config *config, const sow_state *from, const char *like,
                              const char *out, const char *passport, sow_arena *arena, sow_filled **report,
                              int64_t *count) {
    plan p;
    stream s = {.like = like, .from = from, .plan = &p};
    sow_status status = make_plan(config, from, true, arena, &p);
    if (status != SOW_OK) return sow_fail_in(status, "%s", like);
    *count = p.count;
    SOW_TRY(SOW_NEW(arena, *report, p.count));
    if (config->rng != SOW_RNG_SOW) {
        s.starts = sow_reallocate(NULL, ((size_t)p.count + 1) * sizeof *s.starts);
        status = s.starts ? find_starts(&s) : SOW_E_MEMORY;
    }
    if (status == SOW_OK) status = write_all(&s, out, passport, arena, *report);
    sow_safetensors_abort(s.writer);
    sow_release(s.scratch);
    sow_release(s.starts);
    return status;
}

/* Names outlive the mapped file in the report. */
static sow_status keep_names(sow_arena *arena, sow_filled *report, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!(report[i].name = sow_arena_copy(arena, report[i].name))) return SOW_E_MEMORY;
    return SOW_OK;
}

sow_status sow_classic_file(const sow_classic_config *config, const char *like, const char *out, const char *passport,
                            sow_arena *arena, sow_filled **report, int64_t *count) {
    sow_safetensors *file;
    sow_state *from = NULL;
    SOW_TRY(sow_safetensors_open(like, &file));
    sow_status status = sow_safetensors_view(file, &from);
    if (status == SOW_OK) status = stream_file(config, from, like, out, passport, arena, report, count);
    if (status == SOW_OK) status = keep_names(arena, *report, *count);
    sow_state_free(from);
    sow_safetensors_close(file);
    return status;
}
