/* A race killed at its writes, and writes and allocations that fail in it: decisions, dropped cells and all, it
 * resumes to the same store. */
#include "unit/run/toy_race.h"

static sow_arena *arena;
static const char *expected;
static long writes, allocations;

/* The race with a fault (NULL: none); gives its wait status. */
static int race_with(const char *fault, const char *folder) {
    setenv("TOY_HASTE", "1", 1);
    if (fault) setenv("SOW_FAULT", fault, 1);
    pid_t child = start_race(0, NULL, 2, folder);
    unsetenv("SOW_FAULT");
    return end_of(child);
}

static int undisturbed(void **state) {
    const char *folder;
    char counts[600], *text;
    assert_int_equal(sow_arena_new(&arena), SOW_OK);
    folder = sow_arena_copy(arena, new_folder());
    snprintf(counts, sizeof counts, "%s/counts", folder);
    setenv("SOW_FAULT_COUNT", counts, 1);
    assert_ended_well(race_with(NULL, folder), folder);
    unsetenv("SOW_FAULT_COUNT");
    expected = toy_picture(arena, folder);
    assert_int_equal(sow_read_file(arena, counts, 1000, &text, NULL), SOW_OK);
    writes = atol(strstr(text, "write ") + 6);
    allocations = atol(strstr(text, "alloc ") + 6);
    print_message("# %ld writes, %ld allocations\n", writes, allocations);
    assert_true(writes > 2 * 25 && allocations > 20);
    return 0;
}

static int forget(void **state) {
    sow_arena_free(arena);
    return 0;
}

/* Begins with a fault, judges the wait status, and goes on without: the store must be that of an undisturbed race. */
static void suffer(const char *kind, long n, bool (*fits)(int status)) {
    char fault[40];
    sow_mark mark = sow_arena_mark(arena);
    const char *folder = sow_arena_copy(arena, new_folder());
    snprintf(fault, sizeof fault, "%s:%ld", kind, n);
    int status = race_with(fault, folder);
    if (status != 0 && !fits(status)) fail_msg("%s: wait status %#x", fault, (unsigned)status);
    assert_ended_well(race_with(NULL, folder), folder);
    assert_same_picture(toy_picture(arena, folder), expected, fault);
    sow_arena_release(arena, mark);
}

static bool is_killed(int status) {
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static bool is_reported(int status) {
    return WIFEXITED(status) && WEXITSTATUS(status) == 3;
}

static bool is_reported_or_silent(int status) { /* without memory there is not always a message */
    return WIFEXITED(status) && (WEXITSTATUS(status) == 3 || WEXITSTATUS(status) == 4);
}

/* Every third; `make kills` takes all. How many writes there are depends a little on what arrives together: the last few may not be reached, status 0. */
static void killed_at_a_write_it_resumes(void **state) {
    for (long n = 1; n <= writes; n += getenv("SOW_KILLS") ? 1 : 3) suffer("kill", n, is_killed);
}

static void a_write_that_fails_is_reported_and_it_resumes(void **state) {
    for (long n = 2; n <= writes; n += 9) suffer("write", n, is_reported);
}

static void an_allocation_that_fails_is_reported_and_it_resumes(void **state) {
    for (long n = 1; n <= allocations; n += 1 + n / 6) suffer("alloc", n, is_reported_or_silent);
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "work")) return toy_main(argv[2], atoi(argv[3]));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_a_write_it_resumes),
        cmocka_unit_test(a_write_that_fails_is_reported_and_it_resumes),
        cmocka_unit_test(an_allocation_that_fails_is_reported_and_it_resumes),
    };
    return cmocka_run_group_tests(tests, undisturbed, forget);
}
