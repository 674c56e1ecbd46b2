/* Ranks of mpirun: the same store for one, for two, for two with two slots; what is lost when one dies. */
#include "run/toy_race.h"

#include <signal.h>

static char launcher[200];

/* Whether there is an mpirun and the plug-in beside the supervisor. */
static bool can_run(void) {
    char path[600];
    find_supervisor();
    const char *supervisor = getenv("SOW_SUPERVISOR");
    if (!supervisor || system("command -v mpirun >/dev/null 2>&1") != 0) return false;
    snprintf(path, sizeof path, "%.*ssow-mpi.so", (int)(strrchr(supervisor, '/') + 1 - supervisor), supervisor);
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    snprintf(launcher, sizeof launcher, "mpirun --oversubscribe --bind-to none");
    return access(path, R_OK) == 0;
}

/* Runs the toy race under `with` (NULL: by itself); gives the wait status. */
static int race(const char *with, int ranks, int slots, const char *folder) {
    char command[2000], self[1000];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = 0;
    if (with)
        snprintf(command, sizeof command, "exec %s -n %d %s work %s %d 2>>%s.log", with, ranks, self, folder, slots,
                 folder);
    else snprintf(command, sizeof command, "exec %s work %s %d 2>>%s.log", self, folder, slots, folder);
    return system(command);
}

static const char *folder_named(sow_arena *arena) {
    return sow_arena_copy(arena, new_folder());
}

static void ranks_and_slots_do_not_show_in_the_store(void **state) {
    static const int layouts[][2] = {{1, 1}, {2, 1}, {2, 2}, {3, 1}};
    sow_arena *arena;
    char what[40];
    if (!can_run()) skip();
    sow_arena_new(&arena);
    const char *alone = folder_named(arena);
    assert_int_equal(race(NULL, 1, 1, alone), 0);
    const char *expected = toy_picture(arena, alone);
    assert_contains(expected, "not confirmed");
    for (int i = 0; i < 4; i++) {
        const char *folder = folder_named(arena);
        assert_int_equal(race(launcher, layouts[i][0], layouts[i][1], folder), 0);
        snprintf(what, sizeof what, "%d ranks, %d slots", layouts[i][0], layouts[i][1]);
        assert_same_picture(toy_picture(arena, folder), expected, what);
        char *used = query(arena, folder, "SELECT count(DISTINCT rank) FROM attempt");
        assert_int_equal(atoi(used), layouts[i][0]); /* all of them worked, the first too */
    }
    sow_arena_free(arena);
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "work")) return toy_main(argv[2], atoi(argv[3]));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_and_slots_do_not_show_in_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
