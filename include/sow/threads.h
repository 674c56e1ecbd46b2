/* Work cut by shape, not by thread: the one way Sow uses several threads. */
#ifndef SOW_THREADS_H
#define SOW_THREADS_H

#include <stdint.h>

#include "sow/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How many threads computing calls may use from now on (>= 1); 0 means one per core. */
void sow_set_threads(int threads);
/* The number of threads in force. */
int sow_threads(void);

/* Runs cell(context, index) for every index in [0, cells), spread over sow_threads() threads.
 * A caller cuts its work into a number of cells that depends on shapes alone and lets each cell write only
 * what it owns; then results are equal in every bit for any number of threads. Libraries called inside a
 * cell run on one thread. An inner call, from within a cell, runs its cells in order; so does a call while another thread of the
 * program has the workers. Who has finished takes over what others have not begun, so that nobody waits for a thread that the
 * machine does not run. Cost: about 1 us with two threads; none with one. */
void sow_cells(int64_t cells, void (*cell)(void *context, int64_t index), void *context);

/* Which of the sow_threads() workers runs this cell, from 0: an index for scratch memory, never for results. */
int sow_worker(void);

/* Number of cells for `items` units of work when one cell should hold about `grain` of them (>= 1). */
int64_t sow_cells_for(int64_t items, int64_t grain);

/* Denormal numbers slow masked and converged networks threefold. Computing entry points bracket their work
 * with these: every worker flushes denormals, and the caller's setting comes back. */
typedef unsigned sow_float_mode;
/* Sets flush-to-zero for this thread and returns the mode before. */
sow_float_mode sow_flush_denormals(void);
/* Brings back a mode that sow_flush_denormals returned. */
void sow_restore_float_mode(sow_float_mode mode);

/* Instruction set that the numeric libraries use on this machine, e.g. "avx2", "avx512_core_bf16". */
const char *sow_instruction_set(void);

#ifdef __cplusplus
}
#endif
#endif
