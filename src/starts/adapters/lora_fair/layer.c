/* One layer of LoRA-FAIR and its baselines, in r-space: Bian et al. 2024, arXiv 2411.14961, section 3. */
#include <math.h>
#include <string.h>

#include "sow/adapters.h"
#include "sow/linalg.h"
#include "sow/text.h"

enum { PANEL = 64 };
static const char *const kind_names[] = {"fair", "fedit", "ffa", "flora", "flexlora", "fair-ls"};

sow_status sow_fair_kind_parse(const char *name, sow_fair_kind *out) {
    for (int i = 0; i < SOW_FAIR_KINDS; i++)
        if (!strcmp(name, kind_names[i])) {
            *out = (sow_fair_kind)i;
            return SOW_OK;
        }
    const char *near = sow_nearest(name, kind_names, SOW_FAIR_KINDS);
    return sow_fail(SOW_E_ARGUMENT, "no merge '%s'; did you mean %s?", name, near ? near : kind_names[0]);
}

const char *sow_fair_kind_name(sow_fair_kind kind) {
    return kind_names[kind];
}

sow_fair_config sow_fair_defaults(void) {
    return (sow_fair_config){
        .kind = SOW_FAIR, .lambda = 0.01, .squared = true, .steps = 1000, .lr = 0.01, .stop = 1e-9, .mu = 0.01};
}

int64_t sow_fair_rank(const sow_fair_config *config, const sow_fair_factors *factors) {
    return config->kind == SOW_FAIR_FLORA ? factors->clients * factors->rank : factors->rank;
}

/* A layer at work. R = dW - B A = sum p_k b_k A_k with b_k = B_k - B. As sum p_k b_k = 0, the last client need not be looked at:
 * R = sum p_k b_k a_k over the others, with a_k = A_k - A_last. A block of r a client, that of the means first. */
typedef struct layer {
    const sow_fair_config *config;
    const sow_fair_factors *f;
    sow_arena *arena;
    int64_t r, others, blocks;      /* others = clients - 1; blocks = clients r */
    double *a;                      /* [blocks, in]: A, a_1, a_2 ... */
    double *b;                      /* [out, blocks]: B, b_1, b_2 ... */
    double *aa, *bb;                /* [blocks, blocks]: a a^T, b^T b */
    double base2, bias2, base_bias; /* ||BA||^2, ||R||^2, <BA, R> */
    sow_fair_layer *report;
} layer;

static double scale_of(const sow_fair_factors *f, int64_t k) {
    return f->scale ? f->scale[k] : 1;
}

/* ---- means and deviations ---- */

/* mean = x_1 + sum p_k (x_k - x_1): equal clients give exactly their own value, so that nothing is corrected then. */
static void mean_of(const sow_fair_factors *f, const float *const *x, bool scaled, int64_t first, int64_t n,
                    double *mean) {
    double own = scaled ? scale_of(f, 0) : 1;
    memset(mean, 0, (size_t)n * sizeof *mean);
    for (int64_t k = 1; k < f->clients; k++) {
        const float *one = x[0] + first, *other = x[k] + first;
        double scale = scaled ? scale_of(f, k) : 1, weight = f->weight[k];
        for (int64_t i = 0; i < n; i++) mean[i] += weight * ((double)other[i] * scale - (double)one[i] * own);
    }
    for (int64_t i = 0; i < n; i++) mean[i] += (double)x[0][first + i] * own;
}

static void centre_a(layer *l) {
    const sow_fair_factors *f = l->f;
    int64_t size = l->r * f->in;
    const float *last = f->a[l->others];
    mean_of(f, f->a, false, 0, size, l->a);
    for (int64_t k = 0; k < l->others; k++) {
        double *to = l->a + (k + 1) * size;
        for (int64_t i = 0; i < size; i++) to[i] = (double)f->a[k][i] - (double)last[i];
    }
}

static void centre_b(layer *l) {
    const sow_fair_factors *f = l->f;
    for (int64_t i = 0; i < f->out; i++) {
        double *row = l->b + i * l->blocks;
        mean_of(f, f->b, true, i * l->r, l->r, row);
        for (int64_t k = 0; k < l->others; k++) {
            const float *from = f->b[k] + i * l->r;
            double scale = scale_of(f, k), *to = row + (k + 1) * l->r;
            for (int64_t j = 0; j < l->r; j++) to[j] = (double)from[j] * scale - row[j];
        }
    }
}

/* a a^T and b^T b: panels of rows, each from the diagonal on, and their mirror image. */
static void take_grams(layer *l) {
    int64_t n = l->blocks, in = l->f->in, out = l->f->out;
    for (int64_t at = 0; at < n; at += PANEL) {
        int64_t rows = n - at < PANEL ? n - at : PANEL;
        double *a = l->a + at * in, *b = l->b + at;
        sow_gemm_f64(false, true, rows, n - at, in, 1, a, in, a, in, 0, l->aa + at * n + at, n);
        sow_gemm_f64(true, false, rows, n - at, out, 1, b, n, b, n, 0, l->bb + at * n + at, n);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) l->aa[i * n + j] = l->aa[j * n + i], l->bb[i * n + j] = l->bb[j * n + i];
}

/* tr of (b_j^T b_k)(a_k a_j^T), j and k being blocks; 0 is the mean. */
static double block_product(const layer *l, int64_t j, int64_t k) {
    double sum = 0;
    for (int64_t u = 0; u < l->r; u++) {
        int64_t row = (j * l->r + u) * l->blocks + k * l->r;
        for (int64_t v = 0; v < l->r; v++) sum += l->bb[row + v] * l->aa[row + v];
    }
    return sum;
}

static void measure_bias(layer *l) {
    const double *weight = l->f->weight;
    l->base2 = block_product(l, 0, 0);
    for (int64_t j = 0; j < l->others; j++) {
        l->base_bias += weight[j] * block_product(l, 0, j + 1);
        l->bias2 += weight[j] * weight[j] * block_product(l, j + 1, j + 1);
        for (int64_t k = 0; k < j; k++) l->bias2 += 2 * weight[j] * weight[k] * block_product(l, j + 1, k + 1);
    }
}

static double cosine(double product, double square_a, double square_b) {
    if (square_a <= 0 && square_b <= 0) return 1;
    if (square_a <= 0 || square_b <= 0) return 0;
    return fmax(-1, fmin(1, product / sqrt(square_a) / sqrt(square_b)));
}

static double ideal2(const layer *l) {
    return fmax(l->base2 + 2 * l->base_bias + l->bias2, 0);
}

static sow_status open_layer(layer *l) {
    const sow_fair_factors *f = l->f;
    l->r = f->rank, l->others = f->clients - 1, l->blocks = f->clients * f->rank;
    SOW_TRY(SOW_NEW_RAW(l->arena, l->a, l->blocks * f->in));
    SOW_TRY(SOW_NEW_RAW(l->arena, l->b, l->blocks * f->out));
    SOW_TRY(SOW_NEW_RAW(l->arena, l->aa, l->blocks * l->blocks));
    SOW_TRY(SOW_NEW_RAW(l->arena, l->bb, l->blocks * l->blocks));
    centre_a(l);
    centre_b(l);
    take_grams(l);
    measure_bias(l);
    if (!isfinite(l->base2 + l->bias2 + l->base_bias))
        return sow_fail(SOW_E_NUMBER, "a client's factors hold NaN or infinities");
    l->bias2 = fmax(l->bias2, 0);
    sow_fair_layer *report = l->report;
    report->in = f->in, report->out = f->out, report->rank = f->rank;
    report->norm = sqrt(ideal2(l));
    report->bias_before = report->bias_after = sqrt(l->bias2);
    report->cosine_before = report->cosine_after = cosine(l->base2 + l->base_bias, l->base2, ideal2(l));
    report->similarity = report->growth = 1;
    return SOW_OK;
}

/* ---- corrections of B ---- */

/* Column j of dB is x_j b_j + y_j n_j, columns being those of B Q and N Q, with N = (dW - B A) A^T and A A^T = Q diag(g) Q^T: the
 * gradient mixes no columns there. Scalar products of columns are divided by ||BA||^2, so D = dB / ||BA|| has the same x, y. */
typedef struct correction {
    int64_t r;
    double *g, *q;        /* [r], [r, r] */
    double *h;            /* [blocks, r]: N = b h */
    double *bb, *bn, *nn; /* [r]: <b_j, b_j>, <b_j, n_j>, <n_j, n_j> */
    double *x, *y, *try_x, *try_y;
    double ideal; /* ||dW|| / ||BA|| */
} correction;

/* Diagonal of q^T m q for a square block of m. */
static void diagonal(const correction *c, const double *m, int64_t stride, double factor, double *out) {
    for (int64_t j = 0; j < c->r; j++) {
        out[j] = 0;
        for (int64_t u = 0; u < c->r; u++)
            for (int64_t v = 0; v < c->r; v++)
                out[j] += factor * c->q[u * c->r + j] * m[u * stride + v] * c->q[v * c->r + j];
    }
}

static sow_status open_correction(const layer *l, correction *c) {
    int64_t r = c->r = l->r, blocks = l->blocks;
    double *numbers, *bh, *hbh;
    SOW_TRY(SOW_NEW(l->arena, numbers, 8 * r + r * r));
    c->g = numbers, c->bb = c->g + r, c->bn = c->bb + r, c->nn = c->bn + r, c->x = c->nn + r, c->y = c->x + r;
    c->try_x = c->y + r, c->try_y = c->try_x + r, c->q = c->try_y + r;
    SOW_TRY(SOW_NEW(l->arena, c->h, blocks * r));
    SOW_TRY(SOW_NEW_RAW(l->arena, bh, blocks * r));
    SOW_TRY(SOW_NEW_RAW(l->arena, hbh, r * r));
    sow_tensor gram = {.data = l->aa, .dtype = SOW_F64, .rank = 2, .shape = {r, r}, .stride = {blocks, 1}};
    SOW_TRY(sow_eigen_symmetric(gram, SOW_TENSOR(c->g, SOW_F64, r), SOW_TENSOR(c->q, SOW_F64, r, r)));
    for (int64_t k = 0; k < l->others; k++) /* h: p_k a_k A^T below zeros */
        for (int64_t u = 0; u < r; u++)
            for (int64_t v = 0; v < r; v++)
                c->h[((k + 1) * r + u) * r + v] = l->f->weight[k] * l->aa[((k + 1) * r + u) * blocks + v];
    sow_gemm_f64(false, false, blocks, r, blocks, 1, l->bb, blocks, c->h, r, 0, bh, r);
    sow_gemm_f64(true, false, r, r, blocks, 1, c->h, r, bh, r, 0, hbh, r);
    diagonal(c, l->bb, blocks, 1 / l->base2, c->bb);
    diagonal(c, bh, r, 1 / l->base2, c->bn);
    diagonal(c, hbh, r, 1 / l->base2, c->nn);
    c->ideal = sqrt(ideal2(l) / l->base2);
    return SOW_OK;
}

typedef struct point {
    double product, norm2, size2, loss; /* <B'A, dW> and ||B'A||^2, both over ||BA||^2; ||D||^2 */
} point;

static double penalty(const sow_fair_config *config, double size2) {
    return config->lambda * (config->squared ? size2 : sqrt(size2));
}

/* The loss: 1 - cos(B'A, dW) + penalty. M = dW A^T = B A A^T + N. */
static point look(const sow_fair_config *config, const correction *c, const double *x, const double *y) {
    point p = {0};
    for (int64_t j = 0; j < c->r; j++) {
        double g = c->g[j], w = 1 + x[j], bb = c->bb[j], bn = c->bn[j], nn = c->nn[j];
        p.product += g * (w * bb + y[j] * bn) + w * bn + y[j] * nn;
        p.norm2 += g * (w * (w * bb + y[j] * bn) + y[j] * (w * bn + y[j] * nn));
        p.size2 += x[j] * x[j] * bb + 2 * x[j] * y[j] * bn + y[j] * y[j] * nn;
    }
    p.size2 = fmax(p.size2, 0);
    p.loss = 1 - (p.norm2 > 0 ? p.product / (sqrt(p.norm2) * c->ideal) : 0) + penalty(config, p.size2);
    return p;
}

/* One step from x, y at p: d cos / dB' = M / (n w) - cos B' A A^T / n^2. */
static void descend(const sow_fair_config *config, correction *c, const point *p, double rate) {
    double outer = 1 / (sqrt(p->norm2) * c->ideal), inner = p->product / p->norm2, size = sqrt(p->size2),
           pull = config->squared ? 2 * config->lambda
                  : size > 0      ? config->lambda / size
                                  : 0;
    for (int64_t j = 0; j < c->r; j++) {
        double g = c->g[j];
        c->try_x[j] = c->x[j] + rate * (outer * g * (1 - inner * (1 + c->x[j])) - pull * c->x[j]);
        c->try_y[j] = c->y[j] + rate * (outer * (1 - inner * g * c->y[j]) - pull * c->y[j]);
    }
}

/* Plain gradient descent from dB = 0: by scale invariance the path fixes the length of B'. A step that would raise the loss
 * is taken back and the rate halved, so the cosine never falls below that of the means. */
static void solve_fair(const sow_fair_config *config, correction *c, sow_fair_layer *report) {
    double rate = config->lr;
    point at = look(config, c, c->x, c->y);
    while (report->steps < config->steps && at.norm2 > 0 && rate > 1e-12 * config->lr) {
        report->steps++;
        descend(config, c, &at, rate);
        point next = look(config, c, c->try_x, c->try_y);
        double change = at.loss - next.loss;
        if (!(change >= -1e-15)) {
            rate /= 2;
            continue;
        }
        memcpy(c->x, c->try_x, (size_t)c->r * sizeof *c->x);
        memcpy(c->y, c->try_y, (size_t)c->r * sizeof *c->y);
        at = next;
        if (config->stop > 0 && change < config->stop) break;
    }
}

/* dB = N (A A^T + mu I)^-1; where A A^T has no inverse, mu = 0 leaves that direction alone. */
static void solve_least_squares(const sow_fair_config *config, correction *c) {
    for (int64_t j = 0; j < c->r; j++) {
        double divisor = fmax(c->g[j], 0) + config->mu;
        c->y[j] = divisor > 1e-13 * c->g[0] ? 1 / divisor : 0;
    }
}

/* What x, y do to bias, cosine and B. */
static void report_correction(const layer *l, const correction *c) {
    sow_fair_layer *report = l->report;
    point p = look(l->config, c, c->x, c->y);
    double toward = 0, square = 0, b2 = 0, b_db = 0;
    for (int64_t j = 0; j < c->r; j++) {
        double x = c->x[j], y = c->y[j], bb = c->bb[j], bn = c->bn[j], nn = c->nn[j];
        toward += x * bn + y * nn; /* <dB, N> */
        square += c->g[j] * (x * x * bb + 2 * x * y * bn + y * y * nn);
        b2 += bb, b_db += x * bb + y * bn;
    }
    double corrected2 = fmax(b2 + 2 * b_db + p.size2, 0);
    report->bias_after = sqrt(fmax(l->bias2 + l->base2 * (square - 2 * toward), 0));
    report->cosine_after = cosine(p.product, p.norm2, c->ideal * c->ideal);
    report->correction = sqrt(p.size2 * l->base2);
    report->similarity = cosine(b2 + b_db, b2, corrected2);
    report->growth = sqrt(corrected2 / b2);
}

/* B' = b [Q (1 + diag x) Q^T; 0] + b h Q diag(y) Q^T. */
static sow_status apply(const layer *l, const correction *c, float *b) {
    int64_t r = l->r, blocks = l->blocks;
    double *qy, *mix, *out;
    SOW_TRY(SOW_NEW(l->arena, qy, r * r));
    SOW_TRY(SOW_NEW(l->arena, mix, blocks * r));
    SOW_TRY(SOW_NEW_RAW(l->arena, out, l->f->out * r));
    for (int64_t u = 0; u < r; u++)
        for (int64_t v = 0; v < r; v++)
            for (int64_t j = 0; j < r; j++) {
                qy[u * r + v] += c->q[u * r + j] * c->y[j] * c->q[v * r + j];
                mix[u * r + v] += c->q[u * r + j] * c->x[j] * c->q[v * r + j];
            }
    sow_gemm_f64(false, false, blocks, r, r, 1, c->h, r, qy, r, 1, mix, r);
    sow_gemm_f64(false, false, l->f->out, r, blocks, 1, l->b, blocks, mix, r, 0, out, r);
    for (int64_t i = 0; i < l->f->out; i++) /* dB is added last: 0 leaves B's bits alone */
        for (int64_t j = 0; j < r; j++) b[i * r + j] = (float)(l->b[i * blocks + j] + out[i * r + j]);
    return SOW_OK;
}

static sow_status correct(const layer *l, float *b) {
    correction c = {0};
    SOW_TRY(open_correction(l, &c));
    if (l->config->kind == SOW_FAIR) solve_fair(l->config, &c, l->report);
    else solve_least_squares(l->config, &c);
    report_correction(l, &c);
    if (l->report->cosine_after < l->report->cosine_before - 1e-12) {
        memset(c.x, 0, (size_t)c.r * sizeof *c.x);
        memset(c.y, 0, (size_t)c.r * sizeof *c.y);
        report_correction(l, &c);
        l->report->kept = true;
    }
    return apply(l, &c, b);
}

/* ---- the others ---- */

static void write_means(const layer *l, float *a, float *b) {
    for (int64_t i = 0; i < l->r * l->f->in; i++) a[i] = (float)l->a[i];
    for (int64_t i = 0; i < l->f->out; i++)
        for (int64_t j = 0; j < l->r; j++) b[i * l->r + j] = (float)l->b[i * l->blocks + j];
}

static sow_status require_equal_a(const layer *l) {
    const sow_fair_factors *f = l->f;
    for (int64_t k = 1; k < f->clients; k++)
        for (int64_t i = 0; i < f->rank * f->in; i++)
            if (f->a[k][i] != f->a[0][i])
                return sow_fail(SOW_E_UNSUPPORTED,
                                "ffa needs clients that all kept the same A, and theirs differ: take fair, or "
                                "train with A frozen");
    return SOW_OK;
}

static void stack(const layer *l, float *a, float *b) {
    const sow_fair_factors *f = l->f;
    int64_t all = f->clients * f->rank;
    for (int64_t k = 0; k < f->clients; k++) {
        memcpy(a + k * f->rank * f->in, f->a[k], (size_t)(f->rank * f->in) * sizeof *a);
        for (int64_t i = 0; i < f->out; i++)
            for (int64_t j = 0; j < f->rank; j++)
                b[i * all + k * f->rank + j] = (float)(f->weight[k] * scale_of(f, k) *
                                                       (double)f->b[k][i * f->rank + j]);
    }
    l->report->bias_after = 0, l->report->cosine_after = 1;
}

/* Square roots of eigenvalues, falling, and their inverses; what is not above `least` of the first counts as zero. */
static void roots_of(int64_t n, double least, const double *values, double *roots, double *inverses) {
    for (int64_t i = 0; i < n; i++) {
        bool counts = values[i] > 0 && values[i] > least * values[0];
        roots[i] = counts ? sqrt(values[i]) : 0;
        inverses[i] = counts ? 1 / roots[i] : 0;
    }
}

/* dW = b D a, D = diag(1, p_1, p_2 ...) by blocks. With a a^T = Q G Q^T, a = Q G^1/2 W^T for orthonormal W, so the singular
 * values of dW are those of X = b D Q G^1/2, whose Gram matrix is c. dx: [n, n], D Q G^1/2. */
static sow_status core_of(const layer *l, const double *q, const double *roots, double *dx, double *c) {
    int64_t n = l->blocks;
    double *work;
    SOW_TRY(SOW_NEW_RAW(l->arena, work, n * n));
    for (int64_t i = 0; i < n; i++) {
        double d = i < l->r ? 1 : l->f->weight[i / l->r - 1];
        for (int64_t j = 0; j < n; j++) dx[i * n + j] = d * q[i * n + j] * roots[j];
    }
    sow_gemm_f64(false, false, n, n, n, 1, l->bb, n, dx, n, 0, work, n);
    sow_gemm_f64(true, false, n, n, n, 1, dx, n, work, n, 0, c, n);
    return SOW_OK;
}

/* B' = U S^1/2 = b (D Q G^1/2 Z S^-1/2), A' = S^1/2 V^T = (Q G^-1/2 Z S^1/2)^T a, of the leading r columns of Z. */
static sow_status write_leading(const layer *l, const double *dx, const double *qi, const double *z, const double *s,
                                const double *si, float *a, float *b) {
    int64_t n = l->blocks, r = l->r, in = l->f->in, out = l->f->out;
    double *zb, *za, *mix, *numbers;
    SOW_TRY(SOW_NEW(l->arena, zb, n * r));
    SOW_TRY(SOW_NEW(l->arena, za, n * r));
    SOW_TRY(SOW_NEW_RAW(l->arena, mix, n * r));
    SOW_TRY(SOW_NEW_RAW(l->arena, numbers, r * (in > out ? in : out)));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < r; j++) {
            zb[i * r + j] = z[i * n + j] * sqrt(si[j]);
            za[i * r + j] = z[i * n + j] * sqrt(s[j]);
        }
    sow_gemm_f64(false, false, n, r, n, 1, dx, n, zb, r, 0, mix, r);
    sow_gemm_f64(false, false, out, r, n, 1, l->b, n, mix, r, 0, numbers, r);
    for (int64_t i = 0; i < out * r; i++) b[i] = (float)numbers[i];
    sow_gemm_f64(false, false, n, r, n, 1, qi, n, za, r, 0, mix, r);
    sow_gemm_f64(true, false, r, in, n, 1, mix, r, l->a, in, 0, numbers, in);
    for (int64_t i = 0; i < r * in; i++) a[i] = (float)numbers[i];
    return SOW_OK;
}

static void report_singular(const layer *l, const double *squares) {
    double kept = 0, lost = 0;
    for (int64_t i = l->blocks; i-- > 0;) *(i < l->r ? &kept : &lost) += fmax(squares[i], 0);
    l->report->bias_after = sqrt(lost);
    l->report->cosine_after = kept + lost > 0 ? sqrt(kept / (kept + lost)) : 1;
}

/* The leading singular triples of dW from Gram matrices alone. */
static sow_status decompose(const layer *l, float *a, float *b) {
    int64_t n = l->blocks;
    double *q, *g, *roots, *inverses, *dx, *c, *z, *squares, *s, *si;
    SOW_TRY(SOW_NEW(l->arena, g, 6 * n));
    roots = g + n, inverses = roots + n, squares = inverses + n, s = squares + n, si = s + n;
    SOW_TRY(SOW_NEW_RAW(l->arena, q, n * n));
    SOW_TRY(SOW_NEW_RAW(l->arena, dx, n * n));
    SOW_TRY(SOW_NEW_RAW(l->arena, c, n * n));
    SOW_TRY(SOW_NEW_RAW(l->arena, z, n * n));
    SOW_TRY(
        sow_eigen_symmetric(SOW_TENSOR(l->aa, SOW_F64, n, n), SOW_TENSOR(g, SOW_F64, n), SOW_TENSOR(q, SOW_F64, n, n)));
    roots_of(n, 1e-14, g, roots, inverses);
    SOW_TRY(core_of(l, q, roots, dx, c));
    SOW_TRY(sow_eigen_symmetric(SOW_TENSOR(c, SOW_F64, n, n), SOW_TENSOR(squares, SOW_F64, n),
                                SOW_TENSOR(z, SOW_F64, n, n)));
    roots_of(n, 1e-15, squares, s, si);
    for (int64_t i = 0; i < n * n; i++) q[i] *= inverses[i % n];
    SOW_TRY(write_leading(l, dx, q, z, s, si, a, b));
    report_singular(l, squares);
    return SOW_OK;
}

static sow_status merge(const layer *l, float *a, float *b) {
    switch (l->config->kind) {
    case SOW_FAIR_FLORA: stack(l, a, b); return SOW_OK;
    case SOW_FAIR_FLEXLORA: return decompose(l, a, b);
    case SOW_FAIR_FFA: SOW_TRY(require_equal_a(l)); break;
    default: break;
    }
    write_means(l, a, b);
    bool corrects = l->config->kind == SOW_FAIR || l->config->kind == SOW_FAIR_LS;
    /* round 0, or means that cancel: nothing to measure an angle against */
    return corrects && l->base2 > 0 && ideal2(l) > 0 ? correct(l, b) : SOW_OK;
}

sow_status sow_fair_merge_layer(const sow_fair_config *config, const sow_fair_factors *factors, sow_arena *scratch,
                                float *a, float *b, sow_fair_layer *report) {
    sow_mark mark = sow_arena_mark(scratch);
    const char *module = report->module;
    *report = (sow_fair_layer){.module = module};
    layer l = {.config = config, .f = factors, .arena = scratch, .report = report};
    sow_status status = open_layer(&l);
    if (status == SOW_OK) status = merge(&l, a, b);
    sow_arena_release(scratch, mark);
    return status;
}
