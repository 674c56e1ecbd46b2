/* Work cut by shape, spread over threads; flush-to-zero on every worker. */
#include "sow/threads.h"

#include <dnnl.h>
#include <omp.h>

#include "base/pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static int threads = 1;

/* OpenBLAS results depend on its thread count, and its threads fight ours: always one. Weak, since the
 * reference BLAS lacks the call. */
extern void openblas_set_num_threads(int) __attribute__((weak));

void sow_set_threads(int wanted) {
    threads = wanted > 0 ? wanted : omp_get_num_procs();
    if (openblas_set_num_threads) openblas_set_num_threads(1);
}

int sow_threads(void) {
    return threads;
}

int sow_worker(void) {
    return pool_worker();
}

int64_t sow_cells_for(int64_t items, int64_t grain) {
    int64_t cells = (items + grain - 1) / grain;
    return cells < 1 ? 1 : cells;
}

sow_float_mode sow_flush_denormals(void) {
#if defined(__x86_64__)
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | 0x8040); /* FTZ | DAZ */
    return mode;
#else
    return 0;
#endif
}

void sow_restore_float_mode(sow_float_mode mode) {
#if defined(__x86_64__)
    _mm_setcsr(mode);
#else
    (void)mode;
#endif
}

void sow_cells(int64_t cells, void (*cell)(void *context, int64_t index), void *context) {
    pool_run(threads, cells, cell, context);
}

const char *sow_instruction_set(void) {
    switch ((unsigned)dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41: return "sse41";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2: return "avx2";
    case dnnl_cpu_isa_avx2_vnni: return "avx2_vnni";
    case dnnl_cpu_isa_avx512_core: return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
    default: return "generic";
    }
}
