/* Where fetched data lies. */
#ifndef SOW_DATA_LOCATE_H
#define SOW_DATA_LOCATE_H

#include "sow/data.h"

/* $XDG_CACHE_HOME/sow or ~/.cache/sow, which need not exist. SOW_E_NOT_FOUND when neither variable is set. */
sow_status sow_cache_folder(sow_arena *arena, char **folder);

#endif
