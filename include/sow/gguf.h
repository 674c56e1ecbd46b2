/* GGUF files: metadata and tensors, mapped; quantised blocks made into floats. Format: versions 2 and 3, little-endian. */
#ifndef SOW_GGUF_H
#define SOW_GGUF_H

#include "sow/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sow_gguf_type {
    SOW_GGUF_F32 = 0,
    SOW_GGUF_F16 = 1,
    SOW_GGUF_Q4_0 = 2,
    SOW_GGUF_Q4_1 = 3,
    SOW_GGUF_Q5_0 = 6,
    SOW_GGUF_Q5_1 = 7,
    SOW_GGUF_Q8_0 = 8,
    SOW_GGUF_Q4_K = 12,
    SOW_GGUF_Q5_K = 13,
    SOW_GGUF_Q6_K = 14,
    SOW_GGUF_BF16 = 30,
} sow_gguf_type;

/* "Q4_K"; NULL for a type that is not read. Values and bytes of a block of it (1 and 2 for F16 ...). */
const char *sow_gguf_type_name(sow_gguf_type type);
/* How a type is stored. */
void sow_gguf_block(sow_gguf_type type, int64_t *values, int64_t *bytes);

/* count values (whole blocks) as floats. Cost: one pass. */
void sow_gguf_dequantise(sow_gguf_type type, const void *blocks, int64_t count, float *out);

/* A vector made ready for products with quantised rows. */
typedef struct sow_gguf_vector {
    const float *x;       /* [width] as it came */
    const int16_t *words; /* a part of 32 values: the upper halves of its whole numbers, then the lower ones */
    const float *scales;  /* a part: what they are times, and the sum of its values */
} sow_gguf_vector;
/* room: [width + width / 16], in which `out` lies beside x; both outlive it. Cost: one pass. */
void sow_gguf_prepare(const float *x, int64_t width, float *room, sow_gguf_vector *out);
/* y[r] = the sum over i of row r's value i times x[i], for `count` rows of `width` values (whole blocks) that begin `stride`
 * bytes apart. Rows stay as they are. As exact as sums in f32; the bits depend on the width only (and on whether the processor
 * has AVX2). A number in x that is not finite makes no sum finite. */
void sow_gguf_products(sow_gguf_type type, const void *rows, int64_t stride, int64_t count, int64_t width,
                       const sow_gguf_vector *x, float *y);

typedef struct sow_gguf sow_gguf;

/* Maps a file and checks its directory whole before anything is used: counts, lengths, types, alignment, offsets without
 * overlap, duplicates. SOW_E_FORMAT names the key or tensor, what was found and what was expected. */
sow_status sow_gguf_open(const char *path, sow_gguf **out);
/* Unmaps; NULL is allowed. */
void sow_gguf_close(sow_gguf *file);

/* The one GGUF file of a folder, in the arena; NULL: none there. SOW_E_ARGUMENT: several, of which one must be named. */
sow_status sow_gguf_in_folder(sow_arena *arena, const char *folder, const char **out);

/* Text in the map: not ended by a zero byte. */
typedef struct sow_span {
    const char *text; /* NULL: absent */
    size_t size;
} sow_span;

/* Metadata by key. The three getters give false (and leave *out) where the key is absent; a value of another kind is
 * SOW_E_FORMAT in *status. Integers of all widths and bools are one kind, floats another (integers fit there too). */
bool sow_gguf_integer(const sow_gguf *file, const char *key, int64_t *out, sow_status *status);
/* A float, or an integer as one. */
bool sow_gguf_real(const sow_gguf *file, const char *key, double *out, sow_status *status);
/* A text, in the map. */
bool sow_gguf_text(const sow_gguf *file, const char *key, sow_span *out, sow_status *status);
/* Length of an array, -1: absent or no array. */
int64_t sow_gguf_length(const sow_gguf *file, const char *key);
/* All items of an array of texts, or of numbers, in the arena. SOW_E_NOT_FOUND, SOW_E_FORMAT. */
sow_status sow_gguf_texts(const sow_gguf *file, sow_arena *arena, const char *key, sow_span **out, int64_t *count);
/* The same for numbers. */
sow_status sow_gguf_numbers(const sow_gguf *file, sow_arena *arena, const char *key, double **out, int64_t *count);

typedef struct sow_gguf_tensor {
    const char *name; /* in the file's arena */
    sow_gguf_type type;
    int rank;
    int64_t shape[4]; /* PyTorch's order: rows first */
    int64_t count;
    const void *data;
    size_t bytes;
} sow_gguf_tensor;
/* Number of tensors. */
int64_t sow_gguf_count(const sow_gguf *file);
/* In the file's order; the index is trusted. */
const sow_gguf_tensor *sow_gguf_at(const sow_gguf *file, int64_t index);
/* By name; NULL: absent. Cost: log n. */
const sow_gguf_tensor *sow_gguf_find(const sow_gguf *file, const char *name);

/* ---- writing ---- */

/* One row of metadata: a text, or (text NULL) a float. */
typedef struct sow_gguf_entry {
    const char *key, *text;
    float number;
} sow_gguf_entry;
/* Writes a file of row-major F32 tensors, whole or not at all. Errors: SOW_E_TYPE, those of files. */
sow_status sow_gguf_write(const char *path, const sow_gguf_entry *entries, int entry_count, int64_t count,
                          const char *const *names, const sow_tensor *tensors);

#ifdef __cplusplus
}
#endif
#endif
