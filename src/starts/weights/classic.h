/* What the files of the method classic share. */
#ifndef SOW_STARTS_WEIGHTS_CLASSIC_H
#define SOW_STARTS_WEIGHTS_CLASSIC_H

#include "sow/weights.h"

/* Mean and standard deviation of a dense tensor; NAN where its dtype is not real. SOW_E_NUMBER naming it if a value is not
 * finite. Cost: one pass. */
sow_status classic_measure(const char *name, sow_tensor t, double *mean, double *sd);

#endif
