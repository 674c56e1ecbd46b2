/* Where a model lies, and the readers of its kinds of files. */
#ifndef SOW_NN_LM_OPEN_H
#define SOW_NN_LM_OPEN_H

#include "sow/gguf.h"
#include "sow/lm.h"

typedef struct lm_place {
    const char *folder, *config; /* a Hugging Face folder; NULL for GGUF */
    const char *gguf;
} lm_place;

/* SOW_E_NOT_FOUND: no model there, or one that has not been fetched. */
sow_status lm_locate(sow_arena *arena, const char *path, lm_place *out);
/* SOW_E_FORMAT with the line. The caller releases *out. */
sow_status lm_read_json(sow_arena *arena, const char *path, json_t **out);
/* stays_in_file: matrices are not copied. */
sow_status lm_open_gguf(const char *path, bool stays_in_file, sow_lm **out);
/* The end tokens of a generation_config.json in place of config.json's. */
sow_status sow_lm_configure_ends(const json_t *generation, sow_lm_config *config);

#endif
