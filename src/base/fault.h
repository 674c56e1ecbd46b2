/* Faults on order, in builds made with -DSOW_FAULTS only: the n-th allocation or write fails or kills. */
#ifndef SOW_BASE_FAULT_H
#define SOW_BASE_FAULT_H

#include <stdbool.h>

/* SOW_FAULT=KIND:N in the environment makes the N-th (from 1) event of that kind fail; KIND is alloc, write,
 * rename, fsync or kill (SIGKILL at the N-th write, rename or fsync). SOW_FAULT_COUNT=FILE writes the number
 * of events of each kind at exit. */
typedef enum sow_fault_kind { SOW_FAULT_ALLOC, SOW_FAULT_WRITE, SOW_FAULT_RENAME, SOW_FAULT_FSYNC, SOW_FAULT_KINDS } sow_fault_kind;

#ifdef SOW_FAULTS
/* Counts one event; true when it must fail. */
bool sow_fault(sow_fault_kind kind);
#else
static inline bool sow_fault(sow_fault_kind kind) {
    (void)kind;
    return false;
}
#endif

#endif
