/* sow_run_cells over fake trainers: good ones, and every way a trainer can go wrong. */
#include "run/trainers.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

static void a_good_trainer_is_done_and_its_curve_is_kept(void **state) {
    lab l;
    sow_record *records;
    int64_t count;
    assert_int_equal(
        run_one(
            &l,
            "echo starting; printf '{\"step\":0,\"loss\":2}\\n{\"step\":5,\"loss\":1,\"val_acc\":0.5,\"note\":\"x\"}\\n'"),
        SOW_OK);
    assert_int_equal(l.cells[0].state, SOW_CELL_DONE);
    assert_int_equal(l.cells[0].attempt, 1);
    assert_int_equal(sow_store_curve(l.store, l.arena, &l.cells[0], &records, &count), SOW_OK);
    assert_int_equal(count, 3);
    assert_string_equal(records[0].metric, "loss");
    assert_int_equal(records[1].step, 5);
    assert_true(records[1].value == 1);
    assert_string_equal(records[2].metric, "val_acc");
    assert_string_equal(query(l.arena, l.folder, "SELECT state,attempt,steps FROM cell"), "done|1|5\n");
    assert_string_equal(query(l.arena, l.folder, "SELECT outcome,code,log FROM attempt"), "done|0|NULL\n");
    lab_close(&l);
}

static void at_an_equal_step_the_last_value_wins(void **state) {
    lab l;
    assert_int_equal(run_one(&l, "printf '{\"step\":1,\"loss\":2}\\n{\"step\":1,\"loss\":3}'"), SOW_OK);
    assert_string_equal(query(l.arena, l.folder, "SELECT step,value FROM curve"), "1|3.0\n");
    lab_close(&l);
}

static void a_trainer_that_dies_is_failed_with_its_last_lines(void **state) {
    lab l;
    assert_int_equal(run_one(&l, "echo to stdout; echo 'no module named \033[31mtorch' >&2; exit 7"), SOW_E_TRAINER);
    assert_int_equal(l.cells[0].state, SOW_CELL_FAILED);
    assert_contains(sow_message(), "exit status 7");
    assert_contains(sow_message(), "\nto stdout");
    assert_contains(sow_message(), "\nno module named ?[31mtorch");
    assert_string_equal(query(l.arena, l.folder, "SELECT state,outcome,code FROM cell JOIN attempt ON cell=id"),
                        "failed|exit|7\n");
    lab_close(&l);
    assert_int_equal(run_one(&l, "kill -SEGV $$"), SOW_E_TRAINER);
    assert_contains(l.cells[0].last_lines, "signal 11");
    lab_close(&l);
}

static void a_value_that_is_not_finite_makes_it_diverged_and_stops_it(void **state) {
    static const char *const words[] = {"NaN", "Infinity", "-Infinity", "nan", "-inf"};
    for (int i = 0; i < 5; i++) {
        lab l;
        double start = sow_seconds();
        char command[200];
        snprintf(command, sizeof command,
                 "echo '{\"step\":3,\"loss\":0.5}'; echo '{\"step\":4, \"say\":\"NaN\", \"loss\": %s}'; exec sleep 60",
                 words[i]);
        lab_open(&l, new_folder());
        l.runner.retries = 3;
        lab_add(&l, "one", 1, command);
        assert_int_equal(lab_run(&l), SOW_E_TRAINER);
        assert_int_equal(l.cells[0].state, SOW_CELL_DIVERGED);
        assert_int_equal(l.cells[0].attempt, 1);
        assert_contains(l.cells[0].last_lines, "loss is not a finite number at step 4");
        assert_true(sow_seconds() - start < 15);
        lab_close(&l);
    }
}

static void garbage_is_skipped_until_it_is_too_much(void **state) {
    lab l;
    assert_int_equal(run_one(&l, "for i in $(seq 99); do echo '{broken'; done; echo '{\"step\":1,\"loss\":2}'"),
                     SOW_OK);
    assert_string_equal(query(l.arena, l.folder, "SELECT step,value FROM curve"), "1|2.0\n");
    lab_close(&l);
    assert_int_equal(run_one(&l, "while :; do echo '{\"loss\":1}'; done"), SOW_E_TRAINER);
    assert_contains(l.cells[0].last_lines, "100 bad lines");
    lab_close(&l);
    assert_int_equal(run_one(&l, "head -c 200000 /dev/zero | tr '\\0' x; echo; echo '{\"step\":1,\"loss\":2}'"),
                     SOW_OK);
    lab_close(&l);
}

static void steps_that_decrease_break_the_contract(void **state) {
    lab l;
    assert_int_equal(run_one(&l, "echo '{\"step\":9,\"loss\":2}'; echo '{\"step\":8,\"loss\":2}'; exec sleep 60"),
                     SOW_E_TRAINER);
    assert_contains(l.cells[0].last_lines, "step 8 after step 9");
    lab_close(&l);
}

static void megabytes_of_output_pass(void **state) {
    lab l;
    sow_record *records;
    int64_t count;
    assert_int_equal(run_one(&l, "seq 400000; seq 300000 >&2; seq 0 9999 | sed 's/.*/{\"step\":&,\"loss\":&.5}/'"),
                     SOW_OK);
    assert_int_equal(sow_store_curve(l.store, l.arena, &l.cells[0], &records, &count), SOW_OK);
    assert_int_equal(count, 10000);
    assert_true(records[9999].value == 9999.5);
    lab_close(&l);
}

static void limits_stop_a_trainer_that_hangs(void **state) {
    struct {
        const char *command;
        sow_limits limits;
        const char *reason;
    } cases[] = {
        {"exec sleep 60", {0.3, 60, 60, 0.3, 0}, "no line on standard output within 0.3 s"},
        {"echo hello; exec sleep 60", {60, 0.3, 60, 0.3, 0}, "no line on standard output for 0.3 s"},
        {"while :; do echo x; sleep 0.1; done", {60, 60, 0.4, 0.3, 0}, "longer than 0.4 s"},
        {"trap '' TERM; while :; do sleep 1; done",
         {0.3, 60, 60, 0.3, 0},
         "within 0.3 s"}, /* SIGKILL after the grace time */
    };
    for (int i = 0; i < 4; i++) {
        lab l;
        double start = sow_seconds();
        lab_open(&l, new_folder());
        l.runner.limits = cases[i].limits;
        lab_add(&l, "one", 1, cases[i].command);
        assert_int_equal(lab_run(&l), SOW_E_TRAINER);
        assert_contains(l.cells[0].last_lines, cases[i].reason);
        assert_true(sow_seconds() - start < 15);
        lab_close(&l);
    }
}

static void sigterm_lets_a_trainer_end_in_peace(void **state) {
    lab l;
    char command[700];
    lab_open(&l, new_folder());
    l.runner.limits = (sow_limits){60, 0.4, 60, 20, 0};
    snprintf(command, sizeof command,
             "trap 'echo saved >%s/saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done", l.folder);
    lab_add(&l, "one", 1, command);
    assert_int_equal(lab_run(&l), SOW_E_TRAINER);
    assert_true(sow_path_exists(sow_path_join(l.arena, l.folder, "saved")));
    lab_close(&l);
}

static void the_memory_limit_holds(void **state) {
    lab l;
    lab_open(&l, new_folder());
    l.runner.limits.memory_bytes = 64 << 20;
    lab_add(&l, "one", 1, "ulimit -v");
    assert_int_equal(lab_run(&l), SOW_OK);
    char *log;
    assert_int_equal(sow_read_file(l.arena, sow_path_join(l.arena, l.cells[0].folder, "log"), 100, &log, NULL), SOW_OK);
    assert_string_equal(log, "65536\n");
    lab_close(&l);
}

/* Commands of a test sleep for a time that no other process sleeps for: S in them becomes 1000.PID and a number. */
static const char *sleeping(int number, const char *command) {
    static char texts[8][400];
    char *to = texts[number];
    for (; *command; command++)
        if (*command == 'S') to += sprintf(to, "sleep 1000.%d%d", (int)getpid(), number);
        else *to++ = *command;
    *to = 0;
    return texts[number];
}

/* Whether a process sleeps for that number. */
static bool sleeps(pid_t tester, int number) {
    char wanted[64], path[300], line[64];
    size_t length = (size_t)snprintf(wanted, sizeof wanted, "sleep%c1000.%d%d", 0, (int)tester, number) + 1;
    bool found = false;
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; !found && (entry = readdir(processes));) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        int fd = open(path, O_RDONLY);
        found = fd >= 0 && read(fd, line, sizeof line) == (ssize_t)length && !memcmp(line, wanted, length);
        if (fd >= 0) close(fd);
    }
    closedir(processes);
    return found;
}

static void grandchildren_do_not_outlive_the_cell(void **state) {
    lab l;
    double start = sow_seconds();
    assert_int_equal(run_one(&l, sleeping(1, "S & setsid S & (trap '' TERM; exec S) & echo '{\"step\":1,\"loss\":2}'")),
                     SOW_OK);
    assert_int_equal(l.cells[0].state, SOW_CELL_DONE);
    assert_true(sow_seconds() - start < 15);
    assert_false(sleeps(getpid(), 1));
    lab_close(&l);
}

static void a_killed_supervisor_takes_the_trainer_along(void **state) {
    lab l;
    assert_int_equal(run_one(&l, sleeping(5, "kill -9 $PPID; S; true")), SOW_E_TRAINER);
    assert_contains(l.cells[0].last_lines, "its supervisor was killed");
    assert_false(sleeps(getpid(), 5));
    lab_close(&l);
}

static void failed_cells_are_retried_with_the_same_folder(void **state) {
    lab l;
    char command[700];
    lab_open(&l, new_folder());
    l.runner.retries = 2;
    snprintf(command, sizeof command,
             "cd %s/cell-0; echo '{\"step\":1,\"loss\":1}'; echo x >>tries; test $(wc -l <tries) = 3", l.folder);
    lab_add(&l, "one", 1, command);
    assert_int_equal(lab_run(&l), SOW_OK);
    assert_int_equal(l.cells[0].attempt, 3);
    assert_string_equal(query(l.arena, l.folder, "SELECT attempt,outcome FROM attempt ORDER BY attempt"),
                        "1|exit\n2|exit\n3|done\n");
    sow_record *records;
    int64_t count;
    assert_int_equal(sow_store_curve(l.store, l.arena, &l.cells[0], &records, &count), SOW_OK);
    assert_int_equal(count, 1);
    lab_close(&l);
}

static void a_chain_runs_in_order_and_stops_behind_a_failure(void **state) {
    static const int need0[] = {0}, need1[] = {1};
    lab l;
    char commands[3][700];
    lab_open(&l, new_folder());
    l.runner.slots = 3;
    for (int i = 0; i < 3; i++) {
        snprintf(commands[i], 700, "echo %d >>%s/order", i, l.folder);
        lab_add(&l, i == 0 ? "round-00" : i == 1 ? "round-01" : "round-02", 5, commands[i]);
    }
    l.cells[1].needs = need0, l.cells[1].need_count = 1;
    l.cells[2].needs = need1, l.cells[2].need_count = 1;
    assert_int_equal(lab_run(&l), SOW_OK);
    char *order;
    assert_int_equal(sow_read_file(l.arena, sow_path_join(l.arena, l.folder, "order"), 100, &order, NULL), SOW_OK);
    assert_string_equal(order, "0\n1\n2\n");
    lab_close(&l);

    lab_open(&l, new_folder());
    lab_add(&l, "round-00", 5, "exit 3");
    lab_add(&l, "round-01", 5, "true");
    lab_add(&l, "round-02", 5, "true");
    lab_add(&l, "round-00", 6, "true");
    l.cells[1].needs = need0, l.cells[1].need_count = 1;
    l.cells[2].needs = need1, l.cells[2].need_count = 1;
    assert_int_equal(lab_run(&l), SOW_E_TRAINER);
    assert_contains(sow_message(), "of 4 cells, 3 failed");
    assert_contains(l.cells[2].last_lines, "it needs round-00, seed 5, which failed");
    assert_string_equal(query(l.arena, l.folder, "SELECT state FROM cell ORDER BY id"),
                        "failed\nfailed\nfailed\ndone\n");
    l.cells[0].user = (void *)(uintptr_t) "true"; /* the user mends the trainer and starts again */
    assert_int_equal(lab_run(&l), SOW_OK);
    assert_string_equal(query(l.arena, l.folder, "SELECT state,attempt FROM cell ORDER BY id"),
                        "done|2\ndone|1\ndone|1\ndone|1\n");
    lab_close(&l);
}

static void needs_must_be_earlier_and_identities_different(void **state) {
    static const int need1[] = {1};
    lab l;
    lab_open(&l, new_folder());
    lab_add(&l, "a", 1, "true");
    lab_add(&l, "b", 1, "true");
    l.cells[0].needs = need1, l.cells[0].need_count = 1;
    assert_int_equal(lab_run(&l), SOW_E_ARGUMENT);
    l.cells[0].need_count = 0;
    l.cells[1].stage = "a";
    assert_int_equal(lab_run(&l), SOW_E_ARGUMENT);
    assert_contains(sow_message(), "two cells are a, seed 1, arm 0");
    lab_close(&l);
}

static void the_environment_is_that_of_the_contract(void **state) {
    lab l;
    char *log;
    setenv("OMPI_COMM_WORLD_RANK", "3", 1);
    setenv("OMP_NUM_THREADS", "99", 1);
    lab_open(&l, new_folder());
    l.runner.threads = 2;
    lab_add(
        &l, "one", 1,
        "echo $OMP_NUM_THREADS $OPENBLAS_NUM_THREADS $MKL_NUM_THREADS $RAYON_NUM_THREADS $PYTHONUNBUFFERED $OMPI_COMM_WORLD_RANK; cat; "
        "ls /proc/self/fd | wc -l");
    assert_int_equal(lab_run(&l), SOW_OK);
    assert_int_equal(sow_read_file(l.arena, sow_path_join(l.arena, l.cells[0].folder, "log"), 1000, &log, NULL),
                     SOW_OK);
    assert_string_equal(log, "2 2 2 2 1\n4\n"); /* standard input ends at once; descriptors 0, 1, 2 and that of ls */
    unsetenv("OMPI_COMM_WORLD_RANK");
    unsetenv("OMP_NUM_THREADS");
    lab_close(&l);
}

/* ---- finish ---- */

static sow_status mean_score(void *user, sow_cell *cell, const sow_record *records, int64_t count) {
    double sum = 0;
    if (cell->seed == 13) return sow_fail(SOW_E_NOT_FOUND, "final.safetensors: missing");
    if (cell->seed == 14) return sow_fail(SOW_E_NUMBER, "final.safetensors: weight holds a NaN");
    for (int64_t i = 0; i < count; i++) sum += records[i].value;
    return sow_store_score(user, cell, sum / (double)count, 0.25);
}

static void finish_reads_results_and_may_refuse_them(void **state) {
    lab l;
    lab_open(&l, new_folder());
    l.runner.finish = mean_score;
    l.runner.user = l.store;
    for (uint64_t seed = 12; seed < 15; seed++)
        lab_add(&l, "one", seed, "echo '{\"step\":1,\"loss\":1}'; echo '{\"step\":2,\"loss\":2}'");
    assert_int_equal(lab_run(&l), SOW_E_TRAINER);
    assert_contains(l.cells[1].last_lines, "final.safetensors: missing");
    assert_string_equal(query(l.arena, l.folder, "SELECT seed,state,score,test FROM cell ORDER BY seed"),
                        "12|done|1.5|0.25\n13|failed|NULL|NULL\n14|diverged|NULL|NULL\n");
    lab_close(&l);
}

static sow_status wants_accuracy(void *user, sow_cell *cell, const sow_record *records, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!strcmp(records[i].metric, "acc")) return SOW_OK;
    return sow_fail(SOW_E_TRAINER, "acc was never printed");
}

static void a_trainer_that_ignores_the_contract_is_told_how(void **state) {
    static const struct {
        const char *command, *reason;
    } cases[] = {
        {"echo accuracy: 0.93",
         "acc was never printed; it printed no record: expected lines like {\"step\":10,\"loss\":0.5}"},
        {"echo '{\"step\":1,\"acc\":0.93}' >&2", "its records are in its log: print them to standard output"},
        {"echo \"  {'step': 1, 'acc': 0.93}\"", "its records are in its log: print them to standard output, as JSON"},
        {"echo hm; echo '{\"step\":1,\"loss\":0.3}'", "acc was never printed; last lines"},
        {"for i in $(seq 100); do echo \"{'step': 1, 'acc': 0.93}\"; done", "print(json.dumps(...)) makes it JSON"},
    };
    for (int i = 0; i < 5; i++) {
        lab l;
        lab_open(&l, new_folder());
        l.runner.finish = wants_accuracy;
        lab_add(&l, "one", 1, cases[i].command);
        assert_int_equal(lab_run(&l), SOW_E_TRAINER);
        assert_contains(l.cells[0].last_lines, cases[i].reason);
        lab_close(&l);
    }
}

/* ---- slots, resume, interruption ---- */

static char *rows(lab *l) {
    return query(l->arena, l->folder,
                 "SELECT stage,seed,arm,state,steps,metric,step,value FROM cell LEFT JOIN curve"
                 " ON cell=id AND curve.attempt=cell.attempt ORDER BY 1,2,3,6,7");
}

static char *rows_with_slots(lab *l, int slots) {
    lab_open(l, new_folder());
    l->runner.slots = slots;
    for (uint64_t seed = 0; seed < 12; seed++)
        lab_add(l, "race", seed,
                "sleep 0.0$(($$ % 9)); for i in 1 2 3; do echo \"{\\\"step\\\":$i,\\\"loss\\\":0.$i}\"; done");
    assert_int_equal(lab_run(l), SOW_OK);
    return rows(l);
}

static void results_do_not_depend_on_slots(void **state) {
    lab one, four;
    assert_string_equal(rows_with_slots(&one, 1), rows_with_slots(&four, 4));
    lab_close(&one);
    lab_close(&four);
}

/* Each of two trainers waits for the other one's file. */
static void two_slots_run_side_by_side(void **state) {
    lab l;
    char commands[2][900];
    lab_open(&l, new_folder());
    l.runner.slots = 2;
    l.runner.limits = (sow_limits){0};
    for (int i = 0; i < 2; i++) {
        snprintf(commands[i], sizeof commands[i],
                 "touch %s/here-%d; for i in $(seq 150); do test -e %s/here-%d && exit 0; sleep 0.1; done; exit 1",
                 l.folder, i, l.folder, 1 - i);
        lab_add(&l, "race", (uint64_t)i, commands[i]);
    }
    assert_int_equal(lab_run(&l), SOW_OK);
    lab_close(&l);
}

static void done_cells_are_never_run_again(void **state) {
    lab l;
    char command[700];
    lab_open(&l, new_folder());
    snprintf(command, sizeof command, "echo x >>%s/runs", l.folder);
    lab_add(&l, "one", 1, command);
    for (int i = 0; i < 3; i++) assert_int_equal(lab_run(&l), SOW_OK);
    char *text;
    assert_int_equal(sow_read_file(l.arena, sow_path_join(l.arena, l.folder, "runs"), 100, &text, NULL), SOW_OK);
    assert_string_equal(text, "x\n");
    lab_close(&l);
}

/* ---- what is said meanwhile ---- */

static int warnings, progress_calls;
static int64_t last_done, last_total;

static void count_warning(void *user, sow_log_level level, const char *text) {
    warnings += level == SOW_LOG_WARNING;
}

static void see_progress(void *user, const char *what, int64_t done, int64_t total) {
    assert_string_equal(what, "toy");
    assert_true(done >= last_done && done <= total);
    last_done = done, last_total = total;
    progress_calls++;
}

static void progress_counts_steps_and_bad_lines_are_warned_of(void **state) {
    lab l;
    sow_log_to(&(sow_log_sink){count_warning, see_progress, NULL});
    lab_open(&l, new_folder());
    l.runner.what = "toy";
    for (uint64_t seed = 0; seed < 3; seed++)
        lab_add(
            &l, "one", seed,
            "for i in 1 2 3 4; do echo \"{\\\"step\\\":${i}00,\\\"loss\\\":1}\"; sleep 0.12; done; seq 9 | sed 's/^/{bad/'")
            ->steps = 400;
    assert_int_equal(lab_run(&l), SOW_OK);
    assert_int_equal(last_done, 1200);
    assert_int_equal(last_total, 1200);
    assert_in_range(progress_calls, 6, 1000);
    assert_int_equal(warnings, 3 * 5); /* five a cell, not nine */
    sow_log_to(NULL);
    lab_close(&l);
}

/* ---- a full disk ---- */

/* The store may not grow: for SQLite that is a disk without room. In a child, since the limit stays. */
static void a_full_disk_ends_the_run_and_it_resumes(void **state) {
    const char *folder = new_folder();
    if (fork() == 0) {
        lab l;
        lab_open(&l, folder);
        for (uint64_t seed = 0; seed < 4; seed++)
            lab_add(&l, "one", seed, "seq 0 2999 | sed 's/.*/{\"step\":&,\"loss\":&}/'");
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){200000, 200000});
        sow_status status = lab_run(&l);
        bool told = strstr(sow_message(), "sow.db: ") && l.cells[3].state != SOW_CELL_DONE;
        lab_close(&l);
        _exit(status == SOW_E_IO && told ? 0 : 1);
    }
    int status;
    wait(&status);
    assert_int_equal(status, 0);
    lab l;
    lab_open(&l, folder);
    for (uint64_t seed = 0; seed < 4; seed++)
        lab_add(&l, "one", seed, "seq 0 2999 | sed 's/.*/{\"step\":&,\"loss\":&}/'");
    assert_int_equal(lab_run(&l), SOW_OK);
    assert_string_equal(
        query(l.arena, folder,
              "SELECT count(*) FROM cell JOIN curve ON id=cell AND cell.attempt=curve.attempt WHERE state='done'"),
        "12000\n");
    lab_close(&l);
}

static void interrupt(void *user, const sow_cell *cell, const sow_record *record) {
    sow_interrupt();
}

/* In a child, since an interruption is for good. */
static void an_interruption_stops_trainers_and_keeps_the_store(void **state) {
    const char *folder = new_folder();
    pid_t child = fork();
    if (child == 0) {
        lab l;
        lab_open(&l, folder);
        l.runner.record = interrupt;
        lab_add(&l, "one", 1, "true");
        lab_add(&l, "two", 1, sleeping(2, "echo '{\"step\":1,\"loss\":1}'; exec S"));
        lab_add(&l, "three", 1, "true");
        bool stopped = lab_run(&l) == SOW_E_INTERRUPTED && l.cells[1].state == SOW_CELL_STOPPED;
        _exit(stopped && strstr(sow_message(), "1 of 3 cells have ended and are kept: the same command with --resume")
                  ? 0
                  : 1);
    }
    int status;
    wait(&status);
    assert_int_equal(status, 0);
    assert_false(sleeps(child, 2));
    lab l;
    lab_open(&l, folder);
    assert_string_equal(query(l.arena, folder, "SELECT stage,state FROM cell ORDER BY id"),
                        "one|done\ntwo|stopped\nthree|pending\n");
    lab_close(&l);
}

static void after_sigkill_no_trainer_is_left_and_the_store_opens(void **state) {
    const char *folder = new_folder();
    pid_t child = fork();
    if (child == 0) {
        lab l;
        lab_open(&l, folder);
        l.runner.slots = 2;
        l.runner.limits = (sow_limits){0};
        lab_add(&l, "one", 1, sleeping(3, "trap '' TERM; setsid S & S; true"));
        lab_add(&l, "two", 1, sleeping(4, "S; true"));
        lab_run(&l);
        _exit(1);
    }
    for (int i = 0; i < 200 && !(sleeps(child, 3) && sleeps(child, 4)); i++) usleep(20000);
    assert_true(sleeps(child, 3) && sleeps(child, 4));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    lab l;
    lab_open(&l, folder); /* waits until the supervisors are gone */
    assert_false(sleeps(child, 3) || sleeps(child, 4));
    assert_string_equal(query(l.arena, folder, "SELECT state,outcome FROM cell JOIN attempt ON cell=id"),
                        "pending|lost\npending|lost\n");
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_trainer_is_done_and_its_curve_is_kept),
        cmocka_unit_test(at_an_equal_step_the_last_value_wins),
        cmocka_unit_test(a_trainer_that_dies_is_failed_with_its_last_lines),
        cmocka_unit_test(a_value_that_is_not_finite_makes_it_diverged_and_stops_it),
        cmocka_unit_test(garbage_is_skipped_until_it_is_too_much),
        cmocka_unit_test(steps_that_decrease_break_the_contract),
        cmocka_unit_test(megabytes_of_output_pass),
        cmocka_unit_test(limits_stop_a_trainer_that_hangs),
        cmocka_unit_test(sigterm_lets_a_trainer_end_in_peace),
        cmocka_unit_test(the_memory_limit_holds),
        cmocka_unit_test(grandchildren_do_not_outlive_the_cell),
        cmocka_unit_test(a_killed_supervisor_takes_the_trainer_along),
        cmocka_unit_test(failed_cells_are_retried_with_the_same_folder),
        cmocka_unit_test(a_chain_runs_in_order_and_stops_behind_a_failure),
        cmocka_unit_test(needs_must_be_earlier_and_identities_different),
        cmocka_unit_test(the_environment_is_that_of_the_contract),
        cmocka_unit_test(finish_reads_results_and_may_refuse_them),
        cmocka_unit_test(a_trainer_that_ignores_the_contract_is_told_how),
        cmocka_unit_test(results_do_not_depend_on_slots),
        cmocka_unit_test(two_slots_run_side_by_side),
        cmocka_unit_test(done_cells_are_never_run_again),
        cmocka_unit_test(progress_counts_steps_and_bad_lines_are_warned_of),
        cmocka_unit_test(a_full_disk_ends_the_run_and_it_resumes),
        cmocka_unit_test(an_interruption_stops_trainers_and_keeps_the_store),
        cmocka_unit_test(after_sigkill_no_trainer_is_left_and_the_store_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
