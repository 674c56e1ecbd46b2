/* Studies that compute in this process: the scores of a seed are kept in a file, so that a killed study goes on. */
#ifndef SOW_STUDIES_SEEDS_H
#define SOW_STUDIES_SEEDS_H

#include "sow/study.h"

/* Gives the scores of one seed to the call: computes them and keeps them in FOLDER/seed-N.json, or, when the call is resumed,
 * takes them from there. plan: one line that says what determines them beside the seed; a file of another plan is refused
 * (SOW_E_EXISTS), one that is damaged too (SOW_E_FORMAT). */
sow_status study_seed(sow_study_call *call, uint64_t seed, const char *plan,
                      sow_status (*compute)(sow_study_call *call, uint64_t seed, void *user), void *user);

#endif
