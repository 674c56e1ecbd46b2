/* sgd-sai: tables from the gradients of several batches, and what they say about sqrt(n). */
#include "check.h"

#include <math.h>

enum { N = 6 };
/* Gradients of two batches; the first is the card's. */
static float batch_gradient[2][N] = {{3, -1, 2, 0.5F, -2.5F, 1}, {8, 9, 7, 8, 9, 7}};

typedef struct toy {
    sow_feed feed;
    sow_state *state;
    bool broken;
} toy;

/* sum(w * c): its gradient is c. */
static sow_var loss_of(sow_feed *feed, sow_tape *t, int64_t batch, double divisor, sow_tally *tally) {
    const toy *x = feed->own;
    (void)divisor, (void)tally;
    sow_var w = sow_parameter(t, sow_state_find(x->state, "w.weight")),
            loss = sow_sum(t, sow_mul(t, w, sow_constant(t, SOW_TENSOR(batch_gradient[batch], SOW_F32, N))));
    return x->broken ? sow_scale(t, loss, 1, NAN) : loss;
}

static sow_gsnr of(const float *g) {
    sow_gsnr out;
    sow_gsnr_measure(SOW_TENSOR((void *)(uintptr_t)g, SOW_F32, N), (sow_tensor){0}, (sow_partition){0, 1}, &out);
    return out;
}

static sow_status measure(toy *x, int64_t batches, bool mean_of_scales, sow_arena *arena, sow_scales *out) {
    static const sow_feed_kind kind = {.loss = loss_of};
    sow_sgd_sai_config config = {.batches = batches, .mean_of_scales = mean_of_scales};
    x->feed = (sow_feed){.kind = &kind, .state = x->state, .own = x};
    return sow_sgd_sai(&config, &x->feed, arena, out);
}

static void batches_are_averaged_before_or_after(void **state) {
    sow_arena *arena;
    sow_scales table;
    sow_entry *e;
    toy x = {0};
    float mean[N];
    for (int i = 0; i < N; i++) mean[i] = (batch_gradient[0][i] + batch_gradient[1][i]) / 2;
    double first = of(batch_gradient[0]).g, second = of(batch_gradient[1]).g;
    assert_near(first, 2.3184046, 5e-8);
    assert_true(fabs(of(mean).g - (first + second) / 2) > 0.01);
    OK(sow_arena_new(&arena));
    OK(sow_state_new(&x.state));
    OK(sow_state_add(x.state, "w.weight", SOW_F32, 1, (int64_t[]){N}, &e));
    sow_fill(e->value, 0.5);
    OK(measure(&x, 1, false, arena, &table));
    assert_int_equal(table.count, 1);
    assert_near(table.rows[0].scale, first, 1e-12);
    OK(measure(&x, 2, false, arena, &table));
    assert_near(table.rows[0].scale, of(mean).g, 1e-7);
    OK(measure(&x, 2, true, arena, &table));
    assert_near(table.rows[0].scale, (first + second) / 2, 1e-12);
    x.broken = true;
    FAILS(measure(&x, 2, true, arena, &table), SOW_E_NUMBER, "the loss of batch 1");
    sow_state_free(x.state);
    sow_arena_free(arena);
}

static void the_summary_counts_what_differs_from_the_root(void **state) {
    sow_scale_row rows[] = {
        {.name = "matrix", .parts = 1, .gsnr = {.n = 10000, .g = 100.5}},
        {.name = "gain", .parts = 1, .gsnr = {.n = 100, .g = 12}},
        {.name = "dead", .parts = 1, .gsnr = {.n = 50, .g = 1, .kind = SOW_GSNR_DEAD}},
        {.name = "single", .parts = 1, .gsnr = {.n = 1, .g = 1, .kind = SOW_GSNR_SINGLE}},
    };
    sow_scales table = {.rows = rows, .count = 4};
    sow_sai_summary s = sow_sai_summarise(&table);
    assert_int_equal(s.blocks, 2);
    assert_int_equal(s.blocks_off, 1);
    assert_int_equal(s.weights, 10100);
    assert_int_equal(s.weights_off, 100);
    assert_near(s.least, 1.005, 1e-12);
    assert_near(s.most, 1.2, 1e-12);
    assert_int_equal(s.dead, 1);
    assert_int_equal(s.single, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_averaged_before_or_after),
        cmocka_unit_test(the_summary_counts_what_differs_from_the_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
