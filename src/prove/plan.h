/* What the files that read a plan share. */
#ifndef SOW_PROVE_PLAN_H
#define SOW_PROVE_PLAN_H

#include "prove/fields.h"
#include "sow/prove.h"

enum { PLAN_SEEDS_MAX = 128, PLAN_ARMS_MAX = 64, PLAN_VARIABLES_MAX = 256 };
#define PLAN_STEPS_MAX 1000000000000 /* 1e12 */

/* "last", "best", "step:K", "mean:F", "argbest:NAME", "step-of-best:NAME", "reach:V" in the member `key`, into a metric
 * whose name and direction are set. */
sow_status plan_read_at(const fields *f, const char *key, int64_t steps, sow_metric *metric);
/* What `at` was typed as. */
const char *plan_at_text(sow_arena *arena, const sow_metric *metric);

/* Whether smaller values of a metric are better, by its name. */
bool plan_falls_by_name(const char *name);

/* Kinds of text, which may have different placeholders. */
typedef enum plan_text { PLAN_TRAIN, PLAN_MAKE, PLAN_PATH } plan_text;
extern const char *const plan_reserved[]; /* names that variables cannot have; NULL-terminated */
/* The path of an arm's init or mask at a seed. */
sow_status plan_path(sow_arena *arena, const sow_plan_arm *arm, const char *text, uint64_t seed, char **out);
/* Seeds that the race may run, those of halving's rungs included. */
int plan_race_seeds(const sow_plan *plan);

/* Placeholders of every text; starts that the trainer would not get. */
sow_status plan_check_texts(const fields *top, sow_plan *plan);
/* Hashes of every start and mask file, as a JSON object by path. */
sow_status plan_hash_files(const fields *top, const sow_plan *plan, json_t **hashes);
/* Members that only make sense together. */
sow_status plan_check_budget(const fields *top, const sow_plan *plan);

/* plan->identity and plan->document. `files`: hashes by path. */
sow_status plan_write_texts(sow_arena *arena, sow_plan *plan, const json_t *files);

/* Texts of enumerations, in their order; NULL-terminated. */
extern const char *const plan_claims[], *const plan_tests[], *const plan_races[], *const plan_directions[],
                                                                                      *const plan_failures[];

/* A standing before any number is known: all of them NaN. */
sow_standing prove_no_standing(const char *verdict);

#endif
