/* Llama: Touvron et al. 2023, arXiv 2302.13971; Qwen 2 (biases at q, k, v): Yang et al. 2024, arXiv 2407.10671. */
#include "nn/lm/lm.h"

static sow_var attention(sow_tape *t, sow_lm *lm, sow_var x, const sow_tokens *tokens) {
    const sow_lm_config *c = &lm->config;
    bool bias = c->qkv_bias || c->bias;
    sow_var n = lm_rms_norm(t, lm, "input_layernorm", x, false);
    sow_var qkv[3];
    lm_linears(t, lm,
               (lm_site[]){{"self_attn.q_proj", c->heads * c->head_size, bias},
                           {"self_attn.k_proj", c->kv_heads * c->head_size, bias},
                           {"self_attn.v_proj", c->kv_heads * c->head_size, bias}},
               3, n, qkv);
    sow_done(t, n);
    sow_var a = lm_attend(t, lm, tokens, qkv[0], qkv[1], qkv[2], &lm->rotary, true, 0);
    for (int i = 0; i < 3; i++) sow_done(t, qkv[i]);
    sow_var o = lm_linear(t, lm, "self_attn.o_proj", a, c->hidden, c->bias);
    sow_done(t, a);
    return lm_residual(t, x, o);
}

static sow_var feed_forward(sow_tape *t, sow_lm *lm, sow_var x) {
    const sow_lm_config *c = &lm->config;
    sow_var n = lm_rms_norm(t, lm, "post_attention_layernorm", x, false);
    sow_var h[2];
    lm_linears(t, lm, (lm_site[]){{"mlp.gate_proj", c->inner, c->bias}, {"mlp.up_proj", c->inner, c->bias}}, 2, n, h);
    sow_done(t, n);
    sow_var g = sow_gated(t, h[0], h[1], c->activation);
    sow_done(t, h[0]), sow_done(t, h[1]);
    sow_var down = lm_linear(t, lm, "mlp.down_proj", g, c->hidden, c->bias);
    sow_done(t, g);
    return lm_residual(t, x, down);
}

static sow_var layer(sow_tape *t, sow_lm *lm, int64_t i, sow_var x, const sow_tokens *tokens) {
    (void)i;
    sow_var middle = attention(t, lm, x, tokens), out = feed_forward(t, lm, middle);
    sow_done(t, middle);
    return out;
}

static sow_var states(sow_tape *t, sow_lm *lm, sow_var x, const sow_tokens *tokens) {
    sow_enter(t, "model");
    x = lm_rms_norm(t, lm, "norm", lm_layers(t, lm, "layers", layer, x, tokens), false);
    sow_leave(t);
    return x;
}

const lm_family lm_llama = {"llama", "", states, "model.embed_tokens", "lm_head"};
