/* Magnitude pruning: card 07's unit oracles. */
#include "check.h"

static sow_arena *arena;

static int set_up(void **state) {
    return make_test_folder() == 0 && sow_arena_new(&arena) == SOW_OK ? 0 : -1;
}

static int tear_down(void **state) {
    sow_arena_free(arena);
    return 0;
}

static sow_prune_spec spec_of(const char *rates) {
    sow_prune_spec spec = {0};
    assert_int_equal(sow_prune_parse(arena, rates, &spec), SOW_OK);
    return spec;
}

static sow_entry *add(sow_state *state, const char *name, const char *group, int64_t rows, int64_t columns) {
    sow_entry *e;
    assert_int_equal(sow_state_add(state, name, SOW_F32, 2, (int64_t[]){rows, columns}, &e), SOW_OK);
    e->group = group;
    e->role = SOW_ROLE_WEIGHT;
    return e;
}

static sow_state *row_of(const float *values, int64_t count) {
    sow_state *state;
    assert_int_equal(sow_state_new(&state), SOW_OK);
    sow_entry *e = add(state, "w.weight", "fc", 1, count);
    memcpy(e->value.data, values, (size_t)count * sizeof *values);
    return state;
}

/* LeNet-300-100 with values that are all different. */
static sow_state *lenet(void) {
    sow_state *state;
    assert_int_equal(sow_state_new(&state), SOW_OK);
    sow_rng rng;
    sow_rng_seed(&rng, SOW_RNG_SOW, 5);
    struct {
        const char *name, *group;
        int64_t out, in;
    } layers[] = {{"fc1.weight", "fc", 300, 784}, {"fc2.weight", "fc", 100, 300}, {"fc3.weight", "out", 10, 100}};
    for (int i = 0; i < 3; i++) {
        sow_entry *e = add(state, layers[i].name, layers[i].group, layers[i].out, layers[i].in);
        sow_rng_at(&rng, "test", layers[i].name);
        sow_rng_normal_f32(&rng, e->value.data, sow_count(e->value), 0, 1);
    }
    return state;
}

static void assert_removed(const sow_mask *mask, const char *name, int count, const int64_t *removed) {
    const sow_bits *bits = sow_mask_find(mask, name);
    assert_non_null(bits);
    assert_int_equal(bits->count - sow_bits_kept(bits), count);
    for (int i = 0; i < count; i++) assert_false(sow_bit(bits, removed[i]));
}

static const float ten[] = {.5f, -.1f, .3f, .7f, .05f, -.2f, .4f, .9f, .6f, .15f};

static void the_exact_rule_removes_indices_4_and_1(void **state) {
    sow_state *w = row_of(ten, 10);
    sow_prune_spec spec = spec_of("0.2");
    sow_mask mask;
    assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &mask), SOW_OK);
    assert_removed(&mask, "w.weight", 2, (int64_t[]){4, 1});
    sow_state_free(w);
}

static void the_authors_rule_removes_indices_4_1_and_9(void **state) {
    sow_state *w = row_of(ten, 10);
    sow_prune_spec spec = spec_of("0.2");
    spec.google = true;
    sow_mask mask;
    assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &mask), SOW_OK);
    assert_removed(&mask, "w.weight", 3, (int64_t[]){4, 1, 9});
    sow_state_free(w);
}

static void a_second_round_counts_survivors_only(void **state) {
    sow_state *w = row_of(ten, 10);
    sow_prune_spec spec = spec_of("0.25");
    sow_mask first, second;
    assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &first), SOW_OK); /* floor(2.5 + .5) = 3 go */
    assert_removed(&first, "w.weight", 3, (int64_t[]){4, 1, 9});
    assert_int_equal(sow_mask_bind(&first, w), SOW_OK);                              /* zeros are no survivors */
    assert_int_equal(sow_prune_magnitude(arena, w, &first, &spec, &second), SOW_OK); /* floor(1.75 + .5) = 2 of 7 */
    assert_removed(&second, "w.weight", 5, (int64_t[]){4, 1, 9, 5, 2});
    sow_state_free(w);
}

static void weights_that_are_all_equal_lose_exactly_k_the_lowest_indices(void **state) {
    float same[10];
    for (int i = 0; i < 10; i++) same[i] = i % 2 ? .25f : -.25f;
    sow_state *w = row_of(same, 10);
    sow_prune_spec spec = spec_of("0.3");
    sow_mask mask;
    assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &mask), SOW_OK);
    assert_removed(&mask, "w.weight", 3, (int64_t[]){0, 1, 2});
    sow_state_free(w);
}

static void a_layer_keeps_its_largest_weight_at_least(void **state) {
    sow_state *w = row_of((float[]){1, -3, 2}, 3);
    sow_prune_spec spec = spec_of("0.9");
    sow_mask mask;
    assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &mask), SOW_OK);
    assert_removed(&mask, "w.weight", 2, (int64_t[]){0, 2});
    sow_mask again;
    assert_int_equal(sow_prune_magnitude(arena, w, &mask, &spec, &again), SOW_OK);
    assert_removed(&again, "w.weight", 2, (int64_t[]){0, 2});
    spec.google = true;
    assert_int_equal(sow_prune_magnitude(arena, w, &mask, &spec, &again), SOW_OK);
    assert_removed(&again, "w.weight", 2, (int64_t[]){0, 2});
    sow_state_free(w);
}

/* Prunes LeNet by rounds; the weights do not matter for the counts. */
static void assert_counts(bool google, const char *rates, int rounds, const int (*wanted)[4]) {
    sow_state *w = lenet();
    sow_prune_spec spec = spec_of(rates);
    spec.google = google;
    sow_mask mask;
    assert_int_equal(sow_prune_begin(arena, w, &spec, &mask), SOW_OK);
    assert_int_equal(sow_mask_kept(&mask, w), 266200);
    for (int k = 1; k <= rounds; k++) {
        sow_mask next;
        assert_int_equal(sow_prune_magnitude(arena, w, &mask, &spec, &next), SOW_OK);
        for (int t = 0; t < 3; t++) /* masks only lose bits */
            for (int64_t i = 0; i < (next.bits[t].count + 63) / 64; i++)
                assert_true((next.bits[t].words[i] & ~mask.bits[t].words[i]) == 0);
        mask = next;
        if (wanted[0][0] != k) continue;
        for (int t = 0; t < 3; t++) assert_int_equal(sow_bits_kept(&mask.bits[t]), wanted[0][t + 1]);
        wanted++;
    }
    sow_state_free(w);
}

static void densities_of_lenet_reproduce_the_papers(void **state) {
    static const int exact[][4] = {{1, 188160, 24000, 900},
                                   {2, 150528, 19200, 810},
                                   {3, 120422, 15360, 729},
                                   {7, 49325, 6291, 478},
                                   {9, 31568, 4026, 387},
                                   {15, 8275, 1056, 206},
                                   {0}};
    assert_counts(false, "fc=0.2,out=0.1", 15, exact);
}

static void thirty_rounds_of_lenet_leave_370_weights(void **state) {
    sow_state *w = lenet();
    sow_prune_spec spec = spec_of("fc=0.2,out=0.1");
    sow_mask mask;
    assert_int_equal(sow_prune_begin(arena, w, &spec, &mask), SOW_OK);
    for (int k = 1; k <= 30; k++) {
        assert_int_equal(sow_prune_magnitude(arena, w, &mask, &spec, &mask), SOW_OK);
        if (k == 16) assert_int_equal(sow_mask_kept(&mask, w), 7650);
    }
    assert_int_equal(sow_mask_kept(&mask, w), 370);
    sow_state_free(w);
}

static void the_authors_rule_on_lenet(void **state) {
    static const int google[][4] = {{1, 188159, 23999, 899}, {30, 286, 32, 32}, {0}};
    assert_counts(true, "fc=0.2,out=0.1", 30, google);
}

static void a_rate_of_0_keeps_the_mask(void **state) {
    sow_state *w = lenet();
    sow_prune_spec spec = spec_of("fc=0.2,out=0");
    sow_mask mask, next;
    assert_int_equal(sow_mask_new(arena, w, &mask), SOW_OK);
    assert_int_equal(sow_prune_magnitude(arena, w, &mask, &spec, &next), SOW_OK);
    assert_int_equal(sow_bits_kept(sow_mask_find(&next, "fc3.weight")), 1000);
    assert_int_equal(sow_bits_kept(sow_mask_find(&next, "fc2.weight")), 24000);
    assert_int_equal(sow_prune_begin(arena, w, &spec, &mask), SOW_OK);
    assert_null(sow_mask_find(&mask, "fc3.weight")); /* absent means dense */
    sow_state_free(w);
}

static void global_pruning_of_one_layer_is_layer_wise_pruning(void **state) {
    sow_state *w = row_of(ten, 10);
    sow_prune_spec spec = spec_of("0.4");
    sow_mask layer, global;
    assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &layer), SOW_OK);
    spec.global = true;
    assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &global), SOW_OK);
    assert_int_equal(layer.bits[0].words[0], global.bits[0].words[0]);
    sow_state_free(w);
}

static void global_pruning_takes_the_smallest_of_all_ties_by_name(void **state) {
    sow_state *w;
    assert_int_equal(sow_state_new(&w), SOW_OK);
    sow_entry *b = add(w, "b.weight", "conv", 1, 4), *a = add(w, "a.weight", "conv", 1, 4);
    memcpy(b->value.data, (float[]){.5f, .1f, .5f, 9}, 16);
    memcpy(a->value.data, (float[]){.5f, 8, .5f, 7}, 16);
    sow_prune_spec spec = spec_of("0.5"); /* 4 of 8: .1, then three of the four halves: a's, then b's first */
    spec.global = true;
    sow_mask mask;
    assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &mask), SOW_OK);
    assert_removed(&mask, "a.weight", 2, (int64_t[]){0, 2});
    assert_removed(&mask, "b.weight", 2, (int64_t[]){0, 1});
    sow_state_free(w);
}

static void global_pruning_empties_no_layer(void **state) {
    sow_state *w;
    assert_int_equal(sow_state_new(&w), SOW_OK);
    memcpy(add(w, "a.weight", "conv", 1, 2)->value.data, (float[]){.1f, .2f}, 8);
    memcpy(add(w, "b.weight", "conv", 1, 2)->value.data, (float[]){3, 4}, 8);
    sow_prune_spec spec = spec_of("0.5");
    spec.global = true;
    sow_mask mask;
    assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &mask), SOW_OK);
    assert_removed(&mask, "a.weight", 1, (int64_t[]){0});
    assert_removed(&mask, "b.weight", 0, NULL);
    sow_state_free(w);
}

static void storage_order_does_not_matter(void **state) {
    sow_state *w = lenet(), *stored;
    assert_int_equal(sow_state_new(&stored), SOW_OK);
    float *memory = malloc(30000 * sizeof *memory);
    sow_tensor transposed = sow_transpose(SOW_TENSOR(memory, SOW_F32, 300, 100)); /* logical [100, 300] */
    sow_entry *e;
    assert_int_equal(sow_copy(transposed, sow_state_find(w, "fc2.weight")->value), SOW_OK);
    assert_int_equal(sow_state_add_view(stored, "fc2.weight", transposed, &e), SOW_OK);
    e->role = SOW_ROLE_WEIGHT;
    sow_prune_spec spec = spec_of("0.37");
    sow_mask rows, columns;
    assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &rows), SOW_OK);
    assert_int_equal(sow_prune_magnitude(arena, stored, NULL, &spec, &columns), SOW_OK);
    assert_memory_equal(sow_mask_find(&rows, "fc2.weight")->words, columns.bits[0].words, 30000 / 8);
    sow_state_free(stored);
    sow_state_free(w);
    free(memory);
}

static void every_real_dtype_gives_the_same_mask(void **state) {
    const sow_dtype dtypes[] = {SOW_F64, SOW_F32, SOW_F16, SOW_BF16};
    sow_prune_spec spec = spec_of("0.4");
    for (int d = 0; d < 4; d++) {
        sow_state *w;
        sow_entry *e;
        sow_mask mask;
        assert_int_equal(sow_state_new(&w), SOW_OK);
        assert_int_equal(sow_state_add(w, "w.weight", dtypes[d], 2, (int64_t[]){2, 5}, &e), SOW_OK);
        for (int i = 0; i < 10; i++) sow_put(e->value, i, (double)ten[i]);
        assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &mask), SOW_OK);
        assert_removed(&mask, "w.weight", 4, (int64_t[]){4, 1, 9, 5});
        sow_state_free(w);
    }
}

static void a_tensor_is_pruned_to_a_count_among_its_survivors(void **state) {
    sow_state *w = row_of((const float[]){.5f, -.1f, .3f, .3f, -.9f, .2f}, 6);
    sow_mask mask;
    assert_int_equal(sow_mask_new(arena, w, &mask), SOW_OK);
    sow_tensor values = sow_state_entry(w, 0)->value;
    sow_bit_clear(&mask.bits[0], 4); /* the largest is gone already */
    assert_int_equal(sow_prune_to(arena, values, 5, &mask.bits[0]), SOW_OK);
    assert_int_equal(mask.bits[0].words[0], 057); /* all five stay */
    assert_int_equal(sow_prune_to(arena, values, 2, &mask.bits[0]), SOW_OK);
    assert_int_equal(mask.bits[0].words[0], 011); /* .5, and of the two .3 the later one */
    assert_int_equal(sow_prune_to(arena, values, -1, &mask.bits[0]), SOW_E_RANGE);
    assert_int_equal(sow_prune_to(arena, values, 0, &mask.bits[0]), SOW_OK);
    assert_int_equal(mask.bits[0].words[0], 0);
    sow_state_free(w);
}

static void unions_keep_what_either_keeps_and_dense_wins(void **state) {
    sow_state *w = lenet();
    sow_prune_spec spec = spec_of("fc1.*=0.5,fc2.weight=0.5,out=0.5");
    sow_mask masks[2], both;
    assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &masks[0]), SOW_OK);
    assert_int_equal(sow_mask_copy(arena, &masks[0], &masks[1]), SOW_OK);
    int64_t kept = sow_bits_kept(&masks[0].bits[0]);
    sow_bit_set(&masks[1].bits[0], 0);
    sow_bit_clear(&masks[0].bits[0], 0);
    sow_bits *words = &masks[1].bits[0];
    for (int64_t i = 1; i < words->count; i++) sow_bit_clear(words, i);
    masks[1].tensors = 2; /* fc3 is dense in the second */
    assert_int_equal(sow_mask_union(arena, masks, 2, &both), SOW_OK);
    assert_int_equal(both.tensors, 2);
    assert_true(sow_bit(&both.bits[0], 0));
    assert_true(sow_bits_kept(&both.bits[0]) == kept || sow_bits_kept(&both.bits[0]) == kept + 1);
    sow_state_free(w);
}

static void wrong_rates_are_refused(void **state) {
    sow_prune_spec spec;
    const char *wrong[] = {"1", "-0.1", "fc=1.5", "fc=", "=0.2", "0.2x", "", "nan", "0", "fc=0,out=0"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(sow_prune_parse(arena, wrong[i], &spec), SOW_E_ARGUMENT);
    sow_state *w = lenet();
    double *rates;
    spec = spec_of("fc=0.2,oot=0.1");
    assert_int_equal(sow_prune_rates(arena, w, &spec, &rates), SOW_E_ARGUMENT);
    assert_non_null(strstr(sow_message(), "groups: fc, out"));
    spec = spec_of("fc1=0.2"); /* no whole name */
    assert_int_equal(sow_prune_rates(arena, w, &spec, &rates), SOW_E_ARGUMENT);
    spec = spec_of("(=0.2");
    assert_int_equal(sow_prune_rates(arena, w, &spec, &rates), SOW_E_ARGUMENT);
    spec = spec_of("fc=0.2,out=0.1");
    spec.global = true;
    assert_int_equal(sow_prune_rates(arena, w, &spec, &rates), SOW_E_ARGUMENT);
    sow_state_free(w);
}

static void a_group_key_does_not_reach_other_layers_by_their_names(void **state) {
    sow_state *w = lenet(); /* the layer fc3 is in the group out */
    double *rates;
    sow_prune_spec spec = spec_of("fc=0.2,out=0.1");
    assert_int_equal(sow_prune_rates(arena, w, &spec, &rates), SOW_OK);
    assert_true(rates[0] == 0.2 && rates[1] == 0.2 && rates[2] == 0.1);
    spec = spec_of("fc[13].*=0.3");
    assert_int_equal(sow_prune_rates(arena, w, &spec, &rates), SOW_OK);
    assert_true(rates[0] == 0.3 && rates[1] == 0 && rates[2] == 0.3);
    sow_state_free(w);
}

static void weights_that_are_not_finite_are_refused(void **state) {
    sow_state *w = row_of((float[]){1, 2, 0.0f / 0.0f}, 3);
    sow_prune_spec spec = spec_of("0.5");
    sow_mask mask;
    assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &mask), SOW_E_NUMBER);
    assert_non_null(strstr(sow_message(), "w.weight"));
    sow_state_free(w);
}

/* ---- files ---- */

static void a_file_is_pruned_as_its_state_is(void **state) {
    sow_state *w = lenet(), *masks;
    const char *final = in_folder("final.safetensors"), *m1 = in_folder("m1.safetensors"), *m2 = in_folder("m2.safetensors");
    assert_int_equal(sow_save_state(final, w, NULL), SOW_OK);
    for (int global = 0; global < 2; global++) {
        sow_prune_spec spec = spec_of("0.3");
        spec.global = global;
        sow_mask in_memory, from_file;
        sow_pruned *pruned;
        int64_t count;
        assert_int_equal(sow_prune_file(arena, final, NULL, &spec, m1, NULL, NULL, NULL), SOW_OK);
        assert_int_equal(sow_prune_file(arena, final, m1, &spec, m2, NULL, &pruned, &count), SOW_OK);
        assert_int_equal(count, 3);
        assert_int_equal(sow_prune_magnitude(arena, w, NULL, &spec, &in_memory), SOW_OK);
        assert_int_equal(sow_prune_magnitude(arena, w, &in_memory, &spec, &in_memory), SOW_OK);
        assert_int_equal(sow_load_state(m2, &masks), SOW_OK);
        assert_int_equal(sow_mask_from_state(arena, masks, &from_file), SOW_OK);
        for (int t = 0; t < 3; t++) {
            assert_string_equal(from_file.bits[t].name, in_memory.bits[t].name);
            assert_memory_equal(from_file.bits[t].words, in_memory.bits[t].words,
                                (size_t)(in_memory.bits[t].count + 63) / 64 * 8);
            assert_int_equal(pruned[t].kept, sow_bits_kept(&in_memory.bits[t]));
        }
        sow_state_free(masks);
    }
    sow_state_free(w);
}

static void foreign_files_lose_weights_but_no_norms_embeddings_and_biases(void **state) {
    sow_state *w;
    assert_int_equal(sow_state_new(&w), SOW_OK);
    struct {
        const char *name;
        int rank;
        int64_t shape[4];
        bool pruned;
    } tensors[] = {{"model.embed_tokens.weight", 2, {8, 4}, false},
                   {"model.layers.0.input_layernorm.weight", 1, {4}, false},
                   {"model.layers.0.self_attn.q_proj.weight", 2, {4, 4}, true},
                   {"conv.weight", 4, {2, 2, 3, 3}, true},
                   {"conv.bias", 1, {2}, false},
                   {"bn.running_mean", 1, {2}, false}};
    for (int i = 0; i < 6; i++) {
        sow_entry *e;
        assert_int_equal(sow_state_add(w, tensors[i].name, SOW_F32, tensors[i].rank, tensors[i].shape, &e), SOW_OK);
        for (int64_t k = 0; k < sow_count(e->value); k++) sow_put(e->value, k, (double)k + 1);
    }
    const char *final = in_folder("foreign.safetensors"), *out = in_folder("foreign-mask.safetensors");
    assert_int_equal(sow_save_state(final, w, NULL), SOW_OK);
    sow_prune_spec spec = spec_of("0.5");
    assert_int_equal(sow_prune_file(arena, final, NULL, &spec, out, NULL, NULL, NULL), SOW_OK);
    sow_state *masks;
    assert_int_equal(sow_load_state(out, &masks), SOW_OK);
    for (int i = 0; i < 6; i++) assert_int_equal(sow_state_find(masks, tensors[i].name) != NULL, tensors[i].pruned);
    sow_state_free(masks);
    sow_state_free(w);
}

static void rewinding_restores_every_bit_and_writes_the_mask_beside(void **state) {
    sow_state *w = lenet(), *start, *masks;
    const char *theta0 = in_folder("theta0.safetensors"), *mask = in_folder("m.safetensors"),
               *out = in_folder("start.safetensors");
    sow_entry *counter; /* of another size than the weights, and last by name */
    assert_int_equal(sow_state_add(w, "norm.num_batches_tracked", SOW_I64, 0, NULL, &counter), SOW_OK);
    sow_put(counter->value, 0, 7);
    assert_int_equal(sow_save_state(theta0, w, NULL), SOW_OK);
    sow_prune_spec spec = spec_of("fc1.weight=0.9");
    assert_int_equal(sow_prune_file(arena, theta0, NULL, &spec, mask, NULL, NULL, NULL), SOW_OK);
    assert_int_equal(sow_mask_file(arena, theta0, mask, out, NULL, NULL), SOW_OK);
    assert_int_equal(sow_load_state(out, &start), SOW_OK);
    assert_int_equal(sow_load_state(in_folder("start.mask.safetensors"), &masks), SOW_OK);
    const uint8_t *keep = sow_state_find(masks, "fc1.weight")->value.data;
    const uint32_t *was = sow_state_find(w, "fc1.weight")->value.data,
                   *is = sow_state_find(start, "fc1.weight")->value.data;
    for (int64_t i = 0; i < 235200; i++) assert_int_equal(is[i], keep[i] ? was[i] : 0);
    assert_true(sow_at(sow_state_find(start, "norm.num_batches_tracked")->value, 0) == 7);
    assert_memory_equal(sow_state_find(start, "fc2.weight")->value.data, sow_state_find(w, "fc2.weight")->value.data,
                        120000);
    sow_state_free(masks);
    sow_state_free(start);
    sow_state_free(w);
}

static void masks_of_another_shape_or_kind_are_refused(void **state) {
    sow_state *w = row_of(ten, 10), *m;
    const char *final = in_folder("w.safetensors"), *mask = in_folder("bad.safetensors"),
               *out = in_folder("never.safetensors");
    assert_int_equal(sow_save_state(final, w, NULL), SOW_OK);
    sow_prune_spec spec = spec_of("0.5");
    struct {
        const char *name;
        sow_dtype dtype;
        int64_t columns;
        double value;
        sow_status status;
    } cases[] = {{"w.weight", SOW_U8, 9, 1, SOW_E_SHAPE},
                 {"v.weight", SOW_U8, 10, 1, SOW_E_SHAPE},
                 {"w.weight", SOW_F32, 10, 1, SOW_E_TYPE},
                 {"w.weight", SOW_U8, 10, 2, SOW_E_RANGE}};
    for (int i = 0; i < 4; i++) {
        sow_entry *e;
        assert_int_equal(sow_state_new(&m), SOW_OK);
        assert_int_equal(sow_state_add(m, cases[i].name, cases[i].dtype, 2, (int64_t[]){1, cases[i].columns}, &e),
                         SOW_OK);
        sow_fill(e->value, cases[i].value);
        assert_int_equal(sow_save_state(mask, m, NULL), SOW_OK);
        assert_int_equal(sow_prune_file(arena, final, mask, &spec, out, NULL, NULL, NULL), cases[i].status);
        assert_int_equal(sow_mask_file(arena, final, mask, out, NULL, NULL), cases[i].status);
        sow_state_free(m);
    }
    assert_false(sow_path_exists(out));
    assert_false(sow_path_exists(in_folder("never.mask.safetensors")));
    sow_state_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_exact_rule_removes_indices_4_and_1),
        cmocka_unit_test(the_authors_rule_removes_indices_4_1_and_9),
        cmocka_unit_test(a_second_round_counts_survivors_only),
        cmocka_unit_test(weights_that_are_all_equal_lose_exactly_k_the_lowest_indices),
        cmocka_unit_test(a_layer_keeps_its_largest_weight_at_least),
        cmocka_unit_test(densities_of_lenet_reproduce_the_papers),
        cmocka_unit_test(thirty_rounds_of_lenet_leave_370_weights),
        cmocka_unit_test(the_authors_rule_on_lenet),
        cmocka_unit_test(a_rate_of_0_keeps_the_mask),
        cmocka_unit_test(global_pruning_of_one_layer_is_layer_wise_pruning),
        cmocka_unit_test(global_pruning_takes_the_smallest_of_all_ties_by_name),
        cmocka_unit_test(global_pruning_empties_no_layer),
        cmocka_unit_test(storage_order_does_not_matter),
        cmocka_unit_test(every_real_dtype_gives_the_same_mask),
        cmocka_unit_test(a_tensor_is_pruned_to_a_count_among_its_survivors),
        cmocka_unit_test(unions_keep_what_either_keeps_and_dense_wins),
        cmocka_unit_test(wrong_rates_are_refused),
        cmocka_unit_test(a_group_key_does_not_reach_other_layers_by_their_names),
        cmocka_unit_test(weights_that_are_not_finite_are_refused),
        cmocka_unit_test(a_file_is_pruned_as_its_state_is),
        cmocka_unit_test(foreign_files_lose_weights_but_no_norms_embeddings_and_biases),
        cmocka_unit_test(rewinding_restores_every_bit_and_writes_the_mask_beside),
        cmocka_unit_test(masks_of_another_shape_or_kind_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
