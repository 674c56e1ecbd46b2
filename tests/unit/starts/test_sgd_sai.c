/* sgd-sai: tables from the gradients of several batches, and what they say about sqrt(n). */
#include "byte_tokenizer.h"
#include "tiny_lm.h"

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

/* The gradient of A is B^T times something, and B is 0; B's own comes from A, which is not. */
static void of_a_fresh_adapter_a_is_dead_and_b_is_measured(void **state) {
    static const char text[] =
        "{\"prompt\":\"one\",\"completion\":\"1\"}\n{\"prompt\":\"two\",\"completion\":\"22\"}\n";
    const sow_lm_config c = tiny_lm_config(FIRST_SPECIAL + SPECIALS, 16);
    sow_lm *lm = tiny_lm(&c, 3);
    sow_tokenizer *tokenizer;
    sow_texts *texts;
    sow_feed *feed;
    sow_arena *arena;
    sow_sites sites;
    sow_scales table;
    sow_sgd_sai_config config = {.batches = 1};
    OK(sow_arena_new(&arena));
    OK(sow_tokenizer_open(write_tokenizer(), &tokenizer));
    OK(sow_write_file(in_folder("two.jsonl"), text, strlen(text)));
    OK(sow_texts_open(in_folder("two.jsonl"), &(sow_texts_options){.end = -1}, tokenizer, &texts));
    OK(sow_feed_texts(lm, texts, &(sow_feed_options){.batch = 2}, &feed));
    OK(sow_lm_sites(arena, lm, &sites));
    OK(sow_adapter_make(SOW_START_LORA, &sites, 4, 4, 1, &config.adapter));
    sow_state_train(lm->state, false);
    OK(sow_sgd_sai(&config, feed, arena, &table));
    assert_int_equal(table.count, 2 * sites.count);
    for (int64_t i = 0; i < table.count; i++) {
        const sow_gsnr *g = &table.rows[i].gsnr;
        bool a = strstr(table.rows[i].name, "lora_A") != NULL;
        assert_int_equal(g->kind == SOW_GSNR_DEAD, a);
        if (a) assert_near(table.rows[i].scale, 1, 0);
        else assert_true(table.rows[i].scale >= sqrt((double)g->n - 1) * (1 - 1e-6)); /* the identity's bound */
    }
    assert_int_equal(sow_sai_summarise(&table).dead, sites.count);
    sow_feed_free(feed);
    sow_adapter_free(config.adapter);
    sow_texts_free(texts);
    sow_tokenizer_free(tokenizer);
    sow_lm_free(lm);
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
        cmocka_unit_test(of_a_fresh_adapter_a_is_dead_and_b_is_measured),
        cmocka_unit_test(the_summary_counts_what_differs_from_the_root),
    };
    return make_test_folder() == 0 ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
