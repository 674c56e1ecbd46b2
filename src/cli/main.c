/* The sow command. */
#include <dnnl.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <png.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include "cli/cli.h"
#include "sow/log.h"
#include "sow/sow.h"

/* Ctrl-C asks work to end at the next safe place; a second one ends the process at once. */
static void on_signal(int number) {
    sow_interrupt();
    signal(number, SIG_DFL);
}

static void install_signals(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
        sigaction(numbers[i], NULL, &old);
        if (old.sa_handler != SIG_IGN) sigaction(numbers[i], &action, NULL); /* nohup stays nohup */
    }
}

/* OpenBLAS starts a worker for every further core as soon as it is loaded. Where memory is limited (ulimit -v, a
 * trainer's limit) such a worker may ask for its buffer for ever, and the program then never ends. Nothing here needs
 * them: this starts the program again without, once. */
static void do_without_blas_workers(char **argv) {
    const char *workers = getenv("OPENBLAS_NUM_THREADS");
    struct rlimit space, data;
    if (workers && !strcmp(workers, "1")) return;
    if (getrlimit(RLIMIT_AS, &space) || getrlimit(RLIMIT_DATA, &data)) return;
    if (space.rlim_cur == RLIM_INFINITY && data.rlim_cur == RLIM_INFINITY) return;
    if (setenv("OPENBLAS_NUM_THREADS", "1", 1) == 0) execv("/proc/self/exe", argv);
}

static int exit_status_of(sow_status status) {
    switch (status) {
    case SOW_OK: return 0;
    case SOW_E_ARGUMENT: return 2;
    case SOW_E_INTERRUPTED: return 130;
    default: return 1;
    }
}

/* The message on stderr, and for --json an object on stdout too, so that a program always reads one. */
static int report_failure(const sow_call *call, sow_status status) {
    char message[2048], *text;
    snprintf(message, sizeof message, "%s", sow_message());
    cli_log_end();
    fputs("sow", stderr);
    if (call->method) fprintf(stderr, " %s", call->method->name);
    if (call->method && cli_has_actions(call->method)) fprintf(stderr, " %s", call->action->name);
    fputs(": ", stderr);
    cli_print_safely(stderr, message);
    fputc('\n', stderr);
    if (!call->json || !call->arena) return exit_status_of(status);
    json_t *error = json_pack("{s:{s:s,s:s*}}", "error", "status", sow_status_name(status), "message", message);
    if (error && sow_json_text(call->arena, error, SOW_JSON_PRETTY, &text) == SOW_OK) fputs(text, stdout);
    json_decref(error);
    return exit_status_of(status);
}

static sow_status print_result(const sow_call *call) {
    char *text;
    cli_log_end();
    if (json_object_size(call->result) == 0) return SOW_OK; /* the action has said all it had to say */
    if (!call->json) return cli_print_result(stdout, call->arena, call->result);
    SOW_TRY(sow_json_text(call->arena, call->result, SOW_JSON_PRETTY, &text));
    fputs(text, stdout);
    return SOW_OK;
}

static sow_status flush_output(void) {
    bool bad = ferror(stdout);
    if (fflush(stdout) != 0 || bad) return sow_fail(SOW_E_IO, "standard output: %s", strerror(errno));
    return SOW_OK;
}

/* True if --json stands among the words: for errors found before they are parsed. */
static bool wants_json(int count, const char *const *words) {
    for (int i = 0; i < count && strcmp(words[i], "--") != 0; i++)
        if (strcmp(words[i], "--json") == 0) return true;
    return false;
}

static sow_status run_command(sow_call *call, int argc, char **argv) {
    const sow_method *method;
    const char *const *words = (const char *const *)argv + 2;
    call->json = wants_json(argc - 2, words);
    SOW_TRY(cli_find_method(argv[1], &method));
    SOW_TRY(cli_parse(call, method, argc - 2, words));
    if (call->help) {
        bool named = argc > 2 && strcmp(argv[2], call->action->name) == 0;
        cli_help(stdout, method, named ? call->action : NULL);
        return flush_output();
    }
    install_signals();
    cli_log(call->quiet || sow_is_worker_rank());
    SOW_TRY(cli_run(call));
    if (sow_is_worker_rank()) return SOW_OK; /* the first rank says it all */
    SOW_TRY(print_result(call));
    return flush_output();
}

/* Absent from the reference BLAS. */
extern char *openblas_get_config(void) __attribute__((weak));

static void print_version(void) {
    const dnnl_version_t *dnnl = dnnl_version();
    printf("sow %s\n", SOW_VERSION);
    printf("instruction set: %s\n", sow_instruction_set());
    printf("threads: %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
    printf("oneDNN %d.%d.%d\n", dnnl->major, dnnl->minor, dnnl->patch);
    printf("BLAS: %s\n", openblas_get_config ? openblas_get_config() : "reference");
    printf("SQLite %s\n", sqlite3_libversion());
    printf("jansson %s\n", jansson_version_str());
    printf("libpng %s\n", png_get_libpng_ver(NULL));
    printf("zlib %s\n", zlibVersion());
    printf("%s\n", OpenSSL_version(OPENSSL_VERSION));
}

static bool is_word(const char *word, const char *a, const char *b) {
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

#ifdef SOW_FAULTS
/* jansson's allocations fail on order too. */
static void *json_memory(size_t size) {
    return sow_reallocate(NULL, size ? size : 1);
}
#endif

/* A further rank of mpirun: runs the cells that the first one gives it. */
static int serve_rank(void) {
    int exit_status = 1;
    install_signals();
    cli_log(true);
    sow_status status = sow_rank_serve(&exit_status);
    if (status) fprintf(stderr, "sow: %s\n", sow_message());
    return exit_status;
}

/* Whether all ranks run this command, and not rank 0 alone with the others as its slots. */
static bool runs_together(int argc, char **argv) {
    const sow_method *method;
    if (argc < 2 || argv[1][0] == '-' || cli_find_method(argv[1], &method) != SOW_OK) return false;
    const sow_action *action = method->actions;
    for (const sow_action *a = method->actions; argc > 2 && a->name; a++)
        if (strcmp(argv[2], a->name) == 0) action = a;
    return action->bits & SOW_ACTION_TOGETHER;
}

static int run_main(int argc, char **argv) {
    sow_call call = {0};
#ifdef SOW_FAULTS
    json_set_alloc_funcs(json_memory, sow_release);
#endif
    if (argc < 2 || is_word(argv[1], "--help", "-h")) {
        cli_help_overview(stdout);
        return flush_output() ? 1 : 0;
    }
    if (is_word(argv[1], "--version", "-V")) {
        print_version();
        return flush_output() ? 1 : 0;
    }
    sow_status status = sow_arena_new(&call.arena);
    if (!status) status = run_command(&call, argc, argv);
    int exit_status = status ? report_failure(&call, status) : call.exit_status;
    fflush(stdout);
    json_decref(call.result);
    sow_arena_free(call.arena);
    return exit_status;
}

int main(int argc, char **argv) {
    do_without_blas_workers(argv);
    bool together = runs_together(argc, argv);
    if (sow_is_worker_rank() && !together) return serve_rank();
    int exit_status = run_main(argc, argv);
    if (together) sow_together_end(exit_status);
    else sow_rank_end(exit_status);
    return exit_status;
}
