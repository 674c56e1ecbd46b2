/* The tape: nodes in the order they were recorded, their memory, and the way back. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "autograd/op.h"
#include "autograd/buffers.h"

enum { SCRATCH_MAX = 8, TAPS_MAX = 16 };

typedef struct region {
    int64_t first, last; /* ordinals, last exclusive */
} region;

struct sow_tape {
    sow_arena *arena; /* nodes, attributes */
    sow_mark start;
    sow_buffers *pool;
    sow_node **nodes;
    int64_t count, capacity;
    region *regions;
    int64_t region_count, region_capacity;
    int64_t region_first; /* of the open region, -1 if none */
    uint64_t recording;   /* unique among all tapes of the process */
    bool training, gradients, dry, recomputing;
    uint64_t seed, step;
    void *scratch[SCRATCH_MAX];
    int scratch_count;
    struct { sow_tap_function call; void *user; } taps[TAPS_MAX];
    int tap_count;
    char *path, *joined; /* names */
    size_t path_used, path_capacity, joined_capacity;
    sow_status status;
    char message[2048];
};

static uint64_t next_recording(void) {
    static _Atomic uint64_t recordings;
    return atomic_fetch_add(&recordings, 1) + 1;
}

sow_status sow_tape_new(sow_tape **out) {
    sow_tape *t = sow_reallocate(NULL, sizeof *t);
    if (!t) return SOW_E_MEMORY;
    *t = (sow_tape){.gradients = true, .region_first = -1, .recording = next_recording()};
    t->pool = sow_buffers_new();
    if (!t->pool || sow_arena_new(&t->arena) != SOW_OK) {
        sow_tape_free(t);
        return SOW_E_MEMORY;
    }
    t->start = sow_arena_mark(t->arena);
    *out = t;
    return SOW_OK;
}

void sow_tape_free(sow_tape *t) {
    if (!t) return;
    sow_buffers_free(t->pool);
    sow_arena_free(t->arena);
    sow_release(t->nodes);
    sow_release(t->regions);
    sow_release(t->path);
    sow_release(t->joined);
    sow_release(t);
}

static void release_keeps(sow_tape *t, sow_node *n) {
    for (int i = 0; i < SOW_KEEP_MAX; i++) {
        sow_buffers_give(t->pool, n->keep[i]);
        n->keep[i] = NULL;
    }
}

static void release_value(sow_tape *t, sow_node *n) {
    if (n->owns_value) sow_buffers_give(t->pool, n->value.data);
    if (n->owns_value) n->value.data = NULL;
}

static void release_grad(sow_tape *t, sow_node *n) {
    if (!n->entry) sow_buffers_give(t->pool, n->grad.data);
    n->grad.data = NULL;
}

void sow_tape_reset(sow_tape *t) {
    for (int64_t i = 0; i < t->count; i++) {
        release_keeps(t, t->nodes[i]);
        release_value(t, t->nodes[i]);
        release_grad(t, t->nodes[i]);
    }
    t->count = t->region_count = 0;
    t->region_first = -1;
    t->recording = next_recording();
    t->status = SOW_OK;
    t->path_used = 0;
    sow_arena_release(t->arena, t->start);
}

void sow_tape_train(sow_tape *t, bool training) { t->training = training; }
bool sow_tape_is_training(const sow_tape *t) { return t->training; }
void sow_tape_record(sow_tape *t, bool gradients) { t->gradients = gradients; }
bool sow_tape_is_recording(const sow_tape *t) { return t->gradients; }
void sow_tape_dry(sow_tape *t, bool dry) { t->dry = dry; }
bool sow_tape_is_dry(const sow_tape *t) { return t->dry; }
bool sow_is_recomputing(const sow_tape *t) { return t->recomputing; }

void sow_tape_random(sow_tape *t, uint64_t seed, uint64_t step) {
    t->seed = seed;
    t->step = step;
}

void sow_tape_random_state(const sow_tape *t, uint64_t *seed, uint64_t *step) {
    *seed = t->seed;
    *step = t->step;
}

sow_status sow_tape_status(const sow_tape *t) {
    return t->status == SOW_OK ? SOW_OK : sow_fail(t->status, "%s", t->message);
}

sow_var sow_tape_fail(sow_tape *t, sow_status status) {
    if (t->status == SOW_OK) {
        t->status = status;
        snprintf(t->message, sizeof t->message, "%s", sow_message());
    }
    return NULL;
}

/* ---- recording ---- */

sow_node *sow_node_new(sow_tape *t, const sow_op *op, size_t attribute_bytes, int required, int inputs, const sow_var *input) {
    if (t->status != SOW_OK) return NULL;
    for (int i = 0; i < required; i++)
        if (!input[i]) return sow_tape_fail(t, sow_fail(SOW_E_ARGUMENT, "%s: operand %d is missing", op->name, i));
    if (t->count == t->capacity) {
        int64_t capacity = t->capacity ? 2 * t->capacity : 64;
        sow_node **nodes = sow_reallocate(t->nodes, (size_t)capacity * sizeof *nodes);
        if (!nodes) return sow_tape_fail(t, SOW_E_MEMORY);
        t->nodes = nodes;
        t->capacity = capacity;
    }
    size_t head = (sizeof(sow_node) + 15) / 16 * 16, list = ((size_t)inputs * sizeof *input + 15) / 16 * 16;
    sow_node *n = sow_arena_take(t->arena, 1, head + list + attribute_bytes);
    if (!n) return sow_tape_fail(t, SOW_E_MEMORY);
    n->op = op;
    n->input = (sow_var *)(void *)((char *)n + head);
    n->inputs = inputs;
    n->attributes = (char *)n + head + list;
    n->ordinal = t->count;
    for (int i = 0; i < inputs; i++) {
        n->input[i] = input[i];
        n->needs_grad |= t->gradients && input[i] && input[i]->needs_grad;
    }
    return n;
}

static void end_call(sow_tape *t) {
    while (t->scratch_count > 0) sow_buffers_give(t->pool, t->scratch[--t->scratch_count]);
}

static bool take_value(sow_tape *t, sow_node *n) {
    n->value.data = sow_buffers_take(t->pool, sow_bytes(n->value));
    n->owns_value = n->value.data != NULL;
    return n->owns_value;
}

unsigned sow_reads_nothing(const sow_node *n) {
    (void)n;
    return 0;
}

static unsigned reads_of(const sow_node *n) {
    return n->op->reads ? n->op->reads(n) : ~0u;
}

/* Remembers whose memory this node's backward will read; a view's memory is that of its input. */
static void mark_needed(sow_node *n) {
    unsigned reads = reads_of(n);
    for (int i = 0; i < n->inputs; i++)
        for (sow_node *m = (reads >> i & 1) ? n->input[i] : NULL; m; m = m->owns_value || m->inputs == 0 ? NULL : m->input[0])
            m->needed = true;
    if (reads & SOW_READS_OUTPUT) n->needed = true;
}

sow_var sow_node_run(sow_tape *t, sow_node *n, sow_tensor output) {
    n->value = output;
    t->nodes[t->count++] = n; /* from here on reset releases what the node holds */
    if (t->dry) {
        n->value.data = NULL;
        return n;
    }
    if (output.data) n->input[0]->viewed = true;
    if (output.data) n->view_offset = (char *)output.data - (char *)n->input[0]->value.data;
    else if (!take_value(t, n)) return sow_tape_fail(t, SOW_E_MEMORY);
    sow_status status = n->op->forward ? n->op->forward(t, n) : SOW_OK;
    end_call(t);
    if (status != SOW_OK) return sow_tape_fail(t, status);
    if (n->needs_grad && n->op->backward) mark_needed(n);
    return n;
}

sow_tensor sow_describe(sow_dtype dtype, int rank, const int64_t *shape) {
    return sow_tensor_of(NULL, dtype, rank, shape);
}

sow_tensor sow_describe_channels_last(sow_dtype dtype, int64_t n, int64_t c, int64_t h, int64_t w) {
    return (sow_tensor){.dtype = dtype, .rank = 4, .shape = {n, c, h, w}, .stride = {h * w * c, 1, w * c, c}};
}

void *sow_node_keep(sow_tape *t, sow_node *n, int slot, size_t bytes) {
    if (!n->keep[slot]) n->keep[slot] = sow_buffers_take(t->pool, bytes);
    return n->keep[slot];
}

void *sow_scratch(sow_tape *t, size_t bytes) {
    if (t->scratch_count == SCRATCH_MAX) {
        sow_fail(SOW_E_MEMORY, "an operator asked for more than %d scratch buffers", SCRATCH_MAX);
        return NULL;
    }
    void *buffer = sow_buffers_take(t->pool, bytes);
    if (buffer) t->scratch[t->scratch_count++] = buffer;
    return buffer;
}

/* ---- leaves ---- */

static const sow_op constant_op = {"constant", NULL, NULL};
static const sow_op leaf_op = {"leaf", NULL, NULL};
static const sow_op parameter_op = {"parameter", NULL, NULL};
static const sow_op detach_op = {"detach", NULL, NULL};

static sow_node *leaf_of(sow_tape *t, const sow_op *op, sow_tensor value) {
    sow_node *n = sow_node_new(t, op, 0, 0, 0, NULL);
    if (!n) return NULL;
    n->value = value; /* the caller's memory, on a dry tape too; without memory it is a description */
    t->nodes[t->count++] = n;
    return n;
}

sow_var sow_constant(sow_tape *t, sow_tensor value) {
    return leaf_of(t, &constant_op, value);
}

sow_var sow_leaf(sow_tape *t, sow_tensor value) {
    sow_node *n = leaf_of(t, &leaf_op, value);
    if (n) n->needs_grad = t->gradients, n->kept = true;
    return n;
}

sow_var sow_parameter(sow_tape *t, sow_entry *entry) {
    if (t->status == SOW_OK && entry->node && entry->recording == t->recording) return entry->node;
    sow_node *n = leaf_of(t, &parameter_op, entry->value);
    if (!n) return NULL;
    n->entry = entry;
    n->kept = true;
    n->needs_grad = t->gradients && entry->trainable && entry->grad.data;
    entry->node = n;
    entry->recording = t->recording;
    return n;
}

sow_var sow_detach(sow_tape *t, sow_var x) {
    sow_node *n = SOW_NODE(t, &detach_op, char, 1, x);
    if (!n) return NULL;
    n->needs_grad = false;
    return sow_node_run(t, n, x->value);
}

sow_tensor sow_value(sow_var x) {
    return x ? x->value : (sow_tensor){0};
}

sow_tensor sow_gradient(sow_var x) {
    if (!x) return (sow_tensor){0};
    if (x->entry) return x->entry->grad_written ? x->entry->grad : (sow_tensor){0};
    return x->grad;
}

sow_var sow_keep(sow_var x) {
    for (sow_node *n = x; n; n = n->owns_value || n->inputs == 0 ? NULL : n->input[0]) n->kept = true;
    return x;
}

/* The node whose memory a value is: views have none of their own. */
static sow_node *holder_of(sow_node *n) {
    while (!n->owns_value && n->inputs > 0) n = n->input[0];
    return n;
}

/* Whether all that the value is made of is there, or can be made again itself: inputs behind which nothing wants a gradient go
 * when they are done. */
static bool can_be_made_again(const sow_node *n) {
    for (int i = 0; i < n->inputs; i++) {
        const sow_node *from = n->input[i] ? holder_of(n->input[i]) : NULL;
        if (from && !from->value.data && !from->revivable) return false;
    }
    return n->op->cheap;
}

void sow_done(sow_tape *t, sow_var x) {
    if (!x || !x->owns_value || x->kept || x->viewed || x->seen || (x->needed && !can_be_made_again(x))) return;
    if (x->ordinal < t->region_first) return; /* what an open region computes again begins with its inputs */
    x->revivable = x->needed;
    for (int i = 0; x->needed && i < x->inputs; i++)
        if (x->input[i]) holder_of(x->input[i])->needed = true;
    release_value(t, x);
}

double sow_scalar(sow_var x) {
    return x && x->value.data ? sow_at(x->value, 0) : 0;
}

/* ---- recompute regions ---- */

void sow_recompute_begin(sow_tape *t) {
    t->region_first = t->count;
}

/* Whether anything in the region from `first` on does: else nothing is computed again. If so, what comes from outside stays. */
static bool wants_gradients(sow_tape *t, int64_t first) {
    bool wanted = false;
    for (int64_t i = first; i < t->count; i++) wanted |= t->nodes[i]->needs_grad;
    for (int64_t i = first; wanted && i < t->count; i++)
        for (int k = 0; k < t->nodes[i]->inputs; k++) {
            sow_node *from = t->nodes[i]->input[k] ? holder_of(t->nodes[i]->input[k]) : NULL;
            if (from && from->ordinal < first) from->needed = true;
        }
    return wanted;
}

sow_var sow_recompute_end(sow_tape *t, sow_var result) {
    int64_t first = t->region_first;
    t->region_first = -1;
    if (!result || t->dry || !t->gradients || first < 0) return result;
    if (t->region_count == t->region_capacity) {
        int64_t capacity = t->region_capacity ? 2 * t->region_capacity : 16;
        region *regions = sow_reallocate(t->regions, (size_t)capacity * sizeof *regions);
        if (!regions) return sow_tape_fail(t, SOW_E_MEMORY);
        t->regions = regions;
        t->region_capacity = capacity;
    }
    if (wants_gradients(t, first)) t->regions[t->region_count++] = (region){first, t->count};
    const sow_node *holder = holder_of(result);
    for (int64_t i = first; i < t->count; i++) {
        sow_node *n = t->nodes[i];
        release_keeps(t, n);
        if (n->inputs == 0 || n->kept) continue;
        n->dropped = true;
        if (n != holder) release_value(t, n);
    }
    return result;
}

static sow_status compute_again(sow_tape *t, const region *r) {
    t->recomputing = true;
    sow_status status = SOW_OK;
    for (int64_t i = r->first; i < r->last && status == SOW_OK; i++) {
        sow_node *n = t->nodes[i];
        if (!n->dropped) continue;
        n->dropped = false;
        if (!n->owns_value) n->value.data = (char *)n->input[0]->value.data + n->view_offset;
        if (n->owns_value && !n->value.data && !take_value(t, n)) status = SOW_E_MEMORY;
        else if (n->op->forward) status = n->op->forward(t, n);
        end_call(t);
    }
    t->recomputing = false;
    return status;
}

/* ---- backward ---- */

float sow_grad_into(sow_tape *t, sow_var input, sow_tensor *grad) {
    if (input->entry) {
        sow_entry *e = input->entry;
        bool written = e->grad_written;
        e->grad_written = true;
        *grad = e->grad;
        return written ? 1 : 0;
    }
    if (!input->grad.data) {
        input->grad = sow_is_dense(input->value) ? input->value : sow_describe(input->value.dtype, input->value.rank, input->value.shape);
        input->grad.data = sow_buffers_take(t->pool, sow_bytes(input->value));
        input->grad_written = false;
    }
    *grad = input->grad;
    bool written = input->grad_written;
    input->grad_written = true;
    return written ? 1 : 0;
}

/* Computes a value again that sow_done released. */
static sow_status revive(sow_tape *t, sow_node *n) {
    if (!n->revivable || n->value.data) return SOW_OK;
    for (int i = 0; i < n->inputs; i++)
        if (n->input[i]) SOW_TRY(revive(t, n->input[i]));
    if (!take_value(t, n)) return SOW_E_MEMORY;
    sow_status status = n->op->forward(t, n);
    end_call(t);
    return status;
}

static sow_status revive_what_is_read(sow_tape *t, sow_node *n) {
    unsigned reads = reads_of(n);
    for (int i = 0; i < n->inputs; i++)
        if (n->input[i] && (reads >> i & 1)) SOW_TRY(revive(t, n->input[i]));
    return reads & SOW_READS_OUTPUT ? revive(t, n) : SOW_OK;
}

static sow_status step_back(sow_tape *t, sow_node *n) {
    bool reached = n->needs_grad && n->grad_written && n->grad.data;
    if (reached && n->op->backward) SOW_TRY(revive_what_is_read(t, n));
    if (reached && n->seen) SOW_TRY(n->seen(n->seen_user, n->value, n->grad));
    if (reached && n->op->backward) {
        sow_status status = n->op->backward(t, n);
        end_call(t);
        SOW_TRY(status);
    }
    release_keeps(t, n);
    if (n->kept) return SOW_OK;
    release_grad(t, n);
    release_value(t, n);
    return SOW_OK;
}

sow_status sow_tape_backward_from(sow_tape *t, sow_var output, sow_tensor gradient) {
    SOW_TRY(sow_tape_status(t));
    if (!output || !output->needs_grad) return sow_fail(SOW_E_ARGUMENT, "backward: nothing behind this value wants a gradient");
    if (!sow_same_shape(output->value, gradient)) {
        char a[SOW_SHAPE_TEXT], b[SOW_SHAPE_TEXT];
        return sow_fail(SOW_E_SHAPE, "backward: gradient is %s, the value is %s", sow_shape_text(gradient, a), sow_shape_text(output->value, b));
    }
    sow_keep(output);
    sow_tensor start;
    sow_grad_into(t, output, &start);
    if (!start.data) return SOW_E_MEMORY;
    SOW_TRY(sow_copy(start, gradient));
    int64_t r = t->region_count - 1;
    for (int64_t i = output->ordinal; i >= 0; i--) {
        while (r >= 0 && t->regions[r].first > i) r--;
        if (r >= 0 && i < t->regions[r].last) SOW_TRY(compute_again(t, &t->regions[r--]));
        SOW_TRY(step_back(t, t->nodes[i]));
    }
    return SOW_OK;
}

sow_status sow_tape_backward(sow_tape *t, sow_var loss) {
    SOW_TRY(sow_tape_status(t));
    if (loss && sow_count(loss->value) != 1) {
        char text[SOW_SHAPE_TEXT];
        return sow_fail(SOW_E_SHAPE, "backward: the loss is %s, expected one element", sow_shape_text(loss->value, text));
    }
    double one = 1;
    sow_tensor gradient = sow_value(loss);
    gradient.dtype = SOW_F64;
    gradient.data = &one;
    return sow_tape_backward_from(t, loss, gradient);
}

void sow_fresh_gradients(sow_state *state) {
    for (int64_t i = 0; i < sow_state_count(state); i++) sow_state_entry(state, i)->grad_written = false;
}

void sow_on_gradient(sow_tape *t, sow_var x, sow_gradient_function seen, void *user) {
    (void)t;
    if (!x) return;
    x->seen = seen;
    x->seen_user = user;
}

/* ---- names and taps ---- */

static bool room_for(char **buffer, size_t *capacity, size_t wanted) {
    if (wanted <= *capacity) return true;
    size_t larger = wanted < 256 ? 512 : 2 * wanted;
    char *grown = sow_reallocate(*buffer, larger);
    if (!grown) return false;
    *buffer = grown;
    *capacity = larger;
    return true;
}

void sow_enter(sow_tape *t, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length >= 0 && room_for(&t->path, &t->path_capacity, t->path_used + (size_t)length + 2)) {
        vsnprintf(t->path + t->path_used, (size_t)length + 1, format, again);
        t->path_used += (size_t)length;
        t->path[t->path_used++] = '\n'; /* ends a level; becomes a dot in sow_path */
    } else sow_tape_fail(t, SOW_E_MEMORY);
    va_end(again);
}

void sow_leave(sow_tape *t) {
    if (t->path_used > 0) t->path_used--;
    while (t->path_used > 0 && t->path[t->path_used - 1] != '\n') t->path_used--;
}

const char *sow_path_of(sow_tape *t, const char *name, const char *suffix) {
    size_t n = strlen(name), s = strlen(suffix), used = t->path_used;
    if (!room_for(&t->joined, &t->joined_capacity, used + n + s + 2)) {
        sow_tape_fail(t, SOW_E_MEMORY);
        return "";
    }
    char *out = t->joined;
    for (size_t i = 0; i < used; i++) out[i] = t->path[i] == '\n' ? '.' : t->path[i];
    memcpy(out + used, name, n);
    used += n;
    if (n > 0 && s > 0) out[used++] = '.';
    memcpy(out + used, suffix, s);
    used += s;
    if (n + s == 0 && used > 0) used--; /* the level itself, without its dot */
    out[used] = 0;
    return out;
}

const char *sow_path(sow_tape *t, const char *name) {
    return sow_path_of(t, name, "");
}

sow_var sow_tap(sow_tape *t, const char *name, sow_var x, sow_var y) {
    for (int i = 0; i < t->tap_count && y; i++) y = t->taps[i].call(t->taps[i].user, t, sow_path(t, name), x, y);
    return y;
}

sow_status sow_tape_add_tap(sow_tape *t, sow_tap_function tap, void *user) {
    if (t->tap_count == TAPS_MAX) return sow_fail(SOW_E_RANGE, "more than %d taps on one tape", TAPS_MAX);
    t->taps[t->tap_count].call = tap;
    t->taps[t->tap_count++].user = user;
    return SOW_OK;
}

void sow_tape_clear_taps(sow_tape *t) {
    t->tap_count = 0;
}
