/* A clock on the wall that jumps back a day with every look: nothing but two columns may notice. */
#include "run/trainers.h"

#include <sys/syscall.h>
#include <time.h>

static int looks;

/* Stands before the C library's own, for this program and the library in it. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    long result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec -= 86400 * ++looks;
    return (int)result;
}

static void a_clock_that_jumps_harms_nothing(void **state) {
    lab l;
    sow_store *view;
    sow_cell_row *rows;
    int64_t count;
    double start = sow_seconds();
    lab_open(&l, new_folder());
    l.runner.limits = (sow_limits){30, 30, 60, 0.2, 0};
    l.runner.slots = 2;
    l.runner.retries = 1;
    lab_add(&l, "a", 0, "echo '{\"step\":1,\"loss\":1}'; sleep 0.1; echo '{\"step\":2,\"loss\":2}'");
    lab_add(&l, "a", 1, "exit 1");
    lab_add(&l, "a", 2, "echo '{\"step\":1,\"loss\":1}'");
    assert_int_equal(lab_run(&l), SOW_E_TRAINER);
    assert_true(looks >= 2 * 4);
    assert_true(sow_seconds() - start < 20);
    assert_int_equal(sow_store_view(l.folder, &view), SOW_OK);
    assert_int_equal(sow_store_cells(view, l.arena, &rows, &count), SOW_OK);
    assert_true(rows[0].state == SOW_CELL_DONE && rows[1].state == SOW_CELL_FAILED && rows[2].state == SOW_CELL_DONE);
    assert_int_equal(rows[1].attempt, 2);
    for (int i = 0; i < 3; i++) assert_true(rows[i].seconds >= 0 && rows[i].seconds < 20); /* by the steady clock */
    assert_true(rows[0].ended - rows[0].started < -80000);                                 /* by the one that jumps */
    sow_store_close(view);
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_clock_that_jumps_harms_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
