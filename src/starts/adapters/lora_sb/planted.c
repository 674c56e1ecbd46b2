/* LoRA-SB: a planted problem, where tuning has to find a dense change of a known network. */
#include <math.h>
#include <string.h>

#include "sow/init.h"
#include "sow/linalg.h"
#include "starts/adapters/lora_sb/simulate.h"

enum { TRAIN = 8192, VALIDATION = 1000, TEST = 2000, INPUTS = 64, CLASSES = 10 };
static const double change = 0.7; /* of a weight's length */
static const double spread = 2.0; /* of the first input */

/* ---- the teacher ---- */

/* Random with orthonormal columns, [rows, columns]. */
static sow_status orthonormal(sow_arena *arena, sow_rng *rng, int64_t rows, int64_t columns, sow_tensor *out) {
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){rows, columns}, out));
    sow_rng_normal_f64(rng, out->data, sow_count(*out), 0, 1);
    return sow_qr(*out, *out, (sow_tensor){0});
}

/* W += change ||W|| D / ||D||, D = U diag(1/i) V^T. */
static sow_status move_weight(sow_arena *arena, sow_rng *rng, const char *name, sow_tensor w) {
    int64_t out = w.shape[0], in = w.shape[1], k = out < in ? out : in;
    sow_tensor u, v;
    double norm = 0, step = 0, *moved;
    sow_rng_at(rng, "teacher", name);
    SOW_TRY(orthonormal(arena, rng, out, k, &u));
    SOW_TRY(orthonormal(arena, rng, in, k, &v));
    SOW_TRY(SOW_NEW(arena, moved, out * in));
    for (int64_t i = 0; i < out * k; i++) sow_put(u, i, sow_at(u, i) / (double)(i % k + 1));
    for (int64_t i = 1; i <= k; i++) step += 1 / ((double)i * (double)i);
    for (int64_t i = 0; i < out * in; i++) norm += sow_at(w, i) * sow_at(w, i);
    sow_gemm_f64(false, true, out, in, k, change * sqrt(norm / step), u.data, k, v.data, k, 0, moved, in);
    for (int64_t i = 0; i < out * in; i++) sow_put(w, i, sow_at(w, i) + moved[i]);
    return SOW_OK;
}

static sow_status make_networks(uint64_t seed, sow_arena *arena, sow_model *student, sow_model *teacher) {
    sow_init init = sow_init_defaults(SOW_INIT_KAIMING_NORMAL);
    sow_rng rng;
    init.nonlinearity = "relu";
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    SOW_TRY(sow_init_state(&rng, student->state, &init, NULL, 0));
    SOW_TRY(sow_state_assign(teacher->state, student->state));
    for (int64_t i = 0; i < sow_state_count(teacher->state); i++) {
        sow_entry *e = sow_state_entry(teacher->state, i);
        if (e->value.rank == 2) SOW_TRY(move_weight(arena, &rng, e->name, e->value));
    }
    return SOW_OK;
}

/* ---- the examples ---- */

static sow_status fill_labels(sow_model *teacher, sow_dataset *set) {
    sow_tape *tape;
    SOW_TRY(sow_tape_new(&tape));
    sow_tape_record(tape, false);
    sow_var y = teacher->forward(tape, teacher->state, teacher, sow_constant(tape, set->inputs));
    sow_status status = sow_tape_status(tape);
    for (int64_t i = 0; status == SOW_OK && i < set->count; i++) {
        int32_t best = 0;
        for (int32_t c = 1; c < CLASSES; c++)
            if (sow_at(sow_value(y), i * CLASSES + c) > sow_at(sow_value(y), i * CLASSES + best)) best = c;
        set->labels[i] = best;
    }
    sow_tape_free(tape);
    return status;
}

static sow_status make_set(uint64_t seed, sow_model *teacher, sow_dataset **out) {
    sow_arena *arena;
    sow_dataset *set;
    sow_rng rng;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = SOW_NEW(arena, set, 1);
    int64_t count = TRAIN + VALIDATION + TEST;
    if (status == SOW_OK) {
        *set = (sow_dataset){.arena = arena, .count = count, .geometry = {INPUTS, 1, 1, CLASSES}};
        status = SOW_NEW(arena, set->labels, count);
    }
    if (status == SOW_OK) status = sow_tensor_new(arena, SOW_F32, 4, (int64_t[]){count, INPUTS, 1, 1}, &set->inputs);
    if (status == SOW_OK) status = sow_rng_seed(&rng, SOW_RNG_SOW, seed);
    if (status == SOW_OK) {
        float *x = set->inputs.data;
        sow_rng_at(&rng, "inputs", "");
        sow_rng_normal_f32(&rng, x, count * INPUTS, 0, 1);
        for (int64_t i = 0; i < count * INPUTS; i++) x[i] *= (float)(spread / sqrt((double)(i % INPUTS + 1)));
        status = fill_labels(teacher, set);
    }
    if (status == SOW_OK) *out = set;
    else sow_arena_free(arena);
    return status;
}

static sow_status take_part(sow_arena *arena, const sow_dataset *set, int64_t first, int64_t count, sow_part *out) {
    *out = (sow_part){.set = set, .count = count};
    SOW_TRY(SOW_NEW(arena, out->index, count));
    for (int64_t i = 0; i < count; i++) out->index[i] = first + i;
    return SOW_OK;
}

static sow_status fill_data(sow_data *d, uint64_t seed, sow_model *teacher) {
    d->normalisation = SOW_NORMALISE_NONE;
    d->geometry = (sow_geometry){INPUTS, 1, 1, CLASSES};
    for (int i = 0; i < 16; i++) d->sd[i] = 1;
    if (!(d->name = sow_arena_copy(d->arena, "planted"))) return SOW_E_MEMORY;
    SOW_TRY(make_set(seed, teacher, &d->train_set));
    SOW_TRY(take_part(d->arena, d->train_set, 0, TRAIN, &d->train));
    SOW_TRY(take_part(d->arena, d->train_set, TRAIN, VALIDATION, &d->validation));
    return take_part(d->arena, d->train_set, TRAIN + VALIDATION, TEST, &d->test);
}

static sow_status make_data(uint64_t seed, sow_model *teacher, sow_data **out) {
    sow_arena *arena;
    sow_data *d;
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = SOW_NEW(arena, d, 1);
    if (status != SOW_OK) {
        sow_arena_free(arena);
        return status;
    }
    d->arena = arena;
    status = fill_data(d, seed, teacher);
    if (status == SOW_OK) *out = d;
    else sow_data_free(d);
    return status;
}

sow_status lora_sb_plant(const sow_call *call, tuning *out) {
    uint64_t seed = (uint64_t)sow_int(call, "seed");
    sow_model *teacher;
    sow_geometry geometry = {INPUTS, 1, 1, CLASSES};
    *out = (tuning){.arena = call->arena};
    SOW_TRY(sow_model_new("mlp:64-128-128-10", &geometry, &out->model));
    sow_status status = sow_model_new("mlp:64-128-128-10", &geometry, &teacher);
    if (status == SOW_OK) {
        status = make_networks(seed, call->arena, out->model, teacher);
        if (status == SOW_OK) status = make_data(seed, teacher, &out->data);
        sow_model_free(teacher);
    }
    SOW_TRY(status);
    out->state = out->model->state;
    sow_state_train(out->state, false);
    SOW_TRY(sow_model_sites(call->arena, out->model, &out->sites));
    return tuning_open_parts(out);
}
