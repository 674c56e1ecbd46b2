/* Any tensor as the bytes of its values in logical order, a piece at a time. */
#ifndef SOW_FORMATS_GATHER_H
#define SOW_FORMATS_GATHER_H

#include "sow/tensor.h"

enum { SOW_GATHER_BYTES = 1 << 16 };

/* Called with the next bytes. */
typedef sow_status (*sow_take_bytes)(void *user, const void *data, size_t size);

/* Gives all values of `t`: contiguous ones in one piece, others through a buffer of 64 KiB. Cost: one pass. */
sow_status sow_gather(sow_tensor t, sow_take_bytes take, void *user);

#endif
