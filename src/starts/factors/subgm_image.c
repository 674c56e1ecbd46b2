/* Robust PCA of a picture: values as entries of a matrix, salt and pepper as outliers. */
#include <math.h>
#include <string.h>

#include "sow/image.h"
#include "sow/json.h"
#include "sow/log.h"
#include "sow/random.h"
#include "starts/factors/subgm.h"

enum { SLOW_CELLS = 1 << 20 };

/* A share of the values, each with its own coin, becomes 0 or 1. */
static void corrupt(uint64_t seed, double share, double *values, int64_t n, double *coins) {
    sow_rng rng;
    sow_rng_seed(&rng, SOW_RNG_SOW, seed);
    sow_rng_at(&rng, "factors", "salt and pepper");
    sow_rng_uniform_f64(&rng, coins, n, 0, 1);
    for (int64_t i = 0; i < n; i++)
        if (coins[i] < share) values[i] = coins[i] < share / 2 ? 0 : 1;
}

sow_status subgm_open_image(sow_call *call, subgm_picture *picture, factors_problem *p) {
    sow_tensor pixels;
    double *coins;
    SOW_TRY(sow_image_read(call->arena, sow_text(call, "image"), 0, &pixels));
    int64_t channels = pixels.shape[0], height = pixels.shape[1], width = pixels.shape[2],
            n = channels * height * width;
    *picture = (subgm_picture){channels, height, width, NULL};
    *p = (factors_problem){.what = "picture"};
    if (n > SLOW_CELLS)
        sow_note("%lld values: expect minutes; a smaller picture or --rank 16 takes less", (long long)n);
    SOW_TRY(SOW_NEW(call->arena, picture->original, n));
    SOW_TRY(SOW_NEW(call->arena, p->y, n));
    SOW_TRY(SOW_NEW(call->arena, coins, n));
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < height * width; i++)
            picture->original[i / width * channels * width + c * width + i % width] =
                sow_at(pixels, c * height * width + i) / 255;
    memcpy(p->y, picture->original, (size_t)n * sizeof *p->y);
    SOW_TRY(sow_operator_identity(height, channels * width, &p->op));
    double share = sow_real(call, "corrupt");
    if (share > 0) {
        corrupt((uint64_t)sow_int(call, "seed"), share, p->y, n, coins);
        p->truth = picture->original;
    }
    return SOW_OK;
}

/* ---- pictures of the result ---- */

static sow_status write_picture(sow_call *call, const subgm_picture *t, const char *name, const double *values,
                                const char **path) {
    sow_tensor pixels;
    int64_t plane = t->height * t->width;
    if (!(*path = sow_path_join(call->arena, sow_text(call, "out"), name))) return SOW_E_MEMORY;
    SOW_TRY(sow_tensor_new(call->arena, SOW_U8, 3, (int64_t[]){t->channels, t->height, t->width}, &pixels));
    uint8_t *out = pixels.data;
    for (int64_t c = 0; c < t->channels; c++)
        for (int64_t i = 0; i < plane; i++) {
            double v = values[i / t->width * t->channels * t->width + c * t->width + i % t->width];
            out[c * plane + i] = (uint8_t)lround(255 * fmin(1, fmax(0, v)));
        }
    SOW_TRY(sow_image_write(*path, pixels));
    return sow_wrote(call, *path);
}

/* 3 x 3 median within each channel, edges repeated: what one would try first. */
static void median_filter(const subgm_picture *t, const double *values, double *out) {
    int64_t columns = t->channels * t->width;
    for (int64_t r = 0; r < t->height; r++)
        for (int64_t c = 0; c < columns; c++) {
            double around[9];
            int64_t count = 0, low = c / t->width * t->width, high = low + t->width - 1;
            for (int64_t y = r - 1; y <= r + 1; y++)
                for (int64_t x = c - 1; x <= c + 1; x++) {
                    int64_t row = y < 0            ? 0
                                  : y >= t->height ? t->height - 1
                                                   : y,
                            column = x < low    ? low
                                     : x > high ? high
                                                : x;
                    around[count++] = values[row * columns + column];
                }
            out[r * columns + c] = factors_median(around, 9);
        }
}

static double distance(const double *a, const double *b, int64_t n) {
    double sum = 0, whole = 0;
    for (int64_t i = 0; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]), whole += b[i] * b[i];
    return whole > 0 ? sqrt(sum / whole) : sqrt(sum);
}

static sow_status compare(sow_call *call, const subgm_picture *t, const double *corrupted, const double *recovered,
                          double *work) {
    int64_t n = t->channels * t->height * t->width;
    median_filter(t, corrupted, work);
    double after = distance(recovered, t->original, n), median = distance(work, t->original, n);
    SOW_TRY(sow_put_real(call->result, "relative_error_of_corrupted", distance(corrupted, t->original, n)));
    SOW_TRY(sow_put_real(call->result, "relative_error_of_median_filter", median));
    if (after > median)
        sow_warn("a 3 x 3 median filter is nearer to this picture (%.3f against %.3f): it is not of low rank", median,
                 after);
    return SOW_OK;
}

sow_status subgm_write_image(sow_call *call, const subgm_picture *t, const factors_problem *p,
                             const sow_subgm_result *r) {
    int64_t n = p->op.m;
    double *recovered, *work;
    SOW_TRY(SOW_NEW(call->arena, recovered, n));
    SOW_TRY(SOW_NEW(call->arena, work, n));
    for (int64_t i = 0; i < n; i++) recovered[i] = p->y[i] + r->residual[i];
    if (p->truth) SOW_TRY(compare(call, t, p->y, recovered, work));
    static const char *const captions[] = {"before", "recovered", "outliers: |residual|"};
    const char *paths[3];
    SOW_TRY(write_picture(call, t, p->truth ? "corrupted.png" : "before.png", p->y, &paths[0]));
    SOW_TRY(write_picture(call, t, "recovered.png", recovered, &paths[1]));
    for (int64_t i = 0; i < n; i++) work[i] = fabs(r->residual[i]);
    SOW_TRY(write_picture(call, t, "outliers.png", work, &paths[2]));
    return factors_report(call, &r->x, r->rows, r->row_count, paths, captions, 3);
}
