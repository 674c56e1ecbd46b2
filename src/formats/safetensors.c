/* Reading safetensors: one file or the shards of an index, checked whole, mapped, never copied unless misaligned. */
#include "sow/safetensors.h"
#include "sow/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"

enum { HEADER_MAX = 100000000, INDEX_MAX = 100000000, SHARDS_MAX = 10000, FOLDER_MAX = 100000 };

/* One tensor of one shard; begin and end count bytes from the first one behind that shard's header. */
typedef struct stored {
    const char *name;
    sow_tensor value;
    int64_t begin, end, shard;
} stored;

typedef struct shard {
    const char *path;
    sow_map map;
} shard;

typedef struct pair {
    const char *key, *value;
} pair;

struct sow_safetensors {
    sow_arena *arena;
    const char *path; /* as given */
    shard *shards;
    int64_t shard_count;
    stored *tensors; /* in the order of the data, shard after shard */
    int64_t count, capacity;
    stored **by_name;
    pair *metadata;
    int64_t metadata_count;
};

/* ---- the header of one file ---- */

/* "[2, 3]" as a shape, or SOW_E_FORMAT. */
static sow_status read_shape(const char *path, const char *name, const json_t *shape, sow_dtype dtype, sow_tensor *out) {
    int64_t dimensions[SOW_RANK_MAX];
    size_t rank = json_array_size(shape);
    if (!json_is_array(shape)) return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\": no array \"shape\"", path, name);
    if (rank > SOW_RANK_MAX)
        return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\": %zu dimensions, at most %d are read", path, name, rank, SOW_RANK_MAX);
    for (size_t i = 0; i < rank; i++) {
        const json_t *size = json_array_get(shape, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\": shape[%zu] is not a non-negative integer", path, name, i);
        dimensions[i] = json_integer_value(size);
    }
    int64_t count;
    sow_status status = sow_shape_count((int)rank, dimensions, &count);
    if (status != SOW_OK) return sow_fail_in(SOW_E_FORMAT, "%s: tensor \"%s\"", path, name);
    *out = sow_tensor_of(NULL, dtype, (int)rank, dimensions);
    return SOW_OK;
}

static bool read_offsets(const json_t *offsets, int64_t *begin, int64_t *end) {
    const json_t *first = json_array_get(offsets, 0), *second = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(second)) return false;
    *begin = json_integer_value(first);
    *end = json_integer_value(second);
    return *begin >= 0 && *begin <= *end;
}

/* One entry of the header: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}. */
static sow_status read_entry(const char *path, const char *name, json_t *entry, int64_t data_size, stored *out) {
    if (!json_is_object(entry)) return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\": described by something else than an object", path, name);
    const char *key;
    json_t *value;
    json_object_foreach(entry, key, value) if (strcmp(key, "dtype") && strcmp(key, "shape") && strcmp(key, "data_offsets"))
        return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\": unknown key \"%s\"", path, name, key);
    const char *dtype_name = json_string_value(json_object_get(entry, "dtype"));
    sow_dtype dtype;
    if (!dtype_name) return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\": no string \"dtype\"", path, name);
    sow_status status = sow_dtype_parse(dtype_name, &dtype);
    if (status != SOW_OK) return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\": unknown dtype \"%s\"", path, name, dtype_name);
    SOW_TRY(read_shape(path, name, json_object_get(entry, "shape"), dtype, &out->value));
    if (!read_offsets(json_object_get(entry, "data_offsets"), &out->begin, &out->end))
        return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\": \"data_offsets\" are not two ascending integers", path, name);

    int64_t bytes;
    status = sow_multiply(sow_count(out->value), (int64_t)sow_dtype_size(dtype), &bytes);
    char shape[SOW_SHAPE_TEXT];
    if (status != SOW_OK || bytes != out->end - out->begin)
        return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\": its data_offsets hold %" PRId64 " bytes, %s of %s needs %s%" PRId64, path, name,
                        out->end - out->begin, sow_shape_text(out->value, shape), dtype_name, status == SOW_OK ? "" : "more than ",
                        status == SOW_OK ? bytes : INT64_MAX);
    if (out->end > data_size)
        return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\": ends at byte %" PRId64 " of the data, the file holds %" PRId64 " (truncated?)", path,
                        name, out->end, data_size);
    return SOW_OK;
}

static sow_status read_metadata(sow_safetensors *file, const char *path, json_t *metadata) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) return sow_fail(SOW_E_FORMAT, "%s: \"__metadata__\" is not an object", path);
    json_object_foreach(metadata, key, value) if (!json_is_string(value))
        return sow_fail(SOW_E_FORMAT, "%s: \"__metadata__\": the value of \"%s\" is not a string", path, key);
    if (file->metadata) return SOW_OK; /* of several shards the first one's counts */
    SOW_TRY(SOW_NEW(file->arena, file->metadata, json_object_size(metadata)));
    json_object_foreach(metadata, key, value) {
        pair *p = &file->metadata[file->metadata_count];
        if (!(p->key = sow_arena_copy(file->arena, key))) return SOW_E_MEMORY;
        if (!(p->value = sow_arena_copy(file->arena, json_string_value(value)))) return SOW_E_MEMORY;
        file->metadata_count++;
    }
    return SOW_OK;
}

static int by_offset(const void *a, const void *b) {
    const stored *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* The data must be covered from its first byte to its last, each byte by one tensor. */
static sow_status check_coverage(const char *path, const stored *tensors, int64_t count, int64_t data_size) {
    int64_t reached = 0;
    for (int64_t i = 0; i < count; i++) {
        const stored *t = &tensors[i];
        if (t->begin > reached)
            return sow_fail(SOW_E_FORMAT, "%s: %" PRId64 " bytes at offset %" PRId64 " belong to no tensor (before \"%s\")", path,
                            t->begin - reached, reached, t->name);
        if (t->begin < reached)
            return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\" begins at byte %" PRId64 ", inside of \"%s\"", path, t->name, t->begin, tensors[i - 1].name);
        reached = t->end;
    }
    if (reached == data_size) return SOW_OK;
    return sow_fail(SOW_E_FORMAT, "%s: %" PRId64 " bytes behind the last tensor, none expected", path, data_size - reached);
}

/* Room for `more` tensors; the table doubles, so that many small shards cost no more than one large. */
static sow_status grow_table(sow_safetensors *file, int64_t more) {
    int64_t wanted = file->count + more;
    if (file->tensors && wanted <= file->capacity) return SOW_OK;
    stored *table;
    int64_t capacity = wanted > 2 * file->capacity ? wanted : 2 * file->capacity;
    SOW_TRY(SOW_NEW(file->arena, table, capacity));
    if (file->count > 0) memcpy(table, file->tensors, (size_t)file->count * sizeof *table);
    file->tensors = table;
    file->capacity = capacity;
    return SOW_OK;
}

/* Appends the tensors of the parsed header to the file's table. */
static sow_status read_header(sow_safetensors *file, int64_t shard_index, json_t *header, const uint8_t *data, int64_t data_size) {
    const char *path = file->shards[shard_index].path, *key;
    json_t *value;
    if (!json_is_object(header)) return sow_fail(SOW_E_FORMAT, "%s: the header is not a JSON object", path);
    json_t *metadata = json_object_get(header, "__metadata__");
    if (metadata) SOW_TRY(read_metadata(file, path, metadata));

    int64_t count = (int64_t)json_object_size(header) - (metadata != NULL), n = 0;
    SOW_TRY(grow_table(file, count));
    stored *fresh = file->tensors + file->count;
    json_object_foreach(header, key, value) {
        if (value == metadata) continue;
        stored *t = &fresh[n++];
        if (!(t->name = sow_arena_copy(file->arena, key))) return SOW_E_MEMORY;
        SOW_TRY(read_entry(path, t->name, value, data_size, t));
        t->shard = shard_index;
        t->value.data = (void *)(uintptr_t)(data + t->begin); /* read-only memory */
    }
    qsort(fresh, (size_t)count, sizeof *fresh, by_offset);
    SOW_TRY(check_coverage(path, fresh, count, data_size));
    file->count += count;
    return SOW_OK;
}

/* Maps and checks one file: eight bytes of header length, the header, the data. */
static sow_status open_shard(sow_safetensors *file, int64_t index) {
    shard *s = &file->shards[index];
    SOW_TRY(sow_map_open(s->path, &s->map));
    if (s->map.size < 8) return sow_fail(SOW_E_FORMAT, "%s: %zu bytes, a safetensors file has at least 8 (truncated?)", s->path, s->map.size);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) length = length << 8 | s->map.data[i];
    if (length > HEADER_MAX)
        return sow_fail(SOW_E_FORMAT, "%s: a header of %" PRIu64 " bytes, at most %d are allowed (is it a safetensors file?)", s->path, length, HEADER_MAX);
    if (length > s->map.size - 8)
        return sow_fail(SOW_E_FORMAT, "%s: a header of %" PRIu64 " bytes in a file of %zu (truncated?)", s->path, length, s->map.size);
    const char *text = (const char *)s->map.data + 8;
    if (length == 0 || text[0] != '{') return sow_fail(SOW_E_FORMAT, "%s: the header does not begin with \"{\" (is it a safetensors file?)", s->path);

    char place[1024];
    json_t *header;
    snprintf(place, sizeof place, "%s: header", s->path);
    SOW_TRY(sow_json_parse(place, text, (size_t)length, (sow_json_limits){.depth = 3, .array_length = SOW_RANK_MAX}, &header));
    int64_t data_size = (int64_t)(s->map.size - 8 - length);
    sow_status status = read_header(file, index, header, s->map.data + 8 + length, data_size);
    json_decref(header);
    return status;
}

/* ---- names ---- */

static int by_name(const void *a, const void *b) {
    const stored *x = *(stored *const *)a, *y = *(stored *const *)b;
    return strcmp(x->name, y->name);
}

static sow_status sort_names(sow_safetensors *file) {
    SOW_TRY(SOW_NEW(file->arena, file->by_name, file->count));
    for (int64_t i = 0; i < file->count; i++) file->by_name[i] = &file->tensors[i];
    qsort(file->by_name, (size_t)file->count, sizeof *file->by_name, by_name);
    for (int64_t i = 1; i < file->count; i++) {
        const stored *a = file->by_name[i - 1], *b = file->by_name[i];
        if (strcmp(a->name, b->name) == 0)
            return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\" is in %s too", file->shards[b->shard].path, b->name, file->shards[a->shard].path);
    }
    return SOW_OK;
}

static stored *find(const sow_safetensors *file, const char *name) {
    int64_t low = 0, high = file->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(name, file->by_name[middle]->name);
        if (order == 0) return file->by_name[middle];
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

/* ---- the index of a sharded checkpoint ---- */

/* A shard is a plain file name: an index never leads out of its folder. */
static bool is_plain_name(const char *name) {
    return name[0] != 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !strchr(name, '/') && !strchr(name, '\\');
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The shards that the map names, each once, sorted by name, as paths in the index's folder. */
static sow_status collect_shards(sow_safetensors *file, const char *path, json_t *map) {
    const char *name, **names;
    json_t *value;
    int64_t count = 0;
    sow_arena *arena = file->arena;
    char *folder = sow_arena_format(arena, "%.*s", (int)(sow_path_name(path) - path), path);
    if (!folder) return SOW_E_MEMORY;
    SOW_TRY(SOW_NEW(arena, names, json_object_size(map)));
    json_object_foreach(map, name, value) {
        const char *shard_name = json_string_value(value);
        if (!shard_name || !is_plain_name(shard_name))
            return sow_fail(SOW_E_FORMAT, "%s: the file of tensor \"%s\" is not a plain file name: \"%s\"", path, name, shard_name ? shard_name : "");
        names[count++] = shard_name;
    }
    qsort(names, (size_t)count, sizeof *names, by_text);
    SOW_TRY(SOW_NEW(arena, file->shards, count < SHARDS_MAX ? count : SHARDS_MAX));
    for (int64_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(names[i], names[i - 1]) == 0) continue;
        if (file->shard_count == SHARDS_MAX) return sow_fail(SOW_E_FORMAT, "%s: names more than %d shards", path, SHARDS_MAX);
        char *shard_path = sow_arena_format(arena, "%s%s", folder, names[i]);
        if (!shard_path) return SOW_E_MEMORY;
        file->shards[file->shard_count++].path = shard_path;
    }
    return SOW_OK;
}

static sow_status open_weight_map(sow_safetensors *file, const char *path, json_t *map) {
    const char *name;
    json_t *value;
    if (!json_is_object(map)) return sow_fail(SOW_E_FORMAT, "%s: no object \"weight_map\"", path);
    SOW_TRY(collect_shards(file, path, map));
    for (int64_t i = 0; i < file->shard_count; i++) {
        sow_status status = open_shard(file, i);
        if (status == SOW_E_NOT_FOUND) return sow_fail_in(status, "%s", path);
        SOW_TRY(status);
    }
    SOW_TRY(sort_names(file));
    json_object_foreach(map, name, value) {
        const stored *t = find(file, name);
        if (!t || strcmp(sow_path_name(file->shards[t->shard].path), json_string_value(value)) != 0)
            return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\" is said to be in %s, but is not there", path, name, json_string_value(value));
    }
    if ((size_t)file->count == json_object_size(map)) return SOW_OK;
    for (int64_t i = 0; i < file->count; i++)
        if (!json_object_get(map, file->tensors[i].name))
            return sow_fail(SOW_E_FORMAT, "%s: tensor \"%s\" of %s is missing in the index", path, file->tensors[i].name,
                            file->shards[file->tensors[i].shard].path);
    return SOW_OK;
}

static sow_status open_index(sow_safetensors *file, const char *path) {
    char *text;
    size_t size;
    json_t *index;
    sow_mark mark = sow_arena_mark(file->arena);
    SOW_TRY(sow_read_file(file->arena, path, INDEX_MAX, &text, &size));
    SOW_TRY(sow_json_parse(path, text, size, (sow_json_limits){.depth = 8}, &index));
    sow_arena_release(file->arena, mark);
    sow_status status = open_weight_map(file, path, json_object_get(index, "weight_map"));
    json_decref(index);
    return status;
}

static sow_status open_single(sow_safetensors *file, const char *path) {
    SOW_TRY(SOW_NEW(file->arena, file->shards, 1));
    file->shard_count = 1;
    if (!(file->shards[0].path = sow_arena_copy(file->arena, path))) return SOW_E_MEMORY;
    SOW_TRY(open_shard(file, 0));
    return sort_names(file);
}

/* model.safetensors, else its index, else the folder's only .safetensors file (adapters and others name it so). */
static sow_status open_folder(sow_safetensors *file, const char *folder) {
    char **names, *path;
    int64_t count, found = -1;
    if (!(path = sow_path_join(file->arena, folder, "model.safetensors"))) return SOW_E_MEMORY;
    if (sow_path_exists(path)) return open_single(file, path);
    if (!(path = sow_path_join(file->arena, folder, "model.safetensors.index.json"))) return SOW_E_MEMORY;
    if (sow_path_exists(path)) return open_index(file, path);
    SOW_TRY(sow_list_folder(file->arena, folder, FOLDER_MAX, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        if (!sow_ends_with(names[i], ".safetensors")) continue;
        if (found >= 0)
            return sow_fail(SOW_E_ARGUMENT, "%s: holds %s and %s but no model.safetensors and no index: name the file", folder, names[found], names[i]);
        found = i;
    }
    if (found < 0) return sow_fail(SOW_E_NOT_FOUND, "%s: no model.safetensors and no model.safetensors.index.json in this folder", folder);
    if (!(path = sow_path_join(file->arena, folder, names[found]))) return SOW_E_MEMORY;
    return open_single(file, path);
}

sow_status sow_safetensors_open(const char *path, sow_safetensors **out) {
    sow_arena *arena;
    sow_safetensors *file;
    sow_status status;
    *out = NULL;
    SOW_TRY(SOW_OWN(arena, file));
    file->arena = arena;
    if (!(file->path = sow_arena_copy(arena, path))) status = SOW_E_MEMORY;
    else if (sow_is_folder(path)) status = open_folder(file, path);
    else if (sow_ends_with(path, ".json")) status = open_index(file, path);
    else status = open_single(file, path);
    if (status == SOW_OK) *out = file;
    else sow_safetensors_close(file);
    return status;
}

void sow_safetensors_close(sow_safetensors *file) {
    if (!file) return;
    for (int64_t i = 0; i < file->shard_count; i++) sow_map_close(&file->shards[i].map);
    sow_arena_free(file->arena);
}

/* ---- access ---- */

int64_t sow_safetensors_count(const sow_safetensors *file) {
    return file->count;
}

/* Files of other writers may place a tensor at an address that its type does not allow: that one is copied, once. */
static sow_tensor aligned(const sow_safetensors *file, stored *t) {
    if ((uintptr_t)t->value.data % sow_dtype_size(t->value.dtype) != 0) {
        size_t bytes = (size_t)(t->end - t->begin);
        void *copy = sow_arena_take_raw(file->arena, bytes, 1);
        if (!copy) return (sow_tensor){.dtype = t->value.dtype};
        t->value.data = memcpy(copy, t->value.data, bytes);
    }
    return t->value;
}

sow_tensor sow_safetensors_tensor(const sow_safetensors *file, int64_t i, const char **name) {
    if (name) *name = file->tensors[i].name;
    return aligned(file, &file->tensors[i]);
}

sow_status sow_safetensors_find(const sow_safetensors *file, const char *name, sow_tensor *out) {
    stored *t = find(file, name);
    if (!t) return sow_fail(SOW_E_NOT_FOUND, "%s: no tensor \"%s\"", file->path, name);
    *out = aligned(file, t);
    return out->data ? SOW_OK : SOW_E_MEMORY;
}

const char *sow_safetensors_metadata(const sow_safetensors *file, const char *key) {
    for (int64_t i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i].key, key) == 0) return file->metadata[i].value;
    return NULL;
}

/* ---- states ---- */

sow_status sow_safetensors_view(const sow_safetensors *file, sow_state **out) {
    sow_state *state;
    SOW_TRY(sow_state_new(&state));
    sow_status status = SOW_OK;
    for (int64_t i = 0; i < file->count && status == SOW_OK; i++) {
        sow_tensor value = aligned(file, &file->tensors[i]);
        sow_entry *entry;
        status = value.data ? sow_state_add_view(state, file->tensors[i].name, value, &entry) : SOW_E_MEMORY;
    }
    if (status == SOW_OK) *out = state;
    else sow_state_free(state);
    return status;
}

static sow_status copy_state(const sow_safetensors *file, sow_state *state) {
    for (int64_t i = 0; i < file->count; i++) {
        const stored *t = &file->tensors[i];
        sow_entry *entry;
        SOW_TRY(sow_state_add(state, t->name, t->value.dtype, t->value.rank, t->value.shape, &entry));
        if (t->end > t->begin) memcpy(entry->value.data, t->value.data, (size_t)(t->end - t->begin));
    }
    return SOW_OK;
}

sow_status sow_load_state(const char *path, sow_state **out) {
    sow_safetensors *file;
    sow_state *state = NULL;
    SOW_TRY(sow_safetensors_open(path, &file));
    sow_status status = sow_state_new(&state);
    if (status == SOW_OK) status = copy_state(file, state);
    sow_safetensors_close(file);
    if (status == SOW_OK) *out = state;
    else sow_state_free(state);
    return status;
}

sow_status sow_load_into(const char *path, sow_state *state) {
    sow_safetensors *file;
    sow_state *view = NULL;
    SOW_TRY(sow_safetensors_open(path, &file));
    sow_status status = sow_safetensors_view(file, &view);
    if (status == SOW_OK) {
        status = sow_state_assign(state, view);
        if (status != SOW_OK) sow_fail_in(status, "%s", path);
        sow_state_free(view);
    }
    sow_safetensors_close(file);
    return status;
}
