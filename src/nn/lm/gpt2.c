/* GPT-2: Radford et al. 2019. Learned positions, norms before each branch, weights stored [in, out]. */
#include "nn/lm/lm.h"

static sow_var attention(sow_tape *t, sow_lm *lm, sow_var x, const sow_tokens *tokens) {
    int64_t d = lm->config.hidden;
    sow_var n = lm_layer_norm(t, lm, "ln_1", x), qkv = lm_linear_by_inputs(t, lm, "attn.c_attn", n, 3 * d);
    sow_var q = sow_narrow(t, qkv, 1, 0, d), k = sow_narrow(t, qkv, 1, d, d), v = sow_narrow(t, qkv, 1, 2 * d, d);
    sow_var a = lm_attend(t, lm, tokens, q, k, v, NULL, true, 0);
    return lm_residual(t, x, lm_linear_by_inputs(t, lm, "attn.c_proj", a, d));
}

static sow_var feed_forward(sow_tape *t, sow_lm *lm, sow_var x) {
    sow_var n = lm_layer_norm(t, lm, "ln_2", x), up = lm_linear_by_inputs(t, lm, "mlp.c_fc", n, lm->config.inner);
    sow_var h = lm->config.activation == SOW_RELU ? sow_relu(t, up)
                                                  : sow_gelu(t, up, lm->config.activation == SOW_GELU_TANH);
    return lm_residual(t, x, lm_linear_by_inputs(t, lm, "mlp.c_proj", h, lm->config.hidden));
}

static sow_var layer(sow_tape *t, sow_lm *lm, int64_t i, sow_var x, const sow_tokens *tokens) {
    (void)i;
    sow_var middle = attention(t, lm, x, tokens), out = feed_forward(t, lm, middle);
    sow_done(t, middle);
    return out;
}

static sow_var states(sow_tape *t, sow_lm *lm, sow_var x, const sow_tokens *tokens) {
    const int32_t *positions = lm_positions(t, lm, tokens);
    if (!positions) return NULL;
    x = sow_add(t, x, lm_rows(t, lm, "wpe", lm->config.positions, positions, tokens->start[tokens->sequences]));
    return lm_layer_norm(t, lm, "ln_f", lm_layers(t, lm, "h", layer, x, tokens));
}

const lm_family lm_gpt2 = {"gpt2", "transformer", states, "wte", "lm_head"};
