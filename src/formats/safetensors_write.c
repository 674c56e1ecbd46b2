/* Writing safetensors: the header padded to eight bytes, then the data, every tensor aligned to its element. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gather.h"
#include "sow/safetensors.h"

struct sow_safetensors_writer {
    sow_writer *writer;
    int64_t bytes, put; /* of data: described, and written so far */
    char *path;
};

/* ---- order ---- */

typedef struct described {
    const char *name;
    sow_tensor value;
} described;

/* Larger elements first, then by name: offsets then suit every element size, which PyTorch insists on. */
static int in_file_order(const void *a, const void *b) {
    const described *x = a, *y = b;
    size_t first = sow_dtype_size(x->value.dtype), second = sow_dtype_size(y->value.dtype);
    if (first != second) return first > second ? -1 : 1;
    return strcmp(x->name, y->name);
}

sow_status sow_safetensors_sort(int64_t count, const char **names, sow_tensor *tensors) {
    described *list = sow_reallocate(NULL, ((size_t)count + 1) * sizeof *list);
    if (!list) return SOW_E_MEMORY;
    for (int64_t i = 0; i < count; i++) list[i] = (described){.name = names[i], .value = tensors[i]};
    qsort(list, (size_t)count, sizeof *list, in_file_order);
    for (int64_t i = 0; i < count; i++) names[i] = list[i].name, tensors[i] = list[i].value;
    sow_release(list);
    return SOW_OK;
}

/* ---- header ---- */

static json_t *describe(sow_tensor t, int64_t begin, int64_t end) {
    json_t *shape = json_array();
    for (int i = 0; i < t.rank; i++) json_array_append_new(shape, json_integer(t.shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", sow_dtype_name(t.dtype), "shape", shape, "data_offsets", (json_int_t)begin, (json_int_t)end);
}

/* Where the tensors lie, as JSON; their bytes in total. */
static sow_status describe_all(const char *path, int64_t count, const char *const *names, const sow_tensor *tensors, json_t *header, int64_t *total) {
    *total = 0;
    for (int64_t i = 0; i < count; i++) {
        if (i > 0 && in_file_order(&(described){names[i - 1], tensors[i - 1]}, &(described){names[i], tensors[i]}) >= 0)
            return sow_fail(SOW_E_ARGUMENT, "%s: tensors \"%s\" and \"%s\" are equal in name or not in the file's order (sow_safetensors_sort)",
                            path, names[i - 1], names[i]);
        if (strcmp(names[i], "__metadata__") == 0) return sow_fail(SOW_E_ARGUMENT, "%s: a tensor must not be named __metadata__", path);
        int64_t elements, bytes, end;
        SOW_TRY(sow_shape_count(tensors[i].rank, tensors[i].shape, &elements));
        SOW_TRY(sow_multiply(elements, (int64_t)sow_dtype_size(tensors[i].dtype), &bytes));
        SOW_TRY(sow_add_sizes(*total, bytes, &end));
        if (json_object_set_new(header, names[i], describe(tensors[i], *total, end)) != 0)
            return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\" cannot be described: its name is not UTF-8, or memory is short", path, names[i]);
        *total = end;
    }
    return SOW_OK;
}

static sow_status put_header(sow_writer *writer, const json_t *header) {
    static const char spaces[8] = "        ";
    char *text = json_dumps(header, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text) return sow_fail(SOW_E_MEMORY, "out of memory for a safetensors header");
    size_t length = strlen(text), padding = (8 - length % 8) % 8;
    uint8_t size[8];
    for (int i = 0; i < 8; i++) size[i] = (uint8_t)((uint64_t)(length + padding) >> 8 * i);
    sow_writer_put(writer, size, 8);
    sow_writer_put(writer, text, length);
    sow_status status = sow_writer_put(writer, spaces, padding);
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    release(text);
    return status;
}

/* ---- streaming ---- */

sow_status sow_safetensors_create(const char *path, int64_t count, const char *const *names, const sow_tensor *tensors,
                                  const char *passport, sow_safetensors_writer **out) {
    size_t length = strlen(path) + 1;
    sow_safetensors_writer *writer = sow_reallocate(NULL, sizeof *writer + length);
    json_t *header = json_object();
    if (!writer || !header) {
        sow_release(writer);
        json_decref(header);
        return sow_fail(SOW_E_MEMORY, "%s: out of memory for a safetensors header", path);
    }
    *writer = (sow_safetensors_writer){.path = (char *)(writer + 1)};
    memcpy(writer->path, path, length);
    json_t *metadata = passport ? json_pack("{s:s, s:s}", "format", "pt", "sow", passport) : json_pack("{s:s}", "format", "pt");
    sow_status status = SOW_OK;
    if (json_object_set_new(header, "__metadata__", metadata) != 0) status = sow_fail(SOW_E_FORMAT, "%s: the passport is not UTF-8, or memory is short", path);
    if (status == SOW_OK) status = describe_all(path, count, names, tensors, header, &writer->bytes);
    if (status == SOW_OK) status = sow_writer_open(path, &writer->writer);
    if (status == SOW_OK) status = put_header(writer->writer, header);
    json_decref(header);
    if (status == SOW_OK) *out = writer;
    else sow_safetensors_abort(writer);
    return status;
}

sow_status sow_safetensors_put(sow_safetensors_writer *writer, const void *data, size_t bytes) {
    if (bytes > (uint64_t)(writer->bytes - writer->put))
        return sow_fail(SOW_E_ARGUMENT, "%s: more data than the %" PRId64 " bytes described", writer->path, writer->bytes);
    SOW_TRY(sow_writer_put(writer->writer, data, bytes));
    writer->put += (int64_t)bytes;
    return SOW_OK;
}

sow_status sow_safetensors_commit(sow_safetensors_writer *writer) {
    sow_status status = SOW_OK;
    if (writer->put != writer->bytes)
        status = sow_fail(SOW_E_ARGUMENT, "%s: %" PRId64 " bytes of data came, %" PRId64 " were described", writer->path, writer->put, writer->bytes);
    if (status == SOW_OK) {
        status = sow_writer_commit(writer->writer);
        writer->writer = NULL;
    }
    sow_safetensors_abort(writer);
    return status;
}

void sow_safetensors_abort(sow_safetensors_writer *writer) {
    if (!writer) return;
    sow_writer_abort(writer->writer);
    sow_release(writer);
}

/* ---- states ---- */

static sow_status take_bytes(void *writer, const void *data, size_t size) {
    return sow_safetensors_put(writer, data, size);
}

static sow_status save_sorted(const char *path, int64_t count, const char **names, sow_tensor *tensors, const char *passport) {
    sow_safetensors_writer *writer;
    SOW_TRY(sow_safetensors_sort(count, names, tensors));
    SOW_TRY(sow_safetensors_create(path, count, names, tensors, passport, &writer));
    for (int64_t i = 0; i < count; i++) {
        sow_status status = sow_gather(tensors[i], take_bytes, writer);
        if (status == SOW_OK) continue;
        sow_safetensors_abort(writer);
        return status;
    }
    return sow_safetensors_commit(writer);
}

sow_status sow_save_state(const char *path, const sow_state *state, const char *passport) {
    sow_arena *arena;
    const char **names = NULL;
    sow_tensor *tensors = NULL;
    int64_t count = sow_state_count(state);
    SOW_TRY(sow_arena_new(&arena));
    sow_status status = SOW_NEW(arena, names, count);
    if (status == SOW_OK) status = SOW_NEW(arena, tensors, count);
    if (status == SOW_OK) {
        for (int64_t i = 0; i < count; i++) {
            const sow_entry *entry = sow_state_entry(state, i);
            names[i] = entry->name;
            tensors[i] = entry->value;
        }
        status = save_sorted(path, count, names, tensors, passport);
    }
    sow_arena_free(arena);
    return status;
}
