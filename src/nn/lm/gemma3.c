/* Gemma 3 text models: Gemma Team 2025, arXiv 2503.19786. Norms scale by 1 + w and stand on both sides of each branch;
 * most layers see a window only, with rotary positions of their own. */
#include <math.h>

#include "nn/lm/lm.h"

/* q or k with every head normalised for itself: [n, heads * d] seen as [n * heads, d]. */
static sow_var head_norm(sow_tape *t, sow_lm *lm, const char *name, sow_var x) {
    if (!x) return NULL;
    int64_t n = sow_value(x).shape[0], width = sow_value(x).shape[1];
    sow_var rows = sow_reshaped(t, x, 2, (int64_t[]){-1, lm->config.head_size});
    return sow_reshaped(t, lm_rms_norm(t, lm, name, rows, true), 2, (int64_t[]){n, width});
}

static sow_var attention(sow_tape *t, sow_lm *lm, sow_var x, const sow_tokens *tokens, bool sliding) {
    const sow_lm_config *c = &lm->config;
    sow_var n = lm_rms_norm(t, lm, "input_layernorm", x, true);
    sow_var qkv[3];
    lm_linears(t, lm,
               (lm_site[]){{"self_attn.q_proj", c->heads * c->head_size, c->bias},
                           {"self_attn.k_proj", c->kv_heads * c->head_size, c->bias},
                           {"self_attn.v_proj", c->kv_heads * c->head_size, c->bias}},
               3, n, qkv);
    sow_var q = head_norm(t, lm, "self_attn.q_norm", qkv[0]), k = head_norm(t, lm, "self_attn.k_norm", qkv[1]);
    sow_done(t, n);
    sow_var a = lm_attend(t, lm, tokens, q, k, qkv[2], sliding ? &lm->local_rotary : &lm->rotary, true,
                          sliding ? c->window : 0);
    sow_var o = lm_linear(t, lm, "self_attn.o_proj", a, c->hidden, c->bias);
    sow_done(t, a);
    return lm_residual(t, x, lm_rms_norm(t, lm, "post_attention_layernorm", o, true));
}

static sow_var feed_forward(sow_tape *t, sow_lm *lm, sow_var x) {
    const sow_lm_config *c = &lm->config;
    sow_var n = lm_rms_norm(t, lm, "pre_feedforward_layernorm", x, true);
    sow_var h[2];
    lm_linears(t, lm, (lm_site[]){{"mlp.gate_proj", c->inner, false}, {"mlp.up_proj", c->inner, false}}, 2, n, h);
    sow_done(t, n);
    sow_var g = sow_gated(t, h[0], h[1], c->activation);
    sow_done(t, h[0]), sow_done(t, h[1]);
    sow_var down = lm_linear(t, lm, "mlp.down_proj", g, c->hidden, false);
    sow_done(t, g);
    return lm_residual(t, x, lm_rms_norm(t, lm, "post_feedforward_layernorm", down, true));
}

static sow_var layer(sow_tape *t, sow_lm *lm, int64_t i, sow_var x, const sow_tokens *tokens) {
    sow_var middle = attention(t, lm, x, tokens, lm->config.sliding[i]), out = feed_forward(t, lm, middle);
    sow_done(t, middle);
    return out;
}

static sow_var states(sow_tape *t, sow_lm *lm, sow_var x, const sow_tokens *tokens) {
    x = sow_scale(t, x, (double)(float)sqrt((double)lm->config.hidden), 0);
    sow_enter(t, "model");
    x = lm_rms_norm(t, lm, "norm", lm_layers(t, lm, "layers", layer, x, tokens), true);
    sow_leave(t);
    return x;
}

const lm_family lm_gemma3 = {"gemma3_text", "", states, "model.embed_tokens", "lm_head"};
