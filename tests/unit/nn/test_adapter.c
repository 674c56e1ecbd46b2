/* Adapters: sites, starts, in the forward pass and merged, PEFT folders there and back, folders that are refused. */
#include "tiny_lm.h"

#include <math.h>

static sow_model *model_of(const char *arch) {
    sow_model *m;
    sow_rng rng;
    sow_init init = sow_init_defaults(SOW_INIT_TORCH_DEFAULT);
    OK(sow_model_new(arch, NULL, &m));
    OK(sow_rng_seed(&rng, SOW_RNG_SOW, 3));
    OK(sow_init_state(&rng, m->state, &init, NULL, 0));
    return m;
}

enum { ROWS = 5, IN = 12, CLASSES = 4 };
static float inputs[ROWS * IN];

/* Logits, with the adapter if there is one. */
static void logits_of(sow_model *m, sow_adapter *a, float out[ROWS * CLASSES]) {
    sow_tape *t;
    OK(sow_tape_new(&t));
    for (int i = 0; i < ROWS * IN; i++) inputs[i] = sinf((float)i);
    if (a) OK(sow_adapter_attach(a, t));
    sow_var y = m->forward(t, m->state, m, sow_constant(t, SOW_TENSOR(inputs, SOW_F32, ROWS, IN, 1, 1)));
    OK(sow_tape_status(t));
    memcpy(out, sow_value(y).data, sizeof(float) * ROWS * CLASSES);
    sow_tape_free(t);
}

static double distance(const float *a, const float *b) {
    double worst = 0;
    for (int i = 0; i < ROWS * CLASSES; i++) worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

/* Every factor gets numbers that are no start. */
static void disturb(sow_adapter *a) {
    for (int64_t i = 0; i < sow_state_count(a->state); i++) {
        sow_tensor v = sow_state_entry(a->state, i)->value;
        for (int64_t k = 0; k < sow_count(v); k++) sow_put(v, k, sow_at(v, k) + 0.1 * cos((double)(k + i)));
    }
}

typedef struct fixture {
    sow_arena *arena;
    sow_model *model;
    sow_sites sites;
} fixture;

static fixture set_up(void) {
    fixture f;
    OK(sow_arena_new(&f.arena));
    f.model = model_of("mlp:12-9-7-4");
    OK(sow_model_sites(f.arena, f.model, &f.sites));
    return f;
}

static void tear_down(fixture *f) {
    sow_model_free(f->model);
    sow_arena_free(f->arena);
}

static void sites_are_the_linear_layers(void **state) {
    fixture f = set_up();
    sow_sites some;
    assert_int_equal(f.sites.count, 3);
    assert_string_equal(f.sites.at[1].module, "fc2");
    assert_int_equal(f.sites.at[1].in, 9);
    assert_int_equal(f.sites.at[1].out, 7);
    OK(sow_choose_sites(f.arena, &f.sites, "fc3,fc1", &some));
    assert_int_equal(some.count, 2);
    assert_string_equal(some.at[0].module, "fc1");
    FAILS(sow_choose_sites(f.arena, &f.sites, "fc4", &some), SOW_E_NOT_FOUND, "did you mean fc");
    tear_down(&f);
}

/* Language models: q, k and v share an input, gate and up another. */
static void sites_that_share_an_input_say_so(void **state) {
    const sow_lm_config c = tiny_lm_config(11, 8);
    sow_arena *arena;
    sow_lm *lm;
    sow_sites sites, some;
    OK(sow_arena_new(&arena));
    OK(sow_lm_declare(&c, SOW_F32, &lm));
    OK(sow_lm_sites(arena, lm, &sites));
    assert_int_equal(sites.count, 14);
    static const char *const names[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                        "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
    static const int shares[] = {0, 0, 0, 3, 4, 4, 6};
    for (int i = 0; i < 14; i++) {
        char name[100];
        snprintf(name, sizeof name, "model.layers.%d.%s", i / 7, names[i % 7]);
        assert_string_equal(sites.at[i].module, name);
        assert_int_equal(sites.at[i].shares, i / 7 * 7 + shares[i % 7]);
    }
    OK(sow_choose_sites(arena, &sites, "v_proj,k_proj,down_proj", &some));
    assert_int_equal(some.count, 6);
    assert_int_equal(some.at[1].shares, 0);
    assert_int_equal(some.at[4].shares, 3);
    sow_lm_free(lm);
    sow_arena_free(arena);
}

static void starts_leave_the_function_as_it_was(void **state) {
    fixture f = set_up();
    float before[ROWS * CLASSES], after[ROWS * CLASSES];
    for (int start = 0; start < SOW_STARTS; start++) {
        sow_adapter *a;
        logits_of(f.model, NULL, before);
        OK(sow_adapter_make((sow_adapter_start)start, &f.sites, 3, 6, 1, &a));
        logits_of(f.model, a, after);
        double gap = distance(before, after), limit = start == SOW_START_XS ? 2e-4 : 2e-6;
        if (start == SOW_START_LORA || start == SOW_START_ORTHONORMAL || start == SOW_START_CORE_RANDOM) limit = 0;
        if (gap > limit) fail_msg("%s: logits move by %g", sow_adapter_start_name((sow_adapter_start)start), gap);
        sow_adapter_unshift(a);
        sow_adapter_free(a);
        logits_of(f.model, NULL, after);
        assert_near(distance(before, after), 0, 2e-6);
    }
    tear_down(&f);
}

static void leading_triples_are_those_of_the_weights(void **state) {
    fixture f = set_up();
    sow_adapter *a;
    double u[9 * 9], s[9], vt[9 * 12];
    OK(sow_svd(f.sites.at[0].weight->value, SOW_TENSOR(u, SOW_F64, 9, 9), SOW_TENSOR(s, SOW_F64, 9),
               SOW_TENSOR(vt, SOW_F64, 9, 12)));
    OK(sow_adapter_make(SOW_START_XS, &f.sites, 4, 4, 1, &a));
    for (int i = 0; i < 4; i++) {
        assert_near(sow_at(a->layers[0].a->value, i * 12 + 5), s[i] * vt[i * 12 + 5], 1e-6);
        assert_near(sow_at(a->layers[0].b->value, 3 * 4 + i), u[3 * 9 + i], 1e-6);
    }
    sow_adapter_free(a);
    tear_down(&f);
}

/* Trained adapters of every start: beside the weights, merged into them, and as plain LoRA on the original base. */
static void all_forms_give_the_same_logits(void **state) {
    for (int start = 0; start < SOW_STARTS; start++) {
        fixture f = set_up();
        sow_adapter *a, *plain;
        float attached[ROWS * CLASSES], merged[ROWS * CLASSES], as_plain[ROWS * CLASSES];
        const char *name = sow_adapter_start_name((sow_adapter_start)start);
        OK(sow_adapter_make((sow_adapter_start)start, &f.sites, 2, 3, 7, &a));
        disturb(a);
        logits_of(f.model, a, attached);
        if (start == SOW_START_DORA) FAILS(sow_adapter_plain(a, &plain), SOW_E_UNSUPPORTED, "DoRA");
        else {
            OK(sow_adapter_plain(a, &plain));
            assert_int_equal(plain->layers[0].rank, start == SOW_START_PISSA || start == SOW_START_OLORA ? 4 : 2);
            sow_adapter_unshift(a);
            OK(sow_adapter_bind(plain, &f.sites));
            logits_of(f.model, plain, as_plain);
            if (distance(attached, as_plain) > 3e-6)
                fail_msg("%s: plain LoRA is off by %g", name, distance(attached, as_plain));
            sow_adapter_free(plain);
            sow_adapter_free(a);
            tear_down(&f);
            f = set_up();
            OK(sow_adapter_make((sow_adapter_start)start, &f.sites, 2, 3, 7, &a));
            disturb(a);
        }
        OK(sow_adapter_merge(a));
        logits_of(f.model, NULL, merged);
        if (distance(attached, merged) > 3e-6)
            fail_msg("%s: merged weights are off by %g", name, distance(attached, merged));
        sow_adapter_free(a);
        tear_down(&f);
    }
}

/* Another alpha or a larger rank is the same update; a smaller rank loses what the singular values say. */
static void conversions_keep_the_update(void **state) {
    fixture f = set_up();
    sow_adapter *a, *b;
    double lost;
    float before[ROWS * CLASSES], after[ROWS * CLASSES];
    OK(sow_adapter_make(SOW_START_RSLORA, &f.sites, 3, 6, 7, &a));
    disturb(a);
    logits_of(f.model, a, before);
    static const struct {
        int64_t rank;
        double alpha;
    } same[] = {{0, 11}, {0, NAN}, {4, 2}, {3, -5}};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        OK(sow_adapter_convert(a, same[i].rank, same[i].alpha, &b, &lost));
        assert_near(lost, 0, 1e-12);
        logits_of(f.model, b, after);
        assert_near(distance(before, after), 0, 3e-6);
        for (int k = 0; k < 3; k++) assert_near(sow_adapter_norm(&b->layers[k]), sow_adapter_norm(&a->layers[k]), 1e-5);
        sow_adapter_free(b);
    }
    OK(sow_adapter_convert(a, 2, 5, &b, &lost));
    double all = 0, kept = 0, s[3];
    for (int k = 0; k < 3; k++) {
        OK(sow_svd_product(a->layers[k].b->value, a->layers[k].a->value, (sow_tensor){0}, SOW_TENSOR(s, SOW_F64, 3),
                           (sow_tensor){0}));
        for (int i = 0; i < 3; i++) all += s[i] * s[i];
        for (int i = 0; i < 2; i++) kept += s[i] * s[i];
        assert_near(sow_adapter_norm(&b->layers[k]), a->layers[k].scale * sqrt(s[0] * s[0] + s[1] * s[1]), 1e-5);
    }
    assert_near(lost, 1 - kept / all, 1e-6);
    sow_adapter_free(b);
    sow_adapter_free(a);
    tear_down(&f);
}

/* ---- folders ---- */

static void folders_give_back_what_was_written(void **state) {
    for (int start = 0; start < SOW_STARTS; start++) {
        fixture f = set_up();
        sow_adapter *a, *b;
        float before[ROWS * CLASSES], after[ROWS * CLASSES];
        char folder[600];
        snprintf(folder, sizeof folder, "%s", in_folder(sow_adapter_start_name((sow_adapter_start)start)));
        OK(sow_make_folder(folder));
        OK(sow_adapter_make((sow_adapter_start)start, &f.sites, 5, 3, 7,
                            &a)); /* fc3 has 4 outputs: rank 4, its own alpha */
        if (start == SOW_START_LORA) OK(sow_adapter_add_whole(a, &f.sites.at[2]));
        if (start == SOW_START_LORA) a->count = 2;
        disturb(a);
        logits_of(f.model, a, before);
        OK(sow_adapter_write(a, folder, NULL, "How it was made.\n"));
        sow_adapter_unshift(a);
        OK(sow_adapter_read(folder, false, &b));
        OK(sow_adapter_bind(b, &f.sites));
        assert_int_equal(b->layers[0].core != NULL, start == SOW_START_XS || start == SOW_START_CORE_RANDOM);
        logits_of(f.model, b, after);
        assert_near(distance(before, after), 0, 3e-6);
        sow_adapter_free(a);
        sow_adapter_free(b);
        tear_down(&f);
    }
}

static void write_text(const char *path, const char *text) {
    OK(sow_write_file(path, text, strlen(text)));
}

static void folders_that_lie_are_refused(void **state) {
    fixture f = set_up();
    sow_adapter *a;
    char folder[600], config[700];
    snprintf(folder, sizeof folder, "%s", in_folder("lies"));
    snprintf(config, sizeof config, "%s/adapter_config.json", folder);
    FAILS(sow_adapter_read(folder, false, &a), SOW_E_NOT_FOUND, "no such folder");
    OK(sow_make_folder(folder));
    OK(sow_adapter_make(SOW_START_LORA, &f.sites, 3, 3, 7, &a));
    OK(sow_adapter_write(a, folder, NULL, NULL));
    sow_adapter_free(a);
    static const struct {
        const char *json;
        sow_status status;
        const char *says;
    } wrong[] = {
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":3}", SOW_E_FORMAT, "\"r\""},
        {"{\"peft_type\":\"LORA\",\"r\":0,\"lora_alpha\":3}", SOW_E_FORMAT, "\"r\""},
        {"{\"peft_type\":\"IA3\",\"r\":3,\"lora_alpha\":3}", SOW_E_UNSUPPORTED, "IA3"},
        {"{\"r\":3,\"lora_alpha\":3}", SOW_E_FORMAT, "peft_type"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":3}", SOW_E_SHAPE, "rank 3"},
        {"{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":3,\"rank_pattern\":{\"fc2\":2}}", SOW_E_SHAPE, "fc2"},
        {"{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":\"x\"}", SOW_E_FORMAT, "lora_alpha"},
        {"{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":3,\"use_dora\":true}", SOW_E_FORMAT, "magnitude"},
        {"{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":3,\"bias\":\"all\"}", SOW_E_UNSUPPORTED, "bias"},
        {"{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":3,\"lora_bias\":true}", SOW_E_UNSUPPORTED, "lora_bias"},
        {"[1,2", SOW_E_FORMAT, "adapter_config.json"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_text(config, wrong[i].json);
        FAILS(sow_adapter_read(folder, false, &a), wrong[i].status, wrong[i].says);
    }
    write_text(config, "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":3,\"alpha_pattern\":{\"fc[12]\":6}}");
    OK(sow_adapter_read(folder, false, &a));
    for (int i = 0; i < 3; i++) assert_near(a->layers[i].scale, i < 2 ? 2 : 1, 0);
    sow_model *other = model_of("mlp:12-8-7-4");
    sow_sites sites;
    OK(sow_model_sites(f.arena, other, &sites));
    FAILS(sow_adapter_bind(a, &sites), SOW_E_SHAPE, "another base model: fc1 is [9, 12], the model has [8, 12]");
    sow_model_free(other);
    sow_adapter_free(a);
    tear_down(&f);
}

/* Only the adapter moves, and it lowers the loss. */
static void training_changes_the_adapter_alone(void **state) {
    fixture f = set_up();
    sow_adapter *a;
    sow_tape *t;
    sow_optimizer *o;
    static int32_t labels[ROWS] = {0, 1, 2, 3, 0};
    OK(sow_adapter_make(SOW_START_XS, &f.sites, 3, 3, 1, &a));
    sow_state_train(f.model->state, false);
    assert_int_equal(sow_adapter_trained(a), 27);
    OK(sow_tape_new(&t));
    OK(sow_adapter_attach(a, t));
    OK(sow_optimizer_new(&(sow_optimizer_config){.kind = SOW_ADAM, .rate = 0.05}, a->state, &o));
    float frozen = ((float *)a->layers[0].a->value.data)[0];
    double first = 0, last = 0;
    for (int i = 0; i < 30; i++) {
        sow_tape_reset(t);
        sow_fresh_gradients(a->state);
        sow_var y = f.model->forward(t, f.model->state, f.model,
                                     sow_constant(t, SOW_TENSOR(inputs, SOW_F32, ROWS, IN, 1, 1)));
        sow_var loss = sow_softmax_cross_entropy(t, y, SOW_TENSOR(labels, SOW_I32, ROWS));
        OK(sow_tape_status(t));
        last = sow_scalar(loss);
        if (i == 0) first = last;
        OK(sow_tape_backward(t, loss));
        sow_optimizer_step(o, 1);
    }
    assert_true(last < 0.8 * first);
    assert_true(frozen == ((float *)a->layers[0].a->value.data)[0]);
    sow_optimizer_free(o);
    sow_tape_free(t);
    sow_adapter_free(a);
    tear_down(&f);
}

static int prepare(void **state) {
    return make_test_folder();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sites_are_the_linear_layers),
        cmocka_unit_test(sites_that_share_an_input_say_so),
        cmocka_unit_test(starts_leave_the_function_as_it_was),
        cmocka_unit_test(leading_triples_are_those_of_the_weights),
        cmocka_unit_test(all_forms_give_the_same_logits),
        cmocka_unit_test(conversions_keep_the_update),
        cmocka_unit_test(folders_give_back_what_was_written),
        cmocka_unit_test(folders_that_lie_are_refused),
        cmocka_unit_test(training_changes_the_adapter_alone),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
