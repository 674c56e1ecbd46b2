/* Times one training step of a dense network: `steps CASE THREADS SECONDS [BATCH WIDTH DEPTH]` prints one JSON line.
 * Cases: step (through the tape), masked (the same with 80 % of the weights masked), hand (the same kernels without a
 * tape), gemm (our product, 1024x576x1536) and sgemm (oneDNN's own, 2048^3). */
#include <dnnl.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clones.h"
#include "ok.h"
#include "peak.h"
#include "sow/sow.h"

enum { INPUTS = 784, CLASSES = 10, DEPTH_MAX = 16 };


/* depth hidden layers: width, then width/3 each, as LeNet-300-100 for 300 and 2. */
typedef struct network {
    int64_t batch, width, depth;
    sow_state *state;
    sow_tape *tape;
    sow_optimizer *optimizer;
    sow_tensor x, labels;
    float *h[DEPTH_MAX + 1], *g[DEPTH_MAX + 1]; /* hand-written step: activations, gradients */
} network;

static int64_t width_of(const network *n, int64_t layer) {
    return layer == n->depth ? CLASSES : layer == 0 ? n->width : n->width / 3;
}

static sow_var forward(network *n, sow_var x) {
    for (int64_t i = 0; i < n->depth; i++) {
        char name[16];
        snprintf(name, sizeof name, "fc%d", (int)i + 1);
        x = sow_relu(n->tape, sow_linear_at(n->tape, n->state, name, x, (sow_dense){.out = width_of(n, i)}));
    }
    return sow_linear_at(n->tape, n->state, "out", x, (sow_dense){.out = CLASSES});
}

static void make(network *n, sow_arena *arena, bool masked) {
    sow_rng rng;
    OK(sow_state_new(&n->state));
    OK(sow_tape_new(&n->tape));
    OK(sow_tensor_new(arena, SOW_F32, 2, (int64_t[]){n->batch, INPUTS}, &n->x));
    OK(sow_tensor_new(arena, SOW_I32, 1, (int64_t[]){n->batch}, &n->labels));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    sow_rng_uniform_f32(&rng, n->x.data, sow_count(n->x), 0, 1);
    for (int64_t i = 0; i < n->batch; i++) ((int32_t *)n->labels.data)[i] = (int32_t)(i % CLASSES);
    sow_state_open(n->state, true);
    sow_tape_dry(n->tape, true);
    forward(n, sow_constant(n->tape, n->x));
    OK(sow_tape_status(n->tape));
    sow_tape_dry(n->tape, false);
    sow_state_open(n->state, false);
    for (int64_t i = 0; i < sow_state_count(n->state); i++) {
        sow_entry *e = sow_state_entry(n->state, i);
        if (e->role == SOW_ROLE_WEIGHT) sow_rng_normal_f32(&rng, e->value.data, sow_count(e->value), 0, sqrt(2.0 / (double)(e->value.shape[0] + e->value.shape[1])));
    }
    if (masked) {
        sow_mask mask;
        OK(sow_mask_new(arena, n->state, &mask));
        for (int64_t t = 0; t < mask.tensors; t++)
            for (int64_t i = 0; i < mask.bits[t].count; i++)
                if (sow_rng_below(&rng, 5) > 0) sow_bit_clear(&mask.bits[t], i);
        OK(sow_mask_bind(&mask, n->state));
    }
    OK(sow_optimizer_new(&(sow_optimizer_config){.kind = SOW_ADAM, .rate = 1.2e-3}, n->state, &n->optimizer));
    for (int64_t i = 0; i <= n->depth; i++) {
        OK(SOW_NEW(arena, n->h[i], n->batch * width_of(n, i)));
        OK(SOW_NEW(arena, n->g[i], n->batch * width_of(n, i)));
    }
    sow_tape_train(n->tape, true);
}

static void step(network *n) {
    sow_tape_reset(n->tape);
    sow_fresh_gradients(n->state);
    sow_var loss = sow_softmax_cross_entropy(n->tape, forward(n, sow_constant(n->tape, n->x)), n->labels);
    OK(sow_tape_backward(n->tape, loss));
    sow_optimizer_step(n->optimizer, 1);
}

/* ---- the same step by hand ---- */

SOW_CLONES static void bias_relu(float *restrict y, const float *restrict b, int64_t rows, int64_t out, bool relu) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < out; i++) {
            float v = y[r * out + i] + b[i];
            y[r * out + i] = relu && v < 0 ? 0 : v;
        }
}

SOW_CLONES static void relu_back(float *restrict g, const float *restrict y, int64_t count) {
    for (int64_t i = 0; i < count; i++) g[i] = y[i] > 0 ? g[i] : 0;
}

SOW_CLONES static void bias_gradient(float *restrict b, const float *restrict g, int64_t rows, int64_t out) {
    memset(b, 0, (size_t)out * sizeof *b);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < out; i++) b[i] += g[r * out + i];
}

static void softmax_gradient(network *n) {
    float *z = n->h[n->depth], *g = n->g[n->depth];
    for (int64_t r = 0; r < n->batch; r++, z += CLASSES, g += CLASSES) {
        float largest = z[0], sum = 0;
        for (int c = 1; c < CLASSES; c++) largest = z[c] > largest ? z[c] : largest;
        for (int c = 0; c < CLASSES; c++) sum += g[c] = expf(z[c] - largest);
        for (int c = 0; c < CLASSES; c++) g[c] = (g[c] / sum - (float)(c == ((int32_t *)n->labels.data)[r])) / (float)n->batch;
    }
}

static void step_by_hand(network *n) {
    for (int64_t i = 0; i <= n->depth; i++) {
        const sow_entry *w = sow_state_entry(n->state, 2 * i), *b = sow_state_entry(n->state, 2 * i + 1);
        int64_t in = i ? width_of(n, i - 1) : INPUTS, out = width_of(n, i);
        sow_gemm(false, false, n->batch, out, in, 1, i ? n->h[i - 1] : n->x.data, in, w->value.data, out, 0, n->h[i], out);
        bias_relu(n->h[i], b->value.data, n->batch, out, i < n->depth);
    }
    softmax_gradient(n);
    for (int64_t i = n->depth; i >= 0; i--) {
        sow_entry *w = sow_state_entry(n->state, 2 * i), *b = sow_state_entry(n->state, 2 * i + 1);
        int64_t in = i ? width_of(n, i - 1) : INPUTS, out = width_of(n, i);
        if (i < n->depth) relu_back(n->g[i], n->h[i], n->batch * out);
        sow_gemm(true, false, in, out, n->batch, 1, i ? n->h[i - 1] : n->x.data, in, n->g[i], out, 0, w->grad.data, out);
        bias_gradient(b->grad.data, n->g[i], n->batch, out);
        if (i) sow_gemm(false, true, n->batch, in, out, 1, n->g[i], out, w->value.data, out, 0, n->g[i - 1], in);
        w->grad_written = b->grad_written = true;
    }
    sow_optimizer_step(n->optimizer, 1);
}

/* ---- timing ---- */

typedef struct product {
    float *a, *b, *c;
} product;

static void our_product(product *p) {
    sow_gemm(false, false, 1024, 1536, 576, 1, p->a, 576, p->b, 1536, 0, p->c, 1536);
}

static void library_product(product *p) {
    omp_set_num_threads(sow_threads());
    dnnl_sgemm('N', 'N', 2048, 2048, 2048, 1, p->a, 2048, p->b, 2048, 0, p->c, 2048);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds of a call, over blocks of calls that fill `seconds`. */
static double time_of(void (*call)(void *), void *argument, double seconds, int64_t calls_a_block) {
    double blocks[4096];
    int count = 0;
    for (int64_t i = 0; i < calls_a_block; i++) call(argument); /* warm up */
    double begin = sow_seconds();
    while (count < 3 || (sow_seconds() - begin < seconds && count < 4096)) {
        double start = sow_seconds();
        for (int64_t i = 0; i < calls_a_block; i++) call(argument);
        blocks[count++] = (sow_seconds() - start) / (double)calls_a_block;
    }
    qsort(blocks, (size_t)count, sizeof *blocks, by_value);
    return blocks[count / 2];
}

static void call_step(void *n) { step(n); }
static void call_by_hand(void *n) { step_by_hand(n); }
static void call_our_product(void *p) { our_product(p); }
static void call_library_product(void *p) { library_product(p); }

int main(int count, char **argument) {
    if (count != 4 && count != 7) {
        fprintf(stderr, "usage: steps step|masked|hand|gemm|sgemm THREADS SECONDS [BATCH WIDTH DEPTH]\n");
        return 2;
    }
    const char *what = argument[1];
    int threads = atoi(argument[2]);
    double seconds = atof(argument[3]), time = 0, flop = 0;
    network n = {.batch = 60, .width = 300, .depth = 2};
    if (count == 7) n.batch = atoi(argument[4]), n.width = atoi(argument[5]), n.depth = atoi(argument[6]);
    if (n.depth > DEPTH_MAX || n.depth < 1) return 2;
    sow_arena *arena;
    OK(sow_arena_new(&arena));
    sow_set_threads(threads);
    sow_flush_denormals();
    if (!strcmp(what, "gemm") || !strcmp(what, "sgemm")) {
        product p;
        OK(SOW_NEW(arena, p.a, 2048 * 2048));
        OK(SOW_NEW(arena, p.b, 2048 * 2048));
        OK(SOW_NEW(arena, p.c, 2048 * 2048));
        bool ours = !strcmp(what, "gemm");
        time = time_of(ours ? call_our_product : call_library_product, &p, seconds, ours ? 4 : 1);
        flop = ours ? 2.0 * 1024 * 576 * 1536 : 2.0 * 2048 * 2048 * 2048;
    } else {
        make(&n, arena, !strcmp(what, "masked"));
        time = time_of(!strcmp(what, "hand") ? call_by_hand : call_step, &n, seconds, 20);
        for (int64_t i = 0; i <= n.depth; i++) flop += (i ? 6.0 : 4.0) * (double)(n.batch * width_of(&n, i) * (i ? width_of(&n, i - 1) : INPUTS));
    }
    printf("{\"case\": \"%s\", \"threads\": %d, \"seconds\": %.9g, \"gflops\": %.4g, \"peak_mib\": %.1f}\n", what, threads, time, flop / time * 1e-9, peak_mib());
    return 0;
}
