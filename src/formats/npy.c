/* NumPy's .npy: a magic number, a header that is a Python dictionary, the values. */
#include "sow/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/bytes.h"
#include "formats/gather.h"
#include "formats/npy.h"
#include "sow/file.h"

enum { HEADER_MAX = 1 << 16 };

/* ---- types ---- */

static const struct {
    char kind, size;
    sow_dtype dtype;
} types[] = {{'f', '8', SOW_F64}, {'f', '4', SOW_F32}, {'f', '2', SOW_F16}, {'i', '8', SOW_I64}, {'i', '4', SOW_I32},
             {'i', '2', SOW_I16}, {'i', '1', SOW_I8},  {'u', '8', SOW_U64}, {'u', '4', SOW_U32}, {'u', '2', SOW_U16},
             {'u', '1', SOW_U8},  {'b', '1', SOW_BOOL}, {'c', '8', SOW_C64}};

typedef struct header {
    sow_dtype dtype;
    bool big_endian, fortran;
    int rank;
    int64_t shape[SOW_RANK_MAX];
} header;

/* "<f4": byte order, kind, bytes. */
static sow_status read_descr(const char *place, const char *text, size_t length, header *out) {
    if (length == 3 && strchr("<>|=", text[0]))
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (types[i].kind == text[1] && types[i].size == text[2]) {
                out->dtype = types[i].dtype;
                out->big_endian = text[0] == '>';
                return SOW_OK;
            }
    return sow_fail(SOW_E_TYPE, "%s: dtype '%.*s', expected a float, integer, bool or complex64", place, (int)(length < 40 ? length : 40), text);
}

/* ---- the header: a Python dictionary with three known keys ---- */

typedef struct cursor {
    const char *place, *text;
    size_t size, at;
} cursor;

static sow_status bad_header(const cursor *c, const char *expected) {
    return sow_fail(SOW_E_FORMAT, "%s: byte %zu of the header: expected %s", c->place, c->at, expected);
}

static void skip_spaces(cursor *c) {
    while (c->at < c->size && (c->text[c->at] == ' ' || c->text[c->at] == '\n' || c->text[c->at] == '\t')) c->at++;
}

static bool accept(cursor *c, char wanted) {
    skip_spaces(c);
    if (c->at == c->size || c->text[c->at] != wanted) return false;
    c->at++;
    return true;
}

static bool accept_word(cursor *c, const char *word) {
    size_t length = strlen(word);
    skip_spaces(c);
    if (c->size - c->at < length || memcmp(c->text + c->at, word, length) != 0) return false;
    c->at += length;
    return true;
}

static sow_status read_string(cursor *c, const char **start, size_t *length) {
    skip_spaces(c);
    char quote = c->at < c->size ? c->text[c->at] : 0;
    if (quote == '[') return sow_fail(SOW_E_TYPE, "%s: an array of structures, expected plain numbers", c->place);
    if (quote != '\'' && quote != '"') return bad_header(c, "a string");
    const char *end = memchr(c->text + c->at + 1, quote, c->size - c->at - 1);
    if (!end) return bad_header(c, "the string to end");
    *start = c->text + c->at + 1;
    *length = (size_t)(end - *start);
    c->at = (size_t)(end - c->text) + 1;
    return SOW_OK;
}

static sow_status read_size(cursor *c, int64_t *out) {
    size_t begin = c->at;
    *out = 0;
    for (; c->at < c->size && c->text[c->at] >= '0' && c->text[c->at] <= '9'; c->at++) {
        int64_t ten;
        if (sow_multiply(*out, 10, &ten) != SOW_OK || sow_add_sizes(ten, c->text[c->at] - '0', out) != SOW_OK) return bad_header(c, "a smaller size");
    }
    if (c->at < c->size && c->text[c->at] == 'L') c->at++; /* written by Python 2 */
    return c->at > begin ? SOW_OK : bad_header(c, "a size");
}

static sow_status read_shape(cursor *c, header *out) {
    if (!accept(c, '(')) return bad_header(c, "'('");
    while (!accept(c, ')')) {
        if (out->rank == SOW_RANK_MAX) return sow_fail(SOW_E_FORMAT, "%s: more than %d dimensions", c->place, SOW_RANK_MAX);
        SOW_TRY(read_size(c, &out->shape[out->rank++]));
        if (!accept(c, ',')) {
            if (!accept(c, ')')) return bad_header(c, "',' or ')'");
            break;
        }
    }
    return SOW_OK;
}

static sow_status read_value(cursor *c, const char *key, size_t length, unsigned *seen, header *out) {
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    unsigned which = 0;
    while (which < 3 && (strlen(keys[which]) != length || memcmp(keys[which], key, length) != 0)) which++;
    if (which == 3 || (*seen & 1U << which)) return bad_header(c, "'descr', 'fortran_order' and 'shape', each once");
    *seen |= 1U << which;
    if (which == 2) return read_shape(c, out);
    if (which == 1) {
        if (accept_word(c, "True")) out->fortran = true;
        else if (!accept_word(c, "False")) return bad_header(c, "True or False");
        return SOW_OK;
    }
    const char *descr;
    size_t descr_length;
    SOW_TRY(read_string(c, &descr, &descr_length));
    return read_descr(c->place, descr, descr_length, out);
}

static sow_status read_dictionary(cursor *c, header *out) {
    unsigned seen = 0;
    if (!accept(c, '{')) return bad_header(c, "'{'");
    while (!accept(c, '}')) {
        const char *key;
        size_t length;
        SOW_TRY(read_string(c, &key, &length));
        if (!accept(c, ':')) return bad_header(c, "':'");
        SOW_TRY(read_value(c, key, length, &seen, out));
        if (!accept(c, ',')) {
            if (!accept(c, '}')) return bad_header(c, "',' or '}'");
            break;
        }
    }
    skip_spaces(c);
    if (c->at != c->size) return bad_header(c, "nothing behind '}'");
    return seen == 7 ? SOW_OK : bad_header(c, "all of 'descr', 'fortran_order' and 'shape'");
}

/* ---- reading ---- */

static sow_status read_header(sow_source *source, header *out) {
    uint8_t start[12] = {0};
    char text[HEADER_MAX];
    SOW_TRY(sow_source_need(source, start, 8, "magic number"));
    if (memcmp(start, "\x93NUMPY", 6) != 0) return sow_fail(SOW_E_FORMAT, "%s: does not begin as a .npy file does", source->place);
    if (start[6] < 1 || start[6] > 3 || start[7] != 0)
        return sow_fail(SOW_E_FORMAT, "%s: .npy version %d.%d, versions 1.0, 2.0 and 3.0 are known", source->place, start[6], start[7]);
    SOW_TRY(sow_source_need(source, start + 8, start[6] == 1 ? 2 : 4, "header length"));
    uint32_t length = sow_little32(start + 8);
    if (length > HEADER_MAX) return sow_fail(SOW_E_FORMAT, "%s: a header of %" PRIu32 " bytes, at most %d are read", source->place, length, HEADER_MAX);
    SOW_TRY(sow_source_need(source, text, length, "header"));
    cursor c = {.place = source->place, .text = text, .size = length};
    *out = (header){0};
    return read_dictionary(&c, out);
}

/* Fortran order: the same memory as the reversed shape in C order. */
static sow_tensor describe(void *values, const header *h) {
    if (!h->fortran) return sow_tensor_of(values, h->dtype, h->rank, h->shape);
    int64_t reversed[SOW_RANK_MAX];
    int order[SOW_RANK_MAX];
    for (int i = 0; i < h->rank; i++) reversed[i] = h->shape[h->rank - 1 - i], order[i] = h->rank - 1 - i;
    return sow_permute(sow_tensor_of(values, h->dtype, h->rank, reversed), order);
}

/* Header, and the number of bytes behind it, which must be able to be there. */
static sow_status begin(sow_source *source, header *h, int64_t *count, int64_t *bytes) {
    SOW_TRY(read_header(source, h));
    sow_status status = sow_shape_count(h->rank, h->shape, count);
    if (status == SOW_OK) status = sow_multiply(*count, (int64_t)sow_dtype_size(h->dtype), bytes);
    if (status != SOW_OK) return sow_fail_in(SOW_E_FORMAT, "%s: declared shape", source->place);
    if ((uint64_t)*bytes > sow_source_bound(source))
        return sow_fail(SOW_E_FORMAT, "%s: declares %" PRId64 " bytes of values, at most %" PRIu64 " can be there (truncated?)", source->place, *bytes,
                        sow_source_bound(source));
    return SOW_OK;
}

sow_status sow_npy_read_source(sow_arena *arena, sow_source *source, sow_tensor *out) {
    header h;
    int64_t count, bytes;
    SOW_TRY(begin(source, &h, &count, &bytes));
    void *values = sow_arena_take_raw(arena, (size_t)bytes, 1);
    if (!values) return SOW_E_MEMORY;
    SOW_TRY(sow_source_need(source, values, (size_t)bytes, "values"));
    SOW_TRY(sow_source_finish(source));
    if (h.big_endian) sow_reverse_bytes(values, h.dtype == SOW_C64 ? 2 * count : count, h.dtype == SOW_C64 ? 4 : sow_dtype_size(h.dtype));
    *out = describe(values, &h);
    return SOW_OK;
}

/* The values where they lie in the map. */
static sow_status view(const char *path, const sow_map *map, sow_tensor *out) {
    sow_source source;
    header h = {0};
    int64_t count, bytes = 0;
    SOW_TRY(sow_source_begin(&source, path, map->data, map->size, SOW_PLAIN));
    sow_status status = begin(&source, &h, &count, &bytes);
    size_t at = source.used, size = sow_dtype_size(h.dtype);
    sow_source_end(&source);
    SOW_TRY(status);
    if (map->size - at != (size_t)bytes)
        return sow_fail(SOW_E_FORMAT, "%s: %zu bytes behind the header, its shape takes %" PRId64, path, map->size - at, bytes);
    if (h.big_endian && size > 1) return sow_fail(SOW_E_UNSUPPORTED, "%s: big-endian values cannot be used where they lie", path);
    if (at % (h.dtype == SOW_C64 ? 4 : size)) return sow_fail(SOW_E_UNSUPPORTED, "%s: its values are not aligned in the file", path);
    *out = describe((void *)(uintptr_t)(map->data + at), &h);
    return SOW_OK;
}

sow_status sow_npy_map(const char *path, sow_map *map, sow_tensor *out) {
    SOW_TRY(sow_map_open(path, map));
    sow_status status = view(path, map, out);
    if (status != SOW_OK) sow_map_close(map);
    return status;
}

sow_status sow_npy_read(sow_arena *arena, const char *path, sow_tensor *out) {
    sow_map map;
    sow_source source;
    SOW_TRY(sow_map_open(path, &map));
    sow_status status = sow_source_begin(&source, path, map.data, map.size, SOW_PLAIN);
    if (status == SOW_OK) status = sow_npy_read_source(arena, &source, out);
    sow_source_end(&source);
    sow_map_close(&map);
    return status;
}

/* ---- writing ---- */

sow_status sow_npy_header(const char *place, sow_tensor t, char text[SOW_NPY_HEADER], size_t *size) {
    char shape[256];
    size_t used = 0, which = 0, kinds = sizeof types / sizeof *types;
    while (which < kinds && types[which].dtype != t.dtype) which++;
    if (which == kinds) return sow_fail(SOW_E_TYPE, "%s: NumPy has no dtype for %s: convert to F32 first", place, sow_dtype_name(t.dtype));
    for (int i = 0; i < t.rank; i++) used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%" PRId64, i ? ", " : "", t.shape[i]);
    snprintf(shape + used, sizeof shape - used, t.rank == 1 ? "," : "");
    int length = snprintf(text + 10, SOW_NPY_HEADER - 10, "{'descr': '%c%c%c', 'fortran_order': False, 'shape': (%s), }",
                          sow_dtype_size(t.dtype) == 1 ? '|' : '<', types[which].kind, types[which].size, shape);
    *size = ((size_t)length + 11 + 63) / 64 * 64; /* values begin at a multiple of 64 */
    memset(text + 10 + length, ' ', *size - 10 - (size_t)length);
    text[*size - 1] = '\n';
    memcpy(text, "\x93NUMPY\1\0", 8);
    text[8] = (char)((*size - 10) & 255);
    text[9] = (char)((*size - 10) >> 8);
    return SOW_OK;
}

static sow_status take_bytes(void *writer, const void *data, size_t size) {
    return sow_writer_put(writer, data, size);
}

sow_status sow_npy_write(const char *path, sow_tensor tensor) {
    char text[SOW_NPY_HEADER];
    size_t size;
    sow_writer *writer;
    SOW_TRY(sow_npy_header(path, tensor, text, &size));
    SOW_TRY(sow_writer_open(path, &writer));
    sow_writer_put(writer, text, size);
    sow_gather(tensor, take_bytes, writer);
    return sow_writer_commit(writer);
}
