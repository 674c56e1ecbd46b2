/* One layer of LoRA-FAIR and its baselines, in r-space: Bian et al. 2024, arXiv 2411.14961, section 3. */
#include <math.h>
#include <string.h>

#include "sow/adapters.h"
#include "sow/linalg.h"
#include "sow/text.h"

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

/* A layer at work. Means and deviations stand side by side, a block of r a client, the mean first. */
typedef struct layer {
    const sow_fair_config *config;
    const sow_fair_factors *f;
    sow_arena *arena;
    int64_t r, blocks;              /* blocks = (clients + 1) r */
    double *a;                      /* [blocks, in]: A, a_1, ..., a_K */
    double *b;                      /* [out, blocks]: B, b_1, ..., b_K */
    double *aa, *bb;                /* [blocks, blocks]: a a^T, b^T b */
    double base2, bias2, base_bias; /* ||BA||^2, ||R||^2, <BA, R> where R = dW - BA = sum p_k b_k a_k */
    sow_fair_layer *report;
} layer;

static double scale_of(const sow_fair_factors *f, int64_t k) {
    return f->scale ? f->scale[k] : 1;
}

/* ---- means and deviations ---- */

/* x_1 + sum p_k (x_k - x_1): equal clients give exactly their own value, so that nothing is corrected then. */
static double mean_of(const layer *l, const float *const *x, bool scaled, int64_t at) {
    const sow_fair_factors *f = l->f;
    double first = (double)x[0][at] * (scaled ? scale_of(f, 0) : 1), sum = 0;
    for (int64_t k = 1; k < f->clients; k++)
        sum += f->weight[k] * ((double)x[k][at] * (scaled ? scale_of(f, k) : 1) - first);
    return first + sum;
}

static void centre_a(layer *l) {
    const sow_fair_factors *f = l->f;
    int64_t size = l->r * f->in;
    for (int64_t i = 0; i < size; i++) l->a[i] = mean_of(l, f->a, false, i);
    for (int64_t k = 0; k < f->clients; k++)
        for (int64_t i = 0; i < size; i++) l->a[(k + 1) * size + i] = (double)f->a[k][i] - l->a[i];
}

static void centre_b(layer *l) {
    const sow_fair_factors *f = l->f;
    for (int64_t i = 0; i < f->out; i++) {
        double *row = l->b + i * l->blocks;
        for (int64_t j = 0; j < l->r; j++) row[j] = mean_of(l, f->b, true, i * l->r + j);
        for (int64_t k = 0; k < f->clients; k++)
            for (int64_t j = 0; j < l->r; j++)
                row[(k + 1) * l->r + j] = (double)f->b[k][i * l->r + j] * scale_of(f, k) - row[j];
    }
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
    const sow_fair_factors *f = l->f;
    l->base2 = block_product(l, 0, 0);
    for (int64_t j = 0; j < f->clients; j++) {
        l->base_bias += f->weight[j] * block_product(l, 0, j + 1);
        for (int64_t k = 0; k < f->clients; k++)
            l->bias2 += f->weight[j] * f->weight[k] * block_product(l, j + 1, k + 1);
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
    l->r = f->rank, l->blocks = (f->clients + 1) * f->rank;
    SOW_TRY(SOW_NEW_RAW(l->arena, l->a, l->blocks * f->in));
    SOW_TRY(SOW_NEW_RAW(l->arena, l->b, l->blocks * f->out));
    SOW_TRY(SOW_NEW_RAW(l->arena, l->aa, l->blocks * l->blocks));
    SOW_TRY(SOW_NEW_RAW(l->arena, l->bb, l->blocks * l->blocks));
    centre_a(l);
    centre_b(l);
    sow_gemm_f64(false, true, l->blocks, l->blocks, f->in, 1, l->a, f->in, l->a, f->in, 0, l->aa, l->blocks);
    sow_gemm_f64(true, false, l->blocks, l->blocks, f->out, 1, l->b, l->blocks, l->b, l->blocks, 0, l->bb, l->blocks);
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
    for (int64_t k = 0; k < l->f->clients; k++) /* h: p_k a_k A^T below zeros */
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

/* x: [rows, all] = q t with orthonormal q [rows, side], side = min(rows, all); a wide x is its own t. */
static sow_status orthogonal(sow_arena *arena, double *x, int64_t rows, int64_t all, double **t) {
    *t = x;
    if (rows <= all) return SOW_OK;
    SOW_TRY(SOW_NEW(arena, *t, all * all));
    sow_tensor xt = SOW_TENSOR(x, SOW_F64, rows, all);
    return sow_qr(xt, xt, SOW_TENSOR(*t, SOW_F64, all, all));
}

/* q z into out, for the q that `orthogonal` left in x: z is [side, k]. */
static sow_status from_basis(sow_arena *arena, const double *x, int64_t rows, int64_t all, double *z, int64_t k,
                             double **out) {
    *out = z;
    if (rows <= all) return SOW_OK;
    SOW_TRY(SOW_NEW_RAW(arena, *out, rows * k));
    sow_gemm_f64(false, false, rows, k, all, 1, x, all, z, k, 0, *out, k);
    return SOW_OK;
}

static void stack_for_svd(const layer *l, double *left, double *right) {
    const sow_fair_factors *f = l->f;
    int64_t all = f->clients * f->rank;
    for (int64_t k = 0; k < f->clients; k++)
        for (int64_t j = 0; j < f->rank; j++) {
            int64_t at = k * f->rank + j;
            for (int64_t i = 0; i < f->out; i++)
                left[i * all + at] = f->weight[k] * scale_of(f, k) * (double)f->b[k][i * f->rank + j];
            for (int64_t i = 0; i < f->in; i++) right[i * all + at] = (double)f->a[k][j * f->in + i];
        }
}

/* The last of s, smallest first. */
static void report_svd(const layer *l, const double *s, int64_t side) {
    double kept = 0, lost = 0;
    for (int64_t i = side; i-- > 0;) *(i < l->r ? &kept : &lost) += s[i] * s[i];
    l->report->bias_after = sqrt(lost);
    l->report->cosine_after = kept + lost > 0 ? sqrt(kept / (kept + lost)) : 1;
}

/* dW = left right^T through QR decompositions of both: the small core has its singular values. */
static sow_status decompose(const layer *l, float *a, float *b) {
    const sow_fair_factors *f = l->f;
    int64_t all = f->clients * f->rank, rows = f->out < all ? f->out : all, columns = f->in < all ? f->in : all,
            side = rows < columns ? rows : columns, r = l->r;
    double *left, *right, *tl, *tr, *core, *u, *s, *vt, *zu, *zv, *bu, *av;
    SOW_TRY(SOW_NEW_RAW(l->arena, left, f->out * all));
    SOW_TRY(SOW_NEW_RAW(l->arena, right, f->in * all));
    stack_for_svd(l, left, right);
    SOW_TRY(orthogonal(l->arena, left, f->out, all, &tl));
    SOW_TRY(orthogonal(l->arena, right, f->in, all, &tr));
    SOW_TRY(SOW_NEW_RAW(l->arena, core, rows * columns));
    SOW_TRY(SOW_NEW(l->arena, u, rows * side));
    SOW_TRY(SOW_NEW(l->arena, s, side));
    SOW_TRY(SOW_NEW(l->arena, vt, side * columns));
    sow_gemm_f64(false, true, rows, columns, all, 1, tl, all, tr, all, 0, core, columns);
    SOW_TRY(sow_svd(SOW_TENSOR(core, SOW_F64, rows, columns), SOW_TENSOR(u, SOW_F64, rows, side),
                    SOW_TENSOR(s, SOW_F64, side), SOW_TENSOR(vt, SOW_F64, side, columns)));
    SOW_TRY(SOW_NEW(l->arena, zu, rows * r));
    SOW_TRY(SOW_NEW(l->arena, zv, columns * r));
    for (int64_t j = 0; j < r && j < side; j++) {
        for (int64_t i = 0; i < rows; i++) zu[i * r + j] = u[i * side + j] * sqrt(s[j]);
        for (int64_t i = 0; i < columns; i++) zv[i * r + j] = vt[j * columns + i] * sqrt(s[j]);
    }
    SOW_TRY(from_basis(l->arena, left, f->out, all, zu, r, &bu));
    SOW_TRY(from_basis(l->arena, right, f->in, all, zv, r, &av));
    for (int64_t i = 0; i < f->out * r; i++) b[i] = (float)bu[i];
    for (int64_t j = 0; j < r; j++)
        for (int64_t i = 0; i < f->in; i++) a[j * f->in + i] = (float)av[i * r + j];
    report_svd(l, s, side);
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
