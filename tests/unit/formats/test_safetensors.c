/* Safetensors: what is written is read back, and a file that lies is refused with its place. */
#include "check.h"

#include <math.h>

/* A file of eight bytes of length, the header and `data_size` bytes 0, 1, 2 ... */
static const char *raw(const char *name, const char *header, size_t data_size) {
    const char *path = in_folder(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    uint64_t length = strlen(header);
    fwrite(&length, 8, 1, file);
    fwrite(header, 1, length, file);
    for (size_t i = 0; i < data_size; i++) fputc((int)(i & 255), file);
    assert_int_equal(fclose(file), 0);
    return path;
}

static void refused_path(const char *path, sow_status expected, const char *says) {
    sow_safetensors *file;
    sow_status status = sow_safetensors_open(path, &file);
    if (status == SOW_OK) fail_msg("accepted: %s", says);
    assert_null(file);
    if (!strstr(sow_message(), says)) fail_msg("\"%s\" does not say \"%s\"", sow_message(), says);
    if (!strstr(sow_message(), sow_path_name(path))) fail_msg("\"%s\" does not name %s", sow_message(), path);
    assert_int_equal(status, expected);
}

static void refused(const char *header, size_t data_size, const char *says) {
    refused_path(raw("refused.safetensors", header, data_size), SOW_E_FORMAT, says);
}

static int set_up(void **unused) {
    return make_test_folder();
}

static sow_state *small_state(void) {
    sow_state *state;
    sow_entry *entry;
    assert_int_equal(sow_state_new(&state), SOW_OK);
    assert_int_equal(sow_state_add(state, "fc1.weight", SOW_F32, 2, (int64_t[]){2, 3}, &entry), SOW_OK);
    for (int i = 0; i < 6; i++) sow_put(entry->value, i, 0.5 * i);
    assert_int_equal(sow_state_add(state, "fc1.bias", SOW_F32, 1, (int64_t[]){3}, &entry), SOW_OK);
    sow_put(entry->value, 2, -7);
    assert_int_equal(sow_state_add(state, "mask", SOW_U8, 1, (int64_t[]){3}, &entry), SOW_OK);
    assert_int_equal(sow_state_add(state, "bn.num_batches_tracked", SOW_I64, 0, NULL, &entry), SOW_OK);
    sow_put(entry->value, 0, 12);
    return state;
}

static void state_comes_back(void **unused) {
    sow_state *state = small_state(), *back;
    const char *path = in_folder("state.safetensors");
    assert_int_equal(sow_save_state(path, state, "{\"seed\":7}"), SOW_OK);
    assert_int_equal(sow_load_state(path, &back), SOW_OK);
    assert_int_equal(sow_state_count(back), 4);
    sow_entry *weight = sow_state_find(back, "fc1.weight");
    assert_non_null(weight);
    assert_int_equal(weight->value.rank, 2);
    assert_int_equal(weight->value.shape[1], 3);
    for (int i = 0; i < 6; i++) assert_true(sow_at(weight->value, i) == 0.5 * i);
    assert_true(sow_at(sow_state_find(back, "fc1.bias")->value, 2) == -7);
    assert_true(sow_at(sow_state_find(back, "bn.num_batches_tracked")->value, 0) == 12);
    sow_state_free(back);
    sow_state_free(state);
}

static void header_is_padded_and_sorted_and_carries_the_passport(void **unused) {
    sow_state *state = small_state();
    sow_safetensors *file;
    const char *path = in_folder("order.safetensors");
    static const char *const order[] = {"bn.num_batches_tracked", "fc1.bias", "fc1.weight", "mask"};
    assert_int_equal(sow_save_state(path, state, "{\"seed\":7}"), SOW_OK);
    assert_int_equal(sow_safetensors_open(path, &file), SOW_OK);
    assert_string_equal(sow_safetensors_metadata(file, "format"), "pt");
    assert_string_equal(sow_safetensors_metadata(file, "sow"), "{\"seed\":7}");
    assert_null(sow_safetensors_metadata(file, "absent"));
    for (int i = 0; i < 4; i++) {
        const char *name;
        sow_tensor t = sow_safetensors_tensor(file, i, &name);
        assert_string_equal(name, order[i]);
        assert_int_equal((uintptr_t)t.data % sow_dtype_size(t.dtype), 0);
    }
    sow_tensor t;
    assert_int_equal(sow_safetensors_find(file, "fc2.weight", &t), SOW_E_NOT_FOUND);
    sow_safetensors_close(file);
    FILE *bytes = fopen(path, "rb");
    uint64_t length;
    assert_int_equal(fread(&length, 8, 1, bytes), 1);
    assert_int_equal(length % 8, 0);
    fclose(bytes);
    sow_state_free(state);
}

static void same_state_gives_the_same_bytes_whatever_the_order_of_entries(void **unused) {
    sow_state *states[2];
    sow_entry *entry;
    char sums[2][65];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sow_state_new(&states[i]), SOW_OK);
        for (int j = 0; j < 2; j++)
            assert_int_equal(sow_state_add(states[i], (i + j) % 2 ? "a" : "b", SOW_F32, 1, (int64_t[]){4}, &entry), SOW_OK);
        assert_int_equal(sow_save_state(in_folder("same"), states[i], NULL), SOW_OK);
        assert_int_equal(sow_sha256_file(in_folder("same"), sums[i]), SOW_OK);
        sow_state_free(states[i]);
    }
    assert_string_equal(sums[0], sums[1]);
}

/* A weight kept as [in, out] is larger than one gather step, so the cut between steps is seen too. */
static void transposed_tensors_are_written_in_logical_order(void **unused) {
    enum { OUT = 300, IN = 257 };
    static float memory[IN * OUT];
    sow_state *state, *back;
    sow_entry *entry;
    for (int i = 0; i < IN * OUT; i++) memory[i] = (float)i;
    sow_tensor stored = SOW_TENSOR(memory, SOW_F32, IN, OUT);
    assert_int_equal(sow_state_new(&state), SOW_OK);
    assert_int_equal(sow_state_add_view(state, "w", sow_transpose(stored), &entry), SOW_OK);
    assert_int_equal(sow_save_state(in_folder("t.safetensors"), state, NULL), SOW_OK);
    assert_int_equal(sow_load_state(in_folder("t.safetensors"), &back), SOW_OK);
    const float *logical = sow_state_find(back, "w")->value.data;
    for (int o = 0; o < OUT; o++)
        for (int i = 0; i < IN; i++)
            if (logical[o * IN + i] != (float)(i * OUT + o)) fail_msg("element [%d, %d] is %g", o, i, (double)logical[o * IN + i]);
    sow_state_free(back);
    sow_state_free(state);
}

static void every_dtype_comes_back(void **unused) {
    sow_state *state, *back;
    sow_entry *entry;
    char name[32];
    assert_int_equal(sow_state_new(&state), SOW_OK);
    for (int d = 0; d < SOW_DTYPES; d++) {
        snprintf(name, sizeof name, "t%d", d);
        assert_int_equal(sow_state_add(state, name, (sow_dtype)d, 1, (int64_t[]){5}, &entry), SOW_OK);
        memset(entry->value.data, d + 1, sow_bytes(entry->value));
    }
    assert_int_equal(sow_save_state(in_folder("d.safetensors"), state, NULL), SOW_OK);
    assert_int_equal(sow_load_state(in_folder("d.safetensors"), &back), SOW_OK);
    for (int d = 0; d < SOW_DTYPES; d++) {
        snprintf(name, sizeof name, "t%d", d);
        sow_entry *a = sow_state_find(state, name), *b = sow_state_find(back, name);
        assert_int_equal(b->value.dtype, d);
        assert_memory_equal(a->value.data, b->value.data, sow_bytes(a->value));
    }
    sow_state_free(back);
    sow_state_free(state);
}

static void empty_files_and_empty_tensors_are_files(void **unused) {
    sow_state *state, *back;
    sow_entry *entry;
    assert_int_equal(sow_state_new(&state), SOW_OK);
    assert_int_equal(sow_save_state(in_folder("none.safetensors"), state, NULL), SOW_OK);
    assert_int_equal(sow_load_state(in_folder("none.safetensors"), &back), SOW_OK);
    assert_int_equal(sow_state_count(back), 0);
    sow_state_free(back);
    assert_int_equal(sow_state_add(state, "empty", SOW_F32, 2, (int64_t[]){0, 3}, &entry), SOW_OK);
    assert_int_equal(sow_save_state(in_folder("none.safetensors"), state, NULL), SOW_OK);
    assert_int_equal(sow_load_state(in_folder("none.safetensors"), &back), SOW_OK);
    assert_int_equal(sow_state_entry(back, 0)->value.shape[1], 3);
    sow_state_free(back);
    sow_state_free(state);
}

static void misaligned_tensors_are_copied(void **unused) {
    sow_safetensors *file;
    sow_tensor t;
    /* The header's length of 119 leaves the data at an odd address. */
    const char *path = raw("odd.safetensors",
                           "{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                           "\"f\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}} ", 9);
    assert_int_equal(sow_safetensors_open(path, &file), SOW_OK);
    assert_int_equal(sow_safetensors_find(file, "f", &t), SOW_OK);
    assert_int_equal((uintptr_t)t.data % 4, 0);
    assert_memory_equal(t.data, "\1\2\3\4\5\6\7\10", 8);
    sow_safetensors_close(file);
}

#define F32_PAIR "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"

static void truncated_and_oversized_files_are_refused(void **unused) {
    FILE *file = fopen(in_folder("short.safetensors"), "wb");
    fwrite("abc", 1, 3, file);
    fclose(file);
    refused_path(in_folder("short.safetensors"), SOW_E_FORMAT, "3 bytes, a safetensors file has at least 8");
    uint64_t length = 100000001;
    file = fopen(in_folder("long.safetensors"), "wb");
    fwrite(&length, 8, 1, file);
    fclose(file);
    refused_path(in_folder("long.safetensors"), SOW_E_FORMAT, "a header of 100000001 bytes, at most 100000000");
    length = 50;
    file = fopen(in_folder("cut.safetensors"), "wb");
    fwrite(&length, 8, 1, file);
    fwrite("{}", 1, 2, file);
    fclose(file);
    refused_path(in_folder("cut.safetensors"), SOW_E_FORMAT, "a header of 50 bytes in a file of 10");
    refused("{\"a\":{" F32_PAIR "}}", 7, "\"a\": ends at byte 8 of the data, the file holds 7");
    refused("{\"a\":{" F32_PAIR "}}", 9, "1 bytes behind the last tensor");
    refused_path(in_folder("absent.safetensors"), SOW_E_NOT_FOUND, "cannot be opened");
}

static void overlaps_gaps_and_duplicates_are_refused(void **unused) {
    refused("{\"a\":{" F32_PAIR "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[7,11]}}", 11, "\"b\" begins at byte 7, inside of \"a\"");
    refused("{\"a\":{" F32_PAIR "},\"b\":{" F32_PAIR "}}", 8, "inside of");
    refused("{\"a\":{" F32_PAIR "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[9,13]}}", 13, "1 bytes at offset 8 belong to no tensor (before \"b\")");
    refused("{\"a\":{" F32_PAIR "},\"a\":{" F32_PAIR "}}", 8, "duplicate object key");
    refused("{\"a\":{\"dtype\":\"F32\"," F32_PAIR "}}", 8, "duplicate object key");
}

static void mistyped_headers_are_refused(void **unused) {
    refused("[]", 0, "does not begin with \"{\"");
    refused("{", 0, "not valid JSON");
    refused("{} {}", 0, "not valid JSON");
    refused("{\"a\":3}", 0, "\"a\": described by something else");
    refused("{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "no string \"dtype\"");
    refused("{\"a\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "unknown dtype \"F31\"");
    refused("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "no array \"shape\"");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, "shape[0] is not a non-negative integer");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "shape[0] is not a non-negative integer");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "not two ascending integers");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "not two ascending integers");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "hold 8 bytes, [3] of F32 needs 12");
    refused("{\"a\":{" F32_PAIR ",\"stride\":[1]}}", 8, "unknown key \"stride\"");
    refused("{\"__metadata__\":{\"step\":3}}", 0, "the value of \"step\" is not a string");
    refused("{\"__metadata__\":[]}", 0, "\"__metadata__\" is not an object");
    refused("{\"a\\u0000b\":{" F32_PAIR "}}", 8, "not valid JSON");
    refused("{\"a\377\":{" F32_PAIR "}}", 8, "not valid JSON");
}

static void lying_sizes_are_refused(void **unused) {
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", 0, "\"a\"");
    refused("{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}", 0, "\"a\"");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[0,4611686018427387904,4],\"data_offsets\":[0,0]}}", 0, "\"a\""); /* strides would overflow */
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0, "not valid JSON");
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, "more than 8 elements");
}

static void deep_and_bracketed_headers_are_refused_before_they_cost_memory(void **unused) {
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES + 1);
    memset(text, '[', BYTES);
    text[0] = '{', text[BYTES] = 0;
    refused(text, 0, "nested more than 3 deep");
    memcpy(text, "{\"a\":", 5);
    for (int i = 5; i + 2 < BYTES; i += 3) memcpy(text + i, "[],", 3);
    refused(text, 0, "little but brackets");
    free(text);
}

/* ---- shards ---- */

static const char *index_of(const char *map) {
    static char text[2048];
    snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":16},\"weight_map\":{%s}}", map);
    const char *path = in_folder("model.safetensors.index.json");
    assert_int_equal(sow_write_file(path, text, strlen(text)), SOW_OK);
    return path;
}

static void shards_are_one_file(void **unused) {
    sow_safetensors *file;
    sow_tensor t;
    raw("m-1.safetensors", "{\"a\":{" F32_PAIR "}}", 8);
    raw("m-2.safetensors", "{\"b\":{" F32_PAIR "}}", 8);
    index_of("\"b\":\"m-2.safetensors\",\"a\":\"m-1.safetensors\"");
    assert_int_equal(sow_safetensors_open(test_folder, &file), SOW_OK);
    assert_int_equal(sow_safetensors_count(file), 2);
    assert_int_equal(sow_safetensors_find(file, "b", &t), SOW_OK);
    assert_memory_equal(t.data, "\0\1\2\3\4\5\6\7", 8);
    sow_safetensors_close(file);
}

static void lying_indexes_are_refused(void **unused) {
    refused_path(index_of("\"a\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\""), SOW_E_FORMAT, "\"c\" is said to be in m-2.safetensors");
    refused_path(index_of("\"a\":\"m-2.safetensors\",\"b\":\"m-1.safetensors\""), SOW_E_FORMAT, "is said to be in");
    refused_path(index_of("\"a\":\"../m-1.safetensors\""), SOW_E_FORMAT, "not a plain file name");
    refused_path(index_of("\"a\":\"/etc/passwd\""), SOW_E_FORMAT, "not a plain file name");
    refused_path(index_of("\"a\":\"..\""), SOW_E_FORMAT, "not a plain file name");
    refused_path(index_of("\"a\":7"), SOW_E_FORMAT, "not a plain file name");
    refused_path(index_of("\"a\":\"m-9.safetensors\""), SOW_E_NOT_FOUND, "m-9.safetensors");
    raw("m-3.safetensors", "{\"a\":{" F32_PAIR "},\"d\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]}}", 9);
    refused_path(index_of("\"a\":\"m-3.safetensors\""), SOW_E_FORMAT, "\"d\" of");
    sow_safetensors *file;
    assert_int_equal(sow_safetensors_open(index_of("\"a\":\"m-1.safetensors\",\"d\":\"m-3.safetensors\""), &file), SOW_E_FORMAT);
    assert_non_null(strstr(sow_message(), "tensor \"a\" is in"));
}

/* ---- streaming ---- */

static void streamed_files_equal_saved_ones(void **unused) {
    sow_state *state = small_state();
    sow_safetensors_writer *writer;
    const char *names[4];
    sow_tensor tensors[4];
    char sums[2][65];
    for (int i = 0; i < 4; i++) {
        sow_entry *entry = sow_state_entry(state, i);
        names[i] = entry->name, tensors[i] = entry->value;
    }
    assert_int_equal(sow_safetensors_create(in_folder("s1"), 4, names, tensors, NULL, &writer), SOW_E_ARGUMENT);
    assert_int_equal(sow_safetensors_sort(4, names, tensors), SOW_OK);
    assert_int_equal(sow_safetensors_create(in_folder("s1"), 4, names, tensors, NULL, &writer), SOW_OK);
    for (int i = 0; i < 4; i++) {
        const char *bytes = tensors[i].data;
        for (size_t j = 0; j < sow_bytes(tensors[i]); j++) assert_int_equal(sow_safetensors_put(writer, bytes + j, 1), SOW_OK);
    }
    assert_int_equal(sow_safetensors_put(writer, "", 1), SOW_E_ARGUMENT);
    assert_int_equal(sow_safetensors_commit(writer), SOW_OK);
    assert_int_equal(sow_save_state(in_folder("s2"), state, NULL), SOW_OK);
    assert_int_equal(sow_sha256_file(in_folder("s1"), sums[0]), SOW_OK);
    assert_int_equal(sow_sha256_file(in_folder("s2"), sums[1]), SOW_OK);
    assert_string_equal(sums[0], sums[1]);

    assert_int_equal(sow_safetensors_create(in_folder("s3"), 4, names, tensors, NULL, &writer), SOW_OK);
    assert_int_equal(sow_safetensors_commit(writer), SOW_E_ARGUMENT);
    assert_non_null(strstr(sow_message(), "0 bytes of data came, 47 were described"));
    assert_false(sow_path_exists(in_folder("s3")));
    sow_state_free(state);
}

static void loading_into_a_state_names_what_does_not_fit(void **unused) {
    sow_state *state = small_state(), *other;
    sow_entry *entry;
    assert_int_equal(sow_save_state(in_folder("into.safetensors"), state, NULL), SOW_OK);
    sow_put(sow_state_find(state, "fc1.weight")->value, 5, 99);
    assert_int_equal(sow_load_into(in_folder("into.safetensors"), state), SOW_OK);
    assert_true(sow_at(sow_state_find(state, "fc1.weight")->value, 5) == 2.5);
    assert_int_equal(sow_state_new(&other), SOW_OK);
    assert_int_equal(sow_state_add(other, "fc1.weight", SOW_F32, 2, (int64_t[]){3, 2}, &entry), SOW_OK);
    assert_int_equal(sow_load_into(in_folder("into.safetensors"), other), SOW_E_SHAPE);
    assert_non_null(strstr(sow_message(), "into.safetensors"));
    assert_non_null(strstr(sow_message(), "fc1.weight"));
    sow_state_free(other);
    sow_state_free(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_comes_back),
        cmocka_unit_test(header_is_padded_and_sorted_and_carries_the_passport),
        cmocka_unit_test(same_state_gives_the_same_bytes_whatever_the_order_of_entries),
        cmocka_unit_test(transposed_tensors_are_written_in_logical_order),
        cmocka_unit_test(every_dtype_comes_back),
        cmocka_unit_test(empty_files_and_empty_tensors_are_files),
        cmocka_unit_test(misaligned_tensors_are_copied),
        cmocka_unit_test(truncated_and_oversized_files_are_refused),
        cmocka_unit_test(overlaps_gaps_and_duplicates_are_refused),
        cmocka_unit_test(mistyped_headers_are_refused),
        cmocka_unit_test(lying_sizes_are_refused),
        cmocka_unit_test(deep_and_bracketed_headers_are_refused_before_they_cost_memory),
        cmocka_unit_test(shards_are_one_file),
        cmocka_unit_test(lying_indexes_are_refused),
        cmocka_unit_test(streamed_files_equal_saved_ones),
        cmocka_unit_test(loading_into_a_state_names_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
