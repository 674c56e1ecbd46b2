/* Descriptions of memory: dtypes, shapes, strides and views. */
#include "sow/tensor.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[SOW_DTYPES] = {
    [SOW_F64] = {"F64", 8}, [SOW_F32] = {"F32", 4}, [SOW_F16] = {"F16", 2},   [SOW_BF16] = {"BF16", 2},
    [SOW_I64] = {"I64", 8}, [SOW_I32] = {"I32", 4}, [SOW_I16] = {"I16", 2},   [SOW_I8] = {"I8", 1},
    [SOW_U64] = {"U64", 8}, [SOW_U32] = {"U32", 4}, [SOW_U16] = {"U16", 2},   [SOW_U8] = {"U8", 1},
    [SOW_BOOL] = {"BOOL", 1}, [SOW_C64] = {"C64", 8}, [SOW_F8_E4M3] = {"F8_E4M3", 1}, [SOW_F8_E5M2] = {"F8_E5M2", 1},
};

size_t sow_dtype_size(sow_dtype dtype) {
    return dtypes[dtype].size;
}

const char *sow_dtype_name(sow_dtype dtype) {
    return dtypes[dtype].name;
}

sow_status sow_dtype_parse(const char *name, sow_dtype *out) {
    for (int i = 0; i < SOW_DTYPES; i++)
        if (!strcmp(dtypes[i].name, name)) {
            *out = (sow_dtype)i;
            return SOW_OK;
        }
    return sow_fail(SOW_E_TYPE, "dtype '%.32s' is not known", name);
}

bool sow_dtype_is_real(sow_dtype dtype) {
    return dtype == SOW_F64 || dtype == SOW_F32 || dtype == SOW_F16 || dtype == SOW_BF16;
}

sow_tensor sow_tensor_of(void *data, sow_dtype dtype, int rank, const int64_t *shape) {
    sow_tensor t = {.data = data, .dtype = dtype, .rank = rank};
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        t.shape[i] = shape[i];
        t.stride[i] = stride;
        stride *= shape[i];
    }
    return t;
}

sow_status sow_shape_count(int rank, const int64_t *shape, int64_t *out) {
    if (rank < 0 || rank > SOW_RANK_MAX) return sow_fail(SOW_E_SHAPE, "%d dimensions, at most %d are supported", rank, SOW_RANK_MAX);
    int64_t product = 1; /* a zero counts as one: strides are products of the other sizes */
    bool empty = false;
    for (int i = 0; i < rank; i++) {
        SOW_TRY(sow_multiply(product, shape[i] == 0 ? 1 : shape[i], &product));
        empty |= shape[i] == 0;
    }
    if (product > INT64_MAX / 16) return sow_fail(SOW_E_RANGE, "a tensor of %lld elements is out of range", (long long)product);
    *out = empty ? 0 : product;
    return SOW_OK;
}

int64_t sow_count(sow_tensor t) {
    int64_t count = 1;
    for (int i = 0; i < t.rank; i++) count *= t.shape[i];
    return count;
}

size_t sow_bytes(sow_tensor t) {
    return (size_t)sow_count(t) * sow_dtype_size(t.dtype);
}

bool sow_same_shape(sow_tensor a, sow_tensor b) {
    return a.rank == b.rank && !memcmp(a.shape, b.shape, (size_t)a.rank * sizeof *a.shape);
}

bool sow_is_contiguous(sow_tensor t) {
    int64_t expected = 1;
    for (int i = t.rank - 1; i >= 0; i--) {
        if (t.shape[i] != 1 && t.stride[i] != expected) return false;
        expected *= t.shape[i];
    }
    return true;
}

bool sow_is_dense(sow_tensor t) {
    int64_t expected = 1;
    bool used[SOW_RANK_MAX] = {false};
    for (int round = 0; round < t.rank; round++) {
        int found = -1;
        for (int i = 0; i < t.rank && found < 0; i++)
            if (!used[i] && (t.shape[i] == 1 || t.stride[i] == expected)) found = i;
        if (found < 0) return false;
        used[found] = true;
        expected *= t.shape[found];
    }
    return true;
}

bool sow_same_layout(sow_tensor a, sow_tensor b) {
    if (!sow_same_shape(a, b)) return false;
    for (int i = 0; i < a.rank; i++)
        if (a.shape[i] != 1 && a.stride[i] != b.stride[i]) return false;
    return true;
}

char *sow_shape_text(sow_tensor t, char text[SOW_SHAPE_TEXT]) {
    size_t used = 1;
    text[0] = '[';
    for (int i = 0; i < t.rank && used + 24 < SOW_SHAPE_TEXT; i++)
        used += (size_t)snprintf(text + used, SOW_SHAPE_TEXT - used, i ? ", %lld" : "%lld", (long long)t.shape[i]);
    text[used] = ']';
    text[used + 1] = 0;
    return text;
}

sow_status sow_tensor_new(sow_arena *arena, sow_dtype dtype, int rank, const int64_t *shape, sow_tensor *out) {
    int64_t count;
    SOW_TRY(sow_shape_count(rank, shape, &count));
    void *data = sow_arena_take(arena, (size_t)count, sow_dtype_size(dtype));
    if (!data) return SOW_E_MEMORY;
    *out = sow_tensor_of(data, dtype, rank, shape);
    return SOW_OK;
}

sow_status sow_tensor_like(sow_arena *arena, sow_tensor like, sow_tensor *out) {
    void *data = sow_arena_take(arena, (size_t)sow_count(like), sow_dtype_size(like.dtype));
    if (!data) return SOW_E_MEMORY;
    *out = like;
    out->data = data;
    return SOW_OK;
}

sow_tensor sow_reshape(sow_tensor t, int rank, const int64_t *shape) {
    return sow_tensor_of(t.data, t.dtype, rank, shape);
}

sow_tensor sow_permute(sow_tensor t, const int *order) {
    sow_tensor p = t;
    for (int i = 0; i < t.rank; i++) {
        p.shape[i] = t.shape[order[i]];
        p.stride[i] = t.stride[order[i]];
    }
    return p;
}

sow_tensor sow_transpose(sow_tensor t) {
    int order[SOW_RANK_MAX];
    for (int i = 0; i < t.rank; i++) order[i] = i;
    order[t.rank - 1] = t.rank - 2;
    order[t.rank - 2] = t.rank - 1;
    return sow_permute(t, order);
}

sow_tensor sow_slice(sow_tensor t, int dimension, int64_t first, int64_t count) {
    if (t.data) t.data = (char *)t.data + (size_t)(first * t.stride[dimension]) * sow_dtype_size(t.dtype);
    t.shape[dimension] = count;
    return t;
}

int64_t sow_offset(sow_tensor t, int64_t i) {
    int64_t offset = 0;
    for (int d = t.rank - 1; d >= 0; d--) {
        offset += i % t.shape[d] * t.stride[d];
        i /= t.shape[d];
    }
    return offset;
}
