/* Peak resident memory of this program alone, in MiB: getrusage's would begin with its parent's. */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include <stdio.h>

static inline double peak_mib(void) {
    double kib = 0;
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %lf", &kib) == 1) break;
    if (file) fclose(file);
    return kib / 1024;
}

#endif
