/* A benchmark ends with Sow's message where a call fails. */
#ifndef SOW_BENCH_OK_H
#define SOW_BENCH_OK_H

#include <stdio.h>
#include <stdlib.h>

#include "sow/status.h"

#define OK(call)                                   \
    do {                                           \
        if ((call) != SOW_OK) {                    \
            fprintf(stderr, "%s\n", sow_message()); \
            exit(1);                               \
        }                                          \
    } while (0)

#endif
