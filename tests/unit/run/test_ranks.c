/* Ranks of mpirun: the same store for one, for two, for two with two slots; what is lost when one dies. */
#include "run/toy_race.h"

static sow_arena *arena;
static const char *expected;

static int undisturbed(void **state) {
    if (!can_run_ranks()) print_message("# no mpirun, or built without MPI: skipped\n");
    assert_int_equal(sow_arena_new(&arena), SOW_OK);
    const char *folder = sow_arena_copy(arena, new_folder());
    assert_ended_well(end_of(start_race(0, NULL, 1, folder)), folder);
    expected = toy_picture(arena, folder);
    assert_contains(expected, "not confirmed");
    return 0;
}

static int forget(void **state) {
    sow_arena_free(arena);
    return 0;
}

static void ranks_and_slots_do_not_show_in_the_store(void **state) {
    static const int layouts[][2] = {{1, 1}, {2, 1}, {2, 2}, {3, 1}};
    char what[40];
    if (!can_run_ranks()) skip();
    for (int i = 0; i < 4; i++) {
        const char *folder = sow_arena_copy(arena, new_folder());
        assert_ended_well(end_of(start_race(layouts[i][0], NULL, layouts[i][1], folder)), folder);
        snprintf(what, sizeof what, "%d ranks, %d slots", layouts[i][0], layouts[i][1]);
        assert_same_picture(toy_picture(arena, folder), expected, what);
        char *used = query(arena, folder, "SELECT count(DISTINCT rank) FROM attempt");
        assert_int_equal(atoi(used), layouts[i][0]); /* all of them worked, the first too */
    }
}

/* The process of a rank, once it works on a cell. */
static int worker_at_work(const char *folder, int rank) {
    char environment[64], sql[100];
    int pids[64];
    snprintf(environment, sizeof environment, "OMPI_COMM_WORLD_RANK=%d", rank);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM attempt WHERE rank=%d AND outcome IS NULL", rank);
    for (int i = 0; i < 500; i++, usleep(10000)) {
        char path[600];
        snprintf(path, sizeof path, "%s/1-0", folder);
        if (!sow_path_exists(path) || atoi(query(arena, folder, sql)) == 0) continue;
        if (find_processes(folder, environment, pids) > 0) return pids[0];
    }
    fail_msg("rank %d does not begin", rank);
    return -1;
}

/* Open MPI ends the whole job, and the next one goes on from the store. */
static void a_killed_rank_costs_its_cells_and_resume_goes_on(void **state) {
    if (!can_run_ranks()) skip();
    for (int rank = 0; rank < 2; rank++) {
        const char *folder = sow_arena_copy(arena, new_folder());
        pid_t job = start_race(2, NULL, 1, folder);
        kill(worker_at_work(folder, 1 - rank) > 0 ? worker_at_work(folder, rank) : -1, SIGKILL);
        assert_int_not_equal(end_of(job), 0);
        assert_ended_well(end_of(start_race(2, NULL, 1, folder)), folder);
        assert_same_picture(toy_picture(arena, folder), expected, rank ? "worker killed" : "rank 0 killed");
    }
}

/* Where the launcher lets the others live, they go on at once. */
static void where_the_job_goes_on_a_lost_rank_s_cells_go_to_others(void **state) {
    static const int signals[] = {SIGKILL, SIGSTOP, SIGTERM};
    if (!can_run_ranks()) skip();
    setenv("SOW_RANK_SILENT_SECONDS", "1", 1);
    for (int i = 0; i < 3; i++) {
        const char *folder = sow_arena_copy(arena, new_folder());
        pid_t job = start_race(2, "--enable-recovery", 1, folder);
        int pid = worker_at_work(folder, 1);
        kill(pid, signals[i]);
        if (signals[i] == SIGSTOP) usleep(2500000), kill(pid, SIGCONT);
        assert_ended_well(end_of(job), folder);
        assert_same_picture(toy_picture(arena, folder), expected, strsignal(signals[i]));
        char *lost = query(arena, folder, "SELECT count(*)>0 FROM attempt WHERE rank=1 AND outcome='lost'");
        assert_string_equal(lost, "1\n");
    }
    unsetenv("SOW_RANK_SILENT_SECONDS");
}

/* Rank 0 is away for three times as long as silence may last: a thread of its own says that it lives. */
static void a_start_that_takes_long_to_make_loses_nobody(void **state) {
    if (!can_run_ranks()) skip();
    const char *folder = sow_arena_copy(arena, new_folder());
    setenv("SOW_RANK_SILENT_SECONDS", "1", 1);
    setenv("TOY_LONG_MAKE", "1", 1);
    assert_ended_well(end_of(start_race(2, NULL, 1, folder)), folder);
    unsetenv("SOW_RANK_SILENT_SECONDS");
    unsetenv("TOY_LONG_MAKE");
    assert_same_picture(toy_picture(arena, folder), expected, "a long make");
    assert_string_equal(query(arena, folder, "SELECT count(*) FROM attempt WHERE outcome='lost'"), "0\n");
}

static void without_the_plug_in_the_message_names_the_package(void **state) {
    char place[600];
    lab l;
    find_supervisor();
    char *supervisor = strdup(getenv("SOW_SUPERVISOR"));
    snprintf(place, sizeof place, "%s/sow-supervisor", new_folder()); /* alone there */
    assert_int_equal(symlink(supervisor, place), 0);
    pid_t child = fork();
    if (child == 0) {
        setenv("SOW_SUPERVISOR", place, 1);
        setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
        setenv("OMPI_COMM_WORLD_RANK", "0", 1);
        bool worker = sow_is_worker_rank();
        sow_status status = run_one(&l, "true");
        _exit(!worker && status == SOW_E_NOT_FOUND && strstr(sow_message(), "libopenmpi-dev") ? 0 : 1);
    }
    assert_int_equal(end_of(child), 0);
    free(supervisor);
}

/* Processes that a rank starts inherit its variables and are no ranks. */
static void a_child_of_a_rank_is_none(void **state) {
    pid_t child = fork();
    if (child == 0) {
        setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
        setenv("OMPI_COMM_WORLD_RANK", "1", 1);
        setenv("SOW_RANK_PROCESS", "1", 1);
        _exit(sow_is_worker_rank());
    }
    assert_int_equal(end_of(child), 0);
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "work")) return toy_main(argv[2], atoi(argv[3]));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_and_slots_do_not_show_in_the_store),
        cmocka_unit_test(a_killed_rank_costs_its_cells_and_resume_goes_on),
        cmocka_unit_test(where_the_job_goes_on_a_lost_rank_s_cells_go_to_others),
        cmocka_unit_test(a_start_that_takes_long_to_make_loses_nobody),
        cmocka_unit_test(without_the_plug_in_the_message_names_the_package),
        cmocka_unit_test(a_child_of_a_rank_is_none),
    };
    return cmocka_run_group_tests(tests, undisturbed, forget);
}
