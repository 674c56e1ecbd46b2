/* Layer-sequential unit-variance start: Mishkin and Matas 2016, arXiv 1511.06422. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sow/log.h"
#include "starts/weights/classic.h"

typedef struct lsuv {
    const sow_lsuv_config *config;
    sow_model *model;
    sow_arena *arena;
    sow_lsuv_layer *layers;
    int64_t count, capacity;
    int round;
    int64_t changed; /* layers scaled in this round */
} lsuv;

static void scale_weight(sow_tensor w, double factor) {
    for (int64_t i = 0, n = sow_count(w); i < n; i++) sow_put(w, i, sow_at(w, i) * factor);
}

static sow_status record(lsuv *l, const char *site, double before, sow_lsuv_layer **out) {
    for (int64_t i = 0; i < l->count; i++)
        if (!strcmp(l->layers[i].site, site)) return *out = &l->layers[i], SOW_OK;
    if (l->count == l->capacity)
        return sow_fail(SOW_E_SHAPE, "lsuv: more sites than layers with weights; '%s' is new in round %d", site,
                        l->round);
    *out = &l->layers[l->count++];
    **out = (sow_lsuv_layer){.site = sow_arena_copy(l->arena, site), .before = before, .after = before};
    return (*out)->site ? SOW_OK : SOW_E_MEMORY;
}

/* At each layer with a weight: y is linear in it, so one scaling does where the bias is 0, and what follows sees scaled outputs at once. */
static sow_var at_site(void *user, sow_tape *tape, const char *site, sow_var x, sow_var y) {
    lsuv *l = user;
    (void)x;
    if (!y) return y;
    char name[512];
    int length = snprintf(name, sizeof name, "%s.weight", site);
    const sow_entry *weight = length > 0 && (size_t)length < sizeof name ? sow_state_find(l->model->state, name) : NULL;
    if (!weight || weight->role != SOW_ROLE_WEIGHT) return y;
    double mean, sd, v;
    sow_lsuv_layer *layer;
    sow_status status = classic_measure(site, sow_value(y), &mean, &sd);
    v = sd * sd;
    if (status == SOW_OK) status = record(l, site, v, &layer);
    if (status != SOW_OK) return sow_tape_fail(tape, status);
    layer->after = v;
    if (fabs(v - 1) < l->config->tolerance || l->round == l->config->rounds) return y;
    if (!(v > 0))
        return sow_tape_fail(
            tape,
            sow_fail(
                SOW_E_NUMBER,
                "lsuv: the outputs of '%s' have variance %g over the batch, expected more than 0: fill its weights first",
                site, v));
    l->changed++;
    scale_weight(weight->value, 1 / sqrt(v));
    return sow_scale(tape, y, 1 / sqrt(v), 0);
}

/* Rounds of one forward pass each, until one finds nothing to scale; the last only measures. */
static sow_status settle(lsuv *l, sow_tape *tape, sow_tensor inputs) {
    do {
        l->changed = 0;
        SOW_TRY(sow_check_interrupt());
        sow_tape_reset(tape);
        sow_tape_random(tape, l->config->seed, 0);
        l->model->forward(tape, l->model->state, l->model, sow_constant(tape, inputs));
        SOW_TRY(sow_tape_status(tape));
        sow_progress("lsuv rounds", l->round + 1, 0);
    } while (l->changed > 0 && l->round++ < l->config->rounds);
    for (int64_t i = 0; i < l->count; i++)
        if (!(fabs(l->layers[i].after - 1) < l->config->tolerance))
            sow_warn("lsuv: the outputs of '%s' have variance %g after %d rounds", l->layers[i].site,
                     l->layers[i].after, l->config->rounds);
    return SOW_OK;
}

/* Running statistics are no part of a start. */
static sow_status restore_buffers(sow_state *state, const sow_state *before) {
    for (int64_t i = 0; i < sow_state_count(state); i++) {
        const sow_entry *entry = sow_state_entry(state, i);
        if (entry->role == SOW_ROLE_BUFFER) SOW_TRY(sow_copy(entry->value, sow_state_entry(before, i)->value));
    }
    return SOW_OK;
}

static sow_status run_on(lsuv *l, const sow_data *data) {
    sow_batches *batches;
    sow_tape *tape;
    sow_state *before;
    sow_tensor inputs, labels;
    int64_t batch = l->config->batch < data->train.count ? l->config->batch : data->train.count;
    SOW_TRY(sow_state_clone(l->model->state, false, &before));
    sow_status status = sow_batches_new(data, &data->train, batch, l->config->seed, true, SOW_AUGMENT_NONE, &batches);
    if (status == SOW_OK) {
        status = sow_batches_at(batches, 0, &inputs, &labels);
        if (status == SOW_OK) status = sow_tape_new(&tape);
        if (status == SOW_OK) {
            sow_tape_record(tape, false);
            sow_tape_train(tape, true);
            status = sow_tape_add_tap(tape, at_site, l);
            if (status == SOW_OK) status = settle(l, tape, inputs);
            sow_tape_free(tape);
        }
        sow_batches_free(batches);
    }
    if (status == SOW_OK) status = restore_buffers(l->model->state, before);
    sow_state_free(before);
    return status;
}

sow_status sow_lsuv(const sow_lsuv_config *config, sow_model *model, const sow_data *data, sow_arena *arena,
                    sow_lsuv_layer **layers, int64_t *count) {
    lsuv l = {.config = config, .model = model, .arena = arena};
    if (config->batch < 2 || config->rounds < 1 || !(config->tolerance > 0))
        return sow_fail(SOW_E_RANGE,
                        "lsuv: batch %lld, rounds %d, tolerance %g: expected at least 2, at least 1, more than 0",
                        (long long)config->batch, config->rounds, config->tolerance);
    for (int64_t i = 0; i < sow_state_count(model->state); i++)
        l.capacity += sow_state_entry(model->state, i)->role == SOW_ROLE_WEIGHT;
    SOW_TRY(SOW_NEW(arena, l.layers, l.capacity));
    SOW_TRY(run_on(&l, data));
    *layers = l.layers;
    *count = l.count;
    return SOW_OK;
}
