/* Rank 0 and the others: their slots stand among the loop's own, and what they send is as if it came from a pipe. */
#ifndef SOW_RUN_RANKS_H
#define SOW_RUN_RANKS_H

#include "run/slot.h"

struct sow_loop;

/* At the beginning of a call: joins the others if this is rank 0 of several, and adds the slots of those that have
 * come; more come with sow_ranks_hear. SOW_E_NOT_FOUND: built without MPI. */
sow_status sow_ranks_join(struct sow_loop *loop);
/* Whether the slot's rank takes cells; true for our own. */
bool sow_ranks_ready(const sow_slot *slot);
/* Gives a cell to another rank. The folder must be there for both. */
sow_status sow_ranks_start(struct sow_loop *loop, sow_slot *slot, const sow_cell *cell, const char *command);
/* Asks that the cell be stopped. */
void sow_ranks_stop(const sow_slot *slot);
/* Takes what has arrived. Cells of ranks that are silent for too long are over, as lost. */
sow_status sow_ranks_hear(struct sow_loop *loop);

#endif
