/* oneDNN primitives and the table of plans that holds them. */
#include "autograd/primitive.h"

#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "sow/memory.h"

/* oneDNN aligns inside the scratchpad and writes behind its end when it does not begin at a multiple of 64. */
enum { SCRATCHPAD_ALIGNMENT = 128 };

/* What one thread needs to run a primitive; waits in the primitive's list when no thread does. */
typedef struct seat {
    struct seat *next;
    dnnl_stream_t stream;
    void *scratchpad;
    int count;
    dnnl_exec_arg_t arguments[SOW_OPERANDS_MAX + 1];
} seat;

struct sow_primitive {
    dnnl_primitive_t primitive;
    dnnl_primitive_desc_t described;
    int count;
    int operands[SOW_OPERANDS_MAX];
    size_t scratchpad_bytes;
    pthread_mutex_t lock; /* guards idle and seats */
    seat *idle;
    int seats;
};

static atomic_int reference_primitives;
static const char *reference_name = "";

static dnnl_engine_t engine;
static pthread_once_t engine_once = PTHREAD_ONCE_INIT;

static void make_engine(void) {
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) engine = NULL;
}

dnnl_engine_t sow_engine(void) {
    pthread_once(&engine_once, make_engine);
    if (!engine) sow_fail(SOW_E_UNSUPPORTED, "oneDNN offers no engine for this processor");
    return engine;
}

sow_status sow_dnnl_check(dnnl_status_t status, const char *what) {
    if (status == dnnl_success) return SOW_OK;
    if (status == dnnl_out_of_memory) return sow_fail(SOW_E_MEMORY, "out of memory in oneDNN: %s", what);
    return sow_fail(SOW_E_UNSUPPORTED, "oneDNN cannot do this: %s (status %d)", what, (int)status);
}

static void free_seat(seat *s) {
    if (!s) return;
    for (int i = 0; i < s->count; i++) dnnl_memory_destroy(s->arguments[i].memory);
    if (s->stream) dnnl_stream_destroy(s->stream);
    sow_release(s->scratchpad);
    sow_release(s);
}

static sow_status add_argument(seat *s, int argument, const dnnl_memory_desc_t *layout, void *data) {
    dnnl_exec_arg_t *a = &s->arguments[s->count];
    SOW_TRY(sow_dnnl_check(dnnl_memory_create(&a->memory, layout, engine, data), "memory object"));
    a->arg = argument;
    s->count++;
    return SOW_OK;
}

static sow_status fill_seat(const sow_primitive *p, seat *s) {
    SOW_TRY(sow_dnnl_check(dnnl_stream_create(&s->stream, engine, dnnl_stream_default_flags), "stream"));
    for (int i = 0; i < p->count; i++) SOW_TRY(add_argument(s, p->operands[i], sow_primitive_layout(p, p->operands[i]), NULL));
    if (p->scratchpad_bytes == 0) return SOW_OK;
    s->scratchpad = sow_reallocate(NULL, p->scratchpad_bytes + SCRATCHPAD_ALIGNMENT);
    if (!s->scratchpad) return SOW_E_MEMORY;
    uintptr_t aligned = ((uintptr_t)s->scratchpad + SCRATCHPAD_ALIGNMENT - 1) / SCRATCHPAD_ALIGNMENT * SCRATCHPAD_ALIGNMENT;
    return add_argument(s, DNNL_ARG_SCRATCHPAD, sow_primitive_layout(p, DNNL_ARG_SCRATCHPAD), (void *)aligned);
}

static sow_status new_seat(const sow_primitive *p, seat **out) {
    seat *s = sow_reallocate(NULL, sizeof *s);
    if (!s) return SOW_E_MEMORY;
    *s = (seat){0};
    sow_status status = fill_seat(p, s);
    if (status != SOW_OK) {
        free_seat(s);
        return status;
    }
    *out = s;
    return SOW_OK;
}

static void count_seats(sow_primitive *p, int more) {
    pthread_mutex_lock(&p->lock);
    p->seats += more;
    pthread_mutex_unlock(&p->lock);
}

static sow_status take_seat(sow_primitive *p, seat **out) {
    pthread_mutex_lock(&p->lock);
    *out = p->idle;
    if (*out) p->idle = (*out)->next;
    pthread_mutex_unlock(&p->lock);
    if (*out) return SOW_OK;
    SOW_TRY(new_seat(p, out));
    count_seats(p, 1);
    return SOW_OK;
}

static void leave_seat(sow_primitive *p, seat *s) {
    pthread_mutex_lock(&p->lock);
    s->next = p->idle;
    p->idle = s;
    pthread_mutex_unlock(&p->lock);
}

sow_status sow_primitive_reserve(sow_primitive *p, int threads) {
    if (!p) return SOW_OK;
    pthread_mutex_lock(&p->lock);
    int missing = threads - p->seats;
    pthread_mutex_unlock(&p->lock);
    for (; missing > 0; missing--) {
        seat *s;
        SOW_TRY(new_seat(p, &s));
        leave_seat(p, s);
        count_seats(p, 1);
    }
    return SOW_OK;
}

sow_status sow_primitive_run(sow_primitive *p, void *const *data) {
    seat *s;
    SOW_TRY(take_seat(p, &s));
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < p->count && status == dnnl_success; i++) status = dnnl_memory_set_data_handle(s->arguments[i].memory, data[i]);
    if (status == dnnl_success) status = dnnl_primitive_execute(p->primitive, s->stream, s->count, s->arguments);
    leave_seat(p, s);
    return sow_dnnl_check(status, sow_primitive_implementation(p));
}

const dnnl_memory_desc_t *sow_primitive_layout(const sow_primitive *p, int operand) {
    return dnnl_primitive_desc_query_md(p->described, dnnl_query_exec_arg_md, operand);
}

const char *sow_primitive_implementation(const sow_primitive *p) {
    const char *name = "";
    dnnl_primitive_desc_query(p->described, dnnl_query_impl_info_str, 0, &name);
    return name;
}

int sow_reference_primitives(const char **name) {
    *name = reference_name;
    return atomic_load(&reference_primitives);
}

static bool is_reference(const sow_primitive *p) {
    return strncmp(sow_primitive_implementation(p), "ref", 3) == 0;
}

sow_status sow_primitive_new(dnnl_primitive_desc_t described, int count, const int *operands, sow_primitive **out) {
    sow_primitive *p = sow_reallocate(NULL, sizeof *p);
    if (!p) {
        dnnl_primitive_desc_destroy(described);
        return SOW_E_MEMORY;
    }
    *p = (sow_primitive){.described = described, .count = count};
    memcpy(p->operands, operands, (size_t)count * sizeof *operands);
    pthread_mutex_init(&p->lock, NULL);
    p->scratchpad_bytes = dnnl_memory_desc_get_size(sow_primitive_layout(p, DNNL_ARG_SCRATCHPAD));
    sow_status status = sow_dnnl_check(dnnl_primitive_create(&p->primitive, described), sow_primitive_implementation(p));
    if (is_reference(p)) {
        atomic_fetch_add(&reference_primitives, 1);
        reference_name = sow_primitive_implementation(p);
    }
    if (status != SOW_OK) {
        sow_primitive_free(p);
        return status;
    }
    *out = p;
    return SOW_OK;
}

sow_status sow_reorder_new(const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to, sow_primitive **out) {
    dnnl_primitive_attr_t attributes;
    SOW_TRY(sow_dnnl_check(dnnl_primitive_attr_create(&attributes), "attributes"));
    dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    dnnl_primitive_desc_t described;
    dnnl_status_t status = dnnl_reorder_primitive_desc_create(&described, from, engine, to, engine, attributes);
    dnnl_primitive_attr_destroy(attributes);
    SOW_TRY(sow_dnnl_check(status, "reorder of weights"));
    return sow_primitive_new(described, 2, (int[]){DNNL_ARG_FROM, DNNL_ARG_TO}, out);
}

void sow_primitive_free(sow_primitive *p) {
    if (!p) return;
    if (is_reference(p)) atomic_fetch_sub(&reference_primitives, 1);
    while (p->idle) {
        seat *s = p->idle;
        p->idle = s->next;
        free_seat(s);
    }
    if (p->primitive) dnnl_primitive_destroy(p->primitive);
    dnnl_primitive_desc_destroy(p->described);
    pthread_mutex_destroy(&p->lock);
    sow_release(p);
}

/* ---- plans ---- */

typedef struct entry {
    struct entry *next;
    const sow_plan_kind *kind;
    uint64_t hash, last_use;
    int users;
    void *key;
    _Alignas(16) unsigned char plan[];
} entry;

enum { BUCKETS = 256 };
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static entry *table[BUCKETS];
static int plans;
static uint64_t clock_of_uses;

/* FNV-1a over the words of a key. */
static uint64_t hash_key(const sow_plan_kind *kind, const void *key) {
    uint64_t hash = 14695981039346656037u ^ (uint64_t)(uintptr_t)kind;
    const unsigned char *bytes = key;
    for (size_t i = 0; i < kind->key_bytes; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash ^ hash >> 32;
}

static void free_entry(entry *e) {
    e->kind->unmake(e->plan);
    sow_release(e->key);
    sow_release(e);
}

/* Frees the plan that has gone unused for the longest time, if any is unused. */
static void evict_one(void) {
    entry **oldest = NULL;
    for (int b = 0; b < BUCKETS; b++)
        for (entry **link = &table[b]; *link; link = &(*link)->next)
            if ((*link)->users == 0 && (!oldest || (*link)->last_use < (*oldest)->last_use)) oldest = link;
    if (!oldest) return;
    entry *gone = *oldest;
    *oldest = gone->next;
    plans--;
    free_entry(gone);
}

static sow_status new_entry(const sow_plan_kind *kind, const void *key, entry **out) {
    if (!sow_engine()) return SOW_E_UNSUPPORTED;
    size_t bytes = sizeof(entry) + kind->plan_bytes;
    entry *e = sow_reallocate(NULL, bytes);
    if (!e) return SOW_E_MEMORY;
    memset(e, 0, bytes);
    e->kind = kind;
    e->key = sow_reallocate(NULL, kind->key_bytes);
    if (!e->key) {
        sow_release(e);
        return SOW_E_MEMORY;
    }
    memcpy(e->key, key, kind->key_bytes);
    int allowed = omp_get_max_threads();
    omp_set_num_threads(1); /* the value is the calling thread's, and part of what oneDNN makes */
    sow_status status = kind->make(e->key, e->plan);
    omp_set_num_threads(allowed);
    if (status != SOW_OK) {
        free_entry(e);
        return sow_fail_in(status, "%s", kind->name);
    }
    *out = e;
    return SOW_OK;
}

static sow_status find_or_make(const sow_plan_kind *kind, const void *key, entry **out) {
    uint64_t hash = hash_key(kind, key);
    entry **bucket = &table[hash % BUCKETS];
    for (entry *e = *bucket; e; e = e->next) {
        if (e->hash != hash || e->kind != kind || memcmp(e->key, key, kind->key_bytes) != 0) continue;
        *out = e;
        return SOW_OK;
    }
    if (plans >= SOW_PLANS_MAX) evict_one();
    SOW_TRY(new_entry(kind, key, out));
    (*out)->hash = hash;
    (*out)->next = *bucket;
    *bucket = *out;
    plans++;
    return SOW_OK;
}

sow_status sow_plan_use(const sow_plan_kind *kind, const void *key, void **plan) {
    pthread_mutex_lock(&table_lock);
    entry *e;
    sow_status status = find_or_make(kind, key, &e);
    if (status == SOW_OK) {
        e->users++;
        e->last_use = ++clock_of_uses;
        *plan = e->plan;
    }
    pthread_mutex_unlock(&table_lock);
    return status;
}

void sow_plan_leave(void *plan) {
    if (!plan) return;
    entry *e = (entry *)((unsigned char *)plan - offsetof(entry, plan));
    pthread_mutex_lock(&table_lock);
    e->users--;
    pthread_mutex_unlock(&table_lock);
}
