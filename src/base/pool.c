/* Workers that take cells as they come. OpenMP's teams end every region with a barrier: where other processes use the cores too, a
 * thread that is not running then costs the others a slice of the scheduler, some hundred times a token or a training step. */
#include "base/pool.h"

#include <limits.h>
#include <linux/futex.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sow/threads.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define relax() _mm_pause()
#else
#define relax() ((void)0)
#endif

/* Looks, some 20 ns apart, before a thread sleeps: regions of a training step follow each other within microseconds. */
enum { WORKERS_MAX = 256, BLOCK_LOOKS = 150, IDLE_LOOKS = 4000, END_LOOKS = 5000 };

/* The cells of a participant, and the next one that nobody has begun; a cache line each. */
typedef struct block {
    _Alignas(64) _Atomic int64_t next;
    int64_t end;
} block;

/* One region at a time. `region` counts them, odd while one is open; a worker takes part in each once. */
static struct pool {
    pthread_mutex_t user; /* who holds it may open regions */
    int workers;          /* started so far */
    _Alignas(64) _Atomic uint32_t region;
    _Atomic uint32_t sleepers;
    _Alignas(64) _Atomic uint32_t inside; /* workers that may be at work */
    _Atomic uint32_t waiting;             /* the caller sleeps until nobody is inside */
    /* of the open region */
    _Alignas(64) void (*cell)(void *context, int64_t index);
    void *context;
    int participants;
    block blocks[WORKERS_MAX];
} pool = {.user = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local int worker;
static _Thread_local bool within;

bool pool_inside(void) {
    return within;
}

int pool_worker(void) {
    return worker;
}

static void sleep_while(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static bool take_one(block *b) {
    int64_t i = atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed);
    if (i < b->end) pool.cell(pool.context, i);
    return i < b->end;
}

/* Whether somebody takes cells of this block, or it has none left. Its owner comes within microseconds, and has in its cache what
 * the cells need; only where nothing moves the machine does something else, or a cell is long. */
static bool moves(block *b) {
    int64_t begun = atomic_load_explicit(&b->next, memory_order_relaxed);
    for (int looks = 0; looks < BLOCK_LOOKS; looks++) {
        if (begun >= b->end) return true;
        relax();
        int64_t now = atomic_load_explicit(&b->next, memory_order_relaxed);
        if (now != begun) looks = 0;
        begun = now;
    }
    return false;
}

/* Its own cells, then those that others do not begin. */
static void take_cells(int self) {
    within = true;
    while (take_one(&pool.blocks[self])) {}
    for (int k = 1; k < pool.participants; k++) {
        block *b = &pool.blocks[(self + k) % pool.participants];
        if (!moves(b))
            while (take_one(b)) {}
    }
    within = false;
}

/* ---- workers ---- */

/* The number of an open region other than `last`. */
static uint32_t next_region(uint32_t last) {
    for (;;) {
        uint32_t now = atomic_load(&pool.region);
        for (int looks = 0; (now == last || now % 2 == 0) && looks < IDLE_LOOKS; looks++) {
            relax();
            now = atomic_load_explicit(&pool.region, memory_order_relaxed);
        }
        if (now != last && now % 2 == 1) return now;
        atomic_fetch_add(&pool.sleepers, 1);
        sleep_while(&pool.region, now);
        atomic_fetch_sub(&pool.sleepers, 1);
    }
}

/* Between announcing itself and looking again the region may have been closed, but no other one can be half opened. */
static void join_region(int self, uint32_t *last) {
    atomic_fetch_add(&pool.inside, 1);
    uint32_t now = atomic_load(&pool.region);
    if (now != *last && now % 2 == 1) {
        *last = now;
        if (self < pool.participants) take_cells(self);
    }
    if (atomic_fetch_sub(&pool.inside, 1) == 1 && atomic_load(&pool.waiting)) wake_all(&pool.inside);
}

static void *work(void *number) {
    uint32_t last = 0;
    worker = (int)(intptr_t)number;
    omp_set_num_threads(1); /* libraries called by a cell must not bring threads of their own */
    sow_flush_denormals();
    for (;;) {
        next_region(last);
        join_region(worker, &last);
    }
    return NULL;
}

/* The child of a fork has none of them. */
static void forget(void) {
    pool.workers = 0;
    pthread_mutex_init(&pool.user, NULL);
    atomic_store(&pool.inside, 0);
    atomic_store(&pool.sleepers, 0);
    atomic_store(&pool.region, 0);
}

static void register_fork(void) {
    pthread_atfork(NULL, NULL, forget);
}

/* As many as the machine gives. Signals are for the program's own threads. */
static void start_workers(int wanted) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    sigset_t all, before;
    if (pool.workers >= wanted) return;
    pthread_once(&once, register_fork);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.workers < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)(intptr_t)(pool.workers + 1))) break;
        pthread_detach(thread);
        pool.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- regions ---- */

static void cut(int64_t cells) {
    for (int p = 0; p < pool.participants; p++) {
        atomic_store_explicit(&pool.blocks[p].next, cells * p / pool.participants, memory_order_relaxed);
        pool.blocks[p].end = cells * (p + 1) / pool.participants;
    }
}

static void wait_for_workers(void) {
    uint32_t left = atomic_load(&pool.inside);
    for (int looks = 0; left > 0 && looks < END_LOOKS; looks++) {
        relax();
        left = atomic_load(&pool.inside);
    }
    if (left == 0) return;
    atomic_store(&pool.waiting, 1);
    while ((left = atomic_load(&pool.inside)) > 0) sleep_while(&pool.inside, left);
    atomic_store(&pool.waiting, 0);
}

static void run_together(int threads, int64_t cells, void (*cell)(void *, int64_t), void *context) {
    start_workers(threads - 1);
    pool.cell = cell;
    pool.context = context;
    pool.participants = pool.workers + 1 < threads ? pool.workers + 1 : threads;
    cut(cells);
    atomic_fetch_add(&pool.region, 1);
    if (atomic_load(&pool.sleepers) > 0) wake_all(&pool.region);
    take_cells(0);
    atomic_fetch_add(&pool.region, 1);
    wait_for_workers();
}

void pool_run(int threads, int64_t cells, void (*cell)(void *context, int64_t index), void *context) {
    if (threads > WORKERS_MAX) threads = WORKERS_MAX;
    int allowed = omp_get_max_threads();
    bool outer = within;
    omp_set_num_threads(1);
    sow_float_mode mode = sow_flush_denormals();
    if (threads > 1 && cells > 1 && !within && pthread_mutex_trylock(&pool.user) == 0) {
        run_together(threads, cells, cell, context);
        pthread_mutex_unlock(&pool.user);
    } else {
        within = true;
        for (int64_t i = 0; i < cells; i++) cell(context, i);
        within = outer;
    }
    sow_restore_float_mode(mode);
    omp_set_num_threads(allowed);
}
