/* What the wrappers of LAPACK share: threads, extents, answers. */
#include "linalg/lapack.h"

#include <lapacke.h>
#include <limits.h>

/* Weak, since the reference BLAS lacks the call. */
extern void openblas_set_num_threads(int) __attribute__((weak));

void linalg_one_thread(void) {
    if (openblas_set_num_threads) openblas_set_num_threads(1);
}

sow_status linalg_check_extents(const char *what, sow_tensor t) {
    char text[SOW_SHAPE_TEXT];
    for (int d = 0; d < t.rank; d++)
        if (t.shape[d] > INT_MAX)
            return sow_fail(SOW_E_RANGE, "%s: %s is too large, expected extents below 2^31", what,
                            sow_shape_text(t, text));
    return SOW_OK;
}

sow_status linalg_status(const char *routine, int info) {
    if (info == 0) return SOW_OK;
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return sow_fail(SOW_E_MEMORY, "%s: out of memory", routine);
    return sow_fail(SOW_E_NUMBER, "%s failed with code %d", routine, info);
}
