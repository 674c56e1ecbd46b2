/* A plan killed at every write and at random moments, and writes and allocations that fail: after a resume the
 * store's rows and the cells' files are those of an undisturbed run. */
#include "unit/run/trainers.h"

#include <fcntl.h>
#include <signal.h>

#include "base/fault.h"

enum { SEEDS = 3, ROUNDS = 3, CELLS = SEEDS * (ROUNDS + 1) };

/* ---- the plan, run by this program called as `test_kill_run work FOLDER` ---- */

/* Each round's file holds the round before it and the seed; the control adds its own. Files appear whole, as
 * trainers' should. */
static sow_status round_command(void *user, sow_arena *arena, const sow_cell *cell, char **command) {
    const char *previous = cell->need_count ? ((const sow_cell *)user)[cell->needs[0]].folder : "/dev";
    char *expanded;
    const char *text =
        "cat {previous}/final >{dir}/part 2>/dev/null; echo {stage} {seed} >>{dir}/part; for i in 1 2 3 4 5; do "
        "echo '{\"step\":'$i',\"loss\":'$i.{seed}'}'; done; mv {dir}/part {dir}/final";
    const sow_variable variables[] = {{"previous", previous},
                                      {"dir", cell->folder},
                                      {"stage", cell->stage},
                                      {"seed", sow_arena_format(arena, "%d", (int)cell->seed)}};
    SOW_TRY(sow_expand(arena, text, variables, 4, &expanded));
    *command = expanded;
    return SOW_OK;
}

static sow_store *work_store;

static sow_status last_loss(void *user, sow_cell *cell, const sow_record *records, int64_t count) {
    return sow_store_score(work_store, cell, records[count - 1].value, (double)count);
}

static sow_status work(const char *folder, sow_arena *arena) {
    static const char *const stages[] = {"round-00", "round-01", "round-02", "control"};
    sow_cell *cells;
    int *needs;
    SOW_TRY(SOW_NEW(arena, cells, CELLS));
    SOW_TRY(SOW_NEW(arena, needs, CELLS));
    for (int c = 0; c < CELLS; c++) {
        needs[c] = c - 1;
        cells[c] = (sow_cell){
            .stage = stages[c % 4], .seed = (uint64_t)(c / 4), .needs = &needs[c], .need_count = c % 4 != 0};
        cells[c].folder = sow_arena_format(arena, "%s/%s-%d", folder, cells[c].stage, c / 4);
        if (!cells[c].folder) return SOW_E_MEMORY;
    }
    sow_runner runner = {
        .command = round_command, .finish = last_loss, .user = cells, .slots = 2, .limits = {60, 60, 60, 1, 0}};
    SOW_TRY(sow_store_open(folder, "{\"rounds\":3}", &work_store));
    sow_status status = sow_run_cells(work_store, &runner, cells, CELLS);
    if (status == SOW_OK)
        status = sow_store_verdict(work_store, &(sow_verdict){-1, "confirmed", SEEDS, 1, 0, 2, 0.01, "{}"});
    sow_store_close(work_store);
    return status;
}

/* With TEST_LIBRARIES set, SQLite's and jansson's allocations count and fail like ours. */
static sqlite3_mem_methods sqlite_memory;

static void *sqlite_malloc(int size) {
    return sow_fault(SOW_FAULT_ALLOC) ? NULL : sqlite_memory.xMalloc(size);
}

static void *sqlite_realloc(void *pointer, int size) {
    return sow_fault(SOW_FAULT_ALLOC) ? NULL : sqlite_memory.xRealloc(pointer, size);
}

static void *jansson_malloc(size_t size) {
    return sow_fault(SOW_FAULT_ALLOC) ? NULL : malloc(size);
}

static void hook_libraries(void) {
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory);
    sqlite3_mem_methods hooked = sqlite_memory;
    hooked.xMalloc = sqlite_malloc;
    hooked.xRealloc = sqlite_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &hooked);
    json_set_alloc_funcs(jansson_malloc, free);
}

static int work_main(const char *folder) {
    sow_arena *arena = NULL;
    if (getenv("TEST_LIBRARIES")) hook_libraries();
    sow_status status = sow_arena_new(&arena);
    if (status == SOW_OK) status = work(folder, arena);
    if (status != SOW_OK) fprintf(stderr, "%s\n", sow_message());
    bool silent = status != SOW_OK && !*sow_message();
    sow_arena_free(arena);
    return status == SOW_OK ? 0 : silent ? 4 : 3;
}

/* ---- the tests ---- */

/* Starts the plan with SOW_FAULT; in a process group of its own. */
static pid_t start(const char *folder, const char *fault, const char *count_file) {
    pid_t child = fork();
    if (child) return child;
    setpgid(0, 0);
    if (fault) setenv("SOW_FAULT", fault, 1);
    if (count_file) setenv("SOW_FAULT_COUNT", count_file, 1);
    char *log = getenv("TEST_LOG") ? getenv("TEST_LOG") : (char *)(uintptr_t) "/dev/null";
    dup2(open(log, O_WRONLY | O_CREAT | O_APPEND, 0666), 2);
    execl("/proc/self/exe", "test_kill_run", "work", folder, (char *)NULL);
    _exit(99);
}

static int finish(pid_t child) {
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void assert_good(int status) {
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail_msg("the plan ended with wait status %d", status);
}

/* All that must not depend on interruptions: rows, curves of the attempts that count, done attempts, files. */
static char *picture(sow_arena *arena, const char *folder) {
    char command[1000], *files;
    char *rows = query(
        arena, folder,
        "SELECT stage,seed,arm,state,score,test,steps,(SELECT count(*) FROM attempt WHERE cell=id AND outcome='done'),metric,step,value"
        " FROM cell LEFT JOIN curve ON cell=id AND curve.attempt=cell.attempt ORDER BY 1,2,3,9,10");
    char *verdict = query(arena, folder, "SELECT arm,verdict,n,effect,low,high,p,detail FROM verdict");
    snprintf(command, sizeof command,
             "cd %s && cat round-*/final control-*/final >picture && ls -d */final */part >>picture 2>/dev/null; true",
             folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(sow_read_file(arena, sow_path_join(arena, folder, "picture"), 100000, &files, NULL), SOW_OK);
    return sow_arena_format(arena, "%s%s%s", rows, verdict, files);
}

typedef struct wanted {
    sow_arena *arena;
    char *picture;
    long writes, allocations;
    double seconds;
} wanted;

static int undisturbed(void **state) {
    static wanted w;
    char folder[600], counts[700], *text;
    find_supervisor();
    assert_int_equal(sow_arena_new(&w.arena), SOW_OK);
    snprintf(folder, sizeof folder, "%s", new_folder());
    snprintf(counts, sizeof counts, "%s/counts", folder);
    double begin = sow_seconds();
    assert_good(finish(start(folder, NULL, counts)));
    w.seconds = sow_seconds() - begin;
    w.picture = picture(w.arena, folder);
    assert_int_equal(sow_read_file(w.arena, counts, 1000, &text, NULL), SOW_OK);
    w.writes = atol(strstr(text, "write ") + 6);
    w.allocations = atol(strstr(text, "alloc ") + 6);
    assert_contains(w.picture, "round-02 2");
    print_message("# %ld writes, %ld allocations, %.2f s\n", w.writes, w.allocations, w.seconds);
    *state = &w;
    return 0;
}

static int forget(void **state) {
    sow_arena_free(((wanted *)*state)->arena);
    return 0;
}

static void assert_resumes(const wanted *w, const char *folder, const char *what) {
    sow_arena *arena;
    assert_int_equal(sow_arena_new(&arena), SOW_OK);
    assert_good(finish(start(folder, NULL, NULL)));
    char *found = picture(arena, folder);
    if (strcmp(found, w->picture)) fail_msg("%s: found\n%s\nexpected\n%s", what, found, w->picture);
    sow_arena_free(arena);
}

/* How many writes there are depends a little on what arrives together: the last few numbers may not be reached. */
static bool ended_before(long n, int status) {
    return n > 2 * CELLS && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void killed_at_every_write_it_resumes(void **state) {
    const wanted *w = *state;
    assert_true(w->writes > 2 * CELLS);
    for (long n = 1; n <= w->writes; n++) {
        char fault[32], folder[600];
        snprintf(folder, sizeof folder, "%s", new_folder());
        snprintf(fault, sizeof fault, "kill:%ld", n);
        int status = finish(start(folder, fault, NULL));
        if (!ended_before(n, status) && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
            fail_msg("%s: wait status %d", fault, status);
        assert_resumes(w, folder, fault);
    }
}

static void a_write_that_fails_is_reported_and_it_resumes(void **state) {
    const wanted *w = *state;
    for (long n = 1; n <= w->writes; n += 3) {
        char fault[32], folder[600];
        snprintf(folder, sizeof folder, "%s", new_folder());
        snprintf(fault, sizeof fault, "write:%ld", n);
        int status = finish(start(folder, fault, NULL));
        if (!ended_before(n, status) && !(WIFEXITED(status) && WEXITSTATUS(status) == 3))
            fail_msg("%s: wait status %d, expected exit status 3", fault, status);
        assert_resumes(w, folder, fault);
    }
}

static void an_allocation_that_fails_is_reported_and_it_resumes(void **state) {
    const wanted *w = *state;
    for (long n = 1; n <= w->allocations; n += n < 20 ? 1 : 7) {
        char fault[32], folder[600];
        snprintf(folder, sizeof folder, "%s", new_folder());
        snprintf(fault, sizeof fault, "alloc:%ld", n);
        int status = finish(start(folder, fault, NULL));
        if (!WIFEXITED(status) || WEXITSTATUS(status) > 3)
            fail_msg("%s: wait status %d, expected a message", fault, status);
        assert_resumes(w, folder, fault);
    }
}

static long library_allocations(const wanted *w) {
    char counts[700], *text;
    snprintf(counts, sizeof counts, "%s/counts", new_folder());
    assert_good(finish(start(new_folder(), NULL, counts)));
    assert_int_equal(sow_read_file(w->arena, counts, 1000, &text, NULL), SOW_OK);
    return atol(strstr(text, "alloc ") + 6);
}

static void an_allocation_that_fails_in_a_library_is_reported_and_it_resumes(void **state) {
    const wanted *w = *state;
    setenv("TEST_LIBRARIES", "1", 1);
    long all = library_allocations(w);
    print_message("# %ld allocations with those of SQLite and jansson\n", all);
    assert_true(all > 4 * w->allocations);
    for (long n = 1; n <= all; n += 1 + n / 12) {
        char fault[32], folder[600];
        snprintf(folder, sizeof folder, "%s", new_folder());
        snprintf(fault, sizeof fault, "alloc:%ld", n);
        setenv("TEST_LIBRARIES", "1", 1);
        int status = finish(start(folder, fault, NULL));
        unsetenv("TEST_LIBRARIES");
        /* SQLite does without some of its memory: then all is well. */
        if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3))
            fail_msg("%s: wait status %d", fault, status);
        assert_resumes(w, folder, fault);
    }
    unsetenv("TEST_LIBRARIES");
}

/* SIGKILL for the process or its whole group, up to four times in a row. */
static void killed_at_random_moments_it_resumes(void **state) {
    const wanted *w = *state;
    unsigned random = 20261124;
    for (int trial = 0; trial < 50;) {
        char folder[600], what[64];
        int kills = 1 + trial % 4;
        snprintf(folder, sizeof folder, "%s", new_folder());
        for (int k = 0; k < kills; k++, trial++) {
            pid_t child = start(folder, NULL, NULL);
            usleep((useconds_t)(w->seconds * 1e6 * (rand_r(&random) % 1000) / 1000));
            kill(trial % 2 ? -child : child, SIGKILL);
            finish(child);
        }
        snprintf(what, sizeof what, "trial %d", trial);
        assert_resumes(w, folder, what);
    }
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "work")) return work_main(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_every_write_it_resumes),
        cmocka_unit_test(a_write_that_fails_is_reported_and_it_resumes),
        cmocka_unit_test(an_allocation_that_fails_is_reported_and_it_resumes),
        cmocka_unit_test(an_allocation_that_fails_in_a_library_is_reported_and_it_resumes),
        cmocka_unit_test(killed_at_random_moments_it_resumes),
    };
    return cmocka_run_group_tests(tests, undisturbed, forget);
}
