/* Vector loops over chunks of rows by columns. Eight lanes everywhere: sums have one order on every processor. */
#include "base/clones.h"
#include "learn/learn.h"

typedef double lanes __attribute__((vector_size(32), aligned(8), may_alias));
enum { VECTOR = 4, TILE = 4, HALF = 2 };

void learn_pad(double *x, int64_t columns, int64_t count) {
    int64_t end = (count + LEARN_LANES - 1) / LEARN_LANES * LEARN_LANES;
    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = count; i < end; i++) x[j * LEARN_STRIDE + i] = 0;
}

/* By address: vectors as arguments have no fixed form without AVX. */
static inline double add_lanes(const lanes *a, const lanes *b) {
    lanes sum = *a + *b;
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

SOW_CLONES double learn_sum(const double *x, int64_t n) {
    lanes even = {0}, odd = {0};
    double rest = 0;
    int64_t i = 0;
    for (; i + 2 * VECTOR <= n; i += 2 * VECTOR) {
        even += *(const lanes *)(x + i);
        odd += *(const lanes *)(x + i + VECTOR);
    }
    for (; i < n; i++) rest += x[i];
    return add_lanes(&even, &odd) + rest;
}

SOW_CLONES double learn_dot(const double *x, const double *y, int64_t n) {
    lanes even = {0}, odd = {0};
    double rest = 0;
    int64_t i = 0;
    for (; i + 2 * VECTOR <= n; i += 2 * VECTOR) {
        even += *(const lanes *)(x + i) * *(const lanes *)(y + i);
        odd += *(const lanes *)(x + i + VECTOR) * *(const lanes *)(y + i + VECTOR);
    }
    for (; i < n; i++) rest += x[i] * y[i];
    return add_lanes(&even, &odd) + rest;
}

/* Two columns of x with four of y; the whole tile lies inside the matrix. */
SOW_CLONES static void products_tile(const double *x, const double *y, int64_t count, int64_t width, double *sums) {
    lanes s00 = {0}, s01 = {0}, s02 = {0}, s03 = {0}, s10 = {0}, s11 = {0}, s12 = {0}, s13 = {0};
    for (int64_t i = 0; i < count; i += VECTOR) {
        lanes x0 = *(const lanes *)(x + i), x1 = *(const lanes *)(x + LEARN_STRIDE + i);
        lanes y0 = *(const lanes *)(y + i), y1 = *(const lanes *)(y + LEARN_STRIDE + i),
              y2 = *(const lanes *)(y + 2 * LEARN_STRIDE + i), y3 = *(const lanes *)(y + 3 * LEARN_STRIDE + i);
        s00 += x0 * y0, s01 += x0 * y1, s02 += x0 * y2, s03 += x0 * y3;
        s10 += x1 * y0, s11 += x1 * y1, s12 += x1 * y2, s13 += x1 * y3;
    }
    const lanes all[HALF][TILE] = {{s00, s01, s02, s03}, {s10, s11, s12, s13}};
    for (int a = 0; a < HALF; a++)
        for (int b = 0; b < TILE; b++)
            sums[a * width + b] += (all[a][b][0] + all[a][b][1]) + (all[a][b][2] + all[a][b][3]);
}

void learn_products(const double *x, const double *y, int64_t width, int64_t count, double *sums) {
    int64_t whole = width / TILE * TILE;
    for (int64_t a = 0; a < whole; a += HALF)
        for (int64_t b = 0; b < a + HALF; b += TILE)
            products_tile(x + a * LEARN_STRIDE, y + b * LEARN_STRIDE, count, width, sums + a * width + b);
    for (int64_t a = whole; a < width; a++)
        for (int64_t b = 0; b <= a; b++)
            sums[a * width + b] += learn_dot(x + a * LEARN_STRIDE, y + b * LEARN_STRIDE, count);
}

/* Adds to out the squares of four rows of L (l: the first) times eight columns; n: numbers in the longest of the rows. */
SOW_CLONES static void whiten_tile(const double *x, const double *l, int64_t width, int64_t n, double *out) {
    lanes s00 = {0}, s01 = {0}, s10 = {0}, s11 = {0}, s20 = {0}, s21 = {0}, s30 = {0}, s31 = {0};
    for (int64_t b = 0; b < n; b++) {
        lanes x0 = *(const lanes *)(x + b * LEARN_STRIDE), x1 = *(const lanes *)(x + b * LEARN_STRIDE + VECTOR);
        double l0 = l[b], l1 = l[width + b], l2 = l[2 * width + b], l3 = l[3 * width + b];
        s00 += l0 * x0, s01 += l0 * x1, s10 += l1 * x0, s11 += l1 * x1;
        s20 += l2 * x0, s21 += l2 * x1, s30 += l3 * x0, s31 += l3 * x1;
    }
    *(lanes *)out += (s00 * s00 + s10 * s10) + (s20 * s20 + s30 * s30);
    *(lanes *)(out + VECTOR) += (s01 * s01 + s11 * s11) + (s21 * s21 + s31 * s31);
}

/* The same for one row. */
SOW_CLONES static void whiten_row(const double *x, const double *l, int64_t n, double *out) {
    lanes s0 = {0}, s1 = {0};
    for (int64_t b = 0; b < n; b++) {
        s0 += l[b] * *(const lanes *)(x + b * LEARN_STRIDE);
        s1 += l[b] * *(const lanes *)(x + b * LEARN_STRIDE + VECTOR);
    }
    *(lanes *)out += s0 * s0;
    *(lanes *)(out + VECTOR) += s1 * s1;
}

void learn_whitened_squares(const double *centred, int64_t width, int64_t count, const double *whiten, double *out) {
    int64_t whole = width / TILE * TILE;
    for (int64_t i = 0; i < count; i += LEARN_LANES) {
        for (int64_t k = i; k < i + LEARN_LANES; k++) out[k] = 0;
        for (int64_t a = 0; a < whole; a += TILE)
            whiten_tile(centred + i, whiten + a * width, width, a + TILE, out + i);
        for (int64_t a = whole; a < width; a++) whiten_row(centred + i, whiten + a * width, a + 1, out + i);
    }
}

/* Sixteen rows at a time stay in registers while the columns pass, then eight. */
SOW_CLONES void learn_squares(const double *x, int64_t width, int64_t count, const double *c, double *restrict out) {
    int64_t i = 0;
    for (; i + 2 * LEARN_LANES <= count; i += 2 * LEARN_LANES) {
        lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
        for (int64_t j = 0; j < width; j++) {
            const lanes *at = (const lanes *)(x + j * LEARN_STRIDE + i);
            lanes g0 = at[0] - c[j], g1 = at[1] - c[j], g2 = at[2] - c[j], g3 = at[3] - c[j];
            s0 += g0 * g0, s1 += g1 * g1, s2 += g2 * g2, s3 += g3 * g3;
        }
        lanes *to = (lanes *)(out + i);
        to[0] = s0, to[1] = s1, to[2] = s2, to[3] = s3;
    }
    for (; i < count; i += LEARN_LANES) {
        lanes s0 = {0}, s1 = {0};
        for (int64_t j = 0; j < width; j++) {
            const lanes *at = (const lanes *)(x + j * LEARN_STRIDE + i);
            lanes g0 = at[0] - c[j], g1 = at[1] - c[j];
            s0 += g0 * g0, s1 += g1 * g1;
        }
        lanes *to = (lanes *)(out + i);
        to[0] = s0, to[1] = s1;
    }
}

SOW_CLONES void learn_weighted_squares(const double *x, int64_t width, int64_t count, const double *c, const double *w,
                                       double *restrict out) {
    for (int64_t i = 0; i < count; i++) out[i] = 0;
    for (int64_t j = 0; j < width; j++)
        for (int64_t i = 0; i < count; i++) {
            double gap = (x[j * LEARN_STRIDE + i] - c[j]) * w[j];
            out[i] += gap * gap;
        }
}
