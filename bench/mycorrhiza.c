/* Times split networks and forests: `mycorrhiza network TAXA THREADS [DISTANCES.csv]` or `mycorrhiza forest THREADS [FEATURES.csv]`
 * prints one JSON line, and writes the input for the peer. Networks: random weights of all splits of a random circle, each
 * distance times 1 + N(0, .1), seed 1. Forest: 60 trees on 300 splits of 1,000 samples in 10 classes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ok.h"
#include "peak.h"
#include "sow/sow.h"
#include "starts/groups/mycorrhiza/network.h"

enum { SAMPLES = 1000, SPLITS = 300, CLASSES = 10 };


static double *random_circular(sow_arena *arena, int64_t n) {
    sow_rng rng;
    int64_t *circle;
    double *x, *y, *d, *noise, *sums;
    OK(SOW_NEW(arena, circle, n));
    OK(SOW_NEW(arena, x, n * n));
    OK(SOW_NEW(arena, y, n * n));
    OK(SOW_NEW(arena, noise, n * n));
    OK(SOW_NEW(arena, sums, n));
    OK(SOW_NEW(arena, d, n * n));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    sow_rng_at(&rng, "bench", "circular");
    sow_rng_permutation(&rng, circle, n);
    sow_rng_uniform_f64(&rng, x, network_pairs(n), 0, 1);
    sow_rng_normal_f64(&rng, noise, network_pairs(n), 1, .1);
    network_distances(n, x, y, sums);
    for (int64_t k = 1; k < n; k++)
        for (int64_t i = 0; i + k < n; i++) {
            int64_t pair = network_diagonal(n, k) + i, a = circle[i], b = circle[i + k];
            d[a * n + b] = d[b * n + a] = fmax(y[pair] * noise[pair], 0);
        }
    return d;
}

static int time_network(int64_t n, const char *path) {
    sow_arena *arena;
    sow_network net;
    sow_neighbornet_config config = sow_neighbornet_defaults();
    OK(sow_arena_new(&arena));
    double *d = random_circular(arena, n);
    if (path) {
        FILE *out = fopen(path, "w");
        for (int64_t i = 0; out && i < n; i++)
            for (int64_t j = 0; j < n; j++) fprintf(out, "%.17g%c", d[i * n + j], j + 1 < n ? ',' : '\n');
        if (!out || fclose(out) != 0) return 1;
    }
    double begin = sow_seconds();
    OK(sow_neighbornet(n, d, &config, arena, &net));
    printf("{\"seconds\": %.6f, \"splits\": %lld, \"fit\": %.9f, \"peak_mib\": %.1f}\n", sow_seconds() - begin,
           (long long)net.count, net.fit, peak_mib());
    return 0;
}

/* Splits that know a little of the class, as those of a network do. */
static int time_forest(const char *path) {
    static uint64_t bits[SPLITS * ((SAMPLES + 63) / 64)];
    static double u[SPLITS], q[SAMPLES * CLASSES];
    static int32_t labels[SAMPLES];
    sow_arena *arena;
    sow_rng rng;
    sow_forest *forest;
    sow_forest_config config = sow_forest_defaults();
    FILE *out = path ? fopen(path, "w") : NULL;
    OK(sow_arena_new(&arena));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    for (int64_t s = 0; s < SAMPLES; s++) {
        labels[s] = (int32_t)(s % CLASSES);
        sow_rng_uniform_f64(&rng, u, SPLITS, 0, 1);
        if (out) fprintf(out, "%d", labels[s]);
        for (int64_t f = 0; f < SPLITS; f++) {
            bool on = u[f] < (f % CLASSES == labels[s] ? .5 : .2);
            bits[f * sow_feature_words(SAMPLES) + s / 64] |= (uint64_t)on << (s % 64);
            if (out) fprintf(out, ",%d", on);
        }
        if (out) fputc('\n', out);
    }
    if (out && fclose(out) != 0) return 1;
    sow_features features = {.samples = SAMPLES, .count = SPLITS, .bits = bits};
    double begin = sow_seconds();
    OK(sow_forest_fit(&features, labels, CLASSES, NULL, 0, &config, arena, &forest));
    OK(sow_forest_predict(forest, &features, NULL, 0, q));
    printf("{\"seconds\": %.6f, \"nodes\": %lld}\n", sow_seconds() - begin, (long long)sow_forest_nodes(forest));
    return 0;
}

int main(int count, char **words) {
    if (count >= 4 && strcmp(words[1], "network") == 0) {
        sow_set_threads(atoi(words[3]));
        return time_network(atoll(words[2]), count > 4 ? words[4] : NULL);
    }
    if (count >= 3 && strcmp(words[1], "forest") == 0) {
        sow_set_threads(atoi(words[2]));
        return time_forest(count > 3 ? words[3] : NULL);
    }
    return 2;
}
