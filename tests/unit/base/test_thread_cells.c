/* Cells: each runs once, on any number of threads, called from cells, from several threads, and behind a fork. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CELLS = 37, REGIONS = 2000 };

typedef struct tally {
    _Atomic int runs[CELLS];
    _Atomic uint32_t workers; /* a bit each */
    int64_t plain[CELLS];     /* written by the owner alone */
} tally;

static void count(void *context, int64_t i) {
    tally *t = context;
    atomic_fetch_add(&t->runs[i], 1);
    atomic_fetch_or(&t->workers, 1u << sow_worker());
    t->plain[i] += i;
}

static void assert_all_ran(const tally *t, int times) {
    for (int64_t i = 0; i < CELLS; i++) {
        assert_int_equal(atomic_load(&t->runs[i]), times);
        assert_int_equal(t->plain[i], times * i);
    }
}

static void every_cell_runs_once(void **state) {
    static const int threads[] = {1, 2, 4, 3, 7, 2};
    for (size_t k = 0; k < sizeof threads / sizeof *threads; k++) {
        tally t = {0};
        sow_set_threads(threads[k]);
        for (int r = 0; r < REGIONS; r++) sow_cells(CELLS, count, &t);
        assert_all_ran(&t, REGIONS);
        assert_true(atomic_load(&t.workers) < 1u << threads[k]);
    }
    tally none = {0};
    sow_cells(0, count, &none);
    assert_all_ran(&none, 0);
}

/* Pauses of all lengths: workers are met spinning, falling asleep and asleep. */
static void sleeping_workers_are_woken(void **state) {
    tally t = {0};
    sow_set_threads(3);
    for (int r = 0; r < 300; r++) {
        sow_cells(CELLS, count, &t);
        usleep((unsigned)(r % 30) * 10);
    }
    assert_all_ran(&t, 300);
}

static void nested(void *context, int64_t i) {
    tally *t = context;
    tally inner = {0};
    int self = sow_worker();
    sow_cells(CELLS, count, &inner);
    assert_all_ran(&inner, 1);
    assert_int_equal(atomic_load(&inner.workers), 1u << self); /* in order, on this thread */
    count(t, i);
}

static void cells_within_cells_run_where_they_are(void **state) {
    tally t = {0};
    sow_set_threads(4);
    for (int r = 0; r < 50; r++) sow_cells(CELLS, nested, &t);
    assert_all_ran(&t, 50);
}

/* Gives back what was wrong, NULL: nothing. */
static void *caller(void *unused) {
    static char wrong[] = "a cell ran twice, or not at all";
    (void)unused;
    tally t = {0};
    for (int r = 0; r < REGIONS; r++) sow_cells(CELLS, count, &t);
    for (int64_t i = 0; i < CELLS; i++)
        if (atomic_load(&t.runs[i]) != REGIONS || t.plain[i] != REGIONS * i) return wrong;
    return NULL;
}

static void several_threads_may_call(void **state) {
    pthread_t threads[3];
    void *wrong;
    sow_set_threads(3);
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, caller, NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

/* The child has no workers and starts its own. */
static void a_child_of_a_fork_computes(void **state) {
    int status;
    sow_set_threads(3);
    assert_null(caller(NULL));
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        _exit(caller(NULL) != NULL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_null(caller(NULL));
}

/* Denormals are flushed in every cell, and the caller's setting comes back. */
static void halve(void *context, int64_t i) {
    volatile float least = 1.17549435e-38F;
    ((float *)context)[i] = least / 2;
}
static void denormals_are_flushed_in_cells_alone(void **state) {
#if defined(__x86_64__)
    float halves[CELLS];
    volatile float least = 1.17549435e-38F;
    for (int threads = 1; threads <= 3; threads++) {
        sow_set_threads(threads);
        sow_cells(CELLS, halve, halves);
        for (int i = 0; i < CELLS; i++) assert_true(halves[i] == 0);
        assert_true(least / 2 > 0);
    }
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cell_runs_once),
        cmocka_unit_test(sleeping_workers_are_woken),
        cmocka_unit_test(cells_within_cells_run_where_they_are),
        cmocka_unit_test(several_threads_may_call),
        cmocka_unit_test(a_child_of_a_fork_computes),
        cmocka_unit_test(denormals_are_flushed_in_cells_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
