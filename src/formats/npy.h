/* What .npz shares with .npy. */
#ifndef SOW_FORMATS_NPY_H
#define SOW_FORMATS_NPY_H

#include "formats/source.h"
#include "sow/tensor.h"

enum { SOW_NPY_HEADER = 512 };

/* Reads a whole .npy from a source that holds nothing else. */
sow_status sow_npy_read_source(sow_arena *arena, sow_source *source, sow_tensor *out);
/* The bytes before the values, padded so that these are aligned. */
sow_status sow_npy_header(const char *place, sow_tensor t, char text[SOW_NPY_HEADER], size_t *size);

#endif
