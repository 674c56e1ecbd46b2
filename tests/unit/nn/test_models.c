/* Architectures: names, shapes and counts of card 07, geometry, parsing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "sow/nn.h"

static sow_model *model_of(const char *arch, const sow_geometry *geometry) {
    sow_model *m;
    if (sow_model_new(arch, geometry, &m) != SOW_OK) fail_msg("%s: %s", arch, sow_message());
    return m;
}

/* Elements of the weights of a group. */
static int64_t weights_in(const sow_model *m, const char *group) {
    int64_t sum = 0;
    for (int64_t i = 0; i < sow_state_count(m->state); i++) {
        sow_entry *e = sow_state_entry(m->state, i);
        if (e->role == SOW_ROLE_WEIGHT && strcmp(e->group, group) == 0) sum += sow_count(e->value);
    }
    return sum;
}

static void expect_counts(const char *arch, int64_t conv, int64_t fc, int64_t out, int64_t shortcut) {
    sow_model *m = model_of(arch, NULL);
    assert_int_equal(weights_in(m, "conv"), conv);
    assert_int_equal(weights_in(m, "fc"), fc);
    assert_int_equal(weights_in(m, "out"), out);
    assert_int_equal(weights_in(m, "shortcut"), shortcut);
    sow_model_free(m);
}

static void test_counts_are_those_of_the_card(void **state) {
    expect_counts("lenet300", 0, 235200 + 30000, 1000, 0);
    expect_counts("conv2", 38592, 4262400 - 2560, 2560, 0); /* the card counts the output layer among fc */
    expect_counts("conv4", 259776, 2165248 - 2560, 2560, 0);
    expect_counts("conv6", 1144512, 4096 * 256 + 65536, 2560, 0);
    expect_counts("resnet8", 74160, 640, 0, 2560); /* 16 3 9 + 2 16 16 9 + 16 32 9 + 32 32 9 + 32 64 9 + 64 64 9 */
    expect_counts("resnet20", 267696, 640, 0, 2560);
    expect_counts("vgg19", 20018880, 5120, 0, 0);
}

static void expect_shape(const sow_model *m, const char *name, int rank, const int64_t *shape) {
    sow_entry *e;
    if (sow_state_get(m->state, name, &e) != SOW_OK) fail_msg("%s: %s", m->arch, sow_message());
    assert_int_equal(e->value.rank, rank);
    for (int d = 0; d < rank; d++) assert_int_equal(e->value.shape[d], shape[d]);
}
#define EXPECT(m, name, ...) \
    expect_shape((m), (name), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static void test_names_are_those_of_the_usual_modules(void **state) {
    sow_model *m = model_of("resnet20", NULL);
    EXPECT(m, "conv1.weight", 16, 3, 3, 3);
    EXPECT(m, "layer1.0.conv2.weight", 16, 16, 3, 3);
    EXPECT(m, "layer2.0.downsample.0.weight", 32, 16, 1, 1);
    EXPECT(m, "layer2.0.downsample.1.running_var", 32);
    EXPECT(m, "layer3.2.bn2.weight", 64);
    EXPECT(m, "fc.weight", 10, 64);
    EXPECT(m, "fc.bias", 10);
    assert_int_equal(sow_state_find(m->state, "bn1.num_batches_tracked")->value.rank, 0);
    assert_null(sow_state_find(m->state, "layer1.0.downsample.0.weight"));
    assert_null(sow_state_find(m->state, "conv1.bias"));
    sow_model_free(m);

    m = model_of("vgg19", NULL);
    EXPECT(m, "features.0.weight", 64, 3, 3, 3);
    EXPECT(m, "features.0.bias", 64);
    EXPECT(m, "features.1.running_mean", 64);
    EXPECT(m, "features.7.weight", 128, 64, 3, 3);   /* as in vgg19_bn: 0 1 2 3 4 5 pool at 6 */
    EXPECT(m, "features.49.weight", 512, 512, 3, 3); /* and the last one */
    EXPECT(m, "classifier.weight", 10, 512);
    sow_model_free(m);

    m = model_of("conv6", &(sow_geometry){1, 28, 28, 10});
    EXPECT(m, "conv6.weight", 256, 256, 3, 3);
    EXPECT(m, "conv6.bias", 256);
    EXPECT(m, "fc1.weight", 256, 256 * 3 * 3);
    EXPECT(m, "fc3.weight", 10, 256);
    sow_model_free(m);

    m = model_of("lenet300", &(sow_geometry){.classes = 47});
    EXPECT(m, "fc1.weight", 300, 784);
    EXPECT(m, "fc3.weight", 47, 100);
    sow_model_free(m);
}

static void test_scales_and_running_variances_start_at_1(void **state) {
    sow_model *m = model_of("resnet20", NULL);
    for (int64_t i = 0; i < sow_state_count(m->state); i++) {
        sow_entry *e = sow_state_entry(m->state, i);
        bool norm_weight = e->role == SOW_ROLE_NORM && strstr(e->name, ".weight");
        double expected = norm_weight || strstr(e->name, "running_var") ? 1 : 0;
        assert_float_equal(sow_at(e->value, 0), expected, 0);
        assert_int_equal(e->trainable, e->role != SOW_ROLE_BUFFER);
    }
    sow_model_free(m);
}

static void test_mlp_takes_its_widths_from_its_name(void **state) {
    sow_model *m = model_of("mlp:64-150-50-5", NULL);
    EXPECT(m, "fc1.weight", 150, 64);
    EXPECT(m, "fc3.weight", 5, 50);
    assert_int_equal(m->geometry.channels, 64);
    assert_int_equal(m->geometry.classes, 5);
    assert_string_equal(m->arch, "mlp:64-150-50-5");
    sow_model_free(m);
    m = model_of("mlp:784-10", &(sow_geometry){1, 28, 28, 10});
    assert_int_equal(m->geometry.height, 28);
    sow_model_free(m);
}

static void refuse(const char *arch, const sow_geometry *geometry, sow_status status, const char *expected) {
    sow_model *m;
    assert_int_equal(sow_model_new(arch, geometry, &m), status);
    if (!strstr(sow_message(), expected)) fail_msg("%s: '%s' does not say '%s'", arch, sow_message(), expected);
}

static void test_misfits_are_refused(void **state) {
    refuse("resnet21", NULL, SOW_E_NOT_FOUND, "resnet20");
    refuse("", NULL, SOW_E_NOT_FOUND, "lenet300");
    refuse("lenet300", &(sow_geometry){3, 32, 32, 10}, SOW_E_SHAPE, "784 inputs, the data have 3x32x32 = 3072");
    refuse("mlp:784-10", &(sow_geometry){1, 28, 28, 47}, SOW_E_SHAPE, "10 outputs, the data have 47 classes");
    refuse("vgg19", &(sow_geometry){3, 8, 8, 10}, SOW_E_SHAPE, "at least 16x16");
    refuse("conv6", &(sow_geometry){3, 32, 7, 10}, SOW_E_SHAPE, "at least 8x8");
    refuse("mlp:784", NULL, SOW_E_ARGUMENT, "at least two widths");
    refuse("mlp:", NULL, SOW_E_ARGUMENT, "mlp:784-300-100-10");
    refuse("mlp:784--10", NULL, SOW_E_ARGUMENT, "at '-10'");
    refuse("mlp:784-0-10", NULL, SOW_E_ARGUMENT, "at '0-10'");
    refuse("mlp:784-3x-10", NULL, SOW_E_ARGUMENT, "at '3x-10'");
    refuse("mlp:99999999999999999999-10", NULL, SOW_E_ARGUMENT, "at '99999999999999999999'");
    refuse("mlp:1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1", NULL, SOW_E_ARGUMENT, "more than 32 widths");
}

/* Every architecture runs on data of its geometry and gives logits; a closed state without a parameter fails. */
static void test_each_network_gives_logits(void **state) {
    int count;
    const sow_architecture *table = sow_architectures(&count);
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    static float x[2 * 3 * 32 * 32];
    for (int i = 0; i < count; i++) {
        sow_model *m = model_of(strchr(table[i].name, ':') ? "mlp:20-7-4" : table[i].name, NULL);
        sow_tape_reset(t);
        const sow_geometry *g = &m->geometry;
        sow_var y = m->forward(t, m->state, m, sow_constant(t, SOW_TENSOR(x, SOW_F32, 2, g->channels, g->height, g->width)));
        if (sow_tape_status(t) != SOW_OK) fail_msg("%s: %s", m->arch, sow_message());
        assert_int_equal(sow_value(y).shape[0], 2);
        assert_int_equal(sow_value(y).shape[1], g->classes);
        sow_model_free(m);
    }
    sow_tape_free(t);
}

static void test_an_image_of_another_size_is_an_error(void **state) {
    sow_model *m = model_of("conv2", NULL);
    sow_tape *t;
    assert_int_equal(sow_tape_new(&t), SOW_OK);
    static float x[3 * 28 * 28];
    m->forward(t, m->state, m, sow_constant(t, SOW_TENSOR(x, SOW_F32, 1, 3, 28, 28)));
    assert_int_equal(sow_tape_status(t), SOW_E_SHAPE);
    sow_tape_free(t);
    sow_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_are_those_of_the_card),
        cmocka_unit_test(test_names_are_those_of_the_usual_modules),
        cmocka_unit_test(test_scales_and_running_variances_start_at_1),
        cmocka_unit_test(test_mlp_takes_its_widths_from_its_name),
        cmocka_unit_test(test_misfits_are_refused),
        cmocka_unit_test(test_each_network_gives_logits),
        cmocka_unit_test(test_an_image_of_another_size_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
