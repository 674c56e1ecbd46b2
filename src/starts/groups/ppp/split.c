/* One split of PPP and its evidence: k-means makes it, a Gaussian mixture that begins with it judges it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "starts/groups/ppp/ppp.h"

enum { SCREENED = 8, SCREENED_NUMBERS = 4 << 20 }; /* what part of many rows is tried first, and at most how much */
static const double cut_share = 0.05; /* of the rows that a split in two may leave outside of its cores unasked */
static const double anderson_limit = 1.8692; /* A*^2 at level 0.0001, as in G-means (Hamerly and Elkan 2003) */

sow_ppp_config sow_ppp_defaults(void) {
    return (sow_ppp_config){.agreement = 0.7,
                            .confidence = 0.95,
                            .covariance = SOW_COVARIANCE_FULL,
                            .start = SOW_KMEANS_PLUSPLUS,
                            .test = SOW_PPP_BIC,
                            .restarts = 8,
                            .flat = 6,
                            .sample = -1};
}

static sow_mixture_config mixture_config(const sow_ppp_config *c) {
    sow_mixture_config m = sow_mixture_defaults();
    m.covariance = c->covariance;
    m.sample = c->sample;
    return m;
}

sow_status ppp_one_gaussian(const ppp_node_rows *node, const sow_ppp_config *config, double *bic, double *sse) {
    sow_arena *scratch;
    sow_mixture one;
    sow_mixture_config c = mixture_config(config);
    int64_t n = node->rows.count, d = node->rows.width;
    SOW_TRY(sow_arena_new(&scratch));
    sow_status status = sow_mixture_fit(&node->rows, 1, NULL, &c, scratch, &one);
    if (status == SOW_OK) {
        bool full = config->covariance == SOW_COVARIANCE_FULL || config->covariance == SOW_COVARIANCE_TIED;
        double trace = 0;
        for (int64_t j = 0; j < d; j++)
            trace += full                                             ? one.covariances[j * d + j]
                     : config->covariance == SOW_COVARIANCE_SPHERICAL ? one.covariances[0]
                                                                      : one.covariances[j];
        *sse = trace * (double)n;
        *bic = sow_bic(one.log_likelihood, sow_mixture_parameters(1, d, config->covariance), n);
    }
    sow_arena_free(scratch);
    return status;
}

/* ---- Anderson and Darling's test on the line between two centroids ---- */

typedef struct projection {
    int64_t width;
    const double *axis;
    double *position;
} projection;

static void project_chunk(void *context, int64_t first, int64_t count, const double *x, double *sums, double *scratch) {
    const projection *p = context;
    (void)scratch;
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int64_t j = 0; j < p->width; j++) sum += x[j * (SOW_CHUNK + 8) + i] * p->axis[j];
        p->position[first + i] = sum;
        sums[0] += sum;
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A^2 with estimated mean and variance, corrected for n (Stephens 1974). z: sorted, standardised. */
static double anderson_darling(const double *z, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double below = fmax(0.5 * erfc(-z[i] / sqrt(2)), 1e-300),
               above = fmax(0.5 * erfc(z[n - 1 - i] / sqrt(2)), 1e-300);
        sum += (double)(2 * i + 1) * (log(below) + log(above));
    }
    double a = -(double)n - sum / (double)n, m = (double)n;
    return a * (1 + 4 / m - 25 / (m * m));
}

static sow_status test_normality(const sow_rows *rows, const double *centroids, sow_arena *scratch, double *out) {
    int64_t n = rows->count, d = rows->width;
    double *axis, *z, mean, variance = 0;
    SOW_TRY(SOW_NEW(scratch, axis, d));
    SOW_TRY(SOW_NEW(scratch, z, n));
    for (int64_t j = 0; j < d; j++) axis[j] = centroids[d + j] - centroids[j];
    projection p = {d, axis, z};
    SOW_TRY(sow_blocks(rows, &(sow_block_work){project_chunk, &p, 1, 0, {{z, sizeof *z}}}, &mean));
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++) variance += (z[i] - mean) * (z[i] - mean) / (double)(n - 1);
    *out = 0;
    if (!(variance > 0)) return SOW_OK;
    for (int64_t i = 0; i < n; i++) z[i] = (z[i] - mean) / sqrt(variance);
    qsort(z, (size_t)n, sizeof *z, by_value);
    *out = anderson_darling(z, n);
    return SOW_OK;
}

/* ---- one trial ---- */

typedef struct trial {
    const ppp_node_rows *node;
    const sow_ppp_config *config;
    double bic_one, needed; /* needed: by how much the mixture's log likelihood a row must be above one Gaussian's */
    const double *initial;  /* centroids to go on from, or NULL */
    const sow_mixture *initial_mixture;
    bool whole; /* the mixture's rounds begin on all rows: few would promise too much */
    sow_kmeans kmeans;
    sow_mixture mixture, screened;
    int32_t *side, *component; /* [rows] of k-means and of the mixture */
    double *sure;              /* [rows] responsibility */
} trial;

static sow_status partition(trial *t, int parts, sow_arena *scratch) {
    sow_kmeans_config c = sow_kmeans_defaults();
    c.clusters = parts;
    c.start = t->config->start;
    c.restarts = t->config->restarts;
    c.sample = t->config->sample;
    c.seed = t->config->seed;
    c.number = t->node->number * 16 + (uint64_t)parts;
    c.initial = t->initial;
    if (c.sample > 0 && t->node->rows.count > c.sample) c.trial_rounds = 20; /* starts compete on a part anyway */
    if (parts > 2) { /* asked where two were refused, mostly in vain: short trials will do */
        c.trial_rounds = 10;
        c.rounds = 30;
        if (c.sample > 0) c.sample = (c.sample + 1) / 2;
    }
    SOW_TRY(SOW_NEW(scratch, t->side, t->node->rows.count));
    return sow_kmeans_fit(&t->node->rows, &c, scratch, &t->kmeans, t->side);
}

/* Parameters that a mixture has more than one Gaussian. */
static double further_parameters(const trial *t, int parts) {
    int64_t width = t->node->rows.width;
    sow_covariance c = t->config->covariance;
    return (double)(sow_mixture_parameters(parts, width, c) - sow_mixture_parameters(1, width, c));
}

/* What the BIC asks for: a gain in log likelihood a row. */
static double needed_gain(const trial *t, int parts) {
    double n = (double)t->node->rows.count;
    return (further_parameters(t, parts) * log(n) + t->config->bic_margin) / 2 / n;
}

/* One Gaussian's log likelihood a row. */
static double likelihood_of_one(const trial *t) {
    double n = (double)t->node->rows.count;
    return ((double)sow_mixture_parameters(1, t->node->rows.width, t->config->covariance) * log(n) - t->bic_one) / 2 /
           n;
}

static sow_status validate(trial *t, int parts, sow_arena *scratch) {
    sow_mixture_config c = mixture_config(t->config);
    int64_t n = t->node->rows.count;
    c.initial = t->initial_mixture;
    if (t->whole) c.sample = 0;
    if (t->config->test == SOW_PPP_BIC) c.target = likelihood_of_one(t) + t->needed;
    SOW_TRY(SOW_NEW(scratch, t->component, n));
    SOW_TRY(SOW_NEW(scratch, t->sure, n));
    c.component = t->component;
    c.responsibility = t->sure;
    return sow_mixture_fit(&t->node->rows, parts, t->side, &c, scratch, &t->mixture);
}

/* Component k is what became of part k, since the mixture began with the parts; two may have changed places. */
static double agreement(const trial *t, int parts) {
    int64_t n = t->node->rows.count, same = 0;
    for (int64_t i = 0; i < n; i++) same += t->side[i] == t->component[i];
    if (parts == 2 && 2 * same < n) {
        for (int64_t i = 0; i < n; i++) t->component[i] = 1 - t->component[i];
        same = n - same;
    }
    return (double)same / (double)n;
}

static void mark_core(const trial *t, ppp_trial *out, int64_t *smallest_core) {
    int64_t sizes[64] = {0};
    out->core = 0;
    for (int64_t i = 0; i < t->node->rows.count; i++) {
        bool core = t->side[i] == t->component[i] && t->sure[i] >= t->config->confidence;
        out->part[i] = core ? t->side[i] : -1;
        if (core) sizes[t->side[i]]++, out->core++;
    }
    *smallest_core = out->core;
    for (int k = 0; k < out->parts; k++)
        if (sizes[k] < *smallest_core) *smallest_core = sizes[k];
}

static const char *judge(const sow_ppp_config *c, const ppp_trial *t, double bic_one, int64_t smallest_core,
                         int64_t width) {
    if (t->agreement < c->agreement) return "k-means and mixture disagree";
    if (c->test == SOW_PPP_BIC && !(t->bic < bic_one - c->bic_margin)) return "BIC does not fall";
    if (c->test == SOW_PPP_ANDERSON && !(t->anderson > anderson_limit)) return "normal between the centroids";
    if (smallest_core <= width) return "a part without a core";
    return NULL;
}

/* A split in two is first tried on an eighth of many rows. It goes on to all of them, from the centroids and the
 * mixture that were found, unless it clearly fails: a mixture describes the rows that it was fitted to too well, by
 * about half a row's gain a parameter (Akaike 1974), and what is left is still less than all rows would ask for.
 * *refused: out holds the evidence, scaled to all rows. */
static sow_status screen(trial *t, int parts, sow_arena *scratch, ppp_trial *out, bool *refused) {
    const ppp_node_rows *node = t->node;
    const sow_ppp_config *c = t->config;
    ppp_node_rows part = *node;
    trial s = {.node = &part, .config = c, .whole = true};
    double unused, all = (double)node->rows.count;
    int64_t most = node->rows.count / SCREENED;
    *refused = false;
    if (c->sample == 0 || c->clusters > 0 || t->initial || node->rows.count <= 2 * c->sample) return SOW_OK;
    if (most * node->rows.width > SCREENED_NUMBERS) most = SCREENED_NUMBERS / node->rows.width;
    if (most < c->sample) most = c->sample;
    SOW_TRY(sow_rows_sample(&node->rows, most, scratch, &part.rows, NULL));
    SOW_TRY(ppp_one_gaussian(&part, c, &s.bic_one, &unused));
    double count = (double)part.rows.count, optimism = further_parameters(&s, parts) / 2 / count;
    s.needed = needed_gain(t, parts) + optimism;
    SOW_TRY(partition(&s, parts, scratch));
    int64_t smallest = part.rows.count;
    for (int k = 0; k < parts; k++)
        if (s.kmeans.sizes[k] < smallest) smallest = s.kmeans.sizes[k];
    out->smallest = (int64_t)((double)smallest * all / count);
    out->sse = s.kmeans.sse * all / count;
    if (out->smallest < (int64_t)(0.8 * (double)node->min_leaf)) out->why = "a side under the least size";
    sow_status status = out->why ? SOW_OK : validate(&s, parts, scratch);
    if (status == SOW_E_RANGE || status == SOW_E_NUMBER) return SOW_OK; /* all rows may tell more */
    SOW_TRY(status);
    t->initial = s.kmeans.centroids;
    if (!(*refused = out->why != NULL)) {
        double gain = s.mixture.log_likelihood / count - likelihood_of_one(&s);
        t->screened = s.mixture;
        t->initial_mixture = &t->screened;
        out->agreement = agreement(&s, parts);
        out->bic = t->bic_one + 2 * all * (needed_gain(t, parts) - gain + optimism);
        if (out->agreement < c->agreement - 0.05) out->why = "k-means and mixture disagree";
        else if (c->test == SOW_PPP_BIC && gain < s.needed) out->why = "BIC does not fall";
        *refused = out->why != NULL;
    }
    return SOW_OK;
}

static sow_status try_parts(trial *t, int parts, double bic_one, sow_arena *scratch, ppp_trial *out) {
    const sow_rows *rows = &t->node->rows;
    int64_t smallest_core;
    bool refused;
    t->bic_one = bic_one;
    t->needed = needed_gain(t, parts);
    out->parts = parts;
    out->why = NULL;
    out->accepted = false;
    out->core = 0;
    out->agreement = out->bic = out->anderson = NAN;
    SOW_TRY(screen(t, parts, scratch, out, &refused));
    for (int64_t i = 0; i < rows->count; i++) out->part[i] = -1;
    if (refused) return SOW_OK;
    SOW_TRY(partition(t, parts, scratch));
    out->agreement = out->bic = NAN;
    out->sse = t->kmeans.sse;
    out->smallest = rows->count;
    for (int k = 0; k < parts; k++)
        if (t->kmeans.sizes[k] < out->smallest) out->smallest = t->kmeans.sizes[k];
    if (out->smallest < t->node->min_leaf) {
        out->why = "a side under the least size";
        return SOW_OK;
    }
    sow_status status = validate(t, parts, scratch);
    if (status == SOW_E_RANGE || status == SOW_E_NUMBER) { /* a component died, or shrank to a point */
        out->why = "the mixture collapses";
        return SOW_OK;
    }
    SOW_TRY(status);
    out->agreement = agreement(t, parts);
    out->bic = sow_bic(t->mixture.log_likelihood, sow_mixture_parameters(parts, rows->width, t->config->covariance),
                       rows->count);
    if (t->config->test == SOW_PPP_ANDERSON && parts == 2)
        SOW_TRY(test_normality(rows, t->kmeans.centroids, scratch, &out->anderson));
    mark_core(t, out, &smallest_core);
    out->why = judge(t->config, out, bic_one, smallest_core, rows->width);
    out->accepted = out->why == NULL;
    return SOW_OK;
}

/* ---- several parts at once ---- */

/* The best accepted split in 3 .. most parts on `node`'s rows, by BIC or by the size of its core; `t` keeps its k-means and mixture. */
static sow_status try_range(const ppp_node_rows *node, const sow_ppp_config *config, double bic_one, bool by_core,
                            int most, sow_arena *arena, trial *best_trial, ppp_trial *best) {
    ppp_trial now;
    SOW_TRY(SOW_NEW_RAW(arena, now.part, node->rows.count));
    for (int parts = 3; parts <= most && parts * node->min_leaf <= node->rows.count; parts++) {
        sow_mark mark = sow_arena_mark(arena);
        trial t = {.node = node, .config = config};
        SOW_TRY(try_parts(&t, parts, bic_one, arena, &now));
        bool better = by_core ? now.core > best->core : now.bic < best->bic;
        if (!now.accepted || (best->accepted && !better)) {
            sow_arena_release(arena, mark);
            continue;
        }
        int32_t *kept = best->part;
        *best = now; /* its parts change places with the buffer; the trial's memory stays taken */
        now.part = kept;
        *best_trial = t;
    }
    return SOW_OK;
}

/* Splits in many are dear: above twice the sample they are tried on so many rows, and the best one on all. */
static sow_status try_flat(const ppp_node_rows *node, const sow_ppp_config *config, double bic_one, bool by_core,
                           int most, sow_arena *arena, ppp_trial *out) {
    ppp_node_rows sample = *node;
    trial found = {0}, again = {.node = node, .config = config};
    ppp_trial best = {.accepted = false};
    double bic_sample = bic_one, unused;
    int64_t most_rows = 2 * config->sample;
    bool sampled = config->sample > 0 && node->rows.count > most_rows;
    if (sampled) {
        SOW_TRY(sow_rows_sample(&node->rows, most_rows, arena, &sample.rows, NULL));
        sample.min_leaf = (int64_t)((double)node->min_leaf * (double)most_rows / (double)node->rows.count) + 1;
        SOW_TRY(ppp_one_gaussian(&sample, config, &bic_sample, &unused));
    }
    SOW_TRY(SOW_NEW_RAW(arena, best.part, sample.rows.count));
    SOW_TRY(try_range(&sample, config, bic_sample, by_core, most, arena, &found, &best));
    if (!best.accepted) return SOW_OK;
    if (!sampled) {
        int32_t *part = out->part;
        memcpy(part, best.part, (size_t)node->rows.count * sizeof *part);
        *out = best;
        out->part = part;
        return SOW_OK;
    }
    again.initial = found.kmeans.centroids;
    again.initial_mixture = &found.mixture;
    ppp_trial whole = {0};
    SOW_TRY(SOW_NEW_RAW(arena, whole.part, node->rows.count));
    SOW_TRY(try_parts(&again, best.parts, bic_one, arena, &whole));
    if (!whole.accepted) return SOW_OK;
    memcpy(out->part, whole.part, (size_t)node->rows.count * sizeof *whole.part);
    whole.part = out->part;
    *out = whole;
    return SOW_OK;
}

sow_status ppp_try(const ppp_node_rows *node, const sow_ppp_config *config, double bic_one, int most, sow_arena *arena,
                   ppp_trial *out) {
    sow_arena *scratch;
    SOW_TRY(SOW_NEW_RAW(arena, out->part, node->rows.count));
    SOW_TRY(sow_arena_new(&scratch));
    trial t = {.node = node, .config = config};
    sow_status status = try_parts(&t, 2, bic_one, scratch, out);
    /* A split that cuts through groups leaves them outside of the cores: more parts may leave fewer. */
    bool cuts = out->accepted && !config->only_flat && (double)out->core < (1 - cut_share) * (double)node->rows.count;
    bool wider = config->only_flat || !out->accepted || cuts;
    if (status == SOW_OK && wider && most > 2 && node->rows.count >= 3 * node->min_leaf) {
        sow_arena_free(scratch);
        SOW_TRY(sow_arena_new(&scratch));
        ppp_trial many = *out;
        status = SOW_NEW_RAW(scratch, many.part, node->rows.count);
        many.accepted = false;
        if (status == SOW_OK) status = try_flat(node, config, bic_one, cuts, most, scratch, &many);
        bool better = cuts ? (double)(many.core - out->core) > cut_share * (double)node->rows.count
                           : !out->accepted || many.bic < out->bic;
        if (status == SOW_OK && many.accepted && better) {
            memcpy(out->part, many.part, (size_t)node->rows.count * sizeof *many.part);
            many.part = out->part;
            *out = many;
        }
    }
    sow_arena_free(scratch);
    return status;
}
