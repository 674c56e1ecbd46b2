/* The view that a partition is made in (z-scores, principal axes), and the file that keeps both. */
#include "starts/groups/ppp/model.h"

#include <math.h>
#include <string.h>

#include "sow/linalg.h"

enum { WIDE = 50, AXES = 20, ROWS_AN_AXIS = 30, WIDTH_MAX = 4096 };

/* ---- the view ---- */

/* z-scores where one column's unit drowns the others: it has most of the variance, and ten times the spread of another. */
static bool needs_scaling(const ppp_view *v) {
    double total = 0, most = 0, least = INFINITY;
    for (int64_t j = 0; j < v->inputs; j++) {
        double variance = v->sd[j] * v->sd[j];
        total += variance;
        most = fmax(most, variance);
        if (variance > 0) least = fmin(least, variance);
    }
    return v->inputs > 1 && most > total / 2 && most > 100 * least;
}

/* Axes: all columns while there are rows for six clusters of 5 (axes + 1) rows each, else fewer; 20 of very many. */
static int choose_axes(const ppp_view *v, int64_t rows) {
    int64_t axes = v->inputs > WIDE ? AXES : v->inputs, most = rows / ROWS_AN_AXIS - 1;
    if (most < 2) most = 2;
    if (axes > most) axes = most;
    return axes < v->inputs ? (int)axes : 0;
}

static sow_status find_axes(ppp_view *v, double *covariance, int axes, sow_arena *arena) {
    int64_t d = v->inputs;
    double *values, *vectors, total = 0, kept = 0;
    SOW_TRY(SOW_NEW(arena, values, d));
    SOW_TRY(SOW_NEW(arena, vectors, d * d));
    SOW_TRY(SOW_NEW(arena, v->map, axes * d));
    for (int64_t a = 0; v->zscore && a < d; a++)
        for (int64_t b = 0; b < d; b++) covariance[a * d + b] *= v->scale[a] * v->scale[b];
    SOW_TRY(sow_eigen_symmetric(SOW_TENSOR(covariance, SOW_F64, d, d), SOW_TENSOR(values, SOW_F64, d),
                                sow_transpose(SOW_TENSOR(vectors, SOW_F64, d, d))));
    for (int64_t i = 0; i < d; i++) total += values[i], kept += i < axes ? values[i] : 0;
    for (int64_t i = 0; i < axes; i++)
        for (int64_t j = 0; j < d; j++) v->map[i * d + j] = vectors[i * d + j] * (v->zscore ? v->scale[j] : 1);
    v->pca = axes;
    v->width = axes;
    v->kept = total > 0 ? kept / total : 1;
    return SOW_OK;
}

sow_status ppp_view_make(const sow_rows *values, const char *scale, int pca, sow_arena *arena, ppp_view *v) {
    int64_t d = values->width;
    double *covariance = NULL;
    if (d > WIDTH_MAX) return sow_fail(SOW_E_RANGE, "%lld columns, expected at most %d", (long long)d, WIDTH_MAX);
    if (pca > d) return sow_fail(SOW_E_RANGE, "--pca %d: there are %lld columns", pca, (long long)d);
    *v = (ppp_view){.inputs = d, .width = d, .kept = 1, .why = ""};
    SOW_TRY(SOW_NEW(arena, v->mean, d));
    SOW_TRY(SOW_NEW(arena, v->sd, d));
    SOW_TRY(SOW_NEW(arena, v->shift, d));
    SOW_TRY(SOW_NEW(arena, covariance, d * d));
    SOW_TRY(sow_rows_moments(values, v->mean, covariance));
    for (int64_t j = 0; j < d; j++) {
        v->sd[j] = sqrt(covariance[j * d + j]);
        v->constant += v->sd[j] == 0;
    }
    v->zscore = !strcmp(scale, "zscore") || (!strcmp(scale, "auto") && needs_scaling(v));
    int axes = pca < 0 ? choose_axes(v, values->count) : pca;
    if (!v->zscore && axes == 0) return SOW_OK; /* the values as they are */
    memcpy(v->shift, v->mean, (size_t)d * sizeof *v->shift);
    if (v->zscore) SOW_TRY(SOW_NEW(arena, v->scale, d));
    for (int64_t j = 0; v->zscore && j < d; j++) v->scale[j] = v->sd[j] > 0 ? 1 / v->sd[j] : 0;
    if (!axes) return SOW_OK;
    SOW_TRY(find_axes(v, covariance, axes, arena));
    v->scale = NULL; /* it is in the map */
    return SOW_OK;
}

sow_rows ppp_view_of(const sow_rows *values, const ppp_view *view) {
    sow_rows rows = *values;
    rows.shift = view->shift;
    rows.scale = view->scale;
    rows.map = view->map;
    rows.width = view->width;
    return rows;
}

/* ---- the file ---- */

static const char *const covariance_names[] = {"covariances.full", "covariances.tied", "covariances.diag",
                                               "covariances.spherical"};

static sow_status add(sow_state *state, const char *name, const double *values, int rank, const int64_t *shape) {
    sow_entry *entry;
    SOW_TRY(sow_state_add(state, name, SOW_F64, rank, shape, &entry));
    return sow_copy(entry->value, sow_tensor_of((void *)(uintptr_t)values, SOW_F64, rank, shape));
}

static void covariance_shape(sow_covariance c, int64_t K, int64_t d, int64_t shape[3], int *rank) {
    *rank = c == SOW_COVARIANCE_FULL ? 3 : c == SOW_COVARIANCE_SPHERICAL ? 1 : 2;
    shape[0] = c == SOW_COVARIANCE_TIED ? d : K;
    shape[1] = shape[2] = d;
}

static sow_status fill(sow_state *state, const sow_ppp *m, const ppp_view *v, const double *centroids) {
    int64_t K = m->clusters, shape[3];
    int rank;
    covariance_shape(m->leaves.covariance, K, v->width, shape, &rank);
    SOW_TRY(add(state, "centroids", m->centroids, 2, (int64_t[]){K, v->width}));
    SOW_TRY(add(state, "centroids.input", centroids, 2, (int64_t[]){K, v->inputs}));
    SOW_TRY(add(state, "weights", m->leaves.weights, 1, (int64_t[]){K}));
    SOW_TRY(add(state, "means", m->leaves.means, 2, (int64_t[]){K, v->width}));
    SOW_TRY(add(state, covariance_names[m->leaves.covariance], m->leaves.covariances, rank, shape));
    SOW_TRY(add(state, "view.shift", v->shift, 1, (int64_t[]){v->inputs}));
    if (v->scale) SOW_TRY(add(state, "view.scale", v->scale, 1, (int64_t[]){v->inputs}));
    if (v->map) SOW_TRY(add(state, "view.map", v->map, 2, (int64_t[]){v->width, v->inputs}));
    return SOW_OK;
}

sow_status ppp_model_save(const char *path, const sow_ppp *model, const ppp_view *view, const double *centroids,
                          const char *passport) {
    sow_state *state;
    SOW_TRY(sow_state_new(&state));
    sow_status status = fill(state, model, view, centroids);
    if (status == SOW_OK) status = sow_save_state(path, state, passport);
    sow_state_free(state);
    return status;
}

/* A tensor of that shape (-1: any), copied; SOW_E_FORMAT where it is not so. */
static sow_status take(sow_arena *arena, const sow_safetensors *file, const char *path, const char *name, int rank,
                       const int64_t *shape, sow_tensor *out) {
    sow_tensor t;
    char text[SOW_SHAPE_TEXT];
    if (sow_safetensors_find(file, name, &t) != SOW_OK)
        return sow_fail(SOW_E_FORMAT, "%s: has no tensor %s: not a model of `sow ppp`", path, name);
    bool good = t.rank == rank && t.dtype == SOW_F64;
    for (int i = 0; good && i < rank; i++) good = t.shape[i] > 0 && (shape[i] < 0 || t.shape[i] == shape[i]);
    if (!good)
        return sow_fail(SOW_E_FORMAT, "%s: tensor %s is %s %s, which does not fit the others", path, name,
                        sow_dtype_name(t.dtype), sow_shape_text(t, text));
    SOW_TRY(sow_tensor_new(arena, SOW_F64, t.rank, t.shape, out));
    SOW_TRY(sow_copy(*out, t));
    sow_status status = sow_require_finite(*out, name);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "%s", path);
}

static sow_status load_view(sow_arena *arena, const sow_safetensors *file, const char *path, ppp_view *v) {
    sow_tensor t;
    SOW_TRY(take(arena, file, path, "view.shift", 1, (int64_t[]){-1}, &t));
    v->shift = t.data;
    v->inputs = v->width = t.shape[0];
    if (sow_safetensors_find(file, "view.scale", &t) == SOW_OK) {
        SOW_TRY(take(arena, file, path, "view.scale", 1, (int64_t[]){v->inputs}, &t));
        v->scale = t.data;
    }
    if (sow_safetensors_find(file, "view.map", &t) == SOW_OK) {
        SOW_TRY(take(arena, file, path, "view.map", 2, (int64_t[]){-1, v->inputs}, &t));
        v->map = t.data;
        v->width = t.shape[0];
    }
    return SOW_OK;
}

static sow_status load_mixture(sow_arena *arena, const sow_safetensors *file, const char *path, sow_ppp *m,
                               const ppp_view *v) {
    sow_tensor t;
    int64_t shape[3];
    int rank;
    SOW_TRY(take(arena, file, path, "centroids", 2, (int64_t[]){-1, v->width}, &t));
    m->centroids = t.data;
    m->clusters = (int)t.shape[0];
    m->width = v->width;
    m->leaves = (sow_mixture){.components = m->clusters, .width = v->width};
    SOW_TRY(take(arena, file, path, "weights", 1, (int64_t[]){m->clusters}, &t));
    m->leaves.weights = t.data;
    for (int k = 0; k < m->clusters; k++)
        if (!(m->leaves.weights[k] > 0)) return sow_fail(SOW_E_FORMAT, "%s: weight %d is not positive", path, k);
    SOW_TRY(take(arena, file, path, "means", 2, (int64_t[]){m->clusters, v->width}, &t));
    m->leaves.means = t.data;
    int c = 0;
    while (c < 3 && sow_safetensors_find(file, covariance_names[c], &t) != SOW_OK) c++;
    m->leaves.covariance = (sow_covariance)c;
    covariance_shape(m->leaves.covariance, m->clusters, v->width, shape, &rank);
    SOW_TRY(take(arena, file, path, covariance_names[c], rank, shape, &t));
    m->leaves.covariances = t.data;
    sow_status status = sow_mixture_prepare(&m->leaves, arena);
    return status == SOW_OK ? SOW_OK : sow_fail_in(status, "%s", path);
}

sow_status ppp_model_load(sow_arena *arena, const char *path, sow_ppp *model, ppp_view *view) {
    sow_safetensors *file;
    *model = (sow_ppp){0};
    *view = (ppp_view){.why = ""};
    SOW_TRY(sow_safetensors_open(path, &file));
    sow_status status = load_view(arena, file, path, view);
    if (status == SOW_OK) status = load_mixture(arena, file, path, model, view);
    sow_safetensors_close(file);
    return status;
}
