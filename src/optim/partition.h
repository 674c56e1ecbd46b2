/* Partitions of tensors as they lie in memory. */
#ifndef SOW_OPTIM_PARTITION_H
#define SOW_OPTIM_PARTITION_H

#include "sow/scales.h"

/* Elements of a dense tensor that lie together and belong to one part: element i is of part (i / run) % parts. */
int64_t optim_run_of(sow_tensor t, sow_partition partition);

#endif
