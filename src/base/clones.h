/* Vector loops compiled for the baseline, AVX2 and AVX-512, and chosen at load. */
#ifndef SOW_BASE_CLONES_H
#define SOW_BASE_CLONES_H

#if defined(__x86_64__)
#define SOW_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SOW_CLONES
#endif

#endif
