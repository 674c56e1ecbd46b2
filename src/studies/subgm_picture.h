/* subgm's study on pictures. */
#ifndef SOW_STUDIES_SUBGM_PICTURE_H
#define SOW_STUDIES_SUBGM_PICTURE_H

#include "sow/study.h"

/* Robust PCA of real pictures, against convex robust PCA and a median filter. */
sow_status subgm_run_picture(sow_study_call *call, const char *path);

#endif
