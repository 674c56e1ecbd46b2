/* What an operator file needs: nodes, outputs, gradients. A new operator is one section: attributes, forward,
 * backward, the public call. */
#ifndef SOW_AUTOGRAD_OP_H
#define SOW_AUTOGRAD_OP_H

#include "base/clones.h"
#include "sow/ops.h"
#include "sow/threads.h"

typedef struct sow_node sow_node;

typedef struct sow_op {
    const char *name;
    /* Fills node->value from the inputs' values; may keep buffers for backward. Also called again by recompute
     * regions, so it must not change anything else (running statistics: only unless sow_is_recomputing(t)). */
    sow_status (*forward)(sow_tape *t, sow_node *n);
    /* Adds to the inputs' gradients from node->grad; skips inputs with !needs_grad. NULL: no gradient. */
    sow_status (*backward)(sow_tape *t, sow_node *n);
    /* Which values backward reads: bit i for input i, SOW_READS_OUTPUT for the node's own. NULL: all of them. */
    unsigned (*reads)(const sow_node *n);
    /* Forward costs little and may run again at any time: its value may be dropped and made again for backward. */
    bool cheap;
} sow_op;
enum { SOW_READS_OUTPUT = 1 << 30 };

enum { SOW_KEEP_MAX = 4 };

struct sow_node {
    const sow_op *op;
    sow_var *input;
    int inputs;
    bool needs_grad;      /* this node or one below it is a leaf that wants a gradient */
    bool grad_written;    /* grad holds a first contribution */
    bool kept;            /* value and grad outlive backward */
    bool owns_value;      /* false for views, leaves and parameters */
    sow_tensor value;     /* output; data NULL on a dry tape */
    sow_tensor grad;      /* value's layout (row-major if that has gaps); data NULL before the first contribution */
    void *attributes;     /* the operator's constants, zeroed at birth */
    void *keep[SOW_KEEP_MAX]; /* buffers from sow_node_keep, released after backward */
    sow_entry *entry;     /* parameters */
    bool dropped;         /* inside a recompute region that was left */
    bool needed, viewed;  /* some backward reads the value; another node's value lies in its memory */
    bool revivable;       /* released by sow_done, to be computed again */
    int64_t view_offset;  /* bytes from the first input's memory, for views */
    int64_t ordinal;      /* position in the recording */
    sow_gradient_function seen;
    void *seen_user;
};

/* A node for `op` with the given inputs; NULL if the tape is poisoned or one of the first `required` inputs is NULL.
 * Behind those, NULL stands for an absent optional operand and stays NULL in node->input. */
sow_node *sow_node_new(sow_tape *t, const sow_op *op, size_t attribute_bytes, int required, int inputs, const sow_var *input);
#define SOW_NODE(t, op, attributes, required, ...)                                                   \
    sow_node_new((t), (op), sizeof(attributes), (required), (int)(sizeof((sow_var[]){__VA_ARGS__}) / sizeof(sow_var)), \
                 (sow_var[]){__VA_ARGS__})

/* Gives the node its output and runs forward (not on a dry tape). `output` describes dtype, shape and layout;
 * data NULL: fresh memory from the tape's pool; else a view of an input's memory. Returns the var. */
sow_var sow_node_run(sow_tape *t, sow_node *n, sow_tensor output);

/* For sow_op.reads: nothing but gradients. */
unsigned sow_reads_nothing(const sow_node *n);

/* Descriptions for outputs: row-major, and channels-last for [N, C, H, W]. */
sow_tensor sow_describe(sow_dtype dtype, int rank, const int64_t *shape);
sow_tensor sow_describe_channels_last(sow_dtype dtype, int64_t n, int64_t c, int64_t h, int64_t w);

/* x itself if its memory is row-major (or, for sow_gap_free, without gaps in any order), else a recorded row-major copy. */
sow_var sow_contiguous(sow_tape *t, sow_var x);
sow_var sow_gap_free(sow_tape *t, sow_var x);

/* Memory that lives until the node's backward is done (slot 0..SOW_KEEP_MAX-1; the same slot again gives the same
 * memory if it is large enough). NULL, tape unpoisoned, message kept, when memory is short: return SOW_E_MEMORY.
 * When gradients are off it is released with the recording. */
void *sow_node_keep(sow_tape *t, sow_node *n, int slot, size_t bytes);
/* Scratch memory until this forward or backward call ends. */
void *sow_scratch(sow_tape *t, size_t bytes);

/* "prefix.name.suffix" at the tape's level of names; valid until the next call. */
const char *sow_path_of(sow_tape *t, const char *name, const char *suffix);
/* Whether the tape keeps what backward needs. */
bool sow_tape_is_recording(const sow_tape *t);
bool sow_tape_is_dry(const sow_tape *t);

/* The gradient buffer of an input, and the factor for what it already holds: 0 on the first contribution (the
 * buffer is uninitialised, overwrite it), 1 afterwards (add). data NULL: memory is short. */
float sow_grad_into(sow_tape *t, sow_var input, sow_tensor *grad);

/* Whether this forward will be followed by backward, and whether it is a recomputation. */
static inline bool sow_wants_grad(sow_var x) { return x && x->needs_grad; }
bool sow_is_recomputing(const sow_tape *t);
/* The dropout stream of this recording: seed and step of sow_tape_random. */
void sow_tape_random_state(const sow_tape *t, uint64_t *seed, uint64_t *step);

/* What a cell works on: part `index` of `total` items cut into parts of `grain`; and of elements, in chunks of 16,384. */
typedef struct sow_range { int64_t first, count; } sow_range;
enum { SOW_CHUNK = 16384 };
static inline sow_range sow_range_of(int64_t index, int64_t grain, int64_t total) {
    int64_t first = index * grain, left = total - first;
    return (sow_range){first, left < grain ? left : grain};
}
static inline sow_range sow_chunk(int64_t index, int64_t total) {
    return sow_range_of(index, SOW_CHUNK, total);
}

#endif
