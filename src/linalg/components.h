/* What incremental components and those of second moments share. */
#ifndef SOW_LINALG_COMPONENTS_H
#define SOW_LINALG_COMPONENTS_H

#include <stdio.h>

#include "sow/linalg.h"

/* Directions that randomised iterations carry along beside `count` wanted ones. */
int64_t linalg_extra(int64_t count);
/* Turns rows so that the largest element (the first of equals) of each is positive. */
void linalg_fix_signs(float *rows, int64_t count, int64_t length);
/* Inner products of unit rows with those before; before NULL: 0. */
void linalg_agreement(const float *rows, const float *before, int64_t count, int64_t length, double *out);

#endif
