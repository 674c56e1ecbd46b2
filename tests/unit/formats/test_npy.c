/* NumPy files: versions, orders, types, archives, and what is refused. */
#include "check.h"

static sow_arena *arena;

static int set_up(void **unused) {
    return make_test_folder() == 0 && sow_arena_new(&arena) == SOW_OK ? 0 : -1;
}

static int tear_down(void **unused) {
    sow_arena_free(arena);
    return 0;
}

/* A file of that version and header text, with `size` bytes 0, 1, 2 ... behind it. */
static const char *raw(int version, const char *header, size_t size) {
    uint8_t bytes[4096] = "\x93NUMPY";
    size_t length = strlen(header), at_byte = 8;
    bytes[6] = (uint8_t)version;
    bytes[at_byte++] = (uint8_t)length, bytes[at_byte++] = (uint8_t)(length >> 8);
    if (version > 1) at_byte += 2;
    memcpy(bytes + at_byte, header, length);
    at_byte += length;
    for (size_t i = 0; i < size; i++) bytes[at_byte++] = (uint8_t)i;
    assert_int_equal(sow_write_file(in_folder("raw.npy"), bytes, at_byte), SOW_OK);
    return in_folder("raw.npy");
}

static sow_tensor read_ok(const char *path) {
    sow_tensor t;
    if (sow_npy_read(arena, path, &t) != SOW_OK) fail_msg("%s", sow_message());
    return t;
}

static void refused(const char *path, sow_status expected, const char *says) {
    sow_tensor t;
    sow_status status = sow_npy_read(arena, path, &t);
    if (status == SOW_OK) fail_msg("accepted: %s", says);
    if (!strstr(sow_message(), says)) fail_msg("\"%s\" does not say \"%s\"", sow_message(), says);
    if (!strstr(sow_message(), sow_path_name(path))) fail_msg("\"%s\" does not name %s", sow_message(), path);
    assert_int_equal(status, expected);
}

static void all_versions_and_key_orders_are_read(void **unused) {
    for (int version = 1; version <= 3; version++) {
        sow_tensor t = read_ok(raw(version, "{'shape': (2, 3,), 'fortran_order': False, 'descr': '<u2'}  \n", 12));
        assert_int_equal(t.dtype, SOW_U16);
        assert_int_equal(t.shape[1], 3);
        assert_true(sow_at(t, 1) == 0x0302);
    }
}

static void fortran_order_and_big_endian_are_resolved(void **unused) {
    sow_tensor t = read_ok(raw(1, "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }\n", 6));
    assert_true(sow_at(t, 0) == 0 && sow_at(t, 1) == 2 && sow_at(t, 3) == 1); /* columns lie together */
    t = read_ok(raw(1, "{'descr': '>i4', 'fortran_order': False, 'shape': (), }\n", 4));
    assert_int_equal(t.rank, 0);
    assert_true(sow_at(t, 0) == 0x00010203);
    t = read_ok(raw(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 0), }\n", 0));
    assert_int_equal(sow_count(t), 0);
}

static void every_type_is_written_and_read(void **unused) {
    uint8_t memory[6 * 8];
    for (int i = 0; i < 48; i++) memory[i] = (uint8_t)(i & 1);
    for (int d = 0; d < SOW_DTYPES; d++) {
        sow_tensor t = SOW_TENSOR(memory, (sow_dtype)d, 2, 3);
        sow_status status = sow_npy_write(in_folder("t.npy"), t);
        if (d == SOW_BF16 || d == SOW_F8_E4M3 || d == SOW_F8_E5M2) {
            assert_int_equal(status, SOW_E_TYPE);
            continue;
        }
        assert_int_equal(status, SOW_OK);
        sow_tensor back = read_ok(in_folder("t.npy"));
        assert_int_equal(back.dtype, d);
        assert_memory_equal(back.data, memory, sow_bytes(t));
        back = sow_transpose(t);
        assert_int_equal(sow_npy_write(in_folder("t.npy"), back), SOW_OK);
        back = read_ok(in_folder("t.npy"));
        assert_int_equal(back.shape[0], 3);
        if (d != SOW_C64) assert_true(sow_at(back, 1) == sow_at(t, 3));
    }
}

static void values_begin_at_a_multiple_of_64(void **unused) {
    float x[3] = {1, 2, 3};
    char *bytes;
    size_t size;
    assert_int_equal(sow_npy_write(in_folder("a.npy"), SOW_TENSOR(x, SOW_F32, 3)), SOW_OK);
    assert_int_equal(sow_read_file(arena, in_folder("a.npy"), 4096, &bytes, &size), SOW_OK);
    assert_int_equal((size - sizeof x) % 64, 0);
    assert_memory_equal(bytes + size - sizeof x, x, sizeof x);
}

#define GOOD "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n"

static void damaged_files_are_refused(void **unused) {
    refused(raw(1, GOOD, 7), SOW_E_FORMAT, "declares 8 bytes of values, at most 7 can be there");
    refused(raw(1, GOOD, 9), SOW_E_FORMAT, "bytes behind the end");
    refused(raw(4, GOOD, 8), SOW_E_FORMAT, ".npy version 4.0");
    refused(raw(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } x", 8), SOW_E_FORMAT, "nothing behind '}'");
    refused(raw(1, "{'descr': '<f4', 'fortran_order': False}", 8), SOW_E_FORMAT, "all of 'descr', 'fortran_order' and 'shape'");
    refused(raw(1, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8), SOW_E_FORMAT, "each once");
    refused(raw(1, "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}", 8), SOW_E_FORMAT, "True or False");
    refused(raw(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", 8), SOW_E_FORMAT, "expected a size");
    refused(raw(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2 2)}", 8), SOW_E_FORMAT, "',' or ')'");
    refused(raw(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", 8), SOW_E_FORMAT, "a smaller size");
    refused(raw(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}", 8), SOW_E_FORMAT, "raw.npy");
    refused(raw(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", 4), SOW_E_FORMAT, "more than 8 dimensions");
    refused(raw(1, "{'descr': '<f4", 8), SOW_E_FORMAT, "the string to end");
    refused(raw(1, "", 0), SOW_E_FORMAT, "expected '{'");
    assert_int_equal(sow_write_file(in_folder("short.npy"), "\x93NUM", 4), SOW_OK);
    refused(in_folder("short.npy"), SOW_E_FORMAT, "magic number: 8 bytes expected, 4 found");
    assert_int_equal(sow_write_file(in_folder("other.npy"), "PK\3\4aaaaaaaa", 12), SOW_OK);
    refused(in_folder("other.npy"), SOW_E_FORMAT, "does not begin as a .npy file does");
}

/* Objects in .npy are pickles, which run code: they are never read. */
static void other_types_are_refused(void **unused) {
    refused(raw(1, "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", 16), SOW_E_TYPE, "dtype '|O'");
    refused(raw(1, "{'descr': '<U4', 'fortran_order': False, 'shape': (1,)}", 16), SOW_E_TYPE, "dtype '<U4'");
    refused(raw(1, "{'descr': '<c16', 'fortran_order': False, 'shape': (1,)}", 16), SOW_E_TYPE, "dtype '<c16'");
    refused(raw(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", 8), SOW_E_TYPE, "structures");
}

/* ---- .npz ---- */

static void archives_come_back(void **unused) {
    float x[1000];
    int64_t y[4] = {4, 3, 2, 1};
    for (int i = 0; i < 1000; i++) x[i] = (float)(i / 10);
    const char *names[] = {"x", "y", "empty"};
    sow_tensor tensors[] = {sow_transpose(SOW_TENSOR(x, SOW_F32, 10, 100)), SOW_TENSOR(y, SOW_I64, 4), SOW_TENSOR(y, SOW_F32, 0, 3)};
    for (int compress = 0; compress < 2; compress++) {
        sow_npz *npz;
        sow_tensor t;
        assert_int_equal(sow_npz_write(in_folder("a.npz"), 3, names, tensors, compress), SOW_OK);
        assert_int_equal(sow_npz_open(in_folder("a.npz"), &npz), SOW_OK);
        assert_int_equal(sow_npz_count(npz), 3);
        assert_string_equal(sow_npz_name(npz, 1), "y");
        assert_int_equal(sow_npz_read(npz, arena, "x", &t), SOW_OK);
        assert_int_equal(t.shape[0], 100);
        assert_true(sow_at(t, 1) == 10 && sow_at(t, 999) == 99);
        assert_int_equal(sow_npz_read(npz, arena, "y", &t), SOW_OK);
        assert_memory_equal(t.data, y, sizeof y);
        assert_int_equal(sow_npz_read(npz, arena, "empty", &t), SOW_OK);
        assert_int_equal(sow_npz_read(npz, arena, "z", &t), SOW_E_NOT_FOUND);
        sow_npz_close(npz);
    }
    names[1] = "x";
    assert_int_equal(sow_npz_write(in_folder("b.npz"), 3, names, tensors, false), SOW_E_ARGUMENT);
    assert_false(sow_path_exists(in_folder("b.npz")));
}

/* Every single damaged byte is either noticed or changes nothing: the arrays that come out are right. */
static void archives_with_any_byte_damaged_are_noticed(void **unused) {
    uint8_t x[64];
    for (int i = 0; i < 64; i++) x[i] = (uint8_t)(i % 5);
    const char *names[] = {"x"};
    for (int compress = 0; compress < 2; compress++) {
        char *bytes;
        size_t size;
        int noticed = 0;
        assert_int_equal(sow_npz_write(in_folder("c.npz"), 1, names, (sow_tensor[]){SOW_TENSOR(x, SOW_U8, 64)}, compress), SOW_OK);
        assert_int_equal(sow_read_file(arena, in_folder("c.npz"), 65536, &bytes, &size), SOW_OK);
        for (size_t i = 0; i < size; i++) {
            sow_npz *npz;
            sow_tensor t;
            bytes[i] ^= 0x41;
            FILE *file = fopen(in_folder("d.npz"), "wb");
            fwrite(bytes, 1, size, file);
            fclose(file);
            bytes[i] ^= 0x41;
            if (sow_npz_open(in_folder("d.npz"), &npz) != SOW_OK) {
                noticed++;
                continue;
            }
            if (sow_npz_read(npz, arena, "x", &t) != SOW_OK) noticed++;
            else assert_memory_equal(t.data, x, 64);
            sow_npz_close(npz);
        }
        assert_true(noticed > (compress ? 60 : 200));
    }
}

static void truncated_archives_are_refused(void **unused) {
    uint8_t x[8] = {0};
    const char *names[] = {"x"};
    char *bytes;
    size_t size;
    sow_npz *npz;
    assert_int_equal(sow_npz_write(in_folder("e.npz"), 1, names, (sow_tensor[]){SOW_TENSOR(x, SOW_U8, 8)}, false), SOW_OK);
    assert_int_equal(sow_read_file(arena, in_folder("e.npz"), 65536, &bytes, &size), SOW_OK);
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(sow_write_file(in_folder("f.npz"), bytes, cut), SOW_OK);
        assert_int_not_equal(sow_npz_open(in_folder("f.npz"), &npz), SOW_OK);
        assert_non_null(strstr(sow_message(), "f.npz"));
    }
}

static void mapped_values_are_those_that_were_written(void **unused) {
    double x[6] = {1, 2, 3, 4, 5, 6};
    char *bytes;
    size_t size;
    sow_map map;
    sow_tensor t;
    assert_int_equal(sow_npy_write(in_folder("m.npy"), SOW_TENSOR(x, SOW_F64, 2, 3)), SOW_OK);
    assert_int_equal(sow_npy_map(in_folder("m.npy"), &map, &t), SOW_OK);
    assert_true(t.rank == 2 && t.shape[0] == 2 && t.shape[1] == 3 && t.dtype == SOW_F64);
    assert_memory_equal(t.data, x, sizeof x);
    sow_map_close(&map);
    assert_int_equal(sow_read_file(arena, in_folder("m.npy"), 65536, &bytes, &size), SOW_OK);
    assert_int_equal(sow_write_file(in_folder("n.npy"), bytes, size - 1), SOW_OK);
    assert_int_equal(sow_npy_map(in_folder("n.npy"), &map, &t), SOW_E_FORMAT);
    assert_non_null(strstr(sow_message(), "truncated"));
    assert_null(map.data);
    *strchr(bytes + 10, '<') = '>'; /* behind the lengths, which hold zeros */
    assert_int_equal(sow_write_file(in_folder("n.npy"), bytes, size), SOW_OK);
    assert_int_equal(sow_npy_map(in_folder("n.npy"), &map, &t), SOW_E_UNSUPPORTED);
    assert_int_equal(sow_npy_map(raw(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", 8), &map, &t), SOW_E_UNSUPPORTED);
    assert_non_null(strstr(sow_message(), "not aligned"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_versions_and_key_orders_are_read),
        cmocka_unit_test(fortran_order_and_big_endian_are_resolved),
        cmocka_unit_test(every_type_is_written_and_read),
        cmocka_unit_test(values_begin_at_a_multiple_of_64),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(other_types_are_refused),
        cmocka_unit_test(archives_come_back),
        cmocka_unit_test(archives_with_any_byte_damaged_are_noticed),
        cmocka_unit_test(truncated_archives_are_refused),
        cmocka_unit_test(mapped_values_are_those_that_were_written),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
