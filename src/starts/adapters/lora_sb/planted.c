/* LoRA-SB on the planted problem. */
#include "starts/adapters/planted.h"
#include "starts/adapters/lora_sb/simulate.h"

enum { TRAIN = 8192, VALIDATION = 1000, TEST = 2000 };

static sow_status make_data(uint64_t seed, sow_model *teacher, sow_data **out) {
    sow_dataset *set;
    sow_rng rng;
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    SOW_TRY(planted_set(TRAIN + VALIDATION + TEST, &set));
    sow_rng_at(&rng, "inputs", "");
    planted_inputs(&rng, set->inputs.data, set->count);
    sow_status status = planted_labels(teacher, set);
    if (status != SOW_OK) {
        sow_dataset_free(set);
        return status;
    }
    SOW_TRY(planted_data(set, out));
    sow_data *d = *out;
    SOW_TRY(planted_part(d->arena, set, 0, TRAIN, &d->train));
    SOW_TRY(planted_part(d->arena, set, TRAIN, VALIDATION, &d->validation));
    return planted_part(d->arena, set, TRAIN + VALIDATION, TEST, &d->test);
}

sow_status lora_sb_plant(const sow_call *call, tuning *out) {
    uint64_t seed = (uint64_t)sow_int(call, "seed");
    sow_model *teacher;
    *out = (tuning){.arena = call->arena};
    SOW_TRY(planted_networks(seed, call->arena, &out->model, &teacher));
    sow_status status = make_data(seed, teacher, &out->data);
    sow_model_free(teacher);
    SOW_TRY(status);
    out->state = out->model->state;
    sow_state_train(out->state, false);
    SOW_TRY(sow_model_sites(call->arena, out->model, &out->sites));
    return tuning_open_parts(out);
}
