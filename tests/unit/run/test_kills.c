/* SIGKILL for anything at any moment of a race: the process, a supervisor, a trainer, the whole group, ranks of mpirun.
 * After a resume the store is that of an undisturbed race. SOW_KILLS says how many moments: 20; make kills: 200. */
#include "run/toy_race.h"

enum victim { MAIN, GROUP, SUPERVISOR, TRAINER, WORKER_RANK, RANK_0, JOB, VICTIMS };

static const char *const names[VICTIMS] = {"the process", "its group", "a supervisor", "a trainer",
                                           "a worker",    "rank 0",    "the whole job"};

static sow_arena *arena;
static const char *expected;
static int struck[VICTIMS];
static double seconds[2]; /* of an undisturbed race, by itself and with two ranks */

static int undisturbed(void **state) {
    assert_int_equal(sow_arena_new(&arena), SOW_OK);
    for (int ranks = 0; ranks <= (can_run_ranks() ? 2 : 0); ranks += 2) {
        const char *folder = sow_arena_copy(arena, new_folder());
        double begin = sow_seconds();
        assert_ended_well(end_of(start_race(ranks, NULL, 2, folder)), folder);
        seconds[ranks / 2] = sow_seconds() - begin;
        if (!expected) expected = toy_picture(arena, folder);
        assert_same_picture(toy_picture(arena, folder), expected, "undisturbed");
    }
    return 0;
}

static int forget(void **state) {
    sow_arena_free(arena);
    return 0;
}

/* One of the processes of this race, at random; 0: there is none at this moment. */
static int choose(unsigned *random, const char *command, const char *environment) {
    int pids[64], count = find_processes(command, environment, pids);
    return count ? pids[(unsigned)rand_r(random) % (unsigned)count] : 0;
}

/* A trainer, or what stands between it and the race. */
static int choose_child(unsigned *random, const char *folder, bool supervisor) {
    char command[700];
    snprintf(command, sizeof command, "cd '%s", folder);
    for (int tries = 0; tries < 20; tries++) {
        int pid = choose(random, command, "");
        if (pid && file_holds(pid, "cmdline", "sow-supervisor") == supervisor) return pid;
    }
    return 0;
}

static void strike(enum victim victim, pid_t race, const char *folder, unsigned *random) {
    int pid = race;
    if (victim == GROUP || victim == JOB) pid = -race;
    if (victim == SUPERVISOR) pid = choose_child(random, folder, true);
    if (victim == TRAINER) pid = choose_child(random, folder, false);
    if (victim == WORKER_RANK) pid = choose(random, folder, "OMPI_COMM_WORLD_RANK=1");
    if (victim == RANK_0) pid = choose(random, folder, "OMPI_COMM_WORLD_RANK=0");
    if (pid && kill(pid, SIGKILL) == 0) struck[victim]++;
}

/* Open MPI 4.1's mpirun may hang in its own farewell when a rank dies while it connects: no rank of ours is left then. */
static void end_struck(pid_t race, const char *folder) {
    int pids[64];
    bool ended = false;
    for (int i = 0; i < 600; i++, usleep(50000)) {
        ended = ended || waitpid(race, NULL, WNOHANG) == race;
        if (ended && find_processes(folder, "OMPI_COMM_WORLD_RANK=", pids) == 0)
            return; /* ranks outlive a killed mpirun a little */
    }
    if (find_processes(folder, "OMPI_COMM_WORLD_RANK=", pids) > 0) fail_msg("%s: a rank does not end", folder);
    kill(-race, SIGKILL);
    end_of(race);
}

/* One race, struck up to three times, with a new start after each death; then left in peace. Gives the strikes. */
static int run_struck(int trial, unsigned *random) {
    enum victim victim = (enum victim)(trial % (can_run_ranks() ? VICTIMS : WORKER_RANK));
    int ranks = victim >= WORKER_RANK ? 2 : 0, strikes = 1 + (int)((unsigned)rand_r(random) % 3);
    const char *folder = sow_arena_copy(arena, new_folder());
    for (int s = 0; s < strikes; s++) {
        pid_t race = start_race(ranks, NULL, 2, folder);
        usleep((useconds_t)(seconds[ranks / 2] * 1e3 * (rand_r(random) % 1000)));
        strike(victim, race, folder, random);
        end_struck(race, folder);
    }
    assert_ended_well(end_of(start_race(ranks, NULL, 2, folder)), folder);
    assert_same_picture(toy_picture(arena, folder), expected, names[victim]);
    return strikes;
}

static void killed_at_random_moments_it_resumes_to_the_same_store(void **state) {
    unsigned random = 20261124;
    const char *wanted = getenv("SOW_KILLS");
    int moments = wanted ? atoi(wanted) : 20, kinds = can_run_ranks() ? VICTIMS : WORKER_RANK;
    assert_true(moments >= 2 * kinds);
    for (int trial = 0, done = 0; done < moments || trial < kinds; trial++) {
        sow_mark mark = sow_arena_mark(arena);
        done += run_struck(trial, &random);
        sow_arena_release(arena, mark);
    }
    int all = 0;
    for (int v = 0; v < VICTIMS; all += struck[v++]) print_message("# %s: killed %d times\n", names[v], struck[v]);
    assert_true(all >= moments / 2); /* at some moments there was nobody to kill */
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "work")) return toy_main(argv[2], atoi(argv[3]));
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_at_random_moments_it_resumes_to_the_same_store)};
    return cmocka_run_group_tests(tests, undisturbed, forget);
}
