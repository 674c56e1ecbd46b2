/* Principal components from exact second moments that can be summed in parts. */
#include <math.h>
#include <string.h>

#include "linalg/components.h"
#include "linalg/lapack.h"

/* Only the upper triangle of tiles is kept; few features are decomposed completely. */
enum { TILE = 192, BLOCK_ROWS = 2048, COMPLETE = 160, ROUNDS_MAX = 60 };

struct sow_gram {
    sow_arena *arena;
    int64_t features, tiles, rows;
    double **tile; /* [tiles (tiles + 1) / 2], each row-major: sums of (x - shift)(x - shift)^T */
    double *sum;   /* of x - shift */
    float *shift;  /* the first block's mean: large means would cancel in f32 */
};

int64_t linalg_extra(int64_t count) {
    return count / 2 > 8 ? count / 2 : 8;
}

void linalg_fix_signs(float *rows, int64_t count, int64_t length) {
    for (int64_t i = 0; i < count; i++, rows += length) {
        int64_t best = 0;
        for (int64_t j = 1; j < length; j++)
            if (fabsf(rows[j]) > fabsf(rows[best])) best = j;
        if (rows[best] >= 0) continue;
        for (int64_t j = 0; j < length; j++) rows[j] = -rows[j];
    }
}

void linalg_agreement(const float *rows, const float *before, int64_t count, int64_t length, double *out) {
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int64_t j = 0; before && j < length; j++)
            sum += (double)rows[i * length + j] * (double)before[i * length + j];
        out[i] = sum;
    }
}

/* ---- tiles ---- */

static int64_t extent(const sow_gram *g, int64_t i) {
    return i + 1 < g->tiles ? TILE : g->features - i * TILE;
}
static double *tile_at(const sow_gram *g, int64_t i, int64_t j) {
    return g->tile[i * g->tiles - i * (i - 1) / 2 + j - i];
}

static sow_status allocate(sow_gram *g) {
    SOW_TRY(SOW_NEW(g->arena, g->sum, g->features));
    SOW_TRY(SOW_NEW(g->arena, g->shift, g->features));
    SOW_TRY(SOW_NEW(g->arena, g->tile, g->tiles * (g->tiles + 1) / 2));
    int64_t at = 0;
    for (int64_t i = 0; i < g->tiles; i++)
        for (int64_t j = i; j < g->tiles; j++) SOW_TRY(SOW_NEW(g->arena, g->tile[at++], extent(g, i) * extent(g, j)));
    return SOW_OK;
}

sow_status sow_gram_new(int64_t features, sow_gram **out) {
    sow_arena *arena;
    sow_gram *g;
    if (features < 1 || features > 1 << 20)
        return sow_fail(SOW_E_RANGE, "second moments of %lld features", (long long)features);
    SOW_TRY(SOW_OWN(arena, g));
    *g = (sow_gram){.arena = arena, .features = features, .tiles = (features + TILE - 1) / TILE};
    sow_status status = allocate(g);
    if (status == SOW_OK) *out = g;
    else sow_arena_free(arena);
    return status;
}

void sow_gram_free(sow_gram *g) {
    if (g) sow_arena_free(g->arena);
}

/* ---- summing ---- */

static void choose_shift(sow_gram *g, const float *x, int64_t rows) {
    for (int64_t j = 0; j < g->features; j++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) sum += (double)x[r * g->features + j];
        g->shift[j] = (float)(sum / (double)rows);
    }
}

/* The columns of tile i, close together: [rows, extent]. */
static void centre(sow_gram *g, int64_t i, const float *x, int64_t rows, float *out) {
    int64_t n = extent(g, i), first = i * TILE;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) {
            float d = x[r * g->features + first + j] - g->shift[first + j];
            out[r * n + j] = d;
            g->sum[first + j] += (double)d;
        }
}

static sow_status add_block(sow_gram *g, const float *x, int64_t rows, sow_arena *scratch) {
    int64_t in = g->features;
    float *centred, *product;
    SOW_TRY(SOW_NEW_RAW(scratch, centred, rows * in));
    SOW_TRY(SOW_NEW_RAW(scratch, product, TILE * TILE));
    for (int64_t i = 0; i < g->tiles; i++) centre(g, i, x, rows, centred + rows * i * TILE);
    for (int64_t i = 0; i < g->tiles; i++)
        for (int64_t j = i; j < g->tiles; j++) {
            int64_t m = extent(g, i), n = extent(g, j);
            double *tile = tile_at(g, i, j);
            sow_gemm(true, false, m, n, rows, 1, centred + rows * i * TILE, m, centred + rows * j * TILE, n, 0, product,
                     n);
            for (int64_t k = 0; k < m * n; k++) tile[k] += (double)product[k];
        }
    g->rows += rows;
    return SOW_OK;
}

sow_status sow_gram_add(sow_gram *g, const float *x, int64_t rows, sow_arena *scratch) {
    if (rows < 1) return SOW_OK;
    SOW_TRY(
        sow_require_finite(SOW_TENSOR((void *)(uintptr_t)x, SOW_F32, rows, g->features), "second moments: a batch"));
    if (g->rows == 0) choose_shift(g, x, rows < BLOCK_ROWS ? rows : BLOCK_ROWS);
    for (int64_t at = 0; at < rows; at += BLOCK_ROWS) {
        sow_mark mark = sow_arena_mark(scratch);
        sow_status status = add_block(g, x + at * g->features, rows - at < BLOCK_ROWS ? rows - at : BLOCK_ROWS,
                                      scratch);
        sow_arena_release(scratch, mark);
        SOW_TRY(status);
    }
    return SOW_OK;
}

/* With y = x - a and z = x - b: sum y y^T = sum z z^T + s e^T + e s^T + N e e^T, where s = sum z and e = b - a. */
sow_status sow_gram_merge(sow_gram *g, const sow_gram *from) {
    if (g->features != from->features)
        return sow_fail(SOW_E_SHAPE, "second moments of %lld features, expected %lld", (long long)from->features,
                        (long long)g->features);
    if (from->rows == 0) return SOW_OK;
    if (g->rows == 0) memcpy(g->shift, from->shift, (size_t)g->features * sizeof *g->shift);
    double n = (double)from->rows;
    for (int64_t i = 0; i < g->tiles; i++)
        for (int64_t j = i; j < g->tiles; j++) {
            double *to = tile_at(g, i, j);
            const double *other = tile_at(from, i, j);
            for (int64_t a = 0; a < extent(g, i); a++)
                for (int64_t b = 0; b < extent(g, j); b++) {
                    int64_t r = i * TILE + a, c = j * TILE + b, at = a * extent(g, j) + b;
                    double er = (double)from->shift[r] - (double)g->shift[r],
                           ec = (double)from->shift[c] - (double)g->shift[c];
                    to[at] += other[at] + from->sum[r] * ec + er * from->sum[c] + n * er * ec;
                }
        }
    for (int64_t j = 0; j < g->features; j++)
        g->sum[j] += from->sum[j] + n * ((double)from->shift[j] - (double)g->shift[j]);
    g->rows += from->rows;
    return SOW_OK;
}

/* ---- the scatter matrix: G - s s^T / N ---- */

static double scatter_diagonal(const sow_gram *g, int64_t j) {
    int64_t i = j / TILE, at = j % TILE;
    double own = tile_at(g, i, i)[at * extent(g, i) + at] - g->sum[j] * g->sum[j] / (double)g->rows;
    return own > 0 ? own : 0;
}

/* image = z (G - s s^T / N), z: [q, features]. */
static void apply(const sow_gram *g, int64_t q, const double *z, double *image) {
    int64_t in = g->features;
    memset(image, 0, (size_t)(q * in) * sizeof *image);
    for (int64_t i = 0; i < g->tiles; i++)
        for (int64_t j = i; j < g->tiles; j++) {
            int64_t m = extent(g, i), n = extent(g, j);
            const double *tile = tile_at(g, i, j);
            sow_gemm_f64(false, false, q, n, m, 1, z + i * TILE, in, tile, n, 1, image + j * TILE, in);
            if (i != j) sow_gemm_f64(false, true, q, m, n, 1, z + j * TILE, in, tile, n, 1, image + i * TILE, in);
        }
    for (int64_t r = 0; r < q; r++) {
        double along = 0;
        for (int64_t j = 0; j < in; j++) along += z[r * in + j] * g->sum[j];
        along /= (double)g->rows;
        for (int64_t j = 0; j < in; j++) image[r * in + j] -= along * g->sum[j];
    }
}

static sow_status orthonormalise(double *rows, int64_t count, int64_t length) {
    sow_tensor columns = sow_transpose(SOW_TENSOR(rows, SOW_F64, count, length));
    return sow_qr(columns, columns, (sow_tensor){0});
}

typedef struct iteration {
    int64_t q, in;
    double *z, *image, *core, *values, *turn;
} iteration;

/* z: orthonormal; becomes the eigenvectors within its span, image = z S moves along. */
static sow_status rotate(iteration *it, sow_arena *scratch) {
    int64_t q = it->q, in = it->in;
    double *fresh;
    sow_gemm_f64(false, true, q, q, in, 1, it->z, in, it->image, in, 0, it->core, q);
    SOW_TRY(sow_eigen_symmetric(SOW_TENSOR(it->core, SOW_F64, q, q), SOW_TENSOR(it->values, SOW_F64, q),
                                SOW_TENSOR(it->turn, SOW_F64, q, q)));
    sow_mark mark = sow_arena_mark(scratch);
    SOW_TRY(SOW_NEW_RAW(scratch, fresh, q * in));
    sow_gemm_f64(true, false, q, in, q, 1, it->turn, q, it->z, in, 0, fresh, in);
    memcpy(it->z, fresh, (size_t)(q * in) * sizeof *fresh);
    sow_gemm_f64(true, false, q, in, q, 1, it->turn, q, it->image, in, 0, fresh, in);
    memcpy(it->image, fresh, (size_t)(q * in) * sizeof *fresh);
    sow_arena_release(scratch, mark);
    return SOW_OK;
}

static bool settled(const double *before, const double *now, int64_t count, double tolerance) {
    for (int64_t i = 0; i < count; i++)
        if (fabs(now[i] - before[i]) > tolerance * fabs(now[i]) && now[i] > 1e-12 * now[0]) return false;
    return true;
}

static sow_status iterate(const sow_gram *g, iteration *it, int64_t count, double tolerance, sow_arena *scratch) {
    double *before;
    SOW_TRY(SOW_NEW(scratch, before, it->q));
    for (int round = 0; round < ROUNDS_MAX; round++) {
        SOW_TRY(orthonormalise(it->z, it->q, it->in));
        apply(g, it->q, it->z, it->image);
        SOW_TRY(rotate(it, scratch));
        if (it->q == it->in || (round > 0 && settled(before, it->values, count, tolerance))) return SOW_OK;
        memcpy(before, it->values, (size_t)it->q * sizeof *before);
        double *swap = it->z;
        if (round + 1 < ROUNDS_MAX) it->z = it->image, it->image = swap;
    }
    return SOW_OK;
}

/* Where z begins: at earlier components, and random directions; all unit vectors where few features are there. */
static void begin(const sow_gram *g, iteration *it, const sow_components *start) {
    sow_rng rng;
    int64_t known = start ? (start->count < it->q ? start->count : it->q) : 0;
    if (it->q == g->features) {
        for (int64_t i = 0; i < it->q; i++) it->z[i * it->in + i] = 1;
        return;
    }
    for (int64_t i = 0; i < known * it->in; i++) it->z[i] = (double)start->components[i];
    sow_rng_seed(&rng, SOW_RNG_SOW, 0);
    sow_rng_at(&rng, "gram", "");
    sow_rng_normal_f64(&rng, it->z + known * it->in, (it->q - known) * it->in, 0, 1);
}

static sow_status find(const sow_gram *g, int64_t count, double tolerance, const sow_components *start,
                       sow_arena *scratch, iteration *it) {
    it->in = g->features;
    it->q = count + linalg_extra(count);
    if (it->in <= COMPLETE || it->q > it->in) it->q = it->in;
    SOW_TRY(SOW_NEW(scratch, it->z, it->q * it->in));
    SOW_TRY(SOW_NEW(scratch, it->image, it->q * it->in));
    SOW_TRY(SOW_NEW(scratch, it->core, it->q * it->q));
    SOW_TRY(SOW_NEW(scratch, it->turn, it->q * it->q));
    SOW_TRY(SOW_NEW(scratch, it->values, it->q));
    begin(g, it, start);
    return iterate(g, it, count, tolerance, scratch);
}

static sow_status fill(const sow_gram *g, const iteration *it, int64_t count, const sow_components *start,
                       sow_arena *arena, sow_components *out) {
    int64_t in = g->features;
    float *rows;
    double *singular, *mean, *variance, *agreement;
    SOW_TRY(SOW_NEW_RAW(arena, rows, count * in));
    SOW_TRY(SOW_NEW_RAW(arena, singular, count));
    SOW_TRY(SOW_NEW_RAW(arena, mean, in));
    SOW_TRY(SOW_NEW_RAW(arena, variance, in));
    SOW_TRY(SOW_NEW(arena, agreement, count));
    for (int64_t i = 0; i < count * in; i++) rows[i] = (float)it->z[i];
    for (int64_t i = 0; i < count; i++) singular[i] = sqrt(it->values[i] > 0 ? it->values[i] : 0);
    *out = (sow_components){g->rows, in, count, rows, singular, mean, variance, 0, agreement};
    for (int64_t j = 0; j < in; j++) {
        mean[j] = (double)g->shift[j] + g->sum[j] / (double)g->rows;
        variance[j] = scatter_diagonal(g, j) / (double)g->rows;
        out->total += scatter_diagonal(g, j);
    }
    linalg_fix_signs(rows, count, in);
    if (start) linalg_agreement(rows, start->components, count < start->count ? count : start->count, in, agreement);
    return SOW_OK;
}

sow_status sow_gram_components(const sow_gram *g, int64_t count, double tolerance, const sow_components *start,
                               sow_arena *arena, sow_components *out) {
    sow_arena *scratch;
    iteration it;
    if (count > g->features) count = g->features;
    if (count < 1 || g->rows < 1)
        return sow_fail(SOW_E_RANGE, "second moments: %lld components of %lld rows", (long long)count,
                        (long long)g->rows);
    SOW_TRY(sow_arena_new(&scratch));
    linalg_one_thread();
    sow_status status = find(g, count, tolerance, start, scratch, &it);
    if (status == SOW_OK) status = fill(g, &it, count, start, arena, out);
    sow_arena_free(scratch);
    return status;
}

sow_status sow_gram_captured(const sow_gram *g, int64_t count, const sow_components *now, const sow_components *before,
                             sow_arena *scratch, double *share) {
    int64_t in = g->features, n = count < before->count ? count : before->count;
    double *z, *image, inside = 0, all = 0;
    sow_mark mark = sow_arena_mark(scratch);
    SOW_TRY(SOW_NEW_RAW(scratch, z, n * in));
    SOW_TRY(SOW_NEW_RAW(scratch, image, n * in));
    for (int64_t i = 0; i < n * in; i++) z[i] = (double)before->components[i];
    apply(g, n, z, image);
    for (int64_t i = 0; i < n * in; i++) inside += z[i] * image[i];
    for (int64_t i = 0; i < n && i < now->count; i++) all += now->singular[i] * now->singular[i];
    *share = all > 0 ? inside / all : 1;
    sow_arena_release(scratch, mark);
    return SOW_OK;
}
