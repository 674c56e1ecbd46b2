/* Safetensors files: read by mapping, written whole or not at all. The header lists tensors by name; their bytes lie larger
 * elements first, so that every tensor is aligned, which PyTorch asks for. */
#ifndef SOW_SAFETENSORS_H
#define SOW_SAFETENSORS_H

#include "sow/file.h"
#include "sow/mask.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An open file, or several shards under one index (model.safetensors.index.json). */
typedef struct sow_safetensors sow_safetensors;

/* Opens PATH: a .safetensors file, an index JSON, or a folder that holds model.safetensors or an index. The
 * header is checked whole (length, JSON, dtypes, shapes, offsets without gap, overlap or duplicates, end of file) before
 * anything is used; memory is bounded by the header (at most 100 MB). Cost: no tensor is read. */
sow_status sow_safetensors_open(const char *path, sow_safetensors **out);
/* Unmaps; tensors and states that view the file end with it. NULL is allowed. */
void sow_safetensors_close(sow_safetensors *file);
/* Number of tensors, over all shards. */
int64_t sow_safetensors_count(const sow_safetensors *file);
/* Name and mapped (read-only) tensor number i, in the file's order, valid until close. A tensor that the file places at an
 * address which does not suit its dtype is copied first (not thread-safe); data is NULL if memory is short. */
sow_tensor sow_safetensors_tensor(const sow_safetensors *file, int64_t i, const char **name);
/* The same by name. SOW_E_NOT_FOUND if absent. */
sow_status sow_safetensors_find(const sow_safetensors *file, const char *name, sow_tensor *out);
/* A value of the header's __metadata__, NULL if absent. The passport is under "sow". */
const char *sow_safetensors_metadata(const sow_safetensors *file, const char *key);

/* A state whose entries view the mapped file (read-only!): valid until close. */
sow_status sow_safetensors_view(const sow_safetensors *file, sow_state **out);
/* A state of its own, copied. Errors as open. */
sow_status sow_load_state(const char *path, sow_state **out);
/* Values by name into an existing state (see sow_state_assign). */
sow_status sow_load_into(const char *path, sow_state *state);
/* Writes a state: metadata {"format":"pt"} and, unless NULL, the passport (a JSON text) under "sow". Non-row-major
 * tensors are written in logical order. F32 stays F32 and so on. Cost: one pass. */
sow_status sow_save_state(const char *path, const sow_state *state, const char *passport);

/* ---- masks ---- */

/* Writes a mask as U8 tensors, 1 = keep. Errors as sow_save_state. */
sow_status sow_save_mask(const char *path, const sow_mask *mask, const char *passport);
/* Reads one into the arena. Errors: as sow_load_state; SOW_E_TYPE, SOW_E_RANGE (see sow_mask_from_state). */
sow_status sow_load_mask(sow_arena *arena, const char *path, sow_mask *out);
/* Where the mask of the masked start X.safetensors lies: "X.mask.safetensors", in the arena. NULL, with a message kept,
 * for another ending. */
char *sow_mask_path(sow_arena *arena, const char *start);

/* ---- files larger than memory: the header first, then the tensors one after another ---- */

/* Brings names and descriptions (data NULL) into the file's order: larger elements first, then by name, so that all
 * are aligned. SOW_E_MEMORY. */
sow_status sow_safetensors_sort(int64_t count, const char **names, sow_tensor *described);
typedef struct sow_safetensors_writer sow_safetensors_writer;
/* Begins a file of the described tensors, in the order of sow_safetensors_sort, and writes its header. Errors: of
 * files; SOW_E_RANGE where sizes overflow. */
sow_status sow_safetensors_create(const char *path, int64_t count, const char *const *names, const sow_tensor *described,
                                  const char *passport, sow_safetensors_writer **out);
/* The next `bytes` of data in order (any cut). */
sow_status sow_safetensors_put(sow_safetensors_writer *writer, const void *data, size_t bytes);
/* Checks that all bytes came, and makes the file appear. Frees the writer. */
sow_status sow_safetensors_commit(sow_safetensors_writer *writer);
/* Frees the writer; no file appears. */
void sow_safetensors_abort(sow_safetensors_writer *writer);

#ifdef __cplusplus
}
#endif
#endif
