/* A tensor: a small value that describes memory and never owns it. */
#ifndef SOW_TENSOR_H
#define SOW_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "sow/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SOW_RANK_MAX = 8 };

/* Storage types. Sow computes in F32 and F64; the others are stored, converted and copied. */
typedef enum sow_dtype {
    SOW_F64, SOW_F32, SOW_F16, SOW_BF16,
    SOW_I64, SOW_I32, SOW_I16, SOW_I8,
    SOW_U64, SOW_U32, SOW_U16, SOW_U8,
    SOW_BOOL, SOW_C64,
    SOW_F8_E4M3, SOW_F8_E5M2, /* copied through only */
    SOW_DTYPES
} sow_dtype;

/* shape and stride count elements; the logical shape is always PyTorch's, and a faster storage order (a dense
 * weight kept as [in, out], an image batch kept channels-last) exists only through strides. */
typedef struct sow_tensor {
    void *data;
    sow_dtype dtype;
    int rank;
    int64_t shape[SOW_RANK_MAX];
    int64_t stride[SOW_RANK_MAX];
} sow_tensor;

/* Bytes of one element. */
size_t sow_dtype_size(sow_dtype dtype);
/* Safetensors' names: "F32", "BF16", "BOOL" ... */
const char *sow_dtype_name(sow_dtype dtype);
/* The way back; SOW_E_FORMAT for another text. */
sow_status sow_dtype_parse(const char *name, sow_dtype *out);
/* Whether it is F64, F32, F16 or BF16. */
bool sow_dtype_is_real(sow_dtype dtype);

/* A row-major view of `data` (which may be NULL: a description only). Shapes are trusted. */
sow_tensor sow_tensor_of(void *data, sow_dtype dtype, int rank, const int64_t *shape);
#define SOW_TENSOR(data, dtype, ...)                                                                        \
    sow_tensor_of((data), (dtype), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

/* Number of elements, checked where shapes come from outside, and trusted inside. */
sow_status sow_shape_count(int rank, const int64_t *shape, int64_t *out);
/* Number of elements; the shape was checked before. */
int64_t sow_count(sow_tensor t);
/* Bytes of all elements. */
size_t sow_bytes(sow_tensor t);
/* Equal rank and extents. */
bool sow_same_shape(sow_tensor a, sow_tensor b);
/* Row-major without gaps. */
bool sow_is_contiguous(sow_tensor t);
/* True when the strides are a permutation of a gap-free layout: a loop over count elements of memory sees each once. */
bool sow_is_dense(sow_tensor t);
/* True when a and b have the same shape and strides: element-wise loops may run over memory. */
bool sow_same_layout(sow_tensor a, sow_tensor b);

/* "[60, 784]" into a caller's buffer; returns it. */
enum { SOW_SHAPE_TEXT = 160 };
/* "[60, 784]" in the caller's buffer; returns it. */
char *sow_shape_text(sow_tensor t, char text[SOW_SHAPE_TEXT]);

/* Fresh memory for `like`'s shape in the arena, zeroed, row-major. Errors: SOW_E_MEMORY. */
sow_status sow_tensor_new(sow_arena *arena, sow_dtype dtype, int rank, const int64_t *shape, sow_tensor *out);
/* The same shape, dtype and layout as `like` (which must be dense), zeroed. */
sow_status sow_tensor_like(sow_arena *arena, sow_tensor like, sow_tensor *out);

/* Views: no memory moves. The caller keeps indices in range; reshape needs a contiguous tensor. */
sow_tensor sow_reshape(sow_tensor t, int rank, const int64_t *shape);
/* Dimension i of the result is dimension order[i] of t. */
sow_tensor sow_permute(sow_tensor t, const int *order);
/* Swaps the last two dimensions. */
sow_tensor sow_transpose(sow_tensor t);
/* Indices first ... first + count - 1 of one dimension. */
sow_tensor sow_slice(sow_tensor t, int dimension, int64_t first, int64_t count);

/* Copies values in logical order, converting dtype (round to nearest even; floats to integers and back as C
 * does, saturating) and layout. Shapes must be equal. Errors: SOW_E_SHAPE, SOW_E_TYPE (F8 to another type).
 * Cost: one pass. */
sow_status sow_copy(sow_tensor to, sow_tensor from);
/* Sets every element. */
void sow_fill(sow_tensor t, double value);
/* Element at logical flat index i, as f64: for tests, messages and small work; not for hot loops. */
double sow_at(sow_tensor t, int64_t i);
/* Sets the element at logical flat index i, converted from f64 as sow_copy does. */
void sow_put(sow_tensor t, int64_t i, double value);
/* Memory offset, in elements, of the logical flat index i. */
int64_t sow_offset(sow_tensor t, int64_t i);

/* Counts NaN and infinite elements of a real tensor (0 for integers). Cost: one pass. */
int64_t sow_count_nonfinite(sow_tensor t);
/* SOW_E_NUMBER naming `name`, the first bad index and the count, if any element is not finite. */
sow_status sow_require_finite(sow_tensor t, const char *name);

/* IEEE binary16 to binary32, exactly. */
float sow_half_to_float(uint16_t bits);
/* To the nearest binary16, ties to even; too large becomes infinity. */
uint16_t sow_float_to_half(float value);
/* bfloat16 to binary32, exactly. */
float sow_bf16_to_float(uint16_t bits);
/* To the nearest bfloat16, ties to even. */
uint16_t sow_float_to_bf16(float value);

/* C = alpha * op(A) op(B) + beta * C for row-major f32 matrices, op(A) [m, k], op(B) [k, n], C [m, n];
 * leading dimensions in elements. Work is cut by shape (oneDNN sgemm, one thread a cell), so bits do not depend
 * on threads. Cost: 2mnk FLOP at the machine's sgemm rate. */
void sow_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
              const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
/* The same in f64 (LAPACK's BLAS, one thread a cell). */
void sow_gemm_f64(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                  int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc);

/* Whether a matrix lies row by row, the values of a row side by side. */
bool sow_is_row_major(sow_tensor matrix);
/* c = alpha a b + beta c for matrices of one dtype, F32 or F64, each stored by rows or by columns, with gaps between them or not. a:
 * [m, k], b: [k, n], c: [m, n]; shapes are trusted. Bits and cost as sow_gemm. */
void sow_product(double alpha, sow_tensor a, sow_tensor b, double beta, sow_tensor c);

#ifdef __cplusplus
}
#endif
#endif
