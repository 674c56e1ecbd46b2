/* What the files of LoRA-SB's simulations share. */
#ifndef SOW_STARTS_ADAPTERS_LORA_SB_SIMULATE_H
#define SOW_STARTS_ADAPTERS_LORA_SB_SIMULATE_H

#include "starts/adapters/lora_sb/lora_sb.h"
#include "starts/adapters/tuning.h"

/* The card's small problem: a network of 64-128-128-10 units, and labels of the same network whose weights were moved by 0.7 of
 * their length in directions with spectrum 1/i; inputs whose spread falls as 1/sqrt(i). */
sow_status lora_sb_plant(const sow_call *call, tuning *out);

#endif
