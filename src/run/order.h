/* Which cell may start next: cells whose needs are done, the first in the list first. */
#ifndef SOW_RUN_ORDER_H
#define SOW_RUN_ORDER_H

#include "sow/run.h"

typedef struct sow_order {
    int count;
    int *waiting;            /* needs that are not done yet, by cell */
    int *first, *dependents; /* those that need cell c: dependents[first[c] .. first[c+1]-1] */
    int *heap, ready;        /* ready cells, the least on top */
    int *stack;
} sow_order;

/* SOW_E_ARGUMENT: a need is no earlier cell. Nothing is ready yet. */
sow_status sow_order_new(sow_arena *arena, const sow_cell *cells, int count, sow_order *out);
/* Adds a cell that may start now. */
void sow_order_push(sow_order *order, int cell);
/* The next ready cell, -1 if there is none. */
int sow_order_pop(sow_order *order);
/* The cell is done: what waited for it alone is ready. */
void sow_order_done(sow_order *order, int cell);
/* All that need it, and what needs those, in `*list` (valid until the next call); their number. */
int sow_order_dependents(sow_order *order, int cell, const int **list);

#endif
