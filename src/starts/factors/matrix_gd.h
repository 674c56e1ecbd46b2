/* What the actions of matrix-gd share. */
#ifndef SOW_STARTS_MATRIX_GD_H
#define SOW_STARTS_MATRIX_GD_H

#include "sow/method.h"

extern const sow_option matrix_gd_complete_options[];
sow_status matrix_gd_complete(sow_call *call);

#endif
