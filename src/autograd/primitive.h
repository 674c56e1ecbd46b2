/* oneDNN primitives, made once and kept: each runs on one thread inside a cell, and every thread that runs it has
 * memory objects and a scratchpad of its own. */
#ifndef SOW_AUTOGRAD_PRIMITIVE_H
#define SOW_AUTOGRAD_PRIMITIVE_H

#include <dnnl.h>
#include <stdbool.h>
#include <stddef.h>

#include "sow/status.h"

enum { SOW_OPERANDS_MAX = 5 };

typedef struct sow_primitive sow_primitive;

/* A primitive from its descriptor (consumed, whatever the result); operands[] are the DNNL_ARG_* that
 * sow_primitive_run takes, in its order. Call inside a plan's `make`. Errors: SOW_E_MEMORY, SOW_E_UNSUPPORTED. */
sow_status sow_primitive_new(dnnl_primitive_desc_t described, int count, const int *operands, sow_primitive **out);
/* A reorder between two layouts of the same values; operands: from, to. */
sow_status sow_reorder_new(const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to, sow_primitive **out);
void sow_primitive_free(sow_primitive *primitive);

/* Runs it on the calling thread. Any number of threads may run the same primitive at once. */
sow_status sow_primitive_run(sow_primitive *primitive, void *const *data);
/* Makes memory objects for so many threads now, so that later runs allocate nothing. NULL is allowed. */
sow_status sow_primitive_reserve(sow_primitive *primitive, int threads);
/* The layout of an operand. */
const dnnl_memory_desc_t *sow_primitive_layout(const sow_primitive *primitive, int operand);
/* oneDNN's name of the implementation, e.g. "jit:avx2". */
const char *sow_primitive_implementation(const sow_primitive *primitive);

/* The process's CPU engine; NULL, with a message kept, when oneDNN refuses. */
dnnl_engine_t sow_engine(void);
/* SOW_OK, or a failure that says what oneDNN refused. */
sow_status sow_dnnl_check(dnnl_status_t status, const char *what);

/* ---- plans: what an operator prepares for one shape ---- */

/* How plans of one kind are made. `key` is a plain struct without padding; everything that a plan depends on is in it. */
typedef struct sow_plan_kind {
    const char *name;
    size_t key_bytes, plan_bytes;
    sow_status (*make)(const void *key, void *plan); /* plan is zeroed; after a failure `unmake` is called */
    void (*unmake)(void *plan);
} sow_plan_kind;

/* The plan for a key, made on first use, under a lock and with OpenMP set to one thread: a primitive made for more
 * threads hangs inside a cell. The plan stays until sow_plan_leave; then it may be evicted, the longest unused first, when
 * there are more than SOW_PLANS_MAX. Cost: a hash look-up. */
enum { SOW_PLANS_MAX = 512 };
sow_status sow_plan_use(const sow_plan_kind *kind, const void *key, void **plan);
void sow_plan_leave(void *plan);

/* How many primitives alive now are oneDNN's reference code, hundreds of times slower than the others; `name` gets one. */
int sow_reference_primitives(const char **name);

#endif
