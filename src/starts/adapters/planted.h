/* A planted problem: a random network, and a teacher of the same form whose weights were moved. What simulations share. */
#ifndef SOW_STARTS_ADAPTERS_PLANTED_H
#define SOW_STARTS_ADAPTERS_PLANTED_H

#include "sow/data.h"
#include "sow/nn.h"

enum { PLANTED_INPUTS = 64, PLANTED_CLASSES = 10 };

/* Two networks of 64-128-128-10 units with Kaiming-normal weights; each weight W of the teacher was moved by 0.7 ||W|| D / ||D||,
 * D = U diag(1/i) V^T with random orthonormal U, V. Streams ("init", NAME) and ("teacher", NAME) of the seed. */
sow_status planted_networks(uint64_t seed, sow_arena *arena, sow_model **student, sow_model **teacher);
/* A set for so many examples, of its own memory; inputs F32 [count, 64, 1, 1], to be filled. */
sow_status planted_set(int64_t count, sow_dataset **out);
/* x: [count, 64]; the i-th input has sd 2 / sqrt(i), i = 1 .. 64. */
void planted_inputs(sow_rng *rng, float *x, int64_t count);
/* What the teacher thinks likeliest. */
sow_status planted_labels(sow_model *teacher, sow_dataset *set);
/* Data of that set, which is theirs from now on (freed here on failure); parts are the caller's to fill. */
sow_status planted_data(sow_dataset *set, sow_data **out);
/* Examples first ... first + count - 1 as a part. */
sow_status planted_part(sow_arena *arena, const sow_dataset *set, int64_t first, int64_t count, sow_part *out);
/* Random with orthonormal columns, F64 [rows, columns]. */
sow_status planted_orthonormal(sow_arena *arena, sow_rng *rng, int64_t rows, int64_t columns, sow_tensor *out);

#endif
