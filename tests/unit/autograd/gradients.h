/* Gradient checks of operators: f64 against central differences, f32 against f64, and the same bits for 1, 2, 4 threads. */
#ifndef TESTS_GRADIENTS_H
#define TESTS_GRADIENTS_H

#include "sow/ops.h"

/* Records an operator over the entries of a state and returns its output, of any shape. */
typedef sow_var (*operator_under_test)(sow_tape *t, sow_state *s, const void *user);

/* A state of F64 entries named as given, "x:3,2,5" (a parameter) or "mean=2" in place of the shape's colon for
 * buffers: "mean=2". Values are irregular numbers between -1 and 1, exact in f32, the same at each call. */
sow_state *state_of(const char *const *entries, int count);

/* All three checks, in training or evaluation mode; fails the test naming `what`. Tolerances: f64 1e-7 of the largest
 * gradient of the entry, f32 `tolerance`. */
void check_operator(const char *what, operator_under_test build, const void *user, sow_state *state, bool training, double tolerance);

/* SHA-256 of the output and all gradients of the f32 operator with so many threads. */
void fingerprint(operator_under_test build, const void *user, const sow_state *state, bool training, int threads, char hex[65]);

#endif
