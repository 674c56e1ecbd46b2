/* How layers find their parameters, or declare them in an open state. */
#ifndef SOW_NN_DECLARE_H
#define SOW_NN_DECLARE_H

#include "sow/tape.h"

typedef struct sow_declaration {
    sow_dtype dtype;
    int rank;
    int64_t shape[4];
    sow_role role;
    const char *group;
    bool transposed; /* rank 2: memory order [in, out] */
    double value;    /* initial value of every element */
} sow_declaration;

/* The entry "level.name.suffix" of the state; added as declared if the state is open; else NULL, and the tape is poisoned. */
sow_entry *sow_declared(sow_tape *t, sow_state *s, const char *name, const char *suffix, sow_declaration declaration);

#endif
