/* IDX, the format of MNIST and its kin: a magic number, big-endian sizes, values row-major; plain or gzip. */
#ifndef SOW_FORMATS_IDX_H
#define SOW_FORMATS_IDX_H

#include "sow/tensor.h"

/* Reads the whole file into the arena: U8, I8, I16, I32, F32 or F64, host byte order. What the header declares is
 * checked against the file's size before memory is taken. Errors: SOW_E_FORMAT, SOW_E_NOT_FOUND, SOW_E_IO. */
sow_status sow_idx_read(sow_arena *arena, const char *path, sow_tensor *out);

#endif
