/* A planted problem, where tuning has to find a dense change of a known network. */
#include "starts/adapters/planted.h"

#include <math.h>

#include "sow/init.h"
#include "sow/linalg.h"

static const char arch[] = "mlp:64-128-128-10";
static const double change = 0.7; /* of a weight's length */
static const double spread = 2.0; /* of the first input */

/* ---- networks ---- */

sow_status planted_orthonormal(sow_arena *arena, sow_rng *rng, int64_t rows, int64_t columns, sow_tensor *out) {
    SOW_TRY(sow_tensor_new(arena, SOW_F64, 2, (int64_t[]){rows, columns}, out));
    sow_rng_normal_f64(rng, out->data, sow_count(*out), 0, 1);
    return sow_qr(*out, *out, (sow_tensor){0});
}

static sow_status move_weight(sow_arena *arena, sow_rng *rng, const char *name, sow_tensor w) {
    int64_t out = w.shape[0], in = w.shape[1], k = out < in ? out : in;
    sow_tensor u, v;
    double norm = 0, step = 0, *moved;
    sow_rng_at(rng, "teacher", name);
    SOW_TRY(planted_orthonormal(arena, rng, out, k, &u));
    SOW_TRY(planted_orthonormal(arena, rng, in, k, &v));
    SOW_TRY(SOW_NEW(arena, moved, out * in));
    for (int64_t i = 0; i < out * k; i++) sow_put(u, i, sow_at(u, i) / (double)(i % k + 1));
    for (int64_t i = 1; i <= k; i++) step += 1 / ((double)i * (double)i);
    for (int64_t i = 0; i < out * in; i++) norm += sow_at(w, i) * sow_at(w, i);
    sow_gemm_f64(false, true, out, in, k, change * sqrt(norm / step), u.data, k, v.data, k, 0, moved, in);
    for (int64_t i = 0; i < out * in; i++) sow_put(w, i, sow_at(w, i) + moved[i]);
    return SOW_OK;
}

static sow_status fill_networks(uint64_t seed, sow_arena *arena, sow_model *student, sow_model *teacher) {
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

sow_status planted_networks(uint64_t seed, sow_arena *arena, sow_model **student, sow_model **teacher) {
    const sow_geometry geometry = {PLANTED_INPUTS, 1, 1, PLANTED_CLASSES};
    *student = *teacher = NULL;
    sow_status status = sow_model_new(arch, &geometry, student);
    if (status == SOW_OK) status = sow_model_new(arch, &geometry, teacher);
    if (status == SOW_OK) status = fill_networks(seed, arena, *student, *teacher);
    if (status == SOW_OK) return SOW_OK;
    sow_model_free(*student);
    sow_model_free(*teacher);
    *student = *teacher = NULL;
    return status;
}

/* ---- examples ---- */

sow_status planted_set(int64_t count, sow_dataset **out) {
    sow_arena *arena;
    sow_dataset *set;
    SOW_TRY(SOW_OWN(arena, set));
    *set = (sow_dataset){.arena = arena, .count = count, .geometry = {PLANTED_INPUTS, 1, 1, PLANTED_CLASSES}};
    sow_status status = SOW_NEW(arena, set->labels, count);
    if (status == SOW_OK)
        status = sow_tensor_new(arena, SOW_F32, 4, (int64_t[]){count, PLANTED_INPUTS, 1, 1}, &set->inputs);
    if (status == SOW_OK) *out = set;
    else sow_arena_free(arena);
    return status;
}

void planted_inputs(sow_rng *rng, float *x, int64_t count) {
    sow_rng_normal_f32(rng, x, count * PLANTED_INPUTS, 0, 1);
    for (int64_t i = 0; i < count * PLANTED_INPUTS; i++)
        x[i] *= (float)(spread / sqrt((double)(i % PLANTED_INPUTS + 1)));
}

sow_status planted_labels(sow_model *teacher, sow_dataset *set) {
    sow_tape *tape;
    SOW_TRY(sow_tape_new(&tape));
    sow_tape_record(tape, false);
    sow_var y = teacher->forward(tape, teacher->state, teacher, sow_constant(tape, set->inputs));
    sow_status status = sow_tape_status(tape);
    for (int64_t i = 0; status == SOW_OK && i < set->count; i++) {
        int32_t best = 0;
        for (int32_t c = 1; c < PLANTED_CLASSES; c++)
            if (sow_at(sow_value(y), i * PLANTED_CLASSES + c) > sow_at(sow_value(y), i * PLANTED_CLASSES + best))
                best = c;
        set->labels[i] = best;
    }
    sow_tape_free(tape);
    return status;
}

sow_status planted_part(sow_arena *arena, const sow_dataset *set, int64_t first, int64_t count, sow_part *out) {
    *out = (sow_part){.set = set, .count = count};
    SOW_TRY(SOW_NEW(arena, out->index, count));
    for (int64_t i = 0; i < count; i++) out->index[i] = first + i;
    return SOW_OK;
}

sow_status planted_data(sow_dataset *set, sow_data **out) {
    sow_arena *arena;
    sow_data *d;
    sow_status status = SOW_OWN(arena, d);
    if (status != SOW_OK) {
        sow_dataset_free(set);
        return status;
    }
    *d = (sow_data){.arena = arena, .train_set = set, .geometry = set->geometry, .normalisation = SOW_NORMALISE_NONE};
    for (int i = 0; i < 16; i++) d->sd[i] = 1;
    d->train.set = d->validation.set = d->test.set = set;
    d->name = sow_arena_copy(arena, "planted");
    if (d->name) {
        *out = d;
        return SOW_OK;
    }
    sow_data_free(d);
    return SOW_E_MEMORY;
}
