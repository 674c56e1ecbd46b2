/* Random generators: seeding, names, and the way from a call to the kind that answers it. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "internal.h"

static const random_methods *const methods_of[] = {
    [SOW_RNG_SOW] = &random_sow,
    [SOW_RNG_TORCH_CPU] = &random_torch,
    [SOW_RNG_NUMPY] = &random_numpy,
    [SOW_RNG_PCG64] = &random_pcg64,
};
enum { KINDS = sizeof methods_of / sizeof *methods_of };

sow_status sow_rng_seed(sow_rng *rng, sow_rng_kind kind, uint64_t seed) {
    if ((unsigned)kind >= KINDS) return sow_fail(SOW_E_RANGE, "random generator: no kind %d", (int)kind);
    memset(rng, 0, sizeof *rng);
    rng->kind = kind;
    rng->seed = seed;
    return methods_of[kind]->seed(rng, seed);
}

const char *sow_rng_kind_name(sow_rng_kind kind) {
    return (unsigned)kind < KINDS ? methods_of[kind]->name : "unknown";
}

sow_status sow_rng_kind_parse(const char *name, sow_rng_kind *out) {
    for (int kind = 0; kind < KINDS; kind++) {
        if (strcmp(name, methods_of[kind]->name) == 0) {
            *out = (sow_rng_kind)kind;
            return SOW_OK;
        }
    }
    return sow_fail(SOW_E_NOT_FOUND, "no random generator '%s': expected sow, torch-cpu, numpy or pcg64", name);
}

void sow_rng_uniform_f32(sow_rng *rng, float *out, int64_t n, double low, double high) {
    methods_of[rng->kind]->uniform_f32(rng, out, n, low, high);
}

void sow_rng_uniform_f64(sow_rng *rng, double *out, int64_t n, double low, double high) {
    methods_of[rng->kind]->uniform_f64(rng, out, n, low, high);
}

void sow_rng_normal_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd) {
    methods_of[rng->kind]->normal_f32(rng, out, n, mean, sd);
}

void sow_rng_normal_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd) {
    methods_of[rng->kind]->normal_f64(rng, out, n, mean, sd);
}

static sow_status check_truncation(double mean, double sd, double low, double high) {
    if (!isfinite(mean) || !isfinite(sd) || sd <= 0.0)
        return sow_fail(SOW_E_RANGE,
                        "truncated normal: mean %g and standard deviation %g, expected finite numbers "
                        "and a deviation above 0",
                        mean, sd);
    if (!(low < high))
        return sow_fail(SOW_E_RANGE, "truncated normal: bounds %g and %g, expected low < high", low, high);
    return SOW_OK;
}

sow_status sow_rng_truncated_f32(sow_rng *rng, float *out, int64_t n, double mean, double sd, double low, double high) {
    SOW_TRY(check_truncation(mean, sd, low, high));
    return methods_of[rng->kind]->truncated_f32(rng, out, n, mean, sd, low, high);
}

sow_status sow_rng_truncated_f64(sow_rng *rng, double *out, int64_t n, double mean, double sd, double low,
                                 double high) {
    SOW_TRY(check_truncation(mean, sd, low, high));
    return methods_of[rng->kind]->truncated_f64(rng, out, n, mean, sd, low, high);
}

uint64_t sow_rng_below(sow_rng *rng, uint64_t bound) {
    return methods_of[rng->kind]->below(rng, bound);
}

void sow_rng_permutation(sow_rng *rng, int64_t *out, int64_t n) {
    methods_of[rng->kind]->permutation(rng, out, n);
}
