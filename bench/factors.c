/* One pass over a dense operator: residual and adjoint, as a step of subgm and matrix-gd makes it; beside a plain read.
 * factors FILE THREADS SECONDS [MEMORY_MIB]: one JSON line. SECONDS 0: one pass. FILE: m x n1*n2 f64 as .npy, square matrices. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "peak.h"
#include "sow/sow.h"

static void residual(void *user, int64_t first, int64_t count, const double *ax, double *z) {
    (void)user;
    for (int64_t i = 0; i < count; i++) z[i] = ax[i] - (double)(first % 7);
}

typedef struct reading {
    const double *data;
    int64_t count, cells;
    double sums[64];
} reading;

static void read_cell(void *context, int64_t index) {
    reading *r = context;
    int64_t first = r->count / r->cells * index, end = index == r->cells - 1 ? r->count : first + r->count / r->cells;
    double s[8] = {0};
    for (int64_t i = first; i + 8 <= end; i += 8)
        for (int j = 0; j < 8; j++) s[j] += r->data[i + j];
    r->sums[index] = s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static sow_status measure(const char *path, int threads, double seconds, int64_t memory) {
    sow_arena *arena;
    sow_map map;
    sow_tensor a;
    sow_operator op;
    sow_pass pass;
    double passes[2000], reads[2000], cpu[2000], *f;
    int n = 0;
    sow_set_threads(threads);
    SOW_TRY(sow_arena_new(&arena));
    SOW_TRY(sow_npy_map(path, &map, &a));
    int64_t side = (int64_t)llround(sqrt((double)a.shape[1]));
    SOW_TRY(sow_operator_dense(a, side, side, memory, &op));
    SOW_TRY(sow_pass_new(arena, &op, 5, &pass));
    SOW_TRY(SOW_NEW(arena, f, side * 5));
    for (int64_t i = 0; i < side * 5; i++) f[i] = (double)(i % 11) - 5;
    reading r = {.data = a.data, .count = sow_count(a), .cells = 16};
    for (double begin = sow_seconds(); n < 2000 && (n < (seconds > 0 ? 3 : 1) || sow_seconds() - begin < seconds);
         n++) {
        double start = sow_seconds(), begun = cpu_seconds();
        SOW_TRY(sow_operator_forward(&pass, f, f, 5, residual, NULL));
        passes[n] = sow_seconds() - start;
        cpu[n] = cpu_seconds() - begun;
        start = sow_seconds();
        if (memory == 0) sow_cells(r.cells, read_cell, &r);
        reads[n] = sow_seconds() - start;
    }
    qsort(passes, (size_t)n, sizeof *passes, by_value);
    qsort(cpu, (size_t)n, sizeof *cpu, by_value);
    qsort(reads, (size_t)n, sizeof *reads, by_value);
    printf("{\"seconds\":%.9g,\"read\":%.9g,\"cpu\":%.9g,\"peak_mib\":%.1f,\"e\":%.17g,\"sum\":%.3g}\n", passes[n / 2],
           reads[n / 2], cpu[n / 2], peak_mib(), pass.e[0], r.sums[0]);
    sow_map_close(&map);
    sow_arena_free(arena);
    return SOW_OK;
}

int main(int argc, char **argv) {
    if (argc < 4) return fputs("factors FILE THREADS SECONDS [MEMORY_MIB]\n", stderr), 2;
    if (measure(argv[1], atoi(argv[2]), atof(argv[3]), argc > 4 ? atoll(argv[4]) << 20 : 0) == SOW_OK) return 0;
    fprintf(stderr, "%s\n", sow_message());
    return 1;
}
