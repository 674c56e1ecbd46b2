/* A planted federation, as in the card's calibration: every client sees other inputs of one teacher, and its own share of labels. */
#include "starts/adapters/planted.h"

#include <math.h>

#include "sow/linalg.h"
#include "starts/adapters/lora_fair/rounds.h"

enum { CLIENTS = 64, DRAWN = 8192, TESTS = 500, EACH = DRAWN + TESTS, REDRAWS = 1000 }; /* DRAWN, TESTS: a client */
static const double shift = 0.5; /* sd of the means of a client's inputs */

/* x = Q z + m, with Q and m the client's. x: [count, 64]. */
static sow_status draw_inputs(fair_world *w, sow_rng *rng, int64_t client, float *x, int64_t count) {
    enum { N = PLANTED_INPUTS };
    sow_mark mark = sow_arena_mark(w->arena);
    sow_tensor q, turn;
    double mean[N];
    float *z;
    sow_rng_at_index(rng, "lora-fair planted", (uint64_t)client);
    SOW_TRY(planted_orthonormal(w->arena, rng, N, N, &q));
    SOW_TRY(sow_tensor_new(w->arena, SOW_F32, 2, (int64_t[]){N, N}, &turn));
    SOW_TRY(sow_copy(turn, q));
    SOW_TRY(SOW_NEW_RAW(w->arena, z, count * N));
    sow_rng_normal_f64(rng, mean, N, 0, shift);
    planted_inputs(rng, z, count);
    for (int64_t i = 0; i < count * N; i++) x[i] = (float)mean[i % N];
    sow_gemm(false, true, count, N, N, 1, z, N, turn.data, N, 1, x, N);
    sow_arena_release(w->arena, mark);
    return SOW_OK;
}

/* Of each class a share of all examples, drawn anew for every client: together they have the teacher's labels as they come. */
static bool share_out(fair_world *w, sow_rng *rng, uint64_t draw) {
    const int32_t *labels = w->source->train_set->labels;
    double share[CLIENTS][PLANTED_CLASSES], u;
    sow_rng_at_index(rng, "lora-fair planted labels", draw);
    for (int c = 0; c < PLANTED_CLASSES; c++) {
        double sum = 0;
        for (int64_t k = 0; k < w->clients; k++)
            sum += share[k][c] = w->dirichlet > 0 ? fair_gamma(rng, w->dirichlet) : 1;
        for (int64_t k = 0; k < w->clients; k++) share[k][c] /= sum;
    }
    w->client_count = 0;
    for (int64_t k = 0; k < w->clients; k++) {
        w->size[k] = 0;
        for (int64_t i = k * EACH; i < k * EACH + DRAWN; i++) {
            sow_rng_uniform_f64(rng, &u, 1, 0, 1);
            if (u < share[k][labels[i]]) w->index[k][w->size[k]++] = i;
        }
        w->client_count += w->size[k];
        if (w->size[k] < w->batch) return false;
    }
    return true;
}

static sow_status share_out_enough(fair_world *w, sow_rng *rng) {
    SOW_TRY(SOW_NEW(w->arena, w->size, w->clients));
    SOW_TRY(SOW_NEW(w->arena, w->index, w->clients));
    for (int64_t k = 0; k < w->clients; k++) SOW_TRY(SOW_NEW(w->arena, w->index[k], DRAWN));
    for (uint64_t draw = 0; draw < REDRAWS; draw++)
        if (share_out(w, rng, draw)) return SOW_OK;
    return sow_fail(SOW_E_RANGE, "some of %lld planted clients have less than a batch", (long long)w->clients);
}

static sow_status fill(fair_world *w, sow_model *teacher) {
    sow_dataset *set;
    sow_rng rng;
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, w->seed));
    SOW_TRY(planted_set(w->clients * EACH, &set));
    sow_status status = SOW_OK;
    for (int64_t k = 0; status == SOW_OK && k < w->clients; k++)
        status = draw_inputs(w, &rng, k, (float *)set->inputs.data + k * EACH * PLANTED_INPUTS, EACH);
    if (status == SOW_OK) status = planted_labels(teacher, set);
    if (status != SOW_OK) {
        sow_dataset_free(set);
        return status;
    }
    SOW_TRY(planted_data(set, &w->source));
    return share_out_enough(w, &rng);
}

sow_status fair_plant(fair_world *w) {
    sow_model *teacher;
    if (w->clients > CLIENTS) return sow_fail(SOW_E_RANGE, "--planted has at most %d clients", CLIENTS);
    SOW_TRY(planted_networks(w->seed, w->arena, &w->model, &teacher));
    sow_status status = fill(w, teacher);
    sow_model_free(teacher);
    return status;
}

/* Everyone's examples lie in one set; a client's data are some of them. */
sow_status fair_planted_data(fair_world *w, int64_t first, int64_t clients, sow_data *out) {
    *out = *w->source;
    SOW_TRY(SOW_NEW(w->arena, out->train.index, w->client_count));
    for (int64_t k = first; k < first + clients; k++)
        for (int64_t i = 0; i < w->size[k]; i++) out->train.index[out->train.count++] = w->index[k][i];
    return SOW_OK;
}

sow_status fair_planted_tests(fair_world *w) {
    w->test_count = (int)w->clients;
    SOW_TRY(SOW_NEW(w->arena, w->tests, w->test_count));
    for (int64_t k = 0; k < w->clients; k++) {
        w->tests[k] = *w->source;
        SOW_TRY(planted_part(w->arena, w->source->train_set, k * EACH + DRAWN, TESTS, &w->tests[k].test));
    }
    return SOW_OK;
}
