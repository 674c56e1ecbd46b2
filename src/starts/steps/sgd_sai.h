/* What the actions of sgd-sai share: a model with its data, whatever kind they are of. */
#ifndef SOW_STARTS_SGD_SAI_H
#define SOW_STARTS_SGD_SAI_H

#include "sow/lm.h"
#include "sow/nn.h"
#include "sow/steps.h"

/* A network on images or tables (--arch), or a language model on texts (--model). */
typedef struct sai_subject {
    sow_call *call;
    const char *model_name, *data_name, *data_sha256;
    sow_state *state; /* of one of these */
    sow_model *model;
    sow_data *data;
    sow_batches *batches;
    struct sai_language *language; /* NULL: a network */
} sai_subject;

/* Opens what the call's options name, and fills the start. sai_close also after a failure. */
sow_status sai_open(sow_call *call, sai_subject *out);
void sai_close(sai_subject *subject);
/* A sow_batch_loss; user: the subject. */
sow_var sai_loss(void *user, sow_tape *tape, int64_t batch);
/* Attention heads of the subject, for blocks by head; zeros where it has none. */
void sai_heads(const sai_subject *subject, int64_t *heads, int64_t *kv_heads);

/* ---- files (sgd_sai_files.c) ---- */

/* Writes scales.json with the passport, scales.csv and scales.svg beside it. */
sow_status sai_write(const sai_subject *subject, const sow_scales *scales, const char *path);
/* The paths of the CSV and the plot beside a table. */
const char *sai_beside(sow_arena *arena, const char *path, const char *ending);

#endif
