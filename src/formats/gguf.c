/* GGUF files: the directory, checked whole before anything is used (format: LANGUAGE.md, section 3). */
#include "sow/gguf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/file.h"
#include "sow/text.h"

enum value_type {
    T_U8,
    T_I8,
    T_U16,
    T_I16,
    T_U32,
    T_I32,
    T_F32,
    T_BOOL,
    T_TEXT,
    T_ARRAY,
    T_U64,
    T_I64,
    T_F64,
    T_COUNT
};
static const int64_t text_max = 64 << 20;

typedef struct value {
    sow_span key;
    uint32_t type, item; /* item: of arrays */
    uint64_t count;      /* of array items */
    const uint8_t *data; /* the value, or the first item */
} value;

struct sow_gguf {
    sow_arena *arena;
    sow_map map;
    const char *path;
    value *values;
    int64_t value_count;
    sow_gguf_tensor *tensors;
    sow_gguf_tensor **by_name;
    int64_t tensor_count;
};

/* ---- reading bytes ---- */

/* A place in the file; the first failure stays. */
typedef struct cursor {
    const sow_gguf *file;
    uint64_t at;
    sow_status status;
} cursor;

static uint64_t left(const cursor *c) {
    return c->file->map.size - c->at;
}

static const uint8_t *take(cursor *c, uint64_t bytes, const char *what) {
    if (c->status != SOW_OK) return NULL;
    if (bytes > left(c)) {
        c->status = sow_fail(SOW_E_FORMAT, "%s: %s at byte %llu needs %llu bytes, the file has %llu left",
                             c->file->path, what, (unsigned long long)c->at, (unsigned long long)bytes,
                             (unsigned long long)left(c));
        return NULL;
    }
    const uint8_t *p = c->file->map.data + c->at;
    c->at += bytes;
    return p;
}

static uint64_t number(const uint8_t *p, int bytes) {
    uint64_t n = 0;
    for (int i = 0; p && i < bytes; i++) n |= (uint64_t)p[i] << 8 * i;
    return n;
}

static uint32_t take_u32(cursor *c, const char *what) {
    return (uint32_t)number(take(c, 4, what), 4);
}

static uint64_t take_u64(cursor *c, const char *what) {
    return number(take(c, 8, what), 8);
}

static sow_span take_text(cursor *c, const char *what) {
    uint64_t size = take_u64(c, what);
    if (c->status == SOW_OK && size > (uint64_t)text_max)
        c->status = sow_fail(SOW_E_FORMAT, "%s: %s at byte %llu has %llu bytes, expected at most %lld", c->file->path,
                             what, (unsigned long long)c->at, (unsigned long long)size, (long long)text_max);
    const uint8_t *p = take(c, size, what);
    return (sow_span){(const char *)p, p ? (size_t)size : 0};
}

static int width_of(uint32_t type) {
    static const int widths[T_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < T_COUNT ? widths[type] : 0;
}

/* ---- metadata ---- */

static void check_bools(cursor *c, const value *v, uint64_t count) {
    for (uint64_t i = 0; v->data && i < count; i++)
        if (v->data[i] > 1 && c->status == SOW_OK)
            c->status = sow_fail(SOW_E_FORMAT, "%s: key %.*s: found bool %d, expected 0 or 1", c->file->path,
                                 (int)v->key.size, v->key.text, v->data[i]);
}

static void take_array(cursor *c, value *v) {
    v->item = take_u32(c, "an array's type");
    v->count = take_u64(c, "an array's length");
    if (c->status != SOW_OK) return;
    int width = width_of(v->item);
    v->data = c->file->map.data + c->at;
    if (v->item == T_TEXT) {
        if (v->count > left(c) / 8) {
            take(c, UINT64_MAX, "an array of texts");
            return;
        }
        for (uint64_t i = 0; i < v->count && c->status == SOW_OK; i++) take_text(c, "a text");
    } else if (width == 0)
        c->status = sow_fail(SOW_E_FORMAT, "%s: key %.*s: array of type %u, expected numbers or texts", c->file->path,
                             (int)v->key.size, v->key.text, v->item);
    else if (v->count > left(c) / (uint64_t)width) take(c, UINT64_MAX, "an array");
    else take(c, v->count * (uint64_t)width, "an array");
    if (v->item == T_BOOL && c->status == SOW_OK) check_bools(c, v, v->count);
}

static void take_value(cursor *c, value *v) {
    v->key = take_text(c, "a key");
    v->type = take_u32(c, "a value's type");
    if (c->status != SOW_OK) return;
    v->data = c->file->map.data + c->at;
    if (v->type == T_TEXT) take_text(c, "a text");
    else if (v->type == T_ARRAY) take_array(c, v);
    else if (width_of(v->type) == 0)
        c->status = sow_fail(SOW_E_FORMAT, "%s: key %.*s: type %u, expected 0 to 12", c->file->path,
                             (int)(v->key.size < 100 ? v->key.size : 100), v->key.text, v->type);
    else take(c, (uint64_t)width_of(v->type), "a value");
    if (v->type == T_BOOL && c->status == SOW_OK) check_bools(c, v, 1);
}

static int by_key(const void *a, const void *b) {
    sow_span x = ((const value *)a)->key, y = ((const value *)b)->key;
    int order = memcmp(x.text, y.text, x.size < y.size ? x.size : y.size);
    return order ? order : (x.size > y.size) - (x.size < y.size);
}

static sow_status read_values(sow_gguf *g, cursor *c, uint64_t count) {
    if (count > left(c) / 13)
        return sow_fail(SOW_E_FORMAT, "%s: %llu keys do not fit into %llu bytes", g->path, (unsigned long long)count,
                        (unsigned long long)left(c));
    SOW_TRY(SOW_NEW(g->arena, g->values, count));
    g->value_count = (int64_t)count;
    for (uint64_t i = 0; i < count && c->status == SOW_OK; i++) take_value(c, &g->values[i]);
    SOW_TRY(c->status);
    qsort(g->values, (size_t)count, sizeof *g->values, by_key);
    for (uint64_t i = 1; i < count; i++)
        if (!by_key(&g->values[i - 1], &g->values[i]))
            return sow_fail(SOW_E_FORMAT, "%s: key %.*s stands twice", g->path, (int)g->values[i].key.size,
                            g->values[i].key.text);
    return SOW_OK;
}

static const value *find(const sow_gguf *g, const char *key) {
    value wanted = {.key = {key, strlen(key)}};
    return bsearch(&wanted, g->values, (size_t)g->value_count, sizeof *g->values, by_key);
}

/* ---- numbers and texts of metadata ---- */

static double float_of(uint64_t bits, uint32_t type) {
    uint32_t narrow = (uint32_t)bits;
    float f;
    double d;
    memcpy(&f, &narrow, sizeof f);
    memcpy(&d, &bits, sizeof d);
    return type == T_F32 ? (double)f : d;
}

static bool is_float(uint32_t type) {
    return type == T_F32 || type == T_F64;
}

static int64_t integer_of(const uint8_t *p, uint32_t type) {
    uint64_t n = number(p, width_of(type));
    switch (type) {
    case T_I8: return (int8_t)n;
    case T_I16: return (int16_t)n;
    case T_I32: return (int32_t)n;
    default: return n > INT64_MAX && type == T_U64 ? INT64_MAX : (int64_t)n;
    }
}

static void wrong_kind(const sow_gguf *g, const char *key, const char *expected, sow_status *status) {
    *status = sow_fail(SOW_E_FORMAT, "%s: key %s: expected %s", g->path, key, expected);
}

bool sow_gguf_integer(const sow_gguf *g, const char *key, int64_t *out, sow_status *status) {
    const value *v = find(g, key);
    if (!v) return false;
    if (v->type == T_TEXT || v->type == T_ARRAY || is_float(v->type)) wrong_kind(g, key, "an integer", status);
    else *out = integer_of(v->data, v->type);
    return true;
}

bool sow_gguf_real(const sow_gguf *g, const char *key, double *out, sow_status *status) {
    const value *v = find(g, key);
    if (!v) return false;
    if (v->type == T_TEXT || v->type == T_ARRAY) wrong_kind(g, key, "a number", status);
    else
        *out = is_float(v->type) ? float_of(number(v->data, width_of(v->type)), v->type)
                                 : (double)integer_of(v->data, v->type);
    return true;
}

/* The text at p, whose bounds were checked when the file was opened. */
static sow_span text_at(const uint8_t *p) {
    return (sow_span){(const char *)p + 8, (size_t)number(p, 8)};
}

bool sow_gguf_text(const sow_gguf *g, const char *key, sow_span *out, sow_status *status) {
    const value *v = find(g, key);
    if (!v) return false;
    if (v->type != T_TEXT) wrong_kind(g, key, "a text", status);
    else *out = text_at(v->data);
    return true;
}

int64_t sow_gguf_length(const sow_gguf *g, const char *key) {
    const value *v = find(g, key);
    return v && v->type == T_ARRAY ? (int64_t)v->count : -1;
}

static sow_status find_array(const sow_gguf *g, const char *key, bool texts, const value **out) {
    const value *v = find(g, key);
    if (!v) return sow_fail(SOW_E_NOT_FOUND, "%s: key %s is missing", g->path, key);
    if (v->type != T_ARRAY || (v->item == T_TEXT) != texts)
        return sow_fail(SOW_E_FORMAT, "%s: key %s: expected an array of %s", g->path, key, texts ? "texts" : "numbers");
    *out = v;
    return SOW_OK;
}

sow_status sow_gguf_texts(const sow_gguf *g, sow_arena *arena, const char *key, sow_span **out, int64_t *count) {
    const value *v;
    SOW_TRY(find_array(g, key, true, &v));
    SOW_TRY(SOW_NEW_RAW(arena, *out, v->count));
    const uint8_t *p = v->data;
    for (uint64_t i = 0; i < v->count; i++) {
        (*out)[i] = text_at(p);
        p += 8 + (*out)[i].size;
    }
    *count = (int64_t)v->count;
    return SOW_OK;
}

sow_status sow_gguf_numbers(const sow_gguf *g, sow_arena *arena, const char *key, double **out, int64_t *count) {
    const value *v;
    SOW_TRY(find_array(g, key, false, &v));
    SOW_TRY(SOW_NEW_RAW(arena, *out, v->count));
    int width = width_of(v->item);
    for (uint64_t i = 0; i < v->count; i++) {
        const uint8_t *p = v->data + i * (uint64_t)width;
        (*out)[i] = is_float(v->item) ? float_of(number(p, width), v->item) : (double)integer_of(p, v->item);
    }
    *count = (int64_t)v->count;
    return SOW_OK;
}

/* ---- tensors ---- */

static sow_status describe(const sow_gguf *g, sow_gguf_tensor *t, const uint64_t *dims) {
    int64_t values, bytes, count = 1, blocks;
    if (!sow_gguf_type_name(t->type))
        return sow_fail(SOW_E_UNSUPPORTED, "%s: tensor %s: type %d is not read", g->path, t->name, (int)t->type);
    sow_gguf_block(t->type, &values, &bytes);
    for (int d = 0; d < t->rank; d++) {
        if (dims[d] < 1 || dims[d] > INT64_MAX || sow_multiply(count, (int64_t)dims[d], &count) != SOW_OK)
            return sow_fail(SOW_E_FORMAT, "%s: tensor %s: dimension %d is %llu", g->path, t->name, d,
                            (unsigned long long)dims[d]);
        t->shape[t->rank - 1 - d] = (int64_t)dims[d];
    }
    if (dims[0] % (uint64_t)values != 0)
        return sow_fail(SOW_E_FORMAT, "%s: tensor %s: rows of %llu values are no whole blocks of %lld", g->path,
                        t->name, (unsigned long long)dims[0], (long long)values);
    blocks = count / values;
    if (sow_multiply(blocks, bytes, &bytes) != SOW_OK)
        return sow_fail(SOW_E_FORMAT, "%s: tensor %s: its size overflows", g->path, t->name);
    t->count = count;
    t->bytes = (size_t)bytes;
    return SOW_OK;
}

static sow_status take_tensor(sow_gguf *g, cursor *c, sow_gguf_tensor *t, uint64_t *offset) {
    uint64_t dims[4] = {0};
    sow_span name = take_text(c, "a tensor's name");
    uint32_t rank = take_u32(c, "a tensor's rank");
    SOW_TRY(c->status);
    if (rank < 1 || rank > 4)
        return sow_fail(SOW_E_FORMAT, "%s: tensor %.*s: %u dimensions, expected 1 to 4", g->path,
                        (int)(name.size < 100 ? name.size : 100), name.text, rank);
    if (name.size > 1024 || memchr(name.text, 0, name.size))
        return sow_fail(SOW_E_FORMAT, "%s: a tensor's name has %zu bytes or a zero byte", g->path, name.size);
    char *copy = sow_arena_take(g->arena, name.size + 1, 1);
    if (!copy) return SOW_E_MEMORY;
    memcpy(copy, name.text, name.size);
    t->name = copy;
    t->rank = (int)rank;
    for (uint32_t d = 0; d < rank; d++) dims[d] = take_u64(c, "a dimension");
    t->type = (sow_gguf_type)take_u32(c, "a tensor's type");
    *offset = take_u64(c, "a tensor's offset");
    SOW_TRY(c->status);
    return describe(g, t, dims);
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(sow_gguf_tensor *const *)a)->name, (*(sow_gguf_tensor *const *)b)->name);
}

static int by_place(const void *a, const void *b) {
    const uint8_t *x = (*(sow_gguf_tensor *const *)a)->data, *y = (*(sow_gguf_tensor *const *)b)->data;
    return (x > y) - (x < y);
}

/* Offsets count from the end of the directory, rounded up to the alignment. */
static sow_status place(sow_gguf *g, sow_gguf_tensor *t, uint64_t offset, uint64_t start, uint64_t alignment) {
    if (offset % alignment != 0)
        return sow_fail(SOW_E_FORMAT, "%s: tensor %s: offset %llu is no multiple of %llu", g->path, t->name,
                        (unsigned long long)offset, (unsigned long long)alignment);
    if (start > g->map.size || offset > g->map.size - start || t->bytes > g->map.size - start - offset)
        return sow_fail(SOW_E_FORMAT, "%s: tensor %s: %zu bytes at offset %llu reach beyond the end of the file",
                        g->path, t->name, t->bytes, (unsigned long long)offset);
    t->data = g->map.data + start + offset;
    return SOW_OK;
}

static sow_status check_tensors(sow_gguf *g) {
    SOW_TRY(SOW_NEW_RAW(g->arena, g->by_name, g->tensor_count));
    for (int64_t i = 0; i < g->tensor_count; i++) g->by_name[i] = &g->tensors[i];
    qsort(g->by_name, (size_t)g->tensor_count, sizeof *g->by_name, by_place);
    for (int64_t i = 1; i < g->tensor_count; i++)
        if ((const uint8_t *)g->by_name[i]->data < (const uint8_t *)g->by_name[i - 1]->data + g->by_name[i - 1]->bytes)
            return sow_fail(SOW_E_FORMAT, "%s: tensors %s and %s overlap", g->path, g->by_name[i - 1]->name,
                            g->by_name[i]->name);
    qsort(g->by_name, (size_t)g->tensor_count, sizeof *g->by_name, by_name);
    for (int64_t i = 1; i < g->tensor_count; i++)
        if (!strcmp(g->by_name[i - 1]->name, g->by_name[i]->name))
            return sow_fail(SOW_E_FORMAT, "%s: tensor %s stands twice", g->path, g->by_name[i]->name);
    return SOW_OK;
}

static sow_status alignment_of(const sow_gguf *g, uint64_t *out) {
    int64_t a = 32;
    sow_status status = SOW_OK;
    const value *v = find(g, "general.alignment");
    if (v && v->type != T_U32) wrong_kind(g, "general.alignment", "a 32-bit unsigned integer", &status);
    SOW_TRY(status);
    sow_gguf_integer(g, "general.alignment", &a, &status);
    if (a < 8 || a > 1 << 20 || (a & (a - 1)) != 0)
        return sow_fail(SOW_E_FORMAT,
                        "%s: key general.alignment: found %lld, expected a power of two from 8 to 1048576", g->path,
                        (long long)a);
    *out = (uint64_t)a;
    return SOW_OK;
}

static sow_status read_tensors(sow_gguf *g, cursor *c, uint64_t count) {
    uint64_t *offsets, alignment;
    if (count > left(c) / 32)
        return sow_fail(SOW_E_FORMAT, "%s: %llu tensors do not fit into %llu bytes", g->path, (unsigned long long)count,
                        (unsigned long long)left(c));
    SOW_TRY(alignment_of(g, &alignment));
    SOW_TRY(SOW_NEW(g->arena, g->tensors, count));
    SOW_TRY(SOW_NEW(g->arena, offsets, count));
    g->tensor_count = (int64_t)count;
    for (uint64_t i = 0; i < count; i++) SOW_TRY(take_tensor(g, c, &g->tensors[i], &offsets[i]));
    uint64_t start = (c->at + alignment - 1) / alignment * alignment;
    for (uint64_t i = 0; i < count; i++) SOW_TRY(place(g, &g->tensors[i], offsets[i], start, alignment));
    return check_tensors(g);
}

static sow_status read_directory(sow_gguf *g) {
    cursor c = {.file = g};
    const uint8_t *magic = take(&c, 4, "the signature");
    if (!magic || memcmp(magic, "GGUF", 4))
        return sow_fail(SOW_E_FORMAT, "%s: no GGUF file: it does not begin with 'GGUF'", g->path);
    uint32_t version = take_u32(&c, "the version");
    SOW_TRY(c.status);
    if ((version & 0xffff) == 0) return sow_fail(SOW_E_UNSUPPORTED, "%s: a big-endian GGUF file", g->path);
    if (version != 2 && version != 3)
        return sow_fail(SOW_E_UNSUPPORTED, "%s: GGUF version %u, expected 2 or 3", g->path, version);
    uint64_t tensors = take_u64(&c, "the number of tensors"), values = take_u64(&c, "the number of keys");
    SOW_TRY(c.status);
    SOW_TRY(read_values(g, &c, values));
    return read_tensors(g, &c, tensors);
}

sow_status sow_gguf_open(const char *path, sow_gguf **out) {
    sow_arena *arena;
    sow_gguf *g;
    SOW_TRY(SOW_OWN(arena, g));
    g->arena = arena;
    g->path = sow_arena_copy(arena, path);
    sow_status status = g->path ? sow_map_open(path, &g->map) : SOW_E_MEMORY;
    if (status == SOW_OK) status = read_directory(g);
    if (status == SOW_OK) *out = g;
    else sow_gguf_close(g);
    return status;
}

void sow_gguf_close(sow_gguf *g) {
    if (!g) return;
    sow_map_close(&g->map);
    sow_arena_free(g->arena);
}

int64_t sow_gguf_count(const sow_gguf *g) {
    return g->tensor_count;
}

const sow_gguf_tensor *sow_gguf_at(const sow_gguf *g, int64_t index) {
    return &g->tensors[index];
}

const sow_gguf_tensor *sow_gguf_find(const sow_gguf *g, const char *name) {
    sow_gguf_tensor wanted = {.name = name}, *key = &wanted;
    sow_gguf_tensor **found = bsearch(&key, g->by_name, (size_t)g->tensor_count, sizeof *g->by_name, by_name);
    return found ? *found : NULL;
}

sow_status sow_gguf_in_folder(sow_arena *arena, const char *folder, const char **out) {
    enum { FILES_MAX = 10000 };
    char **names;
    int64_t count;
    *out = NULL;
    SOW_TRY(sow_list_folder(arena, folder, FILES_MAX, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        if (!sow_ends_with(names[i], ".gguf")) continue;
        if (*out) return sow_fail(SOW_E_ARGUMENT, "%s holds several GGUF files; name the one that is meant", folder);
        if (!(*out = sow_path_join(arena, folder, names[i]))) return SOW_E_MEMORY;
    }
    return SOW_OK;
}
