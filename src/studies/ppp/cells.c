/* Planted and real tables, and the arms of ppp's study. */
#include "studies/ppp/cells.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sow/data.h"
#include "sow/file.h"
#include "sow/linalg.h"
#include "sow/random.h"
#include "sow/table.h"

/* ---- planted Gaussians ---- */

/* Centres uniform in a box, none nearer than the separation to another; begun anew when the box is full. */
static void place_centres(const ppp_planting *p, sow_rng *rng, double *centres) {
    double side = p->separation * (pow(p->clusters, 1.0 / (double)p->width) + 1);
    for (int k = 0, tries = 0; k < p->clusters;) {
        double *c = centres + k * p->width;
        bool free = true;
        sow_rng_uniform_f64(rng, c, p->width, 0, side);
        for (int o = 0; o < k; o++) {
            double gap = 0;
            for (int64_t j = 0; j < p->width; j++) gap += pow(c[j] - centres[o * p->width + j], 2);
            free = free && gap >= p->separation * p->separation;
        }
        if (free) k++;
        else if (++tries % 10000 == 0) k = 0;
    }
}

static int cluster_of(const ppp_planting *p, int64_t row) {
    if (!p->unequal) return (int)(row % p->clusters);
    int64_t all = p->clusters * (p->clusters + 1) / 2, at = row % all;
    int k = 0;
    while (at > k) at -= ++k;
    return k;
}

sow_status ppp_plant(const ppp_planting *p, uint64_t seed, sow_arena *arena, ppp_set *out) {
    int64_t width = p->width + p->noise;
    double *x, *centres;
    sow_rng rng;
    SOW_TRY(SOW_NEW_RAW(arena, x, p->rows * width));
    SOW_TRY(SOW_NEW(arena, centres, p->clusters * p->width));
    SOW_TRY(SOW_NEW(arena, out->truth, p->rows));
    SOW_TRY(sow_rng_seed(&rng, SOW_RNG_SOW, seed));
    sow_rng_at(&rng, "ppp study", "centres");
    place_centres(p, &rng, centres);
    sow_rng_at(&rng, "ppp study", "rows");
    sow_rng_normal_f64(&rng, x, p->rows * width, 0, 1);
    for (int64_t i = 0; i < p->rows; i++) {
        int k = cluster_of(p, i);
        double sd = p->unequal && p->clusters > 1 ? 0.5 + (double)k / (p->clusters - 1) : 1, chi[3];
        if (p->heavy) { /* t with 3 degrees of freedom, scaled to variance 1 */
            sow_rng_normal_f64(&rng, chi, 3, 0, 1);
            sd /= sqrt(chi[0] * chi[0] + chi[1] * chi[1] + chi[2] * chi[2]);
        }
        out->truth[i] = k;
        for (int64_t j = 0; j < width; j++)
            x[i * width + j] = sd * x[i * width + j] + (j < p->width ? centres[k * p->width + j] : 0);
    }
    out->clusters = p->clusters;
    return sow_rows_of(SOW_TENSOR(x, SOW_F64, p->rows, width), &out->rows);
}

/* ---- real tables ---- */

typedef struct real_table {
    const char *name, *file;
    int classes, axes;
    bool heading, zscore; /* heading: the first line holds sizes and class names, of another length */
} real_table;
static const real_table tables[] = {{"iris", "iris.csv", 3, 0, true, false},
                                    {"wine", "wine_data.csv", 3, 0, true, true},
                                    {"digits", "digits.csv.gz", 10, 10, false, false}};

static sow_status read_table(const real_table *t, const char *path, sow_arena *arena, sow_table *out) {
    char *text;
    size_t size;
    if (!t->heading) return sow_table_read(arena, path, out);
    SOW_TRY(sow_read_file(arena, path, (size_t)1 << 24, &text, &size));
    const char *newline = memchr(text, '\n', size);
    if (!newline) return sow_fail(SOW_E_FORMAT, "%s: has one line only", path);
    return sow_table_parse(arena, path, newline + 1, size - (size_t)(newline + 1 - text), out);
}

/* z-scores or principal axes, of the card. */
static sow_status turn(const real_table *t, sow_rows *rows, sow_arena *arena) {
    int64_t d = rows->width;
    double *mean, *covariance, *values, *axes, *scale;
    if (!t->zscore && !t->axes) return SOW_OK;
    SOW_TRY(SOW_NEW(arena, mean, d));
    SOW_TRY(SOW_NEW(arena, covariance, d * d));
    SOW_TRY(SOW_NEW(arena, values, d));
    SOW_TRY(SOW_NEW(arena, axes, d * d));
    SOW_TRY(SOW_NEW(arena, scale, d));
    SOW_TRY(sow_rows_moments(rows, mean, covariance));
    rows->shift = mean;
    for (int64_t j = 0; j < d; j++) scale[j] = covariance[j * d + j] > 0 ? 1 / sqrt(covariance[j * d + j]) : 0;
    if (t->zscore) rows->scale = scale;
    if (!t->axes) return SOW_OK;
    SOW_TRY(sow_eigen_symmetric(SOW_TENSOR(covariance, SOW_F64, d, d), SOW_TENSOR(values, SOW_F64, d),
                                sow_transpose(SOW_TENSOR(axes, SOW_F64, d, d))));
    rows->map = axes;
    rows->width = t->axes;
    return SOW_OK;
}

static sow_status find_table(const char *folder, const real_table *t, sow_arena *arena, const char **path) {
    char *usual = NULL;
    if (!folder) SOW_TRY(sow_data_locate(arena, t->name, &usual));
    *path = sow_path_join(arena, folder ? folder : usual, t->file);
    if (!*path) return SOW_E_MEMORY;
    if (sow_path_exists(*path)) return SOW_OK;
    return sow_fail(SOW_E_NOT_FOUND, "%s is not there: --data is a folder with %s", *path, t->file);
}

sow_status ppp_real_set(const char *folder, const char *name, sow_arena *arena, ppp_set *out) {
    const real_table *t = tables;
    const char *path;
    sow_table table;
    double *x;
    while (strcmp(t->name, name) != 0) t++; /* the study knows no others */
    SOW_TRY(find_table(folder, t, arena, &path));
    SOW_TRY(read_table(t, path, arena, &table));
    int64_t d = table.columns - 1;
    if (d < 1) return sow_fail(SOW_E_FORMAT, "%s: one column only", path);
    SOW_TRY(SOW_NEW_RAW(arena, x, table.rows * d));
    SOW_TRY(SOW_NEW(arena, out->truth, table.rows));
    for (int64_t i = 0; i < table.rows; i++) {
        double label;
        for (int64_t j = 0; j < d; j++) SOW_TRY(sow_table_number(&table, i, j, &x[i * d + j]));
        SOW_TRY(sow_table_number(&table, i, d, &label));
        out->truth[i] = (int32_t)label;
    }
    out->clusters = t->classes;
    SOW_TRY(sow_rows_of(SOW_TENSOR(x, SOW_F64, table.rows, d), &out->rows));
    return turn(t, &out->rows, arena);
}

/* ---- arms ---- */

const char *ppp_arm_name(ppp_arm arm) {
    static const char *const names[] = {"ppp",
                                        "ppp, random starts",
                                        "ppp, without randomness",
                                        "ppp, splits in two only",
                                        "k-means, one start",
                                        "k-means, best of ten",
                                        "mixture, one start",
                                        "mixture, number by BIC",
                                        "splits by normality alone",
                                        "splits by spherical BIC alone"};
    return names[arm];
}

static sow_ppp_config ppp_config(ppp_arm arm, uint64_t seed) {
    sow_ppp_config c = sow_ppp_defaults();
    c.seed = seed;
    if (arm == PPP_ARM_RANDOM) c.start = SOW_KMEANS_RANDOM;
    if (arm == PPP_ARM_PCA) c.start = SOW_KMEANS_PCA;
    if (arm == PPP_ARM_BINARY) c.flat = 0;
    if (arm == PPP_ARM_NORMALITY || arm == PPP_ARM_SPHERICAL) {
        c.flat = 0;
        c.agreement = 0;
        c.confidence = 0;
        c.test = arm == PPP_ARM_NORMALITY ? SOW_PPP_ANDERSON : SOW_PPP_BIC;
        if (arm == PPP_ARM_SPHERICAL) c.covariance = SOW_COVARIANCE_SPHERICAL;
    }
    return c;
}

static sow_status run_kmeans(const ppp_set *set, uint64_t seed, int clusters, int starts, sow_arena *arena,
                             int32_t *labels) {
    sow_kmeans_config c = sow_kmeans_defaults();
    sow_kmeans found;
    c.clusters = clusters;
    c.restarts = starts;
    c.start = starts == 1 ? SOW_KMEANS_RANDOM : SOW_KMEANS_PLUSPLUS;
    c.sample = 0;
    c.seed = seed;
    return sow_kmeans_fit(&set->rows, &c, arena, &found, labels);
}

/* A mixture that begins with k-means; a component that dies or shrinks to a point gives no mixture (BIC infinite). */
static sow_status run_mixture(const ppp_set *set, uint64_t seed, int clusters, int starts, sow_arena *arena,
                              int32_t *labels, double *bic) {
    sow_mixture_config c = sow_mixture_defaults();
    sow_mixture found;
    int64_t n = set->rows.count;
    SOW_TRY(run_kmeans(set, seed, clusters, starts, arena, labels));
    sow_status status = sow_mixture_fit(&set->rows, clusters, labels, &c, arena, &found);
    *bic = INFINITY;
    if (status == SOW_E_RANGE || status == SOW_E_NUMBER) return SOW_OK;
    SOW_TRY(status);
    SOW_TRY(sow_mixture_assign(&found, &set->rows, (sow_membership){.component = labels}, NULL));
    *bic = sow_bic(found.log_likelihood, sow_mixture_parameters(clusters, set->rows.width, SOW_COVARIANCE_FULL), n);
    return SOW_OK;
}

static sow_status scan_mixtures(const ppp_set *set, uint64_t seed, sow_arena *arena, int32_t *labels, int *clusters) {
    double least = INFINITY, bic;
    int32_t *now;
    SOW_TRY(SOW_NEW(arena, now, set->rows.count));
    for (int k = 1; k <= 14; k++) {
        SOW_TRY(run_mixture(set, seed, k, 1, arena, now, &bic));
        if (bic >= least) continue;
        least = bic;
        *clusters = k;
        memcpy(labels, now, (size_t)set->rows.count * sizeof *labels);
    }
    return SOW_OK;
}

static sow_status run_ppp(ppp_arm arm, const ppp_set *set, uint64_t seed, sow_arena *arena, int32_t *labels,
                          int32_t *core, int *clusters) {
    sow_ppp_config c = ppp_config(arm, seed);
    sow_ppp found;
    SOW_TRY(sow_ppp_fit(&set->rows, &c, arena, &found));
    *clusters = found.clusters;
    memcpy(labels, found.labels, (size_t)found.count * sizeof *labels);
    for (int64_t i = 0; i < found.count; i++) core[i] = found.core[i] ? found.labels[i] : -1;
    return SOW_OK;
}

static sow_status run_once(ppp_arm arm, const ppp_set *set, uint64_t seed, sow_arena *scratch, int32_t *labels,
                           int32_t *core, int *clusters) {
    double unused;
    *clusters = set->clusters;
    switch (arm) {
    case PPP_ARM_KMEANS_1: SOW_TRY(run_kmeans(set, seed, set->clusters, 1, scratch, labels)); break;
    case PPP_ARM_KMEANS_10: SOW_TRY(run_kmeans(set, seed, set->clusters, 10, scratch, labels)); break;
    case PPP_ARM_GMM: SOW_TRY(run_mixture(set, seed, set->clusters, 1, scratch, labels, &unused)); break;
    case PPP_ARM_GMM_BIC: SOW_TRY(scan_mixtures(set, seed, scratch, labels, clusters)); break;
    default: return run_ppp(arm, set, seed, scratch, labels, core, clusters);
    }
    memcpy(core, labels, (size_t)set->rows.count * sizeof *core);
    return SOW_OK;
}

sow_status ppp_run_arm(ppp_arm arm, const ppp_set *set, uint64_t seed, int count, sow_arena *arena, ppp_runs *out) {
    int64_t n = set->rows.count;
    *out = (ppp_runs){.count = count};
    SOW_TRY(SOW_NEW(arena, out->labels, count));
    SOW_TRY(SOW_NEW(arena, out->core, count));
    SOW_TRY(SOW_NEW(arena, out->clusters, count));
    for (int i = 0; i < count; i++) {
        sow_arena *scratch;
        SOW_TRY(SOW_NEW(arena, out->labels[i], n));
        SOW_TRY(SOW_NEW(arena, out->core[i], n));
        SOW_TRY(sow_arena_new(&scratch));
        sow_status status = run_once(arm, set, seed * 1000 + (uint64_t)i, scratch, out->labels[i], out->core[i],
                                     &out->clusters[i]);
        sow_arena_free(scratch);
        SOW_TRY(status);
    }
    return SOW_OK;
}

sow_status ppp_repeatability(const ppp_runs *runs, const ppp_runs *where, int64_t rows, sow_arena *arena, double *out) {
    int32_t *a;
    double sum = 0, index;
    int pairs = 0;
    SOW_TRY(SOW_NEW(arena, a, rows));
    for (int i = 0; i < runs->count; i++)
        for (int j = i + 1; j < runs->count; j++) {
            int32_t *const *labels = where ? runs->labels : runs->core;
            memcpy(a, labels[i], (size_t)rows * sizeof *a);
            for (int64_t r = 0; where && r < rows; r++)
                if (where->core[i][r] < 0 || where->core[j][r] < 0) a[r] = -1;
            SOW_TRY(sow_adjusted_rand(a, labels[j], rows, &index));
            sum += index;
            pairs++;
        }
    *out = pairs ? sum / pairs : 1;
    return SOW_OK;
}
