/* What the wrappers of LAPACK share. */
#ifndef SOW_LINALG_LAPACK_H
#define SOW_LINALG_LAPACK_H

#include "sow/tensor.h"

/* OpenBLAS must keep to one thread: its results depend on their number. To be called before any LAPACK function. */
void linalg_one_thread(void);

/* LAPACK's integers have 32 bits: SOW_E_RANGE, naming the caller, where an extent of t does not fit. */
sow_status linalg_check_extents(const char *what, sow_tensor t);

/* Turns LAPACK's answer into a status: negative codes are our own mistakes, and memory that ran out. */
sow_status linalg_status(const char *routine, int info);

#endif
