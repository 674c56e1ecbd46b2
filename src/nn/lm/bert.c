/* BERT encoders: Devlin et al. 2019, arXiv 1810.04805. Norms behind each branch; every token sees all of its sequence. */
#include "nn/lm/lm.h"

static sow_var layer(sow_tape *t, sow_lm *lm, int64_t i, sow_var x, const sow_tokens *tokens) {
    (void)i;
    const sow_lm_config *c = &lm->config;
    sow_var q = lm_linear(t, lm, "attention.self.query", x, c->hidden, true);
    sow_var k = lm_linear(t, lm, "attention.self.key", x, c->hidden, true);
    sow_var v = lm_linear(t, lm, "attention.self.value", x, c->hidden, true);
    sow_var a = lm_attend(t, lm, tokens, q, k, v, NULL, false, 0);
    sow_var o = lm_linear(t, lm, "attention.output.dense", a, c->hidden, true);
    x = lm_layer_norm(t, lm, "attention.output.LayerNorm", lm_residual(t, x, o));
    sow_var up = lm_linear(t, lm, "intermediate.dense", x, c->inner, true);
    sow_var h = c->activation == SOW_RELU ? sow_relu(t, up) : sow_gelu(t, up, c->activation == SOW_GELU_TANH);
    sow_var down = lm_linear(t, lm, "output.dense", h, c->hidden, true);
    return lm_layer_norm(t, lm, "output.LayerNorm", lm_residual(t, x, down));
}

/* All tokens are of segment 0: one row of the table, added to every token. */
static sow_var segment(sow_tape *t, sow_lm *lm) {
    static const int32_t first = 0;
    sow_var row = lm_rows(t, lm, "token_type_embeddings", lm->config.types, &first, 1);
    return sow_reshaped(t, row, 1, (int64_t[]){lm->config.hidden});
}

static sow_var states(sow_tape *t, sow_lm *lm, sow_var x, const sow_tokens *tokens) {
    const int32_t *positions = lm_positions(t, lm, tokens);
    if (!positions) return NULL;
    sow_enter(t, "embeddings");
    x = sow_add(
        t, x, lm_rows(t, lm, "position_embeddings", lm->config.positions, positions, tokens->start[tokens->sequences]));
    x = lm_layer_norm(t, lm, "LayerNorm", sow_add(t, x, segment(t, lm)));
    sow_leave(t);
    return lm_layers(t, lm, "encoder.layer", layer, x, tokens);
}

const lm_family lm_bert = {"bert", "bert", states, "embeddings.word_embeddings", NULL};
