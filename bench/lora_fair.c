/* Times merging adapters of SmolLM2's 210 layers: `lora_fair KIND CLIENTS THREADS` prints one JSON line. Rank 16, random factors that
 * began at one A. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ok.h"
#include "peak.h"
#include "sow/sow.h"


enum { LAYERS = 30, RANK = 16, CLIENTS_MAX = 64, REPEATS = 3 };

static void add(sow_adapter *a, int layer, const char *name, int64_t in, int64_t out, uint64_t client) {
    char module[100];
    sow_rng rng;
    sow_adapter_layer *l;
    float *start;
    snprintf(module, sizeof module, "model.layers.%d.%s", layer, name);
    OK(sow_adapter_add(a, &(sow_site){.module = module, .in = in, .out = out}, RANK, RANK, SOW_ADAPTER_LORA, &l));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    sow_rng_at(&rng, "start", module);
    OK(SOW_NEW(a->arena, start, RANK * in));
    sow_rng_normal_f32(&rng, start, RANK * in, 0, 0.02);
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 2 + client));
    sow_rng_at(&rng, "drift", module);
    float *to = l->a->value.data;
    sow_rng_normal_f32(&rng, to, RANK * in, 0, 0.01);
    for (int64_t i = 0; i < RANK * in; i++) to[i] += start[i];
    sow_rng_normal_f32(&rng, l->b->value.data, RANK * out, 0.005, 0.01);
}

static sow_adapter *client(uint64_t number) {
    sow_adapter *a;
    OK(sow_adapter_new(RANK, RANK, false, &a));
    for (int i = 0; i < LAYERS; i++) {
        add(a, i, "self_attn.q_proj", 576, 576, number), add(a, i, "self_attn.k_proj", 576, 192, number);
        add(a, i, "self_attn.v_proj", 576, 192, number), add(a, i, "self_attn.o_proj", 576, 576, number);
        add(a, i, "mlp.gate_proj", 576, 1536, number), add(a, i, "mlp.up_proj", 576, 1536, number);
        add(a, i, "mlp.down_proj", 1536, 576, number);
    }
    return a;
}

int main(int count, char **argument) {
    sow_adapter *clients[CLIENTS_MAX], *out;
    double weights[CLIENTS_MAX], best = 1e300, cpu = 1e300;
    sow_fair_config config = sow_fair_defaults();
    sow_fair_layer *layers;
    sow_arena *arena;
    int64_t n = count == 4 ? atoll(argument[2]) : 0;
    if (n < 1 || n > CLIENTS_MAX) {
        fprintf(stderr, "usage: lora_fair KIND CLIENTS THREADS\n");
        return 2;
    }
    OK(sow_fair_kind_parse(argument[1], &config.kind));
    OK(sow_arena_new(&arena));
    sow_set_threads(atoi(argument[3]));
    config.stop = 0; /* all steps */
    for (int64_t k = 0; k < n; k++) clients[k] = client((uint64_t)k), weights[k] = 1 + (double)k;
    for (int i = 0; i < REPEATS; i++) {
        double start = sow_seconds();
        clock_t ticks = clock();
        OK(sow_fair_merge(&config, (const sow_adapter *const *)clients, weights, n, arena, &out, &layers));
        double seconds = sow_seconds() - start;
        double busy = (double)(clock() - ticks) / CLOCKS_PER_SEC;
        if (seconds < best) best = seconds;
        if (busy < cpu) cpu = busy;
        sow_adapter_free(out);
    }
    printf("{\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"cosine\":%.6f,\"peak_mib\":%.1f}\n", best, cpu, layers[0].cosine_after, peak_mib());
    return 0;
}
