/* What the files of LoRA-SB's simulations share. */
#ifndef SOW_STARTS_ADAPTERS_LORA_SB_SIMULATE_H
#define SOW_STARTS_ADAPTERS_LORA_SB_SIMULATE_H

#include "starts/adapters/lora_sb/lora_sb.h"
#include "starts/adapters/tuning.h"

/* An arm of the study: what is tuned. */
typedef struct lora_sb_arm {
    bool full, sb;             /* full: the whole network; sb: the method or one of its controls */
    sow_adapter_start start;   /* neither */
    sow_lora_sb_config config; /* sb; eta is the rate's */
} lora_sb_arm;
sow_status lora_sb_arm_of(const sow_call *call, lora_sb_arm *out);
/* The adapter of an arm that is tuned at this rate with so many steps of warm-up; NULL for full. */
sow_status lora_sb_arm_make(const lora_sb_arm *arm, double rate, int64_t warmup, sow_state *state,
                            const sow_sites *sites, sow_gradient_source source, void *user, sow_arena *arena,
                            sow_adapter **out, sow_lora_sb_energy *energy);

/* How many numbers training everything changes, frozen or not at the moment. */
int64_t lora_sb_numbers(const sow_state *state);

/* The card's small problem: a network of 64-128-128-10 units, and labels of the same network whose weights were moved by 0.7 of
 * their length in directions with spectrum 1/i; inputs whose spread falls as 1/sqrt(i). */
sow_status lora_sb_plant(const sow_call *call, tuning *out);

/* A language model instead of images: --model. */
sow_status lora_sb_simulate_lm(sow_call *call);

#endif
