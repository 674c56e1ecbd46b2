/* Times the training step of ResNet-20 on CIFAR shapes, batch 128, momentum: `resnet THREADS STEPS` prints one JSON line with
 * the median, and the SHA-256 of the weights afterwards, which is the same for every number of threads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ok.h"
#include "peak.h"
#include "sow/sow.h"

enum { BATCH = 128, STEPS_MAX = 1000, WARM_UP = 2 };


typedef struct training {
    sow_model *model;
    sow_tape *tape;
    sow_optimizer *optimizer;
    sow_tensor x, labels; /* [BATCH, 3, 32, 32] channels last; [BATCH] */
} training;

static void make(training *r, sow_arena *arena) {
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    OK(sow_model_new("resnet20", NULL, &r->model));
    for (int64_t i = 0; i < sow_state_count(r->model->state); i++) {
        sow_entry *e = sow_state_entry(r->model->state, i);
        double fan_in = (double)sow_count(e->value) / (double)(e->value.rank ? e->value.shape[0] : 1);
        if (e->role == SOW_ROLE_WEIGHT) sow_rng_normal_f32(&rng, e->value.data, sow_count(e->value), 0, sqrt(2 / fan_in));
    }
    OK(sow_tensor_new(arena, SOW_F32, 4, (int64_t[]){BATCH, 32, 32, 3}, &r->x));
    sow_rng_normal_f32(&rng, r->x.data, sow_count(r->x), 0, 1);
    r->x = sow_permute(r->x, (int[]){0, 3, 1, 2});
    OK(sow_tensor_new(arena, SOW_I32, 1, (int64_t[]){BATCH}, &r->labels));
    for (int i = 0; i < BATCH; i++) ((int32_t *)r->labels.data)[i] = i % 10;
    OK(sow_tape_new(&r->tape));
    sow_tape_train(r->tape, true);
    OK(sow_optimizer_new(&(sow_optimizer_config){.kind = SOW_SGD, .rate = 0.1, .momentum = 0.9, .weight_decay = 1e-4}, r->model->state, &r->optimizer));
}

static void step(training *r) {
    sow_tape_reset(r->tape);
    sow_fresh_gradients(r->model->state);
    sow_var logits = r->model->forward(r->tape, r->model->state, r->model, sow_constant(r->tape, r->x));
    OK(sow_tape_backward(r->tape, sow_softmax_cross_entropy(r->tape, logits, r->labels)));
    sow_optimizer_step(r->optimizer, 1);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One digest of all values, entry after entry. */
static void fingerprint(const sow_state *state, char hex[65]) {
    char both[128];
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        sow_tensor value = sow_state_entry(state, i)->value;
        sow_sha256(value.data, sow_bytes(value), hex);
        for (int j = 0; j < 64; j++) both[64 * (i > 0) + j] = hex[j];
        sow_sha256(both, i > 0 ? 128 : 64, hex);
        for (int j = 0; j < 64; j++) both[j] = hex[j];
    }
}

int main(int count, char **argument) {
    int threads = count == 3 ? atoi(argument[1]) : 0, steps = count == 3 ? atoi(argument[2]) : 0;
    if (threads < 1 || steps < 1 || steps > STEPS_MAX) {
        fprintf(stderr, "usage: resnet THREADS STEPS\n");
        return 2;
    }
    sow_arena *arena;
    OK(sow_arena_new(&arena));
    sow_set_threads(threads);
    training r;
    make(&r, arena);
    double times[STEPS_MAX];
    for (int i = 0; i < WARM_UP; i++) step(&r);
    uint64_t allocations = sow_allocation_count();
    for (int i = 0; i < steps; i++) {
        double start = sow_seconds();
        step(&r);
        times[i] = sow_seconds() - start;
    }
    allocations = sow_allocation_count() - allocations;
    qsort(times, (size_t)steps, sizeof *times, by_value);
    char hex[65];
    fingerprint(r.model->state, hex);
    printf("{\"name\": \"resnet20-step\", \"threads\": %d, \"ms\": %.3f, \"least_ms\": %.3f, \"allocations\": %llu, \"peak_mib\": %.1f, \"sha256\": \"%s\"}\n",
           threads, times[steps / 2] * 1000, times[0] * 1000, (unsigned long long)allocations, peak_mib(), hex);
    sow_optimizer_free(r.optimizer);
    sow_tape_free(r.tape);
    sow_model_free(r.model);
    sow_arena_free(arena);
    return 0;
}
