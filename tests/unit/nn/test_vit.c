/* The vision transformer: names, counts, shapes that do not fit, gradients. */
#include "check.h"

#include "autograd/gradients.h"
#include "nn/models/models.h"

static sow_model *model_of(const char *arch, const sow_geometry *geometry) {
    sow_model *m;
    OK(sow_model_new(arch, geometry, &m));
    return m;
}

static void names_and_sizes_are_those_of_timm(void **state) {
    sow_model *m = model_of("vit:4-96-4-3", NULL);
    static const struct {
        const char *name;
        int64_t count;
    } some[] = {{"patch_embed.proj.weight", 96 * 3 * 16},
                {"pos_embed", 64 * 96},
                {"blocks.3.attn.qkv.weight", 288 * 96},
                {"blocks.0.mlp.fc1.weight", 384 * 96},
                {"blocks.0.norm2.bias", 96},
                {"norm.weight", 96},
                {"head.weight", 960},
                {"blocks.3.attn.qkv.bias", 288},
                {"head.bias", 10}};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        sow_entry *e;
        OK(sow_state_get(m->state, some[i].name, &e));
        assert_int_equal(sow_count(e->value), some[i].count);
    }
    assert_int_equal(sow_state_count(m->state), 3 + 4 * 12 + 4);
    /* 4 blocks of 12 d^2 + 13 d, patches, positions, norm, head */
    assert_int_equal(sow_state_parameters(m->state),
                     4 * (12 * 96 * 96 + 13 * 96) + 48 * 96 + 96 + 64 * 96 + 2 * 96 + 970);
    sow_model_free(m);
}

static void what_does_not_fit_is_refused(void **state) {
    sow_model *m;
    FAILS(sow_model_new("vit:4-96-4", NULL, &m), SOW_E_ARGUMENT, "expected four numbers");
    FAILS(sow_model_new("vit:4-96-4-5", NULL, &m), SOW_E_ARGUMENT, "no multiple of 5 heads");
    FAILS(sow_model_new("vit:4-96-4000-3", NULL, &m), SOW_E_ARGUMENT, "a depth of at most 512");
    FAILS(sow_model_new("vit:4-0-4-3", NULL, &m), SOW_E_ARGUMENT, "at '0-4-3'");
    FAILS(sow_model_new("vit:5-96-4-3", NULL, &m), SOW_E_SHAPE, "do not cover images of 3x32x32");
    FAILS(sow_model_new("vit:4-96-4-3", &(sow_geometry){.height = 30}, &m), SOW_E_SHAPE, "3x30x32");
}

static const char *const tiny[] = {"patch_embed.proj.weight:4,2,2,2",
                                   "patch_embed.proj.bias:4",
                                   "pos_embed:1,6,4",
                                   "blocks.0.norm1.weight:4",
                                   "blocks.0.norm1.bias:4",
                                   "blocks.0.attn.qkv.weight:12,4",
                                   "blocks.0.attn.qkv.bias:12",
                                   "blocks.0.attn.proj.weight:4,4",
                                   "blocks.0.attn.proj.bias:4",
                                   "blocks.0.norm2.weight:4",
                                   "blocks.0.norm2.bias:4",
                                   "blocks.0.mlp.fc1.weight:16,4",
                                   "blocks.0.mlp.fc1.bias:16",
                                   "blocks.0.mlp.fc2.weight:4,16",
                                   "blocks.0.mlp.fc2.bias:4",
                                   "norm.weight:4",
                                   "norm.bias:4",
                                   "head.weight:3,4",
                                   "head.bias:3",
                                   "x:3,2,4,6"};

static sow_var forward(sow_tape *t, sow_state *s, const void *user) {
    return sow_vit_forward(t, s, user, sow_parameter(t, sow_state_find(s, "x")));
}

static void gradients_are_those_of_differences(void **state) {
    const sow_model model = {.arch = "vit:2-4-1-2", .geometry = {2, 4, 6, 3}, .widths = {2, 4, 1, 2}};
    sow_state *s = state_of(tiny, sizeof tiny / sizeof *tiny);
    check_operator("vit", forward, &model, s, true, 1e-4);
    sow_state_free(s);
}

/* 64 numbers in a row are an image of 8 x 8. */
static void rows_of_a_table_are_images(void **state) {
    sow_model *m = model_of("vit:2-8-1-2", &(sow_geometry){1, 8, 8, 4});
    float x[2 * 64], image[8], row[8];
    sow_tape *t;
    sow_rng rng;
    sow_init init;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    sow_rng_normal_f32(&rng, x, 128, 0, 1);
    OK(sow_init_parse("normal:sd=0.3", &init));
    OK(sow_init_state(&rng, m->state, &init, NULL, 0));
    OK(sow_tape_new(&t));
    memcpy(image, sow_value(m->forward(t, m->state, m, sow_constant(t, SOW_TENSOR(x, SOW_F32, 2, 1, 8, 8)))).data,
           sizeof image);
    memcpy(row, sow_value(m->forward(t, m->state, m, sow_constant(t, SOW_TENSOR(x, SOW_F32, 2, 64, 1, 1)))).data,
           sizeof row);
    OK(sow_tape_status(t));
    assert_memory_equal(image, row, sizeof row);
    assert_true(row[0] != row[4]);
    sow_tape_free(t);
    sow_model_free(m);
}

static void sequences_of_equal_length_need_no_list(void **state) {
    float x[12 * 4], listed[12 * 4];
    static const int64_t start[] = {0, 4, 8, 12};
    sow_tape *t;
    sow_attention a = {.heads = 2, .kv_heads = 2, .start = start, .sequences = 3};
    for (int i = 0; i < 48; i++) x[i] = (float)(i * 7 % 13) - 6;
    OK(sow_tape_new(&t));
    sow_var v = sow_constant(t, SOW_TENSOR(x, SOW_F32, 12, 4));
    memcpy(listed, sow_value(sow_attend(t, v, v, v, &a)).data, sizeof listed);
    a.start = NULL;
    assert_memory_equal(sow_value(sow_attend(t, v, v, v, &a)).data, listed, sizeof listed);
    a.sequences = 5;
    assert_null(sow_attend(t, v, v, v, &a));
    FAILS(sow_tape_status(t), SOW_E_SHAPE, "do not cover 12 rows");
    sow_tape_free(t);
}

static void positions_start_small(void **state) {
    sow_model *m = model_of("vit:4-96-1-3", NULL);
    sow_rng rng;
    sow_init init;
    double squares = 0;
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 1));
    OK(sow_init_parse("torch-default", &init));
    OK(sow_init_state(&rng, m->state, &init, NULL, 0));
    sow_tensor p = sow_state_find(m->state, "pos_embed")->value;
    for (int64_t i = 0; i < sow_count(p); i++) squares += sow_at(p, i) * sow_at(p, i);
    assert_near(squares / (double)sow_count(p), 0.0004, 0.00003);
    sow_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_sizes_are_those_of_timm),      cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(gradients_are_those_of_differences),     cmocka_unit_test(rows_of_a_table_are_images),
        cmocka_unit_test(sequences_of_equal_length_need_no_list), cmocka_unit_test(positions_start_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
