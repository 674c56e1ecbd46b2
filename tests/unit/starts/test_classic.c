/* Classic: states and files get the same bits, kept tensors stay, the order of draws, LSUV. */
#include <math.h>
#include <unistd.h>

#include "check.h"
#include "sow/weights.h"

static sow_init scheme_of(const char *text) {
    sow_init init;
    OK(sow_init_parse(text, &init));
    return init;
}

static sow_arena *fresh_arena(void) {
    sow_arena *arena;
    OK(sow_arena_new(&arena));
    return arena;
}

/* Names whose bytewise order is not their natural one, and all dtypes that matter. */
static const struct {
    const char *name;
    sow_dtype dtype;
    int rank;
    int64_t shape[2];
} tensors[] = {{"layer2.weight", SOW_F32, 2, {9, 5}},  {"layer2.bias", SOW_F32, 1, {9}},
               {"layer10.weight", SOW_F32, 2, {3, 9}}, {"layer10.bias", SOW_F32, 1, {3}},
               {"half.weight", SOW_BF16, 2, {7, 3}},   {"counter", SOW_I64, 1, {2}},
               {"norm.weight", SOW_F64, 1, {3}}};
enum { TENSORS = sizeof tensors / sizeof *tensors };

static sow_state *example_state(void) {
    sow_state *s;
    OK(sow_state_new(&s));
    for (int i = 0; i < TENSORS; i++) {
        sow_entry *entry;
        OK(sow_state_add(s, tensors[i].name, tensors[i].dtype, tensors[i].rank, tensors[i].shape, &entry));
        for (int64_t k = 0; k < sow_count(entry->value); k++) sow_put(entry->value, k, (double)k + 0.5);
    }
    return s;
}

static void assert_same_values(const sow_state *a, const sow_state *b, const char *name) {
    sow_entry *x, *y;
    OK(sow_state_get(a, name, &x));
    OK(sow_state_get(b, name, &y));
    assert_int_equal(x->value.dtype, y->value.dtype);
    assert_true(sow_same_shape(x->value, y->value));
    for (int64_t i = 0; i < sow_count(x->value); i++)
        if (sow_at(x->value, i) != sow_at(y->value, i))
            fail_msg("%s: number %lld is %g in one and %g in the other", name, (long long)i, sow_at(x->value, i),
                     sow_at(y->value, i));
}

/* The example written to a file, filled by sow_classic_file and loaded again. */
static sow_state *through_file(const sow_classic_config *config, sow_arena *arena, sow_filled **report) {
    sow_state *s = example_state(), *filled;
    int64_t count;
    OK(sow_save_state(in_folder("in.safetensors"), s, NULL));
    OK(sow_classic_file(config, in_folder("in.safetensors"), in_folder("out.safetensors"), NULL, arena, report,
                        &count));
    OK(sow_load_state(in_folder("out.safetensors"), &filled));
    assert_int_equal(count, TENSORS);
    sow_state_free(s);
    return filled;
}

static void files_and_states_get_the_same_bits(void **state) {
    const sow_rng_kind kinds[] = {SOW_RNG_SOW, SOW_RNG_TORCH_CPU, SOW_RNG_NUMPY, SOW_RNG_PCG64};
    for (int k = 0; k < 4; k++) {
        /* files draw in natural order: that of the example's first four tensors, behind half and before norm */
        const char *const order[] = {"half.weight", "layer2.weight"};
        sow_classic_config config = {.by_default = scheme_of("torch-default"), .rng = kinds[k], .seed = 11};
        sow_arena *arena = fresh_arena();
        sow_filled *report, *of_file;
        sow_state *s = example_state(), *from_file = through_file(&config, arena, &of_file);
        config.order = order;
        config.order_count = 2;
        OK(sow_classic(&config, s, arena, &report));
        for (int i = 0; i < TENSORS; i++) assert_same_values(s, from_file, tensors[i].name);
        assert_string_equal(report[0].name, "layer2.weight");
        assert_true(fabs(report[0].sd - 1 / sqrt(3 * 5)) < 0.1 && fabs(report[0].mean) < 0.2);
        assert_true(isnan(report[5].mean) && report[5].init.scheme == SOW_INIT_KEEP);
        assert_true(report[6].mean == 1 && report[6].sd == 0);
        sow_state_free(s);
        sow_state_free(from_file);
        sow_arena_free(arena);
    }
}

static void kept_tensors_keep_every_byte(void **state) {
    sow_init_rule rule = {"layer2.*", scheme_of("orthogonal"), true};
    sow_classic_config config = {.by_default = scheme_of("keep"), .rules = &rule, .rule_count = 1, .seed = 1};
    sow_arena *arena = fresh_arena();
    sow_filled *report;
    sow_state *before = example_state(), *after = through_file(&config, arena, &report);
    for (int i = 2; i < TENSORS; i++) assert_same_values(before, after, tensors[i].name);
    sow_entry *bias, *weight;
    OK(sow_state_get(after, "layer2.bias", &bias));
    OK(sow_state_get(after, "layer2.weight", &weight));
    for (int64_t i = 0; i < 9; i++) assert_true(sow_at(bias->value, i) == 0);
    double length = 0;
    for (int64_t i = 0; i < 9; i++) length += pow(sow_at(weight->value, i * 5), 2);
    assert_near(length, 1, 1e-6);
    sow_state_free(before);
    sow_state_free(after);
    sow_arena_free(arena);
}

static void a_file_is_drawn_in_natural_order_weight_before_bias(void **state) {
    sow_classic_config config = {.by_default = scheme_of("torch-default"), .rng = SOW_RNG_TORCH_CPU, .seed = 5};
    sow_arena *arena = fresh_arena();
    sow_filled *report;
    sow_state *s = through_file(&config, arena, &report);
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_TORCH_CPU, 5));
    float drawn[9 * 5];
    const struct {
        const char *name;
        int64_t n;
        double fan_in;
    } order[] = {{"half.weight", 21, 3},
                 {"layer2.weight", 45, 5},
                 {"layer2.bias", 9, 5},
                 {"layer10.weight", 27, 9},
                 {"layer10.bias", 3, 9}};
    for (int i = 0; i < 5; i++) {
        sow_entry *entry;
        OK(sow_state_get(s, order[i].name, &entry));
        sow_rng_uniform_f32(&rng, drawn, order[i].n, -1 / sqrt(order[i].fan_in), 1 / sqrt(order[i].fan_in));
        for (int64_t k = 0; k < order[i].n; k++)
            assert_near(sow_at(entry->value, k), (double)drawn[k], entry->value.dtype == SOW_BF16 ? 0.003 : 1e-7);
    }
    sow_state_free(s);
    sow_arena_free(arena);
}

static void the_callers_order_goes_first(void **state) {
    const char *const order[] = {"layer10.bias", "layer2.weight"}, *const wrong[] = {"layer3.weight"},
                      *const twice[] = {"counter", "counter"};
    sow_classic_config config = {
        .by_default = scheme_of("torch-default"), .rng = SOW_RNG_NUMPY, .seed = 5, .order = order, .order_count = 2};
    sow_arena *arena = fresh_arena();
    sow_state *s = example_state();
    OK(sow_classic(&config, s, arena, NULL));
    sow_rng rng;
    OK(sow_rng_seed(&rng, SOW_RNG_NUMPY, 5));
    float drawn[3];
    sow_rng_uniform_f32(&rng, drawn, 3, -1.0 / 3, 1.0 / 3);
    for (int i = 0; i < 3; i++) assert_near(sow_at(sow_state_entry(s, 3)->value, i), (double)drawn[i], 1e-7);
    config.order = wrong;
    config.order_count = 1;
    FAILS(sow_classic(&config, s, arena, NULL), SOW_E_NOT_FOUND, "layer2.weight");
    config.order = twice;
    config.order_count = 2;
    FAILS(sow_classic(&config, s, arena, NULL), SOW_E_ARGUMENT, "twice");
    sow_state_free(s);
    sow_arena_free(arena);
}

static void broken_numbers_are_refused_and_nothing_is_written(void **state) {
    sow_init_rule rule = {"layer2.*", scheme_of("zeros"), false};
    sow_classic_config config = {.by_default = scheme_of("keep"), .rules = &rule, .rule_count = 1};
    sow_arena *arena = fresh_arena();
    sow_state *s = example_state();
    sow_filled *report;
    int64_t count;
    sow_put(sow_state_entry(s, 2)->value, 4, NAN);
    OK(sow_save_state(in_folder("nan.safetensors"), s, NULL));
    FAILS(sow_classic_file(&config, in_folder("nan.safetensors"), in_folder("never.safetensors"), NULL, arena, &report,
                           &count),
          SOW_E_NUMBER, "layer10.weight: element 4");
    assert_non_null(strstr(sow_message(), "nan.safetensors"));
    assert_false(sow_path_exists(in_folder("never.safetensors")));
    rule.pattern = "layer10.*"; /* what is filled anew may have been broken */
    OK(sow_classic_file(&config, in_folder("nan.safetensors"), in_folder("healed.safetensors"), NULL, arena, &report,
                        &count));
    rule.pattern = "layer3.*";
    FAILS(sow_classic_file(&config, in_folder("nan.safetensors"), in_folder("never.safetensors"), NULL, arena, &report,
                           &count),
          SOW_E_ARGUMENT, "nan.safetensors: no tensor is named");
    sow_state_free(s);
    sow_arena_free(arena);
}

/* ---- LSUV ---- */

static sow_model *orthogonal_model(const char *arch, const sow_data *data, sow_arena *arena) {
    sow_classic_config config = {.by_default = scheme_of("orthogonal"), .seed = 3};
    sow_model *model;
    OK(sow_model_new(arch, &data->geometry, &model));
    OK(sow_classic(&config, model->state, arena, NULL));
    return model;
}

static void lsuv_gives_every_layer_unit_variance_by_scaling_alone(void **state) {
    sow_data *data;
    sow_arena *arena = fresh_arena();
    sow_lsuv_config config = {.batch = 200, .tolerance = 0.01, .rounds = 10, .seed = 1};
    sow_lsuv_layer *layers;
    int64_t count;
    OK(sow_data_open("synthetic:relmlp", &(sow_data_options){.validation = -1}, &data));
    sow_model *model = orthogonal_model("mlp:64-150-50-5", data, arena),
              *before = orthogonal_model("mlp:64-150-50-5", data, arena);
    OK(sow_lsuv(&config, model, data, arena, &layers, &count));
    assert_int_equal(count, 3);
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "fc%d", i + 1);
        assert_string_equal(layers[i].site, name);
        assert_near(layers[i].after, 1, 0.01);
        const sow_entry *old = sow_state_entry(before->state, 2 * i), *scaled = sow_state_entry(model->state, 2 * i);
        double factor = sow_at(scaled->value, 0) / sow_at(old->value, 0);
        for (int64_t k = 0; k < sow_count(old->value); k++)
            assert_near(sow_at(scaled->value, k), factor * sow_at(old->value, k), 1e-6);
    }
    /* inputs have variance 1 and an orthogonal 150 x 64 matrix keeps their length: 64/150 is left in each output */
    assert_near(layers[0].before, 64.0 / 150, 0.02);
    /* a second time nothing is left to do */
    double first = sow_at(sow_state_entry(model->state, 0)->value, 0);
    OK(sow_lsuv(&config, model, data, arena, &layers, &count));
    for (int i = 0; i < 3; i++) assert_near(layers[i].before, 1, 0.01);
    assert_true(sow_at(sow_state_entry(model->state, 0)->value, 0) == first);
    sow_model_free(model);
    sow_model_free(before);
    sow_data_free(data);
    sow_arena_free(arena);
}

static void lsuv_settles_with_biases_too(void **state) {
    sow_data *data;
    sow_arena *arena = fresh_arena();
    sow_lsuv_config config = {.batch = 200, .tolerance = 0.01, .rounds = 10, .seed = 1};
    sow_init_rule rule = {".*bias", scheme_of("normal:sd=0.3"), false};
    sow_classic_config classic = {.by_default = scheme_of("orthogonal"), .rules = &rule, .rule_count = 1, .seed = 3};
    sow_lsuv_layer *layers;
    int64_t count;
    OK(sow_data_open("synthetic:relmlp", &(sow_data_options){.validation = -1}, &data));
    sow_model *model = orthogonal_model("mlp:64-150-50-5", data, arena);
    OK(sow_classic(&classic, model->state, arena, NULL));
    OK(sow_lsuv(&config, model, data, arena, &layers, &count));
    for (int i = 0; i < 3; i++) assert_near(layers[i].after, 1, 0.01);
    sow_model_free(model);
    sow_data_free(data);
    sow_arena_free(arena);
}

static void lsuv_refuses_weights_that_are_not_filled(void **state) {
    sow_data *data;
    sow_arena *arena = fresh_arena();
    sow_lsuv_config config = {.batch = 200, .tolerance = 0.1, .rounds = 10};
    sow_lsuv_layer *layers;
    sow_model *model;
    int64_t count;
    OK(sow_data_open("synthetic:relmlp", &(sow_data_options){.validation = -1}, &data));
    OK(sow_model_new("mlp:64-10-5", &data->geometry, &model));
    FAILS(sow_lsuv(&config, model, data, arena, &layers, &count), SOW_E_NUMBER, "'fc1' have variance 0");
    config.batch = 1;
    FAILS(sow_lsuv(&config, model, data, arena, &layers, &count), SOW_E_RANGE, "batch 1");
    sow_model_free(model);
    sow_data_free(data);
    sow_arena_free(arena);
}

int main(void) {
    if (make_test_folder()) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_and_states_get_the_same_bits),
        cmocka_unit_test(kept_tensors_keep_every_byte),
        cmocka_unit_test(a_file_is_drawn_in_natural_order_weight_before_bias),
        cmocka_unit_test(the_callers_order_goes_first),
        cmocka_unit_test(broken_numbers_are_refused_and_nothing_is_written),
        cmocka_unit_test(lsuv_gives_every_layer_unit_variance_by_scaling_alone),
        cmocka_unit_test(lsuv_settles_with_biases_too),
        cmocka_unit_test(lsuv_refuses_weights_that_are_not_filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
