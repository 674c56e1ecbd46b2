/* The identity of a plan. */
#ifndef SOW_RUN_PLAN_H
#define SOW_RUN_PLAN_H

#include "sow/run.h"

/* The plan with keys sorted and no spaces, in the arena, and the SHA-256 of that. SOW_E_ARGUMENT: no JSON object. */
sow_status sow_plan_canonical(sow_arena *arena, const char *json, const char **canonical, char id[65]);

/* SOW_E_EXISTS with the first place where two plans differ: "seeds.max: found 20, expected 10". */
sow_status sow_plan_difference(const char *path, const char *found, const char *expected);

#endif
