/* Gaussian mixtures by expectation maximisation: Dempster, Laird and Rubin 1977. */
#include <math.h>
#include <string.h>

#include "learn/learn.h"

/* A round's gain shrinks by a constant factor in the end; times 1 / (1 - factor) it is all that is still to come
 * (Aitken). A factor up to 0.98 is allowed for. */
enum { HOPE = 50 };
static const double log_two_pi = 1.8378770664093454836;

sow_mixture_config sow_mixture_defaults(void) {
    return (sow_mixture_config){
        .covariance = SOW_COVARIANCE_FULL, .rounds = 200, .tolerance = 1e-6, .floor = 1e-6, .sample = 8192};
}

static bool is_full(sow_covariance c) {
    return c == SOW_COVARIANCE_FULL || c == SOW_COVARIANCE_TIED;
}

int64_t sow_mixture_parameters(int components, int64_t width, sow_covariance covariance) {
    int64_t full = width * (width + 1) / 2, means = components * width + components - 1;
    switch (covariance) {
    case SOW_COVARIANCE_FULL: return means + components * full;
    case SOW_COVARIANCE_TIED: return means + full;
    case SOW_COVARIANCE_DIAG: return means + components * width;
    default: return means + components;
    }
}

double sow_bic(double log_likelihood, int64_t parameters, int64_t count) {
    return -2 * log_likelihood + (double)parameters * log((double)count);
}

/* ---- shapes ---- */

/* Numbers of one component's covariance, and of all. */
static int64_t covariance_size(const sow_mixture *m) {
    if (is_full(m->covariance)) return m->width * m->width;
    return m->covariance == SOW_COVARIANCE_DIAG ? m->width : 1;
}

static int64_t covariances(const sow_mixture *m) {
    return m->covariance == SOW_COVARIANCE_TIED ? 1 : m->components;
}

static int64_t covariance_at(const sow_mixture *m, int k) {
    return m->covariance == SOW_COVARIANCE_TIED ? 0 : k * covariance_size(m);
}

static sow_status make(sow_mixture *m, int components, int64_t width, sow_covariance covariance, sow_arena *arena) {
    *m = (sow_mixture){.components = components, .width = width, .covariance = covariance};
    SOW_TRY(SOW_NEW(arena, m->weights, components));
    SOW_TRY(SOW_NEW(arena, m->means, components * width));
    SOW_TRY(SOW_NEW(arena, m->covariances, covariances(m) * covariance_size(m)));
    SOW_TRY(SOW_NEW(arena, m->whiten, covariances(m) * covariance_size(m)));
    return SOW_NEW(arena, m->log_scale, components);
}

static void copy_values(sow_mixture *to, const sow_mixture *from) {
    size_t size = (size_t)(covariances(from) * covariance_size(from)) * sizeof(double);
    memcpy(to->weights, from->weights, (size_t)from->components * sizeof(double));
    memcpy(to->means, from->means, (size_t)(from->components * from->width) * sizeof(double));
    memcpy(to->covariances, from->covariances, size);
    memcpy(to->whiten, from->whiten, size);
    memcpy(to->log_scale, from->log_scale, (size_t)from->components * sizeof(double));
}

/* ---- factors ---- */

/* Inverse of the lower Cholesky factor of a [d, d], and the logarithm of the factor's determinant. */
static bool invert_factor(const double *a, int64_t d, double *inverse, double *log_det, double *factor) {
    *log_det = 0;
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = a[i * d + j] - learn_dot(factor + i * d, factor + j * d, j);
            if (j < i) {
                factor[i * d + j] = sum / factor[j * d + j];
                continue;
            }
            if (!(sum > 0)) return false;
            factor[i * d + i] = sqrt(sum);
            *log_det += log(factor[i * d + i]);
        }
    memset(inverse, 0, (size_t)(d * d) * sizeof *inverse);
    for (int64_t i = 0; i < d; i++) {
        for (int64_t k = 0; k < i; k++) {
            double f = factor[i * d + k];
            for (int64_t j = 0; j <= k; j++) inverse[i * d + j] -= f * inverse[k * d + j];
        }
        inverse[i * d + i] = 1;
        for (int64_t j = 0; j <= i; j++) inverse[i * d + j] /= factor[i * d + i];
    }
    return true;
}

/* Reciprocals of standard deviations, for diagonal and spherical covariances. */
static bool invert_variances(const sow_mixture *m, const double *variance, double *whiten, double *log_det) {
    *log_det = 0;
    for (int64_t j = 0; j < covariance_size(m); j++) {
        if (!(variance[j] > 0)) return false;
        whiten[j] = 1 / sqrt(variance[j]);
        *log_det += log(variance[j]) / 2;
    }
    if (m->covariance == SOW_COVARIANCE_SPHERICAL) *log_det *= (double)m->width;
    return true;
}

static sow_status prepare(sow_mixture *m, double *factor) {
    double log_det = 0;
    for (int k = 0; k < m->components; k++) {
        int64_t at = covariance_at(m, k);
        bool fresh = k == 0 || m->covariance != SOW_COVARIANCE_TIED, good = true;
        if (fresh && is_full(m->covariance))
            good = invert_factor(m->covariances + at, m->width, m->whiten + at, &log_det, factor);
        else if (fresh) good = invert_variances(m, m->covariances + at, m->whiten + at, &log_det);
        if (!good || !isfinite(log_det))
            return sow_fail(SOW_E_NUMBER, "mixture: the covariance of component %d is not positive definite", k);
        m->log_scale[k] = log(m->weights[k]) - (double)m->width * log_two_pi / 2 - log_det;
    }
    return SOW_OK;
}

sow_status sow_mixture_prepare(sow_mixture *m, sow_arena *arena) {
    double *factor;
    SOW_TRY(SOW_NEW(arena, m->whiten, covariances(m) * covariance_size(m)));
    SOW_TRY(SOW_NEW(arena, m->log_scale, m->components));
    SOW_TRY(SOW_NEW(arena, factor, m->width * m->width));
    return prepare(m, factor);
}

/* ---- the expectation of one chunk ---- */

/* Mahalanobis distances of one component; centred: x - mean, by columns, is left for the caller (full only). */
static void distances(const sow_mixture *m, int k, const double *x, int64_t count, double *centred, double *out) {
    const double *mean = m->means + k * m->width, *whiten = m->whiten + covariance_at(m, k);
    if (is_full(m->covariance)) {
        for (int64_t j = 0; j < m->width; j++)
            for (int64_t i = 0; i < count; i++) centred[j * LEARN_STRIDE + i] = x[j * LEARN_STRIDE + i] - mean[j];
        learn_pad(centred, m->width, count);
        learn_whitened_squares(centred, m->width, count, whiten, out);
    } else if (m->covariance == SOW_COVARIANCE_DIAG) {
        learn_weighted_squares(x, m->width, count, mean, whiten, out);
    } else {
        learn_squares(x, m->width, count, mean, out);
        for (int64_t i = 0; i < count; i++) out[i] *= whiten[0] * whiten[0];
    }
}

/* r [components, LEARN_STRIDE]: responsibilities; log_density [count] by log-sum-exp. */
static void expect(const sow_mixture *m, const double *x, int64_t count, double *centred, double *r,
                   double *log_density) {
    double *most = log_density;
    for (int k = 0; k < m->components; k++) {
        double *log_r = r + k * LEARN_STRIDE;
        distances(m, k, x, count, centred, log_r);
        for (int64_t i = 0; i < count; i++) log_r[i] = m->log_scale[k] - log_r[i] / 2;
        for (int64_t i = 0; i < count; i++) most[i] = k == 0 || log_r[i] > most[i] ? log_r[i] : most[i];
    }
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int k = 0; k < m->components; k++) {
            double gap = r[k * LEARN_STRIDE + i] - most[i];
            sum += r[k * LEARN_STRIDE + i] = gap < -700 ? 0 : gap == 0 ? 1 : exp(gap);
        }
        for (int k = 0; k < m->components; k++) r[k * LEARN_STRIDE + i] /= sum;
        most[i] += log(sum);
    }
}

/* ---- a round: expectation and the sums of the maximisation in one read ---- */

typedef struct em_round {
    const sow_mixture *mixture; /* NULL: responsibilities come from labels */
    const int32_t *labels;
    int components;
    int64_t width;
    sow_covariance covariance;
    const double *origin; /* [width] second moments are taken around it, to keep their digits */
    bool last;            /* no maximisation follows: the likelihood is enough */
    int32_t *component;   /* [count] the likeliest one of each row, and its responsibility; or NULL */
    double *responsibility;
} em_round;

/* sums: [components] weights, [components, width] first moments, second moments in the shape of the covariance (tied:
 * the total), the log likelihood. */
static int64_t second_size(const em_round *p) {
    if (p->covariance == SOW_COVARIANCE_FULL) return p->components * p->width * p->width;
    if (p->covariance == SOW_COVARIANCE_TIED) return p->width * p->width;
    return p->components * p->width;
}

static int64_t sums_size(const em_round *p) {
    return p->components * (1 + p->width) + second_size(p) + 1;
}

static void add_component(const em_round *p, int k, int64_t count, const double *centred, const double *r, double *sums,
                          double *weighted) {
    int64_t d = p->width, K = p->components;
    double *first = sums + K + k * d, *second = sums + K * (1 + d);
    sums[k] += learn_sum(r, count);
    for (int64_t j = 0; j < d; j++) {
        const double *c = centred + j * LEARN_STRIDE;
        double *w = weighted + j * LEARN_STRIDE;
        for (int64_t i = 0; i < count; i++) w[i] = c[i] * r[i];
        first[j] += learn_sum(w, count);
        if (!is_full(p->covariance)) second[k * d + j] += learn_dot(c, w, count);
    }
    if (p->covariance != SOW_COVARIANCE_FULL) return;
    learn_pad(weighted, d, count);
    learn_products(weighted, centred, d, count, second + k * d * d);
}

/* A partition's responsibilities are 0 and 1: each row is added to its component alone. */
static void add_partition(const em_round *p, int64_t first, int64_t count, const double *x, double *sums, double *own) {
    int64_t d = p->width, K = p->components, place[SOW_CHUNK];
    double *second = sums + K * (1 + d);
    for (int k = 0; k < K; k++) {
        int64_t size = 0;
        for (int64_t i = 0; i < count; i++)
            if (p->labels[first + i] == k) place[size++] = i;
        if (size == 0) continue;
        sums[k] += (double)size;
        for (int64_t j = 0; j < d; j++) {
            double *column = own + j * LEARN_STRIDE;
            for (int64_t i = 0; i < size; i++) column[i] = x[j * LEARN_STRIDE + place[i]] - p->origin[j];
            sums[K + k * d + j] += learn_sum(column, size);
            if (!is_full(p->covariance)) second[k * d + j] += learn_dot(column, column, size);
        }
        if (!is_full(p->covariance)) continue;
        learn_pad(own, d, size);
        learn_products(own, own, d, size, p->covariance == SOW_COVARIANCE_FULL ? second + k * d * d : second);
    }
}

/* The likeliest components of a chunk's rows; r [components, LEARN_STRIDE]. */
static void note_likeliest(const double *r, int components, int64_t count, int32_t *component, double *responsibility) {
    for (int64_t i = 0; i < count; i++) {
        int best = 0;
        for (int k = 1; k < components; k++)
            if (r[k * LEARN_STRIDE + i] > r[best * LEARN_STRIDE + i]) best = k;
        if (component) component[i] = best;
        if (responsibility) responsibility[i] = r[best * LEARN_STRIDE + i];
    }
}

static void round_chunk(void *context, int64_t first, int64_t count, const double *x, double *sums, double *scratch) {
    const em_round *p = context;
    int64_t d = p->width, columns = d * LEARN_STRIDE;
    double *centred = scratch, *weighted = scratch + columns, *r = weighted + columns,
           *density = r + p->components * LEARN_STRIDE;
    if (!p->mixture) {
        add_partition(p, first, count, x, sums, centred);
        return;
    }
    expect(p->mixture, x, count, weighted, r, density);
    sums[sums_size(p) - 1] += learn_sum(density, count);
    if (p->component || p->responsibility)
        note_likeliest(r, p->components, count, p->component ? p->component + first : NULL,
                       p->responsibility ? p->responsibility + first : NULL);
    if (p->last) return;
    for (int64_t j = 0; j < d; j++)
        for (int64_t i = 0; i < count; i++) centred[j * LEARN_STRIDE + i] = x[j * LEARN_STRIDE + i] - p->origin[j];
    learn_pad(centred, d, count);
    for (int k = 0; k < p->components; k++) add_component(p, k, count, centred, r + k * LEARN_STRIDE, sums, weighted);
    if (p->covariance == SOW_COVARIANCE_TIED)
        learn_products(centred, centred, d, count, sums + p->components * (1 + d));
}

static sow_status run_round(const sow_rows *rows, em_round *p, double *sums) {
    sow_block_work work = {round_chunk,
                           p,
                           sums_size(p),
                           (2 * p->width + p->components + 1) * LEARN_STRIDE,
                           {{p->component, sizeof *p->component}, {p->responsibility, sizeof *p->responsibility}}};
    return sow_blocks(rows, &work, sums);
}

/* ---- maximisation ---- */

typedef struct fitting {
    const sow_rows *rows;
    sow_mixture *m;
    const sow_mixture_config *config;
    double *origin, *sums, *factor;
    double floor; /* added to each variance */
} fitting;

static void finish_full(double *covariance, int64_t d, double floor) {
    for (int64_t a = 0; a < d; a++) {
        for (int64_t b = 0; b < a; b++) covariance[b * d + a] = covariance[a * d + b];
        covariance[a * d + a] += floor;
    }
}

/* Weights, means and covariances from the sums; SOW_E_RANGE where a component has no rows. */
static sow_status maximise(const fitting *f) {
    sow_mixture *m = f->m;
    int64_t d = m->width, K = m->components;
    double n = (double)f->rows->count;
    const double *second = f->sums + K * (1 + d);
    if (m->covariance == SOW_COVARIANCE_TIED)
        for (int64_t i = 0; i < d * d; i++) m->covariances[i] = second[i] / n;
    for (int k = 0; k < K; k++) {
        double weight = f->sums[k], *mean = m->means + k * d, *c = m->covariances + covariance_at(m, k), sum = 0;
        if (!(weight > 1e-10 * n)) return sow_fail(SOW_E_RANGE, "mixture: component %d of %d has no rows", k, (int)K);
        for (int64_t j = 0; j < d; j++) mean[j] = f->sums[K + k * d + j] / weight; /* from the origin, for now */
        m->weights[k] = weight / n;
        for (int64_t a = 0; a < d; a++) {
            if (m->covariance == SOW_COVARIANCE_DIAG)
                c[a] = fmax(second[k * d + a] / weight - mean[a] * mean[a], 0) + f->floor;
            else if (m->covariance == SOW_COVARIANCE_SPHERICAL) sum += second[k * d + a] / weight - mean[a] * mean[a];
            for (int64_t b = 0; is_full(m->covariance) && b <= a; b++) {
                if (m->covariance == SOW_COVARIANCE_FULL)
                    c[a * d + b] = second[k * d * d + a * d + b] / weight - mean[a] * mean[b];
                else c[a * d + b] -= m->weights[k] * mean[a] * mean[b];
            }
        }
        if (m->covariance == SOW_COVARIANCE_SPHERICAL) c[0] = fmax(sum / (double)d, 0) + f->floor;
        if (m->covariance == SOW_COVARIANCE_FULL) finish_full(c, d, f->floor);
        for (int64_t j = 0; j < d; j++) mean[j] += f->origin[j];
    }
    if (m->covariance == SOW_COVARIANCE_TIED) finish_full(m->covariances, d, f->floor);
    return prepare(m, f->factor);
}

/* ---- the fit ---- */

static sow_status run_rounds(fitting *f, const int32_t *labels, bool all_rows) {
    sow_mixture *m = f->m;
    em_round p = {.mixture = labels ? NULL : m,
                  .labels = labels,
                  .components = m->components,
                  .width = m->width,
                  .covariance = m->covariance,
                  .origin = f->origin,
                  .component = all_rows ? f->config->component : NULL,
                  .responsibility = all_rows ? f->config->responsibility : NULL};
    double n = (double)f->rows->count, limit = f->config->tolerance * n * (double)m->width, before = -INFINITY;
    double target = f->config->target < 0 || f->config->target > 0 ? f->config->target * n : -INFINITY;
    if (labels) {
        SOW_TRY(run_round(f->rows, &p, f->sums));
        SOW_TRY(maximise(f));
        p.mixture = m;
    }
    m->settled = false;
    for (m->rounds = 0; m->rounds < f->config->rounds && !m->settled; m->rounds++) {
        p.last = m->rounds + 1 == f->config->rounds;
        SOW_TRY(run_round(f->rows, &p, f->sums));
        m->log_likelihood = f->sums[sums_size(&p) - 1];
        if (!isfinite(m->log_likelihood)) return sow_fail(SOW_E_NUMBER, "mixture: the likelihood is not finite");
        if (all_rows && f->config->trace) f->config->trace[m->rounds] = m->log_likelihood;
        m->settled = m->log_likelihood - before < limit;
        m->hopeless = m->rounds >= 4 && m->log_likelihood + HOPE * (m->log_likelihood - before) < target;
        if (m->hopeless) return SOW_OK;
        before = m->log_likelihood;
        /* the last mixture stays: the likelihood is its own */
        if (!m->settled && !p.last) SOW_TRY(maximise(f));
    }
    return SOW_OK;
}

static sow_status check_spread(double variance) {
    if (variance > 0 && isfinite(variance)) return SOW_OK;
    return sow_fail(SOW_E_NUMBER, variance > 0 ? "mixture: the rows' values are too large"
                                               : "mixture: all rows are equal: they have no spread to describe");
}

/* Mean of all rows, and what the floor adds: a part of the mean variance. */
static sow_status find_origin(fitting *f, sow_arena *scratch) {
    int64_t d = f->m->width;
    double *variances, variance = 0;
    SOW_TRY(SOW_NEW(scratch, variances, d));
    SOW_TRY(sow_rows_variances(f->rows, f->origin, variances));
    for (int64_t j = 0; j < d; j++) variance += variances[j] / (double)d;
    SOW_TRY(check_spread(variance));
    f->floor = f->config->floor * variance;
    return SOW_OK;
}

/* One expectation of all rows. */
static sow_status assign_all(fitting *f) {
    const sow_mixture *m = f->m;
    em_round p = {.mixture = m,
                  .components = m->components,
                  .width = m->width,
                  .covariance = m->covariance,
                  .last = true,
                  .component = f->config->component,
                  .responsibility = f->config->responsibility};
    SOW_TRY(run_round(f->rows, &p, f->sums));
    f->m->log_likelihood = f->sums[sums_size(&p) - 1];
    return SOW_OK;
}

/* One Gaussian needs no rounds: its likelihood follows from the moments S of the rows, whose covariance C is S plus the
 * floor: -n/2 (d log 2 pi + log det C + tr(C^-1 S)). */
static sow_status fit_one(fitting *f) {
    sow_mixture *m = f->m;
    int64_t d = m->width, n = f->rows->count;
    bool full = is_full(m->covariance), spherical = m->covariance == SOW_COVARIANCE_SPHERICAL;
    double *c = m->covariances, *second = spherical ? f->sums : c, variance = 0, trace = 0; /* of C^-1 S */
    SOW_TRY(full ? sow_rows_moments(f->rows, m->means, second) : sow_rows_variances(f->rows, m->means, second));
    for (int64_t j = 0; j < d; j++) variance += second[full ? j * d + j : j] / (double)d;
    SOW_TRY(check_spread(variance));
    f->floor = f->config->floor * variance;
    if (spherical) c[0] = variance + f->floor;
    for (int64_t j = 0; !spherical && j < d; j++) c[full ? j * d + j : j] += f->floor;
    m->weights[0] = 1;
    SOW_TRY(prepare(m, f->factor));
    if (full) {
        trace = (double)d;
        for (int64_t i = 0; i < d * d; i++) trace -= f->floor * m->whiten[i] * m->whiten[i];
    } else {
        for (int64_t j = 0; j < d; j++) trace += spherical ? variance / c[0] : 1 - f->floor / c[j];
    }
    m->log_likelihood = (double)n * (m->log_scale[0] - trace / 2);
    m->rounds = 1;
    m->settled = true;
    if (f->config->trace) f->config->trace[0] = m->log_likelihood;
    for (int64_t i = 0; f->config->component && i < n; i++) f->config->component[i] = 0;
    for (int64_t i = 0; f->config->responsibility && i < n; i++) f->config->responsibility[i] = 1;
    return SOW_OK;
}

static sow_status fit(fitting *f, const int32_t *labels, sow_arena *scratch) {
    const sow_mixture_config *c = f->config;
    const sow_rows *all = f->rows;
    sow_rows sample = *all;
    em_round p = {.components = f->m->components, .width = f->m->width, .covariance = f->m->covariance};
    SOW_TRY(SOW_NEW(scratch, f->origin, f->m->width));
    SOW_TRY(SOW_NEW(scratch, f->sums, sums_size(&p)));
    SOW_TRY(SOW_NEW(scratch, f->factor, f->m->width * f->m->width));
    if (f->m->components == 1) return fit_one(f);
    if (c->sample > 0) {
        int64_t *numbers;
        int32_t *chosen;
        SOW_TRY(sow_rows_sample(all, c->sample, scratch, &sample, &numbers));
        SOW_TRY(SOW_NEW(scratch, chosen, sample.count));
        for (int64_t i = 0; labels && i < sample.count; i++) chosen[i] = labels[numbers[i]];
        if (labels) labels = chosen;
    }
    bool sampled = sample.count < all->count;
    f->rows = &sample;
    SOW_TRY(find_origin(f, scratch));
    if (c->initial) {
        copy_values(f->m, c->initial);
        labels = NULL;
    }
    if (!(sampled && c->initial)) SOW_TRY(run_rounds(f, labels, !sampled));
    if (!sampled) return SOW_OK;
    f->rows = all;
    if (!f->m->hopeless) return run_rounds(f, NULL, true);
    return c->component || c->responsibility ? assign_all(f) : SOW_OK;
}

sow_status sow_mixture_fit(const sow_rows *rows, int components, const int32_t *labels,
                           const sow_mixture_config *config, sow_arena *arena, sow_mixture *out) {
    sow_arena *scratch;
    fitting f = {.rows = rows, .m = out, .config = config};
    if (components < 1 || rows->count < components)
        return sow_fail(SOW_E_RANGE, "mixture: %lld rows for %d components", (long long)rows->count, components);
    SOW_TRY(make(out, components, rows->width, config->covariance, arena));
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = fit(&f, labels, scratch);
    sow_arena_free(scratch);
    return status;
}

/* ---- assignment ---- */

typedef struct membership {
    const sow_mixture *mixture;
    sow_membership out;
} membership;

static void assign_chunk(void *context, int64_t first, int64_t count, const double *x, double *sums, double *scratch) {
    const membership *a = context;
    const sow_mixture *m = a->mixture;
    double *centred = scratch, *r = scratch + m->width * LEARN_STRIDE, *density = r + m->components * LEARN_STRIDE;
    expect(m, x, count, centred, r, density);
    sums[0] += learn_sum(density, count);
    note_likeliest(r, m->components, count, a->out.component ? a->out.component + first : NULL,
                   a->out.responsibility ? a->out.responsibility + first : NULL);
    for (int64_t i = 0; i < count; i++) {
        if (a->out.log_density) a->out.log_density[first + i] = density[i];
        for (int k = 0; a->out.all && k < m->components; k++)
            a->out.all[(first + i) * m->components + k] = r[k * LEARN_STRIDE + i];
    }
}

sow_status sow_mixture_assign(const sow_mixture *mixture, const sow_rows *rows, sow_membership out, double *sum) {
    membership a = {mixture, out};
    double total;
    if (rows->width != mixture->width)
        return sow_fail(SOW_E_SHAPE, "mixture: rows have %lld columns, the mixture %lld", (long long)rows->width,
                        (long long)mixture->width);
    sow_block_work work = {assign_chunk,
                           &a,
                           1,
                           (mixture->width + mixture->components + 1) * (int64_t)LEARN_STRIDE,
                           {{out.component, sizeof *out.component},
                            {out.responsibility, sizeof *out.responsibility},
                            {out.log_density, sizeof *out.log_density},
                            {out.all, mixture->components * (int64_t)sizeof *out.all}}};
    SOW_TRY(sow_blocks(rows, &work, &total));
    if (sum) *sum = total;
    return SOW_OK;
}
