/* Batches: any one at any time, each a function of (seed, number) alone; no allocation after the first. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/clones.h"
#include "sow/data.h"
#include "sow/threads.h"

enum { PADDING = 4, PREFETCH_ROWS = 6, CACHE_LINE = 64, CELL_VALUES = 1 << 18 };

struct sow_batches {
    sow_arena *arena;
    const sow_data *data;
    const sow_dataset *set;
    const int64_t *index; /* the part's examples */
    int64_t count, batch, per_epoch;
    uint64_t seed;
    bool shuffle;
    unsigned augmentation;
    int64_t epoch;     /* that `order` belongs to, -1: none yet */
    int64_t *order;    /* examples in the order of this epoch, when shuffled */
    int64_t *positions; /* the permutation they come from */
    sow_rng rng;
    float *inputs;     /* [batch, H, W, C], which is [batch, C, H, W] when C is 1 */
    int32_t *labels;
    float (*levels)[256]; /* [C][256]: network input of each pixel value */
    int64_t first;     /* of the batch being made: position in the epoch */
    bool plain;        /* pixels / 255, one channel, nothing moved: the fast path */
};

/* ---- values ---- */

/* A product with 1/255 would differ in the last bit for half of the values. */
SOW_CLONES static void unit_pixels(const uint8_t *restrict from, float *restrict to, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] = (float)from[i] / 255.0f;
}

/* The network input of each pixel value, per channel. */
static void fill_levels(sow_batches *b) {
    for (int64_t c = 0; c < b->set->geometry.channels; c++)
        for (int v = 0; v < 256; v++) {
            float unit = (float)v / 255.0f;
            switch (b->data->normalisation) {
            case SOW_NORMALISE_UNIT: b->levels[c][v] = unit; break;
            case SOW_NORMALISE_CHANNEL: b->levels[c][v] = (unit - b->data->mean[c]) / b->data->sd[c]; break;
            case SOW_NORMALISE_ROW:
            case SOW_NORMALISE_NONE: b->levels[c][v] = (float)v; break;
            }
        }
}

/* Divides an example by its own L2 norm; one of zeros stays so. */
static void normalise_row(float *values, int64_t n) {
    double squares = 0;
    for (int64_t i = 0; i < n; i++) squares += (double)values[i] * (double)values[i];
    if (squares == 0) return;
    double norm = sqrt(squares);
    for (int64_t i = 0; i < n; i++) values[i] = (float)((double)values[i] / norm);
}

/* ---- augmentation ---- */

typedef struct shift {
    bool flip;
    int64_t dy, dx; /* what is read lies this much further down and to the right */
} shift;

/* One Philox block keyed by the seed, counted by example and epoch. */
static shift draw_shift(const sow_batches *b, int64_t example) {
    shift s = {0};
    if (b->augmentation == SOW_AUGMENT_NONE) return s;
    static const uint32_t augment = 0x41554721; /* keeps these blocks apart from other streams of the seed */
    uint32_t counter[4] = {(uint32_t)example, (uint32_t)((uint64_t)example >> 32), (uint32_t)b->epoch, augment}, drawn[4];
    sow_philox(counter, (uint32_t[2]){(uint32_t)b->seed, (uint32_t)(b->seed >> 32)}, drawn);
    if (b->augmentation & SOW_AUGMENT_FLIP) s.flip = drawn[0] >> 31;
    if (b->augmentation & SOW_AUGMENT_CROP) {
        s.dy = (int64_t)((uint64_t)drawn[1] * (2 * PADDING + 1) >> 32) - PADDING;
        s.dx = (int64_t)((uint64_t)drawn[2] * (2 * PADDING + 1) >> 32) - PADDING;
    }
    return s;
}

/* `n` pixels of a row, from planes to neighbours; `step` is the way to the next pixel: C, or -C when mirrored. */
static void move_run(const uint8_t *in, int64_t plane, int64_t channels, const float (*levels)[256], float *out, int64_t n, int64_t step) {
    if (channels == 3) {
        for (int64_t x = 0; x < n; x++, out += step) {
            out[0] = levels[0][in[x]];
            out[1] = levels[1][in[x + plane]];
            out[2] = levels[2][in[x + 2 * plane]];
        }
        return;
    }
    for (int64_t x = 0; x < n; x++, out += step)
        for (int64_t c = 0; c < channels; c++) out[c] = levels[c][in[x + c * plane]];
}

/* `n` pixels of value 0. */
static void blank_run(int64_t channels, const float (*levels)[256], float *out, int64_t n, int64_t step) {
    for (int64_t x = 0; x < n; x++, out += step)
        for (int64_t c = 0; c < channels; c++) out[c] = levels[c][0];
}

/* One example of pixels [C, H, W] into [H, W, C]: cropped from its padded image, then mirrored. */
static void move_pixels(const sow_batches *b, const uint8_t *from, shift s, float *to) {
    const sow_geometry *g = &b->set->geometry;
    int64_t channels = g->channels, width = g->width, plane = g->height * width, step = s.flip ? -channels : channels;
    int64_t first = s.dx < 0 ? -s.dx : 0, last = s.dx > 0 ? width - s.dx : width; /* inside the image: first <= x < last */
    if (last < first || first > width) first = last = 0;
    for (int64_t y = 0; y < g->height; y++) {
        int64_t row = y + s.dy;
        float *out = to + (y * width + (s.flip ? width - 1 : 0)) * channels;
        if (row < 0 || row >= g->height) {
            blank_run(channels, b->levels, out, width, step);
            continue;
        }
        blank_run(channels, b->levels, out, first, step);
        if (last > first) move_run(from + row * width + first + s.dx, plane, channels, b->levels, out + first * step, last - first, step);
        blank_run(channels, b->levels, out + last * step, width - last, step);
    }
}

/* The same for stored f32 values. Tables have one pixel, so this path needs no speed. */
static void move_values(const sow_batches *b, const float *from, shift s, float *to) {
    const sow_geometry *g = &b->set->geometry;
    bool scale = b->data->normalisation == SOW_NORMALISE_CHANNEL;
    if (!scale && g->height == 1 && g->width == 1) {
        memcpy(to, from, (size_t)g->channels * sizeof *to);
        return;
    }
    for (int64_t c = 0; c < g->channels; c++) {
        float mean = scale ? b->data->mean[c] : 0, sd = scale ? b->data->sd[c] : 1;
        for (int64_t y = 0; y < g->height; y++)
            for (int64_t x = 0; x < g->width; x++) {
                int64_t row = y + s.dy, column = (s.flip ? g->width - 1 - x : x) + s.dx;
                bool inside = row >= 0 && row < g->height && column >= 0 && column < g->width;
                float value = inside ? from[(c * g->height + row) * g->width + column] : 0;
                to[(y * g->width + x) * g->channels + c] = (value - mean) / sd;
            }
    }
}

/* ---- one batch ---- */

/* The order of an epoch, kept until another is asked for. */
static void enter_epoch(sow_batches *b, int64_t epoch) {
    if (epoch == b->epoch) return;
    b->epoch = epoch;
    if (!b->shuffle) return;
    sow_rng_at_index(&b->rng, "shuffle", (uint64_t)epoch);
    sow_rng_permutation(&b->rng, b->positions, b->count);
    for (int64_t i = 0; i < b->count; i++) b->order[i] = b->index[b->positions[i]];
}

/* Examples lie far apart: the lines of one that comes soon are asked for early. */
static void prefetch(const uint8_t *row, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += CACHE_LINE) __builtin_prefetch(row + i);
}

static void make_rows(sow_batches *b, int64_t begin, int64_t end) {
    const sow_geometry *g = &b->set->geometry;
    int64_t values = g->channels * g->height * g->width, bytes = values * (int64_t)sow_dtype_size(b->set->inputs.dtype);
    const uint8_t *stored = b->set->inputs.data;
    const int64_t *examples = (b->shuffle ? b->order : b->index) + b->first;
    for (int64_t i = begin; i < begin + PREFETCH_ROWS && i < end; i++) prefetch(stored + examples[i] * bytes, bytes);
    for (int64_t i = begin; i < end; i++) {
        if (i + PREFETCH_ROWS < end) prefetch(stored + examples[i + PREFETCH_ROWS] * bytes, bytes);
        int64_t example = examples[i];
        const uint8_t *from = stored + example * bytes;
        float *to = b->inputs + i * values;
        b->labels[i] = b->set->labels[example];
        if (b->plain) unit_pixels(from, to, values);
        else if (b->set->inputs.dtype == SOW_U8) move_pixels(b, from, draw_shift(b, example), to);
        else move_values(b, (const float *)(const void *)from, draw_shift(b, example), to);
        if (b->data->normalisation == SOW_NORMALISE_ROW) normalise_row(to, values);
    }
}

typedef struct rows {
    sow_batches *batches;
    int64_t count, cells;
} rows;

static void make_cell(void *context, int64_t cell) {
    const rows *r = context;
    make_rows(r->batches, r->count * cell / r->cells, r->count * (cell + 1) / r->cells);
}

sow_status sow_batches_at(sow_batches *b, int64_t number, sow_tensor *inputs, sow_tensor *labels) {
    if (number < 0) return sow_fail(SOW_E_RANGE, "batch %" PRId64 " was asked for, they are counted from 0", number);
    int64_t epoch = number / b->per_epoch;
    b->first = number % b->per_epoch * b->batch;
    int64_t count = b->count - b->first < b->batch ? b->count - b->first : b->batch;
    enter_epoch(b, epoch);
    const sow_geometry *g = &b->set->geometry;
    rows r = {.batches = b, .count = count, .cells = sow_cells_for(count * g->channels * g->height * g->width, CELL_VALUES)};
    sow_cells(r.cells, make_cell, &r);
    *inputs = SOW_TENSOR(b->inputs, SOW_F32, count, g->channels, g->height, g->width);
    if (g->channels > 1) {
        inputs->stride[1] = 1;
        inputs->stride[2] = g->width * g->channels;
        inputs->stride[3] = g->channels;
    }
    *labels = SOW_TENSOR(b->labels, SOW_I32, count);
    return SOW_OK;
}

/* ---- beginning and end ---- */

static sow_status prepare(sow_batches *b) {
    const sow_geometry *g = &b->set->geometry;
    int64_t values;
    SOW_TRY(sow_multiply(b->batch, g->channels * g->height * g->width, &values));
    SOW_TRY(SOW_NEW(b->arena, b->inputs, values));
    SOW_TRY(SOW_NEW(b->arena, b->labels, b->batch));
    if (b->shuffle) SOW_TRY(SOW_NEW(b->arena, b->order, b->count));
    if (b->shuffle) SOW_TRY(SOW_NEW(b->arena, b->positions, b->count));
    if (b->set->inputs.dtype == SOW_U8) {
        SOW_TRY(SOW_NEW(b->arena, b->levels, g->channels));
        fill_levels(b);
    }
    b->plain = b->set->inputs.dtype == SOW_U8 && g->channels == 1 && b->augmentation == SOW_AUGMENT_NONE && b->data->normalisation == SOW_NORMALISE_UNIT;
    return sow_rng_seed(&b->rng, SOW_RNG_SOW, b->seed);
}

sow_status sow_batches_new(const sow_data *data, const sow_part *part, int64_t batch, uint64_t seed, bool shuffle, unsigned augmentation,
                           sow_batches **out) {
    if (batch < 1) return sow_fail(SOW_E_RANGE, "a batch of %" PRId64 " examples, expected 1 or more", batch);
    if (part->count < 1) return sow_fail(SOW_E_RANGE, "%s: this part has no examples", data->name);
    if (shuffle && batch > part->count)
        return sow_fail(SOW_E_RANGE, "%s: batches of %" PRId64 " from %" PRId64 " training examples: an epoch has no whole batch", data->name, batch, part->count);
    if (augmentation != SOW_AUGMENT_NONE && part->set->geometry.height * part->set->geometry.width == 1)
        return sow_fail(SOW_E_ARGUMENT, "%s: a table cannot be flipped or cropped", data->name);
    if (batch > part->count) batch = part->count;
    sow_arena *arena;
    sow_batches *b;
    SOW_TRY(SOW_OWN(arena, b));
    *b = (sow_batches){.arena = arena, .data = data, .set = part->set, .index = part->index, .count = part->count, .batch = batch,
                       .per_epoch = shuffle ? part->count / batch : (part->count + batch - 1) / batch, .seed = seed, .shuffle = shuffle,
                       .augmentation = augmentation, .epoch = -1};
    sow_status status = prepare(b);
    if (status == SOW_OK) *out = b;
    else sow_arena_free(arena);
    return status;
}

void sow_batches_free(sow_batches *batches) {
    if (batches) sow_arena_free(batches->arena);
}

int64_t sow_batches_per_epoch(const sow_batches *batches) {
    return batches->per_epoch;
}
