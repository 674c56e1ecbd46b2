/* What the files of the LoRA-SB command share. */
#ifndef SOW_STARTS_ADAPTERS_LORA_SB_H
#define SOW_STARTS_ADAPTERS_LORA_SB_H

#include "sow/adapters.h"

/* What a start was made from and what came out. */
typedef struct lora_sb_made {
    const char *base, *data; /* names */
    int64_t samples, tokens; /* tokens 0: images */
    int64_t all_samples, warmup;
    double rate, eta, loss; /* loss: of the base on the samples */
    int64_t rank;
    const sow_adapter *adapter;
    const sow_lora_sb_energy *energy; /* [adapter->count] */
} lora_sb_made;

/* Result: numbers, and a table of targets with the ranks that capture half, 80 and 90 per cent of the first step. */
sow_status lora_sb_report(sow_call *call, const lora_sb_made *made);
/* energy.csv (every layer, ranks 1, 2, 3, 4, 6, 8 ...) and energy.svg (means by target) in --out. */
sow_status lora_sb_plots(sow_call *call, const lora_sb_made *made);
/* The folder's README: how it was made, what to do with it. In the arena; NULL when memory is short. */
const char *lora_sb_card(sow_call *call, const lora_sb_made *made);

extern const sow_option lora_sb_simulate_options[];
sow_status lora_sb_simulate(sow_call *call);

#endif
