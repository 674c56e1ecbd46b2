/* Facts about schemes that the files of initialisation share. */
#ifndef SOW_NN_INIT_H
#define SOW_NN_INIT_H

#include "sow/init.h"

/* Parameters that a scheme has, as bits. */
typedef enum init_parameter {
    INIT_LOW = 1,
    INIT_HIGH = 2,
    INIT_MEAN = 4,
    INIT_SD = 8,
    INIT_VALUE = 16,
    INIT_GAIN = 32,
    INIT_MODE = 64,
    INIT_SLOPE = 128,
    INIT_NONLINEARITY = 256,
    INIT_SPARSITY = 512,
    INIT_SCALE = 1024,
    INIT_DISTRIBUTION = 2048,
    INIT_GROUPS = 4096
} init_parameter;

typedef struct init_facts {
    const char *name;
    int least, most;     /* dimensions of the tensors it can fill */
    const char *needs;   /* the same in words */
    const char *instead; /* for other tensors */
    unsigned parameters;
    bool random; /* draws numbers: for real dtypes only */
} init_facts;

extern const init_facts init_facts_of[SOW_INIT_SCHEMES];

#endif
