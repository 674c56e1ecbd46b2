/* NumPy's arrays in files: .npy, and .npz, which is a zip of them. */
#ifndef SOW_NPY_H
#define SOW_NPY_H

#include "sow/file.h"
#include "sow/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reads versions 1 to 3 into the arena: floats of 2, 4, 8 bytes, integers, bool and complex64. Big-endian values are turned
 * around; Fortran order comes as strides. The declared size is checked against the file before memory is taken. Errors:
 * SOW_E_FORMAT; SOW_E_TYPE for structured, object, text and other types. Cost: one copy. */
sow_status sow_npy_read(sow_arena *arena, const char *path, sow_tensor *out);
/* The same without reading: `out` views the mapped file (read-only) until sow_map_close(map). SOW_E_UNSUPPORTED: its values
 * are big-endian or not aligned, so that only sow_npy_read takes them. Cost: one page. */
sow_status sow_npy_map(const char *path, sow_map *map, sow_tensor *out);
/* Writes version 1 in logical order. SOW_E_TYPE: NumPy has no BF16 and no 8-bit floats. */
sow_status sow_npy_write(const char *path, sow_tensor tensor);

/* An open .npz: arrays by name (without ".npy"), stored or deflated. */
typedef struct sow_npz sow_npz;
/* Reads and checks the archive's directory; no array is unpacked. Errors: SOW_E_FORMAT (damaged, encrypted or split
 * archives, two arrays of one name), and of files. */
sow_status sow_npz_open(const char *path, sow_npz **out);
/* Names end with it; NULL is allowed. */
void sow_npz_close(sow_npz *npz);
/* Number of arrays. */
int64_t sow_npz_count(const sow_npz *npz);
/* Name of array number `index`, in the archive's order. */
const char *sow_npz_name(const sow_npz *npz, int64_t index);
/* Unpacks one array into the arena and checks its CRC. SOW_E_NOT_FOUND if absent; else as sow_npy_read. */
sow_status sow_npz_read(const sow_npz *npz, sow_arena *arena, const char *name, sow_tensor *out);
/* Writes arrays under distinct names, stored or deflated, whole or not at all, with no time of day: equal arrays give
 * equal files. Errors: SOW_E_UNSUPPORTED where the file would pass 4 GB; as sow_npy_write. */
sow_status sow_npz_write(const char *path, int64_t count, const char *const *names, const sow_tensor *tensors, bool compress);

#ifdef __cplusplus
}
#endif
#endif
