/* What the families of language models share: parameters by module name, attention as the configuration has it. */
#ifndef SOW_NN_LM_LM_H
#define SOW_NN_LM_LM_H

#include "nn/declare.h"
#include "nn/lm/frozen.h"
#include "sow/lm.h"
#include "sow/nn.h"

/* sow_lm_new with matrices that stay in their file; takes over both, also on failure. */
sow_status lm_new(const sow_lm_config *config, sow_state *state, struct lm_frozen *frozen, sow_lm **out);

/* The linear site `name` with `out` outputs; and with weights stored as GPT-2's Conv1D, [in, out]. */
sow_var lm_linear(sow_tape *t, sow_lm *lm, const char *name, sow_var x, int64_t out, bool bias);
sow_var lm_linear_by_inputs(sow_tape *t, sow_lm *lm, const char *name, sow_var x, int64_t out);
/* Linear sites that read the same x, y[i] of sites[i]: lm_linear for each, but one pass where x is a token and the matrices stay
 * in their file. */
typedef struct lm_site {
    const char *name;
    int64_t out;
    bool bias;
} lm_site;
void lm_linears(sow_tape *t, sow_lm *lm, const lm_site *sites, int count, sow_var x, sow_var *y);
sow_var lm_rms_norm(sow_tape *t, sow_lm *lm, const char *name, sow_var x, bool plus_one);
sow_var lm_layer_norm(sow_tape *t, sow_lm *lm, const char *name, sow_var x);
/* The table `name` [rows, hidden] and its rows by id. */
sow_var lm_table(sow_tape *t, sow_lm *lm, const char *name, int64_t rows);
sow_var lm_rows(sow_tape *t, sow_lm *lm, const char *name, int64_t rows, const int32_t *ids, int64_t count);
/* The input embeddings of tokens; the padding token's row is not trained through them, as in transformers. */
sow_var lm_embed(sow_tape *t, sow_lm *lm, const char *name, const sow_tokens *tokens);
/* Positions 0, 1, .. of every sequence, in the arena of the tape's state; NULL poisons. */
const int32_t *lm_positions(sow_tape *t, sow_lm *lm, const sow_tokens *tokens);

/* The number behind the first dot that has one: "model.layers.12.mlp" is of layer 12; -1: of none. */
int64_t lm_layer_of(const char *name);

/* Attention over tokens; rotary NULL: none. */
sow_var lm_attend(sow_tape *t, sow_lm *lm, const sow_tokens *tokens, sow_var q, sow_var k, sow_var v,
                  const sow_tensor *rotary, bool causal, int64_t window);
/* x + y; y is used nowhere else. */
sow_var lm_residual(sow_tape *t, sow_var x, sow_var y);

/* One layer: from its input to its output, within its level of names. */
typedef sow_var (*lm_layer)(sow_tape *t, sow_lm *lm, int64_t i, sow_var x, const sow_tokens *tokens);
/* All layers in turn, "level.I" each, tapped, recomputed in backward where the model says so. */
sow_var lm_layers(sow_tape *t, sow_lm *lm, const char *level, lm_layer layer, sow_var x, const sow_tokens *tokens);

/* The families: from embeddings to final states, and the name of the head's table. */
typedef struct lm_family {
    const char *name, *prefix; /* prefix may be missing in files */
    sow_var (*states)(sow_tape *t, sow_lm *lm, sow_var x, const sow_tokens *tokens);
    const char *table, *head; /* of input embeddings; of the head, unless tied */
} lm_family;
extern const lm_family lm_llama, lm_gemma3, lm_gpt2, lm_bert;
const lm_family *lm_family_of(const sow_lm *lm);

#endif
