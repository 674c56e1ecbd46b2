/* Where a training is, as one safetensors file: weights, moments, step, curve. */
#ifndef SOW_OPTIM_CHECKPOINT_H
#define SOW_OPTIM_CHECKPOINT_H

#include "sow/optim.h"

/* What is needed beside weights and moments to go on with the same bits. */
typedef struct sow_place {
    int64_t step;
    sow_tally since;                    /* of the training batches since the last evaluation */
    double best;                        /* least validation loss so far */
} sow_place;

/* Writes FOLDER/checkpoint.safetensors. */
sow_status sow_checkpoint_write(sow_arena *arena, const sow_training *training, const sow_task *task, sow_optimizer *optimizer, const sow_place *place);
/* Reads it back into the state, optimiser, curve and place; *found false where there is none. SOW_E_FORMAT if it belongs
 * to another training. */
sow_status sow_checkpoint_read(sow_arena *arena, sow_training *training, const sow_task *task, sow_optimizer *optimizer, sow_place *place, bool *found);

#endif
