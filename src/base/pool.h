/* The workers behind sow_cells. */
#ifndef SOW_BASE_POOL_H
#define SOW_BASE_POOL_H

#include <stdbool.h>
#include <stdint.h>

/* Whether this thread is within a cell. */
bool pool_inside(void);
/* Number of the worker that this thread is, 0: none of the pool's. */
int pool_worker(void);
/* Runs all cells on the calling thread and at most `threads - 1` workers, which are started when they are first wanted. Each has a
 * block of the cells to begin with and takes over what others have not begun; nobody waits for a worker that the machine does not
 * run. While another thread of the program uses the workers, the caller works alone. */
void pool_run(int threads, int64_t cells, void (*cell)(void *context, int64_t index), void *context);

#endif
