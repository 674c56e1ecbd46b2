/* A state: named tensors in order, each with its gradient, mask and role. A start is a state plus its passport. */
#ifndef SOW_STATE_H
#define SOW_STATE_H

#include "sow/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_role {
    SOW_ROLE_WEIGHT, /* of a dense or convolutional layer: decayed, pruned */
    SOW_ROLE_BIAS,
    SOW_ROLE_NORM,   /* scale or shift of a normalisation */
    SOW_ROLE_EMBEDDING,
    SOW_ROLE_BUFFER, /* running statistics and counters: never trained */
} sow_role;

typedef struct sow_entry {
    const char *name;    /* as in the framework's state dict: "layer1.0.conv1.weight" */
    const char *group;   /* the network's own grouping for pruning rates: "conv", "fc", "out"; "" if none */
    sow_role role;
    bool trainable;
    sow_tensor value;
    sow_tensor grad;     /* same layout as value; data NULL until sow_state_add_gradients */
    sow_tensor mask;     /* U8, 1 keeps; same layout as value; data NULL: dense */
    bool grad_written;   /* false until the first contribution of this step: that one overwrites */
    void *node;          /* the tape's node of this entry in the current recording; private to autograd */
    uint64_t recording;
} sow_entry;

typedef struct sow_state sow_state;

/* An empty state; it owns an arena for names and tensors. */
sow_status sow_state_new(sow_state **out);
/* Frees entries, names and values that the state owns; NULL is allowed. */
void sow_state_free(sow_state *state);
/* The arena that lives as long as the state. */
sow_arena *sow_state_arena(sow_state *state);

/* Number of entries. */
int64_t sow_state_count(const sow_state *state);
/* Entry by position, in insertion order; the index is trusted. */
sow_entry *sow_state_entry(const sow_state *state, int64_t index);
/* NULL if absent. Cost: a hash look-up. */
sow_entry *sow_state_find(const sow_state *state, const char *name);
/* Find, or SOW_E_NOT_FOUND naming the nearest names there are. */
sow_status sow_state_get(const sow_state *state, const char *name, sow_entry **out);

/* Appends an entry whose `value` is a fresh zeroed tensor with that dtype and shape. The name must be new.
 * Role is guessed from name and shape (sow_role_of); callers that know better set it. */
sow_status sow_state_add(sow_state *state, const char *name, sow_dtype dtype, int rank, const int64_t *shape, sow_entry **out);
/* Appends an entry that views memory which outlives the state (a mapped file). */
sow_status sow_state_add_view(sow_state *state, const char *name, sow_tensor value, sow_entry **out);

/* Role by name and shape, for files from elsewhere: rank >= 2 "*.weight" is a weight unless a component of its
 * name says norm, bn, ln, embed, wte, wpe ...; *running_mean, *running_var, *num_batches_tracked are buffers. */
sow_role sow_role_of(const char *name, int rank);

/* Allocates (once) the gradient of every trainable entry; a training loop calls this before its first step. */
sow_status sow_state_add_gradients(sow_state *state);

/* Thaws or freezes all entries but buffers: frozen ones get no gradient. */
void sow_state_train(sow_state *state, bool trainable);

/* A deep copy: names, roles, groups, values in the same layouts; no gradients; masks if `masks`. */
sow_status sow_state_clone(const sow_state *from, bool masks, sow_state **out);
/* Copies values by name into `to`. Every entry of `to` must be there with its shape, and nothing more:
 * SOW_E_SHAPE lists the first three missing, unexpected or misshapen names. */
sow_status sow_state_assign(sow_state *to, const sow_state *from);

/* A model is one forward function. Run on a dry tape over an `open` state, it declares its parameters: a layer
 * that does not find its weights adds them (zeros). Afterwards the state is closed and a missing name is an error. */
void sow_state_open(sow_state *state, bool open);
/* Whether layers may add what they do not find. */
bool sow_state_is_open(const sow_state *state);

/* SOW_E_NUMBER if any value is NaN or infinite. */
sow_status sow_state_require_finite(const sow_state *state, const char *what);

/* Total elements of entries with the role weight (the pruning papers' |theta|), and of all trainable ones. */
int64_t sow_state_weights(const sow_state *state);
/* Elements of all trainable entries. */
int64_t sow_state_parameters(const sow_state *state);

#ifdef __cplusplus
}
#endif
#endif
