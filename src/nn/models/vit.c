/* Vision transformer without class token: Dosovitskiy et al. 2021, arXiv 2010.11929, with the mean over patches of Beyer et al. 2022,
 * arXiv 2205.01580. Norms before each branch, learned positions. Names are timm's. */
#include "nn/declare.h"
#include "nn/models/models.h"

/* Linear layers keep PyTorch's order in memory: tokens are many. */
static sow_var linear(sow_tape *t, sow_state *s, const char *name, sow_var x, int64_t out) {
    return sow_linear_at(t, s, name, x, (sow_dense){.out = out, .by_rows = true});
}

/* x: [images * patches, d] */
static sow_var attention(sow_tape *t, sow_state *s, sow_var x, int64_t images, int64_t d, int64_t heads) {
    sow_var qkv = linear(t, s, "attn.qkv", sow_layer_norm_at(t, s, "norm1", x), 3 * d);
    sow_var q = sow_narrow(t, qkv, 1, 0, d), k = sow_narrow(t, qkv, 1, d, d), v = sow_narrow(t, qkv, 1, 2 * d, d);
    sow_attention a = {.heads = heads, .kv_heads = heads, .sequences = images};
    return sow_add(t, x, linear(t, s, "attn.proj", sow_attend(t, q, k, v, &a), d));
}

static sow_var feed_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x, int64_t d) {
    sow_var h = sow_gelu(t, linear(t, s, "mlp.fc1", sow_layer_norm_at(t, s, "norm2", x), 4 * d), false);
    if (model->dropout > 0) h = sow_dropout(t, h, model->dropout);
    return sow_add(t, x, linear(t, s, "mlp.fc2", h, d));
}

/* Patches as rows, and their positions. x: [N, C, H, W] -> [N * patches, d] */
static sow_var embed(sow_tape *t, sow_state *s, const sow_model *model, sow_var x, int64_t patches) {
    int64_t patch = model->widths[0], d = model->widths[1];
    x = sow_conv2d_at(t, s, "patch_embed.proj", x,
                      (sow_filter){.out = d, .size = patch, .stride = patch, .bias = true, .group = "fc"});
    if (!x) return NULL;
    sow_entry *positions = sow_declared(
        t, s, "", "pos_embed",
        (sow_declaration){
            .dtype = sow_value(x).dtype, .rank = 3, .shape = {1, patches, d}, .role = SOW_ROLE_EMBEDDING});
    if (!positions) return NULL;
    x = sow_reshaped(t, sow_permuted(t, x, (int[]){0, 2, 3, 1}), 3, (int64_t[]){-1, patches, d});
    x = sow_add(t, x, sow_reshaped(t, sow_parameter(t, positions), 2, (int64_t[]){patches, d}));
    return sow_reshaped(t, x, 2, (int64_t[]){-1, d});
}

/* x: [N, C, H, W], or rows of so many numbers -> logits [N, classes] */
sow_var sow_vit_forward(sow_tape *t, sow_state *s, const sow_model *model, sow_var x) {
    if (!x) return NULL;
    const sow_geometry *g = &model->geometry;
    int64_t patch = model->widths[0], d = model->widths[1], images = sow_value(x).shape[0],
            patches = (g->height / patch) * (g->width / patch);
    if (sow_value(x).rank != 4 || sow_value(x).shape[2] != g->height)
        x = sow_reshaped(t, x, 4, (int64_t[]){images, g->channels, g->height, g->width});
    x = embed(t, s, model, x, patches);
    for (int64_t i = 0; i < model->widths[2]; i++) {
        sow_enter(t, "blocks.%lld", (long long)i);
        x = attention(t, s, x, images, d, model->widths[3]);
        x = feed_forward(t, s, model, x, d);
        sow_leave(t);
    }
    x = sow_reshaped(t, sow_layer_norm_at(t, s, "norm", x), 3, (int64_t[]){images, patches, d});
    x = sow_scale(t, sow_sum_over(t, x, 1), 1.0 / (double)patches, 0);
    return linear(t, s, "head", x, model->geometry.classes);
}
