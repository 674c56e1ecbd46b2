/* GGUF: every block type equals the reference, and files that lie are refused in one line. */
#include "gguf_draft.h"

#include <jansson.h>
#include <math.h>
#include <sys/resource.h>

#include "sow/gguf.h"

/* ---- blocks ---- */

static size_t bytes_of(const char *hex, uint8_t *out, size_t room) {
    size_t n = strlen(hex) / 2;
    assert_true(n <= room);
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out[i] = (uint8_t)byte;
    }
    return n;
}

static sow_gguf_type type_named(const char *name) {
    for (int t = 0; t < 64; t++)
        if (sow_gguf_type_name((sow_gguf_type)t) && !strcmp(sow_gguf_type_name((sow_gguf_type)t), name))
            return (sow_gguf_type)t;
    fail_msg("no type %s", name);
    return SOW_GGUF_F32;
}

static void blocks_equal_the_reference(void **state) {
    json_t *oracle = json_load_file("tests/oracles/smollm2.json", 0, NULL), *block;
    size_t b;
    int seen = 0;
    json_array_foreach(json_object_get(oracle, "gguf_blocks"), b, block) {
        uint8_t bytes[256];
        float values[256];
        int64_t count, size;
        sow_gguf_type type = type_named(json_string_value(json_object_get(block, "type")));
        size_t n = bytes_of(json_string_value(json_object_get(block, "hex")), bytes, sizeof bytes);
        json_t *expected = json_object_get(block, "values");
        sow_gguf_block(type, &count, &size);
        assert_true(n % (size_t)size == 0 && json_array_size(expected) == n / (size_t)size * (size_t)count);
        sow_gguf_dequantise(type, bytes, (int64_t)json_array_size(expected), values);
        for (size_t i = 0; i < json_array_size(expected); i++) {
            double x = json_number_value(json_array_get(expected, i));
            assert_near((double)values[i], x, 2e-8 * fabs(x) + 1e-12 + 1e-7 * fabs(x));
        }
        seen++;
    }
    assert_int_equal(seen, 12);
    json_decref(oracle);
}

/* ---- files ---- */

static void put_tensor(draft *d, const char *name, uint64_t columns, uint64_t rows, uint32_t type, uint64_t offset) {
    put_text(d, name);
    put_u32(d, 2);
    put_u64(d, columns);
    put_u64(d, rows);
    put_u32(d, type);
    put_u64(d, offset);
}

static draft header(uint64_t tensors, uint64_t keys) {
    draft d = {.size = 0};
    put(&d, "GGUF", 4);
    put_u32(&d, 3);
    put_u64(&d, tensors);
    put_u64(&d, keys);
    return d;
}

static void pad(draft *d, size_t bytes) {
    while (d->size % 32) put(d, "", 1);
    for (size_t i = 0; i < bytes; i++) put(d, "", 1);
}

static sow_status open_draft(const draft *d, sow_gguf **out) {
    const char *path = in_folder("x.gguf");
    OK(sow_write_file(path, d->bytes, d->size));
    return sow_gguf_open(path, out);
}

static draft good(void) {
    draft d = header(2, 2);
    put_key_u32(&d, "a.size", 7);
    put_text(&d, "a.words"), put_u32(&d, 9), put_u32(&d, 8), put_u64(&d, 2), put_text(&d, "x"), put_text(&d, "yz");
    put_tensor(&d, "w", 32, 2, SOW_GGUF_Q8_0, 0);
    put_tensor(&d, "v", 4, 3, SOW_GGUF_F32, 96);
    pad(&d, 96 + 48);
    return d;
}

static void a_file_gives_its_keys_and_tensors(void **state) {
    draft d = good();
    sow_gguf *g;
    sow_arena *arena;
    sow_span *words;
    int64_t n = 0, count;
    sow_status status = SOW_OK;
    OK(open_draft(&d, &g));
    OK(sow_arena_new(&arena));
    assert_true(sow_gguf_integer(g, "a.size", &n, &status) && status == SOW_OK && n == 7);
    assert_false(sow_gguf_integer(g, "a.none", &n, &status));
    assert_true(sow_gguf_integer(g, "a.words", &n, &status));
    FAILS(status, SOW_E_FORMAT, "key a.words: expected an integer");
    OK(sow_gguf_texts(g, arena, "a.words", &words, &count));
    assert_true(count == 2 && words[1].size == 2 && !memcmp(words[1].text, "yz", 2));
    const sow_gguf_tensor *w = sow_gguf_find(g, "w");
    assert_true(w && w->rank == 2 && w->shape[0] == 2 && w->shape[1] == 32 && w->bytes == 68);
    assert_null(sow_gguf_find(g, "u"));
    sow_arena_free(arena);
    sow_gguf_close(g);
}

static void every_cut_of_a_file_is_refused(void **state) {
    draft d = good(), cut;
    sow_gguf *g;
    for (size_t size = 0; size < d.size; size++) {
        cut = d;
        cut.size = size;
        assert_int_not_equal(open_draft(&cut, &g), SOW_OK);
    }
}

static void files_that_lie_are_refused(void **state) {
    sow_gguf *g;
    draft d = header(0, UINT64_MAX);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "keys do not fit");
    d = header(1000000000000, 0);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "1000000000000 tensors do not fit");
    d = header(0, 2), put_key_u32(&d, "k", 1), put_key_u32(&d, "k", 2);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "key k stands twice");
    d = header(0, 1), put_text(&d, "k"), put_u32(&d, 9), put_u32(&d, 9), put_u64(&d, 1);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "array of type 9");
    d = header(0, 1), put_text(&d, "k"), put_u32(&d, 7), put(&d, "\2", 1);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "found bool 2");
    d = header(0, 1), put_key_u32(&d, "general.alignment", 24);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "found 24, expected a power of two");
    d = header(1, 0), put_tensor(&d, "w", 33, 2, SOW_GGUF_Q8_0, 0), pad(&d, 96);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "rows of 33 values are no whole blocks of 32");
    d = header(1, 0), put_tensor(&d, "w", 1ull << 40, 1ull << 40, SOW_GGUF_F32, 0), pad(&d, 96);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "tensor w");
    d = header(1, 0), put_tensor(&d, "w", 32, 2, SOW_GGUF_F32, 8), pad(&d, 512);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "offset 8 is no multiple of 32");
    d = header(2, 0), put_tensor(&d, "w", 32, 2, SOW_GGUF_F32, 0), put_tensor(&d, "v", 32, 2, SOW_GGUF_F32, 128),
    pad(&d, 512);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "tensors w and v overlap");
    d = header(2, 0), put_tensor(&d, "w", 8, 1, SOW_GGUF_F32, 0), put_tensor(&d, "w", 8, 1, SOW_GGUF_F32, 32),
    pad(&d, 512);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "tensor w stands twice");
    d = header(1, 0), put_tensor(&d, "w", 32, 2, 99, 0), pad(&d, 512);
    FAILS(open_draft(&d, &g), SOW_E_UNSUPPORTED, "type 99 is not read");
    d = header(0, 0), d.bytes[4] = 1;
    FAILS(open_draft(&d, &g), SOW_E_UNSUPPORTED, "GGUF version 1");
    d = header(0, 0), d.bytes[0] = 'X';
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "no GGUF file");
}

/* From now on no more than so many bytes above what the process has; -1: as before. */
static void allow_memory(long more) {
#ifndef SOW_SANITIZE /* the sanitizers map terabytes */
    struct rlimit limit;
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_true(f && fscanf(f, "%ld", &pages) == 1);
    fclose(f);
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = more < 0 ? limit.rlim_max : (rlim_t)(pages * sysconf(_SC_PAGESIZE) + more);
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
#endif
}

/* Lengths and counts that no file has room for: told before anything is taken for them. */
static void claims_allocate_nothing(void **state) {
    static const uint64_t claims[] = {1ull << 40, 1ull << 62, UINT64_MAX, UINT64_MAX / 4 + 1, 1000000000000};
    sow_gguf *g;
    allow_memory(64 << 20);
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        draft d = header(0, 1);
        put_u64(&d, claims[i]), pad(&d, 64);
        FAILS(open_draft(&d, &g), SOW_E_FORMAT, " bytes");
        d = header(0, 1), put_text(&d, "k"), put_u32(&d, 8), put_u64(&d, claims[i]), pad(&d, 64);
        FAILS(open_draft(&d, &g), SOW_E_FORMAT, " bytes");
        for (uint32_t type = 0; type <= 12; type++) {
            if (type == 9) continue;
            d = header(0, 1), put_text(&d, "k"), put_u32(&d, 9), put_u32(&d, type), put_u64(&d, claims[i]), pad(&d, 64);
            FAILS(open_draft(&d, &g), SOW_E_FORMAT, "");
        }
        d = header(1, 0), put_tensor(&d, "w", claims[i], 1, SOW_GGUF_F32, 0), pad(&d, 96);
        FAILS(open_draft(&d, &g), SOW_E_FORMAT, "tensor w");
        d = header(1, 0), put_tensor(&d, "w", 8, 1, SOW_GGUF_F32, claims[i] & ~31ull), pad(&d, 96);
        FAILS(open_draft(&d, &g), SOW_E_FORMAT, "reach beyond the end of the file");
        d = header(claims[i], 0), pad(&d, 64);
        FAILS(open_draft(&d, &g), SOW_E_FORMAT, "tensors do not fit");
        d = header(0, claims[i]), pad(&d, 64);
        FAILS(open_draft(&d, &g), SOW_E_FORMAT, "keys do not fit");
    }
    allow_memory(-1);
}

static void every_field_of_a_tensor_is_checked(void **state) {
    sow_gguf *g;
    draft d = header(1, 0);
    put_text(&d, "w"), put_u32(&d, 0), put_u32(&d, 0), put_u64(&d, 0), pad(&d, 96);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "0 dimensions, expected 1 to 4");
    d = header(1, 0), put_text(&d, "w"), put_u32(&d, 5), pad(&d, 96);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "5 dimensions, expected 1 to 4");
    d = header(1, 0), put_tensor(&d, "w", 0, 4, SOW_GGUF_F32, 0), pad(&d, 96);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "dimension 0 is 0");
    d = header(0, 1), put_text(&d, "k"), put_u32(&d, 13), pad(&d, 32);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "type 13, expected 0 to 12");
    d = header(0, 1), put_key_u32(&d, "general.alignment", 0);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "found 0, expected a power of two");
    d = header(0, 1), put_key_u32(&d, "general.alignment", 1u << 21);
    FAILS(open_draft(&d, &g), SOW_E_FORMAT, "found 2097152, expected a power of two");
    d = header(0, 0), d.bytes[4] = 0, d.bytes[7] = 3;
    FAILS(open_draft(&d, &g), SOW_E_UNSUPPORTED, "a big-endian GGUF file");
}

static int set_up(void **state) {
    return make_test_folder();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_equal_the_reference),     cmocka_unit_test(a_file_gives_its_keys_and_tensors),
        cmocka_unit_test(every_cut_of_a_file_is_refused), cmocka_unit_test(files_that_lie_are_refused),
        cmocka_unit_test(claims_allocate_nothing),        cmocka_unit_test(every_field_of_a_tensor_is_checked),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
