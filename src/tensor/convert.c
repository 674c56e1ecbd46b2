/* Values between dtypes and layouts: copies, fills, single elements, finiteness. */
#include <math.h>
#include <string.h>

#include "sow/tensor.h"

float sow_half_to_float(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023, word;
    if (exponent == 31) word = sign | 0x7f800000 | mantissa << 13;
    else if (exponent) word = sign | (exponent + 112) << 23 | mantissa << 13;
    else {
        float tiny = (float)mantissa * 0x1p-24f; /* zero or denormal */
        return sign ? -tiny : tiny;
    }
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

uint16_t sow_float_to_half(float value) {
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    uint32_t sign = word >> 16 & 0x8000, magnitude = word & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and more round to infinity */
    if (magnitude < 0x38800000) {                                  /* below 2^-14: denormal */
        float scaled = fabsf(value) * 0x1p24f;
        return (uint16_t)(sign | (uint32_t)rintf(scaled));
    }
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - 0x38000000) >> 13);
}

float sow_bf16_to_float(uint16_t bits) {
    uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

uint16_t sow_float_to_bf16(float value) {
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    if ((word & 0x7fffffff) > 0x7f800000) return (uint16_t)(word >> 16 | 0x40);
    return (uint16_t)((word + 0x7fff + (word >> 16 & 1)) >> 16);
}

static double load(const void *data, sow_dtype dtype, int64_t i) {
    switch (dtype) {
    case SOW_F64: return ((const double *)data)[i];
    case SOW_F32: return (double)((const float *)data)[i];
    case SOW_F16: return (double)sow_half_to_float(((const uint16_t *)data)[i]);
    case SOW_BF16: return (double)sow_bf16_to_float(((const uint16_t *)data)[i]);
    case SOW_I64: return (double)((const int64_t *)data)[i];
    case SOW_I32: return ((const int32_t *)data)[i];
    case SOW_I16: return ((const int16_t *)data)[i];
    case SOW_I8: return ((const int8_t *)data)[i];
    case SOW_U64: return (double)((const uint64_t *)data)[i];
    case SOW_U32: return ((const uint32_t *)data)[i];
    case SOW_U16: return ((const uint16_t *)data)[i];
    case SOW_U8: return ((const uint8_t *)data)[i];
    case SOW_BOOL: return ((const uint8_t *)data)[i] != 0;
    default: return NAN; /* C64 and F8 have no single real value here */
    }
}

/* C's conversion of an out-of-range double is undefined; this one saturates, and makes NaN 0. */
static double saturated(double value, double low, double high) {
    if (!(value > low)) return value == value ? low : 0;
    return value < high ? value : high;
}

static void store(void *data, sow_dtype dtype, int64_t i, double value) {
    switch (dtype) {
    case SOW_F64: ((double *)data)[i] = value; break;
    case SOW_F32: ((float *)data)[i] = (float)value; break;
    case SOW_F16: ((uint16_t *)data)[i] = sow_float_to_half((float)value); break;
    case SOW_BF16: ((uint16_t *)data)[i] = sow_float_to_bf16((float)value); break;
    case SOW_I64: ((int64_t *)data)[i] = value >= 0x1p63 ? INT64_MAX : (int64_t)saturated(value, -0x1p63, 0x1p63); break;
    case SOW_I32: ((int32_t *)data)[i] = (int32_t)saturated(value, INT32_MIN, INT32_MAX); break;
    case SOW_I16: ((int16_t *)data)[i] = (int16_t)saturated(value, INT16_MIN, INT16_MAX); break;
    case SOW_I8: ((int8_t *)data)[i] = (int8_t)saturated(value, INT8_MIN, INT8_MAX); break;
    case SOW_U64: ((uint64_t *)data)[i] = value >= 0x1p64 ? UINT64_MAX : (uint64_t)saturated(value, 0, 0x1p64); break;
    case SOW_U32: ((uint32_t *)data)[i] = (uint32_t)saturated(value, 0, UINT32_MAX); break;
    case SOW_U16: ((uint16_t *)data)[i] = (uint16_t)saturated(value, 0, UINT16_MAX); break;
    case SOW_U8: ((uint8_t *)data)[i] = (uint8_t)saturated(value, 0, UINT8_MAX); break;
    case SOW_BOOL: ((uint8_t *)data)[i] = value != 0; break;
    default: break;
    }
}

double sow_at(sow_tensor t, int64_t i) {
    return load(t.data, t.dtype, sow_offset(t, i));
}

void sow_put(sow_tensor t, int64_t i, double value) {
    store(t.data, t.dtype, sow_offset(t, i), value);
}

/* One row of `count` elements, each with its own step in memory. 64-bit integers go past f64, which rounds them. */
static void copy_row(void *to, sow_dtype to_type, int64_t to_step, const void *from, sow_dtype from_type, int64_t from_step, int64_t count) {
    size_t size = sow_dtype_size(to_type);
    if (to_type == from_type && to_step == 1 && from_step == 1) memcpy(to, from, (size_t)count * size);
    else if (to_type == from_type && size == 4)
        for (int64_t i = 0; i < count; i++) ((uint32_t *)to)[i * to_step] = ((const uint32_t *)from)[i * from_step];
    else if (to_type == from_type && size == 8)
        for (int64_t i = 0; i < count; i++) ((uint64_t *)to)[i * to_step] = ((const uint64_t *)from)[i * from_step];
    else if (to_type == from_type && size == 2)
        for (int64_t i = 0; i < count; i++) ((uint16_t *)to)[i * to_step] = ((const uint16_t *)from)[i * from_step];
    else if (to_type == from_type)
        for (int64_t i = 0; i < count; i++) ((uint8_t *)to)[i * to_step] = ((const uint8_t *)from)[i * from_step];
    else if (to_type == SOW_F32 && from_type == SOW_BF16)
        for (int64_t i = 0; i < count; i++) ((float *)to)[i * to_step] = sow_bf16_to_float(((const uint16_t *)from)[i * from_step]);
    else if (to_type == SOW_F32 && from_type == SOW_F16)
        for (int64_t i = 0; i < count; i++) ((float *)to)[i * to_step] = sow_half_to_float(((const uint16_t *)from)[i * from_step]);
    else
        for (int64_t i = 0; i < count; i++) store(to, to_type, i * to_step, load(from, from_type, i * from_step));
}

static bool convertible(sow_dtype to, sow_dtype from) {
    bool plain = to != SOW_C64 && from != SOW_C64 && to < SOW_F8_E4M3 && from < SOW_F8_E4M3;
    return to == from || plain;
}

sow_status sow_copy(sow_tensor to, sow_tensor from) {
    char to_text[SOW_SHAPE_TEXT], from_text[SOW_SHAPE_TEXT];
    if (!sow_same_shape(to, from)) return sow_fail(SOW_E_SHAPE, "copy of %s into %s", sow_shape_text(from, from_text), sow_shape_text(to, to_text));
    if (!convertible(to.dtype, from.dtype)) return sow_fail(SOW_E_TYPE, "%s cannot be converted to %s", sow_dtype_name(from.dtype), sow_dtype_name(to.dtype));
    int64_t count = sow_count(to);
    if (count == 0) return SOW_OK;
    if (sow_same_layout(to, from) && sow_is_dense(to)) {
        copy_row(to.data, to.dtype, 1, from.data, from.dtype, 1, count);
        return SOW_OK;
    }
    int last = to.rank - 1;
    int64_t row = to.shape[last];
    size_t to_size = sow_dtype_size(to.dtype), from_size = sow_dtype_size(from.dtype);
    int64_t index[SOW_RANK_MAX] = {0}, to_offset = 0, from_offset = 0;
    for (int64_t r = 0; r < count / row; r++) {
        copy_row((char *)to.data + (size_t)to_offset * to_size, to.dtype, to.stride[last],
                 (const char *)from.data + (size_t)from_offset * from_size, from.dtype, from.stride[last], row);
        for (int d = last - 1; d >= 0; d--) { /* the odometer over all dimensions but the last */
            to_offset += to.stride[d];
            from_offset += from.stride[d];
            if (++index[d] < to.shape[d]) break;
            to_offset -= index[d] * to.stride[d];
            from_offset -= index[d] * from.stride[d];
            index[d] = 0;
        }
    }
    return SOW_OK;
}

void sow_fill(sow_tensor t, double value) {
    int64_t count = sow_count(t);
    bool dense = sow_is_dense(t);
    for (int64_t i = 0; i < count; i++) store(t.data, t.dtype, dense ? i : sow_offset(t, i), value);
}

static int64_t count_nonfinite_row(const void *data, sow_dtype dtype, int64_t count) {
    int64_t bad = 0;
    if (dtype == SOW_F32)
        for (int64_t i = 0; i < count; i++) bad += (((const uint32_t *)data)[i] & 0x7f800000) == 0x7f800000;
    else if (dtype == SOW_F64)
        for (int64_t i = 0; i < count; i++) bad += (((const uint64_t *)data)[i] & 0x7ff0000000000000) == 0x7ff0000000000000;
    else if (dtype == SOW_F16)
        for (int64_t i = 0; i < count; i++) bad += (((const uint16_t *)data)[i] & 0x7c00) == 0x7c00;
    else if (dtype == SOW_BF16)
        for (int64_t i = 0; i < count; i++) bad += (((const uint16_t *)data)[i] & 0x7f80) == 0x7f80;
    return bad;
}

int64_t sow_count_nonfinite(sow_tensor t) {
    if (!sow_dtype_is_real(t.dtype)) return 0;
    int64_t count = sow_count(t);
    if (sow_is_dense(t)) return count_nonfinite_row(t.data, t.dtype, count);
    int64_t bad = 0;
    for (int64_t i = 0; i < count; i++) bad += !isfinite(sow_at(t, i));
    return bad;
}

sow_status sow_require_finite(sow_tensor t, const char *name) {
    int64_t bad = sow_count_nonfinite(t);
    if (bad == 0) return SOW_OK;
    int64_t first = 0;
    while (isfinite(sow_at(t, first))) first++;
    return sow_fail(SOW_E_NUMBER, "%s: element %lld is %f, expected finite numbers (%lld of %lld are not)", name, (long long)first,
                    sow_at(t, first), (long long)bad, (long long)sow_count(t));
}
