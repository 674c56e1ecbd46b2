/* The tape: define-by-run reverse-mode differentiation. */
#ifndef SOW_TAPE_H
#define SOW_TAPE_H

#include "sow/state.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sow_tape sow_tape;
/* A value on the tape; NULL once the tape is poisoned, so that code reads straight through and is checked once. */
typedef struct sow_node *sow_var;

/* An empty tape in evaluation mode that records gradients. It owns node and tensor memory and keeps it from one
 * recording to the next: in steady state a step allocates nothing. One tape belongs to one thread. */
sow_status sow_tape_new(sow_tape **out);
/* Frees nodes and buffers; NULL is allowed. */
void sow_tape_free(sow_tape *tape);
/* Forgets the recording (all its vars end) and any failure; keeps memory, modes and taps. */
void sow_tape_reset(sow_tape *tape);

/* Training mode: batch norm uses and updates batch statistics, dropout drops. Default false. */
void sow_tape_train(sow_tape *tape, bool training);
/* Whether the tape is in training mode. */
bool sow_tape_is_training(const sow_tape *tape);
/* Without gradients nothing is kept for backward. Default true. */
void sow_tape_record(sow_tape *tape, bool gradients);
/* Shapes only: operators check and describe but do not compute (parameters are declared so). Default false. */
void sow_tape_dry(sow_tape *tape, bool dry);
/* Where dropout draws from: a function of (seed, step, the operator's ordinal in the recording). */
void sow_tape_random(sow_tape *tape, uint64_t seed, uint64_t step);

/* The first failure of this recording, SOW_OK if none; its message is restored as this thread's message. */
sow_status sow_tape_status(const sow_tape *tape);
/* Poisons the tape (keeps this thread's message) and returns NULL: `return sow_tape_fail(t, sow_fail(...));`. */
sow_var sow_tape_fail(sow_tape *tape, sow_status status);

/* Gradients of a one-element `loss` into every leaf that wants one: parameters accumulate into their entry's
 * grad (the first contribution since sow_tape_fresh_gradients or entry->grad_written = false overwrites).
 * Intermediate values are released on the way: read what you need before, or sow_keep it. The loss is kept.
 * Cost: about twice the forward pass. */
sow_status sow_tape_backward(sow_tape *tape, sow_var loss);
/* The same, beginning with the given gradient of `output` instead of 1. */
sow_status sow_tape_backward_from(sow_tape *tape, sow_var output, sow_tensor gradient);
/* The next contribution to each gradient of the state overwrites: call once before each step's first backward. */
void sow_fresh_gradients(sow_state *state);

/* ---- leaves ---- */

/* A constant whose memory outlives the recording. No gradient. */
sow_var sow_constant(sow_tape *tape, sow_tensor value);
/* A leaf with a gradient that sow_gradient reads after backward: inputs under study, adversarial examples ... */
sow_var sow_leaf(sow_tape *tape, sow_tensor value);
/* A parameter: the same var each time within a recording. Buffers and frozen entries get no gradient. */
sow_var sow_parameter(sow_tape *tape, sow_entry *entry);
/* The value without its history (stop-gradient). */
sow_var sow_detach(sow_tape *tape, sow_var x);

/* The value of a var (a description with data NULL on a dry or poisoned tape), and its gradient after backward
 * (data NULL if none came: only leaves and kept vars have one). */
sow_tensor sow_value(sow_var x);
/* The gradient after backward; data NULL if none came (only leaves, parameters and kept vars have one). */
sow_tensor sow_gradient(sow_var x);
/* Value and gradient of x stay readable after backward, until reset. Returns x. */
sow_var sow_keep(sow_var x);
/* Nothing recorded from here on will use x: its memory goes back unless backward reads it, and even then where the
 * value is cheap to make again (norms, gates). Without gradients it always goes. A hint: never an error. */
void sow_done(sow_tape *tape, sow_var x);
/* f64 of a one-element var. */
double sow_scalar(sow_var x);

/* A recompute region: values inside are dropped when it ends and computed again for backward, so memory is paid with
 * one more forward pass. Of the vars made inside, only `result` may be used outside. Returns result. Not nested. */
void sow_recompute_begin(sow_tape *tape);
/* Ends the region and drops what lies inside; returns result. */
sow_var sow_recompute_end(sow_tape *tape, sow_var result);

/* ---- names and taps ---- */

/* Opens and closes a level of names, as PyTorch's modules nest: within sow_enter(t, "layer1.%d", 0) a layer
 * "conv1" has the parameter "layer1.0.conv1.weight" and the site "layer1.0.conv1". */
void sow_enter(sow_tape *tape, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Closes the innermost level of names. */
void sow_leave(sow_tape *tape);
/* The full name of `name` at this level; valid until the next call. "" gives the level itself. */
const char *sow_path(sow_tape *tape, const char *name);

/* Models call this at their inner sites: x went in (x == y where a site has no input of its own), y came out.
 * Returns y, or what a tap puts in its place. Costs one test when nothing is tapped. */
sow_var sow_tap(sow_tape *tape, const char *name, sow_var x, sow_var y);
/* What a caller does at a site: watch (return y), replace (return another var), add to it (an adapter:
 * return sow_add(t, y, lora(t, x))). `site` is the full name. */
typedef sow_var (*sow_tap_function)(void *user, sow_tape *tape, const char *site, sow_var x, sow_var y);
/* Adds a tap for all sites; taps run in the order they were added. */
sow_status sow_tape_add_tap(sow_tape *tape, sow_tap_function tap, void *user);
/* Removes all taps. */
void sow_tape_clear_taps(sow_tape *tape);
/* Calls `seen` during backward when the gradient of x is complete. */
typedef sow_status (*sow_gradient_function)(void *user, sow_tensor value, sow_tensor gradient);
/* Calls `seen` during backward when the gradient of x is complete. */
void sow_on_gradient(sow_tape *tape, sow_var x, sow_gradient_function seen, void *user);

/* ---- beyond one backward ---- */

/* A scalar function of a state, recorded anew at each call. */
typedef sow_var (*sow_loss_function)(void *user, sow_tape *tape, sow_state *state);
/* Loss and its gradients into the state's grads (overwritten). */
sow_status sow_grad(sow_tape *tape, sow_state *state, sow_loss_function loss, void *user, double *value);
/* Hessian-vector product at an F64 state by central differences of gradients: out = (g(w+hv)-g(w-hv))/2h with
 * h = 1e-5 * max(1, |w|) / max(|v|, tiny). `v` and `out` are arrays in entry order (trainable ones). Cost: two gradients. */
sow_status sow_hvp(sow_tape *tape, sow_state *state, sow_loss_function loss, void *user, const sow_tensor *v, sow_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
