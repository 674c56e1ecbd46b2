/* Incremental principal components: Ross et al. 2008, as in scikit-learn; randomised steps after Halko et al. 2011. */
#include <math.h>
#include <string.h>

#include "linalg/components.h"

struct sow_ipca {
    sow_ipca_config config;
    sow_arena *arena;
    int64_t rows, count, updates;
    float *components, *before;
    double *singular, *mean, *variance, *agreement;
    double total;
};

double sow_explained_ratio(const sow_components *c, int64_t i) {
    return c->total > 0 ? c->singular[i] * c->singular[i] / c->total : 0;
}

/* ---- making ---- */

static sow_status allocate(sow_ipca *p) {
    int64_t n = p->config.components, in = p->config.features;
    SOW_TRY(SOW_NEW(p->arena, p->components, n * in));
    SOW_TRY(SOW_NEW(p->arena, p->singular, n));
    SOW_TRY(SOW_NEW(p->arena, p->agreement, n));
    SOW_TRY(SOW_NEW(p->arena, p->mean, in));
    return SOW_NEW(p->arena, p->variance, in);
}

sow_status sow_ipca_new(const sow_ipca_config *config, sow_ipca **out) {
    sow_arena *arena;
    sow_ipca *p;
    if (config->features < 1 || config->components < 1)
        return sow_fail(SOW_E_RANGE, "principal components: %lld of %lld features", (long long)config->components,
                        (long long)config->features);
    SOW_TRY(SOW_OWN(arena, p));
    p->arena = arena;
    p->config = *config;
    if (p->config.components > p->config.features) p->config.components = p->config.features;
    if (p->config.extra <= 0) p->config.extra = linalg_extra(p->config.components);
    if (p->config.rounds <= 0) p->config.rounds = 5;
    if (p->config.warm_rounds <= 0) p->config.warm_rounds = 2;
    if (!p->config.stream) p->config.stream = "";
    sow_status status = allocate(p);
    if (status == SOW_OK) *out = p;
    else sow_arena_free(arena);
    return status;
}

void sow_ipca_free(sow_ipca *p) {
    if (p) sow_arena_free(p->arena);
}

sow_components sow_ipca_components(const sow_ipca *p) {
    return (sow_components){p->rows, p->config.features, p->count, p->components, p->singular,
                            p->mean, p->variance,        p->total, p->agreement};
}

/* ---- one batch ---- */

/* A batch, and the stack [diag(s) C; X - b; sqrt(N m / (N + m)) (mean - b)]: y is [stacked, features]. */
typedef struct batch {
    const float *x;
    int64_t rows, stacked;
    double *mean, *deviation; /* [features]: of the batch; sums of its squared deviations */
    float *y;
} batch;

static void moments(batch *b, int64_t in) {
    for (int64_t r = 0; r < b->rows; r++)
        for (int64_t j = 0; j < in; j++) b->mean[j] += (double)b->x[r * in + j];
    for (int64_t j = 0; j < in; j++) b->mean[j] /= (double)b->rows;
    for (int64_t r = 0; r < b->rows; r++)
        for (int64_t j = 0; j < in; j++) {
            double d = (double)b->x[r * in + j] - b->mean[j];
            b->deviation[j] += d * d;
        }
}

static void stack(const sow_ipca *p, batch *b) {
    int64_t in = p->config.features;
    float *y = b->y;
    for (int64_t i = 0; i < p->count; i++, y += in)
        for (int64_t j = 0; j < in; j++) y[j] = (float)(p->singular[i] * (double)p->components[i * in + j]);
    for (int64_t r = 0; r < b->rows; r++, y += in)
        for (int64_t j = 0; j < in; j++) y[j] = (float)((double)b->x[r * in + j] - b->mean[j]);
    if (p->count == 0) return;
    double n = (double)p->rows, m = (double)b->rows, weight = sqrt(n * m / (n + m));
    for (int64_t j = 0; j < in; j++) y[j] = (float)(weight * (p->mean[j] - b->mean[j]));
}

static sow_status prepare(const sow_ipca *p, sow_arena *scratch, batch *b) {
    int64_t in = p->config.features;
    b->stacked = b->rows + (p->count > 0 ? p->count + 1 : 0);
    SOW_TRY(SOW_NEW(scratch, b->mean, in));
    SOW_TRY(SOW_NEW(scratch, b->deviation, in));
    SOW_TRY(SOW_NEW_RAW(scratch, b->y, b->stacked * in));
    moments(b, in);
    stack(p, b);
    return sow_require_finite(SOW_TENSOR(b->y, SOW_F32, b->stacked, in), "principal components: a batch");
}

/* ---- the stack's leading right singular vectors ---- */

static sow_status decompose_exactly(const sow_ipca *p, const batch *b, sow_arena *scratch, float *rows,
                                    double *values) {
    int64_t in = p->config.features, n = p->config.components, k = b->stacked < in ? b->stacked : in;
    double *s, *vt;
    SOW_TRY(SOW_NEW_RAW(scratch, s, k));
    SOW_TRY(SOW_NEW_RAW(scratch, vt, k * in));
    SOW_TRY(sow_svd(SOW_TENSOR(b->y, SOW_F32, b->stacked, in), (sow_tensor){0}, SOW_TENSOR(s, SOW_F64, k),
                    SOW_TENSOR(vt, SOW_F64, k, in)));
    memcpy(values, s, (size_t)n * sizeof *values);
    return sow_copy(SOW_TENSOR(rows, SOW_F32, n, in), SOW_TENSOR(vt, SOW_F64, n, in));
}

/* The subspace under iteration: z [q, in] and image = z y^T [q, stacked], both by rows. */
typedef struct subspace {
    int64_t q, in, stacked;
    const float *y;
    float *z, *image;
} subspace;

static void project(const subspace *s) {
    sow_gemm(false, true, s->q, s->stacked, s->in, 1, s->z, s->in, s->y, s->in, 0, s->image, s->stacked);
}
static void give_back(const subspace *s) {
    sow_gemm(false, false, s->q, s->in, s->stacked, 1, s->image, s->stacked, s->y, s->in, 0, s->z, s->in);
}

/* Rows become orthonormal; r, unless its data is NULL, says how they were: rows = r^T orthonormal. */
static sow_status orthonormalise(float *rows, int64_t count, int64_t length, sow_tensor r) {
    sow_tensor columns = sow_transpose(SOW_TENSOR(rows, SOW_F32, count, length));
    return sow_qr(columns, columns, r);
}

static void begin(const sow_ipca *p, const subspace *s) {
    sow_rng rng;
    char stream[64];
    int64_t known = p->count < s->q ? p->count : s->q;
    sow_rng_seed(&rng, SOW_RNG_SOW, p->config.seed);
    snprintf(stream, sizeof stream, "ipca %lld", (long long)p->updates);
    sow_rng_at(&rng, stream, p->config.stream);
    memcpy(s->z, p->components, (size_t)(known * s->in) * sizeof *s->z);
    sow_rng_normal_f32(&rng, s->z + known * s->in, (s->q - known) * s->in, 0, 1);
}

/* z^T = Q R, R^T = U S W^T: the right singular vectors of z are W^T Q^T. */
static sow_status extract(const subspace *s, sow_arena *scratch, int64_t n, float *rows, double *values) {
    double *r, *sigma, *w;
    float *turn;
    int64_t q = s->q;
    SOW_TRY(SOW_NEW(scratch, r, q * q));
    SOW_TRY(SOW_NEW(scratch, sigma, q));
    SOW_TRY(SOW_NEW(scratch, w, q * q));
    SOW_TRY(SOW_NEW(scratch, turn, q * q));
    SOW_TRY(orthonormalise(s->z, q, s->in, SOW_TENSOR(r, SOW_F64, q, q)));
    SOW_TRY(sow_svd(sow_transpose(SOW_TENSOR(r, SOW_F64, q, q)), (sow_tensor){0}, SOW_TENSOR(sigma, SOW_F64, q),
                    SOW_TENSOR(w, SOW_F64, q, q)));
    SOW_TRY(sow_copy(SOW_TENSOR(turn, SOW_F32, q, q), SOW_TENSOR(w, SOW_F64, q, q)));
    sow_gemm(false, false, n, s->in, q, 1, turn, q, s->z, s->in, 0, rows, s->in);
    memcpy(values, sigma, (size_t)n * sizeof *values);
    return SOW_OK;
}

/* Later batches begin at the components so far and need fewer rounds. After the last, z = Q^T Y, where Q spans the image. */
static sow_status decompose_at_random(const sow_ipca *p, const batch *b, sow_arena *scratch, float *rows,
                                      double *values) {
    int64_t in = p->config.features, n = p->config.components, least = b->stacked < in ? b->stacked : in;
    int64_t rounds = p->count > 0 ? p->config.warm_rounds : p->config.rounds;
    subspace s = {.q = n + p->config.extra, .in = in, .stacked = b->stacked, .y = b->y};
    if (s.q > least) s.q = least;
    SOW_TRY(SOW_NEW_RAW(scratch, s.z, s.q * in));
    SOW_TRY(SOW_NEW_RAW(scratch, s.image, s.q * s.stacked));
    begin(p, &s);
    for (int64_t i = 0; i < rounds; i++) {
        project(&s);
        SOW_TRY(orthonormalise(s.image, s.q, s.stacked, (sow_tensor){0}));
        give_back(&s);
        if (i + 1 < rounds) SOW_TRY(orthonormalise(s.z, s.q, in, (sow_tensor){0}));
    }
    return extract(&s, scratch, n, rows, values);
}

/* ---- the update ---- */

static void update_moments(sow_ipca *p, const batch *b) {
    double n = (double)p->rows, m = (double)b->rows, all = n + m;
    p->total = 0;
    for (int64_t j = 0; j < p->config.features; j++) {
        double gap = b->mean[j] - p->mean[j];
        p->variance[j] = (n * p->variance[j] + b->deviation[j] + n * m / all * gap * gap) / all;
        p->mean[j] = (n * p->mean[j] + m * b->mean[j]) / all;
        p->total += p->variance[j] * all;
    }
    p->rows += b->rows;
}

static sow_status update(sow_ipca *p, batch *b, sow_arena *scratch) {
    int64_t in = p->config.features, n = p->config.components;
    float *rows;
    double *values;
    SOW_TRY(prepare(p, scratch, b));
    SOW_TRY(SOW_NEW_RAW(scratch, rows, n * in));
    SOW_TRY(SOW_NEW_RAW(scratch, values, n));
    SOW_TRY((p->config.exact ? decompose_exactly : decompose_at_random)(p, b, scratch, rows, values));
    linalg_fix_signs(rows, n, in);
    linalg_agreement(rows, p->count > 0 ? p->components : NULL, n, in, p->agreement);
    memcpy(p->components, rows, (size_t)(n * in) * sizeof *rows);
    memcpy(p->singular, values, (size_t)n * sizeof *values);
    update_moments(p, b);
    p->count = n;
    p->updates++;
    return SOW_OK;
}

sow_status sow_ipca_add(sow_ipca *p, const float *x, int64_t rows, sow_arena *scratch, bool *taken) {
    bool enough = rows >= p->config.components && rows > 0;
    if (taken) *taken = enough;
    if (!enough) return SOW_OK;
    batch b = {.x = x, .rows = rows};
    sow_mark mark = sow_arena_mark(scratch);
    sow_status status = update(p, &b, scratch);
    sow_arena_release(scratch, mark);
    return status;
}
