/* Batches: a function of (seed, number) alone, whatever was asked before. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sow/data.h"
#include "sow/threads.h"

/* Data made by hand: example i, channel c, row y, column x has the pixel 1 + (7i + 50c + 11y + x) mod 255. */
typedef struct made {
    sow_data data;
    sow_dataset set;
} made;

static uint8_t pixel(int64_t i, int64_t c, int64_t y, int64_t x) {
    return (uint8_t)(1 + (7 * i + 50 * c + 11 * y + x) % 255);
}

static made make(int64_t count, int64_t channels, int64_t height, int64_t width) {
    static char name[] = "made";
    made m = {0};
    assert_int_equal(sow_arena_new(&m.set.arena), SOW_OK);
    m.set.count = count;
    m.set.geometry = (sow_geometry){channels, height, width, 10};
    assert_int_equal(sow_tensor_new(m.set.arena, SOW_U8, 4, (int64_t[]){count, channels, height, width}, &m.set.inputs), SOW_OK);
    assert_int_equal(SOW_NEW(m.set.arena, m.set.labels, count), SOW_OK);
    assert_int_equal(SOW_NEW(m.set.arena, m.data.train.index, count), SOW_OK);
    uint8_t *out = m.set.inputs.data;
    for (int64_t i = 0; i < count; i++) {
        m.set.labels[i] = (int32_t)i;
        m.data.train.index[i] = i;
        for (int64_t c = 0; c < channels; c++)
            for (int64_t y = 0; y < height; y++)
                for (int64_t x = 0; x < width; x++) *out++ = pixel(i, c, y, x);
    }
    m.data.train.count = count;
    m.data.name = name;
    m.data.geometry = m.set.geometry;
    for (int c = 0; c < 16; c++) m.data.mean[c] = 0.25f, m.data.sd[c] = 0.5f;
    return m;
}

static sow_batches *begin(made *m, int64_t batch, uint64_t seed, bool shuffle, unsigned augmentation) {
    sow_batches *b;
    m->data.train.set = &m->set;
    if (sow_batches_new(&m->data, &m->data.train, batch, seed, shuffle, augmentation, &b) != SOW_OK) fail_msg("%s", sow_message());
    return b;
}

static void take(sow_batches *b, int64_t number, sow_tensor *inputs, sow_tensor *labels) {
    if (sow_batches_at(b, number, inputs, labels) != SOW_OK) fail_msg("%s", sow_message());
}

static int32_t label(sow_tensor labels, int64_t i) {
    return ((const int32_t *)labels.data)[i];
}

static float value(sow_tensor inputs, int64_t i, int64_t c, int64_t y, int64_t x) {
    return ((const float *)inputs.data)[i * inputs.stride[0] + c * inputs.stride[1] + y * inputs.stride[2] + x * inputs.stride[3]];
}

static void an_epoch_shows_each_example_once_and_drops_the_short_batch(void **unused) {
    made m = make(23, 1, 2, 3);
    sow_batches *b = begin(&m, 5, 9, true, 0);
    sow_tensor inputs, labels;
    int32_t first[2][20];
    assert_int_equal(sow_batches_per_epoch(b), 4);
    for (int epoch = 0; epoch < 2; epoch++) {
        int seen[23] = {0};
        for (int i = 0; i < 4; i++) {
            take(b, epoch * 4 + i, &inputs, &labels);
            assert_int_equal(inputs.shape[0], 5);
            for (int j = 0; j < 5; j++) {
                first[epoch][5 * i + j] = label(labels, j);
                assert_int_equal(seen[label(labels, j)]++, 0);
            }
        }
    }
    assert_memory_not_equal(first[0], first[1], sizeof first[0]);
    sow_batches_free(b);
    sow_arena_free(m.set.arena);
}

static void evaluation_keeps_order_and_the_short_batch(void **unused) {
    made m = make(23, 1, 2, 3);
    sow_batches *b = begin(&m, 5, 0, false, 0);
    sow_tensor inputs, labels;
    assert_int_equal(sow_batches_per_epoch(b), 5);
    for (int i = 0; i < 23; i++) {
        take(b, i / 5, &inputs, &labels);
        assert_int_equal(label(labels, i % 5), i);
    }
    assert_int_equal(inputs.shape[0], 3);
    assert_int_equal(labels.shape[0], 3);
    sow_batches_free(b);
    sow_arena_free(m.set.arena);
}

static void any_batch_is_the_same_whatever_came_before(void **unused) {
    made m = make(50, 3, 8, 8);
    sow_batches *a = begin(&m, 7, 3, true, SOW_AUGMENT_FLIP | SOW_AUGMENT_CROP), *b = begin(&m, 7, 3, true, SOW_AUGMENT_FLIP | SOW_AUGMENT_CROP);
    sow_batches *other = begin(&m, 7, 4, true, SOW_AUGMENT_FLIP | SOW_AUGMENT_CROP);
    sow_tensor x, y, u, v;
    for (int64_t i = 0; i < 40; i++) take(a, i, &x, &y);
    take(a, 17, &x, &y);
    sow_set_threads(2);
    take(b, 17, &u, &v);
    sow_set_threads(1);
    assert_memory_equal(x.data, u.data, sow_bytes(x));
    assert_memory_equal(y.data, v.data, sow_bytes(y));
    take(other, 17, &u, &v);
    assert_memory_not_equal(y.data, v.data, sow_bytes(y));
    sow_batches_free(a);
    sow_batches_free(b);
    sow_batches_free(other);
    sow_arena_free(m.set.arena);
}

static void pixels_are_normalised_exactly(void **unused) {
    made m = make(1, 1, 16, 16);
    sow_tensor x, y;
    for (int v = 0; v < 256; v++) ((uint8_t *)m.set.inputs.data)[v] = (uint8_t)v;
    double squares = 0;
    for (int v = 0; v < 256; v++) squares += v * v;
    for (int kind = 0; kind < 4; kind++) {
        m.data.normalisation = (sow_normalisation)kind;
        sow_batches *b = begin(&m, 1, 0, false, 0);
        take(b, 0, &x, &y);
        for (int v = 0; v < 256; v++) {
            float unit = (float)v / 255.0f;
            float expected[] = {unit, (unit - 0.25f) / 0.5f, (float)(v / sqrt(squares)), (float)v};
            assert_true(((float *)x.data)[v] == expected[kind]);
        }
        sow_batches_free(b);
    }
    sow_arena_free(m.set.arena);
}

static void a_row_of_zeros_stays_zero(void **unused) {
    made m = make(1, 1, 2, 2);
    sow_tensor x, y;
    memset(m.set.inputs.data, 0, 4);
    m.data.normalisation = SOW_NORMALISE_ROW;
    sow_batches *b = begin(&m, 1, 0, false, 0);
    take(b, 0, &x, &y);
    assert_true(((float *)x.data)[3] == 0);
    sow_batches_free(b);
    sow_arena_free(m.set.arena);
}

static void colour_is_channels_last_in_memory_and_pytorch_shaped(void **unused) {
    for (int64_t channels = 2; channels <= 3; channels++) {
        made m = make(4, channels, 5, 6);
        sow_tensor x, y;
        m.data.normalisation = SOW_NORMALISE_NONE;
        sow_batches *b = begin(&m, 4, 0, false, 0);
        take(b, 0, &x, &y);
        assert_int_equal(x.stride[1], 1);
        assert_int_equal(x.stride[3], channels);
        for (int64_t i = 0; i < 4; i++)
            for (int64_t c = 0; c < channels; c++)
                for (int64_t h = 0; h < 5; h++)
                    for (int64_t w = 0; w < 6; w++) assert_true(value(x, i, c, h, w) == (float)pixel(i, c, h, w));
        sow_batches_free(b);
        sow_arena_free(m.set.arena);
    }
}

/* How example i came out: moved by (dy, dx) out of an image with 4 zeros around, then mirrored or not; -1 if not at all. */
static int find_move(sow_tensor x, int64_t row, int64_t example, int64_t channels, int64_t side, int *dy, int *dx) {
    for (int flip = 0; flip < 2; flip++)
        for (*dy = -4; *dy <= 4; (*dy)++)
            for (*dx = -4; *dx <= 4; (*dx)++) {
                bool same = true;
                for (int64_t c = 0; same && c < channels; c++)
                    for (int64_t h = 0; same && h < side; h++)
                        for (int64_t w = 0; same && w < side; w++) {
                            int64_t from_y = h + *dy, from_x = (flip ? side - 1 - w : w) + *dx;
                            bool inside = from_y >= 0 && from_y < side && from_x >= 0 && from_x < side;
                            same = value(x, row, c, h, w) == (inside ? (float)pixel(example, c, from_y, from_x) : 0);
                        }
                if (same) return flip;
            }
    return -1;
}

static void augmentation_mirrors_half_and_crops_everywhere(void **unused) {
    enum { COUNT = 600, SIDE = 9 };
    made m = make(COUNT, 3, SIDE, SIDE);
    sow_tensor x, y;
    int flips = 0, rows[9] = {0}, columns[9] = {0};
    m.data.normalisation = SOW_NORMALISE_NONE;
    sow_batches *b = begin(&m, COUNT, 5, true, SOW_AUGMENT_FLIP | SOW_AUGMENT_CROP);
    take(b, 0, &x, &y);
    for (int64_t i = 0; i < COUNT; i++) {
        int dy, dx, flip = find_move(x, i, label(y, i), 3, SIDE, &dy, &dx);
        assert_in_range(flip, 0, 1);
        flips += flip;
        rows[dy + 4]++, columns[dx + 4]++;
    }
    assert_in_range(flips, 251, 349); /* 300 and four standard deviations */
    for (int i = 0; i < 9; i++) {     /* 66.7 and four of 7.7 */
        assert_in_range(rows[i], 36, 98);
        assert_in_range(columns[i], 36, 98);
    }
    sow_batches_free(b);
    sow_arena_free(m.set.arena);
}

/* The same example in the same epoch comes out equal in batches of any size; in another epoch it does not. */
static void augmentation_depends_on_seed_epoch_and_example_only(void **unused) {
    enum { COUNT = 64, VALUES = 3 * 8 * 8 };
    static float kept[3][COUNT][VALUES];
    made m = make(COUNT, 3, 8, 8);
    for (int pass = 0; pass < 3; pass++) { /* batches of 8 and of 16 in epoch 1, of 8 in epoch 2 */
        int64_t batch = pass == 1 ? 16 : 8, per_epoch = COUNT / batch, epoch = pass == 2 ? 2 : 1;
        sow_batches *b = begin(&m, batch, 5, true, SOW_AUGMENT_FLIP | SOW_AUGMENT_CROP);
        for (int64_t n = 0; n < per_epoch; n++) {
            sow_tensor x, y;
            take(b, epoch * per_epoch + n, &x, &y);
            for (int64_t i = 0; i < batch; i++) memcpy(kept[pass][label(y, i)], (float *)x.data + i * VALUES, VALUES * sizeof(float));
        }
        sow_batches_free(b);
    }
    assert_memory_equal(kept[0], kept[1], sizeof kept[0]);
    int moved = 0;
    for (int i = 0; i < COUNT; i++) moved += memcmp(kept[0][i], kept[2][i], sizeof kept[0][i]) != 0;
    assert_true(moved > COUNT / 2);
    sow_arena_free(m.set.arena);
}

static void narrow_images_are_cropped_too(void **unused) {
    made m = make(200, 3, 2, 3);
    sow_tensor x, y;
    m.data.normalisation = SOW_NORMALISE_NONE;
    sow_batches *b = begin(&m, 200, 5, true, SOW_AUGMENT_FLIP | SOW_AUGMENT_CROP);
    take(b, 0, &x, &y);
    for (int64_t i = 0; i < 200 * 18; i++) assert_in_range((int)((float *)x.data)[i], 0, 255);
    sow_batches_free(b);
    sow_arena_free(m.set.arena);
}

static void steady_batches_allocate_nothing(void **unused) {
    made m = make(60, 3, 8, 8);
    sow_batches *b = begin(&m, 8, 1, true, SOW_AUGMENT_FLIP | SOW_AUGMENT_CROP);
    sow_tensor x, y;
    take(b, 0, &x, &y);
    uint64_t before = sow_allocation_count();
    for (int64_t i = 0; i < 100; i++) take(b, i, &x, &y);
    assert_int_equal(sow_allocation_count(), before);
    sow_batches_free(b);
    sow_arena_free(m.set.arena);
}

static void impossible_batches_are_refused(void **unused) {
    made m = make(4, 1, 1, 1);
    sow_batches *b;
    m.data.train.set = &m.set;
    assert_int_equal(sow_batches_new(&m.data, &m.data.train, 0, 0, true, 0, &b), SOW_E_RANGE);
    assert_int_equal(sow_batches_new(&m.data, &m.data.train, 5, 0, true, 0, &b), SOW_E_RANGE);
    assert_non_null(strstr(sow_message(), "batches of 5 from 4"));
    assert_int_equal(sow_batches_new(&m.data, &m.data.train, 2, 0, true, SOW_AUGMENT_FLIP, &b), SOW_E_ARGUMENT);
    b = begin(&m, 2, 0, true, 0);
    sow_tensor x, y;
    assert_int_equal(sow_batches_at(b, -1, &x, &y), SOW_E_RANGE);
    sow_batches_free(b);
    sow_arena_free(m.set.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_shows_each_example_once_and_drops_the_short_batch),
        cmocka_unit_test(evaluation_keeps_order_and_the_short_batch),
        cmocka_unit_test(any_batch_is_the_same_whatever_came_before),
        cmocka_unit_test(pixels_are_normalised_exactly),
        cmocka_unit_test(a_row_of_zeros_stays_zero),
        cmocka_unit_test(colour_is_channels_last_in_memory_and_pytorch_shaped),
        cmocka_unit_test(augmentation_mirrors_half_and_crops_everywhere),
        cmocka_unit_test(augmentation_depends_on_seed_epoch_and_example_only),
        cmocka_unit_test(narrow_images_are_cropped_too),
        cmocka_unit_test(steady_batches_allocate_nothing),
        cmocka_unit_test(impossible_batches_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
