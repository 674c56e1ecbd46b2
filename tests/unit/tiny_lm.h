/* Small language models for tests, filled at random. */
#ifndef TINY_LM_H
#define TINY_LM_H

#include "check.h"

/* Two layers of two heads, one of keys; inner width 3/2 of `hidden`. */
static inline sow_lm_config tiny_lm_config(int64_t vocabulary, int64_t hidden) {
    return (sow_lm_config){.family = SOW_LM_LLAMA,
                           .vocabulary = vocabulary,
                           .hidden = hidden,
                           .inner = hidden * 3 / 2,
                           .layers = 2,
                           .heads = 2,
                           .kv_heads = 1,
                           .head_size = hidden / 2,
                           .positions = 32,
                           .epsilon = 1e-5,
                           .activation = SOW_SILU,
                           .tied = true,
                           .rope = {.theta = 1e4, .factor = 1},
                           .begin = -1,
                           .pad = -1};
}

/* Its matrices normal with sd 0.3; seed 0: all zeros. */
static inline sow_lm *tiny_lm(const sow_lm_config *config, uint64_t seed) {
    sow_lm *lm;
    sow_rng rng;
    sow_init init = sow_init_defaults(SOW_INIT_NORMAL);
    init.sd = 0.3;
    OK(sow_lm_declare(config, SOW_F32, &lm));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    for (int64_t i = 0; seed > 0 && i < sow_state_count(lm->state); i++) {
        sow_entry *e = sow_state_entry(lm->state, i);
        if (e->value.rank == 2) OK(sow_init_tensor(&rng, e->name, SOW_ROLE_WEIGHT, &init, 0, e->value));
    }
    return lm;
}

#endif
