/* The toy task of the lottery-ticket card: 16 of 64 inputs matter, the label is the largest of 5 outputs of a small network. */
#include <math.h>
#include <string.h>

#include "data/readers.h"

enum { INPUTS = 64, RELEVANT = 16, HIDDEN = 12, CLASSES = 5, EXAMPLES = 8000, TRAINING = 4000, VALIDATION = 1000 };

typedef struct task {
    float x[EXAMPLES][INPUTS];
    double a[RELEVANT][HIDDEN], b[HIDDEN][CLASSES], z[EXAMPLES][CLASSES];
    double noise[EXAMPLES];
    int32_t labels[EXAMPLES];
} task;

/* Z = ReLU(X[:, :16] A) B, its columns standardised over the sample. */
static void outputs(task *t) {
    for (int i = 0; i < EXAMPLES; i++)
        for (int h = 0; h < HIDDEN; h++) {
            double sum = 0;
            for (int j = 0; j < RELEVANT; j++) sum += (double)t->x[i][j] * t->a[j][h];
            for (int c = 0; c < CLASSES && sum > 0; c++) t->z[i][c] += sum * t->b[h][c];
        }
    for (int c = 0; c < CLASSES; c++) {
        double mean = 0, variance = 0;
        for (int i = 0; i < EXAMPLES; i++) mean += t->z[i][c] / EXAMPLES;
        for (int i = 0; i < EXAMPLES; i++) variance += (t->z[i][c] - mean) * (t->z[i][c] - mean) / EXAMPLES;
        for (int i = 0; i < EXAMPLES; i++) t->z[i][c] = (t->z[i][c] - mean) / sqrt(variance);
    }
}

/* y = argmax of Z; 5 % of the labels become a uniformly drawn class (which may be the same). */
static void draw_labels(task *t, sow_rng *rng) {
    for (int i = 0; i < EXAMPLES; i++) {
        int best = 0;
        for (int c = 1; c < CLASSES; c++)
            if (t->z[i][c] > t->z[i][best]) best = c;
        t->labels[i] = best;
    }
    sow_rng_at(rng, "relmlp", "noise");
    sow_rng_uniform_f64(rng, t->noise, EXAMPLES, 0, 1);
    sow_rng_at(rng, "relmlp", "class");
    for (int i = 0; i < EXAMPLES; i++) {
        int32_t drawn = (int32_t)sow_rng_below(rng, CLASSES);
        if (t->noise[i] < 0.05) t->labels[i] = drawn;
    }
}

static sow_status part(const task *t, int first, int count, sow_dataset **out) {
    sow_geometry geometry = {.channels = INPUTS, .height = 1, .width = 1, .classes = CLASSES};
    SOW_TRY(sow_dataset_new(count, geometry, SOW_F32, out));
    memcpy((*out)->inputs.data, t->x[first], (size_t)count * sizeof t->x[0]);
    memcpy((*out)->labels, t->labels + first, (size_t)count * sizeof t->labels[0]);
    return SOW_OK;
}

sow_status sow_make_relmlp(uint64_t seed, sow_found *found) {
    sow_arena *arena;
    sow_rng rng;
    task *t;
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    SOW_TRY(SOW_OWN(arena, t));
    sow_rng_at(&rng, "relmlp", "X");
    sow_rng_normal_f32(&rng, t->x[0], EXAMPLES * INPUTS, 0, 1);
    sow_rng_at(&rng, "relmlp", "A");
    sow_rng_normal_f64(&rng, t->a[0], RELEVANT * HIDDEN, 0, 0.5);
    sow_rng_at(&rng, "relmlp", "B");
    sow_rng_normal_f64(&rng, t->b[0], HIDDEN * CLASSES, 0, 1);
    outputs(t);
    draw_labels(t, &rng);
    sow_status status = part(t, 0, TRAINING, &found->train);
    if (status == SOW_OK) status = part(t, TRAINING, EXAMPLES - TRAINING, &found->test);
    found->normalisation = SOW_NORMALISE_UNIT;
    found->validation = VALIDATION;
    sow_arena_free(arena);
    return status;
}
