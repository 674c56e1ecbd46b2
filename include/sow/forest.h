/* Random forests of classification trees (Breiman 2001) with scikit-learn's semantics. */
#ifndef SOW_FOREST_H
#define SOW_FOREST_H

#include <stdbool.h>
#include <stdint.h>

#include "sow/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Features of samples: either yes-or-no ones packed to bits, or numbers. By features, so that a node reads one run. */
typedef struct sow_features {
    int64_t samples, count;
    const uint64_t *bits; /* [count][words], bit s of a row is sample s; words = (samples + 63) / 64 */
    const double *values; /* [count][samples], where bits is NULL */
} sow_features;
static inline int64_t sow_feature_words(int64_t samples) {
    return (samples + 63) / 64;
}

typedef struct sow_forest_config {
    int trees;       /* 60 */
    bool bootstrap;  /* samples drawn with replacement; else every tree sees all */
    int64_t tried;   /* features at a node; 0: floor(sqrt(count)) */
    uint64_t seed;
} sow_forest_config;
/* 60 trees, bootstrap, the square root, seed 0. */
sow_forest_config sow_forest_defaults(void);

typedef struct sow_forest sow_forest;

/* Grows the trees to purity: a node draws features without replacement until `tried` are seen, and goes on while none of
 * them splits it; the least Gini impurity wins, the first on ties; thresholds are midpoints. chosen[0..chosen_count): the
 * samples to learn from (NULL: all); labels [samples] are 0..classes-1, read at the chosen ones. The forest lives in the
 * arena. Errors: SOW_E_RANGE: no samples, a label outside; SOW_E_NUMBER: a value that is not finite; SOW_E_MEMORY.
 * The same bits for any number of threads. Cost: trees * depth * chosen * tried. */
sow_status sow_forest_fit(const sow_features *features, const int32_t *labels, int32_t classes, const int64_t *chosen,
                          int64_t chosen_count, const sow_forest_config *config, sow_arena *arena, sow_forest **out);
/* Mean over trees of the shares of classes in the leaf that a sample reaches: [count, classes] for the samples in
 * chosen[0..count) (NULL: all). The features are those of the fit, or others with the same count. */
sow_status sow_forest_predict(const sow_forest *forest, const sow_features *features, const int64_t *chosen,
                              int64_t count, double *probabilities);
/* Nodes of all trees, leaves included. */
int64_t sow_forest_nodes(const sow_forest *forest);

#ifdef __cplusplus
}
#endif
#endif
