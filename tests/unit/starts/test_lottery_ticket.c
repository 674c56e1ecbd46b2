/* Winning tickets and their controls: card 07's unit oracles, with a trainer of a few lines in the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sow/sparsity.h"

static sow_arena *arena;

static int setup(void **state) {
    return sow_arena_new(&arena) == SOW_OK ? 0 : -1;
}

static int teardown(void **state) {
    sow_arena_free(arena);
    return 0;
}

static sow_prune_spec spec_of(const char *rates) {
    sow_prune_spec spec = {0};
    assert_int_equal(sow_prune_parse(arena, rates, &spec), SOW_OK);
    return spec;
}

/* 40-20-5 with biases and one normalisation. */
static sow_state *network(void) {
    sow_state *state;
    assert_int_equal(sow_state_new(&state), SOW_OK);
    struct {
        const char *name, *group;
        sow_role role;
        int rank;
        int64_t shape[2];
    } entries[] = {{"fc1.weight", "fc", SOW_ROLE_WEIGHT, 2, {20, 40}}, {"fc1.bias", "", SOW_ROLE_BIAS, 1, {20}},
                   {"norm.weight", "", SOW_ROLE_NORM, 1, {20}},        {"norm.bias", "", SOW_ROLE_NORM, 1, {20}},
                   {"fc2.weight", "out", SOW_ROLE_WEIGHT, 2, {5, 20}}, {"fc2.bias", "", SOW_ROLE_BIAS, 1, {5}}};
    for (int i = 0; i < 6; i++) {
        sow_entry *e;
        assert_int_equal(sow_state_add(state, entries[i].name, SOW_F32, entries[i].rank, entries[i].shape, &e), SOW_OK);
        e->group = entries[i].group;
        e->role = entries[i].role;
    }
    assert_int_equal(sow_lottery_start(state, 3, false), SOW_OK);
    return state;
}

static float *values(const sow_state *state, const char *name) {
    sow_entry *e = sow_state_find(state, name);
    assert_non_null(e);
    return e->value.data;
}

/* A "training" that depends on the start, the mask and the seed only, and obeys the mask. */
typedef struct trainer {
    int calls;
    uint64_t seeds[16];
    float first[16]; /* start value of one surviving weight, by round */
    bool ignores_mask, gives_nan;
} trainer;

static sow_status train(void *user, const sow_lottery_round *round, sow_state *weights) {
    trainer *t = user;
    t->seeds[round->number] = round->seed;
    t->calls++;
    sow_rng rng;
    sow_rng_seed(&rng, SOW_RNG_SOW, round->seed);
    for (int64_t i = 0; i < sow_state_count(weights); i++) {
        sow_entry *e = sow_state_entry(weights, i);
        float *w = e->value.data, moves[800];
        int64_t n = sow_count(e->value);
        sow_rng_at(&rng, "train", e->name);
        sow_rng_normal_f32(&rng, moves, n, 0, 0.05);
        for (int64_t k = 0; k < n; k++) {
            if (e->mask.data && ((uint8_t *)e->mask.data)[k]) t->first[round->number] = w[k];
            bool moves_it = !e->mask.data || ((uint8_t *)e->mask.data)[k] || t->ignores_mask;
            if (moves_it) w[k] += moves[k];
            if (t->gives_nan) w[k] = 0.0f / 0.0f;
        }
        if (round->rewound) memcpy(values(round->rewound, e->name), w, (size_t)n * sizeof *w);
    }
    return SOW_OK;
}

static sow_lottery_config config_of(const char *rates, int rounds) {
    return (sow_lottery_config){.rounds = rounds, .prune = spec_of(rates), .seed = 7};
}

static void surviving_weights_of_a_ticket_equal_theta0_bit_for_bit(void **state) {
    sow_state *theta0 = network();
    sow_lottery_config config = config_of("fc=0.2,out=0.1", 5);
    sow_ticket ticket;
    trainer t = {0};
    assert_int_equal(sow_lottery_find(arena, &config, theta0, train, &t, &ticket), SOW_OK);
    assert_int_equal(t.calls, 6); /* the dense one, and one a pruning */
    int64_t survivors = 0;
    for (int k = 0; k < 2; k++) {
        const sow_bits *bits = &ticket.masks[5].bits[k];
        const uint32_t *was = (void *)values(theta0, bits->name), *is = (void *)values(ticket.ticket, bits->name);
        for (int64_t i = 0; i < bits->count; i++) assert_int_equal(is[i], sow_bit(bits, i) ? was[i] : 0);
        survivors += sow_bits_kept(bits);
    }
    assert_int_equal(survivors, 262 + 59); /* 800: 640 512 410 328 262; 100: 90 81 73 66 59 */
    assert_memory_equal(values(theta0, "fc1.bias"), values(ticket.ticket, "fc1.bias"), 80);
    sow_ticket_free(&ticket);
    sow_state_free(theta0);
}

static void masks_only_lose_weights_and_a_rerun_gives_the_same_bits(void **state) {
    sow_state *theta0 = network();
    sow_lottery_config config = config_of("0.3", 4);
    sow_ticket a, b;
    trainer t = {0};
    assert_int_equal(sow_lottery_find(arena, &config, theta0, train, &t, &a), SOW_OK);
    assert_int_equal(sow_lottery_find(arena, &config, theta0, train, &t, &b), SOW_OK);
    for (int r = 0; r <= 4; r++) {
        for (int k = 0; k < 2; k++) {
            int64_t words = (a.masks[r].bits[k].count + 63) / 64;
            assert_memory_equal(a.masks[r].bits[k].words, b.masks[r].bits[k].words, (size_t)words * 8);
            for (int64_t w = 0; r > 0 && w < words; w++)
                assert_true((a.masks[r].bits[k].words[w] & ~a.masks[r - 1].bits[k].words[w]) == 0);
        }
    }
    sow_ticket_free(&a);
    sow_ticket_free(&b);
    sow_state_free(theta0);
}

static void strategy_reset_starts_every_round_from_theta0_and_continued_does_not(void **state) {
    sow_state *theta0 = network();
    sow_lottery_config config = config_of("out=0.2", 3);
    sow_ticket ticket;
    trainer t = {0};
    assert_int_equal(sow_lottery_find(arena, &config, theta0, train, &t, &ticket), SOW_OK);
    const float *start = values(theta0, "fc2.weight");
    bool found = false;
    for (int i = 0; i < 100; i++) found = found || start[i] == t.first[2];
    assert_true(found);
    sow_ticket_free(&ticket);

    config.strategy = SOW_LOTTERY_CONTINUED;
    assert_int_equal(sow_lottery_find(arena, &config, theta0, train, &t, &ticket), SOW_OK);
    found = false;
    for (int i = 0; i < 100; i++) found = found || start[i] == t.first[2];
    assert_false(found);
    found = false; /* the last round is the ticket's own, from theta_0 */
    for (int i = 0; i < 100; i++) found = found || start[i] == t.first[3];
    assert_true(found);
    sow_ticket_free(&ticket);
    sow_state_free(theta0);
}

static void rewinding_resets_to_the_weights_of_step_k(void **state) {
    sow_state *theta0 = network();
    sow_lottery_config config = config_of("0.5", 2);
    config.rewind = 10;
    sow_ticket ticket;
    trainer t = {0};
    assert_int_equal(sow_lottery_find(arena, &config, theta0, train, &t, &ticket), SOW_OK);
    assert_memory_not_equal(values(ticket.start, "fc1.weight"), values(theta0, "fc1.weight"), 3200);
    const sow_bits *bits = sow_mask_find(&ticket.masks[2], "fc1.weight");
    for (int64_t i = 0; i < 800; i++)
        if (sow_bit(bits, i))
            assert_true(values(ticket.ticket, "fc1.weight")[i] == values(ticket.start, "fc1.weight")[i]);
    sow_ticket_free(&ticket);
    sow_state_free(theta0);
}

static void rounds_see_the_data_in_another_order_each_unless_told_otherwise(void **state) {
    assert_int_equal(sow_lottery_seed(7, 0, false), 7);
    assert_int_equal(sow_lottery_seed(7, 5, true), 7);
    assert_int_not_equal(sow_lottery_seed(7, 1, false), sow_lottery_seed(7, 2, false));
    assert_int_not_equal(sow_lottery_seed(7, 1, false), sow_lottery_seed(8, 1, false));
    assert_true(sow_lottery_seed(7, 1, false) < UINT64_C(1) << 31);
}

static void a_trainer_that_ignores_the_mask_is_found_out(void **state) {
    sow_state *theta0 = network();
    sow_lottery_config config = config_of("0.5", 2);
    sow_ticket ticket;
    trainer t = {.ignores_mask = true};
    assert_int_equal(sow_lottery_find(arena, &config, theta0, train, &t, &ticket), SOW_E_TRAINER);
    assert_non_null(strstr(sow_message(), "round 1: tensor 'fc1.weight'"));
    t = (trainer){.gives_nan = true};
    assert_int_equal(sow_lottery_find(arena, &config, theta0, train, &t, &ticket), SOW_E_NUMBER);
    sow_state_free(theta0);
}

/* ---- controls ---- */

static void make_mask(sow_state *theta0, sow_mask *mask) {
    sow_prune_spec spec = spec_of("fc=0.7,out=0.4");
    sow_state *trained;
    assert_int_equal(sow_state_clone(theta0, false, &trained), SOW_OK);
    sow_lottery_round round = {.seed = 11};
    trainer t = {0};
    train(&t, &round, trained);
    assert_int_equal(sow_prune_magnitude(arena, trained, NULL, &spec, mask), SOW_OK);
    sow_state_free(trained);
}

static sow_state *control_of(sow_control control, sow_state *theta0, const sow_mask *mask, sow_mask *made) {
    sow_state *start;
    control.init = sow_init_defaults(SOW_INIT_XAVIER_NORMAL);
    assert_int_equal(sow_ticket_control(arena, &control, theta0, mask, &start, made), SOW_OK);
    for (int64_t t = 0; t < made->tensors; t++) { /* of every control: same counts, zeros where masked */
        assert_int_equal(sow_bits_kept(&made->bits[t]), sow_bits_kept(&mask->bits[t]));
        for (int64_t i = 0; i < made->bits[t].count; i++)
            if (!sow_bit(&made->bits[t], i)) assert_true(values(start, made->bits[t].name)[i] == 0);
    }
    return start;
}

static bool same_mask(const sow_mask *a, const sow_mask *b) {
    bool same = a->tensors == b->tensors;
    for (int64_t t = 0; same && t < a->tensors; t++)
        same = !memcmp(a->bits[t].words, b->bits[t].words, (size_t)(a->bits[t].count + 63) / 64 * 8);
    return same;
}

static void reinit_has_the_identical_mask_and_different_values(void **state) {
    sow_state *theta0 = network();
    sow_mask mask, made;
    make_mask(theta0, &mask);
    sow_state *start = control_of((sow_control){.kind = SOW_CONTROL_REINIT, .seed = 3}, theta0, &mask, &made);
    sow_state *other = control_of((sow_control){.kind = SOW_CONTROL_REINIT, .seed = 4}, theta0, &mask, &made);
    assert_true(same_mask(&mask, &made));
    int64_t equal = 0;
    for (int64_t i = 0; i < 800; i++)
        if (sow_bit(&mask.bits[0], i)) equal += values(start, "fc1.weight")[i] == values(other, "fc1.weight")[i];
    assert_true(equal < 3);
    sow_state_free(start);
    sow_state_free(other);
    sow_state_free(theta0);
}

static void reinit_with_the_seed_of_theta0_is_not_theta0(void **state) {
    sow_state *theta0 = network(); /* drawn with seed 3 */
    sow_mask mask, made;
    make_mask(theta0, &mask);
    sow_state *start = control_of((sow_control){.kind = SOW_CONTROL_REINIT, .seed = 3}, theta0, &mask, &made);
    int64_t equal = 0;
    for (int64_t i = 0; i < 800; i++)
        if (sow_bit(&mask.bits[0], i)) equal += values(start, "fc1.weight")[i] == values(theta0, "fc1.weight")[i];
    assert_int_equal(equal, 0);
    sow_state_free(start);
    sow_state_free(theta0);
}

static void random_masks_have_the_tickets_counts_and_theta0s_values(void **state) {
    sow_state *theta0 = network();
    sow_mask mask, made;
    make_mask(theta0, &mask);
    sow_state *start = control_of((sow_control){.kind = SOW_CONTROL_RANDOM_MASK, .seed = 3}, theta0, &mask, &made);
    assert_false(same_mask(&mask, &made));
    for (int64_t i = 0; i < 800; i++)
        if (sow_bit(&made.bits[0], i)) assert_true(values(start, "fc1.weight")[i] == values(theta0, "fc1.weight")[i]);
    sow_state_free(start);
    sow_state_free(theta0);
}

static void random_masks_choose_every_weight_equally_often(void **state) {
    sow_state *theta0 = network();
    sow_mask mask, made;
    make_mask(theta0, &mask); /* keeps 60 of fc2's 100 */
    int counts[100] = {0};
    for (uint64_t seed = 0; seed < 400; seed++) {
        sow_state_free(control_of((sow_control){.kind = SOW_CONTROL_RANDOM_MASK, .seed = seed}, theta0, &mask, &made));
        for (int64_t i = 0; i < 100; i++) counts[i] += sow_bit(&made.bits[1], i);
    }
    for (int i = 0; i < 100; i++) assert_in_range(counts[i], 240 - 50, 240 + 50); /* sd 9.8 */
    sow_state_free(theta0);
}

static void resampled_values_are_among_the_survivors_and_keep_their_signs_if_asked(void **state) {
    sow_state *theta0 = network();
    sow_mask mask, made;
    make_mask(theta0, &mask);
    const float *was = values(theta0, "fc1.weight");
    for (int keep = 0; keep < 2; keep++) {
        sow_state *start = control_of((sow_control){.kind = SOW_CONTROL_RESAMPLE, .keep_signs = keep, .seed = 3},
                                      theta0, &mask, &made);
        assert_true(same_mask(&mask, &made));
        int64_t signs_changed = 0, values_changed = 0;
        for (int64_t i = 0; i < 800; i++) {
            if (!sow_bit(&mask.bits[0], i)) continue;
            float is = values(start, "fc1.weight")[i];
            bool present = false;
            for (int64_t k = 0; k < 800; k++) present = present || (sow_bit(&mask.bits[0], k) && was[k] == is);
            assert_true(present);
            signs_changed += (is < 0) != (was[i] < 0);
            values_changed += is != was[i];
        }
        assert_true(values_changed > 200);
        if (keep) assert_int_equal(signs_changed, 0);
        else assert_in_range(signs_changed, 60, 180);
        sow_state_free(start);
    }
    sow_state_free(theta0);
}

static void noise_of_c_0_is_the_ticket_itself_and_its_size_is_c_times_the_layers_sd(void **state) {
    sow_state *theta0 = network();
    sow_mask mask, made;
    make_mask(theta0, &mask);
    const float *was = values(theta0, "fc1.weight");
    sow_state *still = control_of((sow_control){.kind = SOW_CONTROL_NOISE, .c = 0, .seed = 3}, theta0, &mask, &made);
    sow_state *noisy = control_of((sow_control){.kind = SOW_CONTROL_NOISE, .c = 2, .seed = 3}, theta0, &mask, &made);
    double square = 0, layer = 0;
    for (int64_t i = 0; i < 800; i++) {
        layer += (double)was[i] * (double)was[i];
        if (!sow_bit(&mask.bits[0], i)) continue;
        assert_true(values(still, "fc1.weight")[i] == was[i]);
        double d = (double)values(noisy, "fc1.weight")[i] - (double)was[i];
        square += d * d;
    }
    double ratio = square / 240 / (layer / 800); /* 240 survivors; expected 4, sd 0.37 */
    assert_true(ratio > 2.6 && ratio < 5.6);
    sow_state_free(still);
    sow_state_free(noisy);
    sow_state_free(theta0);
}

static void pruning_at_initialisation_keeps_the_largest_of_theta0(void **state) {
    sow_state *theta0 = network();
    sow_mask mask, made;
    make_mask(theta0, &mask);
    sow_state_free(control_of((sow_control){.kind = SOW_CONTROL_PRUNE_AT_INIT}, theta0, &mask, &made));
    float least_kept = 9, most_removed = 0;
    for (int64_t i = 0; i < 800; i++) {
        float magnitude = values(theta0, "fc1.weight")[i] < 0 ? -values(theta0, "fc1.weight")[i]
                                                              : values(theta0, "fc1.weight")[i];
        if (sow_bit(&made.bits[0], i)) least_kept = magnitude < least_kept ? magnitude : least_kept;
        else most_removed = magnitude > most_removed ? magnitude : most_removed;
    }
    assert_true(least_kept >= most_removed);
    sow_state_free(theta0);
}

static void a_mask_of_another_shape_makes_no_control(void **state) {
    sow_state *theta0 = network(), *start;
    sow_mask mask, made;
    make_mask(theta0, &mask);
    mask.bits[0].shape[0] = 40, mask.bits[0].shape[1] = 20;
    sow_control control = {.kind = SOW_CONTROL_RANDOM_MASK};
    assert_int_equal(sow_ticket_control(arena, &control, theta0, &mask, &start, &made), SOW_E_SHAPE);
    assert_null(start);
    sow_state_free(theta0);
}

static void a_start_is_gaussian_glorot_with_zero_biases_and_unit_scales(void **state) {
    sow_state *theta0 = network();
    double square = 0;
    for (int i = 0; i < 800; i++)
        square += (double)values(theta0, "fc1.weight")[i] * (double)values(theta0, "fc1.weight")[i];
    double sd2 = 2.0 / (40 + 20);
    assert_true(square / 800 > 0.85 * sd2 && square / 800 < 1.15 * sd2); /* sd of the estimate: 5 % */
    assert_true(values(theta0, "fc1.bias")[3] == 0 && values(theta0, "norm.weight")[3] == 1 &&
                values(theta0, "norm.bias")[3] == 0);
    sow_state_free(theta0);
}

static void diagnostics_count_survivors_and_movements(void **state) {
    sow_state *theta0 = network(), *dense;
    sow_mask mask;
    make_mask(theta0, &mask);
    assert_int_equal(sow_state_clone(theta0, false, &dense), SOW_OK);
    for (int i = 0; i < 800; i++) values(dense, "fc1.weight")[i] += sow_bit(&mask.bits[0], i) ? .5f : .125f;
    json_t *rows;
    assert_int_equal(sow_lottery_diagnostics(arena, theta0, dense, &mask, &rows), SOW_OK);
    json_t *fc1 = json_array_get(rows, 0);
    double ticket, rest;
    assert_int_equal(
        json_unpack(fc1, "{s:{s:{s:F}, s:{s:F}}}", "moved", "ticket", "mean", &ticket, "rest", "mean", &rest), 0);
    assert_true(ticket > .4999 && ticket < .5001 && rest > .1249 && rest < .1251);
    int64_t histogram = 0, incoming = 0, outgoing = 0;
    size_t i;
    json_t *count;
    json_array_foreach(json_object_get(json_object_get(fc1, "theta0"), "counts"), i, count)
        histogram += json_integer_value(count);
    json_array_foreach(json_object_get(fc1, "incoming"), i, count) incoming += json_integer_value(count);
    json_array_foreach(json_object_get(fc1, "outgoing"), i, count) outgoing += json_integer_value(count);
    assert_int_equal(histogram, 240);
    assert_int_equal(incoming, 240);
    assert_int_equal(outgoing, 240);
    assert_int_equal(json_array_size(json_object_get(fc1, "incoming")), 20);
    assert_int_equal(json_array_size(json_object_get(fc1, "outgoing")), 40);
    json_decref(rows);
    sow_state_free(dense);
    sow_state_free(theta0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(surviving_weights_of_a_ticket_equal_theta0_bit_for_bit),
        cmocka_unit_test(masks_only_lose_weights_and_a_rerun_gives_the_same_bits),
        cmocka_unit_test(strategy_reset_starts_every_round_from_theta0_and_continued_does_not),
        cmocka_unit_test(rewinding_resets_to_the_weights_of_step_k),
        cmocka_unit_test(rounds_see_the_data_in_another_order_each_unless_told_otherwise),
        cmocka_unit_test(a_trainer_that_ignores_the_mask_is_found_out),
        cmocka_unit_test(reinit_has_the_identical_mask_and_different_values),
        cmocka_unit_test(reinit_with_the_seed_of_theta0_is_not_theta0),
        cmocka_unit_test(random_masks_have_the_tickets_counts_and_theta0s_values),
        cmocka_unit_test(random_masks_choose_every_weight_equally_often),
        cmocka_unit_test(resampled_values_are_among_the_survivors_and_keep_their_signs_if_asked),
        cmocka_unit_test(noise_of_c_0_is_the_ticket_itself_and_its_size_is_c_times_the_layers_sd),
        cmocka_unit_test(pruning_at_initialisation_keeps_the_largest_of_theta0),
        cmocka_unit_test(a_mask_of_another_shape_makes_no_control),
        cmocka_unit_test(a_start_is_gaussian_glorot_with_zero_biases_and_unit_scales),
        cmocka_unit_test(diagnostics_count_survivors_and_movements),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
