/* Simulated federations: what domains do to images, who gets which examples, one client's training, FLoRA's and FFA's rounds. */
#include "check.h"

#include <math.h>

#include "starts/adapters/lora_fair/rounds.h"

enum { EXAMPLES = 400, SIDE = 12, CLASSES = 4 };
static sow_arena *arena;
static char images[1100];

/* Pictures of four classes: a bright bar whose place tells the class. */
static int prepare(void **state) {
    static uint8_t pixels[EXAMPLES][SIDE][SIDE];
    static int32_t labels[EXAMPLES];
    if (make_test_folder() != 0 || sow_arena_new(&arena) != SOW_OK) return -1;
    for (int i = 0; i < EXAMPLES; i++) {
        labels[i] = i % CLASSES;
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) {
                int bar = labels[i] < 2 ? y : x;
                pixels[i][y][x] = (uint8_t)((bar / 6 == labels[i] % 2 ? 180 : 20) + (i * 7 + y * 3 + x) % 31);
            }
    }
    sow_set_threads(1);
    if (sow_npy_write(in_folder("x.npy"), SOW_TENSOR(pixels, SOW_U8, EXAMPLES, 1, SIDE, SIDE)) ||
        sow_npy_write(in_folder("y.npy"), SOW_TENSOR(labels, SOW_I32, EXAMPLES)))
        return -1;
    snprintf(images, sizeof images, "--data=%s,%s", in_folder("x.npy"), in_folder("y.npy"));
    return 0;
}

static int clean_up(void **state) {
    sow_arena_free(arena);
    return 0;
}

/* A call of `simulate` on these images with more options. */
static sow_call call_of(int count, const char *const *more) {
    const char *words[32] = {images,     "--arch=mlp:144-16-4", "--examples=0", "--pretrain=80",
                             "--rank=3", "--local-steps=4",     "--batch=16"};
    sow_call call = {.method = &sow_method_lora_fair, .arena = arena, .result = json_object()};
    for (call.action = sow_method_lora_fair.actions; strcmp(call.action->name, "simulate"); call.action++) continue;
    for (int i = 0; i < count; i++) words[7 + i] = more[i];
    OK(sow_parse(&call, 7 + count, words));
    return call;
}
#define CALL(...) call_of((int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[]){__VA_ARGS__})

static void open_world(sow_call *call, fair_world *w) {
    OK(fair_world_open(call, NULL, w));
    json_decref(call->result);
}

static void every_example_has_one_owner(void **state) {
    static const char *const partitions[] = {"--partition=iid", "--partition=domain", "--partition=dirichlet:0.3",
                                             "--partition=domain+dirichlet:0.3"};
    for (int p = 0; p < 4; p++) {
        fair_world w;
        int seen[EXAMPLES] = {0}, total = 0;
        sow_call call = CALL("--clients=5", partitions[p]);
        open_world(&call, &w);
        for (int64_t i = 0; i < w.base_count; i++) seen[w.order[i]]++;
        for (int64_t k = 0; k < w.clients; k++)
            for (int64_t i = 0; i < w.size[k]; i++) seen[w.index[k][i]]++, total++;
        assert_int_equal(total, w.client_count);
        assert_int_equal(w.base_count, 80);
        for (int64_t i = 0; i < w.source->train.count; i++) assert_int_equal(seen[w.source->train.index[i]], 1);
        fair_world_close(&w);
    }
}

/* Share of a client's most frequent class, mean over clients. */
static double skew_of(const char *partition) {
    fair_world w;
    double sum = 0;
    sow_call call = CALL("--clients=5", partition);
    open_world(&call, &w);
    for (int64_t k = 0; k < w.clients; k++) {
        int count[CLASSES] = {0}, most = 0;
        for (int64_t i = 0; i < w.size[k]; i++) count[w.source->train_set->labels[w.index[k][i]]]++;
        for (int c = 0; c < CLASSES; c++) most = count[c] > most ? count[c] : most;
        sum += (double)most / (double)w.size[k] / 5;
    }
    fair_world_close(&w);
    return sum;
}

static void small_concentrations_share_labels_unevenly(void **state) {
    double even = skew_of("--partition=iid"), large = skew_of("--partition=dirichlet:1000"),
           small = skew_of("--partition=dirichlet:0.2");
    assert_true(even < 0.4 && large < 0.4);
    assert_true(small > 0.5);
}

static void domains_do_what_they_say(void **state) {
    fair_world w;
    uint8_t out[FAIR_DOMAINS][SIDE * SIDE], again[SIDE * SIDE];
    sow_call call = CALL("--clients=6");
    open_world(&call, &w);
    const sow_dataset *set = w.source->train_set;
    const uint8_t *plain = (const uint8_t *)set->inputs.data + 3 * SIDE * SIDE;
    for (int d = 0; d < FAIR_DOMAINS; d++) fair_show(&w, set, 3, d, out[d]);
    assert_memory_equal(out[0], plain, sizeof again);
    for (int i = 0; i < SIDE * SIDE; i++) assert_int_equal(out[2][i], 255 - plain[i]);
    assert_near(out[1][5 * SIDE + 5] + out[1][6 * SIDE + 6], plain[5 * SIDE + 5] + plain[6 * SIDE + 6],
                200);               /* the centre turns in place */
    assert_int_equal(out[1][0], 0); /* corners come from outside */
    double blurred = 0;
    for (int y = 4; y <= 6; y++)
        for (int x = 4; x <= 6; x++) blurred += plain[y * SIDE + x] / 9.0;
    assert_near(out[3][5 * SIDE + 5], blurred, 0.51);
    for (int d = 1; d < FAIR_DOMAINS; d++) assert_true(memcmp(out[d], plain, sizeof again) != 0);
    for (int d = 4; d < FAIR_DOMAINS; d++) { /* what is random is so once and for all */
        fair_show(&w, set, 3, d, again);
        assert_memory_equal(again, out[d], sizeof again);
    }
    fair_world_close(&w);
}

static void trained_clients_change_b_and_only_ffa_keeps_a(void **state) {
    for (int frozen = 0; frozen < 2; frozen++) {
        fair_world w;
        sow_adapter *fresh, *own;
        sow_data data;
        sow_call call = CALL("--clients=2", frozen ? "--kind=ffa" : "--kind=fair");
        open_world(&call, &w);
        OK(fair_fresh_adapter(&w, 0, &fresh));
        OK(fair_fresh_adapter(&w, 0, &own));
        OK(fair_client_data(&w, 1, &data));
        assert_int_equal(data.train.count, w.size[1]);
        OK(fair_train(&w, own, &data, 0, 1, 4, 1));
        sow_tensor a = own->layers[0].a->value, b = own->layers[0].b->value;
        assert_int_equal(memcmp(a.data, fresh->layers[0].a->value.data, sow_bytes(a)) == 0, frozen);
        assert_true(memcmp(b.data, fresh->layers[0].b->value.data, sow_bytes(b)) != 0);
        sow_adapter_free(fresh);
        sow_adapter_free(own);
        fair_world_close(&w);
    }
}

/* The network with the merged stack in its weights is what the stack gives beside them, and the next round begins with B = 0. */
static void stacks_go_into_the_base(void **state) {
    fair_world w;
    sow_adapter *global, *merged, *trained[2];
    sow_fair_layer *layers;
    double before, after;
    sow_call call = CALL("--clients=2", "--kind=flora", "--local-lr=0.02");
    open_world(&call, &w);
    sow_fair_config config = sow_fair_defaults();
    config.kind = SOW_FAIR_FLORA;
    OK(fair_make_tests(&w));
    OK(fair_fresh_adapter(&w, 0, &global));
    float weight = (float)sow_at(w.sites.at[0].weight->value, 5);
    for (int64_t k = 0; k < 2; k++) {
        sow_data data;
        OK(fair_fresh_adapter(&w, 0, &trained[k]));
        OK(fair_client_data(&w, k, &data));
        OK(fair_train(&w, trained[k], &data, 0, k, 8, 1));
    }
    sow_adapter *stack;
    OK(sow_fair_merge(&config, (const sow_adapter *const *)trained, w.weight, 2, arena, &stack, &layers));
    OK(sow_adapter_bind(stack, &w.sites));
    OK(fair_score(&w, stack, NULL, &before));
    OK(fair_end_round(&w, &config, trained, 0, &global, &merged, &layers));
    OK(fair_score(&w, global, NULL, &after));
    assert_near(after, before, 0.03); /* rounding may turn a picture */
    assert_int_equal(merged->layers[0].rank, 6);
    assert_int_equal(global->layers[0].rank, 3);
    assert_true(weight != (float)sow_at(w.sites.at[0].weight->value, 5));
    for (int64_t i = 0; i < sow_count(global->layers[0].b->value); i++)
        assert_true(sow_at(global->layers[0].b->value, i) == 0);
    sow_adapter *all[] = {global, merged, trained[0], trained[1], stack};
    for (int i = 0; i < 5; i++) sow_adapter_free(all[i]);
    fair_world_close(&w);
}

/* Each client has its own examples alone; without skew it has its share of each class, with it mostly a few classes. */
static void planted_clients_share_out_one_teachers_labels(void **state) {
    double most[2] = {0};
    for (int skewed = 0; skewed < 2; skewed++) {
        fair_world w;
        double accuracy;
        sow_call call = CALL("--clients=4", "--planted", skewed ? "--partition=dirichlet:0.1" : "--partition=iid");
        OK(fair_planted_open(&call, &w));
        int64_t each = w.source->train_set->count / 4, total = 0;
        for (int64_t k = 0; k < 4; k++) {
            int64_t of_class[10] = {0}, largest = 0;
            total += w.size[k];
            for (int64_t i = 0; i < w.size[k]; i++) {
                assert_int_equal(w.index[k][i] / each, k);
                int64_t n = ++of_class[w.source->train_set->labels[w.index[k][i]]];
                largest = n > largest ? n : largest;
            }
            most[skewed] += (double)largest / (double)w.size[k] / 4;
        }
        assert_int_equal(total, w.client_count);
        OK(fair_make_tests(&w));
        OK(fair_score(&w, NULL, NULL, &accuracy));
        assert_int_equal(w.test_count, 4);
        assert_true(accuracy > 0.15 && accuracy < 0.6); /* the base is no longer the teacher */
        json_decref(call.result);
        fair_world_close(&w);
    }
    assert_true(most[1] > most[0] + 0.1);
}

static void wrong_federations_are_refused(void **state) {
    fair_world w;
    sow_call letters = CALL("--partition=alphabet"), many = CALL("--clients=90"),
             nothing = CALL("--partition=dirichlet:0"), target = CALL("--targets=fc7");
    FAILS(fair_world_open(&letters, NULL, &w), SOW_E_ARGUMENT, "expected iid, domain");
    FAILS(fair_world_open(&nothing, NULL, &w), SOW_E_ARGUMENT, "expected iid, domain");
    FAILS(fair_world_open(&many, NULL, &w), SOW_E_RANGE, "too few for 90 clients");
    FAILS(fair_world_open(&target, NULL, &w), SOW_E_NOT_FOUND, "matches no linear layer");
    sow_call *all[] = {&letters, &many, &nothing, &target};
    for (int i = 0; i < 4; i++) json_decref(all[i]->result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_example_has_one_owner),
        cmocka_unit_test(small_concentrations_share_labels_unevenly),
        cmocka_unit_test(domains_do_what_they_say),
        cmocka_unit_test(trained_clients_change_b_and_only_ffa_keeps_a),
        cmocka_unit_test(stacks_go_into_the_base),
        cmocka_unit_test(planted_clients_share_out_one_teachers_labels),
        cmocka_unit_test(wrong_federations_are_refused),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
