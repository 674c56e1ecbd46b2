/* What the tests of subgm and matrix-gd begin with: an arena, and normal numbers. */
#ifndef TESTS_UNIT_STARTS_FACTORS_H
#define TESTS_UNIT_STARTS_FACTORS_H

#include <math.h>

#include "check.h"
#include "sow/factors.h"

static sow_arena *arena;

static int set_up(void **state) {
    return sow_arena_new(&arena) == SOW_OK ? 0 : -1;
}

static int tear_down(void **state) {
    sow_arena_free(arena);
    return 0;
}

static void normal(uint64_t seed, double *out, int64_t n) {
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    sow_rng_normal_f64(&rng, out, n, 0, 1);
}

#endif
